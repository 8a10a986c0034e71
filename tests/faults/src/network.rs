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
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// The five hosts of the load, one that may come later, and the DHT.
pub(crate) const CABLES: usize = 7;
pub(crate) const NEWCOMER: usize = 5;
pub(crate) const DHT: usize = 6;
const QUIC_PORT: u16 = 47_474;
const HTTP_PORT: u16 = 8_400;
/// Helper programs are ready within this.
const READY_MAX: Duration = Duration::from_secs(30);

/// The namespaces of the hub, in which to begin again; what to run follows.
pub(crate) const UNSHARE: [&str; 8] =
    ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--"];

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

/// Builds everything. To be called once, in the namespaces of [`UNSHARE`].
pub(crate) async fn build() -> Result<()> {
    // Names of namespaces are files in /run: ours must not be seen outside.
    run(["mount", "-t", "tmpfs", "tmpfs", "/run"]).await?;
    run(["ip", "link", "set", "lo", "up"]).await?;
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

/// Puts these rules, and no others, on packets between hosts.
pub(crate) async fn rules(rules: &[String]) -> Result<()> {
    let rules = rules.join("\n  ");
    // What is delayed is forwarded twice: into the delay and out of it. The rules are for the second time.
    let chain = "type filter hook forward priority 0; oifname != \"h*\" accept";
    nft(&format!("flush ruleset\ntable ip lab {{\n chain forward {{\n  {chain}\n  {rules}\n }}\n}}\n")).await
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

/// Runs a short command to its end.
pub(crate) async fn run(words: impl IntoIterator<Item = &str>) -> Result<String> {
    let words: Vec<_> = words.into_iter().collect();
    let (program, arguments) = words.split_first().context("no command")?;
    let ended = Command::new(program).args(arguments).stdin(Stdio::null()).output().await;
    let ended = ended.with_context(|| format!("cannot run {program}"))?;
    let said = String::from_utf8_lossy(&ended.stderr);
    ensure!(ended.status.success(), "{}: {}", words.join(" "), said.trim());
    Ok(String::from_utf8_lossy(&ended.stdout).into_owned())
}

async fn nft(script: &str) -> Result<()> {
    let mut child = Command::new("nft").args(["-f", "-"]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    child.stdin.take().context("no standard input")?.write_all(script.as_bytes()).await?;
    let ended = child.wait_with_output().await?;
    ensure!(ended.status.success(), "nft: {}\n{script}", String::from_utf8_lossy(&ended.stderr).trim());
    Ok(())
}

/// A program that says on its first line that it is ready, and ends when its standard input closes.
#[derive(Debug)]
pub(crate) struct Helper(Child);

impl Helper {
    /// Gives the line too.
    pub(crate) async fn start(mut command: Command) -> Result<(Self, String)> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("cannot run {command:?}"))?;
        let mut line = String::new();
        let reading = BufReader::new(child.stdout.take().context("no standard output")?);
        let mut reading = reading.take(1 << 16);
        timeout(READY_MAX, reading.read_line(&mut line)).await.context("a helper is not ready in time")??;
        if line.is_empty() {
            bail!("{command:?} ended at once; the reason stands above");
        }
        Ok((Self(child), line))
    }

    pub(crate) async fn end(mut self) -> Result<()> {
        self.0.kill().await.context("cannot end a helper")
    }
}
