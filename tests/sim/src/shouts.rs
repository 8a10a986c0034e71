//! Broadcasts of the crowd, and what must hold of each: one tally for each time that it was asked for, nobody told twice,
//! each sender's in order, and nobody counted who has not got it.

use std::collections::{BTreeMap, BTreeSet};

use aldis::relay::io::{Reach, Request};
use aldis_wire::id::PeerId;
use bytes::Bytes;

use crate::chance::Chance;
use crate::checks::RECEIPT_MAX;
use crate::edges::Standing;
use crate::queue::{At, MS, SEC};
use crate::world::World;

/// Bytes of a broadcast.
const BYTES: usize = 300;

/// A broadcast that was sent.
#[derive(Debug)]
struct Shout {
    from: usize,
    session: u32,
    from_peer: PeerId,
    topic: u32,
    at: At,
    /// How often its host was asked to send it, and how often it answered.
    asked: u32,
    answered: u32,
    /// The edges and sessions that got it.
    got: BTreeSet<(usize, u32)>,
    reach: Option<Reach>,
    /// Whether it was found to be late already.
    late: bool,
}

/// The broadcasts of the crowd.
pub(crate) struct Shouts {
    chance: Chance,
    sent: BTreeMap<u64, Shout>,
    last: u64,
    /// The newest that each edge got of each sender in its present session.
    newest: BTreeMap<(usize, PeerId), u64>,
    /// When sessions of members were lost, by topic: what was in their queues is gone.
    lost: BTreeMap<u32, Vec<At>>,
}

impl Shouts {
    pub(crate) fn new(seed: u64) -> Self {
        let chance = Chance::new(seed, 7);
        Self { chance, sent: BTreeMap::new(), last: 0, newest: BTreeMap::new(), lost: BTreeMap::new() }
    }

    /// How long until an edge broadcasts.
    pub(crate) fn pause(&mut self, mean: At) -> At {
        self.chance.exponential(mean)
    }

    /// A member's session is over.
    pub(crate) fn session_lost(&mut self, now: At, edge: usize, topics: &[u32]) {
        topics.iter().for_each(|topic| self.lost.entry(*topic).or_default().push(now));
        self.newest.retain(|(other, _), _| *other != edge);
    }
}

impl World {
    /// An edge broadcasts to one of its topics.
    pub(crate) fn shout(&mut self, edge: usize) {
        let (topics, Some(from_peer)) = (&self.edges[edge].topics, self.edges[edge].peer) else { return };
        if topics.is_empty() {
            return;
        }
        let topic = topics[self.shouts.chance.index(topics.len())];
        self.shouts.last += 1;
        let shout = Shout {
            from: edge,
            session: self.edges[edge].session,
            from_peer,
            topic,
            at: self.now,
            asked: 0,
            answered: 0,
            got: BTreeSet::new(),
            reach: None,
            late: false,
        };
        let number = self.shouts.last;
        self.shouts.sent.insert(number, shout);
        self.send_shout(edge, number);
    }

    fn send_shout(&mut self, edge: usize, number: u64) {
        let Some(shout) = self.shouts.sent.get_mut(&number) else { return };
        shout.asked += 1;
        let topic = shout.topic;
        let (topic, data) = (self.crowd.topic(topic), Bytes::from_static(&[b'1'; BYTES]));
        self.ask(edge, Request::Broadcast { id: number.to_string().into(), topic, data, echo: false });
    }

    /// An edge whose socket was gone asks again for what has no tally.
    pub(crate) fn shout_again(&mut self, edge: usize) {
        let session = self.edges[edge].session;
        let open = |shout: &Shout| shout.from == edge && shout.session == session && shout.reach.is_none();
        let numbers: Vec<u64> =
            self.shouts.sent.iter().filter(|(_, shout)| open(shout)).map(|(number, _)| *number).collect();
        numbers.into_iter().for_each(|number| self.send_shout(edge, number));
    }

