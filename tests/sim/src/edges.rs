//! The crowd: edges that come, join topics, signal the members they know, lose their sockets, return, roam and go. Each
//! behaves as the client library does: it acknowledges, drops what it has seen, resumes, and asks again elsewhere.

mod hearing;
mod signals;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use aldis::relay::io::{EdgeKey, Input, Request, Token, Topic};
use aldis_wire::id::{PeerId, TopicId};
use aldis_wire::network::Network;
use ed25519_dalek::SigningKey;

use crate::chance::Chance;
use crate::map::Place;
use crate::queue::{At, MS, SEC};
use crate::scenario::Scenario;
use crate::trace::Arrow;
use crate::world::{Happening, World};
pub(crate) use signals::Sent;

/// Members of its topics that an edge remembers to signal.
const KNOWN_MAX: usize = 8;
/// An edge acknowledges events at the latest after this (PROTOCOL.md §4.3).
const ACK_AFTER: At = SEC;
/// And after so many.
const ACK_EVERY: u64 = 32;
/// Edges whose view of their topics is held against the truth, at most.
const WITNESSES_MAX: usize = 4_000;

/// What an edge plans to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// Open a socket and say hello, as somebody new or with the same key.
    Come,
    /// Signal somebody.
    Speak,
    /// Broadcast to a topic.
    Shout,
    /// Say bye; somebody else comes later.
    Go,
    /// Lose the socket.
    Drop,
    /// Open a socket again and resume.
    Return,
    /// Move to another host and keep the key.
    Roam,
    /// Leave a topic for another one.
    Hop,
    /// Acknowledge what came.
    Ack,
}

/// Where an edge stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It has no session.
    Out,
    /// Its socket is open, and it is not welcomed yet.
    Opening,
    /// Its session stands and its socket is open.
    Open,
    /// Its socket is gone; it may resume.
    Away,
}

/// An edge with a key of its own.
struct Keyed {
    key: SigningKey,
    counter: u64,
}

/// Since when an edge is in each of its topics, and whom it sees there since when.
pub(crate) type View = BTreeMap<u32, (At, BTreeMap<PeerId, At>)>;

/// An edge. When it goes, another one takes its place in the list.
pub struct Edge {
    /// Its host.
    pub place: Place,
    /// Where it stands.
    pub standing: Standing,
    /// Since when.
    pub since: At,
    /// Who it is.
    pub peer: Option<PeerId>,
    /// Counts its sessions, so that what an earlier one planned is not done by a later one.
    pub(crate) session: u32,
    socket: u32,
    seen: u64,
    acked: u64,
    ack_planned: bool,
    token: Option<Token>,
    keyed: Option<Box<Keyed>>,
    pub(crate) topics: Vec<u32>,
    known: Vec<PeerId>,
    /// Signals that have no receipt yet.
    open: Vec<u64>,
    /// The newest signal of each sender.
    last_from: BTreeMap<PeerId, u64>,
    /// What it sees, if it is a witness and in step with its host.
    pub(crate) view: Option<Box<View>>,
    /// It watches the topic of the probes and does nothing else.
    pub(crate) is_probe: bool,
}

impl Edge {
    fn is_connected(&self) -> bool {
        matches!(self.standing, Standing::Open | Standing::Opening)
    }
}

/// Since when, and until when, somebody is a member of a topic.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Membership {
    pub(crate) home: Place,
    pub(crate) since: At,
    /// Until when it may be seen at all: later than it went, if the others cannot know at once.
    pub(crate) until: Option<At>,
    /// Since when its socket is gone: it is a member as long as its session is kept.
    pub(crate) away: Option<At>,
}

/// What belongs to all edges together.
pub(crate) struct Crowd {
    /// One entry for each place in a topic, so that topics have the sizes that were asked for.
    slots: Vec<u32>,
    topics: Vec<(TopicId, Arc<str>)>,
    /// Who is in which topic in truth.
    pub(crate) members: BTreeMap<u32, BTreeMap<PeerId, Membership>>,
    pub(crate) signals: BTreeMap<u64, Sent>,
    last_signal: u64,
    witnesses: usize,
    chance: Chance,
}

