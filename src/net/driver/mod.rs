//! One host: the machine, and all the worlds it lives in, joined.

mod checks;
mod commands;
mod places;
mod port;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use aldis_wire::id::HostId;
use aldis_wire::network::{Genesis, Network, NetworkTag};
use aldis_wire::revocation::Revocation;
use aldis_wire::seal::SealingKey;
use ed25519_dalek::SigningKey;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use crate::doors::Door;
use crate::hosts::{HostFiles, revocations_directory};
use crate::lock::{InUse, Lock};
use crate::net::admin::Admin;
use crate::net::dht::DhtConfig;
use crate::net::gateway::{self, Gateway, GatewayConfig, GatewayError};
use crate::net::hub::Hub;
use crate::net::lan::{Lan, Own};
use crate::net::lists::Lists;
use crate::net::load;
use crate::net::log::Log;
use crate::net::metrics::{self, Metrics};
use crate::net::places::Places;
use crate::net::quic::{Quic, QuicError};
use crate::net::seeds::SeedsConfig;
use crate::net::store::{Kept, Store};
use crate::net::udp::{Port, SplitError};
use crate::relay::io::{HintSource, Input, Note, StopReason};
use crate::relay::{Settings, Setup};
use crate::textfile::FileError;
use checks::Checks;
use commands::Commands;
use places::{Locator, Moved, Stand, Wanted};
use port::Bound;

/// How long a graceful stop may take: the machine's last words, their way to edges and hosts, the last write to disk.
const STOP_MAX: Duration = Duration::from_secs(5);
/// The part of it that the machine may take.
const LAST_WORDS_MAX: Duration = Duration::from_secs(2);

/// From an address that is not the way out any more nothing is sent for so long: links that came there are gone by then.
const LEFT_FOR: Duration = Duration::from_secs(10);

/// Everything a host is made of.
#[derive(Clone, Debug)]
pub struct HostConfig {
    /// The network.
    pub genesis: Genesis,
    /// The protocol version, normally [`aldis_wire::limits::VERSION`].
    pub version: u16,
    /// The host's key.
    pub identity: SigningKey,
    /// The host's sealing key.
    pub sealing: SealingKey,
    /// Where epoch, hint cache and marks are kept; `None` to forget them.
    pub store: Option<PathBuf>,
    /// UDP address for links. Port 0 takes any free one.
    pub quic: SocketAddr,
    /// Whether that UDP port answers STUN requests.
    pub stun: bool,
    /// TCP address for edges, pages and status. Port 0 takes any free one.
    pub http: SocketAddr,
    /// Whether routers are asked to let other hosts in.
    pub map_ports: bool,
    /// Whether they are asked to let edges in, too.
    pub map_gateway: bool,
    /// Files about other hosts: who may be here, and revocations to publish.
    pub hosts: HostFiles,
    /// PEM files of certificate chain and key for the gateway; `None` for plain HTTP.
    pub gateway_tls: Option<(PathBuf, PathBuf)>,
    /// Which DHT.
    pub dht: DhtConfig,
    /// Whether the DHT uses the UDP port of links.
    pub dht_share_port: bool,
    /// Names in DNS that list hosts.
    pub seeds: SeedsConfig,
    /// Whether hosts on the same link are looked for, and told of us. Never on loopback.
    pub lan: bool,
    /// Protocols of other systems that edges may speak.
    pub doors: Vec<Door>,
    /// Whether the ids of `PeerJS` clients here are told to whoever asks.
    pub peerjs_discovery: bool,
    /// Web origins that may connect; empty for all.
    pub origins: Vec<String>,
    /// Reverse proxies whose word about an edge's address is taken.
    pub trusted_proxies: Vec<std::net::IpAddr>,
    /// Handed to edges for their `RTCConfiguration`.
    pub ice_servers: Vec<serde_json::Value>,
    /// What the machine must know. Addresses with port 0 get the bound port.
    pub settings: Settings,
}

