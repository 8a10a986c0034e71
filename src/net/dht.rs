//! Where hosts of a network meet: the BitTorrent mainline DHT, behind a seam that tests can fill otherwise.
//!
//! What a DHT says are hints from strangers; the machine decides which of them are dialled. That no DHT answers never
//! disturbs a host: it is told in words, and the next try starts from nothing.

use std::collections::HashSet;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use mainline::async_dht::AsyncDht;
use mainline::{Dht, Id};
use tokio::sync::Mutex;
use tokio::time::timeout;

/// Starting a node looks up the names of the nodes to begin from, and may wait for a dead resolver.
const BUILD_MAX: Duration = Duration::from_secs(15);
/// One look-up takes two seconds for each round of nodes that do not answer.
const LOOK_UP_MAX: Duration = Duration::from_secs(30);
/// Telling the nodes that were found.
const ANNOUNCE_MAX: Duration = Duration::from_secs(20);
/// Asking whether anybody is there at all.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// Addresses taken from one look-up; strangers can make up any number.
const FOUND_MAX: usize = 1_024;
/// Addresses of nodes that are remembered for building the node anew.
const NODES_MAX: usize = 64;

/// Takes addresses as they come.
pub type Found<'a> = &'a mut (dyn FnMut(Vec<SocketAddr>) + Send);

/// A place where hosts of a network leave their address and find those of others.
pub trait Rendezvous: Send + Sync {
    /// Asks who is there. Hands on each address once, in batches, while they come.
    ///
    /// # Errors
    /// When nobody answered: what is wrong, in words for an operator.
    fn look_up<'a>(&'a self, found: Found<'a>) -> BoxFuture<'a, Result<(), String>>;

    /// Leaves our address there: the sender's, with this UDP port, or with the one it is sent from.
    ///
    /// # Errors
    /// When nobody took it: what is wrong, in words for an operator.
    fn register(&self, port: Option<u16>) -> BoxFuture<'_, Result<(), String>>;

    /// Where those who answered see us, and whether that is the UDP port of links; `None` before anybody said so.
    fn sees(&self) -> BoxFuture<'_, Option<(SocketAddr, bool)>> {
        Box::pin(async { None })
    }
}

/// Has a node started so that it shares the UDP port of links: calls what it is given with the address at which the node
/// must bind its socket.
pub type Lend = Arc<dyn Fn(Start) -> BoxFuture<'static, std::io::Result<Dht>> + Send + Sync>;
/// Starts a node at an address. Blocks for a moment.
pub type Start = Box<dyn FnOnce(SocketAddrV4) -> std::io::Result<Dht> + Send>;

/// Which DHT a host uses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DhtConfig {
    /// None.
    Off,
    /// The public one.
    #[default]
    Mainline,
    /// The one to which these nodes belong, `host:port` each. If all are on loopback, ours is as well.
    Bootstrap(Vec<String>),
}

impl DhtConfig {
    /// The nodes through which it is entered, `host:port` each.
    #[must_use]
    pub fn nodes(&self) -> Vec<String> {
        match self {
            Self::Off => Vec::new(),
            Self::Mainline => mainline::DEFAULT_BOOTSTRAP_NODES.map(str::to_owned).to_vec(),
            Self::Bootstrap(nodes) => nodes.clone(),
        }
    }

    /// The rendezvous under `key`; `None` when there is none. With `lend` it shares the UDP port of links.
    #[must_use]
    pub fn rendezvous(&self, key: [u8; 20], lend: Option<Lend>) -> Option<Box<dyn Rendezvous>> {
        if *self == Self::Off {
            return None;
        }
        Some(Box::new(Mainline { lend, ..Mainline::new(key, self.nodes()) }))
    }
}

/// The mainline DHT.
pub struct Mainline {
    key: Id,
    /// Where to begin, as given.
    nodes: Vec<String>,
    /// `None`: a UDP port of its own.
    lend: Option<Lend>,
    /// Held through each conversation: on one key, the library mixes up a look-up and an announcement that overlap.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The running node; `None` before the first use and after one that nobody answered.
    node: Option<AsyncDht>,
    /// Nodes that answered before, so that we depend less on the well-known ones.
    known: Vec<String>,
}

