//! What stands for many missed announcements: taken from whoever knows, and believed because of the origin's digest alone.

use std::time::Duration;

use aldis::relay::io::{CatchUp, Fault, LinkKey, Note};
use aldis::relay::limits::DELTA_MIN;
use aldis_wire::announcement::{GoneReason, Op, decode_ops, encode_ops};
use aldis_wire::codec::encode;
use aldis_wire::host::{Announcement, Channel, Delta, Frame, GoodbyeReason, HaveEntry, Query};
use aldis_wire::limits::{OPS_BYTES, PEER_TOPICS_MAX};
use bytes::Bytes;

use crate::neighbour::{Effects, House, Player, named};

const SECOND: Duration = Duration::from_secs(1);

/// A host whose edges come, go, return and change their metas, and all that it announced.
fn busy() -> (Player, Vec<Announcement>) {
    let mut origin = Player::new(1);
    let peers: Vec<_> = (0..6).map(|number| origin.mint(number)).collect();
    let present = |at: usize| Op::Present { peer: peers[at].0, proof: peers[at].1.clone() };
    let meta = |text: &'static str| Bytes::from_static(text.as_bytes());
    let join = |at: usize, topic: &str, text| Op::Join { topic: named(topic).id, peer: peers[at].0, meta: meta(text) };
    let leave = |at: usize, topic: &str| Op::Leave { topic: named(topic).id, peer: peers[at].0 };
    let gone = |at: usize| Op::Gone { peer: peers[at].0, reason: GoneReason::Closed };
    let record = Op::Record(origin.record());
    let steps = vec![
        vec![record, present(0), join(0, "s0", "a"), present(1), join(1, "s0", "b"), join(1, "s1", "b")],
        vec![present(2), join(2, "s0", "c")],
        vec![join(0, "s0", "A")],
        vec![],
        vec![leave(0, "s0"), leave(1, "s0"), leave(1, "s1"), gone(1)],
        vec![join(0, "s0", "a"), present(3), join(3, "s0", "d")],
        vec![leave(2, "s0"), gone(2)],
        vec![present(1), join(1, "s1", "b"), leave(3, "s0"), gone(3)],
        vec![present(4), join(4, "s0", "e"), leave(1, "s1"), join(1, "s0", "b")],
        vec![],
        vec![join(4, "s1", "e"), leave(4, "s1"), present(2), join(2, "s1", "c")],
    ];
    // The test's host counts keys, and a peer that goes takes its memberships along: it has left its topics just before.
    let all = steps.iter().map(|ops| origin.announce(ops)).collect();
    (origin, all)
}

fn announced(announcement: &Announcement) -> Frame {
    Frame::Announcement(announcement.clone())
}

/// How far a host's roster has come here, and its digest.
fn seen(house: &House, player: &Player) -> (u64, Option<[u8; 32]>) {
    let view = house.relay.view(house.now);
    let seq = view.hosts.iter().find(|host| host.host == player.id).map_or(0, |host| host.seq);
    (seq, house.relay.digest(player.id))
}

/// A house that has heard so many of them, and a neighbour of the origin through which.
fn heard(all: &[Announcement], middle: &Player) -> (House, LinkKey) {
    let mut house = House::new();
    let link = house.link(middle);
    for announcement in all {
        let effects = house.send(link, &announced(announcement));
        assert_eq!(effects.faults(), []);
    }
    (house, link)
}

/// What a house answers who has come so far.
fn asked(house: &mut House, link: LinkKey, origin: &Player, seq: u64) -> Vec<Frame> {
    house.send(link, &Frame::Graft(origin.id, origin.epoch, seq)).frames(link)
}

/// The delta that a house answers with.
fn delta_of(house: &mut House, link: LinkKey, origin: &Player, seq: u64) -> Delta {
    match asked(house, link, origin, seq).as_slice() {
        [Frame::Delta(delta)] => delta.clone(),
        other => panic!("no delta: {other:?}"),
    }
}

