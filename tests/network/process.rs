//! A host as an operator runs it: the program, its log, its status page.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

use aldis::net::admin::Status;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{eventually, within};

/// A directory with a genesis file: where the hosts of one network keep what they have.
pub(crate) struct Place(tempfile::TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        let made = place.command(&["genesis", "new", "test", "--out", "genesis.toml"]).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The program with these arguments, in this directory and with no variables but its own.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_aldis"));
        command.args(arguments).current_dir(self.0.path()).env_clear().env("HOME", self.0.path());
        command
    }

    /// Starts a host of the network with its data in the directory `name`, on free ports of 127.0.0.1.
    pub(crate) async fn host(&self, name: &str, dht: &[String], more: &[&str]) -> Process {
        let mut arguments = vec!["run", "--genesis", "genesis.toml", "--data-dir", name, "--allow-private"];
        arguments.extend(["--listen-quic", "127.0.0.1:0", "--listen-http", "127.0.0.1:0"]);
        if dht.is_empty() {
            arguments.extend(["--dht", "false"]);
        }
        arguments.extend(dht.iter().flat_map(|node| ["--dht-bootstrap", node]));
        arguments.extend(more);
        Process::start(self.command(&arguments), name).await
    }
}

/// A running host. Killed when dropped.
pub(crate) struct Process {
    child: Child,
    log: Arc<Mutex<String>>,
    pub(crate) name: String,
    /// 64 hex digits.
    pub(crate) id: String,
    pub(crate) quic: SocketAddr,
    pub(crate) http: SocketAddr,
}

impl Process {
    async fn start(mut command: Command, name: &str) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let (lines, written) = (BufReader::new(child.stderr.take().unwrap()).lines(), log.clone());
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                writeln!(written.lock().unwrap(), "{line}").unwrap();
            }
        });
        let zero = SocketAddr::from(([0; 4], 0));
        let mut process = Self { child, log, name: name.to_owned(), id: String::new(), quic: zero, http: zero };
        eventually("the host says where it listens", async || {
            let ended = process.child.try_wait().unwrap();
            assert!(ended.is_none(), "{name} ended at once: {}", process.log());
            process.read_introduction().is_some()
        })
        .await;
        process
    }

    fn read_introduction(&mut self) -> Option<()> {
        let log = self.log();
        let field = |name: &str| Some(log.split_once(name)?.1.split_whitespace().next()?.to_owned());
        self.id = field(" id=")?;
        self.quic = field(" udp=")?.parse().ok()?;
        self.http = field(" listening=")?.parse().ok()?;
        Some(())
    }

    /// What it has written to its log so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    pub(crate) fn url(&self) -> String {
        format!("ws://{}/v1", self.http)
    }

    pub(crate) async fn status(&self) -> Status {
        serde_json::from_str(&self.get("/api/status").await).unwrap()
    }

    /// The body of the answer to `GET path`.
    pub(crate) async fn get(&self, path: &str) -> String {
        get(self.http, path).await
    }

    /// Whether it is linked with `others` hosts and has the rosters of as many.
    pub(crate) async fn has(&self, others: usize) -> bool {
        let status = self.status().await;
        status.links.len() == others && status.hosts.iter().filter(|host| host.live).count() == others
    }

    /// Asks it to end, as an operator or a service manager does.
    pub(crate) fn terminate(&self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("sh").args(["-c", "kill -TERM \"$0\"", &pid]).status().unwrap().success());
    }

    /// Its process's number.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it has ended, if it has.
    pub(crate) fn has_ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// `kill -9`.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits until it has ended by itself.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let mut status = None;
        eventually("the host ends", async || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        })
        .await;
        status.unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("the log of {}:\n{}", self.name, self.log());
        }
    }
}

/// Waits until all of these hosts are linked with one another and know each other's rosters.
pub(crate) async fn all_linked(hosts: &[&Process]) {
    for host in hosts {
        eventually("all hosts are linked", async || host.has(hosts.len() - 1).await).await;
    }
}

/// The body of the answer to `GET path`.
pub(crate) async fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    within("an answer", stream.read_to_string(&mut answer)).await.unwrap();
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}

/// The value of a line of `/metrics`; 0 when it is not there.
pub(crate) async fn metric(address: SocketAddr, name: &str) -> f64 {
    let body = get(address, "/metrics").await;
    let line = body.lines().find(|line| line.split(' ').next() == Some(name));
    line.map_or(0.0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
}

/// A port of 127.0.0.1 that was free a moment ago.
pub(crate) fn free_udp_port() -> u16 {
    std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The directory of a host's files.
pub(crate) fn file(place: &Place, host: &str, name: &str) -> PathBuf {
    Path::new(&place.path(host)).join(name)
}
