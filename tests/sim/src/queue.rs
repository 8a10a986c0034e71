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

/// A queue of happenings.
pub struct Queue<T> {
    heap: BinaryHeap<Planned<T>>,
    planned: u64,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { heap: BinaryHeap::new(), planned: 0 }
    }
}

impl<T> Queue<T> {
    /// Plans something.
    pub fn push(&mut self, at: At, what: T) {
        self.planned += 1;
        self.heap.push(Planned { at, number: self.planned, what });
    }

    /// Takes what comes next, if it is not after `end`.
    pub fn pop_until(&mut self, end: At) -> Option<(At, T)> {
        if self.heap.peek()?.at > end {
            return None;
        }
        self.heap.pop().map(|planned| (planned.at, planned.what))
    }
}
