//! `aldis doctor`: what works and what does not, in words, with the next thing to do.
//!
//! | module | what it looks at |
//! |---|---|
//! | `finding` | what one check found, for people and for scripts |
//! | `host` | the host that runs with this configuration, if one does |
//! | `system` | clock, open files, buffers |
//! | `ports` | whether they are free |
//! | `udp` | packets to the internet and back, and what stands between |
//! | `dht` | look-ups, and our own announcement |
//! | `reach` | what the running host knows of its place: NAT, mapping, who reached it, links |
//! | `certificate` | that of the gateway |
//!
//! Nothing here speaks to the running host but one GET; look-ups and packets come from sockets of their own.

mod certificate;
mod dht;
mod finding;
mod host;
mod ports;
mod reach;
mod system;
mod udp;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use tokio::time::timeout;

use super::flags::Flags;
use super::run::dht_config;
use super::{clean, print};
use crate::config::Config;
use finding::{Finding, Report};

/// No check takes longer. The look-up in a DHT that nobody answers is the longest.
const CHECK_MAX: Duration = Duration::from_secs(45);

/// Say what works, what does not, and what to do about it: ports, internet, NAT, links, certificate, limits.
///
/// Takes the same options as `aldis run`: give it those of the host. It asks the host that runs with them, and never
/// disturbs it; without one it looks at what can be seen without. It takes up to a minute where nothing answers.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  aldis doctor
  aldis doctor --config /etc/aldis.toml
  aldis doctor --json | jq '.checks[] | select(.verdict == \"wrong\")'
Exit codes:
  0  nothing is wrong
  1  something is wrong, or the configuration cannot be read
  2  the arguments are wrong")]
pub(super) struct Arguments {
    /// The running host, by an http or https URL, if it is not at listen_http
    #[arg(long, value_name = "URL", env = "ALDIS_STATUS_URL")]
    url: Option<String>,
    /// Trust only this authority (PEM) for that URL
    #[arg(long = "ca", value_name = "FILE")]
    authority: Option<PathBuf>,
    /// Print JSON, with names that stay, for scripts
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    flags: Flags,
}

pub(super) async fn run(arguments: Arguments) -> Result<()> {
    let (_, config) = arguments.flags.read()?;
    let report = examine(&config, arguments.url.as_deref(), arguments.authority).await;
    let text = if arguments.json { report.json()? } else { clean(&report.text()) };
    print(&text)?;
    match report.wrong() {
        0 => Ok(()),
        1 => bail!("one thing is wrong"),
        many => bail!("{many} things are wrong"),
    }
}

async fn examine(config: &Config, url: Option<&str>, authority: Option<PathBuf>) -> Report {
    let clock = system::Clock::start();
    let seen = host::find(config, url, authority.as_deref()).await;
    let status = seen.status();
    let (udp, dht, certificate) = tokio::join!(
        bounded("udp", udp::check(dht_config(config).nodes(), status.cloned())),
        bounded("dht", dht::check(config.clone(), status.cloned())),
        bounded("certificate", certificate::check(config.clone())),
    );
    let mut findings = vec![host::finding(config, &seen), clock.check(config)];
    findings.push(system::open_files(seen.process()));
    findings.push(system::udp_buffers(config, &seen));
    findings.extend(ports::check(config, &seen).await);
    findings.extend(udp);
    findings.extend(dht);
    findings.extend(reach::check(config, status));
    findings.extend(certificate);
    Report::new(config, status, findings)
}

/// A check that ends in time, whatever happens in it.
async fn bounded(name: &'static str, check: impl Future<Output = Vec<Finding>> + Send + 'static) -> Vec<Finding> {
    let task = tokio::spawn(check);
    let stop = task.abort_handle();
    match timeout(CHECK_MAX, task).await {
        Ok(Ok(findings)) => findings,
        Ok(Err(_)) => vec![Finding::unknown(name, "this check broke off by a fault of its own")],
        Err(_) => {
            stop.abort();
            vec![Finding::unknown(name, format!("this check did not end within {} s", CHECK_MAX.as_secs()))]
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail by panic")]
    use serde_json::json;

    use crate::net::admin::{ReachStatus, RefusedStatus, Status};

    /// A host that has run for a day, without links, in a place like this.
    pub(super) fn status(reach: &ReachStatus) -> Status {
        let discovery = json!({
            "hints": 0, "dials": 0, "dht": true, "dht_problem": null, "next_look_up_ms": 0, "dns_seeds": false,
            "dns_seeds_problem": null,
        });
        let status = json!({
            "host": "11".repeat(32), "network": { "name": "main", "tag": "00".repeat(8), "version": 1 }, "software": "",
            "gateways": [], "epoch": 1, "seq": 1, "uptime_ms": 86_400_000, "takes_edges": true, "edges": 0, "sessions": 0,
            "topics": 0, "links": [], "hosts": [], "refused": RefusedStatus::default(), "discovery": discovery, "reach": reach,
        });
        serde_json::from_value(status).unwrap()
    }
}
