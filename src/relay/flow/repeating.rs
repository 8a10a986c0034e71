//! What went sealed, by way of others, and has no answer goes again by another way (PROTOCOL.md §7.2): a host on the way may
//! have dropped it, or the answer, and nobody else notices.

use aldis_wire::host::Channel;
use aldis_wire::id::HostId;

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
            if let Some(sent) = sent {
                if let (Path::Routed(link, went), Some(home)) = (sent.path, sent.home)
                    && went == nonce
                {
                    self.signals_overdue(now, key, &id, (home, link), out);
                }
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
                self.legs_overdue(now, key, (home, link), out);
            }
        }
        if let Some(at) = self.sealed.next_overdue() {
            self.timers.set_earlier(Timer::Overdue, at);
        }
    }

    /// There was no answer from a home by this link. Whether `bytes` may go there again by another one.
    fn may_repeat(&mut self, now: Moment, (home, link): (HostId, LinkKey), bytes: usize) -> bool {
        self.detours.missed(now, home, link);
        let other = self.way_to(home, None).filter(|way| *way != link).and_then(|way| self.links.find(way));
        other.is_some_and(|way| way.has_room(Channel::Lane(0), bytes))
            && self.repeats.take(now, REPEATS, u32::try_from(bytes).unwrap_or(u32::MAX)).is_ok()
    }

    /// All open signals of a pair go another way, in their order; the target's home knows those that it has.
    fn signals_overdue(
        &mut self,
        now: Moment,
        key: SessionKey,
        id: &RequestId,
        way: (HostId, LinkKey),
        out: &mut Outbox,
    ) {
        let Some(outgoing) = self.sessions.find(key).map(|session| &session.outgoing) else { return };
        let Some(to) = outgoing.find(id).map(|sent| sent.to) else { return };
        let open: Vec<RequestId> = outgoing.open_to(to);
        let bytes = open.iter().filter_map(|id| outgoing.find(id)).map(|sent| sent.data.len() + SEALED_BYTES).sum();
        if !self.may_repeat(now, way, bytes) {
            return;
        }
        if let Some(session) = self.sessions.find_mut(key) {
            open.iter().for_each(|id| session.outgoing.broke(id));
        }
        for id in open {
            self.dispatch(now, key, id, out);
        }
    }

    /// The same for all open parts for one host of a session's broadcasts.
    fn legs_overdue(&mut self, now: Moment, key: SessionKey, (home, link): (HostId, LinkKey), out: &mut Outbox) {
        let broadcasts = self.sessions.find(key).and_then(|session| session.broadcasts.as_ref());
        let Some(all) = broadcasts else { return };
        let open = all.open_where(|to, path| to == home && path.link() == Some(link));
        let bytes = open.iter().filter_map(|(id, _)| all.find(id)).map(|sent| sent.data.len() + SEALED_BYTES).sum();
        if self.may_repeat(now, (home, link), bytes) {
            let same = |of: SessionKey, to: HostId, path: Path| of == key && to == home && path.link() == Some(link);
            self.legs_again(now, same, out);
        }
    }
}

/// What a signal or broadcast weighs on the wire besides its data, at most: ids, proof, seal and headers.
const SEALED_BYTES: usize = 1_024;
