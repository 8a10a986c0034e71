//! One task per edge, between its socket and its mailbox.
//!
//! What arrives goes to the machine at once, on this task. What the machine says to this edge waits in the mailbox,
//! and everything that waits goes out before one flush.

use std::future::poll_fn;
use std::net::IpAddr;
use std::task::ready;
use std::time::Duration;

use aldis_wire::edge::FromEdge;
use aldis_wire::refusal::Refusal;
use axum::body::Bytes;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket};
use futures_util::SinkExt;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite;

use super::{Counted, Front};
use crate::net::hub::EdgeMailbox;
use crate::relay::io::{EdgeKey, Event, Input, Request};

/// Bytes after which no further event joins a batch, so that reading is not starved, and an edge on a slow line has the
/// whole deadline for so much.
const BATCH_BYTES: usize = 64 << 10;
/// After the last words a socket has so long to read them and close. Closing at once would reset the connection while
/// the edge still sends, and the words might be lost.
const LINGER: Duration = Duration::from_secs(1);
/// Frames read and dropped meanwhile.
const LINGER_FRAMES_MAX: usize = 1_024;
/// Pings and pongs that an edge may send at once; beyond it the socket is closed. Our own heartbeat asks for one pong
/// in 25 s. Text frames are counted by the machine.
const CONTROL_BURST: u32 = 64;
/// Pings and pongs that an edge may send in the long run.
const CONTROL_PER_SECOND: u32 = 4;

/// Why a socket ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The edge closed it, or the network did.
    Gone,
    /// The machine closed it.
    Closed,
    /// The machine had more for it than may wait.
    Overflowed,
    /// It took nothing for ten seconds.
    Stuck,
    /// Nothing was heard from it.
    Silent,
    /// A message beyond the bound.
    TooBig,
    /// Text that is not UTF-8.
    NotUtf8,
    /// Not WebSocket.
    BadFrame,
    /// More pings than anybody needs.
    Flooding,
    /// The gateway is gone.
    Cut,
}

impl End {
    /// What the edge is told before the socket closes, if anything: refusal, RFC 6455 close code.
    fn words(self) -> Option<(Option<Refusal>, u16)> {
        match self {
            End::Gone | End::Stuck | End::Cut => None,
            End::Closed => Some((None, 1000)),
            End::Overflowed | End::Silent => Some((Some(Refusal::TooSlow), 1008)),
            End::TooBig => Some((Some(Refusal::TooBig), 1009)),
            End::NotUtf8 => Some((Some(Refusal::Malformed), 1007)),
            End::BadFrame => Some((Some(Refusal::BadFrame), 1002)),
            End::Flooding => Some((Some(Refusal::RateLimited), 1008)),
        }
    }
}

/// Serves one edge until its socket is closed.
/// The socket is boxed since a future keeps its arguments twice, and every edge holds this one.
pub(super) async fn run(mut socket: Box<WebSocket>, counted: Counted, address: IpAddr) {
    let front = &counted.0;
    let mailbox = front.hub.open_edge(address);
    let edge = mailbox.key;
    let end = converse(&mut socket, front, &mailbox).await;
    if let Some((Some(refusal), _)) = end.words() {
        // The machine counts it and says it; what it says still comes out of the mailbox.
        front.hub.happened(Input::EdgeErred { edge, id: None, refusal, message: String::new() });
    }
    let last = tokio::time::timeout(front.timing.write, say_goodbye(&mut socket, front, mailbox, end)).await;
    if let Ok(true) = last {
        _ = tokio::time::timeout(LINGER, linger(&mut socket)).await;
    }
}

