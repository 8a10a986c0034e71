//! One host's roster: its record, who is present, who is a member of what; and the digest of it all.
//!
//! Applying ops either changes everything or nothing. What changed is told, so that indexes can follow.

use std::collections::BTreeMap;

use aldis_wire::announcement::{GoneReason, Op, encode_ops};
use aldis_wire::digest::{self, Hash, Key, Trie};
use aldis_wire::host::{Part, Range};
use aldis_wire::id::{HostId, PeerId, TopicId};
use aldis_wire::limits::{
    OPS_BYTES, PEER_TOPICS_MAX, REPLY_ENTRIES_MAX, ROSTER_MEMBERSHIPS_MAX, ROSTER_META_BYTES, ROSTER_PEERS_MAX,
};
use aldis_wire::proof::{Proof, Trust};
use aldis_wire::record::{HostRecord, SignedRecord};
use bytes::Bytes;

use super::io::Fault;

/// Something that changed in a roster, with what is needed to take it back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// A new record.
    Record {
        /// The one before.
        old: Option<Box<Recorded>>,
    },
    /// A peer is present, or has another proof.
    Present {
        /// Who.
        peer: PeerId,
        /// The proof before.
        old: Option<Proof>,
    },
    /// A peer and its memberships are gone.
    Gone {
        /// Who.
        peer: PeerId,
        /// Its proof.
        proof: Proof,
        /// Why.
        reason: GoneReason,
        /// Where it was a member.
        memberships: Vec<(TopicId, Bytes)>,
    },
    /// A peer is a member, or has another meta.
    Joined {
        /// Where.
        topic: TopicId,
        /// Who.
        peer: PeerId,
        /// The meta before, if it was a member.
        old: Option<Bytes>,
    },
    /// A peer is not a member any more.
    Left {
        /// Where.
        topic: TopicId,
        /// Who.
        peer: PeerId,
        /// Its meta.
        meta: Bytes,
    },
}

/// A record as signed and as read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Recorded {
    /// For passing on.
    pub(crate) signed: SignedRecord,
    /// For reading.
    pub(crate) record: HostRecord,
}

#[derive(Clone, Debug)]
struct Presence {
    proof: Proof,
    topics: Vec<TopicId>,
}

#[derive(Clone, Debug)]
enum Entry {
    Record(Box<Recorded>),
    Presence(PeerId, Presence),
    Membership(TopicId, PeerId, Bytes),
}

/// What one host says of its edges.
#[derive(Clone, Debug)]
pub(crate) struct Roster {
    origin: HostId,
    trust: Trust,
    entries: BTreeMap<Key, Entry>,
    trie: Trie,
    peers: usize,
    memberships: usize,
    meta_bytes: usize,
}

impl Roster {
    /// The empty roster of `origin`.
    #[must_use]
    pub(crate) fn new(origin: HostId, trust: impl Into<Trust>) -> Self {
        let trust = trust.into();
        Self { origin, trust, entries: BTreeMap::new(), trie: Trie::default(), peers: 0, memberships: 0, meta_bytes: 0 }
    }

    /// Present peers.
    #[must_use]
    pub(crate) fn peers(&self) -> usize {
        self.peers
    }

    /// Memberships.
    #[must_use]
    pub(crate) fn memberships(&self) -> usize {
        self.memberships
    }

    /// About how many bytes of memory it takes, with its share of the directory's indexes.
    #[must_use]
    pub(crate) fn weight(&self) -> usize {
        const PEER_BYTES: usize = 400;
        const MEMBERSHIP_BYTES: usize = 400;
        self.peers * PEER_BYTES + self.memberships * MEMBERSHIP_BYTES + self.meta_bytes
    }

    /// The digest of everything in it.
    pub(crate) fn digest(&mut self) -> Hash {
        self.trie.digest()
    }

    /// The digest of a part of it.
    pub(crate) fn digest_of(&mut self, range: &Range) -> Hash {
        self.trie.digest_of(range)
    }

