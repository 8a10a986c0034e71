//! Made-up hosts, and their rosters as they would announce them.

use aldis_wire::announcement::{Head, Op, SignedHead, encode_ops, ops_hash};
use aldis_wire::digest::{RECORD_KEY, Trie, entry_hash, membership_key, presence_key};
use aldis_wire::host::{Announcement, Nat};
use aldis_wire::id::{HostId, PeerId, TopicId};
use aldis_wire::limits::HEARTBEAT_MAX;
use aldis_wire::proof::Proof;
use aldis_wire::record::{HostRecord, SignedRecord};
use anyhow::Result;
use ed25519_dalek::SigningKey;

use super::network;

/// Edges whose coming and joining fits one announcement.
pub(crate) const EDGES_PER_ANNOUNCEMENT: usize = 256;

/// A host that signs whatever it is told to.
#[derive(Debug)]
pub(crate) struct Origin {
    key: SigningKey,
    pub(crate) id: HostId,
    pub(crate) epoch: u64,
    seq: u64,
    digest: [u8; 32],
}

impl Origin {
    pub(crate) fn new(number: usize) -> Self {
        let mut secret = [7; 32];
        for (byte, of_number) in secret.iter_mut().zip(number.to_be_bytes()) {
            *byte = of_number;
        }
        let key = SigningKey::from_bytes(&secret);
        let id = HostId::new(key.verifying_key().to_bytes());
        Self { key, id, epoch: 1_000, seq: 0, digest: [0; 32] }
    }

    pub(crate) fn record(&self) -> Result<SignedRecord> {
        let record = HostRecord {
            revision: 1,
            sealing: [4; 32],
            // Real hosts hear of it, and would dial one.
            addresses: Vec::new(),
            gateways: vec!["wss://host.example.net/v1".to_owned()],
            software: "aldis 0.1.0".to_owned(),
            neighbours: Vec::new(),
            nat: Nat::Open,
            candidates: Vec::new(),
            stun: Vec::new(),
        };
        Ok(SignedRecord::make(&self.key, network()?.tag, &record)?)
    }

    /// A peer that this host mints.
    pub(crate) fn peer(&self, number: usize) -> (PeerId, Proof) {
        let nonce = (number as u128).to_be_bytes();
        (Proof::mint(self.id, &nonce), Proof::Minted { nonce })
    }

    /// The announcements of the record and of edges, each in the topic that the iterator names. `trie` is empty, and
    /// can be used for [`Origin::announce`] later.
    pub(crate) fn fill(&mut self, trie: &mut Trie, topics: &[u32]) -> Result<Vec<Announcement>> {
        let mut announcements = vec![self.announce(trie, &[Op::Record(self.record()?)])?];
        for (batch, topics) in topics.chunks(EDGES_PER_ANNOUNCEMENT).enumerate() {
            let mut ops = Vec::with_capacity(2 * topics.len());
            for (at, number) in topics.iter().enumerate() {
                let (peer, proof) = self.peer(batch * EDGES_PER_ANNOUNCEMENT + at);
                ops.push(Op::Present { peer, proof });
                ops.push(Op::Join { topic: topic(*number), peer, meta: bytes::Bytes::new() });
            }
            announcements.push(self.announce(trie, &ops)?);
        }
        Ok(announcements)
    }

    /// The next announcement; `trie` is the roster that it changes.
    pub(crate) fn announce(&mut self, trie: &mut Trie, ops: &[Op]) -> Result<Announcement> {
        for op in ops {
            let key = match op {
                Op::Record(_) => RECORD_KEY,
                Op::Present { peer, .. } | Op::Gone { peer, .. } => presence_key(*peer),
                Op::Join { topic, peer, .. } | Op::Leave { topic, peer } => membership_key(*topic, *peer),
                Op::Status(_) | Op::Lost { .. } => continue,
            };
            if matches!(op, Op::Gone { .. } | Op::Leave { .. }) {
                trie.remove(&key);
            } else {
                trie.insert(key, entry_hash(&encode_ops(std::slice::from_ref(op))?));
            }
        }
        self.digest = trie.digest();
        self.head(ops)
    }

    /// A heartbeat.
    pub(crate) fn heartbeat(&mut self) -> Result<Announcement> {
        self.head(&[])
    }

    fn head(&mut self, ops: &[Op]) -> Result<Announcement> {
        self.seq += 1;
        let encoded = encode_ops(ops)?;
        let head = Head {
            origin: self.id,
            epoch: self.epoch,
            seq: self.seq,
            ops_hash: ops_hash(&encoded),
            digest: self.digest,
            interval_ms: u32::try_from(HEARTBEAT_MAX.as_millis())?,
        };
        let head = SignedHead::make(&self.key, network()?.tag, &head)?;
        Ok(Announcement { age_ms: 0, head, ops: (!ops.is_empty()).then_some(encoded) })
    }
}

/// A topic by its number.
pub(crate) fn topic(number: u32) -> TopicId {
    TopicId::new(*blake3::hash(&number.to_be_bytes()).as_bytes())
}
