//! Something that is done again and again.

use std::time::Duration;

use crate::relay::io::Moment;

/// When it was done, and with what outcome.
#[derive(Debug, Default)]
pub(crate) struct Task {
    pub(crate) under_way: bool,
    /// When it was last over; `None` before the first time.
    pub(crate) ended: Option<Moment>,
    /// What is wrong, if it failed.
    pub(crate) problem: Option<String>,
}

impl Task {
    pub(crate) fn end(&mut self, now: Moment, outcome: Result<(), String>) {
        self.under_way = false;
        self.ended = Some(now);
        self.problem = outcome.err();
    }

    /// When to do it next; at once the first time.
    pub(crate) fn due(&self, pause: Duration, pause_failed: Duration) -> Moment {
        let pause = if self.problem.is_some() { pause_failed } else { pause };
        self.ended.map_or(Moment::default(), |ended| ended + pause)
    }
}
