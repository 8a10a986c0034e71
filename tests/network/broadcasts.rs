//! Broadcasts between whole hosts.

use aldis::client::{Event, Tally};
use aldis_wire::edge::Reach;

use super::edges::Edge;
use super::inside::{all_linked, config, genesis, start, url};
use super::{eventually, testnet, within};

async fn broadcast(edge: &Edge, data: &str) -> Tally {
    within("a tally", edge.client.broadcast("s0", data)).await.unwrap()
}

/// What comes to an edge of another's broadcasts, whatever else it is told between.
async fn heard(edge: &mut Edge, from: &Edge) -> String {
    loop {
        if let Event::Broadcast { from: peer, data, topic, .. } = edge.next("a broadcast").await {
            assert_eq!((peer, &*topic), (from.peer(), "s0"));
            return data;
        }
    }
}

#[tokio::test]
async fn members_on_three_hosts_hear_each_other_in_order_and_the_tally_says_who_is_gone() {
    let (genesis, dht) = (genesis(), testnet().await);
    let mut hosts = Vec::new();
    for _ in 0..3 {
        hosts.push(start(config(&genesis, &dht.bootstrap)).await);
    }
    all_linked(&hosts.iter().collect::<Vec<_>>()).await;
    let mut edges = Vec::new();
    for host in &hosts {
        for _ in 0..2 {
            let edge = Edge::at(&url(host)).await;
            edge.join("s0").await;
            edges.push(edge);
        }
    }
    for edge in &edges {
        eventually("all see all", async || edge.members("s0").await.len() == 5).await;
    }
    let sender = edges.remove(0);
    for n in 0..20 {
        let tally = broadcast(&sender, &format!("{{\"n\": {n}}}")).await;
        let reach = Reach { taken: 3, members: 5, ..Reach::default() };
        assert_eq!(tally, Tally { reach, code: None });
    }
    for edge in &mut edges {
        for n in 0..20 {
            assert_eq!(heard(edge, &sender).await, format!("{{\"n\": {n}}}"));
        }
    }
    // A host that ends tells so: its members are not counted any more.
    let last = hosts.pop().unwrap();
    edges.truncate(3);
    last.stop().await;
    eventually("the others see it gone", async || sender.members("s0").await.len() == 3).await;
    let reach = Reach { taken: 2, members: 3, ..Reach::default() };
    assert_eq!(broadcast(&sender, "null").await, Tally { reach, code: None });
    for edge in &mut edges {
        assert_eq!(heard(edge, &sender).await, "null");
    }
}
