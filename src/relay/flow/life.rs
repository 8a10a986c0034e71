//! Signs of life and their absence; what followers of topics are told; the end of the host (PROTOCOL.md §6.4).

use aldis_wire::announcement::GoneReason;
use aldis_wire::host::{GoodbyeReason, Role};
use aldis_wire::id::HostId;
use aldis_wire::refusal::Refusal;
use std::time::Duration;

use crate::relay::directory::{Directory, How, Shown};
use crate::relay::discovery::LinksNow;
use crate::relay::io::{Event, Fault, Member, Moment, Note, Outbox, Output, StopReason, Stored};
use crate::relay::limits::{EXPIRED_MAX, LATENESS_FORGIVEN, ORIGINS_MAX, STORE_INTERVAL};
use crate::relay::multicast::{Origin, Watch};
use crate::relay::planted::Defect;
use crate::relay::scope::near_by;
use crate::relay::sessions::SessionKey;
use crate::relay::state::State;
use crate::relay::timers::Timer;

/// After a drain, when edges should try elsewhere: they come spread over this time.
const DRAIN_SPREAD: Duration = Duration::from_secs(2);

impl State {
    /// The machine was called late: it slept, and nobody could be heard meanwhile. Nobody is expired for that.
    pub(crate) fn forgive_lateness(&mut self, now: Moment) {
        let late = self.timers.lateness(now);
        if late < LATENESS_FORGIVEN || self.planted.has(Defect::BlameOthersForSleep) {
            return;
        }
        self.woken = Some(now);
        // Answers may have come while nobody read them.
        self.sealed.forgive();
        // Edges whose sockets broke could not come back either.
        self.timers.delay(|timer| matches!(timer, Timer::Grace(_)), late);
        for (host, origin) in self.origins.iter_mut() {
            if origin.expired.is_none() && host != self.own {
                origin.made = origin.made + late;
                origin.suspected = origin.suspected.map(|until| until + late);
            }
        }
    }

    /// Sees to it that a host expires when it is not heard.
    pub(crate) fn watch(&mut self, now: Moment, host: HostId) {
        match self.origins.watch(now, host) {
            Some(Watch::At(at)) => self.timers.set(Timer::Expiry(host), at),
            Some(Watch::LookAt(at)) => self.timers.set_earlier(Timer::Watch, at),
            None => {}
        }
    }

    /// Some hosts would expire soon, if they had not been heard since they were looked at last.
    pub(crate) fn look_at_watched(&mut self, now: Moment) {
        let (hosts, next) = self.origins.watched(now);
        hosts.into_iter().for_each(|host| self.watch(now, host));
        if let Some(at) = next {
            self.timers.set_earlier(Timer::Watch, at);
        }
    }

    /// A host was not heard for three of its intervals.
    pub(crate) fn expire(&mut self, now: Moment, host: HostId, out: &mut Outbox) {
        let Some(origin) = self.origins.find_mut(host) else { return };
        if origin.expires() > now {
            return self.watch(now, host);
        }
        origin.expire(now);
        if self.directory.is_shown(host) {
            out.note(Note::HostExpired { host });
        }
        if !self.planted.has(Defect::KeepExpired) {
            let shown = self.directory.hide(host);
            self.tell_followers(now, shown, out);
        }
        if self.origins.iter().filter(|(_, origin)| origin.expired.is_some()).count() > EXPIRED_MAX {
            self.give_up_expired(now);
        }
    }

    /// A host that had expired gives a sign of life, and our copy of its roster is the one it states.
    pub(crate) fn show_again(&mut self, now: Moment, host: HostId, out: &mut Outbox) {
        let Some(origin) = self.origins.find_mut(host) else { return };
        // What closes a gap may be older than that: the last words of a host that has been silent since.
        if origin.expires() > now && !self.planted.has(Defect::NeverRestore) && origin.expired.take().is_some() {
            let epoch = origin.mark().0;
            out.note(Note::HostAppeared { host, epoch });
            let shown = self.directory.show(host);
            self.tell_followers(now, shown, out);
            self.end_moved_sessions(now, host, out);
        }
    }

    pub(crate) fn forget_host(&mut self, now: Moment, host: HostId) {
        self.origins.forget(now, host);
        self.directory.remove(host);
        self.shared.remove(&host);
        self.introductions.remove(&host);
        self.asking.remove(&host);
        self.postponed.remove(&host);
        self.links.forget(host);
        self.timers.cancel(Timer::Expiry(host));
        self.timers.cancel(Timer::Behind(host));
        self.timers.cancel(Timer::Lost(host));
    }

    /// After `grown` has grown: when the rosters of others take too much together, gives up the newcomers among those that
    /// take much, so that whoever has been here for long is not crowded out by a stranger's inventions.
    pub(crate) fn bound_rosters(&mut self, now: Moment, grown: HostId, out: &mut Outbox) {
        // As many origins as there may be fit with so much each: whoever takes less is not asked.
        let small = self.settings.rosters_bytes / ORIGINS_MAX;
        if self.origins.find(grown).is_none_or(|origin| self.weight(grown, origin) <= small) {
            return;
        }
        loop {
            let others = || self.origins.iter().filter(|(host, _)| *host != self.own);
            let all: usize = others().map(|(host, origin)| self.weight(host, origin)).sum();
            if all <= self.settings.rosters_bytes {
                return;
            }
            let large = others().filter(|(host, origin)| self.weight(*host, origin) > small);
            let Some((newcomer, _)) = large.max_by_key(|(host, origin)| (origin.since, *host)) else { return };
            self.quarantine(now, newcomer, Fault::OverQuota, out);
        }
    }

