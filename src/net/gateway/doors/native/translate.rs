//! Between the JSON messages of edges and what the machine takes and says.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::time::Duration;

use aldis_wire::announcement::GoneReason;
use aldis_wire::edge::{self, EdgeMessage, Hex, HostMessage, Json};
use aldis_wire::host::Outcome;
use aldis_wire::id::HostId;
use aldis_wire::limits::{EDGE_MESSAGE_BYTES, META_BYTES, PEER_TOPICS_MAX, SAMPLE_MAX, SIGNAL_DATA_BYTES};
use aldis_wire::network::Network;
use aldis_wire::refusal::Refusal;
use axum::body::Bytes;

use crate::net::gateway::Timing;
use crate::relay::io::{Event, Hello, Identity, LeftReason, Member, Reach, Request, Sample, Token, Topic, Welcome};
use crate::relay::limits::SIGNAL_TIMEOUT;

/// Of a frame with a sample, what is not members: an id of 64 bytes and a topic of 256, each escaped sixfold at worst.
const SAMPLE_FIELDS_BYTES: usize = 2_048;
/// Of a member, what is not meta: its id in hex and the names of the fields.
const MEMBER_FIELDS_BYTES: usize = 96;
/// Of any frame, what is not data, usually.
const FIELDS_BYTES: usize = 256;

/// What is the same for all edges of a host.
#[derive(Debug)]
pub(in crate::net::gateway) struct Translator {
    host: HostId,
    network: Network,
    /// What the operator gives, as a JSON list.
    ice_servers: Vec<serde_json::Value>,
    limits: edge::Limits,
    heartbeat: Duration,
}

impl Translator {
    pub(in crate::net::gateway) fn new(
        host: HostId,
        network: Network,
        ice_servers: &[serde_json::Value],
        grace: Duration,
        timing: Timing,
    ) -> Self {
        let limits = edge::Limits {
            message_bytes: SIGNAL_DATA_BYTES as u64,
            meta_bytes: META_BYTES as u64,
            topics: PEER_TOPICS_MAX as u64,
            sample: SAMPLE_MAX as u64,
            grace_ms: millis(grace),
            signal_timeout_ms: millis(SIGNAL_TIMEOUT),
        };
        Self { host, network, ice_servers: ice_servers.to_vec(), limits, heartbeat: timing.heartbeat }
    }

    /// What an edge asks for, as the machine takes it. Data is copied out of its frame: a frame of full size must not
    /// be kept for the few bytes of data that it brought.
    pub(in crate::net::gateway) fn request(&self, message: EdgeMessage<'_>) -> Request {
        match message {
            EdgeMessage::Hello(hello) => Request::Hello(Hello {
                identity: identity(hello.identity),
                meta: hello.meta.map_or_else(Bytes::new, copied),
            }),
            EdgeMessage::Join { id, topic, meta } => {
                Request::Join { id: id.into(), topic: self.topic(topic), meta: meta.map(copied), quiet: false }
            }
            EdgeMessage::Leave { id, topic } => Request::Leave { id: id.into(), topic: self.topic(topic) },
            EdgeMessage::Watch { id, topic } => Request::Watch { id: id.into(), topic: self.topic(topic) },
            EdgeMessage::Unwatch { id, topic } => Request::Unwatch { id: id.into(), topic: self.topic(topic) },
            EdgeMessage::Discover { id, topic, limit } => {
                Request::Discover { id: id.into(), topic: self.topic(topic), limit }
            }
            EdgeMessage::Signal { id, to, topic, data } => Request::Signal {
                id: id.into(),
                to,
                topic: topic.map(|name| self.network.topic(&name)),
                data: copied(data),
            },
            EdgeMessage::Broadcast { id, topic, data } => {
                Request::Broadcast { id: id.into(), topic: self.topic(topic), data: copied(data), echo: false }
            }
            EdgeMessage::Ack { seq } => Request::Ack { seq },
            EdgeMessage::Ping => Request::Ping,
            EdgeMessage::Bye => Request::Bye,
        }
    }

    fn topic(&self, name: Cow<'_, str>) -> Topic {
        Topic { id: self.network.topic(&name), name: name.into() }
    }

    /// What the machine says, as JSON.
    pub(in crate::net::gateway) fn event(&self, event: &Event) -> Vec<u8> {
        let mut out = Vec::with_capacity(FIELDS_BYTES + size(event));
        let ice_servers = match event {
            Event::Welcome(welcome) => self.ice_servers(&welcome.stun),
            _ => Vec::new(),
        };
        self.message(event, &ice_servers).encode(&mut out);
        out
    }

