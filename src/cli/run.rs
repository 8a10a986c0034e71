//! `aldis run`: a host.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use aldis_wire::edge::PATH;
use aldis_wire::limits::VERSION;
use anyhow::{Context, Result, bail};
use clap::Args;
use tokio::net::lookup_host;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{sleep, timeout};

use super::flags::Flags;
use super::log;
use crate::config::{Config, Peer};
use crate::identity;
use crate::net::dht::DhtConfig;
use crate::net::driver::{self, Host, HostConfig, StartError};
use crate::net::hub::Hub;
use crate::net::seeds::SeedsConfig;
use crate::relay::Settings;
use crate::relay::io::{Hint, HintSource, Input, StopReason};

/// A name that takes longer to look up is looked up again later.
const LOOK_UP_DEADLINE: Duration = Duration::from_secs(5);
/// Names that nobody could resolve at the start are tried again this often.
const LOOK_UP_AGAIN: Duration = Duration::from_secs(30);

/// Exit code when another host runs with the same key.
const KEY_IN_USE: u8 = 3;
/// Exit code when the host's identity is revoked.
const REVOKED: u8 = 4;

/// Run a host. It finds the others of its network by itself.
///
/// Every option can also stand in aldis.toml or in an ALDIS_* variable; flags win over variables, variables over the
/// file. `aldis config` shows what is in effect. SIGTERM or Ctrl-C ends the host gracefully.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  aldis run                                          a host of the open network `main`
  aldis run --genesis our-testnet.genesis.toml       a host of a closed network
  aldis run --public-urls wss://relay.example.org/v1 behind a TLS proxy for relay.example.org
  aldis run --listen-http 0.0.0.0:443 --tls-cert fullchain.pem --tls-key privkey.pem
  aldis run --dht false --peers relay.example.org:47474
  aldis run --hosts-deny denied-hosts.txt            no links with these hosts, and none of their edges
Exit codes:
  0  it was asked to end
  1  it cannot run, and says why
  2  the arguments are wrong
  3  another host runs with this host's key: starting it again only ends the other one
  4  this host's identity is revoked: it will never run again")]
pub(super) struct Arguments {
    #[command(flatten)]
    flags: Flags,
}

pub(super) async fn run(arguments: Arguments) -> Result<()> {
    let (_, config) = arguments.flags.read()?;
    log::start(config.log_format, &config.log_level)?;
    raise_descriptor_limit();
    // Before anything else: a signal that comes while the host starts must not be lost.
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be caught")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("Ctrl-C cannot be caught")?;

    let (key, new) = identity::load_or_create(&config.data_dir)?;
    if new {
        tracing::info!("made a new host key in {}: keep a copy of it", config.data_dir.display());
    }
    let (static_peers, unresolved) = resolve(&config.peers).await;
    let mut host = driver::start(host_config(&config, &key, static_peers)).await?;
    introduce(&config, &host);
    let resolving = tokio::spawn(resolve_later(host.hub().clone(), unresolved));

    let reason = tokio::select! {
        reason = host.ended() => reason,
        _ = terminate.recv() => StopReason::Asked,
        _ = interrupt.recv() => StopReason::Asked,
    };
    resolving.abort();
    match reason {
        StopReason::Asked => tracing::info!("going away: telling edges where else to go, and hosts that we leave"),
        other => tracing::error!("{}", Ended(other)),
    }
    tokio::select! {
        () = host.stop() => {}
        // Asked twice, at once.
        _ = terminate.recv() => bail!("ended at once, without goodbyes"),
        _ = interrupt.recv() => bail!("ended at once, without goodbyes"),
    }
    if reason == StopReason::Asked { Ok(()) } else { Err(Ended(reason).into()) }
}

/// Every edge needs a file descriptor. The soft limit is often 1,024 only for the sake of programs that use select(2);
/// the hard one is what the system really allows.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let before = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: before.maximum, maximum: before.maximum };
    if before.current != before.maximum
        && let Err(error) = setrlimit(Resource::Nofile, raised)
    {
        tracing::warn!("cannot raise the limit of open files above {:?}: {error}", before.current);
    }
    tracing::debug!("open files: {:?} before, {:?} now", before.current, getrlimit(Resource::Nofile).current);
}

/// What the driver needs, of what the operator chose.
fn host_config(config: &Config, key: &identity::HostKey, static_peers: Vec<Hint>) -> HostConfig {
    HostConfig {
        genesis: config.genesis.clone(),
        version: VERSION,
        identity: key.identity.clone(),
        sealing: key.sealing.clone(),
        store: Some(config.data_dir.clone()),
        quic: config.listen_quic,
        stun: config.stun,
        http: config.listen_http,
        map_ports: config.map_ports,
        map_gateway: config.map_gateway,
        hosts: config.hosts.clone(),
        gateway_tls: config.tls.clone(),
        dht: dht_config(config),
        dht_share_port: config.dht_share_port,
        seeds: SeedsConfig { names: config.dns_seeds.clone(), servers: None },
        lan: config.lan,
        doors: config.doors.clone(),
        peerjs_discovery: config.peerjs_discovery,
        origins: config.origins.clone(),
        trusted_proxies: config.trusted_proxies.clone(),
        ice_servers: config.ice_servers.clone(),
        settings: Settings {
            addresses: config.addresses.clone(),
            gateways: config.public_urls.clone(),
            static_peers,
            dht: config.dht,
            private_addresses: config.allow_private,
            edge_rate: config.edge_rate,
            edge_change_rate: config.edge_change_rate,
            address_rate: config.address_rate,
            address_open_rate: config.address_open_rate,
            edges_per_address_max: config.edges_per_address_max,
            grace: config.grace,
            ..Settings::default()
        },
    }
}

