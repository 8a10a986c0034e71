//! Edges of the first host join, each a topic of its own, at random times. Members at the last host are told.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use aldis_wire::edge::HostMessage;
use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::json;

use super::{Losses, Report, Seat, hosts_count, open};
use crate::edge::{Acks, Edge, Listener};
use crate::hosts::{Hosts, Wanted};
use crate::measure::{Alarm, Arrivals, Quantiles, Snapshot, now};

/// Longer than any promise of the protocol.
const PATIENCE: Duration = Duration::from_secs(5);

/// How to measure.
#[derive(Debug, Args)]
pub(crate) struct Plan {
    /// Both ends on one host
    #[arg(long)]
    local: bool,
    /// Joins per second
    #[arg(long, default_value_t = 20.0)]
    rate: f64,
    /// How many join
    #[arg(long, default_value_t = 600)]
    joins: usize,
}

#[derive(Debug, Default)]
struct Times {
    /// When each join was due.
    due: RefCell<Vec<u64>>,
    told: RefCell<Vec<u64>>,
    answered: RefCell<Vec<u64>>,
    refused: Cell<usize>,
    losses: Losses,
}

impl Times {
    fn record(&self, into: &RefCell<Vec<u64>>, index: usize, at: u64) {
        if let Some(due) = self.due.borrow().get(index) {
            into.borrow_mut().push(at.saturating_sub(*due));
        }
    }
}

impl Listener for Times {
    fn heard(&self, edge: &Rc<Edge>, message: &HostMessage<'_>, at: u64) {
        let joins = self.due.borrow().len();
        match message {
            // The members have the places after those who join.
            HostMessage::PeerJoined { .. } => {
                if let Some(index) = edge.index.checked_sub(joins) {
                    self.record(&self.told, index, at);
                }
            }
            HostMessage::Joined(_) => self.record(&self.answered, edge.index, at),
            HostMessage::Error { .. } => self.refused.set(self.refused.get() + 1),
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
    let times = Rc::new(Times { due: RefCell::new(vec![0; plan.joins]), ..Times::default() });
    let listener: Rc<dyn Listener> = times.clone();
    let topic = |index: usize| format!("bench-join-{index}");
    let joiners = (0..plan.joins).map(|index| Seat { index, host: near, topic: None });
    let members = (0..plan.joins).map(|index| Seat { index: plan.joins + index, host: far, topic: Some(topic(index)) });
    let edges = open(joiners.chain(members), Acks::Along, &listener).await?;
    // The members' own joins are still being announced.
    tokio::time::sleep(Duration::from_secs(2)).await;

    let start = Snapshot::take(&hosts.pids)?;
    let (alarm, mut arrivals) = (Alarm::new()?, Arrivals::new(plan.rate));
    for (index, edge) in edges.iter().take(plan.joins).enumerate() {
        let due = arrivals.next();
        alarm.until(due).await?;
        *times.due.borrow_mut().get_mut(index).context("more edges than joins")? = due;
        edge.ask_to_join(&topic(index));
        edge.flush()?;
    }
    let spent = start.until(&Snapshot::take(&hosts.pids)?);
    let patience = now() + u64::try_from(PATIENCE.as_nanos())?;
    while times.told.borrow().len() < plan.joins && now() < patience {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    times.losses.check()?;
    let told = Quantiles::of(times.told.take());
    let answered = Quantiles::of(times.answered.take());
    ensure!(
        told.count == plan.joins && times.refused.get() == 0,
        "{} of {} joins were told to the member, {} refused",
        told.count,
        plan.joins,
        times.refused.get()
    );
    let words = format!(
        "join: {} host(s), {} joins at {}/s: until peer_joined {told}; until joined {answered}",
        hosts.pids.len(),
        plan.joins,
        plan.rate
    );
    let json = json!({
        "scenario": "join", "hosts": hosts.pids.len(), "rate": plan.rate,
        "peer_joined": told.json(), "joined": answered.json(), "spent": spent.json(),
    });
    Ok(Report { json, words })
}
