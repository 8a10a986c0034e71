//! The commands against a running network. (The demo: tests/demo.rs.)

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use aldis::client::Event;
use aldis_wire::id::PeerId;

use super::edges::{DELIVERED, Edge};
use super::eventually;
use super::process::{Place, all_linked};

const POST_QUANTUM: &str = "X25519MLKEM768";

fn text(output: Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn status_shows_a_host_its_links_with_post_quantum_keys_and_the_other_hosts() {
    let place = Place::new();
    let one = place.host("one", &[], &["--public-urls", "wss://one.example.org/v1"]).await;
    let other = place.host("other", &[], &["--peers", &one.quic.to_string()]).await;
    all_linked(&[&one, &other]).await;
    for host in [&one, &other] {
        let status = host.status().await;
        assert_eq!(status.links[0].key_exchange.as_deref(), Some(POST_QUANTUM));
        assert_eq!(status.network.name, "test");
    }
    let _edge = Edge::at(&other.url()).await;
    eventually("the edge is shown", async || other.status().await.edges == 1).await;
    let shown = text(place.command(&["status", &format!("http://{}", other.http)]).output().unwrap());
    let line = |begin: &str| {
        shown.lines().find(|line| line.starts_with(begin)).unwrap_or_else(|| panic!("no {begin:?} in\n{shown}"))
    };
    assert!(line("host ").contains(&other.id));
    assert!(line("network ").contains("test (tag "));
    assert!(line("discovery ").contains("the DHT is off"));
    assert!(line("edges ").contains("1 connected, 1 sessions, 0 topics"));
    assert_eq!((line("links"), line("other hosts")), ("links: 1", "other hosts: 1"));
    let rows: Vec<_> = shown.lines().filter(|line| line.trim_start().starts_with(&one.id[..8])).collect();
    let [link, host] = rows.as_slice() else { panic!("{shown}") };
    assert!(link.contains(POST_QUANTUM) && link.contains(&one.quic.to_string()) && link.contains(" ms"), "{link}");
    assert!(host.contains("direct") && host.contains("wss://one.example.org/v1"), "{host}");
    let json = text(place.command(&["status", &format!("http://{}", other.http), "--json"]).output().unwrap());
    assert_eq!(serde_json::from_str::<serde_json::Value>(&json).unwrap()["host"], other.id.as_str());
}

#[tokio::test]
async fn the_terminal_edge_sends_lines_as_signals_and_prints_who_comes_what_comes_and_receipts() {
    let place = Place::new();
    let one = place.host("one", &[], &[]).await;
    let other = place.host("other", &[], &["--peers", &one.quic.to_string()]).await;
    all_linked(&[&one, &other]).await;
    let mut bob = Edge::at(&one.url()).await;
    bob.join("lobby").await;

    let arguments = ["edge", "--host", &other.url(), "--topic", "lobby", "--name", "Carol", "--wait", "1", "--stay"];
    let mut terminal = Terminal::start(&mut place.command(&arguments));
    terminal.types(&format!("hello\n\n@{} again\n", &bob.peer().to_string()[..6]));
    let carol = carol_comes_and_says(&mut bob, &["\"hello\"", "\"again\""]).await;
    assert_eq!(bob.signal(carol, "\"hi\\u001b[31m\"").await, DELIVERED);
    let bob_was = bob.peer().short();
    bob.client.bye().await;
    // When Bob is seen to go, everything before it has been printed; a line to nobody then ends in an answer.
    eventually("Bob is seen to go", async || terminal.said().contains("\n- ")).await;
    terminal.types("anybody?\n/quit\n");
    assert!(terminal.ended().await.success());
    let said = terminal.said();
    for line in [
        "joined lobby: ",
        &format!("+ {bob_was}"),
        &format!("> {bob_was} delivered in "),
        &format!("< {bob_was} "),
        &format!("- {bob_was} closed"),
        "! nobody to send it to",
    ] {
        assert!(said.lines().any(|said| said.starts_with(line)), "{line:?} is missing in\n{said}");
    }
    assert_eq!(said.matches("delivered in").count(), 2, "{said}");
    assert!(!said.contains('\u{1b}'), "a stranger's escape sequence reaches the terminal: {said:?}");
}

/// A program that is typed to and whose output is read as it comes. Killed when dropped.
struct Terminal {
    child: Child,
    said: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

impl Terminal {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let said = Arc::new(Mutex::new(String::new()));
        let (lines, written) = (BufReader::new(child.stdout.take().unwrap()).lines(), said.clone());
        let reader = std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                *written.lock().unwrap() += &format!("{line}\n");
            }
        });
        Self { child, said, reader: Some(reader) }
    }

    fn types(&mut self, text: &str) {
        self.child.stdin.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
    }

    fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    /// Waits until it has ended by itself and everything it said is read.
    async fn ended(&mut self) -> ExitStatus {
        eventually("the program ends", async || self.child.try_wait().unwrap().is_some()).await;
        self.reader.take().unwrap().join().unwrap();
        self.child.wait().unwrap()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("it said:\n{}", self.said());
        }
    }
}

/// Waits until Carol has come and has said this, in this order; a signal takes a shorter way than the announcement that
/// she is there. Gives her id.
async fn carol_comes_and_says(bob: &mut Edge, lines: &[&str]) -> PeerId {
    let (mut carol, mut said) = (None, Vec::new());
    while carol.is_none() || said.len() < lines.len() {
        match bob.next("Carol").await {
            Event::PeerJoined { peer, meta, .. } => {
                assert_eq!(meta.as_deref(), Some(r#"{"name":"Carol"}"#));
                carol = Some(peer);
            }
            Event::Signal { from, data, .. } => said.push((from, data)),
            other => panic!("{other:?}"),
        }
    }
    let carol = carol.unwrap();
    let expected: Vec<_> = lines.iter().map(|line| (carol, (*line).to_owned())).collect();
    assert_eq!(said, expected);
    carol
}

#[test]
fn what_config_prints_is_a_configuration_with_which_a_host_can_be_run() {
    let place = Place::new();
    let flags = ["config", "--genesis", "genesis.toml", "--grace-seconds", "7", "--peers", "a.example.org:1"];
    let shown = text(place.command(&flags).output().unwrap());
    std::fs::write(place.path("aldis.toml"), &shown).unwrap();
    let again = text(place.command(&["config"]).output().unwrap());
    for value in ["genesis = \"genesis.toml\"", "grace_seconds = 7", "peers = [\"a.example.org:1\"]"] {
        let line = |text: &str| text.lines().find(|line| line.starts_with(value)).unwrap_or_default().to_owned();
        assert!(!line(&shown).is_empty(), "{value} is missing in\n{shown}");
        assert!(line(&again).contains("# aldis.toml, line "), "{again}");
    }
}
