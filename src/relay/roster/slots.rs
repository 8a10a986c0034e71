//! Where a roster keeps its entries: a list of slots of one size, each named by its number, so that whatever refers to
//! an entry takes four bytes for it. The memberships of a peer hang on its presence as a list through the slots.

use aldis_wire::announcement::{EntryOp, encode_entry};
use aldis_wire::digest::{self, Entries, Hash, Key};
use aldis_wire::id::{PeerId, TopicId};
use aldis_wire::proof::Proof;
use aldis_wire::record::{HostRecord, SignedRecord};

/// The number of an entry in its roster. It stays the same for as long as the entry is there, and is then given again.
pub(crate) type Slot = u32;

/// No slot: the end of a list.
const END: Slot = Slot::MAX;

/// A record as signed and as read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Recorded {
    /// For passing on.
    pub(crate) signed: SignedRecord,
    /// For reading.
    pub(crate) record: HostRecord,
}

/// A proof as it is kept: most peers are minted, and their proofs are small.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    /// The nonce of [`Proof::Minted`].
    Minted([u8; 16]),
    /// Any other.
    Keyed(Box<Proof>),
}

impl Kept {
    /// What is kept of this proof.
    #[must_use]
    pub(crate) fn of(proof: &Proof) -> Self {
        match proof {
            Proof::Minted { nonce } => Self::Minted(*nonce),
            Proof::Keyed { .. } => Self::Keyed(Box::new(proof.clone())),
        }
    }

    /// The proof.
    #[must_use]
    pub(crate) fn proof(&self) -> Proof {
        match self {
            Self::Minted(nonce) => Proof::Minted { nonce: *nonce },
            Self::Keyed(proof) => (**proof).clone(),
        }
    }

    /// Whether it is this proof.
    #[must_use]
    pub(crate) fn is(&self, proof: &Proof) -> bool {
        match (self, proof) {
            (Self::Minted(kept), Proof::Minted { nonce }) => kept == nonce,
            (Self::Keyed(kept), proof) => **kept == *proof,
            (Self::Minted(_), Proof::Keyed { .. }) => false,
        }
    }

    /// As [`Proof::counter`].
    #[must_use]
    pub(crate) fn counter(&self) -> u64 {
        match self {
            Self::Minted(_) => 0,
            Self::Keyed(proof) => proof.counter(),
        }
    }

    /// Bytes that it takes outside its slot.
    #[must_use]
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Minted(_) => 0,
            Self::Keyed(_) => size_of::<Proof>(),
        }
    }
}

/// What is in a slot.
#[derive(Clone, Debug)]
pub(super) enum Entry {
    /// Nothing, and the next free slot.
    Free(Slot),
    /// The host's record.
    Record(Box<Recorded>),
    /// A peer. Without a proof it is not present: it is here for its memberships' sake, while a roster is put together.
    Peer { peer: PeerId, proof: Option<Kept>, first: Slot },
    /// A membership, its peer's slot, and the peer's next membership.
    Member { topic: TopicId, meta: Box<[u8]>, peer: Slot, next: Slot },
}

// A million entries take 64 MB.
const _: () = assert!(size_of::<Entry>() <= 64);

/// All slots of a roster.
#[derive(Clone, Debug)]
pub(super) struct Slots {
    list: Vec<Entry>,
    free: Slot,
    used: usize,
}

impl Default for Slots {
    fn default() -> Self {
        Self { list: Vec::new(), free: END, used: 0 }
    }
}

impl Slots {
    /// Puts an entry into a free slot.
    pub(super) fn add(&mut self, entry: Entry) -> Slot {
        self.used += 1;
        let slot = self.free;
        if let Some(place) = self.at_mut(slot) {
            let before = std::mem::replace(place, entry);
            self.free = if let Entry::Free(next) = before { next } else { END };
            return slot;
        }
        if self.list.len() == self.list.capacity() {
            // By an eighth, not by its double: most of a host's memory is in such lists.
            self.list.reserve_exact(self.list.len() / 8 + 1);
        }
        self.list.push(entry);
        Slot::try_from(self.list.len() - 1).unwrap_or(END)
    }

    /// Empties a slot.
    pub(super) fn release(&mut self, slot: Slot) {
        let free = self.free;
        let Some(place) = self.at_mut(slot) else { return };
        *place = Entry::Free(free);
        (self.free, self.used) = (slot, self.used - 1);
        if self.used == 0 {
            *self = Self::default();
        }
    }

    /// How many there are, free ones included.
    #[must_use]
    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    /// Bytes of memory for the slots alone.
    #[must_use]
    pub(super) fn bytes(&self) -> usize {
        self.list.capacity() * size_of::<Entry>()
    }

    #[must_use]
    pub(super) fn at(&self, slot: Slot) -> Option<&Entry> {
        self.list.get(usize::try_from(slot).ok()?)
    }

    pub(super) fn at_mut(&mut self, slot: Slot) -> Option<&mut Entry> {
        self.list.get_mut(usize::try_from(slot).ok()?)
    }

