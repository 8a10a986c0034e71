//! One machine, and neighbours whose every frame a test writes itself: what a hostile host could do, and an honest one.

#![allow(unreachable_pub, dead_code, reason = "each test uses its part")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test may fail by panic")]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use aldis::relay::io::{
    CheckKey, CheckTarget, DialKey, EdgeKey, Event, Fault, Hello as EdgeHello, Identity, Input, LinkKey, Moment, Note,
    Outbox, Output, Request, Topic,
};
use aldis::relay::{Relay, Settings, Setup};
use aldis_wire::announcement::{Head, Op, SignedHead, decode_ops, encode_ops, ops_hash};
use aldis_wire::codec::{cut, decode, encode};
use aldis_wire::digest::{Key, RECORD_KEY, Trie, entry_hash, membership_key, presence_key};
use aldis_wire::host::{
    Announcement, Channel, Frame, GoodbyeReason, Hello, Nat, Part, Query, Reply, Role, admission_proof,
};
use aldis_wire::id::{HostId, PeerId};
use aldis_wire::limits::FRAME_BYTES;
use aldis_wire::network::{Genesis, Network};
use aldis_wire::proof::{Proof, Signature};
use aldis_wire::record::{HostRecord, SignedRecord};
use aldis_wire::seal::SealingKey;
use bytes::{Bytes, BytesMut};
use ed25519_dalek::SigningKey;

/// A host that a test plays: it signs whatever it is told to.
pub struct Player {
    pub key: SigningKey,
    pub id: HostId,
    pub epoch: u64,
    pub seq: u64,
    /// Whom its record lists.
    pub neighbours: Vec<aldis_wire::record::ShortId>,
    /// What its record states.
    pub addresses: Vec<SocketAddr>,
    /// What its record states.
    pub candidates: Vec<SocketAddr>,
    /// Of its record.
    pub revision: u64,
    /// The same of STUN.
    pub stun: Vec<SocketAddr>,
    /// What its heads state.
    pub interval_ms: u32,
    trie: Trie,
    entries: BTreeMap<Key, Op>,
    newest: Option<SignedHead>,
}

impl Player {
    pub fn new(number: u16) -> Self {
        let mut secret = [7; 32];
        secret[..2].copy_from_slice(&number.to_be_bytes());
        let key = SigningKey::from_bytes(&secret);
        let id = HostId::new(key.verifying_key().to_bytes());
        let (trie, entries) = (Trie::default(), BTreeMap::new());
        Self {
            id,
            key,
            epoch: 1_000,
            seq: 0,
            neighbours: Vec::new(),
            addresses: Vec::new(),
            candidates: Vec::new(),
            stun: Vec::new(),
            revision: 1,
            interval_ms: 3_000,
            trie,
            entries,
            newest: None,
        }
    }

    pub fn record(&self) -> SignedRecord {
        let record = HostRecord {
            revision: self.revision,
            sealing: self.sealing().public(),
            addresses: self.addresses.clone(),
            gateways: Vec::new(),
            software: "player".into(),
            neighbours: self.neighbours.clone(),
            nat: Nat::Open,
            candidates: self.candidates.clone(),
            stun: self.stun.clone(),
        };
        SignedRecord::make(&self.key, network().tag, &record).unwrap()
    }

    pub fn sealing(&self) -> SealingKey {
        SealingKey::new(self.key.to_bytes())
    }

    /// A peer that this host mints.
    pub fn mint(&self, number: u8) -> (PeerId, Proof) {
        (Proof::mint(self.id, &[number; 16]), Proof::Minted { nonce: [number; 16] })
    }

