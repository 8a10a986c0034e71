//! One machine among edges and hosts that do anything at all: valid, mutated, garbage, in any order. It never panics, no
//! table outgrows its bound, and when everybody has left nothing is left.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use aldis::relay::io::{
    DialFailure, DialKey, EdgeKey, Event, Hello, Hint, HintSource, HostLists, Identity, Input, LinkKey, Output,
    Request, Token,
};
use aldis::relay::limits;
use aldis_wire::announcement::Op;
use aldis_wire::host::{
    Bounce, Broadcast, Channel, Frame, GoodbyeReason, HaveEntry, Outcome, Part, Query, Range, Receipt, Reply, Routed,
    Signal, Spread, Tally,
};
use aldis_wire::id::{HostId, PeerId};
use aldis_wire::proof::Proof;
use aldis_wire::refusal::Refusal;
use aldis_wire::revocation::Revocation;
use bytes::Bytes;
use proptest::prelude::*;

use crate::neighbour::{House, Player, named, network};

const PLAYERS: usize = 3;

/// What a random number stands for.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 16).unwrap() % limit.max(1)
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.below(256)).unwrap()
    }

    fn bytes(&mut self, most: usize) -> Bytes {
        let length = self.below(most);
        (0..length).map(|_| self.byte()).collect()
    }
}

/// The machine, everybody around it, and what a test must remember of them.
struct Crowd {
    house: House,
    chance: Chance,
    players: Vec<Player>,
    links: Vec<(LinkKey, usize)>,
    edges: Vec<EdgeKey>,
    tokens: Vec<Token>,
    peers: Vec<PeerId>,
    next_edge: u64,
    n: u64,
}

impl Crowd {
    fn new(seed: u64) -> Self {
        Self {
            house: House::new(),
            chance: Chance(seed | 1),
            players: (1..=PLAYERS).map(|number| Player::new(u16::try_from(number).unwrap())).collect(),
            links: Vec::new(),
            edges: Vec::new(),
            tokens: vec![Token([1; 32])],
            peers: vec![PeerId::new([9; 32])],
            next_edge: 1_000,
            n: 10,
        }
    }

    fn tell(&mut self, input: Input) {
        let effects = self.house.handle(input);
        self.house.take(&effects);
        for output in effects.outputs {
            match output {
                Output::TellEdge { event: Event::Welcome(welcome), .. } => {
                    self.tokens.push(welcome.token);
                    self.peers.push(welcome.peer);
                }
                Output::CloseEdge { edge } => self.edges.retain(|open| *open != edge),
                Output::CloseLink { link, .. } => self.links.retain(|(open, _)| *open != link),
                Output::Dial { dial, .. } => {
                    self.tell(Input::DialFailed { dial, failure: DialFailure::Failed("no".into()) });
                }
                _ => {}
            }
        }
        self.within_bounds();
    }

    fn peer(&mut self) -> PeerId {
        let at = self.chance.below(self.peers.len());
        self.peers[at]
    }

    fn act(&mut self) {
        match self.chance.below(12) {
            0 => self.edge_comes(),
            1..=4 => self.edge_asks(),
            5 => self.edge_goes(),
            6 => self.link_comes(),
            7..=9 => self.link_says(),
            10 => self.world_happens(),
            _ => {
                let time = [1, 40, 300, 2_000, 7_000, 31_000][self.chance.below(6)];
                let effects = self.house.wait(Duration::from_millis(time));
                let (edges, links) = (&mut self.edges, &mut self.links);
                for output in effects.outputs {
                    match output {
                        Output::CloseEdge { edge } => edges.retain(|open| *open != edge),
                        Output::CloseLink { link, .. } => links.retain(|(open, _)| *open != link),
                        _ => {}
                    }
                }
                self.within_bounds();
            }
        }
    }

