//! The standard load: edges on five hosts that send one another signals, join topics and leave them, and observers, one
//! at each host, who watch all topics. Edges are those of the client library: they resume, fail over and report what
//! they lost. Everything goes into the history.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aldis::client::{Client, ClientError, Event, Events, Options};
use aldis_wire::edge::Status;
use aldis_wire::id::PeerId;
use anyhow::{Context, Result};
use ed25519_dalek::SigningKey;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use crate::history::{History, Outcome, RECEIPT_MAX, Time};
use crate::network;

pub(crate) const HOSTS: usize = 5;
pub(crate) const EDGES_PER_HOST: usize = 50;
const EDGES: usize = HOSTS * EDGES_PER_HOST;
const SIGNALS_PER_SECOND: u32 = 200;
const CHANGES_PER_SECOND: u32 = 10;
/// Topics whose members stay, and topics that edges join and leave. Few enough for one edge to watch them all, and small
/// enough for one sample to show all members.
const STEADY_TOPICS: usize = 10;
const CHURNED_TOPICS: usize = 10;
/// Signals that wait at one edge because its client takes no more.
const QUEUE_MAX: usize = 1_024;
/// Edges of a flood that connect at once; what each sends, and how often.
const FLOOD_OPENING_MAX: usize = 40;
const FLOOD_BYTES: usize = 8_192;
const FLOOD_PAUSE: Duration = Duration::from_millis(250);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What all tasks share.
#[derive(Debug)]
pub(crate) struct Shared {
    begun: Instant,
    history: Mutex<History>,
    edges: Mutex<Vec<Edge>>,
}

/// An edge as it is now.
#[derive(Debug)]
struct Edge {
    client: Client,
    queue: mpsc::Sender<usize>,
    home: usize,
    peer: PeerId,
    online: bool,
    topics: BTreeSet<String>,
}

/// What a signal says.
#[derive(Serialize, Deserialize)]
struct Payload {
    n: usize,
    /// As long as a small candidate.
    pad: String,
}

/// A running load. It stops when dropped.
#[derive(Debug)]
pub(crate) struct Load {
    pub(crate) shared: Arc<Shared>,
    edges: JoinSet<()>,
    traffic: JoinSet<()>,
}

impl Shared {
    pub(crate) fn now(&self) -> Time {
        self.begun.elapsed()
    }

