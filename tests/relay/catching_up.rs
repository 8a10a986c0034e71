//! Replicas that have fallen behind: by a few announcements, by hundreds, by everything.

use aldis::relay::Settings;
use aldis::relay::io::{CatchUp, Note};
use aldis::relay::limits::{LOG_MAX, Rate};

use crate::world::{World, ms, secs};

fn caught_up(world: &World, place: usize, by: CatchUp) -> usize {
    world.hosts[place].count(|note| matches!(note, Note::CaughtUp { by: how, .. } if *how == by))
}

/// Edges may do what they like as fast as they like.
fn unlimited(settings: &mut Settings) {
    let none = Rate { per_second: 0, burst: 0 };
    settings.edge_rate = none;
    settings.edge_change_rate = none;
    settings.address_rate = none;
    settings.own_changes = none;
    settings.address_open_rate = none;
    settings.edges_per_address_max = usize::MAX;
}

fn without_limits(hosts: usize) -> World {
    let mut world = World::new(7);
    for _ in 0..hosts {
        world.add_host_with("test", unlimited);
    }
    world.run(secs(3));
    world
}

#[test]
fn a_host_that_joins_late_gets_everything() {
    let mut world = World::with_hosts(4);
    for number in 0..40 {
        let edge = world.edge(number % 4);
        world.join(edge, &format!("topic {}", number % 7));
        world.run(ms(60));
    }
    world.run(secs(300));
    let late = world.add_host("test");
    let took = world.settle(&[0, 1, 2, 3, late], secs(3));
    assert!(took < secs(1), "{took:?}");
    for topic in 0..7 {
        let topic = format!("topic {topic}");
        assert_eq!(world.total(late, &topic), world.total(0, &topic));
    }
}

#[test]
fn a_few_missed_announcements_are_asked_for_and_nothing_else_is_sent() {
    let mut world = World::with_hosts(3);
    let edge = world.edge(0);
    world.run(secs(1));
    world.part(&[2], &[0, 1]);
    for topic in 0..5 {
        world.join(edge, &format!("{topic}"));
        world.run(ms(300));
    }
    world.run(secs(6));
    world.heal(&[2], &[0, 1]);
    let before = caught_up(&world, 2, CatchUp::Digest);
    world.settle(&[0, 1, 2], secs(12));
    assert!((0..5).all(|topic| world.total(2, &format!("{topic}")) == 1));
    assert_eq!(caught_up(&world, 2, CatchUp::Digest), before, "no comparison was needed");
    assert!(caught_up(&world, 2, CatchUp::Delta) > 0, "and it is noted how the gap was closed");
}

#[test]
fn hundreds_of_missed_memberships_are_found_by_comparing_digests() {
    let mut world = without_limits(3);
    let edges: Vec<usize> = (0..20).map(|_| world.edge(0)).collect();
    for topic in 0..20 {
        edges.iter().for_each(|edge| world.join(*edge, &format!("old {topic}")));
        world.run(ms(60));
    }
    world.run(secs(2));
    world.part(&[2], &[0, 1]);
    for round in 0..(2 * LOG_MAX) {
        let edge = edges[round % edges.len()];
        world.leave(edge, &format!("old {}", round % 19));
        world.join(edge, &format!("new {}", round % 10));
        world.run(ms(60));
    }
    world.heal(&[2], &[0, 1]);
    let before = world.received_bytes[2];
    world.settle(&[0, 1, 2], secs(12));
    assert!(caught_up(&world, 2, CatchUp::Digest) > 0);
    for topic in ["old 3", "old 19", "new 7"] {
        assert_eq!(world.total(2, topic), world.total(0, topic), "{topic}");
    }
    let cost = world.received_bytes[2] - before;
    assert!(cost < 150_000, "what differs, not everything again and again: {cost} bytes");
}

#[test]
fn a_roster_of_many_megabytes_reaches_a_newcomer() {
    let mut world = without_limits(1);
    let meta = "m".repeat(1_000);
    for number in 0..2_500 {
        let edge = world.edge(0);
        for topic in 0..3 {
            world.join_as(edge, &format!("{} {topic}", number / 10), &meta);
        }
        world.run(ms(1));
    }
    world.run(secs(1));
    let late = world.add_host_with("test", unlimited);
    let took = world.settle(&[0, late], secs(60));
    assert!((0..250).all(|topic| world.total(late, &format!("{topic} 1")) == 10));
    let bytes = world.received_bytes[late];
    assert!(bytes > 7_500_000 && bytes < 12_000_000, "{bytes} bytes");
    assert!(took < secs(20), "{took:?}");
}

#[test]
fn a_roster_that_changes_while_it_is_compared_is_equal_in_the_end() {
    let mut world = without_limits(2);
    let edges: Vec<usize> = (0..300).map(|_| world.edge(0)).collect();
    for edge in &edges {
        for topic in 0..8 {
            world.join_as(*edge, &format!("{topic}"), &"m".repeat(300));
        }
        world.run(ms(1));
    }
    world.run(secs(5));
    world.latency = ms(100);
    let late = world.add_host_with("test", unlimited);
    for round in 0..200 {
        let edge = edges[world.random(edges.len())];
        world.join_as(edge, &format!("{}", round % 8), &format!("{round}"));
        world.run(ms(40));
    }
    world.settle(&[0, 1, late], secs(20));
    assert_eq!(world.total(late, "3"), 300);
}

#[test]
fn a_comparison_goes_on_elsewhere_when_its_neighbour_dies() {
    let mut world = without_limits(3);
    for _ in 0..800 {
        let edge = world.edge(0);
        world.join_as(edge, "room", &"m".repeat(900));
        world.run(ms(1));
    }
    world.settle(&[0, 1, 2], secs(20));
    world.latency = ms(60);
    let late = world.add_host_with("test", unlimited);
    world.cut(0, late);
    world.run(ms(700));
    assert!(world.hosts[late].relay.as_ref().unwrap().tables().comparisons > 0, "it is in the middle of it");
    let asked = world.seen(late, 0).and_then(|seen| seen.next_hop);
    let first = (1..3).find(|place| Some(world.hosts[*place].id) == asked).unwrap_or(1);
    world.kill(first);
    let other = 3 - first;
    world.settle(&[0, other, late], secs(40));
    assert_eq!(world.total(late, "room"), 800);
}

#[test]
fn the_members_of_one_topic_are_told_of_what_a_comparison_brings() {
    let mut world = without_limits(2);
    let watcher = world.edge(1);
    world.watch(watcher, "room");
    let edges: Vec<usize> = (0..100).map(|_| world.edge(0)).collect();
    world.join(edges[0], "room");
    world.run(secs(1));
    world.heard(watcher);
    world.cut(0, 1);
    world.run(ms(100));
    world.leave(edges[0], "room");
    for edge in &edges[1..] {
        world.join(*edge, "room");
        world.run(ms(60));
    }
    world.mend(0, 1);
    world.settle(&[0, 1], secs(12));
    let heard = world.says(watcher);
    assert_eq!(heard.iter().filter(|word| word.starts_with('+')).count(), 99);
    assert_eq!(heard.iter().filter(|word| word.starts_with('-')).count(), 1, "{heard:?}");
}
