//! Several hosts that find out together where each of them is.

use aldis::relay::io::{CheckTarget, Input, Note};
use aldis::relay::view::ReachView;
use aldis_wire::host::Nat;

use crate::world::{Place, World, address, secs};

/// Hosts of which nobody says where they are, seen at addresses of their own.
fn mesh(count: usize, hidden: &[Place]) -> World {
    let mut world = World::new(3);
    world.hidden.extend(hidden);
    for place in 0..count {
        let place = {
            let added = world.add_host_with("test", |settings| settings.addresses.clear());
            assert_eq!(added, place);
            added
        };
        world.input(place, Input::PlacesFound { local: vec![address(place)], mapped: vec![], stun: vec![47_474] });
    }
    world.run(secs(30));
    world
}

fn reach(world: &World, place: Place) -> ReachView {
    world.hosts[place].running().unwrap().view(world.now).reach
}

#[test]
fn hosts_of_a_full_mesh_of_which_nobody_says_where_they_are_find_out_that_they_can_be_dialled() {
    let world = mesh(5, &[]);
    for place in 0..5 {
        let view = reach(&world, place);
        assert_eq!((view.nat, &view.addresses[..]), (Nat::Open, &[address(place)][..]), "{place}");
        assert_eq!(view.stun, [address(place)], "{place}");
        let other = (place + 1) % 5;
        assert_eq!(world.seen(other, place).unwrap().addresses, [address(place)], "and it is told");
    }
}

#[test]
fn a_host_that_nobody_reaches_finds_that_out_and_says_who_can_introduce_it() {
    let mut world = mesh(4, &[3]);
    for other in 0..3 {
        assert_eq!(world.admitted(other, 3), 1, "it has dialled them");
        assert!(world.seen(other, 3).unwrap().addresses.is_empty());
    }
    let view = reach(&world, 3);
    assert_eq!((view.nat, &view.candidates[..]), (Nat::PortRestricted, &[address(3)][..]));
    // Its router is told to let others in.
    world.hidden.clear();
    world.until(secs(700), "it is reached", |world| reach(world, 3).nat == Nat::Open);
    world.run(secs(5));
    assert_eq!(world.seen(0, 3).unwrap().addresses, [address(3)]);
}

#[test]
fn a_gateway_that_nobody_can_reach_is_not_shown_to_edges_and_comes_back_when_it_can_be() {
    let mut world = World::with_hosts(3);
    let wrong = "ws://nowhere.example/v1".to_owned();
    let place = world.add_host_with("test", |settings| settings.gateways.push(wrong.clone()));
    world.until(secs(60), "it is found out", |world| {
        world.seen(0, place).is_some_and(|seen| seen.gateways == ["ws://host3.example/v1"])
    });
    let told =
        |note: &Note| matches!(note, Note::NotReached { target: CheckTarget::Gateway(url), .. } if *url == wrong);
    assert_eq!(world.hosts[place].count(told), 1);
}

#[test]
fn places_that_were_reached_stay_so_while_nobody_is_left_who_could_try() {
    let mut world = mesh(4, &[]);
    (1..4).for_each(|place| world.kill(place));
    world.run(secs(2_000));
    let view = reach(&world, 0);
    assert_eq!((view.nat, view.addresses), (Nat::Open, vec![address(0)]));
}
