//! The door of dxos on real sockets, byte by byte: protobuf is written and read by hand here.

#![allow(
    clippy::cast_possible_truncation,
    reason = "numbers of these tests are small, and of noise the low bits will do"
)]

use std::sync::atomic::Ordering;

use aldis::client::socket::{Message, Opening, Raw, upgrade};
use axum::body::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;

use crate::harness::{House, eventually, within};

const PATH: &str = "/.well-known/dx/signal";

/// A field of protobuf with bytes in it. All numbers here are below 16.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    let mut length = bytes.len();
    while length > 127 {
        out.push((length & 127) as u8 | 128);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend_from_slice(bytes);
    out
}

/// A field with a number below 128 in it.
fn small(number: u8, value: u8) -> Vec<u8> {
    vec![number << 3, value]
}

/// The fields of a message: their numbers, and what is in them.
fn fields(mut bytes: &[u8]) -> Vec<(u8, Bytes)> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let end = bytes.iter().position(|byte| byte & 128 == 0).unwrap();
        let (number, rest) = bytes.split_at(end + 1);
        *bytes = rest;
        number.iter().rev().fold(0, |value, byte| value << 7 | u64::from(byte & 127))
    }
    let mut out = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes) as u8;
        let value = varint(&mut bytes);
        let content = if key & 7 == 2 {
            let (content, rest) = bytes.split_at(value as usize);
            bytes = rest;
            Bytes::copy_from_slice(content)
        } else {
            Bytes::copy_from_slice(&value.to_be_bytes())
        };
        out.push((key >> 3, content));
    }
    out
}

fn get(bytes: &[u8], number: u8) -> Bytes {
    fields(bytes).into_iter().find(|(found, _)| *found == number).map(|(_, content)| content).unwrap_or_default()
}

fn request(id: u8, method: &str, payload: &[u8]) -> Vec<u8> {
    let stream = if method == "SendMessage" { vec![] } else { small(4, 1) };
    let any = [field(1, b".t"), field(2, payload)].concat();
    let method = format!("dxos.mesh.signal.Signal.{method}");
    field(1, &[small(1, id), field(2, method.as_bytes()), field(3, &any), stream].concat())
}

fn join(id: u8, swarm: u8, peer: u8) -> Vec<u8> {
    request(id, "Join", &[field(1, &[swarm; 32]), field(2, &[peer; 32])].concat())
}

fn receive(id: u8, peer: u8) -> Vec<u8> {
    request(id, "ReceiveMessages", &field(1, &[peer; 32]))
}

fn a_message(to: u8, value: &[u8]) -> Vec<u8> {
    let payload = [field(1, b"t"), field(2, value)].concat();
    // The last one is of a schema that we do not know.
    [field(1, &[1; 32]), field(2, &[to; 32]), field(3, &payload), field(9, b"new")].concat()
}

fn send(id: u8, to: u8, value: &[u8]) -> Vec<u8> {
    request(id, "SendMessage", &a_message(to, value))
}

/// What a client gets.
#[derive(Clone, Debug, PartialEq)]
enum Got {
    Ready(u8),
    Came(u8, u8),
    Left(u8, u8),
    Message(u8, Bytes),
    Done(u8),
    Failed(u8, String),
}

struct Client(Raw);

impl Client {
    async fn connect(house: &House) -> Self {
        let stream = TcpStream::connect(house.address()).await.unwrap();
        let url = format!("ws://{}{PATH}", house.address());
        Self(within("the upgrade", upgrade(stream, &url, Opening::default())).await.unwrap())
    }

    async fn say(&mut self, frame: Vec<u8>) {
        within("room for a frame", self.0.send(Message::binary(frame))).await.unwrap();
    }

    async fn hear(&mut self) -> Got {
        loop {
            match within("a frame", self.0.next()).await.unwrap().unwrap() {
                Message::Binary(frame) => return read(&frame),
                Message::Ping(_) => {}
                other => panic!("neither a ping nor binary: {other:?}"),
            }
        }
    }

