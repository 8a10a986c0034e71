//! Names in DNS under which the operators of a network list hosts to begin with (PROTOCOL.md §12).
//!
//! What is found there are hints: the machine decides which are dialled. Anybody who owns a name, or stands between us
//! and its server, can write what he likes; so everything is bounded, and what is not of our network is ignored.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use aldis_wire::id::HostId;
use aldis_wire::network::NetworkTag;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{Name, RData};
use tokio::time::timeout;

use crate::relay::io::Hint;
use crate::relay::limits::SEED_NAMES_MAX;

/// Places taken from one name.
const PLACES_MAX: usize = 16;
/// Addresses taken of a name that stands in a place, of each family.
const ADDRESSES_MAX: usize = 2;
/// Records of other things that may stand under a name beside ours.
const RECORDS_MAX: usize = 64;
/// One name with everything that it leads to.
const NAME_MAX: Duration = Duration::from_secs(15);
/// One question to one server; asked twice.
const QUESTION_MAX: Duration = Duration::from_secs(3);

/// Where to look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeedsConfig {
    /// The names; none: nothing is ever asked.
    pub names: Vec<String>,
    /// Servers to ask instead of those of the system.
    pub servers: Option<Vec<SocketAddr>>,
}

/// A host as a record states it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    host: Option<HostId>,
    name: String,
    port: u16,
}

/// Asks for all names, one after the other. Hands on what each brings.
///
/// # Errors
/// Which names brought nothing, and why, in words for an operator. The others count all the same.
pub(crate) async fn look_up(
    config: &SeedsConfig,
    tag: NetworkTag,
    mut found: impl FnMut(Vec<Hint>),
) -> Result<(), String> {
    // Made anew each time: the machine may have come into another network, whose servers are others.
    let resolver = resolver(config.servers.as_deref())?;
    let mut problems = Vec::new();
    for name in config.names.iter().take(SEED_NAMES_MAX) {
        match timeout(NAME_MAX, ask(&resolver, name, tag)).await {
            Ok(Ok(hints)) => found(hints),
            Ok(Err(problem)) => problems.push(format!("{name}: {problem}")),
            Err(_) => problems.push(format!("{name}: not answered in time")),
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(problems.join("; ")) }
}

fn resolver(servers: Option<&[SocketAddr]>) -> Result<TokioResolver, String> {
    let cannot = |error: &dyn std::fmt::Display| format!("the system's DNS settings cannot be used: {error}");
    let mut builder = match servers {
        None => TokioResolver::builder_tokio().map_err(|error| cannot(&error))?,
        Some(servers) => {
            let server = |address: &SocketAddr| {
                let mut udp = ConnectionConfig::udp();
                udp.port = address.port();
                let mut tcp = ConnectionConfig::tcp();
                tcp.port = address.port();
                NameServerConfig::new(address.ip(), true, vec![udp, tcp])
            };
            let config = ResolverConfig::from_parts(None, Vec::new(), servers.iter().map(server).collect());
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        }
    };
    let options: &mut ResolverOpts = builder.options_mut();
    options.timeout = QUESTION_MAX;
    options.attempts = 1;
    // It lives for one look-up.
    options.cache_size = 0;
    builder.build().map_err(|error| cannot(&error))
}

/// What stands under one name, with all names in it resolved.
async fn ask(resolver: &TokioResolver, name: &str, tag: NetworkTag) -> Result<Vec<Hint>, String> {
    let answer = resolver.txt_lookup(absolute(name)?).await.map_err(|error| error.to_string())?;
    let mut places = Vec::new();
    for record in answer.answers().iter().take(RECORDS_MAX) {
        if let RData::TXT(text) = &record.data {
            let text = text.txt_data.concat();
            places.extend(std::str::from_utf8(&text).ok().map(|text| read(text, tag)).unwrap_or_default());
        }
    }
    if places.is_empty() {
        return Err(format!("lists no host of the network with tag {tag}"));
    }
    places.truncate(PLACES_MAX);
    let mut hints = Vec::new();
    let mut problem = None;
    for place in places {
        match addresses(resolver, &place.name).await {
            Ok(ips) => {
                let hint = |ip| Hint { address: SocketAddr::new(ip, place.port), host: place.host };
                hints.extend(ips.into_iter().map(hint));
            }
            Err(error) => problem = Some(format!("{}: {error}", place.name)),
        }
    }
    // One that does not resolve is a problem only where no other helps.
    match problem {
        Some(problem) if hints.is_empty() => Err(problem),
        _ => Ok(hints),
    }
}

async fn addresses(resolver: &TokioResolver, name: &str) -> Result<Vec<IpAddr>, String> {
    if let Ok(ip) = name.parse() {
        return Ok(vec![ip]);
    }
    let answer = resolver.lookup_ip(absolute(name)?).await.map_err(|error| error.to_string())?;
    let (v4, v6): (Vec<_>, Vec<_>) = answer.iter().partition(IpAddr::is_ipv4);
    Ok(v6.into_iter().take(ADDRESSES_MAX).chain(v4.into_iter().take(ADDRESSES_MAX)).collect())
}

/// The name as it stands: without it, the system's search domains would be asked as well.
fn absolute(name: &str) -> Result<Name, String> {
    let mut name = Name::from_ascii(name).map_err(|error| format!("is no name: {error}"))?;
    name.set_fqdn(true);
    Ok(name)
}

/// The places in one text of a TXT record; none unless it is of the network with this tag. What cannot be read is left
/// out.
fn read(text: &str, tag: NetworkTag) -> Vec<Place> {
    let Some(rest) = text.strip_prefix("aldis=") else { return Vec::new() };
    let mut words = rest.split_ascii_whitespace();
    if words.next() != Some(tag.to_string().as_str()) {
        return Vec::new();
    }
    words.filter_map(place).take(PLACES_MAX).collect()
}

/// `[id@]host:port`, where host is an address (IPv6 in brackets) or a name.
fn place(word: &str) -> Option<Place> {
    let (host, address) = match word.split_once('@') {
        None => (None, word),
        Some((id, address)) => (Some(id.parse().ok()?), address),
    };
    if let Ok(address) = address.parse::<SocketAddr>() {
        return Some(Place { host, name: address.ip().to_string(), port: address.port() });
    }
    let (name, port) = address.rsplit_once(':')?;
    let sound = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c));
    sound.then(|| Some(Place { host, name: name.to_owned(), port: port.parse().ok()? })).flatten()
}

#[cfg(test)]
mod tests;
