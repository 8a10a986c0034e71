//! Messages on their way to peers. The recipient's key is a topic; its members are the sockets on which the recipient
//! listens. One gets the message: the newest, unless it seems to be dead.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use aldis_wire::host::Outcome;
use aldis_wire::id::PeerId;
use aldis_wire::refusal::Refusal;
use axum::body::Bytes;
use tokio::time::Instant;

use super::super::super::dialect::Desk;
use super::presence;
use crate::relay::io::{Event, Member, RequestId, Topic};

/// Sockets of one recipient that are looked at. A client has one for each host that it uses.
const SOCKETS_MAX: usize = 8;
/// A socket that has not answered for so long is in doubt: the next message goes to another one, if there is one. The
/// library repeats what was not acknowledged after 1 s for the first time.
const DOUBT: Duration = Duration::from_millis(900);
/// Sockets that never answered, remembered so that they stay in doubt until they do or are gone.
const DOUBTED_MAX: usize = 64;

/// Where a recipient listens, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Socket {
    pub(super) peer: PeerId,
    pub(super) stamp: u64,
}

/// What is sent, and which call of the client sends it.
#[derive(Debug)]
struct Letter {
    call: i32,
    topic: Topic,
    data: Bytes,
    /// This very socket, if the recipient listens on it: a look-up leaves it out.
    own: Option<Socket>,
}

#[derive(Debug)]
struct Sent {
    letter: Letter,
    to: PeerId,
    since: Instant,
    /// Where else it may go, best last.
    others: Vec<PeerId>,
}

/// How a call ends.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// It was delivered, or there is nobody to deliver it to.
    Done,
    /// For a reason that is the sender's own.
    Refused(Refusal),
    /// It may have been delivered or not.
    Unknown,
}

/// The machine answers a look-up before it takes the next request, and refuses signals beyond its limit: there are never
/// more entries than that.
#[derive(Debug, Default)]
pub(super) struct Post {
    asked: VecDeque<(RequestId, Letter)>,
    sent: HashMap<RequestId, Sent>,
    doubted: BTreeSet<PeerId>,
}

impl Post {
    /// Sends data to whoever listens on `topic`.
    pub(super) fn send(&mut self, call: i32, topic: Topic, data: Bytes, own: Option<Socket>, desk: &mut Desk<'_>) {
        let id = desk.discover(topic.clone(), SOCKETS_MAX);
        self.asked.push_back((id, Letter { call, topic, data, own }));
    }

    /// Shows an event to the post. `Ok` when it was its own, with a call that it ends; `Err` gives the event back.
    pub(super) fn event(&mut self, event: Event, desk: &mut Desk<'_>) -> Result<Option<(i32, Ended)>, Event> {
        match event {
            Event::Peers(ref sample) => match self.take(&sample.id) {
                Some(letter) => Ok(self.found(letter, &sample.members, desk)),
                None => Err(event),
            },
            Event::Receipt { ref id, outcome, .. } => match self.sent.remove(id) {
                Some(sent) => Ok(self.ended(sent, outcome, desk)),
                None => Err(event),
            },
            Event::Error { id: Some(ref id), refusal, .. } => match self.take(id) {
                Some(letter) => Ok(Some((letter.call, Ended::Refused(refusal)))),
                None => Err(event),
            },
            event => Err(event),
        }
    }

    fn take(&mut self, id: &RequestId) -> Option<Letter> {
        let place = self.asked.iter().position(|(asked, _)| asked == id)?;
        self.asked.remove(place).map(|(_, letter)| letter)
    }

    fn found(&mut self, letter: Letter, members: &[Member], desk: &mut Desk<'_>) -> Option<(i32, Ended)> {
        let listens = |member: &Member| {
            presence::read_mailbox_meta(&member.meta).map(|stamp| Socket { peer: member.peer, stamp })
        };
        let mut sockets: Vec<Socket> = members.iter().filter_map(listens).chain(letter.own).collect();
        let now = desk.now();
        sockets.sort_by_key(|socket| (Reverse(self.in_doubt(socket.peer, now)), socket.stamp, socket.peer));
        let others = sockets.into_iter().map(|socket| socket.peer).collect();
        self.try_next(letter, others, desk)
    }

    fn in_doubt(&self, peer: PeerId, now: Instant) -> bool {
        self.doubted.contains(&peer)
            || self.sent.values().any(|sent| sent.to == peer && now.duration_since(sent.since) > DOUBT)
    }

    fn try_next(&mut self, letter: Letter, mut others: Vec<PeerId>, desk: &mut Desk<'_>) -> Option<(i32, Ended)> {
        let Some(to) = others.pop() else { return Some((letter.call, Ended::Done)) };
        let id = desk.signal(to, Some(letter.topic.id), letter.data.clone());
        self.sent.insert(id, Sent { letter, to, since: desk.now(), others });
        None
    }

    fn ended(&mut self, sent: Sent, outcome: Outcome, desk: &mut Desk<'_>) -> Option<(i32, Ended)> {
        let Sent { letter, to, others, .. } = sent;
        match outcome {
            Outcome::Delivered => {
                self.doubted.remove(&to);
                Some((letter.call, Ended::Done))
            }
            // It may have arrived: no other socket of the same client may get it.
            Outcome::Unknown => {
                self.doubt(to);
                Some((letter.call, Ended::Unknown))
            }
            Outcome::Refused(refusal) if is_ours(refusal) => Some((letter.call, Ended::Refused(refusal))),
            Outcome::Refused(_) => self.try_next(letter, others, desk),
        }
    }

    fn doubt(&mut self, peer: PeerId) {
        if self.doubted.len() >= DOUBTED_MAX {
            self.doubted.pop_first();
        }
        self.doubted.insert(peer);
    }
}

