//! Where we are: neighbours, the driver and the DHT tell; others try whether they reach us; our record, the DHT and
//! whoever asks are told what has come of it (PROTOCOL.md §11.1).

use std::net::SocketAddr;
use std::time::Duration;

use aldis_wire::host::{Channel, Frame, Role, Verified};
use aldis_wire::id::HostId;
use rand_chacha::rand_core::Rng;

use crate::relay::io::{CheckTarget, LinkKey, Mapping, Moment, Note, Outbox, Output};
use crate::relay::limits::{CHECK_INTERVAL, RECORD_CHANGE_TOKENS, RECORD_CHANGES, RECORD_SETTLES, STUN_TOLD_MAX};
use crate::relay::reach::{Helper, Observer, Standing};
use crate::relay::scope::{normalised, usable};
use crate::relay::state::State;
use crate::relay::timers::Timer;

impl State {
    /// Round trip and address of a connection as they are now. The other side is told where we see it, if that is new.
    pub(crate) fn link_measured(&mut self, key: LinkKey, rtt: Duration, address: SocketAddr, out: &mut Outbox) {
        let Some(link) = self.links.find_mut(key) else { return };
        (link.rtt, link.address) = (rtt, address);
        self.tell_observed(key, out);
    }

    /// Tells the other side of a link where we see it, if it was told otherwise.
    pub(crate) fn tell_observed(&mut self, key: LinkKey, out: &mut Outbox) {
        let Some(link) = self.links.find(key).filter(|link| link.is_admitted()) else { return };
        let address = link.address;
        if link.told != Some(address) && self.send(key, Channel::Control, &Frame::Observed(address), out) {
            let Some(link) = self.links.find_mut(key) else { return };
            link.told = Some(address);
        }
    }

    /// A link is admitted: its host has said where it sees us.
    pub(crate) fn neighbour_sees(&mut self, now: Moment, key: LinkKey, out: &mut Outbox) {
        // It may have had to give way to another one at once.
        let Some(link) = self.links.find(key).filter(|link| link.is_admitted()) else { return };
        if link.observed.is_none() {
            return;
        }
        let stranger = link.stranger;
        self.is_seen_by(now, key, out);
        if stranger {
            let jitter = self.check_jitter();
            let news = self.reach.came(now, key, jitter);
            out.notes.extend(news);
        }
        self.reach.checks.neighbour_came(now);
        self.places_changed(now, out);
        self.tell_observed(key, out);
    }

    /// The other side of a link sees us where it says.
    pub(crate) fn is_seen_by(&mut self, now: Moment, key: LinkKey, out: &mut Outbox) {
        let Some(link) = self.links.find(key).filter(|link| link.is_admitted()) else { return };
        let Some(sees) = link.observed else { return };
        let at = normalised(link.address).ip();
        let observer = Observer::new(now, link.host, at, link.role == Role::Dialler, normalised(sees));
        self.reach.observers.insert(key, observer);
        self.places_changed(now, out);
    }

    /// A link gives way as soon as it is admitted. If we dialled it, what its other side sees holds for the one that stays.
    pub(crate) fn gives_way(&mut self, now: Moment, key: LinkKey, out: &mut Outbox) {
        let Some(link) = self.links.find(key).filter(|link| link.role == Role::Dialler) else { return };
        let Some(sees) = link.observed else { return };
        self.reach.observers.confirm(link.host, normalised(link.address).ip(), normalised(sees));
        self.places_changed(now, out);
    }

    /// A link is not to be used any more, or nothing comes over it.
    pub(crate) fn neighbour_sees_no_more(&mut self, now: Moment, key: LinkKey, out: &mut Outbox) {
        self.reach.observers.remove(now, key);
        self.reach.checks.neighbour_left(now, key);
        self.places_changed(now, out);
    }

    /// A neighbour sees us at another address than before.
    pub(crate) fn observed_came(&mut self, now: Moment, key: LinkKey, address: SocketAddr, out: &mut Outbox) {
        if let Some(link) = self.links.find_mut(key) {
            link.observed = Some(address);
        }
        if self.reach.observers.sees(now, key, normalised(address)).is_none() {
            return;
        }
        self.places_changed(now, out);
        let witnesses = self.witnesses(key);
        if self.reach.observers.believe_move(now, key, &witnesses) {
            return self.strand_links(now, normalised(address), out);
        }
        // They notice when something comes from where we are now.
        for witness in witnesses {
            let Some(seen) = self.links.find(witness).map(|link| link.address) else { continue };
            self.send(witness, Channel::Control, &Frame::Observed(seen), out);
        }
    }

    /// Links whose other sides would see us move as well as that of `key`: we dialled them, and their routers let everybody in.
    fn witnesses(&self, key: LinkKey) -> Vec<LinkKey> {
        let others = self
            .links
            .admitted()
            .filter(|(other, link)| *other != key && link.role == Role::Dialler && link.is_sound() && !link.punched);
        let says_where = |host| self.directory.record(host).is_some_and(|it| !it.record.addresses.is_empty());
        others.filter(|(_, link)| says_where(link.host)).map(|(key, _)| key).collect()
    }

    /// The driver tells what it knows of our addresses.
    pub(crate) fn places_found(
        &mut self,
        now: Moment,
        local: Vec<SocketAddr>,
        mapped: Vec<Mapping>,
        stun: Vec<u16>,
        out: &mut Outbox,
    ) {
        let elsewhere = self.reach.places_found(local, mapped, stun);
        self.places_changed(now, out);
        if elsewhere {
            self.we_are_elsewhere(now, out);
        }
    }

    /// The nodes of the DHT see us.
    pub(crate) fn dht_sees(&mut self, now: Moment, address: SocketAddr, shared: bool, out: &mut Outbox) {
        self.reach.dht_sees(address, shared);
        self.places_changed(now, out);
    }

