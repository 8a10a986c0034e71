//! All rosters known to this host, its own included, indexed by topic and by peer.
//!
//! A peer may stand in two rosters for a while when it moves. It is shown at the home with the highest counter only
//! (PROTOCOL.md §3.2). Every change of what is shown is told as a [`Shown`].

mod homes;
mod hosts;
mod shared;
mod shown;
mod topics;

use std::collections::BTreeMap;
use std::sync::Arc;

use aldis_wire::announcement::{GoneReason, Head, Op};
use aldis_wire::digest::Hash;
use aldis_wire::id::{HostId, PeerId, TopicId};
use aldis_wire::proof::{Proof, Trust};
use aldis_wire::record::{ShortId, short_id};
use bytes::Bytes;

use super::counters::{Counters, is_over};
use super::hashing::Seed;
use super::io::{Fault, LeftReason, Member, Moment};
use super::roster::{Change, Recorded, Roster, Slot};
use super::view::Memory;
use homes::Homes;
use hosts::{Held, Hosts, Place};
use shown::{Gone, difference};
pub(crate) use shown::{How, Shown};
use topics::Topics;

/// Homes from which a sample is drawn, for each member that is wanted.
const HOMES_SHUFFLED: usize = 4;
/// Members among which each of a sample is drawn by chance. A look-up costs what it answers, however many members and
/// homes a topic has.
const DRAWN_FOR_EACH: usize = 4;

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Directory {
    trust: Trust,
    hosts: Hosts,
    /// Members that are shown.
    topics: Topics,
    /// Homes of the peers in shown rosters.
    homes: Homes,
    /// Counters of keyed peers that have left.
    counters: Counters,
    /// Keyed peers that have left a home since this was last taken: their counters are to be remembered.
    departed: Vec<(PeerId, u64, HostId)>,
    /// While changes are followed: metas that were shown before, of memberships whose turn has not come.
    unfollowed: BTreeMap<Place, Box<[u8]>>,
}

impl Directory {
    /// A directory that knows nobody; `random` numbers keep strangers from choosing places in its tables.
    #[must_use]
    pub(crate) fn new(trust: impl Into<Trust>, mut random: impl FnMut() -> u64) -> Self {
        let (topics, homes) = (Seed::new(&mut random), Seed::new(random));
        Self {
            trust: trust.into(),
            hosts: Hosts::new(homes.clone()),
            topics: Topics::new(topics),
            homes: Homes::new(homes),
            counters: Counters::default(),
            departed: Vec::new(),
            unfollowed: BTreeMap::new(),
        }
    }

    /// The numbers that keep strangers from choosing places, for other tables of hosts.
    #[must_use]
    pub(crate) fn seed(&self) -> Seed {
        self.hosts.seed()
    }

    /// The roster of `origin`.
    #[must_use]
    pub(crate) fn roster(&self, origin: HostId) -> Option<&Roster> {
        self.hosts.find(origin).map(|held| &*held.roster)
    }

    /// The roster of `origin`, for asking digests and parts of it, which are computed when asked for.
    pub(crate) fn roster_mut(&mut self, origin: HostId) -> Option<&mut Roster> {
        self.hosts.find_mut(origin).map(|(_, held)| Arc::make_mut(&mut held.roster))
    }

    /// About how many bytes of memory the roster of `origin` takes, with its share of the indexes.
    #[must_use]
    pub(crate) fn weight(&self, origin: HostId) -> usize {
        self.roster(origin).map_or(0, Self::weight_of)
    }

    /// About how many bytes of memory a roster takes, with its share of the indexes.
    #[must_use]
    pub(crate) fn weight_of(roster: &Roster) -> usize {
        const PEER_BYTES: usize = 24;
        const MEMBERSHIP_BYTES: usize = 24 + 48;
        let (entries, digest) = roster.bytes();
        entries + digest + roster.peers() * PEER_BYTES + roster.memberships() * MEMBERSHIP_BYTES
    }

    /// What the directory takes of the memory, by part.
    #[must_use]
    pub(crate) fn memory(&self) -> Memory {
        let (entries, digests): (Vec<usize>, Vec<usize>) =
            self.hosts.iter().map(|(_, held)| held.roster.bytes()).unzip();
        Memory {
            entries_bytes: entries.iter().sum(),
            digests_bytes: digests.iter().sum(),
            peers_bytes: self.homes.bytes(),
            topics_bytes: self.topics.bytes(),
        }
    }

