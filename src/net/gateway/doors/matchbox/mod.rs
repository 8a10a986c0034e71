//! matchbox: rooms in which everybody, or every group of N, meets (wire/DOORS.md).
//!
//! | module | what |
//! |---|---|
//! | `codec` | the JSON |
//! | `room` | who meets whom |

mod codec;
mod room;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aldis_wire::door;
use aldis_wire::id::{PeerId, TopicId};
use aldis_wire::network::Network;
use aldis_wire::refusal::Refusal;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, RawQuery};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::get;
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::super::dialect::{Desk, Dialect};
use super::super::upgrade::Knock;
use super::Porch;
use crate::doors::Door;
use crate::relay::io::{Event, LeftReason, Member, Request, RequestId, Topic};
use codec::{FromClient, ToClient, uuid};
use room::{GROUP_MAX, MEMBERS_MAX, Room};

/// The name in topics and between hosts.
const NAME: &str = Door::Matchbox.name();
/// A client waits so long for a leader before it becomes one: as long as the news of another one's coming takes.
const LEADERLESS: Duration = Duration::from_millis(300);
/// The next client whom a leader with room should take in waits so long before it leads, too: ten times as long as that
/// takes.
const PATIENCE: Duration = Duration::from_secs(3);
/// A client whose group is complete stays where newcomers wait for so long, to see others of the group who are gone before
/// they have settled, too.
const SETTLING: Duration = Duration::from_secs(5);
/// A room for groups is reckoned no more often than this: with leaders in great numbers it takes a millisecond.
const RECKONING: Duration = Duration::from_millis(100);
/// What was refused for now is asked again after so long: five tokens of the bucket for joins.
const AGAIN: Duration = Duration::from_secs(1);

pub(super) fn routes(porch: &Porch<'_>) -> Router {
    let (front, counts, network) = (porch.front.clone(), porch.counts.clone(), Arc::new(porch.network.clone()));
    let enter = async move |Path(room): Path<String>, RawQuery(query): RawQuery, knock: Knock| {
        let size = match group_size(query.as_deref().unwrap_or_default()) {
            Ok(size) => size,
            Err(words) => return (StatusCode::BAD_REQUEST, words).into_response(),
        };
        knock.enter(&front, &counts, None, || Matchbox::new(network.clone(), room, size, stamp()))
    };
    Router::new().route("/matchbox/{room}", get(enter))
}

/// `next=N` of the query; of several the last.
fn group_size(query: &str) -> Result<Option<usize>, String> {
    let next = url::form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name == "next").last();
    let Some((_, text)) = next else { return Ok(None) };
    match text.parse() {
        Ok(size) if (1..=GROUP_MAX).contains(&size) => Ok(Some(size)),
        _ => Err(format!("next is a number from 1 to {GROUP_MAX}")),
    }
}

fn stamp() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// One client.
struct Matchbox {
    network: Arc<Network>,
    name: String,
    size: Option<usize>,
    stamp: u64,
    /// Since `welcome`.
    room: Option<Room>,
    /// Whom it was told of, or has heard from: at most those whom the room sees, and as many who sent it something.
    met: BTreeSet<PeerId>,
    /// Where its group is when it is complete.
    group: Option<TopicId>,
    /// Whether it has waited long enough where newcomers wait.
    moved: bool,
    /// What was asked about memberships and has no answer yet: no more than the machine has events for it.
    asked: BTreeSet<RequestId>,
    wake: Option<Instant>,
    /// When it waits no longer for a leader that there is.
    patience: Option<Instant>,
    /// When it was reckoned last who belongs together, and when to do so again, if something has changed.
    reckoned: Option<Instant>,
    reckon_at: Option<Instant>,
    /// When to ask again what was refused.
    again: Option<Instant>,
}

impl Matchbox {
    fn new(network: Arc<Network>, name: String, size: Option<usize>, stamp: u64) -> Self {
        let (room, met, group, asked) = (None, BTreeSet::new(), None, BTreeSet::new());
        let (wake, patience, reckoned, reckon_at, again) = (None, None, None, None, None);
        let moved = false;
        Self { network, name, size, stamp, room, met, group, moved, asked, wake, patience, reckoned, reckon_at, again }
    }

