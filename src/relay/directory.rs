//! All rosters known to this host, its own included, indexed by topic and by peer.
//!
//! A peer may stand in two rosters for a while when it moves. It is shown at the home with the highest counter only
//! (PROTOCOL.md §3.2). Every change of what is shown is told as a [`Shown`].

use std::collections::{BTreeMap, BTreeSet, HashMap};

use aldis_wire::announcement::{GoneReason, Op};
use aldis_wire::digest::Hash;
use aldis_wire::id::{HostId, PeerId, TopicId};
use aldis_wire::proof::{Proof, Trust};
use aldis_wire::record::{ShortId, short_id};
use bytes::Bytes;

use super::counters::Counters;
use super::io::{Fault, LeftReason, Member, Moment};
use super::roster::{Change, Recorded, Roster};

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

#[derive(Debug)]
struct Held {
    roster: Roster,
    /// Whether its peers are shown; an expired roster is kept but hidden.
    shown: bool,
}

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Directory {
    trust: Trust,
    rosters: BTreeMap<HostId, Held>,
    /// Members that are shown, by topic, then by home.
    topics: HashMap<TopicId, BTreeMap<HostId, BTreeSet<PeerId>>>,
    /// Shown rosters in which a peer is present, with the claim's counter; the first is its home.
    homes: HashMap<PeerId, Vec<(u64, HostId)>>,
    /// Counters of keyed peers that have left.
    counters: Counters,
    /// Keyed peers that have left a home since this was last taken: their counters are to be remembered.
    departed: Vec<(PeerId, u64, HostId)>,
}

impl Directory {
    /// A directory that knows nobody.
    #[must_use]
    pub(crate) fn new(trust: impl Into<Trust>) -> Self {
        Self {
            trust: trust.into(),
            rosters: BTreeMap::new(),
            topics: HashMap::new(),
            homes: HashMap::new(),
            counters: Counters::default(),
            departed: Vec::new(),
        }
    }

    /// The roster of `origin`.
    #[must_use]
    pub(crate) fn roster(&self, origin: HostId) -> Option<&Roster> {
        self.rosters.get(&origin).map(|held| &held.roster)
    }

    /// The roster of `origin`, for asking digests and parts of it, which are computed when asked for.
    pub(crate) fn roster_mut(&mut self, origin: HostId) -> Option<&mut Roster> {
        self.rosters.get_mut(&origin).map(|held| &mut held.roster)
    }

    /// About how many bytes of memory the roster of `origin` takes.
    #[must_use]
    pub(crate) fn weight(&self, origin: HostId) -> usize {
        self.roster(origin).map_or(0, Roster::weight)
    }

    /// Whether the roster of `origin` is shown.
    #[must_use]
    pub(crate) fn is_shown(&self, origin: HostId) -> bool {
        self.rosters.get(&origin).is_some_and(|held| held.shown)
    }

    /// The record of a host.
    #[must_use]
    pub(crate) fn record(&self, host: HostId) -> Option<&Recorded> {
        self.roster(host).and_then(Roster::record)
    }

    /// The host at which a peer is at home.
    #[must_use]
    pub(crate) fn home(&self, peer: PeerId) -> Option<HostId> {
        self.homes.get(&peer).and_then(|homes| homes.first()).map(|(_, home)| *home)
    }

    /// The highest counter of a keyed peer that is present anywhere, and where.
    #[must_use]
    pub(crate) fn counter(&self, peer: PeerId) -> Option<(u64, HostId)> {
        self.homes.get(&peer).and_then(|homes| homes.first()).copied()
    }

    /// The proof of a peer's presence at `home`.
    #[must_use]
    pub(crate) fn proof(&self, peer: PeerId, home: HostId) -> Option<&Proof> {
        self.roster(home).and_then(|roster| roster.proof(peer))
    }

    /// Hosts with a shown roster, in the order of their ids.
    pub(crate) fn hosts(&self) -> impl Iterator<Item = HostId> {
        self.rosters.iter().filter(|(_, held)| held.shown).map(|(host, _)| *host)
    }

