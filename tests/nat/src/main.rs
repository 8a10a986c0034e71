//! The NAT laboratory: real hosts behind NATs of every kind, real DHT nodes, edges at both ends, and signals that flow
//! all the time.
//!
//!     scripts/nat                    every pair and every row, one report
//!     scripts/nat port-port reboot   these
//!
//! Lost, duplicated and disordered signals must be 0, and each pair must have the way that is expected of it, or the
//! program fails. Times are printed beside what is hoped for, and fail nothing.
//!
//! | module | what |
//! |---|---|
//! | [`lab`] | an internet of namespaces, and ways into its nodes |
//! | [`host`] | a host as a process |
//! | [`load`] | edges and signals |
//! | [`counts`] | packets, counted by the kernel |
//! | [`liar`] | a host that lies |
//! | [`pairs`] | two hosts behind NATs: the table |
//! | [`rows`] | what else happens |

#![allow(clippy::disallowed_methods, reason = "the outside world: it owns clocks, processes and files")]

mod counts;
mod host;
mod lab;
mod liar;
mod load;
mod pairs;
mod rows;

use std::cell::RefCell;
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use aldis_laboratory::report::Outcomes;
use aldis_laboratory::{process, report};
use anyhow::{Context, Result, bail};
use clap::Parser;
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::{JoinSet, LocalSet};
use tokio::time::timeout;

use host::Place;
use pairs::{Met, PAIRS, Pair};
use rows::{ROWS, Row};

/// No run takes longer, or something hangs.
const RUN_MAX: Duration = Duration::from_secs(240);

/// Runs real hosts behind NATs, and shows how they reach each other and what became of the signals.
#[derive(Debug, Parser)]
struct Arguments {
    /// Pairs and rows to run; none: all
    rows: Vec<String>,
    /// Runs of each
    #[arg(long, default_value_t = 1)]
    runs: u32,
    /// How many internets to have at a time; times are worth less when they share a processor
    #[arg(long, default_value_t = 1)]
    jobs: usize,
    /// Only the few that run on every change
    #[arg(long)]
    quick: bool,
    /// Say what there is and end
    #[arg(long)]
    list: bool,
    /// Already in namespaces of its own
    #[arg(long, hide = true)]
    inside: bool,
}

impl Arguments {
    fn wants(&self, name: &str, quick: bool) -> bool {
        let named = self.rows.is_empty() || self.rows.iter().any(|row| row == name);
        named && (quick || !self.quick)
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let ended = if arguments.list {
        PAIRS.iter().for_each(|pair| println!("{}", pair.name));
        ROWS.iter().for_each(|row| println!("{:<24} {}", row.name, row.what));
        Ok(ExitCode::SUCCESS)
    } else if arguments.inside {
        inside(&arguments)
    } else {
        process::enter("nat")
    };
    ended.unwrap_or_else(|error| {
        eprintln!("nat: {error:#}");
        ExitCode::FAILURE
    })
}

fn inside(arguments: &Arguments) -> Result<ExitCode> {
    let is_there = |name: &str| PAIRS.iter().any(|pair| pair.name == name) || ROWS.iter().any(|row| row.name == name);
    if let Some(name) = arguments.rows.iter().find(|name| !is_there(name)) {
        bail!("there is no {name:?}; --list shows what there is");
    }
    Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(async {
        // The first process of a namespace is ended by no signal that it does not take.
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        tokio::select! {
            ended = all(arguments) => ended,
            _ = terminate.recv() => bail!("told to end"),
            _ = interrupt.recv() => bail!("told to end"),
        }
    })
}

/// What is to be run once.
#[derive(Clone, Copy)]
enum Job {
    Pair(&'static Pair),
    Row(&'static Row),
}

impl Job {
    fn name(self) -> &'static str {
        match self {
            Self::Pair(pair) => pair.name,
            Self::Row(row) => row.name,
        }
    }
}

/// What came of it.
enum Ended {
    Pair(Met),
    Row(Outcomes),
    Nothing,
}

impl Ended {
    fn holds(&self) -> bool {
        match self {
            Self::Pair(met) => met.is_whole() && met.is_as_expected(),
            Self::Row(outcomes) => outcomes.faults.is_empty(),
            Self::Nothing => false,
        }
    }
}

async fn all(arguments: &Arguments) -> Result<ExitCode> {
    process::settle().await?;
    let pairs = PAIRS.iter().filter(|pair| arguments.wants(pair.name, pair.quick)).map(Job::Pair);
    let rows = ROWS.iter().filter(|row| arguments.wants(row.name, row.quick)).map(Job::Row);
    let waiting: Vec<_> =
        pairs.chain(rows).flat_map(|job| (1..=arguments.runs).map(move |run| (job, run))).rev().collect();
    let (waiting, mut workers) = (Rc::new(RefCell::new(waiting)), JoinSet::new());
    let here = LocalSet::new();
    for worker in 0..arguments.jobs {
        workers.spawn_local_on(work(worker, waiting.clone()), &here);
    }
    let ended: Vec<_> = here.run_until(workers.join_all()).await.into_iter().flatten().collect();
    let passed = ended.iter().filter(|ended| ended.holds()).count();
    let total = ended.len();
    let (mut met, mut rows) = (Vec::new(), Vec::new());
    for ended in ended {
        match ended {
            Ended::Pair(it) => met.push(it),
            Ended::Row(it) => rows.push(it),
            Ended::Nothing => {}
        }
    }
    met.sort_by_key(|met| PAIRS.iter().position(|pair| pair.name == met.name));
    rows.sort_by_key(|it| ROWS.iter().position(|row| row.name == it.row));
    println!("\n{}\n{}", pairs::table(&met), report::table(&rows));
    println!("nat: {passed} passed; {} failed; 0 skipped", total - passed);
    Ok(if passed == total { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Takes one job after another, each in an internet of its own.
async fn work(worker: usize, waiting: Rc<RefCell<Vec<(Job, u32)>>>) -> Vec<Ended> {
    let mut all = Vec::new();
    loop {
        let Some((job, run)) = waiting.borrow_mut().pop() else { return all };
        let ended = timeout(RUN_MAX, one(job, run, worker)).await;
        let ended = ended.context("it takes too long").and_then(|ended| ended).unwrap_or_else(|error| {
            println!("{}, run {run}\n  FAILED: {error:#}", job.name());
            Ended::Nothing
        });
        match &ended {
            Ended::Pair(Met { outcomes, .. }) | Ended::Row(outcomes) => {
                print!("{}, run {run}\n{}", job.name(), outcomes.text());
            }
            Ended::Nothing => {}
        }
        all.push(ended);
    }
}

async fn one(job: Job, run: u32, worker: usize) -> Result<Ended> {
    let aldis = std::env::current_exe()?.with_file_name("aldis");
    let logs = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/nat"));
    let place = Place::new(&aldis, logs.join(format!("{}-{run}", job.name()))).await?;
    let lab = format!("lab{worker}");
    Ok(match job {
        Job::Pair(pair) => Ended::Pair(pair.run(&lab, place).await?),
        Job::Row(row) => Ended::Row(row.run(&lab, place).await?),
    })
}
