//! Hosts that cannot dial each other meet through a neighbour that both have (PROTOCOL.md §11.2): who asks for it and when,
//! who is asked, and what the neighbour lets pass.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use aldis_wire::host::{Channel, Frame, Introduce, Nat, NotIntroduced, NotIntroducedReason, Punch, Role};
use aldis_wire::id::HostId;
use aldis_wire::limits::CANDIDATES_MAX;
use aldis_wire::record::short_id;

use crate::relay::io::{LinkKey, Moment, Note, Outbox, PunchOutcome};
use crate::relay::limits::{
    FULL_MESH_MAX, INTRODUCTIONS, LINKS_CHOSEN, MEETING_AGAIN, MEETING_PATIENCE, MEETING_TURN, MET_LATELY,
    PUNCH_AFTER_MAX, PUNCH_MARGIN, REACH_PATIENCE,
};
use crate::relay::links::Link;
use crate::relay::meetings::{Meeting, Side, Stage, is_at};
use crate::relay::planted::Defect;
use crate::relay::scope::{is_inside, normalised};
use crate::relay::state::State;
use crate::relay::timers::Timer;

/// As somebody who wants to meet others.
impl State {
    /// Does what is due: asks for introductions, dials at the moment that was named, gives up what came to nothing.
    pub(crate) fn meet(&mut self, now: Moment, out: &mut Outbox) {
        for (from, to) in self.meetings.take_unanswered(now) {
            self.not_introduced(from, to, NotIntroducedReason::Unwilling, out);
        }
        for (host, meeting) in self.meetings.take_due(now) {
            match meeting.stage {
                Stage::Waiting => self.punch(now, host, &meeting, out),
                Stage::Expected | Stage::Dialling => self.not_met(now, host, &meeting, out),
            }
        }
        if self.meetings.takes_look(now, self.directory.hosts_count()) && !self.draining {
            self.look_for_wishes(now, out);
        }
        if let Some(at) = self.meetings.next() {
            self.timers.set(Timer::Meetings, at.max(now + Duration::from_millis(1)));
        }
    }

    /// Something has changed by which somebody may have to be met.
    pub(crate) fn look_whom_to_meet(&mut self, now: Moment) {
        self.meetings.look_at(now);
        if let Some(at) = self.meetings.next() {
            self.timers.set_earlier(Timer::Meetings, at);
        }
    }

    fn look_for_wishes(&mut self, now: Moment, out: &mut Outbox) {
        let wanted = self.wanted_to_meet(now);
        self.meetings.keep_wishes(|host| wanted.contains(&host));
        let ours = self.own_side();
        for host in wanted {
            if self.meetings.with(host).is_some() {
                continue;
            }
            let stranded = self.links.to_host(host).is_some();
            let patience = if stranded {
                Duration::ZERO
            } else if self.is_within_reach(host) {
                // It is dialled; unless that comes to nothing, for whatever reason, there will be a link.
                REACH_PATIENCE
            } else if self.announcer.whereabouts.addresses.is_empty() {
                MEETING_TURN * u32::from(self.own > host)
            } else {
                MEETING_PATIENCE
            };
            let known = (self.side_of(host), ours.rough());
            match self.meetings.wish(now, host, known, patience) {
                Some(at) if at <= now => self.ask_to_meet(now, host, &ours, out),
                Some(at) => self.meetings.look_at(at),
                None => {}
            }
        }
    }

    /// Hosts with which there should be a link.
    fn wanted_to_meet(&self, now: Moment) -> BTreeSet<HostId> {
        let meets = |host: &HostId| self.may_meet(*host);
        if self.directory.hosts_count().saturating_sub(1) <= FULL_MESH_MAX {
            return self.directory.hosts().filter(meets).collect();
        }
        let signalled = self.discovery.wanted.iter(now);
        let mut wanted: BTreeSet<HostId> = signalled.filter(meets).collect();
        let chosen = self.links.admitted().filter(|(_, link)| link.role == Role::Dialler).count();
        if chosen < LINKS_CHOSEN {
            // In an order of our own, so that not everybody asks for the same ones.
            let own = *self.own.as_bytes();
            let order = |host: &HostId| {
                let mut mixed = own;
                mixed.iter_mut().zip(host.as_bytes()).for_each(|(a, b)| *a ^= b);
                mixed
            };
            let mut others: Vec<HostId> = self.directory.hosts().filter(meets).collect();
            others.sort_unstable_by_key(order);
            wanted.extend(others.into_iter().take(4 * (LINKS_CHOSEN - chosen)));
        }
        wanted
    }

