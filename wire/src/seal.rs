//! What crosses a third host is sealed home to home (PROTOCOL.md §8): X25519, BLAKE3, XChaCha20-Poly1305.

use std::fmt;

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use x25519_dalek::{PublicKey, StaticSecret};

use crate::codec::CodecError;
use crate::id::HostId;
use crate::network::NetworkTag;

/// Bytes that sealing adds.
pub const SEAL_BYTES: usize = 16;

/// The secret half of a host's sealing key.
#[derive(Clone)]
pub struct SealingKey(StaticSecret);

impl SealingKey {
    /// The key made of these secret bytes.
    #[must_use]
    pub fn new(secret: [u8; 32]) -> Self {
        Self(StaticSecret::from(secret))
    }

    /// The public half, as it stands in the host record.
    #[must_use]
    pub fn public(&self) -> [u8; 32] {
        *PublicKey::from(&self.0).as_bytes()
    }

    /// The key shared with the owner of `other`; `None` when `other` is a point that gives nothing away about its owner.
    #[must_use]
    pub fn shared(&self, other: &[u8; 32]) -> Option<SharedKey> {
        let secret = self.0.diffie_hellman(&PublicKey::from(*other));
        if !secret.was_contributory() {
            return None;
        }
        let (low, high) = if self.public() < *other { (self.public(), *other) } else { (*other, self.public()) };
        let mut hasher = blake3::Hasher::new_derive_key("aldis 2026 home to home");
        hasher.update(secret.as_bytes()).update(&low).update(&high);
        Some(SharedKey(XChaCha20Poly1305::new(&Key::from(*hasher.finalize().as_bytes()))))
    }
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealingKey(hidden)")
    }
}

/// The nonce of a sealed frame: random bytes, and a number that the sealer uses once in an epoch, growing.
#[must_use]
pub fn nonce(random: [u8; 16], number: u64) -> [u8; 24] {
    let mut nonce = [0; 24];
    for (slot, byte) in nonce.iter_mut().zip(random.into_iter().chain(number.to_be_bytes())) {
        *slot = byte;
    }
    nonce
}

/// The number in a nonce.
#[must_use]
pub fn nonce_number(nonce: &[u8; 24]) -> u64 {
    nonce.last_chunk().map_or(0, |number| u64::from_be_bytes(*number))
}

/// What a sealed frame is bound to besides its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The network.
    pub tag: NetworkTag,
    /// The home that seals, and its epoch.
    pub from: (HostId, u64),
    /// The home that opens, and its epoch.
    pub to: (HostId, u64),
}

impl Binding {
    fn bytes(&self) -> Vec<u8> {
        let mut out = b"aldis 2026 routed".to_vec();
        out.extend_from_slice(self.tag.as_bytes());
        for (host, epoch) in [self.from, self.to] {
            out.extend_from_slice(host.as_bytes());
            out.extend_from_slice(&epoch.to_be_bytes());
        }
        out
    }
}

/// A key that two homes share.
#[derive(Clone)]
pub struct SharedKey(XChaCha20Poly1305);

impl SharedKey {
    /// Seals `plain`. The nonce must be another each time: see [`nonce`].
    ///
    /// # Errors
    /// [`CodecError::Malformed`] never happens for messages within our limits.
    pub fn seal(&self, nonce: &[u8; 24], binding: &Binding, plain: &[u8]) -> Result<Vec<u8>, CodecError> {
        let payload = Payload { msg: plain, aad: &binding.bytes() };
        self.0.encrypt(&XNonce::from(*nonce), payload).map_err(|_| CodecError::Malformed)
    }

    /// Opens what the other owner sealed.
    ///
    /// # Errors
    /// [`CodecError::Signature`] when anything was changed on the way.
    pub fn open(&self, nonce: &[u8; 24], binding: &Binding, sealed: &[u8]) -> Result<Vec<u8>, CodecError> {
        let payload = Payload { msg: sealed, aad: &binding.bytes() };
        self.0.decrypt(&XNonce::from(*nonce), payload).map_err(|_| CodecError::Signature)
    }
}

impl fmt::Debug for SharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedKey(hidden)")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail by panic")]
    use super::*;

    #[test]
    fn only_the_two_homes_read_and_any_change_shows() {
        let (a, b, c) = (SealingKey::new([1; 32]), SealingKey::new([2; 32]), SealingKey::new([3; 32]));
        let binding =
            Binding { tag: NetworkTag::new([0; 8]), from: (HostId::new([1; 32]), 1), to: (HostId::new([2; 32]), 2) };
        let sealed = a.shared(&b.public()).unwrap().seal(&[5; 24], &binding, b"offer").unwrap();
        let opener = b.shared(&a.public()).unwrap();
        assert_eq!(opener.open(&[5; 24], &binding, &sealed).unwrap(), b"offer");
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(opener.open(&[5; 24], &binding, &changed), Err(CodecError::Signature));
        }
        let elsewhere = Binding { from: (HostId::new([1; 32]), 9), ..binding };
        assert!(opener.open(&[5; 24], &elsewhere, &sealed).is_err());
        assert!(c.shared(&a.public()).unwrap().open(&[5; 24], &binding, &sealed).is_err());
        assert!(a.shared(&[0; 32]).is_none(), "a low-order point shares nothing");
    }
}
