//! Pairs that signal all the time change over to a direct link, and nothing is overtaken.

use std::time::Duration;

use aldis::relay::io::{EdgeKey, Event, Input, LinkKey, Output, Request};
use aldis::relay::limits::{HELD_SIGNALS_MAX, HOLD_AFTER, HOLD_AGAIN, HOLD_MAX, HOLD_MIN};
use aldis_wire::announcement::{GoneReason, Op};
use aldis_wire::host::{Frame, Outcome, Receipt};
use aldis_wire::id::PeerId;
use aldis_wire::proof::Proof;
use aldis_wire::seal::Binding;
use bytes::Bytes;
use ed25519_dalek::SigningKey;

use crate::neighbour::{Effects, House, Player, named, network};
use crate::traffic::Traffic;
use crate::world::{World, ms, secs};

/// A house with an edge that has signals open to a peer which is at home at `player`, by way of a neighbour, although a
/// good direct link stands by now.
struct Scene {
    house: House,
    edge: EdgeKey,
    from: PeerId,
    to: PeerId,
    player: Player,
    hop: LinkKey,
    direct: LinkKey,
}

impl Scene {
    /// "a" has its receipt, "b" is on the way.
    fn new() -> Self {
        Self::begun(["a", "b"])
    }

    /// The first of two has its receipt, the second is on the way.
    fn begun(ids: [&str; 2]) -> Self {
        let (mut house, middle, mut player) = (House::new(), Player::new(1), Player::new(2));
        player.interval_ms = 300_000;
        let (edge, from) = house.edge("s0");
        let hop = house.link(&middle);
        let key = key();
        let to = PeerId::new(key.verifying_key().to_bytes());
        let proof = Proof::claim(&key, network().tag, player.id, 1, None);
        let join = Op::Join { topic: named("s0").id, peer: to, meta: Bytes::new() };
        let announcement = player.announce(&[Op::Record(player.record()), Op::Present { peer: to, proof }, join]);
        house.send(hop, &Frame::Announcement(announcement));
        let mut scene = Self { house, edge, from, to, player, hop, direct: hop };
        let sent = ids.map(|id| scene.signal(id));
        assert_eq!(sent.map(|effects| scene.over(&effects, hop)), ids.map(|id| [id]));
        scene.direct = scene.house.link(&scene.player);
        scene.receipt(ids[0]);
        scene
    }

    /// The same, and the direct link has stood long enough: "c" is held.
    fn held() -> Self {
        let mut scene = Self::begun(["x", "y"]);
        scene.house.wait(HOLD_AFTER - ms(100));
        // What is on the way must not have waited for its receipt so long that it goes again.
        ["a", "b"].into_iter().for_each(|id| _ = scene.signal(id));
        ["y", "a"].into_iter().for_each(|id| _ = scene.receipt(id));
        scene.house.wait(ms(100));
        let effects = scene.signal("c");
        scene.went(&effects, &[], &[]);
        scene
    }

    fn signal(&mut self, id: &str) -> Effects {
        let request = Request::Signal { id: id.into(), to: self.to, topic: None, data: Bytes::from_static(b"{}") };
        let effects = self.house.handle(Input::EdgeAsked { edge: self.edge, request });
        self.house.take(&effects);
        effects
    }

    fn receipt(&mut self, id: &str) -> Effects {
        let receipt = Receipt { from: self.from, to: self.to, id: id.into(), outcome: Outcome::Delivered };
        self.house.send(self.direct, &Frame::Receipt(receipt))
    }

    /// The signals that went over a link, opened as their target's home does it.
    fn over(&self, effects: &Effects, link: LinkKey) -> Vec<String> {
        let binding =
            Binding { tag: network().tag, from: (self.house.id, 5_000), to: (self.player.id, self.player.epoch) };
        let shared = self.player.sealing().shared(&self.house.sealing.public()).unwrap();
        let id = |frame: Frame| match frame {
            Frame::Signal(signal) => Some(signal.id),
            Frame::Routed(routed) => {
                let plain = shared.open(&routed.nonce, &binding, &routed.sealed).unwrap();
                match Frame::decode(plain[0], &plain[1..]).unwrap().unwrap() {
                    Frame::Signal(signal) => Some(signal.id),
                    _ => None,
                }
            }
            _ => None,
        };
        effects.frames(link).into_iter().filter_map(id).collect()
    }

    fn went(&self, effects: &Effects, by_hop: &[&str], direct: &[&str]) {
        assert_eq!((self.over(effects, self.hop), self.over(effects, self.direct)), (owned(by_hop), owned(direct)));
    }

