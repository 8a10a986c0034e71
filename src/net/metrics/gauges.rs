//! What stands now, taken from the machine's view.

use std::sync::atomic::AtomicU64;

use aldis_wire::host::Nat;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::Labels;
use crate::relay::io::{CheckTarget, Mapped, Mapping, MappingProtocol};
use crate::relay::view::{LinkKind, PlaceState, PlaceView, ReachView, View};

#[derive(Debug, Default)]
pub(super) struct Gauges {
    edges: Gauge,
    sessions: Gauge,
    topics: Gauge,
    links: Gauge,
    hosts: Family<Labels<1>, Gauge>,
    peers: Gauge,
    memberships: Gauge,
    refused: Family<Labels<1>, Gauge>,
    hints: Gauge,
    dht_works: Gauge,
    slowest_link: Gauge<f64, AtomicU64>,
    nat: Family<Labels<1>, Gauge>,
    reachable: Gauge,
    places_known: Family<Labels<2>, Gauge>,
    mapped: Family<Labels<2>, Gauge>,
    link_kinds: Family<Labels<1>, Gauge>,
}

impl Gauges {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("edges", "Edges connected now", self.edges.clone());
        registry.register("sessions", "Sessions, those that wait for their edge included", self.sessions.clone());
        registry.register("topics", "Topics with members or watchers at home here", self.topics.clone());
        registry.register("links", "Links to other hosts", self.links.clone());
        registry.register("hosts", "Other hosts known", self.hosts.clone());
        registry.register("remote_peers", "Peers at home at live other hosts", self.peers.clone());
        registry.register("remote_memberships", "Memberships of the same", self.memberships.clone());
        registry.register("hosts_refused", "Hosts that are refused now, by reason", self.refused.clone());
        registry.register("discovery_hints", "Addresses at which there may be hosts", self.hints.clone());
        registry.register("dht_works", "1 when the last look-up was answered", self.dht_works.clone());
        registry.register_with_unit(
            "slowest_link_round_trip",
            "Longest round trip of all links",
            Unit::Seconds,
            self.slowest_link.clone(),
        );
        registry.register("nat", "1 for what stands before this host, 0 for all else", self.nat.clone());
        registry.register("reachable", "1 when other hosts reach this one from outside", self.reachable.clone());
        registry.register(
            "places",
            "Places of this host, by kind and by what came of reaching them",
            self.places_known.clone(),
        );
        registry.register(
            "mapped_ports",
            "Ports that routers have opened, by protocol and purpose",
            self.mapped.clone(),
        );
        registry.register("links_by_kind", "Links, by how they came about", self.link_kinds.clone());
    }

    pub(super) fn show(&self, view: &View) {
        self.edges.set(number(view.edges));
        self.sessions.set(number(view.sessions));
        self.topics.set(number(view.topics));
        self.links.set(number(view.links.len()));
        let live = view.hosts.iter().filter(|host| host.live);
        self.hosts.get_or_create(&[("live", "yes")]).set(number(live.clone().count()));
        self.hosts.get_or_create(&[("live", "no")]).set(number(view.hosts.iter().filter(|host| !host.live).count()));
        self.peers.set(number(live.clone().map(|host| host.peers).sum()));
        self.memberships.set(number(live.map(|host| host.memberships).sum()));
        for (reason, count) in [
            ("denied", view.refused.denied),
            ("revoked", view.refused.revoked.len()),
            ("quarantined", view.refused.quarantined.len()),
        ] {
            self.refused.get_or_create(&[("reason", reason)]).set(number(count));
        }
        self.hints.set(number(view.discovery.hints));
        self.dht_works.set(i64::from(view.discovery.dht_problem.is_none()));
        self.slowest_link.set(view.links.iter().map(|link| link.rtt.as_secs_f64()).fold(0.0, f64::max));
        for kind in LinkKind::ALL {
            let count = view.links.iter().filter(|link| link.kind == kind).count();
            self.link_kinds.get_or_create(&[("kind", kind.word())]).set(number(count));
        }
        self.reach(&view.reach);
    }

    fn reach(&self, reach: &ReachView) {
        for nat in Nat::ALL {
            self.nat.get_or_create(&[("nat", nat.word())]).set(i64::from(nat == reach.nat));
        }
        let verified = |place: &PlaceView| matches!(place.state, PlaceState::Verified { .. });
        let links = |place: &PlaceView| matches!(place.target, CheckTarget::Links(_));
        self.reachable.set(i64::from(reach.places.iter().any(|place| links(place) && verified(place))));
        for place in ["links", "other_port", "stun", "gateway"] {
            for state in ["verified", "not_reached", "unverified"] {
                let such = |known: &&PlaceView| known.target.word() == place && known.state.word() == state;
                let count = number(reach.places.iter().filter(such).count());
                self.places_known.get_or_create(&[("place", place), ("state", state)]).set(count);
            }
        }
        for protocol in [MappingProtocol::Pcp, MappingProtocol::NatPmp, MappingProtocol::Upnp] {
            for of in [Mapped::Links, Mapped::Gateway] {
                let such = |mapping: &&Mapping| mapping.protocol == protocol && mapping.of == of;
                let count = number(reach.mapped.iter().filter(such).count());
                self.mapped.get_or_create(&[("protocol", protocol.name()), ("of", of.word())]).set(count);
            }
        }
    }
}

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
