//! Addresses change: links that lead nowhere since then give way at once, and nothing is lost on the way to others.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use aldis::relay::io::{EdgeKey, Event, Input, LinkKey, Output, Request};
use aldis::relay::limits::{AWAITED_MAX, STRANDED_HEARD};
use aldis_wire::announcement::Op;
use aldis_wire::host::{Frame, GoodbyeReason, HaveEntry, Hello, Outcome, Receipt, connection_name};
use aldis_wire::id::{HostId, PeerId};
use bytes::Bytes;

use crate::neighbour::{Effects, House, Player, named};
use crate::world::{ms, secs};

/// A player whose id is below that of the house, or above it.
fn player(house: &House, below: bool) -> Player {
    (1..100).map(Player::new).find(|player| (player.id < house.id) == below).unwrap()
}

/// The connections that the Hello on a link names as lost.
fn lost(effects: &Effects, link: LinkKey) -> Vec<[u8; 8]> {
    let hello = |frame| if let Frame::Hello(hello) = frame { Some(hello.lost) } else { None };
    effects.frames(link).into_iter().find_map(hello).expect("no Hello")
}

fn dialled(effects: &Effects) -> Vec<SocketAddr> {
    let dial = |output: &Output| if let Output::Dial { address, .. } = output { Some(*address) } else { None };
    effects.outputs.iter().filter_map(dial).collect()
}

fn asked_for(effects: &Effects, link: LinkKey) -> Vec<HostId> {
    let asked = |frame| if let Frame::Introduce(introduce) = frame { Some(introduce.host) } else { None };
    effects.frames(link).into_iter().filter_map(asked).collect()
}

/// All connections of these tests have this exporter.
fn name() -> [u8; 8] {
    connection_name(&[9; 32])
}

#[test]
fn a_link_to_where_we_are_not_any_more_gives_way_to_a_new_one_that_says_so_however_young_it_is() {
    for stranded in [false, true] {
        let mut house = House::new();
        let player = player(&house, true);
        // The lower id has dialled it: it would stay.
        let old = house.link(&player);
        house.wait(secs(2));
        if stranded {
            house.handle(Input::LinkStranded { link: old });
        }
        let (new, effects) = house.dialled_at(&player, Ipv4Addr::new(45, 7, 7, 7));
        assert_eq!(lost(&effects, new), if stranded { vec![name()] } else { Vec::new() });
        let goes = if stranded { old } else { new };
        let closed = [old, new].map(|link| effects.closed(link));
        assert_eq!(closed, [old, new].map(|link| (link == goes).then_some(GoodbyeReason::Crossed)));
    }
}

#[test]
fn a_link_that_the_other_side_names_as_lost_gives_way_however_young_it_is() {
    for names in [Vec::new(), vec![[1; 8]], vec![[1; 8], name()]] {
        let mut house = House::new();
        // We are the lower id and have dialled it: it would stay.
        let player = player(&house, false);
        let (old, _) = house.dialled_at(&player, Ipv4Addr::new(45, 7, 7, 7));
        house.wait(secs(2));
        let new = house.connect(&player);
        let hello = Hello { lost: names.clone(), ..house.hello_of(&player) };
        house.send(new, &Frame::Hello(hello));
        let effects = house.send(new, &Frame::Admitted);
        let goes = if names.contains(&name()) { old } else { new };
        assert_eq!(effects.closed(goes), Some(GoodbyeReason::Crossed), "{names:?}");
        assert_eq!(effects.closed(if goes == old { new } else { old }), None, "{names:?}");
    }
}

#[test]
fn nobody_can_have_the_link_of_another_host_given_up() {
    let mut house = House::new();
    let (victim, liar) = (player(&house, true), player(&house, false));
    let link = house.link(&victim);
    let new = house.connect(&liar);
    let hello = Hello { lost: vec![name()], ..house.hello_of(&liar) };
    house.send(new, &Frame::Hello(hello));
    house.send(new, &Frame::Admitted);
    // Another connection of the victim's names nothing, and the old one stays.
    let (another, effects) = house.dialled_at(&victim, Ipv4Addr::new(45, 7, 7, 7));
    assert_eq!((effects.closed(link), effects.closed(another)), (None, Some(GoodbyeReason::Crossed)));
}