    /// What the operator gives, then STUN servers of the network, as a JSON list.
    fn ice_servers(&self, stun: &[SocketAddr]) -> Vec<u8> {
        let stun = stun.iter().map(|address| serde_json::json!({ "urls": format!("stun:{address}") }));
        let all: Vec<serde_json::Value> = self.ice_servers.iter().cloned().chain(stun).collect();
        serde_json::to_vec(&all).unwrap_or_else(|_| b"[]".to_vec())
    }

    fn message<'a>(&'a self, event: &'a Event, ice_servers: &'a [u8]) -> HostMessage<'a> {
        match event {
            Event::Greeting { challenge } => HostMessage::Greeting {
                host: self.host,
                network: Cow::Borrowed(&self.network.name),
                tag: Hex(*self.network.tag.as_bytes()),
                version: self.network.version,
                challenge: Hex(*challenge),
            },
            Event::Welcome(welcome) => HostMessage::Welcome(Box::new(self.welcome(welcome, ice_servers))),
            Event::Joined(members) => HostMessage::Joined(sample(members)),
            Event::Watching(members) => HostMessage::Watching(sample(members)),
            Event::Peers(members) => HostMessage::Peers(sample(members)),
            Event::Left { id, topic } => HostMessage::Left { id: Cow::Borrowed(id), topic: Cow::Borrowed(topic) },
            Event::Unwatched { id, topic } => {
                HostMessage::Unwatched { id: Cow::Borrowed(id), topic: Cow::Borrowed(topic) }
            }
            Event::PeerJoined { seq, topic, member } => HostMessage::PeerJoined {
                seq: *seq,
                topic: Cow::Borrowed(topic),
                peer: member.peer,
                meta: meta(&member.meta),
            },
            Event::PeerLeft { seq, topic, peer, reason } => HostMessage::PeerLeft {
                seq: *seq,
                topic: Cow::Borrowed(topic),
                peer: *peer,
                reason: Cow::Borrowed(left_reason(*reason)),
            },
            Event::Signal { seq, id, from, topic, data } => HostMessage::Signal {
                seq: *seq,
                id: Cow::Borrowed(id),
                from: *from,
                topic: topic.as_deref().map(Cow::Borrowed),
                // Another host may have sent anything; its place in the sequence must be filled nevertheless.
                data: Json::read(data).unwrap_or(Json::NULL),
            },
            Event::Receipt { seq, id, outcome } => receipt(*seq, id, *outcome),
            Event::Broadcast { seq, id, from, topic, data } => HostMessage::Broadcast {
                seq: *seq,
                id: Cow::Borrowed(id),
                from: *from,
                topic: Cow::Borrowed(topic),
                // As for signals.
                data: Json::read(data).unwrap_or(Json::NULL),
            },
            Event::Tally { seq, id, reach } => tally(*seq, id, reach),
            Event::Pong => HostMessage::Pong,
            Event::Drain { retry_after, gateways } => {
                HostMessage::Drain { retry_after_ms: millis(*retry_after), hosts: borrowed(gateways) }
            }
            Event::Error { id, refusal, message, known, retry_after } => HostMessage::Error {
                id: id.as_deref().map(Cow::Borrowed),
                code: *refusal,
                message: Cow::Borrowed(if message.is_empty() { refusal.sentence() } else { message }),
                known: *known,
                retry_after_ms: retry_after.map(millis),
            },
        }
    }

    fn welcome<'a>(&'a self, welcome: &'a Welcome, ice_servers: &'a [u8]) -> edge::Welcome<'a> {
        edge::Welcome {
            peer: welcome.peer,
            host: self.host,
            network: Cow::Borrowed(&self.network.name),
            session: Hex(welcome.session.to_be_bytes()),
            resume: Hex(welcome.token.0),
            resumed: welcome.resumed,
            limits: self.limits,
            ice_servers: Json::read(ice_servers).unwrap_or(Json::NULL),
            hosts: borrowed(&welcome.gateways),
            heartbeat_ms: millis(self.heartbeat),
        }
    }
}

fn identity(identity: edge::Identity) -> Identity {
    match identity {
        edge::Identity::Minted => Identity::Minted,
        edge::Identity::Keyed { peer, claim } => Identity::Keyed {
            peer,
            counter: claim.counter,
            sealing: claim.sealing,
            claim: claim.signature,
            answer: claim.proof,
        },
        edge::Identity::Resumed(resume) => Identity::Resumed { token: Token(resume.token), seq: resume.seq },
    }
}

fn copied(json: Json<'_>) -> Bytes {
    Bytes::copy_from_slice(json.as_str().as_bytes())
}

/// Another host may have sent anything: what is not JSON is left out.
fn meta(bytes: &Bytes) -> Option<Json<'_>> {
    Json::read(bytes).ok()
}

