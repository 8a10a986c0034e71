//! One client's socket.
//!
//! ```text
//! opened -> (welcome) --------> is the id anybody's? -> join its topic -> OPEN -> ...
//!        -> (resumed) -> OPEN -> is the id anybody's? -> join its topic ---------> ...
//! ```
//! Whenever somebody else appears in the id's topic, both homes compare what both say (`claim::owner`), and one gives way.

use std::sync::Arc;
use std::time::Duration;

use aldis_wire::door::{unwrap, wrap};
use aldis_wire::id::PeerId;
use aldis_wire::limits::SIGNAL_DATA_BYTES;
use aldis_wire::refusal::Refusal;
use axum::body::Bytes;
use tokio::time::Instant;

use super::super::super::dialect::{Desk, Dialect};
use super::Shop;
use super::calls::{CLAIMANTS_MAX, Calls};
use super::claim::{Claim, claims, owner};
use super::codec::{self, Kind, NAME_BYTES, Said};
use super::names::{self, NAME, Who};
use super::registry::{Session, Taken};
use crate::relay::io::{Event, Hello, Identity, Member, Request, RequestId, Token, Welcome};

/// What a client is told when the host has no room.
const FULL: &str = "Server has reached its concurrent user limit";
/// After somebody came to the id's topic: others that come meanwhile are looked at together.
const CHECK_AFTER: Duration = Duration::from_millis(50);
/// So long after it came, a client that meets itself elsewhere is the newer one: what it did there last was not known
/// here yet. It says so once, and then gives way.
const INSISTS: Duration = Duration::from_secs(2);
/// After a question that was refused.
const CHECK_AGAIN: Duration = Duration::from_secs(1);

/// One client.
#[derive(Debug)]
pub(super) struct Client {
    shop: Arc<Shop>,
    who: Result<Who, &'static str>,
    calls: Option<Calls>,
    stage: Stage,
    /// Whether it was told OPEN.
    greeted: bool,
    /// Names this socket in the registry.
    holder: u64,
    generation: u32,
    /// As whom, and how to come back.
    session: Option<(PeerId, Token)>,
    /// The newest question about our own id.
    asked: Option<RequestId>,
    /// Until when it may say that it is the newer one.
    insists: Option<Instant>,
    /// When to ask again.
    check: Option<Instant>,
    /// Whether the client said that it goes.
    left: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// There is no session yet.
    Knocking,
    /// An older session is asked for.
    Resuming,
    /// Has anybody the id?
    Looking,
    /// Taking it.
    Joining,
    /// It is ours.
    Open,
    /// The socket is to be closed.
    Over,
}

impl Client {
    /// `query` is that of the WebSocket's URL.
    pub(super) fn new(shop: Arc<Shop>, query: &str) -> Self {
        let who = Who::read(&shop.network, query);
        let calls = who.as_ref().ok().map(|who| Calls::new(who.id().clone(), who.names.clone(), shop.room.clone()));
        Self {
            shop,
            who,
            calls,
            stage: Stage::Knocking,
            greeted: false,
            holder: 0,
            generation: 0,
            session: None,
            asked: None,
            insists: None,
            check: None,
            left: false,
        }
    }

    fn claim(&self, who: &Who) -> Claim {
        Claim { generation: self.generation, home: self.shop.host, proof: who.proof }
    }

    /// Says a last word and closes.
    fn end(&mut self, last_word: Option<String>, desk: &mut Desk<'_>) {
        self.stage = Stage::Over;
        last_word.into_iter().for_each(|word| desk.send_text(word));
        desk.close(None);
    }

    fn taken(&mut self, desk: &mut Desk<'_>) {
        self.end(Some(codec::ID_TAKEN.to_owned()), desk);
    }

    fn heard(&mut self, text: &str, desk: &mut Desk<'_>) {
        let (Ok(who), Some(calls)) = (&self.who, &mut self.calls) else { return };
        if self.stage == Stage::Over {
            return;
        }
        match codec::read(text) {
            None => {}
            Some(Said::Leave) => self.end(None, desk),
            Some(Said::To { kind, dst, payload }) if *dst == **who.id() => {
                desk.send_text(codec::message(kind, &dst, &dst, payload));
            }
            Some(Said::To { kind, dst, payload }) => {
                let data = wrap(NAME, &codec::encode(kind, who.id(), payload));
                if dst.len() <= NAME_BYTES && data.len() <= SIGNAL_DATA_BYTES {
                    calls.send(&dst, kind, data, desk);
                } else if kind.waits() {
                    desk.send_text(codec::message(Kind::Expire, &dst, who.id(), ""));
                }
            }
        }
    }

