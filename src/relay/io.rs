//! The whole contract of the machine: what may happen to it, and what it may ask for.
//!
//! Inputs are told in the past tense, outputs are imperatives, notes are for logs and metrics only.
//! Nothing here knows JSON, sockets or clocks.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use aldis_wire::announcement::GoneReason;
use aldis_wire::host::{Channel, GoodbyeReason, Outcome, Role};
use aldis_wire::id::{HostId, PeerId, TopicId};
use aldis_wire::proof::Signature;
use aldis_wire::refusal::Refusal;
use bytes::Bytes;

/// A moment on the machine's clock: time since the driver's start. Monotonic, never the time of day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(pub Duration);

impl Moment {
    /// How long ago `earlier` was; zero when it is in the future.
    #[must_use]
    pub fn since(self, earlier: Moment) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl std::ops::Add<Duration> for Moment {
    type Output = Moment;

    fn add(self, duration: Duration) -> Moment {
        Moment(self.0.saturating_add(duration))
    }
}

/// Names an edge's socket; chosen by the driver, never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EdgeKey(pub u64);

/// Names a connection to another host; chosen by the driver, never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkKey(pub u64);

/// Names an attempt to reach a host; chosen by the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DialKey(pub u64);

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

/// What happened.
#[derive(Debug)]
pub enum Input {
    /// The moment named by `next_timeout` has come.
    Woken,
    /// An edge's socket is open.
    EdgeOpened {
        /// Its name from now on.
        edge: EdgeKey,
        /// Where it comes from, behind trusted proxies if there are any.
        address: IpAddr,
    },
    /// An edge asked for something.
    EdgeAsked {
        /// Who.
        edge: EdgeKey,
        /// What.
        request: Request,
    },
    /// An edge sent something that its front door could not understand.
    EdgeErred {
        /// Who.
        edge: EdgeKey,
        /// The request's id, if it could be read.
        id: Option<RequestId>,
        /// What is wrong.
        refusal: Refusal,
        /// In words, for the developer at the other end.
        message: String,
    },
    /// An edge's socket is gone. Not told for sockets that the machine closed.
    EdgeClosed {
        /// Whose.
        edge: EdgeKey,
    },
    /// A connection to another host is through TLS. It is not admitted yet.
    LinkOpened {
        /// Its name from now on.
        link: LinkKey,
        /// The key that the other side proved in the handshake.
        host: HostId,
        /// Which end we are.
        role: Role,
        /// The dial that it answers, when we are the dialler.
        dial: Option<DialKey>,
        /// Where the other side is.
        address: SocketAddr,
        /// Key material of this TLS session (`aldis_wire::host::EXPORTER_LABEL`).
        exporter: [u8; 32],
        /// Round trip of the handshake.
        rtt: Duration,
    },
    /// A frame arrived.
    LinkReceived {
        /// Over which connection.
        link: LinkKey,
        /// On which stream.
        channel: Channel,
        /// The frame's kind number.
        kind: u8,
        /// The frame's body.
        body: Bytes,
    },
    /// Bytes that the machine had sent were taken by the transport.
    LinkSent {
        /// Over which connection.
        link: LinkKey,
        /// On which stream.
        channel: Channel,
        /// Frame bytes, headers included.
        bytes: usize,
    },
    /// Round trip and address of a connection as they are now.
    LinkMeasured {
        /// Which connection.
        link: LinkKey,
        /// Round trip.
        rtt: Duration,
        /// Where the other side is now.
        address: SocketAddr,
    },
    /// A connection is gone. Not told for connections that the machine closed.
    LinkClosed {
        /// Which.
        link: LinkKey,
        /// In words.
        reason: String,
    },
    /// A dial came to nothing.
    DialFailed {
        /// Which.
        dial: DialKey,
        /// Why.
        failure: DialFailure,
    },
    /// Addresses at which there may be hosts of our network.
    HintsFound {
        /// Who says so.
        source: HintSource,
        /// Where.
        hints: Vec<Hint>,
    },
    /// A look-up is over.
    LookUpEnded {
        /// Whether the DHT answered; otherwise what is wrong, in words.
        outcome: Result<(), String>,
    },
    /// Our announcement to the DHT is over.
    RegistrationEnded {
        /// Whether the DHT took it; otherwise what is wrong, in words.
        outcome: Result<(), String>,
    },
    /// What the process has used of the machine's processors lately.
    LoadMeasured {
        /// 100 is one core.
        percent: u16,
    },
    /// The operator asked the host to end.
    ShutdownAsked,
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
            | Self::Signal { id, .. } => Some(id),
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

/// Where a hint comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HintSource {
    /// The operator names it. Always tried, for ever.
    Static,
    /// Known from an earlier run.
    Cache,
    /// A stranger says so.
    Dht,
    /// A host record says so.
    Record,
}

/// A place at which there may be a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hint {
    /// Its QUIC address.
    pub address: SocketAddr,
    /// Which host should answer there, if known.
    pub host: Option<HostId>,
}

