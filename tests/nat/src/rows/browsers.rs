//! Two people at home, each with a page of another host: their browsers connect by what these hosts tell them, and by
//! nothing else. With the hosts' STUN switched off the same browsers do not.

use std::time::Duration;

use aldis_laboratory::process::Helper;
use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::json;

use super::Scene;
use crate::host::{Host, LINKS_PORT, wait_for};

/// Cones, so that an address that one server sees is worth something to others. Neither lets in what was not asked for,
/// and inside both have the same addresses: without a server neither browser knows an address that the other could use.
pub(super) const TOPOLOGY: &str = "
    host c delay=12.5
    host e delay=12.5
    nat na type=port-restricted delay=12.5
    host a via=na
    nat nb type=port-restricted ports=random delay=12.5
    host b via=nb
";
const HOSTS: [&str; 2] = ["c", "e"];
const HOMES: [&str; 2] = ["a", "b"];
const GATEWAY_PORT: u16 = 8_400;
const VERIFIED_MAX: Duration = Duration::from_secs(30);
/// The page gives up after 30 s and forgets what it had.
const CONNECTED_MAX: Duration = Duration::from_secs(20);
const CONNECTED_HOPED: Duration = Duration::from_secs(5);
/// Without STUN pages have twice as long as they took with it, within these bounds.
const WITHOUT_MIN: Duration = Duration::from_secs(5);
/// To open a page and to look at it.
const AROUND: Duration = Duration::from_secs(30);

/// What a page saw, as `page.mjs` tells it.
#[derive(Debug, Deserialize)]
struct Seen {
    connected: bool,
    took_ms: u64,
    /// What the other one said came by the data channel.
    heard: bool,
    /// The servers in `welcome`.
    told: Vec<String>,
    /// Those that the connection asks.
    asked: Vec<String>,
    /// Kinds of its own candidates.
    own: Vec<String>,
    /// Kinds of candidates that came from the other page.
    theirs: Vec<String>,
    /// The chosen pair: its own candidate and the other's.
    pair: Vec<Candidate>,
    /// Its own candidates that servers told it.
    reflexive: Vec<Candidate>,
}

#[derive(Debug, Deserialize)]
struct Candidate {
    kind: String,
    address: Option<String>,
    /// The server that told it.
    url: Option<String>,
}

impl Seen {
    fn took(&self) -> Duration {
        Duration::from_millis(self.took_ms)
    }

    /// The kinds of the chosen pair.
    fn kinds(&self) -> String {
        let kinds: Vec<_> = self.pair.iter().map(|candidate| candidate.kind.as_str()).collect();
        kinds.join("-")
    }

    /// Addresses that servers told it, and which servers.
    fn learnt(&self) -> String {
        let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "?".to_owned());
        let learnt = self.reflexive.iter().map(|it| format!("{} by {}", text(&it.address), text(&it.url)));
        learnt.collect::<Vec<_>>().join(", ")
    }
}

pub(super) async fn play(scene: &mut Scene<'_>) -> Result<()> {
    let [one, other] = HOMES;
    let (one, other) = tokio::try_join!(scene.lab.browser(one), scene.lab.browser(other))?;
    let mut browsers = [one, other];
    begin(scene, &[]).await?;
    let seen = meet(scene, &mut browsers, "with", CONNECTED_MAX).await?;
    with(scene, &seen).await?;
    let took = seen.iter().map(Seen::took).max().unwrap_or_default();

    for mut host in std::mem::take(&mut scene.hosts) {
        host.kill().await?;
    }
    begin(scene, &["--stun", "false"]).await?;
    let patience = (2 * took).clamp(WITHOUT_MIN, CONNECTED_MAX);
    let seen = meet(scene, &mut browsers, "without", patience).await?;
    without(scene, &seen, patience);
    let [one, other] = browsers;
    one.end().await?;
    other.end().await
}

/// Starts the two hosts, open to everybody's browsers, and waits until each knows that others reach both.
async fn begin(scene: &mut Scene<'_>, options: &[&str]) -> Result<()> {
    let listen = format!("0.0.0.0:{GATEWAY_PORT}");
    let options = [&["--listen-http", &listen], options].concat();
    let [first, second] = HOSTS;
    scene.add(first, &options).await?;
    let peer = format!("{}@{}:{LINKS_PORT}", scene.host(0)?.id, scene.lab.address(first).await?);
    scene.add(second, &[&options[..], &["--peers", &peer]].concat()).await?;
    let knows = async |host: &Host| {
        let Ok(status) = host.status().await else { return false };
        status.reach.nat == "open" && status.hosts.iter().any(|other| other.live && other.nat == "open")
    };
    let verified = wait_for(VERIFIED_MAX, async || {
        let (Ok(one), Ok(other)) = (scene.host(0), scene.host(1)) else { return false };
        knows(one).await && knows(other).await
    });
    verified.await.map(drop).context("the hosts do not know that they reach each other")
}

