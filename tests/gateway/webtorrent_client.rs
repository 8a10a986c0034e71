//! A client of a tracker as simple as it can be; the tests of whole hosts use it too.

use std::net::SocketAddr;
use std::time::Duration;

use aldis::client::socket::{Message, Opening, Raw, upgrade};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::Instant;

/// A test waits so long for what must happen.
const DEADLINE: Duration = Duration::from_secs(30);

pub(crate) struct Client(pub(crate) Raw);

impl Client {
    pub(crate) async fn open(host: SocketAddr, path: &str) -> Self {
        let stream = TcpStream::connect(host).await.unwrap();
        Self(upgrade(stream, &format!("ws://{host}{path}"), Opening::default()).await.unwrap())
    }

    pub(crate) async fn send(&mut self, message: Message) {
        self.0.send(message).await.unwrap();
    }

    /// Says a frame and gives the next one.
    pub(crate) async fn ask(&mut self, frame: Value) -> Value {
        self.send(Message::text(frame.to_string())).await;
        serde_json::from_str(&self.hear().await).unwrap()
    }

    /// The next text frame.
    pub(crate) async fn hear(&mut self) -> String {
        let deadline = Instant::now() + DEADLINE;
        loop {
            match tokio::time::timeout_at(deadline, self.0.next()).await.expect("no frame").unwrap().unwrap() {
                Message::Text(text) => return text.to_string(),
                Message::Ping(_) => {}
                other => panic!("not a text frame: {other:?}"),
            }
        }
    }
}

pub(crate) fn twenty(c: char) -> String {
    c.to_string().repeat(20)
}

pub(crate) fn announce(torrent: char, peer: char) -> Value {
    json!({ "action": "announce", "info_hash": twenty(torrent), "peer_id": twenty(peer) })
}

pub(crate) fn counts(torrent: char, complete: u32, incomplete: u32) -> Value {
    let hash = twenty(torrent);
    json!({ "action": "announce", "info_hash": hash, "interval": 120, "complete": complete, "incomplete": incomplete })
}
