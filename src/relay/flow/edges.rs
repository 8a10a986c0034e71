//! Edges: their sockets, their sessions, and everything they ask for but signals and broadcasts (PROTOCOL.md §4).

use std::net::IpAddr;

use aldis_wire::announcement::{GoneReason, Op};
use aldis_wire::id::PeerId;
use aldis_wire::proof::{Proof, Signature, challenge_answered};
use aldis_wire::refusal::Refusal;
use bytes::Bytes;
use rand_chacha::rand_core::Rng;

use crate::relay::io::{
    EdgeKey, Event, Hello, Identity, Input, Moment, Note, Outbox, Output, Request, RequestId, Sample, Token, Topic,
    Welcome,
};
use crate::relay::limits::{CLAIM_TOKENS, DISCOVER_MAX, DISCOVERED_PER_TOKEN, HELLO_DEADLINE, PATIENCE};
use crate::relay::planted::Defect;
use crate::relay::sessions::{SessionKey, Subscription};
use crate::relay::state::State;
use crate::relay::timers::Timer;

impl State {
    /// Something happened at an edge's socket.
    pub(crate) fn edge_input(&mut self, now: Moment, input: Input, out: &mut Outbox) {
        match input {
            Input::EdgeOpened { edge, address } => self.edge_opened(now, edge, address, out),
            Input::EdgeAsked { edge, request } => self.edge_asked(now, edge, request, out),
            Input::EdgeErred { edge, id, refusal, message } if self.may_ask(now, edge, id.as_ref(), 1, out) => {
                Self::refuse_with(edge, id, refusal, None, message, out);
            }
            Input::EdgeClosed { edge } => self.edge_closed(now, edge),
            _ => {}
        }
    }

    fn edge_opened(&mut self, now: Moment, edge: EdgeKey, address: IpAddr, out: &mut Outbox) {
        let refused = if self.draining {
            Err((Refusal::Closing, std::time::Duration::from_secs(1)))
        } else {
            self.addresses.open(now, address, &self.settings)
        };
        if let Err((refusal, retry_after)) = refused {
            Self::refuse_with(edge, None, refusal, Some(retry_after), String::new(), out);
            return out.push(Output::CloseEdge { edge });
        }
        let challenge = self.random();
        self.sessions.edge_opened(edge, address, challenge);
        self.timers.set(Timer::Hello(edge), now + HELLO_DEADLINE);
        out.tell(edge, Event::Greeting { challenge });
    }

    /// A socket did not say hello in time.
    pub(crate) fn hello_missed(&mut self, edge: EdgeKey, out: &mut Outbox) {
        Self::refuse(edge, None, Refusal::HelloTimeout, out);
        self.close_edge(edge, out);
    }

    /// Closes a socket that is still open.
    fn close_edge(&mut self, edge: EdgeKey, out: &mut Outbox) {
        if let Some(closed) = self.sessions.edge_closed(edge) {
            self.addresses.close(closed.address, closed.silent);
            self.timers.cancel(Timer::Hello(edge));
            out.push(Output::CloseEdge { edge });
        }
    }

    fn edge_closed(&mut self, now: Moment, edge: EdgeKey) {
        let Some(closed) = self.sessions.edge_closed(edge) else { return };
        self.addresses.close(closed.address, closed.silent);
        self.timers.cancel(Timer::Hello(edge));
        if let Some(session) = closed.session {
            self.timers.set(Timer::Grace(session), now + self.settings.grace);
        }
    }

    /// The grace period of a session is over.
    pub(crate) fn grace_over(&mut self, now: Moment, session: SessionKey, out: &mut Outbox) {
        if !self.planted.has(Defect::LeakSessions) {
            self.end_session(now, session, GoneReason::Lost, None, out);
        }
    }

    /// Takes a request's tokens; if there are none, says so to the edge.
    fn may_ask(&mut self, now: Moment, edge: EdgeKey, id: Option<&RequestId>, tokens: u32, out: &mut Outbox) -> bool {
        let Some(found) = self.sessions.edge_mut(edge) else { return false };
        let own = found.bucket.take(now, self.settings.edge_rate, tokens);
        let address = found.address;
        match own.and_then(|()| self.addresses.take_requests(now, address, &self.settings, tokens)) {
            Ok(()) => true,
            Err(wait) => {
                Self::refuse_with(edge, id.cloned(), Refusal::RateLimited, Some(wait), String::new(), out);
                self.lose_patience(now, edge, out);
                false
            }
        }
    }

