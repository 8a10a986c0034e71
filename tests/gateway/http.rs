//! Plain HTTP: pages, health, the management view, and what is refused before there is a WebSocket.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use aldis::net::admin::{Ready, Status};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::harness::{House, UPGRADE, allow_many_sockets, eventually, within};

#[tokio::test]
async fn pages_are_served_with_their_types_and_a_policy() {
    let house = House::start();
    for (path, kind) in [
        ("/", "text/html"),
        ("/demo.css", "text/css"),
        ("/demo.js", "text/javascript"),
        ("/lamp.js", "text/javascript"),
        ("/lamp.svg", "image/svg+xml"),
        ("/aldis.js", "text/javascript"),
    ] {
        let answer = house.get(path).await;
        assert_eq!(answer.status, 200, "{path}");
        assert!(answer.has_header(&format!("content-type: {kind}")), "{path}: {}", answer.head);
        assert!(answer.has_header("cache-control: no-cache"), "{path}");
        assert!(answer.has_header("content-security-policy: default-src 'self'; connect-src 'self' ws: wss:"));
        assert!(answer.body.len() > 100, "{path}");
    }
    // The library's parts, of which it imports every one.
    for part in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/web/aldis")).unwrap() {
        let path = format!("/aldis/{}", part.unwrap().file_name().to_str().unwrap());
        let answer = house.get(&path).await;
        assert_eq!(answer.status, 200, "{path}");
        assert!(answer.has_header("content-type: text/javascript"), "{path}: {}", answer.head);
        assert!(answer.has_header("access-control-allow-origin: *"), "{path}");
    }
    assert_eq!(house.get("/../Cargo.toml").await.status, 404);
    assert_eq!(house.get("/nothing").await.status, 404);
}

#[tokio::test]
async fn health_readiness_status_and_metrics_answer() {
    let house = House::start();
    assert_eq!(house.get("/healthz").await.status, 200);
    let ready = house.get("/readyz").await;
    assert_eq!(ready.status, 200);
    let ready: Ready = serde_json::from_str(&ready.body).unwrap();
    assert!(ready.takes_edges && ready.links == 0);

    let answer = house.get("/api/status").await;
    assert!(answer.has_header("access-control-allow-origin: *"), "{}", answer.head);
    let status: Status = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(status.host, house.host);
    assert_eq!((status.network.name.as_str(), status.network.version), ("gateway-test", 1));
    assert_eq!(status.network.tag, house.network.tag.to_string());

    let metrics = house.get("/metrics").await;
    assert!(metrics.has_header("content-type: application/openmetrics-text"));
    assert!(metrics.body.contains("\naldis_edges 0\n"), "{}", metrics.body);
}

#[tokio::test]
async fn what_a_status_says_of_the_network_inside_is_for_those_inside() {
    let house = House::start();
    let asked = async |more: &str| {
        let answer = house.ask(&format!("GET /api/status HTTP/1.1\r\n{more}connection: close\r\n\r\n")).await;
        serde_json::from_str::<Status>(&answer.body).unwrap().reach.mapping.len()
    };
    assert_eq!(asked("host: 127.0.0.1:8400\r\n").await, 1);
    assert_eq!(asked("host: relay.example\r\n").await, 0, "a name: by a proxy, or one that was made to lead here");
    assert_eq!(asked("host: 127.0.0.1:8400\r\norigin: https://evil.example\r\n").await, 0, "somebody's page");
}

#[tokio::test]
async fn a_host_that_goes_away_says_so_and_refuses_new_edges() {
    let house = House::start();
    house.takes_edges.store(false, Ordering::Release);
    let ready = house.get("/readyz").await;
    assert_eq!(ready.status, 503);
    assert!(!serde_json::from_str::<Ready>(&ready.body).unwrap().takes_edges);
    let answer = house.ask(&format!("{UPGRADE}connection: close\r\n\r\n")).await;
    assert_eq!((answer.status, answer.code().as_str()), (503, "closing"));
    assert_eq!(house.get("/healthz").await.status, 200, "the process still serves");
}

#[tokio::test]
async fn a_page_of_another_origin_is_refused_by_name_before_the_upgrade() {
    let house = House::with(|config, _| config.origins = vec!["https://app.example".to_owned()]);
    for origin in ["https://evil.example", "null", "http://app.example"] {
        let answer = house.ask(&format!("{UPGRADE}origin: {origin}\r\n\r\n")).await;
        assert_eq!((answer.status, answer.code().as_str()), (403, "origin_not_allowed"), "{origin}");
    }
    assert!(house.metric("aldis_edge_refusals_total{refusal=\"origin_not_allowed\"}").await >= 3.0);
    for head in ["origin: https://app.example\r\n", ""] {
        assert_eq!(upgraded(&house, head).await, 101, "{head}");
    }
}

