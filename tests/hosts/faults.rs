//! Two hosts with bad internet between them, and many signals at once.

use std::time::{Duration, Instant};

use aldis::client::{Client, Event, Events};
use aldis::net::driver::{Host, HostConfig};
use aldis::relay::io::Hint;
use aldis_wire::edge::Status;
use futures_util::future::join_all;

use crate::harness::{DEADLINE, config, edge, hear, is_linked, knowing, knows, start, until, until_linked};
use crate::proxy::{Proxy, Weather};

/// Two hosts that know each other only through the weather between them.
pub(crate) struct Apart {
    pub(crate) a: Host,
    pub(crate) b: Host,
    to_a: Proxy,
    to_b: Proxy,
}

impl Apart {
    async fn new() -> Self {
        Self::of(config(1), config(2)).await
    }

    pub(crate) async fn of(mut first: HostConfig, mut second: HostConfig) -> Self {
        let ((mut to_a, inside_a), (mut to_b, inside_b)) = (Proxy::new().await, Proxy::new().await);
        first.settings.addresses = vec![to_a.address];
        second.settings.addresses = vec![to_b.address];
        first.settings.static_peers = vec![Hint { address: to_b.address, host: None }];
        let a = start(first).await;
        let b = start(second).await;
        to_a.lead_to(a.quic_address(), inside_a);
        to_b.lead_to(b.quic_address(), inside_b);
        until_linked(&a, &b).await;
        Self { a, b, to_a, to_b }
    }

    pub(crate) fn weather(&self, weather: Weather) {
        self.to_a.weather(weather);
        self.to_b.weather(weather);
    }
}

/// Two edges that have met.
async fn met(a: &Host, b: &Host) -> ((Client, Events), (Client, Events)) {
    let ((alice, mut to_alice), (bob, to_bob)) = (edge(a).await, edge(b).await);
    alice.join("t", None).await.unwrap();
    bob.join("t", None).await.unwrap();
    hear(&mut to_alice, |event| matches!(event, Event::PeerJoined { .. }).then_some(())).await;
    ((alice, to_alice), (bob, to_bob))
}

/// Sends numbered signals, `at_once` of them open, and returns the slowest receipt. All must be delivered, in order.
async fn converse(from: &Client, to: &Client, to_events: &mut Events, count: usize, at_once: usize) -> Duration {
    let target = to.who().peer;
    let sending = async {
        let mut slowest = Duration::ZERO;
        for first in (0..count).step_by(at_once) {
            let mut open = Vec::new();
            let begun = Instant::now();
            for n in first..count.min(first + at_once) {
                open.push(from.post(target, Some("t"), &n.to_string()).await.unwrap());
            }
            for receipt in join_all(open.into_iter().map(|posted| posted.receipt())).await {
                assert_eq!(receipt.unwrap().status, Status::Delivered);
            }
            slowest = slowest.max(begun.elapsed());
        }
        slowest
    };
    let hearing = async {
        for n in 0..count {
            let data = hear(to_events, |event| match event {
                Event::Signal { data, .. } => Some(data),
                _ => None,
            });
            assert_eq!(data.await, n.to_string(), "once each, in order");
        }
    };
    tokio::join!(sending, hearing).0
}

