//! An address has changed, ours or another host's: which links lead nowhere since then, and what is done at once instead of
//! waiting for their silence (PROTOCOL.md §5.4, §11.2).

use std::net::SocketAddr;

use aldis_wire::host::{Hello, Role};

use crate::relay::io::{LinkKey, Moment, Outbox};
use crate::relay::limits::{STRANDED_AFTER, STRANDED_HEARD};
use crate::relay::scope::normalised;
use crate::relay::state::State;
use crate::relay::timers::Timer;

impl State {
    /// The driver says that a link leads to where we are not any more, or that nobody answers on it since we moved.
    pub(crate) fn link_stranded(&mut self, now: Moment, key: LinkKey, out: &mut Outbox) {
        self.strand(now, key, out);
    }

    /// The other side of a link sees us somewhere else than before. What was dialled to where we were is lost, and so is
    /// what goes to hosts that let in nobody but who we were; those must be met again without waiting for their silence.
    pub(crate) fn strand_links(&mut self, now: Moment, seen: SocketAddr, out: &mut Outbox) {
        let mut stranded = Vec::new();
        for (key, link) in self.links.admitted() {
            let family = normalised(link.address).is_ipv4() == seen.is_ipv4();
            let closed = self.directory.record(link.host).is_some_and(|it| it.record.addresses.is_empty());
            // Others tell of the same change a little later: what has come about meanwhile stands.
            let told = self.reach.observers.find(key).is_some_and(|observer| observer.sees == seen);
            let fresh = told || now.since(link.since) < STRANDED_AFTER;
            if family && !fresh && (link.role == Role::Acceptor || link.punched || closed) {
                stranded.push(key);
            }
        }
        for key in stranded {
            self.strand(now, key, out);
        }
    }

    /// The other side of a new connection names those before it over which nothing comes to it any more. So both ends know
    /// it before they choose between them.
    pub(crate) fn hello_names(&mut self, now: Moment, key: LinkKey, hello: &Hello, out: &mut Outbox) {
        let Some(host) = self.links.find(key).map(|link| link.host) else { return };
        for lost in hello.lost.iter().filter_map(|name| self.links.named(host, name)).collect::<Vec<_>>() {
            self.strand(now, lost, out);
        }
    }

    /// Our own addresses are others than before. Every neighbour is told something, so that it hears at once where we are
    /// now, and says so; and whoever could not be reached from where we were may be from here.
    pub(crate) fn we_are_elsewhere(&mut self, now: Moment, out: &mut Outbox) {
        let links: Vec<LinkKey> = self.links.admitted().map(|(key, _)| key).collect();
        for key in links {
            if let Some(link) = self.links.find_mut(key) {
                link.told = None;
            }
            self.tell_observed(key, out);
        }
        self.discovery.try_anew(now);
        self.timers.set_earlier(Timer::Discovery, now);
    }

    /// Something came over a link that was thought to lead nowhere: so it does lead here, unless that was on its way before.
    pub(crate) fn heard_on_stranded(&mut self, now: Moment, key: LinkKey, out: &mut Outbox) {
        let Some(link) = self.links.find_mut(key).filter(|link| link.is_admitted()) else { return };
        if link.stranded.is_some_and(|since| since + STRANDED_HEARD <= now) {
            link.stranded = None;
            let (host, address) = (link.host, link.address);
            self.discovery.link_admitted(now, host, address);
            self.is_seen_by(now, key, out);
        }
    }

    /// Nothing comes over a link any more. It stands until there is another one, or QUIC gives it up: we may be wrong.
    fn strand(&mut self, now: Moment, key: LinkKey, out: &mut Outbox) {
        let Some(link) = self.links.find_mut(key).filter(|link| link.is_admitted()) else { return };
        if link.stranded.is_some() {
            return;
        }
        link.stranded = Some(now);
        let (host, address) = (link.host, link.address);
        // Where its other side saw us is past.
        self.neighbour_sees_no_more(now, key, out);
        self.reroute(now, key, out);
        // Who lets nobody in is met instead.
        let open = self.directory.record(host).is_none_or(|it| !it.record.addresses.is_empty());
        self.discovery.link_stranded(now, host, address, open);
        self.timers.set_earlier(Timer::Discovery, now);
        self.meetings.hurry(now, host);
        self.look_whom_to_meet(now);
    }
}
