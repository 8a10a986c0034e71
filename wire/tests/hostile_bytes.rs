//! Whatever bytes arrive, the answer is a message or a typed error; never a panic, never a message beyond its limits.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail by panic")]

mod strategies;

use aldis_wire::announcement::{Op, SignedHead, decode_ops, encode_ops};
use aldis_wire::codec::{CodecError, HEADER_BYTES, cut, decode, encode, frame as framed};
use aldis_wire::host::{
    Announcement, Broadcast, DialBack, Frame, HaveEntry, Hello, Introduce, Nat, Part, Place, Punch, Query, Range,
    Receipt, Reply, Routed, Signal, Spread, Tally, Verify, entries,
};
use aldis_wire::id::Id;
use aldis_wire::limits::{
    BELOW_MAX, CANDIDATES_MAX, FRAME_BYTES, GATEWAY_URL_BYTES, HAVE_ENTRIES_MAX, HAVE_NUMBERS_MAX, HEAD_BYTES, LANES,
    META_BYTES, OPS_BYTES, OPS_MAX, QUERY_RANGES_MAX, RECORD_BYTES, REQUEST_ID_BYTES, SIGNAL_DATA_BYTES,
};
use aldis_wire::proof::Proof;
use aldis_wire::record::{HostRecord, SignedRecord};
use bytes::{Bytes, BytesMut};
use proptest::collection::vec;
use proptest::prelude::*;
use strategies::{TAG, entry, frame, op, payload, signed_head, signed_record};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_048))]

    #[test]
    fn arbitrary_bytes_are_no_danger(kind in 0_u8..25, bytes in vec(any::<u8>(), 0..2_000)) {
        let _ = Frame::decode(kind, &bytes);
        let _ = decode_ops(&bytes);
        let _ = entries(&bytes);
        let mut buffer = BytesMut::from(&bytes[..]);
        while let Ok(Some((kind, body))) = cut(&mut buffer, FRAME_BYTES) {
            let _ = Frame::decode(kind, &body);
        }
    }

    #[test]
    fn a_frame_cut_short_is_refused_wherever_it_is_cut(frame in frame(), at in any::<prop::sample::Index>()) {
        let (kind, body) = frame.kind_and_body().unwrap();
        if !body.is_empty() {
            let short = &body[..at.index(body.len())];
            let read = Frame::decode(kind, short);
            // The first hosts end their Hello here.
            let first = |hello: &Hello| {
                let none = Frame::Hello(Hello { lost: Vec::new(), ..hello.clone() });
                (short.len() + 1 == none.kind_and_body().unwrap().1.len()).then_some(none)
            };
            match &frame {
                Frame::Hello(hello) if first(hello).is_some() => prop_assert_eq!(read, Ok(first(hello))),
                _ => prop_assert!(read.is_err(), "{} of {} bytes", short.len(), body.len()),
            }
        }
    }

    #[test]
    fn a_frame_with_flipped_bits_is_refused_or_another_frame(frame in frame(), flips in vec(any::<(prop::sample::Index, u8)>(), 1..4)) {
        let (kind, body) = frame.kind_and_body().unwrap();
        let mut changed = body.clone();
        for (at, flip) in flips {
            if !changed.is_empty() {
                let at = at.index(changed.len());
                changed[at] ^= flip;
            }
        }
        if let Ok(Some(read)) = Frame::decode(kind, &changed) {
            // What is taken is within its limits, so that it can be sent again.
            prop_assert!(read.encode().is_ok());
            prop_assert!(changed == body || read != frame || varint_padding(&changed, &read));
        }
    }

    #[test]
    fn ops_cut_short_are_refused_or_fewer(ops in vec(op(), 1..5), at in any::<prop::sample::Index>()) {
        let bytes = encode_ops(&ops).unwrap();
        match decode_ops(&bytes[..at.index(bytes.len())]) {
            Ok(fewer) => prop_assert!(fewer.len() < ops.len() && fewer[..] == ops[..fewer.len()]),
            Err(error) => prop_assert_eq!(error, CodecError::Truncated),
        }
    }

    #[test]
    fn a_flipped_bit_in_a_signed_head_or_record_shows(head in signed_head(), record in signed_record(), at in any::<prop::sample::Index>(), bit in 0..8) {
        let mut bytes = encode(&head).unwrap();
        let place = at.index(bytes.len());
        bytes[place] ^= 1_u8 << bit;
        if let Ok(changed) = decode::<SignedHead>(&bytes) {
            let believed = changed.peek().is_ok_and(|head| changed.is_signed(&head, TAG));
            prop_assert!(!believed || changed == head);
        }
        let mut bytes = encode(&record).unwrap();
        let place = at.index(bytes.len());
        bytes[place] ^= 1_u8 << bit;
        if let Ok(changed) = decode::<SignedRecord>(&bytes) {
            prop_assert!(changed.open(TAG).is_err() || changed == record);
        }
    }

    #[test]
    fn whatever_a_host_signs_as_its_record_opens_or_is_refused(bytes in vec(any::<u8>(), 0..RECORD_BYTES + 10)) {
        let record = decode::<HostRecord>(&bytes);
        if let Ok(record) = record {
            prop_assert!(record.addresses.len() <= 8 && record.gateways.len() <= 4);
        }
    }

    #[test]
    fn entries_with_flipped_bits_are_refused_or_entries(list in vec(entry(), 1..5), at in any::<prop::sample::Index>(), flip in 1_u8..) {
        let mut bytes = encode_ops(&list).unwrap().to_vec();
        let place = at.index(bytes.len());
        bytes[place] ^= flip;
        if let Ok(read) = entries(&bytes) {
            prop_assert!(encode_ops(&read).is_ok());
        }
    }

    #[test]
    fn a_header_beyond_the_limit_is_refused_before_its_body_comes(kind: u8, length in 0_u32..1 << 24, limit in 0..100_000_usize) {
        let [_, header @ ..] = length.to_be_bytes();
        let mut buffer = BytesMut::from(&[&[kind], &header[..]].concat()[..]);
        let read = cut(&mut buffer, limit);
        if length as usize > limit {
            prop_assert_eq!(read, Err(CodecError::TooLong { limit }));
        } else if length > 0 {
            prop_assert_eq!(read, Ok(None));
            prop_assert_eq!(buffer.len(), HEADER_BYTES);
        }
    }
}