    pub(crate) fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn edges(&self) -> MutexGuard<'_, Vec<Edge>> {
        self.edges.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Load {
    /// Connects all edges and starts them.
    pub(crate) async fn start() -> Result<Self> {
        let history = Mutex::new(History::default());
        let shared = Arc::new(Shared { begun: Instant::now(), history, edges: Mutex::default() });
        let mut load = Self { shared, edges: JoinSet::new(), traffic: JoinSet::new() };
        for host in 0..HOSTS {
            let (client, events) = Client::connect(Options::at(&url(host))).await?;
            load.edges.spawn(observe(load.shared.clone(), host, client, events));
        }
        let mut connecting = JoinSet::new();
        for number in 0..EDGES {
            connecting.spawn(connect(number));
        }
        let mut connected = connecting.join_all().await.into_iter().collect::<Result<Vec<_>>>()?;
        connected.sort_by_key(|(number, ..)| *number);
        for (number, client, events) in connected {
            let (queue, waiting) = mpsc::channel(QUEUE_MAX);
            let who = client.who();
            let edge = Edge {
                client: client.clone(),
                queue,
                home: host_of(&who.url),
                peer: who.peer,
                online: true,
                topics: BTreeSet::new(),
            };
            load.shared.edges().push(edge);
            load.edges.spawn(listen(load.shared.clone(), number, client.clone(), events));
            load.edges.spawn(send(load.shared.clone(), number, client, waiting));
        }
        let mut joining = JoinSet::new();
        for number in 0..EDGES {
            joining.spawn(change(load.shared.clone(), number, format!("s{}", number % STEADY_TOPICS)));
        }
        joining.join_all().await;
        // Who came last is not known everywhere yet.
        while !load.shared.history().agrees(load.shared.now()) {
            sleep(LOOK_EVERY).await;
        }
        load.traffic.spawn(signal(load.shared.clone()));
        load.traffic.spawn(churn(load.shared.clone()));
        Ok(load)
    }

    /// Stops sending, and waits until every signal has its receipt or is late.
    pub(crate) async fn pause(&mut self) {
        self.traffic.shutdown().await;
        let deadline = Instant::now() + RECEIPT_MAX;
        while Instant::now() < deadline && self.shared.history().signals.iter().any(|signal| signal.ended.is_none()) {
            sleep(LOOK_EVERY).await;
        }
        // What was acknowledged a moment ago is still on its way through our own tasks.
        sleep(LOOK_EVERY * 5).await;
    }
}

/// One edge of two has a key, and keeps its peer wherever it goes.
async fn connect(number: usize) -> Result<(usize, Client, Events)> {
    let mut options = Options::at(&url(number % HOSTS));
    options.key = number.is_multiple_of(2).then(|| SigningKey::from_bytes(&std::array::from_fn(|_| fastrand::u8(..))));
    let (client, events) = Client::connect(options).await.with_context(|| format!("edge {number} cannot connect"))?;
    Ok((number, client, events))
}

/// Writes down what happens to an edge.
async fn listen(shared: Arc<Shared>, number: usize, client: Client, mut events: Events) {
    while let Some(event) = events.next().await {
        let now = shared.now();
        match event {
            Event::Signal { data, .. } => {
                let payload = serde_json::from_str::<Payload>(&data).map_or(usize::MAX, |payload| payload.n);
                shared.history().received(now, number, payload);
            }
            Event::SocketLost { .. } | Event::Drain { .. } => {
                shared.history().broke(now, number);
                if let Some(edge) = shared.edges().get_mut(number) {
                    edge.online = false;
                }
            }
            Event::Resumed => {
                shared.history().mended(now, number);
                if let Some(edge) = shared.edges().get_mut(number) {
                    edge.online = true;
                }
            }
            Event::Renewed { peer } => renew(&shared, now, number, peer, &client),
            Event::Closed { why } => shared.history().closed.push(format!("edge {number}: {why}")),
            Event::PeerJoined { .. }
            | Event::PeerLeft { .. }
            | Event::Broadcast { .. }
            | Event::Complaint { .. }
            | Event::Dropped { .. } => {}
        }
    }
}

/// A new session: the old peer was gone with its socket, the new one is in the same topics.
fn renew(shared: &Shared, now: Time, number: usize, peer: PeerId, client: &Client) {
    let mut edges = shared.edges();
    let mut history = shared.history();
    let lost = history.mended(now, number).unwrap_or(now);
    let Some(edge) = edges.get_mut(number) else { return };
    for topic in &edge.topics {
        history.left(lost, &(topic.clone(), edge.peer));
        history.joined(now, (topic.clone(), peer));
    }
    (edge.peer, edge.home, edge.online) = (peer, host_of(&client.who().url), true);
}

/// Sends what is queued, each to the peer that the other edge is then.
async fn send(shared: Arc<Shared>, number: usize, client: Client, mut waiting: mpsc::Receiver<usize>) {
    let mut receipts = JoinSet::new();
    while let Some(to) = waiting.recv().await {
        let target = {
            let edges = shared.edges();
            edges.get(to).zip(edges.get(number)).map(|(to, from)| (to.peer, [from.home, to.home]))
        };
        let Some((peer, homes)) = target else { continue };
        let signal = shared.history().sent(shared.now(), [number, to], homes);
        let data = serde_json::json!(Payload { n: signal, pad: "x".repeat(200) }).to_string();
        let posted = client.post(peer, None, &data).await;
        let shared = shared.clone();
        receipts.spawn(async move {
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
            shared.history().ended(now, signal, outcome);
        });
        while receipts.try_join_next().is_some() {}
    }
}

/// Chooses who sends to whom: always to an edge at another host.
async fn signal(shared: Arc<Shared>) {
    let mut tick = interval(Duration::from_secs(1) / SIGNALS_PER_SECOND);
    tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
    loop {
        tick.tick().await;
        let edges = shared.edges();
        let Some(from) = edges.get(fastrand::usize(..EDGES)) else { continue };
        // There is always another host with edges; bounded all the same.
        let elsewhere = |to: &usize| edges.get(*to).is_some_and(|to| to.home != from.home);
        if let Some(to) = (0..EDGES).map(|_| fastrand::usize(..EDGES)).find(elsewhere) {
            // A full queue is an edge that could not send for a long time: its signals are late already.
            _ = from.queue.try_send(to);
        }
    }
}

/// Lets edges join and leave.
async fn churn(shared: Arc<Shared>) {
    let mut tick = interval(Duration::from_secs(1) / CHANGES_PER_SECOND);
    let mut changes = JoinSet::new();
    loop {
        tick.tick().await;
        let number = fastrand::usize(..EDGES);
        if shared.edges().get(number).is_some_and(|edge| edge.online) {
            changes.spawn(change(shared.clone(), number, format!("c{}", fastrand::usize(..CHURNED_TOPICS))));
        }
        while changes.try_join_next().is_some() {}
    }
}

/// Lets an edge join a topic, or leave it if it is in it.
async fn change(shared: Arc<Shared>, number: usize, topic: String) {
    let Some((client, member)) = ({
        let edges = shared.edges();
        edges.get(number).map(|edge| (edge.client.clone(), edge.topics.contains(&topic)))
    }) else {
        return;
    };
    let done = if member { client.leave(&topic).await.is_ok() } else { client.join(&topic, None).await.is_ok() };
    let mut edges = shared.edges();
    let Some(edge) = edges.get_mut(number).filter(|_| done) else { return };
    let (mut history, now) = (shared.history(), shared.now());
    if !member && edge.topics.insert(topic.clone()) {
        history.joined(now, (topic, edge.peer));
    } else if member && edge.topics.remove(&topic) {
        history.left(now, &(topic, edge.peer));
    }
}

/// Watches all topics and writes down what it is told.
async fn observe(shared: Arc<Shared>, observer: usize, client: Client, mut events: Events) {
    let steady = (0..STEADY_TOPICS).map(|n| format!("s{n}"));
    for topic in steady.chain((0..CHURNED_TOPICS).map(|n| format!("c{n}"))) {
        match client.watch(&topic).await {
            Ok(sample) => {
                let now = shared.now();
                for member in sample.peers {
                    shared.history().saw(now, observer, (topic.clone(), member.peer), true);
                }
            }
            Err(why) => shared.history().closed.push(format!("observer {observer}: {why}")),
        }
    }
    while let Some(event) = events.next().await {
        let now = shared.now();
        let mut history = shared.history();
        match event {
            Event::PeerJoined { topic, peer, .. } => history.saw(now, observer, (topic, peer), true),
            Event::PeerLeft { topic, peer, .. } => history.saw(now, observer, (topic, peer), false),
            Event::SocketLost { .. } | Event::Drain { .. } => history.observer_blind(now, observer),
            Event::Resumed => history.observer_back(now, observer, false),
            Event::Renewed { .. } => history.observer_back(now, observer, true),
            Event::Closed { why } => history.closed.push(format!("observer {observer}: {why}")),
            Event::Signal { .. } | Event::Broadcast { .. } | Event::Complaint { .. } | Event::Dropped { .. } => {}
        }
    }
}

/// Ten times a host's edges, at one host, that send one another as much as they may; what became of it, in words.
pub(crate) async fn flood(host: usize, count: usize, time: Duration) -> Result<String> {
    let mut edges: Vec<(Client, Events)> = Vec::new();
    while edges.len() < count {
        let mut some = JoinSet::new();
        for _ in 0..FLOOD_OPENING_MAX.min(count - edges.len()) {
            some.spawn(async move { Client::connect(Options::at(&url(host))).await });
        }
        // A host that is busy may refuse some; they come again.
        edges.extend(some.join_all().await.into_iter().flatten());
    }
    let peers: Arc<Vec<PeerId>> = Arc::new(edges.iter().map(|(client, _)| client.who().peer).collect());
    let data = serde_json::Value::from("x".repeat(FLOOD_BYTES)).to_string();
    let mut sending = JoinSet::new();
    for (client, mut events) in edges {
        let (peers, data) = (peers.clone(), data.clone());
        sending.spawn(async move {
            let (mut delivered, mut other) = (0_u32, 0_u32);
            let mut tick = interval(FLOOD_PAUSE);
            let end = Instant::now() + time;
            while Instant::now() < end {
                tokio::select! {
                    _ = tick.tick() => {}
                    event = events.next() => if event.is_none() { break } else { continue },
                }
                let Some(to) = peers.get(fastrand::usize(..peers.len())) else { continue };
                match client.signal(*to, None, &data).await {
                    Ok(receipt) if receipt.status == Status::Delivered => delivered += 1,
                    Ok(_) | Err(_) => other += 1,
                }
            }
            (delivered, other)
        });
    }
    let sums = sending.join_all().await.into_iter().fold((0, 0), |sum, it| (sum.0 + it.0, sum.1 + it.1));
    Ok(format!("{} delivered, {} not", sums.0, sums.1))
}

pub(crate) fn url(host: usize) -> String {
    format!("ws://{}/v1", network::http(host))
}

fn host_of(url: &str) -> usize {
    (0..=network::NEWCOMER).find(|host| url.contains(&network::address(*host).to_string())).unwrap_or(usize::MAX)
}
