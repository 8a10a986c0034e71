//! Frames in and out of one stream. Reading never waits for anything but the other side.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aldis_wire::codec::{self, CodecError};
use aldis_wire::host::Channel;
use aldis_wire::limits::{FRAME_BEFORE_ADMISSION_BYTES, FRAME_BYTES};
use bytes::{Bytes, BytesMut};
use quinn::{Connection, ReadError, RecvStream, SendStream, VarInt, WriteError};
use tokio::time::timeout;

use super::canonical;
use super::transport::UNKNOWN_STREAMS_MAX;
use crate::net::hub::{Hub, LinkMailbox};
use crate::relay::io::Input;

/// Read from a stream at once.
const READ_BYTES: usize = 64 << 10;
/// Frames that the machine takes under one lock. Others wait for it meanwhile, at some 5 µs a frame.
const FRAMES_AT_ONCE: usize = 32;
/// Written to a stream at once, and then told to the machine.
const WRITE_BYTES: usize = 32 << 10;
/// What an unadmitted host may send in all: its Hello, and room for what a newer version may say besides it.
const BEFORE_ADMISSION_BYTES: usize = 4 * FRAME_BEFORE_ADMISSION_BYTES;
/// Tells the other side that we do not know this kind of stream.
const UNKNOWN_CHANNEL: u32 = 0;

/// A control frame that the transport does not take in this time ends the connection: the other side does not read.
const STALL_MAX: Duration = Duration::from_secs(10);

/// How the other side broke the framing. Ends the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error("a frame is longer than allowed")]
    TooLong,
    #[error("it says too much before it is admitted")]
    Talkative,
    #[error("a stream ends inside a frame")]
    Truncated,
    #[error("a channel was opened twice")]
    Duplicate,
    #[error("too many streams of unknown kinds")]
    Unknown,
    #[error("it takes no control frames")]
    Stalled,
}

/// What the readers of a connection share.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) mailbox: LinkMailbox,
    pub(super) hub: Arc<Hub>,
    connection: Connection,
    /// Where the other side was when it last said something on control.
    address: Mutex<SocketAddr>,
    /// A bit for every channel number that was opened.
    seen: AtomicU32,
    unknown: AtomicUsize,
}

impl Reading {
    pub(super) fn new(connection: Connection, mailbox: LinkMailbox, hub: Arc<Hub>) -> Self {
        let address = Mutex::new(connection.remote_address());
        Self { mailbox, hub, connection, address, seen: AtomicU32::new(0), unknown: AtomicUsize::new(0) }
    }

    /// What to tell the machine if the other side is somewhere else than when it last said something on control. What it
    /// says now is not taken for what it says from there.
    fn moved(&self, channel: Channel) -> Option<Input> {
        if channel != Channel::Control {
            return None;
        }
        let now = self.connection.remote_address();
        let before = std::mem::replace(&mut *self.address.lock().unwrap_or_else(PoisonError::into_inner), now);
        let (link, rtt, address) = (self.mailbox.key, self.connection.rtt(), canonical(now));
        (before != now).then_some(Input::LinkMeasured { link, rtt, address })
    }

    /// Reads the channel's number and then its frames, until the stream ends.
    pub(super) async fn read_numbered(&self, mut stream: RecvStream) -> Result<(), Fault> {
        let mut number = [0; 1];
        if stream.read_exact(&mut number).await.is_err() {
            // It ended before it began, or the connection did.
            return Ok(());
        }
        let [number] = number;
        let Some(channel) = Channel::from_number(number) else {
            let _ = stream.stop(VarInt::from_u32(UNKNOWN_CHANNEL));
            let before = self.unknown.fetch_add(1, Ordering::Relaxed);
            return if before < UNKNOWN_STREAMS_MAX { Ok(()) } else { Err(Fault::Unknown) };
        };
        let bit = 1_u32.checked_shl(u32::from(number)).unwrap_or(0);
        if self.seen.fetch_or(bit, Ordering::Relaxed) & bit != 0 {
            return Err(Fault::Duplicate);
        }
        self.read(stream, channel).await
    }

