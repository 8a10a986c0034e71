//! Sequence charts: one input, and exactly what the machine says to it. `link 1 <- Hello` is a frame that it sends.

use std::time::Duration;

use aldis::relay::io::{DialKey, EdgeKey, Event, Input, LinkKey, Output, Request};
use aldis::relay::limits::RACE;
use aldis_wire::announcement::Op;
use aldis_wire::codec::cut;
use aldis_wire::host::{Channel, Frame, GoodbyeReason, HaveEntry, Outcome, Receipt, Role, Signal, admission_proof};
use aldis_wire::id::{HostId, PeerId};
use aldis_wire::limits::FRAME_BYTES;
use aldis_wire::proof::Proof;
use bytes::{Bytes, BytesMut};

use crate::neighbour::{Effects, House, Player, named, network};

/// The outputs of one input, in words. What is stored for the next start is left out.
fn chart(effects: &Effects) -> Vec<String> {
    effects.outputs.iter().filter(|output| !matches!(output, Output::Store(_))).map(word).collect()
}

fn word(output: &Output) -> String {
    match output {
        Output::TellEdge { edge, event } => format!("edge {} <- {}", edge.0, event_word(event)),
        Output::CloseEdge { edge } => format!("close edge {}", edge.0),
        Output::Send { link, channel, frame } => {
            let (kind, body) = cut(&mut BytesMut::from(&frame[..]), FRAME_BYTES).unwrap().unwrap();
            let frame = Frame::decode(kind, &body).unwrap().unwrap();
            assert!(frame.belongs_on(*channel));
            format!("link {} <- {}", link.0, frame_word(&frame, *channel))
        }
        Output::CloseLink { link, reason } => format!("close link {} {reason:?}", link.0),
        Output::WidenLink { link } => format!("widen link {}", link.0),
        Output::Dial { address, .. } => format!("dial {address}"),
        other => format!("{other:?}").chars().take_while(|c| c.is_alphanumeric()).collect(),
    }
}

fn event_word(event: &Event) -> String {
    match event {
        Event::PeerJoined { seq, topic, .. } => format!("joined {topic} (seq {seq})"),
        Event::PeerLeft { seq, topic, reason, .. } => format!("left {topic} {reason:?} (seq {seq})"),
        Event::Signal { seq, id, .. } => format!("signal {id} (seq {seq})"),
        Event::Receipt { seq, id, outcome } => format!("receipt {id} {outcome:?} (seq {seq})"),
        Event::Error { refusal, .. } => format!("error {refusal}"),
        other => format!("{other:?}").chars().take_while(|c| c.is_alphanumeric()).collect(),
    }
}

fn frame_word(frame: &Frame, channel: Channel) -> String {
    match frame {
        Frame::Announcement(announcement) => {
            let head = announcement.head.peek().unwrap();
            let ops = if announcement.ops.is_some() { "with ops" } else { "alone" };
            format!("head {} {ops} on {channel:?}", head.seq)
        }
        Frame::Goodbye(reason) => format!("goodbye {reason:?}"),
        Frame::Receipt(receipt) => format!("receipt {} {:?}", receipt.id, receipt.outcome),
        Frame::Signal(signal) => format!("signal {} n {}", signal.id, signal.n),
        other => format!("{other:?}").chars().take_while(|c| c.is_alphanumeric()).collect(),
    }
}

fn opened(player: &Player, link: u64, role: Role) -> Input {
    Input::LinkOpened {
        link: LinkKey(link),
        host: player.id,
        role,
        dial: (role == Role::Dialler).then_some(DialKey(1)),
        address: "45.1.1.1:4000".parse().unwrap(),
        exporter: [9; 32],
        rtt: Duration::from_millis(10),
    }
}

/// What a player says first where the house has dialled.
fn answer_of(house: &House, player: &Player) -> Frame {
    let proof = admission_proof(&network().admission_key, Role::Acceptor, &[9; 32], house.id, player.id);
    let mut hello = house.hello_of(player);
    hello.proof = *proof.as_bytes();
    Frame::Hello(hello)
}

/// A linked player with one peer in topic `s0`.
fn neighbour(house: &mut House, number: u16) -> (Player, LinkKey, (PeerId, Proof)) {
    let mut player = Player::new(number);
    let link = house.link(&player);
    let peer = player.mint(1);
    let ops = [
        Op::Record(player.record()),
        Op::Present { peer: peer.0, proof: peer.1.clone() },
        Op::Join { topic: named("s0").id, peer: peer.0, meta: Bytes::new() },
    ];
    let announcement = player.announce(&ops);
    house.send(link, &Frame::Announcement(announcement));
    (player, link, peer)
}

