//! Who says that an id is theirs, and who of several is believed: the meta of a membership of the id's topic (DOORS.md).

use aldis_wire::id::{HostId, PeerId};
use axum::body::Bytes;

use crate::relay::io::Member;

/// The first byte.
const VERSION: u8 = 1;
/// Version, generation, home, proof. What follows is of later versions.
const CLAIM_BYTES: usize = 1 + 4 + 32 + 32;

/// Says that an id belongs to whoever knows its token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    /// Higher than all that the home had seen of the same proof.
    pub(super) generation: u32,
    /// The home.
    pub(super) home: HostId,
    /// The same for the same id and token, and tells nobody the token.
    pub(super) proof: [u8; 32],
}

impl Claim {
    pub(super) fn encode(&self) -> Bytes {
        let mut bytes = Vec::with_capacity(CLAIM_BYTES);
        bytes.push(VERSION);
        bytes.extend_from_slice(&self.generation.to_be_bytes());
        bytes.extend_from_slice(self.home.as_bytes());
        bytes.extend_from_slice(&self.proof);
        bytes.into()
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (version, rest) = bytes.split_first()?;
        let (generation, rest) = rest.split_first_chunk()?;
        let (home, rest) = rest.split_first_chunk()?;
        let (proof, _) = rest.split_first_chunk()?;
        let claim = Self { generation: u32::from_be_bytes(*generation), home: HostId::new(*home), proof: *proof };
        (*version == VERSION).then_some(claim)
    }

    /// By which strangers who claim one id are compared: the lower one stays.
    fn rank(&self, id: &str) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        hasher.update(id.as_bytes());
        hasher.update(self.home.as_bytes());
        *hasher.finalize().as_bytes()
    }
}

/// The claims among these members.
pub(super) fn claims(members: &[Member]) -> Vec<(PeerId, Claim)> {
    members.iter().filter_map(|member| Some((member.peer, Claim::decode(&member.meta)?))).collect()
}

/// Whose the id is: of those with one proof only the newest counts, and among those that remain the lowest. Every home
/// decides alike from what it sees.
pub(super) fn owner(id: &str, claims: &[(PeerId, Claim)]) -> Option<(PeerId, Claim)> {
    let newest = |(peer, claim): &(PeerId, Claim)| {
        let age = |peer: &PeerId, claim: &Claim| (u32::MAX - claim.generation, claim.rank(id), *peer);
        let own = age(peer, claim);
        !claims.iter().any(|(other, rival)| rival.proof == claim.proof && age(other, rival) < own)
    };
    claims.iter().filter(|claim| newest(claim)).min_by_key(|(peer, claim)| (claim.rank(id), *peer)).copied()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail by panic")]
    use super::*;

    fn claim(generation: u32, home: u8, proof: u8) -> Claim {
        Claim { generation, home: HostId::new([home; 32]), proof: [proof; 32] }
    }

    fn by(peer: u8, claim: Claim) -> (PeerId, Claim) {
        (PeerId::new([peer; 32]), claim)
    }

    #[test]
    fn a_claim_is_read_as_it_was_written_and_nothing_else_is_a_claim() {
        let claim = claim(7, 1, 2);
        let bytes = claim.encode();
        assert_eq!(Claim::decode(&bytes), Some(claim));
        assert_eq!(Claim::decode(&[&bytes[..], b"of a later version"].concat()), Some(claim));
        for short in 0..bytes.len() {
            assert_eq!(Claim::decode(&bytes[..short]), None, "{short} bytes");
        }
        let mut other = bytes.to_vec();
        other[0] = 2;
        assert_eq!(Claim::decode(&other), None);
    }

    #[test]
    fn between_strangers_the_lower_hash_of_id_and_home_stays_whoever_looks() {
        let hash = |id: &str, home: u8| *blake3::hash(&[id.as_bytes(), &[home; 32]].concat()).as_bytes();
        let mut winners = std::collections::BTreeSet::new();
        for n in 0..16 {
            let id = format!("id-{n}");
            let (one, two) = (by(1, claim(0, 1, 1)), by(2, claim(9, 2, 2)));
            let lower = if hash(&id, 1) < hash(&id, 2) { one } else { two };
            assert_eq!(owner(&id, &[one, two]), Some(lower));
            assert_eq!(owner(&id, &[two, one]), Some(lower));
            winners.insert(lower.0);
        }
        assert_eq!(winners.len(), 2, "neither home wins all ids");
    }

    #[test]
    fn who_has_the_token_takes_over_from_themselves_and_from_nobody_else() {
        // The home that loses against the stranger's.
        let rank = |home: u8| claim(0, home, 0).rank("id");
        let mut homes = [1, 2, 3];
        homes.sort_by_key(|home| rank(*home));
        let [low, middle, high] = homes;
        let (old, new, stranger) = (by(1, claim(0, low, 1)), by(2, claim(1, high, 1)), by(3, claim(5, middle, 2)));
        assert_eq!(owner("id", &[old, new]), Some(new), "the newer session of one client");
        assert_eq!(owner("id", &[old, stranger]), Some(old));
        assert_eq!(owner("id", &[old, new, stranger]), Some(stranger), "what is replaced protects nobody");
        let twin = by(4, claim(1, low, 1));
        assert_eq!(owner("id", &[new, twin]), Some(twin), "as new as each other: the lower one");
        assert_eq!(owner("id", &[]), None);
    }
}
