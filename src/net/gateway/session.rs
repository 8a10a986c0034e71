//! One task per edge, between its socket and its mailbox; the same for every door.
//!
//! What arrives goes through the dialect to the machine at once, on this task. What the machine says to this edge waits in
//! the mailbox, and everything that waits goes out before one flush.

use std::future::poll_fn;
use std::net::IpAddr;
use std::task::ready;
use std::time::Duration;

use aldis_wire::refusal::Refusal;
use axum::body::Bytes;
use axum::extract::ws::{CloseFrame, Message, WebSocket};
use futures_util::SinkExt;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite;

use super::bucket::Bucket;
use super::dialect::{Desk, Dialect, Tray};
use super::{Counted, Front};
use crate::net::hub::{DoorCounts, EdgeMailbox};
use crate::relay::io::{Event, Request};
use crate::relay::limits::Rate;

/// Bytes after which no further event joins a batch, so that reading is not starved, and an edge on a slow line has the
/// whole deadline for so much.
const BATCH_BYTES: usize = 64 << 10;
/// Events that are taken at once while the dialect has nothing to say of them, so that all are acknowledged together. Each
/// takes microseconds, and reading waits meanwhile.
const SILENT_EVENTS_MAX: usize = 256;
/// After the last words a socket has so long to read them and close. Closing at once would reset the connection while
/// the edge still sends, and the words might be lost.
const LINGER: Duration = Duration::from_secs(1);
/// Frames read and dropped meanwhile.
const LINGER_FRAMES_MAX: usize = 1_024;
/// Frames of which the machine does not learn that an edge may send; beyond it the socket is closed: pings, pongs, and what
/// a dialect answers by itself. Our own heartbeat asks for one pong in 25 s, the clients of other systems ask for one in 4 s
/// at most, and one that answers a whole swarm sends as many frames at once.
const IDLE_FRAMES: Rate = Rate { per_second: 16, burst: 256 };

/// Why a socket ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The edge closed it, or the network did.
    Gone,
    /// The machine closed it.
    Closed,
    /// The dialect closed it, with this code.
    Dismissed(Option<u16>),
    /// The machine had more for it than may wait.
    Overflowed,
    /// The dialect had more for it than may wait.
    Swamped,
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
    /// More frames that mean nothing than anybody needs.
    Flooding,
    /// The gateway is gone.
    Cut,
}

impl End {
    /// What the edge is told before the socket closes, if anything: refusal, RFC 6455 close code.
    fn words(self) -> Option<(Option<Refusal>, Option<u16>)> {
        match self {
            End::Gone | End::Stuck | End::Cut => None,
            End::Closed => Some((None, Some(1000))),
            End::Dismissed(code) => Some((None, code)),
            End::Overflowed | End::Swamped | End::Silent => Some((Some(Refusal::TooSlow), Some(1008))),
            End::TooBig => Some((Some(Refusal::TooBig), Some(1009))),
            End::NotUtf8 => Some((Some(Refusal::Malformed), Some(1007))),
            End::BadFrame => Some((Some(Refusal::BadFrame), Some(1002))),
            End::Flooding => Some((Some(Refusal::RateLimited), Some(1008))),
        }
    }
}

/// Serves one edge until its socket is closed.
/// The socket is boxed since a future keeps its arguments twice, and every edge holds this one.
pub(super) async fn run<D: Dialect>(mut socket: Box<WebSocket>, counted: Counted, address: IpAddr, dialect: D) {
    let front = &counted.front;
    let mut talk =
        Talk { front, counts: &counted.door, mailbox: front.hub.open_edge(address), dialect, tray: Tray::default() };
    let end = talk.converse(&mut socket).await;
    let last = tokio::time::timeout(front.timing.write, talk.say_goodbye(&mut socket, end)).await;
    if let Ok(true) = last {
        _ = tokio::time::timeout(LINGER, linger(&mut socket)).await;
    }
}

/// One socket's two ends and what lies between them.
struct Talk<'a, D> {
    front: &'a Front,
    counts: &'a DoorCounts,
    mailbox: EdgeMailbox,
    dialect: D,
    tray: Tray,
}

