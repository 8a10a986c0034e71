//! A router that opens a port when it is asked: no hole can be punched here, and none needs to be.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::Signal;
use tokio::time::sleep;

use super::Scene;
use crate::host::wait_for;

/// Two public hosts, so that one that `a` never spoke to can try the port, and two NATs that no punch gets through.
pub(super) const TOPOLOGY: &str = "
    host d
    host c delay=12.5
    host e delay=12.5
    nat na type=symmetric upnp=on delay=12.5
    host a via=na
    nat nb type=symmetric delay=12.5
    host b via=nb
";
/// Two hosts in one home, whose router opens ports; two public hosts that try them; and one that comes later.
pub(super) const SHARED: &str = "
    host d
    host c delay=12.5
    host e delay=12.5
    host f delay=12.5
    nat na type=symmetric upnp=on delay=12.5
    host a via=na
    host b via=na
";
const SIGNALS_PER_SECOND: u32 = 20;
const AFTER: Duration = Duration::from_secs(3);
const DIRECT_MAX: Duration = Duration::from_secs(60);
/// A neighbour tries two ports of one address at once and then one a minute, and those that a router gave before it was
/// asked come first.
const VERIFIED_HOPED: Duration = Duration::from_secs(90);
const VERIFIED_MAX: Duration = Duration::from_secs(150);
/// The router is asked again each minute.
const MAPPED_AGAIN_MAX: Duration = Duration::from_secs(120);

pub(super) async fn play(scene: &mut Scene<'_>) -> Result<()> {
    scene.begin(&["c", "e", "a", "b"]).await?;
    scene.load(&[2, 3], SIGNALS_PER_SECOND).await?;
    let mapped = wait_for(DIRECT_MAX, async || scene.host(2).is_ok_and(|host| outside(&host.log()).is_some())).await;
    scene.time("until the router lets others in", mapped, Duration::from_secs(2));
    let linked = wait_for(DIRECT_MAX, async || scene.linked(2, 3).await).await;
    scene.time("until the two are linked, through the mapped port", linked, Duration::from_secs(10));

    let address = scene.lab.change("reboot", &["na", "--ip", "auto"]).await?;
    let again = wait_for(MAPPED_AGAIN_MAX, async || {
        scene.host(2).is_ok_and(|host| outside(&host.log()).is_some_and(|outside| outside.starts_with(&address)))
    });
    let again = again.await;
    scene.time("until the port is mapped at the router's new address", again, Duration::from_secs(10));
    let linked = wait_for(MAPPED_AGAIN_MAX, async || {
        let (Ok(one), Ok(other)) = (scene.host(2), scene.host(3)) else { return false };
        let sees = other.link(one).await.is_some_and(|link| link.address.ip().to_string() == address);
        sees && one.link(other).await.is_some()
    });
    let linked = linked.await;
    scene.time("until the two are linked there", linked, Duration::from_secs(10));

    scene.pause().await?;
    scene.host(2)?.tell(Signal::TERM)?;
    let gone = wait_for(Duration::from_secs(10), async || {
        scene.host(2).is_ok_and(|host| host.log().contains("the router lets nobody in any more"))
    });
    gone.await.context("the port stays open when the host has ended")?;
    Ok(())
}

/// Both have the same port inside, and the router has it once outside.
pub(super) async fn shared(scene: &mut Scene<'_>) -> Result<()> {
    scene.begin(&["c", "e", "a", "b"]).await?;
    scene.load(&[0, 2, 3], SIGNALS_PER_SECOND).await?;
    let open = wait_for(VERIFIED_MAX, async || open_at(scene, 2).await.is_some() && open_at(scene, 3).await.is_some());
    let open = open.await;
    scene.time("until the records of both say where anybody may dial", open, VERIFIED_HOPED);
    let (Some(one), Some(other)) = (open_at(scene, 2).await, open_at(scene, 3).await) else { return Ok(()) };
    let router = scene.lab.address("na").await?;
    let apart = one.port() != other.port() && [one, other].iter().all(|at| at.ip().to_string() == router);
    scene.demand("ports of the router", format!("{one} and {other}"), "two of one address", apart);

    let peers = [format!("{}@{one}", scene.host(2)?.id), format!("{}@{other}", scene.host(3)?.id)];
    scene.add("f", &["--dht", "false", "--peers", &peers[0], "--peers", &peers[1]]).await?;
    let dialled = async |number: usize, at: SocketAddr| {
        let (Ok(stranger), Ok(host)) = (scene.host(4), scene.host(number)) else { return false };
        stranger.link(host).await.is_some_and(|link| link.kind == "dialled" && link.address == at)
    };
    let linked = wait_for(DIRECT_MAX, async || dialled(2, one).await && dialled(3, other).await).await;
    scene.time("until a stranger has dialled both there", linked, Duration::from_secs(5));
    sleep(AFTER).await;
    Ok(())
}

/// Where anybody may dial a host that has asked its router for a port, as its record says.
async fn open_at(scene: &Scene<'_>, number: usize) -> Option<SocketAddr> {
    let reach = scene.host(number).ok()?.status().await.ok()?.reach;
    let mapped = reach.mapped.first()?.outside;
    reach.addresses.contains(&mapped).then_some(mapped)
}

/// Where the router lets others in, by the host's newest word.
fn outside(log: &str) -> Option<&str> {
    log.lines().rev().find(|line| line.contains("lets other hosts in"))?.split("outside=").nth(1)?.split(' ').next()
}
