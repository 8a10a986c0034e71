//! One session: who it is, and what waits to be acknowledged by it.

use std::collections::{BTreeMap, VecDeque};

use aldis_wire::host::Outcome;
use aldis_wire::id::{HostId, PeerId};
use aldis_wire::proof::Proof;
use aldis_wire::refusal::Refusal;
use bytes::Bytes;

use super::subscriptions::Subscriptions;
use crate::relay::broadcasts;
use crate::relay::bucket::Bucket;
use crate::relay::io::{EdgeKey, Event, Moment, RequestId, Token};
use crate::relay::limits::{
    BROADCAST_RESERVE, BROADCAST_RESERVE_BYTES, DEDUPLICATION, SENDERS_REMEMBERED_MAX, UNACKED_BYTES,
    UNACKED_EVENTS_BYTES, UNACKED_MAX, UNACKED_RESERVE,
};
use crate::relay::signals::{Outgoing, Turn};

/// A sequenced event that the edge has not acknowledged.
#[derive(Debug)]
struct Unacked {
    seq: u64,
    event: Event,
    bytes: usize,
    /// For a signal: the home that waits for its receipt.
    sender_home: Option<HostId>,
    /// Whether it was ever handed to a socket.
    told: bool,
}

/// A signal that left a session's queue, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finished {
    /// The sender.
    pub(crate) from: PeerId,
    /// The target.
    pub(crate) to: PeerId,
    /// The sender's id for it.
    pub(crate) id: RequestId,
    /// Where the receipt goes.
    pub(crate) sender_home: HostId,
    /// What became of it.
    pub(crate) outcome: Outcome,
}

/// A peer at home here.
#[derive(Debug)]
pub(crate) struct Session {
    /// Who.
    pub(crate) peer: PeerId,
    /// Why others may believe it.
    pub(crate) proof: Proof,
    /// Restores it.
    pub(crate) token: Token,
    /// Its socket; `None` during the grace period.
    pub(crate) edge: Option<EdgeKey>,
    /// Default meta of its memberships.
    pub(crate) meta: Bytes,
    /// Of joins and leaves.
    pub(crate) changes: Bucket,
    /// What it follows.
    pub(super) subscriptions: Subscriptions,
    /// The signals it sent.
    pub(crate) outgoing: Outgoing,
    /// The broadcasts it sent; most sessions send none.
    pub(crate) broadcasts: Option<Box<broadcasts::Outgoing>>,
    /// The newest that was taken from each sender, and when.
    incoming: BTreeMap<PeerId, (Turn, Moment)>,
    last_seq: u64,
    unacked: VecDeque<Unacked>,
    unacked_bytes: usize,
}

impl Session {
    pub(super) fn new(edge: EdgeKey, peer: PeerId, proof: Proof, token: Token, meta: Bytes) -> Self {
        Self {
            peer,
            proof,
            token,
            edge: Some(edge),
            meta,
            changes: Bucket::default(),
            subscriptions: Subscriptions::default(),
            outgoing: Outgoing::default(),
            broadcasts: None,
            incoming: BTreeMap::new(),
            last_seq: 0,
            unacked: VecDeque::new(),
            unacked_bytes: 0,
        }
    }

    /// Puts a sequenced event into the queue; the event to be told now, if there is a socket.
    ///
    /// # Errors
    /// [`Refusal::TooSlow`] when the queue is full.
    pub(crate) fn enqueue(&mut self, bytes: usize, event: impl FnOnce(u64) -> Event) -> Result<Option<Event>, Refusal> {
        self.enqueue_with(bytes, None, event)
    }

    /// The same for a signal, which leaves room for receipts and events.
    ///
    /// # Errors
    /// [`Refusal::QueueFull`] when there is no room for signals.
    pub(crate) fn enqueue_signal(
        &mut self,
        bytes: usize,
        sender_home: HostId,
        event: impl FnOnce(u64) -> Event,
    ) -> Result<Option<Event>, Refusal> {
        if self.unacked.len() >= UNACKED_MAX - UNACKED_RESERVE || self.unacked_bytes + bytes > UNACKED_BYTES {
            return Err(Refusal::QueueFull);
        }
        self.enqueue_with(bytes, Some(sender_home), event)
    }

