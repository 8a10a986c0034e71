//! One host alone: everything that two edges of the same host need.

use aldis::client::Receipt;
use aldis_wire::edge::Status;
use aldis_wire::id::PeerId;
use aldis_wire::refusal::Refusal;
use std::time::{Duration, Instant};

use super::edges::{DELIVERED, Edge, negotiate};
use super::inside::{config, genesis, start, url};

async fn host() -> (aldis::net::driver::Host, String) {
    let host = start(config(&genesis(), &[])).await;
    let url = url(&host);
    (host, url)
}

#[tokio::test]
async fn two_edges_of_one_host_discover_each_other_and_exchange_offer_answer_and_candidates() {
    let (_host, url) = host().await;
    let (mut alice, mut bob) = (Edge::at(&url).await, Edge::at(&url).await);
    assert_eq!(bob.join("s0").await.total, 0);
    assert_eq!(alice.members("s0").await, [bob.peer()]);
    assert_eq!(alice.join("s0").await.peers[0].peer, bob.peer());
    bob.sees(alice.peer()).await;
    negotiate(&mut alice, &mut bob).await;
    negotiate(&mut bob, &mut alice).await;
}

#[tokio::test]
async fn an_edge_that_offers_to_several_at_once_gets_a_receipt_for_each_and_an_answer_of_each() {
    let (_host, url) = host().await;
    let mut caller = Edge::at(&url).await;
    let mut called = Vec::new();
    for _ in 0..8 {
        let edge = Edge::at(&url).await;
        edge.join("s0").await;
        called.push(edge);
    }
    let mut members: Vec<PeerId> = called.iter().map(Edge::peer).collect();
    members.sort_unstable();
    assert_eq!(caller.members("s0").await, members);

    let mut posted = Vec::new();
    for peer in &members {
        posted.push(caller.client.post(*peer, None, &format!("\"offer to {peer}\"")).await.unwrap());
    }
    for edge in &mut called {
        // Others of the topic came after it; the offer is what matters.
        let offer = loop {
            let event = edge.next("the offer").await;
            if let aldis::client::Event::Signal { from, data, .. } = event {
                assert_eq!(from, caller.peer());
                break data;
            }
        };
        assert_eq!(offer, format!("\"offer to {}\"", edge.peer()));
        // The caller is in no topic, and is answered all the same.
        assert_eq!(edge.signal(caller.peer(), "\"answer\"").await, DELIVERED);
        assert_eq!(caller.hears(edge.peer()).await, "\"answer\"");
    }
    for posted in posted {
        assert_eq!(posted.receipt().await.unwrap(), DELIVERED);
    }
}

#[tokio::test]
async fn an_edge_in_several_topics_hears_of_each_what_happens_there_and_nothing_else() {
    let (_host, url) = host().await;
    let (mut both, mut red, blue) = (Edge::at(&url).await, Edge::at(&url).await, Edge::at(&url).await);
    both.join("red").await;
    both.join("blue").await;
    assert_eq!(red.join("red").await.total, 1);
    both.sees(red.peer()).await;
    assert_eq!(blue.join("blue").await.peers[0].peer, both.peer());
    both.sees(blue.peer()).await;
    both.client.leave("red").await.unwrap();
    assert_eq!(red.misses(both.peer()).await, "left");
    assert_eq!((red.members("red").await, red.members("blue").await.len()), (Vec::new(), 2));
    // Of red, `both` hears nothing any more: the next event is of blue.
    red.client.leave("red").await.unwrap();
    let blue_was = blue.peer();
    blue.client.bye().await;
    assert_eq!(both.misses(blue_was).await, "closed");
    // And the one in red heard nothing of blue.
    assert_eq!(both.signal(red.peer(), "1").await, DELIVERED);
    assert_eq!(red.hears(both.peer()).await, "1");
}

#[tokio::test]
async fn who_discovers_without_membership_is_seen_by_nobody() {
    let (_host, url) = host().await;
    let (asking, mut bob, carol) = (Edge::at(&url).await, Edge::at(&url).await, Edge::at(&url).await);
    bob.join("s0").await;
    assert_eq!(asking.members("s0").await, [bob.peer()]);
    assert_eq!(asking.members("s1").await, []);
    // The next whom Bob sees is Carol.
    assert_eq!(carol.join("s0").await.total, 1);
    bob.sees(carol.peer()).await;
}

#[tokio::test]
async fn a_signal_to_an_unknown_peer_is_refused_at_once() {
    let (_host, url) = host().await;
    let alice = Edge::at(&url).await;
    let begun = Instant::now();
    let receipt = alice.signal(PeerId::new([7; 32]), "\"offer\"").await;
    assert_eq!(receipt, Receipt { status: Status::Refused, code: Some(Refusal::NoSuchPeer) });
    assert!(begun.elapsed() < Duration::from_secs(1), "it took {:?}", begun.elapsed());

    // Also one who was there a moment ago.
    let bob = Edge::at(&url).await;
    let bob_was = bob.peer();
    bob.join("s0").await;
    assert_eq!(alice.members("s0").await, [bob_was]);
    bob.client.bye().await;
    super::eventually("Bob is gone", async || alice.members("s0").await.is_empty()).await;
    assert_eq!(alice.signal(bob_was, "\"offer\"").await.code, Some(Refusal::NoSuchPeer));
}
