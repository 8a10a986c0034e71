//! Where a host is and who can reach it there (PROTOCOL.md §11.1), frame by frame: what it learns, asks, does for others,
//! and does not let itself be used for.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may fail by panic")]

mod neighbour;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use aldis::relay::Settings;
use aldis::relay::io::{
    CheckTarget, Event, Input, LinkKey, Mapped, Mapping, MappingProtocol, Note, Output, Registration,
};
use aldis::relay::limits::{
    ASKERS_MAX, CHECK_INTERVAL, CONTACT_KEPT, CONTACTS_MAX, LOCAL_MAX, MAPPED_MAX, PLACES_MAX, REFERRAL_TIMEOUT,
    REFERRALS_MAX, STUN_TOLD_MAX, TRIAL_ADDRESSES_MAX, TRIALS_MAX,
};
use aldis::relay::view::{LinkKind, PlaceState, ReachView};
use aldis_wire::announcement::Op;
use aldis_wire::host::{DialBack, Frame, Nat, Place, Verdict, Verified, Verify};
use aldis_wire::id::HostId;
use neighbour::{Effects, House, Player};

const SECOND: Duration = Duration::from_secs(1);
/// Where the host under test is seen.
const OUTSIDE: &str = "45.9.9.9:4000";

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn v4(number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(Ipv4Addr::new(46, 0, 0, 1).to_bits() + (number << 8))
}

fn reach(house: &House) -> ReachView {
    house.relay.view(house.now).reach
}

/// A host with settings of its own that is seen there.
fn seen(there: &str, set: impl FnOnce(&mut Settings)) -> House {
    let mut house = House::with(Vec::new(), set);
    house.seen_at = at(there);
    house
}

/// A host that is seen at [`OUTSIDE`].
fn house() -> House {
    seen(OUTSIDE, |_| {})
}

fn verifies(effects: &Effects, link: LinkKey) -> Vec<Verify> {
    let verify = |frame| if let Frame::Verify(verify) = frame { Some(verify) } else { None };
    effects.frames(link).into_iter().filter_map(verify).collect()
}

fn dial_backs(effects: &Effects, link: LinkKey) -> Vec<DialBack> {
    let dial_back = |frame| if let Frame::DialBack(dial_back) = frame { Some(dial_back) } else { None };
    effects.frames(link).into_iter().filter_map(dial_back).collect()
}

fn verdicts(effects: &Effects, link: LinkKey) -> Vec<(u32, Verdict)> {
    let verdict =
        |frame| if let Frame::Verified(Verified { number, verdict }) = frame { Some((number, verdict)) } else { None };
    effects.frames(link).into_iter().filter_map(verdict).collect()
}

/// Lets time pass in which these neighbours answer whatever they are asked with what `verdict` says of the place.
fn answering(
    house: &mut House,
    links: &[LinkKey],
    time: Duration,
    mut first: Effects,
    verdict: impl Fn(&Place) -> Verdict,
) -> Effects {
    let end = house.now + time;
    let mut all = Effects::default();
    let mut effects = std::mem::take(&mut first);
    loop {
        let mut answers = Effects::default();
        for link in links {
            for Verify { number, place } in verifies(&effects, *link) {
                answers.add(house.send(*link, &Frame::Verified(Verified { number, verdict: verdict(&place) })));
            }
        }
        all.add(effects);
        effects = answers;
        if links.iter().any(|link| !verifies(&effects, *link).is_empty()) {
            continue;
        }
        all.add(std::mem::take(&mut effects));
        if house.now >= end {
            return all;
        }
        let step = house.relay.next_timeout().unwrap_or(end).max(house.now).min(end);
        effects = house.wait(step.since(house.now));
    }
}

fn never(place: &Place) -> Verdict {
    panic!("{place:?} is not to be asked for")
}

// ---- Who sees whom where ------------------------------------------------------------------------------------------

#[test]
fn who_moves_is_told_where_it_is_seen_once_and_only_after_it_was_admitted() {
    let (mut house, player) = (house(), Player::new(1));
    let link = house.connect_from(&player, v4(1));
    let measured = |at: &str| Input::LinkMeasured { link, rtt: SECOND, address: at.parse().unwrap() };
    let observed = |effects: &Effects| {
        let frames = effects.frames(link).into_iter();
        frames.filter(|frame| matches!(frame, Frame::Observed(_))).collect::<Vec<_>>()
    };
    assert_eq!(observed(&house.handle(measured("46.0.1.1:5000"))), [], "nothing goes to a stranger");
    let hello = house.hello_of(&player);
    house.send(link, &Frame::Hello(hello));
    assert_eq!(observed(&house.handle(measured("46.0.1.1:6000"))), []);
    let effects = house.send(link, &Frame::Admitted);
    assert_eq!(observed(&effects), [Frame::Observed(at("46.0.1.1:6000"))], "its Hello said another port");
    assert_eq!(observed(&house.handle(measured("46.0.1.1:6000"))), []);
    assert_eq!(observed(&house.handle(measured("46.0.7.1:6000"))), [Frame::Observed(at("46.0.7.1:6000"))]);
}

#[test]
fn two_neighbours_that_see_different_ports_show_a_symmetric_nat_and_two_of_one_address_do_not() {
    let mut house = house();
    house.dialled_at(&Player::new(1), v4(1));
    house.seen_at = at("45.9.9.9:4001");
    house.dialled_at(&Player::new(2), v4(1));
    assert_eq!(reach(&house).nat, Nat::Unknown, "both are at one address");
    house.seen_at = at("45.9.9.9:4002");
    house.link_from(&Player::new(3), v4(3));
    assert_eq!(reach(&house).nat, Nat::Unknown, "who dials sees what it dials");
    house.dialled_at(&Player::new(4), v4(4));
    let view = reach(&house);
    assert_eq!(view.nat, Nat::Symmetric);
    assert_eq!(view.observers.len(), 4);
    assert!(!view.candidates.is_empty(), "others must know to which address to open their own router");
    let kinds: Vec<LinkKind> = house.relay.view(house.now).links.iter().map(|link| link.kind).collect();
    assert_eq!(kinds.iter().filter(|kind| **kind == LinkKind::Accepted).count(), 1);
}

