//! A signal from edge to edge, and its receipt back (PROTOCOL.md §7).
//!
//! ```text
//! signal_asked -> dispatch -+-> arrive                      (the target is at home here)
//!                           +-> Signal frame -> signal_came -> arrive   (a link to the target's home)
//!                           +-> Routed frame -> routed_came -> ... -> arrive   (sealed, by the next hop)
//! arrive -> the target's queue -> acknowledged -> delivery_finished -> answer -+-> signal_ended
//!                                      Receipt or Routed frame -> receipt_from -+
//! ```

use std::sync::Arc;

use aldis_wire::host::{Bounce, Channel, Frame, Outcome, Receipt, Routed, Signal};
use aldis_wire::id::{HostId, PeerId};
use aldis_wire::limits::{HOPS_MAX, LANES};
use aldis_wire::refusal::Refusal;
use aldis_wire::seal::Binding;

use crate::relay::io::{EdgeKey, Event, Fault, LinkKey, Moment, Note, Outbox, Request, RequestId};
use crate::relay::limits::SIGNAL_TIMEOUT;
use crate::relay::links::Link;
use crate::relay::planted::Defect;
use crate::relay::sessions::{Finished, SessionKey};
use crate::relay::signals::{Delivery, Doubt, Path, Taken, Turn, Went};
use crate::relay::state::State;
use crate::relay::timers::Timer;

/// What a signal weighs in a session's queue besides its data.
const SIGNAL_OVERHEAD_BYTES: usize = 256;
/// What a receipt weighs in a session's queue.
const RECEIPT_BYTES: usize = 128;

impl State {
    /// An edge sends a signal.
    pub(crate) fn signal_asked(
        &mut self,
        now: Moment,
        edge: EdgeKey,
        key: SessionKey,
        request: Request,
        out: &mut Outbox,
    ) {
        let Request::Signal { id, to, topic, data } = request else { return };
        let Some(found) = self.sessions.edge_mut(edge) else { return };
        let address = found.address;
        let own = found.bucket.take(now, self.settings.edge_rate, 1);
        if own.and_then(|()| self.addresses.take_request(now, address, &self.settings)).is_err() {
            // What the edge asks again has its answer, or will have it: it must not get a second one.
            let remembered = self.sessions.find(key).is_some_and(|session| session.outgoing.remembers(&id));
            if !remembered {
                self.tell_receipt(key, id, Outcome::Refused(Refusal::RateLimited), out);
            }
            return self.lose_patience(now, edge, out);
        }
        let has_room = self.deadlines.has_room();
        let Some(session) = self.sessions.find_mut(key) else { return };
        let tried_before = session.outgoing.find(&id).is_some_and(|sent| sent.outcome.is_some());
        if !has_room && (tried_before || !session.outgoing.remembers(&id)) {
            // What was tried before may have arrived then: it is not told as refused.
            let outcome = if tried_before { Outcome::Unknown } else { Outcome::Refused(Refusal::Overloaded) };
            return self.tell_receipt(key, id, outcome, out);
        }
        match session.outgoing.take(now, &id, to, topic, data) {
            Ok(Taken::Send) => {
                self.announcer.signals = self.announcer.signals.saturating_add(1);
                self.deadlines.push(now, key, id.clone());
                if let Some(at) = self.deadlines.next() {
                    self.timers.set_earlier(Timer::Signals, at);
                }
                if !self.is_held_back(now, key, &id, out) {
                    self.dispatch(now, key, id, out);
                }
            }
            Ok(Taken::Open) => {}
            Ok(Taken::Again(outcome)) => self.tell_receipt(key, id, outcome, out),
            Err(refusal) => self.tell_receipt(key, id, Outcome::Refused(refusal), out),
        }
    }