/// Why a dial came to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DialFailure {
    /// Nobody answered in time.
    TimedOut,
    /// It speaks for another network or protocol version (ALPN).
    OtherNetwork,
    /// Another host than the expected one answered.
    OtherHost,
    /// Anything else, in words.
    Failed(String),
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Tell an edge.
    TellEdge {
        /// Whom.
        edge: EdgeKey,
        /// What.
        event: Event,
    },
    /// Send what was told, then close the socket.
    CloseEdge {
        /// Whose.
        edge: EdgeKey,
    },
    /// Send a frame. Order is kept within a channel. Report it by `LinkSent` when the transport has taken it.
    Send {
        /// Over which connection.
        link: LinkKey,
        /// On which stream.
        channel: Channel,
        /// Header and body.
        frame: Bytes,
    },
    /// Finish the streams, wait at most 2 s for them to arrive, then close the connection.
    CloseLink {
        /// Which.
        link: LinkKey,
        /// Becomes the connection's error code.
        reason: GoodbyeReason,
    },
    /// Allow more streams and larger frames: the other side is admitted.
    WidenLink {
        /// Which.
        link: LinkKey,
    },
    /// Try to reach a host, for at most 5 s.
    Dial {
        /// Name of the attempt.
        dial: DialKey,
        /// Where.
        address: SocketAddr,
        /// Who must answer, if known.
        host: Option<HostId>,
    },
    /// Ask the DHT who is at the network's rendezvous key.
    LookUp,
    /// Tell the DHT that we are at the network's rendezvous key.
    Register,
    /// Keep for the next start.
    Store(Stored),
    /// End the process: everything that had to be said was handed over.
    Stop {
        /// Whether it was asked for; otherwise why the host cannot go on.
        reason: StopReason,
    },
}

/// What outlives a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stored {
    /// Our own epoch. The next start takes a higher one.
    Epoch(u64),
    /// Where hosts were last seen, best first.
    Hints(Vec<Hint>),
    /// The newest (epoch, seq) heard of each origin, against replays.
    Marks(Vec<(HostId, u64, u64)>),
}

/// Why the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// The operator asked.
    Asked,
    /// Another host runs with our key.
    KeyInUse,
}

/// What is worth a log line or a count. Never steers anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// A session began or went on.
    SessionOpened {
        /// Whose.
        peer: PeerId,
        /// Whether an older session goes on.
        resumed: bool,
    },
    /// A session is over.
    SessionEnded {
        /// Whose.
        peer: PeerId,
        /// Why.
        reason: GoneReason,
    },
    /// An edge was refused something.
    EdgeRefused {
        /// Why.
        refusal: Refusal,
    },
    /// A signal got its receipt. Counted at the sender's home.
    SignalEnded {
        /// What became of it.
        outcome: Outcome,
        /// Whether its target was at home here too.
        local: bool,
    },
    /// A signal was handed on towards another host.
    SignalPassedOn,
    /// A link is admitted both ways.
    LinkAdmitted {
        /// With whom.
        host: HostId,
        /// Where.
        address: SocketAddr,
        /// Which end we are.
        role: Role,
    },
    /// A connection was not admitted, or an admitted one is gone.
    LinkEnded {
        /// With whom.
        host: HostId,
        /// Whether it had been admitted.
        admitted: bool,
        /// In words.
        reason: String,
    },
    /// Another host broke the protocol.
    Misbehaved {
        /// Who.
        host: HostId,
        /// How.
        fault: Fault,
    },
    /// A dial came to nothing.
    DialFailed {
        /// Where.
        address: SocketAddr,
        /// Why.
        failure: DialFailure,
    },
    /// A look-up in the DHT, or a registration, is over.
    DhtAnswered {
        /// Whether it was a registration.
        registration: bool,
        /// Otherwise what is wrong.
        outcome: Result<(), String>,
    },
    /// A host's roster is known from now on.
    HostAppeared {
        /// Whose.
        host: HostId,
        /// Its epoch.
        epoch: u64,
    },
    /// A host's roster is not shown any more.
    HostExpired {
        /// Whose.
        host: HostId,
    },
    /// A host's roster is refused until its next epoch.
    HostQuarantined {
        /// Whose.
        host: HostId,
        /// Why.
        fault: Fault,
    },
    /// We announced a change.
    Announced {
        /// Ops in it; 0 for a heartbeat.
        ops: usize,
    },
    /// An announcement of another host arrived.
    AnnouncementReceived {
        /// Whether it was new.
        new: bool,
    },
    /// We catch up on a host's roster.
    CaughtUp {
        /// Whose.
        host: HostId,
        /// How.
        by: CatchUp,
    },
}

/// How a replica was brought up to date.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CatchUp {
    /// By asking for the announcements that were missing.
    Graft,
    /// By comparing digests.
    Digest,
}

/// How a host broke the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// A frame that cannot be read, or is beyond its bound.
    BadFrame,
    /// A frame on a channel where it does not belong, or before admission.
    OutOfOrder,
    /// The admission proof is wrong: another genesis key.
    WrongProof,
    /// No Hello within the deadline.
    NoHello,
    /// A signature does not verify.
    BadSignature,
    /// The digest does not fit the ops.
    WrongDigest,
    /// An op that its roster does not allow.
    BadOp,
    /// A proof does not fit its peer.
    BadProof,
    /// More entries, bytes or ops than an origin may have.
    OverQuota,
    /// An epoch that is over.
    Replayed,
    /// A signal whose sender is not at home at the link's host.
    ForeignSender,
    /// A sealed frame that does not open.
    Unsealable,
}

/// What `Relay::handle` fills. Emptied by the driver after each call, so its size is bounded by one input's effects.
#[derive(Debug, Default)]
pub struct Outbox {
    /// In the order in which they must be done.
    pub outputs: Vec<Output>,
    /// In the order in which they came to be known.
    pub notes: Vec<Note>,
}

impl Outbox {
    /// Asks the driver for something.
    pub fn push(&mut self, output: Output) {
        self.outputs.push(output);
    }

    /// Tells an edge something.
    pub fn tell(&mut self, edge: EdgeKey, event: Event) {
        self.outputs.push(Output::TellEdge { edge, event });
    }

    /// Leaves a note.
    pub fn note(&mut self, note: Note) {
        self.notes.push(note);
    }
}