    /// Asks for a stream, and waits until it is ready.
    async fn open(&mut self, frame: Vec<u8>) {
        self.say(frame).await;
        let got = self.hear().await;
        assert!(matches!(got, Got::Ready(_)), "{got:?}");
    }
}

fn read(frame: &[u8]) -> Got {
    let response = get(frame, 2);
    let id = get(&response, 1).last().copied().unwrap_or(0);
    match fields(&response).last().unwrap() {
        (5, _) => Got::Ready(id),
        (3, error) => Got::Failed(id, String::from_utf8(get(error, 1).to_vec()).unwrap()),
        (2, any) => match &*String::from_utf8(get(any, 1).to_vec()).unwrap() {
            "google.protobuf.Empty" => Got::Done(id),
            ".dxos.mesh.signal.Message" => Got::Message(id, get(any, 2)),
            ".dxos.mesh.signal.SwarmEvent" => {
                let (kind, event) = fields(&get(any, 2)).remove(0);
                let peer = get(&event, 1)[0];
                if kind == 1 { Got::Came(id, peer) } else { Got::Left(id, peer) }
            }
            other => panic!("a payload of type {other}"),
        },
        other => panic!("an answer of kind {other:?}"),
    }
}

#[tokio::test]
async fn an_ordinary_request_is_told_whether_the_host_is_ready() {
    let house = House::start();
    assert_eq!(house.get(PATH).await.status, 200);
    house.takes_edges.store(false, Ordering::Release);
    assert_eq!(house.get(PATH).await.status, 503);
}

#[tokio::test]
async fn peers_see_each_other_come_and_leave_and_exchange_bytes() {
    let house = House::start();
    let (mut a, mut b) = (Client::connect(&house).await, Client::connect(&house).await);
    a.open(join(1, 7, 10)).await;
    b.open(join(0, 7, 11)).await;
    assert_eq!(b.hear().await, Got::Came(0, 10));
    assert_eq!(a.hear().await, Got::Came(1, 11));
    b.open(receive(2, 11)).await;
    a.0.send(Message::text("__ping__")).await.unwrap();
    a.say(send(3, 11, b"hello")).await;
    assert_eq!(a.hear().await, Got::Done(3));
    assert_eq!(b.hear().await, Got::Message(2, a_message(11, b"hello").into()), "every byte of it");
    // The end of the stream of `join`, and of nothing else.
    b.say(vec![0x2a, 0x00]).await;
    assert_eq!(a.hear().await, Got::Left(1, 11));
    a.say(send(4, 11, b"still there")).await;
    assert!(matches!(b.hear().await, Got::Message(2, _)));
}

#[tokio::test]
async fn messages_arrive_in_the_order_in_which_they_were_sent() {
    let house = House::start();
    let (mut a, mut b) = (Client::connect(&house).await, Client::connect(&house).await);
    b.open(receive(0, 11)).await;
    for n in 0..100 {
        a.say(send(n, 11, &[n])).await;
    }
    for n in 0..100 {
        assert_eq!(b.hear().await, Got::Message(0, a_message(11, &[n]).into()));
        assert_eq!(a.hear().await, Got::Done(n));
    }
}

#[tokio::test]
async fn a_socket_that_closes_leaves_no_session_behind_that_would_swallow_messages() {
    let house = House::start();
    let (mut a, mut b) = (Client::connect(&house).await, Client::connect(&house).await);
    b.open(receive(0, 11)).await;
    drop(b);
    eventually("the session is over", async || house.hub.view().sessions == 1).await;
    let mut again = Client::connect(&house).await;
    again.open(receive(5, 11)).await;
    a.say(send(1, 11, b"hello")).await;
    assert_eq!(a.hear().await, Got::Done(1));
    assert!(matches!(again.hear().await, Got::Message(5, _)));
}

/// Noise that is the same in every run.
fn noise(seed: &mut u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed
}

