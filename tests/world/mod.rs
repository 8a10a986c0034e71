//! Several machines in virtual time, joined by links that encode and decode every frame, keep order, and take a while.
//!
//! Tests drive edges as a person would: [`World::edge`], [`World::ask`], [`World::run`], [`World::heard`]. Nothing here
//! reads a clock: time passes only where a test says so, and the same seed gives the same run.

#![allow(dead_code, unreachable_pub, reason = "each test uses its part of the world")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test may fail by panic")]
#![allow(clippy::panic, reason = "a test may fail by panic")]

mod edges;
mod hosts;
mod wires;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::time::Duration;

use aldis::relay::io::{EdgeKey, HintSource, Input, LinkKey, Moment, Outbox, Output, RequestId};
use aldis_wire::host::Channel;
use bytes::Bytes;

pub use edges::Edge;
pub use hosts::{Host, address};
use wires::{End, Slow};

/// A host in the world, by its place.
pub type Place = usize;

/// Milliseconds, for short tests.
pub fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Seconds, for short tests.
pub fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// An id for a request.
pub fn id(text: &str) -> RequestId {
    text.into()
}

/// What will happen.
#[allow(clippy::large_enum_variant, reason = "a queue in a test")]
#[derive(Debug)]
enum Happening {
    Input(Place, u64, Input),
    Frames(Place, LinkKey, Channel, Bytes),
    Silent(Place, LinkKey),
    Gone(Place, LinkKey, String),
    Shut(Place, LinkKey),
}

struct Queued(Moment, u64, Happening);

impl PartialEq for Queued {
    fn eq(&self, other: &Self) -> bool {
        (self.0, self.1) == (other.0, other.1)
    }
}
impl Eq for Queued {}
impl PartialOrd for Queued {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Queued {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.0, self.1).cmp(&(other.0, other.1))
    }
}

/// Hosts, links, edges and a clock.
pub struct World {
    pub now: Moment,
    pub hosts: Vec<Host>,
    pub edges: Vec<Edge>,
    /// Which edge a socket belongs to.
    sockets: BTreeMap<(Place, EdgeKey), usize>,
    /// The edges through which [`World::total`] looks.
    probes: BTreeMap<Place, usize>,
    queue: BinaryHeap<Reverse<Queued>>,
    counter: u64,
    /// Ends of connections that still read.
    ends: BTreeMap<(Place, LinkKey), End>,
    /// Last arrival on each channel of each end, so that what is sent first arrives first.
    order: BTreeMap<(Place, LinkKey, Channel), Moment>,
    cut: BTreeSet<(Place, Place)>,
    /// Hosts that nobody reaches who was not dialled by them.
    pub hidden: BTreeSet<Place>,
    slow: BTreeMap<(Place, Place), Slow>,
    /// Pairs of hosts of which the first drops all sealed frames that it should send to the second.
    pub drops: BTreeSet<(Place, Place)>,
    /// Pairs of hosts of which the second sends them back to the first, who passes that on to where they came from.
    pub bounces: BTreeSet<(Place, Place)>,
    latencies: BTreeMap<(Place, Place), Duration>,
    pub latency: Duration,
    /// Up to so much more latency for each frame, by chance.
    pub jitter: Duration,
    chance: u64,
    pub seed: u8,
    /// Where new hosts learn of those before them.
    pub hints: HintSource,
    /// Hosts that the DHT names to whoever asks.
    pub dht: Vec<Place>,
    /// Frame bytes that arrived at each host.
    pub received_bytes: Vec<usize>,
    /// Whose wire is listened to, and all that went over it.
    listened: Option<(Place, Vec<u8>)>,
}

