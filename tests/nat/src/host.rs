//! A host as an operator runs it: the program in a node, its files, its log, its status page.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use aldis::client::HostId;
use aldis::net::admin::{LinkStatus, Status};
use aldis_laboratory::process::run;
use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Child;
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep, timeout};

use crate::lab::Lab;

/// Where a host listens for edges unless it is told otherwise: only its own machine reaches it there.
pub(crate) const GATEWAY: &str = "127.0.0.1:8400";
/// Where every host listens for links.
pub(crate) const LINKS_PORT: u16 = 47_474;
/// A host starts within this.
const PATIENCE: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// It says itself that it takes up to a minute.
const DOCTOR_MAX: Duration = Duration::from_secs(90);
const STATUS_MAX: Duration = Duration::from_secs(2);
const STATUS_BYTES_MAX: u64 = 4 << 20;

/// What the hosts of one run share.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// The program.
    pub(crate) aldis: PathBuf,
    /// Genesis, data and logs.
    pub(crate) directory: PathBuf,
    /// DHT nodes.
    pub(crate) dht: Vec<String>,
}

impl Place {
    /// An empty directory with a genesis.
    pub(crate) async fn new(aldis: &Path, directory: PathBuf) -> Result<Self> {
        ensure!(aldis.exists(), "there is no {}; scripts/nat builds it", aldis.display());
        if directory.exists() {
            fs::remove_dir_all(&directory)?;
        }
        fs::create_dir_all(&directory)?;
        let out = directory.join("genesis.toml").display().to_string();
        run([&aldis.display().to_string(), "genesis", "new", "nat", "--out", &out]).await.context("no genesis")?;
        Ok(Self { aldis: aldis.to_owned(), directory, dht: Vec::new() })
    }
}

/// A host. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Host {
    /// The node that it runs at.
    pub(crate) node: String,
    /// Known since its first answer.
    pub(crate) id: HostId,
    place: Place,
    options: Vec<String>,
    inside: Handle,
    /// `None` while it does not run.
    child: Option<Child>,
}

impl Host {
    /// Starts a host with these options besides the usual ones, and waits until it answers.
    pub(crate) async fn start(lab: &Lab, place: &Place, node: &str, options: &[&str]) -> Result<Self> {
        let mut host = Self {
            node: node.to_owned(),
            id: HostId::new([0; 32]),
            place: place.clone(),
            options: options.iter().map(|&option| option.to_owned()).collect(),
            inside: lab.at(node)?,
            child: None,
        };
        host.begin(lab).await?;
        Ok(host)
    }

    /// Starts it, again with what it kept, and waits until it answers.
    pub(crate) async fn begin(&mut self, lab: &Lab) -> Result<()> {
        let mut command = lab.command(&self.node, &self.place.aldis);
        command.args(["run", "--genesis", "genesis.toml", "--log-level", "info,aldis=debug"]);
        if !self.options.iter().any(|option| option == "--listen-http") {
            command.args(["--listen-http", GATEWAY]);
        }
        command.arg("--data-dir").arg(&self.node);
        command.args(self.place.dht.iter().flat_map(|node| ["--dht-bootstrap", node.as_str()]));
        if self.place.dht.is_empty() {
            command.args(["--dht", "false"]);
        }
        command.args(&self.options).current_dir(&self.place.directory);
        let log = File::options().create(true).append(true).open(self.log_path())?;
        self.child = Some(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn()?);
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.status().await {
                Ok(status) => {
                    self.id = status.host;
                    return Ok(());
                }
                Err(_) if Instant::now() < deadline => sleep(LOOK_EVERY).await,
                Err(error) => bail!("the host at {} does not answer: {error:#}; {}", self.node, self.last_words()),
            }
            if let Some(status) = self.child.as_mut().and_then(|child| child.try_wait().ok()).flatten() {
                bail!("the host at {} ended at once: {status}; {}", self.node, self.last_words());
            }
        }
    }

    /// `kill -9`.
    pub(crate) async fn kill(&mut self) -> Result<()> {
        match self.child.take() {
            Some(mut child) => child.kill().await.context("cannot kill the host"),
            None => Ok(()),
        }
    }

    pub(crate) fn tell(&self, signal: Signal) -> Result<()> {
        let pid = self.child.as_ref().and_then(Child::id).and_then(|pid| i32::try_from(pid).ok());
        let pid = pid.and_then(Pid::from_raw).context("the host does not run")?;
        kill_process(pid, signal).context("cannot signal the host")
    }

    /// What `aldis doctor` says of it, asked with the host's own options and these.
    pub(crate) async fn doctor(&self, lab: &Lab, options: &[&str]) -> Result<String> {
        let mut command = lab.command(&self.node, &self.place.aldis);
        command.args(["doctor", "--genesis", "genesis.toml", "--data-dir", &self.node, "--listen-http", GATEWAY]);
        command.args(self.place.dht.iter().flat_map(|node| ["--dht-bootstrap", node.as_str()]));
        command.args(options).current_dir(&self.place.directory).stdin(Stdio::null());
        let said = timeout(DOCTOR_MAX, command.output()).await.context("the doctor takes too long")??;
        Ok(String::from_utf8_lossy(&said.stdout).into_owned())
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    fn log_path(&self) -> PathBuf {
        self.place.directory.join(format!("{}.log", self.node))
    }

    fn last_words(&self) -> String {
        self.log().lines().last().unwrap_or("it said nothing").to_owned()
    }

    /// Its link with another host, if there is one.
    pub(crate) async fn link(&self, other: &Self) -> Option<LinkStatus> {
        let status = self.status().await.ok()?;
        status.links.into_iter().find(|link| link.host == other.id)
    }

    pub(crate) async fn status(&self) -> Result<Status> {
        Ok(serde_json::from_str(&self.get("/api/status").await?)?)
    }

    /// The body of the answer to `GET path`.
    async fn get(&self, path: &str) -> Result<String> {
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        let asking = async move {
            let mut stream = TcpStream::connect(GATEWAY).await?;
            stream.write_all(request.as_bytes()).await?;
            let mut answer = String::new();
            stream.take(STATUS_BYTES_MAX).read_to_string(&mut answer).await?;
            let (_, body) = answer.split_once("\r\n\r\n").context("no body")?;
            anyhow::Ok(body.to_owned())
        };
        self.inside.spawn(async move { timeout(STATUS_MAX, asking).await.context("no answer in time")? }).await?
    }
}

/// Waits for a condition; how long it took, or `None` when it did not come in time.
pub(crate) async fn wait_for(patience: Duration, mut is: impl AsyncFnMut() -> bool) -> Option<Duration> {
    let begun = Instant::now();
    while begun.elapsed() < patience {
        if is().await {
            return Some(begun.elapsed());
        }
        sleep(LOOK_EVERY).await;
    }
    None
}