    /// The host's record, once it has announced one.
    #[must_use]
    pub(crate) fn record(&self) -> Option<&Recorded> {
        match self.entries.get(&digest::RECORD_KEY) {
            Some(Entry::Record(recorded)) => Some(recorded),
            _ => None,
        }
    }

    /// The proof of a present peer.
    #[must_use]
    pub(crate) fn proof(&self, peer: PeerId) -> Option<&Proof> {
        self.presence(peer).map(|presence| &presence.proof)
    }

    /// The topics in which a peer is a member, with its metas.
    #[must_use]
    pub(crate) fn memberships_of(&self, peer: PeerId) -> Vec<(TopicId, Bytes)> {
        let topics = self.presence(peer).map_or(&[][..], |presence| &presence.topics);
        topics.iter().filter_map(|topic| Some((*topic, self.meta(*topic, peer)?.clone()))).collect()
    }

    /// The meta of a membership.
    #[must_use]
    pub(crate) fn meta(&self, topic: TopicId, peer: PeerId) -> Option<&Bytes> {
        match self.entries.get(&digest::membership_key(topic, peer)) {
            Some(Entry::Membership(_, _, meta)) => Some(meta),
            _ => None,
        }
    }

    /// All present peers with their counters, in no order that means anything.
    pub(crate) fn presences(&self) -> impl Iterator<Item = (PeerId, u64)> {
        self.entries.values().filter_map(|entry| match entry {
            Entry::Presence(peer, presence) => Some((*peer, presence.proof.counter())),
            _ => None,
        })
    }

    fn presence(&self, peer: PeerId) -> Option<&Presence> {
        match self.entries.get(&digest::presence_key(peer)) {
            Some(Entry::Presence(_, presence)) => Some(presence),
            _ => None,
        }
    }

    /// Applies ops in their order. `expected` is the digest that must come out.
    ///
    /// # Errors
    /// The [`Fault`] of the first op that cannot be applied, or of the digest; the roster is then as before.
    pub(crate) fn apply(&mut self, ops: &[Op], expected: Option<Hash>) -> Result<Vec<Change>, Fault> {
        let mut changes = Vec::new();
        for op in ops {
            match self.apply_one(op) {
                Ok(change) => changes.extend(change),
                Err(fault) => {
                    self.take_back(changes);
                    return Err(fault);
                }
            }
        }
        if expected.is_some_and(|expected| self.digest() != expected) {
            self.take_back(changes);
            return Err(Fault::WrongDigest);
        }
        Ok(changes)
    }

    fn apply_one(&mut self, op: &Op) -> Result<Option<Change>, Fault> {
        match op {
            Op::Record(signed) => self.set_record(signed).map(Some),
            Op::Present { peer, proof } => self.set_present(*peer, proof).map(Some),
            Op::Gone { peer, reason } => self.remove_peer(*peer, *reason).map(Some),
            Op::Join { topic, peer, meta } => self.join(*topic, *peer, meta.clone()).map(Some),
            Op::Leave { topic, peer } => self.leave(*topic, *peer).map(Some),
            Op::Status(_) | Op::Lost { .. } => Ok(None),
        }
    }

    fn set_record(&mut self, signed: &SignedRecord) -> Result<Change, Fault> {
        if signed.host() != self.origin {
            return Err(Fault::BadOp);
        }
        let record = signed.open(self.trust).map_err(|_| Fault::BadSignature)?;
        let old = match self.entries.remove(&digest::RECORD_KEY) {
            Some(Entry::Record(old)) => Some(old),
            _ => None,
        };
        self.put(Entry::Record(Box::new(Recorded { signed: signed.clone(), record })));
        Ok(Change::Record { old })
    }

    fn set_present(&mut self, peer: PeerId, proof: &Proof) -> Result<Change, Fault> {
        let old = self.presence(peer).cloned();
        if old.as_ref().is_none_or(|old| old.proof != *proof) && !proof.verify(peer, self.trust, self.origin) {
            return Err(Fault::BadProof);
        }
        if old.is_none() && self.peers >= ROSTER_PEERS_MAX {
            return Err(Fault::OverQuota);
        }
        let topics = old.as_ref().map(|old| old.topics.clone()).unwrap_or_default();
        self.put(Entry::Presence(peer, Presence { proof: proof.clone(), topics }));
        Ok(Change::Present { peer, old: old.map(|old| old.proof) })
    }

