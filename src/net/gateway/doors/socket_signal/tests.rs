//! Clients at a table, and the network between them: what the machine would answer.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail by panic")]

use std::collections::BTreeMap;

use aldis_wire::door;
use aldis_wire::host::Outcome;
use aldis_wire::id::TopicId;
use aldis_wire::network::Genesis;
use aldis_wire::refusal::Refusal;
use axum::extract::ws::Message;
use data_encoding::BASE64;

use super::between::{Claim, IDS_MAX};
use super::called::{CALLERS_MAX, CALLS_EACH_MAX, CALLS_TAKEN, CALLS_TAKEN_EACH};
use super::calling::{ANSWER_TIMEOUT, CALLS_MAX};
use super::words::Key;
use super::*;
use crate::net::gateway::dialect::testing::Table;
use crate::relay::io::{Member, RequestId, Sample};

const TOPIC: Key = [7; 32];
const FOUND: &str = "1 ok {\"data\":[";

struct Client {
    dialect: SocketSignal,
    table: Table,
}

/// Clients of one network, each with a peer of its own.
struct World {
    clients: Vec<Client>,
    topics: BTreeMap<TopicId, BTreeMap<usize, Bytes>>,
    /// Refuses joins and leaves of this topic.
    full: Option<TopicId>,
    /// Signals that arrived, by their target.
    signals: Vec<usize>,
}

fn peer(place: usize) -> PeerId {
    PeerId::new([u8::try_from(place).unwrap(); 32])
}

fn network() -> Arc<Network> {
    Arc::new(Network::new(&Genesis::open("table").unwrap()))
}

fn base64(key: &Key) -> String {
    format!("base64:{}", BASE64.encode(key))
}

/// The JSON of a request by `id`, with spaces that nobody may take out.
fn message(topic: &Key, id: &Key, remote: &Key, session: &Key) -> String {
    let [topic, id, remote, session] = [topic, id, remote, session].map(base64);
    format!(
        "{{\"data\": {{\"topic\":\"{topic}\",\"id\":\"{id}\",\"remoteId\":\"{remote}\",\"sessionId\":\"{session}\", \
         \"metadata\":{{\"text\":\"base64:AAA\"}}}} }}"
    )
}

impl World {
    fn new(clients: usize) -> Self {
        let client = || Client {
            dialect: SocketSignal::new(network(), Calendar { unix: Duration::from_secs(5), at: Instant::now() }),
            table: Table::default(),
        };
        let clients = std::iter::repeat_with(client).take(clients).collect();
        Self { clients, topics: BTreeMap::new(), full: None, signals: Vec::new() }
    }

    fn send(&mut self, from: usize, frame: Frame<'_>) {
        let Client { dialect, table } = &mut self.clients[from];
        dialect.binary(&frame.encode().into(), &mut table.desk());
        self.settle();
    }

    fn request(&mut self, from: usize, id: u32, name: &str, json: &str) {
        self.send(from, Frame::Request { id, event: false, name, json: json.as_bytes() });
    }

    fn answer(&mut self, from: usize, id: u32, error: bool, json: &str) {
        self.send(from, Frame::Response { id, error, json: json.as_bytes() });
    }

    fn join(&mut self, from: usize, topic: &Key, id: &Key) -> String {
        self.request(from, 1, "join", &message(topic, id, id, id));
        self.told(from).join("\n")
    }

    fn offer(&mut self, from: usize, id: u32, remote: &Key, session: &Key) {
        self.request(from, id, "socket-signal-offer", &message(&TOPIC, &[0; 32], remote, session));
    }

    /// What a client was sent, in words.
    fn told(&mut self, client: usize) -> Vec<String> {
        let words = |message| {
            let Message::Binary(bytes) = message else { panic!("not binary: {message:?}") };
            match Frame::decode(&bytes).unwrap() {
                Frame::Request { id, event, name, json } => {
                    let kind = if event { "event" } else { "action" };
                    format!("{id} {kind} {name} {}", std::str::from_utf8(json).unwrap())
                }
                Frame::Response { id, error, json } => {
                    let kind = if error { "error" } else { "ok" };
                    format!("{id} {kind} {}", std::str::from_utf8(json).unwrap())
                }
            }
        };
        self.clients[client].table.frames().into_iter().map(words).collect()
    }

