//! Real hosts on loopback: real sockets, real TLS, a DHT of this process.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use aldis::client::{Client, Events, Options};
use aldis::hosts::HostFiles;
use aldis::net::dht::DhtConfig;
use aldis::net::driver::{self, Host, HostConfig};
use aldis::net::seeds::SeedsConfig;
use aldis::relay::Settings;
use aldis::relay::io::Hint;
use aldis::relay::view::View;
use aldis_wire::id::HostId;
use aldis_wire::limits::VERSION;
use aldis_wire::network::Genesis;
use aldis_wire::seal::SealingKey;
use ed25519_dalek::SigningKey;
use mainline::Testnet;

/// A test waits so long for what must happen.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);
const LOOK_AGAIN: Duration = Duration::from_millis(5);
const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A host with this key, alone in the world until a test changes that.
pub(crate) fn config(seed: u8) -> HostConfig {
    HostConfig {
        genesis: Genesis::new("hosts", [7; 32]).unwrap(),
        version: VERSION,
        identity: SigningKey::from_bytes(&[seed; 32]),
        sealing: SealingKey::new([seed; 32]),
        store: None,
        quic: ANY_PORT,
        stun: true,
        http: ANY_PORT,
        hosts: HostFiles::default(),
        gateway_tls: None,
        dht: DhtConfig::Off,
        dht_share_port: false,
        seeds: SeedsConfig::default(),
        lan: false,
        doors: Vec::new(),
        peerjs_discovery: false,
        map_ports: false,
        map_gateway: false,
        origins: Vec::new(),
        trusted_proxies: Vec::new(),
        ice_servers: Vec::new(),
        settings: Settings { private_addresses: true, ..Settings::default() },
    }
}

/// The same, knowing these hosts by id and address.
pub(crate) fn knowing(seed: u8, hosts: &[&Host]) -> HostConfig {
    let mut config = config(seed);
    config.settings.static_peers =
        hosts.iter().map(|host| Hint { address: host.quic_address(), host: Some(host.id()) }).collect();
    config
}

/// The same, with this DHT.
pub(crate) fn meeting(seed: u8, nodes: &[String]) -> HostConfig {
    HostConfig { dht: DhtConfig::Bootstrap(nodes.to_vec()), ..config(seed) }
}

/// The same, with a memory.
pub(crate) fn remembering(config: HostConfig, directory: &std::path::Path) -> HostConfig {
    HostConfig { store: Some(PathBuf::from(directory)), ..config }
}

pub(crate) async fn start(config: HostConfig) -> Host {
    driver::start(config).await.unwrap()
}

/// A DHT on loopback that ends when it is dropped.
pub(crate) async fn dht(nodes: usize) -> Testnet {
    tokio::task::spawn_blocking(move || Testnet::builder(nodes).build().unwrap()).await.unwrap()
}

/// Waits until the host's view fits.
pub(crate) async fn until(host: &Host, what: &str, fits: impl Fn(&View) -> bool) -> Duration {
    let begun = Instant::now();
    while !fits(&host.hub().view()) {
        assert!(begun.elapsed() < DEADLINE, "{what} did not come true; now: {:#?}", host.hub().view());
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    begun.elapsed()
}

/// Waits until two hosts are linked and know each other's roster.
pub(crate) async fn until_linked(a: &Host, b: &Host) {
    for (one, other) in [(a, b.id()), (b, a.id())] {
        until(one, "a link", |view| is_linked(view, other) && knows(view, other)).await;
    }
}

pub(crate) fn is_linked(view: &View, host: HostId) -> bool {
    view.links.iter().any(|link| link.host == host)
}

pub(crate) fn knows(view: &View, host: HostId) -> bool {
    view.hosts.iter().any(|known| known.host == host && known.live)
}

/// An edge at a host.
pub(crate) async fn edge(host: &Host) -> (Client, Events) {
    Client::connect(Options::at(&format!("ws://{}", host.http_address()))).await.unwrap()
}

/// The next event for which `pick` has an answer.
pub(crate) async fn hear<T>(events: &mut Events, mut pick: impl FnMut(aldis::client::Event) -> Option<T>) -> T {
    let hearing = async {
        loop {
            let event = events.next().await.expect("the client is closed");
            if let Some(picked) = pick(event) {
                return picked;
            }
        }
    };
    tokio::time::timeout(DEADLINE, hearing).await.expect("it was never told")
}

/// One line of `/metrics`, by its beginning.
pub(crate) async fn metric(host: &Host, name: &str) -> Option<f64> {
    let text = get(host, "/metrics").await;
    text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

/// The body of a page.
pub(crate) async fn get(host: &Host, path: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut socket = tokio::net::TcpStream::connect(host.http_address()).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}
