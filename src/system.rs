//! What the operating system gives: random bytes, and its words for an error.
#![allow(clippy::disallowed_methods, reason = "the outside world: randomness is its job")]

use std::io;

/// Random bytes. Without them no key may be made: the process ends.
#[must_use]
pub(crate) fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    if getrandom::fill(&mut bytes).is_err() {
        std::process::abort();
    }
    bytes
}

/// The operating system's words for an error, without its number.
pub(crate) fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(end) => text.get(..end).unwrap_or(&text).to_owned(),
        None => text,
    }
}
