//! One message for all members of a topic: who gets it, in what order, and what the sender is told (PROTOCOL.md §7.4).

use std::collections::BTreeMap;
use std::time::Duration;

use aldis::relay::io::{EdgeKey, Event, Fault, Input, LinkKey, Reach, Request};
use aldis::relay::limits::{HOST_DELIVERIES, OPEN_BROADCASTS_MAX};
use aldis_wire::announcement::Op;
use aldis_wire::host::{Bounce, Broadcast, Channel, Frame, GoodbyeReason, Outcome, Spread, Tally};
use aldis_wire::id::PeerId;
use aldis_wire::limits::SIGNAL_DATA_BYTES;
use aldis_wire::proof::Proof;
use aldis_wire::refusal::Refusal;
use bytes::Bytes;

use crate::neighbour::{Effects, House, Player, named};
use crate::world::{World, ms, secs};

const LINE: [(usize, usize); 4] = [(0, 1), (1, 2), (2, 3), (3, 4)];

/// What an edge was told of broadcasts, in order: sender and id.
fn got(world: &World, edge: usize) -> Vec<(PeerId, String)> {
    let got = world.edges[edge].history.iter().filter_map(|(_, event)| match event {
        Event::Broadcast { from, id, .. } => Some((*from, id.to_string())),
        _ => None,
    });
    got.collect()
}

/// The tallies that an edge was told, by id.
fn tallies(world: &World, edge: usize) -> BTreeMap<String, Vec<Reach>> {
    let mut tallies: BTreeMap<String, Vec<Reach>> = BTreeMap::new();
    for (_, event) in &world.edges[edge].history {
        if let Event::Tally { id, reach, .. } = event {
            tallies.entry(id.to_string()).or_default().push(*reach);
        }
    }
    tallies
}

fn taken(hosts: u64, members: u64) -> Reach {
    Reach { taken: hosts, members, ..Reach::default() }
}

fn refused(refusal: Refusal) -> Reach {
    Reach { code: Some(refusal), ..Reach::default() }
}

#[test]
fn all_other_members_on_all_hosts_get_it_once_and_nobody_else_does() {
    let mut world = World::with_hosts(3);
    let members: Vec<usize> = [0, 0, 1, 1, 2].map(|place| world.edge(place)).to_vec();
    members.iter().for_each(|edge| world.join(*edge, "room"));
    let (watcher, elsewhere) = (world.edge(1), world.edge(2));
    world.watch(watcher, "room");
    world.join(elsewhere, "hall");
    world.run(secs(1));
    world.edges.iter_mut().for_each(|edge| edge.events.clear());
    world.broadcast(members[0], "room", "a", "{\"x\": 1}");
    world.run(secs(6));
    assert_eq!(world.says(members[0]), ["a taken 3 refused 0 unknown 0 members 4 missed 0"]);
    for edge in &members[1..] {
        assert_eq!(world.says(*edge), ["0 says {\"x\": 1} to room"]);
    }
    assert_eq!((world.says(watcher).len(), world.says(elsewhere).len()), (0, 0));
}

#[test]
fn who_is_no_member_may_broadcast_and_a_topic_without_members_has_an_empty_tally() {
    let mut world = World::with_hosts(2);
    let (stranger, member) = (world.edge(0), world.edge(1));
    world.join(member, "room");
    world.run(secs(1));
    world.broadcast(stranger, "room", "a", "1");
    world.broadcast(stranger, "nowhere", "b", "1");
    world.run(ms(200));
    assert_eq!(got(&world, member), [(world.peer(stranger), "a".to_owned())]);
    let told = tallies(&world, stranger);
    assert_eq!((&told["a"][..], &told["b"][..]), (&[taken(1, 1)][..], &[Reach::default()][..]));
}

