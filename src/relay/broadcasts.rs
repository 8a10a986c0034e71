//! Broadcasts on their way: those that sessions here have sent, host by host, and those that came for members here.

use std::collections::{BTreeMap, HashMap, VecDeque};

use aldis_wire::host::Spread;
use aldis_wire::id::{HostId, PeerId, TopicId};
use aldis_wire::refusal::Refusal;
use bytes::Bytes;

use super::bucket::Bucket;
use super::io::{LinkKey, Moment, Reach, RequestId};
use super::limits::{
    BYTES_PER_TOKEN, DEDUPLICATION, HOST_DELIVERIES, OPEN_BROADCASTS_MAX, REMEMBERED_BROADCASTS_MAX,
    REMEMBERED_SPREADS_MAX, SIGNAL_TIMEOUT,
};
use super::signals::{Path, Turn};

/// What became of a broadcast at one host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The host, or our own, says so.
    Told(Spread),
    /// Nobody can say.
    Unknown,
}

/// One host's part of a broadcast.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Leg {
    /// Which host.
    pub(crate) home: HostId,
    /// How it went.
    pub(crate) path: Path,
    /// Whether it has gone before, on a way that died or without an answer: then a refusal does not say that nobody has it.
    pub(crate) doubtful: bool,
    open: bool,
}

/// A broadcast that waits for the tallies of some hosts.
#[derive(Debug)]
pub(crate) struct Sent {
    /// Whose members it is for.
    pub(crate) topic: TopicId,
    /// Its place among the session's broadcasts.
    pub(crate) n: u64,
    /// Kept for sending again when a path dies.
    pub(crate) data: Bytes,
    /// When all hosts must have answered.
    pub(crate) until: Moment,
    /// By host.
    legs: Vec<Leg>,
    open: usize,
    reach: Reach,
}

impl Sent {
    fn place(&self, home: HostId) -> Option<usize> {
        self.legs.binary_search_by_key(&home, |leg| leg.home).ok()
    }

    fn leg_mut(&mut self, home: HostId) -> Option<&mut Leg> {
        let place = self.place(home)?;
        self.legs.get_mut(place).filter(|leg| leg.open)
    }

    /// The part of a host, while it is open.
    #[must_use]
    pub(crate) fn leg(&self, home: HostId) -> Option<&Leg> {
        self.legs.get(self.place(home)?).filter(|leg| leg.open)
    }

    fn open_legs(&self) -> impl Iterator<Item = &Leg> {
        self.legs.iter().filter(|leg| leg.open)
    }
}

/// What the sender's home does with a request to broadcast.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// It is new: send it.
    Send,
    /// The same id is open: its tally will come.
    Open,
    /// The same id has had its tally: tell it again.
    Again(Reach),
}

#[derive(Debug)]
enum Known {
    Open(Box<Sent>),
    Ended { topic: TopicId, reach: Reach },
}

/// A host to which broadcasts of a session are open, and the link that they took.
#[derive(Debug, Default)]
struct Way {
    open: usize,
    path: Option<Path>,
}

/// The broadcasts that one session has sent.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    by_id: HashMap<RequestId, Known>,
    order: VecDeque<RequestId>,
    ways: BTreeMap<HostId, Way>,
    open: usize,
    last_n: u64,
}

impl Outgoing {
    /// Takes a request to broadcast to the hosts `homes`.
    ///
    /// # Errors
    /// [`Refusal::TooManyOpen`]; [`Refusal::BadField`] when the id was used for another topic.
    pub(crate) fn take(
        &mut self,
        now: Moment,
        id: &RequestId,
        topic: TopicId,
        data: Bytes,
        mut homes: Vec<HostId>,
    ) -> Result<Taken, Refusal> {
        match self.by_id.get(id) {
            Some(Known::Open(sent)) if sent.topic == topic => return Ok(Taken::Open),
            Some(Known::Ended { topic: known, reach }) if *known == topic => return Ok(Taken::Again(*reach)),
            Some(_) => return Err(Refusal::BadField),
            None => {}
        }
        if self.open >= OPEN_BROADCASTS_MAX {
            return Err(Refusal::TooManyOpen);
        }
        self.make_room();
        self.open += 1;
        self.last_n += 1;
        homes.sort_unstable();
        homes.dedup();
        for home in &homes {
            self.ways.entry(*home).or_default().open += 1;
        }
        let leg = |home| Leg { home, path: Path::Broken, doubtful: false, open: true };
        let sent = Sent {
            topic,
            n: self.last_n,
            data,
            until: now + SIGNAL_TIMEOUT,
            open: homes.len(),
            legs: homes.into_iter().map(leg).collect(),
            reach: Reach::default(),
        };
        self.by_id.insert(id.clone(), Known::Open(Box::new(sent)));
        self.order.push_back(id.clone());
        Ok(Taken::Send)
    }

