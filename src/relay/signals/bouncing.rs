//! Sealed frames that a host on the way may still bounce (PROTOCOL.md §7.3).

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};

use crate::relay::io::{LinkKey, Moment, RequestId};
use crate::relay::limits::{PASSED_ON_MAX, REMEMBERED_DELIVERIES_MAX, SIGNAL_TIMEOUT, WAY_PATIENCE};

/// Which signal went sealed under which nonce, as long as a host on the way may still bounce it.
#[derive(Debug, Default)]
pub(crate) struct Sealed {
    by_nonce: HashMap<[u8; 24], (u64, RequestId)>,
    by_age: VecDeque<(Moment, [u8; 24])>,
    /// How many of the oldest were looked at: whether they have their answers.
    looked_at: usize,
}

impl Sealed {
    /// A session's signal went out sealed.
    pub(crate) fn insert(&mut self, now: Moment, nonce: [u8; 24], session: u64, id: RequestId) {
        self.tidy(now);
        self.by_nonce.insert(nonce, (session, id));
        self.by_age.push_back((now, nonce));
    }

    /// How many there are.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.by_nonce.len()
    }

    /// Forgets what cannot bounce any more.
    pub(crate) fn tidy(&mut self, now: Moment) {
        while self.by_age.front().is_some_and(|(at, _)| now.since(*at) >= SIGNAL_TIMEOUT)
            || self.by_age.len() >= REMEMBERED_DELIVERIES_MAX
        {
            let Some((_, nonce)) = self.by_age.pop_front() else { break };
            self.by_nonce.remove(&nonce);
            self.looked_at = self.looked_at.saturating_sub(1);
        }
    }

    /// When the next one should have its answer.
    #[must_use]
    pub(crate) fn next_overdue(&self) -> Option<Moment> {
        self.by_age.get(self.looked_at).map(|(at, _)| *at + WAY_PATIENCE)
    }

    /// The next one that should have its answer by now: its nonce, and whose signal or broadcast it is. Each is given once.
    pub(crate) fn take_overdue(&mut self, now: Moment) -> Option<([u8; 24], u64, RequestId)> {
        if self.next_overdue()? > now {
            return None;
        }
        let nonce = self.by_age.get(self.looked_at)?.1;
        self.looked_at += 1;
        let (session, id) = self.by_nonce.get(&nonce)?.clone();
        Some((nonce, session, id))
    }

    /// Nobody is late of those that are on the way: it was we who slept.
    pub(crate) fn forgive(&mut self) {
        self.looked_at = self.by_age.len();
    }

    /// The signal that went out under this nonce.
    #[must_use]
    pub(crate) fn find(&self, nonce: &[u8; 24]) -> Option<(u64, RequestId)> {
        self.by_nonce.get(nonce).cloned()
    }
}

/// Sealed frames that were passed on lately, and the links by which they came and went: bounces go back the same way,
/// once, and nothing else is believed to be one.
#[derive(Debug, Default)]
pub(crate) struct PassedOn {
    by_nonce: HashMap<[u8; 24], (LinkKey, LinkKey)>,
    by_age: VecDeque<(Moment, [u8; 24])>,
}

impl PassedOn {
    /// A frame that came over the link `from` went over the link `to`.
    pub(crate) fn insert(&mut self, now: Moment, nonce: [u8; 24], from: LinkKey, to: LinkKey) {
        self.tidy(now);
        if let Entry::Vacant(vacant) = self.by_nonce.entry(nonce) {
            vacant.insert((from, to));
            self.by_age.push_back((now, nonce));
        }
    }

    /// Forgets what cannot bounce any more.
    pub(crate) fn tidy(&mut self, now: Moment) {
        while self.by_age.front().is_some_and(|(at, _)| now.since(*at) >= SIGNAL_TIMEOUT)
            || self.by_age.len() >= PASSED_ON_MAX
        {
            let Some((_, nonce)) = self.by_age.pop_front() else { break };
            self.by_nonce.remove(&nonce);
        }
    }

    /// How many there are.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.by_nonce.len()
    }

    /// The link by which the frame came that went over `to`; forgets it.
    pub(crate) fn take(&mut self, nonce: &[u8; 24], to: LinkKey) -> Option<LinkKey> {
        let (from, _) = self.by_nonce.get(nonce).copied().filter(|(_, went)| *went == to)?;
        self.by_nonce.remove(nonce);
        Some(from)
    }
}
