//! The laboratory's network: a hub, and one namespace for each host, with one cable to the hub.
//!
//! The program itself runs in the hub, in namespaces of its own (network, mounts, processes) that the kernel takes down
//! when it ends, however it ends. Edges connect from the hub, so faults between hosts leave them alone.
//!
//! ```text
//! hub 10.47.N.1 ── 10.47.N.2 host N
//! ```
//!
//! Faults are made where the hub forwards packets: nft drops them, `delay.py` holds them.

use std::ffi::OsStr;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use aldis_laboratory::process::{self, Helper, run, run_with};
use anyhow::{Result, ensure};
use tokio::process::Command;
use tokio::time::{Instant, sleep};

/// The five hosts of the load, one that may come later, and the DHT.
pub(crate) const CABLES: usize = 7;
pub(crate) const NEWCOMER: usize = 5;
pub(crate) const DHT: usize = 6;
const QUIC_PORT: u16 = 47_474;
const HTTP_PORT: u16 = 8_400;
/// What was killed has ended after this.
const ENDED_MAX: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Where a host is.
pub(crate) fn address(host: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 47, u8::try_from(host).unwrap_or(u8::MAX), 2)
}

/// The hub's end of a host's cable.
pub(crate) fn hub(host: usize) -> Ipv4Addr {
    let [a, b, c, _] = address(host).octets();
    Ipv4Addr::new(a, b, c, 1)
}

pub(crate) fn quic(host: usize) -> SocketAddr {
    (address(host), QUIC_PORT).into()
}

pub(crate) fn http(host: usize) -> SocketAddr {
    (address(host), HTTP_PORT).into()
}

/// Builds everything. To be called once, in namespaces of its own.
pub(crate) async fn build() -> Result<()> {
    process::settle().await?;
    run(["sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv4.conf.all.rp_filter=0"]).await?;
    run(["sysctl", "-qw", "net.ipv4.conf.default.rp_filter=0"]).await?;
    for host in 0..CABLES {
        let (name, hub, own) = (name(host), hub(host), address(host));
        run(["ip", "netns", "add", &name]).await?;
        run(["ip", "link", "add", &name, "type", "veth", "peer", "name", "eth0", "netns", &name]).await?;
        run(["ip", "addr", "add", &format!("{hub}/24"), "dev", &name]).await?;
        run(["ip", "link", "set", &name, "up"]).await?;
        run(["ip", "-n", &name, "addr", "add", &format!("{own}/24"), "dev", "eth0"]).await?;
        run(["ip", "-n", &name, "link", "set", "lo", "up"]).await?;
        run(["ip", "-n", &name, "link", "set", "eth0", "up"]).await?;
        run(["ip", "-n", &name, "route", "add", "default", "via", &hub.to_string()]).await?;
    }
    Ok(())
}

/// Waits until no process is left where hosts run: one that was killed a moment ago still has its ports, on a busy machine.
pub(crate) async fn deserted() -> Result<()> {
    let deadline = Instant::now() + ENDED_MAX;
    loop {
        let mut left = String::new();
        for host in 0..DHT {
            left += &run(["ip", "netns", "pids", &name(host)]).await?;
        }
        if left.trim().is_empty() {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "processes of the run before do not end: {left:?}");
        sleep(LOOK_EVERY).await;
    }
}

/// Puts these rules, and no others, on packets between hosts.
pub(crate) async fn rules(rules: &[String]) -> Result<()> {
    let rules = rules.join("\n  ");
    // What is delayed is forwarded twice: into the delay and out of it. The rules are for the second time.
    let chain = "type filter hook forward priority 0; oifname != \"h*\" accept";
    nft(&format!("flush ruleset\ntable ip lab {{\n chain forward {{\n  {chain}\n  {rules}\n }}\n}}\n")).await
}

/// Packets that rules with a `counter` have met.
pub(crate) async fn counted() -> Result<u64> {
    let listed = run(["nft", "list", "ruleset"]).await?;
    let counts = listed.split("counter packets ").skip(1).map(|rest| rest.split(' ').next().unwrap_or_default());
    Ok(counts.map(str::parse::<u64>).sum::<Result<u64, _>>()?)
}

