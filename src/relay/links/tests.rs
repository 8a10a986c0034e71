#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use std::net::SocketAddr;

use super::*;

fn link() -> Link {
    let address = SocketAddr::from(([10, 0, 0, 1], 4_000));
    Link::new(Moment::default(), HostId::new([1; 32]), Role::Dialler, address, [0; 32], Duration::ZERO)
}

fn origin(number: u32) -> HostId {
    let mut bytes = [0; 32];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    HostId::new(bytes)
}

/// One connection as one of its ends sees it, this long after the other one.
fn end(own: u64, other: HostId, role: Role, epochs: (u64, u64), after: Duration) -> Link {
    let (stated, epoch) = if own == 1 { epochs } else { (epochs.1, epochs.0) };
    let mut link = Link { host: other, role, epoch, stated, since: Moment::default() + after, ..link() };
    link.phase = Phase::Admitted;
    link
}

#[test]
fn both_ends_of_two_links_keep_the_same_one() {
    let (one, two) = (HostId::new([1; 32]), HostId::new([2; 32]));
    let (a, b) = (LinkKey(1), LinkKey(2));
    let both = [Role::Dialler, Role::Acceptor];
    let lives = [(5, 5), (5, 6), (6, 5), (6, 6)];
    let ages = [Duration::ZERO, CROSSED_WITHIN];
    let roles = both.into_iter().flat_map(|a| both.map(|b| (a, b)));
    for ((role_a, role_b), age) in roles.flat_map(|roles| ages.map(|age| (roles, age))) {
        for (epochs_a, epochs_b) in lives.into_iter().flat_map(|a| lives.map(|b| (a, b))) {
            // The first end sees `a` admitted last, or `b`; the second end as well, or the other one. What comes much
            // later is admitted later by both.
            let lasts = [(b, b), (a, a), (a, b), (b, a)];
            for (last_one, last_two) in lasts.into_iter().take(if age.is_zero() { 4 } else { 1 }) {
                let decide = |own: u64, id: HostId, other: HostId, last: LinkKey| {
                    let role = |role: Role| if own == 1 { role } else { role.other() };
                    let mut links = Links::new(Seed::fixed());
                    links.insert(a, end(own, other, role(role_a), epochs_a, Duration::ZERO));
                    links.insert(b, end(own, other, role(role_b), epochs_b, age));
                    links.loser(id, last)
                };
                let losers = (decide(1, one, two, last_one), decide(2, two, one, last_two));
                let case = format!("{role_a:?} {role_b:?} {epochs_a:?} {epochs_b:?} {last_one:?} {last_two:?} {age:?}");
                assert!(losers.0.is_some() || losers.1.is_some(), "one goes: {case}");
                assert!(losers.0.zip(losers.1).is_none_or(|(one, two)| one == two), "the same: {case}");
                let lives = |epochs: (u64, u64)| epochs.0 + epochs.1;
                if !age.is_zero() && lives(epochs_a) == lives(epochs_b) {
                    assert_eq!(losers, (Some(a), Some(a)), "nobody dials whom he has a link with: {case}");
                }
            }
        }
    }
}

#[test]
fn a_link_that_is_silent_or_was_taken_where_we_are_not_any_more_gives_way_however_new_it_is() {
    let (one, two) = (HostId::new([1; 32]), HostId::new([2; 32]));
    for (silent, stranded) in [(true, false), (false, true), (false, false)] {
        let mut links = Links::new(Seed::fixed());
        // The lower id has dialled the old one, which stays otherwise.
        links.insert(LinkKey(1), end(2, one, Role::Acceptor, (5, 5), Duration::ZERO));
        links.insert(LinkKey(2), end(2, one, Role::Dialler, (5, 5), Duration::from_secs(1)));
        if let Some(old) = links.find_mut(LinkKey(1)) {
            (old.silent, old.stranded) = (silent, stranded.then(Moment::default));
        }
        let loser = if silent || stranded { LinkKey(1) } else { LinkKey(2) };
        assert_eq!(links.loser(two, LinkKey(2)), Some(loser));
    }
}

#[test]
fn a_host_is_reached_over_a_link_that_is_heard_if_there_is_one() {
    let (one, two) = (HostId::new([1; 32]), HostId::new([2; 32]));
    for (silent, stranded) in [(true, false), (false, true)] {
        let mut links = Links::new(Seed::fixed());
        links.insert(LinkKey(1), end(1, two, Role::Acceptor, (5, 5), Duration::ZERO));
        if let Some(old) = links.find_mut(LinkKey(1)) {
            (old.silent, old.stranded) = (silent, stranded.then(Moment::default));
        }
        assert_eq!((links.to_host(two), links.to_host(one)), (Some(LinkKey(1)), None), "better than none");
        links.insert(LinkKey(2), end(1, two, Role::Acceptor, (5, 5), Duration::ZERO));
        assert_eq!(links.to_host(two), Some(LinkKey(2)));
    }
}

#[test]
fn numbers_of_origins_are_given_anew_when_all_are_taken() {
    let (key, mut sender, mut receiver) = (LinkKey(1), Links::new(Seed::fixed()), Links::new(Seed::fixed()));
    sender.insert(key, link());
    receiver.insert(key, link());
    for number in 0..3 * u32::from(HAVE_NUMBERS_MAX) {
        let (given, new, told) = sender.tell(key, origin(number), NOBODY, (1, 1)).unwrap();
        assert!(new && told == (0, 0) && given < HAVE_NUMBERS_MAX);
        receiver.name_in(key, given, origin(number));
        receiver.has(key, origin(number), (1, 1));
        assert_eq!(sender.tell(key, origin(number), NOBODY, (1, 2)), Some((given, false, (1, 1))));
        let (told, is_whole) = receiver.told(key, &[HaveEntry::Numbered { number: given, seq: 2, held: 0 }]);
        assert!(is_whole && matches!(*told, [told] if (told.origin, told.mark) == (origin(number), (1, 2))));
    }
    for links in [&sender, &receiver] {
        let link = links.find(key).unwrap();
        assert_eq!((link.origins, link.origins_count()), (usize::from(HAVE_NUMBERS_MAX), link.origins));
    }
    assert!(sender.tell(key, origin(0), NOBODY, (1, 2)).is_some_and(|(_, new, _)| new), "the oldest name is forgotten");
}

#[test]
fn nothing_is_kept_of_a_link_that_is_gone_nor_of_an_origin_that_nobody_speaks_of() {
    let mut links = Links::new(Seed::fixed());
    for key in [1, 2, 3] {
        links.insert(LinkKey(key), Link { phase: Phase::Admitted, ..link() });
        links.push(LinkKey(key), origin(7), true);
        links.has(LinkKey(key), origin(key.try_into().unwrap()), (1, 1));
    }
    assert_eq!(links.wanting(origin(7), (1, 1)), [LinkKey(1), LinkKey(2), LinkKey(3)]);
    links.has(LinkKey(3), origin(7), (1, 1));
    links.remove(LinkKey(1));
    assert_eq!(links.wanting(origin(7), (1, 1)), [LinkKey(2)]);
    assert_eq!(links.ways.row(origin(1)), None, "nobody speaks of it any more");
    links.push_nowhere(origin(7));
    assert!(links.wanting(origin(7), (9, 9)).is_empty());
    assert_eq!(links.find(LinkKey(2)).unwrap().origins, 1);
    assert_eq!(links.theirs(LinkKey(3), origin(7)), (1, 1));
}
