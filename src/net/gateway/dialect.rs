//! What one socket speaks: a state machine between a client's frames and a session's requests and events.
//!
//! A dialect does no I/O and reads no clock. `session` calls it, and it says what is to be done at its [`Desk`].

use std::collections::VecDeque;
use std::sync::Arc;

use aldis_wire::id::{PeerId, TopicId};
use aldis_wire::limits::SIGNAL_DATA_BYTES;
use aldis_wire::refusal::Refusal;
use axum::body::Bytes;
use axum::extract::ws::{Message, Utf8Bytes};
use tokio::time::Instant;

use crate::net::hub::Hub;
use crate::relay::io::{EdgeKey, Event, Hello, Identity, Input, Request, RequestId, Topic};

/// What may wait for one socket to be written. One event makes up to 200 KiB in ordinary use; a client that asks to be told
/// everything many times over is cut beyond it.
pub(super) const TRAY_BYTES: usize = 1 << 20;
/// What a frame takes besides its bytes.
const FRAME_BYTES: usize = 64;

/// One protocol of one socket.
///
/// Whatever a client sends, a dialect answers in its own protocol's way or not at all. It keeps a bound on all that it
/// remembers.
pub(super) trait Dialect: Send + 'static {
    /// Whether the client acknowledges sequenced events itself. Otherwise they count as delivered when the kernel took
    /// them.
    const ACKNOWLEDGES: bool = false;

    /// The socket is open. Most dialects begin a session at once: [`Desk::hello`].
    fn opened(&mut self, desk: &mut Desk<'_>);

    /// A text frame.
    fn text(&mut self, text: &str, desk: &mut Desk<'_>);

    /// A binary frame.
    fn binary(&mut self, bytes: &Bytes, desk: &mut Desk<'_>);

    /// The session says something.
    fn event(&mut self, event: Event, desk: &mut Desk<'_>);

    /// When to call [`Dialect::woken`]; `None` for never. Looked at after every other call.
    fn deadline(&self) -> Option<Instant> {
        None
    }

    /// The moment named by [`Dialect::deadline`] has come.
    fn woken(&mut self, _desk: &mut Desk<'_>) {}

    /// The client closes its socket as the protocol asks; [`Dialect::gone`] comes next.
    fn left(&mut self, _desk: &mut Desk<'_>) {}

    /// The socket is gone, or goes now. Ends the session, unless the protocol lets its clients come back to it.
    fn gone(&mut self, desk: &mut Desk<'_>) {
        desk.ask(Request::Bye);
    }
}

/// Takes what edges ask for. The hub; in tests, a list.
pub(super) trait Machine {
    /// Takes inputs, all under one lock. What is said to edges waits in their mailboxes afterwards.
    fn take(&self, inputs: &mut dyn Iterator<Item = Input>);
}

impl Machine for Hub {
    fn take(&self, inputs: &mut dyn Iterator<Item = Input>) {
        self.happened_all(inputs);
    }
}

/// What a dialect left on its desk.
#[derive(Debug, Default)]
pub(super) struct Tray {
    /// For the socket, in order.
    frames: VecDeque<Message>,
    /// How much memory they take.
    bytes: usize,
    /// Whether there was more than [`TRAY_BYTES`]: what came after is lost, and the socket must be cut.
    overflowed: bool,
    /// Whether the socket is to be closed after them, and with which code.
    pub(super) close: Option<Option<u16>>,
    /// Whether anything was asked of the machine, which counts and limits it.
    pub(super) asked: bool,
    /// The seq of the newest event told, when it is for us to acknowledge it.
    pub(super) unacknowledged: Option<u64>,
    /// Requests that were given an id.
    ids: u64,
}

impl Tray {
    fn put(&mut self, frame: Message) {
        let size = size(&frame);
        self.overflowed |= self.bytes + size > TRAY_BYTES;
        if !self.overflowed {
            self.bytes += size;
            self.frames.push_back(frame);
        }
    }

    /// The next frame for the socket.
    pub(super) fn pop(&mut self) -> Option<Message> {
        let frame = self.frames.pop_front()?;
        self.bytes -= size(&frame);
        if self.frames.is_empty() {
            // An idle edge must stay small; room for a few frames is had again in no time.
            self.frames = VecDeque::new();
        }
        Some(frame)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Whether there was more than may wait. There is room for last words then.
    pub(super) fn has_overflowed(&mut self) -> bool {
        if self.overflowed {
            (self.frames, self.bytes) = (VecDeque::new(), 0);
        }
        std::mem::take(&mut self.overflowed)
    }
}

fn size(frame: &Message) -> usize {
    FRAME_BYTES
        + match frame {
            Message::Text(text) => text.len(),
            Message::Binary(bytes) => bytes.len(),
            _ => 0,
        }
}

/// Where a dialect says what is to be done.
pub(super) struct Desk<'a> {
    machine: &'a dyn Machine,
    edge: EdgeKey,
    tray: &'a mut Tray,
    now: Instant,
}

impl<'a> Desk<'a> {
    pub(super) fn new(machine: &'a dyn Machine, edge: EdgeKey, tray: &'a mut Tray) -> Self {
        Self { machine, edge, tray, now: Instant::now() }
    }

    /// When this call began.
    pub(super) fn now(&self) -> Instant {
        self.now
    }

    /// Asks the machine. It answers with an event, later. Data beyond the limit is refused in the same way.
    pub(super) fn ask(&mut self, request: Request) {
        self.ask_all([request]);
    }

    /// The same for several requests under one lock.
    pub(super) fn ask_all(&mut self, requests: impl IntoIterator<Item = Request>) {
        self.tray.asked = true;
        let edge = self.edge;
        self.machine.take(&mut requests.into_iter().map(|request| match request {
            Request::Signal { id, data, .. } | Request::Broadcast { id, data, .. }
                if data.len() > SIGNAL_DATA_BYTES =>
            {
                Input::EdgeErred { edge, id: Some(id), refusal: Refusal::TooBig, message: String::new() }
            }
            request => Input::EdgeAsked { edge, request },
        }));
    }

    /// Begins a session as a peer that this host mints.
    pub(super) fn hello(&mut self) {
        self.ask(Request::Hello(Hello { identity: Identity::Minted, meta: Bytes::new() }));
    }

    /// Asks for a sample of a topic's members. Returns the request's id.
    pub(super) fn discover(&mut self, topic: Topic, limit: usize) -> RequestId {
        let id = self.fresh_id();
        self.ask(Request::Discover { id: id.clone(), topic, limit });
        id
    }

    /// Sends data to a peer. Returns the request's id; the receipt has it too.
    pub(super) fn signal(&mut self, to: PeerId, topic: Option<TopicId>, data: Bytes) -> RequestId {
        let id = self.fresh_id();
        self.ask(Request::Signal { id: id.clone(), to, topic, data });
        id
    }

    /// The client sent what cannot be understood: the machine counts it, limits it, and tells it as `Event::Error`.
    pub(super) fn misunderstood(&mut self, id: Option<RequestId>, refusal: Refusal, message: String) {
        self.tray.asked = true;
        self.machine.take(&mut std::iter::once(Input::EdgeErred { edge: self.edge, id, refusal, message }));
    }

    /// The frame answers what the client was asked, or waits until the machine may be asked. Those are bounded and do not
    /// count as idle.
    pub(super) fn was_awaited(&mut self) {
        self.tray.asked = true;
    }

    /// The machine is asked for what the frame wants when others have been answered. Such frames do not count as idle; there
    /// must be a bound on those that wait.
    pub(super) fn will_ask(&mut self) {
        self.tray.asked = true;
    }

    /// An id for a request: no session of this host, resumed ones included, had it before.
    pub(super) fn fresh_id(&mut self) -> RequestId {
        self.tray.ids += 1;
        Arc::from(format!("{}.{}", self.edge.0, self.tray.ids))
    }

    /// Sends a text frame to the client. What is not UTF-8 becomes an empty frame.
    pub(super) fn send_text(&mut self, text: impl TryInto<Utf8Bytes>) {
        self.tray.put(Message::Text(text.try_into().unwrap_or_default()));
    }

    /// Sends a binary frame to the client.
    pub(super) fn send_binary(&mut self, bytes: impl Into<Bytes>) {
        self.tray.put(Message::Binary(bytes.into()));
    }

    /// Closes the socket after what was sent; with an RFC 6455 code, or with none.
    pub(super) fn close(&mut self, code: Option<u16>) {
        self.tray.close.get_or_insert(code);
    }
}

/// For tests of dialects: a machine that only listens, and a socket that only keeps.
#[cfg(test)]
pub(super) mod testing {
    use std::sync::Mutex;
    use std::time::Duration;

    use super::{Desk, Dialect, EdgeKey, Event, Input, Machine, Message, Request, Tray};
    use crate::net::hub::lock;

    #[derive(Default)]
    struct Listener(Mutex<Vec<Input>>);

    impl Machine for Listener {
        fn take(&self, inputs: &mut dyn Iterator<Item = Input>) {
            lock(&self.0).extend(inputs);
        }
    }

    /// A desk, and what was left on it.
    #[derive(Default)]
    pub(in crate::net::gateway) struct Table {
        machine: Listener,
        tray: Tray,
        /// How far this desk's clock is ahead.
        pub(in crate::net::gateway) ahead: Duration,
    }

    impl Table {
        pub(in crate::net::gateway) fn desk(&mut self) -> Desk<'_> {
            let desk = Desk::new(&self.machine, EdgeKey(1), &mut self.tray);
            Desk { now: desk.now + self.ahead, ..desk }
        }

        /// What was asked since the last look.
        pub(in crate::net::gateway) fn inputs(&mut self) -> Vec<Input> {
            std::mem::take(&mut lock(&self.machine.0))
        }

        /// The same without what could not be understood.
        pub(in crate::net::gateway) fn requests(&mut self) -> Vec<Request> {
            let request = |input| if let Input::EdgeAsked { request, .. } = input { Some(request) } else { None };
            self.inputs().into_iter().filter_map(request).collect()
        }

        /// What was sent since the last look.
        pub(in crate::net::gateway) fn frames(&mut self) -> Vec<Message> {
            std::iter::from_fn(|| self.tray.pop()).collect()
        }

        /// Whether more was sent than may wait.
        pub(in crate::net::gateway) fn overflowed(&mut self) -> bool {
            self.tray.has_overflowed()
        }

        /// Whether what came since the last look counts as idle.
        pub(in crate::net::gateway) fn idle(&mut self) -> bool {
            !std::mem::take(&mut self.tray.asked)
        }

        /// The text frames among them; everything else is a failure.
        pub(in crate::net::gateway) fn texts(&mut self) -> Vec<String> {
            let text = |frame| if let Message::Text(text) = frame { text.to_string() } else { format!("{frame:?}") };
            self.frames().into_iter().map(text).collect()
        }

        /// Whether the socket is to be closed, and with which code.
        pub(in crate::net::gateway) fn closed(&self) -> Option<Option<u16>> {
            self.tray.close
        }

        /// Tells a dialect what the machine says.
        pub(in crate::net::gateway) fn say(&mut self, dialect: &mut impl Dialect, event: Event) {
            dialect.event(event, &mut self.desk());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::Table;
    use super::*;

    #[test]
    fn what_waits_for_a_socket_is_bounded_in_bytes_and_in_number() {
        for length in [0, 1_000] {
            let mut table = Table::default();
            for _ in 0..20_000 {
                table.desk().send_binary(vec![0; length]);
            }
            assert!(table.overflowed());
            assert!(table.frames().is_empty(), "what is cut is told nothing of it");
            table.desk().send_text("last words");
            assert_eq!((table.overflowed(), table.texts().len()), (false, 1));
        }
    }

    #[test]
    fn what_was_written_makes_room() {
        let mut table = Table::default();
        for _ in 0..100 {
            table.desk().send_binary(vec![0; TRAY_BYTES / 2]);
            assert_eq!(table.frames().len(), 1);
        }
        assert!(!table.overflowed());
    }
}
