//! For operators: health, and the management view as JSON.

mod inside;
mod reach;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aldis_wire::host::Role;
use aldis_wire::id::HostId;
use aldis_wire::network::Network;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Json, Router};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::net::hub::Hub;
use crate::net::places::Places;
use crate::relay::view::{HostView, LinkView, QuarantineView, RefusedView, View};

pub use reach::{
    DhtAddress, MappedStatus, MappingStatus, ObservedStatus, PlaceStatus, ReachStatus, Registered, StunStatus,
};

/// What the routes need.
#[derive(Clone, Debug)]
pub struct Admin {
    /// The machine.
    pub hub: Arc<Hub>,
    /// Name, tag and version of the network.
    pub network: Network,
    /// Name and version of the software.
    pub software: String,
    /// The host's own gateway URLs.
    pub gateways: Vec<String>,
    /// False while the host is going away.
    pub takes_edges: Arc<AtomicBool>,
    /// What this machine and the routers in front of it tell.
    pub places: watch::Receiver<Places>,
}

/// `GET /api/status`: a host, its links, and all hosts it knows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Who answers.
    pub host: HostId,
    /// Which network it is in.
    pub network: NetworkStatus,
    /// Name and version of its software.
    pub software: String,
    /// Where edges connect.
    pub gateways: Vec<String>,
    /// Its epoch.
    pub epoch: u64,
    /// Seq of its newest announcement.
    pub seq: u64,
    /// Since its process started.
    pub uptime_ms: u64,
    /// False while it is going away.
    pub takes_edges: bool,
    /// Edges connected now.
    pub edges: usize,
    /// Sessions, those that wait for their edge included.
    pub sessions: usize,
    /// Topics with members or watchers at home here.
    pub topics: usize,
    /// Links to other hosts.
    pub links: Vec<LinkStatus>,
    /// All other hosts that it knows.
    pub hosts: Vec<HostStatus>,
    /// Which other hosts it refuses, and why.
    pub refused: RefusedStatus,
    /// How it finds hosts.
    pub discovery: DiscoveryStatus,
    /// Where it is, as seen from outside, and who can reach it there.
    pub reach: ReachStatus,
}

/// Hosts that are refused. Whom its operator lists is nobody else's business: those are only counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedStatus {
    /// Hosts in the list of allowed ones; null without such a list.
    pub allowed: Option<usize>,
    /// Hosts in the list of denied ones.
    pub denied: usize,
    /// Identities that are revoked.
    pub revoked: Vec<HostId>,
    /// Origins that lied, or were too much, and are refused until their next epoch.
    pub quarantined: Vec<QuarantineStatus>,
}

/// One origin whose announcements are refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuarantineStatus {
    /// Who.
    pub host: HostId,
    /// Refused up to this epoch.
    pub epoch: u64,
    /// What it did, as in the metric `aldis_hosts_quarantined`.
    pub reason: String,
    /// How long ago.
    pub age_ms: u64,
}

/// A network, as anybody may know it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkStatus {
    /// For people.
    pub name: String,
    /// 16 hex digits, different for every genesis and version.
    pub tag: String,
    /// The protocol's version.
    pub version: u16,
}

/// One link.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LinkStatus {
    /// With whom.
    pub host: HostId,
    /// Where.
    pub address: SocketAddr,
    /// Our end: `dialler` or `acceptor`.
    pub role: String,
    /// How it came about: `dialled` by us, `accepted` by us, or `punched`, which both dialled when a common neighbour
    /// told them.
    pub kind: String,
    /// Round trip.
    pub rtt_ms: f64,
    /// How long it stands.
    pub age_ms: u64,
    /// The TLS group that was negotiated; `X25519MLKEM768` holds against quantum computers.
    pub key_exchange: Option<String>,
}

/// One other host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HostStatus {
    /// Who.
    pub host: HostId,
    /// Its epoch.
    pub epoch: u64,
    /// Seq of its newest announcement known here.
    pub seq: u64,
    /// How long ago it was last heard of.
    pub age_ms: u64,
    /// False when it has not been heard of for too long.
    pub live: bool,
    /// Peers at home there.
    pub peers: usize,
    /// Their memberships.
    pub memberships: usize,
    /// Edges connected there, as it last said.
    pub edges: u32,
    /// Topics with members at home there, as it last said.
    pub topics: u32,
    /// Its links to other hosts, as it last said.
    pub links: u16,
    /// Signals it took in the last minute, as it last said.
    pub signals_per_minute: u32,
    /// Share of a core that it uses, as it last said.
    pub load_percent: u16,
    /// Its QUIC addresses.
    pub addresses: Vec<SocketAddr>,
    /// Its gateway URLs.
    pub gateways: Vec<String>,
    /// Name and version of its software.
    pub software: String,
    /// What stands before it, as it says: as in [`ReachStatus::nat`].
    pub nat: String,
    /// The neighbour over which it is heard first, and over which signals go back.
    pub next_hop: Option<HostId>,
}

