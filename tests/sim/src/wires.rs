//! What lies between hosts: latency, order, bandwidth, priorities, cuts, stalls, dials, and the ends of connections.
//!
//! A connection has two ends. Frames wait at the sending end while the wire is busy: by the priority of their
//! channel, and channels of one priority take turns. Then they are on their way, and arrive in order on each channel. A direction that is cut holds what
//! comes, as QUIC sends again what was lost: when it is mended in time, everything arrives late; otherwise the connection
//! is gone.

use std::cmp::Reverse;
use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;

use aldis::relay::io::{CheckKey, CheckTarget, DialFailure, DialKey, Input, LinkKey};
use aldis::relay::limits::LINK_SILENT;
use aldis_wire::codec::HEADER_BYTES;
use aldis_wire::host::{Channel, GoodbyeReason, Role};
use aldis_wire::id::HostId;
use aldis_wire::limits::LANES;
use bytes::{Buf, Bytes};

use crate::map::{Place, address, place};
use crate::queue::{At, MS, SEC};
use crate::trace::Arrow;
use crate::world::{Happening, World, duration};

/// A connection of which nothing is heard for so long is given up (PROTOCOL.md §5.1).
const IDLE: At = 7 * SEC;
/// The other side was last heard up to so long before it fell silent.
pub(crate) const KEEP_ALIVE: At = 5 * SEC / 2;
/// What was sent before a connection was closed may arrive for so long.
const FLUSH: At = 2 * SEC;
/// A dial is given up after this.
pub(crate) const DIAL_DEADLINE: At = 5 * SEC;
/// When the first packet of a dial is sent again, since its beginning: probe time-outs double (RFC 9002 §6.2).
pub(crate) const DIAL_AGAIN: [At; 2] = [SEC, 3 * SEC];
/// How often a driver looks whether anything came.
const LISTEN_INTERVAL: At = SEC / 2;
/// The transport takes what it can send within this time; the rest waits for its turn.
const TAKEN_AHEAD: At = 2 * MS;

/// A dial on its way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dial {
    dial: DialKey,
    to: SocketAddr,
    host: Option<HostId>,
    since: At,
}

fn at(duration: std::time::Duration) -> At {
    duration.as_nanos() as At
}

/// One end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EndId(u32);

impl EndId {
    /// What the machine calls it.
    pub(crate) fn key(self) -> LinkKey {
        LinkKey(u64::from(self.0))
    }

    /// The end that a machine calls so.
    pub(crate) fn of(link: LinkKey) -> Self {
        Self(u32::try_from(link.0).expect("a key that was given out"))
    }

    fn other(self) -> Self {
        Self(self.0 ^ 1)
    }

    /// Whether its host dialled.
    pub(crate) fn is_dialler(self) -> bool {
        self.0.is_multiple_of(2)
    }

    fn at(self) -> usize {
        self.0 as usize
    }
}

/// Lanes and the other channels, for keeping order.
const CHANNELS: usize = 7;

fn number(channel: Channel) -> usize {
    match channel {
        Channel::Control => 0,
        Channel::Announce => 1,
        Channel::Sync => 2,
        Channel::Lane(lane) => 3 + usize::from(lane) % 4,
    }
}

/// In which queue a frame waits. Signals of all lanes wait in one.
fn queue(channel: Channel) -> usize {
    match channel {
        Channel::Control => 0,
        Channel::Lane(_) => 1,
        Channel::Announce => 2,
        Channel::Sync => 3,
    }
}

/// Channels that stand for all of their queues.
const QUEUES: [Channel; 4] = [Channel::Control, Channel::Lane(0), Channel::Announce, Channel::Sync];
/// Streams that take turns, of each queue.
const STREAMS: [u64; 4] = [1, LANES as u64, 1, 1];

