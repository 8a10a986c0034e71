//! What a run says of itself.

use std::fmt::Write as _;

use aldis::relay::limits::LINKS_NEAR;
use aldis_wire::host::Role;

use crate::healing;
use crate::memo::Counts;
use crate::meter::{FRAMES, Meter, Sighting};
use crate::queue::{MS, SEC};
use crate::run::{Minute, Run};
use crate::world::World;

/// The head of the table of runs.
pub const ROW_HEAD: &str = "| scenario | hosts | edges | bytes a s and host | at most | redundancy | worst minute | join to visible / direct, 50 / 99 % | late | % of a core a host | and signatures | processor s | MiB | violations |\n|---|---|---|---|---|---|---|---|---|---|---|---|---|---|";

/// The value below which so many percent of a sorted list lie.
fn percentile(sorted: &[f64], percent: f64) -> f64 {
    let at = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
    sorted.get(at.clamp(1, sorted.len().max(1)) - 1).copied().unwrap_or(0.0)
}

fn sorted(mut list: Vec<f64>) -> Vec<f64> {
    list.sort_by(f64::total_cmp);
    list
}

/// What the process has taken at most, in MiB; 0 where nobody says.
#[must_use]
pub fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap_or_default();
    let kib: u64 = line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).unwrap_or(0);
    kib / 1_024
}

/// The report of a run, for people.
#[must_use]
pub fn report(run: &Run) -> String {
    let Run { world, meter, seconds: cpu, measured_seconds, minutes } = run;
    let mut text = String::new();
    let scenario = &world.scenario;
    let (hosts, seconds) = (scenario.hosts as f64, scenario.measure as f64 / SEC as f64);
    let _ = writeln!(
        text,
        "{}: seed {}, {} hosts, {} edges a host, measured for {seconds} s after {} s",
        scenario.name,
        scenario.seed,
        scenario.hosts,
        scenario.edges,
        scenario.warm / SEC
    );
    let _ = writeln!(text, "trace {:016x}", world.trace.hash());
    bytes(&mut text, meter, hosts, seconds);
    let [new, copies] = meter.announcements;
    let _ = writeln!(
        text,
        "announcements   {} made, {} with {} ops; received {new} new and {copies} again: redundancy {:.4}",
        meter.announced[0],
        meter.announced[1],
        meter.announced[2],
        copies as f64 / new.max(1) as f64
    );
    let worst = |of: fn(&Minute) -> f64| minutes.iter().map(of).fold(0.0, f64::max);
    let _ = writeln!(
        text,
        "worst minute    redundancy {:.4}; {:.0} bytes a second and host received",
        worst(|minute| minute.redundancy),
        worst(|minute| minute.received)
    );
    let _ = writeln!(
        text,
        "mesh            {} links admitted, {} ended, {} dials failed; caught up by graft {}, by delta {}, by digest {}; {} rosters expired",
        meter.links[0],
        meter.links[1],
        meter.dials_failed,
        meter.caught_up[0],
        meter.caught_up[1],
        meter.caught_up[2],
        meter.expired
    );
    neighbours(&mut text, world);
    let [delivered, refused, unknown] = meter.signals;
    let _ = writeln!(text, "signals         {delivered} delivered, {refused} refused, {unknown} unknown");
    healing::report(&mut text, world);
    let [tallies, taken, refused, unknown] = meter.tallies;
    let [members, missed] = meter.spread;
    if tallies > 0 {
        let _ = writeln!(
            text,
            "broadcasts      {tallies} tallies: {taken} hosts took them, {refused} refused, {unknown} unknown; {members} members got them, {missed} had no room"
        );
    }
    sightings(&mut text, &meter.sightings);
    latest(&mut text, world);
    costs(&mut text, meter, hosts, seconds);
    let _ = writeln!(
        text,
        "simulator       {cpu:.1} s of processor, {measured_seconds:.1} of them while it measured, {} happenings, at most {} MiB",
        meter.happenings,
        peak_mib()
    );
    directories(&mut text, world);
    signatures(&mut text, meter, hosts, seconds);
    violations(&mut text, world);
    text
}

