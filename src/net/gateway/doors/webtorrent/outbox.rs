//! Offers and answers on their way to other sessions. What the machine refuses for now is sent again a moment later, since
//! the client makes new offers with its next announce only, and an answer never again.
//!
//! Each is about a connection of its own, so no order is kept between them.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use aldis_wire::host::Outcome;
use aldis_wire::id::PeerId;
use aldis_wire::refusal::Refusal;
use axum::body::Bytes;
use tokio::time::Instant;

use super::super::super::dialect::Desk;
use crate::relay::io::RequestId;
use crate::relay::limits::OPEN_SIGNALS_MAX;

/// What waits to be sent: a client in 32 torrents announces five offers in each at once, 128 of which may be on their way.
/// Beyond that the newest is lost.
const WAITING_MAX: usize = 256;
/// The same in bytes.
const WAITING_BYTES: usize = 512 << 10;
/// What was refused for now is sent again after so long: the bucket has 25 tokens more.
const AGAIN: Duration = Duration::from_millis(250);
/// How much is sent again at once, so that tokens are left for what the client asks meanwhile.
const AGAIN_MAX: usize = 16;
/// What was not taken after so long is lost: an empty bucket is full after ten seconds, and clients drop an offer that has
/// no answer after 50.
const KEPT: Duration = Duration::from_secs(10);

#[derive(Clone, Debug)]
struct Packet {
    to: PeerId,
    data: Bytes,
    until: Instant,
}

#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// Without a receipt, as many as the machine takes at most. Their bytes are the machine's own.
    sent: HashMap<RequestId, Packet>,
    waiting: VecDeque<Packet>,
    /// The machine has refused something for now: nothing is sent before.
    again: Option<Instant>,
}

impl Outbox {
    pub(super) fn send(&mut self, to: PeerId, data: Bytes, desk: &mut Desk<'_>) {
        self.put(Packet { to, data, until: desk.now() + KEPT }, desk);
        self.go_on(usize::MAX, desk);
    }

    fn put(&mut self, packet: Packet, desk: &mut Desk<'_>) {
        self.forget(desk.now());
        let bytes: usize = self.waiting.iter().map(|it| it.data.len()).sum();
        if self.waiting.len() < WAITING_MAX && bytes + packet.data.len() <= WAITING_BYTES {
            desk.will_ask();
            self.waiting.push_back(packet);
        }
    }

    fn forget(&mut self, now: Instant) {
        self.waiting.retain(|packet| packet.until > now);
    }

    /// Sends what may be sent now, so much at most.
    fn go_on(&mut self, most: usize, desk: &mut Desk<'_>) {
        if self.again.is_some() {
            return;
        }
        self.forget(desk.now());
        for _ in 0..most.min(OPEN_SIGNALS_MAX.saturating_sub(self.sent.len())) {
            let Some(packet) = self.waiting.pop_front() else { break };
            let id = desk.signal(packet.to, None, packet.data.clone());
            self.sent.insert(id, packet);
        }
    }

