//! Pairs of the library's clients exchange offers and answers, as in [`super::closed`]: what the client itself costs.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use aldis::client::{Client, Event, Events, Options, PeerId, Posted, Status};
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use serde_json::json;
use tokio::task::spawn_local;

use super::{Losses, Report, hosts_count};
use crate::hosts::{Hosts, Wanted};
use crate::measure::{Quantiles, Snapshot, now};
use crate::payload::{Hop, Payload, Stamp};

/// How to measure.
#[derive(Debug, Args)]
pub(crate) struct Plan {
    /// Both ends on one host
    #[arg(long)]
    local: bool,
    /// Pairs that exchange signals
    #[arg(long, default_value_t = 200)]
    pairs: usize,
    /// Bytes of the session description
    #[arg(long, default_value_t = 1_024)]
    payload: usize,
    /// Seconds that do not count
    #[arg(long, default_value_t = 2.0)]
    warm_up: f64,
    /// Seconds that count
    #[arg(long, default_value_t = 8.0)]
    secs: f64,
}

struct Loop {
    payload: Payload,
    running: Cell<bool>,
    counting: Cell<bool>,
    arrived: RefCell<Vec<u64>>,
    losses: Losses,
}

struct Edge {
    client: Client,
    events: Events,
    /// Signals sent.
    signals: u64,
    /// The last one: its receipt is looked at before the next.
    posted: Option<Posted>,
}

impl Edge {
    async fn open(host: SocketAddr) -> Result<Self> {
        let (client, events) = Client::connect(Options::at(&format!("ws://{host}"))).await?;
        Ok(Self { client, events, signals: 0, posted: None })
    }

    async fn signal(&mut self, to: PeerId, hop: Hop, payload: &Payload) -> Result<()> {
        if let Some(posted) = self.posted.take() {
            let receipt = posted.receipt().await?;
            ensure!(receipt.status == Status::Delivered, "a signal ended as {receipt:?}");
        }
        self.signals += 1;
        let id = Stamp { hop, due: now(), number: self.signals }.write();
        self.posted = Some(self.client.post_again(id, to, None, payload.json()?.as_str()).await?);
        Ok(())
    }

    /// Answers, until the run is over.
    async fn listen(mut self, flow: Rc<Loop>) {
        let listening = async {
            while flow.running.get() {
                let event = self.events.next().await.context("the client ended")?;
                let (from, id) = match event {
                    Event::Signal { from, id, .. } => (from, id),
                    Event::SocketLost { why } => bail!("{why}"),
                    _ => continue,
                };
                let stamp = Stamp::read(&id).context("a signal that nobody sent")?;
                if flow.counting.get() {
                    flow.arrived.borrow_mut().push(now().saturating_sub(stamp.due));
                }
                let hop = if stamp.hop == Hop::Offer { Hop::Answer } else { Hop::Offer };
                self.signal(from, hop, &flow.payload).await?;
            }
            Ok(())
        };
        if let Err(error) = listening.await {
            flow.losses.add(error);
        }
    }
}

/// Measures.
pub(crate) async fn measure(wanted: &Wanted, plan: Plan) -> Result<Report> {
    let hosts = Hosts::get(wanted, hosts_count(plan.local)).await?;
    let (near, far) = hosts.ends()?;
    let flow = Rc::new(Loop {
        payload: Payload::new(plan.payload),
        running: Cell::new(true),
        counting: Cell::new(false),
        arrived: RefCell::default(),
        losses: Losses::default(),
    });
    let mut callers = Vec::new();
    for _ in 0..plan.pairs {
        let (caller, callee) = (Edge::open(near).await?, Edge::open(far).await?);
        callers.push((caller, callee.client.who().peer));
        spawn_local(callee.listen(flow.clone()));
    }
    // Until all are known everywhere.
    tokio::time::sleep(Duration::from_secs(1)).await;
    for (mut caller, to) in callers {
        caller.signal(to, Hop::Offer, &flow.payload).await?;
        spawn_local(caller.listen(flow.clone()));
    }
    tokio::time::sleep(Duration::from_secs_f64(plan.warm_up)).await;
    let start = Snapshot::take(&hosts.pids)?;
    flow.counting.set(true);
    tokio::time::sleep(Duration::from_secs_f64(plan.secs)).await;
    flow.counting.set(false);
    let spent = start.until(&Snapshot::take(&hosts.pids)?);
    flow.running.set(false);
    flow.losses.check()?;

    let arrived = Quantiles::of(flow.arrived.take());
    let signals = arrived.count as f64;
    let (cpu, own, rate) = (spent.hosts * 1e6 / signals, spent.own * 1e6 / signals, signals / spent.seconds);
    let words = format!(
        "library: {} host(s), {} pairs, {} bytes: {cpu:.2} µs of CPU a signal (all hosts), {rate:.0} signals/s, \
         one way {arrived}; this program {own:.2} µs",
        hosts.pids.len(),
        plan.pairs,
        plan.payload,
    );
    let json = json!({
        "scenario": "library", "hosts": hosts.pids.len(), "pairs": plan.pairs, "payload": plan.payload,
        "cpu_us_per_signal": cpu, "signals_per_second": rate, "one_way": arrived.json(), "own_us_per_signal": own,
        "spent": spent.json(),
    });
    Ok(Report { json, words })
}