    /// Whether the roster of `origin` is shown.
    #[must_use]
    pub(crate) fn is_shown(&self, origin: HostId) -> bool {
        self.hosts.find(origin).is_some_and(|held| held.shown)
    }

    /// The record of a host.
    #[must_use]
    pub(crate) fn record(&self, host: HostId) -> Option<&Recorded> {
        self.roster(host).and_then(Roster::record)
    }

    /// The host at which a peer is at home.
    #[must_use]
    pub(crate) fn home(&self, peer: PeerId) -> Option<HostId> {
        self.hosts.host(self.homes.find(&self.hosts, peer)?.host)
    }

    /// The highest counter of a keyed peer that is present anywhere, and where.
    #[must_use]
    pub(crate) fn counter(&self, peer: PeerId) -> Option<(u64, HostId)> {
        self.homes.find(&self.hosts, peer).map(|home| self.hosts.claim(home))
    }

    /// Whether a peer is present at `home`, by whatever claim, with this very proof.
    #[must_use]
    pub(crate) fn is_present(&self, peer: PeerId, home: HostId, proof: &Proof) -> bool {
        let at_home = self.homes.find(&self.hosts, peer).filter(|place| self.hosts.host(place.host) == Some(home));
        let found = match at_home {
            Some(place) => self.hosts.at(place.host).and_then(|held| held.roster.proof_at(place.slot)),
            None => self.roster(home).and_then(|roster| roster.proof_at(roster.find(peer)?)),
        };
        found.is_some_and(|kept| kept.is(proof))
    }

    /// Hosts with a shown roster, in the order of their ids.
    pub(crate) fn hosts(&self) -> impl Iterator<Item = HostId> {
        self.hosts.iter().filter(|(_, held)| held.shown).map(|(host, _)| host)
    }

    /// The host with a shown roster whose id begins so.
    #[must_use]
    pub(crate) fn host_named(&self, short: ShortId) -> Option<HostId> {
        self.hosts().find(|host| short_id(*host) == short)
    }

    /// Number of hosts with a shown roster.
    #[must_use]
    pub(crate) fn hosts_count(&self) -> usize {
        self.hosts.shown()
    }

    /// Peers that are shown.
    #[must_use]
    pub(crate) fn peers_count(&self) -> usize {
        self.homes.len()
    }

    /// Topics that have members.
    #[must_use]
    pub(crate) fn topics_count(&self) -> usize {
        self.topics.len()
    }

    /// Rosters, hidden ones included.
    #[must_use]
    pub(crate) fn rosters_count(&self) -> usize {
        self.hosts.len()
    }

    /// Members of a topic that are shown.
    #[must_use]
    pub(crate) fn total(&self, topic: TopicId) -> usize {
        self.topics.count(topic)
    }

    /// Hosts at which members of a topic are at home.
    #[must_use]
    pub(crate) fn homes_of(&self, topic: TopicId) -> Vec<HostId> {
        let Some(number) = self.topics.number(topic) else { return Vec::new() };
        self.topics.homes(number, 0).filter_map(|row| self.hosts.host(row)).collect()
    }

    /// Whether a membership is shown.
    #[must_use]
    pub(crate) fn is_member(&self, topic: TopicId, peer: PeerId) -> bool {
        let Some(home) = self.homes.find(&self.hosts, peer) else { return false };
        let roster = self.hosts.at(home.host).map(|held| &held.roster);
        roster.is_some_and(|roster| roster.memberships_at(home.slot).any(|(_, other, _)| other == topic))
    }

    /// Up to `limit` members other than `except`, drawn by `random` (a number below its argument), one home after the
    /// other, so that one host's inventions cannot crowd out the rest.
    pub(crate) fn sample(
        &self,
        topic: TopicId,
        except: PeerId,
        limit: usize,
        mut random: impl FnMut(usize) -> usize,
    ) -> Vec<Member> {
        let Some(number) = self.topics.number(topic) else { return Vec::new() };
        // Each home gives one before any gives two: no more homes are looked at than one more than fit, and those are
        // drawn from not many more.
        let from = u32::try_from(random(self.hosts.rows())).unwrap_or(0);
        let mut homes: Vec<u32> = self.topics.homes(number, from).take(HOMES_SHUFFLED * limit.max(1)).collect();
        shuffle(&mut homes, &mut random);
        homes.truncate(limit.saturating_add(1));
        let window = DRAWN_FOR_EACH * limit.div_ceil(homes.len().max(1));
        let mut hands = Vec::with_capacity(homes.len());
        for home in homes {
            let from = random(self.hosts.at(home).map_or(1, |held| held.roster.slots()));
            hands.push((self.members_from((topic, number), home, from, except), Vec::new()));
        }
        let mut sample = Vec::new();
        while sample.len() < limit && !hands.is_empty() {
            hands.retain_mut(|(members, hand)| {
                if sample.len() >= limit {
                    return false;
                }
                if hand.is_empty() {
                    hand.extend(members.by_ref().take(window));
                    shuffle(hand, &mut random);
                }
                let drawn: Option<(PeerId, &[u8])> = hand.pop();
                sample.extend(drawn.map(|(peer, meta)| Member { peer, meta: Bytes::copy_from_slice(meta) }));
                drawn.is_some()
            });
        }
        sample
    }