#[test]
fn what_stands_before_us_is_not_forgotten_with_those_who_saw_it_but_when_we_are_seen_elsewhere() {
    let mut house = house();
    let (first, _) = house.dialled_at(&Player::new(1), v4(1));
    house.seen_at = at("45.9.9.9:4001");
    let (second, _) = house.dialled_at(&Player::new(2), v4(2));
    assert_eq!(reach(&house).nat, Nat::Symmetric);
    house.handle(Input::LinkClosed { link: first, reason: "it crashed".to_owned() });
    assert_eq!((reach(&house).observers.len(), reach(&house).nat), (1, Nat::Symmetric));
    house.send(second, &Frame::Observed(at("45.8.8.8:4001")));
    house.wait(10 * SECOND);
    assert_eq!(reach(&house).nat, Nat::Unknown, "it is another router, or another way out");
}

#[test]
fn one_neighbour_of_four_that_sees_us_elsewhere_makes_no_symmetric_nat_and_two_of_five_do() {
    let mut house = house();
    for number in 1..=3 {
        house.dialled_at(&Player::new(number), v4(number.into()));
    }
    house.seen_at = at("45.9.9.9:4001");
    house.dialled_at(&Player::new(4), v4(4));
    let view = reach(&house);
    assert_eq!((view.nat, view.candidates[0]), (Nat::Unknown, at(OUTSIDE)));
    house.seen_at = at("45.9.9.9:4002");
    house.dialled_at(&Player::new(5), v4(5));
    assert_eq!(reach(&house).nat, Nat::Symmetric);
}

#[test]
fn the_port_that_the_dht_sees_counts_as_one_that_a_neighbour_sees_if_it_is_that_of_links() {
    for (sees, shared, nat) in [("45.9.9.9:7000", false, Nat::Unknown), ("45.9.9.9:7000", true, Nat::Symmetric)] {
        let mut house = house();
        house.dialled_at(&Player::new(1), v4(1));
        house.handle(Input::DhtSees { address: at(sees), shared });
        assert_eq!(reach(&house).nat, nat, "{sees} {shared}");
    }
}

#[test]
fn a_cone_is_told_from_a_closed_one_by_a_neighbours_other_port() {
    for (other_port, nat) in [(Verdict::Reached, Nat::Restricted), (Verdict::NotReached, Nat::PortRestricted)] {
        let mut house = house();
        let (one, mut effects) = house.dialled_at(&Player::new(1), v4(1));
        let (two, more) = house.dialled_at(&Player::new(2), v4(2));
        effects.add(more);
        answering(&mut house, &[one, two], 20 * SECOND, effects, |place| match place {
            Place::OtherPort { port: 4_000 } => other_port,
            Place::Links { port: 4_000 } => Verdict::NotReached,
            place => panic!("{place:?}"),
        });
        let view = reach(&house);
        assert_eq!((view.nat, view.candidates), (nat, vec![at(OUTSIDE)]));
        assert!(view.addresses.is_empty());
    }
}

#[test]
fn nothing_is_concluded_while_neighbours_notice_one_after_the_other_that_we_moved() {
    let mut house = house();
    let links = [1, 2, 3].map(|number| house.dialled_at(&Player::new(number), v4(number.into())).0);
    let nat = reach(&house).nat;
    for link in links {
        house.send(link, &Frame::Observed(at("45.9.9.9:5000")));
        assert_eq!(reach(&house).nat, nat);
        house.wait(2 * SECOND);
    }
    house.wait(10 * SECOND);
    assert_eq!(reach(&house).nat, nat);
    house.send(links[0], &Frame::Observed(at("45.9.9.9:6000")));
    house.wait(10 * SECOND);
    assert_eq!(reach(&house).nat, Nat::Symmetric, "and then they still disagree");
}

// ---- What is asked for, and what comes of it ----------------------------------------------------------------------

/// A host that registers in the DHT, and the port that it tells it.
fn registering() -> House {
    let mut house = House::with(Vec::new(), |settings| (settings.dht, settings.register) = (true, true));
    house.seen_at = at(OUTSIDE);
    house
}

#[test]
fn whoever_is_reached_by_a_stranger_is_open_and_tells_so_its_record_and_the_dht() {
    let mut house = registering();
    assert_eq!(reach(&house).registration, Registration::Port(0), "alone, it tells its own port");
    let (link, effects) = house.dialled_at(&Player::new(1), v4(1));
    house.send(link, &Frame::Graft(house.id, 0, 0));
    assert_eq!(verifies(&effects, link).len(), 2, "at once, before others are dialled: {effects:?}");
    assert_eq!(reach(&house).registration, Registration::Nothing);
    let mut effects = answering(&mut house, &[link], SECOND, effects, |place| match place {
        Place::Links { port: 4_000 } => Verdict::Reached,
        _ => Verdict::Nobody,
    });
    let reached = Note::Reached { target: CheckTarget::Links(at(OUTSIDE)), by: Player::new(1).id };
    assert!(effects.notes.contains(&reached) && effects.notes.contains(&Note::NatFound { nat: Nat::Open }));
    effects.add(house.wait(SECOND));
    let record = effects.records(link).pop().unwrap();
    assert_eq!((record.nat, record.addresses, record.candidates), (Nat::Open, vec![at(OUTSIDE)], vec![]));
    assert!(record.neighbours.is_empty(), "whoever may be dialled needs nobody to introduce it");
    let effects = house.handle(Input::LookUpEnded { outcome: Ok(()) });
    assert!(effects.outputs.contains(&Output::Register { port: Some(4_000) }), "{effects:?}");
}

#[test]
fn the_dht_is_told_the_own_port_by_whoever_is_alone_and_soon_the_right_one_when_it_is_known() {
    let mut house = seen(OUTSIDE, |settings| {
        (settings.dht, settings.register, settings.port) = (true, true, 5_000);
    });
    let registered = |effects: &Effects| {
        let port = |output: &Output| if let Output::Register { port } = output { Some(*port) } else { None };
        effects.outputs.iter().filter_map(port).collect::<Vec<_>>()
    };
    let effects = house.handle(Input::LookUpEnded { outcome: Ok(()) });
    assert_eq!(registered(&effects), [Some(5_000)], "the first host of a network must be found");
    house.handle(Input::RegistrationEnded { outcome: Ok(()) });
    house.handle(Input::DhtSees { address: at(OUTSIDE), shared: true });
    let effects = house.wait(20 * SECOND);
    assert!(registered(&effects).is_empty(), "a look-up comes first: {effects:?}");
    let effects = house.handle(Input::LookUpEnded { outcome: Ok(()) });
    assert_eq!(registered(&effects), [None], "the DHT sees the port for links");
    house.handle(Input::RegistrationEnded { outcome: Ok(()) });
    let (link, effects) = house.dialled_at(&Player::new(1), v4(1));
    let mut effects = answering(&mut house, &[link], 2 * SECOND, effects, |_| Verdict::Reached);
    effects.add(house.wait(20 * SECOND));
    assert_eq!(registered(&effects), [Some(4_000)], "once, and not at the next quarter of an hour");
}

