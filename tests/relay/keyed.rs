//! Keyed peers: claims, replays, moves between hosts.

use aldis::relay::io::{Event, Hello, Identity, Input, Request};
use aldis::relay::limits::{CLAIM_TOKENS, COUNTER_MEMORY, EDGE_RATE};
use aldis_wire::host::Outcome;
use aldis_wire::id::PeerId;
use aldis_wire::refusal::Refusal;
use bytes::Bytes;
use ed25519_dalek::SigningKey;

use crate::world::{World, ms, secs};

fn key(number: u8) -> SigningKey {
    SigningKey::from_bytes(&[number; 32])
}

fn peer(key: &SigningKey) -> PeerId {
    PeerId::new(key.verifying_key().to_bytes())
}

fn say_hello(world: &mut World, edge: usize, identity: Identity) {
    world.ask(edge, Request::Hello(Hello { identity, meta: Bytes::new() }));
}

/// What a hello was refused with, and the counter told with it.
fn refusal(world: &mut World, edge: usize) -> Option<(Refusal, Option<u64>)> {
    world.heard(edge).into_iter().find_map(|event| match event {
        Event::Error { refusal, known, .. } => Some((refusal, known)),
        _ => None,
    })
}

#[test]
fn who_owns_a_key_is_that_peer_and_can_be_signalled_by_it() {
    let mut world = World::with_hosts(2);
    let bob = world.keyed(0, &key(1), 1);
    assert_eq!(world.peer(bob), peer(&key(1)));
    let alice = world.edge(1);
    world.run(ms(100));
    world.signal(alice, peer(&key(1)), "1", "offer");
    world.run(ms(100));
    assert_eq!(world.says(bob), ["1 says offer"], "although Bob is in no topic");
    assert_eq!(world.says(alice), ["1 Delivered"]);
}

#[test]
fn a_claim_that_is_wrong_in_any_part_is_refused_and_the_socket_stays_usable() {
    let mut world = World::with_hosts(2);
    let edge = world.open(0);
    let good = world.claim(edge, &key(1), 5);
    let Identity::Keyed { peer, counter, sealing, claim, answer } = good.clone() else { unreachable!() };
    let other_greeting = world.open(0);
    let other_home = world.open(1);
    let elsewhere = |world: &World, edge| match world.claim(edge, &key(1), 5) {
        Identity::Keyed { claim, answer, .. } => (claim, answer),
        _ => unreachable!(),
    };
    let (_, stale_answer) = elsewhere(&world, other_greeting);
    let (foreign_claim, foreign_answer) = elsewhere(&world, other_home);
    let wrong = [
        Identity::Keyed { peer, counter: 6, sealing, claim, answer },
        Identity::Keyed { peer, counter, sealing: Some([1; 32]), claim, answer },
        Identity::Keyed { peer: crate::keyed::peer(&key(2)), counter, sealing, claim, answer },
        Identity::Keyed { peer, counter, sealing, claim, answer: stale_answer },
        Identity::Keyed { peer, counter, sealing, claim: foreign_claim, answer },
        Identity::Keyed { peer, counter, sealing, claim, answer: foreign_answer },
        Identity::Keyed { peer, counter, sealing, claim: answer, answer: claim },
    ];
    for identity in wrong {
        say_hello(&mut world, edge, identity);
        assert_eq!(refusal(&mut world, edge), Some((Refusal::ClaimInvalid, None)));
    }
    say_hello(&mut world, edge, good);
    assert_eq!(world.peer(edge), peer);
}

#[test]
fn claims_cost_more_than_other_requests_and_run_out_sooner() {
    let mut world = World::with_hosts(1);
    let edge = world.open(0);
    let stranger = world.open(0);
    let Identity::Keyed { peer, counter, sealing, claim, .. } = world.claim(edge, &key(1), 5) else { unreachable!() };
    let wrong = Identity::Keyed { peer, counter, sealing, claim, answer: claim };
    let mut told = Vec::new();
    for _ in 0..EDGE_RATE.burst / (1 + CLAIM_TOKENS) + 1 {
        say_hello(&mut world, edge, wrong.clone());
        told.extend(refusal(&mut world, edge));
    }
    assert_eq!(told.pop(), Some((Refusal::RateLimited, None)));
    assert!(told.iter().all(|told| *told == (Refusal::ClaimInvalid, None)) && told.len() >= 49, "{}", told.len());
    world.hello(stranger);
}