/// Opens the same topic in both browsers, each at another host.
async fn meet(scene: &Scene<'_>, browsers: &mut [Helper; 2], topic: &str, patience: Duration) -> Result<[Seen; 2]> {
    let ask = async |browser: &mut Helper, host: &str, [home, theirs]: [&str; 2]| -> Result<Seen> {
        let question = json!({
            "url": format!("http://{}:{GATEWAY_PORT}/?topic={topic}", scene.lab.address(host).await?),
            "says": format!("Ahoy from {home}"),
            "awaits": format!("Ahoy from {theirs}"),
            "picture": scene.place.directory.join(format!("{topic}-{home}.png")),
            "ms": u64::try_from(patience.as_millis())?,
        });
        let answer = browser.ask(&question.to_string(), patience + AROUND).await;
        let answer = answer.with_context(|| format!("the browser at {home}"))?;
        serde_json::from_str(&answer).with_context(|| format!("the browser at {home} said {answer}"))
    };
    let ([first, second], [one, other]) = (HOSTS, HOMES);
    let [at_one, at_other] = browsers;
    let (one, other) = tokio::try_join!(ask(at_one, first, [one, other]), ask(at_other, second, [other, one]))?;
    Ok([one, other])
}

/// What must be so where the hosts answer STUN.
async fn with(scene: &mut Scene<'_>, seen: &[Seen; 2]) -> Result<()> {
    let [first, second] = HOSTS;
    let [one, other] = HOMES;
    let server = async |host| anyhow::Ok(format!("stun:{}:{LINKS_PORT}", scene.lab.address(host).await?));
    let servers = [server(first).await?, server(second).await?];
    let outside = [scene.lab.address_outside(one).await?, scene.lab.address_outside(other).await?];
    scene.demand("pages connected", count(seen, |page| page.connected), "2", seen.iter().all(|page| page.connected));
    let took = seen.iter().map(Seen::took).max();
    scene.time("the later one, since it was opened", took, CONNECTED_HOPED);
    scene.demand("heard each other", count(seen, |page| page.heard), "2", seen.iter().all(|page| page.heard));

    let [first, second] = &servers;
    let nearest_first = [[first, second], [second, first]];
    let is_as_told = |(page, servers): (&Seen, [_; 2])| page.told.iter().eq(servers) && page.asked == page.told;
    let as_told = seen.iter().zip(nearest_first).all(is_as_told);
    let text = both(seen, |page| list(&page.asked));
    scene.demand("servers that were asked", text, "those in welcome: its own host's, then the other's", as_told);

    let is_outside = |it: &Candidate, at: &String| it.address.as_ref() == Some(at);
    let learnt = seen.iter().zip(&outside).all(|(page, at)| {
        let by_ours = |it: &Candidate| it.url.as_ref().is_some_and(|url| servers.contains(url));
        !page.reflexive.is_empty() && page.reflexive.iter().all(|it| is_outside(it, at) && by_ours(it))
    });
    scene.demand("learnt from servers", both(seen, Seen::learnt), "its router's address, by our hosts", learnt);

    let chosen = seen.iter().all(|page| {
        let kinds = ["srflx", "prflx"];
        page.pair.len() == 2 && page.pair.iter().all(|it| kinds.contains(&it.kind.as_str()))
    });
    scene.demand("the chosen pair", both(seen, Seen::kinds), "srflx or prflx at both ends", chosen);
    Ok(())
}

/// What must be so where they do not: the pages find each other all the same, and have nothing to connect by.
fn without(scene: &mut Scene<'_>, seen: &[Seen; 2], patience: Duration) {
    let none = !seen.iter().any(|page| page.connected);
    let text = format!("{} in {patience:.1?}", count(seen, |page| page.connected));
    scene.demand("without STUN, pages connected", text, "0", none);
    let told = both(seen, |page| list(&page.told));
    scene.demand("servers in welcome", told, "none", seen.iter().all(|page| page.told.is_empty()));
    let only_host = |kinds: &[String]| !kinds.is_empty() && kinds.iter().all(|kind| kind == "host");
    let exchanged = seen.iter().all(|page| only_host(&page.own) && only_host(&page.theirs));
    let text = both(seen, |page| format!("sent {}, received {}", list(&page.own), list(&page.theirs)));
    scene.demand("candidates", text, "host alone, and some at both", exchanged);
}

fn list(words: &[String]) -> String {
    if words.is_empty() { "none".to_owned() } else { words.join(", ") }
}

fn count(seen: &[Seen; 2], is: impl Fn(&Seen) -> bool) -> String {
    seen.iter().filter(|page| is(page)).count().to_string()
}

fn both(seen: &[Seen; 2], text: impl Fn(&Seen) -> String) -> String {
    seen.iter().map(text).collect::<Vec<_>>().join("; ")
}
