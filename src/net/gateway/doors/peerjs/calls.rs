//! What one client sends to ids: looked up, sent in order, held for a while when nobody has the id, and answered with
//! EXPIRE in the end.

mod line;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use aldis_wire::host::Outcome;
use aldis_wire::id::PeerId;
use aldis_wire::refusal::Refusal;
use axum::body::Bytes;
use tokio::time::Instant;

use super::super::super::dialect::Desk;
use super::claim::{claims, owner};
use super::codec::{self, Kind};
use super::names::{self, Names};
use super::room::Room;
use crate::relay::io::{Event, Member, Request, RequestId};
use crate::relay::limits::OPEN_SIGNALS_MAX;
use line::{Line, Parcel, State};

/// So long a message waits for an id that nobody has, as at the original; and so long one is sent again that came to
/// nothing.
const HOLD: Duration = Duration::from_secs(5);
/// Ids for which messages of one client may wait; each is a topic watched, of 32 that a session may follow.
const HELD_IDS_MAX: usize = 16;
/// After a try that came to nothing for now: the target moves, or its host starts again, or we ask too much.
const RETRY: Duration = Duration::from_millis(500);
/// Ids to which a client sends at once; more get EXPIRE. What this takes: some 60 KiB for ids of the largest size.
const LINES_MAX: usize = 128;
/// What a client has sent that waits to be looked up, or for receipts of what went before: 600 candidates, or the offers
/// to a swarm of 60.
const WAITING_BYTES_MAX: usize = 256 << 10;
/// Our signals that are open at once. Some are left for those that a resumed session still has open.
const OPEN_MAX: usize = OPEN_SIGNALS_MAX - 28;
/// Members of an id's topic that are looked at. There is one, besides impostors; samples take each home's first.
pub(super) const CLAIMANTS_MAX: usize = 32;

/// All that one client has sent and that has no end yet.
#[derive(Debug)]
pub(super) struct Calls {
    me: Arc<str>,
    names: Names,
    room: Arc<Room>,
    /// By the id that is called.
    lines: BTreeMap<Arc<str>, Line>,
    looks: HashMap<RequestId, Arc<str>>,
    open: HashMap<RequestId, (Arc<str>, Parcel)>,
    waiting_bytes: usize,
    last: u64,
    begun: bool,
}

impl Calls {
    /// Those of the client with the id `me`.
    pub(super) fn new(me: Arc<str>, names: Names, room: Arc<Room>) -> Self {
        Self {
            me,
            names,
            room,
            lines: BTreeMap::new(),
            looks: HashMap::new(),
            open: HashMap::new(),
            waiting_bytes: 0,
            last: 0,
            begun: false,
        }
    }

    /// From now on the id is the client's own, and what waits may go out.
    pub(super) fn begin(&mut self, desk: &mut Desk<'_>) {
        self.begun = true;
        self.step_all(desk);
    }

    /// The client sends something to an id.
    pub(super) fn send(&mut self, to: &str, kind: Kind, data: Bytes, desk: &mut Desk<'_>) {
        self.last += 1;
        let parcel = Parcel { n: self.last, kind, data, until: desk.now() + HOLD, sent: None, gone: false };
        let known = self.lines.contains_key(to);
        if self.waiting_bytes + parcel.bytes() > WAITING_BYTES_MAX || (!known && self.lines.len() >= LINES_MAX) {
            return self.fail(to, kind, desk);
        }
        let name: Arc<str> = to.into();
        if self.put(&name, parcel, desk) {
            self.step(&name, desk);
        }
    }

    /// Shows an event to the calls; gives it back if it is not theirs.
    pub(super) fn event(&mut self, event: Event, desk: &mut Desk<'_>) -> Option<Event> {
        match event {
            Event::Peers(sample) | Event::Watching(sample) if self.looks.contains_key(&sample.id) => {
                if let Some(name) = self.looks.remove(&sample.id) {
                    self.looked(&name, &sample.members, desk);
                }
            }
            Event::PeerJoined { ref topic, .. } if self.lines.get(topic).is_some_and(|line| line.hold.is_some()) => {
                let topic = topic.clone();
                self.look(&topic, desk);
            }
            Event::Receipt { id, outcome, .. } if self.open.contains_key(&id) => self.ended(&id, outcome, desk),
            Event::Error { id: Some(id), refusal, .. } if self.open.contains_key(&id) => {
                self.ended(&id, Outcome::Refused(refusal), desk);
            }
            Event::Error { id: Some(id), refusal, .. } if self.looks.contains_key(&id) => {
                if let Some(name) = self.looks.remove(&id) {
                    self.look_refused(&name, refusal, desk);
                }
            }
            event => return Some(event),
        }
        None
    }

