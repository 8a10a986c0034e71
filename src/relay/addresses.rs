//! What the addresses of edges may do: sockets and requests, counted for each IPv4 address and each IPv6 /64.
//!
//! The table is bounded. Only addresses without an open socket are forgotten, the least recently used first, so nobody
//! gets rid of a count by opening sockets from elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use aldis_wire::refusal::Refusal;

use super::bucket::Bucket;
use super::io::Moment;
use super::limits::{ADDRESSES_MAX, HELLO_DEADLINE, SILENT_EDGES_PER_ADDRESS_MAX};
use super::prefix::Prefix;
use super::setup::Settings;

#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    /// Open sockets.
    edges: usize,
    /// Those of them that have not said hello.
    silent: usize,
    opened: Bucket,
    requests: Bucket,
    /// Place in the order of use; also its key in `Addresses::idle` while there are no sockets.
    used: u64,
}

/// Counts and buckets by address.
#[derive(Debug, Default)]
pub(crate) struct Addresses {
    entries: BTreeMap<Prefix, Entry>,
    /// Entries without sockets, least recently used first.
    idle: BTreeSet<(u64, Prefix)>,
    /// Grows with every use.
    uses: u64,
}

impl Addresses {
    /// Counts a new socket, which has not said hello yet. Pair each success with one [`Addresses::close`].
    ///
    /// # Errors
    /// `RateLimited` when too many came in a short time, `TooManyEdges` when too many are open or silent, `Overloaded`
    /// when there is no room for another address; and when it is worth trying again.
    pub(crate) fn open(
        &mut self,
        now: Moment,
        address: IpAddr,
        settings: &Settings,
    ) -> Result<(), (Refusal, Duration)> {
        let prefix = Prefix::of(address);
        let mut entry = self.entries.get(&prefix).copied().unwrap_or_default();
        if entry.edges == 0 && !self.make_room(prefix) {
            return Err((Refusal::Overloaded, HELLO_DEADLINE));
        }
        let decision = admit(&mut entry, now, settings);
        if decision.is_ok() {
            entry.edges += 1;
            entry.silent += 1;
        }
        self.put(prefix, entry);
        decision
    }

    /// A socket is gone; `silent` when it never said hello.
    pub(crate) fn close(&mut self, address: IpAddr, silent: bool) {
        let prefix = Prefix::of(address);
        if let Some(mut entry) = self.entries.get(&prefix).copied() {
            entry.edges = entry.edges.saturating_sub(1);
            entry.silent = entry.silent.saturating_sub(usize::from(silent));
            self.put(prefix, entry);
        }
    }

    /// An open socket has said hello. To be told once for each.
    pub(crate) fn said_hello(&mut self, address: IpAddr) {
        if let Some(entry) = self.entries.get_mut(&Prefix::of(address)) {
            entry.silent = entry.silent.saturating_sub(1);
        }
    }

    /// Counts a request of an open socket.
    ///
    /// # Errors
    /// When the address asks too much: how long until it may again.
    pub(crate) fn take_request(&mut self, now: Moment, address: IpAddr, settings: &Settings) -> Result<(), Duration> {
        self.take_requests(now, address, settings, 1)
    }

    /// The same for something that counts as several requests.
    ///
    /// # Errors
    /// As [`Addresses::take_request`].
    pub(crate) fn take_requests(
        &mut self,
        now: Moment,
        address: IpAddr,
        settings: &Settings,
        tokens: u32,
    ) -> Result<(), Duration> {
        match self.entries.get_mut(&Prefix::of(address)) {
            Some(entry) => entry.requests.take(now, settings.address_rate, tokens),
            None => Ok(()),
        }
    }

    /// Addresses remembered.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    fn put(&mut self, prefix: Prefix, mut entry: Entry) {
        self.idle.remove(&(entry.used, prefix));
        self.uses += 1;
        entry.used = self.uses;
        if entry.edges == 0 {
            self.idle.insert((entry.used, prefix));
        }
        self.entries.insert(prefix, entry);
    }

    /// Whether there is a place for this address, after forgetting an idle one if need be.
    fn make_room(&mut self, prefix: Prefix) -> bool {
        if self.entries.len() < ADDRESSES_MAX || self.entries.contains_key(&prefix) {
            return true;
        }
        match self.idle.pop_first() {
            Some((_, oldest)) => self.entries.remove(&oldest).is_some(),
            None => false,
        }
    }
}