#[test]
fn an_old_claim_is_refused_with_the_counter_that_is_known_and_the_next_one_is_taken() {
    let mut world = World::with_hosts(2);
    let bob = world.keyed(0, &key(1), 7);
    world.run(ms(100));
    let again = world.keyed(1, &key(1), 7);
    assert_eq!(refusal(&mut world, again), Some((Refusal::ClaimOld, Some(7))), "at another home it must be higher");
    let identity = world.claim(again, &key(1), 8);
    say_hello(&mut world, again, identity);
    assert_eq!(world.peer(again), peer(&key(1)));
    world.run(ms(100));
    assert_eq!(refusal(&mut world, bob), Some((Refusal::Replaced, None)));
    assert!(!world.edges[bob].open);
    let older = world.keyed(0, &key(1), 7);
    assert_eq!(refusal(&mut world, older), Some((Refusal::ClaimOld, Some(8))));
}

#[test]
fn at_its_own_home_a_peer_may_come_again_with_the_same_counter() {
    let mut world = World::with_hosts(1);
    let first = world.keyed(0, &key(1), 7);
    let second = world.keyed(0, &key(1), 7);
    assert_eq!(world.says(first), ["error replaced"]);
    assert_eq!(world.peer(second), peer(&key(1)));
    let lower = world.keyed(0, &key(1), 6);
    assert_eq!(refusal(&mut world, lower), Some((Refusal::ClaimOld, Some(7))));
}

#[test]
fn counters_are_remembered_for_an_hour_after_a_peer_has_left_by_every_host() {
    let mut world = World::with_hosts(3);
    let bob = world.keyed(0, &key(1), 7);
    world.run(ms(100));
    world.ask(bob, Request::Bye);
    world.run(ms(100));
    for place in 0..3 {
        let replay = world.keyed(place, &key(1), 6);
        assert_eq!(refusal(&mut world, replay), Some((Refusal::ClaimOld, Some(7))), "at host {place}");
    }
    world.run(COUNTER_MEMORY + secs(61));
    assert!((0..3).all(|place| world.hosts[place].relay.as_ref().unwrap().tables().counters == 0));
    let late = world.keyed(1, &key(1), 1);
    assert_eq!(world.peer(late), peer(&key(1)));
}

#[test]
fn counters_of_the_peers_of_a_crashed_host_are_remembered_too() {
    let mut world = World::with_hosts(3);
    world.keyed(0, &key(1), 7);
    world.run(ms(100));
    world.kill(0);
    world.run(secs(20));
    assert_eq!(world.hosts[1].relay.as_ref().unwrap().tables().peers, 0, "he is gone with his host");
    let replay = world.keyed(1, &key(1), 3);
    assert_eq!(refusal(&mut world, replay), Some((Refusal::ClaimOld, Some(7))), "an old claim does not bring him back");
}

/// So many hosts; at the last one who watches a room, and at the first who is in it, by a claim with counter 1.
fn watched(hosts: usize) -> (World, usize, usize) {
    let mut world = World::with_hosts(hosts);
    let watcher = world.edge(hosts - 1);
    world.watch(watcher, "room");
    let member = world.keyed(0, &key(1), 1);
    world.join(member, "room");
    world.run(secs(1));
    (world, watcher, member)
}

#[test]
fn a_peer_that_moves_to_another_host_keeps_its_id_and_watchers_see_it_move() {
    let (mut world, watcher, before) = watched(3);
    world.heard(watcher);
    let after = world.keyed(1, &key(1), 2);
    world.join(after, "room");
    world.run(secs(1));
    let heard = world.says(watcher);
    let moved = format!("-{before} Gone(Moved)");
    let back = format!("+{before}");
    assert!(heard.is_empty() || heard == [moved, back], "no leave at all, or one that says why: {heard:?}");
    assert!(world.says(before).contains(&"error replaced".to_owned()));
    for place in 0..3 {
        assert_eq!(world.total(place, "room"), 1, "at host {place}");
    }
    world.signal(watcher, peer(&key(1)), "1", "offer");
    world.run(ms(100));
    assert_eq!(world.edges[watcher].receipts()["1"], [Outcome::Delivered]);
    assert_eq!(world.edges[after].got().len(), 1, "the signal goes to the new home");
    world.run(secs(60));
    assert_eq!(world.says(watcher), ["1 Delivered"], "the end of the old session is no news");
}

