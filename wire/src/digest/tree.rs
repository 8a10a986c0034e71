//! The trie itself. It keeps neither keys nor hashes of single entries, only the numbers (*slots*) under which their
//! owner finds them: in a network of many edges these would be most of a host's memory, and to make them again for the
//! at most 16 entries of one leaf costs some microseconds, less than the signature check that every change begins with.
//!
//! ```text
//! branch --16 children--> branch | leaf | entry | nothing
//! leaf   --first, next, next …--> 2 to 16 entries, in no order; their hash is kept
//! ```

use super::nodes::{Arena, Branch, END, Leaf, Node, Packed, nibble_at, room_for_one};
use super::{Hash, Key, LEAF_MAX, branch_hash, common_nibbles, leaf_hash};
use crate::host::Range;

const NIBBLES: u8 = 64;

/// Whoever keeps the entries of a [`Tree`].
pub trait Entries {
    /// The key of an entry. No two entries of one tree have the same.
    fn key(&self, slot: u32) -> Key;
    /// The hash of an entry.
    fn hash(&self, slot: u32) -> Hash;
}

/// The digest of a set of entries that somebody else keeps. Every call that takes [`Entries`] must be given the same.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    root: Packed,
    /// By slot: the next entry of the same leaf.
    next: Vec<u32>,
    leaves: Arena<Leaf>,
    branches: Arena<Branch>,
}

