//! A broadcast from an edge to all members of a topic, and its tally back (PROTOCOL.md §7.4).
//!
//! ```text
//! broadcast_asked -> send_legs -+-> spread                              (to the members here)
//!                               +-> Broadcast frame -> broadcast_came -> broadcast_arrived -> spread
//!                               +-> Routed frame -> routed_came -> ... -> broadcast_arrived -> spread
//! spread -> Tally or Routed frame -> tally_from -> leg_ended -> finish_broadcast
//! ```

use std::sync::Arc;

use aldis_wire::host::{Broadcast, Frame, Spread, Tally};
use aldis_wire::id::{HostId, PeerId, TopicId};
use aldis_wire::limits::LANES;
use aldis_wire::refusal::Refusal;

use crate::relay::broadcasts::{Ended, Taken};
use crate::relay::io::{EdgeKey, Event, Fault, LinkKey, Moment, Note, Outbox, Reach, Request, RequestId};
use crate::relay::limits::{
    BROADCAST_COPIES_BYTES, BROADCAST_OVERHEAD_BYTES, BYTES_PER_TOKEN, MEMBERS_PER_TOKEN, Rate,
};
use crate::relay::planted::Defect;
use crate::relay::sessions::SessionKey;
use crate::relay::signals::{Doubt, Path, Turn, Went};
use crate::relay::state::State;
use crate::relay::timers::Timer;

/// What a tally weighs in a session's queue.
const TALLY_BYTES: usize = 128;

impl State {
    /// An edge sends something to all members of a topic.
    pub(crate) fn broadcast_asked(
        &mut self,
        now: Moment,
        edge: EdgeKey,
        key: SessionKey,
        request: Request,
        out: &mut Outbox,
    ) {
        let Request::Broadcast { id, topic, data, echo } = request else { return };
        let remembered = |state: &Self| {
            let session = state.sessions.find(key).and_then(|session| session.broadcasts.as_ref());
            session.is_some_and(|broadcasts| broadcasts.remembers(&id))
        };
        // One for the look at the topic, which shows what the rest costs.
        let mut refused = self.take_requests(now, edge, 1);
        let homes = if refused.is_none() { self.homes_for(key, topic.id, echo) } else { Vec::new() };
        if refused.is_none() && !remembered(self) {
            if !self.deadlines.has_room() {
                return self.tell_refused(key, id, Refusal::Overloaded, out);
            }
            if homes.len() * (BROADCAST_OVERHEAD_BYTES + data.len()) > BROADCAST_COPIES_BYTES {
                return self.tell_refused(key, id, Refusal::TooBig, out);
            }
            let cost = homes.len() + self.directory.total(topic.id) / MEMBERS_PER_TOKEN;
            let cost = cost.saturating_mul(1 + data.len() / BYTES_PER_TOKEN).saturating_sub(1);
            refused = self.take_requests(now, edge, u32::try_from(cost).unwrap_or(u32::MAX));
        }
        if let Some(refusal) = refused {
            // What the edge asks again has its answer, or will have it: it must not get a second one.
            if !remembered(self) {
                self.tell_refused(key, id, refusal, out);
            }
            return self.lose_patience(now, edge, out);
        }
        let Some(session) = self.sessions.find_mut(key) else { return };
        let broadcasts = session.broadcasts.get_or_insert_default();
        match broadcasts.take(now, &id, topic.id, data, homes.clone()) {
            Ok(Taken::Send) => {
                self.deadlines.push(now, key, id.clone());
                if let Some(at) = self.deadlines.next() {
                    self.timers.set_earlier(Timer::Signals, at);
                }
                self.send_legs(now, key, &id, &homes, echo, out);
                self.finish_broadcast(key, &id, false, out);
            }
            Ok(Taken::Open) => {}
            Ok(Taken::Again(reach)) => self.tell_tally(key, id, reach, out),
            Err(refusal) => self.tell_refused(key, id, refusal, out),
        }
    }