    /// The announcement of these changes; the digest is right if they may be made.
    pub fn announce(&mut self, ops: &[Op]) -> Announcement {
        for op in ops {
            let key = match op {
                Op::Record(_) => RECORD_KEY,
                Op::Present { peer, .. } | Op::Gone { peer, .. } => presence_key(*peer),
                Op::Join { topic, peer, .. } | Op::Leave { topic, peer } => membership_key(*topic, *peer),
                Op::Status(_) | Op::Lost { .. } => continue,
            };
            if matches!(op, Op::Gone { .. } | Op::Leave { .. }) {
                self.trie.remove(&key);
                self.entries.remove(&key);
            } else {
                self.trie.insert(key, entry_hash(&encode_ops(std::slice::from_ref(op)).unwrap()));
                self.entries.insert(key, op.clone());
            }
        }
        let digest = self.trie.digest();
        self.announce_with(ops, digest)
    }

    /// The same, with more bytes behind the ops.
    pub fn announce_raw(&mut self, ops: &[Op], more: &[u8]) -> Announcement {
        let mut announcement = self.announce(ops);
        let encoded = Bytes::from([&encode_ops(ops).unwrap(), more].concat());
        let digest = self.trie.digest();
        announcement.head = self.head(self.epoch, self.seq, &encoded, digest);
        announcement.ops = Some(encoded);
        announcement
    }

    /// Its record with more behind the fields that this version knows.
    pub fn longer_record(&self, more: &[u8]) -> SignedRecord {
        let bytes = Bytes::from([&self.record().bytes()[..], more].concat());
        let signature = Signature::make(&self.key, "aldis 2026 host record", network().tag, &bytes);
        decode(&encode(&(self.id, bytes, signature)).unwrap()).unwrap()
    }

    /// The announcement of these changes, with any digest.
    pub fn announce_with(&mut self, ops: &[Op], digest: [u8; 32]) -> Announcement {
        self.seq += 1;
        let encoded = encode_ops(ops).unwrap();
        let head = self.head(self.epoch, self.seq, &encoded, digest);
        self.newest = Some(head.clone());
        Announcement { age_ms: 0, head, ops: (!ops.is_empty()).then_some(encoded) }
    }

    /// Passes over so many announcements, which nobody will ever see.
    pub fn pass_over(&mut self, announcements: u64) {
        self.seq += announcements;
    }

    pub fn head(&self, epoch: u64, seq: u64, ops: &[u8], digest: [u8; 32]) -> SignedHead {
        let head = Head { origin: self.id, epoch, seq, ops_hash: ops_hash(ops), digest, interval_ms: self.interval_ms };
        SignedHead::make(&self.key, network().tag, &head).unwrap()
    }

    /// The answer to a query about this host, with at most so many entries in a part and bytes in all.
    pub fn answer(&mut self, query: &Query, entries_max: usize, bytes_max: usize) -> Reply {
        assert_eq!(query.origin, self.id);
        let (mut parts, mut bytes) = (Vec::new(), 0);
        for range in &query.ranges {
            let part = if self.trie.len_of(range) <= entries_max {
                let ops: Vec<Op> = self.trie.keys_of(range).iter().map(|key| self.entries[key].clone()).collect();
                Part::Entries(encode_ops(&ops).unwrap())
            } else {
                Part::Below(self.trie.below(range))
            };
            bytes += encode(&part).unwrap().len() + 40;
            if bytes > bytes_max {
                break;
            }
            parts.push((*range, part));
        }
        Reply { origin: self.id, head: self.newest.clone().map(|head| (0, head)), parts }
    }

    /// Begins a new life.
    pub fn restart(&mut self) {
        self.epoch += 1;
        self.seq = 0;
        (self.trie, self.entries, self.newest) = (Trie::default(), BTreeMap::new(), None);
    }
}

pub fn network() -> Network {
    Network::new(&Genesis::open("neighbours").unwrap())
}

/// The machine under test, and a clock.
pub struct House {
    pub relay: Relay,
    pub now: Moment,
    pub id: HostId,
    pub sealing: SealingKey,
    /// Where the next players say to see it.
    pub seen_at: SocketAddr,
    links: u64,
    edges: u64,
}

/// What a call brought about.
#[derive(Debug, Default)]
pub struct Effects {
    pub outputs: Vec<Output>,
    pub notes: Vec<Note>,
}

