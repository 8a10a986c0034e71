//! Crashes, partitions, crossed dials, frozen processes, clocks: what everybody else sees of them.

use std::time::Duration;

use aldis::relay::io::{Hint, HintSource, Input, Note};

use crate::traffic::{Traffic, crowd};
use crate::world::{World, address, ms, secs};

#[test]
fn the_edges_of_a_crashed_host_are_gone_everywhere_within_ten_seconds() {
    for moment in 0..6 {
        let mut world = World::with_hosts(3);
        crowd(&mut world);
        world.run(ms(500 * moment));
        world.kill(1);
        let at_most = secs(10);
        let took = world.until(at_most, "no ghosts", |world| [0, 2].iter().all(|at| world.total(*at, "crowd") == 6));
        assert!(took >= secs(5), "and nobody is given up for a late heartbeat: {took:?}");
        world.run(secs(60));
        assert_eq!((world.total(0, "crowd"), world.total(2, "crowd")), (6, 6));
    }
}

#[test]
fn members_are_told_once_of_each_edge_of_a_crashed_host() {
    let mut world = World::with_hosts(2);
    let edges = crowd(&mut world);
    world.heard(edges[0]);
    world.kill(1);
    world.run(secs(20));
    let mut left = world.says(edges[0]);
    left.sort();
    assert_eq!(left, ["-3 HostLost", "-4 HostLost", "-5 HostLost"]);
}

#[test]
fn signals_to_a_crashed_host_get_exactly_one_receipt_each_within_five_seconds() {
    for seed in 1..6 {
        let mut world = World::new(seed);
        (0..4).for_each(|_| _ = world.add_host("test"));
        world.jitter = ms(15);
        world.run(secs(3));
        let edges = crowd(&mut world);
        let mut traffic = Traffic::default();
        traffic.run(&mut world, &edges, secs(2), ms(7));
        world.kill(2);
        traffic.run(&mut world, &edges, secs(15), ms(31));
        let tally = traffic.reckon(&mut world);
        assert!(tally.delivered > 200 && tally.unknown > 0 && tally.refused > 0, "{tally:?}");
    }
}

#[test]
fn a_host_that_shuts_down_under_traffic_loses_nothing() {
    for seed in 1..4 {
        let mut world = World::new(seed);
        (0..3).for_each(|_| _ = world.add_host("test"));
        world.run(secs(3));
        let edges = crowd(&mut world);
        let mut traffic = Traffic::default();
        traffic.run(&mut world, &edges, secs(1), ms(7));
        world.shut_down(1);
        let staying: Vec<usize> = edges.iter().copied().filter(|edge| world.edges[*edge].place != 1).collect();
        world.until(secs(1), "everybody knows", |world| [0, 2].iter().all(|at| world.total(*at, "crowd") == 6));
        world.kill(1);
        traffic.run(&mut world, &staying, secs(5), ms(7));
        traffic.reckon(&mut world);
    }
}

/// Parts a mesh for `time` under traffic, heals it, and says how long the hosts took to agree.
fn partition(seed: u8, hosts: usize, time: Duration) -> Duration {
    let mut world = World::new(seed);
    (0..hosts).for_each(|_| _ = world.add_host("test"));
    world.jitter = ms(10);
    world.run(secs(3));
    let edges = crowd(&mut world);
    let all: Vec<usize> = (0..hosts).collect();
    let (some, others) = all.split_at(hosts / 2);
    let mut traffic = Traffic::default();
    traffic.run(&mut world, &edges, secs(2), ms(13));
    world.part(some, others);
    traffic.run(&mut world, &edges, time, ms(37));
    if time > secs(10) {
        for place in &all {
            let side = if some.contains(place) { some } else { others };
            assert_eq!(world.total(*place, "crowd"), 3 * side.len(), "each side goes on serving its own");
        }
    }
    let changed = world.edge(0);
    world.join(changed, "crowd");
    world.heal(some, others);
    let healed = world.now;
    while !world.agree(&all) {
        assert!(world.now.since(healed) < secs(20), "they never agree");
        traffic.run(&mut world, &edges, ms(250), ms(37));
    }
    let took = world.now.since(healed);
    traffic.run(&mut world, &edges, secs(8), ms(37));
    world.settle(&all, secs(8));
    for place in &all {
        assert_eq!(world.total(*place, "crowd"), 3 * hosts + 1, "at {place}");
    }
    let tally = traffic.reckon(&mut world);
    assert!(tally.delivered > 50, "{tally:?}");
    world.run(secs(10));
    for a in &all {
        for b in all.iter().filter(|b| a != *b) {
            assert_eq!(world.admitted(*a, *b), 1, "one link between {a} and {b}");
        }
    }
    took
}

