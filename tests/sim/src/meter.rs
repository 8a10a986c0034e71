//! What is counted while a scenario runs. Clocks are read for what inputs cost, never for what happens.

use aldis::relay::io::{CatchUp, Fault, Input, Note, Request};

use crate::map::Place;
use crate::memo::Counts;
use crate::queue::At;

/// Names of the frame kinds (PROTOCOL.md §5.3), by number.
pub const FRAMES: [&str; 26] = [
    "?",
    "hello",
    "admitted",
    "goodbye",
    "have",
    "prune",
    "graft",
    "announcement",
    "query",
    "reply",
    "signal",
    "receipt",
    "routed",
    "bounce",
    "revoked",
    "broadcast",
    "tally",
    "observed",
    "introduce",
    "punch",
    "not introduced",
    "verify",
    "dial back",
    "verified",
    "delta",
    "?",
];

/// Names of the kinds of inputs that are no frames.
const INPUTS: [&str; 16] = [
    "start",
    "woken",
    "edge opened",
    "edge hello",
    "edge join",
    "edge leave",
    "edge signal",
    "edge ack",
    "edge other",
    "edge closed",
    "link opened",
    "link sent",
    "link closed",
    "dial failed",
    "dht",
    "other",
];

/// Which kind an input is: a frame by its number, everything else after those.
#[must_use]
pub fn kind(input: &Input) -> usize {
    let other = match input {
        Input::LinkReceived { kind, .. } => return usize::from(*kind).min(FRAMES.len() - 1),
        Input::Woken => 1,
        Input::EdgeOpened { .. } => 2,
        Input::EdgeAsked { request, .. } => match request {
            Request::Hello(_) => 3,
            Request::Join { .. } => 4,
            Request::Leave { .. } => 5,
            Request::Signal { .. } => 6,
            Request::Ack { .. } => 7,
            _ => 8,
        },
        Input::EdgeClosed { .. } => 9,
        Input::LinkOpened { .. } => 10,
        Input::LinkSent { .. } => 11,
        Input::LinkClosed { .. } => 12,
        Input::DialFailed { .. } => 13,
        Input::HintsFound { .. } | Input::LookUpEnded { .. } | Input::RegistrationEnded { .. } => 14,
        _ => 15,
    };
    FRAMES.len() + other
}

/// The kind under which a machine's start is counted.
pub const START: usize = FRAMES.len();

/// What one kind of input has cost.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    /// How many.
    pub count: u64,
    /// How many of them were measured.
    pub measured: u64,
    /// Nanoseconds of the processor for those.
    pub measured_nanos: u64,
}

impl Cost {
    /// Nanoseconds for all of them, as far as the measured ones tell.
    #[must_use]
    pub fn nanos(self) -> u64 {
        (u128::from(self.measured_nanos) * u128::from(self.count) / u128::from(self.measured.max(1))) as u64
    }
}

/// What it costs to ask for the processor's time, in nanoseconds, on average.
fn asking_nanos() -> u64 {
    const TIMES: u64 = 1_000;
    let began = processor_nanos();
    (1..TIMES).for_each(|_| _ = processor_nanos());
    (processor_nanos() - began) / TIMES
}

/// What this process has taken of the processors, in nanoseconds: other processes do not count.
#[must_use]
pub fn processor_nanos() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// One member who was seen to join, at one host.
#[derive(Clone, Copy, Debug)]
pub struct Sighting {
    /// From the join at its home until this host shows it.
    pub after: At,
    /// A frame would have taken so long on the direct way.
    pub direct: At,
    /// Which join.
    pub probe: u32,
}

/// Everything that is counted, since it was last cleared.
#[derive(Clone, Debug, Default)]
pub struct Meter {
    /// Frames and their bytes sent by all hosts, by kind.
    pub sent: [(u64, u64); FRAMES.len()],
    /// Frames and their bytes received, by kind.
    pub received: [(u64, u64); FRAMES.len()],
    /// Bytes received by each host.
    pub host_received: Vec<u64>,
    /// Bytes sent by each host.
    pub host_sent: Vec<u64>,
    /// Announcements that were new to the host they came to, and copies of what it had.
    pub announcements: [u64; 2],
    /// Announcements made, those with ops, and ops in them.
    pub announced: [u64; 3],
    /// Signals that ended, as the senders' homes say: delivered, refused, unknown.
    pub signals: [u64; 3],
    /// Tallies given to edges; hosts that took broadcasts, that refused them, and of which nobody could say.
    pub tallies: [u64; 4],
    /// Places in queues that broadcasts took, and that were not free.
    pub spread: [u64; 2],
    /// Replicas caught up by graft, by delta, and by digest.
    pub caught_up: [u64; 3],
    /// Links admitted, and admitted ones that ended.
    pub links: [u64; 2],
    /// Dials that came to nothing.
    pub dials_failed: u64,
    /// Rosters that expired.
    pub expired: u64,
    /// Who was held to have broken the protocol, and how.
    pub faults: Vec<(Place, Fault)>,
    /// Origins that were quarantined, where, and why.
    pub quarantined: Vec<(Place, Fault)>,
    /// Costs by kind of input.
    pub costs: Vec<Cost>,
    /// When joins were seen where.
    pub sightings: Vec<Sighting>,
    /// Signatures that were to be checked.
    pub signatures: Counts,
    /// Happenings that the simulator has carried out.
    pub happenings: u64,
    /// What it costs to ask for the processor's time: a small step costs less.
    asking_nanos: u64,
}

