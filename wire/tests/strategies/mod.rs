//! Everything that travels between hosts, at random: what the other tests here draw from.
#![allow(dead_code, reason = "each test binary draws from some of these")]
#![allow(clippy::unwrap_used, reason = "a test may fail by panic")]

use std::net::{IpAddr, SocketAddr};

use aldis_wire::announcement::{GoneReason, Head, Op, SignedHead, Status, encode_ops};
use aldis_wire::host::{
    Announcement, Bounce, Broadcast, Delta, DialBack, Frame, GoodbyeReason, HaveEntry, Hello, Introduce, Nat,
    NotIntroduced, NotIntroducedReason, Outcome, Part, Place, Punch, Query, Range, Receipt, Reply, Routed, Signal,
    Spread, Tally, Verdict, Verified, Verify,
};
use aldis_wire::id::Id;
use aldis_wire::limits::{
    BELOW_MAX, CANDIDATES_MAX, HAVE_NUMBERS_MAX, LANES, META_BYTES, RECORD_CANDIDATES_MAX, RECORD_NEIGHBOURS_MAX,
    RECORD_STUN_MAX, REQUEST_ID_BYTES,
};
use aldis_wire::network::NetworkTag;
use aldis_wire::proof::{Proof, Signature};
use aldis_wire::record::{HostRecord, SignedRecord};
use aldis_wire::refusal::Refusal;
use aldis_wire::revocation::Revocation;
use bytes::Bytes;
use ed25519_dalek::SigningKey;
use proptest::collection::vec;
use proptest::prelude::*;

/// The network in which everything here is signed.
pub(crate) const TAG: NetworkTag = NetworkTag::new([7; 8]);

/// The key with which everything here is signed.
pub(crate) fn key() -> SigningKey {
    SigningKey::from_bytes(&[3; 32])
}

pub(crate) fn id<K: std::fmt::Debug>() -> impl Strategy<Value = Id<K>> {
    any::<[u8; 32]>().prop_map(Id::new)
}

pub(crate) fn payload(length_max: usize) -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..=length_max).prop_map(Bytes::from)
}

pub(crate) fn signature() -> impl Strategy<Value = Signature> {
    (any::<[u8; 32]>(), any::<[u8; 32]>()).prop_map(|(r, s)| {
        let bytes: Vec<u8> = [r, s].concat();
        Signature::from_bytes(&bytes.try_into().unwrap())
    })
}

pub(crate) fn proof() -> impl Strategy<Value = Proof> {
    prop_oneof![
        any::<[u8; 16]>().prop_map(|nonce| Proof::Minted { nonce }),
        (any::<u64>(), any::<Option<[u8; 32]>>(), signature()).prop_map(|(counter, sealing, signature)| Proof::Keyed {
            counter,
            sealing,
            signature
        }),
    ]
}

pub(crate) fn record() -> impl Strategy<Value = HostRecord> {
    let gateway = "wss://[a-z]{1,60}\\.example/v1";
    let keys = (any::<u64>(), any::<[u8; 32]>());
    let places = (addresses(8), vec(gateway, 0..=4));
    let neighbours = vec(any::<[u8; 8]>(), 0..=RECORD_NEIGHBOURS_MAX);
    let reach = (nat(), addresses(RECORD_CANDIDATES_MAX), addresses(RECORD_STUN_MAX));
    (keys, places, "[a-zA-Z0-9. ]{0,32}", neighbours, reach).prop_map(
        |((revision, sealing), (addresses, gateways), software, neighbours, (nat, candidates, stun))| HostRecord {
            revision,
            sealing,
            addresses,
            gateways,
            software,
            neighbours,
            nat,
            candidates,
            stun,
        },
    )
}

fn nat() -> impl Strategy<Value = Nat> {
    prop::sample::select(Nat::ALL.to_vec())
}

fn addresses(most: usize) -> impl Strategy<Value = Vec<SocketAddr>> {
    vec(any::<SocketAddr>().prop_map(without_scope), 0..=most)
}

fn place() -> impl Strategy<Value = Place> {
    prop_oneof![
        (1..=u16::MAX).prop_map(|port| Place::Links { port }),
        (1..=u16::MAX).prop_map(|port| Place::OtherPort { port }),
        (1..=u16::MAX).prop_map(|port| Place::Stun { port }),
        "wss://[a-z]{1,60}\\.example/v1".prop_map(|url| Place::Gateway { url }),
    ]
}

