//! What edges are told, and what they make of it: they greet, acknowledge, note whom they see, and come again elsewhere.

use aldis::relay::io::{EdgeKey, Event, Hello, Identity, Member, Request};
use aldis_wire::id::PeerId;
use aldis_wire::proof::{Proof, answer_challenge};
use aldis_wire::refusal::Refusal;
use bytes::Bytes;

use super::{ACK_AFTER, ACK_EVERY, Edge, KNOWN_MAX, Keyed, Standing, Wish, edge_of, number_of};
use crate::queue::{MS, SEC};
use crate::world::World;

impl World {
    pub(crate) fn acknowledge(&mut self, edge: usize) {
        self.edges[edge].ack_planned = false;
        let Edge { seen, acked, .. } = self.edges[edge];
        if seen > acked {
            self.edges[edge].acked = seen;
            self.ask(edge, Request::Ack { seq: seen });
        }
    }

    /// The host has closed a socket.
    pub(crate) fn hung(&mut self, key: EdgeKey) {
        let (edge, socket) = edge_of(key);
        if self.edges[edge].socket == socket && self.edges[edge].is_connected() {
            self.session_lost(edge, 0);
            self.plan(edge, SEC, Wish::Come);
        }
    }

    /// An edge is told something.
    pub(crate) fn told(&mut self, key: EdgeKey, event: Event) {
        let (edge, socket) = edge_of(key);
        if self.edges[edge].socket != socket || !self.edges[edge].is_connected() {
            return;
        }
        let seq = match &event {
            Event::PeerJoined { seq, .. }
            | Event::PeerLeft { seq, .. }
            | Event::Signal { seq, .. }
            | Event::Receipt { seq, .. }
            | Event::Broadcast { seq, .. }
            | Event::Tally { seq, .. } => Some(*seq),
            _ => None,
        };
        if let Some(seq) = seq {
            let seen = self.edges[edge].seen;
            if seq <= seen {
                return;
            }
            if seq != seen + 1 {
                let host = self.edges[edge].place;
                self.violated(&[host], format!("edge {edge} was told {seq} after {seen}: something was left out"));
            }
            self.edges[edge].seen = seq;
        }
        self.takes(edge, event);
        let Edge { seen, acked, ack_planned, .. } = self.edges[edge];
        if seen >= acked + ACK_EVERY {
            self.acknowledge(edge);
        } else if seen > acked && !ack_planned {
            self.edges[edge].ack_planned = true;
            self.plan(edge, ACK_AFTER, Wish::Ack);
        }
    }

    fn takes(&mut self, edge: usize, event: Event) {
        match event {
            Event::Greeting { challenge } => self.say_hello(edge, &challenge),
            Event::Welcome(welcome) => {
                self.edges[edge].standing = Standing::Open;
                self.edges[edge].since = self.now;
                self.edges[edge].token = Some(welcome.token);
                self.edges[edge].peer = Some(welcome.peer);
                if welcome.resumed {
                    self.set_away(edge, None);
                    // What the host may never have got is asked again; what it has got is attached to the same delivery.
                    for number in self.edges[edge].open.clone() {
                        self.send_signal(edge, number);
                    }
                    self.shout_again(edge);
                } else {
                    self.welcomed(edge);
                }
            }
            Event::Left { topic, .. } => {
                // Its join may have been answered after it asked to leave.
                if let Some((view, topic)) = self.edges[edge].view.as_mut().zip(number_of(&topic)) {
                    view.remove(&topic);
                }
            }
            Event::Joined(sample) | Event::Watching(sample) => {
                if let Some(topic) = number_of(&sample.topic) {
                    let now = self.now;
                    let complete = sample.members.len() == sample.total;
                    if let Some(view) = self.edges[edge].view.as_mut().filter(|_| complete) {
                        let (joined, members) = view.entry(topic).or_default();
                        *joined = now;
                        members.extend(sample.members.iter().map(|member| (member.peer, now)));
                    }
                }
                sample.members.iter().for_each(|member| self.meets(edge, member));
            }
            Event::PeerJoined { topic, member, .. } => {
                let now = self.now;
                if let Some((view, topic)) = self.edges[edge].view.as_mut().zip(number_of(&topic))
                    && let Some((_, members)) = view.get_mut(&topic)
                {
                    members.insert(member.peer, now);
                }
                self.meets(edge, &member);
            }
            Event::PeerLeft { topic, peer, .. } => {
                if let Some((view, topic)) = self.edges[edge].view.as_mut().zip(number_of(&topic))
                    && let Some((_, members)) = view.get_mut(&topic)
                {
                    members.remove(&peer);
                }
                self.edges[edge].known.retain(|known| *known != peer);
            }
            Event::Signal { id, from, .. } => self.signal_seen(edge, &id, from),
            Event::Receipt { id, outcome, .. } => self.receipt_seen(edge, &id, outcome),
            Event::Broadcast { id, from, .. } => self.shout_heard(edge, &id, from),
            Event::Tally { id, reach, .. } => self.tally_heard(edge, &id, reach),
            Event::Error { id: None, refusal, known, .. } => self.turned_away(edge, refusal, known),
            _ => {}
        }
    }