    fn remove_peer(&mut self, peer: PeerId, reason: GoneReason) -> Result<Change, Fault> {
        let memberships = self.memberships_of(peer);
        for (topic, _) in &memberships {
            self.cut(&digest::membership_key(*topic, peer));
        }
        match self.cut(&digest::presence_key(peer)) {
            Some(Entry::Presence(_, presence)) => Ok(Change::Gone { peer, proof: presence.proof, reason, memberships }),
            _ => Err(Fault::BadOp),
        }
    }

    fn join(&mut self, topic: TopicId, peer: PeerId, meta: Bytes) -> Result<Change, Fault> {
        let old = self.meta(topic, peer).cloned();
        let bytes = self.meta_bytes - old.as_ref().map_or(0, Bytes::len) + meta.len();
        if bytes > ROSTER_META_BYTES || old.is_none() && self.memberships >= ROSTER_MEMBERSHIPS_MAX {
            return Err(Fault::OverQuota);
        }
        let Some(Entry::Presence(_, presence)) = self.entries.get_mut(&digest::presence_key(peer)) else {
            return Err(Fault::BadOp);
        };
        if old.is_none() {
            if presence.topics.len() >= PEER_TOPICS_MAX {
                return Err(Fault::OverQuota);
            }
            if presence.topics.is_empty() {
                // Most peers are in one topic; by itself a list makes room for four.
                presence.topics.reserve_exact(1);
            }
            presence.topics.push(topic);
        }
        self.put(Entry::Membership(topic, peer, meta));
        Ok(Change::Joined { topic, peer, old })
    }

    fn leave(&mut self, topic: TopicId, peer: PeerId) -> Result<Change, Fault> {
        match self.cut(&digest::membership_key(topic, peer)) {
            Some(Entry::Membership(_, _, meta)) => {
                if let Some(Entry::Presence(_, presence)) = self.entries.get_mut(&digest::presence_key(peer)) {
                    presence.topics.retain(|other| *other != topic);
                }
                Ok(Change::Left { topic, peer, meta })
            }
            _ => Err(Fault::BadOp),
        }
    }

    fn take_back(&mut self, changes: Vec<Change>) {
        for change in changes.into_iter().rev() {
            // Taking back what was just done cannot fail: each step meets the state that its change left.
            let _ = match change {
                Change::Record { old } => {
                    self.cut(&digest::RECORD_KEY);
                    if let Some(old) = old {
                        self.put(Entry::Record(old));
                    }
                    None
                }
                Change::Present { peer, old: None } => self.remove_peer(peer, GoneReason::Ended).ok(),
                Change::Present { peer, old: Some(proof) } => {
                    let topics = self.presence(peer).map(|presence| presence.topics.clone()).unwrap_or_default();
                    self.put(Entry::Presence(peer, Presence { proof, topics }));
                    None
                }
                Change::Gone { peer, proof, memberships, .. } => {
                    self.put(Entry::Presence(peer, Presence { proof, topics: Vec::new() }));
                    memberships.into_iter().filter_map(|(topic, meta)| self.join(topic, peer, meta).ok()).last()
                }
                Change::Joined { topic, peer, old: None } => self.leave(topic, peer).ok(),
                Change::Joined { topic, peer, old: Some(meta) } | Change::Left { topic, peer, meta } => {
                    self.join(topic, peer, meta).ok()
                }
            };
        }
    }

    fn put(&mut self, entry: Entry) {
        let (key, op) = (entry.key(), entry.op());
        if let Ok(encoded) = encode_ops(&[op]) {
            self.trie.insert(key, digest::entry_hash(&encoded));
        }
        self.count(&entry, 1);
        if let Some(old) = self.entries.insert(key, entry) {
            self.count(&old, -1);
        }
    }