/// A house that has come to `seq` and is behind: it has heard the newest head and asked a neighbour for the rest.
fn behind(all: &[Announcement], seq: usize, middle: &Player, origin: &Player) -> (House, LinkKey) {
    let (mut house, link) = heard(&all[..seq], middle);
    let newest = &all[all.len() - 1];
    house.send(link, &announced(&Announcement { ops: None, ..newest.clone() }));
    house.send(link, &has(origin, newest.head.peek().unwrap().seq));
    let effects = house.wait(Duration::from_millis(500));
    let seq = u64::try_from(seq).unwrap();
    assert!(effects.frames(link).contains(&Frame::Graft(origin.id, if seq == 0 { 0 } else { origin.epoch }, seq)));
    (house, link)
}

/// A summary: its sender has a host's roster up to there.
fn has(origin: &Player, seq: u64) -> Frame {
    Frame::Have(vec![HaveEntry::Named { number: 0, origin: origin.id, epoch: origin.epoch, seq }])
}

fn caught_up(effects: &Effects) -> Option<CatchUp> {
    effects.notes.iter().find_map(|note| if let Note::CaughtUp { by, .. } = note { Some(*by) } else { None })
}

fn queries(effects: &Effects, link: LinkKey) -> Vec<Query> {
    let query = |frame| if let Frame::Query(query) = frame { Some(query) } else { None };
    effects.frames(link).into_iter().filter_map(query).collect()
}

#[test]
fn a_delta_leads_to_the_same_roster_from_wherever_one_stands_between_its_ends() {
    let ((origin, all), middle) = (busy(), Player::new(2));
    let (mut knows, link) = heard(&all, &middle);
    let end = seen(&knows, &origin);
    assert_eq!(end.0, 11);
    for since in 0..=all.len() - DELTA_MIN {
        let delta = delta_of(&mut knows, link, &origin, u64::try_from(since).unwrap());
        for stands in since..all.len() {
            let (mut house, link) = behind(&all, stands, &middle, &origin);
            let effects = house.send(link, &Frame::Delta(delta.clone()));
            let case = format!("since {since}, at {stands}");
            assert_eq!((seen(&house, &origin), caught_up(&effects)), (end, Some(CatchUp::Delta)), "{case}");
            assert_eq!(effects.faults(), [], "{case}");
        }
    }
}

#[test]
fn members_are_told_what_a_delta_changed_and_nothing_of_what_came_and_went() {
    let ((origin, all), middle) = (busy(), Player::new(2));
    let (mut knows, link) = heard(&all, &middle);
    let delta = delta_of(&mut knows, link, &origin, 1);
    let (mut house, link) = heard(&all[..1], &middle);
    let (edge, _) = house.edge("s0");
    let before = house.members(edge, "s0");
    let effects = house.send(link, &Frame::Delta(delta));
    let told = effects.told(edge);
    let members = house.members(edge, "s0");
    // The first is as it was in the end, the second left and came back as it was, the fifth is new; the third and the fourth
    // were never seen.
    assert_eq!((before.len(), members.len(), told.len()), (2, 3, 1), "{told:?}");
    assert!((0..6).filter(|number| members.contains(&origin.mint(*number).0)).eq([0, 1, 4]));
}

#[test]
fn who_took_a_delta_tells_it_on_and_whoever_follows_has_the_same() {
    let ((origin, all), middle) = (busy(), Player::new(2));
    let (mut knows, link) = heard(&all[..8], &middle);
    let first = delta_of(&mut knows, link, &origin, 1);
    let (mut second, link) = behind(&all[..8], 1, &middle, &origin);
    second.send(link, &Frame::Delta(first));
    // Some more come one by one, and it knows all three parts: what was before, in one, and after.
    for announcement in &all[8..] {
        second.send(link, &announced(announcement));
    }
    let end = seen(&second, &origin);
    for stands in [0, 1, 3, 6] {
        let told = delta_of(&mut second, link, &origin, stands);
        let (mut third, link) = behind(&all, usize::try_from(stands).unwrap(), &middle, &origin);
        let effects = third.send(link, &Frame::Delta(told));
        assert_eq!((seen(&third, &origin), caught_up(&effects)), (end, Some(CatchUp::Delta)), "from {stands}");
    }
}

