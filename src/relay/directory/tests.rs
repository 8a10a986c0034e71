//! The directory alone: what it shows of whom, and what its machines share.

use std::any::Any;
use std::collections::BTreeSet;
use std::sync::Mutex;

use aldis_wire::announcement::{encode_ops, ops_hash};
use aldis_wire::network::NetworkTag;
use aldis_wire::proof::{Signature, Verifier};

use super::*;

#[test]
fn a_peer_that_comes_and_joins_in_one_announcement_is_shown_once() {
    let (origin, topic) = (HostId::new([1; 32]), TopicId::new([2; 32]));
    let peer = Proof::mint(origin, &[3; 16]);
    let mut directory = Directory::new(NetworkTag::new([4; 8]), || 7);
    directory.insert(origin);
    let present = Op::Present { peer, proof: Proof::Minted { nonce: [3; 16] } };
    let join = |meta: &'static [u8]| Op::Join { topic, peer, meta: Bytes::from_static(meta) };
    let mut told = |ops: &[Op]| directory.apply(origin, ops, None).unwrap().len();
    assert_eq!(told(&[present, join(b"1")]), 1);
    assert_eq!(told(&[join(b"1")]), 0, "nothing has changed");
    assert_eq!(told(&[join(b"2")]), 1, "its meta has changed");
    assert_eq!(told(&[Op::Leave { topic, peer }, join(b"3")]), 2, "it left and came again");
}

#[test]
fn a_former_home_cannot_bring_a_peer_back_that_has_been_elsewhere_since() {
    let (former, later) = (HostId::new([1; 32]), HostId::new([2; 32]));
    let tag = NetworkTag::new([4; 8]);
    let key = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
    let peer = PeerId::new(key.verifying_key().to_bytes());
    let mut directory = Directory::new(tag, || 7);
    directory.insert(former);
    directory.insert(later);
    let claim = |home, counter| Op::Present { peer, proof: Proof::claim(&key, tag, home, counter, None) };
    let gone = Op::Gone { peer, reason: GoneReason::Closed };
    directory.apply(later, &[claim(later, 6)], None).unwrap();
    directory.apply(later, std::slice::from_ref(&gone), None).unwrap();
    directory.remember_departed(Moment::default());
    directory.apply(former, &[claim(former, 5)], None).unwrap();
    assert_eq!(directory.home(peer), None, "an old claim counts for nothing");
    directory.apply(former, &[gone], None).unwrap();
    directory.apply(former, &[claim(former, 7)], None).unwrap();
    assert_eq!(directory.home(peer), Some(former), "a newer one does");
}

#[test]
fn a_look_up_draws_from_all_homes_alike_and_costs_what_it_answers() {
    const HOMES: usize = 16;
    const LIMIT: usize = 300;
    let topic = TopicId::new([9; 32]);
    let mut directory = Directory::new(NetworkTag::new([4; 8]), || 7);
    for number in 1..=HOMES {
        let host = HostId::new([u8::try_from(number).unwrap(); 32]);
        directory.insert(host);
        for member in 0..LIMIT as u128 {
            let nonce = member.to_be_bytes();
            let peer = Proof::mint(host, &nonce);
            let join = Op::Join { topic, peer, meta: Bytes::new() };
            let ops = [Op::Present { peer, proof: Proof::Minted { nonce } }, join];
            directory.apply(host, &ops, None).unwrap();
        }
    }
    let (mut draw, mut drawn) = (chance(), 0);
    let sample = directory.sample(topic, PeerId::new([0; 32]), LIMIT, |below| {
        drawn += 1;
        draw(below)
    });
    let mut by_home: BTreeMap<HostId, BTreeMap<PeerId, usize>> = BTreeMap::new();
    for member in &sample {
        *by_home.entry(directory.home(member.peer).unwrap()).or_default().entry(member.peer).or_default() += 1;
    }
    assert_eq!((sample.len(), by_home.len()), (LIMIT, HOMES));
    for members in by_home.values() {
        assert!((LIMIT / HOMES..=LIMIT / HOMES + 1).contains(&members.len()), "{}", members.len());
    }
    assert!(drawn <= (DRAWN_FOR_EACH + 1) * (LIMIT + HOMES), "{drawn} numbers for {LIMIT} members");
}

/// What one host says: each peer's counter, and its topics with metas.
type Said = BTreeMap<PeerId, (u64, BTreeMap<TopicId, u8>)>;
/// A peer's claim, better ones first.
type Claim = (std::cmp::Reverse<u64>, HostId);

/// Which claims count, by the rules of PROTOCOL.md §3.2 alone: none that is worse than one that the peer has left.
#[derive(Default)]
struct Claims {
    present: BTreeMap<PeerId, BTreeSet<Claim>>,
    left: BTreeMap<PeerId, Claim>,
}

