//! One host's roster: its record, who is present, who is a member of what; and the digest of it all.
//!
//! Applying ops either changes everything or nothing. What changed is told by the numbers of the entries (*slots*), so
//! that indexes can follow; entries that went can still be read under theirs until [`Roster::sweep`].

mod change;
mod counts;
mod slots;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use aldis_wire::announcement::{GoneReason, Op};
use aldis_wire::digest::{self, Entries, Hash, Tree};
use aldis_wire::host::{Part, Range};
use aldis_wire::id::{HostId, PeerId, TopicId};
use aldis_wire::limits::{
    OPS_BYTES, PEER_TOPICS_MAX, REPLY_ENTRIES_MAX, ROSTER_MEMBERSHIPS_MAX, ROSTER_META_BYTES, ROSTER_PEERS_MAX,
};
use aldis_wire::proof::{Proof, Trust};
use aldis_wire::record::SignedRecord;

use super::io::Fault;
pub(crate) use change::Change;
use counts::Counts;
use slots::{Entry, Slots};
pub(crate) use slots::{Kept, Recorded, Slot};

/// Topics of one peer while a roster is put together out of parts of different age.
const STAGED_TOPICS_MAX: usize = 8 * PEER_TOPICS_MAX;

/// What one host says of its edges.
#[derive(Clone, Debug)]
pub(crate) struct Roster {
    origin: HostId,
    trust: Trust,
    slots: Slots,
    tree: Tree,
    record: Option<Slot>,
    /// Entries that went, but can still be read.
    cut: Vec<Slot>,
    /// Peers that have memberships and are not present, while the roster is put together.
    absent: BTreeMap<PeerId, Slot>,
    counts: Counts,
}

impl Roster {
    /// The empty roster of `origin`.
    #[must_use]
    pub(crate) fn new(origin: HostId, trust: impl Into<Trust>) -> Self {
        Self {
            origin,
            trust: trust.into(),
            slots: Slots::default(),
            tree: Tree::default(),
            record: None,
            cut: Vec::new(),
            absent: BTreeMap::new(),
            counts: Counts::default(),
        }
    }

    /// Present peers.
    #[must_use]
    pub(crate) fn peers(&self) -> usize {
        self.counts.peers
    }

    /// Memberships.
    #[must_use]
    pub(crate) fn memberships(&self) -> usize {
        self.counts.memberships
    }

    /// Slots, free ones included: a number above all of them.
    #[must_use]
    pub(crate) fn slots(&self) -> usize {
        self.slots.len()
    }

    /// About how many bytes of memory the entries take, metas and proofs included, and how many the digest.
    #[must_use]
    pub(crate) fn bytes(&self) -> (usize, usize) {
        (self.slots.bytes() + self.counts.bytes(), self.tree.bytes())
    }

    /// The digest of everything in it.
    pub(crate) fn digest(&mut self) -> Hash {
        self.tree.digest(&self.slots)
    }

    /// The digest of a part of it.
    pub(crate) fn digest_of(&mut self, range: &Range) -> Hash {
        self.tree.digest_of(&self.slots, range)
    }

    /// The host's record, once it has announced one.
    #[must_use]
    pub(crate) fn record(&self) -> Option<&Recorded> {
        match self.slots.at(self.record?)? {
            Entry::Record(recorded) => Some(recorded),
            _ => None,
        }
    }

    /// Where a present peer stands. Costs a hash.
    #[must_use]
    pub(crate) fn find(&self, peer: PeerId) -> Option<Slot> {
        self.tree.find(&digest::presence_key(peer), |slot| self.slots.peer(slot) == Some(peer))
    }

    /// The peer in a slot.
    #[must_use]
    pub(crate) fn peer_at(&self, slot: Slot) -> Option<PeerId> {
        self.slots.peer(slot)
    }

    /// The proof of the peer in a slot.
    #[must_use]
    pub(crate) fn proof_at(&self, slot: Slot) -> Option<&Kept> {
        self.slots.proof(slot)
    }

    /// Topic, peer and meta of the membership in a slot.
    #[must_use]
    pub(crate) fn member_at(&self, slot: Slot) -> Option<(TopicId, PeerId, &[u8])> {
        let (topic, peer, meta) = self.slots.member(slot)?;
        Some((topic, self.slots.peer(peer)?, meta))
    }

    /// Slots, topics and metas of the memberships of the peer in a slot.
    pub(crate) fn memberships_at(&self, peer: Slot) -> impl Iterator<Item = (Slot, TopicId, &[u8])> {
        self.slots.memberships(peer)
    }

    /// The meta of a membership.
    #[must_use]
    pub(crate) fn meta(&self, topic: TopicId, peer: PeerId) -> Option<&[u8]> {
        let found = self.slots.memberships(self.find(peer)?).find(|(_, other, _)| *other == topic);
        found.map(|(_, _, meta)| meta)
    }

