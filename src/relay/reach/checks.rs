//! Places of ours that others are asked to try: what is due, who is asked, and what has come of it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use aldis_wire::host::{Place, Verdict, Verify};
use aldis_wire::id::HostId;

use crate::relay::bucket::Bucket;
use crate::relay::io::{CheckTarget, LinkKey, Moment};
use crate::relay::limits::{
    CHECK_AGAIN, CHECK_ANSWER, CHECK_FAILURES_MAX, CHECK_HELPERS_MAX, CHECK_INTERVAL, CHECK_REFUSED, CHECK_TOKENS,
    CHECKS, PLACES_MAX,
};

/// What has come of the checks of one place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Nobody has tried.
    #[default]
    Untried,
    /// It was reached.
    Reached {
        /// The neighbour that told, or the host that came.
        by: HostId,
        /// When.
        at: Moment,
    },
    /// It was not, twice in a row.
    NotReached {
        /// The neighbour that told.
        by: HostId,
        /// When.
        at: Moment,
    },
}

/// A neighbour that may be asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Helper {
    pub(crate) link: LinkKey,
    pub(crate) host: HostId,
    /// Where it sees us: nothing else is tried.
    pub(crate) sees: IpAddr,
}

#[derive(Debug)]
struct Asked {
    number: u32,
    link: LinkKey,
    host: HostId,
    until: Moment,
}

/// The checks of one place.
#[derive(Debug, Default)]
pub(crate) struct Check {
    pub(crate) standing: Standing,
    failures: u32,
    due: Moment,
    asked: Option<Asked>,
    /// Neighbours that could not help since the last round began.
    passed: BTreeSet<HostId>,
    /// When the next round begins.
    round: Moment,
    /// Who tried last; another one is to try next.
    last: Option<HostId>,
}

impl Check {
    fn settle(&mut self, now: Moment, standing: Standing, jitter: Duration) {
        self.standing = standing;
        self.passed.clear();
        self.round = now + CHECK_INTERVAL + jitter;
        self.due = self.round;
    }

    /// Why nobody has tried, for people.
    pub(crate) fn why(&self) -> &'static str {
        if self.asked.is_some() {
            "it is being tried"
        } else if self.failures > 0 {
            "a first try came to nothing"
        } else if self.passed.is_empty() {
            "no neighbour sees us at that address"
        } else {
            "no neighbour knows anybody who could try"
        }
    }
}

/// All places that are to be checked; bounded.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    all: BTreeMap<CheckTarget, Check>,
    /// What each neighbour may still be asked.
    paces: BTreeMap<HostId, Bucket>,
}

impl Checks {
    /// From now on these are to be checked, and nothing else.
    pub(crate) fn want(&mut self, wanted: Vec<CheckTarget>) {
        let wanted: BTreeSet<CheckTarget> = wanted.into_iter().take(PLACES_MAX).collect();
        self.all.retain(|target, _| wanted.contains(target));
        for target in wanted {
            self.all.entry(target).or_default();
        }
    }

    pub(crate) fn find(&self, target: &CheckTarget) -> Option<&Check> {
        self.all.get(target)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&CheckTarget, &Check)> {
        self.all.iter()
    }

    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    pub(crate) fn is_reached(&self, target: &CheckTarget) -> bool {
        self.find(target).is_some_and(|check| matches!(check.standing, Standing::Reached { .. }))
    }

    pub(crate) fn is_not_reached(&self, target: &CheckTarget) -> bool {
        self.find(target).is_some_and(|check| matches!(check.standing, Standing::NotReached { .. }))
    }

    /// Everything is to be tried anew, since our address is another one.
    pub(crate) fn begin_anew(&mut self, now: Moment) {
        for check in self.all.values_mut() {
            (check.due, check.round, check.failures) = (now, now, 0);
        }
    }

    /// A new neighbour may help with what nobody could.
    pub(crate) fn neighbour_came(&mut self, now: Moment) {
        for check in self.all.values_mut() {
            if !matches!(check.standing, Standing::Reached { .. }) && check.passed.len() < CHECK_HELPERS_MAX {
                let again = if check.failures > 0 { check.due } else { now };
                check.due = check.due.min(again);
            }
        }
    }

    /// A neighbour is gone, and will not answer.
    pub(crate) fn neighbour_left(&mut self, now: Moment, link: LinkKey) {
        for check in self.all.values_mut().filter(|check| check.asked.as_ref().is_some_and(|it| it.link == link)) {
            check.asked = None;
            check.due = now;
        }
    }