fn bytes(text: &mut String, meter: &Meter, hosts: f64, seconds: f64) {
    let received = sorted(meter.host_received.iter().map(|bytes| *bytes as f64 / seconds).collect());
    let sent = sorted(meter.host_sent.iter().map(|bytes| *bytes as f64 / seconds).collect());
    let mean = |list: &[f64]| list.iter().sum::<f64>() / list.len().max(1) as f64;
    for (what, list) in [("received", received), ("sent", sent)] {
        let _ = writeln!(
            text,
            "{what:<15} {:.0} bytes a second and host on average, {:.0} half of them, {:.0} at most",
            mean(&list),
            percentile(&list, 50.0),
            percentile(&list, 100.0)
        );
    }
    let _ = writeln!(text, "  {:<14} {:>12} {:>14} {:>12}", "frame", "a s and host", "bytes a s, host", "bytes each");
    for (name, (count, bytes)) in FRAMES.iter().zip(meter.received) {
        if count > 0 {
            let _ = writeln!(
                text,
                "  {name:<14} {:>12.3} {:>14.1} {:>12.0}",
                count as f64 / hosts / seconds,
                bytes as f64 / hosts / seconds,
                bytes as f64 / count as f64
            );
        }
    }
}

/// How many links hosts have at the end, and how near the nearest are.
fn neighbours(text: &mut String, world: &World) {
    let (mut counts, mut near) = (Vec::new(), Vec::new());
    for host in &world.hosts {
        let Some(relay) = host.running() else { continue };
        let links = relay.view(host.clock(world.now)).links;
        let mut dialled: Vec<f64> = links
            .iter()
            .filter(|link| link.role == Role::Dialler)
            .map(|link| link.rtt.as_secs_f64() * 1_000.0)
            .collect();
        dialled.sort_by(f64::total_cmp);
        near.extend(dialled.into_iter().take(LINKS_NEAR));
        counts.push(links.len() as f64);
    }
    let (counts, near) = (sorted(counts), sorted(near));
    let _ = writeln!(
        text,
        "at the end      {:.1} links a host on average, {:.0} at most; the three nearest that each has dialled: half within {:.0} ms, 90 % within {:.0}",
        counts.iter().sum::<f64>() / counts.len().max(1) as f64,
        percentile(&counts, 100.0),
        percentile(&near, 50.0),
        percentile(&near, 90.0)
    );
}

fn sightings(text: &mut String, list: &[Sighting]) {
    if list.is_empty() {
        return;
    }
    let ratio = sorted(list.iter().map(|seen| seen.after as f64 / seen.direct.max(1) as f64).collect());
    let more = |seen: &Sighting| (seen.after as f64 - seen.direct as f64) / MS as f64;
    let excess = sorted(list.iter().map(more).collect());
    let after = sorted(list.iter().map(|seen| seen.after as f64 / MS as f64).collect());
    let probes = list.iter().map(|seen| seen.probe).max().unwrap_or(0);
    let _ = writeln!(text, "join to visible {} sightings of {probes} joins", list.len());
    for (what, list, digits) in [("ms", after, 1), ("ms more than direct", excess, 1), ("times direct", ratio, 2)] {
        let [half, most, all] = [50.0, 99.0, 100.0].map(|percent| percentile(&list, percent));
        let _ = writeln!(text, "  {what:<20} 50 % {half:.digits$}, 99 % {most:.digits$}, 100 % {all:.digits$}");
    }
    let _ = writeln!(text, "  later than the greater of 2.5 times and +60 ms: {:.3} %", late(list));
}

/// How many of a hundred were later than the greater of 2.5 times and 60 ms more than direct.
fn late(list: &[Sighting]) -> f64 {
    let late = |seen: &&Sighting| seen.after > (seen.direct * 5 / 2).max(seen.direct + 60 * MS);
    list.iter().filter(late).count() as f64 * 100.0 / list.len().max(1) as f64
}

fn latest(text: &mut String, world: &World) {
    for (late, hops) in world.probes.latest() {
        let _ = write!(text, "  {:.0} ms later than direct:", *late as f64 / MS as f64);
        for (place, after, control) in hops {
            // An announcement on the control stream was sent as a head alone.
            let _ =
                write!(text, " h{place} {:.0} ms{}", *after as f64 / MS as f64, if *control { " bare" } else { "" });
        }
        let _ = writeln!(text);
    }
}