    /// Where everybody of this room waits or meets.
    fn lobby(&self) -> Topic {
        let size = self.size.map_or(0, |size| size as u64).to_be_bytes();
        Topic { id: self.network.door_topic(NAME, &[self.name.as_bytes(), &size]), name: "lobby".into() }
    }

    /// An id for a request about a membership: it is asked again if it is refused.
    fn id(&mut self, desk: &mut Desk<'_>) -> RequestId {
        let id = desk.fresh_id();
        self.asked.insert(id.clone());
        id
    }

    fn join_lobby(&mut self, desk: &mut Desk<'_>) {
        let Some(room) = &self.room else { return };
        let meta = Some(room.mine().encode().into());
        let (id, topic) = (self.id(desk), self.lobby());
        desk.ask(if self.moved {
            Request::Leave { id, topic }
        } else {
            Request::Join { id, topic, meta, quiet: false }
        });
    }

    fn join_group(&mut self, desk: &mut Desk<'_>) {
        let Some(group) = self.group else { return };
        let (id, topic) = (self.id(desk), Topic { id: group, name: "group".into() });
        desk.ask(Request::Join { id, topic, meta: None, quiet: false });
    }

    /// A request was refused. The host may have no room just now.
    fn refused(&mut self, id: &RequestId, desk: &mut Desk<'_>) {
        if self.asked.remove(id) {
            self.again = Some(desk.now() + AGAIN);
        }
    }

    fn saw(&mut self, members: &[Member]) {
        let Some(room) = &mut self.room else { return };
        members.iter().for_each(|member| room.saw(member.peer, &member.meta));
    }

    /// Does what follows from what is seen now: at once, or together with what is seen in the next moment.
    fn reckon_soon(&mut self, desk: &mut Desk<'_>) {
        let next = self.reckoned.filter(|_| self.size.is_some()).map(|last| last + RECKONING);
        match next.filter(|next| *next > desk.now()) {
            Some(next) => self.reckon_at = Some(next),
            None => self.reckon(desk),
        }
    }

    /// Does what follows from what is seen now.
    fn reckon(&mut self, desk: &mut Desk<'_>) {
        let Some(room) = &mut self.room else { return };
        (self.reckoned, self.reckon_at) = (Some(desk.now()), None);
        if self.group.is_some() {
            return;
        }
        let taken_in = room.take_in();
        for (peer, offers) in room.meets() {
            if self.met.insert(peer) && offers {
                desk.send_text(ToClient::NewPeer(uuid(peer)).encode());
            }
        }
        if room.is_complete() {
            return self.settle(desk);
        }
        if taken_in {
            self.join_lobby(desk);
        }
        let next = self.room.as_ref().is_some_and(Room::is_next);
        self.patience = next.then(|| self.patience.unwrap_or(desk.now() + PATIENCE));
        let leaderless = self.room.as_ref().is_some_and(Room::wants_leader);
        self.wake = leaderless.then(|| self.wake.unwrap_or(desk.now() + LEADERLESS));
    }

    /// The group is complete: it has a topic of its own from now on.
    fn settle(&mut self, desk: &mut Desk<'_>) {
        let Some(room) = &mut self.room else { return };
        room.settle();
        let Some(group) = room.group_id() else { return };
        let size = self.size.map_or(0, |size| size as u64).to_be_bytes();
        let id = self.network.door_topic(NAME, &[self.name.as_bytes(), &size, group.as_bytes()]);
        self.group = Some(id);
        self.wake = Some(desk.now() + SETTLING);
        self.patience = None;
        self.join_lobby(desk);
        self.join_group(desk);
    }

    fn left(&mut self, topic: &str, peer: PeerId, reason: LeftReason, desk: &mut Desk<'_>) {
        // Who leaves a room for groups and lives on has settled: nobody but its own group has to know it.
        let settled = topic == "lobby" && self.size.is_some() && reason == LeftReason::Left;
        if let Some(room) = &mut self.room
            && !(settled && room.may_be_of_our_group(peer))
        {
            room.lost(peer);
        }
        if settled {
            return;
        }
        if self.met.remove(&peer) {
            desk.send_text(ToClient::PeerLeft(uuid(peer)).encode());
        }
        self.reckon_soon(desk);
    }

