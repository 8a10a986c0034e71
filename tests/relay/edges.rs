//! What one edge may do, what it is refused, and what happens to those who do not read.

use std::net::IpAddr;

use aldis::relay::io::{Event, Hello, Identity, Input, Request, Token};
use aldis::relay::limits::{
    ADDRESS_OPEN_RATE, ADDRESS_RATE, DISCOVER_MAX, EDGE_CHANGE_RATE, EDGE_RATE, EDGES_PER_ADDRESS_MAX, HELLO_DEADLINE,
    OPEN_SIGNALS_MAX, PATIENCE, REMEMBERED_SIGNALS_MAX, SIGNAL_TIMEOUT, SILENT_EDGES_PER_ADDRESS_MAX, UNACKED_BYTES,
    UNACKED_EVENTS_BYTES, UNACKED_MAX, UNACKED_RESERVE,
};
use aldis_wire::host::Outcome;
use aldis_wire::id::PeerId;
use aldis_wire::limits::{PEER_TOPICS_MAX, SAMPLE_MAX};
use aldis_wire::refusal::Refusal;
use bytes::Bytes;

use crate::world::{World, ms, secs};

fn refused(refusal: Refusal) -> Outcome {
    Outcome::Refused(refusal)
}

/// An edge at a host that never acknowledges, and one that sends.
fn silent_bob(hosts: usize) -> (World, usize, usize) {
    let mut world = World::with_hosts(hosts);
    let (alice, bob) = (world.edge(0), world.edge(hosts - 1));
    world.edges[bob].acks = false;
    world.run(ms(100));
    (world, alice, bob)
}

// ---- Sockets and hellos -----------------------------------------------------------------------------------------

#[test]
fn a_host_that_ends_sends_its_edges_where_the_fewest_are_by_then() {
    let mut world = World::with_hosts(3);
    let edges: Vec<_> = [0, 0, 0, 0, 1, 1].into_iter().map(|host| world.edge(host)).collect();
    world.run(ms(100));
    edges.iter().for_each(|edge| drop(world.heard(*edge)));
    world.shut_down(0);
    let mut sent = [0; 3];
    for edge in &edges[..4] {
        let heard = world.heard(*edge);
        let first = heard.iter().find_map(|event| match event {
            Event::Drain { gateways, .. } => gateways.first().cloned(),
            _ => None,
        });
        let first = first.expect("the edge is drained");
        sent[(0..3).find(|host| first.contains(&format!("host{host}."))).unwrap()] += 1;
    }
    assert_eq!(sent, [0, 1, 3], "three are at each of the others then");
}

#[test]
fn who_says_no_hello_is_told_and_closed_after_five_seconds() {
    let mut world = World::with_hosts(1);
    let silent = world.open(0);
    world.run(HELLO_DEADLINE - ms(1));
    assert_eq!(world.says(silent), ["Greeting"]);
    world.run(ms(1));
    assert_eq!(world.says(silent), ["error hello_timeout"]);
    assert!(!world.edges[silent].open);
    let tables = world.hosts[0].relay.as_ref().unwrap().tables();
    assert_eq!((tables.edges, tables.sessions), (0, 0));
}

#[test]
fn failed_hellos_do_not_move_the_deadline() {
    let mut world = World::with_hosts(1);
    let edge = world.open(0);
    for _ in 0..4 {
        world.run(secs(1));
        let identity = Identity::Resumed { token: Token([1; 32]), seq: 0 };
        world.ask(edge, Request::Hello(Hello { identity, meta: Bytes::new() }));
    }
    world.run(secs(1));
    assert_eq!(world.says(edge).last().unwrap(), "error hello_timeout");
}

#[test]
fn nothing_but_hello_and_ping_is_answered_before_hello() {
    let mut world = World::with_hosts(1);
    let edge = world.open(0);
    world.join(edge, "room");
    world.signal(edge, PeerId::new([1; 32]), "1", "x");
    world.ask(edge, Request::Ack { seq: 1 });
    world.ask(edge, Request::Ping);
    let heard = world.says(edge);
    let expected = ["Greeting", "error hello_expected", "error hello_expected", "error hello_expected", "Pong"];
    assert_eq!(heard, expected);
}

