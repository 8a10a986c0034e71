//! What a host says to an edge (PROTOCOL.md §4.2).

use std::borrow::Cow;

use serde::{Deserialize, Serialize, Serializer};

use super::json::{Hex, Json, Text, present};
use super::{EdgeError, flat, need, need_hex};
use crate::id::{HostId, PeerId};
use crate::newer;
use crate::refusal::Refusal;

/// Every `type` of this direction.
const TYPES: [&str; 16] = [
    "greeting",
    "welcome",
    "joined",
    "watching",
    "left",
    "unwatched",
    "peers",
    "peer_joined",
    "peer_left",
    "signal",
    "receipt",
    "broadcast",
    "tally",
    "pong",
    "drain",
    "error",
];

/// What a host may say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum HostMessage<'a> {
    /// At once after the socket opens.
    Greeting {
        /// The edge's home, if it stays.
        host: HostId,
        /// The network's name.
        network: Cow<'a, str>,
        /// The network's tag.
        tag: Hex<8>,
        /// The protocol version.
        version: u16,
        /// What a keyed edge signs.
        challenge: Hex<32>,
    },
    /// The answer to `hello`.
    Welcome(Box<Welcome<'a>>),
    /// The answer to `join`.
    Joined(Sample<'a>),
    /// The answer to `watch`.
    Watching(Sample<'a>),
    /// The answer to `discover`.
    Peers(Sample<'a>),
    /// The answer to `leave`.
    Left {
        /// As asked.
        id: Cow<'a, str>,
        /// As asked.
        topic: Cow<'a, str>,
    },
    /// The answer to `unwatch`.
    Unwatched {
        /// As asked.
        id: Cow<'a, str>,
        /// As asked.
        topic: Cow<'a, str>,
    },
    /// A member came, or has a new meta.
    PeerJoined {
        /// Place in the session's sequence.
        seq: u64,
        /// Where.
        topic: Cow<'a, str>,
        /// Who.
        peer: PeerId,
        /// What it says of itself.
        #[serde(skip_serializing_if = "Option::is_none")]
        meta: Option<Json<'a>>,
    },
    /// A member went.
    PeerLeft {
        /// Place in the session's sequence.
        seq: u64,
        /// Where.
        topic: Cow<'a, str>,
        /// Who.
        peer: PeerId,
        /// Why: one of the words of PROTOCOL.md §4.2.
        reason: Cow<'a, str>,
    },
    /// A peer sends something.
    Signal {
        /// Place in the session's sequence.
        seq: u64,
        /// The sender's id for it.
        id: Cow<'a, str>,
        /// Stamped by the hosts.
        from: PeerId,
        /// Where the two met.
        #[serde(skip_serializing_if = "Option::is_none")]
        topic: Option<Cow<'a, str>>,
        /// Opaque.
        data: Json<'a>,
    },
    /// What became of a signal.
    Receipt {
        /// Place in the session's sequence.
        seq: u64,
        /// The signal's id.
        id: Cow<'a, str>,
        /// What became of it.
        status: Status,
        /// Why it was refused.
        #[serde(skip_serializing_if = "Option::is_none", serialize_with = "name_of_some")]
        code: Option<Refusal>,
        /// The same in words.
        #[serde(skip_serializing_if = "Option::is_none")]
        message: Option<Cow<'a, str>>,
    },
    /// A peer sends something to all members of a topic.
    Broadcast {
        /// Place in the session's sequence.
        seq: u64,
        /// The sender's id for it.
        id: Cow<'a, str>,
        /// Stamped by the hosts.
        from: PeerId,
        /// Whose members it is for.
        topic: Cow<'a, str>,
        /// Opaque.
        data: Json<'a>,
    },
    /// What became of a broadcast.
    Tally {
        /// Place in the session's sequence.
        seq: u64,
        /// The broadcast's id.
        id: Cow<'a, str>,
        /// How far it has come.
        #[serde(flatten)]
        reach: Reach,
        /// Why a host refused it, or the edge's own host all of it.
        #[serde(skip_serializing_if = "Option::is_none", serialize_with = "name_of_some")]
        code: Option<Refusal>,
        /// The same in words.
        #[serde(skip_serializing_if = "Option::is_none")]
        message: Option<Cow<'a, str>>,
    },
    /// The answer to `ping`.
    Pong,
    /// The host is going away.
    Drain {
        /// When to connect elsewhere.
        retry_after_ms: u64,
        /// Gateway URLs of other hosts.
        hosts: Vec<Cow<'a, str>>,
    },
    /// A request was refused; without `id`, the socket or session itself.
    Error {
        /// The request's id.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<Cow<'a, str>>,
        /// Why.
        #[serde(serialize_with = "name_of")]
        code: Refusal,
        /// In words.
        message: Cow<'a, str>,
        /// The counter that the host knows, with `claim_old`.
        #[serde(skip_serializing_if = "Option::is_none")]
        known: Option<u64>,
        /// When it is worth trying again.
        #[serde(skip_serializing_if = "Option::is_none")]
        retry_after_ms: Option<u64>,
    },
}

/// The answer to `hello`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Welcome<'a> {
    /// Who the edge is.
    pub peer: PeerId,
    /// Its home.
    pub host: HostId,
    /// The network's name.
    pub network: Cow<'a, str>,
    /// Names the session in logs.
    pub session: Hex<8>,
    /// The token for the next `hello` after a broken socket. Secret.
    pub resume: Hex<32>,
    /// Whether an older session goes on.
    pub resumed: bool,
    /// What the host takes.
    pub limits: Limits,
    /// As in `RTCConfiguration`.
    pub ice_servers: Json<'a>,
    /// Gateway URLs of other hosts, for fail-over.
    pub hosts: Vec<Cow<'a, str>>,
    /// After so much silence each side pings.
    pub heartbeat_ms: u64,
}

/// What the host takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// `data` of a signal.
    pub message_bytes: u64,
    /// `meta` of a membership.
    pub meta_bytes: u64,
    /// Topics that one edge may be in.
    pub topics: u64,
    /// Members in one answer.
    pub sample: u64,
    /// How long a session waits for its edge.
    pub grace_ms: u64,
    /// When the receipt of a signal comes at the latest.
    pub signal_timeout_ms: u64,
}

/// Some members of a topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Sample<'a> {
    /// The request's id.
    pub id: Cow<'a, str>,
    /// Where.
    pub topic: Cow<'a, str>,
    /// At most 64.
    pub peers: Vec<Member<'a>>,
    /// How many there are.
    pub total: u64,
}

