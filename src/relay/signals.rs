//! Signals on their way: those that sessions here have sent, and those that were delivered here.

mod arrived;
mod bouncing;
mod detours;
#[cfg(test)]
mod tests;
mod turn;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use aldis_wire::host::Outcome;
use aldis_wire::id::{HostId, PeerId, TopicId};
use aldis_wire::refusal::Refusal;
pub(crate) use arrived::{Deliveries, Delivery, ReturnRoutes};
pub(crate) use bouncing::{PassedOn, Sealed, Went};
use bytes::Bytes;
pub(crate) use detours::Detours;
pub(crate) use turn::Turn;

use super::io::{LinkKey, Moment, RequestId};
use super::limits::{
    COPIES_MAX, DEADLINES_MAX, HELD_SIGNALS_MAX, HOLD_AGAIN, HOLD_MAX, HOLD_MIN, OPEN_SIGNALS_MAX,
    REMEMBERED_SIGNALS_MAX, SIGNAL_TIMEOUT,
};

/// How a signal went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Path {
    /// The target is at home here.
    Local,
    /// Over the link to the target's home.
    Direct(LinkKey),
    /// Sealed, towards the target's home, by way of this link; the nonce names the frame.
    Routed(LinkKey, [u8; 24]),
    /// Nowhere yet: kept until those before it, which went by way of this link, have their receipts.
    Held(LinkKey),
    /// Nowhere yet: the path it had died.
    Broken,
}

impl Path {
    /// The first link on the way.
    #[must_use]
    pub(crate) fn link(self) -> Option<LinkKey> {
        match self {
            Self::Direct(link) | Self::Routed(link, _) | Self::Held(link) => Some(link),
            Self::Local | Self::Broken => None,
        }
    }
}

/// Why the host of a link may not speak for a sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doubt {
    /// The sender is not at home there: a fault.
    Foreign,
    /// It may be, or may have been.
    Refused(Refusal),
}

/// A signal that a session has sent.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    /// Whom.
    pub(crate) to: PeerId,
    /// Its place among the session's signals to this target.
    pub(crate) n: u64,
    /// The home to which it went; only from there does a receipt count.
    pub(crate) home: Option<HostId>,
    /// Where the two met.
    pub(crate) topic: Option<TopicId>,
    /// Kept for sending again when the path dies.
    pub(crate) data: Bytes,
    /// How it went.
    pub(crate) path: Path,
    /// When it must have its receipt.
    pub(crate) until: Moment,
    /// Whether it has gone before and nothing will come back of that: on a way that died, or in an earlier try.
    doubtful: bool,
    /// Earlier sealed copies without an answer: each may still come back, over its link.
    copies: Vec<(LinkKey, [u8; 24])>,
    /// The home to which it went last, and its epoch.
    pub(crate) life: Option<(HostId, u64)>,
    /// Whether it went to another home before, or to another life of this one: what that one did with it this one does
    /// not know, and its refusal becomes `unknown` too.
    elsewhere: bool,
    /// `None` while it is open; `unknown` while it may be tried again.
    pub(crate) outcome: Option<Outcome>,
}

impl Sent {
    /// Whether it has gone before: then nobody here can say that it was not delivered.
    #[must_use]
    pub(crate) fn is_doubtful(&self) -> bool {
        self.doubtful || !self.copies.is_empty()
    }

    /// Whether it may be delivered although it was refused so: another home had it before, or this one may have another copy,
    /// which came, or comes, when the target is there. A home keeps in mind what it has taken, not for whom there was nobody.
    #[must_use]
    pub(crate) fn may_still_arrive(&self, refusal: Refusal) -> bool {
        let of_all_copies =
            matches!(refusal, Refusal::Gone | Refusal::Overtaken | Refusal::QueueFull | Refusal::BadField);
        self.elsewhere || self.is_doubtful() && !of_all_copies
    }

    /// What to tell of a refusal that does not come from the target's home.
    #[must_use]
    pub(crate) fn refused(&self, refusal: Refusal) -> Outcome {
        if self.is_doubtful() { Outcome::Unknown } else { Outcome::Refused(refusal) }
    }
}

/// What the sender's home does with a request to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// It is new, or may be tried again: send it.
    Send,
    /// The same id is open: its receipt will come.
    Open,
    /// The same id has had its receipt: tell it again.
    Again(Outcome),
}

