//! How a peer's presence is proved, and the signatures that everything else uses (PROTOCOL.md §3).

use std::any::Any;
use std::sync::Arc;

use bytes::Bytes;
use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};

use crate::announcement::Announced;
use crate::id::{HostId, PeerId};
use crate::network::NetworkTag;

/// An Ed25519 signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature([u8; 32], [u8; 32]);

impl Signature {
    /// The signature made of these bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; 64]) -> Self {
        let r = bytes.first_chunk::<32>().unwrap_or(&[0; 32]);
        let s = bytes.last_chunk::<32>().unwrap_or(&[0; 32]);
        Self(*r, *s)
    }

    /// The 64 bytes.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 64] {
        let mut bytes = [0; 64];
        for (slot, byte) in bytes.iter_mut().zip(self.0.into_iter().chain(self.1)) {
            *slot = byte;
        }
        bytes
    }

    /// Signs `context ‖ tag ‖ body`.
    #[must_use]
    pub fn make(key: &SigningKey, context: &str, tag: NetworkTag, body: &[u8]) -> Self {
        Self::over(key, &signed_bytes(context, tag, body))
    }

    /// Signs `context ‖ body`: what holds in every network.
    pub(crate) fn make_everywhere(key: &SigningKey, context: &str, body: &[u8]) -> Self {
        Self::over(key, &[context.as_bytes(), body].concat())
    }

    fn over(key: &SigningKey, message: &[u8]) -> Self {
        Self::from_bytes(&key.sign(message).to_bytes())
    }

    /// Whether this is `key`'s signature over `context ‖ tag ‖ body`. Strict: no second spelling, no weak key.
    #[must_use]
    pub fn verify(self, key: &[u8; 32], context: &str, tag: NetworkTag, body: &[u8]) -> bool {
        self.is_over(key, &signed_bytes(context, tag, body))
    }

    /// Whether this is `key`'s signature over `context ‖ body`.
    pub(crate) fn verify_everywhere(self, key: &[u8; 32], context: &str, body: &[u8]) -> bool {
        self.is_over(key, &[context.as_bytes(), body].concat())
    }

    fn is_over(self, key: &[u8; 32], message: &[u8]) -> bool {
        let signature = ed25519_dalek::Signature::from_bytes(&self.to_bytes());
        VerifyingKey::from_bytes(key).is_ok_and(|key| key.verify_strict(message, &signature).is_ok())
    }
}

/// Whoever checks signatures. Everybody's is [`Ed25519`]; a simulator, in which a thousand hosts check one and the same
/// signature and keep what was signed, remembers the answers and gives all of them one copy.
pub trait Verifier: std::fmt::Debug + Send + Sync {
    /// Whether this is `key`'s signature over `context ‖ tag ‖ body`.
    fn verify(&self, signature: Signature, key: &[u8; 32], context: &str, tag: NetworkTag, body: &[u8]) -> bool;

    /// An announcement that was checked, for keeping; one that is equal may be given instead.
    fn keep(&self, announced: Announced) -> Arc<Announced> {
        Arc::new(announced)
    }

    /// Whether what is worked out is remembered for others.
    fn remembers(&self) -> bool {
        false
    }

    /// Remembers under a name what nobody else needs to work out then. Whoever has the name has the same in mind.
    fn remember(&self, _name: [u8; 32], _what: Arc<dyn Any + Send + Sync>) {}

    /// What was remembered under a name, unless it was forgotten.
    fn recall(&self, _name: &[u8; 32]) -> Option<Arc<dyn Any + Send + Sync>> {
        None
    }
}

/// Checks by arithmetic.
#[derive(Clone, Copy, Debug)]
pub struct Ed25519;

impl Verifier for Ed25519 {
    fn verify(&self, signature: Signature, key: &[u8; 32], context: &str, tag: NetworkTag, body: &[u8]) -> bool {
        signature.verify(key, context, tag, body)
    }
}

/// By what signatures are judged: the network's tag, and who checks.
#[derive(Clone, Copy, Debug)]
pub struct Trust {
    tag: NetworkTag,
    verifier: &'static dyn Verifier,
}

impl Trust {
    /// Signatures of the network with this tag, checked by `verifier`.
    #[must_use]
    pub const fn new(tag: NetworkTag, verifier: &'static dyn Verifier) -> Self {
        Self { tag, verifier }
    }

    /// Whether this is `key`'s signature over `context ‖ tag ‖ body`.
    #[must_use]
    pub fn verify(self, signature: Signature, key: &[u8; 32], context: &str, body: &[u8]) -> bool {
        self.verifier.verify(signature, key, context, self.tag, body)
    }

    /// An announcement that was checked, for keeping.
    #[must_use]
    pub fn keep(self, announced: Announced) -> Arc<Announced> {
        self.verifier.keep(announced)
    }

    /// As [`Verifier::remembers`].
    #[must_use]
    pub fn remembers(self) -> bool {
        self.verifier.remembers()
    }

    /// These bytes, whose hash is `name`: as one copy with all who keep the same, if anything is remembered.
    #[must_use]
    pub fn share(self, name: [u8; 32], bytes: Bytes) -> Bytes {
        if !self.remembers() {
            return bytes;
        }
        if let Some(kept) = self.recall(&name).and_then(|kept| kept.downcast::<Bytes>().ok()) {
            return Bytes::clone(&kept);
        }
        self.remember(name, Arc::new(bytes.clone()));
        bytes
    }

    /// As [`Verifier::remember`].
    pub fn remember(self, name: [u8; 32], what: Arc<dyn Any + Send + Sync>) {
        self.verifier.remember(name, what);
    }