#[test]
fn few_announcements_are_told_as_they_are_and_so_is_word_of_a_loss() {
    let ((mut origin, all), middle) = (busy(), Player::new(2));
    let (mut knows, link) = heard(&all, &middle);
    let few = u64::try_from(all.len() - DELTA_MIN + 1).unwrap();
    let told = asked(&mut knows, link, &origin, few);
    assert_eq!(told, all[all.len() - DELTA_MIN + 1..].iter().map(announced).collect::<Vec<_>>());
    let lost = origin.announce(&[Op::Lost { host: Player::new(9).id, epoch: 1, seq: 1 }]);
    knows.send(link, &announced(&lost));
    let told = asked(&mut knows, link, &origin, 1);
    assert_eq!((told.len(), told.last()), (all.len(), Some(&announced(&lost))), "no digest covers it");
    knows.wait(20 * SECOND);
    let beat = origin.announce(&[]);
    knows.send(link, &announced(&beat));
    delta_of(&mut knows, link, &origin, 1);
}

#[test]
fn a_delta_that_leads_elsewhere_changes_nothing_and_only_costs_another_question() {
    type Twist = fn(&mut Vec<Op>, &Player);
    let less: Twist = |ops, _| ops.retain(|op| !matches!(op, Op::Join { .. }));
    let more: Twist = |ops, origin| {
        let (peer, proof) = origin.mint(77);
        ops.push(Op::Present { peer, proof });
    };
    let foreign: Twist = |ops, _| {
        let (peer, proof) = Player::new(9).mint(1);
        ops.push(Op::Present { peer, proof });
    };
    let recorded: Twist = |ops, _| ops.push(Op::Record(Player::new(9).record()));
    let orphan: Twist = |ops, origin| {
        ops.insert(0, Op::Join { topic: named("s0").id, peer: origin.mint(77).0, meta: Bytes::new() });
    };
    let nothing: Twist = |ops, _| ops.clear();
    for (number, twist) in [less, more, foreign, recorded, orphan, nothing].into_iter().enumerate() {
        let ((mut origin, all), liar) = (busy(), Player::new(2));
        let (mut knows, link) = heard(&all, &liar);
        let truth = delta_of(&mut knows, link, &origin, 3);
        let (mut house, link) = behind(&all, 3, &liar, &origin);
        let before = seen(&house, &origin);
        let mut ops = decode_ops(&truth.ops).unwrap();
        twist(&mut ops, &origin);
        let lie = Delta { ops: encode_ops(&ops).unwrap(), ..truth.clone() };
        let effects = house.send(link, &Frame::Delta(lie));
        assert_eq!((effects.faults(), effects.closed(link)), (vec![], None), "{number}: it may come from two tongues");
        assert_eq!(seen(&house, &origin), before, "{number}");
        // It had its answer: a second one, be it right, was not asked for.
        house.send(link, &Frame::Delta(truth));
        assert_eq!(seen(&house, &origin), before, "{number}: one answer for each question");
        // Now it is compared; the origin itself is asked, since it is linked.
        let direct = house.link(&origin);
        for _ in 0..10 {
            let effects = house.wait(SECOND);
            for query in queries(&effects, direct) {
                house.send(direct, &Frame::Reply(origin.answer(&query, 256, 60_000)));
            }
        }
        assert_eq!(seen(&house, &origin), seen(&knows, &origin), "{number}");
    }
}