impl World {
    /// A world without hosts.
    pub fn new(seed: u8) -> Self {
        Self {
            now: Moment::new(secs(1)),
            hosts: Vec::new(),
            edges: Vec::new(),
            sockets: BTreeMap::new(),
            probes: BTreeMap::new(),
            queue: BinaryHeap::new(),
            counter: 0,
            ends: BTreeMap::new(),
            order: BTreeMap::new(),
            cut: BTreeSet::new(),
            hidden: BTreeSet::new(),
            slow: BTreeMap::new(),
            drops: BTreeSet::new(),
            bounces: BTreeSet::new(),
            latencies: BTreeMap::new(),
            latency: ms(10),
            jitter: Duration::ZERO,
            chance: u64::from(seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            seed,
            hints: HintSource::Static,
            dht: Vec::new(),
            received_bytes: Vec::new(),
            listened: None,
        }
    }

    /// `count` hosts of one network, each of which knows the addresses of all others.
    pub fn with_hosts(count: usize) -> Self {
        let mut world = Self::new(7);
        for _ in 0..count {
            world.add_host("test");
        }
        world.run(secs(3));
        world
    }

    /// `count` hosts of which only these pairs can reach each other.
    pub fn with_wires(count: usize, wires: &[(Place, Place)]) -> Self {
        let mut world = Self::new(7);
        for a in 0..count {
            for b in (a + 1..count).filter(|b| !wires.contains(&(a, *b)) && !wires.contains(&(*b, a))) {
                world.cut(a, b);
            }
        }
        for _ in 0..count {
            world.add_host("test");
        }
        world.run(secs(10));
        world
    }

    /// A number below `limit`, by chance.
    pub fn random(&mut self, limit: usize) -> usize {
        // xorshift64: enough for a test, the same on every machine.
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 7;
        self.chance ^= self.chance << 17;
        usize::try_from(self.chance >> 16).unwrap() % limit.max(1)
    }

    fn later(&mut self, delay: Duration, happening: Happening) {
        self.counter += 1;
        self.queue.push(Reverse(Queued(self.now + delay, self.counter, happening)));
    }

    /// Lets time pass.
    pub fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        loop {
            let timeout =
                self.hosts.iter().enumerate().filter_map(|(place, host)| Some((host.next_timeout()?, place))).min();
            let queued = self.queue.peek().map(|Reverse(queued)| queued.0);
            match (timeout, queued) {
                (Some((at, place)), queued) if at <= end && queued.is_none_or(|queued| at < queued) => {
                    self.now = self.now.max(at);
                    self.input(place, Input::Woken);
                }
                (_, Some(at)) if at <= end => {
                    self.now = self.now.max(at);
                    let Reverse(Queued(_, _, happening)) = self.queue.pop().unwrap();
                    self.happen(happening);
                }
                _ => break,
            }
        }
        self.now = end;
    }

    /// Lets time pass until something is true; fails when it is not within `limit`.
    pub fn until(&mut self, limit: Duration, what: &str, mut is_true: impl FnMut(&mut Self) -> bool) -> Duration {
        let start = self.now;
        while !is_true(self) {
            assert!(self.now.since(start) < limit, "not within {limit:?}: {what}");
            self.run(ms(5));
        }
        self.now.since(start)
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Input(place, life, input) if self.hosts[place].life == life => self.input(place, input),
            Happening::Input(..) => {}
            Happening::Frames(place, link, channel, bytes) => self.frames(place, link, channel, &bytes),
            Happening::Silent(place, link) => self.end_silent(place, link),
            Happening::Gone(place, link, reason) => self.end_gone(place, link, reason),
            Happening::Shut(place, link) => self.end_shut(place, link),
        }
    }

    /// Tells a host what happened, and does what it says.
    pub fn input(&mut self, place: Place, input: Input) {
        let now = self.now + self.hosts[place].ahead;
        if self.hosts[place].frozen {
            return self.hosts[place].waiting.push(input);
        }
        let Some(relay) = &mut self.hosts[place].relay else { return };
        let mut out = Outbox::default();
        relay.handle(now, input, &mut out);
        self.carry_out(place, out);
    }

    fn carry_out(&mut self, place: Place, out: Outbox) {
        self.hosts[place].notes.extend(out.notes);
        for output in out.outputs {
            match output {
                Output::TellEdge { edge, event } => self.told(place, edge, event),
                Output::CloseEdge { edge } => self.socket_closed(place, edge),
                Output::Send { link, channel, frame } => self.send(place, link, channel, frame),
                Output::CloseLink { link, reason } => self.close_link(place, link, reason),
                Output::Dial { dial, address: to, host } => self.dial(place, dial, to, host),
                Output::Store(stored) => self.hosts[place].stored.push(stored),
                Output::Stop { reason } => self.hosts[place].stopped = Some((self.now, reason)),
                Output::LookUp => self.look_up(place),
                Output::WidenLink { .. } | Output::LookUpSeeds | Output::Register { .. } | Output::MapAgain => {}
                Output::Check { check, host, target } => self.check(place, check, host, &target),
            }
        }
    }
}