#[test]
fn a_wrong_token_is_refused_a_thousand_times_and_the_real_owner_is_not_disturbed() {
    let mut world = World::with_hosts(1);
    let bob = world.edge(0);
    world.drop_socket(bob);
    let thief = world.open(0);
    for n in 0..900_u16 {
        let mut token = [0; 32];
        token[..2].copy_from_slice(&n.to_be_bytes());
        let identity = Identity::Resumed { token: Token(token), seq: 0 };
        world.ask(thief, Request::Hello(Hello { identity, meta: Bytes::new() }));
    }
    let heard = world.says(thief);
    assert_eq!(heard.len(), 901);
    assert!(heard[1..].iter().all(|word| word == "error session_lost"));
    world.resume(bob);
    assert_eq!(world.says(bob), ["Greeting", "Welcome"]);
}

#[test]
fn an_address_has_so_many_edges_and_so_many_silent_ones_and_no_more() {
    let mut world = World::with_hosts(1);
    let home: IpAddr = "198.51.100.77".parse().unwrap();
    for _ in 0..SILENT_EDGES_PER_ADDRESS_MAX {
        world.open_from(0, home);
    }
    let one_more = world.open_from(0, home);
    assert_eq!(world.says(one_more), ["error too_many_edges"]);
    let elsewhere = world.open_from(0, "198.51.100.78".parse().unwrap());
    assert_eq!(world.says(elsewhere), ["Greeting"], "others are not concerned");
    world.run(secs(6));
    for n in 0..EDGES_PER_ADDRESS_MAX {
        let edge = world.open_from(0, home);
        world.ask(edge, Request::Hello(Hello { identity: Identity::Minted, meta: Bytes::new() }));
        assert!(world.edges[edge].peer.is_some(), "edge {n}");
        world.run(ms(25));
    }
    let one_more = world.open_from(0, home);
    assert_eq!(world.says(one_more), ["error too_many_edges"]);
    assert!(!world.edges[one_more].open);
}

#[test]
fn sockets_that_come_too_fast_are_told_when_to_come_back() {
    let mut world = World::with_hosts(1);
    let home: IpAddr = "2001:db8::1".parse().unwrap();
    let mut told = None;
    for _ in 0..=ADDRESS_OPEN_RATE.burst {
        let edge = world.open_from(0, home);
        world.ask(edge, Request::Bye);
        told = world.heard(edge).into_iter().find_map(|event| match event {
            Event::Error { refusal: Refusal::RateLimited, retry_after, .. } => retry_after,
            _ => None,
        });
    }
    assert_eq!(told, Some(ms(1_000 / u64::from(ADDRESS_OPEN_RATE.per_second))));
}

// ---- Requests ---------------------------------------------------------------------------------------------------

#[test]
fn an_edge_that_asks_too_fast_is_refused_and_one_that_never_stops_is_cut() {
    let mut world = World::with_hosts(1);
    let (edge, other) = (world.edge(0), world.edge(0));
    let mut answers = Vec::new();
    for _ in 0..EDGE_RATE.burst + PATIENCE.burst + 10 {
        world.ask(edge, Request::Ping);
        answers.extend(world.says(edge));
    }
    let count = |word: &str| answers.iter().filter(|answer| *answer == word).count();
    assert_eq!(count("Pong"), EDGE_RATE.burst as usize - 1, "the hello was one");
    assert!(count("error rate_limited") > PATIENCE.burst as usize);
    assert!(!world.edges[edge].open);
    world.ask(other, Request::Ping);
    assert_eq!(world.says(other), ["Pong"]);
    world.resume(edge);
    assert_eq!(world.says(edge), ["Greeting", "Welcome"], "within its grace it may come back");
}

#[test]
fn the_edges_of_one_address_share_an_allowance() {
    let mut world = World::with_hosts(1);
    let (home, elsewhere): (IpAddr, IpAddr) = ("198.51.100.5".parse().unwrap(), "198.51.100.6".parse().unwrap());
    let each = EDGE_RATE.burst as usize - 10;
    let mut answered = 0;
    for _ in 0..=ADDRESS_RATE.burst as usize / each {
        let edge = world.open_from(0, home);
        world.hello(edge);
        for _ in 0..each {
            world.ask(edge, Request::Ping);
        }
        answered += world.says(edge).iter().filter(|word| *word == "Pong").count();
    }
    assert!(answered <= ADDRESS_RATE.burst as usize && answered > ADDRESS_RATE.burst as usize - 100, "{answered}");
    let other = world.open_from(0, elsewhere);
    world.hello(other);
    world.ask(other, Request::Ping);
    assert_eq!(world.says(other), ["Pong"], "other addresses are not concerned");
}

