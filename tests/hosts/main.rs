//! Links between whole hosts on loopback: how they come about, what they bear, whom they refuse. (What a network of hosts
//! does for edges, also when hosts die: tests/network.)
#![cfg(feature = "net")]
#![allow(clippy::disallowed_methods, reason = "a test of the outside world: sockets, files, deadlines")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[path = "../dns/mod.rs"]
mod dns;
mod doors_peerjs;
mod doors_socket_signal;
mod doors_webtorrent;
mod faults;
mod harness;
mod hostile;
mod insider;
#[path = "../gateway/peerjs_client.rs"]
mod peerjs_client;
mod proxy;
mod sealed;
mod shared_port;
#[path = "../gateway/socket_signal_client.rs"]
mod socket_signal_client;
#[path = "../gateway/webtorrent_client.rs"]
mod webtorrent_client;

use std::time::{Duration, Instant};

use aldis::client::Event;
use aldis::net::driver::HostConfig;
use aldis::net::seeds::SeedsConfig;
use aldis::relay::io::Hint;
use aldis_wire::edge::Status;
use aldis_wire::limits::VERSION;
use aldis_wire::network::Network;
use harness::{
    config, dht, edge, get, hear, is_linked, knowing, knows, meeting, metric, remembering, start, until, until_linked,
};