    /// Members of a topic at one home, other than `except`, beginning with a slot and going round.
    fn members_from(
        &self,
        (topic, number): (TopicId, u32),
        home: u32,
        from: usize,
        except: PeerId,
    ) -> impl Iterator<Item = (PeerId, &[u8])> {
        let from = Slot::try_from(from).unwrap_or(0);
        let roster = self.hosts.at(home).map(|held| &held.roster);
        let members = self.topics.members(number, home, from).filter_map(move |slot| roster?.member_at(slot));
        members.filter(move |(other, peer, _)| *other == topic && *peer != except).map(|(_, peer, meta)| (peer, meta))
    }

    /// The highest counter known of a keyed peer, present or gone, and where.
    #[must_use]
    pub(crate) fn highest_counter(&self, peer: PeerId) -> Option<(u64, HostId)> {
        self.counter(peer).max(self.counters.find(peer))
    }

    /// Remembers the counters of keyed peers that have left a home, and forgets those that are too old.
    pub(crate) fn remember_departed(&mut self, now: Moment) {
        for (peer, counter, home) in std::mem::take(&mut self.departed) {
            self.counters.insert(now, peer, counter, home);
        }
        self.counters.tidy(now);
    }

    /// Counters that are remembered.
    #[must_use]
    pub(crate) fn counters_count(&self) -> usize {
        self.counters.len()
    }

    /// Begins the roster of a host, empty and shown.
    pub(crate) fn insert(&mut self, origin: HostId) {
        if self.hosts.row(origin).is_none() {
            let roster = Roster::new(origin, self.trust);
            self.hosts.insert(origin, Held { roster: Arc::new(roster), shown: true, line: None });
        }
    }

    /// Applies ops to a host's roster.
    ///
    /// # Errors
    /// The [`Fault`] for which nothing was applied; [`Fault::BadOp`] for a host without a roster.
    pub(crate) fn apply(&mut self, origin: HostId, ops: &[Op], expected: Option<Hash>) -> Result<Vec<Shown>, Fault> {
        let (host, held) = self.hosts.find_mut(origin).ok_or(Fault::BadOp)?;
        held.line = None;
        let changes = Arc::make_mut(&mut held.roster).apply(ops, expected)?;
        let shown = self.follow_all(host, changes);
        if let Some((_, held)) = self.hosts.find_mut(origin)
            && held.roster.is_to_be_swept()
        {
            Arc::make_mut(&mut held.roster).sweep();
        }
        Ok(shown)
    }

    /// Applies the ops of an announcement to its origin's roster. `expected` is the digest that must come out.
    ///
    /// # Errors
    /// As [`Directory::apply`].
    pub(crate) fn advance(&mut self, head: &Head, ops: &[Op], expected: Option<Hash>) -> Result<Vec<Shown>, Fault> {
        let (host, held) = self.hosts.find_mut(head.origin).ok_or(Fault::BadOp)?;
        let Some(step) = shared::advance(self.trust, held, head, ops, expected)? else {
            return self.apply(head.origin, ops, expected);
        };
        let shown = self.follow_all(host, step.changes.clone());
        if let Some((_, held)) = self.hosts.find_mut(head.origin) {
            held.roster = step.swept.clone();
        }
        Ok(shown)
    }

    /// Begins the roster of a new epoch by its first announcement; `shown` unless the host is not heard any more.
    ///
    /// # Errors
    /// The [`Fault`] for which the former roster stays.
    pub(crate) fn begin(
        &mut self,
        head: &Head,
        ops: &[Op],
        expected: Option<Hash>,
        shown: bool,
    ) -> Result<Vec<Shown>, Fault> {
        let held = shared::begin(self.trust, head, ops, expected)?;
        Ok(self.put(head.origin, Held { shown, ..held }))
    }

