//! What a client publishes, until the machine has taken it.
//!
//! The machine takes so many broadcasts of a session at a time, and as many as its bucket has tokens. What is refused for
//! now is asked again, alone, until it is taken.

use std::collections::VecDeque;
use std::time::Duration;

use aldis_wire::refusal::Refusal;
use tokio::time::Instant;

use super::Body;
use super::codec::Tongue;
use crate::net::gateway::dialect::Desk;
use crate::relay::io::{Reach, Request, RequestId, Topic};
use crate::relay::limits::OPEN_BROADCASTS_MAX;

/// Messages that wait or are on their way: a newcomer of y-webrtc publishes some 200 at once in a room of 30.
pub(super) const MESSAGES_MAX: usize = 256;
/// The same in bytes: as much as may wait for a socket.
pub(super) const MESSAGES_BYTES: usize = 512 << 10;
/// Messages on their way: one fewer than the machine takes.
const OPEN_MAX: usize = OPEN_BROADCASTS_MAX - 1;
/// What was refused for now is asked again after so long: the bucket has 25 tokens more.
const AGAIN: Duration = Duration::from_millis(250);
/// A message that was not taken after so long is given up: an empty bucket is full after ten seconds.
const KEPT: Duration = Duration::from_secs(15);

#[derive(Debug)]
struct Message {
    tongue: Tongue,
    topic: Topic,
    content: Vec<u8>,
    /// The request whose answer counts: to count the subscribers, then to broadcast. `None` while it waits.
    asked: Option<RequestId>,
    since: Instant,
}

#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// In the order in which they came.
    messages: VecDeque<Message>,
    bytes: usize,
    /// The machine has refused one, and has taken none since: they go one by one.
    refused: bool,
    again: Option<Instant>,
}

impl Outbox {
    /// Takes a message, if there is room.
    pub(super) fn push(
        &mut self,
        tongue: Tongue,
        topic: Topic,
        content: &str,
        desk: &mut Desk<'_>,
    ) -> Result<(), Refusal> {
        if self.messages.len() >= MESSAGES_MAX || self.bytes + content.len() > MESSAGES_BYTES {
            return Err(Refusal::QueueFull);
        }
        self.bytes += content.len();
        // It is asked of the machine later, if not now: the frame is not idle.
        desk.was_awaited();
        let content = content.as_bytes().to_vec();
        self.messages.push_back(Message { tongue, topic, content, asked: None, since: desk.now() });
        self.send(desk);
        Ok(())
    }

    /// Sends what may be sent now.
    fn send(&mut self, desk: &mut Desk<'_>) {
        if self.again.is_some() {
            return;
        }
        let open = self.messages.iter().filter(|message| message.asked.is_some()).count();
        let most = if self.refused { 1 } else { OPEN_MAX };
        let waiting = self.messages.iter_mut().filter(|message| message.asked.is_none());
        for message in waiting.take(most.saturating_sub(open)) {
            let topic = message.topic.clone();
            message.asked = Some(match message.tongue {
                Tongue::Yjs => desk.discover(topic, 0),
                Tongue::Trystero => broadcast(topic, Body::encode_trystero(&message.content), desk),
            });
        }
    }

    fn place(&self, id: &RequestId) -> Option<usize> {
        self.messages.iter().position(|message| message.asked.as_ref() == Some(id))
    }

    /// A topic was counted: so many clients have subscribed it, ours among them if `subscribed` says so.
    pub(super) fn counted(
        &mut self,
        id: &RequestId,
        others: usize,
        subscribed: impl FnOnce(&Topic) -> bool,
        desk: &mut Desk<'_>,
    ) {
        let Some(place) = self.place(id) else { return };
        // What came before it goes first.
        let overtakes = self.messages.iter().take(place).any(|message| message.asked.is_none());
        let Some(message) = self.messages.get_mut(place) else { return };
        let clients = others + usize::from(subscribed(&message.topic));
        message.asked = (!overtakes).then(|| {
            let data = Body::encode_yjs(u32::try_from(clients).unwrap_or(u32::MAX), &message.content);
            broadcast(message.topic.clone(), data, desk)
        });
        self.send(desk);
    }

    /// A broadcast is over. It goes again if nobody has it and the reason passes.
    pub(super) fn tallied(&mut self, id: &RequestId, reach: &Reach, desk: &mut Desk<'_>) {
        match reach.code {
            Some(refusal) if reach.taken == 0 && reach.unknown == 0 => self.refused(id, refusal, desk),
            _ => {
                self.done(id);
                self.refused &= self.again.is_some() || self.messages.iter().any(|message| message.asked.is_some());
                self.send(desk);
            }
        }
    }

    /// A request was refused. Does nothing if it is not one of these.
    pub(super) fn refused(&mut self, id: &RequestId, refusal: Refusal, desk: &mut Desk<'_>) {
        let Some(message) = self.place(id).and_then(|place| self.messages.get_mut(place)) else { return };
        let passes = matches!(refusal, Refusal::RateLimited | Refusal::TooManyOpen | Refusal::Overloaded);
        if passes && desk.now() - message.since < KEPT {
            message.asked = None;
            self.refused = true;
            self.again = Some(desk.now() + AGAIN);
        } else {
            self.done(id);
            self.send(desk);
        }
    }

    fn done(&mut self, id: &RequestId) {
        if let Some(message) = self.place(id).and_then(|place| self.messages.remove(place)) {
            self.bytes -= message.content.len();
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.again
    }

    pub(super) fn woken(&mut self, desk: &mut Desk<'_>) {
        if self.again.is_some_and(|at| at <= desk.now()) {
            self.again = None;
            self.send(desk);
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty() && self.bytes == 0
    }
}

fn broadcast(topic: Topic, data: axum::body::Bytes, desk: &mut Desk<'_>) -> RequestId {
    let id = desk.fresh_id();
    desk.ask(Request::Broadcast { id: id.clone(), topic, data, echo: true });
    id
}
