//! What a machine is made of: keys, what was kept from the last run, and what the operator chose.

use std::net::SocketAddr;

use aldis_wire::id::HostId;
use aldis_wire::network::Network;
use aldis_wire::seal::SealingKey;
use ed25519_dalek::SigningKey;

use super::io::{Hint, HostLists};
use super::limits::{self, Rate};
use super::planted::Planted;

/// Everything a `Relay` needs to begin.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The network and its keys.
    pub network: Network,
    /// The host's identity.
    pub identity: SigningKey,
    /// The host's sealing key.
    pub sealing: SealingKey,
    /// From the operating system's randomness; the machine has no other.
    pub seed: [u8; 32],
    /// 1 + the greatest of the stored epoch and the Unix time in seconds; already stored.
    pub epoch: u64,
    /// The time of day, since 1970, at which the machine's clock was zero. A hint: nothing is believed because of it, but two
    /// hosts that nobody can introduce dial each other at agreed moments of it.
    pub unix: std::time::Duration,
    /// Hints kept from the last run.
    pub cache: Vec<Hint>,
    /// Marks kept from the last run.
    pub marks: Vec<(HostId, u64, u64)>,
    /// What the operator chose.
    pub settings: Settings,
    /// What the machine is to do wrong.
    #[cfg(feature = "planted")]
    pub planted: Planted,
}

impl Setup {
    /// What the machine is to do wrong.
    pub(crate) fn planted(&self) -> Planted {
        #[cfg(feature = "planted")]
        let planted = self.planted;
        #[cfg(not(feature = "planted"))]
        let planted = Planted;
        planted
    }
}

/// What the operator may choose.
#[derive(Clone, Debug)]
pub struct Settings {
    /// QUIC addresses to publish in the host record, best first.
    pub addresses: Vec<SocketAddr>,
    /// The UDP port for links, as bound.
    pub port: u16,
    /// Gateway URLs to publish in the host record.
    pub gateways: Vec<String>,
    /// Whether the gateway speaks TLS itself.
    pub gateway_tls: bool,
    /// Name and version of the software.
    pub software: String,
    /// Hosts to link with whatever the DHT says.
    pub static_peers: Vec<Hint>,
    /// Whether there is a DHT to ask.
    pub dht: bool,
    /// Whether there are names in DNS at which hosts are listed.
    pub seeds: bool,
    /// Whether to tell the DHT that we are here.
    pub register: bool,
    /// Whether loopback, private and link-local addresses may be dialled.
    pub private_addresses: bool,
    /// Requests of one edge.
    pub edge_rate: Rate,
    /// Joins and leaves of one edge.
    pub edge_change_rate: Rate,
    /// Bytes of changes of our own roster.
    pub own_changes: Rate,
    /// Requests of all edges of one address.
    pub address_rate: Rate,
    /// New sockets of one address.
    pub address_open_rate: Rate,
    /// Edges that share an address.
    pub edges_per_address_max: usize,
    /// How long a session waits for its edge.
    pub grace: std::time::Duration,
    /// What the rosters of all other hosts may take together.
    pub rosters_bytes: usize,
    /// Which hosts may be here, until other lists are given.
    pub lists: HostLists,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            addresses: Vec::new(),
            port: 0,
            gateways: Vec::new(),
            gateway_tls: false,
            software: concat!("aldis ", env!("CARGO_PKG_VERSION")).to_owned(),
            static_peers: Vec::new(),
            dht: true,
            seeds: false,
            register: true,
            private_addresses: false,
            edge_rate: limits::EDGE_RATE,
            edge_change_rate: limits::EDGE_CHANGE_RATE,
            own_changes: limits::OWN_CHANGES,
            address_rate: limits::ADDRESS_RATE,
            address_open_rate: limits::ADDRESS_OPEN_RATE,
            edges_per_address_max: limits::EDGES_PER_ADDRESS_MAX,
            grace: limits::GRACE,
            rosters_bytes: limits::ROSTERS_BYTES,
            lists: HostLists::default(),
        }
    }
}
