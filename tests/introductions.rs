//! Introductions frame by frame: what a host asks of its neighbours, what it does for them, and what nobody can make it
//! send to others (PROTOCOL.md §11.2).
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may fail by panic")]

mod neighbour;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use aldis::relay::io::{DialKey, Input, LinkKey, Note, Output, PunchOutcome};
use aldis::relay::limits::{
    INTRODUCTIONS, MEETINGS_ASKED_MAX, PAIR_KEPT, PAIRS_MAX, PUNCHES_PER_ADDRESS_MAX, PUNCHES_PER_IP_MAX,
    PUNCHES_PER_NEIGHBOUR_MAX,
};
use aldis_wire::announcement::Op;
use aldis_wire::host::{Frame, Introduce, Nat, NotIntroduced, NotIntroducedReason, Punch};
use aldis_wire::id::HostId;
use neighbour::{Effects, House, Player};

const SECOND: Duration = Duration::from_secs(1);
const VICTIM: &str = "9.9.9.9:4444";

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// A neighbour at this address whose roster is known.
fn neighbour(house: &mut House, player: &mut Player, address: [u8; 4]) -> LinkKey {
    let link = house.connect_from(player, Ipv4Addr::from(address));
    let hello = house.hello_of(player);
    house.send(link, &Frame::Hello(hello));
    house.send(link, &Frame::Admitted);
    let announcement = player.announce(&[Op::Record(player.record())]);
    house.send(link, &Frame::Announcement(announcement));
    link
}

/// Another host that is known through a neighbour.
fn far(house: &mut House, link: LinkKey, player: &mut Player) -> Effects {
    let announcement = player.announce(&[Op::Record(player.record())]);
    house.send(link, &Frame::Announcement(announcement))
}

fn introduce(host: HostId, nat: Nat, candidates: &[&str]) -> Frame {
    Frame::Introduce(Introduce { host, nat, candidates: candidates.iter().map(|text| at(text)).collect() })
}

fn wish(host: HostId) -> Frame {
    introduce(host, Nat::Unknown, &[])
}

/// A far host that we ask for.
fn ask_for(house: &mut House, link: LinkKey, other: &mut Player) {
    let mut all = asked(&far(house, link, other), link);
    all.extend(asked(&house.wait(2 * SECOND), link));
    assert_eq!(all, [other.id]);
}

fn dials(effects: &Effects) -> Vec<(DialKey, SocketAddr, Option<HostId>)> {
    let dial = |output: &Output| match output {
        Output::Dial { dial, address, host } => Some((*dial, *address, *host)),
        _ => None,
    };
    effects.outputs.iter().filter_map(dial).collect()
}

fn asked(effects: &Effects, link: LinkKey) -> Vec<HostId> {
    let asked = |frame: Frame| match frame {
        Frame::Introduce(introduce) => Some(introduce.host),
        _ => None,
    };
    effects.frames(link).into_iter().filter_map(asked).collect()
}

fn punch_on(effects: &Effects, link: LinkKey) -> Punch {
    let punch = |frame: Frame| if let Frame::Punch(punch) = frame { Some(punch) } else { None };
    effects.frames(link).into_iter().find_map(punch).unwrap()
}

fn refused(effects: &Effects, link: LinkKey) -> Vec<(HostId, NotIntroducedReason)> {
    let refused = |frame: Frame| match frame {
        Frame::NotIntroduced(NotIntroduced { host, why }) => Some((host, why)),
        _ => None,
    };
    effects.frames(link).into_iter().filter_map(refused).collect()
}

// ---- As the common neighbour -------------------------------------------------------------------------------------