async fn converse(socket: &mut WebSocket, front: &Front, mailbox: &EdgeMailbox) -> End {
    let mut quiet = Quiet::new(front.timing.heartbeat);
    let mut control = ControlBucket::new();
    let silence = tokio::time::sleep_until(quiet.next());
    let cut = front.open.cut();
    tokio::pin!(silence, cut);
    loop {
        let end = tokio::select! {
            frame = socket.recv() => {
                quiet.heard();
                heard(frame, front, mailbox.key, &mut control)
            }
            event = mailbox.next() => match event {
                Some(event) => tell_all(socket, front, mailbox, text_frame(front, &event)).await,
                None if mailbox.overflowed() => Some(End::Overflowed),
                None => Some(End::Closed),
            },
            () = &mut silence => {
                let end = if quiet.too_long() {
                    Some(End::Silent)
                } else {
                    // Boxed, since every edge would otherwise hold room for it all the time.
                    Box::pin(ping(socket, front, &mut quiet)).await
                };
                silence.as_mut().reset(quiet.next());
                end
            }
            () = &mut cut => Some(End::Cut),
        };
        if let Some(end) = end {
            return end;
        }
    }
}

/// What one frame brought, to the machine.
fn heard(
    frame: Option<Result<Message, axum::Error>>,
    front: &Front,
    edge: EdgeKey,
    control: &mut ControlBucket,
) -> Option<End> {
    match frame {
        Some(Ok(Message::Text(text))) => said(text.as_str(), front, edge),
        Some(Ok(Message::Binary(_))) => {
            let message = "binary frames are not part of this protocol".to_owned();
            front.hub.happened(Input::EdgeErred { edge, id: None, refusal: Refusal::BadFrame, message });
        }
        // tungstenite answers pings by itself.
        Some(Ok(Message::Ping(_) | Message::Pong(_))) => return (!control.take()).then_some(End::Flooding),
        Some(Ok(Message::Close(_))) | None => return Some(End::Gone),
        Some(Err(error)) => return Some(read_fault(error)),
    }
    None
}

fn said(text: &str, front: &Front, edge: EdgeKey) {
    match FromEdge::decode(text) {
        Ok(FromEdge { ack, message }) => {
            let ack = ack.map(|seq| Input::EdgeAsked { edge, request: Request::Ack { seq } });
            let request = Input::EdgeAsked { edge, request: front.translator.request(message) };
            front.hub.happened_all(ack.into_iter().chain([request]));
        }
        Err(error) => {
            let id = error.id.map(Into::into);
            front.hub.happened(Input::EdgeErred { edge, id, refusal: error.refusal, message: error.message });
        }
    }
}

fn read_fault(error: axum::Error) -> End {
    match error.into_inner().downcast::<tungstenite::Error>().as_deref() {
        Ok(tungstenite::Error::Capacity(_)) => End::TooBig,
        Ok(tungstenite::Error::Utf8(_)) => End::NotUtf8,
        Ok(tungstenite::Error::Protocol(tungstenite::error::ProtocolError::ResetWithoutClosingHandshake)) => End::Gone,
        Ok(tungstenite::Error::Protocol(_)) => End::BadFrame,
        _ => End::Gone,
    }
}

/// Writes a frame and the events that wait, then flushes. The frame becomes text before anything is awaited, and one
/// future does it all: every edge holds room for it.
async fn tell_all(socket: &mut WebSocket, front: &Front, mailbox: &EdgeMailbox, first: Message) -> Option<End> {
    let (mut next, mut bytes) = (Some(first), 0);
    let writing = poll_fn(|cx| {
        while let Some(length) = next.as_ref().map(length) {
            ready!(socket.poll_ready_unpin(cx))?;
            bytes += length;
            if let Some(frame) = next.take() {
                socket.start_send_unpin(frame)?;
            }
            if bytes < BATCH_BYTES {
                next = mailbox.try_next().map(|event| text_frame(front, &event));
            }
        }
        socket.poll_flush_unpin(cx)
    });
    written(front, writing).await
}

fn length(frame: &Message) -> usize {
    match frame {
        Message::Text(text) => text.len(),
        _ => 0,
    }
}

