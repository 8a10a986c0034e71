//! Signals that must cross third hosts, and links that are slow.

use aldis::relay::io::{Note, Request};
use aldis::relay::limits::{
    ANNOUNCE_QUEUE_BYTES, CONTROL_QUEUE_BYTES, DETOUR_HOSTS_MAX, REPEATS, SIGNAL_QUEUE_BYTES, SYNC_QUEUE_BYTES,
};
use aldis_wire::host::Outcome;
use aldis_wire::refusal::Refusal;
use aldis_wire::seal::SEAL_BYTES;

use crate::traffic::{Traffic, crowd};
use crate::world::{World, ms, secs};

const LINE: [(usize, usize); 4] = [(0, 1), (1, 2), (2, 3), (3, 4)];
const RING: [(usize, usize); 5] = [(0, 1), (1, 2), (2, 3), (3, 4), (4, 0)];

#[test]
fn at_the_two_ends_of_a_line_of_five_hosts_edges_meet_and_signal_in_order() {
    let mut world = World::with_wires(5, &LINE);
    let (alice, bob) = (world.edge(0), world.edge(4));
    world.join(bob, "room");
    world.run(ms(500));
    world.join(alice, "room");
    world.run(ms(500));
    assert_eq!(world.says(alice), ["joined with [\"1\"]"]);
    assert_eq!(world.says(bob), ["joined with []", "+0"]);
    let (a, b) = (world.peer(alice), world.peer(bob));
    for n in 0..20 {
        world.signal(alice, b, &format!("{n}"), &format!("{n}"));
        world.signal(bob, a, &format!("{n}"), &format!("{n}"));
    }
    let took = world.until(secs(1), "all receipts are back", |world| {
        [alice, bob].iter().all(|edge| world.edges[*edge].receipts().len() == 20)
    });
    assert!(took >= ms(80), "four links there and four back: {took:?}");
    for edge in [alice, bob] {
        let ids: Vec<String> = world.edges[edge].got().into_iter().map(|(_, id)| id).collect();
        assert_eq!(ids, (0..20).map(|n| n.to_string()).collect::<Vec<_>>());
        assert!(world.edges[edge].receipts().values().all(|outcomes| *outcomes == [Outcome::Delivered]));
    }
    assert!((0..5).all(|at| (0..5).filter(|other| world.admitted(at, *other) == 1).count() <= 2));
}

#[test]
fn a_host_on_the_way_sees_neither_who_nor_what() {
    let mut world = World::with_wires(3, &[(0, 1), (1, 2)]);
    let (alice, bob) = (world.edge(0), world.edge(2));
    world.run(ms(500));
    let (a, b) = (world.peer(alice), world.peer(bob));
    world.watch_wire(1);
    world.signal(alice, b, "an id in clear", "a secret offer");
    world.run(ms(500));
    assert_eq!(world.says(alice), ["an id in clear Delivered"]);
    let seen = world.wire_seen();
    assert!(seen.len() > SEAL_BYTES && !seen.is_empty());
    for secret in [&b"a secret offer"[..], b"an id in clear", a.as_bytes(), b.as_bytes()] {
        assert!(!seen.windows(secret.len()).any(|window| window == secret), "it is sealed from home to home");
    }
}

#[test]
fn in_a_ring_signals_find_the_other_way_round_when_a_host_dies() {
    for seed in 0..4 {
        let mut world = World::with_wires(5, &RING);
        world.jitter = ms(seed * 3);
        let edges = crowd(&mut world);
        let mut traffic = Traffic::default();
        traffic.run(&mut world, &edges, secs(2), ms(17));
        world.kill(1);
        traffic.run(&mut world, &edges, secs(15), ms(17));
        let quiet = world.now;
        let (from, to) = (edges[0], edges[6]);
        assert_eq!((world.edges[from].place, world.edges[to].place), (0, 2));
        traffic.send(&mut world, from, to);
        world.until(ms(500), "0 reaches 2 over 4 and 3", |world| {
            world.edges[from].history.last().is_some_and(|(at, _)| *at > quiet)
        });
        let tally = traffic.reckon(&mut world);
        assert!(tally.delivered > 400, "{tally:?}");
        world.settle(&[0, 2, 3, 4], secs(4));
    }
}