    /// Sends an open signal of a session on its way.
    pub(super) fn dispatch(&mut self, now: Moment, key: SessionKey, id: RequestId, out: &mut Outbox) {
        let Some(session) = self.sessions.find(key) else { return };
        let Some(sent) = session.outgoing.find(&id).cloned() else { return };
        let pinned = session.outgoing.pinned(sent.to).and_then(Path::link);
        let (nobody, doubtful) = (sent.refused(Refusal::NoSuchPeer), sent.is_doubtful());
        let signal = Signal {
            from: session.peer,
            to: sent.to,
            session: key,
            n: sent.n,
            id: id.to_string(),
            proof: session.proof.clone(),
            topic: sent.topic,
            data: sent.data,
        };
        let home = match self.sessions.by_peer(sent.to) {
            Some(_) => Some(self.own),
            None => self.directory.home(sent.to).or_else(|| self.routes.find(now, sent.to)),
        };
        let Some(home) = home.filter(|home| *home != self.own || self.sessions.by_peer(sent.to).is_some()) else {
            return self.signal_ended(now, key, &id, nobody, out);
        };
        if home == self.own {
            self.note_path(now, key, &id, home, Path::Local);
            return self.arrive(now, home, signal, id, None, out);
        }
        if self.is_awaited(home) {
            // It is sent when that link is there, in its place.
            return;
        }
        let lane = lane(signal.from, signal.to);
        match self.hand_over(now, home, pinned, lane, &Frame::Signal(signal), out) {
            Ok(path) => {
                out.note(Note::SignalPassedOn);
                self.note_path(now, key, &id, home, path);
            }
            Err(_) if doubtful => self.signal_ended(now, key, &id, Outcome::Unknown, out),
            Err(refusal) => self.signal_ended(now, key, &id, Outcome::Refused(refusal), out),
        }
    }

    fn note_path(&mut self, now: Moment, key: SessionKey, id: &RequestId, home: HostId, path: Path) {
        if let Path::Routed(_, nonce) = path {
            self.went_sealed(now, nonce, Went { session: key, id: id.clone(), home });
        }
        let epoch = match path {
            Path::Direct(link) => self.links.find(link).map(|link| link.epoch),
            Path::Routed(..) => self.origins.find(home).map(|origin| origin.mark().0),
            Path::Local | Path::Held(_) | Path::Broken => Some(self.announcer.epoch),
        };
        if let Some(session) = self.sessions.find_mut(key) {
            session.outgoing.went(id, home, epoch.unwrap_or_default(), path);
        }
    }

    /// A signal came over the link from its sender's home.
    pub(crate) fn signal_came(&mut self, now: Moment, key: LinkKey, signal: Signal, out: &mut Outbox) {
        let Some(host) = self.links.find(key).map(|link| link.host) else { return };
        match self.doubt(now, key, signal.from, &signal.proof) {
            None => {}
            Some(Doubt::Foreign) => return self.misbehaved(now, key, Fault::ForeignSender, out),
            Some(Doubt::Refused(refusal)) => {
                let Signal { from, to, id, .. } = signal;
                let id = Arc::from(id.as_str());
                let outcome = Outcome::Refused(refusal);
                return self.answer(now, Finished { from, to, id, sender_home: host, outcome }, None, out);
            }
        }
        self.routes.insert(now, signal.from, host);
        let id = Arc::from(signal.id.as_str());
        self.arrive(now, host, signal, id, None, out);
    }

    /// A signal is at its target's home: into the target's queue, unless it has been here before. By way of others it
    /// came over the link `via`.
    fn arrive(
        &mut self,
        now: Moment,
        sender_home: HostId,
        signal: Signal,
        id: RequestId,
        via: Option<LinkKey>,
        out: &mut Outbox,
    ) {
        let turn = Turn { counter: signal.proof.counter(), session: signal.session, n: signal.n };
        let Signal { from, to, topic, data, .. } = signal;
        if let Some(earlier) = self.deliveries.came_again(from, &id, via)
            && !self.planted.has(Defect::SkipDedup)
        {
            let outcome = if earlier.to == to { earlier.outcome } else { Some(Outcome::Refused(Refusal::BadField)) };
            if let Some(outcome) = outcome {
                self.answer(now, Finished { from, to, id, sender_home, outcome }, via, out);
            }
            return;
        }
        let name = self.sessions.by_peer(to).zip(topic).and_then(|(key, topic)| self.sessions.name_for(key, topic));
        let taken = match self.sessions.by_peer(to).and_then(|key| self.sessions.find_mut(key)) {
            None => Err(Refusal::NoSuchPeer),
            Some(target) => {
                if target.takes(now, from, turn) || self.planted.has(Defect::IgnoreOrder) {
                    let bytes = SIGNAL_OVERHEAD_BYTES + data.len();
                    let id = id.clone();
                    let event = |seq| Event::Signal { seq, id, from, topic: name, data };
                    target.enqueue_signal(bytes, sender_home, event).map(|event| target.edge.zip(event))
                } else {
                    Err(Refusal::Overtaken)
                }
            }
        };
        match taken {
            Err(refusal) => {
                let outcome = Outcome::Refused(refusal);
                self.answer(now, Finished { from, to, id, sender_home, outcome }, via, out);
            }
            Ok(told) => {
                self.deliveries.insert(now, from, id.clone(), Delivery { to, outcome: None, via });
                if self.planted.has(Defect::DeliveredEarly) {
                    let outcome = Outcome::Delivered;
                    self.answer(now, Finished { from, to, id, sender_home, outcome }, via, out);
                }
                if let Some((edge, event)) = told {
                    out.tell(edge, event);
                }
            }
        }
    }

