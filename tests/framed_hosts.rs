//! What a host in the middle may try to make an honest host look guilty or dead, or to keep us busy; and what comes of it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may fail by panic")]

mod neighbour;

use std::time::Duration;

use aldis::relay::io::{Fault, Note};
use aldis::relay::limits::COMPARISONS_PER_LINK_MAX;
use aldis_wire::announcement::{Op, encode_ops};
use aldis_wire::host::{Announcement, Frame, GoodbyeReason, HaveEntry, Part, Query, Range, Reply};
use aldis_wire::id::HostId;
use neighbour::{Effects, House, Player, named};

const SECOND: Duration = Duration::from_secs(1);

fn announced(announcement: &Announcement) -> Frame {
    Frame::Announcement(announcement.clone())
}

fn is_shown(house: &House, player: &Player) -> bool {
    let view = house.relay.view(house.now);
    view.hosts.iter().any(|host| host.host == player.id && host.live)
}

fn queries_of(effects: &Effects) -> Vec<Query> {
    let frame = |output: &aldis::relay::io::Output| match output {
        aldis::relay::io::Output::Send { link, .. } => Some(*link),
        _ => None,
    };
    let links: std::collections::BTreeSet<_> = effects.outputs.iter().filter_map(frame).collect();
    let frames = links.into_iter().flat_map(|link| effects.frames(link));
    frames.filter_map(|frame| if let Frame::Query(query) = frame { Some(query) } else { None }).collect()
}

#[test]
fn an_old_head_before_the_newest_does_not_make_a_busy_host_a_flooder() {
    let (mut house, middle, mut honest) = (House::new(), Player::new(1), Player::new(2));
    let first = honest.announce(&[Op::Record(honest.record())]);
    let link = house.link(&middle);
    house.send(link, &announced(&first));
    assert!(is_shown(&house, &honest));
    // It has announced for hours; of that we have heard the very first alone, played from a record.
    honest.seq = 500_000;
    let newest = honest.announce(&[]);
    let direct = house.link(&honest);
    let mut effects = house.send(direct, &announced(&newest));
    assert_eq!(effects.faults(), []);
    for _ in 0..10 {
        effects = house.wait(SECOND);
        for query in queries_of(&effects) {
            house.send(direct, &Frame::Reply(honest.answer(&query, 256, 60_000)));
        }
        let beat = honest.announce(&[]);
        house.send(direct, &announced(&beat));
    }
    assert!(is_shown(&house, &honest));
    assert!(house.relay.digest(honest.id).is_some());
}

#[test]
fn announcements_that_were_held_back_and_come_all_at_once_cost_their_origin_nothing() {
    let (mut house, middle, mut honest) = (House::new(), Player::new(1), Player::new(2));
    let link = house.link(&middle);
    house.send(link, &announced(&honest.announce(&[Op::Record(honest.record())])));
    for _ in 0..2_000 {
        let effects = house.send(link, &announced(&honest.announce(&[])));
        assert_eq!(effects.faults(), []);
    }
    for _ in 0..60 {
        let effects = house.wait(SECOND);
        assert_eq!(effects.faults(), []);
        for query in queries_of(&effects) {
            house.send(link, &Frame::Reply(honest.answer(&query, 256, 60_000)));
        }
        house.send(link, &announced(&honest.announce(&[])));
        assert!(is_shown(&house, &honest));
    }
}

#[test]
fn a_liar_about_age_hides_a_live_host_for_one_heartbeat_at_most() {
    let (mut house, liar, mut honest) = (House::new(), Player::new(1), Player::new(2));
    let link = house.link(&liar);
    let aged = |announcement| Frame::Announcement(Announcement { age_ms: u32::MAX, ..announcement });
    house.send(link, &aged(honest.announce(&[Op::Record(honest.record())])));
    house.wait(3 * SECOND);
    for _ in 0..20 {
        house.send(link, &aged(honest.announce(&[])));
        assert!(is_shown(&house, &honest));
        house.wait(3 * SECOND);
        assert!(is_shown(&house, &honest));
    }
}

