//! `aldis doctor` as an operator meets it: with a running host, without one, and with everything wrong that a test can make wrong.
#![cfg(feature = "net")]
#![allow(clippy::disallowed_methods, reason = "a test of the outside world: processes and sockets")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant, SystemTime};

use mainline::Testnet;
use serde_json::Value;

const ANY: &str = "127.0.0.1:0";
const DEADLINE: Duration = Duration::from_secs(120);
/// What all runs here have in common: nothing of them leaves this machine.
const HERE: [&str; 4] = ["--genesis", "lab.genesis.toml", "--data-dir", "data"];
const ALONE: [&str; 6] = ["--dht", "false", "--listen-quic", ANY, "--listen-http", ANY];

fn place() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    assert!(aldis(directory.path(), &["genesis", "new", "lab"]).status.success());
    directory
}

fn aldis(directory: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_aldis"));
    command.args(arguments).current_dir(directory).env_clear().env("HOME", directory).output().unwrap()
}

/// What doctor says as JSON, and its exit code.
struct Said {
    report: Value,
    code: i32,
}

impl Said {
    fn of(output: &Output) -> Self {
        let report = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
        Self { report, code: output.status.code().unwrap() }
    }

    fn check(&self, name: &str) -> &Value {
        let checks = self.report["checks"].as_array().unwrap();
        checks.iter().find(|check| check["check"] == name).unwrap_or_else(|| panic!("no {name} in {:#}", self.report))
    }

    fn verdict(&self, name: &str) -> &str {
        self.check(name)["verdict"].as_str().unwrap()
    }

    /// The sentence and the advice of a check that found something wrong.
    fn wrong(&self, name: &str) -> (&str, &str) {
        let check = self.check(name);
        assert_eq!(check["verdict"], "wrong", "{check:#}");
        (check["summary"].as_str().unwrap(), check["next"].as_str().unwrap())
    }
}

fn doctor(directory: &Path, arguments: &[&str]) -> Said {
    Said::of(&aldis(directory, &[&["doctor", "--json"], &HERE[..], arguments].concat()))
}

/// A running host; killed at the end of its test.
struct Host {
    child: Child,
    lines: Receiver<String>,
    http: String,
    udp: String,
    id: String,
}

impl Host {
    fn start(directory: &Path, arguments: &[&str]) -> Self {
        Self::start_at(directory, ANY, arguments)
    }

    fn start_at(directory: &Path, http: &str, arguments: &[&str]) -> Self {
        let fixed = ["run", "--log-format", "json", "--allow-private", "--listen-quic", ANY, "--listen-http", http];
        let quiet = ["--lan", "false", "--map-ports", "false"];
        let mut child = Command::new(env!("CARGO_BIN_EXE_aldis"))
            .args([&fixed[..], &quiet, arguments].concat())
            .current_dir(directory)
            .env_clear()
            .env("HOME", directory)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let reader = BufReader::new(child.stderr.take().unwrap());
        let (out, lines) = sync_channel(4_096);
        std::thread::spawn(move || {
            for line in reader.lines().map_while(Result::ok) {
                if out.send(line).is_err() {
                    return;
                }
            }
        });
        let mut host = Self { child, lines, http: String::new(), udp: String::new(), id: String::new() };
        let (id, udp, http) = (host.field("id"), host.field("udp"), host.field("listening"));
        (host.id, host.udp, host.http) = (id, udp, format!("http://{http}"));
        host
    }