#[test]
fn whoever_is_reached_by_nobody_lists_who_can_introduce_it_and_tells_the_dht_nothing() {
    let (mut house, player) = (registering(), Player::new(1));
    house.handle(Input::LookUpEnded { outcome: Ok(()) });
    house.handle(Input::RegistrationEnded { outcome: Ok(()) });
    let (link, effects) = house.dialled_at(&player, v4(1));
    house.send(link, &Frame::Graft(house.id, 0, 0));
    let mut effects = answering(&mut house, &[link], 40 * SECOND, effects, |_| Verdict::NotReached);
    effects.add(answering(&mut house, &[link], 900 * SECOND, Effects::default(), |_| Verdict::NotReached));
    assert!(!effects.outputs.iter().any(|output| matches!(output, Output::Register { .. })));
    let record = effects.records(link).pop().unwrap();
    assert_eq!(record.neighbours, [aldis_wire::record::short_id(player.id)]);
    assert_eq!((record.addresses, record.candidates), (vec![], vec![at(OUTSIDE)]));
}

#[test]
fn the_operators_addresses_stand_and_are_told_to_the_dht_whoever_has_tried_them() {
    let mut house = House::with(Vec::new(), |settings| {
        (settings.dht, settings.register) = (true, true);
        settings.addresses = vec![at("45.9.9.9:7777"), at("45.9.9.9:8888")];
    });
    house.seen_at = at(OUTSIDE);
    let (link, effects) = house.dialled_at(&Player::new(1), v4(1));
    answering(&mut house, &[link], 60 * SECOND, effects, |place| match place {
        Place::Links { port: 8_888 } => Verdict::Reached,
        _ => Verdict::NotReached,
    });
    let view = reach(&house);
    assert_eq!(view.addresses, [at("45.9.9.9:8888"), at("45.9.9.9:7777")], "what was reached comes first");
    assert_eq!(view.registration, Registration::Port(8_888));
    assert_eq!(view.nat, Nat::Open);
}

#[test]
fn one_failure_is_not_believed_two_are_and_the_next_success_is() {
    let mut house = House::with(Vec::new(), |settings| settings.gateways = vec!["wss://relay.example/v1".into()]);
    house.seen_at = at(OUTSIDE);
    let published = |house: &House| reach(house).gateways.len();
    assert_eq!(published(&house), 1, "the operator's word");
    let (link, effects) = house.dialled_at(&Player::new(1), v4(1));
    let of_gateway =
        |verdict| move |place: &Place| if matches!(place, Place::Gateway { .. }) { verdict } else { Verdict::Nobody };
    let target = CheckTarget::Gateway("wss://relay.example/v1".into());
    let by = Player::new(1).id;
    let effects = answering(&mut house, &[link], 4 * SECOND, effects, of_gateway(Verdict::NotReached));
    assert_eq!(published(&house), 1);
    assert!(!effects.notes.iter().any(|note| matches!(note, Note::NotReached { .. })));
    let effects = answering(&mut house, &[link], 4 * SECOND, Effects::default(), of_gateway(Verdict::NotReached));
    assert_eq!(published(&house), 0);
    assert!(effects.notes.contains(&Note::NotReached { target: target.clone(), by }));
    let state = |house: &House| reach(house).places.into_iter().find(|place| place.target == target).unwrap().state;
    assert!(matches!(state(&house), PlaceState::NotReached { .. }));
    let effects = answering(&mut house, &[link], CHECK_INTERVAL * 2, Effects::default(), of_gateway(Verdict::Reached));
    assert_eq!(published(&house), 1);
    assert!(effects.notes.contains(&Note::Reached { target: target.clone(), by }));
    assert!(matches!(state(&house), PlaceState::Verified { .. }));
}

#[test]
fn what_nobody_can_try_stays_the_operators_word_and_the_reason_is_shown() {
    let mut house = House::with(Vec::new(), |settings| {
        settings.gateways = vec!["ws://192.168.1.5/v1".into(), "wss://relay.example/v1".into()];
    });
    house.seen_at = at(OUTSIDE);
    let (link, effects) = house.dialled_at(&Player::new(1), v4(1));
    answering(&mut house, &[link], 60 * SECOND, effects, |place| {
        assert!(!matches!(place, Place::Gateway { url } if url.contains("192.168")));
        Verdict::Nobody
    });
    let view = reach(&house);
    assert_eq!(view.gateways.len(), 2);
    for target in ["ws://192.168.1.5/v1", "wss://relay.example/v1"].map(|url| CheckTarget::Gateway(url.into())) {
        let place = view.places.iter().find(|place| place.target == target).unwrap();
        assert!(
            place.published && matches!(place.state, PlaceState::Unverified { why } if !why.is_empty()),
            "{place:?}"
        );
    }
}

#[test]
fn mapped_ports_are_published_when_they_were_reached_and_not_before() {
    let mut house = house();
    let mapping =
        |port, of| Mapping { outside: SocketAddr::new(at(OUTSIDE).ip(), port), protocol: MappingProtocol::Pcp, of };
    let mapped = vec![mapping(9_100, Mapped::Links), mapping(9_200, Mapped::Gateway)];
    house.handle(Input::PlacesFound { local: vec![at("192.168.1.5:4000")], mapped, stun: vec![3_478] });
    let (link, effects) = house.dialled_at(&Player::new(1), v4(1));
    let view = reach(&house);
    assert_eq!((view.addresses, view.gateways), (vec![], vec![]));
    assert_eq!(view.candidates, [at("45.9.9.9:9100"), at(OUTSIDE)], "the mapped one first");
    answering(&mut house, &[link], 60 * SECOND, effects, |place| match place {
        Place::Links { port: 9_100 } | Place::Gateway { .. } | Place::Stun { port: 3_478 } => Verdict::Reached,
        _ => Verdict::NotReached,
    });
    let view = reach(&house);
    assert_eq!(view.addresses, [at("45.9.9.9:9100")]);
    assert_eq!(view.gateways, ["ws://45.9.9.9:9200/v1"]);
    assert_eq!(view.stun, [at("45.9.9.9:3478")]);
    assert_eq!((view.nat, view.behind_two), (Nat::Open, false));
}

