//! Neighbours by whom something sealed had no answer, or could not go on (PROTOCOL.md §7.2), so that the next frames to that
//! home take another way.

use std::collections::BTreeMap;

use aldis_wire::id::HostId;

use crate::relay::io::Moment;
use crate::relay::limits::{DETOUR, DETOUR_HOSTS_MAX, DETOURS_MAX};

/// By home, the neighbours that are passed over on the way there, as long as there are others.
#[derive(Debug, Default)]
pub(crate) struct Detours(BTreeMap<HostId, Vec<Missed>>);

#[derive(Debug)]
struct Missed {
    neighbour: HostId,
    until: Moment,
}

impl Detours {
    /// What went to this home by way of this neighbour had no answer in time, or came back. Whether as many are passed over now
    /// as may be, and one of them had to be forgotten.
    pub(crate) fn missed(&mut self, now: Moment, home: HostId, neighbour: HostId) -> bool {
        if !self.0.contains_key(&home) && self.0.len() >= DETOURS_MAX {
            let newest = |missed: &[Missed]| missed.last().map(|missed| missed.until);
            let oldest = self.0.iter().min_by_key(|(_, missed)| newest(missed)).map(|(home, _)| *home);
            oldest.and_then(|oldest| self.0.remove(&oldest));
        }
        let missed = self.0.entry(home).or_default();
        missed.retain(|known| known.neighbour != neighbour && known.until > now);
        let is_full = missed.len() >= DETOUR_HOSTS_MAX;
        if is_full {
            missed.remove(0);
        }
        missed.push(Missed { neighbour, until: now + DETOUR });
        is_full
    }

    /// Whether there are any on the way to a home.
    #[must_use]
    pub(crate) fn has(&self, home: HostId) -> bool {
        self.0.contains_key(&home)
    }

    /// 0 for a neighbour that is not passed over on the way to a home, else more the later it was missed.
    #[must_use]
    pub(crate) fn place(&self, home: HostId, neighbour: HostId) -> usize {
        let missed = self.0.get(&home).map_or(&[][..], |missed| missed);
        missed.iter().position(|known| known.neighbour == neighbour).map_or(0, |place| place + 1)
    }

    /// How many homes there are.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Forgets what is too old.
    pub(crate) fn tidy(&mut self, now: Moment) {
        self.0.retain(|_, missed| {
            missed.retain(|known| known.until > now);
            !missed.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(number: usize) -> HostId {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&(number as u64).to_be_bytes());
        HostId::new(bytes)
    }

    #[test]
    fn each_neighbour_is_passed_over_for_its_own_time_and_only_so_many_are() {
        let mut detours = Detours::default();
        let (home, now) = (host(0), Moment::new(DETOUR));
        detours.missed(now, home, host(1));
        detours.missed(now + DETOUR / 2, home, host(2));
        assert_eq!([1, 2, 3].map(|number| detours.place(home, host(number))), [1, 2, 0]);
        detours.tidy(now + DETOUR);
        assert_eq!([1, 2].map(|number| detours.place(home, host(number))), [0, 1]);
        for number in 3..=2 + DETOUR_HOSTS_MAX {
            let is_full = detours.missed(now + DETOUR, home, host(number));
            assert_eq!(is_full, number > 1 + DETOUR_HOSTS_MAX, "{number}");
        }
        assert_eq!((detours.place(home, host(2)), detours.place(home, host(3))), (0, 1), "the first is forgotten");
        detours.tidy(now + DETOUR * 2);
        assert!(!detours.has(home));
    }

    #[test]
    fn there_are_so_many_homes_and_the_one_missed_longest_ago_is_forgotten() {
        let mut detours = Detours::default();
        let now = Moment::new(DETOUR);
        for number in 0..=DETOURS_MAX {
            let at = now + std::time::Duration::from_micros(number as u64);
            detours.missed(at, host(number), host(number));
        }
        assert_eq!((detours.len(), detours.has(host(0)), detours.has(host(1))), (DETOURS_MAX, false, true));
    }
}