    fn cut(&mut self, key: &Key) -> Option<Entry> {
        self.trie.remove(key);
        let entry = self.entries.remove(key)?;
        self.count(&entry, -1);
        Some(entry)
    }

    fn count(&mut self, entry: &Entry, by: isize) {
        match entry {
            Entry::Record(_) => {}
            Entry::Presence(..) => self.peers = self.peers.saturating_add_signed(by),
            Entry::Membership(_, _, meta) => {
                self.memberships = self.memberships.saturating_add_signed(by);
                let bytes = isize::try_from(meta.len()).unwrap_or(0) * by;
                self.meta_bytes = self.meta_bytes.saturating_add_signed(bytes);
            }
        }
    }

    /// What `range` holds, for a host that compares (PROTOCOL.md §6.5).
    pub(crate) fn part(&mut self, range: &Range) -> Part {
        let count = self.trie.len_of(range);
        if count <= REPLY_ENTRIES_MAX {
            let ops: Vec<Op> =
                self.trie.keys_of(range).iter().filter_map(|key| self.entries.get(key)).map(Entry::op).collect();
            if let Ok(bytes) = encode_ops(&ops) {
                return Part::Entries(bytes);
            }
        }
        Part::Below(self.trie.below(range))
    }

    /// Makes `range` hold exactly these entries. Memberships are put aside until their peers are known to be present.
    ///
    /// # Errors
    /// The [`Fault`] of an entry that does not belong here; the roster must then be thrown away.
    pub(crate) fn replace_range(&mut self, range: &Range, ops: &[Op]) -> Result<(), Fault> {
        for key in self.trie.keys_of(range) {
            self.cut(&key);
        }
        for op in ops {
            let entry = self.entry_of(op)?;
            self.put(entry);
        }
        self.check_quota()
    }

    /// Makes up for announcements that were made while the roster was fetched in ranges: whatever entry they touch ends
    /// as the last of them says, also if a range was fetched after some of them.
    ///
    /// # Errors
    /// As [`Roster::replace_range`].
    pub(crate) fn bring_forward(&mut self, ops: &[Op]) -> Result<(), Fault> {
        let mut topics = self.topics_by_peer();
        for op in ops {
            match op {
                Op::Record(_) | Op::Present { .. } | Op::Join { .. } => {
                    if let Op::Join { topic, peer, .. } = op {
                        topics.entry(*peer).or_default().push(*topic);
                    }
                    let entry = self.entry_of(op)?;
                    self.put(entry);
                }
                Op::Gone { peer, .. } => {
                    for topic in topics.remove(peer).unwrap_or_default() {
                        self.cut(&digest::membership_key(topic, *peer));
                    }
                    self.cut(&digest::presence_key(*peer));
                }
                Op::Leave { topic, peer } => _ = self.cut(&digest::membership_key(*topic, *peer)),
                Op::Status(_) | Op::Lost { .. } => {}
            }
        }
        self.check_quota()
    }

    /// The entry that an op makes, checked but for the presence of members.
    fn entry_of(&self, op: &Op) -> Result<Entry, Fault> {
        match op {
            Op::Record(signed) if signed.host() == self.origin => {
                let record = signed.open(self.trust).map_err(|_| Fault::BadSignature)?;
                Ok(Entry::Record(Box::new(Recorded { signed: signed.clone(), record })))
            }
            Op::Present { peer, proof } if proof.verify(*peer, self.trust, self.origin) => {
                Ok(Entry::Presence(*peer, Presence { proof: proof.clone(), topics: Vec::new() }))
            }
            Op::Present { .. } => Err(Fault::BadProof),
            Op::Join { topic, peer, meta } => Ok(Entry::Membership(*topic, *peer, meta.clone())),
            _ => Err(Fault::BadOp),
        }
    }

    fn check_quota(&self) -> Result<(), Fault> {
        let over = self.peers > ROSTER_PEERS_MAX
            || self.memberships > ROSTER_MEMBERSHIPS_MAX
            || self.meta_bytes > ROSTER_META_BYTES;
        if over { Err(Fault::OverQuota) } else { Ok(()) }
    }

