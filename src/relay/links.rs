//! Connections to other hosts: which are admitted, which of several between the same two hosts is kept, what is on its
//! way on each, and what each neighbour is known to have.
//!
//! ```text
//! Greeting --their Hello verified--> Verified --their Admitted--> Admitted --crossed, goodbye--> Closing
//!     \--deadline, wrong proof--> gone        (Admitted may overtake: both flags must stand)
//! ```

mod link;
#[cfg(test)]
mod tests;
mod ways;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use aldis_wire::host::{HaveEntry, Role, connection_name};
use aldis_wire::id::HostId;
use aldis_wire::limits::{CROSSED_WITHIN, HAVE_NUMBERS_MAX, LOST_NAMED_MAX};

use super::by_host::{Row, make_room};
use super::hashing::Seed;
use super::io::{LinkKey, Mark, Moment};
use super::limits;
use super::prefix::Prefix;
use link::NOBODY;
use ways::{Way, Ways};

pub(crate) use link::{Link, Phase};

/// What an entry of a summary tells.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told {
    /// Of whom.
    pub(crate) origin: HostId,
    /// Up to where the other side has its announcements.
    pub(crate) mark: Mark,
    /// For how long it has had the last of them, if it says so, as summaries say it.
    pub(crate) held: Option<u8>,
    /// Where what is known of the origin on links was found.
    pub(crate) row: Row,
}

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

/// What is known of each origin at the other side of each link.
impl Links {
    fn change<T: Default>(&mut self, key: LinkKey, origin: HostId, change: impl FnOnce(&mut Way) -> T) -> T {
        let Some(link) = self.all.get_mut(&key) else { return T::default() };
        let (result, more) = self.ways.change(origin, key, &mut link.usual_way, change);
        link.origins = link.origins.saturating_add_signed(more);
        result
    }

    fn change_at<T: Default>(&mut self, key: LinkKey, row: Row, change: impl FnOnce(&mut Way) -> T) -> T {
        let Some(link) = self.all.get_mut(&key) else { return T::default() };
        let (result, more) = self.ways.change_at(row, key, &mut link.usual_way, change);
        link.origins = link.origins.saturating_add_signed(more);
        result
    }

    fn change_all(&mut self, origin: HostId, change: impl Fn(&mut Way)) {
        let all = &mut self.all;
        self.ways.change_all(origin, change, |key| {
            if let Some(link) = all.get_mut(&key) {
                link.origins = link.origins.saturating_sub(1);
            }
        });
    }

    /// Where what is known of origins stands; for many at once, since nothing of most is in the processor's cache, and it
    /// fetches several at a time as long as there is nothing else to do with each. One of which nothing is known stands
    /// nowhere. It holds until something is forgotten; whoever takes it looks whether it still does.
    pub(crate) fn rows(&self, origins: impl Iterator<Item = HostId>) -> Vec<Row> {
        origins.map(|origin| self.row(origin)).collect()
    }

    /// The same for one.
    pub(crate) fn row(&self, origin: HostId) -> Row {
        self.ways.row(origin).unwrap_or(NOBODY)
    }

    /// What a summary is to tell of an origin, that stood in `row`, on a link: its number, whether that is new, and what
    /// was told before. `None` if the other side knows or was told as much as `mark`, which counts as told from now on.
    pub(crate) fn tell(&mut self, key: LinkKey, origin: HostId, row: Row, mark: Mark) -> Option<(u16, bool, Mark)> {
        let link = self.all.get_mut(&key)?;
        let row = self.ways.row_or_new(origin, row);
        let (untold, more) = self.ways.tell(row, key, &mut link.usual_way, mark);
        link.origins = link.origins.saturating_add_signed(more);
        let (told, number) = untold?;
        match number {
            Some(number) => Some((number, false, told)),
            None => Some((self.name_out(key, origin)?, true, told)),
        }
    }

    /// Gives an origin a number on a link, towards the other side. When all are taken, the one that was given longest ago
    /// is given anew.
    fn name_out(&mut self, key: LinkKey, origin: HostId) -> Option<u16> {
        let link = self.all.get(&key)?;
        let number = u16::try_from(link.names % usize::from(HAVE_NUMBERS_MAX)).ok()?;
        if let Some(before) = link.named_out.get(usize::from(number)).copied() {
            self.change_at(key, before, |way| (way.number, way.told) = (None, (0, 0)));
        }
        self.change(key, origin, |way| way.number = Some(number));
        let (row, link) = (self.ways.row(origin)?, self.all.get_mut(&key)?);
        match link.named_out.get_mut(usize::from(number)) {
            Some(named) => *named = row,
            None => {
                make_room(&mut link.named_out);
                link.named_out.push(row);
            }
        }
        link.names += 1;
        Some(number)
    }

