//! The hosts of a world: started, killed, frozen, started again; and what an operator sees of them.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use aldis::relay::io::{Hint, HintSource, Input, Moment, Note, Outbox, StopReason, Stored};
use aldis::relay::view::HostView;
use aldis::relay::{Relay, Settings, Setup};
use aldis_wire::id::HostId;
use aldis_wire::network::{Genesis, Network};
use aldis_wire::seal::SealingKey;
use ed25519_dalek::SigningKey;

use super::{Happening, Place, World};

/// A host.
pub struct Host {
    pub relay: Option<Relay>,
    pub id: HostId,
    pub key: SigningKey,
    pub life: u64,
    pub epoch: u64,
    pub settings: Settings,
    pub network: Network,
    pub notes: Vec<Note>,
    pub stopped: Option<(Moment, StopReason)>,
    pub stored: Vec<Stored>,
    /// How far its monotonic clock is ahead of the world's: each process counts from its own start.
    pub ahead: Duration,
    /// Whether its process stands still; what happens meanwhile waits.
    pub frozen: bool,
    pub(super) waiting: Vec<Input>,
}

impl Host {
    /// Its machine, unless it is dead or frozen.
    pub fn running(&self) -> Option<&Relay> {
        self.relay.as_ref().filter(|_| !self.frozen)
    }

    /// When its machine wants to be called, on the world's clock.
    pub(super) fn next_timeout(&self) -> Option<Moment> {
        let at = self.running()?.next_timeout()?;
        Some(at.before(self.ahead))
    }

    /// How many notes satisfy a condition.
    pub fn count(&self, which: impl Fn(&Note) -> bool) -> usize {
        self.notes.iter().filter(|note| which(note)).count()
    }
}

/// The address of a host.
pub fn address(place: Place) -> SocketAddr {
    let [high, low] = u16::try_from(place).unwrap().to_be_bytes();
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(203, high, low, 1)), 47_474)
}

impl World {
    /// Adds a host of the network with this name, which learns the addresses of all others.
    pub fn add_host(&mut self, network: &str) -> Place {
        self.add_host_with(network, |_| {})
    }

    /// Adds a host with settings of its own.
    pub fn add_host_with(&mut self, network: &str, set: impl FnOnce(&mut Settings)) -> Place {
        let network = Network::new(&Genesis::open(network).unwrap());
        let place = self.hosts.len();
        let mut secret = [self.seed; 32];
        secret[..8].copy_from_slice(&(place as u64 + 1).to_be_bytes());
        let key = SigningKey::from_bytes(&secret);
        let mut settings = Settings {
            addresses: vec![address(place)],
            gateways: vec![format!("ws://host{place}.example/v1")],
            dht: false,
            register: false,
            ..Settings::default()
        };
        set(&mut settings);
        self.hosts.push(Host {
            relay: None,
            id: HostId::new(key.verifying_key().to_bytes()),
            key,
            life: 0,
            epoch: 1_000,
            settings,
            network,
            notes: Vec::new(),
            stopped: None,
            stored: Vec::new(),
            ahead: Duration::ZERO,
            frozen: false,
            waiting: Vec::new(),
        });
        self.received_bytes.push(0);
        self.start(place);
        place
    }

    /// Starts a host, for the first time or again: the same key, a higher epoch, and what it stored.
    pub fn start(&mut self, place: Place) {
        // What an operator names is tried for ever; what is known from before was reachable then.
        let named = |other: &Place| self.hints == HintSource::Static || !self.cut.contains(&(place, *other));
        let others = (0..self.hosts.len()).filter(|other| *other != place).filter(named);
        let hints: Vec<Hint> = others.map(|other| Hint { address: super::address(other), host: None }).collect();
        let host = &mut self.hosts[place];
        host.life += 1;
        host.epoch += 1;
        host.stopped = None;
        let mut seed = [self.seed; 32];
        seed[..8].copy_from_slice(&(place as u64).to_be_bytes());
        seed[8..16].copy_from_slice(&host.life.to_be_bytes());
        let stored = |which: fn(&Stored) -> bool| host.stored.iter().rev().find(move |stored| which(stored)).cloned();
        let marks = match stored(|stored| matches!(stored, Stored::Marks(_))) {
            Some(Stored::Marks(marks)) => marks,
            _ => Vec::new(),
        };
        let cache = match stored(|stored| matches!(stored, Stored::Hints(_))) {
            Some(Stored::Hints(cache)) => cache,
            _ => Vec::new(),
        };
        let revoked = match stored(|stored| matches!(stored, Stored::Revocations(_))) {
            Some(Stored::Revocations(revoked)) => revoked,
            _ => Vec::new(),
        };
        let setup = Setup {
            network: host.network.clone(),
            identity: host.key.clone(),
            sealing: SealingKey::new(seed),
            seed,
            epoch: host.epoch,
            cache,
            unix: Duration::ZERO,
            marks,
            settings: host.settings.clone(),
        };
        let mut out = Outbox::default();
        host.relay = Some(Relay::new(setup, self.now + host.ahead, &mut out));
        self.carry_out(place, out);
        for heard in [true, false] {
            let of_kind = revoked.iter().filter(|(_, kept)| *kept == heard).map(|(revocation, _)| *revocation);
            self.input(place, Input::RevocationsFound { revocations: of_kind.collect(), heard });
        }
        self.input(place, Input::HintsFound { source: self.hints, hints });
    }

