//! What edges and hosts under pressure, or with bad intentions, can do to others: nothing.

use aldis::relay::io::{Event, Hello, Identity, Note, Request};
use aldis_wire::host::Outcome;
use aldis_wire::limits::PEER_TOPICS_MAX;
use ed25519_dalek::SigningKey;

use crate::world::{World, ms, secs};

#[test]
fn a_host_with_a_large_topic_comes_and_goes_and_nobody_is_cut_for_it() {
    let mut world = World::with_hosts(2);
    let watcher = world.edge(0);
    world.watch(watcher, "crowd");
    for _ in 0..600 {
        let edge = world.edge(1);
        world.join(edge, "crowd");
        world.run(ms(25));
    }
    world.run(secs(1));
    assert_eq!(world.total(0, "crowd"), 600);
    world.heard(watcher);
    world.kill(1);
    world.run(secs(20));
    let left = world.heard(watcher);
    assert!(world.edges[watcher].open, "it reads and acknowledges all that it is told");
    assert_eq!(left.iter().filter(|event| matches!(event, Event::PeerLeft { .. })).count(), 600);
}

#[test]
fn a_host_whose_members_say_much_of_themselves_is_parted_and_found_again_and_nobody_is_cut_for_it() {
    let mut world = World::with_hosts(2);
    let watcher = world.edge(0);
    world.watch(watcher, "crowd");
    for n in 0..500 {
        let edge = world.edge(1);
        world.join_as(edge, "crowd", &format!("{n:0>992}"));
        world.run(ms(25));
    }
    world.part(&[0], &[1]);
    world.run(secs(15));
    assert_eq!(world.total(0, "crowd"), 0);
    world.heard(watcher);
    world.heal(&[0], &[1]);
    world.run(secs(10));
    assert!(world.edges[watcher].open, "it reads and acknowledges all that it is told");
    let came = world.heard(watcher);
    assert_eq!(came.iter().filter(|event| matches!(event, Event::PeerJoined { .. })).count(), 500);
}

#[test]
fn a_member_of_many_topics_outlives_a_host_whose_edges_are_in_all_of_them() {
    let mut world = World::with_hosts(2);
    let topics: Vec<String> = (0..PEER_TOPICS_MAX).map(|n| format!("topic {n}")).collect();
    let member = world.edge(0);
    topics.iter().for_each(|topic| world.join(member, topic));
    for _ in 0..70 {
        let edge = world.edge(1);
        topics.iter().for_each(|topic| world.join(edge, topic));
        world.run(ms(250));
    }
    world.heard(member);
    world.kill(1);
    world.run(secs(20));
    let left = world.heard(member);
    assert!(world.edges[member].open, "it reads and acknowledges all that it is told");
    let count = left.iter().filter(|event| matches!(event, Event::PeerLeft { .. })).count();
    assert_eq!(count, 70 * PEER_TOPICS_MAX);
}

#[test]
fn a_keyed_peer_that_comes_again_at_another_host_is_not_overtaken_by_itself() {
    let mut world = World::with_hosts(3);
    let key = SigningKey::from_bytes(&[9; 32]);
    let target = world.edge(2);
    let first = world.keyed(0, &key, 1);
    for n in 0..5 {
        let to = world.peer(target);
        world.signal(first, to, &format!("a{n}"), "x");
        world.run(ms(100));
    }
    world.kill(0);
    world.run(secs(1));
    let second = world.keyed(1, &key, 2);
    let to = world.peer(target);
    world.signal(second, to, "b", "y");
    world.run(secs(1));
    assert_eq!(world.edges[second].receipts()["b"], [Outcome::Delivered]);
}

#[test]
fn a_peer_that_moves_while_it_sends_costs_no_host_its_link() {
    let mut world = World::with_hosts(3);
    // The old home hears of the new one later than the target's home does.
    world.set_latency(0, 1, ms(400));
    let key = SigningKey::from_bytes(&[9; 32]);
    let target = world.edge(2);
    let to = world.peer(target);
    let old = world.keyed(0, &key, 1);
    world.run(secs(2));
    let _new = world.keyed(1, &key, 2);
    for n in 0..40 {
        world.signal(old, to, &format!("a{n}"), "x");
        world.run(ms(10));
    }
    world.run(secs(1));
    assert_eq!(world.hosts[2].count(|note| matches!(note, Note::Misbehaved { .. })), 0);
    assert_eq!(world.hosts[2].count(|note| matches!(note, Note::LinkEnded { admitted: true, .. })), 0);
}

#[test]
fn claims_that_do_not_hold_are_checked_for_one_socket_a_bounded_number_of_times() {
    let mut world = World::with_hosts(1);
    let key = SigningKey::from_bytes(&[9; 32]);
    let edge = world.open(0);
    let Identity::Keyed { peer, counter, sealing, answer, .. } = world.claim(edge, &key, 1) else { unreachable!() };
    let claim = aldis_wire::proof::Signature::from_bytes(&[1; 64]);
    for _ in 0..500 {
        let identity = Identity::Keyed { peer, counter, sealing, claim, answer };
        world.ask(edge, Request::Hello(Hello { identity, meta: bytes::Bytes::new() }));
    }
    let said = world.says(edge);
    let invalid = said.iter().filter(|word| *word == "error claim_invalid").count();
    assert!((20..=60).contains(&invalid), "{invalid}");
    world.run(secs(3));
    let identity = world.claim(edge, &key, 1);
    world.ask(edge, Request::Hello(Hello { identity, meta: bytes::Bytes::new() }));
    assert!(world.edges[edge].peer.is_some(), "who stops may still come in");
}
