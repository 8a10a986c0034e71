//! `aldis genesis`: makes and shows the key of a network.

use std::path::{Path, PathBuf};

use aldis_wire::hex;
use aldis_wire::network::{Genesis, Network};
use anyhow::{Result, bail};
use clap::{Args, Subcommand};

use super::print;
use crate::genesis;

/// Make or show the genesis of a network.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    New(New),
    Show(Show),
}

/// Make the genesis of a new network, with a random key.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  aldis genesis new our-testnet                  writes our-testnet.genesis.toml, mode 0600
  aldis genesis new our-testnet --out - | pass insert -m aldis
Then, on every host of the network:
  aldis run --genesis our-testnet.genesis.toml")]
struct New {
    /// The network's name, for people: 1 to 64 bytes
    name: String,
    /// Where to write it, or - for standard output [default: <NAME>.genesis.toml]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Show what follows from a genesis. The key itself is shown only on request.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  aldis genesis show our-testnet.genesis.toml
  aldis genesis show --network main")]
struct Show {
    /// A genesis file
    #[arg(required_unless_present = "network", conflicts_with = "network")]
    file: Option<PathBuf>,
    /// An open network, by its name
    #[arg(long, value_name = "NAME")]
    network: Option<String>,
    /// Show the secret key as well
    #[arg(long)]
    secret: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    match &arguments.command {
        Command::New(new) => make(new),
        Command::Show(show) => describe(show),
    }
}

fn make(new: &New) -> Result<()> {
    let genesis = genesis::random(&new.name)?;
    let path = match &new.out {
        Some(path) if path == Path::new("-") => return print(&genesis::text(&genesis)),
        Some(path) => path.clone(),
        None if is_file_name(&new.name) => PathBuf::from(format!("{}.genesis.toml", new.name)),
        None => bail!("the name {:?} makes no good file name; say where to write with --out FILE", new.name),
    };
    genesis::create(&path, &genesis)?;
    print(&format!(
        "{}\nWritten to {}. Whoever holds this file may run a host of the network: pass it on like a password.\n",
        summary(&genesis),
        path.display()
    ))
}

fn describe(show: &Show) -> Result<()> {
    let genesis = match (&show.file, &show.network) {
        (Some(file), _) => genesis::read(file)?,
        (None, Some(name)) => Genesis::open(name)?,
        (None, None) => bail!("name a genesis file or --network NAME"),
    };
    let mut text = summary(&genesis);
    if show.secret {
        text.push_str(&format!("key         {}   secret\n", hex::encode(genesis.key())));
    }
    print(&text)
}

/// What may be known by everybody.
fn summary(genesis: &Genesis) -> String {
    let network = Network::new(genesis);
    format!(
        "network     {}\nversion     {}\ntag         {}\nrendezvous  {}   the info-hash in the mainline DHT\nALPN        {}\n",
        network.name,
        network.version,
        network.tag,
        hex::encode(&network.rendezvous),
        String::from_utf8_lossy(&network.alpn()),
    )
}

fn is_file_name(name: &str) -> bool {
    !name.starts_with(['.', '-']) && name.chars().all(|c| c.is_alphanumeric() || "-_.".contains(c))
}
