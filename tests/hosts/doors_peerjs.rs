//! Clients of `PeerJS` at different hosts: whose an id is, and what waits for it.

use std::net::SocketAddr;
use std::time::Duration;

use aldis::doors::Door;
use aldis::net::driver::{Host, HostConfig};
use aldis_wire::id::HostId;

use crate::faults::Apart;
use crate::harness::{DEADLINE, config, get, is_linked, knowing, knows, start, until, until_linked};
use crate::peerjs_client::{OPEN, PeerJs, TAKEN, expire, frame};
use crate::proxy::Weather;

fn speaking(config: HostConfig) -> HostConfig {
    HostConfig { doors: vec![Door::PeerJs], ..config }
}

async fn two() -> (Host, Host) {
    let a = start(speaking(config(1))).await;
    let b = start(speaking(knowing(2, &[&a]))).await;
    until_linked(&a, &b).await;
    (a, b)
}

/// Waits until `seen` knows so many memberships of the other host.
async fn until_members(seen: &Host, of: HostId, count: usize) {
    let fits = |view: &aldis::relay::view::View| {
        view.hosts.iter().any(|host| host.host == of && host.live && host.memberships == count)
    };
    until(seen, "the other host's memberships", fits).await;
}

/// Whether the client gets its id, and its socket.
async fn try_open(host: SocketAddr, id: &str, token: &str) -> Option<PeerJs> {
    let mut client = PeerJs::knock(host, id, token).await;
    match &*client.hear().await {
        OPEN => Some(client),
        told => {
            assert_eq!(told, TAKEN);
            assert_eq!(client.next().await, None);
            None
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_a_client_reaches_it_at_another_host_in_order_and_after_its_open() {
    let (a, b) = two().await;
    let mut anna = PeerJs::open(a.http_address(), "anna", "a").await;
    let payload = r#"{ "sdp" : "v=0\r\n", "n":1.50 }"#;
    anna.send("OFFER", "bert", payload).await;
    for n in 0..10 {
        anna.send("CANDIDATE", "bert", &n.to_string()).await;
    }
    let mut bert = PeerJs::open(b.http_address(), "bert", "b").await;
    assert_eq!(bert.hear().await, frame("OFFER", "anna", "bert", payload));
    for n in 0..10 {
        assert_eq!(bert.hear().await, frame("CANDIDATE", "anna", "bert", &n.to_string()));
    }
    bert.send("ANSWER", "anna", "{}").await;
    assert_eq!(anna.hear().await, frame("ANSWER", "bert", "anna", "{}"));
    bert.leave().await;
    until_members(&a, b.id(), 0).await;
    anna.send("OFFER", "bert", "2").await;
    assert_eq!(anna.hear().await, expire("bert", "anna"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_takes_its_id_to_another_host_with_its_token_and_nobody_else_does() {
    let (a, b) = two().await;
    let mut anna = PeerJs::open(a.http_address(), "anna", "a").await;
    let mut before = PeerJs::open(a.http_address(), "me", "secret").await;
    until_members(&b, a.id(), 2).await;
    assert!(try_open(b.http_address(), "me", "guess").await.is_none());
    let mut after = PeerJs::open(b.http_address(), "me", "secret").await;
    assert_eq!(before.next().await, None, "the old socket is closed, and not told that the id is taken");
    until_members(&b, a.id(), 1).await;
    anna.send("OFFER", "me", "1").await;
    assert_eq!(after.hear().await, frame("OFFER", "anna", "me", "1"));
    // And back again, after its socket broke.
    drop(after);
    until_members(&a, b.id(), 1).await;
    assert!(try_open(a.http_address(), "me", "guess").await.is_none());
    let mut back = PeerJs::open(a.http_address(), "me", "secret").await;
    anna.send("OFFER", "me", "2").await;
    assert_eq!(back.hear().await, frame("OFFER", "anna", "me", "2"), "and not at the session that still waits at b");
    // And to and fro while sessions wait at both.
    for n in 3..7 {
        drop(back);
        let here = if n % 2 == 1 { &b } else { &a };
        back = PeerJs::open(here.http_address(), "me", "secret").await;
        until_called(&mut anna, &mut back, n).await;
    }
}

/// Calls until the call comes: the caller's host may not have heard yet of the move.
async fn until_called(caller: &mut PeerJs, called: &mut PeerJs, n: u32) {
    let wanted = frame("OFFER", "anna", "me", &n.to_string());
    for _ in 0..100 {
        caller.send("OFFER", "me", &n.to_string()).await;
        let hearing = async { while called.hear().await != wanted {} };
        if tokio::time::timeout(Duration::from_millis(200), hearing).await.is_ok() {
            return;
        }
    }
    panic!("it is never called");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_who_take_one_id_in_the_same_moment_one_keeps_it() {
    let (a, b) = two().await;
    for round in 0..10 {
        let id = format!("me{round}");
        let (one, two) =
            tokio::join!(PeerJs::knock(a.http_address(), &id, "one"), PeerJs::knock(b.http_address(), &id, "two"));
        let mut stayed = one_stays(&id, [(a.id(), one), (b.id(), two)], false).await;
        stayed.say(r#"{"type":"HEARTBEAT"}"#).await;
    }
}

/// Waits until one of two is told that its id is taken; gives the other.
async fn one_stays(id: &str, both: [(HostId, PeerJs); 2], by_rank: bool) -> PeerJs {
    let rank = |home: HostId| *blake3::hash(&[id.as_bytes(), home.as_bytes()].concat()).as_bytes();
    let [(home, mut one), (other_home, mut two)] = both;
    let ended = async |client: &mut PeerJs| loop {
        match client.next().await.as_deref() {
            Some(OPEN) => {}
            told => return assert_eq!(told, Some(TAKEN)),
        }
    };
    let (stayed, stays) = tokio::select! {
        () = ended(&mut one) => ((other_home, home), two),
        () = ended(&mut two) => ((home, other_home), one),
    };
    if by_rank {
        assert!(rank(stayed.0) < rank(stayed.1), "the lower hash stays");
    }
    stays
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_partition_has_healed_the_lower_hash_of_id_and_home_keeps_the_id() {
    const IDS: usize = 4;
    let apart = Apart::of(speaking(config(1)), speaking(config(2))).await;
    let (a, b) = (&apart.a, &apart.b);
    let mut anna = PeerJs::open(a.http_address(), "anna", "a").await;
    until_members(b, a.id(), 1).await;
    apart.weather(Weather { blocked: true, ..Weather::default() });
    until(a, "b is gone", |view| !knows(view, b.id())).await;
    until(b, "a is gone", |view| !knows(view, a.id())).await;
    let mut pairs = Vec::new();
    for n in 0..IDS {
        let id = format!("me{n}");
        let one = PeerJs::open(a.http_address(), &id, "one").await;
        let two = PeerJs::open(b.http_address(), &id, "two").await;
        pairs.push((id, one, two));
    }
    apart.weather(Weather::default());
    until(a, "a link", |view| is_linked(view, b.id())).await;
    for (id, one, two) in pairs {
        let mut stays = one_stays(&id, [(a.id(), one), (b.id(), two)], true).await;
        anna.send("OFFER", &id, "1").await;
        assert_eq!(stays.hear().await, frame("OFFER", "anna", &id, "1"), "and it is the one that is called");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_of_all_hosts_that_tell_theirs_are_listed() {
    let telling = |config| HostConfig { peerjs_discovery: true, ..speaking(config) };
    let a = start(telling(config(1))).await;
    let b = start(telling(knowing(2, &[&a]))).await;
    let c = start(speaking(knowing(3, &[&a, &b]))).await;
    for host in [&b, &c] {
        until_linked(&a, host).await;
    }
    let mut clients = Vec::new();
    for (host, id) in [(&a, "anna"), (&b, "bert"), (&c, "carl")] {
        clients.push(PeerJs::open(host.http_address(), id, "t").await);
    }
    let listed = async {
        while get(&a, "/peerjs/peers").await != r#"["anna","bert"]"# {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(DEADLINE, listed).await.expect("both are listed, and not the third");
    assert_eq!(get(&c, "/peerjs/peers").await, "Unauthorized");
}
