//! One topic's story, from its first member to the end of a host: three hosts as processes that share nothing but a
//! genesis file and a DHT. (That a member stays discoverable for days is shown in virtual time: tests/story.rs.)

use std::time::{Duration, Instant};

use aldis::client::Event;
use aldis_wire::id::PeerId;
use serde_json::json;

use super::edges::{DELIVERED, Edge, Raw};
use super::process::{Place, Process, all_linked};
use super::{eventually, testnet, within};

/// The hosts' grace period: shorter than the default, for the test's sake.
const GRACE: Duration = Duration::from_secs(2);
/// "At once" in the story: one multicast, and what a busy machine adds.
const AT_ONCE: Duration = Duration::from_secs(1);

struct Hosts {
    /// The family's.
    family: Process,
    /// Where Alice comes to.
    elsewhere: Process,
    third: Process,
}

#[tokio::test]
async fn bob_is_found_and_signalled_across_hosts_missed_when_he_is_gone_for_good_and_only_then() {
    let (dht, place) = (testnet().await, Place::new());
    let grace = GRACE.as_secs().to_string();
    let start = async |name| place.host(name, &dht.bootstrap, &["--grace-seconds", &grace]).await;
    let (family, elsewhere, third) = tokio::join!(start("family"), start("elsewhere"), start("third"));
    let hosts = Hosts { family, elsewhere, third };
    all_linked(&[&hosts.family, &hosts.elsewhere, &hosts.third]).await;

    // Bob is on the family's host and has joined s0.
    let mut bob = Raw::at(&hosts.family.url()).await;
    assert_eq!(u128::from(bob.session.limits.grace_ms), GRACE.as_millis());
    assert_eq!(bob.join("s0").await, json!([]));

    alice_comes_signals_and_leaves(&hosts, &mut bob).await;
    let charlie = charlie_joins_and_finds_bob(&hosts, &mut bob).await;
    // Erin is a third member, on the third host: what she and Charlie are told, the network is told.
    let mut erin = Edge::at(&hosts.third.url()).await;
    erin.finds("s0", charlie.peer()).await;
    assert_eq!(erin.join("s0").await.total, 2);
    let mut charlie = charlie;
    charlie.sees("s0", erin.peer()).await;
    bob.sees("s0", erin.peer()).await;

    let bob = nobody_notices_that_bob_was_away(&hosts, bob, &mut charlie, &mut erin).await;
    bob_is_gone_for_good(&hosts, bob, &mut charlie, &mut erin).await;
    the_familys_host_ends(hosts, charlie, &mut erin).await;
}

async fn alice_comes_signals_and_leaves(hosts: &Hosts, bob: &mut Raw) {
    // Alice arrives on another host, starts listening and joins s0: she is given Bob, and Bob is told of her.
    let mut alice = Edge::at(&hosts.elsewhere.url()).await;
    alice.finds("s0", bob.peer()).await;
    let sample = alice.join("s0").await;
    assert_eq!((sample.total, sample.peers[0].peer), (1, bob.peer()));
    let joined = Instant::now();
    bob.sees("s0", alice.peer()).await;
    assert!(joined.elapsed() < AT_ONCE, "Bob was told after {:?}", joined.elapsed());

    // Several messages go both ways through the two hosts.
    for n in 0..5 {
        let (offer, answer) = (json!({ "offer": n }), json!({ "answer": n }));
        let text = offer.to_string();
        let (receipt, heard) = tokio::join!(alice.signal(bob.peer(), &text), bob.hear());
        let from = json!(alice.peer().to_string());
        assert_eq!((&heard["type"], &heard["from"], &heard["data"]), (&json!("signal"), &from, &offer));
        assert_eq!(receipt, DELIVERED);
        bob.say(json!({ "type": "signal", "id": format!("bob-{n}"), "to": from, "data": answer })).await;
        assert_eq!(alice.hears(bob.peer()).await, answer.to_string());
        let receipt = bob.hear().await;
        assert_eq!((&receipt["type"], &receipt["status"]), (&json!("receipt"), &json!("delivered")), "{receipt}");
    }

    // Alice leaves: Bob is told at once, and someone who joins s0 on her host afterwards does not see her.
    let left = Instant::now();
    within("left", alice.client.leave("s0")).await.unwrap();
    bob.misses("s0", alice.peer(), "left").await;
    assert!(left.elapsed() < AT_ONCE, "Bob was told after {:?}", left.elapsed());
    // Her host holds nothing more of s0 than the directory: Bob, at home at the family's host.
    // What it says may be as old as a look before all this.
    eventually("her host has no topic of its own, and knows of Bob", async || {
        let status = hosts.elsewhere.status().await;
        let family = status.hosts.iter().find(|host| host.host.to_string() == hosts.family.id);
        (status.topics, status.sessions, family.map(|family| family.memberships)) == (0, 1, Some(1))
    })
    .await;

    let dora = Edge::at(&hosts.elsewhere.url()).await;
    let sample = dora.join("s0").await;
    assert_eq!((sample.total, sample.peers[0].peer), (1, bob.peer()));
    let dora_was = dora.peer();
    bob.sees("s0", dora_was).await;
    dora.client.bye().await;
    bob.misses("s0", dora_was, "closed").await;
    alice.client.bye().await;
}

