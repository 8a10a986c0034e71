//! Who is shown in which topic. Topics have numbers, and all memberships of all topics stand in one ordered set of
//! (topic, host, slot): those of one topic follow each other, and within it those of one home.

use std::collections::BTreeSet;

use aldis_wire::id::TopicId;
use hashbrown::HashTable;

use super::hosts::Place;
use crate::relay::hashing::Seed;
use crate::relay::roster::Slot;

/// See the module's text.
#[derive(Debug)]
pub(super) struct Topics {
    seed: Seed,
    numbers: HashTable<u32>,
    list: Vec<Counted>,
    free: Vec<u32>,
    members: BTreeSet<(u32, Place)>,
}

#[derive(Debug)]
struct Counted {
    topic: TopicId,
    members: u32,
}

impl Topics {
    pub(super) fn new(seed: Seed) -> Self {
        let (list, free, members) = (Vec::new(), Vec::new(), BTreeSet::new());
        Self { seed, numbers: HashTable::new(), list, free, members }
    }

    /// Topics that have members.
    pub(super) fn len(&self) -> usize {
        self.numbers.len()
    }

    /// About how many bytes of memory it takes.
    pub(super) fn bytes(&self) -> usize {
        // A node of the tree has places for 11, and is two thirds full.
        let members = self.members.len() * size_of::<(u32, Place)>() * 2;
        let lists = self.list.capacity() * size_of::<Counted>() + self.free.capacity() * size_of::<u32>();
        self.numbers.allocation_size() + lists + members
    }

    /// A topic's number, if it has members.
    pub(super) fn number(&self, topic: TopicId) -> Option<u32> {
        let hash = self.seed.hash(topic.as_bytes());
        self.numbers.find(hash, |number| self.at(*number).is_some_and(|at| at.topic == topic)).copied()
    }

    fn at(&self, number: u32) -> Option<&Counted> {
        self.list.get(usize::try_from(number).ok()?)
    }

    fn at_mut(&mut self, number: u32) -> Option<&mut Counted> {
        self.list.get_mut(usize::try_from(number).ok()?)
    }

    /// Members of a topic.
    pub(super) fn count(&self, topic: TopicId) -> usize {
        self.number(topic).and_then(|number| self.at(number)).map_or(0, |at| at.members as usize)
    }

    /// Shows a membership; whether it was not shown before.
    pub(super) fn insert(&mut self, topic: TopicId, place: Place) -> bool {
        let number = match self.number(topic) {
            Some(number) => number,
            None => self.begin(topic),
        };
        let new = self.members.insert((number, place));
        if let Some(at) = self.at_mut(number) {
            at.members += u32::from(new);
        }
        new
    }

    fn begin(&mut self, topic: TopicId) -> u32 {
        let new = Counted { topic, members: 0 };
        let number = match self.free.pop() {
            Some(number) => {
                if let Some(at) = self.at_mut(number) {
                    *at = new;
                }
                number
            }
            None => {
                self.list.push(new);
                u32::try_from(self.list.len() - 1).unwrap_or(u32::MAX)
            }
        };
        let (seed, list) = (&self.seed, &self.list);
        let hash = |topic: &TopicId| seed.hash(topic.as_bytes());
        let hasher = |number: &u32| {
            let at = usize::try_from(*number).ok().and_then(|at| list.get(at));
            at.map_or(0, |at| hash(&at.topic))
        };
        self.numbers.insert_unique(hash(&topic), number, hasher);
        number
    }

    /// Hides a membership; whether it was shown.
    pub(super) fn remove(&mut self, topic: TopicId, place: Place) -> bool {
        let Some(number) = self.number(topic) else { return false };
        let was = self.members.remove(&(number, place));
        let Some(at) = self.at_mut(number) else { return false };
        at.members -= u32::from(was);
        if at.members == 0 {
            let hash = self.seed.hash(topic.as_bytes());
            if let Ok(found) = self.numbers.find_entry(hash, |other| *other == number) {
                found.remove();
            }
            self.free.push(number);
            if self.numbers.is_empty() {
                *self = Self::new(self.seed.clone());
            }
        }
        was
    }

    /// Hosts at which members of a topic are at home, in the order of their numbers, beginning with `from` and going
    /// round.
    pub(super) fn homes(&self, topic: u32, from: u32) -> impl Iterator<Item = u32> {
        self.homes_in(topic, from, None).chain(self.homes_in(topic, 0, Some(from)))
    }

    fn homes_in(&self, topic: u32, from: u32, end: Option<u32>) -> impl Iterator<Item = u32> {
        let mut next = Some(from);
        std::iter::from_fn(move || {
            let first = (topic, Place { host: next?, slot: 0 });
            let (_, place) = self.members.range(first..).next().filter(|(number, _)| *number == topic)?;
            next = place.host.checked_add(1);
            Some(place.host).filter(|host| end.is_none_or(|end| *host < end))
        })
    }

    /// Slots of the members of a topic that are at home at one host, in order, beginning with `from` and going round.
    pub(super) fn members(&self, topic: u32, host: u32, from: Slot) -> impl Iterator<Item = Slot> {
        let at = |slot| (topic, Place { host, slot });
        let after = self.members.range(at(from)..=at(Slot::MAX));
        let before = self.members.range(at(0)..at(from));
        after.chain(before).map(|(_, place)| place.slot)
    }
}
