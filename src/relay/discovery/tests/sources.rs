//! Hints of hosts on our own links, hints out of DNS, and hosts with addresses of both families.

use std::net::SocketAddrV6;

use super::super::super::limits::{
    DIALS_LAN_MAX, DIALS_SEED_MAX, LAN_HINTS_MAX, LOOK_UP_INTERVAL_ALONE, LOOK_UP_INTERVAL_FAILED, SECOND_FAMILY_AFTER,
    SEED_HINTS_MAX, SLOT,
};
use super::*;

/// The address of a neighbour; the numbers stay below 250.
fn near(number: u8) -> SocketAddr {
    SocketAddr::from(([192, 168, 1, number], 47_474))
}

fn neighbour(number: u8) -> Hint {
    Hint { address: near(number), host: Some(host(number)) }
}

fn link_local(scope: u32) -> SocketAddr {
    SocketAddr::V6(SocketAddrV6::new(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1), 47_474, 0, scope))
}

fn alone_with_seeds() -> World {
    World::new(Settings { seeds: true, ..quiet() }, Vec::new())
}

/// Looks up for `time`, each time at once with this outcome; gives the seconds at which it was asked.
fn look_up_seeds(world: &mut World, time: Duration, outcome: &Result<(), String>) -> Vec<u64> {
    let end = world.now + time;
    let mut asked = Vec::new();
    while world.now < end {
        if world.poll().contains(&Output::LookUpSeeds) {
            asked.push(world.now.time().as_secs());
            world.discovery.seed_look_up_ended(world.now, outcome.clone());
        }
        world.now = world.discovery.next_timeout().unwrap_or(end).max(world.now);
    }
    asked
}

// ---- The own link -----------------------------------------------------------------------------------------------

#[test]
fn neighbours_are_dialled_at_private_addresses_and_must_be_who_they_say() {
    let mut world = World::new(quiet(), Vec::new());
    world.found(HintSource::Lan, &[neighbour(1), Hint { address: link_local(3), host: Some(host(2)) }]);
    let mut dials: Vec<_> = world.dials().into_iter().map(|dialled| (dialled.address, dialled.host)).collect();
    dials.sort_unstable();
    assert_eq!(dials, [(near(1), Some(host(1))), (link_local(3), Some(host(2)))]);
}

#[test]
fn a_private_address_is_taken_from_the_own_link_alone() {
    for source in [HintSource::Dns, HintSource::Dht, HintSource::Record, HintSource::Cache] {
        let mut world = World::new(quiet(), Vec::new());
        world.found(source, &[neighbour(1), Hint { address: link_local(3), host: Some(host(2)) }]);
        assert_eq!(world.wait(seconds(100)), [], "{source:?}");
    }
}

#[test]
fn what_no_neighbour_can_be_is_not_dialled_whatever_the_own_link_says() {
    let mut world = World::new(quiet(), Vec::new());
    let texts =
        ["127.0.0.1:4000", "[::1]:4000", "192.168.1.1:53", "224.0.0.251:5353", "[ff02::fb]:5353", "0.0.0.0:4000"];
    world.found(HintSource::Lan, &texts.map(|text| hint_of(1, text)));
    world.found(HintSource::Lan, &[Hint { address: link_local(0), host: Some(host(1)) }]);
    world.found(HintSource::Lan, &[hint("192.168.1.7:4000")]);
    world.found(HintSource::Lan, &[Hint { address: near(8), host: Some(OWN) }]);
    assert_eq!(world.wait(seconds(100)), []);
    let mut world = World::new(Settings { private_addresses: true, ..quiet() }, Vec::new());
    world.found(HintSource::Lan, &[hint_of(1, "127.0.0.1:4000")]);
    assert_eq!(world.addresses(), [at("127.0.0.1:4000")], "all hosts of a testnet may be on one machine");
}

#[test]
fn neighbours_do_not_wait_for_each_other_though_they_share_a_neighbourhood() {
    let mut world = World::new(quiet(), Vec::new());
    world.found(HintSource::Lan, &(1..=200).map(neighbour).collect::<Vec<_>>());
    assert_eq!(world.discovery.places.len(), LAN_HINTS_MAX);
    assert_eq!(world.dials().len(), DIALS_LAN_MAX);
}

#[test]
fn a_neighbour_is_dialled_at_most_once_a_minute_however_often_it_is_named() {
    let mut world = World::new(quiet(), Vec::new());
    let mut dialled = Vec::new();
    for _ in 0..600 {
        world.found(HintSource::Lan, &[neighbour(1)]);
        dialled.extend(world.dial_in_vain(seconds(1)));
    }
    assert!((5..=10).contains(&dialled.len()), "{dialled:?}");
    assert!(dialled.windows(2).all(|pair| pair[1].0.since(pair[0].0) >= DIAL_AGAIN));
}

