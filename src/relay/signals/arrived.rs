//! Signals that arrived here lately, and where their senders are at home (PROTOCOL.md §7.1).

use std::collections::{HashMap, VecDeque};

use aldis_wire::host::Outcome;
use aldis_wire::id::{HostId, PeerId};

use crate::relay::io::{LinkKey, Moment, RequestId};
use crate::relay::limits::{DEDUPLICATION, REMEMBERED_DELIVERIES_MAX, RETURN_ROUTE, RETURN_ROUTES_MAX};

/// A signal that arrived for a peer at home here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Delivery {
    /// Whom it is for.
    pub(crate) to: PeerId,
    /// What became of it; `None` while the target has not acknowledged it.
    pub(crate) outcome: Option<Outcome>,
    /// The link over which it came last, if by way of others.
    pub(crate) via: Option<LinkKey>,
}

/// Signals that arrived in the last two minutes, so that a repetition is not delivered twice.
#[derive(Debug, Default)]
pub(crate) struct Deliveries {
    by_id: HashMap<(PeerId, RequestId), Delivery>,
    by_age: VecDeque<(Moment, PeerId, RequestId)>,
}

impl Deliveries {
    /// How many there are.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// An earlier arrival under the same sender and id, if there was one; this one came over the link `via`.
    pub(crate) fn came_again(&mut self, from: PeerId, id: &RequestId, via: Option<LinkKey>) -> Option<&Delivery> {
        let delivery = self.by_id.get_mut(&(from, id.clone()))?;
        delivery.via = via;
        Some(delivery)
    }

    /// Notes an arrival.
    pub(crate) fn insert(&mut self, now: Moment, from: PeerId, id: RequestId, delivery: Delivery) {
        self.tidy(now);
        if self.by_id.insert((from, id.clone()), delivery).is_none() {
            self.by_age.push_back((now, from, id));
        }
    }

    /// Notes what became of it; the link over which it came last, if by way of others.
    pub(crate) fn finish(&mut self, from: PeerId, id: &RequestId, outcome: Outcome) -> Option<LinkKey> {
        let delivery = self.by_id.get_mut(&(from, id.clone()))?;
        delivery.outcome = Some(outcome);
        delivery.via
    }

    /// Forgets what is too old.
    pub(crate) fn tidy(&mut self, now: Moment) {
        while self.by_age.len() >= REMEMBERED_DELIVERIES_MAX
            || self.by_age.front().is_some_and(|(at, ..)| now.since(*at) >= DEDUPLICATION)
        {
            let Some((_, from, id)) = self.by_age.pop_front() else { break };
            self.by_id.remove(&(from, id));
        }
    }
}

/// Where the senders of recent signals are at home, so that they can be answered even when no roster shows them yet.
#[derive(Debug, Default)]
pub(crate) struct ReturnRoutes {
    homes: HashMap<PeerId, (HostId, Moment)>,
    by_age: VecDeque<(Moment, PeerId)>,
}

impl ReturnRoutes {
    /// A signal of `peer` came from `home`.
    pub(crate) fn insert(&mut self, now: Moment, peer: PeerId, home: HostId) {
        self.tidy(now);
        let fresh =
            self.homes.get(&peer).is_some_and(|(known, at)| *known == home && now.since(*at) < RETURN_ROUTE / 2);
        if !fresh {
            self.homes.insert(peer, (home, now));
            self.by_age.push_back((now, peer));
        }
    }

    /// How many there are.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.homes.len()
    }

    /// Forgets what is too old.
    pub(crate) fn tidy(&mut self, now: Moment) {
        while self.by_age.len() >= RETURN_ROUTES_MAX
            || self.by_age.front().is_some_and(|(at, _)| now.since(*at) >= RETURN_ROUTE)
        {
            let Some((at, peer)) = self.by_age.pop_front() else { break };
            if self.homes.get(&peer).is_some_and(|(_, kept)| *kept == at) {
                self.homes.remove(&peer);
            }
        }
    }

    /// Where the peer's last signal came from.
    #[must_use]
    pub(crate) fn find(&self, now: Moment, peer: PeerId) -> Option<HostId> {
        let (home, at) = self.homes.get(&peer)?;
        (now.since(*at) < RETURN_ROUTE).then_some(*home)
    }
}
