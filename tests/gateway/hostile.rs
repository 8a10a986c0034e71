//! What hostile edges send, on real sockets: each gets its typed answer, and nobody else notices.

use std::time::{Duration, Instant};

use aldis::client::socket::Message;
use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::edge::{Bystanders, Edge};
use crate::harness::{House, UPGRADE, eventually, within};

const NOBODY: &str = "00000000000000000000000000000000000000000000000000000000000000aa";

#[tokio::test]
async fn text_that_is_not_a_message_is_answered_and_the_session_goes_on() {
    let house = House::start();
    let mut others = Bystanders::of(&house).await;
    let mut edge = Edge::connect(&house).await;
    for (text, code) in [
        ("hello", "malformed"),
        ("", "malformed"),
        ("[\"ping\"]", "malformed"),
        ("{\"type\":\"ping\"", "malformed"),
        ("{}", "bad_field"),
        ("{\"type\":7}", "bad_field"),
        ("{\"type\":\"join\",\"id\":\"1\"}", "bad_field"),
        ("{\"type\":\"join\",\"topic\":\"t\"}", "bad_field"),
        ("{\"type\":\"fly\",\"id\":\"1\"}", "unknown_type"),
        ("{\"type\":\"signal\",\"id\":\"1\",\"to\":\"me\",\"data\":1}", "bad_field"),
    ] {
        edge.say_text(text.to_owned()).await;
        assert_eq!(edge.error().await, code, "{text}");
    }
    edge.say(&json!({ "type": "ping" })).await;
    edge.hear_type("pong").await;
    others.go_on().await;
}

#[tokio::test]
async fn a_binary_frame_is_answered_with_bad_frame() {
    let house = House::start();
    let mut others = Bystanders::of(&house).await;
    let mut edge = Edge::connect(&house).await;
    edge.socket.send(Message::binary(vec![0; 100])).await.unwrap();
    assert_eq!(edge.error().await, "bad_frame");
    edge.say(&json!({ "type": "ping" })).await;
    edge.hear_type("pong").await;
    assert!(house.metric("aldis_edge_refusals_total{refusal=\"bad_frame\"}").await >= 1.0);
    others.go_on().await;
}

#[tokio::test]
async fn text_that_is_not_utf8_is_told_so_and_closed_with_1007() {
    let house = House::start();
    let mut others = Bystanders::of(&house).await;
    let (words, code) = sent_raw(&house, &[0x81, 0x82, 0, 0, 0, 0, 0xff, 0xfe]).await;
    assert!(words.contains("\"malformed\""), "{words}");
    assert_eq!(code, 1007);
    others.go_on().await;
}

#[tokio::test]
async fn bytes_that_are_no_websocket_frame_are_closed_with_1002() {
    let house = House::start();
    let mut others = Bystanders::of(&house).await;
    for bytes in [
        // A reserved bit; an unknown opcode; no mask; a control frame in two parts.
        &[0xf1, 0x80, 0, 0, 0, 0][..],
        &[0x83, 0x80, 0, 0, 0, 0],
        &[0x81, 0x02, b'h', b'i'],
        &[0x09, 0x80, 0, 0, 0, 0],
    ] {
        let (words, code) = sent_raw(&house, bytes).await;
        assert!(words.contains("\"bad_frame\""), "{bytes:?}: {words}");
        assert_eq!(code, 1002, "{bytes:?}");
    }
    others.go_on().await;
}

/// Sends bytes over an open WebSocket; all text that comes back, and the close code.
async fn sent_raw(house: &House, bytes: &[u8]) -> (String, u16) {
    let mut stream = TcpStream::connect(house.address()).await.unwrap();
    stream.write_all(format!("{UPGRADE}\r\n").as_bytes()).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    _ = within("the end of the socket", stream.read_to_end(&mut answer)).await;
    let close = answer.windows(2).rposition(|pair| pair[0] == 0x88).expect("a close frame");
    let code = u16::from_be_bytes([answer[close + 2], answer[close + 3]]);
    (String::from_utf8_lossy(&answer).into_owned(), code)
}

