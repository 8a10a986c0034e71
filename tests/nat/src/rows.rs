//! What happens to hosts behind NATs, one function each, and what they have to work with.

mod browsers;
mod changes;
mod doctor;
mod five;
mod mapped;
mod moves;
mod narrow;
mod strangers;

use std::pin::Pin;
use std::time::Duration;

use aldis_laboratory::history::Time;
use aldis_laboratory::process::Helper;
use aldis_laboratory::report::{Figure, Outcomes, seconds};
use anyhow::{Context, Result};

use crate::host::{Host, Place, wait_for};
use crate::lab::Lab;
use crate::load::Load;
use crate::pairs::REGISTERED_MAX;

/// One row.
#[derive(Clone, Copy)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    topology: &'static str,
    /// Among the few that run on every change.
    pub(crate) quick: bool,
    play: for<'a> fn(&'a mut Scene<'_>) -> Playing<'a>,
}

type Playing<'a> = Pin<Box<dyn Future<Output = Result<()>> + 'a>>;

/// Two hosts behind routers of which neither lets in what was not asked for, and a public host.
const TWO: &str = "
    host d
    host c delay=12.5
    nat na type=port-restricted delay=12.5
    host a via=na
    nat nb type=port-restricted delay=12.5
    host b via=nb
";

/// The same with IPv6.
const PREFIX: &str = "
    ipv6
    host d
    host c delay=12.5
    nat na type=port-restricted delay=12.5
    host a via=na
    nat nb type=port-restricted delay=12.5
    host b via=nb
";

/// All rows, in the order of the report.
pub(crate) const ROWS: &[Row] = &[
    row("five", "five NATed hosts and one public one, which is killed and comes back", five::TOPOLOGY, |scene| {
        Box::pin(five::play(scene))
    }),
    row("address-dialler", "the router of the one that dialled comes back with another address", TWO, |scene| {
        Box::pin(changes::address(scene, "dialler"))
    }),
    Row {
        quick: true,
        ..row("address-acceptor", "the same at the one that was dialled", TWO, |scene| {
            Box::pin(changes::address(scene, "acceptor"))
        })
    },
    row("reboot", "a router forgets all its mappings", TWO, |scene| Box::pin(changes::reboot(scene))),
    row("outage", "a router without its uplink for 30 s", TWO, |scene| Box::pin(changes::outage(scene))),
    row(
        "mapped",
        "a router opens a port, restarts with another address, and opens one again",
        mapped::TOPOLOGY,
        |scene| Box::pin(mapped::play(scene)),
    ),
    row("mapped-twice", "two hosts behind one router that opens ports", mapped::SHARED, |scene| {
        Box::pin(mapped::shared(scene))
    }),
    row("sleep", "a host sleeps for 60 s", TWO, |scene| Box::pin(changes::sleeper(scene))),
    Row {
        quick: true,
        ..row(
            "uplink",
            "a host's first uplink is gone, another one takes over, and the first comes back",
            moves::UPLINKS,
            |scene| Box::pin(moves::uplink(scene)),
        )
    },
    row("prefix", "hosts with IPv6 alone, of which one is given another prefix, twice", PREFIX, |scene| {
        Box::pin(moves::prefix(scene))
    }),
    row("udp-blocked", "a host whose router lets no UDP through, until it does", narrow::BLOCKED, |scene| {
        Box::pin(narrow::udp_blocked(scene))
    }),
    row(
        "no-public",
        "two hosts behind cones, one port for DHT and links, and no public host",
        narrow::ALONE,
        |scene| Box::pin(narrow::no_public(scene)),
    ),
    Row {
        quick: true,
        ..row("browsers", "two Chromiums behind NATs, with the hosts' STUN and without", browsers::TOPOLOGY, |scene| {
            Box::pin(browsers::play(scene))
        })
    },
    row("doctor", "what the doctor says behind each kind of router", doctor::TOPOLOGY, |scene| {
        Box::pin(doctor::play(scene))
    }),
    row("poison", "a DHT that answers with 10,000 invented addresses", strangers::POISONED, |scene| {
        Box::pin(strangers::poison(scene))
    }),
    Row {
        quick: true,
        ..row("aim", "a host that has others dial a victim, in every way there is", strangers::AIMED, |scene| {
            Box::pin(strangers::aim(scene))
        })
    },
];

const fn row(
    name: &'static str,
    what: &'static str,
    topology: &'static str,
    play: for<'a> fn(&'a mut Scene<'_>) -> Playing<'a>,
) -> Row {
    Row { name, what, topology, quick: false, play }
}

impl Row {
    /// One run in an internet of its own.
    pub(crate) async fn run(&self, name: &str, place: Place) -> Result<Outcomes> {
        let lab = Lab::up(name, self.topology).await?;
        let mut scene = Scene {
            lab: &lab,
            place,
            dht: None,
            hosts: Vec::new(),
            load: None,
            figures: Vec::new(),
            faults: Vec::new(),
        };
        let played = (self.play)(&mut scene).await;
        let ended = match played {
            Ok(()) => scene.end(self.name).await,
            Err(error) => Err(error),
        };
        lab.down().await?;
        ended
    }
}

