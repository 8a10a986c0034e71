//! Edges: the project's own client, and a socket in the hands of the test.

use aldis::client::{Client, Event, Events, Options, Receipt, Sample};
use aldis_wire::edge::{PATH, SUBPROTOCOL, Status};
use aldis_wire::id::PeerId;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;

use super::{eventually, within};

/// The receipt of a signal that arrived.
pub(crate) const DELIVERED: Receipt = Receipt { status: Status::Delivered, code: None };

/// An edge that behaves: the project's own client.
pub(crate) struct Edge {
    pub(crate) client: Client,
    events: Events,
}

impl Edge {
    pub(crate) async fn at(url: &str) -> Self {
        let (client, events) = within("a session", Client::connect(Options::at(url))).await.unwrap();
        Self { client, events }
    }

    pub(crate) fn peer(&self) -> PeerId {
        self.client.who().peer
    }

    pub(crate) async fn join(&self, topic: &str) -> Sample {
        within("joined", self.client.join(topic, None)).await.unwrap()
    }

    /// The next event.
    pub(crate) async fn next(&mut self, what: &str) -> Event {
        within(what, self.events.next()).await.expect("the client has ended")
    }

    /// The next event must be that this peer came.
    pub(crate) async fn sees(&mut self, peer: PeerId) {
        let event = self.next("peer_joined").await;
        assert!(matches!(&event, Event::PeerJoined { peer: came, .. } if *came == peer), "{event:?}");
    }

    /// The next event must be that this peer went; gives the reason.
    pub(crate) async fn misses(&mut self, peer: PeerId) -> String {
        match self.next("peer_left").await {
            Event::PeerLeft { peer: left, reason, .. } if left == peer => reason,
            other => panic!("{other:?}"),
        }
    }

    /// The next event must be a signal of this peer; gives its data.
    pub(crate) async fn hears(&mut self, peer: PeerId) -> String {
        match self.next("a signal").await {
            Event::Signal { from, data, .. } if from == peer => data,
            other => panic!("{other:?}"),
        }
    }

    /// Waits until this peer is a member of the topic as seen from here, without joining.
    pub(crate) async fn finds(&self, topic: &str, peer: PeerId) {
        eventually("a member is found", async || self.members(topic).await.contains(&peer)).await;
    }

    /// The members of a small topic, as `discover` gives them.
    pub(crate) async fn members(&self, topic: &str) -> Vec<PeerId> {
        let sample = within("discovered", self.client.discover(topic, 64)).await.unwrap();
        let mut peers: Vec<_> = sample.peers.iter().map(|member| member.peer).collect();
        assert_eq!(peers.len() as u64, sample.total);
        peers.sort_unstable();
        peers
    }

    pub(crate) async fn signal(&self, to: PeerId, data: &str) -> Receipt {
        within("a receipt", self.client.signal(to, None, data)).await.unwrap()
    }
}