    fn field(&self, name: &str) -> String {
        let end = Instant::now() + DEADLINE;
        while let Ok(line) = self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
            if let Some(value) = serde_json::from_str::<Value>(&line).unwrap()[name].as_str() {
                return value.to_owned();
            }
        }
        panic!("the host did not say its {name}");
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn a_running_host_with_a_link_and_a_dht_has_nothing_wrong_and_is_found_there_by_a_stranger() {
    let place = place();
    let net = Testnet::builder(8).build().unwrap();
    let nodes: Vec<_> = net.bootstrap.iter().flat_map(|node| ["--dht-bootstrap", node]).collect();
    let host = Host::start(place.path(), &[&HERE[..], &nodes].concat());
    let known = format!("{}@{}", host.id, host.udp);
    let other = ["--genesis", "lab.genesis.toml", "--data-dir", "other", "--dht", "false", "--peers", &known];
    let other = Host::start(place.path(), &other);

    let arguments = [&["--url", &host.http], &nodes[..]].concat();
    let end = Instant::now() + DEADLINE;
    let said = loop {
        let said = doctor(place.path(), &arguments);
        let links = said.check("links")["facts"]["links"].as_array().unwrap();
        if links.len() == 1 && !said.check("announced")["facts"]["seen_at"].is_null() {
            break said;
        }
        assert!(Instant::now() < end, "{:#}", said.report);
    };
    assert_eq!((said.code, &said.report["wrong"]), (0, &0.into()), "{:#}", said.report);
    assert_eq!(said.report["host"], host.id);
    assert_eq!(said.check("host")["facts"]["running"], true);
    assert_eq!(said.check("host")["facts"]["process"], host.child.id());
    for port in ["port_for_links", "port_for_edges"] {
        assert_eq!(said.check(port)["facts"]["state"], "ours");
    }
    assert_eq!(said.check("announced")["facts"]["seen_at"], host.udp);
    let asked = said.check("udp")["facts"]["asked"].as_array().unwrap();
    assert!(asked.iter().any(|node| node["answered"] == true && node["sees"].is_string()), "{asked:#?}");
    let link = &said.check("links")["facts"]["links"][0];
    assert_eq!((&link["host"], &link["kind"]), (&other.id.as_str().into(), &"accepted".into()));
    assert!(said.check("nat")["facts"]["observed"][0]["sees"].is_string(), "{:#}", said.check("nat"));
    assert_eq!(said.check("open_files")["facts"]["of_running_host"], true);

    // The same for people, and the host goes on as before.
    let told = aldis(place.path(), &[&["doctor"], &HERE[..], &arguments].concat());
    let text = String::from_utf8(told.stdout).unwrap();
    assert!(text.contains(", accepted, "), "{text}");
    let status = aldis(place.path(), &["status", "--json", &host.http]);
    let status: Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(status["links"].as_array().unwrap().len(), 1);
    for fact in ["nat", "evidence", "observed", "local", "mapped", "places", "stun", "registered"] {
        assert!(!status["reach"][fact].is_null(), "{fact} is missing in {:#}", status["reach"]);
    }
    assert!(String::from_utf8(aldis(place.path(), &["status", &host.http]).stdout).unwrap().contains("\nseen at    1"));
}

#[test]
fn without_a_host_and_with_nothing_wrong_the_exit_code_is_0_and_nothing_is_made() {
    let place = place();
    let said = doctor(place.path(), &ALONE);
    assert_eq!((said.code, said.report["wrong"].as_u64()), (0, Some(0)), "{:#}", said.report);
    assert!(said.report["host"].is_null());
    assert_eq!(said.verdict("host"), "note");
    assert_eq!(said.check("port_for_links")["facts"]["state"], "free");
    assert_eq!(said.verdict("udp"), "unknown", "nobody was asked, so nothing is known");
    assert!(!place.path().join("data").exists(), "a data directory was made");
}

#[test]
fn a_port_that_another_program_has_is_told_with_the_command_that_shows_whose_it_is() {
    let place = place();
    let (udp, tcp) = (UdpSocket::bind(ANY).unwrap(), TcpListener::bind(ANY).unwrap());
    let (quic, http) = (udp.local_addr().unwrap().to_string(), tcp.local_addr().unwrap().to_string());
    // Something that is no host answers at the port.
    std::thread::spawn(move || {
        while let Ok((stream, _)) = tcp.accept() {
            drop(stream);
        }
    });
    let said = doctor(place.path(), &["--dht", "false", "--listen-quic", &quic, "--listen-http", &http]);
    assert_eq!(said.code, 1);
    for (name, letter, address) in [("port_for_links", 'u', &quic), ("port_for_edges", 't', &http)] {
        let (summary, next) = said.wrong(name);
        let port = address.rsplit(':').next().unwrap();
        assert!(summary.contains(address.as_str()), "{summary}");
        assert!(next.contains(&format!("sudo ss -{letter}lpn 'sport = :{port}'")), "{next}");
        assert_eq!(said.check(name)["facts"]["state"], "taken");
    }
}

#[test]
fn a_dht_that_is_silent_is_taken_for_blocked_udp_and_told_with_what_to_do() {
    let place = place();
    let silent = UdpSocket::bind(ANY).unwrap();
    let node = silent.local_addr().unwrap().to_string();
    let said = doctor(place.path(), &["--dht-bootstrap", &node, "--listen-quic", ANY, "--listen-http", ANY]);
    assert_eq!(said.code, 1);
    let (summary, next) = said.wrong("udp");
    assert!(summary.contains("UDP is blocked") && next.contains("firewall"), "{summary} {next}");
    assert!(said.wrong("dht").0.contains(&node));
    let asked = &said.check("udp")["facts"]["asked"][0];
    assert_eq!((&asked["node"], &asked["answered"]), (&node.as_str().into(), &false.into()));
}

#[test]
fn udp_that_cannot_go_out_at_all_is_told_with_the_systems_reason() {
    let place = place();
    // The kernel refuses to send there, so nothing leaves.
    let nowhere = ["--dht-bootstrap", "255.255.255.255:6881", "--listen-quic", ANY, "--listen-http", ANY];
    let said = doctor(place.path(), &nowhere);
    assert_eq!(said.code, 1);
    assert!(said.wrong("udp").0.contains("UDP cannot go out: Permission denied"), "{:#}", said.check("udp"));
    assert_eq!(said.verdict("dht"), "wrong");
}

#[test]
fn few_open_files_are_told_with_the_number_and_the_command() {
    let place = place();
    let script = format!(
        "ulimit -n 256; exec {} doctor --json {} {}",
        env!("CARGO_BIN_EXE_aldis"),
        HERE.join(" "),
        ALONE.join(" ")
    );
    let output = Command::new("sh").args(["-c", &script]).current_dir(place.path()).output().unwrap();
    let said = Said::of(&output);
    assert_eq!(said.code, 1);
    let (summary, next) = said.wrong("open_files");
    assert!(summary.contains("256 files") && next.contains("LimitNOFILE=65536"), "{summary} {next}");
    assert_eq!(said.check("open_files")["facts"]["limit"], 256);
}

/// Writes a certificate for `name` that begins and ends so many days from now.
fn certificate(directory: &Path, name: &str, days: [i64; 2]) {
    let at = |days: i64| {
        let time = Duration::from_secs(days.unsigned_abs() * 86_400);
        let now = SystemTime::now();
        if days < 0 { now - time } else { now + time }
    };
    let mut made = rcgen::CertificateParams::new([name.to_owned()]).unwrap();
    (made.not_before, made.not_after) = (at(days[0]).into(), at(days[1]).into());
    let key = rcgen::KeyPair::generate().unwrap();
    std::fs::write(directory.join("c.pem"), made.self_signed(&key).unwrap().pem()).unwrap();
    std::fs::write(directory.join("k.pem"), key.serialize_pem()).unwrap();
}

#[test]
fn a_certificate_is_read_with_its_days_and_names_and_what_browsers_would_say() {
    let place = place();
    let with_tls = ["--tls-cert", "c.pem", "--tls-key", "k.pem", "--public-urls", "wss://relay.example.org/v1"];
    let arguments = [&ALONE[..], &with_tls].concat();

    certificate(place.path(), "relay.example.org", [-100, -10]);
    let said = doctor(place.path(), &arguments);
    assert_eq!(said.code, 1);
    assert!(said.wrong("certificate").0.contains("it has expired on 20"), "{:#}", said.check("certificate"));

    certificate(place.path(), "relay.example.org", [10, 100]);
    assert!(doctor(place.path(), &arguments).wrong("certificate").0.contains("it is not valid before 20"));

    certificate(place.path(), "other.example.org", [-1, 50]);
    let said = doctor(place.path(), &arguments);
    assert!(said.wrong("certificate").0.contains("it is for other.example.org, not for relay.example.org"));
    assert_eq!(said.check("certificate")["facts"]["missing_names"], serde_json::json!(["relay.example.org"]));

    certificate(place.path(), "relay.example.org", [-1, 50]);
    let said = doctor(place.path(), &arguments);
    let facts = &said.check("certificate")["facts"];
    assert_eq!((said.code, said.verdict("certificate")), (0, "note"), "{:#}", said.report);
    assert_eq!((&facts["trusted"], &facts["names"][0]), (&false.into(), &"relay.example.org".into()));
    assert!((49..=50).contains(&facts["days_left"].as_u64().unwrap()), "{facts}");

    // The key of another certificate.
    let key = rcgen::KeyPair::generate().unwrap();
    std::fs::write(place.path().join("k.pem"), key.serialize_pem()).unwrap();
    assert!(doctor(place.path(), &arguments).wrong("certificate").1.contains("belongs to the key"));
}

#[test]
fn a_host_that_has_the_data_directory_and_answers_nowhere_is_told_and_left_alone() {
    let place = place();
    let host = Host::start(place.path(), &[&HERE[..], &["--dht", "false"]].concat());
    // Not told where it listens, doctor looks in the wrong place.
    let said = doctor(place.path(), &ALONE);
    assert_eq!(said.code, 1);
    assert!(said.wrong("host").0.contains(&format!("process {} uses the data directory", host.child.id())));
    assert_eq!(said.check("port_for_links")["facts"]["state"], "not_tried");
}

#[test]
fn a_host_with_a_certificate_is_found_at_its_own_address_whatever_name_the_certificate_has() {
    let place = place();
    certificate(place.path(), "relay.example.org", [-1, 50]);
    // Nobody else listens at this address of loopback.
    let http = "127.83.71.9:18443";
    let with_tls = [&HERE[2..], &["--tls-cert", "c.pem", "--tls-key", "k.pem", "--dht", "false"]].concat();
    let host = Host::start_at(place.path(), http, &[&HERE[..2], &with_tls].concat());
    let said = doctor(place.path(), &[&with_tls[2..], &["--listen-http", http]].concat());
    assert_eq!((said.code, &said.report["host"]), (0, &host.id.as_str().into()), "{:#}", said.report);
    assert_eq!(said.check("certificate")["facts"]["source"], "c.pem");

    // Options of another network: it is told that this is not its host.
    assert!(aldis(place.path(), &["genesis", "new", "other"]).status.success());
    let other = ["doctor", "--json", "--genesis", "other.genesis.toml", "--data-dir", "none", "--listen-http", http];
    let said = Said::of(&aldis(place.path(), &[&other[..], &with_tls[2..]].concat()));
    assert!(said.wrong("host").0.contains("it is a host of the network lab"), "{:#}", said.check("host"));
    assert_eq!(said.code, 1);
}

#[test]
fn wrong_arguments_end_with_2_and_a_wrong_configuration_with_1() {
    let place = place();
    assert_eq!(aldis(place.path(), &["doctor", "--no-such-flag"]).status.code(), Some(2));
    let refused = aldis(place.path(), &["doctor", "--listen-quic", "here"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8(refused.stderr).unwrap().contains("field `listen_quic`"));
}
