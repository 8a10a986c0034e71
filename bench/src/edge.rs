//! One connection that speaks the edge protocol (PROTOCOL.md §4): it introduces itself, acknowledges, and hands on what
//! it hears.
//!
//! Not `aldis::client`, which would be measured with the hosts: it keeps a task and queues for each edge, so what it hears
//! waits until another task runs; here a message has the time at which its bytes were read, and all 5,000 edges are read into
//! one buffer on one thread. Neither does the client let its user choose how signals are acknowledged.

use std::cell::{Cell, RefCell};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use aldis_wire::edge::{EdgeMessage, FromEdge, Hello, HostMessage, Identity};
use aldis_wire::id::PeerId;
use anyhow::{Context as _, Result, anyhow, bail, ensure};
use clap::ValueEnum;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::task::spawn_local;
use tokio::time::timeout;

use crate::measure::now;
use crate::payload::{Hop, Payload, Stamp};
use crate::ws::{self, Cutter, Kind};

/// Events and receipts are acknowledged after so many messages at the latest (PROTOCOL.md §4.3).
const UNACKED_MAX: u64 = 32;
/// And after so long; the protocol allows one second.
const EVENTS_ACKED_AFTER: Duration = Duration::from_millis(500);
/// What an edge reads at once.
const READ_BYTES: usize = 64 << 10;
/// How long a host may take for one answer.
const PATIENCE: Duration = Duration::from_secs(20);

thread_local! {
    /// What all edges read into; each keeps only a frame that is not whole.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BYTES]);
    static JSON: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

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
    /// Who it is, once it is welcome.
    peer: Cell<Option<PeerId>>,
    acks: Acks,
    write: OwnedWriteHalf,
    /// What the socket has not taken yet.
    out: RefCell<Vec<u8>>,
    draining: Cell<bool>,
    /// The last seq that came.
    seen: Cell<u64>,
    /// The last seq that was acknowledged.
    acked: Cell<u64>,
    /// Signals sent.
    signals: Cell<u64>,
}

/// The reading end of an edge.
pub(crate) struct Ear {
    read: OwnedReadHalf,
    cutter: Cutter,
    /// The answer to the upgrade, until all of it is there.
    head: Option<Vec<u8>>,
}

impl Edge {
    /// Connects and opens a session as a minted peer.
    pub(crate) async fn open(host: SocketAddr, index: usize, acks: Acks) -> Result<(Rc<Self>, Ear)> {
        let opening = async {
            let stream = TcpStream::connect(host).await.context("cannot connect")?;
            stream.set_nodelay(true)?;
            let (read, write) = stream.into_split();
            let edge = Rc::new(Self {
                index,
                peer: Cell::new(None),
                acks,
                write,
                out: RefCell::new(ws::request(&host.to_string()).into_bytes()),
                draining: Cell::new(false),
                seen: Cell::new(0),
                acked: Cell::new(0),
                signals: Cell::new(0),
            });
            edge.flush()?;
            let mut ear = Ear { read, cutter: Cutter::default(), head: Some(Vec::new()) };
            while edge.peer.get().is_none() {
                ear.turn(&edge, &mut |message, _| edge.introduce(message)).await?;
            }
            Ok((edge.clone(), ear))
        };
        timeout(PATIENCE, opening).await.context("no session in time")?
    }

    fn introduce(&self, message: &HostMessage<'_>) -> Result<()> {
        match message {
            HostMessage::Greeting { .. } => {
                self.say(EdgeMessage::Hello(Hello { identity: Identity::Minted, meta: None }));
            }
            HostMessage::Welcome(welcome) => self.peer.set(Some(welcome.peer)),
            HostMessage::Error { code, message, .. } => bail!("refused: {code}: {message}"),
            _ => {}
        }
        Ok(())
    }

    /// Who it is.
    pub(crate) fn peer(&self) -> Result<PeerId> {
        self.peer.get().context("not welcome yet")
    }

    /// Asks to join; the answer comes as [`HostMessage::Joined`].
    pub(crate) fn ask_to_join(&self, topic: &str) {
        let (id, topic) = ("join".into(), topic.into());
        self.say(EdgeMessage::Join { id, topic, meta: None });
    }

