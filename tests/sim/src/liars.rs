//! Hosts that lie. A liar is a real machine whose words are changed on their way out, and that says a few things of its
//! own besides. It has no edges: what a host does to its own edges is nobody else's affair.

use std::collections::{BTreeMap, BTreeSet};

use aldis_wire::announcement::{GoneReason, Head, Op, SignedHead, encode_ops, ops_hash};
use aldis_wire::codec::HEADER_BYTES;
use aldis_wire::host::{Announcement, Channel, Delta, Frame, HaveEntry, Outcome, Query, Range, Receipt, Signal};
use aldis_wire::id::{HostId, PeerId};
use aldis_wire::proof::Proof;
use bytes::Bytes;

use crate::edges::Standing;
use crate::map::Place;
use crate::queue::{At, MS};
use crate::wires::EndId;
use crate::world::{Happening, World};

/// How often a liar says something of its own.
const EVERY: At = 200 * MS;
/// Announcements of each host that a liar keeps to play again: five minutes of heartbeats.
const KEPT_MAX: usize = 100;
/// So many are played again before it is another host's turn: ten seconds.
const PLAYED_OF_EACH: usize = 50;
/// Of so many a liar says in each announcement that they are gone.
const LOSSES_MAX: usize = 100;
/// The age that a liar gives to what others made.
const AGE_MS: u32 = 3_600_000;

/// In what way a host lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lie {
    /// It signs digests of its roster that are not those of its ops.
    Digests,
    /// It makes up announcements of others.
    Forges,
    /// It plays old announcements again.
    Replays,
    /// It says that it will be silent for ever.
    Intervals,
    /// It says that what others announce is old.
    Ages,
    /// It sends signals in the names of others' peers.
    Claims,
    /// It answers signals that are not its to answer.
    Receipts,
    /// It passes on half of what it should.
    Withholds,
    /// It asks for everything, and tells of hosts that are not there.
    Floods,
    /// It says of everybody that he is gone.
    Losses,
    /// To who asks what he has missed it says that nothing has changed, or what changes nothing besides, or that it leads on
    /// from elsewhere.
    Inventions,
}

impl Lie {
    const ALL: [(&'static str, Self); 11] = [
        ("digests", Self::Digests),
        ("forges", Self::Forges),
        ("replays", Self::Replays),
        ("intervals", Self::Intervals),
        ("ages", Self::Ages),
        ("claims", Self::Claims),
        ("receipts", Self::Receipts),
        ("withholds", Self::Withholds),
        ("floods", Self::Floods),
        ("losses", Self::Losses),
        ("inventions", Self::Inventions),
    ];

    /// Reads the words of a scenario; `all` are all of them.
    ///
    /// # Errors
    /// In words.
    pub fn read(words: &[&str]) -> Result<BTreeSet<Self>, String> {
        if words == ["all"] {
            return Ok(Self::ALL.into_iter().map(|(_, lie)| lie).collect());
        }
        let find = |word: &&str| Self::ALL.iter().find(|(name, _)| name == word).map(|(_, lie)| *lie);
        words.iter().map(|word| find(word).ok_or_else(|| format!("'{word}' is no way to lie"))).collect()
    }
}

/// Who lies, and what they keep for it.
#[derive(Debug, Default)]
pub(crate) struct Liars {
    places: BTreeSet<Place>,
    /// Announcements as they went by, by whom and in their order.
    heard: BTreeMap<HostId, Vec<Announcement>>,
    /// How many of them have been played again.
    played: usize,
    /// Digests that were signed and are not true.
    pub(crate) wrong: BTreeSet<[u8; 32]>,
}

impl World {
    /// Chooses the liars, at the beginning.
    pub(crate) fn choose_liars(&mut self) {
        let count = self.hosts.len() * self.scenario.liars as usize / 1_000_000;
        while self.liars.places.len() < count {
            let place = self.chance.index(self.hosts.len());
            self.liars.places.insert(place);
        }
        for place in self.liars.places.clone() {
            self.later(self.scenario.warm, Happening::Lie(place));
        }
    }

    /// Whether this host is one of the liars.
    pub(crate) fn is_liar(&self, place: Place) -> bool {
        self.liars.places.contains(&place)
    }

    /// Whether this id is that of a liar.
    pub(crate) fn is_liar_id(&self, host: HostId) -> bool {
        self.liars.places.iter().any(|place| self.hosts[*place].id == host)
    }

    fn tells(&self, lie: Lie) -> bool {
        self.scenario.lies.contains(&lie)
    }

