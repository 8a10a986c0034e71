//! Announcements: a signed head, and the ops that it covers (PROTOCOL.md §6).

use std::time::Duration;

use bytes::Bytes;
use ed25519_dalek::SigningKey;
use serde::{Deserialize, Serialize};

use crate::codec::{CodecError, at_most, decode, encode};
use crate::id::{HostId, PeerId, TopicId};
use crate::limits::{HEAD_BYTES, HEARTBEAT_MAX, HEARTBEAT_MIN, META_BYTES, OPS_BYTES, OPS_MAX};
use crate::network::NetworkTag;
use crate::newer;
use crate::proof::{Proof, Signature, Trust};
use crate::record::SignedRecord;

const CONTEXT: &str = "aldis 2026 head";

/// What an origin signs with each announcement. Verifiable without the ops.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Whose roster changes.
    pub origin: HostId,
    /// Grows with every start of the origin.
    pub epoch: u64,
    /// Grows by one with every announcement of the epoch; the first is 1.
    pub seq: u64,
    /// Hash of the encoded ops; that of the empty string for a heartbeat.
    pub ops_hash: [u8; 32],
    /// Digest of the roster after the ops.
    pub digest: [u8; 32],
    /// Time until the next head at the latest, in milliseconds.
    pub interval_ms: u32,
}

impl Head {
    /// The stated interval, clamped to what we are ready to believe.
    #[must_use]
    pub fn interval(&self) -> Duration {
        Duration::from_millis(u64::from(self.interval_ms)).clamp(HEARTBEAT_MIN, HEARTBEAT_MAX)
    }

    /// Whether the announcement has no ops.
    #[must_use]
    pub fn is_heartbeat(&self) -> bool {
        self.ops_hash == NO_OPS_HASH
    }

    /// Epoch and seq: what orders the heads of an origin.
    #[must_use]
    pub fn mark(&self) -> (u64, u64) {
        (self.epoch, self.seq)
    }
}

/// BLAKE3 of nothing: the ops hash of a heartbeat.
const NO_OPS_HASH: [u8; 32] = [
    0xaf, 0x13, 0x49, 0xb9, 0xf5, 0xf9, 0xa1, 0xa6, 0xa0, 0x40, 0x4d, 0xea, 0x36, 0xdc, 0xc9, 0x49, 0x9b, 0xcb, 0x25,
    0xc9, 0xad, 0xc1, 0x12, 0xb7, 0xcc, 0x9a, 0x93, 0xca, 0xe4, 0x1f, 0x32, 0x62,
];

/// A head as its origin signed it, passed on byte for byte.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedHead {
    bytes: Bytes,
    signature: Signature,
}

impl SignedHead {
    /// Signs `head`; `key` must be the origin's.
    ///
    /// # Errors
    /// Does not fail for any head that fits its type.
    pub fn make(key: &SigningKey, tag: NetworkTag, head: &Head) -> Result<Self, CodecError> {
        let bytes = Bytes::from(encode(head)?);
        let signature = Signature::make(key, CONTEXT, tag, &bytes);
        Ok(Self { bytes, signature })
    }

    /// Reads the head without checking the signature: enough to drop a duplicate.
    ///
    /// # Errors
    /// [`CodecError`] when the bytes are not a head.
    pub fn peek(&self) -> Result<Head, CodecError> {
        at_most(self.bytes.len(), HEAD_BYTES)?;
        decode(&self.bytes)
    }

    /// Whether `head`, as [`SignedHead::peek`] gave it, is signed by its origin. One signature check.
    #[must_use]
    pub fn is_signed(&self, head: &Head, trust: impl Into<Trust>) -> bool {
        trust.into().verify(self.signature, head.origin.as_bytes(), CONTEXT, &self.bytes)
    }
}

/// An announcement as it is kept: its head, read and as it was signed, and its ops if they have come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announced {
    /// What was signed.
    pub head: Head,
    /// For passing on.
    pub signed: SignedHead,
    /// The encoded ops; `None` for a heartbeat, or while they are missing.
    pub ops: Option<Bytes>,
}

/// Why a peer is gone from a roster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum GoneReason {
    /// It said `bye`.
    Closed,
    /// Its socket was gone past the grace period.
    Lost,
    /// It has a newer session at another home.
    Moved,
    /// Its home ended it.
    Ended,
    /// Its home is shutting down.
    HostClosed,
}

/// Figures for the management view. Not covered by the digest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Edges connected now.
    pub edges: u32,
    /// Topics with members at home there.
    pub topics: u32,
    /// Links to other hosts.
    pub links: u16,
    /// Signals taken in the last minute.
    pub signals_per_minute: u32,
    /// Share of a core in use, in percent.
    pub load_percent: u16,
}

