//! What is known while a roster is compared with a neighbour's.

use aldis_wire::digest::Hash;
use aldis_wire::host::Range;

use crate::relay::io::{LinkKey, Mark, Moment};
use crate::relay::roster::Roster;

/// Catching up with an origin by comparing digests.
#[derive(Debug)]
pub(crate) struct Comparison {
    /// Whom we ask.
    pub(crate) link: LinkKey,
    /// Our copy on its way to equality.
    pub(crate) staging: Roster,
    /// Ranges that differ and were not asked for yet, with the digest to reach.
    pub(crate) differing: Vec<(Range, Hash)>,
    /// Replies so far.
    pub(crate) rounds: u32,
    /// Those of them that brought no entries.
    pub(crate) barren: u32,
    /// Bytes of entries that came.
    pub(crate) bytes: usize,
    /// How often the whole roster was asked about.
    pub(crate) passes: u32,
    /// When it began.
    pub(crate) began: Moment,
    /// The mark of the first reply since the whole roster was asked about: everything staged is as it was then, or later.
    pub(crate) since: Option<Mark>,
    /// When the last query went out.
    pub(crate) asked: Moment,
}
