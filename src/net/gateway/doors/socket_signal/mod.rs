//! socket-signal over nanomessage-rpc, both name sets (wire/DOORS.md).
//!
//! | module | what |
//! |---|---|
//! | `frame` | the bytes of a message |
//! | `words` | the JSON in it |
//! | `between` | what goes between hosts |
//! | `members` | join, leave, look-up |
//! | `calling` | what this client asks others for |
//! | `called` | what others ask this client for |

mod between;
mod called;
mod calling;
mod frame;
mod members;
#[cfg(test)]
mod tests;
mod words;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aldis_wire::id::PeerId;
use aldis_wire::network::Network;
use axum::Router;
use axum::body::Bytes;
use axum::routing::get;
use tokio::time::Instant;

use super::Porch;
use crate::net::gateway::dialect::{Desk, Dialect};
use crate::net::gateway::upgrade::Knock;
use crate::relay::io::{Event, Request};
use between::{Action, Body};
use called::{Called, Caller};
use calling::Calling;
use frame::Frame;
use members::Members;
use words::{Fault, Fields};

/// With and without a slash at the end: URLs are written both ways.
const PATHS: [&str; 2] = ["/socket-signal", "/socket-signal/"];
const KEYS_MISSING: &str = "topic, id, remoteId and sessionId are buffers of 32 bytes";

pub(super) fn routes(porch: &Porch<'_>) -> Router {
    let network = Arc::new(porch.network.clone());
    let (front, counts, calendar) = (porch.front.clone(), porch.counts.clone(), Calendar::now());
    let enter =
        async move |knock: Knock| knock.enter(&front, &counts, None, || SocketSignal::new(network.clone(), calendar));
    PATHS.into_iter().fold(Router::new(), |router, path| router.route(path, get(enter.clone())))
}

/// Tells the date by a clock that only counts.
#[derive(Clone, Copy, Debug)]
struct Calendar {
    unix: Duration,
    at: Instant,
}

impl Calendar {
    fn now() -> Self {
        let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self { unix, at: Instant::now() }
    }

    fn unix_ms(&self, now: Instant) -> u128 {
        (self.unix + now.saturating_duration_since(self.at)).as_millis()
    }
}

struct SocketSignal {
    calendar: Calendar,
    members: Members,
    calling: Calling,
    called: Called,
}

/// Answers a request of the client; 0 is the id of requests that get no answer.
fn respond(desk: &mut Desk<'_>, reply: u32, fault: bool, json: &[u8]) {
    if reply != 0 {
        desk.send_binary(Frame::Response { id: reply, error: fault, json }.encode());
    }
}

impl SocketSignal {
    fn new(network: Arc<Network>, calendar: Calendar) -> Self {
        let (members, calling) = (Members::new(network.clone()), Calling::new(network));
        Self { calendar, members, calling, called: Called::new(calendar.at) }
    }

    /// The client asks for something. What it called these things changed in version 10.
    fn action(&mut self, reply: u32, name: &str, fields: Option<Fields>, json: Bytes, desk: &mut Desk<'_>) {
        let (topic, id) = fields.map_or((None, None), |fields| (fields.topic, fields.id));
        match (name, fields, topic, id) {
            ("__ping__", ..) => respond(desk, reply, false, &words::time(self.calendar.unix_ms(desk.now()))),
            ("join" | "socket-signal-join", _, Some(topic), Some(id)) => self.members.join(reply, topic, id, desk),
            ("leave" | "socket-signal-leave", Some(_), topic, Some(id)) => self.members.leave(reply, topic, id, desk),
            ("lookup" | "socket-signal-lookup", _, Some(topic), _) => self.members.lookup(reply, topic, desk),
            ("offer" | "socket-signal-offer", Some(fields), ..) => {
                self.call(Action::Offer, reply, fields, json, desk);
            }
            ("socket-signal-remote-connect", Some(fields), ..) => {
                self.call(Action::RemoteConnect, reply, fields, json, desk);
            }
            _ => {
                let fault = if is_action(name) { Fault::Failed(KEYS_MISSING) } else { Fault::NameMissing(name) };
                respond(desk, reply, true, &fault.json());
            }
        }
    }