    /// The host with a shown roster whose id begins so.
    #[must_use]
    pub(crate) fn host_named(&self, short: ShortId) -> Option<HostId> {
        let mut first = [0; 32];
        first.iter_mut().zip(short).for_each(|(to, from)| *to = from);
        let (host, held) = self.rosters.range(HostId::new(first)..).next()?;
        (short_id(*host) == short && held.shown).then_some(*host)
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
        self.rosters.len()
    }

    /// Members of a topic that are shown.
    #[must_use]
    pub(crate) fn total(&self, topic: TopicId) -> usize {
        self.topics.get(&topic).map_or(0, |homes| homes.values().map(BTreeSet::len).sum())
    }

    /// Whether a membership is shown.
    #[must_use]
    pub(crate) fn is_member(&self, topic: TopicId, peer: PeerId) -> bool {
        let homes = self.topics.get(&topic);
        homes.zip(self.home(peer)).and_then(|(homes, home)| homes.get(&home)).is_some_and(|all| all.contains(&peer))
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
        let Some(homes) = self.topics.get(&topic) else { return Vec::new() };
        // Each home gives one before any gives two: no more homes are looked at than one more than fit.
        let mut some: Vec<(&HostId, &BTreeSet<PeerId>)> = homes.iter().collect();
        shuffle(&mut some, &mut random);
        some.truncate(limit.saturating_add(1));
        let mut hands: Vec<(HostId, Vec<PeerId>)> = some
            .into_iter()
            .map(|(home, peers)| (*home, draw(peers, except, limit, &mut random)))
            .filter(|(_, hand)| !hand.is_empty())
            .collect();
        let mut sample = Vec::new();
        while sample.len() < limit && !hands.is_empty() {
            for (home, hand) in &mut hands {
                if sample.len() < limit
                    && let Some(peer) = hand.pop()
                    && let Some(meta) = self.roster(*home).and_then(|roster| roster.meta(topic, peer))
                {
                    sample.push(Member { peer, meta: meta.clone() });
                }
            }
            hands.retain(|(_, hand)| !hand.is_empty());
        }
        sample
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
        let roster = Roster::new(origin, self.trust);
        self.rosters.entry(origin).or_insert(Held { roster, shown: true });
    }

    /// Applies ops to a host's roster.
    ///
    /// # Errors
    /// The [`Fault`] for which nothing was applied; [`Fault::BadOp`] for a host without a roster.
    pub(crate) fn apply(&mut self, origin: HostId, ops: &[Op], expected: Option<Hash>) -> Result<Vec<Shown>, Fault> {
        let held = self.rosters.get_mut(&origin).ok_or(Fault::BadOp)?;
        let changes = held.roster.apply(ops, expected)?;
        let mut shown = Vec::new();
        if held.shown {
            for change in changes {
                self.follow(origin, change, &mut shown);
            }
        }
        Ok(shown)
    }

    /// Puts another roster in the place of a host's; `shown` unless the host is not heard any more.
    pub(crate) fn replace(&mut self, origin: HostId, roster: Roster, shown: bool) -> Vec<Shown> {
        let (gone, mut come) = self.withdraw(origin);
        self.rosters.insert(origin, Held { roster, shown });
        if shown {
            come.extend(self.present_all(origin));
        }
        difference(gone, come)
    }

    /// Hides a host's roster but keeps it.
    pub(crate) fn hide(&mut self, origin: HostId) -> Vec<Shown> {
        let (gone, come) = self.withdraw(origin);
        if let Some(held) = self.rosters.get_mut(&origin) {
            held.shown = false;
        }
        difference(gone, come)
    }

    /// Shows a hidden roster again.
    pub(crate) fn show(&mut self, origin: HostId) -> Vec<Shown> {
        match self.rosters.get_mut(&origin) {
            Some(held) if !held.shown => held.shown = true,
            _ => return Vec::new(),
        }
        self.present_all(origin)
    }

    /// Forgets a host's roster.
    pub(crate) fn remove(&mut self, origin: HostId) -> Vec<Shown> {
        let (gone, come) = self.withdraw(origin);
        self.rosters.remove(&origin);
        difference(gone, come)
    }