    /// An edge is told a broadcast.
    pub(crate) fn shout_heard(&mut self, edge: usize, id: &str, from: PeerId) {
        let (session, place, own) = (self.edges[edge].session, self.edges[edge].place, self.edges[edge].peer);
        let number: u64 = id.parse().unwrap_or(0);
        let Some(shout) = self.shouts.sent.get_mut(&number) else {
            return self
                .violated(&[place], format!("edge {edge} got broadcast {id}, which nobody sent, or sent long ago"));
        };
        let right = shout.from_peer == from && own != Some(from);
        let again = !shout.got.insert((edge, session));
        let last = self.shouts.newest.insert((edge, from), number);
        if !right {
            self.violated(
                &[place],
                format!("edge {edge} got broadcast {id} from {from:?}, which is not its, or its own"),
            );
        }
        if again {
            self.violated(&[place], format!("edge {edge} got broadcast {id} twice"));
        }
        if last.is_some_and(|last| last > number) {
            self.violated(&[place], format!("edge {edge} got broadcast {id} after {last:?} of the same sender"));
        }
        self.acknowledge(edge);
    }

    /// An edge is told a tally.
    pub(crate) fn tally_heard(&mut self, edge: usize, id: &str, reach: Reach) {
        let place = self.edges[edge].place;
        let Some(shout) = id.parse().ok().and_then(|number: u64| self.shouts.sent.get_mut(&number)) else {
            return self.violated(&[place], format!("edge {edge} got a tally for {id}, which it did not send"));
        };
        shout.answered += 1;
        let before = *shout.reach.get_or_insert(reach);
        let (answered, asked, right) = (shout.answered, shout.asked, shout.from == edge);
        if !right || answered > asked {
            self.violated(&[place], format!("broadcast {id} has {answered} tallies, {before:?} and {reach:?}"));
        }
    }

    /// What must hold of broadcasts; of those older than `after` for the last time.
    pub(crate) fn look_at_shouts(&mut self, after: At) {
        let now = self.now;
        let late = |shout: &Shout| {
            let waited = shout.at + RECEIPT_MAX < now && shout.reach.is_none() && !shout.late;
            waited && self.must_have_heard(shout.from, shout.session)
        };
        let late: Vec<u64> =
            self.shouts.sent.iter().filter(|(_, shout)| late(shout)).map(|(number, _)| *number).collect();
        for number in late {
            let Some(shout) = self.shouts.sent.get_mut(&number) else { continue };
            shout.late = true;
            let (from, waited) = (shout.from, (now - shout.at) / MS);
            let place = self.edges[from].place;
            self.violated(&[place], format!("broadcast {number} of edge {from} has no tally after {waited} ms"));
        }
        while let Some(first) = self.shouts.sent.first_entry().filter(|first| first.get().at + after < now) {
            let (number, shout) = first.remove_entry();
            self.count_shout(number, &shout);
        }
    }

    /// Whoever is counted as having a broadcast got it, or its session was lost; and nobody else got it, if all is known.
    fn count_shout(&mut self, number: u64, shout: &Shout) {
        let Some(reach) = shout.reach else { return };
        // Who does not come back is a member as long as its session is kept.
        let kept = |at: &&At| **at + Self::grace() + SEC >= shout.at;
        let lost = self.shouts.lost.get(&shout.topic).map_or(0, |lost| lost.iter().filter(kept).count());
        let away = |edge: &&crate::edges::Edge| edge.standing != Standing::Open && edge.topics.contains(&shout.topic);
        let away = self.edges.iter().filter(away).count();
        let got = shout.got.len() as u64;
        let place = self.edges[shout.from].place;
        if reach.members > got + (lost + away) as u64 {
            self.violated(
                &[place],
                format!("broadcast {number} is counted as {reach:?}, and {got} got it; {lost} sessions were lost"),
            );
        }
        if reach.unknown == 0 && got > reach.members {
            self.violated(&[place], format!("broadcast {number} is counted as {reach:?}, and {got} got it"));
        }
    }
}