impl Effects {
    /// The frames that went over a link.
    pub fn frames(&self, link: LinkKey) -> Vec<Frame> {
        let sent = |output: &Output| match output {
            Output::Send { link: over, frame, .. } if *over == link => Some(decoded(frame)),
            _ => None,
        };
        self.outputs.iter().filter_map(sent).collect()
    }

    /// Why the machine closed a link, if it did.
    pub fn closed(&self, link: LinkKey) -> Option<GoodbyeReason> {
        self.outputs.iter().find_map(|output| match output {
            Output::CloseLink { link: over, reason } if *over == link => Some(*reason),
            _ => None,
        })
    }

    /// What an edge was told.
    pub fn told(&self, edge: EdgeKey) -> Vec<Event> {
        let told = |output: &Output| match output {
            Output::TellEdge { edge: to, event } if *to == edge => Some(event.clone()),
            _ => None,
        };
        self.outputs.iter().filter_map(told).collect()
    }

    /// Of what a host was found guilty.
    pub fn faults(&self) -> Vec<Fault> {
        let fault = |note: &Note| match note {
            Note::Misbehaved { fault, .. } | Note::HostQuarantined { fault, .. } => Some(*fault),
            _ => None,
        };
        self.notes.iter().filter_map(fault).collect()
    }

    /// Checks that the driver is to make.
    pub fn checks(&self) -> Vec<(CheckKey, HostId, CheckTarget)> {
        let check = |output: &Output| match output {
            Output::Check { check, host, target } => Some((*check, *host, target.clone())),
            _ => None,
        };
        self.outputs.iter().filter_map(check).collect()
    }

    /// The records that the machine has announced over a link, as far as ops were pushed there.
    pub fn records(&self, link: LinkKey) -> Vec<HostRecord> {
        let ops = |frame: Frame| match frame {
            Frame::Announcement(announcement) => announcement.ops.map(|ops| decode_ops(&ops).unwrap()),
            _ => None,
        };
        let record = |op: Op| if let Op::Record(record) = op { record.open(network().tag).ok() } else { None };
        self.frames(link).into_iter().filter_map(ops).flatten().filter_map(record).collect()
    }

    pub fn add(&mut self, other: Effects) {
        self.outputs.extend(other.outputs);
        self.notes.extend(other.notes);
    }
}

fn decoded(frame: &Bytes) -> Frame {
    let (kind, body) = cut(&mut BytesMut::from(&frame[..]), FRAME_BYTES).unwrap().unwrap();
    Frame::decode(kind, &body).unwrap().unwrap()
}

impl House {
    pub fn new() -> Self {
        Self::with_marks(Vec::new())
    }

    /// A machine that remembers marks of an earlier run.
    pub fn with_marks(marks: Vec<(HostId, u64, u64)>) -> Self {
        Self::with(marks, |_| {})
    }

    /// A machine with settings of its own.
    pub fn with(marks: Vec<(HostId, u64, u64)>, set: impl FnOnce(&mut Settings)) -> Self {
        let identity = SigningKey::from_bytes(&[200; 32]);
        let mut settings = Settings { dht: false, register: false, ..Settings::default() };
        set(&mut settings);
        let setup = Setup {
            network: network(),
            identity: identity.clone(),
            sealing: SealingKey::new([201; 32]),
            seed: [5; 32],
            epoch: 5_000,
            cache: Vec::new(),
            unix: Duration::ZERO,
            marks,
            settings,
        };
        let now = Moment::new(Duration::from_secs(1));
        let relay = Relay::new(setup, now, &mut Outbox::default());
        let id = HostId::new(identity.verifying_key().to_bytes());
        Self {
            relay,
            now,
            id,
            sealing: SealingKey::new([201; 32]),
            seen_at: "192.0.2.7:4000".parse().unwrap(),
            links: 0,
            edges: 0,
        }
    }

    pub fn handle(&mut self, input: Input) -> Effects {
        let mut out = Outbox::default();
        self.relay.handle(self.now, input, &mut out);
        Effects { outputs: out.outputs, notes: out.notes }
    }