#[tokio::test]
async fn the_subprotocol_is_chosen_when_offered_and_not_needed_by_plain_tools() {
    let house = House::start();
    assert_eq!(upgraded(&house, "").await, 101);
    assert_eq!(upgraded(&house, "sec-websocket-protocol: aldis.v1\r\n").await, 101);
    assert_eq!(upgraded(&house, "sec-websocket-protocol: later, aldis.v1\r\n").await, 101);
    let answer = house.ask(&format!("{UPGRADE}sec-websocket-protocol: mqtt\r\n\r\n")).await;
    assert_eq!((answer.status, answer.code().as_str()), (400, "bad_field"));
    let answer = house.get("/v1").await;
    assert_eq!((answer.status, answer.code().as_str()), (426, "malformed"));
}

#[tokio::test]
async fn compression_is_never_negotiated() {
    let house = House::start();
    let mut stream = TcpStream::connect(house.address()).await.unwrap();
    let offer = "sec-websocket-extensions: permessage-deflate; client_max_window_bits\r\n";
    stream.write_all(format!("{UPGRADE}{offer}\r\n").as_bytes()).await.unwrap();
    let mut head = String::new();
    let reading = async {
        while !head.ends_with("\r\n\r\n") {
            head.push(char::from(stream.read_u8().await.unwrap()));
        }
    };
    within("an answer", reading).await;
    assert!(head.starts_with("HTTP/1.1 101") && !head.to_ascii_lowercase().contains("extensions"), "{head}");
}

/// The status of the answer to an upgrade with these headers more.
async fn upgraded(house: &House, more: &str) -> u16 {
    let mut stream = TcpStream::connect(house.address()).await.unwrap();
    stream.write_all(format!("{UPGRADE}{more}\r\n").as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    within("an answer", stream.read_exact(&mut answer)).await.unwrap();
    std::str::from_utf8(&answer[9..]).unwrap().parse().unwrap()
}

#[tokio::test]
async fn headers_that_come_too_slowly_are_cut_off_and_others_are_served_meanwhile() {
    let house = House::with(|config, _| config.timing.headers = Duration::from_millis(300));
    let mut slow = TcpStream::connect(house.address()).await.unwrap();
    let begun = Instant::now();
    slow.write_all(b"GET /healthz HTTP/1.1\r\n").await.unwrap();
    let dripping = async {
        while slow.write_all(b"a: b\r\n").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let honest = async { house.get("/healthz").await.status };
    let ((), status) = tokio::join!(within("the slow one is cut", dripping), honest);
    assert_eq!(status, 200);
    assert!(begun.elapsed() >= Duration::from_millis(250), "cut before its time");
}

#[tokio::test]
async fn headers_without_end_are_refused() {
    let house = House::start();
    let many = "x: y\r\n".repeat(100);
    let answer = house.ask(&format!("GET /healthz HTTP/1.1\r\nhost: localhost\r\n{many}\r\n")).await;
    assert_eq!(answer.status, 431);
    let long = "x".repeat(20_000);
    let answer = house.ask(&format!("GET /healthz HTTP/1.1\r\nhost: localhost\r\nx: {long}\r\n\r\n")).await;
    assert_eq!(answer.status, 431);
}

#[tokio::test]
async fn connections_that_never_ask_are_bounded_by_address_and_told_so() {
    let house = House::start();
    let mut waiting = Vec::new();
    for _ in 0..256 {
        waiting.push(TcpStream::connect(house.address()).await.unwrap());
    }
    // The 257th is told at once, whatever it sends.
    let mut one_more = TcpStream::connect(house.address()).await.unwrap();
    let mut answer = String::new();
    within("an answer", one_more.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("\"too_many_edges\""), "{answer}");
    drop(waiting);
    eventually("the places are free again", async || house.get("/healthz").await.status == 200).await;
}

#[tokio::test]
async fn a_thousand_slow_connections_of_one_address_hold_up_nobody_else() {
    allow_many_sockets();
    let house = House::start();
    let mut slow = Vec::new();
    for _ in 0..1_000 {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        let mut stream = socket.connect(house.address()).await.unwrap();
        // Those beyond 256 are turned away.
        _ = stream.write_all(b"GET /healthz HTTP/1.1\r\nx-slow: ").await;
        slow.push(stream);
    }
    let mut slowest = Duration::ZERO;
    for _ in 0..100 {
        let begun = Instant::now();
        assert_eq!(upgraded(&house, "").await, 101);
        slowest = slowest.max(begun.elapsed());
    }
    assert!(slowest < Duration::from_secs(1), "an honest edge waited {slowest:?}");
}

#[tokio::test]
async fn a_connection_that_only_waits_is_closed_after_the_deadline() {
    let house = House::with(|config, _| config.timing.headers = Duration::from_millis(100));
    let mut silent = TcpStream::connect(house.address()).await.unwrap();
    let mut answer = Vec::new();
    within("the silent one is closed", silent.read_to_end(&mut answer)).await.unwrap();
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 408"), "{}", String::from_utf8_lossy(&answer));
}
