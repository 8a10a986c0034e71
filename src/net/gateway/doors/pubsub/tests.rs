#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may fail by panic")]
use super::super::super::dialect::testing::Table;
use super::*;
use crate::relay::io::{Input, Member, Reach, Request, RequestId, Sample};
use aldis_wire::id::PeerId;
use aldis_wire::network::Genesis;
use proptest::prelude::*;
use std::time::Duration;

fn client() -> (PubSub, Table) {
    let network = Arc::new(Network::new(&Genesis::open("pubsub").unwrap()));
    let (mut client, mut table) = (PubSub::new(network), Table::default());
    client.opened(&mut table.desk());
    assert!(matches!(table.requests()[..], [Request::Hello(_)]));
    (client, table)
}

fn tally(id: RequestId, reach: Reach) -> Event {
    Event::Tally { seq: 1, id, reach }
}

fn refused(id: RequestId, refusal: Refusal) -> Event {
    Event::Error { id: Some(id), refusal, message: String::new(), known: None, retry_after: None }
}

/// Lets time pass until the client has asked for it to be woken.
fn wait(client: &mut PubSub, table: &mut Table) {
    assert!(client.deadline().is_some(), "it would wait for ever");
    table.ahead += Duration::from_secs(1);
    client.woken(&mut table.desk());
}

/// Answers what was asked as a host without other members would, and returns the broadcasts.
fn served(client: &mut PubSub, table: &mut Table, others: usize) -> Vec<(Topic, Bytes)> {
    let mut broadcasts = Vec::new();
    loop {
        let asked = table.requests();
        if asked.is_empty() {
            return broadcasts;
        }
        for request in asked {
            let sample =
                |id, topic: Topic| Sample { id, topic: topic.name, members: Vec::<Member>::new(), total: others };
            match request {
                Request::Join { id, topic, quiet: true, .. } => table.say(client, Event::Joined(sample(id, topic))),
                Request::Discover { id, topic, .. } => table.say(client, Event::Peers(sample(id, topic))),
                Request::Broadcast { id, topic, data, echo: true } => {
                    broadcasts.push((topic, data));
                    table.say(client, tally(id, Reach { taken: 1, ..Reach::default() }));
                }
                Request::Leave { id, topic } => table.say(client, Event::Left { id, topic: topic.name }),
                other => panic!("{other:?} was not to be asked"),
            }
        }
    }
}

fn told(client: &mut PubSub, table: &mut Table, topic: &Topic, data: &Bytes) -> Vec<String> {
    let (id, topic, data) = ("1".into(), topic.name.clone(), data.clone());
    table.say(client, Event::Broadcast { seq: 1, id, from: PeerId::new([1; 32]), topic, data });
    table.texts()
}

