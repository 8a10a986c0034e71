//! Neighbours and origins that take more than their share: of what is told to them, of places, of everybody's time.

use std::time::Duration;

use aldis::relay::io::{Event, LinkKey, Note, Request};
use aldis::relay::limits::{
    ANSWERS, COMPARED, DEADLINES_MAX, EXPIRED_MAX, NEW_ORIGINS_PER_LINK, ORIGINS_LINKED, ORIGINS_MAX, Rate, UNSEEN_MAX,
};
use aldis_wire::announcement::Op;
use aldis_wire::host::{Frame, HaveEntry, Outcome, Query, Range};
use aldis_wire::id::{HostId, PeerId};
use aldis_wire::limits::{ANNOUNCED_BYTES_BURST, ANNOUNCED_BYTES_PER_SECOND, ANNOUNCEMENTS_PER_SECOND, FRAME_BYTES};
use aldis_wire::refusal::Refusal;
use bytes::Bytes;

use crate::neighbour::{Effects, House, Player, named};

const NO_LIMIT: Rate = Rate { per_second: 0, burst: 0 };
const ROOT: Range = Range { key: [0; 32], nibbles: 0 };

fn players(numbers: std::ops::Range<u16>) -> impl Iterator<Item = Player> {
    numbers.map(Player::new)
}

/// Its first announcement.
fn first(player: &mut Player) -> Frame {
    let record = player.record();
    Frame::Announcement(player.announce(&[Op::Record(record)]))
}

/// Joins of `peers` in `topics` each, with metas of full size that begin with `mark`.
fn joins(player: &Player, peers: u8, topics: u8, mark: u8) -> Vec<Op> {
    let of_peer = |number| {
        let (peer, _) = player.mint(number);
        let meta = move |topic: u8| Bytes::from([&[b'"', mark, topic, number], &[b'm'; 1_019][..], b"\""].concat());
        (0..topics).map(move |topic| Op::Join { topic: named(&topic.to_string()).id, peer, meta: meta(topic) })
    };
    (0..peers).flat_map(of_peer).collect()
}

fn presences(player: &Player, peers: u8) -> Vec<Op> {
    let present = |number| {
        let (peer, proof) = player.mint(number);
        Op::Present { peer, proof }
    };
    (0..peers).map(present).collect()
}

fn bytes_of(effects: &Effects, link: LinkKey) -> usize {
    effects.frames(link).iter().map(|frame| frame.encode().unwrap().len()).sum()
}

fn dropped(effects: &Effects) -> bool {
    effects.notes.iter().any(|note| matches!(note, Note::QuestionDropped { .. }))
}

#[test]
fn who_asks_without_end_is_told_so_much_at_once_and_then_little() {
    let mut house = House::new();
    let (mut origin, asker, other) = (Player::new(1), Player::new(2), Player::new(3));
    let (link, other) = (house.link(&asker), house.link(&other));
    let from = house.link(&origin);
    let announcement = first(&mut origin);
    house.send(from, &announcement);
    for ops in [presences(&origin, 29), joins(&origin, 29, 1, 0), joins(&origin, 29, 1, 1)] {
        let announcement = origin.announce(&ops);
        house.send(from, &Frame::Announcement(announcement));
    }
    let graft = Frame::Graft(origin.id, origin.epoch, 2);
    let mut told = 0;
    let most = ANSWERS.burst as usize * 1_024;
    loop {
        let effects = house.send(link, &graft);
        told += bytes_of(&effects, link);
        if dropped(&effects) {
            break;
        }
        assert!(told < most + FRAME_BYTES, "{told}");
    }
    assert!(told > most - most / 10, "{told}");
    let query = Frame::Query(Query { origin: origin.id, ranges: vec![ROOT] });
    let effects = house.send(link, &query);
    assert!(dropped(&effects) && effects.frames(link).is_empty(), "one allowance for both");
    assert!(bytes_of(&house.send(other, &graft), other) > 60_000, "others are answered");
    assert!(house.send(other, &query).frames(other).iter().any(|frame| matches!(frame, Frame::Reply(_))));

    house.wait(Duration::from_secs(1));
    let answers = (0..1_000).map(|_| bytes_of(&house.send(link, &graft), link)).sum::<usize>();
    let rate = ANSWERS.per_second as usize * 1_024;
    assert!(answers > rate / 2 && answers < rate + 2 * FRAME_BYTES, "{answers}");
}

