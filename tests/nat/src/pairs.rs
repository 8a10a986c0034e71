//! The table of pairs: two hosts behind NATs of these kinds and a public one that both are linked with. Do they get a
//! link of their own, how soon, and do signals flow all the while?

use std::fmt::Write as _;
use std::time::Duration;

use aldis_laboratory::history::{Signal, quantile};
use aldis_laboratory::report::{Outcomes, seconds};
use anyhow::{Context, Result, ensure};
use tokio::time::sleep;

use crate::host::{Host, LINKS_PORT, Place, wait_for};
use crate::lab::Lab;
use crate::load::Load;

/// A round trip of 50 ms between any two nodes of the internet.
const DELAY: &str = "delay=12.5";
/// The public host is in the DHT within this.
pub(crate) const REGISTERED_MAX: Duration = Duration::from_secs(20);
/// Two hosts that can meet do so within this: three tries, 4 s apart, and the first look-ups.
const DIRECT_MAX: Duration = Duration::from_secs(20);
/// Two that cannot are watched for so long: every try that they might make has failed by then.
const WATCHED: Duration = Duration::from_secs(15);
/// Signals go over the new link for so long.
const AFTER: Duration = Duration::from_secs(3);
/// The last signals are those of the last second.
const LAST: Duration = Duration::from_secs(1);
const SIGNALS_PER_SECOND: u32 = 25;
/// The status page shows a view that is at most so old; who does not ask for so long gets a fresh one.
const VIEW_KEPT: Duration = Duration::from_millis(250);
/// A time to the direct link may be so much longer than what was measured without hosts, in percent.
const SLACK_PERCENT: u32 = 130;

/// What is expected of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// A link of their own. The median time from the named moment on, measured with bare QUIC, in milliseconds.
    Direct(u32),
    /// Signals take the next hop for ever.
    NextHop,
}

/// Two hosts and what is between them. In the lines of a side `{}` is the letter of the side.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pair {
    pub(crate) name: &'static str,
    sides: [&'static [&'static str]; 2],
    pub(crate) expected: Way,
    /// Lines of the topology beside the sides.
    more: &'static [&'static str],
    /// The two have no IPv4, and so no DHT: they are told of the public host.
    v6_only: bool,
    /// Among the few that run on every change.
    pub(crate) quick: bool,
}

const PUBLIC: &[&str] = &["host {} delay=12.5"];
const FULL: &[&str] = &["nat n{} type=fullcone delay=12.5", "host {} via=n{}"];
const RESTRICTED: &[&str] = &["nat n{} type=restricted delay=12.5", "host {} via=n{}"];
const PORT: &[&str] = &["nat n{} type=port-restricted delay=12.5", "host {} via=n{}"];
const SYMMETRIC: &[&str] = &["nat n{} type=symmetric delay=12.5", "host {} via=n{}"];
const FULL_RANDOM: &[&str] = &["nat n{} type=fullcone ports=random delay=12.5", "host {} via=n{}"];
const PORT_RANDOM: &[&str] = &["nat n{} type=port-restricted ports=random delay=12.5", "host {} via=n{}"];
const CGNAT_CONE: &[&str] =
    &["nat p{} type=fullcone ports=random delay=12.5", "nat n{} via=p{} type=port-restricted", "host {} via=n{}"];
const CGNAT_SYMMETRIC: &[&str] =
    &["nat p{} type=symmetric delay=12.5", "nat n{} via=p{} type=fullcone", "host {} via=n{}"];
const LOSSY: &[&str] = &["nat n{} type=port-restricted delay=12.5 loss=10", "host {} via=n{}"];
/// Both are behind the one router of `more`.
const INSIDE: &[&str] = &["host {} via=home"];