    /// What goes out when the machine of this host sends this; nothing if it is withheld.
    pub(crate) fn as_told(&mut self, place: Place, end: EndId, frame: Bytes) -> Option<Bytes> {
        if self.hosts[place].newer {
            return Some(self.as_newer(end, frame));
        }
        if !self.is_liar(place) {
            return Some(frame);
        }
        let (Some(kind), Some(body)) = (frame.first().copied(), frame.get(HEADER_BYTES..)) else { return Some(frame) };
        match Frame::decode(kind, body) {
            Ok(Some(Frame::Announcement(announcement))) => self.announcement_told(place, announcement),
            Ok(Some(Frame::Delta(delta))) if self.lies_now() => self.delta_told(delta),
            Ok(Some(Frame::Routed(_))) if self.lies_now() && self.withholds() => None,
            _ => Some(frame),
        }
    }

    fn lies_now(&self) -> bool {
        self.now >= self.scenario.warm
    }

    fn withholds(&mut self) -> bool {
        self.tells(Lie::Withholds) && self.chance.below(2) == 0
    }

    fn announcement_told(&mut self, place: Place, mut told: Announcement) -> Option<Bytes> {
        let mut head = told.head.peek().ok()?;
        let own = head.origin == self.hosts[place].id;
        if !self.lies_now() {
            return Frame::Announcement(told).encode().ok();
        }
        if !own && self.withholds() {
            return None;
        }
        let changed = if own {
            if self.tells(Lie::Intervals) {
                head.interval_ms = u32::MAX;
            }
            if self.tells(Lie::Digests) && told.ops.is_some() {
                head.digest[0] ^= 1;
                self.liars.wrong.insert(head.digest);
            }
            if self.tells(Lie::Losses) {
                let ops = [told.ops.as_deref().unwrap_or_default(), &self.losses(place)].concat();
                head.ops_hash = ops_hash(&ops);
                told.ops = Some(ops.into());
            }
            self.tells(Lie::Intervals) || self.tells(Lie::Digests) || self.tells(Lie::Losses)
        } else {
            if self.tells(Lie::Ages) {
                told.age_ms = AGE_MS;
            }
            false
        };
        if changed {
            told.head = SignedHead::make(&self.hosts[place].key, self.network.tag, &head).ok()?;
        }
        Frame::Announcement(told).encode().ok()
    }

    fn delta_told(&mut self, mut told: Delta) -> Option<Bytes> {
        if self.withholds() {
            return None;
        }
        if self.tells(Lie::Ages) {
            told.age_ms = AGE_MS;
        }
        if self.tells(Lie::Inventions) {
            match self.chance.below(5) {
                // Nothing has changed.
                0 | 1 => told.ops = Bytes::new(),
                // Something comes before the rest that goes again at its end, or was never there: it has no effect.
                2 => told.ops = self.without_effect(&told).unwrap_or(told.ops),
                // It leads on from wherever one stands.
                3 => told.since = 0,
                // Or from where one does not stand yet.
                _ => told.since = told.head.peek().map_or(told.since, |head| head.seq - 1),
            }
        }
        Frame::Delta(told).encode().ok()
    }

    /// The ops of a delta, and some that change nothing: peers that nobody has seen leave, and one comes and goes.
    fn without_effect(&mut self, told: &Delta) -> Option<Bytes> {
        let origin = told.head.peek().ok()?.origin;
        let nonce = u128::from(self.chance.number()).to_be_bytes();
        let [came, unseen] = [Proof::mint(origin, &nonce), PeerId::new(self.chance.bytes())];
        let proof = Proof::Minted { nonce };
        let ops = vec![
            Op::Gone { peer: unseen, reason: GoneReason::Closed },
            Op::Present { peer: came, proof },
            Op::Gone { peer: came, reason: GoneReason::Closed },
        ];
        Some([told.ops.as_ref(), &encode_ops(&ops).ok()?].concat().into())
    }

    /// A liar says something of its own.
    pub(crate) fn lie(&mut self, place: Place) {
        self.later(EVERY, Happening::Lie(place));
        let Some(relay) = self.hosts[place].running() else { return };
        let links = relay.view(self.hosts[place].clock(self.now)).links;
        self.liars.played += 1;
        for link in links {
            let end = EndId::of(link.link);
            let Some(there) = self.hosts.iter().position(|host| host.id == link.host) else { continue };
            // One lie at a time: some of them cost the link.
            let lies: Vec<Lie> = self.scenario.lies.iter().copied().collect();
            let Some(lie) = lies.get(self.chance.index(lies.len())) else { return };
            let told = match lie {
                Lie::Forges => self.forged_announcement(place),
                Lie::Replays => self.old_announcement(),
                Lie::Claims => self.foreign_signal(there),
                Lie::Receipts => self.foreign_receipt(there),
                Lie::Floods => {
                    self.flood(end);
                    None
                }
                _ => None,
            };
            if let Some((channel, frame)) = told {
                self.says(end, channel, &frame);
            }
        }
    }

