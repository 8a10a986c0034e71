//! Sessions on real sockets: broken ones that go on, keys, the end of a host.

use std::time::Duration;

use aldis::relay::io::Input;
use aldis_wire::edge::{Claim, EdgeMessage, FromEdge, Hello, HostMessage, Identity};
use aldis_wire::id::PeerId;
use aldis_wire::network::NetworkTag;
use aldis_wire::proof::{Proof, answer_challenge};
use ed25519_dalek::SigningKey;
use serde_json::json;

use crate::edge::{Bystanders, Edge};
use crate::harness::{House, eventually};

#[tokio::test]
async fn a_socket_that_breaks_is_replaced_and_nothing_was_lost_and_nobody_noticed() {
    let house = House::start();
    let mut watcher = Edge::in_topic(&house, "t").await;
    let edge = Edge::in_topic(&house, "t").await;
    watcher.hear_type("peer_joined").await;
    let (peer, token, seq) = (edge.peer.clone(), edge.token.clone(), edge.seq);
    drop(edge);
    eventually("the socket is gone", async || house.gateway.sockets() == 1).await;
    for n in 0..3 {
        watcher.request(json!({ "type": "signal", "to": peer, "topic": "t", "data": n })).await;
    }
    let mut again = Edge::greeted(&house).await;
    again.say(&json!({ "type": "hello", "resume": { "token": token, "seq": seq } })).await;
    let welcome = again.hear_type("welcome").await;
    assert_eq!((&welcome["resumed"], &welcome["peer"]), (&json!(true), &json!(peer)));
    for n in 0..3 {
        let signal = again.hear().await;
        assert_eq!((&signal["data"], &signal["topic"], &signal["seq"]), (&json!(n), &json!("t"), &json!(seq + 1 + n)));
    }
    again.acknowledge().await;
    for _ in 0..3 {
        let receipt = watcher.hear().await;
        assert_eq!((&receipt["type"], &receipt["status"]), (&json!("receipt"), &json!("delivered")), "{receipt}");
    }
    assert!(watcher.hears_nothing_for(Duration::from_millis(100)).await);
}

#[tokio::test]
async fn whoever_says_bye_is_gone_at_once() {
    let house = House::start();
    let mut watcher = Edge::in_topic(&house, "t").await;
    let mut edge = Edge::in_topic(&house, "t").await;
    watcher.hear_type("peer_joined").await;
    edge.say(&json!({ "type": "bye" })).await;
    assert_eq!(edge.close_code().await, Some(1000));
    let left = watcher.hear_type("peer_left").await;
    assert_eq!((&left["peer"], &left["reason"]), (&json!(edge.peer), &json!("closed")));
}

#[tokio::test]
async fn a_host_that_shuts_down_tells_its_edges_and_closes_their_sockets() {
    let house = House::start();
    let mut edges = Bystanders::of(&house).await;
    house.hub.happened(Input::ShutdownAsked);
    for edge in [&mut edges.here, &mut edges.there] {
        let drain = edge.hear_type("drain").await;
        assert!(drain["retry_after_ms"].is_u64() && drain["hosts"].is_array(), "{drain}");
        assert!(edge.close_code().await.is_some());
    }
    let mut late = Edge::unheard(&house, None).await;
    assert_eq!(late.error().await, "closing");
    eventually("all sockets are closed", async || house.gateway.sockets() == 0).await;
}

#[tokio::test]
async fn a_gateway_that_is_dropped_cuts_its_sockets() {
    let house = House::start();
    let mut edge = Edge::connect(&house).await;
    drop(house);
    assert_eq!(edge.next().await, None);
}

#[tokio::test]
async fn a_keyed_edge_proves_its_key_for_this_home_and_this_socket() {
    let house = House::start();
    let mut others = Bystanders::of(&house).await;
    let key = SigningKey::from_bytes(&[42; 32]);
    let (mut edge, claim) = claimed(&house, &key, &key, 1).await;
    edge.say_text(claim.clone()).await;
    let welcome = edge.hear_type("welcome").await;
    let peer = PeerId::new(key.verifying_key().to_bytes());
    assert_eq!(welcome["peer"], json!(peer.to_string()));

    // Recorded from one socket, it is worth nothing on another.
    let mut thief = Edge::greeted(&house).await;
    thief.say_text(claim).await;
    assert_eq!(thief.error().await, "claim_invalid");
    // Nor does another's key help.
    let (mut thief, claim) = claimed(&house, &key, &SigningKey::from_bytes(&[43; 32]), 9).await;
    thief.say_text(claim).await;
    assert_eq!(thief.error().await, "claim_invalid");
    edge.say(&json!({ "type": "ping" })).await;
    edge.hear_type("pong").await;

    // Its owner comes again with a higher counter: the session before it is told, and ends.
    let (mut newer, claim) = claimed(&house, &key, &key, 2).await;
    newer.say_text(claim).await;
    newer.hear_type("welcome").await;
    assert_eq!(edge.error().await, "replaced");
    assert!(edge.close_code().await.is_some());
    let (mut older, claim) = claimed(&house, &key, &key, 1).await;
    older.say_text(claim).await;
    let error = older.hear_type("error").await;
    assert_eq!((&error["code"], &error["known"]), (&json!("claim_old"), &json!(2)));
    others.go_on().await;
}

/// A greeted socket, and the `hello` with which `signer` claims for it to be the owner of `key`.
async fn claimed(house: &House, key: &SigningKey, signer: &SigningKey, counter: u64) -> (Edge, String) {
    let mut edge = Edge::unheard(house, None).await;
    let greeting = edge.hear().await.to_string();
    let HostMessage::Greeting { host, tag, challenge, .. } = HostMessage::decode(&greeting).unwrap() else {
        panic!("{greeting}");
    };
    let tag = NetworkTag::new(tag.0);
    let Proof::Keyed { signature, .. } = Proof::claim(signer, tag, host, counter, None) else { unreachable!() };
    let proof = answer_challenge(signer, tag, host, &challenge.0);
    let claim = Claim { counter, sealing: None, signature, proof };
    let peer = PeerId::new(key.verifying_key().to_bytes());
    let hello = Hello { identity: Identity::Keyed { peer, claim }, meta: None };
    let mut text = Vec::new();
    FromEdge::from(EdgeMessage::Hello(hello)).encode(&mut text);
    (edge, String::from_utf8(text).unwrap())
}
