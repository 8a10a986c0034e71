//! Lowercase hex, the one text form of bytes in Aldis.

use std::fmt;

/// Why a text is not the hex of so many bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HexError {
    /// The text has another length than the bytes need.
    #[error("expected {expected} hex digits, found {found}")]
    Length {
        /// Digits that are needed.
        expected: usize,
        /// Bytes of text that were given.
        found: usize,
    },
    /// A character other than 0-9 and a-f.
    #[error("only the digits 0-9 and a-f may stand in hex")]
    Digit,
}

/// Writes `bytes` as lowercase hex.
///
/// # Errors
/// Those of the writer.
pub fn write(out: &mut impl fmt::Write, bytes: &[u8]) -> fmt::Result {
    for byte in bytes {
        write!(out, "{byte:02x}")?;
    }
    Ok(())
}

/// `bytes` as lowercase hex.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// Reads exactly `N` bytes of lowercase hex.
///
/// # Errors
/// [`HexError`] when the length or a digit is wrong.
pub fn decode<const N: usize>(text: &str) -> Result<[u8; N], HexError> {
    if text.len() != 2 * N {
        return Err(HexError::Length { expected: 2 * N, found: text.len() });
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        if let [high, low] = pair {
            *byte = value(*high)? << 4 | value(*low)?;
        }
    }
    Ok(bytes)
}

fn digit(value: u8) -> char {
    char::from(if value < 10 { b'0' + value } else { b'a' + value - 10 })
}

fn value(digit: u8) -> Result<u8, HexError> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        _ => Err(HexError::Digit),
    }
}
