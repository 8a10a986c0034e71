//! A connection that gives way to another one says goodbye, and that word may come before the last one of the greeting on the
//! other (PROTOCOL.md §5.4): for that moment there is no link with the host, and nothing goes another way because of it.

use aldis_wire::id::HostId;

use crate::relay::io::{LinkKey, Moment, Outbox};
use crate::relay::limits::AWAITED_MAX;
use crate::relay::links::Phase;
use crate::relay::state::State;
use crate::relay::timers::Timer;

impl State {
    /// A connection gives way to another one with its host, which lacks only the other side's word: that has been sent, or
    /// the other side would not have chosen. True if so; then what has no way to the host waits for it.
    pub(super) fn awaits_admission(&mut self, now: Moment, key: LinkKey) -> bool {
        let Some(link) = self.links.find(key) else { return false };
        let (host, address) = (link.host, link.address);
        let verified = |phase: Phase| matches!(phase, Phase::Greeting { verified: true, .. });
        let comes = self.links.iter().any(|(_, link)| link.host == host && verified(link.phase));
        let awaits = comes && !self.links.admitted().any(|(other, link)| other != key && link.host == host);
        if awaits {
            self.awaited.insert(host, address);
            self.timers.set(Timer::Awaited(host), now + AWAITED_MAX);
        }
        awaits
    }

    /// Whether a link with a host is about to be there.
    pub(crate) fn is_awaited(&self, host: HostId) -> bool {
        self.awaited.contains_key(&host)
    }

    /// The link that was awaited is there.
    pub(super) fn has_come(&mut self, host: HostId) {
        if self.awaited.remove(&host).is_some() {
            self.timers.cancel(Timer::Awaited(host));
        }
    }

    /// The link that was awaited does not come: what waits for it takes another way, and the host is dialled.
    pub(crate) fn awaited_in_vain(&mut self, now: Moment, host: HostId, out: &mut Outbox) {
        let Some(address) = self.awaited.get(&host).copied() else { return };
        self.has_come(host);
        if self.links.to_host(host).is_none() {
            self.discovery.link_lost(now, host, address, true);
            self.timers.set_earlier(Timer::Discovery, now);
            self.look_whom_to_meet(now);
        }
        self.send_broken(now, out);
    }
}
