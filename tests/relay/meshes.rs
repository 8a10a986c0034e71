//! More hosts than link to everybody: sixty machines with a dozen links each.

use std::collections::BTreeSet;

use aldis::relay::io::{HintSource, Note};
use aldis::relay::limits::{LINKS_MAX, LINKS_WANTED};
use aldis_wire::host::Outcome;

use crate::traffic::Traffic;
use crate::world::{World, ms, secs};

const HOSTS: usize = 60;

/// Sixty hosts, each of which can reach about a dozen others by chance: whatever they want, signals must be routed.
fn sixty() -> World {
    let mut world = World::new(11);
    world.hints = HintSource::Cache;
    world.jitter = ms(5);
    let mut wires = BTreeSet::new();
    for a in 0..HOSTS {
        for _ in 0..LINKS_WANTED / 2 {
            let b = world.random(HOSTS);
            wires.extend([(a, b), (b, a)]);
        }
    }
    for a in 0..HOSTS {
        (a + 1..HOSTS).filter(|b| !wires.contains(&(a, *b))).for_each(|b| world.cut(a, b));
    }
    for _ in 0..HOSTS {
        world.add_host("test");
        world.run(ms(100));
    }
    world
}

fn announcements(world: &World, new: bool) -> usize {
    let wanted = |note: &Note| matches!(note, Note::AnnouncementReceived { new: was } if *was == new);
    world.hosts.iter().map(|host| host.count(wanted)).sum()
}

fn forget_notes(world: &mut World) {
    world.hosts.iter_mut().for_each(|host| host.notes.clear());
}

#[test]
fn sixty_hosts_with_a_dozen_links_each_see_each_other_and_signal() {
    let mut world = sixty();
    let all: Vec<usize> = (0..HOSTS).collect();
    let took = world.until(secs(90), "everybody knows everybody", |world| {
        world.run(ms(250));
        world.hosts.iter().all(|host| host.relay.as_ref().unwrap().tables().rosters == HOSTS)
    });
    assert!(took < secs(30), "{took:?}");
    world.run(secs(30));
    let links: Vec<usize> =
        all.iter().map(|at| world.hosts[*at].relay.as_ref().unwrap().view(world.now).links.len()).collect();
    assert!(links.iter().all(|count| (2..=LINKS_MAX).contains(count)), "{links:?}");
    let mean = links.iter().sum::<usize>() / HOSTS;
    assert!((LINKS_WANTED / 2..=LINKS_WANTED).contains(&mean), "{mean} links a host");
    world.settle(&all, secs(10));

    // Trees settle: of what arrives, little has arrived before.
    forget_notes(&mut world);
    world.run(secs(30));
    let (new, old) = (announcements(&world, true), announcements(&world, false));
    // Sixty hosts: one heartbeat in six seconds, to be heard by all others.
    assert!((4 * HOSTS * (HOSTS - 1)..=6 * HOSTS * (HOSTS - 1)).contains(&new), "{new} heads arrived");
    assert!(old * 5 < new, "{old} of them twice");

    // One joiner on every host: all are told, once, soon.
    let edges: Vec<usize> = all.iter().map(|at| world.edge(*at)).collect();
    world.run(secs(2));
    for edge in &edges {
        world.join(*edge, "room");
    }
    let took = world.until(secs(5), "everybody is shown everywhere", |world| {
        all.iter().all(|at| world.hosts[*at].relay.as_ref().unwrap().tables().directory_topics == 1)
            && all.iter().all(|at| world.total(*at, "room") == HOSTS)
    });
    assert!(took < secs(2), "{took:?}");
    for edge in &edges {
        let mut heard = world.says(*edge);
        heard.retain(|word| word.starts_with('+'));
        let many = heard.len();
        heard.sort();
        heard.dedup();
        assert_eq!(many, heard.len(), "nobody is told twice");
    }

    // Signals cross third hosts, sealed, and come back with their receipts.
    let mut traffic = Traffic::default();
    traffic.run(&mut world, &edges, secs(10), ms(10));
    let tally = traffic.reckon(&mut world);
    assert_eq!((tally.refused, tally.unknown), (0, 0), "{tally:?}");

    // Three hosts die at once.
    for place in [5, 23, 41] {
        world.kill(place);
    }
    let alive = world.alive();
    world.until(secs(20), "their edges are gone everywhere", |world| {
        world.run(ms(250));
        alive.iter().all(|at| world.hosts[*at].relay.as_ref().unwrap().tables().peers >= 57)
            && alive.iter().all(|at| world.total(*at, "room") == HOSTS - 3)
    });
    let survivors: Vec<usize> =
        edges.iter().copied().filter(|edge| alive.contains(&world.edges[*edge].place)).collect();
    let mut traffic = Traffic::default();
    traffic.run(&mut world, &survivors, secs(5), ms(20));
    let tally = traffic.reckon(&mut world);
    assert!(tally.delivered > 200 && tally.unknown + tally.refused < 5, "{tally:?}");
    assert!(world.edges[survivors[0]].receipts().values().flatten().any(|outcome| *outcome == Outcome::Delivered));
}

#[test]
fn in_a_full_mesh_every_head_arrives_about_once() {
    let mut world = World::with_hosts(10);
    world.jitter = ms(5);
    world.run(secs(20));
    forget_notes(&mut world);
    world.run(secs(60));
    let (new, old) = (announcements(&world, true), announcements(&world, false));
    assert!(new >= 10 * 9 * 19, "{new} heads arrived");
    assert!(old * 10 < new, "{old} of them twice");
}
