//! Messages on their way to peers. The recipient's key is a topic; its members are the sockets on which the recipient
//! listens. The newest gets the message, and another one only when that one does not take it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use aldis_wire::host::Outcome;
use aldis_wire::id::{PeerId, TopicId};
use aldis_wire::refusal::Refusal;
use axum::body::Bytes;
use tokio::time::Instant;

use super::super::super::dialect::Desk;
use super::presence;
use crate::relay::io::{Event, Member, RequestId, Topic};

/// Sockets of one recipient that are looked at. A client has one for each host that it uses.
const SOCKETS_MAX: usize = 8;
/// A socket that has not answered for so long is in doubt: another one is tried, and preferred from then on. Twice the
/// longest way around the world; half a second less than the library waits before it repeats a message.
const DOUBT: Duration = Duration::from_millis(600);
/// Sockets in doubt that are remembered until they answer or are gone.
const DOUBTED_MAX: usize = 64;

/// A recipient that does not listen anywhere is looked for again after so long, and after so long once more: its client
/// connects anew 0.1 s after its socket broke, and may be in a swarm a moment before it listens.
const PATIENCE: [Duration; 3] = [Duration::from_millis(100), Duration::from_millis(200), Duration::from_millis(400)];
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
    /// Where it may go besides; best last.
    others: Vec<PeerId>,
    /// Signals that have no receipt yet.
    open: usize,
    /// Whether the call has its answer.
    answered: bool,
}

#[derive(Debug)]
struct Sent {
    letter: u64,
    to: PeerId,
    /// When it comes into doubt; `None` if it is.
    doubtful: Option<Instant>,
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
/// more entries than that, and those that wait.
#[derive(Debug, Default)]
pub(super) struct Post {
    letters: BTreeMap<u64, Letter>,
    next: u64,
    asked: VecDeque<(RequestId, Look)>,
    absent: Vec<Absent>,
    sent: HashMap<RequestId, Sent>,
    doubted: BTreeSet<PeerId>,
}

impl Post {
    /// Sends data to whoever listens on `topic`.
    pub(super) fn send(&mut self, call: i32, topic: Topic, data: Bytes, own: Option<Socket>, desk: &mut Desk<'_>) {
        self.next += 1;
        let id = self.next;
        let has_room = self.has_room();
        let absent = self.absent.iter_mut().find(|absent| absent.topic.id == topic.id);
        if let Some(absent) = absent.filter(|_| has_room) {
            absent.letters.push(id);
        } else {
            self.asked.push_back((desk.discover(topic.clone(), SOCKETS_MAX), Look::First(id, own)));
        }
        self.letters.insert(id, Letter { call, topic, data, others: Vec::new(), open: 0, answered: false });
    }

    /// Shows an event to the post. `Ok` when it was its own, with the calls that it ends; `Err` gives the event back.
    pub(super) fn event(&mut self, event: Event, desk: &mut Desk<'_>) -> Result<Vec<(i32, Ended)>, Event> {
        match event {
            Event::Peers(ref sample) => match self.take(&sample.id) {
                Some(look) => Ok(self.found(look, &sample.members, desk)),
                None => Err(event),
            },
            Event::Receipt { ref id, outcome, .. } => match self.sent.remove(id) {
                Some(sent) => Ok(self.receipt(sent, outcome, desk).into_iter().collect()),
                None => Err(event),
            },
            Event::Error { id: Some(ref id), refusal, .. } => match self.take(id) {
                Some(look) => Ok(self.unfound(look, refusal)),
                None => Err(event),
            },
            event => Err(event),
        }
    }

    /// When another socket is tried, or a recipient looked for again.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let waits = |sent: &&Sent| self.letters.get(&sent.letter).is_some_and(|letter| !letter.others.is_empty());
        let doubts = self.sent.values().filter(waits).filter_map(|sent| sent.doubtful);
        doubts.chain(self.absent.iter().filter_map(|absent| absent.at)).min()
    }

