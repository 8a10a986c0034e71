//! What went sealed, by way of others, and has no answer goes again by another way (PROTOCOL.md §7.2): a host on the way may
//! have dropped it, or the answer, and nobody else notices.

use aldis_wire::host::{Channel, Outcome};
use aldis_wire::id::HostId;
use aldis_wire::refusal::Refusal;

use crate::relay::io::{LinkKey, Moment, Outbox, RequestId};
use crate::relay::limits::{REPEATS, WAY_PATIENCE};
use crate::relay::sessions::SessionKey;
use crate::relay::signals::{Path, Went};
use crate::relay::state::State;
use crate::relay::timers::Timer;

impl State {
    /// A signal, or one host's part of a broadcast, goes sealed under this nonce.
    pub(super) fn went_sealed(&mut self, now: Moment, nonce: [u8; 24], went: Went) {
        self.sealed.insert(now, nonce, went);
        self.timers.set_earlier(Timer::Overdue, now + WAY_PATIENCE);
    }

    /// Some sealed frames should have had their answers by now.
    pub(crate) fn look_at_overdue(&mut self, now: Moment, out: &mut Outbox) {
        while let Some((nonce, Went { session: key, id, home })) = self.sealed.take_overdue(now) {
            let session = self.sessions.find(key);
            let by = |path: Path| path.link().filter(|link| path == Path::Routed(*link, nonce));
            let sent = session.and_then(|session| session.outgoing.find(&id)).filter(|sent| sent.outcome.is_none());
            // A broadcast may have the same id.
            if let Some(link) = sent.and_then(|sent| by(sent.path)) {
                self.signals_again(now, key, &id, (home, link), false, out);
                continue;
            }
            let broadcasts = session.and_then(|session| session.broadcasts.as_ref());
            let leg = broadcasts.and_then(|all| all.find(&id)?.leg(home));
            // Once: tallies come at once, whatever members do, and copies for many hosts are much.
            if let Some(link) = leg.filter(|leg| !leg.doubtful).and_then(|leg| by(leg.path)) {
                self.legs_again_by_another(now, key, (home, link), None, out);
            }
        }
        if let Some(at) = self.sealed.next_overdue() {
            self.timers.set_earlier(Timer::Overdue, at);
        }
    }

    /// A host on the way could not pass a sealed signal on, or says so. It goes again if there is a way that was not tried;
    /// what may have arrived on an earlier one waits for its receipt; otherwise it is refused.
    pub(super) fn signal_bounced(&mut self, now: Moment, went: &Went, path: Path, refusal: Refusal, out: &mut Outbox) {
        let Went { session: key, ref id, home } = *went;
        let (Some(session), Path::Routed(link, nonce)) = (self.sessions.find_mut(key), path) else { return };
        let Some(sent) = session.outgoing.find(id) else { return };
        let over = if sent.path == path {
            let doubtful = sent.is_doubtful();
            session.outgoing.came_back(id);
            !self.signals_again(now, key, id, (home, link), true, out) && !doubtful
        } else {
            session.outgoing.copy_came_back(id, link, nonce)
        };
        if over {
            self.signal_ended(now, key, id, Outcome::Refused(refusal), out);
        }
    }

    /// What went to a home by this link had no answer, or came back: blames the neighbour, and pays for `bytes` that go again by
    /// another one. False if they must not: there is none, or no room, or the budget is used up; or only one that was blamed
    /// lately itself, which is no way for what `came_back`, or it would go round and round.
    fn turn_from(&mut self, now: Moment, way: (HostId, LinkKey), bytes: usize, came_back: bool) -> bool {
        let (home, link) = way;
        let Some(neighbour) = self.links.find(link).map(|link| link.host) else { return false };
        let is_round = self.detours.missed(now, home, neighbour);
        let other = self.way_to(home, None).and_then(|way| self.links.find(way));
        let other = other.filter(|other| other.host != neighbour && other.has_room(Channel::Lane(0), bytes));
        let Some(other) = other.map(|other| other.host) else { return false };
        if came_back && (is_round || self.detours.place(home, other) > 0) {
            return false;
        }
        // More than may go at once would be had for the price of that.
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        bytes <= REPEATS.burst && self.repeats.take(now, REPEATS, bytes).is_ok()
    }

    /// All open signals of a pair go another way, in their order, if there is one; the target's home knows those that it has.
    fn signals_again(
        &mut self,
        now: Moment,
        key: SessionKey,
        id: &RequestId,
        way: (HostId, LinkKey),
        came_back: bool,
        out: &mut Outbox,
    ) -> bool {
        let Some(outgoing) = self.sessions.find(key).map(|session| &session.outgoing) else { return false };
        let Some(to) = outgoing.find(id).map(|sent| sent.to) else { return false };
        let open: Vec<RequestId> = outgoing.open_to(to);
        let bytes = open.iter().filter_map(|id| outgoing.find(id)).map(|sent| sent.data.len() + SEALED_BYTES).sum();
        if !self.turn_from(now, way, bytes, came_back) {
            return false;
        }
        if let Some(session) = self.sessions.find_mut(key) {
            open.iter().for_each(|id| session.outgoing.broke(id));
        }
        for id in open {
            self.dispatch(now, key, id, out);
        }
        true
    }

    /// The same for all open parts for one host of a session's broadcasts, of which one may have come `back`.
    pub(super) fn legs_again_by_another(
        &mut self,
        now: Moment,
        key: SessionKey,
        way: (HostId, LinkKey),
        back: Option<&RequestId>,
        out: &mut Outbox,
    ) -> bool {
        let (home, link) = way;
        let Some(all) = self.sessions.find(key).and_then(|session| session.broadcasts.as_ref()) else { return false };
        let open = all.open_by(home, link);
        let bytes = open.iter().filter_map(|id| all.find(id)).map(|sent| sent.data.len() + SEALED_BYTES).sum();
        let again = self.turn_from(now, way, bytes, back.is_some());
        let session = self.sessions.find_mut(key);
        if let Some((id, broadcasts)) = back.zip(session.and_then(|session| session.broadcasts.as_mut())) {
            broadcasts.came_back(id, home);
        }
        if !again {
            return false;
        }
        self.legs_again(now, open.into_iter().map(|id| (key, id, home)).collect(), out);
        true
    }
}

/// What a signal or broadcast weighs on the wire besides its data, at most: ids, proof, seal and headers.
const SEALED_BYTES: usize = 1_024;
