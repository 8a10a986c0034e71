#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test may fail by panic, and has a clock"
)]
use std::time::Duration;

use aldis_wire::announcement::GoneReason;
use aldis_wire::host::Outcome;
use aldis_wire::limits::PEER_TOPICS_MAX;
use aldis_wire::network::Genesis;
use axum::extract::ws::Message;
use proptest::prelude::*;

use super::super::super::super::dialect::testing::Table;
use super::*;
use crate::relay::io::{self, Input, Member, Token, Welcome};

const T0_MS: u64 = 1_700_000_000_000;
const LEASE_MS: u64 = 90_000;

/// One client, and the machine behind it.
struct Scene {
    table: Table,
    door: Signaling,
    ids: i32,
}

/// What a client gets.
#[derive(Debug, PartialEq)]
enum Got {
    Ready(i32),
    Came(i32, u8, u64),
    Left(i32, u8),
    Mail(i32, Vec<u8>),
    Done(i32),
    Failed(i32, String),
}

impl Scene {
    fn new() -> Self {
        let network = Arc::new(Network::new(&Genesis::open("t").unwrap()));
        let clock = Clock { at: Instant::now(), unix_ms: T0_MS };
        let mut scene = Self { table: Table::default(), door: Signaling::new(network, clock), ids: 0 };
        scene.door.opened(&mut scene.table.desk());
        assert!(matches!(scene.table.requests()[..], [io::Request::Hello(_)]));
        let welcome = Welcome {
            peer: peer(0),
            session: 1,
            token: Token([0; 32]),
            resumed: false,
            gateways: Vec::new(),
            stun: Vec::new(),
        };
        scene.told(Event::Welcome(welcome));
        scene
    }

    fn told(&mut self, event: Event) {
        self.table.say(&mut self.door, event);
    }

    fn says(&mut self, content: Content) {
        self.door.binary(&rpc::frame(content).into(), &mut self.table.desk());
    }

    fn calls(&mut self, method: &str, value: impl prost::Message) -> i32 {
        self.ids += 1;
        self.calls_as(self.ids, method, value.encode_to_vec())
    }

    fn calls_as(&mut self, id: i32, method: &str, value: Vec<u8>) -> i32 {
        let payload = Some(rpc::Any { type_url: ".t".to_owned(), value: value.into() });
        let method = format!("dxos.mesh.signal.Signal.{method}");
        let stream = !method.ends_with("SendMessage");
        self.says(Content::Request(Request { id, method, payload, stream }));
        id
    }

    fn joins(&mut self, swarm: u8, peer: u8) -> i32 {
        self.calls("Join", rpc::JoinRequest { swarm: vec![swarm; 32], peer: vec![peer; 32] })
    }

    fn receives(&mut self, peer: u8) -> i32 {
        self.calls("ReceiveMessages", rpc::ReceptionRequest { peer: vec![peer; 32] })
    }

    /// The one request since the last look.
    fn asked(&mut self) -> io::Request {
        let mut requests = self.table.requests();
        assert_eq!(requests.len(), 1, "{requests:?}");
        requests.remove(0)
    }

    /// The membership asked for since the last look is granted.
    fn granted(&mut self, members: Vec<Member>) -> (Topic, Bytes) {
        let io::Request::Join { id, topic, meta, .. } = self.asked() else { panic!("not a join") };
        let total = members.len();
        self.told(Event::Joined(Sample { id, topic: topic.name.clone(), members, total }));
        (topic, meta.unwrap())
    }

    fn refused(&mut self, refusal: Refusal) {
        let id = Some(self.asked().id().unwrap().clone());
        self.told(Event::Error { id, refusal, message: String::new(), known: None, retry_after: None });
    }