#[test]
fn the_other_end_of_a_stranded_link_is_dialled_or_met_at_once() {
    for open in [true, false] {
        let (mut house, mut middle, mut far) = (House::new(), Player::new(1), Player::new(2));
        middle.interval_ms = 300_000;
        far.interval_ms = 300_000;
        let common = house.link(&middle);
        if open {
            far.addresses = vec!["45.8.8.8:4000".parse().unwrap()];
        }
        let (link, _) = house.link_from(&far, Ipv4Addr::new(45, 8, 8, 8));
        let announcement = far.announce(&[Op::Record(far.record())]);
        house.send(link, &Frame::Announcement(announcement));
        let before = house.wait(secs(3));
        assert_eq!((dialled(&before), asked_for(&before, common)), (vec![], vec![]));
        let mut effects = house.handle(Input::LinkStranded { link });
        effects.add(house.wait(ms(200)));
        assert_eq!(asked_for(&effects, common), [far.id]);
        assert_eq!(dialled(&effects).contains(&"45.8.8.8:4000".parse().unwrap()), open);
        assert_eq!(effects.closed(link), None, "it stands until there is another one");
    }
}

#[test]
fn a_stranded_link_over_which_something_comes_after_all_is_none_but_not_if_that_was_on_its_way() {
    for (pause, heard) in [(ms(100), false), (STRANDED_HEARD, true)] {
        let mut house = House::new();
        let player = player(&house, true);
        let old = house.link(&player);
        house.wait(secs(1));
        house.handle(Input::LinkStranded { link: old });
        house.wait(pause);
        house.send(old, &Frame::Have(Vec::new()));
        let (new, effects) = house.dialled_at(&player, Ipv4Addr::new(45, 7, 7, 7));
        assert_eq!(lost(&effects, new).is_empty(), heard);
        assert_eq!(effects.closed(if heard { new } else { old }), Some(GoodbyeReason::Crossed));
    }
}

#[test]
fn when_our_addresses_change_all_neighbours_hear_something_from_the_new_one() {
    let mut house = House::new();
    let links = [house.link(&Player::new(1)), house.link(&Player::new(2))];
    let places =
        |text: &str| Input::PlacesFound { local: vec![text.parse().unwrap()], mapped: Vec::new(), stun: Vec::new() };
    let observed = |effects: &Effects| {
        links.map(|link| effects.frames(link).iter().filter(|frame| matches!(frame, Frame::Observed(_))).count())
    };
    assert_eq!(observed(&house.handle(places("192.168.1.5:4000"))), [0, 0], "the first word of the driver");
    assert_eq!(observed(&house.handle(places("192.168.1.5:4000"))), [0, 0]);
    assert_eq!(observed(&house.handle(places("10.0.0.5:4000"))), [1, 1]);
}

#[test]
fn the_record_forgets_at_once_where_a_stranded_link_saw_us() {
    let (mut house, first, second) = (House::new(), Player::new(1), Player::new(2));
    house.handle(Input::PlacesFound { local: vec!["192.168.1.5:4000".parse().unwrap()], mapped: vec![], stun: vec![] });
    let [old, new] = ["45.9.9.9:5000", "46.9.9.9:5000"].map(|text| text.parse::<SocketAddr>().unwrap());
    house.seen_at = old;
    let (stranded, _) = house.dialled_at(&first, Ipv4Addr::new(45, 1, 0, 1));
    let (link, _) = house.dialled_at(&second, Ipv4Addr::new(45, 2, 0, 1));
    house.send(link, &Frame::Graft(house.id, 0, 0));
    house.wait(secs(6));
    house.handle(Input::LinkStranded { link: stranded });
    let mut effects = house.send(link, &Frame::Observed(new));
    effects.add(house.wait(secs(2)));
    let record = effects.records(link).pop().expect("no new record");
    assert_eq!(record.candidates, [new]);
}

/// A house with an edge, and a peer at home at a neighbour, which can also be reached by way of another one.
struct Scene {
    house: House,
    edge: EdgeKey,
    from: PeerId,
    to: PeerId,
    player: Player,
    hop: LinkKey,
    old: LinkKey,
}

impl Scene {
    fn new() -> Self {
        let mut house = House::new();
        let (middle, mut player) = (Player::new(101), player(&house, true));
        player.interval_ms = 300_000;
        let (edge, from) = house.edge("s0");
        let (old, _) = house.dialled_at(&player, Ipv4Addr::new(45, 7, 7, 7));
        let (to, proof) = player.mint(1);
        let join = Op::Join { topic: named("s0").id, peer: to, meta: Bytes::new() };
        let announcement = player.announce(&[Op::Record(player.record()), Op::Present { peer: to, proof }, join]);
        house.send(old, &Frame::Announcement(announcement));
        let hop = house.link(&middle);
        let entry = HaveEntry::Named { number: 0, origin: player.id, epoch: player.epoch, seq: player.seq };
        house.send(hop, &Frame::Have(vec![entry]));
        Self { house, edge, from, to, player, hop, old }
    }