    /// An edge was refused for want of tokens once more: one that never stops is cut.
    pub(crate) fn lose_patience(&mut self, now: Moment, edge: EdgeKey, out: &mut Outbox) {
        let Some(found) = self.sessions.edge_mut(edge) else { return };
        if found.patience.take(now, PATIENCE, 1).is_ok() {
            return;
        }
        let session = found.session;
        Self::refuse(edge, None, Refusal::RateLimited, out);
        self.close_edge(edge, out);
        if let Some(session) = session {
            self.timers.set(Timer::Grace(session), now + self.settings.grace);
        }
    }

    fn edge_asked(&mut self, now: Moment, edge: EdgeKey, request: Request, out: &mut Outbox) {
        // Acknowledgements are free: each is cheap, and refusing one would hold up somebody else's receipt.
        let session = self.sessions.edge(edge).and_then(|edge| edge.session);
        if let (Request::Ack { seq }, Some(session)) = (&request, session) {
            return self.acknowledged(now, session, *seq, out);
        }
        if let (Request::Signal { .. }, Some(session)) = (&request, session) {
            return self.signal_asked(now, edge, session, request, out);
        }
        if let (Request::Broadcast { .. }, Some(session)) = (&request, session) {
            return self.broadcast_asked(now, edge, session, request, out);
        }
        let id = request.id().cloned();
        let tokens = match &request {
            Request::Discover { limit, .. } => limit.min(&DISCOVER_MAX).div_ceil(DISCOVERED_PER_TOKEN).max(1),
            _ => 1,
        };
        if !self.may_ask(now, edge, id.as_ref(), u32::try_from(tokens).unwrap_or(u32::MAX), out) {
            return;
        }
        match (request, session) {
            (Request::Hello(_), None) if self.draining => Self::refuse(edge, None, Refusal::Closing, out),
            (Request::Hello(hello), None) => self.hello_asked(now, edge, hello, out),
            (Request::Hello(_), Some(_)) => Self::refuse(edge, None, Refusal::HelloRepeated, out),
            (Request::Ping, _) => out.tell(edge, Event::Pong),
            (Request::Bye, session) => {
                if let Some(session) = session {
                    self.end_session(now, session, GoneReason::Closed, None, out);
                }
                self.close_edge(edge, out);
            }
            (_, None) => Self::refuse(edge, id, Refusal::HelloExpected, out),
            (request, Some(session)) => self.topic_asked(now, edge, session, request, out),
        }
    }

    fn hello_asked(&mut self, now: Moment, edge: EdgeKey, hello: Hello, out: &mut Outbox) {
        let opened = match hello.identity {
            Identity::Resumed { token, seq } => return self.resume(now, edge, token, seq, out),
            Identity::Minted => {
                let nonce = self.random();
                self.open_session(now, edge, Proof::mint(self.own, &nonce), Proof::Minted { nonce }, hello.meta, out)
            }
            Identity::Keyed { peer, counter, sealing, claim, answer } => {
                let proof = Proof::Keyed { counter, sealing, signature: claim };
                match self.check_claim(now, edge, peer, &proof, answer, out) {
                    Ok(()) => {}
                    Err((refusal, known)) => {
                        out.note(Note::EdgeRefused { refusal });
                        let message = String::new();
                        return out.tell(edge, Event::Error { id: None, refusal, message, known, retry_after: None });
                    }
                }
                if let Some(older) = self.sessions.by_peer(peer) {
                    self.end_session(now, older, GoneReason::Moved, Some(Refusal::Replaced), out);
                }
                self.open_session(now, edge, peer, proof, hello.meta, out)
            }
        };
        if let Err(refusal) = opened {
            Self::refuse(edge, None, refusal, out);
        }
    }

