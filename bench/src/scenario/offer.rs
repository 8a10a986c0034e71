//! Signals leave at random times at a mean rate, whatever the hosts do. One way to the target, and until the receipt.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use aldis_wire::edge::{HostMessage, Status};
use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::json;

use super::{Losses, Report, Seat, hosts_count, open};
use crate::edge::{Acks, Edge, Listener};
use crate::hosts::{Hosts, Wanted};
use crate::measure::{Alarm, Arrivals, Quantiles, Snapshot, now};
use crate::payload::{Hop, Payload, Stamp};

/// Longer than any receipt takes.
const PATIENCE: Duration = Duration::from_secs(6);

/// How to measure.
#[derive(Debug, Args)]
pub(crate) struct Plan {
    /// Both ends on one host
    #[arg(long)]
    local: bool,
    /// Signals per second
    #[arg(long, default_value_t = 2_000.0)]
    rate: f64,
    /// Pairs of a sender and a target
    #[arg(long, default_value_t = 200)]
    pairs: usize,
    /// Bytes of the session description
    #[arg(long, default_value_t = 1_024)]
    payload: usize,
    /// Seconds that do not count
    #[arg(long, default_value_t = 2.0)]
    warm_up: f64,
    /// Seconds that count
    #[arg(long, default_value_t = 10.0)]
    secs: f64,
}

#[derive(Debug, Default)]
pub(super) struct Times {
    /// What was due before does not count.
    begin: Cell<u64>,
    pub(super) arrived: RefCell<Vec<u64>>,
    pub(super) receipted: RefCell<Vec<u64>>,
    pub(super) failed: Cell<usize>,
    pub(super) losses: Losses,
}

impl Times {
    fn record(&self, into: &RefCell<Vec<u64>>, id: &str, at: u64) {
        if let Some(stamp) = Stamp::read(id).filter(|stamp| stamp.due >= self.begin.get()) {
            into.borrow_mut().push(at.saturating_sub(stamp.due));
        }
    }
}

impl Listener for Times {
    fn heard(&self, _edge: &Rc<Edge>, message: &HostMessage<'_>, at: u64) {
        match message {
            HostMessage::Signal { id, .. } => self.record(&self.arrived, id, at),
            HostMessage::Receipt { id, status: Status::Delivered, .. } => self.record(&self.receipted, id, at),
            HostMessage::Receipt { .. } | HostMessage::Error { .. } => self.failed.set(self.failed.get() + 1),
            _ => {}
        }
    }

    fn lost(&self, error: anyhow::Error) {
        self.losses.add(error);
    }
}

/// Measures.
pub(crate) async fn measure(wanted: &Wanted, plan: Plan) -> Result<Report> {
    let hosts = Hosts::get(wanted, hosts_count(plan.local)).await?;
    let (near, far) = hosts.ends()?;
    let times = Rc::new(Times { begin: Cell::new(u64::MAX), ..Times::default() });
    let listener: Rc<dyn Listener> = times.clone();
    let topic = |pair: usize| Some(format!("bench-offer-{pair}"));
    let senders = (0..plan.pairs).map(|pair| Seat { index: pair, host: near, topic: topic(pair) });
    let targets = (0..plan.pairs).map(|pair| Seat { index: plan.pairs + pair, host: far, topic: topic(pair) });
    let edges = open(senders.chain(targets), Acks::Along, &listener).await?;
    let (senders, targets) = edges.split_at(plan.pairs);
    // Until their joins are known everywhere.
    tokio::time::sleep(Duration::from_secs(1)).await;

    let payload = Payload::new(plan.payload);
    let (alarm, mut arrivals) = (Alarm::new()?, Arrivals::new(plan.rate));
    let mut random = fastrand::Rng::with_seed(2);
    let nanos = |seconds: f64| u64::try_from(Duration::from_secs_f64(seconds).as_nanos());
    let begin = now() + nanos(plan.warm_up)?;
    let end = begin + nanos(plan.secs)?;
    let (mut start, mut sent, mut lags) = (None, 0, Vec::new());
    loop {
        let due = arrivals.next();
        if due >= end {
            break;
        }
        alarm.until(due).await?;
        if due >= begin {
            if start.is_none() {
                times.begin.set(due);
                start = Some(Snapshot::take(&hosts.pids)?);
            }
            sent += 1;
            lags.push(now() - due);
        }
        let pair = random.usize(..plan.pairs);
        let (sender, target) = senders.get(pair).zip(targets.get(pair)).context("no such pair")?;
        sender.signal(target.peer, Hop::Offer, due, &payload)?;
        sender.flush()?;
    }
    let spent = start.context("nothing was sent after the warm-up")?.until(&Snapshot::take(&hosts.pids)?);
    let patience = now() + u64::try_from(PATIENCE.as_nanos())?;
    while times.receipted.borrow().len() < sent && now() < patience {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    times.losses.check()?;
    let (arrived, receipted) = (Quantiles::of(times.arrived.take()), Quantiles::of(times.receipted.take()));
    ensure!(
        arrived.count == sent && receipted.count == sent && times.failed.get() == 0,
        "of {sent} signals {} arrived, {} have a receipt, {} were refused",
        arrived.count,
        receipted.count,
        times.failed.get()
    );
    let (lag, cpu) = (Quantiles::of(lags), spent.hosts * 1e6 / arrived.count as f64);
    let words = format!(
        "offer: {} host(s), {} bytes, {}/s: one way {arrived}; receipt {receipted}; {cpu:.1} µs of CPU a signal; \
         the sender itself was late by {lag}",
        hosts.pids.len(),
        plan.payload,
        plan.rate
    );
    let json = json!({
        "scenario": "offer", "hosts": hosts.pids.len(), "rate": plan.rate, "pairs": plan.pairs, "payload": plan.payload,
        "one_way": arrived.json(), "receipt": receipted.json(), "lag": lag.json(),
        "cpu_us_per_signal": cpu, "spent": spent.json(),
    });
    Ok(Report { json, words })
}
