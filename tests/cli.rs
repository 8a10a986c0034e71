//! The program as an operator meets it: what it prints, what it writes, and how it refuses.
#![cfg(feature = "net")]
#![allow(clippy::disallowed_methods, reason = "a test of the outside world: processes and files")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Output};

/// A directory of its own, with an environment of its own.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn run_with(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_aldis"));
        command.args(arguments).current_dir(self.path()).env_clear().env("HOME", self.path());
        command.envs(variables.iter().copied()).output().unwrap()
    }

    /// What it prints when it succeeds.
    fn run(&self, arguments: &[&str]) -> String {
        let output = self.run_with(arguments, &[]);
        assert!(output.status.success(), "{arguments:?} failed: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The one line with which it refuses.
    fn complaint(&self, arguments: &[&str]) -> String {
        let output = self.run_with(arguments, &[]);
        assert_eq!(output.status.code(), Some(1), "{arguments:?} did not fail as it should");
        assert!(output.stdout.is_empty());
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(text.lines().count(), 1, "more than one line: {text}");
        text.trim_end().to_owned()
    }
}

#[test]
fn a_new_genesis_is_private_random_and_never_overwritten() {
    let place = Place::new();
    let made = place.run(&["genesis", "new", "lab"]);
    let file = place.path().join("lab.genesis.toml");
    let text = fs::read_to_string(&file).unwrap();
    assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
    let key = text.lines().find_map(|line| line.strip_prefix("key = ")).unwrap().trim_matches('"');
    assert!(!made.contains(key), "the key was printed");
    assert_eq!(
        place.complaint(&["genesis", "new", "lab"]),
        "aldis: lab.genesis.toml: exists already and is not overwritten"
    );
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
    let other = place.run(&["genesis", "new", "lab", "--out", "-"]);
    assert!(other.contains("name = \"lab\"") && !other.contains(key), "two networks share a key");
}

#[test]
fn genesis_show_tells_what_follows_from_the_key_and_the_key_only_on_request() {
    let place = Place::new();
    place.run(&["genesis", "new", "lab"]);
    let shown = place.run(&["genesis", "show", "lab.genesis.toml"]);
    let key = fs::read_to_string(place.path().join("lab.genesis.toml")).unwrap();
    let key = key.lines().find_map(|line| line.strip_prefix("key = ")).unwrap().trim_matches('"').to_owned();
    assert!(!shown.contains(&key));
    assert!(place.run(&["genesis", "show", "lab.genesis.toml", "--secret"]).contains(&key));
    let tag = shown.lines().find_map(|line| line.strip_prefix("tag ")).unwrap().trim();
    assert!(shown.contains(&format!("aldis/1/{tag}")), "{shown}");
    assert_ne!(place.run(&["genesis", "show", "--network", "lab"]), shown, "a closed network is open");
}

#[test]
fn a_corrupt_genesis_stops_every_command_with_file_and_field() {
    let place = Place::new();
    fs::write(place.path().join("g.toml"), "name = \"n\"\nkey = \"abc\"\n").unwrap();
    let expected = "g.toml, line 2, field `key`: expected 64 hex digits, found 3";
    assert_eq!(place.complaint(&["genesis", "show", "g.toml"]), format!("aldis: {expected}"));
    for command in ["id", "config", "run"] {
        assert_eq!(place.complaint(&[command, "--genesis", "g.toml"]), format!("aldis: {expected}"));
    }
    assert_eq!(
        place.complaint(&["run", "--genesis", "none.toml"]),
        "aldis: none.toml: cannot be read: No such file or directory"
    );
}

#[test]
fn a_host_keeps_its_id_and_a_damaged_key_is_never_replaced() {
    let place = Place::new();
    let first = place.run(&["id", "--data-dir", "data"]);
    let again = place.run(&["id", "--data-dir", "data"]);
    assert_eq!(first.replace("   made now", ""), again);
    let file = place.path().join("data/host.key");
    assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);

    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("identity = \"", "identity = \"0")).unwrap();
    for command in ["id", "run"] {
        let complaint = place.complaint(&[command, "--data-dir", "data"]);
        assert!(complaint.starts_with("aldis: data/host.key, line 4, field `identity`: expected 64"), "{complaint}");
    }
    fs::write(&file, &text).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let complaint = place.complaint(&["run", "--data-dir", "data"]);
    assert!(complaint.contains("mode 0644") && complaint.ends_with("run: chmod 600 'data/host.key'"), "{complaint}");
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
}

