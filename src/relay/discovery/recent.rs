//! What was dialled lately, so that no hint makes us knock at one door, or in one street, again and again.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::relay::io::{HintSource, Moment};
use crate::relay::limits::{DIAL_AGAIN, DIALS_REMEMBERED_MAX, RECORD_AGAIN};
use crate::relay::scope::Site;

/// The last dial to each address and site; bounded.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    addresses: BTreeMap<SocketAddr, Moment>,
    sites: BTreeMap<Site, Moment>,
}

impl Recent {
    /// When a hint of a stranger may make us dial this address.
    pub(crate) fn when(&self, now: Moment, address: SocketAddr, source: HintSource) -> Moment {
        if self.addresses.len() >= DIALS_REMEMBERED_MAX || self.sites.len() >= DIALS_REMEMBERED_MAX {
            return now + DIAL_AGAIN;
        }
        let again = if source == HintSource::Record { RECORD_AGAIN } else { DIAL_AGAIN };
        let by_address = self.addresses.get(&address).map_or(Moment::default(), |last| *last + again);
        let by_site = self.sites.get(&Site::of(address)).map_or(Moment::default(), |last| *last + DIAL_AGAIN);
        by_address.max(by_site)
    }

    /// The same for an address in our own neighbourhood, which counts by itself.
    pub(crate) fn address_when(&self, now: Moment, address: SocketAddr) -> Moment {
        if self.addresses.len() >= DIALS_REMEMBERED_MAX {
            return now + DIAL_AGAIN;
        }
        self.addresses.get(&address).map_or(Moment::default(), |last| *last + DIAL_AGAIN)
    }

    /// Remembers a dial. One that a stranger's hint did not cause does not count for its site: a host of ours that is
    /// down must not hide its neighbours.
    pub(crate) fn dialled(&mut self, now: Moment, address: SocketAddr, stranger: bool) {
        if self.addresses.len() < DIALS_REMEMBERED_MAX {
            self.addresses.insert(address, now);
        }
        if stranger && self.sites.len() < DIALS_REMEMBERED_MAX {
            self.sites.insert(Site::of(address), now);
        }
    }

    /// Forgets what is too long ago to matter.
    pub(crate) fn forget(&mut self, now: Moment) {
        self.addresses.retain(|_, last| *last + RECORD_AGAIN > now);
        self.sites.retain(|_, last| *last + DIAL_AGAIN > now);
    }
}