#[test]
fn a_look_up_counts_as_one_request_for_each_64_members_that_are_asked_for() {
    let mut world = World::with_hosts(1);
    for (limit, tokens) in [(0, 1), (64, 1), (65, 2), (usize::MAX, DISCOVER_MAX / 64)] {
        let edge = world.edge(0);
        for _ in 0..EDGE_RATE.burst {
            world.discover(edge, "room", limit);
        }
        let heard = world.says(edge);
        let answered = heard.iter().filter(|word| *word != "error rate_limited").count();
        assert_eq!(answered, (EDGE_RATE.burst as usize - 1) / tokens, "{limit}");
    }
}

#[test]
fn joins_are_limited_and_the_network_is_spared() {
    let mut world = World::with_hosts(2);
    let edge = world.edge(0);
    for n in 0..2 * EDGE_CHANGE_RATE.burst {
        world.join_as(edge, "room", &format!("{n}"));
    }
    let heard = world.says(edge);
    let refused = heard.iter().filter(|word| *word == "error rate_limited").count();
    assert_eq!(refused, EDGE_CHANGE_RATE.burst as usize);
    world.run(secs(2));
    world.join_as(edge, "room", "later");
    assert_eq!(world.says(edge), ["joined with []"]);
}

#[test]
fn an_edge_is_in_so_many_topics_and_no_more_watched_ones_included() {
    let mut world = World::with_hosts(1);
    let edge = world.edge(0);
    for n in 0..PEER_TOPICS_MAX {
        if n % 2 == 0 {
            world.join(edge, &format!("{n}"));
        } else {
            world.watch(edge, &format!("{n}"));
        }
    }
    world.heard(edge);
    world.join(edge, "one more");
    world.watch(edge, "another one");
    world.join_as(edge, "0", "a member changes its meta");
    assert_eq!(world.says(edge), ["error too_many_topics", "error too_many_topics", "joined with []"]);
    world.leave(edge, "0");
    world.join(edge, "one more");
    assert_eq!(world.says(edge), ["Left", "joined with []"]);
}

#[test]
fn a_sample_is_bounded_and_spread_over_the_homes() {
    let mut world = World::with_hosts(2);
    let lonely = world.edge(1);
    world.join(lonely, "room");
    for _ in 0..DISCOVER_MAX {
        let edge = world.edge(0);
        world.join(edge, "room");
        // No faster than one address may open sockets.
        world.run(ms(20));
    }
    world.run(secs(1));
    let asker = world.edge(0);
    for limit in [0, 1, 10, SAMPLE_MAX, DISCOVER_MAX, DISCOVER_MAX + 1] {
        world.discover(asker, "room", limit);
        let events = world.heard(asker);
        let [Event::Peers(sample)] = &events[..] else { panic!("{events:?}") };
        assert_eq!((sample.members.len(), sample.total), (limit.min(DISCOVER_MAX), DISCOVER_MAX + 1));
        let shown = sample.members.iter().any(|member| member.peer == world.peer(lonely));
        assert!(limit <= 1 || shown, "one host's crowd does not hide the other's edge");
    }
}

// ---- Signals ----------------------------------------------------------------------------------------------------

#[test]
fn an_edge_that_does_not_acknowledge_fills_its_queue_and_its_senders_are_told() {
    let (mut world, alice, bob) = silent_bob(2);
    let b = world.peer(bob);
    let room = UNACKED_MAX - UNACKED_RESERVE;
    for n in 0..room + 10 {
        world.signal(alice, b, &format!("{n}"), "x");
        world.run(ms(100));
    }
    world.run(secs(6));
    let receipts = world.edges[alice].receipts();
    let count = |outcome| receipts.values().filter(|outcomes| **outcomes == [outcome]).count();
    assert_eq!(count(Outcome::Unknown), room, "handed to his socket, never acknowledged");
    assert_eq!(count(refused(Refusal::QueueFull)), 10);
    assert_eq!(world.hosts[1].relay.as_ref().unwrap().tables().unacked_max, room);
    let seen = world.edges[bob].seen;
    world.ask(bob, Request::Ack { seq: seen });
    world.edges[bob].acks = true;
    world.signal(alice, b, "after", "x");
    world.run(ms(100));
    assert_eq!(world.edges[alice].receipts()["after"], [Outcome::Delivered]);
}

