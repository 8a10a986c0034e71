//! What edges ask for and are told.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use aldis_wire::announcement::GoneReason;
use aldis_wire::host::Outcome;
use aldis_wire::id::{PeerId, TopicId};
use aldis_wire::proof::Signature;
use aldis_wire::refusal::Refusal;
use bytes::Bytes;

/// An id that an edge chose for a request: 1 to 64 bytes, checked by the front door.
pub type RequestId = Arc<str>;

/// A topic as a front door names it: the salted hash, and the text to use towards this edge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// What other hosts see.
    pub id: TopicId,
    /// What the edge calls it; never leaves this host.
    pub name: Arc<str>,
}

/// What an edge asks for. Limits of size were checked by the front door.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// The first request on a socket.
    Hello(Hello),
    /// Become a member, or replace the membership's meta.
    Join {
        /// Echoed.
        id: RequestId,
        /// Where.
        topic: Topic,
        /// Shown to other members; `None` for the session's default.
        meta: Option<Bytes>,
        /// Not to be told who comes and goes, unless by watching: for doors whose clients have no word for it.
        quiet: bool,
    },
    /// End a membership.
    Leave {
        /// Echoed.
        id: RequestId,
        /// Where.
        topic: Topic,
    },
    /// See who comes and goes without being a member.
    Watch {
        /// Echoed.
        id: RequestId,
        /// Where.
        topic: Topic,
    },
    /// End watching.
    Unwatch {
        /// Echoed.
        id: RequestId,
        /// Where.
        topic: Topic,
    },
    /// A sample of members.
    Discover {
        /// Echoed.
        id: RequestId,
        /// Where.
        topic: Topic,
        /// How many at most.
        limit: usize,
    },
    /// Send something to a peer.
    Signal {
        /// Echoed in the receipt; unique per peer for 120 s.
        id: RequestId,
        /// Whom.
        to: PeerId,
        /// Where the two met.
        topic: Option<TopicId>,
        /// Opaque.
        data: Bytes,
    },
    /// Send something to all other members of a topic. Whoever knows the topic's name may.
    Broadcast {
        /// Echoed in the tally; unique among the peer's broadcasts for 120 s.
        id: RequestId,
        /// Whose members.
        topic: Topic,
        /// Opaque.
        data: Bytes,
        /// Whether the sender, if it is a member, is told as well: in the order in which the other members of its home
        /// are.
        echo: bool,
    },
    /// Everything up to this seq has arrived.
    Ack {
        /// Cumulative.
        seq: u64,
    },
    /// Is anybody there?
    Ping,
    /// End the session.
    Bye,
}

impl Request {
    /// The id to echo, for requests that have one.
    #[must_use]
    pub fn id(&self) -> Option<&RequestId> {
        match self {
            Self::Join { id, .. }
            | Self::Leave { id, .. }
            | Self::Watch { id, .. }
            | Self::Unwatch { id, .. }
            | Self::Discover { id, .. }
            | Self::Signal { id, .. }
            | Self::Broadcast { id, .. } => Some(id),
            Self::Hello(_) | Self::Ack { .. } | Self::Ping | Self::Bye => None,
        }
    }
}

/// How an edge introduces itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// As whom.
    pub identity: Identity,
    /// Meta of memberships that state none; empty for none.
    pub meta: Bytes,
}

/// As whom an edge comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// As a peer that the host mints.
    Minted,
    /// As the owner of a key.
    Keyed {
        /// The public key.
        peer: PeerId,
        /// The claim's counter.
        counter: u64,
        /// The key to which payloads may be sealed.
        sealing: Option<[u8; 32]>,
        /// The claim's signature.
        claim: Signature,
        /// The signature of the greeting's challenge.
        answer: Signature,
    },
    /// As the session that it was before its socket broke.
    Resumed {
        /// The token of the last `welcome`.
        token: Token,
        /// The last seq that the edge has seen.
        seq: u64,
    },
}

/// Restores a session after its socket broke. Secret.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub [u8; 32]);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(hidden)")
    }
}

