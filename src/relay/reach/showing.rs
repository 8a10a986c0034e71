//! What an operator sees of where we are, with the evidence.

use aldis_wire::host::Nat;

use super::Reach;
use super::checks::{Check, Standing};
use super::observers::Kind;
use crate::relay::io::{CheckTarget, Moment};
use crate::relay::view::{ObserverView, PlaceState, PlaceView, ReachView};

impl Reach {
    /// What an operator may see.
    #[must_use]
    pub(crate) fn view(&self, now: Moment, alone: bool) -> ReachView {
        let observers = self.observers.iter().map(|(link, observer)| ObserverView {
            link,
            host: observer.host,
            at: observer.at,
            dialled: observer.dialled,
            sees: observer.sees,
            age: now.since(observer.since),
        });
        let whereabouts = self.whereabouts();
        let mut places: Vec<PlaceView> = self
            .checks
            .iter()
            .map(|(target, check)| PlaceView {
                target: target.clone(),
                published: match target {
                    CheckTarget::Links(address) => whereabouts.addresses.contains(address),
                    CheckTarget::OtherPort(_) => false,
                    CheckTarget::Stun(address) => whereabouts.stun.contains(address),
                    CheckTarget::Gateway(url) => whereabouts.gateways.contains(url),
                },
                state: state(now, check),
            })
            .collect();
        // What the operator gives and nobody may try.
        for url in self.gateways.iter().filter(|url| self.checks.find(&CheckTarget::Gateway((*url).clone())).is_none())
        {
            let why = "only a public address is tried by others";
            places.push(PlaceView {
                target: CheckTarget::Gateway(url.clone()),
                published: whereabouts.gateways.contains(url),
                state: PlaceState::Unverified { why },
            });
        }
        ReachView {
            nat: self.nat,
            evidence: self.evidence(),
            behind_two: self.links_mappings_lie(),
            observers: observers.collect(),
            local: self.local.clone(),
            mapped: self.mapped.clone(),
            dht: self.dht,
            addresses: whereabouts.addresses,
            candidates: whereabouts.candidates,
            gateways: whereabouts.gateways,
            stun: whereabouts.stun,
            places,
            registration: self.registration(alone),
        }
    }

    /// Why the NAT is called what it is.
    fn evidence(&self) -> &'static str {
        match (self.nat, self.kind) {
            (Nat::Open, _) => "we were reached from outside",
            (Nat::Restricted, Kind::Direct) => "nothing changes our address, and a neighbour's other port reached us",
            (Nat::Restricted, _) => "two neighbours see one address, and another port of one of them reached us",
            (Nat::PortRestricted, Kind::Direct) => {
                "nothing changes our address, and a neighbour's other port did not reach us"
            }
            (Nat::PortRestricted, _) => {
                "two neighbours see one address, and another port of one of them did not reach us"
            }
            (Nat::Symmetric, _) => "two neighbours see us at different addresses or ports",
            (Nat::Unknown, Kind::Unknown) => "fewer than two neighbours whom we dialled see us from outside",
            (Nat::Unknown, _) => "no neighbour has tried to reach us from another port yet",
        }
    }

    /// Whether a router says to be seen where nobody sees us: then there is another one behind it.
    fn links_mappings_lie(&self) -> bool {
        !self.mapped.is_empty() && self.mapped.iter().all(|mapping| !self.is_seen_at(mapping.outside.ip()))
    }
}

fn state(now: Moment, check: &Check) -> PlaceState {
    match check.standing {
        Standing::Reached { by, at } => PlaceState::Verified { by, age: now.since(at) },
        Standing::NotReached { by, at } => PlaceState::NotReached { by, age: now.since(at) },
        Standing::Untried => PlaceState::Unverified { why: check.why() },
    }
}
