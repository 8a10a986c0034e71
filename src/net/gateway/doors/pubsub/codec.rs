//! The JSON of topic servers: y-webrtc's and Trystero's.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// How a client speaks. Topics of one dialect are not those of the other, since neither could read what the other says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tongue {
    /// y-webrtc: lists of topics, and messages with any keys.
    Yjs,
    /// Trystero: one topic, one payload.
    Trystero,
}

impl Tongue {
    /// Both of them.
    pub(super) const ALL: [Tongue; 2] = [Tongue::Yjs, Tongue::Trystero];

    /// The name in topics: never changes.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Tongue::Yjs => "yjs",
            Tongue::Trystero => "trystero",
        }
    }
}

/// What a client wants.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wish<'a> {
    Subscribe(Tongue, Vec<Cow<'a, str>>),
    Unsubscribe(Tongue, Vec<Cow<'a, str>>),
    /// The content is the whole message for y-webrtc, the payload alone for Trystero.
    Publish(Tongue, Cow<'a, str>, &'a str),
    Ping,
    /// A kind that no server knows.
    Other,
}

/// Fields may have any type: those of other kinds of messages are nobody's business.
#[derive(Deserialize)]
struct Frame<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    topics: Option<&'a RawValue>,
    #[serde(borrow)]
    topic: Option<&'a RawValue>,
    #[serde(borrow)]
    payload: Option<&'a RawValue>,
}

/// Reads a frame.
///
/// # Errors
/// That of the JSON reader, for what is no object with a `type`.
pub(super) fn read(text: &str) -> Result<Wish<'_>, serde_json::Error> {
    let frame: Frame<'_> = serde_json::from_str(text)?;
    let topic = frame.topic.and_then(string);
    Ok(match (&*frame.kind, frame.topics, topic) {
        ("subscribe", Some(topics), _) => Wish::Subscribe(Tongue::Yjs, strings(topics)),
        ("unsubscribe", Some(topics), _) => Wish::Unsubscribe(Tongue::Yjs, strings(topics)),
        ("subscribe", None, Some(topic)) => Wish::Subscribe(Tongue::Trystero, vec![topic]),
        ("unsubscribe", None, Some(topic)) => Wish::Unsubscribe(Tongue::Trystero, vec![topic]),
        ("publish", _, Some(topic)) => match frame.payload {
            Some(payload) => Wish::Publish(Tongue::Trystero, topic, payload.get()),
            None => Wish::Publish(Tongue::Yjs, topic, text.trim()),
        },
        ("ping", _, _) => Wish::Ping,
        _ => Wish::Other,
    })
}

fn string(json: &RawValue) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    serde_json::from_str::<Text<'_>>(json.get()).ok().map(|text| text.0)
}

/// The strings of a list; what else is in it is passed over, as the server of y-webrtc does.
fn strings(json: &RawValue) -> Vec<Cow<'_, str>> {
    let list: Vec<&RawValue> = serde_json::from_str(json.get()).unwrap_or_default();
    list.into_iter().filter_map(string).collect()
}

/// y-webrtc's message as it is told: its own bytes, and how many have subscribed. Its last `clients` counts, so whatever
/// a client wrote there does not.
pub(super) fn told_yjs(message: &str, clients: u32) -> Option<String> {
    let open = message.strip_suffix('}')?;
    Some(format!("{open},\"clients\":{clients}}}"))
}

/// Trystero's message as it is told.
pub(super) fn told_trystero(topic: &str, payload: &RawValue) -> String {
    #[derive(Serialize)]
    struct Told<'a> {
        topic: &'a str,
        payload: &'a RawValue,
    }
    // A string and JSON that was read as JSON before: there is nothing that could not be written.
    serde_json::to_string(&Told { topic, payload }).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail by panic")]
    use super::*;

    #[test]
    fn both_dialects_are_told_apart() {
        let topics = |names: &[&'static str]| names.iter().map(|name| Cow::Borrowed(*name)).collect();
        for (text, wish) in [
            (r#"{"type":"subscribe","topics":["a",7,"b",null]}"#, Wish::Subscribe(Tongue::Yjs, topics(&["a", "b"]))),
            (r#"{"type":"unsubscribe","topics":[]}"#, Wish::Unsubscribe(Tongue::Yjs, vec![])),
            (r#"{"type":"subscribe","topics":"a"}"#, Wish::Subscribe(Tongue::Yjs, vec![])),
            (r#"{"type":"subscribe","topic":"a"}"#, Wish::Subscribe(Tongue::Trystero, topics(&["a"]))),
            (r#"{"type":"unsubscribe","topic":"a"}"#, Wish::Unsubscribe(Tongue::Trystero, topics(&["a"]))),
            (
                r#"{"topic":"a","payload":{"x": 1},"type":"publish"}"#,
                Wish::Publish(Tongue::Trystero, "a".into(), "{\"x\": 1}"),
            ),
            (r#"{"type":"ping","topics":{}}"#, Wish::Ping),
            (r#"{"type":"publish","topic":7}"#, Wish::Other),
            (r#"{"type":"subscribe"}"#, Wish::Other),
            (r#"{"type":"hello"}"#, Wish::Other),
        ] {
            assert_eq!(read(text).unwrap(), wish, "{text}");
        }
        let text = r#" {"type":"publish","topic":"\u0061","data":1.0,"own":[ ]} "#;
        assert_eq!(read(text).unwrap(), Wish::Publish(Tongue::Yjs, "a".into(), text.trim()));
        for text in ["", "7", "[]", "{}", "{\"type\":1}", "{\"type\":\"ping\"", "\"ping\""] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn messages_keep_their_bytes() {
        let told = told_yjs(r#"{"type":"publish","data":1.0,"clients":99 }"#, 2).unwrap();
        assert_eq!(told, r#"{"type":"publish","data":1.0,"clients":99 ,"clients":2}"#);
        assert_eq!(serde_json::from_str::<serde_json::Value>(&told).unwrap()["clients"], 2);
        let payload = serde_json::from_str::<&RawValue>("{\"x\": 1.0}").unwrap();
        assert_eq!(told_trystero("a\"b", payload), "{\"topic\":\"a\\\"b\",\"payload\":{\"x\": 1.0}}");
    }
}
