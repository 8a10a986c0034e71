//! Places in hash tables of ids. Strangers choose topics freely and can grind the hashes that name peers, so a fixed
//! function of an id would let them fill one place of a table and make every look-up a long walk.
//!
//! Each host adds up the words of an id, times numbers of its own that it drew at its start (multilinear hashing). Whoever
//! does not know the numbers finds ids that meet in a place no more often than by chance: any two do with probability
//! 2^-n in n bits of the result (Lemire, Kaser: Strongly universal string hashing is fast, 2014). Nothing that a host
//! says depends on them, and tables of ids are never walked. It costs a tenth of SipHash, and that is felt: a look-up is
//! done for every step of every signal.

/// The numbers of one host.
#[derive(Clone, Debug)]
pub(crate) struct Seed([u128; 5]);

impl Seed {
    /// Numbers drawn by `random`.
    #[must_use]
    pub(crate) fn new(mut random: impl FnMut() -> u64) -> Self {
        Self(std::array::from_fn(|_| u128::from(random()) << 64 | u128::from(random())))
    }

    /// The same numbers each time.
    #[cfg(test)]
    pub(crate) fn fixed() -> Self {
        let mut last = 7_u64;
        Self::new(|| {
            last = last.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            last ^ last >> 31
        })
    }

    /// Where an id belongs.
    #[must_use]
    pub(crate) fn hash(&self, id: &[u8; 32]) -> u64 {
        let [first, keys @ ..] = &self.0;
        let (words, _) = id.as_chunks::<8>();
        let sum = keys
            .iter()
            .zip(words)
            .fold(*first, |sum, (key, word)| sum.wrapping_add(key.wrapping_mul(u128::from(u64::from_le_bytes(*word)))));
        u64::try_from(sum >> 64).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_differ_in_little_are_spread_evenly() {
        let seed = Seed::fixed();
        for place in 0..32 {
            let mut buckets = [[0_u32; 256]; 2];
            for number in 0..=u16::MAX {
                let mut id = [0; 32];
                let [high, low] = number.to_be_bytes();
                (id[place], id[(place + 1) % 32]) = (high, low);
                let hash = seed.hash(&id).to_be_bytes();
                buckets[0][usize::from(hash[0])] += 1;
                buckets[1][usize::from(hash[7])] += 1;
            }
            for bucket in buckets.iter().flatten() {
                assert!((1..=1_024).contains(bucket), "{bucket} of 256 expected, for the bytes at {place}");
            }
        }
    }
}
