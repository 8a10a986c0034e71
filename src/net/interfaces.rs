//! The addresses of this machine, and the routers behind which it stands.
//!
//! The addresses are told by every system. Which of IPv6's are temporary, and who the router is, is read where Linux tells it;
//! elsewhere no router is known, and none is asked to map ports.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// Addresses that are told to others; a machine may have hundreds, for containers.
const ADDRESSES_MAX: usize = 8;
/// What is read of the system's tables: some 7,000 routes. Default routes stand at the beginning.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// The discard port: a socket is pointed at it to learn our own address; nothing is sent.
const NOWHERE: u16 = 9;
/// What Linux knows of an IPv6 address: temporary (RFC 8981), or not to be used any more, or not yet.
const FLAGS_UNFIT: u32 = 0x01 | 0x08 | 0x20 | 0x40;
/// What Linux knows of a route: it is up, and leads over a router.
const ROUTE_BY_ROUTER: u32 = 0x1 | 0x2;

/// A router, and our own address towards it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Route {
    /// The router.
    pub(super) router: IpAddr,
    /// The number of the interface, where the router's address needs it.
    pub(super) zone: Option<u32>,
    /// Our address, as it sees it.
    pub(super) own: IpAddr,
}

/// What this machine has, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Interfaces {
    /// Addresses that stay for a while and could be of use to somebody, loopback among them.
    pub(super) addresses: Vec<IpAddr>,
    /// All addresses of interfaces that are up, also such as are told to nobody.
    pub(super) present: BTreeSet<IpAddr>,
    /// The way to IPv4.
    pub(super) v4: Option<Route>,
    /// The way to IPv6.
    pub(super) v6: Option<Route>,
}

impl Interfaces {
    /// Looks now. Takes well under a millisecond, but for machines with very many routes.
    ///
    /// # Errors
    /// When the system does not tell, above all since this process has no file left: then nothing is known to have changed.
    pub(super) fn read() -> io::Result<Self> {
        let (inet6, routes6) = (file("/proc/net/if_inet6")?, file("/proc/net/ipv6_route")?);
        let found = if_addrs::get_if_addrs()?;
        // One that is down keeps its addresses.
        let present: BTreeSet<IpAddr> =
            found.iter().filter(|it| it.is_oper_up()).map(if_addrs::Interface::ip).collect();
        let mut addresses = usable(&present, &unfit(&inet6));
        let v4 = match v4_router(&file("/proc/net/route")?) {
            Some(router) => own_towards(router.into())?.map(|own| Route { router: router.into(), zone: None, own }),
            None => None,
        };
        let v6 = v6_router(&routes6).and_then(|(router, interface)| {
            let (zone, own) = v6_towards(&inet6, &interface, &addresses)?;
            Some(Route { router: router.into(), zone: Some(zone), own })
        });
        let ways: Vec<IpAddr> = [v4, v6].into_iter().flatten().map(|route| route.own).collect();
        addresses.sort_by_key(|address| !ways.contains(address));
        Ok(Self { addresses, present, v4, v6 })
    }

    /// Whether what others sent to where we were may not reach us any more: an address is gone, or the way out is another.
    pub(super) fn is_elsewhere(&self, before: &Self) -> bool {
        let way = |route: Option<Route>| route.map(|route| (route.router, route.own));
        !before.present.is_subset(&self.present) || way(self.v4) != way(before.v4) || way(self.v6) != way(before.v6)
    }

    /// The addresses that are still here, but not the way out any more, as they were `before`. Unless the operator has rules for
    /// it, what is sent from them leaves by another interface, under a name that is not its own there; a router that
    /// translates it then keeps our port for that.
    pub(super) fn left(&self, before: &Self) -> BTreeSet<IpAddr> {
        let pairs = [(before.v4, self.v4), (before.v6, self.v6)];
        let left = pairs.into_iter().filter_map(|(was, is)| {
            let (was, is) = (was?, is?);
            let elsewhere = was.router != is.router || !self.addresses.contains(&was.own);
            (was.own != is.own && elsewhere).then_some(was.own)
        });
        left.filter(|address| self.present.contains(address)).collect()
    }

