//! The host record: what a host says of itself, signed, so that anyone may pass it on.

use std::net::SocketAddr;

use bytes::Bytes;
use ed25519_dalek::SigningKey;
use serde::{Deserialize, Serialize};

use crate::codec::{self, CodecError, at_most, decode_prefix, encode};
use crate::host::Nat;
use crate::id::HostId;
use crate::limits::{
    GATEWAY_URL_BYTES, RECORD_ADDRESSES_MAX, RECORD_BYTES, RECORD_CANDIDATES_MAX, RECORD_GATEWAYS_MAX,
    RECORD_NEIGHBOURS_MAX, RECORD_STUN_MAX, SOFTWARE_BYTES,
};
use crate::network::NetworkTag;
use crate::newer;
use crate::proof::{Signature, Trust};

const CONTEXT: &str = "aldis 2026 host record";

/// What a host says of itself. Newer minor versions may append fields; a reader ignores what follows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostRecord {
    /// Grows with every change; of two records of a host the higher revision is valid.
    pub revision: u64,
    /// X25519 key to which other homes seal (PROTOCOL.md §8).
    pub sealing: [u8; 32],
    /// Addresses at which its QUIC port may be dialled by anybody, best first.
    #[serde(deserialize_with = "codec::list::<_, _, RECORD_ADDRESSES_MAX>")]
    pub addresses: Vec<SocketAddr>,
    /// WebSocket URLs of its gateway, for edges that must change hosts.
    #[serde(deserialize_with = "codec::list::<_, _, RECORD_GATEWAYS_MAX>")]
    pub gateways: Vec<String>,
    /// Name and version of the software, for the management view.
    pub software: String,
    /// Hosts with which it keeps links; they may tell that it is gone (PROTOCOL.md §6.4), and introduce it (§11.2). Empty in
    /// small networks when everybody may dial it.
    #[serde(deserialize_with = "codec::list::<_, _, RECORD_NEIGHBOURS_MAX>")]
    pub neighbours: Vec<ShortId>,
    /// What stands before it.
    pub nat: Nat,
    /// Addresses at which others see it, for those who are introduced. Never private ones.
    #[serde(deserialize_with = "codec::list::<_, _, RECORD_CANDIDATES_MAX>")]
    pub candidates: Vec<SocketAddr>,
    /// Where it answers STUN, verified from outside.
    #[serde(deserialize_with = "codec::list::<_, _, RECORD_STUN_MAX>")]
    pub stun: Vec<SocketAddr>,
}

/// The first 8 bytes of a `HostId`: enough to recognise a host among those that are known. A key with a given beginning
/// takes some 2^64 tries to find, and would only win the right to say that a host is gone, which that host refutes.
pub type ShortId = [u8; 8];

/// The short form of a host's id.
#[must_use]
pub fn short_id(host: HostId) -> ShortId {
    let [a, b, c, d, e, f, g, h, ..] = *host.as_bytes();
    [a, b, c, d, e, f, g, h]
}

/// A host record as its host signed it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedRecord {
    host: HostId,
    bytes: Bytes,
    signature: Signature,
}

impl SignedRecord {
    /// Signs `record` as the owner of `key`.
    ///
    /// # Errors
    /// [`CodecError::TooLong`] when a list or text is beyond its limit.
    pub fn make(key: &SigningKey, tag: NetworkTag, record: &HostRecord) -> Result<Self, CodecError> {
        check(record)?;
        let mut bytes = encode(record)?;
        newer::append(&mut bytes);
        let bytes = Bytes::from(bytes);
        at_most(bytes.len(), RECORD_BYTES)?;
        let signature = Signature::make(key, CONTEXT, tag, &bytes);
        Ok(Self { host: HostId::new(key.verifying_key().to_bytes()), bytes, signature })
    }

    /// The host that is said to have signed. Believe it only after [`SignedRecord::open`].
    #[must_use]
    pub fn host(&self) -> HostId {
        self.host
    }

    /// Checks signature and bounds and gives what was signed.
    ///
    /// # Errors
    /// [`CodecError::Signature`], or what is wrong with the content.
    pub fn open(&self, trust: impl Into<Trust>) -> Result<HostRecord, CodecError> {
        at_most(self.bytes.len(), RECORD_BYTES)?;
        if !trust.into().verify(self.signature, self.host.as_bytes(), CONTEXT, &self.bytes) {
            return Err(CodecError::Signature);
        }
        let record = decode_prefix(&self.bytes)?;
        check(&record)?;
        Ok(record)
    }

    /// The signed bytes, for hashing.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

fn check(record: &HostRecord) -> Result<(), CodecError> {
    at_most(record.addresses.len(), RECORD_ADDRESSES_MAX)?;
    at_most(record.gateways.len(), RECORD_GATEWAYS_MAX)?;
    at_most(record.neighbours.len(), RECORD_NEIGHBOURS_MAX)?;
    at_most(record.candidates.len(), RECORD_CANDIDATES_MAX)?;
    at_most(record.stun.len(), RECORD_STUN_MAX)?;
    for gateway in &record.gateways {
        at_most(gateway.len(), GATEWAY_URL_BYTES)?;
    }
    at_most(record.software.len(), SOFTWARE_BYTES)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail by panic")]
    use super::*;

    fn record() -> HostRecord {
        HostRecord {
            revision: 1,
            sealing: [4; 32],
            addresses: vec!["192.0.2.1:4000".parse().unwrap()],
            gateways: vec!["wss://h.example/v1".into()],
            software: "aldis 0.1.0".into(),
            neighbours: vec![short_id(HostId::new([7; 32]))],
            nat: Nat::PortRestricted,
            candidates: vec!["192.0.2.1:4000".parse().unwrap()],
            stun: Vec::new(),
        }
    }

    #[test]
    fn a_record_opens_in_its_network_only_and_a_changed_one_nowhere() {
        let tag = NetworkTag::new([1; 8]);
        let signed = SignedRecord::make(&SigningKey::from_bytes(&[2; 32]), tag, &record()).unwrap();
        assert_eq!(signed.open(tag).unwrap(), record());
        assert!(matches!(signed.open(NetworkTag::new([2; 8])), Err(CodecError::Signature)));
        let mut forged = signed.clone();
        forged.host = HostId::new([9; 32]);
        assert!(matches!(forged.open(tag), Err(CodecError::Signature)));
    }

    #[test]
    fn a_record_beyond_its_bounds_is_not_signed() {
        let mut large = record();
        large.addresses = vec!["192.0.2.1:4000".parse().unwrap(); 9];
        let made = SignedRecord::make(&SigningKey::from_bytes(&[2; 32]), NetworkTag::new([1; 8]), &large);
        assert!(matches!(made, Err(CodecError::TooLong { .. })));
    }
}
