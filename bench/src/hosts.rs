//! The hosts under measurement: started here from the release binary, or given by address and process id.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use crate::machine::NETWORK;

/// Options that lift every limit by which a host protects itself from one address: all edges here share one.
const UNLIMITED: [&str; 10] = [
    "--edge-rate=0/0",
    "--edge-change-rate=0/0",
    "--address-rate=0/0",
    "--address-open-rate=0/0",
    "--edges-per-address-max=1000000",
    "--dht=false",
    "--allow-private=true",
    "--log-level=error",
    "--log-format=json",
    "--ice-servers=[]",
];
/// How long hosts may take to start and to link.
const START_DEADLINE: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// A page, the status of a large network above all.
const PAGE_BYTES_MAX: u64 = 4 << 20;

/// Which hosts to measure.
#[derive(Debug, Args)]
pub(crate) struct Wanted {
    /// The program to start hosts from; default: `aldis` beside this one
    #[arg(long, global = true)]
    aldis: Option<PathBuf>,
    /// CPUs on which the hosts that are started here may run, as `taskset -c` takes them
    #[arg(long, global = true)]
    host_cpus: Option<String>,
    /// Measure hosts that run already, at these addresses
    #[arg(long, global = true, value_delimiter = ',', requires = "pids")]
    urls: Vec<SocketAddr>,
    /// Their process ids, in the same order
    #[arg(long, global = true, value_delimiter = ',', requires = "urls")]
    pids: Vec<u32>,
}

/// Hosts that are ready, and linked if there are two.
#[derive(Debug)]
pub(crate) struct Hosts {
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) pids: Vec<u32>,
    /// Ended when dropped.
    _children: Vec<Child>,
    _directory: Option<Directory>,
}

/// Removed when dropped.
#[derive(Debug)]
struct Directory(PathBuf);

impl Drop for Directory {
    fn drop(&mut self) {
        _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Hosts {
    /// The first host, and the last: the same one if it is alone.
    pub(crate) fn ends(&self) -> Result<(SocketAddr, SocketAddr)> {
        Ok((*self.addresses.first().context("no host")?, *self.addresses.last().context("no host")?))
    }

    /// Address and process of the host that was started last.
    pub(crate) fn last(&self) -> Result<(SocketAddr, u32)> {
        Ok((*self.addresses.last().context("no host")?, *self.pids.last().context("no host")?))
    }

    /// Starts `count` hosts, or takes as many of those given.
    pub(crate) async fn get(wanted: &Wanted, count: usize) -> Result<Self> {
        if wanted.urls.is_empty() {
            return Self::start(wanted, count).await;
        }
        ensure!(wanted.urls.len() == wanted.pids.len(), "as many --pids as --urls");
        ensure!(wanted.urls.len() >= count, "this needs {count} hosts");
        let addresses: Vec<SocketAddr> = wanted.urls.iter().take(count).copied().collect();
        let pids = wanted.pids.iter().take(count).copied().collect();
        Ok(Self { addresses, pids, _children: Vec::new(), _directory: None })
    }

    async fn start(wanted: &Wanted, count: usize) -> Result<Self> {
        let mut hosts = Self::none();
        let mut first = None;
        for _ in 0..count {
            let quic = hosts.add(wanted, first)?;
            first = first.or(Some(quic));
        }
        hosts.linked().await?;
        Ok(hosts)
    }

    /// No host yet.
    pub(crate) fn none() -> Self {
        let directory = Directory(std::env::temp_dir().join(format!("aldis-bench-{}", std::process::id())));
        Self { addresses: Vec::new(), pids: Vec::new(), _children: Vec::new(), _directory: Some(directory) }
    }

    /// Starts another host that knows one at `peer`. Gives its address for links.
    pub(crate) fn add(&mut self, wanted: &Wanted, peer: Option<SocketAddr>) -> Result<SocketAddr> {
        ensure!(wanted.urls.is_empty(), "this starts its hosts itself");
        let program = match &wanted.aldis {
            Some(program) => program.clone(),
            None => std::env::current_exe()?.with_file_name("aldis"),
        };
        ensure!(program.exists(), "there is no {}: cargo build --release, or --aldis", program.display());
        let directory = self._directory.as_ref().context("these hosts run already")?;
        let (http, quic) = free_addresses()?;
        let data = directory.0.join(self.pids.len().to_string());
        std::fs::create_dir_all(&data)?;
        let mut command = command(&program, wanted.host_cpus.as_deref());
        command.arg("run").args(UNLIMITED).args(["--network", NETWORK]);
        command.arg("--listen-http").arg(http.to_string()).arg("--listen-quic").arg(quic.to_string());
        command.arg("--data-dir").arg(&data);
        if let Some(peer) = peer {
            command.arg("--peers").arg(peer.to_string());
        }
        let child = command.stdout(Stdio::null()).kill_on_drop(true).spawn().context("cannot start a host")?;
        self.pids.push(child.id().context("a host ended at once")?);
        self._children.push(child);
        self.addresses.push(http);
        Ok(quic)
    }

    /// Waits until every host has a link to every other.
    async fn linked(&mut self) -> Result<()> {
        let others = self.addresses.len() - 1;
        let deadline = Instant::now() + START_DEADLINE;
        for (address, child) in self.addresses.iter().zip(&mut self._children) {
            loop {
                if let Some(status) = child.try_wait()? {
                    bail!("a host ended: {status}");
                }
                match links(*address).await {
                    Ok(links) if links == others => break,
                    outcome => ensure!(Instant::now() < deadline, "the hosts are not linked in time: {outcome:?}"),
                }
                sleep(LOOK_EVERY).await;
            }
        }
        Ok(())
    }
}

fn command(program: &Path, cpus: Option<&str>) -> Command {
    match cpus {
        None => Command::new(program),
        // It becomes the host by exec, so the process id is the host's.
        Some(cpus) => {
            let mut command = Command::new("taskset");
            command.args(["-c", cpus]).arg(program);
            command
        }
    }
}

/// Two addresses that nobody uses now.
fn free_addresses() -> Result<(SocketAddr, SocketAddr)> {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    Ok((TcpListener::bind(any)?.local_addr()?, UdpSocket::bind(any)?.local_addr()?))
}

/// How many links a host has, as it says itself.
async fn links(address: SocketAddr) -> Result<usize> {
    let status: Value = serde_json::from_str(&get(address, "/api/status").await?)?;
    status.get("links").and_then(Value::as_array).map(Vec::len).context("no links in the status")
}

/// A page of a host.
pub(crate) async fn get(address: SocketAddr, path: &str) -> Result<String> {
    let asking = async {
        let mut stream = TcpStream::connect(address).await?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.take(PAGE_BYTES_MAX).read_to_string(&mut answer).await?;
        let (_, body) = answer.split_once("\r\n\r\n").context("no body")?;
        Ok(body.to_owned())
    };
    timeout(START_DEADLINE, asking).await?
}
