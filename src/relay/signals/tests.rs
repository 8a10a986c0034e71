use std::time::Duration;

use super::super::limits::{
    DEDUPLICATION, PASSED_ON_MAX, REMEMBERED_DELIVERIES_MAX, RETURN_ROUTE, RETURN_ROUTES_MAX, WAY_PATIENCE,
};
use super::*;

fn peer(number: usize) -> PeerId {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&(number as u64).to_be_bytes());
    PeerId::new(bytes)
}

fn nonce(number: usize) -> [u8; 24] {
    let mut bytes = [0; 24];
    bytes[..8].copy_from_slice(&(number as u64).to_be_bytes());
    bytes
}

fn id(number: usize) -> RequestId {
    number.to_string().as_str().into()
}

fn later(time: Duration) -> Moment {
    Moment::new(time)
}

const NOW: Moment = Moment::START;

#[test]
fn a_session_remembers_so_many_signals_and_forgets_no_open_one() {
    let mut outgoing = Outgoing::default();
    assert_eq!(outgoing.take(NOW, &id(0), peer(0), None, Bytes::new()), Ok(Taken::Send));
    for number in 1..3 * REMEMBERED_SIGNALS_MAX {
        assert_eq!(outgoing.take(NOW, &id(number), peer(number), None, Bytes::new()), Ok(Taken::Send));
        assert!(outgoing.finish(&id(number), Outcome::Delivered));
        assert!(outgoing.len() <= REMEMBERED_SIGNALS_MAX);
    }
    assert_eq!(outgoing.take(NOW, &id(0), peer(0), None, Bytes::new()), Ok(Taken::Open));
    let last = 3 * REMEMBERED_SIGNALS_MAX - 1;
    let again = outgoing.take(NOW, &id(last), peer(last), None, Bytes::new());
    assert_eq!(again, Ok(Taken::Again(Outcome::Delivered)));
    assert_eq!((outgoing.pairs.len(), outgoing.open_count()), (1, 1), "nothing is kept of targets without open ones");
}

#[test]
fn open_signals_of_a_session_are_bounded() {
    let mut outgoing = Outgoing::default();
    for number in 0..OPEN_SIGNALS_MAX {
        assert_eq!(outgoing.take(NOW, &id(number), peer(1), None, Bytes::new()), Ok(Taken::Send));
    }
    let refused = outgoing.take(NOW, &id(OPEN_SIGNALS_MAX), peer(1), None, Bytes::new());
    assert_eq!(refused, Err(Refusal::TooManyOpen));
    assert!(outgoing.finish(&id(3), Outcome::Unknown));
    assert_eq!(outgoing.take(NOW, &id(OPEN_SIGNALS_MAX), peer(1), None, Bytes::new()), Ok(Taken::Send));
}

/// Open signals 0 to `count`, sealed over a link; the nonce of each is its number.
fn sealed_away(count: usize, link: LinkKey) -> Outgoing {
    let mut outgoing = Outgoing::default();
    for number in 0..count {
        assert_eq!(outgoing.take(NOW, &id(number), peer(1), None, Bytes::new()), Ok(Taken::Send));
        outgoing.went(&id(number), HostId::new([1; 32]), 1, Path::Routed(link, nonce(number)));
    }
    outgoing
}

#[test]
fn what_came_back_leaves_the_others_of_its_pair_on_their_way_and_those_that_are_held() {
    let link = LinkKey(1);
    let mut outgoing = sealed_away(2, link);
    outgoing.took(peer(1), HOLD_MIN);
    assert!(outgoing.begin_hold(NOW, peer(1), LinkKey(1)).is_some());
    assert_eq!(outgoing.take(NOW, &id(2), peer(1), None, Bytes::new()), Ok(Taken::Send));
    assert!(outgoing.hold(peer(1), &id(2)));
    outgoing.came_back(&id(0));
    assert_eq!(outgoing.pinned(peer(1)).and_then(Path::link), Some(link), "later ones must not overtake");
    assert!(outgoing.holds(peer(1)));
    for number in 0..2 {
        assert!(!outgoing.may_go(peer(1)));
        assert!(outgoing.finish(&id(number), Outcome::Unknown));
    }
    assert!(outgoing.may_go(peer(1)));
    assert_eq!(outgoing.end_hold(NOW, peer(1)), [id(2)]);
    let mut outgoing = sealed_away(2, link);
    outgoing.came_back(&id(0));
    outgoing.came_back(&id(1));
    assert_eq!(outgoing.pinned(peer(1)), None, "nothing is there any more");
}

#[test]
fn a_signal_is_in_doubt_until_all_its_copies_came_back_each_over_its_link() {
    let (one, two) = (LinkKey(1), LinkKey(2));
    let mut outgoing = sealed_away(1, one);
    outgoing.broke(&id(0));
    outgoing.went(&id(0), HostId::new([1; 32]), 1, Path::Routed(two, nonce(7)));
    assert!(outgoing.find(&id(0)).unwrap().is_doubtful());
    assert!(!outgoing.copy_came_back(&id(0), two, nonce(0)) && !outgoing.copy_came_back(&id(0), one, nonce(8)));
    outgoing.came_back(&id(0));
    assert!(outgoing.find(&id(0)).unwrap().is_doubtful(), "the first may have arrived");
    assert!(outgoing.copy_came_back(&id(0), one, nonce(0)));
    let mut outgoing = sealed_away(1, one);
    for number in 0..=COPIES_MAX {
        outgoing.broke(&id(0));
        outgoing.went(&id(0), HostId::new([1; 32]), 1, Path::Routed(one, nonce(number + 1)));
    }
    outgoing.came_back(&id(0));
    let over = (0..=COPIES_MAX).map(|number| outgoing.copy_came_back(&id(0), one, nonce(number)));
    assert_eq!(over.filter(|over| *over).count(), 0, "one more than are remembered");
    outgoing.went(&id(0), HostId::new([1; 32]), 1, Path::Direct(two));
    outgoing.broke(&id(0));
    assert!(outgoing.find(&id(0)).unwrap().is_doubtful(), "nothing comes back of that");
}