    /// An edge has everything up to `seq`.
    pub(crate) fn acknowledged(&mut self, now: Moment, key: SessionKey, seq: u64, out: &mut Outbox) {
        let Some(session) = self.sessions.find_mut(key) else { return };
        for finished in session.acknowledge(seq) {
            self.delivery_finished(now, finished, out);
        }
    }

    /// A signal has left its target's queue for good.
    pub(crate) fn delivery_finished(&mut self, now: Moment, finished: Finished, out: &mut Outbox) {
        let via = self.deliveries.finish(finished.from, &finished.id, finished.outcome);
        self.answer(now, finished, via, out);
    }

    /// The link for an answer to what came by way of others over the link `via`: that one, since it comes from whoever passes
    /// things on; unless there is a better one now.
    pub(super) fn way_back(&self, home: HostId, via: Option<LinkKey>) -> Option<LinkKey> {
        let is_sound = |link: &LinkKey| self.links.find(*link).is_some_and(Link::is_sound);
        let direct = self.links.to_host(home).filter(is_sound);
        via.filter(|via| direct.is_none() && is_sound(via))
    }

    /// Tells the sender's home what became of a signal that came by way of others over the link `via`, or from itself.
    fn answer(&mut self, now: Moment, finished: Finished, via: Option<LinkKey>, out: &mut Outbox) {
        let Finished { from, to, id, sender_home: home, outcome } = finished;
        if home == self.own {
            if let Some(session) = self.sessions.by_peer(from) {
                self.signal_ended(now, session, &id, outcome, out);
            }
            return;
        }
        let receipt = Receipt { from, to, id: id.to_string(), outcome };
        let via = self.way_back(home, via);
        // A receipt that finds no way is asked for again by the sender's home, or becomes `unknown` there.
        let _ = self.hand_over(now, home, via, lane(from, to), &Frame::Receipt(receipt), out);
    }

    /// A receipt came over the link from the target's home.
    pub(crate) fn receipt_came(&mut self, now: Moment, key: LinkKey, receipt: &Receipt, out: &mut Outbox) {
        if let Some(host) = self.links.find(key).map(|link| link.host) {
            self.receipt_from(now, host, receipt, out);
        }
    }

    fn receipt_from(&mut self, now: Moment, home: HostId, receipt: &Receipt, out: &mut Outbox) {
        let id = Arc::from(receipt.id.as_str());
        let Some(session) = self.sessions.by_peer(receipt.from) else { return };
        let sent = self.sessions.find(session).and_then(|session| session.outgoing.find(&id));
        let believed = self.planted.has(Defect::BelieveAnyReceipt);
        if sent.is_some_and(|sent| (sent.home == Some(home) || believed) && sent.to == receipt.to) {
            self.signal_ended(now, session, &id, receipt.outcome, out);
        }
    }

