//! Who is looked at when, so that no origin's expiry is missed.
//!
//! Each announcement moves its origin's expiry, and none of a thousand hosts expires on most days. So an origin is not
//! moved in a queue: it stands in the list of a time at which it is looked at, a few seconds before it would expire as
//! it was when it came there, and finds its next place then. Only who does expire in these seconds has a deadline. One
//! whose expiry comes earlier than it was stands in an earlier list as well, and the later one passes over it.

use std::collections::BTreeMap;

use crate::relay::by_host::Row;
use crate::relay::io::Moment;
use crate::relay::limits::EXPIRY_LOOK;

/// What an origin needs so that its expiry is not missed.
#[derive(Debug)]
pub(crate) enum Watch {
    /// A deadline.
    At(Moment),
    /// A look at those whose turn it is, then or earlier.
    LookAt(Moment),
}

/// The number of a look; 1 is the first, and 0 is none.
pub(super) type Look = u32;

/// The last look before a moment.
fn look_before(moment: Moment) -> Look {
    let number = moment.time().as_nanos() / EXPIRY_LOOK.as_nanos();
    Look::try_from(number).map_or(Look::MAX, |number| number.saturating_add(1))
}

fn moment_of(look: Look) -> Moment {
    Moment::new(EXPIRY_LOOK.saturating_mul(look.saturating_sub(1)))
}

/// Whose turn it is when, by the rows in which they stand.
#[derive(Debug, Default)]
pub(super) struct Looks(BTreeMap<Look, Vec<Row>>);

impl Looks {
    /// Sees to it that the expiry of an origin is not missed, whose next look is `watched`. `None` if that is soon enough.
    pub(super) fn watch(&mut self, now: Moment, row: Row, expires: Moment, watched: &mut Look) -> Option<Watch> {
        let look = look_before(expires);
        if look <= look_before(now) {
            return Some(Watch::At(expires));
        }
        if (1..=look).contains(watched) {
            return None;
        }
        *watched = look;
        self.0.entry(look).or_default().push(row);
        Some(Watch::LookAt(moment_of(look)))
    }

    /// A look whose time has come, and who stands in its list: also some who are looked at earlier by now, or have gone.
    pub(super) fn due(&mut self, now: Moment) -> Option<(Look, Vec<Row>)> {
        let first = self.0.first_entry().filter(|first| *first.key() <= look_before(now))?;
        Some(first.remove_entry())
    }

    /// When the next look is due.
    pub(super) fn next(&self) -> Option<Moment> {
        self.0.keys().next().map(|look| moment_of(*look))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(seconds: f64) -> Moment {
        Moment::new(Duration::from_secs_f64(seconds))
    }

    #[test]
    fn an_origin_is_looked_at_before_it_would_expire_however_its_expiry_moves() {
        let (mut looks, mut watched) = (Looks::default(), 0);
        assert!(matches!(looks.watch(at(1.0), 7, at(3.9), &mut watched), Some(Watch::At(when)) if when == at(3.9)));
        assert!(
            matches!(looks.watch(at(1.0), 7, at(62.0), &mut watched), Some(Watch::LookAt(when)) if when == at(60.0))
        );
        assert!(looks.watch(at(2.0), 7, at(90.0), &mut watched).is_none(), "it is looked at before");
        assert!(
            matches!(looks.watch(at(2.0), 7, at(13.0), &mut watched), Some(Watch::LookAt(when)) if when == at(12.0))
        );
        assert!(looks.due(at(11.9)).is_none());
        assert_eq!((looks.next(), looks.due(at(12.0))), (Some(at(12.0)), Some((watched, vec![7]))));
        assert_eq!(looks.due(at(60.0)), Some((16, vec![7])), "the later list passes over it by this number");
        assert!(watched < 16 && looks.next().is_none());
    }
}