    fn got(&mut self) -> Vec<Got> {
        let ahead_ms = u64::try_from(self.table.ahead.as_millis()).unwrap();
        let frame = |frame| {
            let Message::Binary(bytes) = frame else { panic!("not binary: {frame:?}") };
            let read = RpcMessage::decode(bytes).unwrap();
            let Some(Content::Response(rpc::Response { id, answer: Some(answer) })) = read.content else {
                panic!("not a response: {read:?}")
            };
            match answer {
                Answer::StreamReady(true) => Got::Ready(id),
                Answer::Error(error) => Got::Failed(id, error.name.unwrap()),
                Answer::Payload(any) if any.type_url == "google.protobuf.Empty" => Got::Done(id),
                Answer::Payload(any) if any.type_url == ".dxos.mesh.signal.Message" => Got::Mail(id, any.value.into()),
                Answer::Payload(any) => match rpc::SwarmEvent::decode(any.value).unwrap().change.unwrap() {
                    rpc::Change::PeerAvailable(came) => {
                        let since = came.since.unwrap();
                        let ms =
                            |at: rpc::Timestamp| u64::try_from(at.seconds * 1_000 + i64::from(at.nanos / 1_000_000));
                        assert!(ms(came.until.unwrap()).unwrap() > T0_MS + ahead_ms + LEASE_MS - 1);
                        Got::Came(id, came.peer[0], ms(since).unwrap())
                    }
                    rpc::Change::PeerLeft(left) => Got::Left(id, left.peer[0]),
                },
                Answer::Close(_) | Answer::StreamReady(false) => panic!("never sent: {answer:?}"),
            }
        };
        self.table.frames().into_iter().map(frame).collect()
    }

    fn peer_left(&mut self, topic: &Topic, n: u8, reason: LeftReason) {
        self.told(Event::PeerLeft { seq: 1, topic: topic.name.clone(), peer: peer(n), reason });
    }
}

fn peer(n: u8) -> PeerId {
    PeerId::new([n; 32])
}

/// Somebody elsewhere with these peers in a swarm.
fn member(n: u8, peers: &[u8]) -> Member {
    let listed: Vec<Presence> =
        peers.iter().map(|key| Presence { peer: [*key; 32].into(), since_ms: T0_MS - u64::from(*key) }).collect();
    Member { peer: peer(n), meta: presence::swarm_meta(&listed).unwrap() }
}

fn a_mail(to: u8) -> Vec<u8> {
    let payload = Some(rpc::Any { type_url: "t".to_owned(), value: Bytes::from_static(b"v") });
    let mail = rpc::Mail { author: vec![1; 32], recipient: vec![to; 32], payload, metadata: None };
    // And a field of a later schema.
    [&mail.encode_to_vec()[..], b"\xfa\x01\x03new"].concat()
}

fn wrapped(mail: &[u8]) -> Bytes {
    door::wrap(NAME, &[&[MESSAGE], mail].concat())
}

fn signal(data: Bytes) -> Event {
    Event::Signal { seq: 1, id: "s".into(), from: peer(9), topic: None, data }
}

#[test]
fn a_stream_is_ready_when_the_machine_has_joined_and_shows_who_is_there() {
    let mut scene = Scene::new();
    let id = scene.joins(1, 10);
    assert_eq!(scene.got(), []);
    let (topic, meta) = scene.granted(vec![member(1, &[20]), member(2, &[21, 10])]);
    let mut got = scene.got();
    assert_eq!(got.remove(0), Got::Ready(id));
    got.sort_by_key(|it| format!("{it:?}"));
    let came = |key: u8| Got::Came(id, key, T0_MS - u64::from(key));
    assert_eq!(got, [came(20), came(21)], "and not itself, wherever else it is");
    let own = presence::read_swarm_meta(&meta, u64::MAX);
    assert_eq!(own[0].peer[..], [10; 32]);
    assert!((T0_MS..T0_MS + 60_000).contains(&own[0].since_ms));
    scene.told(Event::PeerJoined { seq: 1, topic: topic.name.clone(), member: member(3, &[22]) });
    scene.peer_left(&topic, 3, LeftReason::Left);
    assert_eq!(scene.got(), [came(22), Got::Left(id, 22)]);
}