    /// The DHT answers a host after a second.
    pub(super) fn look_up(&mut self, place: Place) {
        let life = self.hosts[place].life;
        let hints = self.dht.iter().map(|named| Hint { address: address(*named), host: None }).collect();
        for input in [Input::HintsFound { source: HintSource::Dht, hints }, Input::LookUpEnded { outcome: Ok(()) }] {
            self.later(Duration::from_secs(1), Happening::Input(place, life, input));
        }
    }

    /// Kills a host: nothing is said, its links go silent and are given up after 7 s, its edges' sockets break.
    pub fn kill(&mut self, place: Place) {
        self.hosts[place].relay = None;
        self.hosts[place].life += 1;
        self.abandon_links(place);
        for edge in self.edges.iter_mut().filter(|edge| edge.place == place) {
            edge.open = false;
        }
        self.probes.remove(&place);
    }

    /// The operator asks a host to end, and it ends.
    pub fn shut_down(&mut self, place: Place) {
        self.input(place, Input::ShutdownAsked);
        assert!(self.hosts[place].stopped.is_some(), "it says when it is ready to end");
    }

    /// A process stands still: what happens to it waits.
    pub fn freeze(&mut self, place: Place) {
        self.hosts[place].frozen = true;
    }

    /// It goes on, and takes first its timers and then what has waited; or the other way round.
    pub fn thaw(&mut self, place: Place, timers_first: bool) {
        self.hosts[place].frozen = false;
        let waiting = std::mem::take(&mut self.hosts[place].waiting);
        if timers_first {
            self.input(place, Input::Woken);
        }
        waiting.into_iter().for_each(|input| self.input(place, input));
    }

    /// Hosts that run.
    pub fn alive(&self) -> Vec<Place> {
        (0..self.hosts.len()).filter(|place| self.hosts[*place].running().is_some()).collect()
    }

    /// What `place` shows of `other`.
    pub fn seen(&self, place: Place, other: Place) -> Option<HostView> {
        let (relay, other) = (self.hosts[place].running()?, self.hosts[other].id);
        relay.view(self.now + self.hosts[place].ahead).hosts.into_iter().find(|view| view.host == other)
    }

    /// Whether all these hosts show each other's newest roster, digest for digest.
    pub fn agree(&self, places: &[Place]) -> bool {
        let digests = |place: Place| -> BTreeMap<HostId, _> {
            let relay = self.hosts[place].running().expect("it runs");
            places.iter().map(|of| self.hosts[*of].id).map(|host| (host, relay.digest(host))).collect()
        };
        let live =
            |place: Place| places.iter().all(|of| place == *of || self.seen(place, *of).is_some_and(|seen| seen.live));
        let Some(first) = places.first() else { return true };
        let expected = digests(*first);
        places.iter().all(|place| live(*place) && digests(*place) == expected)
            && places.iter().all(|place| expected[&self.hosts[*place].id].is_some())
    }

    /// Waits until hosts agree.
    pub fn settle(&mut self, places: &[Place], limit: Duration) -> Duration {
        self.until(limit, "the rosters are equal everywhere", |world| world.agree(places))
    }

    /// Links of a host to another one, as its operator sees them.
    pub fn admitted(&self, place: Place, other: Place) -> usize {
        let view = self.hosts[place].running().expect("it runs").view(self.now + self.hosts[place].ahead);
        view.links.iter().filter(|link| link.host == self.hosts[other].id).count()
    }
}
