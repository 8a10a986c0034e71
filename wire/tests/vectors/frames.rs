//! Every kind of frame between hosts (PROTOCOL.md §5.3).

use aldis_wire::announcement::{Op, encode_ops};
use aldis_wire::codec::cut;
use aldis_wire::host::{
    Announcement, Bounce, Broadcast, Channel, Delta, DialBack, Frame, GoodbyeReason, HaveEntry, Hello, Introduce, Nat,
    NotIntroduced, NotIntroducedReason, Outcome, Part, Place, Punch, Query, Range, Receipt, Reply, Routed, Signal,
    Spread, Tally, Verdict, Verified, Verify, connection_name,
};
use aldis_wire::id::{PeerId, TopicId};
use aldis_wire::limits::{FRAME_BYTES, LANES};
use aldis_wire::proof::Proof;
use aldis_wire::refusal::Refusal;
use aldis_wire::revocation::Revocation;
use bytes::{Bytes, BytesMut};
use serde_json::json;

use crate::keys::{TAG, host_id, identity};
use crate::rosters::{head, record};
use crate::{golden, hex};

fn link_frames() -> Vec<(&'static str, Frame)> {
    let hello = Hello {
        proof: [0xad; 32],
        epoch: 1_800_000_000,
        record: record(),
        observed: "198.51.100.7:50000".parse().unwrap(),
        lost: Vec::new(),
    };
    let lost = vec![connection_name(&[0xe1; 32]), [0x10; 8]];
    let goodbye = |reason| Frame::Goodbye(reason);
    vec![
        ("hello", Frame::Hello(hello.clone())),
        ("hello, two connections lost", Frame::Hello(Hello { lost, ..hello })),
        ("admitted", Frame::Admitted),
        ("goodbye, closing", goodbye(GoodbyeReason::Closing)),
        ("goodbye, crossed", goodbye(GoodbyeReason::Crossed)),
        ("goodbye, not admitted", goodbye(GoodbyeReason::NotAdmitted)),
        ("goodbye, misbehaved", goodbye(GoodbyeReason::Misbehaved)),
        ("goodbye, full", goodbye(GoodbyeReason::Full)),
        ("goodbye, not allowed", goodbye(GoodbyeReason::NotAllowed)),
        ("goodbye, revoked", goodbye(GoodbyeReason::Revoked)),
        ("revoked", Frame::Revoked(vec![Revocation::make(&identity(1)), Revocation::make(&identity(2))])),
    ]
}

fn multicast_frames() -> Vec<(&'static str, Frame)> {
    let named = HaveEntry::Named { number: 0, origin: host_id(1), epoch: 1_800_000_000, seq: 12 };
    let later = HaveEntry::Numbered { number: 300, seq: 13, held: 42 };
    let ops = encode_ops(&[Op::Leave { topic: TopicId::new([0x70; 32]), peer: PeerId::new([0x9e; 32]) }]).unwrap();
    let range = Range { key: [0; 32], nibbles: 0 };
    let mut key = [0; 32];
    key[0] = 0xa0;
    let below = Range { key, nibbles: 1 };
    let full = Announcement { age_ms: 250, head: head(2, &ops, [0xd1; 32]), ops: Some(ops.clone()) };
    let delta = Delta { age_ms: 300, head: head(9, &ops, [0xd1; 32]), since: 3, ops: ops.clone() };
    let parts = vec![(range, Part::Below(vec![(below, [0xdd; 32])])), (below, Part::Entries(ops))];
    vec![
        ("have", Frame::Have(vec![named, later])),
        ("have nothing", Frame::Have(Vec::new())),
        ("prune", Frame::Prune(host_id(1))),
        ("graft", Frame::Graft(host_id(1), 1_800_000_000, 12)),
        ("announcement with ops", Frame::Announcement(full)),
        ("heartbeat", Frame::Announcement(Announcement { age_ms: 0, head: head(3, b"", [0xd1; 32]), ops: None })),
        ("delta", Frame::Delta(delta)),
        ("query", Frame::Query(Query { origin: host_id(1), ranges: vec![range, below] })),
        ("reply", Frame::Reply(Reply { origin: host_id(1), head: Some((40, head(3, b"", [0xd1; 32]))), parts })),
        ("reply that knows nothing", Frame::Reply(Reply { origin: host_id(1), head: None, parts: Vec::new() })),
    ]
}

