//! Bounds that only a machine as a whole reaches: links, expired rosters, hellos of hosts.

use std::time::Duration;

use aldis::relay::io::{Fault, Input, Note};
use aldis::relay::limits::{
    ADDRESSES_MAX, ADMISSION_DEADLINE, CLOSING, EXPIRED_KEPT, EXPIRED_MAX, LINKS_MAX, LINKS_PENDING_MAX,
    LINKS_PENDING_PER_ADDRESS_MAX, LINKS_TAKEN_MAX,
};
use aldis_wire::announcement::Op;
use aldis_wire::host::{Frame, GoodbyeReason};

use crate::neighbour::{House, Player};

fn players(count: u16) -> impl Iterator<Item = Player> {
    (1..=count).map(Player::new)
}

/// A host of which the house knows a roster.
fn introduce(house: &mut House, player: &mut Player) -> aldis::relay::io::LinkKey {
    let link = house.link(player);
    let record = player.record();
    let first = player.announce(&[Op::Record(record)]);
    house.send(link, &Frame::Announcement(first));
    link
}

#[test]
fn strangers_take_so_many_links_and_the_places_for_our_own_dials_stay_free() {
    let mut house = House::new();
    for player in players(u16::try_from(LINKS_TAKEN_MAX).unwrap()) {
        house.link(&player);
    }
    assert_eq!(house.relay.tables().links, LINKS_TAKEN_MAX);
    let one_more = Player::new(500);
    let link = house.connect(&one_more);
    let hello = house.hello_of(&one_more);
    house.send(link, &Frame::Hello(hello));
    assert_eq!(house.relay.tables().links, LINKS_TAKEN_MAX, "it is refused");
    assert!(LINKS_TAKEN_MAX < LINKS_MAX);
}

#[test]
fn so_many_connections_may_be_silent_and_only_for_so_long() {
    let mut house = House::new();
    for player in players(u16::try_from(LINKS_PENDING_MAX).unwrap()) {
        house.connect(&player);
    }
    assert_eq!(house.relay.tables().links, LINKS_PENDING_MAX);
    house.connect(&Player::new(500));
    assert_eq!(house.relay.tables().links, LINKS_PENDING_MAX);
    let effects = house.wait(ADMISSION_DEADLINE);
    assert_eq!(effects.faults(), vec![Fault::NoHello; LINKS_PENDING_MAX]);
    assert_eq!(house.relay.tables().links, 0);
}

#[test]
fn one_address_takes_only_some_of_the_places_for_silent_connections() {
    let mut house = House::new();
    let address = std::net::Ipv4Addr::new(45, 9, 9, 9);
    for player in players(u16::try_from(LINKS_PENDING_MAX).unwrap()) {
        house.connect_from(&player, address);
    }
    assert_eq!(house.relay.tables().links, LINKS_PENDING_PER_ADDRESS_MAX);
    house.connect(&Player::new(500));
    assert_eq!(house.relay.tables().links, LINKS_PENDING_PER_ADDRESS_MAX + 1, "another address has its place");
}

#[test]
fn those_who_connect_together_and_say_hello_late_do_not_get_past_the_bound() {
    let mut house = House::new();
    let crowd: Vec<Player> = players(2 * u16::try_from(LINKS_PENDING_MAX).unwrap()).collect();
    for half in crowd.chunks(LINKS_PENDING_MAX) {
        let links: Vec<_> = half.iter().map(|player| (house.connect(player), player)).collect();
        for (link, player) in links {
            let hello = house.hello_of(player);
            house.send(link, &Frame::Hello(hello));
            house.send(link, &Frame::Admitted);
        }
    }
    assert_eq!(house.relay.view(house.now).links.len(), LINKS_TAKEN_MAX);
}

#[test]
fn a_link_that_said_goodbye_is_forgotten_after_its_time() {
    let mut house = House::new();
    let player = Player::new(1);
    let first = house.link(&player);
    let second = house.link(&player);
    assert_eq!(house.relay.tables().links, 2, "the one that goes is still read");
    house.wait(CLOSING);
    assert_eq!(house.relay.tables().links, 1);
    let admitted: Vec<_> = house.relay.view(house.now).links.iter().map(|link| link.link).collect();
    assert_eq!(admitted, [second], "of two that the same side dialled the newer one stays, not {first:?}");
}

#[test]
fn expired_rosters_are_kept_for_ten_minutes_and_bounded() {
    let mut house = House::new();
    for mut player in players(u16::try_from(EXPIRED_MAX + 20).unwrap()) {
        let link = introduce(&mut house, &mut player);
        house.handle(Input::LinkClosed { link, reason: "gone".into() });
        house.wait(Duration::from_millis(20));
    }
    let effects = house.wait(Duration::from_secs(30));
    assert!(effects.notes.iter().any(|note| matches!(note, Note::HostExpired { .. })));
    let tables = house.relay.tables();
    assert_eq!((tables.origins, tables.rosters), (EXPIRED_MAX + 1, EXPIRED_MAX + 1), "and our own");
    assert_eq!(tables.marks, 20, "of those that had to go the mark is left");
    house.wait(EXPIRED_KEPT + Duration::from_secs(61));
    let tables = house.relay.tables();
    assert_eq!((tables.origins, tables.rosters, tables.marks), (1, 1, EXPIRED_MAX + 20));
}

#[test]
fn a_host_is_told_that_there_is_no_room_for_it() {
    let mut house = House::new();
    for player in players(u16::try_from(LINKS_TAKEN_MAX).unwrap()) {
        house.link(&player);
    }
    let stranger = Player::new(900);
    let opened = Input::LinkOpened {
        link: aldis::relay::io::LinkKey(90_000),
        host: stranger.id,
        role: aldis_wire::host::Role::Acceptor,
        dial: None,
        address: "45.1.1.1:4000".parse().unwrap(),
        exporter: [9; 32],
        rtt: Duration::from_millis(10),
    };
    let effects = house.handle(opened);
    assert_eq!(effects.closed(aldis::relay::io::LinkKey(90_000)), Some(GoodbyeReason::Full));
}

#[test]
fn addresses_of_edges_that_are_gone_do_not_fill_the_table() {
    let mut house = House::new();
    for number in 0..2_000_u32 {
        let edge = aldis::relay::io::EdgeKey(100_000 + u64::from(number));
        let address = std::net::IpAddr::from(std::net::Ipv4Addr::from(0x2d00_0000 + number));
        house.handle(Input::EdgeOpened { edge, address });
        house.handle(Input::EdgeClosed { edge });
    }
    let tables = house.relay.tables();
    assert_eq!(tables.edges, 0);
    assert!(tables.addresses <= ADDRESSES_MAX);
}