    /// Learns a number that the other side gives. What it stood for before is forgotten, so that no more is kept of a
    /// neighbour's summaries than there are numbers.
    pub(crate) fn name_in(&mut self, key: LinkKey, number: u16, origin: HostId) {
        let before = self.all.get(&key).and_then(|link| link.row_in(number));
        if before.is_some_and(|before| self.ways.host(before) == Some(origin)) {
            return;
        }
        // First the new one: an origin of which nothing is kept may lose its place.
        self.change(key, origin, |way| way.named = way.named.saturating_add(1));
        if let Some(before) = before {
            self.change_at(key, before, |way| (way.theirs, way.named) = ((0, 0), way.named.saturating_sub(1)));
        }
        let (row, number) = (self.ways.row(origin), usize::from(number));
        let Some(link) = self.all.get_mut(&key) else { return };
        while link.named_in.len() <= number {
            make_room(&mut link.named_in);
            link.named_in.push(NOBODY);
        }
        if let Some(named) = link.named_in.get_mut(number) {
            *named = row.unwrap_or(NOBODY);
        }
    }

    /// Takes a summary of the other side: what its entries tell, up to the first one with a number that stands for nothing;
    /// and whether there is none.
    pub(crate) fn told(&mut self, key: LinkKey, entries: &[HaveEntry]) -> (Vec<Told>, bool) {
        let mut all = Vec::with_capacity(entries.len());
        let numbered = |entry: &HaveEntry| matches!(entry, HaveEntry::Numbered { .. });
        for entries in entries.chunk_by(|one, next| numbered(one) && numbered(next)) {
            if let [HaveEntry::Named { number, origin, epoch, seq }] = *entries {
                self.name_in(key, number, origin);
                let (row, mark) = (self.row(origin), (epoch, seq));
                self.has_at(key, origin, row, mark);
                all.push(Told { origin, mark, held: None, row });
            } else if !self.told_by_number(key, entries, &mut all) {
                break;
            }
        }
        let is_whole = all.len() == entries.len();
        (all, is_whole)
    }

    /// The same for entries with numbers. Step by step for all of them, for the reason given at [`Links::rows`].
    fn told_by_number(&mut self, key: LinkKey, entries: &[HaveEntry], all: &mut Vec<Told>) -> bool {
        let Some(link) = self.all.get_mut(&key) else { return false };
        let (before, ways) = (all.len(), &mut self.ways);
        let named = |entry: &HaveEntry| match *entry {
            HaveEntry::Numbered { number, seq, held } => {
                let row = link.row_in(number)?;
                // Of which epoch, the next step finds out.
                Some(Told { origin: ways.host(row)?, mark: (0, seq), held: Some(held), row })
            }
            HaveEntry::Named { .. } => None,
        };
        all.extend(entries.iter().map_while(named));
        let told = all.get_mut(before..).unwrap_or_default();
        for Told { mark, row, .. } in &mut *told {
            mark.0 = ways.epoch(*row, key, &mut link.usual_way);
            let more = ways.has(*row, key, &mut link.usual_way, *mark);
            link.origins = link.origins.saturating_add_signed(more);
        }
        told.len() == entries.len()
    }

    /// The origins that neighbours have named.
    pub(crate) fn named_in(&self) -> impl Iterator<Item = HostId> {
        self.admitted().flat_map(|(_, link)| &link.named_in).filter_map(|row| self.ways.host(*row))
    }

    /// What neighbours say to have of an origin beyond `ours` is not so.
    pub(crate) fn disbelieve(&mut self, origin: HostId, ours: Mark) {
        self.change_all(origin, |way| way.theirs = ours.min(way.theirs));
    }

    /// An origin is forgotten; its numbers stay given.
    pub(crate) fn forget(&mut self, origin: HostId) {
        self.change_all(origin, Way::forget);
    }

    /// Nobody is pushed an origin's announcements any more.
    pub(crate) fn push_nowhere(&mut self, origin: HostId) {
        self.change_all(origin, |way| way.eager = false);
    }

