//! Many edges connect, join a topic in twos, and idle. Memory and CPU time for each, also at a host that only hears of
//! them.

use std::rc::Rc;
use std::time::Duration;

use aldis_wire::edge::HostMessage;
use anyhow::{Result, ensure};
use clap::Args;
use serde_json::json;

use super::{Losses, Report, Seat, hosts_count, open};
use crate::edge::{Acks, Edge, Listener};
use crate::hosts::{Hosts, Wanted};
use crate::measure::{Snapshot, mebibytes, rss_bytes};

/// How to measure.
#[derive(Debug, Args)]
pub(crate) struct Plan {
    /// One host alone
    #[arg(long)]
    local: bool,
    /// Edges, all on the first host
    #[arg(long, default_value_t = 5_000)]
    edges: usize,
    /// Seconds between the last join and the look at the memory
    #[arg(long, default_value_t = 10.0)]
    settle: f64,
}

#[derive(Debug, Default)]
struct Quiet(Losses);

impl Listener for Quiet {
    fn heard(&self, _edge: &Rc<Edge>, _message: &HostMessage<'_>, _at: u64) {}

    fn lost(&self, error: anyhow::Error) {
        self.0.add(error);
    }
}

/// Measures.
pub(crate) async fn measure(wanted: &Wanted, plan: Plan) -> Result<Report> {
    ensure!(plan.edges > 0, "at least one edge");
    let hosts = Hosts::get(wanted, hosts_count(plan.local)).await?;
    let (near, _) = hosts.ends()?;
    let rss = |pids: &[u32]| pids.iter().map(|pid| rss_bytes(*pid)).collect::<Result<Vec<u64>>>();
    let quiet = Rc::new(Quiet::default());
    let listener: Rc<dyn Listener> = quiet.clone();

    let before = rss(&hosts.pids)?;
    let start = Snapshot::take(&hosts.pids)?;
    let seats =
        (0..plan.edges).map(|index| Seat { index, host: near, topic: Some(format!("bench-idle-{}", index / 2)) });
    let edges = open(seats, Acks::Along, &listener).await?;
    let joined = Snapshot::take(&hosts.pids)?;
    tokio::time::sleep(Duration::from_secs_f64(plan.settle)).await;
    let settled = Snapshot::take(&hosts.pids)?;
    let after = rss(&hosts.pids)?;
    quiet.0.check()?;
    ensure!(edges.len() == plan.edges, "{} edges", edges.len());

    let count = plan.edges as f64;
    let (joining, idling) = (start.until(&joined), joined.until(&settled));
    let per_edge: Vec<f64> =
        after.iter().zip(&before).map(|(after, before)| (*after as f64 - *before as f64) / count / 1024.0).collect();
    let (rate, cpu) = (count / joining.seconds, joining.hosts * 1e6 / count);
    let idle_cpu = idling.hosts * 1e6 / count / idling.seconds;
    let words = format!(
        "idle: {} host(s), {} edges: resident {:.1?} MiB before, {:.1?} after: {per_edge:.2?} KiB an edge; {rate:.0} joins/s, \
         {cpu:.0} µs of CPU a join (all hosts); idle {idle_cpu:.2} µs a second and edge",
        hosts.pids.len(),
        plan.edges,
        mebibytes(&before),
        mebibytes(&after)
    );
    let json = json!({
        "scenario": "idle", "hosts": hosts.pids.len(), "edges": plan.edges,
        "rss_before_bytes": before, "rss_after_bytes": after, "rss_kib_per_edge": per_edge,
        "joins_per_second": rate, "cpu_us_per_join": cpu, "idle_us_per_edge_second": idle_cpu,
        "joining": joining.json(), "idling": idling.json(),
    });
    Ok(Report { json, words })
}