    /// Takes a host's peers out of the indexes: what went, and what other homes of the same peers show instead.
    fn withdraw(&mut self, origin: HostId) -> (Vec<Gone>, Vec<Shown>) {
        let peers: Vec<PeerId> = match self.rosters.get(&origin) {
            Some(held) if held.shown => held.roster.presences().map(|(peer, _)| peer).collect(),
            _ => return Default::default(),
        };
        let (mut gone, mut come) = (Vec::new(), Vec::new());
        for peer in peers {
            let memberships = self.roster(origin).map(|roster| roster.memberships_of(peer)).unwrap_or_default();
            let was_home = self.home(peer) == Some(origin);
            gone.extend(self.leave_home(origin, peer, LeftReason::HostLost, memberships));
            let next = self.home(peer).filter(|_| was_home);
            come.extend(next.map(|home| self.index_all(home, peer)).unwrap_or_default());
        }
        (gone, come)
    }

    fn present_all(&mut self, origin: HostId) -> Vec<Shown> {
        let peers: Vec<_> = self.roster(origin).map(|roster| roster.presences().collect()).unwrap_or_default();
        let mut shown = Vec::new();
        for (peer, counter) in peers {
            shown.extend(self.enter_home(origin, peer, counter));
        }
        shown
    }

    fn follow(&mut self, origin: HostId, change: Change, shown: &mut Vec<Shown>) {
        match change {
            Change::Record { .. } => {}
            Change::Present { peer, old } => {
                let memberships = self.roster(origin).map(|roster| roster.memberships_of(peer)).unwrap_or_default();
                let was_home = old.is_some() && self.home(peer) == Some(origin);
                let moved = LeftReason::Gone(GoneReason::Moved);
                let gone = old.map(|_| self.leave_home(origin, peer, moved, memberships)).unwrap_or_default();
                let counter = self.proof(peer, origin).map_or(0, Proof::counter);
                let mut come = self.enter_home(origin, peer, counter);
                if let Some(home) = self.home(peer).filter(|home| was_home && *home != origin) {
                    come.extend(self.index_all(home, peer));
                }
                shown.extend(difference(gone, come));
            }
            Change::Gone { peer, reason, memberships, .. } => {
                shown.extend(self.move_out(origin, peer, LeftReason::Gone(reason), memberships));
            }
            Change::Joined { topic, peer, old } => {
                if self.home(peer) == Some(origin) {
                    let meta = self.roster(origin).and_then(|roster| roster.meta(topic, peer)).cloned();
                    let meta = meta.unwrap_or_default();
                    // Peer and membership may have come in one announcement: then the peer's coming has shown both.
                    let new = self.index(topic, origin, peer);
                    if new || old.is_some_and(|old| old != meta) {
                        shown.push(Shown { topic, peer, how: How::Joined(meta) });
                    }
                }
            }
            Change::Left { topic, peer, .. } => {
                if self.home(peer) == Some(origin) {
                    self.unindex(topic, origin, peer);
                    shown.push(Shown { topic, peer, how: How::Left(LeftReason::Left) });
                }
            }
        }
    }

    /// A peer is present at `origin`; if that makes it its home, its memberships there are shown in place of others.
    fn enter_home(&mut self, origin: HostId, peer: PeerId, counter: u64) -> Vec<Shown> {
        let gone = self.counters.find(peer);
        if gone.is_some_and(|(known, home)| counter < known || counter == known && home != origin) {
            // The peer has been at home elsewhere since: a former home may not bring it back.
            return Vec::new();
        }
        let homes = self.homes.entry(peer).or_default();
        let before = homes.first().map(|(_, home)| *home);
        // Nearly every peer has one home; by itself a list makes room for four.
        homes.reserve_exact(1);
        homes.push((counter, origin));
        homes.sort_by(|(a, a_home), (b, b_home)| b.cmp(a).then(a_home.cmp(b_home)));
        if homes.first().map(|(_, home)| *home) != Some(origin) {
            return Vec::new();
        }
        let gone = before.map(|home| self.unindex_all(home, peer)).unwrap_or_default();
        difference(gone, self.index_all(origin, peer))
    }

