//! Which addresses a stranger's word may have us dial at all; all of them normalised.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use crate::relay::scope::{Scope, is_inside, normalised, on_own_link, scope, usable};

/// What the operator says: our own addresses, and whether the network is his alone.
#[derive(Debug)]
pub(crate) struct Allowed {
    own: BTreeSet<SocketAddr>,
    private: bool,
}

impl Allowed {
    pub(crate) fn new(own: &[SocketAddr], private: bool) -> Self {
        Self { own: own.iter().copied().map(normalised).collect(), private }
    }

    /// Whether a hint may lead to this address.
    pub(crate) fn hinted(&self, address: SocketAddr) -> bool {
        usable(address, self.private) && !self.own.contains(&address)
    }

    /// The same of a hint that came over a link of this machine to others.
    pub(crate) fn near(&self, address: SocketAddr) -> bool {
        let own_link = on_own_link(address) && scope(address) == Scope::Private;
        (own_link || self.hinted(address)) && !self.own.contains(&address)
    }

    /// The address, if an introduction may lead there; private ones only to somebody who is `near`: behind the same router.
    pub(crate) fn introduced(&self, address: SocketAddr, near: bool) -> Option<SocketAddr> {
        let private = near && is_inside(address) && !self.own.contains(&address);
        (self.hinted(address) || private).then_some(address)
    }
}
