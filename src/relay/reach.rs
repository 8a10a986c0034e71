//! Where this host is, as seen from outside, and who can reach it there (PROTOCOL.md §11.1).
//!
//! Neighbours tell where they see us ([`observers`]), the driver what it knows of our addresses; others try whether we can
//! be reached there ([`checks`]). Out of that come what stands in our record, what the DHT is told, and what an operator
//! sees. We do the same for others ([`trials`]), and remember with whom there was something lately ([`contacts`]), since
//! only strangers can tell whether strangers reach us.

mod checks;
mod contacts;
mod gateways;
mod observers;
mod showing;
mod trials;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use aldis_wire::host::Nat;
use aldis_wire::limits::{RECORD_ADDRESSES_MAX, RECORD_CANDIDATES_MAX, RECORD_GATEWAYS_MAX, RECORD_STUN_MAX};

use self::checks::Checks;
pub(crate) use self::checks::{Helper, Standing};
use self::contacts::Contacts;
pub(crate) use self::gateways::gateway_door;
pub(crate) use self::observers::Observer;
use self::observers::{Kind, Observers};
pub(crate) use self::trials::{Asker, Door, Referral, Trial};
use self::trials::{Referrals, Trials};
use super::bucket::Bucket;
use super::io::{CheckTarget, LinkKey, Mapped, Mapping, Moment, Note, Registration};
use super::limits::{LOCAL_MAX, MAP_AGAIN, MAP_AGAIN_TOKENS, MAPPED_MAX, STUN_PORTS_MAX};
use super::scope::{Scope, may_be_tried, normalised, scope, usable};
use super::setup::Settings;
use super::view::{PlaceState, PlaceView, ReachView};

/// What of our record depends on where we are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Whereabouts {
    pub(crate) nat: Nat,
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) candidates: Vec<SocketAddr>,
    pub(crate) gateways: Vec<String>,
    pub(crate) stun: Vec<SocketAddr>,
}

/// What is new after something has happened.
#[derive(Debug, Default)]
pub(crate) struct News {
    pub(crate) notes: Vec<Note>,
    /// Our address is another one.
    pub(crate) moved: bool,
    /// Routers are to be asked anew.
    pub(crate) map_again: bool,
}

/// Everything known of where we are, and what we do for others who want to know it.
#[derive(Debug)]
pub(crate) struct Reach {
    private: bool,
    registers: bool,
    port: u16,
    /// What the operator says.
    addresses: Vec<SocketAddr>,
    gateways: Vec<String>,
    gateway_tls: bool,
    /// Addresses of our own interfaces, with the port for links, as the driver says.
    pub(crate) local: Vec<SocketAddr>,
    mapped: Vec<Mapping>,
    stun_ports: Vec<u16>,
    /// What the nodes of the DHT say, and whether it is of the port for links.
    dht: Option<(SocketAddr, bool)>,
    pub(crate) observers: Observers,
    pub(crate) checks: Checks,
    pub(crate) contacts: Contacts,
    pub(crate) trials: Trials,
    pub(crate) referrals: Referrals,
    /// Where neighbours see us; while there are none, where they did.
    seen: Vec<SocketAddr>,
    kind: Kind,
    /// The IP addresses at which we were seen when that was concluded.
    kind_at: Vec<IpAddr>,
    /// What stands between us and those who dial us.
    pub(crate) nat: Nat,
    /// Where hosts that we dialled see us: IPv4, IPv6.
    outside: [Option<SocketAddr>; 2],
    map_again: Bucket,
    /// The last number under which we asked somebody something.
    pub(crate) number: u32,
}

impl Reach {
    /// A table that knows what the operator says.
    #[must_use]
    pub(crate) fn new(settings: &Settings) -> Self {
        Self {
            private: settings.private_addresses,
            registers: settings.dht && settings.register,
            port: settings.port,
            addresses: settings.addresses.clone(),
            gateways: settings.gateways.clone(),
            gateway_tls: settings.gateway_tls,
            local: Vec::new(),
            mapped: Vec::new(),
            stun_ports: Vec::new(),
            dht: None,
            observers: Observers::default(),
            checks: Checks::default(),
            contacts: Contacts::default(),
            trials: Trials::default(),
            referrals: Referrals::default(),
            seen: Vec::new(),
            kind: Kind::Unknown,
            kind_at: Vec::new(),
            nat: Nat::Unknown,
            outside: [None; 2],
            map_again: Bucket::default(),
            number: 0,
        }
    }

