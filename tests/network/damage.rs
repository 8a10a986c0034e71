//! Files that cannot be read and ports that are taken. (More damage: tests/cli.rs. The demo's ports: tests/demo.rs.)

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::process::Output;

use super::eventually;
use super::process::{Place, all_linked, file};

/// The one line with which a start is refused.
fn complaint(place: &Place, arguments: &[&str]) -> String {
    let Output { status, stdout, stderr } = place.command(arguments).output().unwrap();
    let text = String::from_utf8(stderr).unwrap();
    assert_eq!((status.code(), stdout.len()), (Some(1), 0), "{arguments:?} did not fail as it should: {text}");
    let (first, lines) = (text.lines().next().unwrap_or_default(), text.lines().count());
    assert_eq!(lines, 1, "more than one line: {text}");
    first.strip_prefix("aldis: ").unwrap_or_else(|| panic!("{first}")).to_owned()
}

const LISTEN: [&str; 6] = ["--dht", "false", "--listen-quic", "127.0.0.1:0", "--listen-http", "127.0.0.1:0"];

fn run<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["run"], &LISTEN[..], more].concat()
}

#[test]
fn a_key_that_is_damaged_or_cannot_be_read_stops_the_start_with_file_and_field() {
    let place = Place::new();
    let id = place.command(&["id", "--data-dir", "data"]).output().unwrap();
    assert!(id.status.success());
    let key = file(&place, "data", "host.key");
    let good = fs::read_to_string(&key).unwrap();
    for (bad, words) in [
        (good.replace("identity", "identitty"), "field `identit"),
        (good.replace("sealing = \"", "sealing = \"zz"), "field `sealing`: "),
        (String::new(), "field `"),
    ] {
        fs::write(&key, &bad).unwrap();
        let said = complaint(&place, &run(&["--data-dir", "data"]));
        assert!(said.starts_with("data/host.key") && said.contains(words), "{said}");
        assert_eq!(fs::read_to_string(&key).unwrap(), bad, "the damaged key was replaced");
    }
    fs::write(&key, [0xff, 0xfe, 0x00]).unwrap();
    let said = complaint(&place, &run(&["--data-dir", "data"]));
    assert!(said.starts_with("data/host.key: "), "{said}");
    // Root may read everything, so what cannot be read is a directory.
    fs::remove_file(&key).unwrap();
    fs::create_dir(&key).unwrap();
    let said = complaint(&place, &run(&["--data-dir", "data"]));
    assert_eq!(said, "data/host.key: is not a regular file");
}

#[test]
fn a_genesis_or_configuration_that_is_damaged_or_cannot_be_read_stops_the_start_with_file_and_field() {
    let place = Place::new();
    let good = fs::read_to_string(place.path("genesis.toml")).unwrap();
    for (bad, words) in [
        (good.replace("key = \"", "key = \"0"), "field `key`: expected 64 hex digits, found 65"),
        (good.replace("name = ", "nname = "), "field `nname`"),
        (good.replace("key = \"", "key = "), "is not valid TOML"),
    ] {
        fs::write(place.path("bad.toml"), bad).unwrap();
        let said = complaint(&place, &run(&["--genesis", "bad.toml"]));
        assert!(said.starts_with("bad.toml, line ") && said.contains(words), "{said}");
    }
    fs::create_dir(place.path("directory")).unwrap();
    let said = complaint(&place, &run(&["--genesis", "directory"]));
    assert!(said.starts_with("directory: cannot be read"), "{said}");
    let said = complaint(&place, &run(&["--config", "directory"]));
    assert!(said.starts_with("directory: cannot be read"), "{said}");
    for (text, words) in [
        ("grace_seconds = \"long\"\n", "config.toml, line 1, field `grace_seconds`: "),
        ("dht = true\nlisten_quic = 7\n", "config.toml, line 2, field `listen_quic`: "),
        ("[hosts]\n", "config.toml, line 1, field `hosts`: "),
    ] {
        fs::write(place.path("config.toml"), text).unwrap();
        let said = complaint(&place, &["run", "--config", "config.toml"]);
        assert!(said.starts_with(words), "{said}");
    }
}

/// What a host writes down for its next start.
const MEMORY: [&str; 3] = ["hints", "marks", "epoch"];

#[tokio::test]
async fn a_damaged_memory_is_discarded_with_a_warning_and_the_host_runs() {
    let place = Place::new();
    let known = place.host("known", &[], &[]).await;
    let peer = format!("{}@{}", known.id, known.quic);
    let mut host = place.host("host", &[], &["--peers", &peer]).await;
    all_linked(&[&known, &host]).await;
    let (id, epoch) = (host.id.clone(), host.status().await.epoch);
    host.terminate();
    assert!(host.ended().await.success());
    for kind in MEMORY {
        let mut bytes = fs::read(file(&place, "host", kind)).unwrap();
        let last = bytes.len() - 2;
        bytes[last] ^= 1;
        fs::write(file(&place, "host", kind), bytes).unwrap();
    }
    let mut host = place.host("host", &[], &["--peers", &peer]).await;
    let log = host.log();
    for kind in MEMORY {
        let line = log.lines().find(|line| line.contains(&format!("file=host/{kind}")));
        let line = line.unwrap_or_else(|| panic!("nothing is said of {kind}: {log}"));
        assert!(line.contains("WARN") && line.contains("discarded") && line.contains("damaged"), "{line}");
    }
    // It has forgotten, and is itself.
    all_linked(&[&known, &host]).await;
    assert_eq!(host.id, id);
    // Within the same second it takes the same epoch, until the host that it knew shows it its former life.
    eventually("a later epoch", async || host.status().await.epoch > epoch).await;
    host.terminate();
    assert!(host.ended().await.success());
}

#[tokio::test]
async fn a_port_that_is_taken_stops_the_start_with_the_port_and_the_flag() {
    let place = Place::new();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let (http, quic) = (tcp.local_addr().unwrap().to_string(), udp.local_addr().unwrap().to_string());
    for (flag, address) in [("--listen-http", &http), ("--listen-quic", &quic)] {
        let mut arguments = vec!["run", "--dht", "false", "--data-dir", "data", "--log-level", "error"];
        let free = if flag == "--listen-http" { "--listen-quic" } else { "--listen-http" };
        arguments.extend([flag, address, free, "127.0.0.1:0"]);
        let said = complaint(&place, &arguments);
        assert!(said.contains(address.as_str()) && said.contains(flag) && said.contains("in use"), "{said}");
    }
}

#[tokio::test]
async fn a_host_that_is_told_to_end_while_it_serves_ends_with_code_0() {
    let place = Place::new();
    let mut host = place.host("host", &[], &[]).await;
    eventually("it is ready", async || host.get("/healthz").await == "ok\n").await;
    host.terminate();
    assert_eq!(host.ended().await.code(), Some(0));
    assert!(host.log().contains("going away"), "{}", host.log());
}
