//! What goes between hosts: offers and answers, and the ids in a membership's meta (wire/DOORS.md).

use std::collections::BTreeSet;

use aldis_wire::door;
use aldis_wire::edge::Json;
use axum::body::Bytes;

use super::codec::Id;
use crate::doors::Door;

/// The name in topics and between hosts.
pub(super) const NAME: &str = Door::WebTorrent.name();
/// Peer ids that one connection may have in one torrent. One is usual; programs that open the same torrent several
/// times, tests above all, share a connection.
pub(super) const IDS_MAX: usize = 8;

const OFFER: u8 = 1;
const ANSWER: u8 = 2;

/// Which way a parcel goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Offer,
    Answer,
}

/// An offer, or the answer to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Parcel<'a> {
    pub(super) kind: Kind,
    pub(super) info_hash: Id,
    pub(super) from: Id,
    pub(super) to: Id,
    /// JSON; empty for none.
    pub(super) offer_id: &'a str,
    /// JSON; empty for none.
    pub(super) payload: &'a str,
}

impl Parcel<'_> {
    /// As the data of a signal.
    pub(super) fn wrap(&self) -> Bytes {
        let mut body = Vec::with_capacity(66 + self.offer_id.len() + self.payload.len());
        body.push(match self.kind {
            Kind::Offer => OFFER,
            Kind::Answer => ANSWER,
        });
        for id in [self.info_hash, self.from, self.to] {
            body.extend_from_slice(&id.0);
        }
        // Neither is longer: the codec has seen to it.
        body.push(u8::try_from(self.offer_id.len()).unwrap_or(u8::MAX));
        body.extend_from_slice(self.offer_id.as_bytes());
        body.extend_from_slice(&u32::try_from(self.payload.len()).unwrap_or(u32::MAX).to_be_bytes());
        body.extend_from_slice(self.payload.as_bytes());
        door::wrap(NAME, &body)
    }
}

/// The parcel in what [`door::unwrap`] gave; nothing if it is none. What is carried is JSON of bounded depth.
pub(super) fn read(body: &[u8]) -> Option<Parcel<'_>> {
    let (kind, rest) = body.split_first()?;
    let kind = match *kind {
        OFFER => Kind::Offer,
        ANSWER => Kind::Answer,
        _ => return None,
    };
    let (info_hash, rest) = rest.split_first_chunk()?;
    let (from, rest) = rest.split_first_chunk()?;
    let (to, rest) = rest.split_first_chunk()?;
    let (length, rest) = rest.split_first()?;
    let (offer_id, rest) = rest.split_at_checked(usize::from(*length))?;
    let (length, rest) = rest.split_first_chunk()?;
    let (payload, _) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    let (offer_id, payload) = (json(offer_id)?, json(payload)?);
    Some(Parcel { kind, info_hash: Id(*info_hash), from: Id(*from), to: Id(*to), offer_id, payload })
}

/// Bytes that are one JSON value, or empty.
fn json(bytes: &[u8]) -> Option<&str> {
    if bytes.is_empty() { Some("") } else { Json::read(bytes).ok().map(|json| json.as_str()) }
}

/// The meta of a membership.
pub(super) fn meta(ids: &BTreeSet<Id>) -> Bytes {
    let mut meta = vec![u8::try_from(ids.len()).unwrap_or(u8::MAX)];
    meta.extend(ids.iter().flat_map(|id| id.0));
    meta.into()
}

/// The ids in a meta; those that are not there in full do not count.
pub(super) fn ids(meta: &[u8]) -> impl Iterator<Item = Id> {
    let (count, ids) = meta.split_first().map_or((0, meta), |(count, ids)| (usize::from(*count), ids));
    ids.as_chunks().0.iter().take(count.min(IDS_MAX)).map(|id| Id(*id))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail by panic")]
    use super::*;
    use proptest::prelude::*;

    fn parcel<'a>() -> Parcel<'a> {
        let (info_hash, from, to) = (Id([1; 20]), Id([2; 20]), Id([3; 20]));
        Parcel { kind: Kind::Answer, info_hash, from, to, offer_id: r#""o""#, payload: r#"{"sdp":"x"}"# }
    }

    #[test]
    fn a_parcel_has_these_bytes() {
        let wrapped = parcel().wrap();
        let mut expected = b"\x01\x0awebtorrent\x02".to_vec();
        expected.extend([[1; 20], [2; 20], [3; 20]].concat());
        expected.extend(b"\x03\"o\"\0\0\0\x0b{\"sdp\":\"x\"}");
        assert_eq!(wrapped, expected);
        let body = door::unwrap(NAME, &wrapped).unwrap();
        assert_eq!(read(&body), Some(parcel()));
        let mut later = body.to_vec();
        later.extend(b"what a later version adds");
        assert_eq!(read(&later), Some(parcel()));
    }

    #[test]
    fn a_parcel_that_ends_early_or_carries_no_json_is_none() {
        let body = door::unwrap(NAME, &parcel().wrap()).unwrap();
        for length in 0..body.len() {
            assert_eq!(read(&body[..length]), None, "{length} bytes");
        }
        let deep = "[".repeat(100) + &"]".repeat(100);
        for payload in ["{} {}", "{", r#""},"interval":1,"x":{""#, &deep] {
            let body = door::unwrap(NAME, &Parcel { payload, ..parcel() }.wrap()).unwrap();
            assert_eq!(read(&body), None, "{payload}");
        }
        let nothing = Parcel { offer_id: "", payload: "", ..parcel() };
        assert_eq!(read(&door::unwrap(NAME, &nothing.wrap()).unwrap()), Some(nothing));
    }

    #[test]
    fn ids_stand_in_the_meta() {
        let three: BTreeSet<Id> = [Id([9; 20]), Id([7; 20]), Id([8; 20])].into();
        let meta = meta(&three);
        assert_eq!(meta.len(), 61);
        assert!(ids(&meta).eq(three));
        assert_eq!(ids(&meta[..60]).count(), 2, "the third is cut off");
        assert_eq!(ids(&[[200; 1].as_slice(), &[0; 400]].concat()).count(), IDS_MAX, "nobody has so many");
        assert_eq!(ids(&[]).count(), 0);
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_parcel_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            _ = read(&bytes);
            _ = ids(&bytes).count();
        }
    }
}