/// All pairs, in the order of the table. The medians are those of hole punching with bare QUIC at 50 ms.
pub(crate) const PAIRS: &[Pair] = &[
    pair("public-public", PUBLIC, PUBLIC, Way::Direct(79)),
    pair("public-full", PUBLIC, FULL, Way::Direct(79)),
    pair("public-restricted", PUBLIC, RESTRICTED, Way::Direct(79)),
    pair("public-port", PUBLIC, PORT, Way::Direct(79)),
    pair("public-symmetric", PUBLIC, SYMMETRIC, Way::Direct(104)),
    pair("full-full", FULL, FULL, Way::Direct(79)),
    pair("full-restricted", FULL, RESTRICTED, Way::Direct(79)),
    pair("full-port", FULL, PORT, Way::Direct(79)),
    pair("full-symmetric", FULL, SYMMETRIC, Way::Direct(104)),
    pair("restricted-restricted", RESTRICTED, RESTRICTED, Way::Direct(79)),
    pair("restricted-port", RESTRICTED, PORT, Way::Direct(79)),
    pair("restricted-symmetric", RESTRICTED, SYMMETRIC, Way::Direct(104)),
    Pair { quick: true, ..pair("port-port", PORT, PORT, Way::Direct(79)) },
    Pair { quick: true, ..pair("port-symmetric", PORT, SYMMETRIC, Way::NextHop) },
    pair("symmetric-symmetric", SYMMETRIC, SYMMETRIC, Way::NextHop),
    pair("full-random-port-random", FULL_RANDOM, PORT_RANDOM, Way::Direct(79)),
    pair("port-random-port-random", PORT_RANDOM, PORT_RANDOM, Way::Direct(79)),
    Pair { quick: true, ..pair("cgnat-cone-port", CGNAT_CONE, PORT, Way::Direct(79)) },
    pair("cgnat-cone-cgnat-cone", CGNAT_CONE, CGNAT_CONE, Way::Direct(79)),
    pair("cgnat-symmetric-full", CGNAT_SYMMETRIC, FULL, Way::Direct(104)),
    pair("cgnat-symmetric-port", CGNAT_SYMMETRIC, PORT, Way::NextHop),
    Pair {
        quick: true,
        more: &["nat home type=port-restricted delay=12.5"],
        ..pair("same-nat-no-hairpin", INSIDE, INSIDE, Way::Direct(3))
    },
    Pair { quick: true, more: &["ipv6"], v6_only: true, ..pair("ipv6-firewalls", PORT, PORT, Way::Direct(78)) },
    pair("loss-10", LOSSY, LOSSY, Way::Direct(116)),
];

