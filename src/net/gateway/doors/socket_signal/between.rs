//! What goes between hosts: bodies of signals, and metas of memberships (wire/DOORS.md).

use aldis_wire::door;
use aldis_wire::id::TopicId;
use aldis_wire::limits::{META_BYTES, SIGNAL_DATA_BYTES};
use axum::body::Bytes;

use super::words::Key;
use crate::doors::Door;

const OFFER: u8 = 1;
const REMOTE_CONNECT: u8 = 2;
const SIGNAL: u8 = 3;
const ANSWER: u8 = 4;
const FAULT: u8 = 5;

/// Of a topic's id, what the owner of an id says of the topics in which it has it.
const TAG_BYTES: usize = 8;
/// Ids that one client may have in one swarm: a count and so many ids fit a meta.
pub(super) const IDS_MAX: usize = (META_BYTES - 1) / size_of::<Key>();

/// What a client is asked to do for another one, and answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Offer,
    RemoteConnect,
}

impl Action {
    /// What clients call it, of both name sets.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Offer => "offer",
            Self::RemoteConnect => "remoteConnect",
        }
    }
}

/// From one client's host to the other's. JSON is carried as the client wrote it, with its envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// `number` is the caller's own, for the answer.
    Call { action: Action, number: u32, json: Bytes },
    /// Nobody waits for an answer.
    Signal { json: Bytes },
    /// To whoever called.
    Answer { number: u32, fault: bool, json: Bytes },
}

impl Body {
    /// As the data of a signal; `None` when it is too big for one.
    pub(super) fn encode(&self) -> Option<Bytes> {
        let (kind, number, json) = match self {
            Self::Call { action: Action::Offer, number, json } => (OFFER, Some(number), json),
            Self::Call { action: Action::RemoteConnect, number, json } => (REMOTE_CONNECT, Some(number), json),
            Self::Signal { json } => (SIGNAL, None, json),
            Self::Answer { number, fault: false, json } => (ANSWER, Some(number), json),
            Self::Answer { number, fault: true, json } => (FAULT, Some(number), json),
        };
        let mut body = Vec::with_capacity(5 + json.len());
        body.push(kind);
        body.extend(number.map(|number| number.to_be_bytes()).into_iter().flatten());
        body.extend_from_slice(json);
        let data = door::wrap(Door::SocketSignal.name(), &body);
        (data.len() <= SIGNAL_DATA_BYTES).then_some(data)
    }

    /// Of what another host sent. The JSON has not been looked at.
    pub(super) fn decode(data: &Bytes) -> Option<Self> {
        let body = door::unwrap(Door::SocketSignal.name(), data)?;
        let (kind, rest) = body.split_first()?;
        let numbered = || rest.split_first_chunk().map(|(n, json)| (u32::from_be_bytes(*n), body.slice_ref(json)));
        let call = |action| numbered().map(|(number, json)| Self::Call { action, number, json });
        let answer = |fault| numbered().map(|(number, json)| Self::Answer { number, fault, json });
        match *kind {
            OFFER => call(Action::Offer),
            REMOTE_CONNECT => call(Action::RemoteConnect),
            SIGNAL => Some(Self::Signal { json: body.slice_ref(rest) }),
            ANSWER => answer(false),
            FAULT => answer(true),
            _ => None,
        }
    }
}

/// What the owner of an id says in the id's own topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Claim {
    /// Of those who have an id in a topic, the one with the greatest stamp is called.
    pub(super) stamp: u64,
    /// Of the topics in which it has the id.
    pub(super) tags: Vec<[u8; TAG_BYTES]>,
}

impl Claim {
    pub(super) fn encode(&self) -> Bytes {
        let mut meta = self.stamp.to_be_bytes().to_vec();
        meta.push(u8::try_from(self.tags.len()).unwrap_or(u8::MAX));
        meta.extend(self.tags.iter().flatten());
        meta.into()
    }

