//! Heads, ops, records and digests (PROTOCOL.md §6).

use aldis_wire::announcement::{GoneReason, Head, Op, SignedHead, Status, decode_ops, encode_ops, ops_hash};
use aldis_wire::codec::{decode, encode};
use aldis_wire::digest::{Key, RECORD_KEY, Trie, entry_hash, membership_key, presence_key};
use aldis_wire::host::Nat;
use aldis_wire::id::{PeerId, TopicId};
use aldis_wire::proof::Proof;
use aldis_wire::record::{HostRecord, SignedRecord, short_id};
use bytes::Bytes;
use serde_json::{Value, json};

use crate::keys::{TAG, host_id, identity};
use crate::{golden, hex};

pub(crate) fn record() -> SignedRecord {
    let record = HostRecord {
        revision: 3,
        sealing: [0x5e; 32],
        addresses: vec!["192.0.2.1:4433".parse().unwrap(), "[2001:db8::1]:4433".parse().unwrap()],
        gateways: vec!["wss://one.example/v1".into()],
        software: "aldis 0.1.0".into(),
        neighbours: vec![short_id(host_id(2)), short_id(host_id(3))],
        nat: Nat::PortRestricted,
        candidates: vec!["192.0.2.1:61001".parse().unwrap()],
        stun: vec!["192.0.2.1:4433".parse().unwrap()],
    };
    SignedRecord::make(&identity(1), TAG, &record).unwrap()
}

pub(crate) fn head(seq: u64, ops: &[u8], digest: [u8; 32]) -> SignedHead {
    let head =
        Head { origin: host_id(1), epoch: 1_800_000_000, seq, ops_hash: ops_hash(ops), digest, interval_ms: 3_000 };
    SignedHead::make(&identity(1), TAG, &head).unwrap()
}

/// A roster of `peers` peers, the even ones in two topics, the odd ones in one, in no particular order.
fn roster(peers: u8) -> Vec<Op> {
    let mut ops = vec![Op::Record(record())];
    for number in 0..peers {
        let proof = Proof::Minted { nonce: [number; 16] };
        let peer = Proof::mint(host_id(1), &[number; 16]);
        ops.push(Op::Present { peer, proof });
        for topic in 0..=u8::from(number % 2 == 0) {
            let meta = Bytes::from(format!("{{\"name\":\"peer {number}\"}}"));
            ops.push(Op::Join { topic: TopicId::new([topic; 32]), peer, meta });
        }
    }
    ops
}

fn key_of(op: &Op) -> Key {
    match op {
        Op::Record(_) => RECORD_KEY,
        Op::Present { peer, .. } => presence_key(*peer),
        Op::Join { topic, peer, .. } => membership_key(*topic, *peer),
        _ => panic!("not an entry"),
    }
}

#[test]
fn ops_and_heads_stay_the_same() {
    let peer = PeerId::new([0x9e; 32]);
    let topic = TopicId::new([0x70; 32]);
    let keyed = Proof::claim(&identity(9), TAG, host_id(1), 7, Some([0x5e; 32]));
    let status = Status { edges: 300, topics: 20, links: 5, signals_per_minute: 70_000, load_percent: 12 };
    let ops = [
        ("record", Op::Record(record())),
        ("present, minted", Op::Present { peer, proof: Proof::Minted { nonce: [0x0e; 16] } }),
        ("present, keyed", Op::Present { peer: PeerId::new(*host_id(9).as_bytes()), proof: keyed }),
        ("gone, closed", Op::Gone { peer, reason: GoneReason::Closed }),
        ("gone, lost", Op::Gone { peer, reason: GoneReason::Lost }),
        ("gone, moved", Op::Gone { peer, reason: GoneReason::Moved }),
        ("gone, ended", Op::Gone { peer, reason: GoneReason::Ended }),
        ("gone, host closed", Op::Gone { peer, reason: GoneReason::HostClosed }),
        ("join", Op::Join { topic, peer, meta: Bytes::from_static(b"{\"name\":\"Ann\"}") }),
        ("join without meta", Op::Join { topic, peer, meta: Bytes::new() }),
        ("leave", Op::Leave { topic, peer }),
        ("status", Op::Status(status)),
        ("lost", Op::Lost { host: host_id(2), epoch: 1_800_000_001, seq: 77 }),
    ];
    let each: Vec<_> = ops
        .iter()
        .map(|(label, op)| {
            let bytes = encode_ops(std::slice::from_ref(op)).unwrap();
            assert_eq!(decode_ops(&bytes).unwrap(), std::slice::from_ref(op));
            json!({ "label": label, "kind": bytes[0], "bytes": hex(&bytes) })
        })
        .collect();
    let all = encode_ops(&ops.map(|(_, op)| op)).unwrap();
    let heads: Vec<_> =
        [("with ops", head(2, &all, [0xd1; 32])), ("a heartbeat", head(3, b"", [0xd1; 32]))].map(signed_head).into();
    golden(
        "announcements",
        "PROTOCOL.md §6.1, §6.2: ops as {kind, length, body}; heads as signed by the key whose secret is 32 times 01.",
        json!({ "tag": TAG.to_string(), "ops": each, "ops_hash_of_all": hex(&ops_hash(&all)), "heads": heads, "record": signed_record() }),
    );
}

fn signed_head((label, signed): (&str, SignedHead)) -> Value {
    let head = signed.peek().unwrap();
    assert!(signed.is_signed(&head, TAG));
    let bytes = encode(&signed).unwrap();
    assert_eq!(decode::<SignedHead>(&bytes).unwrap(), signed);
    json!({
        "label": label,
        "origin": head.origin.to_string(),
        "epoch": head.epoch,
        "seq": head.seq,
        "ops_hash": hex(&head.ops_hash),
        "digest": hex(&head.digest),
        "interval_ms": head.interval_ms,
        "is_heartbeat": head.is_heartbeat(),
        "head": hex(&encode(&head).unwrap()),
        "signed_head": hex(&bytes),
    })
}

fn signed_record() -> Value {
    let signed = record();
    let record = signed.open(TAG).unwrap();
    json!({
        "host": signed.host().to_string(),
        "revision": record.revision,
        "sealing": hex(&record.sealing),
        "addresses": record.addresses,
        "gateways": record.gateways,
        "software": record.software,
        "neighbours": record.neighbours.iter().map(|neighbour| hex(neighbour)).collect::<Vec<_>>(),
        "record": hex(signed.bytes()),
        "signed_record": hex(&encode(&signed).unwrap()),
    })
}

#[test]
fn digests_stay_the_same() {
    let entries = roster(20);
    let (mut trie, mut listed, mut digests) =
        (Trie::default(), Vec::new(), vec![json!({ "entries": 0, "digest": hex(&[0; 32]) })]);
    assert_eq!(trie.digest(), [0; 32]);
    for (number, op) in entries.iter().enumerate() {
        let bytes = encode_ops(std::slice::from_ref(op)).unwrap();
        let (key, hash) = (key_of(op), entry_hash(&bytes));
        trie.insert(key, hash);
        listed.push(json!({ "op": hex(&bytes), "key": hex(&key), "hash": hex(&hash) }));
        if [1, 2, 16, 17, 33, entries.len()].contains(&(number + 1)) {
            digests.push(json!({ "entries": number + 1, "digest": hex(&trie.digest()) }));
        }
    }
    assert_eq!(trie.len(), 51);
    golden(
        "digests",
        "PROTOCOL.md §6.3: entries of a roster with their places and hashes, and the digest of the first so many of them.",
        json!({ "entries": listed, "digests": digests }),
    );
}