    /// When [`Calls::woken`] has something to do.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.lines.values().filter_map(Line::deadline).min()
    }

    /// Ends what has waited long enough.
    pub(super) fn woken(&mut self, desk: &mut Desk<'_>) {
        let now = desk.now();
        let due = |line: &Line| line.deadline().is_some_and(|deadline| deadline <= now);
        let names: Vec<Arc<str>> =
            self.lines.iter().filter(|(_, line)| due(line)).map(|(name, _)| name.clone()).collect();
        for name in names {
            let Some(line) = self.lines.get_mut(&name) else { continue };
            if line.hold.is_some() {
                self.expire(&name, desk);
            } else {
                line.state = State::Unknown;
                self.step(&name, desk);
            }
        }
        if self.lines.is_empty() {
            // An idle edge must stay small.
            self.lines = BTreeMap::new();
        }
    }

    /// Whether something waits for this id.
    pub(super) fn watches(&self, name: &str) -> bool {
        self.lines.get(name).is_some_and(|line| line.hold.is_some())
    }

    /// Forgets everything; the session goes on without it.
    pub(super) fn drop_all(&mut self, desk: &mut Desk<'_>) {
        for (_, line) in std::mem::take(&mut self.lines) {
            if line.hold.is_some() {
                names::unwatch(line.topic, desk);
            }
        }
        self.waiting_bytes = 0;
    }

    fn held_bytes(&self) -> usize {
        self.lines.values().filter_map(|line| line.hold.as_ref()).map(|hold| hold.place.bytes()).sum()
    }

    fn step_all(&mut self, desk: &mut Desk<'_>) {
        let names: Vec<Arc<str>> = self.lines.keys().cloned().collect();
        names.iter().for_each(|name| self.step(name, desk));
    }

    /// Does for one line what can be done now.
    fn step(&mut self, name: &Arc<str>, desk: &mut Desk<'_>) {
        let Some(line) = self.lines.get(name) else { return };
        if !self.begun || line.parcels.is_empty() {
            return;
        }
        match line.state {
            State::Unknown => self.look(name, desk),
            State::Found(peer) => self.post(name, peer, desk),
            State::Asked | State::Absent | State::Later(_) => {}
        }
    }

    fn look(&mut self, name: &Arc<str>, desk: &mut Desk<'_>) {
        if let Some(line) = self.lines.get_mut(name) {
            line.state = State::Asked;
            let id = desk.discover(line.topic.clone(), CLAIMANTS_MAX);
            self.looks.insert(id, name.clone());
        }
    }

    fn looked(&mut self, name: &Arc<str>, members: &[Member], desk: &mut Desk<'_>) {
        let Some(line) = self.lines.get_mut(name) else { return };
        match owner(name, &claims(members)) {
            Some((peer, _)) => {
                line.state = State::Found(peer);
                if line.hold.take().is_some() {
                    names::unwatch(line.topic.clone(), desk);
                }
                self.post(name, peer, desk);
            }
            None if line.hold.is_some() => line.state = State::Absent,
            None => self.hold(name, desk),
        }
    }

    fn look_refused(&mut self, name: &Arc<str>, refusal: Refusal, desk: &mut Desk<'_>) {
        let Some(line) = self.lines.get_mut(name) else { return };
        if refusal == Refusal::RateLimited && line.hold.is_none() {
            line.state = State::Later(desk.now() + RETRY);
        } else {
            self.expire(name, desk);
        }
    }

    /// Sends what waits, as far as signals may be open.
    fn post(&mut self, name: &Arc<str>, to: PeerId, desk: &mut Desk<'_>) {
        let Some(line) = self.lines.get_mut(name) else { return };
        while self.open.len() < OPEN_MAX
            && let Some(mut parcel) = line.parcels.pop_front()
        {
            self.waiting_bytes -= parcel.bytes();
            let id =
                parcel.sent.take().filter(|(before, _)| *before == to).map_or_else(|| desk.fresh_id(), |(_, id)| id);
            parcel.sent = Some((to, id.clone()));
            let (topic, data) = (Some(line.topic.id), parcel.data.clone());
            desk.ask(Request::Signal { id: id.clone(), to, topic, data });
            self.open.insert(id, (name.clone(), parcel));
        }
        if line.parcels.is_empty() {
            // The next message is looked up again: the client may be elsewhere by then.
            self.forget(name);
        }
    }

    /// Nobody has the id: what may wait, waits.
    fn hold(&mut self, name: &Arc<str>, desk: &mut Desk<'_>) {
        let (held_bytes, held_ids) =
            (self.held_bytes(), self.lines.values().filter(|line| line.hold.is_some()).count());
        let Some(line) = self.lines.get_mut(name) else { return };
        self.waiting_bytes -=
            line.parcels.iter().filter(|parcel| !parcel.kind.waits()).map(Parcel::bytes).sum::<usize>();
        line.parcels.retain(|parcel| parcel.kind.waits());
        if line.parcels.iter().any(|parcel| parcel.gone) {
            // Its session ended while this was on its way: as the original says it of a socket that turns out dead.
            self.forget(name);
            return desk.send_text(codec::message(Kind::Leave, name, &self.me, ""));
        }
        if line.parcels.is_empty() {
            return self.forget(name);
        }
        let mut place = self.room.place();
        let bytes = line.parcels.iter().map(Parcel::bytes).sum();
        if held_ids >= HELD_IDS_MAX || !place.grow(bytes, held_bytes) {
            return self.expire(name, desk);
        }
        line.hold = Some(line::Hold { until: desk.now() + HOLD, place });
        line.state = State::Asked;
        let id = desk.fresh_id();
        desk.ask(Request::Watch { id: id.clone(), topic: line.topic.clone() });
        self.looks.insert(id, name.clone());
    }

    fn ended(&mut self, id: &RequestId, outcome: Outcome, desk: &mut Desk<'_>) {
        let was_full = self.open.len() >= OPEN_MAX;
        let Some((name, mut parcel)) = self.open.remove(id) else { return };
        match outcome {
            Outcome::Delivered => {}
            Outcome::Refused(_) | Outcome::Unknown if desk.now() < parcel.until => {
                parcel.gone |= outcome == Outcome::Refused(Refusal::Gone);
                self.back(&name, parcel, desk);
            }
            Outcome::Refused(_) | Outcome::Unknown => self.fail(&name, parcel.kind, desk),
        }
        if was_full {
            self.step_all(desk);
        }
        if self.open.is_empty() {
            self.open = HashMap::new();
        }
    }

    /// A message that did not go takes its place again, before all that came after it.
    fn back(&mut self, name: &Arc<str>, parcel: Parcel, desk: &mut Desk<'_>) {
        if self.put(name, parcel, desk)
            && let Some(line) = self.lines.get_mut(name)
            && matches!(line.state, State::Unknown | State::Found(_))
        {
            line.state = State::Later(desk.now() + RETRY);
        }
    }

    /// Lets a message wait in its line; false when there was no room for it among those that are held.
    fn put(&mut self, name: &Arc<str>, parcel: Parcel, desk: &mut Desk<'_>) -> bool {
        let (names, held_bytes) = (&self.names, self.held_bytes());
        let line = self.lines.entry(name.clone()).or_insert_with(|| Line::new(names.topic(name)));
        if let Some(hold) = &mut line.hold
            && !hold.place.grow(parcel.bytes(), held_bytes)
        {
            self.expire(name, desk);
            return false;
        }
        self.waiting_bytes += parcel.bytes();
        line.put(parcel);
        true
    }

    /// A message came to nothing. Without a candidate a connection may still come about; without the rest it cannot.
    fn fail(&self, name: &str, kind: Kind, desk: &mut Desk<'_>) {
        if matches!(kind, Kind::Offer | Kind::Answer) {
            desk.send_text(codec::message(Kind::Expire, name, &self.me, ""));
        }
    }

    /// All that waits for an id came to nothing.
    fn expire(&mut self, name: &Arc<str>, desk: &mut Desk<'_>) {
        if let Some(line) = self.lines.get(name)
            && line.hold.is_some()
        {
            names::unwatch(line.topic.clone(), desk);
        }
        self.forget(name);
        desk.send_text(codec::message(Kind::Expire, name, &self.me, ""));
    }

    fn forget(&mut self, name: &Arc<str>) {
        if let Some(line) = self.lines.remove(name) {
            self.waiting_bytes -= line.parcels.iter().map(Parcel::bytes).sum::<usize>();
        }
    }
}

#[cfg(test)]
mod tests;
