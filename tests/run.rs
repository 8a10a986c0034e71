//! Real processes of the program: two hosts that know each other's address, a status, two terminal edges, a SIGTERM.
#![cfg(feature = "net")]
#![allow(clippy::disallowed_methods, reason = "a test of the outside world: processes and sockets")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Any free port of loopback.
const ANY: &str = "127.0.0.1:0";
const DEADLINE: Duration = Duration::from_secs(30);

/// A process whose lines are read; killed at the end of its test.
struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Process {
    /// `stream` picks the stream whose lines are read.
    fn start(arguments: &[&str], directory: &Path, stream: fn(&mut Child) -> Box<dyn std::io::Read + Send>) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_aldis"))
            .args(arguments)
            .current_dir(directory)
            .env_clear()
            .env("HOME", directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let reader = BufReader::new(stream(&mut child));
        let (out, lines) = sync_channel(1_024);
        std::thread::spawn(move || {
            for line in reader.lines().map_while(Result::ok) {
                if out.send(line).is_err() {
                    return;
                }
            }
        });
        let stdin = child.stdin.take();
        Self { child, stdin, lines }
    }

    /// The next line that fits, within the deadline.
    fn line(&self, what: &str, fits: impl Fn(&str) -> bool) -> String {
        let end = Instant::now() + DEADLINE;
        let mut seen = Vec::new();
        while let Ok(line) = self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
            if fits(&line) {
                return line;
            }
            seen.push(line);
        }
        panic!("{what} did not come; there was {seen:#?}");
    }

    fn type_line(&mut self, line: &str) {
        writeln!(self.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    fn signal(&self, name: &str) {
        assert!(Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap().success());
    }

    fn exit_code(&mut self) -> Option<i32> {
        let end = Instant::now() + DEADLINE;
        loop {
            match self.child.try_wait().unwrap() {
                Some(status) => return status.code(),
                None => assert!(Instant::now() < end, "the process does not end"),
            }
            std::thread::yield_now();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A running host, by what its log says.
struct Host {
    process: Process,
    id: String,
    udp: String,
    http: String,
}

fn host(directory: &Path, name: &str, udp: &str, more: &[&str]) -> Host {
    let data = format!("data-{name}");
    let mut arguments = vec!["run", "--log-format", "json", "--dht", "false", "--allow-private", "--data-dir", &data];
    arguments.extend(["--listen-quic", udp, "--listen-http", "127.0.0.1:0", "--genesis", "lab.genesis.toml"]);
    arguments.extend(more);
    let process = Process::start(&arguments, directory, |child| Box::new(child.stderr.take().unwrap()));
    let field = |name: &str| {
        let line = process.line(name, |line| serde_json::from_str::<Value>(line).unwrap()[name].is_string());
        serde_json::from_str::<Value>(&line).unwrap()[name].as_str().unwrap().to_owned()
    };
    let (id, udp, http) = (field("id"), field("udp"), field("listening"));
    let scheme = if more.contains(&"--tls-cert") { "https" } else { "http" };
    Host { process, id, udp, http: format!("{scheme}://{http}") }
}

fn genesis(directory: &Path) {
    let made =
        Command::new(env!("CARGO_BIN_EXE_aldis")).args(["genesis", "new", "lab"]).current_dir(directory).output();
    assert!(made.unwrap().status.success());
}

fn status(host: &Host) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_aldis")).args(["status", "--json", &host.http]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn edge(directory: &Path, host: &Host, name: &str) -> Process {
    let arguments = ["edge", "--host", &host.http, "--topic", "s0", "--name", name];
    let edge = Process::start(&arguments, directory, |child| Box::new(child.stdout.take().unwrap()));
    edge.line("the answer to join", |line| line.starts_with("joined s0"));
    edge
}

#[test]
fn two_hosts_that_know_an_address_need_no_dht_and_their_edges_talk_and_are_told_when_a_host_goes() {
    let directory = tempfile::tempdir().unwrap();
    genesis(directory.path());
    let mut first = host(directory.path(), "first", ANY, &[]);
    let known = format!("{}@{}", first.id, first.udp);
    let second = host(directory.path(), "second", ANY, &["--peers", &known]);
    second.process.line("a link", |line| line.contains("linked with a host"));

    let mut bob = edge(directory.path(), &first, "Bob");
    let mut alice = edge(directory.path(), &second, "Alice");
    bob.line("Alice", |line| line.starts_with("+ ") && line.ends_with("Alice"));
    alice.line("Bob", |line| line.starts_with("+ ") && line.ends_with("Bob"));
    alice.type_line("@Bob ahoy");
    bob.line("the signal", |line| line.ends_with("\"ahoy\""));
    alice.line("the receipt", |line| line.contains("delivered in"));
    bob.type_line("/quit");
    assert_eq!(bob.exit_code(), Some(0));
    alice.line("Bob's leaving", |line| line.starts_with("- ") && line.ends_with("closed"));

    let seen = status(&second);
    assert_eq!(seen["links"][0]["host"], first.id.as_str());
    assert_eq!(seen["links"][0]["key_exchange"], "X25519MLKEM768");
    assert_eq!(seen["hosts"][0]["live"], true);

    let charlie = edge(directory.path(), &first, "Charlie");
    alice.line("Charlie", |line| line.ends_with("Charlie"));
    first.process.signal("-TERM");
    assert_eq!(first.process.exit_code(), Some(0));
    charlie.line("the farewell", |line| line.starts_with("! the host is going away"));
    alice.line("Charlie's leaving", |line| line.starts_with("- "));
}

#[test]
fn the_development_certificate_serves_edges_and_status_and_is_trusted_only_when_named() {
    let directory = tempfile::tempdir().unwrap();
    genesis(directory.path());
    let aldis = |arguments: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_aldis")).args(arguments).current_dir(directory.path()).output().unwrap()
    };
    assert!(aldis(&["cert", "dev"]).status.success());
    let tls = ["--tls-cert", "certs/dev/localhost.pem", "--tls-key", "certs/dev/localhost.key"];
    let host = host(directory.path(), "tls", ANY, &tls);
    let trusted = aldis(&["status", "--ca", "certs/dev/ca.pem", &host.http]);
    assert!(trusted.status.success(), "{}", String::from_utf8_lossy(&trusted.stderr));
    assert!(String::from_utf8_lossy(&trusted.stdout).contains(&host.id));
    let stranger = aldis(&["status", &host.http]);
    assert_eq!(stranger.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&stranger.stderr).contains("certificate"));

    let edge = ["edge", "--ca", "certs/dev/ca.pem", "--topic", "t", "--host", &host.http];
    let edge = aldis(&edge);
    assert!(edge.status.success(), "{}", String::from_utf8_lossy(&edge.stderr));
    assert!(String::from_utf8_lossy(&edge.stdout).contains("joined t: 0 others"));
}

#[test]
fn an_edge_whose_host_is_killed_comes_back_at_another_and_its_topic_is_right_again() {
    let directory = tempfile::tempdir().unwrap();
    genesis(directory.path());
    let mut first = host(directory.path(), "first", ANY, &[]);
    let second = host(directory.path(), "second", ANY, &["--peers", &first.udp]);
    second.process.line("a link", |line| line.contains("a host appeared"));
    first.process.line("a link", |line| line.contains("a host appeared"));
    let mut bob = edge(directory.path(), &second, "Bob");
    let mut alice = edge(directory.path(), &first, "Alice");
    bob.line("Alice", |line| line.starts_with("+ ") && line.ends_with("Alice"));

    first.process.signal("-KILL");
    first.process.exit_code();
    alice.line("the loss", |line| line.starts_with("! socket lost"));
    alice.line("the new session", |line| line.starts_with("! back as a new session"));
    alice.line("Bob again", |line| line.starts_with("+ ") && line.ends_with("Bob"));
    bob.line("the new Alice", |line| line.starts_with("+ ") && line.ends_with("Alice"));
    bob.line("the old Alice's leaving", |line| line.starts_with("- ") && line.ends_with("host_lost"));
    bob.type_line("@Alice still there?");
    alice.line("the signal", |line| line.ends_with("\"still there?\""));
    alice.type_line("@Bob yes");
    bob.line("the answer", |line| line.ends_with("\"yes\""));
}