    /// Puts a roster that was caught up with in the place of a host's; `shown` unless the host is not heard any more.
    pub(crate) fn replace(&mut self, origin: HostId, roster: Roster, shown: bool) -> Vec<Shown> {
        let held = shared::caught_up(self.trust, origin, roster);
        self.put(origin, Held { shown, ..held })
    }

    /// The indexes follow the changes of a roster, if it is shown.
    fn follow_all(&mut self, host: u32, changes: Vec<Change>) -> Vec<Shown> {
        let mut shown = Vec::new();
        if self.hosts.at(host).is_some_and(|held| held.shown) {
            for change in &changes {
                if let Change::Joined { slot, old: Some(old) } = change {
                    self.unfollowed.entry(Place { host, slot: *slot }).or_insert_with(|| old.clone());
                }
            }
            for change in changes {
                self.follow(host, change, &mut shown);
            }
            self.unfollowed.clear();
        }
        shown
    }

    /// Puts another roster in the place of a host's.
    fn put(&mut self, origin: HostId, held: Held) -> Vec<Shown> {
        let (gone, mut come) = self.withdraw(origin);
        let shown = held.shown;
        let host = self.hosts.insert(origin, held);
        if shown {
            come.extend(self.present_all(host));
        }
        difference(gone, come)
    }

    /// Hides a host's roster but keeps it.
    pub(crate) fn hide(&mut self, origin: HostId) -> Vec<Shown> {
        let (gone, come) = self.withdraw(origin);
        self.hosts.show(origin, false);
        difference(gone, come)
    }

    /// Shows a hidden roster again.
    pub(crate) fn show(&mut self, origin: HostId) -> Vec<Shown> {
        self.hosts.show(origin, true).map(|host| self.present_all(host)).unwrap_or_default()
    }

    /// Forgets a host's roster.
    pub(crate) fn remove(&mut self, origin: HostId) -> Vec<Shown> {
        let (gone, come) = self.withdraw(origin);
        self.hosts.remove(origin);
        difference(gone, come)
    }

    /// Takes a host's peers out of the indexes: what went, and what other homes of the same peers show instead.
    fn withdraw(&mut self, origin: HostId) -> (Vec<Gone>, Vec<Shown>) {
        let Some(held) = self.hosts.find(origin).filter(|held| held.shown) else { return Default::default() };
        let present: Vec<Slot> = held.roster.presences().collect();
        let Some(host) = self.hosts.row(origin) else { return Default::default() };
        let (mut gone, mut come) = (Vec::new(), Vec::new());
        for slot in present {
            let (went, came) = self.move_out(Place { host, slot }, LeftReason::HostLost);
            gone.extend(went);
            come.extend(came);
        }
        (gone, come)
    }

    fn present_all(&mut self, host: u32) -> Vec<Shown> {
        let present: Vec<Slot> = self.hosts.at(host).map(|held| held.roster.presences().collect()).unwrap_or_default();
        let mut shown = Vec::new();
        for slot in present {
            shown.extend(self.enter_home(Place { host, slot }));
        }
        shown
    }

    fn follow(&mut self, host: u32, change: Change, shown: &mut Vec<Shown>) {
        match change {
            Change::Record { .. } => {}
            Change::Present { slot, old } => {
                let place = Place { host, slot };
                let moved = LeftReason::Gone(GoneReason::Moved);
                let left = old.and_then(|old| self.leave_home(place, moved, old.counter()));
                let was_home = left.is_some();
                let mut come = self.enter_home(place);
                let peer = self.hosts.peer(place);
                let home = peer.and_then(|peer| self.homes.find(&self.hosts, peer));
                if let Some(home) = home.filter(|home| was_home && *home != place) {
                    come.extend(self.index_all(home));
                }
                shown.extend(difference(left.unwrap_or_default(), come));
            }
            Change::Gone { slot, reason } => {
                let (gone, come) = self.move_out(Place { host, slot }, LeftReason::Gone(reason));
                shown.extend(difference(gone, come));
            }
            Change::Joined { slot, old } => {
                self.unfollowed.remove(&Place { host, slot });
                let Some((topic, peer, meta)) = self.hosts.at(host).and_then(|held| held.roster.member_at(slot)) else {
                    return;
                };
                if self.homes.find(&self.hosts, peer).is_some_and(|home| home.host == host) {
                    // Peer and membership may have come in one announcement: then the peer's coming has shown both.
                    let changed = old.is_some_and(|old| *old != *meta);
                    let how = How::Joined(Bytes::copy_from_slice(meta));
                    if self.topics.insert(topic, Place { host, slot }) || changed {
                        shown.push(Shown { topic, peer, how });
                    }
                }
            }
            Change::Left { slot } => {
                let member = self.hosts.at(host).and_then(|held| held.roster.member_at(slot));
                if let Some((topic, peer, _)) = member
                    && self.topics.remove(topic, Place { host, slot })
                {
                    shown.push(Shown { topic, peer, how: How::Left(LeftReason::Left) });
                }
            }
        }
    }