    fn weight(&self, host: HostId, origin: &Origin) -> usize {
        let staged = origin.comparison.as_ref().map_or(0, |comparison| Directory::weight_of(&comparison.staging));
        self.directory.weight(host) + staged
    }

    /// Tells those who follow a topic who came and went. Whoever cannot take it any more is ended.
    pub(crate) fn tell_followers(&mut self, now: Moment, shown: Vec<Shown>, out: &mut Outbox) {
        self.directory.remember_departed(now);
        for Shown { topic, peer, how } in shown {
            let Some((name, told)) = self.sessions.told(topic) else { continue };
            for key in told {
                if self.sessions.find(key).is_none_or(|session| session.peer == peer) {
                    continue;
                }
                let (name, how) = (name.clone(), how.clone());
                let bytes = 128 + name.len() + if let How::Joined(meta) = &how { meta.len() } else { 0 };
                let event = move |seq| match how {
                    How::Joined(meta) => Event::PeerJoined { seq, topic: name, member: Member { peer, meta } },
                    How::Left(reason) => Event::PeerLeft { seq, topic: name, peer, reason },
                };
                self.tell_session(key, bytes, event, out);
            }
        }
    }

    /// Ends the sessions that could not take their events, and the links that do not take control frames. One after the
    /// other, not one within the other: the end of one is an event for others that may be just as slow.
    pub(crate) fn end_slow(&mut self, now: Moment, out: &mut Outbox) {
        loop {
            if let Some(key) = self.too_slow.pop_first() {
                self.end_session(now, key, GoneReason::Ended, Some(Refusal::TooSlow), out);
            } else if let Some(key) = self.stuck.pop_first() {
                self.close_stuck(now, key, out);
            } else {
                return;
            }
        }
    }

    /// Lets discovery act.
    pub(crate) fn discover(&mut self, now: Moment, out: &mut Outbox) {
        let (links, barred, awaited) = (&self.links, &self.barred, &self.awaited);
        let standing = || links.admitted().filter(|(_, link)| link.stranded.is_none());
        let chosen = || standing().filter(|(_, link)| link.role == Role::Dialler);
        // When nothing comes over any link, it is our own line that was cut, and whoever dials is first to be back.
        let cut_off = standing().all(|(_, link)| link.silent);
        let linked = |host| standing().any(|(_, link)| link.host == host);
        let state = LinksNow {
            linked: |host| awaited.contains_key(&host) || linked(host) && !cut_off || barred.why(host).is_some(),
            crowded: |address| chosen().any(|(_, link)| near_by(link.address.ip(), address)),
            count: links.admitted().count(),
            chosen: chosen().count(),
            known_hosts: self.directory.hosts_count().saturating_sub(1),
            registration: self.reach.registration(links.admitted().next().is_none()),
        };
        self.discovery.poll(now, &state, out);
        if let Some(stored) = self.discovery.cache(now) {
            out.push(Output::Store(stored));
        }
        if let Some(at) = self.discovery.next_timeout() {
            self.timers.set(Timer::Discovery, at.max(now + Duration::from_millis(1)));
        }
    }

    /// Forgets what is old, stores what should outlive us.
    pub(crate) fn keep_house(&mut self, now: Moment, out: &mut Outbox) {
        self.deliveries.tidy(now);
        self.heard.tidy(now);
        self.heard.forget_hosts(now);
        if !self.planted.has(Defect::LeakRoutes) {
            self.routes.tidy(now);
        }
        self.sealed.tidy(now);
        self.detours.tidy(now);
        self.passed_on.tidy(now);
        self.directory.remember_departed(now);
        self.origins.tidy(now);
        self.barred.tidy(now);
        self.reach.tidy(now);
        self.introductions.retain(|_, bucket| !bucket.is_full(now));
        self.faults.retain(|_, bucket| !bucket.is_full(now));
        for host in self.origins.stale(now) {
            self.forget_host(now, host);
        }
        out.push(Output::Store(Stored::Marks(self.origins.marks())));
        self.store_revocations(out);
        self.timers.set(Timer::Housekeeping, now + STORE_INTERVAL);
    }

    /// The operator wants the host to end: edges are told where else to go, every departure is announced, and then
    /// every link says goodbye.
    pub(crate) fn shut_down(&mut self, now: Moment, out: &mut Outbox) {
        if std::mem::replace(&mut self.draining, true) {
            return;
        }
        let mut gateways = self.other_gateways();
        let sessions: Vec<SessionKey> = self.sessions.iter().map(|(key, _)| key).collect();
        for key in sessions {
            let edge = self.sessions.find(key).and_then(|session| session.edge);
            if let Some(edge) = edge {
                let [spread] = self.random();
                let retry_after = DRAIN_SPREAD * u32::from(spread) / 256;
                // Each begins where the fewest are by then: not all at one host, and where hosts are replaced one after
                // another, at those that have been.
                gateways.sort_by_key(|(peers, _)| *peers);
                let urls = gateways.iter().map(|(_, url)| url.clone()).collect();
                out.tell(edge, Event::Drain { retry_after, gateways: urls });
                if let Some((peers, _)) = gateways.first_mut() {
                    *peers += 1;
                }
            }
            self.end_session(now, key, GoneReason::HostClosed, None, out);
        }
        self.announce(now, out);
        // While the links still stand: those are the addresses to begin from.
        if let Some(stored) = self.discovery.last_cache() {
            out.push(Output::Store(stored));
        }
        let links: Vec<_> = self.links.admitted().map(|(key, _)| key).collect();
        for link in links {
            self.close_softly(now, link, GoodbyeReason::Closing, out);
        }
        out.push(Output::Store(Stored::Marks(self.origins.marks())));
        self.store_revocations(out);
        out.push(Output::Stop { reason: StopReason::Asked });
    }
}
