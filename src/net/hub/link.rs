//! A link's mailbox: one queue of frames per channel, and what is to be done with the connection.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use aldis_wire::host::{Channel, GoodbyeReason};
use aldis_wire::limits::LANES;
use bytes::Bytes;
use tokio::sync::Notify;

use super::lock;
use crate::relay::io::LinkKey;
use crate::relay::limits::{ANNOUNCE_QUEUE_BYTES, CONTROL_QUEUE_BYTES, SIGNAL_QUEUE_BYTES, SYNC_QUEUE_BYTES};

/// Frame bytes that wait on all channels of a link. The machine bounds each channel by what it has heard to be sent;
/// this is the backstop behind it, at twice the sum. Beyond it the connection is cut.
pub const LINK_QUEUE_BYTES: usize =
    2 * (ANNOUNCE_QUEUE_BYTES + CONTROL_QUEUE_BYTES + SIGNAL_QUEUE_BYTES + SYNC_QUEUE_BYTES);
/// What the machine is told of a connection that was cut for this.
pub(super) const OVERFLOWED: &str = "more bytes were waiting for it than it may hold";

const CHANNELS: usize = 3 + LANES as usize;

/// What is to be done with a connection besides sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkOrder {
    /// The first frame of this channel waits: open its stream.
    Open(Channel),
    /// The other side is admitted: allow more.
    Widen,
    /// Send what waits, then end.
    Close(LinkEnd),
}

/// Why a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkEnd {
    /// The machine said so.
    Said(GoodbyeReason),
    /// It took too little; nothing waits any more.
    Overflowed,
}

/// The queues between machine and connection.
#[derive(Debug)]
pub(super) struct LinkBox {
    pub(super) key_exchange: &'static str,
    /// Set inside the machine's call: the frame after the one that admitted the other side may already be large.
    wide: AtomicBool,
    state: Mutex<State>,
    orders: Notify,
    frames: [Notify; CHANNELS],
}

#[derive(Debug, Default)]
struct State {
    channels: [Queue; CHANNELS],
    bytes: usize,
    /// Channels to open and whether to widen; each comes at most once, so it is bounded.
    orders: VecDeque<LinkOrder>,
    end: Option<LinkEnd>,
}

#[derive(Debug, Default)]
struct Queue {
    opened: bool,
    frames: VecDeque<Bytes>,
}

/// There was no room: the connection is being cut.
#[derive(Debug)]
pub(super) struct Overflow;

impl LinkBox {
    pub(super) fn new(key_exchange: &'static str) -> Self {
        Self {
            key_exchange,
            wide: AtomicBool::new(false),
            state: Mutex::new(State::default()),
            orders: Notify::new(),
            frames: std::array::from_fn(|_| Notify::new()),
        }
    }

    /// Queues a frame; whom to wake for it.
    pub(super) fn put(&self, channel: Channel, frame: Bytes) -> Result<Option<LinkWake>, Overflow> {
        let mut state = lock(&self.state);
        if state.bytes + frame.len() > LINK_QUEUE_BYTES {
            *state = State { end: Some(LinkEnd::Overflowed), ..State::default() };
            return Err(Overflow);
        }
        state.bytes += frame.len();
        let Some(queue) = state.channels.get_mut(index(channel)) else { return Ok(None) };
        let waited = !queue.frames.is_empty();
        queue.frames.push_back(frame);
        if !std::mem::replace(&mut queue.opened, true) {
            state.orders.push_back(LinkOrder::Open(channel));
            return Ok(Some(LinkWake::Opener(channel)));
        }
        Ok(if waited { None } else { Some(LinkWake::Writer(channel)) })
    }

    pub(super) fn widen(&self) {
        self.wide.store(true, Ordering::Release);
        let mut state = lock(&self.state);
        if !state.orders.contains(&LinkOrder::Widen) {
            state.orders.push_back(LinkOrder::Widen);
        }
    }

    pub(super) fn close(&self, reason: GoodbyeReason) {
        lock(&self.state).end = Some(LinkEnd::Said(reason));
    }

    pub(super) fn wake(&self, whom: LinkWake) {
        match whom {
            LinkWake::Writer(channel) => self.wake_writer(channel),
            LinkWake::Opener(channel) => {
                self.orders.notify_one();
                // The stream of control is open before its first frame.
                self.wake_writer(channel);
            }
            LinkWake::Everybody => {
                self.orders.notify_one();
                for ready in &self.frames {
                    ready.notify_one();
                }
            }
        }
    }

    fn wake_writer(&self, channel: Channel) {
        if let Some(ready) = self.frames.get(index(channel)) {
            ready.notify_one();
        }
    }
}

/// Which tasks of a connection have something to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LinkWake {
    /// The one that writes this channel.
    Writer(Channel),
    /// The one that opens this channel's stream, or writes it already.
    Opener(Channel),
    /// All: it ends, or is admitted.
    Everybody,
}

/// One connection's end of the queues.
#[derive(Clone, Debug)]
pub struct LinkMailbox {
    /// The connection's name; goes into every [`crate::relay::io::Input`] about it.
    pub key: LinkKey,
    shared: Arc<LinkBox>,
}

impl LinkMailbox {
    pub(super) fn new(key: LinkKey, shared: Arc<LinkBox>) -> Self {
        Self { key, shared }
    }

    /// Whether the other side is admitted and may send large frames.
    #[must_use]
    pub fn is_wide(&self) -> bool {
        self.shared.wide.load(Ordering::Acquire)
    }

    /// What is to be done next. After `Close` it says `Close` for ever. For one caller; dropping the future loses
    /// nothing.
    pub async fn next_order(&self) -> LinkOrder {
        loop {
            {
                let mut state = lock(&self.shared.state);
                if let Some(order) = state.orders.pop_front() {
                    return order;
                }
                if let Some(end) = state.end {
                    return LinkOrder::Close(end);
                }
            }
            self.shared.orders.notified().await;
        }
    }

    /// Moves all frames that wait on `channel` to the end of `into`, waiting until there is one. False when the
    /// connection ends and no frame is left. For one caller per channel; dropping the future loses nothing.
    pub async fn frames(&self, channel: Channel, into: &mut Vec<Bytes>) -> bool {
        let Some(ready) = self.shared.frames.get(index(channel)) else { return false };
        loop {
            {
                let mut state = lock(&self.shared.state);
                let Some(queue) = state.channels.get_mut(index(channel)) else { return false };
                if !queue.frames.is_empty() {
                    let before = into.len();
                    into.extend(queue.frames.drain(..));
                    let taken = into.iter().skip(before).map(Bytes::len).sum::<usize>();
                    state.bytes = state.bytes.saturating_sub(taken);
                    return true;
                }
                if state.end.is_some() {
                    return false;
                }
            }
            ready.notified().await;
        }
    }
}

fn index(channel: Channel) -> usize {
    match channel {
        Channel::Control => 0,
        Channel::Announce => 1,
        Channel::Sync => 2,
        Channel::Lane(lane) => 3 + usize::from(lane),
    }
}
