//! What the operator chose: read from flags, `ALDIS_*` variables and `aldis.toml`, checked, and typed.
#![allow(clippy::disallowed_methods, reason = "the outside world: files and variables are its job")]

pub mod fields;
mod show;
pub mod sources;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use aldis_wire::id::HostId;
use aldis_wire::limits::{GATEWAY_URL_BYTES, RECORD_ADDRESSES_MAX, RECORD_GATEWAYS_MAX};
use aldis_wire::network::{Genesis, Network};

pub use show::show;
pub use sources::{ConfigError, FlagValues, Source, Sources};

use crate::doors::{Door, NoSuchDoor};
use crate::hosts::HostFiles;
use crate::relay::limits::{Rate, SEED_NAMES_MAX};
use crate::{genesis, identity};

/// The checked configuration of a host.
#[derive(Clone, Debug)]
pub struct Config {
    /// The network's genesis.
    pub genesis: Genesis,
    /// What is derived from it.
    pub network: Network,
    /// Where the host keeps its key and its memory.
    pub data_dir: PathBuf,
    /// UDP address for links.
    pub listen_quic: SocketAddr,
    /// Whether that port answers STUN requests.
    pub stun: bool,
    /// TCP address for edges, pages and status.
    pub listen_http: SocketAddr,
    /// Gateway URLs to publish.
    pub public_urls: Vec<String>,
    /// Certificate chain and key of the gateway.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// Whether to use the DHT.
    pub dht: bool,
    /// `host:port` of DHT nodes, instead of the well-known ones.
    pub dht_bootstrap: Vec<String>,
    /// Whether the DHT uses the UDP port of links.
    pub dht_share_port: bool,
    /// Names in DNS that list hosts.
    pub dns_seeds: Vec<String>,
    /// Whether to look for hosts on the same link.
    pub lan: bool,
    /// Hosts to link with whatever the DHT says.
    pub peers: Vec<Peer>,
    /// Files about other hosts.
    pub hosts: HostFiles,
    /// QUIC addresses to publish.
    pub addresses: Vec<SocketAddr>,
    /// Whether routers are asked to let other hosts in.
    pub map_ports: bool,
    /// Whether they are asked to let edges in, too.
    pub map_gateway: bool,
    /// Whether private addresses may be dialled.
    pub allow_private: bool,
    /// Web origins that may use the host; empty for all.
    pub origins: Vec<String>,
    /// Reverse proxies that are believed.
    pub trusted_proxies: Vec<IpAddr>,
    /// Handed to edges.
    pub ice_servers: Vec<serde_json::Value>,
    /// Protocols of other systems that the gateway speaks.
    pub doors: Vec<Door>,
    /// Whether the ids of `PeerJS` clients here are told to whoever asks.
    pub peerjs_discovery: bool,
    /// Requests of one edge.
    pub edge_rate: Rate,
    /// Joins and leaves of one edge.
    pub edge_change_rate: Rate,
    /// Requests of one address.
    pub address_rate: Rate,
    /// New sockets of one address.
    pub address_open_rate: Rate,
    /// Edges of one address.
    pub edges_per_address_max: usize,
    /// How long sessions wait for their edges.
    pub grace: Duration,
    /// Form of the log.
    pub log_format: LogFormat,
    /// Filter of the log.
    pub log_level: String,
}

/// A host that the operator names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Who must answer, if stated.
    pub host: Option<HostId>,
    /// `host:port`, where host is an address or a DNS name.
    pub address: String,
}

/// Form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

