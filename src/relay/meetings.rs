//! Whom we want to meet and cannot dial, whom we are about to meet, and whom we bring together (PROTOCOL.md §11.2).
//!
//! ```text
//! Wish --asked through a common neighbour--> Expected --Punch--> Waiting --its moment--> Dialling --> a link, or the next try
//! ```
//! Who is asked by a common neighbour whether he is willing begins at `Expected`.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use aldis_wire::host::Nat;
use aldis_wire::id::HostId;

use super::io::Moment;
use super::limits::{
    MEETING_AGAIN, MEETING_EXPECTED, MEETING_LOOK_REST_MAX, MEETING_LOOK_REST_PER_HOST, MEETING_PAUSE_MAX,
    MEETING_PAUSE_MIN, MEETING_TIME, MEETING_TRIES, MEETINGS_ASKED_MAX, MEETINGS_MAX, PAIR_KEPT, PAIRS_MAX,
    PUNCHES_PER_ADDRESS_MAX, PUNCHES_PER_IP_MAX, PUNCHES_PER_NEIGHBOUR_MAX, PUNCHES_REMEMBERED, PUNCHES_REMEMBERED_MAX,
    WISHES_MAX,
};
use super::prefix::Prefix;

/// What a host that is introduced says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Side {
    /// What stands before it.
    pub(crate) nat: Nat,
    /// Where it may be reached.
    pub(crate) candidates: Vec<SocketAddr>,
}

impl Side {
    /// Whether it is no use for these two to dial each other. What stands before an IPv4 address does not matter to two
    /// that share one, since they are behind it together, nor where both have IPv6, since nothing changes ports there.
    pub(crate) fn is_hopeless(&self, other: &Self) -> bool {
        let v6 = |it: &Self| it.candidates.iter().any(SocketAddr::is_ipv6);
        !(self.nat.may_meet(other.nat) || v6(self) && v6(other) || self.shares_ip(other))
    }

    /// The same without ports: behind some routers each neighbour sees another one.
    pub(crate) fn rough(&self) -> Self {
        let mut candidates: Vec<SocketAddr> =
            self.candidates.iter().map(|candidate| SocketAddr::new(candidate.ip(), 0)).collect();
        candidates.sort_unstable();
        candidates.dedup();
        Self { nat: self.nat, candidates }
    }

    /// Whether both have an address with the same IP.
    pub(crate) fn shares_ip(&self, other: &Self) -> bool {
        self.candidates.iter().any(|one| other.candidates.iter().any(|two| one.ip() == two.ip()))
    }
}

/// A host that we would like to meet and cannot dial.
#[derive(Debug)]
struct Wish {
    /// What was known of them and of us when we last tried.
    known: (Side, Side),
    /// Tries since the last pause.
    tries: u32,
    /// All tries: each goes through another neighbour.
    turn: usize,
    /// Pauses since something has changed.
    pauses: u32,
    /// When the last try began.
    tried: Moment,
    /// Not to be tried before; `None`: not before something changes.
    not_before: Option<Moment>,
}

/// How far a meeting has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// We have said that we want to; the common neighbour has not said when.
    Expected,
    /// We know when to dial.
    Waiting,
    /// We have dialled.
    Dialling,
}

/// A meeting under way.
#[derive(Clone, Debug)]
pub(crate) struct Meeting {
    /// How far it has come.
    pub(crate) stage: Stage,
    /// The common neighbour. Of two connections with it one may give way meanwhile.
    pub(crate) through: HostId,
    /// Whether we asked for it.
    pub(crate) ours: bool,
    /// The moment to dial, or to give up.
    pub(crate) until: Moment,
    /// When we began to dial, once we have.
    pub(crate) began: Moment,
    /// What the neighbour says of the other.
    pub(crate) theirs: Side,
}

/// A host that has asked us to bring it together with another one.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    /// When it asked.
    pub(crate) since: Moment,
    /// What it says of itself.
    pub(crate) asker: Side,
}

/// See the module's text.
#[derive(Debug, Default)]
pub(crate) struct Meetings {
    wishes: BTreeMap<HostId, Wish>,
    under_way: BTreeMap<HostId, Meeting>,
    /// By who asked, and for whom.
    pairs: BTreeMap<(HostId, HostId), Pair>,
    /// Where we dialled because of introductions, when, and who told us to.
    punches: VecDeque<(Moment, SocketAddr, HostId)>,
    /// When to look for wishes.
    look: Option<Moment>,
    /// Before that it is not looked again.
    rests_until: Moment,
}

/// As somebody who wants to meet others.
impl Meetings {
    /// Somebody may have to be met, or be met otherwise: look at this moment, or earlier if that was planned.
    pub(crate) fn look_at(&mut self, moment: Moment) {
        let moment = moment.max(self.rests_until);
        self.look = Some(self.look.map_or(moment, |planned| planned.min(moment)));
    }

    /// Whether it is time to look for wishes among so many hosts; then the next look is to be planned.
    pub(crate) fn takes_look(&mut self, now: Moment, hosts: usize) -> bool {
        let due = self.look.is_some_and(|look| look <= now);
        if due {
            let hosts = u32::try_from(hosts).unwrap_or(u32::MAX);
            self.rests_until = now + MEETING_LOOK_REST_PER_HOST.saturating_mul(hosts).min(MEETING_LOOK_REST_MAX);
            self.look = None;
        }
        due
    }

