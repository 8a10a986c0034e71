//! An edge in Rust: the one client that programs, the terminal edge, the demo and the tests share.
//!
//! ```no_run
//! use aldis::client::{Client, Event, Options};
//!
//! # async fn example() -> Result<(), aldis::client::ClientError> {
//! let (client, mut events) = Client::connect(Options::at("wss://one.example")).await?;
//! for member in client.join("chess", None).await?.peers {
//!     let receipt = client.signal(member.peer, Some("chess"), r#"{"sdp": "…"}"#).await?;
//!     println!("{} {:?}", member.peer, receipt.status);
//! }
//! while let Some(event) = events.next().await {
//!     if let Event::Signal { from, data, .. } = event {
//!         println!("{from} says {data}");
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! A task owns the socket. It acknowledges, resumes after a broken socket, drops repetitions, and goes to another host
//! when its own is gone (PROTOCOL.md §4). Payloads and metas are JSON texts, carried byte for byte.
//!
//! Whoever stops waiting for an answer, by dropping the future, takes nothing back: the request goes on.
//!
//! Read [`Events`] or drop it: a client whose events nobody takes stops reading its socket when [`EVENTS_MAX`] wait.

#![allow(clippy::disallowed_methods, reason = "the outside world: clocks and sockets are its job")]

mod dialogue;
mod sealing;
mod session;
pub mod socket;
mod types;

pub use aldis_wire::edge::{Reach, Status};
pub use aldis_wire::id::{HostId, PeerId};
pub use aldis_wire::refusal::Refusal;
pub use dialogue::{Greeting, Introduced, SessionStart};
pub use ed25519_dalek::SigningKey;
#[cfg(feature = "net")]
pub(crate) use socket::tls_config;
pub use types::{ClientError, Event, Member, Options, Receipt, Sample, Tally, Who};

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aldis_wire::edge::{EdgeMessage, FromEdge, Json};
use aldis_wire::hex;
use tokio::sync::{mpsc, oneshot, watch};

use sealing::Letter;

/// Events that wait for the application.
pub const EVENTS_MAX: usize = 1_024;
/// Requests that wait for the task; callers beyond it wait too.
const COMMANDS_MAX: usize = 64;

/// Asks. Cheap to clone; when all clones are dropped, the edge says goodbye.
#[derive(Clone, Debug)]
pub struct Client {
    commands: mpsc::Sender<Command>,
    who: watch::Receiver<Who>,
    ids: Ids,
    sealed: bool,
}

/// What happens, in order.
#[derive(Debug)]
pub struct Events(mpsc::Receiver<Event>);

impl Events {
    /// The next event; `None` after [`Event::Closed`], or when the edge has said goodbye.
    pub async fn next(&mut self) -> Option<Event> {
        self.0.recv().await
    }
}

/// A request on its way to the task.
#[derive(Debug)]
struct Command {
    id: String,
    /// The message as it goes onto the socket.
    text: String,
    /// A signal that is still to be sealed; then there is no text yet.
    letter: Option<Letter>,
    /// What a positive answer changes in the list of topics to join again.
    then: Then,
    answer: oneshot::Sender<Result<Answer, ClientError>>,
}

/// What a positive answer changes in the list of topics to join again after a lost session.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Then {
    Nothing,
    Remember(String),
    Forget(String),
    /// It is a signal: lost with its session.
    Signal,
    /// It is a broadcast: the same.
    Broadcast,
    /// It asks a peer for its key: what waits for that ends with it.
    AskKey(PeerId),
    /// It tells a peer our own.
    TellKey,
    /// It is the goodbye.
    End,
}

#[derive(Debug)]
enum Answer {
    Done,
    Sample(Sample),
    Receipt(Receipt),
    Tally(Tally),
}

/// Ids with a random prefix, since a receiver remembers them across sessions.
#[derive(Clone, Debug)]
struct Ids {
    prefix: Arc<str>,
    next: Arc<AtomicU64>,
}

impl Ids {
    fn new() -> Self {
        Self { prefix: hex::encode(&crate::system::random_bytes::<8>()).into(), next: Arc::default() }
    }

