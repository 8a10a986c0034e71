//! Joins whose way through the mesh is measured: at each host an edge watches one topic, and one after the other joins it
//! and leaves it again.

use std::collections::BTreeMap;
use std::sync::Arc;

use aldis::relay::io::{EdgeKey, Event, Input, Request, Topic};
use aldis_wire::id::{PeerId, TopicId};
use aldis_wire::network::Network;

use crate::edges::Standing;
use crate::map::Place;
use crate::meter::Sighting;
use crate::queue::{At, SEC};
use crate::world::{Happening, World};

const NAME: &str = "probe";

/// The joins that are on their way.
pub(crate) struct Probes {
    topic: (TopicId, Arc<str>),
    /// Which join, when and where.
    under_way: BTreeMap<PeerId, (u32, At, Place)>,
    count: u32,
}

impl Probes {
    pub(crate) fn new(network: &Network) -> Self {
        Self { topic: (network.topic(NAME), NAME.into()), under_way: BTreeMap::new(), count: 0 }
    }

    pub(crate) fn topic(&self) -> Topic {
        Topic { id: self.topic.0, name: self.topic.1.clone() }
    }
}

impl World {
    /// One of the watchers joins, and leaves when it must have been seen everywhere.
    pub(crate) fn probe(&mut self) {
        self.later(self.scenario.probe, Happening::Probe);
        let watchers: Vec<usize> = (0..self.edges.len())
            .filter(|edge| self.edges[*edge].is_probe && self.edges[*edge].standing == Standing::Open)
            .collect();
        if watchers.is_empty() || self.is_quiet() {
            return;
        }
        let edge = watchers[self.chance.index(watchers.len())];
        let Some(peer) = self.edges[edge].peer else { return };
        let place = self.edges[edge].place;
        self.probes.count += 1;
        self.probes.under_way.insert(peer, (self.probes.count, self.now, place));
        let key = self.socket(edge);
        let topic = self.probes.topic();
        let join = Request::Join { id: "p".into(), topic: topic.clone(), meta: None };
        self.input(place, Input::EdgeAsked { edge: key, request: join });
        let leave = Request::Leave { id: "p".into(), topic };
        self.later(5 * SEC, Happening::Asked(place, key, Box::new(leave)));
    }

    /// A host tells one of its edges something; a probe that comes into view is measured.
    pub(crate) fn seen_here(&mut self, place: Place, key: EdgeKey, event: &Event) {
        let Event::PeerJoined { topic, member, .. } = event else { return };
        if &**topic != NAME {
            return;
        }
        _ = key;
        let Some((probe, at, home)) = self.probes.under_way.get(&member.peer).copied() else { return };
        let sighting = Sighting { after: self.now - at, direct: self.map.one_way(home, place), probe };
        self.meter.sightings.push(sighting);
    }
}