#[test]
fn a_front_door_may_have_the_sender_told_in_the_order_of_the_others() {
    let mut world = World::with_hosts(1);
    let edges = [0; 3].map(|place| world.edge(place));
    edges.iter().for_each(|edge| world.join(*edge, "room"));
    for n in 0..10 {
        let from = edges[n % 3];
        let topic = world.topic(0, "room");
        let data = Bytes::from_static(b"1");
        world.ask(from, Request::Broadcast { id: format!("{n}").as_str().into(), topic, data, echo: true });
    }
    world.run(secs(1));
    let first = got(&world, edges[0]);
    assert_eq!(first.iter().map(|(_, id)| id.as_str()).collect::<String>(), "0123456789");
    assert!(edges.iter().all(|edge| got(&world, *edge) == first), "the same for all, the senders included");
    assert_eq!(tallies(&world, edges[0])["0"], [taken(1, 3)]);
}

#[test]
fn broadcasts_of_one_sender_arrive_in_order_also_across_hosts_without_a_link_between_them() {
    let mut world = World::with_wires(5, &LINE);
    let edges: Vec<usize> = (0..5).map(|place| world.edge(place)).collect();
    edges.iter().for_each(|edge| world.join(*edge, "room"));
    world.run(secs(1));
    for n in 0..20 {
        world.broadcast(edges[0], "room", &format!("a{n:02}"), "1");
        world.broadcast(edges[4], "room", &format!("b{n:02}"), "1");
        world.run(ms(7));
    }
    world.run(secs(1));
    for edge in &edges {
        for from in [edges[0], edges[4]] {
            let ids: Vec<String> = got(&world, *edge)
                .into_iter()
                .filter(|(peer, _)| *peer == world.peer(from))
                .map(|(_, id)| id)
                .collect();
            assert!(ids.is_sorted(), "{ids:?}");
            assert_eq!(ids.len(), if from == *edge { 0 } else { 20 });
        }
    }
    let told = tallies(&world, edges[0]);
    assert!(told.len() == 20 && told.values().all(|reaches| *reaches == [taken(4, 4)]), "{told:?}");
}

#[test]
fn when_the_way_dies_each_member_gets_it_once_all_the_same() {
    let mut world = World::with_wires(5, &[(0, 1), (1, 2), (2, 3), (3, 4), (4, 0)]);
    let (sender, near, far) = (world.edge(0), world.edge(1), world.edge(3));
    [sender, near, far].iter().for_each(|edge| world.join(*edge, "room"));
    world.run(secs(2));
    for n in 0..40 {
        world.broadcast(sender, "room", &format!("{n:02}"), "1");
        if n == 20 {
            // Whichever way round it goes to the far one, for a while it is this one.
            world.kill(4);
        }
        if n == 30 {
            world.start(4);
        }
        world.run(ms(100));
    }
    world.run(secs(10));
    for edge in [near, far] {
        let ids: Vec<String> = got(&world, edge).into_iter().map(|(_, id)| id).collect();
        let mut once = ids.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(ids, once, "in order, and none twice");
    }
    let told = tallies(&world, sender);
    assert_eq!(told.len(), 40);
    for (id, reaches) in &told {
        let [reach] = &reaches[..] else { panic!("{id}: {reaches:?}") };
        let reached =
            [near, far].iter().filter(|edge| got(&world, **edge).iter().any(|(_, known)| known == id)).count();
        assert!(reach.members <= reached as u64, "{id}: {reach:?} of {reached}");
        assert_eq!(reach.taken + reach.refused + reach.unknown, 2, "{id}: {reach:?}");
        assert!(reached as u64 <= reach.members + reach.unknown, "{id}: who got it is not told as refused");
    }
}

