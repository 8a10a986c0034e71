//! Hosts behind routers: whoever can be linked is.

use std::collections::BTreeSet;

use crate::map::Place;
use crate::queue::{At, SEC};
use crate::world::World;

/// Hosts that can be linked are so long after they have a neighbour in common: the first meeting takes half a second,
/// three tries take 12 s.
const MEET_MAX: At = 15 * SEC;

impl World {
    /// Every two hosts that routers do not keep apart have a link, unless there was nobody to introduce them.
    pub(super) fn look_at_meetings(&mut self) {
        if self.nats.is_empty() {
            return;
        }
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