#[test]
fn two_who_both_want_to_are_told_of_each_other_and_when() {
    let (mut house, mut one, mut two) = (House::new(), Player::new(1), Player::new(2));
    let to_one = neighbour(&mut house, &mut one, [50, 1, 1, 1]);
    let to_two = neighbour(&mut house, &mut two, [50, 2, 1, 1]);
    for (link, rtt) in [(to_one, 20), (to_two, 220)] {
        let address = house.relay.view(house.now).links.iter().find(|view| view.link == link).unwrap().address;
        house.handle(Input::LinkMeasured { link, rtt: Duration::from_millis(rtt), address });
    }
    let effects = house.send(to_one, &introduce(two.id, Nat::Restricted, &["50.1.1.1:7777", "192.168.1.7:4000"]));
    assert_eq!(effects.frames(to_two), [introduce(one.id, Nat::Restricted, &[])], "the wish is passed on");
    let effects = house.send(to_two, &introduce(one.id, Nat::Symmetric, &["50.2.1.1:8888"]));
    let (for_one, for_two) = (punch_on(&effects, to_one), punch_on(&effects, to_two));
    assert_eq!(
        (for_one.host, for_one.nat, &for_one.candidates[..]),
        (two.id, Nat::Symmetric, &[at("50.2.1.1:4000"), at("50.2.1.1:8888")][..])
    );
    assert_eq!(
        (for_two.host, for_two.nat, &for_two.candidates[..]),
        (one.id, Nat::Restricted, &[at("50.1.1.1:4000"), at("50.1.1.1:7777")][..])
    );
    assert_eq!(for_one.after_ms - for_two.after_ms, 100, "the nearer one waits for the word to the other");
}

#[test]
fn nobody_can_have_an_address_dialled_at_which_he_is_not_seen() {
    let (mut house, mut one, mut two) = (House::new(), Player::new(1), Player::new(2));
    let to_one = neighbour(&mut house, &mut one, [50, 1, 1, 1]);
    let to_two = neighbour(&mut house, &mut two, [50, 2, 1, 1]);
    let aimed = [VICTIM, "50.1.1.2:4444", "192.168.1.1:4444", "[2606:4700::1]:4444", "[::ffff:9.9.9.9]:4444"];
    house.send(to_one, &introduce(two.id, Nat::Open, &aimed));
    let effects = house.send(to_two, &introduce(one.id, Nat::Open, &["50.2.1.1:1"]));
    assert_eq!(punch_on(&effects, to_two).candidates, [at("50.1.1.1:4000")]);
}

#[test]
fn hosts_behind_one_router_are_told_of_their_inside_addresses() {
    let (mut house, mut one, mut two) = (House::new(), Player::new(1), Player::new(2));
    let to_one = neighbour(&mut house, &mut one, [50, 1, 1, 1]);
    let to_two = neighbour(&mut house, &mut two, [50, 1, 1, 1]);
    house.send(to_one, &introduce(two.id, Nat::Symmetric, &["192.168.1.7:4000", VICTIM]));
    let effects = house.send(to_two, &introduce(one.id, Nat::Symmetric, &["192.168.1.8:4000"]));
    assert_eq!(punch_on(&effects, to_two).candidates, [at("50.1.1.1:4000"), at("192.168.1.7:4000")]);
}

#[test]
fn whoever_shares_our_router_may_be_named_outside_where_we_are_seen_and_nowhere_else() {
    let (mut house, mut one, mut two) = (House::new(), Player::new(1), Player::new(2));
    house.seen_at = at("45.9.9.9:4000");
    for number in 3..=4 {
        house.dialled_at(&Player::new(number), Ipv4Addr::new(50, number.try_into().unwrap(), 1, 1));
    }
    let to_one = neighbour(&mut house, &mut one, [192, 168, 1, 7]);
    let to_two = neighbour(&mut house, &mut two, [50, 2, 1, 1]);
    house.send(to_one, &introduce(two.id, Nat::Restricted, &["45.9.9.9:20001", VICTIM]));
    let effects = house.send(to_two, &introduce(one.id, Nat::Restricted, &["50.2.1.1:8888", "45.9.9.9:20001"]));
    assert_eq!(punch_on(&effects, to_two).candidates, [at("192.168.1.7:4000"), at("45.9.9.9:20001")]);
    assert_eq!(punch_on(&effects, to_one).candidates, [at("50.2.1.1:4000"), at("50.2.1.1:8888")]);
}

