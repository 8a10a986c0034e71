//! Pairs exchange offers and answers, each as soon as the other has arrived. Throughput, and CPU time per signal.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use aldis_wire::edge::{HostMessage, Status};
use aldis_wire::id::PeerId;
use anyhow::{Result, ensure};
use clap::Args;
use serde_json::json;

use super::{Losses, Report, Seat, hosts_count, open};
use crate::edge::{Acks, Edge, Listener};
use crate::hosts::{Hosts, Wanted};
use crate::measure::{Quantiles, Snapshot, mebibytes, now, rss_bytes};
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
    /// How signals are acknowledged
    #[arg(long, value_enum, default_value_t = Acks::Along)]
    acks: Acks,
    /// Seconds that do not count
    #[arg(long, default_value_t = 2.0)]
    warm_up: f64,
    /// Seconds that count
    #[arg(long, default_value_t = 8.0)]
    secs: f64,
}

struct Loop {
    payload: Payload,
    /// Whether answers are answered with the next offer.
    running: Cell<bool>,
    counting: Cell<bool>,
    arrived: RefCell<Vec<u64>>,
    failed: Cell<usize>,
    losses: Losses,
}

impl Loop {
    fn signal(&self, edge: &Rc<Edge>, to: PeerId, hop: Hop) {
        if let Err(error) = edge.signal(to, hop, now(), &self.payload) {
            self.losses.add(error);
        }
    }
}

impl Listener for Loop {
    fn heard(&self, edge: &Rc<Edge>, message: &HostMessage<'_>, at: u64) {
        match message {
            HostMessage::Signal { id, from, .. } => {
                let Some(stamp) = Stamp::read(id) else { return };
                if self.counting.get() {
                    self.arrived.borrow_mut().push(at.saturating_sub(stamp.due));
                }
                match stamp.hop {
                    Hop::Offer => self.signal(edge, *from, Hop::Answer),
                    Hop::Answer if self.running.get() => self.signal(edge, *from, Hop::Offer),
                    Hop::Answer => {}
                }
            }
            HostMessage::Receipt { status: Status::Delivered, .. } => {}
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
    let flow = Rc::new(Loop {
        payload: Payload::new(plan.payload),
        running: Cell::new(true),
        counting: Cell::new(false),
        arrived: RefCell::default(),
        failed: Cell::new(0),
        losses: Losses::default(),
    });
    let listener: Rc<dyn Listener> = flow.clone();
    let topic = |pair: usize| Some(format!("bench-closed-{pair}"));
    let callers = (0..plan.pairs).map(|pair| Seat { index: pair, host: near, topic: topic(pair) });
    let callees = (0..plan.pairs).map(|pair| Seat { index: plan.pairs + pair, host: far, topic: topic(pair) });
    let edges = open(callers.chain(callees), plan.acks, &listener).await?;
    let (callers, callees) = edges.split_at(plan.pairs);
    // Until their joins are known everywhere.
    tokio::time::sleep(Duration::from_secs(1)).await;

    for (caller, callee) in callers.iter().zip(callees) {
        caller.signal(callee.peer, Hop::Offer, now(), &flow.payload)?;
        caller.flush()?;
    }
    tokio::time::sleep(Duration::from_secs_f64(plan.warm_up)).await;
    let start = Snapshot::take(&hosts.pids)?;
    flow.counting.set(true);
    tokio::time::sleep(Duration::from_secs_f64(plan.secs)).await;
    flow.counting.set(false);
    let spent = start.until(&Snapshot::take(&hosts.pids)?);
    let resident = hosts.pids.iter().map(|pid| rss_bytes(*pid)).collect::<Result<Vec<u64>>>()?;
    flow.running.set(false);
    flow.losses.check()?;
    ensure!(flow.failed.get() == 0, "{} signals were refused", flow.failed.get());

    let arrived = Quantiles::of(flow.arrived.take());
    let signals = arrived.count as f64;
    let (cpu, own, rate) = (spent.hosts * 1e6 / signals, spent.own * 1e6 / signals, signals / spent.seconds);
    let words = format!(
        "closed: {} host(s), {} pairs, {} bytes, acks {:?}: {cpu:.2} µs of CPU a signal (all hosts), {rate:.0} signals/s, \
         one way {arrived}; resident {:.1?} MiB; this program {own:.2} µs",
        hosts.pids.len(),
        plan.pairs,
        plan.payload,
        plan.acks,
        mebibytes(&resident)
    );
    let json = json!({
        "scenario": "closed", "hosts": hosts.pids.len(), "pairs": plan.pairs, "payload": plan.payload,
        "acks": format!("{:?}", plan.acks).to_lowercase(), "cpu_us_per_signal": cpu, "signals_per_second": rate,
        "one_way": arrived.json(), "rss_bytes": resident, "own_us_per_signal": own, "spent": spent.json(),
    });
    Ok(Report { json, words })
}
