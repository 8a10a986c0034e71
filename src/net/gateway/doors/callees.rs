//! Signals to foreign ids, each of which is a topic with one member: who that is, is looked up for every signal, at this
//! host and at once, so that nothing goes to where somebody was a moment ago.

use std::collections::{HashMap, VecDeque};

use aldis_wire::host::Outcome;
use aldis_wire::id::PeerId;
use aldis_wire::refusal::Refusal;
use axum::body::Bytes;

use super::super::dialect::Desk;
use crate::relay::io::{Event, Member, RequestId, Topic};

/// Members of a foreign id's topic that are looked at. More than one are there for a moment when a client comes back
/// through another host, or when somebody pretends to be it.
const CLAIMANTS_MAX: usize = 8;

/// What a dialect has sent to foreign ids and has no answer for yet. `T` is what it wants to remember of each signal.
///
/// The machine answers a look-up before it takes the next request, and refuses signals beyond its limit: there are never
/// more entries than one frame of the client makes requests, and open signals.
#[derive(Debug)]
pub(super) struct Callees<T> {
    asked: VecDeque<(RequestId, Parcel<T>)>,
    sent: HashMap<RequestId, T>,
    choose: fn(&[Member]) -> Option<PeerId>,
}

#[derive(Debug)]
struct Parcel<T> {
    topic: Topic,
    data: Bytes,
    tag: T,
}

/// What became of a signal.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ended<T> {
    /// Its receipt.
    Receipt(T, Outcome),
    /// Nobody has this id now; the data comes back.
    Absent(T, Bytes),
}

impl<T> Callees<T> {
    /// `choose` picks the rightful owner of an id among those who say that they have it.
    pub(super) fn new(choose: fn(&[Member]) -> Option<PeerId>) -> Self {
        Self { asked: VecDeque::new(), sent: HashMap::new(), choose }
    }

    /// Sends data to whoever is the member of `topic`. Signals to one id arrive in the order of these calls.
    pub(super) fn send(&mut self, topic: Topic, data: Bytes, tag: T, desk: &mut Desk<'_>) {
        let id = desk.discover(topic.clone(), CLAIMANTS_MAX);
        self.asked.push_back((id, Parcel { topic, data, tag }));
    }

    /// Shows an event to the callees. `Ok` when it was theirs, with a signal whose fate it decides; `Err` gives the event
    /// back.
    pub(super) fn event(&mut self, event: Event, desk: &mut Desk<'_>) -> Result<Option<Ended<T>>, Event> {
        match event {
            Event::Peers(sample) if self.is_asked(&sample.id) => Ok(self.found(&sample.id, &sample.members, desk)),
            Event::Receipt { id, outcome, .. } if self.sent.contains_key(&id) => {
                Ok(self.sent.remove(&id).map(|tag| Ended::Receipt(tag, outcome)))
            }
            Event::Error { id: Some(id), refusal, .. } if self.is_asked(&id) || self.sent.contains_key(&id) => {
                let tag = self.sent.remove(&id).or_else(|| self.take(&id).map(|parcel| parcel.tag));
                Ok(tag.map(|tag| Ended::Receipt(tag, Outcome::Refused(refusal))))
            }
            event => Err(event),
        }
    }

    /// Signals without an answer.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.asked.len() + self.sent.len()
    }

    fn is_asked(&self, id: &RequestId) -> bool {
        self.asked.iter().any(|(asked, _)| asked == id)
    }

    /// Answers come in the order of the questions, so this looks at the first one nearly always.
    fn take(&mut self, id: &RequestId) -> Option<Parcel<T>> {
        let place = self.asked.iter().position(|(asked, _)| asked == id)?;
        self.asked.remove(place).map(|(_, parcel)| parcel)
    }

    fn found(&mut self, id: &RequestId, members: &[Member], desk: &mut Desk<'_>) -> Option<Ended<T>> {
        let Parcel { topic, data, tag } = self.take(id)?;
        let Some(to) = (self.choose)(members) else { return Some(Ended::Absent(tag, data)) };
        let id = desk.signal(to, Some(topic.id), data);
        self.sent.insert(id, tag);
        None
    }
}

/// Whether a signal came to nothing because its target is not there any more.
pub(super) fn was_absent(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::Refused(Refusal::NoSuchPeer | Refusal::Gone))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail by panic")]
    use super::super::super::dialect::testing::Table;
    use super::*;
    use crate::relay::io::{Request, Sample};
    use aldis_wire::id::TopicId;

    fn topic(n: u8) -> Topic {
        Topic { id: TopicId::new([n; 32]), name: "".into() }
    }

    fn member(n: u8) -> Member {
        Member { peer: PeerId::new([n; 32]), meta: Bytes::new() }
    }

    fn peers(id: &RequestId, members: Vec<Member>) -> Event {
        Event::Peers(Sample { id: id.clone(), topic: "".into(), total: members.len(), members })
    }

    fn first(members: &[Member]) -> Option<PeerId> {
        members.first().map(|member| member.peer)
    }

    #[test]
    fn a_signal_goes_to_whoever_has_the_id_and_its_receipt_comes_back() {
        let mut table = Table::default();
        let mut callees = Callees::new(first);
        callees.send(topic(1), Bytes::from_static(b"offer"), "a", &mut table.desk());
        callees.send(topic(2), Bytes::from_static(b"other"), "b", &mut table.desk());
        let asked = table.requests();
        let (Request::Discover { id: one, .. }, Request::Discover { id: two, topic: of, .. }) = (&asked[0], &asked[1])
        else {
            panic!("not look-ups: {asked:?}")
        };
        assert_eq!(of.id, topic(2).id);
        assert_eq!(callees.event(peers(one, vec![member(7)]), &mut table.desk()), Ok(None));
        let absent = callees.event(peers(two, vec![]), &mut table.desk());
        assert_eq!(absent, Ok(Some(Ended::Absent("b", Bytes::from_static(b"other")))));
        let sent = table.requests();
        let [Request::Signal { id, to, data, .. }] = &sent[..] else { panic!("not one signal: {sent:?}") };
        assert_eq!((*to, &data[..]), (member(7).peer, &b"offer"[..]));
        let receipt = Event::Receipt { seq: 1, id: id.clone(), outcome: Outcome::Delivered };
        let ended = callees.event(receipt.clone(), &mut table.desk());
        assert_eq!(ended, Ok(Some(Ended::Receipt("a", Outcome::Delivered))));
        assert_eq!(callees.event(receipt.clone(), &mut table.desk()), Err(receipt), "it was told once");
        assert_eq!(callees.len(), 0);
    }

    #[test]
    fn a_refused_look_up_and_a_refused_signal_end_alike() {
        let mut table = Table::default();
        let mut callees = Callees::new(first);
        let refused = |id: &RequestId| Event::Error {
            id: Some(id.clone()),
            refusal: Refusal::RateLimited,
            message: String::new(),
            known: None,
            retry_after: None,
        };
        for answered in [false, true] {
            callees.send(topic(1), Bytes::new(), (), &mut table.desk());
            let mut id = table.requests()[0].id().unwrap().clone();
            if answered {
                _ = callees.event(peers(&id, vec![member(7)]), &mut table.desk());
                id = table.requests()[0].id().unwrap().clone();
            }
            let ended = callees.event(refused(&id), &mut table.desk());
            assert_eq!(ended, Ok(Some(Ended::Receipt((), Outcome::Refused(Refusal::RateLimited)))));
        }
        assert_eq!(callees.len(), 0);
    }
}