/// A member of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member<'a> {
    /// Who.
    pub peer: PeerId,
    /// What it says of itself.
    #[serde(borrow, default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub meta: Option<Json<'a>>,
}

/// How far a broadcast has come: hosts with members of the topic, and members.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reach {
    /// Hosts that put it into the queues of members.
    pub taken: u64,
    /// Hosts at which nobody has it or will have it.
    pub refused: u64,
    /// Hosts of which nobody can say.
    pub unknown: u64,
    /// Members who have it in their queues.
    pub members: u64,
    /// Members who miss it, because they do not acknowledge what they are sent.
    pub missed: u64,
}

/// What became of a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// The target acknowledged it.
    Delivered,
    /// It was not and will not be delivered.
    Refused,
    /// Nobody can say. Sending it again under the same id is safe.
    #[serde(other)]
    Unknown,
}

impl<'a> HostMessage<'a> {
    /// Reads one text frame. Unknown fields are ignored; an unknown code becomes [`Refusal::Other`].
    ///
    /// # Errors
    /// [`EdgeError`] when it is not a message of a host.
    pub fn decode(text: &'a str) -> Result<Self, EdgeError> {
        flat::<Flat<'a>>(text, &TYPES)?.read()
    }

    /// Appends the message to `out`, as JSON.
    pub fn encode(&self, out: &mut Vec<u8>) {
        // Writing to memory, of types whose keys are strings, cannot fail.
        let written = serde_json::to_writer(&mut *out, self);
        debug_assert!(written.is_ok(), "a host message that is not JSON");
        newer::add_field(out);
    }
}

