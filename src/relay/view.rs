//! What an operator may see of the machine at a moment: the source of `/api/status`, `aldis status` and the demo.

use std::net::SocketAddr;
use std::time::Duration;

use aldis_wire::announcement::Status;
use aldis_wire::host::Role;
use aldis_wire::id::HostId;

use super::io::LinkKey;

/// The host, its links, and all hosts it knows.
#[derive(Clone, Debug)]
pub struct View {
    /// Who we are.
    pub host: HostId,
    /// Our epoch.
    pub epoch: u64,
    /// Seq of our newest announcement.
    pub seq: u64,
    /// Edges connected now.
    pub edges: usize,
    /// Sessions, those in their grace period included.
    pub sessions: usize,
    /// Topics with local members or watchers.
    pub topics: usize,
    /// Admitted links.
    pub links: Vec<LinkView>,
    /// Every other host whose roster is known, by id.
    pub hosts: Vec<HostView>,
    /// What discovery does and what is wrong with it, if anything.
    pub discovery: DiscoveryView,
}

/// One admitted link.
#[derive(Clone, Debug)]
pub struct LinkView {
    /// Its name in the driver.
    pub link: LinkKey,
    /// With whom.
    pub host: HostId,
    /// Where.
    pub address: SocketAddr,
    /// Which end we are.
    pub role: Role,
    /// Round trip.
    pub rtt: Duration,
    /// How long it stands.
    pub age: Duration,
}

/// One other host.
#[derive(Clone, Debug)]
pub struct HostView {
    /// Who.
    pub host: HostId,
    /// Its epoch.
    pub epoch: u64,
    /// Seq of its newest announcement applied here.
    pub seq: u64,
    /// How long ago its newest head was made.
    pub age: Duration,
    /// Whether its roster is shown; otherwise it has expired and waits for a sign of life.
    pub live: bool,
    /// Present peers.
    pub peers: usize,
    /// Memberships.
    pub memberships: usize,
    /// What it last said of itself.
    pub status: Status,
    /// From its record.
    pub addresses: Vec<SocketAddr>,
    /// From its record.
    pub gateways: Vec<String>,
    /// From its record.
    pub software: String,
    /// The neighbour over which its announcements come first.
    pub next_hop: Option<HostId>,
}

/// What discovery does.
#[derive(Clone, Debug, Default)]
pub struct DiscoveryView {
    /// Addresses known.
    pub hints: usize,
    /// Dials under way.
    pub dials: usize,
    /// Why the last look-up failed, if it did.
    pub dht_problem: Option<String>,
    /// When the DHT is asked next.
    pub next_look_up: Duration,
}