impl Claims {
    fn enter(&mut self, peer: PeerId, counter: u64, host: HostId) {
        let claim = (std::cmp::Reverse(counter), host);
        if self.left.get(&peer).is_none_or(|left| claim <= *left) {
            self.present.entry(peer).or_default().insert(claim);
        }
    }

    fn leave(&mut self, peer: PeerId, counter: u64, host: HostId) {
        let claim = (std::cmp::Reverse(counter), host);
        if self.present.entry(peer).or_default().remove(&claim) {
            let left = self.left.entry(peer).or_insert(claim);
            *left = claim.min(*left);
            let left = *left;
            self.present.entry(peer).or_default().retain(|claim| *claim <= left);
        }
    }

    fn enter_all(&mut self, said: &Said, host: HostId) {
        said.iter().for_each(|(peer, (counter, _))| self.enter(*peer, *counter, host));
    }

    fn leave_all(&mut self, said: &Said, host: HostId) {
        said.iter().for_each(|(peer, (counter, _))| self.leave(*peer, *counter, host));
    }

    fn follow(&mut self, before: &Said, ops: &[Op], host: HostId) {
        let mut counters: BTreeMap<PeerId, u64> = before.iter().map(|(peer, said)| (*peer, said.0)).collect();
        for op in ops {
            match op {
                Op::Present { peer, proof } => {
                    if let Some(old) = counters.insert(*peer, proof.counter()) {
                        self.leave(*peer, old, host);
                    }
                    self.enter(*peer, proof.counter(), host);
                }
                Op::Gone { peer, .. } => {
                    let old = counters.remove(peer).unwrap();
                    self.leave(*peer, old, host);
                }
                _ => {}
            }
        }
    }
}

/// Who is shown where with which meta.
fn expected(
    said: &[(HostId, bool, Said)],
    claims: &Claims,
) -> (BTreeMap<PeerId, HostId>, BTreeMap<(TopicId, PeerId), u8>) {
    let homes: BTreeMap<PeerId, HostId> =
        claims.present.iter().filter_map(|(peer, claims)| Some((*peer, claims.first()?.1))).collect();
    let shown = || said.iter().filter(|(_, shown, _)| *shown);
    let members = shown().flat_map(|(host, _, roster)| roster.iter().map(move |entry| (*host, entry)));
    let at_home = members.filter(|(host, (peer, _))| homes.get(*peer) == Some(host));
    let members =
        at_home.flat_map(|(_, (peer, (_, topics)))| topics.iter().map(|(topic, meta)| ((*topic, *peer), *meta)));
    let members = members.collect();
    (homes, members)
}

/// Numbers below an argument, the same in every run.
fn chance() -> impl FnMut(usize) -> usize {
    let mut state = 1_u64;
    move |below| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % below
    }
}

/// Some changes to what a host says, and what it then says.
fn some_ops(
    host: HostId,
    tag: NetworkTag,
    keys: &[ed25519_dalek::SigningKey],
    said: &Said,
    highest: &mut BTreeMap<(HostId, PeerId), u64>,
    draw: &mut impl FnMut(usize) -> usize,
) -> (Said, Vec<Op>) {
    let (mut after, mut ops) = (said.clone(), Vec::new());
    for _ in 0..=draw(5) {
        let key = &keys[draw(keys.len())];
        let peer = PeerId::new(key.verifying_key().to_bytes());
        let (topic, meta) = (TopicId::new([u8::try_from(draw(4)).unwrap(); 32]), u8::try_from(draw(3)).unwrap());
        match (draw(6), after.get_mut(&peer)) {
            (0, Some(_)) => {
                after.remove(&peer);
                ops.push(Op::Gone { peer, reason: GoneReason::Closed });
            }
            (1, Some((_, topics))) if topics.contains_key(&topic) => {
                topics.remove(&topic);
                ops.push(Op::Leave { topic, peer })
            }
            (2.., Some((_, topics))) => {
                topics.insert(topic, meta);
                ops.push(Op::Join { topic, peer, meta: Bytes::from(vec![meta; 1]) });
            }
            _ => {
                // A home takes no counter below one that it has had.
                let highest = highest.entry((host, peer)).or_default();
                *highest += u64::try_from(draw(4)).unwrap();
                let counter = *highest + 1;
                after.entry(peer).or_default().0 = counter;
                ops.push(Op::Present { peer, proof: Proof::claim(key, tag, host, counter, None) });
            }
        }
    }
    (after, ops)
}