/// Signals of a pair that wait until those on the way have their receipts.
#[derive(Debug)]
struct Hold {
    /// How long at most.
    until: Moment,
    /// The first link on the way of those that are on the way.
    link: LinkKey,
    /// In their order.
    ids: Vec<RequestId>,
}

/// A target to which signals are open.
#[derive(Debug, Default)]
struct Pair {
    open: usize,
    path: Option<Path>,
    /// How long the last receipt took that came by way of other hosts.
    took: Option<Duration>,
    /// New signals wait for a better path.
    hold: Option<Hold>,
    /// When they may wait again.
    hold_again: Moment,
}

/// What a session knows of a signal by its id.
#[derive(Debug)]
enum Known {
    /// It waits for its receipt, or that said `unknown` and it may be tried again.
    Alive(Box<Sent>),
    /// It has had its last word. A session remembers hundreds of these, so nothing else is kept of them.
    Ended {
        /// Whom it was for.
        to: PeerId,
        /// The last word.
        outcome: Outcome,
    },
}

/// The signals that one session has sent.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    by_id: HashMap<RequestId, Known>,
    order: VecDeque<RequestId>,
    pairs: BTreeMap<PeerId, Pair>,
    open: usize,
    /// `n` of the newest signal: one count for all targets, so that nothing needs to be kept of a target.
    last_n: u64,
}

impl Outgoing {
    /// Takes a request to send.
    ///
    /// # Errors
    /// [`Refusal::TooManyOpen`]; [`Refusal::BadField`] when the id was used for another target.
    pub(crate) fn take(
        &mut self,
        now: Moment,
        id: &RequestId,
        to: PeerId,
        topic: Option<TopicId>,
        data: Bytes,
    ) -> Result<Taken, Refusal> {
        let until = now + SIGNAL_TIMEOUT;
        match self.by_id.get_mut(id) {
            Some(Known::Ended { to: known, .. }) if *known != to => return Err(Refusal::BadField),
            Some(Known::Ended { outcome, .. }) => return Ok(Taken::Again(*outcome)),
            Some(Known::Alive(sent)) if sent.to != to => return Err(Refusal::BadField),
            Some(Known::Alive(sent)) if sent.outcome.is_none() => return Ok(Taken::Open),
            Some(Known::Alive(sent)) => {
                sent.outcome = None;
                (sent.data, sent.until, sent.doubtful) = (data, until, true);
                self.open += 1;
                self.pairs.entry(to).or_default().open += 1;
                return Ok(Taken::Send);
            }
            None => {}
        }
        if self.open >= OPEN_SIGNALS_MAX {
            return Err(Refusal::TooManyOpen);
        }
        self.make_room();
        self.pairs.entry(to).or_default().open += 1;
        self.open += 1;
        self.last_n += 1;
        let sent = Sent {
            to,
            n: self.last_n,
            home: None,
            topic,
            data,
            path: Path::Broken,
            until,
            doubtful: false,
            copies: Vec::new(),
            life: None,
            elsewhere: false,
            outcome: None,
        };
        self.by_id.insert(id.clone(), Known::Alive(Box::new(sent)));
        self.order.push_back(id.clone());
        Ok(Taken::Send)
    }

    fn make_room(&mut self) {
        for _ in 0..self.order.len() {
            if self.order.len() < REMEMBERED_SIGNALS_MAX {
                return;
            }
            let Some(id) = self.order.pop_front() else { return };
            if self.find(&id).is_some_and(|sent| sent.outcome.is_none()) {
                self.order.push_back(id);
            } else {
                self.by_id.remove(&id);
            }
        }
    }

    /// Signals that wait for their receipts.
    #[must_use]
    pub(crate) fn open_count(&self) -> usize {
        self.open
    }

    /// Signals remembered.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// A signal by its id, unless it has had its last word.
    #[must_use]
    pub(crate) fn find(&self, id: &RequestId) -> Option<&Sent> {
        if let Some(Known::Alive(sent)) = self.by_id.get(id) { Some(sent) } else { None }
    }

    fn find_mut(&mut self, id: &RequestId) -> Option<&mut Sent> {
        if let Some(Known::Alive(sent)) = self.by_id.get_mut(id) { Some(sent) } else { None }
    }

    /// Whether a signal of this id is remembered.
    #[must_use]
    pub(crate) fn remembers(&self, id: &RequestId) -> bool {
        self.by_id.contains_key(id)
    }

