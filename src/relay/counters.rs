//! Counters of keyed peers that have left, so that no old claim of theirs counts again (PROTOCOL.md §3.2).

use std::cmp::Reverse;
use std::collections::{HashMap, VecDeque};

use aldis_wire::id::{HostId, PeerId};

use super::io::Moment;
use super::limits::{COUNTER_MEMORY, COUNTERS_MAX};

/// Of two claims, each a counter and a home, the better one is lower (PROTOCOL.md §3.2).
pub(crate) fn rank((counter, home): (u64, HostId)) -> (Reverse<u64>, HostId) {
    (Reverse(counter), home)
}

/// Whether a claim counts no more because the peer has left a home where it had a better one: a former home may not bring it
/// back.
pub(crate) fn is_over(claim: (u64, HostId), left: (u64, HostId)) -> bool {
    rank(claim) > rank(left)
}

/// Counters of keyed peers that are not present any more.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    known: HashMap<PeerId, (u64, HostId, Moment)>,
    by_age: VecDeque<(Moment, PeerId)>,
}

impl Counters {
    /// A keyed peer has left a home. Of two claims the better one is remembered.
    pub(crate) fn insert(&mut self, now: Moment, peer: PeerId, counter: u64, home: HostId) {
        self.tidy(now);
        if self.find(peer).is_some_and(|known| is_over((counter, home), known)) {
            return;
        }
        self.known.insert(peer, (counter, home, now));
        self.by_age.push_back((now, peer));
    }

    /// How many there are.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.known.len()
    }

    /// The best claim remembered of a peer: its counter, and where.
    #[must_use]
    pub(crate) fn find(&self, peer: PeerId) -> Option<(u64, HostId)> {
        self.known.get(&peer).map(|(counter, home, _)| (*counter, *home))
    }

    /// Forgets what is too old.
    pub(crate) fn tidy(&mut self, now: Moment) {
        while self.by_age.len() >= COUNTERS_MAX
            || self.by_age.front().is_some_and(|(at, _)| now.since(*at) >= COUNTER_MEMORY)
        {
            let Some((at, peer)) = self.by_age.pop_front() else { break };
            if self.known.get(&peer).is_some_and(|(_, _, kept)| *kept == at) {
                self.known.remove(&peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_remembered_for_an_hour_and_bounded_and_a_lower_one_replaces_no_higher() {
        let (mut counters, home) = (Counters::default(), HostId::new([1; 32]));
        let peer = |number: usize| {
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&(number as u64).to_be_bytes());
            PeerId::new(bytes)
        };
        for number in 0..=COUNTERS_MAX {
            counters.insert(Moment::default(), peer(number), 5, home);
        }
        assert_eq!(counters.len(), COUNTERS_MAX);
        assert_eq!((counters.find(peer(0)), counters.find(peer(1))), (None, Some((5, home))));
        counters.insert(Moment::default(), peer(9), 4, HostId::new([2; 32]));
        assert_eq!(counters.find(peer(9)), Some((5, home)));
        counters.tidy(Moment::new(COUNTER_MEMORY));
        assert_eq!(counters.len(), 0);
    }
}
