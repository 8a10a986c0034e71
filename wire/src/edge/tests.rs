use std::borrow::Cow;

use proptest::prelude::*;

use super::*;
use crate::id::{HostId, PeerId};
use crate::limits::{JSON_DEPTH_MAX, META_BYTES, SAMPLE_MAX, SIGNAL_DATA_BYTES};
use crate::proof::Signature;

const PEER: &str = "abababababababababababababababababababababababababababababababab";

fn error(text: &str) -> (Option<String>, Refusal) {
    let error = FromEdge::decode(text).unwrap_err();
    (error.id, error.refusal)
}

fn nested(depth: usize) -> String {
    format!("{}{}", "[".repeat(depth), "]".repeat(depth))
}

#[test]
fn data_is_carried_byte_for_byte() {
    let data = "{ \"b\":1,\n\t\"a\" : [1.0, 1e3, \"\\u00e9é\\\"\"],\"b\":2 }";
    let text = format!("{{\"type\":\"signal\",\"id\":\"1\",\"to\":\"{PEER}\",\"data\": {data} }}");
    let EdgeMessage::Signal { data: read, id, .. } = FromEdge::decode(&text).unwrap().message else { panic!() };
    assert_eq!(read.as_str(), data);
    let message = HostMessage::Signal { seq: 1, id, from: PeerId::new([1; 32]), topic: None, data: read };
    let mut out = Vec::new();
    message.encode(&mut out);
    assert!(String::from_utf8(out).unwrap().ends_with(&format!("\"data\":{data}}}")));
}

#[test]
fn null_is_data() {
    let text = format!("{{\"type\":\"signal\",\"id\":\"1\",\"to\":\"{PEER}\",\"data\":null}}");
    assert!(matches!(FromEdge::decode(&text).unwrap().message, EdgeMessage::Signal { data, .. } if data == Json::NULL));
    let text = format!("{{\"type\":\"signal\",\"id\":\"1\",\"to\":\"{PEER}\"}}");
    assert_eq!(error(&text), (Some("1".to_owned()), Refusal::BadField));
}

#[test]
fn unknown_fields_are_ignored_however_deep_they_are() {
    let text = format!("{{\"type\":\"ping\",\"later\":{},\"ack\":7}}", nested(30_000));
    assert_eq!(FromEdge::decode(&text).unwrap(), FromEdge { ack: Some(7), message: EdgeMessage::Ping });
}

#[test]
fn deep_nesting_is_a_typed_error() {
    let signal = |depth| format!("{{\"type\":\"signal\",\"id\":\"1\",\"to\":\"{PEER}\",\"data\":{}}}", nested(depth));
    assert!(FromEdge::decode(&signal(JSON_DEPTH_MAX)).is_ok());
    assert_eq!(error(&signal(JSON_DEPTH_MAX + 1)), (Some("1".to_owned()), Refusal::BadField));
    assert_eq!(error(&signal(30_000)), (Some("1".to_owned()), Refusal::BadField));
    assert_eq!(error(&"[".repeat(60_000)).1, Refusal::Malformed);
    assert_eq!(error(&"{\"a\":".repeat(13_000)).1, Refusal::Malformed);
}

#[test]
fn brackets_inside_strings_are_not_depth() {
    let deep = format!("\"{}\\\"{}\"", "[".repeat(100), "{".repeat(100));
    assert!(Json::read(deep.as_bytes()).is_ok());
}

#[test]
fn many_brackets_beside_one_another_are_not_depth() {
    let wide = format!("[{}[]]", "[],".repeat(1_000));
    assert!(Json::read(wide.as_bytes()).is_ok());
    let deep = format!("[{}{}]", "[],".repeat(1_000), nested(JSON_DEPTH_MAX));
    assert_eq!(Json::read(deep.as_bytes()), Err(JsonError::TooDeep));
}

