//! Dials under way: how many there may be of each kind, and whose turn it is when a host has several addresses.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use aldis_wire::id::HostId;

use super::places::{Key, Standing};
use crate::relay::io::{DialKey, Moment};
use crate::relay::limits::{DIALS_KNOWN_MAX, DIALS_LAN_MAX, DIALS_MAX, DIALS_SEED_MAX, SECOND_FAMILY_AFTER};

/// A dial under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dial {
    pub(crate) key: Key,
    pub(crate) standing: Standing,
    /// Whether it is made to see how near the other side is.
    pub(crate) probe: bool,
    /// Whether it goes to a host that is missed. Neither counts for the links that are wanted.
    pub(crate) missed: bool,
    pub(crate) began: Moment,
}

/// A dial that ended in a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dialled {
    /// Whether it was made to see how near the other side is.
    pub(crate) probe: bool,
    /// Whether a common neighbour has introduced the other side.
    pub(crate) punch: bool,
}

/// All dials under way.
#[derive(Debug, Default)]
pub(crate) struct Dials {
    map: BTreeMap<DialKey, Dial>,
    last: u64,
}

impl Dials {
    pub(crate) fn len(&self) -> usize {
        self.map.len()
    }

    pub(crate) fn begin(&mut self, dial: Dial) -> DialKey {
        self.last += 1;
        let key = DialKey(self.last);
        self.map.insert(key, dial);
        key
    }

    pub(crate) fn end(&mut self, key: DialKey) -> Option<Dial> {
        self.map.remove(&key)
    }

    /// Whether one goes to this address.
    pub(crate) fn lead_to(&self, address: SocketAddr) -> bool {
        self.map.values().any(|dial| dial.key.0 == address)
    }

    /// How many there are because links are wanted.
    pub(crate) fn for_links(&self) -> usize {
        self.map.values().filter(|dial| !dial.probe && !dial.missed).count()
    }

    /// Whether there may be another one of this kind.
    pub(crate) fn has_slot(&self, standing: Standing) -> bool {
        let most = match standing {
            Standing::Static | Standing::Introduced => return true,
            Standing::Known => DIALS_KNOWN_MAX,
            Standing::Seed => DIALS_SEED_MAX,
            Standing::Lan => DIALS_LAN_MAX,
            Standing::Stranger => DIALS_MAX,
        };
        self.map.values().filter(|dial| dial.standing == standing).count() < most
    }

    /// From when on another address of a host may be dialled: one dial for each family at a time, IPv4 a little after
    /// IPv6, so that a path that is broken costs no time and one that works is not taken twice (RFC 8305). `None` while
    /// one of the same family is under way.
    pub(crate) fn turn(&self, host: HostId, address: SocketAddr) -> Option<Moment> {
        let mut turn = Moment::default();
        for dial in self.map.values().filter(|dial| dial.key.1 == Some(host)) {
            if dial.key.0.is_ipv4() == address.is_ipv4() {
                return None;
            }
            if address.is_ipv4() {
                turn = turn.max(dial.began + SECOND_FAMILY_AFTER);
            }
        }
        Some(turn)
    }
}
