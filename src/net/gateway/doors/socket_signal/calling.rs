//! What this client asks other clients for, through their hosts.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use aldis_wire::host::Outcome;
use aldis_wire::id::{PeerId, TopicId};
use aldis_wire::network::Network;
use aldis_wire::refusal::Refusal;
use axum::body::Bytes;
use tokio::time::Instant;

use super::between::{self, Action, Body, Claim};
use super::members::{OWNERS_MAX, owner, swarm};
use super::respond;
use super::words::{self, Fault, Key, TOO_MANY_OPEN, Target};
use crate::net::gateway::dialect::Desk;
use crate::relay::io::{Event, Member, RequestId};

/// Calls of one client that wait for their answers, as many as its library has open; and as many signals that wait for
/// their addressee to be found.
pub(super) const CALLS_MAX: usize = 256;
/// How long an answer may take, as at the original server. The client itself waits for 15 s.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Something whose addressee is being looked for.
struct Parcel {
    id: RequestId,
    /// The call that it makes, if it is one.
    call: Option<(Action, u32)>,
    target: Target,
    json: Bytes,
}

/// A call without an answer.
struct Call {
    number: u32,
    /// The client's request; 0 for none.
    reply: u32,
    remote: Key,
    /// Who alone may answer, and the signal by which it was asked.
    sent: Option<(PeerId, RequestId)>,
    deadline: Instant,
}

pub(super) struct Calling {
    network: Arc<Network>,
    parcels: VecDeque<Parcel>,
    /// In the order of their deadlines.
    calls: VecDeque<Call>,
    last: u32,
}

impl Calling {
    pub(super) fn new(network: Arc<Network>) -> Self {
        Self { network, parcels: VecDeque::new(), calls: VecDeque::new(), last: 0 }
    }

    /// Calls another client; its answer goes to the client's request `reply`.
    pub(super) fn call(&mut self, action: Action, reply: u32, target: Target, json: Bytes, desk: &mut Desk<'_>) {
        if self.calls.len() >= CALLS_MAX {
            return respond(desk, reply, true, &Fault::Failed(TOO_MANY_OPEN).json());
        }
        self.last = self.last.wrapping_add(1);
        let (number, remote, deadline) = (self.last, target.remote, desk.now() + ANSWER_TIMEOUT);
        self.calls.push_back(Call { number, reply, remote, sent: None, deadline });
        self.look_for(Some((action, number)), target, json, desk);
    }

    /// Signals another client. Nobody learns what becomes of it.
    pub(super) fn signal(&mut self, target: Target, json: Bytes, desk: &mut Desk<'_>) {
        if self.parcels.len() < CALLS_MAX {
            self.look_for(None, target, json, desk);
        }
    }

    /// Gives an event back that is not about what this client asked.
    #[allow(clippy::result_large_err, reason = "what is not for it is handed on")]
    pub(super) fn event(&mut self, event: Event, desk: &mut Desk<'_>) -> Result<(), Event> {
        let (id, outcome) = match &event {
            Event::Peers(sample) => (&sample.id, Ok(&sample.members[..])),
            Event::Receipt { id, outcome: Outcome::Refused(refusal), .. } => (id, Err(*refusal)),
            // Delivered: the answer is on its way. Unknown: it may still come.
            Event::Receipt { .. } => return Ok(()),
            Event::Error { id: Some(id), refusal, .. } => (id, Err(*refusal)),
            _ => return Err(event),
        };
        if let Some(place) = self.parcels.iter().position(|parcel| parcel.id == *id) {
            if let Some(parcel) = self.parcels.remove(place) {
                self.found(parcel, outcome, desk);
            }
            return Ok(());
        }
        let sent = |call: &Call| call.sent.as_ref().is_some_and(|(_, sent)| sent == id);
        if let (Some(place), Err(refusal)) = (self.calls.iter().position(sent), outcome) {
            if let Some(call) = self.calls.remove(place) {
                refuse(&call, refusal, desk);
            }
            return Ok(());
        }
        Err(event)
    }

