//! All rosters known to this host, its own included, indexed by topic and by peer.
//!
//! A peer may stand in two rosters for a while when it moves. It is shown at the home with the highest counter only
//! (PROTOCOL.md §3.2). Every change of what is shown is told as a [`Shown`].

mod hashing;
mod homes;
mod hosts;
mod topics;

use std::collections::{BTreeMap, BTreeSet};

use aldis_wire::announcement::{GoneReason, Op};
use aldis_wire::digest::Hash;
use aldis_wire::id::{HostId, PeerId, TopicId};
use aldis_wire::proof::{Proof, Trust};
use aldis_wire::record::{ShortId, short_id};
use bytes::Bytes;

use super::counters::Counters;
use super::io::{Fault, LeftReason, Member, Moment};
use super::roster::{Change, Recorded, Roster, Slot};
use super::view::Memory;
use hashing::Seed;
use homes::Homes;
use hosts::{Held, Hosts, Place};
use topics::Topics;

/// Homes from which a sample is drawn, for each member that is wanted.
const HOMES_SHUFFLED: usize = 4;

/// A change of what members and watchers of a topic see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    /// Where.
    pub(crate) topic: TopicId,
    /// Who.
    pub(crate) peer: PeerId,
    /// How.
    pub(crate) how: How,
}

/// How a member changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// It came, or has a new meta.
    Joined(Bytes),
    /// It went.
    Left(LeftReason),
}

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
}

impl Directory {
    /// A directory that knows nobody; `random` numbers keep strangers from choosing places in its tables.
    #[must_use]
    pub(crate) fn new(trust: impl Into<Trust>, mut random: impl FnMut() -> u64) -> Self {
        Self {
            trust: trust.into(),
            hosts: Hosts::default(),
            topics: Topics::new(Seed::new(&mut random)),
            homes: Homes::new(Seed::new(random)),
            counters: Counters::default(),
            departed: Vec::new(),
        }
    }

    /// The roster of `origin`.
    #[must_use]
    pub(crate) fn roster(&self, origin: HostId) -> Option<&Roster> {
        self.hosts.find(origin).map(|held| &held.roster)
    }

    /// The roster of `origin`, for asking digests and parts of it, which are computed when asked for.
    pub(crate) fn roster_mut(&mut self, origin: HostId) -> Option<&mut Roster> {
        self.hosts.find_mut(origin).map(|(_, held)| &mut held.roster)
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
        let (entries, digests): (Vec<usize>, Vec<usize>) = self.hosts.iter().map(|held| held.roster.bytes()).unzip();
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
        self.hosts.at(self.homes.find(&self.hosts, peer)?.host).map(|held| held.host)
    }

    /// The highest counter of a keyed peer that is present anywhere, and where.
    #[must_use]
    pub(crate) fn counter(&self, peer: PeerId) -> Option<(u64, HostId)> {
        self.homes.find(&self.hosts, peer).map(|home| self.hosts.claim(home))
    }

    /// Whether a peer is present at `home`, by whatever claim, with this very proof.
    #[must_use]
    pub(crate) fn is_present(&self, peer: PeerId, home: HostId, proof: &Proof) -> bool {
        let at_home =
            self.homes.find(&self.hosts, peer).and_then(|place| Some((place.slot, self.hosts.at(place.host)?)));
        let found = match at_home {
            Some((slot, held)) if held.host == home => held.roster.proof_at(slot),
            _ => self.roster(home).and_then(|roster| roster.proof_at(roster.find(peer)?)),
        };
        found.is_some_and(|kept| kept.is(proof))
    }

    /// Hosts with a shown roster, in the order of their ids.
    pub(crate) fn hosts(&self) -> impl Iterator<Item = HostId> {
        self.hosts.iter().filter(|held| held.shown).map(|held| held.host)
    }

    /// The host with a shown roster whose id begins so.
    #[must_use]
    pub(crate) fn host_named(&self, short: ShortId) -> Option<HostId> {
        self.hosts().find(|host| short_id(*host) == short)
    }