impl Crowd {
    pub(crate) fn new(scenario: &Scenario, network: &Network) -> Self {
        let mut chance = Chance::new(scenario.seed, 2);
        let wanted = scenario.hosts * scenario.edges * scenario.topics;
        let mut slots = Vec::new();
        let mut topics = Vec::new();
        let [least, most] = scenario.topic_size;
        while slots.len() < wanted {
            // Sizes spread so that small topics are as common as large ones take edges.
            let spread = chance.below(1 + chance.clone().below(most - least + 1));
            let number = topics.len() as u32;
            slots.extend((0..least + spread).map(|_| number));
            let name: Arc<str> = format!("topic {number}").into();
            topics.push((network.topic(&name), name));
        }
        Self { slots, topics, members: BTreeMap::new(), signals: BTreeMap::new(), last_signal: 0, witnesses: 0, chance }
    }

    pub(crate) fn topic(&self, number: u32) -> Topic {
        let (id, name) = &self.topics[number as usize];
        Topic { id: *id, name: name.clone() }
    }
}

fn number_of(topic: &str) -> Option<u32> {
    topic.strip_prefix("topic ")?.parse().ok()
}

const SOCKET_BITS: u32 = 24;

fn key(edge: usize, socket: u32) -> EdgeKey {
    EdgeKey((edge as u64) << SOCKET_BITS | u64::from(socket))
}

fn edge_of(key: EdgeKey) -> (usize, u32) {
    ((key.0 >> SOCKET_BITS) as usize, key.0 as u32 & ((1 << SOCKET_BITS) - 1))
}

/// An address for an edge: a few share one.
fn edge_address(edge: usize) -> IpAddr {
    let [_, a, b, c] = (edge as u32 / 4).to_be_bytes();
    IpAddr::V4(Ipv4Addr::new(150 + a % 16, b, c, 7))
}

impl World {
    /// Adds an edge that will come to a host for the first time.
    pub(crate) fn add_edge(&mut self, place: Place, is_probe: bool) -> usize {
        let keyed = !is_probe && self.crowd.chance.in_a_million(self.scenario.keyed);
        let keyed =
            keyed.then(|| Box::new(Keyed { key: SigningKey::from_bytes(&self.crowd.chance.bytes()), counter: 0 }));
        let witness = !is_probe && self.crowd.witnesses < WITNESSES_MAX;
        self.crowd.witnesses += usize::from(witness);
        self.edges.push(Edge {
            place,
            standing: Standing::Out,
            since: self.now,
            peer: None,
            session: 0,
            socket: 0,
            seen: 0,
            acked: 0,
            ack_planned: false,
            token: None,
            keyed,
            topics: Vec::new(),
            known: Vec::new(),
            open: Vec::new(),
            last_from: BTreeMap::new(),
            view: witness.then(Box::default),
            is_probe,
        });
        self.edges.len() - 1
    }

    pub(crate) fn plan(&mut self, edge: usize, after: At, wish: Wish) {
        let session = self.edges[edge].session;
        self.later(after, Happening::Wish(edge as u32, session, wish));
    }

    /// Whether the crowd has come to rest, for the last checks.
    pub(crate) fn is_quiet(&self) -> bool {
        self.now >= self.scenario.warm + self.scenario.measure
    }

    /// How long it takes between an edge and its host.
    pub(crate) fn lag(&self, key: EdgeKey) -> At {
        let (edge, _) = edge_of(key);
        (5 + (edge as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) % 35) * MS
    }

    /// A host has begun: those who live near it come.
    pub(crate) fn host_began(&mut self, place: Place) {
        if self.hosts[place].life == 1 && !self.is_liar(place) {
            if self.scenario.probe > 0 {
                let edge = self.add_edge(place, true);
                self.plan(edge, SEC, Wish::Come);
            }
            for _ in 0..self.scenario.edges {
                let edge = self.add_edge(place, false);
                let (first, spread) =
                    self.scenario.come.map_or((SEC, self.scenario.start / 2), |come| (self.scenario.come_after, come));
                let after = first + self.crowd.chance.below(spread + 1);
                self.plan(edge, after, Wish::Come);
            }
        }
    }

    /// A host's process is gone: its edges' sockets break.
    pub(crate) fn host_ended(&mut self, place: Place) {
        for edge in 0..self.edges.len() {
            if self.edges[edge].place == place && self.edges[edge].standing != Standing::Out {
                self.session_lost(edge, Self::still_seen(true));
                let after = 500 * MS + self.crowd.chance.below(3 * SEC);
                self.plan(edge, after, Wish::Come);
            }
        }
    }

