//! Signals of the crowd: sent, seen and answered, each held against what may be.

use aldis::relay::io::Request;
use aldis_wire::host::Outcome;
use aldis_wire::id::PeerId;
use aldis_wire::refusal::Refusal;
use bytes::Bytes;

use crate::queue::At;
use crate::world::World;

/// A signal that was sent.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) from: u32,
    pub(crate) session: u32,
    pub(crate) from_peer: PeerId,
    pub(crate) to: PeerId,
    pub(crate) at: At,
    /// How often its host was asked to send it, and how often it answered.
    pub(crate) asked: u32,
    pub(crate) answered: u32,
    /// The edge and session that saw it.
    pub(crate) seen: Option<(u32, u32)>,
    pub(crate) outcome: Option<Outcome>,
    /// Whether its sender's session is over.
    pub(crate) orphan: bool,
}

impl World {
    pub(super) fn speak(&mut self, edge: usize) {
        let known = self.edges[edge].known.len();
        if known == 0 {
            return;
        }
        let at = self.crowd.chance.index(known);
        let (to, Some(peer)) = (self.edges[edge].known[at], self.edges[edge].peer) else { return };
        self.crowd.last_signal += 1;
        let number = self.crowd.last_signal;
        let sent = Sent {
            from: edge as u32,
            session: self.edges[edge].session,
            from_peer: peer,
            to,
            at: self.now,
            asked: 0,
            answered: 0,
            seen: None,
            outcome: None,
            orphan: false,
        };
        self.crowd.signals.insert(number, sent);
        self.edges[edge].open.push(number);
        self.send_signal(edge, number);
    }

    pub(super) fn send_signal(&mut self, edge: usize, number: u64) {
        let Some(sent) = self.crowd.signals.get_mut(&number) else { return };
        sent.at = self.now;
        sent.asked += 1;
        let to = sent.to;
        let size = match self.scenario.payload {
            0 => [200, 600, 2_000][number as usize % 3],
            size => size,
        };
        let data = Bytes::from(vec![b'1'; size]);
        self.ask(edge, Request::Signal { id: number.to_string().into(), to, topic: None, data });
    }

    pub(super) fn signal_seen(&mut self, edge: usize, id: &str, from: PeerId) {
        let session = self.edges[edge].session;
        let number: u64 = id.parse().unwrap_or(0);
        let place = self.edges[edge].place;
        let Some(sent) = self.crowd.signals.get_mut(&number) else {
            return self
                .violated(&[place], format!("edge {edge} got signal {id}, which nobody sent, or sent long ago"));
        };
        let again = sent.seen.replace((edge as u32, session));
        let (right, outcome) = (Some(sent.to) == self.edges[edge].peer && sent.from_peer == from, sent.outcome);
        let last = self.edges[edge].last_from.insert(from, number);
        if !right {
            self.violated(
                &[place],
                format!("edge {edge} got signal {id} from {from:?}, which is not for it, or not its"),
            );
        }
        // Across its own sessions the client library drops what it has seen.
        if again == Some((edge as u32, session)) {
            self.violated(&[place], format!("edge {edge} got signal {id} twice"));
        }
        if last.is_some_and(|last| last > number) {
            self.violated(&[place], format!("edge {edge} got signal {id} after {last:?} of the same sender"));
        }
        if matches!(outcome, Some(Outcome::Refused(refusal)) if refusal != Refusal::Gone) {
            self.violated(&[place], format!("edge {edge} got signal {id}, which was refused: {outcome:?}"));
        }
        self.acknowledge(edge);
    }

    pub(super) fn receipt_seen(&mut self, edge: usize, id: &str, outcome: Outcome) {
        let number: u64 = id.parse().unwrap_or(0);
        let place = self.edges[edge].place;
        let Some(sent) = self.crowd.signals.get_mut(&number) else {
            return self.violated(&[place], format!("edge {edge} got a receipt for {id}, which it did not send"));
        };
        sent.answered += 1;
        // The application is told the first one.
        let (too_many, before) = (sent.answered > sent.asked, *sent.outcome.get_or_insert(outcome));
        let (seen, to) = (sent.seen, sent.to);
        self.edges[edge].open.retain(|open| *open != number);
        if too_many {
            self.violated(&[place], format!("signal {id} has two receipts: {before:?} and {outcome:?}"));
        }
        if outcome == Outcome::Delivered && seen.is_none() {
            self.violated(&[place], format!("signal {id} was told as delivered and {to:?} has not got it"));
        }
        if matches!(outcome, Outcome::Refused(refusal) if refusal != Refusal::Gone) && seen.is_some() {
            self.violated(&[place], format!("signal {id} was got and is told as {outcome:?}"));
        }
        if outcome == Outcome::Refused(Refusal::NoSuchPeer) || outcome == Outcome::Refused(Refusal::Gone) {
            self.edges[edge].known.retain(|known| *known != to);
        }
    }
}
