//! The story of one topic in virtual time: three machines, edges that come, signal, go and are lost.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test may fail by panic")]
#![allow(clippy::disallowed_methods, reason = "a test is not the machine")]

mod world;

use std::time::Duration;

use world::World;

#[test]
fn edges_on_two_hosts_find_each_other_and_exchange_signals_both_ways() {
    let mut world = World::with_hosts(3);
    let bob = world.edge(0);
    world.join(bob, "s0");
    world.run(Duration::from_millis(200));
    let alice = world.edge(1);
    world.join(alice, "s0");
    assert_eq!(world.says(alice), ["joined with [\"0\"]"], "Alice is given Bob");
    world.run(Duration::from_millis(200));
    assert_eq!(world.says(bob), ["joined with []", "+1"], "Bob is told of Alice");
    let (a, b) = (world.peer(alice), world.peer(bob));
    world.signal(alice, b, "1", "offer");
    world.signal(alice, b, "2", "candidate");
    world.run(Duration::from_millis(100));
    assert_eq!(world.says(bob), ["1 says offer", "1 says candidate"]);
    assert_eq!(world.says(alice), ["1 Delivered", "2 Delivered"]);
    world.signal(bob, a, "1", "answer");
    world.run(Duration::from_millis(100));
    assert_eq!(world.says(alice), ["0 says answer"]);
    assert_eq!(world.says(bob), ["1 Delivered"]);
}
