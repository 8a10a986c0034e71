//! Agreed moments: hosts behind routers that have no neighbour to introduce them dial what the DHT names at each full half
//! minute of the time of day, so that the first packet of each opens the way for the other's. Clocks may be off by some
//! seconds, since a dial's first packet is sent again after 1 and 3 s.

use std::time::Duration;

use crate::relay::io::Moment;
use crate::relay::limits::{SLOT, SLOT_LATE};

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

    /// Whether one has just begun. True once for each.
    pub(crate) fn take(&mut self, now: Moment) -> bool {
        let number = (self.unix + now.0).as_nanos() / SLOT.as_nanos();
        self.since_last(now) < SLOT_LATE && std::mem::replace(&mut self.last, number) != number
    }

    /// How long ago the last one began.
    fn since_last(&self, now: Moment) -> Duration {
        let nanos = (self.unix + now.0).as_nanos() % SLOT.as_nanos();
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_hosts_that_began_at_different_times_agree_on_every_full_half_minute() {
        let at = |millis| Moment(Duration::from_millis(millis));
        let (mut one, mut other) = (Slots::new(Duration::from_secs(1_000)), Slots::new(Duration::from_secs(1_007)));
        assert_eq!((one.after(at(0)), other.after(at(0))), (at(20_000), at(13_000)));
        assert!(one.take(at(20_000)) && other.take(at(13_400)));
        assert!(!one.take(at(20_500)) && !other.take(at(13_500)), "once");
        assert!(!one.take(at(49_999)), "not before the next");
        assert!(!one.take(at(55_000)), "nor long after it");
        assert_eq!(one.after(at(55_000)), at(80_000));
    }
}