#[test]
fn what_was_not_asked_for_is_older_or_does_not_begin_where_we_are_is_dropped() {
    let ((origin, all), middle) = (busy(), Player::new(2));
    let (mut knows, link) = heard(&all, &middle);
    let (from_one, from_five) = (delta_of(&mut knows, link, &origin, 1), delta_of(&mut knows, link, &origin, 5));
    // That neighbour was not asked.
    let (mut house, _) = behind(&all, 1, &middle, &origin);
    let other = house.link(&Player::new(3));
    let effects = house.send(other, &Frame::Delta(from_one.clone()));
    assert_eq!((seen(&house, &origin).0, effects.faults(), effects.outputs.len()), (1, vec![], 0));
    // It begins later than we are.
    let (mut house, link) = behind(&all, 1, &middle, &origin);
    let effects = house.send(link, &Frame::Delta(from_five.clone()));
    assert_eq!((seen(&house, &origin).0, effects.faults(), effects.closed(link)), (1, vec![], None));
    // We have it already.
    let (mut house, link) = behind(&all, 5, &middle, &origin);
    for announcement in &all[5..] {
        house.send(link, &announced(announcement));
    }
    let effects = house.send(link, &Frame::Delta(from_five));
    assert_eq!((seen(&house, &origin), effects.faults(), effects.outputs.len()), (seen(&knows, &origin), vec![], 0));
    // Of a host of which nobody has spoken, and of ourselves.
    let mut house = House::new();
    let link = house.link(&middle);
    let effects = house.send(link, &Frame::Delta(Delta { since: 0, ..from_one }));
    assert_eq!((seen(&house, &origin), effects.faults(), effects.closed(link)), ((0, None), vec![], None));
}

#[test]
fn a_delta_that_nobody_signed_or_that_is_too_large_ends_the_link() {
    let ((origin, all), liar) = (busy(), Player::new(2));
    let (mut knows, link) = heard(&all, &liar);
    let truth = delta_of(&mut knows, link, &origin, 1);
    let head = truth.head.peek().unwrap();
    let (mut house, link) = behind(&all[..10], 1, &liar, &origin);
    let forged = aldis_wire::announcement::SignedHead::make(&liar.key, crate::neighbour::network().tag, &head).unwrap();
    let effects = house.send(link, &Frame::Delta(Delta { head: forged, ..truth.clone() }));
    assert_eq!((effects.faults(), effects.closed(link)), (vec![Fault::BadSignature], Some(GoodbyeReason::Misbehaved)));
    let (mut house, link) = behind(&all, 1, &liar, &origin);
    let effects = house.send(link, &Frame::Delta(Delta { ops: Bytes::from_static(&[9; 10]), ..truth.clone() }));
    assert_eq!((effects.faults(), effects.closed(link)), (vec![Fault::BadFrame], Some(GoodbyeReason::Misbehaved)));
    let (mut house, link) = behind(&all, 1, &liar, &origin);
    let large = encode(&Delta { ops: vec![9; OPS_BYTES + 1].into(), ..truth }).unwrap();
    let effects = house.send_raw(link, Channel::Announce, 24, large.into());
    assert_eq!((effects.faults(), effects.closed(link)), (vec![Fault::BadFrame], Some(GoodbyeReason::Misbehaved)));
}

#[test]
fn a_delta_from_the_beginning_brings_a_host_that_was_not_known() {
    let ((origin, all), middle) = (busy(), Player::new(2));
    let (mut knows, link) = heard(&all, &middle);
    let delta = delta_of(&mut knows, link, &origin, 0);
    let mut house = House::new();
    let link = house.link(&middle);
    house.send(link, &has(&origin, 11));
    let effects = house.wait(SECOND);
    assert!(effects.frames(link).contains(&Frame::Graft(origin.id, 0, 0)));
    let effects = house.send(link, &Frame::Delta(delta));
    assert_eq!((seen(&house, &origin), caught_up(&effects)), (seen(&knows, &origin), Some(CatchUp::Delta)));
}