    /// A sealed frame came: for us, or to be passed on.
    pub(crate) fn routed_came(&mut self, now: Moment, key: LinkKey, mut routed: Routed, out: &mut Outbox) {
        let barred = [routed.from_home, routed.to_home].iter().any(|home| self.barred.why(*home).is_some());
        if routed.to_home == self.own && !barred {
            return self.open_routed(now, key, &routed, out);
        }
        routed.hops = routed.hops.saturating_add(1);
        // Not back to the host it came from, over another link no more than over this one: two cross now and then.
        let came_from = self.links.find(key).map(|link| link.host);
        let except = came_from.filter(|_| !self.planted.has(Defect::RouteBack));
        let next = self.way_to(routed.to_home, except).filter(|_| !barred);
        let bounce = |refusal| Bounce { from_home: routed.from_home, nonce: routed.nonce, refusal };
        let refused = match next {
            _ if routed.hops > HOPS_MAX => Some(bounce(Refusal::HomeUnreachable)),
            None => Some(bounce(Refusal::HomeUnreachable)),
            Some(next) => {
                let (lane, nonce) = (Channel::Lane(routed.lane % LANES), routed.nonce);
                let overloaded = bounce(Refusal::Overloaded);
                if self.send(next, lane, &Frame::Routed(routed), out) {
                    self.passed_on.insert(now, nonce, key, next);
                    None
                } else {
                    Some(overloaded)
                }
            }
        };
        if let Some(bounce) = refused {
            self.send(key, Channel::Lane(0), &Frame::Bounce(bounce), out);
        }
    }

    fn open_routed(&mut self, now: Moment, key: LinkKey, routed: &Routed, out: &mut Outbox) {
        let home = routed.from_home;
        let binding =
            Binding { tag: self.network.tag, from: (home, routed.from_epoch), to: (self.own, routed.to_epoch) };
        // An old epoch means an older life of ours, whose sessions are gone.
        let shared = self.shared_with(home).filter(|_| routed.to_epoch == self.announcer.epoch);
        let plain = shared.and_then(|shared| shared.open(&routed.nonce, &binding, &routed.sealed).ok());
        if plain.is_some() && !self.replays.is_first(now, home, routed.from_epoch, &routed.nonce) {
            // Played again by somebody on the way. No bounce: the first one may still be open.
            return out.note(Note::Misbehaved { host: home, fault: Fault::Replayed });
        }
        let frame = plain.as_deref().and_then(<[u8]>::split_first).map(|(kind, body)| Frame::decode(*kind, body));
        match frame {
            Some(Ok(Some(Frame::Signal(signal)))) if self.is_at_home(home, signal.from, &signal.proof) => {
                self.routes.insert(now, signal.from, home);
                let id = Arc::from(signal.id.as_str());
                self.arrive(now, home, signal, id, Some(key), out);
            }
            Some(Ok(Some(Frame::Receipt(receipt)))) => self.receipt_from(now, home, &receipt, out),
            Some(Ok(Some(Frame::Broadcast(broadcast)))) if self.is_at_home(home, broadcast.from, &broadcast.proof) => {
                self.broadcast_arrived(now, home, broadcast, Some(key), out);
            }
            Some(Ok(Some(Frame::Tally(tally)))) => self.tally_from(home, &tally, out),
            _ => {
                // Nobody on the way can be blamed for certain, so nobody is; the sender's home is told.
                out.note(Note::Misbehaved { host: home, fault: Fault::Unsealable });
                let bounce = Bounce { from_home: home, nonce: routed.nonce, refusal: Refusal::HomeUnreachable };
                self.send(key, Channel::Lane(0), &Frame::Bounce(bounce), out);
            }
        }
    }

    /// A host on the way could not pass a sealed frame on.
    pub(crate) fn bounce_came(&mut self, now: Moment, key: LinkKey, bounce: Bounce, out: &mut Outbox) {
        if bounce.from_home != self.own {
            // Back the way that the frame came, so that a bounce can neither be made up nor go in circles.
            if let Some(link) = self.passed_on.take(&bounce.nonce, key) {
                self.send(link, Channel::Lane(0), &Frame::Bounce(bounce), out);
            }
            return;
        }
        if let Some(went) = self.sealed.find(&bounce.nonce) {
            let path = Path::Routed(key, bounce.nonce);
            self.signal_bounced(now, &went, path, bounce.refusal, out);
            self.leg_bounced(now, &went, path, bounce.refusal, out);
        }
    }

    /// Signals that went over a link which is gone, or going, are sent again on another way, in their order; the
    /// target's home knows those that it already has. Those that find no way now wait for one until their deadline.
    pub(crate) fn reroute(&mut self, now: Moment, link: LinkKey, out: &mut Outbox) {
        self.send_again(now, |path| path.link() == Some(link), out);
        let open = self.open_legs(|path| path.link() == Some(link));
        self.legs_again(now, open, out);
    }

