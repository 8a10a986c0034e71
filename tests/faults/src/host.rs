//! A host as an operator runs it: the program in a namespace of its own, its files, its log, its status page.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use aldis::net::admin::Status;
use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use crate::network::{command_at, http, quic};

/// A host starts, and ends, within this.
const PATIENCE: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(20);
const STATUS_MAX: Duration = Duration::from_secs(2);
const STATUS_BYTES_MAX: u64 = 4 << 20;

/// What the hosts of one run share.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// The program.
    pub(crate) aldis: PathBuf,
    /// The program as of a later minor version.
    pub(crate) newer: PathBuf,
    /// Genesis, data and logs.
    pub(crate) directory: PathBuf,
    /// DHT nodes.
    pub(crate) dht: Vec<String>,
}

/// How a host is started.
#[derive(Clone, Debug, Default)]
pub(crate) struct How {
    /// A command that runs the program, such as `prlimit`.
    pub(crate) wrapper: Vec<String>,
    /// More options.
    pub(crate) options: Vec<String>,
    /// Whether it is of the later version.
    pub(crate) newer: bool,
}

/// A host. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) number: usize,
    place: Place,
    pub(crate) how: How,
    /// `None` while it does not run.
    child: Option<Child>,
}

impl Place {
    /// An empty directory with a genesis.
    pub(crate) async fn new(aldis: PathBuf, directory: PathBuf, dht: Vec<String>) -> Result<Self> {
        if directory.exists() {
            fs::remove_dir_all(&directory)?;
        }
        fs::create_dir_all(&directory)?;
        let mut make = Command::new(&aldis);
        make.args(["genesis", "new", "faults", "--out", "genesis.toml"]).current_dir(&directory);
        let made = make.env_clear().output().await.with_context(|| format!("cannot run {}", aldis.display()))?;
        ensure!(made.status.success(), "no genesis: {}", String::from_utf8_lossy(&made.stderr));
        let newer = aldis.with_file_name("aldis-newer");
        Ok(Self { aldis, newer, directory, dht })
    }

    /// Where a host keeps its files.
    pub(crate) fn data(&self, host: usize) -> PathBuf {
        self.directory.join(format!("h{host}"))
    }
}

impl Host {
    /// Starts a host and waits until it answers.
    pub(crate) async fn start(place: &Place, number: usize, how: How) -> Result<Self> {
        let mut host = Self { number, place: place.clone(), how, child: None };
        host.begin().await?;
        Ok(host)
    }

    /// Starts it again, with what it kept.
    pub(crate) async fn begin(&mut self) -> Result<()> {
        self.spawn()?;
        let deadline = Instant::now() + PATIENCE;
        while self.status().await.is_err() {
            if let Some(status) = self.child.as_mut().and_then(|child| child.try_wait().ok()).flatten() {
                bail!("host {} ended at once: {status}; {}", self.number, self.last_words());
            }
            ensure!(Instant::now() < deadline, "host {} does not answer: {}", self.number, self.last_words());
            sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// Starts it and does not wait.
    pub(crate) fn spawn(&mut self) -> Result<()> {
        let program = if self.how.newer { &self.place.newer } else { &self.place.aldis };
        ensure!(program.exists(), "there is no {}; scripts/faults builds it", program.display());
        let at = command_at(self.number, program);
        let mut command = match self.how.wrapper.split_first() {
            Some((program, arguments)) => {
                let mut wrapper = Command::new(program);
                wrapper.args(arguments).arg(at.as_std().get_program()).args(at.as_std().get_args());
                wrapper
            }
            None => at,
        };
        command
            .args(["run", "--genesis", "genesis.toml", "--allow-private", "--data-dir"])
            .arg(self.place.data(self.number));
        command.args(["--listen-quic", &quic(self.number).to_string()]);
        command.args(["--listen-http", &http(self.number).to_string()]);
        command.args(self.place.dht.iter().flat_map(|node| ["--dht-bootstrap", node.as_str()]));
        if self.place.dht.is_empty() {
            command.args(["--dht", "false"]);
        }
        command.args(&self.how.options).current_dir(&self.place.directory).kill_on_drop(true);
        let log = File::options().create(true).append(true).open(self.log_path())?;
        self.child = Some(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn()?);
        Ok(())
    }

    fn log_path(&self) -> PathBuf {
        self.place.directory.join(format!("h{}.log", self.number))
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    fn last_words(&self) -> String {
        self.log().lines().last().unwrap_or("it said nothing").to_owned()
    }

    /// The process id; 0 while it does not run.
    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().and_then(Child::id).unwrap_or(0)
    }

    pub(crate) fn tell(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw).context("the host does not run")?;
        kill_process(pid, signal).context("cannot signal the host")
    }

    /// `kill -9`.
    pub(crate) async fn kill(&mut self) -> Result<()> {
        match self.child.take() {
            Some(mut child) => child.kill().await.context("cannot kill the host"),
            None => Ok(()),
        }
    }

    /// Waits until it has ended by itself.
    pub(crate) async fn ended(&mut self) -> Result<ExitStatus> {
        let mut child = self.child.take().context("the host does not run")?;
        Ok(timeout(PATIENCE, child.wait()).await.context("the host does not end")??)
    }

    pub(crate) async fn status(&self) -> Result<Status> {
        Ok(serde_json::from_str(&self.get("/api/status").await?)?)
    }

    /// The body of the answer to `GET path`.
    async fn get(&self, path: &str) -> Result<String> {
        let asking = async {
            let mut stream = TcpStream::connect(http(self.number)).await?;
            let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await?;
            let mut answer = String::new();
            stream.take(STATUS_BYTES_MAX).read_to_string(&mut answer).await?;
            let (_, body) = answer.split_once("\r\n\r\n").context("no body")?;
            anyhow::Ok(body.to_owned())
        };
        timeout(STATUS_MAX, asking).await.context("no answer in time")?
    }
}

/// Links and live rosters that a host has.
pub(crate) async fn knows(host: &Host) -> (usize, usize) {
    match host.status().await {
        Ok(status) => (status.links.len(), status.hosts.iter().filter(|host| host.live).count()),
        Err(_) => (0, 0),
    }
}

/// Waits until each of these hosts has links with `others` hosts and knows their rosters; how long it took.
pub(crate) async fn linked(hosts: &[Host], others: usize, patience: Duration) -> Result<Duration> {
    let begun = Instant::now();
    for host in hosts {
        while knows(host).await != (others, others) {
            let so_far = knows(host).await;
            ensure!(begun.elapsed() < patience, "host {} has {so_far:?} links and rosters of {others}", host.number);
            sleep(LOOK_EVERY).await;
        }
    }
    Ok(begun.elapsed())
}

/// Resident memory of a process in bytes.
pub(crate) fn resident_bytes(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").trim().parse::<u64>()? << 10)
}

/// What a process has used of the processor.
pub(crate) fn cpu_time(pid: u32) -> Result<Duration> {
    let mut nanoseconds = 0;
    for task in fs::read_dir(Path::new("/proc").join(pid.to_string()).join("task"))? {
        let text = fs::read_to_string(task?.path().join("schedstat")).unwrap_or_default();
        nanoseconds += text.split(' ').next().and_then(|text| text.parse().ok()).unwrap_or(0);
    }
    Ok(Duration::from_nanos(nanoseconds))
}
