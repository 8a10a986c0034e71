#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail by panic")]
use super::super::super::dialect::testing::Table;
use super::*;
use crate::relay::io::{Input, Sample, Token, Welcome};
use aldis_wire::network::Genesis;
use proptest::prelude::*;
use room::{Place, State};

fn peer(n: u8) -> PeerId {
    PeerId::new([n; 32])
}

fn client(size: Option<usize>, stamp: u64) -> (Matchbox, Table) {
    let network = Arc::new(Network::new(&Genesis::open("matchbox").unwrap()));
    let (mut matchbox, mut table) = (Matchbox::new(network, "room".to_owned(), size, stamp), Table::default());
    matchbox.opened(&mut table.desk());
    let welcome = Welcome {
        peer: peer(5),
        session: 1,
        token: Token([0; 32]),
        resumed: false,
        gateways: Vec::new(),
        stun: Vec::new(),
    };
    table.say(&mut matchbox, Event::Welcome(welcome));
    assert_eq!(table.texts(), [ToClient::IdAssigned(uuid(peer(5))).encode()]);
    let asked = table.requests();
    assert!(matches!(asked[..], [Request::Hello(_), Request::Join { .. }]), "{asked:?}");
    (matchbox, table)
}

fn member(n: u8, stamp: u64) -> Member {
    Member { peer: peer(n), meta: stamp.to_be_bytes().to_vec().into() }
}

fn came(n: u8, stamp: u64) -> Event {
    Event::PeerJoined { seq: 1, topic: "lobby".into(), member: member(n, stamp) }
}

/// Lets time pass until the client is woken as it asked for.
fn wait(matchbox: &mut Matchbox, table: &mut Table) {
    assert!(matchbox.deadline().is_some(), "it would wait for ever");
    table.ahead += SETTLING;
    matchbox.woken(&mut table.desk());
}

fn refused(id: &RequestId) -> Event {
    let refusal = Refusal::RateLimited;
    Event::Error { id: Some(id.clone()), refusal, message: String::new(), known: None, retry_after: None }
}

#[test]
fn of_two_clients_only_the_first_is_told_whoever_sees_whom() {
    let (mut matchbox, mut table) = client(None, 100);
    let members = vec![member(1, 99), member(2, 101)];
    table.say(&mut matchbox, Event::Joined(Sample { id: "1".into(), topic: "lobby".into(), total: 2, members }));
    table.say(&mut matchbox, came(3, 50));
    table.say(&mut matchbox, came(4, 150));
    let told = [2, 4].map(|n| ToClient::NewPeer(uuid(peer(n))).encode());
    assert_eq!(table.texts(), told);
    let gone = Event::PeerLeft { seq: 2, topic: "lobby".into(), peer: peer(1), reason: LeftReason::HostLost };
    table.say(&mut matchbox, gone.clone());
    table.say(&mut matchbox, gone);
    assert_eq!(table.texts(), [ToClient::PeerLeft(uuid(peer(1))).encode()]);
}

#[test]
fn signals_go_to_clients_of_the_room_and_to_nobody_else() {
    let (mut matchbox, mut table) = client(None, 100);
    table.say(&mut matchbox, came(4, 150));
    let signal = |n| format!("{{\"Signal\":{{\"receiver\":\"{}\",\"data\":{{\"Offer\": \"1\"}}}}}}", uuid(peer(n)));
    matchbox.text(&signal(4), &mut table.desk());
    matchbox.text(&signal(6), &mut table.desk());
    let asked = table.requests();
    let [Request::Signal { to, data, .. }] = &asked[..] else { panic!("{asked:?}") };
    assert_eq!((*to, door::unwrap(NAME, data)), (peer(4), Some(Bytes::from_static(b"{\"Offer\": \"1\"}"))));
}

#[test]
fn only_the_same_door_of_another_host_reaches_a_client() {
    let (mut matchbox, mut table) = client(None, 100);
    let signal = |data: Bytes| Event::Signal { seq: 1, id: "1".into(), from: peer(4), topic: None, data };
    let offer = b"{\"Offer\": \"1\"}";
    for data in [&offer[..], b"", b"\x01\x08matchbox", b"\x01\x08matchbox{", b"\x01\x06peerjs{}"] {
        table.say(&mut matchbox, signal(Bytes::copy_from_slice(data)));
        assert_eq!(table.texts(), Vec::<String>::new(), "{data:?}");
    }
    for odd in [&b"7"[..], b"{}", b"{\"Offer\":1}", b"{\"Offer\":\"1\",\"Answer\":\"2\"}"] {
        table.say(&mut matchbox, signal(door::wrap(NAME, odd)));
        assert_eq!(table.texts(), Vec::<String>::new(), "{odd:?} would end the client");
    }
    table.say(&mut matchbox, signal(door::wrap(NAME, offer)));
    let told = format!("{{\"Signal\":{{\"sender\":\"{}\",\"data\":{{\"Offer\": \"1\"}}}}}}", uuid(peer(4)));
    assert_eq!(table.texts(), [told]);
}