    fn call(&mut self, action: Action, reply: u32, fields: Fields, json: Bytes, desk: &mut Desk<'_>) {
        match fields.target() {
            None => respond(desk, reply, true, &Fault::Failed(KEYS_MISSING).json()),
            Some(target) if self.members.has(&target.topic, &target.remote) => {
                self.called.call(action, Caller::Own(reply), target.session, &json, desk);
            }
            Some(target) => self.calling.call(action, reply, target, json, desk),
        }
    }

    /// The client signals something. It is answered in any case, and learns nothing of what becomes of it.
    fn signal(&mut self, name: &str, fields: Option<Fields>, json: Bytes, desk: &mut Desk<'_>) {
        let Some(target) = fields.and_then(Fields::target) else { return };
        if !matches!(name, "signal" | "socket-signal-onsignal") {
            return;
        }
        if self.members.has(&target.topic, &target.remote) {
            self.called.signal(&json, desk);
        } else {
            self.calling.signal(target, json, desk);
        }
    }

    /// Another client's host sends something; it may be anything.
    fn came(&mut self, from: PeerId, data: &Bytes, desk: &mut Desk<'_>) {
        let target = |json: &[u8]| Fields::read(words::open(json)?).and_then(Fields::target);
        match Body::decode(data) {
            Some(Body::Call { action, number, json }) if self.called.takes_call(from, desk.now()) => {
                let (Some(target), caller) = (target(&json), Caller::Other(from, number)) else { return };
                if self.members.has(&target.topic, &target.remote) {
                    self.called.call(action, caller, target.session, &json, desk);
                } else {
                    called::answer(caller, true, &Fault::PeerNotFound(target.remote).json().into(), desk);
                }
            }
            Some(Body::Signal { json })
                if target(&json).is_some_and(|target| self.members.has(&target.topic, &target.remote)) =>
            {
                self.called.signal(&json, desk);
            }
            Some(Body::Answer { number, fault, json }) => self.calling.answered(from, number, fault, &json, desk),
            Some(Body::Call { .. } | Body::Signal { .. }) | None => {}
        }
    }
}

fn is_action(name: &str) -> bool {
    let old = matches!(name, "join" | "leave" | "lookup" | "offer");
    old || name
        .strip_prefix("socket-signal-")
        .is_some_and(|name| matches!(name, "join" | "leave" | "lookup" | "offer" | "remote-connect"))
}

impl Dialect for SocketSignal {
    fn opened(&mut self, desk: &mut Desk<'_>) {
        desk.hello();
    }

    /// Not of this protocol.
    fn text(&mut self, _text: &str, _desk: &mut Desk<'_>) {}

    fn binary(&mut self, bytes: &Bytes, desk: &mut Desk<'_>) {
        match Frame::decode(bytes) {
            Some(Frame::Request { id, event, name, json }) => {
                let Some(data) = words::open(json) else { return };
                let (fields, json) = (Fields::read(data), bytes.slice_ref(json));
                if event {
                    respond(desk, id, false, words::NULL);
                    self.signal(name, fields, json, desk);
                } else {
                    self.action(id, name, fields, json, desk);
                }
            }
            Some(Frame::Response { id, error, json }) if words::open(json).is_some() => {
                self.called.answered(id, error, &bytes.slice_ref(json), desk);
            }
            _ => {}
        }
    }

    fn event(&mut self, event: Event, desk: &mut Desk<'_>) {
        if let Event::Signal { from, data, .. } = &event {
            return self.came(*from, data, desk);
        }
        // What is about neither says who comes and goes, which this protocol does not tell.
        if let Err(event) = self.members.event(event, desk) {
            _ = self.calling.event(event, desk);
        }
    }

    fn deadline(&self) -> Option<Instant> {
        self.calling.deadline().into_iter().chain(self.called.deadline()).min()
    }

    fn woken(&mut self, desk: &mut Desk<'_>) {
        self.calling.expire(desk);
        self.called.expire(desk);
    }

    fn gone(&mut self, desk: &mut Desk<'_>) {
        self.called.close(desk);
        desk.ask(Request::Bye);
    }
}
