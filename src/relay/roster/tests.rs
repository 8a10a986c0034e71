use aldis_wire::network::NetworkTag;

use super::*;

const TAG: NetworkTag = NetworkTag::new([3; 8]);

fn host() -> HostId {
    HostId::new([1; 32])
}

fn present(number: usize) -> (PeerId, Op) {
    let mut nonce = [0; 16];
    nonce[..8].copy_from_slice(&(number as u64).to_be_bytes());
    let peer = Proof::mint(host(), &nonce);
    (peer, Op::Present { peer, proof: Proof::Minted { nonce } })
}

fn join(number: usize, peer: PeerId, bytes: usize) -> Op {
    let mut topic = [0; 32];
    topic[..8].copy_from_slice(&(number as u64).to_be_bytes());
    Op::Join { topic: TopicId::new(topic), peer, meta: vec![7; bytes].into() }
}

fn topics_of(roster: &Roster, peer: PeerId) -> Vec<TopicId> {
    let slot = roster.find(peer).unwrap();
    roster.memberships_at(slot).map(|(_, topic, _)| topic).collect()
}

#[test]
fn what_cannot_be_applied_changes_nothing_at_all() {
    let mut roster = Roster::new(host(), TAG);
    let (peer, comes) = present(1);
    let (other, other_comes) = present(2);
    roster.apply(&[comes.clone(), join(1, peer, 5)], None).unwrap();
    let digest = roster.digest();
    let gone = Op::Gone { peer, reason: GoneReason::Closed };
    let stranger = Op::Gone { peer: other, reason: GoneReason::Closed };
    let forged = Op::Present { peer: other, proof: Proof::Minted { nonce: [9; 16] } };
    let before = [other_comes, join(1, peer, 9), join(2, peer, 9), join(3, other, 1), gone, comes, join(7, peer, 1)];
    for (bad, fault) in [(stranger.clone(), Fault::BadOp), (forged, Fault::BadProof)] {
        let ops: Vec<Op> = if bad == stranger { before[1..3].to_vec() } else { before.to_vec() };
        let ops: Vec<Op> = ops.into_iter().chain([bad]).collect();
        assert_eq!(roster.apply(&ops, None), Err(fault));
        assert_eq!((roster.digest(), roster.peers(), roster.memberships()), (digest, 1, 1));
        assert_eq!(topics_of(&roster, peer).len(), 1);
    }
    assert_eq!(roster.apply(&before, Some([0; 32])), Err(Fault::WrongDigest));
    assert_eq!((roster.digest(), topics_of(&roster, peer).len()), (digest, 1));
}

#[test]
fn a_peer_is_in_so_many_topics_and_no_more() {
    let mut roster = Roster::new(host(), TAG);
    let (peer, comes) = present(1);
    roster.apply(&[comes], None).unwrap();
    for topic in 0..PEER_TOPICS_MAX {
        roster.apply(&[join(topic, peer, 1)], None).unwrap();
    }
    assert_eq!(roster.apply(&[join(PEER_TOPICS_MAX, peer, 1)], None), Err(Fault::OverQuota));
    roster.apply(&[join(0, peer, 2)], None).unwrap();
}

#[test]
fn a_roster_has_so_many_peers_memberships_and_bytes_of_metas_and_no_more() {
    let mut roster = Roster::new(host(), TAG);
    let mut first = None;
    for number in 0..ROSTER_PEERS_MAX {
        let (peer, comes) = present(number);
        first = first.or(Some(peer));
        roster.apply(&[comes], None).unwrap();
        let metas = ROSTER_META_BYTES / ROSTER_MEMBERSHIPS_MAX;
        for topic in 0..ROSTER_MEMBERSHIPS_MAX / ROSTER_PEERS_MAX {
            roster.apply(&[join(topic, peer, metas)], None).unwrap();
        }
    }
    let first = first.unwrap();
    assert_eq!((roster.peers(), roster.memberships()), (ROSTER_PEERS_MAX, ROSTER_MEMBERSHIPS_MAX));
    assert_eq!(roster.apply(&[present(ROSTER_PEERS_MAX).1], None), Err(Fault::OverQuota));
    assert_eq!(roster.apply(&[join(9, first, 0)], None), Err(Fault::OverQuota), "too many memberships");
    let larger = ROSTER_META_BYTES / ROSTER_MEMBERSHIPS_MAX + 1;
    assert_eq!(roster.apply(&[join(0, first, larger)], None), Err(Fault::OverQuota), "too many bytes");
}

