//! Every frame in one type: its number, its limits, the channels that it may come on.

use std::net::SocketAddr;

use bytes::Bytes;
use serde::Deserialize;

use super::{
    Announcement, Bounce, Broadcast, Channel, Delta, DialBack, GoodbyeReason, HaveEntry, Hello, Introduce,
    NotIntroduced, Part, Punch, Query, Range, Receipt, Reply, Routed, Signal, Tally, Verified, Verify,
};
use crate::codec::{self, CodecError, at_most};
use crate::id::HostId;
use crate::limits::{
    BELOW_MAX, CANDIDATES_MAX, HAVE_ENTRIES_MAX, HAVE_NUMBERS_MAX, LANES, LOST_NAMED_MAX, OPS_BYTES, QUERY_RANGES_MAX,
    REQUEST_ID_BYTES, REVOCATIONS_MAX, SIGNAL_DATA_BYTES,
};
use crate::newer;
use crate::revocation::Revocation;

/// Every frame between hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// See [`Hello`].
    Hello(Hello),
    /// The other side's Hello was checked: it may use every channel.
    Admitted,
    /// The link ends.
    Goodbye(GoodbyeReason),
    /// A summary; at most [`HAVE_ENTRIES_MAX`] entries.
    Have(Vec<HaveEntry>),
    /// Do not push this origin's announcements on this link.
    Prune(HostId),
    /// Push this origin's announcements on this link, beginning after (epoch, seq).
    Graft(HostId, u64, u64),
    /// See [`Announcement`].
    Announcement(Announcement),
    /// See [`Query`].
    Query(Query),
    /// See [`Reply`].
    Reply(Reply),
    /// See [`Signal`]. Only on the link between the two homes.
    Signal(Signal),
    /// See [`Receipt`]. Only on the link between the two homes.
    Receipt(Receipt),
    /// See [`Routed`].
    Routed(Routed),
    /// See [`Bounce`].
    Bounce(Bounce),
    /// Identities that are revoked; at most [`REVOCATIONS_MAX`].
    Revoked(Vec<Revocation>),
    /// See [`Broadcast`]. Only on the link between the two hosts.
    Broadcast(Broadcast),
    /// See [`Tally`]. Only on the link between the two hosts.
    Tally(Tally),
    /// Where the sender sees the receiver now; what it said in its Hello is past.
    Observed(SocketAddr),
    /// See [`Introduce`].
    Introduce(Introduce),
    /// See [`Punch`].
    Punch(Punch),
    /// See [`NotIntroduced`].
    NotIntroduced(NotIntroduced),
    /// See [`Verify`].
    Verify(Verify),
    /// See [`DialBack`].
    DialBack(DialBack),
    /// See [`Verified`].
    Verified(Verified),
    /// See [`Delta`].
    Delta(Delta),
}

// The registry of frame kinds. A removed kind leaves its number unused.
const HELLO: u8 = 1;
const ADMITTED: u8 = 2;
const GOODBYE: u8 = 3;
const HAVE: u8 = 4;
const PRUNE: u8 = 5;
const GRAFT: u8 = 6;
const ANNOUNCEMENT: u8 = 7;
const QUERY: u8 = 8;
const REPLY: u8 = 9;
const SIGNAL: u8 = 10;
const RECEIPT: u8 = 11;
const ROUTED: u8 = 12;
const BOUNCE: u8 = 13;
const REVOKED: u8 = 14;
const BROADCAST: u8 = 15;
const TALLY: u8 = 16;
const OBSERVED: u8 = 17;
const INTRODUCE: u8 = 18;
const PUNCH: u8 = 19;
const NOT_INTRODUCED: u8 = 20;
const VERIFY: u8 = 21;
const DIAL_BACK: u8 = 22;
const VERIFIED: u8 = 23;
const DELTA: u8 = 24;

impl Frame {
    /// The frame as it goes onto a stream, header included.
    ///
    /// # Errors
    /// [`CodecError::TooLong`] when a part of it is beyond its limit, or all of it beyond
    /// [`crate::limits::FRAME_BYTES`].
    pub fn encode(&self) -> Result<Bytes, CodecError> {
        let (kind, mut body) = self.kind_and_body()?;
        if kind == HELLO {
            newer::append(&mut body);
        }
        let frame = codec::frame(kind, &body)?;
        // Before admission, kinds that are not known are a fault; behind a goodbye nobody reads.
        Ok(if matches!(kind, HELLO | ADMITTED | GOODBYE) { frame } else { newer::precede(frame) })
    }