#[test]
fn who_is_in_as_many_topics_as_may_be_can_change_one_in_a_delta() {
    let (mut origin, middle) = (Player::new(1), Player::new(2));
    let (peer, proof) = origin.mint(0);
    let mut topics: Vec<_> = (0..=PEER_TOPICS_MAX).map(|number| named(&format!("t{number}")).id).collect();
    topics.sort_unstable();
    let join = |topic| Op::Join { topic, peer, meta: Bytes::new() };
    let (first, rest) = topics.split_first().unwrap();
    let mut ops = vec![Op::Record(origin.record()), Op::Present { peer, proof }];
    ops.extend(rest.iter().map(|topic| join(*topic)));
    let left = Op::Leave { topic: rest[rest.len() - 1], peer };
    let mut all = vec![origin.announce(&ops), origin.announce(&[left, join(*first)])];
    all.extend((0..DELTA_MIN).map(|number| {
        let (peer, proof) = origin.mint(1 + u8::try_from(number).unwrap());
        origin.announce(&[Op::Present { peer, proof }])
    }));
    let (mut knows, link) = heard(&all, &middle);
    let delta = delta_of(&mut knows, link, &origin, 1);
    let (mut house, link) = behind(&all, 1, &middle, &origin);
    let effects = house.send(link, &Frame::Delta(delta));
    assert_eq!((seen(&house, &origin), caught_up(&effects)), (seen(&knows, &origin), Some(CatchUp::Delta)));
}

#[test]
fn about_one_gap_nobody_is_asked_again_before_all_were_however_many_more_come_to_know() {
    let (mut origin, record) = (Player::new(1), Player::new(1).record());
    let all = [origin.announce(&[Op::Record(record)]), origin.announce(&[])];
    let (mut house, _) = heard(&all[..1], &Player::new(2));
    let links: Vec<LinkKey> = (3..7).map(|number| house.link(&Player::new(number))).collect();
    let mut asked: Vec<LinkKey> = Vec::new();
    // Each that comes to know it stands before the others in the order in which they are asked.
    for link in links.iter().rev() {
        house.send(*link, &has(&origin, 2));
        let effects = house.wait(2 * SECOND);
        let graft = Frame::Graft(origin.id, origin.epoch, 1);
        asked.extend(links.iter().filter(|link| effects.frames(**link).contains(&graft)));
    }
    assert!(asked.iter().take(4).eq(links.iter().rev()), "{asked:?} of {links:?}");
}

#[test]
fn what_was_missing_is_pushed_once_and_what_finds_no_room_to_wait_goes_to_nobody() {
    let (mut origin, middle, below) = (Player::new(1), Player::new(2), Player::new(3));
    let record = Op::Record(origin.record());
    let mut announce = |number: u8, record: Option<Op>| {
        let (peer, proof) = origin.mint(number);
        origin.announce(&record.into_iter().chain([Op::Present { peer, proof }]).collect::<Vec<_>>())
    };
    let mut all = vec![announce(0, Some(record))];
    all.extend((1..100).map(|number| announce(number, None)));
    let (mut house, link) = heard(&all[..1], &middle);
    let third = house.link(&below);
    house.send(third, &Frame::Graft(origin.id, origin.epoch, 1));
    let pushed = |effects: &Effects, of: &Announcement| {
        let frames = effects.frames(third);
        frames.iter().filter(|frame| matches!(frame, Frame::Announcement(told) if told.head == of.head)).count()
    };
    // The second is missing, and the others are more than wait for it.
    for announcement in &all[2..] {
        house.send(link, &announced(announcement));
        house.wait(Duration::from_millis(50));
    }
    for _ in 0..3 {
        let effects = house.send(link, &announced(&all[90]));
        assert_eq!(pushed(&effects, &all[90]), 0, "whoever is below has newer ones, or asks");
    }
    let effects = house.send(link, &announced(&all[1]));
    assert_eq!(pushed(&effects, &all[1]), 1);
    let effects = house.send(link, &announced(&all[1]));
    assert_eq!(pushed(&effects, &all[1]), 0);
}