impl Mainline {
    /// The DHT of `nodes`, under `key`. Nothing is started before it is used.
    #[must_use]
    pub fn new(key: [u8; 20], nodes: Vec<String>) -> Self {
        Self { key: Id::from(key), nodes, lend: None, state: Mutex::default() }
    }

    async fn ask(&self, found: Found<'_>) -> Result<(), String> {
        let mut state = self.state.lock().await;
        let node = self.running(&mut state).await?;
        let mut seen = HashSet::new();
        let asking = self.drain(&node, &mut seen, found);
        let ended = timeout(LOOK_UP_MAX, asking).await.is_ok();
        if seen.is_empty() && !(ended && answers(&node).await) {
            state.node = None;
            return Err(self.silence());
        }
        state.remember(&node).await;
        Ok(())
    }

    /// One look-up to its end; nothing else may happen on this key meanwhile.
    async fn drain(&self, node: &AsyncDht, seen: &mut HashSet<SocketAddrV4>, found: Found<'_>) {
        let mut answers = node.get_peers(self.key);
        while let Some(batch) = answers.next().await {
            // Past the bound the rest is read and thrown away: the conversation must come to its end.
            let new = batch.into_iter().filter(|address| seen.len() < FOUND_MAX && seen.insert(*address));
            let new = new.map(SocketAddr::V4).collect::<Vec<_>>();
            if !new.is_empty() {
                found(new);
            }
        }
    }

    async fn tell(&self, port: Option<u16>) -> Result<(), String> {
        let mut state = self.state.lock().await;
        let node = self.running(&mut state).await?;
        // The announcement goes to the nodes that this finds; begun by itself, it would go astray if it met a look-up.
        let looked = timeout(LOOK_UP_MAX, self.drain(&node, &mut HashSet::new(), &mut |_| {})).await;
        let outcome = match looked {
            Ok(()) => timeout(ANNOUNCE_MAX, node.announce_peer(self.key, port)).await,
            Err(late) => Err(late),
        };
        match outcome {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => {
                state.node = None;
                Err(format!("{} ({error})", self.silence()))
            }
            Err(_) => {
                state.node = None;
                Err(self.silence())
            }
        }
    }

    /// The node, started if it is not running.
    async fn running(&self, state: &mut State) -> Result<AsyncDht, String> {
        if let Some(node) = &state.node {
            return Ok(node.clone());
        }
        let nodes = self.nodes.iter().chain(&state.known).cloned().collect::<Vec<_>>();
        // Before the port is lent: names may take long.
        let resolving = tokio::task::spawn_blocking(move || resolve(&nodes));
        let Ok(Ok(addresses)) = timeout(BUILD_MAX, resolving).await else {
            return Err(self.unresolved());
        };
        if addresses.is_empty() && !self.nodes.is_empty() {
            return Err(self.unresolved());
        }
        let starting: BoxFuture<'_, std::io::Result<Dht>> = match &self.lend {
            Some(lend) => lend(Box::new(move |at| build(&addresses, Some(at)))),
            None => Box::pin(async move {
                let building = tokio::task::spawn_blocking(move || build(&addresses, None));
                building.await.map_err(std::io::Error::other)?
            }),
        };
        let node = match timeout(BUILD_MAX, starting).await {
            Ok(Ok(node)) => node.as_async(),
            Ok(Err(error)) => return Err(format!("cannot open a socket for the DHT: {error}")),
            Err(_) => return Err("the DHT node did not start".to_owned()),
        };
        state.node = Some(node.clone());
        Ok(node)
    }

    fn unresolved(&self) -> String {
        format!("the names of the DHT's nodes ({}) do not resolve", self.nodes.join(", "))
    }

    fn silence(&self) -> String {
        format!("no node of the DHT answers (tried {}); is UDP to the internet allowed?", self.nodes.join(", "))
    }
}