    /// As [`Verifier::recall`].
    #[must_use]
    pub fn recall(self, name: &[u8; 32]) -> Option<Arc<dyn Any + Send + Sync>> {
        self.verifier.recall(name)
    }
}

impl From<NetworkTag> for Trust {
    fn from(tag: NetworkTag) -> Self {
        Self::new(tag, &Ed25519)
    }
}

fn signed_bytes(context: &str, tag: NetworkTag, body: &[u8]) -> Vec<u8> {
    [context.as_bytes(), tag.as_bytes(), body].concat()
}

/// Why anyone may believe that a peer is at home where its roster says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Proof {
    /// The id is a hash over the home's id and this nonce.
    Minted {
        /// Drawn by the home.
        nonce: [u8; 16],
    },
    /// The id is a public key, and its owner claims this home.
    Keyed {
        /// The highest counter of a peer wins.
        counter: u64,
        /// X25519 key to which others may seal payloads.
        sealing: Option<[u8; 32]>,
        /// Over tag, home, counter and sealing key.
        signature: Signature,
    },
}

impl Proof {
    /// The peer that `home` mints with `nonce`.
    #[must_use]
    pub fn mint(home: HostId, nonce: &[u8; 16]) -> PeerId {
        let mut hasher = blake3::Hasher::new_derive_key("aldis 2026 minted peer");
        hasher.update(home.as_bytes()).update(nonce);
        PeerId::new(*hasher.finalize().as_bytes())
    }

    /// A claim by the owner of `key`, for tests and clients.
    #[must_use]
    pub fn claim(key: &SigningKey, tag: NetworkTag, home: HostId, counter: u64, sealing: Option<[u8; 32]>) -> Self {
        let signature = Signature::make(key, "aldis 2026 claim", tag, &claim_body(home, counter, sealing));
        Self::Keyed { counter, sealing, signature }
    }

    /// Whether this proves `peer` at `home`. Costs a hash, or a signature check.
    #[must_use]
    pub fn verify(&self, peer: PeerId, trust: impl Into<Trust>, home: HostId) -> bool {
        match self {
            Self::Minted { nonce } => Self::mint(home, nonce) == peer,
            Self::Keyed { counter, sealing, signature } => {
                let body = claim_body(home, *counter, *sealing);
                trust.into().verify(*signature, peer.as_bytes(), "aldis 2026 claim", &body)
            }
        }
    }

    /// The claim's counter; 0 for a minted peer, which is never claimed twice.
    #[must_use]
    pub fn counter(&self) -> u64 {
        match self {
            Self::Minted { .. } => 0,
            Self::Keyed { counter, .. } => *counter,
        }
    }
}

/// Signs a greeting's challenge: the edge has the key now (PROTOCOL.md §3.2).
#[must_use]
pub fn answer_challenge(key: &SigningKey, tag: NetworkTag, home: HostId, challenge: &[u8; 32]) -> Signature {
    Signature::make(key, "aldis 2026 hello", tag, &[*home.as_bytes(), *challenge].concat())
}

/// Whether `peer` signed this greeting's challenge.
#[must_use]
pub fn challenge_answered(
    answer: Signature,
    peer: PeerId,
    tag: NetworkTag,
    home: HostId,
    challenge: &[u8; 32],
) -> bool {
    answer.verify(peer.as_bytes(), "aldis 2026 hello", tag, &[*home.as_bytes(), *challenge].concat())
}

fn claim_body(home: HostId, counter: u64, sealing: Option<[u8; 32]>) -> Vec<u8> {
    let mut body = home.as_bytes().to_vec();
    body.extend_from_slice(&counter.to_be_bytes());
    match sealing {
        None => body.push(0),
        Some(key) => {
            body.push(1);
            body.extend_from_slice(&key);
        }
    }
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAG: NetworkTag = NetworkTag::new([7; 8]);

    #[test]
    fn a_minted_peer_belongs_to_one_home() {
        let (home, other) = (HostId::new([1; 32]), HostId::new([2; 32]));
        let proof = Proof::Minted { nonce: [9; 16] };
        let peer = Proof::mint(home, &[9; 16]);
        assert!(proof.verify(peer, TAG, home));
        assert!(!proof.verify(peer, TAG, other));
    }

    #[test]
    fn a_claim_holds_for_its_home_counter_network_and_key_only() {
        let key = SigningKey::from_bytes(&[3; 32]);
        let peer = PeerId::new(key.verifying_key().to_bytes());
        let home = HostId::new([1; 32]);
        let Proof::Keyed { counter, signature, .. } = Proof::claim(&key, TAG, home, 5, None) else { return };
        let proof = |counter, sealing| Proof::Keyed { counter, sealing, signature };
        assert!(proof(counter, None).verify(peer, TAG, home));
        assert!(!proof(6, None).verify(peer, TAG, home));
        assert!(!proof(5, Some([0; 32])).verify(peer, TAG, home));
        assert!(!proof(5, None).verify(peer, NetworkTag::new([8; 8]), home));
        assert!(!proof(5, None).verify(peer, TAG, HostId::new([2; 32])));
        assert!(!proof(5, None).verify(PeerId::new([3; 32]), TAG, home));
    }

    #[test]
    fn a_signature_survives_its_bytes() {
        let bytes: [u8; 64] = std::array::from_fn(|i| u8::try_from(i).unwrap_or(0));
        assert_eq!(Signature::from_bytes(&bytes).to_bytes(), bytes);
    }
}