    /// What says of everybody else that he is gone, whatever he says next.
    fn losses(&self, place: Place) -> Bytes {
        let all = (0..self.hosts.len()).cycle().skip(place + 1).take(LOSSES_MAX.min(self.hosts.len() - 1));
        let known = all.filter_map(|other| {
            let host = self.hosts[other].id;
            Some(Op::Lost { host, epoch: self.beliefs.marks.get(&host)?.0, seq: u64::MAX })
        });
        encode_ops(&known.collect::<Vec<_>>()).expect("few and short")
    }

    /// A liar keeps what it hears.
    pub(crate) fn liar_hears(&mut self, place: Place, announcement: &Announcement) {
        let Ok(head) = announcement.head.peek() else { return };
        if self.is_liar_id(head.origin) || !self.is_liar(place) {
            return;
        }
        let heard = self.liars.heard.entry(head.origin).or_default();
        let new = heard.last().is_none_or(|last| last.head.peek().is_ok_and(|last| last.mark() < head.mark()));
        if new && heard.len() < KEPT_MAX {
            heard.push(announcement.clone());
        }
    }

    fn says(&mut self, end: EndId, channel: Channel, frame: &Frame) {
        if let Ok(frame) = frame.encode() {
            self.transmit(end, channel, frame);
        }
    }

    /// A sign of life of somebody else, in its future, with the digest that it had.
    fn forged_announcement(&mut self, place: Place) -> Option<(Channel, Frame)> {
        let whose = self.chance.index(self.liars.heard.len());
        let newest = self.liars.heard.values().nth(whose)?.last()?.head.peek().ok()?;
        let head = Head { seq: newest.seq + 1_000, ops_hash: ops_hash(&[]), ..newest };
        let head = SignedHead::make(&self.hosts[place].key, self.network.tag, &head).ok()?;
        Some((Channel::Control, Frame::Announcement(Announcement { age_ms: 0, head, ops: None })))
    }

    /// What a host said long ago, as if it were fresh: one host after the other, each in its order for a while.
    fn old_announcement(&mut self) -> Option<(Channel, Frame)> {
        let Liars { heard, played, .. } = &self.liars;
        let of = heard.values().nth(played / PLAYED_OF_EACH % heard.len().max(1))?;
        let old = of.get(played % PLAYED_OF_EACH)?.clone();
        let channel = if old.ops.is_some() { Channel::Announce } else { Channel::Control };
        Some((channel, Frame::Announcement(Announcement { age_ms: 0, ..old })))
    }

    /// A signal to somebody at home there, in the name of somebody else's peer.
    fn foreign_signal(&mut self, there: Place) -> Option<(Channel, Frame)> {
        let open = |at: bool| {
            let edges = self.edges.iter().filter(move |edge| (edge.place == there) == at);
            edges.filter(|edge| edge.standing == Standing::Open).filter_map(|edge| edge.peer).collect()
        };
        let (targets, others): (Vec<_>, Vec<_>) = (open(true), open(false));
        let (to, from) =
            (*targets.get(self.chance.index(targets.len()))?, *others.get(self.chance.index(others.len()))?);
        let [nonce, session] = [self.chance.number(), self.chance.number()];
        let proof = Proof::Minted { nonce: u128::from(nonce).to_be_bytes() };
        let data = Bytes::from_static(b"1");
        let id = format!("lie {session}");
        Some((Channel::Lane(0), Frame::Signal(Signal { from, to, session, n: 1, id, proof, topic: None, data })))
    }

    /// A receipt for a signal that somebody at home there has sent to somebody at home elsewhere.
    fn foreign_receipt(&mut self, there: Place) -> Option<(Channel, Frame)> {
        let open = self.crowd.signals.iter().rev().take(64).find(|(_, sent)| {
            sent.outcome.is_none() && sent.seen.is_none() && self.edges[sent.from as usize].place == there
        });
        let (number, sent) = open?;
        let (from, to, id) = (sent.from_peer, sent.to, number.to_string());
        Some((Channel::Lane(0), Frame::Receipt(Receipt { from, to, id, outcome: Outcome::Delivered })))
    }

    fn flood(&mut self, end: EndId) {
        let hosts: Vec<HostId> = self.hosts.iter().map(|host| host.id).collect();
        for origin in hosts {
            let ranges = vec![Range { key: [0; 32], nibbles: 0 }];
            self.says(end, Channel::Sync, &Frame::Query(Query { origin, ranges }));
            self.says(end, Channel::Control, &Frame::Graft(origin, 0, 0));
        }
        // Above the numbers that its machine gives on this link, so that both keep their meaning.
        let invented = (4_000..4_050).map(|number| {
            let origin = HostId::new(self.chance.bytes());
            HaveEntry::Named { number, origin, epoch: 1, seq: 1 }
        });
        let invented = invented.collect();
        self.says(end, Channel::Control, &Frame::Have(invented));
    }
}
