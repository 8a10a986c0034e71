//! What the machine takes for one input of each kind, in a house of some size.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use aldis::relay::io::{EdgeKey, Event, Hello, Identity, Input, LinkKey, Output, Request, Topic};
use aldis_wire::announcement::{GoneReason, Op};
use aldis_wire::digest::Trie;
use aldis_wire::host::{Broadcast, Channel, Frame, HaveEntry, Outcome, Receipt, Signal, Spread, Tally};
use aldis_wire::id::PeerId;
use aldis_wire::proof::Proof;
use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use clap::Args;
use ed25519_dalek::SigningKey;
use serde_json::{Map, json};

use super::origins::{Origin, topic};
use super::records::{Size, fill};
use super::{Machine, cpu_time, network};
use crate::scenario::Report;

/// How to measure.
#[derive(Clone, Debug, Args)]
pub(crate) struct Plan {
    #[command(flatten)]
    size: Size,
    /// Inputs of each kind
    #[arg(long, default_value_t = 2_000)]
    rounds: usize,
    /// Edges at home at this host
    #[arg(long, default_value_t = 1_000)]
    local: usize,
}

struct Bench {
    machine: Machine,
    neighbour: Origin,
    trie: Trie,
    link: LinkKey,
    rounds: usize,
    found: Vec<(&'static str, f64)>,
}

impl Bench {
    /// Measures one kind: the mean over all rounds, without what it takes to ask for the time.
    fn kind(
        &mut self,
        name: &'static str,
        mut input: impl FnMut(&mut Self, usize) -> Result<Vec<Input>>,
    ) -> Result<()> {
        let asking = (0..1_000)
            .map(|_| cpu_time())
            .fold((Duration::ZERO, cpu_time()), |(sum, last), now| (sum + now.saturating_sub(last), now));
        let asking = asking.0.as_secs_f64() / 1_000.0;
        let (mut took, mut inputs) = (0.0, 0.0);
        for round in 0..self.rounds {
            for input in input(self, round)? {
                took += (self.machine.handle(input).1.as_secs_f64() - asking).max(0.0);
                inputs += 1.0;
            }
            self.machine.wait(Duration::from_millis(60));
        }
        let faults = &self.machine.faults;
        ensure!(faults.is_empty(), "{name}: {faults:?}");
        self.found.push((name, took * 1e6 / inputs));
        Ok(())
    }

    fn frame(&self, channel: Channel, frame: &Frame) -> Result<Input> {
        let (kind, body) = frame.kind_and_body()?;
        Ok(Input::LinkReceived { link: self.link, channel, kind, body: Bytes::from(body) })
    }

    fn announced(&mut self, ops: &[Op]) -> Result<Input> {
        let announcement = self.neighbour.announce(&mut self.trie, ops)?;
        self.frame(Channel::Announce, &Frame::Announcement(announcement))
    }

    /// The two edges that signal have everything that they were told, so that no queue grows.
    fn acknowledge(&mut self) {
        for edge in [0, 1] {
            self.machine.handle(acks(edge));
        }
    }

