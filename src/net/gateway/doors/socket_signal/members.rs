//! In which topics this client is under which ids, and who else is there.
//!
//! Two topics of the network carry a membership: the swarm's, whose members' metas list ids, so that a look-up finds all
//! of them; and the id's own, in which the owner of an id says in which topics it has it, so that a call finds it in a
//! swarm of any size. Of several owners the newest counts: who joins takes a stamp above all others'.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use aldis_wire::network::Network;
use aldis_wire::refusal::Refusal;
use axum::body::Bytes;

use super::between::{self, Claim, IDS_MAX};
use super::respond;
use super::words::{self, Fault, Key, TOO_MANY_OPEN};
use crate::doors::Door;
use crate::net::gateway::dialect::Desk;
use crate::relay::io::{Event, Member, Request, RequestId, Topic};
use crate::relay::limits::DISCOVER_MAX;

/// Joins and leaves of one client that wait for their turn: it may make 64 at once, and each takes two changes.
const CHANGES_MAX: usize = 64;
/// Look-ups of one client that wait for their turn, as many as its library has open. One is made after the other: two answers
/// of full size may be more than a mailbox holds.
const LOOKUPS_MAX: usize = 256;
/// Owners of an id that are looked at. There are two for a moment when a client comes back through another host.
pub(super) const OWNERS_MAX: usize = 16;
/// Ids in one answer, 54 bytes each: what a socket may be sent at once.
const ANSWER_IDS_MAX: usize = 1_200;

const TOO_MANY_IDS: &str = "This client has as many ids in this topic as it may have.";

/// The topic of a swarm.
pub(super) fn swarm(network: &Network, topic: &Key) -> Topic {
    Topic { id: network.door_topic(Door::SocketSignal.name(), &[b"swarm", topic]), name: "".into() }
}

/// The topic of an id.
pub(super) fn owner(network: &Network, id: &Key) -> Topic {
    Topic { id: network.door_topic(Door::SocketSignal.name(), &[b"id", id]), name: "".into() }
}

/// A join or a leave. They are done one after the other, since each changes what the next one starts from.
#[derive(Debug)]
struct Change {
    joins: bool,
    /// The client's request; 0 for none.
    reply: u32,
    topic: Key,
    id: Key,
}

/// How far the first change has come. Whoever finds an id in a swarm must be able to call it: an id is told in its own
/// topic before it is told in the swarm, and taken back in the other order.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Who else has the id, for the stamp.
    Asking,
    /// A join, in the topic of the id.
    Claiming,
    /// A join, in the swarm.
    Entering,
    /// A leave, in the swarm.
    Exiting,
    /// A leave or a join that came to nothing, in the topic of the id.
    Withdrawing,
}

pub(super) struct Members {
    network: Arc<Network>,
    /// The ids of this client, by topic. As many topics as the machine lets it have, with [`IDS_MAX`] ids each.
    swarms: BTreeMap<Key, Vec<Key>>,
    /// The stamps of its ids.
    stamps: BTreeMap<Key, u64>,
    changes: VecDeque<Change>,
    step: Option<(RequestId, Step)>,
    /// The client's request and the topic; the first one is being made.
    lookups: VecDeque<(u32, Key)>,
    looking: Option<RequestId>,
}

impl Members {
    pub(super) fn new(network: Arc<Network>) -> Self {
        let (swarms, stamps, changes) = (BTreeMap::new(), BTreeMap::new(), VecDeque::new());
        Self { network, swarms, stamps, changes, step: None, lookups: VecDeque::new(), looking: None }
    }

    /// Whether this client is in the topic under this id.
    pub(super) fn has(&self, topic: &Key, id: &Key) -> bool {
        self.swarms.get(topic).is_some_and(|ids| ids.contains(id))
    }

    pub(super) fn join(&mut self, reply: u32, topic: Key, id: Key, desk: &mut Desk<'_>) {
        self.change(Change { joins: true, reply, topic, id }, desk);
    }