impl Config {
    /// Checks and types what was gathered. Reads the genesis file. `environment` is for the default data directory.
    ///
    /// # Errors
    /// [`ConfigError`], one sentence that names source and field.
    pub fn read(sources: &Sources, environment: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let genesis = read_genesis(sources)?;
        let network = Network::new(&genesis);
        let data_dir = match sources.path("data_dir") {
            Some(path) => path,
            None => identity::default_data_dir(environment, network.tag).ok_or_else(|| {
                ConfigError::Together("`data_dir` is not set, and neither is the variable HOME".to_owned())
            })?,
        };
        Ok(Self {
            genesis,
            network,
            data_dir,
            listen_quic: needed(sources, "listen_quic", socket_address)?,
            stun: needed(sources, "stun", switch)?,
            listen_http: needed(sources, "listen_http", socket_address)?,
            public_urls: limited(sources, "public_urls", RECORD_GATEWAYS_MAX, gateway_url)?,
            tls: tls(sources)?,
            dht: needed(sources, "dht", switch)?,
            dht_bootstrap: sources.many("dht_bootstrap", named_address)?,
            dht_share_port: needed(sources, "dht_share_port", switch)?,
            dns_seeds: dns_seeds(sources)?,
            lan: needed(sources, "lan", switch)?,
            peers: sources.many("peers", peer)?,
            hosts: HostFiles {
                allow: sources.path("hosts_allow"),
                deny: sources.path("hosts_deny"),
                revocations: sources.paths("revocation"),
            },
            addresses: limited(sources, "addresses", RECORD_ADDRESSES_MAX, socket_address)?,
            map_ports: needed(sources, "map_ports", switch)?,
            map_gateway: map_gateway(sources)?,
            allow_private: needed(sources, "allow_private", switch)?,
            origins: sources.many("origins", origin)?,
            trusted_proxies: sources.many("trusted_proxies", |text| parsed(text, "an IP address"))?,
            ice_servers: needed(sources, "ice_servers", ice_servers)?,
            doors: doors(sources)?,
            peerjs_discovery: needed(sources, "peerjs_discovery", switch)?,
            edge_rate: needed(sources, "edge_rate", rate)?,
            edge_change_rate: needed(sources, "edge_change_rate", rate)?,
            address_rate: needed(sources, "address_rate", rate)?,
            address_open_rate: needed(sources, "address_open_rate", rate)?,
            edges_per_address_max: needed(sources, "edges_per_address_max", |text| parsed(text, "a number"))?,
            grace: needed(sources, "grace_seconds", |text| parsed(text, "a number of seconds"))
                .map(|seconds: u32| Duration::from_secs(seconds.into()))?,
            log_format: needed(sources, "log_format", log_format)?,
            log_level: needed(sources, "log_level", log_level)?,
        })
    }
}

fn read_genesis(sources: &Sources) -> Result<Genesis, ConfigError> {
    match sources.path("genesis") {
        Some(path) => Ok(genesis::read(&path)?),
        None => needed(sources, "network", |name| Genesis::open(name).map_err(|error| error.to_string())),
    }
}

fn tls(sources: &Sources) -> Result<Option<(PathBuf, PathBuf)>, ConfigError> {
    match (sources.path("tls_cert"), sources.path("tls_key")) {
        (None, None) => Ok(None),
        (Some(cert), Some(key)) => Ok(Some((cert, key))),
        (Some(_), None) => Err(ConfigError::Together("`tls_cert` is set without `tls_key`; set both".to_owned())),
        (None, Some(_)) => Err(ConfigError::Together("`tls_key` is set without `tls_cert`; set both".to_owned())),
    }
}

fn map_gateway(sources: &Sources) -> Result<bool, ConfigError> {
    let map = needed(sources, "map_gateway", switch)?;
    if map && needed(sources, "listen_http", socket_address)?.ip().is_loopback() {
        let why =
            "`map_gateway` is true, and `listen_http` takes nothing from outside; set it to 0.0.0.0:8400, for example";
        return Err(ConfigError::Together(why.to_owned()));
    }
    Ok(map)
}

/// A field that has a default, so that a missing value is an empty one.
fn needed<T>(
    sources: &Sources,
    name: &'static str,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<T, ConfigError> {
    sources.one(name, parse)?.ok_or_else(|| sources.blame(name, "is empty"))
}

fn limited<T>(
    sources: &Sources,
    name: &'static str,
    limit: usize,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<Vec<T>, ConfigError> {
    let values = sources.many(name, parse)?;
    if values.len() > limit {
        return Err(sources.blame(name, format!("has {} values; at most {limit} can be published", values.len())));
    }
    Ok(values)
}

fn parsed<T: FromStr>(text: &str, shape: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{text:?} is not {shape}"))
}

fn socket_address(text: &str) -> Result<SocketAddr, String> {
    parsed(text, "an address with a port, such as 192.0.2.1:47474 or [2001:db8::1]:47474")
}

fn switch(text: &str) -> Result<bool, String> {
    match text {
        "true" | "on" | "yes" | "1" => Ok(true),
        "false" | "off" | "no" | "0" => Ok(false),
        _ => Err(format!("{text:?} is neither true nor false")),
    }
}

/// `host:port` with an address or a DNS name; names are looked up later.
fn named_address(text: &str) -> Result<String, String> {
    let sound = text.parse::<SocketAddr>().is_ok()
        || text.rsplit_once(':').is_some_and(|(host, port)| {
            let name = !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c));
            name && port.parse::<u16>().is_ok_and(|port| port > 0)
        });
    if sound { Ok(text.to_owned()) } else { Err(format!("{text:?} is not HOST:PORT")) }
}