    /// Slots of all present peers, by number.
    pub(crate) fn presences(&self) -> impl Iterator<Item = Slot> {
        let present = |entry: &Entry| matches!(entry, Entry::Peer { proof: Some(_), .. });
        self.slots.iter().filter(move |(_, entry)| present(entry)).map(|(slot, _)| slot)
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

    /// Whether there are entries that went and can still be read.
    #[must_use]
    pub(crate) fn is_to_be_swept(&self) -> bool {
        !self.cut.is_empty()
    }

    /// Forgets entries that went: nobody reads them any more.
    pub(crate) fn sweep(&mut self) {
        for slot in std::mem::take(&mut self.cut) {
            self.slots.release(slot);
        }
    }

    fn apply_one(&mut self, op: &Op) -> Result<Option<Change>, Fault> {
        match op {
            Op::Record(signed) => self.set_record(signed).map(Some),
            Op::Present { peer, proof } => self.set_present(*peer, proof).map(Some),
            Op::Gone { peer, reason } => self.remove_peer(*peer, *reason).map(Some),
            Op::Join { topic, peer, meta } => self.join(*topic, *peer, meta).map(Some),
            Op::Leave { topic, peer } => self.leave(*topic, *peer).map(Some),
            Op::Status(_) | Op::Lost { .. } => Ok(None),
        }
    }

    fn set_record(&mut self, signed: &SignedRecord) -> Result<Change, Fault> {
        if signed.host() != self.origin {
            return Err(Fault::BadOp);
        }
        let record = signed.open(self.trust).map_err(|_| Fault::BadSignature)?;
        let new = Box::new(Recorded { signed: signed.clone(), record });
        Ok(Change::Record { old: self.put_record(Some(new)) })
    }

    fn put_record(&mut self, new: Option<Box<Recorded>>) -> Option<Box<Recorded>> {
        match (self.record, new) {
            (Some(slot), Some(new)) => {
                self.tree.touch(&digest::RECORD_KEY);
                let old = self.slots.at_mut(slot).map(|place| std::mem::replace(place, Entry::Record(new)));
                if let Some(Entry::Record(old)) = old { Some(old) } else { None }
            }
            (Some(slot), None) => {
                self.tree.remove(&digest::RECORD_KEY, slot);
                self.slots.release(slot);
                self.record = None;
                None
            }
            (None, Some(new)) => {
                let slot = self.slots.add(Entry::Record(new));
                self.tree.insert(&self.slots, slot);
                self.record = Some(slot);
                None
            }
            (None, None) => None,
        }
    }

    fn set_present(&mut self, peer: PeerId, proof: &Proof) -> Result<Change, Fault> {
        let known = self.find(peer).and_then(|slot| self.slots.proof(slot));
        if known.is_none_or(|known| !known.is(proof)) && !proof.verify(peer, self.trust, self.origin) {
            return Err(Fault::BadProof);
        }
        self.put_present(peer, proof)
    }

    /// A peer is present by a proof that was checked.
    fn put_present(&mut self, peer: PeerId, proof: &Proof) -> Result<Change, Fault> {
        let new = Kept::of(proof);
        if let Some(slot) = self.absent.remove(&peer) {
            self.slots.set_proof(slot, Some(new));
            self.enter(slot);
            return Ok(Change::Present { slot, old: None });
        }
        if let Some(slot) = self.find(peer) {
            return Ok(Change::Present { slot, old: self.put_proof(slot, new) });
        }
        if self.counts.peers >= ROSTER_PEERS_MAX {
            return Err(Fault::OverQuota);
        }
        let slot = self.slots.add(Entry::peer(peer, Some(new)));
        self.enter(slot);
        Ok(Change::Present { slot, old: None })
    }

    fn put_proof(&mut self, slot: Slot, new: Kept) -> Option<Kept> {
        self.tree.touch(&self.slots.key(slot));
        self.counts.proof_bytes += new.bytes();
        let old = self.slots.set_proof(slot, Some(new));
        self.counts.proof_bytes -= old.as_ref().map_or(0, Kept::bytes);
        old
    }

    fn remove_peer(&mut self, peer: PeerId, reason: GoneReason) -> Result<Change, Fault> {
        let slot = self.find(peer).ok_or(Fault::BadOp)?;
        let memberships: Vec<Slot> = self.slots.memberships(slot).map(|(slot, ..)| slot).collect();
        // They stay linked, so that they can be read, and come back if this is taken back.
        for membership in memberships.into_iter().chain([slot]) {
            self.withdraw(membership);
            self.cut.push(membership);
        }
        Ok(Change::Gone { slot, reason })
    }

    fn join(&mut self, topic: TopicId, peer: PeerId, meta: &[u8]) -> Result<Change, Fault> {
        let peer = self.find(peer).ok_or(Fault::BadOp)?;
        let (slot, count) = self.membership(peer, topic);
        let old = slot.and_then(|slot| self.slots.member(slot)).map_or(0, |(_, _, meta)| meta.len());
        if self.counts.meta_bytes - old + meta.len() > ROSTER_META_BYTES {
            return Err(Fault::OverQuota);
        }
        if let Some(slot) = slot {
            return Ok(Change::Joined { slot, old: self.put_meta(slot, meta.into()) });
        }
        if self.counts.memberships >= ROSTER_MEMBERSHIPS_MAX || count >= PEER_TOPICS_MAX {
            return Err(Fault::OverQuota);
        }
        Ok(Change::Joined { slot: self.add_member(topic, peer, meta), old: None })
    }

    /// The membership of the peer in a slot, and how many it has.
    fn membership(&self, peer: Slot, topic: TopicId) -> (Option<Slot>, usize) {
        let mut found = (None, 0);
        for (slot, other, _) in self.slots.memberships(peer) {
            found = (found.0.or((other == topic).then_some(slot)), found.1 + 1);
        }
        found
    }

    fn add_member(&mut self, topic: TopicId, peer: Slot, meta: &[u8]) -> Slot {
        let slot = self.slots.add(Entry::member(topic, peer, meta.into()));
        self.slots.link(slot);
        self.enter(slot);
        slot
    }

    fn put_meta(&mut self, slot: Slot, new: Box<[u8]>) -> Option<Box<[u8]>> {
        self.tree.touch(&self.slots.key(slot));
        self.counts.meta_bytes += new.len();
        let old = self.slots.set_meta(slot, new);
        self.counts.meta_bytes -= old.as_ref().map_or(0, |old| old.len());
        old
    }

    fn leave(&mut self, topic: TopicId, peer: PeerId) -> Result<Change, Fault> {
        let peer = self.find(peer).ok_or(Fault::BadOp)?;
        let slot = self.membership(peer, topic).0.ok_or(Fault::BadOp)?;
        self.withdraw(slot);
        self.slots.unlink(slot);
        self.cut.push(slot);
        Ok(Change::Left { slot })
    }

    fn take_back(&mut self, changes: Vec<Change>) {
        for change in changes.into_iter().rev() {
            match change {
                Change::Record { old } => _ = self.put_record(old),
                Change::Present { slot, old: None } => {
                    self.withdraw(slot);
                    self.slots.release(slot);
                }
                Change::Present { slot, old: Some(proof) } => _ = self.put_proof(slot, proof),
                Change::Gone { slot, .. } => {
                    let memberships: Vec<Slot> = self.slots.memberships(slot).map(|(slot, ..)| slot).collect();
                    self.cut.truncate(self.cut.len().saturating_sub(memberships.len() + 1));
                    memberships.into_iter().chain([slot]).for_each(|slot| self.enter(slot));
                }
                Change::Joined { slot, old: None } => {
                    self.withdraw(slot);
                    self.slots.unlink(slot);
                    self.slots.release(slot);
                }
                Change::Joined { slot, old: Some(meta) } => _ = self.put_meta(slot, meta),
                Change::Left { slot } => {
                    self.cut.pop();
                    self.slots.link(slot);
                    self.enter(slot);
                }
            }
        }
    }

    /// What is in a slot counts.
    fn enter(&mut self, slot: Slot) {
        self.tree.insert(&self.slots, slot);
        self.counts.add(self.slots.at(slot), 1);
    }

    /// What is in a slot does not count any more.
    fn withdraw(&mut self, slot: Slot) {
        self.tree.remove(&self.slots.key(slot), slot);
        self.counts.add(self.slots.at(slot), -1);
    }

    /// What `range` holds, for a host that compares (PROTOCOL.md §6.5).
    pub(crate) fn part(&mut self, range: &Range) -> Part {
        if self.tree.len_of(&self.slots, range) <= REPLY_ENTRIES_MAX {
            let mut encoded = Vec::new();
            for (_, slot) in self.tree.slots_of(&self.slots, range) {
                self.slots.encode(slot, &mut encoded);
            }
            if encoded.len() <= OPS_BYTES {
                return Part::Entries(encoded.into());
            }
        }
        Part::Below(self.tree.below(&self.slots, range))
    }

    /// Makes `range` hold exactly these entries. Memberships may come before their peers.
    ///
    /// # Errors
    /// The [`Fault`] of an entry that does not belong here; the roster must then be thrown away.
    pub(crate) fn replace_range(&mut self, range: &Range, ops: &[Op]) -> Result<(), Fault> {
        let mut claims: BTreeMap<PeerId, Kept> = BTreeMap::new();
        for (_, slot) in self.tree.slots_of(&self.slots, range) {
            if let Some(proof @ Kept::Keyed(_)) = self.slots.proof(slot) {
                claims.extend(self.slots.peer(slot).map(|peer| (peer, proof.clone())));
            }
            self.drop_entry(slot);
        }
        for op in ops {
            match op {
                // Most of a range that differs is the same: a claim that stood there was checked, at 50 µs each.
                Op::Present { peer, proof } if claims.get(peer).is_some_and(|claim| claim.is(proof)) => {
                    self.put_present(*peer, proof)?;
                }
                _ => self.put(op)?,
            }
        }
        self.counts.check()
    }

    /// Makes up for announcements that were made while the roster was fetched in ranges: whatever entry they touch ends
    /// as the last of them says, also if a range was fetched after some of them.
    ///
    /// # Errors
    /// As [`Roster::replace_range`].
    pub(crate) fn bring_forward(&mut self, ops: &[Op]) -> Result<(), Fault> {
        for op in ops {
            match op {
                Op::Record(_) | Op::Present { .. } | Op::Join { .. } => self.put(op)?,
                Op::Gone { peer, .. } => {
                    let Some(slot) = self.find_staged(*peer) else { continue };
                    let memberships: Vec<Slot> = self.slots.memberships(slot).map(|(slot, ..)| slot).collect();
                    // The presence first: without it, a peer goes with its last membership.
                    if self.slots.proof(slot).is_some() {
                        self.drop_entry(slot);
                    }
                    memberships.into_iter().for_each(|slot| self.drop_entry(slot));
                }
                Op::Leave { topic, peer } => {
                    let found = self.find_staged(*peer).and_then(|peer| self.membership(peer, *topic).0);
                    found.into_iter().for_each(|slot| self.drop_entry(slot));
                }
                Op::Status(_) | Op::Lost { .. } => {}
            }
        }
        self.counts.check()
    }

    /// Where a peer stands, also one that is not present yet.
    fn find_staged(&self, peer: PeerId) -> Option<Slot> {
        self.find(peer).or_else(|| self.absent.get(&peer).copied())
    }

    /// Puts the entry in that an op makes, checked but for the presence of members.
    fn put(&mut self, op: &Op) -> Result<(), Fault> {
        match op {
            Op::Record(signed) => _ = self.set_record(signed)?,
            Op::Present { peer, proof } => _ = self.set_present(*peer, proof)?,
            Op::Join { topic, peer, meta } => {
                let slot = match self.find_staged(*peer) {
                    Some(slot) => slot,
                    None => {
                        let slot = self.slots.add(Entry::peer(*peer, None));
                        self.absent.insert(*peer, slot);
                        slot
                    }
                };
                match self.membership(slot, *topic) {
                    (Some(slot), _) => _ = self.put_meta(slot, meta[..].into()),
                    (None, STAGED_TOPICS_MAX..) => return Err(Fault::OverQuota),
                    (None, _) => _ = self.add_member(*topic, slot, meta),
                }
            }
            _ => return Err(Fault::BadOp),
        }
        Ok(())
    }

    /// Takes an entry out while the roster is put together.
    fn drop_entry(&mut self, slot: Slot) {
        if self.record == Some(slot) {
            self.put_record(None);
        } else if let Some((_, peer, _)) = self.slots.member(slot) {
            self.withdraw(slot);
            self.slots.unlink(slot);
            self.slots.release(slot);
            if self.slots.proof(peer).is_none() && !self.slots.has_memberships(peer) {
                self.slots.peer(peer).and_then(|id| self.absent.remove(&id));
                self.slots.release(peer);
            }
        } else {
            self.withdraw(slot);
            if self.slots.has_memberships(slot) {
                self.slots.set_proof(slot, None);
                self.slots.peer(slot).and_then(|peer| self.absent.insert(peer, slot));
            } else {
                self.slots.release(slot);
            }
        }
    }

    /// Drops everything in `range` that lies in none of `kept`.
    pub(crate) fn keep_only(&mut self, range: &Range, kept: &[(Range, Hash)]) {
        for (key, slot) in self.tree.slots_of(&self.slots, range) {
            if !kept.iter().any(|(range, _)| range.holds(&key)) {
                self.drop_entry(slot);
            }
        }
    }

    /// Whether it is a roster, after ranges were replaced.
    ///
    /// # Errors
    /// [`Fault::BadOp`] when a member is not present, [`Fault::OverQuota`] when one has too many topics.
    pub(crate) fn settle(&self) -> Result<(), Fault> {
        if self.presences().any(|slot| self.slots.memberships(slot).count() > PEER_TOPICS_MAX) {
            return Err(Fault::OverQuota);
        }
        if self.absent.is_empty() { Ok(()) } else { Err(Fault::BadOp) }
    }
}

// A record is the largest entry; it must fit an announcement alone.
const _: () = assert!(aldis_wire::limits::RECORD_BYTES + 256 < OPS_BYTES);