    fn say(&mut self, client: usize, event: Event) {
        let Client { dialect, table } = &mut self.clients[client];
        table.say(dialect, event);
    }

    fn wait(&mut self, client: usize, time: Duration) {
        let Client { dialect, table } = &mut self.clients[client];
        table.ahead += time;
        dialect.woken(&mut table.desk());
        self.settle();
    }

    fn leaves(&mut self, client: usize) {
        let Client { dialect, table } = &mut self.clients[client];
        dialect.gone(&mut table.desk());
        self.settle();
    }

    /// Answers everything that was asked.
    fn settle(&mut self) {
        loop {
            let asked: Vec<(usize, Vec<Request>)> =
                self.clients.iter_mut().enumerate().map(|(place, client)| (place, client.table.requests())).collect();
            if asked.iter().all(|(_, requests)| requests.is_empty()) {
                return;
            }
            for (place, request) in asked.into_iter().flat_map(|(place, all)| all.into_iter().map(move |r| (place, r)))
            {
                self.serve(place, request);
            }
        }
    }

    fn serve(&mut self, client: usize, request: Request) {
        match request {
            Request::Join { id, topic, .. } | Request::Leave { id, topic } if Some(topic.id) == self.full => {
                self.say(client, refused(id, Refusal::TooManyTopics));
            }
            Request::Join { id, topic, meta, quiet: true } => {
                self.topics.entry(topic.id).or_default().insert(client, meta.unwrap());
                self.say(client, Event::Joined(sample(id, Vec::new())));
            }
            Request::Leave { id, topic } => {
                self.topics.entry(topic.id).or_default().remove(&client);
                self.say(client, Event::Left { id, topic: "".into() });
            }
            Request::Discover { id, topic, .. } => {
                let members = self.topics.entry(topic.id).or_default();
                let others = members.iter().filter(|(place, _)| **place != client);
                let members = others.map(|(place, meta)| Member { peer: peer(*place), meta: meta.clone() }).collect();
                self.say(client, Event::Peers(sample(id, members)));
            }
            Request::Signal { id, to, data, .. } => {
                let target = (0..self.clients.len()).find(|place| peer(*place) == to).unwrap();
                self.signals.push(target);
                self.say(client, Event::Receipt { seq: 1, id: id.clone(), outcome: Outcome::Delivered });
                self.say(target, Event::Signal { seq: 1, id, from: peer(client), topic: None, data });
            }
            Request::Bye => self.topics.values_mut().for_each(|members| _ = members.remove(&client)),
            other => panic!("not of this door: {other:?}"),
        }
    }
}

fn sample(id: RequestId, members: Vec<Member>) -> Sample {
    Sample { id, topic: "".into(), total: members.len(), members }
}

fn refused(id: RequestId, refusal: Refusal) -> Event {
    Event::Error { id: Some(id), refusal, message: String::new(), known: None, retry_after: None }
}

fn listed(ids: &[&Key]) -> String {
    let ids: Vec<String> = ids.iter().map(|id| format!("\"{}\"", base64(id))).collect();
    format!("1 ok {{\"data\":[{}]}}", ids.join(","))
}

fn not_found(reply: u32, id: u8) -> String {
    let hex = format!("{id:02x}").repeat(32);
    format!(
        "{reply} error {{\"data\":{{\"code\":\"ERR_PEER_NOT_FOUND\",\"unformatMessage\":\"peer not found: %s\",\
         \"args\":[\"{hex}\"]}}}}"
    )
}

#[test]
fn a_join_and_a_look_up_tell_all_ids_of_all_clients_once() {
    let mut world = World::new(3);
    assert_eq!(world.join(0, &TOPIC, &[1; 32]), listed(&[&[1; 32]]), "the caller is a member");
    assert_eq!(world.join(1, &TOPIC, &[2; 32]), listed(&[&[1; 32], &[2; 32]]));
    assert_eq!(world.join(1, &TOPIC, &[3; 32]), listed(&[&[1; 32], &[2; 32], &[3; 32]]));
    assert_eq!(world.join(1, &TOPIC, &[3; 32]), listed(&[&[1; 32], &[2; 32], &[3; 32]]), "again");
    world.join(2, &[8; 32], &[4; 32]);
    for (client, name) in [(0, "lookup"), (1, "socket-signal-lookup"), (2, "lookup")] {
        world.request(client, 1, name, &message(&TOPIC, &[1; 32], &[1; 32], &[1; 32]));
        assert_eq!(world.told(client), [listed(&[&[1; 32], &[2; 32], &[3; 32]])]);
    }
}

