//! Edges and sessions: who is connected, who may come back, what waits to be acknowledged, who follows which topic.

mod session;
mod subscriptions;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use aldis_wire::id::{PeerId, TopicId};
use aldis_wire::proof::Proof;
use aldis_wire::refusal::Refusal;
use bytes::Bytes;

use super::bucket::Bucket;
use super::io::{EdgeKey, Token, Topic};
use super::limits::SESSIONS_MAX;
pub(crate) use session::{Finished, Session};
pub(crate) use subscriptions::Subscription;

/// Names a session on this host; never used twice.
pub(crate) type SessionKey = u64;

/// A socket.
#[derive(Debug)]
pub(crate) struct Edge {
    /// Where it comes from.
    pub(crate) address: IpAddr,
    /// What a keyed edge must sign.
    pub(crate) challenge: [u8; 32],
    /// Whether it has never had a session.
    pub(crate) silent: bool,
    /// Set by `hello`.
    pub(crate) session: Option<SessionKey>,
    /// Of requests.
    pub(crate) bucket: Bucket,
    /// Of refusals because the other bucket was empty: an edge that goes on all the same is cut.
    pub(crate) patience: Bucket,
}

/// Sessions that follow a topic.
#[derive(Debug)]
struct Local {
    name: Arc<str>,
    /// Those that are told who comes and goes.
    told: BTreeSet<SessionKey>,
    /// Those that are not.
    quiet: BTreeSet<SessionKey>,
}

impl Local {
    fn put(&mut self, key: SessionKey, is_told: bool) {
        let (into, out_of) =
            if is_told { (&mut self.told, &mut self.quiet) } else { (&mut self.quiet, &mut self.told) };
        out_of.remove(&key);
        into.insert(key);
    }
}

/// All edges and sessions of this host.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    edges: HashMap<EdgeKey, Edge>,
    /// Boxed: a tree's nodes are half empty, and a session is large.
    all: BTreeMap<SessionKey, Box<Session>>,
    by_token: HashMap<Token, SessionKey>,
    by_peer: HashMap<PeerId, SessionKey>,
    topics: HashMap<TopicId, Local>,
    last: SessionKey,
}

impl Sessions {
    /// The table of a host that has just started. `first` is where it begins to count, and differs from host to host and
    /// from life to life: with it a target's home tells apart the sessions of a peer that moves (PROTOCOL.md §7.1).
    #[must_use]
    pub(crate) fn new(first: u64) -> Self {
        // Half of all numbers are left to count on.
        Self { last: first >> 1, ..Self::default() }
    }

    /// A socket is open.
    pub(crate) fn edge_opened(&mut self, key: EdgeKey, address: IpAddr, challenge: [u8; 32]) {
        self.edges.insert(
            key,
            Edge {
                address,
                challenge,
                silent: true,
                session: None,
                bucket: Bucket::default(),
                patience: Bucket::default(),
            },
        );
    }

    /// A socket.
    #[must_use]
    pub(crate) fn edge(&self, key: EdgeKey) -> Option<&Edge> {
        self.edges.get(&key)
    }

    /// A socket, to be changed.
    pub(crate) fn edge_mut(&mut self, key: EdgeKey) -> Option<&mut Edge> {
        self.edges.get_mut(&key)
    }

    /// A socket is gone; its session, if it had one, is without a socket now.
    pub(crate) fn edge_closed(&mut self, key: EdgeKey) -> Option<Edge> {
        let edge = self.edges.remove(&key)?;
        if let Some(session) = edge.session.and_then(|session| self.all.get_mut(&session))
            && session.edge == Some(key)
        {
            session.edge = None;
        }
        Some(edge)
    }

    /// Begins a session on a socket.
    ///
    /// # Errors
    /// [`Refusal::Overloaded`] when there are as many sessions as there may be.
    pub(crate) fn open(
        &mut self,
        edge: EdgeKey,
        peer: PeerId,
        proof: Proof,
        token: Token,
        meta: Bytes,
    ) -> Result<SessionKey, Refusal> {
        if self.all.len() >= SESSIONS_MAX {
            return Err(Refusal::Overloaded);
        }
        self.last += 1;
        let session = Box::new(Session::new(edge, peer, proof, token, meta));
        self.all.insert(self.last, session);
        self.by_token.insert(token, self.last);
        self.by_peer.insert(peer, self.last);
        if let Some(edge) = self.edges.get_mut(&edge) {
            edge.session = Some(self.last);
        }
        Ok(self.last)
    }