fn admit(entry: &mut Entry, now: Moment, settings: &Settings) -> Result<(), (Refusal, Duration)> {
    if entry.edges >= settings.edges_per_address_max || entry.silent >= SILENT_EDGES_PER_ADDRESS_MAX {
        // By then every socket that is silent now has spoken or been closed.
        return Err((Refusal::TooManyEdges, HELLO_DEADLINE));
    }
    entry.opened.take(now, settings.address_open_rate, 1).map_err(|after| (Refusal::RateLimited, after))
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::super::limits::Rate;
    use super::*;

    fn settings() -> Settings {
        Settings {
            address_open_rate: Rate { per_second: 0, burst: 1 },
            address_rate: Rate { per_second: 10, burst: 3 },
            edges_per_address_max: 100,
            ..Settings::default()
        }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn v4(number: usize) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from_bits(u32::try_from(number).unwrap()))
    }

    fn at(seconds: u64) -> Moment {
        Moment::new(Duration::from_secs(seconds))
    }

    #[test]
    fn silent_sockets_are_fewer_than_those_that_spoke() {
        let (mut addresses, settings, home) = (Addresses::default(), settings(), ip("192.0.2.1"));
        for _ in 0..SILENT_EDGES_PER_ADDRESS_MAX {
            assert_eq!(addresses.open(at(0), home, &settings), Ok(()));
        }
        assert_eq!(addresses.open(at(0), home, &settings), Err((Refusal::TooManyEdges, HELLO_DEADLINE)));
        assert_eq!(addresses.open(at(0), ip("192.0.2.2"), &settings), Ok(()), "another address is not concerned");
        addresses.said_hello(home);
        assert_eq!(addresses.open(at(0), home, &settings), Ok(()));
        addresses.close(home, true);
        assert_eq!(addresses.open(at(0), home, &settings), Ok(()));
        addresses.close(home, false);
        assert!(addresses.open(at(0), home, &settings).is_err(), "the one that closed was not silent");
    }

    #[test]
    fn an_address_has_as_many_edges_as_it_may() {
        let (mut addresses, settings, home) = (Addresses::default(), settings(), ip("192.0.2.1"));
        for _ in 0..100 {
            assert_eq!(addresses.open(at(0), home, &settings), Ok(()));
            addresses.said_hello(home);
        }
        assert!(matches!(addresses.open(at(0), home, &settings), Err((Refusal::TooManyEdges, _))));
        addresses.close(home, false);
        assert_eq!(addresses.open(at(0), home, &settings), Ok(()));
    }

    #[test]
    fn sockets_in_a_hurry_are_told_when_to_come_back() {
        let settings = Settings { address_open_rate: Rate { per_second: 1, burst: 2 }, ..settings() };
        let (mut addresses, home) = (Addresses::default(), ip("192.0.2.1"));
        for _ in 0..2 {
            assert_eq!(addresses.open(at(0), home, &settings), Ok(()));
            addresses.close(home, true);
        }
        let refused = addresses.open(at(0), home, &settings);
        assert_eq!(refused, Err((Refusal::RateLimited, Duration::from_secs(1))));
        assert_eq!(addresses.open(at(1), home, &settings), Ok(()));
    }

    #[test]
    fn requests_of_all_sockets_of_an_address_share_a_bucket() {
        let (mut addresses, settings, home) = (Addresses::default(), settings(), ip("2001:db8::1"));
        assert_eq!(addresses.open(at(0), home, &settings), Ok(()));
        for host in ["2001:db8::1", "2001:db8::2", "2001:db8::ffff:0:0:1"] {
            assert_eq!(addresses.take_request(at(0), ip(host), &settings), Ok(()));
        }
        let refused = addresses.take_request(at(0), ip("2001:db8::9"), &settings);
        assert_eq!(refused, Err(Duration::from_millis(100)));
        assert_eq!(addresses.take_request(at(1), ip("2001:db8::9"), &settings), Ok(()));
    }

    #[test]
    fn one_address_has_one_entry_however_it_is_written() {
        let (mut addresses, settings) = (Addresses::default(), settings());
        for address in ["192.0.2.1", "::ffff:192.0.2.1", "2001:db8:1:2::1", "2001:db8:1:2:ffff::"] {
            assert_eq!(addresses.open(at(0), ip(address), &settings), Ok(()));
        }
        assert_eq!(addresses.len(), 2);
        assert_eq!(addresses.open(at(0), ip("2001:db8:1:3::1"), &settings), Ok(()));
        assert_eq!(addresses.len(), 3);
    }

    #[test]
    fn a_full_table_forgets_the_idle_address_used_longest_ago_and_never_one_in_use() {
        let (mut addresses, settings) = (Addresses::default(), settings());
        for number in 0..ADDRESSES_MAX {
            assert_eq!(addresses.open(at(0), v4(number), &settings), Ok(()));
        }
        let refused = addresses.open(at(0), v4(ADDRESSES_MAX), &settings);
        assert_eq!(refused, Err((Refusal::Overloaded, HELLO_DEADLINE)), "all are in use");
        assert_eq!(addresses.open(at(0), v4(5), &settings), Ok(()), "a known address needs no new place");
        for number in [30, 10, 20, 5] {
            addresses.close(v4(number), true);
        }
        let another = IpAddr::V6(Ipv6Addr::LOCALHOST);
        assert_eq!(addresses.open(at(0), another, &settings), Ok(()));
        assert_eq!(addresses.len(), ADDRESSES_MAX);
        assert!(!addresses.entries.contains_key(&Prefix::of(v4(30))), "closed first, so forgotten first");
        for number in [10, 20, 5] {
            assert!(addresses.entries.contains_key(&Prefix::of(v4(number))));
        }
        assert_eq!(addresses.idle.len(), 2, "5 has a socket left");
    }

    #[test]
    fn forgetting_is_no_way_out_of_a_limit_while_a_socket_is_open() {
        let settings = Settings { address_open_rate: Rate { per_second: 1, burst: 1 }, ..settings() };
        let (mut addresses, home) = (Addresses::default(), v4(ADDRESSES_MAX * 2));
        assert_eq!(addresses.open(at(0), home, &settings), Ok(()));
        for number in 0..2 * ADDRESSES_MAX {
            assert_eq!(addresses.open(at(0), v4(number), &settings), Ok(()));
            addresses.close(v4(number), true);
        }
        assert!(matches!(addresses.open(at(0), home, &settings), Err((Refusal::RateLimited, _))));
        assert_eq!(addresses.len(), ADDRESSES_MAX);
        assert_eq!(addresses.idle.len(), ADDRESSES_MAX - 1);
    }
}
