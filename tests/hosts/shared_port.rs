//! Hosts whose DHT uses the UDP port of their links: both work there, and STUN as well.
#![cfg(target_os = "linux")]

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use aldis::net::driver::{self, Host, HostConfig, StartError};
use aldis::net::udp::ask;
use aldis::relay::io::Hint;
use aldis::relay::view::View;
use aldis_wire::edge::Status;
use mainline::Dht;

use super::harness::{dht, edge, is_linked, meeting, start, until, until_linked};

/// A host without a link asks the DHT every 30 s.
const DEADLINE: Duration = Duration::from_secs(60);

/// As `meeting`, with one port for all.
fn sharing(seed: u8, nodes: &[String]) -> HostConfig {
    HostConfig { dht_share_port: true, ..meeting(seed, nodes) }
}

/// A `ping` of the DHT (BEP 5). The library takes only transaction numbers of four bytes.
const PING: &[u8] = b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t4:abcd1:y1:qe";
/// A datagram may be lost; then it is sent again.
const ANSWER_MAX: Duration = Duration::from_secs(1);

/// Waits until a node of the DHT answers at the port of links. It is asked itself: nodes tell of few others at one address,
/// and here all have the same.
async fn until_node(host: &Host) {
    let asking = tokio::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    asking.connect(host.quic_address()).await.unwrap();
    let begin = Instant::now();
    let mut answer = [0; 1_500];
    loop {
        assert!(begin.elapsed() < DEADLINE, "no node answers at the port of links");
        // A port that is closed for a moment refuses.
        let _refused = asking.send(PING).await;
        if let Ok(Ok(length)) = tokio::time::timeout(ANSWER_MAX, asking.recv(&mut answer)).await {
            let answer = String::from_utf8_lossy(&answer[..length]);
            assert!(answer.contains("1:rd2:id20:") && answer.contains("1:t4:abcd"), "{answer:?}");
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn signals_go(from: &Host, to: &Host) {
    let ((alice, _), (bob, _)) = (edge(from).await, edge(to).await);
    bob.join("t", None).await.unwrap();
    let begin = Instant::now();
    while alice.discover("t", 1).await.unwrap().peers.is_empty() {
        assert!(begin.elapsed() < DEADLINE, "the other host's edge is not seen");
    }
    for n in 0..20 {
        let receipt = alice.signal(bob.who().peer, None, &n.to_string()).await.unwrap();
        assert_eq!(receipt.status, Status::Delivered);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hosts_meet_through_the_dht_at_their_ports_for_links_and_each_port_speaks_all_three_protocols() {
    let net = dht(6).await;
    let a = start(sharing(1, &net.bootstrap)).await;
    let b = start(sharing(2, &net.bootstrap)).await;
    until_linked(&a, &b).await;
    for host in [&a, &b] {
        until_node(host).await;
        let seen = ask(host.quic_address()).await.unwrap();
        assert_eq!(seen.ip(), host.quic_address().ip());
    }
    signals_go(&a, &b).await;
    signals_go(&b, &a).await;
    for host in [&a, &b] {
        assert_eq!(host.hub().counts().datagrams_dropped.total(), 0, "nobody got what was another's");
    }
    // Who does not share meets those who do.
    let c = start(meeting(3, &net.bootstrap)).await;
    until_linked(&c, &a).await;
    until_linked(&c, &b).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dht_that_was_silent_at_the_start_is_joined_at_the_same_port_and_links_do_not_end_for_it() {
    // Nobody answers there yet.
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let first = silent.local_addr().unwrap();
    let nodes = [first.to_string()];
    let a = start(sharing(1, &nodes)).await;
    let mut knowing = sharing(2, &nodes);
    knowing.settings.static_peers = vec![Hint { address: a.quic_address(), host: Some(a.id()) }];
    let b = start(knowing).await;
    until_linked(&a, &b).await;
    let link = |host: &Host| host.hub().view().links.iter().map(|link| link.link).collect::<Vec<_>>();
    let links = link(&a);
    // One without a link, which looks up again soon.
    let c = start(sharing(3, &nodes)).await;
    let silence = |view: &View| view.discovery.dht_problem.is_some();
    for host in [&a, &b, &c] {
        until(host, "a look-up without an answer", silence).await;
        assert!(ask(host.quic_address()).await.is_ok());
    }
    assert_eq!(link(&a), links, "the link is the same");
    drop(silent);
    let founding = tokio::task::spawn_blocking(move || {
        let mut builder = Dht::builder();
        builder.server_mode().no_bootstrap().bind_address(Ipv4Addr::LOCALHOST).port(first.port());
        builder.build().unwrap()
    });
    let _founder = founding.await.unwrap();
    let begin = Instant::now();
    while silence(&c.hub().view()) {
        assert!(begin.elapsed() < DEADLINE, "no look-up was answered");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    until_node(&c).await;
    assert!(ask(c.quic_address()).await.is_ok());
    let mut knowing = super::config(4);
    knowing.settings.static_peers = vec![Hint { address: c.quic_address(), host: Some(c.id()) }];
    let d = start(knowing).await;
    until_linked(&d, &c).await;
    signals_go(&a, &b).await;
}

#[tokio::test]
async fn an_address_of_ipv6_alone_cannot_be_shared_and_all_addresses_can() {
    let nodes = ["127.0.0.1:9".to_owned()];
    let v6 = HostConfig { quic: "[::1]:0".parse().unwrap(), ..sharing(1, &nodes) };
    let error = driver::start(v6).await.err().unwrap();
    assert!(matches!(error, StartError::Share { .. }) && error.to_string().contains("dht_share_port"), "{error}");
    let all = HostConfig { quic: "[::]:0".parse().unwrap(), ..sharing(2, &nodes) };
    let host = start(all).await;
    let port = host.quic_address().port();
    for ip in ["127.0.0.1", "::1"] {
        let seen = ask(SocketAddr::new(ip.parse().unwrap(), port)).await.unwrap();
        assert_eq!(seen.ip().to_string(), ip);
    }
    // Links of both families, while the DHT holds the port together with them.
    for (seed, ip) in [(3, "127.0.0.1"), (4, "::1")] {
        let mut knowing = super::config(seed);
        knowing.quic = "[::]:0".parse().unwrap();
        let address = SocketAddr::new(ip.parse().unwrap(), port);
        knowing.settings.static_peers = vec![Hint { address, host: Some(host.id()) }];
        let other = start(knowing).await;
        until(&other, "a link", |view| is_linked(view, host.id())).await;
    }
}