#[test]
fn who_cannot_be_introduced_is_told_why() {
    let (mut house, mut one, mut two) = (House::new(), Player::new(1), Player::new(2));
    let to_one = neighbour(&mut house, &mut one, [50, 1, 1, 1]);
    let stranger = Player::new(3);
    let effects = house.send(to_one, &introduce(stranger.id, Nat::Open, &["50.1.1.1:7777"]));
    assert_eq!(refused(&effects, to_one), [(stranger.id, NotIntroducedReason::NotLinked)]);
    let to_two = neighbour(&mut house, &mut two, [50, 2, 1, 1]);
    house.send(to_one, &introduce(two.id, Nat::PortRestricted, &["50.1.1.1:7777"]));
    let effects = house.wait(PAIR_KEPT);
    assert_eq!(refused(&effects, to_one), [(two.id, NotIntroducedReason::Unwilling)]);
    house.send(to_one, &introduce(two.id, Nat::PortRestricted, &["50.1.1.1:7777"]));
    let effects = house.send(to_two, &introduce(one.id, Nat::Symmetric, &["50.2.1.1:8888"]));
    assert_eq!(refused(&effects, to_one), [(two.id, NotIntroducedReason::Hopeless)]);
    assert_eq!(refused(&effects, to_two), [(one.id, NotIntroducedReason::Hopeless)]);
}

#[test]
fn who_asks_too_often_or_finds_all_places_taken_is_refused() {
    let mut house = House::new();
    let mut all: Vec<Player> = (1..40).map(Player::new).collect();
    let links: Vec<LinkKey> =
        (1..40).zip(&mut all).map(|(number, player)| neighbour(&mut house, player, [50, number, 1, 1])).collect();
    let (mut waiting, mut too_often) = (0, 0);
    for (from, link) in links.iter().enumerate() {
        for to in 0..=usize::try_from(INTRODUCTIONS.burst).unwrap() {
            let to = (from + 1 + to) % all.len();
            let effects = house.send(*link, &introduce(all[to].id, Nat::Open, &["50.1.1.1:7777"]));
            let passed_on = !effects.frames(links[to]).is_empty();
            too_often +=
                refused(&effects, *link).iter().filter(|(_, why)| *why == NotIntroducedReason::TooOften).count();
            waiting += usize::from(passed_on);
        }
    }
    assert!(waiting >= PAIRS_MAX && too_often >= links.len(), "{waiting} {too_often}");
    assert!(house.relay.tables().pairs <= PAIRS_MAX);
    house.wait(PAIR_KEPT);
    assert_eq!(house.relay.tables().pairs, 0);
}

// ---- As somebody who is introduced -------------------------------------------------------------------------------

#[test]
fn a_host_that_cannot_be_dialled_is_asked_for_and_dialled_at_the_named_moment() {
    let (mut house, mut middle, mut other) = (House::new(), Player::new(1), Player::new(2));
    let link = neighbour(&mut house, &mut middle, [50, 1, 1, 1]);
    ask_for(&mut house, link, &mut other);
    let candidates = vec![at("60.1.1.1:7777"), at("60.1.1.1:7778")];
    let punch = Frame::Punch(Punch { host: other.id, nat: Nat::Restricted, candidates, after_ms: 300 });
    assert_eq!(dials(&house.send(link, &punch)), []);
    assert_eq!(dials(&house.wait(Duration::from_millis(299))), [], "not before the moment");
    let effects = house.wait(Duration::from_millis(1));
    let dialled: Vec<_> = dials(&effects).into_iter().map(|(_, address, host)| (address, host)).collect();
    assert_eq!(dialled, [(at("60.1.1.1:7777"), Some(other.id)), (at("60.1.1.1:7778"), Some(other.id))]);
    let note = |outcome| Note::Punched { host: other.id, nats: (Nat::Unknown, Nat::Restricted), outcome };
    assert!(effects.notes.contains(&note(PunchOutcome::Tried)));
    let dial = dials(&effects)[0].0;
    house.dialled(&other, Some(dial), Duration::from_millis(40)).unwrap();
    let view = house.relay.view(house.now);
    assert!(view.links.iter().any(|link| link.host == other.id && link.kind == aldis::relay::view::LinkKind::Punched));
    let later = house.wait(20 * SECOND);
    assert_eq!(asked(&later, link), [], "they have met");
}

