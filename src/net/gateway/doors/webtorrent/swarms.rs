//! The torrents that one socket's client is in, and what the machine knows of them.
//!
//! A torrent is two topics: one of the peers that have everything, one of the others. So both counts are totals of topics.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use aldis_wire::limits::PEER_TOPICS_MAX;
use aldis_wire::network::Network;

use super::super::super::dialect::Desk;
use super::codec::{Happened, Id};
use super::parcel::{self, IDS_MAX, NAME};
use crate::relay::io::{Request, RequestId, Topic};

/// Torrents of one connection: each is a membership, and a peer has so many.
pub(super) const SWARMS_MAX: usize = PEER_TOPICS_MAX;
/// Those that the machine has yet to be told that they were left included. A client that finishes all its torrents at
/// once has so many for a moment.
const SWARMS_AND_LEFT_MAX: usize = 2 * SWARMS_MAX;

/// Which of a torrent's two topics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Half {
    Complete,
    Incomplete,
}

impl Half {
    pub(super) const BOTH: [Half; 2] = [Half::Complete, Half::Incomplete];
}

/// The topic of one half of a torrent.
pub(super) fn topic(network: &Network, info_hash: Id, half: Half) -> Topic {
    let half: &[u8] = match half {
        Half::Complete => b"complete",
        Half::Incomplete => b"incomplete",
    };
    Topic { id: network.door_topic(NAME, &[&info_hash.0, half]), name: Arc::default() }
}

/// Why a peer is not taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    Torrents,
    Ids,
}

impl Full {
    pub(super) fn reason(self) -> String {
        match self {
            Full::Torrents => format!("No more than {SWARMS_MAX} torrents can be used per connection"),
            Full::Ids => format!("No more than {IDS_MAX} peer ids can be used per torrent"),
        }
    }
}

/// The client's peers in one half of a torrent.
#[derive(Debug, Default)]
struct Swarm {
    /// Empty when the machine is to be told that they left.
    ids: BTreeSet<Id>,
    /// Whether the machine was told of these ids, or is told now.
    told: bool,
    /// Whether the machine may have a membership.
    member: bool,
    /// The request that tells it.
    asked: Option<RequestId>,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Swarms {
    swarms: BTreeMap<(Id, Half), Swarm>,
}

impl Swarms {
    /// Notes what an announce says of its peer.
    pub(super) fn announced(&mut self, info_hash: Id, peer_id: Id, event: Happened) -> Result<(), Full> {
        let now_in = Half::BOTH.into_iter().find(|half| self.of(info_hash, *half).any(|id| id == peer_id));
        let half = match event {
            Happened::Stopped => None,
            Happened::Complete => Some(Half::Complete),
            Happened::Incomplete => Some(Half::Incomplete),
            Happened::Unsaid => Some(now_in.unwrap_or(Half::Incomplete)),
        };
        if now_in == half {
            return Ok(());
        }
        if let Some(half) = half {
            self.enter(info_hash, half, peer_id, now_in)?;
        }
        if let Some(swarm) = now_in.and_then(|half| self.swarms.get_mut(&(info_hash, half))) {
            swarm.ids.remove(&peer_id);
            swarm.told = false;
        }
        Ok(())
    }

    fn enter(&mut self, info_hash: Id, half: Half, peer_id: Id, leaves: Option<Half>) -> Result<(), Full> {
        let alone = |half| self.of(info_hash, half).count() == 1;
        let living = self.swarms.values().filter(|swarm| !swarm.ids.is_empty()).count();
        let freed = usize::from(leaves.is_some_and(alone));
        let is_new = self.of(info_hash, half).next().is_none();
        if is_new && (living >= SWARMS_MAX + freed || self.swarms.len() >= SWARMS_AND_LEFT_MAX) {
            return Err(Full::Torrents);
        }
        let swarm = self.swarms.entry((info_hash, half)).or_default();
        if swarm.ids.len() >= IDS_MAX {
            return Err(Full::Ids);
        }
        swarm.ids.insert(peer_id);
        swarm.told = false;
        Ok(())
    }

    /// The client's peers in one half of a torrent.
    pub(super) fn of(&self, info_hash: Id, half: Half) -> impl Iterator<Item = Id> {
        self.swarms.get(&(info_hash, half)).into_iter().flat_map(|swarm| swarm.ids.iter().copied())
    }

    pub(super) fn has(&self, info_hash: Id, peer_id: Id) -> bool {
        Half::BOTH.into_iter().any(|half| self.of(info_hash, half).any(|id| id == peer_id))
    }

    /// What the machine must be asked so that it knows all this. Whoever leaves one topic for another leaves first: there
    /// may be room for one only.
    pub(super) fn requests(&mut self, network: &Network, desk: &mut Desk<'_>) -> Vec<Request> {
        self.swarms.retain(|_, swarm| !swarm.ids.is_empty() || swarm.member);
        let (mut leaves, mut joins) = (Vec::new(), Vec::new());
        for ((info_hash, half), swarm) in self.swarms.iter_mut().filter(|(_, swarm)| !swarm.told) {
            let (id, topic) = (desk.fresh_id(), topic(network, *info_hash, *half));
            swarm.told = true;
            swarm.asked = Some(id.clone());
            if swarm.ids.is_empty() {
                leaves.push(Request::Leave { id, topic });
            } else {
                swarm.member = true;
                joins.push(Request::Join { id, topic, meta: Some(parcel::meta(&swarm.ids)), quiet: true });
            }
        }
        leaves.append(&mut joins);
        leaves
    }

    /// The machine has done what was asked.
    pub(super) fn done(&mut self, id: &RequestId) {
        self.swarms.retain(|_, swarm| {
            let this = swarm.asked.as_ref() == Some(id);
            if this {
                swarm.asked = None;
            }
            !(this && swarm.ids.is_empty())
        });
    }

