//! One connection that speaks the edge protocol (PROTOCOL.md §4), on the socket of the library's client: it acknowledges,
//! and hands on what it hears.
//!
//! Not the client itself, which has a task and queues of its own between the socket and whoever hears: here a message has
//! the time at which it was read. Neither does the client let its user choose how signals are acknowledged. What it costs
//! beside this is measured by the scenario `library`.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use aldis::client::Introduced;
use aldis::client::socket::{Socket, Text};
use aldis_wire::edge::{EdgeMessage, FromEdge, Hello, HostMessage, Identity};
use aldis_wire::id::PeerId;
use anyhow::{Context as _, Error, Result, bail, ensure};
use clap::ValueEnum;
use tokio::task::spawn_local;
use tokio::time::timeout;

use crate::measure::now;
use crate::payload::{Hop, Payload, Stamp};

/// Events and receipts are acknowledged after so many messages at the latest (PROTOCOL.md §4.3).
const UNACKED_MAX: u64 = 32;
/// And after so long; the protocol allows one second.
const EVENTS_ACKED_AFTER: Duration = Duration::from_millis(500);
/// Messages that are taken before what they bring about is sent.
const BATCH_MAX: usize = 32;
/// How long a host may take for one answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// How an edge acknowledges signals. Either way it does so at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Acks {
    /// With the next message, if the signal is answered at once; else by an `ack`.
    Along,
    /// By an `ack` of its own for each signal, before anything else.
    Apart,
}

/// Hears what edges hear.
pub(crate) trait Listener {
    /// `at` is when the bytes were read.
    fn heard(&self, edge: &Rc<Edge>, message: &HostMessage<'_>, at: u64);

    /// A connection ended, or its host sent what it must not.
    fn lost(&self, error: anyhow::Error);
}

/// A connected edge.
pub(crate) struct Edge {
    /// Its place among the edges of a run.
    pub(crate) index: usize,
    /// Who it is.
    pub(crate) peer: PeerId,
    acks: Acks,
    socket: RefCell<Socket>,
    /// Why something could not be said.
    failed: RefCell<Option<String>>,
    /// Whether a task waits until the host takes more.
    draining: Cell<bool>,
    /// The last seq that came.
    seen: Cell<u64>,
    /// The last seq that was acknowledged.
    acked: Cell<u64>,
    /// Signals sent.
    signals: Cell<u64>,
}

impl Edge {
    /// Connects and opens a session as a minted peer.
    pub(crate) async fn open(host: SocketAddr, index: usize, acks: Acks) -> Result<Rc<Self>> {
        let opening = async {
            let mut socket = Socket::open(&format!("ws://{host}"), None).await?;
            socket.greeting().await?;
            match socket.hello(Hello { identity: Identity::Minted, meta: None }).await? {
                Introduced::Welcome(session) => Ok((socket, session.who.peer)),
                Introduced::Refused { code, message, .. } => bail!("refused: {code}: {message}"),
            }
        };
        let (socket, peer) = timeout(PATIENCE, opening).await.context("no session in time")??;
        Ok(Rc::new(Self {
            index,
            peer,
            acks,
            socket: RefCell::new(socket),
            failed: RefCell::new(None),
            draining: Cell::new(false),
            seen: Cell::new(0),
            acked: Cell::new(0),
            signals: Cell::new(0),
        }))
    }

    /// Asks to join; the answer comes as [`HostMessage::Joined`].
    pub(crate) fn ask_to_join(&self, topic: &str) {
        let (id, topic) = ("join".into(), topic.into());
        self.say(EdgeMessage::Join { id, topic, meta: None });
    }

    /// Joins and waits for the answer.
    pub(crate) async fn join(self: &Rc<Self>, topic: &str) -> Result<()> {
        self.ask_to_join(topic);
        self.flush()?;
        let mut joined = false;
        let waiting = async {
            while !joined {
                let mut each = |message: &HostMessage<'_>, _| match message {
                    HostMessage::Joined(_) => {
                        joined = true;
                        Ok(())
                    }
                    HostMessage::Error { code, message, .. } => bail!("refused: {code}: {message}"),
                    _ => Ok(()),
                };
                self.turn(&mut each).await?;
            }
            Ok(())
        };
        timeout(PATIENCE, waiting).await.context("not joined in time")?
    }