#[test]
fn who_introduces_may_say_when_over_the_newer_of_two_connections_and_nobody_else_may() {
    let (mut house, mut middle, mut other) = (House::new(), Player::new(1), Player::new(2));
    let link = neighbour(&mut house, &mut middle, [50, 1, 1, 1]);
    ask_for(&mut house, link, &mut other);
    let stranger = neighbour(&mut house, &mut Player::new(3), [50, 3, 1, 1]);
    let newer = neighbour(&mut house, &mut middle, [50, 1, 1, 1]);
    let candidates = vec![at("60.1.1.1:7777")];
    let punch = Frame::Punch(Punch { host: other.id, nat: Nat::Restricted, candidates, after_ms: 0 });
    assert_eq!(dials(&house.send(stranger, &punch)), []);
    assert_eq!(dials(&house.send(newer, &punch)).len(), 1);
}

#[test]
fn who_is_met_again_has_lost_the_link_that_we_dialled_a_moment_ago_and_one_new_one_is_kept() {
    let (mut house, mut middle, mut other) = (House::new(), Player::new(1), Player::new(2));
    let link = neighbour(&mut house, &mut middle, [50, 1, 1, 1]);
    house.dialled(&other, None, Duration::from_millis(40)).unwrap();
    far(&mut house, link, &mut other);
    house.wait(5 * SECOND);
    assert_eq!(asked(&house.send(link, &wish(other.id)), link), [other.id], "it asks, so it has lost the link");
    let candidates = vec![at("60.1.1.1:7777"), at("60.1.1.1:7778")];
    let punch = Punch { host: other.id, nat: Nat::Restricted, candidates, after_ms: 0 };
    let dials = dials(&house.send(link, &Frame::Punch(punch)));
    let came: Vec<bool> = dials
        .iter()
        .map(|(dial, ..)| house.dialled(&other, Some(*dial), Duration::from_millis(40)).is_some())
        .collect();
    assert_eq!(came, [true, false]);
}

#[test]
fn addresses_of_both_families_are_dialled_at_once() {
    let (mut house, mut middle, mut other) = (House::new(), Player::new(1), Player::new(2));
    let link = neighbour(&mut house, &mut middle, [50, 1, 1, 1]);
    ask_for(&mut house, link, &mut other);
    let candidates = vec![at("60.1.1.1:7777"), at("[2606:4700::1]:7777")];
    let punch = Punch { host: other.id, nat: Nat::Symmetric, candidates: candidates.clone(), after_ms: 0 };
    let effects = house.send(link, &Frame::Punch(punch));
    let dialled: Vec<_> = dials(&effects).into_iter().map(|(_, address, _)| address).collect();
    assert_eq!(dialled, candidates);
}

