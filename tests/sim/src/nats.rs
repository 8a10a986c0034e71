//! Routers before hosts: under which address a packet leaves, and whom it reaches.
//!
//! A router gives each host behind it an outside port, a new one for each address when it is symmetric, and lets in what its
//! kind lets in. Nothing is forgotten but by a reboot: hosts keep their mappings alive. No router sends a packet back
//! that comes from inside for its own address (hairpin).

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::map::{self, Place};

/// The UDP port of links, inside.
const PORT: u16 = 47_474;

/// Whom a router lets in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Everybody who knows the outside port.
    Full,
    /// Addresses that something was sent to.
    Restricted,
    /// Addresses and ports that something was sent to.
    PortRestricted,
    /// The same, and each of them is sent to from a port of its own.
    Symmetric,
}

impl Kind {
    /// By its word in a scenario.
    ///
    /// # Errors
    /// In words.
    pub fn read(word: &str) -> Result<Self, String> {
        Ok(match word {
            "full" => Self::Full,
            "restricted" => Self::Restricted,
            "port" => Self::PortRestricted,
            "symmetric" => Self::Symmetric,
            _ => return Err(format!("'{word}' is no router: full, restricted, port or symmetric?")),
        })
    }
}

/// A socket of a host: that of its links, or one that it opened for a single packet.
pub(crate) type Socket = (Place, u32);

#[derive(Debug)]
struct Mapping {
    inside: Socket,
    /// Whom it is for, if it is not for everybody.
    to: Option<SocketAddr>,
    port: u16,
    sent_to: BTreeSet<SocketAddr>,
}

#[derive(Debug)]
struct Router {
    kind: Kind,
    homes: Vec<Place>,
    /// Part of its outside address.
    number: u8,
    address: u8,
    next_port: u16,
    mappings: Vec<Mapping>,
}

impl Router {
    fn ip(&self) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(70, self.number, self.address, 1))
    }

    fn is_for(&self, mapping: &Mapping, inside: Socket, to: SocketAddr) -> bool {
        mapping.inside == inside && mapping.to.is_none_or(|only| only == to)
    }

    fn lets_in(&self, mapping: &Mapping, from: SocketAddr) -> bool {
        match self.kind {
            Kind::Full => true,
            Kind::Restricted => mapping.sent_to.iter().any(|to| to.ip() == from.ip()),
            Kind::PortRestricted | Kind::Symmetric => mapping.sent_to.contains(&from),
        }
    }
}

/// All routers, and who is behind which.
#[derive(Debug, Default)]
pub(crate) struct Nats {
    routers: Vec<Router>,
    of: BTreeMap<Place, usize>,
    hosts: usize,
}

impl Nats {
    pub(crate) fn new(homes: &[(Kind, Vec<Place>)], hosts: usize) -> Self {
        let mut nats = Self { hosts, ..Self::default() };
        for (kind, homes) in homes {
            let number = u8::try_from(nats.routers.len() + 1).expect("at most 255 routers");
            nats.of.extend(homes.iter().map(|place| (*place, nats.routers.len())));
            let (homes, mappings) = (homes.clone(), Vec::new());
            nats.routers.push(Router { kind: *kind, homes, number, address: 0, next_port: 20_000, mappings });
        }
        nats
    }

