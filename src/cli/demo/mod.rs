//! `aldis demo`: the whole of it on one machine, for somebody who has just cloned it.

mod account;
mod hosts;
mod sdp;
mod story;

use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use futures_util::future::join_all;
use tokio::signal::unix::{SignalKind, signal};

use self::account::Account;
use self::hosts::{DHT_NODES, HOSTS, Scratch};
use super::{log, print};
use crate::config::LogFormat;
use crate::genesis;
use crate::net::driver::Host;

const DHT_DEADLINE: Duration = Duration::from_secs(20);
const START_DEADLINE: Duration = Duration::from_secs(20);
/// A host that finds nobody asks the DHT again after 30 s; then they must have met.
const MEETING_DEADLINE: Duration = Duration::from_secs(60);

/// Show Aldis at work on this machine, with pages to try it.
///
/// A private DHT, three hosts that share nothing but it, two edges that exchange an offer, an answer and candidates; then
/// a page on each host to open in a browser. Everything is on loopback; no other machine is contacted.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  aldis demo                    and then open two of the pages it names
  aldis demo --once             leave after the account; exit code 0 if every step worked
  aldis demo --http-port 9000   pages on ports 9000, 9001 and 9002")]
pub(super) struct Arguments {
    /// The first of three TCP ports for the pages
    #[arg(long, value_name = "PORT", default_value_t = 8401, value_parser = clap::value_parser!(u16).range(1..=65533))]
    http_port: u16,
    /// Leave after the account
    #[arg(long)]
    once: bool,
    /// Also print the hosts' logs, on stderr: error, warn, info, debug or trace
    #[arg(long, value_name = "FILTER", default_value = "error")]
    log_level: String,
}

pub(super) async fn run(arguments: Arguments) -> Result<()> {
    log::start(LogFormat::Human, &arguments.log_level)?;
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be caught")?;
    let ports: Vec<u16> = (0..HOSTS).map(|n| arguments.http_port + n).collect();
    let scratch = Scratch::new()?;
    let mut account = Account::new();
    print("Aldis: a network on this machine alone. Every step is timed.\n\n")?;

    let dht = account
        .step("a private DHT starts", DHT_DEADLINE, async {
            Ok((hosts::start_dht().await?, format!("A private DHT of {DHT_NODES} nodes stands on 127.0.0.1")))
        })
        .await?;
    let genesis = genesis::random("demo")?;
    let mut running = Vec::new();
    for (n, port) in (0..HOSTS).zip(&ports) {
        let name = format!("host {} starts", n + 1);
        let host = account
            .step(&name, START_DEADLINE, async {
                let host = hosts::start_host(n, &genesis, &dht, *port, scratch.path()).await?;
                let id = host.id().short();
                let words = format!("Host {} ({id}, port {port}) starts; it knows the genesis key and the DHT", n + 1);
                Ok((host, words))
            })
            .await?;
        running.push(host);
    }
    let told = tokio::select! {
        told = story(&mut account, &running, &ports) => told,
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
        _ = terminate.recv() => Err(anyhow::anyhow!("interrupted")),
    };
    if told.is_ok() && !arguments.once {
        invite(&ports)?;
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
        print("\nEnding the hosts.\n")?;
    }
    join_all(running.into_iter().map(Host::stop)).await;
    told
}

/// From three hosts that know nobody to two edges that could open a data channel.
async fn story(account: &mut Account, running: &[Host], ports: &[u16]) -> Result<()> {
    let others = running.len() - 1;
    account
        .step("the hosts find each other through the DHT and link", MEETING_DEADLINE, async {
            hosts::all_hosts(running, |view| view.links.len() >= others).await;
            Ok(((), "The hosts have found each other through the DHT; everyone is linked with everyone".to_owned()))
        })
        .await?;
    account
        .step("the hosts learn each other's rosters", MEETING_DEADLINE, async {
            hosts::all_hosts(running, |view| view.hosts.iter().filter(|host| host.live).count() >= others).await;
            Ok(((), "Every host has the signed roster of every other".to_owned()))
        })
        .await?;
    for (n, host) in running.iter().enumerate() {
        for link in host.hub().view().links {
            let other = running.iter().position(|host| host.id() == link.host);
            if let Some(other) = other.filter(|other| *other > n) {
                let group = host.hub().key_exchange(link.link).unwrap_or("unknown");
                let time = super::milliseconds(link.rtt);
                account.note(&format!("link {} - {}: QUIC, round trip {time}, keys by {group}", n + 1, other + 1))?;
            }
        }
    }
    let gateways: Vec<_> = ports.iter().map(|port| hosts::gateway(*port)).collect();
    if let [first, second, ..] = gateways.as_slice() {
        story::tell(account, [first, second]).await?;
    }
    print(&format!("\nAll of it worked, in {}.\n", super::milliseconds(account.time())))
}

fn invite(ports: &[u16]) -> Result<()> {
    let mut text = String::from(
        "\nNow with browsers: open two of these pages, in two tabs, on two different hosts. They find each other, exchange\n\
         their signals through the hosts, and then talk directly.\n\n",
    );
    for (n, port) in ports.iter().enumerate() {
        text.push_str(&format!("  host {}   http://localhost:{port}/\n", n + 1));
    }
    text.push_str("\nMore to see:  aldis status http://localhost:");
    text.push_str(&ports.first().map(ToString::to_string).unwrap_or_default());
    text.push_str("\nCtrl-C ends the demo.\n");
    print(&text)
}
