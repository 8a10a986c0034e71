//! How far an address reaches. What strangers say is never a reason to send into somebody's own network, to many at
//! once, or to a port below 1024 (IANA special-purpose address registries).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

/// Ports below belong to services of the operating system; no host of ours listens there.
const PORT_MIN: u16 = 1_024;

/// IPv4 ranges that are of no use in the public internet, as (first address, prefix length).
const V4_NEVER: [(Ipv4Addr, u32); 9] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),       // "this network", unspecified
    (Ipv4Addr::new(192, 0, 0, 0), 24),    // protocol assignments
    (Ipv4Addr::new(192, 0, 2, 0), 24),    // documentation
    (Ipv4Addr::new(192, 88, 99, 0), 24),  // 6to4 relays
    (Ipv4Addr::new(198, 18, 0, 0), 15),   // benchmarks
    (Ipv4Addr::new(198, 51, 100, 0), 24), // documentation
    (Ipv4Addr::new(203, 0, 113, 0), 24),  // documentation
    (Ipv4Addr::new(224, 0, 0, 0), 4),     // multicast
    (Ipv4Addr::new(240, 0, 0, 0), 4),     // reserved, broadcast
];
/// IPv4 ranges that mean somebody's own network.
const V4_PRIVATE: [(Ipv4Addr, u32); 6] = [
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),  // behind a provider's NAT
    (Ipv4Addr::new(127, 0, 0, 0), 8),    // loopback
    (Ipv4Addr::new(169, 254, 0, 0), 16), // link-local
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
];
/// The only IPv6 range that is handed out for the public internet.
const V6_GLOBAL: (Ipv6Addr, u32) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);
/// What of it is not.
const V6_NEVER: [(Ipv6Addr, u32); 4] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23), // protocol assignments: Teredo, benchmarks, ORCHID
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32), // documentation
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16), // 6to4; what it wraps is judged instead
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20), // documentation
];
/// IPv6 ranges that mean somebody's own network.
const V6_PRIVATE: [(Ipv6Addr, u32); 3] = [
    (Ipv6Addr::LOCALHOST, 128),
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7),  // unique local
    (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10), // link-local
];

/// How far an address reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// In the public internet.
    Global,
    /// In somebody's own network: loopback, private, link-local, behind a provider's NAT.
    Private,
    /// Nowhere that a single host could be, or a port that no host of ours has.
    Never,
}

/// The address that is meant, whatever it is wrapped in: IPv4-mapped (RFC 4291), NAT64 (RFC 6052), 6to4 (RFC 3056).
/// Must come before every other judgement.
pub(crate) fn normalised(address: SocketAddr) -> SocketAddr {
    let SocketAddr::V6(v6) = address else { return address };
    let v4 = match v6.ip().octets() {
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d] => Ipv4Addr::new(a, b, c, d),
        [0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0, a, b, c, d] => Ipv4Addr::new(a, b, c, d),
        [0x20, 0x02, a, b, c, d, ..] => Ipv4Addr::new(a, b, c, d),
        _ => return SocketAddr::V6(SocketAddrV6::new(*v6.ip(), v6.port(), 0, v6.scope_id())),
    };
    SocketAddr::from((v4, v6.port()))
}

/// Judges a normalised address.
pub(crate) fn scope(address: SocketAddr) -> Scope {
    if address.port() < PORT_MIN {
        return Scope::Never;
    }
    match address.ip() {
        IpAddr::V4(ip) if V4_NEVER.iter().any(|range| in_v4(ip, *range)) => Scope::Never,
        IpAddr::V4(ip) if V4_PRIVATE.iter().any(|range| in_v4(ip, *range)) => Scope::Private,
        IpAddr::V4(_) => Scope::Global,
        IpAddr::V6(ip) if V6_PRIVATE.iter().any(|range| in_v6(ip, *range)) => Scope::Private,
        IpAddr::V6(ip) if !in_v6(ip, V6_GLOBAL) || V6_NEVER.iter().any(|range| in_v6(ip, *range)) => Scope::Never,
        IpAddr::V6(_) => Scope::Global,
    }
}

/// Whether others may be told of a normalised address, or be sent there: one of the public internet, or of a network
/// that the operator has to himself.
pub(crate) fn usable(address: SocketAddr, private_addresses: bool) -> bool {
    match scope(address) {
        Scope::Global => true,
        Scope::Private => private_addresses,
        Scope::Never => false,
    }
}

/// Whether an address may be that of a neighbour on a link of this machine: not its own loopback, and if it is
/// link-local, with the link named.
pub(crate) fn on_own_link(address: SocketAddr) -> bool {
    match address {
        SocketAddr::V4(v4) => !v4.ip().is_loopback(),
        SocketAddr::V6(v6) => !v6.ip().is_loopback() && (v6.scope_id() != 0 || !v6.ip().is_unicast_link_local()),
    }
}

/// Whether an address means the network of somebody's home: those behind one router reach each other there.
pub(crate) fn is_inside(address: SocketAddr) -> bool {
    let address = normalised(address);
    scope(address) == Scope::Private && !address.ip().is_loopback()
}

/// Whether a host's gateway may be looked for at this address: it is global, or `private` ones are allowed here.
#[must_use]
pub fn may_be_tried(ip: IpAddr, private: bool) -> bool {
    usable(normalised(SocketAddr::new(ip, PORT_MIN)), private)
}

