//! Hosts behind routers: whoever can be linked is.

use std::collections::BTreeSet;

use aldis_wire::id::HostId;

use crate::map::Place;
use crate::nats::Kind;
use crate::queue::{At, MS, SEC};
use crate::world::World;

/// Hosts that can be linked are so long after they have a neighbour in common: the first meeting takes half a second,
/// three tries take 12 s.
const MEET_MAX: At = 15 * SEC;

/// Hosts that are introduced dial at one moment: their round trips are known, and a frame is late by a sixteenth of its way.
const SKEW_MAX: At = 60 * MS;
/// Dials that are so near belong to one meeting.
const ONE_MEETING: At = 2 * SEC;
/// What is known of a router for so long is known to those who introduce.
const KNOWN_TO_ALL: At = 20 * SEC;

impl World {
    /// A host dials another one to which it was introduced: at the same moment as that one, and only if it can be reached.
    pub(crate) fn check_punch(&mut self, from: Place, host: HostId) {
        let Some(to) = self.hosts.iter().position(|other| other.id == host) else { return };
        // Who has just lost those that saw it knows its router no longer.
        self.look_at_routers();
        // A router that has just begun anew may be another one.
        let known = |place| {
            let since = self.checks.classified.get(&place).filter(|_| !self.checks.trouble.is_excused(self.now, place));
            since.is_some_and(|since| *since + KNOWN_TO_ALL < self.now)
        };
        if !self.nats.may_meet(from, to) && known(from) && known(to) {
            let kinds = (self.nats.kind(from), self.nats.kind(to));
            self.violated(&[from, to], format!("it dials a host that it cannot reach: {kinds:?}"));
        }
        let theirs = self.checks.punched.get(&(to, from)).copied().filter(|at| *at + ONE_MEETING > self.now);
        if self.checks.punched.insert((from, to), self.now).is_some_and(|at| at + ONE_MEETING > self.now) {
            return;
        }
        if let Some(skew) = theirs.map(|at| self.now - at).filter(|skew| *skew > SKEW_MAX) {
            self.violated(&[from, to], format!("they dial each other {} ms apart", skew / MS));
        }
    }

    fn look_at_routers(&mut self) {
        use aldis_wire::host::Nat;
        for place in 0..self.hosts.len() {
            let host = &self.hosts[place];
            let nat = host.running().map(|relay| relay.view(host.clock(self.now)).reach.nat);
            let right = match self.nats.kind(place) {
                Some(Kind::PortRestricted) => nat == Some(Nat::PortRestricted),
                Some(Kind::Symmetric) => nat == Some(Nat::Symmetric),
                _ => false,
            };
            if right {
                self.checks.classified.entry(place).or_insert(self.now);
            } else {
                self.checks.classified.remove(&place);
            }
        }
    }

    /// Every two hosts that routers do not keep apart have a link, unless there was nobody to introduce them.
    pub(super) fn look_at_meetings(&mut self) {
        if self.nats.is_empty() {
            return;
        }
        self.look_at_routers();
        let count = self.hosts.len();
        let place_of = |id| self.hosts.iter().position(|host| host.id == id);
        let neighbours: Vec<BTreeSet<Place>> = self
            .hosts
            .iter()
            .map(|host| {
                let view = host.running().map(|relay| relay.view(host.clock(self.now)));
                view.into_iter().flat_map(|view| view.links).filter_map(|link| place_of(link.host)).collect()
            })
            .collect();
        let pairs = (0..count).flat_map(|a| (a + 1..count).map(move |b| (a, b)));
        let mut late = Vec::new();
        for pair @ (a, b) in pairs {
            let linked = neighbours[a].contains(&b) && neighbours[b].contains(&a);
            let introduced = neighbours[a].iter().any(|common| neighbours[b].contains(common));
            let runs = self.hosts[a].running().is_some() && self.hosts[b].running().is_some();
            let excused = self.checks.trouble.is_excused(self.now, a) || self.checks.trouble.is_excused(self.now, b);
            if linked || !introduced || !runs || excused || !self.nats.may_meet(a, b) {
                self.checks.apart.remove(&pair);
            } else if self.now - *self.checks.apart.entry(pair).or_insert(self.now) > MEET_MAX {
                self.checks.apart.insert(pair, self.now);
                late.push(pair);
            }
        }
        for (a, b) in late {
            let kinds = (self.nats.kind(a), self.nats.kind(b));
            self.violated(&[a, b], format!("they have no link for {} s and could: {kinds:?}", MEET_MAX / SEC));
        }
    }
}
