//! The story of one topic in virtual time: machines, edges that come, signal, go and are lost.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test may fail by panic")]
#![allow(clippy::panic, reason = "a test may fail by panic")]
#![allow(clippy::disallowed_methods, reason = "a test is not the machine")]

mod world;

use std::time::Duration;

use aldis::relay::io::{DialFailure, Event, Note, Request, StopReason};
use world::{World, ms, secs};

/// The family's host, another host, and a third one.
const FAMILY: usize = 0;
const OTHER: usize = 1;
const THIRD: usize = 2;

/// Bob is on the family's host and has joined s0.
fn with_bob() -> (World, usize) {
    let mut world = World::with_hosts(3);
    let bob = world.edge(FAMILY);
    world.join(bob, "s0");
    world.run(ms(200));
    world.heard(bob);
    (world, bob)
}

/// Alice has come on the other host and joined s0 as well.
fn with_bob_and_alice() -> (World, usize, usize) {
    let (mut world, bob) = with_bob();
    let alice = world.edge(OTHER);
    world.join(alice, "s0");
    world.run(ms(200));
    world.heard(bob);
    world.heard(alice);
    (world, bob, alice)
}

#[test]
fn alice_is_given_bob_when_she_joins_and_bob_is_told_of_her() {
    let (mut world, bob) = with_bob();
    let alice = world.edge(OTHER);
    world.join(alice, "s0");
    assert_eq!(world.says(alice), ["joined with [\"0\"]"], "Alice is given Bob at once");
    world.run(ms(100));
    assert_eq!(world.says(bob), ["+1"], "Bob is told of Alice within one multicast");
}

#[test]
fn several_messages_go_both_ways_in_order_and_each_gets_its_receipt() {
    let (mut world, bob, alice) = with_bob_and_alice();
    let (a, b) = (world.peer(alice), world.peer(bob));
    world.signal(alice, b, "1", "offer");
    world.signal(alice, b, "2", "candidate");
    world.run(ms(100));
    assert_eq!(world.says(bob), ["1 says offer", "1 says candidate"]);
    assert_eq!(world.says(alice), ["1 Delivered", "2 Delivered"]);
    world.signal(bob, a, "1", "answer");
    world.signal(bob, a, "2", "candidate");
    world.run(ms(100));
    assert_eq!(world.says(alice), ["0 says answer", "0 says candidate"]);
    assert_eq!(world.says(bob), ["1 Delivered", "2 Delivered"]);
}

#[test]
fn a_change_is_announced_at_once_and_a_flurry_of_them_within_fifty_milliseconds() {
    let (mut world, bob) = with_bob();
    let edges: Vec<usize> = (0..3).map(|_| world.edge(OTHER)).collect();
    world.run(ms(500));
    world.join(edges[0], "s0");
    world.run(ms(10));
    assert_eq!(world.says(bob), ["+1"], "the way takes 10 ms, and nothing is added");
    for round in 0..10 {
        world.join_as(edges[1], "s0", &format!("{round}"));
        world.run(ms(1));
    }
    world.join(edges[2], "s0");
    let before = world.hosts[OTHER].count(|note| matches!(note, Note::Announced { .. }));
    world.until(ms(61), "the last is told at most 50 ms later", |world| world.says(bob).contains(&"+3".to_owned()));
    let after = world.hosts[OTHER].count(|note| matches!(note, Note::Announced { .. }));
    assert_eq!(after - before, 1, "all that was left went out together");
}

#[test]
fn alice_leaves_and_bob_is_told_at_once_and_who_joins_there_afterwards_does_not_see_her() {
    let (mut world, bob, alice) = with_bob_and_alice();
    world.leave(alice, "s0");
    world.run(ms(100));
    assert_eq!(world.says(bob), ["-1 Left"]);
    let dave = world.edge(OTHER);
    world.join(dave, "s0");
    assert_eq!(world.says(dave), ["joined with [\"0\"]"], "Bob alone");
    assert_eq!(world.total(THIRD, "s0"), 1, "the news of Dave is under way");
    world.run(ms(100));
    assert_eq!(world.total(THIRD, "s0"), 2);
}

