//! Bounds that only a machine as a whole reaches: links, expired rosters, hellos of hosts.

use std::time::Duration;

use aldis::relay::io::{Fault, Input, LinkKey, Note};
use aldis::relay::limits::{
    ADDRESSES_MAX, ADMISSION_DEADLINE, CLAIM_CHECKS, CLOSING, EXPIRED_KEPT, EXPIRED_MAX, HAVE_RATE, LINKS_MAX,
    LINKS_PENDING_MAX, LINKS_PENDING_PER_ADDRESS_MAX, LINKS_TAKEN_MAX, SYNC_QUEUE_BYTES, SYNC_TIMEOUT,
};
use aldis_wire::announcement::Op;
use aldis_wire::host::{Channel, Frame, GoodbyeReason, HaveEntry, Outcome, Query, Range, Role, Signal};
use aldis_wire::id::PeerId;
use aldis_wire::limits::FRAME_BYTES;
use aldis_wire::proof::Proof;
use aldis_wire::refusal::Refusal;
use bytes::Bytes;
use ed25519_dalek::SigningKey;

use crate::neighbour::{Effects, House, Player, network};
use crate::world::{World, ms, secs};

fn players(count: u16) -> impl Iterator<Item = Player> {
    (1..=count).map(Player::new)
}

/// A host of which the house knows a roster.
fn introduce(house: &mut House, player: &mut Player) -> LinkKey {
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
    const { assert!(LINKS_TAKEN_MAX < LINKS_MAX) };
}

#[test]
fn our_own_dials_take_the_places_that_are_left_and_no_more() {
    let mut house = House::new();
    for player in players(u16::try_from(LINKS_TAKEN_MAX).unwrap()) {
        house.link(&player);
    }
    let dialled =
        |house: &mut House, number: u16| house.dialled(&Player::new(600 + number), None, Duration::from_millis(10));
    for number in 0..u16::try_from(LINKS_MAX - LINKS_TAKEN_MAX).unwrap() {
        assert!(dialled(&mut house, number).is_some());
    }
    assert_eq!(house.relay.view(house.now).links.len(), LINKS_MAX);
    assert_eq!(dialled(&mut house, 999), None);
    assert_eq!(house.relay.view(house.now).links.len(), LINKS_MAX);
}

#[test]
fn replies_that_are_not_read_are_bounded_and_go_on_when_they_are() {
    let mut house = House::new();
    let asker = Player::new(1);
    let link = house.link(&asker);
    for _ in 0..100 {
        house.edge("room");
        house.wait(Duration::from_millis(25));
    }
    let query = Frame::Query(Query { origin: house.id, ranges: vec![Range { key: [0; 32], nibbles: 0 }] });
    let (kind, body) = query.kind_and_body().unwrap();
    let body = Bytes::from(body);
    let ask = |house: &mut House| {
        house.handle(Input::LinkReceived { link, channel: Channel::Sync, kind, body: body.clone() }).frames(link).len()
    };
    let mut answers = 0;
    for _ in 0..400 {
        answers += ask(&mut house);
    }
    let bytes = house.relay.tables().link_bytes_max;
    assert!(answers > 10 && answers < 400, "{answers} answers");
    assert!(bytes <= SYNC_QUEUE_BYTES && bytes > SYNC_QUEUE_BYTES - 2 * FRAME_BYTES, "{bytes}");
    house.handle(Input::LinkSent { link, channel: Channel::Sync, bytes });
    assert_eq!(ask(&mut house), 1);
}