    /// Lets time pass; what was sent is taken by the transport at once.
    pub fn wait(&mut self, time: Duration) -> Effects {
        let end = self.now + time;
        let mut all = Effects::default();
        while let Some(next) = self.relay.next_timeout().filter(|next| *next <= end) {
            self.now = self.now.max(next);
            let effects = self.handle(Input::Woken);
            self.take(&effects);
            all.add(effects);
        }
        self.now = end;
        all
    }

    /// Lets time pass in which the driver makes each check that is asked for, with this outcome.
    pub fn wait_checked(&mut self, time: Duration, outcome: &Result<(), String>) -> Effects {
        let end = self.now + time;
        let mut all = Effects::default();
        while self.now < end {
            let step = self.relay.next_timeout().unwrap_or(end).max(self.now).min(end);
            let mut effects = self.wait(step.since(self.now));
            for (check, ..) in effects.checks() {
                effects.add(self.handle(Input::Checked { check, outcome: outcome.clone() }));
            }
            self.take(&effects);
            all.add(effects);
        }
        all
    }

    /// The transport has taken everything that was sent.
    pub fn take(&mut self, effects: &Effects) {
        for output in &effects.outputs {
            if let Output::Send { link, channel, frame } = output {
                self.handle(Input::LinkSent { link: *link, channel: *channel, bytes: frame.len() });
            }
        }
    }

    /// A connection from `player`, at an address of its own, that has come through TLS.
    pub fn connect(&mut self, player: &Player) -> LinkKey {
        let [high, low] = u16::try_from(self.links + 1).unwrap().to_be_bytes();
        self.connect_from(player, Ipv4Addr::new(45, 1, high, low))
    }

    /// A connection from `player` at this address that has come through TLS.
    pub fn connect_from(&mut self, player: &Player, address: impl Into<IpAddr>) -> LinkKey {
        self.links += 1;
        let link = LinkKey(self.links);
        let opened = Input::LinkOpened {
            link,
            host: player.id,
            role: Role::Acceptor,
            dial: None,
            address: SocketAddr::new(address.into(), 4_000),
            exporter: [9; 32],
            rtt: Duration::from_millis(10),
        };
        self.handle(opened);
        link
    }

    /// The Hello with which `player` is admitted.
    pub fn hello_of(&self, player: &Player) -> Hello {
        let proof = admission_proof(&network().admission_key, Role::Dialler, &[9; 32], player.id, self.id);
        Hello {
            proof: *proof.as_bytes(),
            epoch: player.epoch,
            record: player.record(),
            observed: self.seen_at,
            lost: Vec::new(),
        }
    }

