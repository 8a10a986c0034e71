//! The one queue of deadlines. Setting a timer again moves it; there is at most one of each.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use aldis_wire::id::HostId;

use super::io::{EdgeKey, LinkKey, Moment};

/// What a deadline is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Timer {
    /// An edge must have said hello.
    Hello(EdgeKey),
    /// A session's edge must have come back.
    Grace(u64),
    /// The oldest open signal must have its receipt.
    Signals,
    /// Something that went sealed should have had its answer.
    Overdue,
    /// Signals that wait for a better path have waited long enough.
    Holds,
    /// Collected changes go out.
    Announce,
    /// A sign of life is due.
    Heartbeat,
    /// A link must be admitted.
    Admission(LinkKey),
    /// A link to which we said goodbye brings nothing more.
    Closing(LinkKey),
    /// A link that was about to be admitted must be.
    Awaited(HostId),
    /// A host must have been heard.
    Expiry(HostId),
    /// Those that may expire soon are to be looked at.
    Watch,
    /// A neighbour that is silent is told to be gone.
    Lost(HostId),
    /// Somebody says that we are gone.
    Answer,
    /// Our record must list other neighbours.
    Record,
    /// A gap in an origin's announcements must be closed.
    Behind(HostId),
    /// Summaries are due.
    Summaries,
    /// The choice of neighbours is to be looked after.
    Tend,
    /// A place of ours is to be checked, or a check was not answered.
    Reach,
    /// Discovery wants to act.
    Discovery,
    /// Somebody is to be met, or to be brought together with another.
    Meetings,
    /// Things remembered for a time are forgotten, things to be kept are stored.
    Housekeeping,
}

/// Deadlines, soonest first.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    at: HashMap<Timer, Moment>,
    queue: BTreeSet<(Moment, Timer)>,
    /// The first of the queue: every step asks for it, and finding it there costs a walk down the tree.
    soonest: Option<(Moment, Timer)>,
}

impl Timers {
    /// Sets or moves a deadline.
    pub(crate) fn set(&mut self, timer: Timer, at: Moment) {
        if let Some(old) = self.at.insert(timer, at) {
            self.remove(old, timer);
        }
        self.queue.insert((at, timer));
        self.soonest = Some(self.soonest.map_or((at, timer), |soonest| soonest.min((at, timer))));
    }

    /// Sets a deadline unless an earlier one stands.
    pub(crate) fn set_earlier(&mut self, timer: Timer, at: Moment) {
        if self.at.get(&timer).is_none_or(|old| at < *old) {
            self.set(timer, at);
        }
    }

    /// Takes a deadline away.
    pub(crate) fn cancel(&mut self, timer: Timer) {
        if let Some(old) = self.at.remove(&timer) {
            self.remove(old, timer);
        }
    }

    fn remove(&mut self, at: Moment, timer: Timer) {
        self.queue.remove(&(at, timer));
        if self.soonest == Some((at, timer)) {
            self.soonest = self.queue.first().copied();
        }
    }

    /// Moves all deadlines of a kind by this much.
    pub(crate) fn delay(&mut self, of: impl Fn(&Timer) -> bool, by: Duration) {
        let moved: Vec<(Timer, Moment)> =
            self.queue.iter().filter(|(_, timer)| of(timer)).map(|(at, timer)| (*timer, *at + by)).collect();
        for (timer, at) in moved {
            self.set(timer, at);
        }
    }

    /// Whether the deadline is set.
    #[must_use]
    pub(crate) fn is_set(&self, timer: Timer) -> bool {
        self.at.contains_key(&timer)
    }

    /// How many there are.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.at.len()
    }

    /// The soonest deadline.
    #[must_use]
    pub(crate) fn next(&self) -> Option<Moment> {
        self.soonest.map(|(at, _)| at)
    }

    /// Takes the soonest deadline that has come.
    pub(crate) fn pop_due(&mut self, now: Moment) -> Option<Timer> {
        let (at, timer) = self.soonest?;
        if at > now {
            return None;
        }
        self.cancel(timer);
        Some(timer)
    }

    /// How late the soonest deadline is.
    #[must_use]
    pub(crate) fn lateness(&self, now: Moment) -> Duration {
        self.next().map_or(Duration::ZERO, |at| now.since(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(seconds: u64) -> Moment {
        Moment::new(Duration::from_secs(seconds))
    }

    #[test]
    fn a_moved_timer_fires_once_at_its_new_time() {
        let mut timers = Timers::default();
        timers.set(Timer::Heartbeat, moment(1));
        timers.set(Timer::Heartbeat, moment(3));
        timers.set_earlier(Timer::Announce, moment(2));
        timers.set_earlier(Timer::Announce, moment(9));
        assert_eq!(timers.pop_due(moment(1)), None);
        assert_eq!(timers.pop_due(moment(5)), Some(Timer::Announce));
        assert_eq!(timers.lateness(moment(5)), Duration::from_secs(2));
        assert_eq!(timers.pop_due(moment(5)), Some(Timer::Heartbeat));
        assert_eq!(timers.pop_due(moment(5)), None);
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn the_soonest_is_known_whatever_is_set_moved_and_taken_away() {
        let (mut timers, mut state) = (Timers::default(), 1_u64);
        for _ in 0..2_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let (timer, at) = (Timer::Grace(state >> 60), moment(state >> 40 & 0xff));
            match state >> 33 & 3 {
                0 => timers.cancel(timer),
                1 => _ = timers.pop_due(at),
                2 => timers.set_earlier(timer, at),
                _ => timers.set(timer, at),
            }
            assert_eq!(timers.next(), timers.queue.first().map(|(at, _)| *at));
        }
    }
}
