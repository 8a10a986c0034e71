//! Where this host is, as seen from outside, and how others try to reach it.

use std::net::SocketAddr;

/// Names an attempt to reach another host for its own sake; chosen by the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CheckKey(pub u64);

/// What of a host is tried.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CheckTarget {
    /// Its UDP port for links, from ours: a QUIC handshake in which exactly that host proves its key.
    Links(SocketAddr),
    /// The same from a UDP port that was never used before.
    OtherPort(SocketAddr),
    /// Its UDP port for STUN: an answer to a Binding request.
    Stun(SocketAddr),
    /// Its gateway, at this URL: a WebSocket whose greeting names that host.
    Gateway(String),
}

/// How a router was asked to let others in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MappingProtocol {
    /// Port Control Protocol (RFC 6887).
    Pcp,
    /// NAT Port Mapping Protocol (RFC 6886).
    NatPmp,
    /// UPnP Internet Gateway Device.
    Upnp,
}

impl MappingProtocol {
    /// Its name, for people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pcp => "PCP",
            Self::NatPmp => "NAT-PMP",
            Self::Upnp => "UPnP",
        }
    }
}

/// What a port of a router leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mapped {
    /// The UDP port for links.
    Links,
    /// The TCP port of the gateway.
    Gateway,
}

impl Mapped {
    /// For operators and for metrics.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Links => "links",
            Self::Gateway => "gateway",
        }
    }
}

/// A port that a router lets through to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mapping {
    /// As the router says it is seen from outside. Behind a second NAT that is not true.
    pub outside: SocketAddr,
    /// How it was asked.
    pub protocol: MappingProtocol,
    /// What it leads to.
    pub of: Mapped,
}

impl CheckTarget {
    /// For logs and metrics.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Links(_) => "links",
            Self::OtherPort(_) => "other_port",
            Self::Stun(_) => "stun",
            Self::Gateway(_) => "gateway",
        }
    }

    /// The address, unless it is a URL.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Links(address) | Self::OtherPort(address) | Self::Stun(address) => Some(*address),
            Self::Gateway(_) => None,
        }
    }
}

impl std::fmt::Display for CheckTarget {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Links(address) => write!(formatter, "{address} for links"),
            Self::OtherPort(address) => write!(formatter, "{address} from another port"),
            Self::Stun(address) => write!(formatter, "{address} for STUN"),
            Self::Gateway(url) => write!(formatter, "{url}"),
        }
    }
}

/// What the DHT is to be told of us.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Registration {
    /// Nothing: nobody has reached us from outside.
    #[default]
    Nothing,
    /// This UDP port.
    Port(u16),
    /// The port that its nodes see.
    Implied,
}
