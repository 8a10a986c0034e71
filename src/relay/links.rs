//! Connections to other hosts: which are admitted, which of several between the same two hosts is kept, what is on its
//! way on each, and what each neighbour is known to have.
//!
//! ```text
//! Greeting --their Hello verified--> Verified --their Admitted--> Admitted --crossed, goodbye--> Closing
//!     \--deadline, wrong proof--> gone        (Admitted may overtake: both flags must stand)
//! ```

mod known;
mod link;
#[cfg(test)]
mod tests;
mod ways;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use aldis_wire::host::{Role, connection_name};
use aldis_wire::id::HostId;
use aldis_wire::limits::{CROSSED_WITHIN, LOST_NAMED_MAX};

use super::hashing::Seed;
use super::io::{LinkKey, Moment};
use super::limits;
use super::prefix::Prefix;
use ways::Ways;

pub(crate) use known::Told;
pub(crate) use link::{Link, Phase};

/// All connections.
#[derive(Debug)]
pub(crate) struct Links {
    all: BTreeMap<LinkKey, Link>,
    ways: Ways,
}

impl Links {
    /// No connections.
    #[must_use]
    pub(crate) fn new(seed: Seed) -> Self {
        Self { all: BTreeMap::new(), ways: Ways::new(seed) }
    }

    /// A connection that has come through TLS.
    pub(crate) fn insert(&mut self, key: LinkKey, link: Link) {
        self.all.insert(key, link);
    }

    /// A connection.
    #[must_use]
    pub(crate) fn find(&self, key: LinkKey) -> Option<&Link> {
        self.all.get(&key)
    }

    /// A connection, to be changed.
    pub(crate) fn find_mut(&mut self, key: LinkKey) -> Option<&mut Link> {
        self.all.get_mut(&key)
    }

    /// Forgets a connection.
    pub(crate) fn remove(&mut self, key: LinkKey) {
        // A stranger that comes and goes costs no walk over all origins.
        if self.all.remove(&key).is_some_and(|link| link.origins > 0) {
            self.ways.forget_link(key);
        }
    }

