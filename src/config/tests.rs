use super::*;
use std::fs;
use std::path::Path;

const NO_ENVIRONMENT: fn(&str) -> Option<String> = |_| None;

fn home(name: &str) -> Option<String> {
    (name == "HOME").then(|| "/home/h".to_owned())
}

fn flags(pairs: &[(&'static str, &str)]) -> FlagValues {
    let mut flags = FlagValues::new();
    for (name, value) in pairs {
        flags.entry(name).or_default().push((*value).to_owned());
    }
    flags
}

/// Writes a configuration file and returns it with its directory.
fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("aldis.toml");
    fs::write(&path, text).unwrap();
    (directory, path)
}

fn complaint(flag_values: &FlagValues, environment: impl Fn(&str) -> Option<String>, path: Option<&Path>) -> String {
    let read = Sources::gather(flag_values, &environment, path).and_then(|sources| Config::read(&sources, home));
    let text = read.unwrap_err().to_string();
    assert_eq!(text.lines().count(), 1, "more than one sentence: {text}");
    text
}

#[test]
fn flags_win_over_variables_over_the_file_over_defaults() {
    let (_directory, path) =
        file("listen_http = \"127.0.0.1:1\"\nlisten_quic = \"127.0.0.1:1\"\nlog_level = \"warn\"\n");
    let environment = |name: &str| match name {
        "ALDIS_LISTEN_HTTP" | "ALDIS_LISTEN_QUIC" => Some("127.0.0.1:2".to_owned()),
        _ => home(name),
    };
    let sources = Sources::gather(&flags(&[("listen_http", "127.0.0.1:3")]), environment, Some(&path)).unwrap();
    let config = Config::read(&sources, environment).unwrap();
    assert_eq!(config.listen_http.port(), 3);
    assert_eq!(config.listen_quic.port(), 2);
    assert_eq!(config.log_level, "warn");
    assert_eq!(config.grace, Duration::from_secs(30));
    let shown = show(&sources, &config.data_dir);
    for (line, source) in [
        ("listen_http = \"127.0.0.1:3\"", "# --listen-http".to_owned()),
        ("listen_quic = \"127.0.0.1:2\"", "# ALDIS_LISTEN_QUIC".to_owned()),
        ("log_level = \"warn\"", format!("# {}, line 3", path.display())),
        ("grace_seconds = 30", "# default".to_owned()),
        ("# tls_cert =", "# not set".to_owned()),
    ] {
        let found = shown.lines().find(|shown| shown.starts_with(line)).unwrap();
        assert!(found.ends_with(&source), "{found:?} does not end with {source:?}");
    }
}

#[test]
fn what_config_prints_is_a_file_that_says_the_same() {
    let given = flags(&[
        ("peers", "relay.example.org:47474"),
        ("peers", "[::1]:5"),
        ("ice_servers", r#"[{"urls":["stun:s.example.org"],"username":"u"}]"#),
        ("dht", "off"),
        ("edge_rate", "0/0"),
    ]);
    let sources = Sources::gather(&given, NO_ENVIRONMENT, None).unwrap();
    let config = Config::read(&sources, home).unwrap();
    let (_directory, path) = file(&show(&sources, &config.data_dir));
    let again = Sources::gather(&FlagValues::new(), NO_ENVIRONMENT, Some(&path)).unwrap();
    let again = Config::read(&again, NO_ENVIRONMENT).unwrap();
    assert_eq!(format!("{config:?}"), format!("{again:?}"));
    assert!(!again.dht);
    assert_eq!(again.peers.len(), 2);
}

#[test]
fn an_unknown_field_names_file_line_and_field() {
    let (_directory, path) = file("# mine\nlisten_htpp = \"127.0.0.1:1\"\n");
    let error = complaint(&FlagValues::new(), NO_ENVIRONMENT, Some(&path));
    assert!(error.starts_with(&format!("{}, line 2, field `listen_htpp`: is not a field", path.display())), "{error}");
}

#[test]
fn wrong_values_name_their_source_and_field() {
    let error = complaint(&flags(&[("listen_http", "8080")]), NO_ENVIRONMENT, None);
    assert!(error.starts_with("--listen-http, field `listen_http`: \"8080\" is not an address with a port"), "{error}");
    let environment = |name: &str| (name == "ALDIS_PEERS").then(|| "a:1, b".to_owned());
    let error = complaint(&FlagValues::new(), environment, None);
    assert_eq!(error, "ALDIS_PEERS, field `peers`: \"b\" is not HOST:PORT");
    for (text, expected) in [
        ("dht = 1", "must be true or false"),
        ("peers = \"a:1\"", "must be an array"),
        ("origins = [\"https://a.org/\"]", "is not a web origin"),
        ("public_urls = [\"https://a.org\"]", "is not a WebSocket URL"),
        ("edge_rate = \"5\"", "is not two numbers"),
        ("edge_rate = \"5/0\"", "would refuse everything"),
        ("log_level = \"loud\"", "is not a log filter"),
        ("log_format = \"xml\"", "is neither human nor json"),
        ("[[ice_servers]]\nurl = \"stun:x\"", "has no `urls`"),
        ("trusted_proxies = [\"localhost\"]", "is not an IP address"),
        ("addresses = [\"1.2.3.4\"]", "is not an address with a port"),
        ("peers = [\"abc@host:1\"]", "is not a host id"),
    ] {
        let (_directory, path) = file(text);
        let error = complaint(&FlagValues::new(), NO_ENVIRONMENT, Some(&path));
        let place = format!("{}, line 1, field `", path.display());
        assert!(error.starts_with(&place) && error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn a_file_that_is_named_must_exist() {
    let error = complaint(&FlagValues::new(), NO_ENVIRONMENT, Some(Path::new("/nonexistent/aldis.toml")));
    assert_eq!(error, "/nonexistent/aldis.toml: cannot be read: No such file or directory");
}

#[test]
fn a_certificate_needs_its_key() {
    let error = complaint(&flags(&[("tls_cert", "c.pem")]), NO_ENVIRONMENT, None);
    assert_eq!(error, "`tls_cert` is set without `tls_key`; set both");
}

#[test]
fn a_gateway_that_takes_nothing_from_outside_is_not_mapped() {
    let error = complaint(&flags(&[("map_gateway", "true")]), NO_ENVIRONMENT, None);
    assert!(error.starts_with("`map_gateway` is true, and `listen_http` takes nothing from outside"), "{error}");
    let both = flags(&[("map_gateway", "true"), ("listen_http", "0.0.0.0:8400")]);
    let sources = Sources::gather(&both, NO_ENVIRONMENT, None).unwrap();
    assert!(Config::read(&sources, home).unwrap().map_gateway);
}

#[test]
fn a_network_is_named_once_and_the_nearer_name_wins() {
    let (directory, path) = file("genesis = \"g.toml\"\n");
    genesis::create(&directory.path().join("g.toml"), &genesis::random("closed").unwrap()).unwrap();
    let read = |flags: &FlagValues| {
        let sources = Sources::gather(flags, NO_ENVIRONMENT, Some(&path)).unwrap();
        Config::read(&sources, home).unwrap()
    };
    let closed = read(&FlagValues::new());
    assert_eq!(closed.network.name, "closed", "a path in a file is meant from its directory");
    let open = read(&flags(&[("network", "lab")]));
    assert_eq!(open.network.name, "lab");
    assert_ne!(open.data_dir, closed.data_dir, "two networks share a data directory");
    let both = flags(&[("network", "lab"), ("genesis", "g.toml")]);
    assert_eq!(complaint(&both, NO_ENVIRONMENT, None), "`network` and `genesis` are both set; state one of them");
}

#[test]
fn all_doors_are_open_unless_some_are_named() {
    let doors = |names: &[(&'static str, &str)]| {
        let sources = Sources::gather(&flags(names), NO_ENVIRONMENT, None).unwrap();
        Config::read(&sources, home).unwrap().doors
    };
    assert_eq!(doors(&[]), Door::ALL);
    assert_eq!(doors(&[("doors", "peerjs"), ("doors", "matchbox")]), [Door::PeerJs, Door::Matchbox]);
    assert_eq!(doors(&[("doors", "aldis")]), []);
    let text = complaint(&flags(&[("doors", "telnet")]), NO_ENVIRONMENT, None);
    assert!(text.contains("telnet") && text.contains("socket-signal, dxos"), "{text}");
}