    /// Tries other sockets where one has not answered in time, and looks for those who were absent.
    pub(super) fn woken(&mut self, desk: &mut Desk<'_>) {
        let now = desk.now();
        let mut late = Vec::new();
        for sent in self.sent.values_mut().filter(|sent| sent.doubtful.is_some_and(|at| at <= now)) {
            sent.doubtful = None;
            late.push((sent.letter, sent.to));
        }
        // In the order in which the client wrote them.
        late.sort_unstable();
        for (letter, to) in late {
            self.doubt(to);
            _ = self.try_next(letter, desk);
        }
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
        let sockets = self.sockets(members, own);
        let absent = match look {
            Look::First(id, _) => self.letters.get(&id).map(|letter| Absent {
                topic: letter.topic.clone(),
                letters: vec![id],
                at: None,
                looks: 0,
            }),
            Look::Again(topic) => self.absent(topic),
        };
        let Some(mut absent) = absent else { return Vec::new() };
        if sockets.is_empty()
            && let Some(patience) = PATIENCE.get(absent.looks)
            && (absent.looks > 0 || self.has_room())
        {
            absent.at = Some(desk.now() + *patience);
            absent.looks += 1;
            self.absent.push(absent);
            return Vec::new();
        }
        let mut ended = Vec::new();
        for id in absent.letters {
            if let Some(letter) = self.letters.get_mut(&id) {
                letter.others.clone_from(&sockets);
            }
            ended.extend(self.try_next(id, desk));
        }
        ended
    }

    fn unfound(&mut self, look: Look, refusal: Refusal) -> Vec<(i32, Ended)> {
        let letters = match look {
            Look::First(id, _) => vec![id],
            Look::Again(topic) => self.absent(topic).map_or_else(Vec::new, |absent| absent.letters),
        };
        letters.into_iter().filter_map(|id| self.over(id, Ended::Refused(refusal))).collect()
    }

    /// Where a recipient listens, best last.
    fn sockets(&self, members: &[Member], own: Option<Socket>) -> Vec<PeerId> {
        let listens = |member: &Member| {
            presence::read_mailbox_meta(&member.meta).map(|stamp| Socket { peer: member.peer, stamp })
        };
        let mut sockets: Vec<Socket> = members.iter().filter_map(listens).chain(own).collect();
        sockets.sort_by_key(|it| (Reverse(self.doubted.contains(&it.peer)), it.stamp, it.peer));
        sockets.into_iter().map(|socket| socket.peer).collect()
    }

    /// Sends a letter to the next socket. It is over when there is none, and no receipt to wait for.
    fn try_next(&mut self, id: u64, desk: &mut Desk<'_>) -> Option<(i32, Ended)> {
        let letter = self.letters.get_mut(&id)?;
        match letter.others.pop() {
            Some(to) => {
                letter.open += 1;
                let request = desk.signal(to, Some(letter.topic.id), letter.data.clone());
                self.sent.insert(request, Sent { letter: id, to, doubtful: Some(desk.now() + DOUBT) });
                None
            }
            None if letter.open == 0 => self.over(id, Ended::Done),
            None => None,
        }
    }

    fn receipt(&mut self, sent: Sent, outcome: Outcome, desk: &mut Desk<'_>) -> Option<(i32, Ended)> {
        let letter = self.letters.get_mut(&sent.letter)?;
        letter.open -= 1;
        match outcome {
            Outcome::Delivered => {
                self.doubted.remove(&sent.to);
                self.over(sent.letter, Ended::Done)
            }
            Outcome::Unknown => {
                self.doubt(sent.to);
                let last = self.letters.get(&sent.letter).is_some_and(|it| it.others.is_empty() && it.open == 0);
                if last { self.over(sent.letter, Ended::Unknown) } else { self.try_next(sent.letter, desk) }
            }
            Outcome::Refused(refusal) if is_ours(refusal) => self.over(sent.letter, Ended::Refused(refusal)),
            Outcome::Refused(_) => self.try_next(sent.letter, desk),
        }
    }

