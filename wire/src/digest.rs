//! The digest of a roster: a 16-ary Merkle trie over the entries (PROTOCOL.md §6.3).
//!
//! The digest of a set of entries depends on the set alone, never on the order in which it came about:
//! up to [`LEAF_MAX`] entries hash as one sorted list; more split by the first nibble in which their keys differ.
//! One insertion or removal costs O(log n) hashes, taken when the digest is next asked for.
//!
//! | here | what |
//! |---|---|
//! | [`membership_key`], [`entry_hash`] … | keys and hashes of entries |
//! | [`Tree`] | the trie over entries that somebody else keeps: 20 bytes for each |
//! | [`Trie`] | the same with keys and hashes of its own |

mod nodes;
mod tree;

use std::sync::LazyLock;

use blake3::hazmat::{ContextKey, HasherExt, hash_derive_key_context};

use crate::host::Range;
use crate::id::{PeerId, TopicId};

pub use tree::{Entries, Tree};

/// Entries that hash as one list.
pub const LEAF_MAX: usize = 16;

/// Place of an entry in the trie.
pub type Key = [u8; 32];
/// Hash of an entry or of a set of entries; zero for the empty set.
pub type Hash = [u8; 32];

/// The key of a membership: first by topic, then by peer, so that a topic is a range.
#[must_use]
pub fn membership_key(topic: TopicId, peer: PeerId) -> Key {
    let mut both = [0; 64];
    for (slot, byte) in both.iter_mut().zip(topic.as_bytes().iter().chain(peer.as_bytes())) {
        *slot = *byte;
    }
    joined(blake3::hash(topic.as_bytes()).as_bytes(), blake3::hash(&both).as_bytes())
}

/// The key of a presence record.
#[must_use]
pub fn presence_key(peer: PeerId) -> Key {
    joined(&[0; 32], blake3::hash(peer.as_bytes()).as_bytes())
}

/// The key of the host record.
pub const RECORD_KEY: Key = [0; 32];

fn joined(outer: &[u8; 32], inner: &[u8; 32]) -> Key {
    let mut key = [0; 32];
    for (slot, byte) in key.iter_mut().zip(outer.iter().take(16).chain(inner.iter().take(16))) {
        *slot = *byte;
    }
    key
}

/// What a context becomes inside `derive_key`; taken once, since it costs as much as hashing an entry.
fn context(name: &str) -> ContextKey {
    hash_derive_key_context(name)
}

static ENTRY: LazyLock<ContextKey> = LazyLock::new(|| context("aldis 2026 roster entry"));
static LEAF: LazyLock<ContextKey> = LazyLock::new(|| context("aldis 2026 roster leaf"));
static BRANCH: LazyLock<ContextKey> = LazyLock::new(|| context("aldis 2026 roster branch"));

fn derived(context: &ContextKey, input: &[u8]) -> Hash {
    *blake3::Hasher::new_from_context_key(context).update(input).finalize().as_bytes()
}

/// The hash of an entry, given the encoded op that makes it.
#[must_use]
pub fn entry_hash(encoded: &[u8]) -> Hash {
    derived(&ENTRY, encoded)
}

/// The hash of at most [`LEAF_MAX`] entries, sorted by key.
fn leaf_hash(list: &[(Key, Hash)]) -> Hash {
    if list.is_empty() {
        return [0; 32];
    }
    let mut bytes = Vec::with_capacity(64 * list.len());
    for (key, hash) in list {
        bytes.extend_from_slice(key);
        bytes.extend_from_slice(hash);
    }
    derived(&LEAF, &bytes)
}

/// The hash of more entries, which differ first in this nibble.
fn branch_hash(nibble: u8, children: impl Iterator<Item = Hash>) -> Hash {
    let mut bytes = Vec::with_capacity(1 + 16 * 32);
    bytes.push(nibble);
    for hash in children {
        bytes.extend_from_slice(&hash);
    }
    derived(&BRANCH, &bytes)
}

