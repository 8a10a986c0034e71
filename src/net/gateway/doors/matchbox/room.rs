//! Who meets whom in a room: a pure reckoning over the memberships that are seen, alike at every host.
//!
//! Of two clients that are to meet, exactly one must be told, since the one that is told makes the offer. In a room for
//! all it is the one that came first. In a room for groups of N, a *leader* decides who belongs together and in which
//! order: its membership's meta names them. Whoever waits longest becomes one when there is none with room; of several the
//! first takes in newcomers. A group that is complete is settled: it takes in nobody any more, whoever leaves.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};

use aldis_wire::id::PeerId;
use uuid::Uuid;

use super::codec::uuid;

/// Members of a room that one client is told of; further ones do not meet it. Every browser among them holds a connection
/// to every other, which none can with so many.
pub(super) const MEMBERS_MAX: usize = 256;
/// Clients of a group: so many ids fit a leader's meta.
pub(super) const GROUP_MAX: usize = 60;

/// What a membership says of its client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It waits for a leader, or the room is one for all.
    Waits,
    /// It leads these, itself not among them, in the order in which they came to it.
    Leads(Vec<Uuid>),
    /// Its group is complete.
    Settled,
}

/// What a membership says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// When it came, by its home's clock, in milliseconds of Unix time.
    pub(super) stamp: u64,
    pub(super) state: State,
}

impl Place {
    /// The meta: `stamp as u64 ‖ nothing | 0x01 ‖ ids of 16 bytes | 0x02`.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut meta = self.stamp.to_be_bytes().to_vec();
        match &self.state {
            State::Waits => {}
            State::Leads(led) => {
                meta.push(1);
                led.iter().for_each(|id| meta.extend_from_slice(id.as_bytes()));
            }
            State::Settled => meta.push(2),
        }
        meta
    }

    /// Another host may have written anything: what cannot be read came last, and is left alone.
    pub(super) fn decode(meta: &[u8]) -> Self {
        let Some((stamp, rest)) = meta.split_first_chunk() else {
            return Self { stamp: u64::MAX, state: State::Settled };
        };
        let state = match rest.split_first() {
            None => State::Waits,
            Some((1, ids)) => {
                let ids = ids.as_chunks().0.iter().map(|id| Uuid::from_bytes(*id));
                State::Leads(ids.take(GROUP_MAX - 1).collect())
            }
            Some(_) => State::Settled,
        };
        Self { stamp: u64::from_be_bytes(*stamp), state }
    }

    fn led(&self) -> Option<&[Uuid]> {
        if let State::Leads(led) = &self.state { Some(led) } else { None }
    }
}

/// A room as one client's home sees it.
#[derive(Debug)]
pub(super) struct Room {
    me: PeerId,
    mine: Place,
    /// Clients of a group; `None` for a room for all.
    size: Option<usize>,
    /// The others.
    members: BTreeMap<PeerId, Place>,
    /// Leaders among them that did not take in our client though they had room.
    passed_over: BTreeSet<PeerId>,
    /// What was reckoned since the last change.
    groups: OnceCell<Groups>,
}

/// A room for groups, reckoned.
#[derive(Debug)]
struct Groups {
    /// To which leader a client belongs: its own, if it leads, else the first that names it.
    leaders: BTreeMap<Uuid, PeerId>,
    /// The first leader that still has room.
    open: Option<PeerId>,
    /// Clients without a leader, in the order in which they came.
    waiting: Vec<PeerId>,
}

impl Room {
    pub(super) fn new(me: PeerId, size: Option<usize>, stamp: u64) -> Self {
        Self {
            me,
            mine: Place { stamp, state: State::Waits },
            size,
            members: BTreeMap::new(),
            passed_over: BTreeSet::new(),
            groups: OnceCell::new(),
        }
    }

    /// Takes in a member, or its new meta. Beyond the bound it is not seen.
    pub(super) fn saw(&mut self, peer: PeerId, meta: &[u8]) {
        if peer != self.me && (self.members.len() < MEMBERS_MAX || self.members.contains_key(&peer)) {
            let mut place = Place::decode(meta);
            if let State::Leads(led) = &mut place.state {
                led.truncate(self.size.unwrap_or_default().saturating_sub(1));
            }
            self.members.insert(peer, place);
            self.groups.take();
        }
    }

    /// A member is gone.
    pub(super) fn lost(&mut self, peer: PeerId) {
        self.members.remove(&peer);
        self.passed_over.remove(&peer);
        self.groups.take();
    }

    /// What our own membership says.
    pub(super) fn mine(&self) -> &Place {
        &self.mine
    }

    /// Who has this id.
    pub(super) fn find(&self, id: Uuid) -> Option<PeerId> {
        self.members.keys().copied().find(|peer| uuid(*peer) == id)
    }

    /// Whether our client should lead, were it to wait no longer.
    pub(super) fn wants_leader(&self) -> bool {
        if self.size.is_none_or(|size| size < 2) || self.mine.state != State::Waits {
            return false;
        }
        let groups = self.groups();
        groups.open.is_none() && groups.waiting.first() == Some(&self.me)
    }