#[test]
fn invented_neighbours_neither_fill_the_table_nor_keep_others_out_nor_delay_strangers() {
    let mut world = World::new(quiet(), Vec::new());
    world.found(HintSource::Lan, &(1..=200).map(neighbour).collect::<Vec<_>>());
    world.found(HintSource::Dht, &[Hint { address: elsewhere(1), host: None }]);
    assert!(world.dial_in_vain(seconds(1)).iter().any(|(_, address)| *address == elsewhere(1)));
    world.found(HintSource::Lan, &[neighbour(240)]);
    assert_eq!(world.discovery.places.len(), LAN_HINTS_MAX + 1, "there is no room for it yet");
    world.dial_in_vain(seconds(20));
    world.found(HintSource::Lan, &[neighbour(240)]);
    assert_eq!(world.discovery.places.len(), LAN_HINTS_MAX + 1, "it takes the place of one that was dialled in vain");
    assert!(world.dial_in_vain(seconds(60)).iter().any(|(_, address)| *address == near(240)));
}

#[test]
fn a_neighbour_that_was_linked_long_ago_is_a_neighbour_again_when_it_is_named() {
    let mut world = World::new(quiet(), Vec::new());
    world.found(HintSource::Lan, &[neighbour(1)]);
    let dial = world.dials()[0].dial;
    world.discovery.dial_succeeded(world.now, dial, host(1));
    world.link(host(1), near(1));
    world.unlink(host(1), near(1));
    world.now = world.now + KNOWN_FOR + seconds(1);
    world.found(HintSource::Lan, &[neighbour(1)]);
    assert_eq!(world.dials()[0].host, Some(host(1)));
}

// ---- DNS --------------------------------------------------------------------------------------------------------

#[test]
fn names_are_looked_up_at_once_then_each_half_minute_while_alone_and_each_quarter_of_an_hour_after() {
    let mut world = alone_with_seeds();
    let asked = look_up_seeds(&mut world, seconds(100), &Ok(()));
    let each = LOOK_UP_INTERVAL_ALONE.as_secs();
    assert_eq!(asked, [0, each, 2 * each, 3 * each]);
    world.link(host(1), at("45.1.2.3:4000"));
    let asked = look_up_seeds(&mut world, LOOK_UP_INTERVAL * 2, &Ok(()));
    assert_eq!(asked.len(), 2);
    assert_eq!(asked[1] - asked[0], LOOK_UP_INTERVAL.as_secs());
}

#[test]
fn names_that_do_not_resolve_are_asked_again_soon_while_alone_and_the_problem_is_shown() {
    let mut world = alone_with_seeds();
    let asked = look_up_seeds(&mut world, seconds(100), &Err("no such name".to_owned()));
    assert!(asked.windows(2).all(|pair| pair[1] - pair[0] == LOOK_UP_INTERVAL_FAILED.as_secs()), "{asked:?}");
    assert_eq!(world.discovery.view(world.now).seeds_problem, Some("no such name".to_owned()));
    world.link(host(1), at("45.1.2.3:4000"));
    let asked = look_up_seeds(&mut world, LOOK_UP_INTERVAL, &Err("no such name".to_owned()));
    assert!(asked.len() <= 2, "a mesh that stands asks no more often because names are wrong: {asked:?}");
    let mut world = World::new(quiet(), Vec::new());
    assert_eq!(look_up_seeds(&mut world, seconds(1_000), &Ok(())), [] as [u64; 0], "without names nothing is asked");
}

#[test]
fn one_name_cannot_make_us_knock_at_one_neighbourhood_more_often_than_strangers_can() {
    let mut world = alone_with_seeds();
    let victim: Vec<_> =
        (1..200).map(|n| Hint { address: SocketAddr::from(([45, 1, 2, n], 4_000)), host: None }).collect();
    world.found(HintSource::Dns, &victim);
    assert_eq!(world.discovery.places.len(), SEED_HINTS_MAX);
    assert_eq!(world.dial_in_vain(seconds(119)).len(), 2);
}

#[test]
fn what_stands_in_dns_is_not_held_up_by_strangers_and_is_held_to_the_host_it_names() {
    let mut world = alone_with_seeds();
    world.found(HintSource::Dht, &(0..200).map(|n| Hint { address: elsewhere(n), host: None }).collect::<Vec<_>>());
    assert_eq!(world.dials().len(), DIALS_MAX);
    let seeds: Vec<_> = (1_000..1_010).map(|n| Hint { address: elsewhere(n), host: Some(host(7)) }).collect();
    world.found(HintSource::Dns, &seeds[..1]);
    assert_eq!(world.dials()[0].host, Some(host(7)));
    let others: Vec<_> = seeds.iter().map(|hint| Hint { host: None, ..*hint }).collect();
    world.found(HintSource::Dns, &others[1..]);
    assert_eq!(world.dials().len(), DIALS_SEED_MAX - 1);
}