#[test]
fn a_meeting_that_fails_is_tried_again_a_few_times_and_then_seldom() {
    let (mut house, mut middle, mut other) = (House::new(), Player::new(1), Player::new(2));
    let link = neighbour(&mut house, &mut middle, [50, 1, 1, 1]);
    let first = far(&mut house, link, &mut other);
    let (mut times, mut seconds) = (Vec::new(), 0);
    let mut first = Some(first);
    while seconds < 300 {
        let effects = first.take().unwrap_or_else(|| house.wait(SECOND));
        seconds += 1;
        if !asked(&effects, link).is_empty() {
            times.push(seconds);
            let candidates = vec![at(&format!("60.1.1.{}:7777", times.len()))];
            let punch = Punch { host: other.id, nat: Nat::Restricted, candidates, after_ms: 0 };
            let effects = house.send(link, &Frame::Punch(punch));
            assert_eq!(dials(&effects).len(), 1);
        }
        let beat = other.announce(&[]);
        house.send(link, &Frame::Announcement(beat));
        let beat = middle.announce(&[]);
        house.send(link, &Frame::Announcement(beat));
    }
    let pauses: Vec<u64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(pauses.len() >= 7 && pauses.len() <= 11, "{times:?}");
    assert!(pauses[..2].iter().all(|pause| (4..=5).contains(pause)), "{times:?}");
    assert!((30..=36).contains(&pauses[2]) && (60..=66).contains(&pauses[5]), "{times:?}");
}

#[test]
fn a_hopeless_meeting_is_not_asked_for_again_until_something_changes() {
    let (mut house, mut middle, mut other) = (House::new(), Player::new(1), Player::new(2));
    let link = neighbour(&mut house, &mut middle, [50, 1, 1, 1]);
    ask_for(&mut house, link, &mut other);
    house.send(link, &Frame::NotIntroduced(NotIntroduced { host: other.id, why: NotIntroducedReason::Hopeless }));
    let beats = |house: &mut House, middle: &mut Player, other: &mut Player, seconds: u32| {
        let mut all = 0;
        for _ in 0..seconds {
            all += asked(&house.wait(SECOND), link).len();
            for player in [&mut *middle, &mut *other] {
                let beat = player.announce(&[]);
                house.send(link, &Frame::Announcement(beat));
            }
        }
        all
    };
    assert_eq!(beats(&mut house, &mut middle, &mut other, 60), 0);
    other.candidates = vec![at("60.1.1.9:7777")];
    other.revision += 1;
    let effects = far(&mut house, link, &mut other);
    let asked = asked(&effects, link).len() + beats(&mut house, &mut middle, &mut other, 2);
    assert_eq!(asked, 1, "it is somewhere else now");
}

#[test]
fn who_is_asked_agrees_and_dials_only_whom_it_has_agreed_to_meet() {
    let (mut house, mut middle, mut liar) = (House::new(), Player::new(1), Player::new(2));
    let link = neighbour(&mut house, &mut middle, [50, 1, 1, 1]);
    let other_link = neighbour(&mut house, &mut liar, [50, 2, 1, 1]);
    let mut other = Player::new(3);
    // It says where it can be dialled, so we do not ask.
    other.addresses = vec![at("60.1.1.1:4000")];
    far(&mut house, link, &mut other);
    let punch = |host| Frame::Punch(Punch { host, nat: Nat::Open, candidates: vec![at(VICTIM)], after_ms: 0 });
    assert_eq!(dials(&house.send(link, &punch(other.id))), [], "nobody has asked");
    let stranger = Player::new(9);
    assert_eq!(asked(&house.send(link, &wish(stranger.id)), link), [], "that is nobody whom we know");
    assert_eq!(asked(&house.send(link, &wish(other.id)), link), [other.id]);
    assert_eq!(dials(&house.send(other_link, &punch(other.id))), [], "that is another neighbour");
    assert_eq!(dials(&house.send(link, &punch(other.id))).len(), 1);
}