    /// The same for a broadcast, which leaves room for signals too.
    ///
    /// # Errors
    /// [`Refusal::QueueFull`] when there is no room for broadcasts.
    pub(crate) fn enqueue_broadcast(
        &mut self,
        bytes: usize,
        event: impl FnOnce(u64) -> Event,
    ) -> Result<Option<Event>, Refusal> {
        const ROOM: usize = UNACKED_MAX - UNACKED_RESERVE - BROADCAST_RESERVE;
        const ROOM_BYTES: usize = UNACKED_BYTES - BROADCAST_RESERVE_BYTES;
        if self.unacked.len() >= ROOM || self.unacked_bytes + bytes > ROOM_BYTES {
            return Err(Refusal::QueueFull);
        }
        self.enqueue_with(bytes, None, event)
    }

    fn enqueue_with(
        &mut self,
        bytes: usize,
        sender_home: Option<HostId>,
        event: impl FnOnce(u64) -> Event,
    ) -> Result<Option<Event>, Refusal> {
        if self.unacked.len() >= UNACKED_MAX || self.unacked_bytes + bytes > UNACKED_BYTES + UNACKED_EVENTS_BYTES {
            return Err(Refusal::TooSlow);
        }
        self.last_seq += 1;
        let event = event(self.last_seq);
        let told = self.edge.is_some();
        self.unacked_bytes += bytes;
        self.unacked.push_back(Unacked { seq: self.last_seq, event: event.clone(), bytes, sender_home, told });
        Ok(told.then_some(event))
    }

    /// Sequenced events that are not acknowledged.
    #[must_use]
    pub(crate) fn unacked_count(&self) -> usize {
        self.unacked.len()
    }

    /// What they weigh.
    #[must_use]
    pub(crate) fn unacked_bytes(&self) -> usize {
        self.unacked_bytes
    }

    /// Senders whose newest signal is remembered.
    #[must_use]
    pub(crate) fn senders_count(&self) -> usize {
        self.incoming.len()
    }

    /// Forgets everything up to `seq`; the signals among it are delivered.
    pub(crate) fn acknowledge(&mut self, seq: u64) -> Vec<Finished> {
        let mut finished = Vec::new();
        while self.unacked.front().is_some_and(|first| first.seq <= seq) {
            let Some(first) = self.unacked.pop_front() else { break };
            self.unacked_bytes -= first.bytes;
            finished.extend(first.finished(self.peer, Outcome::Delivered));
        }
        if self.unacked.is_empty() {
            // A session that rests must stay small, whatever it had to keep before.
            self.unacked = VecDeque::new();
        }
        finished
    }

    /// What is told again to a new socket.
    pub(crate) fn replay(&mut self) -> Vec<Event> {
        self.unacked.iter_mut().for_each(|unacked| unacked.told = true);
        self.unacked.iter().map(|unacked| unacked.event.clone()).collect()
    }

    /// The session is over: what was handed to a socket may have arrived, the rest did not.
    pub(crate) fn abandon(&mut self) -> Vec<Finished> {
        let outcome = |told| if told { Outcome::Unknown } else { Outcome::Refused(Refusal::Gone) };
        let to = self.peer;
        let finished = |unacked: Unacked| {
            let outcome = outcome(unacked.told);
            unacked.finished(to, outcome)
        };
        self.unacked.drain(..).filter_map(finished).collect()
    }

    /// Whether the sender's signal comes after all that were taken from it. Takes note of it.
    pub(crate) fn takes(&mut self, now: Moment, from: PeerId, turn: Turn) -> bool {
        if let Some((newest, at)) = self.incoming.get_mut(&from) {
            *at = now;
            let is_next = turn.is_after(newest);
            if is_next {
                *newest = turn;
            }
            return is_next;
        }
        if self.incoming.len() >= SENDERS_REMEMBERED_MAX {
            self.incoming.retain(|_, (_, at)| now.since(*at) < DEDUPLICATION);
        }
        if self.incoming.len() >= SENDERS_REMEMBERED_MAX
            && let Some(oldest) = self.incoming.iter().min_by_key(|(_, (_, at))| *at).map(|(from, _)| *from)
        {
            self.incoming.remove(&oldest);
        }
        self.incoming.insert(from, (turn, now));
        true
    }
}

impl Unacked {
    fn finished(self, to: PeerId, outcome: Outcome) -> Option<Finished> {
        match (self.event, self.sender_home) {
            (Event::Signal { id, from, .. }, Some(sender_home)) => {
                Some(Finished { from, to, id, sender_home, outcome })
            }
            _ => None,
        }
    }
}
