//! The only source of chance: the same seed gives the same numbers on every machine.

/// A generator of random numbers (xoshiro256**, seeded by SplitMix64).
#[derive(Clone, Debug)]
pub struct Chance {
    state: [u64; 4],
}

impl Chance {
    /// A generator of its own for each (seed, purpose).
    #[must_use]
    pub fn new(seed: u64, purpose: u64) -> Self {
        let mut mixed = seed ^ purpose.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let state = std::array::from_fn(|_| {
            mixed = mixed.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let z = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        });
        Self { state }
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        let [a, b, c, d] = self.state;
        let result = b.wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let (c, d) = (c ^ a, d ^ b);
        self.state = [a ^ d, b ^ c, c ^ (b << 17), d.rotate_left(45)];
        result
    }

    /// A number below `limit`; 0 if that is 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        // The bias is below limit / 2^64.
        ((u128::from(self.number()) * u128::from(limit)) >> 64) as u64
    }

    /// A place in a list of this length.
    pub fn index(&mut self, length: usize) -> usize {
        self.below(length as u64) as usize
    }

    /// True in so many of a million cases.
    pub fn in_a_million(&mut self, parts: u32) -> bool {
        parts > 0 && self.below(1_000_000) < u64::from(parts)
    }

    /// A time until something that happens by chance, on average after `mean`.
    pub fn exponential(&mut self, mean: u64) -> u64 {
        // Only additions, multiplications and divisions, so that the result is the same everywhere: the logarithm of a
        // number in (0, 1] by its exponent and a series.
        let x = self.number() | 1;
        let zeros = x.leading_zeros();
        let fraction = (x << zeros) as f64 / 18_446_744_073_709_551_616.0;
        let t = (fraction - 1.0) / (fraction + 1.0);
        let (mut term, mut sum) = (t, 0.0);
        for n in 0..20 {
            sum += term / f64::from(2 * n + 1);
            term *= t * t;
        }
        let minus_log = f64::from(zeros) * std::f64::consts::LN_2 - 2.0 * sum;
        (minus_log * mean as f64) as u64
    }

    /// 32 bytes.
    pub fn bytes(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes.chunks_exact_mut(8).for_each(|part| part.copy_from_slice(&self.number().to_be_bytes()));
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_times_have_the_mean_that_was_asked_for() {
        let mut chance = Chance::new(1, 2);
        let sum: u64 = (0..100_000).map(|_| chance.exponential(1_000_000)).sum();
        let mean = sum / 100_000;
        assert!((990_000..1_010_000).contains(&mean), "{mean}");
    }

    #[test]
    fn other_seeds_and_purposes_give_other_numbers() {
        let first = |seed, purpose| Chance::new(seed, purpose).number();
        assert_eq!(first(1, 1), first(1, 1));
        assert_ne!(first(1, 1), first(2, 1));
        assert_ne!(first(1, 1), first(1, 2));
    }
}
