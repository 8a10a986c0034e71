//! Broadcasts on real sockets: what comes out is what went in.

use std::time::Duration;

use aldis_wire::limits::SIGNAL_DATA_BYTES;
use serde_json::{Value, json};

use crate::edge::{Bystanders, Edge};
use crate::harness::House;

fn counts(tally: &Value) -> [&Value; 5] {
    ["taken", "refused", "unknown", "members", "missed"].map(|count| &tally[count])
}

#[tokio::test]
async fn a_broadcast_comes_to_all_other_members_byte_for_byte_and_its_tally_to_the_sender() {
    let house = House::start();
    let mut members = [Edge::in_topic(&house, "t").await, Edge::in_topic(&house, "t").await];
    let mut sender = Edge::in_topic(&house, "t").await;
    members[0].hear_type("peer_joined").await;
    for member in &mut members {
        member.hear_type("peer_joined").await;
    }
    let data = r#"{ "b":1,  "a":[1.50, "\u00e9 ü"],"b":2 }"#;
    sender.say_text(format!(r#"{{"type":"broadcast","id":"x","topic":"t","data":{data}}}"#)).await;
    let tally = sender.hear_type("tally").await;
    assert_eq!((&tally["id"], counts(&tally)), (&json!("x"), [1, 0, 0, 2, 0].map(Value::from).each_ref()));
    for member in &mut members {
        let text = member.next_text().await.unwrap();
        assert!(text.contains(&format!("\"data\":{data}")), "{text}");
        let told: Value = serde_json::from_str(&text).unwrap();
        let said = (&told["type"], &told["id"], &told["from"], &told["topic"]);
        assert_eq!(said, (&json!("broadcast"), &json!("x"), &json!(sender.peer), &json!("t")));
    }
    assert!(sender.hears_nothing_for(Duration::from_millis(100)).await, "the sender is not told its own");
    assert_eq!(house.metric("aldis_broadcasts_total{outcome=\"taken\"}").await, 1.0);
    assert_eq!(house.metric("aldis_broadcast_members_total{outcome=\"queued\"}").await, 2.0);
}

#[tokio::test]
async fn a_member_that_resumes_is_told_what_was_broadcast_meanwhile_in_order() {
    let house = House::start();
    let mut sender = Edge::in_topic(&house, "t").await;
    let member = Edge::in_topic(&house, "t").await;
    sender.hear_type("peer_joined").await;
    let (token, seq) = (member.token.clone(), member.seq);
    drop(member);
    for n in 0..5 {
        sender.request(json!({ "type": "broadcast", "topic": "t", "data": n })).await;
        assert_eq!(sender.hear_type("tally").await["members"], 1);
    }
    let mut again = Edge::greeted(&house).await;
    again.say(&json!({ "type": "hello", "resume": { "token": token, "seq": seq } })).await;
    assert_eq!(again.hear_type("welcome").await["resumed"], true);
    for n in 0..5 {
        let told = again.hear().await;
        assert_eq!((&told["type"], &told["data"], &told["seq"]), (&json!("broadcast"), &json!(n), &json!(seq + 1 + n)));
    }
}

#[tokio::test]
async fn malformed_broadcasts_are_refused_and_disturb_nobody() {
    let house = House::start();
    let mut others = Bystanders::of(&house).await;
    let mut edge = Edge::connect(&house).await;
    let large = "x".repeat(SIGNAL_DATA_BYTES);
    for (message, code) in [
        (json!({ "type": "broadcast", "id": "a", "data": 1 }), "bad_field"),
        (json!({ "type": "broadcast", "id": "a", "topic": "t" }), "bad_field"),
        (json!({ "type": "broadcast", "topic": "t", "data": 1 }), "bad_field"),
        (json!({ "type": "broadcast", "id": "a", "topic": "", "data": 1 }), "bad_field"),
        (json!({ "type": "broadcast", "id": "a", "topic": "x".repeat(257), "data": 1 }), "bad_field"),
        (json!({ "type": "broadcast", "id": "a", "topic": 7, "data": 1 }), "bad_field"),
        (json!({ "type": "broadcast", "id": "a", "topic": "t", "data": large }), "too_big"),
    ] {
        edge.say(&message).await;
        assert_eq!(edge.error().await, code, "{message:.80}");
    }
    others.go_on().await;
}
