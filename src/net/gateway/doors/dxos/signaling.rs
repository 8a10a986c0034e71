//! One socket: its calls, its streams, and the memberships that follow from them.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use aldis_wire::door;
use aldis_wire::id::PeerId;
use aldis_wire::limits::SIGNAL_DATA_BYTES;
use aldis_wire::network::Network;
use aldis_wire::refusal::Refusal;
use axum::body::Bytes;
use data_encoding::HEXLOWER;
use prost::Message as _;
use tokio::time::Instant;

use super::super::super::dialect::{Desk, Dialect};
use super::post::{Ended, Post, Socket};
use super::presence::{self, Key, Presence};
use super::rpc::{self, Answer, Content, Request, RpcMessage};
use super::seat::{Seat, has_room};
use super::view::{Change, LEASE, View};
use crate::doors::Door;
use crate::relay::io::{Event, LeftReason, RequestId, Sample, Topic};
use crate::relay::limits::DISCOVER_MAX;

const NAME: &str = Door::Dxos.name();
/// The first byte between hosts: a message follows.
const MESSAGE: u8 = 1;
/// Swarms of one socket. With the mailboxes, as many topics as a session may have.
const SWARMS_MAX: usize = 28;
/// Peers for which one socket receives messages. The library uses one.
const MAILBOXES_MAX: usize = 4;
/// Open streams of a socket: the library opens one for each swarm and each mailbox.
const STREAMS_MAX: usize = 128;
/// Peers seen by a socket in all its swarms, about 250 bytes each. Beyond that newcomers are not shown.
const SEEN_MAX: usize = 1_024;

/// What time it was when a socket opened.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    pub(super) at: Instant,
    pub(super) unix_ms: u64,
}

impl Clock {
    fn unix_ms(&self, now: Instant) -> u64 {
        let passed = now.saturating_duration_since(self.at).as_millis();
        self.unix_ms.saturating_add(u64::try_from(passed).unwrap_or(u64::MAX))
    }
}

/// An open stream.
#[derive(Debug)]
struct Stream {
    /// The name of the topic that it is about.
    place: Arc<str>,
    peer: Key,
    since_ms: u64,
    /// Whether the client has been told that it is open.
    ready: bool,
}

#[derive(Debug)]
struct Swarm {
    seat: Seat,
    view: View,
}

/// A peer's own topic, in which the sockets meet that receive its messages.
#[derive(Debug)]
struct Mailbox {
    seat: Seat,
    stamp: u64,
}

pub(super) struct Signaling {
    network: Arc<Network>,
    clock: Clock,
    me: Option<PeerId>,
    streams: BTreeMap<i32, Stream>,
    swarms: HashMap<Arc<str>, Swarm>,
    mailboxes: HashMap<Arc<str>, Mailbox>,
    /// Swarms, each once, whose members did not fit into the answer to the join. They are looked up one after the other: two
    /// answers of full size may be more than a mailbox holds.
    looks: VecDeque<Arc<str>>,
    looking: Option<RequestId>,
    post: Post,
}