    /// Whether another host is here, may be here, and has no link with us that is of use.
    fn may_meet(&self, host: HostId) -> bool {
        let usable = |link: &Link| link.host == host && link.is_sound();
        host != self.own
            && self.directory.is_shown(host)
            && self.barred.why(host).is_none()
            && !self.is_awaited(host)
            && !self.links.admitted().any(|(_, link)| usable(link))
    }

    fn is_within_reach(&self, host: HostId) -> bool {
        let says_where = self.directory.record(host).is_some_and(|it| !it.record.addresses.is_empty());
        says_where && !self.discovery.is_out_of_reach(host)
    }

    fn ask_to_meet(&mut self, now: Moment, host: HostId, ours: &Side, out: &mut Outbox) {
        let through = self.introducers(host);
        let chosen = through.get(self.meetings.turn(host, through.len())).copied();
        let Some((link, neighbour)) = chosen.and_then(|link| Some((link, self.links.find(link)?.host))) else {
            return self.meetings.look_at(now + MEETING_AGAIN);
        };
        if !self.meetings.has_room(true) {
            // The next look is when one of those under way is over.
            return;
        }
        self.meetings.expect(now, host, neighbour, true);
        self.introduce(link, host, ours.clone(), out);
    }

    /// Links to those who may introduce a host: whom its record lists, the next hop towards it, anybody where everybody
    /// has a link with everybody.
    fn introducers(&self, host: HostId) -> Vec<LinkKey> {
        let listed = self.directory.record(host).map(|it| it.record.neighbours.clone()).unwrap_or_default();
        let next_hop = self.next_hop(host, None);
        let all = self.directory.hosts_count().saturating_sub(1) <= FULL_MESH_MAX;
        let rank = |key: LinkKey, other: HostId| {
            let ranks = [listed.contains(&short_id(other)), next_hop == Some(key), all];
            ranks.into_iter().position(|holds| holds)
        };
        let links = self.links.admitted().filter(|(_, link)| link.host != host && link.is_sound());
        let mut ranked: Vec<_> = links.filter_map(|(key, link)| Some((rank(key, link.host)?, link.rtt, key))).collect();
        ranked.sort_unstable();
        ranked.into_iter().map(|(_, _, key)| key).collect()
    }

    /// Says on a link that we want to meet a host, as who asks or as who is asked.
    fn introduce(&mut self, link: LinkKey, host: HostId, ours: Side, out: &mut Outbox) {
        let Side { nat, mut candidates } = ours;
        // Never empty: that is how a wish that is passed on looks.
        let seen = self.reach.observers.find(link).map(|observer| observer.sees);
        if let Some(seen) = seen.filter(|seen| !candidates.contains(seen)) {
            candidates.insert(0, seen);
        }
        candidates.truncate(CANDIDATES_MAX);
        self.send(link, Channel::Control, &Frame::Introduce(Introduce { host, nat, candidates }), out);
    }

    /// What we say of ourselves: where others see us, and where those see us who share our router.
    fn own_side(&self) -> Side {
        let mut candidates = self.reach.candidates();
        for local in self.reach.local.iter().filter(|local| !local.ip().is_loopback()) {
            if !candidates.contains(local) {
                candidates.push(*local);
            }
        }
        candidates.truncate(CANDIDATES_MAX);
        let nat = if self.planted.has(Defect::MeetHopeless) { Nat::Unknown } else { self.reach.nat };
        Side { nat, candidates }
    }

    /// What a host says of itself.
    fn side_of(&self, host: HostId) -> Side {
        let recorded = self.directory.record(host);
        recorded.map_or_else(Side::default, |it| Side { nat: it.record.nat, candidates: it.record.candidates.clone() })
    }

    /// The common neighbour says when to dial whom.
    pub(crate) fn punch_came(&mut self, now: Moment, key: LinkKey, punch: Punch) {
        let Punch { host, nat, candidates, after_ms } = punch;
        let after = Duration::from_millis(u64::from(after_ms)).min(PUNCH_AFTER_MAX);
        let after = if self.planted.has(Defect::PunchAtOnce) { Duration::ZERO } else { after };
        let Some(neighbour) = self.links.find(key).map(|link| link.host) else { return };
        if self.meetings.appoint(host, neighbour, Side { nat, candidates }, now + after) {
            self.timers.set_earlier(Timer::Meetings, now + after);
        }
    }