#[test]
fn places_that_are_had_checked_are_bounded_whatever_the_driver_and_neighbours_say() {
    let mut house = seen(OUTSIDE, |settings| {
        settings.addresses = (0..8).map(|port| at(&format!("45.9.9.9:{}", 2_000 + port))).collect();
        settings.gateways = (0..9).map(|number| format!("wss://host{number}.example/v1")).collect();
    });
    let mapping = |number: u16| {
        let of = if number.is_multiple_of(2) { Mapped::Links } else { Mapped::Gateway };
        Mapping { outside: SocketAddr::new(at(OUTSIDE).ip(), 6_000 + number), protocol: MappingProtocol::Upnp, of }
    };
    let local = (0..100).map(|number| at(&format!("45.9.9.9:{}", 7_000 + number))).collect();
    let (mapped, stun) = ((0..100).map(mapping).collect(), (1_500..1_600).collect());
    house.handle(Input::PlacesFound { local, mapped, stun });
    let mut asked = Effects::default();
    for number in 1..20 {
        house.seen_at = at(&format!("45.9.9.9:{}", 8_000 + number));
        asked.add(house.dialled_at(&Player::new(number), v4(number.into())).1);
    }
    let links: Vec<LinkKey> = reach(&house).observers.iter().map(|observer| observer.link).collect();
    answering(&mut house, &links, 60 * SECOND, asked, |_| Verdict::Reached);
    let (view, tables) = (reach(&house), house.relay.tables());
    assert!(tables.checks > 20 && tables.checks <= PLACES_MAX, "{}", tables.checks);
    assert!(view.local.len() <= LOCAL_MAX && view.mapped.len() <= MAPPED_MAX);
    assert_eq!((view.addresses.len(), view.gateways.len()), (8, 4), "as many as a record may list");
    assert!(view.candidates.len() <= 4 && view.stun.len() <= 2);
}

#[test]
fn a_mapping_at_an_address_at_which_nobody_sees_us_shows_a_second_router() {
    let mut house = house();
    let outside = at("100.64.0.9:9100");
    let mapped = vec![Mapping { outside, protocol: MappingProtocol::Upnp, of: Mapped::Links }];
    house.handle(Input::PlacesFound { local: vec![], mapped, stun: vec![] });
    house.dialled_at(&Player::new(1), v4(1));
    let view = reach(&house);
    assert!(view.behind_two && !view.candidates.contains(&outside));
}

#[test]
fn a_neighbours_other_port_proves_as_much_as_a_stranger_where_nothing_stands_between() {
    for (local, nat) in [(OUTSIDE, Nat::Open), ("192.168.1.5:4000", Nat::Unknown)] {
        let mut house = house();
        house.handle(Input::PlacesFound { local: vec![at(local)], mapped: vec![], stun: vec![] });
        let (link, effects) = house.dialled_at(&Player::new(1), v4(1));
        answering(&mut house, &[link], SECOND, effects, |place| match place {
            Place::OtherPort { .. } => Verdict::Reached,
            _ => Verdict::Nobody,
        });
        assert_eq!(reach(&house).nat, nat, "seen at an address of its own: {local}");
    }
}

#[test]
fn a_stranger_that_comes_proves_an_address_that_somebody_else_sees_too() {
    let (mut house, stranger, liar) = (house(), Player::new(2), Player::new(3));
    house.dialled_at(&Player::new(1), v4(1));
    house.seen_at = at("45.66.66.66:4000");
    house.link_from(&liar, v4(3));
    assert_eq!(reach(&house).addresses, [], "nobody else sees us there");
    house.seen_at = at(OUTSIDE);
    let (_, effects) = house.link_from(&stranger, v4(2));
    assert!(effects.notes.contains(&Note::Reached { target: CheckTarget::Links(at(OUTSIDE)), by: stranger.id }));
    assert_eq!(reach(&house).addresses, [at(OUTSIDE)]);
}

#[test]
fn whoever_was_dialled_lately_or_comes_from_our_own_network_proves_nothing_by_coming() {
    let mut house = House::with(Vec::new(), |settings| {
        settings.static_peers =
            vec![aldis::relay::io::Hint { address: SocketAddr::new(IpAddr::V4(v4(2)), 4_000), host: None }];
    });
    house.seen_at = at(OUTSIDE);
    house.wait(SECOND);
    house.dialled_at(&Player::new(1), v4(1));
    for (number, from) in [(2, v4(2)), (3, Ipv4Addr::new(192, 168, 1, 7)), (4, Ipv4Addr::new(45, 9, 9, 9))] {
        house.link_from(&Player::new(number), from);
        assert!(reach(&house).addresses.is_empty(), "{from}");
    }
    let (again, _) = house.link_from(&Player::new(5), v4(5));
    assert_eq!(reach(&house).addresses, [at(OUTSIDE)], "but a stranger does");
    let mut house = house;
    house.handle(Input::LinkClosed { link: again, reason: String::new() });
    assert_eq!(reach(&house).nat, Nat::Open);
}

#[test]
fn a_neighbour_that_cannot_help_is_asked_once_in_ten_minutes_and_others_instead() {
    let mut house = house();
    let (one, mut effects) = house.dialled_at(&Player::new(1), v4(1));
    let (two, more) = house.dialled_at(&Player::new(2), v4(2));
    effects.add(more);
    let effects = answering(&mut house, &[one, two], CHECK_INTERVAL * 4 / 5, effects, |_| Verdict::Nobody);
    for link in [one, two] {
        let asked: Vec<Place> = verifies(&effects, link).into_iter().map(|verify| verify.place).collect();
        assert_eq!(asked.len(), 2, "each place once: {asked:?}");
    }
    let effects = answering(&mut house, &[one, two], CHECK_INTERVAL / 2, Effects::default(), |_| Verdict::Nobody);
    assert_eq!(verifies(&effects, one).len(), 2, "and again");
    house.send(one, &Frame::Observed(at("45.9.9.9:4444")));
    house.send(two, &Frame::Observed(at("45.9.9.9:4444")));
    let effects = house.wait(SECOND);
    let asked = verifies(&effects, one).len() + verifies(&effects, two).len();
    assert!(asked <= 4, "what is asked for stays bounded");
}

#[test]
fn neighbours_that_were_asked_too_often_are_asked_again_after_a_minute() {
    let mut house = house();
    let (link, effects) = house.dialled_at(&Player::new(1), v4(1));
    let effects = answering(&mut house, &[link], 55 * SECOND, effects, |_| Verdict::TooOften);
    assert_eq!(verifies(&effects, link).len(), 2, "each place once");
    answering(&mut house, &[link], 15 * SECOND, Effects::default(), |_| Verdict::Reached);
    assert_eq!(reach(&house).nat, Nat::Open);
}

