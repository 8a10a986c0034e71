//! What the running host knows of its own place: what stands before it, what routers let through, who reached it, links.

use std::net::SocketAddr;

use aldis_wire::id::HostId;
use serde_json::json;

use super::finding::Finding;
use crate::cli::status::time;
use crate::config::Config;
use crate::net::admin::{PlaceStatus, ReachStatus, Status};

/// A host that runs for less long may not have asked anybody yet.
const SETTLED_MS: u64 = 60_000;

pub(super) fn check(config: &Config, status: Option<&Status>) -> Vec<Finding> {
    let Some(status) = status else {
        return vec![Finding::unknown("reachable", "only a running host can say who reaches it, and none answers")];
    };
    vec![
        nat(config, status),
        mapping(config, status),
        reachable(config, status),
        gateway(config, status),
        links(status),
    ]
}

/// A count with its noun.
fn many(count: usize, noun: &str) -> String {
    if count == 1 { format!("one {noun}") } else { format!("{count} {noun}s") }
}

/// What to do so that everybody can reach the host.
fn open_a_port(config: &Config, status: &Status) -> String {
    let port = config.listen_quic.port();
    let private = status.reach.local.iter().find(|address| address.is_ipv4());
    let here = private.map_or("this machine".to_owned(), |address| format!("this machine ({})", address.ip()));
    if status.reach.behind_two {
        return format!(
            "ask the provider for a public IPv4 address or for IPv6: what is set in the nearer router alone does not help. If both \
             routers are yours, let the outer one forward UDP port {port} to the nearer one, and that to {here}. Then start the \
             host again"
        );
    }
    format!(
        "let the router forward UDP port {port} to {here}, or switch on PCP or UPnP in it; with a firewall on this machine: \
         sudo ufw allow {port}/udp. Then start the host again"
    )
}

fn nat(config: &Config, status: &Status) -> Finding {
    let reach = &status.reach;
    let evidence = &reach.evidence;
    let help = open_a_port(config, status);
    let second =
        if reach.behind_two { ". There seems to be a second router behind yours, usually the provider's" } else { "" };
    let finding = match reach.nat.as_str() {
        "open" => Finding::ok("nat", format!("other hosts can dial this one{}: {evidence}", families(reach))),
        "restricted" | "port_restricted" => Finding::note(
            "nat",
            format!(
                "a router or firewall lets in only answers ({evidence}). That is usual at home and works: neighbours introduce \
                 this host to others, and both dial at one moment{second}"
            ),
        )
        .next(format!("nothing must be done. Better still: {help}")),
        "symmetric" => Finding::note(
            "nat",
            format!(
                "the router shows this host at another port to each other side ({evidence}), so no link can be made with \
                 hosts whose routers are strict too; to those signals go by way of others{second}"
            ),
        )
        .next(help),
        _ if status.uptime_ms < SETTLED_MS => {
            Finding::unknown("nat", format!("not known yet: {evidence}")).next("run this again in a minute")
        }
        _ => Finding::unknown("nat", format!("not known: {evidence}"))
            .next("it takes links with two hosts at different addresses; see the check of links"),
    };
    let lines = reach
        .observed
        .iter()
        .map(|seen| format!("{} sees this host at {} since {}", seen.by.short(), seen.sees, time(seen.age_ms)));
    finding.lines(lines.collect()).facts(json!({
        "nat": reach.nat, "evidence": evidence, "behind_two": reach.behind_two,
        "observed": reach.observed, "dht": reach.dht, "local": reach.local, "candidates": reach.candidates,
    }))
}

/// Whether that is so in one family alone.
fn families(reach: &ReachStatus) -> &'static str {
    let reached = |family: fn(&SocketAddr) -> bool| {
        let mut places = reach.places.iter().filter(|place| is_proof(reach, place));
        places.any(|place| place.place.parse().is_ok_and(|at| family(&at)))
    };
    match (reached(SocketAddr::is_ipv4), reached(SocketAddr::is_ipv6)) {
        (false, true) => " by IPv6, and nobody has by IPv4",
        _ => "",
    }
}

/// Whether a place shows that others reach this host: one that was tried by a stranger, or by a neighbour's other port where
/// the host has concluded from it that everybody is let in.
fn is_proof(reach: &ReachStatus, place: &PlaceStatus) -> bool {
    place.state == "verified" && (place.kind == "links" || place.kind == "other_port" && reach.nat == "open")
}