/// Whether the directory shows all peers at these homes, with these memberships.
fn compare(
    step: usize,
    directory: &Directory,
    homes: &BTreeMap<PeerId, HostId>,
    members: &BTreeMap<(TopicId, PeerId), u8>,
    draw: &mut impl FnMut(usize) -> usize,
) {
    assert_eq!(directory.peers_count(), homes.len(), "step {step}");
    for (peer, home) in homes {
        assert_eq!(directory.home(*peer), Some(*home), "step {step}");
    }
    for topic in (0..4).map(|number| TopicId::new([number; 32])) {
        let of_topic = members.iter().filter(|((other, _), _)| *other == topic);
        let right: BTreeMap<PeerId, u8> = of_topic.map(|((_, peer), meta)| (*peer, *meta)).collect();
        let sample = directory.sample(topic, PeerId::new([0; 32]), 100, &mut *draw);
        assert_eq!((sample.len(), directory.total(topic)), (right.len(), right.len()), "step {step}");
        let found: BTreeMap<PeerId, u8> = sample.iter().map(|member| (member.peer, member.meta[0])).collect();
        assert_eq!(found, right, "step {step}");
    }
}

/// Puts all entries of a roster into an empty one.
fn fill(copy: &mut Roster, roster: &mut Roster) {
    let all = aldis_wire::host::Range { key: [0; 32], nibbles: 0 };
    let aldis_wire::host::Part::Entries(bytes) = roster.part(&all) else { unreachable!("it is small") };
    copy.replace_range(&all, &aldis_wire::host::entries(&bytes).unwrap()).unwrap();
    copy.settle().unwrap();
}

#[test]
fn whatever_hosts_say_of_peers_that_move_the_index_and_what_is_told_agree_with_the_rules() {
    let tag = NetworkTag::new([4; 8]);
    let keys: Vec<_> = (0..5).map(|number| ed25519_dalek::SigningKey::from_bytes(&[number; 32])).collect();
    let mut said: Vec<(HostId, bool, Said)> =
        (1..4).map(|number| (HostId::new([number; 32]), true, Said::new())).collect();
    let (mut directory, mut told) = (Directory::new(tag, || 7), BTreeMap::new());
    said.iter().for_each(|(host, ..)| directory.insert(*host));
    let mut draw = chance();
    let (mut claims, mut highest) = (Claims::default(), BTreeMap::new());
    for step in 0..4_000 {
        let (host, shown, roster) = &mut said[draw(3)];
        let shows = match draw(12) {
            0 if *shown => {
                *shown = false;
                claims.leave_all(roster, *host);
                directory.hide(*host)
            }
            1 | 2 => {
                if !*shown {
                    claims.enter_all(roster, *host);
                }
                *shown = true;
                directory.show(*host)
            }
            3 => {
                // A copy that was put together elsewhere: other slots, the same entries, or none at all.
                let mut copy = Roster::new(*host, tag);
                if *shown {
                    claims.leave_all(roster, *host);
                }
                if draw(2) == 0 {
                    fill(&mut copy, directory.roster_mut(*host).unwrap());
                } else {
                    roster.clear();
                }
                *shown = true;
                claims.enter_all(roster, *host);
                directory.replace(*host, copy, true)
            }
            _ => {
                let (after, ops) = some_ops(*host, tag, &keys, roster, &mut highest, &mut draw);
                if draw(4) == 0 {
                    assert_eq!(directory.apply(*host, &ops, Some([1; 32])), Err(Fault::WrongDigest));
                    Vec::new()
                } else {
                    if *shown {
                        claims.follow(roster, &ops, *host);
                    }
                    *roster = after;
                    directory.apply(*host, &ops, None).unwrap()
                }
            }
        };
        for Shown { topic, peer, how } in shows {
            match how {
                How::Joined(meta) => _ = told.insert((topic, peer), meta[0]),
                How::Left(_) => assert!(told.remove(&(topic, peer)).is_some(), "step {step}: it left twice"),
            }
        }
        directory.remember_departed(Moment::default());
        let (homes, members) = expected(&said, &claims);
        assert_eq!(told, members, "step {step}");
        compare(step, &directory, &homes, &members, &mut draw);
    }
    said.iter().for_each(|(host, ..)| _ = directory.remove(*host));
    assert_eq!((directory.peers_count(), directory.topics_count(), directory.rosters_count()), (0, 0, 0));
}

/// Remembers everything.
#[derive(Debug, Default)]
struct Memory(Mutex<BTreeMap<[u8; 32], Arc<dyn Any + Send + Sync>>>);

impl Verifier for Memory {
    fn verify(&self, signature: Signature, key: &[u8; 32], context: &str, tag: NetworkTag, body: &[u8]) -> bool {
        signature.verify(key, context, tag, body)
    }

    fn remembers(&self) -> bool {
        true
    }

    fn remember(&self, name: [u8; 32], what: Arc<dyn Any + Send + Sync>) {
        self.0.lock().unwrap().insert(name, what);
    }

    fn recall(&self, name: &[u8; 32]) -> Option<Arc<dyn Any + Send + Sync>> {
        self.0.lock().unwrap().get(name).cloned()
    }
}

