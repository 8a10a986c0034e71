//! Who is looked at when, so that no origin's expiry is missed.
//!
//! Each announcement moves its origin's expiry, and none of a thousand hosts expires on most days. So an origin is not
//! moved in a queue: it stands in the list of a time at which it is looked at, a few seconds before it would expire as
//! it was when it came there, and finds its next place then. Only who does expire in these seconds has a deadline. One
//! whose expiry comes earlier than it was stands in an earlier list as well, and the later one passes over it.

use aldis_wire::id::HostId;

use super::Origins;
use crate::relay::io::Moment;
use crate::relay::limits::EXPIRY_LOOK;

/// What an origin needs so that its expiry is not missed.
#[derive(Debug)]
pub(crate) enum Watch {
    /// A deadline.
    At(Moment),
    /// That [`Origins::watched`] is called then.
    LookAt(Moment),
}

/// The number of the look after which a moment comes; 1 is the first.
fn look_before(moment: Moment) -> u32 {
    let number = moment.time().as_nanos() / EXPIRY_LOOK.as_nanos();
    u32::try_from(number).map_or(u32::MAX, |number| number.saturating_add(1))
}

fn moment_of(look: u32) -> Moment {
    Moment::new(EXPIRY_LOOK.saturating_mul(look.saturating_sub(1)))
}

impl Origins {
    /// Sees to it that an origin's expiry is not missed. `None` if it is looked at soon enough anyway.
    pub(crate) fn watch(&mut self, now: Moment, host: HostId) -> Option<Watch> {
        let row = self.all.row(host)?;
        let origin = self.all.at_mut(row)?;
        let expires = origin.expires();
        let look = look_before(expires);
        if look <= look_before(now) {
            return Some(Watch::At(expires));
        }
        if (1..=look).contains(&origin.watched) {
            return None;
        }
        origin.watched = look;
        self.looks.entry(look).or_default().push(row);
        Some(Watch::LookAt(moment_of(look)))
    }

    /// Those that are to be looked at now, and when to look again.
    pub(crate) fn watched(&mut self, now: Moment) -> (Vec<HostId>, Option<Moment>) {
        let mut hosts = Vec::new();
        while let Some(first) = self.looks.first_entry().filter(|first| *first.key() <= look_before(now)) {
            let (look, rows) = first.remove_entry();
            for row in rows {
                // One that is looked at earlier, or another one in the row of one that is forgotten, stands elsewhere.
                if let Some(origin) = self.all.at_mut(row).filter(|origin| origin.watched == look) {
                    origin.watched = 0;
                    hosts
                        .extend(self.all.host(row).filter(|_| self.all.at(row).is_some_and(|it| it.expired.is_none())));
                }
            }
        }
        (hosts, self.looks.keys().next().map(|look| moment_of(*look)))
    }
}
