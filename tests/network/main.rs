//! Whole hosts on real sockets: what a network of them does for edges, and what becomes of it when something breaks.
//!
//! | module | what |
//! |---|---|
//! | [`story`] | one topic's story on three hosts, from the first member to the end of a host |
//! | [`alone`] | one host that knows no other |
//! | [`broadcasts`] | one message for all members of a topic, wherever they are |
//! | [`strangers`] | other networks and other versions on the same DHT and machine |
//! | [`restart`] | a host that comes back |
//! | [`crash`] | a host that is killed |
//! | [`dht_trouble`] | a DHT that does not answer, and hosts that need none |
//! | [`kept_out`] | hosts that are revoked, denied, or run twice |
//! | [`libtorrent`] | a DHT of another make |
//! | [`damage`] | files that cannot be read, ports that are taken |
//! | [`program`] | the commands against a running network |
//!
//! [`process`], [`inside`] and [`edges`] are the means: hosts as processes, hosts in this process, edges.
#![cfg(feature = "net")]
#![allow(clippy::disallowed_methods, reason = "a test of the outside world: processes, sockets, deadlines")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::indexing_slicing, reason = "a test fails by panicking")]
#![allow(clippy::large_futures, reason = "a test has stack enough")]

mod alone;
mod broadcasts;
mod crash;
mod damage;
#[path = "../dht/mod.rs"]
mod dht;
mod dht_trouble;
mod edges;
mod inside;
mod kept_out;
mod libtorrent;
mod process;
mod program;
mod restart;
mod story;
mod strangers;

use std::time::{Duration, Instant};

/// How long a test waits for something that must happen. Longer than any promise: promises that have a figure are
/// measured, and this only ends a test that waits in vain on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often a state is looked at that nobody tells of.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Waits for something that must happen.
async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("in vain: {what}"),
    }
}

/// Looks again and again until something holds; how long that took.
async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) -> Duration {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < PATIENCE, "in vain: {what}");
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    begun.elapsed()
}

/// A DHT on loopback, of our library's nodes.
async fn testnet() -> mainline::Testnet {
    tokio::task::spawn_blocking(|| mainline::Testnet::builder(4).build()).await.unwrap().unwrap()
}