#[test]
fn a_parted_mesh_of_three_goes_on_on_both_sides_and_agrees_again_when_healed() {
    for (seed, time) in [(1, 1), (2, 3), (3, 6), (4, 12), (5, 40)] {
        let took = partition(seed, 3, secs(time));
        assert!(took < secs(8), "parted for {time} s, agreed after {took:?}");
    }
}

#[test]
fn a_parted_mesh_of_five_goes_on_on_both_sides_and_agrees_again_when_healed() {
    for (seed, time) in [(1, 2), (2, 8), (3, 25), (4, 900)] {
        let took = partition(seed, 5, secs(time));
        assert!(took < secs(8), "parted for {time} s, agreed after {took:?}");
    }
}

#[test]
fn a_host_back_within_ten_minutes_is_shown_without_its_roster_being_sent_again() {
    let mut world = World::with_hosts(2);
    for number in 0..400 {
        let edge = world.edge(1);
        world.join(edge, &format!("{number}"));
    }
    world.run(secs(2));
    assert!(world.received_bytes[0] > 40_000);
    world.cut(0, 1);
    world.run(secs(60));
    assert!(!world.seen(0, 1).unwrap().live);
    world.mend(0, 1);
    let before = world.received_bytes[0];
    world.settle(&[0, 1], secs(12));
    let cost = world.received_bytes[0] - before;
    assert!(cost < 10_000, "the missed heartbeats, not the roster: {cost} bytes");
}

#[test]
fn hosts_that_dial_each_other_at_once_end_with_one_link_a_pair() {
    for seed in 1..12 {
        let mut world = World::new(seed);
        (0..5).for_each(|_| _ = world.add_host("test"));
        world.jitter = ms(u64::from(seed) * 5);
        world.run(secs(10));
        for a in 0..5 {
            for b in (0..5).filter(|b| a != *b) {
                assert_eq!(world.admitted(a, b), 1, "seed {seed}: {a} and {b}");
                assert_eq!(world.links_between(a, b).len(), 1, "seed {seed}: nothing stays open beside it");
            }
        }
        let links = (0..5).map(|at| world.hosts[at].relay.as_ref().unwrap().tables().links);
        assert!(links.eq([4; 5]), "seed {seed}: and none is remembered that is gone");
    }
}

#[test]
fn nothing_is_lost_while_links_are_replaced() {
    for seed in 1..8 {
        let mut world = World::new(seed);
        (0..3).for_each(|_| _ = world.add_host("test"));
        world.jitter = ms(8);
        let edges = crowd(&mut world);
        let mut traffic = Traffic::default();
        traffic.run(&mut world, &edges, secs(1), ms(3));
        for _ in 0..40 {
            let (a, b) = (world.random(3), world.random(3));
            if a != b {
                world.connect(a, b, None);
            }
            traffic.run(&mut world, &edges, ms(80), ms(3));
        }
        world.run(secs(6));
        for (a, b) in [(0, 1), (1, 2), (0, 2)] {
            assert_eq!((world.admitted(a, b), world.admitted(b, a)), (1, 1), "seed {seed}");
        }
        let tally = traffic.reckon(&mut world);
        assert_eq!(tally.unknown, 0, "seed {seed}: {tally:?}");
        world.settle(&[0, 1, 2], secs(4));
    }
}

#[test]
fn a_frozen_machine_expires_nobody_for_its_own_sleep() {
    for timers_first in [true, false] {
        let mut world = World::with_hosts(3);
        let edges = crowd(&mut world);
        world.heard(edges[0]);
        world.freeze(0);
        // The links of a frozen process would be given up after 7 s; here its transport is thought to live on.
        world.run(secs(3_600));
        world.thaw(0, timers_first);
        let expired = world.hosts[0].count(|note| matches!(note, Note::HostExpired { .. }));
        assert_eq!(expired, 0, "called an hour late, it gives everybody time to be heard");
        world.run(secs(30));
        assert_eq!(world.total(0, "crowd"), 9);
        assert_eq!(world.says(edges[0]), [""; 0], "its edges saw nothing of it");
        world.settle(&[0, 1, 2], secs(5));
    }
}