    fn welcomed(&mut self, welcome: &Welcome, desk: &mut Desk<'_>) {
        let Ok(who) = &self.who else { return };
        if !self.shop.registry.holds(who.topic.id, self.holder) {
            // The client has come on another socket already.
            return self.end(None, desk);
        }
        self.session = Some((welcome.peer, welcome.token));
        self.stage = Stage::Looking;
        let topic = who.topic.clone();
        if welcome.resumed {
            // Before what was sent to it meanwhile.
            self.greet(desk);
        }
        self.asked = Some(desk.discover(topic, CLAIMANTS_MAX));
    }

    /// Whether the id is anybody's, before we show that we want it.
    fn looked(&mut self, members: &[Member], desk: &mut Desk<'_>) {
        let (Ok(who), Some((peer, _))) = (&self.who, self.session) else { return };
        let mut claims = claims(members);
        let own = claims.iter().filter(|(_, claim)| claim.proof == who.proof);
        let above = own.map(|(_, claim)| claim.generation.saturating_add(1)).max().unwrap_or(0);
        if self.greeted {
            // It comes back, and the id is its own as far as that of a client that stayed.
            claims.push((peer, self.claim(who)));
        }
        if owner(who.id(), &claims).is_some_and(|(_, claim)| claim.proof != who.proof) {
            return self.taken(desk);
        }
        self.generation = self.generation.max(above);
        self.stage = Stage::Joining;
        self.insists = Some(desk.now() + INSISTS);
        self.join(desk);
    }

    fn join(&mut self, desk: &mut Desk<'_>) {
        let Ok(who) = &self.who else { return };
        let id = desk.fresh_id();
        let meta = Some(self.claim(who).encode());
        desk.ask(Request::Join { id: id.clone(), topic: who.topic.clone(), meta, quiet: false });
        self.asked = Some(id);
    }

    /// Somebody else is in the id's topic, or was: who stays?
    fn compare(&mut self, members: &[Member], desk: &mut Desk<'_>) {
        let (Ok(who), Some((peer, _))) = (&self.who, self.session) else { return };
        let (own, mut claims) = (self.claim(who), claims(members));
        // A sample leaves out who asks for it.
        claims.push((peer, own));
        match owner(who.id(), &claims) {
            Some((owner, _)) if owner == peer => self.stays(desk),
            Some((_, claim)) if claim.proof == own.proof => {
                if self.insists.take().is_some_and(|until| desk.now() < until) {
                    self.generation = claim.generation.saturating_add(1);
                    self.join(desk);
                } else {
                    // The client is at another host now.
                    self.end(None, desk);
                }
            }
            _ => self.taken(desk),
        }
    }

    fn stays(&mut self, desk: &mut Desk<'_>) {
        let (Ok(who), Some(calls), Some((_, token))) = (&self.who, &mut self.calls, self.session) else { return };
        self.shop.registry.keep(who.topic.id, self.holder, Session { token, generation: self.generation });
        if std::mem::replace(&mut self.stage, Stage::Open) == Stage::Open {
            return;
        }
        if self.shop.discovery {
            let (id, meta) = (desk.fresh_id(), Some(Bytes::copy_from_slice(who.id().as_bytes())));
            desk.ask(Request::Join { id, topic: who.names.everybody(), meta, quiet: true });
        }
        calls.begin(desk);
        self.greet(desk);
    }

    fn greet(&mut self, desk: &mut Desk<'_>) {
        if !std::mem::replace(&mut self.greeted, true) {
            desk.send_text(codec::OPEN);
        }
    }

    fn refused(&mut self, id: Option<&RequestId>, refusal: Refusal, desk: &mut Desk<'_>) {
        match (id, refusal, self.stage) {
            (None, Refusal::SessionLost, Stage::Resuming) => {
                self.stage = Stage::Knocking;
                desk.hello();
            }
            (Some(id), ..) if self.asked.as_ref() != Some(id) => {}
            (Some(_), _, Stage::Open) => self.check = Some(desk.now() + CHECK_AGAIN),
            (_, Refusal::Overloaded | Refusal::TooManyEdges, _) => self.end(Some(codec::error(FULL)), desk),
            _ => self.end(Some(codec::error(refusal.sentence())), desk),
        }
    }