#[test]
fn whoever_leaves_is_listed_and_called_no_more() {
    let mut world = World::new(2);
    world.join(0, &TOPIC, &[1; 32]);
    world.join(0, &[8; 32], &[1; 32]);
    let leave = format!("{{\"data\":{{\"topic\":\"{}\",\"id\":\"{}\"}}}}", base64(&TOPIC), base64(&[1; 32]));
    world.request(0, 4, "leave", &leave);
    world.request(0, 5, "socket-signal-leave", &leave);
    assert_eq!(world.told(0), ["4 ok {}", "5 ok {}"]);
    assert_eq!(world.join(1, &TOPIC, &[2; 32]), listed(&[&[2; 32]]));
    world.offer(1, 9, &[1; 32], &[5; 32]);
    assert_eq!(world.told(1), [not_found(9, 1)]);
    assert_eq!(world.join(1, &[8; 32], &[2; 32]), listed(&[&[1; 32], &[2; 32]]), "the other swarm has it still");
    world.request(0, 6, "leave", &format!("{{\"data\":{{\"id\":\"{}\"}}}}", base64(&[1; 32])));
    assert_eq!(world.told(0), ["6 ok {}"]);
    assert_eq!(world.join(1, &[8; 32], &[2; 32]), listed(&[&[2; 32]]));
    let left: Vec<_> = world.topics.values().filter(|members| members.contains_key(&0)).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn an_offer_and_its_answer_pass_untouched() {
    let mut world = World::new(2);
    world.join(0, &TOPIC, &[1; 32]);
    world.offer(1, 9, &[1; 32], &[5; 32]);
    let offer = message(&TOPIC, &[0; 32], &[1; 32], &[5; 32]);
    assert_eq!(world.told(0), [format!("1 action offer {offer}")], "the caller needs no membership");
    world.answer(0, 1, false, " { \"data\" : 1e3 } ");
    assert_eq!(world.told(1), ["9 ok  { \"data\" : 1e3 } "]);
    world.answer(0, 1, false, "{\"data\":2}");
    assert_eq!(world.told(1), Vec::<String>::new(), "one answer is all");

    world.request(1, 10, "socket-signal-remote-connect", &offer);
    assert_eq!(world.told(0), [format!("2 action remoteConnect {offer}")]);
    let fault =
        "{\"data\":{\"code\":\"ERR_MINE\",\"unformatMessage\":\"no: %s\",\"args\":[{\"a\":1}],\"stack\":\"s\"}}";
    world.answer(0, 2, true, fault);
    assert_eq!(world.told(1), [format!("10 error {fault}")]);
}

#[test]
fn a_client_may_call_itself() {
    let mut world = World::new(1);
    world.join(0, &TOPIC, &[1; 32]);
    world.offer(0, 9, &[1; 32], &[5; 32]);
    assert!(world.told(0)[0].starts_with("1 action offer"));
    world.answer(0, 1, false, "{}");
    assert_eq!(world.told(0), ["9 ok {}"]);
    world.offer(0, 10, &[1; 32], &[6; 32]);
    world.told(0);
    world.wait(0, ANSWER_TIMEOUT);
    assert!(world.told(0)[0].contains("NMSG_ERR_TIMEOUT"));
    assert!(world.signals.is_empty());
}

#[test]
fn a_signal_is_an_event_with_an_id_and_its_sender_is_answered_in_any_case() {
    let mut world = World::new(2);
    world.join(0, &TOPIC, &[1; 32]);
    let json = message(&TOPIC, &[2; 32], &[1; 32], &[5; 32]);
    for name in ["signal", "socket-signal-onsignal", "unheard of"] {
        world.send(1, Frame::Request { id: 3, event: true, name, json: json.as_bytes() });
    }
    let absent = message(&TOPIC, &[2; 32], &[9; 32], &[5; 32]);
    world.send(1, Frame::Request { id: 4, event: true, name: "signal", json: absent.as_bytes() });
    world.send(1, Frame::Request { id: 5, event: true, name: "signal", json: b"{}" });
    world.send(1, Frame::Request { id: 0, event: true, name: "signal", json: json.as_bytes() });
    assert_eq!(
        world.told(1).join("\n"),
        "3 ok {\"data\":null}\n".repeat(3) + "4 ok {\"data\":null}\n5 ok {\"data\":null}"
    );
    let events = [1, 2, 3].map(|id| format!("{id} event signal {json}"));
    assert_eq!(world.told(0), events);
}

#[test]
fn the_newest_owner_of_an_id_is_called() {
    let mut world = World::new(3);
    world.join(2, &TOPIC, &[1; 32]);
    assert_eq!(world.join(0, &TOPIC, &[1; 32]), listed(&[&[1; 32]]), "two with one id are one member");
    world.offer(1, 9, &[1; 32], &[5; 32]);
    assert_eq!((world.told(0).len(), world.told(2).len()), (1, 0));
    world.join(2, &TOPIC, &[1; 32]);
    world.offer(1, 9, &[1; 32], &[6; 32]);
    assert_eq!((world.told(0).len(), world.told(2).len()), (0, 1));
    world.leaves(2);
    world.offer(1, 9, &[1; 32], &[7; 32]);
    assert_eq!((world.told(0).len(), world.told(2).len()), (1, 0));
    world.join(0, &TOPIC, &[1; 32]);
    world.offer(1, 9, &[1; 32], &[8; 32]);
    assert_eq!(world.told(0).len(), 1, "whoever joins again stays the newest");
}

#[test]
fn what_cannot_be_done_is_told_with_the_codes_that_clients_rebuild() {
    let mut world = World::new(2);
    world.request(0, 1, "nothing", "{}");
    world.request(0, 2, "join", "{}");
    world.request(0, 3, "offer", &message(&TOPIC, &[1; 32], &[2; 32], &[3; 32]).replace("sessionId", "session"));
    world.request(0, 4, "socket-signal-remote-connect", "{\"data\":7}");
    world.request(0, 5, "remote-connect", "{}");
    world.request(0, 0, "nothing", "{}");
    world.offer(0, 6, &[2; 32], &[3; 32]);
    let told = world.told(0);
    let codes: Vec<&str> = told.iter().map(|line| line.split('"').nth(5).unwrap()).collect();
    let (missing, failed) = ("NRPC_ERR_NAME_MISSING", "NRPC_ERR_RESPONSE_ERROR");
    assert_eq!(codes, [missing, failed, failed, failed, missing, "ERR_PEER_NOT_FOUND"]);
    world.request(0, 7, "__ping__", "{\"data\":{\"time\":1}}");
    let pong = world.told(0).remove(0);
    assert!(pong.starts_with("7 ok {\"data\":{\"time\":5"), "{pong}");
}

#[test]
fn what_cannot_be_read_is_dropped() {
    let mut world = World::new(1);
    world.request(0, 1, "join", "{\"data\":");
    world.request(0, 1, "join", "[]");
    world.answer(0, 1, false, "{}");
    let Client { dialect, table } = &mut world.clients[0];
    dialect.text("{}", &mut table.desk());
    dialect.binary(&Bytes::from_static(b"\xff\xff"), &mut table.desk());
    world.settle();
    assert_eq!(world.told(0), Vec::<String>::new());
    assert_eq!(world.clients[0].table.closed(), None);
    assert!(world.join(0, &TOPIC, &[1; 32]).starts_with(FOUND));
}

#[test]
fn a_call_ends_after_ten_seconds_or_when_the_called_goes() {
    let mut world = World::new(2);
    world.join(0, &TOPIC, &[1; 32]);
    world.offer(1, 9, &[1; 32], &[5; 32]);
    world.wait(1, ANSWER_TIMEOUT / 2);
    world.offer(1, 10, &[1; 32], &[6; 32]);
    world.wait(1, ANSWER_TIMEOUT / 2);
    let told = world.told(1);
    assert_eq!(told.len(), 1);
    assert!(told[0].starts_with("9 error {\"data\":{\"code\":\"NMSG_ERR_TIMEOUT\""), "{told:?}");
    world.answer(0, 1, false, "{}");
    assert_eq!(world.told(1), Vec::<String>::new(), "too late");
    world.leaves(0);
    let told = world.told(1);
    assert!(told[0].starts_with("10 error {\"data\":{\"code\":\"NMSG_ERR_CLOSE\""), "{told:?}");
    world.wait(1, ANSWER_TIMEOUT);
    assert_eq!(world.told(1), Vec::<String>::new(), "one answer is all");
    world.offer(1, 11, &[1; 32], &[7; 32]);
    assert_eq!(world.told(1), [not_found(11, 1)]);
}

#[test]
fn an_offer_of_one_session_is_told_once() {
    let mut world = World::new(3);
    world.join(0, &TOPIC, &[1; 32]);
    world.offer(1, 9, &[1; 32], &[5; 32]);
    world.offer(1, 10, &[1; 32], &[5; 32]);
    world.offer(2, 9, &[1; 32], &[5; 32]);
    assert_eq!(world.told(0).len(), 2, "one of each caller");
    let told = world.told(1);
    assert!(told.len() == 1 && told[0].starts_with("10 error"), "{told:?}");
}

/// A session of its own for each number.
fn session(n: usize) -> Key {
    let session = [u8::try_from(n / 256).unwrap(), u8::try_from(n % 256).unwrap()].repeat(16);
    session.try_into().unwrap()
}

#[test]
fn calls_that_wait_are_bounded_at_both_ends() {
    let mut world = World::new(CALLS_MAX / CALLS_EACH_MAX + 2);
    world.join(0, &TOPIC, &[1; 32]);
    let callers = CALLS_MAX / CALLS_EACH_MAX;
    for n in 0..CALLS_MAX {
        world.offer(1 + n % callers, 9, &[1; 32], &session(n));
    }
    assert_eq!(world.told(0).len(), CALLS_MAX);
    let last = callers + 1;
    world.offer(last, 9, &[1; 32], &[5; 32]);
    let told = world.told(last);
    assert!(told.len() == 1 && told[0].contains("too many requests to answer"), "{told:?}");
    world.answer(0, 7, false, "{}");
    world.offer(last, 9, &[1; 32], &[5; 32]);
    assert_eq!(world.told(0).len(), 1, "there is room again, and it was not told before");
    world.told(last);
    for target in 1..=callers {
        let id = [u8::try_from(target + 1).unwrap(); 32];
        world.join(target, &TOPIC, &id);
        for n in 1..=CALLS_EACH_MAX {
            world.offer(last, 9, &id, &session(n));
        }
    }
    let told = world.told(last);
    assert!(told.len() == 1 && told[0].contains("Too many requests wait"), "{told:?}");
}

#[test]
fn one_caller_leaves_room_for_others() {
    let mut world = World::new(3);
    world.join(0, &TOPIC, &[1; 32]);
    for n in 0..CALLS_MAX {
        world.offer(1, 9, &[1; 32], &session(n));
    }
    assert_eq!(world.told(0).len(), CALLS_EACH_MAX);
    assert!(world.told(1)[0].contains("too many requests to answer"));
    world.offer(2, 9, &[1; 32], &[5; 32]);
    assert_eq!(world.told(0).len(), 1);
}

/// Calls one client as others, so often each, by what a hostile host may send; how often it answers.
fn called(world: &mut World, callers: std::ops::Range<usize>, times: usize) -> usize {
    let json = message(&TOPIC, &[2; 32], &[9; 32], &[5; 32]);
    let call = Body::Call { action: Action::RemoteConnect, number: 1, json: json.into() }.encode().unwrap();
    world.signals.clear();
    for _ in 0..times {
        for caller in callers.clone() {
            world.say(0, Event::Signal { seq: 1, id: "x".into(), from: peer(caller), topic: None, data: call.clone() });
        }
    }
    world.settle();
    world.signals.len()
}

#[test]
fn whoever_is_called_without_end_does_not_answer_without_end() {
    let mut world = World::new(200);
    world.join(0, &TOPIC, &[1; 32]);
    let burst = usize::try_from(CALLS_TAKEN.burst).unwrap();
    assert_eq!(called(&mut world, 1..21, 100), burst);
    world.clients[0].table.ahead += Duration::from_secs(1);
    assert!((1..burst).contains(&called(&mut world, 1..21, 100)));
}

#[test]
fn a_stranger_that_calls_without_end_has_its_share_and_no_more() {
    let mut world = World::new(200);
    world.join(0, &TOPIC, &[1; 32]);
    let share = usize::try_from(CALLS_TAKEN_EACH.burst).unwrap();
    assert_eq!(called(&mut world, 1..2, 2_000), share);
    assert_eq!(called(&mut world, 2..3, 1), 1);
    // As many as are counted, and one share for the rest.
    assert_eq!(called(&mut world, 3..CALLERS_MAX + 1, 1), CALLERS_MAX - 2);
    assert_eq!(called(&mut world, 150..152, 2_000), share);
    world.clients[0].table.ahead += Duration::from_secs(3_600);
    assert_eq!(called(&mut world, 160..162, 2_000), 2 * share, "who has not called for long is forgotten");
}

#[test]
fn look_ups_are_made_one_after_the_other() {
    let mut world = World::new(1);
    let json = message(&TOPIC, &[1; 32], &[1; 32], &[1; 32]);
    let Client { dialect, table } = &mut world.clients[0];
    for id in 1..=3 {
        let frame = Frame::Request { id, event: false, name: "lookup", json: json.as_bytes() }.encode();
        dialect.binary(&frame.into(), &mut table.desk());
    }
    for id in 1..=3 {
        let asked = world.clients[0].table.requests();
        assert_eq!(asked.len(), 1, "{asked:?}");
        let request = asked[0].id().unwrap().clone();
        world.say(
            0,
            if id == 2 { refused(request, Refusal::RateLimited) } else { Event::Peers(sample(request, vec![])) },
        );
        let told = world.told(0);
        assert!(told.len() == 1 && told[0].starts_with(&format!("{id} ")), "{told:?}");
    }
    assert_eq!(world.clients[0].table.requests(), vec![]);
}

#[test]
fn ids_of_one_client_in_one_swarm_are_bounded() {
    let mut world = World::new(2);
    let id = |n: usize| [u8::try_from(n).unwrap(); 32];
    for n in 0..IDS_MAX {
        assert!(world.join(0, &TOPIC, &id(n)).starts_with(FOUND));
    }
    assert!(world.join(0, &TOPIC, &id(IDS_MAX)).contains("as many ids"));
    world.request(1, 1, "lookup", &message(&TOPIC, &id(0), &id(0), &id(0)));
    assert_eq!(world.told(1)[0].matches("base64:").count(), IDS_MAX);
}

#[test]
fn a_join_that_is_refused_leaves_nothing_behind() {
    let mut world = World::new(2);
    world.full = Some(members::swarm(&network(), &TOPIC).id);
    assert!(world.join(0, &TOPIC, &[1; 32]).contains("NRPC_ERR_RESPONSE_ERROR"));
    assert!(world.topics.values().all(BTreeMap::is_empty), "{:?}", world.topics);
    world.full = Some(members::owner(&network(), &[1; 32]).id);
    assert!(world.join(0, &TOPIC, &[1; 32]).contains("NRPC_ERR_RESPONSE_ERROR"));
    world.full = None;
    assert_eq!(world.join(0, &TOPIC, &[1; 32]), listed(&[&[1; 32]]));
}

#[test]
fn changes_that_wait_are_bounded_and_done_in_their_order() {
    let mut world = World::new(1);
    let json = message(&TOPIC, &[1; 32], &[1; 32], &[1; 32]);
    let Client { dialect, table } = &mut world.clients[0];
    for n in 1..=100 {
        let name = if n % 2 == 0 { "leave" } else { "join" };
        let frame = Frame::Request { id: n, event: false, name, json: json.as_bytes() }.encode();
        dialect.binary(&frame.into(), &mut table.desk());
    }
    assert_eq!(world.told(0).len(), 36, "64 wait");
    world.settle();
    assert_eq!(world.told(0).len(), 64);
    assert!(world.topics.values().all(BTreeMap::is_empty), "the last was a leave: {:?}", world.topics);
}

#[test]
fn a_hostile_host_reaches_nothing_that_was_not_asked_for() {
    let mut world = World::new(3);
    world.join(0, &TOPIC, &[1; 32]);
    world.offer(1, 9, &[1; 32], &[5; 32]);
    world.told(0);
    let mut tell = |target: usize, from: usize, data: Bytes| {
        let event = Event::Signal { seq: 1, id: "x".into(), from: peer(from), topic: None, data };
        world.say(target, event);
        world.settle();
        (world.told(target), world.signals.last().copied())
    };
    let none = Vec::<String>::new();
    let answer = |fault, json: &'static str| Body::Answer { number: 1, fault, json: json.into() }.encode().unwrap();
    assert_eq!(tell(1, 2, answer(false, "{}")).0, none, "not whom it called");
    assert_eq!(tell(1, 0, answer(false, "{")).0, none, "no JSON");
    let call = |json: String| Body::Call { action: Action::Offer, number: 1, json: json.into() }.encode().unwrap();
    assert_eq!(tell(0, 2, call("{}".to_owned())).0, none, "no fields");
    assert_eq!(
        tell(0, 2, call(message(&[8; 32], &[2; 32], &[1; 32], &[6; 32]))),
        (none.clone(), Some(2)),
        "another swarm"
    );
    let signal = |json: String| Body::Signal { json: json.into() }.encode().unwrap();
    assert_eq!(tell(0, 2, signal(message(&TOPIC, &[2; 32], &[3; 32], &[6; 32]))).0, none, "another id");
    for data in [Bytes::new(), "{}".into(), door::wrap("matchbox", b"\x03{}"), door::wrap("socket-signal", b"\x01\x00")]
    {
        assert_eq!(tell(0, 2, data).0, none);
    }
    let told = tell(1, 0, answer(true, "{\"data\":{\"code\":1}}")).0;
    assert!(
        told.len() == 1 && told[0].contains("NRPC_ERR_RESPONSE_ERROR"),
        "no error that a client can make: {told:?}"
    );
}

#[test]
fn metas_that_mean_nothing_are_passed_over() {
    let mut world = World::new(3);
    let (swarm, owner) = (members::swarm(&network(), &TOPIC).id, members::owner(&network(), &[1; 32]).id);
    let claim = Claim { stamp: u64::MAX, tags: vec![[0; 8]] }.encode();
    world.topics.entry(swarm).or_default().insert(1, Bytes::from_static(b"\xffabc"));
    world.topics.entry(owner).or_default().extend([(1, Bytes::from_static(b"x")), (2, claim)]);
    assert_eq!(world.join(0, &TOPIC, &[1; 32]), listed(&[&[1; 32]]));
    world.offer(1, 9, &[1; 32], &[5; 32]);
    assert_eq!(world.told(0).len(), 1, "who claims the id in another swarm is not called");
}

#[test]
fn no_answer_is_larger_than_a_frame() {
    let mut world = World::new(256);
    for place in 1..256_usize {
        let id = |n: u8| [[u8::try_from(place).unwrap(); 16], [n; 16]].concat().try_into().unwrap();
        let ids: Vec<Key> = (0..31).map(id).collect();
        let swarm = members::swarm(&network(), &TOPIC).id;
        world.topics.entry(swarm).or_default().insert(place, between::encode_ids(&ids));
    }
    let told = world.join(0, &TOPIC, &[9; 32]);
    assert!(told.len() < aldis_wire::limits::EDGE_MESSAGE_BYTES, "{}", told.len());
    assert!(told.contains(&base64(&[9; 32])), "the caller is there");
    let firsts = (1..=255_u8).map(|place| [[place; 16], [0; 16]].concat().try_into().unwrap());
    assert!(firsts.into_iter().all(|id: Key| told.contains(&base64(&id))), "everybody's first id is there");
}