/// Which DHT the operator chose.
pub(super) fn dht_config(config: &Config) -> DhtConfig {
    match (config.dht, config.dht_bootstrap.as_slice()) {
        (false, _) => DhtConfig::Off,
        (true, []) => DhtConfig::Mainline,
        (true, nodes) => DhtConfig::Bootstrap(nodes.to_vec()),
    }
}

/// The first lines of the log: who, where, and what it is doing to find others.
fn introduce(config: &Config, host: &Host) {
    let scheme = if config.tls.is_some() { "https" } else { "http" };
    let listening = host.http_address();
    let shown =
        if listening.ip().is_unspecified() { SocketAddr::from(([127, 0, 0, 1], listening.port())) } else { listening };
    tracing::info!(id = %host.id(), "this host");
    tracing::info!(name = config.network.name, tag = %config.network.tag, version = VERSION, "its network");
    tracing::info!(udp = %host.quic_address(), "ready for links with other hosts");
    tracing::info!(%listening, "ready for edges: pages at {scheme}://{shown}/, gateway at {}", gateway(scheme, shown));
    if config.public_urls.is_empty() {
        tracing::info!("no public_urls: other hosts cannot tell their edges of this one");
    }
    if config.hosts.allow.is_some() || config.hosts.deny.is_some() {
        let refused = host.hub().view().refused;
        let allowed = refused.allowed.map_or("all".to_owned(), |allowed| allowed.to_string());
        tracing::info!(
            allowed,
            denied = refused.denied,
            "hosts that may be here; the lists are read again when they change"
        );
    }
    let nodes = match config.dht_bootstrap.as_slice() {
        [] => "its well-known nodes".to_owned(),
        nodes => nodes.join(", "),
    };
    let peers: Vec<_> = config.peers.iter().map(|peer| peer.address.as_str()).collect();
    let peers = peers.join(", ");
    match (config.dht, config.peers.is_empty()) {
        (true, true) => tracing::info!("looking for hosts in the DHT, through {nodes}"),
        (true, false) => tracing::info!("looking for hosts in the DHT, through {nodes}, and at {peers}"),
        (false, true) => tracing::warn!("alone: the DHT is off and no peers are named; others may still come to us"),
        (false, false) => tracing::info!("the DHT is off; looking for hosts at {peers}"),
    }
}

/// The WebSocket at an address.
fn gateway(scheme: &str, address: SocketAddr) -> String {
    format!("{}://{address}{PATH}", if scheme == "https" { "wss" } else { "ws" })
}

/// Addresses of the hosts that the operator names, and those whose names nobody could resolve.
async fn resolve(peers: &[Peer]) -> (Vec<Hint>, Vec<Peer>) {
    let (mut hints, mut unresolved) = (Vec::new(), Vec::new());
    for peer in peers {
        match timeout(LOOK_UP_DEADLINE, lookup_host(peer.address.as_str())).await {
            Ok(Ok(addresses)) => hints.extend(addresses.map(|address| Hint { address, host: peer.host })),
            Ok(Err(error)) => {
                tracing::warn!("the name in {} cannot be resolved ({error}); trying again later", peer.address);
                unresolved.push(peer.clone());
            }
            Err(_) => {
                tracing::warn!("the name in {} is not resolved in time; trying again later", peer.address);
                unresolved.push(peer.clone());
            }
        }
    }
    (hints, unresolved)
}

/// Until every name is resolved.
async fn resolve_later(hub: Arc<Hub>, mut unresolved: Vec<Peer>) {
    while !unresolved.is_empty() {
        sleep(LOOK_UP_AGAIN).await;
        let (hints, still) = resolve(&unresolved).await;
        if !hints.is_empty() {
            hub.happened(Input::HintsFound { source: HintSource::Static, hints });
        }
        unresolved = still;
    }
}

/// Why a host ended that was not asked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", why(self.0))]
struct Ended(StopReason);

fn why(reason: StopReason) -> &'static str {
    match reason {
        StopReason::Asked => "asked to end",
        StopReason::KeyInUse => {
            "another host runs with this host's key, so this one ends: run one of them only, or remove host.key from \
             the data directory of one, which then becomes a host of its own"
        }
        StopReason::Revoked => {
            "this host's identity is revoked, for ever and in every network, by a statement that somebody has \
             published: remove host.key from the data directory to become a new host"
        }
    }
}

/// The exit code of a host that ended, if it has one of its own: what a service manager need not start again.
pub(super) fn exit_code(error: &anyhow::Error) -> Option<u8> {
    match (error.downcast_ref::<Ended>(), error.downcast_ref::<StartError>()) {
        (Some(Ended(StopReason::KeyInUse)), _) => Some(KEY_IN_USE),
        (Some(Ended(StopReason::Revoked)), _) | (_, Some(StartError::Revoked)) => Some(REVOKED),
        _ => None,
    }
}