#[test]
fn when_alice_has_left_her_host_holds_nothing_more_of_the_topic_than_the_directory() {
    let (mut world, _bob, alice) = with_bob_and_alice();
    let before = world.hosts[OTHER].relay.as_ref().unwrap().tables();
    assert_eq!((before.topics, before.sessions), (1, 1));
    world.ask(alice, Request::Bye);
    world.run(ms(100));
    let after = world.hosts[OTHER].relay.as_ref().unwrap().tables();
    assert_eq!((after.topics, after.sessions, after.edges, after.unacked), (0, 0, 0, 0));
    assert_eq!((after.directory_topics, after.peers), (1, 1), "Bob, in the directory");
    assert!(!world.edges[alice].open, "her socket was closed");
}

#[test]
fn alice_who_says_bye_is_told_as_closed() {
    let (mut world, bob, alice) = with_bob_and_alice();
    world.ask(alice, Request::Bye);
    world.run(ms(100));
    assert_eq!(world.says(bob), ["-1 Gone(Closed)"]);
}

#[test]
fn charlie_joins_on_the_familys_host_and_finds_bob_there() {
    let (mut world, bob, alice) = with_bob_and_alice();
    world.ask(alice, Request::Bye);
    world.run(ms(100));
    world.heard(bob);
    let charlie = world.edge(FAMILY);
    world.join(charlie, "s0");
    assert_eq!(world.says(charlie), ["joined with [\"0\"]"]);
    assert_eq!(world.says(bob), ["+2"]);
    let b = world.peer(bob);
    world.signal(charlie, b, "1", "offer");
    world.run(ms(1));
    assert_eq!(world.says(bob), ["2 says offer"]);
    assert_eq!(world.says(charlie), ["1 Delivered"]);
}

#[test]
fn an_hour_passes_and_bob_is_discoverable_everywhere_without_having_said_a_word() {
    let (mut world, bob) = with_bob();
    world.run(secs(3_600));
    for place in [FAMILY, OTHER, THIRD] {
        assert_eq!(world.total(place, "s0"), 1, "at host {place}");
    }
    assert_eq!(world.says(bob), [""; 0], "and nobody bothered him");
    for host in &world.hosts {
        assert_eq!(host.count(|note| matches!(note, Note::HostExpired { .. })), 0);
    }
    let alice = world.edge(OTHER);
    let (a, b) = (world.peer(alice), world.peer(bob));
    world.signal(alice, b, "1", "offer");
    world.run(ms(100));
    assert_eq!(world.says(bob).len(), 1, "an hour later he hears an offer");
    world.signal(bob, a, "1", "answer");
    world.run(ms(100));
    assert_eq!(world.says(alice), ["1 Delivered", "0 says answer"]);
}

#[test]
fn bobs_socket_dies_and_after_the_grace_period_everybody_is_told_he_is_lost() {
    let (mut world, bob, alice) = with_bob_and_alice();
    let charlie = world.edge(FAMILY);
    world.join(charlie, "s0");
    world.run(ms(100));
    world.heard(charlie);
    world.heard(alice);
    world.drop_socket(bob);
    world.run(ms(29_900));
    assert_eq!((world.says(charlie), world.says(alice)), (vec![], vec![]), "nobody notices within the grace period");
    world.run(ms(200));
    assert_eq!(world.says(charlie), ["-0 Gone(Lost)"]);
    assert_eq!(world.says(alice), ["-0 Gone(Lost)"]);
    for place in [FAMILY, OTHER, THIRD] {
        assert_eq!(world.total(place, "s0"), 2, "at host {place}");
    }
}

#[test]
fn bob_resumes_within_the_grace_period_and_nobody_notices_and_nothing_is_lost() {
    let (mut world, bob, alice) = with_bob_and_alice();
    let (a, b) = (world.peer(alice), world.peer(bob));
    world.signal(bob, a, "answer", "an answer whose receipt will miss him");
    world.drop_socket(bob);
    world.signal(alice, b, "1", "offer");
    world.signal(alice, b, "2", "candidate");
    let charlie = world.edge(THIRD);
    world.join(charlie, "s0");
    world.run(secs(3));
    world.heard(alice);
    world.resume(bob);
    world.run(ms(100));
    let heard = world.says(bob);
    assert_eq!(heard[..2], ["Greeting", "Welcome"]);
    let mut rest = heard[2..].to_vec();
    rest.sort();
    assert_eq!(rest, ["+2", "1 says candidate", "1 says offer", "answer Delivered"], "signals, events and receipts");
    assert!(world.edges[bob].got().iter().map(|(_, id)| id.as_str()).eq(["1", "2"]), "in their order");
    assert_eq!(world.says(alice), ["1 Delivered", "2 Delivered"], "her receipts came, and no word of Bob's absence");
    world.run(secs(60));
    assert_eq!(world.says(alice), [""; 0]);
    assert_eq!(world.total(THIRD, "s0"), 3, "the grace timer of the old socket is gone with it");
}

