//! Packets to the internet and back: a few nodes of the DHT are asked from one fresh socket, and say where they see it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use rustix::io::Errno;
use serde_json::{Value, json};
use tokio::net::{UdpSocket, lookup_host};
use tokio::time::{Instant, timeout, timeout_at};

use super::finding::Finding;
use crate::net::admin::Status;
use crate::system::random_bytes;

/// A resolver that is dead takes longer.
const NAME_MAX: Duration = Duration::from_secs(5);
/// When they are asked again, and when no answer is waited for any more.
const ROUNDS: [Duration; 3] = [Duration::from_millis(700), Duration::from_secs(2), Duration::from_secs(5)];
/// Nodes that are asked.
const NODES_MAX: usize = 8;
/// The check that tells it without any host.
const NAT: &str = "nat_seen_by_dht";
/// A ping's answer has about a hundred bytes.
const ANSWER_BYTES_MAX: usize = 1_500;

/// What came of asking.
#[derive(Debug, Default)]
struct Asked {
    /// Names without an address, and why.
    unresolved: Vec<String>,
    /// Who was asked.
    nodes: Vec<SocketAddr>,
    /// Why nothing could be sent to whom.
    unsent: BTreeMap<SocketAddr, (ErrorKind, Option<i32>, String)>,
    /// Who answered, and where it sees the socket, if it says so.
    answered: BTreeMap<SocketAddr, Option<SocketAddr>>,
    /// From which address and port it was asked.
    from: Option<SocketAddr>,
}

impl Asked {
    /// Who has not answered and can be sent to.
    fn open(&self) -> Vec<SocketAddr> {
        let open = |node: &&SocketAddr| !self.answered.contains_key(node) && !self.unsent.contains_key(node);
        self.nodes.iter().filter(open).copied().collect()
    }
}

pub(super) async fn check(nodes: Vec<String>, status: Option<Status>) -> Vec<Finding> {
    let links = status.as_ref().map_or(0, |status| status.links.len());
    if nodes.is_empty() {
        let finding = if links > 0 {
            Finding::ok("udp", format!("packets go out and come back: {links} links stand"))
        } else {
            Finding::unknown("udp", "the DHT is off and there is no link, so nobody is there to be asked")
        };
        return vec![finding.facts(json!({ "asked": [], "links": links }))];
    }
    let asked = match ask(&nodes).await {
        Ok(asked) => asked,
        Err(error) => {
            let problem = format!("no UDP socket can be opened: {}", crate::system::plain(&error));
            return vec![Finding::wrong("udp", problem, "see the check of open files")];
        }
    };
    let mut findings = vec![verdict(&asked, links).facts(facts(&asked, links))];
    // A running host that knows it knows it better.
    if status.is_none_or(|status| status.reach.nat == "unknown") {
        findings.push(nat(&asked));
    }
    findings
}

fn verdict(asked: &Asked, links: usize) -> Finding {
    let (all, answered) = (asked.nodes.len(), asked.answered.len());
    if answered > 0 {
        let seen: BTreeSet<_> = asked.answered.values().flatten().map(|at| at.ip().to_string()).collect();
        let seen = seen.into_iter().collect::<Vec<_>>().join(" and ");
        let outside = if seen.is_empty() { String::new() } else { format!("; this machine is seen at {seen}") };
        return Finding::ok(
            "udp",
            format!("packets go out and come back: {answered} of {all} DHT nodes answer{outside}"),
        );
    }
    if links > 0 {
        return Finding::note("udp", format!("packets go out and come back, since {links} links stand, but no DHT node answers"))
            .next("if that stays so, the DHT's nodes are blocked or down: name some hosts with --peers, so that this one needs no DHT");
    }
    if all == 0 && asked.unresolved.is_empty() {
        return Finding::wrong(
            "udp",
            "none of the DHT's nodes has an IPv4 address, and the DHT knows no other",
            "name others with --dht-bootstrap, or hosts of the network with --peers",
        );
    }
    if all == 0 {
        return Finding::wrong(
            "udp",
            format!("none of the DHT's nodes has an address: {}", asked.unresolved.join("; ")),
            "this machine has no internet or no name service: try getent hosts example.org; mend that first",
        );
    }
    let errors: Vec<_> = asked.nodes.iter().filter_map(|node| asked.unsent.get(node)).collect();
    let Some((kind, number, text)) = errors.first().filter(|_| errors.len() == all) else {
        return Finding::wrong(
            "udp",
            format!("UDP is blocked, or all of them are down: {all} DHT nodes were asked and none answers"),
            "let UDP out to any port, and the answers back in, in this machine's firewall (sudo nft list ruleset) and in the \
             router; networks of firms, schools and hotels often forbid it, and there no host can run, since links need UDP",
        );
    };
    let next = if *number == Some(Errno::PERM.raw_os_error()) {
        "this machine's own firewall forbids it: sudo nft list ruleset (or iptables -L OUTPUT) shows the rule"
    } else if matches!(kind, ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable) {
        "this machine has no way to the IPv4 internet (ip route shows none): see to cable, wireless or default route. With IPv6 alone \
         the DHT is out of reach, and links need --peers or --dns-seeds"
    } else {
        "look at the addresses in dht_bootstrap and at this machine's firewall: sudo nft list ruleset"
    };
    Finding::wrong("udp", format!("UDP cannot go out: {text}"), next)
}