#[derive(Debug)]
struct End {
    place: Place,
    /// Where the other side is, as it is seen from here.
    seen: SocketAddr,
    /// Whether routers on the way have forgotten it.
    lost: bool,
    /// Whether the process here still has the connection.
    reads: bool,
    /// Whether the host here has closed it: nothing that it sends counts.
    closed: bool,
    /// How long a frame takes to the other end.
    one_way: At,
    /// Until when the wire is busy with what was sent from here.
    busy: At,
    /// What waits to be sent from here: control, lanes, announce, sync.
    waiting: [VecDeque<(Channel, Bytes)>; 4],
    waiting_bytes: [usize; 4],
    /// Bytes that went of each queue for each of its streams, as if none had ever been idle: whose are the fewest is next.
    turns: [u64; 4],
    pumping: bool,
    /// When the last frame on each channel arrives at the other end.
    arrivals: [At; CHANNELS],
    /// What was on its way here when the way was cut.
    held: VecDeque<(Channel, Bytes)>,
    /// What was sent here while it was.
    unsent: VecDeque<(Channel, Bytes)>,
}

impl End {
    /// Takes what goes on its way next.
    fn take(&mut self) -> Option<(Channel, Bytes)> {
        let waits = |queue: &usize| !self.waiting[*queue].is_empty();
        let first = |queue: &usize| (Reverse(QUEUES[*queue].priority()), self.turns[*queue]);
        let queue = (0..4).filter(waits).min_by_key(first)?;
        let next = self.waiting[queue].pop_front()?;
        self.waiting_bytes[queue] -= next.1.len();
        self.turns[queue] += next.1.len() as u64 / STREAMS[queue];
        Some(next)
    }

    /// A frame waits for its turn. A queue that was idle has saved nothing up.
    fn wait(&mut self, channel: Channel, frame: Bytes) {
        let queue = queue(channel);
        if self.waiting[queue].is_empty() {
            let others = (0..4).filter(|other| !self.waiting[*other].is_empty()).map(|other| self.turns[other]);
            self.turns[queue] = others.min().unwrap_or(0).max(self.turns[queue]);
        }
        self.waiting_bytes[queue] += frame.len();
        self.waiting[queue].push_back((channel, frame));
    }
}

/// All connections, and what is wrong with the ways between hosts.
#[derive(Debug, Default)]
pub(crate) struct Wires {
    ends: Vec<End>,
    /// The part of the world in which each host is; empty while it is whole.
    parts: Vec<u8>,
    /// Parts between which nothing gets through, from and to.
    cut_parts: BTreeSet<(u8, u8)>,
    /// Of a million frames, those that are lost and sent again.
    pub(crate) loss: u32,
    /// Bytes a second that these hosts take on each link.
    pub(crate) slow: Vec<(Place, u64)>,
}

impl Wires {
    /// Whether what is sent from `a` reaches `b`.
    pub(crate) fn reaches(&self, a: Place, b: Place) -> bool {
        match (self.parts.get(a), self.parts.get(b)) {
            (Some(a), Some(b)) if a != b => !self.cut_parts.contains(&(*a, *b)),
            _ => true,
        }
    }

    /// Whether what is sent to this end reaches it.
    fn carries(&self, end: EndId) -> bool {
        let (here, there) = (&self.ends[end.at()], &self.ends[end.other().at()]);
        !here.lost && self.reaches(there.place, here.place)
    }

    /// Whether no router has forgotten this connection.
    pub(crate) fn is_whole(&self, end: EndId) -> bool {
        !self.ends[end.at()].lost
    }

    /// Where the other side is, as an end sees it.
    pub(crate) fn seen(&self, end: EndId) -> SocketAddr {
        self.ends[end.at()].seen
    }

    /// The host at an end.
    pub(crate) fn place(&self, end: EndId) -> Place {
        self.ends[end.at()].place
    }

    /// The host at the other end.
    pub(crate) fn place_of_other(&self, end: EndId) -> Place {
        self.ends[end.other().at()].place
    }

    /// Bytes that wait at an end to be sent, of one kind of channel.
    pub(crate) fn waiting_bytes(&self, end: EndId, queue: usize) -> usize {
        self.ends[end.at()].waiting_bytes[queue]
    }

    /// Ends of connections that somebody reads, with the hosts at both ends.
    pub(crate) fn standing(&self) -> impl Iterator<Item = (EndId, Place, Place)> + '_ {
        let standing = self.ends.iter().enumerate().filter(|(_, end)| end.reads);
        standing.map(|(at, end)| {
            let id = EndId(at as u32);
            (id, end.place, self.ends[id.other().at()].place)
        })
    }
}

