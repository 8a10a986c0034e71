//! One message for all members of a topic, and what each host did with it (PROTOCOL.md §7.4).

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::id::{PeerId, TopicId};
use crate::proof::Proof;
use crate::refusal::Refusal;

/// A message for all members of a topic, from its sender's home to each host that has members (PROTOCOL.md §7.4).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Broadcast {
    /// The sender.
    pub from: PeerId,
    /// Names the sender's session, so that `n` may start again.
    pub session: u64,
    /// Grows with every broadcast of the session.
    pub n: u64,
    /// The sender's id for the broadcast.
    pub id: String,
    /// Why the sender may be believed to be at home where the broadcast comes from.
    pub proof: Proof,
    /// Whose members it is for.
    pub topic: TopicId,
    /// Opaque.
    pub data: Bytes,
}

/// What one host did with a broadcast.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Spread {
    /// It is in the queues of members there, of one at least.
    Taken {
        /// So many members have it in their queues.
        members: u32,
        /// So many members miss it, because they do not acknowledge what they are sent.
        missed: u32,
    },
    /// No member there has it or will have it.
    Refused(Refusal),
}

/// The answer of one host to a broadcast, to the sender's home.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// The broadcast's sender.
    pub from: PeerId,
    /// The broadcast's id.
    pub id: String,
    /// What became of it there.
    pub spread: Spread,
}
