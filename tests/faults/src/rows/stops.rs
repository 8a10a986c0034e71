//! Hosts that end, well or badly, and come back.

use std::time::Duration;

use anyhow::Result;
use rustix::process::Signal;
use tokio::time::sleep;

use super::{Run, VICTIM};

/// A host that is silent for so long is dead.
const DETECTION: Duration = Duration::from_secs(10);

pub(super) async fn kill(run: &mut Run) -> Result<()> {
    let killed = run.fault(&[VICTIM], DETECTION);
    run.hosts[VICTIM].kill().await?;
    sleep(DETECTION + Duration::from_secs(3)).await;
    run.agreed("its edges are gone everywhere", killed, DETECTION);
    run.rehomed(killed);
    Ok(())
}

pub(super) async fn terminate(run: &mut Run) -> Result<()> {
    let told = run.fault(&[VICTIM], Duration::from_secs(1));
    run.hosts[VICTIM].tell(Signal::TERM)?;
    let status = run.hosts[VICTIM].ended().await?;
    let took = run.now() - told;
    run.time("until the process ended", Some(took), Duration::from_secs(5));
    run.figure("its exit code", format!("{:?}", status.code()), "Some(0)", status.success());
    sleep(Duration::from_secs(5)).await;
    run.agreed("its edges are gone everywhere", told, Duration::from_secs(1));
    run.rehomed(told);
    Ok(())
}

pub(super) async fn restart(run: &mut Run) -> Result<()> {
    let killed = run.fault(&[VICTIM], DETECTION);
    run.hosts[VICTIM].kill().await?;
    run.hosts[VICTIM].begin().await?;
    let up = run.now();
    sleep(DETECTION + Duration::from_secs(3)).await;
    let agreed = run.load.shared.history().agreed_after(killed, run.now());
    let since_up = agreed.map(|agreed| agreed.saturating_sub(up - killed));
    run.time("its former edges are gone, since it answers", since_up, Duration::from_secs(2));
    run.rehomed(killed);
    let epoch = run.hosts[VICTIM].status().await?;
    run.figure("its links", epoch.links.len().to_string(), "4", epoch.links.len() == 4);
    Ok(())
}

pub(super) async fn freeze(run: &mut Run, seconds: u64) -> Result<()> {
    let (frozen, thaw) = (Duration::from_secs(seconds), Duration::from_secs(5));
    let stopped = run.fault(&[VICTIM], frozen + thaw);
    run.hosts[VICTIM].tell(Signal::STOP)?;
    sleep(frozen).await;
    run.hosts[VICTIM].tell(Signal::CONT)?;
    let again = run.now();
    sleep(thaw * 2).await;
    run.agreed("all views agree again, since it goes on", again, thaw);
    run.sockets_kept(stopped);
    let links = run.hosts[VICTIM].status().await?.links.len();
    run.figure("its links", links.to_string(), "4", links == 4);
    Ok(())
}