impl World {
    /// Changes what gets through between hosts, and lets connections feel it.
    pub(crate) fn change_ways(&mut self, change: impl FnOnce(&mut Wires)) {
        let reached = |wires: &Wires| -> Vec<(EndId, bool)> {
            wires.standing().map(|(end, _, _)| (end, wires.carries(end))).collect()
        };
        let before = reached(&self.wires);
        change(&mut self.wires);
        for (end, was) in before {
            let is = self.wires.carries(end);
            if was && !is {
                self.falls_silent(end);
            } else if !was && is {
                self.carries_again(end);
            }
        }
    }

    /// What was lost is sent again within a round trip and a bit.
    fn carries_again(&mut self, end: EndId) {
        let after = 3 * self.wires.ends[end.at()].one_way;
        let here = &mut self.wires.ends[end.at()];
        let (held, unsent) = (std::mem::take(&mut here.held), std::mem::take(&mut here.unsent));
        for (channel, frame) in held.into_iter().chain(unsent) {
            self.arrives_after(end, channel, frame, after);
        }
    }

    /// A router has forgotten a connection.
    pub(crate) fn break_way(&mut self, end: EndId) {
        for end in [end, end.other()] {
            self.wires.ends[end.at()].lost = true;
            self.falls_silent(end);
        }
    }

    /// The other side has heard from this end again, and sees it there. Gives the other end, if both still stand.
    pub(crate) fn mend_way(&mut self, end: EndId, seen: SocketAddr) -> Option<EndId> {
        let other = end.other();
        if !self.wires.ends[end.at()].reads || !self.wires.ends[other.at()].reads {
            return None;
        }
        self.wires.ends[other.at()].seen = seen;
        for end in [end, other] {
            self.wires.ends[end.at()].lost = false;
            if self.wires.carries(end) {
                self.carries_again(end);
            }
        }
        Some(other)
    }

    /// Divides the world into two parts that cannot reach each other, or one of them cannot reach the other.
    pub(crate) fn part_world(&mut self, of: impl Fn(Place) -> bool, one_way: bool) {
        let parts: Vec<u8> = (0..self.hosts.len()).map(|place| u8::from(of(place))).collect();
        self.cut_apart(Vec::clone(&parts));
        self.change_ways(|wires| {
            wires.parts = parts;
            wires.cut_parts.insert((1, 0));
            if !one_way {
                wires.cut_parts.insert((0, 1));
            }
        });
    }

    /// Mends everything that was cut.
    pub(crate) fn mend_world(&mut self) {
        self.change_ways(|wires| wires.cut_parts.clear());
        self.mended();
    }

    /// From now on this end hears nothing.
    fn falls_silent(&mut self, end: EndId) {
        let heard = self.chance.below(KEEP_ALIVE);
        self.later(IDLE - heard, Happening::Silent(end));
        self.falls_quiet(end);
    }

    /// Its driver notices that, since it looks now and then.
    fn falls_quiet(&mut self, end: EndId) {
        let looks = self.chance.below(LISTEN_INTERVAL);
        self.later(at(LINK_SILENT) + looks, Happening::Quiet(end));
    }

    /// It has heard nothing for a while, unless the way was mended meanwhile.
    pub(crate) fn quiet(&mut self, end: EndId) {
        let (here, other) = (&self.wires.ends[end.at()], &self.wires.ends[end.other().at()]);
        let (here, there, reads, spoken) = (here.place, other.place, here.reads && !here.closed, other.reads);
        let stands_still = self.hosts[there].frozen.is_some_and(|since| self.now - since >= at(LINK_SILENT));
        if reads && !(spoken && self.wires.carries(end) && !stands_still) {
            self.input(here, Input::LinkSilent { link: end.key() });
        }
    }

    /// It has heard nothing for the idle time, unless the way was mended meanwhile.
    pub(crate) fn silent(&mut self, end: EndId) {
        let there = self.wires.ends[end.other().at()].place;
        let stands_still = self.hosts[there].frozen.is_some_and(|since| self.now - since >= IDLE - KEEP_ALIVE);
        if !self.wires.ends[end.at()].reads || self.wires.carries(end) && !stands_still {
            return;
        }
        self.end_gone(end);
        // It says nothing more; so the other side, if it could still hear us, falls silent next.
        self.later(IDLE, Happening::Gone(end.other()));
    }

