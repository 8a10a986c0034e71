//! What we try and have tried for others: checks that we make ourselves, and those that a neighbour makes on our word.

use std::collections::BTreeMap;
use std::net::IpAddr;

use aldis_wire::host::{DialBack, Place};
use aldis_wire::id::HostId;

use crate::relay::bucket::Bucket;
use crate::relay::io::{CheckKey, LinkKey, Moment};
use crate::relay::limits::{
    ASKERS_MAX, CHECK_TOKENS, CHECKS, DIAL_BACKS, GATEWAY_CHECK_TOKENS, GATEWAY_CHECKS, REFERRAL_TIMEOUT,
    REFERRALS_MAX, TRIAL_ADDRESSES_MAX, TRIAL_TIMEOUT, TRIAL_TOKENS, TRIALS, TRIALS_MAX, TRIALS_PER_ADDRESS,
};
use crate::relay::prefix::Prefix;

/// Whom an answer is owed, and under which number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Asker {
    pub(crate) link: LinkKey,
    pub(crate) number: u32,
}

/// What shares an allowance of checks.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Door {
    /// An IPv4 address, or an IPv6 /64.
    Address(Prefix),
    /// The host of a URL.
    Name(String),
}

impl Door {
    pub(crate) fn at(address: IpAddr) -> Self {
        Self::Address(Prefix::of(address))
    }
}

/// A check that we make.
#[derive(Clone, Debug)]
pub(crate) struct Trial {
    pub(crate) asker: Asker,
    pub(crate) host: HostId,
    /// Where it must not come from meanwhile: whoever has sent to us is no stranger any more.
    pub(crate) stranger: Option<IpAddr>,
    pub(crate) since: Moment,
}

/// Checks that we make for others; bounded in every way.
#[derive(Debug, Default)]
pub(crate) struct Trials {
    running: BTreeMap<CheckKey, Trial>,
    last: u64,
    pace: Bucket,
    doors: BTreeMap<Door, Bucket>,
}

impl Trials {
    /// Begins a check, if it may be made.
    pub(crate) fn begin(&mut self, now: Moment, door: Door, trial: Trial) -> Option<CheckKey> {
        if self.running.len() >= TRIALS_MAX {
            return None;
        }
        if self.doors.len() >= TRIAL_ADDRESSES_MAX && !self.doors.contains_key(&door) {
            self.tidy(now);
        }
        if self.doors.len() >= TRIAL_ADDRESSES_MAX && !self.doors.contains_key(&door) {
            return None;
        }
        // The door first: who knocks there too often takes nothing of what others need.
        let bucket = self.doors.entry(door).or_default();
        let before = *bucket;
        bucket.take(now, TRIALS_PER_ADDRESS, TRIAL_TOKENS).ok()?;
        if self.pace.take(now, TRIALS, 1).is_err() {
            *bucket = before;
            return None;
        }
        self.last += 1;
        self.running.insert(CheckKey(self.last), trial);
        Some(CheckKey(self.last))
    }

    /// A check is over.
    pub(crate) fn end(&mut self, check: CheckKey) -> Option<Trial> {
        self.running.remove(&check)
    }

    /// Checks of which the driver says nothing.
    pub(crate) fn overdue(&mut self, now: Moment) -> Vec<Trial> {
        let over = |trial: &Trial| trial.since + TRIAL_TIMEOUT <= now;
        let keys: Vec<CheckKey> = self.running.iter().filter(|(_, trial)| over(trial)).map(|(key, _)| *key).collect();
        keys.into_iter().filter_map(|key| self.running.remove(&key)).collect()
    }

    pub(crate) fn next(&self) -> Option<Moment> {
        self.running.values().map(|trial| trial.since + TRIAL_TIMEOUT).min()
    }

    pub(crate) fn tidy(&mut self, now: Moment) {
        self.doors.retain(|_, bucket| !bucket.is_full(now));
    }

    /// Checks under way, and addresses for which they are counted.
    pub(crate) fn len(&self) -> (usize, usize) {
        (self.running.len(), self.doors.len())
    }
}