    /// Sends a signal that was due at `due`; its id says so.
    pub(crate) fn signal(&self, to: PeerId, hop: Hop, due: u64, payload: &Payload) -> Result<()> {
        let number = self.signals.get() + 1;
        self.signals.set(number);
        let id = Stamp { hop, due, number }.write().into();
        self.say(EdgeMessage::Signal { id, to, topic: None, data: payload.json()? });
        Ok(())
    }

    /// Puts a message into the buffer; [`Edge::flush`] sends it.
    fn say(&self, message: EdgeMessage<'_>) {
        let unacked = self.seen.get() > self.acked.get();
        let along = self.acks == Acks::Along && unacked;
        let ack = along.then_some(self.seen.get());
        if along {
            self.acked.set(self.seen.get());
        }
        let fed = self.socket.borrow_mut().feed(FromEdge { ack, message }.text());
        if let Err(why) = fed {
            self.failed.replace(Some(why));
        }
    }

    fn acknowledge(&self) {
        if self.seen.get() > self.acked.get() {
            self.acked.set(self.seen.get());
            self.say(EdgeMessage::Ack { seq: self.seen.get() });
        }
    }

    /// Writes what the socket takes now; the rest goes out when it can.
    pub(crate) fn flush(self: &Rc<Self>) -> Result<()> {
        if let Some(why) = self.failed.take() {
            bail!(why);
        }
        if self.draining.get() || self.socket.borrow().unsent() == 0 {
            return Ok(());
        }
        let flushed = self.socket.borrow_mut().poll_flush(&mut Context::from_waker(Waker::noop()));
        match flushed {
            Poll::Ready(flushed) => return flushed.map_err(Error::msg),
            Poll::Pending => self.draining.set(true),
        }
        let edge = self.clone();
        spawn_local(async move {
            // A connection that is broken is told of by whoever reads it.
            _ = std::future::poll_fn(|context| edge.socket.borrow_mut().poll_flush(context)).await;
            edge.draining.set(false);
        });
        Ok(())
    }

    /// Hears until the connection ends.
    pub(crate) async fn listen(self: Rc<Self>, listener: Rc<dyn Listener>) {
        loop {
            let mut each = |message: &HostMessage<'_>, at| {
                listener.heard(&self, message, at);
                Ok(())
            };
            if let Err(error) = self.turn(&mut each).await {
                return listener.lost(error.context(format!("edge {}", self.index)));
            }
        }
    }

    /// Waits for messages, shows them, and sends what is to be said in return.
    async fn turn(self: &Rc<Self>, each: &mut Each<'_>) -> Result<()> {
        let mut signals = false;
        for taken in 0..BATCH_MAX {
            let next = std::future::poll_fn(|context| match self.socket.borrow_mut().poll_next(context) {
                Poll::Pending if taken > 0 => Poll::Ready(None),
                other => other.map(Some),
            });
            let Some(text) = next.await else { break };
            signals |= self.take(&text.map_err(Error::msg)?, each)?;
        }
        if signals || self.seen.get() - self.acked.get() >= UNACKED_MAX {
            self.acknowledge();
        }
        self.flush()
    }

    /// Takes one message; whether it is a signal. Acknowledges that before anybody answers it, if acknowledgements go apart.
    fn take(&self, text: &Text, each: &mut Each<'_>) -> Result<bool> {
        let at = now();
        let message = HostMessage::decode(text)?;
        let is_signal = matches!(message, HostMessage::Signal { .. });
        if let Some(seq) = seq(&message) {
            ensure!(seq == self.seen.get() + 1, "seq {seq} after {}", self.seen.get());
            self.seen.set(seq);
        }
        if is_signal && self.acks == Acks::Apart {
            self.acknowledge();
        }
        each(&message, at)?;
        Ok(is_signal)
    }
}

type Each<'a> = dyn FnMut(&HostMessage<'_>, u64) -> Result<()> + 'a;

fn seq(message: &HostMessage<'_>) -> Option<u64> {
    match message {
        HostMessage::PeerJoined { seq, .. }
        | HostMessage::PeerLeft { seq, .. }
        | HostMessage::Signal { seq, .. }
        | HostMessage::Receipt { seq, .. } => Some(*seq),
        _ => None,
    }
}

/// Acknowledges what has waited for a second, for all edges of a run, and says now and then that they are there.
pub(crate) async fn keep_up(edges: Vec<Rc<Edge>>) {
    loop {
        tokio::time::sleep(EVENTS_ACKED_AFTER).await;
        for edge in &edges {
            edge.acknowledge();
            // A connection that is broken is told of by whoever reads it.
            _ = edge.flush();
        }
    }
}