    /// The path that open signals to a target take, as long as there are any.
    #[must_use]
    pub(crate) fn pinned(&self, to: PeerId) -> Option<Path> {
        self.pairs.get(&to).filter(|pair| pair.open > 1).and_then(|pair| pair.path)
    }

    /// Notes how a signal went.
    pub(crate) fn went(&mut self, id: &RequestId, home: HostId, epoch: u64, path: Path) {
        let Some(sent) = self.find_mut(id) else { return };
        let before = sent.life.replace((home, epoch));
        sent.elsewhere |= before.is_some_and(|before| before != (home, epoch));
        (sent.home, sent.path) = (Some(home), path);
        let to = sent.to;
        if let Some(pair) = self.pairs.get_mut(&to) {
            pair.path = Some(path);
        }
    }

    /// Notes what became of an open signal; false if it is not open.
    pub(crate) fn finish(&mut self, id: &RequestId, outcome: Outcome) -> bool {
        let Some(sent) = self.find_mut(id).filter(|sent| sent.outcome.is_none()) else { return false };
        let to = sent.to;
        if outcome == Outcome::Unknown {
            (sent.outcome, sent.data) = (Some(outcome), Bytes::new());
        } else {
            self.by_id.insert(id.clone(), Known::Ended { to, outcome });
        }
        self.open -= 1;
        if let Some(pair) = self.pairs.get_mut(&to) {
            pair.open -= 1;
            if let Some(hold) = &mut pair.hold {
                hold.ids.retain(|held| held != id);
            }
            if pair.open == 0 {
                self.pairs.remove(&to);
            }
        }
        true
    }

    /// Open signals whose path is like that, in the order in which they were sent.
    #[must_use]
    pub(crate) fn open_where(&self, path: impl Fn(Path) -> bool) -> Vec<RequestId> {
        if self.open == 0 {
            return Vec::new();
        }
        let fits = |id: &&RequestId| self.find(id).is_some_and(|sent| sent.outcome.is_none() && path(sent.path));
        let mut ids: Vec<RequestId> = self.order.iter().filter(fits).cloned().collect();
        ids.sort_by_key(|id| self.find(id).map(|sent| (sent.to, sent.n)));
        ids
    }

    /// Open signals to a target, in the order in which they were sent.
    #[must_use]
    pub(crate) fn open_to(&self, to: PeerId) -> Vec<RequestId> {
        let is_open = |id: &&RequestId| self.find(id).is_some_and(|sent| sent.outcome.is_none() && sent.to == to);
        let mut ids: Vec<RequestId> = self.order.iter().filter(is_open).cloned().collect();
        ids.sort_by_key(|id| self.find(id).map(|sent| sent.n));
        ids
    }

    /// The path of an open signal has died.
    pub(crate) fn broke(&mut self, id: &RequestId) {
        let Some(sent) = self.find_mut(id) else { return };
        match sent.path {
            Path::Broken | Path::Held(_) => {}
            Path::Routed(link, nonce) if sent.copies.len() < COPIES_MAX => sent.copies.push((link, nonce)),
            Path::Local | Path::Direct(_) | Path::Routed(..) => sent.doubtful = true,
        }
        sent.path = Path::Broken;
        let to = sent.to;
        if let Some(pair) = self.pairs.get_mut(&to) {
            (pair.path, pair.hold) = (None, None);
        }
    }

    /// The copy of an open signal that went last came back: it has not arrived. Others of the pair may still be on that way.
    pub(crate) fn came_back(&mut self, id: &RequestId) {
        let Some(sent) = self.find_mut(id) else { return };
        sent.path = Path::Broken;
        let to = sent.to;
        let way = self.pairs.get(&to).and_then(|pair| pair.path).and_then(Path::link);
        let goes_there = |id: &RequestId| self.find(id).is_some_and(|sent| sent.path.link() == way);
        if !self.open_to(to).iter().any(goes_there)
            && let Some(pair) = self.pairs.get_mut(&to)
        {
            pair.path = None;
        }
    }

    /// An earlier copy of an open signal came back over this link. Whether nothing of it is on the way any more, nor may have
    /// arrived.
    pub(crate) fn copy_came_back(&mut self, id: &RequestId, link: LinkKey, nonce: [u8; 24]) -> bool {
        let Some(sent) = self.find_mut(id).filter(|sent| sent.copies.contains(&(link, nonce))) else { return false };
        sent.copies.retain(|copy| *copy != (link, nonce));
        sent.path == Path::Broken && !sent.is_doubtful()
    }
}

