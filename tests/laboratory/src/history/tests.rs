//! The checker must see what it is for.

use super::*;

const DELIVERED: Outcome = Outcome::Receipt(Status::Delivered, None);

fn s(seconds: u64) -> Time {
    Duration::from_secs(seconds)
}

fn member(name: &str) -> Member {
    (name.to_owned(), PeerId::new([7; 32]))
}

/// A history with one observer that has been there all the time, and one member who came at 10 s.
fn joined() -> History {
    let mut history = History::default();
    history.observer_back(s(0), 0, true);
    history.joined(s(10), member("t"));
    history
}

#[test]
fn a_signal_is_lost_without_a_receipt_with_a_late_one_and_with_a_false_one() {
    let mut history = History::default();
    for _ in 0..5 {
        history.sent(s(0), [1, 2], [0, 1]);
    }
    history.ended(s(1), 0, DELIVERED);
    history.received(s(1), 2, 0);
    history.ended(s(1), 1, DELIVERED);
    history.ended(s(12), 2, Outcome::Receipt(Status::Unknown, None));
    history.ended(s(1), 3, Outcome::Receipt(Status::Refused, Some(Refusal::NoSuchPeer)));
    let lost: Vec<_> = history.signals.iter().map(Signal::is_lost).collect();
    assert_eq!(lost, [false, true, true, false, true]);
}

#[test]
fn copies_strays_and_overtaken_signals_are_counted() {
    let mut history = History::default();
    for _ in 0..3 {
        history.sent(s(0), [1, 2], [0, 1]);
    }
    for number in [0, 0, 2, 1] {
        history.received(s(1), 2, number);
    }
    history.received(s(1), 3, 1);
    history.received(s(1), 2, 99);
    assert_eq!(history.signals[0].copies, 2);
    assert_eq!((history.overtaken, history.strays), (1, 2));
}

#[test]
fn a_member_that_is_shown_too_late_is_missing_and_one_that_is_shown_too_long_is_a_ghost() {
    let mut history = joined();
    history.saw(s(13), 0, member("t"), true);
    history.left(s(20), &member("t"));
    history.saw(s(25), 0, member("t"), false);
    let found: Vec<_> = history.unexcused(s(30)).iter().map(|it| (it.ghost, it.span)).collect();
    assert_eq!(found, [(true, (s(20), s(25))), (false, (s(10), s(13)))]);
}

#[test]
fn what_is_seen_at_once_is_no_difference_and_the_fault_excuses_the_rest() {
    let mut history = joined();
    history.saw(s(10) + Duration::from_millis(50), 0, member("t"), true);
    history.left(s(20), &member("t"));
    history.excused.push((s(19), s(24)));
    history.saw(s(24) + CALM_MAX, 0, member("t"), false);
    assert!(history.unexcused(s(30)).is_empty());
    history.excused.clear();
    assert_eq!(history.unexcused(s(30)).len(), 1);
}

#[test]
fn a_member_that_is_never_shown_is_missing_and_views_have_not_agreed() {
    let mut history = joined();
    history.saw(s(11), 0, member("t"), true);
    history.joined(s(10), member("u"));
    assert_eq!(history.unexcused(s(30)).len(), 1);
    assert_eq!(history.agreed_after(s(10), s(30)), None);
    assert!(!history.agrees(s(16)));
    history.saw(s(17), 0, member("u"), true);
    assert!(history.agrees(s(18)));
    assert_eq!(history.agreed_after(s(10), s(30)), Some(s(7)));
}

#[test]
fn an_observer_without_a_socket_misses_nothing_and_a_new_session_begins_with_nothing() {
    let mut history = joined();
    history.saw(s(10), 0, member("t"), true);
    history.observer_blind(s(12), 0);
    history.left(s(13), &member("t"));
    history.observer_back(s(20), 0, true);
    assert!(history.unexcused(s(30)).is_empty());
    // Resumed, it still shows whom it showed.
    let mut history = joined();
    history.saw(s(10), 0, member("t"), true);
    history.observer_blind(s(12), 0);
    history.left(s(13), &member("t"));
    history.observer_back(s(20), 0, false);
    assert_eq!(history.unexcused(s(30)).len(), 1);
}

#[test]
fn quantiles_are_of_the_sorted_values() {
    let values: Vec<_> = (1..=100).rev().map(s).collect();
    assert_eq!(quantile(values.clone(), 0.99), Some(s(100)));
    assert_eq!(quantile(values, 0.5), Some(s(51)));
    assert_eq!(quantile(Vec::new(), 0.5), None);
}
