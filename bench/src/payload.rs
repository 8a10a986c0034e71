//! What is sent: text like that of a session description, and ids that carry the time at which a signal was due.

use aldis_wire::edge::Json;
use anyhow::{Context, Result};

/// Whether a signal is the first of an exchange or its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hop {
    Offer,
    Answer,
}

/// What an id says: PROTOCOL.md §4 lets the edge choose it, and both the target and the receipt show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) hop: Hop,
    /// When the signal was due, in nanoseconds of [`crate::measure::now`].
    pub(crate) due: u64,
    /// Different for all signals of an edge.
    pub(crate) number: u64,
}

impl Stamp {
    pub(crate) fn write(self) -> String {
        let hop = match self.hop {
            Hop::Offer => 'o',
            Hop::Answer => 'a',
        };
        format!("{hop}.{:x}.{:x}", self.due, self.number)
    }

    pub(crate) fn read(id: &str) -> Option<Self> {
        let mut parts = id.split('.');
        let hop = match parts.next()? {
            "o" => Hop::Offer,
            "a" => Hop::Answer,
            _ => return None,
        };
        let mut number = || u64::from_str_radix(parts.next()?, 16).ok();
        Some(Self { hop, due: number()?, number: number()? })
    }
}

/// The `data` of every signal: a JSON object as WebRTC applications send it.
#[derive(Debug)]
pub(crate) struct Payload(String);

impl Payload {
    /// With a description of exactly `bytes` bytes; its line ends are two bytes each, and as JSON four.
    pub(crate) fn new(bytes: usize) -> Self {
        let mut text = "v=0\r\no=- 4611731400430051336 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n".to_owned();
        for line in 1_u32.. {
            if text.len() >= bytes {
                break;
            }
            text.push_str(&format!(
                "a=candidate:{line} 1 udp {} 192.0.2.{} {} typ host generation 0\r\n",
                2_122_260_223 - line,
                line % 256,
                49_152 + line % 16_384
            ));
        }
        text.truncate(bytes);
        Self(serde_json::json!({ "type": "offer", "sdp": text }).to_string())
    }

    pub(crate) fn json(&self) -> Result<Json<'_>> {
        Json::read(self.0.as_bytes()).context("the payload is no JSON")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail by panic")]
    use super::*;

    #[test]
    fn an_id_gives_back_what_it_was_made_of() {
        let stamp = Stamp { hop: Hop::Answer, due: u64::MAX, number: 77 };
        assert_eq!(Stamp::read(&stamp.write()), Some(stamp));
        assert!(Stamp { number: u64::MAX, ..stamp }.write().len() <= aldis_wire::limits::REQUEST_ID_BYTES);
        assert_eq!(Stamp::read("join.0"), None);
        assert_eq!(Stamp::read("o.0"), None);
    }

    #[test]
    fn a_payload_has_the_size_that_was_asked_for() {
        for bytes in [64, 1_024, 16_384] {
            let payload = Payload::new(bytes);
            let value: serde_json::Value = serde_json::from_str(payload.json().unwrap().as_str()).unwrap();
            assert_eq!(value["sdp"].as_str().unwrap().len(), bytes);
        }
    }
}