/// Alice at 0 and Bob at 2, who are two hosts apart by 1 and as far by 3; 1 is nearer.
fn two_ways() -> (World, usize, usize) {
    let mut world = World::with_wires(4, &[(0, 1), (1, 2), (2, 3), (3, 0)]);
    world.set_latency(0, 3, ms(30));
    world.set_latency(2, 3, ms(30));
    let (alice, bob) = (world.edge(0), world.edge(2));
    world.run(secs(20));
    (world, alice, bob)
}

fn got(world: &World, edge: usize) -> Vec<String> {
    world.edges[edge].got().into_iter().map(|(_, id)| id).collect()
}

#[test]
fn what_a_host_on_the_way_drops_goes_again_by_another_way_in_order_and_what_follows_takes_that_at_once() {
    let (mut world, alice, bob) = two_ways();
    let b = world.peer(bob);
    world.drops.insert((1, 2));
    for n in 0..3 {
        world.signal(alice, b, &format!("{n}"), "dropped by 1");
        world.run(ms(10));
    }
    world.run(ms(1_100));
    assert_eq!(world.says(alice), [""; 0], "nobody has noticed yet");
    world.until(ms(500), "all receipts are back", |world| world.edges[alice].receipts().len() == 3);
    assert_eq!(got(&world, bob), ["0", "1", "2"]);
    world.signal(alice, b, "3", "not by 1 again");
    world.until(ms(300), "the next has its receipt", |world| world.edges[alice].receipts().len() == 4);
    assert!(world.edges[alice].receipts().values().all(|outcomes| *outcomes == [Outcome::Delivered]));
}

#[test]
fn a_receipt_that_a_host_on_the_way_drops_comes_back_the_way_of_the_copy_and_the_signal_is_got_once() {
    let (mut world, alice, bob) = two_ways();
    let b = world.peer(bob);
    world.drops.insert((1, 0));
    world.signal(alice, b, "a", "it arrives, its receipt does not");
    world.run(ms(300));
    assert_eq!((got(&world, bob), world.edges[alice].receipts().len()), (vec!["a".to_owned()], 0));
    world.until(ms(1_300), "the receipt is back", |world| world.edges[alice].receipts().len() == 1);
    world.run(secs(6));
    assert_eq!(world.says(alice), ["a Delivered"]);
    for id in ["b", "c", "d"] {
        world.signal(alice, b, id, "it has its answer by the way that the last one had it");
        world.until(ms(500), "the receipt is back", |world| world.says(alice) == [format!("{id} Delivered")]);
    }
    assert_eq!(got(&world, bob), ["a", "b", "c", "d"]);
}

#[test]
fn what_a_host_on_the_way_sends_back_goes_by_another_way_at_once_and_where_there_is_none_is_refused() {
    let (mut world, alice, bob) = two_ways();
    for edge in [alice, bob] {
        world.join(edge, "room");
    }
    world.run(secs(1));
    world.says(alice);
    let b = world.peer(bob);
    world.bounces.insert((1, 2));
    world.signal(alice, b, "a", "sent back by 1");
    world.broadcast(alice, "room", "b", "the same");
    world.run(ms(500));
    let told = world.says(alice);
    let tally = "b taken 1 refused 0 unknown 0 members 1 missed 0";
    assert!(
        told.len() == 2 && told.contains(&"a Delivered".to_owned()) && told.contains(&tally.to_owned()),
        "{told:?}"
    );
    assert_eq!(got(&world, bob), ["a"]);

    let (mut world, alice, bob) = two_ways();
    world.join(bob, "room");
    world.run(secs(1));
    let b = world.peer(bob);
    world.bounces.extend([(1, 2), (3, 2)]);
    world.signal(alice, b, "c", "sent back by both");
    world.broadcast(alice, "room", "d", "the same");
    world.run(ms(500));
    assert_eq!(world.edges[alice].receipts()["c"], [Outcome::Refused(Refusal::HomeUnreachable)]);
    let told = world.says(alice);
    assert!(told.iter().any(|told| told.starts_with("d taken 0 refused 1 unknown 0")), "{told:?}");
    assert_eq!(got(&world, bob), [""; 0]);
}

