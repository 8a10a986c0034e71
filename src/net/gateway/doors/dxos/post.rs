//! Messages on their way to peers. The recipient's key is a topic; its members are the sockets on which the recipient
//! listens, or anybody who says so. All of them get the message, so that nobody keeps it from the recipient.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use aldis_wire::host::Outcome;
use aldis_wire::id::{PeerId, TopicId};
use aldis_wire::refusal::Refusal;
use axum::body::Bytes;
use tokio::time::Instant;

use super::super::super::dialect::Desk;
use super::presence;
use crate::relay::io::{Event, Member, RequestId, Topic};
use crate::relay::limits::OPEN_SIGNALS_MAX;

/// Sockets of one recipient that are looked at. A client has one for each host that it uses.
const SOCKETS_MAX: usize = 8;
/// Messages to one of several sockets that have no receipt yet: one that is dead, and has not been missed yet, must leave
/// room for the others.
const OPEN_PER_SOCKET_MAX: usize = OPEN_SIGNALS_MAX / 4;

/// A recipient that does not listen anywhere is looked for again so many times, in these pauses, for 0.7 s in all: its client
/// connects anew 0.1 s after its socket broke, and may be in a swarm a moment before it listens. The pauses are short, since
/// an offer must not wait for 0.1 s after its recipient listens: the recipient's library makes an offer itself 0.1 s after it
/// saw the sender, and breaks the pair for 10 s when a rejected offer's answer comes together with the other's offer.
const LOOKS: [(usize, Duration); 2] = [(10, Duration::from_millis(20)), (10, Duration::from_millis(50))];
/// Letters that wait for their recipients; 1 MiB. Beyond it, a letter to nobody is dropped at once.
const WAITING_MAX: usize = 16;

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
    /// Signals that have no receipt yet.
    open: usize,
    /// The best news so far.
    news: Option<Ended>,
    /// Whether the call has its answer.
    answered: bool,
}

/// A recipient that listens nowhere, and what waits for it, in order.
#[derive(Debug)]
struct Absent {
    topic: Topic,
    letters: Vec<u64>,
    /// When to look again; `None` while that is under way.
    at: Option<Instant>,
    looks: usize,
}

/// What a look-up is for.
#[derive(Debug)]
enum Look {
    /// A letter; and this very socket if the recipient listens on it, which a look-up leaves out.
    First(u64, Option<Socket>),
    /// All that waits for a recipient.
    Again(TopicId),
}

/// How a call ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// It was delivered, or there is nobody to deliver it to.
    Done,
    /// For a reason that is the sender's own.
    Refused(Refusal),
    /// It may have been delivered or not.
    Unknown,
}

const FULL: Ended = Ended::Refused(Refusal::TooManyOpen);

/// The machine answers a look-up before it takes the next request, and refuses signals beyond its limit: there are never
/// more entries than that, and those that wait.
#[derive(Debug, Default)]
pub(super) struct Post {
    letters: BTreeMap<u64, Letter>,
    next: u64,
    asked: VecDeque<(RequestId, Look)>,
    absent: Vec<Absent>,
    /// Signals without a receipt: whose letters they carry, and where to.
    sent: HashMap<RequestId, (u64, PeerId)>,
}

impl Post {
    /// Sends data to whoever listens on `topic`.
    pub(super) fn send(&mut self, call: i32, topic: Topic, data: Bytes, own: Option<Socket>, desk: &mut Desk<'_>) {
        self.next += 1;
        let id = self.next;
        // Behind what waits for the recipient, unless another letter to it is already on its way there.
        let first = |(_, look): &(RequestId, Look)| matches!(look, Look::First(id, _) if self.is_to(*id, topic.id));
        let may_wait = self.has_room() && !self.asked.iter().any(first);
        match self.absent.iter_mut().find(|absent| absent.topic.id == topic.id) {
            Some(absent) if may_wait => absent.letters.push(id),
            _ => self.asked.push_back((desk.discover(topic.clone(), SOCKETS_MAX), Look::First(id, own))),
        }
        self.letters.insert(id, Letter { call, topic, data, open: 0, news: None, answered: false });
    }

    fn is_to(&self, id: u64, topic: TopicId) -> bool {
        self.letters.get(&id).is_some_and(|letter| letter.topic.id == topic)
    }

