//! What holds for every door of another system, on real sockets: nothing that a client sends disturbs another one.

use std::time::Duration;

use aldis::client::socket::{Message, Opening, Raw, upgrade};
use aldis::doors::Door;
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;

use crate::harness::{House, UPGRADE, within};

/// Where a client of each door goes.
const PATHS: [(Door, &str); 6] = [
    (Door::SocketSignal, "/socket-signal"),
    (Door::Dxos, "/.well-known/dx/signal"),
    (Door::WebTorrent, "/announce"),
    (Door::PeerJs, "/peerjs?key=peerjs&id=a&token=t"),
    (Door::PubSub, "/pubsub"),
    (Door::Matchbox, "/matchbox/room"),
];

async fn open(house: &House, path: &str) -> Raw {
    let stream = TcpStream::connect(house.address()).await.unwrap();
    let url = format!("ws://{}{path}", house.address());
    within("the upgrade", upgrade(stream, &url, Opening::default())).await.unwrap()
}

/// Whatever comes first that is not a ping; `None` when the socket is closed.
async fn hear(socket: &mut Raw) -> Option<Message> {
    loop {
        match within("a frame", socket.next()).await? {
            Ok(Message::Ping(_) | Message::Pong(_)) => {}
            Ok(Message::Close(_)) | Err(_) => return None,
            Ok(frame) => return Some(frame),
        }
    }
}

/// Frames that no protocol has.
fn nonsense() -> Vec<Message> {
    let texts = ["", "{", "null", "[]", "\"\"", "not json", "{\"type\":7}", "{\"action\":{}}", "\u{0}", "[[[[[[[[[["];
    let bytes: [&[u8]; 7] =
        [b"", b"\x00", b"\xff", &[0xff; 64], &[0x0a; 300], b"\x02\xff\xff\xff\xff\xff\xff\xff", b"\x80"];
    let deep = "[".repeat(60_000);
    let texts = texts.iter().map(|text| Message::text(*text)).chain([Message::text(deep)]);
    texts.chain(bytes.iter().map(|bytes| Message::binary(bytes.to_vec()))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_at_any_door_disturbs_nobody() {
    let house = House::start();
    let mut witness = open(&house, "/matchbox/witness").await;
    assert!(hear(&mut witness).await.is_some(), "no id");
    for (door, path) in PATHS {
        for frame in nonsense() {
            let mut socket = open(&house, path).await;
            // A door may close the socket of who sends this; the next one must find it open.
            if socket.send(frame.clone()).await.is_ok() {
                _ = tokio::time::timeout(Duration::from_millis(2), socket.next()).await;
            }
            drop(socket);
        }
        let opened = house.metric(&format!("aldis_door_sockets_total{{door=\"{door}\",what=\"opened\"}}")).await;
        assert!(opened >= nonsense().len() as f64, "{door}: {opened}");
    }
    // The witness is still there, and is told of a newcomer.
    let mut newcomer = open(&house, "/matchbox/witness").await;
    assert!(hear(&mut newcomer).await.is_some(), "no id");
    let told = hear(&mut witness).await.unwrap().into_text().unwrap();
    assert!(told.contains("NewPeer"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_is_not_on_the_list_comes_in_by_no_door() {
    let house = House::with(|config, _| config.origins = vec!["https://app.example".to_owned()]);
    for (door, path) in PATHS {
        let asked = |origin: &str| format!("{}origin: {origin}\r\n\r\n", UPGRADE.replace("/v1", path));
        let answer = house.ask(&asked("https://evil.example")).await;
        assert_eq!((answer.status, answer.code()), (403, "origin_not_allowed".to_owned()), "{door}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_door_that_is_shut_is_not_there() {
    let house = House::with(|config, _| config.doors = vec![Door::Matchbox]);
    let mut client = open(&house, "/matchbox/room").await;
    assert!(hear(&mut client).await.is_some(), "no id");
    for (door, path) in PATHS.into_iter().filter(|(door, _)| *door != Door::Matchbox) {
        let answer = house.get(path).await;
        assert_eq!(answer.status, 404, "{door}");
    }
}