    /// A neighbour answers that a place of ours was reached, or not.
    pub(crate) fn check_answered(&mut self, now: Moment, key: LinkKey, verified: Verified, out: &mut Outbox) {
        let jitter = self.check_jitter();
        let changed = self.reach.checks.answered(now, key, verified.number, verified.verdict, jitter);
        if let Some(target) = changed {
            out.notes.extend(self.news_of(target));
        }
        self.places_changed(now, out);
    }

    fn news_of(&self, target: CheckTarget) -> Option<Note> {
        match self.reach.checks.find(&target)?.standing {
            Standing::Reached { by, .. } => Some(Note::Reached { target, by }),
            Standing::NotReached { by, .. } => Some(Note::NotReached { target, by }),
            Standing::Untried => None,
        }
    }

    /// Draws the conclusions from whatever was told of where we are, and asks for what is to be checked.
    pub(crate) fn places_changed(&mut self, now: Moment, out: &mut Outbox) {
        let news = self.reach.refresh(now);
        out.notes.extend(news.notes);
        if news.map_again {
            out.push(Output::MapAgain);
        }
        self.timers.set(Timer::Reach, now);
        self.we_moved(now);
        // What the DHT is to be told may be another thing.
        self.discovery.look_again(now);
        self.timers.set_earlier(Timer::Discovery, now);
    }

    /// Asks for what is due, and ends what was not answered.
    pub(crate) fn reach(&mut self, now: Moment, out: &mut Outbox) {
        self.end_overdue(now, out);
        if self.draining {
            return;
        }
        if self.reach.observers.take_settled(now) {
            let news = self.reach.refresh(now);
            out.notes.extend(news.notes);
            self.we_moved(now);
        }
        let helpers: Vec<Helper> = self
            .reach
            .observers
            .iter()
            .map(|(link, observer)| Helper { link, host: observer.host, sees: observer.sees.ip() })
            .collect();
        let (jitter, mut number) = (self.check_jitter(), self.reach.number);
        let asking = self.reach.checks.poll(now, &helpers, jitter, &mut number);
        self.reach.number = number;
        for (link, verify) in asking {
            self.send(link, Channel::Control, &Frame::Verify(verify), out);
        }
        let next = [
            self.reach.checks.next(),
            self.reach.observers.settles(),
            self.reach.trials.next(),
            self.reach.referrals.next(),
        ];
        if let Some(at) = next.into_iter().flatten().min() {
            self.timers.set(Timer::Reach, at.max(now + Duration::from_millis(1)));
        }
    }

    /// Sees to it that our record says where we are.
    pub(crate) fn we_moved(&mut self, now: Moment) {
        if self.reach.whereabouts() != self.announcer.whereabouts {
            self.renew_soon(now);
        }
    }

    /// Has our record announced anew: soon, unless it has changed often lately.
    pub(crate) fn renew_soon(&mut self, now: Moment) {
        // Only looked at here; the tokens are taken when the record goes out.
        let mut changes = self.announcer.changes;
        let wait = changes.take(now, RECORD_CHANGES, RECORD_CHANGE_TOKENS).err().unwrap_or_default();
        self.timers.set_earlier(Timer::Record, now + RECORD_SETTLES.max(wait));
    }

    /// STUN servers for an edge: our own, then those of neighbours, the nearest first, then others. What a record says is taken
    /// where we see its host at that address; elsewhere, only for a family of which there is none: nobody has tried it here,
    /// and a liar could send all edges to a victim.
    pub(crate) fn stun_servers(&self) -> Vec<SocketAddr> {
        let mut near: Vec<_> =
            self.links.admitted().map(|(_, link)| (link.rtt, link.host, normalised(link.address).ip())).collect();
        near.sort_unstable();
        let seen = near.iter().flat_map(|(_, host, at)| self.stun_of(*host).filter(|stun| stun.ip() == *at));
        let mut told = Vec::new();
        self.tell_stun(self.reach.verified_stun().into_iter().chain(seen), &mut told);
        let (v4, v6) = (told.iter().any(SocketAddr::is_ipv4), told.iter().any(SocketAddr::is_ipv6));
        let hosts = near.iter().map(|(_, host, _)| *host).chain(self.directory.hosts());
        let all = hosts.flat_map(|host| self.stun_of(host));
        self.tell_stun(all.filter(|stun| if stun.is_ipv4() { !v4 } else { !v6 }), &mut told);
        told
    }

    /// Where a host says that it answers STUN.
    fn stun_of(&self, host: HostId) -> impl Iterator<Item = SocketAddr> {
        let takes = host != self.own && self.barred.why(host).is_none();
        let record = self.directory.record(host).filter(|_| takes);
        record.into_iter().flat_map(|it| &it.record.stun).copied().map(normalised)
    }

    fn tell_stun(&self, servers: impl Iterator<Item = SocketAddr>, told: &mut Vec<SocketAddr>) {
        for server in servers {
            if told.len() >= STUN_TOLD_MAX {
                return;
            }
            if usable(server, self.settings.private_addresses) && !told.contains(&server) {
                told.push(server);
            }
        }
    }

    /// Whoever was dialled is no stranger any more, whatever the reason.
    pub(crate) fn note_dials(&mut self, now: Moment, out: &Outbox) {
        for output in &out.outputs {
            if let Output::Dial { address, .. } = output {
                self.reach.contacts.with_address(now, normalised(*address).ip());
            }
        }
    }

    fn check_jitter(&mut self) -> Duration {
        (CHECK_INTERVAL / 10).mul_f64(f64::from(self.rng.next_u32()) / f64::from(u32::MAX))
    }
}