#[test]
fn bytes_of_other_hosts_cannot_break_out_of_their_field() {
    for bytes in [&b"1,\"from\":\"x\""[..], b"", b"{} {}", b"{}}", b"\"\xff\"", b"undefined"] {
        assert_eq!(Json::read(bytes), Err(JsonError::NotJson), "{}", String::from_utf8_lossy(bytes));
    }
    assert_eq!(Json::read(nested(65).as_bytes()), Err(JsonError::TooDeep));
}

#[test]
fn sizes_are_checked() {
    let signal = |bytes: usize| {
        format!("{{\"type\":\"signal\",\"id\":\"1\",\"to\":\"{PEER}\",\"data\":\"{}\"}}", "x".repeat(bytes - 2))
    };
    assert!(FromEdge::decode(&signal(SIGNAL_DATA_BYTES)).is_ok());
    assert_eq!(error(&signal(SIGNAL_DATA_BYTES + 1)), (Some("1".to_owned()), Refusal::TooBig));
    assert_eq!(error(&signal(EDGE_MESSAGE_BYTES)), (None, Refusal::TooBig));
    let join = |topic: usize, meta: usize| {
        let (topic, meta) = ("t".repeat(topic), "m".repeat(meta - 2));
        format!("{{\"type\":\"join\",\"id\":\"1\",\"topic\":\"{topic}\",\"meta\":\"{meta}\"}}")
    };
    assert!(FromEdge::decode(&join(256, META_BYTES)).is_ok());
    assert_eq!(error(&join(257, META_BYTES)).1, Refusal::BadField);
    assert_eq!(error(&join(0, META_BYTES)).1, Refusal::BadField);
    assert_eq!(error(&join(1, META_BYTES + 1)).1, Refusal::TooBig);
    let leave = |id: usize| format!("{{\"type\":\"leave\",\"id\":\"{}\",\"topic\":\"t\"}}", "i".repeat(id));
    assert!(FromEdge::decode(&leave(64)).is_ok());
    assert_eq!(error(&leave(65)), (None, Refusal::BadField));
    assert_eq!(error(&leave(0)), (None, Refusal::BadField));
}

