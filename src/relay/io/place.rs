//! Where hosts may be, and how an attempt to reach one ends.

use std::net::SocketAddr;

use aldis_wire::id::HostId;

/// Names an attempt to reach a host; chosen by the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DialKey(pub u64);

/// Where a hint comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HintSource {
    /// The operator names it. Always tried, for ever.
    Static,
    /// Known from an earlier run.
    Cache,
    /// A name in DNS that the operator chose says so. Whoever owns the name, or stands between, may write there what he
    /// likes: public addresses only, and not more often than for strangers; but its dials are its own, so that no flood of
    /// strangers' hints delays it.
    Dns,
    /// A host on one of this machine's links says that it is there. Its addresses may be private; it must be named, and
    /// must be the one that answers.
    Lan,
    /// A stranger says so.
    Dht,
    /// A host record says so.
    Record,
}

/// A place at which there may be a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hint {
    /// Its QUIC address.
    pub address: SocketAddr,
    /// Which host should answer there, if known.
    pub host: Option<HostId>,
}

/// Why a dial came to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DialFailure {
    /// Nobody answered in time.
    TimedOut,
    /// It speaks for another network or protocol version (ALPN).
    OtherNetwork,
    /// Another host than the expected one answered.
    OtherHost,
    /// Anything else, in words.
    Failed(String),
}
