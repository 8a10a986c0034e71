//! Connections to other hosts: which are admitted, which of several between the same two hosts is kept, what is on its
//! way on each, and what each neighbour is known to have.
//!
//! ```text
//! Greeting --their Hello verified--> Verified --their Admitted--> Admitted --crossed, goodbye--> Closing
//!     \--deadline, wrong proof--> gone        (Admitted may overtake: both flags must stand)
//! ```

mod ways;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use aldis_wire::host::{Channel, Role, connection_name};
use aldis_wire::id::HostId;
use aldis_wire::limits::{CROSSED_WITHIN, HAVE_NUMBERS_MAX, LOST_NAMED_MAX};

use super::bucket::Bucket;
use super::by_host::{Row, make_room};
use super::hashing::Seed;
use super::io::{LinkKey, Mark, Moment};
use super::limits;
use super::prefix::Prefix;
use ways::{Way, Ways};

/// Not the row of any origin: there are fewer.
const NOBODY: Row = Row::MAX;

/// How far a link has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Nothing is proved yet, or only one side has said that it is satisfied.
    Greeting {
        /// We have verified their Hello.
        verified: bool,
        /// They say that they have verified ours.
        welcomed: bool,
    },
    /// Both sides are satisfied.
    Admitted,
    /// It takes nothing more from us; what is on its way still arrives.
    Closing,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Link {
    /// The host that proved its key in the handshake.
    pub(crate) host: HostId,
    /// Which end we are.
    pub(crate) role: Role,
    /// Where the other side is.
    pub(crate) address: SocketAddr,
    /// Whether nothing had gone to its host or address lately when it came.
    pub(crate) stranger: bool,
    /// Where the other side sees us, out of its Hello.
    pub(crate) observed: Option<SocketAddr>,
    /// Where it was told that we see it.
    pub(crate) told: Option<SocketAddr>,
    /// Key material of this TLS session.
    pub(crate) exporter: [u8; 32],
    /// Round trip.
    pub(crate) rtt: Duration,
    /// When TLS was through.
    pub(crate) since: Moment,
    /// How far it has come.
    pub(crate) phase: Phase,
    /// Whether we chose it because it is near.
    pub(crate) near: bool,
    /// Whether nothing at all has come for a while.
    pub(crate) silent: bool,
    /// Whether both ends dialled because a common neighbour told them when.
    pub(crate) punched: bool,
    /// Since when nothing is believed to come over it any more, because an address of ours or of theirs has changed.
    pub(crate) stranded: Option<Moment>,
    /// The other side's epoch, out of its Hello.
    pub(crate) epoch: u64,
    /// Our epoch, as our Hello on this link stated it.
    pub(crate) stated: u64,
    /// Of entries of its summaries.
    pub(crate) heard: Bucket,
    /// Of KiB that it was told because it asked.
    pub(crate) answers: Bucket,
    /// Of claims checked for its signals.
    pub(crate) claims: Bucket,
    /// Of revocations of hosts never heard of that it has brought and that were passed on.
    pub(crate) revocations: Bucket,
    /// Of introductions that it asked for.
    pub(crate) introductions: Bucket,
    /// Origins about which something is kept for it.
    origins: usize,
    /// Where its way stands among those of most origins.
    usual_way: u16,
    /// What each number towards the other side stands for.
    named_out: Vec<Row>,
    /// Names given so far; the next one takes the number of the oldest.
    names: usize,
    /// What each number of the other side stands for, with a number given to nothing as [`NOBODY`].
    named_in: Vec<Row>,
    on_way: [usize; 4],
}

/// Kinds of traffic with a bound of their own.
fn class(channel: Channel) -> (usize, usize) {
    match channel {
        Channel::Control => (0, limits::CONTROL_QUEUE_BYTES),
        Channel::Announce => (1, limits::ANNOUNCE_QUEUE_BYTES),
        Channel::Sync => (2, limits::SYNC_QUEUE_BYTES),
        Channel::Lane(_) => (3, limits::SIGNAL_QUEUE_BYTES),
    }
}