    /// Whether there are no routers at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.routers.is_empty()
    }

    /// What is before a host.
    pub(crate) fn kind(&self, place: Place) -> Option<Kind> {
        self.router(place).map(|router| router.kind)
    }

    /// Whether two hosts are behind the same router.
    pub(crate) fn share(&self, a: Place, b: Place) -> bool {
        self.of.get(&a).is_some_and(|router| self.of.get(&b) == Some(router))
    }

    /// Whether a link between two hosts is possible when both dial at one moment.
    pub(crate) fn may_meet(&self, a: Place, b: Place) -> bool {
        let closed = |kind| matches!(kind, Some(Kind::PortRestricted | Kind::Symmetric));
        let (one, other) = (self.kind(a), self.kind(b));
        let symmetric = |kind| kind == Some(Kind::Symmetric);
        self.share(a, b) || !(symmetric(one) && closed(other) || symmetric(other) && closed(one))
    }

    fn router(&self, place: Place) -> Option<&Router> {
        self.of.get(&place).map(|at| &self.routers[*at])
    }

    /// The address of a host's own interface.
    pub(crate) fn inside(&self, place: Place) -> SocketAddr {
        let Some(router) = self.router(place) else { return map::address(place) };
        let at = router.homes.iter().position(|home| *home == place).unwrap_or(0) as u8;
        SocketAddr::from((Ipv4Addr::new(192, 168, 1, 10 + at), PORT))
    }

    /// A packet leaves a socket. Gives where it comes from, as the receiver sees it.
    pub(crate) fn leaves(&mut self, from: Socket, to: SocketAddr) -> SocketAddr {
        let inside = self.inside(from.0);
        let own = SocketAddr::new(inside.ip(), inside.port() + from.1 as u16);
        let Some(router) = self.of.get(&from.0).map(|at| &mut self.routers[*at]) else { return own };
        if is_private(to) {
            return own;
        }
        let known = router.mappings.iter().position(|mapping| router.is_for(mapping, from, to));
        let at = known.unwrap_or_else(|| {
            let only = (router.kind == Kind::Symmetric).then_some(to);
            router.next_port += 1;
            let (port, sent_to) = (router.next_port, BTreeSet::new());
            router.mappings.push(Mapping { inside: from, to: only, port, sent_to });
            router.mappings.len() - 1
        });
        router.mappings[at].sent_to.insert(to);
        SocketAddr::new(router.ip(), router.mappings[at].port)
    }

    /// Who gets a packet for this address that comes `from` there; `sender` sent it.
    pub(crate) fn reaches(&self, sender: Place, from: SocketAddr, to: SocketAddr) -> Option<Socket> {
        if is_private(to) {
            let homes = self.router(sender).map(|router| router.homes.clone()).unwrap_or_default();
            return homes.into_iter().find(|home| self.inside(*home) == to && *home != sender).map(|home| (home, 0));
        }
        if let Some(place) = map::place(to, self.hosts) {
            return (!self.of.contains_key(&place)).then_some((place, 0));
        }
        let router = self.routers.iter().find(|router| router.ip() == to.ip())?;
        let mapping = router.mappings.iter().find(|mapping| mapping.port == to.port())?;
        let hairpin = self.share(sender, mapping.inside.0);
        (router.lets_in(mapping, from) && !hairpin).then_some(mapping.inside)
    }

    /// The host to which a packet would go if everybody were let in: how far it is.
    pub(crate) fn behind(&self, sender: Place, to: SocketAddr) -> Option<Place> {
        if is_private(to) {
            return self.reaches(sender, to, to).map(|(place, _)| place);
        }
        let router = self.routers.iter().find(|router| router.ip() == to.ip());
        router.and_then(|router| router.homes.first().copied()).or_else(|| map::place(to, self.hosts))
    }

    /// The router before a host starts anew and has forgotten everything; with another address if its provider gives it
    /// one. Gives all hosts behind it.
    pub(crate) fn reboot(&mut self, place: Place, moves: bool) -> Vec<Place> {
        let Some(router) = self.of.get(&place).map(|at| &mut self.routers[*at]) else { return Vec::new() };
        router.mappings.clear();
        router.address += u8::from(moves);
        router.next_port += 1_000;
        router.homes.clone()
    }
}

/// Whether an address means somebody's own network.
pub(crate) fn is_private(address: SocketAddr) -> bool {
    matches!(address.ip(), IpAddr::V4(ip) if ip.is_private())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Host 0 is public, 1 is behind a router of this kind.
    fn nats(kind: Kind) -> Nats {
        Nats::new(&[(kind, vec![1]), (kind, vec![2, 3])], 5)
    }

    #[test]
    fn a_cone_shows_one_port_to_all_and_a_symmetric_one_a_new_port_to_each() {
        for kind in [Kind::Full, Kind::Restricted, Kind::PortRestricted, Kind::Symmetric] {
            let mut nats = nats(kind);
            let (one, other) = (nats.leaves((1, 0), map::address(0)), nats.leaves((1, 0), map::address(4)));
            assert_eq!(one == other, kind != Kind::Symmetric, "{kind:?}");
            assert_eq!(nats.leaves((1, 0), map::address(0)), one, "it stays");
        }
    }

    #[test]
    fn each_kind_lets_in_whom_it_should() {
        for kind in [Kind::Full, Kind::Restricted, Kind::PortRestricted, Kind::Symmetric] {
            let mut nats = nats(kind);
            let known = map::address(0);
            let seen = nats.leaves((1, 0), known);
            let (port, stranger) = (SocketAddr::new(known.ip(), 9_999), map::address(4));
            assert_eq!(nats.reaches(0, known, seen), Some((1, 0)));
            assert_eq!(nats.reaches(0, port, seen).is_some(), matches!(kind, Kind::Full | Kind::Restricted));
            assert_eq!(nats.reaches(4, stranger, seen).is_some(), kind == Kind::Full);
        }
    }

    #[test]
    fn hosts_of_one_home_reach_each_other_inside_alone_and_a_reboot_forgets_all() {
        let mut nats = nats(Kind::Full);
        let seen = nats.leaves((3, 0), map::address(0));
        assert_eq!(nats.reaches(0, map::address(0), seen), Some((3, 0)));
        assert_eq!(nats.reaches(2, nats.inside(2), seen), None, "no hairpin");
        assert_eq!(nats.reaches(2, nats.inside(2), nats.inside(3)), Some((3, 0)));
        assert_eq!(nats.reaches(1, nats.inside(1), nats.inside(3)), None, "that is another home");
        assert_eq!(nats.reboot(2, true), [2, 3]);
        assert_eq!(nats.reaches(0, map::address(0), seen), None);
        assert_ne!(nats.leaves((3, 0), map::address(0)).ip(), seen.ip());
    }
}
