//! A router that lets in whom it is asked to: nobody could punch through it, and yet its host is a public one.

use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::Signal;
use tokio::time::sleep;

use super::Scene;
use crate::host::wait_for;

pub(super) const TOPOLOGY: &str = "
    host d
    host c delay=12.5
    host e delay=12.5
    nat na type=symmetric upnp=on delay=12.5
    host a via=na
    nat nb type=symmetric delay=12.5
    host b via=nb
";
/// The hosts by number, as they are started.
const MAPPED: usize = 2;
const OTHER: usize = 3;
const SIGNALS_PER_SECOND: u32 = 20;
const LINKED_MAX: Duration = Duration::from_secs(60);
/// A port is asked for again each minute at the latest, and then somebody must try it.
const RENEWED_MAX: Duration = Duration::from_secs(90);
const AFTER: Duration = Duration::from_secs(3);
const TAKEN_BACK_MAX: Duration = Duration::from_secs(5);

pub(super) async fn play(scene: &mut Scene<'_>) -> Result<()> {
    scene.begin(&["c", "e", "a", "b"]).await?;
    scene.load(&[MAPPED, OTHER], SIGNALS_PER_SECOND).await?;
    let linked = wait_for(LINKED_MAX, async || scene.linked(MAPPED, OTHER).await).await;
    scene.time("until the two are linked, which no punch could do", linked, Duration::from_secs(5));
    let address = scene.lab.change("addr", &["a", "--public"]).await?;
    let listed = is_listed(scene, &address).await;
    scene.demand("in the record of the one: its router's address", format!("{listed}"), "true", listed);
    sleep(AFTER).await;

    let address = scene.lab.change("reboot", &["na", "--ip", "auto"]).await?;
    let renewed = wait_for(RENEWED_MAX, async || is_listed(scene, &address).await).await;
    scene.time("until its router's new address is verified, and in its record", renewed, Duration::from_secs(10));
    let linked = wait_for(LINKED_MAX, async || scene.linked(MAPPED, OTHER).await).await;
    scene.time("and from then on until the two are linked", linked, Duration::from_secs(10));
    sleep(AFTER).await;
    scene.pause().await?;

    let there = rules(scene).await?;
    scene.host(MAPPED)?.tell(Signal::TERM)?;
    let gone = wait_for(TAKEN_BACK_MAX, async || rules(scene).await.is_ok_and(|rules| rules == 0)).await;
    scene.demand("ports open while it runs", there.to_string(), "1", there == 1);
    scene.time("until none is, from its SIGTERM on", gone, Duration::from_secs(1));
    Ok(())
}

/// Whether the other host shows this address in the record of the one.
async fn is_listed(scene: &Scene<'_>, address: &str) -> bool {
    let (Ok(mapped), Ok(other)) = (scene.host(MAPPED), scene.host(OTHER)) else { return false };
    let Ok(status) = other.status().await else { return false };
    let recorded = status.hosts.iter().find(|host| host.host == mapped.id);
    recorded.is_some_and(|host| host.addresses.iter().any(|listed| listed.ip().to_string() == address))
}

/// How many ports the router lets through to the host.
async fn rules(scene: &Scene<'_>) -> Result<usize> {
    let table = scene.lab.run_at("na", &["nft", "list", "table", "inet", "miniupnpd"], "").await;
    Ok(table.context("the router has no miniupnpd")?.matches("dnat ip to").count())
}
