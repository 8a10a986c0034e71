//! A client of socket-signal as simple as it can be; the tests of whole hosts use it too.

use std::net::SocketAddr;
use std::time::Duration;

use aldis::client::socket::{Message, Opening, Raw, upgrade};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;

/// A test waits so long for what must happen.
const DEADLINE: Duration = Duration::from_secs(30);

pub(crate) struct Client(Raw);

/// Flags: 0 action, 2 event, 1 result, 5 error. A response has no name.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) id: u32,
    pub(crate) flags: u8,
    pub(crate) name: String,
    pub(crate) json: String,
}

/// A buffer of 32 bytes, by a small number.
pub(crate) fn key(n: u8) -> String {
    format!("base64:{}A=", char::from(b'a' + n).to_string().repeat(42))
}

/// The fields of a call to somebody.
pub(crate) fn offer(topic: &str, remote: &str) -> Value {
    json!({ "topic": topic, "id": key(5), "remoteId": remote, "sessionId": key(4), "data": [] })
}

fn put(mut value: usize, out: &mut Vec<u8>) {
    while value > 0x7f {
        out.push(0x80 | u8::try_from(value & 0x7f).unwrap());
        value >>= 7;
    }
    out.push(u8::try_from(value).unwrap());
}

fn put_counted(bytes: &[u8], out: &mut Vec<u8>) {
    put(bytes.len(), out);
    out.extend(bytes);
}

fn number(bytes: &mut &[u8]) -> usize {
    let length = bytes.iter().position(|byte| byte & 0x80 == 0).unwrap() + 1;
    let (head, rest) = bytes.split_at(length);
    *bytes = rest;
    head.iter().rev().fold(0, |value, byte| value << 7 | usize::from(byte & 0x7f))
}

fn counted(bytes: &mut &[u8]) -> String {
    let length = number(bytes);
    let (head, rest) = bytes.split_at(length);
    *bytes = rest;
    String::from_utf8(head.to_vec()).unwrap()
}

impl Frame {
    pub(crate) fn data(&self) -> Value {
        serde_json::from_str::<Value>(&self.json).unwrap()["data"].take()
    }

    pub(crate) fn code(&self) -> String {
        assert_eq!(self.flags, 5, "{self:?}");
        self.data()["code"].as_str().unwrap().to_owned()
    }
}

impl Client {
    pub(crate) async fn connect(host: SocketAddr) -> Self {
        let stream = TcpStream::connect(host).await.unwrap();
        let url = format!("ws://{host}/socket-signal/");
        let opened =
            tokio::time::timeout(DEADLINE, upgrade(stream, &url, Opening::default())).await.expect("no upgrade");
        Self(opened.unwrap())
    }

    pub(crate) async fn joined(host: SocketAddr, topic: &str, id: &str) -> Self {
        let mut client = Self::connect(host).await;
        let answer = client.call("join", json!({ "topic": topic, "id": id })).await;
        assert_eq!(answer.flags, 1, "{answer:?}");
        client
    }

    async fn send(&mut self, header: usize, mut body: Vec<u8>, json: &str) {
        put_counted(json.as_bytes(), &mut body);
        let mut bytes = Vec::new();
        put(header, &mut bytes);
        put_counted(&body, &mut bytes);
        let sending = self.0.send(Message::binary(bytes));
        tokio::time::timeout(DEADLINE, sending).await.expect("no room to send").unwrap();
    }

    /// Sends request 1.
    pub(crate) async fn request(&mut self, flags: u8, name: &str, json: &str) {
        let mut body = vec![flags];
        put_counted(name.as_bytes(), &mut body);
        self.send(2, body, json).await;
    }

    pub(crate) async fn respond(&mut self, id: u32, flags: u8, json: &str) {
        self.send(usize::try_from(id).unwrap() << 1 | 1, vec![flags], json).await;
    }

    pub(crate) async fn hear(&mut self) -> Frame {
        loop {
            let message = tokio::time::timeout(DEADLINE, self.0.next()).await.expect("nothing is said");
            let Message::Binary(bytes) = message.expect("the socket is closed").unwrap() else { continue };
            let mut bytes = &bytes[..];
            let header = number(&mut bytes);
            let length = number(&mut bytes);
            assert_eq!(bytes.len(), length);
            let flags = u8::try_from(number(&mut bytes)).unwrap();
            let name = if header & 1 == 1 { String::new() } else { counted(&mut bytes) };
            return Frame { id: u32::try_from(header >> 1).unwrap(), flags, name, json: counted(&mut bytes) };
        }
    }

    pub(crate) async fn ask(&mut self, name: &str, data: Value) {
        self.request(0, name, &json!({ "data": data }).to_string()).await;
    }

    pub(crate) async fn call(&mut self, name: &str, data: Value) -> Frame {
        self.ask(name, data).await;
        self.hear().await
    }

    /// How many the client finds in a topic.
    pub(crate) async fn sees(&mut self, topic: &str) -> usize {
        self.call("lookup", json!({ "topic": topic })).await.data().as_array().unwrap().len()
    }
}
