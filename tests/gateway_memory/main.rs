//! What edges cost the host in memory. A process of its own, since memory is counted by process, and one test, since
//! its parts must not run at once.

#![cfg(feature = "net")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test may fail by panic, and it has clocks and sockets"
)]
#![allow(dead_code, reason = "the harness serves several tests")]

#[path = "../gateway/edge.rs"]
mod edge;
#[path = "../gateway/harness.rs"]
mod harness;
#[path = "../gateway/peerjs_client.rs"]
mod peerjs_client;

use std::time::{Duration, Instant};

use aldis::client::socket::Message;
use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use edge::{Bystanders, Edge};
use harness::{House, UPGRADE, allow_many_sockets, eventually, within};
use peerjs_client::PeerJs;

/// What a flood may take, its clients in this process included.
const GROWTH_BYTES_MAX: usize = 5 << 20;

/// Bytes of memory that this process has resident: now (`VmRSS`), or at most since [`forget_peak`] (`VmHWM`).
fn resident_bytes(field: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() << 10
}

/// From here on the kernel notes the peak anew.
fn forget_peak() {
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_edges_are_small_and_floods_leave_memory_flat() {
    allow_many_sockets();
    absent_ids().await;
    floods().await;
    // Last: what it frees would hide what a flood takes.
    idle_edges().await;
}

/// The attack that grew the original `PeerJS` server by hundreds of MB.
async fn absent_ids() {
    const SOCKETS: usize = 20;
    const OFFERS: usize = 5_000;
    let house = House::with(|_, settings| {
        settings.edge_rate.burst = 100_000;
        settings.address_rate.burst = 1_000_000;
    });
    let payload = format!("\"{}\"", "x".repeat(60_000));
    let mut clients = Vec::new();
    for n in 0..SOCKETS {
        let mut client = PeerJs::open(house.address(), &format!("evil{n}"), "t").await;
        // Brings the buffers of both ends to the size of such a frame: nobody knows this type, and nothing is kept.
        client.send("NOTHING", "absent", &payload).await;
        client.send("OFFER", &format!("evil{n}"), "1").await;
        assert!(client.hear().await.contains("OFFER"), "a client hears itself");
        clients.push(client);
    }
    forget_peak();
    let before = resident_bytes("VmRSS");
    let mut expired = 0;
    for n in 0..OFFERS {
        let client = &mut clients[n % SOCKETS];
        client.send("OFFER", &format!("absent{n}"), &payload).await;
        if n >= 4 * SOCKETS {
            assert!(client.hear().await.contains("EXPIRE"));
            expired += 1;
        }
    }
    let growth = resident_bytes("VmHWM").saturating_sub(before);
    println!("{OFFERS} offers to absent ids: {growth} bytes more at its peak, {expired} refused at once");
    assert!(growth < GROWTH_BYTES_MAX, "{growth} bytes");
}

async fn floods() {
    let house = House::with(|config, settings| {
        config.timing.write = Duration::from_millis(500);
        settings.edge_rate.burst = 100_000;
        settings.address_rate.burst = 1_000_000;
        settings.address_open_rate.burst = 100_000;
        settings.edge_change_rate.burst = 1_000;
    });
    let mut others = Bystanders::of(&house).await;
    for (name, round) in [
        ("signals to absent peers", 0),
        ("garbage", 1),
        ("oversized messages", 2),
        ("sockets that say nothing", 3),
        ("a reader that never reads", 4),
    ] {
        // The first time brings buffers and tables to the size that they keep.
        flood(&house, round).await;
        let begun = Instant::now();
        forget_peak();
        let before = resident_bytes("VmRSS");
        flood(&house, round).await;
        others.go_on().await;
        let growth = resident_bytes("VmHWM").saturating_sub(before);
        println!("{name}: {growth} bytes more at its peak, {:?}", begun.elapsed());
        assert!(growth < GROWTH_BYTES_MAX, "{name} took {growth} bytes");
    }
}

async fn idle_edges() {
    let house = House::with(|_, settings| {
        settings.edges_per_address_max = 10_000;
        settings.address_open_rate.burst = 100_000;
        settings.address_rate.burst = 100_000;
    });
    let mut edges = Vec::new();
    for _ in 0..200 {
        edges.push(idle_edge(&house).await);
    }
    let before = resident_bytes("VmRSS");
    for _ in 0..2_000 {
        edges.push(idle_edge(&house).await);
    }
    eventually("all sockets are open", async || house.gateway.sockets() == 2_200).await;
    let each = (resident_bytes("VmRSS") - before) / 2_000;
    println!("{each} bytes per idle edge");
    assert!(each < 8 << 10, "{each} bytes");
}

/// An edge in one topic, on a bare socket: a real client would be counted too.
async fn idle_edge(house: &House) -> std::net::TcpStream {
    let mut stream = TcpStream::connect(house.address()).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream.write_all(format!("{UPGRADE}\r\n").as_bytes()).await.unwrap();
    read_until(&mut stream, "greeting").await;
    for text in ["{\"type\":\"hello\"}", "{\"type\":\"discover\",\"id\":\"1\",\"topic\":\"t\"}"] {
        let mut frame = vec![0x81, 0x80 | u8::try_from(text.len()).unwrap(), 0, 0, 0, 0];
        frame.extend_from_slice(text.as_bytes());
        stream.write_all(&frame).await.unwrap();
    }
    read_until(&mut stream, "\"peers\"").await;
    // Its own part of the memory is the kernel's alone now.
    stream.into_std().unwrap()
}

async fn read_until(stream: &mut TcpStream, word: &str) {
    let mut heard = Vec::new();
    let reading = async {
        while !String::from_utf8_lossy(&heard).contains(word) {
            assert_ne!(stream.read_buf(&mut heard).await.unwrap(), 0, "{}", String::from_utf8_lossy(&heard));
        }
    };
    within(word, reading).await;
}

async fn flood(house: &House, round: u32) {
    let sockets = house.gateway.sockets();
    match round {
        0 => {
            messages(house, 5_000, |n| {
                json!({ "type": "signal", "id": n.to_string(), "to": format!("{n:064x}"), "data": "x".repeat(2_000),
                        "ack": n })
                .to_string()
            })
            .await;
        }
        1 => messages(house, 5_000, |n| format!("{n} is not JSON {}", "x".repeat(1_000))).await,
        2 => {
            for _ in 0..100 {
                let mut edge = Edge::connect(house).await;
                _ = edge.socket.send(Message::text("x".repeat(1 << 20))).await;
                while edge.socket.next().await.is_some_and(|frame| frame.is_ok()) {}
            }
        }
        3 => {
            let mut silent = Vec::new();
            for _ in 0..500 {
                silent.push(TcpStream::connect(house.address()).await.unwrap());
                let upgrade = format!("{UPGRADE}\r\n");
                _ = silent.last_mut().unwrap().write_all(upgrade.as_bytes()).await;
            }
        }
        _ => {
            let mut deaf = Vec::new();
            for _ in 0..5 {
                let mut edge = Edge::connect(house).await;
                let meta = "m".repeat(1_000);
                edge.ask(json!({ "type": "join", "topic": "crowd", "meta": meta })).await;
                deaf.push(edge);
            }
            for edge in &mut deaf {
                let text = json!({ "type": "discover", "id": "1", "topic": "crowd", "limit": 64 }).to_string();
                let asking = async { while edge.socket.send(Message::text(text.clone())).await.is_ok() {} };
                within("the deaf edge is cut", asking).await;
            }
        }
    }
    eventually("the flood is over", async || house.gateway.sockets() <= sockets).await;
}

/// Sends so many messages on one socket and reads everything that comes back.
async fn messages(house: &House, count: u32, text: impl Fn(u32) -> String + Send + 'static) {
    let edge = Edge::connect(house).await;
    let (mut writing, mut reading) = edge.socket.split();
    let reader = tokio::spawn(async move {
        let mut heard = 0;
        while let Some(Ok(frame)) = reading.next().await {
            heard += u32::from(frame.is_text());
        }
        heard
    });
    for n in 0..count {
        if writing.send(Message::text(text(n))).await.is_err() {
            break;
        }
    }
    _ = writing.send(Message::text("{\"type\":\"bye\"}")).await;
    assert_eq!(within("the host closes", reader).await.unwrap(), count, "each has its answer");
}