// ---- Two families -----------------------------------------------------------------------------------------------

const V4: &str = "45.1.2.3:4000";
const V6: &str = "[2606:4700::1]:4000";

fn both() -> [Hint; 2] {
    [hint_of(1, V4), hint_of(1, V6)]
}

#[test]
fn a_host_with_both_families_is_dialled_by_ipv6_and_a_little_later_by_ipv4_as_well() {
    for source in [HintSource::Record, HintSource::Lan, HintSource::Dns] {
        let mut world = World::new(quiet(), Vec::new());
        world.found(source, &both());
        world.now = world.now + RECORD_JITTER;
        assert_eq!(world.addresses(), [at(V6)], "{source:?}");
        let again = world.wait(SECOND_FAMILY_AFTER - Duration::from_millis(1));
        assert_eq!(again, [], "{source:?}: too early");
        let second = world.wait(Duration::from_millis(1));
        assert_eq!(second.iter().map(|dialled| dialled.address).collect::<Vec<_>>(), [at(V4)], "{source:?}");
    }
}

#[test]
fn the_second_family_is_not_dialled_when_the_first_has_brought_a_link() {
    let mut world = World::new(quiet(), Vec::new());
    world.found(HintSource::Record, &both());
    world.now = world.now + RECORD_JITTER;
    assert_eq!(world.addresses(), [at(V6)]);
    world.now = world.now + Duration::from_millis(100);
    world.link(host(1), at(V6));
    assert_eq!(world.wait(seconds(1_000)), []);
}

#[test]
fn a_family_that_fails_at_once_does_not_hold_up_the_other() {
    let mut world = World::new(quiet(), Vec::new());
    world.found(HintSource::Record, &both());
    world.now = world.now + RECORD_JITTER;
    let first = world.dials();
    world.fail(first[0].dial);
    assert_eq!(world.addresses(), [at(V4)]);
}

#[test]
fn a_record_full_of_one_family_does_not_hide_the_other() {
    let mut world = World::new(quiet(), Vec::new());
    let mut record: Vec<_> = (1..8).map(|n| hint_of(1, &format!("[2606:4700:{n}::1]:4000"))).collect();
    record.push(hint_of(1, V4));
    world.found(HintSource::Record, &record);
    assert!(world.dial_in_vain(seconds(10)).iter().any(|(_, address)| *address == at(V4)));
}

#[test]
fn the_races_of_many_hosts_stay_within_the_slots_of_strangers() {
    let mut world = World::new(quiet(), Vec::new());
    for number in 1..50 {
        let v6 = format!("[2606:47{number:02}::1]:4000");
        let v4 = Hint { address: elsewhere(u32::from(number)), host: Some(host(number)) };
        world.found(HintSource::Record, &[hint_of(number, &v6), v4]);
    }
    for (moment, _) in &world.dial_in_vain(seconds(60)) {
        assert!(*moment <= world.now);
        assert!(world.under_way.len() <= DIALS_MAX);
    }
}

#[test]
fn who_dials_in_step_dials_an_address_at_each_agreed_moment_and_not_in_between() {
    let mut world = World::new(Settings { dht: true, ..Settings::default() }, Vec::new());
    world.registration = Registration::Implied;
    let victim = Hint { address: "9.9.9.9:4444".parse().unwrap(), host: None };
    let mut dialled = 0;
    for _ in 0..200 {
        world.found(HintSource::Dht, &[victim]);
        for Dialled { dial, .. } in world.wait(SLOT / 10) {
            dialled += 1;
            world.discovery.dial_failed(world.now, dial, &DialFailure::TimedOut, |_| false);
        }
    }
    assert!((19..=21).contains(&dialled), "twice a minute for ten minutes: {dialled}");
}

#[test]
fn a_host_is_probed_where_it_may_be_dialled_and_nowhere_else() {
    let mut world = World::new(Settings::default(), Vec::new());
    let (mut out, host) = (Outbox::default(), HostId::new([4; 32]));
    let mut probe = |at: &str, out: &mut Outbox| world.discovery.probe(world.now, at.parse().unwrap(), host, out);
    assert!(!probe("192.168.1.1:4000", &mut out) && out.outputs.is_empty());
    assert!(probe("[2606:4700::1]:4000", &mut out) && out.outputs.len() == 1);
    assert!(!probe("[2606:4700::1]:4000", &mut out), "it is under way");
}
