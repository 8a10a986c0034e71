//! Neighbours of a large network, frame by frame: who is believed when it says that a host is gone, which links are kept
//! and looked for, and which of them carries an origin's announcements.

use std::net::SocketAddr;
use std::time::Duration;

use aldis::relay::io::{DialKey, LinkKey, Note, Output};
use aldis::relay::limits::{
    FULL_MESH_SHED, LEFT_BELIEVED, LINKS_CHOSEN, LOST_ANSWER_INTERVAL, LOST_RATE, LOST_TOKENS, LOST_UNREFUTED,
    PROBE_INTERVAL_MIN, TEND_INTERVAL,
};
use aldis_wire::announcement::{Op, Status};
use aldis_wire::host::{Announcement, Frame, GoodbyeReason, HaveEntry};
use aldis_wire::id::HostId;
use aldis_wire::record::short_id;
use bytes::Bytes;

use crate::neighbour::{Effects, House, Player, named};
use crate::world::{ms, secs};

/// A host that is seldom heard, and lists `neighbours`.
fn seldom(number: u16, neighbours: &[&Player]) -> Player {
    let mut player = Player::new(number);
    player.interval_ms = 300_000;
    player.neighbours = neighbours.iter().map(|player| short_id(player.id)).collect();
    player.addresses = vec![format!("45.9.{}.{}:4000", number / 256, number % 256).parse().unwrap()];
    player
}

/// What `player` announces comes over `link`.
fn announce(house: &mut House, link: LinkKey, player: &mut Player, ops: &[Op]) -> Effects {
    let announcement = player.announce(ops);
    house.send(link, &Frame::Announcement(announcement))
}

fn begin(house: &mut House, link: LinkKey, player: &mut Player) {
    let record = player.record();
    announce(house, link, player, &[Op::Record(record)]);
}

fn lost(host: HostId, mark: (u64, u64)) -> Op {
    Op::Lost { host, epoch: mark.0, seq: mark.1 }
}

fn is_live(house: &House, host: HostId) -> bool {
    house.relay.view(house.now).hosts.iter().any(|seen| seen.host == host && seen.live)
}

// ---- Ages -------------------------------------------------------------------------------------------------------

#[test]
fn a_host_that_says_a_head_is_old_is_not_believed_when_another_brings_it_young_and_nothing_makes_it_younger_than_it_came()
 {
    let (liar, honest) = (Player::new(2), Player::new(3));
    for (age_ms, lives) in [(3_600_000, 5_900), (0, 8_900)] {
        let mut player = Player::new(1);
        let mut house = House::new();
        let links = [house.link(&liar), house.link(&honest)];
        begin(&mut house, links[0], &mut player);
        let beat = player.announce(&[]);
        house.send(links[0], &Frame::Announcement(Announcement { age_ms: 3_600_000, ..beat.clone() }));
        house.send(links[1], &Frame::Announcement(Announcement { age_ms, ..beat.clone() }));
        house.wait(ms(lives));
        assert!(is_live(&house, player.id), "{age_ms}");
        // It is brought again and again, for ever young.
        house.send(links[0], &Frame::Announcement(Announcement { age_ms: 0, ..beat }));
        house.wait(ms(9_100 - lives));
        assert!(!is_live(&house, player.id), "{age_ms}");
    }
}

// ---- Hosts that are said to be gone -----------------------------------------------------------------------------

/// A house with links to a neighbour that `victim` lists, and to one that it does not.
fn with_a_victim() -> (House, Player, [(LinkKey, Player); 2]) {
    let (mut listed, mut other) = (seldom(1, &[]), seldom(2, &[]));
    let mut victim = seldom(3, &[&listed]);
    let mut house = House::new();
    let (first, second) = (house.link(&listed), house.link(&other));
    begin(&mut house, first, &mut listed);
    begin(&mut house, second, &mut other);
    begin(&mut house, first, &mut victim);
    assert!(is_live(&house, victim.id));
    (house, victim, [(first, listed), (second, other)])
}