    /// All connections, oldest name first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (LinkKey, &Link)> {
        self.all.iter().map(|(key, link)| (*key, link))
    }

    /// All admitted connections.
    pub(crate) fn admitted(&self) -> impl Iterator<Item = (LinkKey, &Link)> {
        self.iter().filter(|(_, link)| link.is_admitted())
    }

    /// The connection over which to send to a host: the oldest that is heard, or else the oldest.
    #[must_use]
    pub(crate) fn to_host(&self, host: HostId) -> Option<LinkKey> {
        let all = self.admitted().filter(|(_, link)| link.host == host);
        all.min_by_key(|(key, link)| (!link.is_sound(), *key)).map(|(key, _)| key)
    }

    /// The names of those connections with a host over which nothing comes any more.
    #[must_use]
    pub(crate) fn lost_with(&self, host: HostId) -> Vec<[u8; 8]> {
        let lost = self.admitted().filter(|(_, link)| link.host == host && !link.is_sound());
        lost.map(|(_, link)| connection_name(&link.exporter)).take(LOST_NAMED_MAX).collect()
    }

    /// The admitted connection with a host that has this name.
    #[must_use]
    pub(crate) fn named(&self, host: HostId, name: &[u8; 8]) -> Option<LinkKey> {
        let found = self.admitted().find(|(_, link)| link.host == host && connection_name(&link.exporter) == *name);
        found.map(|(key, _)| key)
    }

    /// Connections of which we are this end and that are not admitted yet. Counted apart, so that strangers who connect
    /// and say nothing do not stand in the way of our own dials.
    #[must_use]
    pub(crate) fn pending(&self, role: Role) -> usize {
        let pending = |link: &Link| link.role == role && matches!(link.phase, Phase::Greeting { .. });
        self.iter().filter(|(_, link)| pending(link)).count()
    }

    /// Whether a connection that we have just dialled comes after one of ours to the same host by the other address
    /// family: then the first one is kept, whatever the rule for crossed links says of two that are equal.
    #[must_use]
    pub(crate) fn race_is_won(&self, now: Moment, host: HostId, address: SocketAddr) -> bool {
        let first = |link: &Link| {
            link.host == host
                && link.role == Role::Dialler
                && link.phase != Phase::Closing
                && link.address.is_ipv4() != address.is_ipv4()
                && link.since + limits::RACE > now
        };
        self.all.values().any(first)
    }

    /// Connections from an address, or an IPv6 /64, that it opened and that are not admitted yet.
    #[must_use]
    pub(crate) fn pending_from(&self, address: IpAddr) -> usize {
        let prefix = Prefix::of(address);
        let pending = |link: &Link| {
            link.role == Role::Acceptor
                && Prefix::of(link.address.ip()) == prefix
                && matches!(link.phase, Phase::Greeting { .. })
        };
        self.iter().filter(|(_, link)| pending(link)).count()
    }

    /// Whether there are as many connections as there may be, for another one of which we are this end. Those count
    /// whose Hello was verified: they are as good as admitted.
    #[must_use]
    pub(crate) fn is_full(&self, role: Role) -> bool {
        let counts = |link: &Link| matches!(link.phase, Phase::Admitted | Phase::Greeting { verified: true, .. });
        let all = self.iter().filter(|(_, link)| counts(link)).count();
        let taken = self.iter().filter(|(_, link)| counts(link) && link.role == Role::Acceptor).count();
        all >= limits::LINKS_MAX || role == Role::Acceptor && taken >= limits::LINKS_TAKEN_MAX
    }

    /// Whether we have dialled a host just now and that connection stands or is about to. While we dial it because of a
    /// meeting, which began at `meeting`, those before do not count: who is met has lost them.
    #[must_use]
    pub(crate) fn is_doubled(&self, now: Moment, host: HostId, meeting: Option<Moment>) -> bool {
        let is_new = |since: Moment| meeting.map_or(now.since(since) < CROSSED_WITHIN, |began| since >= began);
        let fresh = |link: &Link| link.role == Role::Dialler && is_new(link.since);
        self.iter().any(|(_, link)| link.host == host && fresh(link) && link.phase != Phase::Closing && link.is_sound())
    }

    /// A connection takes the place of another one of the same moment: it came about in the same way.
    pub(crate) fn inherit(&mut self, key: LinkKey, loser: LinkKey) {
        let Some((since, punched)) = self.find(loser).map(|link| (link.since, link.punched)) else { return };
        if let Some(link) = self.find_mut(key).filter(|link| link.since.since(since) < CROSSED_WITHIN) {
            link.punched |= punched;
        }
    }

    /// Of two admitted connections with the same host, the one that must go, if it is for us to close it
    /// (PROTOCOL.md §5.4): that of later lives wins, then one that is much newer, since nobody dials whom he has a link
    /// with; of two that crossed the one dialled by the lower HostId, then the newer one as its acceptor saw them come.
    #[must_use]
    pub(crate) fn loser(&self, own: HostId, key: LinkKey) -> Option<LinkKey> {
        let new = self.find(key)?;
        let (old_key, old) = self.admitted().find(|(other, link)| *other != key && link.host == new.host)?;
        // Both ends know both epochs, so both see the same sum; an epoch never falls.
        let lives = |link: &Link| u128::from(link.epoch) + u128::from(link.stated);
        if lives(new) != lives(old) {
            return Some(if lives(new) > lives(old) { old_key } else { key });
        }
        if new.since.since(old.since) >= CROSSED_WITHIN || !old.is_sound() {
            return Some(old_key);
        }
        if new.role != old.role {
            let lower_dials = if own < new.host { Role::Dialler } else { Role::Acceptor };
            return Some(if new.role == lower_dials { old_key } else { key });
        }
        (new.role == Role::Acceptor).then_some(old_key)
    }
}
