//! Hosts that break the protocol, on real sockets: each gets its answer, and nobody else notices.

use std::time::Duration;

use aldis::client::{Client, Event, Events};
use aldis::net::admin::Status;
use aldis::net::driver::Host;
use aldis_wire::announcement::Op;
use aldis_wire::host::{Channel, Frame, GoodbyeReason, HaveEntry, Signal};
use aldis_wire::id::{HostId, PeerId};
use aldis_wire::proof::Proof;
use bytes::Bytes;
use ed25519_dalek::SigningKey;
use tokio::time::timeout;

use crate::harness::{DEADLINE, config, edge, get, hear, knowing, metric, start, until, until_linked};
use crate::insider::Insider;

/// A host with an edge, an honest neighbour with an edge, and what must stay true whatever strangers do.
struct Scene {
    host: Host,
    _neighbour: Host,
    alice: (Client, Events),
    bob: (Client, Events),
}

impl Scene {
    async fn new() -> Self {
        let host = start(config(1)).await;
        let neighbour = start(knowing(2, &[&host])).await;
        until_linked(&host, &neighbour).await;
        let (mut alice, bob) = (edge(&host).await, edge(&neighbour).await);
        alice.0.join("t", None).await.unwrap();
        bob.0.join("t", None).await.unwrap();
        hear(&mut alice.1, |event| matches!(event, Event::PeerJoined { .. }).then_some(())).await;
        Self { host, _neighbour: neighbour, alice, bob }
    }

    /// Honest edges on both hosts still reach each other, over the same link.
    async fn goes_on(&mut self) {
        let (alice, bob) = (self.alice.0.who().peer, self.bob.0.who().peer);
        let there = self.alice.0.signal(bob, Some("t"), "1").await.unwrap();
        let back = self.bob.0.signal(alice, Some("t"), "2").await.unwrap();
        assert_eq!((there.code, back.code), (None, None));
        hear(&mut self.bob.1, |event| matches!(event, Event::Signal { .. }).then_some(())).await;
        hear(&mut self.alice.1, |event| matches!(event, Event::Signal { .. }).then_some(())).await;
        until(&self.host, "one link", |view| view.links.len() == 1).await;
    }

    async fn counted(&self, name: &str) {
        self.counted_to(name, 1.0).await;
    }

