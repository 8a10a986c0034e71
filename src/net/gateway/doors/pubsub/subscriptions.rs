//! What a client has subscribed, whatever the machine answers meanwhile.

use std::collections::BTreeMap;
use std::time::Duration;

use aldis_wire::id::TopicId;
use aldis_wire::limits::PEER_TOPICS_MAX;
use aldis_wire::refusal::Refusal;
use tokio::time::Instant;

use crate::net::gateway::dialect::Desk;
use crate::relay::io::{Request, RequestId, Topic};

/// Topics that are subscribed or being left: a client may leave all that it has, and subscribe as many others.
const TOPICS_MAX: usize = 2 * PEER_TOPICS_MAX;
/// What was refused for now is asked again after so long: five tokens of the bucket for joins.
const AGAIN: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct Subscription {
    topic: Topic,
    /// Whether the client wants it; otherwise it is being left.
    wanted: bool,
    /// The request whose answer counts: the newest one.
    asked: Option<RequestId>,
    /// Whether the machine has agreed to it.
    taken: bool,
}

impl Subscription {
    /// What to ask for.
    fn request(&mut self, desk: &mut Desk<'_>) -> Request {
        let (id, topic) = (desk.fresh_id(), self.topic.clone());
        self.asked = Some(id.clone());
        if self.wanted { Request::Join { id, topic, meta: None, quiet: true } } else { Request::Leave { id, topic } }
    }
}

#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    topics: BTreeMap<TopicId, Subscription>,
    again: Option<Instant>,
}

impl Subscriptions {
    /// Subscribes topics. What is subscribed already stays as it is; what is beyond the bounds is passed over.
    pub(super) fn add(&mut self, topics: impl Iterator<Item = Topic>, desk: &mut Desk<'_>) {
        let mut requests = Vec::new();
        let mut wanted = self.topics.values().filter(|known| known.wanted).count();
        for topic in topics {
            let known = self.topics.len();
            let has = self.topics.get(&topic.id);
            if has.is_some_and(|has| has.wanted) || (has.is_none() && known >= TOPICS_MAX) || wanted >= PEER_TOPICS_MAX
            {
                continue;
            }
            wanted += 1;
            let mut subscription = Subscription { topic, wanted: true, asked: None, taken: false };
            requests.push(subscription.request(desk));
            self.topics.insert(subscription.topic.id, subscription);
        }
        ask(requests, desk);
    }

    /// Leaves topics.
    pub(super) fn remove(&mut self, topics: impl Iterator<Item = Topic>, desk: &mut Desk<'_>) {
        let mut requests = Vec::new();
        for topic in topics {
            if let Some(subscription) = self.topics.get_mut(&topic.id).filter(|known| known.wanted) {
                subscription.wanted = false;
                requests.push(subscription.request(desk));
            }
        }
        ask(requests, desk);
    }

    /// Whether the client counts among a topic's subscribers.
    pub(super) fn counts(&self, topic: &Topic) -> bool {
        self.topics.get(&topic.id).is_some_and(|known| known.wanted && known.taken)
    }

    fn asked(&mut self, id: &RequestId) -> Option<&mut Subscription> {
        self.topics.values_mut().find(|known| known.asked.as_ref() == Some(id))
    }

    /// The machine has agreed: to a membership, or to its end.
    pub(super) fn granted(&mut self, id: &RequestId) {
        let Some(subscription) = self.asked(id) else { return };
        (subscription.asked, subscription.taken) = (None, true);
        if !subscription.wanted {
            let topic = subscription.topic.id;
            self.topics.remove(&topic);
        }
    }

    /// The machine has refused, perhaps only for now. Does nothing if the request is not one of these.
    pub(super) fn refused(&mut self, id: &RequestId, refusal: Refusal, now: Instant) {
        let Some(subscription) = self.asked(id) else { return };
        subscription.asked = None;
        // The bound on topics is ours as well: those that are being left are still in the way.
        if matches!(refusal, Refusal::RateLimited | Refusal::Overloaded | Refusal::TooManyTopics) {
            self.again = Some(now + AGAIN);
        } else {
            let topic = subscription.topic.id;
            self.topics.remove(&topic);
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.again
    }

    pub(super) fn woken(&mut self, desk: &mut Desk<'_>) {
        if self.again.is_some_and(|at| at <= desk.now()) {
            self.again = None;
            let refused =
                self.topics.values_mut().filter(|known| known.asked.is_none() && !(known.wanted && known.taken));
            // What is left makes room for what is joined.
            let (leaves, joins): (Vec<_>, Vec<_>) = refused.partition(|known| !known.wanted);
            let requests = leaves.into_iter().chain(joins).map(|known| known.request(desk)).collect();
            ask(requests, desk);
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.topics.len()
    }
}

fn ask(requests: Vec<Request>, desk: &mut Desk<'_>) {
    if !requests.is_empty() {
        desk.ask_all(requests);
    }
}