    /// Another client answers. Only who was called is believed.
    pub(super) fn answered(&mut self, from: PeerId, number: u32, fault: bool, json: &Bytes, desk: &mut Desk<'_>) {
        let asked = |call: &Call| call.number == number && call.sent.as_ref().is_some_and(|(peer, _)| *peer == from);
        let Some(place) = self.calls.iter().position(asked) else { return };
        // What a client cannot read it would drop, and wait.
        let Some(data) = words::open(json) else { return };
        let Some(call) = self.calls.remove(place) else { return };
        if fault && !words::is_fault(data) {
            return respond(desk, call.reply, true, &Fault::Failed(Refusal::Other.sentence()).json());
        }
        respond(desk, call.reply, fault, json);
    }

    /// When the first call has waited too long.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.calls.front().map(|call| call.deadline)
    }

    /// Ends the calls that have waited too long.
    pub(super) fn expire(&mut self, desk: &mut Desk<'_>) {
        let now = desk.now();
        while let Some(call) = self.calls.front().filter(|call| call.deadline <= now) {
            respond(desk, call.reply, true, &Fault::Timeout(call.reply).json());
            self.calls.pop_front();
        }
    }

    fn look_for(&mut self, call: Option<(Action, u32)>, target: Target, json: Bytes, desk: &mut Desk<'_>) {
        let id = desk.discover(owner(&self.network, &target.remote), OWNERS_MAX);
        self.parcels.push_back(Parcel { id, call, target, json });
    }

    fn found(&mut self, parcel: Parcel, outcome: Result<&[Member], Refusal>, desk: &mut Desk<'_>) {
        let Parcel { call, target: Target { topic, remote, .. }, json, .. } = parcel;
        let refusal = match outcome {
            Ok(members) => match newest(members, swarm(&self.network, &topic).id) {
                Some(peer) => {
                    let body = match call {
                        Some((action, number)) => Body::Call { action, number, json },
                        None => Body::Signal { json },
                    };
                    match body.encode() {
                        Some(data) => return self.send(peer, call, &remote, data, desk),
                        None => Refusal::TooBig,
                    }
                }
                None => Refusal::NoSuchPeer,
            },
            Err(refusal) => refusal,
        };
        if let Some(call) = call.and_then(|(_, number)| self.take(number)) {
            refuse(&call, refusal, desk);
        }
    }

    fn send(&mut self, to: PeerId, call: Option<(Action, u32)>, remote: &Key, data: Bytes, desk: &mut Desk<'_>) {
        let id = desk.signal(to, Some(owner(&self.network, remote).id), data);
        let number = call.map(|(_, number)| number);
        if let Some(call) = self.calls.iter_mut().find(|call| Some(call.number) == number) {
            call.sent = Some((to, id));
        }
    }

    fn take(&mut self, number: u32) -> Option<Call> {
        let place = self.calls.iter().position(|call| call.number == number)?;
        self.calls.remove(place)
    }
}

/// The newest owner of an id among those who have it in this topic.
fn newest(members: &[Member], topic: TopicId) -> Option<PeerId> {
    let tag = between::tag(topic);
    let claims = members.iter().filter_map(|member| Some((member.peer, Claim::decode(&member.meta)?)));
    let here = claims.filter(|(_, claim)| claim.tags.contains(&tag));
    here.max_by_key(|(peer, claim)| (claim.stamp, *peer)).map(|(peer, _)| peer)
}

/// Tells the client that a call came to nothing.
fn refuse(call: &Call, refusal: Refusal, desk: &mut Desk<'_>) {
    let fault = if was_absent(Outcome::Refused(refusal)) {
        Fault::PeerNotFound(call.remote)
    } else {
        Fault::Failed(refusal.sentence())
    };
    respond(desk, call.reply, true, &fault.json());
}

/// Whether a signal came to nothing because its target is not there any more.
fn was_absent(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::Refused(Refusal::NoSuchPeer | Refusal::Gone))
}