    /// Ends a call, once. The letter goes when its last receipt has come.
    fn over(&mut self, id: u64, ended: Ended) -> Option<(i32, Ended)> {
        let letter = self.letters.get_mut(&id)?;
        letter.others.clear();
        let (call, answered) = (letter.call, std::mem::replace(&mut letter.answered, true));
        if letter.open == 0 {
            self.letters.remove(&id);
        }
        (!answered).then_some((call, ended))
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

        /// Nothing is heard of a signal for so long that it comes into doubt.
        fn is_late(&mut self, id: &RequestId) {
            assert!(self.post.deadline().is_some_and(|at| at > Instant::now()));
            self.post.sent.get_mut(id).unwrap().doubtful = Some(Instant::now());
            self.post.woken(&mut self.table.desk());
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
    fn the_newest_socket_gets_it_and_nobody_else() {
        let mut scene = Scene::new();
        assert_eq!(scene.sends(None, vec![member(1, 5), member(2, 9), member(3, 7)]), None);
        let (to, id) = scene.sent();
        assert_eq!(to, peer(2));
        assert_eq!(scene.receipt(&id, Outcome::Delivered), Some((9, Ended::Done)));
        assert!(scene.table.requests().is_empty() && scene.is_empty());
    }

    #[test]
    fn a_socket_that_is_gone_is_passed_over_at_once() {
        let mut scene = Scene::new();
        assert_eq!(scene.sends(None, vec![member(1, 5), member(2, 9)]), None);
        let (_, id) = scene.sent();
        assert_eq!(scene.receipt(&id, Outcome::Refused(Refusal::Gone)), None);
        let (to, id) = scene.sent();
        assert_eq!(to, peer(1));
        assert_eq!(scene.receipt(&id, Outcome::Refused(Refusal::NoSuchPeer)), Some((9, Ended::Done)), "nobody is left");
        assert!(scene.is_empty());
    }

    #[test]
    fn a_socket_that_does_not_answer_is_passed_over_after_a_while_and_until_it_answers() {
        let mut scene = Scene::new();
        assert_eq!(scene.sends(None, vec![member(1, 5), member(2, 9)]), None);
        let (to, late) = scene.sent();
        assert_eq!(to, peer(2));
        scene.is_late(&late);
        let (to, id) = scene.sent();
        assert_eq!(to, peer(1));
        assert_eq!(scene.receipt(&id, Outcome::Delivered), Some((9, Ended::Done)));
        assert_eq!(scene.post.deadline(), None, "nobody else is to be tried");
        // The next one goes where somebody answers.
        assert_eq!(scene.sends(None, vec![member(1, 5), member(2, 9)]), None);
        let (to, id) = scene.sent();
        assert_eq!(to, peer(1));
        assert_eq!(scene.receipt(&id, Outcome::Delivered), Some((9, Ended::Done)));
        assert_eq!(scene.receipt(&late, Outcome::Unknown), None, "that call has its answer");
        // With no other choice, the silent one is tried again, and trusted again when it answers.
        assert_eq!(scene.sends(None, vec![member(2, 9)]), None);
        let (to, id) = scene.sent();
        assert_eq!(to, peer(2));
        assert_eq!(scene.receipt(&id, Outcome::Delivered), Some((9, Ended::Done)));
        assert!(scene.post.doubted.is_empty() && scene.is_empty());
    }

    #[test]
    fn what_was_delivered_goes_nowhere_else() {
        let mut scene = Scene::new();
        assert_eq!(scene.sends(None, vec![member(1, 5), member(2, 9), member(3, 3)]), None);
        let (_, first) = scene.sent();
        scene.is_late(&first);
        let (_, second) = scene.sent();
        assert_eq!(scene.receipt(&second, Outcome::Delivered), Some((9, Ended::Done)));
        assert_eq!(scene.receipt(&first, Outcome::Refused(Refusal::Gone)), None);
        assert!(scene.table.requests().is_empty() && scene.is_empty());
    }

    #[test]
    fn a_call_is_answered_once_and_with_the_best_news() {
        let mut scene = Scene::new();
        assert_eq!(scene.sends(None, vec![member(1, 5), member(2, 9)]), None);
        let (_, first) = scene.sent();
        scene.is_late(&first);
        let (_, second) = scene.sent();
        assert_eq!(scene.receipt(&first, Outcome::Unknown), None, "the other may still take it");
        assert_eq!(scene.receipt(&second, Outcome::Delivered), Some((9, Ended::Done)));
        assert_eq!(scene.sends(None, vec![member(2, 9)]), None);
        let (_, id) = scene.sent();
        assert_eq!(scene.receipt(&id, Outcome::Unknown), Some((9, Ended::Unknown)));
        assert!(scene.is_empty());
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
        let not_a_mailbox = Member { peer: peer(1), meta: Bytes::from_static(b"\xff") };
        assert_eq!(scene.sends(None, vec![not_a_mailbox]), None);
        for again in 0..PATIENCE.len() {
            scene.looks_again();
            let ended = scene.finds(vec![]);
            assert_eq!(ended.len(), usize::from(again + 1 == PATIENCE.len()));
            assert!(ended.iter().all(|ended| *ended == (9, Ended::Done)));
        }
        assert!(scene.is_empty());
        assert_eq!(scene.sends(None, vec![member(1, 5), member(2, 9)]), None);
        let (_, id) = scene.sent();
        let refused = Outcome::Refused(Refusal::RateLimited);
        assert_eq!(scene.receipt(&id, refused), Some((9, Ended::Refused(Refusal::RateLimited))));
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
        assert_eq!(scene.sends(None, vec![]), Some((9, Ended::Done)), "one too many");
        scene.looks_again();
        let id = Some(scene.table.requests()[0].id().unwrap().clone());
        let (refusal, message) = (Refusal::RateLimited, String::new());
        let error = Event::Error { id, refusal, message, known: None, retry_after: None };
        let ended = scene.post.event(error, &mut scene.table.desk()).unwrap();
        assert_eq!(ended.len(), WAITING_MAX);
        assert!(scene.is_empty());
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
