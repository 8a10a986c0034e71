//! A DHT of another make: what we announce must be found through libtorrent's nodes, and hosts must meet through them.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use futures_util::StreamExt;
use mainline::async_dht::AsyncDht;
use mainline::{Dht, Id};
use tokio::time::timeout;

use super::dht::LibtorrentDht;
use super::edges::{Edge, negotiate};
use super::process::{Place, all_linked};

/// Of any port a test could open: nobody listens there, and nobody needs to.
const ANNOUNCED_PORT: u16 = 47_123;
const DEADLINE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_port_announced_by_one_client_is_found_by_another_through_libtorrents_nodes_alone() {
    let dht = LibtorrentDht::start(8);
    let announcer = client(&dht.nodes).await;
    let seeker = client(&dht.nodes).await;
    let rendezvous = Id::from_bytes([0x5a; 20]).unwrap();

    let announced = timeout(DEADLINE, announcer.announce_peer(rendezvous, Some(ANNOUNCED_PORT))).await;
    announced.expect("the announcement did not end in time").expect("libtorrent's nodes refused the announcement");

    let wanted = SocketAddrV4::new(Ipv4Addr::LOCALHOST, ANNOUNCED_PORT);
    let found = timeout(DEADLINE, seek(&seeker, rendezvous, wanted)).await;
    found.expect("the announced address was not found in time");
}

#[tokio::test]
async fn two_hosts_meet_through_libtorrents_nodes_and_an_offer_crosses() {
    let (dht, place) = (LibtorrentDht::start(8), Place::new());
    let (one, other) = tokio::join!(place.host("one", &dht.nodes, &[]), place.host("other", &dht.nodes, &[]));
    all_linked(&[&one, &other]).await;
    let (mut alice, mut bob) = (Edge::at(&one.url()).await, Edge::at(&other.url()).await);
    bob.join("s0").await;
    alice.finds("s0", bob.peer()).await;
    negotiate(&mut alice, &mut bob).await;
}

#[tokio::test]
async fn nothing_is_found_under_a_key_that_nobody_announced() {
    let dht = LibtorrentDht::start(4);
    let seeker = client(&dht.nodes).await;
    let answers = seeker.get_peers(Id::from_bytes([0xa5; 20]).unwrap()).collect::<Vec<_>>();
    assert!(timeout(DEADLINE, answers).await.unwrap().concat().is_empty());
}

/// A node that asks and is never asked: only libtorrent's nodes store and answer.
async fn client(nodes: &[String]) -> AsyncDht {
    let mut builder = Dht::builder();
    builder.bootstrap(nodes).bind_address(Ipv4Addr::LOCALHOST);
    // It starts a thread and waits for it.
    let client = tokio::task::spawn_blocking(move || builder.build()).await.unwrap().unwrap().as_async();
    assert!(timeout(DEADLINE, client.bootstrapped()).await.unwrap(), "no libtorrent node answered");
    assert!(!client.info().await.server_mode());
    client
}

/// Asks until the wanted address comes back.
async fn seek(seeker: &AsyncDht, rendezvous: Id, wanted: SocketAddrV4) {
    loop {
        let mut answers = seeker.get_peers(rendezvous);
        while let Some(found) = answers.next().await {
            if found.contains(&wanted) {
                return;
            }
        }
    }
}