    /// What the driver knows of our addresses, in place of what it said before. Whether our own ones are others than they
    /// were.
    pub(crate) fn places_found(&mut self, local: Vec<SocketAddr>, mapped: Vec<Mapping>, stun: Vec<u16>) -> bool {
        let before = std::mem::take(&mut self.local);
        self.local = local.into_iter().take(LOCAL_MAX).map(normalised).collect();
        let outside = |mapping: Mapping| Mapping { outside: normalised(mapping.outside), ..mapping };
        self.mapped = mapped.into_iter().take(MAPPED_MAX).map(outside).collect();
        self.stun_ports = stun.into_iter().filter(|port| *port > 0).take(STUN_PORTS_MAX).collect();
        !before.is_empty() && self.local != before
    }

    /// Where the nodes of the DHT see us.
    pub(crate) fn dht_sees(&mut self, address: SocketAddr, shared: bool) {
        self.dht = Some((normalised(address), shared));
    }

    /// Draws the conclusions from what has changed.
    pub(crate) fn refresh(&mut self, now: Moment) -> News {
        let mut news = News::default();
        if let Some(kind) = self.observers.kind(now, &self.local, self.private, self.shared()) {
            self.conclude(kind);
        }
        let seen = self.observers.addresses(self.private);
        if !seen.is_empty() {
            self.seen = seen;
        }
        for family in [0, 1] {
            self.follow(now, family, &mut news);
        }
        self.checks.want(self.wanted());
        if news.moved {
            self.checks.begin_anew(now);
        }
        let nat = self.concluded();
        if nat != std::mem::replace(&mut self.nat, nat) {
            news.notes.push(Note::NatFound { nat });
        }
        news
    }

    /// Takes a conclusion on the router before us. That too few see us now says nothing of it, as long as they see us where
    /// we were: it is the same one.
    fn conclude(&mut self, kind: Kind) {
        let at = || self.observers.iter().map(|(_, observer)| observer.sees).filter(|it| usable(*it, self.private));
        let known = matches!(self.kind, Kind::Cone | Kind::Symmetric);
        if kind == Kind::Unknown && known && at().all(|sees| self.kind_at.contains(&sees.ip())) {
            return;
        }
        let mut ips: Vec<IpAddr> = at().map(|sees| sees.ip()).collect();
        ips.sort_unstable();
        ips.dedup();
        (self.kind, self.kind_at) = (kind, ips);
    }

    /// A host to which we never sent anything has come to us, and says at which address. Only if somebody else says so too
    /// is that address believed to be ours.
    pub(crate) fn came(&mut self, now: Moment, link: LinkKey, jitter: Duration) -> Option<Note> {
        let observer = self.observers.find(link)?;
        let (by, at, sees) = (observer.host, observer.at, observer.sees);
        // From our own side of the router everything can be reached.
        let outside = may_be_tried(at, self.private);
        let ours = self.local.contains(&sees)
            || self.addresses.iter().any(|address| normalised(*address) == sees)
            || self.links_mappings().any(|address| address == sees)
            || self.shared() == Some(sees)
            || self.observers.others_see(by, at, sees);
        if !outside || !ours || at == sees.ip() {
            return None;
        }
        let target = CheckTarget::Links(sees);
        self.checks.came(now, &target, by, jitter).then_some(Note::Reached { target, by })
    }

