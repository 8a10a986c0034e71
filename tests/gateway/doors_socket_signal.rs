//! The door of socket-signal with a real machine behind it.

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::harness::{House, eventually, within};

/// As much of nanomessage-rpc as a test needs: ids below 64, bodies below 16 KiB.
struct Client(WebSocketStream<TcpStream>);

#[derive(Debug)]
struct Frame {
    id: u8,
    is_response: bool,
    flags: u8,
    name: String,
    data: Value,
}

fn key(n: u8) -> String {
    format!("base64:{}A=", char::from(b'a' + n).to_string().repeat(42))
}

/// A topic by its number, which is in its first two characters.
fn topic(n: usize) -> String {
    let digit = |n: usize| char::from(b'a' + u8::try_from(n).unwrap());
    format!("base64:{}{}{}=", digit(n / 16), digit(n % 16), "A".repeat(41))
}

fn put_counted(bytes: &[u8], out: &mut Vec<u8>) {
    let length = u16::try_from(bytes.len()).unwrap();
    out.extend([u8::try_from(length & 0x7f).unwrap() | 0x80, u8::try_from(length >> 7).unwrap()]);
    out.extend(bytes);
}

fn varint(bytes: &mut &[u8]) -> usize {
    let mut value = 0;
    for place in 0.. {
        let byte = bytes[0];
        *bytes = &bytes[1..];
        value |= usize::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            break;
        }
    }
    value
}

fn counted<'a>(bytes: &mut &'a [u8]) -> &'a [u8] {
    let length = varint(bytes);
    let (head, rest) = bytes.split_at(length);
    *bytes = rest;
    head
}

impl Client {
    async fn connect(house: &House) -> Self {
        let stream = TcpStream::connect(house.address()).await.unwrap();
        let request = format!("ws://{}/socket-signal/", house.address()).into_client_request().unwrap();
        Self(within("the upgrade", client_async(request, stream)).await.unwrap().0)
    }

    async fn joined(house: &House, topic: &str, id: &str) -> Self {
        let mut client = Self::connect(house).await;
        let answer = client.call("join", json!({ "topic": topic, "id": id })).await;
        assert_eq!(answer.flags, 1, "{answer:?}");
        client
    }

    async fn send(&mut self, header: u8, flags: u8, name: Option<&str>, data: &Value) {
        let mut body = vec![flags];
        if let Some(name) = name {
            put_counted(name.as_bytes(), &mut body);
        }
        put_counted(json!({ "data": data }).to_string().as_bytes(), &mut body);
        let mut bytes = vec![header];
        put_counted(&body, &mut bytes);
        within("room to send", self.0.send(Message::binary(bytes))).await.unwrap();
    }

    async fn hear(&mut self) -> Frame {
        loop {
            let message = within("a frame", self.0.next()).await.expect("the socket is closed").unwrap();
            let Message::Binary(bytes) = message else { continue };
            let mut bytes = &bytes[..];
            let header = u8::try_from(varint(&mut bytes) & 0xff).unwrap();
            let mut body = counted(&mut bytes);
            let (is_response, flags) = (header & 1 == 1, u8::try_from(varint(&mut body)).unwrap());
            let name = if is_response { "" } else { std::str::from_utf8(counted(&mut body)).unwrap() };
            let data = serde_json::from_slice::<Value>(counted(&mut body)).unwrap()["data"].take();
            return Frame { id: header >> 1, is_response, flags, name: name.to_owned(), data };
        }
    }

    async fn ask(&mut self, name: &str, data: Value) {
        self.send(1 << 1, 0, Some(name), &data).await;
    }

    async fn call(&mut self, name: &str, data: Value) -> Frame {
        self.ask(name, data).await;
        self.hear().await
    }

    async fn sees(&mut self, topic: &str) -> usize {
        self.call("lookup", json!({ "topic": topic })).await.data.as_array().unwrap().len()
    }
}

fn offer(topic: &str, remote: &str) -> Value {
    json!({ "topic": topic, "id": key(5), "remoteId": remote, "sessionId": key(4), "data": [] })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_answers_all_it_is_told_is_not_taken_for_one_that_floods() {
    let house = House::start();
    let mut called = Client::joined(&house, &topic(1), &key(1)).await;
    let mut caller = Client::connect(&house).await;
    // More than a socket may send of which the machine does not learn; less than the machine lets an edge ask at once.
    for _ in 0..400 {
        caller.send(1 << 1, 2, Some("signal"), &offer(&topic(1), &key(1))).await;
        assert_eq!(caller.hear().await.data, Value::Null);
        let told = called.hear().await;
        assert_eq!((told.flags, told.name.as_str(), &told.data), (2, "signal", &offer(&topic(1), &key(1))));
        called.send(told.id << 1 | 1, 1, None, &Value::Null).await;
    }
    assert_eq!(called.sees(&topic(1)).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_ends_with_the_socket_of_the_called_and_its_ids_are_free() {
    let house = House::start();
    let mut called = Client::joined(&house, &topic(1), &key(1)).await;
    let mut caller = Client::joined(&house, &topic(1), &key(2)).await;
    assert_eq!(caller.sees(&topic(1)).await, 2);
    caller.ask("offer", offer(&topic(1), &key(1))).await;
    assert_eq!(called.hear().await.name, "offer");
    drop(called);
    let answer = caller.hear().await;
    assert_eq!((answer.is_response, answer.flags, &answer.data["code"]), (true, 5, &json!("NMSG_ERR_CLOSE")));
    eventually("it is gone", async || caller.sees(&topic(1)).await == 1).await;
    let answer = caller.call("offer", offer(&topic(1), &key(1))).await;
    assert_eq!(answer.data["code"], "ERR_PEER_NOT_FOUND");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_may_be_in_31_swarms_and_is_told_when_it_wants_more() {
    let house = House::start();
    let mut client = Client::connect(&house).await;
    for n in 0..31 {
        let answer = client.call("socket-signal-join", json!({ "topic": topic(n), "id": key(1) })).await;
        assert_eq!((answer.flags, answer.data), (1, json!([key(1)])));
    }
    let answer = client.call("socket-signal-join", json!({ "topic": topic(31), "id": key(1) })).await;
    assert_eq!((answer.flags, &answer.data["code"]), (5, &json!("NRPC_ERR_RESPONSE_ERROR")));
    assert_eq!(client.sees(&topic(31)).await, 0);
    let mut caller = Client::connect(&house).await;
    for (n, session) in [(0, key(4)), (30, key(3))] {
        assert_eq!(caller.sees(&topic(n)).await, 1);
        let mut offer = offer(&topic(n), &key(1));
        offer["sessionId"] = session.into();
        caller.ask("offer", offer).await;
        let asked = client.hear().await;
        assert_eq!(asked.name, "offer");
        client.send(asked.id << 1 | 1, 1, None, &json!("yes")).await;
        assert_eq!(caller.hear().await.data, "yes");
    }
    let answer = caller.call("offer", offer(&topic(31), &key(1))).await;
    assert_eq!(answer.data["code"], "ERR_PEER_NOT_FOUND");
}
