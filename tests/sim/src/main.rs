//! `aldis-sim SCENARIO [--SETTING VALUE]...`: plays a scenario and prints its report. `aldis-sim --all [--SETTING VALUE]...`
//! plays the fixed set, `--sizes N,N SCENARIO [--SETTING VALUE]...` plays one scenario
//! with each number of hosts, and `--planted [DEFECT]` hunts the planted defects. See `scripts/sim`.

#![allow(clippy::disallowed_methods, reason = "a program: it has arguments")]

use std::process::{Command, ExitCode, Stdio};

use aldis_sim::report::{ROW_HEAD, report, row};
use aldis_sim::scenario::Scenario;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    #[cfg(feature = "planted")]
    if arguments.first().is_some_and(|first| first == "--planted") {
        return planted(arguments.get(1).map(String::as_str));
    }
    if let Some((_, settings)) = arguments.split_first().filter(|(first, _)| *first == "--all") {
        return all(settings);
    }
    if let Some((_, rest)) = arguments.split_first().filter(|(first, _)| *first == "--sizes") {
        return sizes(rest);
    }
    match scenario(&arguments) {
        Ok(scenario) => {
            let run = aldis_sim::run::run(scenario);
            print!("{}", report(&run));
            println!("{ROW_HEAD}\n{}", row(&run));
            if run.world.checks.count == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(what) => {
            eprintln!("{what}\nusage: scripts/sim SCENARIO [--seed N] [--hosts N] [--edges N] [--SETTING VALUE]...");
            ExitCode::from(2)
        }
    }
}

/// What is played before each commit: everything that is small.
const SET: [&str; 22] = [
    "trouble",
    "crash",
    "partition",
    "flapping",
    "churn",
    "farewell",
    "third",
    "storm",
    "upgrade",
    "sleep",
    "slow",
    "flood",
    "digests",
    "liars",
    "losses",
    "replays",
    "silence",
    "withheld",
    "inventions",
    "shouts",
    "unheard",
    "nats",
];

/// Plays the set; a line for each, and the whole report of those in which something was violated.
fn all(settings: &[String]) -> ExitCode {
    let (mut passed, mut failed) = (0, 0);
    for name in SET {
        let arguments: Vec<String> = std::iter::once(name.to_owned()).chain(settings.iter().cloned()).collect();
        let run = match scenario(&arguments) {
            Ok(scenario) => aldis_sim::run::run(scenario),
            Err(what) => {
                eprintln!("{what}");
                return ExitCode::from(2);
            }
        };
        let (seed, violations) = (run.world.scenario.seed, run.world.checks.count);
        let verdict = if violations == 0 { "ok    " } else { "FAILED" };
        println!("{verdict} scripts/sim {name} --seed {seed}: {violations} violations, {:.1} s", run.seconds);
        if violations > 0 {
            print!("{}", aldis_sim::report::report(&run));
        }
        *(if violations == 0 { &mut passed } else { &mut failed }) += 1;
    }
    println!("sim: {passed} passed, {failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Plays a scenario with each number of hosts, one after the other, and prints a table of them. Each run is a process of its own,
/// so that what it takes of the memory is its own too; its report is printed if something was violated.
fn sizes(arguments: &[String]) -> ExitCode {
    let Some((sizes, rest)) = arguments.split_first() else {
        eprintln!("usage: scripts/sim --sizes 10,100,300 SCENARIO [--SETTING VALUE]...");
        return ExitCode::from(2);
    };
    println!("{ROW_HEAD}");
    let mut all_well = true;
    for hosts in sizes.split(',') {
        let run = std::env::current_exe().and_then(|program| {
            Command::new(program).args(rest).args(["--hosts", hosts]).stderr(Stdio::inherit()).output()
        });
        let run = match run {
            Ok(run) => run,
            Err(error) => {
                eprintln!("{error}");
                return ExitCode::from(2);
            }
        };
        let report = String::from_utf8_lossy(&run.stdout);
        if run.status.success() {
            println!("{}", report.lines().last().unwrap_or_default());
        } else {
            all_well = false;
            print!("{report}");
        }
    }
    if all_well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn scenario(arguments: &[String]) -> Result<Scenario, String> {
    let (path, settings) = arguments.split_first().ok_or("which scenario?")?;
    let mut scenario = Scenario::load(path)?;
    for setting in settings.chunks(2) {
        let name = setting.first().and_then(|name| name.strip_prefix("--")).ok_or("a setting begins with --")?;
        let value = setting.get(1).ok_or_else(|| format!("--{name} needs a value"))?;
        let words: Vec<&str> = std::iter::once(name).chain(value.split_whitespace()).collect();
        scenario.take(&words)?;
    }
    Ok(scenario)
}

/// Hunts all planted defects, or one, and prints the table.
#[cfg(feature = "planted")]
fn planted(only: Option<&str>) -> ExitCode {
    println!("       defect               scenario   seeds   what was said");
    match aldis_sim::planted::hunt_all(only, |row| println!("{}", aldis_sim::planted::line(row))) {
        Ok(rows) => {
            let failed = rows.iter().filter(|row| !row.is_good()).count();
            println!("sim: {} passed, {failed} failed", rows.len() - failed);
            if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(what) => {
            eprintln!("{what}");
            ExitCode::from(2)
        }
    }
}
