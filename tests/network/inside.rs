//! Hosts in this process: for what no operator can set, such as a protocol version.

use aldis::doors::Door;
use aldis::hosts::HostFiles;
use aldis::net::dht::DhtConfig;
use aldis::net::driver::{self, Host, HostConfig};
use aldis::net::seeds::SeedsConfig;
use aldis::relay::Settings;
use aldis_wire::limits::VERSION;
use aldis_wire::network::Genesis;
use aldis_wire::seal::SealingKey;
use ed25519_dalek::SigningKey;

use super::eventually;

/// A host on free ports of 127.0.0.1 that knows this DHT; none when `dht` is empty.
pub(crate) fn config(genesis: &Genesis, dht: &[String]) -> HostConfig {
    let mut random = [0; 64];
    getrandom::fill(&mut random).unwrap();
    let (identity, sealing) = random.split_at(32);
    let any = "127.0.0.1:0".parse().unwrap();
    HostConfig {
        genesis: genesis.clone(),
        version: VERSION,
        identity: SigningKey::from_bytes(identity.try_into().unwrap()),
        sealing: SealingKey::new(sealing.try_into().unwrap()),
        store: None,
        quic: any,
        stun: true,
        http: any,
        hosts: HostFiles::default(),
        gateway_tls: None,
        dht: if dht.is_empty() { DhtConfig::Off } else { DhtConfig::Bootstrap(dht.to_vec()) },
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
        settings: Settings { private_addresses: true, ..Settings::default() },
    }
}

/// A network of its own.
pub(crate) fn genesis() -> Genesis {
    aldis::genesis::random("test").unwrap()
}

pub(crate) async fn start(config: HostConfig) -> Host {
    driver::start(config).await.unwrap()
}

pub(crate) fn url(host: &Host) -> String {
    format!("ws://{}/v1", host.http_address())
}

/// Waits until all of these hosts are linked with one another and know each other's rosters.
pub(crate) async fn all_linked(hosts: &[&Host]) {
    let others = hosts.len() - 1;
    for host in hosts {
        eventually("all hosts are linked", async || {
            let view = host.hub().view();
            view.links.len() == others && view.hosts.iter().filter(|host| host.live).count() == others
        })
        .await;
    }
}