#[test]
fn who_is_not_listed_says_in_vain_that_a_host_is_gone_and_who_is_listed_is_believed_unless_it_is_heard() {
    let (mut house, mut victim, [(first, mut listed), (second, mut other)]) = with_a_victim();
    let mark = (victim.epoch, victim.seq);
    announce(&mut house, second, &mut other, &[lost(victim.id, mark)]);
    house.wait(2 * LOST_UNREFUTED);
    assert!(is_live(&house, victim.id), "any host could say so");

    announce(&mut house, first, &mut listed, &[lost(victim.id, mark)]);
    house.wait(LOST_UNREFUTED - ms(10));
    assert!(is_live(&house, victim.id));
    announce(&mut house, second, &mut victim, &[]);
    house.wait(2 * LOST_UNREFUTED);
    assert!(is_live(&house, victim.id), "it was heard");

    // What was signed before that was heard does not count any more, nor a mark that it never signed.
    announce(&mut house, first, &mut listed, &[lost(victim.id, mark)]);
    house.wait(2 * LOST_UNREFUTED);
    assert!(is_live(&house, victim.id));

    announce(&mut house, first, &mut listed, &[lost(victim.id, (victim.epoch, victim.seq))]);
    let effects = house.wait(LOST_UNREFUTED + ms(10));
    assert!(!is_live(&house, victim.id), "otherwise it is gone");
    assert!(effects.notes.contains(&Note::HostExpired { host: victim.id }));
    announce(&mut house, second, &mut victim, &[]);
    assert!(is_live(&house, victim.id), "and comes back with its next word");
}

#[test]
fn a_neighbour_that_says_of_everybody_that_he_is_gone_is_believed_of_a_few() {
    let mut house = House::new();
    let mut liar = seldom(1, &[]);
    let link = house.link(&liar);
    begin(&mut house, link, &mut liar);
    let may = usize::try_from(LOST_RATE.burst / LOST_TOKENS).unwrap();
    let victims: Vec<HostId> = (0..may + 20)
        .map(|number| {
            let mut victim = seldom(100 + u16::try_from(number).unwrap(), &[&liar]);
            begin(&mut house, link, &mut victim);
            victim.id
        })
        .collect();
    let told: Vec<Op> = victims.iter().map(|victim| lost(*victim, (1_000, 1))).collect();
    announce(&mut house, link, &mut liar, &told);
    house.wait(2 * LOST_UNREFUTED);
    let gone = victims.iter().filter(|victim| !is_live(&house, **victim)).count();
    assert_eq!(gone, may);
}

#[test]
fn a_host_that_is_said_to_be_gone_answers_its_neighbours_at_once_and_not_more_often_than_each_second() {
    let (mut house, mut stranger) = (House::new(), seldom(1, &[]));
    let mut listed = seldom(2, &[]);
    let link = house.link(&listed);
    begin(&mut house, link, &mut listed);
    begin(&mut house, link, &mut stranger);
    let own = house.id;
    house.wait(ms(100));
    let mark = |house: &House| {
        let view = house.relay.view(house.now);
        (view.epoch, view.seq)
    };
    let answers =
        |effects: &Effects| effects.notes.iter().filter(|note| matches!(note, Note::Announced { ops: 0 })).count();
    let ours = mark(&house);
    let effects = announce(&mut house, link, &mut stranger, &[lost(own, ours)]);
    assert_eq!(answers(&effects) + answers(&house.wait(ms(500))), 0, "whoever has no link to us may not ask");
    let mut count = 0;
    for _ in 0..20 {
        let ours = mark(&house);
        let effects = announce(&mut house, link, &mut listed, &[lost(own, ours)]);
        count += answers(&effects) + answers(&house.wait(LOST_ANSWER_INTERVAL / 10));
    }
    assert!((2..=3).contains(&count), "{count} answers in two seconds");
    let old = (mark(&house).0, 1);
    house.wait(LOST_ANSWER_INTERVAL);
    let effects = announce(&mut house, link, &mut listed, &[lost(own, old)]);
    assert_eq!(answers(&effects) + answers(&house.wait(ms(500))), 0, "everybody has heard us since");
}