const fn pair(name: &'static str, one: &'static [&'static str], other: &'static [&'static str], expected: Way) -> Pair {
    Pair { name, sides: [one, other], expected, more: &[], v6_only: false, quick: false }
}

/// What was seen of a pair.
#[derive(Debug)]
pub(crate) struct Met {
    pub(crate) name: &'static str,
    expected: Way,
    /// The later of the two processes: from its start to its link with the public host, and from there to the direct one.
    times: Option<(Duration, Duration)>,
    /// How long half of the last signals were on their way at most: 25 ms by the direct link, 50 ms by the next hop.
    way: Option<Duration>,
    pub(crate) outcomes: Outcomes,
}

impl Pair {
    fn topology(&self) -> String {
        let mut lines = vec!["host d".to_owned(), format!("host c {DELAY}")];
        lines.extend(self.more.iter().map(|&line| line.to_owned()));
        for (side, letter) in self.sides.iter().zip(["a", "b"]) {
            lines.extend(side.iter().map(|line| line.replace("{}", letter)));
        }
        lines.join("\n")
    }

    /// One run in an internet of its own.
    pub(crate) async fn run(&self, name: &str, place: Place) -> Result<Met> {
        let lab = Lab::up(name, &self.topology()).await?;
        let met = self.play(&lab, place).await;
        lab.down().await?;
        met
    }

    async fn play(&self, lab: &Lab, mut place: Place) -> Result<Met> {
        let (_dht, nodes) = lab.dht("d").await?;
        place.dht = nodes;
        let public = Host::start(lab, &place, "c", &[]).await?;
        // Who looks it up before it is there waits for the next look-up, and nothing of that is measured here.
        let registered = wait_for(REGISTERED_MAX, async || public.log().contains("registration=true"));
        registered.await.context("the public host is not in the DHT")?;
        let address = format!("[{}]:{LINKS_PORT}", lab.change("addr", &["c", "--v6"]).await?);
        let told = ["--dht", "false", "--peers", &address];
        let options: &[&str] = if self.v6_only { &told } else { &[] };
        if self.v6_only {
            for node in ["a", "b"] {
                lab.run_at(node, &["ip", "-4", "addr", "flush", "dev", "eth0"], "").await?;
            }
        }
        let (one, other) = tokio::join!(Host::start(lab, &place, "a", options), Host::start(lab, &place, "b", options));
        let (one, other) = (one?, other?);

        let mut load = Load::connect(lab, &[&one, &other]).await?;
        load.begin(SIGNALS_PER_SECOND).await?;
        let patience = if self.expected == Way::NextHop { WATCHED } else { DIRECT_MAX };
        let linked = async || one.link(&other).await.is_some() && other.link(&one).await.is_some();
        let direct = wait_for(patience, linked).await.is_some();
        sleep(AFTER).await;
        let ending = load.now();
        load.pause().await;
        load.check()?;
        let took = |signal: &Signal| Some(signal.received?.saturating_sub(signal.sent));
        let last = ending.saturating_sub(LAST);
        let way = quantile(load.history().between(last, ending).filter_map(took).collect(), 0.5);
        let mut times = None;
        if direct {
            sleep(VIEW_KEPT).await;
            let (at_one, at_other) = (times_at(&one, &other, &public).await?, times_at(&other, &one, &public).await?);
            times = Some(at_one.max(at_other));
        }
        std::fs::write(place.directory.join("undelivered.txt"), load.undelivered())?;
        let outcomes = Outcomes::new(self.name, &load.history(), load.now(), Vec::new());
        Ok(Met { name: self.name, expected: self.expected, times, way, outcomes })
    }
}

/// From the start of a host to its link with `public`, and from there to its link with `other`, by its own word.
async fn times_at(host: &Host, other: &Host, public: &Host) -> Result<(Duration, Duration)> {
    let status = host.status().await?;
    let since_start = |with: &Host| {
        let link = status.links.iter().find(|link| link.host == with.id).context("a link is gone")?;
        anyhow::Ok(Duration::from_millis(status.uptime_ms.saturating_sub(link.age_ms)))
    };
    let (first, second) = (since_start(public)?, since_start(other)?);
    ensure!(first < Duration::from_secs(600), "a link that is older than its host");
    Ok((first, second.saturating_sub(first)))
}

impl Met {
    /// Whether they have the way that they should have.
    pub(crate) fn is_as_expected(&self) -> bool {
        (self.expected == Way::NextHop) == self.times.is_none()
    }

    /// Whether nothing at all happened to the signals: there was no fault.
    pub(crate) fn is_whole(&self) -> bool {
        self.outcomes.faults.is_empty() && self.outcomes.delivered == self.outcomes.signals
    }

    /// The time that the direct link may take after the one with the public host: one look-up, here as long as the
    /// one by which the public host was found, and the median with some slack.
    fn aim(&self) -> Option<Duration> {
        let (look_up, _) = self.times?;
        match self.expected {
            Way::Direct(median) => Some(look_up + Duration::from_millis(u64::from(median * SLACK_PERCENT / 100))),
            Way::NextHop => None,
        }
    }
}

/// The table.
pub(crate) fn table(all: &[Met]) -> String {
    let mut text = format!(
        "{:<24} {:<9} {:<9} {:>9} {:>9} {:>9} {:>9} {:>8} {:>9} {:>5} {:>6} {:>10}\n",
        "pair",
        "expected",
        "seen",
        "public",
        "direct",
        "aim",
        "one way",
        "signals",
        "delivered",
        "lost",
        "dupl.",
        "out of ord."
    );
    for met in all {
        let word = |direct: bool| if direct { "direct" } else { "next hop" };
        let expected = word(met.expected != Way::NextHop);
        let time = |time: Option<Duration>| time.map_or_else(|| "-".to_owned(), seconds);
        let (public, direct) = (met.times.map(|(public, _)| public), met.times.map(|(_, direct)| direct));
        let outcomes = &met.outcomes;
        let mark = match (met.is_as_expected(), met.is_whole()) {
            (true, true) => "",
            (false, true) => "  NOT AS EXPECTED",
            (_, false) => "  FAILED",
        };
        writeln!(
            text,
            "{:<24} {expected:<9} {:<9} {:>9} {:>9} {:>9} {:>9} {:>8} {:>9} {:>5} {:>6} {:>10}{mark}",
            met.name,
            word(met.times.is_some()),
            time(public),
            time(direct),
            time(met.aim()),
            time(met.way),
            outcomes.signals,
            outcomes.delivered,
            outcomes.lost,
            outcomes.duplicated,
            outcomes.disordered,
        )
        .unwrap_or_default();
    }
    text
}
