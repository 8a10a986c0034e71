//! What a hostile host may try over a link, and what comes of it: a typed fault, and nobody else is harmed.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may fail by panic")]

mod neighbour;

use std::collections::BTreeSet;
use std::time::Duration;

use aldis::relay::io::{Event, Fault, LinkKey, Note, Output, Request, StopReason};
use aldis::relay::limits::FAULTY_MAX;
use aldis_wire::announcement::{GoneReason, Op, encode_ops};
use aldis_wire::host::{
    Announcement, Bounce, Channel, Frame, GoodbyeReason, HaveEntry, Outcome, Part, Query, Range, Receipt, Reply,
    Routed, Signal,
};
use aldis_wire::id::{HostId, PeerId};
use aldis_wire::proof::Proof;
use aldis_wire::record::SignedRecord;
use aldis_wire::refusal::Refusal;
use aldis_wire::seal::Binding;
use bytes::Bytes;
use ed25519_dalek::SigningKey;
use neighbour::{Effects, House, Player, named, network};

const SECOND: Duration = Duration::from_secs(1);

/// The ops by which a host with one peer in `topic` begins.
fn opening(player: &Player, peer: &(PeerId, Proof), topic: &str) -> Vec<Op> {
    vec![
        Op::Record(player.record()),
        Op::Present { peer: peer.0, proof: peer.1.clone() },
        Op::Join { topic: named(topic).id, peer: peer.0, meta: Bytes::new() },
    ]
}

fn announced(announcement: &Announcement) -> Frame {
    Frame::Announcement(announcement.clone())
}

fn assert_sent_away(effects: &Effects, link: LinkKey, fault: Fault) {
    assert_eq!(effects.faults(), [fault]);
    assert_eq!(effects.closed(link), Some(GoodbyeReason::Misbehaved));
    assert!(effects.frames(link).contains(&Frame::Goodbye(GoodbyeReason::Misbehaved)), "it is told why");
}

// ---- Admission --------------------------------------------------------------------------------------------------

#[test]
fn a_host_without_the_genesis_key_learns_nothing_of_us() {
    let (mut house, player) = (House::new(), Player::new(1));
    let link = house.connect(&player);
    let mut hello = house.hello_of(&player);
    hello.proof[0] ^= 1;
    let effects = house.send(link, &Frame::Hello(hello));
    assert_eq!(effects.faults(), [Fault::WrongProof]);
    assert_eq!(effects.closed(link), Some(GoodbyeReason::NotAdmitted));
    assert_eq!(effects.frames(link), [Frame::Goodbye(GoodbyeReason::NotAdmitted)]);
}

#[test]
fn a_hello_with_the_record_of_another_host_is_refused() {
    let (mut house, player, other) = (House::new(), Player::new(1), Player::new(2));
    let link = house.connect(&player);
    let mut hello = house.hello_of(&player);
    hello.record = other.record();
    let effects = house.send(link, &Frame::Hello(hello));
    assert_sent_away(&effects, link, Fault::BadSignature);
}

#[test]
fn nothing_counts_before_hello_and_a_silent_host_is_sent_away() {
    let (mut house, mut player) = (House::new(), Player::new(1));
    let peer = player.mint(1);
    let first = player.announce(&opening(&player, &peer, "s0"));
    for frame in [announced(&first), Frame::Have(Vec::new()), Frame::Prune(player.id), Frame::Graft(player.id, 0, 0)] {
        let link = house.connect(&player);
        let effects = house.send(link, &frame);
        assert_sent_away(&effects, link, Fault::OutOfOrder);
    }
    let link = house.connect(&player);
    let effects = house.send_raw(link, Channel::Control, 200, Bytes::new());
    assert_sent_away(&effects, link, Fault::OutOfOrder);
    let link = house.connect(&player);
    let effects = house.wait(5 * SECOND);
    assert_eq!(effects.closed(link), Some(GoodbyeReason::NotAdmitted));
    assert_eq!(effects.faults(), [Fault::NoHello]);
}

#[test]
fn frames_that_cannot_be_read_or_come_on_the_wrong_channel_end_the_link() {
    let player = Player::new(1);
    let garbage = Bytes::from(vec![0xff; 300]);
    for kind in [1, 3, 4, 5, 6, 7] {
        let mut house = House::new();
        let link = house.link(&player);
        let effects = house.send_raw(link, Channel::Control, kind, garbage.clone());
        assert_sent_away(&effects, link, Fault::BadFrame);
    }
    let mut house = House::new();
    let link = house.link(&player);
    let (kind, body) = Frame::Prune(player.id).kind_and_body().unwrap();
    let effects = house.send_raw(link, Channel::Lane(0), kind, body.into());
    assert_sent_away(&effects, link, Fault::OutOfOrder);
    let mut house = House::new();
    let link = house.link(&player);
    let effects = house.send(link, &Frame::Hello(house.hello_of(&player)));
    assert_sent_away(&effects, link, Fault::OutOfOrder);
}

