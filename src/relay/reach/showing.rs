//! What an operator is told of where we are, in words.

use aldis_wire::host::Nat;

use super::checks::{Check, Standing};
use super::observers::{Kind, Observers};
use crate::relay::io::Moment;
use crate::relay::view::{ObserverView, PlaceState};

/// Why the NAT is called what it is.
pub(super) fn evidence(nat: Nat, kind: Kind) -> &'static str {
    match (nat, kind) {
        (Nat::Open, _) => "we were reached from outside",
        (Nat::Restricted, Kind::Direct) => "nothing changes our address, and a neighbour's other port reached us",
        (Nat::Restricted, _) => "two neighbours see one address, and another port of one of them reached us",
        (Nat::PortRestricted, Kind::Direct) => {
            "nothing changes our address, and a neighbour's other port did not reach us"
        }
        (Nat::PortRestricted, _) => "two neighbours see one address, and another port of one of them did not reach us",
        (Nat::Symmetric, _) => "two neighbours see us at different addresses or ports",
        (Nat::Unknown, Kind::Unknown) => "fewer than two neighbours whom we dialled see us from outside",
        (Nat::Unknown, _) => "no neighbour has tried to reach us from another port yet",
    }
}

/// Who sees us where.
pub(super) fn observers(now: Moment, observers: &Observers) -> Vec<ObserverView> {
    let view = |(link, observer): (_, &super::observers::Observer)| ObserverView {
        link,
        host: observer.host,
        at: observer.at,
        dialled: observer.dialled,
        sees: observer.sees,
        age: now.since(observer.since),
    };
    observers.iter().map(view).collect()
}

/// What came of the checks of a place.
pub(super) fn state(now: Moment, check: &Check) -> PlaceState {
    match check.standing {
        Standing::Reached { by, at } => PlaceState::Verified { by, age: now.since(at) },
        Standing::NotReached { by, at } => PlaceState::NotReached { by, age: now.since(at) },
        Standing::Untried => PlaceState::Unverified { why: check.why() },
    }
}