    fn signal(&mut self, id: &str) -> Effects {
        let request = Request::Signal { id: id.into(), to: self.to, topic: None, data: Bytes::from_static(b"{}") };
        let effects = self.house.handle(Input::EdgeAsked { edge: self.edge, request });
        self.house.take(&effects);
        effects
    }

    /// The signals that went directly, and how many went by way of the other neighbour.
    fn went(&self, effects: &Effects, link: LinkKey) -> (Vec<String>, usize) {
        let direct = effects.frames(link).into_iter().filter_map(|frame| match frame {
            Frame::Signal(signal) => Some(signal.id),
            _ => None,
        });
        let routed = effects.frames(self.hop).iter().filter(|frame| matches!(frame, Frame::Routed(_))).count();
        (direct.collect(), routed)
    }

    fn receipts(&self, effects: &Effects) -> Vec<String> {
        let receipt = |event| match event {
            Event::Receipt { id, outcome, .. } => Some(format!("{id} {outcome:?}")),
            _ => None,
        };
        effects.told(self.edge).into_iter().filter_map(receipt).collect()
    }

    /// The other side's Hello on a new connection, without the word that it has admitted us.
    fn greeted(&mut self) -> LinkKey {
        let new = self.house.connect(&self.player);
        let hello = self.house.hello_of(&self.player);
        let effects = self.house.send(new, &Frame::Hello(hello));
        assert!(effects.frames(new).contains(&Frame::Admitted));
        new
    }
}

#[test]
fn signals_on_a_link_that_gives_way_wait_for_the_one_that_is_about_to_be_admitted() {
    let mut scene = Scene::new();
    let effects = scene.signal("a");
    assert_eq!(scene.went(&effects, scene.old), (vec!["a".to_owned()], 0));
    let new = scene.greeted();
    // It overtakes the word on the other connection that we are admitted there.
    let goodbye = scene.house.send(scene.old, &Frame::Goodbye(GoodbyeReason::Crossed));
    let more = scene.signal("b");
    let waited = scene.house.wait(AWAITED_MAX - ms(1));
    for effects in [&goodbye, &more, &waited] {
        assert_eq!((scene.went(effects, new), scene.receipts(effects)), ((vec![], 0), vec![]));
        assert_eq!(dialled(effects), [], "nobody dials whom he is about to have a link with");
    }
    let effects = scene.house.send(new, &Frame::Admitted);
    assert_eq!(scene.went(&effects, new), (vec!["a".to_owned(), "b".to_owned()], 0), "in their order");
    for id in ["a", "b"] {
        let receipt = Receipt { from: scene.from, to: scene.to, id: id.into(), outcome: Outcome::Delivered };
        let effects = scene.house.send(new, &Frame::Receipt(receipt));
        assert_eq!(scene.receipts(&effects), [format!("{id} Delivered")]);
    }
}

#[test]
fn signals_that_wait_for_a_link_in_vain_take_another_way() {
    for gone in [false, true] {
        let mut scene = Scene::new();
        scene.signal("a");
        let new = scene.greeted();
        scene.house.send(scene.old, &Frame::Goodbye(GoodbyeReason::Crossed));
        scene.signal("b");
        let effects = if gone {
            scene.house.handle(Input::LinkClosed { link: new, reason: "lost".into() })
        } else {
            scene.house.wait(AWAITED_MAX)
        };
        assert_eq!(scene.went(&effects, new), (vec![], 2), "{gone}");
        assert_eq!(scene.receipts(&effects), [""; 0]);
    }
}

#[test]
fn a_link_that_gives_way_while_no_other_comes_is_left_at_once() {
    let mut scene = Scene::new();
    scene.signal("a");
    let effects = scene.house.send(scene.old, &Frame::Goodbye(GoodbyeReason::Crossed));
    assert_eq!(scene.went(&effects, scene.old), (vec![], 1));
}

#[test]
fn signals_on_a_stranded_link_go_another_way_at_once() {
    let mut scene = Scene::new();
    scene.signal("a");
    let effects = scene.house.handle(Input::LinkStranded { link: scene.old });
    assert_eq!(scene.went(&effects, scene.old), (vec![], 1));
    let effects = scene.signal("b");
    assert_eq!(scene.went(&effects, scene.old), (vec![], 1));
    let after = scene.house.wait(Duration::from_secs(1));
    assert_eq!(scene.receipts(&after), [""; 0]);
}
