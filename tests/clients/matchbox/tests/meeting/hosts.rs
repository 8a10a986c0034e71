//! Real hosts: `target/debug/aldis run`, linked to each other.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Hosts {
    plans: Vec<Plan>,
    running: Vec<Option<Child>>,
    network: String,
    _data: tempfile::TempDir,
}

struct Plan {
    id: String,
    data: PathBuf,
    quic: SocketAddr,
    http: SocketAddr,
}

impl Hosts {
    pub(crate) fn start(count: usize) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let plan = |n: usize| {
            let data = directory.path().join(format!("host-{n}"));
            let told = Command::new(binary()).arg("id").arg("--data-dir").arg(&data).output().unwrap();
            let told = String::from_utf8(told.stdout).unwrap();
            let is_id = |word: &&str| word.len() == 64 && word.chars().all(|c| c.is_ascii_hexdigit());
            let id = told.split_whitespace().find(is_id).unwrap().to_owned();
            let any = (Ipv4Addr::LOCALHOST, 0);
            let quic = UdpSocket::bind(any).unwrap().local_addr().unwrap();
            let http = TcpListener::bind(any).unwrap().local_addr().unwrap();
            Plan { id, data, quic, http }
        };
        let plans: Vec<Plan> = (0..count).map(plan).collect();
        let running = (0..count).map(|_| None).collect();
        let network = format!("matchbox-test-{}-{}", std::process::id(), plans[0].http.port());
        let mut hosts = Self { plans, running, network, _data: directory };
        (0..count).for_each(|n| hosts.run(n));
        hosts.linked();
        hosts
    }

    /// Starts one host, or starts it again.
    pub(crate) fn run(&mut self, n: usize) {
        let plan = &self.plans[n];
        let mut command = Command::new(binary());
        command.arg("run").arg("--data-dir").arg(&plan.data).args(["--network", &self.network]);
        command.args(["--listen-quic", &plan.quic.to_string(), "--listen-http", &plan.http.to_string()]);
        command.args(["--dht", "false", "--allow-private", "true"]);
        for other in self.plans.iter().filter(|other| other.id != plan.id) {
            command.args(["--peers", &format!("{}@{}", other.id, other.quic)]);
        }
        self.running[n] = Some(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    }

    pub(crate) fn kill(&mut self, n: usize) {
        if let Some(mut child) = self.running[n].take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Waits until every host that runs knows all others that do.
    pub(crate) fn linked(&self) {
        let running: Vec<_> = (0..self.plans.len()).filter(|n| self.running[*n].is_some()).collect();
        let deadline = Instant::now() + PATIENCE;
        for n in &running {
            while self.live(*n) < running.len() - 1 {
                assert!(Instant::now() < deadline, "host {n} does not know the others");
                std::thread::sleep(Duration::from_millis(25));
            }
        }
    }

    fn live(&self, n: usize) -> usize {
        let ask = || -> std::io::Result<serde_json::Value> {
            let mut stream = TcpStream::connect(self.plans[n].http)?;
            stream.write_all(b"GET /api/status HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
            Ok(serde_json::from_str(body)?)
        };
        let hosts = ask().map(|status| status["hosts"].as_array().cloned().unwrap_or_default()).unwrap_or_default();
        hosts.iter().filter(|host| host["live"] == true).count()
    }

    /// Where clients of matchbox meet.
    pub(crate) fn room(&self, n: usize, room: &str) -> String {
        format!("ws://{}/matchbox/{room}", self.plans[n].http)
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        (0..self.running.len()).for_each(|n| self.kill(n));
    }
}

fn binary() -> PathBuf {
    let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../.."));
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let binary = target.join("debug/aldis");
    assert!(binary.exists(), "run `cargo build` first: there is no {}", binary.display());
    binary
}