/// How a host finds others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiscoveryStatus {
    /// Addresses that it knows.
    pub hints: usize,
    /// Dials under way.
    pub dials: usize,
    /// Whether it asks a DHT at all.
    pub dht: bool,
    /// What is wrong with the DHT, if anything.
    pub dht_problem: Option<String>,
    /// How long until the DHT is asked next; 0 while it is being asked, and without a DHT.
    pub next_look_up_ms: u64,
    /// Whether it looks up names in DNS at which hosts are listed.
    #[serde(default)]
    pub dns_seeds: bool,
    /// What was wrong with them at the last look-up, if anything.
    #[serde(default)]
    pub dns_seeds_problem: Option<String>,
}

/// `GET /readyz`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// Whether edges are taken: status 200, otherwise 503.
    pub takes_edges: bool,
    /// Links to other hosts. A host without any still serves its own edges.
    pub links: usize,
    /// What is wrong with the DHT, if anything.
    pub dht_problem: Option<String>,
}

impl Admin {
    /// The routes `/healthz`, `/readyz` and `/api/status`.
    pub fn router(self) -> Router {
        Router::new()
            .route("/healthz", get(async || "ok\n"))
            .route("/readyz", get(ready))
            .route("/api/status", get(status))
            .with_state(Arc::new(self))
    }

    /// What `/api/status` says.
    #[must_use]
    pub fn status(&self) -> Status {
        let view = self.hub.recent_view();
        let View { host, epoch, seq, edges, sessions, topics, links, hosts, refused, discovery, reach } = &*view;
        Status {
            host: *host,
            network: NetworkStatus {
                name: self.network.name.clone(),
                tag: self.network.tag.to_string(),
                version: self.network.version,
            },
            software: self.software.clone(),
            gateways: self.gateways.clone(),
            epoch: *epoch,
            seq: *seq,
            uptime_ms: millis(self.hub.now().time()),
            takes_edges: self.takes_edges.load(Ordering::Acquire),
            edges: *edges,
            sessions: *sessions,
            topics: *topics,
            links: links.iter().map(|link| self.link(link)).collect(),
            hosts: hosts.iter().map(host_status).collect(),
            refused: refused_status(refused),
            discovery: DiscoveryStatus {
                hints: discovery.hints,
                dials: discovery.dials,
                dht: discovery.dht,
                dht_problem: discovery.dht_problem.clone(),
                next_look_up_ms: millis(discovery.next_look_up),
                dns_seeds: discovery.seeds,
                dns_seeds_problem: discovery.seeds_problem.clone(),
            },
            reach: reach::status(reach, &self.places.borrow(), self.hub.counts()),
        }
    }

    fn link(&self, link: &LinkView) -> LinkStatus {
        LinkStatus {
            host: link.host,
            address: link.address,
            role: match link.role {
                Role::Dialler => "dialler".to_owned(),
                Role::Acceptor => "acceptor".to_owned(),
            },
            kind: link.kind.word().to_owned(),
            rtt_ms: link.rtt.as_secs_f64() * 1e3,
            age_ms: millis(link.age),
            key_exchange: self.hub.key_exchange(link.link).map(str::to_owned),
        }
    }
}

fn refused_status(view: &RefusedView) -> RefusedStatus {
    let quarantined = |view: &QuarantineView| QuarantineStatus {
        host: view.host,
        epoch: view.epoch,
        reason: view.fault.name().to_owned(),
        age_ms: millis(view.age),
    };
    RefusedStatus {
        allowed: view.allowed,
        denied: view.denied,
        revoked: view.revoked.clone(),
        quarantined: view.quarantined.iter().map(quarantined).collect(),
    }
}

fn host_status(view: &HostView) -> HostStatus {
    HostStatus {
        host: view.host,
        epoch: view.epoch,
        seq: view.seq,
        age_ms: millis(view.age),
        live: view.live,
        peers: view.peers,
        memberships: view.memberships,
        edges: view.status.edges,
        topics: view.status.topics,
        links: view.status.links,
        signals_per_minute: view.status.signals_per_minute,
        load_percent: view.status.load_percent,
        addresses: view.addresses.clone(),
        gateways: view.gateways.clone(),
        software: view.software.clone(),
        nat: view.nat.word().to_owned(),
        next_hop: view.next_hop,
    }
}

async fn ready(State(admin): State<Arc<Admin>>) -> Response {
    let view = admin.hub.recent_view();
    let takes_edges = admin.takes_edges.load(Ordering::Acquire);
    let status = if takes_edges { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let ready = Ready { takes_edges, links: view.links.len(), dht_problem: view.discovery.dht_problem.clone() };
    (status, [(header::CACHE_CONTROL, "no-store")], Json(ready)).into_response()
}

/// Any page may read it: the demo page of one host shows another's. What only the operator needs is left out for strangers.
async fn status(State(admin): State<Arc<Admin>>, caller: Option<Extension<IpAddr>>, asked: HeaderMap) -> Response {
    let headers = [(header::CACHE_CONTROL, "no-store"), (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*")];
    let mut status = admin.status();
    if !caller.is_some_and(|Extension(caller)| inside::is_inside(caller, &asked)) {
        status.reach.hide_inside();
    }
    (headers, Json(status)).into_response()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