#[tokio::test(flavor = "multi_thread")]
async fn two_hosts_by_a_static_address_carry_signals_both_ways_over_a_link_that_holds_against_quantum_computers() {
    let a = start(config(1)).await;
    let b = start(knowing(2, &[&a])).await;
    until_linked(&a, &b).await;
    let ((alice, mut to_alice), (bob, mut to_bob)) = (edge(&a).await, edge(&b).await);
    alice.join("t", None).await.unwrap();
    bob.join("t", None).await.unwrap();
    let told = hear(&mut to_alice, |event| match event {
        Event::PeerJoined { peer, .. } => Some(peer),
        _ => None,
    });
    assert_eq!(told.await, bob.who().peer);
    for n in 0..20 {
        let data = format!("{{\"n\":{n}}}");
        let receipt = alice.signal(bob.who().peer, Some("t"), &data).await.unwrap();
        assert_eq!(receipt.status, Status::Delivered);
        let heard = hear(&mut to_bob, |event| match event {
            Event::Signal { data, from, .. } => Some((from, data)),
            _ => None,
        });
        assert_eq!(heard.await, (alice.who().peer, data));
        assert_eq!(bob.signal(alice.who().peer, None, "1").await.unwrap().status, Status::Delivered);
    }
    for host in [&a, &b] {
        let status: serde_json::Value = serde_json::from_str(&get(host, "/api/status").await).unwrap();
        assert_eq!(status["links"][0]["key_exchange"], "X25519MLKEM768", "{status}");
        assert_eq!(metric(host, "aldis_handshakes_total{outcome=\"done\"}").await, Some(1.0));
    }
    a.stop().await;
    b.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_that_share_nothing_but_a_dht_find_each_other() {
    let net = dht(8).await;
    let hosts = [start(meeting(1, &net.bootstrap)).await, start(meeting(2, &net.bootstrap)).await];
    until_linked(&hosts[0], &hosts[1]).await;
    let third = start(meeting(3, &net.bootstrap)).await;
    for host in &hosts {
        until_linked(host, &third).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_host_is_the_same_host_in_a_new_epoch_and_finds_its_mesh_from_its_own_memory() {
    let directory = tempfile::tempdir().unwrap();
    let a = start(config(1)).await;
    let b = start(remembering(knowing(2, &[&a]), directory.path())).await;
    until_linked(&a, &b).await;
    let (bob, _to_bob) = edge(&b).await;
    bob.join("t", None).await.unwrap();
    let (id, epoch) = (b.id(), b.hub().view().epoch);
    let knows_bob =
        move |view: &aldis::relay::view::View| view.hosts.iter().any(|h| h.host == id && h.memberships == 1);
    until(&a, "bob's membership", knows_bob).await;
    b.stop().await;
    until(&a, "b's departure", |view| !knows(view, id)).await;

    // No DHT, no static peers: only what it kept.
    let b = start(remembering(config(2), directory.path())).await;
    assert_eq!(b.id(), id);
    assert!(b.hub().view().epoch > epoch);
    let took = until(&b, "a link from memory", |view| is_linked(view, a.id())).await;
    assert!(took < Duration::from_secs(10), "{took:?}");
    until(&a, "the new epoch", |view| view.hosts.iter().any(|h| h.host == id && h.live && h.epoch > epoch)).await;
    assert!(!a.hub().view().hosts.iter().any(|h| h.host == id && h.memberships > 0), "a ghost of the former life");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_stops_says_goodbye_to_edges_and_hosts_within_its_time() {
    let a = start(config(1)).await;
    let b = start(knowing(2, &[&a])).await;
    until_linked(&a, &b).await;
    let ((alice, mut to_alice), (bob, mut to_bob)) = (edge(&a).await, edge(&b).await);
    alice.join("t", None).await.unwrap();
    bob.join("t", None).await.unwrap();
    hear(&mut to_alice, |event| matches!(event, Event::PeerJoined { .. }).then_some(())).await;
    let id = b.id();
    let begun = Instant::now();
    let (stopped, left, drained) = tokio::join!(
        async {
            b.stop().await;
            begun.elapsed()
        },
        async {
            let reason = hear(&mut to_alice, |event| match event {
                Event::PeerLeft { reason, .. } => Some(reason),
                _ => None,
            });
            (reason.await, begun.elapsed())
        },
        hear(&mut to_bob, |event| matches!(event, Event::Drain { .. }).then_some(()))
    );
    let () = drained;
    assert!(stopped < Duration::from_secs(5), "{stopped:?}");
    assert!(left.1 < Duration::from_secs(2), "{left:?}");
    assert_ne!(left.0, "host_lost", "its departure was announced");
    until(&a, "no link", |view| !is_linked(view, id)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_static_peer_that_comes_later_is_linked_within_seconds() {
    let placeholder = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = placeholder.local_addr().unwrap();
    let mut waiting = config(1);
    waiting.settings.static_peers = vec![Hint { address, host: None }];
    let a = start(waiting).await;
    until(&a, "a dial", |view| view.discovery.dials > 0).await;
    drop(placeholder);
    let b = start(HostConfig { quic: address, ..config(2) }).await;
    let took = until(&a, "the link", |view| is_linked(view, b.id())).await;
    assert!(took < Duration::from_secs(12), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_linked_host_tells_at_the_same_port_where_it_sees_whoever_asks_by_stun_and_counts_it() {
    let a = start(config(1)).await;
    let b = start(knowing(2, &[&a])).await;
    until_linked(&a, &b).await;
    for _ in 0..5 {
        let seen = aldis::net::udp::ask(a.quic_address()).await.unwrap();
        assert_eq!(seen.ip(), a.quic_address().ip());
        assert_ne!(seen.port(), a.quic_address().port(), "its own address is of no use to who asks");
    }
    let line = "aldis_stun_requests_total{outcome=\"answered\"}";
    assert!(get(&a, "/metrics").await.contains(&format!("{line} 5\n")));
    assert!(a.hub().view().links.iter().any(|link| link.host == b.id()), "the link is still there");
    let off = start(HostConfig { stun: false, ..config(3) }).await;
    assert!(aldis::net::udp::ask(off.quic_address()).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_finds_another_by_a_name_in_dns_alone_and_says_what_is_wrong_with_a_name() {
    let a = start(config(1)).await;
    let tag = Network::with_version(&config(1).genesis, VERSION).tag;
    let text = format!("aldis={tag} {}@relay.test:{}", a.id(), a.quic_address().port());
    let zone = dns::Zone {
        texts: [("seeds.test.".to_owned(), vec![vec![text]])].into(),
        addresses: [("relay.test.".to_owned(), vec![a.quic_address().ip()])].into(),
    };
    let server = dns::Server::start(Some(zone)).await;
    let naming = |seed, name: &str| {
        let seeds = SeedsConfig { names: vec![name.to_owned()], servers: Some(vec![server.address]) };
        HostConfig { seeds, ..config(seed) }
    };
    let b = start(naming(2, "seeds.test")).await;
    until_linked(&a, &b).await;
    assert_eq!(server.asked().first().map(String::as_str), Some("txt seeds.test."));
    let c = start(naming(3, "missing.test")).await;
    let told = |problem: &String| problem.starts_with("missing.test: ");
    until(&c, "the problem", |view| view.discovery.seeds_problem.as_ref().is_some_and(told)).await;
    assert!(c.hub().view().links.is_empty());
}