    /// Gives a session another socket; its old one, if there still is one.
    pub(crate) fn attach(&mut self, key: SessionKey, edge: EdgeKey) -> Option<EdgeKey> {
        if let Some(edge) = self.edges.get_mut(&edge) {
            edge.session = Some(key);
        }
        let old = self.all.get_mut(&key).and_then(|session| session.edge.replace(edge));
        if let Some(old) = old.and_then(|old| self.edges.get_mut(&old)) {
            old.session = None;
        }
        old
    }

    /// Ends a session and everything it follows.
    pub(crate) fn end(&mut self, key: SessionKey) -> Option<Session> {
        let session = self.all.remove(&key)?;
        self.by_token.remove(&session.token);
        if self.by_peer.get(&session.peer) == Some(&key) {
            self.by_peer.remove(&session.peer);
        }
        for topic in session.subscriptions.topics() {
            self.unfollow(topic, key);
        }
        if let Some(edge) = session.edge.and_then(|edge| self.edges.get_mut(&edge)) {
            edge.session = None;
        }
        Some(*session)
    }

    /// A session.
    #[must_use]
    pub(crate) fn find(&self, key: SessionKey) -> Option<&Session> {
        self.all.get(&key).map(|session| &**session)
    }

    /// A session, to be changed.
    pub(crate) fn find_mut(&mut self, key: SessionKey) -> Option<&mut Session> {
        self.all.get_mut(&key).map(|session| &mut **session)
    }

    /// The session that a token restores.
    #[must_use]
    pub(crate) fn by_token(&self, token: &Token) -> Option<SessionKey> {
        self.by_token.get(token).copied()
    }

    /// The session of a peer at home here.
    #[must_use]
    pub(crate) fn by_peer(&self, peer: PeerId) -> Option<SessionKey> {
        self.by_peer.get(&peer).copied()
    }

