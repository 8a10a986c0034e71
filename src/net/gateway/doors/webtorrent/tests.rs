#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may fail by panic")]
use super::super::super::dialect::testing::Table;
use super::*;
use crate::relay::io::{Member, Token, Welcome};
use aldis_wire::network::Genesis;
use proptest::prelude::*;
use serde_json::{Value, json};

const OWN: PeerId = PeerId::new([1; 32]);
const OTHER: PeerId = PeerId::new([2; 32]);

/// A tracker that has been welcomed, and its socket.
struct Bench {
    table: Table,
    tracker: Tracker,
    /// Signals that were asked for, and not looked at yet.
    signals: Vec<(PeerId, Bytes)>,
}

impl Bench {
    fn new() -> Self {
        let network = Arc::new(Network::new(&Genesis::open("tracker").unwrap()));
        let mut bench = Self { table: Table::default(), tracker: Tracker::new(network), signals: vec![] };
        bench.tracker.opened(&mut bench.table.desk());
        assert!(matches!(bench.table.requests()[..], [Request::Hello(_)]));
        let welcome =
            Welcome { peer: OWN, session: 1, token: Token([0; 32]), resumed: false, gateways: vec![], stun: vec![] };
        bench.hear(Event::Welcome(welcome));
        bench
    }

    fn hear(&mut self, event: Event) {
        self.table.say(&mut self.tracker, event);
    }

    fn say(&mut self, frame: &Value) -> Vec<Request> {
        self.tracker.text(&frame.to_string(), &mut self.table.desk());
        self.asked()
    }

    /// What the machine was asked besides signals.
    fn asked(&mut self) -> Vec<Request> {
        let (signals, asked) =
            self.table.requests().into_iter().partition(|request| matches!(request, Request::Signal { .. }));
        let signals: Vec<Request> = signals;
        self.signals.extend(signals.into_iter().map(|request| match request {
            Request::Signal { to, data, topic: None, .. } => (to, data),
            other => panic!("{other:?}"),
        }));
        asked
    }

    /// Answers requests as the machine does when these others are there, complete and incomplete.
    fn serve(&mut self, requests: Vec<Request>, others: [&[(PeerId, u8)]; 2]) {
        let hash = id(b'h');
        for request in requests {
            match request {
                Request::Join { id, topic, quiet: true, .. } => {
                    self.hear(Event::Joined(Sample { id, topic: topic.name, members: vec![], total: 0 }));
                }
                Request::Leave { id, topic } => self.hear(Event::Left { id, topic: topic.name }),
                Request::Discover { id, topic: asked, limit } => {
                    assert_eq!(limit, LOOKED_AT_MAX);
                    let half =
                        Half::BOTH.into_iter().position(|half| topic(&self.tracker.network, hash, half) == asked);
                    let others = half.map_or(&[][..], |half| others[half]);
                    let member =
                        |(peer, n): &(PeerId, u8)| Member { peer: *peer, meta: parcel::meta(&[self::id(*n)].into()) };
                    let members: Vec<Member> = others.iter().map(member).collect();
                    let total = members.len();
                    self.hear(Event::Peers(Sample { id, topic: asked.name, members, total }));
                }
                other => panic!("{other:?}"),
            }
        }
    }

    fn serve_all(&mut self, mut requests: Vec<Request>, others: [&[(PeerId, u8)]; 2]) {
        while !requests.is_empty() {
            self.serve(requests, others);
            requests = self.asked();
        }
    }

    /// Says a frame, answers what it asks, and gives what the client is told.
    fn announce(&mut self, frame: &Value, others: [&[(PeerId, u8)]; 2]) -> Vec<Value> {
        let requests = self.say(frame);
        self.serve_all(requests, others);
        self.told()
    }

    fn told(&mut self) -> Vec<Value> {
        self.table.texts().iter().map(|text| serde_json::from_str(text).unwrap()).collect()
    }

    /// The parcels that were sent, and to which session.
    fn sent(&mut self) -> Vec<(PeerId, Bytes)> {
        assert!(self.asked().is_empty());
        std::mem::take(&mut self.signals)
    }

    fn arrive(&mut self, from: PeerId, parcel: &Parcel<'_>) -> Vec<Value> {
        self.hear(Event::Signal { seq: 1, id: "1".into(), from, topic: None, data: parcel.wrap() });
        self.told()
    }
}

fn id(n: u8) -> Id {
    Id([n; 20])
}

