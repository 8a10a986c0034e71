//! URLs of gateways, as far as the machine must read them: where a check of one would go.

use std::net::{IpAddr, SocketAddr};

use super::trials::Door;
use crate::relay::scope::{may_be_tried, normalised};

/// Names that mean somebody's own network.
const PRIVATE_NAMES: [&str; 6] = ["localhost", "local", "internal", "lan", "home", "arpa"];

/// Where a check of this URL would go; `None` if none may be made. The driver looks again at what a name stands for.
pub(crate) fn gateway_door(url: &str, private_addresses: bool) -> Option<Door> {
    let rest = url.strip_prefix("wss://").or_else(|| url.strip_prefix("ws://"))?;
    let authority = rest.split(['/', '?', '#', '\\']).next()?;
    // Others mean something to some readers of URLs and nothing to others; browsers write none of them.
    if !authority.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte)) {
        return None;
    }
    let (host, rest) = match authority.strip_prefix('[') {
        Some(v6) => v6.split_once(']')?,
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    if !rest.is_empty() && !is_port_of_gateways(rest.strip_prefix(':')?.parse().ok()?) {
        return None;
    }
    if let Ok(ip) = host.parse::<IpAddr>() {
        let ip = normalised(SocketAddr::new(ip, 0)).ip();
        return may_be_tried(ip, private_addresses).then(|| Door::at(ip));
    }
    let name = host.trim_end_matches('.').to_ascii_lowercase();
    let last = name.rsplit('.').next()?;
    // What ends in a number is another way to write an address.
    let is_name = last.starts_with(|first: char| first.is_ascii_alphabetic());
    let is_public = name.contains('.') && !PRIVATE_NAMES.contains(&last);
    (is_name && (is_public || private_addresses)).then_some(Door::Name(name))
}

/// Ports below 1024 belong to services of the operating system, most of which would take a request for a WebSocket for
/// something else, and to which browsers do not go (Fetch §2.9, "bad port").
fn is_port_of_gateways(port: u16) -> bool {
    matches!(port, 80 | 443 | 1_024..)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_of_a_gateway_goes_to_public_hosts_alone_however_they_are_written() {
        for url in ["ws://45.1.2.3/v1", "wss://[2606:4700::1]:8443/v1", "wss://Relay.Example.org./v1", "ws://a.b:80"] {
            assert!(gateway_door(url, false).is_some(), "{url}");
        }
        for url in [
            "http://45.1.2.3/",
            "ws://127.0.0.1:80/v1",
            "ws://[::1]/v1",
            "ws://[::ffff:10.0.0.1]/v1",
            "ws://[64:ff9b::10.0.0.1]/v1",
            "ws://192.168.1.1/v1",
            "ws://2130706433/v1",
            "ws://0x7f.1/v1",
            "ws://127.1/v1",
            "ws://a@45.1.2.3/v1",
            "ws://localhost/v1",
            "ws://printer.local/v1",
            "ws://router/v1",
            "ws://",
            "ws://[::1",
            "ws://bücher.example/v1",
            "ws://a.b:25/v1",
            "ws://45.1.2.3:22/v1",
            "ws://[2606:4700::1]:445/v1",
            "ws://a.b:0/v1",
            "ws://a.b:90000/v1",
            "ws://a.b:80:80/v1",
            "ws://a.b\t/v1",
            "ws://vic%74im.example/v1",
            "ws://a.b:2\t5/v1",
        ] {
            assert_eq!(gateway_door(url, false), None, "{url}");
        }
        assert!(gateway_door("ws://192.168.1.1:8080/v1", true).is_some());
    }

    #[test]
    fn one_host_has_one_door_whatever_the_rest_of_its_url_is() {
        let door = |url| gateway_door(url, false);
        assert_eq!(door("wss://relay.example/v1"), door("ws://RELAY.example.:9000/other?x#y"));
        assert_eq!(door("ws://45.1.2.3/v1"), door("wss://[::ffff:45.1.2.3]:9000/"));
        assert_eq!(door("ws://[2606:4700::1]/"), door("ws://[2606:4700::2]/"));
        assert_ne!(door("ws://45.1.2.3/v1"), door("ws://45.1.2.4/v1"));
    }
}
