//! What lies between hosts: latency, order, cuts, slowness, dials, and the ends of connections.

use std::net::SocketAddr;
use std::time::Duration;

use aldis::relay::io::{CheckKey, CheckTarget, DialFailure, DialKey, Input, LinkKey};
use aldis::relay::limits::LINK_SILENT;
use aldis_wire::host::{Bounce, Channel, Frame, GoodbyeReason, Role};
use aldis_wire::id::HostId;
use aldis_wire::limits::FRAME_BYTES;
use aldis_wire::refusal::Refusal;
use bytes::{Bytes, BytesMut};

use super::{Happening, Place, World, address, ms, secs};

/// A silent connection is given up after this (DESIGN §5).
const IDLE: Duration = Duration::from_secs(7);
/// The kind of sealed frames (PROTOCOL.md §5.3).
const ROUTED: u8 = 12;
/// What was sent before a connection was closed may arrive for so long.
const FLUSH: Duration = Duration::from_secs(2);

/// One end of a connection, as the other end sees it.
#[derive(Clone, Copy)]
pub struct End {
    /// Where the other side is.
    pub place: Place,
    /// What it calls the connection.
    pub link: LinkKey,
    /// Whether the wire under it was cut: nothing arrives any more.
    dead: bool,
    /// Whether the host here has closed it: it is told no more of its end, and nothing that it sends counts.
    closed: bool,
}

/// A direction in which the transport takes nothing, or only control frames.
#[derive(Default)]
pub struct Slow {
    /// Whether control frames wait too.
    pub all: bool,
    held: Vec<(LinkKey, Channel, Bytes)>,
}

impl World {
    /// Cuts the wire between two hosts, both ways. What is on its way is lost, and the links over it with it.
    pub fn cut(&mut self, a: Place, b: Place) {
        self.cut.extend([(a, b), (b, a)]);
        let mut gone = Vec::new();
        for ((at, link), end) in &mut self.ends {
            if !end.dead && ((*at == a && end.place == b) || (*at == b && end.place == a)) {
                end.dead = true;
                gone.push((*at, *link));
            }
        }
        for (place, link) in gone {
            self.fall_silent(place, link);
        }
    }

    /// Nothing comes over a connection any more.
    fn fall_silent(&mut self, place: Place, link: LinkKey) {
        self.later(LINK_SILENT, Happening::Silent(place, link));
        self.later(IDLE, Happening::Gone(place, link, "timed out".into()));
    }

    pub(super) fn end_silent(&mut self, place: Place, link: LinkKey) {
        if self.ends.get(&(place, link)).is_some_and(|end| !end.closed) {
            self.input(place, Input::LinkSilent { link });
        }
    }

    /// Mends what was cut: new links can be made.
    pub fn mend(&mut self, a: Place, b: Place) {
        self.cut.remove(&(a, b));
        self.cut.remove(&(b, a));
    }

    /// Cuts every wire between two groups of hosts.
    pub fn part(&mut self, some: &[Place], others: &[Place]) {
        for a in some {
            others.iter().for_each(|b| self.cut(*a, *b));
        }
    }

    /// Mends every wire between two groups of hosts.
    pub fn heal(&mut self, some: &[Place], others: &[Place]) {
        for a in some {
            others.iter().for_each(|b| self.mend(*a, *b));
        }
    }

    /// From now on the transport takes no frames from `a` to `b` but control, or nothing at all.
    pub fn slow_down(&mut self, a: Place, b: Place, all: bool) {
        self.slow.insert((a, b), Slow { all, held: Vec::new() });
    }

    /// The transport takes what has waited.
    pub fn hurry(&mut self, a: Place, b: Place) {
        let held = self.slow.remove(&(a, b)).unwrap_or_default().held;
        held.into_iter().for_each(|(link, channel, frame)| self.send(a, link, channel, frame));
    }

    /// Bytes that wait because `a` to `b` is slow.
    pub fn held_bytes(&self, a: Place, b: Place) -> usize {
        self.slow.get(&(a, b)).map_or(0, |slow| slow.held.iter().map(|(.., frame)| frame.len()).sum())
    }

    /// Keeps everything that arrives at a host from now on.
    pub fn watch_wire(&mut self, place: Place) {
        self.listened = Some((place, Vec::new()));
    }

    /// What has arrived since.
    pub fn wire_seen(&mut self) -> Vec<u8> {
        self.listened.take().map(|(_, seen)| seen).unwrap_or_default()
    }

