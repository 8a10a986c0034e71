//! Other networks, and other versions of the same network, on the same DHT and machine.

use std::io::Write;
use std::sync::{Arc, Mutex};

use aldis::net::driver::Host;
use aldis::relay::io::{Hint, HintSource, Input};
use aldis_wire::limits::VERSION;
use tracing_subscriber::fmt::MakeWriter;

use super::edges::{Edge, negotiate};
use super::inside::{all_linked, config, genesis, start, url};
use super::process::metric;
use super::{eventually, testnet};

/// What is logged while it lives, by everything that runs on this thread.
#[derive(Clone, Default)]
struct Logged(Arc<Mutex<Vec<u8>>>);

impl Logged {
    fn begin(&self) -> tracing::subscriber::DefaultGuard {
        let subscriber = tracing_subscriber::fmt().with_writer(self.clone()).with_ansi(false).finish();
        tracing::subscriber::set_default(subscriber)
    }

    fn has(&self, words: &[&str]) -> bool {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        text.lines().any(|line| words.iter().all(|word| line.contains(word)))
    }
}

impl Write for Logged {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Logged {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Has `from` believe that there is a host of its network at `to`, as a stranger in the DHT may say.
fn mislead(from: &Host, to: &Host) {
    let hints = vec![Hint { address: to.quic_address(), host: None }];
    from.hub().happened(Input::HintsFound { source: HintSource::Dht, hints });
}

/// Two hosts of a network and one that does not belong to them, on one DHT. They are told of each other as if they
/// belonged together; they must not link, not see each other, and go on undisturbed.
async fn keep_apart(version_of_stranger: u16, same_genesis: bool) {
    let logged = Logged::default();
    let _logging = logged.begin();
    let dht = testnet().await;
    let ours = genesis();
    let theirs = if same_genesis { ours.clone() } else { genesis() };
    let one = start(config(&ours, &dht.bootstrap)).await;
    let other = start(config(&ours, &dht.bootstrap)).await;
    let mut of_stranger = config(&theirs, &dht.bootstrap);
    of_stranger.version = version_of_stranger;
    let stranger = start(of_stranger).await;
    mislead(&one, &stranger);
    mislead(&stranger, &one);
    all_linked(&[&one, &other]).await;

    // The refusal is visible at both ends, in the log and in the metrics.
    for (dialler, acceptor) in [(&one, &stranger), (&stranger, &one)] {
        let (at, to) = (dialler.http_address(), acceptor.quic_address().to_string());
        let name = "aldis_dials_failed_total{reason=\"other_network\"}";
        eventually("the dialler counts it", async || metric(at, name).await >= 1.0).await;
        assert!(logged.has(&["INFO", "left alone: a host of another network", &to]), "the dialler says nothing");
        let (at, from) = (acceptor.http_address(), dialler.quic_address().to_string());
        let name = "aldis_handshakes_total{outcome=\"other_network\"}";
        eventually("the acceptor counts it", async || metric(at, name).await >= 1.0).await;
        assert!(logged.has(&["INFO", "refused a host of another network", &from]), "the acceptor says nothing");
    }

    // Nobody sees anything of the other network, though they use the same topic.
    let (mut alice, mut bob, mallory) =
        (Edge::at(&url(&one)).await, Edge::at(&url(&other)).await, Edge::at(&url(&stranger)).await);
    assert_eq!(mallory.join("s0").await.total, 0);
    bob.join("s0").await;
    alice.finds("s0", bob.peer()).await;
    assert_eq!((alice.members("s0").await, mallory.members("s0").await), (vec![bob.peer()], vec![]));
    let view = stranger.hub().view();
    assert!(view.links.is_empty() && view.hosts.is_empty(), "the stranger sees {view:?}");
    for host in [&one, &other] {
        let view = host.hub().view();
        assert_eq!((view.links.len(), view.hosts.len()), (1, 1), "{view:?}");
        assert!(view.hosts.iter().all(|host| host.host != stranger.id()));
    }
    // A signal to a peer of the other network is one to nobody.
    assert_eq!(alice.signal(mallory.peer(), "1").await.code, Some(aldis_wire::refusal::Refusal::NoSuchPeer));
    negotiate(&mut alice, &mut bob).await;
}

#[tokio::test]
async fn two_networks_with_different_genesis_keys_never_link_or_see_each_other_and_say_why() {
    keep_apart(VERSION, false).await;
}

#[tokio::test]
async fn two_protocol_versions_of_one_network_never_link_or_see_each_other_and_say_why() {
    keep_apart(VERSION + 1, true).await;
}
