#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may fail by panic")]
use super::super::super::dialect::testing::Table;
use super::*;
use crate::relay::io::{Input, Member, Sample};
use aldis_wire::id::PeerId;
use aldis_wire::network::Genesis;
use proptest::prelude::*;

fn client() -> (PubSub, Table) {
    let network = Arc::new(Network::new(&Genesis::open("pubsub").unwrap()));
    let (mut client, mut table) = (PubSub::new(network), Table::default());
    client.opened(&mut table.desk());
    assert!(matches!(table.requests()[..], [Request::Hello(_)]));
    (client, table)
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
                Request::Join { id, topic, .. } => table.say(client, Event::Joined(sample(id, topic))),
                Request::Discover { id, topic, .. } => table.say(client, Event::Peers(sample(id, topic))),
                Request::Broadcast { topic, data, echo: true, .. } => broadcasts.push((topic, data)),
                Request::Leave { .. } => {}
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
    assert!(sender.counted.is_empty());
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
    assert!(client.counted.is_empty());
    table.texts();
}
