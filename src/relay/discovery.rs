//! Whom to dial, and when to ask the DHT (DESIGN §6).
//!
//! Whatever a stranger says is a hint. A hint costs at most one dial a minute for each address and each neighbourhood,
//! three at a time, and never a packet into somebody's own network. Hosts that the operator names, and hosts with which
//! we were linked, have an allowance of their own, so that no flood of hints delays them.
//!
//! The table decides in [`Discovery::poll`] alone. Everything else notes what happened.

mod allowed;
mod asking;
mod dials;
mod links_now;
mod places;
mod recent;
mod seeds;
mod slots;
mod task;
#[cfg(test)]
mod tests;
mod wanted;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use aldis_wire::id::HostId;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use self::allowed::Allowed;
use self::asking::Asking;
pub(crate) use self::dials::Dialled;
use self::dials::{Dial, Dials};
pub(crate) use self::links_now::LinksNow;
use self::places::{Key, Places, Standing, families_in_turn};
use self::recent::Recent;
use self::seeds::Seeds;
use self::slots::Slots;
use self::wanted::Wanted;
use super::io::{DialFailure, DialKey, Hint, HintSource, Moment, Outbox, Output, Registration, Stored};
use super::limits::{
    BACK_OFF_MIN, BACK_OFF_STATIC_MAX, BACK_OFF_UNANSWERED_MAX, CACHE_MAX, FULL_MESH_MAX, LINKS_CHOSEN,
    LOOK_UP_INTERVAL_ALONE, OTHER_NETWORK_PAUSE, RECORD_JITTER, STORE_INTERVAL, TURNED_AWAY_PAUSE,
};
use super::planted::{Defect, Planted};
use super::scope::{Scope, normalised, scope};
use super::setup::Setup;
use super::view::DiscoveryView;

/// Which part of the random numbers that one seed gives is this table's.
const STREAM: u64 = u64::from_be_bytes(*b"discover");

/// Hints, dials, and our talk with the DHT.
#[derive(Debug)]
pub(crate) struct Discovery {
    own: HostId,
    allowed: Allowed,
    rng: ChaCha8Rng,
    places: Places,
    dials: Dials,
    recent: Recent,
    /// Hosts to which a direct link is wanted.
    pub(crate) wanted: Wanted,
    asking: Asking,
    seeds: Seeds,
    slots: Slots,
    /// When to decide again. Set to the present by everything that happens.
    wake: Moment,
    cache_changed: bool,
    cache_stored: Option<Moment>,
    planted: Planted,
}

impl Discovery {
    /// A table that knows what the operator and the last run say.
    #[must_use]
    pub(crate) fn new(setup: &Setup, own: HostId, now: Moment) -> Self {
        let settings = &setup.settings;
        let mut rng = ChaCha8Rng::from_seed(setup.seed);
        rng.set_stream(STREAM);
        let mut discovery = Self {
            own,
            allowed: Allowed::new(&settings.addresses, settings.private_addresses),
            rng,
            places: Places::default(),
            dials: Dials::default(),
            recent: Recent::default(),
            wanted: Wanted::default(),
            asking: Asking::new(settings.dht),
            seeds: Seeds::new(settings.seeds),
            slots: Slots::new(setup.unix),
            wake: now,
            cache_changed: false,
            cache_stored: None,
            planted: setup.planted(),
        };
        discovery.hints_found(now, HintSource::Static, settings.static_peers.clone());
        discovery.hints_found(now, HintSource::Cache, setup.cache.iter().copied().take(CACHE_MAX).collect());
        discovery
    }