#[test]
fn the_default_data_directory_is_that_of_the_network() {
    let place = Place::new();
    let shown = place.run(&["genesis", "show", "--network", "lab"]);
    let tag = shown.lines().find_map(|line| line.strip_prefix("tag ")).unwrap().trim();
    let id = place.run(&["id", "--network", "lab"]);
    let file = place.path().join(".local/share/aldis").join(tag).join("host.key");
    assert!(file.exists() && id.contains(file.to_str().unwrap()), "{id}");
}

#[test]
fn flags_win_over_variables_over_the_file_and_config_says_which() {
    let place = Place::new();
    let file = "listen_http = \"127.0.0.1:1\"\nlisten_quic = \"127.0.0.1:1\"\npeers = [\"a.example.org:1\"]\n";
    fs::write(place.path().join("aldis.toml"), file).unwrap();
    let variables = [("ALDIS_LISTEN_HTTP", "127.0.0.1:2"), ("ALDIS_LISTEN_QUIC", "127.0.0.1:2")];
    let output = place.run_with(&["config", "--listen-http", "127.0.0.1:3"], &variables);
    let shown = String::from_utf8(output.stdout).unwrap();
    for (value, source) in [
        ("listen_http = \"127.0.0.1:3\"", "--listen-http"),
        ("listen_quic = \"127.0.0.1:2\"", "ALDIS_LISTEN_QUIC"),
        ("peers = [\"a.example.org:1\"]", "aldis.toml, line 3"),
        ("dht = true", "default"),
    ] {
        let line =
            shown.lines().find(|line| line.starts_with(value)).unwrap_or_else(|| panic!("no {value} in {shown}"));
        assert!(line.ends_with(&format!("# {source}")), "{line}");
    }
}

#[test]
fn a_wrong_configuration_is_refused_with_source_and_field() {
    let place = Place::new();
    assert_eq!(
        place.complaint(&["run", "--peers", "here"]),
        "aldis: --peers, field `peers`: \"here\" is not HOST:PORT"
    );
    fs::write(place.path().join("aldis.toml"), "listen_htpp = \"127.0.0.1:1\"\n").unwrap();
    let complaint = place.complaint(&["run"]);
    assert!(complaint.starts_with("aldis: aldis.toml, line 1, field `listen_htpp`: is not a field"), "{complaint}");
    fs::write(place.path().join("aldis.toml"), "listen_http = 127.0.0.1\n").unwrap();
    assert!(place.complaint(&["config"]).starts_with("aldis: aldis.toml, line 1: is not valid TOML"));
}

#[test]
fn a_development_certificate_is_made_once_with_a_private_key() {
    let place = Place::new();
    let advice = place.run(&["cert", "dev"]);
    let directory = place.path().join("certs/dev");
    assert_eq!(fs::metadata(directory.join("localhost.key")).unwrap().mode() & 0o777, 0o600);
    assert!(advice.contains("--tls-cert certs/dev/localhost.pem"));
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 3, "something besides ca, certificate and key was kept");
    assert!(place.complaint(&["cert", "dev"]).contains("exists already"));
}

#[test]
fn status_of_a_host_that_is_not_there_is_one_clear_sentence() {
    let place = Place::new();
    // Port 1 of loopback: nothing that a test starts could listen there.
    let complaint = place.complaint(&["status", "http://127.0.0.1:1"]);
    assert!(complaint.starts_with("aldis: no host answers at http://127.0.0.1:1"), "{complaint}");
}

#[test]
fn every_command_has_help_with_an_example() {
    let place = Place::new();
    for command in [
        &["run"][..],
        &["demo"],
        &["genesis", "new"],
        &["genesis", "show"],
        &["id"],
        &["config"],
        &["status"],
        &["doctor"],
        &["edge"],
        &["cert", "dev"],
    ] {
        let help = place.run(&[command, &["--help"]].concat());
        assert!(help.contains("Examples:\n  aldis ") || help.contains("Example:\n  aldis "), "{command:?}: {help}");
    }
}