fn signal(from: &(PeerId, Proof), to: PeerId, id: &str, n: u64) -> Frame {
    Frame::Signal(Signal {
        from: from.0,
        to,
        session: 1,
        n,
        id: id.into(),
        proof: from.1.clone(),
        topic: Some(named("s0").id),
        data: Bytes::from_static(b"{}"),
    })
}

/// Whether a summary says how far a player's roster has come.
fn tells_of(frame: &Frame, player: &Player) -> bool {
    let Frame::Have(entries) = frame else { return false };
    entries.iter().any(|entry| match entry {
        HaveEntry::Named { origin, .. } => *origin == player.id,
        // Of the hosts here only ours and the player's have anything to tell.
        HaveEntry::Numbered { seq, .. } => *seq == player.seq,
    })
}

#[test]
fn a_host_that_is_dialled_checks_first_and_says_hello_then() {
    let (mut house, player) = (House::new(), Player::new(1));
    assert_eq!(chart(&house.handle(opened(&player, 1, Role::Acceptor))), [""; 0], "the dialler speaks first");
    let hello = house.hello_of(&player);
    let effects = house.send(LinkKey(1), &Frame::Hello(hello));
    assert_eq!(chart(&effects), ["link 1 <- Hello", "widen link 1", "link 1 <- Admitted"]);
    let effects = house.send(LinkKey(1), &Frame::Admitted);
    assert_eq!(chart(&effects), ["link 1 <- Graft", "link 1 <- Have"]);
}

#[test]
fn of_two_dials_of_ours_by_both_families_the_one_that_came_first_is_kept() {
    let at = |player: &Player, link, address: &str| match opened(player, link, Role::Dialler) {
        Input::LinkOpened { link, host, role, dial, exporter, rtt, .. } => {
            Input::LinkOpened { link, host, role, dial, address: address.parse().unwrap(), exporter, rtt }
        }
        other => other,
    };
    let (mut house, player) = (House::new(), Player::new(1));
    assert_eq!(chart(&house.handle(at(&player, 1, "[2606:4700::1]:4000"))), ["link 1 <- Hello"]);
    let late = ["link 2 <- goodbye Crossed", "close link 2 Crossed"];
    assert_eq!(chart(&house.handle(at(&player, 2, "45.1.1.1:4000"))), late);
    let hello = answer_of(&house, &player);
    house.send(LinkKey(1), &hello);
    house.send(LinkKey(1), &Frame::Admitted);
    let late = ["link 3 <- goodbye Crossed", "close link 3 Crossed"];
    assert_eq!(chart(&house.handle(at(&player, 3, "45.1.1.1:4000"))), late, "also when the first is admitted");
    assert_eq!(chart(&house.handle(at(&player, 4, "[2606:4700::2]:4000"))), ["link 4 <- Hello"], "the same family");
    let other = Player::new(2);
    assert_eq!(chart(&house.handle(at(&other, 5, "45.1.1.2:4000"))), ["link 5 <- Hello"], "another host");
    house.wait(RACE);
    assert_eq!(chart(&house.handle(at(&player, 6, "45.1.1.1:4000"))), ["link 6 <- Hello"], "the race is over");
}

#[test]
fn a_host_that_dials_says_hello_first_and_checks_then() {
    let (mut house, player) = (House::new(), Player::new(1));
    assert_eq!(chart(&house.handle(opened(&player, 1, Role::Dialler))), ["link 1 <- Hello"]);
    let hello = answer_of(&house, &player);
    assert_eq!(chart(&house.send(LinkKey(1), &hello)), ["widen link 1", "link 1 <- Admitted"]);
    assert_eq!(chart(&house.send(LinkKey(1), &Frame::Admitted)), ["link 1 <- Graft", "link 1 <- Have"]);
}

#[test]
fn a_proof_for_the_other_role_is_no_proof() {
    let (mut house, player) = (House::new(), Player::new(1));
    house.handle(opened(&player, 1, Role::Dialler));
    let dialler_hello = Frame::Hello(house.hello_of(&player));
    let effects = house.send(LinkKey(1), &dialler_hello);
    assert_eq!(chart(&effects), ["link 1 <- goodbye NotAdmitted", "close link 1 NotAdmitted"]);
}