    /// How long a frame takes between two hosts.
    pub fn set_latency(&mut self, a: Place, b: Place, latency: Duration) {
        self.latencies.insert((a, b), latency);
        self.latencies.insert((b, a), latency);
    }

    fn latency_between(&self, a: Place, b: Place) -> Duration {
        self.latencies.get(&(a, b)).copied().unwrap_or(self.latency)
    }

    /// Connections that stand between two hosts, as they are known at `a`.
    pub fn links_between(&self, a: Place, b: Place) -> Vec<LinkKey> {
        let between = self.ends.iter().filter(|((at, _), end)| *at == a && end.place == b && !end.closed && !end.dead);
        between.map(|((_, link), _)| *link).collect()
    }

    pub(super) fn send(&mut self, place: Place, link: LinkKey, channel: Channel, frame: Bytes) {
        let Some(end) = self.ends.get(&(place, link)).copied().filter(|end| !end.closed) else { return };
        if let Some(slow) = self.slow.get_mut(&(place, end.place))
            && (slow.all || channel != Channel::Control)
        {
            return slow.held.push((link, channel, frame));
        }
        let life = self.hosts[place].life;
        let sent = Input::LinkSent { link, channel, bytes: frame.len() };
        self.later(Duration::ZERO, Happening::Input(place, life, sent));
        if self.drops.contains(&(place, end.place)) && frame.first() == Some(&ROUTED) {
            return;
        }
        if self.bounces.contains(&(place, end.place)) && frame.first() == Some(&ROUTED) {
            return self.bounce(place, link, &frame);
        }
        let jitter = self.jitter.mul_f64(f64::from(u32::try_from(self.random(1_000)).unwrap()) / 1_000.0);
        let arrival = self.now + self.latency_between(place, end.place) + jitter;
        let at = self.order.entry((end.place, end.link, channel)).or_default();
        *at = (*at).max(arrival);
        let delay = at.since(self.now);
        self.later(delay, Happening::Frames(end.place, end.link, channel, frame));
    }

    /// The other side says that it cannot pass on what `place` has sent.
    fn bounce(&mut self, place: Place, link: LinkKey, sealed: &[u8]) {
        let (kind, body) = aldis_wire::codec::cut(&mut BytesMut::from(sealed), FRAME_BYTES).unwrap().unwrap();
        let Ok(Some(Frame::Routed(routed))) = Frame::decode(kind, &body) else { unreachable!("a sealed frame") };
        let (from_home, nonce) = (routed.from_home, routed.nonce);
        let bounce = Frame::Bounce(Bounce { from_home, nonce, refusal: Refusal::HomeUnreachable });
        let delay = 2 * self.latency;
        self.later(delay, Happening::Frames(place, link, Channel::Lane(0), bounce.encode().unwrap()));
    }

    pub(super) fn frames(&mut self, place: Place, link: LinkKey, channel: Channel, bytes: &[u8]) {
        let reads = self.ends.get(&(place, link)).is_some_and(|end| !end.dead);
        if !reads || self.hosts[place].relay.is_none() {
            return;
        }
        if let Some((_, seen)) = self.listened.as_mut().filter(|(listener, _)| *listener == place) {
            seen.extend_from_slice(bytes);
        }
        let mut buffer = BytesMut::from(bytes);
        while let Some((kind, body)) = aldis_wire::codec::cut(&mut buffer, aldis_wire::limits::FRAME_BYTES).unwrap() {
            self.received_bytes[place] += body.len() + aldis_wire::codec::HEADER_BYTES;
            self.input(place, Input::LinkReceived { link, channel, kind, body });
        }
        assert!(buffer.is_empty(), "a frame is sent whole");
    }

    /// As the driver does it: what was said still arrives, what comes is read only where another connection is kept.
    pub(super) fn close_link(&mut self, place: Place, link: LinkKey, reason: GoodbyeReason) {
        let Some(end) = self.ends.get_mut(&(place, link)) else { return };
        end.closed = true;
        let (other, latency) = (*end, self.latency);
        if reason == GoodbyeReason::Crossed {
            return self.later(FLUSH, Happening::Shut(place, link));
        }
        self.ends.remove(&(place, link));
        let arrivals = self.order.iter().filter(|((at, key, _), _)| *at == other.place && *key == other.link);
        let last = arrivals.map(|(_, at)| at.since(self.now)).max().unwrap_or_default();
        let gone = Happening::Gone(other.place, other.link, format!("{reason:?}"));
        self.later(last.max(latency) + ms(1), gone);
    }