#[test]
fn a_queue_is_bounded_in_bytes_too() {
    let (mut world, alice, bob) = silent_bob(1);
    let b = world.peer(bob);
    let data = "x".repeat(60_000);
    for n in 0..10 {
        world.signal(alice, b, &format!("{n}"), &data);
    }
    world.run(ms(1));
    let receipts = world.edges[alice].receipts();
    assert_eq!(receipts.len(), 10 - UNACKED_BYTES / 60_256, "the rest is refused at once");
    assert!(receipts.values().all(|outcomes| *outcomes == [refused(Refusal::QueueFull)]));
    assert!(world.hosts[0].relay.as_ref().unwrap().tables().unacked_bytes_max <= UNACKED_BYTES);
}

#[test]
fn an_edge_that_cannot_take_its_events_any_more_is_ended_as_too_slow() {
    let mut world = World::with_hosts(1);
    let slow = world.edge(0);
    world.edges[slow].acks = false;
    world.watch(slow, "room");
    let busy = world.edge(0);
    let mut n = 0;
    while world.edges[slow].open && n < 2 * UNACKED_MAX {
        world.join_as(busy, "room", &format!("{n}"));
        world.run(ms(250));
        n += 1;
    }
    assert_eq!(n, UNACKED_MAX + 1);
    assert_eq!(world.says(slow).last().unwrap(), "error too_slow");
    world.resume(slow);
    assert_eq!(world.says(slow).last().unwrap(), "error session_lost");
}

#[test]
fn who_joins_quietly_is_shown_and_reached_but_not_told_who_comes_and_goes() {
    let mut world = World::with_hosts(2);
    let (quiet, busy) = (world.edge(0), world.edge(1));
    let topic = world.topic(0, "room");
    let join = |quiet| Request::Join { id: "j".into(), topic: topic.clone(), meta: None, quiet };
    let comes_and_goes = |world: &mut World| {
        world.join(busy, "room");
        world.run(secs(1));
        world.leave(busy, "room");
        world.run(secs(1));
        let told = world.heard(quiet);
        told.iter().filter(|event| matches!(event, Event::PeerJoined { .. } | Event::PeerLeft { .. })).count()
    };
    world.ask(quiet, join(true));
    assert_eq!((comes_and_goes(&mut world), world.total(1, "room")), (0, 1));
    world.broadcast(busy, "room", "a", "1");
    world.run(secs(1));
    assert_eq!(world.says(quiet).len(), 1, "a broadcast reaches it");
    world.watch(quiet, "room");
    assert_eq!(comes_and_goes(&mut world), 2, "it watches as well");
    world.ask(quiet, Request::Unwatch { id: "u".into(), topic: topic.clone() });
    assert_eq!(comes_and_goes(&mut world), 0);
    world.ask(quiet, join(false));
    assert_eq!(comes_and_goes(&mut world), 2, "the last join counts");
    world.ask(quiet, join(true));
    assert_eq!(comes_and_goes(&mut world), 0);
    world.leave(quiet, "room");
    assert_eq!((comes_and_goes(&mut world), world.hosts[0].relay.as_ref().unwrap().tables().topics), (0, 0));
}

#[test]
fn hundreds_of_edges_that_all_stop_reading_end_one_after_the_other_and_bring_nobody_down() {
    // Each end is an event for all the others, whose queues are full as well: ended one within the other they would
    // take a stack as deep as the crowd.
    let mut world = World::new(7);
    world.add_host_with("test", |settings| {
        let none = aldis::relay::limits::Rate { per_second: 0, burst: 0 };
        (settings.edge_rate, settings.edge_change_rate, settings.address_rate) = (none, none, none);
        (settings.address_open_rate, settings.edges_per_address_max) = (none, usize::MAX);
    });
    let busy = world.edge(0);
    world.join(busy, "crowd");
    let edges: Vec<usize> = (0..600).map(|_| world.edge(0)).collect();
    for edge in &edges {
        world.join(*edge, "crowd");
        world.watch(*edge, "noise");
        world.run(ms(1));
        world.edges[*edge].history = Vec::new();
    }
    for edge in &edges {
        world.edges[*edge].acks = false;
        world.edges[*edge].events = Vec::new();
    }
    // Each event weighs 1 KiB, with what it counts besides its meta.
    for n in 0..(UNACKED_BYTES + UNACKED_EVENTS_BYTES) / 1_024 {
        world.join_as(busy, "noise", &format!("{n:0>891}"));
    }
    assert!(edges.iter().all(|edge| world.edges[*edge].open), "their queues are just full");
    world.leave(busy, "crowd");
    assert!(edges.iter().all(|edge| !world.edges[*edge].open));
    world.ask(busy, Request::Ping);
    assert_eq!(world.says(busy).last().unwrap(), "Pong");
    assert_eq!(world.hosts[0].relay.as_ref().unwrap().tables().sessions, 1);
}