#[test]
fn a_complete_group_moves_to_a_topic_of_its_own() {
    let (mut matchbox, mut table) = client(Some(2), 100);
    table.say(&mut matchbox, came(4, 150));
    wait(&mut matchbox, &mut table);
    assert_eq!(table.texts(), [ToClient::NewPeer(uuid(peer(4))).encode()]);
    let topics = |table: &mut Table| -> Vec<_> {
        let named = |request| match request {
            Request::Join { topic, .. } => Some(format!("join {}", topic.name)),
            Request::Leave { topic, .. } => Some(format!("leave {}", topic.name)),
            _ => None,
        };
        table.requests().into_iter().filter_map(named).collect()
    };
    assert_eq!(topics(&mut table).last().unwrap(), "join group");
    let moved = Event::PeerLeft { seq: 3, topic: "lobby".into(), peer: peer(4), reason: LeftReason::Left };
    table.say(&mut matchbox, moved);
    assert_eq!(table.texts(), Vec::<String>::new(), "it has only settled");
    wait(&mut matchbox, &mut table);
    assert_eq!(topics(&mut table), ["leave lobby"]);
    table.say(&mut matchbox, came(7, 160));
    assert_eq!(table.texts(), Vec::<String>::new(), "the group is complete");
    let gone = Event::PeerLeft { seq: 4, topic: "group".into(), peer: peer(4), reason: LeftReason::HostLost };
    table.say(&mut matchbox, gone);
    assert_eq!(table.texts(), [ToClient::PeerLeft(uuid(peer(4))).encode()]);
}

#[test]
fn what_no_client_reads_and_what_is_too_big_is_refused_to_its_sender() {
    let (mut matchbox, mut table) = client(None, 100);
    table.say(&mut matchbox, came(4, 150));
    let signal = |data: &str| format!("{{\"Signal\":{{\"receiver\":\"{}\",\"data\":{data}}}}}", uuid(peer(4)));
    matchbox.text(&signal("7"), &mut table.desk());
    let inputs = table.inputs();
    assert!(matches!(inputs[..], [Input::EdgeErred { refusal: Refusal::BadField, .. }]), "{inputs:?}");
    let overhead = door::wrap(NAME, b"{\"Offer\":\"\"}").len();
    let offer = |bytes| signal(&format!("{{\"Offer\":\"{}\"}}", "x".repeat(bytes)));
    let most = aldis_wire::limits::SIGNAL_DATA_BYTES - overhead;
    matchbox.text(&offer(most), &mut table.desk());
    assert!(matches!(table.requests()[..], [Request::Signal { .. }]));
    matchbox.text(&offer(most + 1), &mut table.desk());
    let inputs = table.inputs();
    assert!(matches!(inputs[..], [Input::EdgeErred { id: Some(_), refusal: Refusal::TooBig, .. }]), "{inputs:?}");
}

#[test]
fn a_membership_that_is_refused_for_now_is_asked_for_again() {
    let network = Arc::new(Network::new(&Genesis::open("matchbox").unwrap()));
    let (mut matchbox, mut table) = (Matchbox::new(network, "room".to_owned(), Some(2), 100), Table::default());
    matchbox.opened(&mut table.desk());
    let welcome = Welcome {
        peer: peer(5),
        session: 1,
        token: Token([0; 32]),
        resumed: false,
        gateways: Vec::new(),
        stun: Vec::new(),
    };
    table.say(&mut matchbox, Event::Welcome(welcome));
    for _ in 0..2 {
        let asked = table.requests();
        let Some(Request::Join { id, topic, .. }) = asked.last() else { panic!("{asked:?}") };
        assert_eq!(&*topic.name, "lobby");
        table.say(&mut matchbox, refused(id));
        wait(&mut matchbox, &mut table);
    }
    let asked = table.requests();
    let id = asked[0].id().unwrap().clone();
    let sample = Sample { id, topic: "lobby".into(), total: 1, members: vec![member(4, 150)] };
    table.say(&mut matchbox, Event::Joined(sample));
    wait(&mut matchbox, &mut table);
    // It leads, its group is complete, and it asks for a place of its own.
    let group = |table: &mut Table| {
        let asked = table.requests();
        let joins = |request: &&Request| matches!(request, Request::Join { topic, .. } if &*topic.name == "group");
        asked.iter().rev().find(joins).unwrap().id().unwrap().clone()
    };
    for _ in 0..2 {
        let id = group(&mut table);
        table.say(&mut matchbox, refused(&id));
        wait(&mut matchbox, &mut table);
    }
    let sample = Sample { id: group(&mut table), topic: "group".into(), total: 0, members: vec![] };
    table.say(&mut matchbox, Event::Joined(sample));
    assert_eq!(matchbox.deadline(), None);
}

