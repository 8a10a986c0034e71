//! Which offers were made to whom, so that only who was offered something can answer it.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use aldis_wire::id::PeerId;
use tokio::time::Instant;

use super::codec::{Carried, Id};

/// An offer can be answered for so long: clients drop theirs after 50 or 120 s.
const ANSWERED_WITHIN: Duration = Duration::from_secs(120);
/// Offers of one client, and offers to one client, that are remembered; the oldest gives way, of the other session
/// that has most, so that none can push out what others offered. Each takes about 200 bytes.
/// A page in 32 rooms that offers three every 10 s is still answered after 50 s.
pub(super) const OFFERS_REMEMBERED_MAX: usize = 512;

/// An offer between a peer of this socket and another peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) info_hash: Id,
    pub(super) own: Id,
    pub(super) other: Id,
    pub(super) offer_id: Carried,
    /// Whose session it went to or came from: an id alone is no proof.
    pub(super) session: PeerId,
}

/// Offers that can still be answered, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    entries: VecDeque<(Instant, Entry)>,
}

impl Ledger {
    /// Remembers an offer. The same offer, made again, can be answered longer.
    pub(super) fn enter(&mut self, now: Instant, entry: Entry) {
        self.forget(now);
        self.entries.retain(|(_, known)| *known != entry);
        if self.entries.len() >= OFFERS_REMEMBERED_MAX {
            self.make_room();
        }
        self.entries.push_back((now, entry));
    }

    fn make_room(&mut self) {
        let mut counts: BTreeMap<PeerId, usize> = BTreeMap::new();
        for (_, entry) in &self.entries {
            *counts.entry(entry.session).or_default() += 1;
        }
        let most = counts.iter().max_by_key(|(_, count)| **count).map(|(session, _)| *session);
        let place = self.entries.iter().position(|(_, entry)| Some(entry.session) == most);
        _ = place.and_then(|place| self.entries.remove(place));
    }

    /// Takes out what fits.
    pub(super) fn take(&mut self, now: Instant, fits: impl Fn(&Entry) -> bool) -> Vec<Entry> {
        self.forget(now);
        let mut taken = Vec::new();
        self.entries.retain(|(_, entry)| {
            let keep = !fits(entry);
            if !keep {
                taken.push(entry.clone());
            }
            keep
        });
        taken
    }

    fn forget(&mut self, now: Instant) {
        while self.entries.front().is_some_and(|(since, _)| now.duration_since(*since) > ANSWERED_WITHIN) {
            self.entries.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods, reason = "a clock to count from")]
    use super::*;

    fn entry(n: usize) -> Entry {
        Entry {
            info_hash: Id([1; 20]),
            own: Id([2; 20]),
            other: Id([3; 20]),
            offer_id: n.to_string().into(),
            session: PeerId::new([4; 32]),
        }
    }

    #[test]
    fn an_offer_is_answered_once_and_within_two_minutes() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut ledger = Ledger::default();
        ledger.enter(at(0), entry(1));
        ledger.enter(at(100), entry(2));
        assert_eq!(ledger.take(at(120), |found| *found == entry(1)), [entry(1)]);
        assert!(ledger.take(at(120), |found| *found == entry(1)).is_empty(), "it was answered");
        ledger.enter(at(150), entry(2));
        assert_eq!(ledger.take(at(260), |_| true), [entry(2)], "it was made again");
        ledger.enter(at(300), entry(3));
        assert!(ledger.take(at(421), |_| true).is_empty(), "too late");
    }

    #[test]
    fn the_oldest_offer_gives_way() {
        let now = Instant::now();
        let mut ledger = Ledger::default();
        for n in 0..=OFFERS_REMEMBERED_MAX {
            ledger.enter(now, entry(n));
            ledger.enter(now, entry(n));
        }
        let left = ledger.take(now, |_| true);
        assert_eq!((left.len(), &left[0]), (OFFERS_REMEMBERED_MAX, &entry(1)));
    }

    #[test]
    fn who_offers_without_end_pushes_out_only_its_own() {
        let now = Instant::now();
        let mut ledger = Ledger::default();
        let honest: Vec<Entry> = (5..15).map(|n| Entry { session: PeerId::new([n; 32]), ..entry(0) }).collect();
        for entry in &honest {
            ledger.enter(now, entry.clone());
        }
        for n in 0..3 * OFFERS_REMEMBERED_MAX {
            ledger.enter(now, entry(n));
        }
        let left = ledger.take(now, |_| true);
        assert_eq!((left.len(), &left[..honest.len()]), (OFFERS_REMEMBERED_MAX, &honest[..]));
    }
}
