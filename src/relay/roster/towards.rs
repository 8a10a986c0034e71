//! What is still to be done of ops that say how things end.

use std::collections::BTreeSet;

use aldis_wire::announcement::Op;

use super::Roster;

impl Roster {
    /// Those of a delta's ops that change something here: it may name what was done before, or never came to be.
    #[must_use]
    pub(crate) fn towards(&self, ops: Vec<Op>) -> Vec<Op> {
        let mut begun_anew = BTreeSet::new();
        let mut is_done = |op: &Op| match op {
            Op::Gone { peer, .. } => {
                begun_anew.insert(*peer);
                self.find(*peer).is_none()
            }
            Op::Present { peer, proof } => {
                let known = self.find(*peer).and_then(|slot| self.proof_at(slot));
                !begun_anew.contains(peer) && known.is_some_and(|known| known.is(proof))
            }
            Op::Join { topic, peer, meta } => !begun_anew.contains(peer) && self.meta(*topic, *peer) == Some(meta),
            Op::Leave { topic, peer } => self.meta(*topic, *peer).is_none(),
            Op::Record(signed) => self.record().is_some_and(|known| known.signed == *signed),
            Op::Status(_) | Op::Lost { .. } => true,
        };
        ops.into_iter().filter(|op| !is_done(op)).collect()
    }
}
