//! The frames between hosts: one numbered registry (PROTOCOL.md §5, §6, §7).

mod admission;
mod broadcast;
mod frame;
mod reach;

use std::net::SocketAddr;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::announcement::{Op, SignedHead};
use crate::codec::{self, CodecError};
use crate::id::{HostId, PeerId, TopicId};
use crate::limits::{BELOW_MAX, LANES, LOST_NAMED_MAX, QUERY_RANGES_MAX};
use crate::proof::Proof;
use crate::record::SignedRecord;
use crate::refusal::Refusal;

pub use admission::{EXPORTER_LABEL, Role, admission_proof, connection_name};
pub use broadcast::{Broadcast, Spread, Tally};
pub use frame::Frame;
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
        /// The number that later entries use; below [`HAVE_NUMBERS_MAX`](crate::limits::HAVE_NUMBERS_MAX).
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

/// What stands for several announcements of an origin: how everything that they touch ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delta {
    /// As in an [`Announcement`].
    pub age_ms: u32,
    /// That of the last of them, signed by the origin: its digest is that of the roster after the ops.
    pub head: SignedHead,
    /// The seq after which the first of them comes, in the epoch of the head; 0: before all of the epoch.
    pub since: u64,
    /// Encoded ops, at most [`OPS_BYTES`](crate::limits::OPS_BYTES).
    pub ops: Bytes,
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
