//! Origins of which nothing is known here yet: who may bring how many (PROTOCOL.md §6.1).

use aldis_wire::id::HostId;

use crate::relay::io::{LinkKey, Moment};
use crate::relay::limits::{FREE_SHARE, NEW_ORIGINS_PER_LINK, ORIGINS_LINKED, ORIGINS_MAX};
use crate::relay::state::State;

impl State {
    /// Whether there is a place for an origin of which a link brings the first head. Asked before the head's signature is
    /// checked, which costs more than to invent a host.
    pub(crate) fn may_introduce(&mut self, now: Moment, link: LinkKey, origin: HostId) -> bool {
        let Some(host) = self.links.find(link).map(|link| link.host) else { return false };
        let itself = host == origin;
        if !(itself || self.has_share(link)) {
            return false;
        }
        if !itself && self.introductions.entry(host).or_default().take(now, NEW_ORIGINS_PER_LINK, 1).is_err() {
            return false;
        }
        let places = if itself { ORIGINS_MAX } else { ORIGINS_MAX - ORIGINS_LINKED };
        self.origins.len() < places || self.give_up_expired(now)
    }

    /// Whether a link leads to fewer origins than its share of what is free. Those that have expired leave their places.
    fn has_share(&self, link: LinkKey) -> bool {
        if self.origins.len() <= ORIGINS_MAX / (FREE_SHARE + 1) {
            // Even if it led to all of them; so that smaller networks cost no walk.
            return true;
        }
        let (mut live, mut led) = (0, 0);
        for (_, origin) in self.origins.iter() {
            live += usize::from(origin.expired.is_none());
            led += usize::from(origin.next_hop == Some(link));
        }
        led < ORIGINS_MAX.saturating_sub(live) / FREE_SHARE
    }

    /// The roster that expired longest ago is forgotten, but for its mark. False if none has expired.
    pub(crate) fn give_up_expired(&mut self, now: Moment) -> bool {
        let expired = self.origins.iter().filter_map(|(host, origin)| Some((origin.expired?, host)));
        let Some((_, oldest)) = expired.min() else { return false };
        self.forget_host(now, oldest);
        true
    }
}
