//! The door of WebTorrent trackers with a real machine behind it.

use std::collections::BTreeSet;
use std::time::Duration;

use aldis::client::socket::Message;
use futures_util::StreamExt;
use serde_json::{Value, json};

use crate::harness::{House, eventually, within};
use crate::webtorrent_client::{Client, announce, counts, twenty};

#[tokio::test]
async fn offers_and_answers_of_a_tracker_pass_byte_for_byte() {
    let house = House::start();
    let (mut one, mut other) =
        (Client::open(house.address(), "/announce").await, Client::open(house.address(), "/tracker").await);
    assert_eq!(one.ask(announce('h', '\u{e9}')).await, counts('h', 0, 1));
    let (hash, offerer) = (twenty('h'), twenty('b'));
    let offer = r#"{ "sdp" : "v=0\u000d\n\/", "n": 1.0e0, "type":"offer"}"#;
    let frame = format!(
        r#"{{"action":"announce","info_hash":"{hash}","peer_id":"{offerer}","left":0,"offers":[{{"offer":{offer},"offer_id":"\u0001x"}},{{"fake_offer":1}}]}}"#
    );
    // Binary frames are as good.
    other.send(Message::binary(frame)).await;
    assert_eq!(serde_json::from_str::<Value>(&other.hear().await).unwrap(), counts('h', 1, 1));
    let pushed = one.hear().await;
    assert_eq!(
        pushed,
        format!(
            r#"{{"action":"announce","info_hash":"{hash}","peer_id":"{offerer}","offer":{offer},"offer_id":"\u0001x"}}"#
        )
    );
    let answer = r#"{"sdp" :  "w","type":"answer"}"#;
    let answerer = twenty('\u{e9}');
    let frame = format!(
        r#"{{"action":"announce","info_hash":"{hash}","peer_id":"{answerer}","to_peer_id":"{offerer}","offer_id":"\u0001x","answer":{answer}}}"#
    );
    one.send(Message::text(frame.clone())).await;
    let told = other.hear().await;
    assert_eq!(
        told,
        format!(
            r#"{{"action":"announce","info_hash":"{hash}","peer_id":"{answerer}","answer":{answer},"offer_id":"\u0001x"}}"#
        )
    );
    one.send(Message::text(frame)).await;
    assert!(one.hear().await.contains("Could not find the offer"), "it was answered already");
}

#[tokio::test]
async fn peers_that_share_a_connection_are_offered_each_others_offers() {
    let house = House::start();
    let mut both = Client::open(house.address(), "/announce").await;
    both.ask(announce('h', 'a')).await;
    let mut frame = announce('h', 'b');
    frame["offers"] = json!([{ "offer": 1, "offer_id": "1" }, { "offer": 2, "offer_id": "2" }]);
    assert_eq!(both.ask(frame).await, counts('h', 0, 2));
    let pushed = json!({
        "action": "announce", "info_hash": twenty('h'), "peer_id": twenty('b'), "offer": 1, "offer_id": "1",
    });
    assert_eq!(serde_json::from_str::<Value>(&both.hear().await).unwrap(), pushed);
    let answer = json!({ "to_peer_id": twenty('b'), "offer_id": "1", "answer": 3 });
    let mut frame = announce('h', 'a');
    frame.as_object_mut().unwrap().extend(answer.as_object().unwrap().clone());
    let answered = both.ask(frame).await;
    assert_eq!((&answered["answer"], &answered["peer_id"]), (&json!(3), &json!(twenty('a'))));
}

#[tokio::test]
async fn offers_that_are_refused_for_now_come_a_moment_later() {
    // Not enough for an announce and its 32 offers.
    let house = House::with(|_, settings| (settings.edge_rate.per_second, settings.edge_rate.burst) = (5, 26));
    let mut others = Vec::new();
    for n in 0..32_u8 {
        let mut other = Client::open(house.address(), "/announce").await;
        other.ask(announce('h', char::from(b'A' + n))).await;
        others.push(other);
    }
    let mut offerer = Client::open(house.address(), "/announce").await;
    let mut frame = announce('h', 'z');
    frame["offers"] = (1..=32).map(|n| json!({ "offer": n, "offer_id": n })).collect();
    assert_eq!(offerer.ask(frame).await, counts('h', 0, 33));
    let mut offers = BTreeSet::new();
    for (n, other) in (0_u8..).zip(&mut others) {
        let offer: Value = serde_json::from_str(&other.hear().await).unwrap();
        offers.insert(offer["offer"].as_u64());
        let mut answer = announce('h', char::from(b'A' + n));
        answer["to_peer_id"] = offer["peer_id"].clone();
        answer["offer_id"] = offer["offer_id"].clone();
        answer["answer"] = offer["offer"].clone();
        other.send(Message::text(answer.to_string())).await;
        let answered: Value = serde_json::from_str(&offerer.hear().await).unwrap();
        assert_eq!(answered["answer"], offer["offer"]);
    }
    assert_eq!(offers.len(), 32);
}

#[tokio::test]
async fn a_peer_is_gone_with_its_connection() {
    let house = House::start();
    let mut one = Client::open(house.address(), "/announce").await;
    let mut other = Client::open(house.address(), "/announce").await;
    other.ask(announce('h', 'b')).await;
    assert_eq!(one.ask(announce('h', 'a')).await, counts('h', 0, 2));
    drop(other);
    // No grace: it would come back as a new one.
    eventually("it is not counted", async || one.ask(announce('h', 'a')).await == counts('h', 0, 1)).await;
}

#[tokio::test]
async fn an_idle_tracker_connection_is_pinged_and_stays() {
    let heartbeat = Duration::from_millis(100);
    let house = House::with(|config, _| config.timing.heartbeat = heartbeat);
    let mut client = Client::open(house.address(), "/announce").await;
    client.ask(announce('h', 'a')).await;
    // Two pings in a row mean that the first was answered, and that silence since then did not close the connection.
    for _ in 0..5 {
        let ping = within("a ping", client.0.next()).await.unwrap().unwrap();
        assert!(matches!(ping, Message::Ping(_)), "{ping:?}");
    }
    assert_eq!(client.ask(announce('h', 'a')).await, counts('h', 0, 1));
}

#[tokio::test]
async fn a_tracker_connection_has_room_for_32_torrents_that_all_finish() {
    let house = House::start();
    let mut client = Client::open(house.address(), "/announce").await;
    let torrents = || (0..32_u8).map(|n| char::from(b'A' + n));
    for torrent in torrents() {
        assert_eq!(client.ask(announce(torrent, 'a')).await, counts(torrent, 0, 1));
    }
    for torrent in torrents() {
        let mut frame = announce(torrent, 'a');
        frame["event"] = json!("completed");
        assert_eq!(client.ask(frame).await, counts(torrent, 1, 0));
    }
    let refused = client.ask(announce('z', 'a')).await;
    assert_eq!(refused["failure reason"], "No more than 32 torrents can be used per connection");
    let mut frame = announce('A', 'a');
    frame["event"] = json!("stopped");
    assert_eq!(client.ask(frame).await, counts('A', 0, 0));
    // Joins are limited to five a second in the long run, and these were 64.
    eventually("there is room again", async || client.ask(announce('z', 'a')).await == counts('z', 0, 1)).await;
}