impl State {
    async fn remember(&mut self, node: &AsyncDht) {
        if let Ok(mut known) = timeout(ANSWER_MAX, node.to_bootstrap()).await {
            known.truncate(NODES_MAX);
            self.known = known;
        }
    }
}

impl Rendezvous for Mainline {
    fn look_up<'a>(&'a self, found: Found<'a>) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(self.ask(found))
    }

    fn register(&self, port: Option<u16>) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(self.tell(port))
    }

    fn sees(&self) -> BoxFuture<'_, Option<(SocketAddr, bool)>> {
        Box::pin(async {
            let node = self.state.lock().await.node.clone()?;
            let info = timeout(ANSWER_MAX, node.info()).await.ok()?;
            info.public_address().map(|address| (SocketAddr::V4(address), self.lend.is_some()))
        })
    }
}

impl fmt::Debug for Mainline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mainline").field("key", &self.key).field("nodes", &self.nodes).finish_non_exhaustive()
    }
}

/// The addresses of nodes, `host:port` each; those without are left out. Blocks.
fn resolve(nodes: &[String]) -> Vec<SocketAddrV4> {
    let addresses = nodes.iter().filter_map(|node| node.to_socket_addrs().ok()).flatten();
    let of_ipv4 = addresses.filter_map(|address| match address {
        SocketAddr::V4(address) => Some(address),
        SocketAddr::V6(_) => None,
    });
    of_ipv4.collect()
}

/// Starts a node, with the port of links at `shared`, or with any port. Blocks until it has its socket.
fn build(nodes: &[SocketAddrV4], shared: Option<SocketAddrV4>) -> std::io::Result<Dht> {
    let mut builder = Dht::builder();
    builder.bootstrap(nodes);
    if !nodes.is_empty() && nodes.iter().all(|node| node.ip().is_loopback()) {
        // A private DHT on one machine: be a full member of it. Answers then come at once, and nothing leaves.
        builder.bind_address(Ipv4Addr::LOCALHOST).server_mode();
    }
    if let Some(address) = shared {
        builder.bind_address(*address.ip()).port(address.port());
    }
    builder.build()
}

