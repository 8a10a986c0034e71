//! What an edge says to its host (PROTOCOL.md §4.1).

use std::borrow::Cow;

use serde::{Deserialize, Serialize, Serializer};

use super::json::{Hex, Json, Text, present};
use super::{EdgeError, flat, id_fits, need, need_hex};
use crate::id::PeerId;
use crate::limits::{META_BYTES, SAMPLE_DEFAULT, SAMPLE_MAX, SIGNAL_DATA_BYTES, TOPIC_NAME_BYTES};
use crate::proof::Signature;
use crate::refusal::Refusal;

/// Every `type` of this direction.
const TYPES: [&str; 11] =
    ["hello", "join", "leave", "watch", "unwatch", "discover", "signal", "broadcast", "ack", "ping", "bye"];

/// A message, and what it acknowledges besides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FromEdge<'a> {
    /// Everything up to this seq has arrived.
    pub ack: Option<u64>,
    /// The message itself.
    pub message: EdgeMessage<'a>,
}

/// What an edge may say. Sizes have been checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum EdgeMessage<'a> {
    /// First message on a socket.
    Hello(Hello<'a>),
    /// Become a member, or replace the membership's meta.
    Join {
        /// Echoed.
        id: Cow<'a, str>,
        /// 1 to 256 bytes.
        topic: Cow<'a, str>,
        /// At most 1,024 bytes.
        #[serde(skip_serializing_if = "Option::is_none")]
        meta: Option<Json<'a>>,
    },
    /// End a membership.
    Leave {
        /// Echoed.
        id: Cow<'a, str>,
        /// 1 to 256 bytes.
        topic: Cow<'a, str>,
    },
    /// Events without membership.
    Watch {
        /// Echoed.
        id: Cow<'a, str>,
        /// 1 to 256 bytes.
        topic: Cow<'a, str>,
    },
    /// No events any more.
    Unwatch {
        /// Echoed.
        id: Cow<'a, str>,
        /// 1 to 256 bytes.
        topic: Cow<'a, str>,
    },
    /// A sample of members.
    Discover {
        /// Echoed.
        id: Cow<'a, str>,
        /// 1 to 256 bytes.
        topic: Cow<'a, str>,
        /// At most 64: more is cut.
        limit: usize,
    },
    /// Something for a peer.
    Signal {
        /// Echoed in the receipt.
        id: Cow<'a, str>,
        /// Whom.
        to: PeerId,
        /// Where the two met.
        #[serde(skip_serializing_if = "Option::is_none")]
        topic: Option<Cow<'a, str>>,
        /// At most 65,536 bytes.
        data: Json<'a>,
    },
    /// Something for all other members of a topic.
    Broadcast {
        /// Echoed in the tally.
        id: Cow<'a, str>,
        /// 1 to 256 bytes.
        topic: Cow<'a, str>,
        /// At most 65,536 bytes.
        data: Json<'a>,
    },
    /// Everything up to `seq` has arrived.
    Ack {
        /// Cumulative.
        seq: u64,
    },
    /// Is anybody there?
    Ping,
    /// End the session.
    Bye,
}

/// How an edge introduces itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello<'a> {
    /// As whom.
    pub identity: Identity,
    /// The default for every `join`. At most 1,024 bytes.
    pub meta: Option<Json<'a>>,
}

/// As whom an edge comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// As a peer that the host mints.
    Minted,
    /// As the owner of a key.
    Keyed {
        /// The public key.
        peer: PeerId,
        /// That it is at home here.
        claim: Claim,
    },
    /// As the session that it was before its socket broke.
    Resumed(Resume),
}

/// The claim of a keyed peer (PROTOCOL.md §3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The highest counter of a peer wins.
    pub counter: u64,
    /// The X25519 key to which payloads may be sealed.
    pub sealing: Option<[u8; 32]>,
    /// Over tag, home, counter and sealing key.
    pub signature: Signature,
    /// Over the greeting's challenge.
    pub proof: Signature,
}

/// Which session to restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resume {
    /// From the last `welcome`.
    pub token: [u8; 32],
    /// The last seq that the edge has seen.
    pub seq: u64,
}

impl<'a> FromEdge<'a> {
    /// Reads one text frame. Unknown fields are ignored.
    ///
    /// # Errors
    /// [`EdgeError`] when it is not a message, or a field is missing or outside its bounds.
    pub fn decode(text: &'a str) -> Result<Self, EdgeError> {
        flat::<Flat<'a>>(text, &TYPES)?.read()
    }

