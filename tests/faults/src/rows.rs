//! The faults, one function each, and what a run gives them to work with.

mod crowds;
mod links;
mod machine;
mod meetings;
mod stops;

use std::pin::Pin;
use std::time::Duration;

use aldis_laboratory::process::Helper;
use anyhow::Result;
use tokio::time::sleep;

use crate::history::{CALM_MAX, Signal, Time, quantile};
use crate::host::{Host, How, Place, linked};
use crate::load::{HOSTS, Load};
use crate::network;
use crate::report::{Figure, Outcomes, p99, seconds};

/// The host of the fault, where it is one.
const VICTIM: usize = 4;
/// The load runs so long before the fault is made.
const CALM: Duration = Duration::from_secs(5);
/// Hosts that find one another through the DHT are linked within this.
const LINKED_MAX: Duration = Duration::from_secs(60);

/// The promise, and half a second for this busy machine.
const RECEIPT: Duration = Duration::from_millis(5_500);

/// After this an edge gives up a host that tells no receipt.
const CLIENT_SLACK: Duration = Duration::from_secs(5);

/// One line of the fault matrix.
#[derive(Clone, Copy)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    /// Among the few that run on every change.
    pub(crate) quick: bool,
    /// Prepares and says how host 0 to 4 are started.
    how: fn(&Place, usize) -> Result<How>,
    fault: fn(&mut Run) -> Making<'_>,
}

type Making<'a> = Pin<Box<dyn Future<Output = Result<()>> + 'a>>;

/// All rows, in the order of the report.
pub(crate) const ROWS: &[Row] = &[
    row("kill", "kill -9 of a host", true, |run| Box::pin(stops::kill(run))),
    row("terminate", "SIGTERM of a host", true, |run| Box::pin(stops::terminate(run))),
    row("restart", "kill -9, and at once a start with the same key", true, |run| Box::pin(stops::restart(run))),
    row("freeze", "SIGSTOP of a host for 5 s", false, |run| Box::pin(stops::freeze(run, 5))),
    row("freeze-long", "SIGSTOP of a host for 20 s", true, |run| Box::pin(stops::freeze(run, 20))),
    row("unplug", "the only cable of a host is cut", false, |run| Box::pin(links::unplug(run))),
    row("partition", "two hosts cut off from three for 15 s", true, |run| Box::pin(links::partition(run))),
    row("one-way", "nothing that a host sends to others arrives, for 20 s", false, |run| Box::pin(links::one_way(run))),
    row("pair", "two hosts cut off from each other alone, for 20 s", false, |run| Box::pin(links::pair(run))),
    row("loss-1", "1 % of packets between hosts lost", false, |run| Box::pin(links::loss(run, 1))),
    row("loss-10", "10 % of packets between hosts lost", true, |run| Box::pin(links::loss(run, 10))),
    row("loss-30", "30 % of packets between hosts lost", false, |run| Box::pin(links::loss(run, 30))),
    row("far", "500 ms round trip between hosts", false, |run| Box::pin(links::far(run))),
    row("rebind", "a host's router forgets its port, then has another address", false, |run| {
        Box::pin(links::rebind(run))
    }),
    row("slow-host", "a host that takes 10 kB/s from others", false, |run| Box::pin(links::slow_host(run))),
    Row {
        how: machine::clocks,
        ..row("clocks", "clocks 400 days off, and set while they run", false, |run| {
            Box::pin(machine::wrong_clocks(run))
        })
    },
    Row {
        how: machine::few_files,
        ..row("files", "no file descriptor left", false, |run| Box::pin(machine::no_files(run)))
    },
    Row {
        how: machine::little_memory,
        ..row("memory", "memory capped, and ten times the load", false, |run| Box::pin(machine::memory(run)))
    },
    Row { how: machine::small_disk, ..row("disk", "the disk is full", false, |run| Box::pin(machine::disk_full(run))) },
    row("corrupt", "state on disk damaged", false, |run| Box::pin(machine::corrupt(run))),
    row("slow-edge", "an edge that reads nothing", false, |run| Box::pin(crowds::slow_edge(run))),
    row("storm", "500 edges lose their host at once", false, |run| Box::pin(crowds::storm(run))),
    row("dht-down", "the DHT cannot be reached", false, |run| Box::pin(meetings::dht_down(run))),
    Row {
        how: meetings::mixed_versions,
        ..row("mixed", "two of five hosts are of a later minor version", false, |run| Box::pin(meetings::mixed(run)))
    },
    row("rolling", "all hosts are replaced by a later version, one after another", false, |run| {
        Box::pin(meetings::rolling(run))
    }),
];