    /// Leaves one topic, or without a topic all in which the client has this id.
    pub(super) fn leave(&mut self, reply: u32, topic: Option<Key>, id: Key, desk: &mut Desk<'_>) {
        let mut topics: Vec<Key> = match topic {
            Some(topic) => vec![topic],
            None => self.swarms.keys().filter(|topic| self.has(topic, &id)).copied().collect(),
        };
        let Some(last) = topics.pop() else { return respond(desk, reply, false, words::NOTHING) };
        for topic in topics {
            self.change(Change { joins: false, reply: 0, topic, id }, desk);
        }
        self.change(Change { joins: false, reply, topic: last, id }, desk);
    }

    /// Answers with everybody who is in the topic, this client too if it is.
    pub(super) fn lookup(&mut self, reply: u32, topic: Key, desk: &mut Desk<'_>) {
        if self.lookups.len() >= LOOKUPS_MAX {
            return respond(desk, reply, true, &Fault::Failed(TOO_MANY_OPEN).json());
        }
        self.lookups.push_back((reply, topic));
        desk.will_ask();
        self.look(desk);
    }

    /// Makes the first look-up, unless that is under way.
    fn look(&mut self, desk: &mut Desk<'_>) {
        if let (None, Some((_, topic))) = (&self.looking, self.lookups.front()) {
            self.looking = Some(desk.discover(swarm(&self.network, topic), DISCOVER_MAX));
        }
    }

    /// Gives an event back that is not about members.
    #[allow(clippy::result_large_err, reason = "what is not for it is handed on")]
    pub(super) fn event(&mut self, event: Event, desk: &mut Desk<'_>) -> Result<(), Event> {
        let id = match &event {
            Event::Joined(sample) | Event::Peers(sample) => &sample.id,
            Event::Left { id, .. } | Event::Error { id: Some(id), .. } => id,
            _ => return Err(event),
        };
        if let Some((_, step)) = self.step.take_if(|(asked, _)| asked == id) {
            let outcome = match event {
                Event::Peers(sample) => Ok(sample.members),
                Event::Error { refusal, .. } => Err(refusal),
                _ => Ok(Vec::new()),
            };
            self.stepped(step, outcome, desk);
            return Ok(());
        }
        if self.looking.take_if(|asked| asked == id).is_none() {
            return Err(event);
        }
        if let Some((reply, topic)) = self.lookups.pop_front() {
            match event {
                Event::Peers(sample) => respond(desk, reply, false, &self.list(&topic, &sample.members)),
                Event::Error { refusal, .. } => respond(desk, reply, true, &Fault::Failed(refusal.sentence()).json()),
                _ => {}
            }
        }
        self.look(desk);
        Ok(())
    }

    fn change(&mut self, change: Change, desk: &mut Desk<'_>) {
        if self.changes.len() >= CHANGES_MAX {
            return respond(desk, change.reply, true, &Fault::Failed(TOO_MANY_OPEN).json());
        }
        self.changes.push_back(change);
        self.begin(desk);
    }

    /// Begins the first change, unless it is on its way already.
    fn begin(&mut self, desk: &mut Desk<'_>) {
        while let (None, Some(&Change { joins, reply, topic, id })) = (&self.step, self.changes.front()) {
            let ids = self.swarms.get(&topic).map_or(&[][..], Vec::as_slice);
            if joins && !ids.contains(&id) && ids.len() >= IDS_MAX {
                respond(desk, reply, true, &Fault::Failed(TOO_MANY_IDS).json());
                self.changes.pop_front();
            } else if joins {
                let asked = desk.discover(owner(&self.network, &id), OWNERS_MAX);
                self.step = Some((asked, Step::Asking));
            } else if ids.contains(&id) {
                let rest: Vec<Key> = ids.iter().filter(|other| **other != id).copied().collect();
                self.be_in_swarm(&topic, &rest, Step::Exiting, desk);
            } else {
                respond(desk, reply, false, words::NOTHING);
                self.changes.pop_front();
            }
        }
    }