    /// Notes for how long the other side of a link has had an origin's newest announcement, as if it had come here over that
    /// link, and for how long we have had it; `ahead` if it was there before it was here. True when the link has led by
    /// enough to take the other's place. Each announcement counts once on a link: else a
    /// neighbour could lead by saying the same again.
    pub(crate) fn led(&mut self, key: LinkKey, told: &Told, (theirs, ours): (Duration, Duration), ahead: bool) -> bool {
        if !self.all.contains_key(&key) {
            return false;
        }
        let row = self.ways.row_or_new(told.origin, told.row);
        self.ways.compare(row, told.mark);
        self.change_at(key, row, |way| {
            if std::mem::replace(&mut way.compared, true) {
                return false;
            }
            way.ahead = ahead;
            way.led(theirs, ours)
        })
    }

    /// Notes whether we have asked for an origin's announcements not to be pushed on a link.
    pub(crate) fn close(&mut self, key: LinkKey, origin: HostId, closed: bool) {
        self.change(key, origin, |way| (way.closed, way.asked) = (closed, !closed));
    }

    /// On how many admitted links we have asked for an origin's announcements, and had no delta since.
    #[must_use]
    pub(crate) fn asked(&self, origin: HostId) -> usize {
        let asked = self.ways.of(origin).filter(|way| way.asked);
        asked.filter(|way| self.find(way.link).is_some_and(Link::is_admitted)).count()
    }

    /// Whether we have asked for an origin's announcements on a link, and had no delta since. Takes note of one.
    pub(crate) fn is_answer(&mut self, key: LinkKey, origin: HostId) -> bool {
        self.change(key, origin, |way| std::mem::take(&mut way.asked))
    }

    /// Whether we have asked for an origin's announcements not to be pushed on a link.
    #[must_use]
    pub(crate) fn is_closed(&self, key: LinkKey, origin: HostId) -> bool {
        self.ways.find(origin, key).is_some_and(|way| way.closed)
    }

    /// Notes that the other side of a link has an origin's announcements up to `mark`.
    pub(crate) fn has(&mut self, key: LinkKey, origin: HostId, mark: Mark) {
        self.has_at(key, origin, self.row(origin), mark);
    }

    /// The same for an origin that stood in `row`.
    pub(crate) fn has_at(&mut self, key: LinkKey, origin: HostId, row: Row, mark: Mark) {
        let Some(link) = self.all.get_mut(&key) else { return };
        let row = self.ways.row_or_new(origin, row);
        let more = self.ways.has(row, key, &mut link.usual_way, mark);
        link.origins = link.origins.saturating_add_signed(more);
    }

    /// Notes that the other side of a link has an origin's announcements up to `mark`, and none after it.
    pub(crate) fn has_only(&mut self, key: LinkKey, origin: HostId, mark: Mark) {
        self.change(key, origin, |way| way.theirs = mark);
    }

    /// The newest mark of an origin that the other side of a link is known to have; (0, 0) for none.
    #[must_use]
    pub(crate) fn theirs(&self, key: LinkKey, origin: HostId) -> Mark {
        self.ways.find(origin, key).map_or((0, 0), |way| way.theirs)
    }

    /// How likely it is that the other side of a link gets an origin's announcements by way of us: certain if we push them,
    /// out of the question if it has had one before us. Whoever is below us in a tree cannot bring us back to it.
    #[must_use]
    pub(crate) fn is_below(&self, key: LinkKey, origin: HostId) -> u8 {
        self.ways.find(origin, key).map_or(1, |way| way.is_below())
    }

    /// Notes whether the other side of a link wants an origin's announcements pushed.
    pub(crate) fn push(&mut self, key: LinkKey, origin: HostId, eager: bool) {
        self.change(key, origin, |way| way.eager = eager);
    }

    /// The admitted links over which an announcement is to be pushed: the other side wants the origin's, and is not known
    /// to have it.
    #[must_use]
    pub(crate) fn wanting(&self, origin: HostId, mark: Mark) -> Vec<LinkKey> {
        let wanting = self.ways.of(origin).filter(|way| way.wants(mark)).map(|way| way.link);
        wanting.filter(|key| self.find(*key).is_some_and(Link::is_admitted)).collect()
    }

    /// The admitted links over which an origin's announcements are pushed.
    #[must_use]
    pub(crate) fn pushed(&self, origin: HostId) -> Vec<LinkKey> {
        let pushed = self.ways.of(origin).filter(|way| way.eager).map(|way| way.link);
        pushed.filter(|key| self.find(*key).is_some_and(Link::is_admitted)).collect()
    }
}