impl Link {
    /// A connection that has come through TLS.
    #[must_use]
    pub(crate) fn new(
        now: Moment,
        host: HostId,
        role: Role,
        address: SocketAddr,
        exporter: [u8; 32],
        rtt: Duration,
    ) -> Self {
        Self {
            host,
            role,
            address,
            stranger: false,
            observed: None,
            told: None,
            exporter,
            rtt,
            since: now,
            phase: Phase::Greeting { verified: false, welcomed: false },
            near: false,
            silent: false,
            punched: false,
            stranded: None,
            epoch: 0,
            stated: 0,
            heard: Bucket::default(),
            answers: Bucket::default(),
            claims: Bucket::default(),
            revocations: Bucket::default(),
            introductions: Bucket::default(),
            origins: 0,
            usual_way: 0,
            named_out: Vec::new(),
            names: 0,
            named_in: Vec::new(),
            on_way: [0; 4],
        }
    }

    /// Whether frames other than Hello may be sent.
    #[must_use]
    pub(crate) fn is_admitted(&self) -> bool {
        self.phase == Phase::Admitted
    }

    /// Whether it is heard, and each side sends to where the other one is.
    #[must_use]
    pub(crate) fn is_sound(&self) -> bool {
        !self.silent && self.stranded.is_none()
    }

    /// Whether `bytes` more fit into what may be on its way on `channel`.
    #[must_use]
    pub(crate) fn has_room(&self, channel: Channel, bytes: usize) -> bool {
        let (class, limit) = class(channel);
        self.on_way.get(class).is_some_and(|on_way| on_way + bytes <= limit)
    }

    /// Bytes handed to the transport and not taken by it.
    #[must_use]
    pub(crate) fn bytes_on_way(&self) -> usize {
        self.on_way.iter().sum()
    }

    /// Origins about which something is kept for this link: the largest of its tables.
    #[must_use]
    pub(crate) fn origins_count(&self) -> usize {
        self.origins.max(self.named_in.len())
    }

    /// Where the origin stands that a number of the other side names.
    fn row_in(&self, number: u16) -> Option<Row> {
        self.named_in.get(usize::from(number)).copied().filter(|row| *row != NOBODY)
    }

    /// Counts bytes handed to the transport.
    pub(crate) fn sending(&mut self, channel: Channel, bytes: usize) {
        if let Some(on_way) = self.on_way.get_mut(class(channel).0) {
            *on_way += bytes;
        }
    }

    /// Counts bytes that the transport has taken.
    pub(crate) fn sent(&mut self, channel: Channel, bytes: usize) {
        if let Some(on_way) = self.on_way.get_mut(class(channel).0) {
            *on_way = on_way.saturating_sub(bytes);
        }
    }
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

