//! Hosts to which a direct link is wanted, because signals go to them by way of others.

use std::collections::BTreeMap;

use aldis_wire::id::HostId;

use crate::relay::io::Moment;
use crate::relay::limits::{WANTED_AFTER, WANTED_FOR, WANTED_MAX};

/// Until when each is wanted, and how many frames went there by others; bounded.
#[derive(Debug, Default)]
pub(crate) struct Wanted(BTreeMap<HostId, (Moment, u32)>);

impl Wanted {
    /// A frame goes to this host by others. Whether that may be a reason to dial.
    pub(crate) fn note(&mut self, now: Moment, host: HostId) -> bool {
        let (until, frames) = self.0.entry(host).or_insert((now, 0));
        *frames = frames.saturating_add(1);
        let frames = *frames;
        if frames == 1 || frames >= WANTED_AFTER {
            *until = now + WANTED_FOR;
        }
        if self.0.len() > WANTED_MAX
            && let Some(first) = self.0.iter().min_by_key(|(_, (until, _))| *until).map(|(host, _)| *host)
        {
            self.0.remove(&first);
        }
        frames == 1 || frames == WANTED_AFTER
    }

    /// Whether a direct link to this host is wanted.
    pub(crate) fn has(&self, now: Moment, host: HostId) -> bool {
        self.0.get(&host).is_some_and(|(until, frames)| *until > now && *frames >= WANTED_AFTER)
    }

    /// All of them.
    pub(crate) fn iter(&self, now: Moment) -> impl Iterator<Item = HostId> {
        self.0.keys().copied().filter(move |host| self.has(now, *host))
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn forget(&mut self, now: Moment) {
        self.0.retain(|_, (until, _)| *until > now);
    }
}