#[test]
fn closing_the_stream_is_the_leave() {
    let mut scene = Scene::new();
    let id = scene.joins(1, 10);
    let (topic, _) = scene.granted(vec![]);
    scene.says(Content::StreamClose(rpc::StreamClose { id }));
    let io::Request::Leave { id: leave, topic: left } = scene.asked() else { panic!("not a leave") };
    assert_eq!(left, topic);
    scene.told(Event::PeerJoined { seq: 1, topic: topic.name.clone(), member: member(3, &[22]) });
    scene.told(Event::Left { id: leave, topic: topic.name.clone() });
    assert!(scene.door.swarms.is_empty() && scene.door.streams.is_empty());
    scene.says(Content::StreamClose(rpc::StreamClose { id }));
    assert_eq!((scene.table.requests(), scene.table.frames().len()), (vec![], 1), "only that it was ready");
}

#[test]
fn whoever_joins_again_before_the_leave_is_done_sees_nobody_of_before() {
    let mut scene = Scene::new();
    let id = scene.joins(1, 10);
    let (topic, _) = scene.granted(vec![member(1, &[20]), member(2, &[21])]);
    scene.says(Content::StreamClose(rpc::StreamClose { id }));
    let leave = scene.asked();
    let again = scene.joins(1, 10);
    // What the machine said before it knew of the second join.
    scene.peer_left(&topic, 2, LeftReason::Left);
    scene.told(Event::Left { id: leave.id().unwrap().clone(), topic: topic.name.clone() });
    _ = scene.table.frames();
    scene.granted(vec![member(1, &[20])]);
    assert_eq!(scene.got(), [Got::Ready(again), Got::Came(again, 20, T0_MS - 20)]);
}

#[test]
fn two_peers_on_one_socket_see_each_other_and_share_a_membership() {
    let mut scene = Scene::new();
    let one = scene.joins(1, 10);
    let (topic, _) = scene.granted(vec![member(1, &[20])]);
    _ = scene.table.frames();
    let two = scene.joins(1, 11);
    let (again, meta) = scene.granted(vec![member(1, &[20])]);
    assert_eq!(again, topic);
    assert_eq!(presence::read_swarm_meta(&meta, u64::MAX).len(), 2);
    let got = scene.got();
    assert!(matches!(got[..2], [Got::Came(to, 11, _), Got::Ready(ready)] if to == one && ready == two), "{got:?}");
    let to_two = |key: u8| got.iter().any(|it| matches!(it, Got::Came(to, of, _) if *to == two && *of == key));
    assert!(got.len() == 4 && to_two(10) && to_two(20), "{got:?}");
    scene.says(Content::StreamClose(rpc::StreamClose { id: two }));
    let (_, meta) = scene.granted(vec![member(1, &[20])]);
    assert_eq!(presence::read_swarm_meta(&meta, u64::MAX).len(), 1);
    assert_eq!(scene.got(), [Got::Left(one, 11)]);
}

#[test]
fn a_peer_whose_socket_is_lost_has_left_only_when_it_does_not_come_back() {
    for reason in [LeftReason::HostLost, LeftReason::Gone(GoneReason::Closed), LeftReason::Gone(GoneReason::Lost)] {
        let mut scene = Scene::new();
        let id = scene.joins(1, 10);
        let (topic, _) = scene.granted(vec![member(1, &[20]), member(2, &[21])]);
        _ = scene.table.frames();
        scene.peer_left(&topic, 1, reason);
        scene.peer_left(&topic, 2, reason);
        scene.told(Event::PeerJoined { seq: 3, topic: topic.name.clone(), member: member(3, &[20]) });
        assert_eq!(scene.got(), [], "{reason:?}");
        let deadline = scene.door.deadline().unwrap();
        assert!(deadline > Instant::now() + super::super::view::RETURN - Duration::from_secs(5));
        let swarm = scene.door.swarms.get_mut(&topic.name).unwrap();
        let changes = swarm.view.woken(deadline);
        scene.door.tell(&topic.name, &changes, &mut scene.table.desk());
        assert_eq!(scene.got(), [Got::Left(id, 21)], "{reason:?}");
        assert!(scene.door.deadline().unwrap() > deadline, "only the next announcement of who is left");
    }
}