#[test]
fn a_neighbour_that_lies_has_an_address_dialled_a_few_times_a_minute_whomever_it_invents() {
    let (mut house, mut liar) = (House::new(), Player::new(1));
    let link = neighbour(&mut house, &mut liar, [50, 1, 1, 1]);
    let (mut at_address, mut at_ip, mut at_own_network) = (0, 0, 0);
    for number in 0..60 {
        // Whoever is known at all has announced himself; a liar can invent him.
        let mut invented = Player::new(100 + number);
        far(&mut house, link, &mut invented);
        house.send(link, &wish(invented.id));
        let candidates =
            vec![at(VICTIM), at(&format!("9.9.9.9:{}", 5_000 + number)), at("192.168.1.1:4444"), at("127.0.0.1:4444")];
        let punch = Punch { host: invented.id, nat: Nat::Open, candidates, after_ms: 0 };
        let mut effects = house.send(link, &Frame::Punch(punch));
        for (_, address, _) in dials(&effects).into_iter().chain(dials(&house.wait(SECOND))) {
            at_address += usize::from(address == at(VICTIM));
            at_ip += usize::from(address.ip() == at(VICTIM).ip());
            at_own_network += usize::from(address.ip() != at(VICTIM).ip());
        }
        effects = Effects::default();
        assert!(effects.outputs.is_empty());
        let beat = liar.announce(&[]);
        house.send(link, &Frame::Announcement(beat));
    }
    assert_eq!((at_address, at_ip, at_own_network), (PUNCHES_PER_ADDRESS_MAX, PUNCHES_PER_IP_MAX, 0));
}

#[test]
fn a_neighbour_that_lies_takes_neither_the_room_nor_the_dials_that_our_own_wishes_need() {
    let (mut house, mut liar, mut middle) = (House::new(), Player::new(1), Player::new(2));
    let to_liar = neighbour(&mut house, &mut liar, [50, 1, 1, 1]);
    let link = neighbour(&mut house, &mut middle, [50, 2, 1, 1]);
    let mut number = 100;
    let mut invent = |house: &mut House| {
        number += 1;
        let mut player = Player::new(number);
        // It can be dialled, so that we do not ask for it ourselves.
        player.addresses = vec![at("60.1.1.1:4000")];
        far(house, to_liar, &mut player);
        house.send(to_liar, &wish(player.id));
        player.id
    };
    let mut dialled = 0;
    for round in 0..100 {
        let host = invent(&mut house);
        let candidates = (0..8).map(|port| at(&format!("9.9.{round}.9:{}", 5_000 + port))).collect();
        let effects = house.send(to_liar, &Frame::Punch(Punch { host, nat: Nat::Open, candidates, after_ms: 0 }));
        dialled += dials(&effects).iter().filter(|(_, address, _)| address.ip() != at("60.1.1.1:1").ip()).count();
        house.wait(SECOND / 2);
        for (player, over) in [(&mut liar, to_liar), (&mut middle, link)] {
            let beat = player.announce(&[]);
            house.send(over, &Frame::Announcement(beat));
        }
    }
    assert_eq!(dialled, PUNCHES_PER_NEIGHBOUR_MAX);
    let mut other = Player::new(3);
    other.neighbours = vec![aldis_wire::record::short_id(middle.id)];
    (0..12).for_each(|_| _ = invent(&mut house));
    let mut through = asked(&far(&mut house, link, &mut other), link);
    for _ in 0..20 {
        invent(&mut house);
        through.extend(asked(&house.wait(SECOND / 10), link));
    }
    assert_eq!(through, [other.id], "there is room for whom we want to meet");
    let candidates: Vec<SocketAddr> = (0..8).map(|port| at(&format!("60.2.2.2:{}", 5_000 + port))).collect();
    let punch = Punch { host: other.id, nat: Nat::Open, candidates, after_ms: 0 };
    assert_eq!(dials(&house.send(link, &Frame::Punch(punch))).len(), 8, "and dials are left");
}

#[test]
fn who_is_heard_of_right_after_another_is_asked_for_as_soon() {
    let (mut house, mut neighbour_of_both) = (House::new(), Player::new(1));
    let link = neighbour(&mut house, &mut neighbour_of_both, [50, 1, 1, 1]);
    house.wait(SECOND);
    let own = house.relay.view(house.now).host;
    // Those with a higher id leave the asking to us.
    for mut other in (2..).map(Player::new).filter(|other| other.id > own).take(2) {
        let mut all = asked(&far(&mut house, link, &mut other), link);
        all.extend(asked(&house.wait(Duration::from_millis(10)), link));
        assert_eq!(all, [other.id]);
    }
}