    /// Kind number and body, as they are sealed into a [`Routed`] frame.
    ///
    /// # Errors
    /// [`CodecError::TooLong`] when a part of it is beyond its limit.
    pub fn kind_and_body(&self) -> Result<(u8, Vec<u8>), CodecError> {
        self.check()?;
        Ok(match self {
            Self::Hello(hello) => (HELLO, codec::encode(hello)?),
            Self::Admitted => (ADMITTED, Vec::new()),
            Self::Goodbye(reason) => (GOODBYE, codec::encode(reason)?),
            Self::Have(entries) => (HAVE, codec::encode(entries)?),
            Self::Prune(origin) => (PRUNE, codec::encode(origin)?),
            Self::Graft(origin, epoch, seq) => (GRAFT, codec::encode(&(origin, epoch, seq))?),
            Self::Announcement(announcement) => (ANNOUNCEMENT, codec::encode(announcement)?),
            Self::Query(query) => (QUERY, codec::encode(query)?),
            Self::Reply(reply) => (REPLY, codec::encode(reply)?),
            Self::Signal(signal) => (SIGNAL, codec::encode(signal)?),
            Self::Receipt(receipt) => (RECEIPT, codec::encode(receipt)?),
            Self::Routed(routed) => (ROUTED, codec::encode(routed)?),
            Self::Bounce(bounce) => (BOUNCE, codec::encode(bounce)?),
            Self::Revoked(revocations) => (REVOKED, codec::encode(revocations)?),
            Self::Broadcast(broadcast) => (BROADCAST, codec::encode(broadcast)?),
            Self::Tally(tally) => (TALLY, codec::encode(tally)?),
            Self::Observed(address) => (OBSERVED, codec::encode(address)?),
            Self::Introduce(introduce) => (INTRODUCE, codec::encode(introduce)?),
            Self::Punch(punch) => (PUNCH, codec::encode(punch)?),
            Self::NotIntroduced(answer) => (NOT_INTRODUCED, codec::encode(answer)?),
            Self::Verify(verify) => (VERIFY, codec::encode(verify)?),
            Self::DialBack(dial_back) => (DIAL_BACK, codec::encode(dial_back)?),
            Self::Verified(verified) => (VERIFIED, codec::encode(verified)?),
            Self::Delta(delta) => (DELTA, codec::encode(delta)?),
        })
    }

    /// Reads the body of a frame of this kind; `None` for kinds of newer minor versions, which are skipped.
    ///
    /// # Errors
    /// [`CodecError`] when the body is not what its kind asks for, or beyond a limit. Takes at most
    /// [`DECODED_BYTES`](crate::limits::DECODED_BYTES) of memory for a body of
    /// [`FRAME_BYTES`](crate::limits::FRAME_BYTES).
    pub fn decode(kind: u8, body: &[u8]) -> Result<Option<Self>, CodecError> {
        let frame = match kind {
            HELLO => Self::Hello(Hello::decode(body)?),
            ADMITTED if !body.is_empty() => return Err(CodecError::Trailing),
            ADMITTED => Self::Admitted,
            GOODBYE => Self::Goodbye(codec::decode(body)?),
            HAVE => Self::Have(codec::decode::<Entries>(body)?.0),
            PRUNE => Self::Prune(codec::decode(body)?),
            GRAFT => {
                let (origin, epoch, seq) = codec::decode(body)?;
                Self::Graft(origin, epoch, seq)
            }
            ANNOUNCEMENT => Self::Announcement(codec::decode(body)?),
            QUERY => Self::Query(codec::decode(body)?),
            REPLY => Self::Reply(codec::decode(body)?),
            SIGNAL => Self::Signal(codec::decode(body)?),
            RECEIPT => Self::Receipt(codec::decode(body)?),
            ROUTED => Self::Routed(codec::decode(body)?),
            BOUNCE => Self::Bounce(codec::decode(body)?),
            REVOKED => Self::Revoked(codec::decode::<Statements>(body)?.0),
            BROADCAST => Self::Broadcast(codec::decode(body)?),
            TALLY => Self::Tally(codec::decode(body)?),
            OBSERVED => Self::Observed(codec::decode(body)?),
            INTRODUCE => Self::Introduce(codec::decode(body)?),
            PUNCH => Self::Punch(codec::decode(body)?),
            NOT_INTRODUCED => Self::NotIntroduced(codec::decode(body)?),
            VERIFY => Self::Verify(codec::decode(body)?),
            DIAL_BACK => Self::DialBack(codec::decode(body)?),
            VERIFIED => Self::Verified(codec::decode(body)?),
            DELTA => Self::Delta(codec::decode(body)?),
            _ => return Ok(None),
        };
        frame.check()?;
        Ok(Some(frame))
    }

