//! Where each peer is at home: a table of places, which are compared by what stands there. A peer nearly always has one
//! home; the worse ones of those that move are kept beside.
//!
//! The table is in parts. When one grows, every peer in it is looked up in its roster again to be hashed, at some 90 ns;
//! of a million peers in one table that is one call of 85 ms, in which nobody else has the machine.

use std::collections::BTreeMap;

use aldis_wire::id::{HostId, PeerId};
use hashbrown::HashTable;

use super::hosts::{Hosts, Place};
use crate::relay::counters::rank;
use crate::relay::hashing::Seed;

/// Parts of the table: of the four million peers for which there is room, one takes 65,000, and 6 ms to grow.
const PARTS: usize = 64;

/// See the module's text.
#[derive(Debug)]
pub(super) struct Homes {
    seed: Seed,
    parts: [HashTable<Place>; PARTS],
    /// Places of peers besides their homes, best claim first.
    further: BTreeMap<PeerId, Vec<Further>>,
}

#[derive(Debug)]
struct Further {
    place: Place,
    claim: (u64, HostId),
}

/// The part in which a hash belongs. Of its bits a table uses the lowest and the highest itself.
fn part(hash: u64) -> usize {
    usize::try_from(hash >> 40).unwrap_or(0) % PARTS
}

impl Homes {
    pub(super) fn new(seed: Seed) -> Self {
        Self { seed, parts: std::array::from_fn(|_| HashTable::new()), further: BTreeMap::new() }
    }

    /// Peers that have a home.
    pub(super) fn len(&self) -> usize {
        self.parts.iter().map(HashTable::len).sum()
    }

    /// Bytes of memory.
    pub(super) fn bytes(&self) -> usize {
        let parts: usize = self.parts.iter().map(HashTable::allocation_size).sum();
        parts + self.further.len() * (size_of::<PeerId>() + 2 * size_of::<Further>())
    }

    /// A peer's home.
    pub(super) fn find(&self, hosts: &Hosts, peer: PeerId) -> Option<Place> {
        let hash = self.seed.hash(peer.as_bytes());
        self.parts.get(part(hash))?.find(hash, |place| hosts.peer(*place) == Some(peer)).copied()
    }

    /// A peer is present at a place. If that is its home now, the home that it had before.
    pub(super) fn enter(&mut self, hosts: &Hosts, peer: PeerId, place: Place) -> Option<Option<Place>> {
        let hash = self.seed.hash(peer.as_bytes());
        let claim = hosts.claim(place);
        let table = self.parts.get_mut(part(hash))?;
        let Some(home) = table.find_mut(hash, |home| hosts.peer(*home) == Some(peer)) else {
            let seed = &self.seed;
            let hasher = |place: &Place| hosts.peer(*place).map_or(0, |peer| seed.hash(peer.as_bytes()));
            table.insert_unique(hash, place, hasher);
            return Some(None);
        };
        let before = Further { place: *home, claim: hosts.claim(*home) };
        let better = rank(claim) < rank(before.claim);
        let (entered, other) = if better {
            *home = place;
            (Some(Some(before.place)), before)
        } else {
            (None, Further { place, claim })
        };
        let further = self.further.entry(peer).or_default();
        further.push(other);
        further.sort_by_key(|further| rank(further.claim));
        entered
    }

    /// A peer is not present at a place any more: whether that was its home; its next one has taken its place. `None` if
    /// the peer was not known there.
    pub(super) fn leave(&mut self, peer: PeerId, place: Place) -> Option<bool> {
        let hash = self.seed.hash(peer.as_bytes());
        let table = self.parts.get_mut(part(hash))?;
        if let Some(further) = self.further.get_mut(&peer) {
            let home = table.find_mut(hash, |home| *home == place);
            let was_home = home.is_some();
            let count = further.len();
            match home {
                Some(home) if count > 0 => *home = further.remove(0).place,
                _ => further.retain(|further| further.place != place),
            }
            let known = further.len() < count;
            if further.is_empty() {
                self.further.remove(&peer);
            }
            return known.then_some(was_home);
        }
        table.find_entry(hash, |home| *home == place).ok()?.remove();
        if table.is_empty() {
            *table = HashTable::new();
        }
        Some(true)
    }
}