/// Whether a change only spelled a number with needless zeros: the same message in other bytes.
fn varint_padding(changed: &[u8], read: &Frame) -> bool {
    read.kind_and_body().is_ok_and(|(_, body)| body != changed)
}

fn signal(id: &str, data: usize) -> Frame {
    Frame::Signal(Signal {
        from: Id::new([1; 32]),
        to: Id::new([2; 32]),
        session: 1,
        n: 1,
        id: id.to_owned(),
        proof: Proof::Minted { nonce: [0; 16] },
        topic: None,
        data: Bytes::from(vec![0; data]),
    })
}

fn broadcast(id: &str, data: usize) -> Frame {
    Frame::Broadcast(Broadcast {
        from: Id::new([1; 32]),
        session: 1,
        n: 1,
        id: id.to_owned(),
        proof: Proof::Minted { nonce: [0; 16] },
        topic: Id::new([2; 32]),
        data: Bytes::from(vec![0; data]),
    })
}

fn tally(id: &str) -> Frame {
    let spread = Spread::Taken { members: 1, missed: 0 };
    Frame::Tally(Tally { from: Id::new([1; 32]), id: id.to_owned(), spread })
}

fn receipt(id: &str) -> Frame {
    let outcome = aldis_wire::host::Outcome::Delivered;
    Frame::Receipt(Receipt { from: Id::new([1; 32]), to: Id::new([2; 32]), id: id.to_owned(), outcome })
}

fn announcement(ops: usize) -> Frame {
    let head = aldis_wire::announcement::Head {
        origin: Id::new([1; 32]),
        epoch: 1,
        seq: 1,
        ops_hash: [0; 32],
        digest: [0; 32],
        interval_ms: 3_000,
    };
    let head = SignedHead::make(&strategies::key(), TAG, &head).unwrap();
    Frame::Announcement(Announcement { age_ms: 0, head, ops: Some(Bytes::from(vec![0; ops])) })
}

fn range(nibbles: u8) -> Range {
    Range { key: [0; 32], nibbles }
}

fn query(ranges: usize, nibbles: u8) -> Frame {
    Frame::Query(Query { origin: Id::new([1; 32]), ranges: vec![range(nibbles); ranges] })
}

fn reply(parts: Vec<(Range, Part)>) -> Frame {
    Frame::Reply(Reply { origin: Id::new([1; 32]), head: None, parts })
}

fn routed(lane: u8) -> Frame {
    Frame::Routed(Routed {
        to_home: Id::new([1; 32]),
        from_home: Id::new([2; 32]),
        to_epoch: 1,
        from_epoch: 1,
        hops: 0,
        lane,
        nonce: [0; 24],
        sealed: Bytes::new(),
    })
}

