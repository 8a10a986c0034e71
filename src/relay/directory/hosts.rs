//! All rosters, each in a row, so that an entry anywhere is named by two small numbers.

use std::sync::Arc;

use aldis_wire::id::{HostId, PeerId};

use super::shared::Line;
use crate::relay::by_host::{InOrder, Row};
use crate::relay::hashing::Seed;
use crate::relay::roster::{Kept, Roster, Slot};

/// An entry of a roster: which roster, and where in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) host: Row,
    pub(super) slot: Slot,
}

/// A roster that is here.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) roster: Arc<Roster>,
    /// Whether its peers are shown; an expired roster is kept but hidden. Changed by [`Hosts::show`] alone.
    pub(super) shown: bool,
    /// How the roster came about, if others may share it.
    pub(super) line: Option<Line>,
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct Hosts {
    all: InOrder<Held>,
    shown: usize,
}

impl Hosts {
    pub(super) fn new(seed: Seed) -> Self {
        Self { all: InOrder::new(seed), shown: 0 }
    }

    pub(super) fn seed(&self) -> Seed {
        self.all.seed()
    }

    /// Puts a roster in, in place of the host's former one. What refers to entries of that must be gone.
    pub(super) fn insert(&mut self, host: HostId, held: Held) -> Row {
        self.shown += usize::from(held.shown);
        let (row, before) = self.all.insert(host, held);
        self.shown -= usize::from(before.is_some_and(|before| before.shown));
        row
    }

    /// Takes a roster out. What refers to its entries must be gone.
    pub(super) fn remove(&mut self, host: HostId) {
        let before = self.all.remove(host);
        self.shown -= usize::from(before.is_some_and(|before| before.shown));
    }

    /// Notes whether a roster is shown. Gives its row if that is new.
    pub(super) fn show(&mut self, host: HostId, shown: bool) -> Option<Row> {
        let (row, held) = self.find_mut(host)?;
        if std::mem::replace(&mut held.shown, shown) == shown {
            return None;
        }
        self.shown = if shown { self.shown + 1 } else { self.shown - 1 };
        Some(row)
    }

    /// How many rosters are shown.
    pub(super) fn shown(&self) -> usize {
        self.shown
    }

    pub(super) fn row(&self, host: HostId) -> Option<Row> {
        self.all.row(host)
    }

    pub(super) fn host(&self, row: Row) -> Option<HostId> {
        self.all.host(row)
    }

    pub(super) fn at(&self, row: Row) -> Option<&Held> {
        self.all.at(row)
    }

    pub(super) fn find(&self, host: HostId) -> Option<&Held> {
        self.all.find(host)
    }

    pub(super) fn find_mut(&mut self, host: HostId) -> Option<(Row, &mut Held)> {
        let row = self.row(host)?;
        Some((row, self.all.at_mut(row)?))
    }

    /// All rosters, by host.
    pub(super) fn iter(&self) -> impl Iterator<Item = (HostId, &Held)> {
        self.all.iter()
    }

    /// A number above all rows.
    pub(super) fn rows(&self) -> usize {
        self.all.rows()
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// The peer whose presence is at a place.
    pub(super) fn peer(&self, place: Place) -> Option<PeerId> {
        self.at(place.host)?.roster.peer_at(place.slot)
    }

    /// The counter of the claim by which a peer is present at a place, and the host.
    pub(super) fn claim(&self, place: Place) -> (u64, HostId) {
        let held = self.at(place.host);
        let counter = held.and_then(|held| held.roster.proof_at(place.slot)).map_or(0, Kept::counter);
        (counter, self.host(place.host).unwrap_or(HostId::new([0; 32])))
    }
}