#[test]
fn a_neighbour_that_says_goodbye_because_it_ends_is_not_shown_for_long_and_its_next_life_at_once() {
    let (mut house, mut leaving) = (House::new(), Player::new(1));
    let link = house.link(&leaving);
    begin(&mut house, link, &mut leaving);
    house.send(link, &Frame::Goodbye(GoodbyeReason::Closing));
    // Its last words may be overtaken by its goodbye.
    announce(&mut house, link, &mut leaving, &[]);
    assert!(is_live(&house, leaving.id));
    house.wait(ms(1_100));
    assert!(!is_live(&house, leaving.id));
    announce(&mut house, link, &mut leaving, &[]);
    house.wait(ms(1_100));
    assert!(!is_live(&house, leaving.id));
    let mut other = Player::new(2);
    let by_other = house.link(&other);
    begin(&mut house, by_other, &mut other);
    house.wait(LEFT_BELIEVED);
    announce(&mut house, by_other, &mut leaving, &[]);
    assert!(is_live(&house, leaving.id), "another host with its key goes on");
    leaving.restart();
    let link = house.link(&leaving);
    begin(&mut house, link, &mut leaving);
    house.wait(secs(3));
    assert!(is_live(&house, leaving.id));
    house.send(link, &Frame::Goodbye(GoodbyeReason::Full));
    house.wait(secs(3));
    assert!(is_live(&house, leaving.id), "a link that is given up is no reason");
}

// ---- Which links are kept ---------------------------------------------------------------------------------------

/// A house that shows more hosts than everybody links with.
fn large(house: &mut House) -> (LinkKey, Player) {
    let mut first = seldom(1, &[]);
    let link = house.link(&first);
    begin(house, link, &mut first);
    for number in 0..u16::try_from(FULL_MESH_SHED).unwrap() {
        begin(house, link, &mut seldom(1_000 + number, &[]));
    }
    (link, first)
}

fn with_links(links: u16) -> Op {
    Op::Status(Status { links, ..Status::default() })
}

#[test]
fn links_that_were_dialled_and_are_too_many_are_given_up_one_by_one_but_not_where_the_other_side_has_few() {
    let mut house = House::new();
    let (taken, _) = large(&mut house);
    let mut dialled: Vec<(LinkKey, u16)> = Vec::new();
    for number in 0..12 {
        let mut player = seldom(100 + number, &[]);
        let link = house.dialled(&player, None, ms(20 + u64::from(number))).unwrap();
        begin(&mut house, link, &mut player);
        let links = if number < 4 { 5 } else { 12 };
        announce(&mut house, link, &mut player, &[with_links(links)]);
        dialled.push((link, links));
    }
    let mut closed = Vec::new();
    for _ in 0..80 {
        let effects = house.wait(TEND_INTERVAL / 4);
        let some: Vec<_> =
            dialled.iter().filter(|(link, _)| effects.closed(*link) == Some(GoodbyeReason::Full)).collect();
        assert!(some.len() <= 1, "one at a time");
        assert!(effects.closed(taken).is_none(), "whoever dialled decides");
        closed.extend(some);
    }
    assert_eq!(closed.len(), dialled.len() - LINKS_CHOSEN);
    assert!(closed.iter().all(|(_, links)| *links > 5), "{closed:?}");
}

#[test]
fn in_a_small_network_no_link_is_given_up() {
    let mut house = House::new();
    let links: Vec<LinkKey> = (0..12)
        .map(|number| {
            let mut player = seldom(100 + number, &[]);
            let link = house.dialled(&player, None, ms(20)).unwrap();
            begin(&mut house, link, &mut player);
            announce(&mut house, link, &mut player, &[with_links(12)]);
            link
        })
        .collect();
    let effects = house.wait(10 * TEND_INTERVAL);
    assert!(links.iter().all(|link| effects.closed(*link).is_none()));
}

/// Who is dialled, by number.
fn dials(effects: &Effects) -> Vec<(DialKey, u16)> {
    let dial = |output: &Output| match output {
        Output::Dial { dial, address: SocketAddr::V4(address), .. } => {
            let [.., high, low] = address.ip().octets();
            Some((*dial, u16::from_be_bytes([high, low])))
        }
        _ => None,
    };
    effects.outputs.iter().filter_map(dial).collect()
}