    /// Shows an event to the post. `Ok` when it was its own, with the calls that it ends; `Err` gives the event back.
    #[allow(clippy::result_large_err, reason = "what is not for it is handed on")]
    pub(super) fn event(&mut self, event: Event, desk: &mut Desk<'_>) -> Result<Vec<(i32, Ended)>, Event> {
        match event {
            Event::Peers(ref sample) => match self.take(&sample.id) {
                Some(look) => Ok(self.found(look, &sample.members, desk)),
                None => Err(event),
            },
            Event::Receipt { ref id, outcome, .. } => match self.sent.remove(id) {
                Some((letter, _)) => Ok(self.receipt(letter, outcome).into_iter().collect()),
                None => Err(event),
            },
            Event::Error { id: Some(ref id), refusal, .. } => match self.take(id) {
                Some(look) => Ok(self.unfound(look, refusal)),
                None => Err(event),
            },
            event => Err(event),
        }
    }

    /// When a recipient is looked for again.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.absent.iter().filter_map(|absent| absent.at).min()
    }

    /// Looks for those who were absent.
    pub(super) fn woken(&mut self, desk: &mut Desk<'_>) {
        let now = desk.now();
        for absent in self.absent.iter_mut().filter(|absent| absent.at.is_some_and(|at| at <= now)) {
            absent.at = None;
            let look = Look::Again(absent.topic.id);
            self.asked.push_back((desk.discover(absent.topic.clone(), SOCKETS_MAX), look));
        }
    }

    fn has_room(&self) -> bool {
        self.absent.iter().map(|absent| absent.letters.len()).sum::<usize>() < WAITING_MAX
    }

    fn take(&mut self, id: &RequestId) -> Option<Look> {
        let place = self.asked.iter().position(|(asked, _)| asked == id)?;
        self.asked.remove(place).map(|(_, look)| look)
    }

    /// Ends the waiting for a recipient.
    fn absent(&mut self, topic: TopicId) -> Option<Absent> {
        let place = self.absent.iter().position(|absent| absent.topic.id == topic)?;
        Some(self.absent.remove(place))
    }

    fn found(&mut self, look: Look, members: &[Member], desk: &mut Desk<'_>) -> Vec<(i32, Ended)> {
        let own = if let Look::First(_, own) = look { own } else { None };
        let sockets = sockets(members, own);
        let has_room = self.has_room();
        let absent = match look {
            Look::First(id, _) => {
                let Some(topic) = self.letters.get(&id).map(|letter| letter.topic.clone()) else { return Vec::new() };
                match self.absent(topic.id) {
                    // Others were not found while this look-up was on its way.
                    Some(mut absent) if has_room || !sockets.is_empty() => {
                        absent.letters.push(id);
                        if sockets.is_empty() {
                            self.absent.push(absent);
                            return Vec::new();
                        }
                        Some(absent)
                    }
                    // To be sent by itself, it would overtake those that wait.
                    Some(absent) => {
                        self.absent.push(absent);
                        return self.over(id, FULL).into_iter().collect();
                    }
                    None => Some(Absent { topic, letters: vec![id], at: None, looks: 0 }),
                }
            }
            Look::Again(topic) => self.absent(topic),
        };
        let Some(mut absent) = absent else { return Vec::new() };
        if sockets.is_empty()
            && let Some(pause) = pause(absent.looks)
            && (absent.looks > 0 || has_room)
        {
            absent.at = Some(desk.now() + pause);
            absent.looks += 1;
            self.absent.push(absent);
            return Vec::new();
        }
        absent.letters.into_iter().filter_map(|id| self.send_to(id, &sockets, desk)).collect()
    }

    fn unfound(&mut self, look: Look, refusal: Refusal) -> Vec<(i32, Ended)> {
        let letters = match look {
            Look::First(id, _) => vec![id],
            Look::Again(topic) => self.absent(topic).map_or_else(Vec::new, |absent| absent.letters),
        };
        letters.into_iter().filter_map(|id| self.over(id, Ended::Refused(refusal))).collect()
    }

    /// Sends a letter to all sockets. It is over when there are none.
    fn send_to(&mut self, id: u64, sockets: &[PeerId], desk: &mut Desk<'_>) -> Option<(i32, Ended)> {
        let letter = self.letters.get_mut(&id)?;
        let data = std::mem::take(&mut letter.data);
        for to in sockets {
            let open = self.sent.values().filter(|(_, other)| other == to).count();
            if sockets.len() > 1 && open >= OPEN_PER_SOCKET_MAX {
                letter.news = Some(FULL);
                continue;
            }
            letter.open += 1;
            let request = desk.signal(*to, Some(letter.topic.id), data.clone());
            self.sent.insert(request, (id, *to));
        }
        let news = letter.news.unwrap_or(Ended::Done);
        if letter.open == 0 { self.over(id, news) } else { None }
    }

    /// The first that has it ends the call. Otherwise all have to say that they have not.
    fn receipt(&mut self, id: u64, outcome: Outcome) -> Option<(i32, Ended)> {
        let letter = self.letters.get_mut(&id)?;
        letter.open -= 1;
        match outcome {
            Outcome::Delivered => return self.over(id, Ended::Done),
            Outcome::Unknown => letter.news = Some(Ended::Unknown),
            Outcome::Refused(refusal) if is_ours(refusal) && letter.news != Some(Ended::Unknown) => {
                letter.news = Some(Ended::Refused(refusal));
            }
            Outcome::Refused(_) => {}
        }
        let news = letter.news.unwrap_or(Ended::Done);
        if letter.open == 0 { self.over(id, news) } else { None }
    }

    /// Ends a call, once. The letter goes when its last receipt has come.
    fn over(&mut self, id: u64, ended: Ended) -> Option<(i32, Ended)> {
        let letter = self.letters.get_mut(&id)?;
        let (call, answered) = (letter.call, std::mem::replace(&mut letter.answered, true));
        if letter.open == 0 {
            self.letters.remove(&id);
        }
        (!answered).then_some((call, ended))
    }
}