async fn ping(socket: &mut WebSocket, front: &Front, quiet: &mut Quiet) -> Option<End> {
    if quiet.ping_due() { written(front, socket.send(Message::Ping(Bytes::new()))).await } else { None }
}

/// Waits for a write; why the socket ends, if it does.
async fn written(front: &Front, write: impl Future<Output = Result<(), axum::Error>>) -> Option<End> {
    match tokio::time::timeout(front.timing.write, write).await {
        Ok(Ok(())) => None,
        Ok(Err(_)) => Some(End::Gone),
        Err(_) => Some(End::Stuck),
    }
}

fn text_frame(front: &Front, event: &Event) -> Message {
    let text = front.translator.event(event);
    // JSON is UTF-8; an empty message stands for the impossible.
    Message::Text(Utf8Bytes::try_from(text).unwrap_or_default())
}

/// Says what is still to be said, and closes. Whether there is anybody to wait for.
async fn say_goodbye(socket: &mut WebSocket, front: &Front, mailbox: EdgeMailbox, end: End) -> bool {
    let Some((refusal, code)) = end.words() else { return false };
    if end == End::Overflowed {
        // The machine has forgotten this socket and the mailbox is empty.
        let words = Event::Error {
            id: None,
            refusal: refusal.unwrap_or(Refusal::TooSlow),
            message: String::new(),
            known: None,
            retry_after: None,
        };
        _ = socket.feed(text_frame(front, &words)).await;
    }
    while let Some(event) = mailbox.try_next() {
        if socket.feed(text_frame(front, &event)).await.is_err() {
            return false;
        }
    }
    // From here on the session's grace period runs.
    drop(mailbox);
    let reason = refusal.map_or("", Refusal::name).into();
    socket.send(Message::Close(Some(CloseFrame { code, reason }))).await.is_ok()
}

/// Lets the other side read the last words before the connection goes.
async fn linger(socket: &mut WebSocket) {
    for _ in 0..LINGER_FRAMES_MAX {
        match socket.recv().await {
            Some(Ok(_)) => {}
            None => return,
            Some(Err(error)) => {
                // What is too big stays in the way of the rest: nothing more can be read, so only wait.
                if read_fault(error) != End::Gone {
                    std::future::pending::<()>().await;
                }
                return;
            }
        }
    }
}

/// How long nothing has been heard.
#[derive(Debug)]
struct Quiet {
    heartbeat: Duration,
    since: Instant,
    pinged: bool,
}

impl Quiet {
    fn new(heartbeat: Duration) -> Self {
        Self { heartbeat, since: Instant::now(), pinged: false }
    }

    fn heard(&mut self) {
        self.since = Instant::now();
        self.pinged = false;
    }

    /// When to look again.
    fn next(&self) -> Instant {
        self.since + if self.pinged { self.heartbeat * 5 / 2 } else { self.heartbeat }
    }

    fn too_long(&self) -> bool {
        self.since.elapsed() >= self.heartbeat * 5 / 2
    }

    fn ping_due(&mut self) -> bool {
        let due = !self.pinged && self.since.elapsed() >= self.heartbeat;
        self.pinged |= due;
        due
    }
}

/// A token bucket for frames that the machine does not see.
#[derive(Debug)]
struct ControlBucket {
    tokens: u32,
    filled: Instant,
}

impl ControlBucket {
    fn new() -> Self {
        Self { tokens: CONTROL_BURST, filled: Instant::now() }
    }

    fn take(&mut self) -> bool {
        let seconds = self.filled.elapsed().as_secs();
        if seconds > 0 {
            let earned = u32::try_from(seconds).unwrap_or(u32::MAX).saturating_mul(CONTROL_PER_SECOND);
            self.tokens = self.tokens.saturating_add(earned).min(CONTROL_BURST);
            self.filled += Duration::from_secs(seconds);
        }
        let left = self.tokens.checked_sub(1);
        self.tokens = left.unwrap_or(0);
        left.is_some()
    }
}
