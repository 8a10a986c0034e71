//! Sealed frames are opened once. A host on the way can keep what it passes on, and play it again when the memory of
//! signals (two minutes) has run out; so each nonce ends in a number that its sealer never uses again, and the opener
//! keeps a sliding window of them for each home, as IPsec does (RFC 4303 §3.4.3, PROTOCOL.md §8). It can also keep what it
//! should pass on until what went again in its place is forgotten; so numbers below those of some time ago are over.

use std::collections::BTreeMap;

use aldis_wire::id::HostId;
use aldis_wire::seal::nonce_number;

use super::io::Moment;
use super::limits::{REPLAY_AGE, REPLAY_WINDOW, REPLAY_WINDOWS_MAX};

const WORDS: usize = REPLAY_WINDOW / 64;

/// The numbers seen lately from one home.
#[derive(Debug)]
struct Window {
    /// The epoch in which the home counts.
    epoch: u64,
    highest: u64,
    /// A bit for each of the last `REPLAY_WINDOW` numbers up to `highest`, at its remainder.
    seen: Box<[u64; WORDS]>,
    used: Moment,
    /// Below this, all are over.
    floor: u64,
    /// The next floor: the highest number at that moment.
    next_floor: (u64, Moment),
}

/// The windows of all homes that sealed something for us.
#[derive(Debug, Default)]
pub(crate) struct Replays {
    windows: BTreeMap<HostId, Window>,
}

impl Replays {
    /// Whether a frame that has opened, from this life of `home`, is here for the first time. Takes note of it. One that
    /// comes after `REPLAY_WINDOW` later ones cannot be told from a replay, and counts as one.
    pub(crate) fn is_first(&mut self, now: Moment, home: HostId, epoch: u64, nonce: &[u8; 24]) -> bool {
        let number = nonce_number(nonce);
        if !self.windows.contains_key(&home) {
            self.make_room();
        }
        let seen = || Box::new([0; WORDS]);
        let fresh = || Window { epoch, highest: number, seen: seen(), used: now, floor: 0, next_floor: (number, now) };
        let window = self.windows.entry(home).or_insert_with(fresh);
        if window.epoch < epoch {
            *window = fresh();
        }
        window.grow_old(now);
        window.epoch == epoch && number >= window.floor && window.take(number)
    }

    fn make_room(&mut self) {
        if self.windows.len() >= REPLAY_WINDOWS_MAX
            && let Some(oldest) = self.windows.iter().min_by_key(|(_, window)| window.used).map(|(home, _)| *home)
        {
            self.windows.remove(&oldest);
        }
    }
}

impl Window {
    /// Puts the floor at what was the highest `REPLAY_AGE` ago or more; at three times that at the latest.
    fn grow_old(&mut self, now: Moment) {
        let (floor, since) = self.next_floor;
        if now.since(since) >= REPLAY_AGE {
            self.floor = if now.since(self.used) >= REPLAY_AGE { self.highest } else { floor };
            self.next_floor = (self.highest, now);
        }
        self.used = now;
    }

    fn take(&mut self, number: u64) -> bool {
        let width = REPLAY_WINDOW as u64;
        if number > self.highest {
            // What slides in has not been seen yet.
            for skipped in (self.highest + 1..=number).take(REPLAY_WINDOW) {
                if let Some((word, bit)) = self.place(skipped) {
                    *word &= !bit;
                }
            }
            if number - self.highest >= width {
                self.seen.fill(0);
            }
            self.highest = number;
        } else if self.highest - number >= width {
            return false;
        }
        let Some((word, bit)) = self.place(number) else { return false };
        let first = *word & bit == 0;
        *word |= bit;
        first
    }

    fn place(&mut self, number: u64) -> Option<(&mut u64, u64)> {
        let at = usize::try_from(number % REPLAY_WINDOW as u64).ok()?;
        Some((self.seen.get_mut(at / 64)?, 1 << (at % 64)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use aldis_wire::seal::nonce;

    use super::*;
    use crate::relay::limits::DEDUPLICATION;

    const HOME: HostId = HostId::new([1; 32]);

    fn first(replays: &mut Replays, epoch: u64, number: u64) -> bool {
        replays.is_first(Moment::default(), HOME, epoch, &nonce([7; 16], number))
    }

    #[test]
    fn each_number_is_taken_once_in_whatever_order() {
        let mut replays = Replays::default();
        let width = REPLAY_WINDOW as u64;
        // A walk that goes forwards by leaps and backwards within the window.
        let (mut taken, mut highest) = (BTreeSet::new(), 0);
        for step in 0..20_000_u64 {
            let number = (step * 7 + (step * step * 31) % 300).saturating_sub((step * 13) % 250);
            highest = highest.max(number);
            let fresh = taken.insert(number) && highest - number < width;
            assert_eq!(first(&mut replays, 1, number), fresh, "{number} in step {step}");
            assert!(!first(&mut replays, 1, number));
        }
    }

    #[test]
    fn what_is_older_than_the_window_counts_as_a_replay() {
        let (mut replays, width) = (Replays::default(), REPLAY_WINDOW as u64);
        assert!(first(&mut replays, 1, 10));
        assert!(first(&mut replays, 1, 10 + width));
        assert!(!first(&mut replays, 1, 9));
        assert!(!first(&mut replays, 1, 10));
        assert!(first(&mut replays, 1, 11));
        assert!(first(&mut replays, 1, u64::MAX));
        assert!(!first(&mut replays, 1, u64::MAX));
        assert!(first(&mut replays, 1, u64::MAX - width + 1));
        assert!(!first(&mut replays, 1, u64::MAX - width));
    }

    #[test]
    fn what_was_withheld_until_its_copy_is_forgotten_counts_as_a_replay_however_often_others_came_since() {
        for pause in [1, 7, 29, 31, 59, 100] {
            let mut replays = Replays::default();
            let mut at = |second: u64, number: u64| {
                replays.is_first(Moment::new(Duration::from_secs(second)), HOME, 1, &nonce([7; 16], number))
            };
            let withheld = 1_000;
            let mut number = withheld + 1;
            for second in (0..=DEDUPLICATION.as_secs()).filter(|second| second % pause == 0) {
                assert!(at(second, number), "{pause}, {second}: nothing that comes in time is dropped");
                // Those on another lane are behind.
                assert!(at(second + 5, number + 2) && at(second + 5, number + 1));
                number += 3;
            }
            assert!(!at(DEDUPLICATION.as_secs() + 6, withheld), "{pause}");
            assert!(at(DEDUPLICATION.as_secs() + 6, number));
        }
    }

    #[test]
    fn a_new_life_of_a_home_counts_anew_and_its_old_one_is_over() {
        let mut replays = Replays::default();
        assert!(first(&mut replays, 1, 500));
        assert!(first(&mut replays, 2, 0));
        assert!(!first(&mut replays, 1, 501));
        assert!(first(&mut replays, 2, 1));
    }

    #[test]
    fn windows_are_bounded_and_the_one_used_longest_ago_goes() {
        let mut replays = Replays::default();
        for number in 0..=REPLAY_WINDOWS_MAX {
            let mut id = [0; 32];
            id[..8].copy_from_slice(&number.to_be_bytes());
            let now = Moment::new(Duration::from_secs(number as u64));
            assert!(replays.is_first(now, HostId::new(id), 1, &nonce([7; 16], 0)));
        }
        assert_eq!(replays.windows.len(), REPLAY_WINDOWS_MAX);
        assert!(!replays.windows.contains_key(&HostId::new([0; 32])));
    }
}