    /// The process at these ends stands still: it acknowledges nothing, and the other sides notice.
    pub(crate) fn stands_still(&mut self, place: Place) {
        for end in self.hosts[place].ends.clone() {
            self.falls_silent(end.other());
        }
    }

    fn bytes_a_second(&self, to: Place) -> u64 {
        let slow = self.wires.slow.iter().find(|(place, _)| *place == to);
        slow.map_or(self.scenario.bandwidth, |(_, bytes)| *bytes).max(1)
    }

    /// A machine sends a frame.
    pub(crate) fn send(&mut self, place: Place, end: EndId, channel: Channel, frame: Bytes) {
        let Some(here) = self.wires.ends.get(end.at()).filter(|end| end.reads && !end.closed) else { return };
        debug_assert_eq!(here.place, place);
        let bytes = frame.len();
        let Some(frame) = self.as_told(place, end, frame) else { return self.take_at_once(end, channel, bytes) };
        self.check_way(place, end, &frame);
        self.missed_apart(place, &frame);
        let here = &self.wires.ends[end.at()];
        self.meter.sends(place, frame.first().copied().unwrap_or(0), frame.len());
        let waits = here.pumping || here.busy > self.now + TAKEN_AHEAD;
        if waits {
            self.wires.ends[end.at()].wait(channel, frame);
            self.pump_later(end);
            self.check_queue(place, end, queue(channel));
        } else {
            self.take_at_once(end, channel, frame.len());
            self.transmit(end, channel, frame);
        }
    }

    fn pump_later(&mut self, end: EndId) {
        let here = &mut self.wires.ends[end.at()];
        if !here.pumping {
            here.pumping = true;
            let at = here.busy.saturating_sub(TAKEN_AHEAD).max(self.now + 1);
            self.queue.push(at, Happening::Pump(end));
        }
    }

    /// The wire is free again: what has waited goes on its way, and the machine is told.
    pub(crate) fn pump(&mut self, end: EndId) {
        self.wires.ends[end.at()].pumping = false;
        let mut taken = Vec::new();
        while self.wires.ends[end.at()].busy <= self.now + TAKEN_AHEAD {
            let Some((channel, frame)) = self.wires.ends[end.at()].take() else { break };
            taken.push((channel, frame.len()));
            self.transmit(end, channel, frame);
        }
        let here = &self.wires.ends[end.at()];
        let (place, tells) = (here.place, here.reads && !here.closed);
        if here.waiting.iter().any(|queue| !queue.is_empty()) {
            self.pump_later(end);
        }
        for (channel, bytes) in taken.into_iter().filter(|_| tells) {
            self.input(place, Input::LinkSent { link: end.key(), channel, bytes });
        }
    }

    /// A frame goes on its way at once.
    pub(crate) fn transmit(&mut self, end: EndId, channel: Channel, frame: Bytes) {
        let other = end.other();
        let to = self.wires.ends[other.at()].place;
        if !self.wires.carries(other) {
            return self.wires.ends[other.at()].unsent.push_back((channel, frame));
        }
        let time = frame.len() as u64 * SEC / self.bytes_a_second(to);
        let loss = self.wires.loss;
        let here = &mut self.wires.ends[end.at()];
        here.busy = here.busy.max(self.now) + time;
        let mut delay = here.busy - self.now + here.one_way + self.chance.below(here.one_way / 16 + 1);
        // A lost packet is sent again after a round trip and a quarter; the next time it takes twice as long.
        let mut again = here.one_way * 5 / 2;
        while self.chance.in_a_million(loss) && again < 64 * here.one_way {
            delay += again;
            again *= 2;
        }
        self.arrives_after(other, channel, frame, delay);
    }

    fn arrives_after(&mut self, end: EndId, channel: Channel, frame: Bytes, delay: At) {
        // Order is kept by the sending end, since that is where the stream is.
        let arrival = &mut self.wires.ends[end.other().at()].arrivals[number(channel)];
        *arrival = (*arrival).max(self.now + delay);
        self.queue.push(*arrival, Happening::Arrive(end, channel, frame));
    }