/// All fields of all messages of this direction.
#[derive(Deserialize)]
struct Flat<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Text<'a>>,
    #[serde(borrow)]
    id: Option<Text<'a>>,
    #[serde(borrow)]
    topic: Option<Text<'a>>,
    seq: Option<u64>,
    #[serde(borrow)]
    peer: Option<Text<'a>>,
    #[serde(borrow)]
    from: Option<Text<'a>>,
    #[serde(borrow, default, deserialize_with = "present")]
    data: Option<Json<'a>>,
    #[serde(borrow, default, deserialize_with = "present")]
    meta: Option<Json<'a>>,
    #[serde(borrow)]
    peers: Option<Vec<Member<'a>>>,
    total: Option<u64>,
    #[serde(borrow)]
    reason: Option<Text<'a>>,
    status: Option<Status>,
    taken: Option<u64>,
    refused: Option<u64>,
    unknown: Option<u64>,
    members: Option<u64>,
    missed: Option<u64>,
    #[serde(borrow)]
    code: Option<Text<'a>>,
    #[serde(borrow)]
    message: Option<Text<'a>>,
    known: Option<u64>,
    retry_after_ms: Option<u64>,
    #[serde(borrow)]
    hosts: Option<Vec<Text<'a>>>,
    #[serde(borrow)]
    host: Option<Text<'a>>,
    #[serde(borrow)]
    network: Option<Text<'a>>,
    #[serde(borrow)]
    tag: Option<Text<'a>>,
    version: Option<u16>,
    #[serde(borrow)]
    challenge: Option<Text<'a>>,
    #[serde(borrow)]
    session: Option<Text<'a>>,
    #[serde(borrow)]
    resume: Option<Text<'a>>,
    resumed: Option<bool>,
    limits: Option<Limits>,
    #[serde(borrow)]
    ice_servers: Option<Json<'a>>,
    heartbeat_ms: Option<u64>,
}

