//! Whether another host's gateway can be reached, as a browser would reach it.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use aldis_wire::edge::HostMessage;
use aldis_wire::id::HostId;
use futures_util::StreamExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use url::Url;

use crate::client::socket::{Message, Opening, native, plain, upgrade};

/// From the look-up of the name to the greeting.
const PROBE_MAX: Duration = Duration::from_secs(4);
/// One address of several, so that a dead one does not hide the others.
const CONNECT_MAX: Duration = Duration::from_millis(1_500);
/// Addresses of a name that are tried; two families, two of each.
const ADDRESSES_MAX: usize = 4;
/// A greeting has a few hundred bytes.
const GREETING_BYTES_MAX: usize = 8 << 10;

/// Whether the greeting at `url` names `host`. `may` says which addresses may be tried; others are left alone, whatever
/// a name leads to. Redirects are not followed. At most 4 s.
///
/// # Errors
/// Why not, in words.
pub(super) async fn gateway(url: &str, host: HostId, may: impl Fn(IpAddr) -> bool) -> Result<(), String> {
    match timeout(PROBE_MAX, greeted(url, may)).await {
        Ok(Ok(found)) if found == host => Ok(()),
        Ok(Ok(_)) => Err("it is the gateway of another host".to_owned()),
        Ok(Err(problem)) => Err(problem),
        Err(_) => Err(format!("no greeting within {} s", PROBE_MAX.as_secs())),
    }
}

/// The host that the greeting at `url` names.
async fn greeted(url: &str, may: impl Fn(IpAddr) -> bool) -> Result<HostId, String> {
    let url = Url::parse(url).map_err(|error| format!("not a URL: {error}"))?;
    if !matches!(url.scheme(), "ws" | "wss") {
        return Err("its scheme is neither ws nor wss".to_owned());
    }
    let stream = connect(&url, may).await?;
    let opening = Opening { message_bytes_max: GREETING_BYTES_MAX, ..native() };
    let mut socket = upgrade(stream, url.as_str(), opening).await?;
    match socket.next().await {
        Some(Ok(Message::Text(text))) => match HostMessage::decode(&text) {
            Ok(HostMessage::Greeting { host, .. }) => Ok(host),
            _ => Err("it does not greet as a host does".to_owned()),
        },
        Some(Ok(_)) => Err("it does not greet as a host does".to_owned()),
        Some(Err(error)) => Err(plain(error)),
        None => Err("it closed without a greeting".to_owned()),
    }
}

/// A connection to the first address of the URL's host that takes one.
async fn connect(url: &Url, may: impl Fn(IpAddr) -> bool) -> Result<TcpStream, String> {
    let port = url.port_or_known_default().ok_or("it has no port")?;
    let addresses: Vec<SocketAddr> = match url.host().ok_or("it names no machine")? {
        url::Host::Ipv4(ip) => vec![(ip, port).into()],
        url::Host::Ipv6(ip) => vec![(ip, port).into()],
        url::Host::Domain(name) => tokio::net::lookup_host((name, port))
            .await
            .map_err(|error| format!("its name leads nowhere: {}", crate::system::plain(&error)))?
            .collect(),
    };
    let allowed = addresses.into_iter().filter(|address| may(address.ip())).take(ADDRESSES_MAX);
    let mut problem = "its address is not in the public internet".to_owned();
    for address in allowed {
        match timeout(CONNECT_MAX, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => problem = crate::system::plain(&error),
            Err(_) => "no answer".clone_into(&mut problem),
        }
    }
    Err(problem)
}

#[cfg(test)]
mod tests;