#[test]
fn a_seq_at_the_end_of_all_numbers_harms_nobody() {
    let (mut house, mut player) = (House::new(), Player::new(1));
    let link = house.link(&player);
    player.announce(&[Op::Record(player.record())]);
    player.seq = u64::MAX - 2;
    for _ in 0..2 {
        let newest = player.announce(&[]);
        house.send(link, &announced(&Announcement { ops: None, ..newest }));
        for _ in 0..4 {
            for query in queries_of(&house.wait(SECOND)) {
                house.send(link, &Frame::Reply(player.answer(&query, 256, 60_000)));
            }
        }
    }
    let (key, seq) = (player.id, player.seq);
    house.send(link, &Frame::Graft(key, player.epoch, seq - 1));
    assert!(is_shown(&house, &player));
}

#[test]
fn an_answer_that_comes_too_late_costs_a_slow_neighbour_nothing() {
    let (mut house, neighbour, mut origin) = (House::new(), Player::new(1), Player::new(2));
    origin.announce(&[Op::Record(origin.record())]);
    for number in 0..60 {
        let (peer, proof) = origin.mint(number);
        let join = Op::Join { topic: named("s0").id, peer, meta: bytes::Bytes::new() };
        origin.announce(&[Op::Present { peer, proof }, join]);
    }
    let link = house.link(&neighbour);
    let newest = Announcement { ops: None, ..origin.announce(&[]) };
    house.send(link, &announced(&newest));
    let first = queries_of(&house.wait(2 * SECOND));
    let effects = house.send(link, &Frame::Reply(origin.answer(&first[0], 4, 60_000)));
    let second = queries_of(&effects);
    // This answer takes six seconds; meanwhile we ask anew, and get that answer after it.
    let late = Frame::Reply(origin.answer(&second[0], 4, 60_000));
    house.send(link, &announced(&Announcement { ops: None, ..origin.announce(&[]) }));
    let again = queries_of(&house.wait(6 * SECOND));
    assert!(!again.is_empty(), "it has asked anew");
    let effects = house.send(link, &late);
    assert_eq!((effects.faults(), effects.closed(link)), (vec![], None));
}

#[test]
fn a_fresh_host_compares_a_few_rosters_at_a_time_on_a_link_until_it_has_all() {
    let (mut house, neighbour) = (House::new(), Player::new(1));
    let mut origins: Vec<Player> = (2..42).map(Player::new).collect();
    let link = house.link(&neighbour);
    for origin in &mut origins {
        origin.announce(&[Op::Record(origin.record())]);
        let newest = Announcement { ops: None, ..origin.announce(&[]) };
        house.send(link, &announced(&newest));
    }
    let mut queries = queries_of(&house.wait(2 * SECOND));
    for done in 0..origins.len() {
        let under_way = COMPARISONS_PER_LINK_MAX.min(origins.len() - done);
        assert_eq!((queries.len(), house.relay.tables().comparisons), (under_way, under_way));
        let query = queries.remove(0);
        let origin = origins.iter_mut().find(|origin| origin.id == query.origin).unwrap();
        let effects = house.send(link, &Frame::Reply(origin.answer(&query, 256, 60_000)));
        queries.extend(queries_of(&effects));
    }
    assert!(origins.iter().all(|origin| is_shown(&house, origin)));
}

#[test]
fn a_neighbour_that_boasts_of_what_nobody_signed_does_not_make_us_compare() {
    let (mut house, boaster, mut honest) = (House::new(), Player::new(1), Player::new(2));
    let direct = house.link(&honest);
    house.send(direct, &announced(&honest.announce(&[Op::Record(honest.record())])));
    let link = house.link(&boaster);
    let boast = HaveEntry::Named { number: 1, origin: honest.id, epoch: honest.epoch, seq: u64::MAX };
    house.send(link, &Frame::Have(vec![boast]));
    let (mut queries, mut grafts) = (0, 0);
    for _ in 0..30 {
        let effects = house.wait(SECOND);
        queries += queries_of(&effects).len();
        grafts += effects.frames(link).iter().filter(|frame| matches!(frame, Frame::Graft(..))).count();
        house.send(direct, &announced(&honest.announce(&[])));
    }
    assert_eq!(queries, 0);
    assert!(grafts <= 10, "and it is not asked for ever: {grafts}");
}