/// Signals that wait for a better path (PROTOCOL.md §7.2): nothing may overtake those that are on the way.
impl Outgoing {
    /// Whether signals to a target are held.
    #[must_use]
    pub(crate) fn holds(&self, to: PeerId) -> bool {
        self.pairs.get(&to).is_some_and(|pair| pair.hold.is_some())
    }

    /// Begins to hold signals to a target whose earlier ones went by way of `link`; until when. Nothing if a hold would
    /// hardly end well: the last one has not, or receipts take too long or have not come yet.
    pub(crate) fn begin_hold(&mut self, now: Moment, to: PeerId, link: LinkKey) -> Option<Moment> {
        let pair = self.pairs.get_mut(&to)?;
        let took = pair.took.filter(|took| *took < HOLD_MAX && now >= pair.hold_again)?;
        let until = now + (2 * took).clamp(HOLD_MIN, HOLD_MAX);
        pair.hold = Some(Hold { until, link, ids: Vec::new() });
        Some(until)
    }

    /// Holds a signal. False when there are as many now as there may be.
    pub(crate) fn hold(&mut self, to: PeerId, id: &RequestId) -> bool {
        let Some(hold) = self.pairs.get_mut(&to).and_then(|pair| pair.hold.as_mut()) else { return false };
        hold.ids.push(id.clone());
        let (link, has_room) = (hold.link, hold.ids.len() < HELD_SIGNALS_MAX);
        if let Some(sent) = self.find_mut(id) {
            sent.path = Path::Held(link);
        }
        has_room
    }

    /// Whether all that were on the way to a target have their receipts, so that those held may go.
    #[must_use]
    pub(crate) fn may_go(&self, to: PeerId) -> bool {
        let Some(pair) = self.pairs.get(&to) else { return false };
        pair.hold.as_ref().is_some_and(|hold| hold.ids.len() == pair.open)
    }

    /// Whether the hold that was to end now has not ended.
    #[must_use]
    pub(crate) fn is_held_until(&self, to: PeerId, at: Moment) -> bool {
        self.pairs.get(&to).and_then(|pair| pair.hold.as_ref()).is_some_and(|hold| hold.until == at)
    }

    /// Targets to which signals are held.
    #[must_use]
    pub(crate) fn held(&self) -> Vec<PeerId> {
        self.pairs.iter().filter(|(_, pair)| pair.hold.is_some()).map(|(to, _)| *to).collect()
    }

    /// Ends a hold; the signals that must be sent now, in their order. They take any path if none is on the way any more,
    /// otherwise the one of those that are.
    pub(crate) fn end_hold(&mut self, now: Moment, to: PeerId) -> Vec<RequestId> {
        let is_free = self.may_go(to);
        let Some(pair) = self.pairs.get_mut(&to) else { return Vec::new() };
        let ids = pair.hold.take().map(|hold| hold.ids).unwrap_or_default();
        if is_free {
            pair.path = None;
        } else {
            pair.hold_again = now + HOLD_AGAIN;
        }
        for id in &ids {
            if let Some(sent) = self.find_mut(id) {
                sent.path = Path::Broken;
            }
        }
        ids
    }

    /// Notes how long a receipt took that came by way of other hosts.
    pub(crate) fn took(&mut self, to: PeerId, time: Duration) {
        if let Some(pair) = self.pairs.get_mut(&to) {
            pair.took = Some(time);
        }
    }
}

/// Deadlines of open signals. They all wait equally long, so a queue keeps them in order without a timer each.
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    queue: VecDeque<(Moment, u64, RequestId)>,
}

impl Deadlines {
    /// Whether there is room for one more.
    #[must_use]
    pub(crate) fn has_room(&self) -> bool {
        self.queue.len() < DEADLINES_MAX
    }

    /// A signal was taken.
    pub(crate) fn push(&mut self, now: Moment, session: u64, id: RequestId) {
        self.queue.push_back((now + SIGNAL_TIMEOUT, session, id));
    }

    /// How many there are.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }

    /// The soonest deadline.
    #[must_use]
    pub(crate) fn next(&self) -> Option<Moment> {
        self.queue.front().map(|(at, ..)| *at)
    }

    /// Takes a deadline that has come.
    pub(crate) fn pop_due(&mut self, now: Moment) -> Option<(u64, RequestId)> {
        if self.next()? > now {
            return None;
        }
        self.queue.pop_front().map(|(_, session, id)| (session, id))
    }
}