#[test]
fn a_replica_put_together_from_parts_is_the_roster_or_is_refused() {
    let mut roster = Roster::new(host(), TAG);
    for number in 0..40 {
        let (peer, comes) = present(number);
        roster.apply(&[comes, join(number % 3, peer, 4)], None).unwrap();
    }
    let all = Range { key: [0; 32], nibbles: 0 };
    let Part::Entries(bytes) = roster.part(&all) else { unreachable!("it is small") };
    let ops = aldis_wire::host::entries(&bytes).unwrap();
    let mut replica = Roster::new(host(), TAG);
    replica.replace_range(&all, &ops).unwrap();
    replica.settle().unwrap();
    assert_eq!(replica.digest(), roster.digest());
    let (peer, _) = present(3);
    assert_eq!(topics_of(&replica, peer), topics_of(&roster, peer));
    let orphan = [join(1, present(99).0, 1)];
    let mut bad = Roster::new(host(), TAG);
    bad.replace_range(&all, &orphan).unwrap();
    assert_eq!(bad.settle(), Err(Fault::BadOp), "a member that is not present");
    let foreign = Op::Present { peer, proof: Proof::Minted { nonce: [9; 16] } };
    assert_eq!(bad.replace_range(&all, &[foreign]), Err(Fault::BadProof));
}

#[test]
fn parts_may_come_in_any_order_and_a_claim_that_is_new_is_checked() {
    let key = ed25519_dalek::SigningKey::from_bytes(&[9; 32]);
    let peer = PeerId::new(key.verifying_key().to_bytes());
    let claim = |counter| Op::Present { peer, proof: Proof::claim(&key, TAG, host(), counter, None) };
    let mut roster = Roster::new(host(), TAG);
    roster.apply(&[claim(5), join(1, peer, 3), join(2, peer, 3)], None).unwrap();
    let (digest, slots) = (roster.digest(), roster.slots());
    // Presences come first by key, memberships after them: each half is replaced by itself, the later one first.
    let presences = Range { key: [0; 32], nibbles: 32 };
    let topic = |number: u64| {
        let Op::Join { topic, .. } = join(usize::try_from(number).unwrap(), peer, 0) else { unreachable!() };
        Range { key: digest::membership_key(topic, peer), nibbles: 64 }
    };
    let mut copy = Roster::new(host(), TAG);
    copy.replace_range(&topic(1), &[join(1, peer, 3)]).unwrap();
    assert_eq!(copy.settle(), Err(Fault::BadOp), "its peer is not there yet");
    copy.replace_range(&presences, &[claim(5)]).unwrap();
    copy.replace_range(&topic(2), &[join(2, peer, 3)]).unwrap();
    assert_eq!((copy.settle(), copy.digest(), copy.slots()), (Ok(()), digest, slots));
    copy.replace_range(&presences, &[claim(5)]).unwrap();
    assert_eq!((copy.settle(), copy.digest()), (Ok(()), digest), "the same again");
    let Op::Present { proof: Proof::Keyed { signature, .. }, .. } = claim(5) else { unreachable!() };
    let forged = Op::Present { peer, proof: Proof::Keyed { counter: 6, sealing: None, signature } };
    assert_eq!(copy.clone().replace_range(&presences, &[forged]), Err(Fault::BadProof));
    copy.replace_range(&presences, &[]).unwrap();
    assert_eq!((copy.peers(), copy.memberships(), copy.settle()), (0, 2, Err(Fault::BadOp)));
    copy.bring_forward(&[Op::Gone { peer, reason: GoneReason::Closed }]).unwrap();
    assert_eq!((copy.settle(), copy.digest(), copy.slots()), (Ok(()), [0; 32], 0), "nothing stays behind");
}