/// What an edge is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The socket is taken; sign this if you come with a key.
    Greeting {
        /// Fresh for this socket.
        challenge: [u8; 32],
    },
    /// The session stands.
    Welcome(Welcome),
    /// Answer to `Join`.
    Joined(Sample),
    /// Answer to `Watch`.
    Watching(Sample),
    /// Answer to `Discover`.
    Peers(Sample),
    /// Answer to `Leave`.
    Left {
        /// As asked.
        id: RequestId,
        /// As asked.
        topic: Arc<str>,
    },
    /// Answer to `Unwatch`.
    Unwatched {
        /// As asked.
        id: RequestId,
        /// As asked.
        topic: Arc<str>,
    },
    /// A member came, or has a new meta.
    PeerJoined {
        /// Place in the session's sequence.
        seq: u64,
        /// Where.
        topic: Arc<str>,
        /// Who.
        member: Member,
    },
    /// A member went.
    PeerLeft {
        /// Place in the session's sequence.
        seq: u64,
        /// Where.
        topic: Arc<str>,
        /// Who.
        peer: PeerId,
        /// Why.
        reason: LeftReason,
    },
    /// A peer sends something.
    Signal {
        /// Place in the session's sequence.
        seq: u64,
        /// The sender's id for it.
        id: RequestId,
        /// Stamped by the homes.
        from: PeerId,
        /// Where the two met, if this edge knows the topic.
        topic: Option<Arc<str>>,
        /// Opaque.
        data: Bytes,
    },
    /// What became of a signal.
    Receipt {
        /// Place in the session's sequence.
        seq: u64,
        /// The signal's id.
        id: RequestId,
        /// What became of it.
        outcome: Outcome,
    },
    /// A peer sends something to all members of a topic.
    Broadcast {
        /// Place in the session's sequence.
        seq: u64,
        /// The sender's id for it.
        id: RequestId,
        /// Stamped by the hosts.
        from: PeerId,
        /// Whose members it is for.
        topic: Arc<str>,
        /// Opaque.
        data: Bytes,
    },
    /// What became of a broadcast.
    Tally {
        /// Place in the session's sequence.
        seq: u64,
        /// The broadcast's id.
        id: RequestId,
        /// How far it has come.
        reach: Reach,
    },
    /// Answer to `Ping`.
    Pong,
    /// The host is going away.
    Drain {
        /// When to come back, spread so that not everybody comes at once.
        retry_after: Duration,
        /// Gateways of other hosts.
        gateways: Vec<String>,
    },
    /// A request was refused; without `id`, the socket or the session.
    Error {
        /// The request's id.
        id: Option<RequestId>,
        /// Why.
        refusal: Refusal,
        /// In words; the refusal's own sentence when empty.
        message: String,
        /// The counter that the host knows, with `ClaimOld`.
        known: Option<u64>,
        /// When it is worth trying again.
        retry_after: Option<Duration>,
    },
}

impl Event {
    /// Its place in the session's sequence, for events that wait to be acknowledged.
    #[must_use]
    pub fn seq(&self) -> Option<u64> {
        match self {
            Self::PeerJoined { seq, .. }
            | Self::PeerLeft { seq, .. }
            | Self::Signal { seq, .. }
            | Self::Receipt { seq, .. }
            | Self::Broadcast { seq, .. }
            | Self::Tally { seq, .. } => Some(*seq),
            Self::Greeting { .. }
            | Self::Welcome(_)
            | Self::Joined(_)
            | Self::Watching(_)
            | Self::Peers(_)
            | Self::Left { .. }
            | Self::Unwatched { .. }
            | Self::Pong
            | Self::Drain { .. }
            | Self::Error { .. } => None,
        }
    }
}

/// Answer to `Hello`. What is the same for all edges (host, network, limits) the front door adds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// Who the edge is.
    pub peer: PeerId,
    /// Names the session in logs.
    pub session: u64,
    /// For the next `Hello` after a broken socket.
    pub token: Token,
    /// Whether an older session goes on.
    pub resumed: bool,
    /// Gateways of other hosts.
    pub gateways: Vec<String>,
    /// STUN servers of the network, for the edge's `RTCConfiguration`; nearest first.
    pub stun: Vec<SocketAddr>,
}

/// How far a broadcast has come: hosts with members of the topic, and members.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// Hosts that put it into the queues of members.
    pub taken: u64,
    /// Hosts at which nobody has it or will have it.
    pub refused: u64,
    /// Hosts of which nobody can say.
    pub unknown: u64,
    /// Members who have it in their queues.
    pub members: u64,
    /// Members who miss it, because they do not acknowledge what they are sent.
    pub missed: u64,
    /// Why a host refused it, the first that did; or why our own host refused all of it.
    pub code: Option<Refusal>,
}

/// Some members of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The request's id.
    pub id: RequestId,
    /// Where.
    pub topic: Arc<str>,
    /// A random sample without the asking edge, spread over their homes.
    pub members: Vec<Member>,
    /// How many members there are without the asking edge.
    pub total: usize,
}

/// A member of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Who.
    pub peer: PeerId,
    /// What it says of itself; empty for nothing.
    pub meta: Bytes,
}

/// Why a member is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LeftReason {
    /// It left the topic.
    Left,
    /// Its session is over for this reason.
    Gone(GoneReason),
    /// Its host is not heard of any more.
    HostLost,
}