    /// Appends the message to `out`, as JSON.
    pub fn encode(&self, out: &mut Vec<u8>) {
        // Writing to memory, of types whose keys are strings, cannot fail.
        let written = serde_json::to_writer(&mut *out, &self.message);
        debug_assert!(written.is_ok(), "an edge message that is not JSON");
        if let (Some(seq), Some(b'}')) = (self.ack, out.last()) {
            out.pop();
            out.extend_from_slice(format!(",\"ack\":{seq}}}").as_bytes());
        }
    }

    /// The message as JSON.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = Vec::new();
        self.encode(&mut out);
        // JSON is UTF-8.
        String::from_utf8(out).unwrap_or_default()
    }
}

/// A message that was encoded without `ack`, with it.
#[must_use]
pub fn acknowledging(message: &str, seq: u64) -> String {
    match message.strip_suffix('}') {
        Some(begin) => format!("{begin},\"ack\":{seq}}}"),
        None => message.to_owned(),
    }
}

impl<'a> From<EdgeMessage<'a>> for FromEdge<'a> {
    fn from(message: EdgeMessage<'a>) -> Self {
        Self { ack: None, message }
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
    #[serde(borrow)]
    to: Option<Text<'a>>,
    #[serde(borrow, default, deserialize_with = "present")]
    data: Option<Json<'a>>,
    #[serde(borrow, default, deserialize_with = "present")]
    meta: Option<Json<'a>>,
    limit: Option<u64>,
    seq: Option<u64>,
    ack: Option<u64>,
    #[serde(borrow)]
    resume: Option<ResumeFields<'a>>,
    #[serde(borrow)]
    peer: Option<Text<'a>>,
    #[serde(borrow)]
    claim: Option<ClaimFields<'a>>,
}

#[derive(Deserialize)]
struct ResumeFields<'a> {
    #[serde(borrow)]
    token: Text<'a>,
    seq: u64,
}

#[derive(Deserialize)]
struct ClaimFields<'a> {
    counter: u64,
    #[serde(borrow)]
    sealing: Option<Text<'a>>,
    #[serde(borrow)]
    signature: Text<'a>,
    #[serde(borrow)]
    proof: Text<'a>,
}