#[test]
fn a_host_that_is_silent_is_unknown_after_five_seconds_and_the_others_are_counted() {
    let mut world = World::with_hosts(3);
    let edges: Vec<usize> = (0..3).map(|place| world.edge(place)).collect();
    edges.iter().for_each(|edge| world.join(*edge, "room"));
    world.run(secs(1));
    world.freeze(2);
    world.broadcast(edges[0], "room", "a", "1");
    world.run(ms(4_900));
    assert_eq!(tallies(&world, edges[0]).len(), 0);
    world.run(ms(200));
    let reach = Reach { taken: 1, unknown: 1, members: 1, ..Reach::default() };
    assert_eq!(tallies(&world, edges[0])["a"], [reach]);
    world.thaw(2, false);
    world.run(secs(6));
    assert_eq!(tallies(&world, edges[0])["a"], [reach], "a late answer changes nothing");
    assert!(got(&world, edges[2]).len() <= 1);
}

#[test]
fn who_was_away_gets_what_was_broadcast_meanwhile_and_its_own_tallies() {
    let mut world = World::with_hosts(2);
    let (alice, bob) = (world.edge(0), world.edge(1));
    [alice, bob].iter().for_each(|edge| world.join(*edge, "room"));
    world.run(secs(1));
    world.drop_socket(bob);
    world.broadcast(alice, "room", "a", "1");
    world.drop_socket(alice);
    world.run(secs(2));
    [alice, bob].iter().for_each(|edge| world.resume(*edge));
    world.run(ms(100));
    assert_eq!(got(&world, bob), [(world.peer(alice), "a".to_owned())]);
    assert_eq!(tallies(&world, alice)["a"], [taken(1, 1)]);
}

#[test]
fn a_member_who_does_not_acknowledge_misses_it_and_still_gets_signals() {
    let mut world = World::with_hosts(2);
    let (alice, slow, quick) = (world.edge(0), world.edge(1), world.edge(1));
    [alice, slow, quick].iter().for_each(|edge| world.join(*edge, "room"));
    world.run(secs(1));
    let seen = world.edges[slow].seen;
    world.ask(slow, Request::Ack { seq: seen });
    world.edges[slow].acks = false;
    for n in 0..200 {
        world.broadcast(alice, "room", &format!("{n:03}"), "1");
        world.run(ms(20));
    }
    let (slow_got, quick_got) = (got(&world, slow).len(), got(&world, quick).len());
    assert_eq!((slow_got, quick_got), (128, 200), "the slow one holds up nobody");
    let told = tallies(&world, alice);
    assert_eq!(told["127"], [taken(1, 2)]);
    assert_eq!(told["128"], [Reach { taken: 1, members: 1, missed: 1, ..Reach::default() }]);
    let (peer, seen) = (world.peer(slow), world.edges[slow].seen);
    world.signal(alice, peer, "s", "1");
    world.run(ms(200));
    assert_eq!(world.edges[slow].seen, seen + 1, "there is room for signals");
    world.leave(quick, "room");
    world.run(secs(1));
    world.broadcast(alice, "room", "last", "1");
    world.run(ms(200));
    let full = Reach { refused: 1, code: Some(Refusal::QueueFull), ..Reach::default() };
    assert_eq!(tallies(&world, alice)["last"], [full], "nobody there has it");
}

#[test]
fn a_broadcast_asked_again_has_the_same_tally_and_is_not_sent_again() {
    let mut world = World::with_hosts(2);
    let (alice, bob) = (world.edge(0), world.edge(1));
    [alice, bob].iter().for_each(|edge| world.join(*edge, "room"));
    world.run(secs(1));
    for _ in 0..3 {
        world.broadcast(alice, "room", "a", "1");
    }
    world.run(secs(1));
    assert_eq!(tallies(&world, alice)["a"], [taken(1, 1)], "open ones have one tally");
    world.broadcast(alice, "room", "a", "1");
    world.broadcast(alice, "hall", "a", "1");
    world.run(secs(1));
    let again = [taken(1, 1), taken(1, 1), refused(Refusal::BadField)];
    assert_eq!(tallies(&world, alice)["a"], again);
    assert_eq!(got(&world, bob).len(), 1);
}

