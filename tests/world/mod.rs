//! Several machines in virtual time, joined by links that encode and decode every frame, keep order, and take a while.
//!
//! Tests drive edges as a person would: [`World::edge`], [`World::ask`], [`World::run`], [`World::heard`]. Nothing here
//! reads a clock: time passes only where a test says so, and the same seed gives the same run.

#![allow(dead_code, unreachable_pub, reason = "each test uses its part of the world")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test may fail by panic")]

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use aldis::relay::io::{
    DialFailure, EdgeKey, Event, Hello, Hint, HintSource, Identity, Input, LinkKey, Moment, Note, Outbox, Output,
    Request, RequestId, Topic,
};
use aldis::relay::{Relay, Settings, Setup};
use aldis_wire::host::{Channel, Role};
use aldis_wire::id::{HostId, PeerId};
use aldis_wire::network::{Genesis, Network};
use aldis_wire::seal::SealingKey;
use bytes::{Bytes, BytesMut};
use ed25519_dalek::SigningKey;

/// A host in the world, by its place.
pub type Place = usize;

/// What will happen.
#[derive(Debug)]
enum Happening {
    Input(Place, u64, Input),
    Frames(Place, LinkKey, Channel, Bytes),
    Gone(Place, LinkKey, String),
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

/// A host.
pub struct Host {
    pub relay: Option<Relay>,
    pub id: HostId,
    key: SigningKey,
    life: u64,
    epoch: u64,
    settings: Settings,
    network: Network,
    pub notes: Vec<Note>,
    pub stopped: bool,
    pub stored: Vec<aldis::relay::io::Stored>,
}

/// One end of a connection.
#[derive(Clone, Copy)]
struct End {
    place: Place,
    link: LinkKey,
}

/// An edge: what it has heard and not looked at yet.
pub struct Edge {
    pub place: Place,
    pub key: EdgeKey,
    pub events: Vec<Event>,
    pub open: bool,
    /// Acknowledges everything at once, as the client library does.
    pub acks: bool,
    pub peer: Option<PeerId>,
    pub token: Option<aldis::relay::io::Token>,
    pub challenge: [u8; 32],
    pub seen: u64,
}

/// Hosts, links, edges and a clock.
pub struct World {
    pub now: Moment,
    pub hosts: Vec<Host>,
    pub edges: Vec<Edge>,
    queue: BinaryHeap<Reverse<Queued>>,
    counter: u64,
    ends: BTreeMap<(Place, LinkKey), End>,
    /// Last arrival on each (place, link), so that what is sent first arrives first.
    order: BTreeMap<(Place, LinkKey, Channel), Moment>,
    cut: BTreeSet<(Place, Place)>,
    pub latency: Duration,
    pub seed: u8,
    /// Frame bytes that arrived at each host.
    pub received_bytes: Vec<usize>,
}

/// The address of a host.
pub fn address(place: Place) -> SocketAddr {
    let [high, low] = u16::try_from(place).unwrap().to_be_bytes();
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(203, high, low, 1)), 47_474)
}

impl World {
    /// A world without hosts.
    pub fn new(seed: u8) -> Self {
        Self {
            now: Moment(Duration::from_secs(1)),
            hosts: Vec::new(),
            edges: Vec::new(),
            queue: BinaryHeap::new(),
            counter: 0,
            ends: BTreeMap::new(),
            order: BTreeMap::new(),
            cut: BTreeSet::new(),
            latency: Duration::from_millis(10),
            seed,
            received_bytes: Vec::new(),
        }
    }

    /// `count` hosts of one network, each of which knows the addresses of all before it.
    pub fn with_hosts(count: usize) -> Self {
        let mut world = Self::new(7);
        for _ in 0..count {
            world.add_host("test");
        }
        world.run(Duration::from_secs(3));
        world
    }

    /// Adds a host of the network with this name, which knows the addresses of all others.
    pub fn add_host(&mut self, network: &str) -> Place {
        let network = Network::new(&Genesis::open(network).unwrap());
        let place = self.hosts.len();
        let mut secret = [self.seed; 32];
        secret[..8].copy_from_slice(&(place as u64 + 1).to_be_bytes());
        let key = SigningKey::from_bytes(&secret);
        let settings = Settings {
            addresses: vec![address(place)],
            gateways: vec![format!("ws://host{place}.example/v1")],
            dht: false,
            register: false,
            ..Settings::default()
        };
        self.hosts.push(Host {
            relay: None,
            id: HostId::new(key.verifying_key().to_bytes()),
            key,
            life: 0,
            epoch: 1_000,
            settings,
            network,
            notes: Vec::new(),
            stopped: false,
            stored: Vec::new(),
        });
        self.received_bytes.push(0);
        self.start(place);
        place
    }

