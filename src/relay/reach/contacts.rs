//! With whom there was something lately: a host that we never sent anything to is the only one that can tell whether
//! strangers reach us, or whether we reach it as a stranger.

use std::collections::BTreeMap;
use std::net::IpAddr;

use aldis_wire::id::HostId;

use crate::relay::io::Moment;
use crate::relay::limits::{CONTACT_KEPT, CONTACTS_MAX};
use crate::relay::prefix::Prefix;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Contact {
    Address(Prefix),
    Host(HostId),
}

/// When something last went to an address or a host, or came from it; bounded. An IPv6 /64 counts as one address: else a
/// single customer could fill all places with his.
#[derive(Debug, Default)]
pub(crate) struct Contacts {
    last: BTreeMap<Contact, Moment>,
    /// Something was not written down, for want of room: until then nobody is known to be a stranger.
    blind_until: Moment,
}

impl Contacts {
    /// Something goes to a normalised address, or comes from it.
    pub(crate) fn with_address(&mut self, now: Moment, address: IpAddr) {
        self.note(now, Contact::Address(Prefix::of(address)));
    }

    /// There is a connection with a host, or it has just ended.
    pub(crate) fn with_host(&mut self, now: Moment, host: HostId) {
        self.note(now, Contact::Host(host));
    }

    /// Whether there was nothing with that host, nor with that address, for [`CONTACT_KEPT`].
    pub(crate) fn is_stranger(&self, now: Moment, host: HostId, address: IpAddr) -> bool {
        now >= self.blind_until && self.latest(now, host, address).is_none()
    }

    /// When there was last something with that host or address.
    pub(crate) fn latest(&self, now: Moment, host: HostId, address: IpAddr) -> Option<Moment> {
        let of = |contact| self.last.get(&contact).copied().filter(|last| *last + CONTACT_KEPT > now);
        of(Contact::Address(Prefix::of(address))).max(of(Contact::Host(host)))
    }

    pub(crate) fn tidy(&mut self, now: Moment) {
        self.last.retain(|_, last| *last + CONTACT_KEPT > now);
    }

    pub(crate) fn len(&self) -> usize {
        self.last.len()
    }

    fn note(&mut self, now: Moment, contact: Contact) {
        if self.last.len() >= CONTACTS_MAX && !self.last.contains_key(&contact) {
            self.tidy(now);
        }
        if self.last.len() < CONTACTS_MAX || self.last.contains_key(&contact) {
            self.last.insert(contact, now);
        } else {
            self.blind_until = now + CONTACT_KEPT;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use super::*;

    fn ip(number: u32) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from_bits(number))
    }

    #[test]
    fn a_host_is_a_stranger_until_there_is_something_with_it_or_its_address_and_again_much_later() {
        let (mut contacts, now, host) =
            (Contacts::default(), Moment::new(Duration::from_secs(5)), HostId::new([1; 32]));
        assert!(contacts.is_stranger(now, host, ip(1)));
        contacts.with_address(now, ip(1));
        assert!(!contacts.is_stranger(now, host, ip(1)) && contacts.is_stranger(now, host, ip(2)));
        contacts.with_host(now, host);
        assert!(!contacts.is_stranger(now, host, ip(2)));
        assert!(contacts.is_stranger(now + CONTACT_KEPT, host, ip(1)));
    }

    #[test]
    fn the_addresses_of_one_ipv6_network_take_one_place() {
        let (mut contacts, now, host) =
            (Contacts::default(), Moment::new(Duration::from_secs(5)), HostId::new([1; 32]));
        let at = |network: u16, number: u16| IpAddr::from([0x2606, 0x4700, 0, network, 0, 0, 0, number]);
        for number in 0..9_000 {
            contacts.with_address(now, at(1, number));
        }
        assert_eq!(contacts.len(), 1);
        assert!(!contacts.is_stranger(now, host, at(1, 9_999)));
        assert!(contacts.is_stranger(now, host, at(2, 1)), "others are strangers still");
    }

    #[test]
    fn who_has_no_room_to_remember_takes_nobody_for_a_stranger() {
        let (mut contacts, now, host) =
            (Contacts::default(), Moment::new(Duration::from_secs(5)), HostId::new([1; 32]));
        for number in 0..u32::try_from(CONTACTS_MAX).unwrap() + 9 {
            contacts.with_address(now, ip(number));
        }
        assert_eq!(contacts.len(), CONTACTS_MAX);
        assert!(!contacts.is_stranger(now, host, ip(u32::MAX)));
        let later = now + CONTACT_KEPT;
        contacts.tidy(later);
        assert_eq!(contacts.len(), 0);
        assert!(contacts.is_stranger(later, host, ip(u32::MAX)));
    }
}