    /// Takes hints; most will be dropped. Those out of a host record must name the host, and replace what an older
    /// record of it said.
    pub(crate) fn hints_found(&mut self, now: Moment, source: HintSource, hints: Vec<Hint>) {
        let hints: Vec<Hint> = hints
            .into_iter()
            .map(|hint| Hint { address: normalised(hint.address), ..hint })
            .filter(|hint| hint.host != Some(self.own))
            .filter(|hint| match source {
                HintSource::Static => true,
                HintSource::Lan => hint.host.is_some() && self.allowed.near(hint.address),
                _ => self.allowed.hinted(hint.address),
            })
            .collect();
        if source == HintSource::Record {
            let hosts: BTreeSet<HostId> = hints.iter().filter_map(|hint| hint.host).collect();
            hosts.into_iter().for_each(|host| self.record_found(now, host, &hints));
            return;
        }
        self.wake = now;
        for Hint { address, host } in hints {
            let key = (address, host);
            let is_new = self.places.find(key).is_none();
            if is_new && source == HintSource::Dht && !self.asking.take_hint() {
                continue;
            }
            self.name(now, key, source, now);
        }
    }

    /// Something goes to this host by way of others: a direct link is wanted for a while, even if there are links enough.
    pub(crate) fn want_link(&mut self, now: Moment, host: HostId) {
        if self.wanted.note(now, host) {
            self.wake = now;
        }
    }

    /// Dials a host out of its record to see how near it is, if it may be dialled now at this address. Whether it does.
    pub(crate) fn probe(&mut self, now: Moment, address: SocketAddr, host: HostId, out: &mut Outbox) -> bool {
        let address = normalised(address);
        let free = self.dials.has_slot(Standing::Stranger) && !self.dials.lead_to(address);
        if !free || !self.allowed.hinted(address) {
            return false;
        }
        let key = (address, Some(host));
        self.name(now, key, HintSource::Record, now);
        let due = self
            .places
            .find(key)
            .is_some_and(|place| place.not_before <= now && self.recent.when(now, address, HintSource::Record) <= now);
        if due {
            self.start(now, key, true, out);
        }
        due
    }

    /// Whether nothing that is known of a host is worth a dial: it says nowhere that it may be dialled, or nobody has
    /// answered there.
    #[must_use]
    pub(crate) fn is_out_of_reach(&self, host: HostId) -> bool {
        self.places.of(host).all(|place| place.failures > 0)
    }

    /// Dials a host that a common neighbour has introduced, at an address of which the neighbour says that it is its.
    /// Exactly that host must answer.
    pub(crate) fn punch(&mut self, address: SocketAddr, host: HostId, out: &mut Outbox) {
        self.dial_introduced((address, Some(host)), out);
    }

    fn dial_introduced(&mut self, key: Key, out: &mut Outbox) {
        // Nothing waits for its turn because of it: when it began does not matter.
        let (standing, began) = (Standing::Introduced, Moment::default());
        let dial = self.dials.begin(Dial { key, standing, probe: false, missed: true, began });
        out.push(Output::Dial { dial, address: key.0, host: key.1 });
    }

    /// The address that is meant, if an introduction may lead there; private ones only to somebody who is `near`: behind
    /// the same router.
    #[must_use]
    pub(crate) fn candidate(&self, address: SocketAddr, near: bool) -> Option<SocketAddr> {
        self.allowed.introduced(normalised(address), near)
    }

    /// Asks for what the policy allows now: `Dial`, `LookUp`, `Register`. Costs nothing unless something is due.
    pub(crate) fn poll<F, G>(&mut self, now: Moment, links: &LinksNow<F, G>, out: &mut Outbox)
    where
        F: Fn(HostId) -> bool,
        G: Fn(SocketAddr) -> bool,
    {
        if now < self.wake {
            return;
        }
        let dials = &self.dials;
        self.places.forget(now, |address| dials.lead_to(address));
        self.recent.forget(now);
        self.wanted.forget(now);
        // The numbers of links and hosts change without our being told.
        let mut wake = now + LOOK_UP_INTERVAL_ALONE;
        let asked = self.asking.poll(now, links.count, links.registration, out);
        let seeds = self.seeds.poll(now, links.count == 0, out);
        let dialled = self.dial(now, links, out);
        let stored = self.cache_due().filter(|due| *due > now);
        // Nobody could introduce us, and others see the port that we dial from.
        let slot = (links.registration == Registration::Implied).then(|| self.dial_in_step(now, out));
        for moment in [asked, seeds, dialled, stored, slot].into_iter().flatten() {
            wake = wake.min(moment);
        }
        self.wake = wake;
    }