/// Hosts, a load, and what was measured.
#[derive(Debug)]
pub(crate) struct Scene<'a> {
    pub(crate) lab: &'a Lab,
    pub(crate) place: Place,
    pub(crate) dht: Option<Helper>,
    pub(crate) hosts: Vec<Host>,
    load: Option<Load>,
    figures: Vec<Figure>,
    faults: Vec<String>,
}

impl Scene<'_> {
    /// Starts the DHT.
    pub(crate) async fn dht(&mut self) -> Result<()> {
        let (dht, addresses) = self.lab.dht("d").await?;
        (self.dht, self.place.dht) = (Some(dht), addresses);
        Ok(())
    }

    /// Starts the DHT and then these hosts, of which the first is public and in the DHT before the others come.
    pub(crate) async fn begin(&mut self, nodes: &[&str]) -> Result<()> {
        self.dht().await?;
        let (first, others) = nodes.split_first().context("no host")?;
        let public = Host::start(self.lab, &self.place, first, &[]).await?;
        let registered = wait_for(REGISTERED_MAX, async || public.log().contains("registration=true"));
        registered.await.context("the public host is not in the DHT")?;
        self.hosts.push(public);
        for node in others {
            self.add(node, &[]).await?;
        }
        Ok(())
    }

    /// Starts another host.
    pub(crate) async fn add(&mut self, node: &str, options: &[&str]) -> Result<()> {
        self.hosts.push(Host::start(self.lab, &self.place, node, options).await?);
        Ok(())
    }

    /// Puts an edge at each of these hosts, by number, and sends from each to each.
    pub(crate) async fn load(&mut self, at: &[usize], per_second: u32) -> Result<()> {
        let hosts: Vec<_> = at.iter().filter_map(|number| self.hosts.get(*number)).collect();
        self.load.insert(Load::connect(self.lab, &hosts).await?).begin(per_second).await
    }

    pub(crate) fn host(&self, number: usize) -> Result<&Host> {
        self.hosts.get(number).context("no such host")
    }

    pub(crate) fn host_mut(&mut self, number: usize) -> Result<&mut Host> {
        self.hosts.get_mut(number).context("no such host")
    }

    /// Whether both say that they are linked with each other.
    pub(crate) async fn linked(&self, one: usize, other: usize) -> bool {
        let (Ok(one), Ok(other)) = (self.host(one), self.host(other)) else { return false };
        one.link(other).await.is_some() && other.link(one).await.is_some()
    }

    pub(crate) fn now(&self) -> Time {
        self.load.as_ref().map_or(Time::ZERO, Load::now)
    }

    /// Something that was measured, and is only shown.
    pub(crate) fn figure(&mut self, name: &'static str, measured: impl Into<String>, expected: &str, met: bool) {
        self.figures.push(Figure { name, measured: measured.into(), expected: expected.to_owned(), met });
    }

    /// Something that must be so, or the run has failed.
    pub(crate) fn demand(&mut self, name: &'static str, measured: impl Into<String>, expected: &str, met: bool) {
        self.figure(name, measured, expected, met);
        if !met {
            self.faults.push(format!("{name}: it should be {expected}"));
        }
    }

    /// A time that is hoped for; that it comes at all is demanded.
    pub(crate) fn time(&mut self, name: &'static str, measured: Option<Duration>, most: Duration) {
        let text = measured.map_or_else(|| "never".to_owned(), seconds);
        self.figure(name, text, &format!("at most {}", seconds(most)), measured.is_some_and(|time| time <= most));
        if measured.is_none() {
            self.faults.push(format!("{name}: never"));
        }
    }

    /// How long after `since` the last signal was sent that was not delivered.
    pub(crate) fn undelivered_after(&self, since: Time) -> Duration {
        let Some(load) = &self.load else { return Duration::ZERO };
        let history = load.history();
        let failed = history.signals.iter().filter(|it| it.ended.is_some() && !it.is_delivered());
        failed.map(|it| it.sent.saturating_sub(since)).max().unwrap_or_default()
    }

    /// How often the socket of an edge has broken.
    pub(crate) fn broke(&self) -> usize {
        self.load.as_ref().map_or(0, |load| load.history().outages.len())
    }

    /// Of the signals sent in this time: how many were delivered, and how many there were.
    pub(crate) fn delivered(&self, from: Time, until: Time) -> (usize, usize) {
        let Some(load) = &self.load else { return (0, 0) };
        let history = load.history();
        let sent: Vec<_> = history.between(from, until).collect();
        (sent.iter().filter(|signal| signal.is_delivered()).count(), sent.len())
    }

    /// Ends the load, so that every signal has its receipt.
    pub(crate) async fn pause(&mut self) -> Result<()> {
        match &mut self.load {
            Some(load) => {
                load.pause().await;
                load.check()
            }
            None => Ok(()),
        }
    }

    async fn end(mut self, name: &'static str) -> Result<Outcomes> {
        self.pause().await?;
        let mut outcomes = match &self.load {
            Some(load) => {
                std::fs::write(self.place.directory.join("undelivered.txt"), load.undelivered())?;
                Outcomes::new(name, &load.history(), load.now(), self.figures)
            }
            None => Outcomes::without_load(name, self.figures),
        };
        outcomes.faults.extend(self.faults);
        Ok(outcomes)
    }
}