    /// The moment has come.
    fn punch(&mut self, now: Moment, host: HostId, meeting: &Meeting, out: &mut Outbox) {
        let (ours, theirs) = (self.own_side(), &meeting.theirs);
        let near = ours.shares_ip(theirs);
        let usable = theirs.candidates.iter().filter_map(|address| self.discovery.candidate(*address, near));
        let usable: BTreeSet<SocketAddr> = usable.filter(|address| !ours.candidates.contains(address)).collect();
        let mut dialled = false;
        for address in usable.into_iter().take(CANDIDATES_MAX) {
            if self.meetings.may_punch(now, address, meeting.through) {
                dialled = true;
                self.discovery.punch(address, host, out);
            }
        }
        if dialled {
            out.note(Note::Punched { host, nats: (ours.nat, theirs.nat), outcome: PunchOutcome::Tried });
        } else {
            self.meetings.failed(now, host);
        }
    }

    fn not_met(&mut self, now: Moment, host: HostId, meeting: &Meeting, out: &mut Outbox) {
        if meeting.stage == Stage::Dialling {
            let nats = (self.own_side().nat, meeting.theirs.nat);
            out.note(Note::Punched { host, nats, outcome: PunchOutcome::Failed });
        }
        self.meetings.failed(now, host);
        self.meetings.look_at(now);
    }

    /// A link with a host is admitted, whoever dialled.
    pub(crate) fn met(&mut self, now: Moment, host: HostId, punched: bool, out: &mut Outbox) {
        if let Some(meeting) = self.meetings.met(host)
            && punched
        {
            let nats = (self.own_side().nat, meeting.theirs.nat);
            out.note(Note::Punched { host, nats, outcome: PunchOutcome::Through });
        }
        self.look_whom_to_meet(now);
    }

    /// The common neighbour does not bring us together.
    pub(crate) fn not_introduced_came(&mut self, now: Moment, key: LinkKey, answer: NotIntroduced, out: &mut Outbox) {
        let NotIntroduced { host, why } = answer;
        let Some(neighbour) = self.links.find(key).map(|link| link.host) else { return };
        let expected = |meeting: &Meeting| meeting.stage == Stage::Expected && meeting.through == neighbour;
        if !self.meetings.with(host).is_some_and(expected) {
            return;
        }
        out.note(Note::NotIntroduced { host, why });
        match why {
            NotIntroducedReason::NotLinked | NotIntroducedReason::Unwilling => self.meetings.failed(now, host),
            NotIntroducedReason::TooOften => self.meetings.put_off(now, host),
            NotIntroducedReason::Hopeless => self.meetings.give_up(host),
        }
        self.look_whom_to_meet(now);
    }

    /// Somebody wants to meet us. Whoever would be let in if he dialled is met, also when there is a link: he must have
    /// lost it, since he asks. If it is a moment old he had asked before.
    fn wish_came(&mut self, now: Moment, key: LinkKey, host: HostId, nat: Nat, out: &mut Outbox) {
        let Some(neighbour) = self.links.find(key).map(|link| link.host) else { return };
        let ours = self.own_side();
        let full = self.links.is_full(Role::Acceptor) && self.links.to_host(host).is_none();
        let is_new = |link: &Link| link.host == host && link.is_sound() && now.since(link.since) < MET_LATELY;
        let met = self.links.admitted().any(|(_, link)| is_new(link));
        if self.draining || full || met || !self.directory.is_shown(host) || self.barred.why(host).is_some() {
            return;
        }
        let agrees = match self.meetings.with(host) {
            // Both ask. Through one neighbour that is answer enough; through two, the lower id's word counts.
            Some(Meeting { stage: Stage::Expected, through, ours: true, .. }) => {
                *through != neighbour && self.own > host
            }
            Some(Meeting { stage, .. }) => *stage == Stage::Expected,
            None => self.meetings.has_room(false),
        };
        if !agrees {
            return;
        }
        let theirs = Side { nat, ..self.side_of(host) };
        if ours.is_hopeless(&theirs) {
            return;
        }
        self.meetings.expect(now, host, neighbour, false);
        self.introduce(key, host, ours, out);
        self.plan_meetings();
    }