#[test]
fn a_neighbour_that_never_leads_anywhere_is_asked_ever_more_seldom() {
    let (mut house, idler, mut origin) = (House::new(), Player::new(1), Player::new(2));
    let link = house.link(&idler);
    origin.announce(&[Op::Record(origin.record())]);
    let newest = origin.announce(&[]);
    house.send(link, &announced(&Announcement { ops: None, ..newest.clone() }));
    let ops = encode_ops(&[]).unwrap();
    let old = origin.head(origin.epoch, 1, &ops, [1; 32]);
    let mut queries = 0;
    for _ in 0..600 {
        for query in queries_of(&house.wait(SECOND / 10)) {
            queries += 1;
            let parts = vec![(query.ranges[0], Part::Entries(bytes::Bytes::new()))];
            house.send(link, &Frame::Reply(Reply { origin: origin.id, head: Some((0, old.clone())), parts }));
            house.send(link, &Frame::Reply(Reply { origin: origin.id, head: None, parts: Vec::new() }));
        }
    }
    assert!(queries <= 80, "{queries} in a minute");
}

#[test]
fn a_host_that_says_goodbye_and_stays_is_let_go() {
    let (mut house, player) = (House::new(), Player::new(1));
    let link = house.link(&player);
    house.send(link, &Frame::Goodbye(GoodbyeReason::Full));
    let effects = house.wait(5 * SECOND);
    assert!(effects.closed(link).is_some());
    assert!(!effects.notes.iter().any(|note| matches!(note, Note::Misbehaved { .. })));
}

#[test]
fn summaries_without_end_end_the_link() {
    let (mut house, player) = (House::new(), Player::new(1));
    let link = house.link(&player);
    let boast = |frame: u16, at: u16| {
        let mut origin = [1; 32];
        origin[..2].copy_from_slice(&frame.to_be_bytes());
        origin[2..4].copy_from_slice(&at.to_be_bytes());
        HaveEntry::Named { number: at, origin: HostId::new(origin), epoch: 1, seq: 1 }
    };
    let closes = |house: &mut House, frame| {
        let entries = (0..1_000).map(|at| boast(frame, at)).collect();
        house.send(link, &Frame::Have(entries)).closed(link)
    };
    let closed: Vec<_> = (0..100).map_while(|frame| closes(&mut house, frame).is_none().then_some(frame)).collect();
    assert_eq!(closed.len(), 65, "so many at once are an honest host after a stall, no more");
}

#[test]
fn who_asks_all_the_time_does_not_have_us_announce_each_change_by_itself() {
    let (mut house, asker) = (House::new(), Player::new(1));
    let link = house.link(&asker);
    house.send(link, &Frame::Graft(house.id, 0, 0));
    house.wait(SECOND);
    let root = Query { origin: house.id, ranges: vec![Range { key: [0; 32], nibbles: 0 }] };
    let (mut announced, mut answered) = (0, 0);
    let mut count = |effects: &Effects| {
        for frame in effects.frames(link) {
            announced += usize::from(matches!(frame, Frame::Announcement(_)));
            answered += usize::from(matches!(frame, Frame::Reply(_)));
        }
    };
    for _ in 0..200 {
        house.edge("s0");
        count(&house.send(link, &Frame::Query(root.clone())));
        count(&house.wait(SECOND / 200));
    }
    count(&house.wait(SECOND));
    assert!(announced <= 30, "{announced} in a second");
    assert!(answered >= 20, "{answered} answers: each waits for a batch at most");
}

#[test]
fn a_host_that_never_stops_announcing_has_few_of_its_signatures_checked() {
    let (mut house, mut flooder, mut honest) = (House::new(), Player::new(1), Player::new(2));
    let (link, other) = (house.link(&flooder), house.link(&honest));
    house.send(link, &announced(&flooder.announce(&[Op::Record(flooder.record())])));
    let mut checked = 0;
    for _ in 0..5_000 {
        let effects = house.send(link, &announced(&flooder.announce(&[])));
        checked += effects.notes.iter().filter(|note| matches!(note, Note::AnnouncementReceived { .. })).count();
    }
    assert!(checked <= 1_100, "{checked}");
    house.send(other, &announced(&honest.announce(&[Op::Record(honest.record())])));
    assert!(is_shown(&house, &honest), "others are heard");
}

