//! What goes in and what comes out.

use std::path::PathBuf;
use std::time::Duration;

use aldis_wire::edge::{Reach, Status};
use aldis_wire::id::{HostId, PeerId};
use aldis_wire::refusal::Refusal;
use ed25519_dalek::SigningKey;

/// Where to go and as whom.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Gateways, tried in this order: `ws`, `wss`, `http` or `https` URLs; without a path, `/v1` is meant.
    pub urls: Vec<String>,
    /// A PEM file with the only authorities to trust for `wss`, instead of the world's.
    pub authority: Option<PathBuf>,
    /// Come as the owner of this key; otherwise as a peer that the host mints.
    pub key: Option<SigningKey>,
    /// JSON text: the default for every `join`.
    pub meta: Option<String>,
    /// Seal all signals past all hosts, and take none that is not sealed (PROTOCOL.md §4.4). Needs a key.
    pub sealed: bool,
}

impl Options {
    /// A minted peer at one gateway.
    #[must_use]
    pub fn at(url: &str) -> Self {
        Self { urls: vec![url.to_owned()], ..Self::default() }
    }
}

/// Why a request or the client as a whole came to nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// No socket could be opened, or the host did not keep to the protocol.
    #[error("{url}: {why}")]
    Unreachable {
        /// The gateway.
        url: String,
        /// In words.
        why: String,
    },
    /// The host refused.
    #[error("refused ({code}): {message}")]
    Refused {
        /// Why.
        code: Refusal,
        /// In words.
        message: String,
    },
    /// Something given by the caller cannot be used.
    #[error("{0}")]
    BadInput(String),
    /// The peer does not take sealed signals, or has not told its key in time; or a broadcast was to be sealed.
    #[error("it cannot be sealed: the peer does not take sealed signals")]
    NotSealed,
    /// The client has ended.
    #[error("the client has ended")]
    Ended,
}

/// Who the edge is at the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Who {
    /// Its id.
    pub peer: PeerId,
    /// Its home.
    pub host: HostId,
    /// The network's name.
    pub network: String,
    /// The gateway it is connected to.
    pub url: String,
    /// JSON text: the STUN and TURN servers that the host offers, as in `RTCConfiguration`.
    pub ice_servers: String,
}

/// What happened at the edge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A member came, or has a new meta.
    PeerJoined {
        /// Where.
        topic: String,
        /// Who.
        peer: PeerId,
        /// JSON text.
        meta: Option<String>,
    },
    /// A member went.
    PeerLeft {
        /// Where.
        topic: String,
        /// Who.
        peer: PeerId,
        /// One of the words of PROTOCOL.md §4.2.
        reason: String,
    },
    /// A peer sent something. It has been acknowledged.
    Signal {
        /// Who.
        from: PeerId,
        /// The sender's id for it.
        id: String,
        /// Where the two met.
        topic: Option<String>,
        /// JSON text.
        data: String,
    },
    /// A peer sent something to all members of a topic. It has been acknowledged.
    Broadcast {
        /// Who.
        from: PeerId,
        /// The sender's id for it.
        id: String,
        /// Whose members it is for.
        topic: String,
        /// JSON text.
        data: String,
    },
    /// Something came that was not sealed, or not by its sender for us: hosts may have made it up. Only when sealing.
    Dropped {
        /// From whom it is said to be.
        from: PeerId,
        /// In words.
        why: &'static str,
    },
    /// The socket broke; the client tries to come back.
    SocketLost {
        /// In words.
        why: String,
    },
    /// Back in the same session: nothing was missed.
    Resumed,
    /// Back, but as a new session: forget all members. Topics have been joined again; members follow as `PeerJoined`.
    Renewed {
        /// The edge's new id, or the old one if it has a key.
        peer: PeerId,
    },
    /// The host is going away.
    Drain {
        /// When to come back, or go elsewhere.
        retry_after: Duration,
    },
    /// The host complains about something that was not a request.
    Complaint {
        /// Why.
        code: Refusal,
        /// In words.
        message: String,
    },
    /// The last event: the client will not come back.
    Closed {
        /// Why.
        why: ClientError,
    },
}

/// A member of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Who.
    pub peer: PeerId,
    /// JSON text.
    pub meta: Option<String>,
}

/// Some members of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// A random sample without the asking edge.
    pub peers: Vec<Member>,
    /// How many there are.
    pub total: u64,
}

/// What became of a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// What became of it.
    pub status: Status,
    /// Why it was refused.
    pub code: Option<Refusal>,
}

/// What became of a broadcast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tally {
    /// How far it has come.
    pub reach: Reach,
    /// Why a host refused it, or the edge's own host all of it.
    pub code: Option<Refusal>,
}
