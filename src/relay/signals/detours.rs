//! Ways on which something sealed had no answer (PROTOCOL.md §7.2), so that the next frames to that home take another.

use std::collections::BTreeMap;

use aldis_wire::id::HostId;

use crate::relay::io::{LinkKey, Moment};
use crate::relay::limits::{DETOUR, DETOUR_LINKS_MAX, DETOURS_MAX};

/// By home, the links that are passed over on the way there, as long as there are others.
#[derive(Debug, Default)]
pub(crate) struct Detours(BTreeMap<HostId, Detour>);

#[derive(Debug)]
struct Detour {
    until: Moment,
    /// Those without an answer, the newest last.
    links: Vec<LinkKey>,
}

impl Detours {
    /// What went to this home over this link had no answer in time.
    pub(crate) fn missed(&mut self, now: Moment, home: HostId, link: LinkKey) {
        let detour = self.0.entry(home).or_insert(Detour { until: now, links: Vec::new() });
        detour.until = now + DETOUR;
        detour.links.retain(|known| *known != link);
        if detour.links.len() >= DETOUR_LINKS_MAX {
            detour.links.remove(0);
        }
        detour.links.push(link);
        if self.0.len() > DETOURS_MAX
            && let Some(first) = self.0.iter().min_by_key(|(_, detour)| detour.until).map(|(home, _)| *home)
        {
            self.0.remove(&first);
        }
    }

    /// The links to pass over, the oldest first.
    #[must_use]
    pub(crate) fn of(&self, home: HostId) -> &[LinkKey] {
        self.0.get(&home).map_or(&[], |detour| &detour.links)
    }

    /// How many homes there are.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Forgets what is too old.
    pub(crate) fn tidy(&mut self, now: Moment) {
        self.0.retain(|_, detour| detour.until > now);
    }
}
