//! Who sees us where: one word for each link, and what it says of the router between.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use aldis_wire::id::HostId;

use crate::relay::bucket::Bucket;
use crate::relay::io::{LinkKey, Moment};
use crate::relay::limits::{NAT_SETTLES, OBSERVED, OBSERVED_MAX};
use crate::relay::prefix::Prefix;
use crate::relay::scope::{Scope, scope, usable};

/// One neighbour's word.
#[derive(Clone, Debug)]
pub(crate) struct Observer {
    pub(crate) host: HostId,
    /// Where it is itself.
    pub(crate) at: IpAddr,
    /// Whether we dialled it. A host that dialled us sees what it dialled, whatever our router does with what we send.
    pub(crate) dialled: bool,
    /// Whether it saw us there too when we had dialled it: dials crossed, and its own connection was kept.
    confirmed: bool,
    /// Where it sees us; normalised.
    pub(crate) sees: SocketAddr,
    /// Since when.
    pub(crate) since: Moment,
    /// When it last saw us move, if it ever did.
    moved: Option<Moment>,
    words: Bucket,
}

impl Observer {
    pub(crate) fn new(now: Moment, host: HostId, at: IpAddr, dialled: bool, sees: SocketAddr) -> Self {
        Self { host, at, dialled, confirmed: false, sees, since: now, moved: None, words: Bucket::default() }
    }
}

/// What a router does with the addresses of what we send.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Too few have seen us.
    #[default]
    Unknown,
    /// Nothing: we are seen at an address of our own.
    Direct,
    /// The same outside address for all.
    Cone,
    /// Another one for each.
    Symmetric,
}

/// All neighbours' words; one for each admitted link.
#[derive(Debug, Default)]
pub(crate) struct Observers {
    all: BTreeMap<LinkKey, Observer>,
    /// When somebody has last seen us move.
    moved: Option<Moment>,
    /// Who was removed last, and when.
    left: Option<(Moment, Observer)>,
}

impl Observers {
    pub(crate) fn insert(&mut self, link: LinkKey, observer: Observer) {
        let saw = |other: &Observer| (other.host, other.at, other.sees) == (observer.host, observer.at, observer.sees);
        // The link that gives way is left before the other one counts, in the same moment.
        let left = self.left.take().filter(|(at, _)| *at == observer.since).map(|(_, left)| left);
        let confirmed = left.is_some_and(|left| saw(&left) && (left.dialled || left.confirmed));
        self.all.insert(link, Observer { confirmed, ..observer });
    }

    /// A host saw us there when we had dialled it.
    pub(crate) fn confirm(&mut self, host: HostId, at: IpAddr, sees: SocketAddr) {
        let saw = |other: &&mut Observer| (other.host, other.at, other.sees) == (host, at, sees);
        self.all.values_mut().filter(saw).for_each(|other| other.confirmed = true);
    }

    pub(crate) fn remove(&mut self, now: Moment, link: LinkKey) {
        if let Some(observer) = self.all.remove(&link) {
            self.left = Some((now, observer));
        }
    }

