//! Values inside messages: JSON that is carried unread, and bytes as hex.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::hex;
use crate::limits::JSON_DEPTH_MAX;

/// One JSON value, carried byte for byte, without a tree being built of it.
#[derive(Clone, Copy)]
pub struct Json<'a>(&'a RawValue);

/// Why bytes cannot stand in a message as a [`Json`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// Not exactly one JSON value in UTF-8.
    #[error("not one JSON value")]
    NotJson,
    /// Arrays and objects in one another beyond the bound: many readers recurse.
    #[error("nested deeper than {JSON_DEPTH_MAX}")]
    TooDeep,
}

impl<'a> Json<'a> {
    /// The value `null`.
    pub const NULL: Json<'static> = Json(RawValue::NULL);

    /// Takes exactly one JSON value. Bytes of other hosts must pass through here: they could end the value early and
    /// add fields of their own to the message around it.
    ///
    /// # Errors
    /// [`JsonError`] when the bytes are something else, or nested too deeply.
    pub fn read(bytes: &'a [u8]) -> Result<Self, JsonError> {
        let json = Self(serde_json::from_slice(bytes).map_err(|_| JsonError::NotJson)?);
        if json.depth_fits() { Ok(json) } else { Err(JsonError::TooDeep) }
    }

    /// The text, as it was.
    #[must_use]
    pub fn as_str(&self) -> &'a str {
        self.0.get()
    }

    /// Whether no more than [`JSON_DEPTH_MAX`] arrays and objects lie in one another. Costs a walk over the text.
    pub(super) fn depth_fits(&self) -> bool {
        // Nearly every text has fewer brackets than may lie in one another, and counting them is far cheaper than
        // telling which of them stand in strings.
        let opening = |byte: &&u8| matches!(byte, b'[' | b'{');
        self.as_str().as_bytes().iter().filter(opening).count() <= JSON_DEPTH_MAX || self.walk_fits()
    }

    fn walk_fits(&self) -> bool {
        let mut depth = 0_usize;
        let mut bytes = self.as_str().bytes();
        while let Some(byte) = bytes.next() {
            match byte {
                b'"' => skip_string(&mut bytes),
                b'[' | b'{' => {
                    depth += 1;
                    if depth > JSON_DEPTH_MAX {
                        return false;
                    }
                }
                b']' | b'}' => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
        true
    }
}

fn skip_string(bytes: &mut std::str::Bytes<'_>) {
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => return,
            b'\\' => _ = bytes.next(),
            _ => {}
        }
    }
}

impl PartialEq for Json<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Json<'_> {}

impl fmt::Debug for Json<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Json<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <&'a RawValue>::deserialize(deserializer).map(Json)
    }
}

/// For fields in which `null` is a value and not an absence.
pub(super) fn present<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Json<'a>>, D::Error> {
    Json::deserialize(deserializer).map(Some)
}

/// A string that is borrowed when it has no escapes. `Option<Cow<str>>` alone would always be copied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Text<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

/// `N` bytes, in JSON as lowercase hex.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Hex<const N: usize>(pub [u8; N]);

impl<const N: usize> fmt::Debug for Hex<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex::write(f, &self.0)
    }
}

impl<const N: usize> fmt::Display for Hex<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex::write(f, &self.0)
    }
}

impl<const N: usize> Serialize for Hex<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de, const N: usize> Deserialize<'de> for Hex<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Text::deserialize(deserializer)?;
        hex::decode(&text.0).map(Hex).map_err(serde::de::Error::custom)
    }
}