#[test]
fn neighbours_of_near_neighbours_are_looked_at_one_at_a_time_and_linked_with_if_they_are_nearer() {
    let mut house = House::new();
    let (link, _) = large(&mut house);
    let mut theirs = seldom(500, &[]);
    begin(&mut house, link, &mut theirs);
    let mut chosen = Vec::new();
    for number in 0..u16::try_from(LINKS_CHOSEN).unwrap() {
        let mut player = seldom(100 + number, &[&theirs]);
        let link = house.dialled(&player, None, ms(40)).unwrap();
        begin(&mut house, link, &mut player);
        announce(&mut house, link, &mut player, &[with_links(12)]);
        chosen.push(link);
    }
    let mut looked_at = Vec::new();
    let mut linked = Vec::new();
    for _ in 0..400 {
        let effects = house.wait(PROBE_INTERVAL_MIN * 3 / 4);
        let probes = dials(&effects);
        assert!(probes.len() <= 1, "one at a time");
        for (dial, number) in probes {
            looked_at.push(number);
            let rtt = if number % 3 == 0 { 10 } else { 80 };
            if let Some(link) = house.dialled(&seldom(number, &[]), Some(dial), ms(rtt)) {
                linked.push((link, rtt));
            }
        }
    }
    assert!(looked_at.len() > 4, "{looked_at:?}");
    assert!(looked_at[..4].contains(&500), "the neighbours of near ones come first");
    let mut once = looked_at.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(once.len(), looked_at.len(), "nobody is looked at twice");
    assert!(!linked.is_empty() && linked.iter().all(|(_, rtt)| *rtt == 10), "{linked:?}");
    assert!(linked.len() < looked_at.len(), "the others are too far");
}

#[test]
fn who_is_nearer_than_the_farthest_is_not_near_yet() {
    let mut house = House::new();
    let (link, _) = large(&mut house);
    let mut theirs = seldom(500, &[]);
    begin(&mut house, link, &mut theirs);
    let linked = |house: &mut House, dial, number: u16, rtt| {
        let mut player = seldom(number, &[&theirs]);
        let link = house.dialled(&player, dial, ms(rtt))?;
        begin(house, link, &mut player);
        announce(house, link, &mut player, &[with_links(12)]);
        Some(link)
    };
    // None of those that it has chosen is near: as many others are nearer.
    for number in 0..6 {
        linked(&mut house, None, 100 + number, 80 + u64::from(number)).unwrap();
        let player = seldom(200 + number, &[]);
        house.link(&player);
    }
    let mut first = [None; 2];
    for _ in 0..20 {
        let effects = house.wait(PROBE_INTERVAL_MIN * 3 / 4);
        for (dial, number) in dials(&effects) {
            let at = usize::from(first[0].is_some());
            first[at] = Some(linked(&mut house, Some(dial), number, [40, 10][at]).is_some());
        }
        if first[1].is_some() {
            break;
        }
    }
    assert_eq!(first, [Some(false), Some(true)], "nearer than those that it chose, but not near; and near");
}

// ---- Which link carries an origin's announcements ---------------------------------------------------------------

#[test]
fn the_first_announcement_of_an_epoch_goes_to_everybody_and_what_follows_to_those_who_ask_for_it() {
    let mut house = House::new();
    let (one, two, mut origin) = (Player::new(1), Player::new(2), seldom(3, &[]));
    let (first, other) = (house.link(&one), house.link(&two));
    let announced = |effects: &Effects, link| {
        effects.frames(link).iter().filter(|frame| matches!(frame, Frame::Announcement(_))).count()
    };
    let record = Op::Record(origin.record());
    let announcement = Frame::Announcement(origin.announce(&[record]));
    let effects = house.send(first, &announcement);
    assert_eq!(effects.frames(first), [Frame::Graft(origin.id, origin.epoch, 1)], "who was first is to go on");
    assert_eq!(announced(&effects, other), 1);
    let effects = house.send(other, &announcement);
    assert!(effects.frames(other).is_empty(), "that it came twice was to be expected: nothing is closed for it");
    let second = Frame::Announcement(origin.announce(&[]));
    assert_eq!(announced(&house.send(first, &second), other), 0, "it did not ask");
    let effects = house.send(other, &Frame::Graft(origin.id, origin.epoch, 1));
    assert_eq!(announced(&effects, other), 1, "what was missed");
    let third = Frame::Announcement(origin.announce(&[]));
    assert_eq!(announced(&house.send(first, &third), other), 1);
    let effects = house.send(other, &third);
    assert_eq!(effects.frames(other), [Frame::Prune(origin.id)], "copies of what follows are too many");
}