#[test]
fn so_many_signals_may_wait_for_their_receipts_and_no_more() {
    let (mut world, alice, bob) = silent_bob(2);
    let b = world.peer(bob);
    for n in 0..=OPEN_SIGNALS_MAX {
        world.signal(alice, b, &format!("{n}"), "x");
    }
    assert_eq!(world.says(alice), [format!("{OPEN_SIGNALS_MAX} Refused(TooManyOpen)")]);
    assert_eq!(world.hosts[0].relay.as_ref().unwrap().tables().open_signals, OPEN_SIGNALS_MAX);
    world.run(SIGNAL_TIMEOUT);
    let receipts = world.edges[alice].receipts();
    assert_eq!(receipts.len(), OPEN_SIGNALS_MAX + 1);
    assert!(receipts.values().all(|outcomes| outcomes.len() == 1));
    let tables = world.hosts[0].relay.as_ref().unwrap().tables();
    assert_eq!((tables.open_signals, tables.deadlines), (0, 0));
}

#[test]
fn a_signal_sent_again_while_it_is_open_attaches_to_the_first_and_gets_one_receipt() {
    let (mut world, alice, bob) = silent_bob(2);
    let b = world.peer(bob);
    for _ in 0..5 {
        world.signal(alice, b, "1", "x");
        world.run(ms(50));
    }
    let seen = world.edges[bob].seen;
    world.ask(bob, Request::Ack { seq: seen });
    world.run(ms(100));
    assert_eq!(world.edges[bob].got().len(), 1, "seen once");
    assert_eq!(world.says(alice), ["1 Delivered"], "told once");
    world.signal(alice, b, "1", "x");
    assert_eq!(world.says(alice), ["1 Delivered"], "asked again, told again");
    let other = world.peer(alice);
    world.signal(alice, other, "1", "x");
    assert_eq!(world.says(alice), ["1 Refused(BadField)"], "an id stands for one target");
}

#[test]
fn an_unknown_signal_tried_again_is_delivered_at_most_once() {
    let (mut world, alice, bob) = silent_bob(2);
    let b = world.peer(bob);
    world.signal(alice, b, "1", "x");
    world.run(secs(5));
    assert_eq!(world.says(alice), ["1 Unknown"]);
    world.signal(alice, b, "1", "x");
    world.run(ms(500));
    assert_eq!(world.edges[bob].got().len(), 1, "he has it already");
    let seen = world.edges[bob].seen;
    world.ask(bob, Request::Ack { seq: seen });
    world.run(ms(100));
    assert_eq!(world.says(alice), ["1 Delivered"]);
}

#[test]
fn a_signal_tried_again_after_a_later_one_is_never_delivered_out_of_order() {
    let mut world = World::with_hosts(2);
    let (alice, bob) = (world.edge(0), world.edge(1));
    world.run(ms(100));
    let b = world.peer(bob);
    world.cut(0, 1);
    world.signal(alice, b, "1", "lost on the way");
    world.run(secs(8));
    assert_eq!(world.says(alice), ["1 Unknown"]);
    world.mend(0, 1);
    world.until(secs(12), "the link is back", |world| world.admitted(0, 1) == 1);
    world.run(secs(1));
    world.signal(alice, b, "2", "later");
    world.run(ms(100));
    world.signal(alice, b, "1", "lost on the way");
    world.run(ms(100));
    assert_eq!(world.edges[bob].got().iter().map(|(_, id)| id.as_str()).collect::<Vec<_>>(), ["2"]);
    let receipts = world.edges[alice].receipts();
    assert_eq!(receipts["2"], [Outcome::Delivered]);
    assert_eq!(receipts["1"], [Outcome::Unknown, refused(Refusal::Overtaken)]);
}

