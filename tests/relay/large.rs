//! Networks of more hosts than hear each other's heartbeats often: crashes that neighbours tell of, and false alarms.

use aldis::relay::io::{HintSource, Input, Note};

use crate::world::{World, ms, secs};

/// The least number at which heartbeats are rarer than every 3 s, and one more.
const HOSTS: usize = 52;

/// Hosts in four regions, near each other within one and far from the others.
fn regions(hosts: usize, seed: u8) -> World {
    let mut world = World::new(seed);
    world.hints = HintSource::Cache;
    world.jitter = ms(2);
    for a in 0..hosts {
        for b in 0..a {
            let far = if a % 4 == b % 4 { 5 } else { 40 + 15 * ((a % 4).abs_diff(b % 4) as u64) };
            let spread = world.random(8) as u64;
            world.set_latency(a, b, ms(far + spread));
        }
    }
    for _ in 0..hosts {
        world.add_host("test");
        world.run(ms(50));
    }
    world.run(secs(15));
    world
}

fn live_everywhere(world: &World, of: usize) -> usize {
    let others = world.alive().into_iter().filter(|place| *place != of);
    others.filter(|place| world.seen(*place, of).is_some_and(|seen| seen.live)).count()
}

fn expired(world: &World) -> usize {
    world.hosts.iter().map(|host| host.count(|note| matches!(note, Note::HostExpired { .. }))).sum()
}

#[test]
fn in_a_large_network_a_false_alarm_is_refuted_and_a_crash_is_known_everywhere_within_ten_seconds() {
    let mut world = regions(HOSTS, 3);
    assert_eq!((live_everywhere(&world, 7), live_everywhere(&world, 9)), (HOSTS - 1, HOSTS - 1));
    let edge = world.edge(7);
    world.join(edge, "room");

    // Some links of host 9 are silent for their other ends alone, again and again.
    for _ in 0..3 {
        let neighbours = (0..HOSTS).filter(|place| *place != 9);
        let links = neighbours.filter_map(|place| Some((place, *world.links_between(place, 9).first()?)));
        let links: Vec<(usize, _)> = links.take(3).collect();
        assert_eq!(links.len(), 3);
        for (place, link) in links {
            world.input(place, Input::LinkSilent { link });
        }
        world.run(secs(8));
    }
    assert_eq!((expired(&world), live_everywhere(&world, 9)), (0, HOSTS - 1));

    // Host 7 dies: three heartbeats missed would take 18 s.
    assert_eq!(world.total(20, "room"), 1);
    world.kill(7);
    let took = world.until(secs(10), "it is gone everywhere", |world| {
        world.run(ms(200));
        live_everywhere(world, 7) == 0
    });
    assert!(took > secs(4), "{took:?}");
    assert_eq!(world.total(20, "room"), 0);
    world.run(secs(20));
    assert_eq!(expired(&world), HOSTS - 1, "nobody else was given up");
}