#[test]
fn a_link_whose_summaries_lead_by_enough_takes_over_and_one_lead_is_not_enough() {
    let mut house = House::new();
    let (one, two, mut origin) = (Player::new(1), Player::new(2), seldom(3, &[]));
    let (slow, fast) = (house.link(&one), house.link(&two));
    begin(&mut house, slow, &mut origin);
    let (id, epoch) = (origin.id, origin.epoch);
    // The second neighbour tells in summaries what the first has pushed 100 ms before: it has had it for `held`.
    let mut next = |house: &mut House, held: Duration| {
        announce(house, slow, &mut origin, &[]);
        house.wait(ms(100));
        let held = u8::try_from(held.as_millis() / 10).unwrap();
        let entry = HaveEntry::Numbered { number: 0, seq: origin.seq, held };
        let effects = house.send(fast, &Frame::Have(vec![entry]));
        effects.frames(fast).iter().any(|frame| matches!(frame, Frame::Graft(..)))
    };
    house.send(fast, &Frame::Have(vec![HaveEntry::Named { number: 0, origin: id, epoch, seq: 1 }]));
    let (leads, trails) = (ms(300), ms(50));
    assert!(!next(&mut house, leads));
    assert!(!next(&mut house, trails), "it begins anew");
    assert!(!next(&mut house, leads));
    assert!(!next(&mut house, ms(100)), "so little is no lead");
    assert!(next(&mut house, leads));
    let fifths = std::iter::repeat_with(|| next(&mut house, ms(110))).take(8).position(|moves| moves);
    assert_eq!(fifths, Some(2), "small leads add up");
    assert!((0..20).all(|_| !next(&mut house, ms(100))), "links that are equally fast do not change places");
    // From now on both push, and whoever is later is closed.
    let announcement = Frame::Announcement(origin.announce(&[]));
    house.send(fast, &announcement);
    house.wait(ms(30));
    let effects = house.send(slow, &announcement);
    assert_eq!(effects.frames(slow), [Frame::Prune(id)]);
}

#[test]
fn a_neighbour_that_says_the_same_again_leads_no_more_than_one_that_says_it_once() {
    let mut house = House::new();
    let (one, two, mut origin) = (Player::new(1), Player::new(2), seldom(3, &[]));
    let (slow, liar) = (house.link(&one), house.link(&two));
    begin(&mut house, slow, &mut origin);
    let named = HaveEntry::Named { number: 0, origin: origin.id, epoch: origin.epoch, seq: 1 };
    house.send(liar, &Frame::Have(vec![named]));
    let grafts =
        |effects: &Effects| effects.frames(liar).iter().filter(|frame| matches!(frame, Frame::Graft(..))).count();
    for copied in [false, true] {
        let announcement = Frame::Announcement(origin.announce(&[]));
        house.send(slow, &announcement);
        if copied {
            // It is known already how far the liar is: its summary counts all the same.
            house.send(liar, &announcement);
        }
        house.wait(ms(100));
        let entry = HaveEntry::Numbered { number: 0, seq: origin.seq, held: 50 };
        let counts = [1_024, 1].map(|times| grafts(&house.send(liar, &Frame::Have(vec![entry.clone(); times]))));
        assert_eq!(counts, [usize::from(copied), 0], "the second announcement makes the second lead");
    }
}

// ---- Newer versions ---------------------------------------------------------------------------------------------

#[test]
fn ops_and_fields_of_a_newer_version_are_skipped_and_passed_on_byte_for_byte() {
    const UNKNOWN_OP: &[u8] = &[99, 0, 5, 1, 2, 3, 4, 5];
    let mut house = House::new();
    let (mut newer, wants) = (Player::new(1), Player::new(2));
    let (from, to) = (house.link(&newer), house.link(&wants));
    let (edge, _) = house.edge("room");
    house.send(to, &Frame::Graft(newer.id, 0, 0));
    let record = newer.longer_record(b"a field that nobody knows");
    let (peer, proof) = newer.mint(1);
    let join = Op::Join { topic: named("room").id, peer, meta: Bytes::new() };
    let ops = [Op::Record(record), Op::Present { peer, proof }, join];
    let announcement: Announcement = newer.announce_raw(&ops, UNKNOWN_OP);
    let effects = house.send(from, &Frame::Announcement(announcement.clone()));
    assert_eq!(effects.faults(), []);
    let [Frame::Announcement(passed_on)] = &effects.frames(to)[..] else { panic!("{:?}", effects.frames(to)) };
    assert_eq!((&passed_on.head, &passed_on.ops), (&announcement.head, &announcement.ops));
    assert_eq!(house.members(edge, "room"), [peer]);
    // What follows builds on the digest of what was known.
    announce(&mut house, from, &mut newer, &[Op::Leave { topic: named("room").id, peer }]);
    assert!(house.members(edge, "room").is_empty() && is_live(&house, newer.id));
}