    /// Forgets the oldest that have ended, so that one more fits. There are fewer open ones than are remembered.
    fn make_room(&mut self) {
        while self.order.len() >= REMEMBERED_BROADCASTS_MAX {
            let Some(id) = self.order.pop_front() else { return };
            if self.find(&id).is_some() {
                self.order.push_back(id);
            } else {
                self.by_id.remove(&id);
            }
        }
    }

    /// Broadcasts that wait for tallies.
    #[must_use]
    pub(crate) fn open_count(&self) -> usize {
        self.open
    }

    /// Broadcasts remembered.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether a broadcast of this id is remembered.
    #[must_use]
    pub(crate) fn remembers(&self, id: &RequestId) -> bool {
        self.by_id.contains_key(id)
    }

    /// A broadcast that is open.
    #[must_use]
    pub(crate) fn find(&self, id: &RequestId) -> Option<&Sent> {
        if let Some(Known::Open(sent)) = self.by_id.get(id) { Some(sent) } else { None }
    }

    fn find_mut(&mut self, id: &RequestId) -> Option<&mut Sent> {
        if let Some(Known::Open(sent)) = self.by_id.get_mut(id) { Some(sent) } else { None }
    }

    /// The path that open broadcasts to a host take, as long as there are any but the newest.
    #[must_use]
    pub(crate) fn pinned(&self, home: HostId) -> Option<Path> {
        self.ways.get(&home).filter(|way| way.open > 1).and_then(|way| way.path)
    }

    /// Notes how one host's part went.
    pub(crate) fn went(&mut self, id: &RequestId, home: HostId, path: Path) {
        if let Some(leg) = self.find_mut(id).and_then(|sent| sent.leg_mut(home)) {
            leg.path = path;
        }
        if let Some(way) = self.ways.get_mut(&home) {
            way.path = Some(path);
        }
    }

    /// Notes what became of one host's part; later answers of the host change nothing.
    pub(crate) fn leg_ended(&mut self, id: &RequestId, home: HostId, ended: Ended) {
        let Some(sent) = self.find_mut(id) else { return };
        let Some(leg) = sent.leg_mut(home) else { return };
        leg.open = false;
        let ended =
            if leg.doubtful && matches!(ended, Ended::Told(Spread::Refused(_))) { Ended::Unknown } else { ended };
        sent.open -= 1;
        sent.reach.add(ended);
        self.leave(home);
    }

    fn leave(&mut self, home: HostId) {
        if let Some(way) = self.ways.get_mut(&home) {
            way.open -= 1;
            if way.open == 0 {
                self.ways.remove(&home);
            }
        }
    }

    /// How far a broadcast has come, once all hosts have answered, or when it is `given_up`; and it is open no more.
    pub(crate) fn finish(&mut self, id: &RequestId, given_up: bool) -> Option<Reach> {
        let sent = self.find_mut(id).filter(|sent| sent.open == 0 || given_up)?;
        let (topic, mut reach) = (sent.topic, sent.reach);
        let open: Vec<HostId> = sent.open_legs().map(|leg| leg.home).collect();
        open.iter().for_each(|_| reach.add(Ended::Unknown));
        open.into_iter().for_each(|home| self.leave(home));
        self.by_id.insert(id.clone(), Known::Ended { topic, reach });
        self.open -= 1;
        Some(reach)
    }

    /// Open parts whose path is like that, in the order in which their broadcasts were sent.
    #[must_use]
    pub(crate) fn open_where(&self, which: impl Fn(HostId, Path) -> bool) -> Vec<(RequestId, HostId)> {
        if self.open == 0 {
            return Vec::new();
        }
        let mut found: Vec<(u64, &RequestId, HostId)> = Vec::new();
        for id in &self.order {
            let Some(sent) = self.find(id) else { continue };
            found.extend(sent.open_legs().filter(|leg| which(leg.home, leg.path)).map(|leg| (sent.n, id, leg.home)));
        }
        found.sort_unstable();
        found.into_iter().map(|(_, id, home)| (id.clone(), home)).collect()
    }