#[test]
fn what_is_published_reaches_every_subscriber_with_the_count_of_the_network() {
    let (mut sender, mut table) = client();
    let (mut receiver, mut other) = client();
    let publish = r#"{"type":"publish","topic":"room","data":{"x": 1.0},"more":[]}"#;
    for (subscribes, clients) in [(false, 3), (true, 4)] {
        if subscribes {
            sender.text(r#"{"type":"subscribe","topics":["room"]}"#, &mut table.desk());
        }
        sender.text(publish, &mut table.desk());
        let broadcasts = served(&mut sender, &mut table, 3);
        let [(topic, data)] = &broadcasts[..] else { panic!("{broadcasts:?}") };
        let expected = format!("{},\"clients\":{clients}}}", publish.strip_suffix('}').unwrap());
        assert_eq!(told(&mut receiver, &mut other, topic, data), std::slice::from_ref(&expected));
        assert_eq!(told(&mut sender, &mut table, topic, data), [expected], "the sender is told as well");
    }
}

#[test]
fn messages_to_several_topics_keep_their_order_and_their_counts() {
    let (mut sender, mut table) = client();
    for topic in ["a", "b", "a"] {
        sender.text(&format!(r#"{{"type":"publish","topic":"{topic}","n":1}}"#), &mut table.desk());
    }
    let names: Vec<_> = served(&mut sender, &mut table, 0).into_iter().map(|(topic, _)| topic.name).collect();
    assert_eq!(names, ["yjs:a", "yjs:b", "yjs:a"].map(Arc::from));
    assert!(sender.outbox.is_empty());
}

#[test]
fn the_payload_of_trystero_is_told_without_the_rest() {
    let (mut sender, mut table) = client();
    sender.text(r#"{"type":"publish","topic":"t","payload":"{\"a\": 1}"}"#, &mut table.desk());
    let broadcasts = served(&mut sender, &mut table, 1);
    let [(topic, data)] = &broadcasts[..] else { panic!("{broadcasts:?}") };
    assert_eq!(told(&mut sender, &mut table, topic, data), [r#"{"topic":"t","payload":"{\"a\": 1}"}"#]);
    let yjs = sender.topic(Tongue::Yjs, "t");
    assert_ne!(yjs.id, topic.id);
    assert_eq!(told(&mut sender, &mut table, &yjs, data), [""; 0], "not its tongue");
}

#[test]
fn a_hostile_host_cannot_speak_for_another_topic_or_in_no_protocol() {
    let (mut receiver, mut table) = client();
    let topic = receiver.topic(Tongue::Yjs, "room");
    let message = br#"{"type":"publish","topic":"other"}"#;
    for body in [&b""[..], b"\x01", b"\x01\0\0\0\x01", b"\x01\0\0\0\x01{}", b"\x02{}", b"\x07", b"\x01\0\0\0\x01\xff"] {
        assert_eq!(told(&mut receiver, &mut table, &topic, &door::wrap(NAME, body)), [""; 0], "{body:?}");
    }
    assert_eq!(told(&mut receiver, &mut table, &topic, &Body::encode_yjs(1, message)), [""; 0]);
    assert_eq!(told(&mut receiver, &mut table, &topic, &Bytes::from_static(b"{}")), [""; 0]);
}

#[test]
fn a_ping_is_answered_by_the_door_alone_and_too_much_is_refused() {
    let (mut client, mut table) = client();
    client.text(r#"{"type":"ping"}"#, &mut table.desk());
    assert_eq!(table.texts(), [r#"{"type":"pong"}"#]);
    let long = format!(r#"{{"type":"publish","topic":"t","payload":"{}"}}"#, "x".repeat(SIGNAL_DATA_BYTES));
    client.text(&long, &mut table.desk());
    client
        .text(&format!(r#"{{"type":"subscribe","topic":"{}"}}"#, "x".repeat(TOPIC_NAME_BYTES + 1)), &mut table.desk());
    let inputs = table.inputs();
    assert!(matches!(inputs[..], [Input::EdgeErred { refusal: Refusal::TooBig, .. }]), "{inputs:?}");
}

#[test]
fn what_a_newcomer_publishes_at_once_all_arrives_in_order_though_the_host_refuses_much_of_it() {
    let (mut sender, mut table) = client();
    for n in 0..200 {
        sender.text(&format!(r#"{{"type":"publish","topic":"room","n":{n}}}"#), &mut table.desk());
        assert!(!table.idle(), "the socket would be closed");
    }
    let (mut arrived, mut open, mut asked, mut rounds) = (Vec::new(), Vec::new(), Vec::new(), 0);
    while !sender.outbox.is_empty() {
        rounds += 1;
        assert!(rounds < 100, "{} arrived", arrived.len());
        for request in table.requests() {
            asked.push(request);
        }
        // A bucket with a few tokens a round.
        let mut tokens = 40;
        while !asked.is_empty() {
            match asked.remove(0) {
                Request::Discover { id, .. } if tokens == 0 => {
                    table.say(&mut sender, refused(id, Refusal::RateLimited));
                }
                Request::Discover { id, topic, .. } => {
                    tokens -= 1;
                    let sample = Sample { id, topic: topic.name, members: vec![], total: 30 };
                    table.say(&mut sender, Event::Peers(sample));
                }
                Request::Broadcast { id, .. } if tokens == 0 => {
                    let reach = Reach { code: Some(Refusal::RateLimited), ..Reach::default() };
                    table.say(&mut sender, tally(id, reach));
                }
                Request::Broadcast { id, data, .. } => {
                    tokens -= 1;
                    open.push(id);
                    assert!(open.len() < crate::relay::limits::OPEN_BROADCASTS_MAX);
                    arrived.push(data);
                }
                other => panic!("{other:?} was not to be asked"),
            }
            asked.extend(table.requests());
        }
        for id in open.drain(..) {
            table.say(&mut sender, tally(id, Reach { taken: 3, ..Reach::default() }));
        }
        if !sender.outbox.is_empty() && sender.deadline().is_some() {
            table.ahead += Duration::from_millis(250);
            sender.woken(&mut table.desk());
        }
    }
    let number = |data: &Bytes| {
        let text = String::from_utf8(door::unwrap(NAME, data).unwrap()[5..].to_vec()).unwrap();
        serde_json::from_str::<serde_json::Value>(&text).unwrap()["n"].as_u64().unwrap()
    };
    assert_eq!(arrived.iter().map(number).collect::<Vec<_>>(), (0..200).collect::<Vec<_>>());
}

#[test]
fn a_message_that_waits_is_not_overtaken_by_one_that_was_not_sent_yet() {
    let (mut sender, mut table) = client();
    for n in [1, 2] {
        sender.text(&format!(r#"{{"type":"publish","topic":"room","n":{n}}}"#), &mut table.desk());
    }
    let asked = table.requests();
    table.say(&mut sender, refused(asked[0].id().unwrap().clone(), Refusal::RateLimited));
    let id = asked[1].id().unwrap().clone();
    table.say(&mut sender, Event::Peers(Sample { id, topic: "yjs:room".into(), members: vec![], total: 1 }));
    assert_eq!(table.requests(), []);
    wait(&mut sender, &mut table);
    let sent: Vec<_> = served(&mut sender, &mut table, 1).into_iter().map(|(_, data)| data).collect();
    let body = |n| Body::encode_yjs(1, format!(r#"{{"type":"publish","topic":"room","n":{n}}}"#).as_bytes());
    assert_eq!(sent, [body(1), body(2)]);
}

#[test]
fn a_message_that_somebody_has_is_not_sent_again() {
    let (mut sender, mut table) = client();
    for (taken, unknown) in [(1, 0), (0, 1)] {
        sender.text(r#"{"type":"publish","topic":"t","payload":1}"#, &mut table.desk());
        let Some(Request::Broadcast { id, .. }) = table.requests().pop() else { panic!("nothing was sent") };
        let code = Some(Refusal::RateLimited);
        table.say(&mut sender, tally(id, Reach { taken, unknown, refused: 1, code, ..Reach::default() }));
        assert!(sender.outbox.is_empty());
    }
}

#[test]
fn what_never_passes_is_given_up_and_what_waits_has_a_bound() {
    let (mut sender, mut table) = client();
    for _ in 0..=outbox::MESSAGES_MAX {
        sender.text(r#"{"type":"publish","topic":"t","payload":1}"#, &mut table.desk());
    }
    let full = |input: &Input| matches!(input, Input::EdgeErred { refusal: Refusal::QueueFull, .. });
    let mut inputs = table.inputs();
    assert_eq!(inputs.iter().filter(|input| full(input)).count(), 1);
    for _ in 0..16 * outbox::MESSAGES_MAX {
        for input in std::mem::take(&mut inputs) {
            if let Input::EdgeAsked { request: Request::Broadcast { id, .. }, .. } = input {
                table.say(&mut sender, refused(id, Refusal::RateLimited));
            }
        }
        if sender.outbox.is_empty() {
            break;
        }
        if sender.deadline().is_some() {
            wait(&mut sender, &mut table);
        }
        inputs = table.inputs();
    }
    assert!(sender.outbox.is_empty());
    let long = format!(r#"{{"type":"publish","topic":"t","payload":"{}"}}"#, "x".repeat(SIGNAL_DATA_BYTES / 2));
    for _ in 0..=outbox::MESSAGES_BYTES / (SIGNAL_DATA_BYTES / 2) {
        sender.text(&long, &mut table.desk());
    }
    assert_eq!(table.inputs().iter().filter(|input| full(input)).count(), 2);
}

#[test]
fn a_message_of_full_size_fits_a_broadcast() {
    let (mut sender, mut table) = client();
    let text = |bytes| {
        let rest = r#"{"type":"publish","topic":"t","data":""}"#;
        rest.replace("\"\"", &format!("\"{}\"", "x".repeat(bytes - rest.len())))
    };
    let most = SIGNAL_DATA_BYTES - Body::encode_yjs(0, b"").len();
    sender.text(&text(most), &mut table.desk());
    let broadcasts = served(&mut sender, &mut table, 1);
    assert_eq!(broadcasts[0].1.len(), SIGNAL_DATA_BYTES);
    sender.text(&text(most + 1), &mut table.desk());
    let inputs = table.inputs();
    assert!(matches!(inputs[..], [Input::EdgeErred { refusal: Refusal::TooBig, .. }]), "{inputs:?}");
}

#[test]
fn a_long_list_of_topics_asks_no_more_than_a_client_may_have() {
    let (mut client, mut table) = client();
    let list = |names: Vec<String>| format!("[{}]", names.join(","));
    let names = list((0..17_000).map(|n| format!("\"{n}\"")).collect());
    let again = list(vec!["\"a\"".to_owned(); 17_000]);
    client.text(&format!(r#"{{"type":"subscribe","topics":{again}}}"#), &mut table.desk());
    assert_eq!(table.requests().len(), 1);
    client.text(&format!(r#"{{"type":"subscribe","topics":{names}}}"#), &mut table.desk());
    assert_eq!(table.requests().len(), PEER_TOPICS_MAX - 1);
    client.text(&format!(r#"{{"type":"unsubscribe","topics":{names}}}"#), &mut table.desk());
    assert_eq!(table.requests().len(), PEER_TOPICS_MAX - 1);
    client.text(&format!(r#"{{"type":"unsubscribe","topics":{names}}}"#), &mut table.desk());
    assert_eq!(table.inputs().len(), 0);
}

#[test]
fn nothing_is_kept_of_topics_that_come_and_go() {
    let (mut client, mut table) = client();
    for n in 0..1_000 {
        client.text(&format!(r#"{{"type":"subscribe","topic":"{n}"}}"#), &mut table.desk());
        client.text(&format!(r#"{{"type":"unsubscribe","topic":"{n}"}}"#), &mut table.desk());
    }
    assert_eq!(client.subscriptions.len(), 2 * PEER_TOPICS_MAX);
    served(&mut client, &mut table, 0);
    assert_eq!(client.subscriptions.len(), 0);
    client.text(r#"{"type":"subscribe","topics":["t"]}"#, &mut table.desk());
    client.text(r#"{"type":"unsubscribe","topics":["t"]}"#, &mut table.desk());
    served(&mut client, &mut table, 0);
    assert!(!client.subscriptions.counts(&client.topic(Tongue::Yjs, "t")), "it would count itself for ever");
}

#[test]
fn what_is_refused_for_now_is_subscribed_or_left_a_moment_later() {
    let (mut client, mut table) = client();
    let topic = client.topic(Tongue::Trystero, "t");
    client.text(r#"{"type":"subscribe","topic":"t"}"#, &mut table.desk());
    for refusal in [Refusal::RateLimited, Refusal::Overloaded] {
        let Some(Request::Join { id, .. }) = table.requests().pop() else { panic!("it does not ask") };
        table.say(&mut client, refused(id, refusal));
        wait(&mut client, &mut table);
    }
    served(&mut client, &mut table, 0);
    assert!(client.subscriptions.counts(&topic));
    client.text(r#"{"type":"unsubscribe","topic":"t"}"#, &mut table.desk());
    let Some(Request::Leave { id, .. }) = table.requests().pop() else { panic!("it does not leave") };
    table.say(&mut client, refused(id, Refusal::RateLimited));
    wait(&mut client, &mut table);
    served(&mut client, &mut table, 0);
    assert_eq!(client.subscriptions.len(), 0);
}

proptest! {
    #[test]
    fn whatever_a_client_sends_is_read_or_passed_over(text in "\\PC{0,60}", bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
        let (mut client, mut table) = client();
        for before in ["", "{\"type\":\"publish\",\"topic\":", "{\"type\":\"subscribe\",\"topics\":[", "{\"type\":"] {
            client.text(&format!("{before}{text}"), &mut table.desk());
        }
        client.binary(&bytes.clone().into(), &mut table.desk());
        served_quietly(&mut client, &mut table);
        let topic = client.topic(Tongue::Yjs, "t");
        for told in told(&mut client, &mut table, &topic, &door::wrap(NAME, &bytes)) {
            prop_assert!(serde_json::from_str::<serde_json::Value>(&told).is_ok());
        }
    }
}

fn served_quietly(client: &mut PubSub, table: &mut Table) {
    served(client, table, 0);
    assert!(client.outbox.is_empty());
    table.texts();
}