#[test]
fn who_stays_is_announced_again_before_its_time_is_over_and_who_is_lost_is_not() {
    let mut scene = Scene::new();
    let id = scene.joins(1, 10);
    let (topic, _) = scene.granted(vec![]);
    assert_eq!((scene.got(), scene.door.deadline()), (vec![Got::Ready(id)], None), "nobody is there to be announced");
    for n in [1, 2] {
        scene.told(Event::PeerJoined { seq: 1, topic: topic.name.clone(), member: member(n, &[19 + n]) });
    }
    let came = |key: u8| Got::Came(id, key, T0_MS - u64::from(key));
    assert_eq!(scene.got(), [came(20), came(21)]);
    let mut deadline = scene.door.deadline().unwrap();
    // Three times, so that a client may miss two.
    for _ in 0..3 {
        scene.table.ahead += Duration::from_millis(LEASE_MS / 3);
        scene.door.woken(&mut scene.table.desk());
        let mut got = scene.got();
        got.sort_by_key(|it| format!("{it:?}"));
        assert_eq!(got, [came(20), came(21)]);
        let before = std::mem::replace(&mut deadline, scene.door.deadline().unwrap());
        assert!(deadline > before && deadline - before < Duration::from_millis(LEASE_MS / 2));
    }
    // It is lost some seconds before the next announcement, and is waited for meanwhile.
    scene.table.ahead += Duration::from_secs(25);
    scene.peer_left(&topic, 1, LeftReason::HostLost);
    scene.table.ahead += Duration::from_secs(6);
    scene.door.woken(&mut scene.table.desk());
    assert_eq!(scene.got(), [came(21)]);
    scene.table.ahead += Duration::from_secs(6);
    scene.door.woken(&mut scene.table.desk());
    assert_eq!(scene.got(), [Got::Left(id, 20)]);
    scene.peer_left(&topic, 2, LeftReason::Left);
    scene.table.ahead += Duration::from_secs(60);
    scene.door.woken(&mut scene.table.desk());
    assert_eq!((scene.got(), scene.door.deadline()), (vec![Got::Left(id, 21)], None), "nobody is left");
}

#[test]
fn a_large_swarm_is_looked_up() {
    let mut scene = Scene::new();
    let id = scene.joins(1, 10);
    let io::Request::Join { id: join, topic, .. } = scene.asked() else { panic!("not a join") };
    let name = topic.name.clone();
    scene.told(Event::Joined(Sample { id: join, topic: name.clone(), members: vec![member(1, &[20])], total: 100 }));
    let io::Request::Discover { id: look, limit: DISCOVER_MAX, .. } = scene.asked() else { panic!("no look-up") };
    let members: Vec<Member> = (1..=100).map(|n| member(n, &[n + 19])).collect();
    scene.told(Event::Peers(Sample { id: look, topic: name, members, total: 100 }));
    let mut got = scene.got();
    assert_eq!(got.remove(0), Got::Ready(id));
    got.sort_by_key(|it| if let Got::Came(_, key, _) = it { *key } else { 0 });
    assert_eq!(got, (20..120).map(|key| Got::Came(id, key, T0_MS - u64::from(key))).collect::<Vec<_>>());
}

#[test]
fn large_swarms_are_looked_up_one_after_the_other() {
    let mut scene = Scene::new();
    let mut closed = 0;
    for swarm in 0..4 {
        let stream = scene.joins(swarm, 10);
        closed = if swarm == 2 { stream } else { closed };
    }
    let joins = scene.table.requests();
    for request in joins {
        let io::Request::Join { id, topic, .. } = request else { panic!("not a join") };
        scene.told(Event::Joined(Sample { id, topic: topic.name, members: vec![member(1, &[20])], total: 100 }));
    }
    let look = |scene: &mut Scene| {
        let io::Request::Discover { id, topic, limit: DISCOVER_MAX } = scene.asked() else { panic!("no look-up") };
        (id, topic.name)
    };
    let (id, topic) = look(&mut scene);
    scene.says(Content::StreamClose(rpc::StreamClose { id: closed }));
    assert!(matches!(scene.asked(), io::Request::Leave { .. }));
    _ = scene.table.frames();
    scene.told(Event::Peers(Sample { id, topic, members: vec![member(2, &[21])], total: 100 }));
    assert_eq!(scene.got().len(), 1);
    scene.refused(Refusal::RateLimited);
    let (id, topic) = look(&mut scene);
    scene.told(Event::Peers(Sample { id, topic, members: vec![member(2, &[21])], total: 100 }));
    assert_eq!((scene.got().len(), scene.table.requests()), (1, vec![]), "nobody is in the third any more");
}