/// Cuts every way between these hosts and those.
pub(crate) async fn part(some: &[usize], others: &[usize]) -> Result<()> {
    rules(&[drop_between(some, others), drop_between(others, some)].concat()).await
}

/// Cuts the only cable of a host: from now on neither hosts nor edges hear of it, and nothing is refused.
pub(crate) async fn unplug(host: usize) -> Result<()> {
    let address = address(host);
    let chain = |hook: &str| {
        let drop = format!("ip saddr {address} drop; ip daddr {address} drop;");
        format!(" chain {hook} {{ type filter hook {hook} priority 0; {drop} }}\n")
    };
    nft(&format!("flush ruleset\ntable ip lab {{\n{}}}\n", ["input", "output", "forward"].map(chain).concat())).await
}

/// Where others see a host that is behind a router: one address of its cable that nothing else has, with a last number
/// from 3 on, and a port of the router's choice.
pub(crate) fn outside(host: usize, last: u8, port: u16) -> SocketAddr {
    let [a, b, c, _] = address(host).octets();
    (Ipv4Addr::new(a, b, c, last), port).into()
}

/// Puts a router before a host, and takes every other rule away: the host is seen at this address, and reached at no other
/// one. A second call gives it another router, which has no open port of the first.
pub(crate) async fn translate(host: usize, outside: SocketAddr) -> Result<()> {
    let inside = quic(host);
    let rule = |end: &str, from: SocketAddr, to: SocketAddr| {
        let (is, becomes) = ((from.ip(), from.port()), (to.ip(), to.port()));
        let is = format!("ip {end}addr {} udp {end}port {}", is.0, is.1);
        format!("{is} ip {end}addr set {} udp {end}port set {}", becomes.0, becomes.1)
    };
    let chain = |name: &str, hook: &str, rules: &[String]| {
        let rules = rules.join("\n  ");
        format!(" chain {name} {{\n  type filter hook {hook};\n  {rules}\n }}\n")
    };
    let around = format!("ip daddr {} udp dport {} drop", inside.ip(), inside.port());
    let into = chain("into", "prerouting priority raw", &[around, rule("d", outside, inside)]);
    let out = chain("out", "postrouting priority srcnat", &[rule("s", inside, outside)]);
    nft(&format!("flush ruleset\ntable ip lab {{\n{into}{out}}}\n")).await
}

/// Everything passes again.
pub(crate) async fn heal() -> Result<()> {
    nft("flush ruleset\n").await
}

/// Holds every packet between hosts for so long, one way, until [`no_delay`].
pub(crate) async fn delay(by: Duration) -> Result<Helper> {
    let mut command = Command::new("python3");
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/delay.py")).arg(by.as_millis().to_string());
    let (delay, _) = Helper::start(command).await?;
    run(["ip", "route", "replace", "default", "dev", "delay", "table", "47"]).await?;
    for host in 0..CABLES {
        run(["ip", "rule", "add", "iif", &name(host), "lookup", "47"]).await?;
    }
    Ok(delay)
}

/// Packets pass at once again.
pub(crate) async fn no_delay(delay: Helper) -> Result<()> {
    for host in 0..CABLES {
        run(["ip", "rule", "del", "iif", &name(host), "lookup", "47"]).await?;
    }
    delay.end().await
}

/// Rules that drop what goes from these hosts to those.
pub(crate) fn drop_between(from: &[usize], to: &[usize]) -> Vec<String> {
    let pairs = from.iter().flat_map(|from| to.iter().map(|to| (address(*from), address(*to))));
    pairs.map(|(from, to)| format!("ip saddr {from} ip daddr {to} drop")).collect()
}

/// A command that runs in a host's namespace.
pub(crate) fn command_at(host: usize, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", &name(host)]).arg(program);
    command
}

fn name(host: usize) -> String {
    format!("h{host}")
}

async fn nft(script: &str) -> Result<()> {
    run_with(["nft", "-f", "-"], script).await.map(drop)
}
