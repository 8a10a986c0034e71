//! What strangers would have hosts send to others: a poisoned DHT, and a host that aims dials at a victim.

use std::net::Ipv4Addr;
use std::time::Duration;

use aldis_wire::network::Network;
use anyhow::{Context, Result};
use tokio::time::sleep;

use super::Scene;
use crate::host::{Host, wait_for};
use crate::{counts, liar};

pub(super) const POISONED: &str = "
    host d
    host a
    host v
";
pub(super) const AIMED: &str = "
    host d
    host c
    host e
    host l
    host v
";
const LOOKED_UP_MAX: Duration = Duration::from_secs(30);
const POISONED_FOR: Duration = Duration::from_secs(75);
/// Three dials at once, each given up after 5 s (relay::limits).
const DIALS_MAX: usize = 3 * (75 / 5 + 1);
/// One a minute to each address.
const VICTIMS_DIALS_MAX: usize = 2;
const LINKED_MAX: Duration = Duration::from_secs(60);
const AIMED_FOR: Duration = Duration::from_secs(30);
/// Each of the two hosts dials back to one address at most each 10 s (relay::limits).
const DIAL_BACKS_MAX: usize = 2 * (30 / 10 + 1);
/// What one dial to somebody who does not answer sends in its 5 s: the first packet, and two for each probe time-out.
const PACKETS_PER_DIAL_MAX: u64 = 8;

pub(super) async fn poison(scene: &mut Scene<'_>) -> Result<()> {
    let lab = scene.lab;
    let (own, victim) = (lab.address("d").await?, lab.address("v").await?);
    let (dht, ready) = lab.script("d", "poison.py", &[&own, &victim]).await?;
    (scene.dht, scene.place.dht) = (Some(dht), ready.nodes);
    counts::count_sent(lab, "a", &victim, &own).await?;
    let host = Host::start(lab, &scene.place, "a", &[]).await?;
    let looked_up = wait_for(LOOKED_UP_MAX, async || host.log().contains("registration=false")).await;
    looked_up.context("the host does not look anything up")?;
    sleep(POISONED_FOR).await;
    let (sent, status) = (counts::sent(lab, "a").await?, host.status().await?);
    let (nobody, none) = (sent.to_nobody.join(", "), sent.to_nobody.is_empty());
    scene.demand("private, loopback and other useless places that it sent to", nobody, "none", none);
    let (places, most) = (sent.places, format!("1 to {DIALS_MAX}"));
    scene.demand("places dialled in 75 s", places.to_string(), &most, (1..=DIALS_MAX).contains(&places));
    let (dials, most) = (sent.victims_places, format!("at most {VICTIMS_DIALS_MAX}"));
    scene.demand("of them the victim's", dials.to_string(), &most, dials <= VICTIMS_DIALS_MAX);
    scene.figure("packets to the victim", sent.to_victim.to_string(), "a few for each", true);
    scene.figure("addresses remembered", status.discovery.hints.to_string(), "bounded", true);
    Ok(())
}

pub(super) async fn aim(scene: &mut Scene<'_>) -> Result<()> {
    let lab = scene.lab;
    scene.begin(&["c", "e"]).await?;
    wait_for(LINKED_MAX, async || scene.linked(0, 1).await).await.context("the two public hosts are not linked")?;
    let victim: Ipv4Addr = lab.address("v").await?.parse()?;
    counts::count_came(lab, "v").await?;
    let network = Network::new(&aldis::genesis::read(&scene.place.directory.join("genesis.toml"))?);
    let [one, other] = [scene.host(0)?.id, scene.host(1)?.id];
    let mut liars = Vec::new();
    for (node, at, other) in [("c", one, other), ("e", other, one)] {
        let at = (at, lab.address(node).await?.parse()?);
        liars.push(lab.at("l")?.spawn(liar::aim(network.clone(), at, other, victim, AIMED_FOR)));
    }
    let mut said = 0;
    for liar in liars {
        said += liar.await??;
    }
    let came = counts::came(lab, "v").await?;
    scene.figure("frames that the liar sent", said.to_string(), "some thousand", said > 1_000);
    let most = format!("at most {DIAL_BACKS_MAX}");
    scene.demand("dials to the victim", came.flows.to_string(), &most, came.flows <= DIAL_BACKS_MAX);
    let packets_max = DIAL_BACKS_MAX as u64 * PACKETS_PER_DIAL_MAX;
    let most = format!("at most {packets_max}");
    scene.demand("packets to the victim", came.packets.to_string(), &most, came.packets <= packets_max);
    let linked = scene.linked(0, 1).await;
    scene.demand("the two public hosts are linked still", if linked { "yes" } else { "no" }, "yes", linked);
    Ok(())
}
