//! Hosts that are kept out, and why (PROTOCOL.md §6.7, §6.8); and origins that lied, for the operator to see.
//!
//! Anybody can make an identity and revoke it. So when the table of revocations is full, those of hosts that nobody here
//! has heard of give way to the others, and never the other way round.

use std::collections::BTreeMap;

use aldis_wire::id::HostId;
use aldis_wire::revocation::Revocation;

use super::io::{Bar, Fault, HostLists, Moment};
use super::limits::{QUARANTINES_KEPT, QUARANTINES_MAX, REVOCATIONS_KEPT_MAX};

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Barred {
    own: HostId,
    lists: HostLists,
    /// By the revoked host; true for one that was heard of here, or whose statement was handed over here.
    revoked: BTreeMap<HostId, (Revocation, bool)>,
    /// Whether there are revocations that were not given out for storing.
    unstored: bool,
    quarantines: BTreeMap<HostId, Quarantine>,
}

/// An epoch of an origin that is refused.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quarantine {
    /// Refused up to and including this one.
    pub(crate) epoch: u64,
    /// Why.
    pub(crate) fault: Fault,
    /// Since when.
    pub(crate) since: Moment,
}

impl Barred {
    /// Keeps out whom the lists keep out, and never `own`.
    #[must_use]
    pub(crate) fn new(own: HostId, lists: HostLists) -> Self {
        Self { own, lists, revoked: BTreeMap::new(), unstored: false, quarantines: BTreeMap::new() }
    }

    /// Why a host is barred, if it is.
    #[must_use]
    pub(crate) fn why(&self, host: HostId) -> Option<Bar> {
        if self.revoked.contains_key(&host) {
            return Some(Bar::Revoked);
        }
        self.lists.keep_out(host).filter(|_| host != self.own)
    }

    /// Puts other lists in the place of the present ones, which it gives back.
    pub(crate) fn set_lists(&mut self, lists: HostLists) -> HostLists {
        std::mem::replace(&mut self.lists, lists)
    }

    /// The lists in force.
    #[must_use]
    pub(crate) fn lists(&self) -> &HostLists {
        &self.lists
    }

    /// The statement by which a host is revoked.
    #[must_use]
    pub(crate) fn revocation(&self, host: HostId) -> Option<Revocation> {
        self.revoked.get(&host).map(|(revocation, _)| *revocation)
    }

    /// All statements that are kept, by host, and whether each host was heard of here.
    pub(crate) fn revocations(&self) -> impl ExactSizeIterator<Item = (Revocation, bool)> {
        self.revoked.values().copied()
    }

    /// Keeps a statement whose signature was checked, of a host that was `heard` of here or not. False if there is no
    /// room. `draw` gives a number below its argument, by chance.
    pub(crate) fn keep(&mut self, revocation: Revocation, heard: bool, draw: impl FnOnce(usize) -> usize) -> bool {
        if self.revoked.len() >= REVOCATIONS_KEPT_MAX && !self.revoked.contains_key(&revocation.host()) {
            let unheard = |(_, (_, heard)): &(&HostId, &(Revocation, bool))| !heard;
            let all_heard = self.revoked.iter().all(|kept| !unheard(&kept));
            if all_heard && !heard {
                return false;
            }
            let may_go: Vec<HostId> =
                self.revoked.iter().filter(|kept| all_heard || unheard(kept)).map(|(host, _)| *host).collect();
            if let Some(goes) = may_go.get(draw(may_go.len())) {
                self.revoked.remove(goes);
            }
        }
        self.revoked.insert(revocation.host(), (revocation, heard));
        self.unstored = true;
        true
    }

    /// Whether there are new revocations since this was last asked.
    pub(crate) fn take_unstored(&mut self) -> bool {
        std::mem::take(&mut self.unstored)
    }

    /// Forgets quarantines that are too long ago.
    pub(crate) fn tidy(&mut self, now: Moment) {
        self.quarantines.retain(|_, quarantine| now.since(quarantine.since) < QUARANTINES_KEPT);
    }

