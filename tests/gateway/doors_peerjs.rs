//! What clients of `PeerJS` find at one host.

use std::net::SocketAddr;
use std::time::Duration;

use aldis::client::socket::Message;
use futures_util::{SinkExt, StreamExt};

use crate::harness::{House, eventually, within};
use crate::peerjs_client::{OPEN, PeerJs, TAKEN, expire, frame};

/// So often an address may open a socket.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A client whose id is taken until it can be had.
async fn open_at_last(host: SocketAddr, id: &str, token: &str) -> PeerJs {
    loop {
        let mut client = PeerJs::knock(host, id, token).await;
        match &*client.hear().await {
            OPEN => return client,
            told => assert_eq!(told, TAKEN),
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

fn get(path: &str, headers: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}\r\n")
}

#[tokio::test]
async fn the_http_calls_answer_as_the_original() {
    let house = House::start();
    let page = "origin: https://app.example\r\n";
    let id = house.ask(&get("/peerjs/id?ts=17.5&version=1.5.5", page)).await;
    assert_eq!((id.status, id.body.len()), (200, 36), "{id:?}");
    assert!(id.has_header("content-type: text/html") && id.has_header("vary: origin"), "{}", id.head);
    assert!(id.has_header("access-control-allow-origin: https://app.example"), "{}", id.head);
    assert_ne!(house.get("/anykey/id").await.body, id.body);
    let peers = house.ask(&get("/peerjs/peers", page)).await;
    assert_eq!((peers.status, &*peers.body), (401, "Unauthorized"));
    assert!(peers.has_header("access-control-allow-origin: https://app.example"), "{}", peers.head);
    assert_eq!(house.get("/peerjs?key=k&id=i&token=t").await.status, 426, "the place of a WebSocket");
}

#[tokio::test]
async fn pages_of_other_origins_are_kept_out_where_some_are_named() {
    let house = House::with(|config, _| config.origins = vec!["https://app.example".to_owned()]);
    let upgrade = "upgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\n\
                   sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    for (origin, id_status, socket_status) in [("https://app.example", 200, 101), ("https://evil.example", 403, 403)] {
        let origin = format!("origin: {origin}\r\n");
        assert_eq!(house.ask(&get("/peerjs/id", &origin)).await.status, id_status, "{origin}");
        let path = "/peerjs?key=peerjs&id=a&token=t";
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n{upgrade}{origin}\r\n");
        let mut stream = tokio::net::TcpStream::connect(house.address()).await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes()).await.unwrap();
        let mut begin = [0; 12];
        within("an answer", tokio::io::AsyncReadExt::read_exact(&mut stream, &mut begin)).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&begin), format!("HTTP/1.1 {socket_status}"), "{origin}");
    }
}

#[tokio::test]
async fn ids_are_listed_where_the_operator_says_so() {
    let house = House::with(|config, _| config.peerjs_discovery = true);
    assert_eq!(house.get("/peerjs/peers").await.body, "[]");
    let _anna = PeerJs::open(house.address(), "anna", "t").await;
    let _bert = PeerJs::open(house.address(), "bert+%22x%22", "t").await;
    let other = PeerJs::knock_with(house.address(), "key=other&id=carl&token=t").await;
    eventually("all are listed", async || {
        house.get("/other/peers").await.body == r#"["carl"]"#
            && house.get("/peerjs/peers").await.body == r#"["anna","bert \"x\""]"#
    })
    .await;
    other.leave().await;
    eventually("who left is not listed", async || house.get("/other/peers").await.body == "[]").await;
}

