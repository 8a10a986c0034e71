//! Defects that can be planted on purpose, so that the simulator can show that it would find them.
//!
//! Where the machine could be wrong it asks `planted.has(Defect::…)`. Without the feature `planted`, which the simulator
//! alone switches on, the answer is `false` at compile time and nothing of this is left in the program.

/// What a machine may be made to do wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    /// Announcements are applied without a look at the digest.
    SkipDigest,
    /// What stands for many announcements is applied without a look at the digest.
    SkipDeltaDigest,
    /// Heads are taken without a look at their signatures.
    SkipSignature,
    /// What was heard of a forgotten host counts for nothing, so that its old epochs are taken for new.
    AcceptReplay,
    /// Gaps are not asked about.
    ForgetGraft,
    /// Signals that went over a link that is gone are forgotten.
    DropOnLostLink,
    /// Repetitions of a signal are not recognised.
    SkipDedup,
    /// Signals are taken in any order.
    IgnoreOrder,
    /// The interval that a head states is believed, however long.
    TrustInterval,
    /// The age that a host on the way states is believed, however high.
    TrustAge,
    /// An edge that leaves a topic is not announced to have left.
    ForgetLeave,
    /// A session that ends is not announced to have ended.
    ForgetGone,
    /// A host that is not heard any more stays visible.
    KeepExpired,
    /// A host that had expired stays hidden.
    NeverRestore,
    /// Heartbeats are no sign of life.
    DeafToHeartbeats,
    /// A machine that slept holds the silence against everybody.
    BlameOthersForSleep,
    /// Return routes are never forgotten.
    LeakRoutes,
    /// Sessions whose edges do not come back are never ended.
    LeakSessions,
    /// A place that did not answer is dialled again at once.
    NoBackOff,
    /// More is given to a link than may be on its way.
    ExceedQueue,
    /// Signals in the name of another home's peer are taken.
    AcceptForeignSender,
    /// Receipts are believed from whoever sends them.
    BelieveAnyReceipt,
    /// Sealed frames may go back where they came from.
    RouteBack,
    /// A resumed session is not told what it missed.
    ForgetMissed,
    /// A signal counts as delivered when it is in the target's queue.
    DeliveredEarly,
    /// Of two links between the same hosts both are kept.
    KeepBothLinks,
    /// Late answers to a signal are told too.
    AnswerTwice,
    /// Signals without an answer are never given up.
    NoTimeout,
    /// Whoever says that a host is gone is believed.
    BelieveAnyLoss,
    /// A host that is said to be gone says nothing to that.
    NeverRefute,
    /// Repetitions of a broadcast are not recognised.
    RepeatBroadcasts,
    /// A broadcast counts as taken by a host when it is on its way there.
    CountEarly,
    /// Who is introduced dials at once and not when he is told to.
    PunchAtOnce,
    /// Also those are brought together who cannot reach each other.
    MeetHopeless,
}

#[cfg(feature = "planted")]
impl Defect {
    /// All of them.
    pub const ALL: [Self; 34] = [
        Self::SkipDigest,
        Self::SkipDeltaDigest,
        Self::SkipSignature,
        Self::AcceptReplay,
        Self::ForgetGraft,
        Self::DropOnLostLink,
        Self::SkipDedup,
        Self::IgnoreOrder,
        Self::TrustInterval,
        Self::TrustAge,
        Self::ForgetLeave,
        Self::ForgetGone,
        Self::KeepExpired,
        Self::NeverRestore,
        Self::DeafToHeartbeats,
        Self::BlameOthersForSleep,
        Self::LeakRoutes,
        Self::LeakSessions,
        Self::NoBackOff,
        Self::ExceedQueue,
        Self::AcceptForeignSender,
        Self::BelieveAnyReceipt,
        Self::RouteBack,
        Self::ForgetMissed,
        Self::DeliveredEarly,
        Self::KeepBothLinks,
        Self::AnswerTwice,
        Self::NoTimeout,
        Self::BelieveAnyLoss,
        Self::NeverRefute,
        Self::RepeatBroadcasts,
        Self::CountEarly,
        Self::PunchAtOnce,
        Self::MeetHopeless,
    ];
}

/// The defect that is planted in one machine, if any.
#[cfg(feature = "planted")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Planted(pub Option<Defect>);

/// No defect can be planted in this program.
#[cfg(not(feature = "planted"))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Planted;

impl Planted {
    /// Whether the machine is to be wrong in this way.
    #[cfg(feature = "planted")]
    #[must_use]
    pub fn has(self, defect: Defect) -> bool {
        self.0 == Some(defect)
    }

    /// Whether the machine is to be wrong in this way: never.
    #[cfg(not(feature = "planted"))]
    #[must_use]
    pub const fn has(self, _: Defect) -> bool {
        false
    }
}

#[cfg(not(feature = "planted"))]
const _: () = assert!(size_of::<Planted>() == 0 && !Planted.has(Defect::SkipDigest), "there is nothing to ask");