#[test]
fn admitted_may_overtake_hello_but_nothing_else_may() {
    let (mut house, player) = (House::new(), Player::new(1));
    house.handle(opened(&player, 1, Role::Dialler));
    assert_eq!(chart(&house.send(LinkKey(1), &Frame::Admitted)), [""; 0]);
    let hello = answer_of(&house, &player);
    let effects = house.send(LinkKey(1), &hello);
    assert_eq!(chart(&effects), ["widen link 1", "link 1 <- Admitted", "link 1 <- Graft", "link 1 <- Have"]);
    house.handle(opened(&Player::new(2), 2, Role::Dialler));
    let effects = house.send(LinkKey(2), &Frame::Prune(HostId::new([1; 32])));
    assert_eq!(chart(&effects), ["link 2 <- goodbye Misbehaved", "close link 2 Misbehaved"]);
}

#[test]
fn a_second_hello_or_a_second_admitted_is_out_of_order() {
    for second in [true, false] {
        let (mut house, player) = (House::new(), Player::new(1));
        let link = house.link(&player);
        let frame = if second { Frame::Hello(house.hello_of(&player)) } else { Frame::Admitted };
        let effects = house.send(link, &frame);
        assert_eq!(chart(&effects), ["link 1 <- goodbye Misbehaved", "close link 1 Misbehaved"]);
    }
}

#[test]
fn a_host_finds_itself_at_the_other_end_and_hangs_up() {
    let mut house = House::new();
    let mut own = Player::new(1);
    own.id = house.id;
    let effects = house.handle(opened(&own, 1, Role::Dialler));
    assert_eq!(chart(&effects), ["link 1 <- goodbye NotAllowed", "close link 1 NotAllowed"]);
}

#[test]
fn of_two_connections_that_one_side_dialled_its_acceptor_closes_the_older() {
    let (mut house, player) = (House::new(), Player::new(1));
    let (first, second) = (house.link(&player), LinkKey(2));
    house.handle(opened(&player, 2, Role::Acceptor));
    let hello = house.hello_of(&player);
    house.send(second, &Frame::Hello(hello));
    let effects = house.send(second, &Frame::Admitted);
    let expected = ["link 2 <- Graft", "link 2 <- Have", "link 1 <- goodbye Crossed", "close link 1 Crossed"];
    assert_eq!(chart(&effects), expected);
    assert_eq!(chart(&house.send(first, &Frame::Goodbye(GoodbyeReason::Crossed))), [""; 0]);
}

#[test]
fn of_two_that_crossed_the_one_dialled_by_the_lower_id_stays() {
    for number in 1..6 {
        let (mut house, player) = (House::new(), Player::new(number));
        let dialled_by_them = house.link(&player);
        house.handle(opened(&player, 2, Role::Dialler));
        let hello = answer_of(&house, &player);
        house.send(LinkKey(2), &hello);
        let effects = house.send(LinkKey(2), &Frame::Admitted);
        let loser = if house.id < player.id { dialled_by_them } else { LinkKey(2) };
        assert_eq!(
            chart(&effects)[2..],
            [format!("link {} <- goodbye Crossed", loser.0), format!("close link {} Crossed", loser.0)]
        );
    }
}

#[test]
fn a_crossed_link_on_which_the_other_side_says_goodbye_is_closed_here_too() {
    let (mut house, player) = (House::new(), Player::new(1));
    let link = house.link(&player);
    let effects = house.send(link, &Frame::Goodbye(GoodbyeReason::Crossed));
    assert_eq!(chart(&effects), ["close link 1 Crossed"]);
}

#[test]
fn an_announcement_goes_to_the_members_here_and_on_to_those_who_want_it_and_to_nobody_else() {
    let mut house = House::new();
    let (edge, _) = house.edge("s0");
    let (eager, lazy) = (house.link(&Player::new(2)), house.link(&Player::new(3)));
    let (mut player, link, peer) = neighbour(&mut house, 1);
    house.wait(Duration::from_secs(2));
    // Its first announcement went to everybody, who may not have known it; what follows goes to who asks for it.
    house.send(eager, &Frame::Graft(player.id, player.epoch, player.seq));
    let leaves = player.announce(&[Op::Leave { topic: named("s0").id, peer: peer.0 }]);
    let effects = house.send(link, &Frame::Announcement(leaves.clone()));
    let passed_on = format!("link {} <- head 2 with ops on Announce", eager.0);
    let told = format!("edge {} <- left s0 Left (seq 2)", edge.0);
    assert_eq!(chart(&effects), [passed_on, told]);
    // The same over another way: that way is closed for this origin.
    let effects = house.send(lazy, &Frame::Announcement(leaves));
    assert_eq!(chart(&effects), [format!("link {} <- Prune", lazy.0)]);
    // Whoever has not been sent it is told how far we are, a second later at most; but this one has shown it to us.
    let other = house.link(&Player::new(4));
    let next = player.announce(&[]);
    house.send(lazy, &Frame::Announcement(next));
    let effects = house.wait(Duration::from_secs(1));
    let told = |link| effects.frames(link).iter().any(|frame| tells_of(frame, &player));
    assert_eq!((told(lazy), told(eager), told(other)), (false, false, true));
}