#[test]
fn where_a_router_has_opened_a_port_neighbours_try_that_and_how_strict_it_is_otherwise_only_if_it_is_not_reached() {
    let outside = SocketAddr::new(at(OUTSIDE).ip(), 9_100);
    let mapped = vec![Mapping { outside, protocol: MappingProtocol::Pcp, of: Mapped::Links }];
    let (mut house, local) = (house(), vec![at("192.168.1.5:4000")]);
    house.handle(Input::PlacesFound { local, mapped, stun: Vec::new() });
    let (link, effects) = house.dialled_at(&Player::new(1), v4(1));
    let other_ports = |effects: &Effects| {
        let port = |verify: Verify| if let Place::OtherPort { port } = verify.place { Some(port) } else { None };
        verifies(effects, link).into_iter().filter_map(port).collect::<Vec<_>>()
    };
    let verdict = |place: &Place| match place {
        Place::OtherPort { .. } => Verdict::NotReached,
        _ => Verdict::Nobody,
    };
    let effects = answering(&mut house, &[link], 4 * SECOND, effects, verdict);
    assert_eq!(other_ports(&effects), [9_100]);
    let effects = answering(&mut house, &[link], 30 * SECOND, Effects::default(), verdict);
    assert_eq!(other_ports(&effects), [9_100, 4_000, 4_000]);
}

#[test]
fn a_neighbour_that_does_not_answer_is_passed_over() {
    let mut house = house();
    let (silent, effects) = house.dialled_at(&Player::new(1), v4(1));
    assert_eq!(verifies(&effects, silent).len(), 2);
    house.wait(20 * SECOND);
    let (helps, effects) = house.dialled_at(&Player::new(2), v4(2));
    answering(&mut house, &[helps], 30 * SECOND, effects, |_| Verdict::Reached);
    assert_eq!(reach(&house).nat, Nat::Open);
}

#[test]
fn an_answer_counts_once_from_whom_it_was_asked_and_under_its_number_alone() {
    let mut house = house();
    let (asked, effects) = house.dialled_at(&Player::new(1), v4(1));
    let (other, _) = house.dialled_at(&Player::new(2), v4(2));
    let verify = verifies(&effects, asked).into_iter().find(|it| matches!(it.place, Place::Links { .. })).unwrap();
    let verified = |number| Frame::Verified(Verified { number, verdict: Verdict::Reached });
    house.send(other, &verified(verify.number));
    house.send(asked, &verified(verify.number + 1_000));
    assert_eq!(reach(&house).nat, Nat::Unknown);
    house.send(asked, &verified(verify.number));
    assert_eq!(reach(&house).nat, Nat::Open);
}

// ---- Moving -------------------------------------------------------------------------------------------------------

#[test]
fn who_is_seen_elsewhere_asks_its_routers_and_has_everything_checked_anew() {
    let mut house = house();
    let (link, effects) = house.dialled_at(&Player::new(1), v4(1));
    answering(&mut house, &[link], SECOND, effects, |_| Verdict::Reached);
    assert_eq!(reach(&house).addresses, [at(OUTSIDE)]);
    let effects = house.send(link, &Frame::Observed(at("45.8.8.8:5000")));
    assert!(effects.outputs.contains(&Output::MapAgain));
    assert!(effects.notes.contains(&Note::AddressChanged { from: at(OUTSIDE), to: at("45.8.8.8:5000") }));
    let ports: Vec<Place> = verifies(&effects, link).into_iter().map(|verify| verify.place).collect();
    assert!(ports.contains(&Place::Links { port: 5_000 }), "{ports:?}");
    let view = reach(&house);
    assert_eq!((view.addresses, view.candidates), (vec![], vec![at("45.8.8.8:5000")]));
    assert_eq!(view.nat, Nat::Unknown);
}

#[test]
fn a_neighbour_that_says_another_address_each_time_makes_few_records_and_few_mappings() {
    let mut house = house();
    let (link, _) = house.dialled_at(&Player::new(1), v4(1));
    house.send(link, &Frame::Graft(house.id, 0, 0));
    let (mut records, mut mappings) = (0, 0);
    for round in 0_u16..600 {
        let mut effects = Effects::default();
        for word in 0..20 {
            effects.add(
                house.send(link, &Frame::Observed(SocketAddr::new(IpAddr::V4(v4(99)), 2_000 + round * 20 + word))),
            );
        }
        effects.add(house.wait(SECOND));
        records += effects.records(link).len();
        mappings += effects.outputs.iter().filter(|output| **output == Output::MapAgain).count();
        let tables = house.relay.tables();
        assert!(tables.checks <= 2, "only where it sees us last");
    }
    assert!((1..=14).contains(&records), "four, and then one a minute: {records}");
    assert!((1..=22).contains(&mappings), "two, and then two a minute: {mappings}");
}

// ---- As the one who is asked ----------------------------------------------------------------------------------------

/// Links with so many players that came from addresses of their own.
fn guests(house: &mut House, count: u16) -> Vec<(LinkKey, HostId)> {
    (1..=count)
        .map(|number| {
            let player = Player::new(number);
            (house.link_from(&player, v4(number.into())).0, player.id)
        })
        .collect()
}

#[test]
fn a_neighbour_is_sent_to_where_the_asker_is_seen_and_its_word_is_passed_on_under_the_askers_number() {
    let mut house = House::new();
    let guests = guests(&mut house, 2);
    let (asker, helper) = (guests[0], guests[1]);
    let verify = Verify { number: 77, place: Place::Links { port: 5_555 } };
    let effects = house.send(asker.0, &Frame::Verify(verify));
    let asked = dial_backs(&effects, helper.0);
    assert_eq!(asked.len(), 1);
    assert_eq!((asked[0].host, asked[0].address), (asker.1, IpAddr::V4(v4(1))));
    assert_eq!(asked[0].place, Place::Links { port: 5_555 });
    assert!(dial_backs(&effects, asker.0).is_empty(), "never the asker itself");
    let verified = Frame::Verified(Verified { number: asked[0].number, verdict: Verdict::Reached });
    let effects = house.send(asker.0, &verified);
    assert_eq!(verdicts(&effects, asker.0), [], "nobody answers for another");
    let effects = house.send(helper.0, &verified);
    assert_eq!(verdicts(&effects, asker.0), [(77, Verdict::Reached)]);
    let effects = house.send(helper.0, &verified);
    assert_eq!(verdicts(&effects, asker.0), [], "once");
}