#[test]
fn several_signals_that_all_neighbours_send_back_are_all_refused_at_once_and_none_goes_round() {
    const NEIGHBOURS: usize = DETOUR_HOSTS_MAX + 3;
    let to = NEIGHBOURS + 1;
    let wires: Vec<(usize, usize)> = (1..=NEIGHBOURS).flat_map(|at| [(0, at), (at, to)]).collect();
    let mut world = World::with_wires(NEIGHBOURS + 2, &wires);
    let (alice, bob) = (world.edge(0), world.edge(to));
    world.run(secs(20));
    let b = world.peer(bob);
    world.bounces.extend((1..=NEIGHBOURS).map(|at| (at, to)));
    world.watch_wire(1);
    let (count, data) = (3, "x".repeat(10_000));
    for n in 0..count {
        world.signal(alice, b, &format!("{n}"), &data);
    }
    world.run(secs(1));
    let receipts = world.edges[alice].receipts();
    let refused = [Outcome::Refused(Refusal::HomeUnreachable)];
    assert!(receipts.len() == count && receipts.values().all(|outcomes| *outcomes == refused), "{receipts:?}");
    let seen = world.wire_seen().len();
    assert!((data.len()..3 * count * data.len()).contains(&seen), "{seen}");
}

#[test]
fn a_copy_that_is_sent_back_does_not_end_a_signal_whose_target_is_slow() {
    let (mut world, alice, bob) = two_ways();
    let b = world.peer(bob);
    world.edges[bob].acks = false;
    world.bounces.insert((3, 2));
    world.signal(alice, b, "a", "it is there, and not acknowledged");
    world.run(secs(2));
    assert_eq!((got(&world, bob), world.says(alice)), (vec!["a".to_owned()], vec![]));
    let seq = world.edges[bob].seen;
    world.ask(bob, Request::Ack { seq });
    world.run(ms(500));
    assert_eq!((got(&world, bob), world.says(alice)), (vec!["a".to_owned()], vec!["a Delivered".to_owned()]));
}

#[test]
fn a_broadcast_goes_by_another_way_too_and_its_tally_comes_back_that_way() {
    for dropping in [(1, 2), (1, 0)] {
        let (mut world, alice, bob) = two_ways();
        for edge in [alice, bob] {
            world.join(edge, "room");
        }
        world.run(secs(1));
        world.says(alice);
        world.drops.insert(dropping);
        world.broadcast(alice, "room", "a", "to all");
        world.run(secs(2));
        let told = world.says(alice);
        assert!(
            told.len() == 1 && told[0] == "a taken 1 refused 0 unknown 0 members 1 missed 0",
            "{dropping:?}: {told:?}"
        );
        for id in ["b", "c", "d"] {
            world.broadcast(alice, "room", id, "by the way that the last one took");
            world.run(ms(500));
            assert_eq!(world.says(alice), [format!("{id} taken 1 refused 0 unknown 0 members 1 missed 0")]);
        }
    }
}

#[test]
fn what_goes_again_is_bounded_where_no_way_brings_an_answer() {
    let (mut world, alice, bob) = two_ways();
    let b = world.peer(bob);
    world.drops.extend([(1, 2), (3, 2)]);
    world.watch_wire(1);
    let data = "x".repeat(60_000);
    let bytes = usize::try_from(REPEATS.burst).unwrap();
    let count = bytes / data.len();
    for n in 0..count {
        world.signal(alice, b, &format!("{n}"), &data);
    }
    world.run(secs(6));
    let receipts = world.edges[alice].receipts();
    assert!(receipts.len() == count && receipts.values().all(|outcomes| *outcomes == [Outcome::Unknown]));
    let seen = world.wire_seen().len();
    assert!((bytes * 9 / 10..bytes * 3 / 2).contains(&seen), "{seen}: to 1, to 3, and not a third time");
}

#[test]
fn where_there_is_no_other_way_nothing_goes_again_and_the_sender_is_told_that_nobody_knows() {
    let mut world = World::with_wires(3, &[(0, 1), (1, 2)]);
    let (alice, bob) = (world.edge(0), world.edge(2));
    world.run(secs(2));
    let b = world.peer(bob);
    world.drops.insert((1, 2));
    world.watch_wire(1);
    world.signal(alice, b, "a", &"x".repeat(10_000));
    world.run(secs(6));
    assert_eq!(world.says(alice), ["a Unknown"]);
    assert!(world.wire_seen().len() < 20_000, "it has come to 1 once");
}

#[test]
fn a_line_that_breaks_and_mends_under_traffic_loses_nothing() {
    for seed in 0..4 {
        let mut world = World::with_wires(5, &LINE);
        world.jitter = ms(seed * 4);
        let edges = crowd(&mut world);
        let mut traffic = Traffic::default();
        for round in 0..3_usize {
            let (a, b) = LINE[(round + usize::try_from(seed).unwrap()) % 4];
            world.cut(a, b);
            traffic.run(&mut world, &edges, secs(9), ms(41));
            world.mend(a, b);
            traffic.run(&mut world, &edges, secs(12), ms(41));
        }
        let tally = traffic.reckon(&mut world);
        assert!(tally.delivered > 600, "{tally:?}");
        world.settle(&[0, 1, 2, 3, 4], secs(5));
    }
}