#[tokio::test(flavor = "multi_thread")]
async fn spoiled_frames_of_every_kind_disturb_nobody() {
    let house = House::start();
    let (mut a, mut b) = (Client::connect(&house).await, Client::connect(&house).await);
    b.open(receive(0, 11)).await;
    let mut seed = 0x0dd5_eed5_eed5_eed5;
    let whole = [join(1, 7, 10), receive(2, 10), send(3, 10, b"x"), vec![0x2a, 0x02, 0x08, 0x01], vec![0x18, 0x01]];
    for round in 0..10 {
        let mut hostile = Client::connect(&house).await;
        for _ in 0..200 {
            let mut frame = whole[noise(&mut seed) as usize % whole.len()].clone();
            for _ in 0..=noise(&mut seed) % 3 {
                let at = noise(&mut seed) as usize % frame.len();
                frame[at] = noise(&mut seed) as u8;
            }
            frame.truncate(frame.len() - noise(&mut seed) as usize % 3);
            // It may be closed for flooding, or because a frame says goodbye.
            if hostile.0.send(Message::binary(frame)).await.is_err() {
                break;
            }
        }
        a.say(send(round, 11, b"undisturbed")).await;
        assert_eq!(a.hear().await, Got::Done(round));
        assert!(matches!(b.hear().await, Got::Message(0, _)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn large_messages_to_nobody_are_not_kept_and_too_many_are_told_so() {
    let house = House::start();
    let (mut a, mut b) = (Client::connect(&house).await, Client::connect(&house).await);
    b.open(receive(0, 11)).await;
    let large = send(1, 99, &[0; 60_000]);
    let mut failed = false;
    for _ in 0..1_500 {
        a.say(large.clone()).await;
    }
    for _ in 0..1_500 {
        match a.hear().await {
            Got::Done(1) => {}
            Got::Failed(1, name) if name == "RATE_LIMIT_EXCEEDED" => failed = true,
            other => panic!("{other:?}"),
        }
    }
    assert!(failed, "nothing was refused");
    let mut c = Client::connect(&house).await;
    c.say(send(2, 11, b"undisturbed")).await;
    assert_eq!(c.hear().await, Got::Done(2));
    assert!(matches!(b.hear().await, Got::Message(0, _)));
}

#[tokio::test]
async fn a_message_that_is_too_big_is_refused_and_the_largest_is_not() {
    let house = House::start();
    let (mut a, mut b) = (Client::connect(&house).await, Client::connect(&house).await);
    b.open(receive(0, 11)).await;
    let length = |value: usize| a_message(11, &vec![0; value]).len();
    let largest = (65_000..65_529).rev().find(|value| length(*value) <= 65_529).unwrap();
    assert_eq!(length(largest), 65_529);
    a.say(send(1, 11, &vec![0; largest])).await;
    assert_eq!(a.hear().await, Got::Done(1));
    assert_eq!(b.hear().await, Got::Message(0, a_message(11, &vec![0; largest]).into()));
    a.say(send(2, 11, &vec![0; largest + 1])).await;
    assert_eq!(a.hear().await, Got::Failed(2, "TOO_BIG".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_asks_to_be_told_everything_sixteen_times_is_cut_when_that_becomes_too_much() {
    let house = House::start();
    // Each comes as sixteen peers with sixteen streams; the first is told least at once.
    for newcomer in 0..64 {
        let mut client = Client::connect(&house).await;
        for own in 0..16 {
            let key = [[newcomer; 16], [own; 16]].concat();
            client.say(request(own, "Join", &[field(1, &[7; 32]), field(2, &key)].concat())).await;
        }
        let mut ready = 0;
        while ready < 16 {
            match within("a frame", client.0.next()).await.unwrap().unwrap() {
                Message::Binary(frame) => ready += usize::from(matches!(read(&frame), Got::Ready(_))),
                Message::Close(Some(close)) => {
                    assert_eq!((u16::from(close.code), close.reason.as_str()), (1008, "too_slow"));
                    assert!(newcomer > 4, "cut as number {newcomer}");
                    return;
                }
                other => panic!("{other:?}"),
            }
        }
        tokio::spawn(async move { while let Some(Ok(_)) = client.0.next().await {} });
    }
    panic!("nobody was cut");
}