impl Tree {
    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len_below(self.root)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.root.open() == Node::Empty
    }

    /// Bytes of memory that it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.next.capacity() * size_of::<u32>() + self.leaves.bytes() + self.branches.bytes()
    }

    /// The entry with this key, if there is one: of those that may be it, the one that `is_it`.
    pub fn find(&self, key: &Key, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        let mut node = self.root.open();
        loop {
            match node {
                Node::Empty => return None,
                Node::Entry(slot) => return Some(slot).filter(|slot| is_it(*slot)),
                Node::Leaf(at) => return self.chain(at).find(|slot| is_it(*slot)),
                Node::Branch(at) => node = self.branches.get(at)?.child(key).open(),
            }
        }
    }

    /// Puts an entry in. Its key must not be there.
    pub fn insert(&mut self, entries: &impl Entries, slot: u32) {
        let key = entries.key(slot);
        self.root = self.insert_below(self.root, entries, &key, slot);
    }

    /// Takes an entry out; whether it was there.
    pub fn remove(&mut self, key: &Key, slot: u32) -> bool {
        match self.remove_below(self.root, key, slot) {
            Some(root) => {
                self.root = root;
                true
            }
            None => false,
        }
    }

    /// The entry with this key has, or will have, another hash.
    pub fn touch(&mut self, key: &Key) {
        let mut node = self.root.open();
        while let Node::Branch(at) = node {
            let Some(branch) = self.branches.get_mut(at) else { return };
            branch.known = false;
            node = branch.child(key).open();
        }
        if let Node::Leaf(at) = node
            && let Some(leaf) = self.leaves.get_mut(at)
        {
            leaf.known = false;
        }
    }

    /// The digest of all entries.
    pub fn digest(&mut self, entries: &impl Entries) -> Hash {
        self.digest_below(self.root, entries)
    }

    /// The digest of the entries in `range`.
    pub fn digest_of(&mut self, entries: &impl Entries, range: &Range) -> Hash {
        match self.top_of(range) {
            Top::None => [0; 32],
            Top::All(node) => self.digest_below(node, entries),
            Top::Some(node) => leaf_hash(&hashed(entries, &self.some_of(node, entries, range))),
        }
    }

    /// How many entries are in `range`.
    #[must_use]
    pub fn len_of(&self, entries: &impl Entries, range: &Range) -> usize {
        match self.top_of(range) {
            Top::None => 0,
            Top::All(node) => self.len_below(node),
            Top::Some(node) => self.some_of(node, entries, range).len(),
        }
    }

    /// The entries in `range` with their keys, in the order of these.
    #[must_use]
    pub fn slots_of(&self, entries: &impl Entries, range: &Range) -> Vec<(Key, u32)> {
        match self.top_of(range) {
            Top::None => Vec::new(),
            Top::All(node) => {
                let mut all = Vec::with_capacity(self.len_below(node));
                self.collect(node, &mut |slot| all.push((entries.key(slot), slot)));
                // Branches come in order; only within a leaf there is none.
                all.sort_unstable();
                all
            }
            Top::Some(node) => self.some_of(node, entries, range),
        }
    }

    /// The non-empty ranges into which the entries of `range` split, with their digests.
    pub fn below(&mut self, entries: &impl Entries, range: &Range) -> Vec<(Range, Hash)> {
        if let Top::All(node) = self.top_of(range)
            && let Node::Branch(at) = node.open()
            && let Some(branch) = self.branches.get(at).cloned()
        {
            let parts = (0..).map(|value| child_range(&branch.sample, branch.nibble, value)).zip(branch.children);
            let parts = parts.filter(|(_, child)| child.open() != Node::Empty);
            return parts.map(|(range, child)| (range, self.digest_below(child, entries))).collect();
        }
        let single = |entry: &(Key, Hash)| (Range { key: entry.0, nibbles: NIBBLES }, leaf_hash(&[*entry]));
        hashed(entries, &self.slots_of(entries, range)).iter().map(single).collect()
    }

    fn chain(&self, leaf: u32) -> impl Iterator<Item = u32> {
        let first = self.leaves.get(leaf).map_or(END, |leaf| leaf.first);
        let entry = |slot: u32| Some(slot).filter(|slot| *slot != END);
        std::iter::successors(entry(first), move |slot| entry(self.next_of(*slot))).take(2 * LEAF_MAX)
    }

    fn next_of(&self, slot: u32) -> u32 {
        usize::try_from(slot).ok().and_then(|at| self.next.get(at)).copied().unwrap_or(END)
    }

    fn set_next(&mut self, slot: u32, next: u32) {
        let Ok(at) = usize::try_from(slot) else { return };
        while self.next.len() <= at {
            room_for_one(&mut self.next);
            self.next.push(END);
        }
        if let Some(place) = self.next.get_mut(at) {
            *place = next;
        }
    }

    fn len_below(&self, node: Packed) -> usize {
        match node.open() {
            Node::Empty => 0,
            Node::Entry(_) => 1,
            Node::Leaf(at) => self.leaves.get(at).map_or(0, |leaf| usize::from(leaf.len)),
            Node::Branch(at) => self.branches.get(at).map_or(0, |branch| branch.entries as usize),
        }
    }

    fn collect(&self, node: Packed, take: &mut impl FnMut(u32)) {
        match node.open() {
            Node::Empty => {}
            Node::Entry(slot) => take(slot),
            Node::Leaf(at) => self.chain(at).for_each(take),
            Node::Branch(at) => {
                let children = self.branches.get(at).map(|branch| branch.children).unwrap_or_default();
                children.into_iter().for_each(|child| self.collect(child, take));
            }
        }
    }

    fn insert_below(&mut self, node: Packed, entries: &impl Entries, key: &Key, slot: u32) -> Packed {
        match node.open() {
            Node::Empty => Node::Entry(slot).into(),
            Node::Entry(other) => self.leaf_of(&[other, slot]),
            Node::Leaf(at) => {
                let full = self.len_below(node) >= LEAF_MAX;
                if full {
                    let mut all: Vec<(Key, u32)> = self.chain(at).map(|slot| (entries.key(slot), slot)).collect();
                    all.push((*key, slot));
                    self.leaves.free(at);
                    return self.split(&all);
                }
                let first = self.leaves.get(at).map_or(END, |leaf| leaf.first);
                self.set_next(slot, first);
                if let Some(leaf) = self.leaves.get_mut(at) {
                    (leaf.first, leaf.known) = (slot, false);
                    leaf.len += 1;
                }
                node
            }
            Node::Branch(at) => {
                let Some(branch) = self.branches.get_mut(at) else { return node };
                let agree = common_nibbles(&branch.sample, key);
                if agree < branch.nibble {
                    return self.fork(agree, at, key, slot);
                }
                (branch.known, branch.entries) = (false, branch.entries + 1);
                let child = branch.child(key);
                let child = self.insert_below(child, entries, key, slot);
                if let Some(branch) = self.branches.get_mut(at) {
                    branch.set_child(key, child);
                }
                node
            }
        }
    }

    /// A leaf of these entries, or what takes its place when they are fewer than two.
    fn leaf_of(&mut self, slots: &[u32]) -> Packed {
        match slots {
            [] => Node::Empty.into(),
            [slot] => Node::Entry(*slot).into(),
            _ => {
                let mut first = END;
                for slot in slots {
                    self.set_next(*slot, first);
                    first = *slot;
                }
                let len = u8::try_from(slots.len()).unwrap_or(u8::MAX);
                Node::Leaf(self.leaves.add(Leaf { first, len, ..Leaf::default() })).into()
            }
        }
    }

    /// A branch over entries that have become too many for a leaf.
    fn split(&mut self, all: &[(Key, u32)]) -> Packed {
        let sample = all.first().map_or([0; 32], |(key, _)| *key);
        let nibble = all.iter().map(|(key, _)| common_nibbles(&sample, key)).min().unwrap_or(0);
        let entries = u32::try_from(all.len()).unwrap_or(u32::MAX);
        let mut branch = Branch { sample, nibble, entries, ..Branch::default() };
        for (value, child) in branch.children.iter_mut().enumerate() {
            let below = all.iter().filter(|(key, _)| nibble_at(key, nibble) == value);
            *child = self.leaf_of(&below.map(|(_, slot)| *slot).collect::<Vec<_>>());
        }
        Node::Branch(self.branches.add(branch)).into()
    }

    /// A branch above another one, whose keys all differ from the entry's in `nibble`.
    fn fork(&mut self, nibble: u8, below: u32, key: &Key, slot: u32) -> Packed {
        let Some((old, entries)) = self.branches.get(below).map(|old| (old.sample, old.entries)) else {
            return Node::Entry(slot).into();
        };
        let mut branch = Branch { sample: *key, nibble, entries: entries + 1, ..Branch::default() };
        branch.set_child(&old, Node::Branch(below).into());
        branch.set_child(key, Node::Entry(slot).into());
        Node::Branch(self.branches.add(branch)).into()
    }

    fn remove_below(&mut self, node: Packed, key: &Key, slot: u32) -> Option<Packed> {
        match node.open() {
            Node::Empty => None,
            Node::Entry(other) => (other == slot).then(|| Node::Empty.into()),
            Node::Leaf(at) => {
                let before = self.chain(at).collect::<Vec<_>>();
                let left: Vec<u32> = before.iter().copied().filter(|other| *other != slot).collect();
                if left.len() == before.len() {
                    return None;
                }
                self.leaves.free(at);
                Some(self.leaf_of(&left))
            }
            Node::Branch(at) => {
                let child = self.branches.get(at)?.child(key);
                let child = self.remove_below(child, key, slot)?;
                let branch = self.branches.get_mut(at)?;
                branch.set_child(key, child);
                (branch.known, branch.entries) = (false, branch.entries - 1);
                Some(self.tidied(node, at))
            }
        }
    }

    /// A branch with few entries becomes a leaf; one whose entries have all come under one child becomes that child.
    fn tidied(&mut self, node: Packed, at: u32) -> Packed {
        let entries = self.len_below(node);
        let children = self.branches.get(at).map(|branch| branch.children).unwrap_or_default();
        if entries <= LEAF_MAX {
            let mut slots = Vec::with_capacity(LEAF_MAX);
            self.collect(node, &mut |slot| slots.push(slot));
            // Below so few entries there is no branch.
            for child in children {
                if let Node::Leaf(at) = child.open() {
                    self.leaves.free(at);
                }
            }
            self.branches.free(at);
            return self.leaf_of(&slots);
        }
        match children.into_iter().find(|child| self.len_below(*child) == entries) {
            Some(only) => {
                self.branches.free(at);
                only
            }
            None => node,
        }
    }

    fn digest_below(&mut self, node: Packed, entries: &impl Entries) -> Hash {
        match node.open() {
            Node::Empty => [0; 32],
            Node::Entry(slot) => leaf_hash(&[(entries.key(slot), entries.hash(slot))]),
            Node::Leaf(at) => {
                if let Some(leaf) = self.leaves.get(at).filter(|leaf| leaf.known) {
                    return leaf.hash;
                }
                let mut list: Vec<(Key, Hash)> =
                    self.chain(at).map(|slot| (entries.key(slot), entries.hash(slot))).collect();
                list.sort_unstable();
                let hash = leaf_hash(&list);
                if let Some(leaf) = self.leaves.get_mut(at) {
                    (leaf.hash, leaf.known) = (hash, true);
                }
                hash
            }
            Node::Branch(at) => {
                let Some(branch) = self.branches.get(at) else { return [0; 32] };
                if branch.known {
                    return branch.hash;
                }
                let (nibble, children) = (branch.nibble, branch.children);
                let hash = branch_hash(nibble, children.into_iter().map(|child| self.digest_below(child, entries)));
                if let Some(branch) = self.branches.get_mut(at) {
                    (branch.hash, branch.known) = (hash, true);
                }
                hash
            }
        }
    }

    /// The highest node below which all entries of a range are.
    fn top_of(&self, range: &Range) -> Top {
        let mut node = self.root;
        while let Node::Branch(at) = node.open() {
            let Some(branch) = self.branches.get(at) else { return Top::None };
            let agree = common_nibbles(&branch.sample, &range.key);
            if range.nibbles <= branch.nibble {
                return if agree >= range.nibbles { Top::All(node) } else { Top::None };
            }
            if agree < branch.nibble {
                return Top::None;
            }
            node = branch.child(&range.key);
        }
        match node.open() {
            Node::Empty => Top::None,
            _ if range.nibbles == 0 => Top::All(node),
            _ => Top::Some(node),
        }
    }

    /// Of the entries in a leaf, or of one entry, those in `range`, sorted.
    fn some_of(&self, node: Packed, entries: &impl Entries, range: &Range) -> Vec<(Key, u32)> {
        let mut some = Vec::new();
        self.collect(node, &mut |slot| some.push((entries.key(slot), slot)));
        some.retain(|(key, _)| range.holds(key));
        some.sort_unstable();
        some
    }
}

/// Where the entries of a range are.
enum Top {
    None,
    /// All entries below this node.
    All(Packed),
    /// Perhaps not all of this leaf or entry.
    Some(Packed),
}

fn hashed(entries: &impl Entries, some: &[(Key, u32)]) -> Vec<(Key, Hash)> {
    some.iter().map(|(key, slot)| (*key, entries.hash(*slot))).collect()
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