fn signal_frames() -> Vec<(&'static str, Frame)> {
    let (from, to) = (PeerId::new([0xf0; 32]), PeerId::new([0x70; 32]));
    let signal = |proof, topic| Signal {
        from,
        to,
        session: 0x5e55,
        n: 3,
        id: "offer-1".into(),
        proof,
        topic,
        data: Bytes::from_static(b"{\"sdp\":\"v=0\"}"),
    };
    let keyed = Proof::claim(&identity(9), TAG, host_id(1), 7, None);
    let receipt = |outcome| Frame::Receipt(Receipt { from, to, id: "offer-1".into(), outcome });
    let broadcast = Broadcast {
        from,
        session: 0x5e55,
        n: 3,
        id: "all-1".into(),
        proof: Proof::Minted { nonce: [0x0e; 16] },
        topic: TopicId::new([0x71; 32]),
        data: Bytes::from_static(b"{\"cursor\":7}"),
    };
    let tally = |spread| Frame::Tally(Tally { from, id: "all-1".into(), spread });
    let routed = Routed {
        to_home: host_id(2),
        from_home: host_id(1),
        to_epoch: 1_800_000_001,
        from_epoch: 1_800_000_000,
        hops: 1,
        lane: 3,
        nonce: [0x24; 24],
        sealed: Bytes::from_static(b"sealed"),
    };
    let bounce = Bounce { from_home: host_id(1), nonce: [0x24; 24], refusal: Refusal::HomeUnreachable };
    vec![
        ("signal of a minted peer", Frame::Signal(signal(Proof::Minted { nonce: [0x0e; 16] }, None))),
        ("signal of a keyed peer, with topic", Frame::Signal(signal(keyed, Some(TopicId::new([0x71; 32]))))),
        ("receipt, delivered", receipt(Outcome::Delivered)),
        ("receipt, refused", receipt(Outcome::Refused(Refusal::NoSuchPeer))),
        ("receipt, unknown", receipt(Outcome::Unknown)),
        ("broadcast", Frame::Broadcast(broadcast)),
        ("tally, taken", tally(Spread::Taken { members: 300, missed: 2 })),
        ("tally, refused", tally(Spread::Refused(Refusal::Overtaken))),
        ("routed", Frame::Routed(routed)),
        ("bounce", Frame::Bounce(bounce)),
    ]
}

fn reach_frames() -> Vec<(&'static str, Frame)> {
    let candidates = vec!["192.0.2.1:61001".parse().unwrap(), "[2001:db8::1]:47474".parse().unwrap()];
    let (host, nat) = (host_id(2), Nat::PortRestricted);
    let verify = |place| Frame::Verify(Verify { number: 7, place });
    let dial_back = |place| {
        Frame::DialBack(DialBack { number: 300, host: host_id(1), address: "192.0.2.1".parse().unwrap(), place })
    };
    let gateway = || Place::Gateway { url: "wss://one.example/v1".into() };
    vec![
        ("observed", Frame::Observed("192.0.2.1:61001".parse().unwrap())),
        ("introduce", Frame::Introduce(Introduce { host, nat, candidates: candidates.clone() })),
        ("punch", Frame::Punch(Punch { host, nat, candidates, after_ms: 180 })),
        ("not introduced", Frame::NotIntroduced(NotIntroduced { host, why: NotIntroducedReason::Unwilling })),
        ("verify links", verify(Place::Links { port: 47_474 })),
        ("verify links from another port", verify(Place::OtherPort { port: 47_474 })),
        ("verify stun", verify(Place::Stun { port: 47_474 })),
        ("verify a gateway", verify(gateway())),
        ("dial back", dial_back(Place::Links { port: 47_474 })),
        ("dial back to a gateway", dial_back(gateway())),
        ("verified", Frame::Verified(Verified { number: 7, verdict: Verdict::Reached })),
    ]
}

#[test]
fn frames_stay_the_same() {
    let frames = [link_frames(), multicast_frames(), signal_frames(), reach_frames()].concat();
    let mut kinds = std::collections::BTreeSet::new();
    let listed: Vec<_> = frames
        .iter()
        .map(|(label, frame)| {
            let wire = frame.encode().unwrap();
            let (kind, body) = cut(&mut BytesMut::from(&wire[..]), FRAME_BYTES).unwrap().unwrap();
            assert_eq!(Frame::decode(kind, &body).unwrap().as_ref(), Some(frame));
            kinds.insert(kind);
            json!({ "label": label, "kind": kind, "frame": hex(&wire), "channels": channels(frame) })
        })
        .collect();
    let unknown = (1..=255).find(|kind| matches!(Frame::decode(*kind, b""), Ok(None))).unwrap();
    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), (1..unknown).collect::<Vec<_>>(), "a frame of every kind");
    golden(
        "frames",
        "PROTOCOL.md §5.3: whole frames, header included, and the streams on which they may come.",
        json!({ "frames": listed }),
    );
}

fn channels(frame: &Frame) -> Vec<String> {
    let all = [Channel::Control, Channel::Announce, Channel::Sync].into_iter().chain((0..LANES).map(Channel::Lane));
    all.filter(|channel| frame.belongs_on(*channel))
        .map(|channel| format!("{channel:?} {}", channel.number()))
        .collect()
}
