//! Sealed frames that wait for their answers (PROTOCOL.md §7.2), and those that a host on the way may still bounce (§7.3).

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};

use aldis_wire::id::HostId;

use crate::relay::io::{LinkKey, Moment, RequestId};
use crate::relay::limits::{PASSED_ON_MAX, REMEMBERED_DELIVERIES_MAX, SIGNAL_TIMEOUT, WAY_PATIENCE};

/// A signal, or one host's part of a broadcast, that went sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Went {
    /// Whose it is.
    pub(crate) session: u64,
    /// The signal, or the broadcast.
    pub(crate) id: RequestId,
    /// To whom.
    pub(crate) home: HostId,
}

/// What went sealed under which nonce, as long as a host on the way may still bounce it.
#[derive(Debug, Default)]
pub(crate) struct Sealed {
    by_nonce: HashMap<[u8; 24], Went>,
    by_age: VecDeque<(Moment, [u8; 24])>,
    /// How many of the oldest were looked at: whether they have their answers.
    looked_at: usize,
}

impl Sealed {
    /// Something went out sealed under this nonce.
    pub(crate) fn insert(&mut self, now: Moment, nonce: [u8; 24], went: Went) {
        self.tidy(now);
        self.by_nonce.insert(nonce, went);
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

    /// The next one that should have its answer by now, and its nonce. Each is given once.
    pub(crate) fn take_overdue(&mut self, now: Moment) -> Option<([u8; 24], Went)> {
        if self.next_overdue()? > now {
            return None;
        }
        let nonce = self.by_age.get(self.looked_at)?.1;
        self.looked_at += 1;
        Some((nonce, self.by_nonce.get(&nonce)?.clone()))
    }

    /// Nobody is late of those that are on the way: it was we who slept.
    pub(crate) fn forgive(&mut self) {
        self.looked_at = self.by_age.len();
    }

    /// What went out under this nonce.
    #[must_use]
    pub(crate) fn find(&self, nonce: &[u8; 24]) -> Option<Went> {
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