    /// A peer is present at a place; if that makes it its home, its memberships there are shown in place of others.
    fn enter_home(&mut self, place: Place) -> Vec<Shown> {
        let Some(peer) = self.hosts.peer(place) else { return Vec::new() };
        let gone = self.counters.find(peer);
        if gone.is_some_and(|gone| is_over(self.hosts.claim(place), gone)) {
            return Vec::new();
        }
        match self.homes.enter(&self.hosts, peer, place) {
            Some(before) => {
                let moved = LeftReason::Gone(GoneReason::Moved);
                let gone = before.map(|before| self.unindex_all(before, moved)).unwrap_or_default();
                difference(gone, self.index_all(place))
            }
            None => Vec::new(),
        }
    }

    /// A peer is not present at a place any more, where its claim had this counter. If that was its home, its memberships
    /// there are hidden; what its next one shows instead is up to the caller. Those that are over are no homes of it any more.
    fn leave_home(&mut self, place: Place, reason: LeftReason, counter: u64) -> Option<Vec<Gone>> {
        let peer = self.hosts.peer(place)?;
        let was_home = self.homes.leave(peer, place)?;
        if counter > 0 {
            let gone = (counter, self.hosts.claim(place).1);
            self.departed.push((peer, gone.0, gone.1));
            while let Some(next) =
                self.homes.find(&self.hosts, peer).filter(|next| is_over(self.hosts.claim(*next), gone))
            {
                self.homes.leave(peer, next);
            }
        }
        was_home.then(|| self.unindex_all(place, reason))
    }

    /// A peer is not present at a place any more. If that was its home, its next one is shown instead.
    fn move_out(&mut self, place: Place, reason: LeftReason) -> (Vec<Gone>, Vec<Shown>) {
        let counter = self.hosts.claim(place).0;
        let Some(gone) = self.leave_home(place, reason, counter) else { return Default::default() };
        let next = self.hosts.peer(place).and_then(|peer| self.homes.find(&self.hosts, peer));
        (gone, next.map(|home| self.index_all(home)).unwrap_or_default())
    }

    /// Shows the memberships of the peer at a place.
    fn index_all(&mut self, place: Place) -> Vec<Shown> {
        let Some(held) = self.hosts.at(place.host) else { return Vec::new() };
        let Some(peer) = held.roster.peer_at(place.slot) else { return Vec::new() };
        let show = |(slot, topic, meta): (Slot, TopicId, &[u8])| {
            self.topics.insert(topic, Place { host: place.host, slot });
            Shown { topic, peer, how: How::Joined(Bytes::copy_from_slice(meta)) }
        };
        held.roster.memberships_at(place.slot).map(show).collect()
    }

    /// Hides the memberships of the peer at a place: those that were shown.
    fn unindex_all(&mut self, place: Place, reason: LeftReason) -> Vec<Gone> {
        let Some(held) = self.hosts.at(place.host) else { return Vec::new() };
        let Some(peer) = held.roster.peer_at(place.slot) else { return Vec::new() };
        let hide = |(slot, topic, meta): (Slot, TopicId, &[u8])| {
            let place = Place { host: place.host, slot };
            let meta = self.unfollowed.get(&place).map_or(meta, |shown| shown);
            self.topics.remove(topic, place).then(|| Gone { topic, peer, reason, meta: Bytes::copy_from_slice(meta) })
        };
        held.roster.memberships_at(place.slot).filter_map(hide).collect()
    }
}

fn shuffle<T>(list: &mut [T], random: &mut impl FnMut(usize) -> usize) {
    for at in (1..list.len()).rev() {
        list.swap(at, random(at + 1));
    }
}

#[cfg(test)]
mod tests;
