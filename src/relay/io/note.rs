//! What is worth a log line or a count.

use std::net::SocketAddr;

use aldis_wire::announcement::GoneReason;
use aldis_wire::host::{GoodbyeReason, Nat, NotIntroducedReason, Outcome, Role};
use aldis_wire::id::{HostId, PeerId};
use aldis_wire::refusal::Refusal;

use super::bar::Bar;
use super::edge::Reach;
use super::place::DialFailure;
use super::reach::CheckTarget;

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
    /// A broadcast got its tally. Told at the sender's home.
    BroadcastEnded {
        /// How far it has come.
        reach: Reach,
    },
    /// A broadcast was put into the queues of members here.
    BroadcastSpread {
        /// Of so many.
        members: u32,
        /// So many had no room.
        missed: u32,
    },
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
    /// There is no link with a host, because of who it is or because of who we are.
    LinkRefused {
        /// With whom.
        host: HostId,
        /// `NotAllowed` or `Revoked`.
        reason: GoodbyeReason,
        /// Whether it is we who refuse it.
        by_us: bool,
    },
    /// A host is kept out from now on, and everything of it is gone.
    HostBarred {
        /// Who.
        host: HostId,
        /// Why.
        bar: Bar,
    },
    /// A revocation was not kept: there is no room for one more of a host that was never heard of here.
    RevocationDropped {
        /// Of whom.
        host: HostId,
    },
    /// Our own id was heard under our signature in words that we never said: another host runs with our key, or we have
    /// forgotten a former life. We take a higher epoch.
    KeySeen {
        /// Under which epoch.
        epoch: u64,
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
    /// A look-up of the names in DNS at which hosts are listed is over.
    SeedsAnswered {
        /// What is wrong, if anything.
        outcome: Result<(), String>,
    },
    /// A host to which a common neighbour introduces us is dialled, or what came of that.
    Punched {
        /// Which host.
        host: HostId,
        /// What stands before us, and before that host.
        nats: (Nat, Nat),
        /// What came of it.
        outcome: PunchOutcome,
    },
    /// A common neighbour does not bring us together with a host.
    NotIntroduced {
        /// With which.
        host: HostId,
        /// Why.
        why: NotIntroducedReason,
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
    /// A neighbour has asked for more than it may: its question goes unanswered.
    QuestionDropped {
        /// Who.
        host: HostId,
    },
    /// Others see us at another address than before.
    AddressChanged {
        /// Where they saw us.
        from: SocketAddr,
        /// Where they see us.
        to: SocketAddr,
    },
    /// What stands between us and those who dial us is known, or another than before.
    NatFound {
        /// What.
        nat: Nat,
    },
    /// A place of ours was reached from outside, for the first time or after it was not.
    Reached {
        /// What.
        target: CheckTarget,
        /// The neighbour that tells, or the host that came.
        by: HostId,
    },
    /// A place of ours was not reached from outside, twice in a row.
    NotReached {
        /// What.
        target: CheckTarget,
        /// The neighbour that tells.
        by: HostId,
    },
    /// We catch up on a host's roster.
    CaughtUp {
        /// Whose.
        host: HostId,
        /// How.
        by: CatchUp,
    },
}

/// How far two hosts came that dialled each other at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PunchOutcome {
    /// They dial.
    Tried,
    /// There is a link.
    Through,
    /// There is none.
    Failed,
}

impl PunchOutcome {
    /// For logs and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tried => "tried",
            Self::Through => "through",
            Self::Failed => "failed",
        }
    }
}

/// How a replica was brought up to date.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CatchUp {
    /// By asking for the announcements that were missing.
    Graft,
    /// By what stands for many of them.
    Delta,
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

impl Fault {
    /// For logs, metrics and the status page.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::BadFrame => "bad_frame",
            Self::OutOfOrder => "out_of_order",
            Self::WrongProof => "wrong_proof",
            Self::NoHello => "no_hello",
            Self::BadSignature => "bad_signature",
            Self::WrongDigest => "wrong_digest",
            Self::BadOp => "bad_op",
            Self::BadProof => "bad_proof",
            Self::OverQuota => "over_quota",
            Self::Replayed => "replayed",
            Self::ForeignSender => "foreign_sender",
            Self::Unsealable => "unsealable",
        }
    }
}