#[test]
fn a_session_has_so_many_broadcasts_open_and_sends_so_many_a_second() {
    let mut world = World::with_hosts(2);
    let (alice, bob) = (world.edge(0), world.edge(1));
    world.join(bob, "room");
    world.run(secs(1));
    world.freeze(1);
    for n in 0..=OPEN_BROADCASTS_MAX {
        world.broadcast(alice, "room", &format!("{n}"), "1");
    }
    world.run(ms(10));
    let too_many = tallies(&world, alice);
    assert_eq!(too_many[&OPEN_BROADCASTS_MAX.to_string()], [refused(Refusal::TooManyOpen)]);
    world.thaw(1, false);
    world.run(secs(20));
    // Of full size it counts five times; a thousand requests may come at once.
    let large = "1".repeat(SIGNAL_DATA_BYTES);
    for n in 0..300 {
        world.broadcast(alice, "room", &format!("large {n}"), &large);
        world.run(ms(1));
    }
    world.run(secs(6));
    let told = tallies(&world, alice);
    let limited = told.values().flatten().filter(|reach| reach.code == Some(Refusal::RateLimited)).count();
    assert!((90..=100).contains(&limited), "{limited} of 300 large ones");
    assert_eq!(told.len(), OPEN_BROADCASTS_MAX + 1 + 300, "each has its tally");
}

// ---- Frame by frame ---------------------------------------------------------------------------------------------

/// A linked host with members in `s0`.
fn neighbour(house: &mut House, number: u16, members: u8) -> (Player, LinkKey, Vec<(PeerId, Proof)>) {
    let mut player = Player::new(number);
    let link = house.link(&player);
    let peers = roster(house, &mut player, link, members);
    (player, link, peers)
}

/// Tells of a host with members in `s0`, over a link.
fn roster(house: &mut House, player: &mut Player, link: LinkKey, members: u8) -> Vec<(PeerId, Proof)> {
    let peers: Vec<_> = (1..=members).map(|number| player.mint(number)).collect();
    let mut ops = vec![Op::Record(player.record())];
    for (peer, proof) in &peers {
        ops.push(Op::Present { peer: *peer, proof: proof.clone() });
        ops.push(Op::Join { topic: named("s0").id, peer: *peer, meta: Bytes::new() });
    }
    let announcement = player.announce(&ops);
    house.send(link, &Frame::Announcement(announcement));
    peers
}

fn asked(edge: EdgeKey, id: &str, bytes: usize) -> Input {
    let data = Bytes::from(vec![b'1'; bytes]);
    Input::EdgeAsked { edge, request: Request::Broadcast { id: id.into(), topic: named("s0"), data, echo: false } }
}

fn frame(from: &(PeerId, Proof), topic: &str, id: &str, n: u64) -> Frame {
    Frame::Broadcast(Broadcast {
        from: from.0,
        session: 1,
        n,
        id: id.into(),
        proof: from.1.clone(),
        topic: named(topic).id,
        data: Bytes::from_static(b"1"),
    })
}

fn told(effects: &Effects, edge: EdgeKey) -> usize {
    effects.told(edge).iter().filter(|event| matches!(event, Event::Broadcast { .. })).count()
}

fn reaches(effects: &Effects, edge: EdgeKey) -> Vec<Reach> {
    let reaches = effects.told(edge).into_iter().filter_map(|event| match event {
        Event::Tally { reach, .. } => Some(reach),
        _ => None,
    });
    reaches.collect()
}

fn spreads(effects: &Effects, link: LinkKey) -> Vec<Spread> {
    let tallies = effects.frames(link).into_iter().filter_map(|frame| match frame {
        Frame::Tally(tally) => Some(tally.spread),
        _ => None,
    });
    tallies.collect()
}