#[test]
fn who_has_settled_elsewhere_makes_room_for_newcomers() {
    let (mut matchbox, mut table) = client(Some(60), 100);
    let settled = |n: usize| {
        let mut id = [9; 32];
        id[..8].copy_from_slice(&n.to_be_bytes());
        let meta = Place { stamp: 50, state: State::Settled }.encode();
        Member { peer: PeerId::new(id), meta: meta.into() }
    };
    for n in 0..MEMBERS_MAX {
        let member = settled(n);
        table.say(&mut matchbox, Event::PeerJoined { seq: 1, topic: "lobby".into(), member: member.clone() });
        let (topic, peer) = ("lobby".into(), member.peer);
        table.say(&mut matchbox, Event::PeerLeft { seq: 2, topic, peer, reason: LeftReason::Left });
    }
    wait(&mut matchbox, &mut table);
    assert_eq!(table.texts(), Vec::<String>::new());
    table.say(&mut matchbox, came(7, 160));
    wait(&mut matchbox, &mut table);
    assert_eq!(table.texts(), [ToClient::NewPeer(uuid(peer(7))).encode()]);
}

#[test]
fn a_leader_that_takes_in_nobody_holds_up_a_room_for_seconds_and_no_longer() {
    let (mut matchbox, mut table) = client(Some(2), 100);
    let meta = Place { stamp: 0, state: State::Leads(vec![]) }.encode();
    let member = Member { peer: peer(1), meta: meta.into() };
    table.say(&mut matchbox, Event::PeerJoined { seq: 1, topic: "lobby".into(), member });
    table.ahead += PATIENCE / 2;
    matchbox.woken(&mut table.desk());
    assert_eq!(table.requests(), [], "an honest leader has its time");
    wait(&mut matchbox, &mut table);
    wait(&mut matchbox, &mut table);
    table.say(&mut matchbox, came(7, 160));
    wait(&mut matchbox, &mut table);
    assert_eq!(table.texts(), [ToClient::NewPeer(uuid(peer(7))).encode()]);
}

#[test]
fn a_room_for_groups_is_reckoned_once_for_all_that_a_moment_brings() {
    let (mut matchbox, mut table) = client(Some(60), 100);
    table.say(&mut matchbox, came(4, 150));
    wait(&mut matchbox, &mut table);
    assert_eq!(table.texts(), [ToClient::NewPeer(uuid(peer(4))).encode()]);
    table.requests();
    for n in 6..9 {
        table.say(&mut matchbox, came(n, 150 + u64::from(n)));
    }
    assert_eq!((table.texts().len(), table.requests()), (0, vec![]));
    table.ahead += RECKONING;
    matchbox.woken(&mut table.desk());
    assert_eq!((table.texts().len(), table.requests().len()), (3, 1), "one meta names all of them");
    assert_eq!(matchbox.deadline(), None);
}

#[test]
fn a_group_has_a_size_that_fits() {
    assert_eq!(group_size(""), Ok(None));
    assert_eq!(group_size("a=b&next=2"), Ok(Some(2)));
    for query in ["next=0", "next=61", "next=-1", "next=", "next=two"] {
        assert!(group_size(query).is_err(), "{query}");
    }
}

proptest! {
    #[test]
    fn whatever_a_client_sends_is_read_or_passed_over(text in "\\PC{0,80}", bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        let (mut matchbox, mut table) = client(None, 100);
        matchbox.text(&text, &mut table.desk());
        for shape in ["{\"Signal\":{\"receiver\":", "{\"Signal\":{\"receiver\":\"05050505-0505-4505-8505-050505050505\",\"data\":", "\"Keep"] {
            matchbox.text(&format!("{shape}{text}"), &mut table.desk());
        }
        prop_assert_eq!(table.texts(), Vec::<String>::new());
        let misread = |input: &Input| matches!(input, Input::EdgeErred { .. });
        prop_assert!(table.inputs().iter().all(misread));
        let signal = Event::Signal { seq: 1, id: "1".into(), from: peer(4), topic: None, data: door::wrap(NAME, &bytes) };
        table.say(&mut matchbox, signal);
        prop_assert!(table.texts().is_empty() || serde_json::from_slice::<&RawValue>(&bytes).is_ok());
        matchbox.binary(&bytes.into(), &mut table.desk());
        prop_assert_eq!(table.closed(), Some(Some(1003)));
    }
}