    fn plan_meetings(&mut self) {
        if let Some(at) = self.meetings.next() {
            self.timers.set_earlier(Timer::Meetings, at);
        }
    }
}

/// As the neighbour of two others.
impl State {
    /// A host wants to meet another one, or answers that it wants to; or a neighbour passes on that somebody wants to meet
    /// us.
    pub(crate) fn introduce_came(&mut self, now: Moment, key: LinkKey, introduce: Introduce, out: &mut Outbox) {
        let Introduce { host, nat, candidates } = introduce;
        if candidates.is_empty() {
            return self.wish_came(now, key, host, nat, out);
        }
        let Some(link) = self.links.find_mut(key) else { return };
        let (from, seen) = (link.host, link.address);
        let candidates = std::iter::once(seen).chain(candidates).collect();
        let asker = Side { nat, candidates };
        if let Some(first) = self.meetings.answer(host, from) {
            return self.bring_together((host, first), (from, asker), out);
        }
        let why = if link.introductions.take(now, INTRODUCTIONS, 1).is_err() {
            Some(NotIntroducedReason::TooOften)
        } else if self.links.to_host(host).is_none() || host == from {
            Some(NotIntroducedReason::NotLinked)
        } else if asker.is_hopeless(&self.side_of(host)) {
            Some(NotIntroducedReason::Hopeless)
        } else if !self.meetings.ask(now, from, host, asker) {
            Some(NotIntroducedReason::TooOften)
        } else {
            None
        };
        if let Some(why) = why {
            return self.not_introduced(from, host, why, out);
        }
        if let Some(to) = self.links.to_host(host) {
            let wish = Introduce { host: from, nat, candidates: Vec::new() };
            self.send(to, Channel::Control, &Frame::Introduce(wish), out);
        }
        self.plan_meetings();
    }

    fn not_introduced(&mut self, from: HostId, host: HostId, why: NotIntroducedReason, out: &mut Outbox) {
        if let Some(link) = self.links.to_host(from) {
            self.send(link, Channel::Control, &Frame::NotIntroduced(NotIntroduced { host, why }), out);
        }
    }

    /// Both want to: each is told of the other and when to dial, so that both begin in one moment.
    fn bring_together(&mut self, one: (HostId, Side), two: (HostId, Side), out: &mut Outbox) {
        let link = |host| {
            let key = self.links.to_host(host)?;
            self.links.find(key).map(|link| (key, normalised(link.address), link.rtt / 2))
        };
        let (Some(to_one), Some(to_two)) = (link(one.0), link(two.0)) else {
            self.not_introduced(one.0, two.0, NotIntroducedReason::NotLinked, out);
            return self.not_introduced(two.0, one.0, NotIntroducedReason::NotLinked, out);
        };
        if one.1.is_hopeless(&two.1) {
            self.not_introduced(one.0, two.0, NotIntroducedReason::Hopeless, out);
            return self.not_introduced(two.0, one.0, NotIntroducedReason::Hopeless, out);
        }
        let moment = to_one.2.max(to_two.2) + PUNCH_MARGIN;
        let near = to_one.1.ip() == to_two.1.ip();
        for ((key, _, way), (host, theirs), (_, seen, _)) in [(to_one, two, to_two), (to_two, one, to_one)] {
            let candidates = self.passed_on(seen, near, theirs.candidates);
            let after_ms = u16::try_from(moment.saturating_sub(way).as_millis()).unwrap_or(u16::MAX);
            let punch = Punch { host, nat: theirs.nat, candidates, after_ms };
            self.send(key, Channel::Control, &Frame::Punch(punch), out);
        }
    }

    /// What a host may tell another one of where it is, that we see at `seen`; `near` to the other.
    fn passed_on(&self, seen: SocketAddr, near: bool, named: Vec<SocketAddr>) -> Vec<SocketAddr> {
        // Whom we see inside is behind our own router, and outside it is where most of those that we dialled see us.
        let outside = self.reach.observers.outside().filter(|_| is_inside(seen));
        let mut candidates: Vec<SocketAddr> = Vec::new();
        for candidate in named {
            let inside = is_inside(candidate);
            let passes = is_at(seen.ip(), candidate.ip()) || near && inside || outside == Some(candidate.ip());
            if passes && !candidates.contains(&candidate) {
                candidates.push(candidate);
            }
        }
        candidates.truncate(CANDIDATES_MAX);
        candidates
    }
}
