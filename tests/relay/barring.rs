//! Hosts that are kept out: by an operator's lists, by their own revocation, and for lying.

use aldis::relay::io::{Bar, Fault, HostLists, Input, Note, Output, StopReason, Stored};
use aldis::relay::limits::{CLAIM_CHECKS, REVOCATIONS_KEPT_MAX, STORE_INTERVAL, TURNED_AWAY_PAUSE};
use aldis_wire::announcement::Op;
use aldis_wire::host::{Bounce, Channel, Frame, GoodbyeReason, HaveEntry, Routed, Signal};
use aldis_wire::proof::Signature;
use aldis_wire::refusal::Refusal;
use aldis_wire::revocation::Revocation;
use ed25519_dalek::SigningKey;

use crate::neighbour::{House, Player};
use crate::traffic::crowd;
use crate::world::{Place, World, ms, secs};

fn revocation_of(world: &World, place: Place) -> Revocation {
    Revocation::make(&world.hosts[place].key)
}

fn publish(world: &mut World, at: Place, revocation: Revocation) {
    world.input(at, Input::RevocationsFound { revocations: vec![revocation], heard: true });
}

fn list(world: &mut World, at: Place, allow: Option<&[Place]>, deny: &[Place]) {
    let ids = |places: &[Place]| places.iter().map(|place| world.hosts[*place].id).collect();
    let lists = HostLists { allow: allow.map(ids), deny: ids(deny) };
    world.input(at, Input::HostsListed { lists });
}

fn stopped(world: &World, place: Place) -> Option<StopReason> {
    world.hosts[place].stopped.map(|(_, reason)| reason)
}

/// Whether `at` shows anything of `other`: a live roster, or a link.
fn shows(world: &World, at: Place, other: Place) -> bool {
    world.seen(at, other).is_some_and(|seen| seen.live) || world.admitted(at, other) > 0
}

/// Four hosts with three edges each, of which 3 is to be revoked; 0 is linked with 1 alone.
fn with_a_thief() -> World {
    let mut world = World::with_wires(4, &[(0, 1), (1, 2), (1, 3), (2, 3)]);
    crowd(&mut world);
    assert!((0..4).all(|place| world.total(place, "crowd") == 12));
    world
}

#[test]
fn a_revoked_host_is_gone_everywhere_although_its_revocation_is_published_far_from_it() {
    let mut world = with_a_thief();
    let revocation = revocation_of(&world, 3);
    publish(&mut world, 0, revocation);
    let took = world.until(secs(10), "it is gone", |world| (0..3).all(|place| !shows(world, place, 3)));
    assert!(took < secs(1), "{took:?}");
    assert!((0..3).all(|place| world.total(place, "crowd") == 9));
    world.until(secs(1), "it hears of it", |world| stopped(world, 3) == Some(StopReason::Revoked));
    assert!((0..3).all(|place| stopped(&world, place).is_none()));
    for place in 0..3 {
        let barred = |note: &Note| *note == Note::HostBarred { host: revocation.host(), bar: Bar::Revoked };
        assert_eq!(world.hosts[place].count(barred), 1, "noted once at {place}");
    }
    // The machine does not stop by itself: a thief would not stop either.
    world.run(secs(120));
    assert!((0..3).all(|place| !shows(&world, place, 3)));
    let refused = |note: &Note| matches!(note, Note::LinkRefused { reason: GoodbyeReason::Revoked, by_us: false, host } if *host != revocation.host());
    assert!(world.hosts[3].count(refused) >= 2, "it is told why, as often as it comes");
}

#[test]
fn a_revoked_host_that_starts_without_its_memory_is_told_before_it_is_admitted_and_stops() {
    let mut world = with_a_thief();
    let revocation = revocation_of(&world, 3);
    world.kill(3);
    publish(&mut world, 0, revocation);
    world.run(secs(1));
    world.start(3);
    world.until(secs(10), "it hears of it", |world| stopped(world, 3) == Some(StopReason::Revoked));
    assert!((0..3).all(|place| !shows(&world, place, 3)));
    let admitted = world.hosts[3].notes.iter().filter(|note| matches!(note, Note::LinkAdmitted { .. })).count();
    world.run(secs(60));
    let later = world.hosts[3].notes.iter().filter(|note| matches!(note, Note::LinkAdmitted { .. })).count();
    assert_eq!(admitted, later);
}