    /// Later ids are greater as texts too: what is asked again is asked in this order.
    fn next(&self) -> String {
        format!("{}-{:016x}", self.prefix, self.next.fetch_add(1, Ordering::Relaxed))
    }
}

impl Client {
    /// Connects and says hello. Afterwards the client keeps itself connected.
    ///
    /// # Errors
    /// [`ClientError`] when no gateway of `options` takes the edge.
    pub async fn connect(options: Options) -> Result<(Self, Events), ClientError> {
        let (sealed, ids) = (options.sealed, Ids::new());
        let (commands, commands_in) = mpsc::channel(COMMANDS_MAX);
        let (events_out, events) = mpsc::channel(EVENTS_MAX);
        // On the heap: a TLS handshake is large, and so is a session; callers hold this future inside theirs.
        let (who, task) = Box::pin(session::Session::open(options, ids.clone(), commands_in, events_out)).await?;
        tokio::spawn(task.run());
        Ok((Self { commands, who, ids, sealed }, Events(events)))
    }

    /// Who the edge is now.
    #[must_use]
    pub fn who(&self) -> Who {
        self.who.borrow().clone()
    }

    /// Becomes a member of a topic, or replaces `meta`, a JSON text.
    ///
    /// # Errors
    /// [`ClientError`], in particular when the host refuses.
    pub async fn join(&self, topic: &str, meta: Option<&str>) -> Result<Sample, ClientError> {
        let meta = meta.map(json).transpose()?;
        let id = self.ids.next();
        let message = EdgeMessage::Join { id: id.as_str().into(), topic: topic.into(), meta };
        self.ask(&id, message, Then::Remember(topic.to_owned())).await.and_then(sample)
    }

    /// Sees who comes and goes without being a member.
    ///
    /// # Errors
    /// As [`Client::join`].
    pub async fn watch(&self, topic: &str) -> Result<Sample, ClientError> {
        let id = self.ids.next();
        let message = EdgeMessage::Watch { id: id.as_str().into(), topic: topic.into() };
        self.ask(&id, message, Then::Remember(topic.to_owned())).await.and_then(sample)
    }

    /// Some members of a topic, at most `limit`.
    ///
    /// # Errors
    /// As [`Client::join`].
    pub async fn discover(&self, topic: &str, limit: usize) -> Result<Sample, ClientError> {
        let id = self.ids.next();
        let message = EdgeMessage::Discover { id: id.as_str().into(), topic: topic.into(), limit };
        self.ask(&id, message, Then::Nothing).await.and_then(sample)
    }

    /// Ends a membership.
    ///
    /// # Errors
    /// As [`Client::join`].
    pub async fn leave(&self, topic: &str) -> Result<(), ClientError> {
        let id = self.ids.next();
        let message = EdgeMessage::Leave { id: id.as_str().into(), topic: topic.into() };
        self.ask(&id, message, Then::Forget(topic.to_owned())).await.map(drop)
    }

    /// Ends watching.
    ///
    /// # Errors
    /// As [`Client::join`].
    pub async fn unwatch(&self, topic: &str) -> Result<(), ClientError> {
        let id = self.ids.next();
        let message = EdgeMessage::Unwatch { id: id.as_str().into(), topic: topic.into() };
        self.ask(&id, message, Then::Forget(topic.to_owned())).await.map(drop)
    }

    /// Sends `data`, a JSON text, to a peer, and waits for the receipt.
    ///
    /// # Errors
    /// [`ClientError::BadInput`] when `data` is not JSON, [`ClientError::Refused`] when the request itself is refused,
    /// [`ClientError::NotSealed`] when it is to be sealed and the peer does not seal. A refused delivery is a [`Receipt`].
    pub async fn signal(&self, to: PeerId, topic: Option<&str>, data: &str) -> Result<Receipt, ClientError> {
        self.post(to, topic, data).await?.receipt().await
    }

    /// Sends `data`, a JSON text, to a peer. Signals posted one after another to a peer arrive in that order.
    ///
    /// # Errors
    /// [`ClientError::BadInput`] when `data` is not JSON.
    pub async fn post(&self, to: PeerId, topic: Option<&str>, data: &str) -> Result<Posted, ClientError> {
        self.post_again(self.ids.next(), to, topic, data).await
    }