    /// Whether our client is the next whom a leader with room has to take in.
    pub(super) fn is_next(&self) -> bool {
        let groups = self.groups();
        self.mine.state == State::Waits && groups.open.is_some() && groups.waiting.first() == Some(&self.me)
    }

    /// No leader has taken in our client: as if none of them had room.
    pub(super) fn pass_over(&mut self) {
        let leads = |(peer, place): (&PeerId, &Place)| place.led().is_some().then_some(*peer);
        self.passed_over.extend(self.members.iter().filter_map(leads));
        self.groups.take();
    }

    /// Our client leads from now on.
    pub(super) fn lead(&mut self) {
        self.mine.state = State::Leads(Vec::new());
        self.groups.take();
    }

    /// Takes those who wait into our own group, if it is for us to do so. Whether our meta changed.
    pub(super) fn take_in(&mut self) -> bool {
        let (Some(before), Some(size)) = (self.mine.led().map(<[Uuid]>::to_vec), self.size) else { return false };
        let groups = self.groups();
        // Whom an earlier leader has, it keeps. Who is gone keeps its place.
        let ours = |id: &Uuid| groups.leaders.get(id).is_none_or(|leader| *leader == self.me);
        let mut led: Vec<Uuid> = before.iter().copied().filter(ours).collect();
        if groups.open == Some(self.me) {
            led.extend(groups.waiting.iter().copied().map(uuid).take(size.saturating_sub(1 + led.len())));
        }
        let changed = led != before;
        if changed {
            self.mine.state = State::Leads(led);
            self.groups.take();
        }
        changed
    }

    /// Whether our client's group has as many as it should.
    pub(super) fn is_complete(&self) -> bool {
        self.size.is_some_and(|size| self.group().len() >= size)
    }

    /// Our client's group takes in nobody any more. Its leader goes on saying who belongs to it.
    pub(super) fn settle(&mut self) {
        if self.mine.state == State::Waits {
            self.mine.state = State::Settled;
            self.groups.take();
        }
    }

    /// Names our client's group: its leader's id.
    pub(super) fn group_id(&self) -> Option<Uuid> {
        self.group().first().copied()
    }

    /// Those whom our client is to meet, and whether it makes the offer.
    pub(super) fn meets(&self) -> Vec<(PeerId, bool)> {
        if self.size.is_none() {
            let mine = (self.mine.stamp, self.me);
            return self.members.iter().map(|(peer, place)| (*peer, mine < (place.stamp, *peer))).collect();
        }
        let (group, own) = (self.group(), uuid(self.me));
        let me = group.iter().position(|id| *id == own);
        let other = |(place, id): (usize, &Uuid)| Some((self.find(*id)?, me < Some(place)));
        group.iter().enumerate().filter_map(other).collect()
    }

    /// Whether some leader has both a client and ours: it may be of our group. Much cheaper than to reckon.
    pub(super) fn may_be_of_our_group(&self, peer: PeerId) -> bool {
        let both = [uuid(peer), uuid(self.me)];
        let has_both = |(leader, place): (&PeerId, &Place)| {
            place.led().is_some_and(|led| both.iter().all(|id| uuid(*leader) == *id || led.contains(id)))
        };
        self.members.iter().chain([(&self.me, &self.mine)]).any(has_both)
    }

    /// Our client's group, leader first; empty while it waits.
    fn group(&self) -> Vec<Uuid> {
        let Some(leader) = self.groups().leaders.get(&uuid(self.me)).copied() else { return Vec::new() };
        let place = if leader == self.me { Some(&self.mine) } else { self.members.get(&leader) };
        let led = place.and_then(Place::led).unwrap_or_default();
        std::iter::once(uuid(leader)).chain(led.iter().copied()).collect()
    }

    fn groups(&self) -> &Groups {
        self.groups.get_or_init(|| self.reckon())
    }

    fn reckon(&self) -> Groups {
        let mut order: Vec<(PeerId, &Place)> = self.members.iter().map(|(peer, place)| (*peer, place)).collect();
        order.push((self.me, &self.mine));
        order.sort_unstable_by_key(|(peer, place)| (place.stamp, *peer));
        let leads = order.iter().filter_map(|(peer, place)| Some((*peer, place.led()?)));
        let mut leaders: BTreeMap<Uuid, PeerId> = leads.clone().map(|(peer, _)| (uuid(peer), peer)).collect();
        for (leader, led) in leads.clone() {
            led.iter().for_each(|id| _ = leaders.entry(*id).or_insert(leader));
        }
        let size = self.size.unwrap_or_default();
        let has_room = |(leader, led): &(PeerId, &[Uuid])| 1 + led.len() < size && !self.passed_over.contains(leader);
        let open = leads.clone().find(has_room).map(|(leader, _)| leader);
        let waits = |(peer, place): &(PeerId, &Place)| {
            (place.state == State::Waits && !leaders.contains_key(&uuid(*peer))).then_some(*peer)
        };
        let waiting = order.iter().filter_map(waits).collect();
        Groups { leaders, open, waiting }
    }
}

#[cfg(test)]
mod tests;