#[test]
fn a_socket_that_the_host_still_takes_for_alive_is_replaced_by_the_resumed_one() {
    let (mut world, bob, alice) = with_bob_and_alice();
    let b = world.peer(bob);
    world.deafen(bob);
    world.signal(alice, b, "1", "into the void");
    world.run(ms(100));
    world.resume(bob);
    world.run(ms(100));
    assert_eq!(world.says(bob), ["Greeting", "Welcome", "1 says into the void"]);
    assert_eq!(world.says(alice), ["1 Delivered"]);
}

#[test]
fn who_comes_back_too_late_is_told_that_the_session_is_lost_and_may_begin_anew() {
    let (mut world, bob, _alice) = with_bob_and_alice();
    world.drop_socket(bob);
    world.run(secs(31));
    world.resume(bob);
    assert_eq!(world.says(bob), ["Greeting", "error session_lost"]);
    world.hello(bob);
    world.join(bob, "s0");
    assert_eq!(world.says(bob), ["joined with [\"1\"]"]);
}

#[test]
fn a_signal_to_somebody_whose_socket_is_gone_is_unknown_in_time_and_gone_once_he_is_lost() {
    let (mut world, bob, alice) = with_bob_and_alice();
    let b = world.peer(bob);
    world.drop_socket(bob);
    world.signal(alice, b, "1", "offer");
    world.run(secs(5));
    assert_eq!(world.says(alice), ["1 Unknown"], "he may still come back and get it");
    world.run(secs(22));
    world.signal(alice, b, "2", "offer");
    world.run(ms(3_500));
    assert_eq!(world.says(alice), ["2 Refused(Gone)", "-0 Gone(Lost)"], "it was never handed to a socket");
    world.signal(alice, b, "3", "offer");
    world.run(ms(100));
    assert_eq!(world.says(alice), ["3 Refused(NoSuchPeer)"]);
}

#[test]
fn the_familys_host_shuts_down_and_its_edges_are_drained_and_all_departures_told_before_it_ends() {
    let (mut world, bob, alice) = with_bob_and_alice();
    let charlie = world.edge(FAMILY);
    world.join(charlie, "s0");
    world.run(ms(100));
    world.heard(bob);
    world.heard(alice);
    world.heard(charlie);
    world.shut_down(FAMILY);
    for edge in [bob, charlie] {
        let heard = world.heard(edge);
        let drain = heard.iter().find_map(|event| match event {
            Event::Drain { retry_after, gateways } => Some((*retry_after, gateways.clone())),
            _ => None,
        });
        let (retry_after, gateways) = drain.expect("the edge is drained");
        assert!(retry_after <= secs(2));
        assert_eq!(gateways.len(), 2, "it is told where the other two hosts are");
        assert!(!world.edges[edge].open);
    }
    world.run(ms(100));
    assert_eq!(world.says(alice), ["-0 Gone(HostClosed)", "-2 Gone(HostClosed)"], "told, not timed out");
    assert_eq!(world.total(OTHER, "s0"), 1);
    let (_, reason) = world.hosts[FAMILY].stopped.unwrap();
    assert_eq!(reason, StopReason::Asked);
    let newcomer = world.open(FAMILY);
    assert_eq!(world.says(newcomer), ["error closing"]);
}