    /// The same under the id of an earlier signal, whose receipt was unknown: it arrives once.
    ///
    /// # Errors
    /// As [`Client::post`]. The receipt is [`ClientError::BadInput`] while the earlier one waits for its own.
    pub async fn post_again(
        &self,
        id: String,
        to: PeerId,
        topic: Option<&str>,
        data: &str,
    ) -> Result<Posted, ClientError> {
        let checked = json(data)?;
        let (text, letter) = if self.sealed {
            (String::new(), Some(Letter { to, topic: topic.map(str::to_owned), data: data.to_owned() }))
        } else {
            let (id, topic) = (id.as_str().into(), topic.map(Into::into));
            (encode(EdgeMessage::Signal { id, to, topic, data: checked }), None)
        };
        let answered = self.send(id.clone(), text, letter, Then::Signal).await?;
        Ok(Posted { id, answered })
    }

    /// Sends `data`, a JSON text, to all other members of a topic, and waits for the tally.
    ///
    /// # Errors
    /// [`ClientError::BadInput`] when `data` is not JSON, [`ClientError::Refused`] when the request itself is refused or
    /// the session was lost before the tally came, [`ClientError::NotSealed`] of a client that seals. What hosts refuse is in
    /// the [`Tally`].
    pub async fn broadcast(&self, topic: &str, data: &str) -> Result<Tally, ClientError> {
        if self.sealed {
            return Err(ClientError::NotSealed);
        }
        let id = self.ids.next();
        let message = EdgeMessage::Broadcast { id: id.as_str().into(), topic: topic.into(), data: json(data)? };
        match self.ask(&id, message, Then::Broadcast).await? {
            Answer::Tally(tally) => Ok(tally),
            Answer::Done | Answer::Sample(_) | Answer::Receipt(_) => Err(ClientError::Ended),
        }
    }

    /// Leaves everything and ends the session. Returns when the message is on its way.
    pub async fn bye(self) {
        // Whatever the answer: the client has ended.
        drop(self.ask("", EdgeMessage::Bye, Then::End).await);
    }

    async fn ask(&self, id: &str, message: EdgeMessage<'_>, then: Then) -> Result<Answer, ClientError> {
        self.put(id, message, then).await?.await.map_err(|_| ClientError::Ended)?
    }

    async fn put(&self, id: &str, message: EdgeMessage<'_>, then: Then) -> Result<Answered, ClientError> {
        self.send(id.to_owned(), encode(message), None, then).await
    }

    async fn send(
        &self,
        id: String,
        text: String,
        letter: Option<Letter>,
        then: Then,
    ) -> Result<Answered, ClientError> {
        let (answer, answered) = oneshot::channel();
        let command = Command { id, text, letter, then, answer };
        self.commands.send(command).await.map_err(|_| ClientError::Ended)?;
        Ok(answered)
    }
}

/// A signal on its way.
#[derive(Debug)]
pub struct Posted {
    id: String,
    answered: Answered,
}

impl Posted {
    /// Its id, to send it again if nobody can say what became of it.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Waits for the receipt.
    ///
    /// # Errors
    /// As [`Client::signal`].
    pub async fn receipt(self) -> Result<Receipt, ClientError> {
        match self.answered.await.map_err(|_| ClientError::Ended)?? {
            Answer::Receipt(receipt) => Ok(receipt),
            Answer::Done | Answer::Sample(_) | Answer::Tally(_) => Err(ClientError::Ended),
        }
    }
}

type Answered = oneshot::Receiver<Result<Answer, ClientError>>;

/// A message as it goes onto the socket.
fn encode(message: EdgeMessage<'_>) -> String {
    FromEdge::from(message).text()
}

fn json(text: &str) -> Result<Json<'_>, ClientError> {
    Json::read(text.as_bytes()).map_err(|error| ClientError::BadInput(error.to_string()))
}

fn sample(answer: Answer) -> Result<Sample, ClientError> {
    match answer {
        Answer::Sample(sample) => Ok(sample),
        Answer::Done | Answer::Receipt(_) | Answer::Tally(_) => Err(ClientError::Ended),
    }
}