    /// Somebody came to a topic that the session follows.
    fn came(&mut self, name: &Arc<str>, desk: &mut Desk<'_>) {
        let Ok(who) = &self.who else { return };
        if *name == who.topic.name {
            self.check.get_or_insert(desk.now() + CHECK_AFTER);
        } else if !name.is_empty() && self.calls.as_ref().is_none_or(|calls| !calls.watches(name)) {
            // A wish of the socket before this one.
            names::unwatch(who.names.topic(name), desk);
        }
    }
}

impl Dialect for Client {
    fn opened(&mut self, desk: &mut Desk<'_>) {
        let who = match &self.who {
            Ok(who) => who,
            Err(words) => return self.end(Some(codec::error(words)), desk),
        };
        match self.shop.registry.take(who.topic.id, who.proof, desk.now()) {
            Taken::New(holder) => {
                self.holder = holder;
                desk.hello();
            }
            Taken::Back(holder, Session { token, generation }) => {
                (self.holder, self.generation, self.stage) = (holder, generation, Stage::Resuming);
                let identity = Identity::Resumed { token, seq: 0 };
                desk.ask(Request::Hello(Hello { identity, meta: Bytes::new() }));
            }
            Taken::Other => self.taken(desk),
            Taken::Full => self.end(Some(codec::error(FULL)), desk),
        }
    }

    fn text(&mut self, text: &str, desk: &mut Desk<'_>) {
        self.heard(text, desk);
    }

    /// The original does not tell them apart.
    fn binary(&mut self, bytes: &Bytes, desk: &mut Desk<'_>) {
        if let Ok(text) = std::str::from_utf8(bytes) {
            self.heard(text, desk);
        }
    }

    fn event(&mut self, event: Event, desk: &mut Desk<'_>) {
        let (Ok(who), Some(calls)) = (&self.who, &mut self.calls) else { return };
        if self.stage == Stage::Over {
            return;
        }
        let Some(event) = calls.event(event, desk) else { return };
        match event {
            Event::Welcome(welcome) => self.welcomed(&welcome, desk),
            Event::Peers(sample) | Event::Joined(sample) if self.asked.as_ref() == Some(&sample.id) => {
                if self.stage == Stage::Looking {
                    self.looked(&sample.members, desk);
                } else {
                    self.compare(&sample.members, desk);
                }
            }
            Event::PeerJoined { topic, .. } => self.came(&topic, desk),
            Event::Signal { data, .. } => {
                if let Some(body) = unwrap(NAME, &data)
                    && let Some((kind, src, payload)) = codec::decode(&body)
                {
                    desk.send_text(codec::message(kind, src, who.id(), payload));
                }
            }
            Event::Error { id, refusal, .. } => self.refused(id.as_ref(), refusal, desk),
            Event::Greeting { .. }
            | Event::Peers(_)
            | Event::Joined(_)
            | Event::Watching(_)
            | Event::Left { .. }
            | Event::Unwatched { .. }
            | Event::PeerLeft { .. }
            | Event::Receipt { .. }
            | Event::Broadcast { .. }
            | Event::Tally { .. }
            | Event::Pong
            | Event::Drain { .. } => {}
        }
    }

    fn deadline(&self) -> Option<Instant> {
        self.calls.as_ref().and_then(Calls::deadline).into_iter().chain(self.check).min()
    }

    fn woken(&mut self, desk: &mut Desk<'_>) {
        let (Ok(who), Some(calls)) = (&self.who, &mut self.calls) else { return };
        calls.woken(desk);
        if self.check.take_if(|check| *check <= desk.now()).is_some() {
            self.asked = Some(desk.discover(who.topic.clone(), CLAIMANTS_MAX));
        }
    }

    fn left(&mut self, _desk: &mut Desk<'_>) {
        self.left = true;
    }

    /// A client whose socket broke may come back to its id; one that closed it gives the id up, as at the original.
    fn gone(&mut self, desk: &mut Desk<'_>) {
        let (Ok(who), Some(calls)) = (&self.who, &mut self.calls) else { return desk.ask(Request::Bye) };
        let (registry, topic) = (&self.shop.registry, who.topic.id);
        let may_come_back = self.stage != Stage::Over && (self.greeted || self.stage == Stage::Resuming);
        if may_come_back && !registry.holds(topic, self.holder) {
            // It has come back on another socket: the session is that one's.
        } else if may_come_back && !self.left {
            calls.drop_all(desk);
            registry.wait(topic, self.holder, desk.now());
        } else {
            registry.free(topic, self.holder);
            desk.ask(Request::Bye);
        }
    }
}

#[cfg(test)]
mod tests;