#[test]
fn a_frame_of_a_newer_version_is_skipped_on_a_link() {
    let (mut house, player) = (House::new(), Player::new(1));
    let link = house.connect(&player);
    let hello = house.hello_of(&player);
    house.send(link, &Frame::Hello(hello));
    // Their `Admitted` may be overtaken by frames on other streams.
    let effects = house.send_raw(link, Channel::Announce, 200, Bytes::from_static(b"news"));
    assert_eq!((effects.faults().len(), effects.closed(link)), (0, None));
    let effects = house.send(link, &Frame::Admitted);
    assert!(effects.notes.iter().any(|note| matches!(note, Note::LinkAdmitted { .. })));
}

// ---- Announcements ----------------------------------------------------------------------------------------------

#[test]
fn an_announcement_that_its_origin_did_not_sign_ends_the_link_and_changes_nothing() {
    let (mut house, mut player, mut victim) = (House::new(), Player::new(1), Player::new(2));
    let (edge, _) = house.edge("s0");
    let link = house.link(&player);
    let peer = victim.mint(1);
    let real = victim.announce(&opening(&victim, &peer, "s0"));
    let head = real.head.peek().unwrap();
    player.seq = 0;
    let forged = Announcement {
        head: aldis_wire::announcement::SignedHead::make(&player.key, network().tag, &head).unwrap(),
        ..real
    };
    let effects = house.send(link, &announced(&forged));
    assert_sent_away(&effects, link, Fault::BadSignature);
    assert_eq!(house.members(edge, "s0"), []);
}

#[test]
fn ops_that_are_not_those_of_the_head_end_the_link() {
    let (mut house, player, mut victim) = (House::new(), Player::new(1), Player::new(2));
    let (edge, _) = house.edge("s0");
    let link = house.link(&player);
    let (peer, other) = (victim.mint(1), victim.mint(2));
    let real = victim.announce(&opening(&victim, &peer, "s0"));
    let swapped = encode_ops(&opening(&victim, &other, "s0")).unwrap();
    let effects = house.send(link, &announced(&Announcement { ops: Some(swapped), ..real }));
    assert_sent_away(&effects, link, Fault::BadFrame);
    assert_eq!(house.members(edge, "s0"), []);
}

#[test]
fn a_host_whose_digest_is_wrong_is_hidden_until_its_next_epoch() {
    let (mut house, mut player) = (House::new(), Player::new(1));
    let (edge, _) = house.edge("s0");
    let link = house.link(&player);
    let peer = player.mint(1);
    let effects = house.send(link, &announced(&player.announce(&opening(&player, &peer, "s0"))));
    assert_eq!(effects.faults(), []);
    assert_eq!(house.members(edge, "s0"), [peer.0]);

    let leave = Op::Leave { topic: named("s0").id, peer: peer.0 };
    let wrong = player.announce_with(&[leave], [6; 32]);
    let effects = house.send(link, &announced(&wrong));
    assert_eq!(effects.faults(), [Fault::WrongDigest]);
    assert_eq!(effects.closed(link), None, "it may have come by way of an honest neighbour");
    assert_eq!(house.members(edge, "s0"), []);
    let again = player.announce(&opening(&player, &peer, "s0"));
    house.send(link, &announced(&again));
    assert_eq!(house.members(edge, "s0"), [], "nothing of this epoch is believed any more");

    player.restart();
    let fresh = player.announce(&opening(&player, &peer, "s0"));
    house.send(link, &announced(&fresh));
    assert_eq!(house.members(edge, "s0"), [peer.0]);
}