#[test]
fn what_was_on_a_link_that_dies_goes_again_by_another_way_and_is_delivered() {
    let mut world = World::with_hosts(3);
    let (alice, bob) = (world.edge(0), world.edge(1));
    world.run(ms(500));
    let b = world.peer(bob);
    world.cut(0, 1);
    world.run(ms(3_900));
    for n in 0..5 {
        world.signal(alice, b, &format!("{n}"), "sent into the dead link");
    }
    world.run(secs(3));
    assert_eq!(world.says(alice), [""; 0], "nobody has noticed yet");
    world.run(ms(200));
    let receipts = world.edges[alice].receipts();
    assert_eq!(receipts.len(), 5, "at once when the link is given up");
    assert!(receipts.values().all(|outcomes| *outcomes == [Outcome::Delivered]), "{receipts:?}");
    let ids: Vec<String> = world.edges[bob].got().into_iter().map(|(_, id)| id).collect();
    assert_eq!(ids, ["0", "1", "2", "3", "4"]);
}

#[test]
fn what_is_sent_when_a_link_has_fallen_silent_goes_by_another_way_at_once() {
    let mut world = World::with_hosts(3);
    let (alice, bob) = (world.edge(0), world.edge(1));
    world.run(ms(500));
    let b = world.peer(bob);
    world.cut(0, 1);
    world.run(ms(4_100));
    assert_eq!(world.admitted(0, 1), 1, "it has not been given up");
    world.signal(alice, b, "1", "offer");
    world.run(ms(100));
    assert_eq!(world.says(alice), ["1 Delivered"], "there and back over the third host");
}

#[test]
fn when_no_way_is_left_the_sender_is_told_at_once() {
    let mut world = World::with_wires(3, &[(0, 1), (1, 2)]);
    let (alice, bob) = (world.edge(0), world.edge(2));
    world.run(ms(500));
    let b = world.peer(bob);
    world.cut(1, 2);
    world.run(secs(8));
    assert!(world.seen(0, 2).is_some_and(|seen| seen.live), "its last heartbeat still counts");
    world.signal(alice, b, "1", "offer");
    world.run(ms(100));
    assert_eq!(world.says(alice), ["1 Refused(HomeUnreachable)"], "the host on the way knew none, and said so");
    world.run(secs(5));
    world.signal(alice, b, "2", "offer");
    assert_eq!(world.says(alice), ["2 Refused(NoSuchPeer)"], "by now nobody knows of Bob");
}

#[test]
fn a_direct_link_is_made_for_a_pair_that_signals_and_order_is_kept_when_the_path_changes() {
    for seed in 0..4 {
        let mut world = World::with_wires(3, &[(0, 1), (1, 2)]);
        world.jitter = ms(seed * 5);
        let edges = crowd(&mut world);
        let mut traffic = Traffic::default();
        world.mend(0, 2);
        traffic.run(&mut world, &edges, secs(15), ms(5));
        assert_eq!(world.admitted(0, 2), 1, "the wire is there now, and is used");
        let tally = traffic.reckon(&mut world);
        assert_eq!((tally.unknown, tally.refused), (0, 0), "{tally:?}");
    }
}

#[test]
fn while_a_signal_is_open_those_after_it_take_its_slow_way_although_a_faster_one_has_come() {
    let mut world = World::with_wires(3, &[(0, 1), (1, 2)]);
    world.set_latency(0, 1, ms(700));
    let (alice, bob) = (world.edge(0), world.edge(2));
    world.run(secs(3));
    let b = world.peer(bob);
    world.signal(alice, b, "1", "by way of a third host");
    world.mend(0, 2);
    world.connect(0, 2, None);
    world.run(ms(200));
    assert_eq!(world.admitted(0, 2), 1);
    world.signal(alice, b, "2", "after it");
    world.run(secs(4));
    let ids: Vec<String> = world.edges[bob].got().into_iter().map(|(_, id)| id).collect();
    assert_eq!(ids, ["1", "2"]);
    assert_eq!(world.says(alice), ["1 Delivered", "2 Delivered"], "none was overtaken");
    world.signal(alice, b, "3", "now the short way");
    world.run(ms(100));
    assert_eq!(world.says(alice), ["3 Delivered"]);
}