#[tokio::test]
async fn deep_nesting_is_a_typed_error() {
    let house = House::start();
    let mut others = Bystanders::of(&house).await;
    let mut edge = Edge::connect(&house).await;
    for depth in [65, 30_000] {
        let data = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        edge.say_text(format!("{{\"type\":\"signal\",\"id\":\"deep\",\"to\":\"{NOBODY}\",\"data\":{data}}}")).await;
        let error = edge.hear_type("error").await;
        assert_eq!((&error["id"], &error["code"]), (&json!("deep"), &json!("bad_field")));
    }
    edge.say_text("{\"a\":".repeat(13_000)).await;
    assert_eq!(edge.error().await, "malformed");
    others.go_on().await;
}

#[tokio::test]
async fn data_beyond_the_limit_is_refused_by_its_id_and_a_frame_beyond_it_closes_the_socket() {
    let house = House::start();
    let mut others = Bystanders::of(&house).await;
    let mut edge = Edge::connect(&house).await;
    let signal = |bytes: usize| json!({ "type": "signal", "id": "big", "to": NOBODY, "data": "x".repeat(bytes - 2) });
    edge.say(&signal(65_536)).await;
    assert_eq!(edge.hear_type("receipt").await["code"], "no_such_peer");
    edge.say(&signal(65_537)).await;
    let error = edge.hear_type("error").await;
    assert_eq!((&error["id"], &error["code"]), (&json!("big"), &json!("too_big")));
    // The host closes before it has read all of this.
    _ = edge.socket.send(Message::text("x".repeat(200_000))).await;
    assert_eq!(edge.error().await, "too_big");
    assert_eq!(edge.close_code().await, Some(1009));
    others.go_on().await;
}

#[tokio::test]
async fn whoever_does_not_say_hello_is_told_so_and_closed_after_five_seconds() {
    let house = House::start();
    let mut others = Bystanders::of(&house).await;
    let begun = Instant::now();
    let mut edge = Edge::greeted(&house).await;
    let mut eager = Edge::greeted(&house).await;
    eager.say(&json!({ "type": "join", "id": "1", "topic": "t" })).await;
    assert_eq!(eager.error().await, "hello_expected");
    assert_eq!(edge.error().await, "hello_timeout");
    assert!(begun.elapsed() > Duration::from_millis(4_900), "{:?}", begun.elapsed());
    assert!(edge.close_code().await.is_some());
    others.go_on().await;
}

#[tokio::test]
async fn a_wrong_token_restores_nothing_and_the_socket_stays_usable() {
    let house = House::start();
    let mut victim = Edge::in_topic(&house, "t").await;
    let mut edge = Edge::greeted(&house).await;
    for guess in [NOBODY, &victim.peer.clone()] {
        edge.say(&json!({ "type": "hello", "resume": { "token": guess, "seq": 0 } })).await;
        assert_eq!(edge.error().await, "session_lost");
    }
    edge.say(&json!({ "type": "hello", "resume": { "token": "short", "seq": 0 } })).await;
    assert_eq!(edge.error().await, "bad_field");
    edge.hello().await;
    assert_ne!(edge.peer, victim.peer);
    victim.say(&json!({ "type": "ping" })).await;
    victim.hear_type("pong").await;
}

#[tokio::test]
async fn a_forged_sender_is_overwritten_by_the_true_one() {
    let house = House::start();
    let mut others = Bystanders::of(&house).await;
    let mut edge = Edge::connect(&house).await;
    let forged = json!({ "type": "signal", "to": others.there.peer, "from": others.here.peer, "seq": 1, "data": 1 });
    edge.request(forged).await;
    assert_eq!(others.there.hear_type("signal").await["from"], json!(edge.peer));
    others.there.acknowledge().await;
    assert_eq!(edge.hear_type("receipt").await["status"], "delivered");
    others.go_on().await;
}

#[tokio::test]
async fn an_edge_may_be_in_thirty_two_topics_and_no_more() {
    let house = House::start();
    let mut others = Bystanders::of(&house).await;
    let mut edge = Edge::connect(&house).await;
    for n in 0..32 {
        assert_eq!(edge.ask(json!({ "type": "join", "topic": format!("t{n}") })).await["type"], "joined");
    }
    let refused = edge.ask(json!({ "type": "join", "topic": "one more" })).await;
    assert_eq!((&refused["type"], &refused["code"]), (&json!("error"), &json!("too_many_topics")));
    assert_eq!(edge.ask(json!({ "type": "leave", "topic": "t0" })).await["type"], "left");
    assert_eq!(edge.ask(json!({ "type": "join", "topic": "one more" })).await["type"], "joined");
    others.go_on().await;
}