    fn receipts(&self, effects: &Effects) -> Vec<String> {
        let receipt = |event| match event {
            Event::Receipt { id, outcome, .. } => Some(format!("{id} {outcome:?}")),
            _ => None,
        };
        effects.told(self.edge).into_iter().filter_map(receipt).collect()
    }
}

/// The target's.
fn key() -> SigningKey {
    SigningKey::from_bytes(&[77; 32])
}

fn owned(ids: &[&str]) -> Vec<String> {
    ids.iter().map(|id| (*id).to_owned()).collect()
}

#[test]
fn what_is_held_goes_by_the_direct_link_in_order_when_those_before_have_their_receipts() {
    let mut scene = Scene::held();
    let effects = scene.signal("d");
    scene.went(&effects, &[], &[]);
    let effects = scene.signal("c");
    assert_eq!(scene.receipts(&effects), [""; 0], "it is open");
    let effects = scene.receipt("c");
    assert_eq!(scene.receipts(&effects), [""; 0], "nobody has it yet");
    let effects = scene.receipt("b");
    scene.went(&effects, &[], &["c", "d"]);
    assert_eq!(scene.receipts(&effects), ["b Delivered"]);
    let effects = scene.signal("e");
    scene.went(&effects, &[], &["e"]);
    let mut all = Effects::default();
    ["c", "d", "e"].into_iter().for_each(|id| all.add(scene.receipt(id)));
    all.add(scene.house.wait(secs(6)));
    assert_eq!(scene.receipts(&all), ["c Delivered", "d Delivered", "e Delivered"]);
    scene.went(&all, &[], &[]);
}

#[test]
fn a_direct_link_that_is_new_or_silent_is_not_waited_for() {
    for silent in [false, true] {
        let mut scene = Scene::new();
        scene.house.wait(HOLD_AFTER - ms(u64::from(!silent)));
        if silent {
            scene.house.handle(Input::LinkSilent { link: scene.direct });
        }
        let effects = scene.signal("c");
        scene.went(&effects, &["c"], &[]);
    }
}

#[test]
fn a_hold_that_comes_to_nothing_ends_by_the_old_path_and_is_not_tried_again_for_a_while() {
    let mut scene = Scene::held();
    scene.signal("d");
    let effects = scene.house.wait(HOLD_MIN - ms(1));
    scene.went(&effects, &[], &[]);
    let effects = scene.house.wait(ms(1));
    scene.went(&effects, &["c", "d"], &[]);
    ["b", "c"].into_iter().for_each(|id| _ = scene.receipt(id));
    // One is always open, and receipts come at once.
    let mut last = "d".to_owned();
    for n in 0..HOLD_AGAIN.as_secs() {
        let ids = [format!("{n}"), format!("{n} too")];
        for id in &ids {
            let effects = scene.signal(id);
            scene.went(&effects, &[id], &[]);
            scene.receipt(&std::mem::replace(&mut last, id.clone()));
        }
        scene.house.wait(secs(1));
    }
    let effects = scene.signal("again");
    scene.went(&effects, &[], &[]);
    let effects = scene.receipt(&last);
    scene.went(&effects, &[], &["again"]);
}

#[test]
fn nothing_is_held_while_receipts_are_slow() {
    let mut scene = Scene::new();
    scene.house.wait(HOLD_MAX);
    let effects = scene.signal("c");
    scene.went(&effects, &[], &[]);
    let mut scene = Scene::new();
    scene.signal("c");
    scene.house.wait(HOLD_MAX);
    scene.receipt("b");
    let effects = scene.signal("d");
    scene.went(&effects, &["d"], &[]);
}

#[test]
fn so_many_signals_are_held_and_then_all_go_by_the_old_path() {
    let mut scene = Scene::held();
    let ids: Vec<String> = (1..HELD_SIGNALS_MAX).map(|n| n.to_string()).collect();
    let (last, before) = ids.split_last().unwrap();
    for id in before {
        let effects = scene.signal(id);
        scene.went(&effects, &[], &[]);
    }
    let effects = scene.signal(last);
    let all: Vec<&str> = std::iter::once("c").chain(ids.iter().map(String::as_str)).collect();
    scene.went(&effects, &all, &[]);
    let effects = scene.house.wait(secs(1));
    scene.went(&effects, &[], &[]);
}

#[test]
fn when_the_old_path_dies_what_was_on_it_goes_first_and_what_is_held_after_it() {
    let mut scene = Scene::held();
    scene.signal("d");
    let effects = scene.house.handle(Input::LinkClosed { link: scene.hop, reason: "gone".into() });
    scene.went(&effects, &[], &["b", "c", "d"]);
    let mut all = scene.house.wait(secs(1));
    ["b", "c", "d"].into_iter().for_each(|id| all.add(scene.receipt(id)));
    scene.went(&all, &[], &[]);
    assert_eq!(scene.receipts(&all), ["b Delivered", "c Delivered", "d Delivered"]);
}

