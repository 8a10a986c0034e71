//! What went sealed, by way of others, and has no answer goes again by another way (PROTOCOL.md §7.2): a host on the way may
//! have dropped it, or the answer, and nobody else notices.

use aldis_wire::host::{Channel, Outcome};
use aldis_wire::id::HostId;
use aldis_wire::refusal::Refusal;

use crate::relay::io::{LinkKey, Moment, Outbox, RequestId};
use crate::relay::limits::{REPEATS, WAY_PATIENCE};
use crate::relay::sessions::SessionKey;
use crate::relay::signals::Path;
use crate::relay::state::State;
use crate::relay::timers::Timer;

impl State {
    /// A signal, or one host's part of a broadcast, of a session goes sealed under this nonce.
    pub(super) fn went_sealed(&mut self, now: Moment, nonce: [u8; 24], key: SessionKey, id: &RequestId) {
        self.sealed.insert(now, nonce, key, id.clone());
        self.timers.set_earlier(Timer::Overdue, now + WAY_PATIENCE);
    }

    /// Some sealed frames should have had their answers by now.
    pub(crate) fn look_at_overdue(&mut self, now: Moment, out: &mut Outbox) {
        while let Some((nonce, key, id)) = self.sealed.take_overdue(now) {
            let session = self.sessions.find(key);
            let sent = session.and_then(|session| session.outgoing.find(&id)).filter(|sent| sent.outcome.is_none());
            // A broadcast may have the same id.
            if let Some((Path::Routed(link, went), Some(home))) = sent.map(|sent| (sent.path, sent.home))
                && went == nonce
            {
                self.signals_again(now, key, &id, (home, link), false, out);
                continue;
            }
            let broadcasts = session.and_then(|session| session.broadcasts.as_ref());
            let leg = broadcasts.and_then(|all| {
                all.find(&id)?.open_legs().find_map(|leg| match leg.path {
                    // Once: tallies come at once, whatever members do, and copies for many hosts are much.
                    Path::Routed(link, went) if went == nonce && !leg.doubtful => Some((leg.home, link)),
                    _ => None,
                })
            });
            if let Some((home, link)) = leg {
                self.legs_again_by_another(now, key, (home, link), None, out);
            }
        }
        if let Some(at) = self.sealed.next_overdue() {
            self.timers.set_earlier(Timer::Overdue, at);
        }
    }

    /// A host on the way could not pass a sealed signal on, or says so. It goes again if there is a way that was not tried;
    /// what may have arrived on an earlier one waits for its receipt; otherwise it is refused.
    pub(super) fn signal_bounced(
        &mut self,
        now: Moment,
        key: SessionKey,
        id: &RequestId,
        refusal: Refusal,
        out: &mut Outbox,
    ) {
        let Some(session) = self.sessions.find_mut(key) else { return };
        let Some(sent) = session.outgoing.find(id) else { return };
        let (Some(home), Some(link)) = (sent.home, sent.path.link()) else { return };
        let doubtful = sent.doubtful;
        session.outgoing.came_back(id);
        if !self.signals_again(now, key, id, (home, link), true, out) && !doubtful {
            self.signal_ended(now, key, id, Outcome::Refused(refusal), out);
        }
    }

    /// There was no answer from a home by this link. Whether `bytes` may go there again by another one, `untried` if only one
    /// will do that was not without an answer lately.
    fn may_repeat(&mut self, now: Moment, way: (HostId, LinkKey), bytes: usize, untried: bool) -> bool {
        let (home, link) = way;
        let Some(neighbour) = self.links.find(link).map(|link| link.host) else { return false };
        self.detours.missed(now, home, neighbour);
        let other = self.way_to(home, None).and_then(|way| self.links.find(way));
        let other = other.filter(|other| other.host != neighbour && other.has_room(Channel::Lane(0), bytes));
        other.is_some_and(|other| !untried || self.detours.place(home, other.host) == 0)
            && self.repeats.take(now, REPEATS, u32::try_from(bytes).unwrap_or(u32::MAX)).is_ok()
    }

    /// All open signals of a pair go another way, in their order, if there is one; the target's home knows those that it has.
    fn signals_again(
        &mut self,
        now: Moment,
        key: SessionKey,
        id: &RequestId,
        way: (HostId, LinkKey),
        untried: bool,
        out: &mut Outbox,
    ) -> bool {
        let Some(outgoing) = self.sessions.find(key).map(|session| &session.outgoing) else { return false };
        let Some(to) = outgoing.find(id).map(|sent| sent.to) else { return false };
        let open: Vec<RequestId> = outgoing.open_to(to);
        let bytes = open.iter().filter_map(|id| outgoing.find(id)).map(|sent| sent.data.len() + SEALED_BYTES).sum();
        if !self.may_repeat(now, way, bytes, untried) {
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
        let open = all.open_where(|to, path| to == home && path.link() == Some(link));
        let bytes = open.iter().filter_map(|(id, _)| all.find(id)).map(|sent| sent.data.len() + SEALED_BYTES).sum();
        let again = self.may_repeat(now, way, bytes, back.is_some());
        let session = self.sessions.find_mut(key);
        if let Some((id, broadcasts)) = back.zip(session.and_then(|session| session.broadcasts.as_mut())) {
            broadcasts.came_back(id, home);
        }
        if !again {
            return false;
        }
        self.legs_again(now, open.into_iter().map(|(id, home)| (key, id, home)).collect(), out);
        true
    }
}

/// What a signal or broadcast weighs on the wire besides its data, at most: ids, proof, seal and headers.
const SEALED_BYTES: usize = 1_024;