#[test]
fn three_neighbours_are_tried_until_one_can_and_none_at_the_askers_own_address() {
    let mut house = House::new();
    let (asker, _) = house.link_from(&Player::new(1), v4(1));
    house.link_from(&Player::new(2), v4(1));
    let verify = Frame::Verify(Verify { number: 1, place: Place::Links { port: 5_000 } });
    let effects = house.send(asker, &verify);
    assert_eq!(verdicts(&effects, asker), [(1, Verdict::Nobody)], "there is only one at its own address");
    let mut house = House::new();
    let guests = guests(&mut house, 6);
    house.link_from(&Player::new(50), v4(1));
    let verify = Frame::Verify(Verify { number: 1, place: Place::Links { port: 5_000 } });
    let mut effects = house.send(guests[0].0, &verify);
    let mut tried = Vec::new();
    while let Some((link, dial_back)) =
        guests.iter().find_map(|(link, _)| Some((*link, dial_backs(&effects, *link).pop()?)))
    {
        assert_ne!(link, guests[0].0);
        tried.push(link);
        let verified = Verified { number: dial_back.number, verdict: Verdict::Nobody };
        effects = house.send(link, &Frame::Verified(verified));
    }
    assert_eq!(verdicts(&effects, guests[0].0), [(1, Verdict::Nobody)]);
    tried.dedup();
    assert_eq!(tried.len(), 3);
}

#[test]
fn whoever_is_asked_and_says_nothing_or_goes_is_nobody() {
    let mut house = House::new();
    let guests = guests(&mut house, 2);
    let verify = |number| Frame::Verify(Verify { number, place: Place::Stun { port: 5_000 } });
    house.send(guests[0].0, &verify(1));
    let effects = house.wait(REFERRAL_TIMEOUT);
    assert_eq!(verdicts(&effects, guests[0].0), [(1, Verdict::Nobody)]);
    house.send(guests[0].0, &verify(2));
    let effects = house.handle(Input::LinkClosed { link: guests[1].0, reason: String::new() });
    assert_eq!(verdicts(&effects, guests[0].0), [(2, Verdict::Nobody)]);
    assert_eq!(house.relay.tables().referrals, 0);
}

#[test]
fn a_host_may_ask_eight_times_and_then_once_in_five_seconds() {
    let mut house = House::new();
    let guests = guests(&mut house, 3);
    let answered = |house: &mut House, number| {
        let effects = house.send(guests[0].0, &Frame::Verify(Verify { number, place: Place::Links { port: 5_000 } }));
        verdicts(&effects, guests[0].0)
    };
    for number in 0..8 {
        assert_eq!(answered(&mut house, number), []);
    }
    assert_eq!(answered(&mut house, 8), [(8, Verdict::TooOften)]);
    house.wait(5 * SECOND);
    assert_eq!(answered(&mut house, 9), []);
    assert_eq!(answered(&mut house, 10), [(10, Verdict::TooOften)]);
}

#[test]
fn checks_that_neighbours_make_on_our_word_are_bounded() {
    let mut house = House::new();
    let guests = guests(&mut house, 45);
    let mut refused = 0;
    for (link, _) in &guests {
        for number in 0..8 {
            let effects = house.send(*link, &Frame::Verify(Verify { number, place: Place::Links { port: 5_000 } }));
            refused += verdicts(&effects, *link).iter().filter(|(_, verdict)| *verdict == Verdict::TooOften).count();
        }
    }
    assert_eq!((house.relay.tables().referrals, refused), (REFERRALS_MAX, 45 * 8 - REFERRALS_MAX));
    house.wait(REFERRAL_TIMEOUT);
    assert_eq!(house.relay.tables().referrals, 0);
    house.wait(120 * SECOND);
    assert_eq!(house.relay.tables().askers, 0, "and who has asked is forgotten");
}

#[test]
fn hosts_whose_questions_are_counted_are_bounded() {
    let mut house = House::new();
    let mut refused = 0;
    for number in 0..u16::try_from(ASKERS_MAX).unwrap() + 20 {
        let player = Player::new(1_000 + number);
        let (link, _) = house.link_from(&player, v4(number.into()));
        for number in 0..8 {
            let effects = house.send(link, &Frame::Verify(Verify { number, place: Place::Links { port: 5_000 } }));
            refused += verdicts(&effects, link).iter().filter(|(_, verdict)| *verdict == Verdict::TooOften).count();
        }
        house.handle(Input::LinkClosed { link, reason: String::new() });
    }
    assert_eq!((house.relay.tables().askers, refused), (ASKERS_MAX, 20 * 8));
}

#[test]
fn another_port_and_a_gateway_are_tried_by_whoever_is_asked_himself() {
    let mut house = House::new();
    let guests = guests(&mut house, 1);
    let (link, host) = guests[0];
    let verify = |number, place| Frame::Verify(Verify { number, place });
    let effects = house.send(link, &verify(1, Place::OtherPort { port: 5_000 }));
    let [(check, whose, target)] = &effects.checks()[..] else { panic!("{effects:?}") };
    assert_eq!((*whose, target), (host, &CheckTarget::OtherPort(SocketAddr::new(IpAddr::V4(v4(1)), 5_000))));
    let effects = house.handle(Input::Checked { check: *check, outcome: Err("nothing".into()) });
    assert_eq!(verdicts(&effects, link), [(1, Verdict::NotReached)]);
    let effects = house.send(link, &verify(2, Place::Gateway { url: "wss://relay.example/v1".into() }));
    let (check, whose, target) = effects.checks().remove(0);
    assert_eq!((whose, target), (host, CheckTarget::Gateway("wss://relay.example/v1".into())));
    let effects = house.handle(Input::Checked { check, outcome: Ok(()) });
    assert_eq!(verdicts(&effects, link), [(2, Verdict::Reached)]);
    for url in ["ws://127.0.0.1/v1", "ws://router/v1", "ws://10.0.0.1/v1"] {
        let effects = house.send(link, &verify(3, Place::Gateway { url: url.into() }));
        assert_eq!((verdicts(&effects, link), effects.checks().len()), (vec![(3, Verdict::Nobody)], 0), "{url}");
    }
    let effects = house.send(link, &verify(4, Place::OtherPort { port: 22 }));
    assert_eq!((verdicts(&effects, link), effects.checks().len()), (vec![(4, Verdict::Nobody)], 0));
    // Whoever is in our own network cannot be seen from outside by us.
    let (inside, _) = house.link_from(&Player::new(9), Ipv4Addr::new(192, 168, 1, 9));
    for place in [
        Place::Links { port: 5_000 },
        Place::OtherPort { port: 5_000 },
        Place::Gateway { url: "wss://a.example/v1".into() },
    ] {
        let effects = house.send(inside, &verify(5, place));
        assert_eq!((verdicts(&effects, inside), effects.checks().len()), (vec![(5, Verdict::Nobody)], 0));
    }
}

