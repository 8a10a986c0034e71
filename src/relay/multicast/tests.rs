//! What is kept of origins, and its bounds.

use std::sync::Arc;
use std::time::Duration;

use aldis_wire::announcement::{Announced, GoneReason, Head, Op, SignedHead, decode_ops, encode_ops, ops_hash};
use aldis_wire::id::PeerId;
use aldis_wire::network::NetworkTag;
use bytes::Bytes;
use ed25519_dalek::SigningKey;

use super::*;
use crate::relay::limits::{HEAD_CHECKS, LOG_BYTES, LOG_MAX, WAITING_BYTES, WAITING_MAX};

fn heard(epoch: u64, seq: u64, ops: &'static [u8]) -> Heard {
    let key = SigningKey::from_bytes(&[1; 32]);
    let origin = HostId::new(key.verifying_key().to_bytes());
    let head = Head { origin, epoch, seq, ops_hash: ops_hash(ops), digest: [0; 32], interval_ms: 3_000 };
    let signed = SignedHead::make(&key, NetworkTag::new([0; 8]), &head).unwrap();
    let ops = (!ops.is_empty()).then_some(Bytes::from_static(ops));
    Heard::new(NetworkTag::new([0; 8]).into(), head, signed, ops, Moment::default())
}

fn host(number: usize) -> HostId {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&(number as u64).to_be_bytes());
    HostId::new(bytes)
}

fn at(seconds: u64) -> Moment {
    Moment::new(Duration::from_secs(seconds))
}

#[test]
fn a_log_is_bounded_in_announcements_and_in_bytes_and_has_no_gaps() {
    let mut origin = Origin::new(Moment::default());
    for seq in 1..=2 * LOG_MAX as u64 {
        origin.applied(heard(1, seq, b"small"));
        assert!(origin.log.len() <= LOG_MAX);
    }
    assert_eq!(origin.log.len(), LOG_MAX);
    assert_eq!(origin.after((1, LOG_MAX as u64)).unwrap().len(), LOG_MAX);
    assert!(origin.after((1, 3)).is_none(), "too far behind for the log");
    for seq in 2 * LOG_MAX as u64 + 1..=3 * LOG_MAX as u64 {
        origin.applied(heard(1, seq, &[7; 30_000]));
        assert!(origin.log_bytes <= LOG_BYTES);
    }
    assert_eq!(origin.log.len(), LOG_BYTES / 30_256);
    origin.applied(heard(1, 1_000, b"after a gap"));
    assert_eq!(origin.log.len(), 1);
}

#[test]
fn of_heartbeats_that_follow_each_other_the_last_is_kept_and_makes_up_for_the_others() {
    let mut origin = Origin::new(Moment::default());
    let seqs = |origin: &Origin, mark| {
        let after = origin.after(mark)?;
        Some(after.into_iter().map(|heard| heard.head.seq).collect::<Vec<_>>())
    };
    origin.applied(heard(1, 1, b"ops"));
    (2..=200).for_each(|seq| origin.applied(heard(1, seq, b"")));
    origin.applied(heard(1, 201, b"ops"));
    (202..=300).for_each(|seq| origin.applied(heard(1, seq, b"")));
    assert_eq!(origin.log.len(), 4);
    assert_eq!(seqs(&origin, (0, 0)), Some(vec![1, 200, 201, 300]), "another epoch: from the beginning");
    assert_eq!(seqs(&origin, (1, 77)), Some(vec![200, 201, 300]));
    assert_eq!(seqs(&origin, (1, 200)), Some(vec![201, 300]));
    assert_eq!(seqs(&origin, (1, 250)), Some(vec![300]));
    for seq in 301..=300 + LOG_MAX as u64 - 2 {
        origin.applied(heard(1, seq, b"ops"));
    }
    assert_eq!((origin.log.len(), seqs(&origin, (1, 150))), (LOG_MAX, None), "the heartbeat that covers it is gone");
    assert_eq!(seqs(&origin, (1, 200)).map(|seqs| seqs.len()), Some(LOG_MAX));
    let mut own = Origin::new(Moment::default());
    (1..=20).for_each(|seq| own.issued(heard(1, seq, b"")));
    assert_eq!(own.log.len(), 20, "all of our own");
}

#[test]
fn what_is_known_of_before_is_kept_whatever_a_delta_says_of_it() {
    let gone = |peer| {
        let gone = Op::Gone { peer: PeerId::new([peer; 32]), reason: GoneReason::Closed };
        encode_ops(&[gone]).unwrap()
    };
    let mut origin = Origin::new(Moment::default());
    (1_u8..=3).for_each(|seq| {
        let bare = heard(1, seq.into(), b"x");
        let what = Arc::new(Announced { ops: Some(gone(10 + seq)), ..(*bare.what).clone() });
        origin.applied(Heard { what, ..bare });
    });
    origin.took_delta(heard(1, 4, b"bare"), Delta { since: 0, ops: gone(1) });
    let ends = |seq| decode_ops(&origin.delta_after((1, seq)).unwrap().ops).unwrap().len();
    assert_eq!((ends(0), ends(2), ends(3)), (4, 4, 4), "the three before it, and what it brought");
}