#[tokio::test]
async fn joins_and_leaves_in_haste_are_slowed_down_before_they_reach_other_hosts() {
    let house = House::start();
    let mut edge = Edge::connect(&house).await;
    let begun = Instant::now();
    let mut refused = 0;
    for _ in 0..100 {
        let answer = edge.ask(json!({ "type": "join", "topic": "t" })).await;
        refused += u32::from(answer["code"] == "rate_limited");
        edge.ask(json!({ "type": "leave", "topic": "t" })).await;
    }
    // What changes nothing is free: a leave after a refused join.
    let allowed = 64 + 5 * (u32::try_from(begun.elapsed().as_secs()).unwrap() + 1);
    assert!(refused >= 100 - allowed.min(100), "{refused} of 100 joins refused, {allowed} might have been allowed");
}

#[tokio::test]
async fn a_flood_of_messages_is_refused_by_the_edges_own_bucket() {
    let house = House::start();
    let mut others = Bystanders::of(&house).await;
    let edge = Edge::connect(&house).await;
    let (mut writing, mut reading) = edge.socket.split();
    let flood = tokio::spawn(async move {
        for n in 0..5_000 {
            let text = format!("{{\"type\":\"discover\",\"id\":\"{n}\",\"topic\":\"t\"}}");
            if writing.feed(Message::text(text)).await.is_err() {
                return;
            }
        }
        _ = writing.flush().await;
    });
    let (mut served, mut limited) = (0, 0);
    let counting = async {
        while served + limited < 5_000 {
            let Some(Ok(message)) = reading.next().await else { break };
            let text = message.into_text().unwrap();
            served += u32::from(text.contains("\"peers\""));
            limited += u32::from(text.contains("\"rate_limited\""));
        }
    };
    within("the end of the flood", counting).await;
    within("the flood is written", flood).await.unwrap();
    assert!((1_000..2_500).contains(&served), "{served} served, {limited} limited");
    assert!(limited > 0);
    others.go_on().await;
}

#[tokio::test]
async fn thousands_of_signals_to_absent_peers_are_refused_one_by_one() {
    let house = House::with(|_, settings| settings.edge_rate.burst = 10_000);
    let mut others = Bystanders::of(&house).await;
    let edge = Edge::connect(&house).await;
    let (mut writing, mut reading) = edge.socket.split();
    let flood = tokio::spawn(async move {
        for n in 0..3_000_u32 {
            let data = "x".repeat(1_000);
            let to = format!("{n:064x}");
            let text = json!({ "type": "signal", "id": n.to_string(), "to": to, "data": data, "ack": n }).to_string();
            writing.feed(Message::text(text)).await.unwrap();
        }
        writing.flush().await.unwrap();
        writing
    });
    let mut refused = 0;
    let counting = async {
        while refused < 3_000 {
            let text = reading.next().await.unwrap().unwrap().into_text().unwrap();
            if text.contains("\"receipt\"") || text.contains("\"error\"") {
                assert!(text.contains("\"no_such_peer\"") || text.contains("\"rate_limited\""), "{text}");
                refused += 1;
            }
        }
    };
    within("three thousand answers", counting).await;
    drop(flood.await.unwrap());
    others.go_on().await;
}

#[tokio::test]
async fn edges_of_one_address_and_of_one_ipv6_network_are_counted_together() {
    let house = House::with(|config, settings| {
        config.trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
        settings.edges_per_address_max = 4;
    });
    for (same, other) in [
        (["203.0.113.1"; 5], "203.0.113.2"),
        (
            ["2001:db8:1:2::1", "2001:db8:1:2::2", "2001:db8:1:2:3::", "2001:db8:1:2::4", "2001:db8:1:2:ffff::5"],
            "2001:db8:1:3::1",
        ),
    ] {
        let mut edges = Vec::new();
        for address in &same[..4] {
            let mut edge = Edge::greeted_from(&house, Some(address)).await;
            edge.hello().await;
            edges.push(edge);
        }
        let mut one_more = Edge::unheard(&house, Some(same[4])).await;
        assert_eq!(one_more.error().await, "too_many_edges");
        assert!(one_more.close_code().await.is_some());
        Edge::greeted_from(&house, Some(other)).await.hello().await;
        // A place is free again when an edge has gone.
        edges.pop().unwrap().say(&json!({ "type": "bye" })).await;
        eventually("a free place", async || {
            let mut edge = Edge::unheard(&house, Some(same[0])).await;
            edge.hear().await["type"] == "greeting"
        })
        .await;
    }
}

