//! The end of a host's identity, declared by itself (PROTOCOL.md §6.7).

use ed25519_dalek::SigningKey;
use serde::{Deserialize, Serialize};

use crate::id::HostId;
use crate::proof::Signature;

const CONTEXT: &str = "aldis 2026 revocation";

/// A host's own word that its identity is not to be believed any more. It holds in every network and version and for
/// ever, so that one statement made in advance is enough, however late it is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    host: HostId,
    signature: Signature,
}

impl Revocation {
    /// The statement by the owner of `key` about it.
    #[must_use]
    pub fn make(key: &SigningKey) -> Self {
        let host = HostId::new(key.verifying_key().to_bytes());
        Self { host, signature: Signature::make_everywhere(key, CONTEXT, host.as_bytes()) }
    }

    /// As it was written down. Believe it only after [`Revocation::is_signed`].
    #[must_use]
    pub fn of(host: HostId, signature: Signature) -> Self {
        Self { host, signature }
    }

    /// Whose identity ends.
    #[must_use]
    pub fn host(&self) -> HostId {
        self.host
    }

    /// What that host signed.
    #[must_use]
    pub fn signature(&self) -> Signature {
        self.signature
    }

    /// Whether that host signed it. One signature check.
    #[must_use]
    pub fn is_signed(&self) -> bool {
        self.signature.verify_everywhere(self.host.as_bytes(), CONTEXT, self.host.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail by panic")]
    use super::*;
    use crate::network::NetworkTag;

    #[test]
    fn a_statement_is_its_own_hosts_alone() {
        let key = SigningKey::from_bytes(&[3; 32]);
        let made = Revocation::make(&key);
        assert!(made.is_signed());
        let other = HostId::new(SigningKey::from_bytes(&[4; 32]).verifying_key().to_bytes());
        assert!(!Revocation::of(other, made.signature()).is_signed());
        let mut bytes = made.signature().to_bytes();
        bytes[5] ^= 1;
        assert!(!Revocation::of(made.host(), Signature::from_bytes(&bytes)).is_signed());
    }

    #[test]
    fn nothing_that_a_host_signs_for_one_network_is_a_revocation() {
        let key = SigningKey::from_bytes(&[3; 32]);
        let host = HostId::new(key.verifying_key().to_bytes());
        let tagged = Signature::make(&key, CONTEXT, NetworkTag::new([0; 8]), host.as_bytes());
        assert!(!Revocation::of(host, tagged).is_signed());
    }
}