#[test]
fn a_heartbeat_is_passed_on_alone_on_control() {
    let mut house = House::new();
    let eager = house.link(&Player::new(2));
    let (mut player, link, _) = neighbour(&mut house, 1);
    house.send(eager, &Frame::Graft(player.id, player.epoch, player.seq));
    let heartbeat = player.announce(&[]);
    let effects = house.send(link, &Frame::Announcement(heartbeat));
    assert_eq!(chart(&effects), [format!("link {} <- head 2 alone on Control", eager.0)]);
}

#[test]
fn a_head_after_a_gap_is_passed_on_as_a_sign_of_life_and_the_gap_is_asked_for() {
    let mut house = House::new();
    let eager = house.link(&Player::new(2));
    let (mut player, link, peer) = neighbour(&mut house, 1);
    house.send(eager, &Frame::Graft(player.id, player.epoch, player.seq));
    let missing = player.announce(&[Op::Leave { topic: named("s0").id, peer: peer.0 }]);
    let later = player.announce(&[]);
    let effects = house.send(link, &Frame::Announcement(later));
    assert_eq!(chart(&effects), [format!("link {} <- head 3 alone on Control", eager.0)]);
    let effects = house.wait(Duration::from_millis(200));
    assert_eq!(effects.frames(link), [Frame::Graft(player.id, player.epoch, 1)]);
    house.send(link, &Frame::Announcement(missing));
    let seen = house.relay.view(house.now).hosts.into_iter().find(|host| host.host == player.id).unwrap();
    assert_eq!(seen.seq, 3, "both are applied");
}

#[test]
fn a_signal_comes_in_is_told_and_answered_when_the_edge_has_acknowledged_it() {
    let mut house = House::new();
    let (edge, target) = house.edge("s0");
    let (_, link, peer) = neighbour(&mut house, 1);
    let effects = house.send(link, &signal(&peer, target, "a", 1));
    assert_eq!(chart(&effects), [format!("edge {} <- signal a (seq 2)", edge.0)]);
    let ack = |seq| Input::EdgeAsked { edge, request: Request::Ack { seq } };
    assert_eq!(chart(&house.handle(ack(1))), [""; 0], "that was the neighbour's joining");
    assert_eq!(chart(&house.handle(ack(2))), ["link 1 <- receipt a Delivered"]);
    assert_eq!(chart(&house.handle(ack(2))), [""; 0]);
    let again = house.send(link, &signal(&peer, target, "a", 1));
    assert_eq!(chart(&again), ["link 1 <- receipt a Delivered"], "a repetition has the same answer and is not told");
    let nobody = house.send(link, &signal(&peer, PeerId::new([1; 32]), "b", 2));
    assert_eq!(chart(&nobody), ["link 1 <- receipt b Refused(NoSuchPeer)"]);
}

#[test]
fn a_receipt_passes_over_a_link_that_is_silent_while_there_is_another_way() {
    for (other_way, silent) in [(false, true), (true, false), (true, true)] {
        let mut house = House::new();
        let (edge, target) = house.edge("s0");
        let (player, link, peer) = neighbour(&mut house, 1);
        let (_, other, _) = neighbour(&mut house, 2);
        if other_way {
            let entry = HaveEntry::Named { number: 0, origin: player.id, epoch: player.epoch, seq: player.seq };
            house.send(other, &Frame::Have(vec![entry]));
        }
        house.send(link, &signal(&peer, target, "a", 1));
        if silent {
            house.handle(Input::LinkSilent { link });
        }
        let effects = house.handle(Input::EdgeAsked { edge, request: Request::Ack { seq: 9 } });
        let over =
            |link| effects.frames(link).iter().map(|frame| frame_word(frame, Channel::Lane(0))).collect::<Vec<_>>();
        let sealed = effects.frames(other).iter().any(|frame| matches!(frame, Frame::Routed(_)));
        assert_eq!(sealed, other_way && silent);
        let expected: &[&str] = if sealed { &[] } else { &["receipt a Delivered"] };
        assert_eq!(over(link), expected, "{other_way} {silent}");
    }
}

