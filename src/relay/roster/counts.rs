//! How much is in a roster.

use aldis_wire::limits::{ROSTER_MEMBERSHIPS_MAX, ROSTER_META_BYTES, ROSTER_PEERS_MAX};

use super::slots::{Entry, Kept};
use crate::relay::io::Fault;

/// See the module's text.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    pub(super) peers: usize,
    pub(super) memberships: usize,
    pub(super) meta_bytes: usize,
    /// Of proofs that are not kept in their slots.
    pub(super) proof_bytes: usize,
}

impl Counts {
    /// Bytes outside the slots.
    pub(super) fn bytes(&self) -> usize {
        self.meta_bytes + self.proof_bytes
    }

    /// An entry came (1) or went (-1).
    pub(super) fn add(&mut self, entry: Option<&Entry>, by: isize) {
        let signed = |bytes: usize| isize::try_from(bytes).unwrap_or(0) * by;
        match entry {
            Some(Entry::Peer { proof, .. }) => {
                self.peers = self.peers.saturating_add_signed(by);
                let bytes = signed(proof.as_ref().map_or(0, Kept::bytes));
                self.proof_bytes = self.proof_bytes.saturating_add_signed(bytes);
            }
            Some(Entry::Member { meta, .. }) => {
                self.memberships = self.memberships.saturating_add_signed(by);
                self.meta_bytes = self.meta_bytes.saturating_add_signed(signed(meta.len()));
            }
            _ => {}
        }
    }

    /// Whether a roster may be as large.
    ///
    /// # Errors
    /// [`Fault::OverQuota`].
    pub(super) fn check(&self) -> Result<(), Fault> {
        let over = self.peers > ROSTER_PEERS_MAX
            || self.memberships > ROSTER_MEMBERSHIPS_MAX
            || self.meta_bytes > ROSTER_META_BYTES;
        if over { Err(Fault::OverQuota) } else { Ok(()) }
    }
}