/// One change to a roster, or news that rides along.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// The origin's record. Covered by the digest.
    Record(SignedRecord),
    /// A session is present.
    Present {
        /// Who.
        peer: PeerId,
        /// Why to believe it.
        proof: Proof,
    },
    /// A session and all its memberships are gone.
    Gone {
        /// Who.
        peer: PeerId,
        /// Why.
        reason: GoneReason,
    },
    /// A present peer is a member, or has a new meta.
    Join {
        /// Where.
        topic: TopicId,
        /// Who.
        peer: PeerId,
        /// Opaque to hosts; for the native edge protocol the JSON text of `meta`, or empty.
        meta: Bytes,
    },
    /// A present peer is not a member any more.
    Leave {
        /// Where.
        topic: TopicId,
        /// Who.
        peer: PeerId,
    },
    /// Figures. Not covered by the digest.
    Status(Status),
    /// The origin has lost its link to a host. Not covered by the digest.
    Lost {
        /// The host that may be gone.
        host: HostId,
        /// Its newest known epoch.
        epoch: u64,
        /// Its newest known seq.
        seq: u64,
    },
}

// The registry of op kinds. A removed kind leaves its number unused.
const RECORD: u8 = 1;
const PRESENT: u8 = 2;
const GONE: u8 = 3;
const JOIN: u8 = 4;
const LEAVE: u8 = 5;
const STATUS: u8 = 6;
const LOST: u8 = 7;

/// Encodes ops as `{kind, length (u16, big endian), bytes}` one after the other.
///
/// # Errors
/// [`CodecError::TooLong`] beyond [`OPS_MAX`], [`OPS_BYTES`] or [`META_BYTES`].
pub fn encode_ops(ops: &[Op]) -> Result<Bytes, CodecError> {
    at_most(ops.len(), OPS_MAX)?;
    let mut out = Vec::new();
    for op in ops {
        let (kind, body) = encode_op(op)?;
        let length = u16::try_from(body.len()).map_err(|_| CodecError::TooLong { limit: OPS_BYTES })?;
        out.push(kind);
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(&body);
    }
    at_most(out.len(), OPS_BYTES)?;
    newer::add_op(&mut out, OPS_BYTES);
    Ok(Bytes::from(out))
}

/// The bytes that one op takes among others.
///
/// # Errors
/// As [`encode_ops`].
pub fn op_bytes(op: &Op) -> Result<usize, CodecError> {
    Ok(3 + encode_op(op)?.1.len())
}

fn encode_op(op: &Op) -> Result<(u8, Vec<u8>), CodecError> {
    Ok(match op {
        Op::Record(record) => (RECORD, encode(record)?),
        Op::Present { peer, proof } => (PRESENT, encode(&(peer, proof))?),
        Op::Gone { peer, reason } => (GONE, encode(&(peer, reason))?),
        Op::Join { topic, peer, meta } => {
            at_most(meta.len(), META_BYTES)?;
            (JOIN, encode(&(topic, peer, meta))?)
        }
        Op::Leave { topic, peer } => (LEAVE, encode(&(topic, peer))?),
        Op::Status(status) => (STATUS, encode(status)?),
        Op::Lost { host, epoch, seq } => (LOST, encode(&(host, epoch, seq))?),
    })
}