impl<'a> Flat<'a> {
    fn read(self) -> Result<HostMessage<'a>, EdgeError> {
        let kind = need(self.kind.as_ref(), "type", None)?.0.clone();
        match &*kind {
            "greeting" => self.greeting(),
            "welcome" => Ok(HostMessage::Welcome(Box::new(self.welcome()?))),
            "joined" => Ok(HostMessage::Joined(self.sample()?)),
            "watching" => Ok(HostMessage::Watching(self.sample()?)),
            "peers" => Ok(HostMessage::Peers(self.sample()?)),
            "left" => Ok(HostMessage::Left { id: text(self.id, "id")?, topic: text(self.topic, "topic")? }),
            "unwatched" => Ok(HostMessage::Unwatched { id: text(self.id, "id")?, topic: text(self.topic, "topic")? }),
            "peer_joined" | "peer_left" | "signal" | "receipt" | "broadcast" | "tally" => self.sequenced(&kind),
            "pong" => Ok(HostMessage::Pong),
            "drain" => {
                Ok(HostMessage::Drain { retry_after_ms: self.retry_after_ms.unwrap_or(0), hosts: texts(self.hosts) })
            }
            "error" => Ok(HostMessage::Error {
                id: self.id.map(|text| text.0),
                code: named(&text(self.code, "code")?),
                message: self.message.map_or(Cow::Borrowed(""), |text| text.0),
                known: self.known,
                retry_after_ms: self.retry_after_ms,
            }),
            _ => Err(EdgeError::new(None, Refusal::UnknownType, format!("`{kind}`"))),
        }
    }

    fn greeting(self) -> Result<HostMessage<'a>, EdgeError> {
        Ok(HostMessage::Greeting {
            host: HostId::new(bytes(self.host, "host")?),
            network: text(self.network, "network")?,
            tag: Hex(bytes(self.tag, "tag")?),
            version: need(self.version, "version", None)?,
            challenge: Hex(bytes(self.challenge, "challenge")?),
        })
    }

    fn welcome(self) -> Result<Welcome<'a>, EdgeError> {
        Ok(Welcome {
            peer: PeerId::new(bytes(self.peer, "peer")?),
            host: HostId::new(bytes(self.host, "host")?),
            network: text(self.network, "network")?,
            session: Hex(bytes(self.session, "session")?),
            resume: Hex(bytes(self.resume, "resume")?),
            resumed: self.resumed.unwrap_or(false),
            limits: need(self.limits, "limits", None)?,
            ice_servers: need(self.ice_servers, "ice_servers", None)?,
            hosts: texts(self.hosts),
            heartbeat_ms: need(self.heartbeat_ms, "heartbeat_ms", None)?,
        })
    }

    fn sample(self) -> Result<Sample<'a>, EdgeError> {
        Ok(Sample {
            id: text(self.id, "id")?,
            topic: text(self.topic, "topic")?,
            peers: need(self.peers, "peers", None)?,
            total: need(self.total, "total", None)?,
        })
    }

    fn sequenced(self, kind: &str) -> Result<HostMessage<'a>, EdgeError> {
        let seq = need(self.seq, "seq", None)?;
        Ok(match kind {
            "peer_joined" => HostMessage::PeerJoined {
                seq,
                topic: text(self.topic, "topic")?,
                peer: PeerId::new(bytes(self.peer, "peer")?),
                meta: self.meta,
            },
            "peer_left" => HostMessage::PeerLeft {
                seq,
                topic: text(self.topic, "topic")?,
                peer: PeerId::new(bytes(self.peer, "peer")?),
                reason: text(self.reason, "reason")?,
            },
            "signal" => HostMessage::Signal {
                seq,
                id: text(self.id, "id")?,
                from: PeerId::new(bytes(self.from, "from")?),
                topic: self.topic.map(|text| text.0),
                data: need(self.data, "data", None)?,
            },
            "broadcast" => HostMessage::Broadcast {
                seq,
                id: text(self.id, "id")?,
                from: PeerId::new(bytes(self.from, "from")?),
                topic: text(self.topic, "topic")?,
                data: need(self.data, "data", None)?,
            },
            "tally" => HostMessage::Tally {
                seq,
                id: text(self.id, "id")?,
                reach: Reach {
                    taken: need(self.taken, "taken", None)?,
                    refused: need(self.refused, "refused", None)?,
                    unknown: need(self.unknown, "unknown", None)?,
                    members: need(self.members, "members", None)?,
                    missed: need(self.missed, "missed", None)?,
                },
                code: self.code.map(|text| named(&text.0)),
                message: self.message.map(|text| text.0),
            },
            _ => HostMessage::Receipt {
                seq,
                id: text(self.id, "id")?,
                status: need(self.status, "status", None)?,
                code: self.code.map(|text| named(&text.0)),
                message: self.message.map(|text| text.0),
            },
        })
    }
}

fn text<'a>(field: Option<Text<'a>>, name: &str) -> Result<Cow<'a, str>, EdgeError> {
    need(field, name, None).map(|text| text.0)
}

fn bytes<const N: usize>(field: Option<Text<'_>>, name: &str) -> Result<[u8; N], EdgeError> {
    need_hex(&need(field, name, None)?, name, None)
}

fn texts(field: Option<Vec<Text<'_>>>) -> Vec<Cow<'_, str>> {
    field.unwrap_or_default().into_iter().map(|text| text.0).collect()
}

fn named(code: &str) -> Refusal {
    Refusal::ALL.into_iter().find(|refusal| refusal.name() == code).unwrap_or(Refusal::Other)
}

fn name_of<S: Serializer>(refusal: &Refusal, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(refusal.name())
}

fn name_of_some<S: Serializer>(refusal: &Option<Refusal>, serializer: S) -> Result<S::Ok, S::Error> {
    match refusal {
        Some(refusal) => name_of(refusal, serializer),
        None => serializer.serialize_none(),
    }
}