    /// What became of a request. Does nothing if it is none of these.
    pub(super) fn ended(&mut self, id: &RequestId, outcome: Outcome, desk: &mut Desk<'_>) {
        let Some(packet) = self.sent.remove(id) else { return };
        use Refusal::{Overloaded, RateLimited, TooManyOpen};
        if let Outcome::Refused(RateLimited | Overloaded | TooManyOpen) = outcome
            && packet.until > desk.now()
        {
            self.put(packet, desk);
            self.again = self.again.or(Some(desk.now() + AGAIN));
        }
        self.go_on(usize::MAX, desk);
        if self.sent.is_empty() {
            self.sent = HashMap::new();
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.again
    }

    pub(super) fn woken(&mut self, desk: &mut Desk<'_>) {
        let now = desk.now();
        if self.again.take_if(|at| *at <= now).is_none() {
            return;
        }
        self.go_on(AGAIN_MAX, desk);
        if !self.waiting.is_empty() {
            self.again = Some(now + AGAIN);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail by panic")]
    use super::super::super::super::dialect::testing::Table;
    use super::*;
    use crate::relay::io::Request;

    const REFUSED: Outcome = Outcome::Refused(Refusal::RateLimited);

    #[derive(Default)]
    struct Scene {
        table: Table,
        outbox: Outbox,
    }

    impl Scene {
        fn send(&mut self, n: usize, bytes: usize) {
            let mut data = n.to_be_bytes().to_vec();
            data.resize(bytes.max(data.len()), 0);
            self.outbox.send(PeerId::new([1; 32]), data.into(), &mut self.table.desk());
        }

        /// What was asked of the machine since the last look: the number in each, and its request.
        fn sent(&mut self) -> Vec<(usize, RequestId)> {
            let sent = |request| match request {
                Request::Signal { id, data, .. } => (usize::from_be_bytes(*data.first_chunk().unwrap()), id),
                other => panic!("not a signal: {other:?}"),
            };
            self.table.requests().into_iter().map(sent).collect()
        }

        fn numbers(&mut self) -> Vec<usize> {
            self.sent().into_iter().map(|(n, _)| n).collect()
        }

        fn end(&mut self, id: &RequestId, outcome: Outcome) {
            self.outbox.ended(id, outcome, &mut self.table.desk());
        }

        /// So long passes; the outbox is woken when it wants to be.
        fn pass(&mut self, time: Duration) {
            self.table.ahead += time;
            self.outbox.woken(&mut self.table.desk());
        }
    }

    #[test]
    fn what_is_refused_for_now_is_sent_again_until_it_is_taken_and_nothing_else_is() {
        let mut scene = Scene::default();
        scene.send(1, 0);
        for outcome in [REFUSED, Outcome::Refused(Refusal::Overloaded)] {
            let id = scene.sent().pop().unwrap().1;
            scene.end(&id, outcome);
            assert!(scene.numbers().is_empty(), "not at once");
            scene.end(&id, outcome);
            scene.pass(AGAIN);
        }
        let id = scene.sent().pop().unwrap().1;
        scene.end(&id, Outcome::Delivered);
        scene.send(2, 0);
        let id = scene.sent().pop().unwrap().1;
        scene.end(&id, Outcome::Refused(Refusal::NoSuchPeer));
        scene.send(3, 0);
        let id = scene.sent().pop().unwrap().1;
        scene.end(&id, Outcome::Unknown);
        scene.pass(KEPT);
        assert!(scene.numbers().is_empty() && scene.outbox.deadline().is_none());
        assert!(scene.outbox.sent.is_empty() && scene.outbox.waiting.is_empty());
    }

    #[test]
    fn what_was_refused_for_too_long_is_lost() {
        let mut scene = Scene::default();
        scene.send(1, 0);
        let mut times = 0;
        while let Some((_, id)) = scene.sent().pop() {
            times += 1;
            assert!(times < 100, "it is sent for ever");
            scene.end(&id, REFUSED);
            scene.pass(AGAIN);
        }
        assert_eq!(times, KEPT.as_millis() / AGAIN.as_millis());
        assert!(scene.outbox.sent.is_empty() && scene.outbox.waiting.is_empty() && scene.outbox.deadline().is_none());
    }

    #[test]
    fn no_more_is_asked_of_the_machine_than_it_takes_and_the_rest_follows() {
        let mut scene = Scene::default();
        (0..OPEN_SIGNALS_MAX + 2).for_each(|n| scene.send(n, 0));
        let sent = scene.sent();
        assert_eq!(sent.len(), OPEN_SIGNALS_MAX);
        for (n, (_, id)) in sent.iter().enumerate().take(3) {
            scene.end(id, Outcome::Delivered);
            let next = OPEN_SIGNALS_MAX + n;
            assert_eq!(scene.numbers(), if n < 2 { vec![next] } else { vec![] });
        }
    }

    #[test]
    fn after_a_refusal_little_is_sent_at_once_until_nothing_waits() {
        let mut scene = Scene::default();
        (0..40).for_each(|n| scene.send(n, 0));
        for (_, id) in scene.sent() {
            scene.end(&id, REFUSED);
        }
        scene.send(40, 0);
        let mut batches = Vec::new();
        while scene.outbox.deadline().is_some() {
            assert!(scene.numbers().is_empty());
            scene.pass(AGAIN);
            batches.push(scene.numbers().len());
        }
        assert_eq!(batches, [AGAIN_MAX, AGAIN_MAX, 41 - 2 * AGAIN_MAX]);
        scene.send(41, 0);
        assert_eq!(scene.numbers(), [41]);
    }

    #[test]
    fn what_waits_is_bounded_in_number_and_bytes() {
        for (bytes, most) in [(8, WAITING_MAX), (60_000, WAITING_BYTES / 60_000)] {
            let mut scene = Scene::default();
            scene.send(0, bytes);
            let id = scene.sent().pop().unwrap().1;
            scene.end(&id, REFUSED);
            assert!(!scene.table.idle(), "the client has asked for something");
            (1..2 * most).for_each(|n| scene.send(n, bytes));
            assert_eq!(scene.outbox.waiting.len(), most);
            scene.table.ahead += KEPT;
            scene.send(7, 0);
            assert_eq!(scene.outbox.waiting.len(), 1, "what is too old makes room");
        }
    }
}