/// An op that makes an entry of a roster, borrowed from wherever its parts are kept.
#[derive(Clone, Copy, Debug)]
pub enum EntryOp<'a> {
    /// [`Op::Record`].
    Record(&'a SignedRecord),
    /// [`Op::Present`].
    Present(PeerId, &'a Proof),
    /// [`Op::Join`].
    Join(TopicId, PeerId, &'a [u8]),
}

/// Appends what [`encode_ops`] makes of this one op. Digests hash it again and again, so nothing is allocated for it.
///
/// # Errors
/// [`CodecError::TooLong`] as [`encode_ops`]; nothing is appended then.
pub fn encode_entry(op: EntryOp<'_>, out: &mut Vec<u8>) -> Result<(), CodecError> {
    let begin = out.len();
    let mut put = |kind: u8, parts: &[&[u8]]| {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        let length = u16::try_from(length).map_err(|_| CodecError::TooLong { limit: OPS_BYTES })?;
        out.push(kind);
        out.extend_from_slice(&length.to_be_bytes());
        parts.iter().for_each(|part| out.extend_from_slice(part));
        Ok(())
    };
    match op {
        EntryOp::Record(record) => put(RECORD, &[&encode(record)?])?,
        EntryOp::Present(peer, Proof::Minted { nonce }) => put(PRESENT, &[peer.as_bytes(), &[0], nonce])?,
        EntryOp::Present(peer, proof) => put(PRESENT, &[&encode(&(peer, proof))?])?,
        EntryOp::Join(topic, peer, meta) => {
            at_most(meta.len(), META_BYTES)?;
            // A varint: seven bits a byte, the lowest first.
            let [low, high] = [meta.len() & 0x7f, meta.len() >> 7].map(|part| u8::try_from(part).unwrap_or(u8::MAX));
            let short = [low];
            let long = [low | 0x80, high];
            let length = if high == 0 { &short[..] } else { &long[..] };
            put(JOIN, &[topic.as_bytes(), peer.as_bytes(), length, meta])?;
        }
    }
    at_most(out.len() - begin, OPS_BYTES)
}

/// Reads ops. Kinds of newer minor versions are skipped; they are never covered by the digest.
///
/// # Errors
/// [`CodecError`] when the bytes are cut short, or too many, or a known kind is malformed. Takes at most
/// [`DECODED_BYTES`](crate::limits::DECODED_BYTES) of memory.
pub fn decode_ops(mut bytes: &[u8]) -> Result<Vec<Op>, CodecError> {
    at_most(bytes.len(), OPS_BYTES)?;
    let mut ops = Vec::new();
    while !bytes.is_empty() {
        let (&[kind, high, low], rest) = bytes.split_first_chunk::<3>().ok_or(CodecError::Truncated)?;
        let length = usize::from(u16::from_be_bytes([high, low]));
        let (body, rest) = rest.split_at_checked(length).ok_or(CodecError::Truncated)?;
        ops.extend(decode_op(kind, body)?);
        at_most(ops.len(), OPS_MAX)?;
        bytes = rest;
    }
    Ok(ops)
}

fn decode_op(kind: u8, body: &[u8]) -> Result<Option<Op>, CodecError> {
    Ok(Some(match kind {
        RECORD => Op::Record(decode(body)?),
        PRESENT => {
            let (peer, proof) = decode(body)?;
            Op::Present { peer, proof }
        }
        GONE => {
            let (peer, reason) = decode(body)?;
            Op::Gone { peer, reason }
        }
        JOIN => {
            let (topic, peer, meta): (_, _, Bytes) = decode(body)?;
            at_most(meta.len(), META_BYTES)?;
            Op::Join { topic, peer, meta }
        }
        LEAVE => {
            let (topic, peer) = decode(body)?;
            Op::Leave { topic, peer }
        }
        STATUS => Op::Status(decode(body)?),
        LOST => {
            let (host, epoch, seq) = decode(body)?;
            Op::Lost { host, epoch, seq }
        }
        _ => return Ok(None),
    }))
}

/// The hash that a head states for these encoded ops.
#[must_use]
pub fn ops_hash(ops: &[u8]) -> [u8; 32] {
    *blake3::hash(ops).as_bytes()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail by panic")]
    use super::*;

    #[test]
    fn a_heartbeat_is_known_by_the_hash_of_nothing() {
        assert_eq!(NO_OPS_HASH, ops_hash(&[]));
    }

    #[test]
    fn an_entry_is_encoded_as_the_op_that_makes_it() {
        let (topic, peer) = (TopicId::new([1; 32]), PeerId::new([2; 32]));
        let key = SigningKey::from_bytes(&[3; 32]);
        let (tag, home) = (NetworkTag::new([4; 8]), HostId::new([5; 32]));
        let check = |entry: EntryOp<'_>, op: Op| {
            let mut encoded = vec![9];
            encode_entry(entry, &mut encoded).unwrap();
            assert_eq!(encoded[1..], encode_ops(&[op]).unwrap());
        };
        for length in [0, 1, 127, 128, 129, 300, META_BYTES] {
            let meta = vec![7; length];
            check(EntryOp::Join(topic, peer, &meta), Op::Join { topic, peer, meta: meta.clone().into() });
        }
        assert!(encode_entry(EntryOp::Join(topic, peer, &[0; META_BYTES + 1]), &mut Vec::new()).is_err());
        for proof in [Proof::Minted { nonce: [6; 16] }, Proof::claim(&key, tag, home, 300, Some([8; 32]))] {
            check(EntryOp::Present(peer, &proof), Op::Present { peer, proof: proof.clone() });
        }
        let record = crate::record::HostRecord {
            revision: 1,
            sealing: [4; 32],
            addresses: vec!["192.0.2.1:4000".parse().unwrap()],
            gateways: vec!["wss://h.example/v1".into()],
            software: "aldis 0.1.0".into(),
            neighbours: vec![[9; 8]],
            nat: crate::host::Nat::Open,
            candidates: Vec::new(),
            stun: Vec::new(),
        };
        let record = SignedRecord::make(&key, tag, &record).unwrap();
        check(EntryOp::Record(&record), Op::Record(record.clone()));
    }
}
