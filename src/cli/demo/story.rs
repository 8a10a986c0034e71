//! What two edges on different hosts do until a WebRTC connection would stand.

use std::time::{Duration, Instant};

use aldis_wire::edge::Status;
use aldis_wire::id::PeerId;
use anyhow::{Context, Result, bail};

use super::account::Account;
use super::sdp::End;
use crate::cli::milliseconds;
use crate::client::{Client, Event, Events, Options, Posted};

/// Where the two meet.
const TOPIC: &str = "lighthouse";
/// For each step; a promise of five seconds (ARCHITECTURE.md) and some room for a busy machine.
const DEADLINE: Duration = Duration::from_secs(10);

/// One of the two.
struct Edge {
    name: &'static str,
    client: Client,
    events: Events,
    end: End,
}

/// Bob at the first gateway, Alice at the second.
pub(super) async fn tell(account: &mut Account, gateways: [&str; 2]) -> Result<()> {
    let [bobs, alices] = gateways;
    let mut bob = account
        .step("Bob joins", DEADLINE, async {
            let bob = Edge::connect("Bob", bobs).await?;
            let sample = bob.client.join(TOPIC, None).await?;
            let words = format!("Bob ({}) is at host 1 and has joined {TOPIC}; {} others", bob.short(), sample.total);
            Ok((bob, words))
        })
        .await?;
    let mut alice = account
        .step("Alice connects", DEADLINE, async {
            let alice = Edge::connect("Alice", alices).await?;
            let words = format!("Alice ({}) is at host 2", alice.short());
            Ok((alice, words))
        })
        .await?;

    let joining = Instant::now();
    account
        .step("Alice joins and is given Bob", DEADLINE, async {
            let sample = alice.client.join(TOPIC, None).await?;
            let bob = bob.peer();
            let how = if sample.peers.iter().any(|member| member.peer == bob) {
                "at once"
            } else {
                alice.until(|event| matches!(event, Event::PeerJoined { peer, .. } if *peer == bob)).await?;
                "a moment later"
            };
            Ok(((), format!("Alice joins {TOPIC} and is given Bob, {how}")))
        })
        .await?;
    account
        .step_since(joining, "Bob is told of Alice", DEADLINE, async {
            let alice = alice.peer();
            bob.until(|event| matches!(event, Event::PeerJoined { peer, .. } if *peer == alice)).await?;
            Ok(((), "Bob is told of Alice, counted from when she asked".to_owned()))
        })
        .await?;

    let (offer, answer) = (alice.end.offer(), bob.end.answer());
    exchange(account, "offer", &offer, &alice, &mut bob).await?;
    exchange(account, "answer", &answer, &bob, &mut alice).await?;
    trickle(account, &alice, &mut bob).await?;
    trickle(account, &bob, &mut alice).await?;

    account
        .step("Alice leaves", DEADLINE, async {
            let peer = alice.peer();
            alice.client.bye().await;
            bob.until(|event| matches!(event, Event::PeerLeft { peer: left, .. } if *left == peer)).await?;
            Ok(((), "Alice says goodbye, and Bob is told".to_owned()))
        })
        .await?;
    bob.client.bye().await;
    Ok(())
}

/// One signal, its arrival byte for byte, and its receipt.
async fn exchange(account: &mut Account, what: &str, data: &str, from: &Edge, to: &mut Edge) -> Result<()> {
    let name = format!("{}'s {what} reaches {}", from.name, to.name);
    let begun = Instant::now();
    account
        .step(&name, DEADLINE, async {
            let posted = from.client.post(to.peer(), Some(TOPIC), data).await?;
            let arrived = to.signal(from.peer()).await?;
            let time = begun.elapsed();
            if arrived != data {
                bail!("it arrived changed");
            }
            delivered(posted).await?;
            let bytes = data.len();
            Ok(((), format!("{name}: {bytes} bytes in {}; then the receipt", milliseconds(time))))
        })
        .await
}

/// Candidates one after another, without waiting for receipts in between, as browsers do.
async fn trickle(account: &mut Account, from: &Edge, to: &mut Edge) -> Result<()> {
    let candidates = from.end.candidates();
    let name = format!("{}'s {} candidates reach {}", from.name, candidates.len(), to.name);
    account
        .step(&name, DEADLINE, async {
            let mut posted = Vec::new();
            for candidate in &candidates {
                posted.push(from.client.post(to.peer(), Some(TOPIC), candidate).await?);
            }
            for candidate in &candidates {
                if to.signal(from.peer()).await? != *candidate {
                    bail!("one arrived changed or out of order");
                }
            }
            for posted in posted {
                delivered(posted).await?;
            }
            Ok(((), format!("{name}, in order; all receipts say delivered")))
        })
        .await
}

async fn delivered(posted: Posted) -> Result<()> {
    let receipt = posted.receipt().await?;
    match (receipt.status, receipt.code) {
        (Status::Delivered, _) => Ok(()),
        (_, Some(code)) => bail!("its receipt says refused ({code}): {}", code.sentence()),
        (status, None) => bail!("its receipt says {status:?}"),
    }
}

impl Edge {
    async fn connect(name: &'static str, url: &str) -> Result<Self> {
        let meta = serde_json::json!({ "name": name }).to_string();
        let (client, events) = Client::connect(Options { meta: Some(meta), ..Options::at(url) }).await?;
        Ok(Self { name, client, events, end: End::new() })
    }

    fn peer(&self) -> PeerId {
        self.client.who().peer
    }

    fn short(&self) -> String {
        self.peer().short()
    }

    /// The next signal's data, which must come from this peer.
    async fn signal(&mut self, sender: PeerId) -> Result<String> {
        match self.until(|event| matches!(event, Event::Signal { .. })).await? {
            Event::Signal { from, data, .. } if from == sender => Ok(data),
            _ => bail!("a signal came from somebody else"),
        }
    }

    /// The next event that is looked for; others are not what the demo is about, unless something is wrong.
    async fn until(&mut self, wanted: impl Fn(&Event) -> bool) -> Result<Event> {
        loop {
            let event = self.events.next().await.with_context(|| format!("{}'s client has ended", self.name))?;
            if wanted(&event) {
                return Ok(event);
            }
            match event {
                Event::SocketLost { why } => bail!("{}'s socket broke: {why}", self.name),
                Event::Closed { why } => bail!("{}'s session is over: {why}", self.name),
                Event::Complaint { message, .. } => bail!("{}'s host complains: {message}", self.name),
                _ => {}
            }
        }
    }
}
