//! The edges of a world: people at browsers, in short.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use aldis::relay::io::{EdgeKey, Event, Hello, Identity, Input, Moment, Reach, Request, Token, Topic};
use aldis_wire::host::Outcome;
use aldis_wire::id::PeerId;
use aldis_wire::proof::{Proof, answer_challenge};
use bytes::Bytes;
use ed25519_dalek::SigningKey;

use super::{Happening, Place, World};

/// An edge: what it has heard and not looked at yet.
pub struct Edge {
    pub place: Place,
    pub key: EdgeKey,
    pub events: Vec<Event>,
    /// Everything it has ever heard, repetitions left out by seq as the client library does.
    pub history: Vec<(Moment, Event)>,
    pub open: bool,
    /// Acknowledges everything at once, as the client library does.
    pub acks: bool,
    pub peer: Option<PeerId>,
    pub token: Option<Token>,
    pub challenge: [u8; 32],
    pub seen: u64,
}

impl Edge {
    /// The outcomes that the edge was told, by id of the signal.
    pub fn receipts(&self) -> BTreeMap<String, Vec<Outcome>> {
        let mut receipts: BTreeMap<String, Vec<Outcome>> = BTreeMap::new();
        for (_, event) in &self.history {
            if let Event::Receipt { id, outcome, .. } = event {
                receipts.entry(id.to_string()).or_default().push(*outcome);
            }
        }
        receipts
    }

    /// The signals that the edge got: sender and id, in order.
    pub fn got(&self) -> Vec<(PeerId, String)> {
        let got = self.history.iter().filter_map(|(_, event)| match event {
            Event::Signal { from, id, .. } => Some((*from, id.to_string())),
            _ => None,
        });
        got.collect()
    }
}

impl World {
    /// An edge sends something to a topic.
    pub fn broadcast(&mut self, from: usize, topic: &str, id: &str, data: &str) {
        let topic = self.topic(self.edges[from].place, topic);
        let data = Bytes::copy_from_slice(data.as_bytes());
        self.ask(from, Request::Broadcast { id: id.into(), topic, data, echo: false });
    }