    /// Asks neighbours for what is due.
    pub(crate) fn poll(
        &mut self,
        now: Moment,
        helpers: &[Helper],
        jitter: Duration,
        number: &mut u32,
    ) -> Vec<(LinkKey, Verify)> {
        self.paces.retain(|host, pace| !pace.is_full(now) || helpers.iter().any(|helper| helper.host == *host));
        let mut asking = Vec::new();
        for (target, check) in &mut self.all {
            if check.asked.as_ref().is_some_and(|asked| asked.until <= now) {
                let Some(asked) = check.asked.take() else { continue };
                check.passed.insert(asked.host);
                check.due = now;
            }
            if check.asked.is_some() || check.due > now {
                continue;
            }
            if check.round <= now {
                check.passed.clear();
                check.round = now + CHECK_INTERVAL + jitter;
            }
            let may_help = |helper: &&Helper| may_help(target, helper.sees) && !check.passed.contains(&helper.host);
            let pace = |host: HostId| self.paces.get(&host).copied().unwrap_or_default();
            let best = helpers
                .iter()
                .filter(may_help)
                .min_by_key(|helper| (check.last == Some(helper.host), pace(helper.host), helper.host));
            let Some(helper) = best.filter(|_| check.passed.len() < CHECK_HELPERS_MAX) else {
                check.due = check.round;
                continue;
            };
            if let Err(wait) = self.paces.entry(helper.host).or_default().take(now, CHECKS, CHECK_TOKENS) {
                check.due = now + wait;
                continue;
            }
            *number = number.wrapping_add(1);
            let until = now + CHECK_ANSWER;
            check.asked = Some(Asked { number: *number, link: helper.link, host: helper.host, until });
            asking.push((helper.link, Verify { number: *number, place: place(target) }));
        }
        asking
    }

    /// When there is something to do, unless something happens before.
    pub(crate) fn next(&self) -> Option<Moment> {
        self.all.values().map(|check| check.asked.as_ref().map_or(check.due, |asked| asked.until)).min()
    }

    /// A neighbour answers. What has become of the place, if that is another thing than before.
    pub(crate) fn answered(
        &mut self,
        now: Moment,
        link: LinkKey,
        number: u32,
        verdict: Verdict,
        jitter: Duration,
    ) -> Option<CheckTarget> {
        let is_asked = |check: &Check| check.asked.as_ref().is_some_and(|it| (it.link, it.number) == (link, number));
        let (target, check) = self.all.iter_mut().find(|(_, check)| is_asked(check))?;
        let by = check.asked.take()?.host;
        let before = check.standing;
        match verdict {
            Verdict::Reached => {
                (check.failures, check.last) = (0, Some(by));
                check.settle(now, Standing::Reached { by, at: now }, jitter);
            }
            Verdict::NotReached => {
                (check.failures, check.last) = (check.failures.saturating_add(1), Some(by));
                if check.failures >= CHECK_FAILURES_MAX {
                    check.settle(now, Standing::NotReached { by, at: now }, jitter);
                } else {
                    check.due = now + CHECK_AGAIN;
                }
            }
            Verdict::Nobody | Verdict::TooOften => {
                if verdict == Verdict::TooOften {
                    check.round = check.round.min(now + CHECK_REFUSED + jitter / 10);
                }
                check.passed.insert(by);
                check.due = now;
            }
        }
        let changed = std::mem::discriminant(&before) != std::mem::discriminant(&check.standing);
        changed.then(|| target.clone())
    }

    /// A host to which we never sent anything has come there. Whether that is news.
    pub(crate) fn came(&mut self, now: Moment, target: &CheckTarget, by: HostId, jitter: Duration) -> bool {
        let Some(check) = self.all.get_mut(target) else { return false };
        let news = !matches!(check.standing, Standing::Reached { .. });
        (check.failures, check.asked) = (0, None);
        check.settle(now, Standing::Reached { by, at: now }, jitter);
        news
    }
}

/// A neighbour has only that address tried at which it sees us itself. URLs need not lead there.
fn may_help(target: &CheckTarget, sees: IpAddr) -> bool {
    target.address().is_none_or(|address| address.ip() == sees)
}

fn place(target: &CheckTarget) -> Place {
    match target {
        CheckTarget::Links(address) => Place::Links { port: address.port() },
        CheckTarget::OtherPort(address) => Place::OtherPort { port: address.port() },
        CheckTarget::Stun(address) => Place::Stun { port: address.port() },
        CheckTarget::Gateway(url) => Place::Gateway { url: url.clone() },
    }
}
