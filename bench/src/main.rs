//! Measures hosts from outside, as edges see them: latency, CPU time and memory. See README.md beside this crate.
//!
//! | module | what |
//! |---|---|
//! | [`edge`] | one connection that speaks the edge protocol |
//! | [`payload`] | what is sent: SDP-like text, and ids that carry the time |
//! | [`hosts`] | the hosts under measurement: started here, or given |
//! | [`measure`] | clock, CPU time, memory, quantiles |
//! | [`scenario`] | the measurements from outside |
//! | [`machine`] | the measurements of the machine alone, in this process |

#![allow(clippy::disallowed_methods, reason = "the outside world: it owns clocks, sockets and processes")]

mod edge;
mod hosts;
mod machine;
mod measure;
mod payload;
mod scenario;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::task::LocalSet;

/// Measures hosts of Aldis from outside. Prints one line of JSON, and the same in words on stderr.
#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  taskset -c 1 aldis-bench --host-cpus 0 closed --local    hosts on one core, this on the other
  aldis-bench join --rate 20 --secs 30
  aldis-bench --urls 127.0.0.1:8401,127.0.0.1:8402 --pids 4711,4712 offer")]
struct Arguments {
    #[command(flatten)]
    hosts: hosts::Wanted,
    #[command(subcommand)]
    scenario: Scenario,
}

#[derive(Debug, Subcommand)]
enum Scenario {
    /// Edges join at random times; until a member at the other host is told
    Join(scenario::join::Plan),
    /// Signals leave at random times; one way, and until the receipt
    Offer(scenario::offer::Plan),
    /// Pairs exchange offers and answers without a pause; CPU time per signal
    Closed(scenario::closed::Plan),
    /// The same between clients of the library; CPU time of this program, which is theirs
    Library(scenario::library::Plan),
    /// Many edges connect, join and idle; memory and CPU time for each
    Idle(scenario::idle::Plan),
    /// The machine alone holds the rosters of many others; bytes and time for each record
    Records(machine::records::Plan),
    /// CPU time of the machine for one input of each kind
    Inputs(machine::inputs::Plan),
    /// A machine that knows nobody is linked to one that knows everybody; time, CPU time and bytes
    CatchUp(machine::catch_up::Plan),
    /// A fresh host is linked to one that knows everybody; time, CPU time, memory, and what edges notice
    RealCatchUp(scenario::real_catch_up::Plan),
}

fn main() -> ExitCode {
    match begin(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("aldis-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn begin(arguments: Arguments) -> Result<()> {
    // A socket for each edge, here and in the hosts, which inherit the limit.
    let files = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: files.maximum, maximum: files.maximum })?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, run(arguments))
}

async fn run(arguments: Arguments) -> Result<()> {
    let Arguments { hosts, scenario } = arguments;
    let report = match scenario {
        Scenario::Join(plan) => scenario::join::measure(&hosts, plan).await?,
        Scenario::Offer(plan) => scenario::offer::measure(&hosts, plan).await?,
        Scenario::Closed(plan) => scenario::closed::measure(&hosts, plan).await?,
        Scenario::Library(plan) => scenario::library::measure(&hosts, plan).await?,
        Scenario::Idle(plan) => scenario::idle::measure(&hosts, plan).await?,
        Scenario::Records(plan) => machine::records::measure(&plan)?,
        Scenario::Inputs(plan) => machine::inputs::measure(&plan)?,
        Scenario::CatchUp(plan) => machine::catch_up::measure(&plan)?,
        Scenario::RealCatchUp(plan) => scenario::real_catch_up::measure(&hosts, &plan).await?,
    };
    eprintln!("{}", report.words);
    println!("{}", report.json);
    Ok(())
}