/// Each of two edges sends the other an offer, an answer and candidates of real size; all arrive unchanged, in order.
pub(crate) async fn negotiate(caller: &mut Edge, called: &mut Edge) {
    let sdp = "a=candidate:842163049 1 udp 1677729535 203.0.113.4 46154 typ srflx\\r\\n".repeat(40);
    let offer = format!(r#"{{"description":{{"type":"offer","sdp":"{sdp}"}}}}"#);
    let answer = offer.replace("offer", "answer");
    let (a, b) = (caller.peer(), called.peer());
    let (receipt, heard) = tokio::join!(caller.signal(b, &offer), called.hears(a));
    assert_eq!((receipt, heard), (DELIVERED, offer));
    let (receipt, heard) = tokio::join!(called.signal(a, &answer), caller.hears(b));
    assert_eq!((receipt, heard), (DELIVERED, answer));
    trickle(caller, called).await;
    trickle(called, caller).await;
}

async fn trickle(from: &Edge, to: &mut Edge) {
    let mut posted = Vec::new();
    for n in 0..20 {
        posted.push(from.client.post(to.peer(), Some("s0"), &format!(r#"{{"candidate":{n}}}"#)).await.unwrap());
    }
    for n in 0..20 {
        assert_eq!(to.hears(from.peer()).await, format!(r#"{{"candidate":{n}}}"#));
    }
    for posted in posted {
        assert_eq!(within("a receipt", posted.receipt()).await.unwrap(), DELIVERED);
    }
}

/// A session in the hands of the test, which can drop its socket and take it up again when it wants to, and sees every
/// message. The library's client would come back at once, and keeps to itself what has come before.
pub(crate) struct Raw {
    socket: WebSocketStream<TcpStream>,
    pub(crate) welcome: Value,
    /// The last seq heard.
    seq: u64,
}

impl Raw {
    /// A session of a minted peer.
    pub(crate) async fn at(url: &str) -> Self {
        Self::open(url, json!({ "type": "hello" }), 0).await
    }

    /// Drops the socket without a word and gives what it takes to come back.
    pub(crate) fn drop_socket(self) -> Dropped {
        Dropped { token: self.welcome["resume"].clone(), seq: self.seq }
    }

    async fn open(url: &str, hello: Value, seq: u64) -> Self {
        let mut request = url.into_client_request().unwrap();
        request.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static(SUBPROTOCOL));
        assert_eq!(request.uri().path(), PATH);
        let stream = TcpStream::connect(request.uri().authority().unwrap().as_str()).await.unwrap();
        let (socket, _) = tokio_tungstenite::client_async(request, stream).await.unwrap();
        let mut raw = Self { socket, welcome: Value::Null, seq };
        assert_eq!(raw.hear().await["type"], "greeting");
        raw.say(hello).await;
        raw.welcome = raw.hear().await;
        assert_eq!(raw.welcome["type"], "welcome", "{}", raw.welcome);
        raw
    }

    pub(crate) fn peer(&self) -> PeerId {
        self.welcome["peer"].as_str().unwrap().parse().unwrap()
    }

    pub(crate) async fn say(&mut self, message: Value) {
        self.socket.send(Message::text(message.to_string())).await.unwrap();
    }

    /// The next message, acknowledged if it has a seq.
    pub(crate) async fn hear(&mut self) -> Value {
        loop {
            let message = within("a message", self.socket.next()).await.expect("the host closed the socket").unwrap();
            let Message::Text(text) = message else { continue };
            let message: Value = serde_json::from_str(&text).unwrap();
            if let Some(seq) = message["seq"].as_u64() {
                assert_eq!(seq, self.seq + 1, "a message is missing, or came twice: {message}");
                self.seq = seq;
                self.say(json!({ "type": "ack", "seq": seq })).await;
            }
            return message;
        }
    }

    /// Joins; gives the other members.
    pub(crate) async fn join(&mut self, topic: &str) -> Value {
        self.say(json!({ "type": "join", "id": "join", "topic": topic })).await;
        let joined = self.hear().await;
        assert_eq!((&joined["type"], &joined["topic"]), (&json!("joined"), &json!(topic)), "{joined}");
        joined["peers"].clone()
    }

    /// The next message must be that this peer came to the topic.
    pub(crate) async fn sees(&mut self, topic: &str, peer: PeerId) {
        let message = self.hear().await;
        let found = (&message["type"], &message["topic"], &message["peer"]);
        assert_eq!(found, (&json!("peer_joined"), &json!(topic), &json!(peer.to_string())), "{message}");
    }

    /// The next message must be that this peer left the topic for this reason.
    pub(crate) async fn misses(&mut self, topic: &str, peer: PeerId, reason: &str) {
        let message = self.hear().await;
        let found = (&message["type"], &message["topic"], &message["peer"], &message["reason"]);
        let expected = (&json!("peer_left"), &json!(topic), &json!(peer.to_string()), &json!(reason));
        assert_eq!(found, expected, "{message}");
    }

    /// Waits until the host closes the socket.
    pub(crate) async fn closed(mut self) {
        while let Some(Ok(message)) = within("the end of the socket", self.socket.next()).await {
            assert!(!message.is_text(), "something else was said: {message}");
        }
    }
}

/// What is left of a session whose socket is gone.
pub(crate) struct Dropped {
    token: Value,
    seq: u64,
}

impl Dropped {
    pub(crate) async fn resume(self, url: &str) -> Raw {
        let hello = json!({ "type": "hello", "resume": { "token": self.token, "seq": self.seq } });
        let raw = Raw::open(url, hello, self.seq).await;
        assert_eq!(raw.welcome["resumed"], true);
        raw
    }
}