    /// Forgets the wishes that are none any more.
    pub(crate) fn keep_wishes(&mut self, wanted: impl Fn(HostId) -> bool) {
        self.wishes.retain(|host, _| wanted(*host));
    }

    /// A host is wanted and cannot be dialled; `patience` is for the first try. When it may be tried: `None` when only a
    /// change of `theirs` or `ours` will make it worth a try. A change makes it worth one at once.
    pub(crate) fn wish(
        &mut self,
        now: Moment,
        host: HostId,
        known: (Side, Side),
        patience: Duration,
    ) -> Option<Moment> {
        let hopeless = known.0.is_hopeless(&known.1);
        if self.wishes.len() >= WISHES_MAX && !self.wishes.contains_key(&host) {
            return None;
        }
        let wish = self.wishes.entry(host).or_insert_with(|| {
            let not_before = Some(now + patience);
            Wish { known: known.clone(), tries: 0, turn: 0, pauses: 0, tried: Moment::default(), not_before }
        });
        if wish.known != known {
            wish.known = known;
            (wish.tries, wish.pauses) = (0, 0);
            let again = if wish.turn > 0 { (wish.tried + MEETING_AGAIN).max(now) } else { now + patience };
            wish.not_before = Some(wish.not_before.map_or(again, |planned| planned.min(again)));
        }
        wish.not_before.filter(|_| !hopeless)
    }

    /// A host must be met at once, whatever was planned.
    pub(crate) fn hurry(&mut self, now: Moment, host: HostId) {
        if let Some(wish) = self.wishes.get_mut(&host) {
            wish.not_before = Some(now);
            (wish.tries, wish.pauses) = (0, 0);
        }
        self.look_at(now);
    }

    /// Which of the common neighbours is to be asked, of so many: another one each time.
    pub(crate) fn turn(&self, host: HostId, of: usize) -> usize {
        self.wishes.get(&host).map_or(0, |wish| wish.turn.checked_rem(of).unwrap_or(0))
    }

    /// Whether another meeting may begin. Those for which we ask have room of their own, which nobody else's wishes take.
    pub(crate) fn has_room(&self, ours: bool) -> bool {
        let most = if ours { MEETINGS_ASKED_MAX } else { MEETINGS_MAX - MEETINGS_ASKED_MAX };
        self.under_way.values().filter(|meeting| meeting.ours == ours).count() < most
    }

    /// The meeting with a host, if one is under way.
    pub(crate) fn with(&self, host: HostId) -> Option<&Meeting> {
        self.under_way.get(&host)
    }

    /// Whether we and a host dial each other, or are about to.
    pub(crate) fn is_dialling(&self, host: HostId) -> bool {
        self.under_way.get(&host).is_some_and(|meeting| meeting.stage != Stage::Expected)
    }

    /// Since when we dial a host because of a meeting.
    pub(crate) fn dialled_since(&self, host: HostId) -> Option<Moment> {
        let meeting = self.under_way.get(&host).filter(|meeting| meeting.stage == Stage::Dialling)?;
        Some(meeting.began)
    }

    /// We have said to the neighbour `through` that we want to meet a host.
    pub(crate) fn expect(&mut self, now: Moment, host: HostId, through: HostId, ours: bool) {
        if let Some(wish) = self.wishes.get_mut(&host) {
            wish.tried = now;
            wish.turn += 1;
            wish.not_before = None;
        }
        let (stage, until, theirs) = (Stage::Expected, now + MEETING_EXPECTED, Side::default());
        self.under_way.insert(host, Meeting { stage, through, ours, until, began: now, theirs });
    }

    /// The common neighbour says when to dial. False if we have not agreed to that.
    pub(crate) fn appoint(&mut self, host: HostId, through: HostId, theirs: Side, at: Moment) -> bool {
        let Some(meeting) = self.under_way.get_mut(&host) else { return false };
        let agreed = meeting.stage == Stage::Expected && meeting.through == through;
        if agreed {
            (meeting.stage, meeting.theirs, meeting.until) = (Stage::Waiting, theirs, at);
        }
        agreed
    }

    /// The meetings whose moment has come: to dial, or to give up. Those that begin to dial stay under way, the others
    /// are over.
    pub(crate) fn take_due(&mut self, now: Moment) -> Vec<(HostId, Meeting)> {
        let due = self.under_way.iter().filter(|(_, meeting)| meeting.until <= now);
        let due: Vec<(HostId, Meeting)> = due.map(|(host, meeting)| (*host, meeting.clone())).collect();
        for (host, meeting) in &due {
            match self.under_way.get_mut(host).filter(|_| meeting.stage == Stage::Waiting) {
                Some(waiting) => {
                    (waiting.stage, waiting.until, waiting.began) = (Stage::Dialling, now + MEETING_TIME, now);
                }
                None => _ = self.under_way.remove(host),
            }
        }
        due
    }