#[test]
fn a_message_arrives_byte_for_byte_at_the_streams_of_its_recipient() {
    let mut scene = Scene::new();
    let id = scene.receives(10);
    let (_, meta) = scene.granted(vec![]);
    assert!(presence::read_mailbox_meta(&meta).unwrap() >= T0_MS);
    let other = scene.receives(11);
    scene.granted(vec![]);
    assert_eq!(scene.got(), [Got::Ready(id), Got::Ready(other)]);
    scene.told(signal(wrapped(&a_mail(10))));
    assert_eq!(scene.got(), [Got::Mail(id, a_mail(10))]);
    scene.says(Content::StreamClose(rpc::StreamClose { id }));
    assert!(matches!(scene.asked(), io::Request::Leave { .. }));
    scene.told(signal(wrapped(&a_mail(10))));
    assert_eq!(scene.got(), []);
}

#[test]
fn what_a_hostile_host_sends_reaches_nobody() {
    let mut scene = Scene::new();
    scene.receives(10);
    scene.granted(vec![]);
    _ = scene.table.frames();
    let unknown_kind = door::wrap(NAME, &[&[2], &a_mail(10)[..]].concat());
    for data in [
        Bytes::new(),
        Bytes::from_static(b"{}"),
        door::wrap(NAME, b""),
        door::wrap("peerjs", &wrapped(&a_mail(10))),
        unknown_kind,
        wrapped(b"\xff\xff"),
        wrapped(&rpc::Mail { recipient: vec![10; 32], ..rpc::Mail::default() }.encode_to_vec()),
        wrapped(&a_mail(11)),
    ] {
        scene.told(signal(data.clone()));
        assert_eq!(scene.got(), [], "{data:?}");
    }
    let id = scene.joins(1, 10);
    let strange = Member { peer: peer(1), meta: Bytes::from_static(b"\xff\xff") };
    scene.granted(vec![strange, member(2, &[])]);
    assert_eq!(scene.got(), [Got::Ready(id)]);
}

#[test]
fn whoever_comes_is_newer_than_those_it_finds() {
    let mut scene = Scene::new();
    scene.receives(10);
    let ahead = T0_MS + 3_600_000;
    let member = Member { peer: peer(1), meta: presence::mailbox_meta(ahead) };
    scene.granted(vec![member.clone()]);
    let (_, meta) = scene.granted(vec![member]);
    assert_eq!(presence::read_mailbox_meta(&meta), Some(ahead + 1));
    assert_eq!(scene.table.requests(), []);
    // A hostile one cannot make it go on for ever.
    scene.receives(11);
    let hostile = Member { peer: peer(1), meta: presence::mailbox_meta(u64::MAX) };
    scene.granted(vec![hostile.clone()]);
    scene.granted(vec![hostile]);
    assert_eq!(scene.table.requests(), []);
}

#[test]
fn a_message_is_acknowledged_when_it_is_delivered() {
    let mut scene = Scene::new();
    let call = scene.calls_as(7, "SendMessage", a_mail(10));
    let io::Request::Discover { id, topic, .. } = scene.asked() else { panic!("no look-up") };
    assert_eq!(topic, scene.door.topic("peer", &[10; 32]));
    let members = vec![Member { peer: peer(1), meta: presence::mailbox_meta(1) }];
    scene.told(Event::Peers(Sample { id, topic: topic.name, total: 1, members }));
    assert_eq!(scene.got(), []);
    let io::Request::Signal { id, data, .. } = scene.asked() else { panic!("no signal") };
    assert_eq!(data, wrapped(&a_mail(10)));
    scene.told(Event::Receipt { seq: 1, id, outcome: Outcome::Delivered });
    assert_eq!(scene.got(), [Got::Done(call)]);
}

