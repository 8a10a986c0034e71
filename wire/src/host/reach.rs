//! How hosts learn where they are, and how a common neighbour brings two of them together (PROTOCOL.md §11).

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::codec::{self, CodecError, at_most};
use crate::id::HostId;
use crate::limits::{CANDIDATES_MAX, GATEWAY_URL_BYTES};

/// What stands between a host and those who dial it, as far as it knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Nat {
    /// Not known yet.
    #[default]
    Unknown,
    /// Hosts that it never sent anything to have reached it.
    Open,
    /// One outside address for all, open to addresses that it has sent to, whatever their port.
    Restricted,
    /// One outside address for all, open to exactly the addresses and ports that it has sent to.
    PortRestricted,
    /// Another outside port for each address that it sends to.
    Symmetric,
}

impl Nat {
    /// Every kind there is.
    pub const ALL: [Self; 5] = [Self::Unknown, Self::Open, Self::Restricted, Self::PortRestricted, Self::Symmetric];

    /// Whether two hosts behind these can reach each other when both dial at one moment. What is not known is worth a try.
    #[must_use]
    pub fn may_meet(self, other: Self) -> bool {
        let closed = |nat| matches!(nat, Self::PortRestricted | Self::Symmetric);
        !(self == Self::Symmetric && closed(other) || other == Self::Symmetric && closed(self))
    }

    /// For people and for metrics.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Open => "open",
            Self::Restricted => "restricted",
            Self::PortRestricted => "port_restricted",
            Self::Symmetric => "symmetric",
        }
    }
}

/// To a neighbour: bring me together with that host. From it: that host asks to be brought together with you. Whoever is
/// asked so and is willing answers in the same words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Introduce {
    /// The other host.
    pub host: HostId,
    /// What stands before the host that wants to be introduced.
    pub nat: Nat,
    /// Where it may be reached; at most [`CANDIDATES_MAX`]. Empty when a neighbour passes the wish on.
    #[serde(deserialize_with = "codec::list::<_, _, CANDIDATES_MAX>")]
    pub candidates: Vec<SocketAddr>,
}

/// From the neighbour that both have: dial now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Punch {
    /// Whom.
    pub host: HostId,
    /// What stands before it.
    pub nat: Nat,
    /// Where; at most [`CANDIDATES_MAX`], those that the neighbour lets pass.
    #[serde(deserialize_with = "codec::list::<_, _, CANDIDATES_MAX>")]
    pub candidates: Vec<SocketAddr>,
    /// When, in milliseconds after this has arrived, so that both begin at one moment.
    pub after_ms: u16,
}

/// Why two hosts are not brought together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum NotIntroducedReason {
    /// The neighbour has no link with that host.
    NotLinked,
    /// That host does not want to.
    Unwilling,
    /// What stands before the two cannot be crossed.
    Hopeless,
    /// Too much was asked.
    TooOften,
}

/// The answer to an [`Introduce`] that comes to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotIntroduced {
    /// The host that was to be met.
    pub host: HostId,
    /// Why.
    pub why: NotIntroducedReason,
}

/// Something of a host that others are to reach.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    /// Its UDP port for links, tried by a host with which it never spoke.
    Links {
        /// As seen from outside.
        port: u16,
    },
    /// The same, tried by the neighbour itself from another port than that of the link.
    OtherPort {
        /// As seen from outside.
        port: u16,
    },
    /// Its UDP port for STUN.
    Stun {
        /// As seen from outside.
        port: u16,
    },
    /// A URL of its gateway.
    Gateway {
        /// `ws` or `wss`.
        url: String,
    },
}

/// To a neighbour: have somebody try whether this can be reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verify {
    /// Chosen by the sender, for the answer.
    pub number: u32,
    /// What.
    pub place: Place,
}

/// From a neighbour: try whether this of another host can be reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DialBack {
    /// Chosen by the sender, for the answer.
    pub number: u32,
    /// Whose key must answer.
    pub host: HostId,
    /// Where the sender sees that host. Nothing is tried elsewhere.
    pub address: IpAddr,
    /// What.
    pub place: Place,
}

/// What a try came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Verdict {
    /// It answered, as that host.
    Reached,
    /// It did not.
    NotReached,
    /// There is nobody who could try.
    Nobody,
    /// Too much was asked.
    TooOften,
}

/// The answer to a [`Verify`] and to a [`DialBack`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    /// As asked.
    pub number: u32,
    /// What it came to.
    pub verdict: Verdict,
}

impl Place {
    pub(super) fn check(&self) -> Result<(), CodecError> {
        match self {
            Self::Gateway { url } => at_most(url.len(), GATEWAY_URL_BYTES),
            Self::Links { port } | Self::OtherPort { port } | Self::Stun { port } if *port == 0 => {
                Err(CodecError::Malformed)
            }
            Self::Links { .. } | Self::OtherPort { .. } | Self::Stun { .. } => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_changes_its_port_for_each_meets_only_those_who_do_not_ask_for_a_port() {
        let hopeless = |one: Nat, other: Nat| {
            let symmetric = one == Nat::Symmetric || other == Nat::Symmetric;
            let closed = |nat| nat == Nat::Symmetric || nat == Nat::PortRestricted;
            symmetric && closed(one) && closed(other)
        };
        for one in Nat::ALL {
            for other in Nat::ALL {
                assert_eq!(one.may_meet(other), !hopeless(one, other), "{one:?} {other:?}");
            }
        }
    }
}