#[test]
fn a_host_that_joins_later_learns_of_revocations_when_it_links_and_keeps_them() {
    let mut world = with_a_thief();
    let revocation = revocation_of(&world, 3);
    world.kill(3);
    publish(&mut world, 0, revocation);
    world.run(secs(1));
    // Linked with 0 alone, and never with anybody who has seen the revoked host.
    (1..4).for_each(|place| world.cut(4, place));
    let newcomer = world.add_host("test");
    world.until(secs(5), "it is linked", |world| world.admitted(newcomer, 0) == 1);
    world.run(STORE_INTERVAL);
    world.kill(newcomer);
    world.part(&[0, 1, 2], &[3, newcomer]);
    world.mend(newcomer, 3);
    world.start(newcomer);
    world.start(3);
    world.run(secs(60));
    assert!(!shows(&world, newcomer, 3) && !shows(&world, 3, newcomer), "also after a restart, and alone");
    assert_eq!(stopped(&world, 3), Some(StopReason::Revoked));
}

#[test]
fn who_was_away_when_a_revocation_was_published_is_told_when_it_comes_back() {
    let mut world = with_a_thief();
    let revocation = revocation_of(&world, 3);
    // 2 and 3 are by themselves when it is published, and come back together.
    world.part(&[0, 1], &[2, 3]);
    world.run(secs(12));
    publish(&mut world, 0, revocation);
    world.run(secs(1));
    assert!(shows(&world, 2, 3), "nobody has told it");
    world.mend(1, 2);
    world.until(secs(10), "it is told", |world| !shows(world, 2, 3));
    assert!((0..3).all(|place| !shows(&world, place, 3)));
    world.until(secs(5), "the others are back", |world| world.total(2, "crowd") == 9);
}

#[test]
fn who_brings_a_revoked_host_is_told_of_the_revocation_and_asked_for_no_more() {
    let (mut house, carrier, mut thief) = (House::new(), Player::new(1), Player::new(2));
    let link = house.link(&carrier);
    let revocation = Revocation::make(&thief.key);
    house.handle(Input::RevocationsFound { revocations: vec![revocation], heard: true });
    let announcement = thief.announce(&[Op::Record(thief.record())]);
    let effects = house.send(link, &Frame::Announcement(announcement));
    assert_eq!(effects.frames(link), [Frame::Revoked(vec![revocation]), Frame::Prune(thief.id)]);
    let told = HaveEntry::Named { number: 7, origin: thief.id, epoch: thief.epoch, seq: 1 };
    let effects = house.send(link, &Frame::Have(vec![told]));
    assert_eq!(effects.frames(link), [Frame::Revoked(vec![revocation])]);
    assert_eq!(house.wait(secs(60)).faults(), []);
    assert!(house.relay.view(house.now).hosts.iter().all(|host| host.host != thief.id));
}

#[test]
fn a_denied_host_has_no_link_and_shows_nothing_here_and_comes_back_when_it_is_taken_off_the_list() {
    let mut world = World::with_hosts(3);
    let edges = crowd(&mut world);
    let (ours, theirs) = (edges[0], edges[6]);
    list(&mut world, 0, None, &[2]);
    assert!(!shows(&world, 0, 2), "at once");
    assert_eq!(world.total(0, "crowd"), 6);
    world.run(secs(30));
    assert!(!shows(&world, 0, 2));
    assert_eq!((world.admitted(2, 0), world.admitted(1, 2), world.admitted(0, 1)), (0, 1, 1));
    // The list is one host's own: others show the host, and it sees through them what we announce.
    assert_eq!((world.total(1, "crowd"), world.total(2, "crowd")), (9, 9));
    let refused = |by_us: bool| move |note: &Note| matches!(note, Note::LinkRefused { reason: GoodbyeReason::NotAllowed, by_us: by, .. } if *by == by_us);
    assert!(world.hosts[0].count(refused(true)) > 0 && world.hosts[2].count(refused(false)) > 0, "both ends know");
    assert!(world.hosts[2].count(refused(false)) <= 4, "it does not knock again and again");
    assert_eq!(world.hosts[2].count(|note| matches!(note, Note::Misbehaved { .. })), 0, "nobody is blamed");

    // Nothing passes between the two, whichever way it comes.
    let (to_us, to_them) = (world.peer(ours), world.peer(theirs));
    world.heard(ours);
    world.signal(theirs, to_us, "in", "x");
    world.signal(ours, to_them, "out", "x");
    world.run(secs(6));
    let said = world.says(theirs);
    assert!(said.contains(&"in Refused(HomeUnreachable)".to_owned()), "{said:?}");
    let said = world.says(ours);
    assert!(said.contains(&"out Refused(NoSuchPeer)".to_owned()), "{said:?}");
    assert!(world.edges[ours].got().iter().all(|(from, _)| *from != to_them));

    list(&mut world, 0, None, &[]);
    world.until(secs(5), "it is shown again", |world| world.total(0, "crowd") == 9);
    world.until(TURNED_AWAY_PAUSE, "it is linked again", |world| world.admitted(0, 2) == 1);
    world.settle(&[0, 1, 2], secs(5));
}