    /// When to call [`Discovery::poll`] again, unless something else happens first.
    #[must_use]
    pub(crate) fn next_timeout(&self) -> Option<Moment> {
        Some(self.wake)
    }

    /// A dial came to nothing. Gives where it went, unless it was none of ours. Which hosts are heard by way of others is
    /// `heard`.
    pub(crate) fn dial_failed(
        &mut self,
        now: Moment,
        dial: DialKey,
        failure: &DialFailure,
        heard: impl Fn(HostId) -> bool,
    ) -> Option<SocketAddr> {
        let Dial { key: (address, _), standing, .. } = self.dials.end(dial)?;
        self.wake = now;
        if standing == Standing::Introduced {
            return None;
        }
        let pause = (*failure == DialFailure::OtherNetwork).then_some(OTHER_NETWORK_PAUSE);
        let known = if *failure == DialFailure::TimedOut { BACK_OFF_UNANSWERED_MAX } else { BACK_OFF_STATIC_MAX };
        for (key, place) in self.places.at(address) {
            let is_heard = *failure == DialFailure::TimedOut && place.host(key).is_some_and(&heard);
            place.deserted = if is_heard { place.deserted.saturating_add(1) } else { 0 };
        }
        self.set_back(now, address, pause, known);
        Some(address)
    }

    /// A dial ended in a connection with `host`. Not in a link yet: until then it counts as a failure.
    pub(crate) fn dial_succeeded(&mut self, now: Moment, dial: DialKey, host: HostId) -> Option<Dialled> {
        let Dial { key: (address, _), probe, standing, .. } = self.dials.end(dial)?;
        self.wake = now;
        let punch = standing == Standing::Introduced;
        if !punch {
            self.set_back(now, address, None, BACK_OFF_STATIC_MAX);
        }
        self.places.at(address).for_each(|(_, place)| place.answered = Some(host));
        Some(Dialled { probe, punch })
    }

    /// A link is admitted both ways, whoever dialled.
    pub(crate) fn link_admitted(&mut self, now: Moment, host: HostId, address: SocketAddr) {
        self.wake = now;
        self.cache_changed = true;
        let dials = &self.dials;
        self.places.linked(now, host, normalised(address), |address| dials.lead_to(address));
    }

    /// No link leads to `host` any more; the last one went to `address`. It is dialled again soon, if links are wanted or
    /// it is `missed`.
    pub(crate) fn link_lost(&mut self, now: Moment, host: HostId, address: SocketAddr, missed: bool) {
        self.wake = now;
        self.cache_changed = true;
        // The place may have been forgotten while the link stood.
        self.name(now, (normalised(address), Some(host)), HintSource::Cache, now);
        let again = now + self.jitter(BACK_OFF_MIN);
        self.places.lost(now, host, again, missed);
    }

    /// Nothing comes over the link to `host` at `address` any more, though it still stands. The host is dialled soon, and
    /// `at_once` if that may well succeed.
    pub(crate) fn link_stranded(&mut self, now: Moment, host: HostId, address: SocketAddr, at_once: bool) {
        self.link_lost(now, host, address, true);
        if at_once {
            self.places.try_anew(now, Some(host));
        }
    }

    /// We are somewhere else: what could not be reached from where we were may be reached now.
    pub(crate) fn try_anew(&mut self, now: Moment) {
        self.wake = now;
        self.places.try_anew(now, None);
    }

    /// The host at this address does not want us.
    pub(crate) fn turned_away(&mut self, now: Moment, address: SocketAddr) {
        self.wake = now;
        self.set_back(now, normalised(address), Some(TURNED_AWAY_PAUSE), BACK_OFF_STATIC_MAX);
    }

    /// What may be dialled has changed.
    pub(crate) fn look_again(&mut self, now: Moment) {
        self.wake = now;
    }

    /// A look-up is over; otherwise what is wrong.
    pub(crate) fn look_up_ended(&mut self, now: Moment, outcome: Result<(), String>) {
        self.wake = now;
        let jitter = self.jitter_part();
        self.asking.look_up_ended(now, outcome, jitter);
    }

