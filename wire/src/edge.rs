//! The JSON messages of edges, both ways (PROTOCOL.md §4).
//!
//! [`FromEdge`] is what an edge says, [`HostMessage`] what a host says. Hosts decode the one and encode the other;
//! the terminal edge and the measuring tool do the reverse.
//!
//! Decoding borrows from the text: one flat struct of `Option`s is filled, then matched on `type`. serde's own tagged
//! enums would copy everything into a tree first, and cannot carry a [`Json`] at all. Encoding inserts `data` and
//! `meta` byte for byte.

mod from_edge;
mod from_host;
mod json;
pub mod sealed;

pub use from_edge::{Claim, EdgeMessage, FromEdge, Hello, Identity, Resume, acknowledging};
pub use from_host::{HostMessage, Limits, Member, Reach, Sample, Status, Welcome};
pub use json::{Hex, Json, JsonError};

use serde::Deserialize;

use crate::limits::{EDGE_MESSAGE_BYTES, REQUEST_ID_BYTES};
use crate::refusal::Refusal;
use json::Text;

/// The WebSocket subprotocol of this version.
pub const SUBPROTOCOL: &str = "aldis.v1";
/// The path of the WebSocket.
pub const PATH: &str = "/v1";

/// Words about what is wrong with a message. serde_json quotes what it found, so that without a bound a large
/// message would come back in full.
const WORDS_BYTES: usize = 200;

/// A text that is not a message of this protocol.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{refusal}: {message}")]
pub struct EdgeError {
    /// The id of the request, if it could be read.
    pub id: Option<String>,
    /// What kind of fault.
    pub refusal: Refusal,
    /// What exactly, for the developer at the other end. At most 200 bytes.
    pub message: String,
}

impl EdgeError {
    fn new(id: Option<&str>, refusal: Refusal, message: impl Into<String>) -> Self {
        Self { id: id.map(str::to_owned), refusal, message: shortened(message.into()) }
    }
}

/// Fills a flat struct from `text`, or says what is wrong with it. `types` are those of its direction.
fn flat<'a, T: Deserialize<'a>>(text: &'a str, types: &[&str]) -> Result<T, EdgeError> {
    if text.len() > EDGE_MESSAGE_BYTES {
        let words = format!("{} bytes, at most {EDGE_MESSAGE_BYTES}", text.len());
        return Err(EdgeError::new(None, Refusal::TooBig, words));
    }
    // serde fills structs from arrays too, by position.
    if !text.trim_start().starts_with('{') {
        return Err(EdgeError::new(None, Refusal::Malformed, "not a JSON object"));
    }
    serde_json::from_str(text).map_err(|error| fault(text, types, &error))
}

/// JSON that does not fit the flat struct: perhaps its id and type can be read nevertheless.
fn fault(text: &str, types: &[&str], error: &serde_json::Error) -> EdgeError {
    if !error.is_data() {
        return EdgeError::new(None, Refusal::Malformed, format!("not JSON: {error}"));
    }
    let Ok(names) = serde_json::from_str::<Names<'_>>(text) else {
        return EdgeError::new(None, Refusal::BadField, error.to_string());
    };
    let id = names.id.and_then(|raw| serde_json::from_str::<String>(raw.as_str()).ok()).filter(|id| id_fits(id));
    let refusal = match names.kind.map(|raw| serde_json::from_str::<String>(raw.as_str())) {
        Some(Ok(kind)) if !types.contains(&kind.as_str()) => Refusal::UnknownType,
        _ => Refusal::BadField,
    };
    EdgeError::new(id.as_deref(), refusal, error.to_string())
}

#[derive(Deserialize)]
struct Names<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Json<'a>>,
    #[serde(borrow)]
    id: Option<Json<'a>>,
}

fn id_fits(id: &str) -> bool {
    (1..=REQUEST_ID_BYTES).contains(&id.len())
}

/// Takes a field, or says that it is missing.
fn need<T>(field: Option<T>, name: &str, id: Option<&str>) -> Result<T, EdgeError> {
    field.ok_or_else(|| EdgeError::new(id, Refusal::BadField, format!("`{name}` is missing")))
}

/// Reads `N` bytes of hex, or says what is wrong with them.
fn need_hex<const N: usize>(text: &Text<'_>, name: &str, id: Option<&str>) -> Result<[u8; N], EdgeError> {
    crate::hex::decode(&text.0).map_err(|error| EdgeError::new(id, Refusal::BadField, format!("`{name}`: {error}")))
}

fn shortened(mut words: String) -> String {
    if words.len() > WORDS_BYTES {
        let cut = (0..=WORDS_BYTES).rev().find(|at| words.is_char_boundary(*at)).unwrap_or(0);
        words.truncate(cut);
    }
    words
}

#[cfg(test)]
mod tests;