fn text(n: char) -> String {
    n.to_string().repeat(20)
}

fn announce(peer: char, fields: Value) -> Value {
    let mut frame = json!({ "action": "announce", "info_hash": text('h'), "peer_id": text(peer) });
    frame.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    frame
}

fn counts(complete: u32, incomplete: u32) -> Value {
    json!({ "action": "announce", "info_hash": text('h'), "interval": 120, "complete": complete, "incomplete": incomplete })
}

fn offer<'a>() -> Parcel<'a> {
    let payload = r#"{"sdp":1}"#;
    Parcel { kind: Kind::Offer, info_hash: id(b'h'), from: id(b'b'), to: id(b'a'), offer_id: "\"1\"", payload }
}

#[test]
fn counts_are_those_of_the_network_and_of_the_client_itself() {
    let mut bench = Bench::new();
    let others: [&[_]; 2] = [&[(OTHER, b'x')], &[(OTHER, b'y'), (OTHER, b'z')]];
    assert_eq!(bench.announce(&announce('a', json!({ "event": "started" })), others), [counts(1, 3)]);
    assert_eq!(bench.announce(&announce('a', json!({ "event": "completed" })), others), [counts(2, 2)]);
    assert_eq!(bench.announce(&announce('b', json!({ "left": 7 })), others), [counts(2, 3)], "another peer id");
    let scrape = json!({ "action": "scrape", "info_hash": [text('h'), text('u')] });
    let file = |complete, incomplete| json!({ "complete": complete, "incomplete": incomplete, "downloaded": complete });
    let expected = json!({
        "action": "scrape",
        "files": { text('h'): file(2, 3), text('u'): file(0, 0) },
        "flags": { "min_request_interval": 600 },
    });
    assert_eq!(bench.announce(&scrape, others), [expected]);
    assert_eq!(bench.announce(&announce('a', json!({ "event": "stopped" })), others), [counts(1, 3)]);
    assert_eq!(bench.announce(&announce('n', json!({ "event": "stopped" })), others), [counts(1, 3)], "never started");
}

#[test]
fn each_offer_goes_to_one_other_and_its_answer_comes_from_there_alone() {
    let mut bench = Bench::new();
    let offers = json!({ "offers": [
        { "offer_id": "1", "offer": { "sdp": 1 } }, { "offer_id": "2", "offer": { "sdp": 2 } }, { "fake_offer": "3" },
    ]});
    let third = PeerId::new([3; 32]);
    let others: [&[_]; 2] = [&[(OTHER, b'b'), (OTHER, b'a')], &[(third, b'c')]];
    bench.announce(&announce('a', offers), others);
    let sent = bench.sent();
    assert_eq!(sent.len(), 2, "two others: his own id at another host is none");
    let bodies: Vec<Bytes> = sent.iter().map(|(_, data)| door::unwrap(NAME, data).unwrap()).collect();
    let parcels: Vec<Parcel<'_>> = bodies.iter().map(|body| parcel::read(body).unwrap()).collect();
    assert_eq!(parcels.iter().map(|parcel| parcel.offer_id).collect::<Vec<_>>(), ["\"1\"", "\"2\""]);
    assert_ne!(sent[0].0, sent[1].0);
    let (first, second) = (&parcels[0], sent[1].0);
    let answer = Parcel { kind: Kind::Answer, from: first.to, to: first.from, payload: "7", ..*first };
    assert!(bench.arrive(second, &answer).is_empty(), "it was not offered to that session");
    assert!(bench.arrive(sent[0].0, &Parcel { from: id(b'z'), ..answer }).is_empty(), "nor to that peer id");
    assert!(bench.arrive(sent[0].0, &Parcel { offer_id: "\"2\"", ..answer }).is_empty(), "nor was that offer");
    let peer = String::from_utf8(first.to.0.to_vec()).unwrap();
    let told = json!({ "action": "announce", "info_hash": text('h'), "peer_id": peer, "offer_id": "1", "answer": 7 });
    assert_eq!(bench.arrive(sent[0].0, &answer), [told]);
    assert!(bench.arrive(sent[0].0, &answer).is_empty(), "once");
}