    fn meets(&mut self, edge: usize, member: &Member) {
        let known = &mut self.edges[edge].known;
        if known.len() < KNOWN_MAX && !known.contains(&member.peer) {
            known.push(member.peer);
        }
    }

    fn turned_away(&mut self, edge: usize, refusal: Refusal, known: Option<u64>) {
        match refusal {
            Refusal::SessionLost => {
                // The socket stays usable for a fresh hello; here a new one is opened.
                self.break_socket(edge);
                self.session_lost(edge, Self::grace());
                self.plan(edge, 10 * MS, Wish::Come);
            }
            Refusal::ClaimOld => {
                if let Some((keyed, known)) = self.edges[edge].keyed.as_mut().zip(known) {
                    keyed.counter = keyed.counter.max(known);
                }
                self.break_socket(edge);
                self.session_lost(edge, Self::grace());
                self.plan(edge, 10 * MS, Wish::Come);
            }
            _ => {}
        }
    }

    fn say_hello(&mut self, edge: usize, challenge: &[u8; 32]) {
        let (tag, home) = (self.network.tag, self.hosts[self.edges[edge].place].id);
        let Edge { token, seen, .. } = self.edges[edge];
        let identity = if let Some(token) = token {
            Identity::Resumed { token, seq: seen }
        } else if let Some(Keyed { key, counter }) = self.edges[edge].keyed.as_deref_mut() {
            *counter += 1;
            let Proof::Keyed { signature: claim, .. } = Proof::claim(key, tag, home, *counter, None) else { return };
            let answer = answer_challenge(key, tag, home, challenge);
            let peer = PeerId::new(key.verifying_key().to_bytes());
            Identity::Keyed { peer, counter: *counter, sealing: None, claim, answer }
        } else {
            Identity::Minted
        };
        self.ask(edge, Request::Hello(Hello { identity, meta: Bytes::new() }));
    }

    fn welcomed(&mut self, edge: usize) {
        if self.edges[edge].is_probe {
            let topic = self.probes.topic();
            return self.ask(edge, Request::Watch { id: "w".into(), topic });
        }
        for _ in 0..self.scenario.topics {
            self.join_one(edge);
        }
        let scenario = &self.scenario;
        let plans = [
            (scenario.stay, Wish::Go),
            (scenario.drops, Wish::Drop),
            (scenario.hops, Wish::Hop),
            (if self.edges[edge].keyed.is_some() { scenario.roams } else { 0 }, Wish::Roam),
            (scenario.speak, Wish::Speak),
        ];
        for (mean, wish) in plans.into_iter().filter(|(mean, _)| *mean > 0) {
            let after = self.crowd.chance.exponential(mean);
            self.plan(edge, after, wish);
        }
        if self.scenario.shout > 0 {
            let after = self.shouts.pause(self.scenario.shout);
            self.plan(edge, after, Wish::Shout);
        }
        if let Some(at) = self.scenario.everybody_leaves_at {
            let after = at.saturating_sub(self.now) + self.crowd.chance.below(SEC);
            self.plan(edge, after, Wish::Go);
        }
    }
}
