//! What hostile hosts cost a host in memory. The host is a process of its own, so that only its memory is counted.
#![cfg(feature = "net")]
#![allow(clippy::disallowed_methods, reason = "a test of the outside world: processes, sockets, deadlines")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]
#![allow(dead_code, reason = "the harness serves several tests")]

#[path = "../hosts/harness.rs"]
mod harness;
#[path = "../hosts/insider.rs"]
mod insider;

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use aldis::net::tls::{self, Tls};
use aldis_wire::announcement::Op;
use aldis_wire::codec::frame;
use aldis_wire::network::{Genesis, Network};
use ed25519_dalek::SigningKey;
use futures_util::future::join_all;
use insider::{Insider, Target};
use quinn::{ClientConfig, Endpoint};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

/// What a flood may take. The first time brings buffers and tables to the size that they keep; the second is measured.
const GROWTH_KIB_MAX: u64 = 5 << 10;
const DEADLINE: Duration = Duration::from_secs(30);

/// `aldis run`, ended with the value.
struct Running {
    program: Child,
    http: SocketAddr,
    quic: SocketAddr,
    _data: tempfile::TempDir,
}

impl Running {
    async fn start() -> Self {
        let data = tempfile::tempdir().unwrap();
        // Free now, and nobody else on this machine asks for exactly these.
        let quic = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        let http = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        let genesis = data.path().join("genesis.toml");
        // The network of the harness, whose key these tests share.
        std::fs::write(&genesis, genesis_file()).unwrap();
        let program = Command::new(env!("CARGO_BIN_EXE_aldis"))
            .args(["run", "--dht=false", "--allow-private=true", "--log-level=error"])
            .args(["--listen-quic", &quic.to_string(), "--listen-http", &http.to_string()])
            .arg("--data-dir")
            .arg(data.path().join("data"))
            .arg("--genesis")
            .arg(&genesis)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let running = Self { program, http, quic, _data: data };
        let begun = Instant::now();
        while running.get("/healthz").await.is_none() {
            assert!(begun.elapsed() < DEADLINE, "the host does not start");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        running
    }

    async fn get(&self, path: &str) -> Option<String> {
        let mut socket = tokio::net::TcpStream::connect(self.http).await.ok()?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.ok()?;
        answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned())
    }

    async fn target(&self) -> Target {
        let status: serde_json::Value = serde_json::from_str(&self.get("/api/status").await.unwrap()).unwrap();
        Target { host: status["host"].as_str().unwrap().parse().unwrap(), address: self.quic }
    }

    fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.program.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Waits until nobody is linked, so that one flood does not shut out the next.
    async fn settled(&self) {
        let begun = Instant::now();
        loop {
            let ready = self.get("/readyz").await.unwrap();
            if ready.contains("\"links\":0") {
                return;
            }
            assert!(begun.elapsed() < DEADLINE, "links stay: {ready}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

fn genesis_file() -> String {
    let genesis = harness::config(0).genesis;
    aldis::genesis::text(&genesis)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_of_strangers_and_of_members_leave_the_memory_of_a_host_flat() {
    let host = Running::start().await;
    let target = host.target().await;
    for (name, round) in [
        ("handshakes, and then silence", 0_u8),
        ("hosts of another network", 1),
        ("garbage in datagrams", 2),
        ("strangers who talk on and on", 3),
        ("members who come, announce and go", 4),
        ("members who open streams that nobody knows", 5),
    ] {
        flood(&host, target, round).await;
        let before = host.resident_kib();
        flood(&host, target, round).await;
        let growth = host.resident_kib().saturating_sub(before);
        println!("{name}: {before} KiB before, {growth} KiB more");
        assert!(growth < GROWTH_KIB_MAX, "{name} took {growth} KiB");
    }
    // It still takes an honest member.
    let mut honest = Insider::admitted(target, 200).await;
    honest.announce(&[Op::Record(honest.record())]).await;
    assert!(honest.stays().await);
}

async fn flood(host: &Running, target: Target, round: u8) {
    match round {
        0 => {
            for _ in 0..5 {
                join_all((0..30).map(|_| silent(target))).await;
            }
        }
        1 => {
            for _ in 0..5 {
                join_all((0..30).map(|_| other_network(target))).await;
            }
        }
        2 => garbage(target),
        3 => drop(join_all((0..40).map(|n| talker(target, n))).await),
        4 => drop(join_all((0..30).map(|n| member(target, n))).await),
        _ => drop(join_all((0..30).map(|n| unknown_streams(target, n))).await),
    }
    host.settled().await;
}

async fn silent(target: Target) {
    let insider = Insider::connect(target, 66).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    drop(insider);
}

async fn other_network(target: Target) {
    let network = Network::new(&Genesis::open("elsewhere").unwrap());
    let crypto = Tls::new(&SigningKey::from_bytes(&[67; 32]), network.alpn()).unwrap().dialler(None).unwrap();
    let endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let config = ClientConfig::new(Arc::new(crypto));
    let connecting = endpoint.connect_with(config, target.address, tls::server_name()).unwrap();
    assert!(timeout(DEADLINE, connecting).await.unwrap().is_err());
}

fn garbage(target: Target) {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    for n in 0..20_000_u32 {
        let bytes = blake3::hash(&n.to_be_bytes()).as_bytes().repeat(1 + n as usize % 45);
        let _ = socket.send_to(&bytes, target.address);
    }
}

async fn talker(target: Target, seed: u8) {
    let mut insider = Insider::connect(target, seed + 1).await;
    let piece = frame(99, &[0; 4_000]).unwrap();
    for _ in 0..50 {
        insider.say_bytes(&piece).await;
    }
}

async fn member(target: Target, seed: u8) {
    let mut insider = Insider::admitted(target, seed + 1).await;
    insider.announce(&[Op::Record(insider.record())]).await;
    for _ in 0..20 {
        insider.announce(&[]).await;
    }
    let _ = insider.stays().await;
}

async fn unknown_streams(target: Target, seed: u8) {
    let insider = Insider::admitted(target, seed + 1).await;
    insider.open_unknown_streams(100).await;
}