    /// Takes the tokens of so many requests from an edge and its address; why not, if there are too few. What costs more than
    /// may come at once costs that and the one that was taken before it, or no pause would ever be long enough.
    fn take_requests(&mut self, now: Moment, edge: EdgeKey, tokens: u32) -> Option<Refusal> {
        if tokens == 0 {
            return None;
        }
        let found = self.sessions.edge_mut(edge)?;
        let address = found.address;
        let at_once = |rate: Rate| tokens.min(rate.burst.saturating_sub(1).max(1));
        let own = found.bucket.take(now, self.settings.edge_rate, at_once(self.settings.edge_rate));
        let of_address = at_once(self.settings.address_rate);
        let taken = own.and_then(|()| self.addresses.take_requests(now, address, &self.settings, of_address));
        taken.err().map(|_| Refusal::RateLimited)
    }

    /// The hosts to which a broadcast of a session goes: those that have members besides the sender.
    fn homes_for(&self, key: SessionKey, topic: TopicId, echo: bool) -> Vec<HostId> {
        let mut homes = self.directory.homes_of(topic);
        homes.retain(|home| *home != self.own);
        if self.sessions.members(topic).is_some_and(|(_, mut here)| here.any(|member| member != key || echo)) {
            homes.push(self.own);
        }
        homes
    }

    /// Sends the parts of some hosts on their way.
    fn send_legs(
        &mut self,
        now: Moment,
        key: SessionKey,
        id: &RequestId,
        homes: &[HostId],
        echo: bool,
        out: &mut Outbox,
    ) {
        let Some(session) = self.sessions.find(key) else { return };
        let Some(sent) = session.broadcasts.as_ref().and_then(|broadcasts| broadcasts.find(id)) else { return };
        let broadcast = Broadcast {
            from: session.peer,
            session: key,
            n: sent.n,
            id: id.to_string(),
            proof: session.proof.clone(),
            topic: sent.topic,
            data: sent.data.clone(),
        };
        let lane = lane(broadcast.from);
        let frame = Frame::Broadcast(broadcast.clone());
        for home in homes {
            if *home == self.own {
                let spread = self.spread(now, self.own, &broadcast, echo, out);
                self.leg_ended(key, id, self.own, Ended::Told(spread));
                continue;
            }
            if self.is_awaited(*home) {
                // It is sent when that link is there, in its place.
                continue;
            }
            let broadcasts = self.sessions.find(key).and_then(|session| session.broadcasts.as_ref());
            let pinned = broadcasts.and_then(|broadcasts| broadcasts.pinned(*home)).and_then(Path::link);
            match self.hand_over(now, *home, pinned, lane, &frame, out) {
                Ok(path) => {
                    if let Path::Routed(_, nonce) = path {
                        self.went_sealed(now, nonce, Went { session: key, id: id.clone(), home: *home });
                    }
                    let session = self.sessions.find_mut(key);
                    if let Some(broadcasts) = session.and_then(|session| session.broadcasts.as_mut()) {
                        broadcasts.went(id, *home, path);
                    }
                    if self.planted.has(Defect::CountEarly) {
                        self.leg_ended(key, id, *home, Ended::Told(Spread::Taken { members: 1, missed: 0 }));
                    }
                }
                Err(refusal) => self.leg_ended(key, id, *home, Ended::Told(Spread::Refused(refusal))),
            }
        }
    }

    /// A broadcast came over the link from its sender's home.
    pub(crate) fn broadcast_came(&mut self, now: Moment, key: LinkKey, broadcast: Broadcast, out: &mut Outbox) {
        let Some(host) = self.links.find(key).map(|link| link.host) else { return };
        match self.doubt(now, key, broadcast.from, &broadcast.proof) {
            None => self.broadcast_arrived(now, host, broadcast, None, out),
            Some(Doubt::Foreign) => self.misbehaved(now, key, Fault::ForeignSender, out),
            Some(Doubt::Refused(refusal)) => {
                let Broadcast { from, id, .. } = broadcast;
                self.answer_tally(now, host, Tally { from, id, spread: Spread::Refused(refusal) }, None, out);
            }
        }
    }

