//! The command line: one file a subcommand.
#![allow(clippy::disallowed_methods, reason = "the outside world: arguments, files, clocks and terminals are its job")]

mod cert;
mod config;
mod demo;
mod doctor;
mod edge;
mod flags;
mod genesis;
mod http;
mod id;
mod log;
mod run;
mod status;
mod table;

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

/// A federated relay through which browsers find each other and exchange WebRTC offers, answers and candidates.
#[derive(Debug, Parser)]
#[command(name = "aldis", version, about, after_help = EXAMPLES, max_term_width = 110)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  aldis demo                     three hosts, a private DHT and two edges, all on this machine
  aldis run                      a host in the open network `main`
  aldis doctor                   what works, what does not, and what to do about it
  aldis genesis new our-testnet  the key of a network of your own

Every command has its own help: aldis run --help";

/// How long to wait for tasks that are ending when the work is done.
const SHUTDOWN_TIME: Duration = Duration::from_millis(500);

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Arguments),
    Demo(demo::Arguments),
    Status(status::Arguments),
    Doctor(doctor::Arguments),
    Edge(edge::Arguments),
    Genesis(genesis::Arguments),
    Id(id::Arguments),
    Config(config::Arguments),
    Cert(cert::Arguments),
}

/// Runs the command that was given.
///
/// # Errors
/// What stopped it, as one sentence for a person.
pub fn run(arguments: Arguments) -> Result<()> {
    match arguments.command {
        Command::Run(arguments) => in_runtime(run::run(arguments)),
        Command::Demo(arguments) => in_runtime(demo::run(arguments)),
        Command::Status(arguments) => in_runtime(status::run(arguments)),
        Command::Doctor(arguments) => in_runtime(doctor::run(arguments)),
        Command::Genesis(arguments) => genesis::run(&arguments),
        Command::Id(arguments) => id::run(&arguments),
        Command::Config(arguments) => config::run(&arguments),
        Command::Cert(arguments) => cert::run(&arguments),
        Command::Edge(arguments) => in_runtime(edge::run(arguments)),
    }
}

/// The code with which the process ends after an error of [`run`].
#[must_use]
pub fn exit_code(error: &anyhow::Error) -> u8 {
    run::exit_code(error).unwrap_or(1)
}

/// Runs something that waits for sockets.
fn in_runtime(work: impl Future<Output = Result<()>>) -> Result<()> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no threads can be started")?;
    let result = runtime.block_on(work);
    // Threads that wait for input or for a name cannot be stopped; the process ends all the same.
    runtime.shutdown_timeout(SHUTDOWN_TIME);
    result
}

/// What comes from strangers must not steer the terminal.
fn clean(text: &str) -> String {
    text.chars().filter(|c| *c == '\n' || !c.is_control()).collect()
}

/// A duration for people.
fn milliseconds(time: Duration) -> String {
    let micros = time.as_micros();
    match micros {
        0..1_000 => format!("{micros} µs"),
        1_000..10_000 => format!("{}.{} ms", micros / 1_000, micros / 100 % 10),
        _ => format!("{} ms", micros / 1_000),
    }
}

/// Writes to standard output. A reader that has gone away, such as `head`, is no error.
fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(anyhow::Error::new(error).context("standard output cannot be written"))
        }
        _ => Ok(()),
    }
}