#[test]
fn an_offer_that_is_made_again_to_another_can_be_answered_by_both() {
    let mut bench = Bench::new();
    let offers = || json!({ "offers": [{ "offer_id": "1", "offer": 1 }] });
    let third = PeerId::new([3; 32]);
    for (session, peer) in [(OTHER, b'b'), (third, b'c')] {
        bench.announce(&announce('a', offers()), [&[(session, peer)], &[]]);
        assert_eq!(bench.sent()[0].0, session);
    }
    let answer = |from| Parcel { kind: Kind::Answer, from: id(from), to: id(b'a'), ..offer() };
    assert_eq!(bench.arrive(third, &answer(b'c')).len(), 1);
    assert_eq!(bench.arrive(OTHER, &answer(b'b')).len(), 1);
}

#[test]
fn only_what_was_offered_to_the_client_can_it_answer() {
    let mut bench = Bench::new();
    let nobody: [&[_]; 2] = [&[], &[]];
    bench.announce(&announce('a', json!({})), nobody);
    assert!(bench.arrive(OTHER, &Parcel { to: id(b'z'), ..offer() }).is_empty(), "the client is not z");
    assert!(bench.arrive(OTHER, &Parcel { info_hash: id(b'z'), ..offer() }).is_empty(), "nor in z");
    let pushed = json!({
        "action": "announce", "info_hash": text('h'), "peer_id": text('b'), "offer_id": "1", "offer": { "sdp": 1 },
    });
    assert_eq!(bench.arrive(OTHER, &offer()), std::slice::from_ref(&pushed));
    // Somebody who has the other's peer id makes the same offer: both are answered.
    let third = PeerId::new([3; 32]);
    assert_eq!(bench.arrive(third, &offer()), [pushed]);
    let answer = |peer| announce(peer, json!({ "to_peer_id": text('b'), "offer_id": "1", "answer": { "sdp": 2 } }));
    let failure = json!({
        "action": "announce",
        "info_hash": text('h'),
        "failure reason": "Could not find the offer corresponding to your answer. It may have expired.",
    });
    assert!(bench.say(&answer('z')).is_empty());
    assert_eq!(bench.told(), std::slice::from_ref(&failure));
    assert!(bench.say(&answer('a')).is_empty());
    let sent = bench.sent();
    assert_eq!(sent.iter().map(|(to, _)| *to).collect::<Vec<_>>(), [OTHER, third]);
    let expected = Parcel { kind: Kind::Answer, from: id(b'a'), to: id(b'b'), payload: r#"{"sdp":2}"#, ..offer() };
    assert_eq!(sent[0].1, expected.wrap());
    assert!(bench.told().is_empty(), "an answer has no reply");
    bench.say(&answer('a'));
    assert_eq!(bench.told(), [failure], "it was answered");
}

#[test]
fn who_stopped_is_offered_nothing_and_offers_nothing() {
    let mut bench = Bench::new();
    let offers = json!([{ "offer_id": "1", "offer": 1 }]);
    let others: [&[_]; 2] = [&[(OTHER, b'b')], &[]];
    bench.announce(&announce('a', json!({ "offers": offers })), others);
    bench.sent();
    bench.announce(&announce('a', json!({ "event": "stopped", "offers": offers })), others);
    assert!(bench.sent().is_empty());
    assert!(bench.arrive(OTHER, &offer()).is_empty());
    assert!(bench.arrive(OTHER, &Parcel { kind: Kind::Answer, ..offer() }).is_empty());
}

#[test]
fn two_peers_of_one_socket_are_others_to_each_other() {
    let mut bench = Bench::new();
    let nobody: [&[_]; 2] = [&[], &[]];
    bench.announce(&announce('a', json!({})), nobody);
    let offers = json!({ "offers": [{ "offer_id": "1", "offer": 1 }, { "offer_id": "2", "offer": 2 }] });
    assert_eq!(bench.announce(&announce('b', offers), nobody), [counts(0, 2)]);
    let sent = bench.sent();
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].0, OWN, "the machine brings it back to this session");
    assert_eq!(sent[0].1, Parcel { payload: "1", ..offer() }.wrap());
}

#[test]
fn what_the_machine_refuses_the_client_is_told_once() {
    let mut bench = Bench::new();
    let refused = |id: &RequestId| Event::Error {
        id: Some(id.clone()),
        refusal: Refusal::RateLimited,
        message: String::new(),
        known: None,
        retry_after: None,
    };
    let requests = bench.say(&announce('a', json!({})));
    assert_eq!(requests.len(), 3);
    for request in &requests {
        bench.hear(refused(request.id().unwrap()));
    }
    let reason = Refusal::RateLimited.sentence();
    let failure = json!({ "action": "announce", "info_hash": text('h'), "failure reason": reason });
    assert_eq!(bench.told(), [failure]);
    let again = bench.say(&announce('a', json!({})));
    assert!(matches!(again[0], Request::Join { .. }), "the next announce asks again: {again:?}");
    bench.serve_all(again, [&[], &[]]);
    assert_eq!(bench.told(), [counts(0, 1)]);
    let scrape = bench.say(&json!({ "action": "scrape", "info_hash": text('h') }));
    bench.hear(refused(scrape[1].id().unwrap()));
    assert_eq!(bench.told(), [json!({ "action": "scrape", "failure reason": reason })]);
}