    /// Joins and waits for the answer.
    pub(crate) async fn join(self: &Rc<Self>, ear: &mut Ear, topic: &str) -> Result<()> {
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
                ear.turn(self, &mut each).await?;
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
        let along = self.acks == Acks::Along && unacked && self.peer.get().is_some();
        let ack = along.then_some(self.seen.get());
        if along {
            self.acked.set(self.seen.get());
        }
        JSON.with_borrow_mut(|json| {
            json.clear();
            FromEdge { ack, message }.encode(json);
            ws::frame(&mut self.out.borrow_mut(), Kind::Text, json);
        });
    }

    fn acknowledge(&self) {
        if self.seen.get() > self.acked.get() {
            self.acked.set(self.seen.get());
            self.say(EdgeMessage::Ack { seq: self.seen.get() });
        }
    }

    /// Writes what the socket takes now; the rest goes out when it can.
    pub(crate) fn flush(self: &Rc<Self>) -> Result<()> {
        if self.draining.get() || self.write_some()? {
            return Ok(());
        }
        self.draining.set(true);
        let edge = self.clone();
        spawn_local(async move {
            // A connection that is broken is told of by whoever reads it.
            while edge.write.writable().await.is_ok() && matches!(edge.write_some(), Ok(false)) {}
            edge.draining.set(false);
        });
        Ok(())
    }

    /// Whether nothing is left.
    fn write_some(&self) -> Result<bool> {
        let mut out = self.out.borrow_mut();
        if out.is_empty() {
            return Ok(true);
        }
        match self.write.try_write(&out) {
            Ok(written) => drop(out.drain(..written)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
        if out.is_empty() && out.capacity() > READ_BYTES {
            *out = Vec::new();
        }
        Ok(out.is_empty())
    }

    /// Takes one frame. Acknowledges a signal before anybody answers it, if acknowledgements go apart.
    fn take(&self, kind: Kind, body: &[u8], each: &mut Each<'_>, at: u64) -> Result<bool> {
        match kind {
            Kind::Ping => {
                ws::frame(&mut self.out.borrow_mut(), Kind::Pong, body);
                return Ok(false);
            }
            Kind::Pong => return Ok(false),
            Kind::Close => bail!("the host closed the connection"),
            Kind::Text => {}
        }
        let message = HostMessage::decode(std::str::from_utf8(body)?)?;
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

impl Ear {
    /// Hears until the connection ends.
    pub(crate) async fn listen(mut self, edge: Rc<Edge>, listener: Rc<dyn Listener>) {
        loop {
            let mut each = |message: &HostMessage<'_>, at| {
                listener.heard(&edge, message, at);
                Ok(())
            };
            if let Err(error) = self.turn(&edge, &mut each).await {
                return listener.lost(error.context(format!("edge {}", edge.index)));
            }
        }
    }

    /// Waits for bytes, shows the messages in them, and sends what is to be said in return.
    async fn turn(&mut self, edge: &Rc<Edge>, each: &mut Each<'_>) -> Result<()> {
        // The scratch buffer is borrowed only inside one poll.
        std::future::poll_fn(|context| SCRATCH.with_borrow_mut(|scratch| self.poll(context, scratch, edge, each))).await
    }

    fn poll(
        &mut self,
        context: &mut Context<'_>,
        scratch: &mut [u8],
        edge: &Rc<Edge>,
        each: &mut Each<'_>,
    ) -> Poll<Result<()>> {
        let mut buffer = ReadBuf::new(scratch);
        match Pin::new(&mut self.read).poll_read(context, &mut buffer) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Err(error)) => Poll::Ready(Err(error.into())),
            Poll::Ready(Ok(())) if buffer.filled().is_empty() => Poll::Ready(Err(anyhow!("the connection ended"))),
            Poll::Ready(Ok(())) => Poll::Ready(self.take(buffer.filled(), edge, each)),
        }
    }

    fn take(&mut self, bytes: &[u8], edge: &Rc<Edge>, each: &mut Each<'_>) -> Result<()> {
        let at = now();
        let mut upgraded = Vec::new();
        let bytes = match &mut self.head {
            None => bytes,
            Some(head) => {
                head.extend_from_slice(bytes);
                let Some(end) = ws::answered(head)? else { return Ok(()) };
                upgraded.extend_from_slice(head.get(end..).unwrap_or_default());
                self.head = None;
                &upgraded
            }
        };
        let mut signals = false;
        self.cutter.feed(bytes, |kind, body| {
            signals |= edge.take(kind, body, each, at)?;
            Ok(())
        })?;
        if signals || edge.seen.get() - edge.acked.get() >= UNACKED_MAX {
            edge.acknowledge();
        }
        edge.flush()
    }
}

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