/// Whether a refusal is about the sender or its message. All others are about the recipient.
fn is_ours(refusal: Refusal) -> bool {
    use Refusal::{BadField, Closing, HelloExpected, Overloaded, RateLimited, TooBig, TooManyOpen};
    matches!(refusal, RateLimited | Overloaded | TooManyOpen | TooBig | BadField | Closing | HelloExpected)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail by panic")]
    use super::super::super::super::dialect::testing::Table;
    use super::*;
    use crate::relay::io::{Request, Sample};
    use aldis_wire::id::TopicId;

    fn peer(n: u8) -> PeerId {
        PeerId::new([n; 32])
    }

    fn member(n: u8, stamp: u64) -> Member {
        Member { peer: peer(n), meta: presence::mailbox_meta(stamp) }
    }

    struct Scene {
        table: Table,
        post: Post,
    }

    impl Scene {
        fn new() -> Self {
            Self { table: Table::default(), post: Post::default() }
        }

        fn sends(&mut self, own: Option<Socket>, members: Vec<Member>) -> Option<(i32, Ended)> {
            let topic = Topic { id: TopicId::new([1; 32]), name: "t".into() };
            self.post.send(9, topic, Bytes::from_static(b"hi"), own, &mut self.table.desk());
            let id = self.table.requests()[0].id().unwrap().clone();
            let event = Event::Peers(Sample { id, topic: "t".into(), total: members.len(), members });
            self.post.event(event, &mut self.table.desk()).unwrap()
        }

        /// To whom a signal went, and its id.
        fn sent(&mut self) -> (PeerId, RequestId) {
            match &self.table.requests()[..] {
                [Request::Signal { id, to, .. }] => (*to, id.clone()),
                other => panic!("not one signal: {other:?}"),
            }
        }

        fn receipt(&mut self, id: &RequestId, outcome: Outcome) -> Option<(i32, Ended)> {
            let event = Event::Receipt { seq: 1, id: id.clone(), outcome };
            self.post.event(event, &mut self.table.desk()).unwrap()
        }
    }

    #[test]
    fn the_newest_socket_gets_it_and_nobody_else() {
        let mut scene = Scene::new();
        assert_eq!(scene.sends(None, vec![member(1, 5), member(2, 9), member(3, 7)]), None);
        let (to, id) = scene.sent();
        assert_eq!(to, peer(2));
        assert_eq!(scene.receipt(&id, Outcome::Delivered), Some((9, Ended::Done)));
        assert!(scene.table.requests().is_empty());
        assert!(scene.post.asked.is_empty() && scene.post.sent.is_empty());
    }

    #[test]
    fn a_socket_that_is_gone_is_passed_over_and_one_that_may_have_it_is_not() {
        let mut scene = Scene::new();
        assert_eq!(scene.sends(None, vec![member(1, 5), member(2, 9)]), None);
        let (_, id) = scene.sent();
        assert_eq!(scene.receipt(&id, Outcome::Refused(Refusal::Gone)), None);
        let (to, id) = scene.sent();
        assert_eq!(to, peer(1));
        assert_eq!(scene.receipt(&id, Outcome::Refused(Refusal::NoSuchPeer)), Some((9, Ended::Done)), "nobody is left");

        assert_eq!(scene.sends(None, vec![member(1, 5), member(2, 9)]), None);
        let (_, id) = scene.sent();
        assert_eq!(scene.receipt(&id, Outcome::Unknown), Some((9, Ended::Unknown)));
        assert!(scene.table.requests().is_empty(), "it may have arrived");
        // The next one goes where somebody answers.
        assert_eq!(scene.sends(None, vec![member(1, 5), member(2, 9)]), None);
        let (to, _) = scene.sent();
        assert_eq!(to, peer(1));
        // With no other choice, the silent one is tried again, and trusted again when it answers.
        assert_eq!(scene.sends(None, vec![member(2, 9)]), None);
        let (to, id) = scene.sent();
        assert_eq!(to, peer(2));
        assert_eq!(scene.receipt(&id, Outcome::Delivered), Some((9, Ended::Done)));
        assert!(scene.post.doubted.is_empty());
    }

    #[test]
    fn a_message_to_oneself_goes_to_this_socket_unless_there_is_a_newer_one() {
        let mut scene = Scene::new();
        let own = Some(Socket { peer: peer(7), stamp: 6 });
        assert_eq!(scene.sends(own, vec![member(1, 5)]), None);
        assert_eq!(scene.sent().0, peer(7));
        assert_eq!(scene.sends(own, vec![member(1, 8)]), None);
        assert_eq!(scene.sent().0, peer(1));
    }

    #[test]
    fn what_is_the_senders_own_fault_is_told_and_absence_is_not() {
        let mut scene = Scene::new();
        assert_eq!(scene.sends(None, vec![]), Some((9, Ended::Done)));
        let not_a_mailbox = Member { peer: peer(1), meta: Bytes::from_static(b"\xff") };
        assert_eq!(scene.sends(None, vec![not_a_mailbox]), Some((9, Ended::Done)));
        assert_eq!(scene.sends(None, vec![member(1, 5), member(2, 9)]), None);
        let (_, id) = scene.sent();
        let refused = Outcome::Refused(Refusal::RateLimited);
        assert_eq!(scene.receipt(&id, refused), Some((9, Ended::Refused(Refusal::RateLimited))));
    }

    #[test]
    fn sockets_in_doubt_are_remembered_within_a_bound() {
        let mut post = Post::default();
        for n in 0..200 {
            post.doubt(peer(n));
        }
        assert_eq!(post.doubted.len(), DOUBTED_MAX);
    }
}
