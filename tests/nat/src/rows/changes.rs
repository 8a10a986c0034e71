//! Routers that reboot, addresses that change, and a host that sleeps: links survive or are made again at once.

use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::Signal;
use tokio::time::sleep;

use super::Scene;
use crate::host::wait_for;

const SIGNALS_PER_SECOND: u32 = 20;
const DIRECT_MAX: Duration = Duration::from_secs(30);
/// Everything is mended within this, or never.
const MENDED_MAX: Duration = Duration::from_secs(60);
/// Without waiting for any time-out: an answer that is missed, an introduction, a handshake.
const AT_ONCE: Duration = Duration::from_secs(5);
/// A silent link is given up after 7 s (PROTOCOL.md §5).
const IDLE: Duration = Duration::from_secs(7);
/// Links are young then: less old than two connections need to be told apart by their age (relay::limits::CROSSED_WITHIN), and
/// old enough to be given up when a neighbour sees the host move (relay::limits::STRANDED_AFTER).
const SETTLED: Duration = Duration::from_secs(6);
/// Signals are watched for so long after a change.
const AFTER: Duration = Duration::from_secs(5);

/// A public host and two behind NATs that have found a link of their own; the load runs.
async fn two(scene: &mut Scene<'_>) -> Result<()> {
    scene.begin(&["c", "a", "b"]).await?;
    scene.load(&[1, 2], SIGNALS_PER_SECOND).await?;
    let linked = wait_for(DIRECT_MAX, async || scene.linked(1, 2).await).await;
    linked.context("the two have no link of their own")?;
    sleep(SETTLED).await;
    Ok(())
}

/// The host, by number, that is the dialler or acceptor of the link between the two.
async fn who(scene: &Scene<'_>, role: &str) -> Result<usize> {
    let link = scene.host(1)?.link(scene.host(2)?).await.context("the link is gone")?;
    Ok(if link.role == role { 1 } else { 2 })
}

pub(super) async fn address(scene: &mut Scene<'_>, role: &str) -> Result<()> {
    two(scene).await?;
    let changed = who(scene, role).await?;
    let other = 3 - changed;
    let router = if changed == 1 { "na" } else { "nb" };
    let begun = scene.now();
    let address = scene.lab.change("reboot", &[router, "--ip", "auto"]).await?;
    // The other one sees it at its new address.
    let mended = wait_for(MENDED_MAX, async || {
        let (Ok(host), Ok(other)) = (scene.host(changed), scene.host(other)) else { return false };
        let sees = other.link(host).await.is_some_and(|link| link.address.ip().to_string() == address);
        sees && host.link(other).await.is_some()
    });
    let mended = mended.await;
    scene.time("until they are linked at the new address", mended, AT_ONCE);
    settle(scene, begun, AT_ONCE).await
}

pub(super) async fn reboot(scene: &mut Scene<'_>) -> Result<()> {
    two(scene).await?;
    let begun = scene.now();
    scene.lab.change("reboot", &["na"]).await?;
    settle(scene, begun, AT_ONCE).await?;
    linked_again(scene, Duration::ZERO).await
}

pub(super) async fn outage(scene: &mut Scene<'_>) -> Result<()> {
    two(scene).await?;
    scene.lab.change("cut", &["na"]).await?;
    sleep(Duration::from_secs(30)).await;
    let healed = scene.now();
    scene.lab.change("heal", &[]).await?;
    linked_again(scene, Duration::from_secs(10)).await?;
    settle(scene, healed, Duration::from_secs(10)).await
}

pub(super) async fn sleeper(scene: &mut Scene<'_>) -> Result<()> {
    two(scene).await?;
    scene.host(1)?.tell(Signal::STOP)?;
    sleep(Duration::from_secs(60)).await;
    scene.host(1)?.tell(Signal::CONT)?;
    let awake = scene.now();
    linked_again(scene, Duration::from_secs(10)).await?;
    settle(scene, awake, Duration::from_secs(10)).await
}

async fn linked_again(scene: &mut Scene<'_>, most: Duration) -> Result<()> {
    let public = wait_for(MENDED_MAX, async || scene.linked(0, 1).await).await;
    scene.time("until it is linked with the public host", public, most.max(IDLE));
    let direct = wait_for(MENDED_MAX, async || scene.linked(1, 2).await).await;
    scene.time("and from then on with the other one", direct, most.max(IDLE));
    Ok(())
}

/// Lets signals flow for a while and says when the last one failed.
async fn settle(scene: &mut Scene<'_>, begun: Duration, most: Duration) -> Result<()> {
    sleep(AFTER).await;
    scene.pause().await?;
    let last = scene.undelivered_after(begun);
    scene.figure("last signal that was not delivered", format!("{last:.1?}"), &format!("{most:?} after"), last <= most);
    Ok(())
}
