//! Sealed frames that a host on the way may still bounce (PROTOCOL.md §7.3).

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};

use crate::relay::io::{LinkKey, Moment, RequestId};
use crate::relay::limits::{PASSED_ON_MAX, REMEMBERED_DELIVERIES_MAX, SIGNAL_TIMEOUT};

/// Which signal went sealed under which nonce, as long as a host on the way may still bounce it.
#[derive(Debug, Default)]
pub(crate) struct Sealed {
    by_nonce: HashMap<[u8; 24], (u64, RequestId)>,
    by_age: VecDeque<(Moment, [u8; 24])>,
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
        }
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
