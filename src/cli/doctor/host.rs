//! The host that runs with this configuration, if one does.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use serde_json::json;

use super::finding::Finding;
use crate::cli::http::{self, Trust};
use crate::config::Config;
use crate::identity;
use crate::lock::Lock;
use crate::net::admin::Status;

/// What was seen of a running host.
#[derive(Debug)]
pub(super) enum Seen {
    /// It answers.
    Running { status: Box<Status>, url: String, process: Option<u32> },
    /// Its data directory is in use, and nothing of it answers.
    Silent { url: String, process: Option<u32>, problem: String },
    /// Another one answers where it should.
    Other { url: String, problem: String },
    /// None runs.
    Nobody { url: String },
}

impl Seen {
    pub(super) fn status(&self) -> Option<&Status> {
        match self {
            Self::Running { status, .. } => Some(status),
            _ => None,
        }
    }

    /// The running host's process, if that is known.
    pub(super) fn process(&self) -> Option<u32> {
        match self {
            Self::Running { process, .. } | Self::Silent { process, .. } => *process,
            Self::Other { .. } | Self::Nobody { .. } => None,
        }
    }
}

/// Asks who answers. Reads the data directory and changes nothing in it.
pub(super) async fn find(config: &Config, url: Option<&str>, authority: Option<&Path>) -> Seen {
    let holder = Lock::holder(&config.data_dir);
    let process = holder.as_ref().and_then(|holder| holder.pid);
    let (at, trust) = match (url, authority) {
        (Some(url), Some(authority)) => (url.trim_end_matches('/').to_owned(), Trust::Authority(authority)),
        (Some(url), None) => (url.trim_end_matches('/').to_owned(), Trust::World),
        // Its certificate names what browsers call it, not this address of our own machine.
        (None, _) => (own_url(config), Trust::Anybody),
    };
    let problem = match http::get_from(&format!("{at}/api/status"), trust).await {
        Ok(answer) => match serde_json::from_str::<Status>(&answer) {
            Ok(status) => match stranger(config, &status) {
                None => return Seen::Running { status: Box::new(status), url: at, process },
                Some(problem) => return Seen::Other { url: at, problem },
            },
            Err(_) => "what answers there is no Aldis host, or one of another version".to_owned(),
        },
        Err(error) => format!("{error:#}"),
    };
    match (holder, url) {
        (None, None) => Seen::Nobody { url: at },
        _ => Seen::Silent { url: at, process, problem },
    }
}

/// Why the host that answers is not the one of this configuration.
fn stranger(config: &Config, status: &Status) -> Option<String> {
    let (ours, theirs) = (config.network.tag.to_string(), &status.network);
    if theirs.tag != ours {
        return Some(format!("it is a host of the network {} (tag {}), not of tag {ours}", theirs.name, theirs.tag));
    }
    let id = identity::load(&config.data_dir).ok().flatten().map(|key| key.id())?;
    (status.host != id).then(|| format!("it is the host {}, not this one, {}", status.host.short(), id.short()))
}

/// Where the host of this configuration answers on this machine.
fn own_url(config: &Config) -> String {
    let listening = config.listen_http;
    let here = match listening {
        SocketAddr::V4(at) if at.ip().is_unspecified() => SocketAddr::from((Ipv4Addr::LOCALHOST, at.port())),
        SocketAddr::V6(at) if at.ip().is_unspecified() => SocketAddr::from((Ipv6Addr::LOCALHOST, at.port())),
        other => other,
    };
    format!("{}://{here}", if config.tls.is_some() { "https" } else { "http" })
}

pub(super) fn finding(config: &Config, seen: &Seen) -> Finding {
    let network = &config.network;
    match seen {
        Seen::Running { status, url, process } => Finding::ok(
            "host",
            format!("host {} of the network {} runs at {url}", status.host.short(), status.network.name),
        )
        .facts(json!({
            "running": true, "url": url, "process": process, "software": status.software,
            "uptime_ms": status.uptime_ms, "edges": status.edges,
        })),
        Seen::Silent { url, process, problem } => Finding::wrong(
            "host",
            format!("no host answers at {url} ({problem}){}", match process {
                Some(process) => format!(", but process {process} uses the data directory"),
                None => String::new(),
            }),
            "if it has just been started, wait a moment and run this again; if it listens elsewhere, give its --listen-http \
             or --url; if it hangs, end it and start it again",
        )
        .facts(json!({ "running": null, "url": url, "process": process, "problem": problem })),
        Seen::Other { url, problem } => Finding::wrong(
            "host",
            format!("another host answers at {url}: {problem}"),
            "give this command the options of the host that you mean (--network or --genesis, --data-dir, --listen-http)",
        )
        .facts(json!({ "running": false, "url": url, "problem": problem })),
        Seen::Nobody { url } => Finding::note(
            "host",
            format!(
                "no host of the network {} (tag {}) runs at {url}: this is what can be seen without one",
                network.name, network.tag
            ),
        )
        .next("start it with aldis run and run this again: then it can say who reaches it")
        .facts(json!({ "running": false, "url": url })),
    }
}