#[test]
fn who_leaves_its_new_home_is_not_brought_back_by_a_former_one_that_crashed() {
    let (mut world, watcher, before) = watched(3);
    world.kill(0);
    let after = world.keyed(1, &key(1), 2);
    world.join(after, "room");
    world.run(secs(1));
    assert!(world.seen(2, 0).is_some_and(|seen| seen.live), "nobody has noticed the crash yet");
    world.heard(watcher);
    world.ask(after, Request::Bye);
    world.run(ms(100));
    assert_eq!(world.says(watcher), [format!("-{before} Gone(Closed)")]);
    assert_eq!((world.total(1, "room"), world.total(2, "room")), (0, 0));
    world.signal(watcher, peer(&key(1)), "1", "offer");
    assert_eq!(world.edges[watcher].receipts()["1"], [Outcome::Refused(Refusal::NoSuchPeer)]);
    world.run(secs(20));
    assert_eq!(world.says(watcher), ["1 Refused(NoSuchPeer)"], "the end of the crashed host is no news of it");
}

#[test]
fn a_peer_that_comes_again_at_its_home_is_shown_once_in_the_end() {
    let (mut world, watcher, first) = watched(2);
    world.heard(watcher);
    let second = world.keyed(0, &key(1), 2);
    world.join(second, "room");
    world.run(secs(1));
    let heard = world.says(watcher);
    assert!(heard.last().is_none_or(|last| *last == format!("+{first}")), "{heard:?}");
    assert_eq!((world.total(0, "room"), world.total(1, "room")), (1, 1));
}

#[test]
fn of_two_homes_that_a_parted_network_gave_a_peer_the_higher_claim_stays() {
    let mut world = World::with_hosts(2);
    world.cut(0, 1);
    world.run(secs(20));
    let low = world.keyed(0, &key(1), 3);
    let high = world.keyed(1, &key(1), 4);
    world.join(low, "room");
    world.join(high, "room");
    world.run(secs(1));
    assert!(world.edges[low].open && world.edges[high].open);
    world.mend(0, 1);
    world.settle(&[0, 1], secs(12));
    world.run(secs(1));
    assert!(!world.edges[low].open, "the lower claim is told that it was replaced");
    assert!(world.edges[high].open);
    assert_eq!((world.total(0, "room"), world.total(1, "room")), (1, 1));
}

#[test]
fn a_session_ends_although_the_newer_claim_comes_with_a_whole_roster() {
    let mut world = World::with_hosts(2);
    let low = world.keyed(0, &key(1), 3);
    world.join(low, "room");
    world.run(secs(1));
    world.cut(0, 1);
    world.run(secs(8));
    let (high, busy) = (world.keyed(1, &key(1), 4), world.edge(1));
    world.join(high, "room");
    for n in 0..200 {
        world.join_as(busy, "noise", &format!("{n}"));
        world.run(ms(210));
    }
    assert!(world.edges[low].open);
    world.mend(0, 1);
    world.settle(&[0, 1], secs(12));
    world.run(secs(1));
    assert!(!world.edges[low].open && world.edges[high].open);
    assert_eq!((world.total(0, "room"), world.total(1, "room")), (1, 1));
}

#[test]
fn equal_claims_of_a_parted_network_end_with_one_session() {
    let mut world = World::with_hosts(2);
    world.cut(0, 1);
    world.run(secs(20));
    let edges = [world.keyed(0, &key(1), 3), world.keyed(1, &key(1), 3)];
    edges.iter().for_each(|edge| world.join(*edge, "room"));
    world.mend(0, 1);
    world.settle(&[0, 1], secs(12));
    world.run(secs(1));
    let open: Vec<usize> = (0..2).filter(|at| world.edges[edges[*at]].open).collect();
    assert_eq!(open.len(), 1);
    assert!(world.hosts[open[0]].id < world.hosts[1 - open[0]].id, "the lower HostId's");
    assert_eq!((world.total(0, "room"), world.total(1, "room")), (1, 1));
}

#[test]
fn a_resumed_keyed_session_goes_on_without_a_new_claim_and_a_replaced_one_does_not() {
    let mut world = World::with_hosts(2);
    let bob = world.keyed(0, &key(1), 1);
    world.run(ms(100));
    world.drop_socket(bob);
    world.resume(bob);
    assert_eq!(world.says(bob), ["Greeting", "Welcome"]);
    world.drop_socket(bob);
    let moved = world.keyed(1, &key(1), 2);
    world.run(ms(100));
    assert!(world.edges[moved].open);
    world.resume(bob);
    assert_eq!(world.says(bob), ["Greeting", "error session_lost"]);
}

#[test]
fn a_second_hello_on_a_socket_is_refused() {
    let mut world = World::with_hosts(1);
    let bob = world.keyed(0, &key(1), 1);
    let identity = world.claim(bob, &key(1), 2);
    say_hello(&mut world, bob, identity);
    assert_eq!(refusal(&mut world, bob), Some((Refusal::HelloRepeated, None)));
    world.input(0, Input::Woken);
    assert!(world.edges[bob].open);
}