impl<'a> Flat<'a> {
    fn read(mut self) -> Result<FromEdge<'a>, EdgeError> {
        let id = self.id.take().map(|text| text.0);
        if id.as_deref().is_some_and(|id| !id_fits(id)) {
            return Err(EdgeError::new(None, Refusal::BadField, "`id` must have 1 to 64 bytes"));
        }
        let ack = self.ack;
        let kind = need(self.kind.take(), "type", id.as_deref())?.0;
        let message = match &*kind {
            "hello" => EdgeMessage::Hello(self.hello(id.as_deref())?),
            "ack" => EdgeMessage::Ack { seq: need(self.seq, "seq", id.as_deref())? },
            "ping" => EdgeMessage::Ping,
            "bye" => EdgeMessage::Bye,
            kind if TYPES.contains(&kind) => self.request(kind, need(id, "id", None)?)?,
            _ => return Err(EdgeError::new(id.as_deref(), Refusal::UnknownType, format!("`{kind}`"))),
        };
        Ok(FromEdge { ack, message })
    }

    /// Messages that carry an id.
    fn request(mut self, kind: &str, id: Cow<'a, str>) -> Result<EdgeMessage<'a>, EdgeError> {
        let topic = self.topic.take().map(|text| text.0);
        if topic.as_deref().is_some_and(|topic| !(1..=TOPIC_NAME_BYTES).contains(&topic.len())) {
            return Err(EdgeError::new(Some(&id), Refusal::BadField, "`topic` must have 1 to 256 bytes"));
        }
        if kind == "signal" {
            return self.signal(id, topic);
        }
        let topic = need(topic, "topic", Some(&id))?;
        Ok(match kind {
            "join" => {
                let meta = bounded(self.meta, "meta", META_BYTES, Some(&id))?;
                EdgeMessage::Join { id, topic, meta }
            }
            "leave" => EdgeMessage::Leave { id, topic },
            "watch" => EdgeMessage::Watch { id, topic },
            "unwatch" => EdgeMessage::Unwatch { id, topic },
            "broadcast" => {
                let data = bounded(self.data, "data", SIGNAL_DATA_BYTES, Some(&id))?;
                let data = need(data, "data", Some(&id))?;
                EdgeMessage::Broadcast { id, topic, data }
            }
            _ => {
                let limit = self.limit.map_or(SAMPLE_DEFAULT, |limit| usize::try_from(limit).unwrap_or(SAMPLE_MAX));
                EdgeMessage::Discover { id, topic, limit: limit.min(SAMPLE_MAX) }
            }
        })
    }

    fn signal(self, id: Cow<'a, str>, topic: Option<Cow<'a, str>>) -> Result<EdgeMessage<'a>, EdgeError> {
        let to = need_hex(&need(self.to, "to", Some(&id))?, "to", Some(&id))?;
        let data = bounded(self.data, "data", SIGNAL_DATA_BYTES, Some(&id))?;
        let data = need(data, "data", Some(&id))?;
        Ok(EdgeMessage::Signal { id, to: PeerId::new(to), topic, data })
    }

    fn hello(self, id: Option<&str>) -> Result<Hello<'a>, EdgeError> {
        let meta = bounded(self.meta, "meta", META_BYTES, id)?;
        let identity = match (self.resume, self.peer, self.claim) {
            (Some(fields), ..) => {
                Identity::Resumed(Resume { token: need_hex(&fields.token, "resume.token", id)?, seq: fields.seq })
            }
            (None, None, None) => Identity::Minted,
            (None, peer, claim) => {
                let peer = need_hex(&need(peer, "peer", id)?, "peer", id)?;
                let fields = need(claim, "claim", id)?;
                let sealing = fields.sealing.map(|text| need_hex(&text, "claim.sealing", id)).transpose()?;
                let claim = Claim {
                    counter: fields.counter,
                    sealing,
                    signature: Signature::from_bytes(&need_hex(&fields.signature, "claim.signature", id)?),
                    proof: Signature::from_bytes(&need_hex(&fields.proof, "claim.proof", id)?),
                };
                Identity::Keyed { peer: PeerId::new(peer), claim }
            }
        };
        Ok(Hello { identity, meta })
    }
}

fn bounded<'a>(
    json: Option<Json<'a>>,
    name: &str,
    bytes_max: usize,
    id: Option<&str>,
) -> Result<Option<Json<'a>>, EdgeError> {
    let Some(json) = json else { return Ok(None) };
    let bytes = json.as_str().len();
    if bytes > bytes_max {
        let words = format!("`{name}` has {bytes} bytes, at most {bytes_max}");
        return Err(EdgeError::new(id, Refusal::TooBig, words));
    }
    if !json.depth_fits() {
        return Err(EdgeError::new(id, Refusal::BadField, format!("`{name}`: {}", super::JsonError::TooDeep)));
    }
    Ok(Some(json))
}

impl Serialize for Hello<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Fields<'a> {
            #[serde(skip_serializing_if = "Option::is_none")]
            resume: Option<ResumeOut>,
            #[serde(skip_serializing_if = "Option::is_none")]
            peer: Option<PeerId>,
            #[serde(skip_serializing_if = "Option::is_none")]
            claim: Option<ClaimOut>,
            #[serde(skip_serializing_if = "Option::is_none")]
            meta: Option<Json<'a>>,
        }
        #[derive(Serialize)]
        struct ResumeOut {
            token: Hex<32>,
            seq: u64,
        }
        #[derive(Serialize)]
        struct ClaimOut {
            counter: u64,
            #[serde(skip_serializing_if = "Option::is_none")]
            sealing: Option<Hex<32>>,
            signature: Hex<64>,
            proof: Hex<64>,
        }
        let mut fields = Fields { resume: None, peer: None, claim: None, meta: self.meta };
        match self.identity {
            Identity::Minted => {}
            Identity::Resumed(Resume { token, seq }) => fields.resume = Some(ResumeOut { token: Hex(token), seq }),
            Identity::Keyed { peer, claim } => {
                fields.peer = Some(peer);
                fields.claim = Some(ClaimOut {
                    counter: claim.counter,
                    sealing: claim.sealing.map(Hex),
                    signature: Hex(claim.signature.to_bytes()),
                    proof: Hex(claim.proof.to_bytes()),
                });
            }
        }
        fields.serialize(serializer)
    }
}
