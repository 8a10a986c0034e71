//! How hosts find each other when that is hard, and hosts that are replaced one after another.

use std::time::Duration;

use anyhow::Result;
use rustix::process::Signal;
use tokio::time::sleep;

use super::{Run, VICTIM};
use crate::history::Time;
use crate::host::{Host, How, Place, linked};
use crate::load::HOSTS;
use crate::network::{self, DHT, NEWCOMER};

pub(super) async fn dht_down(run: &mut Run) -> Result<()> {
    let others: Vec<_> = (0..=NEWCOMER).collect();
    let begun = run.fault(&[], Duration::ZERO);
    network::part(&others, &[DHT]).await?;
    sleep(Duration::from_secs(10)).await;
    run.sockets_kept(begun);
    run.links_kept();
    run.delivered("delivered", Time::ZERO, 100.0);
    // A host that knew the others, ended well and ended badly, and one that is new and told of one.
    for signal in [Signal::TERM, Signal::KILL] {
        run.also(VICTIM, Duration::from_secs(12));
        run.hosts[VICTIM].tell(signal)?;
        run.hosts[VICTIM].ended().await?;
        run.hosts[VICTIM].begin().await?;
        let took = linked(&run.hosts[VICTIM..], HOSTS - 1, Duration::from_secs(60)).await.ok();
        let name = if signal == Signal::TERM { "linked from its cache" } else { "the same after kill -9" };
        run.time(name, took, Duration::from_secs(10));
    }
    let options = ["--peers".to_owned(), network::quic(0).to_string()].to_vec();
    let newcomer = Host::start(&run.place, NEWCOMER, How { options, ..How::default() }).await?;
    let took = linked(std::slice::from_ref(&newcomer), HOSTS, Duration::from_secs(60)).await.ok();
    run.time("a new host that is told of one is linked with all", took, Duration::from_secs(10));
    sleep(Duration::from_secs(5)).await;
    Ok(())
}

/// Hosts 3 and 4 send what this version does not know.
pub(super) fn mixed_versions(_: &Place, number: usize) -> Result<How> {
    Ok(How { newer: number >= 3, ..How::default() })
}

pub(super) async fn mixed(run: &mut Run) -> Result<()> {
    let begun = run.fault(&[], Duration::ZERO);
    sleep(Duration::from_secs(10)).await;
    run.sockets_kept(begun);
    run.links_kept();
    run.delivered("delivered", Time::ZERO, 100.0);
    // A host of this version catches up with those of the later one.
    run.also(VICTIM - 2, Duration::from_secs(10));
    run.hosts[VICTIM - 2].kill().await?;
    run.hosts[VICTIM - 2].begin().await?;
    let took = linked(&run.hosts, HOSTS - 1, Duration::from_secs(20)).await.ok();
    run.time("a host of this version restarts, until linked", took, Duration::from_secs(10));
    sleep(Duration::from_secs(10)).await;
    Ok(())
}

pub(super) async fn rolling(run: &mut Run) -> Result<()> {
    let begun = run.fault(&[0, 1, 2, 3, 4], Duration::from_secs(60));
    for number in 0..HOSTS {
        run.hosts[number].tell(Signal::TERM)?;
        run.hosts[number].ended().await?;
        run.hosts[number].how.newer = true;
        run.hosts[number].begin().await?;
        linked(&run.hosts, HOSTS - 1, Duration::from_secs(20)).await?;
    }
    let took = run.now() - begun;
    sleep(Duration::from_secs(3)).await;
    run.time("all five hosts are new", Some(took), Duration::from_secs(60));
    run.rehomed(begun);
    let reconnects = {
        let history = run.load.shared.history();
        let mut count = [0_usize; 512];
        for (edge, ..) in &history.outages {
            if let Some(count) = count.get_mut(*edge) {
                *count += 1;
            }
        }
        (count.iter().sum::<usize>(), count.into_iter().max().unwrap_or(0))
    };
    #[allow(clippy::cast_precision_loss, reason = "some hundred edges")]
    let mean = reconnects.0 as f64 / 250.0;
    run.figure("reconnects of an edge", format!("{mean:.2}, at most {}", reconnects.1), "at most 1", reconnects.1 <= 1);
    Ok(())
}
