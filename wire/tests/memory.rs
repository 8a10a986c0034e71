//! Reading what a stranger sent takes no more memory than `DECODED_BYTES`, whatever the bytes announce.
//!
//! A single test in a binary of its own, since it counts the memory of the whole process.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail by panic")]

mod strategies;

use aldis_wire::announcement::{Op, Status, decode_ops, encode_ops};
use aldis_wire::codec::{cut, encode};
use aldis_wire::host::{Frame, HaveEntry, Part, Range, entries};
use aldis_wire::id::Id;
use aldis_wire::limits::{DECODED_BYTES, FRAME_BYTES, HAVE_ENTRIES_MAX, OPS_BYTES, OPS_MAX, QUERY_RANGES_MAX};
use aldis_wire::record::HostRecord;
use bytes::{Bytes, BytesMut};
use peak_alloc::PeakAlloc;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// The most memory that `read` held at once, beyond what was held before.
fn peak<T>(read: impl FnOnce() -> T) -> usize {
    MEMORY.reset_peak_usage();
    let before = MEMORY.current_usage();
    let result = read();
    let peak = MEMORY.peak_usage();
    drop(result);
    peak.saturating_sub(before)
}

/// Reads the bytes as everything that they could be; gives the most memory that any of it took.
fn worst(bytes: &[u8]) -> usize {
    let as_frame = (0..=24).map(|kind| peak(|| Frame::decode(kind, bytes)));
    let as_ops = peak(|| decode_ops(bytes)).max(peak(|| entries(bytes)));
    let as_record = peak(|| aldis_wire::codec::decode_prefix::<HostRecord>(bytes));
    as_frame.max().unwrap_or(0).max(as_ops).max(as_record)
}

/// A list that announces `count` elements, of which `body` holds some.
fn announced(prefix: &[u8], count: usize, body: &[u8]) -> Vec<u8> {
    [prefix, &encode(&count).unwrap(), body].concat()
}

/// Messages that a host would write to take as much memory as it can, and some that keep to all limits.
fn worst_cases() -> Vec<(&'static str, Vec<u8>)> {
    let have = vec![HaveEntry::Named { number: 1, origin: Id::new([1; 32]), epoch: 1, seq: 1 }; HAVE_ENTRIES_MAX];
    let short = vec![HaveEntry::Numbered { number: 1, seq: 1, held: 0 }; HAVE_ENTRIES_MAX];
    let status = encode_ops(&vec![Op::Status(Status::default()); OPS_MAX]).unwrap();
    let empty = vec![(Range { key: [0; 32], nibbles: 0 }, Part::Entries(Bytes::new())); QUERY_RANGES_MAX];
    let mut all = vec![
        ("a full summary", encode(&have).unwrap()),
        ("a summary of short entries", encode(&short).unwrap()),
        ("the shortest ops", status.to_vec()),
        ("more of them than there may be", status.repeat(OPS_BYTES / status.len())),
        ("empty parts", encode(&(Id::<u8>::new([1; 32]), None::<(u32, ())>, empty)).unwrap()),
    ];
    for fill in [0, 1, 2, 0x7f, 0x80, 0xff] {
        let body = vec![fill; FRAME_BYTES - 40];
        for count in [1, 16, 256, 4_096, 65_536, FRAME_BYTES - 40, 1 << 20, usize::MAX] {
            all.push(("a list", announced(&[], count, &body)));
            all.push(("a query or a prune", announced(&[1; 32], count, &body)));
            all.push(("a reply", announced(&[&[1; 32][..], &[0]].concat(), count, &body)));
            let part = [&[1; 32][..], &[0, 1], &[0; 33], &[1]].concat();
            all.push(("a part", announced(&part, count, &body[..FRAME_BYTES - 200])));
            all.push(("an id", announced(&[1; 64], count, &body[..FRAME_BYTES - 200])));
        }
        all.push(("one byte again and again", vec![fill; FRAME_BYTES]));
        all.push(("the same, as ops", vec![fill; OPS_BYTES]));
    }
    all
}

#[test]
fn reading_takes_no_more_memory_than_its_bound() {
    // A Vec that does not know its limits takes a MiB for what announces a million elements: the counter counts.
    let careless = peak(|| aldis_wire::codec::decode::<Vec<[u64; 4]>>(&announced(&[], 60_000, &[1; 70_000])));
    assert!(careless > DECODED_BYTES, "the counter sees {careless} bytes");

    let mut most = 0;
    for (name, bytes) in worst_cases() {
        let bytes_held = worst(&bytes);
        assert!(bytes_held <= DECODED_BYTES, "{name}, {} bytes, takes {bytes_held}", bytes.len());
        most = most.max(bytes_held);
    }
    assert!(most > DECODED_BYTES / 4, "the bound is not far from what happens: {most}");

    let mut runner = TestRunner::new(ProptestConfig::with_cases(300));
    let arbitrary = prop_oneof![
        vec(any::<u8>(), 0..FRAME_BYTES),
        vec(0..3_u8, 0..FRAME_BYTES),
        strategies::frame().prop_map(|frame| frame.kind_and_body().unwrap().1),
    ];
    runner
        .run(&arbitrary, |bytes| {
            prop_assert!(worst(&bytes) <= DECODED_BYTES);
            Ok(())
        })
        .unwrap();

    // A header alone reserves nothing for the body that it announces.
    let mut buffer = BytesMut::from(&[10, 0xff, 0xff, 0xff][..]);
    assert!(peak(|| cut(&mut buffer, usize::MAX)) < 1_024);
}