    /// The machine refused what was asked: it must be asked again, with the next announce.
    pub(super) fn refused(&mut self, id: &RequestId) {
        if let Some(swarm) = self.swarms.values_mut().find(|swarm| swarm.asked.as_ref() == Some(id)) {
            swarm.asked = None;
            swarm.told = false;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail by panic")]
    use super::super::super::super::dialect::testing::Table;
    use super::*;
    use aldis_wire::network::Genesis;

    fn network() -> Network {
        Network::new(&Genesis::open("swarms").unwrap())
    }

    fn id(n: usize) -> Id {
        Id([u8::try_from(n).unwrap(); 20])
    }

    /// What the machine is asked: whether to join, which half, how many ids.
    fn asked((swarms, table): (&mut Swarms, &mut Table), info_hash: Id) -> Vec<(bool, Half, usize, RequestId)> {
        let network = network();
        let half = |topic: &Topic| {
            Half::BOTH.into_iter().find(|half| super::topic(&network, info_hash, *half).id == topic.id).unwrap()
        };
        let told = |request| match request {
            Request::Join { id, topic, meta, .. } => (true, half(&topic), parcel::ids(&meta.unwrap()).count(), id),
            Request::Leave { id, topic } => (false, half(&topic), 0, id),
            other => panic!("{other:?}"),
        };
        swarms.requests(&network, &mut table.desk()).into_iter().map(told).collect()
    }

    fn is_in(swarms: &Swarms, half: Half) -> usize {
        swarms.of(id(1), half).count()
    }

    #[test]
    fn a_peer_is_in_one_half_and_moves_when_it_is_complete() {
        let (mut swarms, mut table) = (Swarms::default(), Table::default());
        swarms.announced(id(1), id(2), Happened::Unsaid).unwrap();
        let first = asked((&mut swarms, &mut table), id(1));
        assert_eq!(first.iter().map(|ask| (ask.0, ask.1, ask.2)).collect::<Vec<_>>(), [(true, Half::Incomplete, 1)]);
        swarms.done(&first[0].3);
        swarms.announced(id(1), id(2), Happened::Incomplete).unwrap();
        assert!(asked((&mut swarms, &mut table), id(1)).is_empty(), "nothing has changed");
        swarms.announced(id(1), id(2), Happened::Complete).unwrap();
        let moved = asked((&mut swarms, &mut table), id(1));
        let (left, joined) = (&moved[0], &moved[1]);
        assert_eq!((left.0, left.1, joined.0, joined.1), (false, Half::Incomplete, true, Half::Complete));
        swarms.announced(id(1), id(2), Happened::Unsaid).unwrap();
        assert_eq!((is_in(&swarms, Half::Complete), is_in(&swarms, Half::Incomplete)), (1, 0), "as before");
        swarms.announced(id(1), id(2), Happened::Stopped).unwrap();
        assert!(!swarms.has(id(1), id(2)));
    }

    #[test]
    fn what_the_machine_refused_it_is_asked_again() {
        let (mut swarms, mut table) = (Swarms::default(), Table::default());
        swarms.announced(id(1), id(2), Happened::Unsaid).unwrap();
        let refused = asked((&mut swarms, &mut table), id(1));
        swarms.refused(&refused[0].3);
        let again = asked((&mut swarms, &mut table), id(1));
        assert!(again[0].0);
        swarms.refused(&refused[0].3);
        assert!(asked((&mut swarms, &mut table), id(1)).is_empty(), "an old refusal says nothing of the newer request");
        swarms.announced(id(1), id(2), Happened::Stopped).unwrap();
        let left = asked((&mut swarms, &mut table), id(1));
        assert!(!left[0].0);
        swarms.refused(&left[0].3);
        let left = asked((&mut swarms, &mut table), id(1));
        assert!(!left[0].0, "it must not stay a member");
        swarms.done(&left[0].3);
        assert!(swarms.swarms.is_empty());
    }

    #[test]
    fn a_leave_that_was_overtaken_by_a_new_join_does_not_end_it() {
        let (mut swarms, mut table) = (Swarms::default(), Table::default());
        swarms.announced(id(1), id(2), Happened::Unsaid).unwrap();
        let first = asked((&mut swarms, &mut table), id(1));
        swarms.done(&first[0].3);
        swarms.announced(id(1), id(2), Happened::Stopped).unwrap();
        let left = asked((&mut swarms, &mut table), id(1));
        swarms.announced(id(1), id(2), Happened::Unsaid).unwrap();
        let joined = asked((&mut swarms, &mut table), id(1));
        swarms.done(&left[0].3);
        swarms.done(&joined[0].3);
        assert!(swarms.has(id(1), id(2)));
    }

    #[test]
    fn torrents_and_ids_have_a_bound() {
        let mut swarms = Swarms::default();
        for n in 0..SWARMS_MAX {
            swarms.announced(id(n), id(200), Happened::Unsaid).unwrap();
        }
        assert_eq!(swarms.announced(id(SWARMS_MAX), id(200), Happened::Unsaid), Err(Full::Torrents));
        for n in 0..SWARMS_MAX {
            swarms.announced(id(n), id(200), Happened::Complete).unwrap();
        }
        for n in 1..IDS_MAX {
            swarms.announced(id(1), id(200 + n), Happened::Complete).unwrap();
        }
        assert_eq!(swarms.announced(id(1), id(100), Happened::Complete), Err(Full::Ids));
        swarms.announced(id(1), id(200), Happened::Stopped).unwrap();
        swarms.announced(id(1), id(100), Happened::Complete).unwrap();
    }
}
