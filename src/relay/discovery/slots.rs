//! Agreed moments: hosts behind routers that have no neighbour to introduce them dial what the DHT names at each full half
//! minute of the time of day, so that the first packet of each opens the way for the other's. Clocks may be off by some
//! seconds, since a dial's first packet is sent again after 1 and 3 s.

use std::collections::BTreeSet;
use std::time::Duration;

use aldis_wire::id::HostId;

use super::places::{Key, Places};
use crate::relay::io::{HintSource, Moment};
use crate::relay::limits::{SLOT, SLOT_DIALS_MAX, SLOT_LATE};
use crate::relay::scope::Site;

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Slots {
    /// The time of day when the machine's clock was zero.
    unix: Duration,
    /// The number of the last one that was used.
    last: u128,
}

impl Slots {
    pub(crate) fn new(unix: Duration) -> Self {
        Self { unix, last: 0 }
    }

    /// The next one.
    pub(crate) fn after(&self, now: Moment) -> Moment {
        now + (SLOT - self.since_last(now))
    }

    /// If one has just begun: where to dial. Places that the DHT names, those first that were not dialled for longest, and one
    /// of each neighbourhood.
    pub(crate) fn take(&mut self, now: Moment, places: &mut Places, own: HostId) -> Vec<Key> {
        if !self.has_begun(now) {
            return Vec::new();
        }
        let named = places.iter().filter(|(_, place)| place.source == HintSource::Dht);
        let others = named.filter(|(key, place)| place.host(*key) != Some(own));
        let mut chosen: Vec<_> = others.map(|(key, place)| (place.dialled, key)).collect();
        chosen.sort_unstable();
        let mut sites = BTreeSet::new();
        chosen.retain(|(_, key)| sites.insert(Site::of(key.0)));
        chosen.truncate(SLOT_DIALS_MAX);
        for (_, key) in &chosen {
            if let Some(place) = places.find_mut(*key) {
                place.dialled = Some(now);
            }
        }
        chosen.into_iter().map(|(_, key)| key).collect()
    }

    /// True once for each.
    fn has_begun(&mut self, now: Moment) -> bool {
        let number = (self.unix + now.time()).as_nanos() / SLOT.as_nanos();
        self.since_last(now) < SLOT_LATE && std::mem::replace(&mut self.last, number) != number
    }

    /// How long ago the last one began.
    fn since_last(&self, now: Moment) -> Duration {
        let nanos = (self.unix + now.time()).as_nanos() % SLOT.as_nanos();
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_hosts_that_began_at_different_times_agree_on_every_full_half_minute() {
        let at = |millis| Moment::new(Duration::from_millis(millis));
        let (mut one, mut other) = (Slots::new(Duration::from_secs(1_000)), Slots::new(Duration::from_secs(1_007)));
        assert_eq!((one.after(at(0)), other.after(at(0))), (at(20_000), at(13_000)));
        assert!(one.has_begun(at(20_000)) && other.has_begun(at(13_400)));
        assert!(!one.has_begun(at(20_500)) && !other.has_begun(at(13_500)), "once");
        assert!(!one.has_begun(at(49_999)), "not before the next");
        assert!(!one.has_begun(at(55_000)), "nor long after it");
        assert_eq!(one.after(at(55_000)), at(80_000));
    }
}