#[test]
fn a_flood_of_one_id_never_gets_two_different_answers() {
    let (mut world, alice, bob) = silent_bob(2);
    let b = world.peer(bob);
    for _ in 0..EDGE_RATE.burst + 50 {
        world.signal(alice, b, "1", "x");
    }
    world.run(secs(6));
    assert_eq!(world.edges[alice].receipts()["1"], [Outcome::Unknown], "one signal, one receipt, whatever the rate");
}

#[test]
fn thousands_of_signals_to_nobody_are_refused_at_once_and_leave_nothing_behind() {
    let mut world = World::with_hosts(2);
    let alice = world.edge(0);
    for n in 0..5_000_u32 {
        let mut nobody = [7; 32];
        nobody[..4].copy_from_slice(&n.to_be_bytes());
        world.signal(alice, PeerId::new(nobody), &format!("{n}"), "x");
        world.run(ms(12));
    }
    let receipts = world.edges[alice].receipts();
    assert_eq!(receipts.len(), 5_000);
    assert!(receipts.values().all(|outcomes| *outcomes == [refused(Refusal::NoSuchPeer)]));
    world.run(SIGNAL_TIMEOUT);
    let tables = world.hosts[0].relay.as_ref().unwrap().tables();
    assert_eq!((tables.open_signals, tables.deadlines, tables.deliveries, tables.unacked), (0, 0, 0, 0));
    assert!(tables.remembered_signals_max <= REMEMBERED_SIGNALS_MAX);
}

#[test]
fn a_signal_whose_fate_is_not_known_is_never_told_as_refused() {
    // Handed to Bob's home, which dies with it; then Bob is gone from every roster. Nobody can say whether he saw it.
    let (mut world, alice, bob) = silent_bob(3);
    let b = world.peer(bob);
    world.kill(2);
    world.run(ms(4_500));
    world.signal(alice, b, "1", "x");
    world.run(secs(6));
    assert_eq!(world.says(alice), ["1 Unknown"]);
    world.run(secs(6));
    world.signal(alice, b, "1", "x");
    assert_eq!(world.says(alice), ["1 Unknown"], "tried again when Bob is gone: still nobody can say");
    world.signal(alice, b, "2", "x");
    assert_eq!(world.says(alice), ["2 Refused(NoSuchPeer)"], "a fresh one was surely not delivered");
}

#[test]
fn what_a_front_door_could_not_read_is_answered_and_counts_against_the_rate() {
    let mut world = World::with_hosts(1);
    let edge = world.edge(0);
    let key = world.edges[edge].key;
    for n in 0..EDGE_RATE.burst + 5 {
        let id = Some(format!("{n}").as_str().into());
        world.input(0, Input::EdgeErred { edge: key, id, refusal: Refusal::UnknownType, message: "what?".into() });
    }
    let heard = world.says(edge);
    let count = |word: &str| heard.iter().filter(|heard| *heard == word).count();
    assert_eq!((count("error unknown_type"), count("error rate_limited")), (EDGE_RATE.burst as usize - 1, 6));
}

#[test]
fn when_everybody_has_left_nothing_is_left() {
    let mut world = World::with_hosts(2);
    let edges: Vec<usize> = (0..40).map(|n| world.edge(n % 2)).collect();
    for edge in &edges {
        world.join(*edge, "room");
        world.watch(*edge, "gallery");
    }
    world.run(ms(200));
    for (n, edge) in edges.iter().enumerate() {
        let to = world.peer(edges[(n + 7) % edges.len()]);
        world.signal(*edge, to, "1", "x");
    }
    world.run(ms(200));
    for (n, edge) in edges.iter().enumerate() {
        if n % 3 == 0 {
            world.drop_socket(*edge);
        } else {
            world.ask(*edge, Request::Bye);
        }
    }
    world.run(secs(200));
    for place in 0..2 {
        let tables = world.hosts[place].relay.as_ref().unwrap().tables();
        let of_edges = [tables.edges, tables.sessions, tables.topics, tables.unacked, tables.open_signals];
        assert_eq!(of_edges, [0; 5], "{tables:?}");
        assert_eq!((tables.peers, tables.directory_topics, tables.deadlines), (0, 0, 0));
        assert_eq!(
            (tables.deliveries, tables.return_routes, tables.asking, tables.comparisons, tables.sealed),
            (0, 0, 0, 0, 0)
        );
    }
}
