//! Real hosts, real links: one holds the records of many others, and a fresh one is linked to it. How long until that one
//! knows as much, what it costs both, and what the edges of both notice of it.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use serde_json::{Value, json};
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{Instant, sleep};

use super::offer::Times;
use super::{Report, Seat, open};
use crate::edge::{Acks, Edge, Listener};
use crate::hosts::{Hosts, Wanted, get};
use crate::machine::records::Size;
use crate::machine::source::Source;
use crate::measure::{Alarm, Arrivals, Quantiles, Snapshot, mebibytes, peak_rss_bytes, rss_bytes};
use crate::payload::{Hop, Payload};

/// When the measurement is given up.
const PATIENCE: Duration = Duration::from_secs(300);
/// How often a host is asked what it knows. Its answer may be 200 ms old.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Longer than any receipt takes.
const RECEIPTS_WITHIN: Duration = Duration::from_secs(6);
/// Bytes of a signal's description.
const PAYLOAD_BYTES: usize = 1_024;

/// How to measure.
#[derive(Debug, Args)]
pub(crate) struct Plan {
    #[command(flatten)]
    size: Size,
    /// Signals per second between two edges of each host meanwhile
    #[arg(long, default_value_t = 100.0)]
    rate: f64,
}

/// What one host has used.
struct Used {
    cpu: f64,
    rss: u64,
    peak: u64,
}

impl Used {
    fn since(begin: &Snapshot, pid: u32) -> Result<Self> {
        let cpu = begin.until(&Snapshot::take(&[pid])?).hosts;
        Ok(Self { cpu, rss: rss_bytes(pid)?, peak: peak_rss_bytes(pid)? })
    }

    fn json(&self) -> Value {
        json!({ "cpu_seconds": self.cpu, "rss_bytes": self.rss, "peak_rss_bytes": self.peak })
    }
}

impl std::fmt::Display for Used {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [rss, peak] = [self.rss, self.peak].map(|bytes| mebibytes(&[bytes]).into_iter().sum::<f64>());
        write!(f, "{:.2} s of CPU, {rss:.0} MiB resident, {peak:.0} MiB at most", self.cpu)
    }
}

/// Two edges of one host, of which one sends to the other at random times.
struct Pair {
    times: Rc<Times>,
    sending: JoinHandle<Result<()>>,
    sent: Rc<Cell<usize>>,
}

impl Pair {
    async fn open(host: SocketAddr, rate: f64) -> Result<Self> {
        let (times, sent) = (Rc::new(Times::default()), Rc::new(Cell::new(0)));
        let listener: Rc<dyn Listener> = times.clone();
        let seats = (0..2).map(|index| Seat { index, host, topic: Some("bench-meanwhile".to_owned()) });
        let edges = open(seats, Acks::Along, &listener).await?;
        let sending = spawn_local(send(edges, rate, sent.clone()));
        Ok(Self { times, sending, sent })
    }

    /// Sends no more. Gives the times one way.
    async fn end(self) -> Result<Quantiles> {
        self.sending.abort();
        if let Ok(ended) = self.sending.await {
            ended?;
        }
        let (times, sent, patience) = (self.times, self.sent.get(), Instant::now() + RECEIPTS_WITHIN);
        while times.receipted.borrow().len() < sent && Instant::now() < patience {
            sleep(LOOK_EVERY).await;
        }
        times.losses.check()?;
        let (arrived, failed) = (Quantiles::of(times.arrived.take()), times.failed.get());
        ensure!(arrived.count == sent && failed == 0, "of {sent} signals {} arrived, {failed} failed", arrived.count);
        Ok(arrived)
    }
}