/// What shares an allowance of dials: an IPv4 /24, an IPv6 /48.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Site {
    V4([u8; 3]),
    V6([u8; 6]),
}

impl Site {
    /// The site of a normalised address.
    pub(crate) fn of(address: SocketAddr) -> Self {
        match address.ip() {
            IpAddr::V4(ip) => {
                let [a, b, c, _] = ip.octets();
                Self::V4([a, b, c])
            }
            IpAddr::V6(ip) => {
                let [a, b, c, d, e, f, ..] = ip.octets();
                Self::V6([a, b, c, d, e, f])
            }
        }
    }
}

/// Whether two addresses share a large network: an IPv4 /16, an IPv6 /32. Those break together.
pub(crate) fn near_by(one: IpAddr, other: SocketAddr) -> bool {
    match (normalised(SocketAddr::new(one, 0)).ip(), normalised(other).ip()) {
        (IpAddr::V4(one), IpAddr::V4(other)) => in_v4(one, (other, 16)),
        (IpAddr::V6(one), IpAddr::V6(other)) => in_v6(one, (other, 32)),
        _ => false,
    }
}

fn in_v4(ip: Ipv4Addr, (first, length): (Ipv4Addr, u32)) -> bool {
    (ip.to_bits() ^ first.to_bits()).leading_zeros() >= length
}

fn in_v6(ip: Ipv6Addr, (first, length): (Ipv6Addr, u32)) -> bool {
    (ip.to_bits() ^ first.to_bits()).leading_zeros() >= length
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(text: &str) -> Scope {
        scope(normalised(text.parse().unwrap()))
    }

    #[test]
    fn public_addresses_are_global() {
        for text in ["1.1.1.1:4000", "100.63.255.255:1024", "100.128.0.0:1024", "172.15.0.1:9999", "172.32.0.1:9999"] {
            assert_eq!(judged(text), Scope::Global, "{text}");
        }
        for text in ["[2606:4700::1111]:4000", "[2a00:1450::1]:65535", "[2001:200::1]:4000", "[3ffe::1]:4000"] {
            assert_eq!(judged(text), Scope::Global, "{text}");
        }
    }

    #[test]
    fn own_networks_are_private_however_they_are_written() {
        for ip in
            ["127.0.0.1", "10.1.2.3", "192.168.0.1", "172.16.0.1", "172.31.255.255", "169.254.169.254", "100.64.0.1"]
        {
            assert_eq!(judged(&format!("{ip}:4000")), Scope::Private, "{ip}");
            assert_eq!(judged(&format!("[::ffff:{ip}]:4000")), Scope::Private, "mapped {ip}");
            assert_eq!(judged(&format!("[64:ff9b::{ip}]:4000")), Scope::Private, "NAT64 {ip}");
            let [a, b, c, d] = ip.parse::<Ipv4Addr>().unwrap().octets();
            assert_eq!(judged(&format!("[2002:{a:02x}{b:02x}:{c:02x}{d:02x}::1]:4000")), Scope::Private, "6to4 {ip}");
        }
        for ip in ["::1", "fc00::1", "fdff::1", "fe80::1", "febf::1"] {
            assert_eq!(judged(&format!("[{ip}]:4000")), Scope::Private, "{ip}");
        }
    }

    #[test]
    fn what_is_no_single_place_is_never_dialled() {
        for ip in ["0.0.0.0", "0.1.2.3", "192.0.0.9", "192.0.2.1", "192.88.99.1", "198.18.0.1", "198.19.255.255"] {
            assert_eq!(judged(&format!("{ip}:4000")), Scope::Never, "{ip}");
            assert_eq!(judged(&format!("[::ffff:{ip}]:4000")), Scope::Never, "mapped {ip}");
        }
        for ip in ["198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255"] {
            assert_eq!(judged(&format!("{ip}:4000")), Scope::Never, "{ip}");
        }
        for ip in ["::", "::2", "::7f00:1", "100::1", "64:ff9b:1::1", "2001::1", "2001:2::1", "2001:db8::1", "3fff::1"]
        {
            assert_eq!(judged(&format!("[{ip}]:4000")), Scope::Never, "{ip}");
        }
        for ip in ["ff02::1", "ff0e::1", "4000::1", "5f00::1", "fec0::1"] {
            assert_eq!(judged(&format!("[{ip}]:4000")), Scope::Never, "{ip}");
        }
        for text in ["1.1.1.1:1023", "1.1.1.1:0", "127.0.0.1:53", "[2606:4700::1111]:443"] {
            assert_eq!(judged(text), Scope::Never, "{text}");
        }
    }

    #[test]
    fn neighbours_share_a_site() {
        let site = |text: &str| Site::of(normalised(text.parse().unwrap()));
        assert_eq!(site("1.2.3.4:4000"), site("1.2.3.250:9000"));
        assert_eq!(site("1.2.3.4:4000"), site("[::ffff:1.2.3.9]:9000"));
        assert_ne!(site("1.2.3.4:4000"), site("1.2.4.4:4000"));
        assert_eq!(site("[2606:4700:1:a::1]:4000"), site("[2606:4700:1:b::2]:4000"));
        assert_ne!(site("[2606:4700:1::1]:4000"), site("[2606:4700:2::1]:4000"));
    }
}