    /// The addresses that a socket bound to `bound` is reached at, with its port, at most 8. Loopback only if `private`
    /// addresses are allowed.
    pub(super) fn reached(&self, bound: SocketAddr, private: bool) -> Vec<SocketAddr> {
        let hears = |ip: &IpAddr| match bound.ip() {
            IpAddr::V4(any) if any.is_unspecified() => ip.is_ipv4(),
            IpAddr::V6(any) if any.is_unspecified() => true,
            one => one.to_canonical() == *ip,
        };
        let fit = self.addresses.iter().filter(|ip| hears(ip) && (private || !ip.is_loopback()));
        fit.take(ADDRESSES_MAX).map(|ip| SocketAddr::new(*ip, bound.port())).collect()
    }
}

/// The beginning of a file that the system makes; empty where there is none.
fn file(name: &str) -> io::Result<String> {
    let mut text = String::new();
    match File::open(name).and_then(|file| file.take(FILE_BYTES_MAX).read_to_string(&mut text)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(text),
    }
}

/// Those that mean the same to everybody on the line, each once, sorted.
fn usable(all: &BTreeSet<IpAddr>, unfit: &BTreeSet<Ipv6Addr>) -> Vec<IpAddr> {
    let fit = |ip: &IpAddr| match ip {
        IpAddr::V4(ip) => !ip.is_unspecified() && !ip.is_link_local(),
        // A link-local address needs the interface's number, which means nothing to others.
        IpAddr::V6(ip) => !ip.is_unspecified() && !ip.is_unicast_link_local() && !unfit.contains(ip),
    };
    all.iter().copied().filter(fit).collect()
}

/// IPv6 addresses in Linux's `if_inet6` that will be gone soon, or are not there yet.
fn unfit(inet6: &str) -> BTreeSet<Ipv6Addr> {
    let fields = inet6.lines().filter_map(|line| {
        let mut fields = line.split_whitespace();
        let (address, flags) = (fields.next()?, fields.nth(3)?);
        let unfit = u32::from_str_radix(flags, 16).ok()? & FLAGS_UNFIT != 0;
        unfit.then(|| v6_of(address)).flatten()
    });
    fields.collect()
}

/// The router of the best default route in Linux's `route`.
fn v4_router(routes: &str) -> Option<Ipv4Addr> {
    let defaults = routes.lines().skip(1).filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, to, router, flags, _, _, metric, mask, ..] = fields.as_slice() else { return None };
        let by_router = u32::from_str_radix(flags, 16).ok()? & ROUTE_BY_ROUTER == ROUTE_BY_ROUTER;
        // The four bytes of an address, as a number of this machine.
        let router = Ipv4Addr::from(u32::from_str_radix(router, 16).ok()?.to_ne_bytes());
        (by_router && *to == "00000000" && *mask == "00000000").then_some((metric.parse::<u32>().ok()?, router))
    });
    defaults.min().map(|(_, router)| router)
}

/// The router of the best default route in Linux's `ipv6_route`, and the name of its interface.
fn v6_router(routes: &str) -> Option<(Ipv6Addr, String)> {
    let defaults = routes.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [to, length, _, _, router, metric, _, _, flags, interface, ..] = fields.as_slice() else { return None };
        let by_router = u32::from_str_radix(flags, 16).ok()? & ROUTE_BY_ROUTER == ROUTE_BY_ROUTER;
        let all = *length == "00" && v6_of(to)?.is_unspecified();
        let metric = u32::from_str_radix(metric, 16).ok()?;
        (by_router && all).then_some((metric, v6_of(router)?, (*interface).to_owned()))
    });
    defaults.min().map(|(_, router, interface)| (router, interface))
}