    /// A registration is over; otherwise what is wrong.
    pub(crate) fn registration_ended(&mut self, now: Moment, outcome: Result<(), String>) {
        self.wake = now;
        self.asking.registration_ended(now, outcome);
    }

    /// A look-up of the names in DNS is over; otherwise what is wrong.
    pub(crate) fn seed_look_up_ended(&mut self, now: Moment, outcome: Result<(), String>) {
        self.wake = now;
        self.seeds.look_up_ended(now, outcome);
    }

    /// Where hosts were last seen, if that changed and was not given lately.
    pub(crate) fn cache(&mut self, now: Moment) -> Option<Stored> {
        if self.cache_due()? > now {
            return None;
        }
        self.cache_changed = false;
        self.cache_stored = Some(now);
        Some(Stored::Hints(self.places.cache()))
    }

    /// The same at the end of a run, however lately it was given.
    pub(crate) fn last_cache(&mut self) -> Option<Stored> {
        std::mem::take(&mut self.cache_changed).then(|| Stored::Hints(self.places.cache()))
    }

    /// What an operator may see.
    #[must_use]
    pub(crate) fn view(&self, now: Moment) -> DiscoveryView {
        DiscoveryView {
            dht: self.asking.has_dht(),
            hints: self.places.len(),
            dials: self.dials.len(),
            dht_problem: self.asking.problem(),
            next_look_up: self.asking.next_look_up(now),
            seeds: self.seeds.named(),
            seeds_problem: self.seeds.problem(),
        }
    }

    /// Dials what is due and allowed; gives when the next place will be due.
    fn dial<F, G>(&mut self, now: Moment, links: &LinksNow<F, G>, out: &mut Outbox) -> Option<Moment>
    where
        F: Fn(HostId) -> bool,
        G: Fn(SocketAddr) -> bool,
    {
        let (due, mut next) = self.due(now, links);
        for key in due {
            // An earlier one of these dials may have used up what this one needs.
            match self.when(now, key, links) {
                Some(moment) if moment > now => next = earlier(next, moment),
                Some(_) => self.start(now, key, false, out),
                None => {}
            }
        }
        next
    }

    /// Dials what the DHT names if an agreed moment has come; gives when the next one comes.
    fn dial_in_step(&mut self, now: Moment, out: &mut Outbox) -> Moment {
        for key in self.slots.take(now, &mut self.places, self.own) {
            // So that it is not dialled for being named as well.
            self.recent.dialled(now, key.0, true);
            self.dial_introduced(key, out);
        }
        self.slots.after(now)
    }

    /// The places that may be dialled now, in order; and when the first of the others may be.
    fn due<F, G>(&mut self, now: Moment, links: &LinksNow<F, G>) -> (Vec<Key>, Option<Moment>)
    where
        F: Fn(HostId) -> bool,
        G: Fn(SocketAddr) -> bool,
    {
        let mut next = None;
        let mut due = Vec::new();
        for (key, place) in self.places.iter() {
            match self.when(now, key, links) {
                Some(moment) if moment <= now => due.push((place.rank(now), (links.crowded)(key.0), key)),
                Some(moment) => next = earlier(next, moment),
                None => {}
            }
        }
        let mut due: Vec<_> = due
            .into_iter()
            .map(|((standing, failures, moment), crowded, key)| {
                // Of two that are equal, IPv6 first: it has no NATs (RFC 8305).
                ((standing, crowded, failures, moment, key.0.is_ipv4()), self.rng.next_u64(), key)
            })
            .collect();
        due.sort_unstable();
        (due.into_iter().map(|(_, _, key)| key).collect(), next)
    }