    fn topics_by_peer(&self) -> BTreeMap<PeerId, Vec<TopicId>> {
        let mut topics: BTreeMap<PeerId, Vec<TopicId>> = BTreeMap::new();
        for entry in self.entries.values() {
            if let Entry::Membership(topic, peer, _) = entry {
                topics.entry(*peer).or_default().push(*topic);
            }
        }
        topics
    }

    /// Drops everything in `range` that lies in none of `kept`.
    pub(crate) fn keep_only(&mut self, range: &Range, kept: &[(Range, Hash)]) {
        for key in self.trie.keys_of(range) {
            if !kept.iter().any(|(range, _)| range.holds(&key)) {
                self.cut(&key);
            }
        }
    }

    /// Ties memberships to their peers after ranges were replaced.
    ///
    /// # Errors
    /// [`Fault::BadOp`] when a member is not present, [`Fault::OverQuota`] when one has too many topics.
    pub(crate) fn settle(&mut self) -> Result<(), Fault> {
        let mut topics = self.topics_by_peer();
        for entry in self.entries.values_mut() {
            if let Entry::Presence(peer, presence) = entry {
                presence.topics = topics.remove(peer).unwrap_or_default();
                if presence.topics.len() > PEER_TOPICS_MAX {
                    return Err(Fault::OverQuota);
                }
            }
        }
        if topics.is_empty() { Ok(()) } else { Err(Fault::BadOp) }
    }
}

impl Entry {
    fn key(&self) -> Key {
        match self {
            Self::Record(_) => digest::RECORD_KEY,
            Self::Presence(peer, _) => digest::presence_key(*peer),
            Self::Membership(topic, peer, _) => digest::membership_key(*topic, *peer),
        }
    }

    fn op(&self) -> Op {
        match self {
            Self::Record(recorded) => Op::Record(recorded.signed.clone()),
            Self::Presence(peer, presence) => Op::Present { peer: *peer, proof: presence.proof.clone() },
            Self::Membership(topic, peer, meta) => Op::Join { topic: *topic, peer: *peer, meta: meta.clone() },
        }
    }
}

// A record is the largest entry; it must fit an announcement alone.
const _: () = assert!(aldis_wire::limits::RECORD_BYTES + 256 < OPS_BYTES);

#[cfg(test)]
mod tests {
    use aldis_wire::network::NetworkTag;

    use super::*;

    const TAG: NetworkTag = NetworkTag::new([3; 8]);

    fn host() -> HostId {
        HostId::new([1; 32])
    }

    fn present(number: usize) -> (PeerId, Op) {
        let mut nonce = [0; 16];
        nonce[..8].copy_from_slice(&(number as u64).to_be_bytes());
        let peer = Proof::mint(host(), &nonce);
        (peer, Op::Present { peer, proof: Proof::Minted { nonce } })
    }

    fn join(number: usize, peer: PeerId, bytes: usize) -> Op {
        let mut topic = [0; 32];
        topic[..8].copy_from_slice(&(number as u64).to_be_bytes());
        Op::Join { topic: TopicId::new(topic), peer, meta: vec![7; bytes].into() }
    }

