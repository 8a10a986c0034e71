//! A host by script.

use std::time::Duration;

use aldis_wire::edge::{PATH, SUBPROTOCOL};
use aldis_wire::id::PeerId;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async};

pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

/// A host by script: what it must hear, and what it says.
pub(crate) struct Host(pub(crate) TcpListener);

/// One socket of the scripted host.
pub(crate) struct Socket(pub(crate) WebSocketStream<TcpStream>);

impl Host {
    pub(crate) async fn start() -> (Self, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}", listener.local_addr().unwrap());
        (Self(listener), url)
    }

    /// Takes a socket, greets, and returns the hello.
    pub(crate) async fn accept(&self) -> (Socket, Value) {
        let (stream, _) = timeout(DEADLINE, self.0.accept()).await.expect("nobody connected").unwrap();
        let mut socket = Socket(accept_hdr_async(stream, subprotocol).await.unwrap());
        socket
            .say(json!({"type": "greeting", "host": hex(1), "network": "n", "tag": "00".repeat(8), "version": 1,
            "challenge": hex(2)}))
            .await;
        let hello = socket.hear().await;
        assert_eq!(hello["type"], "hello");
        (socket, hello)
    }
}

impl Socket {
    pub(crate) async fn say(&mut self, message: Value) {
        self.0.send(Message::text(message.to_string())).await.unwrap();
    }

    pub(crate) async fn hear(&mut self) -> Value {
        loop {
            let message = timeout(DEADLINE, self.0.next()).await.expect("the client said nothing").unwrap().unwrap();
            if let Message::Text(text) = message {
                return serde_json::from_str(&text).unwrap();
            }
        }
    }

    pub(crate) async fn welcome(&mut self, peer: u8, resumed: bool) {
        self.say(
            json!({"type": "welcome", "peer": hex(peer), "host": hex(1), "network": "n", "session": "00".repeat(8),
            "resume": hex(9), "resumed": resumed, "ice_servers": [], "hosts": [], "heartbeat_ms": 60_000,
            "limits": {"message_bytes": 65536, "meta_bytes": 1024, "topics": 32, "sample": 64, "grace_ms": 30000,
                "signal_timeout_ms": 5000}}),
        )
        .await;
    }
}

#[allow(clippy::unnecessary_wraps, clippy::result_large_err, reason = "the shape is the library's")]
fn subprotocol(request: &Request, mut response: Response) -> Result<Response, ErrorResponse> {
    let asked = request.headers()["sec-websocket-protocol"].clone();
    assert_eq!((asked.as_bytes(), request.uri().path()), (SUBPROTOCOL.as_bytes(), PATH));
    response.headers_mut().insert("sec-websocket-protocol", asked);
    Ok(response)
}

pub(crate) fn hex(byte: u8) -> String {
    format!("{byte:02x}").repeat(32)
}

pub(crate) fn peer(byte: u8) -> PeerId {
    PeerId::new([byte; 32])
}
