//! Connections to other hosts: which are admitted, which of several between the same two hosts is kept, what is on its
//! way on each, and what each neighbour is known to have.
//!
//! ```text
//! Greeting --their Hello verified--> Verified --their Admitted--> Admitted --crossed, goodbye--> Closing
//!     \--deadline, wrong proof--> gone        (Admitted may overtake: both flags must stand)
//! ```

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use aldis_wire::host::{Channel, Role};
use aldis_wire::id::HostId;
use aldis_wire::limits::HAVE_NUMBERS_MAX;

use super::bucket::Bucket;
use super::io::{LinkKey, Moment};
use super::limits;

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

/// Epoch and seq.
type Mark = (u64, u64);

/// What is kept of one origin for one link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Towards {
    /// The newest mark that the other side is known to have.
    theirs: Mark,
    /// The newest mark that a summary has told.
    told: Mark,
    /// The number that our summaries use.
    number: Option<u16>,
    /// Whether the other side wants its announcements pushed.
    eager: bool,
    /// Whether we have asked not to be pushed its announcements.
    closed: bool,
    /// How often in a row this link would have brought the newest announcement earlier than the one that did.
    leads: u8,
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
    origins: HashMap<HostId, Towards>,
    /// What each number towards the other side stands for.
    named_out: Vec<HostId>,
    /// Names given so far; the next one takes the number of the oldest.
    names: usize,
    /// What each number of the other side stands for.
    named_in: Vec<Option<HostId>>,
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
            exporter,
            rtt,
            since: now,
            phase: Phase::Greeting { verified: false, welcomed: false },
            near: false,
            silent: false,
            epoch: 0,
            stated: 0,
            heard: Bucket::default(),
            answers: Bucket::default(),
            claims: Bucket::default(),
            revocations: Bucket::default(),
            origins: HashMap::new(),
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
        self.origins.len().max(self.named_in.len())
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

    /// The number of an origin on this link, towards the other side, and whether it is new. When all are taken, the one
    /// that was given longest ago is given anew.
    pub(crate) fn number_out(&mut self, origin: HostId) -> Option<(u16, bool)> {
        if let Some(number) = self.origins.get(&origin).and_then(|towards| towards.number) {
            return Some((number, false));
        }
        let number = u16::try_from(self.names % usize::from(HAVE_NUMBERS_MAX)).ok()?;
        match self.named_out.get_mut(usize::from(number)) {
            Some(named) => {
                let before = std::mem::replace(named, origin);
                self.change(before, |towards| (towards.number, towards.told) = (None, (0, 0)));
            }
            None => self.named_out.push(origin),
        }
        self.names += 1;
        self.change(origin, |towards| towards.number = Some(number));
        Some((number, true))
    }

    /// Learns a number that the other side gives. What it stood for before is forgotten, so that no more is kept of a
    /// neighbour's summaries than there are numbers.
    pub(crate) fn name_in(&mut self, number: u16, origin: HostId) {
        let number = usize::from(number);
        if self.named_in.len() <= number {
            self.named_in.resize(number + 1, None);
        }
        let before = self.named_in.get_mut(number).and_then(|named| named.replace(origin));
        if let Some(before) = before.filter(|before| *before != origin) {
            self.change(before, |towards| towards.theirs = (0, 0));
        }
    }

    /// The origin that a number of the other side stands for.
    #[must_use]
    pub(crate) fn origin_in(&self, number: u16) -> Option<HostId> {
        self.named_in.get(usize::from(number)).copied().flatten()
    }

    /// The origins that the other side has named.
    pub(crate) fn named_in(&self) -> impl Iterator<Item = HostId> {
        self.named_in.iter().copied().flatten()
    }

    /// What the other side says to have of an origin beyond `ours` is not so.
    pub(crate) fn disbelieve(&mut self, origin: HostId, ours: Mark) {
        self.change(origin, |towards| towards.theirs = ours.min(towards.theirs));
    }

    /// An origin is forgotten; its number stays given.
    pub(crate) fn forget(&mut self, origin: HostId) {
        self.change(origin, |towards| {
            *towards = Towards { told: towards.told, number: towards.number, ..Towards::default() }
        });
    }

    /// Notes whether this link would have brought an origin's newest announcement earlier than the one that did. True
    /// when it has led often enough to take its place.
    pub(crate) fn led(&mut self, origin: HostId, led: bool) -> bool {
        let mut leads = if led { self.origins.get(&origin).map_or(0, |towards| towards.leads) + 1 } else { 0 };
        let enough = leads >= limits::LEADS_MAX;
        if enough {
            leads = 0;
        }
        self.change(origin, |towards| towards.leads = leads);
        enough
    }

    /// Notes whether we have asked for an origin's announcements not to be pushed here.
    pub(crate) fn close(&mut self, origin: HostId, closed: bool) {
        self.change(origin, |towards| towards.closed = closed);
    }

    /// Whether we have asked for an origin's announcements not to be pushed here.
    #[must_use]
    pub(crate) fn is_closed(&self, origin: HostId) -> bool {
        self.origins.get(&origin).is_some_and(|towards| towards.closed)
    }

    /// Notes that the other side has an origin's announcements up to `mark`; gives the newest that it is known to have.
    pub(crate) fn has(&mut self, origin: HostId, mark: Mark) -> Mark {
        let towards = self.origins.entry(origin).or_default();
        towards.theirs = mark.max(towards.theirs);
        towards.theirs
    }

    /// Notes that the other side has an origin's announcements up to `mark`, and none after it.
    pub(crate) fn has_only(&mut self, origin: HostId, mark: Mark) {
        self.change(origin, |towards| towards.theirs = mark);
    }

    /// The newest mark of an origin that the other side is known to have; (0, 0) for none.
    #[must_use]
    pub(crate) fn theirs(&self, origin: HostId) -> Mark {
        self.origins.get(&origin).map_or((0, 0), |towards| towards.theirs)
    }

    /// Notes whether the other side wants an origin's announcements pushed.
    pub(crate) fn push(&mut self, origin: HostId, eager: bool) {
        self.change(origin, |towards| towards.eager = eager);
    }

    /// Whether an announcement is to be pushed: the other side wants the origin's, and is not known to have it.
    #[must_use]
    pub(crate) fn wants(&self, origin: HostId, mark: Mark) -> bool {
        self.origins.get(&origin).is_some_and(|towards| towards.eager && towards.theirs < mark)
    }

    /// What a summary has told of an origin, if it is less than `mark` and the other side is not known to have that.
    #[must_use]
    pub(crate) fn untold(&self, origin: HostId, mark: Mark) -> Option<Mark> {
        let Towards { theirs, told, .. } = self.origins.get(&origin).copied().unwrap_or_default();
        (mark > told && mark > theirs).then_some(told)
    }

    /// Notes what a summary tells of an origin.
    pub(crate) fn tell(&mut self, origin: HostId, mark: Mark) {
        self.change(origin, |towards| towards.told = mark);
    }

    fn change(&mut self, origin: HostId, change: impl FnOnce(&mut Towards)) {
        let towards = self.origins.entry(origin).or_default();
        change(towards);
        if *towards == Towards::default() {
            self.origins.remove(&origin);
        }
    }
}