const fn row(name: &'static str, what: &'static str, quick: bool, fault: fn(&mut Run) -> Making<'_>) -> Row {
    Row { name, what, quick, how: |_, _| Ok(How::default()), fault }
}

/// A running mesh under load.
#[derive(Debug)]
pub(crate) struct Run {
    /// Set while packets are delayed.
    pub(crate) delay: Option<Helper>,
    pub(crate) place: Place,
    pub(crate) hosts: Vec<Host>,
    pub(crate) load: Load,
    /// When the fault began, and whom it touches.
    fault: Option<(Time, Vec<usize>)>,
    figures: Vec<Figure>,
}

impl Row {
    /// One run: mesh, load, calm, fault, end of the load.
    pub(crate) async fn run(&self, place: Place) -> Result<Outcomes> {
        network::deserted().await?;
        let mut hosts = Vec::new();
        for number in 0..HOSTS {
            hosts.push(Host::start(&place, number, (self.how)(&place, number)?).await?);
        }
        linked(&hosts, HOSTS - 1, LINKED_MAX).await?;
        let load = Load::start().await?;
        let mut run = Run { delay: None, place, hosts, load, fault: None, figures: Vec::new() };
        // Observers come while edges join.
        run.excuse(CALM_MAX * 2);
        sleep(CALM).await;
        let made = (self.fault)(&mut run).await;
        network::heal().await?;
        if let Some(delay) = run.delay.take() {
            network::no_delay(delay).await?;
        }
        made?;
        run.load.pause().await;
        run.bystanders();
        let now = run.now();
        let outcomes = Outcomes::new(self.name, &run.load.shared.history(), now, run.figures);
        Ok(outcomes)
    }
}

impl Run {
    pub(crate) fn now(&self) -> Time {
        self.load.shared.now()
    }

    /// From now on these hosts are not as they should be, and views may differ until `excused` from now.
    pub(crate) fn fault(&mut self, affected: &[usize], excused: Duration) -> Time {
        let now = self.now();
        self.fault = Some((now, affected.to_vec()));
        self.excuse(excused);
        now
    }

    /// The fault touches another host from now on, and views may differ for so long.
    pub(crate) fn also(&mut self, host: usize, excused: Duration) {
        self.excuse(excused);
        if let Some((_, affected)) = &mut self.fault {
            affected.push(host);
        }
    }

    /// Views may differ for so long from now.
    pub(crate) fn excuse(&mut self, long: Duration) {
        let now = self.now();
        self.load.shared.history().excused.push((now, now + long));
    }

    /// No edge lost its socket since.
    pub(crate) fn sockets_kept(&mut self, since: Time) {
        let broke = self.load.shared.history().outages.iter().filter(|(_, at, _)| *at >= since).count();
        self.figure("edges that lost their socket", broke.to_string(), "0", broke == 0);
    }

    /// Links that were closed so far, but for those that were one too many, counted at each end.
    pub(crate) fn links_closed(&self) -> usize {
        let closed = |line: &&str| line.contains("a link is gone") && !line.contains("another connection");
        self.hosts.iter().map(|host| host.log().lines().filter(closed).count()).sum()
    }

    /// No link was closed.
    pub(crate) fn links_kept(&mut self) {
        self.links_kept_since(0);
    }

    /// No link was closed beside so many.
    pub(crate) fn links_kept_since(&mut self, before: usize) {
        let gone = self.links_closed() - before;
        self.figure("links that were closed", gone.to_string(), "0", gone == 0);
    }