#[test]
fn when_the_direct_link_dies_what_is_held_goes_by_the_next_hop() {
    let mut scene = Scene::held();
    scene.house.handle(Input::LinkClosed { link: scene.direct, reason: "gone".into() });
    let effects = scene.house.wait(HOLD_MIN);
    scene.went(&effects, &["c"], &[]);
}

#[test]
fn when_no_way_is_left_what_is_held_has_one_receipt() {
    let mut scene = Scene::held();
    scene.house.handle(Input::LinkClosed { link: scene.direct, reason: "gone".into() });
    let mut all = scene.house.handle(Input::LinkClosed { link: scene.hop, reason: "gone".into() });
    all.add(scene.house.wait(secs(6)));
    assert_eq!(scene.receipts(&all), ["b Unknown", "c Unknown"]);
}

#[test]
fn what_is_held_goes_to_the_home_to_which_its_target_has_moved() {
    let mut scene = Scene::held();
    let mut other = Player::new(3);
    let link = scene.house.link(&other);
    let proof = Proof::claim(&key(), network().tag, other.id, 2, None);
    let announcement = other.announce(&[Op::Record(other.record()), Op::Present { peer: scene.to, proof }]);
    let effects = scene.house.send(link, &Frame::Announcement(announcement));
    scene.went(&effects, &[], &[]);
    let mut effects = scene.receipt("b");
    assert_eq!(scene.over(&effects, link), ["c"]);
    scene.went(&effects, &[], &[]);
    effects.add(scene.receipt("c"));
    assert_eq!(scene.receipts(&effects), ["b Delivered"], "its old home cannot know");
    scene.direct = link;
    let effects = scene.receipt("c");
    assert_eq!(scene.receipts(&effects), ["c Delivered"]);
}

#[test]
fn what_is_held_for_a_target_that_has_left_is_refused() {
    let mut scene = Scene::held();
    let gone = Op::Gone { peer: scene.to, reason: GoneReason::Closed };
    let announcement = scene.player.announce(&[gone]);
    scene.house.send(scene.direct, &Frame::Announcement(announcement));
    let effects = scene.receipt("b");
    assert_eq!(scene.receipts(&effects), ["b Delivered", "c Refused(NoSuchPeer)"], "it is nowhere, and was never sent");
    scene.went(&effects, &[], &[]);
}

#[test]
fn what_is_held_is_sent_when_its_session_ends_and_kept_when_its_socket_closes() {
    for ends in [true, false] {
        let mut scene = Scene::held();
        let edge = scene.edge;
        let input = if ends { Input::EdgeAsked { edge, request: Request::Bye } } else { Input::EdgeClosed { edge } };
        let effects = scene.house.handle(input);
        scene.went(&effects, if ends { &["c"] } else { &[] }, &[]);
        let effects = scene.receipt("b");
        scene.went(&effects, &[], if ends { &[] } else { &["c"] });
        assert!(!scene.house.wait(secs(1)).outputs.iter().any(|output| matches!(output, Output::TellEdge { .. })));
    }
}

#[test]
fn a_pair_that_signals_all_the_time_takes_the_direct_link_soon_after_it_stands() {
    for seed in 0..4 {
        let mut world = World::with_wires(3, &[(0, 1), (1, 2)]);
        world.set_latency(0, 1, ms(25));
        world.set_latency(1, 2, ms(25));
        world.set_latency(0, 2, ms(28));
        world.jitter = ms(seed * 4);
        let (alice, bob) = (world.edge(0), world.edge(2));
        world.run(secs(1));
        let mut traffic = Traffic::default();
        let both = |world: &mut World, traffic: &mut Traffic, time: Duration| {
            let end = world.now + time;
            while world.now < end {
                traffic.send(world, alice, bob);
                traffic.send(world, bob, alice);
                world.run(ms(40));
            }
        };
        both(&mut world, &mut traffic, secs(1));
        world.mend(0, 2);
        world.connect(0, 2, None);
        both(&mut world, &mut traffic, secs(3));
        assert_eq!(world.admitted(0, 2), 1);
        world.cut(0, 1);
        both(&mut world, &mut traffic, secs(1));
        let heard = world.edges[bob]
            .history
            .iter()
            .filter(|(at, event)| matches!(event, Event::Signal { .. }) && world.now.since(*at) < ms(900));
        assert!(heard.count() >= 20, "they do not need the third host any more");
        let sent = world.edges[alice].receipts().len();
        let tally = traffic.reckon(&mut world);
        assert!(sent > 100 && (tally.refused, tally.unknown) == (0, 0), "{tally:?}");
    }
}
