//! What other clients ask this one for, and its answers.

use std::collections::{BTreeMap, VecDeque};

use aldis_wire::id::PeerId;
use axum::body::Bytes;
use tokio::time::Instant;

use super::between::{Action, Body};
use super::calling::{ANSWER_TIMEOUT, CALLS_MAX};
use super::frame::{Frame, ID_MAX};
use super::respond;
use super::words::{Fault, Key};
use crate::net::gateway::bucket::Bucket;
use crate::net::gateway::dialect::Desk;
use crate::relay::limits::Rate;

/// Offers that are remembered, so that none is told twice.
const OFFERS_REMEMBERED_MAX: usize = 256;

/// Calls of other clients that a client takes; what comes faster is dropped, and its caller told after its time-out. Each
/// costs an answer, for which the client pays like for any request: so these must stay a part of what it may ask for.
pub(super) const CALLS_TAKEN: Rate = Rate { per_second: 32, burst: 512 };

/// Of these, what one other client may have: so one cannot keep all others out.
pub(super) const CALLS_TAKEN_EACH: Rate = Rate { per_second: 8, burst: 64 };
/// Calls of one other client that wait for an answer.
pub(super) const CALLS_EACH_MAX: usize = CALLS_MAX / 8;
/// Other clients whose calls are counted, 100 bytes each. Further ones have a share together.
pub(super) const CALLERS_MAX: usize = 128;

const TOLD_BEFORE: &str = "This session was offered before.";
const TOO_MANY_OPEN: &str = "The peer has too many requests to answer.";

/// Who gets an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Caller {
    /// A request of the client itself; 0 for none.
    Own(u32),
    /// A call of another client, by its own number.
    Other(PeerId, u32),
}

/// A request that the client has not answered.
struct Call {
    id: u32,
    caller: Caller,
    deadline: Instant,
}

pub(super) struct Called {
    bucket: Bucket,
    shares: BTreeMap<PeerId, Bucket>,
    /// The share of those for whom there is no room.
    others: Bucket,
    /// In the order of their deadlines.
    calls: VecDeque<Call>,
    /// Signals that the client has not answered: it must, and nobody waits for it.
    signals: u32,
    offers: VecDeque<(PeerId, Key)>,
    last: u32,
}

impl Called {
    pub(super) fn new(now: Instant) -> Self {
        let bucket = Bucket::new(CALLS_TAKEN, now);
        let (shares, others) = (BTreeMap::new(), Bucket::new(CALLS_TAKEN_EACH, now));
        Self { bucket, shares, others, calls: VecDeque::new(), signals: 0, offers: VecDeque::new(), last: 0 }
    }

    /// Whether a call of this other client may be looked at. What is beyond its share costs the others nothing.
    pub(super) fn takes_call(&mut self, from: PeerId, now: Instant) -> bool {
        if self.shares.len() >= CALLERS_MAX && !self.shares.contains_key(&from) {
            self.shares.retain(|_, share| !share.is_full(now));
        }
        let share = if self.shares.len() < CALLERS_MAX || self.shares.contains_key(&from) {
            self.shares.entry(from).or_insert_with(|| Bucket::new(CALLS_TAKEN_EACH, now))
        } else {
            &mut self.others
        };
        share.take(now) && self.bucket.take(now)
    }

    /// How many calls of another client wait for an answer.
    fn waiting(&self, from: PeerId) -> usize {
        self.calls.iter().filter(|call| matches!(call.caller, Caller::Other(peer, _) if peer == from)).count()
    }

    /// Calls the client.
    pub(super) fn call(&mut self, action: Action, caller: Caller, session: Key, json: &[u8], desk: &mut Desk<'_>) {
        let is_too_much = matches!(caller, Caller::Other(peer, _) if self.waiting(peer) >= CALLS_EACH_MAX);
        if is_too_much || self.calls.len() >= CALLS_MAX {
            return answer(caller, true, &Fault::Failed(TOO_MANY_OPEN).json().into(), desk);
        }
        if let (Action::Offer, Caller::Other(peer, _)) = (action, caller) {
            if self.offers.contains(&(peer, session)) {
                return answer(caller, true, &Fault::Failed(TOLD_BEFORE).json().into(), desk);
            }
            if self.offers.len() >= OFFERS_REMEMBERED_MAX {
                self.offers.pop_front();
            }
            self.offers.push_back((peer, session));
        }
        let id = self.fresh_id();
        self.calls.push_back(Call { id, caller, deadline: desk.now() + ANSWER_TIMEOUT });
        desk.send_binary(Frame::Request { id, event: false, name: action.name(), json }.encode());
    }

    /// Tells the client a signal.
    pub(super) fn signal(&mut self, json: &[u8], desk: &mut Desk<'_>) {
        self.signals = self.signals.saturating_add(1);
        let id = self.fresh_id();
        desk.send_binary(Frame::Request { id, event: true, name: "signal", json }.encode());
    }

    /// The client answers a request.
    pub(super) fn answered(&mut self, id: u32, fault: bool, json: &Bytes, desk: &mut Desk<'_>) {
        let call = self.calls.iter().position(|call| call.id == id).and_then(|place| self.calls.remove(place));
        if let Some(call) = call {
            desk.was_awaited();
            answer(call.caller, fault, json, desk);
        } else if let Some(left) = self.signals.checked_sub(1) {
            self.signals = left;
            desk.was_awaited();
        }
    }

    /// When the first request has waited too long.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.calls.front().map(|call| call.deadline)
    }

    /// Forgets requests that have waited too long. Other clients' hosts tell them so themselves.
    pub(super) fn expire(&mut self, desk: &mut Desk<'_>) {
        let now = desk.now();
        while let Some(call) = self.calls.front().filter(|call| call.deadline <= now) {
            if let Caller::Own(reply) = call.caller {
                respond(desk, reply, true, &Fault::Timeout(reply).json());
            }
            self.calls.pop_front();
        }
    }

    /// The client is gone: nobody needs to wait for its answers.
    pub(super) fn close(&mut self, desk: &mut Desk<'_>) {
        for call in std::mem::take(&mut self.calls) {
            answer(call.caller, true, &Fault::Closed.json().into(), desk);
        }
    }

    /// Ids grow, so that none has two meanings while an answer may come: there are 2³¹.
    fn fresh_id(&mut self) -> u32 {
        self.last = if self.last >= ID_MAX { 1 } else { self.last + 1 };
        self.last
    }
}

/// Answers a call.
pub(super) fn answer(caller: Caller, fault: bool, json: &Bytes, desk: &mut Desk<'_>) {
    match caller {
        Caller::Own(reply) => respond(desk, reply, fault, json),
        Caller::Other(peer, number) => {
            let answer = |fault, json| Body::Answer { number, fault, json }.encode();
            let too_big = || answer(true, Fault::Failed("The answer is larger than the limit.").json().into());
            if let Some(data) = answer(fault, json.clone()).or_else(too_big) {
                desk.signal(peer, None, data);
            }
        }
    }
}