#[tokio::test(flavor = "multi_thread")]
async fn many_signals_at_once_both_ways_are_each_delivered_once_and_in_order() {
    let a = start(config(1)).await;
    let b = start(knowing(2, &[&a])).await;
    until_linked(&a, &b).await;
    let mut pairs = Vec::new();
    for _ in 0..10 {
        pairs.push(met(&a, &b).await);
    }
    join_all(pairs.iter_mut().map(|((alice, to_alice), (bob, to_bob))| async move {
        tokio::join!(converse(alice, bob, to_bob, 200, 50), converse(bob, alice, to_alice, 200, 50))
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_loses_one_datagram_in_ten_loses_no_signal() {
    let apart = Apart::new().await;
    let ((alice, mut to_alice), (bob, mut to_bob)) = met(&apart.a, &apart.b).await;
    apart.weather(Weather { loss: 10, delay: Duration::from_millis(25), ..Weather::default() });
    let slowest = converse(&alice, &bob, &mut to_bob, 200, 10).await;
    assert!(slowest < Duration::from_secs(5), "{slowest:?}");
    converse(&bob, &alice, &mut to_alice, 50, 1).await;
    assert!(is_linked(&apart.a.hub().view(), apart.b.id()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_carries_one_way_only_ends_the_link_at_both_ends() {
    let apart = Apart::new().await;
    let ((alice, _to_alice), (bob, _to_bob)) = met(&apart.a, &apart.b).await;
    // B is deaf, whoever dialled.
    apart.to_b.weather(Weather { blocked_in: true, ..Weather::default() });
    apart.to_a.weather(Weather { blocked_out: true, ..Weather::default() });
    // So much is on its way from B that it cannot even say that it closes.
    let much = format!("\"{}\"", "x".repeat(60_000));
    for _ in 0..50 {
        bob.post(alice.who().peer, None, &much).await.unwrap();
    }
    alice.post(bob.who().peer, None, "0").await.unwrap();
    until(&apart.b, "the link is gone", |view| !is_linked(view, apart.a.id())).await;
    let after = until(&apart.a, "the link is gone", |view| !is_linked(view, apart.b.id())).await;
    // A says something within 3 s and misses the acknowledgement. It hears B as long as B tries, and would hold the link
    // for some 6 s more.
    assert!(after < Duration::from_secs(4), "{after:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_survives_a_router_that_forgets_its_ports() {
    let apart = Apart::new().await;
    let ((alice, mut to_alice), (bob, mut to_bob)) = met(&apart.a, &apart.b).await;
    converse(&alice, &bob, &mut to_bob, 5, 1).await;
    let before = apart.b.hub().view();
    apart.to_b.forget_senders();
    apart.to_a.forget_senders();
    let begun = Instant::now();
    converse(&alice, &bob, &mut to_bob, 5, 1).await;
    converse(&bob, &alice, &mut to_alice, 5, 1).await;
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    let links = |view: &aldis::relay::view::View| view.links.iter().map(|link| link.link).collect::<Vec<_>>();
    assert_eq!(links(&apart.b.hub().view()), links(&before), "it is the same connection");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_line_is_noticed_told_and_forgotten_when_it_heals() {
    let apart = Apart::new().await;
    let ((alice, mut to_alice), (bob, mut to_bob)) = met(&apart.a, &apart.b).await;
    apart.weather(Weather { blocked: true, ..Weather::default() });
    let begun = Instant::now();
    let sent = alice.signal(bob.who().peer, Some("t"), "0").await.unwrap();
    assert_ne!(sent.status, Status::Delivered);
    assert!(begun.elapsed() < Duration::from_secs(7), "a receipt comes in any case: {:?}", begun.elapsed());
    hear(&mut to_alice, |event| matches!(event, Event::PeerLeft { .. }).then_some(())).await;
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    // Each side goes on by itself.
    let (carol, _to_carol) = edge(&apart.a).await;
    assert_eq!(alice.signal(carol.who().peer, None, "1").await.unwrap().status, Status::Delivered);

    apart.weather(Weather::default());
    let healed = Instant::now();
    until(&apart.a, "a link", |view| is_linked(view, apart.b.id()) && knows(view, apart.b.id())).await;
    until(&apart.b, "a link", |view| is_linked(view, apart.a.id()) && knows(view, apart.a.id())).await;
    assert!(healed.elapsed() < Duration::from_secs(12), "{:?}", healed.elapsed());
    hear(&mut to_alice, |event| matches!(event, Event::PeerJoined { .. }).then_some(())).await;
    // What the cut swallowed may have arrived after all; nothing after it is lost.
    while let Ok(Some(_)) = tokio::time::timeout(Duration::from_millis(200), to_bob.next()).await {}
    converse(&alice, &bob, &mut to_bob, 20, 5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_that_all_dial_each_other_at_once_settle_on_one_link_a_pair_and_lose_nothing_meanwhile() {
    const HOSTS: usize = 6;
    let mut sockets = Vec::new();
    for _ in 0..HOSTS {
        sockets.push(std::net::UdpSocket::bind("127.0.0.1:0").unwrap());
    }
    let addresses: Vec<_> = sockets.iter().map(|socket| socket.local_addr().unwrap()).collect();
    drop(sockets);
    let configs = addresses.iter().zip(1_u8..).map(|(address, seed)| {
        let mut config = config(seed);
        config.quic = *address;
        let others = addresses.iter().filter(|other| *other != address);
        config.settings.static_peers = others.map(|address| Hint { address: *address, host: None }).collect();
        config
    });
    let hosts = join_all(configs.map(start)).await;
    let mut edges = Vec::new();
    for host in &hosts {
        let (client, events) = edge(host).await;
        client.join("t", None).await.unwrap();
        edges.push((client, events));
    }
    // Signals go around while crossed connections are being dropped.
    for host in &hosts {
        until(host, "every roster", |view| {
            view.hosts.iter().filter(|h| h.live && h.memberships == 1).count() == HOSTS - 1
        })
        .await;
    }
    for _ in 0..10 {
        for (n, (from, _)) in edges.iter().enumerate() {
            let to = edges[(n + 1) % HOSTS].0.who().peer;
            assert_eq!(from.signal(to, Some("t"), "1").await.unwrap().status, Status::Delivered);
        }
    }
    for host in &hosts {
        until(host, "one link a pair", |view| {
            let mut linked: Vec<_> = view.links.iter().map(|link| link.host).collect();
            linked.sort_unstable();
            linked.dedup();
            linked.len() == HOSTS - 1 && view.links.len() == HOSTS - 1
        })
        .await;
    }
    let keys = |host: &Host| {
        let mut keys: Vec<_> = host.hub().view().links.iter().map(|link| link.link).collect();
        keys.sort_unstable();
        keys
    };
    // A dial that was under way may still bring a connection that wins; after that none comes or goes.
    let begun = Instant::now();
    let mut settled: Vec<_> = hosts.iter().map(keys).collect();
    loop {
        tokio::time::sleep(Duration::from_secs(3)).await;
        let now: Vec<_> = hosts.iter().map(keys).collect();
        if now == settled {
            break;
        }
        assert!(begun.elapsed() < DEADLINE, "connections come and go: {settled:?}, then {now:?}");
        settled = now;
    }
    assert!(settled.iter().all(|keys| keys.len() == HOSTS - 1), "{settled:?}");
    let mailboxes: Vec<_> = hosts.iter().map(|host| host.hub().mailboxes().1).collect();
    assert_eq!(mailboxes, [HOSTS - 1; HOSTS], "and none lingers");
}
