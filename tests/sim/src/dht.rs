//! The DHT, as a script: it knows who has registered, and answers well, slowly, with the addresses of hosts that are
//! gone, with a stranger's inventions, or not at all.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use aldis::relay::io::{Hint, HintSource, Input};

use crate::map::Place;
use crate::queue::{At, MS, SEC};
use crate::world::{Happening, World};

/// Addresses that one look-up brings.
const FOUND_MAX: usize = 48;

/// How the DHT behaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DhtMood {
    /// An answer within a second or three.
    #[default]
    Well,
    /// An answer after half a minute.
    Slow,
    /// Two of three addresses are of hosts that are not there.
    Stale,
    /// Five inventions of a stranger for each host.
    Poisoned,
    /// No answer.
    Absent,
}

/// Who has registered.
#[derive(Debug, Default)]
pub(crate) struct Dht {
    pub(crate) mood: DhtMood,
    registered: Vec<SocketAddr>,
    known: BTreeSet<SocketAddr>,
}

impl Dht {
    /// Somebody has registered, at this address.
    pub(crate) fn knows(&mut self, here: SocketAddr) {
        if self.known.insert(here) {
            self.registered.push(here);
        }
    }
}

/// Where the nodes of the DHT are.
const NODES: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(9, 9, 9, 9)), 6_881);

impl World {
    fn dht_takes(&mut self) -> At {
        match self.dht.mood {
            DhtMood::Slow => 20 * SEC + self.chance.below(20 * SEC),
            DhtMood::Absent => 10 * SEC,
            _ => 500 * MS + self.chance.below(2 * SEC),
        }
    }

    fn dht_tells(&mut self, place: Place, after: At, input: Input) {
        let life = self.hosts[place].life;
        self.later(after, Happening::Input(place, life, Box::new(input)));
    }

    /// A host asks who is there.
    pub(crate) fn look_up(&mut self, place: Place) {
        let takes = self.dht_takes();
        if self.dht.mood == DhtMood::Absent {
            return self.dht_tells(place, takes, Input::LookUpEnded { outcome: Err("no answer".to_owned()) });
        }
        let mut hints = Vec::new();
        for _ in 0..FOUND_MAX {
            let Some(found) = self.pick_registered() else { break };
            hints.push(Hint { address: found, host: None });
            let inventions = match self.dht.mood {
                DhtMood::Stale => 2,
                DhtMood::Poisoned => 5,
                _ => 0,
            };
            for _ in 0..inventions {
                let [a, b, c, ..] = self.chance.number().to_be_bytes();
                let ip = IpAddr::V4(Ipv4Addr::new(90 + a % 30, b, c, 1));
                hints.push(Hint { address: SocketAddr::new(ip, 47_474), host: None });
            }
        }
        self.dht_tells(place, takes, Input::HintsFound { source: HintSource::Dht, hints });
        self.dht_tells(place, takes, Input::LookUpEnded { outcome: Ok(()) });
        self.dht_sees(place);
    }

    /// Where its nodes see a host, if it uses the port of links for the DHT.
    pub(crate) fn dht_sees(&mut self, place: Place) {
        if self.scenario.shared && self.dht.mood != DhtMood::Absent {
            let (address, takes) = (self.nats.leaves((place, 0), NODES), self.dht_takes());
            self.dht_tells(place, takes, Input::DhtSees { address, shared: true });
        }
    }

    fn pick_registered(&mut self) -> Option<SocketAddr> {
        let count = self.dht.registered.len();
        (count > 0).then(|| self.dht.registered[self.chance.index(count)])
    }

    /// A host says that it is there, at this port or at the one that is seen.
    pub(crate) fn register(&mut self, place: Place, port: Option<u16>) {
        let seen = self.nats.leaves((place, 0), NODES);
        let here = SocketAddr::new(seen.ip(), port.unwrap_or(seen.port()));
        let takes = self.dht_takes();
        let outcome = if self.dht.mood == DhtMood::Absent { Err("no answer".to_owned()) } else { Ok(()) };
        if outcome.is_ok() {
            self.dht.knows(here);
        }
        self.dht_tells(place, takes, Input::RegistrationEnded { outcome });
    }
}
