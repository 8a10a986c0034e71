//! Joins whose way through the mesh is measured: at each host an edge watches one topic, and one after the other joins it
//! and leaves it again.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use aldis::relay::io::{EdgeKey, Event, Input, Request, Topic};
use aldis_wire::codec::HEADER_BYTES;
use aldis_wire::host::{Channel, Frame};
use aldis_wire::id::{PeerId, TopicId};
use aldis_wire::network::Network;

use crate::edges::Standing;
use crate::map::Place;
use crate::meter::Sighting;
use crate::queue::{At, SEC};
use crate::world::{Happening, World};

const NAME: &str = "probe";
/// A join must have been seen everywhere after this.
const SEEN: At = 5 * SEC;
/// Sightings whose ways are told.
const LATEST_MAX: usize = 8;
/// The number of the kind (PROTOCOL.md §5.3).
const ANNOUNCEMENT: u8 = 7;
const ID_BYTES: usize = 32;
/// In an announcement's body its origin's id begins before this: only an age and a length come first, in five bytes each.
const ORIGIN_BEFORE: usize = 10;

/// Which announcements of one home came where first, from whom, when, and whether as a head alone.
struct Journey {
    home: Place,
    began: At,
    arrivals: BTreeMap<(Place, u64), (Place, At, bool)>,
    /// The newest that came to each host.
    newest: BTreeMap<Place, u64>,
}

/// How late, and each host on the way with the time since the join and whether a head alone came there first.
type Way = (At, Vec<(Place, At, bool)>);

/// The joins that are on their way.
pub(crate) struct Probes {
    topic: (TopicId, Arc<str>),
    /// Which join, when and where.
    under_way: BTreeMap<PeerId, (u32, At, Place)>,
    count: u32,
    journeys: VecDeque<Journey>,
    latest: Vec<Way>,
}

impl Probes {
    pub(crate) fn new(network: &Network) -> Self {
        Self {
            topic: (network.topic(NAME), NAME.into()),
            under_way: BTreeMap::new(),
            count: 0,
            journeys: VecDeque::new(),
            latest: Vec::new(),
        }
    }

    /// The ways of the latest sightings.
    pub(crate) fn latest(&self) -> &[Way] {
        &self.latest
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
        let (arrivals, newest) = Default::default();
        self.probes.journeys.push_back(Journey { home: place, began: self.now, arrivals, newest });
        while self.probes.journeys.front().is_some_and(|first| first.began + SEEN < self.now) {
            self.probes.journeys.pop_front();
        }
        let key = self.socket(edge);
        let topic = self.probes.topic();
        let join = Request::Join { id: "p".into(), topic: topic.clone(), meta: None, quiet: false };
        self.input(place, Input::EdgeAsked { edge: key, request: join });
        let leave = Request::Leave { id: "p".into(), topic };
        self.later(SEEN, Happening::Asked(place, key, Box::new(leave)));
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
        self.note_way(home, place, sighting.after.saturating_sub(sighting.direct));
    }

    /// A frame comes to a host: if it is the first of an announcement whose way is followed, it is noted.
    pub(crate) fn follow(&mut self, from: Place, to: Place, channel: Channel, frame: &[u8]) {
        if self.probes.journeys.is_empty() || frame.first() != Some(&ANNOUNCEMENT) {
            return;
        }
        let Some((&[kind, ..], body)) = frame.split_first_chunk::<HEADER_BYTES>() else { return };
        // Nearly all are of other origins: they are not read for a second time.
        let (hosts, begins) = (&self.hosts, body.windows(ID_BYTES).take(ORIGIN_BEFORE));
        let names = |journey: &Journey| begins.clone().any(|id| id == hosts[journey.home].id.as_bytes());
        if !self.probes.journeys.iter().any(names) {
            return;
        }
        let Ok(Some(Frame::Announcement(announcement))) = Frame::decode(kind, body) else { return };
        let Ok(head) = announcement.head.peek() else { return };
        let of = |journey: &&mut Journey| hosts[journey.home].id == head.origin;
        for journey in self.probes.journeys.iter_mut().filter(of) {
            journey.arrivals.entry((to, head.seq)).or_insert((from, self.now, channel == Channel::Control));
            let newest = journey.newest.entry(to).or_default();
            *newest = head.seq.max(*newest);
        }
    }

    fn note_way(&mut self, home: Place, place: Place, late: At) {
        let least = self.probes.latest.last().map_or(0, |(late, _)| *late);
        if self.probes.latest.len() >= LATEST_MAX && late <= least {
            return;
        }
        let Some(journey) = self.probes.journeys.iter().rev().find(|journey| journey.home == home) else { return };
        let Some(seq) = journey.newest.get(&place).copied() else { return };
        let (mut hops, mut at) = (Vec::new(), place);
        while let Some((from, when, bare)) = journey.arrivals.get(&(at, seq)).copied().filter(|_| hops.len() < 64) {
            hops.push((at, when - journey.began, bare));
            at = from;
        }
        hops.push((at, 0, false));
        hops.reverse();
        self.probes.latest.push((late, hops));
        self.probes.latest.sort_by_key(|(late, _)| std::cmp::Reverse(*late));
        self.probes.latest.truncate(LATEST_MAX);
    }
}