const ORIGIN: HostId = HostId::new([1; 32]);

/// What an origin announces one after the other: peers come, join, change and go.
fn announcements() -> Vec<Vec<Op>> {
    let topic = TopicId::new([2; 32]);
    let nonce = |number: u8| [number; 16];
    let peer = |number| Proof::mint(ORIGIN, &nonce(number));
    let come = |number| Op::Present { peer: peer(number), proof: Proof::Minted { nonce: nonce(number) } };
    let join = |number, meta| Op::Join { topic, peer: peer(number), meta: Bytes::from_static(meta) };
    vec![
        vec![come(1), join(1, b"one")],
        vec![come(2), join(2, b"two"), Op::Leave { topic, peer: peer(1) }],
        vec![Op::Gone { peer: peer(1), reason: GoneReason::Closed }, come(3), join(3, b"three")],
        vec![join(2, b"another")],
    ]
}

/// The heads of these announcements, as far as rosters go.
fn heads(all: &[Vec<Op>]) -> Vec<Head> {
    let mut roster = Roster::new(ORIGIN, NetworkTag::new([4; 8]));
    let mut heads = Vec::new();
    for (seq, ops) in (1..).zip(all) {
        roster.apply(ops, None).unwrap();
        roster.sweep();
        let ops_hash = ops_hash(&encode_ops(ops).unwrap());
        heads.push(Head { origin: ORIGIN, epoch: 1, seq, ops_hash, digest: roster.digest(), interval_ms: 3_000 });
    }
    heads
}

/// What is told, step by step, and the directory after it.
fn play(trust: Trust, all: &[Vec<Op>], heads: &[Head]) -> (Vec<Vec<Shown>>, Directory) {
    let mut directory = Directory::new(trust, || 7);
    let mut told = Vec::new();
    for (head, ops) in heads.iter().zip(all) {
        let expected = Some(head.digest);
        told.push(match head.seq {
            1 => directory.begin(head, ops, expected, true).unwrap(),
            _ => directory.advance(head, ops, expected).unwrap(),
        });
    }
    (told, directory)
}

#[test]
fn who_takes_over_what_another_worked_out_shows_the_same_as_who_works_it_out() {
    let all = announcements();
    let (heads, tag) = (heads(&all), NetworkTag::new([4; 8]));
    let memory: &'static Memory = Box::leak(Box::default());
    let (alone, mut own) = play(tag.into(), &all, &heads);
    let (first, one) = play(Trust::new(tag, memory), &all, &heads);
    let (second, mut other) = play(Trust::new(tag, memory), &all, &heads);
    assert_eq!((&first, &second), (&alone, &alone));
    let held = |directory: &Directory| directory.hosts.find(ORIGIN).unwrap().roster.clone();
    assert!(Arc::ptr_eq(&held(&one), &held(&other)) && !Arc::ptr_eq(&held(&one), &held(&own)));
    // What one changes, the other does not see.
    let gone = Op::Gone { peer: Proof::mint(ORIGIN, &[3; 16]), reason: GoneReason::Lost };
    let changed = other.apply(ORIGIN, std::slice::from_ref(&gone), None).unwrap();
    assert_eq!(changed, own.apply(ORIGIN, &[gone], None).unwrap());
    assert_eq!((one.peers_count(), other.peers_count()), (2, 1));
    assert_eq!(held(&one).clone().as_ref().clone().digest(), heads[3].digest);
}

#[test]
fn what_is_remembered_of_one_roster_is_not_taken_for_another() {
    let all = announcements();
    let (heads, tag) = (heads(&all), NetworkTag::new([4; 8]));
    let memory: &'static Memory = Box::leak(Box::default());
    play(Trust::new(tag, memory), &all, &heads);
    // The same announcement after another one: it was not worked out, and does not hold.
    let mut directory = Directory::new(Trust::new(tag, memory), || 7);
    directory.begin(&heads[0], &all[0], Some(heads[0].digest), true).unwrap();
    assert_eq!(directory.advance(&heads[2], &all[2], Some(heads[2].digest)), Err(Fault::WrongDigest));
    assert_eq!(directory.peers_count(), 1, "nothing was applied");
    assert!(directory.advance(&heads[1], &all[1], Some(heads[1].digest)).is_ok());
    // A copy that was put together elsewhere has its entries in other slots.
    let mut copy = Roster::new(ORIGIN, tag);
    copy.apply(&[all[1][0].clone(), all[1][1].clone(), all[0][0].clone()], Some(heads[1].digest)).unwrap();
    directory.replace(ORIGIN, copy, true);
    directory.advance(&heads[2], &all[2], Some(heads[2].digest)).unwrap();
    assert_eq!((directory.peers_count(), directory.total(TopicId::new([2; 32]))), (2, 2));
}