/// Whether any node answers. One that nobody knows at all gives an empty list at once.
async fn answers(node: &AsyncDht) -> bool {
    let id = timeout(ANSWER_MAX, node.info()).await.map(|info| *info.id());
    let Ok(id) = id else { return false };
    timeout(ANSWER_MAX, node.get_closest_nodes(id)).await.is_ok_and(|nodes| !nodes.is_empty())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail by panic")]
    use std::net::UdpSocket;
    use std::time::Instant;

    use mainline::Testnet;

    use super::*;

    const KEY: [u8; 20] = [0x5a; 20];
    const PORT: u16 = 47_124;

    /// A DHT of this process, on loopback.
    async fn testnet(nodes: usize) -> Testnet {
        tokio::task::spawn_blocking(move || Testnet::builder(nodes).build().unwrap()).await.unwrap()
    }

    async fn found(by: &dyn Rendezvous) -> (Vec<Vec<SocketAddr>>, Result<(), String>) {
        let mut batches = Vec::new();
        let outcome = by.look_up(&mut |batch| batches.push(batch)).await;
        (batches, outcome)
    }

    /// Looks up until somebody is found.
    async fn found_at_last(by: &dyn Rendezvous) -> Vec<SocketAddr> {
        let deadline = Instant::now() + Duration::from_secs(30);
        while Instant::now() < deadline {
            let (batches, _) = found(by).await;
            if !batches.is_empty() {
                return batches.concat();
            }
        }
        Vec::new()
    }

    #[tokio::test]
    async fn who_registers_is_found_once_per_look_up_and_registers_again_without_harm() {
        let net = testnet(8).await;
        let (one, other) = (Mainline::new(KEY, net.bootstrap.clone()), Mainline::new(KEY, net.bootstrap.clone()));
        let (batches, outcome) = found(&other).await;
        assert!(batches.is_empty());
        assert_eq!(outcome, Ok(()), "a DHT in which nobody is at the key still answers");
        assert_eq!(one.register(Some(PORT)).await, Ok(()));
        let here = SocketAddr::from((Ipv4Addr::LOCALHOST, PORT));
        assert_eq!(found_at_last(&other).await, [here]);
        assert_eq!(one.register(Some(PORT)).await, Ok(()));
        assert_eq!(found_at_last(&other).await, [here]);
        let elsewhere = Mainline::new([0xa5; 20], net.bootstrap.clone());
        assert_eq!(found(&elsewhere).await, (Vec::new(), Ok(())), "nobody is at another key");
    }

    #[tokio::test]
    async fn a_look_up_and_a_registration_at_once_do_not_disturb_each_other() {
        let net = testnet(8).await;
        let (one, other) = (Mainline::new(KEY, net.bootstrap.clone()), Mainline::new(KEY, net.bootstrap.clone()));
        assert_eq!(other.register(Some(PORT + 1)).await, Ok(()));
        let ((batches, looked), registered) = tokio::join!(found(&one), one.register(Some(PORT)));
        assert_eq!((looked, registered), (Ok(()), Ok(())));
        assert!(batches.concat().contains(&SocketAddr::from((Ipv4Addr::LOCALHOST, PORT + 1))));
        assert!(found_at_last(&other).await.contains(&SocketAddr::from((Ipv4Addr::LOCALHOST, PORT))));
    }

    #[tokio::test]
    async fn a_dht_that_is_silent_is_told_in_words_and_used_as_soon_as_it_answers() {
        // A port at which nobody answers, until a node takes it.
        let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = silent.local_addr().unwrap();
        let host = Mainline::new(KEY, vec![address.to_string()]);
        let (_, outcome) = found(&host).await;
        let problem = outcome.unwrap_err();
        assert!(problem.contains("no node of the DHT answers") && problem.contains(&address.to_string()), "{problem}");
        assert!(host.register(Some(PORT)).await.unwrap_err().contains("no node of the DHT answers"));

        drop(silent);
        let first = tokio::task::spawn_blocking(move || {
            let mut builder = Dht::builder();
            builder.server_mode().no_bootstrap().bind_address(Ipv4Addr::LOCALHOST).port(address.port());
            builder.build().unwrap()
        });
        let _first = first.await.unwrap();
        assert_eq!(host.register(Some(PORT)).await, Ok(()));
        assert_eq!(found_at_last(&host).await, [SocketAddr::from((Ipv4Addr::LOCALHOST, PORT))]);
    }

    #[tokio::test]
    async fn nodes_tell_where_they_see_us_and_who_registers_without_a_port_is_found_exactly_there() {
        let net = testnet(8).await;
        let (one, other) = (Mainline::new(KEY, net.bootstrap.clone()), Mainline::new(KEY, net.bootstrap.clone()));
        assert_eq!(one.sees().await, None, "nobody was asked yet");
        assert_eq!(one.register(None).await, Ok(()));
        let here = one.state.lock().await.node.clone().unwrap().info().await.local_addr();
        assert_eq!(one.sees().await, Some((SocketAddr::V4(here), false)));
        assert_eq!(found_at_last(&other).await, [SocketAddr::V4(here)]);
    }

    #[tokio::test]
    async fn names_that_do_not_resolve_are_a_problem_in_words_and_no_crash() {
        // Fails before anybody is asked.
        let host = Mainline::new(KEY, vec!["no port".to_owned()]);
        assert!(found(&host).await.1.unwrap_err().contains("no port"));
    }

    #[test]
    fn a_dht_that_is_off_is_none() {
        assert!(DhtConfig::Off.rendezvous(KEY, None).is_none());
        assert!(DhtConfig::Bootstrap(Vec::new()).rendezvous(KEY, None).is_some());
    }
}
