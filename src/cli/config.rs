//! `aldis config`: the effective configuration and where it comes from.

use anyhow::Result;
use clap::Args;

use super::flags::Flags;
use super::print;
use crate::config;

/// Show the effective configuration and where each value comes from.
///
/// What it prints is itself a valid aldis.toml.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  aldis config
  ALDIS_LISTEN_HTTP=0.0.0.0:80 aldis config --dht false
  aldis config > aldis.toml      a file with every field, to begin with")]
pub(super) struct Arguments {
    #[command(flatten)]
    flags: Flags,
}

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let (sources, config) = arguments.flags.read()?;
    print(&config::show(&sources, &config.data_dir))
}
