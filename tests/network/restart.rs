//! A host that comes back with what it kept.

use std::time::{Duration, Instant};

use super::edges::{Edge, Raw};
use super::process::{Place, Process, all_linked};
use super::{eventually, testnet};

/// A host that is killed and is back at once: its former life is over when its new epoch is known.
const GHOSTS_GONE_MAX: Duration = Duration::from_secs(5);

async fn epoch_of(host: &str, at: &Process) -> u64 {
    let status = at.status().await;
    status.hosts.iter().find(|other| other.host.to_string() == host).map_or(0, |other| other.epoch)
}

#[tokio::test]
async fn a_host_that_restarts_with_its_data_keeps_its_id_is_known_by_a_new_epoch_and_leaves_no_ghosts() {
    let (dht, place) = (testnet().await, Place::new());
    let (stays, host) = tokio::join!(place.host("stays", &dht.bootstrap, &[]), place.host("back", &dht.bootstrap, &[]));
    all_linked(&[&stays, &host]).await;
    let (id, epoch) = (host.id.clone(), host.status().await.epoch);
    eventually("the epoch is known", async || epoch_of(&id, &stays).await == epoch).await;
    let mut bob = Raw::at(&host.url()).await;
    bob.join("s0").await;
    let mut watcher = Edge::at(&stays.url()).await;
    watcher.finds("s0", bob.peer()).await;
    watcher.join("s0").await;
    bob.sees("s0", watcher.peer()).await;

    // Killed, so that it cannot announce its end, and started again before anybody misses it.
    let killed = Instant::now();
    host.kill();
    let host = place.host("back", &dht.bootstrap, &[]).await;
    assert_eq!(host.id, id);
    let reason = watcher.misses(bob.peer()).await;
    let waited = killed.elapsed();
    assert!(waited < GHOSTS_GONE_MAX, "Bob's ghost ({reason}) was there for {waited:?}");
    all_linked(&[&stays, &host]).await;
    let new_epoch = host.status().await.epoch;
    assert!(new_epoch > epoch, "{new_epoch} after {epoch}");
    eventually("the new epoch is known", async || epoch_of(&id, &stays).await == new_epoch).await;
    for at in [&stays, &host] {
        let asking = Edge::at(&at.url()).await;
        eventually("the watcher alone is found", async || asking.members("s0").await == [watcher.peer()]).await;
    }

    // Its new edges are seen as anybody's.
    let mut bob = Raw::at(&host.url()).await;
    bob.join("s0").await;
    watcher.sees(bob.peer()).await;
}

#[tokio::test]
async fn a_host_that_ends_and_starts_again_is_the_same_host_with_a_higher_epoch() {
    let place = Place::new();
    let mut host = place.host("host", &[], &[]).await;
    let (id, epoch) = (host.id.clone(), host.status().await.epoch);
    host.terminate();
    assert!(host.ended().await.success());
    let host = place.host("host", &[], &[]).await;
    assert_eq!(host.id, id);
    let new_epoch = host.status().await.epoch;
    assert!(new_epoch > epoch, "{new_epoch} after {epoch}");
}