#[test]
fn the_whole_story_told_in_one_go() {
    let (mut world, bob) = with_bob();
    let alice = world.edge(OTHER);
    world.join(alice, "s0");
    world.run(ms(100));
    assert_eq!((world.says(alice), world.says(bob)), (vec!["joined with [\"0\"]".into()], vec!["+1".into()]));
    let (a, b) = (world.peer(alice), world.peer(bob));
    for round in 0..5 {
        world.signal(alice, b, &format!("o{round}"), "offer");
        world.signal(bob, a, &format!("a{round}"), "answer");
        world.run(ms(100));
    }
    assert_eq!(world.edges[alice].got().len() + world.edges[bob].got().len(), 10);
    world.ask(alice, Request::Bye);
    world.run(ms(100));
    world.heard(bob);
    let charlie = world.edge(FAMILY);
    world.join(charlie, "s0");
    assert_eq!(world.says(charlie), ["joined with [\"0\"]"]);
    world.run(secs(1_800));
    assert!((0..3).all(|place| world.total(place, "s0") == 2));
    world.heard(charlie);
    world.drop_socket(bob);
    world.run(secs(31));
    assert_eq!(world.says(charlie), ["-0 Gone(Lost)"]);
    world.shut_down(FAMILY);
    world.run(ms(100));
    assert_eq!((world.total(OTHER, "s0"), world.total(THIRD, "s0")), (0, 0));
}

// ---- One host alone ---------------------------------------------------------------------------------------------

#[test]
fn two_edges_of_one_host_discover_offer_answer_and_trickle() {
    let mut world = World::with_hosts(1);
    let (bob, alice) = (world.edge(0), world.edge(0));
    world.join(bob, "room");
    world.heard(bob);
    world.discover(alice, "room", 10);
    assert_eq!(world.says(alice), ["peers 1"], "discovered without membership");
    assert_eq!(world.says(bob), [""; 0], "which nobody is told of");
    let (a, b) = (world.peer(alice), world.peer(bob));
    world.signal(alice, b, "o", "offer");
    world.run(ms(1));
    world.signal(bob, a, "a", "answer");
    for n in 0..3 {
        world.signal(alice, b, &format!("c{n}"), "candidate");
        world.signal(bob, a, &format!("c{n}"), "candidate");
    }
    world.run(ms(1));
    let ids = |edge: usize| world.edges[edge].got().into_iter().map(|(_, id)| id).collect::<Vec<_>>();
    assert_eq!(ids(bob), ["o", "c0", "c1", "c2"]);
    assert_eq!(ids(alice), ["a", "c0", "c1", "c2"]);
    for edge in [alice, bob] {
        let receipts = world.edges[edge].receipts();
        assert_eq!(receipts.len(), 4);
        assert!(receipts.values().all(|outcomes| *outcomes == [aldis_wire::host::Outcome::Delivered]));
    }
}

#[test]
fn one_edge_offers_to_several_at_once() {
    let mut world = World::with_hosts(1);
    let others: Vec<usize> = (0..5).map(|_| world.edge(0)).collect();
    let alice = world.edge(0);
    for (n, other) in others.iter().enumerate() {
        let to = world.peer(*other);
        world.signal(alice, to, &format!("{n}"), "offer");
    }
    world.run(ms(1));
    for other in &others {
        assert_eq!(world.says(*other), ["5 says offer"]);
    }
    assert_eq!(world.edges[alice].receipts().len(), 5);
}

#[test]
fn an_edge_in_several_topics_is_told_of_each_by_its_name() {
    let mut world = World::with_hosts(1);
    let (bob, alice) = (world.edge(0), world.edge(0));
    for topic in ["red", "green", "blue"] {
        world.join(bob, topic);
    }
    world.heard(bob);
    world.join(alice, "green");
    world.join(alice, "blue");
    let topics: Vec<String> = world
        .heard(bob)
        .iter()
        .filter_map(|event| match event {
            Event::PeerJoined { topic, .. } => Some(topic.to_string()),
            _ => None,
        })
        .collect();
    assert_eq!(topics, ["green", "blue"]);
    world.ask(bob, Request::Bye);
    let left = world.heard(alice).iter().filter(|event| matches!(event, Event::PeerLeft { .. })).count();
    assert_eq!(left, 2, "once for each topic that they shared");
}

#[test]
fn a_watcher_sees_who_comes_and_goes_and_is_not_seen() {
    let mut world = World::with_hosts(2);
    let (watcher, bob) = (world.edge(0), world.edge(1));
    world.watch(watcher, "room");
    world.join(bob, "room");
    world.run(ms(100));
    world.leave(bob, "room");
    world.run(ms(100));
    assert_eq!(world.says(watcher), ["watching 0", "+1", "-1 Left"]);
    assert_eq!(world.says(bob), ["joined with []", "Left"]);
    let topic = world.topic(0, "room");
    world.ask(watcher, Request::Unwatch { id: "u".into(), topic });
    world.join(bob, "room");
    world.run(ms(100));
    assert_eq!(world.says(watcher), ["Unwatched"]);
}