// ---- As the one who tries -----------------------------------------------------------------------------------------

fn dial_back(number: u32, host: HostId, address: IpAddr) -> Frame {
    Frame::DialBack(DialBack { number, host, address, place: Place::Links { port: 5_000 } })
}

#[test]
fn a_host_that_never_sent_to_us_is_tried_and_what_came_of_it_is_told() {
    for (outcome, verdict) in [(Ok(()), Verdict::Reached), (Err(String::new()), Verdict::NotReached)] {
        let (mut house, stranger) = (House::new(), Player::new(9));
        let (link, _) = guests(&mut house, 1)[0];
        let effects = house.send(link, &dial_back(5, stranger.id, v4(9).into()));
        let (check, host, target) = effects.checks().remove(0);
        assert_eq!((host, target), (stranger.id, CheckTarget::Links(SocketAddr::new(v4(9).into(), 5_000))));
        let effects = house.handle(Input::Checked { check, outcome });
        assert_eq!(verdicts(&effects, link), [(5, verdict)]);
    }
}

#[test]
fn nobody_says_who_had_to_do_with_the_host_or_its_address_lately_or_is_sent_inside() {
    let mut house = House::new();
    let links = guests(&mut house, 3);
    let (link, _) = links[0];
    let answer = |house: &mut House, host, address: IpAddr| {
        let effects = house.send(link, &dial_back(1, host, address));
        (verdicts(&effects, link), effects.checks().len())
    };
    let nobody = (vec![(1, Verdict::Nobody)], 0);
    let stranger = Player::new(9).id;
    assert_eq!(answer(&mut house, links[1].1, v4(9).into()), nobody, "linked with the host");
    assert_eq!(answer(&mut house, stranger, v4(2).into()), nobody, "linked with the address");
    let own = house.id;
    assert_eq!(answer(&mut house, own, v4(9).into()), nobody, "ourselves");
    for inside in ["10.0.0.1", "127.0.0.1", "192.168.1.1", "100.64.0.1", "::1", "224.0.0.1", "::ffff:10.0.0.1"] {
        assert_eq!(answer(&mut house, stranger, inside.parse().unwrap()), nobody, "{inside}");
    }
    house.handle(Input::LinkClosed { link: links[2].0, reason: String::new() });
    house.wait(CONTACT_KEPT - SECOND);
    assert_eq!(answer(&mut house, stranger, v4(3).into()), nobody, "ten minutes after the link's end");
    house.wait(SECOND * 2);
    assert_eq!(answer(&mut house, stranger, v4(3).into()), (vec![], 1));
    let other_port =
        DialBack { number: 2, host: stranger, address: v4(8).into(), place: Place::OtherPort { port: 5_000 } };
    let effects = house.send(link, &Frame::DialBack(other_port));
    assert_eq!((verdicts(&effects, link), effects.checks().len()), (vec![(2, Verdict::Nobody)], 0));
}

#[test]
fn a_host_that_comes_to_us_while_it_is_tried_was_not_reached_as_by_a_stranger() {
    let (mut house, other) = (House::new(), Player::new(9));
    let (link, _) = guests(&mut house, 1)[0];
    let effects = house.send(link, &dial_back(5, other.id, v4(9).into()));
    let (check, ..) = effects.checks().remove(0);
    house.wait(SECOND);
    let came = house.connect_from(&other, v4(9));
    house.handle(Input::LinkClosed { link: came, reason: String::new() });
    let effects = house.handle(Input::Checked { check, outcome: Ok(()) });
    assert_eq!(verdicts(&effects, link), [(5, Verdict::Nobody)]);
}

#[test]
fn a_victim_is_tried_twice_and_then_once_a_minute_whoever_asks_and_under_whatever_name() {
    let mut house = House::new();
    let links = guests(&mut house, 20);
    let victim: IpAddr = Ipv4Addr::new(47, 1, 1, 1).into();
    let mut tried = 0;
    for second in 0_u32..3_600 {
        for (number, (link, _)) in links.iter().enumerate() {
            // Another host, and another port, each time.
            let host = HostId::new(*blake3_of(second, number).as_bytes());
            let port = 2_000 + u16::try_from(number).unwrap();
            let place = if number.is_multiple_of(2) { Place::Links { port } } else { Place::Stun { port } };
            let asked = Frame::DialBack(DialBack { number: 1, host, address: victim, place });
            let effects = house.send(*link, &asked);
            for (check, ..) in effects.checks() {
                tried += 1;
                house.handle(Input::Checked { check, outcome: Err("nobody".into()) });
            }
        }
        house.wait(SECOND);
    }
    // What we tried ourselves is no stranger's address for ten minutes.
    assert!((2..=61).contains(&tried), "{tried} in an hour");
}

fn blake3_of(second: u32, number: usize) -> blake3::Hash {
    blake3::hash(&[second.to_be_bytes(), u32::try_from(number).unwrap().to_be_bytes()].concat())
}

#[test]
fn a_gateway_that_hosts_name_as_theirs_is_tried_twice_and_then_once_a_minute() {
    let mut house = House::new();
    let links = guests(&mut house, 20);
    let mut tried = 0;
    for second in 0_u32..600 {
        for (number, (link, _)) in links.iter().enumerate() {
            let url = format!("wss://victim.example:{}/{second}", 2_000 + number);
            let effects = house.send(*link, &Frame::Verify(Verify { number: second, place: Place::Gateway { url } }));
            for (check, ..) in effects.checks() {
                tried += 1;
                house.handle(Input::Checked { check, outcome: Err("nobody".into()) });
            }
        }
        house.wait(SECOND);
    }
    assert!((2..=12).contains(&tried), "{tried} in ten minutes");
}

#[test]
fn checks_that_we_make_are_eight_at_once_and_two_a_second_and_end_by_themselves() {
    let mut house = House::new();
    let links = guests(&mut house, 3);
    let ask = |house: &mut House, number: u32| {
        let (link, _) = links[number as usize % links.len()];
        let host = HostId::new(*blake3_of(number, 0).as_bytes());
        house.send(link, &dial_back(number, host, v4(1_000 + number).into()))
    };
    let answers = |effects: &Effects| links.iter().map(|(link, _)| verdicts(effects, *link).len()).sum::<usize>();
    let mut begun = Vec::new();
    for number in 0..12 {
        let effects = ask(&mut house, number);
        begun.extend(effects.checks());
        assert_eq!(effects.checks().len() + answers(&effects), 1);
    }
    assert_eq!((begun.len(), house.relay.tables().trials), (8, TRIALS_MAX));
    let effects = house.wait(8 * SECOND);
    assert_eq!(answers(&effects), 8, "the driver has said nothing");
    assert_eq!(house.relay.tables().trials, 0);
    // At once answered, so that only the pace counts.
    let mut made = 0;
    for number in 100..200 {
        for (check, ..) in ask(&mut house, number).checks() {
            made += 1;
            house.handle(Input::Checked { check, outcome: Ok(()) });
        }
        house.wait(SECOND / 10);
    }
    assert!((20..=28).contains(&made), "eight and two a second in ten seconds: {made}");
}