    fn edge_comes(&mut self) {
        self.next_edge += 1;
        let edge = EdgeKey(self.next_edge);
        self.edges.push(edge);
        let address = IpAddr::V4(Ipv4Addr::new(198, 51, 100, self.chance.byte() % 3));
        self.tell(Input::EdgeOpened { edge, address });
        if self.chance.below(5) > 0 {
            let token = self.tokens[self.chance.below(self.tokens.len())];
            let seq = self.chance.below(20) as u64;
            let identity = if self.chance.below(3) == 0 { Identity::Resumed { token, seq } } else { Identity::Minted };
            self.tell(Input::EdgeAsked { edge, request: Request::Hello(Hello { identity, meta: Bytes::new() }) });
        }
    }

    fn edge_asks(&mut self) {
        let known = self.chance.below(self.edges.len() + 1);
        let edge = self.edges.get(known).copied().unwrap_or(EdgeKey(7));
        let topic = named(["red", "green", "blue"][self.chance.below(3)]);
        self.n += 1;
        let id = format!("{}", self.n - self.chance.below(3) as u64).as_str().into();
        let request = match self.chance.below(12) {
            0 | 1 => {
                Request::Join { id, topic, meta: Some(self.chance.bytes(1_024)), quiet: self.chance.below(2) == 0 }
            }
            2 => Request::Leave { id, topic },
            3 => Request::Watch { id, topic },
            4 => Request::Unwatch { id, topic },
            5 => Request::Discover { id, topic, limit: self.chance.below(1_000) },
            6 => Request::Ping,
            7 => Request::Ack { seq: self.chance.below(400) as u64 },
            8 if self.chance.below(4) == 0 => Request::Bye,
            8 | 9 => Request::Broadcast { id, topic, data: self.chance.bytes(3_000), echo: self.chance.below(2) == 0 },
            _ => Request::Signal { id, to: self.peer(), topic: Some(topic.id), data: self.chance.bytes(3_000) },
        };
        self.tell(Input::EdgeAsked { edge, request });
    }

    fn edge_goes(&mut self) {
        let at = self.chance.below(self.edges.len() + 1);
        if at < self.edges.len() {
            let edge = self.edges.swap_remove(at);
            self.tell(Input::EdgeClosed { edge });
        }
    }

    fn link_comes(&mut self) {
        let player = self.chance.below(PLAYERS);
        let link = self.house.connect(&self.players[player]);
        self.links.push((link, player));
        if self.chance.below(8) > 0 {
            let hello = self.house.hello_of(&self.players[player]);
            self.frame(link, &Frame::Hello(hello));
            self.frame(link, &Frame::Admitted);
            if self.players[player].seq == 0 {
                let record = self.players[player].record();
                let first = self.players[player].announce(&[Op::Record(record)]);
                self.frame(link, &Frame::Announcement(first));
            }
        }
    }

    /// Most frames arrive as they should; some changed, cut short, or where they do not belong.
    fn frame(&mut self, link: LinkKey, frame: &Frame) {
        let channels = [Channel::Control, Channel::Announce, Channel::Sync, Channel::Lane(1)];
        let Ok((kind, mut body)) = frame.kind_and_body() else { return };
        let right = channels.into_iter().find(|channel| frame.belongs_on(*channel)).unwrap();
        let mut channel = right;
        match self.chance.below(40) {
            0 => channel = channels[self.chance.below(4)],
            1 => body.truncate(self.chance.below(body.len() + 1)),
            2 if !body.is_empty() => {
                let at = self.chance.below(body.len());
                body[at] ^= 1 << self.chance.below(8);
            }
            3 => body.extend_from_slice(&self.chance.bytes(9)),
            _ => {}
        }
        self.tell(Input::LinkReceived { link, channel, kind, body: Bytes::from(body) });
    }