    /// A frame has come.
    pub(crate) fn arrive(&mut self, id: EndId, channel: Channel, mut frame: Bytes) {
        let end = &self.wires.ends[id.at()];
        let (to, from) = (end.place, self.wires.ends[id.other().at()].place);
        if !end.reads || self.hosts[to].relay.is_none() {
            return;
        }
        if !self.wires.carries(id) {
            return self.wires.ends[id.at()].held.push_back((channel, frame));
        }
        self.trace.mix_bytes(&frame);
        // As it is cut out of a stream: kind, length, body.
        let [kind, a, b, c] = *frame.first_chunk::<HEADER_BYTES>().expect("a frame has a header");
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        assert_eq!(length + HEADER_BYTES, frame.len(), "a frame is sent whole");
        assert!(length <= aldis_wire::limits::FRAME_BYTES, "a frame is within its limit");
        self.meter.receives(to, kind, frame.len());
        if !self.came(from, to, &frame) {
            return;
        }
        self.trace.push(self.now, Arrow::Frame { from, to, kind, bytes: frame.len() as u32 });
        self.follow(from, to, channel, &frame);
        frame.advance(HEADER_BYTES);
        self.input(to, Input::LinkReceived { link: id.key(), channel, kind, body: frame });
    }

    fn stop_reading(&mut self, id: EndId) -> bool {
        let end = &mut self.wires.ends[id.at()];
        let read = std::mem::replace(&mut end.reads, false);
        (end.held, end.unsent) = (VecDeque::new(), VecDeque::new());
        (end.waiting, end.waiting_bytes) = Default::default();
        let place = end.place;
        self.hosts[place].ends.retain(|end| *end != id);
        read
    }

    /// As the driver does it: what was said still arrives, what comes is read only where another connection is kept.
    pub(crate) fn close_link(&mut self, id: EndId, reason: GoodbyeReason) {
        if !self.wires.ends[id.at()].reads {
            return;
        }
        // Everything that waits goes on its way now, in the order in which it would have gone.
        while let Some((channel, frame)) = self.wires.ends[id.at()].take() {
            self.transmit(id, channel, frame);
        }
        let end = &mut self.wires.ends[id.at()];
        end.closed = true;
        if reason == GoodbyeReason::Crossed {
            return self.later(FLUSH, Happening::Shut(id));
        }
        if end.lost {
            // The word does not get through: the other side will notice by the silence.
            _ = self.stop_reading(id);
            return;
        }
        let last = end.arrivals.iter().copied().max().unwrap_or(0);
        let gone = last.max(self.now + end.one_way).min(self.now + FLUSH + end.one_way) + MS;
        self.stop_reading(id);
        self.queue.push(gone, Happening::Gone(id.other()));
    }

    /// The other side is gone, or silent for too long.
    pub(crate) fn end_gone(&mut self, id: EndId) {
        let (place, closed) = (self.wires.ends[id.at()].place, self.wires.ends[id.at()].closed);
        if self.stop_reading(id) && !closed {
            let there = self.wires.ends[id.other().at()].place;
            self.trace.push(self.now, Arrow::Closed(place, there));
            self.input(place, Input::LinkClosed { link: id.key(), reason: "timed out".to_owned() });
        }
    }

    /// A connection that was closed while another is kept has had its time.
    pub(crate) fn end_shut(&mut self, id: EndId) {
        if self.stop_reading(id) && !self.wires.ends[id.at()].lost {
            self.end_gone(id.other());
        }
    }

    /// All connections of a host are given up in silence; the other sides notice after the idle time-out.
    pub(crate) fn abandon_links(&mut self, place: Place) {
        for end in self.hosts[place].ends.clone() {
            self.stop_reading(end);
            let heard = self.chance.below(KEEP_ALIVE);
            self.later(IDLE - heard, Happening::Gone(end.other()));
            self.falls_quiet(end.other());
        }
    }

    /// A machine dials.
    pub(crate) fn dial(&mut self, from: Place, dial: DialKey, to: SocketAddr, host: Option<HostId>) {
        if !self.nats.is_empty() {
            return self.dial_by_packets(from, dial, to, host);
        }
        self.try_dial(from, Dial { dial, to, host, since: self.now });
    }