#[test]
fn who_asks_for_a_check_that_the_driver_leaves_out_is_not_told_that_it_was_not_reached() {
    let mut house = House::new();
    let (link, _) = guests(&mut house, 1)[0];
    let host = HostId::new(*blake3_of(1, 4).as_bytes());
    let effects = house.send(link, &dial_back(7, host, v4(1_000).into()));
    let check = effects.checks()[0].0;
    let effects = house.handle(Input::CheckLeftOut { check });
    assert_eq!(verdicts(&effects, link), [(7, Verdict::TooOften)]);
    assert_eq!(house.relay.tables().trials, 0);
}

#[test]
fn a_neighbour_that_names_others_without_end_leaves_half_of_our_checks_to_the_rest() {
    let mut house = House::new();
    let [(liar, _), (other, _)] = guests(&mut house, 2)[..] else { unreachable!("two") };
    let (mut number, mut made, mut honest) = (0, 0, 0);
    let mut ask = |house: &mut House, link: LinkKey| {
        number += 1;
        let host = HostId::new(*blake3_of(number, 3).as_bytes());
        let effects = house.send(link, &dial_back(number, host, v4(1_000 + number).into()));
        for (check, ..) in effects.checks() {
            house.handle(Input::Checked { check, outcome: Ok(()) });
        }
        effects.checks().len()
    };
    for _ in 0..60 {
        made += (0..20).map(|_| ask(&mut house, liar)).sum::<usize>();
        honest += ask(&mut house, other);
        house.wait(SECOND);
    }
    assert!((60..=64).contains(&made), "four, and then one a second: {made}");
    assert_eq!(honest, 60);
}

#[test]
fn addresses_that_were_tried_and_hosts_that_were_met_are_bounded() {
    let mut house = House::new();
    let links = guests(&mut house, 2);
    let link_of = |number: u32| links[number as usize % links.len()].0;
    for number in 0..3_000 {
        let (host, link) = (HostId::new(*blake3_of(number, 2).as_bytes()), link_of(number));
        house.send(link, &dial_back(number, host, v4(20_000 + number).into()));
        assert!(house.relay.tables().trial_addresses <= TRIAL_ADDRESSES_MAX);
    }
    house.wait(600 * SECOND);
    assert_eq!(house.relay.tables().trial_addresses, 0, "forgotten when they matter no more");
    let mut most = house.relay.tables();
    for number in 0..6_000 {
        let (host, link) = (HostId::new(*blake3_of(number, 1).as_bytes()), link_of(number));
        for (check, ..) in house.send(link, &dial_back(number, host, v4(1_000 + number).into())).checks() {
            house.handle(Input::Checked { check, outcome: Ok(()) });
        }
        house.wait(SECOND / 2);
        let tables = house.relay.tables();
        most.contacts = most.contacts.max(tables.contacts);
        most.trial_addresses = most.trial_addresses.max(tables.trial_addresses);
    }
    assert!(most.contacts > 1_000 && most.contacts <= CONTACTS_MAX, "{}", most.contacts);
    assert!(most.trial_addresses > 100 && most.trial_addresses <= TRIAL_ADDRESSES_MAX, "{}", most.trial_addresses);
}

// ---- STUN for edges -----------------------------------------------------------------------------------------------

/// What a new edge is told, by a house that has dialled hosts which say these places of theirs; the farthest first.
fn stun_told(house: &mut House, said: &[&str]) -> Vec<SocketAddr> {
    for (number, place) in (1..).zip(said) {
        let mut player = Player::new(number);
        player.stun = vec![at(place)];
        let rtt = Duration::from_millis(100 - 10 * u64::from(number));
        let link = house.dialled(&player, None, rtt).unwrap();
        let announcement = player.announce(&[Op::Record(player.record())]);
        house.send(link, &Frame::Announcement(announcement));
    }
    let (edge, effects) = house.edge_told();
    let told = effects.told(edge).into_iter().find_map(|event| match event {
        Event::Welcome(welcome) => Some(welcome.stun),
        _ => None,
    });
    told.unwrap()
}

#[test]
fn an_edge_is_told_stun_servers_the_nearest_first_and_no_more_than_four() {
    // Players are at 45.1.0.n. One names an address inside somebody's network.
    let said = ["45.1.0.1:3478", "45.1.0.2:3478", "45.1.0.3:3478", "45.1.0.4:3478", "45.1.0.5:3478", "10.0.0.1:3478"];
    let told = stun_told(&mut House::new(), &said);
    assert_eq!(told.len(), STUN_TOLD_MAX);
    assert_eq!(told, [said[4], said[3], said[2], said[1]].map(at));
}

#[test]
fn an_edge_is_sent_to_a_server_that_is_not_where_its_host_is_only_if_there_is_no_other_of_its_family() {
    let victim = "9.9.9.9:3478";
    assert_eq!(stun_told(&mut House::new(), &["45.1.0.1:3478", victim, victim]), [at("45.1.0.1:3478")]);
    let two = ["45.1.0.1:3478", "[2606:4700::1]:3478"];
    assert_eq!(stun_told(&mut House::new(), &two), two.map(at), "of IPv6 nobody is known otherwise");
    assert_eq!(stun_told(&mut House::new(), &[victim]), [at(victim)], "and this may be honest");
}

#[test]
fn a_host_whose_addresses_are_private_asks_nobody_unless_its_network_is() {
    let mut house = seen("192.168.1.5:4000", |_| {});
    let (link, effects) = house.dialled_at(&Player::new(1), v4(1));
    answering(&mut house, &[link], SECOND, effects, never);
    assert_eq!(reach(&house).candidates, []);
    let mut house = House::with(Vec::new(), |settings| settings.private_addresses = true);
    house.seen_at = at("192.168.1.5:4000");
    let (link, effects) = house.dialled_at(&Player::new(1), Ipv4Addr::new(192, 168, 1, 7));
    answering(&mut house, &[link], SECOND, effects, |_| Verdict::Reached);
    assert_eq!(reach(&house).addresses, [at("192.168.1.5:4000")]);
}