    /// Whether a claim may open a session here; otherwise why not, and the counter that is known.
    fn check_claim(
        &mut self,
        now: Moment,
        edge: EdgeKey,
        peer: PeerId,
        proof: &Proof,
        answer: Signature,
        out: &mut Outbox,
    ) -> Result<(), (Refusal, Option<u64>)> {
        self.directory.remember_departed(now);
        let known = self.directory.highest_counter(peer);
        let counter = proof.counter();
        if let Some((known, home)) = known
            && (counter < known || counter == known && home != self.own)
        {
            return Err((Refusal::ClaimOld, Some(known)));
        }
        let Some(found) = self.sessions.edge_mut(edge) else { return Err((Refusal::Other, None)) };
        let challenge = found.challenge;
        if found.bucket.take(now, self.settings.edge_rate, CLAIM_TOKENS).is_err() {
            self.lose_patience(now, edge, out);
            return Err((Refusal::RateLimited, None));
        }
        if proof.verify(peer, self.network.trust, self.own)
            && challenge_answered(answer, peer, self.network.tag, self.own, &challenge)
        {
            Ok(())
        } else {
            Err((Refusal::ClaimInvalid, None))
        }
    }

    fn open_session(
        &mut self,
        now: Moment,
        edge: EdgeKey,
        peer: PeerId,
        proof: Proof,
        meta: Bytes,
        out: &mut Outbox,
    ) -> Result<(), Refusal> {
        let token = Token(self.random());
        let session = self.sessions.open(edge, peer, proof.clone(), token, meta)?;
        if !self.change(now, Op::Present { peer, proof }, out) {
            self.sessions.end(session);
            return Err(Refusal::Overloaded);
        }
        out.note(Note::SessionOpened { peer, resumed: false });
        self.welcome(edge, session, false, out);
        Ok(())
    }

    fn welcome(&mut self, edge: EdgeKey, session: SessionKey, resumed: bool, out: &mut Outbox) {
        let gateways = self.other_gateways().into_iter().map(|(_, url)| url).collect();
        let stun = self.stun_servers();
        let Some(found) = self.sessions.find(session) else { return };
        let welcome = Welcome { peer: found.peer, session, token: found.token, resumed, gateways, stun };
        self.timers.cancel(Timer::Hello(edge));
        if let Some(edge) = self.sessions.edge_mut(edge)
            && std::mem::replace(&mut edge.silent, false)
        {
            self.addresses.said_hello(edge.address);
        }
        out.tell(edge, Event::Welcome(welcome));
    }

    fn resume(&mut self, now: Moment, edge: EdgeKey, token: Token, seq: u64, out: &mut Outbox) {
        let Some(key) = self.sessions.by_token(&token) else {
            return Self::refuse(edge, None, Refusal::SessionLost, out);
        };
        self.timers.cancel(Timer::Grace(key));
        if let Some(old) = self.sessions.attach(key, edge) {
            // The old socket is as good as dead, or the edge would not have come on another one.
            self.close_edge(old, out);
        }
        if let Some(session) = self.sessions.find(key) {
            out.note(Note::SessionOpened { peer: session.peer, resumed: true });
        }
        self.welcome(edge, key, true, out);
        self.acknowledged(now, key, seq, out);
        let missed = self.sessions.find_mut(key).map(|session| session.replay()).unwrap_or_default();
        for event in missed.into_iter().filter(|_| !self.planted.has(Defect::ForgetMissed)) {
            out.tell(edge, event);
        }
    }

    /// Ends a session: its peer leaves the roster, its signals are answered, its socket is told and closed.
    pub(crate) fn end_session(
        &mut self,
        now: Moment,
        key: SessionKey,
        reason: GoneReason,
        refusal: Option<Refusal>,
        out: &mut Outbox,
    ) {
        self.end_holds(now, key, out);
        let Some(mut session) = self.sessions.end(key) else { return };
        self.timers.cancel(Timer::Grace(key));
        if !self.planted.has(Defect::ForgetGone) {
            self.change(now, Op::Gone { peer: session.peer, reason }, out);
        }
        out.note(Note::SessionEnded { peer: session.peer, reason });
        for finished in session.abandon() {
            self.delivery_finished(now, finished, out);
        }
        if let Some(edge) = session.edge {
            if let Some(refusal) = refusal {
                Self::refuse(edge, None, refusal, out);
            }
            self.close_edge(edge, out);
        }
    }