    /// Number of hosts with a shown roster.
    #[must_use]
    pub(crate) fn hosts_count(&self) -> usize {
        self.hosts().count()
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
        let from = u32::try_from(random(self.hosts.slots())).unwrap_or(0);
        let mut homes: Vec<u32> = self.topics.homes(number, from).take(HOMES_SHUFFLED * limit.max(1)).collect();
        shuffle(&mut homes, &mut random);
        homes.truncate(limit.saturating_add(1));
        let mut hands: Vec<Vec<Member>> = homes
            .into_iter()
            .map(|home| self.draw((topic, number), home, except, limit, &mut random))
            .filter(|hand| !hand.is_empty())
            .collect();
        let mut sample = Vec::new();
        while sample.len() < limit && !hands.is_empty() {
            for hand in &mut hands {
                if sample.len() < limit {
                    sample.extend(hand.pop());
                }
            }
            hands.retain(|hand| !hand.is_empty());
        }
        sample
    }

    /// Up to `limit` members of a topic at one home by chance, without walking a large set for a small sample.
    fn draw(
        &self,
        (topic, number): (TopicId, u32),
        home: u32,
        except: PeerId,
        limit: usize,
        random: &mut impl FnMut(usize) -> usize,
    ) -> Vec<Member> {
        let Some(held) = self.hosts.at(home) else { return Vec::new() };
        let from = Slot::try_from(random(held.roster.slots())).unwrap_or(0);
        let members = self.topics.members(number, home, from).filter_map(|slot| held.roster.member_at(slot));
        let others = members.filter(|(other, peer, _)| *other == topic && *peer != except);
        let mut hand: Vec<Member> =
            others.take(limit).map(|(_, peer, meta)| Member { peer, meta: Bytes::copy_from_slice(meta) }).collect();
        shuffle(&mut hand, random);
        hand
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
        if self.hosts.slot(origin).is_none() {
            let roster = Roster::new(origin, self.trust);
            self.hosts.insert(Held { host: origin, roster, shown: true });
        }
    }

    /// Applies ops to a host's roster.
    ///
    /// # Errors
    /// The [`Fault`] for which nothing was applied; [`Fault::BadOp`] for a host without a roster.
    pub(crate) fn apply(&mut self, origin: HostId, ops: &[Op], expected: Option<Hash>) -> Result<Vec<Shown>, Fault> {
        let (host, held) = self.hosts.find_mut(origin).ok_or(Fault::BadOp)?;
        let changes = held.roster.apply(ops, expected)?;
        let mut shown = Vec::new();
        if held.shown {
            for change in changes {
                self.follow(host, change, &mut shown);
            }
        }
        if let Some((_, held)) = self.hosts.find_mut(origin) {
            held.roster.sweep();
        }
        Ok(shown)
    }

    /// Puts another roster in the place of a host's; `shown` unless the host is not heard any more.
    pub(crate) fn replace(&mut self, origin: HostId, mut roster: Roster, shown: bool) -> Vec<Shown> {
        let (gone, mut come) = self.withdraw(origin);
        roster.sweep();
        let host = self.hosts.insert(Held { host: origin, roster, shown });
        if shown {
            come.extend(self.present_all(host));
        }
        difference(gone, come)
    }

    /// Hides a host's roster but keeps it.
    pub(crate) fn hide(&mut self, origin: HostId) -> Vec<Shown> {
        let (gone, come) = self.withdraw(origin);
        if let Some((_, held)) = self.hosts.find_mut(origin) {
            held.shown = false;
        }
        difference(gone, come)
    }