// ---- Slow links -------------------------------------------------------------------------------------------------

#[test]
fn a_link_that_takes_no_signals_refuses_them_as_overloaded_and_its_bytes_are_bounded() {
    let mut world = World::with_hosts(2);
    let (alices, bob): (Vec<usize>, usize) = ((0..40).map(|_| world.edge(0)).collect(), world.edge(1));
    world.run(ms(500));
    let b = world.peer(bob);
    world.slow_down(0, 1, false);
    let data = "x".repeat(60_000);
    let mut sent = 0;
    for round in 0..3 {
        for alice in &alices {
            world.signal(*alice, b, &format!("{round}"), &data);
            sent += 1;
        }
    }
    let refused = |world: &World| {
        let receipts = alices.iter().flat_map(|alice| world.edges[*alice].receipts().into_values().flatten());
        receipts.filter(|outcome| *outcome == Outcome::Refused(Refusal::Overloaded)).count()
    };
    assert!(refused(&world) > 0, "told at once");
    let bytes = world.hosts[0].relay.as_ref().unwrap().tables().link_bytes_max;
    assert!(bytes <= SIGNAL_QUEUE_BYTES + CONTROL_QUEUE_BYTES, "{bytes}");
    assert!(bytes > SIGNAL_QUEUE_BYTES - 70_000, "the bound was reached");
    assert!(world.held_bytes(0, 1) <= SIGNAL_QUEUE_BYTES + ANNOUNCE_QUEUE_BYTES);
    world.run(secs(60));
    assert!(world.seen(1, 0).unwrap().live, "heads still go");
    world.hurry(0, 1);
    world.run(secs(6));
    let outcomes = alices.iter().flat_map(|alice| world.edges[*alice].receipts().into_values().flatten());
    assert_eq!(outcomes.count(), sent, "exactly one receipt each");
    world.signal(alices[0], b, "again", "x");
    world.run(ms(100));
    assert_eq!(world.edges[alices[0]].receipts()["again"], [Outcome::Delivered], "the link works again");
}

#[test]
fn a_link_that_takes_no_announcements_is_told_heads_alone_and_catches_up_later() {
    let mut world = World::with_hosts(3);
    let edges: Vec<usize> = (0..60).map(|_| world.edge(0)).collect();
    world.run(secs(1));
    world.slow_down(0, 1, false);
    world.cut(1, 2);
    let meta = "m".repeat(1_000);
    for round in 0..60 {
        for edge in &edges {
            world.join_as(*edge, &format!("{}", round % 8), &format!("{round}{meta}"));
        }
        world.run(ms(250));
        if round > 20 {
            assert!(world.seen(1, 0).unwrap().live, "its heads arrive");
        }
    }
    let held = world.held_bytes(0, 1);
    assert!(held <= ANNOUNCE_QUEUE_BYTES + SYNC_QUEUE_BYTES + SIGNAL_QUEUE_BYTES, "{held}");
    assert!(held > ANNOUNCE_QUEUE_BYTES / 2, "{held}");
    assert!(world.total(1, "3") < 60 || !world.agree(&[0, 1]), "it has fallen behind");
    world.hurry(0, 1);
    world.settle(&[0, 1], secs(10));
    assert_eq!(world.total(1, "3"), world.total(0, "3"));
}

#[test]
fn a_link_that_takes_nothing_at_all_is_closed_before_its_queues_outgrow_their_bounds() {
    let mut world = World::with_hosts(2);
    let edges: Vec<usize> = (0..20).map(|_| world.edge(0)).collect();
    world.run(secs(1));
    world.slow_down(0, 1, true);
    let limit = CONTROL_QUEUE_BYTES + ANNOUNCE_QUEUE_BYTES + SIGNAL_QUEUE_BYTES + SYNC_QUEUE_BYTES;
    let mut closed = false;
    for round in 0..4_000_usize {
        let meta = format!("{round}{}", "m".repeat(1_000));
        world.join_as(edges[round % edges.len()], &format!("{}", round % 30), &meta);
        world.run(ms(50));
        let bytes = world.hosts[0].relay.as_ref().unwrap().tables().link_bytes_max;
        assert!(bytes <= limit, "{bytes}");
        closed = world.hosts[0].count(|note| matches!(note, Note::LinkEnded { admitted: true, .. })) > 0;
        if closed {
            break;
        }
    }
    assert!(closed, "a host that reads not even heartbeats is given up");
}