    /// Starts a host, for the first time or again, with the same key and a higher epoch.
    pub fn start(&mut self, place: Place) {
        let everybody: Vec<Hint> = (0..self.hosts.len())
            .filter(|other| *other != place)
            .map(|other| Hint { address: address(other), host: None })
            .collect();
        let host = &mut self.hosts[place];
        host.life += 1;
        host.epoch += 1;
        host.stopped = false;
        let mut seed = [self.seed; 32];
        seed[..8].copy_from_slice(&(place as u64).to_be_bytes());
        seed[8..16].copy_from_slice(&host.life.to_be_bytes());
        let setup = Setup {
            network: host.network.clone(),
            identity: host.key.clone(),
            sealing: SealingKey::new(seed),
            seed,
            epoch: host.epoch,
            cache: Vec::new(),
            marks: Vec::new(),
            settings: host.settings.clone(),
        };
        let mut out = Outbox::default();
        host.relay = Some(Relay::new(setup, self.now, &mut out));
        self.carry_out(place, out);
        self.input(place, Input::HintsFound { source: HintSource::Static, hints: everybody });
    }

    /// Kills a host: nothing is said, its links go silent and are given up after 7 s, its edges' sockets break.
    pub fn kill(&mut self, place: Place) {
        self.hosts[place].relay = None;
        self.hosts[place].life += 1;
        let ends: Vec<_> =
            self.ends.iter().filter(|((at, _), _)| *at == place).map(|(key, end)| (*key, *end)).collect();
        for (key, other) in ends {
            self.ends.remove(&key);
            self.later(Duration::from_secs(7), Happening::Gone(other.place, other.link, "timed out".into()));
        }
        for edge in self.edges.iter_mut().filter(|edge| edge.place == place) {
            edge.open = false;
        }
    }

    /// Cuts or mends the wire between two hosts, both ways. What is on its way is lost with its links.
    pub fn cut(&mut self, a: Place, b: Place) {
        self.cut.insert((a, b));
        self.cut.insert((b, a));
        let ends: Vec<_> = self
            .ends
            .iter()
            .filter(|((at, _), end)| (*at == a && end.place == b) || (*at == b && end.place == a))
            .map(|(key, _)| *key)
            .collect();
        for (place, link) in ends {
            self.later(Duration::from_secs(7), Happening::Gone(place, link, "timed out".into()));
        }
    }

    /// Mends what was cut.
    pub fn mend(&mut self, a: Place, b: Place) {
        self.cut.remove(&(a, b));
        self.cut.remove(&(b, a));
    }

    fn later(&mut self, delay: Duration, happening: Happening) {
        self.counter += 1;
        self.queue.push(Reverse(Queued(self.now + delay, self.counter, happening)));
    }

