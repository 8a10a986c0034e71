//! What a client and a server of `PeerJS` say, and what goes between the homes of two clients. All of it is pure.

use std::borrow::Cow;

use aldis_wire::edge::Json;
use serde::Deserialize;
use serde_json::value::RawValue;

/// An id, a key or a token. What clients make themselves has 36, 6 and 11 bytes.
pub(super) const NAME_BYTES: usize = 128;

/// What one client sends another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    Offer = 1,
    Answer = 2,
    Candidate = 3,
    Leave = 4,
    Expire = 5,
}

impl Kind {
    const ALL: [Kind; 5] = [Kind::Offer, Kind::Answer, Kind::Candidate, Kind::Leave, Kind::Expire];

    const fn name(self) -> &'static str {
        match self {
            Kind::Offer => "OFFER",
            Kind::Answer => "ANSWER",
            Kind::Candidate => "CANDIDATE",
            Kind::Leave => "LEAVE",
            Kind::Expire => "EXPIRE",
        }
    }

    /// Whether it waits for an id that nobody has yet.
    pub(super) const fn waits(self) -> bool {
        matches!(self, Kind::Offer | Kind::Answer | Kind::Candidate)
    }
}

/// What a client says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said<'a> {
    /// To another client.
    To { kind: Kind, dst: Cow<'a, str>, payload: &'a str },
    /// It gives up its id.
    Leave,
}

#[derive(Deserialize)]
struct Frame<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(default, borrow)]
    dst: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    payload: Option<&'a RawValue>,
}

/// Reads a client's frame; `None` for what asks for nothing: heartbeats, types that the original does not know either,
/// and what is no frame of this protocol.
pub(super) fn read(text: &str) -> Option<Said<'_>> {
    let frame: Frame<'_> = serde_json::from_str(text).ok()?;
    let kind = Kind::ALL.into_iter().find(|kind| kind.name() == frame.kind)?;
    match frame.dst.filter(|dst| !dst.is_empty()) {
        Some(dst) => {
            let payload = frame.payload.map_or("", RawValue::get);
            is_payload(payload.as_bytes()).then_some(Said::To { kind, dst, payload })
        }
        None => (kind == Kind::Leave).then_some(Said::Leave),
    }
}

/// Whether bytes can stand as a payload: none, or one JSON value.
fn is_payload(bytes: &[u8]) -> bool {
    bytes.is_empty() || Json::read(bytes).is_ok()
}