#[test]
fn a_sender_that_is_too_fast_is_told_by_the_name_that_the_library_knows() {
    let mut scene = Scene::new();
    scene.calls_as(7, "SendMessage", a_mail(10));
    scene.refused(Refusal::RateLimited);
    assert_eq!(scene.got(), [Got::Failed(7, "RATE_LIMIT_EXCEEDED".to_owned())]);
}

#[test]
fn a_message_to_oneself_goes_through_the_machine_like_any_other() {
    let mut scene = Scene::new();
    scene.receives(10);
    scene.granted(vec![]);
    _ = scene.table.frames();
    scene.calls_as(7, "SendMessage", a_mail(10));
    let io::Request::Discover { id, topic, .. } = scene.asked() else { panic!("no look-up") };
    scene.told(Event::Peers(Sample { id, topic: topic.name, total: 0, members: Vec::new() }));
    let io::Request::Signal { to, .. } = scene.asked() else { panic!("no signal") };
    assert_eq!(to, peer(0));
}

#[test]
fn what_cannot_be_understood_gets_an_error_by_its_id_or_nothing() {
    let mut scene = Scene::new();
    let failed = |id, name: &str| [Got::Failed(id, name.to_owned())];
    scene.calls_as(1, "Fly", vec![]);
    assert_eq!(scene.got(), failed(1, "METHOD_NOT_FOUND"));
    let join = rpc::JoinRequest { swarm: vec![1; 32], peer: vec![] }.encode_to_vec();
    let long = rpc::ReceptionRequest { peer: vec![1; 129] }.encode_to_vec();
    for (method, payload) in
        [("Join", vec![0xff]), ("Join", join), ("ReceiveMessages", long), ("SendMessage", vec![]), ("Join", vec![])]
    {
        scene.calls_as(2, method, payload);
        assert_eq!(scene.got(), failed(2, "MALFORMED"), "{method}");
    }
    let mut mail = a_mail(10);
    mail.resize(SIGNAL_DATA_BYTES, 0);
    scene.says(Content::Request(Request { id: 3, method: String::new(), payload: None, stream: false }));
    assert_eq!(scene.got(), failed(3, "METHOD_NOT_FOUND"));
    let big = rpc::Any { type_url: "t".to_owned(), value: vec![0; SIGNAL_DATA_BYTES].into() };
    let mail = rpc::Mail { author: vec![1], recipient: vec![2], payload: Some(big), metadata: None };
    scene.calls_as(4, "SendMessage", mail.encode_to_vec());
    assert_eq!(scene.got(), failed(4, "TOO_BIG"));
    assert!(scene.table.inputs().is_empty());
    for bytes in [&b""[..], b"\xff", b"\x0a\xff", b"\x12\x00"] {
        scene.door.binary(&Bytes::from_static(bytes), &mut scene.table.desk());
    }
    assert_eq!(scene.got(), []);
    let erred = scene.table.inputs();
    assert!(matches!(erred[..], [Input::EdgeErred { .. }, Input::EdgeErred { .. }, Input::EdgeErred { .. }]));
    scene.door.text("__ping__", &mut scene.table.desk());
    assert!(scene.table.frames().is_empty() && scene.table.inputs().is_empty());
    assert_eq!(scene.table.closed(), None);
}

#[test]
fn a_join_that_is_refused_for_now_is_asked_for_again_before_the_client_has_waited_too_long() {
    let mut scene = Scene::new();
    let id = scene.joins(1, 10);
    scene.refused(Refusal::RateLimited);
    assert_eq!(scene.got(), [], "it waits");
    scene.table.ahead += Duration::from_secs(2);
    scene.door.woken(&mut scene.table.desk());
    scene.granted(vec![]);
    assert_eq!(scene.got(), [Got::Ready(id)]);
}

