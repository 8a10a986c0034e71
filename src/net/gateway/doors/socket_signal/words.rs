//! The JSON of requests and answers: `{"data": …}`, in which buffers are strings that begin with `base64:`.

use std::borrow::Cow;

use aldis_wire::edge::Json;
use aldis_wire::hex;
use data_encoding::BASE64;
use serde::de::{Error, IgnoredAny};
use serde::{Deserialize, Deserializer, Serialize};

/// The length of topics, ids of clients and ids of their sessions with each other.
const KEY_BYTES: usize = 32;
/// Before the base64 of a buffer.
const BUFFER: &str = "base64:";
/// An unknown action is named in its error, up to so many characters.
const NAME_CHARS_MAX: usize = 128;

/// The answer of a handler that returns nothing.
pub(super) const NOTHING: &[u8] = b"{}";
/// The answer to an event.
pub(super) const NULL: &[u8] = b"{\"data\":null}";

/// Why a request that would have to wait is refused.
pub(super) const TOO_MANY_OPEN: &str = "Too many requests wait for their answers.";

/// A topic, the id of a client, or the id of what two clients have with each other.
pub(super) type Key = [u8; KEY_BYTES];

/// What is routed by. The rest of a request is nobody's business here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Fields {
    #[serde(deserialize_with = "key")]
    pub(super) topic: Option<Key>,
    #[serde(deserialize_with = "key")]
    pub(super) id: Option<Key>,
    #[serde(deserialize_with = "key")]
    pub(super) remote_id: Option<Key>,
    #[serde(deserialize_with = "key")]
    pub(super) session_id: Option<Key>,
}

/// The fields of an offer, of a remote connect and of a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) topic: Key,
    pub(super) remote: Key,
    pub(super) session: Key,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    data: Option<Json<'a>>,
}

/// What is in the envelope: the text of one JSON value, `null` when there is none. `None` when it is no envelope.
pub(super) fn open(json: &[u8]) -> Option<&str> {
    let whole = Json::read(json).ok()?;
    let envelope: Envelope<'_> = serde_json::from_str(whole.as_str()).ok()?;
    Some(envelope.data.unwrap_or(Json::NULL).as_str())
}

impl Fields {
    /// `None` when one of the fields is something else than it should be.
    pub(super) fn read(data: &str) -> Option<Self> {
        serde_json::from_str(data).ok()
    }

    /// `None` when a field is missing.
    pub(super) fn target(self) -> Option<Target> {
        // The client that is called reads the caller's id without a look at whether there is one.
        self.id?;
        Some(Target { topic: self.topic?, remote: self.remote_id?, session: self.session_id? })
    }
}

fn key<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Key>, D::Error> {
    let Some(text) = Option::<Cow<'de, str>>::deserialize(deserializer)? else { return Ok(None) };
    let bytes = text.strip_prefix(BUFFER).and_then(|text| BASE64.decode(text.as_bytes()).ok());
    let key = bytes.and_then(|bytes| Key::try_from(bytes).ok());
    key.map(Some).ok_or_else(|| D::Error::custom("not a buffer of 32 bytes"))
}

/// The answer to a look-up.
pub(super) fn ids<'a>(ids: impl IntoIterator<Item = &'a Key>) -> Vec<u8> {
    let mut out = b"{\"data\":[".to_vec();
    for (place, id) in ids.into_iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        out.push(b'"');
        out.extend_from_slice(BUFFER.as_bytes());
        out.extend_from_slice(BASE64.encode(id).as_bytes());
        out.push(b'"');
    }
    out.extend_from_slice(b"]}");
    out
}

/// The answer to a ping: Unix time in milliseconds.
pub(super) fn time(unix_ms: u128) -> Vec<u8> {
    format!("{{\"data\":{{\"time\":{unix_ms}}}}}").into_bytes()
}

/// Errors that the client makes anew out of code, format and arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault<'a> {
    /// Nobody has this id in this topic.
    PeerNotFound(Key),
    /// There is no such action.
    NameMissing(&'a str),
    /// Whoever was called did not answer.
    Timeout(u32),
    /// Whoever was called went away.
    Closed,
    /// Everything else, in words.
    Failed(&'a str),
}

/// As it stands in an answer. Without `stack` the client takes its own.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenFault<'a, A> {
    #[serde(borrow)]
    code: Cow<'a, str>,
    #[serde(borrow)]
    unformat_message: Cow<'a, str>,
    args: Vec<A>,
}

