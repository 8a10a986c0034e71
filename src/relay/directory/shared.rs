//! Rosters that many machines of one process hold alike: in a simulation of a thousand hosts each roster has a thousand
//! copies. What an announcement makes of a roster is worked out once and taken over by the others, as far as the
//! [`Trust`](aldis_wire::proof::Trust) remembers anything; that of a program remembers nothing, and each machine's rosters
//! are its own.
//!
//! A *line* names a roster by how it came about: two with the same line hold the same entries in the same slots.

use std::sync::Arc;

use aldis_wire::announcement::{Head, Op};
use aldis_wire::digest::Hash;
use aldis_wire::id::HostId;

use super::hosts::Held;
use super::{Directory, Shown};
use crate::relay::io::Fault;
use crate::relay::roster::{Change, Roster};

/// See the module's text.
pub(super) type Line = [u8; 32];

/// The line of a roster that is empty.
const EMPTY: Line = [0; 32];

/// What an announcement has made of a roster.
#[derive(Debug)]
struct Step {
    changes: Vec<Change>,
    /// With the entries that went, which can still be read.
    applied: Arc<Roster>,
    /// Without them.
    swept: Arc<Roster>,
}

impl Step {
    fn new(changes: Vec<Change>, applied: Arc<Roster>) -> Self {
        let mut swept = applied.clone();
        if applied.is_to_be_swept() {
            Arc::make_mut(&mut swept).sweep();
        }
        Self { changes, applied, swept }
    }
}

fn next(line: &Line, head: &Head) -> Line {
    *blake3::hash(&[*line, *head.origin.as_bytes(), head.ops_hash, head.digest].concat()).as_bytes()
}

impl Directory {
    /// Applies the ops of an announcement to its origin's roster. `expected` is the digest that must come out.
    ///
    /// # Errors
    /// As [`Directory::apply`].
    pub(crate) fn advance(&mut self, head: &Head, ops: &[Op], expected: Option<Hash>) -> Result<Vec<Shown>, Fault> {
        let origin = head.origin;
        let (host, held) = self.hosts.find_mut(origin).ok_or(Fault::BadOp)?;
        let line = held.line.filter(|_| self.trust.remembers() && expected.is_some());
        let Some(name) = line.map(|line| next(&line, head)) else { return self.apply(origin, ops, expected) };
        let step = match self.recall(&name) {
            Some(step) => step,
            None => {
                let (_, held) = self.hosts.find_mut(origin).ok_or(Fault::BadOp)?;
                let changes = Arc::make_mut(&mut held.roster).apply(ops, expected)?;
                let step = Arc::new(Step::new(changes, held.roster.clone()));
                self.trust.remember(name, step.clone());
                step
            }
        };
        self.hold(origin, step.applied.clone(), Some(name));
        let shown = self.follow_all(host, step.changes.clone());
        self.hold(origin, step.swept.clone(), Some(name));
        Ok(shown)
    }

    /// Begins the roster of a new epoch by its first announcement; `shown` unless the host is not heard any more.
    ///
    /// # Errors
    /// The [`Fault`] for which the former roster stays.
    pub(crate) fn begin(
        &mut self,
        head: &Head,
        ops: &[Op],
        expected: Option<Hash>,
        shown: bool,
    ) -> Result<Vec<Shown>, Fault> {
        let name = (self.trust.remembers() && expected.is_some()).then(|| next(&EMPTY, head));
        let step = match name.and_then(|name| self.recall(&name)) {
            Some(step) => step,
            None => {
                let mut roster = Roster::new(head.origin, self.trust);
                roster.apply(ops, expected)?;
                roster.sweep();
                let step = Arc::new(Step::new(Vec::new(), Arc::new(roster)));
                if let Some(name) = name {
                    self.trust.remember(name, step.clone());
                }
                step
            }
        };
        Ok(self.put(Held { host: head.origin, roster: step.swept.clone(), shown, line: name }))
    }

    /// Puts a roster that was caught up with in the place of a host's; `shown` unless the host is not heard any more.
    pub(crate) fn replace(&mut self, origin: HostId, mut roster: Roster, shown: bool) -> Vec<Shown> {
        roster.sweep();
        if !self.trust.remembers() {
            return self.put(Held { host: origin, roster: Arc::new(roster), shown, line: None });
        }
        let name = *blake3::hash(&[*origin.as_bytes(), roster.digest()].concat()).as_bytes();
        let step = self.recall(&name).unwrap_or_else(|| {
            let step = Arc::new(Step::new(Vec::new(), Arc::new(roster)));
            self.trust.remember(name, step.clone());
            step
        });
        self.put(Held { host: origin, roster: step.swept.clone(), shown, line: Some(name) })
    }

    fn recall(&self, name: &Line) -> Option<Arc<Step>> {
        self.trust.recall(name)?.downcast().ok()
    }

    fn hold(&mut self, origin: HostId, roster: Arc<Roster>, line: Option<Line>) {
        if let Some((_, held)) = self.hosts.find_mut(origin) {
            (held.roster, held.line) = (roster, line);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::any::Any;
    use std::collections::BTreeMap;
    use std::sync::Mutex;

    use aldis_wire::announcement::{GoneReason, ops_hash};
    use aldis_wire::id::TopicId;
    use aldis_wire::network::NetworkTag;
    use aldis_wire::proof::{Proof, Signature, Trust, Verifier};
    use bytes::Bytes;

    use super::*;

    /// Remembers everything.
    #[derive(Debug, Default)]
    struct Memory(Mutex<BTreeMap<Line, Arc<dyn Any + Send + Sync>>>);

    impl Verifier for Memory {
        fn verify(&self, signature: Signature, key: &[u8; 32], context: &str, tag: NetworkTag, body: &[u8]) -> bool {
            signature.verify(key, context, tag, body)
        }

        fn remembers(&self) -> bool {
            true
        }

        fn remember(&self, name: Line, what: Arc<dyn Any + Send + Sync>) {
            self.0.lock().unwrap().insert(name, what);
        }

        fn recall(&self, name: &Line) -> Option<Arc<dyn Any + Send + Sync>> {
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
            let ops_hash = ops_hash(&aldis_wire::announcement::encode_ops(ops).unwrap());
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
}