/// Why a host cannot start. Each says what to change.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The port for links is taken or the address is not ours.
    #[error("cannot listen for other hosts on UDP {address}: {error}; choose another with --listen-quic")]
    Quic {
        /// The address.
        address: SocketAddr,
        /// The system's reason.
        error: std::io::Error,
    },
    /// The port for links cannot be the DHT's as well.
    #[error("cannot share UDP {address} with the DHT: {error}; set dht_share_port to false or change --listen-quic")]
    Share {
        /// The address.
        address: SocketAddr,
        /// Why.
        error: SplitError,
    },
    /// The port for edges is taken or the address is not ours.
    #[error("cannot listen for edges on TCP {address}: {error}; choose another with --listen-http")]
    Http {
        /// The address.
        address: SocketAddr,
        /// The system's reason.
        error: std::io::Error,
    },
    /// The gateway cannot begin: above all, its certificate.
    #[error(transparent)]
    Gateway(#[from] GatewayError),
    /// The operating system gives no randomness.
    #[error("the operating system gives no randomness: {0}")]
    Randomness(getrandom::Error),
    /// Reading the data directory failed in a way that it should not.
    #[error("the data directory could not be read")]
    Store,
    /// Another host runs with the data directory.
    #[error(transparent)]
    InUse(#[from] InUse),
    /// A file about other hosts.
    #[error(transparent)]
    Hosts(#[from] FileError),
    /// The host's identity is revoked.
    #[error(
        "the identity of this host is revoked, for ever and in every network: remove host.key from the data directory \
         to become a new host"
    )]
    Revoked,
    /// TLS cannot be set up.
    #[error("cannot prepare links: {0}")]
    Tls(crate::net::tls::TlsError),
}

/// A running host. Dropping it ends it without a goodbye; see [`Host::stop`].
#[derive(Debug)]
pub struct Host {
    id: HostId,
    hub: Arc<Hub>,
    quic: Quic,
    quic_address: SocketAddr,
    gateway: Option<Gateway>,
    lan: Option<Lan>,
    http_address: SocketAddr,
    takes_edges: Arc<AtomicBool>,
    locator: Locator,
    tasks: Vec<JoinHandle<()>>,
    writer: Option<JoinHandle<()>>,
    stopped: watch::Receiver<Option<StopReason>>,
    _lock: Option<Lock>,
}

/// Starts a host. Must run inside tokio.
///
/// # Errors
/// [`StartError`], before anything of it runs.
pub async fn start(config: HostConfig) -> Result<Host, StartError> {
    let network = Network::with_version(&config.genesis, config.version);
    // Before the ports: who starts the same host twice is told that, and not that a port is taken.
    let store = Store::new(config.store.clone());
    let lock = config.store.as_deref().map(Lock::take).transpose()?.flatten();
    let directory = config.store.as_deref().map(revocations_directory);
    let (lists, listed, named) = Lists::read(config.hosts.clone(), host_id(&config), directory)?;
    let (port, quic_address) = Bound::new(&config)?;
    let http = |error| StartError::Http { address: config.http, error };
    let listener = gateway::bind(config.http).map_err(http)?;
    let http_address = listener.local_addr().map_err(http)?;

    let reading = store.clone();
    let mut kept = tokio::task::spawn_blocking(move || reading.begin()).await.map_err(|_| StartError::Store)?;
    if kept.revocations.iter().any(|(revocation, _)| revocation.host() == host_id(&config) && revocation.is_signed()) {
        return Err(StartError::Revoked);
    }
    let mut settings = published(&config, quic_address, http_address);
    settings.lists = listed;
    let (tag, metrics) = (network.tag, Arc::new(Metrics::default()));
    let revocations = std::mem::take(&mut kept.revocations);
    let hub = machine(&config, &network, &settings, kept, &metrics)?;
    revoke(&hub, revocations, named);
    let (port, lend) =
        port.open(config.stun, hub.clone()).map_err(|error| StartError::Quic { address: quic_address, error })?;
    let rendezvous = config.dht.rendezvous(network.rendezvous, lend).map(Arc::from);
    let stun = port.stun_ports();
    let quic = Quic::start(port.clone(), &config.identity, network.alpn(), hub.clone()).map_err(quic_error)?;

    let takes_edges = Arc::new(AtomicBool::new(true));
    let (shown, places) = watch::channel(Places::default());
    let gateway = open_gateway(&config, admin(&hub, network, &settings, &takes_edges, places), metrics, listener)?;

    let lan = config.lan.then(|| look_around(&config, tag, quic_address, &hub)).flatten();
    let (queue, writer) = store.writer();
    let (stop, stopped) = watch::channel(None);
    let seeds = config.seeds.clone();
    let wanted = wanted(&config, stun, quic_address, http_address);
    let locator = Locator::start(hub.clone(), wanted, shown, moved(port, quic.clone()));
    let checks = Checks::new(hub.clone(), quic.clone(), settings.private_addresses);
    let commands = Commands {
        hub: hub.clone(),
        quic: quic.clone(),
        checks,
        map_again: Box::new(locator.again()),
        rendezvous,
        seeds,
        tag,
        queue,
        stop,
    };
    let tasks = in_the_background(&hub, &quic, lists, commands);
    Ok(Host {
        id: host_id(&config),
        hub,
        quic,
        quic_address,
        gateway: Some(gateway),
        lan,
        http_address,
        takes_edges,
        locator,
        tasks,
        writer: Some(writer),
        stopped,
        _lock: lock,
    })
}