    /// From when on a place may be dialled; `None` when that depends on something else than time.
    fn when<F: Fn(HostId) -> bool, G>(&self, now: Moment, key: Key, links: &LinksNow<F, G>) -> Option<Moment> {
        let place = self.places.find(key)?;
        let (host, standing) = (place.host(key), place.standing(now));
        if !self.dials.has_slot(standing)
            || (standing != Standing::Static && !place.is_missed(now) && !self.is_wanted(now, host, links))
        {
            return None;
        }
        if host.is_some_and(|host| host == self.own || (links.linked)(host)) || self.dials.lead_to(key.0) {
            return None;
        }
        if !standing.is_hint() {
            return Some(place.not_before);
        }
        let turn = key.1.map_or(Some(place.not_before), |host| self.dials.turn(host, key.0))?.max(place.not_before);
        if standing == Standing::Lan {
            // All of them are in one neighbourhood, which is ours.
            return Some(turn.max(self.recent.address_when(now, key.0)));
        }
        // The operator of a private network has it to himself: its hosts share one address more often than not.
        if scope(key.0) == Scope::Private {
            return Some(turn);
        }
        Some(turn.max(self.recent.when(now, key.0, place.source)))
    }

    /// Whether there is a reason for another link, to `host` if it is known.
    fn is_wanted<F, G>(&self, now: Moment, host: Option<HostId>, links: &LinksNow<F, G>) -> bool {
        links.known_hosts <= FULL_MESH_MAX
            || links.chosen + self.dials.for_links() < LINKS_CHOSEN
            || host.is_some_and(|host| self.wanted.has(now, host))
    }

    fn start(&mut self, now: Moment, key: Key, probe: bool, out: &mut Outbox) {
        let (address, named) = key;
        let Some(place) = self.places.find_mut(key) else { return };
        place.dialled = Some(now);
        let (standing, missed) = (place.standing(now), place.is_missed(now));
        // A record may name an address that is another host's, and any host of the network is welcome. Private addresses
        // are the same in many places: there it must be the one that says on our link that it is there.
        let host = named.filter(|_| matches!(standing, Standing::Static | Standing::Seed | Standing::Lan));
        self.recent.dialled(now, address, matches!(standing, Standing::Seed | Standing::Stranger));
        let dial = self.dials.begin(Dial { key, standing, probe, missed, began: now });
        out.push(Output::Dial { dial, address, host });
    }

    /// Lets an address rest: for `pause`, or twice as long as the last time; if it is known, for `known` at most.
    fn set_back(&mut self, now: Moment, address: SocketAddr, pause: Option<Duration>, known: Duration) {
        let part = self.jitter_part();
        for (_, place) in self.places.at(address) {
            place.failures = place.failures.saturating_add(1);
            let pause = pause.unwrap_or_else(|| place.back_off(now, known).mul_f64(0.5 + part / 2.0));
            let pause = if self.planted.has(Defect::NoBackOff) { Duration::ZERO } else { pause };
            place.not_before = place.not_before.max(now + pause);
        }
    }

    fn record_found(&mut self, now: Moment, host: HostId, hints: &[Hint]) {
        let listed = |address| hints.iter().any(|hint| hint.address == address && hint.host == Some(host));
        let mut left = self.places.renew_record(now, host, listed);
        for hint in families_in_turn(hints.iter().filter(|hint| hint.host == Some(host))) {
            let key = (hint.address, hint.host);
            if self.places.find(key).is_none() {
                if left == 0 {
                    break;
                }
                left -= 1;
            }
            let first_dial = now + self.jitter(RECORD_JITTER);
            // Most new records say what the old ones said, and nothing is to be decided then.
            if self.name(now, key, HintSource::Record, first_dial) {
                self.wake = now;
            }
        }
    }

    fn name(&mut self, now: Moment, key: Key, source: HintSource, first_dial: Moment) -> bool {
        let dials = &self.dials;
        self.places.name(now, key, source, first_dial, |address| dials.lead_to(address))
    }

    fn cache_due(&self) -> Option<Moment> {
        self.cache_changed.then(|| self.cache_stored.map_or(Moment::default(), |stored| stored + STORE_INTERVAL))
    }

    /// A random part of `whole`.
    fn jitter(&mut self, whole: Duration) -> Duration {
        whole.mul_f64(self.jitter_part())
    }

    /// From 0 up to 1.
    fn jitter_part(&mut self) -> f64 {
        f64::from(self.rng.next_u32()) / (f64::from(u32::MAX) + 1.0)
    }
}

fn earlier(next: Option<Moment>, moment: Moment) -> Option<Moment> {
    Some(next.map_or(moment, |next| next.min(moment)))
}
