//! The whole contract of the machine: what may happen to it, and what it may ask for.
//!
//! Inputs are told in the past tense, outputs are imperatives, notes are for logs and metrics only.
//! Nothing here knows JSON, sockets or clocks.
//!
//! | module | what |
//! |---|---|
//! | here | what happened, what to do, and the names of sockets and links |
//! | [`edge`] | what edges ask for and are told |
//! | [`place`] | where hosts may be |
//! | [`reach`] | where we are ourselves, and who can reach us there |
//! | [`bar`] | which hosts may be here |
//! | [`note`] | what is worth a log line or a count |

pub mod bar;
pub mod edge;
pub mod note;
pub mod place;
pub mod reach;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU64;
use std::time::Duration;

use aldis_wire::host::{Channel, GoodbyeReason, Role};
use aldis_wire::id::HostId;
use aldis_wire::refusal::Refusal;
use aldis_wire::revocation::Revocation;
use bytes::Bytes;

pub use bar::{Bar, HostLists};
pub use edge::{Event, Hello, Identity, LeftReason, Member, Reach, Request, RequestId, Sample, Token, Topic, Welcome};
pub use note::{CatchUp, Fault, Note, PunchOutcome};
pub use place::{DialFailure, DialKey, Hint, HintSource};
pub use reach::{CheckKey, CheckTarget, Mapped, Mapping, MappingProtocol, Registration};

/// A moment on the machine's clock: time since the driver's start, to the nanosecond, for 584 years; later ones are the
/// last. Monotonic, never the time of day. Tables hold millions, so it takes eight bytes, and no more where there may be
/// none.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment {
    /// Nanoseconds since the start, and one.
    count: NonZeroU64,
}

const _: () = assert!(size_of::<Option<Moment>>() == 8);

impl Moment {
    /// That of the start.
    pub const START: Self = Self { count: NonZeroU64::MIN };

    /// That much after the start.
    #[must_use]
    pub fn new(after: Duration) -> Self {
        Self::START + after
    }

    /// How long after the start.
    #[must_use]
    pub fn time(self) -> Duration {
        self.since(Self::START)
    }

    /// How long ago `earlier` was; zero when it is in the future.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.count.get().saturating_sub(earlier.count.get()))
    }

    /// So long before, or the start.
    #[must_use]
    pub fn before(self, duration: Duration) -> Self {
        let count = self.count.get().saturating_sub(nanos(duration));
        Self { count: NonZeroU64::new(count).unwrap_or(NonZeroU64::MIN) }
    }
}

impl Default for Moment {
    fn default() -> Self {
        Self::START
    }
}

impl fmt::Debug for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Moment({:?})", self.time())
    }
}

impl std::ops::Add<Duration> for Moment {
    type Output = Moment;

    fn add(self, duration: Duration) -> Moment {
        Self { count: self.count.saturating_add(nanos(duration)) }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Names an edge's socket; chosen by the driver, never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EdgeKey(pub u64);

/// Names a connection to another host; chosen by the driver, never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkKey(pub u64);

/// How far an origin's announcements have come: epoch and seq.
pub(crate) type Mark = (u64, u64);

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
    /// Nothing at all, not even an acknowledgement, came over a connection for `limits::LINK_SILENT` while the process
    /// was awake. Told again when something came and then nothing for as long.
    LinkSilent {
        /// Which connection.
        link: LinkKey,
    },
    /// The address of ours to which the other side of a connection sends is not ours any more; or our addresses have
    /// changed, and nothing has come over it since, though it was asked for a sign of life.
    LinkStranded {
        /// Which connection.
        link: LinkKey,
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
    /// A look-up of the names in DNS at which hosts are listed is over.
    SeedLookUpEnded {
        /// Whether all of them were answered; otherwise what is wrong, in words.
        outcome: Result<(), String>,
    },
    /// Our announcement to the DHT is over.
    RegistrationEnded {
        /// Whether the DHT took it; otherwise what is wrong, in words.
        outcome: Result<(), String>,
    },
    /// What the driver knows of our own addresses, in place of all that it said before.
    PlacesFound {
        /// Addresses of this machine's interfaces, each with the UDP port for links.
        local: Vec<SocketAddr>,
        /// What routers let through to us.
        mapped: Vec<Mapping>,
        /// UDP ports at which we answer STUN.
        stun: Vec<u16>,
    },
    /// Where the nodes of the DHT see us.
    DhtSees {
        /// By their votes.
        address: SocketAddr,
        /// Whether the DHT uses the UDP port of links; otherwise only the IP address says something.
        shared: bool,
    },
    /// A check is over.
    Checked {
        /// Which.
        check: CheckKey,
        /// Whether the host answered there; otherwise what is wrong, in words.
        outcome: Result<(), String>,
    },
    /// A check was not made, since too many go on or went there lately.
    CheckLeftOut {
        /// Which.
        check: CheckKey,
    },
    /// The operator lists other hosts as allowed or denied. They never keep our own id out.
    HostsListed {
        /// In the place of all lists before.
        lists: HostLists,
    },
    /// Statements by which hosts revoked their identities.
    RevocationsFound {
        /// Those that are not rightly signed are left out.
        revocations: Vec<Revocation>,
        /// Whether an operator hands them over, or they are of hosts that were heard of here in an earlier run: they
        /// are not given up for others.
        heard: bool,
    },
    /// What the process has used of the machine's processors lately.
    LoadMeasured {
        /// 100 is one core.
        percent: u16,
    },
    /// The operator asked the host to end.
    ShutdownAsked,
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
    /// Try whether a host can be reached, for at most 5 s, and report it by `Checked`. Nothing else comes of it.
    Check {
        /// Name of the attempt.
        check: CheckKey,
        /// Who must answer.
        host: HostId,
        /// What of it.
        target: CheckTarget,
    },
    /// Our outside address has changed: ask the routers anew.
    MapAgain,
    /// Ask the DHT who is at the network's rendezvous key.
    LookUp,
    /// Ask DNS for the names at which hosts are listed.
    LookUpSeeds,
    /// Tell the DHT that we are at the network's rendezvous key.
    Register {
        /// The UDP port that others must use; `None` for the one that they see.
        port: Option<u16>,
    },
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
    /// Identities that are revoked, and whether each was heard of here.
    Revocations(Vec<(Revocation, bool)>),
}

/// Why the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// The operator asked.
    Asked,
    /// Another host runs with our key.
    KeyInUse,
    /// Our identity is revoked, by its own word.
    Revoked,
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