    /// Shows a hidden roster again.
    pub(crate) fn show(&mut self, origin: HostId) -> Vec<Shown> {
        match self.hosts.find_mut(origin) {
            Some((host, held)) if !held.shown => {
                held.shown = true;
                self.present_all(host)
            }
            _ => Vec::new(),
        }
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
        let Some(host) = self.hosts.slot(origin) else { return Default::default() };
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
        let (counter, origin) = self.hosts.claim(place);
        let gone = self.counters.find(peer);
        if gone.is_some_and(|(known, home)| counter < known || counter == known && home != origin) {
            // The peer has been at home elsewhere since: a former home may not bring it back.
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
    /// there are hidden; what its next one shows instead is up to the caller.
    fn leave_home(&mut self, place: Place, reason: LeftReason, counter: u64) -> Option<Vec<Gone>> {
        let peer = self.hosts.peer(place)?;
        let was_home = self.homes.leave(peer, place)?;
        if counter > 0 {
            self.departed.push((peer, counter, self.hosts.claim(place).1));
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
            let was = self.topics.remove(topic, Place { host: place.host, slot });
            was.then(|| Gone { topic, peer, reason, meta: Bytes::copy_from_slice(meta) })
        };
        held.roster.memberships_at(place.slot).filter_map(hide).collect()
    }
}

/// A membership that is not shown any more, unless it comes back in the same breath.
#[derive(Debug)]
struct Gone {
    topic: TopicId,
    peer: PeerId,
    reason: LeftReason,
    meta: Bytes,
}

/// What remains to be told when `gone` is followed by `come`: a member that comes back with another meta is told once,
/// one that comes back as it was not at all.
fn difference(gone: Vec<Gone>, come: Vec<Shown>) -> Vec<Shown> {
    let old: BTreeMap<(TopicId, PeerId), &Bytes> =
        gone.iter().map(|gone| ((gone.topic, gone.peer), &gone.meta)).collect();
    let back: BTreeSet<(TopicId, PeerId)> = come.iter().map(|shown| (shown.topic, shown.peer)).collect();
    let same = |shown: &Shown| match (&shown.how, old.get(&(shown.topic, shown.peer))) {
        (How::Joined(meta), Some(old)) => meta == *old,
        _ => false,
    };
    let come: Vec<Shown> = come.into_iter().filter(|shown| !same(shown)).collect();
    let left = |gone: &Gone| Shown { topic: gone.topic, peer: gone.peer, how: How::Left(gone.reason) };
    gone.iter().filter(|gone| !back.contains(&(gone.topic, gone.peer))).map(left).chain(come).collect()
}

fn shuffle<T>(list: &mut [T], random: &mut impl FnMut(usize) -> usize) {
    for at in (1..list.len()).rev() {
        list.swap(at, random(at + 1));
    }
}

#[cfg(test)]
mod tests {
    use aldis_wire::network::NetworkTag;

    use super::*;

    #[test]
    fn a_peer_that_comes_and_joins_in_one_announcement_is_shown_once() {
        let (origin, topic) = (HostId::new([1; 32]), TopicId::new([2; 32]));
        let peer = Proof::mint(origin, &[3; 16]);
        let mut directory = Directory::new(NetworkTag::new([4; 8]), || 7);
        directory.insert(origin);
        let present = Op::Present { peer, proof: Proof::Minted { nonce: [3; 16] } };
        let join = |meta: &'static [u8]| Op::Join { topic, peer, meta: Bytes::from_static(meta) };
        let mut told = |ops: &[Op]| directory.apply(origin, ops, None).unwrap().len();
        assert_eq!(told(&[present, join(b"1")]), 1);
        assert_eq!(told(&[join(b"1")]), 0, "nothing has changed");
        assert_eq!(told(&[join(b"2")]), 1, "its meta has changed");
        assert_eq!(told(&[Op::Leave { topic, peer }, join(b"3")]), 2, "it left and came again");
    }

    #[test]
    fn a_former_home_cannot_bring_a_peer_back_that_has_been_elsewhere_since() {
        let (former, later) = (HostId::new([1; 32]), HostId::new([2; 32]));
        let tag = NetworkTag::new([4; 8]);
        let key = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
        let peer = PeerId::new(key.verifying_key().to_bytes());
        let mut directory = Directory::new(tag, || 7);
        directory.insert(former);
        directory.insert(later);
        let claim = |home, counter| Op::Present { peer, proof: Proof::claim(&key, tag, home, counter, None) };
        let gone = Op::Gone { peer, reason: GoneReason::Closed };
        directory.apply(later, &[claim(later, 6)], None).unwrap();
        directory.apply(later, std::slice::from_ref(&gone), None).unwrap();
        directory.remember_departed(Moment::default());
        directory.apply(former, &[claim(former, 5)], None).unwrap();
        assert_eq!(directory.home(peer), None, "an old claim counts for nothing");
        directory.apply(former, &[gone], None).unwrap();
        directory.apply(former, &[claim(former, 7)], None).unwrap();
        assert_eq!(directory.home(peer), Some(former), "a newer one does");
    }
}