#[test]
fn a_delta_of_an_origin_in_quarantine_changes_nothing_and_is_nobodys_fault_but_the_origins() {
    let ((origin, all), middle) = (busy(), Player::new(2));
    let (mut knows, link) = heard(&all, &middle);
    let delta = delta_of(&mut knows, link, &origin, 3);
    let (mut house, link) = behind(&all, 3, &middle, &origin);
    let other = house.link(&Player::new(3));
    let ops = encode_ops(&[]).unwrap();
    let lie = Announcement { age_ms: 0, head: origin.head(origin.epoch, 4, &ops, [7; 32]), ops: None };
    let effects = house.send(other, &announced(&lie));
    let quarantined = |note: &Note| matches!(note, Note::HostQuarantined { host, .. } if *host == origin.id);
    assert!(effects.notes.iter().any(quarantined));
    let effects = house.send(link, &Frame::Delta(delta));
    assert_eq!((caught_up(&effects), effects.faults(), effects.closed(link)), (None, vec![], None));
    let more = house.wait(5 * SECOND);
    let shown = house.relay.view(house.now).hosts.iter().any(|host| host.host == origin.id && host.live);
    assert!(!shown, "it stays away until its next epoch");
    assert_eq!(queries(&more, link), [], "and is not asked for");
}

#[test]
fn a_delta_of_a_host_that_has_expired_is_taken_and_shown_when_the_host_is_heard_again() {
    let ((mut origin, all), middle) = (busy(), Player::new(2));
    let (mut knows, link) = heard(&all, &middle);
    let delta = delta_of(&mut knows, link, &origin, 3);
    let end = seen(&knows, &origin);
    let (mut house, link) = behind(&all, 3, &middle, &origin);
    let (edge, _) = house.edge("s0");
    let expired = house.wait(10 * SECOND);
    assert!(expired.notes.contains(&Note::HostExpired { host: origin.id }));
    // What it says was made when its head was: the host has been silent since.
    let effects = house.send(link, &Frame::Delta(Delta { age_ms: 10_000, ..delta }));
    assert_eq!((seen(&house, &origin), caught_up(&effects)), (end, Some(CatchUp::Delta)));
    let id = origin.id;
    let live = |house: &House| house.relay.view(house.now).hosts.iter().any(|it| it.host == id && it.live);
    let members = house.members(edge, "s0").len();
    assert_eq!((live(&house), members), (false, 0), "only its own edge is there");
    let beat = announced(&origin.announce(&[]));
    let effects = house.send(link, &beat);
    assert!(live(&house) && house.members(edge, "s0").len() > 1);
    assert_eq!(queries(&effects, link), []);
}

#[test]
fn a_delta_ends_a_comparison_that_is_under_way_and_what_that_brings_later_is_dropped() {
    let ((mut origin, all), liar) = (busy(), Player::new(2));
    let (mut knows, link) = heard(&all, &liar);
    let truth = delta_of(&mut knows, link, &origin, 3);
    let end = seen(&knows, &origin);
    let (mut house, link) = behind(&all, 3, &liar, &origin);
    house.send(link, &Frame::Delta(Delta { ops: encode_ops(&[]).unwrap(), ..truth.clone() }));
    let direct = house.link(&origin);
    let asked = (0..10).map(|_| queries(&house.wait(SECOND), direct)).find(|asked| !asked.is_empty()).unwrap();
    assert_eq!(asked.len(), 1, "it is compared");
    let effects = house.send(direct, &Frame::Delta(truth));
    assert_eq!((seen(&house, &origin), caught_up(&effects), effects.faults()), (end, Some(CatchUp::Delta), vec![]));
    let late = origin.answer(&asked[0], 256, 60_000);
    let effects = house.send(direct, &Frame::Reply(late));
    assert_eq!((seen(&house, &origin), effects.faults(), effects.outputs.len()), (end, vec![], 0));
    assert_eq!(queries(&house.wait(5 * SECOND), direct), []);
}

