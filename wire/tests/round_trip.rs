//! What is written is what is read: every frame, op, head and record between hosts.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail by panic")]

mod strategies;

use aldis_wire::announcement::{Head, decode_ops, encode_ops, op_bytes};
use aldis_wire::codec::{CodecError, HEADER_BYTES, cut};
use aldis_wire::host::{Channel, Frame, Signal, entries};
use aldis_wire::id::Id;
use aldis_wire::limits::{FRAME_BYTES, LANES, REQUEST_ID_BYTES, SIGNAL_DATA_BYTES};
use aldis_wire::proof::Proof;
use bytes::{Bytes, BytesMut};
use proptest::collection::vec;
use proptest::prelude::*;
use strategies::{TAG, entry, frame, op, payload, record, signed_head, signed_record};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn every_frame_is_read_as_it_was_written(frames in vec(frame(), 1..5)) {
        let wire = frames.iter().map(|frame| frame.encode().unwrap()).collect::<Vec<_>>().concat();
        let mut buffer = BytesMut::from(&wire[..]);
        for frame in &frames {
            let (kind, body) = cut(&mut buffer, FRAME_BYTES).unwrap().unwrap();
            prop_assert_eq!(Frame::decode(kind, &body), Ok(Some(frame.clone())));
            prop_assert_eq!(frame.kind_and_body().unwrap(), (kind, body.to_vec()));
        }
        prop_assert!(buffer.is_empty());
    }

    #[test]
    fn ops_are_read_as_they_were_written(ops in vec(op(), 0..20)) {
        let bytes = encode_ops(&ops).unwrap();
        prop_assert_eq!(bytes.len(), ops.iter().map(|op| op_bytes(op).unwrap()).sum::<usize>());
        prop_assert_eq!(decode_ops(&bytes).unwrap(), ops);
    }

    #[test]
    fn entries_are_read_as_they_were_written_and_nothing_else_is(list in vec(entry(), 0..10), other in op()) {
        prop_assert_eq!(entries(&encode_ops(&list).unwrap()).unwrap(), list.clone());
        let is_entry = entries(&encode_ops(std::slice::from_ref(&other)).unwrap()).is_ok();
        let mixed = [list, vec![other]].concat();
        prop_assert_eq!(entries(&encode_ops(&mixed).unwrap()).is_ok(), is_entry);
    }

    #[test]
    fn an_op_of_a_newer_version_is_skipped(before in vec(op(), 0..4), kind in 8_u8.., body in payload(300), after in vec(op(), 0..4)) {
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        let new = [&[kind][..], &length, &body].concat();
        let bytes = [&encode_ops(&before).unwrap()[..], &new, &encode_ops(&after).unwrap()].concat();
        prop_assert_eq!(decode_ops(&bytes).unwrap(), [before, after].concat());
    }

    #[test]
    fn a_frame_of_a_newer_version_is_skipped(kind in 25_u8.., body in payload(300)) {
        prop_assert_eq!(Frame::decode(kind, &body), Ok(None));
        prop_assert_eq!(Frame::decode(0, &body), Ok(None));
    }

    #[test]
    fn a_signed_head_is_its_origins_and_passes_unchanged(signed in signed_head()) {
        let head = signed.peek().unwrap();
        prop_assert!(signed.is_signed(&head, TAG));
        let other = Head { origin: Id::new([1; 32]), ..head };
        prop_assert!(!signed.is_signed(&other, TAG));
    }

    #[test]
    fn a_record_is_read_as_it_was_signed(record in record()) {
        let signed = aldis_wire::record::SignedRecord::make(&strategies::key(), TAG, &record).unwrap();
        prop_assert_eq!(signed.open(TAG).unwrap(), record);
    }

    #[test]
    fn a_frame_with_bytes_behind_it_is_refused(frame in frame(), rest in payload(20)) {
        let (kind, body) = frame.kind_and_body().unwrap();
        let long = [&body[..], &rest].concat();
        let read = Frame::decode(kind, &long);
        // A newer minor version may append to Hello; nothing is appended anywhere else.
        if rest.is_empty() || matches!(frame, Frame::Hello(_)) {
            prop_assert_eq!(read, Ok(Some(frame)));
        } else {
            prop_assert_eq!(read, Err(CodecError::Trailing));
        }
    }

    #[test]
    fn a_record_of_a_newer_version_is_read_without_what_it_does_not_know(signed in signed_record(), rest in payload(50)) {
        let longer = aldis_wire::codec::decode_prefix::<aldis_wire::record::HostRecord>(
            &[&signed.bytes()[..], &rest].concat(),
        );
        prop_assert_eq!(longer.unwrap(), signed.open(TAG).unwrap());
    }

    #[test]
    fn every_frame_has_a_channel_and_no_frame_two_kinds_of_channel(frame in frame()) {
        let mut channels = vec![Channel::Control, Channel::Announce, Channel::Sync];
        channels.extend((0..LANES).map(Channel::Lane));
        let places = channels.into_iter().filter(|channel| frame.belongs_on(*channel)).collect::<Vec<_>>();
        prop_assert!(!places.is_empty());
        let lanes = places.iter().filter(|channel| matches!(channel, Channel::Lane(_))).count();
        prop_assert!(lanes == 0 || lanes == places.len());
    }
}

#[test]
fn a_stream_begins_with_a_number_that_names_its_channel_and_no_other_number_does() {
    let named: Vec<_> = (0..=255).filter_map(|number| Some((number, Channel::from_number(number)?))).collect();
    assert_eq!(named.len(), 2 + usize::from(LANES));
    for (number, channel) in named {
        assert_eq!(channel.number(), number);
    }
}

#[test]
fn a_signal_of_full_size_fits_a_frame_also_when_it_is_sealed() {
    let proof = Proof::claim(&strategies::key(), TAG, Id::new([1; 32]), u64::MAX, Some([9; 32]));
    let signal = Frame::Signal(Signal {
        from: Id::new([255; 32]),
        to: Id::new([255; 32]),
        session: u64::MAX,
        n: u64::MAX,
        id: "x".repeat(REQUEST_ID_BYTES),
        proof,
        topic: Some(Id::new([255; 32])),
        data: Bytes::from(vec![255; SIGNAL_DATA_BYTES]),
    });
    let plain = signal.encode().unwrap();
    let addresses = 32 + 32 + 10 + 10 + 1 + 1 + 24 + 3;
    assert!(plain.len() - HEADER_BYTES + 1 + aldis_wire::seal::SEAL_BYTES + addresses <= FRAME_BYTES);
}
