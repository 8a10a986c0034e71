//! Signals between everybody while something goes wrong, and the reckoning afterwards: exactly one receipt for each, in
//! time; nothing delivered twice, out of order, or told as delivered and never seen.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aldis::relay::io::{Event, Moment};
use aldis_wire::host::Outcome;
use aldis_wire::id::PeerId;

use crate::world::{World, ms};

/// A receipt may take so long: the time-out, and a little for the machine to be called.
const RECEIPT_MAX: Duration = Duration::from_millis(5_100);

struct Sent {
    from: usize,
    peer: PeerId,
    id: String,
    at: Moment,
    /// The life of the sender's host: with it ends the session.
    life: u64,
}

/// What was sent.
#[derive(Default)]
pub(crate) struct Traffic {
    sent: Vec<Sent>,
    /// Edges that were away for a while and hear late, and those that ended their sessions and hear nothing more.
    pub(crate) away: BTreeSet<usize>,
    pub(crate) ended: BTreeSet<usize>,
}

/// What became of it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) delivered: usize,
    pub(crate) refused: usize,
    pub(crate) unknown: usize,
}

impl Traffic {
    /// One edge sends another a signal of its own id.
    pub(crate) fn send(&mut self, world: &mut World, from: usize, to: usize) {
        // Ids are never used twice, not even by another traffic in the same world.
        let (id, peer) = (format!("{}-{}", world.now.time().as_micros(), self.sent.len()), world.peer(to));
        let life = world.hosts[world.edges[from].place].life;
        self.sent.push(Sent { from, peer, id: id.clone(), at: world.now, life });
        world.signal(from, peer, &id, "x");
    }

    /// For `duration`, an edge sends to another every `pause`, by chance.
    pub(crate) fn run(&mut self, world: &mut World, edges: &[usize], duration: Duration, pause: Duration) {
        let end = world.now + duration;
        while world.now < end {
            let from = edges[world.random(edges.len())];
            let to = edges[world.random(edges.len())];
            if from != to && world.edges[from].open && world.hosts[world.edges[from].place].running().is_some() {
                self.send(world, from, to);
            }
            world.run(pause);
        }
    }

    /// Waits until every receipt must have come, and holds everything against the promises (DESIGN §3.1). Senders whose
    /// sessions died with their host are left out: their client library tells them `unknown`.
    pub(crate) fn reckon(&self, world: &mut World) -> Tally {
        world.run(RECEIPT_MAX);
        let mut tally = Tally::default();
        let lives = |sent: &&Sent| {
            let host = &world.hosts[world.edges[sent.from].place];
            host.relay.is_some() && host.life == sent.life && !self.ended.contains(&sent.from)
        };
        for sent in self.sent.iter().filter(lives) {
            let outcome = outcome_of(world, sent, self.away.contains(&sent.from));
            let seen = times_seen(world, sent);
            assert!(seen <= 1, "{} was seen {seen} times", sent.id);
            match outcome {
                Outcome::Delivered => {
                    assert_eq!(seen, 1, "{} was told as delivered and never seen", sent.id);
                    tally.delivered += 1;
                }
                Outcome::Refused(refusal) => {
                    assert_eq!(seen, 0, "{} was refused as {refusal} although it was seen", sent.id);
                    tally.refused += 1;
                }
                Outcome::Unknown => tally.unknown += 1,
            }
        }
        self.in_order(world);
        tally
    }

    fn in_order(&self, world: &World) {
        let place: BTreeMap<&str, usize> =
            self.sent.iter().enumerate().map(|(n, sent)| (sent.id.as_str(), n)).collect();
        for target in 0..world.edges.len() {
            let mut last: BTreeMap<PeerId, usize> = BTreeMap::new();
            for (from, id) in world.edges[target].got() {
                let Some(n) = place.get(id.as_str()).copied() else { continue };
                let before = last.insert(from, n);
                assert!(before.is_none_or(|before| before < n), "{id} came after a later one of the same sender");
            }
        }
    }
}

/// How often the application at the target saw a signal. A keyed peer may have had several sessions; what two of them
/// got, its client library shows once (PROTOCOL.md §4.3).
fn times_seen(world: &World, sent: &Sent) -> usize {
    let sessions = world.edges.iter().filter(|edge| edge.peer == Some(sent.peer));
    let counts = sessions.map(|edge| edge.got().iter().filter(|(_, id)| *id == sent.id).count());
    counts.max().unwrap_or(0)
}

fn outcome_of(world: &World, sent: &Sent, was_away: bool) -> Outcome {
    let receipts: Vec<(Moment, Outcome)> = world.edges[sent.from]
        .history
        .iter()
        .filter_map(|(at, event)| match event {
            Event::Receipt { id, outcome, .. } if **id == *sent.id => Some((*at, *outcome)),
            _ => None,
        })
        .collect();
    let [(at, outcome)] = receipts[..] else {
        panic!("{} from {} to {:?} has {} receipts: {receipts:?}", sent.id, sent.from, sent.peer, receipts.len());
    };
    assert!(was_away || at.since(sent.at) <= RECEIPT_MAX, "{} waited {:?} for its receipt", sent.id, at.since(sent.at));
    outcome
}

/// Three edges at each host, all in one topic.
pub(crate) fn crowd(world: &mut World) -> Vec<usize> {
    let mut edges = Vec::new();
    for place in world.alive() {
        for _ in 0..3 {
            let edge = world.edge(place);
            world.join(edge, "crowd");
            edges.push(edge);
        }
    }
    world.run(ms(500));
    edges
}