/// Why a call or a stream fails: a name that the library may know, and words.
struct Failure(&'static str, String);

impl Failure {
    fn malformed(what: &str) -> Self {
        Self("MALFORMED", format!("{what} cannot be understood"))
    }

    fn refused(refusal: Refusal) -> Self {
        // The library knows the first name, and does not take the server for broken when it meets it.
        let name = if is_for_now(refusal) { "RATE_LIMIT_EXCEEDED" } else { "REFUSED" };
        Self(name, refusal.sentence().to_owned())
    }
}

fn is_for_now(refusal: Refusal) -> bool {
    matches!(refusal, Refusal::RateLimited | Refusal::Overloaded | Refusal::TooManyOpen)
}

impl Signaling {
    pub(super) fn new(network: Arc<Network>, clock: Clock) -> Self {
        Self {
            network,
            clock,
            me: None,
            streams: BTreeMap::new(),
            swarms: HashMap::new(),
            mailboxes: HashMap::new(),
            looks: VecDeque::new(),
            looking: None,
            post: Post::default(),
        }
    }

    /// `kind` keeps the names of swarms and of mailboxes apart, here and among the hosts.
    fn topic(&self, kind: &str, key: &[u8]) -> Topic {
        let name = format!("{kind} {}", HEXLOWER.encode(key));
        Topic { id: self.network.door_topic(NAME, &[kind.as_bytes(), key]), name: name.into() }
    }

    fn called(&mut self, request: Request, desk: &mut Desk<'_>) {
        let id = request.id;
        let Request { method, payload, stream, .. } = request;
        let payload = payload.unwrap_or_default().value;
        let answered = match (method.as_str(), stream) {
            ("dxos.mesh.signal.Signal.Join", true) => self.join(id, &payload, desk),
            ("dxos.mesh.signal.Signal.ReceiveMessages", true) => self.receive(id, &payload, desk),
            ("dxos.mesh.signal.Signal.SendMessage", false) => self.send(id, &payload, desk),
            _ => Err(Failure("METHOD_NOT_FOUND", "there is no such method here".to_owned())),
        };
        if let Err(Failure(name, message)) = answered {
            desk.send_binary(rpc::response(id, rpc::error(name, &message)));
        }
    }

    fn join(&mut self, id: i32, payload: &Bytes, desk: &mut Desk<'_>) -> Result<(), Failure> {
        let asked = rpc::JoinRequest::decode(payload.clone()).map_err(|_| Failure::malformed("JoinRequest"))?;
        if !rpc::is_key(&asked.swarm) || !rpc::is_key(&asked.peer) {
            return Err(Failure::malformed("a key in JoinRequest"));
        }
        let topic = self.topic("swarm", &asked.swarm);
        let place = topic.name.clone();
        if !has_room(&place, self.swarms.iter().map(|(place, swarm)| (place, &swarm.seat)), SWARMS_MAX) {
            return never(id, "swarms", desk);
        }
        if self.streams.values().any(|stream| stream.place == place && *stream.peer == *asked.peer) {
            return never(id, "streams of this peer in this swarm", desk);
        }
        self.open(id, place.clone(), asked.peer.into(), desk)?;
        let Some(meta) = presence::swarm_meta(&self.listed(&place)) else {
            self.streams.remove(&id);
            return never(id, "peers in this swarm", desk);
        };
        let swarm = self.swarms.entry(place).or_insert_with(|| Swarm { seat: Seat::new(topic), view: View::default() });
        swarm.seat.want(Some(meta), desk);
        Ok(())
    }

    fn receive(&mut self, id: i32, payload: &Bytes, desk: &mut Desk<'_>) -> Result<(), Failure> {
        let asked =
            rpc::ReceptionRequest::decode(payload.clone()).map_err(|_| Failure::malformed("ReceptionRequest"))?;
        if !rpc::is_key(&asked.peer) {
            return Err(Failure::malformed("the key in ReceptionRequest"));
        }
        let topic = self.topic("peer", &asked.peer);
        let place = topic.name.clone();
        if !has_room(&place, self.mailboxes.iter().map(|(place, mailbox)| (place, &mailbox.seat)), MAILBOXES_MAX) {
            return never(id, "peers that receive messages", desk);
        }
        if self.streams.values().any(|stream| stream.place == place) {
            return never(id, "streams of this peer", desk);
        }
        self.open(id, place.clone(), asked.peer.into(), desk)?;
        let stamp = self.clock.unix_ms(desk.now());
        let mailbox = self.mailboxes.entry(place).or_insert_with(|| Mailbox { seat: Seat::new(topic), stamp });
        mailbox.stamp = mailbox.stamp.max(stamp);
        let meta = presence::mailbox_meta(mailbox.stamp);
        mailbox.seat.want(Some(meta), desk);
        Ok(())
    }

    /// Takes a stream that is not ready yet.
    fn open(&mut self, id: i32, place: Arc<str>, peer: Key, desk: &Desk<'_>) -> Result<(), Failure> {
        if self.streams.len() >= STREAMS_MAX || self.streams.contains_key(&id) {
            return Err(Failure("TOO_MANY_STREAMS", "no more streams, and none of the same id".to_owned()));
        }
        let since_ms = self.clock.unix_ms(desk.now());
        self.streams.insert(id, Stream { place, peer, since_ms, ready: false });
        Ok(())
    }

    fn send(&mut self, id: i32, payload: &Bytes, desk: &mut Desk<'_>) -> Result<(), Failure> {
        let mail = rpc::mail(payload).ok_or_else(|| Failure::malformed("Message"))?;
        let data = door::wrap(NAME, &[&[MESSAGE], &payload[..]].concat());
        if data.len() > SIGNAL_DATA_BYTES {
            return Err(Failure("TOO_BIG", Refusal::TooBig.sentence().to_owned()));
        }
        let topic = self.topic("peer", &mail.recipient);
        let own = self.mailboxes.get(&topic.name).filter(|mailbox| mailbox.seat.is_taken());
        let own = own.zip(self.me).map(|(mailbox, peer)| Socket { peer, stamp: mailbox.stamp });
        self.post.send(id, topic, data, own, desk);
        Ok(())
    }

    /// The client closes a stream: for a swarm, its peer leaves.
    fn closed(&mut self, id: i32, desk: &mut Desk<'_>) {
        let Some(Stream { place, .. }) = self.streams.remove(&id) else { return };
        let listed = self.listed(&place);
        if let Some(mailbox) = self.mailboxes.get_mut(&place).filter(|_| listed.is_empty()) {
            mailbox.seat.want(None, desk);
        }
        let Some(swarm) = self.swarms.get_mut(&place) else { return };
        if listed.is_empty() {
            swarm.view = View::default();
            return swarm.seat.want(None, desk);
        }
        swarm.seat.want(presence::swarm_meta(&listed), desk);
        let changes = swarm.view.lists(None, listed, usize::MAX);
        self.tell(&place, &changes, desk);
    }

    /// Who is at a place by the streams of this socket, each once and since its first stream.
    fn listed(&self, place: &Arc<str>) -> Vec<Presence> {
        let mut listed: Vec<Presence> = Vec::new();
        for stream in self.streams.values().filter(|stream| stream.place == *place) {
            if !listed.iter().any(|it| it.peer == stream.peer) {
                listed.push(Presence { peer: stream.peer.clone(), since_ms: stream.since_ms });
            }
        }
        listed
    }

    /// The machine has taken a membership: streams that wait for it are ready.
    fn granted(&mut self, sample: Sample, desk: &mut Desk<'_>) {
        let place = sample.topic.clone();
        if self.mailboxes.get(&place).is_some_and(|mailbox| mailbox.seat.asked(&sample.id)) {
            return self.mailbox_granted(&place, &sample, desk);
        }
        let listed = self.listed(&place);
        let Some(swarm) = self.swarms.get_mut(&place).filter(|swarm| swarm.seat.asked(&sample.id)) else { return };
        if swarm.seat.is_unwanted() {
            return;
        }
        let is_new = swarm.seat.granted();
        let now_ms = self.clock.unix_ms(desk.now());
        let mut changes = swarm.view.lists(None, listed, usize::MAX);
        if is_new && sample.total > sample.members.len() && !self.looks.contains(&place) {
            self.looks.push_back(place.clone());
        }
        changes.extend(self.seen(&place, sample, desk.now()));
        self.look(desk);
        self.tell(&place, &changes, desk);
        let Some(swarm) = self.swarms.get(&place) else { return };
        for (id, stream) in self.streams.iter_mut().filter(|(_, stream)| stream.place == place && !stream.ready) {
            stream.ready = true;
            desk.send_binary(rpc::response(*id, Answer::StreamReady(true)));
            for change in swarm.view.everybody().filter(|change| *change.peer() != stream.peer) {
                desk.send_binary(swarm_event(*id, &change, now_ms));
            }
        }
    }

    /// Looks up the next swarm, unless one is being looked up.
    fn look(&mut self, desk: &mut Desk<'_>) {
        while self.looking.is_none() {
            let Some(place) = self.looks.pop_front() else { return };
            let swarm = self.swarms.get(&place).filter(|swarm| swarm.seat.is_taken());
            self.looking = swarm.map(|swarm| desk.discover(swarm.seat.topic().clone(), DISCOVER_MAX));
        }
    }

    fn mailbox_granted(&mut self, place: &Arc<str>, sample: &Sample, desk: &mut Desk<'_>) {
        let Some(mailbox) = self.mailboxes.get_mut(place) else { return };
        let is_new = mailbox.seat.granted();
        for (id, stream) in self.streams.iter_mut().filter(|(_, stream)| stream.place == *place && !stream.ready) {
            stream.ready = true;
            desk.send_binary(rpc::response(*id, Answer::StreamReady(true)));
        }
        // Clocks of hosts differ: whoever comes is newer than those it finds.
        let newest = sample.members.iter().filter_map(|member| presence::read_mailbox_meta(&member.meta)).max();
        if let Some(newest) = newest.filter(|newest| is_new && *newest >= mailbox.stamp) {
            mailbox.stamp = newest.saturating_add(1);
            mailbox.seat.want(Some(presence::mailbox_meta(mailbox.stamp)), desk);
        }
    }

    /// Members of a swarm.
    fn seen(&mut self, place: &Arc<str>, sample: Sample, now: Instant) -> Vec<Change> {
        let mut changes = Vec::new();
        for member in sample.members {
            changes.extend(self.came(place, member.peer, &member.meta, now));
        }
        changes
    }

    fn came(&mut self, place: &Arc<str>, peer: PeerId, meta: &Bytes, now: Instant) -> Vec<Change> {
        let weight: usize = self.swarms.values().map(|swarm| swarm.view.weight()).sum();
        let listed = presence::read_swarm_meta(meta, self.clock.unix_ms(now));
        let Some(swarm) = self.swarms.get_mut(place).filter(|swarm| swarm.seat.is_taken()) else { return Vec::new() };
        swarm.view.lists(Some(peer), listed, SEEN_MAX.saturating_sub(weight))
    }

    /// Tells the streams of a swarm that are ready. Nobody is told of itself.
    fn tell(&mut self, place: &Arc<str>, changes: &[Change], desk: &mut Desk<'_>) {
        let now_ms = self.clock.unix_ms(desk.now());
        if let Some(swarm) = self.swarms.get_mut(place) {
            swarm.view.told(desk.now());
        }
        for change in changes {
            let told =
                |(_, stream): &(&i32, &Stream)| stream.place == *place && stream.ready && stream.peer != *change.peer();
            for (id, _) in self.streams.iter().filter(told) {
                desk.send_binary(swarm_event(*id, change, now_ms));
            }
        }
    }

    /// The machine has refused a membership, or its end.
    fn refused(&mut self, id: &RequestId, refusal: Refusal, desk: &mut Desk<'_>) {
        if self.looking.take_if(|asked| asked == id).is_some() {
            return self.look(desk);
        }
        let now = desk.now();
        let seats = self.swarms.values_mut().map(|swarm| &mut swarm.seat);
        let mut seats = seats.chain(self.mailboxes.values_mut().map(|mailbox| &mut mailbox.seat));
        let Some(seat) = seats.find(|seat| seat.asked(id)) else { return };
        if !seat.refused(is_for_now(refusal), now) {
            return;
        }
        let place = seat.topic().name.clone();
        self.swarms.remove(&place);
        self.mailboxes.remove(&place);
        let Failure(name, message) = Failure::refused(refusal);
        self.streams.retain(|id, stream| {
            let stays = stream.place != place;
            if !stays {
                desk.send_binary(rpc::response(*id, rpc::error(name, &message)));
            }
            stays
        });
    }

    /// The machine has ended a membership that nobody wants.
    fn given_up(&mut self, id: &RequestId, place: &Arc<str>) {
        let ended = |seat: &Seat| seat.asked(id) && seat.is_unwanted();
        if self.swarms.get(place).is_some_and(|swarm| ended(&swarm.seat)) {
            self.swarms.remove(place);
        }
        if self.mailboxes.get(place).is_some_and(|mailbox| ended(&mailbox.seat)) {
            self.mailboxes.remove(place);
        }
    }

    /// A message for a peer of this socket, from anybody.
    fn arrived(&self, data: &Bytes, desk: &mut Desk<'_>) {
        let Some(body) = door::unwrap(NAME, data).filter(|body| body.first() == Some(&MESSAGE)) else { return };
        let body = body.slice(1..);
        let Some(mail) = rpc::mail(&body) else { return };
        let place = self.topic("peer", &mail.recipient).name;
        for (id, _) in self.streams.iter().filter(|(_, stream)| stream.place == place && stream.ready) {
            desk.send_binary(rpc::response(*id, rpc::payload("dxos.mesh.signal.Message", body.clone())));
        }
    }
}

impl Dialect for Signaling {
    fn opened(&mut self, desk: &mut Desk<'_>) {
        desk.hello();
    }

    /// The library sends `__ping__` every 10 s and expects nothing.
    fn text(&mut self, _text: &str, _desk: &mut Desk<'_>) {}

    fn binary(&mut self, bytes: &Bytes, desk: &mut Desk<'_>) {
        match RpcMessage::decode(bytes.clone()).ok().and_then(|message| message.content) {
            Some(Content::Request(request)) => self.called(request, desk),
            Some(Content::StreamClose(stream)) => self.closed(stream.id, desk),
            Some(Content::Open(_)) => desk.send_binary(rpc::frame(Content::OpenAck(true))),
            Some(Content::Bye(bye)) => {
                desk.send_binary(rpc::frame(Content::Bye(bye)));
                desk.close(Some(1000));
            }
            // We ask for nothing, so nothing is answered.
            Some(Content::OpenAck(_) | Content::Response(_)) => {}
            None => desk.misunderstood(None, Refusal::Malformed, String::new()),
        }
    }

    fn event(&mut self, event: Event, desk: &mut Desk<'_>) {
        let event = match self.post.event(event, desk) {
            Ok(calls) => {
                for (call, ended) in calls {
                    desk.send_binary(rpc::response(call, ending(ended)));
                }
                return;
            }
            Err(event) => event,
        };
        match event {
            Event::Welcome(welcome) => self.me = Some(welcome.peer),
            Event::Joined(sample) => self.granted(sample, desk),
            Event::Left { id, topic } => self.given_up(&id, &topic),
            Event::Peers(sample) if self.looking.take_if(|asked| *asked == sample.id).is_some() => {
                let place = sample.topic.clone();
                let changes = self.seen(&place, sample, desk.now());
                self.tell(&place, &changes, desk);
                self.look(desk);
            }
            Event::PeerJoined { topic, member, .. } => {
                let changes = self.came(&topic, member.peer, &member.meta, desk.now());
                self.tell(&topic, &changes, desk);
            }
            Event::PeerLeft { topic, peer, reason, .. } => {
                let lost = (reason != LeftReason::Left).then(|| desk.now());
                if let Some(swarm) = self.swarms.get_mut(&topic).filter(|swarm| swarm.seat.is_taken()) {
                    let changes = swarm.view.went(Some(peer), lost);
                    self.tell(&topic, &changes, desk);
                }
            }
            Event::Signal { data, .. } => self.arrived(&data, desk),
            Event::Error { id: Some(id), refusal, .. } => self.refused(&id, refusal, desk),
            // Nothing else is asked for.
            _ => {}
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let swarms = self.swarms.values().flat_map(|swarm| [swarm.seat.deadline(), swarm.view.deadline()]);
        let mailboxes = self.mailboxes.values().map(|mailbox| mailbox.seat.deadline());
        swarms.chain(mailboxes).chain([self.post.deadline()]).flatten().min()
    }

    fn woken(&mut self, desk: &mut Desk<'_>) {
        let now = desk.now();
        self.post.woken(desk);
        for mailbox in self.mailboxes.values_mut() {
            mailbox.seat.woken(now, desk);
        }
        let mut told = Vec::new();
        for (place, swarm) in &mut self.swarms {
            swarm.seat.woken(now, desk);
            let mut changes = swarm.view.woken(now);
            changes.extend(swarm.view.renewed(now));
            told.push((place.clone(), changes));
        }
        for (place, changes) in told {
            self.tell(&place, &changes, desk);
        }
    }
}

/// Refuses a stream for good. The library opens its streams one after the other, waits for each to be ready, and
/// begins anew 5 s later if it does not become so: an error alone would keep it from ever opening those behind it.
fn never(id: i32, of_what: &str, desk: &mut Desk<'_>) -> Result<(), Failure> {
    desk.send_binary(rpc::response(id, Answer::StreamReady(true)));
    Err(Failure("LIMIT_REACHED", format!("too many {of_what}")))
}

fn swarm_event(id: i32, change: &Change, now_ms: u64) -> Vec<u8> {
    let lease_ms = u64::try_from(LEASE.as_millis()).unwrap_or(0);
    let change = match change {
        Change::Available(presence) => rpc::Change::PeerAvailable(rpc::PeerAvailable {
            peer: presence.peer.to_vec(),
            since: Some(timestamp(presence.since_ms)),
            until: Some(timestamp(now_ms.saturating_add(lease_ms))),
        }),
        Change::Left(peer) => rpc::Change::PeerLeft(rpc::PeerLeft { peer: peer.to_vec() }),
    };
    let event = rpc::SwarmEvent { change: Some(change) }.encode_to_vec();
    rpc::response(id, rpc::payload("dxos.mesh.signal.SwarmEvent", event))
}

fn timestamp(unix_ms: u64) -> rpc::Timestamp {
    let nanos = i32::try_from(unix_ms % 1_000).unwrap_or(0) * 1_000_000;
    rpc::Timestamp { seconds: i64::try_from(unix_ms / 1_000).unwrap_or(i64::MAX), nanos }
}

/// What a call is answered. The original published messages without knowing whether anybody listens, so that nobody
/// listens is no error; the library's own acknowledgements tell the sender that its message arrived.
fn ending(ended: Ended) -> Answer {
    match ended {
        Ended::Done => rpc::done(),
        Ended::Refused(refusal) => {
            let Failure(name, message) = Failure::refused(refusal);
            rpc::error(name, &message)
        }
        Ended::Unknown => rpc::error("TIMEOUT", "the recipient's host did not answer"),
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