impl Meter {
    /// For so many hosts, with nothing counted.
    #[must_use]
    pub fn new(hosts: usize) -> Self {
        let costs = vec![Cost::default(); FRAMES.len() + INPUTS.len()];
        let (host_received, host_sent) = (vec![0; hosts], vec![0; hosts]);
        Self { host_received, host_sent, costs, asking_nanos: asking_nanos(), ..Self::default() }
    }

    /// Carries out a step of a machine and counts what it costs. To ask for the time costs as much as a small step, so
    /// only every 64th of a kind is measured, besides the first ones.
    pub fn time<T>(&mut self, kind: usize, step: impl FnOnce() -> T) -> T {
        let cost = &mut self.costs[kind];
        cost.count += 1;
        if cost.count > 64 && !cost.count.is_multiple_of(64) {
            return step();
        }
        let began = processor_nanos();
        let result = step();
        let cost = &mut self.costs[kind];
        cost.measured += 1;
        cost.measured_nanos += (processor_nanos() - began).saturating_sub(self.asking_nanos);
        result
    }

    /// Counts a frame that leaves a host.
    pub fn sends(&mut self, place: Place, kind: u8, bytes: usize) {
        let sum = &mut self.sent[usize::from(kind).min(FRAMES.len() - 1)];
        (sum.0, sum.1) = (sum.0 + 1, sum.1 + bytes as u64);
        self.host_sent[place] += bytes as u64;
    }

    /// Counts a frame that arrives at a host.
    pub fn receives(&mut self, place: Place, kind: u8, bytes: usize) {
        let sum = &mut self.received[usize::from(kind).min(FRAMES.len() - 1)];
        (sum.0, sum.1) = (sum.0 + 1, sum.1 + bytes as u64);
        self.host_received[place] += bytes as u64;
    }

    /// Counts what a machine notes.
    pub fn notes(&mut self, place: Place, note: &Note) {
        match note {
            Note::AnnouncementReceived { new } => self.announcements[usize::from(!new)] += 1,
            Note::Announced { ops } => {
                self.announced[0] += 1;
                self.announced[1] += u64::from(*ops > 0);
                self.announced[2] += *ops as u64;
            }
            Note::SignalEnded { outcome, .. } => {
                let which = match outcome {
                    aldis_wire::host::Outcome::Delivered => 0,
                    aldis_wire::host::Outcome::Refused(_) => 1,
                    aldis_wire::host::Outcome::Unknown => 2,
                };
                self.signals[which] += 1;
            }
            Note::BroadcastEnded { reach } => {
                let told = [1, reach.taken, reach.refused, reach.unknown];
                self.tallies.iter_mut().zip(told).for_each(|(sum, more)| *sum += more);
            }
            Note::BroadcastSpread { members, missed } => {
                self.spread[0] += u64::from(*members);
                self.spread[1] += u64::from(*missed);
            }
            Note::CaughtUp { by, .. } => {
                let which = match by {
                    CatchUp::Graft => 0,
                    CatchUp::Delta => 1,
                    CatchUp::Digest => 2,
                };
                self.caught_up[which] += 1;
            }
            Note::LinkAdmitted { .. } => self.links[0] += 1,
            Note::LinkEnded { admitted: true, .. } => self.links[1] += 1,
            Note::DialFailed { .. } => self.dials_failed += 1,
            Note::HostExpired { .. } => self.expired += 1,
            Note::Misbehaved { fault, .. } => self.faults.push((place, *fault)),
            Note::HostQuarantined { fault, .. } => self.quarantined.push((place, *fault)),
            _ => {}
        }
    }

    /// Kinds of input with their names and costs, those that came, the dearest first.
    #[must_use]
    pub fn costs_by_name(&self) -> Vec<(&'static str, Cost)> {
        let names = FRAMES.iter().chain(&INPUTS).copied();
        let mut costs: Vec<_> = names.zip(self.costs.iter().copied()).filter(|(_, cost)| cost.count > 0).collect();
        costs.sort_by_key(|(_, cost)| std::cmp::Reverse(cost.nanos()));
        costs
    }
}