#[test]
fn joining_again_with_another_meta_is_told_once_and_with_the_same_not_at_all() {
    let mut world = World::with_hosts(2);
    let (watcher, bob) = (world.edge(0), world.edge(1));
    world.watch(watcher, "room");
    world.join_as(bob, "room", "1");
    world.run(ms(100));
    world.join_as(bob, "room", "1");
    world.join_as(bob, "room", "2");
    world.run(ms(100));
    assert_eq!(world.says(watcher), ["watching 0", "+1", "+1"]);
    assert_eq!(world.total(0, "room"), 1);
}

#[test]
fn a_signal_to_nobody_is_refused_at_once() {
    let mut world = World::with_hosts(3);
    let alice = world.edge(0);
    world.signal(alice, aldis_wire::id::PeerId::new([9; 32]), "1", "offer");
    assert_eq!(world.says(alice), ["1 Refused(NoSuchPeer)"], "no time has passed");
}

#[test]
fn an_edge_in_no_topic_can_be_answered() {
    let (mut world, bob) = with_bob();
    let alice = world.edge(OTHER);
    let b = world.peer(bob);
    // Her presence is not announced yet when her offer arrives.
    world.signal(alice, b, "1", "offer");
    world.run(ms(11));
    let a = world.peer(alice);
    assert_eq!(world.says(bob), ["1 says offer"]);
    world.signal(bob, a, "1", "answer");
    world.run(ms(100));
    assert_eq!(world.says(alice), ["1 Delivered", "0 says answer"]);
}

#[test]
fn a_signal_names_its_topic_only_to_those_who_follow_it() {
    let (mut world, bob, alice) = with_bob_and_alice();
    let b = world.peer(bob);
    for (id, name) in [("1", "s0"), ("2", "secret")] {
        let topic = Some(world.topic(OTHER, name).id);
        world.ask(alice, Request::Signal { id: id.into(), to: b, topic, data: "x".into() });
    }
    world.run(ms(100));
    let topics: Vec<_> = world
        .heard(bob)
        .iter()
        .filter_map(|event| match event {
            Event::Signal { topic, .. } => Some(topic.as_ref().map(ToString::to_string)),
            _ => None,
        })
        .collect();
    assert_eq!(topics, [Some("s0".to_owned()), None]);
}

// ---- Lives of hosts ---------------------------------------------------------------------------------------------

#[test]
fn a_host_that_restarts_with_its_key_is_known_by_its_new_epoch_and_leaves_no_ghosts() {
    let (mut world, _bob, alice) = with_bob_and_alice();
    let epoch = world.seen(OTHER, FAMILY).unwrap().epoch;
    world.kill(FAMILY);
    world.run(ms(500));
    world.start(FAMILY);
    let took = world.until(secs(2), "no ghost of Bob", |world| world.total(OTHER, "s0") == 1);
    assert!(took <= secs(2), "the new epoch replaces the old roster at once: {took:?}");
    let seen = world.seen(OTHER, FAMILY).unwrap();
    assert!(seen.epoch > epoch && seen.live && seen.peers == 0);
    world.run(ms(500));
    assert_eq!(world.says(alice), ["-0 HostLost"]);
    let bob = world.edge(FAMILY);
    world.join(bob, "s0");
    world.run(ms(100));
    assert_eq!(world.says(alice).len(), 1, "told of the new Bob");
    world.run(secs(30));
    assert_eq!(world.total(OTHER, "s0"), 2);
    assert_eq!(world.admitted(OTHER, FAMILY), 1);
}

#[test]
fn a_host_that_has_lost_its_epoch_is_shown_its_old_one_and_takes_a_higher() {
    let (mut world, _bob, alice) = with_bob_and_alice();
    world.kill(FAMILY);
    world.run(ms(500));
    world.hosts[FAMILY].epoch -= 500;
    world.start(FAMILY);
    let bob = world.edge(FAMILY);
    world.join(bob, "s0");
    world.until(secs(12), "the new Bob is seen, at the latest when its dead links are given up", |world| {
        world.says(alice).iter().any(|word| word.starts_with('+'))
    });
    world.run(secs(20));
    assert_eq!(world.total(OTHER, "s0"), 2);
    assert!(world.seen(OTHER, FAMILY).unwrap().epoch > 1_001);
    assert!(world.hosts[FAMILY].stopped.is_none());
}

