//! Clients of WebTorrent trackers at two hosts: what the libraries themselves cannot show.

use aldis::client::socket::Message;
use aldis::doors::Door;
use aldis::net::driver::HostConfig;
use serde_json::{Value, json};

use crate::harness::{config, knowing, start, until_linked};
use crate::webtorrent_client::{Client, announce, counts, twenty};

/// Announces until this is the answer.
async fn until_counted(client: &mut Client, frame: Value, expected: Value) {
    let counting = async { while client.ask(frame.clone()).await != expected {} };
    tokio::time::timeout(crate::harness::DEADLINE, counting).await.expect("it is never counted so");
}

#[tokio::test(flavor = "multi_thread")]
async fn offers_cross_hosts_byte_for_byte_and_a_host_that_stops_takes_its_peers_along() {
    let with_doors = |config: HostConfig| HostConfig { doors: Door::ALL.to_vec(), ..config };
    let a = start(with_doors(config(1))).await;
    let b = start(with_doors(knowing(2, &[&a]))).await;
    until_linked(&a, &b).await;
    let mut one = Client::open(a.http_address(), "/announce").await;
    let mut other = Client::open(b.http_address(), "/tracker").await;
    other.ask(announce('h', '\u{ff}')).await;
    until_counted(&mut one, announce('h', 'a'), counts('h', 0, 2)).await;

    let (hash, from, to) = (twenty('h'), twenty('a'), twenty('\u{ff}'));
    let offer = r#"{ "fake" : [1.0E+2, "\u0061\/"],"\ud83d\ude00":null}"#;
    let frame = format!(
        r#"{{"action":"announce","info_hash":"{hash}","peer_id":"{from}","offers":[{{"offer_id":7,"offer":{offer}}}]}}"#
    );
    one.send(Message::text(frame)).await;
    assert_eq!(serde_json::from_str::<Value>(&one.hear().await).unwrap(), counts('h', 0, 2));
    let expected =
        format!(r#"{{"action":"announce","info_hash":"{hash}","peer_id":"{from}","offer":{offer},"offer_id":7}}"#);
    assert_eq!(other.hear().await, expected);
    let mut answer = announce('h', '\u{ff}');
    let fields = json!({ "to_peer_id": from, "offer_id": 7, "answer": [to] });
    answer.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    other.send(Message::text(answer.to_string())).await;
    let heard: Value = serde_json::from_str(&one.hear().await).unwrap();
    assert_eq!((&heard["peer_id"], &heard["answer"], &heard["offer_id"]), (&json!(to), &json!([to]), &json!(7)));

    // It says goodbye, so it is not waited for.
    b.stop().await;
    assert_eq!(one.ask(announce('h', 'a')).await, counts('h', 0, 1));
}
