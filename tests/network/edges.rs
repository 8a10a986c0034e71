//! Edges: the project's own client, and a socket in the hands of the test.

use aldis::client::socket::Socket;
use aldis::client::{Client, Event, Events, Introduced, Options, Receipt, Sample, SessionStart};
use aldis_wire::edge::{Hello, Identity, Resume, Status};
use aldis_wire::id::PeerId;
use serde_json::{Value, json};

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
    socket: Socket,
    pub(crate) session: SessionStart,
    /// The last seq heard.
    seq: u64,
}

impl Raw {
    /// A session of a minted peer.
    pub(crate) async fn at(url: &str) -> Self {
        Self::open(url, None).await
    }

    /// Drops the socket without a word and gives what it takes to come back.
    pub(crate) fn drop_socket(self) -> Dropped {
        Dropped(Resume { token: self.session.token, seq: self.seq })
    }

    async fn open(url: &str, resume: Option<Resume>) -> Self {
        let mut socket = Socket::open(url, None).await.unwrap();
        socket.greeting().await.unwrap();
        let identity = resume.map_or(Identity::Minted, Identity::Resumed);
        match within("an answer to hello", socket.hello(Hello { identity, meta: None })).await.unwrap() {
            Introduced::Welcome(session) => Self { socket, session: *session, seq: resume.map_or(0, |it| it.seq) },
            refused @ Introduced::Refused { .. } => panic!("{refused:?}"),
        }
    }

    pub(crate) fn peer(&self) -> PeerId {
        self.session.who.peer
    }

    pub(crate) async fn say(&mut self, message: Value) {
        self.socket.send(message.to_string()).await.unwrap();
    }

    /// The next message, acknowledged if it has a seq.
    pub(crate) async fn hear(&mut self) -> Value {
        let text = within("a message", self.socket.next()).await.unwrap();
        let message: Value = serde_json::from_str(&text).unwrap();
        if let Some(seq) = message["seq"].as_u64() {
            assert_eq!(seq, self.seq + 1, "a message is missing, or came twice: {message}");
            self.seq = seq;
            self.say(json!({ "type": "ack", "seq": seq })).await;
        }
        message
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
        if let Ok(text) = within("the end of the socket", self.socket.next()).await {
            panic!("something else was said: {text}");
        }
    }
}

/// What is left of a session whose socket is gone.
pub(crate) struct Dropped(Resume);

impl Dropped {
    pub(crate) async fn resume(self, url: &str) -> Raw {
        let raw = Raw::open(url, Some(self.0)).await;
        assert!(raw.session.resumed);
        raw
    }
}