    /// The machine has answered the first change's last request.
    fn stepped(&mut self, step: Step, outcome: Result<Vec<Member>, Refusal>, desk: &mut Desk<'_>) {
        let Some(&Change { reply, topic, id, .. }) = self.changes.front() else { return };
        match (step, outcome) {
            (Step::Asking, Ok(members)) => {
                let others = members.iter().filter_map(|member| Claim::decode(&member.meta));
                let newest = others.map(|claim| claim.stamp).max();
                let own = self.stamps.entry(id).or_default();
                // Who joins again stays the newest, and nothing has to be told.
                *own = newest.map_or(*own, |newest| newest.saturating_add(1).max(*own));
                return self.claim(&id, Some(&topic), Step::Claiming, desk);
            }
            (Step::Claiming, Ok(_)) => {
                let mut ids = self.swarms.get(&topic).cloned().unwrap_or_default();
                if !ids.contains(&id) {
                    ids.push(id);
                }
                return self.be_in_swarm(&topic, &ids, Step::Entering, desk);
            }
            (Step::Entering, Ok(_)) => {
                let ids = self.swarms.entry(topic).or_default();
                if !ids.contains(&id) {
                    ids.push(id);
                }
                self.lookup(reply, topic, desk);
            }
            (Step::Entering, Err(refusal)) => {
                respond(desk, reply, true, &Fault::Failed(refusal.sentence()).json());
                if let Some(change) = self.changes.front_mut() {
                    change.reply = 0;
                }
                return self.claim(&id, None, Step::Withdrawing, desk);
            }
            (Step::Exiting, Ok(_)) => {
                if let Some(ids) = self.swarms.get_mut(&topic) {
                    ids.retain(|other| *other != id);
                }
                self.swarms.retain(|_, ids| !ids.is_empty());
                return self.claim(&id, None, Step::Withdrawing, desk);
            }
            // A claim that could not be changed says too much: calls to the id in this topic are refused all the same.
            (Step::Withdrawing, _) => respond(desk, reply, false, words::NOTHING),
            (_, Err(refusal)) => respond(desk, reply, true, &Fault::Failed(refusal.sentence()).json()),
        }
        if !self.swarms.values().any(|ids| ids.contains(&id)) {
            self.stamps.remove(&id);
        }
        self.changes.pop_front();
        self.begin(desk);
    }

    /// Says in the id's own topic where the client has it: where it is now, and in `further`.
    fn claim(&mut self, id: &Key, further: Option<&Key>, next: Step, desk: &mut Desk<'_>) {
        let topics: BTreeSet<&Key> =
            self.swarms.iter().filter(|(_, ids)| ids.contains(id)).map(|(topic, _)| topic).chain(further).collect();
        let tags: Vec<_> = topics.into_iter().map(|topic| between::tag(swarm(&self.network, topic).id)).collect();
        let stamp = self.stamps.get(id).copied().unwrap_or_default();
        let meta = (!tags.is_empty()).then(|| Claim { stamp, tags }.encode());
        self.be_in(owner(&self.network, id), meta, next, desk);
    }

    /// Says in a swarm under which ids the client is there.
    fn be_in_swarm(&mut self, topic: &Key, ids: &[Key], next: Step, desk: &mut Desk<'_>) {
        let meta = (!ids.is_empty()).then(|| between::encode_ids(ids));
        self.be_in(swarm(&self.network, topic), meta, next, desk);
    }

    /// Joins with this meta, or leaves.
    fn be_in(&mut self, topic: Topic, meta: Option<Bytes>, next: Step, desk: &mut Desk<'_>) {
        let id = desk.fresh_id();
        self.step = Some((id.clone(), next));
        desk.ask(match meta {
            Some(meta) => Request::Join { id, topic, meta: Some(meta), quiet: true },
            None => Request::Leave { id, topic },
        });
    }

    /// The ids of all members: first one of each, so that nobody fills the answer with many of his own.
    fn list(&self, topic: &Key, members: &[Member]) -> Vec<u8> {
        let own = self.swarms.get(topic).cloned().unwrap_or_default();
        let others = members.iter().filter_map(|member| between::decode_ids(&member.meta));
        let lists: Vec<Vec<Key>> = std::iter::once(own).chain(others).collect();
        let mut ids = BTreeSet::new();
        for place in 0..IDS_MAX {
            ids.extend(lists.iter().filter_map(|list| list.get(place)).take(ANSWER_IDS_MAX - ids.len()));
        }
        words::ids(ids)
    }
}