    /// A peer is not present at `origin` any more, where it was a member of these topics. What its next home shows
    /// instead is up to the caller ([`Directory::settle_home`]).
    fn leave_home(
        &mut self,
        origin: HostId,
        peer: PeerId,
        reason: LeftReason,
        memberships: Vec<(TopicId, Bytes)>,
    ) -> Vec<Gone> {
        let Some(homes) = self.homes.get_mut(&peer) else { return Vec::new() };
        let was_home = homes.first().is_some_and(|(_, home)| *home == origin);
        let counter = homes.iter().find(|(_, home)| *home == origin).map_or(0, |(counter, _)| *counter);
        if counter > 0 {
            self.departed.push((peer, counter, origin));
        }
        homes.retain(|(_, home)| *home != origin);
        if homes.is_empty() {
            self.homes.remove(&peer);
        }
        if !was_home {
            return Vec::new();
        }
        let gone = |(topic, meta)| {
            self.unindex(topic, origin, peer);
            Gone { topic, peer, reason, meta }
        };
        memberships.into_iter().map(gone).collect()
    }

    /// A peer is not present at `origin` any more. If that was its home, its next one is shown instead.
    fn move_out(
        &mut self,
        origin: HostId,
        peer: PeerId,
        reason: LeftReason,
        memberships: Vec<(TopicId, Bytes)>,
    ) -> Vec<Shown> {
        let was_home = self.home(peer) == Some(origin);
        let gone = self.leave_home(origin, peer, reason, memberships);
        let next = self.home(peer).filter(|_| was_home);
        let come = next.map(|home| self.index_all(home, peer)).unwrap_or_default();
        difference(gone, come)
    }

    fn index_all(&mut self, home: HostId, peer: PeerId) -> Vec<Shown> {
        let memberships = self.roster(home).map(|roster| roster.memberships_of(peer)).unwrap_or_default();
        let mut shown = Vec::new();
        for (topic, meta) in memberships {
            self.index(topic, home, peer);
            shown.push(Shown { topic, peer, how: How::Joined(meta) });
        }
        shown
    }

    fn unindex_all(&mut self, home: HostId, peer: PeerId) -> Vec<Gone> {
        let memberships = self.roster(home).map(|roster| roster.memberships_of(peer)).unwrap_or_default();
        let gone = |(topic, meta)| {
            self.unindex(topic, home, peer);
            Gone { topic, peer, reason: LeftReason::Gone(GoneReason::Moved), meta }
        };
        memberships.into_iter().map(gone).collect()
    }

    /// Whether it was not shown before.
    fn index(&mut self, topic: TopicId, home: HostId, peer: PeerId) -> bool {
        self.topics.entry(topic).or_default().entry(home).or_default().insert(peer)
    }

    fn unindex(&mut self, topic: TopicId, home: HostId, peer: PeerId) {
        let Some(homes) = self.topics.get_mut(&topic) else { return };
        if let Some(peers) = homes.get_mut(&home) {
            peers.remove(&peer);
            if peers.is_empty() {
                homes.remove(&home);
            }
        }
        if homes.is_empty() {
            self.topics.remove(&topic);
        }
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

/// Up to `limit` of `peers` by chance, without walking a large set for a small sample.
fn draw(
    peers: &BTreeSet<PeerId>,
    except: PeerId,
    limit: usize,
    random: &mut impl FnMut(usize) -> usize,
) -> Vec<PeerId> {
    let start = PeerId::new(std::array::from_fn(|_| u8::try_from(random(256)).unwrap_or(0)));
    let around = peers.range(start..).chain(peers.range(..start)).filter(|peer| **peer != except);
    let mut hand: Vec<PeerId> = around.take(limit).copied().collect();
    shuffle(&mut hand, random);
    hand
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
        let mut directory = Directory::new(NetworkTag::new([4; 8]));
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
        let mut directory = Directory::new(tag);
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
