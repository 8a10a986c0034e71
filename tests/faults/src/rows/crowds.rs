//! Edges that are too slow, or too many at once.

use std::time::Duration;

use aldis::client::{Client, Options};
use aldis_wire::edge::Status;
use anyhow::Result;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use super::{CALM, Run, VICTIM};
use crate::load::{HOSTS, url};

/// Ten times the edges of a host.
const STORM: usize = 500;
/// Sockets of an address that are being opened at once; a host refuses more than 64.
const OPENING_MAX: usize = 40;

/// An edge that reads nothing gets more than its queue holds.
pub(super) async fn slow_edge(run: &mut Run) -> Result<()> {
    let begun = run.fault(&[], Duration::ZERO);
    // Its client stops reading when nobody takes its events.
    let (slow, _untaken) = Client::connect(Options::at(&url(VICTIM))).await?;
    let (from, _events) = Client::connect(Options::at(&url(0))).await?;
    let data = serde_json::Value::from("x".repeat(4_096)).to_string();
    let (mut receipts, mut tick) = (JoinSet::new(), interval(Duration::from_millis(10)));
    tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
    for _ in 0..2_500 {
        tick.tick().await;
        let posted = from.post(slow.who().peer, None, &data).await;
        receipts.spawn(async move {
            let sent = Instant::now();
            let receipt = match posted {
                Ok(posted) => posted.receipt().await,
                Err(error) => Err(error),
            };
            (receipt, sent.elapsed())
        });
    }
    let receipts = receipts.join_all().await;
    let slowest = receipts.iter().map(|(_, took)| *took).max();
    let (mut delivered, mut refused, mut unknown) = (0, 0, 0);
    for (receipt, _) in &receipts {
        match receipt {
            Ok(receipt) if receipt.status == Status::Delivered => delivered += 1,
            Ok(receipt) if receipt.status == Status::Unknown => unknown += 1,
            Ok(_) | Err(_) => refused += 1,
        }
    }
    let text = format!("{delivered} delivered, {refused} refused, {unknown} unknown");
    run.figure("2,500 signals to it", text, "some refused", refused > 0);
    run.time("slowest receipt of them", slowest, super::RECEIPT);
    run.sockets_kept(begun);
    run.links_kept();
    run.delivered("delivered to others", begun, 100.0);
    Ok(())
}

/// Ten times as many edges lose their host in one moment.
pub(super) async fn storm(run: &mut Run) -> Result<()> {
    let mut connecting = JoinSet::new();
    let mut edges = Vec::new();
    for _ in 0..STORM {
        if connecting.len() >= OPENING_MAX {
            edges.extend(connecting.join_next().await);
        }
        connecting.spawn(async { Client::connect(Options::at(&url(VICTIM))).await });
    }
    edges.extend(connecting.join_all().await.into_iter().map(Ok));
    let edges = edges.into_iter().map(|edge| Ok(edge??)).collect::<Result<Vec<_>>>()?;
    sleep(CALM).await;
    run.fault(&[VICTIM], Duration::from_secs(11));
    let killed = Instant::now();
    run.hosts[VICTIM].kill().await?;
    let mut back = JoinSet::new();
    for (client, mut events) in edges {
        back.spawn(async move {
            let home = url(VICTIM);
            let again = async {
                while client.who().url == home && events.next().await.is_some() {}
                client.who().url != home
            };
            let came = timeout(Duration::from_secs(60), again).await == Ok(true);
            // Held until all are back.
            (came.then(|| killed.elapsed()), client, events)
        });
    }
    let back = back.join_all().await;
    let times: Vec<_> = back.iter().filter_map(|(time, ..)| *time).collect();
    let (count, last) = (times.len(), times.into_iter().max());
    run.figure("edges of the storm that are back", count.to_string(), "500", count == STORM);
    run.time("the last is back", last, Duration::from_secs(30));
    let mut homes = Vec::new();
    for host in &run.hosts[..HOSTS - 1] {
        homes.push(host.status().await?.edges.to_string());
    }
    run.figure("edges at the other four hosts", homes.join(" "), "spread", true);
    sleep(Duration::from_secs(10)).await;
    drop(back);
    Ok(())
}