    pub(crate) fn find(&self, link: LinkKey) -> Option<&Observer> {
        self.all.get(&link)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (LinkKey, &Observer)> {
        self.all.iter().map(|(key, observer)| (*key, observer))
    }

    /// A neighbour sees us at another address. Gives the one before, if this counts.
    pub(crate) fn sees(&mut self, now: Moment, link: LinkKey, address: SocketAddr) -> Option<SocketAddr> {
        let observer = self.all.get_mut(&link)?;
        if observer.sees == address || observer.words.take(now, OBSERVED, 1).is_err() {
            return None;
        }
        self.moved = Some(now);
        (observer.since, observer.moved, observer.confirmed) = (now, Some(now), false);
        Some(std::mem::replace(&mut observer.sees, address))
    }

    /// Whether the word of one neighbour that it sees us elsewhere is enough to give up links that lead to where we were.
    /// Only who was dialled sees what our router makes of us; and if there are `witnesses`, links whose other sides would
    /// notice as well, one at another address must have noticed lately: else one liar could have all links given up.
    pub(crate) fn believe_move(&self, now: Moment, link: LinkKey, witnesses: &[LinkKey]) -> bool {
        let Some(word) = self.all.get(&link).filter(|word| word.dialled) else { return false };
        let mut others = witnesses.iter().filter_map(|key| self.all.get(key)).filter(|other| {
            other.dialled
                && other.host != word.host
                && other.at != word.at
                && other.sees.is_ipv4() == word.sees.is_ipv4()
        });
        let mut alone = true;
        let noticed = others.any(|other| {
            alone = false;
            other.moved.is_some_and(|moved| now.since(moved) < NAT_SETTLES)
        });
        noticed || alone
    }

    /// Whether it has become late enough to conclude something. True once.
    pub(crate) fn take_settled(&mut self, now: Moment) -> bool {
        let settled = self.settles().is_some_and(|at| at <= now);
        if settled {
            self.moved = None;
        }
        settled
    }

    /// Until when nothing is concluded from neighbours that disagree.
    pub(crate) fn settles(&self) -> Option<Moment> {
        self.moved.map(|moved| moved + NAT_SETTLES)
    }

    /// The IP address at which most of those outside that we dialled see us, if two of them at different addresses do: one alone
    /// could name anybody's. None if as many see us elsewhere.
    pub(crate) fn outside(&self) -> Option<IpAddr> {
        let mut seen: BTreeMap<IpAddr, BTreeSet<Prefix>> = BTreeMap::new();
        let counts = |observer: &&Observer| {
            // Where a host is inside, our router does nothing with what we send to it.
            let is_outside = usable(SocketAddr::new(observer.at, observer.sees.port()), false);
            (observer.dialled || observer.confirmed) && is_outside && usable(observer.sees, false)
        };
        for observer in self.all.values().filter(counts) {
            seen.entry(observer.sees.ip()).or_default().insert(Prefix::of(observer.at));
        }
        let most = seen.values().map(BTreeSet::len).max().filter(|most| *most > 1)?;
        let mut agreed = seen.into_iter().filter(|(_, by)| by.len() == most);
        agreed.next().map(|(ip, _)| ip).filter(|_| agreed.next().is_none())
    }

    /// The addresses at which hosts that we dialled see us, most often seen first, then newest; then those at which others
    /// do. At most [`OBSERVED_MAX`].
    pub(crate) fn addresses(&self, private: bool) -> Vec<SocketAddr> {
        let mut seen: BTreeMap<SocketAddr, (bool, usize, Moment)> = BTreeMap::new();
        for observer in self.all.values().filter(|observer| usable(observer.sees, private)) {
            let (dialled, times, since) = seen.entry(observer.sees).or_default();
            *dialled |= observer.dialled;
            *times += usize::from(observer.dialled);
            *since = observer.since.max(*since);
        }
        let mut seen: Vec<_> =
            seen.into_iter().map(|(address, rank)| (Reverse((rank, address.is_ipv4())), address)).collect();
        seen.sort_unstable();
        seen.truncate(OBSERVED_MAX);
        seen.into_iter().map(|(_, address)| address).collect()
    }

    /// Whether somebody else than `host` sees us at this address.
    pub(crate) fn others_see(&self, host: HostId, at: IpAddr, address: SocketAddr) -> bool {
        self.all.values().any(|other| other.sees == address && other.host != host && other.at != at)
    }

    /// What neighbours' words say of the router; `shared` is where the nodes of the DHT see the port for links. None while
    /// it is too early to say.
    pub(crate) fn kind(
        &self,
        now: Moment,
        local: &[SocketAddr],
        private: bool,
        shared: Option<SocketAddr>,
    ) -> Option<Kind> {
        if self.settles().is_some_and(|until| until > now) {
            return None;
        }
        let tells = |observer: &&Observer| (observer.dialled || observer.confirmed) && usable(observer.sees, private);
        let mut words: Vec<(Option<IpAddr>, SocketAddr)> =
            self.all.values().filter(tells).map(|observer| (Some(observer.at), observer.sees)).collect();
        words.extend(shared.filter(|address| usable(*address, private)).map(|address| (None, address)));
        // Of a private network's addresses those count only that no public one makes meaningless, and IPv6 only alone.
        let best = words.iter().map(|(_, sees)| rank(*sees)).min()?;
        words.retain(|(_, sees)| rank(*sees) == best);
        if words.iter().any(|(_, sees)| local.contains(sees)) {
            return Some(Kind::Direct);
        }
        Some(judged(&words))
    }
}

/// What those who see us at these addresses say together, each with where he is himself (`None`: the nodes of the DHT). Who
/// sees us elsewhere than two others at least, and is outnumbered by them two to one, counts for nothing: one neighbour
/// that lies must not make a host believe that it cannot be met.
fn judged(words: &[(Option<IpAddr>, SocketAddr)]) -> Kind {
    let mut at: BTreeMap<SocketAddr, BTreeSet<Option<IpAddr>>> = BTreeMap::new();
    for (observer, sees) in words {
        at.entry(*sees).or_default().insert(*observer);
    }
    let most = at.values().map(BTreeSet::len).max().unwrap_or(0);
    let others = at.values().map(BTreeSet::len).sum::<usize>() - most;
    let differ = words.iter().any(|one| words.iter().any(|other| one.0 != other.0 && one.1 != other.1));
    if differ && most <= 2 * others {
        Kind::Symmetric
    } else if most > 1 {
        Kind::Cone
    } else {
        Kind::Unknown
    }
}

fn rank(address: SocketAddr) -> (bool, bool) {
    (scope(address) != Scope::Global, address.is_ipv6())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_host_saw_when_it_was_dialled_counts_on_when_its_own_connection_is_kept() {
        let (now, outside) = (Moment::default(), SocketAddr::from(([45, 9, 9, 9], 4_000)));
        let seen_by = |number: u8, dialled| {
            let at = IpAddr::from([46, 0, number, 1]);
            Observer::new(now, HostId::new([number; 32]), at, dialled, outside)
        };
        let mut observers = Observers::default();
        let kind = |observers: &Observers| observers.kind(now, &[], false, None);
        observers.insert(LinkKey(1), seen_by(1, true));
        observers.insert(LinkKey(2), seen_by(2, true));
        assert_eq!(kind(&observers), Some(Kind::Cone));
        observers.remove(now, LinkKey(2));
        observers.insert(LinkKey(3), seen_by(2, false));
        assert_eq!(kind(&observers), Some(Kind::Cone));
        observers.insert(LinkKey(4), seen_by(4, false));
        observers.remove(now, LinkKey(3));
        observers.insert(LinkKey(3), seen_by(2, false));
        observers.confirm(HostId::new([4; 32]), IpAddr::from([46, 0, 4, 1]), outside);
        assert_eq!(kind(&observers), Some(Kind::Cone), "it stays when it is replaced again");
        observers.remove(now, LinkKey(4));
        observers.sees(now, LinkKey(3), SocketAddr::from(([45, 9, 9, 9], 5_000)));
        let later = now + NAT_SETTLES;
        assert_eq!(observers.kind(later, &[], false, None), Some(Kind::Unknown), "that is another address");
    }

    #[test]
    fn where_one_host_says_that_it_sees_us_is_our_outside_only_when_another_one_agrees() {
        let mut observers = Observers::default();
        let mut seen = |number: u8, dialled: bool, sees: [u8; 4], port: u16| {
            let at = IpAddr::from(if number < 100 { [46, 0, number, 1] } else { [10, 0, 0, number] });
            let sees = SocketAddr::from((sees, 4_000 + port));
            let observer = Observer::new(Moment::default(), HostId::new([number; 32]), at, dialled, sees);
            observers.insert(LinkKey(number.into()), observer);
            observers.outside()
        };
        let (ours, other) = ([45, 9, 9, 9], [45, 8, 8, 8]);
        assert_eq!(seen(1, true, other, 1), None, "a single word");
        assert_eq!(seen(2, false, other, 2), None, "of one that dialled us");
        assert_eq!(seen(3, true, ours, 3), None, "two that do not agree");
        assert_eq!(seen(100, true, other, 4), None, "who is inside cannot know");
        assert_eq!(seen(4, true, ours, 4), Some(IpAddr::from(ours)), "two that do, whatever the port");
        assert_eq!(seen(5, true, other, 5), None, "two against two");
        assert_eq!(seen(6, true, ours, 6), Some(IpAddr::from(ours)), "three against two");
    }
}
