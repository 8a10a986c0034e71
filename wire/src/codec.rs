//! Postcard with bounds, and how frames are cut out of a stream (PROTOCOL.md §5.1).

use std::fmt;
use std::marker::PhantomData;

use bytes::{Buf, Bytes, BytesMut};
use serde::de::{DeserializeOwned, Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// What can be wrong with bytes from outside.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// More bytes, or more entries, than the limit.
    #[error("longer than the limit of {limit}")]
    TooLong {
        /// The limit, in the unit of what was too long.
        limit: usize,
    },
    /// The bytes end before the message does.
    #[error("cut short")]
    Truncated,
    /// Bytes follow where the message should end.
    #[error("bytes after the end of the message")]
    Trailing,
    /// The bytes are no message of the expected type.
    #[error("not a message of the expected kind")]
    Malformed,
    /// The signature is not that of the stated key.
    #[error("the signature does not verify")]
    Signature,
}

/// Length of a frame's header: kind (1 byte), body length (3 bytes, big endian).
pub const HEADER_BYTES: usize = 4;

/// Room for what is encoded, at first: nearly everything fits, and need not be moved while it grows.
const ENCODED_BYTES: usize = 512;

/// Encodes a value with postcard.
///
/// # Errors
/// [`CodecError::Malformed`] for values that postcard cannot express; none of this crate's types is one.
pub fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, CodecError> {
    postcard::to_extend(value, Vec::with_capacity(ENCODED_BYTES)).map_err(|_| CodecError::Malformed)
}

/// Decodes a value that must fill `bytes` to the end.
///
/// # Errors
/// [`CodecError`] when the bytes are cut short, malformed, or followed by others.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        Ok(_) => Err(CodecError::Trailing),
        Err(error) => Err(from_postcard(&error)),
    }
}

/// Decodes a value to which newer minor versions may have appended fields.
///
/// # Errors
/// [`CodecError`] when the bytes are cut short or malformed.
pub fn decode_prefix<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    postcard::take_from_bytes(bytes).map(|(value, _)| value).map_err(|error| from_postcard(&error))
}

/// Decodes a value and gives what follows it.
///
/// # Errors
/// [`CodecError`] when the bytes are cut short or malformed.
pub(crate) fn decode_first<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, &[u8]), CodecError> {
    postcard::take_from_bytes(bytes).map_err(|error| from_postcard(&error))
}

fn from_postcard(error: &postcard::Error) -> CodecError {
    match error {
        postcard::Error::DeserializeUnexpectedEnd => CodecError::Truncated,
        _ => CodecError::Malformed,
    }
}

/// Reads a list of at most `MAX` elements; for `#[serde(deserialize_with)]`. A plain `Vec` takes memory for as many
/// elements as the bytes announce, up to a MiB, before it has read one.
pub(crate) fn list<'de, D, T, const MAX: usize>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct Elements<T, const MAX: usize>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for Elements<T, MAX> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "at most {MAX} elements")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
            // No more than is announced, and nothing when more is announced than there are bytes.
            let announced = seq.size_hint().unwrap_or(0);
            if announced > MAX {
                return Err(Error::invalid_length(announced, &self));
            }
            let mut list = Vec::with_capacity(announced);
            while let Some(element) = seq.next_element()? {
                if list.len() == MAX {
                    return Err(Error::invalid_length(MAX + 1, &self));
                }
                list.push(element);
            }
            Ok(list)
        }
    }

    deserializer.deserialize_seq(Elements::<T, MAX>(PhantomData))
}

/// Whether a list, text or byte string is within its limit.
pub(crate) fn at_most(length: usize, limit: usize) -> Result<(), CodecError> {
    if length > limit { Err(CodecError::TooLong { limit }) } else { Ok(()) }
}

/// Puts header and body of a frame together.
///
/// # Errors
/// [`CodecError::TooLong`] when the body is beyond [`crate::limits::FRAME_BYTES`].
pub fn frame(kind: u8, body: &[u8]) -> Result<Bytes, CodecError> {
    let limit = crate::limits::FRAME_BYTES;
    let length = u32::try_from(body.len()).map_err(|_| CodecError::TooLong { limit })?;
    if body.len() > limit {
        return Err(CodecError::TooLong { limit });
    }
    let [_, length @ ..] = length.to_be_bytes();
    let mut out = Vec::with_capacity(HEADER_BYTES + body.len());
    out.push(kind);
    out.extend_from_slice(&length);
    out.extend_from_slice(body);
    Ok(Bytes::from(out))
}

/// Cuts the next whole frame off the front of `buffer`: its kind and its body. `None` when more bytes are needed.
///
/// # Errors
/// [`CodecError::TooLong`] as soon as the header states more than `limit` bytes; nothing is allocated for it.
pub fn cut(buffer: &mut BytesMut, limit: usize) -> Result<Option<(u8, Bytes)>, CodecError> {
    let Some(&[kind, a, b, c]) = buffer.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
    let length = u32::from_be_bytes([0, a, b, c]) as usize;
    if length > limit {
        return Err(CodecError::TooLong { limit });
    }
    if buffer.len() < HEADER_BYTES + length {
        return Ok(None);
    }
    buffer.advance(HEADER_BYTES);
    Ok(Some((kind, buffer.split_to(length).freeze())))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail by panic")]
    use super::*;

    #[test]
    fn frames_come_out_whole_whatever_the_pieces() {
        let wire = [frame(1, b"one").unwrap(), frame(2, b"").unwrap(), frame(3, &[7; 300]).unwrap()].concat();
        let mut buffer = BytesMut::new();
        let mut seen = Vec::new();
        for byte in wire {
            buffer.extend_from_slice(&[byte]);
            seen.extend(cut(&mut buffer, 1000).unwrap());
        }
        assert_eq!(seen.iter().map(|(kind, body)| (*kind, body.len())).collect::<Vec<_>>(), [(1, 3), (2, 0), (3, 300)]);
        assert!(buffer.is_empty());
    }

    #[test]
    fn a_frame_beyond_the_limit_is_refused_at_its_header() {
        let mut buffer = BytesMut::from(&[1, 0, 1, 0][..]);
        assert_eq!(cut(&mut buffer, 255), Err(CodecError::TooLong { limit: 255 }));
    }

    #[test]
    fn trailing_bytes_are_an_error_unless_a_newer_version_may_append() {
        assert_eq!(decode::<u8>(&[1, 2]), Err(CodecError::Trailing));
        assert_eq!(decode_prefix::<u8>(&[1, 2]), Ok(1));
        assert_eq!(decode::<u64>(&[0x80]), Err(CodecError::Truncated));
    }
}
