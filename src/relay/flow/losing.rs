//! Crash notice by neighbours in networks whose heartbeats are too rare for it (PROTOCOL.md §6.4): who tells that a host
//! is gone, who is believed, and how a host that lives refutes it.

use aldis_wire::announcement::Op;
use aldis_wire::id::HostId;
use aldis_wire::limits::RECORD_NEIGHBOURS_MAX;
use aldis_wire::record::short_id;

use crate::relay::io::{LinkKey, Moment, Outbox};
use crate::relay::limits::{
    LINKS_WANTED, LOST_ANSWER_INTERVAL, LOST_STAGGER, LOST_UNREFUTED, RECORD_CHANGE_TOKENS, RECORD_CHANGES,
    RECORD_RENEWAL, RECORD_RENEWAL_URGENT, WOKEN_LATELY,
};
use crate::relay::multicast::Mark;
use crate::relay::planted::Defect;
use crate::relay::state::{Announcer, State};
use crate::relay::timers::Timer;

impl State {
    /// Nothing at all has come over a link for a while.
    pub(crate) fn link_silent(&mut self, now: Moment, key: LinkKey) {
        let Some(link) = self.links.find_mut(key).filter(|link| link.is_admitted()) else { return };
        link.silent = true;
        let host = link.host;
        self.discovery.look_again(now);
        self.timers.set_earlier(Timer::Discovery, now);
        self.look_whom_to_meet(now);
        self.miss_host(now, host);
    }

    /// A neighbour may be gone. Those that its record lists tell so, one after the other until one has.
    pub(crate) fn miss_host(&mut self, now: Moment, host: HostId) {
        if !self.is_large() {
            // Heartbeats tell soon enough, and its record lists neighbours only for those who want to be introduced.
            return;
        }
        let own = short_id(self.own);
        let recorded = self.directory.record(host);
        let Some(place) = recorded.and_then(|it| it.record.neighbours.iter().position(|listed| *listed == own)) else {
            return;
        };
        let wait = LOST_STAGGER * u32::try_from(place).unwrap_or(0);
        self.timers.set_earlier(Timer::Lost(host), now + wait);
    }

    /// A neighbour says that it ends.
    pub(crate) fn leaves(&mut self, now: Moment, host: HostId) {
        let Some(origin) = self.origins.find_mut(host) else { return };
        origin.says_goodbye(now);
        self.watch(now, host);
    }

    /// Says that a neighbour is gone, unless it has been heard since or somebody else says so.
    pub(crate) fn tell_lost(&mut self, now: Moment, host: HostId, out: &mut Outbox) {
        let here = self.links.admitted().any(|(_, link)| link.host == host && !link.silent);
        // After a sleep it is our own links that are gone.
        let woken = self.woken.is_some_and(|at| now.since(at) < WOKEN_LATELY);
        let Some(origin) = self.origins.find(host) else { return };
        if here || woken || self.draining || origin.expired.is_some() || origin.suspected.is_some() {
            return;
        }
        let mark = origin.newest;
        self.change(now, Op::Lost { host, epoch: mark.0, seq: mark.1 }, out);
        self.suspect(now, host, mark);
    }

    /// A host says that it has lost its link to another one.
    pub(crate) fn lost_told(&mut self, now: Moment, teller: HostId, host: HostId, mark: Mark) {
        if host == self.own {
            let Announcer { neighbours, neighbours_before, .. } = &self.announcer;
            let listed = neighbours.contains(&teller) || neighbours_before.contains(&teller);
            let listed = listed || self.links.to_host(teller).is_some();
            let refutes = listed && !self.planted.has(Defect::NeverRefute);
            let ours = (self.announcer.epoch, self.announcer.seq);
            if refutes && mark >= ours {
                let earliest = self.announcer.answered.map_or(now, |last| last + LOST_ANSWER_INTERVAL);
                self.timers.set_earlier(Timer::Answer, earliest.max(now));
            }
            // Nobody can have had such a head of ours: a lie, which is believed also by those whom our answer reaches first.
            if refutes && mark > ours {
                self.announcer.answers_until = now + LOST_UNREFUTED;
            }
            return;
        }
        let short = short_id(teller);
        let listed = self.directory.record(host).is_some_and(|it| it.record.neighbours.contains(&short));
        let believed = listed || self.planted.has(Defect::BelieveAnyLoss);
        if believed && self.origins.find_mut(teller).is_some_and(|teller| teller.may_tell_lost(now)) {
            self.suspect(now, host, mark);
        }
    }

