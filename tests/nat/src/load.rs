//! The load: an edge at each host, on its host's own machine, and signals from each to each other all the time.
//! Everything goes into the ledger.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aldis::client::{Client, ClientError, Event, Events, Options, PeerId, Status};
use aldis_laboratory::history::{History, Outcome, RECEIPT_MAX, Signal, Time};
use anyhow::{Context, Result, ensure};
use ed25519_dalek::SigningKey;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use crate::host::{GATEWAY, Host, wait_for};
use crate::lab::Lab;

const TOPIC: &str = "nat";
/// All edges see one another within this, or the hosts do not.
const SEEN_MAX: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A running load. It stops when dropped.
#[derive(Debug)]
pub(crate) struct Load {
    shared: Arc<Shared>,
    edges: Vec<Client>,
    tasks: JoinSet<()>,
    traffic: JoinSet<()>,
}

#[derive(Debug)]
struct Shared {
    begun: Instant,
    history: Mutex<History>,
    /// False when no more is to be sent.
    sending: AtomicBool,
}

/// What a signal says.
#[derive(Serialize, Deserialize)]
struct Payload {
    n: usize,
    /// As long as a small candidate.
    pad: String,
}

impl Shared {
    fn now(&self) -> Time {
        self.begun.elapsed()
    }

    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Load {
    /// Connects an edge at each of these hosts. Edge `n` is at host `n`, and keeps its peer through everything.
    pub(crate) async fn connect(lab: &Lab, hosts: &[&Host]) -> Result<Self> {
        let history = Mutex::new(History::default());
        let shared = Arc::new(Shared { begun: Instant::now(), history, sending: AtomicBool::new(true) });
        let (mut edges, mut tasks) = (Vec::new(), JoinSet::new());
        for (number, host) in hosts.iter().enumerate() {
            let mut options = Options::at(&format!("ws://{GATEWAY}/v1"));
            options.key = Some(SigningKey::from_bytes(&std::array::from_fn(|_| fastrand::u8(..))));
            // The client's task stays in the runtime that it began in, and so do its sockets.
            let (client, events) = lab.at(&host.node)?.spawn(Client::connect(options)).await??;
            client.join(TOPIC, None).await?;
            edges.push(client);
            tasks.spawn(listen(shared.clone(), number, events));
        }
        Ok(Self { shared, edges, tasks, traffic: JoinSet::new() })
    }

    /// Waits until every edge's home shows every edge, and sends from then on, so many signals a second from each to each.
    pub(crate) async fn begin(&mut self, per_second: u32) -> Result<()> {
        let all = self.edges.len();
        for edge in &self.edges {
            let own = edge.who().peer;
            let seen = wait_for(SEEN_MAX, async || match edge.discover(TOPIC, all).await {
                Ok(sample) => sample.peers.iter().filter(|member| member.peer != own).count() == all - 1,
                Err(_) => false,
            });
            seen.await.context("the edges do not see one another")?;
        }
        for from in 0..all {
            for to in (0..all).filter(|to| *to != from) {
                let peer = self.edges.get(to).context("no such edge")?.who().peer;
                let client = self.edges.get(from).context("no such edge")?.clone();
                self.traffic.spawn(send(self.shared.clone(), client, [from, to], peer, per_second));
            }
        }
        Ok(())
    }

    /// Stops sending, and waits until every signal has its receipt or is late.
    pub(crate) async fn pause(&mut self) {
        self.shared.sending.store(false, Ordering::Release);
        // What has a number must be sent, so nobody is stopped half way.
        let stopping = async { while self.traffic.join_next().await.is_some() {} };
        _ = timeout(RECEIPT_MAX, stopping).await;
        let waits = async || self.history().signals.iter().all(|signal| signal.ended.is_some());
        wait_for(RECEIPT_MAX, waits).await;
        // What was acknowledged a moment ago is still on its way through our own tasks.
        sleep(LOOK_EVERY * 5).await;
    }

    /// A line for each signal that was not delivered: from, to, when it was sent, what became of it, when it arrived.
    pub(crate) fn undelivered(&self) -> String {
        let history = self.history();
        let failed = history.signals.iter().filter(|signal| !signal.is_delivered());
        let line = |it: &Signal| format!("{} {} {:?} {:?} {:?}\n", it.from, it.to, it.sent, it.ended, it.received);
        failed.map(line).collect()
    }

    /// Fails when the load does not run any more.
    pub(crate) fn check(&mut self) -> Result<()> {
        ensure!(self.tasks.try_join_next().is_none(), "an edge has ended: {:?}", self.history().closed);
        Ok(())
    }

    pub(crate) fn now(&self) -> Time {
        self.shared.now()
    }

    pub(crate) fn history(&self) -> MutexGuard<'_, History> {
        self.shared.history()
    }
}

/// Writes down what happens to an edge.
async fn listen(shared: Arc<Shared>, number: usize, mut events: Events) {
    while let Some(event) = events.next().await {
        let now = shared.now();
        match event {
            Event::Signal { data, .. } => {
                let payload = serde_json::from_str::<Payload>(&data).map_or(usize::MAX, |payload| payload.n);
                shared.history().received(now, number, payload);
            }
            Event::SocketLost { .. } | Event::Drain { .. } => shared.history().broke(now, number),
            Event::Resumed | Event::Renewed { .. } => _ = shared.history().mended(now, number),
            Event::Closed { why } => shared.history().closed.push(format!("edge {number}: {why}")),
            Event::PeerJoined { .. }
            | Event::PeerLeft { .. }
            | Event::Broadcast { .. }
            | Event::Complaint { .. }
            | Event::Dropped { .. } => {}
        }
    }
}

/// Sends from one edge to another until it is told to stop.
async fn send(shared: Arc<Shared>, client: Client, pair: [usize; 2], to: PeerId, per_second: u32) {
    let mut tick = interval(Duration::from_secs(1) / per_second.max(1));
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    while shared.sending.load(Ordering::Acquire) {
        tick.tick().await;
        let number = shared.history().sent(shared.now(), pair, pair);
        let data = serde_json::json!(Payload { n: number, pad: "x".repeat(200) }).to_string();
        let posted = client.post(to, None, &data).await;
        let shared = shared.clone();
        // Not in a set of ours: receipts come also after the sending has stopped.
        tokio::spawn(async move {
            let receipt = match posted {
                Ok(posted) => posted.receipt().await,
                Err(error) => Err(error),
            };
            let outcome = match receipt {
                Ok(receipt) => Outcome::Receipt(receipt.status, receipt.code),
                Err(ClientError::Refused { code, .. }) => Outcome::Receipt(Status::Refused, Some(code)),
                Err(_) => Outcome::None,
            };
            let now = shared.now();
            shared.history().ended(now, number, outcome);
        });
    }
}