impl Range {
    /// Whether an entry with this key is in this range.
    #[must_use]
    pub fn holds(&self, key: &Key) -> bool {
        common_nibbles(key, &self.key) >= self.nibbles
    }

    /// Whether this range is a part of `outer`, and not all of it.
    #[must_use]
    pub fn is_part_of(&self, outer: &Range) -> bool {
        self.nibbles > outer.nibbles && outer.holds(&self.key)
    }
}

/// How many leading nibbles two keys share, 0 to 64.
fn common_nibbles(a: &Key, b: &Key) -> u8 {
    let mut shared = 0;
    for (a, b) in a.iter().zip(b) {
        match a ^ b {
            0 => shared += 2,
            difference => return shared + u8::from(difference < 16),
        }
    }
    shared
}

/// A set of (key, hash) with its digest. For rosters, which keep entries of their own, there is [`Tree`].
#[derive(Clone, Debug, Default)]
pub struct Trie {
    tree: Tree,
    list: List,
}

#[derive(Clone, Debug, Default)]
struct List {
    entries: Vec<(Key, Hash)>,
    free: Vec<u32>,
}

impl Entries for List {
    fn key(&self, slot: u32) -> Key {
        self.find(slot).0
    }

    fn hash(&self, slot: u32) -> Hash {
        self.find(slot).1
    }
}

impl List {
    fn find(&self, slot: u32) -> (Key, Hash) {
        usize::try_from(slot).ok().and_then(|at| self.entries.get(at)).copied().unwrap_or_default()
    }

    fn find_mut(&mut self, slot: u32) -> Option<&mut (Key, Hash)> {
        usize::try_from(slot).ok().and_then(|at| self.entries.get_mut(at))
    }
}

impl Trie {
    /// Puts an entry in, or another hash in its place; gives the hash that was there.
    pub fn insert(&mut self, key: Key, hash: Hash) -> Option<Hash> {
        if let Some(slot) = self.slot(&key) {
            self.tree.touch(&key);
            return self.list.find_mut(slot).map(|(_, old)| std::mem::replace(old, hash));
        }
        let slot = match self.list.free.pop() {
            Some(slot) => slot,
            None => {
                self.list.entries.push(Default::default());
                u32::try_from(self.list.entries.len() - 1).unwrap_or(u32::MAX)
            }
        };
        if let Some(entry) = self.list.find_mut(slot) {
            *entry = (key, hash);
        }
        self.tree.insert(&self.list, slot);
        None
    }

    /// Takes an entry out; gives its hash.
    pub fn remove(&mut self, key: &Key) -> Option<Hash> {
        let slot = self.slot(key)?;
        self.tree.remove(key, slot);
        self.list.free.push(slot);
        Some(self.list.hash(slot))
    }

    /// The hash of the entry with this key.
    #[must_use]
    pub fn find(&self, key: &Key) -> Option<Hash> {
        self.slot(key).map(|slot| self.list.hash(slot))
    }

    fn slot(&self, key: &Key) -> Option<u32> {
        self.tree.find(key, |slot| self.list.key(slot) == *key)
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tree.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The digest of all entries.
    pub fn digest(&mut self) -> Hash {
        self.tree.digest(&self.list)
    }

    /// The digest of the entries in `range`.
    pub fn digest_of(&mut self, range: &Range) -> Hash {
        self.tree.digest_of(&self.list, range)
    }

    /// How many entries are in `range`.
    #[must_use]
    pub fn len_of(&self, range: &Range) -> usize {
        self.tree.len_of(&self.list, range)
    }

    /// The keys in `range`, in order.
    #[must_use]
    pub fn keys_of(&self, range: &Range) -> Vec<Key> {
        self.tree.slots_of(&self.list, range).into_iter().map(|(key, _)| key).collect()
    }

    /// The non-empty ranges into which the entries of `range` split, with their digests.
    pub fn below(&mut self, range: &Range) -> Vec<(Range, Hash)> {
        self.tree.below(&self.list, range)
    }
}