#[test]
fn edges_in_their_grace_period_are_not_lost_because_their_host_slept() {
    let mut world = World::with_hosts(1);
    let bob = world.edge(0);
    world.drop_socket(bob);
    world.run(secs(1));
    world.freeze(0);
    world.run(secs(3_600));
    world.thaw(0, true);
    world.resume(bob);
    assert_eq!(world.says(bob), ["Greeting", "Welcome"]);
}

#[test]
fn clocks_need_not_agree() {
    let run = |ahead: [u64; 3]| {
        let mut world = World::new(7);
        for ahead in ahead {
            let place = world.add_host("test");
            world.kill(place);
            world.hosts[place].ahead = secs(ahead);
            world.start(place);
        }
        world.run(secs(3));
        let edges = crowd(&mut world);
        world.run(secs(600));
        world.kill(2);
        world.run(secs(30));
        edges.iter().map(|edge| world.says(*edge)).collect::<Vec<_>>()
    };
    assert_eq!(run([0, 0, 0]), run([0, 1_000_000_000, 86_400 * 400]));
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = || {
        let mut world = World::new(3);
        (0..4).for_each(|_| _ = world.add_host("test"));
        world.jitter = ms(20);
        let edges = crowd(&mut world);
        let mut traffic = Traffic::default();
        traffic.run(&mut world, &edges, secs(5), ms(11));
        world.kill(1);
        traffic.run(&mut world, &edges, secs(5), ms(11));
        let heard: Vec<_> = edges.iter().map(|edge| world.says(*edge)).collect();
        (heard, world.received_bytes.clone())
    };
    assert_eq!(run(), run());
}

#[test]
fn a_host_that_leaves_and_comes_back_again_and_again_leaves_no_trace() {
    let mut world = World::with_hosts(2);
    let watcher = world.edge(0);
    world.watch(watcher, "room");
    for _ in 0..20 {
        let bob = world.edge(1);
        world.join(bob, "room");
        world.run(ms(200));
        if world.random(2) == 0 {
            world.kill(1);
        } else {
            world.shut_down(1);
            world.run(ms(100));
            world.kill(1);
        }
        world.run(secs(1));
        world.start(1);
        world.until(secs(12), "it is back, without its former edges", |world| {
            world.total(0, "room") == 0 && world.admitted(0, 1) == 1
        });
    }
    world.run(secs(10));
    let tables = world.hosts[0].relay.as_ref().unwrap().tables();
    assert_eq!((tables.origins, tables.rosters, tables.links, tables.directory_topics), (2, 2, 1, 0));
    let came = world.says(watcher);
    let joined = came.iter().filter(|word| word.starts_with('+')).count();
    let left = came.iter().filter(|word| word.starts_with('-')).count();
    assert_eq!((joined, left), (20, 20), "each Bob was told once as come and once as gone");
}

#[test]
fn a_load_that_is_measured_is_announced() {
    let mut world = World::with_hosts(2);
    world.input(0, Input::LoadMeasured { percent: 42 });
    world.run(secs(20));
    assert_eq!(world.seen(1, 0).unwrap().status.load_percent, 42);
}

#[test]
fn right_after_crossed_dials_a_change_still_reaches_everybody_within_one_multicast() {
    for seed in 1..250 {
        let mut world = World::new(seed);
        (world.latency, world.jitter) = (ms(1 + u64::from(seed) % 7), ms(u64::from(seed) % 25));
        (0..3).for_each(|_| _ = world.add_host("test"));
        // All learn of all at the same moment, as from a DHT: each pair dials both ways.
        for place in 0..3 {
            let others = (0..3).filter(|other| *other != place);
            let hints = others.map(|other| Hint { address: address(other), host: None }).collect();
            world.input(place, Input::HintsFound { source: HintSource::Static, hints });
        }
        let pairs = [(0, 1), (1, 0), (0, 2), (2, 0), (1, 2), (2, 1)];
        world.until(secs(5), "everybody is linked", |world| {
            pairs.iter().all(|(a, b)| world.admitted(*a, *b) >= 1 && world.seen(*a, *b).is_some())
        });
        for round in 0..8 {
            let place = round % 3;
            world.edge(place);
            let limit = ms(50) + 4 * (world.latency + world.jitter);
            world.run(limit);
            let peers = world.hosts[place].running().unwrap().view(world.now).sessions;
            for other in (0..3).filter(|other| *other != place) {
                let seen = world.seen(other, place).unwrap().peers;
                assert_eq!(seen, peers, "seed {seed}, round {round}: {other} sees of {place} after {limit:?}");
            }
        }
    }
}