/// All connections.
#[derive(Debug, Default)]
pub(crate) struct Links {
    all: BTreeMap<LinkKey, Link>,
}

impl Links {
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
    pub(crate) fn remove(&mut self, key: LinkKey) -> Option<Link> {
        self.all.remove(&key)
    }

    /// All connections, oldest name first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (LinkKey, &Link)> {
        self.all.iter().map(|(key, link)| (*key, link))
    }

    /// All connections, to be changed.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Link> {
        self.all.values_mut()
    }

    /// All admitted connections, to be changed.
    pub(crate) fn admitted_mut(&mut self) -> impl Iterator<Item = (LinkKey, &mut Link)> {
        self.all.iter_mut().filter(|(_, link)| link.is_admitted()).map(|(key, link)| (*key, link))
    }

    /// All admitted connections.
    pub(crate) fn admitted(&self) -> impl Iterator<Item = (LinkKey, &Link)> {
        self.iter().filter(|(_, link)| link.is_admitted())
    }

    /// The connection over which to send to a host.
    #[must_use]
    pub(crate) fn to_host(&self, host: HostId) -> Option<LinkKey> {
        self.admitted().find(|(_, link)| link.host == host).map(|(key, _)| key)
    }

    /// Connections of which we are this end and that are not admitted yet. Counted apart, so that strangers who connect
    /// and say nothing do not stand in the way of our own dials.
    #[must_use]
    pub(crate) fn pending(&self, role: Role) -> usize {
        let pending = |link: &Link| link.role == role && matches!(link.phase, Phase::Greeting { .. });
        self.iter().filter(|(_, link)| pending(link)).count()
    }

    /// Connections from an address that it opened and that are not admitted yet.
    #[must_use]
    pub(crate) fn pending_from(&self, address: IpAddr) -> usize {
        let pending = |link: &Link| {
            link.role == Role::Acceptor && link.address.ip() == address && matches!(link.phase, Phase::Greeting { .. })
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

    /// Of two admitted connections with the same host, the one that must go, if it is for us to close it
    /// (PROTOCOL.md §5.4): that of later lives wins, then the one dialled by the lower HostId, then the newer one as its
    /// acceptor saw them come.
    #[must_use]
    pub(crate) fn loser(&self, own: HostId, key: LinkKey) -> Option<LinkKey> {
        let new = self.find(key)?;
        let (old_key, old) = self.admitted().find(|(other, link)| *other != key && link.host == new.host)?;
        // Both ends know both epochs, so both see the same sum; an epoch never falls.
        let lives = |link: &Link| u128::from(link.epoch) + u128::from(link.stated);
        if lives(new) != lives(old) {
            return Some(if lives(new) > lives(old) { old_key } else { key });
        }
        if new.role != old.role {
            let lower_dials = if own < new.host { Role::Dialler } else { Role::Acceptor };
            return Some(if new.role == lower_dials { old_key } else { key });
        }
        (new.role == Role::Acceptor).then_some(old_key)
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

    /// One connection as one of its ends sees it.
    fn end(own: u64, other: HostId, role: Role, epochs: (u64, u64)) -> Link {
        let (stated, epoch) = if own == 1 { epochs } else { (epochs.1, epochs.0) };
        let mut link = Link { host: other, role, epoch, stated, ..link() };
        link.phase = Phase::Admitted;
        link
    }

    #[test]
    fn both_ends_of_two_links_keep_the_same_one() {
        let (one, two) = (HostId::new([1; 32]), HostId::new([2; 32]));
        let (a, b) = (LinkKey(1), LinkKey(2));
        let both = [Role::Dialler, Role::Acceptor];
        let lives = [(5, 5), (5, 6), (6, 5), (6, 6)];
        for (role_a, role_b) in both.into_iter().flat_map(|a| both.map(|b| (a, b))) {
            for (epochs_a, epochs_b) in lives.into_iter().flat_map(|a| lives.map(|b| (a, b))) {
                // The first end sees `a` admitted last, or `b`; the second end as well, or the other one.
                for (last_one, last_two) in [(a, a), (a, b), (b, a), (b, b)] {
                    let decide = |own: u64, id: HostId, other: HostId, last: LinkKey| {
                        let role = |role: Role| if own == 1 { role } else { role.other() };
                        let mut links = Links::default();
                        links.insert(a, end(own, other, role(role_a), epochs_a));
                        links.insert(b, end(own, other, role(role_b), epochs_b));
                        links.loser(id, last)
                    };
                    let losers = (decide(1, one, two, last_one), decide(2, two, one, last_two));
                    let case = format!("{role_a:?} {role_b:?} {epochs_a:?} {epochs_b:?} {last_one:?} {last_two:?}");
                    assert!(losers.0.is_some() || losers.1.is_some(), "one goes: {case}");
                    assert!(losers.0.zip(losers.1).is_none_or(|(one, two)| one == two), "the same: {case}");
                }
            }
        }
    }

    #[test]
    fn numbers_of_origins_are_given_anew_when_all_are_taken() {
        let (mut sender, mut receiver) = (link(), link());
        for number in 0..3 * u32::from(HAVE_NUMBERS_MAX) {
            let (given, new) = sender.number_out(origin(number)).unwrap();
            assert!(new && given < HAVE_NUMBERS_MAX);
            sender.tell(origin(number), (1, 1));
            receiver.name_in(given, origin(number));
            receiver.has(origin(number), (1, 1));
            assert_eq!(sender.number_out(origin(number)), Some((given, false)));
            assert_eq!(receiver.origin_in(given), Some(origin(number)));
        }
        for held in [sender.origins.len(), receiver.origins.len(), receiver.named_in.len()] {
            assert_eq!(held, usize::from(HAVE_NUMBERS_MAX));
        }
        assert!(sender.number_out(origin(0)).is_some_and(|(_, new)| new), "the oldest name is forgotten");
    }
}