#[test]
fn while_another_copy_may_come_only_such_refusals_count_as_hold_for_all_of_them() {
    let still = |outgoing: &Outgoing| {
        [Refusal::NoSuchPeer, Refusal::Overtaken]
            .map(|refusal| outgoing.find(&id(0)).unwrap().may_still_arrive(refusal))
    };
    for path in [Path::Direct(LinkKey(1)), Path::Routed(LinkKey(1), nonce(1))] {
        let mut outgoing = sealed_away(1, LinkKey(1));
        outgoing.went(&id(0), HostId::new([1; 32]), 1, path);
        assert_eq!(still(&outgoing), [false, false], "it went once");
        outgoing.broke(&id(0));
        outgoing.went(&id(0), HostId::new([1; 32]), 1, Path::Direct(LinkKey(2)));
        assert_eq!(still(&outgoing), [true, false]);
        outgoing.went(&id(0), HostId::new([2; 32]), 1, Path::Direct(LinkKey(3)));
        assert_eq!(still(&outgoing), [true, true], "what another home did with it this one does not know");
    }
}

#[test]
fn deliveries_are_remembered_for_two_minutes_and_bounded() {
    let mut deliveries = Deliveries::default();
    for number in 0..=REMEMBERED_DELIVERIES_MAX {
        deliveries.insert(NOW, peer(1), id(number), Delivery { to: peer(2), outcome: None, via: None });
    }
    assert_eq!(deliveries.len(), REMEMBERED_DELIVERIES_MAX);
    assert!(deliveries.came_again(peer(1), &id(0), None).is_none());
    assert!(deliveries.came_again(peer(1), &id(1), None).is_some());
    deliveries.tidy(later(DEDUPLICATION - Duration::from_nanos(1)));
    assert!(deliveries.came_again(peer(1), &id(9), None).is_some());
    deliveries.tidy(later(DEDUPLICATION));
    assert_eq!(deliveries.len(), 0);
}

#[test]
fn what_may_bounce_is_remembered_as_long_as_a_signal_waits_and_bounded() {
    let (mut sealed, mut passed_on) = (Sealed::default(), PassedOn::default());
    for number in 0..=REMEMBERED_DELIVERIES_MAX {
        sealed.insert(NOW, nonce(number), Went { session: 1, id: id(number), home: HostId::new([1; 32]) });
    }
    for number in 0..=PASSED_ON_MAX {
        passed_on.insert(NOW, nonce(number), LinkKey(1), LinkKey(2));
    }
    assert_eq!((sealed.len(), passed_on.len()), (REMEMBERED_DELIVERIES_MAX, PASSED_ON_MAX));
    assert!(sealed.find(&nonce(0)).is_none() && sealed.find(&nonce(1)).is_some());
    assert_eq!(passed_on.take(&nonce(0), LinkKey(2)), None);
    assert_eq!(passed_on.take(&nonce(1), LinkKey(2)), Some(LinkKey(1)));
    sealed.tidy(later(SIGNAL_TIMEOUT));
    passed_on.tidy(later(SIGNAL_TIMEOUT));
    assert_eq!((sealed.len(), passed_on.len()), (0, 0));
}

#[test]
fn each_sealed_frame_is_given_once_when_its_answer_is_overdue_and_none_that_was_on_the_way_while_we_slept() {
    let mut sealed = Sealed::default();
    let went = |number| Went { session: 1, id: id(number), home: HostId::new([1; 32]) };
    let (short, overdue) = (Duration::from_millis(1), later(WAY_PATIENCE));
    sealed.insert(NOW, nonce(0), went(0));
    sealed.insert(later(short), nonce(1), went(1));
    assert_eq!((sealed.next_overdue(), sealed.take_overdue(later(WAY_PATIENCE - short))), (Some(overdue), None));
    assert_eq!(sealed.take_overdue(overdue), Some((nonce(0), went(0))));
    assert_eq!(sealed.take_overdue(overdue), None);
    sealed.tidy(later(SIGNAL_TIMEOUT));
    assert_eq!((sealed.len(), sealed.take_overdue(overdue)), (1, None), "the one after it is not due yet");
    assert_eq!(sealed.take_overdue(overdue + short), Some((nonce(1), went(1))));
    sealed.insert(later(SIGNAL_TIMEOUT), nonce(2), went(2));
    sealed.forgive();
    assert_eq!((sealed.next_overdue(), sealed.len()), (None, 2), "it may still bounce");
}

#[test]
fn return_routes_are_remembered_for_a_minute_and_bounded() {
    let mut routes = ReturnRoutes::default();
    let home = HostId::new([1; 32]);
    for number in 0..=RETURN_ROUTES_MAX {
        routes.insert(NOW, peer(number), home);
    }
    assert_eq!(routes.len(), RETURN_ROUTES_MAX);
    assert_eq!((routes.find(NOW, peer(0)), routes.find(NOW, peer(1))), (None, Some(home)));
    assert_eq!(routes.find(later(RETURN_ROUTE), peer(1)), None);
    routes.insert(later(RETURN_ROUTE), peer(0), home);
    assert_eq!(routes.len(), 1);
}