#[test]
fn a_host_with_many_members_is_sent_it_once_and_its_tally_counts_once_and_from_it_alone() {
    let mut house = House::new();
    let (edge, from) = house.edge("s0");
    let (_, link, _) = neighbour(&mut house, 1, 40);
    let (_, liars_link, _) = neighbour(&mut house, 2, 0);
    let effects = house.handle(asked(edge, "a", 1));
    assert_eq!((effects.frames(link).len(), effects.frames(liars_link).len()), (1, 0));
    let tally = |id: &str, members| {
        let spread = Spread::Taken { members, missed: 0 };
        Frame::Tally(Tally { from, id: id.into(), spread })
    };
    assert_eq!(reaches(&house.send(liars_link, &tally("a", 999)), edge), []);
    assert_eq!(reaches(&house.send(link, &tally("b", 999)), edge), []);
    assert_eq!(reaches(&house.send(link, &tally("a", 40)), edge), [taken(1, 40)]);
    assert_eq!(reaches(&house.send(link, &tally("a", 40)), edge), []);
    assert_eq!(reaches(&house.wait(Duration::from_secs(6)), edge), []);
}

#[test]
fn what_went_over_a_link_that_is_lost_goes_again_in_order_over_the_next_and_a_refusal_proves_nothing_then() {
    let mut house = House::new();
    let (edge, from) = house.edge("s0");
    let (player, link, _) = neighbour(&mut house, 1, 1);
    let first: Vec<Frame> =
        ["a", "b", "c"].iter().flat_map(|id| house.handle(asked(edge, id, 1)).frames(link)).collect();
    assert_eq!(first.len(), 3);
    house.handle(Input::LinkClosed { link, reason: "gone".into() });
    let again = house.connect(&player);
    let hello = house.hello_of(&player);
    house.send(again, &Frame::Hello(hello));
    let effects = house.send(again, &Frame::Admitted);
    let sent: Vec<Frame> =
        effects.frames(again).into_iter().filter(|frame| matches!(frame, Frame::Broadcast(_))).collect();
    assert_eq!(sent, first, "the same ones in the same order");
    let tally = |id: &str, spread| Frame::Tally(Tally { from, id: id.into(), spread });
    let one = Spread::Taken { members: 1, missed: 0 };
    assert_eq!(reaches(&house.send(again, &tally("a", one)), edge), [taken(1, 1)]);
    let unknown = Reach { unknown: 1, ..Reach::default() };
    let overtaken = Spread::Refused(Refusal::Overtaken);
    assert_eq!(reaches(&house.send(again, &tally("b", overtaken)), edge), [unknown]);
    let effects = house.wait(Duration::from_secs(6));
    assert_eq!(reaches(&effects, edge), [unknown], "the last one had no answer");
}

#[test]
fn what_comes_twice_or_late_or_for_another_topic_is_not_told() {
    let mut house = House::new();
    let (edge, _) = house.edge("s0");
    let (hall, _) = house.edge("s1");
    let (_, link, peers) = neighbour(&mut house, 1, 1);
    let one = Spread::Taken { members: 1, missed: 0 };
    let (late, other) = (Spread::Refused(Refusal::Overtaken), Spread::Refused(Refusal::BadField));
    let nobody = Spread::Refused(Refusal::NoSuchPeer);
    let sent = [
        ("s0", "a", 1, 1, one),
        ("s0", "a", 1, 0, one),
        ("s0", "b", 3, 1, one),
        ("s0", "c", 2, 0, late),
        ("s0", "d", 3, 0, late),
        ("s1", "a", 4, 0, other),
        ("s2", "e", 5, 0, nobody),
        ("s0", "a", 9, 0, one),
    ];
    for (topic, id, n, count, spread) in sent {
        let effects = house.send(link, &frame(&peers[0], topic, id, n));
        assert_eq!((told(&effects, edge), told(&effects, hall)), (count, 0), "{topic} {id} {n}");
        assert_eq!(spreads(&effects, link), [spread], "{topic} {id} {n}");
    }
}

