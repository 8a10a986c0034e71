//! Hosts that are kept out: revoked, denied, or a second time the same.

use std::fs;
use std::process::Output;
use std::time::{Duration, Instant};

use aldis::client::Event;

use super::edges::{Edge, Raw};
use super::eventually;
use super::process::{Place, Process, all_linked, file, metric};

/// The promise: a revoked host has no links and shows no edges anywhere within this time.
const REVOKED_MAX: Duration = Duration::from_secs(10);
/// The promise: of two hosts with one key that have a neighbour in common, one ends within this time.
const TWIN_ENDS_MAX: Duration = Duration::from_secs(30);
const KEY_IN_USE: i32 = 3;
const REVOKED: i32 = 4;
const LISTEN: [&str; 7] =
    ["--allow-private", "--dht", "false", "--listen-quic", "127.0.0.1:0", "--listen-http", "127.0.0.1:0"];

/// What a command says that ends by itself, and its code.
fn ends(place: &Place, arguments: &[&str]) -> (i32, String) {
    let Output { status, stdout, stderr } = place.command(arguments).output().unwrap();
    let text = String::from_utf8(stdout).unwrap() + &String::from_utf8(stderr).unwrap();
    (status.code().unwrap(), text)
}

/// A start that is refused: its one line.
fn refused(place: &Place, more: &[&str]) -> String {
    let run = [&["run", "--genesis", "genesis.toml"], &LISTEN[..], &["--log-level", "error"], more].concat();
    let (code, text) = ends(place, &run);
    assert_eq!((code, text.lines().count()), (1, 1), "{text}");
    text
}

/// Hosts `one`, `two` and `stolen`, linked, with an edge at `stolen` that the edges at the others see; and the statement
/// that revokes it, in the file `statement`. The edge at `stolen` goes to no other host, as a client would.
async fn with_stolen(place: &Place) -> (Process, Process, Process, [Edge; 2], Raw) {
    let stolen = place.host("stolen", &[], &[]).await;
    let (code, said) = ends(place, &["id", "revoke", "--data-dir", "stolen", "--out", "statement"]);
    assert!(code == 0 && said.contains(&stolen.id), "{said}");
    let one = place.host("one", &[], &["--peers", &stolen.quic.to_string()]).await;
    let two = place.host("two", &[], &["--peers", &stolen.quic.to_string(), "--peers", &one.quic.to_string()]).await;
    all_linked(&[&one, &two, &stolen]).await;
    let mut held = Raw::at(&stolen.url()).await;
    held.join("s0").await;
    let edges = [Edge::at(&one.url()).await, Edge::at(&two.url()).await];
    for edge in &edges {
        edge.finds("s0", held.peer()).await;
    }
    (one, two, stolen, edges, held)
}

/// Whether a host has no link with the host of this id, and shows nothing of it.
async fn is_rid_of(host: &Process, id: &str) -> bool {
    let status = host.status().await;
    status.links.iter().all(|link| link.host.to_string() != id)
        && status.hosts.iter().all(|other| other.host.to_string() != id)
}

#[tokio::test]
async fn a_revoked_host_is_gone_everywhere_within_ten_seconds_although_the_publisher_was_never_linked_with_it() {
    let place = Place::new();
    let (one, two, mut stolen, [at_one, at_two], _held) = with_stolen(&place).await;
    for edge in [&at_one, &at_two] {
        edge.join("s0").await;
    }
    let begun = Instant::now();
    let publisher =
        place.host("publisher", &[], &["--peers", &one.quic.to_string(), "--revocation", "statement"]).await;
    let others = [&one, &two, &publisher];
    for host in others {
        eventually("it is gone", async || is_rid_of(host, &stolen.id).await).await;
    }
    for edge in [&at_one, &at_two] {
        eventually("its edge is gone", async || edge.members("s0").await.len() == 1).await;
    }
    let took = begun.elapsed();
    assert!(took < REVOKED_MAX, "it took {took:?}");
    println!("gone everywhere {took:?} after the publisher was started");
    assert_eq!(stolen.ended().await.code(), Some(REVOKED));
    assert!(stolen.log().contains("this host's identity is revoked"), "{}", stolen.log());
    assert!(one.log().contains("its identity is revoked"), "{}", one.log());
    assert!(one.status().await.refused.revoked.iter().any(|host| host.to_string() == stolen.id));
    all_linked(&others).await;

    // Neither with its memory nor without, nor at hosts that have forgotten everything but their files.
    let run = ["run", "--genesis", "genesis.toml", "--data-dir", "stolen"];
    let (code, said) = ends(&place, &[&run[..], &LISTEN].concat());
    assert_eq!(code, REVOKED, "{said}");
    fs::create_dir(place.path("thief")).unwrap();
    fs::copy(file(&place, "stolen", "host.key"), file(&place, "thief", "host.key")).unwrap();
    two.kill();
    let two = place.host("two", &[], &[]).await;
    let mut thief = place.host("thief", &[], &["--peers", &two.quic.to_string()]).await;
    assert_eq!(thief.ended().await.code(), Some(REVOKED));
    assert!(is_rid_of(&two, &stolen.id).await);
    let counted = "aldis_links_refused_total{by=\"us\",reason=\"revoked\"}";
    assert!(metric(two.http, counted).await >= 1.0, "{}", two.get("/metrics").await);
}