fn mapping(config: &Config, status: &Status) -> Finding {
    let reach = &status.reach;
    let finding = if let Some(mapped) = reach.mapped.first() {
        let ports = many(reach.mapped.len(), "port");
        let opened = format!("the router has opened {ports} for this host, asked by {}", mapped.protocol);
        let finding = if reach.behind_two {
            Finding::note("mapping", format!("{opened}; nobody comes so far, since another router stands before it"))
        } else {
            Finding::ok("mapping", opened)
        };
        let lines = reach.mapped.iter().map(|mapped| {
            let of = if mapped.of == "links" { "links" } else { "the gateway" };
            format!("{} leads to {of} ({})", mapped.outside, mapped.protocol)
        });
        finding.lines(lines.collect())
    } else if !config.map_ports {
        Finding::ok("mapping", "routers are not asked to open a port, since map_ports is off")
    } else if reach.nat == "open" {
        Finding::ok("mapping", "no router has opened a port for this host, and none needs to: it is reached without")
    } else {
        let finding = Finding::note("mapping", "no router has opened a port for this host").lines(refusals(reach));
        // What is known of the NAT brings the same advice with it.
        if reach.nat == "unknown" { finding.next(open_a_port(config, status)) } else { finding }
    };
    finding.facts(json!({ "mapped": reach.mapped, "asked": config.map_ports, "routers": reach.mapping }))
}

/// Why no router has opened a port, a line for each reason.
fn refusals(reach: &ReachStatus) -> Vec<String> {
    let mut lines = Vec::new();
    for (asked, family) in reach.mapping.iter().zip(["IPv4", "IPv6"]) {
        let router = asked.router.map_or("router".to_owned(), |router| format!("router {router}"));
        lines.extend(asked.idle.iter().map(|idle| format!("{family}: {idle}")));
        lines.extend(asked.problems.iter().map(|problem| format!("{router}: {problem}")));
    }
    lines
}

/// The places of some kinds, and what became of each, a line each.
fn places<'a>(reach: &'a ReachStatus, kinds: &'a [&str]) -> (Vec<&'a PlaceStatus>, Vec<String>) {
    let places: Vec<_> = reach.places.iter().filter(|place| kinds.contains(&place.kind.as_str())).collect();
    let lines = places.iter().map(|place| {
        let by = place.by.as_ref().map_or("nobody".to_owned(), HostId::short);
        let ago = time(place.age_ms.unwrap_or(0));
        let kind = match place.kind.as_str() {
            "stun" => " (STUN)",
            "other_port" => " (a neighbour's other port)",
            _ => "",
        };
        let at = &place.place;
        match place.state.as_str() {
            "verified" => format!("{at}{kind}: reached, {by}, {ago} ago"),
            "not_reached" => format!("{at}{kind}: not reached, {by}, {ago} ago"),
            _ => format!("{at}{kind}: not tried, {}", place.why.as_deref().unwrap_or("nobody has yet")),
        }
    });
    let lines = lines.collect();
    (places, lines)
}

fn reachable(config: &Config, status: &Status) -> Finding {
    let (places, lines) = places(&status.reach, &["links", "other_port", "stun"]);
    let links = || places.iter().filter(|place| place.kind == "links");
    let verified = places.iter().find(|place| is_proof(&status.reach, place));
    let promised = links().find(|place| place.state == "not_reached" && is_promised(config, &place.place));
    let help = open_a_port(config, status);
    let finding = if let Some(place) = promised {
        Finding::wrong(
            "reachable",
            format!("the configuration gives {} as this host's address, and nobody reaches it there", place.place),
            format!("correct addresses, or {help}"),
        )
    } else if let Some(place) = verified {
        let by = place.by.as_ref().map_or("another host".to_owned(), HostId::short);
        let ago = time(place.age_ms.unwrap_or(0));
        Finding::ok("reachable", format!("other hosts reach this one at {}, as {by} saw {ago} ago", place.place))
    } else if links().any(|place| place.state == "not_reached") {
        Finding::note(
            "reachable",
            "others tried to reach this host from outside, and could not; it is found through its neighbours",
        )
        .next(help)
    } else {
        let why = links().find_map(|place| place.why.as_deref()).unwrap_or("no neighbour sees it from outside yet");
        let finding =
            Finding::unknown("reachable", format!("whether strangers can reach this host is not known: {why}"));
        finding.next(if status.links.is_empty() {
            "it takes a link first; see the check of links"
        } else {
            "nothing must be done while there are links: hosts that were never linked with this one will try"
        })
    };
    finding.lines(lines).facts(json!({
        "verified": verified.is_some(), "places": places, "addresses": status.reach.addresses,
        "stun": status.reach.stun,
    }))
}

fn is_promised(config: &Config, place: &str) -> bool {
    place.parse::<SocketAddr>().is_ok_and(|place| config.addresses.contains(&place))
}

fn gateway(config: &Config, status: &Status) -> Finding {
    let (places, lines) = places(&status.reach, &["gateway"]);
    let find = |state: &str| places.iter().find(|place| place.state == state);
    let finding = match (find("not_reached"), find("verified")) {
        (Some(place), _) if config.public_urls.contains(&place.place) => Finding::wrong(
            "gateway",
            format!("browsers are told to come to {}, and nobody reaches it there", place.place),
            "see that the name leads to this machine or its proxy, that TCP is let through to it, and that the certificate is right",
        ),
        (_, Some(place)) if place.place.starts_with("wss:") => {
            Finding::ok("gateway", format!("browsers anywhere can use this host at {}", place.place))
        }
        (_, Some(place)) => Finding::note(
            "gateway",
            format!(
                "browsers anywhere reach this host at {}, but only pages without TLS may use it: it is not wss",
                place.place
            ),
        )
        .next("see the check of the certificate"),
        (Some(place), None) => {
            Finding::note("gateway", format!("browsers elsewhere cannot use this host: {} is not reached", place.place))
        }
        (None, None) if status.gateways.is_empty() => Finding::note(
            "gateway",
            "no public_urls: browsers elsewhere are not told of this host. It serves its network and the browsers that know it",
        ),
        (None, None) => {
            let why = places.iter().find_map(|place| place.why.as_deref()).unwrap_or("not yet");
            Finding::unknown("gateway", format!("nobody has tried to reach the gateway from outside: {why}"))
        }
    };
    finding.lines(lines).facts(json!({ "urls": status.gateways, "published": status.reach.gateways, "places": places }))
}

