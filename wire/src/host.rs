//! The frames between hosts: one numbered registry (PROTOCOL.md §5, §6, §7).

mod broadcast;
mod reach;

use std::net::SocketAddr;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::announcement::{Op, SignedHead};
use crate::codec::{self, CodecError, at_most};
use crate::id::{HostId, PeerId, TopicId};
use crate::limits::{
    BELOW_MAX, CANDIDATES_MAX, HAVE_ENTRIES_MAX, HAVE_NUMBERS_MAX, LANES, LOST_NAMED_MAX, OPS_BYTES, QUERY_RANGES_MAX,
    REQUEST_ID_BYTES, REVOCATIONS_MAX, SIGNAL_DATA_BYTES,
};
use crate::newer;
use crate::proof::Proof;
use crate::record::SignedRecord;
use crate::refusal::Refusal;
use crate::revocation::Revocation;

pub use broadcast::{Broadcast, Spread, Tally};
pub use reach::{
    DialBack, Introduce, Nat, NotIntroduced, NotIntroducedReason, Place, Punch, Verdict, Verified, Verify,
};

/// A stream of a link. Control is bidirectional and the dialler's first; the others are unidirectional, opened by the
/// sender at the first frame, and begin with one byte: [`Channel::number`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Channel {
    /// Hello, goodbye, summaries, prune, graft, heartbeats.
    Control,
    /// Announcements with ops.
    Announce,
    /// Catching up: queries and replies.
    Sync,
    /// Signals and receipts; a (sender, target) pair always takes the same lane.
    Lane(u8),
}

impl Channel {
    /// The first byte of a unidirectional stream.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Control => 0,
            Self::Announce => 1,
            Self::Sync => 2,
            Self::Lane(lane) => 16 + lane,
        }
    }

    /// The unidirectional channel with this first byte.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Announce),
            2 => Some(Self::Sync),
            _ => number.checked_sub(16).filter(|lane| *lane < LANES).map(Self::Lane),
        }
    }

    /// Sending order between channels of a link: higher first, and equal ones in turn, a packet each. So a flood of
    /// signals, on all four lanes, leaves a fifth of the link to announcements while there are any.
    #[must_use]
    pub fn priority(self) -> i32 {
        i32::from(self == Self::Control)
    }
}

/// The first frame each way on control. Newer minor versions may append fields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Hello {
    /// See [`admission_proof`].
    pub proof: [u8; 32],
    /// The sender's epoch; of two connections of one host the higher epoch wins.
    pub epoch: u64,
    /// What the sender says of itself.
    pub record: SignedRecord,
    /// The address at which the sender sees the receiver.
    pub observed: SocketAddr,
    /// Other connections of the same two hosts over which nothing comes to the sender any more, by their names
    /// ([`connection_name`]). Was not there in the first version.
    pub lost: Vec<[u8; 8]>,
}

impl Hello {
    fn decode(body: &[u8]) -> Result<Self, CodecError> {
        let ((proof, epoch, record, observed), rest) = codec::decode_first(body)?;
        let lost = if rest.is_empty() { Vec::new() } else { codec::decode_prefix::<Names>(rest)?.0 };
        Ok(Self { proof, epoch, record, observed, lost })
    }
}

/// Names of connections.
#[derive(Deserialize)]
struct Names(#[serde(deserialize_with = "codec::list::<_, _, LOST_NAMED_MAX>")] Vec<[u8; 8]>);

/// Why a link ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum GoodbyeReason {
    /// The host is shutting down.
    Closing,
    /// Another connection of the same two hosts is kept.
    Crossed,
    /// The other side does not know the genesis key.
    NotAdmitted,
    /// The other side did not keep to the protocol.
    Misbehaved,
    /// The host has as many links as it wants.
    Full,
    /// The operator does not want this host here.
    NotAllowed,
    /// The other side's identity is revoked.
    Revoked,
}

impl GoodbyeReason {
    /// Every reason there is.
    pub const ALL: [Self; 7] = [
        Self::Closing,
        Self::Crossed,
        Self::NotAdmitted,
        Self::Misbehaved,
        Self::Full,
        Self::NotAllowed,
        Self::Revoked,
    ];

    /// For people who read a log.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Closing => "shutting down",
            Self::Crossed => "another connection of the two hosts is kept",
            Self::NotAdmitted => "not admitted",
            Self::Misbehaved => "protocol broken",
            Self::Full => "enough links",
            Self::NotAllowed => "not allowed here",
            Self::Revoked => "the identity is revoked",
        }
    }
}

/// One origin's newest state at the sender of a summary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HaveEntry {
    /// Gives an origin its number on this link, in this direction, whatever it stood for before.
    Named {
        /// The number that later entries use; below [`HAVE_NUMBERS_MAX`].
        number: u16,
        /// Who.
        origin: HostId,
        /// Its newest epoch here.
        epoch: u64,
        /// The newest seq applied here.
        seq: u64,
    },
    /// A later state of a named origin in the same epoch.
    Numbered {
        /// As given before.
        number: u16,
        /// The newest seq applied here.
        seq: u64,
        /// For how long the sender has had it, in hundredths of a second; 255 for longer. Tells the receiver whether this
        /// link would have brought it earlier.
        held: u8,
    },
}

/// An announcement as it travels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announcement {
    /// How long the head has been known on the way here, in milliseconds.
    pub age_ms: u32,
    /// Signed by the origin.
    pub head: SignedHead,
    /// The encoded ops; `None` for a heartbeat and for a head that runs ahead of its ops.
    pub ops: Option<Bytes>,
}

