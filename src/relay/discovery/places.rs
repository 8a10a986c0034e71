//! The places at which there may be a host: a bounded table that forgets the worst first.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use aldis_wire::id::HostId;

use crate::relay::io::{Hint, HintSource, Moment};
use crate::relay::limits::{
    BACK_OFF_MAX, BACK_OFF_MIN, CACHE_MAX, DIAL_AGAIN, HINT_KEPT, HINTS_MAX, KNOWN_FOR, KNOWN_MAX, LAN_HINTS_MAX,
    MISSED_FOR, RECORD_AGAIN, RECORD_DIALS_MAX, SEED_HINTS_MAX,
};

/// An address, and which host is said to be there. What one source says of an address leaves what others say alone.
pub(crate) type Key = (SocketAddr, Option<HostId>);

/// How far a place is to be trusted; better ones come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Standing {
    /// The operator names it.
    Static,
    /// We were linked with a host there, not long ago.
    Known,
    /// A name in DNS that the operator chose leads there. What it says is not his word, but nobody he does not know said it.
    Seed,
    /// A host on our own link says that it is there itself.
    Lan,
    /// Somebody says so.
    Stranger,
    /// A common neighbour brings us together with a host there: of dials alone, no place has it.
    Introduced,
}

impl Standing {
    /// Whether it is what others say, and neither the operator's word nor our own experience.
    pub(crate) fn is_hint(self) -> bool {
        self >= Self::Seed
    }
}

/// What is known of a place.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// The best source that names it.
    pub(crate) source: HintSource,
    /// Who answered there last; ourselves, perhaps.
    pub(crate) answered: Option<HostId>,
    /// Dials since the last link there.
    pub(crate) failures: u32,
    /// Of them, those of late that nobody answered while its host was heard by way of others: it is somewhere else.
    pub(crate) deserted: u32,
    /// Not to be dialled before.
    pub(crate) not_before: Moment,
    /// When it was last dialled.
    pub(crate) dialled: Option<Moment>,
    /// When somebody last named it.
    seen: Moment,
    /// Until when it counts as known; in the past for a place that was known once.
    known_until: Option<Moment>,
    /// Whether a link leads there now.
    linked: bool,
    /// Until when the host there is missed: its link is gone without a goodbye.
    missed_until: Option<Moment>,
}

impl Place {
    /// Which host is there, as far as we know. What the operator says counts more than what we saw.
    pub(crate) fn host(&self, key: Key) -> Option<HostId> {
        if self.source == HintSource::Static { key.1.or(self.answered) } else { self.answered.or(key.1) }
    }

    pub(crate) fn standing(&self, now: Moment) -> Standing {
        if self.source == HintSource::Static {
            Standing::Static
        } else if self.linked || self.known_until.is_some_and(|until| until > now) {
            Standing::Known
        } else {
            match self.source {
                HintSource::Dns => Standing::Seed,
                HintSource::Lan => Standing::Lan,
                _ => Standing::Stranger,
            }
        }
    }

    /// Whether its host is missed.
    pub(crate) fn is_missed(&self, now: Moment) -> bool {
        self.missed_until.is_some_and(|until| until > now)
    }

    /// Smaller is dialled first. Of those we know, the one that waits longest; of the others, one that never failed.
    pub(crate) fn rank(&self, now: Moment) -> (Standing, u32, Moment) {
        match self.standing(now) {
            standing if standing.is_hint() => (standing, self.failures, Moment::default()),
            standing => (standing, 0, self.not_before),
        }
    }

    /// How long to leave it alone after a failure; `known` is the longest for one that is no hint, unless its host has left.
    pub(crate) fn back_off(&self, now: Moment, known: Duration) -> Duration {
        let longest = match self.standing(now) {
            Standing::Known if self.deserted > 0 => {
                return BACK_OFF_MIN.saturating_mul(1 << (self.deserted - 1).min(16)).min(BACK_OFF_MAX);
            }
            Standing::Stranger | Standing::Introduced => BACK_OFF_MAX,
            Standing::Seed | Standing::Lan => DIAL_AGAIN,
            Standing::Static | Standing::Known => known,
        };
        let doublings = self.failures.saturating_sub(1).min(16);
        BACK_OFF_MIN.saturating_mul(1 << doublings).min(longest)
    }

    /// Greater is worse.
    fn badness(&self, now: Moment) -> (Standing, bool, bool, u32, Reverse<Moment>) {
        let by_dht = self.source == HintSource::Dht;
        (self.standing(now), self.known_until.is_none(), by_dht, self.failures, Reverse(self.seen))
    }
}

