//! All rosters, each in a slot, so that an entry anywhere is named by two small numbers.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use aldis_wire::id::{HostId, PeerId};

use super::shared::Line;
use crate::relay::roster::{Kept, Roster, Slot};

/// An entry of a roster: which roster, and where in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) host: u32,
    pub(super) slot: Slot,
}

/// A roster that is here.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) host: HostId,
    pub(super) roster: Arc<Roster>,
    /// Whether its peers are shown; an expired roster is kept but hidden. Changed by [`Hosts::show`] alone.
    pub(super) shown: bool,
    /// How the roster came about, if others may share it.
    pub(super) line: Option<Line>,
}

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    list: Vec<Option<Held>>,
    free: Vec<u32>,
    /// For looking one up.
    slots: HashMap<HostId, u32>,
    /// For looking at all of them.
    by_id: BTreeMap<HostId, u32>,
    shown: usize,
}

impl Hosts {
    /// Puts a roster in, in place of the host's former one. What refers to entries of that must be gone.
    pub(super) fn insert(&mut self, held: Held) -> u32 {
        let (host, shown) = (held.host, held.shown);
        let slot = match self.slot(host).or_else(|| self.free.pop()) {
            Some(slot) => slot,
            None => {
                self.list.push(None);
                u32::try_from(self.list.len() - 1).unwrap_or(u32::MAX)
            }
        };
        self.by_id.insert(host, slot);
        self.slots.insert(host, slot);
        let before = self.place(slot).and_then(|place| place.replace(held));
        self.shown -= usize::from(before.is_some_and(|before| before.shown));
        self.shown += usize::from(shown);
        slot
    }

    /// Takes a roster out. What refers to its entries must be gone.
    pub(super) fn remove(&mut self, host: HostId) {
        if let Some(slot) = self.slots.remove(&host) {
            self.by_id.remove(&host);
            let before = self.place(slot).and_then(Option::take);
            self.shown -= usize::from(before.is_some_and(|before| before.shown));
            self.free.push(slot);
        }
    }

    /// Notes whether a roster is shown. Gives its slot if that is new.
    pub(super) fn show(&mut self, host: HostId, shown: bool) -> Option<u32> {
        let (slot, held) = self.find_mut(host)?;
        if std::mem::replace(&mut held.shown, shown) == shown {
            return None;
        }
        self.shown = if shown { self.shown + 1 } else { self.shown - 1 };
        Some(slot)
    }

    /// How many rosters are shown.
    pub(super) fn shown(&self) -> usize {
        self.shown
    }

    fn place(&mut self, slot: u32) -> Option<&mut Option<Held>> {
        self.list.get_mut(usize::try_from(slot).ok()?)
    }

    pub(super) fn slot(&self, host: HostId) -> Option<u32> {
        self.slots.get(&host).copied()
    }

    pub(super) fn at(&self, slot: u32) -> Option<&Held> {
        self.list.get(usize::try_from(slot).ok()?)?.as_ref()
    }

    pub(super) fn find(&self, host: HostId) -> Option<&Held> {
        self.at(self.slot(host)?)
    }

    pub(super) fn find_mut(&mut self, host: HostId) -> Option<(u32, &mut Held)> {
        let slot = self.slot(host)?;
        Some((slot, self.place(slot)?.as_mut()?))
    }

    /// All rosters, by host.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Held> {
        self.by_id.values().filter_map(|slot| self.at(*slot))
    }

    /// A number above all slots of rosters.
    pub(super) fn slots(&self) -> usize {
        self.list.len()
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// The peer whose presence is at a place.
    pub(super) fn peer(&self, place: Place) -> Option<PeerId> {
        self.at(place.host)?.roster.peer_at(place.slot)
    }

    /// The counter of the claim by which a peer is present at a place, and the host.
    pub(super) fn claim(&self, place: Place) -> (u64, HostId) {
        let held = self.at(place.host);
        let counter = held.and_then(|held| held.roster.proof_at(place.slot)).map_or(0, Kept::counter);
        (counter, held.map_or(HostId::new([0; 32]), |held| held.host))
    }
}