#[test]
fn an_origin_that_announces_more_bytes_than_it_may_is_passed_on_no_faster_and_caught_up_with() {
    let mut house = House::new();
    let (mut origin, wants) = (Player::new(1), Player::new(2));
    let (from, to) = (house.link(&origin), house.link(&wants));
    let announcement = first(&mut origin);
    house.send(from, &announcement);
    house.send(to, &Frame::Graft(origin.id, origin.epoch, 1));
    let announcement = origin.announce(&presences(&origin, 30));
    house.send(from, &Frame::Announcement(announcement));
    let (mut all, mut passed_on, mut asked) = (0, 0, false);
    let mut announce = |house: &mut House, mark: u8| {
        let announcement = origin.announce(&joins(&origin, 29, 1, mark));
        all += announcement.ops.as_ref().unwrap().len();
        let effects = house.send(from, &Frame::Announcement(announcement));
        passed_on += bytes_of(&effects, to);
        asked |= effects.frames(from).iter().any(|frame| matches!(frame, Frame::Query(_)));
        assert!(effects.faults().is_empty(), "somebody on the way may have held them back");
        (all, passed_on, asked)
    };
    // The burst of announcements is not exceeded, and their rate is kept to.
    (0..500).for_each(|number| _ = announce(&mut house, (number % 200) as u8));
    let seconds = 10;
    let mut counted = (0, 0, false);
    for number in 0..seconds * ANNOUNCEMENTS_PER_SECOND {
        house.now = house.now + Duration::from_secs(1) / ANNOUNCEMENTS_PER_SECOND;
        counted = announce(&mut house, (number % 200) as u8);
    }
    let may = (ANNOUNCED_BYTES_BURST + (seconds + 1) * ANNOUNCED_BYTES_PER_SECOND) as usize;
    let (all, passed_on, asked) = counted;
    assert!(all > may + may / 4, "{all} bytes were announced, and {may} may be");
    assert!(passed_on < may + may / 20 && passed_on > may - may / 5, "{passed_on} of {may} bytes");
    assert!(asked, "the rest is asked for");
}

#[test]
fn edges_with_large_metas_are_refused_before_the_network_ignores_their_host() {
    let mut house = House::with(Vec::new(), |settings| {
        (settings.edge_rate, settings.edge_change_rate, settings.address_rate) = (NO_LIMIT, NO_LIMIT, NO_LIMIT);
    });
    let link = house.link(&Player::new(1));
    house.send(link, &Frame::Graft(house.id, 0, 0));
    let (edge, _) = house.edge("room");
    let ask = |house: &mut House, number: usize| {
        let meta = Bytes::from(format!("\"{number:06}{}\"", "m".repeat(1_000)));
        let request =
            Request::Join { id: number.to_string().into(), topic: named("room"), meta: Some(meta), quiet: false };
        let effects = house.handle(aldis::relay::io::Input::EdgeAsked { edge, request });
        house.take(&effects);
        let refusal = effects.told(edge).into_iter().find_map(|event| match event {
            Event::Error { refusal, .. } => Some(refusal),
            _ => None,
        });
        (refusal, bytes_of(&effects, link))
    };
    let (mut announced, mut asked) = (0, 0);
    let refusal = loop {
        let (refusal, bytes) = ask(&mut house, asked);
        (announced, asked) = (announced + bytes, asked + 1);
        if let Some(refusal) = refusal {
            break refusal;
        }
        assert!(announced < ANNOUNCED_BYTES_BURST as usize);
    };
    assert_eq!(refusal, Refusal::Overloaded);
    assert!(announced > ANNOUNCED_BYTES_BURST as usize / 3, "{announced}");
    let leave = Request::Leave { id: "leave".into(), topic: named("room") };
    let left = house.handle(aldis::relay::io::Input::EdgeAsked { edge, request: leave });
    assert!(left.told(edge).iter().any(|event| matches!(event, Event::Left { .. })), "whoever goes may go");
    house.wait(Duration::from_secs(1));
    assert_eq!(ask(&mut house, asked).0, None);
}