/// Frames by which hosts learn where they are and are brought together.
fn reach() -> impl Strategy<Value = Frame> {
    let whys = [
        NotIntroducedReason::NotLinked,
        NotIntroducedReason::Unwilling,
        NotIntroducedReason::Hopeless,
        NotIntroducedReason::TooOften,
    ];
    let verdicts = [Verdict::Reached, Verdict::NotReached, Verdict::Nobody, Verdict::TooOften];
    prop_oneof![
        any::<SocketAddr>().prop_map(|address| Frame::Observed(without_scope(address))),
        (id(), nat(), addresses(CANDIDATES_MAX)).prop_map(|(host, nat, candidates)| Frame::Introduce(Introduce {
            host,
            nat,
            candidates
        })),
        (id(), nat(), addresses(CANDIDATES_MAX), any::<u16>())
            .prop_map(|(host, nat, candidates, after_ms)| { Frame::Punch(Punch { host, nat, candidates, after_ms }) }),
        (id(), prop::sample::select(whys.to_vec()))
            .prop_map(|(host, why)| Frame::NotIntroduced(NotIntroduced { host, why })),
        (any::<u32>(), place()).prop_map(|(number, place)| Frame::Verify(Verify { number, place })),
        (any::<u32>(), id(), any::<IpAddr>(), place())
            .prop_map(|(number, host, address, place)| Frame::DialBack(DialBack { number, host, address, place })),
        (any::<u32>(), prop::sample::select(verdicts.to_vec()))
            .prop_map(|(number, verdict)| Frame::Verified(Verified { number, verdict })),
    ]
}

/// Flow label and scope mean nothing on another machine and do not travel.
pub(crate) fn without_scope(address: SocketAddr) -> SocketAddr {
    SocketAddr::from((address.ip(), address.port()))
}

pub(crate) fn signed_record() -> impl Strategy<Value = SignedRecord> {
    record().prop_map(|record| SignedRecord::make(&key(), TAG, &record).unwrap())
}

pub(crate) fn head() -> impl Strategy<Value = Head> {
    (any::<u64>(), any::<u64>(), any::<[u8; 32]>(), any::<[u8; 32]>(), any::<u32>()).prop_map(
        |(epoch, seq, ops_hash, digest, interval_ms)| {
            let origin = Id::new(key().verifying_key().to_bytes());
            Head { origin, epoch, seq, ops_hash, digest, interval_ms }
        },
    )
}

pub(crate) fn signed_head() -> impl Strategy<Value = SignedHead> {
    head().prop_map(|head| SignedHead::make(&key(), TAG, &head).unwrap())
}

pub(crate) fn gone_reason() -> impl Strategy<Value = GoneReason> {
    use GoneReason::{Closed, Ended, HostClosed, Lost, Moved};
    prop::sample::select(vec![Closed, Lost, Moved, Ended, HostClosed])
}

pub(crate) fn status() -> impl Strategy<Value = Status> {
    any::<(u32, u32, u16, u32, u16)>().prop_map(|(edges, topics, links, signals_per_minute, load_percent)| Status {
        edges,
        topics,
        links,
        signals_per_minute,
        load_percent,
    })
}

/// An op that is an entry of a roster.
pub(crate) fn entry() -> impl Strategy<Value = Op> {
    prop_oneof![
        1 => signed_record().prop_map(Op::Record),
        4 => (id(), proof()).prop_map(|(peer, proof)| Op::Present { peer, proof }),
        4 => (id(), id(), payload(META_BYTES)).prop_map(|(topic, peer, meta)| Op::Join { topic, peer, meta }),
    ]
}

pub(crate) fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => entry(),
        1 => (id(), gone_reason()).prop_map(|(peer, reason)| Op::Gone { peer, reason }),
        1 => (id(), id()).prop_map(|(topic, peer)| Op::Leave { topic, peer }),
        1 => status().prop_map(Op::Status),
        1 => (id(), any::<u64>(), any::<u64>()).prop_map(|(host, epoch, seq)| Op::Lost { host, epoch, seq }),
    ]
}

pub(crate) fn range() -> impl Strategy<Value = Range> {
    (any::<[u8; 32]>(), 0..=64_u8).prop_map(|(key, nibbles)| Range { key, nibbles })
}

pub(crate) fn refusal() -> impl Strategy<Value = Refusal> {
    prop::sample::select(Refusal::ALL.to_vec())
}

pub(crate) fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![Just(Outcome::Delivered), refusal().prop_map(Outcome::Refused), Just(Outcome::Unknown)]
}

pub(crate) fn request_id() -> impl Strategy<Value = String> {
    vec(any::<char>(), 1..=REQUEST_ID_BYTES).prop_map(|chars| {
        let mut id = String::new();
        for char in chars {
            if id.len() + char.len_utf8() <= REQUEST_ID_BYTES {
                id.push(char);
            }
        }
        id
    })
}

fn have_entry() -> impl Strategy<Value = HaveEntry> {
    prop_oneof![
        (0..HAVE_NUMBERS_MAX, id(), any::<u64>(), any::<u64>())
            .prop_map(|(number, origin, epoch, seq)| HaveEntry::Named { number, origin, epoch, seq }),
        (0..HAVE_NUMBERS_MAX, any::<u64>(), any::<u8>()).prop_map(|(number, seq, held)| HaveEntry::Numbered {
            number,
            seq,
            held
        }),
    ]
}

