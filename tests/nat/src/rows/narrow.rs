//! Hosts that have less than others: no UDP, or nobody public to meet.

use std::time::Duration;

use anyhow::Result;
use tokio::time::sleep;

use super::Scene;
use crate::host::wait_for;

pub(super) const BLOCKED: &str = "
    host d
    host c delay=12.5
    nat na type=port-restricted udp=block delay=12.5
    host a via=na
";
pub(super) const ALONE: &str = "
    host d
    nat na type=port-restricted delay=12.5
    host a via=na
    nat nb type=restricted delay=12.5
    host b via=nb
";
const SIGNALS_PER_SECOND: u32 = 20;
const LINKED_MAX: Duration = Duration::from_secs(60);
const AFTER: Duration = Duration::from_secs(3);
const APART: Duration = Duration::from_secs(45);
/// Both must have asked the DHT after the other was there, and then dial at a full half minute.
const ALONE_MAX: Duration = Duration::from_secs(150);
/// A host without a link asks the DHT each 30 s at the latest.
const ASKS_AGAIN: Duration = Duration::from_secs(40);

pub(super) async fn udp_blocked(scene: &mut Scene<'_>) -> Result<()> {
    scene.begin(&["c", "a"]).await?;
    sleep(Duration::from_secs(20)).await;
    let status = scene.host(1)?.status().await?;
    let said = status.discovery.dht_problem.unwrap_or_default();
    scene.demand("its status", said.clone(), "a word about UDP", said.contains("UDP"));
    let serves = status.takes_edges && status.links.is_empty();
    scene.demand("it takes edges, and has no link", format!("{serves}"), "true", serves);
    let verdict = scene.host(1)?.doctor(scene.lab, &[]).await?;
    std::fs::write(scene.place.directory.join("doctor.txt"), &verdict)?;
    let line = verdict.lines().find(|line| line.contains("UDP is blocked")).unwrap_or_default().trim().to_owned();
    let clear = !line.is_empty();
    scene.demand("the doctor", line, "UDP is blocked", clear);
    let rule = "insert rule inet natlab forward iifname \"lan0\" oifname \"wan\" meta l4proto udp accept";
    scene.lab.run_at("na", &["nft", rule], "").await?;
    let linked = wait_for(LINKED_MAX, async || scene.linked(0, 1).await).await;
    scene.time("until it is linked once UDP passes", linked, ASKS_AGAIN);
    scene.load(&[0, 1], SIGNALS_PER_SECOND).await?;
    sleep(AFTER).await;
    Ok(())
}

pub(super) async fn no_public(scene: &mut Scene<'_>) -> Result<()> {
    scene.dht().await?;
    let share = ["--dht-share-port", "true"];
    scene.add("a", &share).await?;
    // By then the first has long stopped to look the others up again and again.
    sleep(APART).await;
    scene.add("b", &share).await?;
    let linked = wait_for(ALONE_MAX, async || scene.linked(0, 1).await).await;
    scene.time("until they are linked", linked, Duration::from_secs(90));
    scene.load(&[0, 1], SIGNALS_PER_SECOND).await?;
    sleep(AFTER).await;
    Ok(())
}