#[test]
fn the_announcement_at_the_end_of_a_delta_goes_on_to_those_below_when_it_comes_and_its_copies_do_not() {
    let ((origin, all), middle) = (busy(), Player::new(2));
    let (mut knows, link) = heard(&all, &middle);
    let delta = delta_of(&mut knows, link, &origin, 3);
    let (mut house, link) = behind(&all, 3, &middle, &origin);
    let (other, below) = (house.link(&Player::new(3)), house.link(&Player::new(4)));
    house.send(below, &Frame::Graft(origin.id, origin.epoch, 3));
    house.send(link, &Frame::Delta(delta.clone()));
    let last = announced(&all[all.len() - 1]);
    let effects = house.send(other, &last);
    assert_eq!(effects.frames(below), std::slice::from_ref(&last));
    assert_eq!(effects.frames(other), [], "it is the first copy: that way is not closed");
    let effects = house.send(other, &last);
    assert_eq!(effects.frames(below), []);
    // One with other ops under the same head is not it, nor does anything of a liar go on.
    let (mut house, link) = behind(&all, 3, &middle, &origin);
    let (other, below) = (house.link(&Player::new(3)), house.link(&Player::new(4)));
    house.send(below, &Frame::Graft(origin.id, origin.epoch, 3));
    house.send(link, &Frame::Delta(delta.clone()));
    let twisted = Announcement { ops: Some(encode_ops(&[]).unwrap()), ..all[all.len() - 1].clone() };
    assert_eq!(house.send(other, &announced(&twisted)).frames(below), []);
    let (mut house, link) = behind(&all, 3, &middle, &origin);
    let (other, below) = (house.link(&Player::new(3)), house.link(&Player::new(4)));
    house.send(below, &Frame::Graft(origin.id, origin.epoch, 3));
    house.send(link, &Frame::Delta(delta));
    let head = origin.head(origin.epoch, 12, &encode_ops(&[]).unwrap(), [7; 32]);
    house.send(other, &announced(&Announcement { age_ms: 0, head, ops: None }));
    assert_eq!(house.send(other, &last).frames(below), []);
}

#[test]
fn whom_nobody_pushes_is_asked_for_on_two_links_once_whatever_summaries_repeat() {
    let mut house = House::new();
    let first = house.link(&Player::new(1));
    let origins: Vec<Player> = (10..60)
        .map(|number| {
            let mut origin = Player::new(number);
            let record = Op::Record(origin.record());
            house.send(first, &announced(&origin.announce(&[record])));
            origin
        })
        .collect();
    house.handle(aldis::relay::io::Input::LinkClosed { link: first, reason: "it crashed".to_owned() });
    let links: Vec<LinkKey> = (2..6).map(|number| house.link(&Player::new(number))).collect();
    let entry = |(number, origin): (u16, &Player)| {
        let (origin, epoch) = (origin.id, origin.epoch);
        HaveEntry::Named { number, origin, epoch, seq: 1 }
    };
    let summary = Frame::Have((0..).zip(&origins).map(entry).collect());
    let mut grafts = Vec::new();
    for round in 0..3 {
        for link in &links {
            let frames = house.send(*link, &summary).frames(*link);
            let asked = frames.iter().filter(|frame| matches!(frame, Frame::Graft(..))).count();
            grafts.push((round, asked));
        }
    }
    let asked: Vec<usize> = grafts.iter().map(|(_, asked)| *asked).collect();
    assert_eq!(asked, [[50, 50, 0, 0], [0; 4], [0; 4]].concat());
}