#[test]
fn a_signal_goes_out_and_its_receipt_is_told_once() {
    let mut house = House::new();
    let (edge, from) = house.edge("s0");
    let (_, link, peer) = neighbour(&mut house, 1);
    let sent = Request::Signal { id: "a".into(), to: peer.0, topic: None, data: Bytes::from_static(b"{}") };
    let effects = house.handle(Input::EdgeAsked { edge, request: sent });
    assert_eq!(chart(&effects), ["link 1 <- signal a n 1"]);
    let receipt = Frame::Receipt(Receipt { from, to: peer.0, id: "a".into(), outcome: Outcome::Delivered });
    let effects = house.send(link, &receipt);
    assert_eq!(chart(&effects), [format!("edge {} <- receipt a Delivered (seq 2)", edge.0)]);
    assert_eq!(chart(&house.send(link, &receipt)), [""; 0]);
    let effects = house.wait(Duration::from_secs(6));
    assert!(!chart(&effects).iter().any(|word| word.contains("receipt")), "nor is it unknown afterwards");
}

#[test]
fn a_signal_without_an_answer_is_unknown_after_five_seconds_to_the_millisecond() {
    let mut house = House::new();
    let (edge, _) = house.edge("s0");
    let (_, _, peer) = neighbour(&mut house, 1);
    let sent = Request::Signal { id: "a".into(), to: peer.0, topic: None, data: Bytes::from_static(b"{}") };
    house.handle(Input::EdgeAsked { edge, request: sent });
    let start = house.now;
    let told = format!("edge {} <- receipt a Unknown (seq 2)", edge.0);
    assert!(!chart(&house.wait(Duration::from_millis(4_999))).contains(&told));
    assert!(chart(&house.wait(Duration::from_millis(1))).contains(&told));
    assert_eq!(house.now, start + Duration::from_secs(5));
}

#[test]
fn a_shutdown_drains_announces_says_goodbye_and_only_then_stops() {
    let mut house = House::new();
    let (edge, _) = house.edge("s0");
    let neighbour = Player::new(1);
    let link = house.link(&neighbour);
    house.send(link, &Frame::Graft(house.id, 0, 0));
    house.wait(Duration::from_secs(1));
    let effects = house.handle(Input::ShutdownAsked);
    let mut words = chart(&effects);
    let EdgeKey(edge) = edge;
    let head = words.iter().position(|word| word.starts_with("link 1 <- head")).expect("the departures are announced");
    words[head] = "link 1 <- the departures".into();
    let expected = [
        format!("edge {edge} <- Drain"),
        format!("close edge {edge}"),
        "link 1 <- the departures".into(),
        "link 1 <- goodbye Closing".into(),
        "close link 1 Closing".into(),
        "Stop".into(),
    ];
    assert_eq!(words, expected);
    assert_eq!(chart(&house.handle(Input::ShutdownAsked)), [""; 0], "asked again, it has nothing more to say");
}

#[test]
fn a_neighbour_that_prunes_is_pushed_nothing_more_of_that_origin_but_is_told_how_far_it_is() {
    let mut house = House::new();
    let other = house.link(&Player::new(2));
    let (mut player, link, peer) = neighbour(&mut house, 1);
    house.send(other, &Frame::Graft(player.id, player.epoch, player.seq));
    house.wait(Duration::from_secs(2));
    house.send(other, &Frame::Prune(player.id));
    let leaves = player.announce(&[Op::Leave { topic: named("s0").id, peer: peer.0 }]);
    assert_eq!(chart(&house.send(link, &Frame::Announcement(leaves))), [""; 0], "nothing is pushed");
    let effects = house.wait(Duration::from_secs(1));
    assert!(effects.frames(other).iter().any(|frame| tells_of(frame, &player)), "a summary tells of it");
    let effects = house.send(other, &Frame::Graft(player.id, player.epoch, 1));
    assert_eq!(
        chart(&effects),
        [format!("link {} <- head 2 with ops on Announce", other.0)],
        "and who asks is sent it"
    );
}
