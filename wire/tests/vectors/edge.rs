//! The JSON messages of edges, both ways, and texts that are refused (PROTOCOL.md §4).

use std::borrow::Cow;

use aldis_wire::edge::{
    Claim, EdgeMessage, FromEdge, Hello, Hex, HostMessage, Identity, Json, Limits, Member, Reach, Resume, Sample,
    Status, Welcome,
};
use aldis_wire::id::PeerId;
use aldis_wire::limits::{META_BYTES, SIGNAL_DATA_BYTES};
use aldis_wire::proof::{Proof, answer_challenge};
use aldis_wire::refusal::Refusal;
use serde_json::{Value, json};

use crate::golden;
use crate::keys::{TAG, host_id, identity};

const ANN: PeerId = PeerId::new([0xaa; 32]);
const BOB: PeerId = PeerId::new([0xbb; 32]);

fn text(words: &'static str) -> Cow<'static, str> {
    Cow::Borrowed(words)
}

fn json_of(text: &'static str) -> Json<'static> {
    Json::read(text.as_bytes()).unwrap()
}

fn hello(identity: Identity, meta: Option<&'static str>) -> FromEdge<'static> {
    EdgeMessage::Hello(Hello { identity, meta: meta.map(json_of) }).into()
}

fn keyed() -> Identity {
    let key = identity(9);
    let Proof::Keyed { counter, sealing, signature } = Proof::claim(&key, TAG, host_id(1), 7, Some([0x5e; 32])) else {
        panic!("a claim is keyed")
    };
    let proof = answer_challenge(&key, TAG, host_id(1), &[0xc4; 32]);
    let peer = PeerId::new(key.verifying_key().to_bytes());
    Identity::Keyed { peer, claim: Claim { counter, sealing, signature, proof } }
}

fn from_edges() -> Vec<(&'static str, FromEdge<'static>)> {
    let (id, topic) = (text("r1"), text("s0"));
    let resumed = Identity::Resumed(Resume { token: [0x70; 32], seq: 41 });
    let join =
        |meta: Option<&'static str>| EdgeMessage::Join { id: text("r1"), topic: text("s0"), meta: meta.map(json_of) };
    let signal = |topic: Option<&'static str>, data: &'static str| EdgeMessage::Signal {
        id: text("offer-1"),
        to: BOB,
        topic: topic.map(text),
        data: json_of(data),
    };
    vec![
        ("hello as whoever the host says", hello(Identity::Minted, None)),
        ("hello with a default meta", hello(Identity::Minted, Some(r#"{"name":"Ann"}"#))),
        ("hello with a key", hello(keyed(), None)),
        ("hello again", hello(resumed, None)),
        ("join", join(None).into()),
        ("join with meta", join(Some(r#"{"name":"Ann"}"#)).into()),
        ("leave", EdgeMessage::Leave { id: id.clone(), topic: topic.clone() }.into()),
        ("watch", EdgeMessage::Watch { id: id.clone(), topic: topic.clone() }.into()),
        ("unwatch", EdgeMessage::Unwatch { id: id.clone(), topic: topic.clone() }.into()),
        ("discover", EdgeMessage::Discover { id, topic, limit: 8 }.into()),
        ("signal", signal(None, r#"{"sdp":"v=0\r\n"}"#).into()),
        ("signal with topic, data of any kind", signal(Some("s0"), "[1, null]").into()),
        ("signal that acknowledges", FromEdge { ack: Some(3), message: signal(None, "\"x\"") }),
        ("broadcast", EdgeMessage::Broadcast { id: text("all-1"), topic: text("s0"), data: json_of("[7]") }.into()),
        ("ack", EdgeMessage::Ack { seq: 42 }.into()),
        ("ping", EdgeMessage::Ping.into()),
        ("bye", EdgeMessage::Bye.into()),
    ]
}

fn sample() -> Sample<'static> {
    let peers = vec![Member { peer: ANN, meta: Some(json_of(r#"{"name":"Ann"}"#)) }, Member { peer: BOB, meta: None }];
    Sample { id: text("r1"), topic: text("s0"), peers, total: 2 }
}

fn welcome(resumed: bool) -> HostMessage<'static> {
    HostMessage::Welcome(Box::new(Welcome {
        peer: ANN,
        host: host_id(1),
        network: text("main"),
        session: Hex([0, 0, 0, 0, 0, 0, 0, 9]),
        resume: Hex([0x70; 32]),
        resumed,
        limits: Limits {
            message_bytes: 65_536,
            meta_bytes: 1_024,
            topics: 32,
            sample: 64,
            grace_ms: 30_000,
            signal_timeout_ms: 5_000,
        },
        ice_servers: json_of(r#"[{"urls":["stun:stun.example:3478"]}]"#),
        hosts: vec![text("wss://two.example/v1")],
        heartbeat_ms: 25_000,
    }))
}

fn sequenced() -> Vec<(&'static str, HostMessage<'static>)> {
    let topic = || text("s0");
    let left = |reason| HostMessage::PeerLeft { seq: 43, topic: text("s0"), peer: BOB, reason: text(reason) };
    let signal = |topic| HostMessage::Signal {
        seq: 44,
        id: text("offer-1"),
        from: BOB,
        topic,
        data: json_of(r#"{"sdp":"v=0"}"#),
    };
    let receipt = |status, code: Option<Refusal>| HostMessage::Receipt {
        seq: 45,
        id: text("offer-1"),
        status,
        code,
        message: code.map(|code| text(code.sentence())),
    };
    let broadcast = HostMessage::Broadcast {
        seq: 46,
        id: text("all-1"),
        from: BOB,
        topic: topic(),
        data: json_of(r#"{"cursor":7}"#),
    };
    let tally = |reach, code: Option<Refusal>| HostMessage::Tally {
        seq: 47,
        id: text("all-1"),
        reach,
        code,
        message: code.map(|code| text(code.sentence())),
    };
    let joined = HostMessage::PeerJoined { seq: 42, topic: topic(), peer: ANN, meta: Some(json_of("null")) };
    vec![
        ("peer_joined, meta null", joined),
        ("peer_joined without meta", HostMessage::PeerJoined { seq: 42, topic: topic(), peer: ANN, meta: None }),
        ("peer_left by itself", left("left")),
        ("peer_left with its host", left("host_lost")),
        ("signal", signal(None)),
        ("signal with topic", signal(Some(topic()))),
        ("receipt, delivered", receipt(Status::Delivered, None)),
        ("receipt, refused", receipt(Status::Refused, Some(Refusal::NoSuchPeer))),
        ("receipt, unknown", receipt(Status::Unknown, None)),
        ("broadcast", broadcast),
        ("tally, all hosts took it", tally(Reach { taken: 3, members: 40, ..Reach::default() }, None)),
        (
            "tally, one host refused it and one did not answer",
            tally(Reach { taken: 1, refused: 1, unknown: 1, members: 7, missed: 1 }, Some(Refusal::HomeUnreachable)),
        ),
        ("tally, refused at once", tally(Reach::default(), Some(Refusal::RateLimited))),
    ]
}

fn from_hosts() -> Vec<(&'static str, HostMessage<'static>)> {
    let greeting = HostMessage::Greeting {
        host: host_id(1),
        network: text("main"),
        tag: Hex(*TAG.as_bytes()),
        version: 1,
        challenge: Hex([0xc4; 32]),
    };
    let error = |id: Option<&'static str>, code: Refusal, known, retry_after_ms| HostMessage::Error {
        id: id.map(text),
        code,
        message: text(code.sentence()),
        known,
        retry_after_ms,
    };
    let mut all = vec![
        ("greeting", greeting),
        ("welcome", welcome(false)),
        ("welcome back", welcome(true)),
        ("joined", HostMessage::Joined(sample())),
        ("watching", HostMessage::Watching(sample())),
        ("peers", HostMessage::Peers(Sample { peers: Vec::new(), total: 0, ..sample() })),
        ("left", HostMessage::Left { id: text("r1"), topic: text("s0") }),
        ("unwatched", HostMessage::Unwatched { id: text("r1"), topic: text("s0") }),
    ];
    all.extend(sequenced());
    all.extend([
        ("pong", HostMessage::Pong),
        ("drain", HostMessage::Drain { retry_after_ms: 1_500, hosts: vec![text("wss://two.example/v1")] }),
        ("error of a request", error(Some("r1"), Refusal::TooManyTopics, None, None)),
        ("error of the session", error(None, Refusal::SessionLost, None, None)),
        ("error with what is known", error(None, Refusal::ClaimOld, Some(8), None)),
        ("error that may pass", error(Some("r1"), Refusal::RateLimited, None, Some(120))),
    ]);
    all
}

#[test]
fn messages_of_edges_stay_the_same() {
    let mut out = Vec::new();
    let from_edge: Vec<_> = from_edges()
        .iter()
        .map(|(label, message)| {
            out.clear();
            message.encode(&mut out);
            let text = std::str::from_utf8(&out).unwrap();
            assert_eq!(FromEdge::decode(text).unwrap(), *message, "{label}");
            json!({ "label": label, "text": text })
        })
        .collect();
    let from_host: Vec<_> = from_hosts()
        .iter()
        .map(|(label, message)| {
            out.clear();
            message.encode(&mut out);
            let text = std::str::from_utf8(&out).unwrap();
            assert_eq!(HostMessage::decode(text).unwrap(), *message, "{label}");
            json!({ "label": label, "text": text })
        })
        .collect();
    golden(
        "edge",
        "PROTOCOL.md §4: texts as a WebSocket carries them, each way; `lenient` ones are read as if they were written like `same_as`; `refused` ones are answered with `code`, and with `id` if it can be read.",
        json!({ "from_edge": from_edge, "from_host": from_host, "lenient": lenient(), "refused": refused() }),
    );
}

/// Other spellings of messages above, by label.
fn lenient() -> Vec<Value> {
    let spellings = [
        (r#" { "topic" : "s0", "id":"r1" , "type":"join" } "#, "join"),
        (r#"{"type":"join","id":"r1","topic":"s0","color":"red","peer":"x"}"#, "join"),
        (r#"{"type":"join","id":"r1","topic":"\u0073\u0030"}"#, "join"),
        (r#"{"type":"hello","peer":null,"claim":null,"resume":null}"#, "hello as whoever the host says"),
        (r#"{"type":"ack","seq":42,"id":"needless"}"#, "ack"),
    ];
    let messages = from_edges();
    spellings
        .map(|(text, same_as)| {
            let (_, message) = messages.iter().find(|(label, _)| *label == same_as).unwrap();
            assert_eq!(FromEdge::decode(text).unwrap(), *message, "{text}");
            json!({ "text": text, "same_as": same_as })
        })
        .into()
}

fn refused() -> Vec<Value> {
    let peer = ANN.to_string();
    let long = |bytes: usize| "x".repeat(bytes);
    let texts = [
        ("no JSON", "hello".to_owned()),
        ("cut short", r#"{"type":"ping""#.to_owned()),
        ("two objects", r#"{"type":"ping"}{"type":"ping"}"#.to_owned()),
        ("an array", r#"["ping"]"#.to_owned()),
        ("empty", String::new()),
        ("no type", "{}".to_owned()),
        ("a type that is no string", r#"{"type":7}"#.to_owned()),
        ("an unknown type", r#"{"type":"shout","id":"r1"}"#.to_owned()),
        ("a type of the other direction", r#"{"type":"joined","id":"r1"}"#.to_owned()),
        ("no id", r#"{"type":"join","topic":"s0"}"#.to_owned()),
        ("an empty id", r#"{"type":"join","id":"","topic":"s0"}"#.to_owned()),
        ("an id of 65 bytes", format!(r#"{{"type":"join","id":"{}","topic":"s0"}}"#, long(65))),
        ("no topic", r#"{"type":"join","id":"r1"}"#.to_owned()),
        ("an empty topic", r#"{"type":"leave","id":"r1","topic":""}"#.to_owned()),
        ("a topic of 257 bytes", format!(r#"{{"type":"watch","id":"r1","topic":"{}"}}"#, long(257))),
        ("a meta too long", format!(r#"{{"type":"join","id":"r1","topic":"s0","meta":"{}"}}"#, long(META_BYTES - 1))),
        ("a negative limit", r#"{"type":"discover","id":"r1","topic":"s0","limit":-1}"#.to_owned()),
        ("no target", r#"{"type":"signal","id":"r1","data":1}"#.to_owned()),
        ("a target that is no hex", r#"{"type":"signal","id":"r1","to":"bob","data":1}"#.to_owned()),
        ("a target in upper case", format!(r#"{{"type":"signal","id":"r1","to":"{}","data":1}}"#, peer.to_uppercase())),
        ("a broadcast without a topic", r#"{"type":"broadcast","id":"r1","data":1}"#.to_owned()),
        ("a broadcast without data", r#"{"type":"broadcast","id":"r1","topic":"s0"}"#.to_owned()),
        ("no data", format!(r#"{{"type":"signal","id":"r1","to":"{peer}"}}"#)),
        ("an ack without seq", r#"{"type":"ack"}"#.to_owned()),
        ("a peer without a claim", format!(r#"{{"type":"hello","peer":"{peer}"}}"#)),
        ("a claim without a peer", r#"{"type":"hello","claim":{"counter":1,"signature":"","proof":""}}"#.to_owned()),
        ("a token that is too short", r#"{"type":"hello","resume":{"token":"70","seq":1}}"#.to_owned()),
    ];
    let mut listed: Vec<_> = texts.iter().map(|(label, text)| refusal_of(label, text)).collect();
    // Too long to be listed in full: the text is `before`, so many times `fill`, and `after`.
    let (before, after) = (format!(r#"{{"type":"signal","id":"r1","to":"{peer}","data":""#), r#""}"#);
    let text = format!("{before}{}{after}", long(SIGNAL_DATA_BYTES - 1));
    let mut case = refusal_of("data too long", &text);
    let long_case = case.as_object_mut().unwrap();
    long_case.remove("text");
    long_case.insert(
        "long_text".into(),
        json!({ "before": before, "fill": "x", "times": SIGNAL_DATA_BYTES - 1, "after": after }),
    );
    listed.push(case);
    listed
}

fn refusal_of(label: &str, text: &str) -> Value {
    let error = FromEdge::decode(text).unwrap_err();
    json!({ "label": label, "text": text, "code": error.refusal.name(), "id": error.id })
}
