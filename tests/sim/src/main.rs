//! `aldis-sim SCENARIO [--SETTING VALUE]...`: plays a scenario and prints its report. See `scripts/sim`.

#![allow(clippy::disallowed_methods, reason = "a program: it has arguments")]

use std::process::ExitCode;

use aldis_sim::scenario::Scenario;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    #[cfg(feature = "planted")]
    if arguments.first().is_some_and(|first| first == "--planted") {
        return planted();
    }
    match scenario(&arguments) {
        Ok(scenario) => {
            let run = aldis_sim::run::run(scenario);
            print!("{}", aldis_sim::report::report(&run.world, &run.meter, run.seconds));
            if run.world.checks.count == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(what) => {
            eprintln!("{what}\nusage: scripts/sim SCENARIO [--seed N] [--hosts N] [--edges N] [--SETTING VALUE]...");
            ExitCode::from(2)
        }
    }
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

/// Hunts all planted defects, and prints the table.
#[cfg(feature = "planted")]
fn planted() -> ExitCode {
    println!("       defect               scenario   seeds   what was said");
    match aldis_sim::planted::hunt_all(|row| println!("{}", aldis_sim::planted::line(row))) {
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
