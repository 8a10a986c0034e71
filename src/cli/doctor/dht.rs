//! The DHT, asked by a node that lives for this question alone: does it answer, and does it know the running host?

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde_json::json;
use tokio::time::timeout;

use super::finding::Finding;
use crate::cli::run::dht_config;
use crate::config::Config;
use crate::net::admin::Status;

/// A look-up takes a few seconds; one in a DHT that is silent is given up.
const LOOK_UP_MAX: Duration = Duration::from_secs(40);
/// A host has told the DHT of itself by then, and nodes have told each other.
const ANNOUNCED_BY_MS: u64 = 3 * 60 * 1_000;

pub(super) async fn check(config: Config, status: Option<Status>) -> Vec<Finding> {
    let Some(rendezvous) = dht_config(&config).rendezvous(config.network.rendezvous, None) else {
        let peers = config.peers.len();
        let off = format!("the DHT is switched off; hosts named with --peers: {peers}");
        let others = peers > 0 || config.lan || !config.dns_seeds.is_empty();
        let finding = if others || status.as_ref().is_some_and(|status| !status.links.is_empty()) {
            Finding::ok("dht", off)
        } else {
            Finding::note("dht", off).next(
                "switch it on (--dht true) or name a host with --peers: otherwise this one waits for others to come",
            )
        };
        return vec![finding.facts(json!({ "on": false, "found": [] }))];
    };
    let mut found = BTreeSet::new();
    let outcome = {
        let mut take = |addresses: Vec<SocketAddr>| found.extend(addresses);
        timeout(LOOK_UP_MAX, rendezvous.look_up(&mut take)).await
    };
    let problem = match outcome {
        Ok(Ok(())) => None,
        Ok(Err(problem)) => Some(problem),
        Err(_) => Some(format!("no end of the look-up within {} s", LOOK_UP_MAX.as_secs())),
    };
    let strangers: Vec<_> = status.iter().flat_map(|status| strangers(status, &found)).collect();
    let finding = match &problem {
        None => answering(found.len(), strangers.len()),
        Some(problem) => Finding::wrong(
            "dht",
            problem.clone(),
            "mend UDP first, if that is wrong too; if not, the nodes are down or blocked: name others with --dht-bootstrap, or \
             hosts of the network with --peers, which need no DHT",
        ),
    };
    let running = status.as_ref().and_then(|status| status.discovery.dht_problem.clone());
    let facts = json!({ "on": true, "found": found, "strangers": strangers, "problem": problem, "problem_of_running_host": running });
    let mut findings = vec![finding.facts(facts)];
    if let Some(status) = &status {
        findings.push(announced(status, &found, problem.is_none()));
    }
    findings
}

/// Of the addresses found, those of no host that the running one knows, if there may be such hosts at all: one that
/// knows as many as there are addresses has met everybody, wherever they are seen now.
fn strangers<'a>(status: &Status, found: &'a BTreeSet<SocketAddr>) -> Vec<&'a SocketAddr> {
    let known = status.hosts.iter().filter(|host| host.live);
    if known.clone().count() + 1 >= found.len() {
        return Vec::new();
    }
    let ours = status.reach.addresses.iter().chain(&status.reach.candidates);
    let theirs = known.flat_map(|host| &host.addresses).chain(status.links.iter().map(|link| &link.address));
    let known: BTreeSet<_> = ours.chain(theirs).collect();
    found.iter().filter(|address| !known.contains(address)).collect()
}

fn answering(found: usize, strangers: usize) -> Finding {
    let good = format!("it answers, and names {found} addresses of this network");
    match strangers {
        0 => Finding::ok("dht", good),
        _ => Finding::note(
            "dht",
            format!("{good}; {strangers} of them belong to no host that the running one knows: hosts that are gone, or not met yet"),
        )
        .next("run this again in a quarter of an hour, when the host has asked anew, or start it again"),
    }
}

/// Whether the fresh node found the running host.
fn announced(status: &Status, found: &BTreeSet<SocketAddr>, answered: bool) -> Finding {
    let (reach, name) = (&status.reach, "announced");
    let observed = reach.observed.iter().map(|observed| observed.sees.ip());
    let dht = reach.dht.iter().map(|dht| dht.address.ip());
    let ours: BTreeSet<IpAddr> = observed.chain(dht).chain(reach.addresses.iter().map(SocketAddr::ip)).collect();
    let is_ours = |at: &&SocketAddr| match (reach.registered.port, &reach.dht) {
        // Many hosts have the same port.
        (Some(port), _) => at.port() == port && ours.contains(&at.ip()),
        (None, Some(dht)) => **at == dht.address,
        (None, None) => false,
    };
    let seen = found.iter().find(is_ours);
    let port = reach.registered.port.map_or("the port that it sees".to_owned(), |port| format!("port {port}"));
    let finding = match (reach.registered.what.as_str(), seen) {
        ("nothing", _) => Finding::ok(
            name,
            "the DHT is told nothing of this host, since nobody has reached it from outside so far; its neighbours introduce it to \
             others",
        ),
        (_, Some(at)) => {
            Finding::ok(name, format!("a node that knows nothing of this host finds it in the DHT, at {at}"))
        }
        _ if !answered => Finding::unknown(name, "the DHT does not answer"),
        _ if ours.is_empty() => Finding::unknown(
            name,
            format!(
                "the host tells the DHT {port}; which of the addresses there is its own is not known, since nobody sees it"
            ),
        ),
        _ if status.uptime_ms < ANNOUNCED_BY_MS => Finding::note(
            name,
            format!("the host tells the DHT {port}, but is not found there yet; it runs since a moment only"),
        )
        .next("run this again in a few minutes"),
        _ => Finding::wrong(
            name,
            format!("the host tells the DHT {port}, but a fresh look-up does not find it"),
            "see whether the DHT works for the running host (aldis status), and whether the router changes ports; other hosts \
             still learn of this one from its neighbours",
        ),
    };
    finding.facts(json!({ "registered": reach.registered, "seen_at": seen }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail by panic")]
    use super::super::finding::Verdict;
    use super::super::tests::status;
    use super::*;
    use crate::net::admin::{ReachStatus, Registered};

    #[test]
    fn a_host_with_the_same_port_elsewhere_is_not_taken_for_ours() {
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        let registered = Registered { what: "port".to_owned(), port: Some(47_474) };
        let mut reach = ReachStatus { registered, ..ReachStatus::default() };
        let found = BTreeSet::from([at("45.1.1.1:47474")]);
        let verdict = |reach: &ReachStatus| announced(&status(reach), &found, true).verdict;
        assert_eq!(verdict(&reach), Verdict::Unknown, "nobody has said where we are");
        reach.addresses = vec![at("45.2.2.2:47474")];
        assert_eq!(verdict(&reach), Verdict::Wrong);
        reach.addresses = vec![at("45.1.1.1:47474")];
        assert_eq!(verdict(&reach), Verdict::Ok);
    }
}