    /// The broadcasts whose part for one host is open and went over this link, in the order in which they were sent.
    #[must_use]
    pub(crate) fn open_by(&self, home: HostId, link: LinkKey) -> Vec<RequestId> {
        let went = |sent: &Sent| sent.leg(home).is_some_and(|leg| leg.path.link() == Some(link));
        let by_id = self.order.iter().filter_map(|id| Some((self.find(id).filter(|sent| went(sent))?.n, id)));
        let mut found: Vec<(u64, &RequestId)> = by_id.collect();
        found.sort_unstable();
        found.into_iter().map(|(_, id)| id.clone()).collect()
    }

    /// The path of one host's part has died.
    pub(crate) fn broke(&mut self, id: &RequestId, home: HostId) {
        if let Some(leg) = self.find_mut(id).and_then(|sent| sent.leg_mut(home)) {
            leg.doubtful |= leg.path != Path::Broken;
            leg.path = Path::Broken;
        }
        if let Some(way) = self.ways.get_mut(&home) {
            way.path = None;
        }
    }

    /// One host's part came back: that copy has not arrived. Those of other broadcasts may still be on that way.
    pub(crate) fn came_back(&mut self, id: &RequestId, home: HostId) {
        if let Some(leg) = self.find_mut(id).and_then(|sent| sent.leg_mut(home)) {
            leg.path = Path::Broken;
        }
        let way = self.ways.get(&home).and_then(|way| way.path).and_then(Path::link);
        if way.is_some_and(|link| self.open_by(home, link).is_empty())
            && let Some(way) = self.ways.get_mut(&home)
        {
            way.path = None;
        }
    }
}

impl Reach {
    fn add(&mut self, ended: Ended) {
        match ended {
            Ended::Told(Spread::Taken { members, missed }) => {
                self.taken += 1;
                self.members += u64::from(members);
                self.missed += u64::from(missed);
            }
            Ended::Told(Spread::Refused(refusal)) => {
                self.refused += 1;
                self.code.get_or_insert(refusal);
            }
            Ended::Unknown => self.unknown += 1,
        }
    }
}

/// A sender whose broadcasts came here.
#[derive(Debug)]
struct Sender {
    newest: Turn,
    at: Moment,
}

/// Broadcasts that came for members here in the last two minutes, so that none is told twice or behind a later one.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    by_id: HashMap<(PeerId, RequestId), (TopicId, Spread)>,
    by_age: VecDeque<(Moment, PeerId, RequestId)>,
    senders: HashMap<PeerId, Sender>,
    /// What each host may still have put into queues here.
    deliveries: BTreeMap<HostId, Bucket>,
}

impl Heard {
    /// What was done with a broadcast of this id, and for which topic.
    #[must_use]
    pub(crate) fn find(&self, from: PeerId, id: &RequestId) -> Option<(TopicId, Spread)> {
        self.by_id.get(&(from, id.clone())).copied()
    }

    /// Whether a host may have so many bytes put into so many queues more.
    pub(crate) fn may_deliver(&mut self, now: Moment, home: HostId, places: usize, bytes: usize) -> bool {
        let tokens = places.saturating_add(1).saturating_mul(1 + bytes / BYTES_PER_TOKEN);
        let tokens = u32::try_from(tokens).unwrap_or(u32::MAX);
        self.deliveries.entry(home).or_default().take(now, HOST_DELIVERIES, tokens).is_ok()
    }

    /// Whether the sender's broadcast comes after all that came from it.
    #[must_use]
    pub(crate) fn is_next(&self, from: PeerId, turn: Turn) -> bool {
        self.senders.get(&from).is_none_or(|sender| turn.is_after(&sender.newest))
    }

    /// Notes what was done with a broadcast.
    pub(crate) fn insert(
        &mut self,
        now: Moment,
        (from, turn): (PeerId, Turn),
        id: RequestId,
        topic: TopicId,
        spread: Spread,
    ) {
        self.tidy(now);
        self.senders.insert(from, Sender { newest: turn, at: now });
        self.by_id.insert((from, id.clone()), (topic, spread));
        self.by_age.push_back((now, from, id));
    }

    /// Broadcasts remembered, and senders.
    #[must_use]
    pub(crate) fn len(&self) -> (usize, usize) {
        (self.by_id.len(), self.senders.len())
    }

    /// Forgets what is too old. A sender is remembered as long as its newest broadcast.
    pub(crate) fn tidy(&mut self, now: Moment) {
        while self.by_age.len() >= REMEMBERED_SPREADS_MAX
            || self.by_age.front().is_some_and(|(at, ..)| now.since(*at) >= DEDUPLICATION)
        {
            let Some((at, from, id)) = self.by_age.pop_front() else { break };
            self.by_id.remove(&(from, id));
            if self.senders.get(&from).is_some_and(|sender| sender.at == at) {
                self.senders.remove(&from);
            }
        }
    }

