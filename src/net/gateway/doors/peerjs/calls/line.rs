//! What waits for one id.

use std::collections::VecDeque;

use aldis_wire::id::PeerId;
use axum::body::Bytes;
use tokio::time::Instant;

use super::super::codec::Kind;
use super::super::room::Place;
use crate::relay::io::{RequestId, Topic};

/// What a parcel takes besides its data.
const PARCEL_BYTES: usize = 256;

/// Messages to one id.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) topic: Topic,
    /// In the order in which the client sent them.
    pub(super) parcels: VecDeque<Parcel>,
    pub(super) state: State,
    /// While nobody has the id.
    pub(super) hold: Option<Hold>,
}

/// What is known of an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Unknown,
    /// The answer is on its way.
    Asked,
    /// What waits now waits for receipts of what was sent before.
    Found(PeerId),
    /// We are told when somebody comes.
    Absent,
    /// It came to nothing for now.
    Later(Instant),
}

/// A stay in the door's room.
#[derive(Debug)]
pub(super) struct Hold {
    pub(super) until: Instant,
    pub(super) place: Place,
}

/// One message.
#[derive(Debug)]
pub(super) struct Parcel {
    /// Its place in the order of all that the client sent.
    pub(super) n: u64,
    pub(super) kind: Kind,
    pub(super) data: Bytes,
    /// From then on it is not sent again.
    pub(super) until: Instant,
    /// As what it was sent last: under one id the same peer takes it once.
    pub(super) sent: Option<(PeerId, RequestId)>,
    /// Whether its target's session ended before it arrived.
    pub(super) gone: bool,
}

impl Line {
    pub(super) fn new(topic: Topic) -> Self {
        Self { topic, parcels: VecDeque::new(), state: State::Unknown, hold: None }
    }

    pub(super) fn put(&mut self, parcel: Parcel) {
        let place = self.parcels.iter().rposition(|before| before.n < parcel.n).map_or(0, |place| place + 1);
        self.parcels.insert(place, parcel);
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        match (&self.hold, self.state) {
            (Some(hold), _) => Some(hold.until),
            (None, State::Later(until)) => Some(until),
            (None, State::Unknown | State::Asked | State::Found(_) | State::Absent) => None,
        }
    }
}

impl Parcel {
    pub(super) fn bytes(&self) -> usize {
        self.data.len() + PARCEL_BYTES
    }
}