    pub(crate) fn figure(&mut self, name: &'static str, measured: impl Into<String>, expected: &str, met: bool) {
        self.figures.push(Figure { name, measured: measured.into(), expected: expected.to_owned(), met });
    }

    /// A time that must have come, within a bound.
    pub(crate) fn time(&mut self, name: &'static str, measured: Option<Duration>, most: Duration) {
        let text = measured.map_or_else(|| "never".to_owned(), seconds);
        let met = measured.is_some_and(|measured| measured <= most);
        self.figure(name, text, &format!("at most {}", seconds(most)), met);
    }

    /// How long after `since` all observers agreed with the truth again.
    pub(crate) fn agreed(&mut self, name: &'static str, since: Time, most: Duration) {
        let agreed = self.load.shared.history().agreed_after(since, self.now());
        self.time(name, agreed, most);
    }

    /// How long edges were without a home since the fault.
    pub(crate) fn rehomed(&mut self, since: Time) {
        let (outages, open) = {
            let history = self.load.shared.history();
            let mine: Vec<_> = history.outages.iter().filter(|(_, broke, _)| *broke >= since).copied().collect();
            (mine.iter().filter_map(|(_, from, until)| Some((*until)? - *from)).collect::<Vec<_>>(), mine.len())
        };
        let (back, p95) = (outages.len(), quantile(outages, 0.95));
        self.figure("edges that lost their socket and are back", format!("{back} of {open}"), "all", back == open);
        self.time("without a home, p95", p95, Duration::from_secs(5));
    }

    /// What became of the signals that were sent since, by percent.
    pub(crate) fn delivered(&mut self, name: &'static str, since: Time, least: f64) {
        let (delivered, all) = {
            let (history, now) = (self.load.shared.history(), self.now());
            // Not those that are still on their way.
            let due =
                |signal: &&Signal| signal.sent >= since && (signal.ended.is_some() || now - signal.sent > RECEIPT);
            let sent: Vec<_> = history.signals.iter().filter(due).collect();
            (sent.iter().filter(|signal| signal.is_delivered()).count(), sent.len().max(1))
        };
        #[allow(clippy::cast_precision_loss, reason = "some thousand signals")]
        let percent = 100.0 * delivered as f64 / all as f64;
        self.figure(name, format!("{percent:.2} %"), &format!("at least {least} %"), percent >= least);
    }

    /// The receipts of all, and how those fared that the fault does not touch.
    fn bystanders(&mut self) {
        let Some((since, affected)) = self.fault.take() else { return };
        let untouched = |signal: &&Signal| {
            let edges = [signal.from, signal.to].map(|edge| edge % HOSTS);
            edges.iter().chain(&signal.homes).all(|host| !affected.contains(host))
        };
        let (slowest, slowest_there, before, during, undelivered) = {
            let history = self.load.shared.history();
            let slowest = |there: bool| {
                let at = history.signals.iter().filter(|signal| affected.contains(&signal.homes[0]) == there);
                at.filter_map(Signal::took).max()
            };
            let untouched: Vec<_> = history.signals.iter().filter(untouched).collect();
            let undelivered = untouched.iter().filter(|signal| !signal.is_delivered()).count();
            let (before, during) = untouched.iter().partition::<Vec<&Signal>, _>(|signal| signal.sent < since);
            (slowest(false), slowest(true), p99(before), p99(during), undelivered)
        };
        if affected.len() < HOSTS {
            self.time("slowest receipt at other hosts", slowest, RECEIPT);
            self.figure("not delivered between other hosts", undelivered.to_string(), "0", undelivered == 0);
            let text = |time: Option<Duration>| time.map_or_else(|| "none".to_owned(), |time| format!("{time:.1?}"));
            let both = format!("{} {}", text(before), text(during));
            self.figure("receipts between other hosts, p99 before and since", both, "the same", true);
        }
        if !affected.is_empty() {
            self.time("slowest receipt at hosts of the fault", slowest_there, RECEIPT + CLIENT_SLACK);
        }
    }
}