fn peer(text: &str) -> Result<Peer, String> {
    let (host, address) = match text.split_once('@') {
        None => (None, text),
        Some((id, address)) => {
            let id = id.parse().map_err(|error| format!("{id:?} is not a host id: {error}"))?;
            (Some(id), address)
        }
    };
    Ok(Peer { host, address: named_address(address)? })
}

/// Asked for as they are: no search domains.
fn dns_seeds(sources: &Sources) -> Result<Vec<String>, ConfigError> {
    let names = sources.many("dns_seeds", |text| {
        let label = |label: &str| {
            (1..=63).contains(&label.len()) && label.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
        };
        let sound = text.len() <= 253 && text.trim_end_matches('.').split('.').all(label);
        if sound {
            Ok(text.to_owned())
        } else {
            Err(format!("{text:?} is not a name in DNS, such as seeds.example.org"))
        }
    })?;
    if names.len() > SEED_NAMES_MAX {
        return Err(
            sources.blame("dns_seeds", format!("has {} names; at most {SEED_NAMES_MAX} are asked for", names.len()))
        );
    }
    Ok(names)
}

fn gateway_url(text: &str) -> Result<String, String> {
    let url = url::Url::parse(text).map_err(|error| format!("{text:?} is not a URL: {error}"))?;
    if !matches!(url.scheme(), "ws" | "wss") || url.host_str().is_none() {
        return Err(format!("{text:?} is not a WebSocket URL, such as wss://relay.example.org/v1"));
    }
    if text.len() > GATEWAY_URL_BYTES {
        return Err(format!("a URL has at most {GATEWAY_URL_BYTES} bytes"));
    }
    Ok(text.to_owned())
}

/// As a browser writes it into the header `Origin`, so that comparing texts is enough.
fn origin(text: &str) -> Result<String, String> {
    let sound = url::Url::parse(text).is_ok_and(|url| url.origin().ascii_serialization() == text);
    if sound || text == "null" {
        Ok(text.to_owned())
    } else {
        Err(format!("{text:?} is not a web origin, such as https://app.example.org (no path, no closing slash)"))
    }
}

fn ice_servers(text: &str) -> Result<Vec<serde_json::Value>, String> {
    let servers: Vec<serde_json::Value> =
        serde_json::from_str(text).map_err(|error| format!("is not a JSON array: {error}"))?;
    match servers.iter().find(|server| server.get("urls").is_none()) {
        None => Ok(servers),
        Some(server) => Err(format!("{server} has no `urls`")),
    }
}

/// `aldis`, which is always spoken, lets an operator say that nothing else is.
fn doors(sources: &Sources) -> Result<Vec<Door>, ConfigError> {
    let named = sources.many("doors", |name| match name {
        "aldis" => Ok(None),
        name => name.parse().map(Some).map_err(|error: NoSuchDoor| format!("{name:?} is {error}")),
    })?;
    Ok(if named.is_empty() { Door::ALL.to_vec() } else { named.into_iter().flatten().collect() })
}

fn rate(text: &str) -> Result<Rate, String> {
    let shape = || format!("{text:?} is not two numbers such as 100/1000");
    let (per_second, burst) = text.split_once('/').ok_or_else(shape)?;
    let number = |text: &str| text.trim().parse::<u32>().map_err(|_| shape());
    let rate = Rate { per_second: number(per_second)?, burst: number(burst)? };
    if rate.per_second > 0 && rate.burst == 0 {
        return Err("a burst of 0 would refuse everything".to_owned());
    }
    Ok(rate)
}

fn log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "human" => Ok(LogFormat::Human),
        "json" => Ok(LogFormat::Json),
        _ => Err(format!("{text:?} is neither human nor json")),
    }
}

fn log_level(text: &str) -> Result<String, String> {
    let sound = |part: &str| {
        let level = part.rsplit_once('=').map_or(part, |(_, level)| level);
        level.parse::<tracing_subscriber::filter::LevelFilter>().is_ok()
    };
    if text.split(',').all(sound) && text.parse::<tracing_subscriber::filter::Targets>().is_ok() {
        Ok(text.to_owned())
    } else {
        Err(format!("{text:?} is not a log filter, such as debug or info,aldis::net=debug"))
    }
}

#[cfg(test)]
mod tests;
