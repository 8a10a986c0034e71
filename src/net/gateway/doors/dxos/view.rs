//! Who is in a swarm, as one socket sees it: a peer is there as long as any member lists it, and for a while after the
//! last one is lost.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use aldis_wire::id::PeerId;
use tokio::time::Instant;

use super::presence::{Key, Presence};

/// A peer whose socket or host is lost is said to have left only after so long: its client tries to come back at least
/// every 5 s, through this host or another one, and then needs a moment to say so.
pub(super) const RETURN: Duration = Duration::from_secs(8);

/// How long a client may believe that a peer is there without being told again: three announcements.
pub(super) const LEASE: Duration = Duration::from_secs(90);
/// So often a peer that is there is announced again.
pub(super) const RENEWAL: Duration = Duration::from_secs(30);

/// A change that is told to the streams of a swarm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Available(Presence),
    Left(Key),
}

impl Change {
    /// Whom it is about.
    pub(super) fn peer(&self) -> &Key {
        match self {
            Change::Available(presence) => &presence.peer,
            Change::Left(peer) => peer,
        }
    }
}

/// Who lists peers here: another member, or (`None`) this socket itself.
pub(super) type Lister = Option<PeerId>;

#[derive(Debug, Default)]
pub(super) struct View {
    listed: HashMap<Lister, Vec<Key>>,
    shown: HashMap<Key, Shown>,
    /// Those whom nobody lists any more, by the moment when they will have left.
    leaving: BTreeSet<(Instant, Key)>,
    /// Listings, repeated ones included.
    listings: usize,
    /// When those who are there are announced again.
    renews: Option<Instant>,
}

#[derive(Debug)]
struct Shown {
    since_ms: u64,
    listers: usize,
    leaves: Option<Instant>,
}

impl View {
    /// What counts against a bound.
    pub(super) fn weight(&self) -> usize {
        self.listings + self.leaving.len()
    }

