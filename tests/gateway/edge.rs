//! An edge of these tests, on the raw side of the library's socket: it must be able to say what no client says, and to say
//! nothing, and reads messages without the code that wrote them.

use std::net::SocketAddr;
use std::time::Duration;

use aldis::client::socket::{Message, Opening, Raw, upgrade};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpSocket;

use crate::harness::{House, within};

/// A connected edge.
pub(crate) struct Edge {
    pub(crate) socket: Raw,
    pub(crate) peer: String,
    pub(crate) token: String,
    /// The last seq that came.
    pub(crate) seq: u64,
    ids: u64,
}

impl Edge {
    /// A socket that has been greeted.
    pub(crate) async fn greeted(house: &House) -> Self {
        Self::greeted_from(house, None).await
    }

    /// The same, from another address as a trusted proxy tells it.
    pub(crate) async fn greeted_from(house: &House, address: Option<&str>) -> Self {
        let mut edge = Self::unheard(house, address).await;
        let greeting = edge.hear().await;
        assert_eq!(greeting["type"], "greeting", "{greeting}");
        edge
    }

    /// An edge with a session, at any host.
    pub(crate) async fn connect_to(host: SocketAddr) -> Self {
        let mut edge = Self::open(host, None).await;
        assert_eq!(edge.hear().await["type"], "greeting");
        edge.hello().await;
        edge
    }

    /// A socket from which nothing has been read.
    pub(crate) async fn unheard(house: &House, address: Option<&str>) -> Self {
        Self::open(house.address(), address).await
    }

    async fn open(host: SocketAddr, address: Option<&str>) -> Self {
        // Left alone, the kernel would read 32 MiB ahead of an edge that does not read.
        let stream = TcpSocket::new_v4().unwrap();
        stream.set_recv_buffer_size(64 << 10).unwrap();
        let stream = stream.connect(host).await.unwrap();
        let headers: Vec<_> = address.map(|address| ("x-forwarded-for", address)).into_iter().collect();
        let (url, opening) = (format!("ws://{host}/v1"), Opening { headers: &headers, ..Opening::default() });
        let socket = within("the upgrade", upgrade(stream, &url, opening)).await.unwrap();
        Self { socket, peer: String::new(), token: String::new(), seq: 0, ids: 0 }
    }

    /// An edge with a session.
    pub(crate) async fn connect(house: &House) -> Self {
        let mut edge = Self::greeted(house).await;
        edge.hello().await;
        edge
    }

    /// The same, in a topic.
    pub(crate) async fn in_topic(house: &House, topic: &str) -> Self {
        let mut edge = Self::connect(house).await;
        let joined = edge.ask(json!({ "type": "join", "topic": topic })).await;
        assert_eq!(joined["type"], "joined", "{joined}");
        edge
    }

    pub(crate) async fn hello(&mut self) {
        self.say(&json!({ "type": "hello" })).await;
        let welcome = self.hear().await;
        assert_eq!(welcome["type"], "welcome", "{welcome}");
        self.peer = welcome["peer"].as_str().unwrap().to_owned();
        self.token = welcome["resume"].as_str().unwrap().to_owned();
    }

    pub(crate) async fn say(&mut self, message: &Value) {
        self.say_text(message.to_string()).await;
    }

    pub(crate) async fn say_text(&mut self, text: String) {
        within("room to write", self.socket.send(Message::text(text))).await.unwrap();
    }

    /// The next message.
    pub(crate) async fn hear(&mut self) -> Value {
        within("a message", self.next()).await.expect("the socket is open")
    }

    /// The next message; `None` when the socket is closed.
    pub(crate) async fn next(&mut self) -> Option<Value> {
        let text = self.next_text().await?;
        let message: Value = serde_json::from_str(&text).unwrap();
        if let Some(seq) = message["seq"].as_u64() {
            self.seq = seq;
        }
        Some(message)
    }

    /// The next message as it came; `None` when the socket is closed.
    pub(crate) async fn next_text(&mut self) -> Option<String> {
        loop {
            match self.socket.next().await?.ok()? {
                Message::Text(text) => return Some(text.to_string()),
                Message::Close(_) => return None,
                _ => {}
            }
        }
    }

    /// The next message of a type; others are passed over.
    pub(crate) async fn hear_type(&mut self, kind: &str) -> Value {
        loop {
            let message = self.hear().await;
            if message["type"] == kind {
                return message;
            }
        }
    }

    /// Sends a request under a fresh id and waits for the answer.
    pub(crate) async fn ask(&mut self, request: Value) -> Value {
        let id = self.request(request).await;
        loop {
            let message = self.hear().await;
            if message["id"] == id.as_str() {
                return message;
            }
        }
    }

    /// Sends a request under a fresh id, which is returned.
    pub(crate) async fn request(&mut self, mut request: Value) -> String {
        self.ids += 1;
        let id = format!("{}-{}", self.peer.get(..8).unwrap_or_default(), self.ids);
        request["id"] = json!(id);
        self.say(&request).await;
        id
    }

    /// Acknowledges everything that has come.
    pub(crate) async fn acknowledge(&mut self) {
        self.say(&json!({ "type": "ack", "seq": self.seq })).await;
    }

    /// The code of the next error.
    pub(crate) async fn error(&mut self) -> String {
        self.hear_type("error").await["code"].as_str().unwrap().to_owned()
    }

    /// Reads to the end; the close code, if there was one.
    pub(crate) async fn close_code(&mut self) -> Option<u16> {
        let mut code = None;
        let reading = async {
            while let Some(Ok(message)) = self.socket.next().await {
                if let Message::Close(frame) = message {
                    code = frame.map(|frame| frame.code.into());
                }
            }
        };
        within("the end of the socket", reading).await;
        code
    }

    /// Whether anything comes within so long.
    pub(crate) async fn hears_nothing_for(&mut self, so_long: Duration) -> bool {
        tokio::time::timeout(so_long, self.next()).await.is_err()
    }
}

/// Two edges who have nothing to do with what happens, and must not notice it.
pub(crate) struct Bystanders {
    pub(crate) here: Edge,
    pub(crate) there: Edge,
}

impl Bystanders {
    pub(crate) async fn of(house: &House) -> Self {
        Self { here: Edge::in_topic(house, "bystanders").await, there: Edge::in_topic(house, "bystanders").await }
    }

    /// One signals the other and has its receipt: how long that took.
    pub(crate) async fn go_on(&mut self) -> Duration {
        let begun = std::time::Instant::now();
        let id = self.here.request(json!({ "type": "signal", "to": self.there.peer, "data": { "a": 1 } })).await;
        let signal = self.there.hear_type("signal").await;
        assert_eq!((&signal["from"], &signal["data"]), (&json!(self.here.peer), &json!({ "a": 1 })));
        self.there.acknowledge().await;
        let receipt = self.here.hear_type("receipt").await;
        assert_eq!((&receipt["id"], &receipt["status"]), (&json!(id), &json!("delivered")), "{receipt}");
        self.here.acknowledge().await;
        begun.elapsed()
    }
}