#[test]
fn a_delta_is_kept_for_as_long_as_the_log_goes_on_from_it() {
    let mut origin = Origin::new(Moment::default());
    let gone = |peer| {
        let gone = Op::Gone { peer: PeerId::new([peer; 32]), reason: GoneReason::Closed };
        encode_ops(&[gone]).unwrap()
    };
    let since = |origin: &Origin, seq| {
        let delta = origin.delta_after((1, seq))?;
        assert_eq!(delta.since, seq);
        Some(decode_ops(&delta.ops).unwrap().len())
    };
    (1..=3).for_each(|seq| origin.applied(heard(1, seq, b"")));
    assert_eq!((since(&origin, 1), since(&origin, 3)), (Some(0), None), "nothing has changed, nothing is missing");
    origin.took_delta(heard(1, 9, b"bare"), Delta { since: 2, ops: gone(1) });
    assert_eq!((since(&origin, 0), since(&origin, 2), since(&origin, 8)), (Some(1), Some(1), Some(1)));
    origin.took_delta(heard(1, 12, b"bare"), Delta { since: 9, ops: gone(2) });
    assert_eq!((since(&origin, 0), since(&origin, 9), since(&origin, 12)), (Some(2), Some(2), None), "joined");
    origin.took_delta(heard(2, 5, b"bare"), Delta { since: 0, ops: gone(3) });
    assert_eq!(origin.delta_after((1, 12)).map(|delta| (delta.since, delta.ops)), Some((0, gone(3))));
    for seq in 6..6 + LOG_MAX as u64 {
        assert!(origin.delta_after((2, 0)).is_some());
        let ops = gone(4);
        origin.applied(Heard {
            what: Arc::new(Announced { ops: Some(ops), ..(*heard(2, seq, b"x").what).clone() }),
            ..heard(2, seq, b"x")
        });
    }
    assert!(origin.delta_after((2, 0)).is_some() && origin.delta_after((2, 5)).is_some());
    origin.applied(heard(2, 6 + LOG_MAX as u64, b""));
    assert!(origin.delta_after((2, 5)).is_none() && origin.delta_after((2, 6)).is_some(), "there is a gap");
    origin.adopted(heard(2, 90, b"bare"));
    assert!(origin.delta_after((2, 80)).is_none(), "it is known as a roster alone");
}

#[test]
fn heads_that_wait_are_bounded_and_the_highest_go_first() {
    let mut origin = Origin::new(Moment::default());
    for seq in (2..200).rev() {
        let head = heard(1, seq, b"x");
        origin.hear(at(1), &head.head, at(1));
        origin.wait(head);
        assert!(origin.waiting.len() <= WAITING_MAX);
    }
    assert_eq!(origin.waiting.keys().copied().collect::<Vec<_>>(), (2..2 + WAITING_MAX as u64).collect::<Vec<_>>());
    assert!(origin.next_waiting().is_none());
}

#[test]
fn ops_that_wait_are_bounded_in_bytes_too() {
    let mut origin = Origin::new(Moment::default());
    for seq in 2..60 {
        let head = heard(1, seq, &[7; 30_000]);
        origin.hear(at(1), &head.head, at(1));
        origin.wait(head);
    }
    assert_eq!(origin.waiting.len(), WAITING_BYTES / 30_000);
    assert_eq!(origin.waiting.first_key_value().map(|(seq, _)| *seq), Some(2), "those that are needed first stay");
}

#[test]
fn signatures_of_one_origin_are_checked_at_a_bounded_rate() {
    let mut origin = Origin::new(Moment::default());
    assert!((0..HEAD_CHECKS.burst).all(|_| origin.may_check(at(1))));
    assert!(!origin.may_check(at(1)));
    assert!((0..HEAD_CHECKS.per_second).all(|_| origin.may_check(at(2))));
    assert!(!origin.may_check(at(2)));
}

#[test]
fn the_last_seq_that_there_is_has_no_successor() {
    let mut origin = Origin::new(Moment::default());
    let last = heard(1, u64::MAX, b"");
    origin.hear(at(1), &last.head, at(1));
    origin.adopted(last.clone());
    assert!(origin.next_waiting().is_none());
    origin.applied(last.clone());
    origin.applied(last);
}

#[test]
fn there_is_room_for_so_many_origins_and_no_known_one_gives_way() {
    let mut origins = Origins::new(Seed::fixed());
    for number in 0..ORIGINS_MAX {
        assert!(origins.find_or_insert(at(0), host(number)).is_some());
    }
    assert!(origins.find_or_insert(at(0), host(ORIGINS_MAX)).is_none());
    assert!(origins.find_or_insert(at(0), host(5)).is_some());
    origins.forget(at(0), host(5));
    assert!(origins.find_or_insert(at(0), host(ORIGINS_MAX)).is_some());
}

#[test]
fn marks_are_kept_for_a_day_and_bounded() {
    let mut origins = Origins::new(Seed::fixed());
    let many: Vec<_> = (0..MARKS_MAX).map(|number| (host(number), 7, 7)).collect();
    origins.remember(at(0), &many);
    assert_eq!(origins.mark_of_forgotten(host(0)), (7, 7));
    origins.find_or_insert(at(10), host(MARKS_MAX)).unwrap();
    origins.forget(at(10), host(MARKS_MAX));
    assert_eq!((origins.marks_count(), origins.mark_of_forgotten(host(0))), (MARKS_MAX, (0, 0)));
    origins.tidy(Moment::new(MARKS_KEPT) + Duration::from_secs(5));
    assert_eq!(origins.marks_count(), 1);
    origins.tidy(Moment::new(MARKS_KEPT) + Duration::from_secs(10));
    assert_eq!(origins.marks_count(), 0);
}
