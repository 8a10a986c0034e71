//! The digest of a roster: a 16-ary Merkle trie over the entries (PROTOCOL.md §6.3).
//!
//! The digest of a set of entries depends on the set alone, never on the order in which it came about:
//! up to [`LEAF_MAX`] entries hash as one sorted list; more split by the first nibble in which their keys differ.
//! One insertion or removal costs O(log n) hashes, taken when the digest is next asked for.

use crate::host::Range;
use crate::id::{PeerId, TopicId};

/// Entries that hash as one list.
pub const LEAF_MAX: usize = 16;

/// Place of an entry in the trie.
pub type Key = [u8; 32];
/// Hash of an entry or of a set of entries; zero for the empty set.
pub type Hash = [u8; 32];

const NIBBLES: u8 = 64;

/// The key of a membership: first by topic, then by peer, so that a topic is a range.
#[must_use]
pub fn membership_key(topic: TopicId, peer: PeerId) -> Key {
    let mut inner = blake3::Hasher::new();
    inner.update(topic.as_bytes()).update(peer.as_bytes());
    joined(blake3::hash(topic.as_bytes()).as_bytes(), inner.finalize().as_bytes())
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

/// The hash of an entry, given the encoded op that makes it.
#[must_use]
pub fn entry_hash(encoded: &[u8]) -> Hash {
    blake3::derive_key("aldis 2026 roster entry", encoded)
}

impl Range {
    /// Whether an entry with this key is in this range.
    #[must_use]
    pub fn holds(&self, key: &Key) -> bool {
        within(key, self)
    }

    /// Whether this range is a part of `outer`, and not all of it.
    #[must_use]
    pub fn is_part_of(&self, outer: &Range) -> bool {
        self.nibbles > outer.nibbles && within(&self.key, outer)
    }
}

/// A set of (key, hash) with its digest.
#[derive(Clone, Debug, Default)]
pub struct Trie {
    root: Node,
}

#[derive(Clone, Debug)]
enum Node {
    /// Sorted by key, at most [`LEAF_MAX`].
    Leaf(Vec<(Key, Hash)>),
    /// More than [`LEAF_MAX`] entries.
    Branch(Box<Branch>),
}

#[derive(Clone, Debug)]
struct Branch {
    /// All keys below agree in the nibbles before this one and differ in it.
    nibble: u8,
    /// Any key below, for its prefix.
    sample: Key,
    entries: usize,
    /// Known until something below changes.
    hash: Option<Hash>,
    children: [Node; 16],
}

impl Default for Node {
    fn default() -> Self {
        Self::Leaf(Vec::new())
    }
}

impl Trie {
    /// Puts an entry in, or another hash in its place; gives the hash that was there.
    pub fn insert(&mut self, key: Key, hash: Hash) -> Option<Hash> {
        self.root.insert(key, hash)
    }

    /// Takes an entry out; gives its hash.
    pub fn remove(&mut self, key: &Key) -> Option<Hash> {
        self.root.remove(key)
    }

    /// The hash of the entry with this key.
    #[must_use]
    pub fn find(&self, key: &Key) -> Option<Hash> {
        let mut node = &self.root;
        loop {
            match node {
                Node::Leaf(list) => return list.iter().find(|(other, _)| other == key).map(|(_, hash)| *hash),
                Node::Branch(branch) => node = branch.child(key),
            }
        }
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.root.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The digest of all entries.
    pub fn digest(&mut self) -> Hash {
        self.root.digest()
    }

    /// The digest of the entries in `range`.
    pub fn digest_of(&mut self, range: &Range) -> Hash {
        self.root.digest_of(range)
    }

    /// How many entries are in `range`.
    #[must_use]
    pub fn len_of(&self, range: &Range) -> usize {
        self.root.len_of(range)
    }

    /// The keys in `range`, in order.
    #[must_use]
    pub fn keys_of(&self, range: &Range) -> Vec<Key> {
        let mut keys = Vec::new();
        self.root.collect(range, &mut keys);
        keys
    }

    /// The non-empty ranges into which the entries of `range` split, with their digests.
    pub fn below(&mut self, range: &Range) -> Vec<(Range, Hash)> {
        self.root.below(range)
    }
}

impl Node {
    fn len(&self) -> usize {
        match self {
            Self::Leaf(list) => list.len(),
            Self::Branch(branch) => branch.entries,
        }
    }

    fn insert(&mut self, key: Key, hash: Hash) -> Option<Hash> {
        match self {
            Self::Leaf(list) => match list.binary_search_by(|(other, _)| other.cmp(&key)) {
                Ok(at) => list.get_mut(at).map(|(_, old)| std::mem::replace(old, hash)),
                Err(at) => {
                    list.insert(at, (key, hash));
                    if list.len() > LEAF_MAX {
                        *self = Self::split(std::mem::take(list));
                    }
                    None
                }
            },
            Self::Branch(branch) => {
                let agree = common_nibbles(&branch.sample, &key);
                if agree < branch.nibble {
                    let below = std::mem::take(self);
                    *self = Self::fork(agree, below, (key, hash));
                    return None;
                }
                branch.hash = None;
                let old = branch.child_mut(&key).insert(key, hash);
                branch.entries += usize::from(old.is_none());
                old
            }
        }
    }

    /// A branch over a list that has become too long for a leaf. The list is sorted and its keys are distinct.
    fn split(list: Vec<(Key, Hash)>) -> Self {
        let (Some((first, _)), Some((last, _))) = (list.first(), list.last()) else { return Self::default() };
        let (nibble, sample, entries) = (common_nibbles(first, last), *first, list.len());
        let mut children: [Self; 16] = Default::default();
        for entry in list {
            if let Some(Self::Leaf(child)) = children.get_mut(nibble_at(&entry.0, nibble)) {
                child.push(entry);
            }
        }
        Self::Branch(Box::new(Branch { nibble, sample, entries, hash: None, children }))
    }

    /// A branch above `below`, whose keys all differ from the entry's in `nibble`.
    fn fork(nibble: u8, below: Self, entry: (Key, Hash)) -> Self {
        let (sample, entries) = (entry.0, below.len() + 1);
        let mut children: [Self; 16] = Default::default();
        if let Self::Branch(old) = &below
            && let Some(slot) = children.get_mut(nibble_at(&old.sample, nibble))
        {
            *slot = below;
        }
        if let Some(slot) = children.get_mut(nibble_at(&sample, nibble)) {
            *slot = Self::Leaf(vec![entry]);
        }
        Self::Branch(Box::new(Branch { nibble, sample, entries, hash: None, children }))
    }

    fn remove(&mut self, key: &Key) -> Option<Hash> {
        match self {
            Self::Leaf(list) => {
                let at = list.binary_search_by(|(other, _)| other.cmp(key)).ok()?;
                Some(list.remove(at).1)
            }
            Self::Branch(branch) => {
                let old = branch.child_mut(key).remove(key)?;
                branch.hash = None;
                branch.entries -= 1;
                if branch.entries <= LEAF_MAX {
                    let mut list = Vec::with_capacity(LEAF_MAX);
                    self.drain_into(&mut list);
                    *self = Self::Leaf(list);
                } else {
                    self.lift_only_child();
                }
                Some(old)
            }
        }
    }

    fn drain_into(&mut self, list: &mut Vec<(Key, Hash)>) {
        match self {
            Self::Leaf(own) => list.append(own),
            Self::Branch(branch) => branch.children.iter_mut().for_each(|child| child.drain_into(list)),
        }
    }

    /// A branch whose entries have all come under one child is that child; and its sample must be a key that is there.
    fn lift_only_child(&mut self) {
        let Self::Branch(branch) = self else { return };
        let entries = branch.entries;
        if let Some(only) = branch.children.iter_mut().find(|child| child.len() == entries) {
            *self = std::mem::take(only);
        }
    }

    fn digest(&mut self) -> Hash {
        match self {
            Self::Leaf(list) => leaf_hash(list),
            Self::Branch(branch) => {
                if let Some(hash) = branch.hash {
                    return hash;
                }
                let mut hasher = blake3::Hasher::new_derive_key("aldis 2026 roster branch");
                hasher.update(&[branch.nibble]);
                for child in &mut branch.children {
                    hasher.update(&child.digest());
                }
                let hash = *hasher.finalize().as_bytes();
                branch.hash = Some(hash);
                hash
            }
        }
    }

    fn digest_of(&mut self, range: &Range) -> Hash {
        match self {
            Self::Leaf(list) => {
                leaf_hash(&list.iter().filter(|(key, _)| within(key, range)).copied().collect::<Vec<_>>())
            }
            Self::Branch(branch) => match branch.relation(range) {
                Relation::Outside => [0; 32],
                Relation::Whole => self.digest(),
                Relation::Below => branch.child_mut(&range.key).digest_of(range),
            },
        }
    }

    fn len_of(&self, range: &Range) -> usize {
        match self {
            Self::Leaf(list) => list.iter().filter(|(key, _)| within(key, range)).count(),
            Self::Branch(branch) => match branch.relation(range) {
                Relation::Outside => 0,
                Relation::Whole => branch.entries,
                Relation::Below => branch.child(&range.key).len_of(range),
            },
        }
    }

    fn collect(&self, range: &Range, keys: &mut Vec<Key>) {
        match self {
            Self::Leaf(list) => keys.extend(list.iter().map(|(key, _)| *key).filter(|key| within(key, range))),
            Self::Branch(branch) => match branch.relation(range) {
                Relation::Outside => {}
                Relation::Whole => branch.children.iter().for_each(|child| child.collect(range, keys)),
                Relation::Below => branch.child(&range.key).collect(range, keys),
            },
        }
    }

    fn below(&mut self, range: &Range) -> Vec<(Range, Hash)> {
        match self {
            Self::Leaf(list) => list
                .iter()
                .filter(|(key, _)| within(key, range))
                .map(|entry| (Range { key: entry.0, nibbles: NIBBLES }, leaf_hash(&[*entry])))
                .collect(),
            Self::Branch(branch) => match branch.relation(range) {
                Relation::Outside => Vec::new(),
                Relation::Below => branch.child_mut(&range.key).below(range),
                Relation::Whole => {
                    let (nibble, sample) = (branch.nibble, branch.sample);
                    let ranges = (0..).map(|value| child_range(&sample, nibble, value));
                    ranges
                        .zip(&mut branch.children)
                        .filter(|(_, child)| child.len() > 0)
                        .map(|(range, child)| (range, child.digest()))
                        .collect()
                }
            },
        }
    }
}

enum Relation {
    Outside,
    Whole,
    Below,
}

impl Branch {
    fn child(&self, key: &Key) -> &Node {
        let [first, ..] = &self.children;
        self.children.get(nibble_at(key, self.nibble)).unwrap_or(first)
    }

    fn child_mut(&mut self, key: &Key) -> &mut Node {
        let at = nibble_at(key, self.nibble).min(15);
        let [first, rest @ ..] = &mut self.children;
        match at.checked_sub(1) {
            None => first,
            Some(at) => rest.get_mut(at).unwrap_or(first),
        }
    }

    /// How this branch lies to `range`: all of it within, none of it, or the range lies below one child.
    fn relation(&self, range: &Range) -> Relation {
        let agree = common_nibbles(&self.sample, &range.key);
        if range.nibbles <= self.nibble {
            if agree >= range.nibbles { Relation::Whole } else { Relation::Outside }
        } else if agree >= self.nibble {
            Relation::Below
        } else {
            Relation::Outside
        }
    }
}

fn leaf_hash(list: &[(Key, Hash)]) -> Hash {
    if list.is_empty() {
        return [0; 32];
    }
    let mut hasher = blake3::Hasher::new_derive_key("aldis 2026 roster leaf");
    for (key, hash) in list {
        hasher.update(key).update(hash);
    }
    *hasher.finalize().as_bytes()
}

fn within(key: &Key, range: &Range) -> bool {
    common_nibbles(key, &range.key) >= range.nibbles
}

fn nibble_at(key: &Key, nibble: u8) -> usize {
    let byte = key.get(usize::from(nibble / 2)).copied().unwrap_or(0);
    usize::from(if nibble.is_multiple_of(2) { byte >> 4 } else { byte & 15 })
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

fn child_range(sample: &Key, nibble: u8, value: u8) -> Range {
    let mut key = [0; 32];
    for (at, (slot, byte)) in key.iter_mut().zip(sample).enumerate() {
        let even = 2 * at;
        let nibble = usize::from(nibble);
        *slot = match nibble.checked_sub(even) {
            None => 0,
            Some(0) => value << 4,
            Some(1) => (byte & 0xf0) | value,
            Some(_) => *byte,
        };
    }
    Range { key, nibbles: nibble + 1 }
}