/// How long to wait before a recipient is looked for again that was looked for so often; `None` when it is given up.
fn pause(looks: usize) -> Option<Duration> {
    LOOKS.iter().flat_map(|(times, pause)| std::iter::repeat_n(*pause, *times)).nth(looks)
}

/// Where a recipient listens, the newest first.
fn sockets(members: &[Member], own: Option<Socket>) -> Vec<PeerId> {
    let listens =
        |member: &Member| presence::read_mailbox_meta(&member.meta).map(|stamp| Socket { peer: member.peer, stamp });
    let mut sockets: Vec<Socket> = members.iter().filter_map(listens).chain(own).collect();
    sockets.sort_by_key(|it| Reverse((it.stamp, it.peer)));
    sockets.into_iter().map(|socket| socket.peer).collect()
}

/// Whether a refusal is about the sender or its message. All others are about the recipient.
fn is_ours(refusal: Refusal) -> bool {
    use Refusal::{BadField, Closing, HelloExpected, Overloaded, RateLimited, TooBig, TooManyOpen};
    matches!(refusal, RateLimited | Overloaded | TooManyOpen | TooBig | BadField | Closing | HelloExpected)
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::disallowed_methods,
        reason = "a test may fail by panic, and has a clock"
    )]
    use super::super::super::super::dialect::testing::Table;
    use super::*;
    use crate::relay::io::{Request, Sample};

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
            self.writes(9, own);
            self.finds(members).pop()
        }

        fn writes(&mut self, call: i32, own: Option<Socket>) {
            let topic = Topic { id: TopicId::new([1; 32]), name: "t".into() };
            self.post.send(call, topic, Bytes::from_static(b"hi"), own, &mut self.table.desk());
        }

        /// The answer to the one look-up.
        fn finds(&mut self, members: Vec<Member>) -> Vec<(i32, Ended)> {
            let id = self.table.requests()[0].id().unwrap().clone();
            let event = Event::Peers(Sample { id, topic: "t".into(), total: members.len(), members });
            self.post.event(event, &mut self.table.desk()).unwrap()
        }

        /// It is time to look for the recipient again.
        fn looks_again(&mut self) {
            assert!(self.post.deadline().is_some_and(|at| at > Instant::now()));
            self.post.absent[0].at = Some(Instant::now());
            self.post.woken(&mut self.table.desk());
        }

        /// To whom a signal went, and its id.
        fn sent(&mut self) -> (PeerId, RequestId) {
            match &self.table.requests()[..] {
                [Request::Signal { id, to, .. }] => (*to, id.clone()),
                other => panic!("not one signal: {other:?}"),
            }
        }

        /// To whom signals went, and their ids.
        fn all_sent(&mut self) -> Vec<(PeerId, RequestId)> {
            let sent = |request| match request {
                Request::Signal { id, to, .. } => (to, id),
                other => panic!("not a signal: {other:?}"),
            };
            self.table.requests().into_iter().map(sent).collect()
        }

        fn is_empty(&self) -> bool {
            let Post { asked, sent, letters, absent, .. } = &self.post;
            asked.is_empty() && sent.is_empty() && letters.is_empty() && absent.is_empty()
        }

        fn receipt(&mut self, id: &RequestId, outcome: Outcome) -> Option<(i32, Ended)> {
            let event = Event::Receipt { seq: 1, id: id.clone(), outcome };
            self.post.event(event, &mut self.table.desk()).unwrap().pop()
        }
    }

    #[test]
    fn all_sockets_get_it_and_the_first_that_has_it_ends_the_call() {
        let mut scene = Scene::new();
        let own = Some(Socket { peer: peer(7), stamp: 6 });
        assert_eq!(scene.sends(own, vec![member(1, 5), member(2, u64::MAX), member(3, 7)]), None);
        let sent = scene.all_sent();
        assert_eq!(sent.iter().map(|(to, _)| *to).collect::<Vec<_>>(), [2, 3, 7, 1].map(peer));
        let ends = [
            (Outcome::Refused(Refusal::Gone), None),
            (Outcome::Delivered, Some((9, Ended::Done))),
            (Outcome::Unknown, None),
            (Outcome::Delivered, None),
        ];
        for ((_, id), (outcome, ended)) in sent.iter().zip(ends) {
            assert_eq!(scene.receipt(id, outcome), ended);
        }
        assert!(scene.table.requests().is_empty() && scene.is_empty());
    }

    #[test]
    fn a_call_that_nobody_took_ends_with_the_best_news_when_all_have_answered() {
        use Outcome::{Refused, Unknown};
        let (gone, fast) = (Refused(Refusal::Gone), Refused(Refusal::RateLimited));
        for (outcomes, ended) in [
            ([gone, gone], Ended::Done),
            ([Unknown, fast], Ended::Unknown),
            ([fast, Unknown], Ended::Unknown),
            ([fast, gone], Ended::Refused(Refusal::RateLimited)),
        ] {
            let mut scene = Scene::new();
            assert_eq!(scene.sends(None, vec![member(1, 5), member(2, 9)]), None);
            let sent = scene.all_sent();
            assert_eq!(scene.receipt(&sent[0].1, outcomes[0]), None);
            assert_eq!(scene.receipt(&sent[1].1, outcomes[1]), Some((9, ended)), "{outcomes:?}");
            assert!(scene.is_empty());
        }
    }

    #[test]
    fn a_socket_that_does_not_answer_leaves_room_for_those_that_do() {
        let mut scene = Scene::new();
        let mut silent = 0;
        for _ in 0..OPEN_SIGNALS_MAX {
            scene.sends(None, vec![member(1, 5), member(2, 9)]);
            for (to, id) in scene.all_sent() {
                if to == peer(1) {
                    assert_eq!(scene.receipt(&id, Outcome::Delivered), Some((9, Ended::Done)));
                } else {
                    silent += 1;
                }
            }
        }
        assert_eq!(silent, OPEN_PER_SOCKET_MAX);
        assert_eq!(scene.sends(None, vec![member(2, 9)]), None);
        assert_eq!(scene.sent().0, peer(2), "there is no other");
    }

    #[test]
    fn what_is_the_senders_own_fault_is_told_and_absence_is_not() {
        let mut scene = Scene::new();
        let not_a_mailbox = Member { peer: peer(1), meta: Bytes::from_static(b"\xff") };
        assert_eq!(scene.sends(None, vec![not_a_mailbox]), None);
        let mut ended = Vec::new();
        while scene.post.deadline().is_some() {
            assert_eq!(ended, []);
            scene.looks_again();
            ended = scene.finds(vec![]);
        }
        assert_eq!(ended, [(9, Ended::Done)]);
        assert!(scene.is_empty());
        assert_eq!(scene.sends(None, vec![member(1, 5)]), None);
        let (_, id) = scene.sent();
        let refused = Outcome::Refused(Refusal::RateLimited);
        assert_eq!(scene.receipt(&id, refused), Some((9, Ended::Refused(Refusal::RateLimited))));
    }

    #[test]
    fn an_offer_does_not_wait_for_long_after_its_recipient_listens() {
        // The library makes an offer itself so long after it saw a peer (`INITIATION_DELAY`); hosts tell of it within 50 ms.
        let (library, announced) = (Duration::from_millis(100), Duration::from_millis(50));
        let pauses: Vec<Duration> = (0..).map_while(pause).collect();
        assert!(pauses.iter().all(|pause| *pause <= library - announced), "{pauses:?}");
        assert_eq!(pauses.iter().sum::<Duration>(), Duration::from_millis(700), "what a client needs to connect anew");
    }

    #[test]
    fn what_was_written_between_two_sockets_of_a_recipient_arrives_in_order() {
        let mut scene = Scene::new();
        assert_eq!(scene.sends(None, vec![]), None);
        scene.writes(10, None);
        assert!(scene.table.requests().is_empty(), "it waits behind the first one");
        scene.looks_again();
        assert_eq!(scene.finds(vec![member(1, 5)]), []);
        let sent = scene.table.requests();
        let [Request::Signal { id: first, .. }, Request::Signal { id: second, .. }] = &sent[..] else {
            panic!("not two signals: {sent:?}")
        };
        assert_eq!(scene.receipt(first, Outcome::Delivered), Some((9, Ended::Done)));
        assert_eq!(scene.receipt(second, Outcome::Delivered), Some((10, Ended::Done)));
        assert!(scene.is_empty());
    }

    #[test]
    fn letters_that_wait_are_bounded_and_end_when_the_look_up_is_refused() {
        let mut scene = Scene::new();
        assert_eq!(scene.sends(None, vec![]), None);
        for _ in 1..WAITING_MAX {
            scene.writes(10, None);
        }
        assert_eq!(scene.sends(None, vec![]), Some((9, FULL)), "it would overtake those that wait");
        let other = Topic { id: TopicId::new([2; 32]), name: "t".into() };
        scene.post.send(9, other, Bytes::new(), None, &mut scene.table.desk());
        assert_eq!(scene.finds(vec![]), [(9, Ended::Done)], "one too many to wait");
        scene.looks_again();
        let id = Some(scene.table.requests()[0].id().unwrap().clone());
        let (refusal, message) = (Refusal::RateLimited, String::new());
        let error = Event::Error { id, refusal, message, known: None, retry_after: None };
        let ended = scene.post.event(error, &mut scene.table.desk()).unwrap();
        assert_eq!(ended.len(), WAITING_MAX);
        assert!(scene.is_empty());
    }

    #[test]
    fn a_letter_for_which_there_was_no_room_does_not_overtake_those_that_wait_and_is_not_overtaken() {
        let mut scene = Scene::new();
        let other = Topic { id: TopicId::new([2; 32]), name: "t".into() };
        scene.post.send(1, other, Bytes::new(), None, &mut scene.table.desk());
        assert_eq!(scene.finds(vec![]), []);
        scene.post.absent[0].looks = usize::MAX;
        assert_eq!(scene.sends(None, vec![]), None);
        (2..WAITING_MAX).for_each(|_| scene.writes(9, None));
        scene.writes(10, None);
        let pending = scene.table.requests();
        // The other recipient is given up, and there is room.
        scene.post.absent[0].at = Some(Instant::now());
        scene.post.woken(&mut scene.table.desk());
        assert_eq!(scene.finds(vec![]), [(1, Ended::Done)]);
        scene.writes(11, None);
        let last = scene.table.requests();
        for request in [pending, last] {
            let id = request[0].id().unwrap().clone();
            let event = Event::Peers(Sample { id, topic: "t".into(), total: 1, members: vec![member(1, 5)] });
            assert_eq!(scene.post.event(event, &mut scene.table.desk()), Ok(vec![]));
        }
        let calls: Vec<i32> =
            scene.all_sent().iter().map(|(_, id)| scene.receipt(id, Outcome::Delivered).unwrap().0).collect();
        assert_eq!(calls, [[9; WAITING_MAX - 1].to_vec(), vec![10, 11]].concat());
        assert!(scene.is_empty());
    }

    #[test]
    fn look_ups_that_are_on_their_way_together_keep_the_order() {
        for is_found in [false, true] {
            let mut scene = Scene::new();
            scene.writes(9, None);
            let first = scene.table.requests();
            scene.writes(10, None);
            let second = scene.table.requests();
            for (request, members) in [(first, vec![]), (second, vec![member(1, 5); usize::from(is_found)])] {
                let id = request[0].id().unwrap().clone();
                let event = Event::Peers(Sample { id, topic: "t".into(), total: members.len(), members });
                assert_eq!(scene.post.event(event, &mut scene.table.desk()), Ok(vec![]));
            }
            if !is_found {
                scene.looks_again();
                assert_eq!(scene.finds(vec![member(1, 5)]), []);
            }
            let ended: Vec<_> =
                scene.all_sent().iter().filter_map(|(_, id)| scene.receipt(id, Outcome::Delivered)).collect();
            assert_eq!(ended, [(9, Ended::Done), (10, Ended::Done)]);
            assert!(scene.is_empty());
        }
    }
}