    /// A broadcast came from its sender's home, by way of others over the link `via`.
    pub(crate) fn broadcast_arrived(
        &mut self,
        now: Moment,
        home: HostId,
        broadcast: Broadcast,
        via: Option<LinkKey>,
        out: &mut Outbox,
    ) {
        self.routes.insert(now, broadcast.from, home);
        let spread = self.spread(now, home, &broadcast, false, out);
        let Broadcast { from, id, .. } = broadcast;
        self.answer_tally(now, home, Tally { from, id, spread }, via, out);
    }

    fn answer_tally(&mut self, now: Moment, home: HostId, tally: Tally, via: Option<LinkKey>, out: &mut Outbox) {
        let via = self.way_back(home, via);
        // A tally that finds no way is asked for again by the sender's home, or that host's part becomes unknown there.
        let _ = self.hand_over(now, home, via, lane(tally.from), &Frame::Tally(tally), out);
    }

    /// Puts a broadcast into the queues of the members here, unless it has been here before.
    fn spread(&mut self, now: Moment, home: HostId, broadcast: &Broadcast, echo: bool, out: &mut Outbox) -> Spread {
        let Broadcast { from, session, n, topic, .. } = *broadcast;
        let id: RequestId = Arc::from(broadcast.id.as_str());
        let repeat = self.planted.has(Defect::RepeatBroadcasts);
        if let Some((known, spread)) = self.heard.find(from, &id).filter(|_| !repeat) {
            return if known == topic { spread } else { Spread::Refused(Refusal::BadField) };
        }
        // Before anything is done for each of them: refusing must not cost what delivering does.
        let places = self.sessions.followers_count(topic);
        if home != self.own && !self.heard.may_deliver(now, home, places, broadcast.data.len()) {
            return Spread::Refused(Refusal::RateLimited);
        }
        let turn = Turn { counter: broadcast.proof.counter(), session, n };
        if !self.heard.is_next(from, turn) && !repeat {
            return Spread::Refused(Refusal::Overtaken);
        }
        let members = self.sessions.members(topic).map(|(name, members)| (name, members.collect()));
        let (name, members): (_, Vec<SessionKey>) = members.unwrap_or_else(|| (Arc::from(""), Vec::new()));
        let bytes = BROADCAST_OVERHEAD_BYTES + broadcast.data.len();
        let (mut told, mut missed) = (0, 0);
        for member in members {
            let Some(session) = self.sessions.find_mut(member) else { continue };
            if session.peer == from && !echo {
                continue;
            }
            let (id, topic, data) = (id.clone(), name.clone(), broadcast.data.clone());
            match session.enqueue_broadcast(bytes, |seq| Event::Broadcast { seq, id, from, topic, data }) {
                Ok(event) => {
                    told += 1;
                    if let Some((edge, event)) = session.edge.zip(event) {
                        out.tell(edge, event);
                    }
                }
                Err(_) => missed += 1,
            }
        }
        out.note(Note::BroadcastSpread { members: told, missed });
        let spread = match (told, missed) {
            // Not remembered: nobody has it, and what costs a host nothing must not push out what others sent.
            (0, 0) => return Spread::Refused(Refusal::NoSuchPeer),
            (0, _) => Spread::Refused(Refusal::QueueFull),
            (members, missed) => Spread::Taken { members, missed },
        };
        self.heard.insert(now, (from, turn), id, topic, spread);
        spread
    }

    /// A tally came over the link from a host.
    pub(crate) fn tally_came(&mut self, key: LinkKey, tally: &Tally, out: &mut Outbox) {
        if let Some(host) = self.links.find(key).map(|link| link.host) {
            self.tally_from(host, tally, out);
        }
    }

    /// A host says what it did with a broadcast.
    pub(crate) fn tally_from(&mut self, home: HostId, tally: &Tally, out: &mut Outbox) {
        let id = Arc::from(tally.id.as_str());
        let Some(key) = self.sessions.by_peer(tally.from) else { return };
        if home != self.own {
            self.leg_ended(key, &id, home, Ended::Told(tally.spread));
            self.finish_broadcast(key, &id, false, out);
        }
    }

