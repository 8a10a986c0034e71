//! A token bucket in eight bytes: the generic cell rate algorithm (GCRA, ITU-T I.371) on the machine's clock.
//!
//! Instead of counting tokens it keeps the moment at which the bucket will be full again. The rate is not kept: it is
//! handed in with each call, so that thousands of buckets share one setting.

use std::time::Duration;

use super::io::Moment;
use super::limits::Rate;

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// A bucket. A new one is full.
/// Buckets are ordered by how full they are, the fullest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Bucket {
    /// When the bucket will be full again ("theoretical arrival time"), in nanoseconds since the driver's start.
    full_at: u64,
}

impl Bucket {
    /// Takes `tokens`. To take more than the burst at once, the bucket must be full; it is empty afterwards.
    ///
    /// # Errors
    /// When there are not enough: how long until there are, if nobody else takes any. Nothing is taken then.
    pub(crate) fn take(&mut self, now: Moment, rate: Rate, tokens: u32) -> Result<(), Duration> {
        if rate.per_second == 0 {
            return Ok(());
        }
        let burst = rate.burst.max(1);
        let now = nanos(now);
        let full_at = self.full_at.max(now).saturating_add(time_of(tokens.min(burst), rate));
        let empty_at = now.saturating_add(time_of(burst, rate));
        if full_at > empty_at {
            return Err(Duration::from_nanos(full_at - empty_at));
        }
        self.full_at = full_at;
        Ok(())
    }

    /// Takes `tokens` whether there are enough or not: for what is known only when it is done. A debt is paid off by waiting.
    pub(crate) fn charge(&mut self, now: Moment, rate: Rate, tokens: usize) {
        let tokens = u32::try_from(tokens).unwrap_or(u32::MAX);
        if rate.per_second > 0 {
            self.full_at = self.full_at.max(nanos(now)).saturating_add(time_of(tokens, rate));
        }
    }

    /// Whether the bucket is full, so that nothing is lost by forgetting it.
    #[must_use]
    pub(crate) fn is_full(&self, now: Moment) -> bool {
        self.full_at <= nanos(now)
    }
}

/// How long these tokens take to come, in nanoseconds; rounded up for each token, so that a rate is never exceeded.
fn time_of(tokens: u32, rate: Rate) -> u64 {
    // At most 2^32 tokens of a second each: 4.3e18, which a u64 holds.
    u64::from(tokens).saturating_mul(NANOS_PER_SECOND.div_ceil(u64::from(rate.per_second.max(1))))
}

/// 584 years fit; later moments are the last one.
fn nanos(moment: Moment) -> u64 {
    u64::try_from(moment.time().as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { per_second: 10, burst: 5 };

    fn at(millis: u64) -> Moment {
        Moment::new(Duration::from_millis(millis))
    }

    #[test]
    fn a_burst_is_taken_at_once_and_then_one_token_comes_each_interval() {
        let mut bucket = Bucket::default();
        for _ in 0..5 {
            assert_eq!(bucket.take(at(1_000), RATE, 1), Ok(()));
        }
        assert_eq!(bucket.take(at(1_000), RATE, 1), Err(Duration::from_millis(100)));
        assert_eq!(bucket.take(at(1_060), RATE, 1), Err(Duration::from_millis(40)));
        assert_eq!(bucket.take(at(1_100), RATE, 1), Ok(()));
        assert_eq!(bucket.take(at(1_100), RATE, 2), Err(Duration::from_millis(200)));
    }

    #[test]
    fn what_was_refused_costs_nothing() {
        let mut bucket = Bucket::default();
        assert_eq!(bucket.take(at(0), RATE, 5), Ok(()));
        for _ in 0..1_000 {
            assert!(bucket.take(at(99), RATE, 1).is_err());
        }
        assert_eq!(bucket.take(at(100), RATE, 1), Ok(()));
    }

    #[test]
    fn rest_fills_the_bucket_to_the_burst_and_no_further() {
        let mut bucket = Bucket::default();
        assert_eq!(bucket.take(at(0), RATE, 5), Ok(()));
        assert!(!bucket.is_full(at(499)));
        assert!(bucket.is_full(at(500)));
        let taken = (0..100).filter(|_| bucket.take(at(1_000_000), RATE, 1).is_ok()).count();
        assert_eq!(taken, 5);
    }

    #[test]
    fn more_than_the_burst_is_taken_from_a_full_bucket_only() {
        let mut bucket = Bucket::default();
        assert_eq!(bucket.take(at(0), RATE, 50), Ok(()));
        assert_eq!(bucket.take(at(100), RATE, 50), Err(Duration::from_millis(400)));
        assert_eq!(bucket.take(at(500), RATE, 50), Ok(()));
    }

    #[test]
    fn what_is_charged_beyond_the_burst_is_a_debt_that_waiting_pays() {
        let mut bucket = Bucket::default();
        bucket.charge(at(0), RATE, 8);
        assert_eq!(bucket.take(at(0), RATE, 0), Err(Duration::from_millis(300)));
        assert_eq!(bucket.take(at(300), RATE, 0), Ok(()));
        assert_eq!(bucket.take(at(300), RATE, 1), Err(Duration::from_millis(100)));
        assert_eq!(bucket.take(at(400), RATE, 1), Ok(()));
    }

    #[test]
    fn no_rate_is_no_limit() {
        let mut bucket = Bucket::default();
        for _ in 0..10_000 {
            assert_eq!(bucket.take(at(0), Rate { per_second: 0, burst: 1 }, 1_000), Ok(()));
            bucket.charge(at(0), Rate { per_second: 0, burst: 1 }, 1_000);
        }
    }

    #[test]
    fn over_a_long_time_no_more_than_the_rate_passes() {
        for per_second in [1, 3, 7, 50, 999] {
            let rate = Rate { per_second, burst: 20 };
            let mut bucket = Bucket::default();
            // Ten seconds, asked every 137 µs: more often than any of the rates allows.
            let passed = (0..73_000_u64)
                .filter(|step| bucket.take(Moment::new(Duration::from_micros(step * 137)), rate, 1).is_ok())
                .count();
            let allowed = usize::try_from(per_second * 10 + 20).unwrap_or(0);
            assert!(passed <= allowed, "{passed} of {allowed} at {per_second}/s");
            assert!(passed + passed / 100 + 2 >= allowed, "{passed} of {allowed} at {per_second}/s");
        }
    }

    #[test]
    fn extreme_rates_and_moments_overflow_nothing() {
        let mut bucket = Bucket::default();
        for rate in [Rate { per_second: u32::MAX, burst: u32::MAX }, Rate { per_second: 1, burst: u32::MAX }] {
            let _ = bucket.take(Moment::new(Duration::MAX), rate, u32::MAX);
            let _ = bucket.take(Moment::default(), rate, u32::MAX);
            bucket.charge(Moment::new(Duration::MAX), rate, usize::MAX);
        }
        assert_eq!(size_of::<Bucket>(), 8);
    }
}