    fn link_says(&mut self) {
        let at = self.chance.below(self.links.len() + 1);
        let Some((link, player)) = self.links.get(at).copied() else {
            let (kind, body) = (self.chance.byte(), self.chance.bytes(200));
            return self.tell(Input::LinkReceived { link: LinkKey(77), channel: Channel::Control, kind, body });
        };
        let origin = self.some_host();
        let frame = match self.chance.below(14) {
            0..=2 => {
                let ops = self.ops(player);
                let mut announcement = self.players[player].announce(&ops);
                announcement.age_ms = if self.chance.below(5) == 0 { u32::MAX } else { 0 };
                if self.chance.below(6) == 0 {
                    announcement.ops = None;
                }
                Frame::Announcement(announcement)
            }
            3 => Frame::Announcement(self.players[player].announce_with(&[], [3; 32])),
            4 => Frame::Have(self.have()),
            5 => Frame::Prune(origin),
            6 => Frame::Graft(origin, self.chance.below(9_000) as u64, self.chance.below(100) as u64),
            7 => Frame::Query(Query { origin, ranges: vec![self.range()] }),
            8 => self.reply(player, origin),
            9 => self.signal(player),
            10 => self.broadcast(player),
            11 => Frame::Receipt(Receipt {
                from: self.peer(),
                to: self.peer(),
                id: format!("{}", self.n),
                outcome: Outcome::Refused(Refusal::Gone),
            }),
            12 if self.chance.below(2) == 0 => self.tally(),
            12 => self.routed(),
            _ if self.chance.below(3) == 0 => Frame::Goodbye(GoodbyeReason::Crossed),
            _ if self.chance.below(4) == 0 => {
                let invented = u16::try_from(500 + self.chance.below(9)).unwrap();
                Frame::Revoked(vec![Revocation::make(&Player::new(invented).key)])
            }
            _ => Frame::Bounce(Bounce { from_home: origin, nonce: [5; 24], refusal: Refusal::HomeUnreachable }),
        };
        self.frame(link, &frame);
        if self.chance.below(30) == 0 {
            // Now and then the operator denies one of them, and then another, or nobody.
            let deny = [origin].into_iter().filter(|_| self.chance.below(2) == 0).collect();
            self.tell(Input::HostsListed { lists: HostLists { allow: None, deny } });
        }
        if self.chance.below(30) == 0 {
            self.players[player].restart();
        }
        if self.chance.below(20) == 0 {
            let (kind, body) = (self.chance.byte(), self.chance.bytes(300));
            self.tell(Input::LinkReceived { link, channel: Channel::Control, kind, body });
        }
    }

    fn some_host(&mut self) -> HostId {
        match self.chance.below(PLAYERS + 2) {
            at if at < PLAYERS => self.players[at].id,
            PLAYERS => self.house.id,
            _ => HostId::new([self.chance.byte(); 32]),
        }
    }

    fn ops(&mut self, player: usize) -> Vec<Op> {
        let (peer, proof) = self.players[player].mint(self.chance.byte() % 8);
        self.peers.push(peer);
        let topic = named(["red", "green"][self.chance.below(2)]).id;
        let ops = [
            Op::Present { peer, proof },
            Op::Join { topic, peer, meta: self.chance.bytes(100) },
            Op::Leave { topic, peer },
            Op::Gone { peer, reason: aldis_wire::announcement::GoneReason::Closed },
        ];
        let first = self.chance.below(2) * self.chance.below(4);
        let count = 1 + self.chance.below(3);
        ops.into_iter().skip(first).take(count).collect()
    }

    fn have(&mut self) -> Vec<HaveEntry> {
        let number = u16::from(self.chance.byte()) * 200;
        let (origin, epoch, seq) = (self.some_host(), 1_000, self.chance.0 % 300);
        let named = HaveEntry::Named { number, origin, epoch, seq };
        if self.chance.below(10) == 0 { vec![HaveEntry::Numbered { number, seq, held: 0 }] } else { vec![named] }
    }

    fn range(&mut self) -> Range {
        Range { key: [self.chance.byte(); 32], nibbles: self.chance.byte() % 65 }
    }

