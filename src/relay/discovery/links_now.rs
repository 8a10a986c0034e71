//! The view of the links that decides whom to dial.

use crate::relay::io::Registration;

/// What discovery must know of the links; handed in, since another table keeps them.
#[derive(Debug)]
pub(crate) struct LinksNow<F, G> {
    /// Whether this host is not to be dialled: an admitted link leads to it, or it is barred.
    pub(crate) linked: F,
    /// Whether a link that we chose leads near this address.
    pub(crate) crowded: G,
    /// How many admitted links there are.
    pub(crate) count: usize,
    /// How many of them we dialled.
    pub(crate) chosen: usize,
    /// How many other hosts are known by their rosters.
    pub(crate) known_hosts: usize,
    /// What the DHT is to be told of us.
    pub(crate) registration: Registration,
}
