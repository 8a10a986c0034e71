//! A network and what is derived from its genesis key (PROTOCOL.md §2).

use std::fmt;

use crate::hex;
use crate::id::TopicId;
use crate::limits::{NETWORK_NAME_BYTES, VERSION};
use crate::proof::Trust;

/// What follows a network's ALPN on a connection that only asks whether a host can be reached (PROTOCOL.md §11.1).
pub const CHECK_ALPN_SUFFIX: &str = "/check";

/// The genesis of a network: its key and its name. Whoever holds it may run a host.
#[derive(Clone, PartialEq, Eq)]
pub struct Genesis {
    name: String,
    key: [u8; 32],
}

/// Why a text cannot name a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a network's name has 1 to {NETWORK_NAME_BYTES} bytes and no control characters")]
pub struct NameError;

impl Genesis {
    /// A network with a key of its own.
    ///
    /// # Errors
    /// [`NameError`] when the name is empty, too long or has control characters.
    pub fn new(name: &str, key: [u8; 32]) -> Result<Self, NameError> {
        if name.is_empty() || name.len() > NETWORK_NAME_BYTES || name.chars().any(char::is_control) {
            return Err(NameError);
        }
        Ok(Self { name: name.to_owned(), key })
    }

    /// An open network: everybody who knows its name may run a host.
    ///
    /// # Errors
    /// As [`Genesis::new`].
    pub fn open(name: &str) -> Result<Self, NameError> {
        Self::new(name, blake3::derive_key("aldis 2026 open network", name.as_bytes()))
    }

    /// The name for people.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The secret key.
    #[must_use]
    pub fn key(&self) -> &[u8; 32] {
        &self.key
    }
}

impl fmt::Debug for Genesis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Genesis({}, key hidden)", self.name)
    }
}

/// The network tag: public, part of the ALPN and of everything signed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NetworkTag([u8; 8]);

impl NetworkTag {
    /// The tag made of these bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 8]) -> Self {
        Self(bytes)
    }

    /// The eight bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 8] {
        &self.0
    }
}

impl fmt::Display for NetworkTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex::write(f, &self.0)
    }
}

impl fmt::Debug for NetworkTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// All values derived from a genesis for one protocol version.
#[derive(Clone)]
pub struct Network {
    /// The network's name.
    pub name: String,
    /// The protocol version, normally [`VERSION`].
    pub version: u16,
    /// The info-hash in the mainline DHT.
    pub rendezvous: [u8; 20],
    /// The public tag.
    pub tag: NetworkTag,
    /// By what its signatures are judged.
    pub trust: Trust,
    /// The MAC key for admission. Secret.
    pub admission_key: [u8; 32],
    topic_salt: [u8; 32],
    door_salt: [u8; 32],
}

impl Network {
    /// The network of `genesis` at the version of this crate.
    #[must_use]
    pub fn new(genesis: &Genesis) -> Self {
        Self::with_version(genesis, VERSION)
    }

    /// The network of `genesis` at another protocol version; for tests of isolation.
    #[must_use]
    pub fn with_version(genesis: &Genesis, version: u16) -> Self {
        let mut material = Vec::with_capacity(34);
        material.extend_from_slice(genesis.key());
        material.extend_from_slice(&version.to_be_bytes());
        let tag = NetworkTag(derive("aldis 2026 network tag", &material));
        Self {
            name: genesis.name().to_owned(),
            version,
            rendezvous: derive("aldis 2026 rendezvous", &material),
            tag,
            trust: tag.into(),
            admission_key: derive("aldis 2026 admission", &material),
            topic_salt: derive("aldis 2026 topic salt", &material),
            door_salt: derive("aldis 2026 door salt", &material),
        }
    }

    /// The ALPN that a host of this network offers and demands.
    #[must_use]
    pub fn alpn(&self) -> Vec<u8> {
        format!("aldis/{}/{}", self.version, self.tag).into_bytes()
    }

    /// The id of the topic with this name.
    #[must_use]
    pub fn topic(&self, name: &str) -> TopicId {
        TopicId::new(*blake3::keyed_hash(&self.topic_salt, name.as_bytes()).as_bytes())
    }

    /// The id of a topic that only clients of one front door meet in. `parts` together name it; edges of our own protocol
    /// cannot (PROTOCOL.md §10).
    #[must_use]
    pub fn door_topic(&self, door: &str, parts: &[&[u8]]) -> TopicId {
        let mut hasher = blake3::Hasher::new_keyed(&self.door_salt);
        for part in std::iter::once(&door.as_bytes()).chain(parts) {
            hasher.update(&(part.len() as u64).to_be_bytes());
            hasher.update(part);
        }
        TopicId::new(*hasher.finalize().as_bytes())
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Network({} v{} {})", self.name, self.version, self.tag)
    }
}

fn derive<const N: usize>(context: &str, material: &[u8]) -> [u8; N] {
    let mut hasher = blake3::Hasher::new_derive_key(context);
    hasher.update(material);
    let mut out = [0; N];
    hasher.finalize_xof().fill(&mut out);
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail by panic")]
    use super::*;

    #[test]
    fn another_key_or_version_shares_nothing() {
        let a = Network::new(&Genesis::open("a").unwrap());
        let b = Network::new(&Genesis::open("b").unwrap());
        let later = Network::with_version(&Genesis::open("a").unwrap(), VERSION + 1);
        for other in [&b, &later] {
            assert_ne!(a.rendezvous, other.rendezvous);
            assert_ne!(a.tag, other.tag);
            assert_ne!(a.alpn(), other.alpn());
            assert_ne!(a.admission_key, other.admission_key);
            assert_ne!(a.topic("t"), other.topic("t"));
            assert_ne!(a.door_topic("d", &[b"t"]), other.door_topic("d", &[b"t"]));
        }
    }

    #[test]
    fn topics_of_doors_are_their_own() {
        let network = Network::new(&Genesis::open("a").unwrap());
        let topic = |door, parts: &[&[u8]]| network.door_topic(door, parts);
        let all = [
            network.topic("t"),
            network.topic(""),
            topic("d", &[b"t"]),
            topic("e", &[b"t"]),
            topic("d", &[]),
            topic("d", &[b""]),
            topic("d", &[b"ab", b"c"]),
            topic("d", &[b"a", b"bc"]),
            topic("d", &[b"abc"]),
        ];
        assert_eq!(all.iter().collect::<std::collections::BTreeSet<_>>().len(), all.len());
    }

    #[test]
    fn names_are_bounded() {
        assert!(Genesis::open("").is_err());
        assert!(Genesis::open(&"x".repeat(65)).is_err());
        assert!(Genesis::open("two\nlines").is_err());
    }
}