#[test]
fn announces_wait_for_their_turn_and_only_so_many() {
    let mut bench = Bench::new();
    let first = bench.say(&announce('a', json!({})));
    for _ in 1..JOBS_MAX {
        assert!(bench.say(&announce('b', json!({}))).is_empty(), "the machine is asked for one at a time");
    }
    assert!(bench.say(&announce('c', json!({}))).is_empty());
    assert!(bench.say(&json!({ "action": "scrape", "info_hash": text('h') })).is_empty());
    let overloaded = Refusal::Overloaded.sentence();
    let told = bench.told();
    assert_eq!(told.iter().map(|told| &told["failure reason"]).collect::<Vec<_>>(), [overloaded, overloaded]);
    bench.serve_all(first, [&[], &[]]);
    let mut expected = vec![counts(0, 2); JOBS_MAX];
    expected[0] = counts(0, 1);
    assert_eq!(bench.told(), expected);
    let scrape = json!({ "action": "scrape", "info_hash": [text('h'), text('i'), text('j')] });
    let asked = bench.say(&scrape);
    assert_eq!(asked.len(), 2, "one torrent at a time, too");
    bench.serve_all(asked, [&[], &[]]);
    assert_eq!(bench.told()[0]["files"].as_object().unwrap().len(), 3);
}

#[test]
fn a_client_in_too_many_torrents_is_told_so() {
    let mut bench = Bench::new();
    let nobody: [&[_]; 2] = [&[], &[]];
    let announce = |n: u8| json!({ "action": "announce", "info_hash": text(char::from(n)), "peer_id": text('a') });
    for n in 0..u8::try_from(swarms::SWARMS_MAX).unwrap() {
        assert!(bench.announce(&announce(n), nobody)[0]["complete"].is_number());
    }
    let told = bench.announce(&announce(200), nobody);
    assert_eq!(told[0]["failure reason"], "No more than 32 torrents can be used per connection");
    assert_eq!(told[0]["info_hash"], text('\u{c8}'));
}

#[test]
fn malformed_frames_are_counted_by_the_machine_and_told_in_the_words_of_the_protocol() {
    let mut bench = Bench::new();
    bench.tracker.binary(&Bytes::from_static(b"\xff\xfe"), &mut bench.table.desk());
    bench.tracker.text(r#"{"action":"announce"}"#, &mut bench.table.desk());
    let inputs = bench.table.inputs();
    let crate::relay::io::Input::EdgeErred { id: None, refusal, message, .. } = &inputs[1] else {
        panic!("{inputs:?}")
    };
    assert_eq!((*refusal, message.as_str()), (Refusal::Malformed, "invalid info_hash"));
    let (refusal, message) = (*refusal, message.clone());
    bench.hear(Event::Error { id: None, refusal, message, known: None, retry_after: None });
    assert_eq!(bench.told(), [json!({ "failure reason": "invalid info_hash" })]);
    assert_eq!(bench.table.closed(), None);
}

proptest! {
    #[test]
    fn whatever_another_host_sends_the_client_gets_frames_of_the_protocol_or_nothing(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
        kind in 0_u8..4,
        wrapped in any::<bool>(),
    ) {
        let mut bench = Bench::new();
        bench.announce(&announce('a', json!({})), [&[], &[]]);
        let mut body = vec![kind];
        body.extend([[b'h'; 20], [b'b'; 20], [b'a'; 20]].concat());
        body.extend(&bytes);
        let data = if wrapped { door::wrap(NAME, &body) } else { bytes.into() };
        bench.hear(Event::Signal { seq: 1, id: "1".into(), from: OTHER, topic: None, data });
        for told in bench.told() {
            prop_assert!(told["offer"] != Value::Null || told["peer_id"] == text('b'), "{}", told);
            prop_assert!(told["interval"].is_null() && told["failure reason"].is_null(), "{}", told);
        }
    }
}
