//! A client of `PeerJS` as simple as can be. The unmodified one is in tests/clients/peerjs.

use std::net::SocketAddr;
use std::time::Duration;

use aldis::client::socket::{Message, Opening, Raw, upgrade};
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long it waits for what must come.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) const OPEN: &str = r#"{"type":"OPEN"}"#;
pub(crate) const TAKEN: &str = r#"{"type":"ID-TAKEN","payload":{"msg":"ID is taken"}}"#;

/// A connected client.
pub(crate) struct PeerJs {
    pub(crate) socket: Raw,
}

impl PeerJs {
    /// A socket from which nothing was read; `query` is that of its URL.
    pub(crate) async fn knock_with(host: SocketAddr, query: &str) -> Self {
        let stream = TcpStream::connect(host).await.unwrap();
        let url = format!("ws://{host}/peerjs?{query}");
        let opened = timeout(PATIENCE, upgrade(stream, &url, Opening::default())).await.expect("an upgrade");
        Self { socket: opened.unwrap() }
    }

    /// The same with an id and a token.
    pub(crate) async fn knock(host: SocketAddr, id: &str, token: &str) -> Self {
        Self::knock_with(host, &format!("key=peerjs&id={id}&token={token}&version=1.5.5")).await
    }

    /// A client that has its id.
    pub(crate) async fn open(host: SocketAddr, id: &str, token: &str) -> Self {
        let mut client = Self::knock(host, id, token).await;
        assert_eq!(client.hear().await, OPEN);
        client
    }

    pub(crate) async fn say(&mut self, text: impl Into<String>) {
        timeout(PATIENCE, self.socket.send(Message::text(text.into()))).await.expect("room to write").unwrap();
    }

    /// Sends a frame with a payload.
    pub(crate) async fn send(&mut self, kind: &str, dst: &str, payload: &str) {
        self.say(format!(r#"{{"type":"{kind}","payload":{payload},"dst":"{dst}"}}"#)).await;
    }

    /// The next frame; `None` when the socket is closed.
    pub(crate) async fn next(&mut self) -> Option<String> {
        let listening = async {
            loop {
                match self.socket.next().await?.ok()? {
                    Message::Text(text) => return Some(text.to_string()),
                    Message::Close(_) => return None,
                    _ => {}
                }
            }
        };
        timeout(PATIENCE, listening).await.expect("a frame")
    }

    /// The next frame.
    pub(crate) async fn hear(&mut self) -> String {
        self.next().await.expect("the socket is open")
    }

    /// Closes as the protocol asks.
    pub(crate) async fn leave(mut self) {
        self.socket.close(None).await.unwrap();
        while self.next().await.is_some() {}
    }
}

/// What a client is told.
pub(crate) fn frame(kind: &str, src: &str, dst: &str, payload: &str) -> String {
    format!(r#"{{"type":"{kind}","src":"{src}","dst":"{dst}","payload":{payload}}}"#)
}

/// What a client is told when an id does not come.
pub(crate) fn expire(src: &str, dst: &str) -> String {
    format!(r#"{{"type":"EXPIRE","src":"{src}","dst":"{dst}"}}"#)
}