    /// An edge's session is over for good, as the truth has it; but for so long others cannot know.
    fn session_lost(&mut self, edge: usize, unknown_for: At) {
        let now = self.now;
        let Edge { peer, .. } = self.edges[edge];
        self.shouts.session_lost(now, edge, &self.edges[edge].topics);
        for topic in std::mem::take(&mut self.edges[edge].topics) {
            let member = peer.and_then(|peer| self.crowd.members.get_mut(&topic)?.get_mut(&peer));
            if let Some(member) = member {
                member.until = member.until.or(Some(now + unknown_for));
            }
        }
        for number in std::mem::take(&mut self.edges[edge].open) {
            if let Some(sent) = self.crowd.signals.get_mut(&number) {
                sent.orphan = true;
            }
        }
        let edge = &mut self.edges[edge];
        edge.standing = Standing::Out;
        edge.since = now;
        edge.session += 1;
        edge.token = None;
        edge.known.clear();
        edge.last_from.clear();
        if let Some(view) = &mut edge.view {
            view.clear();
        }
    }

    /// What its host calls an edge's present socket.
    pub(crate) fn socket(&self, edge: usize) -> EdgeKey {
        key(edge, self.edges[edge].socket)
    }

    fn open_socket(&mut self, edge: usize) {
        let place = self.edges[edge].place;
        self.edges[edge].socket += 1;
        self.edges[edge].standing = Standing::Opening;
        self.edges[edge].since = self.now;
        self.edges[edge].ack_planned = false;
        let key = key(edge, self.edges[edge].socket);
        self.input(place, Input::EdgeOpened { edge: key, address: edge_address(edge) });
    }

    pub(crate) fn ask(&mut self, edge: usize, request: Request) {
        let (place, key) = (self.edges[edge].place, key(edge, self.edges[edge].socket));
        let lag = self.lag(key);
        self.later(lag, Happening::Asked(place, key, Box::new(request)));
    }

    /// A request comes to a host.
    pub(crate) fn asked(&mut self, place: Place, key: EdgeKey, request: Request) {
        let (edge, socket) = edge_of(key);
        // Whoever has said bye is not heard any more.
        let Edge { standing, .. } = self.edges[edge];
        if self.edges[edge].socket != socket || self.edges[edge].place != place || standing == Standing::Out {
            return;
        }
        let what = match &request {
            Request::Hello(_) => "hello",
            Request::Join { topic, .. } => {
                let (number, peer, now) = (number_of(&topic.name), self.edges[edge].peer, self.now);
                if let (Some(number), Some(peer)) = (number, peer) {
                    let members = self.crowd.members.entry(number).or_default();
                    members.insert(peer, Membership { home: place, since: now, until: None, away: None });
                }
                "join"
            }
            Request::Leave { topic, .. } => {
                self.left(edge, &topic.name);
                "leave"
            }
            Request::Signal { .. } => "signal",
            Request::Broadcast { .. } => "broadcast",
            Request::Ack { .. } => "ack",
            Request::Bye => "bye",
            _ => "asks",
        };
        if what != "ack" {
            self.trace.push(self.now, Arrow::Asks(edge as u32, place, what));
        }
        let bye = request == Request::Bye;
        self.input(place, Input::EdgeAsked { edge: key, request });
        if bye {
            self.session_lost(edge, 0);
            let pause = self.crowd.chance.exponential(self.scenario.pause);
            self.plan(edge, pause, Wish::Come);
        }
    }

    /// An edge does what it had planned.
    pub(crate) fn wish(&mut self, edge: u32, session: u32, wish: Wish) {
        let edge = edge as usize;
        let Edge { place, standing, .. } = self.edges[edge];
        if self.edges[edge].session != session
            || self.is_quiet() && matches!(wish, Wish::Speak | Wish::Shout | Wish::Drop | Wish::Roam | Wish::Hop)
        {
            return;
        }
        let leaves = self.scenario.everybody_leaves_at.is_some_and(|at| self.now >= at);
        if self.is_quiet() && wish == Wish::Go && !leaves {
            return;
        }
        match (wish, standing) {
            (Wish::Come, Standing::Out) => self.come(edge),
            (Wish::Speak, Standing::Open) => {
                self.speak(edge);
                let pause = self.crowd.chance.exponential(self.scenario.speak);
                self.plan(edge, pause, Wish::Speak);
            }
            (Wish::Shout, Standing::Open) => {
                self.shout(edge);
                let pause = self.shouts.pause(self.scenario.shout);
                self.plan(edge, pause, Wish::Shout);
            }
            (Wish::Hop, Standing::Open) => self.hop(edge),
            (Wish::Speak | Wish::Shout | Wish::Hop, Standing::Away | Standing::Opening) => self.plan(edge, SEC, wish),
            (Wish::Go, Standing::Open) => self.ask(edge, Request::Bye),
            (Wish::Go | Wish::Roam | Wish::Drop, Standing::Away | Standing::Opening) => self.plan(edge, 5 * SEC, wish),
            (Wish::Drop, Standing::Open) => {
                self.break_socket(edge);
                let away = self.crowd.chance.exponential(self.scenario.away);
                self.plan(edge, away, Wish::Return);
            }
            (Wish::Return, Standing::Away) => self.come_back(edge),
            (Wish::Roam, Standing::Open) => {
                self.break_socket(edge);
                self.session_lost(edge, Self::grace());
                self.edges[edge].place = self.another_host(place);
                self.plan(edge, 200 * MS, Wish::Come);
            }
            (Wish::Ack, Standing::Open) => self.acknowledge(edge),
            _ => {}
        }
    }