    fn reply(&mut self, player: usize, origin: HostId) -> Frame {
        let head = self.players[player].head(1_000, self.chance.below(50) as u64, b"", [1; 32]);
        let parts = vec![(self.range(), Part::Entries(self.chance.bytes(50))), (self.range(), Part::Below(Vec::new()))];
        Frame::Reply(Reply { origin, head: Some((0, head)), parts })
    }

    fn signal(&mut self, player: usize) -> Frame {
        let (from, proof) = self.players[player].mint(self.chance.byte() % 8);
        self.n += 1;
        let n = self.n - self.chance.below(4) as u64;
        let proof = if self.chance.below(20) == 0 { Proof::Minted { nonce: [0; 16] } } else { proof };
        let to = self.peer();
        Frame::Signal(Signal { from, to, session: 1, n, id: format!("{n}"), proof, topic: None, data: Bytes::new() })
    }

    fn broadcast(&mut self, player: usize) -> Frame {
        let (from, proof) = self.players[player].mint(self.chance.byte() % 8);
        self.n += 1;
        let n = self.n - self.chance.below(4) as u64;
        let topic = named(["red", "green", "blue"][self.chance.below(3)]).id;
        let data = self.chance.bytes(3_000);
        Frame::Broadcast(Broadcast { from, session: 1, n, id: format!("{n}"), proof, topic, data })
    }

    fn tally(&mut self) -> Frame {
        let (from, id) = (self.peer(), format!("{}", self.n - self.chance.below(4) as u64));
        let spread = Spread::Taken { members: u32::MAX, missed: u32::MAX };
        Frame::Tally(Tally { from, id, spread })
    }

    fn routed(&mut self) -> Frame {
        Frame::Routed(Routed {
            to_home: self.some_host(),
            from_home: self.some_host(),
            to_epoch: 5_000,
            from_epoch: 1_000,
            hops: self.chance.byte(),
            lane: self.chance.byte() % 4,
            nonce: [self.chance.byte(); 24],
            sealed: self.chance.bytes(500),
        })
    }

    fn world_happens(&mut self) {
        let source = [HintSource::Dht, HintSource::Record, HintSource::Cache, HintSource::Lan, HintSource::Dns]
            [self.chance.below(5)];
        let input = match self.chance.below(6) {
            0 => {
                let at = self.chance.below(self.links.len() + 1);
                let link = if at < self.links.len() { self.links.swap_remove(at).0 } else { LinkKey(3) };
                Input::LinkClosed { link, reason: "gone".into() }
            }
            1 => Input::LookUpEnded { outcome: Err("no".into()) },
            2 => Input::DialFailed { dial: DialKey(self.chance.below(9) as u64), failure: DialFailure::OtherNetwork },
            3 => {
                let host = Some(self.some_host());
                let address = std::net::SocketAddr::from(([45, 7, self.chance.byte(), self.chance.byte()], 4_000));
                Input::HintsFound { source, hints: vec![Hint { address, host }] }
            }
            4 => Input::LinkSent { link: LinkKey(1), channel: Channel::Lane(0), bytes: usize::MAX },
            _ => Input::Woken,
        };
        self.tell(input);
    }