    /// Forgets the hosts that have brought nothing for a while.
    pub(crate) fn forget_hosts(&mut self, now: Moment) {
        self.deliveries.retain(|_, bucket| !bucket.is_full(now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Moment = Moment::START;
    const TOPIC: TopicId = TopicId::new([7; 32]);
    const TAKEN: Spread = Spread::Taken { members: 2, missed: 1 };

    fn named<K>(number: usize, new: impl Fn([u8; 32]) -> K) -> K {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&(number as u64).to_be_bytes());
        new(bytes)
    }

    fn peer(number: usize) -> PeerId {
        named(number, PeerId::new)
    }

    fn home(number: usize) -> HostId {
        named(number, HostId::new)
    }

    fn id(number: usize) -> RequestId {
        number.to_string().as_str().into()
    }

    fn send(outgoing: &mut Outgoing, number: usize, homes: usize) -> Result<Taken, Refusal> {
        outgoing.take(NOW, &id(number), TOPIC, Bytes::new(), (0..homes).map(home).collect())
    }

    #[test]
    fn a_session_remembers_so_many_broadcasts_and_forgets_no_open_one() {
        let mut outgoing = Outgoing::default();
        assert_eq!(send(&mut outgoing, 0, 2), Ok(Taken::Send));
        for number in 1..3 * REMEMBERED_BROADCASTS_MAX {
            assert_eq!(send(&mut outgoing, number, 1), Ok(Taken::Send));
            outgoing.leg_ended(&id(number), home(0), Ended::Told(TAKEN));
            assert!(outgoing.finish(&id(number), false).is_some());
            assert!(outgoing.len() <= REMEMBERED_BROADCASTS_MAX);
        }
        assert_eq!(send(&mut outgoing, 0, 2), Ok(Taken::Open));
        assert_eq!((outgoing.open_count(), outgoing.ways.len()), (1, 2), "nothing is kept of hosts without open ones");
    }

    #[test]
    fn open_broadcasts_of_a_session_are_bounded() {
        let mut outgoing = Outgoing::default();
        for number in 0..OPEN_BROADCASTS_MAX {
            assert_eq!(send(&mut outgoing, number, 1), Ok(Taken::Send));
        }
        assert_eq!(send(&mut outgoing, OPEN_BROADCASTS_MAX, 1), Err(Refusal::TooManyOpen));
        assert!(outgoing.finish(&id(3), true).is_some());
        assert_eq!(send(&mut outgoing, OPEN_BROADCASTS_MAX, 1), Ok(Taken::Send));
    }

    #[test]
    fn each_host_counts_once_and_a_refusal_after_a_lost_way_proves_nothing() {
        let mut outgoing = Outgoing::default();
        send(&mut outgoing, 0, 4).unwrap();
        let direct = Path::Direct(crate::relay::io::LinkKey(1));
        let refused = Ended::Told(Spread::Refused(Refusal::Overtaken));
        outgoing.went(&id(0), home(1), direct);
        outgoing.broke(&id(0), home(1));
        for (at, ended) in [(0, Ended::Told(TAKEN)), (0, Ended::Told(TAKEN)), (1, refused), (2, refused), (9, refused)]
        {
            outgoing.leg_ended(&id(0), home(at), ended);
            assert_eq!(outgoing.finish(&id(0), false), None, "one has not answered");
        }
        let reach = outgoing.finish(&id(0), true).unwrap();
        let code = Some(Refusal::Overtaken);
        assert_eq!(reach, Reach { taken: 1, refused: 1, unknown: 2, members: 2, missed: 1, code });
        assert_eq!(outgoing.finish(&id(0), true), None);
        assert_eq!((outgoing.open_count(), outgoing.ways.len()), (0, 0));
    }

    #[test]
    fn broadcasts_that_came_are_remembered_for_two_minutes_and_bounded_and_so_are_their_senders() {
        let mut heard = Heard::default();
        let first = Turn { counter: 1, session: 1, n: 1 };
        for number in 0..=REMEMBERED_SPREADS_MAX {
            heard.insert(NOW, (peer(number), first), id(number), TOPIC, TAKEN);
        }
        assert_eq!(heard.len(), (REMEMBERED_SPREADS_MAX, REMEMBERED_SPREADS_MAX));
        assert_eq!((heard.find(peer(0), &id(0)), heard.find(peer(1), &id(1))), (None, Some((TOPIC, TAKEN))));
        assert!(heard.is_next(peer(0), first) && !heard.is_next(peer(1), first));
        heard.tidy(Moment::new(DEDUPLICATION));
        assert_eq!(heard.len(), (0, 0));
    }
}
