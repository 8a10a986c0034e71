//! Sealed signals (PROTOCOL.md §4.4) through whole hosts, and past the end of one.

use aldis::client::{Client, Event, Events, Options};
use aldis::net::driver::Host;
use aldis_wire::edge::Status;
use aldis_wire::id::PeerId;
use ed25519_dalek::SigningKey;

use crate::harness::{config, hear, knowing, start, until_linked};

async fn sealing(seed: u8, hosts: &[&Host]) -> (Client, Events) {
    let urls = hosts.iter().map(|host| format!("ws://{}", host.http_address())).collect();
    let key = Some(SigningKey::from_bytes(&[seed; 32]));
    Client::connect(Options { urls, key, sealed: true, ..Options::default() }).await.unwrap()
}

async fn hears(events: &mut Events, from: PeerId, text: &str) {
    let heard = hear(events, |event| match event {
        Event::Signal { from, data, topic, .. } => Some((from, data, topic)),
        Event::Dropped { why, .. } => panic!("{why}"),
        _ => None,
    });
    assert_eq!(heard.await, (from, text.to_owned(), Some("t".to_owned())));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sealed_passes_two_hosts_and_goes_on_when_one_of_them_ends() {
    let a = start(config(1)).await;
    let b = start(knowing(2, &[&a])).await;
    until_linked(&a, &b).await;
    let ((alice, mut to_alice), (bob, mut to_bob)) = (sealing(11, &[&a, &b]).await, sealing(12, &[&b]).await);
    let (alice_id, bob_id) = (alice.who().peer, bob.who().peer);
    for client in [&alice, &bob] {
        client.join("t", None).await.unwrap();
    }
    // Alice may ask for Bob's key before he is known at her host.
    hear(&mut to_alice, |event| matches!(event, Event::PeerJoined { .. }).then_some(())).await;
    for n in 0..20 {
        let text = format!(r#"{{"n": {n}, "é": 1.0}}"#);
        assert_eq!(alice.signal(bob_id, Some("t"), &text).await.unwrap().status, Status::Delivered);
        hears(&mut to_bob, alice_id, &text).await;
        assert_eq!(bob.signal(alice_id, Some("t"), "null").await.unwrap().status, Status::Delivered);
        hears(&mut to_alice, bob_id, "null").await;
    }
    a.stop().await;
    let renewed = hear(&mut to_alice, |event| match event {
        Event::Renewed { peer } => Some(peer),
        _ => None,
    });
    assert_eq!(renewed.await, alice_id, "a key keeps its peer");
    hear(&mut to_bob, |event| matches!(event, Event::PeerJoined { peer, .. } if peer == alice_id).then_some(())).await;
    assert_eq!(bob.signal(alice_id, Some("t"), "1").await.unwrap().status, Status::Delivered);
    hears(&mut to_alice, bob_id, "1").await;
    assert_eq!(alice.signal(bob_id, Some("t"), "2").await.unwrap().status, Status::Delivered);
    hears(&mut to_bob, alice_id, "2").await;
}
