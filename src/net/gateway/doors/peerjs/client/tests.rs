#![allow(clippy::unwrap_used, reason = "a test may fail by panic")]

use super::super::super::super::dialect::testing::Table;
use super::super::registry::Registry;
use super::*;
use crate::relay::io::Sample;
use aldis_wire::id::HostId;
use aldis_wire::network::{Genesis, Network};

const HERE: [u8; 32] = [1; 32];
const THERE: [u8; 32] = [2; 32];
const TAKEN: &str = codec::ID_TAKEN;

fn shop(discovery: bool) -> Arc<Shop> {
    Arc::new(Shop {
        network: Arc::new(Network::new(&Genesis::open("a").unwrap())),
        host: HostId::new(HERE),
        discovery,
        registry: Registry::new(Duration::from_secs(30)),
        room: Arc::default(),
    })
}

struct Socket {
    table: Table,
    client: Client,
}

impl Socket {
    fn open(shop: &Arc<Shop>, query: &str) -> Self {
        let mut socket = Self { table: Table::default(), client: Client::new(shop.clone(), query) };
        socket.client.opened(&mut socket.table.desk());
        socket
    }

    /// A client whose id nobody has.
    fn at(shop: &Arc<Shop>, id: &str) -> Self {
        let mut socket = Self::open(shop, &format!("key=k&id={id}&token=t"));
        socket.welcome(false);
        socket.answer(vec![]);
        socket.answer(vec![]);
        assert_eq!(socket.table.texts(), [codec::OPEN]);
        socket
    }

    fn say(&mut self, event: Event) {
        self.table.say(&mut self.client, event);
    }

    fn welcome(&mut self, resumed: bool) {
        _ = self.table.requests();
        let token = Token([9; 32]);
        self.say(Event::Welcome(Welcome { peer: peer(1), session: 1, token, resumed, gateways: vec![], stun: vec![] }));
    }

    /// Answers the newest question about the own id.
    fn answer(&mut self, members: Vec<Member>) {
        let asked = self.table.requests();
        let sample = |id: &RequestId| Sample { id: id.clone(), topic: "me".into(), total: 1, members: members.clone() };
        match asked.last() {
            Some(Request::Discover { id, .. }) => self.say(Event::Peers(sample(id))),
            Some(Request::Join { id, .. }) => self.say(Event::Joined(sample(id))),
            other => panic!("no question: {other:?}"),
        }
    }

    /// Somebody came to the own id's topic, and with them these are there.
    fn rivals(&mut self, members: Vec<Member>) {
        self.say(Event::PeerJoined { seq: 1, topic: "me".into(), member: members[0].clone() });
        self.table.ahead += CHECK_AFTER;
        self.client.woken(&mut self.table.desk());
        self.answer(members);
    }

    fn text(&mut self, text: &str) {
        self.client.text(text, &mut self.table.desk());
    }

    fn gone(&mut self) -> Vec<Request> {
        _ = self.table.requests();
        self.client.gone(&mut self.table.desk());
        self.table.requests()
    }
}

fn peer(n: u8) -> PeerId {
    PeerId::new([n; 32])
}

fn member(n: u8, generation: u32, home: [u8; 32], proof: [u8; 32]) -> Member {
    Member { peer: peer(n), meta: Claim { generation, home: HostId::new(home), proof }.encode() }
}

/// An id for which the home `lower` wins.
fn id_of(lower: [u8; 32], higher: [u8; 32]) -> String {
    let rank = |id: &str, home: [u8; 32]| *blake3::hash(&[id.as_bytes(), &home].concat()).as_bytes();
    (0..).map(|n: u32| format!("me{n}")).find(|id| rank(id, lower) < rank(id, higher)).unwrap()
}

