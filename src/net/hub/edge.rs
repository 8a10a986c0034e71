//! An edge's mailbox: what the machine tells it, until its socket takes it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use super::{Hub, lock};
use crate::relay::io::{EdgeKey, Event, Sample};

/// Events that wait for a socket. The machine keeps at most 3,072 unacknowledged ones; the rest are answers to requests
/// that came faster than the edge reads. Beyond it the socket is cut.
pub const EDGE_QUEUE_MAX: usize = 4_096;
/// Bytes that wait for a socket: a resumed session brings at most 856 KiB, an answer with 64 members about 70 KiB.
/// Beyond it the socket is cut.
pub const EDGE_QUEUE_BYTES: usize = 1 << 20;
/// What an event counts besides its data.
const EVENT_BYTES: usize = 128;

/// The queue between machine and socket.
#[derive(Debug, Default)]
pub(super) struct EdgeBox {
    queue: Mutex<Queue>,
    ready: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    events: VecDeque<Event>,
    bytes: usize,
    end: Option<End>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Closed,
    Overflowed,
}

/// There was no room: the socket is being cut.
#[derive(Debug)]
pub(super) struct Overflow;

impl EdgeBox {
    /// Queues an event; whether the socket must be woken for it.
    pub(super) fn put(&self, event: Event) -> Result<bool, Overflow> {
        let size = size(&event);
        let mut queue = lock(&self.queue);
        if queue.events.len() >= EDGE_QUEUE_MAX || queue.bytes + size > EDGE_QUEUE_BYTES {
            *queue = Queue { end: Some(End::Overflowed), ..Queue::default() };
            return Err(Overflow);
        }
        let idle = queue.events.is_empty();
        queue.bytes += size;
        queue.events.push_back(event);
        Ok(idle)
    }

    pub(super) fn close(&self) {
        lock(&self.queue).end = Some(End::Closed);
    }

    pub(super) fn wake(&self) {
        self.ready.notify_one();
    }
}

/// One socket's end of the queue. Dropping it tells the machine that the socket is gone.
#[derive(Debug)]
pub struct EdgeMailbox {
    /// The socket's name; goes into every [`crate::relay::io::Input`] about it.
    pub key: EdgeKey,
    shared: Arc<EdgeBox>,
    hub: Arc<Hub>,
}

impl EdgeMailbox {
    pub(super) fn new(key: EdgeKey, shared: Arc<EdgeBox>, hub: Arc<Hub>) -> Self {
        Self { key, shared, hub }
    }

    /// The next event; `None` when the machine closed the socket and everything before that was returned, or when the
    /// socket must be cut because it took too little ([`EdgeMailbox::overflowed`]). Dropping the future loses nothing.
    pub async fn next(&self) -> Option<Event> {
        loop {
            {
                let mut queue = lock(&self.shared.queue);
                if let Some(event) = queue.take() {
                    return Some(event);
                }
                if queue.end.is_some() {
                    return None;
                }
            }
            self.shared.ready.notified().await;
        }
    }

    /// The next event if there is one now: for writing several at once.
    #[must_use]
    pub fn try_next(&self) -> Option<Event> {
        lock(&self.shared.queue).take()
    }

    /// Whether the socket must be cut because it took too little.
    #[must_use]
    pub fn overflowed(&self) -> bool {
        lock(&self.shared.queue).end == Some(End::Overflowed)
    }
}

impl Drop for EdgeMailbox {
    fn drop(&mut self) {
        self.hub.edge_lost(self.key);
    }
}

impl Queue {
    fn take(&mut self) -> Option<Event> {
        let event = self.events.pop_front()?;
        self.bytes = self.bytes.saturating_sub(size(&event));
        if self.events.is_empty() {
            // An idle edge must stay small; room for a few events is had again in no time.
            self.events = VecDeque::new();
        }
        Some(event)
    }
}

/// About how much memory an event holds.
fn size(event: &Event) -> usize {
    EVENT_BYTES
        + match event {
            Event::Joined(sample) | Event::Watching(sample) | Event::Peers(sample) => sample_size(sample),
            Event::PeerJoined { member, .. } => member.meta.len(),
            Event::Signal { data, .. } | Event::Broadcast { data, .. } => data.len(),
            Event::Welcome(welcome) => welcome.gateways.iter().map(String::len).sum(),
            Event::Drain { gateways, .. } => gateways.iter().map(String::len).sum(),
            Event::Error { message, .. } => message.len(),
            Event::Greeting { .. }
            | Event::Left { .. }
            | Event::Unwatched { .. }
            | Event::PeerLeft { .. }
            | Event::Receipt { .. }
            | Event::Tally { .. }
            | Event::Pong => 0,
        }
}

fn sample_size(sample: &Sample) -> usize {
    sample.members.iter().map(|member| 64 + member.meta.len()).sum()
}