/// The frame that a client gets.
pub(super) fn message(kind: Kind, src: &str, dst: &str, payload: &str) -> String {
    let (kind, src, dst) = (kind.name(), quoted(src), quoted(dst));
    if payload.is_empty() {
        format!(r#"{{"type":"{kind}","src":{src},"dst":{dst}}}"#)
    } else {
        format!(r#"{{"type":"{kind}","src":{src},"dst":{dst},"payload":{payload}}}"#)
    }
}

/// The first frame that a client gets, when the id is its own.
pub(super) const OPEN: &str = r#"{"type":"OPEN"}"#;

/// The last one, when it is somebody else's.
pub(super) const ID_TAKEN: &str = r#"{"type":"ID-TAKEN","payload":{"msg":"ID is taken"}}"#;

/// The last one otherwise.
pub(super) fn error(words: &str) -> String {
    format!(r#"{{"type":"ERROR","payload":{{"msg":{}}}}}"#, quoted(words))
}

fn quoted(text: &str) -> String {
    // A text always is JSON.
    serde_json::to_string(text).unwrap_or_default()
}

/// What goes from the home of one client to that of another (DOORS.md).
pub(super) fn encode(kind: Kind, src: &str, payload: &str) -> Vec<u8> {
    let mut body = Vec::with_capacity(2 + src.len() + payload.len());
    body.push(kind as u8);
    // Ids have at most `NAME_BYTES`.
    body.push(u8::try_from(src.len()).unwrap_or(0));
    body.extend_from_slice(src.as_bytes());
    body.extend_from_slice(payload.as_bytes());
    body
}

/// Kind, sender and payload; `None` for what no home of ours sends.
pub(super) fn decode(body: &[u8]) -> Option<(Kind, &str, &str)> {
    let ([kind, length], rest) = body.split_first_chunk()?;
    let kind = Kind::ALL.into_iter().find(|known| *known as u8 == *kind)?;
    let (src, payload) = rest.split_at_checked(usize::from(*length))?;
    let (src, payload) = (std::str::from_utf8(src).ok()?, std::str::from_utf8(payload).ok()?);
    let sound = !src.is_empty() && src.len() <= NAME_BYTES && is_payload(payload.as_bytes());
    sound.then_some((kind, src, payload))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail by panic")]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_payload_goes_through_byte_for_byte_and_only_four_fields_do() {
        let payload = "{\"sdp\":{ \"type\" : \"offer\",\"sdp\":\"v=0\\r\\n\\u00e9é\"},  \"n\":1.50e3}";
        let text = format!(r#"{{"payload":{payload},"evil":[1],"src":"somebody else","dst":"b","type":"OFFER"}}"#);
        let Some(Said::To { kind, dst, payload: read }) = read(&text) else { panic!("not read") };
        assert_eq!((kind, &*dst, read), (Kind::Offer, "b", payload));
        let body = encode(kind, "a", read);
        let (kind, src, got) = decode(&body).unwrap();
        let expected = format!(r#"{{"type":"OFFER","src":"a","dst":"b","payload":{payload}}}"#);
        assert_eq!(message(kind, src, "b", got), expected);
    }

    #[test]
    fn what_asks_for_nothing_is_nothing() {
        for text in [
            r#"{"type":"HEARTBEAT"}"#,
            r#"{"type":"OFFER"}"#,
            r#"{"type":"OFFER","dst":""}"#,
            r#"{"type":"OFFER","dst":5,"payload":{}}"#,
            r#"{"type":"OPEN","dst":"b"}"#,
            r#"{"type":7,"dst":"b"}"#,
            r#"{"dst":"b"}"#,
            "null",
            "[]",
            "",
            "{",
            "\"OFFER\"",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
        let deep = format!(r#"{{"type":"OFFER","dst":"b","payload":{}1{}}}"#, "[".repeat(9_000), "]".repeat(9_000));
        assert_eq!(read(&deep), None, "nested deeper than readers can take");
        assert_eq!(read(r#"{"type":"LEAVE"}"#), Some(Said::Leave));
        let leave = Said::To { kind: Kind::Leave, dst: "b".into(), payload: "" };
        assert_eq!(read(r#"{"type":"LEAVE","dst":"b"}"#), Some(leave));
    }

    #[test]
    fn hostile_bodies_cannot_leave_their_place_in_the_frame() {
        for body in [
            &b""[..],
            b"\x01",
            b"\x01\x05ab",
            b"\x00\x01a{}",
            b"\x06\x01a{}",
            b"\x01\x00{}",
            b"\x01\x01\xff{}",
            b"\x01\x01a{},\"dst\":1",
            b"\x01\x01a{}}",
            b"\x01\x01a\xff",
            b"\x01\x01a{",
            b"\x01\xc8",
        ] {
            assert_eq!(decode(body), None, "{body:?}");
        }
        let name = "\"},{\\\u{0}";
        let frame: serde_json::Value = serde_json::from_str(&message(Kind::Leave, name, name, "")).unwrap();
        assert_eq!((frame["src"].as_str(), frame["dst"].as_str()), (Some(name), Some(name)));
        let words: serde_json::Value = serde_json::from_str(&error("say \"no\"")).unwrap();
        assert_eq!(words["payload"]["msg"], "say \"no\"");
    }

    proptest! {
        #[test]
        fn no_frame_and_no_body_makes_a_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
            text in r#"[{}\[\]",:a-z0-9\\ ]{0,80}"#,
        ) {
            _ = decode(&bytes);
            _ = read(&text);
            _ = read(&String::from_utf8_lossy(&bytes));
        }

        #[test]
        fn every_body_that_is_read_makes_a_frame_of_four_fields(
            kind in 0_u8..8, src in "\\PC{0,60}", payload in prop_oneof![Just(String::new()), "[0-9]{1,9}", "\\PC{0,40}"],
        ) {
            let mut body = vec![kind, u8::try_from(src.len()).unwrap()];
            body.extend_from_slice(src.as_bytes());
            body.extend_from_slice(payload.as_bytes());
            if let Some((kind, src, payload)) = decode(&body) {
                let text = message(kind, src, "me", payload);
                let frame: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&text).unwrap();
                prop_assert_eq!(frame["src"].as_str(), Some(src));
                prop_assert_eq!(frame["dst"].as_str(), Some("me"));
                prop_assert_eq!(frame.len(), if payload.is_empty() { 3 } else { 4 });
            }
        }

        #[test]
        fn every_field_may_be_garbage(field in 0_usize..3, garbage in "\\PC{0,40}") {
            let mut fields = [r#""OFFER""#.to_owned(), r#""b""#.to_owned(), "{}".to_owned()];
            fields[field] = garbage;
            let [kind, dst, payload] = fields;
            _ = read(&format!(r#"{{"type":{kind},"dst":{dst},"payload":{payload}}}"#));
        }
    }
}
