//! What goes wrong on the way between hosts. Edges and their hosts are not touched.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::time::sleep;

use super::{Run, VICTIM};
use crate::history::{CALM_MAX, Signal, Time, quantile};
use crate::host::{Host, linked};
use crate::load::HOSTS;
use crate::network;
use crate::report::{p99, seconds};

const ALL: [usize; HOSTS] = [0, 1, 2, 3, 4];
/// From the end of a fault until all agree again.
const CONVERGENCE: Duration = Duration::from_secs(5);
/// An edge asks after 25 s of silence and waits for 10 s (PROTOCOL.md §4.3).
const EDGES_NOTICE: Duration = Duration::from_secs(37);
/// A host that is silent for so long is dead.
const DETECTION: Duration = Duration::from_secs(10);
/// Packets go the new way after this.
const MIGRATION: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(50);

pub(super) async fn partition(run: &mut Run) -> Result<()> {
    let cut = Duration::from_secs(15);
    run.fault(&ALL, cut + CONVERGENCE);
    network::part(&[0, 1, 2], &[3, 4]).await?;
    sleep(cut).await;
    let inside = {
        let (history, now) = (run.load.shared.history(), run.now());
        let side = |host: usize| host < 3;
        let within = |it: &&Signal| side(it.homes[0]) == side(it.homes[1]) && it.ended.is_some();
        history.between(Time::ZERO, now).filter(within).filter(|it| !it.is_delivered()).count()
    };
    run.figure("not delivered within a side", inside.to_string(), "0", inside == 0);
    healed(run).await
}

/// Ends a fault of links and waits until all agree.
async fn healed(run: &mut Run) -> Result<()> {
    network::heal().await?;
    let healed = run.now();
    sleep(CONVERGENCE * 2).await;
    run.agreed("all views agree again, since the links are back", healed, CONVERGENCE);
    let linked = linked(&run.hosts, HOSTS - 1, Duration::from_secs(30)).await;
    run.figure("all hosts are linked", if linked.is_ok() { "yes" } else { "no" }, "yes", linked.is_ok());
    run.delivered("delivered, since the views should agree", healed + CONVERGENCE, 100.0);
    Ok(())
}

pub(super) async fn one_way(run: &mut Run) -> Result<()> {
    let cut = Duration::from_secs(20);
    let begun = run.fault(&[4], cut + CONVERGENCE);
    network::rules(&network::drop_between(&[4], &[0, 1, 2, 3])).await?;
    let closed = links_gone(&run.hosts[4], begun, run, cut).await?;
    run.time("its own links are closed", closed, Duration::from_secs(10));
    sleep((begun + cut).saturating_sub(run.now())).await;
    healed(run).await
}

/// How long after `begun` a host had no link.
async fn links_gone(host: &Host, begun: Time, run: &Run, patience: Duration) -> Result<Option<Duration>> {
    while run.now() < begun + patience {
        if host.status().await?.links.is_empty() {
            return Ok(Some(run.now() - begun));
        }
        sleep(LOOK_EVERY).await;
    }
    Ok(None)
}

/// As when its machine is switched off: nobody is told.
pub(super) async fn unplug(run: &mut Run) -> Result<()> {
    let begun = run.fault(&[VICTIM], EDGES_NOTICE + CONVERGENCE * 3);
    network::unplug(VICTIM).await?;
    let gone = linked(&run.hosts[..VICTIM], HOSTS - 2, Duration::from_secs(30)).await.ok();
    run.time("its links and roster are gone everywhere", gone, Duration::from_secs(10));
    sleep((begun + EDGES_NOTICE + CONVERGENCE * 2).saturating_sub(run.now())).await;
    let noticed = run.load.shared.history().outages.iter().map(|(_, broke, _)| *broke - begun).max();
    run.time("all its edges notice", noticed, EDGES_NOTICE);
    run.rehomed(begun);
    Ok(())
}

pub(super) async fn pair(run: &mut Run) -> Result<()> {
    let cut = Duration::from_secs(20);
    // Everybody still hears of everybody by a third host.
    let begun = run.fault(&[3, 4], Duration::from_secs(10));
    network::part(&[3], &[4]).await?;
    sleep(cut).await;
    let around = {
        let history = run.load.shared.history();
        let late = begun + Duration::from_secs(10);
        let between = |homes: [usize; 2]| homes == [3, 4] || homes == [4, 3];
        let now = run.now() - CALM_MAX;
        let sent: Vec<_> =
            history.signals.iter().filter(|it| between(it.homes) && it.sent > late && it.sent < now).collect();
        (sent.iter().filter(|it| it.is_delivered()).count(), sent.len())
    };
    let text = format!("{} of {}", around.0, around.1);
    run.figure("delivered by a third host, from 10 s on", text, "all", around.0 == around.1);
    healed(run).await
}