/// What the nodes' words say of what stands before this machine.
fn nat(asked: &Asked) -> Finding {
    let seen: Vec<_> = asked.answered.iter().filter_map(|(node, seen)| Some((node.ip(), (*seen)?))).collect();
    let observers: BTreeSet<IpAddr> = seen.iter().map(|(node, _)| *node).collect();
    // A node may lie: who is outnumbered two to one counts for nothing.
    let by = |at: &SocketAddr| seen.iter().filter(|(_, other)| other == at).count();
    let most = seen.iter().map(|(_, at)| by(at)).max().unwrap_or(0);
    let outnumbered = most > 2 * (seen.len() - most);
    let places: BTreeSet<SocketAddr> =
        seen.iter().map(|(_, at)| *at).filter(|at| !outnumbered || by(at) == most).collect();
    let (nat, finding) = match (asked.from, places.first()) {
        (Some(from), Some(at)) if places.len() == 1 && *at == from => {
            ("none", Finding::ok(NAT, format!("nothing changes this machine's address: it is seen at {}, its own", at.ip())))
        }
        (_, Some(at)) if places.len() == 1 && observers.len() > 1 => (
            "cone",
            Finding::ok(
                NAT,
                format!(
                    "a router stands before this machine and shows it as {} to all: links with most hosts will work",
                    at.ip()
                ),
            ),
        ),
        (_, Some(_)) if places.len() > 1 => (
            "symmetric",
            Finding::note(
                NAT,
                "the router before this machine shows it at another port to each other side, so that no link can be made with \
                 hosts whose routers are strict too; to those signals go by way of others",
            )
            .next("switch UPnP or PCP on in the router, or let it forward the UDP port of listen_quic to this machine"),
        ),
        _ => ("unknown", Finding::unknown(NAT, "too few DHT nodes say where they see this machine")),
    };
    finding.facts(json!({ "nat": nat, "seen_at": places }))
}

fn facts(asked: &Asked, links: usize) -> Value {
    let nodes: Vec<_> = asked
        .nodes
        .iter()
        .map(|node| {
            let problem = asked.unsent.get(node).map(|(_, _, text)| text);
            json!({
                "node": node, "answered": asked.answered.contains_key(node),
                "sees": asked.answered.get(node), "problem": problem,
            })
        })
        .collect();
    json!({ "asked": nodes, "unresolved": asked.unresolved, "links": links })
}

/// Asks all nodes, again if they do not answer.
async fn ask(names: &[String]) -> io::Result<Asked> {
    let mut asked = Asked::default();
    for name in names.iter().take(NODES_MAX) {
        match timeout(NAME_MAX, lookup_host(name.as_str())).await {
            // The DHT knows IPv4 alone.
            Ok(Ok(found)) => asked.nodes.extend(found.filter(SocketAddr::is_ipv4)),
            Ok(Err(error)) => asked.unresolved.push(format!("{name}: {}", crate::system::plain(&error))),
            Err(_) => asked.unresolved.push(format!("{name}: no answer from the name service")),
        }
    }
    asked.nodes.sort_unstable();
    asked.nodes.dedup();
    asked.nodes.truncate(NODES_MAX);
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
    asked.from = source(&asked.nodes, socket.local_addr()?.port()).await;
    let number: [u8; 4] = random_bytes();
    let (begun, ping) = (Instant::now(), ping(number));
    for until in ROUNDS {
        for node in asked.open() {
            if let Err(error) = socket.send_to(&ping, node).await {
                let why = (error.kind(), error.raw_os_error(), crate::system::plain(&error));
                asked.unsent.insert(node, why);
            }
        }
        listen(&socket, number, begun + until, &mut asked).await;
    }
    Ok(asked)
}

