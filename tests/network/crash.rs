//! A host that is killed: what the others make of it, and when.

use std::time::{Duration, Instant};

use super::edges::{Edge, Raw};
use super::process::{Place, all_linked};
use super::{eventually, testnet};

/// The promise: the edges of a crashed host are seen to leave within this time.
const CRASH_SEEN_MAX: Duration = Duration::from_secs(10);

#[tokio::test]
async fn the_edges_of_a_host_that_is_killed_are_gone_everywhere_within_ten_seconds() {
    let (dht, place) = (testnet().await, Place::new());
    let start = async |name| place.host(name, &dht.bootstrap, &[]).await;
    let (first, second, doomed) = tokio::join!(start("first"), start("second"), start("doomed"));
    all_linked(&[&first, &second, &doomed]).await;
    let mut edges = [Raw::at(&doomed.url()).await, Raw::at(&doomed.url()).await];
    for edge in &mut edges {
        edge.join("s0").await;
    }
    let watchers = [Edge::at(&first.url()).await, Edge::at(&second.url()).await];
    let mut lost = edges.each_ref().map(Raw::peer);
    lost.sort_unstable();
    for watcher in &watchers {
        eventually("both edges are seen", async || watcher.members("s0").await == lost).await;
    }
    let [mut one, mut two] = watchers;
    one.join("s0").await;
    two.finds("s0", one.peer()).await;
    two.join("s0").await;
    one.sees(two.peer()).await;

    let killed = Instant::now();
    doomed.kill();
    for watcher in [&mut one, &mut two] {
        for _ in 0..lost.len() {
            match watcher.next("a departure").await {
                aldis::client::Event::PeerLeft { peer, reason, .. } => {
                    assert!(lost.contains(&peer));
                    assert_eq!(reason, "host_lost");
                }
                other => panic!("{other:?}"),
            }
        }
    }
    let waited = killed.elapsed();
    assert!(waited < CRASH_SEEN_MAX, "they were seen to leave after {waited:?}");
    assert_eq!((one.members("s0").await, two.members("s0").await), (vec![two.peer()], vec![one.peer()]));
    // The two that are left still serve each other.
    super::edges::negotiate(&mut one, &mut two).await;
}