impl Fault<'_> {
    pub(super) fn json(self) -> Vec<u8> {
        let (code, format, arg) = match self {
            Self::PeerNotFound(id) => ("ERR_PEER_NOT_FOUND", "peer not found: %s", Some(hex::encode(&id).into())),
            Self::NameMissing(name) => {
                let name: String = name.chars().take(NAME_CHARS_MAX).collect();
                ("NRPC_ERR_NAME_MISSING", "missing action handler for: %s", Some(name.into()))
            }
            Self::Timeout(id) => ("NMSG_ERR_TIMEOUT", "timeout on request: %s", Some(id.into())),
            Self::Closed => ("NMSG_ERR_CLOSE", "nanomessage was closed", None::<serde_json::Value>),
            Self::Failed(words) => ("NRPC_ERR_RESPONSE_ERROR", "%s", Some(words.into())),
        };
        let fault =
            WrittenFault { code: code.into(), unformat_message: format.into(), args: arg.into_iter().collect() };
        let mut out = b"{\"data\":".to_vec();
        // Strings and numbers alone: this cannot fail.
        out.extend(serde_json::to_vec(&fault).unwrap_or_else(|_| b"null".to_vec()));
        out.push(b'}');
        out
    }
}

/// Whether a client can make an error of this.
pub(super) fn is_fault(data: &str) -> bool {
    serde_json::from_str::<WrittenFault<'_, IgnoredAny>>(data).is_ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail by panic")]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn buffers_are_read_however_they_are_escaped() {
        let key = Some([0xff; 32]);
        let text = format!("\"base64:{}8=\"", "/".repeat(42));
        for text in [text.clone(), text.replace('/', "\\/"), text.replace('b', "\\u0062")] {
            let json = format!("{{\"data\":{{\"topic\":{text},\"id\":null,\"metadata\":{{\"topic\":5}}}}}}");
            let fields = Fields::read(open(json.as_bytes()).unwrap());
            assert_eq!(fields, Some(Fields { topic: key, ..Fields::default() }), "{json}");
        }
    }

    #[test]
    fn what_is_no_buffer_of_32_bytes_is_no_field() {
        for value in ["5", "{}", "\"\"", "\"base64:AAAA\"", "\"base64:!\"", "[]", "true"] {
            assert_eq!(Fields::read(&format!("{{\"id\":{value}}}")), None, "{value}");
        }
        assert_eq!(Fields::read("null"), None);
        assert_eq!(Fields::read("{}"), Some(Fields::default()));
    }

    #[test]
    fn an_envelope_is_one_object_that_is_not_too_deep() {
        let deep = format!("{{\"data\":{}{}}}", "[".repeat(100), "]".repeat(100));
        for json in ["", "5", "[]", "{\"data\":1}2", "{\"data\":1,\"data\":2}", "{\"data\":}", deep.as_str()] {
            assert_eq!(open(json.as_bytes()), None, "{json}");
        }
        assert_eq!(open(b"{\"data\":\"\xff\"}"), None);
        assert_eq!(open(b"{}"), Some("null"));
        assert_eq!(open(b" { \"more\": 1, \"data\" : [ 1 ] } "), Some("[ 1 ]"));
    }

    #[test]
    fn faults_are_what_clients_rebuild() {
        let written = |fault: Fault<'_>| String::from_utf8(fault.json()).unwrap();
        assert_eq!(
            written(Fault::Timeout(7)),
            r#"{"data":{"code":"NMSG_ERR_TIMEOUT","unformatMessage":"timeout on request: %s","args":[7]}}"#
        );
        let long = "\u{1}".repeat(60_000);
        for fault in
            [Fault::PeerNotFound([1; 32]), Fault::NameMissing(&long), Fault::Closed, Fault::Failed("say \"no\"")]
        {
            let json = fault.json();
            assert!(is_fault(open(&json).unwrap()) && json.len() < 1_024, "{fault:?}");
        }
        assert!(!is_fault("{\"code\":\"E\",\"unformatMessage\":\"\",\"args\":5}") && !is_fault("null"));
    }

    proptest! {
        #[test]
        fn ids_are_read_as_they_were_written(keys in proptest::collection::vec(any::<Key>(), 0..5)) {
            let json = ids(&keys);
            let texts: Vec<String> = serde_json::from_str(open(&json).unwrap()).unwrap();
            for (text, key) in texts.iter().zip(&keys) {
                let fields = Fields::read(&format!("{{\"id\":\"{text}\"}}")).unwrap();
                prop_assert_eq!(fields.id, Some(*key));
            }
            prop_assert_eq!(texts.len(), keys.len());
        }

        #[test]
        fn no_text_makes_it_panic(text in "[\\[\\]{}\",:a-z0-9\\\\]{0,60}") {
            if let Some(data) = open(text.as_bytes()) {
                _ = (Fields::read(data), is_fault(data));
            }
        }
    }
}
