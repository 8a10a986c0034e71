//! The trie against a model that sorts and filters: the digest depends on the set alone.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail by panic")]

use std::collections::BTreeMap;

use aldis_wire::digest::{Hash, Key, LEAF_MAX, Trie};
use aldis_wire::host::Range;
use proptest::collection::vec;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Insert(Key, Hash),
    Remove(Key),
}

/// Keys that crowd together: few values of few nibbles, so that branches deepen, split and vanish.
fn key() -> impl Strategy<Value = Key> {
    let crowded = (vec(0..3_u8, 4), 0..20_u8).prop_map(|(nibbles, tail)| {
        let mut key = [0; 32];
        key[0] = nibbles[0] << 4 | nibbles[1];
        key[1] = nibbles[2];
        key[15] = nibbles[3];
        key[31] = tail;
        key
    });
    prop_oneof![4 => crowded, 1 => any::<Key>()]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (key(), (0..3_u8).prop_map(|byte| [byte; 32])).prop_map(|(key, hash)| Step::Insert(key, hash)),
        2 => key().prop_map(Step::Remove),
    ]
}

fn range() -> impl Strategy<Value = Range> {
    (key(), 0..=64_u8).prop_map(|(key, nibbles)| Range { key, nibbles })
}

fn fresh<'a>(entries: impl IntoIterator<Item = (&'a Key, &'a Hash)>) -> Trie {
    let mut trie = Trie::default();
    for (key, hash) in entries {
        trie.insert(*key, *hash);
    }
    trie
}

fn nibbles(key: &Key) -> Vec<u8> {
    key.iter().flat_map(|byte| [byte >> 4, byte & 15]).collect()
}

fn within(key: &Key, range: &Range) -> bool {
    let length = usize::from(range.nibbles);
    nibbles(key)[..length] == nibbles(&range.key)[..length]
}

/// The digest as PROTOCOL.md §6.3 says it, word by word.
fn digest_by_the_book(entries: &BTreeMap<Key, Hash>) -> Hash {
    if entries.is_empty() {
        return [0; 32];
    }
    if entries.len() <= LEAF_MAX {
        let list: Vec<u8> = entries.iter().flat_map(|(key, hash)| [*key, *hash].concat()).collect();
        return blake3::derive_key("aldis 2026 roster leaf", &list);
    }
    let (first, last) = (nibbles(entries.keys().next().unwrap()), nibbles(entries.keys().next_back().unwrap()));
    let shared = first.iter().zip(&last).take_while(|(a, b)| a == b).count();
    let mut branch = vec![u8::try_from(shared).unwrap()];
    for value in 0..16 {
        let child = entries.iter().filter(|(key, _)| nibbles(key)[shared] == value).map(|(k, h)| (*k, *h)).collect();
        branch.extend(digest_by_the_book(&child));
    }
    blake3::derive_key("aldis 2026 roster branch", &branch)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn any_history_of_a_set_gives_the_digest_of_the_set(steps in vec(step(), 0..300)) {
        let (mut trie, mut model) = (Trie::default(), BTreeMap::new());
        for (number, step) in steps.iter().enumerate() {
            match step {
                Step::Insert(key, hash) => prop_assert_eq!(trie.insert(*key, *hash), model.insert(*key, *hash)),
                Step::Remove(key) => prop_assert_eq!(trie.remove(key), model.remove(key)),
            }
            prop_assert_eq!(trie.len(), model.len());
            // Digests are kept inside; asking for one now and then shows whether a stale one is used.
            if number % 31 == 0 {
                prop_assert_eq!(trie.digest(), digest_by_the_book(&model));
            }
        }
        prop_assert_eq!(trie.digest(), digest_by_the_book(&model));
        prop_assert_eq!(trie.digest(), fresh(&model).digest());
        prop_assert_eq!(trie.digest(), fresh(model.iter().rev()).digest());
        for (key, hash) in &model {
            prop_assert_eq!(trie.find(key), Some(*hash));
        }
    }

    #[test]
    fn a_range_is_the_set_of_the_keys_that_begin_like_it(steps in vec(step(), 0..200), ranges in vec(range(), 1..20)) {
        let mut model = BTreeMap::new();
        for step in steps {
            match step {
                Step::Insert(key, hash) => model.insert(key, hash),
                Step::Remove(key) => model.remove(&key),
            };
        }
        let mut trie = fresh(&model);
        for range in ranges {
            let inside: BTreeMap<_, _> = model.iter().filter(|(key, _)| within(key, &range)).map(|(k, h)| (*k, *h)).collect();
            prop_assert_eq!(trie.len_of(&range), inside.len());
            prop_assert_eq!(trie.keys_of(&range), inside.keys().copied().collect::<Vec<_>>());
            prop_assert_eq!(trie.digest_of(&range), digest_by_the_book(&inside), "a part's digest is that of its own set");

            let below = trie.below(&range);
            prop_assert!(below.len() <= 16);
            let mut covered = Vec::new();
            for (part, digest) in &below {
                prop_assert!(part.nibbles >= range.nibbles && within(&part.key, &range));
                prop_assert_eq!(part.is_part_of(&range), part.nibbles > range.nibbles);
                prop_assert!(!range.is_part_of(part));
                prop_assert!(trie.len_of(part) > 0);
                prop_assert_eq!(trie.digest_of(part), *digest);
                covered.extend(trie.keys_of(part));
            }
            prop_assert_eq!(covered, inside.keys().copied().collect::<Vec<_>>(), "each entry in one part");
            if inside.len() > LEAF_MAX {
                prop_assert!(below.iter().all(|(part, _)| part.nibbles > range.nibbles), "descent makes progress");
            }
        }
    }

    #[test]
    fn two_sets_that_differ_in_one_entry_have_different_digests(entries in prop::collection::btree_map(key(), any::<Hash>(), 1..100), at in any::<prop::sample::Index>(), other: Hash) {
        let digest = fresh(&entries).digest();
        let place = *entries.keys().nth(at.index(entries.len())).unwrap();
        let mut changed = entries.clone();
        changed.remove(&place);
        prop_assert_ne!(fresh(&changed).digest(), digest);
        if entries[&place] != other {
            changed.insert(place, other);
            prop_assert_ne!(fresh(&changed).digest(), digest);
        }
    }

    #[test]
    fn differences_are_found_by_descent(ours in prop::collection::btree_map(key(), (0..2_u8).prop_map(|byte| [byte; 32]), 0..150), theirs in prop::collection::btree_map(key(), (0..2_u8).prop_map(|byte| [byte; 32]), 0..150)) {
        let (mut copy, mut origin) = (fresh(&ours), fresh(&theirs));
        let mut open = vec![Range { key: [0; 32], nibbles: 0 }];
        let mut questions = 0;
        while let Some(range) = open.pop() {
            questions += 1;
            prop_assert!(questions < 10_000, "it comes to an end");
            if origin.len_of(&range) <= 4 {
                for key in copy.keys_of(&range) {
                    copy.remove(&key);
                }
                for key in origin.keys_of(&range) {
                    copy.insert(key, origin.find(&key).unwrap());
                }
                continue;
            }
            let below = origin.below(&range);
            for key in copy.keys_of(&range) {
                if !below.iter().any(|(part, _)| within(&key, part)) {
                    copy.remove(&key);
                }
            }
            open.extend(below.into_iter().filter(|(part, digest)| copy.digest_of(part) != *digest).map(|(part, _)| part));
        }
        prop_assert_eq!(copy.digest(), origin.digest());
    }
}
