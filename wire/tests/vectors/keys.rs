//! What is derived from keys, and what is signed and sealed with them (PROTOCOL.md §2, §3, §5.2, §8).

use aldis_wire::codec::encode;
use aldis_wire::edge::Json;
use aldis_wire::edge::sealed::{self, Between, Envelope, OpeningKey, Place, Plain, ToldClaim};
use aldis_wire::host::{Role, admission_proof};
use aldis_wire::id::{HostId, PeerId};
use aldis_wire::limits::VERSION;
use aldis_wire::network::{Genesis, Network, NetworkTag};
use aldis_wire::proof::{Proof, answer_challenge, challenge_answered};
use aldis_wire::revocation::Revocation;
use aldis_wire::seal::{Binding, SealingKey, nonce, nonce_number};
use ed25519_dalek::SigningKey;
use serde_json::{Value, json};

use crate::{golden, hex};

/// The network of most vectors.
pub(crate) const TAG: NetworkTag = NetworkTag::new([0xa1, 0xd1, 0x50, 1, 2, 3, 4, 5]);

/// Of the first frame that a home seals.
const NONCE: [u8; 24] = [
    0x24, 0x24, 0x24, 0x24, 0x24, 0x24, 0x24, 0x24, 0x24, 0x24, 0x24, 0x24, 0x24, 0x24, 0x24, 0x24, 0, 0, 0, 0, 0, 0,
    0, 1,
];

/// An identity that everybody can have: its secret key is this byte 32 times.
pub(crate) fn identity(byte: u8) -> SigningKey {
    SigningKey::from_bytes(&[byte; 32])
}

pub(crate) fn host_id(byte: u8) -> HostId {
    HostId::new(identity(byte).verifying_key().to_bytes())
}

#[test]
fn what_a_network_derives_stays_the_same() {
    let networks = [
        ("the default open network", Genesis::open("main").unwrap(), VERSION),
        ("an open network, name beyond ASCII", Genesis::open("Küche").unwrap(), VERSION),
        ("a closed network", Genesis::new("lab", [0x42; 32]).unwrap(), VERSION),
        ("the same at another version", Genesis::new("lab", [0x42; 32]).unwrap(), VERSION + 1),
    ];
    let cases: Vec<_> = networks.iter().map(|(label, genesis, version)| network(label, genesis, *version)).collect();
    golden("networks", "PROTOCOL.md §2: what is derived from a genesis key.", json!({ "networks": cases }));
}

fn network(label: &str, genesis: &Genesis, version: u16) -> Value {
    let network = Network::with_version(genesis, version);
    let topics: Vec<_> =
        ["s0", "chess", "ж", ""].map(|name| json!({ "name": name, "id": network.topic(name).to_string() })).into();
    json!({
        "label": label,
        "name": genesis.name(),
        "genesis_key": hex(genesis.key()),
        "version": version,
        "rendezvous": hex(&network.rendezvous),
        "tag": network.tag.to_string(),
        "alpn": String::from_utf8(network.alpn()).unwrap(),
        "admission_key": hex(&network.admission_key),
        "topics": topics,
        "door_topics": [
            { "door": "peerjs", "parts": ["6b6579", "6964"], "id": network.door_topic("peerjs", &[b"key", b"id"]).to_string() },
            { "door": "peerjs", "parts": [], "id": network.door_topic("peerjs", &[]).to_string() },
        ],
    })
}

#[test]
fn proofs_of_peers_stay_the_same() {
    let home = host_id(1);
    let minted: Vec<_> = [[0; 16], [0x9e; 16]]
        .map(|nonce| {
            let peer = Proof::mint(home, &nonce);
            let proof = Proof::Minted { nonce };
            assert!(proof.verify(peer, TAG, home));
            json!({ "home": home.to_string(), "nonce": hex(&nonce), "peer": peer.to_string(), "proof": hex(&encode(&proof).unwrap()) })
        })
        .into();
    let claims: Vec<_> = [(0, None), (1, None), (7, Some([0x5e; 32])), (u64::MAX, None)]
        .map(|(counter, sealing)| claim(home, counter, sealing))
        .into();
    let key = identity(9);
    let peer = PeerId::new(key.verifying_key().to_bytes());
    let answer = answer_challenge(&key, TAG, home, &[0xc4; 32]);
    assert!(challenge_answered(answer, peer, TAG, home, &[0xc4; 32]));
    let challenge = json!({
        "edge_secret": hex(&key.to_bytes()),
        "peer": peer.to_string(),
        "tag": TAG.to_string(),
        "home": home.to_string(),
        "challenge": hex(&[0xc4; 32]),
        "signed": hex(&[b"aldis 2026 hello", &TAG.as_bytes()[..], home.as_bytes(), &[0xc4; 32]].concat()),
        "signature": hex(&answer.to_bytes()),
    });
    golden(
        "proofs",
        "PROTOCOL.md §3: why a peer is believed to be at home where it is said to be. `signed` are the bytes under the signature.",
        json!({ "minted": minted, "claims": claims, "challenges": [challenge] }),
    );
}

