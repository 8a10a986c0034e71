//! The bytes of dxRPC (`dxos.rpc`, `dxos.error`) and of `dxos.mesh.signal`, and what in them we rely on.
//!
//! Numbers of fields are those of the published schema. What it has besides is skipped when read, and kept where bytes
//! are passed on.

use std::collections::BTreeMap;

use axum::body::Bytes;
use prost::Message as _;

/// The key of a peer or a swarm: 32 bytes where it is an Ed25519 key, more for other kinds.
pub(super) const KEY_BYTES_MAX: usize = 128;

/// One frame.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct RpcMessage {
    #[prost(oneof = "Content", tags = "1, 2, 3, 4, 5, 6")]
    pub(super) content: Option<Content>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum Content {
    #[prost(message, tag = "1")]
    Request(Request),
    #[prost(message, tag = "2")]
    Response(Response),
    #[prost(bool, tag = "3")]
    Open(bool),
    #[prost(bool, tag = "4")]
    OpenAck(bool),
    #[prost(message, tag = "5")]
    StreamClose(StreamClose),
    #[prost(message, tag = "6")]
    Bye(Empty),
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Request {
    #[prost(int32, tag = "1")]
    pub(super) id: i32,
    #[prost(string, tag = "2")]
    pub(super) method: String,
    #[prost(message, optional, tag = "3")]
    pub(super) payload: Option<Any>,
    #[prost(bool, tag = "4")]
    pub(super) stream: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Response {
    #[prost(int32, tag = "1")]
    pub(super) id: i32,
    #[prost(oneof = "Answer", tags = "2, 3, 4, 5")]
    pub(super) answer: Option<Answer>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum Answer {
    #[prost(message, tag = "2")]
    Payload(Any),
    #[prost(message, tag = "3")]
    Error(Error),
    #[prost(bool, tag = "4")]
    Close(bool),
    #[prost(bool, tag = "5")]
    StreamReady(bool),
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct StreamClose {
    #[prost(int32, tag = "1")]
    pub(super) id: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Empty {}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Error {
    #[prost(string, optional, tag = "1")]
    pub(super) name: Option<String>,
    #[prost(string, optional, tag = "2")]
    pub(super) message: Option<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Any {
    #[prost(string, tag = "1")]
    pub(super) type_url: String,
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) value: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct JoinRequest {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) swarm: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) peer: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ReceptionRequest {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) peer: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct SwarmEvent {
    #[prost(oneof = "Change", tags = "1, 2")]
    pub(super) change: Option<Change>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum Change {
    #[prost(message, tag = "1")]
    PeerAvailable(PeerAvailable),
    #[prost(message, tag = "2")]
    PeerLeft(PeerLeft),
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct PeerAvailable {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) peer: Vec<u8>,
    #[prost(message, optional, tag = "2")]
    pub(super) since: Option<Timestamp>,
    #[prost(message, optional, tag = "3")]
    pub(super) until: Option<Timestamp>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct PeerLeft {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) peer: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Timestamp {
    #[prost(int64, tag = "1")]
    pub(super) seconds: i64,
    #[prost(int32, tag = "2")]
    pub(super) nanos: i32,
}

/// `dxos.mesh.signal.Message`. It is passed on as it came; this is for looking at it.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Mail {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) author: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) recipient: Vec<u8>,
    #[prost(message, optional, tag = "3")]
    pub(super) payload: Option<Any>,
    #[prost(message, optional, tag = "4")]
    pub(super) metadata: Option<Struct>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Struct {
    #[prost(btree_map = "string, message", tag = "1")]
    pub(super) fields: BTreeMap<String, Value>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Value {
    #[prost(oneof = "Kind", tags = "1, 2, 3, 4, 5, 6")]
    pub(super) kind: Option<Kind>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum Kind {
    #[prost(int32, tag = "1")]
    Null(i32),
    #[prost(double, tag = "2")]
    Number(f64),
    #[prost(string, tag = "3")]
    Text(String),
    #[prost(bool, tag = "4")]
    Bool(bool),
    #[prost(message, tag = "5")]
    Struct(Struct),
    #[prost(message, tag = "6")]
    List(List),
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct List {
    #[prost(message, repeated, tag = "1")]
    pub(super) values: Vec<Value>,
}

/// Whether a client can take this for a key.
pub(super) fn is_key(bytes: &[u8]) -> bool {
    (1..=KEY_BYTES_MAX).contains(&bytes.len())
}

/// A message that a client's library can read to its end. It throws on anything else, and not all of its users catch
/// that: so nothing else may reach it, whoever sends it.
pub(super) fn mail(bytes: &Bytes) -> Option<Mail> {
    let mail = Mail::decode(bytes.clone()).ok()?;
    let addressed = is_key(&mail.author) && is_key(&mail.recipient);
    let filled = mail.payload.as_ref().is_some_and(|payload| !payload.type_url.is_empty());
    (addressed && filled && mail.metadata.as_ref().is_none_or(is_whole)).then_some(mail)
}

/// Whether all values are something. No deeper than prost reads: 100.
fn is_whole(metadata: &Struct) -> bool {
    fn is_something(value: &Value) -> bool {
        match &value.kind {
            None => false,
            Some(Kind::Struct(inner)) => is_whole(inner),
            Some(Kind::List(list)) => list.values.iter().all(is_something),
            Some(Kind::Null(_) | Kind::Number(_) | Kind::Text(_) | Kind::Bool(_)) => true,
        }
    }
    metadata.fields.values().all(is_something)
}

/// A frame that answers a request.
pub(super) fn response(id: i32, answer: Answer) -> Vec<u8> {
    frame(Content::Response(Response { id, answer: Some(answer) }))
}

pub(super) fn frame(content: Content) -> Vec<u8> {
    RpcMessage { content: Some(content) }.encode_to_vec()
}

/// A payload of this type. The leading dot is how the library's own servers write it.
pub(super) fn payload(type_name: &str, value: impl Into<Bytes>) -> Answer {
    Answer::Payload(Any { type_url: format!(".{type_name}"), value: value.into() })
}

/// What a call without a result gives.
pub(super) fn done() -> Answer {
    Answer::Payload(Any { type_url: "google.protobuf.Empty".to_owned(), value: Bytes::new() })
}

pub(super) fn error(name: &str, message: &str) -> Answer {
    Answer::Error(Error { name: Some(name.to_owned()), message: Some(message.to_owned()) })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail by panic")]
    use super::*;
    use proptest::prelude::*;

    /// As the library sends it: a call of `Join`, written down by hand.
    #[test]
    fn a_request_is_read_as_the_library_writes_it() {
        let bytes = b"\x0a\x46\x08\x01\x12\x1c\x64xos.mesh.signal.Signal.Join\x1a\x22\x0a\x1d.dxos.mesh.signal.JoinRequest\x12\x01\x0a\x20\x01";
        let read = RpcMessage::decode(&bytes[..]).unwrap();
        let Some(Content::Request(request)) = read.content.clone() else { panic!("not a request: {read:?}") };
        assert_eq!((request.id, &*request.method, request.stream), (1, "dxos.mesh.signal.Signal.Join", true));
        assert_eq!(request.payload.unwrap().type_url, ".dxos.mesh.signal.JoinRequest");
        assert_eq!(read.encode_to_vec(), bytes);
    }

    #[test]
    fn an_empty_answer_still_has_a_payload() {
        let expected = b"\x12\x1b\x08\x05\x12\x17\x0a\x15google.protobuf.Empty";
        assert_eq!(response(5, done()), expected);
    }

    fn a_mail() -> Mail {
        let text = Value { kind: Some(Kind::Text("x".to_owned())) };
        Mail {
            author: vec![1; 32],
            recipient: vec![2; 32],
            payload: Some(Any { type_url: "t".to_owned(), value: Bytes::from_static(b"v") }),
            metadata: Some(Struct { fields: BTreeMap::from([("a".to_owned(), text)]) }),
        }
    }

    #[test]
    fn a_message_on_which_a_client_would_throw_is_no_message() {
        let read = |mail: &Mail| super::mail(&mail.encode_to_vec().into());
        assert_eq!(read(&a_mail()), Some(a_mail()));
        let nothing = || Struct { fields: BTreeMap::from([("a".to_owned(), Value { kind: None })]) };
        let spoilings: [fn(&mut Mail); 6] = [
            |mail| mail.author.clear(),
            |mail| mail.recipient.clear(),
            |mail| mail.recipient = vec![0; KEY_BYTES_MAX + 1],
            |mail| mail.payload = None,
            |mail| mail.payload = Some(Any::default()),
            |mail| mail.metadata = Some(Struct { fields: BTreeMap::from([(String::new(), Value { kind: None })]) }),
        ];
        for (n, spoil) in spoilings.iter().enumerate() {
            let mut mail = a_mail();
            spoil(&mut mail);
            assert_eq!(read(&mail), None, "{n}");
        }
        let deep =
            Value { kind: Some(Kind::List(List { values: vec![Value { kind: Some(Kind::Struct(nothing())) }] })) };
        let metadata = Some(Struct { fields: BTreeMap::from([("a".to_owned(), deep)]) });
        assert_eq!(read(&Mail { metadata, ..a_mail() }), None);
    }

    #[test]
    fn what_a_later_schema_adds_does_no_harm() {
        let mut bytes = a_mail().encode_to_vec();
        bytes.extend_from_slice(b"\xfa\x01\x03new");
        assert_eq!(mail(&bytes.into()), Some(a_mail()));
    }

    #[test]
    fn metadata_nested_thousands_deep_is_no_message() {
        let mut value = Value { kind: None }.encode_to_vec();
        for _ in 0..10_000 {
            let list = [&prefix(0x0a, value.len())[..], &value].concat();
            value = [&prefix(0x32, list.len())[..], &list].concat();
            if value.len() > 60_000 {
                break;
            }
        }
        let field = [&[0x0a, 0x00, 0x12][..], &prefix(0x12, value.len())[1..], &value].concat();
        let metadata = [&prefix(0x0a, field.len())[..], &field].concat();
        let plain = Mail { metadata: None, ..a_mail() }.encode_to_vec();
        let bytes = [&plain[..], &prefix(0x22, metadata.len()), &metadata].concat();
        assert_eq!(mail(&bytes.into()), None);
    }

    fn prefix(tag: u8, length: usize) -> Vec<u8> {
        let mut out = vec![tag];
        prost::encode_length_delimiter(length, &mut out).unwrap();
        out
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_message_or_not(bytes: Vec<u8>) {
            let bytes = Bytes::from(bytes);
            _ = mail(&bytes);
            if let Ok(read) = RpcMessage::decode(bytes) {
                prop_assert_eq!(RpcMessage::decode(&read.encode_to_vec()[..]), Ok(read));
            }
        }

        #[test]
        fn a_message_with_one_byte_changed_is_a_message_or_not(at: usize, byte: u8) {
            let mut bytes = a_mail().encode_to_vec();
            let at = at % bytes.len();
            bytes[at] = byte;
            if let Some(mail) = mail(&bytes.into()) {
                prop_assert!(is_key(&mail.recipient) && is_key(&mail.author));
            }
        }
    }
}
