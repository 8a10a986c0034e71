//! The demo's network: a private DHT on loopback and three hosts that know nothing but it.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use aldis_wire::limits::VERSION;
use aldis_wire::network::Genesis;
use anyhow::{Context, Result};
use mainline::Testnet;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::doors::Door;
use crate::hosts::HostFiles;
use crate::identity::HostKey;
use crate::net::dht::DhtConfig;
use crate::net::driver::{self, Host, HostConfig, StartError};
use crate::net::seeds::SeedsConfig;
use crate::relay::Settings;
use crate::relay::view::View;
use crate::system::random_bytes;
use crate::textfile;

/// Nodes of the private DHT: enough that no host's announcement lands on one node alone.
pub(super) const DHT_NODES: usize = 8;
/// Hosts of the demo.
pub(super) const HOSTS: u16 = 3;
/// How often a state is looked at that nobody tells of.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Starts the DHT. It ends when it is dropped.
pub(super) async fn start_dht() -> Result<Testnet> {
    spawn_blocking(|| Testnet::builder(DHT_NODES).build())
        .await
        .context("the DHT's thread failed")?
        .context("the DHT cannot open its sockets on 127.0.0.1")
}

/// Starts host number `n` (from 0). It is told the genesis, the DHT's nodes and its port, and nothing else.
pub(super) async fn start_host(n: u16, genesis: &Genesis, dht: &Testnet, port: u16, data: &Path) -> Result<Host> {
    let key = HostKey::random();
    let data_dir = data.join(format!("host-{}", n + 1));
    textfile::create_directory(&data_dir)?;
    let http = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let config = HostConfig {
        genesis: genesis.clone(),
        version: VERSION,
        identity: key.identity,
        sealing: key.sealing,
        store: Some(data_dir),
        quic: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        stun: true,
        http,
        hosts: HostFiles::default(),
        gateway_tls: None,
        dht: DhtConfig::Bootstrap(dht.bootstrap.clone()),
        dht_share_port: false,
        seeds: SeedsConfig::default(),
        lan: false,
        doors: Door::ALL.to_vec(),
        peerjs_discovery: false,
        map_ports: false,
        map_gateway: false,
        origins: Vec::new(),
        trusted_proxies: Vec::new(),
        ice_servers: Vec::new(),
        settings: Settings { gateways: vec![gateway(port)], private_addresses: true, ..Settings::default() },
    };
    match driver::start(config).await {
        Err(StartError::Http { error, .. }) => Err(anyhow::anyhow!(
            "port {port} cannot be used ({}): choose three other ports with --http-port",
            crate::system::plain(&error)
        )),
        other => Ok(other?),
    }
}

/// The WebSocket of the host with this port.
pub(super) fn gateway(port: u16) -> String {
    format!("ws://localhost:{port}/v1")
}

/// Waits until `fits` is true of every host.
pub(super) async fn all_hosts(hosts: &[Host], fits: impl Fn(&View) -> bool) {
    while !hosts.iter().all(|host| fits(&host.hub().view())) {
        sleep(LOOK_AGAIN).await;
    }
}

/// A directory for one run, removed at its end.
#[derive(Debug)]
pub(super) struct Scratch(PathBuf);

impl Scratch {
    pub(super) fn new() -> Result<Self> {
        let name = format!("aldis-demo-{}", aldis_wire::hex::encode(&random_bytes::<8>()));
        let path = std::env::temp_dir().join(name);
        textfile::create_directory(&path)?;
        Ok(Self(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Left behind, it is a few kilobytes in a directory for such things.
        drop(std::fs::remove_dir_all(&self.0));
    }
}