#[tokio::test]
async fn a_revocation_that_is_handed_to_a_running_host_is_published_at_once() {
    let place = Place::new();
    let (one, two, mut stolen, _edges, _held) = with_stolen(&place).await;
    let begun = Instant::now();
    let (code, said) = ends(&place, &["id", "revoke", "--publish", "statement", "--data-dir", "two"]);
    assert!(code == 0 && said.contains(&stolen.id) && said.contains("The running host (process "), "{said}");
    for host in [&one, &two] {
        eventually("it is gone", async || is_rid_of(host, &stolen.id).await).await;
    }
    let took = begun.elapsed();
    assert!(took < REVOKED_MAX, "it took {took:?}");
    println!("gone everywhere {took:?} after the command");
    assert_eq!(stolen.ended().await.code(), Some(REVOKED));
    let (code, said) = ends(&place, &["status", &format!("http://{}", one.http)]);
    assert!(code == 0 && said.contains("refused hosts (no lists): 1") && said.contains(&stolen.id), "{said}");
}

#[tokio::test]
async fn a_host_can_be_denied_and_allowed_again_while_it_runs() {
    let place = Place::new();
    fs::write(place.path("denied.txt"), "# nobody yet\n").unwrap();
    let guarded = place.host("guarded", &[], &["--hosts-deny", "denied.txt"]).await;
    let peer = guarded.quic.to_string();
    let other = place.host("other", &[], &["--peers", &peer]).await;
    let guest = place.host("guest", &[], &["--peers", &peer, "--peers", &other.quic.to_string()]).await;
    all_linked(&[&guarded, &other, &guest]).await;
    let mut here = Edge::at(&guarded.url()).await;
    let there = Edge::at(&guest.url()).await;
    there.join("s0").await;
    here.finds("s0", there.peer()).await;
    here.join("s0").await;

    let begun = Instant::now();
    fs::write(place.path("denied.txt"), format!("{}  # not this one\n", guest.id)).unwrap();
    match here.next("the end of the other's membership").await {
        Event::PeerLeft { peer, reason, .. } => assert_eq!((peer, reason.as_str()), (there.peer(), "host_lost")),
        other => panic!("{other:?}"),
    }
    eventually("it is gone here", async || is_rid_of(&guarded, &guest.id).await).await;
    println!("denied {:?} after the file was written", begun.elapsed());
    assert_eq!(guarded.status().await.refused.denied, 1);
    eventually("the guest knows why", async || {
        metric(guest.http, "aldis_links_refused_total{by=\"them\",reason=\"not_allowed\"}").await >= 1.0
    })
    .await;
    let line = format!("a host refuses to be linked with this one host={} reason=\"not allowed here\"", guarded.id);
    assert!(guest.log().contains(&line), "{}", guest.log());
    assert!(metric(guarded.http, "aldis_links_refused_total{by=\"us\",reason=\"not_allowed\"}").await >= 1.0);
    eventually("others go on with it", async || guest.status().await.links.len() == 1).await;

    // A file that cannot be read changes nothing, and its operator is told loudly.
    fs::write(place.path("denied.txt"), "# still?\nnobody\n").unwrap();
    eventually("the operator is told", async || guarded.log().contains("denied.txt, line 2: is not a host id")).await;
    assert!(guarded.log().contains("THE OLD LISTS OF HOSTS STAY IN FORCE"));
    assert!(is_rid_of(&guarded, &guest.id).await);

    fs::write(place.path("denied.txt"), "").unwrap();
    here.finds("s0", there.peer()).await;
    all_linked(&[&guarded, &other, &guest]).await;
}

#[tokio::test]
async fn only_allowed_hosts_are_linked_and_one_is_added_while_the_host_runs() {
    let place = Place::new();
    let other = place.host("other", &[], &[]).await;
    let guest = place.host("guest", &[], &["--peers", &other.quic.to_string()]).await;
    all_linked(&[&other, &guest]).await;
    let (_, said) = ends(&place, &["id", "--genesis", "genesis.toml", "--data-dir", "guarded"]);
    let own = said.split_whitespace().nth(1).unwrap().to_owned();
    let allowed = format!("{own}  # this one\n{}\n", other.id);
    fs::write(place.path("allowed.txt"), &allowed).unwrap();
    let peers = ["--peers", &other.quic.to_string(), "--peers", &guest.quic.to_string()];
    let guarded = place.host("guarded", &[], &[&["--hosts-allow", "allowed.txt"], &peers[..]].concat()).await;
    eventually("the allowed one is linked", async || guarded.status().await.links.len() == 1).await;
    eventually("the guest is refused", async || {
        metric(guest.http, "aldis_links_refused_total{by=\"them\",reason=\"not_allowed\"}").await >= 1.0
    })
    .await;
    assert!(is_rid_of(&guarded, &guest.id).await);
    assert_eq!(guarded.status().await.refused.allowed, Some(2));
    assert!(guarded.log().contains("hosts that may be here"), "{}", guarded.log());
    fs::write(place.path("allowed.txt"), format!("{allowed}{}\n", guest.id)).unwrap();
    all_linked(&[&guarded, &other, &guest]).await;
}