#[tokio::test]
async fn sockets_that_come_too_fast_from_one_address_are_refused() {
    let house = House::with(|config, settings| {
        config.trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
        settings.address_open_rate.burst = 20;
        settings.address_open_rate.per_second = 1;
    });
    let mut others = Bystanders::of(&house).await;
    let mut refused = 0;
    for _ in 0..40 {
        let mut edge = Edge::unheard(&house, Some("203.0.113.1")).await;
        let first = edge.hear().await;
        refused += u32::from(first["type"] == "error");
        if first["type"] == "error" {
            assert!(["rate_limited", "too_many_edges"].contains(&first["code"].as_str().unwrap()), "{first}");
        }
    }
    assert!((15..=20).contains(&refused), "{refused} of 40 refused");
    others.go_on().await;
}

#[tokio::test]
async fn an_edge_that_never_reads_is_cut_and_nobody_else_waits() {
    let house = House::with(|config, settings| {
        config.timing.write = Duration::from_millis(1_500);
        settings.edge_change_rate.burst = 1_000;
    });
    let mut others = Bystanders::of(&house).await;
    let mut crowd = Vec::new();
    for _ in 0..64 {
        let mut edge = Edge::connect(&house).await;
        let meta = "m".repeat(1_000);
        edge.ask(json!({ "type": "join", "topic": "crowd", "meta": meta })).await;
        crowd.push(edge);
    }
    let mut deaf = Edge::connect(&house).await;
    // 900 answers of 70 KiB, and not one of them is read.
    let asking = async {
        for n in 0..900 {
            let text = json!({ "type": "discover", "id": n.to_string(), "topic": "crowd", "limit": 64 }).to_string();
            if deaf.socket.send(Message::text(text)).await.is_err() {
                break;
            }
        }
    };
    let before = house.gateway.sockets();
    let watching = async {
        let mut slowest = Duration::ZERO;
        while house.gateway.sockets() >= before {
            slowest = slowest.max(others.go_on().await);
            // Below the hundred requests a second that an edge may make.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        slowest
    };
    let ((), slowest) = within("the deaf edge is cut", async { tokio::join!(asking, watching) }).await;
    assert!(slowest < Duration::from_millis(1_200), "a bystander waited {slowest:?}");
    drop(crowd);
}

#[tokio::test]
async fn more_pings_than_anybody_needs_close_the_socket() {
    let house = House::start();
    let mut others = Bystanders::of(&house).await;
    let mut edge = Edge::connect(&house).await;
    for _ in 0..500 {
        if edge.socket.send(Message::Ping(vec![1; 100].into())).await.is_err() {
            break;
        }
    }
    assert_eq!(edge.error().await, "rate_limited");
    assert_eq!(edge.close_code().await, Some(1008));
    others.go_on().await;
}

#[tokio::test]
async fn a_silent_edge_is_pinged_and_one_that_does_not_answer_is_closed() {
    let house = House::with(|config, _| config.timing.heartbeat = Duration::from_millis(200));
    // Reading answers pings by itself.
    let mut alive = Edge::connect(&house).await;
    let dead = Edge::connect(&house).await;
    assert_eq!(house.gateway.sockets(), 2);
    let begun = Instant::now();
    let listening = alive.hears_nothing_for(Duration::from_secs(2));
    let closing = eventually("the dead one is closed", async || house.gateway.sockets() == 1);
    let (quiet, ()) = tokio::join!(listening, closing);
    assert!(quiet, "an edge that answers pings hears nothing else");
    assert!(begun.elapsed() >= Duration::from_millis(490));
    alive.say(&json!({ "type": "ping" })).await;
    alive.hear_type("pong").await;
    drop(dead);
}