#[test]
fn a_broadcast_in_the_name_of_another_homes_peer_ends_the_link_and_is_told_to_nobody() {
    let (mut house, victim) = (House::new(), Player::new(2));
    let (edge, _) = house.edge("s0");
    let (_, link, _) = neighbour(&mut house, 1, 1);
    let effects = house.send(link, &frame(&victim.mint(1), "s0", "a", 1));
    assert_eq!(told(&effects, edge), 0);
    assert_eq!((effects.closed(link), effects.faults()), (Some(GoodbyeReason::Misbehaved), vec![Fault::ForeignSender]));
}

#[test]
fn a_broadcast_on_another_channel_than_a_lane_is_out_of_order() {
    let mut house = House::new();
    let (_, link, peers) = neighbour(&mut house, 1, 1);
    let (kind, body) = frame(&peers[0], "s0", "a", 1).kind_and_body().unwrap();
    let effects = house.send_raw(link, Channel::Sync, kind, body.into());
    assert_eq!((effects.closed(link), effects.faults()), (Some(GoodbyeReason::Misbehaved), vec![Fault::OutOfOrder]));
}

#[test]
fn one_host_may_put_so_much_into_the_queues_of_members_here() {
    let mut house = House::new();
    let members = 500;
    let edges: Vec<EdgeKey> = (0..members).map(|_| house.edge("s0").0).collect();
    let (_, link, peers) = neighbour(&mut house, 1, 1);
    let (_, other_link, others) = neighbour(&mut house, 2, 1);
    let mut limited = 0;
    let burst = u64::from(HOST_DELIVERIES.burst) / (members + 1);
    for n in 1..=burst + 10 {
        let effects = house.send(link, &frame(&peers[0], "s0", &format!("{n}"), n));
        limited += u64::from(spreads(&effects, link) == [Spread::Refused(Refusal::RateLimited)]);
    }
    assert!((1..=10).contains(&limited), "{limited}");
    let seq = u64::MAX;
    edges.iter().for_each(|edge| _ = house.handle(Input::EdgeAsked { edge: *edge, request: Request::Ack { seq } }));
    let effects = house.send(other_link, &frame(&others[0], "s0", "a", 1));
    assert_eq!(told(&effects, edges[0]), 1, "another host is not concerned");
    house.wait(Duration::from_secs(1));
    let effects = house.send(link, &frame(&peers[0], "s0", "later", 10_000));
    assert_eq!(told(&effects, edges[0]), 1);
}

#[test]
fn what_is_large_counts_more_than_once_for_each_place_that_it_takes() {
    let mut house = House::new();
    let members = 500;
    let edges: Vec<EdgeKey> = (0..members).map(|_| house.edge("s0").0).collect();
    let (_, link, peers) = neighbour(&mut house, 1, 1);
    let mut taken = 0;
    for n in 1..=u64::from(HOST_DELIVERIES.burst) / (members + 1) {
        let Frame::Broadcast(mut broadcast) = frame(&peers[0], "s0", &format!("{n}"), n) else { unreachable!() };
        broadcast.data = Bytes::from(vec![b'1'; SIGNAL_DATA_BYTES]);
        let effects = house.send(link, &Frame::Broadcast(broadcast));
        taken += u64::from(spreads(&effects, link) != [Spread::Refused(Refusal::RateLimited)]);
        let (seq, first) = (u64::MAX, edges[0]);
        house.handle(Input::EdgeAsked { edge: first, request: Request::Ack { seq } });
    }
    let each = (members + 1) * (1 + SIGNAL_DATA_BYTES as u64 / 16_384);
    assert_eq!(taken, u64::from(HOST_DELIVERIES.burst) / each);
}

#[test]
fn what_found_nobody_is_not_remembered_and_reaches_who_comes_later() {
    let mut house = House::new();
    let (_, link, peers) = neighbour(&mut house, 1, 1);
    let nobody = house.send(link, &frame(&peers[0], "s0", "a", 1));
    assert_eq!(spreads(&nobody, link), [Spread::Refused(Refusal::NoSuchPeer)]);
    let (edge, _) = house.edge("s0");
    assert_eq!(told(&house.send(link, &frame(&peers[0], "s0", "a", 1)), edge), 1);
    assert_eq!(told(&house.send(link, &frame(&peers[0], "s0", "a", 1)), edge), 0, "now it is");
}