#[test]
fn an_error_names_the_request_when_its_id_can_be_read() {
    let one = Some("1".to_owned());
    assert_eq!(error(r#"{"type":"join","id":"1"}"#), (one.clone(), Refusal::BadField));
    assert_eq!(error(r#"{"type":"join","id":"1","topic":7}"#), (one.clone(), Refusal::BadField));
    assert_eq!(error(r#"{"type":"fly","id":"1"}"#), (one.clone(), Refusal::UnknownType));
    assert_eq!(error(r#"{"type":"fly","id":"1","topic":7}"#), (one.clone(), Refusal::UnknownType));
    assert_eq!(error(r#"{"type":"signal","id":"1","to":"zz","data":1}"#), (one.clone(), Refusal::BadField));
    assert_eq!(error(r#"{"id":"1"}"#), (one, Refusal::BadField));
    assert_eq!(error(r#"{"type":"leave","topic":"t"}"#), (None, Refusal::BadField));
    assert_eq!(error(r#"{"type":"leave","id":5,"topic":"t"}"#), (None, Refusal::BadField));
}

#[test]
fn what_is_no_object_is_malformed() {
    for text in
        ["", " ", "hello", "[\"ping\"]", "\"ping\"", "7", "null", "{", "{\"type\":\"ping\"", "{\"type\":\"ping\"}}"]
    {
        assert_eq!(error(text), (None, Refusal::Malformed), "{text}");
    }
}

#[test]
fn words_about_a_fault_do_not_echo_the_whole_message() {
    let text = format!("{{\"type\":\"discover\",\"id\":\"1\",\"topic\":\"t\",\"limit\":\"{}\"}}", "é".repeat(20_000));
    assert!(FromEdge::decode(&text).unwrap_err().message.len() <= WORDS_BYTES);
    let text = format!("{{\"type\":\"{}\",\"id\":\"1\"}}", "é".repeat(20_000));
    assert!(FromEdge::decode(&text).unwrap_err().message.len() <= WORDS_BYTES);
}

#[test]
fn hello_says_as_whom() {
    let hello = |text: &str| match FromEdge::decode(text).unwrap().message {
        EdgeMessage::Hello(hello) => hello.identity,
        other => panic!("{other:?}"),
    };
    assert_eq!(hello(r#"{"type":"hello"}"#), Identity::Minted);
    let token = "01".repeat(32);
    let resume = format!("{{\"type\":\"hello\",\"resume\":{{\"token\":\"{token}\",\"seq\":9}}}}");
    assert_eq!(hello(&resume), Identity::Resumed(Resume { token: [1; 32], seq: 9 }));
    assert_eq!(error(&format!("{{\"type\":\"hello\",\"peer\":\"{PEER}\"}}")).1, Refusal::BadField);
    let (signature, short) = ("02".repeat(64), "02".repeat(63));
    let keyed = |proof: &str| {
        format!(
            "{{\"type\":\"hello\",\"peer\":\"{PEER}\",\
             \"claim\":{{\"counter\":3,\"signature\":\"{signature}\",\"proof\":\"{proof}\"}}}}"
        )
    };
    assert!(matches!(hello(&keyed(&signature)), Identity::Keyed { claim: Claim { counter: 3, .. }, .. }));
    assert_eq!(error(&keyed(&short)).1, Refusal::BadField);
}

#[test]
fn discover_asks_for_thirty_two_and_gets_at_most_sixty_four() {
    let limit = |limit: &str| {
        let text = format!("{{\"type\":\"discover\",\"id\":\"1\",\"topic\":\"t\"{limit}}}");
        match FromEdge::decode(&text).unwrap().message {
            EdgeMessage::Discover { limit, .. } => limit,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!((limit(""), limit(",\"limit\":5"), limit(",\"limit\":1000000")), (32, 5, 64));
}

#[test]
fn an_unknown_code_or_status_does_not_break_a_client() {
    let text = r#"{"type":"error","code":"of_tomorrow","message":"m"}"#;
    assert!(matches!(HostMessage::decode(text).unwrap(), HostMessage::Error { code: Refusal::Other, .. }));
    let text = r#"{"type":"receipt","seq":1,"id":"1","status":"of_tomorrow"}"#;
    assert!(matches!(HostMessage::decode(text).unwrap(), HostMessage::Receipt { status: Status::Unknown, .. }));
}

fn text(bytes_max: usize) -> impl Strategy<Value = Cow<'static, str>> {
    "\\PC{1,20}|[\\x00-\\x7f]{1,20}"
        .prop_filter("bounded", move |text| (1..=bytes_max).contains(&text.len()))
        .prop_map(Cow::Owned)
}

fn json() -> impl Strategy<Value = Json<'static>> {
    let texts: [&'static str; 8] =
        ["null", "{}", "[1,[2, {\"a\":\"\\u0000\"}]]", "\"é\\\"\"", "-1.50e+7", "true", "{\"a\" : 1}", "\"\""];
    prop::sample::select(texts.to_vec()).prop_map(|text| Json::read(text.as_bytes()).unwrap())
}

fn peer() -> impl Strategy<Value = PeerId> {
    any::<[u8; 32]>().prop_map(PeerId::new)
}

fn signature() -> impl Strategy<Value = Signature> {
    any::<([u8; 32], [u8; 32])>().prop_map(|(r, s)| Signature::from_bytes(&[r, s].concat().try_into().unwrap()))
}

fn identity() -> impl Strategy<Value = Identity> {
    let claim = (any::<u64>(), any::<Option<[u8; 32]>>(), signature(), signature())
        .prop_map(|(counter, sealing, signature, proof)| Claim { counter, sealing, signature, proof });
    prop_oneof![
        Just(Identity::Minted),
        (peer(), claim).prop_map(|(peer, claim)| Identity::Keyed { peer, claim }),
        any::<([u8; 32], u64)>().prop_map(|(token, seq)| Identity::Resumed(Resume { token, seq })),
    ]
}

fn edge_message() -> impl Strategy<Value = FromEdge<'static>> {
    let id = || text(64);
    let topic = || text(256);
    let message = prop_oneof![
        (identity(), prop::option::of(json()))
            .prop_map(|(identity, meta)| EdgeMessage::Hello(Hello { identity, meta })),
        (id(), topic(), prop::option::of(json())).prop_map(|(id, topic, meta)| EdgeMessage::Join { id, topic, meta }),
        (id(), topic()).prop_map(|(id, topic)| EdgeMessage::Leave { id, topic }),
        (id(), topic()).prop_map(|(id, topic)| EdgeMessage::Watch { id, topic }),
        (id(), topic()).prop_map(|(id, topic)| EdgeMessage::Unwatch { id, topic }),
        (id(), topic(), 0..=SAMPLE_MAX).prop_map(|(id, topic, limit)| EdgeMessage::Discover { id, topic, limit }),
        (id(), peer(), prop::option::of(topic()), json()).prop_map(|(id, to, topic, data)| EdgeMessage::Signal {
            id,
            to,
            topic,
            data
        }),
        any::<u64>().prop_map(|seq| EdgeMessage::Ack { seq }),
        Just(EdgeMessage::Ping),
        Just(EdgeMessage::Bye),
    ];
    (any::<Option<u64>>(), message).prop_map(|(ack, message)| FromEdge { ack, message })
}

fn sample() -> impl Strategy<Value = Sample<'static>> {
    let member = (peer(), prop::option::of(json())).prop_map(|(peer, meta)| Member { peer, meta });
    (text(64), text(256), prop::collection::vec(member, 0..4), any::<u64>())
        .prop_map(|(id, topic, peers, total)| Sample { id, topic, peers, total })
}

fn welcome() -> impl Strategy<Value = Welcome<'static>> {
    let hosts = prop::collection::vec(text(64), 0..3);
    (peer(), any::<[u8; 32]>(), text(64), any::<([u8; 8], [u8; 32], bool, u64)>(), json(), hosts).prop_map(
        |(peer, host, network, (session, resume, resumed, number), ice_servers, hosts)| Welcome {
            peer,
            host: HostId::new(host),
            network,
            session: Hex(session),
            resume: Hex(resume),
            resumed,
            limits: Limits {
                message_bytes: number,
                meta_bytes: 1,
                topics: 2,
                sample: 3,
                grace_ms: 4,
                signal_timeout_ms: 5,
            },
            // `null` is no list of servers.
            ice_servers: if ice_servers == Json::NULL { Json::read(b"[]").unwrap() } else { ice_servers },
            hosts,
            heartbeat_ms: number,
        },
    )
}

fn host_message() -> impl Strategy<Value = HostMessage<'static>> {
    let refusal = || prop::sample::select(Refusal::ALL.to_vec());
    let status = prop::sample::select(vec![Status::Delivered, Status::Refused, Status::Unknown]);
    prop_oneof![
        (any::<([u8; 32], [u8; 8], u16, [u8; 32])>(), text(64)).prop_map(
            |((host, tag, version, challenge), network)| {
                let host = HostId::new(host);
                HostMessage::Greeting { host, network, tag: Hex(tag), version, challenge: Hex(challenge) }
            }
        ),
        welcome().prop_map(|welcome| HostMessage::Welcome(Box::new(welcome))),
        sample().prop_map(HostMessage::Joined),
        sample().prop_map(HostMessage::Watching),
        sample().prop_map(HostMessage::Peers),
        (text(64), text(256)).prop_map(|(id, topic)| HostMessage::Left { id, topic }),
        (text(64), text(256)).prop_map(|(id, topic)| HostMessage::Unwatched { id, topic }),
        (any::<u64>(), text(256), peer(), prop::option::of(json()))
            .prop_map(|(seq, topic, peer, meta)| HostMessage::PeerJoined { seq, topic, peer, meta }),
        (any::<u64>(), text(256), peer(), text(20)).prop_map(|(seq, topic, peer, reason)| HostMessage::PeerLeft {
            seq,
            topic,
            peer,
            reason
        }),
        (any::<u64>(), text(64), peer(), prop::option::of(text(256)), json())
            .prop_map(|(seq, id, from, topic, data)| HostMessage::Signal { seq, id, from, topic, data }),
        (any::<u64>(), text(64), status, prop::option::of(refusal()), prop::option::of(text(64)))
            .prop_map(|(seq, id, status, code, message)| HostMessage::Receipt { seq, id, status, code, message }),
        Just(HostMessage::Pong),
        (any::<u64>(), prop::collection::vec(text(64), 0..3))
            .prop_map(|(retry_after_ms, hosts)| HostMessage::Drain { retry_after_ms, hosts }),
        (prop::option::of(text(64)), refusal(), text(64), any::<(Option<u64>, Option<u64>)>()).prop_map(
            |(id, code, message, (known, retry_after_ms))| HostMessage::Error {
                id,
                code,
                message,
                known,
                retry_after_ms
            }
        ),
    ]
}

fn edge_text(message: &FromEdge<'_>) -> String {
    let mut out = Vec::new();
    message.encode(&mut out);
    String::from_utf8(out).unwrap()
}

fn host_text(message: &HostMessage<'_>) -> String {
    let mut out = Vec::new();
    message.encode(&mut out);
    String::from_utf8(out).unwrap()
}

/// The text with one bit turned, where that still is UTF-8; and its first part.
fn damaged(text: &str, at: prop::sample::Index, bit: u8) -> [String; 2] {
    let mut bytes = text.as_bytes().to_vec();
    let at = at.index(bytes.len());
    bytes[at] ^= 1 << (bit % 8);
    let flipped = String::from_utf8_lossy(&bytes).into_owned();
    let cut = String::from_utf8_lossy(&text.as_bytes()[..at]).into_owned();
    [flipped, cut]
}

proptest! {
    #[test]
    fn every_message_of_an_edge_survives_its_text(message in edge_message()) {
        let text = edge_text(&message);
        let read = FromEdge::decode(&text);
        prop_assert_eq!(read.as_ref(), Ok(&message), "{}", text);
    }

    #[test]
    fn every_message_of_a_host_survives_its_text(message in host_message()) {
        let text = host_text(&message);
        let read = HostMessage::decode(&text);
        prop_assert_eq!(read.as_ref(), Ok(&message), "{}", text);
    }

    #[test]
    fn damaged_messages_are_read_or_refused(
        edge in edge_message(), host in host_message(), at in any::<prop::sample::Index>(), bit in any::<u8>(),
    ) {
        for text in damaged(&edge_text(&edge), at, bit) {
            if let Err(error) = FromEdge::decode(&text) {
                prop_assert!(error.message.len() <= WORDS_BYTES);
            }
        }
        for text in damaged(&host_text(&host), at, bit) {
            if let Err(error) = HostMessage::decode(&text) {
                prop_assert!(error.message.len() <= WORDS_BYTES);
            }
        }
    }

    #[test]
    fn half_a_message_is_malformed(message in edge_message(), at in any::<prop::sample::Index>()) {
        let text = edge_text(&message);
        let cut = String::from_utf8_lossy(&text.as_bytes()[..at.index(text.len())]).into_owned();
        prop_assert_eq!(FromEdge::decode(&cut).unwrap_err().refusal, Refusal::Malformed);
    }

    #[test]
    fn arbitrary_text_is_a_typed_error(text in "\\PC{0,300}") {
        prop_assert!(FromEdge::decode(&text).is_err());
        prop_assert!(HostMessage::decode(&text).is_err());
    }

    #[test]
    fn arbitrary_bytes_are_one_json_value_or_a_typed_error(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        if let Ok(json) = Json::read(&bytes) {
            prop_assert!(serde_json::from_slice::<serde::de::IgnoredAny>(&bytes).is_ok());
            prop_assert!(bytes.starts_with(json.as_str().as_bytes()) || bytes.first().is_some_and(u8::is_ascii_whitespace));
        }
    }
}