    fn edge(&mut self, number: u64, joins: Option<u32>) -> Result<PeerId> {
        let edge = EdgeKey(number);
        let [_, _, _, _, _, high, middle, low] = number.to_be_bytes();
        self.machine.handle(Input::EdgeOpened { edge, address: IpAddr::V4(Ipv4Addr::new(20, high, middle, low)) });
        let hello = Request::Hello(Hello { identity: Identity::Minted, meta: Bytes::new() });
        let (outputs, _) = self.machine.handle(Input::EdgeAsked { edge, request: hello });
        let peer = outputs.into_iter().find_map(|output| match output {
            Output::TellEdge { event: Event::Welcome(welcome), .. } => Some(welcome.peer),
            _ => None,
        });
        if let Some(topic) = joins {
            self.machine.handle(joined(number, topic));
        }
        peer.context("a welcome")
    }
}

fn joined(edge: u64, number: u32) -> Input {
    let topic = Topic { id: topic(number), name: Arc::from(number.to_string()) };
    Input::EdgeAsked {
        edge: EdgeKey(edge),
        request: Request::Join { id: Arc::from("join"), topic, meta: None, quiet: false },
    }
}

fn left(edge: u64, number: u32) -> Input {
    let topic = Topic { id: topic(number), name: Arc::from(number.to_string()) };
    Input::EdgeAsked { edge: EdgeKey(edge), request: Request::Leave { id: Arc::from("leave"), topic } }
}

fn asks(edge: u64, id: usize, to: PeerId) -> Input {
    let (id, data) = (Arc::from(id.to_string()), Bytes::from_static(&[b'1'; 1_000]));
    Input::EdgeAsked { edge: EdgeKey(edge), request: Request::Signal { id, to, topic: None, data } }
}

/// A topic of which nobody else is a member.
const SHARED: u32 = 90_000;
/// Members of it here: the edges from 2 on.
const MEMBERS: u64 = 100;

fn shouts(edge: u64, id: usize, number: u32) -> Input {
    let topic = Topic { id: topic(number), name: Arc::from(number.to_string()) };
    let (id, data) = (Arc::from(id.to_string()), Bytes::from_static(&[b'1'; 1_000]));
    Input::EdgeAsked { edge: EdgeKey(edge), request: Request::Broadcast { id, topic, data, echo: false } }
}

fn acks(edge: u64) -> Input {
    Input::EdgeAsked { edge: EdgeKey(edge), request: Request::Ack { seq: u64::MAX } }
}

/// Measures.
pub(crate) fn measure(plan: &Plan) -> Result<Report> {
    let mut machine = Machine::new(1)?;
    fill(&mut machine, &plan.size)?;
    let mut neighbour = Origin::new(1_000_000);
    let (link, mut trie) = (machine.link(&neighbour)?, Trie::default());
    let topics: Vec<u32> = (0..1_000).collect();
    for announcement in neighbour.fill(&mut trie, &topics)? {
        machine.receive(link, Channel::Announce, &Frame::Announcement(announcement))?;
        machine.wait(Duration::from_millis(100));
    }
    let mut bench = Bench { machine, neighbour, trie, link, rounds: plan.rounds, found: Vec::new() };
    let mut local = Vec::new();
    for number in 0..plan.local.max(2) {
        let number = u64::try_from(number)?;
        local.push(bench.edge(number, Some(u32::try_from(number % 500)?))?);
        bench.machine.wait(Duration::from_millis(20));
    }
    announcements(&mut bench)?;
    signals(&mut bench, &local)?;
    broadcasts(&mut bench, &local)?;
    bench
        .kind("edge joins", |_, round| Ok(vec![joined(u64::try_from(round)? % 900, 70_000 + u32::try_from(round)?)]))?;
    bench
        .kind("edge leaves", |_, round| Ok(vec![left(u64::try_from(round)? % 900, 70_000 + u32::try_from(round)?)]))?;
    let id = bench.neighbour.id;
    bench.kind("summary of one origin", |bench, round| {
        let entry = HaveEntry::Named { number: 1, origin: id, epoch: 1, seq: u64::try_from(round)? };
        Ok(vec![bench.frame(Channel::Control, &Frame::Have(vec![entry]))?])
    })?;
    let listed: Vec<String> = bench.found.iter().map(|(name, us)| format!("{name} {us:.1}")).collect();
    let words = format!(
        "inputs: µs of CPU each, beside {} host(s) of {} edges: {}",
        plan.size.origins,
        plan.size.edges,
        listed.join(", ")
    );
    let each: Map<String, serde_json::Value> =
        bench.found.iter().map(|(name, us)| ((*name).to_owned(), json!(us))).collect();
    let json = json!({
        "scenario": "inputs", "origins": plan.size.origins, "edges": plan.size.edges, "us": each,
    });
    Ok(Report { json, words })
}

fn announcements(bench: &mut Bench) -> Result<()> {
    bench.kind("announced: heartbeat", |bench, _| {
        let heartbeat = bench.neighbour.heartbeat()?;
        Ok(vec![bench.frame(Channel::Control, &Frame::Announcement(heartbeat))?])
    })?;
    bench.kind("announced: a peer comes", |bench, round| {
        let (peer, proof) = bench.neighbour.peer(10_000 + round);
        Ok(vec![bench.announced(&[Op::Present { peer, proof }])?])
    })?;
    bench.kind("announced: it joins", |bench, round| {
        let (peer, _) = bench.neighbour.peer(10_000 + round);
        let topic = topic(u32::try_from(round)? % 5_000);
        Ok(vec![bench.announced(&[Op::Join { topic, peer, meta: Bytes::from_static(b"{\"name\":\"somebody\"}") }])?])
    })?;
    bench.kind("announced: it leaves and goes", |bench, round| {
        let (peer, _) = bench.neighbour.peer(10_000 + round);
        let topic = topic(u32::try_from(round)? % 5_000);
        Ok(vec![bench.announced(&[Op::Leave { topic, peer }, Op::Gone { peer, reason: GoneReason::Closed }])?])
    })?;
    let tag = network()?.tag;
    bench.kind("announced: a keyed peer comes", |bench, round| {
        let mut secret = [9; 32];
        for (byte, of_round) in secret.iter_mut().zip(round.to_be_bytes()) {
            *byte = of_round;
        }
        let key = SigningKey::from_bytes(&secret);
        let peer = PeerId::new(key.verifying_key().to_bytes());
        let proof = Proof::claim(&key, tag, bench.neighbour.id, 1, None);
        Ok(vec![bench.announced(&[Op::Present { peer, proof }])?])
    })
}

fn signals(bench: &mut Bench, local: &[PeerId]) -> Result<()> {
    let [first, second, ..] = local else { return Ok(()) };
    let (first, second) = (*first, *second);
    let rounds = bench.rounds;
    bench.kind("signal to an edge here, and its ack", |bench, round| {
        bench.acknowledge();
        Ok(vec![asks(1, round, first), acks(0)])
    })?;
    let (there, proof) = bench.neighbour.peer(1);
    bench.kind("signal to an edge there, and its receipt", |bench, round| {
        bench.acknowledge();
        let receipt =
            Receipt { from: second, to: there, id: (5 * rounds + round).to_string(), outcome: Outcome::Delivered };
        let receipt = bench.frame(Channel::Lane(0), &Frame::Receipt(receipt))?;
        Ok(vec![asks(1, 5 * rounds + round, there), receipt])
    })?;
    bench.kind("signal from an edge there, and its ack", |bench, round| {
        bench.acknowledge();
        let signal = Signal {
            from: there,
            to: second,
            session: 1,
            n: u64::try_from(round)? + 1,
            id: round.to_string(),
            proof: proof.clone(),
            topic: None,
            data: Bytes::from_static(&[b'1'; 1_000]),
        };
        let signal = bench.frame(Channel::Lane(0), &Frame::Signal(signal))?;
        Ok(vec![signal, acks(1)])
    })
}

/// Broadcasts of 1,000 bytes.
fn broadcasts(bench: &mut Bench, local: &[PeerId]) -> Result<()> {
    let Some(sender) = local.get(1).copied().filter(|_| local.len() > 102) else { return Ok(()) };
    let rounds = bench.rounds;
    let members = 2..2 + MEMBERS;
    for edge in members.clone() {
        bench.machine.handle(joined(edge, SHARED));
        bench.machine.wait(Duration::from_millis(20));
    }
    let acknowledge = move |bench: &mut Bench| {
        bench.acknowledge();
        members.clone().for_each(|edge| _ = bench.machine.handle(acks(edge)));
    };
    bench.kind("broadcast to 100 members here", |bench, round| {
        acknowledge(bench);
        Ok(vec![shouts(1, round, SHARED)])
    })?;
    let (there, proof) = bench.neighbour.peer(1);
    bench.kind("broadcast from there to 100 members here", |bench, round| {
        acknowledge(bench);
        let broadcast = Broadcast {
            from: there,
            session: 1,
            n: u64::try_from(round)? + 1,
            id: round.to_string(),
            proof: proof.clone(),
            topic: topic(SHARED),
            data: Bytes::from_static(&[b'1'; 1_000]),
        };
        Ok(vec![bench.frame(Channel::Lane(0), &Frame::Broadcast(broadcast))?])
    })?;
    let joins = bench.announced(&[Op::Join { topic: topic(SHARED + 1), peer: there, meta: Bytes::new() }])?;
    bench.machine.handle(joins);
    bench.kind("broadcast to members there, and its tally", |bench, round| {
        acknowledge(bench);
        let (id, spread) = (rounds + round, Spread::Taken { members: 1, missed: 0 });
        let tally = bench.frame(Channel::Lane(0), &Frame::Tally(Tally { from: sender, id: id.to_string(), spread }))?;
        Ok(vec![shouts(1, id, SHARED + 1), tally])
    })
}