    async fn counted_to(&self, name: &str, count: f64) {
        let counting = async {
            while metric(&self.host, name).await.unwrap_or(0.0) < count {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        assert!(timeout(DEADLINE, counting).await.is_ok(), "{name} was not counted");
    }

    /// The fault ends the link and is counted.
    async fn ends(&mut self, insider: &Insider, fault: &str) {
        assert_eq!(insider.closed().await, GoodbyeReason::Misbehaved);
        self.counted(&format!("aldis_misbehaviours_total{{fault=\"{fault}\"}}")).await;
        self.goes_on().await;
    }

    /// The origin is refused, and so is what it says later; its link may stay.
    async fn quarantines(&mut self, insider: &mut Insider, fault: &str) {
        self.counted(&format!("aldis_hosts_quarantined_total{{fault=\"{fault}\"}}")).await;
        let id = insider.id();
        until(&self.host, "no roster of the liar", |view| {
            view.hosts.iter().all(|host| host.host != id || !host.live || host.peers == 0)
        })
        .await;
        // The operator sees who it is, and why.
        let told = async {
            loop {
                let page = get(&self.host, "/api/status").await;
                let status: Status = serde_json::from_str(&page).unwrap();
                if let Some(found) = status.refused.quarantined.into_iter().find(|refused| refused.host == id) {
                    return found;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let told = timeout(DEADLINE, told).await.expect("the operator is told");
        assert_eq!((told.reason.as_str(), told.epoch), (fault, insider.epoch));
    }
}

fn signal(from: PeerId, to: PeerId, proof: Proof) -> Frame {
    Frame::Signal(Signal {
        from,
        to,
        session: 1,
        n: 1,
        id: "1".to_owned(),
        proof,
        topic: None,
        data: Bytes::from_static(b"1"),
    })
}

/// A peer minted by this home, with its proof.
fn minted(home: HostId, nonce: u8) -> (PeerId, Proof) {
    (Proof::mint(home, &[nonce; 16]), Proof::Minted { nonce: [nonce; 16] })
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_know_the_genesis_key_is_not_admitted() {
    let mut scene = Scene::new().await;
    let mut insider = Insider::connect(&scene.host, 66).await;
    let mut hello = insider.hello(&scene.host);
    hello.proof[0] ^= 1;
    insider.say(&Frame::Hello(hello)).await;
    assert_eq!(insider.closed().await, GoodbyeReason::NotAdmitted);
    scene.counted("aldis_misbehaviours_total{fault=\"wrong_proof\"}").await;
    scene.goes_on().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_of_another_session_is_worth_nothing() {
    let mut scene = Scene::new().await;
    let (earlier, mut insider) = (Insider::connect(&scene.host, 66).await, Insider::connect(&scene.host, 66).await);
    insider.say(&Frame::Hello(earlier.hello(&scene.host))).await;
    assert_eq!(insider.closed().await, GoodbyeReason::NotAdmitted);
    drop(earlier);
    scene.goes_on().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_never_says_hello_is_cut_after_the_deadline() {
    let mut scene = Scene::new().await;
    let mut insider = Insider::connect(&scene.host, 66).await;
    // Something must be said for the stream to exist: half a header.
    insider.say_bytes(&[1, 0]).await;
    assert_eq!(insider.closed().await, GoodbyeReason::NotAdmitted);
    scene.counted("aldis_misbehaviours_total{fault=\"no_hello\"}").await;
    scene.goes_on().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_of_another_host_in_hello_is_refused() {
    let mut scene = Scene::new().await;
    let (other, mut insider) = (Insider::connect(&scene.host, 67).await, Insider::connect(&scene.host, 66).await);
    let mut hello = insider.hello(&scene.host);
    hello.record = other.record();
    insider.say(&Frame::Hello(hello)).await;
    drop(other);
    scene.ends(&insider, "bad_signature").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_after_the_proof_ends_the_link() {
    let mut scene = Scene::new().await;
    let mut insider = Insider::admitted(&scene.host, 66).await;
    insider.say_bytes(&[4, 0, 0, 5, 0xff, 0xff, 0xff, 0xff, 0xff]).await;
    scene.ends(&insider, "bad_frame").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_out_of_order_end_the_link() {
    let mut scene = Scene::new().await;
    let mut early = Insider::connect(&scene.host, 66).await;
    early.say(&Frame::Have(Vec::new())).await;
    scene.ends(&early, "out_of_order").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_hello_ends_the_link() {
    let mut scene = Scene::new().await;
    let mut insider = Insider::admitted(&scene.host, 66).await;
    let again = insider.hello(&scene.host);
    insider.say(&Frame::Hello(again)).await;
    scene.ends(&insider, "out_of_order").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_on_control_ends_the_link() {
    let mut scene = Scene::new().await;
    let mut insider = Insider::admitted(&scene.host, 66).await;
    let (from, proof) = minted(insider.id(), 1);
    insider.say(&signal(from, scene.alice.0.who().peer, proof)).await;
    scene.ends(&insider, "out_of_order").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_that_was_never_named_ends_the_link() {
    let mut scene = Scene::new().await;
    let mut insider = Insider::admitted(&scene.host, 66).await;
    insider.say(&Frame::Have(vec![HaveEntry::Numbered { number: 4_000, seq: 1, held: 0 }])).await;
    scene.ends(&insider, "out_of_order").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kinds_of_frames_that_nobody_knows_are_skipped() {
    let mut scene = Scene::new().await;
    let mut insider = Insider::admitted(&scene.host, 66).await;
    insider.say_bytes(&[250, 0, 0, 3, 1, 2, 3]).await;
    insider.appear(&scene.host, &[]).await;
    assert!(insider.stays().await);
    drop(insider);
    until(&scene.host, "one link", |view| view.links.len() == 1).await;
    scene.goes_on().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_announcement_that_its_origin_did_not_sign_ends_the_link() {
    let mut scene = Scene::new().await;
    let mut insider = Insider::admitted(&scene.host, 66).await;
    let (mut head, ops) = insider.next_head(&[Op::Record(insider.record())]);
    // In the name of somebody else, with one's own signature.
    head.origin = HostId::new(SigningKey::from_bytes(&[5; 32]).verifying_key().to_bytes());
    let forged = insider.signed(&head, ops);
    insider.say_on(Channel::Announce, &Frame::Announcement(forged)).await;
    scene.ends(&insider, "bad_signature").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_whose_digest_does_not_fit_its_ops_is_hidden_and_refused() {
    let mut scene = Scene::new().await;
    let mut insider = Insider::admitted(&scene.host, 66).await;
    let (mut head, ops) = insider.next_head(&[Op::Record(insider.record())]);
    head.digest[0] ^= 1;
    let wrong = insider.signed(&head, ops);
    insider.say_on(Channel::Announce, &Frame::Announcement(wrong)).await;
    scene.quarantines(&mut insider, "wrong_digest").await;
    let url = format!("http://{}", scene.host.http_address());
    let shown = std::process::Command::new(env!("CARGO_BIN_EXE_aldis")).args(["status", &url]).output().unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    let row = shown.lines().find(|line| line.contains(&insider.id().to_string()) && line.contains("quarantined"));
    assert!(row.is_some_and(|row| row.contains("wrong digest")), "{shown}");
    drop(insider);
    until(&scene.host, "one link", |view| view.links.len() == 1).await;
    scene.goes_on().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_for_another_home_or_a_mint_of_another_home_is_refused() {
    let claimed = SigningKey::from_bytes(&[8; 32]);
    let claimed_id = PeerId::new(claimed.verifying_key().to_bytes());
    for foreign in [true, false] {
        let mut scene = Scene::new().await;
        let mut insider = Insider::admitted(&scene.host, 66).await;
        let (peer, proof) = if foreign {
            (claimed_id, Proof::claim(&claimed, insider.network.tag, scene.host.id(), 7, None))
        } else {
            minted(scene.host.id(), 3)
        };
        insider.announce(&[Op::Record(insider.record()), Op::Present { peer, proof }]).await;
        scene.quarantines(&mut insider, "bad_proof").await;
        drop(insider);
        until(&scene.host, "one link", |view| view.links.len() == 1).await;
        scene.goes_on().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_announcement_of_a_former_life_changes_nothing() {
    let mut scene = Scene::new().await;
    let mut insider = Insider::admitted(&scene.host, 66).await;
    let id = insider.id();
    let (ghost, proof) = minted(id, 1);
    let topic = insider.network.topic("t");
    let join = Op::Join { topic, peer: ghost, meta: Bytes::new() };
    let old = insider.appear(&scene.host, &[Op::Present { peer: ghost, proof }, join]).await;
    hear(&mut scene.alice.1, |event| matches!(event, Event::PeerJoined { peer, .. } if peer == ghost).then_some(()))
        .await;

    // The next life begins, without the ghost.
    (insider.epoch, insider.seq, insider.roster) = (insider.epoch + 1, 0, aldis_wire::digest::Trie::default());
    insider.appear(&scene.host, &[]).await;
    hear(&mut scene.alice.1, |event| matches!(event, Event::PeerLeft { peer, .. } if peer == ghost).then_some(()))
        .await;
    let repeated = "aldis_announcements_received_total{new=\"no\"}";
    let before = metric(&scene.host, repeated).await.unwrap_or(0.0);
    for _ in 0..20 {
        insider.say_on(Channel::Announce, &Frame::Announcement(old.clone())).await;
    }
    scene.counted_to(repeated, before + 20.0).await;
    let view = scene.host.hub().view();
    let known = view.hosts.iter().find(|host| host.host == id).unwrap();
    assert_eq!((known.epoch, known.peers), (insider.epoch, 0));
    assert!(insider.stays().await, "an old announcement may come by an honest detour");
    drop(insider);
    until(&scene.host, "one link", |view| view.links.len() == 1).await;
    scene.goes_on().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_whose_sender_is_not_at_home_on_its_link_ends_the_link() {
    let mut scene = Scene::new().await;
    let mut insider = Insider::admitted(&scene.host, 66).await;
    insider.appear(&scene.host, &[]).await;
    let (alice, bob) = (scene.alice.0.who().peer, scene.bob.0.who().peer);
    // Bob is at home at the neighbour.
    let (_, proof) = minted(insider.id(), 1);
    insider.say_on(Channel::Lane(0), &signal(bob, alice, proof)).await;
    assert_eq!(insider.closed().await, GoodbyeReason::Misbehaved);
    scene.counted("aldis_misbehaviours_total{fault=\"foreign_sender\"}").await;
    scene.goes_on().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_insider_may_do_works_or_these_tests_prove_nothing() {
    let mut scene = Scene::new().await;
    let mut insider = Insider::admitted(&scene.host, 66).await;
    let (peer, proof) = minted(insider.id(), 1);
    insider.appear(&scene.host, &[Op::Present { peer, proof: proof.clone() }]).await;
    let alice = scene.alice.0.who().peer;
    insider.say_on(Channel::Lane(0), &signal(peer, alice, proof)).await;
    let from = hear(&mut scene.alice.1, |event| match event {
        Event::Signal { from, .. } => Some(from),
        _ => None,
    });
    assert_eq!(from.await, peer);
    assert!(insider.stays().await);
}
