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
    // Digits are gathered on the stack: an id is written with every message to an edge.
    for chunk in bytes.chunks(32) {
        let mut digits = [0; 64];
        for (pair, byte) in digits.chunks_exact_mut(2).zip(chunk) {
            pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
        }
        let text = digits.get(..2 * chunk.len()).and_then(|digits| std::str::from_utf8(digits).ok());
        out.write_str(text.unwrap_or_default())?;
    }
    Ok(())
}

/// `bytes` as lowercase hex.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).map(char::from).collect()
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

fn digit(value: u8) -> u8 {
    if value < 10 { b'0' + value } else { b'a' + value - 10 }
}

fn value(digit: u8) -> Result<u8, HexError> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        _ => Err(HexError::Digit),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail by panic")]
    use super::*;

    #[test]
    fn bytes_of_any_length_survive_their_text() {
        for length in [0, 1, 31, 32, 33, 64, 100] {
            let bytes: Vec<u8> = (0..length).map(|n: u8| n.wrapping_mul(37)).collect();
            let mut text = String::new();
            write(&mut text, &bytes).unwrap();
            assert_eq!(text, encode(&bytes));
            assert_eq!(text, bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
        }
        assert_eq!(decode::<2>("00ff"), Ok([0, 255]));
        assert_eq!(decode::<2>("00f"), Err(HexError::Length { expected: 4, found: 3 }));
        assert_eq!(decode::<2>("00fG"), Err(HexError::Digit));
    }
}