async fn send(edges: Vec<Rc<Edge>>, rate: f64, sent: Rc<Cell<usize>>) -> Result<()> {
    let (payload, alarm, mut arrivals) = (Payload::new(PAYLOAD_BYTES), Alarm::new()?, Arrivals::new(rate));
    let (sender, target) = edges.first().zip(edges.last()).context("no edges")?;
    loop {
        let due = arrivals.next();
        alarm.until(due).await?;
        sender.signal(target.peer, Hop::Offer, due, &payload)?;
        sender.flush()?;
        sent.set(sent.get() + 1);
    }
}

/// Waits until a host answers.
async fn until_ready(host: SocketAddr) -> Result<()> {
    let patience = Instant::now() + PATIENCE;
    while get(host, "/healthz").await.is_err() {
        ensure!(Instant::now() < patience, "a host does not start");
        sleep(LOOK_EVERY).await;
    }
    Ok(())
}

/// Waits until a host knows so many peers of others. Gives how long its one link had then stood, in seconds.
async fn until_known(host: SocketAddr, peers: usize) -> Result<f64> {
    let (patience, line) = (Instant::now() + PATIENCE, format!("aldis_remote_peers {peers}"));
    loop {
        let metrics = get(host, "/metrics").await?;
        if metrics.lines().any(|found| found == line) {
            break;
        }
        let known = metrics.lines().find(|line| line.starts_with("aldis_remote_peers ")).unwrap_or_default();
        ensure!(Instant::now() < patience, "it takes too long: {known}, and there are {peers}");
        sleep(LOOK_EVERY).await;
    }
    let status: Value = serde_json::from_str(&get(host, "/api/status").await?)?;
    let links = status.get("links").and_then(Value::as_array).context("no links in the status")?;
    let [link] = links.as_slice() else { bail!("{} links instead of one", links.len()) };
    Ok(link.get("age_ms").and_then(Value::as_f64).context("no age")? / 1e3)
}

/// Measures.
pub(crate) async fn measure(wanted: &Wanted, plan: &Plan) -> Result<Report> {
    let records = plan.size.origins * plan.size.edges;
    let source = Source::start(&plan.size)?;
    let mut hosts = Hosts::none();

    let full = hosts.add(wanted, Some(source.address))?;
    let (full_http, full_pid) = hosts.last()?;
    let begin = Snapshot::take(&[full_pid])?;
    until_ready(full_http).await?;
    let first_seconds = until_known(full_http, records).await?;
    let first = Used::since(&begin, full_pid)?;
    eprintln!("real-catch-up: the first host has them after {first_seconds:.2} s: {first}");

    let at_full = Pair::open(full_http, plan.rate).await?;
    let begin_full = Snapshot::take(&[full_pid])?;
    hosts.add(wanted, Some(full))?;
    let (fresh_http, fresh_pid) = hosts.last()?;
    let begin_fresh = Snapshot::take(&[fresh_pid])?;
    until_ready(fresh_http).await?;
    let at_fresh = Pair::open(fresh_http, plan.rate).await?;
    // The pair at the other host besides.
    let seconds = until_known(fresh_http, records + 2).await?;
    let (of_full, of_fresh) = (Used::since(&begin_full, full_pid)?, Used::since(&begin_fresh, fresh_pid)?);
    let spent = begin_full.until(&Snapshot::take(&[full_pid])?);
    let (at_full, at_fresh) = (at_full.end().await?, at_fresh.end().await?);

    let Size { origins, edges, .. } = plan.size;
    let words = format!(
        "real-catch-up: {origins} host(s) of {edges} edges: {seconds:.2} s from link to complete. The fresh host: {of_fresh}. \
         The one that it asked: {of_full}. Signals at the fresh host meanwhile: {at_fresh}; at the other: {at_full}"
    );
    let json = json!({
        "scenario": "real-catch-up", "origins": origins, "edges": edges, "seconds": seconds,
        "fresh": of_fresh.json(), "full": of_full.json(), "first_seconds": first_seconds, "first": first.json(),
        "one_way_at_fresh": at_fresh.json(), "one_way_at_full": at_full.json(), "spent": spent.json(),
    });
    Ok(Report { json, words })
}