/// All places.
#[derive(Debug, Default)]
pub(crate) struct Places {
    map: BTreeMap<Key, Place>,
    /// Addresses of each host that is said to be somewhere.
    by_host: BTreeSet<(HostId, SocketAddr)>,
}

impl Places {
    pub(crate) fn len(&self) -> usize {
        self.map.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Key, &Place)> {
        self.map.iter().map(|(key, place)| (*key, place))
    }

    pub(crate) fn find(&self, key: Key) -> Option<&Place> {
        self.map.get(&key)
    }

    pub(crate) fn find_mut(&mut self, key: Key) -> Option<&mut Place> {
        self.map.get_mut(&key)
    }

    /// All places of which is said that this host is there.
    pub(crate) fn of(&self, host: HostId) -> impl Iterator<Item = &Place> {
        self.addresses(host).filter_map(move |address| self.map.get(&(address, Some(host))))
    }

    fn addresses(&self, host: HostId) -> impl Iterator<Item = SocketAddr> {
        // The address that is before all others.
        let first = SocketAddr::from(([0; 4], 0));
        let of_host = self.by_host.range((host, first)..).take_while(move |(other, _)| *other == host);
        of_host.map(|(_, address)| *address)
    }

    /// All places with this address, whoever is said to be there.
    pub(crate) fn at(&mut self, address: SocketAddr) -> impl Iterator<Item = (Key, &mut Place)> {
        let all = self.map.range_mut((address, None)..).take_while(move |(key, _)| key.0 == address);
        all.map(|(key, place)| (*key, place))
    }

    /// Notes that `source` names a place, to be dialled from `first_dial` on if it is new. Whether it is new and there
    /// was room; a full table forgets its worst stranger first, but never one of `kept`.
    pub(crate) fn name(
        &mut self,
        now: Moment,
        key: Key,
        source: HintSource,
        first_dial: Moment,
        kept: impl Fn(SocketAddr) -> bool,
    ) -> bool {
        if let Some(place) = self.map.get_mut(&key) {
            // That we were linked there says no more than anybody's hint, when it is long ago.
            let forgotten = place.source == HintSource::Cache && place.standing(now).is_hint();
            place.source = if forgotten { source } else { place.source.min(source) };
            place.seen = now;
            return false;
        }
        if source != HintSource::Static && !(self.make_room_of(now, source, &kept) && self.make_room(now, kept)) {
            return false;
        }
        let known_until = (source == HintSource::Cache).then(|| now + KNOWN_FOR);
        let place = Place {
            source,
            answered: None,
            failures: 0,
            deserted: 0,
            not_before: first_dial,
            dialled: None,
            seen: now,
            known_until,
            linked: false,
            missed_until: None,
        };
        self.map.insert(key, place);
        if let Some(host) = key.1 {
            self.by_host.insert((host, key.0));
        }
        true
    }

    fn remove(&mut self, key: Key) -> bool {
        if let Some(host) = key.1 {
            self.by_host.remove(&(host, key.0));
        }
        self.map.remove(&key).is_some()
    }

    /// Makes way for the addresses of a new record of `host`: forgets those out of older ones, except such as were
    /// dialled lately, which go on counting. Gives how many more there may be.
    pub(crate) fn renew_record(&mut self, now: Moment, host: HostId, listed: impl Fn(SocketAddr) -> bool) -> usize {
        let mut left = RECORD_DIALS_MAX;
        let known: Vec<SocketAddr> = self.addresses(host).collect();
        for key in known.into_iter().map(|address| (address, Some(host))) {
            let Some(place) = self.map.get(&key).filter(|place| place.source == HintSource::Record) else { continue };
            let keep = listed(key.0) || place.dialled.is_some_and(|dialled| dialled + RECORD_AGAIN > now);
            left = left.saturating_sub(usize::from(keep));
            if !keep {
                self.remove(key);
            }
        }
        left
    }

    /// A link leads to `host` at `address`.
    pub(crate) fn linked(&mut self, now: Moment, host: HostId, address: SocketAddr, kept: impl Fn(SocketAddr) -> bool) {
        self.name(now, (address, Some(host)), HintSource::Cache, now, kept);
        for (key, place) in &mut self.map {
            if key.0 == address {
                place.answered = Some(host);
                (place.failures, place.deserted) = (0, 0);
            }
            if key.1 == Some(host) {
                place.linked = key.0 == address;
                place.missed_until = None;
            }
            if place.linked && key.0 == address && key.1 == Some(host) {
                place.known_until = Some(now + KNOWN_FOR);
            }
        }
        self.bound_known();
    }