#[test]
fn only_a_few_are_asked_for_at_once() {
    let (mut house, mut middle) = (House::new(), Player::new(1));
    let link = neighbour(&mut house, &mut middle, [50, 1, 1, 1]);
    let mut times = 0;
    for number in 10..25 {
        times += asked(&far(&mut house, link, &mut Player::new(number)), link).len();
    }
    times += asked(&house.wait(2 * SECOND), link).len();
    assert_eq!(times, MEETINGS_ASKED_MAX);
    assert_eq!(house.relay.tables().meetings, MEETINGS_ASKED_MAX);
}

// ---- When we are seen elsewhere ----------------------------------------------------------------------------------

/// Neighbours that we dialled and that anybody can dial, and a host that dialled us, all linked for a minute.
fn linked_for_a_minute(house: &mut House, dialled: u16) -> (Vec<LinkKey>, HostId) {
    house.seen_at = at("45.9.9.9:4000");
    let mut players: Vec<Player> = (1..=dialled).map(Player::new).collect();
    let mut links = Vec::new();
    for (number, player) in (1..).zip(&mut players) {
        player.addresses = vec![at(&format!("50.{number}.1.1:4000"))];
        links.push(house.dialled_at(player, Ipv4Addr::new(50, number, 1, 1)).0);
    }
    let mut guest = Player::new(90);
    let to_guest = neighbour(house, &mut guest, [50, 90, 1, 1]);
    for round in 0..20 {
        for (player, link) in players.iter_mut().zip(&links).chain([(&mut guest, &to_guest)]) {
            let ops = if round == 0 { vec![Op::Record(player.record())] } else { Vec::new() };
            let beat = player.announce(&ops);
            house.send(*link, &Frame::Announcement(beat));
        }
        house.wait(3 * SECOND);
    }
    (links, guest.id)
}

/// Whom we ask to be introduced to, within a second after one neighbour says that it sees us there.
fn asked_when_seen(house: &mut House, link: LinkKey, there: &str, links: &[LinkKey]) -> Vec<HostId> {
    let mut effects = house.send(link, &Frame::Observed(at(there)));
    effects.add(house.wait(SECOND));
    links.iter().flat_map(|link| asked(&effects, *link)).collect()
}

#[test]
fn who_is_told_by_two_that_it_has_moved_asks_at_once_for_those_who_had_dialled_it() {
    let mut house = House::new();
    let (links, guest) = linked_for_a_minute(&mut house, 2);
    assert_eq!(asked_when_seen(&mut house, links[0], "45.8.8.8:4000", &links), []);
    assert_eq!(asked_when_seen(&mut house, links[1], "45.8.8.8:4001", &links), [guest]);
}

#[test]
fn the_only_neighbour_that_could_notice_that_we_moved_is_believed() {
    let mut house = House::new();
    let (links, guest) = linked_for_a_minute(&mut house, 1);
    assert_eq!(asked_when_seen(&mut house, links[0], "45.8.8.8:4000", &links), [guest]);
}

#[test]
fn one_neighbour_that_lies_has_no_link_given_up_however_often_it_sees_us_elsewhere() {
    let mut house = House::new();
    let (links, _) = linked_for_a_minute(&mut house, 2);
    for port in 5_000..5_007 {
        assert_eq!(asked_when_seen(&mut house, links[0], &format!("45.8.8.8:{port}"), &links), []);
    }
    let effects = house.send(links[0], &Frame::Observed(at("45.8.8.8:6000")));
    let nudged = effects.frames(links[1]).into_iter().any(|frame| matches!(frame, Frame::Observed(_)));
    assert!(nudged, "the other one is sent something, so that it could notice");
}
