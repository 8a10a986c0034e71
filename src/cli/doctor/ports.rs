//! Whether the ports are free, or ours.

use std::io::{Error, ErrorKind};
use std::net::SocketAddr;

use serde_json::json;

use super::finding::Finding;
use super::host::Seen;
use crate::config::Config;
use crate::net::gateway;
use crate::net::quic::{Quic, QuicError};

pub(super) async fn check(config: &Config, seen: &Seen) -> [Finding; 2] {
    let (quic, http) = (config.listen_quic, config.listen_http);
    // Only where no host of ours could want them at this moment.
    let tried = match seen {
        Seen::Running { .. } | Seen::Silent { .. } => None,
        Seen::Other { .. } | Seen::Nobody { .. } => Some((links(quic), gateway::bind(http).map(drop))),
    };
    let (udp, tcp) = tried.unzip();
    let running = seen.status().is_some();
    [finding(&LINKS, quic, udp, running), finding(&EDGES, http, tcp, running)]
}

fn links(address: SocketAddr) -> Result<(), Error> {
    Quic::socket(address).map(drop).map_err(|error| match error {
        QuicError::Bind { error, .. } => error,
        QuicError::Tls(error) => Error::other(error),
    })
}

/// What a port is for.
struct Port {
    check: &'static str,
    kind: &'static str,
    letter: char,
    of: &'static str,
    flag: &'static str,
}

const LINKS: Port =
    Port { check: "port_for_links", kind: "UDP", letter: 'u', of: "links with other hosts", flag: "--listen-quic" };
const EDGES: Port =
    Port { check: "port_for_edges", kind: "TCP", letter: 't', of: "browsers and pages", flag: "--listen-http" };

fn finding(port: &Port, address: SocketAddr, tried: Option<Result<(), Error>>, running: bool) -> Finding {
    let Port { check, kind, letter, of, flag } = port;
    let name = format!("{kind} {address}, for {of},");
    let (state, finding) = match tried {
        None if running => ("ours", Finding::ok(check, format!("{name} is used by the running host"))),
        None => ("not_tried", Finding::unknown(check, format!("{name} is not tried, so that no host is disturbed"))),
        Some(Ok(())) => ("free", Finding::ok(check, format!("{name} is free"))),
        Some(Err(error)) => {
            let problem = crate::system::plain(&error);
            let next = match error.kind() {
                ErrorKind::AddrInUse => format!(
                    "find out who uses it: sudo ss -{letter}lpn 'sport = :{}'; then end that program or choose another port \
                     with {flag}",
                    address.port()
                ),
                ErrorKind::PermissionDenied => format!(
                    "ports below 1024 need a permission: sudo setcap cap_net_bind_service=+ep $(command -v aldis); or choose \
                     another port with {flag}"
                ),
                ErrorKind::AddrNotAvailable => {
                    format!("this machine has no such address (ip address shows those it has): change {flag}")
                }
                _ => format!("choose another with {flag}"),
            };
            let state = if error.kind() == ErrorKind::AddrInUse { "taken" } else { "refused" };
            (state, Finding::wrong(check, format!("{name} cannot be used: {problem}"), next))
        }
    };
    finding.facts(json!({ "address": address, "state": state }))
}
