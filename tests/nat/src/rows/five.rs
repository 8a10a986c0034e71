//! Five hosts behind NATs of different kinds, and a public one that is killed and comes back.

use std::time::Duration;

use anyhow::Result;
use tokio::time::{Instant, sleep};

use super::Scene;
use crate::host::wait_for;

pub(super) const TOPOLOGY: &str = "
    host d
    host c delay=12.5
    nat na type=fullcone delay=12.5
    host a via=na
    nat nb type=restricted delay=12.5
    host b via=nb
    nat ne type=port-restricted delay=12.5
    host e via=ne
    nat nf type=symmetric delay=12.5
    host f via=nf
    nat pg type=fullcone ports=random delay=12.5
    nat ng via=pg type=port-restricted
    host g via=ng
";
/// Who can have a link with whom, besides the public host, which is number 0.
const DIRECT: &[(usize, usize)] = &[(1, 2), (1, 3), (1, 5), (2, 3), (2, 5), (3, 5), (1, 4), (2, 4)];
const ALL: &[usize] = &[1, 2, 3, 4, 5];
/// From the start of the last host until all that can have links have them.
const DIRECT_MAX: Duration = Duration::from_secs(45);
/// A dead neighbour is noticed, and signals have another way, within this.
const NOTICED: Duration = Duration::from_secs(10);
const WITHOUT: Duration = Duration::from_secs(25);
const HEALED_MAX: Duration = Duration::from_secs(60);

pub(super) async fn play(scene: &mut Scene<'_>) -> Result<()> {
    scene.begin(&["c", "a", "b", "e", "f", "g"]).await?;
    scene.load(ALL, 4).await?;
    let took = wait_for(DIRECT_MAX, async || count(scene).await == DIRECT.len()).await;
    let direct = count(scene).await;
    scene.demand("pairs with a link of their own", format!("{direct}"), &format!("{}", DIRECT.len()), took.is_some());
    scene.figure("that took", format!("{:.1?}", took.unwrap_or(DIRECT_MAX)), "a few seconds", took.is_some());

    scene.host_mut(0)?.kill().await?;
    let (killed, clock, mut fewest) = (scene.now(), Instant::now(), direct);
    while clock.elapsed() < WITHOUT {
        fewest = fewest.min(count(scene).await);
        sleep(Duration::from_millis(500)).await;
    }
    let lost = direct - fewest;
    scene.demand("of them lost while the public host was dead", format!("{lost}"), "0", lost == 0);
    let back = scene.now();
    let lab = scene.lab;
    scene.host_mut(0)?.begin(lab).await?;
    let healed = wait_for(HEALED_MAX, async || {
        let linked = async |other: usize| scene.linked(0, other).await;
        linked(1).await && linked(2).await && linked(3).await && linked(4).await && linked(5).await
    });
    let healed = healed.await;
    scene.time("until it is linked with all again", healed, Duration::from_secs(30));
    sleep(Duration::from_secs(3)).await;
    scene.pause().await?;
    let (delivered, sent) = scene.delivered(killed + NOTICED, back);
    let text = format!("{delivered} of {sent}");
    scene.demand("delivered without it, from 10 s on", text, "all", delivered == sent);
    let after = scene.undelivered_after(killed);
    scene.figure(
        "last signal that was not delivered, after it died",
        format!("{after:.1?}"),
        "at most 10 s",
        after <= NOTICED,
    );
    Ok(())
}

/// How many of the pairs that can have a link have one.
async fn count(scene: &Scene<'_>) -> usize {
    let mut count = 0;
    for (one, other) in DIRECT {
        count += usize::from(scene.linked(*one, *other).await);
    }
    count
}
