//! The part of `/api/status` that says where a host is and who can reach it there.

use std::net::{IpAddr, SocketAddr};

use aldis_wire::id::HostId;
use serde::{Deserialize, Serialize};

use super::millis;
use crate::net::hub::Counts;
use crate::net::places::{MappingFacts, Places};
use crate::relay::io::{Mapping, MappingProtocol, Registration};
use crate::relay::may_be_tried;
use crate::relay::view::{ObserverView, PlaceState, PlaceView, ReachView};

/// Where a host is, as seen from outside, with the evidence.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReachStatus {
    /// What stands before it: `open`, `restricted`, `port_restricted`, `symmetric` or `unknown` (PROTOCOL.md §11.1).
    pub nat: String,
    /// Why it is called so, in words.
    pub evidence: String,
    /// Whether there seems to be a second router behind the first, such as that of the provider.
    pub behind_two: bool,
    /// Which neighbours see it where.
    pub observed: Vec<ObservedStatus>,
    /// Addresses of its own machine, with the UDP port for links; inside ones only for who asks from inside.
    pub local: Vec<SocketAddr>,
    /// Ports that routers let through to it.
    pub mapped: Vec<MappedStatus>,
    /// What came of asking routers for that: that of IPv4, then that of IPv6. Empty when `map_ports` is off, and for who asks
    /// from outside.
    pub mapping: Vec<MappingStatus>,
    /// Where the nodes of the DHT see it; null before they said so.
    pub dht: Option<DhtAddress>,
    /// As its record says: where anybody may dial it.
    pub addresses: Vec<SocketAddr>,
    /// As its record says: where it may be reached by a host to which it is introduced.
    pub candidates: Vec<SocketAddr>,
    /// As its record says: where edges may come.
    pub gateways: Vec<String>,
    /// What others tried to reach, and what came of it.
    pub places: Vec<PlaceStatus>,
    /// What the DHT is told of it.
    pub registered: Registered,
    /// Its STUN server.
    pub stun: StunStatus,
}

/// One neighbour's word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObservedStatus {
    /// Whose.
    pub by: HostId,
    /// Where that neighbour is itself.
    pub at: IpAddr,
    /// Where it sees this host.
    pub sees: SocketAddr,
    /// Whether this host dialled it. Otherwise it sees the address that it dialled itself.
    pub dialled: bool,
    /// For how long.
    pub age_ms: u64,
}

/// A port of a router that leads to this host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MappedStatus {
    /// As the router says it is seen from outside.
    pub outside: SocketAddr,
    /// How it was asked: `PCP`, `NAT-PMP` or `UPnP`.
    pub protocol: String,
    /// What it leads to: `links` or `gateway`.
    pub of: String,
}

/// What came of asking one router.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MappingStatus {
    /// Who is asked; null when nobody is.
    pub router: Option<IpAddr>,
    /// Why nobody is asked, in words; null otherwise.
    pub idle: Option<String>,
    /// What went wrong when it was last asked, in words, by protocol.
    pub problems: Vec<String>,
}

/// What the DHT says of where we are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DhtAddress {
    /// The address.
    pub address: SocketAddr,
    /// Whether its port is the one for links.
    pub shared: bool,
}

/// A place of this host that others try to reach.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlaceStatus {
    /// Its kind: `links`, `other_port`, `stun` or `gateway`.
    pub kind: String,
    /// An address with a port, or a URL.
    pub place: String,
    /// Whether its record lists it.
    pub published: bool,
    /// `verified`, `not_reached` (twice in a row) or `unverified`.
    pub state: String,
    /// Who told, or who came; null for `unverified`.
    pub by: Option<HostId>,
    /// How long ago; null for `unverified`.
    pub age_ms: Option<u64>,
    /// Why nobody has tried, in words; null otherwise.
    pub why: Option<String>,
}

/// What the DHT is told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registered {
    /// `nothing`, `port` or `implied`, which is the port that the DHT sees.
    pub what: String,
    /// With `port`: which.
    pub port: Option<u16>,
}

/// A host's STUN server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StunStatus {
    /// As the host's record says: where STUN is answered.
    pub addresses: Vec<SocketAddr>,
    /// Requests that were answered.
    pub answered: u64,
    /// Requests that were not, because there were too many.
    pub refused: u64,
}

impl ReachStatus {
    /// Takes out what says something of the network inside, which is nobody's business outside.
    pub(super) fn hide_inside(&mut self) {
        let outside = |address: &SocketAddr| may_be_tried(address.ip(), false);
        self.local.retain(outside);
        self.candidates.retain(outside);
        self.mapping.clear();
    }
}

pub(super) fn status(view: &ReachView, places: &Places, counts: &Counts) -> ReachStatus {
    ReachStatus {
        nat: view.nat.word().to_owned(),
        evidence: view.evidence.to_owned(),
        behind_two: view.behind_two || seen_past_the_router(view, places),
        observed: view.observers.iter().map(observed).collect(),
        local: view.local.clone(),
        mapped: view.mapped.iter().map(mapped).collect(),
        mapping: places.mapping.iter().map(mapping).collect(),
        dht: view.dht.map(|(address, shared)| DhtAddress { address, shared }),
        addresses: view.addresses.clone(),
        candidates: view.candidates.clone(),
        gateways: view.gateways.clone(),
        places: view.places.iter().map(place).collect(),
        registered: registered(view.registration),
        stun: StunStatus {
            addresses: view.stun.clone(),
            answered: counts.stun_answered.total(),
            refused: counts.stun_refused.total(),
        },
    }
}

/// Whether neighbours see us at a public IPv4 address that the router says it does not have.
fn seen_past_the_router(view: &ReachView, places: &Places) -> bool {
    let is_public = |sees: IpAddr| sees.is_ipv4() && may_be_tried(sees, false);
    places.mapping.iter().any(|it| it.no_address) && view.observers.iter().any(|it| is_public(it.sees.ip()))
}

fn observed(view: &ObserverView) -> ObservedStatus {
    let ObserverView { host, at, dialled, sees, age, .. } = *view;
    ObservedStatus { by: host, at, sees, dialled, age_ms: millis(age) }
}

fn mapped(mapping: &Mapping) -> MappedStatus {
    let (protocol, of) = (mapping.protocol.name().to_owned(), mapping.of.word().to_owned());
    MappedStatus { outside: mapping.outside, protocol, of }
}

fn mapping(facts: &MappingFacts) -> MappingStatus {
    let problem = |(protocol, problem): &(MappingProtocol, String)| format!("{}: {problem}", protocol.name());
    MappingStatus {
        router: facts.router,
        idle: facts.idle.map(str::to_owned),
        problems: facts.problems.iter().map(problem).collect(),
    }
}

fn place(view: &PlaceView) -> PlaceStatus {
    let (by, age, why) = match view.state {
        PlaceState::Verified { by, age } | PlaceState::NotReached { by, age } => (Some(by), Some(age), None),
        PlaceState::Unverified { why } => (None, None, Some(why)),
    };
    let place = match view.target.address() {
        Some(address) => address.to_string(),
        None => view.target.to_string(),
    };
    PlaceStatus {
        kind: view.target.word().to_owned(),
        place,
        published: view.published,
        state: view.state.word().to_owned(),
        by,
        age_ms: age.map(millis),
        why: why.map(str::to_owned),
    }
}

fn registered(registration: Registration) -> Registered {
    let (what, port) = match registration {
        Registration::Nothing => ("nothing", None),
        Registration::Port(port) => ("port", Some(port)),
        Registration::Implied => ("implied", None),
    };
    Registered { what: what.to_owned(), port }
}
