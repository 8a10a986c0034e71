//! Signals as other peers sent them: sealed, about sealing, or plain; and what is sealed before it goes out.

use std::collections::VecDeque;
use std::time::Duration;

use aldis_wire::edge::sealed::Between;
use aldis_wire::edge::{EdgeMessage, Json};
use aldis_wire::id::PeerId;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{End, Session, answer};
use crate::client::sealing::{Letter, Opened};
use crate::client::{Answer, ClientError, Command, Event, Receipt, Then, encode};

/// Claims of ours that are told in such a time, since strangers ask for them without end: a tenth of the requests that a
/// host takes of one edge. Who gets none asks again.
const TOLD_MAX: usize = 64;
const TOLD_TIME: Duration = Duration::from_secs(6);

/// A signal that waits for its receiver's key.
#[derive(Debug)]
pub(super) struct Waiting {
    command: Command,
    letter: Letter,
    since: Instant,
}

impl Waiting {
    /// Whether this is its id.
    pub(super) fn is(&self, id: &str) -> bool {
        self.command.id == id
    }
}

impl Session {
    /// What is to be said for a request: itself, or sealed, or a question for the key when there is none yet.
    pub(super) fn sealed(&mut self, mut command: Command) -> Vec<Command> {
        let (Some(letter), Some(sealing)) = (command.letter.take(), &self.sealing) else { return vec![command] };
        let (to, now) = (letter.to, Instant::now());
        let first = !self.waiting.contains_key(&to);
        if first && sealing.knows(to, now) {
            return self.seal(command, &letter).into_iter().collect();
        }
        let told = sealing.told(true, None);
        self.waiting.entry(to).or_default().push_back(Waiting { command, letter, since: now });
        // The others wait for the same answer, and in their order.
        if first { vec![self.own(to, &told, Then::AskKey(to))] } else { Vec::new() }
    }

    fn seal(&mut self, mut command: Command, letter: &Letter) -> Option<Command> {
        let sealed = self.sealing.as_mut().map(|sealing| sealing.seal(&command.id, letter));
        match sealed {
            Some(Ok(Some(data))) => {
                command.text = signal(&command.id, letter.to, &data);
                Some(command)
            }
            Some(Ok(None)) | None => end(command, Err(ClientError::NotSealed)),
            Some(Err(error)) => end(command, Err(ClientError::BadInput(error.to_string()))),
        }
    }

    /// A signal that nobody asked for but we.
    fn own(&self, to: PeerId, data: &str, then: Then) -> Command {
        let id = self.ids.next();
        let text = signal(&id, to, data);
        Command { id, text, letter: None, then, answer: oneshot::channel().0 }
    }

    /// A signal has come that was not seen before.
    pub(super) async fn signalled(
        &mut self,
        from: PeerId,
        id: &str,
        topic: Option<String>,
        data: &str,
    ) -> Result<(), End> {
        // Cheap, and true of few others.
        let between = data.contains("\"aldis\"").then(|| Between::read(data)).flatten();
        match (between, &mut self.sealing) {
            (Some(Between::Claim { claim, answer, unopened }), sealing) => {
                let mut letters = Vec::new();
                match (claim, sealing) {
                    (Some(claim), Some(sealing)) => {
                        let (holds, again) = sealing.claim_came(from, claim, unopened.as_deref(), Instant::now());
                        letters = if holds { self.take_waiting(from, again) } else { Vec::new() };
                    }
                    (None, Some(_)) => self.end_waiting(from, &Err(ClientError::NotSealed)),
                    (_, None) => {}
                }
                for command in letters {
                    self.put(command)?;
                }
                if answer { self.tell_claim(from, None) } else { Ok(()) }
            }
            (Some(Between::Sealed(envelope)), Some(sealing)) => match sealing.open(from, id, &envelope) {
                Opened::Plain { topic, data } => {
                    // As hosts do.
                    let topic = topic.filter(|topic| self.topics.contains_key(topic));
                    self.tell(Event::Signal { from, id: id.to_owned(), topic, data }).await;
                    Ok(())
                }
                Opened::Repeated => Ok(()),
                Opened::Tell(data) => self.tell_claim(from, Some(data)),
                Opened::Broken => {
                    self.tell(Event::Dropped { from, why: "it was not sealed by its sender for us" }).await;
                    Ok(())
                }
            },
            (_, Some(_)) => {
                self.tell(Event::Dropped { from, why: "it was not sealed" }).await;
                Ok(())
            }
            (_, None) => {
                self.tell(Event::Signal { from, id: id.to_owned(), topic, data: data.to_owned() }).await;
                Ok(())
            }
        }
    }

    /// Tells our claim, or that we have none; `data` if there is more to say.
    fn tell_claim(&mut self, to: PeerId, data: Option<String>) -> Result<(), End> {
        let now = Instant::now();
        if self.told.len() >= TOLD_MAX {
            if self.told.front().is_some_and(|first| now.saturating_duration_since(*first) < TOLD_TIME) {
                return Ok(());
            }
            self.told.pop_front();
        }
        self.told.push_back(now);
        let none = Between::Claim { claim: None, answer: false, unopened: None };
        let data = data.or_else(|| self.sealing.as_ref().map(|sealing| sealing.told(false, None)));
        let command = self.own(to, &data.unwrap_or_else(|| none.write()), Then::TellKey);
        self.put(command)
    }

    /// What waited for this peer's key, sealed; and what it could not open.
    fn take_waiting(&mut self, peer: PeerId, again: Option<Letter>) -> Vec<Command> {
        let again = again.map(|letter| (self.own(peer, "null", Then::Signal), letter));
        let waiting = self.waiting.remove(&peer).unwrap_or_default();
        let waiting = waiting.into_iter().map(|one| (one.command, one.letter));
        again.into_iter().chain(waiting).filter_map(|(command, letter)| self.seal(command, &letter)).collect()
    }

    /// Nothing can be sealed for this peer.
    pub(super) fn end_waiting(&mut self, peer: PeerId, why: &Result<Receipt, ClientError>) {
        for Waiting { command, .. } in self.waiting.remove(&peer).unwrap_or_default() {
            end(command, why.clone().map(Answer::Receipt));
        }
    }

    /// A peer that does not tell its key in time has none.
    pub(super) fn expire_waiting(&mut self, now: Instant, limit: Duration) {
        for waiting in self.waiting.values_mut() {
            while waiting.front().is_some_and(|first| now.saturating_duration_since(first.since) >= limit)
                && let Some(Waiting { command, .. }) = waiting.pop_front()
            {
                end(command, Err(ClientError::NotSealed));
            }
        }
        self.waiting.retain(|_, waiting: &mut VecDeque<_>| !waiting.is_empty());
    }
}

/// Answers a request that goes no further.
fn end(command: Command, result: Result<Answer, ClientError>) -> Option<Command> {
    // It never breaks a socket.
    drop(answer(command, result));
    None
}

fn signal(id: &str, to: PeerId, data: &str) -> String {
    let data = Json::read(data.as_bytes()).unwrap_or(Json::NULL);
    encode(EdgeMessage::Signal { id: id.into(), to, topic: None, data })
}