    /// A host on the way could not pass on one host's part of a broadcast that went by `path`.
    pub(crate) fn leg_bounced(&mut self, now: Moment, went: &Went, path: Path, refusal: Refusal, out: &mut Outbox) {
        let Went { session: key, ref id, home } = *went;
        let broadcasts = self.sessions.find(key).and_then(|session| session.broadcasts.as_ref());
        let leg = broadcasts.and_then(|all| all.find(id)?.leg(home)).filter(|leg| leg.path == path);
        let Some((leg, link)) = leg.copied().zip(path.link()) else { return };
        if !self.legs_again_by_another(now, key, (home, link), Some(id), out) && !leg.doubtful {
            self.leg_ended(key, id, home, Ended::Told(Spread::Refused(refusal)));
            self.finish_broadcast(key, id, false, out);
        }
    }

    /// Open parts of broadcasts whose path is like that, in the order in which each session sent them.
    pub(super) fn open_legs(&self, which: impl Fn(Path) -> bool) -> Vec<(SessionKey, RequestId, HostId)> {
        let mut open = Vec::new();
        for (key, session) in self.sessions.iter() {
            let Some(broadcasts) = session.broadcasts.as_ref() else { continue };
            let parts = broadcasts.open_where(|_, path| which(path));
            open.extend(parts.into_iter().map(|(id, home)| (key, id, home)));
        }
        open
    }

    /// Parts of broadcasts whose path has died go again by another way; a host that has one already knows it. Those that
    /// find no way now wait for one until their deadline.
    pub(super) fn legs_again(&mut self, now: Moment, open: Vec<(SessionKey, RequestId, HostId)>, out: &mut Outbox) {
        for (key, id, home) in &open {
            let session = self.sessions.find_mut(*key);
            if let Some(broadcasts) = session.and_then(|session| session.broadcasts.as_mut()) {
                broadcasts.broke(id, *home);
            }
        }
        for (key, id, home) in open {
            if self.way_to(home, None).is_some() {
                self.send_legs(now, key, &id, &[home], false, out);
                self.finish_broadcast(key, &id, false, out);
            }
        }
    }

    /// The time of a session's broadcast may be over.
    pub(crate) fn broadcast_timed_out(&mut self, now: Moment, key: SessionKey, id: &RequestId, out: &mut Outbox) {
        let broadcasts = self.sessions.find(key).and_then(|session| session.broadcasts.as_ref());
        if broadcasts.and_then(|all| all.find(id)).is_some_and(|sent| sent.until <= now) {
            self.finish_broadcast(key, id, true, out);
        }
    }

    /// One host's part of a broadcast has its outcome; a late or second answer is dropped here.
    fn leg_ended(&mut self, key: SessionKey, id: &RequestId, home: HostId, ended: Ended) {
        let session = self.sessions.find_mut(key);
        if let Some(broadcasts) = session.and_then(|session| session.broadcasts.as_mut()) {
            broadcasts.leg_ended(id, home, ended);
        }
    }

    /// Tells the tally of a broadcast to which all hosts have answered, or which is `given_up`.
    fn finish_broadcast(&mut self, key: SessionKey, id: &RequestId, given_up: bool, out: &mut Outbox) {
        let session = self.sessions.find_mut(key);
        let broadcasts = session.and_then(|session| session.broadcasts.as_mut());
        if let Some(reach) = broadcasts.and_then(|broadcasts| broadcasts.finish(id, given_up)) {
            out.note(Note::BroadcastEnded { reach });
            self.tell_tally(key, id.clone(), reach, out);
        }
    }

    fn tell_refused(&mut self, key: SessionKey, id: RequestId, refusal: Refusal, out: &mut Outbox) {
        let reach = Reach { code: Some(refusal), ..Reach::default() };
        out.note(Note::BroadcastEnded { reach });
        self.tell_tally(key, id, reach, out);
    }

    fn tell_tally(&mut self, key: SessionKey, id: RequestId, reach: Reach, out: &mut Outbox) {
        self.tell_session(key, TALLY_BYTES, |seq| Event::Tally { seq, id, reach }, out);
    }
}

/// The lane that the broadcasts of a sender always take, so that they stay in order.
fn lane(from: PeerId) -> u8 {
    let [from, ..] = from.as_bytes();
    from % LANES
}
