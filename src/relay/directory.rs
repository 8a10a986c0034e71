//! All rosters known to this host, its own included, indexed by topic and by peer.
//!
//! A peer may stand in two rosters for a while when it moves. It is shown at the home with the highest counter only
//! (PROTOCOL.md §3.2). Every change of what is shown is told as a [`Shown`].

mod hashing;
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

use super::counters::Counters;
use super::io::{Fault, LeftReason, Member, Moment};
use super::roster::{Change, Recorded, Roster, Slot};
use super::view::Memory;
use hashing::Seed;
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
        Self {
            trust: trust.into(),
            hosts: Hosts::default(),
            topics: Topics::new(Seed::new(&mut random)),
            homes: Homes::new(Seed::new(random)),
            counters: Counters::default(),
            departed: Vec::new(),
            unfollowed: BTreeMap::new(),
        }
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
        self.topics.homes(number, 0).filter_map(|slot| Some(self.hosts.at(slot)?.host)).collect()
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
        if self.hosts.slot(origin).is_none() {
            let roster = Roster::new(origin, self.trust);
            self.hosts.insert(Held { host: origin, roster: Arc::new(roster), shown: true, line: None });
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
        Ok(self.put(Held { shown, ..held }))
    }

    /// Puts a roster that was caught up with in the place of a host's; `shown` unless the host is not heard any more.
    pub(crate) fn replace(&mut self, origin: HostId, roster: Roster, shown: bool) -> Vec<Shown> {
        let held = shared::caught_up(self.trust, origin, roster);
        self.put(Held { shown, ..held })
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
    fn put(&mut self, held: Held) -> Vec<Shown> {
        let (gone, mut come) = self.withdraw(held.host);
        let shown = held.shown;
        let host = self.hosts.insert(held);
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
mod tests {
    use std::any::Any;
    use std::sync::Mutex;

    use aldis_wire::announcement::{encode_ops, ops_hash};
    use aldis_wire::network::NetworkTag;
    use aldis_wire::proof::{Signature, Verifier};

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

    #[test]
    fn a_look_up_draws_from_all_homes_alike_and_costs_what_it_answers() {
        const HOMES: usize = 16;
        const LIMIT: usize = 300;
        let topic = TopicId::new([9; 32]);
        let mut directory = Directory::new(NetworkTag::new([4; 8]), || 7);
        for number in 1..=HOMES {
            let host = HostId::new([u8::try_from(number).unwrap(); 32]);
            directory.insert(host);
            for member in 0..LIMIT as u128 {
                let nonce = member.to_be_bytes();
                let peer = Proof::mint(host, &nonce);
                let join = Op::Join { topic, peer, meta: Bytes::new() };
                let ops = [Op::Present { peer, proof: Proof::Minted { nonce } }, join];
                directory.apply(host, &ops, None).unwrap();
            }
        }
        let (mut draw, mut drawn) = (chance(), 0);
        let sample = directory.sample(topic, PeerId::new([0; 32]), LIMIT, |below| {
            drawn += 1;
            draw(below)
        });
        let mut by_home: BTreeMap<HostId, BTreeMap<PeerId, usize>> = BTreeMap::new();
        for member in &sample {
            *by_home.entry(directory.home(member.peer).unwrap()).or_default().entry(member.peer).or_default() += 1;
        }
        assert_eq!((sample.len(), by_home.len()), (LIMIT, HOMES));
        for members in by_home.values() {
            assert!((LIMIT / HOMES..=LIMIT / HOMES + 1).contains(&members.len()), "{}", members.len());
        }
        assert!(drawn <= (DRAWN_FOR_EACH + 1) * (LIMIT + HOMES), "{drawn} numbers for {LIMIT} members");
    }

    /// What one host says: each peer's counter, and its topics with metas.
    type Said = BTreeMap<PeerId, (u64, BTreeMap<TopicId, u8>)>;

    /// Who is shown where with which meta, by the rules of PROTOCOL.md §3.2 alone.
    fn expected(said: &[(HostId, bool, Said)]) -> (BTreeMap<PeerId, HostId>, BTreeMap<(TopicId, PeerId), u8>) {
        let mut best: BTreeMap<PeerId, (std::cmp::Reverse<u64>, HostId)> = BTreeMap::new();
        let shown = || said.iter().filter(|(_, shown, _)| *shown);
        for (host, _, roster) in shown() {
            for (peer, (counter, _)) in roster {
                let rank = (std::cmp::Reverse(*counter), *host);
                let known = best.entry(*peer).or_insert(rank);
                *known = rank.min(*known);
            }
        }
        let homes: BTreeMap<PeerId, HostId> = best.into_iter().map(|(peer, (_, host))| (peer, host)).collect();
        let members = shown().flat_map(|(host, _, roster)| roster.iter().map(move |entry| (*host, entry)));
        let at_home = members.filter(|(host, (peer, _))| homes[*peer] == *host);
        let members =
            at_home.flat_map(|(_, (peer, (_, topics)))| topics.iter().map(|(topic, meta)| ((*topic, *peer), *meta)));
        let members = members.collect();
        (homes, members)
    }

    /// Numbers below an argument, the same in every run.
    fn chance() -> impl FnMut(usize) -> usize {
        let mut state = 1_u64;
        move |below| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(state >> 33).unwrap() % below
        }
    }

    /// Some changes to what a host says, and what it then says.
    fn some_ops(
        host: HostId,
        tag: NetworkTag,
        keys: &[ed25519_dalek::SigningKey],
        said: &Said,
        draw: &mut impl FnMut(usize) -> usize,
    ) -> (Said, Vec<Op>) {
        let (mut after, mut ops) = (said.clone(), Vec::new());
        for _ in 0..=draw(5) {
            let key = &keys[draw(keys.len())];
            let peer = PeerId::new(key.verifying_key().to_bytes());
            let (topic, meta) = (TopicId::new([u8::try_from(draw(4)).unwrap(); 32]), u8::try_from(draw(3)).unwrap());
            match (draw(6), after.get_mut(&peer)) {
                (0, Some(_)) => {
                    after.remove(&peer);
                    ops.push(Op::Gone { peer, reason: GoneReason::Closed });
                }
                (1, Some((_, topics))) if topics.contains_key(&topic) => {
                    topics.remove(&topic);
                    ops.push(Op::Leave { topic, peer })
                }
                (2.., Some((_, topics))) => {
                    topics.insert(topic, meta);
                    ops.push(Op::Join { topic, peer, meta: Bytes::from(vec![meta; 1]) });
                }
                _ => {
                    let counter = u64::try_from(draw(4)).unwrap() + 1;
                    after.entry(peer).or_default().0 = counter;
                    ops.push(Op::Present { peer, proof: Proof::claim(key, tag, host, counter, None) });
                }
            }
        }
        (after, ops)
    }

    #[test]
    fn whatever_hosts_say_of_peers_that_move_the_index_and_what_is_told_agree_with_the_rules() {
        let tag = NetworkTag::new([4; 8]);
        let keys: Vec<_> = (0..5).map(|number| ed25519_dalek::SigningKey::from_bytes(&[number; 32])).collect();
        let mut said: Vec<(HostId, bool, Said)> =
            (1..4).map(|number| (HostId::new([number; 32]), true, Said::new())).collect();
        let (mut directory, mut told) = (Directory::new(tag, || 7), BTreeMap::new());
        said.iter().for_each(|(host, ..)| directory.insert(*host));
        let mut draw = chance();
        for step in 0..4_000 {
            let (host, shown, roster) = &mut said[draw(3)];
            let shows = match draw(12) {
                0 if *shown => {
                    *shown = false;
                    directory.hide(*host)
                }
                1 | 2 => {
                    *shown = true;
                    directory.show(*host)
                }
                3 => {
                    // A copy that was put together elsewhere: other slots, the same entries, or none at all.
                    let mut copy = Roster::new(*host, tag);
                    if draw(2) == 0 {
                        let all = aldis_wire::host::Range { key: [0; 32], nibbles: 0 };
                        let part = directory.roster_mut(*host).unwrap().part(&all);
                        let aldis_wire::host::Part::Entries(bytes) = part else { unreachable!("it is small") };
                        copy.replace_range(&all, &aldis_wire::host::entries(&bytes).unwrap()).unwrap();
                        copy.settle().unwrap();
                    } else {
                        roster.clear();
                    }
                    *shown = true;
                    directory.replace(*host, copy, true)
                }
                _ => {
                    let (after, ops) = some_ops(*host, tag, &keys, roster, &mut draw);
                    if draw(4) == 0 {
                        assert_eq!(directory.apply(*host, &ops, Some([1; 32])), Err(Fault::WrongDigest));
                        Vec::new()
                    } else {
                        *roster = after;
                        directory.apply(*host, &ops, None).unwrap()
                    }
                }
            };
            for Shown { topic, peer, how } in shows {
                match how {
                    How::Joined(meta) => _ = told.insert((topic, peer), meta[0]),
                    How::Left(_) => assert!(told.remove(&(topic, peer)).is_some(), "step {step}: it left twice"),
                }
            }
            let (homes, members) = expected(&said);
            assert_eq!(told, members, "step {step}");
            assert_eq!(directory.peers_count(), homes.len(), "step {step}");
            for key in &keys {
                let peer = PeerId::new(key.verifying_key().to_bytes());
                assert_eq!(directory.home(peer), homes.get(&peer).copied(), "step {step}");
            }
            for topic in (0..4).map(|number| TopicId::new([number; 32])) {
                let of_topic = members.iter().filter(|((other, _), _)| *other == topic);
                let right: BTreeMap<PeerId, u8> = of_topic.map(|((_, peer), meta)| (*peer, *meta)).collect();
                let sample = directory.sample(topic, PeerId::new([0; 32]), 100, &mut draw);
                assert_eq!((sample.len(), directory.total(topic)), (right.len(), right.len()), "step {step}");
                let found: BTreeMap<PeerId, u8> = sample.iter().map(|member| (member.peer, member.meta[0])).collect();
                assert_eq!(found, right, "step {step}");
            }
        }
        said.iter().for_each(|(host, ..)| _ = directory.remove(*host));
        assert_eq!((directory.peers_count(), directory.topics_count(), directory.rosters_count()), (0, 0, 0));
    }

    /// Remembers everything.
    #[derive(Debug, Default)]
    struct Memory(Mutex<BTreeMap<[u8; 32], Arc<dyn Any + Send + Sync>>>);

    impl Verifier for Memory {
        fn verify(&self, signature: Signature, key: &[u8; 32], context: &str, tag: NetworkTag, body: &[u8]) -> bool {
            signature.verify(key, context, tag, body)
        }

        fn remembers(&self) -> bool {
            true
        }

        fn remember(&self, name: [u8; 32], what: Arc<dyn Any + Send + Sync>) {
            self.0.lock().unwrap().insert(name, what);
        }

        fn recall(&self, name: &[u8; 32]) -> Option<Arc<dyn Any + Send + Sync>> {
            self.0.lock().unwrap().get(name).cloned()
        }
    }

    const ORIGIN: HostId = HostId::new([1; 32]);

    /// What an origin announces one after the other: peers come, join, change and go.
    fn announcements() -> Vec<Vec<Op>> {
        let topic = TopicId::new([2; 32]);
        let nonce = |number: u8| [number; 16];
        let peer = |number| Proof::mint(ORIGIN, &nonce(number));
        let come = |number| Op::Present { peer: peer(number), proof: Proof::Minted { nonce: nonce(number) } };
        let join = |number, meta| Op::Join { topic, peer: peer(number), meta: Bytes::from_static(meta) };
        vec![
            vec![come(1), join(1, b"one")],
            vec![come(2), join(2, b"two"), Op::Leave { topic, peer: peer(1) }],
            vec![Op::Gone { peer: peer(1), reason: GoneReason::Closed }, come(3), join(3, b"three")],
            vec![join(2, b"another")],
        ]
    }

    /// The heads of these announcements, as far as rosters go.
    fn heads(all: &[Vec<Op>]) -> Vec<Head> {
        let mut roster = Roster::new(ORIGIN, NetworkTag::new([4; 8]));
        let mut heads = Vec::new();
        for (seq, ops) in (1..).zip(all) {
            roster.apply(ops, None).unwrap();
            roster.sweep();
            let ops_hash = ops_hash(&encode_ops(ops).unwrap());
            heads.push(Head { origin: ORIGIN, epoch: 1, seq, ops_hash, digest: roster.digest(), interval_ms: 3_000 });
        }
        heads
    }

    /// What is told, step by step, and the directory after it.
    fn play(trust: Trust, all: &[Vec<Op>], heads: &[Head]) -> (Vec<Vec<Shown>>, Directory) {
        let mut directory = Directory::new(trust, || 7);
        let mut told = Vec::new();
        for (head, ops) in heads.iter().zip(all) {
            let expected = Some(head.digest);
            told.push(match head.seq {
                1 => directory.begin(head, ops, expected, true).unwrap(),
                _ => directory.advance(head, ops, expected).unwrap(),
            });
        }
        (told, directory)
    }

    #[test]
    fn who_takes_over_what_another_worked_out_shows_the_same_as_who_works_it_out() {
        let all = announcements();
        let (heads, tag) = (heads(&all), NetworkTag::new([4; 8]));
        let memory: &'static Memory = Box::leak(Box::default());
        let (alone, mut own) = play(tag.into(), &all, &heads);
        let (first, one) = play(Trust::new(tag, memory), &all, &heads);
        let (second, mut other) = play(Trust::new(tag, memory), &all, &heads);
        assert_eq!((&first, &second), (&alone, &alone));
        let held = |directory: &Directory| directory.hosts.find(ORIGIN).unwrap().roster.clone();
        assert!(Arc::ptr_eq(&held(&one), &held(&other)) && !Arc::ptr_eq(&held(&one), &held(&own)));
        // What one changes, the other does not see.
        let gone = Op::Gone { peer: Proof::mint(ORIGIN, &[3; 16]), reason: GoneReason::Lost };
        let changed = other.apply(ORIGIN, std::slice::from_ref(&gone), None).unwrap();
        assert_eq!(changed, own.apply(ORIGIN, &[gone], None).unwrap());
        assert_eq!((one.peers_count(), other.peers_count()), (2, 1));
        assert_eq!(held(&one).clone().as_ref().clone().digest(), heads[3].digest);
    }

    #[test]
    fn what_is_remembered_of_one_roster_is_not_taken_for_another() {
        let all = announcements();
        let (heads, tag) = (heads(&all), NetworkTag::new([4; 8]));
        let memory: &'static Memory = Box::leak(Box::default());
        play(Trust::new(tag, memory), &all, &heads);
        // The same announcement after another one: it was not worked out, and does not hold.
        let mut directory = Directory::new(Trust::new(tag, memory), || 7);
        directory.begin(&heads[0], &all[0], Some(heads[0].digest), true).unwrap();
        assert_eq!(directory.advance(&heads[2], &all[2], Some(heads[2].digest)), Err(Fault::WrongDigest));
        assert_eq!(directory.peers_count(), 1, "nothing was applied");
        assert!(directory.advance(&heads[1], &all[1], Some(heads[1].digest)).is_ok());
        // A copy that was put together elsewhere has its entries in other slots.
        let mut copy = Roster::new(ORIGIN, tag);
        copy.apply(&[all[1][0].clone(), all[1][1].clone(), all[0][0].clone()], Some(heads[1].digest)).unwrap();
        directory.replace(ORIGIN, copy, true);
        directory.advance(&heads[2], &all[2], Some(heads[2].digest)).unwrap();
        assert_eq!((directory.peers_count(), directory.total(TopicId::new([2; 32]))), (2, 2));
    }
}