    #[test]
    fn what_cannot_be_applied_changes_nothing_at_all() {
        let mut roster = Roster::new(host(), TAG);
        let (peer, comes) = present(1);
        let (other, other_comes) = present(2);
        roster.apply(&[comes.clone(), join(1, peer, 5)], None).unwrap();
        let digest = roster.digest();
        let gone = Op::Gone { peer, reason: GoneReason::Closed };
        let stranger = Op::Gone { peer: other, reason: GoneReason::Closed };
        let forged = Op::Present { peer: other, proof: Proof::Minted { nonce: [9; 16] } };
        let before =
            [other_comes, join(1, peer, 9), join(2, peer, 9), join(3, other, 1), gone, comes, join(7, peer, 1)];
        for (bad, fault) in [(stranger.clone(), Fault::BadOp), (forged, Fault::BadProof)] {
            let ops: Vec<Op> = if bad == stranger { before[1..3].to_vec() } else { before.to_vec() };
            let ops: Vec<Op> = ops.into_iter().chain([bad]).collect();
            assert_eq!(roster.apply(&ops, None), Err(fault));
            assert_eq!((roster.digest(), roster.peers(), roster.memberships()), (digest, 1, 1));
            assert_eq!(roster.memberships_of(peer).len(), 1);
        }
        assert_eq!(roster.apply(&before, Some([0; 32])), Err(Fault::WrongDigest));
        assert_eq!((roster.digest(), roster.memberships_of(peer).len()), (digest, 1));
    }

    #[test]
    fn a_peer_is_in_so_many_topics_and_no_more() {
        let mut roster = Roster::new(host(), TAG);
        let (peer, comes) = present(1);
        roster.apply(&[comes], None).unwrap();
        for topic in 0..PEER_TOPICS_MAX {
            roster.apply(&[join(topic, peer, 1)], None).unwrap();
        }
        assert_eq!(roster.apply(&[join(PEER_TOPICS_MAX, peer, 1)], None), Err(Fault::OverQuota));
        roster.apply(&[join(0, peer, 2)], None).unwrap();
    }

    #[test]
    fn a_roster_has_so_many_peers_memberships_and_bytes_of_metas_and_no_more() {
        let mut roster = Roster::new(host(), TAG);
        let mut first = None;
        for number in 0..ROSTER_PEERS_MAX {
            let (peer, comes) = present(number);
            first = first.or(Some(peer));
            roster.apply(&[comes], None).unwrap();
            let metas = ROSTER_META_BYTES / ROSTER_MEMBERSHIPS_MAX;
            for topic in 0..ROSTER_MEMBERSHIPS_MAX / ROSTER_PEERS_MAX {
                roster.apply(&[join(topic, peer, metas)], None).unwrap();
            }
        }
        let first = first.unwrap();
        assert_eq!((roster.peers(), roster.memberships()), (ROSTER_PEERS_MAX, ROSTER_MEMBERSHIPS_MAX));
        assert_eq!(roster.apply(&[present(ROSTER_PEERS_MAX).1], None), Err(Fault::OverQuota));
        assert_eq!(roster.apply(&[join(9, first, 0)], None), Err(Fault::OverQuota), "too many memberships");
        let larger = ROSTER_META_BYTES / ROSTER_MEMBERSHIPS_MAX + 1;
        assert_eq!(roster.apply(&[join(0, first, larger)], None), Err(Fault::OverQuota), "too many bytes");
    }

    #[test]
    fn a_replica_put_together_from_parts_is_the_roster_or_is_refused() {
        let mut roster = Roster::new(host(), TAG);
        for number in 0..40 {
            let (peer, comes) = present(number);
            roster.apply(&[comes, join(number % 3, peer, 4)], None).unwrap();
        }
        let all = Range { key: [0; 32], nibbles: 0 };
        let Part::Entries(bytes) = roster.part(&all) else { unreachable!("it is small") };
        let ops = aldis_wire::host::entries(&bytes).unwrap();
        let mut replica = Roster::new(host(), TAG);
        replica.replace_range(&all, &ops).unwrap();
        replica.settle().unwrap();
        assert_eq!(replica.digest(), roster.digest());
        let (peer, _) = present(3);
        assert_eq!(replica.memberships_of(peer), roster.memberships_of(peer));
        let orphan = [join(1, present(99).0, 1)];
        let mut bad = Roster::new(host(), TAG);
        bad.replace_range(&all, &orphan).unwrap();
        assert_eq!(bad.settle(), Err(Fault::BadOp), "a member that is not present");
        let foreign = Op::Present { peer, proof: Proof::Minted { nonce: [9; 16] } };
        assert_eq!(bad.replace_range(&all, &[foreign]), Err(Fault::BadProof));
    }
}
