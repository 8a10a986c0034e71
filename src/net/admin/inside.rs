//! Who may see what a status says of the operator's own network.

use std::net::IpAddr;

use axum::http::{HeaderMap, header};

use crate::relay::may_be_tried;

/// Headers that a proxy adds: then the caller is somebody else.
const BY_PROXY: [&str; 3] = ["x-forwarded-for", "forwarded", "via"];

/// Whether a request comes from the operator's own network: from an address in it, by no proxy, and not from a page of
/// somebody else that his browser shows. Such a page names its origin; one whose name was made to lead here (DNS
/// rebinding) has a host name in `Host`, where the operator and `aldis doctor` have an address or `localhost`.
pub(super) fn is_inside(caller: IpAddr, headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("");
    let name = match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next(),
        None => host.split(':').next(),
    };
    let by_address = name.is_some_and(|name| name == "localhost" || name.parse::<IpAddr>().is_ok());
    let of_a_page = headers.contains_key(header::ORIGIN);
    let by_proxy = BY_PROXY.iter().any(|name| headers.contains_key(*name));
    !may_be_tried(caller, false) && by_address && !of_a_page && !by_proxy
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail by panic")]
    use super::*;

    fn inside(caller: &str, headers: &[(&'static str, &str)]) -> bool {
        let headers = headers.iter().map(|(name, value)| ((*name).parse().unwrap(), value.parse().unwrap())).collect();
        is_inside(caller.parse().unwrap(), &headers)
    }

    #[test]
    fn the_operator_asks_from_his_own_network_by_address() {
        for (caller, host) in
            [("127.0.0.1", "127.0.0.1:8400"), ("::1", "[::1]:8400"), ("192.168.1.7", "192.168.1.5:8400")]
        {
            assert!(inside(caller, &[("host", host)]), "{caller}");
        }
        assert!(inside("127.0.0.1", &[("host", "localhost:8400")]));
    }

    #[test]
    fn strangers_their_pages_and_whoever_comes_by_a_proxy_are_outside() {
        let here = ("host", "127.0.0.1:8400");
        assert!(!inside("45.1.2.3", &[("host", "45.9.9.9:8400")]));
        assert!(!inside("::ffff:45.1.2.3", &[("host", "45.9.9.9:8400")]));
        assert!(!inside("127.0.0.1", &[here, ("origin", "https://evil.example")]));
        assert!(!inside("127.0.0.1", &[("host", "evil.example:8400")]), "a name that was made to lead here");
        assert!(!inside("127.0.0.1", &[here, ("x-forwarded-for", "45.1.2.3")]));
        assert!(!inside("127.0.0.1", &[]));
    }
}
