//! A host that has no descriptors left: the program itself, in a process of its own.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use crate::edge::{Bystanders, Edge};
use crate::harness::eventually;

/// Descriptors of the host. It needs some 20 for itself.
const DESCRIPTORS: u32 = 64;

struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

impl Program {
    fn start(folder: &std::path::Path, http: SocketAddr) -> Self {
        let run = format!("ulimit -n {DESCRIPTORS} && exec \"$0\" \"$@\"");
        let child = Command::new("sh")
            .args(["-c", &run, env!("CARGO_BIN_EXE_aldis"), "run", "--network", "exhausted", "--dht", "false"])
            .args(["--listen-quic", "127.0.0.1:0", "--listen-http", &http.to_string(), "--data-dir"])
            .arg(folder)
            .current_dir(folder)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }

    fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.0.id())).unwrap().count()
    }

    /// Processor time that it has used, in hundredths of a second.
    fn ticks(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    }
}

#[tokio::test]
async fn without_descriptors_left_a_host_serves_on_does_not_spin_and_recovers() {
    let folder = tempfile::tempdir().unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let program = Program::start(folder.path(), free);
    eventually("the program listens", async || TcpStream::connect(free).await.is_ok()).await;
    let mut others = Bystanders { here: Edge::connect_to(free).await, there: Edge::connect_to(free).await };

    // The kernel takes them all; the program cannot.
    let mut crowd = Vec::new();
    for _ in 0..4 * DESCRIPTORS {
        crowd.push(TcpStream::connect(free).await.unwrap());
    }
    eventually("no descriptor is left", async || program.descriptors() >= DESCRIPTORS as usize).await;
    let (begun, ticks) = (Instant::now(), program.ticks());
    while begun.elapsed() < Duration::from_secs(2) {
        others.go_on().await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let used = program.ticks() - ticks;
    assert!(used < 50, "{used} hundredths of a second in two seconds: it spins");

    drop(crowd);
    let begun = Instant::now();
    Edge::connect_to(free).await;
    assert!(begun.elapsed() < Duration::from_secs(2), "recovered after {:?}", begun.elapsed());
    others.go_on().await;
}