#[test]
fn a_stranger_with_many_keys_takes_a_bounded_memory_and_crowds_out_nobody_who_was_there() {
    let mut house = House::with(Vec::new(), |settings| settings.rosters_bytes = 400_000);
    let full = |player: &mut Player, count: u8| {
        let mut announcements = vec![player.announce(&[Op::Record(player.record())])];
        for number in 0..count {
            let (peer, proof) = player.mint(number);
            let join = Op::Join { topic: named("s0").id, peer, meta: bytes::Bytes::from_static(&[b'1'; 1_000]) };
            announcements.push(player.announce(&[Op::Present { peer, proof }, join]));
        }
        announcements
    };
    let mut honest = Player::new(1);
    let link = house.link(&honest);
    for announcement in full(&mut honest, 100) {
        house.send(link, &announced(&announcement));
    }
    let mut faults = Vec::new();
    for number in 2..12 {
        let mut sybil = Player::new(number);
        house.wait(SECOND / 100);
        let link = house.link(&sybil);
        for announcement in full(&mut sybil, 100) {
            faults.extend(house.send(link, &announced(&announcement)).faults());
        }
        let view = house.relay.view(house.now);
        let memberships: usize = view.hosts.iter().map(|host| host.memberships).sum();
        assert!(memberships <= 400_000 / 1_000, "{memberships}");
    }
    assert!(faults.len() >= 8 && faults.iter().all(|fault| *fault == Fault::OverQuota), "{faults:?}");
    assert!(is_shown(&house, &honest), "it was there before them");
}

#[test]
fn a_dead_host_is_not_shown_because_something_old_of_it_comes_late() {
    let (mut house, slow, mut dead) = (House::new(), Player::new(1), Player::new(2));
    let link = house.link(&slow);
    let first = dead.announce(&[Op::Record(dead.record())]);
    let (peer, proof) = dead.mint(1);
    let last = dead.announce(&[Op::Present { peer, proof }]);
    for late in [vec![announced(&first), announced(&last)], Vec::new()] {
        house.send(link, &announced(&Announcement { ops: None, ..last.clone() }));
        let have = HaveEntry::Named { number: 0, origin: dead.id, epoch: dead.epoch, seq: dead.seq };
        house.send(link, &Frame::Have(vec![have]));
        let effects = house.wait(12 * SECOND);
        assert!(!is_shown(&house, &dead));
        // Its last words arrive when it has been dead for long: as announcements, or as an answer.
        let by_answer = late.is_empty();
        late.iter().for_each(|frame| _ = house.send(link, frame));
        for query in queries_of(&effects).iter().filter(|_| by_answer) {
            house.send(link, &Frame::Reply(dead.answer(query, 256, 60_000)));
        }
        assert!(!is_shown(&house, &dead));
        house.wait(60 * SECOND);
        assert!(!is_shown(&house, &dead));
        // It was not dead after all.
        house.send(link, &announced(&dead.announce(&[])));
        assert!(is_shown(&house, &dead));
        house.wait(12 * SECOND);
        assert!(!is_shown(&house, &dead));
        (house, dead) = (House::new(), Player::new(2));
        house.link(&slow);
        dead.announce(&[Op::Record(dead.record())]);
        let (peer, proof) = dead.mint(1);
        dead.announce(&[Op::Present { peer, proof }]);
    }
}

/// The seqs of one host's announcements that go over a link.
fn seqs(effects: &Effects, link: aldis::relay::io::LinkKey) -> Vec<u64> {
    let seq = |frame: Frame| match frame {
        Frame::Announcement(announcement) => announcement.head.peek().ok().map(|head| head.seq),
        _ => None,
    };
    effects.frames(link).into_iter().filter_map(seq).collect()
}

#[test]
fn what_fills_a_gap_goes_at_once_to_those_who_were_sent_what_came_after_it() {
    let (mut house, above, below, mut origin) = (House::new(), Player::new(1), Player::new(2), Player::new(3));
    let (up, down) = (house.link(&above), house.link(&below));
    let first = origin.announce(&[Op::Record(origin.record())]);
    let head = first.head.peek().unwrap();
    house.send(up, &announced(&first));
    house.send(down, &Frame::Graft(origin.id, head.epoch, head.seq));
    let [missing, newest] = [1, 2].map(|number| {
        let (peer, proof) = origin.mint(number);
        origin.announce(&[Op::Present { peer, proof }])
    });
    let after = |count| head.seq + count;
    assert_eq!(seqs(&house.send(up, &announced(&newest)), down), [after(2)]);
    assert_eq!(seqs(&house.send(up, &announced(&missing)), down), [after(1)]);
    assert!(seqs(&house.send(up, &announced(&missing)), down).is_empty(), "once");
}