    /// What of our record depends on where we are.
    #[must_use]
    pub(crate) fn whereabouts(&self) -> Whereabouts {
        let addresses = self.published();
        let mut candidates = self.candidates();
        candidates.retain(|address| !addresses.contains(address));
        candidates.truncate(RECORD_CANDIDATES_MAX);
        let mut gateways: Vec<String> =
            self.all_gateways().filter(|(url, own)| self.publishes(url, *own)).map(|(url, _)| url).collect();
        gateways.truncate(RECORD_GATEWAYS_MAX);
        let mut stun = self.verified_stun();
        stun.truncate(RECORD_STUN_MAX);
        Whereabouts { nat: self.nat, addresses, candidates, gateways, stun }
    }

    /// Addresses at which we may be reached by somebody who is introduced, best first: mapped ones, then those at which
    /// others see us.
    #[must_use]
    pub(crate) fn candidates(&self) -> Vec<SocketAddr> {
        let seen = self.seen.iter().copied();
        let mut candidates: Vec<SocketAddr> = Vec::new();
        let mapped = self.links_mappings().filter(|address| self.is_seen_at(address.ip()));
        for address in mapped.chain(seen).chain(self.shared()) {
            if usable(address, self.private) && !candidates.contains(&address) {
                candidates.push(address);
            }
        }
        candidates
    }

    /// Where STUN of ours was reached from outside. At the port for links we answer whoever reaches it.
    #[must_use]
    pub(crate) fn verified_stun(&self) -> Vec<SocketAddr> {
        let stun = |target: &CheckTarget| if let CheckTarget::Stun(address) = target { Some(*address) } else { None };
        let is_reached = |address: &SocketAddr| {
            let target = CheckTarget::Stun(*address);
            self.checks.is_reached(&target) || self.is_verified(*address) && !self.checks.is_not_reached(&target)
        };
        self.checks.iter().filter_map(|(target, _)| stun(target)).filter(is_reached).collect()
    }

    /// What the DHT is to be told. A host that nobody has reached from outside tells it only when it has no link, since
    /// nobody could have tried, and the first host of a network must be found.
    #[must_use]
    pub(crate) fn registration(&self, alone: bool) -> Registration {
        // The DHT has IPv4 addresses alone.
        let verified = self.links_addresses().into_iter().find(|it| it.is_ipv4() && self.is_verified(*it));
        let own = self.addresses.iter().find(|it| it.is_ipv4()).or(self.addresses.first()).copied();
        if !self.registers {
            return Registration::Nothing;
        }
        match verified.or(own) {
            Some(address) => Registration::Port(address.port()),
            None if !alone => Registration::Nothing,
            None if self.shared().is_some() => Registration::Implied,
            None => Registration::Port(self.port),
        }
    }

    /// What an operator may see.
    #[must_use]
    pub(crate) fn view(&self, now: Moment, alone: bool) -> ReachView {
        let whereabouts = self.whereabouts();
        let mut places: Vec<PlaceView> = self
            .checks
            .iter()
            .map(|(target, check)| PlaceView {
                target: target.clone(),
                published: match target {
                    CheckTarget::Links(address) => whereabouts.addresses.contains(address),
                    CheckTarget::OtherPort(_) => false,
                    CheckTarget::Stun(address) => whereabouts.stun.contains(address),
                    CheckTarget::Gateway(url) => whereabouts.gateways.contains(url),
                },
                state: showing::state(now, check),
            })
            .collect();
        // What the operator gives and nobody may try.
        for url in self.gateways.iter().filter(|url| self.checks.find(&CheckTarget::Gateway((*url).clone())).is_none())
        {
            let why = "others try public addresses alone, at port 80, 443 or above 1023";
            places.push(PlaceView {
                target: CheckTarget::Gateway(url.clone()),
                published: whereabouts.gateways.contains(url),
                state: PlaceState::Unverified { why },
            });
        }
        ReachView {
            nat: self.nat,
            evidence: showing::evidence(self.nat, self.kind),
            behind_two: self.links_mappings_lie(),
            observers: showing::observers(now, &self.observers),
            local: self.local.clone(),
            mapped: self.mapped.clone(),
            dht: self.dht,
            addresses: whereabouts.addresses,
            candidates: whereabouts.candidates,
            gateways: whereabouts.gateways,
            stun: whereabouts.stun,
            places,
            registration: self.registration(alone),
        }
    }

