//! What will happen, soonest first; what was planned first comes first at the same moment.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// Nanoseconds since the world began.
pub type At = u64;

/// Nanoseconds of a millisecond.
pub const MS: At = 1_000_000;
/// Nanoseconds of a second.
pub const SEC: At = 1_000_000_000;

struct Planned<T> {
    at: At,
    number: u64,
    what: T,
}

impl<T> PartialEq for Planned<T> {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.number) == (other.at, other.number)
    }
}
impl<T> Eq for Planned<T> {}
impl<T> PartialOrd for Planned<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl<T> Ord for Planned<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

/// A slot of the wheel is as long, in powers of two of nanoseconds: a quarter of a millisecond.
const SLOT_BITS: u32 = 18;
/// Slots of the wheel: a second, which is longer than most ways.
const SLOTS: u64 = 4_096;

/// A queue of happenings. Those of the next second are in a wheel of slots, which is sorted slot by slot when their time
/// comes: with a hundred thousand frames on their way, a heap would move each of them through seventeen levels.
pub struct Queue<T> {
    /// What is left of the present slot, the next one last.
    present: Vec<Planned<T>>,
    slot: u64,
    wheel: Vec<Vec<Planned<T>>>,
    in_wheel: usize,
    later: BinaryHeap<Planned<T>>,
    planned: u64,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        let wheel = (0..SLOTS).map(|_| Vec::new()).collect();
        Self { present: Vec::new(), slot: 0, wheel, in_wheel: 0, later: BinaryHeap::new(), planned: 0 }
    }
}

impl<T> Queue<T> {
    /// Plans something.
    pub fn push(&mut self, at: At, what: T) {
        self.planned += 1;
        let planned = Planned { at, number: self.planned, what };
        match at >> SLOT_BITS {
            slot if slot <= self.slot => {
                let place = self.present.partition_point(|other| *other < planned);
                self.present.insert(place, planned);
            }
            slot if slot < self.slot + SLOTS => self.keep_near(planned),
            _ => self.later.push(planned),
        }
    }

    /// Takes what comes next, if it is not after `end`.
    pub fn pop_until(&mut self, end: At) -> Option<(At, T)> {
        while self.present.is_empty() {
            let next = if self.in_wheel > 0 { self.slot + 1 } else { self.later.peek()?.at >> SLOT_BITS };
            if next > end >> SLOT_BITS {
                return None;
            }
            self.turn_to(next);
        }
        self.present.pop_if(|next| next.at <= end).map(|planned| (planned.at, planned.what))
    }

    fn keep_near(&mut self, planned: Planned<T>) {
        self.wheel[((planned.at >> SLOT_BITS) % SLOTS) as usize].push(planned);
        self.in_wheel += 1;
    }

    fn turn_to(&mut self, slot: u64) {
        self.slot = slot;
        while self.later.peek().is_some_and(|next| next.at >> SLOT_BITS < slot + SLOTS) {
            if let Some(planned) = self.later.pop() {
                self.keep_near(planned);
            }
        }
        std::mem::swap(&mut self.present, &mut self.wheel[(slot % SLOTS) as usize]);
        self.in_wheel -= self.present.len();
        self.present.sort_unstable();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::Chance;

    #[test]
    fn what_was_planned_comes_in_its_order_however_far_ahead_it_was_planned() {
        let (mut queue, mut chance, mut all) = (Queue::default(), Chance::new(1, 1), Vec::new());
        let (mut now, mut taken) = (0, Vec::new());
        for number in 0..20_000_u64 {
            let after = chance.below(5 * SEC) >> chance.below(40);
            queue.push(now + after, number);
            all.push((now + after, number));
            if number % 3 == 0 {
                let end = now + chance.below(20 * MS);
                while let Some((at, number)) = queue.pop_until(end) {
                    assert!(at <= end && at >= now);
                    now = at;
                    taken.push((at, number));
                }
                now = end;
            }
        }
        while let Some(next) = queue.pop_until(At::MAX) {
            taken.push(next);
        }
        all.sort_unstable();
        assert_eq!(taken, all);
    }
}