pub(super) async fn loss(run: &mut Run, percent: u32) -> Result<()> {
    // Without a round trip, loss costs nothing but timers.
    run.delay = Some(network::delay(Duration::from_millis(25)).await?);
    sleep(Duration::from_secs(5)).await;
    let calm = run.now();
    sleep(Duration::from_secs(5)).await;
    let begun = run.fault(&ALL, if percent < 30 { Duration::ZERO } else { Duration::from_secs(20) });
    network::rules(&[format!("numgen random mod 100 < {percent} drop")]).await?;
    sleep(Duration::from_secs(15)).await;
    run.load.pause().await;
    let (before, during, arrival) = {
        let history = run.load.shared.history();
        let arrived = |it: &Signal| Some(it.received? - it.sent);
        let arrival = quantile(history.between(begun, run.now()).filter_map(arrived).collect(), 0.99);
        (p99(history.between(calm, begun)), p99(history.between(begun, run.now())), arrival)
    };
    run.delivered("delivered under loss", begun, if percent < 30 { 100.0 } else { 99.9 });
    run.time("receipt at 50 ms round trip without loss, p99", before, Duration::from_millis(75));
    // Half again of the way without loss, three round trips, five seconds.
    let expected = [38, 150, 5_000][(percent / 10).min(2) as usize];
    run.time("arrival under loss, p99", arrival, Duration::from_millis(expected));
    let text = during.map_or_else(String::new, seconds);
    run.figure("receipt under loss, p99", text, "there and back", true);
    run.links_kept();
    Ok(())
}

pub(super) async fn far(run: &mut Run) -> Result<()> {
    let round_trip = Duration::from_millis(500);
    let begun = run.fault(&ALL, Duration::from_secs(2));
    run.delay = Some(network::delay(round_trip / 2).await?);
    sleep(Duration::from_secs(15)).await;
    run.links_kept();
    let settled = begun + Duration::from_secs(3);
    let during = p99(run.load.shared.history().between(settled, run.now()));
    run.time("receipt, p99", during, Duration::from_millis(1_200));
    run.delivered("delivered", Time::ZERO, 99.0);
    // A host that comes back at this distance.
    let last = HOSTS - 1;
    run.hosts[last].kill().await?;
    run.load.shared.history().excused.push((begun, run.now() + Duration::from_secs(12)));
    run.hosts[last].begin().await?;
    let took = linked(&run.hosts[last..], HOSTS - 1, Duration::from_secs(20)).await?;
    run.time("a host that restarts is linked with all", Some(took), Duration::from_secs(3));
    sleep(Duration::from_secs(10)).await;
    Ok(())
}

/// The host dials everybody from behind a router, which then sees it under another port, and under another address.
pub(super) async fn rebind(run: &mut Run) -> Result<()> {
    run.fault(&[VICTIM], DETECTION);
    run.hosts[VICTIM].kill().await?;
    network::translate(VICTIM, network::outside(VICTIM, 9, 50_001)).await?;
    run.hosts[VICTIM].begin().await?;
    linked(&run.hosts, HOSTS - 1, DETECTION * 3).await?;
    sleep(DETECTION).await;
    let closed = run.links_closed();
    for (outside, names) in [
        (network::outside(VICTIM, 9, 50_002), ["seen at another port", "delivered meanwhile", "slowest receipt"]),
        (network::outside(VICTIM, 10, 50_003), ["seen at another address", "delivered then", "slowest receipt then"]),
    ] {
        let changed = run.now();
        network::translate(VICTIM, outside).await?;
        let seen = seen_at(&run.hosts[..VICTIM], outside, run, MIGRATION * 3).await?;
        run.time(names[0], seen, MIGRATION);
        sleep(CONVERGENCE * 2).await;
        run.delivered(names[1], changed, 100.0);
        let slowest = run.load.shared.history().between(changed, run.now()).filter_map(Signal::took).max();
        run.time(names[2], slowest, MIGRATION);
    }
    run.links_kept_since(closed);
    Ok(())
}

/// How long from now until each of these hosts has a link with that address.
async fn seen_at(hosts: &[Host], address: SocketAddr, run: &Run, patience: Duration) -> Result<Option<Duration>> {
    let begun = run.now();
    for host in hosts {
        while !host.status().await?.links.iter().any(|link| link.address == address) {
            if run.now() > begun + patience {
                return Ok(None);
            }
            sleep(LOOK_EVERY).await;
        }
    }
    Ok(Some(run.now() - begun))
}

pub(super) async fn slow_host(run: &mut Run) -> Result<()> {
    let slow = Duration::from_secs(15);
    let begun = run.fault(&[4], slow + CONVERGENCE);
    let address = network::address(4);
    // Less than half of what the load sends there.
    network::rules(&[format!("ip daddr {address} limit rate over 10 kbytes/second burst 8 kbytes counter drop")])
        .await?;
    sleep(slow).await;
    ensure!(run.hosts[4].status().await.is_ok(), "the slow host does not answer");
    let dropped = network::counted().await?;
    run.figure("packets that were too many for it", dropped.to_string(), "some", dropped > 0);
    // Three fifths of the load have no business with it.
    run.delivered("delivered meanwhile", begun, 60.0);
    healed(run).await
}