    /// No link leads to `host` any more. Its places may be dialled from `again` on.
    pub(crate) fn lost(&mut self, now: Moment, host: HostId, again: Moment, missed: bool) {
        for (key, place) in &mut self.map {
            if place.host(*key) != Some(host) {
                continue;
            }
            if place.linked {
                place.linked = false;
                place.missed_until = missed.then(|| now + MISSED_FOR);
                place.known_until = Some(now + KNOWN_FOR);
            }
            if !place.standing(now).is_hint() {
                (place.failures, place.deserted) = (0, 0);
                place.not_before = again;
            }
        }
    }

    /// The places that we know, or those of one host, may be dialled now, whatever came of it before.
    pub(crate) fn try_anew(&mut self, now: Moment, host: Option<HostId>) {
        for (key, place) in &mut self.map {
            let meant = host.is_none() || place.host(*key) == host;
            if meant && !place.standing(now).is_hint() {
                (place.failures, place.deserted, place.not_before) = (0, 0, now);
            }
        }
    }

    /// Forgets strangers' hints that led nowhere and are not repeated.
    pub(crate) fn forget(&mut self, now: Moment, kept: impl Fn(SocketAddr) -> bool) {
        let stale = |key: &Key, place: &Place| {
            place.standing(now).is_hint()
                && place.known_until.is_none()
                && place.seen + HINT_KEPT <= now
                && !kept(key.0)
        };
        let stale: Vec<Key> = self.map.iter().filter(|(key, place)| stale(key, place)).map(|(key, _)| *key).collect();
        stale.into_iter().for_each(|key| _ = self.remove(key));
    }

    /// Where hosts were last seen, best first: linked ones, then the others by the time of their last link.
    pub(crate) fn cache(&self) -> Vec<Hint> {
        let mut known: Vec<_> = self
            .map
            .iter()
            .filter_map(|(key, place)| Some((Reverse(place.linked), Reverse(place.known_until?), *key)))
            .collect();
        known.sort_unstable();
        let mut hints: Vec<Hint> = Vec::new();
        for (_, _, (address, host)) in known {
            if hints.len() < CACHE_MAX && !hints.iter().any(|hint| hint.address == address) {
                hints.push(Hint { address, host });
            }
        }
        hints
    }

    /// Takes the rank of known ones from the places whose link is longest ago.
    fn bound_known(&mut self) {
        let known = self.map.values().filter(|place| place.known_until.is_some()).count();
        for _ in KNOWN_MAX..known {
            let unlinked = self.map.values_mut().filter(|place| place.known_until.is_some() && !place.linked);
            if let Some(oldest) = unlinked.min_by_key(|place| place.known_until) {
                oldest.known_until = None;
                oldest.source = oldest.source.max(HintSource::Dht);
            }
        }
    }

    /// Sources that have slots of their own have a bound of their own: neither takes the other's room, nor that of
    /// strangers. A place that was dialled in vain gives way to a new one.
    fn make_room_of(&mut self, now: Moment, source: HintSource, kept: impl Fn(SocketAddr) -> bool) -> bool {
        let most = match source {
            HintSource::Dns => SEED_HINTS_MAX,
            HintSource::Lan => LAN_HINTS_MAX,
            _ => return true,
        };
        let of_source = self.map.iter().filter(|(_, place)| place.source == source);
        if of_source.clone().count() < most {
            return true;
        }
        let worst = of_source
            .filter(|(key, place)| place.failures > 0 && place.standing(now).is_hint() && !kept(key.0))
            .max_by_key(|(_, place)| place.badness(now))
            .map(|(key, _)| *key);
        worst.is_some_and(|key| self.remove(key))
    }

    fn make_room(&mut self, now: Moment, kept: impl Fn(SocketAddr) -> bool) -> bool {
        let hinted = self.map.iter().filter(|(_, place)| place.source != HintSource::Static);
        // The first question is answered without a walk.
        if self.map.len() < HINTS_MAX || hinted.clone().count() < HINTS_MAX {
            return true;
        }
        let worst = hinted
            .filter(|(key, place)| place.standing(now) == Standing::Stranger && !kept(key.0))
            .max_by_key(|(_, place)| place.badness(now))
            .map(|(key, _)| *key);
        worst.is_some_and(|key| self.remove(key))
    }
}

/// The same hints, each family in its order, so that a long list of one does not hide the other.
pub(crate) fn families_in_turn<'a>(hints: impl Iterator<Item = &'a Hint>) -> Vec<&'a Hint> {
    let (v4, v6): (Vec<_>, Vec<_>) = hints.partition(|hint| hint.address.is_ipv4());
    let mut in_turn: Vec<_> = v6.into_iter().enumerate().chain(v4.into_iter().enumerate()).collect();
    in_turn.sort_by_key(|(place, _)| *place);
    in_turn.into_iter().map(|(_, hint)| hint).collect()
}