    /// Whether every part is within its limit. What is not is neither sent nor taken.
    fn check(&self) -> Result<(), CodecError> {
        match self {
            Self::Hello(hello) => at_most(hello.lost.len(), LOST_NAMED_MAX),
            Self::Admitted
            | Self::Goodbye(_)
            | Self::Prune(_)
            | Self::Graft(..)
            | Self::Observed(_)
            | Self::NotIntroduced(_)
            | Self::Verified(_) => Ok(()),
            Self::Introduce(Introduce { candidates, .. }) | Self::Punch(Punch { candidates, .. }) => {
                at_most(candidates.len(), CANDIDATES_MAX)
            }
            Self::Verify(Verify { place, .. }) | Self::DialBack(DialBack { place, .. }) => place.check(),
            Self::Have(entries) => {
                at_most(entries.len(), HAVE_ENTRIES_MAX)?;
                entries.iter().try_for_each(HaveEntry::check)
            }
            Self::Announcement(announcement) => at_most(announcement.ops.as_ref().map_or(0, Bytes::len), OPS_BYTES),
            Self::Delta(delta) => at_most(delta.ops.len(), OPS_BYTES),
            Self::Query(query) => {
                at_most(query.ranges.len(), QUERY_RANGES_MAX)?;
                query.ranges.iter().try_for_each(Range::check)
            }
            Self::Reply(reply) => {
                at_most(reply.parts.len(), QUERY_RANGES_MAX)?;
                reply.parts.iter().try_for_each(|(range, part)| range.check().and_then(|()| part.check()))
            }
            Self::Signal(signal) => {
                at_most(signal.data.len(), SIGNAL_DATA_BYTES)?;
                check_request_id(&signal.id)
            }
            Self::Receipt(receipt) => check_request_id(&receipt.id),
            Self::Routed(routed) if routed.lane >= LANES => Err(CodecError::Malformed),
            Self::Routed(_) | Self::Bounce(_) => Ok(()),
            Self::Revoked(revocations) => at_most(revocations.len(), REVOCATIONS_MAX),
            Self::Broadcast(broadcast) => {
                at_most(broadcast.data.len(), SIGNAL_DATA_BYTES)?;
                check_request_id(&broadcast.id)
            }
            Self::Tally(tally) => check_request_id(&tally.id),
        }
    }

    /// Whether a frame of this kind may come on `channel`.
    #[must_use]
    pub fn belongs_on(&self, channel: Channel) -> bool {
        match self {
            Self::Hello(_)
            | Self::Admitted
            | Self::Goodbye(_)
            | Self::Have(_)
            | Self::Prune(_)
            | Self::Graft(..)
            | Self::Observed(_)
            | Self::Introduce(_)
            | Self::Punch(_)
            | Self::NotIntroduced(_)
            | Self::Verify(_)
            | Self::DialBack(_)
            | Self::Verified(_) => channel == Channel::Control,
            Self::Announcement(_) => matches!(channel, Channel::Control | Channel::Announce),
            Self::Delta(_) => channel == Channel::Announce,
            Self::Query(_) | Self::Reply(_) => channel == Channel::Sync,
            Self::Revoked(_) => matches!(channel, Channel::Control | Channel::Sync),
            Self::Signal(_)
            | Self::Receipt(_)
            | Self::Broadcast(_)
            | Self::Tally(_)
            | Self::Routed(_)
            | Self::Bounce(_) => matches!(channel, Channel::Lane(_)),
        }
    }
}

/// What a summary holds, for reading.
#[derive(Deserialize)]
struct Entries(#[serde(deserialize_with = "codec::list::<_, _, HAVE_ENTRIES_MAX>")] Vec<HaveEntry>);

/// What a `Revoked` holds, for reading.
#[derive(Deserialize)]
struct Statements(#[serde(deserialize_with = "codec::list::<_, _, REVOCATIONS_MAX>")] Vec<Revocation>);

impl HaveEntry {
    fn check(&self) -> Result<(), CodecError> {
        let (Self::Named { number, .. } | Self::Numbered { number, .. }) = self;
        if *number < HAVE_NUMBERS_MAX { Ok(()) } else { Err(CodecError::TooLong { limit: HAVE_NUMBERS_MAX.into() }) }
    }
}

impl Range {
    fn check(&self) -> Result<(), CodecError> {
        at_most(usize::from(self.nibbles), 2 * self.key.len())
    }
}

impl Part {
    fn check(&self) -> Result<(), CodecError> {
        match self {
            Self::Entries(bytes) => at_most(bytes.len(), OPS_BYTES),
            Self::Below(below) => {
                at_most(below.len(), BELOW_MAX)?;
                below.iter().try_for_each(|(range, _)| range.check())
            }
        }
    }
}

fn check_request_id(id: &str) -> Result<(), CodecError> {
    if id.is_empty() { Err(CodecError::Malformed) } else { at_most(id.len(), REQUEST_ID_BYTES) }
}