#[tokio::test]
async fn lists_that_cannot_be_used_stop_the_start_with_file_and_line() {
    let place = Place::new();
    let (_, said) = ends(&place, &["id", "--genesis", "genesis.toml", "--data-dir", "data"]);
    let own = said.split_whitespace().nth(1).unwrap().to_owned();
    for (flag, text, words) in [
        ("--hosts-deny", "abc\n".to_owned(), "aldis: list, line 1: is not a host id"),
        ("--hosts-deny", format!("#\n{own}\n"), "aldis: list, line 2: is this host's own id"),
        ("--hosts-allow", "# nobody\n".to_owned(), "aldis: list: does not allow this host itself"),
        ("--revocation", "version = 1\n".to_owned(), "aldis: list, field `host`: is missing"),
    ] {
        fs::write(place.path("list"), text).unwrap();
        let said = refused(&place, &["--data-dir", "data", flag, "list"]);
        assert!(said.starts_with(words), "{said}");
    }
    let said = refused(&place, &["--data-dir", "data", "--hosts-allow", "missing"]);
    assert!(said.starts_with("aldis: missing: is named by `hosts_allow` and cannot be read"), "{said}");
    let (code, _) = ends(&place, &["id", "revoke", "--data-dir", "data", "--out", "own"]);
    assert_eq!(code, 0);
    let said = refused(&place, &["--data-dir", "data", "--revocation", "own"]);
    assert!(said.contains("own: revokes this host itself"), "{said}");
}

#[tokio::test]
async fn a_data_directory_is_for_one_host_at_a_time() {
    let place = Place::new();
    let host = place.host("data", &[], &[]).await;
    let said = refused(&place, &["--data-dir", "data"]);
    let expected = format!("the data directory data is in use by another host (process {})", host.pid());
    assert!(said.contains(&expected), "{said}");
    // Also a host that could say nothing at its end leaves it free.
    host.kill();
    let again = place.host("data", &[], &[]).await;
    assert!(again.get("/healthz").await.contains("ok"));
}

/// A host's key and memory, copied to another data directory.
fn copy(place: &Place, from: &str, to: &str) {
    fs::create_dir(place.path(to)).unwrap();
    for entry in fs::read_dir(place.path(from)).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_file()) {
        fs::copy(entry.path(), file(place, to, entry.file_name().to_str().unwrap())).unwrap();
    }
}

/// Waits until one of two hosts with one key ends; the other one stays, and is linked.
async fn one_ends(mut twins: [Process; 2], neighbour: &Process) {
    assert_eq!(twins[0].id, twins[1].id);
    let (begun, mut ended) = (Instant::now(), None);
    eventually("one of the two ends", async || {
        ended = twins.iter_mut().position(|twin| twin.has_ended().is_some());
        ended.is_some()
    })
    .await;
    let took = begun.elapsed();
    println!("one of the twins ended after {took:?}");
    assert!(took < TWIN_ENDS_MAX, "it took {took:?}");
    let ended = ended.unwrap();
    assert_eq!(twins[ended].has_ended().unwrap().code(), Some(KEY_IN_USE));
    assert!(twins[ended].log().contains("another host runs with this host's key"), "{}", twins[ended].log());
    let id = twins[0].id.clone();
    eventually("the other is linked", async || {
        neighbour.status().await.links.iter().any(|link| link.host.to_string() == id)
    })
    .await;
    assert!(twins[1 - ended].has_ended().is_none());
}

#[tokio::test]
async fn of_two_hosts_with_one_key_and_a_neighbour_in_common_one_ends() {
    let place = Place::new();
    let neighbour = place.host("neighbour", &[], &[]).await;
    let peer = neighbour.quic.to_string();
    let first = place.host("first", &[], &["--peers", &peer]).await;
    all_linked(&[&neighbour, &first]).await;
    copy(&place, "first", "copy");
    let second = place.host("copy", &[], &["--peers", &peer]).await;
    one_ends([first, second], &neighbour).await;
}

#[tokio::test]
async fn of_two_hosts_with_one_key_that_start_in_the_same_second_one_ends() {
    let place = Place::new();
    let neighbour = place.host("neighbour", &[], &[]).await;
    let peer = neighbour.quic.to_string();
    ends(&place, &["id", "--genesis", "genesis.toml", "--data-dir", "first"]);
    copy(&place, "first", "copy");
    // They publish the same address too, so that nothing but chance tells them apart.
    let more = ["--peers", &peer, "--addresses", "127.0.0.1:9"];
    let (first, second) = tokio::join!(place.host("first", &[], &more), place.host("copy", &[], &more));
    one_ends([first, second], &neighbour).await;
}