    /// Reads frames until the stream ends.
    pub(super) async fn read(&self, mut stream: RecvStream, channel: Channel) -> Result<(), Fault> {
        let mut buffer = BytesMut::new();
        let mut before_admission = 0;
        loop {
            match stream.read_chunk(READ_BYTES, true).await {
                Ok(Some(chunk)) => {
                    buffer.extend_from_slice(&chunk.bytes);
                    if !self.mailbox.is_wide() {
                        before_admission += chunk.bytes.len();
                    }
                }
                Ok(None) => return if buffer.is_empty() { Ok(()) } else { Err(Fault::Truncated) },
                Err(ReadError::Reset(_)) => return Err(Fault::Truncated),
                // The connection is over; its own end says why.
                Err(_) => return Ok(()),
            }
            let mut fault = self.hand_over(&mut buffer, channel);
            if before_admission > BEFORE_ADMISSION_BYTES {
                fault = Some(Fault::Talkative);
            }
            if let Some(fault) = fault {
                return Err(fault);
            }
            if buffer.is_empty() {
                // The frames hold the memory now; an idle stream holds none.
                buffer = BytesMut::new();
            }
        }
    }

    /// Tells the machine of all whole frames in `buffer`.
    fn hand_over(&self, buffer: &mut BytesMut, channel: Channel) -> Option<Fault> {
        let link = self.mailbox.key;
        let (mut fault, mut more) = (None, true);
        while more {
            more = false;
            let mut room = FRAMES_AT_ONCE;
            let moved = self.moved(channel);
            self.hub.happened_all(moved.into_iter().chain(std::iter::from_fn(|| {
                if room == 0 {
                    more = true;
                    return None;
                }
                room -= 1;
                match self.cut(buffer) {
                    Ok(frame) => frame.map(|(kind, body)| Input::LinkReceived { link, channel, kind, body }),
                    Err(_) => {
                        fault = Some(Fault::TooLong);
                        None
                    }
                }
            })));
        }
        fault
    }

    fn cut(&self, buffer: &mut BytesMut) -> Result<Option<(u8, Bytes)>, CodecError> {
        let limit = if self.mailbox.is_wide() { FRAME_BYTES } else { FRAME_BEFORE_ADMISSION_BYTES };
        codec::cut(buffer, limit)
    }
}

/// Writes the frames of a channel until the link ends, then waits until they have arrived. When the connection is over
/// it returns early; the connection's own end says why.
///
/// # Errors
/// [`Fault::Stalled`] when the other side takes no control frames.
pub(super) async fn write(
    mailbox: LinkMailbox,
    hub: Arc<Hub>,
    mut stream: SendStream,
    channel: Channel,
) -> Result<(), Fault> {
    let link = mailbox.key;
    if stream.set_priority(channel.priority()).is_err() {
        return Ok(());
    }
    let mut frames = Vec::new();
    let mut stopped = false;
    while mailbox.frames(channel, &mut frames).await {
        let mut waiting = frames.drain(..).peekable();
        while let Some(first) = waiting.next() {
            let piece = joined(first, &mut waiting);
            let bytes = piece.len();
            if !stopped {
                match written(&mut stream, piece, channel).await? {
                    Ok(()) => {}
                    // It does not know this channel. What the machine sends there is gone, and must not pile up.
                    Err(WriteError::Stopped(_)) => stopped = true,
                    Err(_) => return Ok(()),
                }
            }
            hub.happened(Input::LinkSent { link, channel, bytes });
        }
    }
    if stream.finish().is_ok() {
        let _ = stream.stopped().await;
    }
    Ok(())
}

async fn written(stream: &mut SendStream, piece: Bytes, channel: Channel) -> Result<Result<(), WriteError>, Fault> {
    let writing = stream.write_chunk(piece);
    if channel == Channel::Control {
        timeout(STALL_MAX, writing).await.map_err(|_| Fault::Stalled)
    } else {
        Ok(writing.await)
    }
}

/// Several small frames as one piece: QUIC keeps a list of pieces until they are acknowledged, and walks it. A frame
/// that is alone, or large, is not copied.
fn joined(first: Bytes, rest: &mut std::iter::Peekable<impl Iterator<Item = Bytes>>) -> Bytes {
    let fits = |bytes: usize, next: Option<&Bytes>| next.is_some_and(|next| bytes + next.len() <= WRITE_BYTES);
    if !fits(first.len(), rest.peek()) {
        return first;
    }
    let mut piece = BytesMut::with_capacity(WRITE_BYTES.min(4 * first.len()));
    piece.extend_from_slice(&first);
    while fits(piece.len(), rest.peek()) {
        let Some(next) = rest.next() else { break };
        piece.extend_from_slice(&next);
    }
    piece.freeze()
}
