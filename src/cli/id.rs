//! `aldis id`: who this host is, and the end of its identity.

use std::path::{Path, PathBuf};

use aldis_wire::revocation::Revocation;
use anyhow::{Result, bail};
use clap::{Args, Subcommand};

use super::flags::Flags;
use super::print;
use crate::config::Config;
use crate::identity::{self, KEY_FILE};
use crate::lock::Lock;
use crate::{hosts, textfile};

/// Show this host's id; make its key if there is none yet.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
#[command(after_help = "\
Examples:
  aldis id
  aldis id --data-dir /var/lib/aldis
  aldis id revoke                 now, while the key is safe: what ends this identity if it is ever stolen
Another host links to this one, without any DHT, by:
  aldis run --peers <ID>@relay.example.org:47474")]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    flags: Flags,
}

#[derive(Debug, Subcommand)]
enum Command {
    Revoke(Revoke),
}

/// Make the statement that revokes this host's identity, or publish one.
///
/// Without --publish it writes the statement to a file and tells nobody. Make it now, keep it offline, apart from the
/// machine: who steals the key can be this host until the statement is published.
///
/// With --publish it hands the statement to the host of this data directory, which tells all hosts of its network: within
/// seconds none has a link with the revoked identity or shows its edges, and none ever will again. Any host of the
/// network will do, also one made for the purpose; the key is not needed. Nothing takes it back.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  aldis id revoke                              writes <first digits of the id>.revocation.toml, mode 0600
  aldis id revoke --out /media/usb/host1.revocation.toml
  aldis id revoke --publish host1.revocation.toml --data-dir /var/lib/aldis
  aldis run --genesis our-testnet.genesis.toml --revocation host1.revocation.toml
                                               from a machine without a host: one runs, and publishes it")]
struct Revoke {
    /// Where to write the statement, or - for standard output [default: <first digits of the id>.revocation.toml]
    #[arg(long, value_name = "FILE", conflicts_with = "publish")]
    out: Option<PathBuf>,
    /// Publish this statement, a file that --out has written
    #[arg(long, value_name = "FILE")]
    publish: Option<PathBuf>,
    #[command(flatten)]
    flags: Flags,
}

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    match &arguments.command {
        None => show(&arguments.flags.read()?.1),
        Some(Command::Revoke(revoke)) => {
            let (_, config) = revoke.flags.read()?;
            match &revoke.publish {
                Some(file) => publish(file, &config.data_dir),
                None => make(revoke.out.as_deref(), &config.data_dir),
            }
        }
    }
}

fn show(config: &Config) -> Result<()> {
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

fn make(out: Option<&Path>, data_dir: &Path) -> Result<()> {
    let Some(key) = identity::load(data_dir)? else {
        bail!("there is no host key in {}; name the host's directory with --data-dir", data_dir.display());
    };
    let text = hosts::revocation_text(&Revocation::make(&key.identity));
    let path = match out {
        Some(path) if path == Path::new("-") => return print(&text),
        Some(path) => path.to_owned(),
        None => PathBuf::from(format!("{}.revocation.toml", key.id().short())),
    };
    textfile::create_secret(&path, &text)?;
    print(&format!(
        "Written to {}: it revokes the host {}.\nNothing is published. Keep it offline, apart from this machine, and \
         see that nobody else gets it.\n",
        path.display(),
        key.id()
    ))
}

fn publish(file: &Path, data_dir: &Path) -> Result<()> {
    let revocation = hosts::read_revocation(file)?;
    hosts::hand_over(data_dir, &revocation)?;
    let when = match Lock::holder(data_dir) {
        Some(in_use) => {
            let process = in_use.pid.map_or(String::new(), |pid| format!(" (process {pid})"));
            format!("The running host{process} publishes it within a second; its log says so.")
        }
        None => "No host runs with this data directory: it is published as soon as one does (aldis run).".to_owned(),
    };
    print(&format!(
        "Handed to the host in {}: the host {} is to be revoked.\n{when}\n",
        data_dir.display(),
        revocation.host()
    ))
}