#[test]
fn an_origin_that_changes_everything_again_and_again_is_compared_at_a_bounded_rate() {
    const PEERS: u8 = 32;
    let mut house = House::new();
    let mut origin = Player::new(1);
    let link = house.link(&origin);
    let announcement = first(&mut origin);
    house.send(link, &announcement);
    let (mut brought, mut seconds) = (0, 0_usize);
    origin.announce(&presences(&origin, PEERS));
    let burst = COMPARED.burst as usize;
    for mark in 0..170 {
        // Announcements that never come, and one that shows that there were some.
        for of in joins(&origin, PEERS, 32, mark).chunks(28) {
            origin.announce(of);
        }
        origin.pass_over(70);
        let newest = origin.announce(&[]);
        let mut effects = house.send(link, &Frame::Announcement(newest));
        seconds += 1;
        for _ in 0..2 {
            let mut more = house.wait(Duration::from_millis(500));
            loop {
                let queries: Vec<Query> =
                    more.frames(link).into_iter().chain(effects.frames(link)).filter_map(query).collect();
                (effects, more) = (Effects::default(), Effects::default());
                if queries.is_empty() {
                    break;
                }
                for query in queries {
                    let reply = Frame::Reply(origin.answer(&query, 28, FRAME_BYTES - 2_048));
                    brought += reply.encode().unwrap().len();
                    more.outputs.extend(house.send(link, &reply).outputs);
                }
            }
        }
    }
    // Frames have a little around their entries.
    let may = (burst + (seconds + 10) * COMPARED.per_second as usize) * 21 / 20;
    assert!(brought > burst && brought < may, "{brought} bytes in {seconds} s, and {may} may come");
}

fn query(frame: Frame) -> Option<Query> {
    if let Frame::Query(query) = frame { Some(query) } else { None }
}

#[test]
fn neighbours_that_name_hosts_that_are_not_there_have_so_many_asked_for_and_no_more() {
    let mut house = House::new();
    let links: Vec<LinkKey> = players(1..4).map(|player| house.link(&player)).collect();
    for (number, link) in (0_u8..).zip(&links) {
        let invented = |at: u16| {
            let [high, low] = at.to_be_bytes();
            let mut id = [number; 32];
            (id[0], id[1]) = (high, low);
            HaveEntry::Named { number: at, origin: HostId::new(id), epoch: 1, seq: 1 }
        };
        house.send(*link, &Frame::Have((0..4_096).map(invented).collect()));
    }
    let tables = house.relay.tables();
    assert_eq!(tables.asking, UNSEEN_MAX);
    assert!(tables.timers < UNSEEN_MAX + 100, "{}", tables.timers);
    house.wait(Duration::from_secs(60));
    let tables = house.relay.tables();
    assert!(tables.asking == 0 && tables.timers < 20, "nobody could show them: {tables:?}");
}

/// How many of these hosts are taken when their first announcements come over one link.
fn taken(house: &mut House, link: LinkKey, hosts: impl Iterator<Item = Player>) -> usize {
    let mut taken = 0;
    for mut host in hosts {
        let announcement = first(&mut host);
        let effects = house.send(link, &announcement);
        taken += effects.notes.iter().filter(|note| matches!(note, Note::HostAppeared { .. })).count();
    }
    taken
}

