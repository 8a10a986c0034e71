//! The world: hosts, what lies between them, edges, the DHT, and one queue of what will happen.
//!
//! Nothing here reads a clock: time is what the queue says. Every happening is carried out by the module that it
//! belongs to; all of them come to the machines through `World::input` alone.

use aldis::relay::io::{EdgeKey, Event, Input, Moment, Outbox, Output, Request};
use aldis_wire::host::Channel;
use aldis_wire::network::{Genesis, Network};
use aldis_wire::proof::Trust;
use bytes::Bytes;
use std::time::Duration;

use crate::chance::Chance;
use crate::checks::Checks;
use crate::dht::Dht;
use crate::dials::{Knock, Try};
use crate::edges::{Edge, Wish};
use crate::hosts::Host;
use crate::map::{Map, Place};
use crate::memo::MEMO;
use crate::meter::{self, Meter};
use crate::nats::Nats;
use crate::queue::{At, Queue};
use crate::scenario::Scenario;
use crate::trace::Trace;
use crate::wires::{Dial, EndId, Wires};

/// What will happen.
#[derive(Debug)]
pub(crate) enum Happening {
    /// A machine wants to be called.
    Wake(Place),
    /// A host of this life is told something.
    Input(Place, u32, Box<Input>),
    /// A frame comes to this end of a connection.
    Arrive(EndId, Channel, Bytes),
    /// What waits at this end of a connection may go on its way.
    Pump(EndId),
    /// This end has heard nothing for the idle time, unless the way was mended.
    Silent(EndId),
    /// This end has heard nothing for so long that its driver tells the machine.
    Quiet(EndId),
    /// A dial that was not answered sends its first packet again.
    DialAgain(Place, u32, Box<Dial>),
    /// The first packet of a handshake goes out again where there are routers.
    TryAgain(Place, u32, Box<Try>),
    /// It comes.
    Knock(Box<Knock>),
    /// A host whose router has forgotten it is heard again by whom it dialled.
    Moves(EndId),
    /// The other end is gone, or so it seems.
    Gone(EndId),
    /// A connection that was closed while another is kept has had its time.
    Shut(EndId),
    /// A host is asked for something by a socket.
    Asked(Place, EdgeKey, Box<Request>),
    /// A socket ends, as its host sees it.
    Closed(Place, EdgeKey),
    /// An edge is told something on a socket.
    Told(EdgeKey, Box<Event>),
    /// An edge's socket is found to be closed.
    Hung(EdgeKey),
    /// An edge does what it had planned for this session.
    Wish(u32, u32, Wish),
    /// The next line of the scenario.
    Line(usize),
    /// A host begins, for the first time or again.
    Start(Place),
    /// A process that was asked to end does.
    End(Place, u32),
    /// A process that stood still goes on.
    Thaw(Place),
    /// A look at everything, for what is checked all the time.
    Look,
    /// A liar says something of its own.
    Lie(Place),
    /// The next join whose way is measured.
    Probe,
    /// A look whether two sides that were apart agree again.
    Agree,
}

// A million of them are planned at once in a large world.
const _: () = assert!(size_of::<Happening>() <= 56);

/// Everything there is.
pub struct World {
    /// The present.
    pub now: At,
    /// What is played.
    pub scenario: Scenario,
    /// All hosts.
    pub hosts: Vec<Host>,
    /// All edges that have been.
    pub edges: Vec<Edge>,
    /// What was counted.
    pub meter: Meter,
    /// What happened.
    pub trace: Trace,
    /// What was found wrong.
    pub checks: Checks,
    pub(crate) network: Network,
    pub(crate) map: Map,
    pub(crate) wires: Wires,
    pub(crate) nats: Nats,
    pub(crate) dht: Dht,
    pub(crate) crowd: crate::edges::Crowd,
    pub(crate) shouts: crate::shouts::Shouts,
    pub(crate) probes: crate::probes::Probes,
    pub(crate) healing: crate::healing::Healing,
    pub(crate) liars: crate::liars::Liars,
    pub(crate) beliefs: crate::beliefs::Beliefs,
    pub(crate) chance: Chance,
    pub(crate) queue: Queue<Happening>,
    outbox: Outbox,
    taken: Vec<(EndId, Channel, usize)>,
}