/// A part of a roster: all entries whose key begins with the first `nibbles` nibbles of `key`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Range {
    /// Key prefix; what follows the prefix is zero.
    pub key: [u8; 32],
    /// Length of the prefix, 0 to 64.
    pub nibbles: u8,
}

/// Asks for parts of an origin's roster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Query {
    /// Whose roster.
    pub origin: HostId,
    /// Which parts; at most [`QUERY_RANGES_MAX`].
    #[serde(deserialize_with = "codec::list::<_, _, QUERY_RANGES_MAX>")]
    pub ranges: Vec<Range>,
}

/// What one range holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Part {
    /// All its entries, as ops that make them: `Record`, `Present`, `Join` ([`crate::announcement::encode_ops`]).
    Entries(Bytes),
    /// Too many to send at once: the digests of the ranges below it that are not empty; at most [`BELOW_MAX`].
    Below(#[serde(deserialize_with = "codec::list::<_, _, BELOW_MAX>")] Vec<(Range, [u8; 32])>),
}

/// The answer to a [`Query`]: parts of the roster at `head`. Ranges for which there was no room are left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// Whose roster.
    pub origin: HostId,
    /// The head that the parts belong to, with its age in milliseconds; `None` when the origin is not known here.
    pub head: Option<(u32, SignedHead)>,
    /// What was asked for; at most [`QUERY_RANGES_MAX`].
    #[serde(deserialize_with = "codec::list::<_, _, QUERY_RANGES_MAX>")]
    pub parts: Vec<(Range, Part)>,
}

/// A signal between two homes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signal {
    /// The sender.
    pub from: PeerId,
    /// The receiver.
    pub to: PeerId,
    /// Names the sender's session, so that `n` may start again.
    pub session: u64,
    /// Grows with every signal of the session to this target.
    pub n: u64,
    /// The sender's id for the signal.
    pub id: String,
    /// Why the sender may be believed to be at home where the signal comes from.
    pub proof: Proof,
    /// The topic in which the two met, if the sender said so.
    pub topic: Option<TopicId>,
    /// Opaque.
    pub data: Bytes,
}

/// What became of a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The target acknowledged it.
    Delivered,
    /// It was not and will not be delivered.
    Refused(Refusal),
    /// Nobody can say. Sending it again under the same id is safe.
    Unknown,
}

/// The single final answer to a signal, from the target's home to the sender's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The signal's sender.
    pub from: PeerId,
    /// The signal's target.
    pub to: PeerId,
    /// The signal's id.
    pub id: String,
    /// What became of it.
    pub outcome: Outcome,
}

/// A signal or receipt that crosses a third host, sealed home to home (PROTOCOL.md §8).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Routed {
    /// The home that opens it.
    pub to_home: HostId,
    /// The home that sealed it.
    pub from_home: HostId,
    /// Epoch of `to_home` that the sealer knows.
    pub to_epoch: u64,
    /// Epoch of `from_home`.
    pub from_epoch: u64,
    /// Hosts crossed so far.
    pub hops: u8,
    /// The lane that the pair takes on every link.
    pub lane: u8,
    /// Drawn by the sealer; also names the frame in a [`Bounce`].
    pub nonce: [u8; 24],
    /// Kind number and body of a `Signal`, `Receipt`, `Broadcast` or `Tally` frame, sealed.
    pub sealed: Bytes,
}

/// A host on the way could not pass a [`Routed`] frame on; goes back over the link it came by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bounce {
    /// The home that sealed it.
    pub from_home: HostId,
    /// Names the frame.
    pub nonce: [u8; 24],
    /// Why.
    pub refusal: Refusal,
}

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

/// Which end of a link made something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// The end that opened the connection.
    Dialler,
    /// The end that took it.
    Acceptor,
}

impl Role {
    /// The other end.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Dialler => Self::Acceptor,
            Self::Acceptor => Self::Dialler,
        }
    }
}

/// The label under which both ends export 32 bytes of key material from the TLS session, without context.
pub const EXPORTER_LABEL: &[u8] = b"EXPORTER-aldis-admission";

/// How both ends of a connection call it (PROTOCOL.md §5.2).
#[must_use]
pub fn connection_name(exporter: &[u8; 32]) -> [u8; 8] {
    let [name @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] =
        blake3::derive_key("aldis 2026 connection", exporter);
    name
}

/// Proves knowledge of the genesis key on this very TLS session (PROTOCOL.md §5.2). Compare in constant time.
#[must_use]
pub fn admission_proof(
    admission_key: &[u8; 32],
    role: Role,
    exporter: &[u8; 32],
    dialler: HostId,
    acceptor: HostId,
) -> blake3::Hash {
    let role = match role {
        Role::Dialler => 1,
        Role::Acceptor => 2,
    };
    let mut hasher = blake3::Hasher::new_keyed(admission_key);
    hasher.update(&[role]).update(exporter).update(dialler.as_bytes()).update(acceptor.as_bytes());
    hasher.finalize()
}

/// Reads the entries of a [`Part::Entries`].
///
/// # Errors
/// [`CodecError`] when the bytes are malformed or hold other ops than entries.
pub fn entries(bytes: &[u8]) -> Result<Vec<Op>, CodecError> {
    let ops = crate::announcement::decode_ops(bytes)?;
    if ops.iter().all(|op| matches!(op, Op::Record(_) | Op::Present { .. } | Op::Join { .. })) {
        Ok(ops)
    } else {
        Err(CodecError::Malformed)
    }
}
