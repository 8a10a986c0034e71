//! What a [`Tree`](super::Tree) is made of: nodes in lists, that name each other by number.

use super::{Hash, Key};

/// No entry: the end of a leaf's list.
pub(super) const END: u32 = u32::MAX;

/// What stands below a branch, or is the root. Two bits of kind and 30 of place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Packed(u32);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Node {
    Empty,
    Entry(u32),
    Leaf(u32),
    Branch(u32),
}

pub(super) const KIND: u32 = 3 << 30;

impl Packed {
    pub(super) fn open(self) -> Node {
        let place = self.0 & !KIND;
        match self.0 >> 30 {
            0 => Node::Empty,
            1 => Node::Entry(place),
            2 => Node::Leaf(place),
            _ => Node::Branch(place),
        }
    }
}

impl From<Node> for Packed {
    fn from(node: Node) -> Self {
        let (kind, place) = match node {
            Node::Empty => (0, 0),
            Node::Entry(place) => (1, place),
            Node::Leaf(place) => (2, place),
            Node::Branch(place) => (3, place),
        };
        Self(kind << 30 | place & !KIND)
    }
}

/// 2 to [`LEAF_MAX`] entries.
#[derive(Clone, Debug, Default)]
pub(super) struct Leaf {
    pub(super) first: u32,
    pub(super) len: u8,
    /// Whether `hash` is that of the entries as they are.
    pub(super) known: bool,
    pub(super) hash: Hash,
}

/// More than [`LEAF_MAX`] entries.
#[derive(Clone, Debug, Default)]
pub(super) struct Branch {
    pub(super) children: [Packed; 16],
    /// Any key that is or was below, for its prefix.
    pub(super) sample: Key,
    pub(super) hash: Hash,
    pub(super) entries: u32,
    /// All keys below agree in the nibbles before this one and differ in it.
    pub(super) nibble: u8,
    /// Whether `hash` is that of the entries as they are.
    pub(super) known: bool,
}

/// Things with a number; the numbers of those that are gone are given again.
#[derive(Clone, Debug)]
pub(super) struct Arena<T> {
    all: Vec<T>,
    free: Vec<u32>,
}

impl<T> Default for Arena<T> {
    fn default() -> Self {
        Self { all: Vec::new(), free: Vec::new() }
    }
}

impl<T: Default> Arena<T> {
    pub(super) fn add(&mut self, thing: T) -> u32 {
        if let Some(at) = self.free.pop() {
            if let Some(place) = self.get_mut(at) {
                *place = thing;
            }
            return at;
        }
        room_for_one(&mut self.all);
        self.all.push(thing);
        u32::try_from(self.all.len() - 1).unwrap_or(END)
    }

    pub(super) fn get(&self, at: u32) -> Option<&T> {
        self.all.get(usize::try_from(at).ok()?)
    }

    pub(super) fn get_mut(&mut self, at: u32) -> Option<&mut T> {
        self.all.get_mut(usize::try_from(at).ok()?)
    }

    pub(super) fn free(&mut self, at: u32) {
        self.free.push(at);
        if self.free.len() == self.all.len() {
            *self = Self::default();
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.all.capacity() * size_of::<T>() + self.free.capacity() * size_of::<u32>()
    }
}

/// Lets a list grow by an eighth and not by its double: most of a host's memory is in such lists.
pub(super) fn room_for_one<T>(list: &mut Vec<T>) {
    if list.len() == list.capacity() {
        list.reserve_exact(list.len() / 8 + 1);
    }
}

impl Branch {
    pub(super) fn child(&self, key: &Key) -> Packed {
        self.children.get(nibble_at(key, self.nibble)).copied().unwrap_or_default()
    }

    pub(super) fn set_child(&mut self, key: &Key, child: Packed) {
        if let Some(place) = self.children.get_mut(nibble_at(key, self.nibble)) {
            *place = child;
        }
    }
}

pub(super) fn nibble_at(key: &Key, nibble: u8) -> usize {
    let byte = key.get(usize::from(nibble / 2)).copied().unwrap_or(0);
    usize::from(if nibble.is_multiple_of(2) { byte >> 4 } else { byte & 15 })
}