    /// Whether a router says to be seen where nobody sees us: then there is another one behind it.
    fn links_mappings_lie(&self) -> bool {
        !self.mapped.is_empty() && self.mapped.iter().all(|mapping| !self.is_seen_at(mapping.outside.ip()))
    }

    /// A number for a question of ours.
    pub(crate) fn next_number(&mut self) -> u32 {
        self.number = self.number.wrapping_add(1);
        self.number
    }

    pub(crate) fn tidy(&mut self, now: Moment) {
        self.contacts.tidy(now);
        self.trials.tidy(now);
        self.referrals.tidy(now);
    }

    /// Whether an address of ours was reached from outside. A neighbour's other port says as much as a stranger where
    /// nothing stands between, or a router was told to let everybody in.
    fn is_verified(&self, address: SocketAddr) -> bool {
        let free = self.local.contains(&address) || self.links_mappings().any(|mapped| mapped == address);
        self.checks.is_reached(&CheckTarget::Links(address))
            || free && self.checks.is_reached(&CheckTarget::OtherPort(address))
    }

    /// The addresses for `addresses` of our record: the operator's, and verified ones. Those come first that were reached,
    /// and those last that were not.
    fn published(&self) -> Vec<SocketAddr> {
        let rank = |address: &SocketAddr| {
            let address = normalised(*address);
            match (self.is_verified(address), self.checks.is_not_reached(&CheckTarget::Links(address))) {
                (true, _) => 0,
                (false, false) => 1,
                (false, true) => 2,
            }
        };
        let mut addresses = self.addresses.clone();
        for address in self.links_addresses() {
            if self.is_verified(address) && !addresses.iter().any(|own| normalised(*own) == address) {
                addresses.push(address);
            }
        }
        addresses.sort_by_key(rank);
        addresses.truncate(RECORD_ADDRESSES_MAX);
        addresses
    }

    /// Whether a gateway stands in our record. The operator's word counts until somebody has tried in vain; in a network
    /// that he has to himself it counts always, since nobody there is outside, nor need know who vouches for certificates.
    fn publishes(&self, url: &str, own: bool) -> bool {
        let target = CheckTarget::Gateway(url.to_owned());
        self.checks.is_reached(&target) || own && (self.private || !self.checks.is_not_reached(&target))
    }

    /// The operator's gateways, and those that a router lets through.
    fn all_gateways(&self) -> impl Iterator<Item = (String, bool)> {
        let scheme = if self.gateway_tls { "wss" } else { "ws" };
        let mapped = self.mapped.iter().filter(|mapping| mapping.of == Mapped::Gateway);
        let mapped = mapped.map(|mapping| mapping.outside).filter(|address| usable(*address, self.private));
        let mapped = mapped.map(move |address| format!("{scheme}://{address}{}", aldis_wire::edge::PATH));
        let own = self.gateways.iter().cloned();
        own.map(|url| (url, true)).chain(mapped.map(|url| (url, false)))
    }

    fn links_mappings(&self) -> impl Iterator<Item = SocketAddr> {
        let links = self.mapped.iter().filter(|mapping| mapping.of == Mapped::Links);
        links.map(|mapping| mapping.outside).filter(|address| usable(*address, self.private))
    }

    /// Where the DHT sees the port for links.
    fn shared(&self) -> Option<SocketAddr> {
        self.dht.filter(|(address, shared)| *shared && usable(*address, self.private)).map(|(address, _)| address)
    }

    /// Whether anybody sees us there; also while nobody sees us anywhere.
    fn is_seen_at(&self, address: IpAddr) -> bool {
        let mut seen = self.observers.iter().map(|(_, observer)| observer.sees.ip()).peekable();
        seen.peek().is_none() || seen.any(|sees| sees == address)
    }