    /// A host tries whether another one can be reached.
    pub(crate) fn check(&mut self, from: Place, check: CheckKey, host: HostId, target: &CheckTarget) {
        if !self.nats.is_empty() {
            return self.check_by_packets(from, check, host, target);
        }
        let at = match target {
            CheckTarget::Gateway(url) => {
                (0..self.hosts.len()).find(|other| *url == format!("wss://host{other}.example/v1"))
            }
            CheckTarget::Links(at) | CheckTarget::OtherPort(at) | CheckTarget::Stun(at) => place(*at, self.hosts.len()),
        };
        let reached = at.filter(|to| {
            let there = self.hosts[*to].running().is_some() && self.hosts[*to].id == host;
            there && self.wires.reaches(from, *to) && self.wires.reaches(*to, from)
        });
        let (outcome, takes) = match reached {
            Some(to) => (Ok(()), 2 * self.map.one_way(from, to)),
            None => (Err("nobody answers".to_owned()), DIAL_DEADLINE),
        };
        let life = self.hosts[from].life;
        self.later(takes, Happening::Input(from, life, Box::new(Input::Checked { check, outcome })));
    }

    /// The first packet of a dial goes out, or goes out again.
    pub(crate) fn try_dial(&mut self, from: Place, tried: Dial) {
        let Dial { dial, to, host, since } = tried;
        let life = self.hosts[from].life;
        let target = place(to, self.hosts.len()).filter(|target| {
            let reached = self.wires.reaches(from, *target) && self.wires.reaches(*target, from);
            reached && self.hosts[*target].running().is_some()
        });
        let Some(target) = target else {
            let next = DIAL_AGAIN.into_iter().find(|again| since + again > self.now);
            let Some(again) = next else {
                self.dialled_in_vain(from, to);
                let failed = Input::DialFailed { dial, failure: DialFailure::TimedOut };
                return self.later(since + DIAL_DEADLINE - self.now, Happening::Input(from, life, Box::new(failed)));
            };
            return self.later(since + again - self.now, Happening::DialAgain(from, life, Box::new(tried)));
        };
        if host.is_some_and(|host| host != self.hosts[target].id) {
            let failed = Input::DialFailed { dial, failure: DialFailure::OtherHost };
            let after = 2 * self.map.one_way(from, target);
            return self.later(after, Happening::Input(from, life, Box::new(failed)));
        }
        self.beliefs.dials_in_vain.remove(&(from, to));
        let one_way = self.map.one_way(from, target).max(MS);
        self.connect_after(from, target, Some(dial), (address(target), address(from)), 2 * one_way);
    }

    /// A connection comes through TLS, after this much time at its dialler. `seen`: where the dialler sees the acceptor, and
    /// the acceptor the dialler.
    pub(crate) fn connect_after(
        &mut self,
        from: Place,
        target: Place,
        dial: Option<DialKey>,
        seen: (SocketAddr, SocketAddr),
        after: At,
    ) {
        let one_way = self.map.one_way(from, target).max(MS);
        let first = u32::try_from(self.wires.ends.len()).expect("fewer connections than that");
        let (here, there) = (EndId(first), EndId(first + 1));
        for (id, place, seen) in [(here, from, seen.0), (there, target, seen.1)] {
            self.wires.ends.push(End {
                place,
                seen,
                lost: false,
                reads: true,
                closed: false,
                one_way,
                busy: 0,
                waiting: Default::default(),
                waiting_bytes: [0; 4],
                turns: [0; 4],
                pumping: false,
                arrivals: [0; CHANNELS],
                held: VecDeque::new(),
                unsent: VecDeque::new(),
            });
            self.hosts[place].ends.push(id);
        }
        let mut exporter = [0; 32];
        exporter[..4].copy_from_slice(&first.to_be_bytes());
        let opened = |end: EndId, host, role, dial, address| {
            let rtt = duration(2 * one_way);
            Box::new(Input::LinkOpened { link: end.key(), host, role, dial, address, exporter, rtt })
        };
        let dialled = opened(here, self.hosts[target].id, Role::Dialler, dial, seen.0);
        let taken = opened(there, self.hosts[from].id, Role::Acceptor, None, seen.1);
        let (life, their_life) = (self.hosts[from].life, self.hosts[target].life);
        self.trace.push(self.now, Arrow::Opened(from, target));
        // The acceptor is through TLS half a round trip after the dialler, just before the dialler's first frame.
        self.later(after + one_way, Happening::Input(target, their_life, taken));
        self.later(after, Happening::Input(from, life, dialled));
    }
}
