//! Whole hosts on loopback: how they find each other, part, come back, and refuse others.
#![cfg(feature = "net")]
#![allow(clippy::disallowed_methods, reason = "a test of the outside world: sockets, files, deadlines")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod faults;
mod harness;
mod hostile;
mod insider;
mod proxy;

use std::time::{Duration, Instant};

use aldis::net::client::Event;
use aldis::net::driver::{self, HostConfig, StartError};
use aldis::relay::io::Hint;
use aldis_wire::edge::Status;
use aldis_wire::network::Genesis;
use harness::{
    DEADLINE, config, dht, edge, get, hear, is_linked, knowing, knows, meeting, metric, remembering, start, until,
    until_linked,
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
async fn a_host_whose_dht_is_silent_serves_its_edges_says_so_and_joins_when_the_dht_answers() {
    // Ports at which nobody answers yet.
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let nodes = [address.to_string()];
    let (a, b) = (start(meeting(1, &nodes)).await, start(meeting(2, &nodes)).await);
    let (alice, _to_alice) = edge(&a).await;
    alice.join("t", None).await.unwrap();
    until(&a, "a problem with the DHT", |view| view.discovery.dht_problem.is_some()).await;
    let problem = a.hub().view().discovery.dht_problem.unwrap();
    assert!(problem.contains(&address.to_string()), "{problem}");
    assert!(get(&a, "/readyz").await.contains("\"takes_edges\":true"));

    drop(silent);
    let node = tokio::task::spawn_blocking(move || {
        let mut builder = mainline::Dht::builder();
        builder.server_mode().no_bootstrap().bind_address(std::net::Ipv4Addr::LOCALHOST).port(address.port());
        builder.build().unwrap()
    });
    let _node = node.await.unwrap();
    until_linked(&a, &b).await;
    until(&a, "a DHT that works", |view| view.discovery.dht_problem.is_none()).await;
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
async fn a_damaged_memory_is_discarded_and_the_host_starts() {
    let directory = tempfile::tempdir().unwrap();
    for file in ["epoch", "hints", "marks"] {
        std::fs::write(directory.path().join(file), b"\xff\x00 not what it was").unwrap();
    }
    let host = start(remembering(config(1), directory.path())).await;
    assert!(host.hub().view().epoch > 1_600_000_000, "the time of day is the floor");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn networks_and_versions_that_share_a_dht_and_a_machine_never_meet() {
    let net = dht(8).await;
    let meeting_all = |seed, hosts: &[&driver::Host]| HostConfig {
        settings: knowing(seed, hosts).settings,
        ..meeting(seed, &net.bootstrap)
    };
    let ours = start(meeting(1, &net.bootstrap)).await;
    let stranger =
        start(HostConfig { genesis: Genesis::new("hosts", [8; 32]).unwrap(), ..meeting_all(2, &[&ours]) }).await;
    let later = start(HostConfig { version: 2, ..meeting_all(3, &[&ours]) }).await;
    let friend = start(meeting_all(4, &[&ours, &stranger, &later])).await;
    until_linked(&ours, &friend).await;

    // The others were told our address by their operators, so they have tried, and were refused.
    let refused = async {
        while metric(&ours, "aldis_handshakes_total{outcome=\"other_network\"}").await.unwrap_or(0.0) < 2.0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        while metric(&friend, "aldis_dials_failed_total{reason=\"other_network\"}").await.unwrap_or(0.0) < 2.0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(DEADLINE, refused).await.expect("the refusals were not counted");
    for (host, knows) in [(&ours, 1), (&friend, 1), (&stranger, 0), (&later, 0)] {
        let view = host.hub().view();
        assert_eq!((view.links.len(), view.hosts.len()), (knows, knows), "{view:#?}");
    }
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
async fn the_edges_of_a_host_that_vanishes_are_gone_within_ten_seconds_and_others_go_on() {
    let a = start(config(1)).await;
    let b = start(knowing(2, &[&a])).await;
    let c = start(knowing(3, &[&a, &b])).await;
    until_linked(&a, &c).await;
    until_linked(&b, &c).await;
    let ((alice, mut to_alice), (bob, mut to_bob), (carol, _)) = (edge(&a).await, edge(&b).await, edge(&c).await);
    alice.join("t", None).await.unwrap();
    bob.join("t", None).await.unwrap();
    hear(&mut to_alice, |event| matches!(event, Event::PeerJoined { .. }).then_some(())).await;
    let begun = Instant::now();
    // No goodbye: the process is gone, as far as the others can tell.
    drop(b);
    hear(&mut to_alice, |event| matches!(event, Event::PeerLeft { .. }).then_some(())).await;
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert_eq!(carol.signal(alice.who().peer, None, "1").await.unwrap().status, Status::Delivered);
    hear(&mut to_bob, |event| matches!(event, Event::SocketLost { .. } | Event::Closed { .. }).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_is_named() {
    let host = start(config(1)).await;
    let taken = HostConfig { quic: host.quic_address(), ..config(2) };
    match driver::start(taken).await {
        Err(error @ StartError::Quic { .. }) => {
            let text = error.to_string();
            assert!(text.contains(&host.quic_address().to_string()) && text.contains("--listen-quic"), "{text}");
        }
        other => panic!("{other:?}"),
    }
    let taken = HostConfig { http: host.http_address(), ..config(2) };
    match driver::start(taken).await {
        Err(error @ StartError::Http { .. }) => {
            let text = error.to_string();
            assert!(text.contains(&host.http_address().to_string()) && text.contains("--listen-http"), "{text}");
        }
        other => panic!("{other:?}"),
    }
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
