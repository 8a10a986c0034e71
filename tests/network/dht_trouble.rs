//! A DHT that does not answer, and hosts that need none.

use std::net::Ipv4Addr;

use mainline::Dht;

use super::edges::{Edge, negotiate};
use super::process::{Place, all_linked, free_udp_port};
use super::{eventually, testnet};

#[tokio::test]
async fn hosts_whose_dht_is_down_serve_their_edges_say_so_and_meet_once_it_answers() {
    let place = Place::new();
    let ports = [free_udp_port(), free_udp_port()];
    let nodes = ports.map(|port| format!("127.0.0.1:{port}"));
    let (one, other) = tokio::join!(place.host("one", &nodes, &[]), place.host("other", &nodes, &[]));

    // Edges are served from the first moment.
    let (mut alice, mut bob) = (Edge::at(&one.url()).await, Edge::at(&one.url()).await);
    bob.join("s0").await;
    alice.finds("s0", bob.peer()).await;
    negotiate(&mut alice, &mut bob).await;
    let mut far = Edge::at(&other.url()).await;

    // What is wrong, and what the host will do, stands in the log, in the status and where a prober looks.
    let problem = format!("no node of the DHT answers (tried {})", nodes.join(", "));
    eventually("the problem is in the log", async || one.log().contains(&problem)).await;
    let log = one.log();
    let line = log.lines().find(|line| line.contains(&problem)).unwrap();
    assert!(line.contains("WARN") && line.contains("the DHT is asked again every few seconds"), "{line}");
    eventually("the problem is in the status", async || {
        let status = one.status().await.discovery;
        status.dht_problem.is_some_and(|text| text.contains(&problem)) && status.next_look_up_ms <= 10_000
    })
    .await;
    let shown = place.command(&["status", &format!("http://{}", one.http)]).output().unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    let line = shown.lines().find(|line| line.starts_with("discovery ")).unwrap();
    assert!(line.contains("the DHT is ") && line.contains("asked") && line.contains(&problem), "{line}");
    let ready: aldis::net::admin::Ready = serde_json::from_str(&one.get("/readyz").await).unwrap();
    assert!(ready.takes_edges && ready.dht_problem.is_some_and(|text| text.contains(&problem)));

    // The DHT comes up; nobody restarts anything.
    let first = nodes[0].clone();
    let _dht = tokio::task::spawn_blocking(move || {
        ports.map(|port| {
            let mut node = Dht::builder();
            node.bootstrap(&[&first]).server_mode().bind_address(Ipv4Addr::LOCALHOST).port(port);
            node.build().unwrap()
        })
    })
    .await
    .unwrap();
    all_linked(&[&one, &other]).await;
    for host in [&one, &other] {
        eventually("the DHT works", async || host.status().await.discovery.dht_problem.is_none()).await;
        assert!(host.log().contains("the DHT answers again"), "{}", host.log());
    }
    far.finds("s0", bob.peer()).await;
    negotiate(&mut far, &mut bob).await;
}

#[tokio::test]
async fn a_host_that_is_named_by_id_and_address_is_linked_without_a_dht_and_found_again_from_the_cache() {
    let place = Place::new();
    let known = place.host("known", &[], &[]).await;
    let peer = format!("{}@{}", known.id, known.quic);
    let mut host = place.host("host", &[], &["--peers", &peer]).await;
    all_linked(&[&known, &host]).await;
    host.terminate();
    assert!(host.ended().await.success());
    eventually("the link is gone", async || known.status().await.links.is_empty()).await;

    // The second time it is told of nobody.
    let host = place.host("host", &[], &[]).await;
    all_linked(&[&known, &host]).await;
    let (mut alice, mut bob) = (Edge::at(&known.url()).await, Edge::at(&host.url()).await);
    bob.join("s0").await;
    alice.finds("s0", bob.peer()).await;
    negotiate(&mut alice, &mut bob).await;
}

#[tokio::test]
async fn another_host_at_the_address_than_the_named_one_is_not_linked_with() {
    let (dht, place) = (testnet().await, Place::new());
    drop(dht);
    let known = place.host("known", &[], &[]).await;
    let peer = format!("{}@{}", "ab".repeat(32), known.quic);
    let host = place.host("host", &[], &["--peers", &peer]).await;
    let name = "aldis_dials_failed_total{reason=\"other_host\"}";
    eventually("the dial fails", async || super::process::metric(host.http, name).await >= 1.0).await;
    assert!(host.status().await.links.is_empty() && known.status().await.links.is_empty());
}