#[test]
fn who_says_too_little_is_told_so_and_has_no_session() {
    let mut socket = Socket::open(&shop(false), "key=k&id=me");
    let words = "No id, token, or key supplied to websocket server";
    assert_eq!(socket.table.texts(), [format!(r#"{{"type":"ERROR","payload":{{"msg":"{words}"}}}}"#)]);
    assert_eq!((socket.table.closed(), socket.table.requests()), (Some(None), vec![]));
    socket.text(r#"{"type":"OFFER","dst":"b","payload":1}"#);
    assert_eq!(socket.gone(), [Request::Bye]);
}

#[test]
fn an_id_is_looked_for_before_it_is_taken() {
    let shop = shop(false);
    let mut socket = Socket::open(&shop, "key=k&id=me&token=t");
    socket.welcome(false);
    let stranger = member(2, 0, THERE, [3; 32]);
    socket.answer(vec![stranger]);
    assert_eq!((socket.table.texts(), socket.table.closed()), (vec![TAKEN.to_owned()], Some(None)));
    assert_eq!(socket.gone(), [Request::Bye], "it was never shown that it wanted the id");
    let junk = Member { peer: peer(4), meta: Bytes::from_static(b"junk") };
    let mut socket = Socket::open(&shop, "key=k&id=me&token=t");
    socket.welcome(false);
    socket.answer(vec![junk.clone()]);
    socket.answer(vec![junk]);
    assert_eq!(socket.table.texts(), [codec::OPEN], "what is no claim claims nothing");
}

#[test]
fn at_one_host_a_second_client_finds_the_id_taken_at_once() {
    let shop = shop(false);
    let mut first = Socket::at(&shop, "me");
    let mut second = Socket::open(&shop, "key=k&id=me&token=other");
    assert_eq!((second.table.texts(), second.table.closed()), (vec![TAKEN.to_owned()], Some(None)));
    assert_eq!(second.gone(), [Request::Bye]);
    assert_eq!(Socket::open(&shop, "key=other&id=me&token=other").table.texts(), [""; 0], "keys keep clients apart");
    first.client.left(&mut first.table.desk());
    assert_eq!(first.gone(), [Request::Bye]);
    Socket::at(&shop, "me");
}

#[test]
fn a_client_that_comes_back_with_its_token_has_its_session_again() {
    let shop = shop(false);
    let mut first = Socket::at(&shop, "me");
    assert_eq!(first.gone(), [], "the session waits");
    assert_eq!(Socket::open(&shop, "key=k&id=me&token=other").table.texts(), [TAKEN]);
    let mut second = Socket::open(&shop, "key=k&id=me&token=t");
    let asked = second.table.requests();
    let resumed = Identity::Resumed { token: Token([9; 32]), seq: 0 };
    assert!(matches!(&asked[..], [Request::Hello(hello)] if hello.identity == resumed), "{asked:?}");
    second.welcome(true);
    assert_eq!(second.table.texts(), [codec::OPEN], "before anything else");
    // It was at another host meanwhile, where its session still waits.
    let proof = second.client.who.as_ref().unwrap().proof;
    let elsewhere = member(2, 3, THERE, proof);
    second.answer(vec![elsewhere.clone()]);
    second.answer(vec![elsewhere]);
    assert_eq!((second.client.stage, second.client.generation), (Stage::Open, 4), "it is here now");
    assert_eq!((second.table.texts(), second.table.closed()), (vec![], None));
    // The old socket, if it only seemed gone, has no say any more.
    assert_eq!(first.gone(), []);
    assert!(shop.registry.holds(second.client.who.as_ref().unwrap().topic.id, second.client.holder));
}

#[test]
fn who_comes_back_to_an_id_that_a_stranger_claims_meanwhile_keeps_it_by_the_same_rule_as_who_stays() {
    for (id, keeps) in [(id_of(HERE, THERE), true), (id_of(THERE, HERE), false)] {
        let shop = shop(false);
        Socket::at(&shop, &id).gone();
        let mut socket = Socket::open(&shop, &format!("key=k&id={id}&token=t"));
        socket.welcome(true);
        socket.answer(vec![member(2, 0, THERE, [3; 32])]);
        let told: &[&str] = if keeps { &[codec::OPEN] } else { &[codec::OPEN, TAKEN] };
        assert_eq!(socket.table.texts(), told, "{id}");
    }
}

#[test]
fn a_session_that_is_lost_begins_anew() {
    let shop = shop(false);
    Socket::at(&shop, "me").gone();
    let mut socket = Socket::open(&shop, "key=k&id=me&token=t");
    let (refusal, message) = (Refusal::SessionLost, String::new());
    _ = socket.table.requests();
    socket.say(Event::Error { id: None, refusal, message, known: None, retry_after: None });
    let asked = socket.table.requests();
    assert!(matches!(&asked[..], [Request::Hello(hello)] if hello.identity == Identity::Minted), "{asked:?}");
    socket.welcome(false);
    let own = member(2, 6, HERE, socket.client.who.as_ref().unwrap().proof);
    socket.answer(vec![own.clone()]);
    socket.answer(vec![own]);
    assert_eq!((socket.table.texts(), socket.client.generation), (vec![codec::OPEN.to_owned()], 7));
}

#[test]
fn of_two_strangers_the_one_whose_home_hashes_higher_gives_way() {
    let shop = shop(false);
    for (id, stays) in [(id_of(HERE, THERE), true), (id_of(THERE, HERE), false)] {
        let mut socket = Socket::at(&shop, &id);
        socket.say(Event::PeerJoined { seq: 1, topic: (&*id).into(), member: member(2, 0, THERE, [3; 32]) });
        socket.table.ahead += CHECK_AFTER;
        socket.client.woken(&mut socket.table.desk());
        socket.answer(vec![member(2, 0, THERE, [3; 32])]);
        let told: &[&str] = if stays { &[] } else { &[TAKEN] };
        assert_eq!(socket.table.texts(), told, "{id}");
        assert_eq!(socket.table.closed().is_none(), stays);
    }
}

#[test]
fn an_older_session_gives_way_to_the_same_client_at_another_host_without_a_word() {
    let mut socket = Socket::at(&shop(false), "me");
    let proof = socket.client.who.as_ref().unwrap().proof;
    socket.table.ahead += INSISTS;
    socket.rivals(vec![member(2, 1, THERE, proof)]);
    assert_eq!((socket.table.texts(), socket.table.closed()), (vec![], Some(None)));
    assert_eq!(socket.gone(), [Request::Bye]);
}

#[test]
fn who_has_just_come_insists_once_on_being_the_newer_session() {
    let mut socket = Socket::at(&shop(false), "me");
    let proof = socket.client.who.as_ref().unwrap().proof;
    socket.rivals(vec![member(2, 8, THERE, proof)]);
    assert_eq!(socket.client.generation, 9);
    socket.answer(vec![member(2, 8, THERE, proof)]);
    assert_eq!((socket.table.texts(), socket.table.closed()), (vec![], None), "it joined again, and stays");
    socket.rivals(vec![member(2, 10, THERE, proof)]);
    assert_eq!(socket.table.closed(), Some(None));
}

#[test]
fn many_who_come_to_the_topic_are_looked_at_together() {
    let mut socket = Socket::at(&shop(false), "me");
    _ = socket.table.requests();
    for n in 2..100 {
        socket.say(Event::PeerJoined { seq: 1, topic: "me".into(), member: member(n, 0, THERE, [n; 32]) });
    }
    assert_eq!(socket.table.requests(), []);
    socket.table.ahead += CHECK_AFTER;
    socket.client.woken(&mut socket.table.desk());
    assert_eq!(socket.table.requests().len(), 1);
}

#[test]
fn a_host_that_claims_an_id_over_and_over_costs_its_client_one_look_a_time_and_does_not_win_by_it() {
    const ROUNDS: u32 = 500;
    const ROUND: Duration = Duration::from_millis(5);
    let id = id_of(HERE, THERE);
    let mut socket = Socket::at(&shop(false), &id);
    _ = socket.table.requests();
    let mut looks = 0_u128;
    for round in 0..ROUNDS {
        let [_, _, _, n] = round.to_be_bytes();
        let claims: Vec<Member> = (0..=63).map(|m| member(m, u32::MAX - round, THERE, [n ^ m | 1; 32])).collect();
        for member in &claims {
            socket.say(Event::PeerJoined { seq: 1, topic: (&*id).into(), member: member.clone() });
        }
        socket.table.ahead += ROUND;
        socket.client.woken(&mut socket.table.desk());
        for asked in socket.table.requests() {
            let Request::Discover { id: look, .. } = asked else { panic!("not a look: {asked:?}") };
            looks += 1;
            socket.say(Event::Peers(Sample { id: look, topic: (&*id).into(), total: 5_000, members: claims.clone() }));
        }
    }
    let most = (ROUND * ROUNDS).as_millis() / CHECK_AFTER.as_millis() + 1;
    assert!(looks > 0 && looks <= most, "{looks} looks, at most {most}");
    assert_eq!(
        (socket.table.texts(), socket.table.closed()),
        (vec![], None),
        "its client hears nothing of it, and stays"
    );
}

#[test]
fn a_signal_becomes_a_frame_only_if_it_is_of_this_door_and_sound() {
    let mut socket = Socket::at(&shop(false), "me");
    let body = codec::encode(Kind::Answer, "b", r#"{"a" : 1}"#);
    for data in [wrap("peerjz", &body), wrap(NAME, b"\x01\x01b{"), Bytes::from_static(b"{}"), wrap(NAME, &body)] {
        socket.say(Event::Signal { seq: 1, id: "1".into(), from: peer(2), topic: None, data });
    }
    assert_eq!(socket.table.texts(), [r#"{"type":"ANSWER","src":"b","dst":"me","payload":{"a" : 1}}"#]);
}

#[test]
fn frames_go_out_under_the_own_id_and_garbage_goes_nowhere() {
    let mut socket = Socket::at(&shop(false), "me");
    _ = socket.table.requests();
    for text in ["", "{", "null", r#"{"type":"HEARTBEAT"}"#, r#"{"type":"NOPE","dst":"b"}"#] {
        socket.text(text);
    }
    socket.client.binary(&Bytes::from_static(b"\xff\x00"), &mut socket.table.desk());
    assert_eq!((socket.table.requests(), socket.table.texts(), socket.table.closed()), (vec![], vec![], None));
    let offer = br#"{"type":"OFFER","src":"forged","dst":"b","payload":7}"#;
    socket.client.binary(&Bytes::from_static(offer), &mut socket.table.desk());
    socket.answer(vec![member(2, 0, THERE, [3; 32])]);
    let asked = socket.table.requests();
    let [Request::Signal { data, .. }] = &asked[..] else { panic!("{asked:?}") };
    assert_eq!(codec::decode(&unwrap(NAME, data).unwrap()), Some((Kind::Offer, "me", "7")));
    socket.text(r#"{"type":"OFFER","dst":"me","payload":7}"#);
    assert_eq!(socket.table.texts(), [r#"{"type":"OFFER","src":"me","dst":"me","payload":7}"#]);
    let (long, large) = ("x".repeat(NAME_BYTES + 1), "x".repeat(SIGNAL_DATA_BYTES));
    socket.text(&format!(r#"{{"type":"OFFER","dst":"{long}","payload":7}}"#));
    socket.text(&format!(r#"{{"type":"OFFER","dst":"b","payload":"{large}"}}"#));
    assert_eq!(socket.table.requests(), []);
    let told: Vec<String> = [&*long, "b"].map(|id| codec::message(Kind::Expire, id, "me", "")).into();
    assert_eq!(socket.table.texts(), told);
    socket.text(r#"{"type":"LEAVE"}"#);
    assert_eq!((socket.table.closed(), socket.gone()), (Some(None), vec![Request::Bye]));
}

#[test]
fn ids_are_shown_only_where_discovery_is_on() {
    for discovery in [false, true] {
        let mut socket = Socket::at(&shop(discovery), "me");
        let shown = socket.table.requests();
        assert_eq!(shown.len(), usize::from(discovery), "{shown:?}");
        let metas = shown.iter().map(|request| match request {
            Request::Join { meta, .. } => meta.clone(),
            other => panic!("{other:?}"),
        });
        assert!(metas.into_iter().all(|meta| meta.as_deref() == Some(b"me")));
    }
}

#[test]
fn wishes_of_an_earlier_socket_are_ended() {
    let mut socket = Socket::at(&shop(false), "me");
    _ = socket.table.requests();
    socket.say(Event::PeerJoined { seq: 1, topic: "late".into(), member: member(2, 0, THERE, [3; 32]) });
    let asked = socket.table.requests();
    let topic = socket.client.who.as_ref().unwrap().names.topic("late").id;
    assert!(matches!(&asked[..], [Request::Unwatch { topic: of, .. }] if of.id == topic), "{asked:?}");
}