#[test]
fn what_costs_more_requests_than_may_come_at_once_goes_when_nothing_else_was_asked() {
    let mut house = House::new();
    let (edge, _) = house.edge("s0");
    let (_, link, _) = neighbour(&mut house, 1, 0);
    for number in 2..252 {
        roster(&mut house, &mut Player::new(number), link, 1);
    }
    house.wait(Duration::from_secs(1));
    let effects = house.handle(asked(edge, "a", 60_000));
    assert!(!effects.frames(link).is_empty(), "a thousand requests for 250 hosts and 60 kB: as many as the link takes");
    let effects = house.handle(asked(edge, "b", 60_000));
    assert_eq!(reaches(&effects, edge), [refused(Refusal::RateLimited)]);
}

#[test]
fn copies_to_very_many_hosts_are_bounded_in_bytes_and_each_counts_as_a_request() {
    let mut house = House::new();
    let (edge, _) = house.edge("s0");
    let (_, link, _) = neighbour(&mut house, 1, 0);
    for number in 2..302 {
        roster(&mut house, &mut Player::new(number), link, 1);
    }
    assert_eq!(reaches(&house.handle(asked(edge, "large", SIGNAL_DATA_BYTES)), edge), [refused(Refusal::TooBig)]);
    for (id, frames) in [("a", 300), ("b", 300), ("c", 300), ("d", 0)] {
        let effects = house.handle(asked(edge, id, 100));
        assert_eq!(effects.frames(link).len(), frames, "a thousand requests may come at once");
        let limited = reaches(&effects, edge) == [refused(Refusal::RateLimited)];
        assert_eq!(limited, frames == 0);
    }
    let effects = house.wait(Duration::from_secs(6));
    let lost = Reach { unknown: 300, ..Reach::default() };
    assert_eq!(reaches(&effects, edge), [lost, lost, lost]);
}

#[test]
fn a_bounce_ends_the_part_of_its_host_and_no_other() {
    let mut house = House::new();
    let (edge, _) = house.edge("s0");
    let (_, link, _) = neighbour(&mut house, 1, 0);
    let mut far: Vec<Player> = [2, 3].map(Player::new).into();
    far.iter_mut().for_each(|player| _ = roster(&mut house, player, link, 1));
    let effects = house.handle(asked(edge, "a", 1));
    let nonces: Vec<[u8; 24]> = effects
        .frames(link)
        .into_iter()
        .filter_map(|frame| if let Frame::Routed(routed) = frame { Some(routed.nonce) } else { None })
        .collect();
    assert_eq!(nonces.len(), 2);
    let bounce = |nonce| {
        let refusal = Refusal::HomeUnreachable;
        Frame::Bounce(Bounce { from_home: house.id, nonce, refusal })
    };
    let (first, second) = (bounce(nonces[0]), bounce(nonces[1]));
    assert_eq!(reaches(&house.send(link, &first), edge), []);
    assert_eq!(reaches(&house.send(link, &first), edge), [], "once");
    let both = Reach { refused: 2, code: Some(Refusal::HomeUnreachable), ..Reach::default() };
    assert_eq!(reaches(&house.send(link, &second), edge), [both]);
}

#[test]
fn a_signal_and_a_broadcast_may_have_the_same_id() {
    let mut world = World::with_hosts(2);
    let (alice, bob) = (world.edge(0), world.edge(1));
    world.join(bob, "room");
    world.run(secs(1));
    let peer = world.peer(bob);
    world.signal(alice, peer, "a", "1");
    world.broadcast(alice, "room", "a", "2");
    world.run(secs(6));
    assert_eq!(tallies(&world, alice)["a"], [taken(1, 1)]);
    assert_eq!(world.edges[alice].receipts()["a"], [Outcome::Delivered]);
}
