//! The fault laboratory: five real hosts in network namespaces, a load, one fault after another, and what it did.
//!
//!     scripts/faults                 every row, three runs, one report
//!     scripts/faults kill partition  these rows
//!
//! For each run: lost and duplicated signals must be 0, or the program fails. Times and counts are printed beside what is
//! expected of them; a missed one is marked and fails nothing, since a busy machine can miss any of them.
//!
//! | module | what |
//! |---|---|
//! | [`network`] | namespaces, cables, what goes wrong on them |
//! | [`host`] | a host as a process |
//! | [`load`] | edges, signals, joins and leaves |
//! | [`rows`] | the faults |
//!
//! The ledger of signals and the report are shared with the NAT laboratory: `aldis-laboratory`.

#![allow(clippy::disallowed_methods, reason = "the outside world: it owns clocks, processes and files")]
#![allow(clippy::indexing_slicing, reason = "a row names hosts that are there; a test fails by panicking")]

mod host;
mod load;
mod network;
mod rows;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use aldis_laboratory::process::{self, Helper};
use aldis_laboratory::{history, report};

use anyhow::{Context, Result, bail};
use clap::Parser;
use serde::Deserialize;
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;

use host::Place;
use network::DHT;
use rows::{ROWS, Row};

const DHT_NODES: usize = 4;
/// No run takes longer, or something hangs.
const RUN_MAX: Duration = Duration::from_secs(240);

/// Runs real hosts in network namespaces, makes faults, and shows what became of the signals and the members.
#[derive(Debug, Parser)]
struct Arguments {
    /// Rows to run; none: all
    rows: Vec<String>,
    /// Runs of each row
    #[arg(long, default_value_t = 3)]
    runs: u32,
    /// Only the few rows that run on every change
    #[arg(long)]
    quick: bool,
    /// Say what there is and end
    #[arg(long)]
    list: bool,
    /// Already in namespaces of its own
    #[arg(long, hide = true)]
    inside: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let ended = if arguments.list {
        ROWS.iter().for_each(|row| println!("{:<14} {}", row.name, row.what));
        Ok(ExitCode::SUCCESS)
    } else if arguments.inside {
        inside(&arguments)
    } else {
        process::enter("faults")
    };
    ended.unwrap_or_else(|error| {
        eprintln!("faults: {error:#}");
        ExitCode::FAILURE
    })
}

fn inside(arguments: &Arguments) -> Result<ExitCode> {
    let wanted = |row: &&Row| {
        let named = arguments.rows.is_empty() || arguments.rows.iter().any(|name| name == row.name);
        named && (row.quick || !arguments.quick)
    };
    let rows: Vec<_> = ROWS.iter().filter(wanted).collect();
    if let Some(name) = arguments.rows.iter().find(|name| ROWS.iter().all(|row| row.name != **name)) {
        bail!("there is no row {name:?}; --list shows them");
    }
    Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(async {
        // The first process of a namespace is ended by no signal that it does not take.
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        tokio::select! {
            ended = all(&rows, arguments.runs) => ended,
            _ = terminate.recv() => bail!("told to end"),
            _ = interrupt.recv() => bail!("told to end"),
        }
    })
}

#[derive(Deserialize)]
struct Ready {
    nodes: Vec<String>,
}

async fn all(rows: &[&Row], runs: u32) -> Result<ExitCode> {
    let aldis = std::env::current_exe()?.with_file_name("aldis");
    let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    network::build().await?;
    let python = root.join("target/venv/bin/python");
    let mut command = network::command_at(DHT, python);
    command.arg(root.join("tests/dht/nodes.py")).arg(DHT_NODES.to_string()).arg(network::address(DHT).to_string());
    let (dht, ready) = Helper::start(command).await.context("no DHT; scripts/test setup installs it")?;
    let ready: Ready = serde_json::from_str(&ready)?;

    let (mut outcomes, mut failed) = (Vec::new(), 0);
    for row in rows {
        for number in 1..=runs {
            println!("{}, run {number} of {runs}: {}", row.name, row.what);
            let directory = root.join("target/faults").join(row.name);
            let place = Place::new(aldis.clone(), directory, ready.nodes.clone()).await?;
            match timeout(RUN_MAX, row.run(place)).await {
                Ok(Ok(run)) => {
                    print!("{}", run.text());
                    failed += u32::from(!run.faults.is_empty());
                    outcomes.push(run);
                }
                Ok(Err(error)) => {
                    println!("  FAILED: {error:#}");
                    failed += 1;
                }
                Err(_) => bail!("{} takes longer than {} s", row.name, RUN_MAX.as_secs()),
            }
        }
    }
    dht.end().await?;
    println!("\n{}", report::table(&outcomes));
    let all = rows.len() * runs as usize;
    println!("faults: {} passed; {failed} failed; 0 skipped", all - failed as usize);
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
