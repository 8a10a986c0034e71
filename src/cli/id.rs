//! `aldis id`: who this host is.

use anyhow::Result;
use clap::Args;

use super::flags::Flags;
use super::print;
use crate::identity::{self, KEY_FILE};

/// Show this host's id; make its key if there is none yet.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  aldis id
  aldis id --data-dir /var/lib/aldis
Another host links to this one, without any DHT, by:
  aldis run --peers <ID>@relay.example.org:47474")]
pub(super) struct Arguments {
    #[command(flatten)]
    flags: Flags,
}

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let (_, config) = arguments.flags.read()?;
    let (key, new) = identity::load_or_create(&config.data_dir)?;
    let made = if new { "   made now" } else { "" };
    print(&format!(
        "id          {}{made}\nnetwork     {} {}\nkey file    {}\n",
        key.id(),
        config.network.name,
        config.network.tag,
        config.data_dir.join(KEY_FILE).display()
    ))
}