    /// All slots with what is in them, by number.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Slot, &Entry)> {
        (0..).zip(&self.list)
    }

    /// The peer in a slot.
    #[must_use]
    pub(super) fn peer(&self, slot: Slot) -> Option<PeerId> {
        if let Entry::Peer { peer, .. } = self.at(slot)? { Some(*peer) } else { None }
    }

    /// The proof of the peer in a slot.
    #[must_use]
    pub(super) fn proof(&self, slot: Slot) -> Option<&Kept> {
        if let Entry::Peer { proof, .. } = self.at(slot)? { proof.as_ref() } else { None }
    }

    /// Gives the peer in a slot another proof; the one before.
    pub(super) fn set_proof(&mut self, slot: Slot, new: Option<Kept>) -> Option<Kept> {
        if let Entry::Peer { proof, .. } = self.at_mut(slot)? { std::mem::replace(proof, new) } else { None }
    }

    /// Topic, peer's slot and meta of the membership in a slot.
    #[must_use]
    pub(super) fn member(&self, slot: Slot) -> Option<(TopicId, Slot, &[u8])> {
        if let Entry::Member { topic, meta, peer, .. } = self.at(slot)? { Some((*topic, *peer, meta)) } else { None }
    }

    /// Gives the membership in a slot another meta; the one before.
    pub(super) fn set_meta(&mut self, slot: Slot, new: Box<[u8]>) -> Option<Box<[u8]>> {
        if let Entry::Member { meta, .. } = self.at_mut(slot)? { Some(std::mem::replace(meta, new)) } else { None }
    }

    /// The memberships of the peer in a slot.
    pub(super) fn memberships(&self, peer: Slot) -> impl Iterator<Item = (Slot, TopicId, &[u8])> {
        let mut slot = self.first(peer);
        std::iter::from_fn(move || {
            let Entry::Member { topic, meta, next, .. } = self.at(slot)? else { return None };
            Some((std::mem::replace(&mut slot, *next), *topic, &**meta))
        })
    }

    /// Whether the peer in a slot has memberships.
    #[must_use]
    pub(super) fn has_memberships(&self, peer: Slot) -> bool {
        self.first(peer) != END
    }

    fn first(&self, peer: Slot) -> Slot {
        if let Some(Entry::Peer { first, .. }) = self.at(peer) { *first } else { END }
    }

    /// Hangs a membership on its peer.
    pub(super) fn link(&mut self, slot: Slot) {
        let Some((_, peer, _)) = self.member(slot) else { return };
        let after = self.first(peer);
        if let Some(Entry::Member { next, .. }) = self.at_mut(slot) {
            *next = after;
        }
        if let Some(Entry::Peer { first, .. }) = self.at_mut(peer) {
            *first = slot;
        }
    }

    /// Takes a membership off its peer.
    pub(super) fn unlink(&mut self, slot: Slot) {
        let Some(Entry::Member { peer, next: after, .. }) = self.at(slot) else { return };
        let (peer, after) = (*peer, *after);
        if self.first(peer) == slot {
            if let Some(Entry::Peer { first, .. }) = self.at_mut(peer) {
                *first = after;
            }
            return;
        }
        let points_here = |other: Slot| matches!(self.at(other), Some(Entry::Member { next, .. }) if *next == slot);
        let before = self.memberships(peer).map(|(other, ..)| other).find(|other| points_here(*other));
        if let Some(Entry::Member { next, .. }) = before.and_then(|before| self.at_mut(before)) {
            *next = after;
        }
    }

    /// Appends the op that makes the entry in a slot.
    pub(super) fn encode(&self, slot: Slot, out: &mut Vec<u8>) {
        // What is kept came as an op, or went out as one; it can be encoded.
        let _ = match self.at(slot) {
            Some(Entry::Record(recorded)) => encode_entry(EntryOp::Record(&recorded.signed), out),
            Some(Entry::Peer { peer, proof: Some(proof), .. }) => {
                encode_entry(EntryOp::Present(*peer, &proof.proof()), out)
            }
            Some(Entry::Member { topic, meta, peer, .. }) => match self.peer(*peer) {
                Some(peer) => encode_entry(EntryOp::Join(*topic, peer, meta), out),
                None => Ok(()),
            },
            _ => Ok(()),
        };
    }
}

impl Entry {
    /// A membership that hangs on no peer yet.
    #[must_use]
    pub(super) fn member(topic: TopicId, peer: Slot, meta: Box<[u8]>) -> Self {
        Self::Member { topic, meta, peer, next: END }
    }

    /// A peer without memberships.
    #[must_use]
    pub(super) fn peer(peer: PeerId, proof: Option<Kept>) -> Self {
        Self::Peer { peer, proof, first: END }
    }
}

impl Entries for Slots {
    fn key(&self, slot: Slot) -> Key {
        match self.at(slot) {
            Some(Entry::Peer { peer, .. }) => digest::presence_key(*peer),
            Some(Entry::Member { topic, peer, .. }) => match self.peer(*peer) {
                Some(peer) => digest::membership_key(*topic, peer),
                None => digest::RECORD_KEY,
            },
            _ => digest::RECORD_KEY,
        }
    }

    fn hash(&self, slot: Slot) -> Hash {
        let mut encoded = Vec::with_capacity(128);
        self.encode(slot, &mut encoded);
        digest::entry_hash(&encoded)
    }
}