    /// All addresses that may lead to our port for links: the operator's, mapped ones, observed ones.
    fn links_addresses(&self) -> Vec<SocketAddr> {
        let own = self.addresses.iter().map(|address| normalised(*address));
        let own = own.filter(|address| usable(*address, self.private));
        let mut all: Vec<SocketAddr> = Vec::new();
        for address in own.chain(self.links_mappings()).chain(self.observed()) {
            if !all.contains(&address) {
                all.push(address);
            }
        }
        all
    }

    /// Where neighbours see us, if others can use that.
    fn observed(&self) -> Vec<SocketAddr> {
        if self.kind == Kind::Symmetric { Vec::new() } else { self.seen.clone() }
    }

    fn wanted(&self) -> Vec<CheckTarget> {
        let addresses = self.links_addresses();
        let mut wanted: Vec<CheckTarget> = addresses.iter().map(|address| CheckTarget::Links(*address)).collect();
        // Where a router has opened a port, it matters only if nobody comes by that how strict it is otherwise. All hosts
        // behind it share what a neighbour tries of its address.
        let may_come =
            |at: SocketAddr| self.is_seen_at(at.ip()) && !self.checks.is_not_reached(&CheckTarget::OtherPort(at));
        let observed = if self.links_mappings().any(may_come) { Vec::new() } else { self.observed() };
        let others = self.links_mappings().chain(observed);
        let others = others.map(CheckTarget::OtherPort).filter(|other| {
            // Who is reached by strangers needs no more.
            other.address().is_some_and(|address| !self.checks.is_reached(&CheckTarget::Links(address)))
        });
        wanted.extend(others);
        let urls = self.all_gateways().map(|(url, _)| url);
        wanted.extend(urls.filter(|url| gateway_door(url, self.private).is_some()).map(CheckTarget::Gateway));
        for family in [SocketAddr::is_ipv4, SocketAddr::is_ipv6] {
            let open = addresses.iter().find(|address| family(address) && self.is_verified(**address));
            let Some(open) = open else { continue };
            // On the port for links it is where that is; another port is the same outside, or nobody reaches it.
            let port = |port: &u16| if *port == self.port { open.port() } else { *port };
            wanted.extend(self.stun_ports.iter().map(|at| CheckTarget::Stun(SocketAddr::new(open.ip(), port(at)))));
        }
        wanted
    }

    /// What stands between, as far as it is known.
    fn concluded(&self) -> Nat {
        if self.links_addresses().into_iter().any(|address| self.is_verified(address)) {
            return Nat::Open;
        }
        let by_other_port = |address: SocketAddr| {
            let other = CheckTarget::OtherPort(address);
            if self.checks.is_reached(&other) {
                Some(Nat::Restricted)
            } else {
                self.checks.is_not_reached(&other).then_some(Nat::PortRestricted)
            }
        };
        match self.kind {
            Kind::Symmetric => Nat::Symmetric,
            Kind::Unknown => Nat::Unknown,
            Kind::Direct | Kind::Cone => self.observed().into_iter().find_map(by_other_port).unwrap_or_default(),
        }
    }

    /// Follows the address of one family at which hosts that we dialled see us, as the last of them to see it change says.
    fn follow(&mut self, now: Moment, family: usize, news: &mut News) {
        let dialled = || self.observers.iter().filter(|(_, observer)| observer.dialled).map(|(_, it)| it);
        let fits = |address: &SocketAddr| usize::from(address.is_ipv6()) == family && usable(*address, self.private);
        let public = |address: SocketAddr| scope(address) == Scope::Global;
        let newest = dialled().filter(|it| fits(&it.sees)).max_by_key(|it| (public(it.sees), it.since));
        let newest = newest.map(|it| it.sees);
        let newest = newest.or(self.shared().filter(fits));
        let Some(to) = newest else { return };
        let Some(last) = self.outside.get_mut(family) else { return };
        let from = last.replace(to);
        let Some(from) = from.filter(|from| *from != to) else { return };
        if from.ip() == to.ip() && self.kind == Kind::Symmetric {
            return;
        }
        news.moved = true;
        news.notes.push(Note::AddressChanged { from, to });
        news.map_again |= self.map_again.take(now, MAP_AGAIN, MAP_AGAIN_TOKENS).is_ok();
    }
}