/// Charlie joins on the family's host and finds Bob.
async fn charlie_joins_and_finds_bob(hosts: &Hosts, bob: &mut Raw) -> Raw {
    let mut charlie = Raw::at(&hosts.family.url()).await;
    assert_eq!(charlie.join("s0").await, json!([{ "peer": bob.peer().to_string() }]));
    bob.sees("s0", charlie.peer()).await;
    charlie
}

/// Bob's socket dies without a goodbye, and he resumes within the grace period: nobody notices, and he misses nothing.
async fn nobody_notices_that_bob_was_away(hosts: &Hosts, bob: Raw, charlie: &mut Raw, erin: &mut Edge) -> Raw {
    let bob_is = bob.peer();
    let away = bob.drop_socket();
    let posted = erin.client.post(bob_is, Some("s0"), "\"while you were away\"").await.unwrap();
    // Erin's host has taken it; that it is under way is known when her host has answered something later.
    assert_eq!(erin.members("s0").await.len(), 2);
    let mut bob = away.resume(&hosts.family.url()).await;
    assert_eq!(bob.peer(), bob_is);
    assert_eq!(bob.hear().await["data"], "while you were away");
    assert_eq!(within("a receipt", posted.receipt()).await.unwrap(), DELIVERED);

    // The next thing that Charlie and Erin are told is a signal of his: not that he went, nor that he came.
    for (n, to) in [charlie.peer(), erin.peer()].into_iter().enumerate() {
        bob.say(json!({ "type": "signal", "id": format!("back-{n}"), "to": to.to_string(), "data": "I am back" }))
            .await;
    }
    assert_eq!(charlie.hear().await["data"], "I am back");
    assert_eq!(erin.hears(bob_is).await, "\"I am back\"");
    for _ in 0..2 {
        assert_eq!(bob.hear().await["status"], "delivered");
    }
    bob
}

/// Bob's socket dies without a goodbye: after the grace period, not before, the network and Charlie are told he left.
async fn bob_is_gone_for_good(hosts: &Hosts, bob: Raw, charlie: &mut Raw, erin: &mut Edge) {
    let bob_is = bob.peer();
    let dropped = Instant::now();
    drop(bob);
    charlie.misses("s0", bob_is, "lost").await;
    assert_eq!(erin.misses(bob_is).await, "lost");
    let waited = dropped.elapsed();
    assert!(waited >= GRACE && waited < GRACE + AT_ONCE, "they were told after {waited:?}");
    // Whoever asks on whichever host finds the two others alone.
    let mut others = [charlie.peer(), erin.peer()];
    others.sort_unstable();
    for host in [&hosts.family, &hosts.elsewhere, &hosts.third] {
        let asking = Edge::at(&host.url()).await;
        // Nobody there was told that he left: the announcement may be a moment behind.
        let what = format!("{} has no ghost", host.name);
        eventually(&what, async || asking.members("s0").await == others).await;
        asking.client.bye().await;
    }
}

/// The family's host shuts down by SIGTERM: its edges get `drain`, departures are announced before the process ends.
async fn the_familys_host_ends(hosts: Hosts, mut charlie: Raw, erin: &mut Edge) {
    let asking = Edge::at(&hosts.elsewhere.url()).await;
    let (charlie_is, erin_is): (PeerId, PeerId) = (charlie.peer(), erin.peer());
    assert!(asking.members("s0").await.contains(&charlie_is));
    let mut family = hosts.family;
    family.terminate();
    let drain = charlie.hear().await;
    assert_eq!(drain["type"], "drain", "{drain}");
    let elsewhere: Vec<_> = drain["hosts"].as_array().unwrap().iter().filter_map(|url| url.as_str()).collect();
    for host in [&hosts.elsewhere, &hosts.third] {
        assert!(elsewhere.contains(&host.url().as_str()), "{} is not among {elsewhere:?}", host.name);
    }
    charlie.closed().await;
    let status = family.ended().await;
    assert!(status.success(), "{status}");
    // The process is gone; whatever it had to say was said before. So one look is enough.
    assert_eq!(asking.members("s0").await, [erin_is]);
    match erin.next("the departure of Charlie").await {
        Event::PeerLeft { peer, reason, .. } => assert_eq!((peer, reason.as_str()), (charlie_is, "host_closed")),
        other => panic!("{other:?}"),
    }
}
