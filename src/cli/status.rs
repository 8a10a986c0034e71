//! `aldis status`: what a running host says of itself and of the network.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;

use super::table::table;
use super::{clean, http, print};
use crate::net::admin::{PlaceStatus, Status};

/// Where `aldis run` listens unless told otherwise.
const DEFAULT_URL: &str = "http://127.0.0.1:8400";

/// Show a running host: itself, its links, and all hosts it knows.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  aldis status
  aldis status http://localhost:8401
  aldis status --json | jq .links")]
pub(super) struct Arguments {
    /// The host, by an http or https URL
    #[arg(default_value = DEFAULT_URL, env = "ALDIS_STATUS_URL")]
    url: String,
    /// Trust only this authority (PEM), such as that of `aldis cert dev`
    #[arg(long = "ca", value_name = "FILE")]
    authority: Option<PathBuf>,
    /// Print the answer as it came, for scripts
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(arguments: Arguments) -> Result<()> {
    let url = arguments.url.trim_end_matches('/');
    let answer = http::get(&format!("{url}/api/status"), arguments.authority.as_deref())
        .await
        .with_context(|| format!("no host answers at {url}"))?;
    if arguments.json {
        return print(&format!("{}\n", answer.trim_end()));
    }
    let status: Status = serde_json::from_str(&answer)
        .with_context(|| format!("what answers at {url} is no Aldis host, or one of another version"))?;
    let sections = [host(&status), reach(&status), links(&status), hosts(&status), refused(&status)];
    print(&clean(&sections.join("\n")))
}

fn host(status: &Status) -> String {
    let discovery = &status.discovery;
    let next = match discovery.next_look_up_ms {
        0 => "being asked".to_owned(),
        ms => format!("asked again in {}", time(ms)),
    };
    let dht = match &discovery.dht_problem {
        _ if !discovery.dht => "the DHT is off".to_owned(),
        Some(problem) => format!("the DHT is {next}; what is wrong: {problem}"),
        None => format!("the DHT is {next}"),
    };
    let seeds = match &discovery.dns_seeds_problem {
        Some(problem) => format!("; names in DNS: {problem}"),
        None => String::new(),
    };
    let gateways = if status.gateways.is_empty() { "none published".to_owned() } else { status.gateways.join(" ") };
    let draining = if status.takes_edges { "" } else { ", going away" };
    format!(
        "host       {}\nnetwork    {} (tag {}, version {})\nsoftware   {}, up {}{draining}\ngateways   {gateways}\n\
         edges      {} connected, {} sessions, {} topics\ndiscovery  {} addresses known, {} dials, {dht}{seeds}\n",
        status.host,
        status.network.name,
        status.network.tag,
        status.network.version,
        status.software,
        time(status.uptime_ms),
        status.edges,
        status.sessions,
        status.topics,
        discovery.hints,
        discovery.dials,
    )
}

/// Where the host is, and who can reach it there. `aldis doctor` says what to make of it.
fn reach(status: &Status) -> String {
    let reach = &status.reach;
    let many = |list: Vec<String>| if list.is_empty() { "none".to_owned() } else { list.join(" ") };
    let behind_two = if reach.behind_two { ", behind two routers" } else { "" };
    let seen = reach.observed.iter().map(|seen| format!("{} (by {})", seen.sees, seen.by.short())).collect();
    let mapped =
        reach.mapped.iter().map(|mapped| format!("{} ({}, {})", mapped.outside, mapped.protocol, mapped.of)).collect();
    let text = |addresses: &[std::net::SocketAddr]| many(addresses.iter().map(ToString::to_string).collect());
    let registered = match reach.registered.port {
        Some(port) => format!("port {port}"),
        None => reach.registered.what.clone(),
    };
    let head = format!(
        "nat        {}{behind_two}: {}\nseen at    {}\nlocal      {}\nmapped     {}\naddresses  {}\ncandidates {}\n\
         stun       {}, {} answered, {} refused\nin the DHT {registered}\n",
        reach.nat.replace('_', " "),
        reach.evidence,
        many(seen),
        text(&reach.local),
        many(mapped),
        text(&reach.addresses),
        text(&reach.candidates),
        text(&reach.stun.addresses),
        reach.stun.answered,
        reach.stun.refused,
    );
    let rows: Vec<_> = reach.places.iter().map(place).collect();
    let places = section(
        "places that others try to reach",
        rows.len(),
        &table(["place", "kind", "state", "by", "since"], &rows),
    );
    format!("{head}\n{places}")
}

fn place(place: &PlaceStatus) -> [String; 5] {
    let state = match &place.why {
        Some(why) => format!("{}: {why}", place.state),
        None => place.state.replace('_', " "),
    };
    let since = place.age_ms.map(|age| format!("{} ago", time(age))).unwrap_or_default();
    let by = place.by.map(|by| by.short()).unwrap_or_default();
    [place.place.clone(), place.kind.replace('_', " "), state, by, since]
}

fn links(status: &Status) -> String {
    let rows: Vec<_> = status
        .links
        .iter()
        .map(|link| {
            [
                link.host.short(),
                link.address.to_string(),
                link.kind.clone(),
                format!("{:.1} ms", link.rtt_ms),
                link.key_exchange.clone().unwrap_or_else(|| "?".to_owned()),
                time(link.age_ms),
            ]
        })
        .collect();
    section("links", rows.len(), &table(["host", "address", "how", "round trip", "key exchange", "up"], &rows))
}

fn hosts(status: &Status) -> String {
    let rows: Vec<_> = status
        .hosts
        .iter()
        .map(|host| {
            let hop = match host.next_hop {
                Some(hop) if hop == host.host => "direct".to_owned(),
                Some(hop) => format!("by {}", hop.short()),
                None => "none".to_owned(),
            };
            [
                host.host.short(),
                if host.live { "yes" } else { "no" }.to_owned(),
                format!("{} ago", time(host.age_ms)),
                host.edges.to_string(),
                host.peers.to_string(),
                host.topics.to_string(),
                host.links.to_string(),
                format!("{} %", host.load_percent),
                hop,
                host.nat.replace('_', " "),
                host.software.clone(),
                host.gateways.first().cloned().unwrap_or_default(),
            ]
        })
        .collect();
    let head =
        ["host", "live", "heard of", "edges", "peers", "topics", "links", "load", "way", "nat", "software", "gateway"];
    section("other hosts", rows.len(), &table(head, &rows))
}

/// Hosts that are refused here, and why.
fn refused(status: &Status) -> String {
    let refused = &status.refused;
    let lists = match (refused.allowed, refused.denied) {
        (None, 0) => "no lists".to_owned(),
        (None, denied) => format!("{denied} denied"),
        (Some(allowed), 0) => format!("only {allowed} allowed"),
        (Some(allowed), denied) => format!("only {allowed} allowed, {denied} denied"),
    };
    let revoked = refused.revoked.iter().map(|host| [host.to_string(), "revoked".to_owned(), String::new()]);
    let quarantined = refused.quarantined.iter().map(|quarantine| {
        let reason = format!("quarantined: {}", quarantine.reason.replace('_', " "));
        [quarantine.host.to_string(), reason, format!("{} ago", time(quarantine.age_ms))]
    });
    let rows: Vec<_> = revoked.chain(quarantined).collect();
    section(&format!("refused hosts ({lists})"), rows.len(), &table(["host", "why", "since"], &rows))
}

fn section(name: &str, count: usize, table: &str) -> String {
    if count == 0 { format!("{name}: none\n") } else { format!("{name}: {count}\n{table}") }
}

/// A duration in its two largest units.
pub(super) fn time(ms: u64) -> String {
    let seconds = Duration::from_millis(ms).as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) if seconds < 10 => format!("{}.{} s", seconds, ms % 1_000 / 100),
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min"),
        (0, ..) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}