fn claim(home: HostId, counter: u64, sealing: Option<[u8; 32]>) -> Value {
    let key = identity(9);
    let peer = PeerId::new(key.verifying_key().to_bytes());
    let proof = Proof::claim(&key, TAG, home, counter, sealing);
    assert!(proof.verify(peer, TAG, home));
    let Proof::Keyed { signature, .. } = &proof else { panic!("a claim is keyed") };
    let tail = sealing.map_or(vec![0], |key| [&[1], &key[..]].concat());
    let signed = [b"aldis 2026 claim", &TAG.as_bytes()[..], home.as_bytes(), &counter.to_be_bytes(), &tail].concat();
    json!({
        "edge_secret": hex(&key.to_bytes()),
        "peer": peer.to_string(),
        "tag": TAG.to_string(),
        "home": home.to_string(),
        // As text: JavaScript's numbers end at 2^53.
        "counter": counter.to_string(),
        "sealing": sealing.map(|key| hex(&key)),
        "signed": hex(&signed),
        "signature": hex(&signature.to_bytes()),
        "proof": hex(&encode(&proof).unwrap()),
    })
}

#[test]
fn admission_proofs_stay_the_same() {
    let cases: Vec<_> = [Role::Dialler, Role::Acceptor]
        .map(|role| {
            let proof = admission_proof(&[0xad; 32], role, &[0xe0; 32], host_id(1), host_id(2));
            json!({
                "role": format!("{role:?}").to_lowercase(),
                "admission_key": hex(&[0xad; 32]),
                "exporter": hex(&[0xe0; 32]),
                "dialler": host_id(1).to_string(),
                "acceptor": host_id(2).to_string(),
                "proof": hex(proof.as_bytes()),
            })
        })
        .into();
    golden(
        "admission",
        "PROTOCOL.md §5.2: each side's proof of the genesis key on one TLS session.",
        json!({ "proofs": cases }),
    );
}

#[test]
fn sealing_stays_the_same() {
    let (ours, theirs) = (SealingKey::new([0x11; 32]), SealingKey::new([0x22; 32]));
    let binding = Binding { tag: TAG, from: (host_id(1), 5), to: (host_id(2), 6) };
    assert_eq!((nonce([0x24; 16], 1), nonce_number(&NONCE)), (NONCE, 1));
    let cases: Vec<_> = [&b""[..], b"\x0aa frame's kind and body"]
        .map(|plain| {
            let sealed = ours.shared(&theirs.public()).unwrap().seal(&NONCE, &binding, plain).unwrap();
            let opened = theirs.shared(&ours.public()).unwrap().open(&NONCE, &binding, &sealed).unwrap();
            assert_eq!(opened, plain);
            json!({
                "sealer_secret": hex(&[0x11; 32]),
                "sealer_public": hex(&ours.public()),
                "opener_secret": hex(&[0x22; 32]),
                "opener_public": hex(&theirs.public()),
                "tag": TAG.to_string(),
                "from": { "home": host_id(1).to_string(), "epoch": 5 },
                "to": { "home": host_id(2).to_string(), "epoch": 6 },
                "nonce": hex(&NONCE),
                "plain": hex(plain),
                "sealed": hex(&sealed),
            })
        })
        .into();
    golden("sealing", "PROTOCOL.md §8: home to home through a third host.", json!({ "sealed": cases }));
}

#[test]
fn sealed_signals_stay_the_same() {
    let (alice, bob) = (identity(9), identity(10));
    let peer = |key: &SigningKey| PeerId::new(key.verifying_key().to_bytes());
    let opening = OpeningKey::new(&[0x33; 32]);
    let claim = ToldClaim::of(host_id(1), &Proof::claim(&bob, TAG, host_id(1), 7, Some(opening.public()))).unwrap();
    assert!(claim.is_of(peer(&bob), TAG));
    let cases: Vec<_> = [
        ("offer-1", 1, [0x44; 32], Plain { topic: None, data: Json::read(br#"{"sdp":"v=0\r\n"}"#).unwrap() }),
        ("ж", 258, [0x45; 32], Plain { topic: Some("Küche".into()), data: Json::NULL }),
    ]
    .map(|(id, n, random, plain)| {
        let (place, plain) = (Place { stream: [0x57; 16], n }, plain.write());
        let binding = sealed::Binding { tag: TAG, from: peer(&alice), to: peer(&bob), id };
        let made = Envelope::seal(&alice, &opening.public(), binding, place, &plain, &random).unwrap();
        assert_eq!(made.open(&opening, binding).unwrap(), plain);
        json!({
            "sender_secret": hex(&alice.to_bytes()),
            "from": binding.from.to_string(),
            "to": binding.to.to_string(),
            "tag": TAG.to_string(),
            "id": id,
            "opening_secret": hex(&opening.secret_bytes()),
            "ephemeral_random": hex(&random),
            "plain": String::from_utf8(plain).unwrap(),
            "data": Between::Sealed(made).write(),
        })
    })
    .into();
    let told = Between::Claim { claim: Some(claim), answer: true, unopened: None };
    golden(
        "sealed",
        "PROTOCOL.md §4.4: from peer to peer, past all hosts. `ephemeral_random` goes into DeriveKeyPair of RFC 9180.",
        json!({ "sealed": cases, "claim": { "from": peer(&bob).to_string(), "tag": TAG.to_string(), "data": told.write() } }),
    );
}

#[test]
fn revocations_stay_the_same() {
    let cases: Vec<_> = [1, 9]
        .map(|byte| {
            let made = Revocation::make(&identity(byte));
            assert!(made.is_signed());
            json!({
                "host_secret": hex(&identity(byte).to_bytes()),
                "host": made.host().to_string(),
                "signed": hex(&[b"aldis 2026 revocation", &made.host().as_bytes()[..]].concat()),
                "signature": hex(&made.signature().to_bytes()),
                "revocation": hex(&encode(&made).unwrap()),
            })
        })
        .into();
    golden(
        "revocations",
        "PROTOCOL.md §6.7: the end of a host's identity, in every network. `signed` are the bytes under the signature.",
        json!({ "revocations": cases }),
    );
}