/// What runs for as long as the host does.
fn in_the_background(hub: &Arc<Hub>, quic: &Quic, lists: Lists, commands: Commands) -> Vec<JoinHandle<()>> {
    let (timing, accepting, measuring, listing) = (hub.clone(), quic.clone(), hub.clone(), hub.clone());
    vec![
        tokio::spawn(lists.watch(listing)),
        tokio::spawn(async move { load::measure(&measuring).await }),
        tokio::spawn(async move { timing.run_timer().await }),
        tokio::spawn(async move { accepting.run().await }),
        tokio::spawn(commands.run()),
    ]
}

/// The machine behind its lock, with what was kept from the last run. What it notes goes to metrics and log.
fn machine(
    config: &HostConfig,
    network: &Network,
    settings: &Settings,
    kept: Kept,
    metrics: &Arc<Metrics>,
) -> Result<Arc<Hub>, StartError> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(StartError::Randomness)?;
    let setup = Setup {
        network: network.clone(),
        identity: config.identity.clone(),
        sealing: config.sealing.clone(),
        seed,
        epoch: kept.epoch,
        cache: kept.hints,
        marks: kept.marks,
        unix: std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default(),
        settings: settings.clone(),
    };
    let (metrics, log) = (metrics.clone(), Log::default());
    let note = move |note: &Note| {
        metrics.note(note);
        log.note(note);
    };
    Ok(Hub::new(setup, Box::new(note)))
}

/// Looks for hosts on the same link.
fn look_around(config: &HostConfig, tag: NetworkTag, listening: SocketAddr, hub: &Arc<Hub>) -> Option<Lan> {
    let hub = hub.clone();
    let found = move |hints| hub.happened(Input::HintsFound { source: HintSource::Lan, hints });
    Lan::start(Own { host: host_id(config), tag, listening }, found)
}

/// Tells the machine what was kept and what the operator names, before it has any link.
fn revoke(hub: &Hub, kept: Vec<(Revocation, bool)>, named: Vec<Revocation>) {
    for heard in [true, false] {
        let of_kind = kept.iter().filter(|(_, kept)| *kept == heard).map(|(revocation, _)| *revocation);
        hub.happened(Input::RevocationsFound { revocations: of_kind.collect(), heard });
    }
    hub.happened(Input::RevocationsFound { revocations: named, heard: true });
}

/// What operators are shown.
fn admin(
    hub: &Arc<Hub>,
    network: Network,
    settings: &Settings,
    takes_edges: &Arc<AtomicBool>,
    places: watch::Receiver<Places>,
) -> Admin {
    Admin {
        hub: hub.clone(),
        network,
        software: settings.software.clone(),
        gateways: settings.gateways.clone(),
        takes_edges: takes_edges.clone(),
        places,
    }
}

fn open_gateway(
    config: &HostConfig,
    admin: Admin,
    metrics: Arc<Metrics>,
    listener: tokio::net::TcpListener,
) -> Result<Gateway, StartError> {
    let (hub, network, takes_edges) = (admin.hub.clone(), admin.network.clone(), admin.takes_edges.clone());
    let others = admin.router().merge(metrics::router(metrics, hub.clone()));
    let config = GatewayConfig {
        host: host_id(config),
        network,
        doors: config.doors.clone(),
        peerjs_discovery: config.peerjs_discovery,
        origins: config.origins.clone(),
        trusted_proxies: config.trusted_proxies.clone(),
        ice_servers: config.ice_servers.clone(),
        tls: config.gateway_tls.clone(),
        grace: config.settings.grace,
        timing: gateway::Timing::default(),
    };
    Ok(Gateway::start(config, hub, listener, others, takes_edges)?)
}

fn host_id(config: &HostConfig) -> HostId {
    HostId::new(config.identity.verifying_key().to_bytes())
}

impl Host {
    /// The host's id.
    #[must_use]
    pub fn id(&self) -> HostId {
        self.id
    }

    /// Where other hosts reach it, as bound.
    #[must_use]
    pub fn quic_address(&self) -> SocketAddr {
        self.quic_address
    }

    /// Where edges and pages reach it, as bound.
    #[must_use]
    pub fn http_address(&self) -> SocketAddr {
        self.http_address
    }

