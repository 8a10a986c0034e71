//! `aldis-sim SCENARIO [--SETTING VALUE]...`: plays a scenario and prints its report. See `scripts/sim`.

#![allow(clippy::disallowed_methods, reason = "a program: it has arguments")]

use std::process::ExitCode;

use aldis_sim::report::{ROW_HEAD, report, row};
use aldis_sim::scenario::Scenario;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match scenario(&arguments) {
        Ok(scenario) => {
            let run = aldis_sim::run::run(scenario);
            print!("{}", report(&run.world, &run.meter, run.seconds));
            println!("{ROW_HEAD}\n{}", row(&run.world, &run.meter, run.seconds));
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
    let file = if path.contains('/') { path.clone() } else { format!("tests/sim/scenarios/{path}.txt") };
    let text = std::fs::read_to_string(&file).map_err(|error| format!("{file}: {error}"))?;
    let mut scenario = Scenario::parse(path, &text)?;
    for setting in settings.chunks(2) {
        let name = setting.first().and_then(|name| name.strip_prefix("--")).ok_or("a setting begins with --")?;
        let value = setting.get(1).ok_or_else(|| format!("--{name} needs a value"))?;
        let words: Vec<&str> = std::iter::once(name).chain(value.split_whitespace()).collect();
        scenario.take(&words)?;
    }
    Ok(scenario)
}