#[tokio::test]
async fn a_socket_without_id_token_or_key_is_told_so_and_closed_without_a_code() {
    let house = House::start();
    for query in ["", "key=peerjs&id=a", "id=a&token=t"] {
        let mut client = PeerJs::knock_with(house.address(), query).await;
        let words = "No id, token, or key supplied to websocket server";
        assert_eq!(client.hear().await, format!(r#"{{"type":"ERROR","payload":{{"msg":"{words}"}}}}"#));
        let end = within("a close frame", client.socket.next()).await;
        assert!(matches!(end, Some(Ok(Message::Close(None)))), "{end:?}");
    }
}

#[tokio::test]
async fn what_clients_send_goes_through_and_what_they_must_not_say_does_not() {
    let house = House::start();
    let mut anna = PeerJs::open(house.address(), "anna", "a").await;
    let mut bert = PeerJs::open(house.address(), "bert", "b").await;
    let payload = r#"{ "sdp":{"type":"offer","sdp":"v=0\r\n"},"metadata":1.50,"e":"\u00e9é"}"#;
    anna.say(format!(r#"{{"src":"carl","type":"OFFER","more":[{{}}],"payload":{payload},"dst":"bert"}}"#)).await;
    anna.send("CANDIDATE", "bert", "{\"n\":1}").await;
    anna.say(r#"{"type":"LEAVE","dst":"bert"}"#).await;
    assert_eq!(bert.hear().await, frame("OFFER", "anna", "bert", payload));
    assert_eq!(bert.hear().await, frame("CANDIDATE", "anna", "bert", "{\"n\":1}"));
    assert_eq!(bert.hear().await, r#"{"type":"LEAVE","src":"anna","dst":"bert"}"#);
    bert.send("ANSWER", "anna", "null ").await;
    bert.send("ANSWER", "anna", "[]").await;
    assert_eq!(anna.hear().await, r#"{"type":"ANSWER","src":"bert","dst":"anna"}"#);
    assert_eq!(anna.hear().await, frame("ANSWER", "bert", "anna", "[]"));
}

#[tokio::test]
async fn an_id_is_free_when_its_socket_was_closed_and_waits_for_the_grace_when_it_broke() {
    let house = House::with(|config, settings| {
        settings.grace = Duration::from_secs(2);
        config.grace = settings.grace;
    });
    let first = PeerJs::open(house.address(), "me", "one").await;
    assert_eq!(PeerJs::knock(house.address(), "me", "two").await.hear().await, TAKEN);
    first.leave().await;
    let second = open_at_last(house.address(), "me", "two").await;
    let left = std::time::Instant::now();
    drop(second);
    eventually("the socket is gone", async || house.gateway.sockets() == 0).await;
    assert_eq!(PeerJs::knock(house.address(), "me", "three").await.hear().await, TAKEN);
    let _third = open_at_last(house.address(), "me", "three").await;
    assert!(left.elapsed() >= Duration::from_secs(2), "{:?}", left.elapsed());
}

#[tokio::test]
async fn who_comes_back_with_the_token_is_open_again_and_has_what_was_sent_meanwhile() {
    let house = House::start();
    let mut bert = PeerJs::open(house.address(), "bert", "b").await;
    for round in 0..3 {
        let anna = PeerJs::open(house.address(), "anna", "a").await;
        drop(anna);
        eventually("the socket is gone", async || house.gateway.sockets() == 1).await;
        bert.send("OFFER", "anna", &round.to_string()).await;
        bert.send("CANDIDATE", "anna", "[]").await;
        let mut anna = PeerJs::open(house.address(), "anna", "a").await;
        assert_eq!(anna.hear().await, frame("OFFER", "bert", "anna", &round.to_string()));
        assert_eq!(anna.hear().await, frame("CANDIDATE", "bert", "anna", "[]"));
        // Also while the old socket still seems to live.
        let mut newer = PeerJs::open(house.address(), "anna", "a").await;
        assert_eq!(anna.next().await, None, "the old one is closed");
        bert.send("ANSWER", "anna", "7").await;
        assert_eq!(newer.hear().await, frame("ANSWER", "bert", "anna", "7"));
        newer.leave().await;
    }
}

#[tokio::test]
async fn who_is_not_there_is_waited_for() {
    let house = House::start();
    let mut anna = PeerJs::open(house.address(), "anna", "a").await;
    for n in 0..20 {
        anna.send("CANDIDATE", "late", &n.to_string()).await;
    }
    anna.send("OFFER", "never", "1").await;
    let begun = std::time::Instant::now();
    let mut late = PeerJs::open(house.address(), "late", "l").await;
    for n in 0..20 {
        assert_eq!(late.hear().await, frame("CANDIDATE", "anna", "late", &n.to_string()));
    }
    assert_eq!(anna.hear().await, expire("never", "anna"));
    assert!(begun.elapsed() > Duration::from_secs(4), "{:?}", begun.elapsed());
    late.send("ANSWER", "anna", "1").await;
    assert_eq!(anna.hear().await, frame("ANSWER", "late", "anna", "1"), "one EXPIRE and no more");
}

#[tokio::test]
async fn garbage_of_every_layer_disturbs_nobody() {
    let house = House::start();
    let mut anna = PeerJs::open(house.address(), "anna", "a").await;
    let mut bert = PeerJs::open(house.address(), "bert", "b").await;
    let mut evil = PeerJs::open(house.address(), "evil", "e").await;
    let deep = format!(r#"{{"type":"OFFER","dst":"bert","payload":{}{}}}"#, "[".repeat(9_000), "]".repeat(9_000));
    let frames = [
        "not json",
        "null",
        "[]",
        "{}",
        "7",
        "\"\"",
        "{\"type\":null}",
        "{\"type\":\"OFFER\"}",
        &deep,
        r#"{"type":"OFFER","dst":{},"payload":{}}"#,
        r#"{"type":"OFFER","dst":"bert","payload":{}"#,
        r#"{"type":"OPEN","dst":"bert"}"#,
        r#"{"type":"__proto__","dst":"bert"}"#,
        "\u{0}",
        "{\"type\":\"HEARTBEAT\"}",
    ];
    for frame in frames {
        evil.say(frame).await;
    }
    for bytes in [&b"\xff\xfe"[..], b"", b"{\"type\":\"OFFER\",\"dst\":\"bert\"}\xff"] {
        evil.socket.send(Message::binary(bytes.to_vec())).await.unwrap();
    }
    evil.send("OFFER", "bert", "\"after all that\"").await;
    assert_eq!(bert.hear().await, frame("OFFER", "evil", "bert", "\"after all that\""), "the first that it hears");
    // What is too large ends its own socket.
    _ = evil.socket.send(Message::text("x".repeat(100_000))).await;
    let told = evil.hear().await;
    assert!(told.starts_with(r#"{"type":"ERROR""#), "{told}");
    assert_eq!(evil.next().await, None);
    let mut flood = PeerJs::open(house.address(), "flood", "f").await;
    for _ in 0..2_000 {
        if flood.socket.send(Message::text("nonsense")).await.is_err() {
            break;
        }
    }
    while flood.next().await.is_some() {}
    anna.send("OFFER", "bert", "1").await;
    assert_eq!(bert.hear().await, frame("OFFER", "anna", "bert", "1"));
}