#[test]
fn a_host_whose_key_runs_elsewhere_stops() {
    let mut world = World::with_hosts(2);
    let twin = world.add_host("test");
    world.kill(twin);
    world.hosts[twin].key = world.hosts[0].key.clone();
    world.hosts[twin].id = world.hosts[0].id;
    world.hosts[twin].epoch = 5_000;
    world.start(twin);
    let stopped = |world: &World, place: usize| world.hosts[place].stopped.map(|(_, reason)| reason);
    world.until(secs(30), "one of the two stops", |world| {
        [0, twin].iter().any(|place| stopped(world, *place) == Some(StopReason::KeyInUse))
    });
}

#[test]
fn of_two_hosts_that_began_with_one_key_in_the_same_second_one_stops_and_the_other_goes_on() {
    for (seed, latency) in [(1, 10), (2, 40), (3, 150), (4, 10), (5, 300)] {
        let mut world = World::new(seed);
        world.latency = ms(latency);
        // 1 and 2 are the twins. They never meet, and both know 0 and 3.
        world.cut(1, 2);
        let (neighbour, one) = (world.add_host("test"), world.add_host("test"));
        let twin = world.add_host("test");
        let other = world.add_host("test");
        world.kill(one);
        world.kill(twin);
        world.run(secs(20));
        world.hosts[twin].key = world.hosts[one].key.clone();
        world.hosts[twin].id = world.hosts[one].id;
        world.hosts[twin].epoch = world.hosts[one].epoch;
        world.start(one);
        world.start(twin);
        let stopped = |world: &World, place: usize| world.hosts[place].stopped.is_some();
        let took = world.until(secs(30), "one of the two stops", |world| stopped(world, one) || stopped(world, twin));
        println!("seed {seed}, latency {latency} ms: {took:?}");
        let (ended, stays) = if stopped(&world, one) { (one, twin) } else { (twin, one) };
        world.shut_down(ended);
        world.kill(ended);
        world.run(secs(60));
        assert!(!stopped(&world, stays), "seed {seed}: one of them goes on");
        world.settle(&[neighbour, stays, other], secs(10));
    }
}

#[test]
fn two_protocol_versions_of_one_network_never_link() {
    let mut world = World::with_hosts(2);
    let newer = world.add_host("test");
    world.kill(newer);
    let genesis = aldis_wire::network::Genesis::open("test").unwrap();
    world.hosts[newer].network = aldis_wire::network::Network::with_version(&genesis, 2);
    world.start(newer);
    world.run(secs(120));
    assert_eq!((world.admitted(newer, 0), world.admitted(newer, 1)), (0, 0));
    assert_eq!(world.admitted(0, 1), 1, "the others are not harmed");
    assert!(world.seen(0, newer).is_none_or(|seen| !seen.live) && world.seen(newer, 0).is_none());
}

#[test]
fn two_networks_on_the_same_addresses_never_link() {
    let mut world = World::new(7);
    for network in ["one", "two", "one", "two"] {
        world.add_host(network);
    }
    world.run(secs(5));
    let edges: Vec<usize> = (0..4).map(|place| world.edge(place)).collect();
    for edge in &edges {
        world.join(*edge, "room");
    }
    world.run(secs(120));
    for (here, there) in [(0, 1), (0, 3), (1, 2), (2, 3)] {
        assert_eq!(world.admitted(here, there), 0);
        assert!(world.seen(here, there).is_none());
    }
    assert_eq!((world.admitted(0, 2), world.admitted(1, 3)), (1, 1), "each network is whole");
    assert!((0..4).all(|place| world.total(place, "room") == 2));
    let refused = |host: &world::Host| {
        host.count(|note| matches!(note, Note::DialFailed { failure: DialFailure::OtherNetwork, .. }))
    };
    assert!(world.hosts.iter().map(refused).sum::<usize>() > 0, "the refusal is noted");
    let to = world.peer(edges[1]);
    world.signal(edges[0], to, "1", "x");
    world.run(Duration::from_millis(1));
    assert!(world.says(edges[0]).contains(&"1 Refused(NoSuchPeer)".to_owned()));
}
