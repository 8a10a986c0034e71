//! What is the same for all hosts, once. A thousand hosts check one and the same signature; here it is checked once, and
//! the others are told what came out. Their checks are counted, so that a report can say what they would have cost. And
//! all keep one copy of an announcement.

use std::any::Any;
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use aldis_wire::announcement::Announced;
use aldis_wire::network::NetworkTag;
use aldis_wire::proof::{Signature, Verifier};

use crate::meter::processor_nanos;

/// Answers kept; beyond it all are forgotten. About 400 bytes each.
const KEPT_MAX: usize = 1 << 18;

/// Rosters after an announcement that are remembered for those to which it comes later: some seconds of a crowd at each host. They take
/// 0.2 KB for each edge of a host, so that few must do where few hosts have many.
const REMEMBERED_PER_HOST: usize = 16;
const REMEMBERED: std::ops::RangeInclusive<usize> = 1 << 12..=1 << 14;

/// The first look for announcements that nobody keeps any more.
const SWEEP_MIN: usize = 1 << 16;

/// A signature is as good as random: any eight of its bytes are a hash.
#[derive(Default)]
struct First(u64);

impl Hasher for First {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk() {
            self.0 ^= u64::from_le_bytes(*first);
        }
    }

    fn write_usize(&mut self, _: usize) {}

    fn write_u8(&mut self, byte: u8) {
        self.0 ^= u64::from(byte);
    }
}

/// What was asked, and what came out.
#[derive(Debug)]
struct Answer {
    key: [u8; 32],
    context: String,
    tag: NetworkTag,
    body: Box<[u8]>,
    holds: bool,
}

#[derive(Debug, Default)]
struct Kept {
    answers: HashMap<[u8; 64], Answer, BuildHasherDefault<First>>,
    /// By a name that any two announcements are unlikely to share, and whether the ops are there.
    announced: HashMap<([u8; 32], bool), Arc<Announced>, BuildHasherDefault<First>>,
    /// What one machine has worked out and others take over, and in which order it came.
    remembered: HashMap<[u8; 32], Arc<dyn Any + Send + Sync>, BuildHasherDefault<First>>,
    in_order: VecDeque<[u8; 32]>,
    remembered_max: usize,
    /// So many announcements are kept before those are looked for that nobody keeps any more.
    sweep_at: usize,
    counts: Counts,
}

/// How many checks there were, and what those cost that were carried out.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Asked for by machines.
    pub asked: u64,
    /// Carried out.
    pub done: u64,
    /// Nanoseconds of the processor for these.
    pub nanos: u64,
}

impl Counts {
    /// What came since an earlier moment.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self { asked: self.asked - before.asked, done: self.done - before.done, nanos: self.nanos - before.nanos }
    }
}

/// A verifier that remembers.
#[derive(Debug)]
pub struct Memo(LazyLock<Mutex<Kept>>);

/// The one that all machines of the process share.
pub static MEMO: Memo = Memo(LazyLock::new(Mutex::default));

impl Memo {
    /// So many hosts are to take over from each other what one of them has worked out.
    pub fn serve(&self, hosts: usize) {
        let most = (hosts * REMEMBERED_PER_HOST).clamp(*REMEMBERED.start(), *REMEMBERED.end());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remembered_max = most;
    }

    /// The counts since the process began.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).counts
    }
}

impl Verifier for Memo {
    fn keep(&self, announced: Announced) -> Arc<Announced> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.announced.len() >= kept.sweep_at {
            kept.announced.retain(|_, announced| Arc::strong_count(announced) > 1);
            kept.sweep_at = SWEEP_MIN.max(2 * kept.announced.len());
        }
        let mut name = announced.head.digest;
        let number = announced.head.seq ^ (announced.head.epoch << 32);
        name.iter_mut().zip(number.to_le_bytes()).for_each(|(byte, other)| *byte ^= other);
        let key = (name, announced.ops.is_some());
        match kept.announced.get(&key) {
            Some(copy) if **copy == announced => copy.clone(),
            _ => {
                let copy = Arc::new(announced);
                kept.announced.insert(key, copy.clone());
                copy
            }
        }
    }

    fn remembers(&self) -> bool {
        true
    }

    fn remember(&self, name: [u8; 32], what: Arc<dyn Any + Send + Sync>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.remembered.insert(name, what).is_none() {
            kept.in_order.push_back(name);
        }
        while kept.in_order.len() > kept.remembered_max {
            let oldest = kept.in_order.pop_front();
            oldest.and_then(|oldest| kept.remembered.remove(&oldest));
        }
    }

    fn recall(&self, name: &[u8; 32]) -> Option<Arc<dyn Any + Send + Sync>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remembered.get(name).cloned()
    }

    fn verify(&self, signature: Signature, key: &[u8; 32], context: &str, tag: NetworkTag, body: &[u8]) -> bool {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.counts.asked += 1;
        if let Some(known) = kept.answers.get(&signature.to_bytes())
            && (known.key, known.context.as_str(), known.tag, &*known.body) == (*key, context, tag, body)
        {
            return known.holds;
        }
        let began = processor_nanos();
        let holds = signature.verify(key, context, tag, body);
        kept.counts.done += 1;
        kept.counts.nanos += processor_nanos() - began;
        if kept.answers.len() >= KEPT_MAX {
            kept.answers.clear();
        }
        let answer = Answer { key: *key, context: context.to_owned(), tag, body: body.into(), holds };
        kept.answers.insert(signature.to_bytes(), answer);
        holds
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ed25519_dalek::SigningKey;

    #[test]
    fn a_good_signature_makes_no_other_message_good() {
        let (key, tag) = (SigningKey::from_bytes(&[7; 32]), NetworkTag::new([1; 8]));
        let public = key.verifying_key().to_bytes();
        let signature = Signature::make(&key, "context", tag, b"body");
        for _ in 0..2 {
            assert!(MEMO.verify(signature, &public, "context", tag, b"body"));
            assert!(!MEMO.verify(signature, &public, "context", tag, b"other"));
            assert!(!MEMO.verify(signature, &public, "another", tag, b"body"));
            assert!(!MEMO.verify(signature, &public, "context", NetworkTag::new([2; 8]), b"body"));
            assert!(!MEMO.verify(signature, &[9; 32], "context", tag, b"body"));
        }
    }
}