    /// Lets time pass.
    pub fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        loop {
            let timeout = self
                .hosts
                .iter()
                .enumerate()
                .filter_map(|(place, host)| Some((host.relay.as_ref()?.next_timeout()?, place)))
                .min();
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
            self.run(Duration::from_millis(1));
        }
        self.now.since(start)
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Input(place, life, input) => {
                if self.hosts[place].life == life {
                    self.input(place, input);
                }
            }
            Happening::Frames(place, link, channel, bytes) => self.frames(place, link, channel, &bytes),
            Happening::Gone(place, link, reason) => {
                if self.ends.remove(&(place, link)).is_some() {
                    self.input(place, Input::LinkClosed { link, reason });
                }
            }
        }
    }

    fn frames(&mut self, place: Place, link: LinkKey, channel: Channel, bytes: &[u8]) {
        if !self.ends.contains_key(&(place, link)) || self.hosts[place].relay.is_none() {
            return;
        }
        let mut buffer = BytesMut::from(bytes);
        while let Some((kind, body)) = aldis_wire::codec::cut(&mut buffer, aldis_wire::limits::FRAME_BYTES).unwrap() {
            self.received_bytes[place] += body.len() + aldis_wire::codec::HEADER_BYTES;
            self.input(place, Input::LinkReceived { link, channel, kind, body });
        }
        assert!(buffer.is_empty(), "a frame is sent whole");
    }

    /// Tells a host what happened, and does what it says.
    pub fn input(&mut self, place: Place, input: Input) {
        let Some(relay) = &mut self.hosts[place].relay else { return };
        let mut out = Outbox::default();
        relay.handle(self.now, input, &mut out);
        self.carry_out(place, out);
    }

    fn carry_out(&mut self, place: Place, out: Outbox) {
        self.hosts[place].notes.extend(out.notes);
        for output in out.outputs {
            match output {
                Output::TellEdge { edge, event } => self.told(place, edge, event),
                Output::CloseEdge { edge } => {
                    self.edges.iter_mut().filter(|e| e.place == place && e.key == edge).for_each(|e| e.open = false);
                }
                Output::Send { link, channel, frame } => self.send(place, link, channel, frame),
                Output::CloseLink { link, reason } => {
                    if let Some(other) = self.ends.remove(&(place, link)) {
                        let gone = Happening::Gone(other.place, other.link, format!("{reason:?}"));
                        self.later(self.latency + Duration::from_millis(1), gone);
                    }
                }
                Output::Dial { dial, address: to, host } => self.dial(place, dial, to, host),
                Output::Store(stored) => self.hosts[place].stored.push(stored),
                Output::Stop { .. } => self.hosts[place].stopped = true,
                Output::WidenLink { .. } | Output::LookUp | Output::Register => {}
            }
        }
    }

    fn send(&mut self, place: Place, link: LinkKey, channel: Channel, frame: Bytes) {
        let life = self.hosts[place].life;
        let sent = Input::LinkSent { link, channel, bytes: frame.len() };
        self.later(Duration::ZERO, Happening::Input(place, life, sent));
        let Some(end) = self.ends.get(&(place, link)).copied() else { return };
        if self.cut.contains(&(place, end.place)) {
            return;
        }
        let at = self.order.entry((end.place, end.link, channel)).or_default();
        *at = (*at).max(self.now + self.latency);
        let delay = at.since(self.now);
        self.later(delay, Happening::Frames(end.place, end.link, channel, frame));
    }

    fn dial(&mut self, place: Place, dial: aldis::relay::io::DialKey, to: SocketAddr, host: Option<HostId>) {
        let target = (0..self.hosts.len()).find(|other| address(*other) == to);
        let life = self.hosts[place].life;
        let reachable =
            target.filter(|target| self.hosts[*target].relay.is_some() && !self.cut.contains(&(place, *target)));
        let failure = match reachable {
            None => Some(DialFailure::TimedOut),
            Some(target) if self.hosts[target].network.tag != self.hosts[place].network.tag => {
                Some(DialFailure::OtherNetwork)
            }
            Some(target) if host.is_some_and(|host| host != self.hosts[target].id) => Some(DialFailure::OtherHost),
            Some(_) => None,
        };
        if let Some(failure) = failure {
            let wait = if failure == DialFailure::TimedOut { Duration::from_secs(5) } else { 2 * self.latency };
            return self.later(wait, Happening::Input(place, life, Input::DialFailed { dial, failure }));
        }
        let target = reachable.unwrap();
        self.counter += 2;
        let (here, there) = (LinkKey(self.counter), LinkKey(self.counter + 1));
        self.counter += 1;
        self.ends.insert((place, here), End { place: target, link: there });
        self.ends.insert((target, there), End { place, link: here });
        let mut exporter = [0; 32];
        exporter[..8].copy_from_slice(&here.0.to_be_bytes());
        let rtt = 2 * self.latency;
        let opened = |link, host, role, dial, at| Input::LinkOpened {
            link,
            host,
            role,
            dial,
            address: address(at),
            exporter,
            rtt,
        };
        let dialled = opened(here, self.hosts[target].id, Role::Dialler, Some(dial), target);
        let taken = opened(there, self.hosts[place].id, Role::Acceptor, None, place);
        let their_life = self.hosts[target].life;
        self.later(2 * self.latency, Happening::Input(place, life, dialled));
        self.later(2 * self.latency, Happening::Input(target, their_life, taken));
    }

    // ---- Edges ------------------------------------------------------------------------------------------------------

    /// An edge opens a socket at a host.
    pub fn open(&mut self, place: Place) -> usize {
        self.counter += 1;
        let key = EdgeKey(self.counter);
        self.edges.push(Edge {
            place,
            key,
            events: Vec::new(),
            open: true,
            acks: true,
            peer: None,
            token: None,
            challenge: [0; 32],
            seen: 0,
        });
        let address = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1));
        self.input(place, Input::EdgeOpened { edge: key, address });
        self.edges.len() - 1
    }

    /// An edge opens a socket and says hello as a minted peer.
    pub fn edge(&mut self, place: Place) -> usize {
        let edge = self.open(place);
        self.ask(edge, Request::Hello(Hello { identity: Identity::Minted, meta: Bytes::new() }));
        assert!(self.edges[edge].peer.is_some(), "welcome comes at once");
        self.edges[edge].events.clear();
        edge
    }

    /// An edge's socket breaks without a word; what is told to it from now on is not heard.
    pub fn drop_socket(&mut self, edge: usize) {
        let Edge { place, key, .. } = self.edges[edge];
        self.edges[edge].open = false;
        self.input(place, Input::EdgeClosed { edge: key });
    }

    /// An edge comes back on a new socket with its token.
    pub fn resume(&mut self, edge: usize) {
        let (place, token, seq) = (self.edges[edge].place, self.edges[edge].token.unwrap(), self.edges[edge].seen);
        self.counter += 1;
        self.edges[edge].key = EdgeKey(self.counter);
        self.edges[edge].open = true;
        let key = self.edges[edge].key;
        self.input(place, Input::EdgeOpened { edge: key, address: IpAddr::V4(Ipv4Addr::new(198, 51, 100, 2)) });
        self.ask(edge, Request::Hello(Hello { identity: Identity::Resumed { token, seq }, meta: Bytes::new() }));
    }

    /// An edge asks for something.
    pub fn ask(&mut self, edge: usize, request: Request) {
        let Edge { place, key, .. } = self.edges[edge];
        self.input(place, Input::EdgeAsked { edge: key, request });
    }

    /// The name of a topic at a host.
    pub fn topic(&self, place: Place, name: &str) -> Topic {
        Topic { id: self.hosts[place].network.topic(name), name: name.into() }
    }

    /// An edge joins a topic.
    pub fn join(&mut self, edge: usize, name: &str) {
        let topic = self.topic(self.edges[edge].place, name);
        self.ask(edge, Request::Join { id: "j".into(), topic, meta: None });
    }

    /// An edge sends a signal to another.
    pub fn signal(&mut self, from: usize, to: PeerId, id: &str, data: &str) {
        let data = Bytes::copy_from_slice(data.as_bytes());
        self.ask(from, Request::Signal { id: id.into(), to, topic: None, data });
    }

    /// The peer that an edge is.
    pub fn peer(&self, edge: usize) -> PeerId {
        self.edges[edge].peer.unwrap()
    }

    /// What an edge has heard since it was last asked.
    pub fn heard(&mut self, edge: usize) -> Vec<Event> {
        std::mem::take(&mut self.edges[edge].events)
    }

    fn told(&mut self, place: Place, key: EdgeKey, event: Event) {
        let Some(edge) = self.edges.iter_mut().find(|edge| edge.place == place && edge.key == key && edge.open) else {
            return;
        };
        match &event {
            Event::Greeting { challenge } => edge.challenge = *challenge,
            Event::Welcome(welcome) => (edge.peer, edge.token) = (Some(welcome.peer), Some(welcome.token)),
            _ => {}
        }
        let seq = match &event {
            Event::PeerJoined { seq, .. }
            | Event::PeerLeft { seq, .. }
            | Event::Signal { seq, .. }
            | Event::Receipt { seq, .. } => Some(*seq),
            _ => None,
        };
        if seq.is_some_and(|seq| seq <= edge.seen) {
            return;
        }
        edge.seen = seq.unwrap_or(edge.seen);
        edge.events.push(event);
        if let (Some(seq), true) = (seq, edge.acks) {
            let life = self.hosts[place].life;
            let ack = Input::EdgeAsked { edge: key, request: Request::Ack { seq } };
            self.later(Duration::ZERO, Happening::Input(place, life, ack));
        }
    }

    /// Names of the events in a list, for short assertions: `joined 3`, `left 3 lost`, `signal 3 id`, `receipt id Delivered`.
    pub fn words(&self, events: &[Event]) -> Vec<String> {
        let who = |peer: &PeerId| {
            self.edges.iter().position(|edge| edge.peer == Some(*peer)).map_or("?".to_owned(), |at| at.to_string())
        };
        let word = |event: &Event| match event {
            Event::Joined(sample) => {
                let mut peers: Vec<_> = sample.members.iter().map(|member| who(&member.peer)).collect();
                peers.sort();
                format!("joined with {peers:?}")
            }
            Event::Watching(sample) => format!("watching {}", sample.total),
            Event::Peers(sample) => format!("peers {}", sample.total),
            Event::PeerJoined { member, .. } => format!("+{}", who(&member.peer)),
            Event::PeerLeft { peer, reason, .. } => format!("-{} {reason:?}", who(peer)),
            Event::Signal { from, data, .. } => format!("{} says {}", who(from), String::from_utf8_lossy(data)),
            Event::Receipt { id, outcome, .. } => format!("{id} {outcome:?}"),
            Event::Error { refusal, .. } => format!("error {refusal}"),
            other => format!("{other:?}").chars().take_while(|c| c.is_alphanumeric()).collect(),
        };
        events.iter().map(word).collect()
    }

    /// What an edge has heard since it was last asked, in words.
    pub fn says(&mut self, edge: usize) -> Vec<String> {
        let events = self.heard(edge);
        self.words(&events)
    }
}

/// An id for a request.
pub fn id(text: &str) -> RequestId {
    text.into()
}