/// As many members as fit a frame. They come in random order.
fn sample(sample: &Sample) -> edge::Sample<'_> {
    let mut room = EDGE_MESSAGE_BYTES - SAMPLE_FIELDS_BYTES;
    let fits = |member: &&Member| {
        let left = room.checked_sub(MEMBER_FIELDS_BYTES + member.meta.len());
        room = left.unwrap_or(0);
        left.is_some()
    };
    edge::Sample {
        id: Cow::Borrowed(&sample.id),
        topic: Cow::Borrowed(&sample.topic),
        peers: sample
            .members
            .iter()
            .take_while(fits)
            .map(|member| edge::Member { peer: member.peer, meta: meta(&member.meta) })
            .collect(),
        total: sample.total as u64,
    }
}

fn receipt(seq: u64, id: &str, outcome: Outcome) -> HostMessage<'_> {
    let (status, code) = match outcome {
        Outcome::Delivered => (edge::Status::Delivered, None),
        Outcome::Refused(refusal) => (edge::Status::Refused, Some(refusal)),
        Outcome::Unknown => (edge::Status::Unknown, None),
    };
    let message = code.map(|refusal| Cow::Borrowed(refusal.sentence()));
    HostMessage::Receipt { seq, id: Cow::Borrowed(id), status, code, message }
}

fn tally<'a>(seq: u64, id: &'a str, reach: &Reach) -> HostMessage<'a> {
    let Reach { taken, refused, unknown, members, missed, code } = *reach;
    HostMessage::Tally {
        seq,
        id: Cow::Borrowed(id),
        reach: edge::Reach { taken, refused, unknown, members, missed },
        code,
        message: code.map(|refusal| Cow::Borrowed(refusal.sentence())),
    }
}

/// The words of PROTOCOL.md §4.2.
fn left_reason(reason: LeftReason) -> &'static str {
    match reason {
        LeftReason::Left => "left",
        LeftReason::Gone(GoneReason::Closed) => "closed",
        LeftReason::Gone(GoneReason::Lost) => "lost",
        LeftReason::Gone(GoneReason::Moved) => "moved",
        LeftReason::Gone(GoneReason::Ended) => "ended",
        LeftReason::Gone(GoneReason::HostClosed) => "host_closed",
        LeftReason::HostLost => "host_lost",
    }
}

fn borrowed(urls: &[String]) -> Vec<Cow<'_, str>> {
    urls.iter().map(|url| Cow::Borrowed(url.as_str())).collect()
}

fn size(event: &Event) -> usize {
    match event {
        Event::Signal { data, .. } | Event::Broadcast { data, .. } => data.len(),
        Event::PeerJoined { member, .. } => member.meta.len(),
        Event::Joined(sample) | Event::Watching(sample) | Event::Peers(sample) => {
            sample.members.iter().map(|member| MEMBER_FIELDS_BYTES + member.meta.len()).sum()
        }
        Event::Welcome(_) => 1_024,
        _ => 0,
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A refusal as an edge reads it; the refusal's own sentence when `words` is empty.
pub(in crate::net::gateway) fn refusal(refusal: Refusal, words: &str) -> String {
    let message = if words.is_empty() { refusal.sentence() } else { words };
    let message = message.into();
    let mut out = Vec::new();
    HostMessage::Error { id: None, code: refusal, message, known: None, retry_after_ms: None }.encode(&mut out);
    String::from_utf8(out).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use aldis_wire::id::PeerId;
    use aldis_wire::network::Genesis;

    use super::*;

    #[test]
    fn an_edge_is_told_the_operators_servers_first_and_then_those_of_the_network() {
        let network = Network::new(&Genesis::open("test").unwrap());
        let own = [serde_json::json!({ "urls": ["turn:t.example"], "username": "u", "credential": "c" })];
        let timing = Timing::default();
        let translator = Translator::new(HostId::new([1; 32]), network, &own, Duration::from_secs(30), timing);
        let welcome = |stun| Welcome {
            peer: PeerId::new([2; 32]),
            session: 1,
            token: Token([0; 32]),
            resumed: false,
            gateways: Vec::new(),
            stun,
        };
        let told = |stun| {
            let text = translator.event(&Event::Welcome(welcome(stun)));
            let told: serde_json::Value = serde_json::from_slice(&text).unwrap();
            told["ice_servers"].clone()
        };
        let stun = vec!["45.1.2.3:3478".parse().unwrap(), "[2606:4700::1]:4000".parse().unwrap()];
        let theirs = [
            serde_json::json!({ "urls": "stun:45.1.2.3:3478" }),
            serde_json::json!({ "urls": "stun:[2606:4700::1]:4000" }),
        ];
        assert_eq!(told(stun), serde_json::Value::from([&own[..], &theirs[..]].concat()));
        assert_eq!(told(Vec::new()), serde_json::Value::from(own.to_vec()));
    }
}
