use std::time::Duration;

use super::super::limits::{DEDUPLICATION, PASSED_ON_MAX, REMEMBERED_DELIVERIES_MAX, RETURN_ROUTE, RETURN_ROUTES_MAX};
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

#[test]
fn deliveries_are_remembered_for_two_minutes_and_bounded() {
    let mut deliveries = Deliveries::default();
    for number in 0..=REMEMBERED_DELIVERIES_MAX {
        deliveries.insert(NOW, peer(1), id(number), Delivery { to: peer(2), outcome: None });
    }
    assert_eq!(deliveries.len(), REMEMBERED_DELIVERIES_MAX);
    assert!(deliveries.find(peer(1), &id(0)).is_none() && deliveries.find(peer(1), &id(1)).is_some());
    deliveries.tidy(later(DEDUPLICATION - Duration::from_nanos(1)));
    assert!(deliveries.find(peer(1), &id(9)).is_some());
    deliveries.tidy(later(DEDUPLICATION));
    assert_eq!(deliveries.len(), 0);
}

#[test]
fn what_may_bounce_is_remembered_as_long_as_a_signal_waits_and_bounded() {
    let (mut sealed, mut passed_on) = (Sealed::default(), PassedOn::default());
    for number in 0..=REMEMBERED_DELIVERIES_MAX {
        sealed.insert(NOW, nonce(number), 1, id(number));
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