#[test]
fn a_join_that_is_refused_for_long_fails_in_time_so_that_the_client_tries_again() {
    let mut scene = Scene::new();
    let id = scene.joins(1, 10);
    let mut seconds = 0;
    while scene.door.streams.contains_key(&id) {
        scene.refused(Refusal::RateLimited);
        seconds += 1;
        scene.table.ahead += Duration::from_millis(1_100);
        scene.door.woken(&mut scene.table.desk());
    }
    assert!((3..5).contains(&seconds), "the library waits 5 s: {seconds}");
    assert_eq!(scene.got(), [Got::Failed(id, "RATE_LIMIT_EXCEEDED".to_owned())]);
    let id = scene.joins(1, 10);
    scene.refused(Refusal::BadField);
    assert_eq!(scene.got(), [Got::Failed(id, "REFUSED".to_owned())], "nothing to wait for");
    assert!(scene.door.swarms.is_empty() && scene.door.streams.is_empty());
    let id = scene.joins(1, 10);
    scene.granted(vec![]);
    assert_eq!(scene.got(), [Got::Ready(id)]);
}

#[test]
fn a_change_that_is_refused_for_now_is_asked_for_again() {
    let mut scene = Scene::new();
    let one = scene.joins(1, 10);
    scene.granted(vec![]);
    let two = scene.joins(1, 11);
    scene.refused(Refusal::RateLimited);
    assert_eq!(scene.got(), [Got::Ready(one)]);
    let at = scene.door.deadline().unwrap();
    scene.door.swarms.values_mut().next().unwrap().seat.woken(at, &mut scene.table.desk());
    scene.granted(vec![]);
    assert!(scene.got().contains(&Got::Ready(two)));
    for id in [one, two] {
        scene.says(Content::StreamClose(rpc::StreamClose { id }));
    }
    // The answer to the first of both requests comes too late to count.
    let ids: Vec<RequestId> = scene.table.requests().iter().map(|it| it.id().unwrap().clone()).collect();
    for id in ids {
        let refusal = Refusal::RateLimited;
        scene.told(Event::Error { id: Some(id), refusal, message: String::new(), known: None, retry_after: None });
    }
    let at = scene.door.deadline().unwrap();
    scene.door.swarms.values_mut().next().unwrap().seat.woken(at, &mut scene.table.desk());
    assert!(matches!(scene.asked(), io::Request::Leave { .. }));
}

#[test]
fn swarms_mailboxes_and_streams_are_bounded_and_the_client_is_not_held_up() {
    assert_eq!(SWARMS_MAX + MAILBOXES_MAX, PEER_TOPICS_MAX);
    let mut scene = Scene::new();
    for n in 0..40 {
        let (id, most) = if n < 32 { (scene.joins(n, 1), SWARMS_MAX) } else { (scene.receives(n), MAILBOXES_MAX) };
        let so_far = if n < 32 { n } else { n - 32 };
        if usize::from(so_far) < most {
            scene.granted(vec![]);
            assert_eq!(scene.got(), [Got::Ready(id)]);
        } else {
            assert_eq!(scene.got(), [Got::Ready(id), Got::Failed(id, "LIMIT_REACHED".to_owned())], "{n}");
        }
    }
    for n in 2..=255 {
        scene.joins(0, n);
    }
    assert_eq!(scene.door.streams.len(), SWARMS_MAX + MAILBOXES_MAX + presence::PEERS_PER_SWARM_MAX - 1);
    for n in 0..255 {
        scene.joins(n % 28, n);
    }
    assert_eq!(scene.door.streams.len(), STREAMS_MAX);
}

#[test]
fn a_peer_has_one_stream_in_a_swarm_and_one_for_its_messages() {
    let mut scene = Scene::new();
    let (swarm, mailbox) = (scene.joins(1, 10), scene.receives(10));
    for request in scene.table.requests() {
        let io::Request::Join { id, topic, .. } = request else { panic!("not a join") };
        scene.told(Event::Joined(Sample { id, topic: topic.name, members: Vec::new(), total: 0 }));
    }
    assert_eq!(scene.got(), [Got::Ready(swarm), Got::Ready(mailbox)]);
    let again = [scene.joins(1, 10), scene.receives(10)];
    let refused = |id| [Got::Ready(id), Got::Failed(id, "LIMIT_REACHED".to_owned())];
    assert_eq!(scene.got(), again.into_iter().flat_map(refused).collect::<Vec<_>>());
    assert_eq!(scene.table.requests(), []);
}

