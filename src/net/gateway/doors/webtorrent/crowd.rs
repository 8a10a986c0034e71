//! Who else is in a torrent: how many, and whom to offer something.

use std::collections::BTreeSet;

use aldis_wire::id::PeerId;

use super::codec::Id;
use super::parcel;
use crate::relay::io::Sample;

/// Members of each half of a torrent that are looked at. In torrents of up to so many, peer ids are counted, however many
/// of them share a connection or have several; in larger ones, connections. Copying so many takes some 20 µs.
pub(super) const LOOKED_AT_MAX: usize = 128;

/// Somebody who may be offered something: a session, and the peer id that it has there.
pub(super) type Candidate = (PeerId, Id);

/// One half of a torrent as the machine knows it, without the client's own peers.
#[derive(Debug)]
pub(super) struct Crowd {
    total: usize,
    members: Vec<Candidate>,
    /// Whether `members` are all.
    whole: bool,
}

impl Crowd {
    pub(super) fn new(sample: &Sample) -> Self {
        let members = sample.members.iter();
        let members = members.flat_map(|member| parcel::ids(&member.meta).map(|id| (member.peer, id))).collect();
        Self { total: sample.total, members, whole: sample.members.len() >= sample.total }
    }

    /// Peers in this half, the client's own ones included.
    pub(super) fn count(&self, own: impl Iterator<Item = Id>) -> usize {
        let own: BTreeSet<Id> = own.collect();
        if self.whole {
            self.members.iter().map(|(_, id)| *id).chain(own).collect::<BTreeSet<_>>().len()
        } else {
            self.total + own.len()
        }
    }

    /// For how many members the sample stands.
    fn weight(&self) -> usize {
        if self.whole { self.members.len() } else { self.total.max(self.members.len()) }
    }

    /// Leaves out an id: nobody is to be offered what he offers himself by another connection.
    fn without(mut self, id: Id) -> Self {
        self.members.retain(|(_, other)| *other != id);
        self
    }

    /// These alone. Their order does not matter.
    pub(super) fn of(members: Vec<Candidate>) -> Self {
        Self { total: members.len(), members, whole: true }
    }
}

/// Draws up to `wanted` different candidates, each as likely as any other; `random(n)` is one of `0..n`. The machine gives
/// samples in random order.
pub(super) fn draw(
    crowds: Vec<Crowd>,
    except: Id,
    wanted: usize,
    mut random: impl FnMut(usize) -> usize,
) -> Vec<Candidate> {
    let mut crowds: Vec<(usize, Vec<Candidate>)> =
        crowds.into_iter().map(|crowd| crowd.without(except)).map(|crowd| (crowd.weight(), crowd.members)).collect();
    let mut drawn = Vec::new();
    while drawn.len() < wanted {
        crowds.retain(|(weight, members)| *weight > 0 && !members.is_empty());
        let sum: usize = crowds.iter().map(|(weight, _)| weight).sum();
        if sum == 0 {
            break;
        }
        let mut at = random(sum);
        for (weight, members) in &mut crowds {
            if at < *weight {
                *weight -= 1;
                drawn.extend(members.pop());
                break;
            }
            at -= *weight;
        }
    }
    drawn
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail by panic")]
    use super::*;
    use crate::relay::io::Member;

    fn id(n: usize) -> Id {
        Id([u8::try_from(n).unwrap(); 20])
    }

    fn candidate(n: usize) -> Candidate {
        (PeerId::new([u8::try_from(n).unwrap(); 32]), id(n))
    }

    fn sample(ids: &[&[usize]], total: usize) -> Sample {
        let member = |ids: &&[usize]| Member {
            peer: PeerId::new([1; 32]),
            meta: parcel::meta(&ids.iter().map(|n| id(*n)).collect()),
        };
        Sample { id: "1".into(), topic: "".into(), members: ids.iter().map(member).collect(), total }
    }

    #[test]
    fn small_torrents_are_counted_by_id_and_large_ones_by_connection() {
        let own = || [id(1), id(9)].into_iter();
        let count = |ids: &[&[usize]], total| Crowd::new(&sample(ids, total)).count(own());
        assert_eq!(count(&[], 0), 2);
        assert_eq!(count(&[&[3], &[4, 5]], 2), 5);
        assert_eq!(count(&[&[3], &[3], &[1]], 3), 3, "two have two connections");
        assert_eq!(count(&[&[3], &[3]], 1_000), 1_002);
        assert_eq!(count(&[&[]], 1), 2, "a member without an id is nobody");
    }

    #[test]
    fn everybody_is_as_likely_and_nobody_comes_twice() {
        let mut seed = 1_usize;
        let mut random = |n: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) % n
        };
        let mut alone = 0;
        for _ in 0..1_000 {
            // One of a hundred has everything; of the others the machine shows some.
            let others = Crowd { total: 99, members: (2..12).map(candidate).collect(), whole: false };
            let drawn = draw(vec![Crowd::of(vec![candidate(1)]), others], id(200), 5, &mut random);
            assert_eq!(drawn.iter().collect::<BTreeSet<_>>().len(), 5);
            alone += drawn.iter().filter(|drawn| **drawn == candidate(1)).count();
        }
        assert!((20..100).contains(&alone), "5 of 100 are drawn 1,000 times, so about 50 times it: {alone}");
    }

    #[test]
    fn no_more_are_drawn_than_there_are_and_never_the_one_who_offers() {
        let crowd = || vec![Crowd::of((1..4).map(candidate).collect())];
        assert_eq!(draw(crowd(), id(2), 5, |_| 0), [candidate(3), candidate(1)]);
        assert_eq!(draw(crowd(), id(9), 1, |_| 0).len(), 1);
        assert!(draw(vec![], id(9), 5, |_| 0).is_empty());
        let unseen = Crowd { total: 7, members: vec![], whole: false };
        assert!(draw(vec![unseen], id(9), 5, |_| 0).is_empty());
    }
}