    fn another_host(&mut self, but: Place) -> Place {
        let count = self.hosts.len();
        let tries: Vec<Place> = (0..16).map(|_| self.crowd.chance.index(count)).collect();
        let fits = |place: &Place| *place != but && self.hosts[*place].running().is_some() && !self.is_liar(*place);
        tries.into_iter().find(fits).unwrap_or(but)
    }

    /// The host is told at once or, when the whole device is gone, never; here always at once.
    fn break_socket(&mut self, edge: usize) {
        let (place, key) = (self.edges[edge].place, key(edge, self.edges[edge].socket));
        self.edges[edge].standing = Standing::Away;
        self.edges[edge].since = self.now;
        self.edges[edge].socket += 1;
        self.set_away(edge, Some(self.now));
        let lag = self.lag(key);
        self.later(lag, Happening::Closed(place, key));
    }

    fn set_away(&mut self, edge: usize, away: Option<At>) {
        let Edge { peer: Some(peer), topics, .. } = &self.edges[edge] else { return };
        for topic in topics {
            if let Some(member) = self.crowd.members.get_mut(topic).and_then(|members| members.get_mut(peer)) {
                member.away = away;
            }
        }
    }

    fn come(&mut self, edge: usize) {
        if self.scenario.everybody_leaves_at.is_some_and(|at| self.now >= at) {
            return;
        }
        let place = self.edges[edge].place;
        if self.hosts[place].running().is_none() {
            self.edges[edge].place = self.another_host(place);
            if self.hosts[self.edges[edge].place].running().is_none() {
                return self.plan(edge, SEC, Wish::Come);
            }
        }
        (self.edges[edge].seen, self.edges[edge].acked) = (0, 0);
        if self.edges[edge].keyed.is_none() {
            self.edges[edge].peer = None;
        }
        self.open_socket(edge);
    }

    fn come_back(&mut self, edge: usize) {
        if self.hosts[self.edges[edge].place].running().is_none() {
            return self.plan(edge, SEC, Wish::Return);
        }
        self.open_socket(edge);
    }

    /// Asks to join a topic drawn by chance, unless the edge is in it.
    fn join_one(&mut self, edge: usize) {
        let slots = self.crowd.slots.len();
        if slots == 0 {
            return;
        }
        let slot = self.crowd.chance.index(slots);
        let topic = self.crowd.slots[slot];
        if !self.edges[edge].topics.contains(&topic) {
            self.edges[edge].topics.push(topic);
            let request = Request::Join { id: "j".into(), topic: self.crowd.topic(topic), meta: None, quiet: false };
            self.ask(edge, request);
        }
    }

    fn hop(&mut self, edge: usize) {
        if let Some(topic) = self.edges[edge].topics.first().copied() {
            if let Some(view) = &mut self.edges[edge].view {
                view.remove(&topic);
            }
            self.ask(edge, Request::Leave { id: "l".into(), topic: self.crowd.topic(topic) });
            self.join_one(edge);
        }
        let pause = self.crowd.chance.exponential(self.scenario.hops);
        self.plan(edge, pause, Wish::Hop);
    }

    /// A host has been told that an edge leaves a topic.
    fn left(&mut self, edge: usize, topic: &str) {
        let (Some(topic), Some(peer)) = (number_of(topic), self.edges[edge].peer) else { return };
        self.edges[edge].topics.retain(|other| *other != topic);
        if let Some(member) = self.crowd.members.get_mut(&topic).and_then(|members| members.get_mut(&peer)) {
            member.until = Some(self.now);
        }
    }
}