/// The number of an interface in Linux's `if_inet6`, and the best of our addresses on it.
fn v6_towards(inet6: &str, interface: &str, ours: &[IpAddr]) -> Option<(u32, IpAddr)> {
    let on_it = inet6.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [address, number, _, _, _, name] = fields.as_slice() else { return None };
        let address = IpAddr::V6(v6_of(address)?);
        let fit = *name == interface && ours.contains(&address) && crate::relay::may_be_tried(address, false);
        fit.then_some((u32::from_str_radix(number, 16).ok()?, address))
    });
    on_it.min_by_key(|(_, address)| *address)
}

fn v6_of(digits: &str) -> Option<Ipv6Addr> {
    u128::from_str_radix(digits, 16).ok().map(Ipv6Addr::from)
}

/// Our address on the way to another one, if there is a way. Sends nothing.
fn own_towards(other: IpAddr) -> io::Result<Option<IpAddr>> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    let own = socket.connect((other, NOWHERE)).and_then(|()| socket.local_addr());
    Ok(own.ok().map(|address| address.ip()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail by panic")]
    use super::*;

    const INET6: &str = "\
00000000000000000000000000000001 01 80 10 80       lo
2a010000000000010000000000000005 02 40 00 00     eth0
2a01000000000001aaaa00000000beef 02 40 00 01     eth0
2a010000000000020000000000000005 02 40 00 20     eth0
fe80000000000000000000000000cafe 02 40 20 80     eth0
2a010000000000090000000000000009 03 40 00 80     wlan0
";

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_router_is_that_of_the_best_default_route() {
        let routes = format!(
            "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n\
             wlan0 00000000 {0} 0003 0 0 600 00000000 0 0 0\n\
             eth0 00000000 {1} 0003 0 0 100 00000000 0 0 0\n\
             tun0 00000000 00000000 0001 0 0 50 00000000 0 0 0\n\
             eth1 00000000 {0} 0002 0 0 1 00000000 0 0 0\n\
             eth0 0001A8C0 {0} 0003 0 0 0 00FFFFFF 0 0 0\n",
            format_args!("{:08X}", u32::from_ne_bytes([192, 168, 7, 1])),
            format_args!("{:08X}", u32::from_ne_bytes([192, 168, 1, 254])),
        );
        assert_eq!(v4_router(&routes), Some(Ipv4Addr::new(192, 168, 1, 254)));
        assert_eq!(v4_router("Iface\n"), None);
        assert_eq!(v4_router(""), None);
    }

    #[test]
    fn the_router_of_ipv6_comes_with_its_interface_and_our_lasting_address_there() {
        let zeros = "0".repeat(32);
        let routes = format!(
            "{zeros} 00 {zeros} 00 fe800000000000000000000000000001 00000400 00000001 00000000 00000003 eth0\n\
             {zeros} 00 {zeros} 00 fe800000000000000000000000000002 00000800 00000001 00000000 00000003 wlan0\n\
             {zeros} 00 {zeros} 00 {zeros} ffffffff 00000001 00000000 00200200 lo\n"
        );
        let (router, interface) = v6_router(&routes).unwrap();
        assert_eq!((ip("fe80::1"), "eth0"), (router.into(), interface.as_str()));
        let ours = usable(&["2a01:0:0:1::5", "2a01:0:0:9::9", "fe80::cafe"].map(ip).into(), &unfit(INET6));
        assert_eq!(v6_towards(INET6, "eth0", &ours), Some((2, ip("2a01:0:0:1::5"))));
        assert_eq!(v6_towards(INET6, "eth7", &ours), None);
        assert_eq!(v6_router(""), None);
    }

    #[test]
    fn temporary_deprecated_and_link_local_addresses_are_told_to_nobody() {
        let all = ["2a01:0:0:1::5", "2a01:0:0:1:aaaa::beef", "2a01:0:0:2::5", "fe80::cafe", "169.254.3.4", "10.0.0.1"];
        let kept = usable(&all.map(ip).into(), &unfit(INET6));
        assert_eq!(kept, [ip("10.0.0.1"), ip("2a01:0:0:1::5")]);
    }

    #[test]
    fn a_socket_is_reached_at_the_addresses_that_it_hears() {
        let addresses = ["192.168.1.5", "127.0.0.1", "2a01::5"].map(ip).to_vec();
        let here = Interfaces { addresses, ..Interfaces::default() };
        let reached = |bound: &str, private| -> Vec<String> {
            here.reached(bound.parse().unwrap(), private).iter().map(ToString::to_string).collect()
        };
        assert_eq!(reached("0.0.0.0:47474", false), ["192.168.1.5:47474"]);
        assert_eq!(reached("[::]:4000", false), ["192.168.1.5:4000", "[2a01::5]:4000"]);
        assert_eq!(reached("0.0.0.0:4000", true), ["192.168.1.5:4000", "127.0.0.1:4000"]);
        assert_eq!(reached("[2a01::5]:4000", false), ["[2a01::5]:4000"]);
        assert_eq!(reached("192.168.1.77:4000", false), Vec::<String>::new(), "an address that is gone");
        let many = Interfaces { addresses: (0..99).map(|n| IpAddr::from([10, 0, 0, n])).collect(), ..here };
        assert_eq!(many.reached("0.0.0.0:4000".parse().unwrap(), false).len(), ADDRESSES_MAX);
    }

    #[test]
    fn we_are_elsewhere_when_an_address_is_gone_or_the_way_out_is_another_and_not_when_there_is_one_more() {
        let v4 = |own: &str, router: &str| Some(Route { router: ip(router), zone: None, own: ip(own) });
        let addresses = |all: &[&str]| all.iter().map(|text| ip(text)).collect::<BTreeSet<_>>();
        let before = Interfaces {
            present: addresses(&["192.168.1.5", "10.0.0.5"]),
            v4: v4("192.168.1.5", "192.168.1.1"),
            ..Interfaces::default()
        };
        assert!(!before.is_elsewhere(&before));
        let more = Interfaces { present: addresses(&["192.168.1.5", "10.0.0.5", "172.17.0.1"]), ..before.clone() };
        assert!(!more.is_elsewhere(&before));
        assert!(before.is_elsewhere(&more));
        let way = Interfaces { v4: v4("10.0.0.5", "10.0.0.1"), ..before.clone() };
        assert!(way.is_elsewhere(&before));
        assert!(Interfaces { v4: None, ..before.clone() }.is_elsewhere(&before));
        assert_eq!(way.left(&before), addresses(&["192.168.1.5"]), "what leaves from there leaves under a wrong name");
        assert_eq!(before.left(&way), addresses(&["10.0.0.5"]));
        assert_eq!(more.left(&before), BTreeSet::new());
        let gone = Interfaces { present: addresses(&["10.0.0.5"]), ..way.clone() };
        assert_eq!(gone.left(&before), BTreeSet::new());
        let renumbered = Interfaces { v4: v4("10.0.0.5", "192.168.1.1"), ..before.clone() };
        let fit = Interfaces { addresses: vec![ip("192.168.1.5")], ..renumbered.clone() };
        assert_eq!(fit.left(&before), BTreeSet::new(), "both are good behind this router");
        assert_eq!(renumbered.left(&before), addresses(&["192.168.1.5"]), "it is told to nobody any more");
        let router = Interfaces { v4: v4("192.168.1.5", "192.168.1.254"), ..before.clone() };
        assert!(router.is_elsewhere(&before), "another home may have the same addresses");
    }

    #[test]
    fn this_machine_has_its_loopback() {
        assert!(Interfaces::read().unwrap().addresses.contains(&ip("127.0.0.1")));
    }

    #[test]
    fn what_cannot_be_read_is_not_taken_for_empty() {
        assert_eq!(file("/nowhere/route").unwrap(), "");
        assert!(
            file(env!("CARGO_MANIFEST_DIR")).is_err(),
            "a folder opens and cannot be read, as one without a file left"
        );
    }
}