    fn signal(&mut self, from: PeerId, data: &Bytes, desk: &mut Desk<'_>) {
        let Some(body) = door::unwrap(NAME, data) else { return };
        let Ok(data) = serde_json::from_slice::<&RawValue>(&body) else { return };
        if !codec::is_signal(data) {
            return;
        }
        // An offer may come before the news of its sender, so anybody's is taken: the room is open to all as well.
        if self.met.len() < 2 * MEMBERS_MAX || self.met.contains(&from) {
            self.met.insert(from);
            desk.send_text(ToClient::Signal { sender: uuid(from), data }.encode());
        }
    }
}

impl Dialect for Matchbox {
    fn opened(&mut self, desk: &mut Desk<'_>) {
        desk.hello();
    }

    /// What cannot be read is passed over: matchbox has no words for it.
    fn text(&mut self, text: &str, desk: &mut Desk<'_>) {
        match serde_json::from_str(text) {
            Ok(FromClient::Signal { data, .. }) if !codec::is_signal(data) => {
                desk.misunderstood(None, Refusal::BadField, "no offer, answer or candidate".to_owned());
            }
            Ok(FromClient::Signal { receiver, data }) => {
                if let Some(to) = self.met.iter().find(|peer| uuid(**peer) == receiver) {
                    desk.signal(*to, None, door::wrap(NAME, data.get().as_bytes()));
                }
            }
            Ok(FromClient::KeepAlive) => {}
            Err(error) => desk.misunderstood(None, Refusal::Malformed, error.to_string()),
        }
    }

    /// matchbox ends a client that sends one.
    fn binary(&mut self, _bytes: &Bytes, desk: &mut Desk<'_>) {
        desk.misunderstood(None, Refusal::BadFrame, "binary frames are not part of this protocol".to_owned());
        desk.close(Some(1003));
    }

    fn event(&mut self, event: Event, desk: &mut Desk<'_>) {
        match event {
            Event::Welcome(welcome) => {
                self.room = Some(Room::new(welcome.peer, self.size, self.stamp));
                desk.send_text(ToClient::IdAssigned(uuid(welcome.peer)).encode());
                self.join_lobby(desk);
            }
            Event::Joined(sample) => {
                self.asked.remove(&sample.id);
                if &*sample.topic == "lobby" {
                    self.saw(&sample.members);
                    if sample.total > sample.members.len() {
                        let id = desk.discover(self.lobby(), MEMBERS_MAX);
                        self.asked.insert(id);
                    }
                    self.reckon_soon(desk);
                }
            }
            Event::Left { id, .. } => _ = self.asked.remove(&id),
            Event::Peers(sample) => {
                self.asked.remove(&sample.id);
                self.saw(&sample.members);
                self.reckon_soon(desk);
            }
            Event::PeerJoined { topic, member, .. } if &*topic == "lobby" => {
                self.saw(&[member]);
                self.reckon_soon(desk);
            }
            Event::PeerLeft { topic, peer, reason, .. } => self.left(&topic, peer, reason, desk),
            Event::Signal { from, data, .. } => self.signal(from, &data, desk),
            // Whoever cannot come in is not kept waiting at the door.
            Event::Error { .. } if self.room.is_none() => desk.close(Some(1013)),
            Event::Error { id: Some(id), .. } => self.refused(&id, desk),
            _ => {}
        }
    }

    fn deadline(&self) -> Option<Instant> {
        [self.wake, self.patience, self.reckon_at, self.again].into_iter().flatten().min()
    }

    fn woken(&mut self, desk: &mut Desk<'_>) {
        let now = desk.now();
        if self.again.take_if(|at| *at <= now).is_some() {
            self.join_lobby(desk);
            self.join_group(desk);
        }
        if self.patience.take_if(|at| *at <= now).is_some() {
            self.room.iter_mut().for_each(Room::pass_over);
            self.reckon_at = Some(now);
        }
        if self.wake.take_if(|at| *at <= now).is_none() {
            if self.reckon_at.is_some_and(|at| at <= now) {
                self.reckon(desk);
            }
            return;
        }
        if self.group.is_some() {
            self.moved = true;
            return self.join_lobby(desk);
        }
        if let Some(room) = &mut self.room
            && room.wants_leader()
        {
            room.lead();
            room.take_in();
            self.join_lobby(desk);
        }
        self.reckon(desk);
    }
}

#[cfg(test)]
mod tests;