    /// The machine.
    #[must_use]
    pub fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    /// What this host's own machine and the routers in front of it tell of where it is.
    #[must_use]
    pub fn places(&self) -> Places {
        self.locator.known().borrow().clone()
    }

    /// Waits until the machine wants the process to end, and says why.
    pub async fn ended(&mut self) -> StopReason {
        match self.stopped.wait_for(Option::is_some).await.map(|reason| *reason) {
            Ok(Some(reason)) => reason,
            // The sender lives as long as the host's tasks.
            _ => StopReason::Asked,
        }
    }

    /// Ends gracefully: edges are told where else to go, hosts that we are leaving; at most 5 s.
    pub async fn stop(mut self) {
        let deadline = Instant::now() + STOP_MAX;
        self.takes_edges.store(false, Ordering::Release);
        self.hub.happened(Input::ShutdownAsked);
        let machine = deadline.min(Instant::now() + LAST_WORDS_MAX);
        if timeout_at(machine, self.stopped.wait_for(Option::is_some)).await.is_err() {
            tracing::warn!("the host did not say all its goodbyes in time");
        }
        let links = self.quic.close(deadline.saturating_duration_since(Instant::now()));
        let (gateway, lan) = (self.gateway.take(), self.lan.take());
        let gateway = async {
            if let Some(gateway) = gateway {
                gateway.stop().await;
            }
        };
        let lan = async {
            if let Some(lan) = lan {
                lan.stop().await;
            }
        };
        tokio::join!(links, gateway, lan, self.locator.end());
        for task in &self.tasks {
            task.abort();
        }
        for task in std::mem::take(&mut self.tasks) {
            // Aborted or done: either way it holds the store's queue no longer.
            let _ = task.await;
        }
        if let Some(writer) = self.writer.take()
            && timeout_at(Instant::now() + LAST_WORDS_MAX, writer).await.is_err()
        {
            tracing::error!("the disk took too long for what should be kept");
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
        self.locator.cut();
        self.quic.cut();
    }
}

/// The settings with what only the bound sockets know. A host that is bound to one address publishes it, unless the
/// operator says otherwise; one that is bound to all of them cannot know which of them others can reach.
fn published(config: &HostConfig, quic: SocketAddr, http: SocketAddr) -> Settings {
    let seeds = !config.seeds.names.is_empty();
    let (dht, gateway_tls) = (config.dht != DhtConfig::Off, config.gateway_tls.is_some());
    let mut settings = Settings { dht, seeds, port: quic.port(), gateway_tls, ..config.settings.clone() };
    for address in settings.addresses.iter_mut().filter(|address| address.port() == 0) {
        address.set_port(quic.port());
    }
    if settings.addresses.is_empty() && !quic.ip().is_unspecified() {
        settings.addresses.push(quic);
    }
    // A gateway on loopback is of no use to another host's edges, except where all hosts are on one machine.
    let of_use = !http.ip().is_unspecified() && (settings.private_addresses || !http.ip().is_loopback());
    if settings.gateways.is_empty() && of_use {
        let scheme = if config.gateway_tls.is_some() { "wss" } else { "ws" };
        settings.gateways.push(format!("{scheme}://{http}{}", aldis_wire::edge::PATH));
    }
    settings
}

/// What of this host others are to reach, for those who ask the routers.
fn wanted(config: &HostConfig, stun: Vec<u16>, links: SocketAddr, http: SocketAddr) -> Wanted {
    Wanted {
        links,
        gateway: config.map_gateway.then_some(http),
        stun,
        map: config.map_ports,
        private: config.settings.private_addresses,
    }
}

/// What is done when this machine is somewhere else.
fn moved(port: Arc<Port>, quic: Quic) -> Moved {
    let moves = Arc::new(AtomicU64::new(0));
    Box::new(move |Stand { present, left }| {
        let Some(left) = left else { return port.moved(&present) };
        tracing::info!("the addresses of this machine have changed: looking after its links");
        let fit = &present - &left;
        port.moved(&fit);
        quic.moved(&fit);
        // The operator may have rules by which they are good for what comes from now on.
        let (port, moves) = (port.clone(), moves.clone());
        let number = moves.fetch_add(1, Ordering::AcqRel) + 1;
        tokio::spawn(async move {
            tokio::time::sleep(LEFT_FOR).await;
            if moves.load(Ordering::Acquire) == number {
                port.moved(&present);
            }
        });
    })
}

fn quic_error(error: QuicError) -> StartError {
    match error {
        QuicError::Bind { address, error } => StartError::Quic { address, error },
        QuicError::Tls(error) => StartError::Tls(error),
    }
}