    /// A host has a roster that was compared, not applied op by op: sessions of peers that are at home there end here.
    pub(crate) fn end_moved_sessions(&mut self, now: Moment, host: aldis_wire::id::HostId, out: &mut Outbox) {
        let moved: Vec<SessionKey> = self
            .sessions
            .iter()
            .filter(|(_, session)| self.directory.home(session.peer) == Some(host))
            .map(|(key, _)| key)
            .collect();
        for session in moved {
            self.end_session(now, session, GoneReason::Moved, Some(Refusal::Replaced), out);
        }
    }

    fn topic_asked(&mut self, now: Moment, edge: EdgeKey, session: SessionKey, request: Request, out: &mut Outbox) {
        match request {
            Request::Join { id, topic, meta, quiet } => {
                self.join_asked(now, edge, session, id, topic, (meta, quiet), out);
            }
            Request::Leave { id, topic } => {
                let Some(peer) = self.sessions.find(session).map(|session| session.peer) else { return };
                let is_member = self.directory.roster(self.own).is_some_and(|own| own.meta(topic.id, peer).is_some());
                if is_member && !self.planted.has(Defect::ForgetLeave) {
                    self.change(now, Op::Leave { topic: topic.id, peer }, out);
                }
                self.sessions.loosen(session, topic.id, Subscription::leave);
                out.tell(edge, Event::Left { id, topic: topic.name });
            }
            Request::Watch { id, topic } => {
                match self.sessions.follow(session, &topic, |subscription| subscription.watching = true) {
                    Ok(()) => {
                        let sample = self.sample(session, id, &topic, aldis_wire::limits::SAMPLE_MAX);
                        out.tell(edge, Event::Watching(sample));
                    }
                    Err(refusal) => Self::refuse(edge, Some(id), refusal, out),
                }
            }
            Request::Unwatch { id, topic } => {
                self.sessions.loosen(session, topic.id, |subscription| subscription.watching = false);
                out.tell(edge, Event::Unwatched { id, topic: topic.name });
            }
            Request::Discover { id, topic, limit } => {
                let sample = self.sample(session, id, &topic, limit.min(DISCOVER_MAX));
                out.tell(edge, Event::Peers(sample));
            }
            Request::Hello(_)
            | Request::Signal { .. }
            | Request::Broadcast { .. }
            | Request::Ack { .. }
            | Request::Ping
            | Request::Bye => {}
        }
    }

    #[allow(clippy::too_many_arguments, reason = "the fields of one request")]
    fn join_asked(
        &mut self,
        now: Moment,
        edge: EdgeKey,
        key: SessionKey,
        id: RequestId,
        topic: Topic,
        (meta, quiet): (Option<Bytes>, bool),
        out: &mut Outbox,
    ) {
        let Some(session) = self.sessions.find_mut(key) else { return };
        let (peer, meta) = (session.peer, meta.unwrap_or_else(|| session.meta.clone()));
        let old = self.directory.roster(self.own).and_then(|own| own.meta(topic.id, peer));
        let is_new = old != Some(&meta[..]);
        if is_new && let Err(wait) = session.changes.take(now, self.settings.edge_change_rate, 1) {
            let refusal = Refusal::RateLimited;
            return Self::refuse_with(edge, Some(id), refusal, Some(wait), String::new(), out);
        }
        if let Err(refusal) = self.sessions.follow(key, &topic, |subscription| subscription.join(quiet)) {
            return Self::refuse(edge, Some(id), refusal, out);
        }
        if is_new && !self.change(now, Op::Join { topic: topic.id, peer, meta }, out) {
            self.sessions.loosen(key, topic.id, Subscription::leave);
            return Self::refuse(edge, Some(id), Refusal::Overloaded, out);
        }
        let sample = self.sample(key, id, &topic, aldis_wire::limits::SAMPLE_MAX);
        out.tell(edge, Event::Joined(sample));
    }

    fn sample(&mut self, session: SessionKey, id: RequestId, topic: &Topic, limit: usize) -> Sample {
        let peer = self.sessions.find(session).map_or(PeerId::new([0; 32]), |session| session.peer);
        let rng = &mut self.rng;
        let below = |limit: usize| rng.next_u32() as usize % limit.max(1);
        let members = self.directory.sample(topic.id, peer, limit, below);
        let itself = usize::from(self.directory.is_member(topic.id, peer));
        let total = self.directory.total(topic.id) - itself;
        Sample { id, topic: topic.name.clone(), members, total }
    }
}
