//! Where hosts are: how long frames take between them, and their addresses.
//!
//! Round-trip times as they are measured between the regions of large data centres, in milliseconds, and for each host
//! its own way to the region: 2.5 to 15 ms. So near hosts are 5 to 30 ms from each other, far ones up to some 300.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::chance::Chance;
use crate::queue::{At, MS};

/// A host, by its place in the list.
pub type Place = usize;

/// Ireland, Frankfurt, Virginia, Oregon, São Paulo, Mumbai, Singapore, Tokyo.
const REGIONS: usize = 8;
/// Round trips between them, in ms.
const ROUND_TRIPS: [[u64; REGIONS]; REGIONS] = [
    [0, 22, 68, 118, 176, 122, 174, 200],
    [22, 0, 90, 140, 200, 112, 160, 224],
    [68, 90, 0, 62, 114, 190, 214, 146],
    [118, 140, 62, 0, 176, 216, 162, 98],
    [176, 200, 114, 176, 0, 270, 270, 256],
    [122, 112, 190, 216, 270, 0, 56, 122],
    [174, 160, 214, 162, 270, 56, 0, 68],
    [200, 224, 146, 98, 256, 122, 68, 0],
];

/// Where each host is.
#[derive(Debug, Default)]
pub struct Map {
    hosts: Vec<(usize, At)>,
}

impl Map {
    /// So many hosts, spread by chance.
    #[must_use]
    pub fn new(hosts: usize, chance: &mut Chance) -> Self {
        let host = |_| (chance.index(REGIONS), 5 * MS / 2 + chance.below(25 * MS / 2));
        Self { hosts: (0..hosts).map(host).collect() }
    }

    /// How long a frame takes from one host to another when nothing is in its way.
    #[must_use]
    pub fn one_way(&self, a: Place, b: Place) -> At {
        let ((region_a, way_a), (region_b, way_b)) = (self.hosts[a], self.hosts[b]);
        (ROUND_TRIPS[region_a][region_b] * MS + way_a + way_b) / 2
    }
}

/// The address of a host: each in a network of its own.
#[must_use]
pub fn address(place: Place) -> SocketAddr {
    let [high, low] = u16::try_from(place).expect("at most 4,096 hosts").to_be_bytes();
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(50 + high, low, 1, 1)), 47_474)
}

/// The host that has this address, if it is one of `hosts`.
#[must_use]
pub fn place(address: SocketAddr, hosts: usize) -> Option<Place> {
    let IpAddr::V4(ip) = address.ip() else { return None };
    let [a, low, 1, 1] = ip.octets() else { return None };
    let place = usize::from(a.checked_sub(50)?) << 8 | usize::from(low);
    (place < hosts && address.port() == 47_474).then_some(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_leads_back_to_its_host() {
        for host in [0, 1, 255, 256, 3_000] {
            assert_eq!(place(address(host), 3_001), Some(host));
        }
        assert_eq!(place(address(3_001), 3_001), None);
    }

    #[test]
    fn near_and_far_hosts_are_as_far_as_the_figures_say() {
        let map = Map::new(500, &mut Chance::new(1, 1));
        let pairs = (0..500).flat_map(|a| (0..a).map(move |b| (a, b)));
        let (near, far) = pairs.fold((At::MAX, 0), |(near, far), (a, b)| {
            let round_trip = 2 * map.one_way(a, b);
            (near.min(round_trip), far.max(round_trip))
        });
        assert!((5 * MS..10 * MS).contains(&near), "{near}");
        assert!((270 * MS..=300 * MS).contains(&far), "{far}");
    }
}
