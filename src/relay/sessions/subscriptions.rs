//! What a session follows.

use aldis_wire::id::TopicId;
use aldis_wire::limits::PEER_TOPICS_MAX;

/// What a session has of one topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Subscription {
    /// Whether it is a member.
    pub(crate) member: bool,
    /// Whether it is a member that is not to be told who comes and goes.
    pub(crate) quiet: bool,
    /// Whether it watches.
    pub(crate) watching: bool,
}

impl Subscription {
    /// Becomes a member.
    pub(crate) fn join(&mut self, quiet: bool) {
        (self.member, self.quiet) = (true, quiet);
    }

    /// Is a member no more.
    pub(crate) fn leave(&mut self) {
        (self.member, self.quiet) = (false, false);
    }

    /// Whether it is told who comes and goes.
    pub(super) fn is_told(&self) -> bool {
        self.watching || self.member && !self.quiet
    }
}

/// What a session has of all topics, ordered by topic. It is one or two nearly always, for which a tree would take ten
/// times the memory.
#[derive(Debug, Default)]
pub(super) struct Subscriptions(Vec<(TopicId, Subscription)>);

impl Subscriptions {
    pub(super) fn topics(&self) -> impl Iterator<Item = TopicId> {
        self.0.iter().map(|(topic, _)| *topic)
    }

    /// Where the topic stands, or where it would.
    pub(super) fn place(&self, topic: TopicId) -> Result<usize, usize> {
        self.0.binary_search_by_key(&topic, |(topic, _)| *topic)
    }

    pub(super) fn find(&self, topic: TopicId) -> Option<&Subscription> {
        self.0.get(self.place(topic).ok()?).map(|(_, subscription)| subscription)
    }

    pub(super) fn find_mut(&mut self, topic: TopicId) -> Option<&mut Subscription> {
        let place = self.place(topic).ok()?;
        self.0.get_mut(place).map(|(_, subscription)| subscription)
    }

    /// `None` when there are as many as there may be.
    pub(super) fn find_or_insert(&mut self, topic: TopicId) -> Option<&mut Subscription> {
        if let Err(place) = self.place(topic) {
            if self.0.len() >= PEER_TOPICS_MAX {
                return None;
            }
            if self.0.is_empty() {
                self.0.reserve_exact(1);
            }
            self.0.insert(place, (topic, Subscription::default()));
        }
        self.find_mut(topic)
    }

    pub(super) fn remove(&mut self, topic: TopicId) {
        if let Ok(place) = self.place(topic) {
            self.0.remove(place);
        }
    }
}