fn links(status: &Status) -> Finding {
    let direct = status.links.iter().map(|link| {
        format!(
            "{} at {}, {}, {:.0} ms, since {}",
            link.host.short(),
            link.address,
            link.kind,
            link.rtt_ms,
            time(link.age_ms)
        )
    });
    let live = || status.hosts.iter().filter(|host| host.live);
    let by_others: Vec<_> = live().filter(|host| host.next_hop.is_some_and(|hop| hop != host.host)).collect();
    let by_way = by_others.iter().filter_map(|host| {
        Some(format!("{} ({}) by way of {}", host.host.short(), host.nat.replace('_', " "), host.next_hop?.short()))
    });
    let lines = direct.chain(by_way).collect();
    let discovery = &status.discovery;
    let finding = match (status.links.len(), discovery.hints) {
        (0, 0) => Finding::note("links", "there is no link, and no other host is known")
            .next("if you expect others, see that all have the same --network or --genesis, or name one with --peers"),
        (0, hints) if status.uptime_ms < SETTLED_MS => {
            Finding::note("links", format!("there is no link yet; {hints} addresses are known"))
                .next("run this again in a minute")
        }
        (0, hints) => Finding::wrong(
            "links",
            format!("there is no link, though {hints} addresses are known where hosts may be"),
            "see to UDP first; then see that the other hosts run, and with the same version: aldis --version",
        ),
        (links, _) => Finding::ok(
            "links",
            format!("{}, and {} by way of others", many(links, "link"), many(by_others.len(), "host")),
        ),
    };
    let via: Vec<_> =
        by_others.iter().map(|host| json!({ "host": host.host, "nat": host.nat, "next_hop": host.next_hop })).collect();
    finding.lines(lines).facts(json!({
        "links": status.links, "by_next_hop": via, "hosts_live": live().count(), "hints": discovery.hints,
    }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail by panic")]
    use super::super::finding::Verdict;
    use super::super::tests::status;
    use super::*;
    use crate::config::{FlagValues, Sources};

    fn place(kind: &str, at: &str, state: &str) -> PlaceStatus {
        let why = (state == "unverified").then(|| "no neighbour sees us at that address".to_owned());
        let (kind, place, state) = (kind.to_owned(), at.to_owned(), state.to_owned());
        PlaceStatus { kind, place, published: false, state, by: None, age_ms: None, why }
    }

    fn found(nat: &str, places: Vec<PlaceStatus>) -> ReachStatus {
        ReachStatus { nat: nat.to_owned(), places, ..ReachStatus::default() }
    }

    #[test]
    fn a_host_that_is_reached_by_ipv6_alone_is_not_said_to_be_reached_by_all() {
        let v6 = place("links", "[2606:4700::1]:47474", "verified");
        let v4 = place("links", "45.1.1.1:47474", "not_reached");
        assert!(families(&found("open", vec![v4, v6.clone()])).contains("nobody has by IPv4"));
        let v4 = place("links", "45.1.1.1:47474", "verified");
        assert_eq!(families(&found("open", vec![v4, v6])), "");
    }

    #[test]
    fn what_a_neighbours_other_port_proves_is_said_where_the_host_concludes_it() {
        let tried =
            vec![place("links", "45.1.1.1:47474", "unverified"), place("other_port", "45.1.1.1:47474", "verified")];
        let proofs = |nat| {
            let reach = found(nat, tried.clone());
            reach.places.iter().filter(|place| is_proof(&reach, place)).count()
        };
        assert_eq!((proofs("open"), proofs("restricted")), (1, 0));
    }

    #[test]
    fn a_gateway_without_tls_is_not_said_to_serve_every_page() {
        let environment = |name: &str| (name == "HOME").then(|| "/home/h".to_owned());
        let sources = Sources::gather(&FlagValues::new(), environment, None).unwrap();
        let config = Config::read(&sources, environment).unwrap();
        let verdict =
            |url: &str, state| gateway(&config, &status(&found("open", vec![place("gateway", url, state)]))).verdict;
        assert_eq!(verdict("wss://relay.example/v1", "verified"), Verdict::Ok);
        assert_eq!(verdict("ws://45.1.1.1:8400/v1", "verified"), Verdict::Note);
        assert_eq!(verdict("wss://relay.example/v1", "not_reached"), Verdict::Note);
    }
}
