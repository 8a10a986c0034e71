//! Which hosts an operator wants, and why a host is kept out.

use std::collections::BTreeSet;

use aldis_wire::id::HostId;

/// The hosts that an operator lists. The default keeps nobody out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostLists {
    /// The only hosts that may be here; `None` for all. Our own id is in it.
    pub allow: Option<BTreeSet<HostId>>,
    /// Hosts that may not. Our own id is not in it.
    pub deny: BTreeSet<HostId>,
}

impl HostLists {
    /// Why these lists keep a host out, if they do. Who is denied is denied, also when it is allowed.
    #[must_use]
    pub fn keep_out(&self, host: HostId) -> Option<Bar> {
        if self.deny.contains(&host) {
            return Some(Bar::Denied);
        }
        let listed = self.allow.as_ref().is_none_or(|allow| allow.contains(&host));
        (!listed).then_some(Bar::Unlisted)
    }
}

/// Why a host is barred: there is no link with it, and nothing of it is taken, shown or passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Bar {
    /// It is on the operator's list of those who may not be here.
    Denied,
    /// The operator lists who may be here, and it is not among them.
    Unlisted,
    /// Its identity is revoked.
    Revoked,
}