#[test]
fn what_is_being_left_makes_room_at_once_and_within_a_bound() {
    let mut scene = Scene::new();
    for round in 0..4 {
        let mut ids: Vec<i32> = (0..4).map(|n| scene.receives(n + 40 * round)).collect();
        ids.extend((0..28).map(|n| scene.joins(n + 40 * round, 1)));
        assert_eq!(scene.got().is_empty(), round < 2, "all are asked for, or all refused");
        for id in ids {
            scene.says(Content::StreamClose(rpc::StreamClose { id }));
        }
    }
    assert_eq!((scene.door.swarms.len(), scene.door.mailboxes.len()), (2 * SWARMS_MAX, 2 * MAILBOXES_MAX));
}

#[test]
fn peers_that_are_seen_are_bounded_over_all_swarms() {
    let mut scene = Scene::new();
    let topics: Vec<Topic> = (0..10)
        .map(|n| {
            scene.joins(n, 1);
            scene.granted(vec![]).0
        })
        .collect();
    for n in 0..2_000_u32 {
        let mut id = [0; 32];
        id[..4].copy_from_slice(&n.to_be_bytes());
        let listed = Presence { peer: id.into(), since_ms: 1 };
        let member = Member { peer: PeerId::new(id), meta: presence::swarm_meta(&[listed]).unwrap() };
        let topic = topics[n as usize % topics.len()].name.clone();
        scene.told(Event::PeerJoined { seq: 1, topic, member });
    }
    let weight: usize = scene.door.swarms.values().map(|swarm| swarm.view.weight()).sum();
    assert!((SEEN_MAX..SEEN_MAX + topics.len()).contains(&weight), "{weight}");
}

#[test]
fn a_client_that_shakes_hands_or_says_goodbye_is_answered() {
    let mut scene = Scene::new();
    scene.says(Content::Open(true));
    scene.says(Content::Bye(rpc::Empty {}));
    let frames: Vec<Vec<u8>> = scene
        .table
        .frames()
        .into_iter()
        .map(|frame| if let Message::Binary(bytes) = frame { bytes.into() } else { panic!("not binary") })
        .collect();
    assert_eq!(frames, [b"\x20\x01", b"\x32\x00"]);
    assert_eq!(scene.table.closed(), Some(Some(1000)));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    /// Whatever comes, in whatever order, nothing panics and nothing grows beyond its bound.
    #[test]
    fn any_frames_leave_the_door_standing(frames: Vec<(u8, i32, u8, Vec<u8>)>) {
        let mut scene = Scene::new();
        for (kind, id, key, bytes) in frames {
            let id = id % 4;
            match kind % 6 {
                0 => scene.door.binary(&bytes.into(), &mut scene.table.desk()),
                1 => _ = scene.calls_as(id, "Join", bytes),
                2 => _ = scene.calls_as(id, "SendMessage", bytes),
                3 => _ = scene.joins(key % 3, key % 5),
                4 => _ = scene.receives(key % 3),
                _ => scene.says(Content::StreamClose(rpc::StreamClose { id: scene.ids - id })),
            }
            for request in scene.table.requests() {
                match request {
                    io::Request::Join { id, topic, .. } if key % 2 == 0 => {
                        let members = vec![member(key, &[key % 5])];
                        scene.told(Event::Joined(Sample { id, topic: topic.name, members, total: 1 }));
                    }
                    io::Request::Leave { id, topic } if key % 3 > 0 => {
                        scene.told(Event::Left { id, topic: topic.name });
                    }
                    other => if let Some(id) = other.id() {
                        let (id, message) = (Some(id.clone()), String::new());
                        let refusal = Refusal::RateLimited;
                        scene.told(Event::Error { id, refusal, message, known: None, retry_after: None });
                    }
                }
            }
            // Not all are answers: what looks like a handshake is answered by one.
            _ = scene.table.frames();
        }
        for stream in scene.door.streams.values() {
            let place = &stream.place;
            prop_assert!(scene.door.swarms.contains_key(place) || scene.door.mailboxes.contains_key(place));
        }
    }
}
