//! When to ask the DHT, and when to tell it that we are here.
//!
//! The two never run at once: our DHT library finds nothing under a key while it announces under the same key.

use std::time::Duration;

use super::task::Task;
use crate::relay::io::{Moment, Outbox, Output, Registration};
use crate::relay::limits::{
    HINTS_PER_LOOK_UP_MAX, LOOK_UP_INTERVAL, LOOK_UP_INTERVAL_ALONE, LOOK_UP_INTERVAL_FAILED, LOOK_UP_INTERVAL_MIN,
    REGISTER_INTERVAL, REGISTER_INTERVAL_FAILED,
};

/// The state of our talk with the DHT.
#[derive(Debug)]
pub(crate) struct Asking {
    dht: bool,
    /// What it was told last.
    registered: Registration,
    look_up: Task,
    registration: Task,
    /// The pause after the next look-up, if there is no link then.
    pause_alone: Duration,
    alone: bool,
    /// Hints taken since the last look-up began.
    taken: usize,
}

impl Asking {
    pub(crate) fn new(dht: bool) -> Self {
        Self {
            dht,
            registered: Registration::Nothing,
            look_up: Task::default(),
            registration: Task::default(),
            pause_alone: LOOK_UP_INTERVAL_MIN,
            alone: true,
            taken: 0,
        }
    }

    /// Asks what is due, and tells what the DHT is to be told; gives the moment at which something will be due. `None`: only
    /// after something else happens.
    pub(crate) fn poll(
        &mut self,
        now: Moment,
        alone: bool,
        registration: Registration,
        out: &mut Outbox,
    ) -> Option<Moment> {
        self.alone = alone;
        if !alone {
            self.pause_alone = LOOK_UP_INTERVAL_MIN;
        }
        if !self.dht || self.look_up.under_way || self.registration.under_way {
            return None;
        }
        let look_up_due = self.look_up_due();
        if look_up_due <= now {
            if alone && self.look_up.ended.is_some() {
                self.pause_alone = (self.pause_alone * 2).min(LOOK_UP_INTERVAL_ALONE);
            }
            self.look_up.under_way = true;
            self.taken = 0;
            out.push(Output::LookUp);
            return None;
        }
        let port = match registration {
            Registration::Nothing => return Some(look_up_due),
            Registration::Port(port) => Some(port),
            Registration::Implied => None,
        };
        // Soon, if it was told another thing.
        let pause = if self.registered == registration { REGISTER_INTERVAL } else { REGISTER_INTERVAL_FAILED };
        let register_due = self.registration.due(pause, REGISTER_INTERVAL_FAILED);
        if register_due <= now {
            self.registration.under_way = true;
            self.registered = registration;
            out.push(Output::Register { port });
            return None;
        }
        Some(look_up_due.min(register_due))
    }

    pub(crate) fn look_up_ended(&mut self, now: Moment, outcome: Result<(), String>) {
        self.look_up.end(now, outcome);
    }

    pub(crate) fn registration_ended(&mut self, now: Moment, outcome: Result<(), String>) {
        self.registration.end(now, outcome);
    }

    /// Whether this look-up may bring another hint; counts it.
    pub(crate) fn take_hint(&mut self) -> bool {
        self.taken += 1;
        self.taken <= HINTS_PER_LOOK_UP_MAX
    }

    /// Whether there is a DHT to ask.
    pub(crate) fn has_dht(&self) -> bool {
        self.dht
    }

    /// What is wrong with the DHT, if anything.
    pub(crate) fn problem(&self) -> Option<String> {
        self.look_up.problem.clone().or_else(|| self.registration.problem.clone())
    }

    /// How long until the next look-up; zero while one is under way, and without a DHT.
    pub(crate) fn next_look_up(&self, now: Moment) -> Duration {
        if !self.dht || self.look_up.under_way { Duration::ZERO } else { self.look_up_due().since(now) }
    }

    fn look_up_due(&self) -> Moment {
        let pause = if self.alone { self.pause_alone } else { LOOK_UP_INTERVAL };
        self.look_up.due(pause, LOOK_UP_INTERVAL_FAILED)
    }
}
