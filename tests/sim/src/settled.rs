//! Hosts that begin in a network which has settled: on each one's disk stands what a host that ran for long has written
//! there, and the DHT knows them all. Nothing else is given to them; they dial, prove and catch up like hosts that restart.

use std::collections::BTreeSet;

use aldis::relay::io::Hint;
use aldis::relay::limits::{FULL_MESH_MAX, LINKS_CHOSEN, LINKS_NEAR, LINKS_TAKEN_MAX};

use crate::chance::Chance;
use crate::map::{Place, address};
use crate::world::World;

/// Hosts that one has looked at in the time in which a mesh settles; it keeps the nearest of them.
const LOOKED_AT: usize = 64;

impl World {
    /// Writes to each disk the neighbours that its host has chosen, and into the DHT where all are.
    pub(crate) fn settle(&mut self) {
        let mut chance = Chance::new(self.scenario.seed, 3);
        let open: Vec<Place> = (0..self.hosts.len()).filter(|place| self.nats.kind(*place).is_none()).collect();
        let chosen = self.neighbours(&open, &mut chance);
        for (place, neighbours) in chosen.into_iter().enumerate() {
            let hints = neighbours.into_iter().map(|other| self.hint(other)).collect();
            self.hosts[place].knows(hints);
        }
        for place in open {
            self.dht.knows(address(place));
        }
    }

    fn hint(&self, place: Place) -> Hint {
        Hint { address: address(place), host: Some(self.hosts[place].id) }
    }

    /// Whom each host has chosen of those that are open. Of two hosts with a link only one has chosen it.
    fn neighbours(&self, open: &[Place], chance: &mut Chance) -> Vec<Vec<Place>> {
        let count = self.hosts.len();
        if count <= FULL_MESH_MAX {
            return (0..count).map(|place| open.iter().copied().filter(|other| *other != place).collect()).collect();
        }
        let (mut linked, mut taken) = (BTreeSet::new(), vec![0; count]);
        let mut chosen = vec![Vec::new(); count];
        // The last ones find the best places taken: it is not always the same ones.
        let mut order: Vec<Place> = (0..count).collect();
        (1..count).for_each(|at| order.swap(at, chance.index(at + 1)));
        for place in order {
            let seen: BTreeSet<Place> = (0..LOOKED_AT).map(|_| open[chance.index(open.len())]).collect();
            let mut near: Vec<Place> = seen.into_iter().collect();
            near.sort_by_key(|other| self.map.one_way(place, *other));
            let by_chance: Vec<Place> = (0..LOOKED_AT).map(|_| open[chance.index(open.len())]).collect();
            for (candidates, most) in [(near, LINKS_NEAR), (by_chance, LINKS_CHOSEN)] {
                for other in candidates {
                    let pair = (place.min(other), place.max(other));
                    let fits = other != place && taken[other] < LINKS_TAKEN_MAX && chosen[place].len() < most;
                    if fits && linked.insert(pair) {
                        taken[other] += 1;
                        chosen[place].push(other);
                    }
                }
            }
        }
        chosen
    }
}