    /// From now on a host must show within [`LOST_UNREFUTED`] that it lives.
    fn suspect(&mut self, now: Moment, host: HostId, mark: Mark) {
        let Some(origin) = self.origins.find_mut(host) else { return };
        // A mark above what the host is known to have signed is anybody's invention, and could not be refuted.
        if mark >= origin.newest && origin.suspected.is_none() && origin.expired.is_none() {
            origin.suspected = Some(now + LOST_UNREFUTED);
            self.watch(now, host);
        }
    }

    /// Somebody has said that we are gone.
    pub(crate) fn answer_lost(&mut self, now: Moment, out: &mut Outbox) {
        self.announcer.answered = Some(now);
        if now < self.announcer.answers_until {
            self.timers.set_earlier(Timer::Answer, now + LOST_ANSWER_INTERVAL * 3 / 2);
        }
        self.announce(now, out);
    }

    /// Sees to it that our record lists the neighbours that we have: soon, if too few of those listed are left to tell.
    pub(crate) fn neighbours_changed(&mut self, now: Moment) {
        let listed = &self.announcer.neighbours;
        let left = listed.iter().filter(|host| self.links.to_host(**host).is_some()).count();
        let wanted = self.neighbours(!self.announcer.whereabouts.addresses.is_empty());
        if wanted == *listed {
            return;
        }
        if !self.is_large() {
            return self.renew_soon(now);
        }
        let urgent = left < LINKS_WANTED / 2 && wanted.len() > left;
        let pause = if urgent { RECORD_RENEWAL_URGENT } else { RECORD_RENEWAL };
        self.timers.set_earlier(Timer::Record, self.announcer.recorded.max(now) + pause);
    }

    /// Announces the neighbours that we have, if they are others than those announced.
    pub(crate) fn renew_record(&mut self, now: Moment, out: &mut Outbox) {
        let whereabouts = self.reach.whereabouts();
        let neighbours = self.neighbours(!whereabouts.addresses.is_empty());
        if self.draining || neighbours == self.announcer.neighbours && whereabouts == self.announcer.whereabouts {
            return;
        }
        if whereabouts != self.announcer.whereabouts || !self.is_large() {
            _ = self.announcer.changes.take(now, RECORD_CHANGES, RECORD_CHANGE_TOKENS);
            self.announcer.whereabouts = whereabouts;
        }
        if neighbours != self.announcer.neighbours {
            self.announcer.neighbours_before = std::mem::replace(&mut self.announcer.neighbours, neighbours);
        }
        self.announce_record(now, out);
    }

    /// The neighbours that should be listed, by their ids. None in a network whose heartbeats tell soon enough, unless we
    /// cannot be dialled: then they are those who can introduce us.
    fn neighbours(&self, dialable: bool) -> Vec<HostId> {
        if !self.is_large() && dialable {
            return Vec::new();
        }
        let mut links: Vec<_> = self.links.admitted().map(|(_, link)| (link.since, link.host)).collect();
        links.sort_unstable();
        links.dedup_by_key(|(_, host)| *host);
        links.truncate(RECORD_NEIGHBOURS_MAX);
        let mut neighbours: Vec<HostId> = links.into_iter().map(|(_, host)| host).collect();
        neighbours.sort_unstable();
        neighbours
    }
}
