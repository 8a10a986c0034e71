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

use crate::relay::roster::Roster;

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
pub(crate) struct Ends {
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
    pub(crate) fn add(&mut self, ops: &[u8]) -> bool {
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

    /// The ops that lead there, encoded; `None` if they are too many or too long for a frame. What makes room comes first.
    pub(super) fn encoded(self) -> Option<Bytes> {
        let mut ops: Vec<Op> = self.record.into_iter().map(Op::Record).collect();
        let mut come = Vec::new();
        for (peer, Peer { gone, present, topics }) in self.peers {
            if ops.len() + come.len() > OPS_MAX {
                return None;
            }
            ops.extend(gone.map(|reason| Op::Gone { peer, reason }));
            come.extend(present.map(|proof| Op::Present { peer, proof }));
            for (topic, meta) in topics {
                match meta {
                    Some(meta) => come.push(Op::Join { topic, peer, meta }),
                    None => ops.push(Op::Leave { topic, peer }),
                }
            }
        }
        ops.extend(come);
        encode_ops(&ops).ok()
    }

    /// The ops that lead there from a roster, and no others: what is done there already, never came to be, or came back as
    /// it was is left out. What makes room comes first.
    pub(crate) fn from(self, roster: &Roster) -> Vec<Op> {
        let known = |signed: &SignedRecord| roster.record().is_some_and(|known| known.signed == *signed);
        let mut ops: Vec<Op> = self.record.filter(|signed| !known(signed)).map(Op::Record).into_iter().collect();
        let mut come = Vec::new();
        for (peer, Peer { gone, present, topics }) in self.peers {
            let slot = roster.find(peer);
            let proof = slot.and_then(|slot| roster.proof_at(slot));
            let as_it_was = present.as_ref().is_some_and(|present| proof.is_some_and(|proof| proof.is(present)));
            let stays = slot.filter(|_| gone.is_none() || as_it_was);
            match (gone, slot) {
                (Some(_), Some(slot)) if as_it_was => {
                    let left = roster.memberships_at(slot).filter(|(_, topic, _)| !topics.contains_key(topic));
                    ops.extend(left.map(|(_, topic, _)| Op::Leave { topic, peer }));
                }
                (Some(reason), Some(_)) => ops.push(Op::Gone { peer, reason }),
                _ => {}
            }
            come.extend(present.filter(|_| !as_it_was).map(|proof| Op::Present { peer, proof }));
            for (topic, meta) in topics {
                let here = stays.and_then(|_| roster.meta(topic, peer));
                match meta {
                    Some(meta) if here != Some(&meta) => come.push(Op::Join { topic, peer, meta }),
                    None if here.is_some() => ops.push(Op::Leave { topic, peer }),
                    _ => {}
                }
            }
        }
        ops.extend(come);
        ops
    }
}