fn announcement() -> impl Strategy<Value = Announcement> {
    let ops = prop::option::of(vec(op(), 0..8).prop_map(|ops| encode_ops(&ops).unwrap()));
    (any::<u32>(), signed_head(), ops).prop_map(|(age_ms, head, ops)| Announcement { age_ms, head, ops })
}

fn delta() -> impl Strategy<Value = Delta> {
    let ops = vec(op(), 0..8).prop_map(|ops| encode_ops(&ops).unwrap());
    (any::<u32>(), signed_head(), any::<u64>(), ops).prop_map(|(age_ms, head, since, ops)| Delta {
        age_ms,
        head,
        since,
        ops,
    })
}

fn part() -> impl Strategy<Value = Part> {
    prop_oneof![
        vec(entry(), 0..5).prop_map(|ops| Part::Entries(encode_ops(&ops).unwrap())),
        vec((range(), any::<[u8; 32]>()), 0..=BELOW_MAX).prop_map(Part::Below),
    ]
}

fn signal() -> impl Strategy<Value = Signal> {
    let names = (id(), id(), any::<u64>(), any::<u64>(), request_id());
    (names, proof(), prop::option::of(id()), payload(3_000)).prop_map(
        |((from, to, session, n, id), proof, topic, data)| Signal { from, to, session, n, id, proof, topic, data },
    )
}

fn broadcast() -> impl Strategy<Value = Broadcast> {
    let names = (id(), any::<u64>(), any::<u64>(), request_id());
    (names, proof(), id(), payload(3_000)).prop_map(|((from, session, n, id), proof, topic, data)| Broadcast {
        from,
        session,
        n,
        id,
        proof,
        topic,
        data,
    })
}

fn tally() -> impl Strategy<Value = Tally> {
    let taken = any::<(u32, u32)>().prop_map(|(members, missed)| Spread::Taken { members, missed });
    let spread = prop_oneof![taken, refusal().prop_map(Spread::Refused)];
    (id(), request_id(), spread).prop_map(|(from, id, spread)| Tally { from, id, spread })
}

fn routed() -> impl Strategy<Value = Routed> {
    let ends = (id(), id(), any::<u64>(), any::<u64>());
    (ends, any::<u8>(), 0..LANES, any::<[u8; 24]>(), payload(3_000)).prop_map(
        |((to_home, from_home, to_epoch, from_epoch), hops, lane, nonce, sealed)| Routed {
            to_home,
            from_home,
            to_epoch,
            from_epoch,
            hops,
            lane,
            nonce,
            sealed,
        },
    )
}

pub(crate) fn frame() -> impl Strategy<Value = Frame> {
    let goodbye = prop::sample::select(GoodbyeReason::ALL.to_vec());
    let hello = (any::<[u8; 32]>(), any::<u64>(), signed_record(), any::<SocketAddr>(), vec(any::<[u8; 8]>(), 0..4))
        .prop_map(|(proof, epoch, record, observed, lost)| {
            let observed = without_scope(observed);
            Hello { proof, epoch, record, observed, lost }
        });
    let reply = (id(), prop::option::of((any::<u32>(), signed_head())), vec((range(), part()), 0..6));
    prop_oneof![
        hello.prop_map(Frame::Hello),
        Just(Frame::Admitted),
        goodbye.prop_map(Frame::Goodbye),
        vec(have_entry(), 0..100).prop_map(Frame::Have),
        id().prop_map(Frame::Prune),
        (id(), any::<u64>(), any::<u64>()).prop_map(|(origin, epoch, seq)| Frame::Graft(origin, epoch, seq)),
        announcement().prop_map(Frame::Announcement),
        delta().prop_map(Frame::Delta),
        (id(), vec(range(), 0..50)).prop_map(|(origin, ranges)| Frame::Query(Query { origin, ranges })),
        reply.prop_map(|(origin, head, parts)| Frame::Reply(Reply { origin, head, parts })),
        signal().prop_map(Frame::Signal),
        (id(), id(), request_id(), outcome()).prop_map(|(from, to, id, outcome)| Frame::Receipt(Receipt {
            from,
            to,
            id,
            outcome
        })),
        broadcast().prop_map(Frame::Broadcast),
        tally().prop_map(Frame::Tally),
        reach(),
        routed().prop_map(Frame::Routed),
        (id(), any::<[u8; 24]>(), refusal()).prop_map(|(from_home, nonce, refusal)| Frame::Bounce(Bounce {
            from_home,
            nonce,
            refusal
        })),
        vec((id(), any::<[u8; 32]>(), any::<[u8; 32]>()), 0..20).prop_map(|statements| {
            let signature = |r: [u8; 32], s: [u8; 32]| Signature::from_bytes(&[r, s].concat().try_into().unwrap());
            Frame::Revoked(statements.into_iter().map(|(host, r, s)| Revocation::of(host, signature(r, s))).collect())
        }),
    ]
}