    pub(super) fn decode(meta: &[u8]) -> Option<Self> {
        let (stamp, rest) = meta.split_first_chunk()?;
        let (count, rest) = rest.split_first()?;
        let (tags, _later) = rest.split_at_checked(usize::from(*count) * TAG_BYTES)?;
        Some(Self { stamp: u64::from_be_bytes(*stamp), tags: tags.as_chunks().0.to_vec() })
    }
}

/// What stands for a topic in a claim.
pub(super) fn tag(topic: TopicId) -> [u8; TAG_BYTES] {
    let [a, b, c, d, e, f, g, h, ..] = *topic.as_bytes();
    [a, b, c, d, e, f, g, h]
}

/// What a member says in the topic of a swarm: the ids that it has there.
pub(super) fn encode_ids(ids: &[Key]) -> Bytes {
    let mut meta = vec![u8::try_from(ids.len()).unwrap_or(u8::MAX)];
    meta.extend(ids.iter().flatten());
    meta.into()
}

pub(super) fn decode_ids(meta: &[u8]) -> Option<Vec<Key>> {
    let (count, rest) = meta.split_first()?;
    let (ids, _later) = rest.split_at_checked(usize::from(*count) * size_of::<Key>())?;
    Some(ids.as_chunks().0.to_vec())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail by panic")]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bodies_have_these_bytes() {
        let json = Bytes::from_static(b"{}");
        let bytes = |body: Body| body.encode().unwrap();
        let head = b"\x01\x0dsocket-signal";
        for (body, rest) in [
            (Body::Call { action: Action::Offer, number: 258, json: json.clone() }, &b"\x01\x00\x00\x01\x02{}"[..]),
            (Body::Call { action: Action::RemoteConnect, number: 1, json: json.clone() }, b"\x02\x00\x00\x00\x01{}"),
            (Body::Signal { json: json.clone() }, b"\x03{}"),
            (Body::Answer { number: 1, fault: false, json: json.clone() }, b"\x04\x00\x00\x00\x01{}"),
            (Body::Answer { number: 1, fault: true, json: json.clone() }, b"\x05\x00\x00\x00\x01{}"),
        ] {
            let data = bytes(body.clone());
            assert_eq!(data, [head, rest].concat());
            assert_eq!(Body::decode(&data), Some(body));
        }
        assert_eq!(Body::decode(&door::wrap("socket-signal", b"\x06later")), None);
        assert_eq!(Body::decode(&door::wrap("matchbox", b"\x03{}")), None);
    }

    #[test]
    fn a_body_is_no_bigger_than_a_signal() {
        let room = SIGNAL_DATA_BYTES - "\x01\x0dsocket-signal\x03".len();
        let signal = |length| Body::Signal { json: vec![b' '; length].into() }.encode();
        assert_eq!(signal(room).unwrap().len(), SIGNAL_DATA_BYTES);
        assert_eq!(signal(room + 1), None);
    }

    #[test]
    fn metas_are_read_by_count_and_later_additions_are_ignored() {
        let claim = Claim { stamp: 3, tags: vec![[1; 8], [2; 8]] };
        let ids = vec![[3; 32]; IDS_MAX];
        let with_more = |meta: Bytes| [&meta[..], b"later"].concat();
        assert_eq!(Claim::decode(&with_more(claim.encode())), Some(claim.clone()));
        assert_eq!(decode_ids(&with_more(encode_ids(&ids))), Some(ids.clone()));
        assert!(encode_ids(&ids).len() <= META_BYTES);
        let cut = |meta: Bytes| meta.slice(..meta.len() - 1);
        assert_eq!((Claim::decode(&cut(claim.encode())), decode_ids(&cut(encode_ids(&ids)))), (None, None));
        assert_eq!((Claim::decode(b""), decode_ids(b"")), (None, None));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            _ = (Claim::decode(&bytes), decode_ids(&bytes));
            _ = Body::decode(&door::wrap("socket-signal", &bytes));
            _ = Body::decode(&bytes.into());
        }
    }
}
