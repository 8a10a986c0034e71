//! Identifiers: 32 bytes each, told apart by the type system, shown as lowercase hex.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::hex;

/// 32 bytes that name something of kind `K`. See [`HostId`], [`PeerId`], [`TopicId`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id<K> {
    bytes: [u8; 32],
    kind: PhantomData<K>,
}

/// Marker of [`HostId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostKind {}
/// Marker of [`PeerId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PeerKind {}
/// Marker of [`TopicId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TopicKind {}

/// A host's Ed25519 public key.
pub type HostId = Id<HostKind>;
/// An edge's identity in the network: minted by its home, or its own Ed25519 public key (PROTOCOL.md §3).
pub type PeerId = Id<PeerKind>;
/// The salted hash of a topic's name (PROTOCOL.md §2).
pub type TopicId = Id<TopicKind>;

impl<K> Id<K> {
    /// The id made of these bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self { bytes, kind: PhantomData }
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.bytes
    }

    /// The first eight hex digits, for people.
    #[must_use]
    pub fn short(&self) -> String {
        self.to_string().chars().take(8).collect()
    }
}

impl<K> fmt::Display for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex::write(f, &self.bytes)
    }
}

impl<K> fmt::Debug for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex::write(f, self.bytes.first_chunk::<4>().unwrap_or(&[0; 4]))
    }
}

impl<K> FromStr for Id<K> {
    type Err = hex::HexError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        hex::decode(text).map(Self::new)
    }
}

impl<K> Serialize for Id<K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { serializer.collect_str(self) } else { self.bytes.serialize(serializer) }
    }
}

impl<'de, K> Deserialize<'de> for Id<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
            text.parse().map_err(serde::de::Error::custom)
        } else {
            <[u8; 32]>::deserialize(deserializer).map(Self::new)
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail by panic")]
    use super::*;

    #[test]
    fn text_and_bytes_say_the_same() {
        let id = HostId::new([0xab; 32]);
        assert_eq!(id.to_string().parse::<HostId>().unwrap(), id);
        assert_eq!(id.short(), "abababab");
    }

    #[test]
    fn wrong_text_is_a_typed_error() {
        assert!("abc".parse::<PeerId>().is_err());
        assert!("AB".repeat(32).parse::<PeerId>().is_err(), "upper case has a second spelling of the same id");
        assert!("gg".repeat(32).parse::<PeerId>().is_err());
    }
}