    /// Remembers why an origin is refused. Of too many the oldest are forgotten.
    pub(crate) fn quarantine(&mut self, now: Moment, host: HostId, epoch: u64, fault: Fault) {
        self.quarantines.insert(host, Quarantine { epoch, fault, since: now });
        if self.quarantines.len() > QUARANTINES_MAX
            && let Some(oldest) =
                self.quarantines.iter().min_by_key(|(_, quarantine)| quarantine.since).map(|(host, _)| *host)
        {
            self.quarantines.remove(&oldest);
        }
    }

    /// All origins that were refused in the last while, by id.
    pub(crate) fn quarantines(&self) -> impl ExactSizeIterator<Item = (HostId, Quarantine)> {
        self.quarantines.iter().map(|(host, quarantine)| (*host, *quarantine))
    }
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;

    use super::*;

    fn statement(number: usize) -> Revocation {
        let mut secret = [7; 32];
        secret[..8].copy_from_slice(&(number as u64).to_be_bytes());
        Revocation::make(&SigningKey::from_bytes(&secret))
    }

    #[test]
    fn revocations_of_hosts_that_nobody_has_heard_of_give_way_and_never_drive_others_out() {
        let mut barred = Barred::new(HostId::new([0; 32]), HostLists::default());
        let mut turn = 0;
        let mut draw = |below: usize| {
            turn += 1;
            turn % below
        };
        let real: Vec<Revocation> = (0..REVOCATIONS_KEPT_MAX).map(statement).collect();
        let invented: Vec<Revocation> = (0..REVOCATIONS_KEPT_MAX).map(|at| statement(1_000_000 + at)).collect();
        assert!(barred.keep(real[0], true, &mut draw));
        assert!(invented.iter().all(|made| barred.keep(*made, false, &mut draw)));
        assert_eq!(barred.revocations().len(), REVOCATIONS_KEPT_MAX);
        assert_eq!(barred.why(real[0].host()), Some(Bar::Revoked), "inventions have not driven it out");
        for made in &real {
            assert!(barred.keep(*made, true, &mut draw));
        }
        assert!(real.iter().all(|made| barred.why(made.host()).is_some()), "inventions have made room");
        assert!(!barred.keep(invented[0], false, &mut draw), "there is no room for another invention");
        assert!(barred.keep(statement(REVOCATIONS_KEPT_MAX), true, &mut draw), "there is for a real one");
        assert_eq!(barred.revocations().len(), REVOCATIONS_KEPT_MAX);
    }

    #[test]
    fn lists_keep_out_who_is_denied_or_not_allowed_and_never_ourselves() {
        let [own, friend, other] = [1, 2, 3].map(|byte| HostId::new([byte; 32]));
        let allow = Some([friend, other].into());
        let barred = Barred::new(own, HostLists { allow, deny: [other].into() });
        assert_eq!((barred.why(own), barred.why(friend), barred.why(other)), (None, None, Some(Bar::Denied)));
        assert_eq!(barred.why(HostId::new([4; 32])), Some(Bar::Unlisted));
    }

    #[test]
    fn quarantines_are_forgotten_in_time_and_beyond_their_number() {
        let mut barred = Barred::new(HostId::new([0; 32]), HostLists::default());
        let host = |number: usize| {
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&(number as u64).to_be_bytes());
            HostId::new(bytes)
        };
        for number in 0..2 * QUARANTINES_MAX {
            let now = Moment::new(std::time::Duration::from_secs(number as u64));
            barred.quarantine(now, host(number), 1, Fault::WrongDigest);
        }
        assert_eq!(barred.quarantines().len(), QUARANTINES_MAX);
        assert!(barred.quarantines().all(|(at, _)| at >= host(QUARANTINES_MAX)), "the oldest went");
        barred.tidy(Moment::new(QUARANTINES_KEPT * 2));
        assert_eq!(barred.quarantines().len(), 0);
    }
}