#[test]
fn what_a_host_does_not_want_it_does_not_pass_on_either() {
    let mut world = World::with_wires(3, &[(0, 1), (1, 2)]);
    crowd(&mut world);
    assert_eq!(world.total(2, "crowd"), 9);
    list(&mut world, 1, None, &[0]);
    world.until(secs(10), "nobody brings it any more", |world| !shows(world, 2, 0));
    assert_eq!((world.total(1, "crowd"), world.total(2, "crowd")), (6, 6));
}

#[test]
fn who_is_not_denied_any_more_is_asked_for_without_waiting_for_its_next_heartbeat() {
    let mut world = World::with_wires(3, &[(0, 1), (1, 2)]);
    crowd(&mut world);
    list(&mut world, 2, None, &[0]);
    assert_eq!(world.total(2, "crowd"), 6);
    // When the summaries after a heartbeat have gone out, too, the next one is far.
    world.run(secs(20));
    let age = world.seen(1, 0).unwrap().age;
    world.run(secs(3).saturating_sub(age) + ms(1_500));
    list(&mut world, 2, None, &[]);
    world.until(secs(1), "it is shown again", |world| world.total(2, "crowd") == 9);
}

#[test]
fn an_allow_list_keeps_everybody_else_out_and_never_the_host_itself() {
    let mut world = World::with_hosts(4);
    crowd(&mut world);
    list(&mut world, 0, Some(&[1, 2]), &[2]);
    world.run(secs(30));
    assert_eq!((world.admitted(0, 1), world.admitted(0, 2), world.admitted(0, 3)), (1, 0, 0));
    assert_eq!(world.total(0, "crowd"), 6);
    let shown = world.hosts[0].running().unwrap().view(world.now).refused;
    assert_eq!((shown.allowed, shown.denied), (Some(2), 1));
    let stranger = world.add_host("test");
    world.run(secs(10));
    assert!(!shows(&world, 0, stranger) && shows(&world, 1, stranger));
}

#[test]
fn lists_of_the_start_hold_from_the_first_link_on() {
    let mut world = World::with_hosts(2);
    let denied = world.hosts[0].id;
    let guarded = world.add_host_with("test", |settings| settings.lists.deny = [denied].into());
    world.run(secs(10));
    assert!(!shows(&world, guarded, 0) && shows(&world, guarded, 1));
    assert_eq!(
        world.hosts[guarded].count(|note| matches!(note, Note::HostAppeared { host, .. } if *host == denied)),
        0
    );
}

#[test]
fn a_forged_revocation_is_a_fault_and_has_no_effect() {
    let (mut house, mut player, victim) = (House::new(), Player::new(1), Player::new(2));
    let link = house.link(&player);
    house.link(&victim);
    let forged = Revocation::of(victim.id, Signature::from_bytes(&[9; 64]));
    let effects = house.send(link, &Frame::Revoked(vec![forged]));
    assert_eq!((effects.closed(link), effects.faults()), (Some(GoodbyeReason::Misbehaved), vec![Fault::BadSignature]));
    assert_eq!(house.relay.tables().revocations, 0);
    // Before it is admitted, a stranger may tell a host of its own revocation alone.
    player.restart();
    let link = house.connect(&player);
    let effects = house.send(link, &Frame::Revoked(vec![Revocation::make(&victim.key)]));
    assert_eq!(effects.faults(), [Fault::OutOfOrder]);
    assert_eq!(house.relay.tables().revocations, 0);
}

