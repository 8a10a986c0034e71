//! A token bucket on the clock of sockets, for what the machine does not limit.

use std::time::Duration;

use tokio::time::Instant;

use crate::relay::limits::Rate;

/// Refilled once a second.
#[derive(Debug)]
pub(super) struct Bucket {
    rate: Rate,
    tokens: u32,
    filled: Instant,
}

impl Bucket {
    /// A full one.
    pub(super) fn new(rate: Rate, now: Instant) -> Self {
        Self { rate, tokens: rate.burst, filled: now }
    }

    /// Whether there was a token left.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        self.fill(now);
        let left = self.tokens.checked_sub(1);
        self.tokens = left.unwrap_or(0);
        left.is_some()
    }

    /// Whether nothing is lost by forgetting it.
    pub(super) fn is_full(&mut self, now: Instant) -> bool {
        self.fill(now);
        self.tokens >= self.rate.burst
    }

    fn fill(&mut self, now: Instant) {
        let seconds = now.saturating_duration_since(self.filled).as_secs();
        if seconds > 0 {
            let earned = u32::try_from(seconds).unwrap_or(u32::MAX).saturating_mul(self.rate.per_second);
            self.tokens = self.tokens.saturating_add(earned).min(self.rate.burst);
            self.filled += Duration::from_secs(seconds);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_gives_a_burst_and_then_so_much_a_second() {
        let begun = Instant::now();
        let mut bucket = Bucket::new(Rate { per_second: 2, burst: 3 }, begun);
        let mut given = |after: f64| {
            let now = begun + Duration::from_secs_f64(after);
            (0..100).filter(|_| bucket.take(now)).count()
        };
        assert_eq!([0.0, 0.9, 1.0, 1.9, 2.5, 100.0].map(&mut given), [3, 0, 2, 0, 2, 3]);
    }
}
