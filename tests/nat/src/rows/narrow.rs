//! Hosts that have less than others: no IPv4, or no UDP.

use std::time::Duration;

use anyhow::Result;
use tokio::time::sleep;

use super::Scene;
use crate::host::wait_for;

pub(super) const IPV6: &str = "
    ipv6
    host d
    host c delay=12.5
    nat na delay=12.5
    host a via=na
    nat nb delay=12.5
    host b via=nb
";
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
/// Both must have asked the DHT after the other was there, and then dial at a full half minute.
const ALONE_MAX: Duration = Duration::from_secs(150);
/// A host without a link asks the DHT each 30 s at the latest.
const ASKS_AGAIN: Duration = Duration::from_secs(40);

pub(super) async fn ipv6_only(scene: &mut Scene<'_>) -> Result<()> {
    scene.begin(&["c"]).await?;
    let public = format!("[{}]:47474", scene.lab.change("addr", &["c", "--v6"]).await?);
    for node in ["a", "b"] {
        scene.lab.run_at(node, &["ip", "-4", "addr", "flush", "dev", "eth0"], "").await?;
        scene.add(node, &["--dht", "false", "--peers", &public]).await?;
    }
    scene.load(&[1, 2], SIGNALS_PER_SECOND).await?;
    let linked = wait_for(LINKED_MAX, async || scene.linked(1, 2).await).await;
    scene.time("until the two are linked, from their first signal on", linked, Duration::from_secs(5));
    if let Some(link) = scene.host(1)?.link(scene.host(2)?).await {
        scene.demand("by an address of", link.address.to_string(), "IPv6", link.address.is_ipv6());
    }
    sleep(AFTER).await;
    scene.pause().await?;
    let (delivered, sent) = scene.delivered(Duration::ZERO, scene.now());
    scene.demand("delivered", format!("{delivered} of {sent}"), "all", delivered == sent);
    Ok(())
}

pub(super) async fn udp_blocked(scene: &mut Scene<'_>) -> Result<()> {
    scene.begin(&["c", "a"]).await?;
    sleep(Duration::from_secs(20)).await;
    let status = scene.host(1)?.status().await?;
    let said = status.discovery.dht_problem.unwrap_or_default();
    scene.demand("its status", said.clone(), "a word about UDP", said.contains("UDP"));
    let serves = status.takes_edges && status.links.is_empty();
    scene.demand("it takes edges, and has no link", format!("{serves}"), "true", serves);
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
    for node in ["a", "b"] {
        scene.add(node, &["--dht-share-port", "true"]).await?;
    }
    let linked = wait_for(ALONE_MAX, async || scene.linked(0, 1).await).await;
    scene.time("until they are linked", linked, Duration::from_secs(90));
    scene.load(&[0, 1], SIGNALS_PER_SECOND).await?;
    sleep(AFTER).await;
    Ok(())
}