#[test]
fn revocations_of_hosts_that_nobody_has_seen_are_bounded_and_not_passed_on_without_end() {
    let (mut house, player, other) = (House::new(), Player::new(1), Player::new(2));
    let (link, bystander) = (house.link(&player), house.link(&other));
    let invented = |number: u64| {
        let mut secret = [3; 32];
        secret[..8].copy_from_slice(&number.to_be_bytes());
        Revocation::make(&SigningKey::from_bytes(&secret))
    };
    let mut passed_on = 0;
    for number in 0..REVOCATIONS_KEPT_MAX as u64 + 100 {
        let effects = house.send(link, &Frame::Revoked(vec![invented(number)]));
        assert_eq!(effects.notes.iter().filter(|note| matches!(note, Note::HostBarred { .. })).count(), 0);
        let stores = |output: &Output| matches!(output, Output::Store(_));
        assert!(!effects.outputs.iter().any(stores), "strangers do not have us write to the disk");
        passed_on += effects.frames(bystander).iter().filter(|frame| matches!(frame, Frame::Revoked(_))).count();
        house.take(&effects);
    }
    assert_eq!(house.relay.tables().revocations, REVOCATIONS_KEPT_MAX);
    assert_eq!(passed_on, 64);
    let stored =
        house.wait(STORE_INTERVAL).outputs.into_iter().any(
            |output| matches!(output, Output::Store(Stored::Revocations(kept)) if kept.len() == REVOCATIONS_KEPT_MAX),
        );
    assert!(stored, "now and then they are stored together");
    // The revocation of somebody who is here finds its place, and everybody is told.
    let effects = house.send(link, &Frame::Revoked(vec![Revocation::make(&other.key)]));
    assert_eq!(effects.closed(bystander), Some(GoodbyeReason::Revoked));
    assert_eq!(house.relay.tables().revocations, REVOCATIONS_KEPT_MAX);
    assert!(!house.relay.view(house.now).refused.revoked.is_empty());
}

#[test]
fn revocations_are_checked_at_a_bounded_rate_for_each_link() {
    let (mut house, player, other, third) = (House::new(), Player::new(1), Player::new(2), Player::new(3));
    let (link, bystander) = (house.link(&player), house.link(&other));
    house.link(&third);
    for number in 0..u64::from(CLAIM_CHECKS.burst) {
        let mut secret = [3; 32];
        secret[..8].copy_from_slice(&number.to_be_bytes());
        house.send(link, &Frame::Revoked(vec![Revocation::make(&SigningKey::from_bytes(&secret))]));
    }
    let barred = |house: &mut House, link, whose: &Player| {
        let effects = house.send(link, &Frame::Revoked(vec![Revocation::make(&whose.key)]));
        assert_eq!(effects.faults(), []);
        effects.notes.iter().any(|note| matches!(note, Note::HostBarred { .. }))
    };
    assert!(!barred(&mut house, link, &third), "it is told again when the host is seen");
    assert!(barred(&mut house, bystander, &third), "others are heard");
    house.wait(secs(1));
    assert!(barred(&mut house, link, &other));
}

#[test]
fn in_a_network_of_forty_hosts_a_revocation_is_in_force_everywhere_within_a_second_and_told_once_over_each_link() {
    const HOSTS: usize = 40;
    let mut world = World::with_hosts(HOSTS);
    world.run(secs(10));
    let edge = world.edge(7);
    world.join(edge, "room");
    world.run(secs(1));
    assert!((0..HOSTS).filter(|place| *place != 7).all(|place| shows(&world, place, 7)));
    let links: usize =
        (0..HOSTS).flat_map(|a| (0..HOSTS).map(move |b| (a, b))).map(|(a, b)| world.admitted(a, b)).sum();
    let revocation = revocation_of(&world, 7);
    let before: usize = world.received_bytes.iter().sum();
    publish(&mut world, 0, revocation);
    let others = |world: &mut World| (0..HOSTS).filter(|place| *place != 7).all(|place| !shows(world, place, 7));
    let took = world.until(secs(10), "it is gone", others);
    assert!(took < secs(1), "{took:?}");
    assert_eq!(world.total(33, "room"), 0);
    world.run(ms(500));
    let told = world.received_bytes.iter().sum::<usize>() - before;
    assert!(told < links * 2 * 128, "{told} bytes over {links} ends of links");
    assert_eq!(stopped(&world, 7), Some(StopReason::Revoked));
}