    /// An edge opens a socket at a host.
    pub fn open(&mut self, place: Place) -> usize {
        self.open_from(place, IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)))
    }

    /// An edge opens a socket at a host, from this address.
    pub fn open_from(&mut self, place: Place, address: IpAddr) -> usize {
        self.counter += 1;
        let key = EdgeKey(self.counter);
        let edge = self.edges.len();
        self.edges.push(Edge {
            place,
            key,
            events: Vec::new(),
            history: Vec::new(),
            open: true,
            acks: true,
            peer: None,
            token: None,
            challenge: [0; 32],
            seen: 0,
        });
        self.sockets.insert((place, key), edge);
        self.input(place, Input::EdgeOpened { edge: key, address });
        edge
    }

    /// An edge opens a socket and says hello as a minted peer.
    pub fn edge(&mut self, place: Place) -> usize {
        let edge = self.open(place);
        self.hello(edge);
        edge
    }

    /// An edge says hello as a minted peer.
    pub fn hello(&mut self, edge: usize) {
        self.ask(edge, Request::Hello(Hello { identity: Identity::Minted, meta: Bytes::new() }));
        assert!(self.edges[edge].peer.is_some(), "welcome comes at once");
        self.edges[edge].events.clear();
    }

    /// An edge opens a socket and says hello with a key; what it is told stays to be heard.
    pub fn keyed(&mut self, place: Place, key: &SigningKey, counter: u64) -> usize {
        let edge = self.open(place);
        let identity = self.claim(edge, key, counter);
        self.ask(edge, Request::Hello(Hello { identity, meta: Bytes::new() }));
        self.edges[edge].events.retain(|event| !matches!(event, Event::Greeting { .. } | Event::Welcome(_)));
        edge
    }

    /// A claim for the host at which an edge is, with the answer to its greeting.
    pub fn claim(&self, edge: usize, key: &SigningKey, counter: u64) -> Identity {
        let Edge { place, challenge, .. } = &self.edges[edge];
        let (tag, home) = (self.hosts[*place].network.tag, self.hosts[*place].id);
        let Proof::Keyed { signature: claim, .. } = Proof::claim(key, tag, home, counter, None) else { unreachable!() };
        let answer = answer_challenge(key, tag, home, challenge);
        let peer = PeerId::new(key.verifying_key().to_bytes());
        Identity::Keyed { peer, counter, sealing: None, claim, answer }
    }

    /// An edge's socket breaks without a word; what is told to it from now on is not heard.
    pub fn drop_socket(&mut self, edge: usize) {
        let Edge { place, key, .. } = self.edges[edge];
        self.edges[edge].open = false;
        self.input(place, Input::EdgeClosed { edge: key });
    }

    /// An edge's socket breaks and only the edge notices: the host goes on telling into the void.
    pub fn deafen(&mut self, edge: usize) {
        self.edges[edge].open = false;
    }

    /// An edge comes back on a new socket with its token.
    pub fn resume(&mut self, edge: usize) {
        let (place, token, seq) = (self.edges[edge].place, self.edges[edge].token.unwrap(), self.edges[edge].seen);
        self.counter += 1;
        let key = EdgeKey(self.counter);
        (self.edges[edge].key, self.edges[edge].open) = (key, true);
        self.sockets.insert((place, key), edge);
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
        self.ask(edge, Request::Join { id: "j".into(), topic, meta: None, quiet: false });
    }

    /// An edge joins a topic and says something of itself.
    pub fn join_as(&mut self, edge: usize, name: &str, meta: &str) {
        let topic = self.topic(self.edges[edge].place, name);
        let meta = Some(Bytes::copy_from_slice(meta.as_bytes()));
        self.ask(edge, Request::Join { id: "j".into(), topic, meta, quiet: false });
    }

    /// An edge leaves a topic.
    pub fn leave(&mut self, edge: usize, name: &str) {
        let topic = self.topic(self.edges[edge].place, name);
        self.ask(edge, Request::Leave { id: "l".into(), topic });
    }

    /// An edge watches a topic.
    pub fn watch(&mut self, edge: usize, name: &str) {
        let topic = self.topic(self.edges[edge].place, name);
        self.ask(edge, Request::Watch { id: "w".into(), topic });
    }

    /// An edge asks who is in a topic.
    pub fn discover(&mut self, edge: usize, name: &str, limit: usize) {
        let topic = self.topic(self.edges[edge].place, name);
        self.ask(edge, Request::Discover { id: "d".into(), topic, limit });
    }

    /// How many members of a topic a host shows; asked by an edge of its own that is in no topic.
    pub fn total(&mut self, place: Place, name: &str) -> usize {
        loop {
            let probe = match self.probes.get(&place).copied() {
                Some(probe) => probe,
                None => {
                    let probe = self.edge(place);
                    self.probes.insert(place, probe);
                    probe
                }
            };
            self.edges[probe].history.clear();
            self.discover(probe, name, 1);
            if let Some(Event::Peers(sample)) = self.heard(probe).pop() {
                return sample.total;
            }
            // It has asked too often: another one takes its place.
            self.ask(probe, Request::Bye);
            self.probes.remove(&place);
        }
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

    pub(super) fn socket_closed(&mut self, place: Place, key: EdgeKey) {
        if let Some(edge) = self.sockets.get(&(place, key)).copied()
            && self.edges[edge].key == key
        {
            self.edges[edge].open = false;
        }
    }

    pub(super) fn told(&mut self, place: Place, key: EdgeKey, event: Event) {
        let Some(at) = self.sockets.get(&(place, key)).copied() else { return };
        let edge = &mut self.edges[at];
        if edge.key != key || !edge.open {
            return;
        }
        match &event {
            Event::Greeting { challenge } => edge.challenge = *challenge,
            Event::Welcome(welcome) => {
                if !welcome.resumed {
                    edge.seen = 0;
                }
                (edge.peer, edge.token) = (Some(welcome.peer), Some(welcome.token));
            }
            _ => {}
        }
        let seq = match &event {
            Event::PeerJoined { seq, .. }
            | Event::PeerLeft { seq, .. }
            | Event::Signal { seq, .. }
            | Event::Receipt { seq, .. }
            | Event::Broadcast { seq, .. }
            | Event::Tally { seq, .. } => Some(*seq),
            _ => None,
        };
        if seq.is_some_and(|seq| seq <= edge.seen) {
            return;
        }
        if let Some(seq) = seq {
            assert_eq!(seq, edge.seen + 1, "nothing is left out of an edge's sequence");
            edge.seen = seq;
        }
        edge.events.push(event.clone());
        edge.history.push((self.now, event));
        if let (Some(seq), true) = (seq, edge.acks) {
            let life = self.hosts[place].life;
            let ack = Input::EdgeAsked { edge: key, request: Request::Ack { seq } };
            self.later(Duration::ZERO, Happening::Input(place, life, ack));
        }
    }

    /// Names of the events in a list, for short assertions: `+3`, `-3 Gone(Lost)`, `3 says x`, `id Delivered`.
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
            Event::Broadcast { from, topic, data, .. } => {
                format!("{} says {} to {topic}", who(from), String::from_utf8_lossy(data))
            }
            Event::Tally { id, reach, .. } => {
                let Reach { taken, refused, unknown, members, missed, code } = reach;
                let code = code.map_or(String::new(), |code| format!(" {code}"));
                format!(
                    "{id} taken {taken} refused {refused} unknown {unknown} members {members} missed {missed}{code}"
                )
            }
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
