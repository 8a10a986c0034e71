//! How many STUN answers anybody gets.
//!
//! A sender's address can be forged, so an answer may go to somebody who never asked. It is 32 bytes for 20 that came,
//! 44 over IPv6: with the headers of UDP and IP 1.25 and 1.35 times as much. What these bounds leave is 16 answers a
//! second to one victim, 960 bytes; and 120 KB a second to all, at most.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::Duration;

use crate::relay::bucket::Bucket;
use crate::relay::io::Moment;
use crate::relay::limits::Rate;

/// Answers to one IPv4 address or IPv6 /64: a browser asks each server some six times when it gathers candidates, and
/// then every ten seconds; many share an address behind a provider's NAT.
pub(super) const STUN_ADDRESS_RATE: Rate = Rate { per_second: 16, burst: 64 };
/// Answers to all: 10,000 browsers that ask every ten seconds, and as many again. Some 5 µs of processor each.
pub(super) const STUN_TOTAL_RATE: Rate = Rate { per_second: 2_000, burst: 4_000 };
/// Addresses are counted in so many buckets, 8 bytes each. Those that fall into the same one share it: then nothing has to
/// be forgotten or searched, however many senders are invented. Which ones, only this process knows.
pub(super) const STUN_BUCKETS_MAX: usize = 4_096;

/// Counts of answers.
#[derive(Debug)]
pub(super) struct Limits {
    total: Bucket,
    by_address: Vec<Bucket>,
    places: RandomState,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            total: Bucket::default(),
            by_address: vec![Bucket::default(); STUN_BUCKETS_MAX],
            places: RandomState::new(),
        }
    }
}

impl Limits {
    /// Whether this address may have an answer `since` the start; counts it then.
    pub(super) fn allow(&mut self, since: Duration, to: IpAddr) -> bool {
        let now = Moment::new(since);
        let place = usize::try_from(self.places.hash_one(customer(to)) % STUN_BUCKETS_MAX as u64);
        let Some(bucket) = place.ok().and_then(|place| self.by_address.get_mut(place)) else { return false };
        // Its own first: who asks too much takes nothing from the others.
        bucket.take(now, STUN_ADDRESS_RATE, 1).is_ok() && self.total.take(now, STUN_TOTAL_RATE, 1).is_ok()
    }
}

/// What counts as one: an IPv4 address, or an IPv6 /64.
fn customer(address: IpAddr) -> u128 {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_bits().into(),
        // The lower half tells nothing, and no upper half alone is an IPv4 address but that of `::`.
        IpAddr::V6(address) => address.to_bits() >> 64 << 64,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail by panic")]
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    fn answers(limits: &mut Limits, at: u64, requests: impl IntoIterator<Item = IpAddr>) -> usize {
        requests.into_iter().filter(|address| limits.allow(Duration::from_secs(at), *address)).count()
    }

    fn v4(number: u32) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from_bits(number))
    }

    #[test]
    fn one_address_gets_its_burst_and_then_its_rate_and_others_are_not_concerned() {
        let (mut limits, victim, other) = (Limits::default(), v4(0x0102_0304), v4(0x0102_0305));
        let burst = STUN_ADDRESS_RATE.burst as usize;
        assert_eq!(answers(&mut limits, 0, vec![victim; 5_000]), burst);
        assert_eq!(answers(&mut limits, 1, vec![victim; 5_000]), STUN_ADDRESS_RATE.per_second as usize);
        // Unless they share a bucket, which happens once in 4,096 times; then one of the next does not.
        let others = [other, v4(7), v4(8)].map(|other| answers(&mut limits, 1, vec![other; 5_000]));
        assert!(others.iter().filter(|answers| **answers == burst).count() >= 2, "{others:?}");
    }

    #[test]
    fn an_address_is_the_same_however_it_is_written_and_a_customer_is_his_whole_64() {
        let mut limits = Limits::default();
        let victim = Ipv4Addr::new(192, 0, 2, 7);
        let written = [IpAddr::V4(victim), IpAddr::V6(victim.to_ipv6_mapped())];
        assert_eq!(answers(&mut limits, 0, written.repeat(500)), STUN_ADDRESS_RATE.burst as usize);
        let home = (0..500).map(|host| Ipv6Addr::new(0x2001, 0xdb8, 1, 2, host, 0, 0, host).into());
        assert_eq!(answers(&mut limits, 10, home), STUN_ADDRESS_RATE.burst as usize);
    }

    #[test]
    fn invented_senders_get_no_more_than_the_total_and_take_no_memory() {
        let mut limits = Limits::default();
        let invented = || (0..100_000).map(v4);
        assert_eq!(answers(&mut limits, 0, invented()), STUN_TOTAL_RATE.burst as usize);
        let (total, one) = (STUN_TOTAL_RATE.per_second as usize, STUN_ADDRESS_RATE.burst as usize);
        assert_eq!(answers(&mut limits, 1, invented()), total);
        assert_eq!(limits.by_address.len(), STUN_BUCKETS_MAX);
        // Who asks too much was turned away before it could use up what is everybody's.
        let mut limits = Limits::default();
        assert_eq!(answers(&mut limits, 0, vec![v4(1); 100_000]), one);
        assert_eq!(answers(&mut limits, 0, invented()), STUN_TOTAL_RATE.burst as usize - one);
    }
}
