//! What a door says of its clients to doors of other hosts: the meta of memberships (wire/DOORS.md).

use std::sync::Arc;

use aldis_wire::limits::META_BYTES;
use axum::body::Bytes;
use prost::Message as _;

use super::rpc;

/// A peer's or a swarm's key.
pub(super) type Key = Arc<[u8]>;

/// Peers that one socket lists in one swarm; as many 32-byte keys with their moments fit into a meta.
pub(super) const PEERS_PER_SWARM_MAX: usize = 16;

/// A peer in a swarm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Presence {
    pub(super) peer: Key,
    /// When it came, in Unix milliseconds of its host.
    pub(super) since_ms: u64,
}

/// The meta of a membership of a swarm.
#[derive(Clone, PartialEq, prost::Message)]
struct SwarmMeta {
    #[prost(message, repeated, tag = "1")]
    peers: Vec<Listed>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Listed {
    #[prost(bytes = "vec", tag = "1")]
    peer: Vec<u8>,
    #[prost(uint64, tag = "2")]
    since_ms: u64,
}

/// The meta of the membership of a peer's own topic.
#[derive(Clone, PartialEq, prost::Message)]
struct MailboxMeta {
    #[prost(uint64, tag = "1")]
    stamp: u64,
}

/// As it is written; `None` when these are too many.
pub(super) fn swarm_meta(peers: &[Presence]) -> Option<Bytes> {
    let peers: Vec<Listed> = peers.iter().map(|it| Listed { peer: it.peer.to_vec(), since_ms: it.since_ms }).collect();
    let fits = peers.len() <= PEERS_PER_SWARM_MAX;
    let meta = SwarmMeta { peers }.encode_to_vec();
    (fits && meta.len() <= META_BYTES).then(|| meta.into())
}

/// As it is read; another host may have written anything. Nobody came after `now_ms`.
pub(super) fn read_swarm_meta(meta: &Bytes, now_ms: u64) -> Vec<Presence> {
    let Ok(read) = SwarmMeta::decode(meta.clone()) else { return Vec::new() };
    let listed = read.peers.into_iter().take(PEERS_PER_SWARM_MAX).filter(|it| rpc::is_key(&it.peer));
    listed.map(|it| Presence { peer: it.peer.into(), since_ms: it.since_ms.min(now_ms) }).collect()
}

/// As it is written.
pub(super) fn mailbox_meta(stamp: u64) -> Bytes {
    MailboxMeta { stamp }.encode_to_vec().into()
}

/// How new this mailbox is; `None` for what is no mailbox.
pub(super) fn read_mailbox_meta(meta: &Bytes) -> Option<u64> {
    MailboxMeta::decode(meta.clone()).ok().map(|read| read.stamp)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail by panic")]
    use super::*;
    use proptest::prelude::*;

    fn presence(n: u8, length: usize) -> Presence {
        Presence { peer: vec![n; length].into(), since_ms: 1_700_000_000_000 + u64::from(n) }
    }

    #[test]
    fn sixteen_peers_of_usual_keys_fit_and_no_more() {
        let peers: Vec<Presence> = (0..16).map(|n| presence(n, 32)).collect();
        let meta = swarm_meta(&peers).unwrap();
        assert_eq!(read_swarm_meta(&meta, u64::MAX), peers);
        assert_eq!(swarm_meta(&(0..17).map(|n| presence(n, 1)).collect::<Vec<_>>()), None);
        assert_eq!(swarm_meta(&(0..8).map(|n| presence(n, 128)).collect::<Vec<_>>()), None, "too many bytes");
    }

    #[test]
    fn the_bytes_are_those_of_the_text() {
        let meta = swarm_meta(&[Presence { peer: vec![0xaa, 0xbb].into(), since_ms: 300 }]).unwrap();
        assert_eq!(&meta[..], b"\x0a\x07\x0a\x02\xaa\xbb\x10\xac\x02");
        assert_eq!(&mailbox_meta(300)[..], b"\x08\xac\x02");
    }

    #[test]
    fn a_meta_of_another_host_is_bounded_and_believed_as_far_as_it_makes_sense() {
        let listed = |peer: Vec<u8>| Listed { peer, since_ms: u64::MAX };
        let keys = [vec![], vec![1; 129], vec![2; 128], vec![3]];
        let meta = SwarmMeta { peers: keys.into_iter().map(listed).collect() }.encode_to_vec();
        let read = read_swarm_meta(&meta.into(), 77);
        assert_eq!(read.iter().map(|it| (it.peer.len(), it.since_ms)).collect::<Vec<_>>(), [(128, 77), (1, 77)]);
        let many = SwarmMeta { peers: vec![listed(vec![1]); 60] }.encode_to_vec();
        assert_eq!(read_swarm_meta(&many.into(), 0).len(), PEERS_PER_SWARM_MAX);
    }

    proptest! {
        #[test]
        fn any_meta_is_read_somehow(bytes: Vec<u8>) {
            let bytes = Bytes::from(bytes);
            prop_assert!(read_swarm_meta(&bytes, 0).len() <= PEERS_PER_SWARM_MAX);
            _ = read_mailbox_meta(&bytes);
        }
    }
}