/// Which of our addresses packets to the nodes have, with this port. Sends nothing.
async fn source(nodes: &[SocketAddr], port: u16) -> Option<SocketAddr> {
    let probe = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await.ok()?;
    probe.connect(nodes.first()?).await.ok()?;
    Some(SocketAddr::new(probe.local_addr().ok()?.ip(), port))
}

/// Takes answers until the time is over or all have come.
async fn listen(socket: &UdpSocket, number: [u8; 4], until: Instant, asked: &mut Asked) {
    let mut buf = [0; ANSWER_BYTES_MAX];
    while !asked.open().is_empty() {
        match timeout_at(until, socket.recv_from(&mut buf)).await {
            Ok(Ok((length, from))) => {
                let datagram = buf.get(..length).unwrap_or_default();
                if asked.nodes.contains(&from) && is_answer(datagram, number) {
                    asked.answered.insert(from, seen_at(datagram));
                }
            }
            // A closed port somewhere: the others may still answer.
            Ok(Err(_)) => {}
            Err(_) => return,
        }
    }
}

/// BEP 5: a node asks another whether it is there; by `ro` (BEP 43) it says that it is not to be asked itself. Some nodes
/// answer only to numbers of four bytes.
fn ping(number: [u8; 4]) -> Vec<u8> {
    let id: [u8; 20] = random_bytes();
    [b"d1:ad2:id20:".as_slice(), &id, b"e1:q4:ping2:roi1e1:t4:", &number, b"1:y1:qe"].concat()
}

fn is_answer(datagram: &[u8], number: [u8; 4]) -> bool {
    let token = [b"1:t4:".as_slice(), &number].concat();
    after(datagram, &token).is_some() && after(datagram, b"1:y1:r").is_some()
}

/// BEP 42: nodes say in their answers to which address they go.
fn seen_at(datagram: &[u8]) -> Option<SocketAddr> {
    let &[a, b, c, d, high, low] = after(datagram, b"2:ip6:")?.first_chunk::<6>()?;
    Some(SocketAddr::from((Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([high, low]))))
}

/// What follows the first occurrence of some bytes.
fn after<'a>(datagram: &'a [u8], bytes: &[u8]) -> Option<&'a [u8]> {
    let at = datagram.windows(bytes.len()).position(|window| window == bytes)?;
    datagram.get(at + bytes.len()..)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(from: &str, answers: &[(&str, &str)]) -> Asked {
        let at = |text: &str| text.parse().unwrap();
        let answered = answers.iter().map(|(node, seen)| (at(node), Some(at(seen)))).collect();
        Asked { from: Some(at(from)), answered, ..Asked::default() }
    }

    #[test]
    fn an_answer_is_one_with_our_number_and_says_where_we_are_seen() {
        let answer = b"d2:ip6:\xc0\x00\x02\x07\xb9\x721:rd2:id20:aaaaaaaaaaaaaaaaaaaae1:t4:vwxy1:y1:re";
        assert!(is_answer(answer, *b"vwxy"));
        assert!(!is_answer(answer, *b"vwxz"));
        assert!(!is_answer(&ping(*b"vwxy"), *b"vwxy"), "a question is no answer");
        assert_eq!(seen_at(answer), Some("192.0.2.7:47474".parse().unwrap()));
        assert_eq!(seen_at(b"d2:ip6:\xc0\x00"), None);
    }

    #[test]
    fn what_nodes_see_tells_what_stands_between() {
        let here = "192.168.1.5:5000";
        let nat_of = |asked: &Asked| nat(asked).facts["nat"].as_str().unwrap().to_owned();
        let (one, other) = ("198.51.100.1:1", "198.51.100.2:1");
        assert_eq!(nat_of(&asked(here, &[(one, "203.0.113.1:7"), (other, "203.0.113.1:7")])), "cone");
        assert_eq!(nat_of(&asked(here, &[(one, "203.0.113.1:7"), (other, "203.0.113.1:8")])), "symmetric");
        assert_eq!(nat_of(&asked(here, &[(one, "203.0.113.1:7")])), "unknown", "one alone cannot tell");
        assert_eq!(nat_of(&asked("203.0.113.1:7", &[(one, "203.0.113.1:7")])), "none");
        assert_eq!(nat_of(&asked(here, &[])), "unknown");
        let [third, fourth] = ["198.51.100.3:1", "198.51.100.4:1"];
        let same = [(one, "203.0.113.1:7"), (other, "203.0.113.1:7"), (third, "203.0.113.1:7")];
        assert_eq!(nat_of(&asked(here, &[&same[..], &[(fourth, "9.9.9.9:9")]].concat())), "cone", "one lies");
    }
}