impl World {
    /// A world in which nothing has happened yet.
    #[must_use]
    pub fn new(scenario: Scenario) -> Self {
        let mut chance = Chance::new(scenario.seed, 1);
        let map = Map::new(scenario.hosts, &mut chance);
        let mut network = Network::new(&Genesis::open("simulated").expect("a good name"));
        network.trust = Trust::new(network.tag, &MEMO);
        MEMO.serve(scenario.hosts);
        let hosts = (0..scenario.hosts).map(|place| Host::new(&scenario, place)).collect();
        let mut world = Self {
            now: 0,
            hosts,
            edges: Vec::new(),
            meter: Meter::new(scenario.hosts),
            trace: Trace::default(),
            checks: Checks::default(),
            crowd: crate::edges::Crowd::new(&scenario, &network),
            shouts: crate::shouts::Shouts::new(scenario.seed),
            probes: crate::probes::Probes::new(&network),
            healing: Default::default(),
            liars: Default::default(),
            beliefs: Default::default(),
            network,
            map,
            wires: Wires::default(),
            nats: Nats::new(&scenario.homes, scenario.hosts),
            dht: Dht::default(),
            chance,
            queue: Queue::default(),
            outbox: Outbox::default(),
            taken: Vec::new(),
            scenario,
        };
        if world.scenario.settled {
            world.settle();
        }
        for place in 0..world.hosts.len() {
            let at = world.chance.below(world.scenario.start.max(1));
            world.later(at, Happening::Start(place));
        }
        for line in 0..world.scenario.lines.len() {
            let at = world.scenario.lines[line].at;
            world.later(at, Happening::Line(line));
        }
        world.later(crate::queue::SEC, Happening::Look);
        world.choose_liars();
        if world.scenario.probe > 0 {
            world.later(world.scenario.warm, Happening::Probe);
        }
        world
    }

    pub(crate) fn later(&mut self, delay: At, happening: Happening) {
        self.queue.push(self.now + delay, happening);
    }