#[test]
fn an_origin_that_lied_is_shown_with_the_reason_and_its_epoch_is_refused_long_after_it_fell_silent() {
    let (mut house, carrier, mut liar) = (House::new(), Player::new(1), Player::new(2));
    let link = house.link(&carrier);
    let honest = liar.announce(&[Op::Record(liar.record())]);
    house.send(link, &Frame::Announcement(honest));
    let lie = liar.announce_with(&[Op::Record(liar.record())], [1; 32]);
    house.send(link, &Frame::Announcement(lie));
    let quarantined = |house: &House| house.relay.view(house.now).refused.quarantined;
    let shown = quarantined(&house);
    assert_eq!((shown.len(), shown[0].host, shown[0].fault), (1, liar.id, Fault::WrongDigest));
    for _ in 0..4 {
        house.wait(secs(1_800));
        let again = liar.announce(&[Op::Record(liar.record())]);
        house.send(link, &Frame::Announcement(again));
        let view = house.relay.view(house.now);
        assert!(!view.hosts.iter().any(|host| host.host == liar.id && host.live));
        assert_eq!(view.refused.quarantined.len(), 1, "and the operator still sees why");
    }
    let marks = house.wait(secs(120)).outputs.into_iter().rev().find_map(|output| match output {
        Output::Store(Stored::Marks(marks)) => Some(marks),
        _ => None,
    });
    assert!(marks.unwrap().contains(&(liar.id, liar.epoch, u64::MAX)), "nor is it believed after a restart");
    liar.restart();
    let fresh = liar.announce(&[Op::Record(liar.record())]);
    house.send(link, &Frame::Announcement(fresh));
    assert!(house.relay.view(house.now).hosts.iter().any(|host| host.host == liar.id && host.live));
    assert_eq!(quarantined(&house), []);
}

#[test]
fn frames_of_a_host_that_is_told_goodbye_are_not_taken_any_more() {
    let (mut house, mut player) = (House::new(), Player::new(1));
    let link = house.link(&player);
    let (edge, us) = house.edge("s0");
    house.handle(Input::HostsListed { lists: HostLists { allow: None, deny: [player.id].into() } });
    let peer = player.mint(1);
    let topic = crate::neighbour::named("s0").id;
    let ops = [
        Op::Record(player.record()),
        Op::Present { peer: peer.0, proof: peer.1 },
        Op::Join { topic, peer: peer.0, meta: bytes::Bytes::new() },
    ];
    let announcement = player.announce(&ops);
    let body = Frame::Announcement(announcement).kind_and_body().unwrap();
    house.send_raw(link, Channel::Announce, body.0, body.1.into());
    assert_eq!(house.members(edge, "s0"), []);
    let (from, proof) = player.mint(2);
    let signal = Signal {
        from,
        to: us,
        session: 1,
        n: 1,
        id: "1".into(),
        proof,
        topic: None,
        data: bytes::Bytes::from_static(b"1"),
    };
    let effects = house.send(link, &Frame::Signal(signal));
    assert_eq!(effects.told(edge), []);
}

#[test]
fn sealed_frames_of_a_barred_host_are_not_passed_on_but_bounced() {
    let (mut house, carrier, other, barred) = (House::new(), Player::new(1), Player::new(2), Player::new(3));
    let (link, onward) = (house.link(&carrier), house.link(&other));
    let routed = Routed {
        to_home: other.id,
        from_home: barred.id,
        to_epoch: other.epoch,
        from_epoch: barred.epoch,
        hops: 1,
        lane: 0,
        nonce: [6; 24],
        sealed: bytes::Bytes::from_static(b"sealed"),
    };
    let effects = house.send(link, &Frame::Routed(routed.clone()));
    assert_eq!((effects.frames(onward).len(), effects.frames(link)), (1, vec![]), "as for anybody");
    house.handle(Input::HostsListed { lists: HostLists { allow: None, deny: [barred.id].into() } });
    let nonce = [7; 24];
    let effects = house.send(link, &Frame::Routed(Routed { nonce, ..routed }));
    let bounce = Bounce { from_home: barred.id, nonce, refusal: Refusal::HomeUnreachable };
    assert_eq!((effects.frames(onward), effects.frames(link)), (vec![], vec![Frame::Bounce(bounce)]));
}