    fn within_bounds(&self) {
        let tables = self.house.relay.tables();
        let bounds = [
            (tables.sessions, limits::SESSIONS_MAX),
            (tables.unacked_max, limits::UNACKED_MAX),
            (tables.unacked_bytes_max, limits::UNACKED_BYTES + limits::UNACKED_EVENTS_BYTES),
            (tables.open_signals, tables.sessions * limits::OPEN_SIGNALS_MAX),
            (tables.remembered_signals_max, limits::REMEMBERED_SIGNALS_MAX + limits::OPEN_SIGNALS_MAX),
            (tables.open_broadcasts, tables.sessions * limits::OPEN_BROADCASTS_MAX),
            (tables.remembered_broadcasts_max, limits::REMEMBERED_BROADCASTS_MAX),
            (tables.spreads, limits::REMEMBERED_SPREADS_MAX),
            (tables.broadcasters, tables.spreads),
            (tables.senders_max, limits::SENDERS_REMEMBERED_MAX),
            (tables.origins, limits::ORIGINS_MAX),
            (tables.rosters, tables.origins),
            (tables.log_max, limits::LOG_MAX),
            (tables.waiting_max, limits::WAITING_MAX),
            (tables.link_origins_max, 2 * limits::ORIGINS_MAX),
            (tables.comparisons, tables.origins),
            (tables.revocations, limits::REVOCATIONS_KEPT_MAX),
            (tables.quarantines, limits::QUARANTINES_MAX),
        ];
        for (at, (size, bound)) in bounds.into_iter().enumerate() {
            assert!(size <= bound, "bound {at}: {size} > {bound}, {tables:?}");
        }
    }

    /// Everybody leaves, some with a word and some without, and two hours pass.
    fn leave(&mut self) {
        for edge in std::mem::take(&mut self.edges) {
            let input = if self.chance.below(2) == 0 {
                Input::EdgeClosed { edge }
            } else {
                Input::EdgeAsked { edge, request: Request::Bye }
            };
            self.tell(input);
        }
        for (link, _) in std::mem::take(&mut self.links) {
            self.tell(Input::LinkClosed { link, reason: "gone".into() });
        }
        self.house.wait(Duration::from_secs(7_200));
        let tables = self.house.relay.tables();
        // What is remembered of others for a day, or for ever, has bounds of its own.
        let left = aldis::relay::view::Tables { marks: 0, quarantines: 0, revocations: 0, ..tables };
        // So are our own places, that are checked again as soon as somebody is there.
        let left = aldis::relay::view::Tables { addresses: 0, timers: 0, log_max: 0, checks: 0, ..left };
        let nothing = aldis::relay::view::Tables { rosters: 1, origins: 1, ..Default::default() };
        assert_eq!(left, nothing, "our own roster, and nothing else");
        let timers = 5 + usize::from(tables.checks > 0);
        assert!(
            tables.timers <= timers,
            "heartbeat, summaries, discovery, neighbours, housekeeping, our places: {tables:?}"
        );
        assert!(tables.marks <= limits::MARKS_MAX && tables.addresses <= 3 && tables.checks <= limits::PLACES_MAX);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_edges_and_hosts_do_nothing_panics_nothing_overflows_and_nothing_stays(
        seed in any::<u64>(),
        steps in 50_usize..1_200,
    ) {
        let mut crowd = Crowd::new(seed);
        for _ in 0..steps {
            crowd.act();
        }
        crowd.leave();
    }
}

#[test]
fn extreme_numbers_in_signed_heads_do_no_harm() {
    for (epoch, seq) in [(u64::MAX, 1), (u64::MAX, u64::MAX), (1, u64::MAX), (u64::MAX - 1, u64::MAX - 1), (0, 1)] {
        let mut house = House::new();
        let mut player = Player::new(1);
        let link = house.link(&player);
        let record = player.record();
        let first = player.announce(&[Op::Record(record)]);
        house.send(link, &Frame::Announcement(first));
        (player.epoch, player.seq) = (epoch, seq - 1);
        let next = player.announce(&[]);
        house.send(link, &Frame::Announcement(next.clone()));
        house.send(link, &Frame::Announcement(next));
        house.send(link, &Frame::Have(vec![HaveEntry::Named { number: 1, origin: player.id, epoch, seq }]));
        house.send(link, &Frame::Graft(player.id, epoch, seq));
        house.send(link, &Frame::Graft(house.id, epoch, seq));
        house.send(link, &Frame::Graft(house.id, 5_000, seq));
        house.wait(Duration::from_secs(30));
        let (edge, _) = house.edge("room");
        assert_eq!(house.members(edge, "room").len(), 0, "it still serves");
        _ = network();
    }
}