fn introduce(candidates: usize) -> Frame {
    let candidates = vec![([192, 0, 2, 1], 1).into(); candidates];
    Frame::Introduce(Introduce { host: Id::new([1; 32]), nat: Nat::Open, candidates })
}

fn punch(candidates: usize) -> Frame {
    let candidates = vec![([192, 0, 2, 1], 1).into(); candidates];
    Frame::Punch(Punch { host: Id::new([1; 32]), nat: Nat::Open, candidates, after_ms: 7 })
}

fn verify(url: String) -> Frame {
    Frame::Verify(Verify { number: 1, place: Place::Gateway { url } })
}

fn dial_back(port: u16) -> Frame {
    let (host, address) = (Id::new([1; 32]), [192, 0, 2, 1].into());
    Frame::DialBack(DialBack { number: 1, host, address, place: Place::Links { port } })
}

/// Pairs of what is just within a limit and just beyond it.
fn limits() -> Vec<(Frame, Frame)> {
    let numbered = |number| Frame::Have(vec![HaveEntry::Numbered { number, seq: 1, held: 0 }]);
    let have = |count| Frame::Have(vec![HaveEntry::Numbered { number: 1, seq: 1, held: 0 }; count]);
    let below = |count| reply(vec![(range(0), Part::Below(vec![(range(1), [0; 32]); count]))]);
    let entries = |bytes| reply(vec![(range(0), Part::Entries(Bytes::from(vec![0; bytes])))]);
    let parts = |count| reply(vec![(range(0), Part::Below(Vec::new())); count]);
    let long = |bytes| "x".repeat(bytes);
    vec![
        (have(HAVE_ENTRIES_MAX), have(HAVE_ENTRIES_MAX + 1)),
        (numbered(HAVE_NUMBERS_MAX - 1), numbered(HAVE_NUMBERS_MAX)),
        (query(QUERY_RANGES_MAX, 64), query(QUERY_RANGES_MAX + 1, 64)),
        (query(1, 64), query(1, 65)),
        (parts(QUERY_RANGES_MAX), parts(QUERY_RANGES_MAX + 1)),
        (below(BELOW_MAX), below(BELOW_MAX + 1)),
        (entries(OPS_BYTES), entries(OPS_BYTES + 1)),
        (announcement(OPS_BYTES), announcement(OPS_BYTES + 1)),
        (signal("x", SIGNAL_DATA_BYTES), signal("x", SIGNAL_DATA_BYTES + 1)),
        (signal(&long(REQUEST_ID_BYTES), 0), signal(&long(REQUEST_ID_BYTES + 1), 0)),
        (signal("x", 0), signal("", 0)),
        (receipt(&long(REQUEST_ID_BYTES)), receipt(&long(REQUEST_ID_BYTES + 1))),
        (receipt("x"), receipt("")),
        (broadcast("x", SIGNAL_DATA_BYTES), broadcast("x", SIGNAL_DATA_BYTES + 1)),
        (broadcast(&long(REQUEST_ID_BYTES), 0), broadcast(&long(REQUEST_ID_BYTES + 1), 0)),
        (broadcast("x", 0), broadcast("", 0)),
        (tally(&long(REQUEST_ID_BYTES)), tally(&long(REQUEST_ID_BYTES + 1))),
        (tally("x"), tally("")),
        (routed(LANES - 1), routed(LANES)),
        (introduce(CANDIDATES_MAX), introduce(CANDIDATES_MAX + 1)),
        (punch(CANDIDATES_MAX), punch(CANDIDATES_MAX + 1)),
        (verify(long(GATEWAY_URL_BYTES)), verify(long(GATEWAY_URL_BYTES + 1))),
        (dial_back(1), dial_back(0)),
    ]
}

/// The body of a frame as a host would write it that keeps to no limit.
fn lawless(frame: &Frame) -> (u8, Vec<u8>) {
    match frame {
        Frame::Have(entries) => (4, encode(entries).unwrap()),
        Frame::Announcement(announcement) => (7, encode(announcement).unwrap()),
        Frame::Query(query) => (8, encode(query).unwrap()),
        Frame::Reply(reply) => (9, encode(reply).unwrap()),
        Frame::Signal(signal) => (10, encode(signal).unwrap()),
        Frame::Receipt(receipt) => (11, encode(receipt).unwrap()),
        Frame::Routed(routed) => (12, encode(routed).unwrap()),
        Frame::Broadcast(broadcast) => (15, encode(broadcast).unwrap()),
        Frame::Tally(tally) => (16, encode(tally).unwrap()),
        Frame::Introduce(introduce) => (18, encode(introduce).unwrap()),
        Frame::Punch(punch) => (19, encode(punch).unwrap()),
        Frame::Verify(verify) => (21, encode(verify).unwrap()),
        Frame::DialBack(dial_back) => (22, encode(dial_back).unwrap()),
        other => other.kind_and_body().unwrap(),
    }
}

