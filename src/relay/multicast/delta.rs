//! What stands for many announcements when one catches up (PROTOCOL.md §6.5): how everything that they touch ends.
//!
//! It does not say what was before, and names also what came and went again. So it leads to the same roster from
//! wherever one stands between its two ends.

use std::collections::BTreeMap;

use aldis_wire::announcement::{GoneReason, Op, decode_ops, encode_ops};
use aldis_wire::id::{PeerId, TopicId};
use aldis_wire::limits::OPS_MAX;
use aldis_wire::proof::Proof;
use aldis_wire::record::SignedRecord;
use bytes::Bytes;

/// What a host keeps of announcements that it has never seen, or no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Delta {
    /// The seq after which the first of them comes.
    pub(crate) since: u64,
    /// Encoded.
    pub(crate) ops: Bytes,
}

/// How everything ends that ops touch.
#[derive(Debug, Default)]
pub(super) struct Ends {
    record: Option<SignedRecord>,
    peers: BTreeMap<PeerId, Peer>,
}

#[derive(Debug, Default)]
struct Peer {
    /// It has left; what it was in before is over.
    gone: Option<GoneReason>,
    present: Option<Proof>,
    /// `None`: it has left that topic.
    topics: BTreeMap<TopicId, Option<Bytes>>,
}

impl Ends {
    /// Adds encoded ops. False if they cannot be read.
    pub(super) fn add(&mut self, ops: &[u8]) -> bool {
        let Ok(ops) = decode_ops(ops) else { return false };
        for op in ops {
            match op {
                Op::Record(record) => self.record = Some(record),
                Op::Present { peer, proof } => self.peers.entry(peer).or_default().present = Some(proof),
                Op::Gone { peer, reason } => {
                    self.peers.insert(peer, Peer { gone: Some(reason), ..Peer::default() });
                }
                Op::Join { topic, peer, meta } => {
                    self.peers.entry(peer).or_default().topics.insert(topic, Some(meta));
                }
                Op::Leave { topic, peer } => {
                    let peer = self.peers.entry(peer).or_default();
                    if peer.gone.is_some() {
                        peer.topics.remove(&topic);
                    } else {
                        peer.topics.insert(topic, None);
                    }
                }
                // No digest covers them: whoever is on the way could make them up.
                Op::Status(_) | Op::Lost { .. } => {}
            }
        }
        true
    }

    /// The ops that lead there, encoded; `None` if they are too many or too long for a frame.
    pub(super) fn encoded(self) -> Option<Bytes> {
        let mut ops: Vec<Op> = self.record.into_iter().map(Op::Record).collect();
        for (peer, Peer { gone, present, topics }) in self.peers {
            if ops.len() > OPS_MAX {
                return None;
            }
            ops.extend(gone.map(|reason| Op::Gone { peer, reason }));
            ops.extend(present.map(|proof| Op::Present { peer, proof }));
            ops.extend(topics.into_iter().map(|(topic, meta)| match meta {
                Some(meta) => Op::Join { topic, peer, meta },
                None => Op::Leave { topic, peer },
            }));
        }
        encode_ops(&ops).ok()
    }
}