impl<D: Dialect> Talk<'_, D> {
    /// Lets the dialect do something at its desk.
    fn at_desk(&mut self, act: impl FnOnce(&mut D, &mut Desk<'_>)) {
        let mut desk = Desk::new(&*self.front.hub, self.mailbox.key, &mut self.tray);
        act(&mut self.dialect, &mut desk);
    }

    async fn converse(&mut self, socket: &mut WebSocket) -> End {
        let front = self.front;
        let mut quiet = Quiet::new(front.timing.heartbeat);
        let mut idle = Bucket::new(IDLE_FRAMES, Instant::now());
        let silence = tokio::time::sleep_until(quiet.next());
        let cut = front.open.cut();
        tokio::pin!(silence, cut);
        self.at_desk(D::opened);
        loop {
            let end = tokio::select! {
                frame = socket.recv() => {
                    quiet.heard();
                    self.heard(frame, &mut idle)
                }
                event = self.mailbox.next() => match event {
                    Some(event) => {
                        self.told_with_others(event);
                        None
                    }
                    None if self.mailbox.overflowed() => Some(End::Overflowed),
                    None => Some(End::Closed),
                },
                () = &mut silence => {
                    let now = Instant::now();
                    if self.dialect.deadline().is_some_and(|deadline| deadline <= now) {
                        self.at_desk(D::woken);
                    }
                    if quiet.too_long() {
                        Some(End::Silent)
                    } else {
                        // Boxed, since every edge would otherwise hold room for it all the time.
                        Box::pin(ping(socket, front, &mut quiet)).await
                    }
                }
                () = &mut cut => Some(End::Cut),
            };
            if let Some(end) = end {
                return end;
            }
            if let Some(end) = self.write(socket).await {
                return end;
            }
            let wake = self.dialect.deadline().map_or_else(|| quiet.next(), |deadline| deadline.min(quiet.next()));
            // Moved forward only when it fires: what was heard puts it off all the time.
            if wake < silence.deadline() || silence.is_elapsed() {
                silence.as_mut().reset(wake);
            }
        }
    }

    /// What one frame brought, to the machine.
    fn heard(&mut self, frame: Option<Result<Message, axum::Error>>, idle: &mut Bucket) -> Option<End> {
        self.tray.asked = false;
        match frame {
            Some(Ok(Message::Text(text))) => self.at_desk(|dialect, desk| dialect.text(text.as_str(), desk)),
            Some(Ok(Message::Binary(bytes))) => self.at_desk(|dialect, desk| dialect.binary(&bytes, desk)),
            // tungstenite answers pings by itself.
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            Some(Ok(Message::Close(_))) => {
                self.at_desk(D::left);
                return Some(End::Gone);
            }
            None => return Some(End::Gone),
            Some(Err(error)) => return Some(read_fault(error)),
        }
        self.counts.received.add();
        // What is asked of the machine the machine limits.
        (!self.tray.asked && !idle.take(Instant::now())).then_some(End::Flooding)
    }

    /// What the machine said, to the tray.
    fn told(&mut self, event: Event) {
        if let (false, Some(seq)) = (D::ACKNOWLEDGES, event.seq()) {
            self.tray.unacknowledged = Some(seq);
        }
        self.at_desk(|dialect, desk| dialect.event(event, desk));
    }

    /// The same, and then for those that wait, up to the first of which the client is told.
    fn told_with_others(&mut self, event: Event) {
        self.told(event);
        for _ in 0..SILENT_EVENTS_MAX {
            if !self.tray.is_empty() || self.tray.close.is_some() {
                return;
            }
            let Some(event) = self.mailbox.try_next() else { return };
            self.told(event);
        }
    }

    /// Writes what lies in the tray and what waits in the mailbox, then flushes. One future does it all: every edge
    /// holds room for it.
    async fn write(&mut self, socket: &mut WebSocket) -> Option<End> {
        if self.tray.has_overflowed() {
            return Some(End::Swamped);
        }
        if !self.tray.is_empty() {
            let mut bytes = 0;
            let front = self.front;
            let writing = poll_fn(|cx| {
                while !self.tray.is_empty() {
                    ready!(socket.poll_ready_unpin(cx))?;
                    if let Some(frame) = self.tray.pop() {
                        bytes += length(&frame);
                        self.counts.sent.add();
                        socket.start_send_unpin(frame)?;
                    }
                    while bytes < BATCH_BYTES && self.tray.is_empty() && self.tray.close.is_none() {
                        let Some(event) = self.mailbox.try_next() else { break };
                        self.told(event);
                    }
                }
                socket.poll_flush_unpin(cx)
            });
            if let Some(end) = written(front, writing).await {
                return Some(end);
            }
            // What was told meanwhile.
            if self.tray.has_overflowed() {
                return Some(End::Swamped);
            }
        }
        if let Some(seq) = self.tray.unacknowledged.take() {
            self.at_desk(|_, desk| desk.ask(Request::Ack { seq }));
        }
        self.tray.close.map(End::Dismissed)
    }

    /// Says what is still to be said, and closes. Whether there is anybody to wait for.
    async fn say_goodbye(mut self, socket: &mut WebSocket, end: End) -> bool {
        let words = end.words();
        if let Some((Some(refusal), _)) = words {
            // The machine counts it and says it; what it says still comes out of the mailbox.
            self.at_desk(|_, desk| desk.misunderstood(None, refusal, String::new()));
        }
        self.at_desk(D::gone);
        let Some((refusal, code)) = words else { return false };
        if end == End::Overflowed {
            // The machine has forgotten this socket and the mailbox is empty.
            self.told(Event::Error {
                id: None,
                refusal: refusal.unwrap_or(Refusal::TooSlow),
                message: String::new(),
                known: None,
                retry_after: None,
            });
        }
        loop {
            while let Some(frame) = self.tray.pop() {
                if socket.feed(frame).await.is_err() {
                    return false;
                }
            }
            let Some(event) = self.mailbox.try_next() else { break };
            self.told(event);
        }
        // From here on the session's grace period runs.
        drop(self);
        let reason = refusal.map_or("", Refusal::name).into();
        socket.send(Message::Close(code.map(|code| CloseFrame { code, reason }))).await.is_ok()
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

fn length(frame: &Message) -> usize {
    match frame {
        Message::Text(text) => text.len(),
        Message::Binary(bytes) => bytes.len(),
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail by panic")]
    use std::net::Ipv4Addr;
    use std::sync::Arc;

    use aldis_wire::id::PeerId;

    use super::*;
    use crate::net::gateway::{Open, Threshold, Timing};
    use crate::net::hub::script::Script;
    use crate::relay::io::{LeftReason, Output};

    /// Says nothing but the seq of each hundredth event.
    struct Taciturn;

    impl Dialect for Taciturn {
        fn opened(&mut self, _desk: &mut Desk<'_>) {}
        fn text(&mut self, _text: &str, _desk: &mut Desk<'_>) {}
        fn binary(&mut self, _bytes: &Bytes, _desk: &mut Desk<'_>) {}
        fn event(&mut self, event: Event, desk: &mut Desk<'_>) {
            if let Some(seq) = event.seq().filter(|seq| seq % 100 == 0) {
                desk.send_text(seq.to_string());
            }
        }
    }

    #[tokio::test]
    async fn events_of_which_the_client_is_not_told_are_taken_and_acknowledged_together() {
        let (hub, script) = Script::hub();
        let front = Front {
            hub: hub.clone(),
            origins: Vec::new(),
            trusted_proxies: Vec::new(),
            timing: Timing::default(),
            threshold: Threshold::default(),
            takes_edges: Arc::default(),
            open: Open::default(),
        };
        let counts = DoorCounts::default();
        let mailbox = hub.open_edge(Ipv4Addr::LOCALHOST.into());
        let edge = mailbox.key;
        let left = |seq| {
            let (topic, peer, reason) = ("t".into(), PeerId::new([1; 32]), LeftReason::Left);
            Output::TellEdge { edge, event: Event::PeerLeft { seq, topic, peer, reason } }
        };
        let mut talk = Talk { front: &front, counts: &counts, mailbox, dialect: Taciturn, tray: Tray::default() };
        script.says(&hub, (1..=150).map(left));
        for (last, said) in [(100, true), (150, false)] {
            let event = talk.mailbox.try_next().unwrap();
            talk.told_with_others(event);
            assert_eq!((talk.tray.unacknowledged.take(), talk.tray.pop().is_some()), (Some(last), said));
        }
        script.says(&hub, (1_001..=1_099).chain(1_101..=1_199).chain(1_201..=1_299).map(left));
        let event = talk.mailbox.try_next().unwrap();
        talk.told_with_others(event);
        assert!(talk.mailbox.try_next().is_some(), "reading goes on meanwhile");
    }
}
