//! Hosts: started, killed, frozen, started again; each with clocks of its own.

use aldis::relay::io::{Hint, Input, Moment, Outbox, StopReason, Stored};
use aldis::relay::{Relay, Settings, Setup};
use aldis_wire::id::HostId;
use aldis_wire::seal::SealingKey;
use ed25519_dalek::SigningKey;
use std::time::Duration;

use crate::chance::Chance;
use crate::map::{Place, address};
use crate::meter;
use crate::queue::{At, SEC};
use crate::scenario::Scenario;
use crate::trace::Arrow;
use crate::world::{Happening, World, duration};

/// The time of day at which every world begins, by clocks that are right.
const UNIX_AT_START: u64 = 1_900_000_000;

/// What a host keeps on its disk.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    epoch: u64,
    hints: Vec<Hint>,
    marks: Vec<(HostId, u64, u64)>,
}

/// A host.
pub struct Host {
    /// Its machine, unless it is dead.
    pub relay: Option<Relay>,
    /// Who it is.
    pub id: HostId,
    /// Counts its starts.
    pub life: u32,
    /// When it began, or ended.
    pub since: At,
    /// What it is called and its version, as its record says.
    pub software: String,
    /// Whether it runs a newer minor version.
    pub(crate) newer: bool,
    /// Since when its process stands still.
    pub frozen: Option<At>,
    /// Ends of connections that it reads, closed ones that still bring something included.
    pub(crate) ends: Vec<crate::wires::EndId>,
    /// Handshakes that nobody has answered, where there are routers.
    pub(crate) tries: std::collections::BTreeSet<crate::dials::Errand>,
    /// What happened to it while it stood still.
    pub(crate) waiting: Vec<Input>,
    /// When it is called next.
    pub(crate) wake: At,
    /// Its DHT look-ups and so on.
    pub(crate) chance: Chance,
    /// How far its monotonic clock is ahead: each process counts from its own start.
    pub(crate) ahead: At,
    /// How far its time of day is off, in seconds.
    pub(crate) off_by: i64,
    pub(crate) disk: Disk,
    pub(crate) key: SigningKey,
}

impl Host {
    pub(crate) fn new(scenario: &Scenario, place: Place) -> Self {
        let mut chance = Chance::new(scenario.seed, 1_000 + place as u64);
        let key = SigningKey::from_bytes(&chance.bytes());
        Self {
            relay: None,
            id: HostId::new(key.verifying_key().to_bytes()),
            life: 0,
            since: 0,
            software: format!("aldis {}", env!("CARGO_PKG_VERSION")),
            newer: false,
            frozen: None,
            ends: Vec::new(),
            tries: Default::default(),
            waiting: Vec::new(),
            wake: At::MAX,
            ahead: chance.below(1_000 * SEC),
            chance,
            off_by: 0,
            disk: Disk::default(),
            key,
        }
    }

    /// Its machine, unless it is dead or stands still.
    #[must_use]
    pub fn running(&self) -> Option<&Relay> {
        self.relay.as_ref().filter(|_| self.frozen.is_none())
    }

    /// What its monotonic clock shows.
    #[must_use]
    pub fn clock(&self, now: At) -> Moment {
        Moment::new(duration(now + self.ahead))
    }

    /// When its monotonic clock will show this.
    pub(crate) fn world_time(&self, due: Duration) -> At {
        (due.as_nanos() as u64).saturating_sub(self.ahead)
    }

    /// These stand on its disk as hosts with which it was linked.
    pub(crate) fn knows(&mut self, hints: Vec<Hint>) {
        self.disk.hints = hints;
    }

    pub(crate) fn store(&mut self, stored: Stored) {
        match stored {
            Stored::Epoch(epoch) => self.disk.epoch = epoch,
            Stored::Hints(hints) => self.disk.hints = hints,
            Stored::Marks(marks) => self.disk.marks = marks,
            // Nobody revokes an identity here.
            Stored::Revocations(_) => {}
        }
    }
}

impl World {
    /// Starts a host, for the first time or again, with what is on its disk.
    pub(crate) fn start(&mut self, place: Place) {
        let now = self.now;
        let host = &mut self.hosts[place];
        if host.relay.is_some() {
            return;
        }
        host.life += 1;
        host.since = now;
        let unix = (UNIX_AT_START + now / SEC).saturating_add_signed(host.off_by);
        host.disk.epoch = 1 + host.disk.epoch.max(unix);
        let behind_router = self.nats.kind(place).is_some();
        let setup = Setup {
            network: self.network.clone(),
            identity: host.key.clone(),
            sealing: SealingKey::new(host.chance.bytes()),
            seed: host.chance.bytes(),
            epoch: host.disk.epoch,
            cache: host.disk.hints.clone(),
            marks: host.disk.marks.clone(),
            unix: Duration::from_secs(unix).saturating_sub(host.clock(now).time()),
            settings: Settings {
                addresses: if behind_router { Vec::new() } else { vec![address(place)] },
                port: self.nats.inside(place).port(),
                gateways: vec![format!("wss://host{place}.example/v1")],
                software: host.software.clone(),
                ..Settings::default()
            },
            #[cfg(feature = "planted")]
            planted: self.scenario.planted,
        };
        let clock = host.clock(now);
        let mut out = Outbox::default();
        let relay = self.meter.time(meter::START, || Relay::new(setup, clock, &mut out));
        self.hosts[place].relay = Some(relay);
        self.trace.mix(now ^ place as u64);
        self.trace.push(now, Arrow::Fault(place, "starts"));
        self.recovers(place);
        self.finish(place, clock, out);
        if !self.nats.is_empty() {
            self.dht_sees(place);
            let local = vec![self.nats.inside(place)];
            self.input(place, Input::PlacesFound { local, mapped: Vec::new(), stun: Vec::new() });
        }
        self.host_began(place);
    }

    /// Kills a host: nothing is said, its links go silent, its edges' sockets break.
    pub(crate) fn kill(&mut self, place: Place) {
        if self.hosts[place].relay.is_none() {
            return;
        }
        self.trace.push(self.now, Arrow::Fault(place, "is killed"));
        self.abandon_links(place);
        self.end_life(place);
    }

    /// The process is gone, whatever the reason.
    fn end_life(&mut self, place: Place) {
        let host = &mut self.hosts[place];
        host.relay = None;
        host.since = self.now;
        host.frozen = None;
        host.life += 1;
        host.wake = At::MAX;
        host.tries.clear();
        host.waiting.clear();
        self.host_ended(place);
    }

    /// The machine says that the process may end.
    pub(crate) fn stopped(&mut self, place: Place, reason: StopReason) {
        self.trace.push(self.now, Arrow::Fault(place, "stops"));
        // A liar signs what its machine never said.
        if reason == StopReason::KeyInUse && !self.is_liar(place) {
            self.violated(&[place], "it stopped because another host runs with its key, and there is none".to_owned());
        }
        // The driver lets the streams finish for at most 2 s.
        let life = self.hosts[place].life;
        self.later(SEC, Happening::End(place, life));
    }

    /// The process is at its end.
    pub(crate) fn end(&mut self, place: Place, life: u32) {
        if self.hosts[place].life == life && self.hosts[place].relay.is_some() {
            self.abandon_links(place);
            self.end_life(place);
        }
    }
}