    /// An admitted link that we have dialled, with this round trip; nothing if it is not wanted.
    pub fn dialled(&mut self, player: &Player, dial: Option<DialKey>, rtt: Duration) -> Option<LinkKey> {
        self.links += 1;
        let link = LinkKey(self.links);
        let [high, low] = u16::try_from(self.links).unwrap().to_be_bytes();
        let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(45, 1, high, low)), 4_000);
        let (host, role, exporter) = (player.id, Role::Dialler, [9; 32]);
        let opened = self.handle(Input::LinkOpened { link, host, role, dial, address, exporter, rtt });
        if opened.closed(link).is_some() {
            return None;
        }
        let proof = admission_proof(&network().admission_key, Role::Acceptor, &exporter, self.id, player.id);
        let hello = Hello { proof: *proof.as_bytes(), ..self.hello_of(player) };
        self.send(link, &Frame::Hello(hello));
        self.send(link, &Frame::Admitted);
        Some(link)
    }

    /// An admitted link with `player`, which came from this address.
    pub fn link_from(&mut self, player: &Player, address: Ipv4Addr) -> (LinkKey, Effects) {
        let link = self.connect_from(player, address);
        let hello = self.hello_of(player);
        let mut effects = self.send(link, &Frame::Hello(hello));
        assert!(effects.frames(link).contains(&Frame::Admitted), "{:?}", effects.outputs);
        effects.add(self.send(link, &Frame::Admitted));
        (link, effects)
    }

    /// An admitted link that we have dialled at this address.
    pub fn dialled_at(&mut self, player: &Player, address: Ipv4Addr) -> (LinkKey, Effects) {
        self.links += 1;
        let link = LinkKey(self.links);
        let address = SocketAddr::new(IpAddr::V4(address), 4_000);
        let (host, role, dial, exporter, rtt) = (player.id, Role::Dialler, None, [9; 32], Duration::from_millis(10));
        let mut effects = self.handle(Input::LinkOpened { link, host, role, dial, address, exporter, rtt });
        let proof = admission_proof(&network().admission_key, Role::Acceptor, &exporter, self.id, player.id);
        let hello = Hello { proof: *proof.as_bytes(), ..self.hello_of(player) };
        effects.add(self.send(link, &Frame::Hello(hello)));
        effects.add(self.send(link, &Frame::Admitted));
        (link, effects)
    }

    /// An admitted link with `player`.
    pub fn link(&mut self, player: &Player) -> LinkKey {
        let link = self.connect(player);
        let hello = self.hello_of(player);
        let effects = self.send(link, &Frame::Hello(hello));
        assert!(effects.frames(link).contains(&Frame::Admitted), "{:?}", effects.outputs);
        self.send(link, &Frame::Admitted);
        link
    }

    /// A frame arrives, on a channel where it belongs.
    pub fn send(&mut self, link: LinkKey, frame: &Frame) -> Effects {
        let channels = [Channel::Control, Channel::Announce, Channel::Sync, Channel::Lane(0)];
        let channel = channels.into_iter().find(|channel| frame.belongs_on(*channel)).unwrap();
        let (kind, body) = frame.kind_and_body().unwrap();
        self.send_raw(link, channel, kind, Bytes::from(body))
    }

    /// Any bytes arrive.
    pub fn send_raw(&mut self, link: LinkKey, channel: Channel, kind: u8, body: Bytes) -> Effects {
        let effects = self.handle(Input::LinkReceived { link, channel, kind, body });
        self.take(&effects);
        effects
    }

    /// An edge with a session, and what it was told.
    pub fn edge_told(&mut self) -> (EdgeKey, Effects) {
        self.edges += 1;
        let edge = EdgeKey(self.edges);
        self.handle(Input::EdgeOpened { edge, address: IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)) });
        let hello = Request::Hello(EdgeHello { identity: Identity::Minted, meta: Bytes::new() });
        (edge, self.handle(Input::EdgeAsked { edge, request: hello }))
    }

    /// An edge with a session, that has joined `topic`.
    pub fn edge(&mut self, topic: &str) -> (EdgeKey, PeerId) {
        self.edges += 1;
        let edge = EdgeKey(self.edges);
        self.handle(Input::EdgeOpened { edge, address: IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)) });
        let hello = Request::Hello(EdgeHello { identity: Identity::Minted, meta: Bytes::new() });
        let effects = self.handle(Input::EdgeAsked { edge, request: hello });
        let peer = effects.told(edge).into_iter().find_map(|event| match event {
            Event::Welcome(welcome) => Some(welcome.peer),
            _ => None,
        });
        let join = Request::Join { id: Arc::from("join"), topic: named(topic), meta: None, quiet: false };
        self.handle(Input::EdgeAsked { edge, request: join });
        (edge, peer.unwrap())
    }

    /// Who is in a topic, as an edge would find.
    pub fn members(&mut self, edge: EdgeKey, topic: &str) -> Vec<PeerId> {
        let discover = Request::Discover { id: Arc::from("who"), topic: named(topic), limit: 64 };
        let effects = self.handle(Input::EdgeAsked { edge, request: discover });
        let members = effects.told(edge).into_iter().find_map(|event| match event {
            Event::Peers(sample) => Some(sample.members.into_iter().map(|member| member.peer).collect()),
            _ => None,
        });
        members.unwrap()
    }
}

/// A topic by its name.
pub fn named(topic: &str) -> Topic {
    Topic { id: network().topic(topic), name: Arc::from(topic) }
}