    /// What a summary is to tell of an origin on a link: its number, whether that is new, and what was told before.
    /// `None` if the other side knows or was told as much as `mark`, which counts as told from now on.
    pub(crate) fn tell(&mut self, key: LinkKey, origin: HostId, mark: Mark) -> Option<(u16, bool, Mark)> {
        let tell = |way: &mut Way| {
            let told = way.untold(mark)?;
            way.told = mark;
            Some((told, way.number))
        };
        let (told, number) = match self.ways.row(origin) {
            Some(row) => self.change_at(key, row, tell)?,
            None => self.change(key, origin, tell)?,
        };
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

    /// The other side has an origin, which it names by a number, up to this seq of the epoch that it had before. Gives the
    /// origin and the mark; `None` for a number that stands for nothing.
    pub(crate) fn has_numbered(&mut self, key: LinkKey, number: u16, seq: u64) -> Option<(HostId, Mark)> {
        let row = self.all.get(&key)?.row_in(number)?;
        let origin = self.ways.host(row)?;
        let mark = self.change_at(key, row, |way| {
            let mark = (way.theirs.0, seq);
            way.has(mark);
            mark
        });
        Some((origin, mark))
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
    /// enough to take the other's place. Each announcement, which `mark` is that of, counts once on a link: else a
    /// neighbour could lead by saying the same again.
    pub(crate) fn led(
        &mut self,
        key: LinkKey,
        origin: HostId,
        mark: Mark,
        (theirs, ours): (Duration, Duration),
        ahead: bool,
    ) -> bool {
        if !self.all.contains_key(&key) {
            return false;
        }
        self.ways.compare(origin, mark);
        self.change(key, origin, |way| {
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
        self.change(key, origin, |way| way.has(mark));
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

#[cfg(test)]
mod tests {
    use super::*;

    fn link() -> Link {
        let address = SocketAddr::from(([10, 0, 0, 1], 4_000));
        Link::new(Moment::default(), HostId::new([1; 32]), Role::Dialler, address, [0; 32], Duration::ZERO)
    }

    fn origin(number: u32) -> HostId {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        HostId::new(bytes)
    }

    /// One connection as one of its ends sees it, this long after the other one.
    fn end(own: u64, other: HostId, role: Role, epochs: (u64, u64), after: Duration) -> Link {
        let (stated, epoch) = if own == 1 { epochs } else { (epochs.1, epochs.0) };
        let mut link = Link { host: other, role, epoch, stated, since: Moment::default() + after, ..link() };
        link.phase = Phase::Admitted;
        link
    }

    #[test]
    fn both_ends_of_two_links_keep_the_same_one() {
        let (one, two) = (HostId::new([1; 32]), HostId::new([2; 32]));
        let (a, b) = (LinkKey(1), LinkKey(2));
        let both = [Role::Dialler, Role::Acceptor];
        let lives = [(5, 5), (5, 6), (6, 5), (6, 6)];
        let ages = [Duration::ZERO, CROSSED_WITHIN];
        let roles = both.into_iter().flat_map(|a| both.map(|b| (a, b)));
        for ((role_a, role_b), age) in roles.flat_map(|roles| ages.map(|age| (roles, age))) {
            for (epochs_a, epochs_b) in lives.into_iter().flat_map(|a| lives.map(|b| (a, b))) {
                // The first end sees `a` admitted last, or `b`; the second end as well, or the other one. What comes much
                // later is admitted later by both.
                let lasts = [(b, b), (a, a), (a, b), (b, a)];
                for (last_one, last_two) in lasts.into_iter().take(if age.is_zero() { 4 } else { 1 }) {
                    let decide = |own: u64, id: HostId, other: HostId, last: LinkKey| {
                        let role = |role: Role| if own == 1 { role } else { role.other() };
                        let mut links = Links::new(Seed::fixed());
                        links.insert(a, end(own, other, role(role_a), epochs_a, Duration::ZERO));
                        links.insert(b, end(own, other, role(role_b), epochs_b, age));
                        links.loser(id, last)
                    };
                    let losers = (decide(1, one, two, last_one), decide(2, two, one, last_two));
                    let case =
                        format!("{role_a:?} {role_b:?} {epochs_a:?} {epochs_b:?} {last_one:?} {last_two:?} {age:?}");
                    assert!(losers.0.is_some() || losers.1.is_some(), "one goes: {case}");
                    assert!(losers.0.zip(losers.1).is_none_or(|(one, two)| one == two), "the same: {case}");
                    let lives = |epochs: (u64, u64)| epochs.0 + epochs.1;
                    if !age.is_zero() && lives(epochs_a) == lives(epochs_b) {
                        assert_eq!(losers, (Some(a), Some(a)), "nobody dials whom he has a link with: {case}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_link_that_is_silent_or_was_taken_where_we_are_not_any_more_gives_way_however_new_it_is() {
        let (one, two) = (HostId::new([1; 32]), HostId::new([2; 32]));
        for (silent, stranded) in [(true, false), (false, true), (false, false)] {
            let mut links = Links::new(Seed::fixed());
            // The lower id has dialled the old one, which stays otherwise.
            links.insert(LinkKey(1), end(2, one, Role::Acceptor, (5, 5), Duration::ZERO));
            links.insert(LinkKey(2), end(2, one, Role::Dialler, (5, 5), Duration::from_secs(1)));
            if let Some(old) = links.find_mut(LinkKey(1)) {
                (old.silent, old.stranded) = (silent, stranded.then(Moment::default));
            }
            let loser = if silent || stranded { LinkKey(1) } else { LinkKey(2) };
            assert_eq!(links.loser(two, LinkKey(2)), Some(loser));
        }
    }

    #[test]
    fn a_host_is_reached_over_a_link_that_is_heard_if_there_is_one() {
        let (one, two) = (HostId::new([1; 32]), HostId::new([2; 32]));
        for (silent, stranded) in [(true, false), (false, true)] {
            let mut links = Links::new(Seed::fixed());
            links.insert(LinkKey(1), end(1, two, Role::Acceptor, (5, 5), Duration::ZERO));
            if let Some(old) = links.find_mut(LinkKey(1)) {
                (old.silent, old.stranded) = (silent, stranded.then(Moment::default));
            }
            assert_eq!((links.to_host(two), links.to_host(one)), (Some(LinkKey(1)), None), "better than none");
            links.insert(LinkKey(2), end(1, two, Role::Acceptor, (5, 5), Duration::ZERO));
            assert_eq!(links.to_host(two), Some(LinkKey(2)));
        }
    }

    #[test]
    fn numbers_of_origins_are_given_anew_when_all_are_taken() {
        let (key, mut sender, mut receiver) = (LinkKey(1), Links::new(Seed::fixed()), Links::new(Seed::fixed()));
        sender.insert(key, link());
        receiver.insert(key, link());
        for number in 0..3 * u32::from(HAVE_NUMBERS_MAX) {
            let (given, new, told) = sender.tell(key, origin(number), (1, 1)).unwrap();
            assert!(new && told == (0, 0) && given < HAVE_NUMBERS_MAX);
            receiver.name_in(key, given, origin(number));
            receiver.has(key, origin(number), (1, 1));
            assert_eq!(sender.tell(key, origin(number), (1, 2)), Some((given, false, (1, 1))));
            assert_eq!(receiver.has_numbered(key, given, 2), Some((origin(number), (1, 2))));
        }
        for links in [&sender, &receiver] {
            let link = links.find(key).unwrap();
            assert_eq!((link.origins, link.origins_count()), (usize::from(HAVE_NUMBERS_MAX), link.origins));
        }
        assert!(sender.tell(key, origin(0), (1, 2)).is_some_and(|(_, new, _)| new), "the oldest name is forgotten");
    }

    #[test]
    fn nothing_is_kept_of_a_link_that_is_gone_nor_of_an_origin_that_nobody_speaks_of() {
        let mut links = Links::new(Seed::fixed());
        for key in [1, 2, 3] {
            links.insert(LinkKey(key), Link { phase: Phase::Admitted, ..link() });
            links.push(LinkKey(key), origin(7), true);
            links.has(LinkKey(key), origin(key.try_into().unwrap()), (1, 1));
        }
        assert_eq!(links.wanting(origin(7), (1, 1)), [LinkKey(1), LinkKey(2), LinkKey(3)]);
        links.has(LinkKey(3), origin(7), (1, 1));
        links.remove(LinkKey(1));
        assert_eq!(links.wanting(origin(7), (1, 1)), [LinkKey(2)]);
        assert_eq!(links.ways.row(origin(1)), None, "nobody speaks of it any more");
        links.push_nowhere(origin(7));
        assert!(links.wanting(origin(7), (9, 9)).is_empty());
        assert_eq!(links.find(LinkKey(2)).unwrap().origins, 1);
        assert_eq!(links.theirs(LinkKey(3), origin(7)), (1, 1));
    }
}