    /// A link with the host stands. Gives the meeting that brought it, if there was one.
    pub(crate) fn met(&mut self, host: HostId) -> Option<Meeting> {
        self.wishes.remove(&host);
        self.under_way.remove(&host)
    }

    /// Nothing came of a meeting: it is over, and tried again soon; after some tries not for a longer time.
    pub(crate) fn failed(&mut self, now: Moment, host: HostId) {
        self.under_way.remove(&host);
        let Some(wish) = self.wishes.get_mut(&host) else { return };
        wish.tries += 1;
        let mut again = (wish.tried + MEETING_AGAIN).max(now);
        if wish.tries >= MEETING_TRIES {
            let pause = MEETING_PAUSE_MIN.saturating_mul(1 << wish.pauses.min(16)).min(MEETING_PAUSE_MAX);
            wish.tries = 0;
            wish.pauses += 1;
            again = again + pause;
        }
        wish.not_before = Some(again);
        self.look_at(again);
    }

    /// The common neighbour is asked too much: the try does not count.
    pub(crate) fn put_off(&mut self, now: Moment, host: HostId) {
        self.under_way.remove(&host);
        if let Some(wish) = self.wishes.get_mut(&host) {
            wish.not_before = Some(now + MEETING_AGAIN);
            self.look_at(now + MEETING_AGAIN);
        }
    }

    /// The two cannot meet as they are: not before something changes.
    pub(crate) fn give_up(&mut self, host: HostId) {
        self.under_way.remove(&host);
        if let Some(wish) = self.wishes.get_mut(&host) {
            wish.not_before = None;
        }
    }

    /// There is no link with a neighbour any more: nothing comes through it.
    pub(crate) fn lost(&mut self, now: Moment, through: HostId) {
        for meeting in self.under_way.values_mut() {
            if meeting.through == through && meeting.stage == Stage::Expected {
                meeting.until = now;
            }
        }
    }

    /// Whether an introduction of the neighbour `through` may make us dial this address once more; counts it.
    pub(crate) fn may_punch(&mut self, now: Moment, address: SocketAddr, through: HostId) -> bool {
        while self.punches.front().is_some_and(|(at, ..)| *at + PUNCHES_REMEMBERED <= now) {
            self.punches.pop_front();
        }
        let (mut there, mut at_ip, mut by_it) = (0, 0, 0);
        for (_, known, teller) in &self.punches {
            there += usize::from(*known == address);
            at_ip += usize::from(Prefix::of(known.ip()) == Prefix::of(address.ip()));
            by_it += usize::from(*teller == through);
        }
        let may = there < PUNCHES_PER_ADDRESS_MAX
            && at_ip < PUNCHES_PER_IP_MAX
            && by_it < PUNCHES_PER_NEIGHBOUR_MAX
            && self.punches.len() < PUNCHES_REMEMBERED_MAX;
        if may {
            self.punches.push_back((now, address, through));
        }
        may
    }
}

/// As the neighbour of two others.
impl Meetings {
    /// A host asks for another one. False when there is no room.
    pub(crate) fn ask(&mut self, now: Moment, from: HostId, to: HostId, asker: Side) -> bool {
        let room = self.pairs.len() < PAIRS_MAX || self.pairs.contains_key(&(from, to));
        if room {
            self.pairs.insert((from, to), Pair { since: now, asker });
        }
        room
    }

    /// What `from` said of itself when it asked for `to`, if that was a moment ago. It is answered with this.
    pub(crate) fn answer(&mut self, from: HostId, to: HostId) -> Option<Side> {
        self.pairs.remove(&(from, to)).map(|pair| pair.asker)
    }

    /// Those who asked and for whom, and were not answered in time.
    pub(crate) fn take_unanswered(&mut self, now: Moment) -> Vec<(HostId, HostId)> {
        let over = |pair: &Pair| pair.since + PAIR_KEPT <= now;
        let late: Vec<_> = self.pairs.iter().filter(|(_, pair)| over(pair)).map(|(key, _)| *key).collect();
        self.pairs.retain(|_, pair| !over(pair));
        late
    }

    /// Pairs that wait, and meetings under way.
    pub(crate) fn len(&self) -> (usize, usize) {
        (self.pairs.len(), self.under_way.len())
    }
}

impl Meetings {
    /// When something is due.
    pub(crate) fn next(&self) -> Option<Moment> {
        let meetings = self.under_way.values().map(|meeting| meeting.until);
        let pairs = self.pairs.values().map(|pair| pair.since + PAIR_KEPT);
        meetings.chain(pairs).chain(self.look).min()
    }
}

/// Whether a host that is seen at `seen` may name this as a place where it can be reached: the very address, whatever
/// the port, or one of its own IPv6 network.
pub(crate) fn is_at(seen: IpAddr, candidate: IpAddr) -> bool {
    match (seen.to_canonical(), candidate.to_canonical()) {
        (IpAddr::V4(seen), IpAddr::V4(candidate)) => seen == candidate,
        (IpAddr::V6(seen), IpAddr::V6(candidate)) => seen.to_bits() >> 64 == candidate.to_bits() >> 64,
        _ => false,
    }
}
