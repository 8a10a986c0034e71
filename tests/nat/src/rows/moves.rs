//! A machine that goes somewhere else: another uplink takes over, or its provider changes its IPv6 prefix.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::sleep;

use super::Scene;
use crate::host::{LINKS_PORT, wait_for};

/// A host with two uplinks, behind routers of its own each; the other end, and a public host.
pub(super) const UPLINKS: &str = "
    host d
    host c delay=12.5
    nat na type=port-restricted delay=12.5
    nat nc type=port-restricted delay=12.5 lan=192.168.2.0
    host a via=na second=nc
    nat nb type=port-restricted delay=12.5
    host b via=nb
";

const SIGNALS_PER_SECOND: u32 = 20;
const DIRECT_MAX: Duration = Duration::from_secs(30);
/// Links are made again within this, or never.
const MENDED_MAX: Duration = Duration::from_secs(40);
/// Without waiting for any time-out.
const AT_ONCE: Duration = Duration::from_secs(5);
/// From one change to the next: less than two connections need to be told apart by their age.
const BETWEEN: Duration = Duration::from_secs(6);

const PUBLIC: usize = 0;
const MOVER: usize = 1;
const OTHER: usize = 2;

pub(super) async fn uplink(scene: &mut Scene<'_>) -> Result<()> {
    scene.begin(&["c", "a", "b"]).await?;
    begun(scene).await?;
    let [first, second] = [public(scene, "na").await?, public(scene, "nc").await?];
    for (to, at, names) in [
        (
            "down",
            second,
            ["by the other uplink: linked with the public host", "linked with the other one", "last signal unknown"],
        ),
        ("up", first, ["by the first one again: linked with the public host", "with the other one", "last unknown"]),
    ] {
        let changed = scene.now();
        scene.lab.change("uplink", &["a", to]).await?;
        moved(scene, at, changed, names).await?;
    }
    ended(scene).await
}

pub(super) async fn prefix(scene: &mut Scene<'_>) -> Result<()> {
    scene.begin(&["c"]).await?;
    let address = format!("[{}]:{LINKS_PORT}", scene.lab.change("addr", &["c", "--v6"]).await?);
    for node in ["a", "b"] {
        scene.lab.run_at(node, &["ip", "-4", "addr", "flush", "dev", "eth0"], "").await?;
        scene.add(node, &["--dht", "false", "--peers", &address]).await?;
    }
    begun(scene).await?;
    for (keep, names) in [
        (
            None,
            ["with another prefix: linked with the public host", "linked with the other one", "last signal unknown"],
        ),
        (
            Some("--keep"),
            ["and another, the old one deprecated: with the public host", "with the other one", "last unknown"],
        ),
    ] {
        let old = inside(scene).await?;
        let changed = scene.now();
        let words: Vec<&str> = ["na"].into_iter().chain(keep).collect();
        scene.lab.change("prefix", &words).await?;
        let new = inside(scene).await?;
        moved(scene, new, changed, names).await?;
        let status = scene.host(MOVER)?.status().await?;
        let named: Vec<IpAddr> =
            status.reach.addresses.iter().chain(&status.reach.candidates).map(SocketAddr::ip).collect();
        let right = named.contains(&new) && !named.contains(&old);
        scene.demand("its record then names", format!("{named:?}"), "the new address alone", right);
    }
    ended(scene).await
}

/// The load runs, and the two have a link of their own for a while, but not for long.
async fn begun(scene: &mut Scene<'_>) -> Result<()> {
    scene.load(&[MOVER, OTHER], SIGNALS_PER_SECOND).await?;
    let linked = wait_for(DIRECT_MAX, async || scene.linked(MOVER, OTHER).await).await;
    linked.context("the two have no link of their own")?;
    sleep(BETWEEN).await;
    Ok(())
}

async fn public(scene: &Scene<'_>, node: &str) -> Result<IpAddr> {
    Ok(scene.lab.change("addr", &[node, "--public"]).await?.parse()?)
}

async fn inside(scene: &Scene<'_>) -> Result<IpAddr> {
    Ok(scene.lab.change("addr", &["a", "--v6"]).await?.parse()?)
}

/// Waits until the others see the host at its new address, lets signals flow for a while and says when the last one failed.
async fn moved(scene: &mut Scene<'_>, at: IpAddr, changed: Duration, names: [&'static str; 3]) -> Result<()> {
    let [public, other, unknown] = names;
    for (number, name) in [(PUBLIC, public), (OTHER, other)] {
        let mended = wait_for(MENDED_MAX, async || is_seen(scene, number, at).await).await;
        let time = mended.map(|_| scene.now().saturating_sub(changed));
        scene.time(name, time, AT_ONCE);
    }
    sleep(BETWEEN.saturating_sub(scene.now().saturating_sub(changed))).await;
    let last = scene.undelivered_after(changed);
    scene.figure(unknown, format!("{last:.1?} after"), &format!("{AT_ONCE:?} after"), last <= AT_ONCE);
    Ok(())
}

async fn is_seen(scene: &Scene<'_>, by: usize, at: IpAddr) -> bool {
    let (Ok(mover), Ok(by)) = (scene.host(MOVER), scene.host(by)) else { return false };
    by.link(mover).await.is_some_and(|link| link.address.ip() == at) && mover.link(by).await.is_some()
}

async fn ended(scene: &mut Scene<'_>) -> Result<()> {
    scene.pause().await?;
    let broke = scene.broke();
    scene.demand("sockets of edges that broke", broke.to_string(), "0", broke == 0);
    Ok(())
}