#[test]
fn four_neighbours_that_work_together_do_not_fill_the_table_and_who_is_linked_always_finds_a_place() {
    let mut house = House::new();
    let liars: Vec<LinkKey> = players(1..5).map(|player| house.link(&player)).collect();
    let honest = house.link(&Player::new(9));
    let mut inventions = 0;
    for (number, link) in (1..).zip(&liars) {
        inventions += taken(&mut house, *link, players(number * 2_000..number * 2_000 + 1_030));
    }
    assert!(inventions > ORIGINS_MAX * 3 / 5 && inventions < ORIGINS_MAX * 9 / 10, "{inventions}");
    assert_eq!(taken(&mut house, honest, players(10_000..10_200)), 200, "newcomers of another link are taken");

    // Many more of them leave nothing for others, but for those who are linked themselves.
    for number in 0..36_u16 {
        let link = house.link(&Player::new(100 + number));
        taken(&mut house, link, players(20_000 + number * 300..20_300 + number * 300));
    }
    assert_eq!(house.relay.tables().origins, ORIGINS_MAX - ORIGINS_LINKED);
    for number in 200..205 {
        let mut newcomer = Player::new(number);
        let link = house.link(&newcomer);
        let announcement = first(&mut newcomer);
        house.send(link, &announcement);
    }
    assert_eq!(house.relay.tables().origins, ORIGINS_MAX - ORIGINS_LINKED + 5);
}

#[test]
fn rosters_that_have_expired_give_their_places_to_whoever_comes() {
    let mut house = House::new();
    let links: Vec<LinkKey> = players(1..14).map(|player| house.link(&player)).collect();
    for (number, link) in (1..).zip(&links[..6]) {
        let lasting = players(number * 1_000..number * 1_000 + 500).map(|mut host| {
            host.interval_ms = 300_000;
            host
        });
        assert_eq!(taken(&mut house, *link, lasting), 500);
    }
    let brief: usize = (10..)
        .zip(&links[6..12])
        .map(|(number, link)| taken(&mut house, *link, players(number * 1_000..number * 1_000 + 600)))
        .sum();
    let places = ORIGINS_MAX - ORIGINS_LINKED;
    assert!(brief <= EXPIRED_MAX && house.relay.tables().origins > places - 100, "{brief}");
    house.wait(Duration::from_secs(20));
    assert!(house.relay.tables().origins > places - 100, "they are kept for a while");
    assert_eq!(taken(&mut house, links[12], players(30_000..30_300)), 300);
    assert_eq!(house.relay.tables().origins, places);
}

#[test]
fn a_host_that_has_just_started_learns_of_a_thousand_others_from_one_neighbour_at_once() {
    let mut house = House::new();
    let first = house.link(&Player::new(1));
    let burst = u16::try_from(NEW_ORIGINS_PER_LINK.burst).unwrap();
    assert_eq!(taken(&mut house, first, players(1_000..1_000 + burst)), usize::from(burst));
    assert_eq!(taken(&mut house, first, players(3_000..3_010)), 0);
    house.wait(Duration::from_secs(5));
    assert_eq!(taken(&mut house, first, players(3_010..3_020)), 5, "one a second");
}

#[test]
fn three_thousand_hosts_that_come_over_six_links_are_all_taken() {
    let mut house = House::new();
    for number in 1..7 {
        let link = house.link(&Player::new(number));
        assert_eq!(taken(&mut house, link, players(number * 1_000..number * 1_000 + 500)), 500);
    }
}

#[test]
fn so_many_signals_wait_for_their_time_and_one_more_is_refused() {
    let mut house = House::with(Vec::new(), |settings| {
        (settings.edge_rate, settings.address_rate) = (NO_LIMIT, NO_LIMIT);
    });
    let (edge, _) = house.edge("room");
    let mut signal = |number: usize| {
        let id: std::sync::Arc<str> = number.to_string().into();
        let to = PeerId::new([9; 32]);
        let request = Request::Signal { id, to, topic: None, data: Bytes::from_static(b"1") };
        let receipt = house.handle(aldis::relay::io::Input::EdgeAsked { edge, request }).told(edge).pop();
        let Some(Event::Receipt { seq, outcome, .. }) = receipt else { panic!("{receipt:?}") };
        house.handle(aldis::relay::io::Input::EdgeAsked { edge, request: Request::Ack { seq } });
        outcome
    };
    for number in 0..DEADLINES_MAX {
        assert_eq!(signal(number), Outcome::Refused(Refusal::NoSuchPeer));
    }
    assert_eq!(signal(DEADLINES_MAX), Outcome::Refused(Refusal::Overloaded));
    assert_eq!(house.relay.tables().deadlines, DEADLINES_MAX);
    house.wait(Duration::from_secs(6));
    assert_eq!(house.relay.tables().deadlines, 0);
}
