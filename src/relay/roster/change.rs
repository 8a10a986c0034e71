//! What applying ops did to a roster.

use aldis_wire::announcement::GoneReason;

use super::slots::{Kept, Recorded, Slot};

/// Something that changed in a roster, with what is needed to take it back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// A new record.
    Record {
        /// The one before.
        old: Option<Box<Recorded>>,
    },
    /// A peer is present, or has another proof.
    Present {
        /// Who.
        slot: Slot,
        /// The proof before.
        old: Option<Kept>,
    },
    /// A peer and its memberships are gone.
    Gone {
        /// Who it was.
        slot: Slot,
        /// Why.
        reason: GoneReason,
    },
    /// A peer is a member, or has another meta.
    Joined {
        /// The membership.
        slot: Slot,
        /// The meta before, if it was a member.
        old: Option<Box<[u8]>>,
    },
    /// A peer is not a member any more.
    Left {
        /// The membership that was.
        slot: Slot,
    },
}
