//! Where this host is, as its own machine and the routers in front of it tell: a type, for operators.

use std::net::IpAddr;

use crate::relay::io::{Mapping, MappingProtocol};

/// What the driver knows of our own addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    /// Addresses of this machine that links come in by, those towards the internet first.
    pub local: Vec<IpAddr>,
    /// What the routers in front of it were asked, that of IPv4 first.
    pub mapping: Vec<MappingFacts>,
}

/// What came of asking a router to let others in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MappingFacts {
    /// Who was asked; `None` when nobody is.
    pub router: Option<IpAddr>,
    /// Why nobody is asked, in words.
    pub idle: Option<&'static str>,
    /// What it lets through.
    pub mapped: Vec<Mapping>,
    /// What went wrong when it was last asked, in words, by protocol.
    pub problems: Vec<(MappingProtocol, String)>,
    /// Whether the router says that it has no public address itself.
    pub no_address: bool,
}
