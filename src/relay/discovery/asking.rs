//! When to ask the DHT, and when to tell it that we are here.
//!
//! The two never run at once: our DHT library finds nothing under a key while it announces under the same key.

use std::time::Duration;

use super::task::Task;
use crate::relay::io::{Moment, Outbox, Output, Registration};
use crate::relay::limits::{
    HINTS_PER_LOOK_UP_MAX, LOOK_UP_INTERVAL, LOOK_UP_INTERVAL_ALONE, LOOK_UP_INTERVAL_FAILED,
    LOOK_UP_INTERVAL_LINKED_MIN, LOOK_UP_INTERVAL_LOST, LOOK_UP_INTERVAL_MIN, REGISTER_INTERVAL,
    REGISTER_INTERVAL_FAILED,
};

/// The state of our talk with the DHT.
#[derive(Debug)]
pub(crate) struct Asking {
    dht: bool,
    /// What it was told last.
    registered: Registration,
    look_up: Task,
    registration: Task,
    /// The pause after a look-up. Begins anew with the first link, and when the last one is lost.
    pause: Duration,
    /// Up to half of a pause that a host with links leaves out, so that hosts that started together do not ask in step. From
    /// 0 up to 1.
    jitter: f64,
    /// How many links there were last.
    links: usize,
    /// Whether there were more links than the one that is left, and no look-up has begun since.
    lost: bool,
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
            pause: LOOK_UP_INTERVAL_MIN,
            jitter: 0.0,
            links: 0,
            lost: false,
            taken: 0,
        }
    }

    /// Asks what is due, and tells what the DHT is to be told; gives the moment at which something will be due. `None`: only
    /// after something else happens.
    pub(crate) fn poll(
        &mut self,
        now: Moment,
        links: usize,
        registration: Registration,
        out: &mut Outbox,
    ) -> Option<Moment> {
        self.note_links(links);
        if !self.dht || self.look_up.under_way || self.registration.under_way {
            return None;
        }
        let look_up_due = self.look_up_due();
        if look_up_due <= now {
            // Only a pause that was kept makes the next one longer.
            if self.look_up.ended.is_some() && self.look_up.problem.is_none() && !self.lost {
                let longest = if links == 0 { LOOK_UP_INTERVAL_ALONE } else { LOOK_UP_INTERVAL };
                self.pause = (self.pause * 2).min(longest);
            }
            self.lost = false;
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

    /// With a number from 0 up to 1, by chance.
    pub(crate) fn look_up_ended(&mut self, now: Moment, outcome: Result<(), String>, jitter: f64) {
        self.look_up.end(now, outcome);
        self.jitter = jitter;
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

    fn note_links(&mut self, links: usize) {
        if links == 0 && self.links > 0 {
            self.pause = LOOK_UP_INTERVAL_MIN;
        } else if links > 0 && self.links == 0 {
            self.pause = LOOK_UP_INTERVAL_LINKED_MIN;
        }
        self.lost = links == 1 && (self.lost || self.links > 1);
        self.links = links;
    }

    fn look_up_due(&self) -> Moment {
        let pause = if self.links == 0 { self.pause } else { self.pause.mul_f64(1.0 - self.jitter / 2.0) };
        let pause = if self.lost { pause.min(LOOK_UP_INTERVAL_LOST) } else { pause };
        self.look_up.due(pause, LOOK_UP_INTERVAL_FAILED)
    }
}