    /// Lets time pass until `end`.
    pub fn run_until(&mut self, end: At) {
        while let Some((at, happening)) = self.queue.pop_until(end) {
            self.now = at;
            self.meter.happenings += 1;
            self.happen(happening);
        }
        self.now = end;
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Wake(place) => self.wake(place),
            Happening::Input(place, life, input) => {
                if self.hosts[place].life == life {
                    self.input(place, *input);
                }
            }
            Happening::Arrive(end, channel, frame) => self.arrive(end, channel, frame),
            Happening::Pump(end) => self.pump(end),
            Happening::Silent(end) => self.silent(end),
            Happening::Quiet(end) => self.quiet(end),
            Happening::DialAgain(place, life, dial) => {
                if self.hosts[place].life == life {
                    self.try_dial(place, *dial);
                }
            }
            Happening::TryAgain(place, life, tried) => {
                if self.hosts[place].life == life {
                    self.send_first_packet(place, *tried);
                }
            }
            Happening::Knock(knock) => self.knocked(*knock),
            Happening::Moves(end) => self.moves(end),
            Happening::Gone(end) => self.end_gone(end),
            Happening::Shut(end) => self.end_shut(end),
            Happening::Asked(place, key, request) => self.asked(place, key, *request),
            Happening::Closed(place, key) => self.input(place, Input::EdgeClosed { edge: key }),
            Happening::Told(key, event) => self.told(key, *event),
            Happening::Hung(key) => self.hung(key),
            Happening::Wish(edge, session, wish) => self.wish(edge, session, wish),
            Happening::Line(line) => self.play(line),
            Happening::Start(place) => self.start(place),
            Happening::End(place, life) => self.end(place, life),
            Happening::Thaw(place) => self.thaw(place),
            Happening::Look => self.look(),
            Happening::Lie(place) => self.lie(place),
            Happening::Probe => self.probe(),
            Happening::Agree => self.agree(),
        }
    }

    fn wake(&mut self, place: Place) {
        let host = &mut self.hosts[place];
        if host.wake != self.now {
            return;
        }
        host.wake = At::MAX;
        let clock = host.clock(self.now);
        let Some(relay) = host.running() else { return };
        match relay.next_timeout() {
            Some(due) if due <= clock => self.input(place, Input::Woken),
            _ => self.plan_wake(place),
        }
    }

    /// Sees to it that a machine is called when it wants to be.
    pub(crate) fn plan_wake(&mut self, place: Place) {
        let host = &mut self.hosts[place];
        let Some(due) = host.running().and_then(|relay| relay.next_timeout()) else { return };
        let at = host.world_time(due.time()).max(self.now);
        if at < host.wake {
            host.wake = at;
            self.queue.push(at, Happening::Wake(place));
        }
    }

    /// Tells a host what happened, and does what it says.
    pub(crate) fn input(&mut self, place: Place, input: Input) {
        let host = &mut self.hosts[place];
        let now = host.clock(self.now);
        if host.frozen.is_some() {
            return host.waiting.push(input);
        }
        let Some(relay) = &mut host.relay else { return };
        let kind = meter::kind(&input);
        self.trace.mix(self.now ^ ((place as u64) << 48) ^ ((kind as u64) << 40));
        let mut out = std::mem::take(&mut self.outbox);
        self.meter.time(kind, || relay.handle(now, input, &mut out));
        self.finish(place, now, out);
    }

    /// Does what a machine wants, until it wants nothing more at this moment.
    pub(crate) fn finish(&mut self, place: Place, now: Moment, mut out: Outbox) {
        loop {
            self.carry_out(place, &mut out);
            let Some((end, channel, bytes)) = self.taken.pop() else { break };
            let host = &mut self.hosts[place];
            let Some(relay) = host.relay.as_mut().filter(|_| host.frozen.is_none()) else { break };
            let sent = Input::LinkSent { link: end.key(), channel, bytes };
            self.meter.time(meter::kind(&sent), || relay.handle(now, sent, &mut out));
        }
        self.taken.clear();
        self.outbox = out;
        self.check_deadline(place, now);
        self.plan_wake(place);
    }

    fn carry_out(&mut self, place: Place, out: &mut Outbox) {
        for note in out.notes.drain(..) {
            self.meter.notes(place, &note);
            self.noted(place, &note);
        }
        for output in out.outputs.drain(..) {
            match output {
                Output::TellEdge { edge, event } => {
                    let lag = self.lag(edge);
                    self.seen_here(place, edge, &event);
                    self.later(lag, Happening::Told(edge, Box::new(event)));
                }
                Output::CloseEdge { edge } => {
                    let lag = self.lag(edge);
                    self.later(lag, Happening::Hung(edge));
                }
                Output::Send { link, channel, frame } => self.send(place, EndId::of(link), channel, frame),
                Output::CloseLink { link, reason } => self.close_link(EndId::of(link), reason),
                Output::Dial { dial, address, host } => {
                    if let Some(host) = host.filter(|_| !self.nats.is_empty()) {
                        self.check_punch(place, host);
                    }
                    self.dial(place, dial, address, host);
                }
                Output::Store(stored) => self.hosts[place].store(stored),
                Output::Stop { reason } => self.stopped(place, reason),
                Output::LookUp => self.look_up(place),
                Output::Register { port } => self.register(place, port),
                Output::Check { check, host, target } => self.check(place, check, host, &target),
                Output::LookUpSeeds | Output::WidenLink { .. } | Output::MapAgain => {}
            }
        }
    }

    /// What the transport took at once is told to the machine at the end of its step.
    pub(crate) fn take_at_once(&mut self, end: EndId, channel: Channel, bytes: usize) {
        match self.taken.iter_mut().find(|taken| taken.0 == end && taken.1 == channel) {
            Some(taken) => taken.2 += bytes,
            None => self.taken.push((end, channel, bytes)),
        }
    }
}

/// The same on the machine's side of the contract.
pub(crate) fn duration(at: At) -> Duration {
    Duration::from_nanos(at)
}
