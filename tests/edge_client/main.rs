//! The Rust client against a host that follows a script: what goes over the socket, and what the application is told.
#![cfg(feature = "client")]
#![allow(clippy::disallowed_methods, reason = "a test of the outside world: sockets and deadlines")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod host;
mod sealed;

use aldis::client::{Client, ClientError, Event, Events, Options, Receipt};
use aldis_wire::edge::Status;
use futures_util::SinkExt;
use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

use host::{DEADLINE, Host, Socket, hex, peer};

async fn event(events: &mut Events) -> Event {
    timeout(DEADLINE, events.next()).await.expect("no event came").expect("the client has ended")
}

/// A client in a session as peer 3.
async fn connected(host: &Host, url: &str) -> (Client, Events, Socket) {
    let (client, socket) = tokio::join!(Client::connect(Options::at(url)), async {
        let (mut socket, _) = host.accept().await;
        socket.welcome(3, false).await;
        socket
    });
    let (client, events) = client.unwrap();
    assert_eq!(client.who().peer, peer(3));
    (client, events, socket)
}

fn signal(seq: u64, id: &str, data: &Value) -> Value {
    json!({"type": "signal", "seq": seq, "id": id, "from": hex(4), "topic": "t", "data": data})
}

#[tokio::test]
async fn a_signal_is_acknowledged_at_once_and_its_data_arrives_byte_for_byte() {
    let (host, url) = Host::start().await;
    let (_client, mut events, mut socket) = connected(&host, &url).await;
    let text = format!(r#"{{"type":"signal","seq":1,"id":"a","from":"{}","data":{{"b": 1.0,"a":"é\u0301"}}}}"#, hex(4));
    socket.0.send(Message::text(text)).await.unwrap();
    let Event::Signal { from, data, .. } = event(&mut events).await else { panic!("not a signal") };
    assert_eq!((from, data.as_str()), (peer(4), r#"{"b": 1.0,"a":"é\u0301"}"#));
    assert_eq!(socket.hear().await, json!({"type": "ack", "seq": 1}));
}

#[tokio::test]
async fn signals_that_come_together_are_acknowledged_together_and_an_answer_carries_it() {
    let (host, url) = Host::start().await;
    let (client, mut events, mut socket) = connected(&host, &url).await;
    for seq in 1..=10 {
        socket.0.feed(Message::text(signal(seq, &seq.to_string(), &json!(seq)).to_string())).await.unwrap();
    }
    socket.0.flush().await.unwrap();
    for n in 1..=10 {
        let Event::Signal { data, .. } = event(&mut events).await else { panic!("not a signal") };
        assert_eq!(data, n.to_string());
    }
    assert_eq!(socket.hear().await, json!({"type": "ack", "seq": 10}));
    socket.say(signal(11, "11", &json!(11))).await;
    let Event::Signal { id, from, .. } = event(&mut events).await else { panic!("not a signal") };
    let posted = client.post(from, None, "1").await.unwrap();
    let answer = socket.hear().await;
    assert_eq!((&answer["type"], &answer["ack"], id.as_str()), (&json!("signal"), &json!(11), "11"), "{answer}");
    socket.say(json!({"type": "receipt", "seq": 12, "id": posted.id(), "status": "delivered"})).await;
    assert_eq!(posted.receipt().await.unwrap(), Receipt { status: Status::Delivered, code: None });
}

#[tokio::test]
async fn an_application_that_reads_no_events_has_its_answers_all_the_same() {
    let (host, url) = Host::start().await;
    let (client, mut events, mut socket) = connected(&host, &url).await;
    let posting = tokio::spawn(async move { client.signal(peer(4), None, "1").await });
    // As many at once as the client keeps, and more: it waits for the application with one in its hand.
    let count = u64::try_from(aldis::client::EVENTS_MAX).unwrap() + 8;
    for seq in 1..=count {
        socket.0.feed(Message::text(signal(seq, &seq.to_string(), &json!(seq)).to_string())).await.unwrap();
    }
    socket.0.flush().await.unwrap();
    while socket.hear().await["type"] != "signal" {}
    for n in 1..=count {
        let Event::Signal { data, .. } = event(&mut events).await else { panic!("not a signal") };
        assert_eq!(data, n.to_string());
    }
    posting.abort();
}

#[tokio::test]
async fn after_a_broken_socket_the_session_is_resumed_what_was_open_is_asked_again_and_repetitions_are_dropped() {
    let (host, url) = Host::start().await;
    let (client, mut events, mut socket) = connected(&host, &url).await;
    socket.say(signal(1, "a", &json!(1))).await;
    assert!(matches!(event(&mut events).await, Event::Signal { .. }));
    let posted = client.post(peer(4), None, "\"offer\"").await.unwrap();
    let mut asked = socket.hear().await;
    assert_eq!(asked.as_object_mut().unwrap().remove("ack"), Some(json!(1)), "it is acknowledged by the answer");
    drop(socket);

    let (mut socket, hello) = host.accept().await;
    assert_eq!(hello["resume"], json!({"token": hex(9), "seq": 1}));
    socket.welcome(3, true).await;
    assert!(matches!(event(&mut events).await, Event::SocketLost { .. }));
    assert_eq!(event(&mut events).await, Event::Resumed);
    assert_eq!(socket.hear().await, asked, "the signal was not sent again under its id");
    socket.say(signal(1, "a", &json!(1))).await;
    socket.say(signal(2, "b", &json!(2))).await;
    socket.say(json!({"type": "receipt", "seq": 3, "id": asked["id"], "status": "delivered"})).await;
    let Event::Signal { id, .. } = event(&mut events).await else { panic!("not a signal") };
    assert_eq!(id, "b", "a repetition reached the application");
    assert_eq!(posted.receipt().await.unwrap(), Receipt { status: Status::Delivered, code: None });
}

#[tokio::test]
async fn when_the_session_is_lost_open_signals_end_as_unknown_topics_are_joined_again_and_old_signals_stay_dropped() {
    let (host, url) = Host::start().await;
    let (client, mut events, mut socket) = connected(&host, &url).await;
    let (joined, ()) = tokio::join!(client.join("t", None), async {
        let join = socket.hear().await;
        socket.say(json!({"type": "joined", "id": join["id"], "topic": "t", "peers": [], "total": 0})).await;
    });
    joined.unwrap();
    socket.say(signal(1, "a", &json!(1))).await;
    assert!(matches!(event(&mut events).await, Event::Signal { .. }));
    let posted = client.post(peer(4), None, "1").await.unwrap();
    while socket.hear().await["type"] != "signal" {}
    drop(socket);

    let (mut socket, _) = host.accept().await;
    socket.say(json!({"type": "error", "code": "session_lost", "message": "gone"})).await;
    assert_eq!(socket.hear().await, json!({"type": "hello"}));
    socket.welcome(5, false).await;
    assert_eq!(posted.receipt().await.unwrap().status, Status::Unknown);
    let join = socket.hear().await;
    assert_eq!((&join["type"], &join["topic"]), (&json!("join"), &json!("t")));
    let members = json!([{"peer": hex(4)}]);
    socket.say(json!({"type": "joined", "id": join["id"], "topic": "t", "peers": members, "total": 1})).await;
    socket.say(signal(1, "a", &json!(1))).await;
    socket.say(signal(2, "b", &json!(2))).await;
    assert!(matches!(event(&mut events).await, Event::SocketLost { .. }));
    assert_eq!(event(&mut events).await, Event::Renewed { peer: peer(5) });
    assert!(matches!(event(&mut events).await, Event::PeerJoined { peer: member, .. } if member == peer(4)));
    let Event::Signal { id, .. } = event(&mut events).await else { panic!("not a signal") };
    assert_eq!(id, "b", "a signal was delivered twice");
    assert_eq!(client.who().peer, peer(5));
}

#[tokio::test]
async fn signals_that_are_sent_again_keep_their_order_and_so_do_those_that_were_posted_without_a_socket() {
    let (host, url) = Host::start().await;
    let (client, mut events, socket) = connected(&host, &url).await;
    let mut posted = Vec::new();
    for n in 0..12 {
        posted.push(client.post(peer(4), None, &n.to_string()).await.unwrap());
    }
    drop(socket);
    assert!(matches!(event(&mut events).await, Event::SocketLost { .. }));
    for n in 12..24 {
        posted.push(client.post(peer(4), None, &n.to_string()).await.unwrap());
    }
    let (mut socket, _) = host.accept().await;
    socket.welcome(3, true).await;
    for n in 0..24 {
        assert_eq!(socket.hear().await["data"], n);
    }
}

#[tokio::test]
async fn a_signal_can_be_sent_again_under_its_id_once_it_has_its_receipt() {
    let (host, url) = Host::start().await;
    let (client, _events, mut socket) = connected(&host, &url).await;
    let first = client.post(peer(4), Some("t"), "1").await.unwrap();
    let asked = socket.hear().await;
    assert_eq!(asked["id"], first.id());
    let id = first.id().to_owned();
    let too_early = client.post_again(id.clone(), peer(4), Some("t"), "1").await.unwrap();
    assert!(matches!(too_early.receipt().await, Err(ClientError::BadInput(_))));
    socket.say(json!({"type": "receipt", "seq": 1, "id": id, "status": "unknown"})).await;
    assert_eq!(first.receipt().await.unwrap().status, Status::Unknown);
    let second = client.post_again(id, peer(4), Some("t"), "1").await.unwrap();
    assert_eq!(socket.hear().await, asked);
    socket.say(json!({"type": "receipt", "seq": 2, "id": second.id(), "status": "delivered"})).await;
    assert_eq!(second.receipt().await.unwrap().status, Status::Delivered);
    assert_eq!(client.who().ice_servers, "[]");
}

#[tokio::test]
async fn a_signal_ends_as_unknown_in_time_while_no_host_answers() {
    let (host, url) = Host::start().await;
    let (client, mut events, socket) = connected(&host, &url).await;
    let sent = client.post(peer(4), None, "1").await.unwrap();
    drop((host, socket));
    assert!(matches!(event(&mut events).await, Event::SocketLost { .. }));
    let unsent = client.post(peer(4), None, "2").await.unwrap();
    for posted in [sent, unsent] {
        let receipt = timeout(DEADLINE * 2, posted.receipt()).await.expect("no receipt");
        assert_eq!(receipt.unwrap().status, Status::Unknown);
    }
    drop(client);
}

#[tokio::test]
async fn a_replaced_session_does_not_come_back() {
    let (host, url) = Host::start().await;
    let (client, mut events, mut socket) = connected(&host, &url).await;
    socket.say(json!({"type": "error", "code": "replaced", "message": "newer"})).await;
    assert!(matches!(event(&mut events).await, Event::Closed { .. }));
    assert!(timeout(DEADLINE, events.next()).await.unwrap().is_none());
    assert!(client.join("t", None).await.is_err());
}

#[tokio::test]
async fn a_keyed_edge_signs_its_claim_and_answers_claim_old_with_a_higher_one() {
    let (host, url) = Host::start().await;
    let key = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
    let options = Options { key: Some(key.clone()), ..Options::at(&url) };
    let (client, ()) = tokio::join!(Client::connect(options), async {
        let (mut socket, hello) = host.accept().await;
        assert_eq!(hello["peer"], aldis_wire::hex::encode(key.verifying_key().as_bytes()));
        assert_eq!(hello["claim"]["counter"], 1);
        socket.say(json!({"type": "error", "code": "claim_old", "message": "", "known": 41})).await;
        assert_eq!(socket.hear().await["claim"]["counter"], 42);
        socket.welcome(6, false).await;
    });
    assert_eq!(client.unwrap().0.who().peer, peer(6));
}

#[tokio::test]
async fn nobody_at_the_gateway_is_one_clear_sentence() {
    let (host, url) = Host::start().await;
    drop(host);
    let error = Client::connect(Options::at(&url)).await.unwrap_err().to_string();
    assert_eq!(error, format!("{url}: Connection refused"));
}
