//! The command line: one file a subcommand.
#![allow(clippy::disallowed_methods, reason = "the outside world: arguments, files, clocks and terminals are its job")]

mod cert;
mod config;
mod flags;
mod genesis;
mod id;

use std::io::Write;

use anyhow::Result;
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
  aldis genesis new our-testnet  the key of a network of your own

Every command has its own help: aldis run --help";

#[derive(Debug, Subcommand)]
enum Command {
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
        Command::Genesis(arguments) => genesis::run(&arguments),
        Command::Id(arguments) => id::run(&arguments),
        Command::Config(arguments) => config::run(&arguments),
        Command::Cert(arguments) => cert::run(&arguments),
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