#[test]
fn an_op_that_the_roster_does_not_allow_is_the_origins_fault() {
    let stranger = Player::new(9).mint(1);
    let member = |player: &Player| opening(player, &player.mint(1), "s0");
    let foreign = |player: &Player| {
        vec![Op::Record(player.record()), Op::Present { peer: stranger.0, proof: stranger.1.clone() }]
    };
    let absent = |player: &Player| {
        vec![
            Op::Record(player.record()),
            Op::Join { topic: named("s0").id, peer: player.mint(1).0, meta: Bytes::new() },
        ]
    };
    let borrowed = |_: &Player| vec![Op::Record(Player::new(9).record())];
    let unsigned = |player: &Player| {
        let key = SigningKey::from_bytes(&[77; 32]);
        let record = player.record().open(network().tag).unwrap();
        vec![Op::Record(SignedRecord::make(&key, network().tag, &record).unwrap())]
    };
    let gone = |player: &Player| vec![Op::Gone { peer: player.mint(3).0, reason: GoneReason::Closed }];
    type Ops<'a> = &'a dyn Fn(&Player) -> Vec<Op>;
    let cases: [(Ops<'_>, Option<Fault>); 6] = [
        (&member, None),
        (&foreign, Some(Fault::BadProof)),
        (&absent, Some(Fault::BadOp)),
        (&borrowed, Some(Fault::BadOp)),
        (&unsigned, Some(Fault::BadOp)),
        (&gone, Some(Fault::BadOp)),
    ];
    for (ops, fault) in cases {
        let (mut house, mut player) = (House::new(), Player::new(1));
        let link = house.link(&player);
        let announcement = player.announce(&ops(&player));
        let effects = house.send(link, &announced(&announcement));
        assert_eq!(effects.faults(), fault.into_iter().collect::<Vec<_>>());
    }
}

#[test]
fn a_host_that_is_at_fault_again_and_again_is_admitted_once_a_minute() {
    let (mut house, player) = (House::new(), Player::new(1));
    let offend = |house: &mut House| {
        let link = house.link(&player);
        let effects = house.send(link, &Frame::Admitted);
        assert_sent_away(&effects, link, Fault::OutOfOrder);
    };
    let turned_away = |house: &mut House| {
        let link = house.connect(&player);
        let hello = house.hello_of(&player);
        let effects = house.send(link, &Frame::Hello(hello));
        assert_eq!(effects.frames(link), [Frame::Goodbye(GoodbyeReason::Misbehaved)], "before anything is told");
        assert_eq!(effects.closed(link), Some(GoodbyeReason::Misbehaved));
        assert_eq!(effects.faults(), [], "to come is no fault");
    };
    (0..3).for_each(|_| offend(&mut house));
    turned_away(&mut house);
    house.wait(50 * SECOND);
    turned_away(&mut house);
    house.wait(15 * SECOND);
    offend(&mut house);
    turned_away(&mut house);
    house.link(&Player::new(2));
}

#[test]
fn of_more_faulty_hosts_than_are_remembered_the_mildest_is_forgiven() {
    let mut house = House::new();
    let mut offend = |number: u16| {
        let player = Player::new(number);
        let link = house.link(&player);
        house.send(link, &Frame::Admitted);
    };
    (0..3).for_each(|_| offend(1));
    (2..=u16::try_from(FAULTY_MAX).unwrap() + 5).for_each(&mut offend);
    assert_eq!(house.relay.tables().faults, FAULTY_MAX);
    let player = Player::new(1);
    let link = house.connect(&player);
    let hello = house.hello_of(&player);
    let effects = house.send(link, &Frame::Hello(hello));
    assert_eq!(effects.closed(link), Some(GoodbyeReason::Misbehaved), "the worst one is remembered");
}

#[test]
fn what_was_recorded_cannot_be_played_again() {
    let (mut house, mut player) = (House::new(), Player::new(1));
    let (edge, _) = house.edge("s0");
    let link = house.link(&player);
    let peer = player.mint(1);
    let joined = player.announce(&opening(&player, &peer, "s0"));
    let left = player.announce(&[Op::Leave { topic: named("s0").id, peer: peer.0 }]);
    for announcement in [&joined, &left, &joined, &left, &joined] {
        house.send(link, &announced(announcement));
    }
    assert_eq!(house.members(edge, "s0"), []);
    player.restart();
    let fresh = player.announce(&[Op::Record(player.record())]);
    for announcement in [&fresh, &joined, &left, &joined] {
        house.send(link, &announced(announcement));
    }
    assert_eq!(house.members(edge, "s0"), [], "an epoch that is over");
}

#[test]
fn a_host_that_left_is_not_raised_from_the_dead_after_our_restart() {
    let mut player = Player::new(1);
    let peer = player.mint(1);
    let joined = player.announce(&opening(&player, &peer, "s0"));
    let mut house = House::with_marks(vec![(player.id, player.epoch, player.seq)]);
    let (edge, _) = house.edge("s0");
    let link = house.link(&Player::new(2));
    house.send(link, &announced(&joined));
    assert_eq!(house.members(edge, "s0"), []);
    player.restart();
    let fresh = player.announce(&opening(&player, &peer, "s0"));
    house.send(link, &announced(&fresh));
    assert_eq!(house.members(edge, "s0"), [peer.0]);
}

#[test]
fn a_host_that_finds_its_own_id_under_epochs_it_never_issued_stops() {
    let (mut house, player) = (House::new(), Player::new(1));
    let link = house.link(&player);
    let mut twin = Player::new(0);
    twin.key = SigningKey::from_bytes(&[200; 32]);
    twin.id = house.id;
    for (epoch, stops) in [(9_000, false), (19_000, true)] {
        twin.epoch = epoch;
        let effects = house.send(link, &announced(&twin.announce(&[Op::Record(twin.record())])));
        let stopped = effects.outputs.contains(&Output::Stop { reason: StopReason::KeyInUse });
        assert_eq!(stopped, stops);
    }
}

#[test]
fn the_last_of_several_heartbeats_makes_up_for_those_before_it() {
    let (mut house, mut player) = (House::new(), Player::new(1));
    let link = house.link(&player);
    let first = player.announce(&[Op::Record(player.record())]);
    house.send(link, &announced(&first));
    let beats: Vec<_> = (0..4).map(|_| player.announce(&[])).collect();
    let (peer, proof) = player.mint(1);
    let change = player.announce(&[Op::Present { peer, proof }]);
    let newest = player.announce(&[]);
    house.send(link, &announced(&newest));
    let seen =
        |house: &House| house.relay.view(house.now).hosts.iter().map(|host| (host.seq, host.peers)).collect::<Vec<_>>();
    house.send(link, &announced(&change));
    assert_eq!(seen(&house), [(1, 0)], "something is missing before it");
    house.send(link, &announced(&beats[3]));
    assert_eq!(seen(&house), [(7, 1)]);
}

#[test]
fn one_link_brings_a_bounded_number_of_new_hosts_in_a_time() {
    let (mut house, player) = (House::new(), Player::new(1));
    let link = house.link(&player);
    for number in 0..1_100 {
        let mut invented = Player::new(1_000 + number);
        let announcement = invented.announce(&[Op::Record(invented.record())]);
        house.send(link, &announced(&announcement));
    }
    let known = house.relay.view(house.now).hosts.len();
    assert_eq!(known, 1_024, "a quarter of the table");
}

// ---- Summaries --------------------------------------------------------------------------------------------------

#[test]
fn hosts_that_are_only_talked_about_take_nobodys_place() {
    let (mut house, player, mut honest) = (House::new(), Player::new(1), Player::new(2));
    let (edge, _) = house.edge("s0");
    let link = house.link(&player);
    for round in 0..4_u16 {
        let invented = |number: u16| {
            let mut id = [round.to_be_bytes()[1]; 32];
            id[..2].copy_from_slice(&number.to_be_bytes());
            HaveEntry::Named { number, origin: HostId::new(id), epoch: 1 << 40, seq: 1 << 40 }
        };
        let entries: Vec<_> = (0..1_000).map(invented).collect();
        let effects = house.send(link, &Frame::Have(entries));
        assert_eq!(effects.faults(), []);
        house.wait(60 * SECOND);
        // It stays silent about them: no more is asked of it after a while.
        let effects = house.wait(10 * SECOND);
        assert!(effects.frames(link).iter().all(|frame| !matches!(frame, Frame::Graft(..) | Frame::Query(_))));
    }
    assert_eq!(house.relay.view(house.now).hosts.len(), 0);
    let peer = honest.mint(1);
    let other = house.link(&honest);
    house.send(other, &announced(&honest.announce(&opening(&honest, &peer, "s0"))));
    assert_eq!(house.members(edge, "s0"), [peer.0]);
}

#[test]
fn a_number_that_was_not_given_ends_the_link() {
    let (mut house, player) = (House::new(), Player::new(1));
    let link = house.link(&player);
    let effects = house.send(link, &Frame::Have(vec![HaveEntry::Numbered { number: 3, seq: 1, held: 0 }]));
    assert_sent_away(&effects, link, Fault::OutOfOrder);
}

#[test]
fn answers_that_nobody_asked_for_are_dropped_and_questions_about_strangers_are_answered_empty() {
    let (mut house, mut player) = (House::new(), Player::new(1));
    let (edge, _) = house.edge("s0");
    let link = house.link(&player);
    let peer = player.mint(1);
    let joined = player.announce(&opening(&player, &peer, "s0"));
    let entries = Part::Entries(joined.ops.clone().unwrap());
    let root = Range { key: [0; 32], nibbles: 0 };
    let reply = Reply { origin: player.id, head: Some((0, joined.head.clone())), parts: vec![(root, entries)] };
    let effects = house.send(link, &Frame::Reply(reply));
    assert_eq!((effects.faults().len(), effects.closed(link)), (0, None));
    assert_eq!(house.members(edge, "s0"), []);
    let effects = house.send(link, &Frame::Query(Query { origin: HostId::new([4; 32]), ranges: vec![root; 256] }));
    let nothing = Reply { origin: HostId::new([4; 32]), head: None, parts: Vec::new() };
    assert_eq!(effects.frames(link), [Frame::Reply(nothing)]);
}

// ---- Catching up ------------------------------------------------------------------------------------------------

/// A host with `count` peers in s0, which announced all of them, in several announcements, before we came.
fn crowded(number: u16, count: u16) -> (Player, BTreeSet<PeerId>) {
    let mut player = Player::new(number);
    player.announce(&[Op::Record(player.record())]);
    let mut peers = BTreeSet::new();
    let numbers: Vec<u16> = (0..count).collect();
    for chunk in numbers.chunks(100) {
        let mut ops = Vec::new();
        for number in chunk {
            let mut nonce = [0; 16];
            nonce[..2].copy_from_slice(&number.to_be_bytes());
            let peer = Proof::mint(player.id, &nonce);
            peers.insert(peer);
            ops.push(Op::Present { peer, proof: Proof::Minted { nonce } });
            ops.push(Op::Join { topic: named("s0").id, peer, meta: Bytes::new() });
        }
        player.announce(&ops);
    }
    (player, peers)
}

/// Answers every query about `player` by `answer` until there are no more; gives how many there were.
fn answer_queries(house: &mut House, link: LinkKey, first: Effects, mut answer: impl FnMut(&Query) -> Reply) -> usize {
    let (mut effects, mut count) = (first, 0);
    for _ in 0..200 {
        let queries = queries_of(&effects, link);
        let [query] = &queries[..] else { return count };
        count += 1;
        effects = house.send(link, &Frame::Reply(answer(query)));
    }
    panic!("it asks for ever");
}

fn members_of(house: &House, player: &Player) -> usize {
    let view = house.relay.view(house.now);
    view.hosts.iter().find(|host| host.host == player.id).map_or(0, |host| host.memberships)
}

#[test]
fn a_large_roster_is_caught_up_by_digests_from_any_honest_neighbour() {
    for (entries_max, bytes_max) in [(256, 60_000), (16, 60_000), (4, 20_000)] {
        let (mut house, neighbour) = (House::new(), Player::new(2));
        let (mut origin, peers) = crowded(1, 1_000);
        let link = house.link(&neighbour);
        // The neighbour shows the newest head alone: its log does not reach back to the beginning.
        let newest = Announcement { ops: None, ..origin.announce(&[]) };
        house.send(link, &announced(&newest));
        let effects = house.wait(5 * SECOND);
        let mut queries =
            answer_queries(&mut house, link, effects, |query| origin.answer(query, entries_max, bytes_max));
        for _ in 0..20 {
            let keep_alive = origin.announce(&[]);
            house.send(link, &announced(&keep_alive));
            let effects = house.wait(2 * SECOND);
            queries += answer_queries(&mut house, link, effects, |query| origin.answer(query, entries_max, bytes_max));
        }
        assert_eq!(
            members_of(&house, &origin),
            peers.len(),
            "{queries} queries, {entries_max} entries, {bytes_max} bytes"
        );
    }
}

#[test]
fn a_roster_that_changes_all_the_time_is_caught_up_nevertheless() {
    let (mut house, neighbour) = (House::new(), Player::new(2));
    let (mut origin, peers) = crowded(1, 500);
    let mut members: Vec<PeerId> = peers.into_iter().collect();
    let link = house.link(&neighbour);
    let newest = Announcement { ops: None, ..origin.announce(&[]) };
    house.send(link, &announced(&newest));
    let first = house.wait(SECOND);
    let mut open: Vec<Query> = queries_of(&first, link);
    let mut fresh = 0_u16;
    for _ in 0..100 {
        let Some(query) = open.pop() else { break };
        // Between a question and its answer somebody leaves, somebody comes, and both are announced over this link.
        fresh += 1;
        let mut nonce = [0xff; 16];
        nonce[..2].copy_from_slice(&fresh.to_be_bytes());
        let (gone, peer) =
            (members.swap_remove(usize::from(fresh) * 7 % members.len()), Proof::mint(origin.id, &nonce));
        members.push(peer);
        let topic = named("s0").id;
        let ops = [
            Op::Leave { topic, peer: gone },
            Op::Gone { peer: gone, reason: GoneReason::Closed },
            Op::Present { peer, proof: Proof::Minted { nonce } },
            Op::Join { topic, peer, meta: Bytes::new() },
        ];
        let before = house.send(link, &announced(&origin.announce(&ops)));
        let effects = house.send(link, &Frame::Reply(origin.answer(&query, 16, 20_000)));
        open.extend(queries_of(&before, link));
        open.extend(queries_of(&effects, link));
    }
    assert_eq!(members_of(&house, &origin), members.len(), "after {fresh} questions");
}

fn queries_of(effects: &Effects, link: LinkKey) -> Vec<Query> {
    let query = |frame| if let Frame::Query(query) = frame { Some(query) } else { None };
    effects.frames(link).into_iter().filter_map(query).collect()
}

#[test]
fn a_neighbour_that_answers_with_inventions_is_not_believed() {
    type Twist = fn(&mut Reply, &Player);
    let foreign: Twist = |reply, _| {
        let stranger = Player::new(9).mint(1);
        let op = Op::Present { peer: stranger.0, proof: stranger.1 };
        for (_, part) in &mut reply.parts {
            *part = Part::Entries(encode_ops(std::slice::from_ref(&op)).unwrap());
        }
    };
    let missing: Twist = |reply, _| reply.parts.iter_mut().for_each(|(_, part)| *part = Part::Entries(Bytes::new()));
    let garbage: Twist = |reply, _| {
        reply.parts.iter_mut().for_each(|(_, part)| *part = Part::Entries(Bytes::from_static(b"\x02garbage")));
    };
    let endless: Twist = |reply, _| {
        for (range, part) in &mut reply.parts {
            *part = Part::Below(vec![(*range, [6; 32])]);
        }
    };
    let own_head: Twist = |reply, liar| reply.head = Some((0, liar.head(1 << 40, 1, b"", [1; 32])));
    for twist in [foreign, missing, garbage, endless, own_head] {
        let (mut house, liar) = (House::new(), Player::new(2));
        let (mut origin, peers) = crowded(1, 300);
        let link = house.link(&liar);
        let newest = Announcement { ops: None, ..origin.announce(&[]) };
        house.send(link, &announced(&newest));
        for _ in 0..10 {
            let effects = house.wait(SECOND);
            let lie = |query: &Query| {
                let mut reply = origin.answer(query, 256, 60_000);
                twist(&mut reply, &liar);
                reply
            };
            if effects.closed(link).is_none() {
                answer_queries(&mut house, link, effects, lie);
            }
            assert_eq!(members_of(&house, &origin), 0);
        }
        // The origin itself is still heard, and believed.
        let link = house.link(&origin);
        for _ in 0..10 {
            let keep_alive = origin.announce(&[]);
            house.send(link, &announced(&keep_alive));
            let effects = house.wait(2 * SECOND);
            answer_queries(&mut house, link, effects, |query| origin.answer(query, 256, 60_000));
        }
        assert_eq!(members_of(&house, &origin), peers.len());
    }
}

// ---- Signals ----------------------------------------------------------------------------------------------------

fn signal(from: &(PeerId, Proof), to: PeerId, id: &str, n: u64) -> Signal {
    Signal {
        from: from.0,
        to,
        session: 1,
        n,
        id: id.into(),
        proof: from.1.clone(),
        topic: None,
        data: Bytes::from_static(b"{}"),
    }
}

fn signals_told(effects: &Effects, edge: aldis::relay::io::EdgeKey) -> usize {
    effects.told(edge).iter().filter(|event| matches!(event, Event::Signal { .. })).count()
}

#[test]
fn a_signal_whose_sender_is_not_at_home_on_the_link_ends_the_link() {
    let (mut house, player, victim) = (House::new(), Player::new(1), Player::new(2));
    let (edge, target) = house.edge("s0");
    let link = house.link(&player);
    let effects = house.send(link, &Frame::Signal(signal(&victim.mint(1), target, "x", 1)));
    assert_eq!(signals_told(&effects, edge), 0);
    assert_sent_away(&effects, link, Fault::ForeignSender);
}

#[test]
fn a_claim_for_another_home_and_an_old_claim_are_worth_nothing() {
    let (mut house, mut home, thief) = (House::new(), Player::new(1), Player::new(2));
    let (edge, target) = house.edge("s0");
    let key = SigningKey::from_bytes(&[60; 32]);
    let peer = PeerId::new(key.verifying_key().to_bytes());
    let claim = |home: &Player, counter| Proof::claim(&key, network().tag, home.id, counter, None);

    let true_link = house.link(&home);
    let ops = opening(&home, &(peer, claim(&home, 5)), "s0");
    house.send(true_link, &announced(&home.announce(&ops)));
    assert_eq!(house.members(edge, "s0"), [peer]);

    // The thief has heard the claim for the true home, and has an old one for its own.
    for (stolen, is_old) in [(claim(&home, 5), false), (claim(&thief, 4), true)] {
        let mut thief = Player::new(2);
        let link = house.link(&thief);
        let effects = house.send(link, &Frame::Signal(signal(&(peer, stolen.clone()), target, "x", 1)));
        assert_eq!(signals_told(&effects, edge), 0);
        if is_old {
            // An honest home from which the peer has just moved would send the same.
            let refused = Outcome::Refused(Refusal::Replaced);
            let receipt = Receipt { from: peer, to: target, id: "x".into(), outcome: refused };
            assert_eq!(effects.frames(link), [Frame::Receipt(receipt)]);
        } else {
            assert_sent_away(&effects, link, Fault::ForeignSender);
        }
        let link = house.link(&thief);
        let ops = opening(&thief, &(peer, stolen), "s1");
        house.send(link, &announced(&thief.announce(&ops)));
        thief.restart();
    }
    let sent = Request::Signal { id: "y".into(), to: peer, topic: None, data: Bytes::from_static(b"{}") };
    let effects = house.handle(aldis::relay::io::Input::EdgeAsked { edge, request: sent });
    let to_home = effects.frames(true_link);
    assert!(matches!(&to_home[..], [Frame::Signal(signal)] if signal.to == peer), "{to_home:?}");
}

#[test]
fn a_signal_is_taken_once_and_in_order() {
    let (mut house, player) = (House::new(), Player::new(1));
    let (edge, target) = house.edge("s0");
    let link = house.link(&player);
    let from = player.mint(1);
    let sent = [("a", 1, 1), ("a", 1, 0), ("b", 3, 1), ("c", 2, 0), ("a", 4, 0), ("d", 3, 0)];
    for (id, n, told) in sent {
        let effects = house.send(link, &Frame::Signal(signal(&from, target, id, n)));
        assert_eq!(signals_told(&effects, edge), told, "{id} {n}");
        assert_eq!(effects.faults(), []);
    }
    let effects = house.send(link, &Frame::Signal(signal(&from, target, "e", 3)));
    let overtaken = Outcome::Refused(Refusal::Overtaken);
    let receipt = Receipt { from: from.0, to: target, id: "e".into(), outcome: overtaken };
    assert_eq!(effects.frames(link), [Frame::Receipt(receipt)]);
}

#[test]
fn a_receipt_counts_only_from_the_home_to_which_the_signal_went() {
    let (mut house, mut home, liar) = (House::new(), Player::new(1), Player::new(2));
    let (edge, sender) = house.edge("s0");
    let link = house.link(&home);
    let liars_link = house.link(&liar);
    let peer = home.mint(1);
    house.send(link, &announced(&home.announce(&opening(&home, &peer, "s0"))));
    let sent = Request::Signal { id: "x".into(), to: peer.0, topic: None, data: Bytes::from_static(b"{}") };
    house.handle(aldis::relay::io::Input::EdgeAsked { edge, request: sent });
    let receipt = |to| Frame::Receipt(Receipt { from: sender, to, id: "x".into(), outcome: Outcome::Delivered });
    let receipts =
        |effects: &Effects| effects.told(edge).iter().filter(|event| matches!(event, Event::Receipt { .. })).count();
    assert_eq!(receipts(&house.send(liars_link, &receipt(peer.0))), 0);
    assert_eq!(receipts(&house.send(link, &receipt(PeerId::new([1; 32])))), 0, "it names another target");
    assert_eq!(receipts(&house.send(link, &receipt(peer.0))), 1);
    assert_eq!(receipts(&house.send(link, &receipt(peer.0))), 0, "one receipt for a signal");
}

// ---- Through third hosts ----------------------------------------------------------------------------------------

fn routed(from: &Player, to_home: HostId, nonce: u8, sealed: Bytes) -> Routed {
    Routed {
        to_home,
        from_home: from.id,
        to_epoch: 5_000,
        from_epoch: from.epoch,
        hops: 1,
        lane: 0,
        nonce: [nonce; 24],
        sealed,
    }
}

#[test]
fn what_does_not_open_goes_back_and_blames_nobody() {
    let (mut house, mut sender, middle) = (House::new(), Player::new(1), Player::new(2));
    let (edge, target) = house.edge("s0");
    let link = house.link(&middle);
    house.send(link, &announced(&sender.announce(&[Op::Record(sender.record())])));
    let frame = Frame::Signal(signal(&sender.mint(1), target, "x", 1));
    let (kind, body) = frame.kind_and_body().unwrap();
    let binding = Binding { tag: network().tag, from: (sender.id, sender.epoch), to: (house.id, 5_000) };
    let shared = sender.sealing().shared(&house.sealing.public()).unwrap();
    let sealed = Bytes::from(shared.seal(&[1; 24], &binding, &[&[kind][..], &body].concat()).unwrap());
    let good = routed(&sender, house.id, 1, sealed.clone());

    let mut flipped = sealed.to_vec();
    flipped[3] ^= 1;
    let changed = [
        Routed { sealed: flipped.into(), ..good.clone() },
        Routed { sealed: Bytes::new(), ..good.clone() },
        Routed { nonce: [2; 24], ..good.clone() },
        Routed { from_epoch: 1, ..good.clone() },
        Routed { to_epoch: 4_999, ..good.clone() },
        Routed { from_home: middle.id, ..good.clone() },
    ];
    for routed in changed {
        let bounce = Bounce { from_home: routed.from_home, nonce: routed.nonce, refusal: Refusal::HomeUnreachable };
        let effects = house.send(link, &Frame::Routed(routed));
        assert_eq!(effects.frames(link), [Frame::Bounce(bounce)]);
        assert_eq!((signals_told(&effects, edge), effects.closed(link)), (0, None));
    }
    let effects = house.send(link, &Frame::Routed(good));
    assert_eq!(signals_told(&effects, edge), 1);
}

#[test]
fn what_a_host_on_the_way_plays_again_is_dropped_also_after_hours() {
    let (mut house, mut sender, middle) = (House::new(), Player::new(1), Player::new(2));
    let (edge, target) = house.edge("s0");
    let link = house.link(&middle);
    house.send(link, &announced(&sender.announce(&[Op::Record(sender.record())])));
    let binding = Binding { tag: network().tag, from: (sender.id, sender.epoch), to: (house.id, 5_000) };
    let shared = sender.sealing().shared(&house.sealing.public()).unwrap();
    let sealed = |number, id: &str, session| {
        let signal = Signal { session, ..signal(&sender.mint(1), target, id, 1) };
        let (kind, body) = Frame::Signal(signal).kind_and_body().unwrap();
        let nonce = aldis_wire::seal::nonce([1; 16], number);
        let sealed = shared.seal(&nonce, &binding, &[&[kind][..], &body].concat()).unwrap();
        Frame::Routed(Routed { nonce, ..routed(&sender, house.id, 0, sealed.into()) })
    };
    let (first, second) = (sealed(1, "x", 1), sealed(2, "y", 2));
    assert_eq!(signals_told(&house.send(link, &first), edge), 1);
    // A later session of the sender begins again with n = 1, and the memory of ids has run out.
    assert_eq!(signals_told(&house.send(link, &second), edge), 1);
    for _ in 0..100 {
        let keep_alive = sender.announce(&[]);
        house.send(link, &announced(&keep_alive));
        house.wait(2 * SECOND);
    }
    let effects = house.send(link, &first);
    assert_eq!(effects.faults(), [Fault::Replayed]);
    assert_eq!((signals_told(&effects, edge), effects.frames(link).len()), (0, 0));
}

#[test]
fn a_bounce_goes_back_the_way_its_frame_came_and_only_once() {
    let (mut house, mut far, before, after) = (House::new(), Player::new(1), Player::new(2), Player::new(3));
    let (in_link, out_link) = (house.link(&before), house.link(&after));
    let opening = far.announce(&[Op::Record(far.record())]);
    house.send(out_link, &announced(&opening));
    let frame = routed(&before, far.id, 7, Bytes::from_static(b"sealed"));
    let effects = house.send(in_link, &Frame::Routed(frame.clone()));
    assert_eq!(effects.frames(out_link), [Frame::Routed(Routed { hops: 2, ..frame })]);

    let bounce = |nonce: u8| {
        Frame::Bounce(Bounce { from_home: before.id, nonce: [nonce; 24], refusal: Refusal::HomeUnreachable })
    };
    let passed = |effects: &Effects| effects.frames(in_link).len() + effects.frames(out_link).len();
    assert_eq!(passed(&house.send(out_link, &bounce(8))), 0, "for a frame that was never here");
    assert_eq!(passed(&house.send(in_link, &bounce(7))), 0, "from where the frame did not go");
    assert_eq!(house.send(out_link, &bounce(7)).frames(in_link), [bounce(7)]);
    assert_eq!(passed(&house.send(out_link, &bounce(7))), 0, "once");
}

#[test]
fn a_sealed_frame_never_goes_back_and_not_on_for_ever() {
    let (mut house, mut far, player) = (House::new(), Player::new(1), Player::new(2));
    let link = house.link(&player);
    house.send(link, &announced(&far.announce(&[Op::Record(far.record())])));
    let frame = routed(&player, far.id, 7, Bytes::from_static(b"sealed"));
    let bounce = Frame::Bounce(Bounce { from_home: player.id, nonce: [7; 24], refusal: Refusal::HomeUnreachable });
    let effects = house.send(link, &Frame::Routed(frame.clone()));
    assert_eq!(effects.frames(link), std::slice::from_ref(&bounce), "the only way leads back");
    let other = house.link(&Player::new(3));
    let effects = house.send(other, &Frame::Routed(Routed { hops: 16, ..frame }));
    assert_eq!(effects.frames(other), [bounce]);
    assert_eq!(effects.frames(link), []);
}

#[test]
fn a_sealed_frame_does_not_go_back_over_a_newer_link_either() {
    let (mut house, mut far, player) = (House::new(), Player::new(1), Player::new(2));
    let old = house.link(&player);
    house.send(old, &announced(&far.announce(&[Op::Record(far.record())])));
    // Another connection of the same host takes the place of this one, which brings what is still on its way.
    let new = house.link(&player);
    house.send(new, &announced(&far.announce(&[])));
    let frame = routed(&player, far.id, 7, Bytes::from_static(b"sealed"));
    assert_eq!(house.send(old, &Frame::Routed(frame)).frames(new), []);
}
