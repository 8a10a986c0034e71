//! A pair that signals all the time over other hosts changes over to a direct link (PROTOCOL.md §7.2). Nothing may overtake
//! what is on the way, so new signals wait, for a short time, until that has its receipts.

use aldis_wire::id::PeerId;

use crate::relay::io::{Moment, Outbox, RequestId};
use crate::relay::limits::HOLD_AFTER;
use crate::relay::links::Link;
use crate::relay::sessions::SessionKey;
use crate::relay::signals::Path;
use crate::relay::state::State;
use crate::relay::timers::Timer;

impl State {
    /// Whether a new signal waits for a better path; if so, it is kept.
    pub(super) fn is_held_back(&mut self, now: Moment, key: SessionKey, id: &RequestId, out: &mut Outbox) -> bool {
        let Some(outgoing) = self.sessions.find(key).map(|session| &session.outgoing) else { return false };
        let Some(to) = outgoing.find(id).map(|sent| sent.to) else { return false };
        if !outgoing.holds(to) && !self.begins_hold(now, key, to) {
            return false;
        }
        if self.sessions.find_mut(key).is_some_and(|session| !session.outgoing.hold(to, id)) {
            self.end_hold(now, key, to, out);
        }
        true
    }

    fn begins_hold(&mut self, now: Moment, key: SessionKey, to: PeerId) -> bool {
        let pinned = self.sessions.find(key).and_then(|session| session.outgoing.pinned(to));
        let Some(Path::Routed(link, _)) = pinned else { return false };
        let is_here = self.sessions.by_peer(to).is_some();
        let home = self.directory.home(to).or_else(|| self.routes.find(now, to)).filter(|_| !is_here);
        let better = home.and_then(|home| self.links.to_host(home)).filter(|better| *better != link);
        let stands = |link: &Link| link.is_sound() && now.since(link.since) >= HOLD_AFTER;
        if !better.and_then(|better| self.links.find(better)).is_some_and(stands) {
            return false;
        }
        let session = self.sessions.find_mut(key);
        let Some(until) = session.and_then(|session| session.outgoing.begin_hold(now, to, link)) else { return false };
        self.holds.insert((until, key, to));
        self.timers.set_earlier(Timer::Holds, until);
        true
    }

    /// Sends what a pair holds if nothing of it is on the way any more.
    pub(super) fn let_go(&mut self, now: Moment, key: SessionKey, to: PeerId, out: &mut Outbox) {
        if self.sessions.find(key).is_some_and(|session| session.outgoing.may_go(to)) {
            self.end_hold(now, key, to, out);
        }
    }

    fn end_hold(&mut self, now: Moment, key: SessionKey, to: PeerId, out: &mut Outbox) {
        let Some(session) = self.sessions.find_mut(key) else { return };
        for id in session.outgoing.end_hold(now, to) {
            self.dispatch(now, key, id, out);
        }
    }

    /// Sends all that a session holds, before it ends.
    pub(super) fn end_holds(&mut self, now: Moment, key: SessionKey, out: &mut Outbox) {
        let held = self.sessions.find(key).map(|session| session.outgoing.held()).unwrap_or_default();
        for to in held {
            self.end_hold(now, key, to, out);
        }
    }

    /// Holds have lasted long enough: what they kept goes the way of those before.
    pub(crate) fn holds_over(&mut self, now: Moment, out: &mut Outbox) {
        while let Some((until, key, to)) = self.holds.first().copied() {
            if until > now {
                return self.timers.set(Timer::Holds, until);
            }
            self.holds.pop_first();
            if self.sessions.find(key).is_some_and(|session| session.outgoing.is_held_until(to, until)) {
                self.end_hold(now, key, to, out);
            }
        }
    }
}