    /// All sessions, oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (SessionKey, &Session)> {
        self.all.iter().map(|(key, session)| (*key, &**session))
    }

    /// All sockets that have no session, for telling them that the host closes. In no order that means anything.
    #[must_use]
    pub(crate) fn edges_count(&self) -> usize {
        self.edges.len()
    }

    /// Topics that somebody here follows.
    #[must_use]
    pub(crate) fn topics_count(&self) -> usize {
        self.topics.len()
    }

    /// Follows a topic as a member or watcher.
    ///
    /// # Errors
    /// [`Refusal::TooManyTopics`] when the session follows as many as it may.
    pub(crate) fn follow(
        &mut self,
        key: SessionKey,
        topic: &Topic,
        set: impl FnOnce(&mut Subscription),
    ) -> Result<(), Refusal> {
        let Some(session) = self.all.get_mut(&key) else { return Err(Refusal::SessionLost) };
        let subscription = session.subscriptions.find_or_insert(topic.id).ok_or(Refusal::TooManyTopics)?;
        set(subscription);
        let is_told = subscription.is_told();
        let new = || Local { name: topic.name.clone(), told: BTreeSet::new(), quiet: BTreeSet::new() };
        self.topics.entry(topic.id).or_insert_with(new).put(key, is_told);
        Ok(())
    }

    /// Changes how a session follows a topic, or ends it.
    pub(crate) fn loosen(&mut self, key: SessionKey, topic: TopicId, set: impl FnOnce(&mut Subscription)) {
        let Some(session) = self.all.get_mut(&key) else { return };
        if let Some(subscription) = session.subscriptions.find_mut(topic) {
            set(subscription);
            if *subscription == Subscription::default() {
                session.subscriptions.remove(topic);
                self.unfollow(topic, key);
            } else if let Some(local) = self.topics.get_mut(&topic) {
                local.put(key, subscription.is_told());
            }
        }
    }

    fn unfollow(&mut self, topic: TopicId, key: SessionKey) {
        if let Some(local) = self.topics.get_mut(&topic) {
            local.told.remove(&key);
            local.quiet.remove(&key);
            if local.told.is_empty() && local.quiet.is_empty() {
                self.topics.remove(&topic);
            }
        }
    }

    /// The name by which edges here call a topic, and the sessions that are told who comes and goes.
    #[must_use]
    pub(crate) fn told(&self, topic: TopicId) -> Option<(Arc<str>, Vec<SessionKey>)> {
        let local = self.topics.get(&topic).filter(|local| !local.told.is_empty())?;
        Some((local.name.clone(), local.told.iter().copied().collect()))
    }

    /// How many sessions follow a topic: at least as many as are members of it.
    #[must_use]
    pub(crate) fn followers_count(&self, topic: TopicId) -> usize {
        self.topics.get(&topic).map_or(0, |local| local.told.len() + local.quiet.len())
    }

    /// The name by which edges here call a topic, and the sessions that are members of it.
    #[must_use]
    pub(crate) fn members(&self, topic: TopicId) -> Option<(Arc<str>, impl Iterator<Item = SessionKey>)> {
        let local = self.topics.get(&topic)?;
        let is_member = move |key: &SessionKey| {
            let subscriptions = self.find(*key).map(|session| &session.subscriptions);
            subscriptions.and_then(|all| all.find(topic)).is_some_and(|subscription| subscription.member)
        };
        Some((local.name.clone(), local.told.iter().chain(&local.quiet).copied().filter(is_member)))
    }

    /// The name of a topic, if the session follows it.
    #[must_use]
    pub(crate) fn name_for(&self, key: SessionKey, topic: TopicId) -> Option<Arc<str>> {
        self.find(key)?.subscriptions.place(topic).ok()?;
        self.topics.get(&topic).map(|local| local.name.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use super::*;
    use crate::relay::io::Moment;
    use crate::relay::limits::SENDERS_REMEMBERED_MAX;
    use crate::relay::signals::Turn;

    fn peer(number: usize) -> PeerId {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&(number as u64).to_be_bytes());
        PeerId::new(bytes)
    }

    fn open(sessions: &mut Sessions, number: usize) -> Result<SessionKey, Refusal> {
        let edge = EdgeKey(number as u64);
        sessions.edge_opened(edge, IpAddr::V4(Ipv4Addr::LOCALHOST), [0; 32]);
        let mut token = [0; 32];
        token[..8].copy_from_slice(&(number as u64).to_be_bytes());
        sessions.open(edge, peer(number), Proof::Minted { nonce: [0; 16] }, Token(token), Bytes::new())
    }

    #[test]
    fn a_host_has_so_many_sessions_and_then_it_is_overloaded() {
        let mut sessions = Sessions::default();
        let first = open(&mut sessions, 0).unwrap();
        for number in 1..SESSIONS_MAX {
            assert!(open(&mut sessions, number).is_ok());
        }
        assert_eq!(open(&mut sessions, SESSIONS_MAX), Err(Refusal::Overloaded));
        sessions.end(first);
        assert!(open(&mut sessions, SESSIONS_MAX).is_ok());
    }

    #[test]
    fn senders_that_a_session_remembers_are_bounded_and_the_longest_silent_goes_first() {
        const FIRST: Turn = Turn { counter: 1, session: 1, n: 1 };
        let mut sessions = Sessions::default();
        let key = open(&mut sessions, 0).unwrap();
        let session = sessions.find_mut(key).unwrap();
        let at = |millis| Moment::new(Duration::from_millis(millis));
        for number in 0..3 * SENDERS_REMEMBERED_MAX {
            assert!(session.takes(at(number as u64), peer(number), FIRST));
            assert!(session.senders_count() <= SENDERS_REMEMBERED_MAX);
        }
        let last = 3 * SENDERS_REMEMBERED_MAX - 1;
        assert!(!session.takes(at(9_999), peer(last), FIRST), "remembered");
        assert!(session.takes(at(9_999), peer(0), FIRST), "forgotten");
    }
}