/// A check that a neighbour makes on our word.
#[derive(Clone, Debug)]
pub(crate) struct Referral {
    pub(crate) asker: Asker,
    pub(crate) host: HostId,
    pub(crate) address: IpAddr,
    pub(crate) place: Place,
    /// Neighbours that were asked.
    pub(crate) tried: Vec<HostId>,
    /// The link over which the answer must come.
    pub(crate) with: LinkKey,
    until: Moment,
}

impl Referral {
    pub(crate) fn new(now: Moment, asker: Asker, host: HostId, address: IpAddr, place: Place) -> Self {
        let until = now + REFERRAL_TIMEOUT;
        Self { asker, host, address, place, tried: Vec::new(), with: asker.link, until }
    }

    pub(crate) fn dial_back(&self, number: u32) -> DialBack {
        DialBack { number, host: self.host, address: self.address, place: self.place.clone() }
    }
}

/// Checks that neighbours make on our word, by our number; and who may ask for more.
#[derive(Debug, Default)]
pub(crate) struct Referrals {
    pending: BTreeMap<u32, Referral>,
    askers: BTreeMap<HostId, Asks>,
}

/// What a host has asked for lately.
#[derive(Debug, Default)]
struct Asks {
    /// Checks of its own places.
    own: Bucket,
    /// Those of gateways among them.
    gateways: Bucket,
    /// Checks of others' places.
    others: Bucket,
}

impl Asks {
    fn are_forgotten(&self, now: Moment) -> bool {
        [self.own, self.gateways, self.others].iter().all(|bucket| bucket.is_full(now))
    }
}

impl Referrals {
    /// Whether a host may ask for a check of a place of its own; counts it.
    pub(crate) fn may_ask(&mut self, now: Moment, host: HostId, gateway: bool) -> bool {
        self.asks(now, host).is_some_and(|asks| {
            asks.own.take(now, CHECKS, CHECK_TOKENS).is_ok()
                && (!gateway || asks.gateways.take(now, GATEWAY_CHECKS, GATEWAY_CHECK_TOKENS).is_ok())
        })
    }

    /// Whether a host may ask for a check of another one's place; counts it.
    pub(crate) fn may_refer(&mut self, now: Moment, host: HostId) -> bool {
        self.asks(now, host).is_some_and(|asks| asks.others.take(now, DIAL_BACKS, 1).is_ok())
    }

    /// `None` when there is no room to count.
    fn asks(&mut self, now: Moment, host: HostId) -> Option<&mut Asks> {
        if self.askers.len() >= ASKERS_MAX && !self.askers.contains_key(&host) {
            self.tidy(now);
        }
        let has_room = self.askers.len() < ASKERS_MAX || self.askers.contains_key(&host);
        has_room.then(|| self.askers.entry(host).or_default())
    }

    pub(crate) fn is_full(&self) -> bool {
        self.pending.len() >= REFERRALS_MAX
    }

    pub(crate) fn insert(&mut self, number: u32, referral: Referral) {
        self.pending.insert(number, referral);
    }

    /// The check that the other side of `link` was asked for under this number.
    pub(crate) fn take(&mut self, link: LinkKey, number: u32) -> Option<Referral> {
        self.pending.get(&number).filter(|referral| referral.with == link)?;
        self.pending.remove(&number)
    }

    /// Checks that were not answered in time, and those whose makers are gone.
    pub(crate) fn overdue(&mut self, now: Moment, gone: impl Fn(LinkKey) -> bool) -> Vec<Referral> {
        let over = |referral: &Referral| referral.until <= now || gone(referral.with);
        let numbers: Vec<u32> =
            self.pending.iter().filter(|(_, referral)| over(referral)).map(|(number, _)| *number).collect();
        numbers.into_iter().filter_map(|number| self.pending.remove(&number)).collect()
    }

    pub(crate) fn next(&self) -> Option<Moment> {
        self.pending.values().map(|referral| referral.until).min()
    }

    pub(crate) fn tidy(&mut self, now: Moment) {
        self.askers.retain(|_, asks| !asks.are_forgotten(now));
    }

    /// Checks under way, and hosts whose questions are counted.
    pub(crate) fn len(&self) -> (usize, usize) {
        (self.pending.len(), self.askers.len())
    }
}