fn costs(text: &mut String, meter: &Meter, hosts: f64, seconds: f64) {
    let costs = meter.costs_by_name();
    let all: u64 = costs.iter().map(|(_, cost)| cost.nanos()).sum();
    let _ = writeln!(
        text,
        "machine         {:.1} s of processor: {:.4} % of a core for each host",
        all as f64 / SEC as f64,
        all as f64 * 100.0 / SEC as f64 / hosts / seconds
    );
    let _ = writeln!(text, "  {:<14} {:>12} {:>12} {:>8}", "input", "inputs", "µs each", "share");
    for (name, cost) in costs.into_iter().take(14) {
        let _ = writeln!(
            text,
            "  {name:<14} {:>12} {:>12.2} {:>6.1} %",
            cost.count,
            cost.nanos() as f64 / 1_000.0 / cost.count as f64,
            cost.nanos() as f64 * 100.0 / all.max(1) as f64
        );
    }
}

/// What all directories take of the memory: rosters are shared between machines, indexes are not.
fn directories(text: &mut String, world: &World) {
    let (mut records, mut rosters, mut indexes) = (0, 0, 0);
    for relay in world.hosts.iter().filter_map(|host| host.running()) {
        let memory = relay.memory();
        records += relay.tables().peers;
        rosters += memory.entries_bytes + memory.digests_bytes;
        indexes += memory.peers_bytes + memory.topics_bytes;
    }
    let each = |bytes: usize| bytes as f64 / records.max(1) as f64;
    let _ = writeln!(
        text,
        "directories     {records} peers in all of them: {:.0} bytes each in rosters, which hosts share here, and {:.0} in indexes, {} MiB together",
        each(rosters),
        each(indexes),
        indexes >> 20
    );
}

/// What it costs to check a signature, in µs, and how much of a core it would take each host to check all of its own.
fn checking(meter: &Meter, hosts: f64, seconds: f64) -> (f64, f64) {
    let Counts { asked, done, nanos } = meter.signatures;
    let each = nanos as f64 / 1_000.0 / done.max(1) as f64;
    (each, asked as f64 * each / 10_000.0 / hosts / seconds)
}

fn signatures(text: &mut String, meter: &Meter, hosts: f64, seconds: f64) {
    let Counts { asked, done, .. } = meter.signatures;
    let (each, share) = checking(meter, hosts, seconds);
    let _ = writeln!(
        text,
        "signatures      {asked} to be checked, {done} checked, {each:.0} µs each: without remembering {share:.4} % of a core for each host"
    );
}

/// The run in one line of a table, below [`ROW_HEAD`].
#[must_use]
pub fn row(run: &Run) -> String {
    let Run { world, meter, seconds: cpu, minutes, .. } = run;
    let scenario = &world.scenario;
    let (hosts, seconds) = (scenario.hosts as f64, scenario.measure as f64 / SEC as f64);
    let received = meter.host_received.iter().sum::<u64>() as f64 / hosts / seconds;
    let worst = meter.host_received.iter().copied().max().unwrap_or(0) as f64 / seconds;
    let [new, copies] = meter.announcements;
    let machine: u64 = meter.costs_by_name().iter().map(|(_, cost)| cost.nanos()).sum();
    let ratio = sorted(meter.sightings.iter().map(|seen| seen.after as f64 / seen.direct.max(1) as f64).collect());
    format!(
        "| {} | {} | {} | {received:.0} | {worst:.0} | {:.4} | {:.4} | {:.2} / {:.2} | {:.2} % | {:.4} | {:.4} | {cpu:.1} | {} | {} |",
        scenario.name,
        scenario.hosts,
        scenario.edges,
        copies as f64 / new.max(1) as f64,
        minutes.iter().map(|minute| minute.redundancy).fold(0.0, f64::max),
        percentile(&ratio, 50.0),
        percentile(&ratio, 99.0),
        late(&meter.sightings),
        machine as f64 * 100.0 / SEC as f64 / hosts / seconds,
        checking(meter, hosts, seconds).1,
        peak_mib(),
        world.checks.count
    )
}

fn violations(text: &mut String, world: &World) {
    let checks = &world.checks;
    let _ = writeln!(text, "violations      {}", checks.count);
    for violation in &checks.violations {
        let _ = writeln!(
            text,
            "  at {:.3} s: {}, hosts {:?}",
            violation.at as f64 / SEC as f64,
            violation.what,
            violation.hosts
        );
    }
    if let Some(first) = checks.violations.first() {
        let scenario = &world.scenario;
        let _ = writeln!(text, "the last moments before the first:\n{}", first.trace);
        let _ = writeln!(
            text,
            "replay: scripts/sim {} --seed {} --hosts {} --edges {}",
            scenario.name, scenario.seed, scenario.hosts, scenario.edges
        );
    }
}