#[test]
fn every_limit_holds_for_sending_and_for_reading() {
    for (within, beyond) in limits() {
        let (kind, body) = lawless(&within);
        assert_eq!(within.kind_and_body().unwrap(), (kind, body.clone()), "the kind's number");
        assert_eq!(Frame::decode(kind, &body), Ok(Some(within)));
        assert!(beyond.encode().is_err(), "not sent: {beyond:?}");
        let (kind, body) = lawless(&beyond);
        let read = Frame::decode(kind, &body);
        assert!(matches!(read, Err(CodecError::TooLong { .. } | CodecError::Malformed)), "not read: {read:?}");
    }
}

#[test]
fn ops_have_their_limits_too() {
    let leave = Op::Leave { topic: Id::new([1; 32]), peer: Id::new([2; 32]) };
    let fitting = OPS_BYTES / encode_ops(std::slice::from_ref(&leave)).unwrap().len();
    assert!(encode_ops(&vec![leave.clone(); fitting]).is_ok());
    assert_eq!(encode_ops(&vec![leave; fitting + 1]), Err(CodecError::TooLong { limit: OPS_BYTES }));

    let status = Op::Status(aldis_wire::announcement::Status::default());
    let one = encode_ops(std::slice::from_ref(&status)).unwrap();
    assert!(decode_ops(&one.repeat(OPS_MAX)).is_ok());
    assert_eq!(encode_ops(&vec![status; OPS_MAX + 1]), Err(CodecError::TooLong { limit: OPS_MAX }));
    assert_eq!(decode_ops(&one.repeat(OPS_MAX + 1)), Err(CodecError::TooLong { limit: OPS_MAX }));
    assert_eq!(decode_ops(&vec![200; OPS_BYTES + 1]), Err(CodecError::TooLong { limit: OPS_BYTES }));

    let join = |bytes| Op::Join { topic: Id::new([1; 32]), peer: Id::new([2; 32]), meta: Bytes::from(vec![0; bytes]) };
    assert!(encode_ops(&[join(META_BYTES)]).is_ok());
    assert_eq!(encode_ops(&[join(META_BYTES + 1)]), Err(CodecError::TooLong { limit: META_BYTES }));
    let body = encode(&([1_u8; 32], [2_u8; 32], Bytes::from(vec![0; META_BYTES + 1]))).unwrap();
    let length = u16::try_from(body.len()).unwrap().to_be_bytes();
    let forged = [&[4], &length[..], &body].concat();
    assert_eq!(decode_ops(&forged), Err(CodecError::TooLong { limit: META_BYTES }));
}

#[test]
fn a_head_and_a_record_that_are_too_long_are_refused_though_they_are_signed() {
    let long_head: SignedHead =
        decode(&encode(&(Bytes::from(vec![0; HEAD_BYTES + 1]), [0_u8; 32], [0_u8; 32])).unwrap()).unwrap();
    assert_eq!(long_head.peek(), Err(CodecError::TooLong { limit: HEAD_BYTES }));

    let key = strategies::key();
    let bytes = Bytes::from(vec![0; RECORD_BYTES + 1]);
    let signature = aldis_wire::proof::Signature::make(&key, "aldis 2026 host record", TAG, &bytes);
    let host = key.verifying_key().to_bytes();
    let record: SignedRecord = decode(&encode(&(host, bytes, signature)).unwrap()).unwrap();
    assert_eq!(record.open(TAG), Err(CodecError::TooLong { limit: RECORD_BYTES }));
}

#[test]
fn a_frame_beyond_the_largest_is_not_built() {
    assert!(framed(1, &vec![0; FRAME_BYTES]).is_ok());
    assert_eq!(framed(1, &vec![0; FRAME_BYTES + 1]), Err(CodecError::TooLong { limit: FRAME_BYTES }));
}

#[test]
fn a_list_that_announces_more_than_it_may_hold_is_refused_at_once() {
    // A count of 2^32 in front of nothing.
    let huge = [0x80, 0x80, 0x80, 0x80, 0x10];
    assert!(Frame::decode(4, &huge).is_err());
    assert!(Frame::decode(8, &[&[1; 32][..], &huge].concat()).is_err());
    assert!(Frame::decode(9, &[&[1; 32][..], &[0], &huge].concat()).is_err());
    assert!(Frame::decode(10, &[&[1; 64][..], &huge].concat()).is_err());
    let _ = payload(1);
}