    /// Everybody who is there.
    pub(super) fn everybody(&self) -> impl Iterator<Item = Change> + '_ {
        self.shown
            .iter()
            .map(|(peer, shown)| Change::Available(Presence { peer: peer.clone(), since_ms: shown.since_ms }))
    }

    /// Somebody has been told of: those who are there are announced again after [`RENEWAL`], all together. Who is alone is
    /// not.
    pub(super) fn told(&mut self, now: Instant) {
        if self.shown.len() > 1 {
            self.renews.get_or_insert(now + RENEWAL);
        }
    }

    /// Who is to be announced again by now: not those who are lost.
    pub(super) fn renewed(&mut self, now: Instant) -> Vec<Change> {
        if self.renews.take_if(|at| *at <= now).is_none() {
            return Vec::new();
        }
        self.told(now);
        let there = self.shown.iter().filter(|(_, shown)| shown.leaves.is_none());
        there
            .map(|(peer, shown)| Change::Available(Presence { peer: peer.clone(), since_ms: shown.since_ms }))
            .collect()
    }

    /// A lister has come, or lists others than before. What goes beyond `room` is not taken.
    pub(super) fn lists(&mut self, lister: Lister, listed: Vec<Presence>, room: usize) -> Vec<Change> {
        let before = self.listed.remove(&lister).unwrap_or_default();
        let mut changes = Vec::new();
        let mut keys = Vec::new();
        for presence in listed {
            if keys.len() < room.saturating_add(before.len()) && !keys.contains(&presence.peer) {
                keys.push(presence.peer.clone());
                self.hold(presence, &mut changes);
            }
        }
        for peer in before {
            self.release(peer, None, &mut changes);
        }
        if !keys.is_empty() {
            self.listed.insert(lister, keys);
        }
        changes
    }

    /// A lister is gone: of its own will, or (with the moment) lost.
    pub(super) fn went(&mut self, lister: Lister, lost: Option<Instant>) -> Vec<Change> {
        let mut changes = Vec::new();
        for peer in self.listed.remove(&lister).unwrap_or_default() {
            self.release(peer, lost, &mut changes);
        }
        changes
    }

    /// When somebody will have left, or is to be announced again.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.leaves().into_iter().chain(self.renews).min()
    }

    fn leaves(&self) -> Option<Instant> {
        self.leaving.first().map(|(at, _)| *at)
    }

    /// Who has left by now.
    pub(super) fn woken(&mut self, now: Instant) -> Vec<Change> {
        let mut changes = Vec::new();
        while self.leaves().is_some_and(|at| at <= now) {
            if let Some((_, peer)) = self.leaving.pop_first() {
                self.shown.remove(&peer);
                changes.push(Change::Left(peer));
            }
        }
        changes
    }

    fn hold(&mut self, presence: Presence, changes: &mut Vec<Change>) {
        self.listings += 1;
        if let Some(shown) = self.shown.get_mut(&presence.peer) {
            shown.listers += 1;
            if let Some(at) = shown.leaves.take() {
                self.leaving.remove(&(at, presence.peer));
            }
            return;
        }
        let shown = Shown { since_ms: presence.since_ms, listers: 1, leaves: None };
        self.shown.insert(presence.peer.clone(), shown);
        changes.push(Change::Available(presence));
    }

    fn release(&mut self, peer: Key, lost: Option<Instant>, changes: &mut Vec<Change>) {
        self.listings -= 1;
        let Some(shown) = self.shown.get_mut(&peer) else { return };
        shown.listers -= 1;
        if shown.listers > 0 {
            return;
        }
        if let Some(lost) = lost {
            let at = lost + RETURN;
            shown.leaves = Some(at);
            self.leaving.insert((at, peer));
        } else {
            self.shown.remove(&peer);
            changes.push(Change::Left(peer));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods, reason = "a test needs some moment to begin with")]
    use super::*;

    const ROOM: usize = 10;

    fn lister(n: u8) -> Lister {
        Some(PeerId::new([n; 32]))
    }

    fn present(n: u8) -> Presence {
        Presence { peer: [n; 32].into(), since_ms: u64::from(n) }
    }

    fn came(n: u8) -> Change {
        Change::Available(present(n))
    }

    fn left(n: u8) -> Change {
        Change::Left([n; 32].into())
    }

    #[test]
    fn a_peer_that_leaves_has_left_at_once() {
        let mut view = View::default();
        assert_eq!(view.lists(lister(1), vec![present(7)], ROOM), [came(7)]);
        assert_eq!(view.lists(lister(1), vec![present(7)], ROOM), [], "told once");
        assert_eq!(view.went(lister(1), None), [left(7)]);
        assert_eq!((view.weight(), view.everybody().count()), (0, 0));
    }

    #[test]
    fn a_peer_that_comes_back_in_time_never_left() {
        let (mut view, now) = (View::default(), Instant::now());
        _ = view.lists(lister(1), vec![present(7)], ROOM);
        assert_eq!(view.went(lister(1), Some(now)), []);
        assert_eq!(view.everybody().collect::<Vec<_>>(), [came(7)]);
        assert_eq!(view.lists(lister(2), vec![present(7)], ROOM), []);
        assert_eq!(view.deadline(), None);
        assert_eq!(view.woken(now + RETURN), []);
    }

    #[test]
    fn a_peer_that_does_not_come_back_has_left_after_the_time() {
        let (mut view, now) = (View::default(), Instant::now());
        _ = view.lists(lister(1), vec![present(7)], ROOM);
        _ = view.went(lister(1), Some(now));
        assert_eq!(view.deadline(), Some(now + RETURN));
        assert_eq!(view.woken(now + RETURN - Duration::from_millis(1)), []);
        assert_eq!(view.woken(now + RETURN), [left(7)]);
        assert_eq!((view.weight(), view.deadline()), (0, None));
    }

    #[test]
    fn an_old_socket_that_ends_takes_nobody_with_it_who_is_on_a_new_one() {
        let mut view = View::default();
        _ = view.lists(lister(1), vec![present(7)], ROOM);
        assert_eq!(view.lists(lister(2), vec![present(7)], ROOM), []);
        assert_eq!(view.went(lister(1), None), []);
        assert_eq!(view.went(lister(2), None), [left(7)]);
    }

    #[test]
    fn a_socket_may_list_several_and_then_others() {
        let mut view = View::default();
        assert_eq!(view.lists(None, vec![present(1), present(2), present(1)], ROOM), [came(1), came(2)]);
        assert_eq!(view.lists(None, vec![present(2), present(3)], ROOM), [came(3), left(1)]);
        assert_eq!(view.weight(), 2);
    }

    #[test]
    fn what_is_kept_is_bounded_whoever_lists_it_and_however_often() {
        let (mut view, now) = (View::default(), Instant::now());
        for n in 0..100 {
            let room = ROOM.saturating_sub(view.weight());
            _ = view.lists(lister(n), vec![present(n), present(0)], room);
        }
        assert_eq!(view.weight(), ROOM);
        for n in 0..100 {
            _ = view.went(lister(n), Some(now));
            let room = ROOM.saturating_sub(view.weight());
            _ = view.lists(lister(n), vec![present(n + 100)], room);
            assert!(view.weight() <= ROOM, "{n}");
        }
        assert_eq!(view.leaving.len(), view.shown.values().filter(|shown| shown.listers == 0).count());
    }
}