    /// The other side is gone, or a wire was cut long enough.
    pub(super) fn end_gone(&mut self, place: Place, link: LinkKey, reason: String) {
        if self.ends.remove(&(place, link)).is_some_and(|end| !end.closed) {
            self.input(place, Input::LinkClosed { link, reason });
        }
    }

    /// A connection that was closed while another is kept has had its time.
    pub(super) fn end_shut(&mut self, place: Place, link: LinkKey) {
        if let Some(end) = self.ends.remove(&(place, link)) {
            self.end_gone(end.place, end.link, "Crossed".into());
        }
    }

    /// All connections of a host are given up in silence; the other sides notice after the idle time-out.
    pub(super) fn abandon_links(&mut self, place: Place) {
        let ends: Vec<_> =
            self.ends.iter().filter(|((at, _), _)| *at == place).map(|(key, end)| (*key, *end)).collect();
        for (key, other) in ends {
            self.ends.remove(&key);
            self.fall_silent(other.place, other.link);
        }
    }

    pub(super) fn dial(&mut self, place: Place, dial: DialKey, to: SocketAddr, host: Option<HostId>) {
        let life = self.hosts[place].life;
        let target = (0..self.hosts.len())
            .find(|other| address(*other) == to)
            .filter(|target| self.hosts[*target].running().is_some() && !self.cut.contains(&(place, *target)))
            .filter(|target| !self.hidden.contains(target));
        let Some(target) = target else {
            let failed = Input::DialFailed { dial, failure: DialFailure::TimedOut };
            return self.later(secs(5), Happening::Input(place, life, failed));
        };
        let latency = self.latency_between(place, target);
        let failure = if self.hosts[target].network.tag != self.hosts[place].network.tag {
            Some(DialFailure::OtherNetwork)
        } else {
            host.filter(|host| *host != self.hosts[target].id).map(|_| DialFailure::OtherHost)
        };
        match failure {
            Some(failure) => {
                self.later(2 * latency, Happening::Input(place, life, Input::DialFailed { dial, failure }))
            }
            None => self.connect(place, target, Some(dial)),
        }
    }

    /// A host tries whether another one can be reached.
    pub(super) fn check(&mut self, place: Place, check: CheckKey, host: HostId, target: &CheckTarget) {
        let found = (0..self.hosts.len()).find(|other| match target {
            CheckTarget::Gateway(url) => *url == format!("ws://host{other}.example/v1"),
            CheckTarget::Links(at) | CheckTarget::OtherPort(at) | CheckTarget::Stun(at) => address(*other) == *at,
        });
        let reached = found.filter(|other| {
            let other = &self.hosts[*other];
            other.running().is_some() && other.id == host
        });
        let reached = reached.filter(|other| !self.cut.contains(&(place, *other)) && !self.hidden.contains(other));
        let (outcome, takes) = match reached {
            Some(other) => (Ok(()), 2 * self.latency_between(place, other)),
            None => (Err("nobody answers".to_owned()), secs(5)),
        };
        let life = self.hosts[place].life;
        self.later(takes, Happening::Input(place, life, Input::Checked { check, outcome }));
    }

    /// A connection comes through TLS, whether or not the machine dialled it.
    pub fn connect(&mut self, place: Place, target: Place, dial: Option<DialKey>) {
        let latency = self.latency_between(place, target);
        self.counter += 2;
        let (here, there) = (LinkKey(self.counter - 1), LinkKey(self.counter));
        let end = |place, link| End { place, link, dead: false, closed: false };
        self.ends.insert((place, here), end(target, there));
        self.ends.insert((target, there), end(place, here));
        let mut exporter = [0; 32];
        exporter[..8].copy_from_slice(&here.0.to_be_bytes());
        let opened = |link, host, role, dial, at| Input::LinkOpened {
            link,
            host,
            role,
            dial,
            address: address(at),
            exporter,
            rtt: 2 * latency,
        };
        let dialled = opened(here, self.hosts[target].id, Role::Dialler, dial, target);
        let taken = opened(there, self.hosts[place].id, Role::Acceptor, None, place);
        let (life, their_life) = (self.hosts[place].life, self.hosts[target].life);
        // The acceptor is through TLS half a round trip after the dialler, just before the dialler's first frame.
        self.later(3 * latency, Happening::Input(target, their_life, taken));
        self.later(2 * latency, Happening::Input(place, life, dialled));
    }
}
