//! A membership that is kept as it is wanted, whatever the machine answers meanwhile.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use tokio::time::Instant;

use super::super::super::dialect::Desk;
use crate::relay::io::{Request, RequestId, Topic};

/// What was refused for now is asked again after so long: five tokens of the bucket for joins.
const AGAIN: Duration = Duration::from_secs(1);
/// Times that a new membership is asked for: the library waits 5 s for a stream to be ready, and asks anew 5 s after one
/// that failed.
const TRIES_MAX: u32 = 4;

#[derive(Debug)]
pub(super) struct Seat {
    topic: Topic,
    /// The meta of the membership; `None` for no membership.
    wanted: Option<Bytes>,
    /// The request whose answer counts: the newest one.
    asked: Option<RequestId>,
    again: Option<Instant>,
    /// Refusals since it was last granted.
    refusals: u32,
    taken: bool,
}

impl Seat {
    pub(super) fn new(topic: Topic) -> Self {
        Self { topic, wanted: None, asked: None, again: None, refusals: 0, taken: false }
    }

    pub(super) fn topic(&self) -> &Topic {
        &self.topic
    }

    /// Whether the machine has it, or has not been told of its end yet.
    pub(super) fn is_taken(&self) -> bool {
        self.taken
    }

    /// Whether it is to be given up.
    pub(super) fn is_unwanted(&self) -> bool {
        self.wanted.is_none()
    }

    /// Asks for a membership with this meta, or for its end.
    pub(super) fn want(&mut self, meta: Option<Bytes>, desk: &mut Desk<'_>) {
        self.wanted = meta;
        if self.wanted.is_none() {
            self.taken = false;
        }
        self.ask(desk);
    }

    fn ask(&mut self, desk: &mut Desk<'_>) {
        let id = desk.fresh_id();
        self.asked = Some(id.clone());
        self.again = None;
        let topic = self.topic.clone();
        desk.ask(match &self.wanted {
            Some(meta) => Request::Join { id, topic, meta: Some(meta.clone()), quiet: false },
            None => Request::Leave { id, topic },
        });
    }

    /// Whether this answers the newest request.
    pub(super) fn asked(&self, id: &RequestId) -> bool {
        self.asked.as_ref() == Some(id)
    }

    /// The machine has agreed to a membership. Whether it is new.
    pub(super) fn granted(&mut self) -> bool {
        self.refusals = 0;
        !std::mem::replace(&mut self.taken, true)
    }

    /// The machine has refused, maybe only for now. Asks later again if it had agreed before, or for the end; for a new
    /// membership some times. Whether it is given up.
    pub(super) fn refused(&mut self, for_now: bool, now: Instant) -> bool {
        self.refusals += 1;
        let goes_on = self.taken || self.wanted.is_none() || for_now && self.refusals < TRIES_MAX;
        if goes_on {
            self.again = Some(now + AGAIN);
        }
        !goes_on
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.again
    }

    pub(super) fn woken(&mut self, now: Instant, desk: &mut Desk<'_>) {
        if self.again.is_some_and(|at| at <= now) {
            self.ask(desk);
        }
    }
}

/// Whether a socket that may have so many seats may have one at this place too. What it is leaving does not count, since the
/// machine ends that before it takes the next request; but there is a bound on it, since a leave that is refused for now
/// waits.
pub(super) fn has_room<'a>(
    place: &Arc<str>,
    seats: impl Iterator<Item = (&'a Arc<str>, &'a Seat)>,
    max: usize,
) -> bool {
    let (mut all, mut wanted) = (0, 0);
    for (_, seat) in seats.filter(|(other, _)| *other != place) {
        all += 1;
        wanted += usize::from(!seat.is_unwanted());
    }
    wanted < max && all < 2 * max
}