    /// A new link may be the way that broken signals wait for.
    pub(crate) fn send_broken(&mut self, now: Moment, out: &mut Outbox) {
        self.send_again(now, |path| path == Path::Broken, out);
        let open = self.open_legs(|path| path == Path::Broken);
        self.legs_again(now, open, out);
    }

    fn send_again(&mut self, now: Moment, which: impl Fn(Path) -> bool, out: &mut Outbox) {
        let open: Vec<(SessionKey, RequestId)> = self
            .sessions
            .iter()
            .flat_map(|(key, session)| session.outgoing.open_where(&which).into_iter().map(move |id| (key, id)))
            .collect();
        for (key, id) in &open {
            if let Some(session) = self.sessions.find_mut(*key) {
                session.outgoing.broke(id);
            }
        }
        if self.planted.has(Defect::DropOnLostLink) {
            for (key, id) in open {
                self.sessions.find_mut(key).map(|session| session.outgoing.finish(&id, Outcome::Unknown));
            }
            return;
        }
        for (key, id) in open {
            let sent = self.sessions.find(key).and_then(|session| session.outgoing.find(&id));
            let home = sent.and_then(|sent| self.directory.home(sent.to).or(sent.home));
            let link = home.and_then(|home| self.way_to(home, None));
            if link.is_some() || home == Some(self.own) {
                self.dispatch(now, key, id, out);
            }
        }
    }

    /// The oldest open signals and broadcasts have waited long enough.
    pub(crate) fn signals_timed_out(&mut self, now: Moment, out: &mut Outbox) {
        while let Some((session, id)) = self.deadlines.pop_due(now) {
            let sent = self.sessions.find(session).and_then(|session| session.outgoing.find(&id));
            // A signal that was tried again has a later deadline, further back in the queue.
            if sent.is_some_and(|sent| sent.until <= now) && !self.planted.has(Defect::NoTimeout) {
                self.signal_ended(now, session, &id, Outcome::Unknown, out);
            }
            self.broadcast_timed_out(now, session, &id, out);
        }
        if let Some(at) = self.deadlines.next() {
            self.timers.set(Timer::Signals, at);
        }
    }

    /// An open signal has its outcome; a late or second answer is dropped here.
    pub(super) fn signal_ended(
        &mut self,
        now: Moment,
        key: SessionKey,
        id: &RequestId,
        outcome: Outcome,
        out: &mut Outbox,
    ) {
        let Some(session) = self.sessions.find_mut(key) else { return };
        let sent = session.outgoing.find(id);
        let local = sent.is_some_and(|sent| sent.path == Path::Local);
        let outcome = match outcome {
            Outcome::Refused(refusal) if sent.is_some_and(|sent| sent.may_still_arrive(refusal)) => Outcome::Unknown,
            outcome => outcome,
        };
        let to = sent.map(|sent| sent.to);
        let routed = sent.filter(|sent| matches!(sent.path, Path::Routed(..)) && outcome == Outcome::Delivered);
        let took = routed.map(|sent| SIGNAL_TIMEOUT.saturating_sub(sent.until.since(now)));
        let ended = session.outgoing.finish(id, outcome);
        if let Some((to, took)) = to.zip(took).filter(|_| ended) {
            session.outgoing.took(to, took);
        }
        if ended || self.planted.has(Defect::AnswerTwice) {
            out.note(Note::SignalEnded { outcome, local });
            self.tell_receipt(key, id.clone(), outcome, out);
        }
        if let Some(to) = to.filter(|_| ended) {
            self.let_go(now, key, to, out);
        }
    }

    fn tell_receipt(&mut self, key: SessionKey, id: RequestId, outcome: Outcome, out: &mut Outbox) {
        self.tell_session(key, RECEIPT_BYTES, |seq| Event::Receipt { seq, id, outcome }, out);
    }
}

/// The lane that a pair always takes, so that its signals stay in order.
fn lane(from: PeerId, to: PeerId) -> u8 {
    let [from, ..] = from.as_bytes();
    let [to, ..] = to.as_bytes();
    from.wrapping_add(*to) % LANES
}