#[test]
fn who_does_not_answer_a_query_is_asked_no_more_and_another_one_is() {
    let mut house = House::new();
    let mut origin = Player::new(1);
    let links = [house.link(&Player::new(2)), house.link(&Player::new(3))];
    let first = origin.announce(&[Op::Record(origin.record())]);
    house.send(links[0], &Frame::Announcement(first));
    let (id, epoch) = (origin.id, origin.epoch);
    let tell = |house: &mut House, link| {
        let entry = HaveEntry::Named { number: 0, origin: id, epoch, seq: 500 };
        house.send(link, &Frame::Have(vec![entry]))
    };
    let asked = |effects: &Effects| -> Vec<LinkKey> {
        let asks = |link: &LinkKey| effects.frames(*link).iter().any(|frame| matches!(frame, Frame::Query(_)));
        links.into_iter().filter(asks).collect()
    };
    origin.seq = 499;
    let newest = origin.announce_with(&[], [8; 32]);
    let told: Vec<Effects> = links.iter().map(|link| tell(&mut house, *link)).collect();
    house.send(links[0], &Frame::Announcement(newest));
    let waited = house.wait(Duration::from_secs(1));
    let before: Vec<LinkKey> = told.iter().chain([&waited]).flat_map(asked).collect();
    assert_eq!(before.len(), 1, "one at a time");
    assert_eq!(asked(&house.wait(SYNC_TIMEOUT - Duration::from_secs(2))), []);
    let after = asked(&house.wait(Duration::from_secs(2)));
    assert!(after.len() == 1 && after != before, "{before:?}, then {after:?}");
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
fn an_ipv6_network_of_one_customer_counts_as_one_address() {
    let mut house = House::new();
    let within = |number: u16| std::net::Ipv6Addr::new(0x2606, 0x4700, 1, 2, number, 0, 0, number);
    for (number, player) in (0..).zip(players(u16::try_from(LINKS_PENDING_MAX).unwrap())) {
        house.connect_from(&player, within(number));
    }
    assert_eq!(house.relay.tables().links, LINKS_PENDING_PER_ADDRESS_MAX);
    house.connect_from(&Player::new(500), std::net::Ipv6Addr::new(0x2606, 0x4700, 1, 3, 0, 0, 0, 1));
    assert_eq!(house.relay.tables().links, LINKS_PENDING_PER_ADDRESS_MAX + 1, "the next /64 has its place");
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
        link: LinkKey(90_000),
        host: stranger.id,
        role: Role::Acceptor,
        dial: None,
        address: "45.1.1.1:4000".parse().unwrap(),
        exporter: [9; 32],
        rtt: Duration::from_millis(10),
    };
    let effects = house.handle(opened);
    assert_eq!(effects.closed(LinkKey(90_000)), Some(GoodbyeReason::Full));
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

#[test]
fn a_link_that_brings_summaries_without_end_is_ended() {
    let mut house = House::new();
    let link = house.link(&Player::new(1));
    let entries: Vec<HaveEntry> = (0..4_096)
        .map(|number| {
            let mut origin = [7; 32];
            origin[..2].copy_from_slice(&u16::to_be_bytes(number));
            HaveEntry::Named { number, origin: aldis_wire::id::HostId::new(origin), epoch: 0, seq: 0 }
        })
        .collect();
    let frame = Frame::Have(entries);
    for _ in 0..HAVE_RATE.burst / 4_096 {
        assert_eq!(house.send(link, &frame).closed(link), None);
    }
    let effects = house.send(link, &frame);
    assert_eq!((effects.closed(link), effects.faults()), (Some(GoodbyeReason::Misbehaved), vec![Fault::OverQuota]));
}

#[test]
fn claims_of_senders_that_nobody_knows_are_checked_at_a_bounded_rate() {
    let mut house = House::new();
    let (_, target) = house.edge("room");
    let home = Player::new(1);
    let link = house.link(&home);
    let signal = |n: u64| {
        let mut secret = [3; 32];
        secret[..8].copy_from_slice(&n.to_be_bytes());
        let key = SigningKey::from_bytes(&secret);
        Frame::Signal(Signal {
            from: PeerId::new(key.verifying_key().to_bytes()),
            to: target,
            session: 1,
            n,
            id: format!("{n}"),
            proof: Proof::claim(&key, network().tag, home.id, 1, None),
            topic: None,
            data: Bytes::new(),
        })
    };
    for n in 0..u64::from(CLAIM_CHECKS.burst) {
        house.send(link, &signal(n));
    }
    let frames = house.send(link, &signal(1_000_000)).frames(link);
    let overloaded = Outcome::Refused(Refusal::Overloaded);
    assert!(matches!(&frames[..], [Frame::Receipt(receipt)] if receipt.outcome == overloaded), "{frames:?}");
    house.wait(Duration::from_secs(1));
    let frames = house.send(link, &signal(1_000_001)).frames(link);
    assert!(!matches!(&frames[..], [Frame::Receipt(receipt)] if receipt.outcome == overloaded), "{frames:?}");
}

#[test]
fn the_rosters_of_others_take_so_much_memory_and_who_takes_most_goes() {
    let mut world = World::new(7);
    world.add_host_with("test", |settings| settings.rosters_bytes = 300_000);
    (0..2).for_each(|_| _ = world.add_host("test"));
    world.run(secs(3));
    let small = world.edge(2);
    world.join(small, "small");
    for number in 0..400 {
        let edge = world.edge(1);
        world.join_as(edge, &format!("{number}"), &"m".repeat(1_000));
        world.run(ms(25));
    }
    world.run(secs(5));
    let over = |note: &Note| matches!(note, Note::HostQuarantined { fault: Fault::OverQuota, .. });
    assert_eq!((world.hosts[0].count(over), world.hosts[2].count(over)), (1, 0));
    assert_eq!((world.total(0, "small"), world.total(0, "7")), (1, 0), "the small one is not concerned");
    assert_eq!(world.total(2, "7"), 1, "nor is a host with more room");
}
