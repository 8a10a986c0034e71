//! Scripts in virtual time: what happened, and the dials and questions that followed.

mod sources;

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};

use aldis_wire::network::{Genesis, Network};
use aldis_wire::seal::SealingKey;
use ed25519_dalek::SigningKey;

use super::super::limits::{
    BACK_OFF_MAX, DIAL_AGAIN, DIALS_MAX, HINT_KEPT, HINTS_MAX, HINTS_PER_LOOK_UP_MAX, KNOWN_FOR, KNOWN_MAX,
    LOOK_UP_INTERVAL, LOOK_UP_INTERVAL_LOST, RECORD_AGAIN, REGISTER_INTERVAL, WANTED_AFTER, WANTED_MAX,
};
use super::super::setup::Settings;
use super::*;

const OWN: HostId = HostId::new([0xee; 32]);
/// How long the driver tries.
const DIAL_DEADLINE: Duration = Duration::from_secs(5);

struct World {
    discovery: Discovery,
    now: Moment,
    linked: BTreeSet<HostId>,
    known_hosts: usize,
    /// Hosts that are heard by way of others.
    heard: BTreeSet<HostId>,
    registration: Registration,
    /// Dials that will run into their deadline.
    under_way: Vec<(Moment, DialKey)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Dialled {
    dial: DialKey,
    address: SocketAddr,
    host: Option<HostId>,
}

impl World {
    fn new(settings: Settings, cache: Vec<Hint>) -> Self {
        let registration = if settings.register { Registration::Port(0) } else { Registration::Nothing };
        let setup = Setup {
            network: Network::new(&Genesis::open("test").unwrap()),
            identity: SigningKey::from_bytes(&[1; 32]),
            sealing: SealingKey::new([2; 32]),
            seed: [3; 32],
            epoch: 1,
            cache,
            unix: Duration::ZERO,
            marks: Vec::new(),
            settings,
        };
        let discovery = Discovery::new(&setup, OWN, Moment::default());
        Self {
            discovery,
            now: Moment::default(),
            linked: BTreeSet::new(),
            known_hosts: 0,
            heard: BTreeSet::new(),
            registration,
            under_way: Vec::new(),
        }
    }

    fn poll(&mut self) -> Vec<Output> {
        let mut out = Outbox::default();
        let linked = &self.linked;
        let (count, known_hosts) = (linked.len(), self.known_hosts);
        let registration = self.registration;
        let links = LinksNow {
            linked: |host| linked.contains(&host),
            crowded: |_| false,
            count,
            chosen: count,
            known_hosts,
            registration,
        };
        self.discovery.poll(self.now, &links, &mut out);
        assert!(self.discovery.next_timeout() > Some(self.now), "a poll leaves nothing due");
        out.outputs
    }

    fn dials(&mut self) -> Vec<Dialled> {
        let dialled = |output| match output {
            Output::Dial { dial, address, host } => Some(Dialled { dial, address, host }),
            _ => None,
        };
        self.poll().into_iter().filter_map(dialled).collect()
    }

    fn addresses(&mut self) -> Vec<SocketAddr> {
        self.dials().into_iter().map(|dialled| dialled.address).collect()
    }

    /// Lets time pass in which nothing happens, but for what is due.
    fn wait(&mut self, time: Duration) -> Vec<Dialled> {
        let end = self.now + time;
        let mut dials = Vec::new();
        while let Some(next) = self.discovery.next_timeout().filter(|next| *next <= end) {
            self.now = self.now.max(next);
            dials.extend(self.dials());
        }
        self.now = end;
        dials.extend(self.dials());
        dials
    }

    fn found(&mut self, source: HintSource, hints: &[Hint]) {
        self.discovery.hints_found(self.now, source, hints.to_vec());
    }

    fn fail(&mut self, dial: DialKey) {
        let heard = |host| self.heard.contains(&host);
        let went = self.discovery.dial_failed(self.now, dial, &DialFailure::TimedOut, heard);
        assert!(went.is_some());
    }

    fn link(&mut self, host: HostId, address: SocketAddr) {
        self.linked.insert(host);
        self.discovery.link_admitted(self.now, host, address);
    }

    fn unlink(&mut self, host: HostId, address: SocketAddr) {
        self.linked.remove(&host);
        self.discovery.link_lost(self.now, host, address, true);
    }

    /// Lets every dial run into its deadline until `time` has passed; gives all dials with their moments.
    fn dial_in_vain(&mut self, time: Duration) -> Vec<(Moment, SocketAddr)> {
        let end = self.now + time;
        let mut dialled = Vec::new();
        while self.now < end {
            let now = self.now;
            let over: Vec<_> = self.under_way.iter().copied().filter(|(deadline, _)| *deadline <= now).collect();
            self.under_way.retain(|(deadline, _)| *deadline > now);
            over.into_iter().for_each(|(_, dial)| self.fail(dial));
            for Dialled { dial, address, .. } in self.dials() {
                self.under_way.push((now + DIAL_DEADLINE, dial));
                dialled.push((now, address));
            }
            let deadlines = self.under_way.iter().map(|(deadline, _)| *deadline);
            self.now = deadlines.chain(self.discovery.next_timeout()).min().unwrap_or(end).min(end);
        }
        dialled
    }
}

fn quiet() -> Settings {
    Settings { dht: false, register: false, ..Settings::default() }
}

fn host(number: u8) -> HostId {
    HostId::new([number; 32])
}

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn hint(text: &str) -> Hint {
    Hint { address: at(text), host: None }
}

fn hint_of(number: u8, text: &str) -> Hint {
    Hint { address: at(text), host: Some(host(number)) }
}

/// A global address in a /24 of its own; the numbers stay below 2^16.
fn elsewhere(number: u32) -> SocketAddr {
    let [_, _, a, b] = number.to_be_bytes();
    SocketAddr::from((Ipv4Addr::new(45, a, b, 1), 4_000))
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

// ---- What may be dialled at all ---------------------------------------------------------------------------------

#[test]
fn ten_thousand_poisoned_addresses_cause_three_dials_at_a_time_and_none_into_a_private_network() {
    let mut world = World::new(Settings { dht: true, ..Settings::default() }, Vec::new());
    let mut poison = Vec::new();
    for number in 0..2_000_u32 {
        let [_, _, a, b] = number.to_be_bytes();
        let inside = [
            SocketAddr::from((Ipv4Addr::new(10, a, b, 1), 4_000)),
            SocketAddr::from((Ipv4Addr::new(127, a, b, 1).to_ipv6_mapped(), 4_000)),
            SocketAddr::from((Ipv4Addr::new(203, 0, 113, b), 4_000)),
            SocketAddr::from((Ipv4Addr::new(45, a, b, 9), 22)),
        ];
        poison.extend(inside.map(|address| Hint { address, host: None }));
        poison.push(Hint { address: elsewhere(number), host: None });
    }
    assert_eq!(poison.len(), 10_000);
    world.found(HintSource::Dht, &poison);
    assert_eq!(world.discovery.places.len(), HINTS_PER_LOOK_UP_MAX);

    let dialled = world.dial_in_vain(seconds(60));
    assert!(dialled.iter().all(|(_, address)| scope(*address) == Scope::Global));
    assert_eq!(dialled.len(), 36, "three at a time, five seconds each, for a minute");
    for (moment, _) in &dialled {
        let together = dialled.iter().filter(|(start, _)| start <= moment && *moment < *start + DIAL_DEADLINE);
        assert!(together.count() <= DIALS_MAX);
    }
}

#[test]
fn thousands_of_ports_of_one_victim_cause_one_dial_a_minute() {
    let mut world = World::new(quiet(), Vec::new());
    for port in 1_024..2_524_u16 {
        world.discovery.asking = Asking::new(false);
        world.found(HintSource::Dht, &[Hint { address: SocketAddr::from(([45, 1, 2, 3], port)), host: None }]);
        world.found(HintSource::Dht, &[Hint { address: SocketAddr::from(([45, 1, 2, 200], port)), host: None }]);
    }
    assert_eq!(world.discovery.places.len(), HINTS_MAX);
    let dialled = world.dial_in_vain(seconds(600));
    assert_eq!(dialled.len(), 10);
    for pair in dialled.windows(2) {
        assert!(pair[1].0.since(pair[0].0) >= DIAL_AGAIN);
    }
}

#[test]
fn a_48_of_ipv6_counts_as_one_neighbourhood() {
    let mut world = World::new(quiet(), Vec::new());
    let flood: Vec<_> = (0..200_u16)
        .map(|number| Ipv6Addr::new(0x2606, 0x4700, 0x10, number, 0, 0, 0, 1))
        .map(|ip| Hint { address: SocketAddr::from((ip, 4_000)), host: None })
        .collect();
    world.found(HintSource::Dht, &flood);
    assert_eq!(world.dial_in_vain(seconds(119)).len(), 2);
}

#[test]
fn our_own_address_is_not_dialled_however_it_is_written() {
    let settings = Settings { addresses: vec![at("45.1.2.3:4000")], ..quiet() };
    let mut world = World::new(settings, vec![hint("45.1.2.3:4000")]);
    for text in ["45.1.2.3:4000", "[::ffff:45.1.2.3]:4000", "[64:ff9b::45.1.2.3]:4000", "[2002:2d01:203::1]:4000"] {
        world.found(HintSource::Dht, &[hint(text)]);
        world.found(HintSource::Record, &[hint_of(1, text)]);
    }
    world.found(HintSource::Record, &[Hint { address: at("45.9.9.9:4000"), host: Some(OWN) }]);
    assert_eq!(world.wait(seconds(100)), []);
}

#[test]
fn a_wrapped_address_is_dialled_as_what_it_is_and_once() {
    let mut world = World::new(quiet(), Vec::new());
    world.found(HintSource::Dht, &[hint("[::ffff:45.1.2.3]:4000"), hint("45.1.2.3:4000")]);
    assert_eq!(world.addresses(), [at("45.1.2.3:4000")]);
    assert_eq!(world.wait(DIAL_DEADLINE), []);
}

#[test]
fn a_private_network_dials_its_own_addresses_but_no_low_ports_and_no_multicast() {
    let texts = ["127.0.0.1:4000", "10.0.0.1:4000", "[::1]:4000", "127.0.0.1:80", "224.0.0.1:4000", "0.0.0.0:4000"];
    let mut world = World::new(Settings { private_addresses: true, ..quiet() }, Vec::new());
    world.found(HintSource::Dht, &texts.map(hint));
    let mut dialled = world.addresses();
    dialled.sort_unstable();
    assert_eq!(dialled, [at("10.0.0.1:4000"), at("127.0.0.1:4000"), at("[::1]:4000")]);
}

#[test]
fn hosts_that_share_a_private_address_need_not_wait_a_minute_for_each_other() {
    let mut world = World::new(Settings { private_addresses: true, ..quiet() }, Vec::new());
    world.found(HintSource::Dht, &["127.0.0.1:4001", "127.0.0.1:4002", "127.0.0.1:4003"].map(hint));
    let dials = world.dials();
    assert_eq!(dials.len(), 3);
    dials.iter().for_each(|dialled| world.fail(dialled.dial));
    assert_eq!(world.wait(BACK_OFF_MIN).len(), 3);
}

#[test]
fn what_the_operator_names_is_dialled_whatever_its_range_and_must_be_that_host() {
    let settings = Settings { static_peers: vec![hint_of(1, "192.168.0.9:443"), hint("127.0.0.1:4000")], ..quiet() };
    let mut world = World::new(settings, Vec::new());
    let mut dials: Vec<_> = world.dials().into_iter().map(|dialled| (dialled.address, dialled.host)).collect();
    dials.sort_unstable();
    assert_eq!(dials, [(at("127.0.0.1:4000"), None), (at("192.168.0.9:443"), Some(host(1)))]);
}

#[test]
fn strangers_hints_cannot_hold_up_what_the_operator_names_or_where_we_were_linked() {
    let mut world = World::new(quiet(), Vec::new());
    world.link(host(1), at("45.250.1.1:4000"));
    world.found(HintSource::Dht, &(0..200).map(|n| Hint { address: elsewhere(n), host: None }).collect::<Vec<_>>());
    assert_eq!(world.dials().len(), DIALS_MAX);
    world.found(HintSource::Static, &[hint("45.251.1.1:4000")]);
    assert_eq!(world.addresses(), [at("45.251.1.1:4000")]);
    world.unlink(host(1), at("45.250.1.1:4000"));
    assert_eq!(world.wait(BACK_OFF_MIN).len(), 1);
}

// ---- When to dial again -----------------------------------------------------------------------------------------

#[test]
fn a_host_that_the_operator_names_is_tried_for_ever_and_at_least_every_five_seconds() {
    let mut world = World::new(Settings { static_peers: vec![hint("45.1.2.3:4000")], ..quiet() }, Vec::new());
    let dialled = world.dial_in_vain(KNOWN_FOR * 2);
    for pair in dialled.windows(2) {
        assert!(pair[1].0.since(pair[0].0) <= DIAL_DEADLINE + BACK_OFF_STATIC_MAX);
    }
    assert!(dialled.last().unwrap().0 > Moment::new(KNOWN_FOR * 2 - seconds(10)));
}

#[test]
fn a_strangers_hint_is_tried_ever_more_rarely_and_then_forgotten() {
    let mut world = World::new(quiet(), Vec::new());
    world.found(HintSource::Dht, &[hint("45.1.2.3:4000")]);
    let dialled = world.dial_in_vain(HINT_KEPT * 2);
    let pauses: Vec<_> = dialled.windows(2).map(|pair| pair[1].0.since(pair[0].0)).collect();
    assert!(pauses.iter().all(|pause| *pause >= DIAL_AGAIN && *pause <= DIAL_DEADLINE + BACK_OFF_MAX), "{pauses:?}");
    assert!(pauses.last() > pauses.first());
    assert!(dialled.last().unwrap().0 <= Moment::new(HINT_KEPT));
    assert_eq!(world.discovery.places.len(), 0);
}

#[test]
fn pauses_are_spread_so_that_hosts_do_not_dial_in_step() {
    let mut world = World::new(quiet(), Vec::new());
    for number in 0..20 {
        world.link(host(number), elsewhere(u32::from(number)));
    }
    for number in 0..20 {
        world.unlink(host(number), elsewhere(u32::from(number)));
    }
    let dialled = world.dial_in_vain(BACK_OFF_MIN);
    let moments: BTreeSet<_> = dialled.iter().map(|(moment, _)| *moment).collect();
    assert_eq!((dialled.len(), moments.len()), (20, 20));
}

#[test]
fn a_host_of_another_network_is_left_alone_for_ten_minutes() {
    for source in [HintSource::Static, HintSource::Dht] {
        let mut world = World::new(quiet(), Vec::new());
        world.found(source, &[hint("45.1.2.3:4000")]);
        let dials = world.dials();
        world.discovery.dial_failed(world.now, dials[0].dial, &DialFailure::OtherNetwork, |_| false);
        assert_eq!(world.wait(OTHER_NETWORK_PAUSE - seconds(1)), []);
        assert_eq!(world.wait(seconds(1)).len(), 1);
    }
}

#[test]
fn a_connection_that_never_becomes_a_link_counts_as_a_failure() {
    let mut world = World::new(Settings { static_peers: vec![hint("45.1.2.3:4000")], ..quiet() }, Vec::new());
    for _ in 0..10 {
        let dials = world.wait(BACK_OFF_STATIC_MAX);
        assert_eq!(dials.len(), 1);
        world.discovery.dial_succeeded(world.now, dials[0].dial, host(1));
    }
    let dials = world.wait(BACK_OFF_STATIC_MAX / 2 - Duration::from_millis(1));
    assert_eq!(dials, [], "the pause has grown");
}

// ---- Where hosts turn out to be ---------------------------------------------------------------------------------

#[test]
fn an_address_that_leads_to_ourselves_is_not_dialled_again() {
    for source in [HintSource::Static, HintSource::Dht] {
        let mut world = World::new(quiet(), Vec::new());
        world.found(source, &[hint("45.1.2.3:4000")]);
        let dials = world.dials();
        world.discovery.dial_succeeded(world.now, dials[0].dial, OWN);
        for _ in 0..10 {
            world.found(source, &[hint("45.1.2.3:4000")]);
            assert_eq!(world.wait(HINT_KEPT / 2), []);
        }
    }
}

#[test]
fn another_address_of_a_linked_host_is_remembered_and_dialled_only_when_the_link_is_gone() {
    let mut world = World::new(quiet(), Vec::new());
    world.link(host(1), at("45.1.2.3:4000"));
    world.found(HintSource::Dht, &[hint("46.1.2.3:4000")]);
    let dials = world.dials();
    world.discovery.dial_succeeded(world.now, dials[0].dial, host(1));
    world.found(HintSource::Dht, &[hint("46.1.2.3:4000")]);
    assert_eq!(world.wait(seconds(300)), []);
    world.unlink(host(1), at("45.1.2.3:4000"));
    let mut addresses: Vec<_> = world.wait(seconds(1)).into_iter().map(|dialled| dialled.address).collect();
    addresses.sort_unstable();
    assert_eq!(addresses, [at("45.1.2.3:4000"), at("46.1.2.3:4000")]);
}

#[test]
fn a_lost_host_is_dialled_within_a_second_and_then_every_five_for_an_hour() {
    let mut world = World::new(quiet(), Vec::new());
    world.link(host(1), at("45.1.2.3:4000"));
    assert_eq!(world.wait(seconds(100)), []);
    world.unlink(host(1), at("45.1.2.3:4000"));
    let lost = world.now;
    let dialled = world.dial_in_vain(KNOWN_FOR * 2);
    assert!(dialled[0].0.since(lost) <= BACK_OFF_MIN);
    let pauses: Vec<_> = dialled.windows(2).map(|pair| (pair[1].0.since(lost), pair[1].0.since(pair[0].0))).collect();
    for (age, pause) in pauses {
        assert!(age > KNOWN_FOR || pause <= DIAL_DEADLINE + BACK_OFF_STATIC_MAX, "{pause:?} after {age:?}");
        assert!(age < KNOWN_FOR + BACK_OFF_MAX || pause >= DIAL_AGAIN, "{pause:?} after {age:?}");
    }
}

#[test]
fn the_last_address_of_a_host_that_is_heard_by_way_of_others_is_left_alone_more_and_more() {
    let mut world = World::new(quiet(), Vec::new());
    let address = at("45.1.2.3:4000");
    world.link(host(1), address);
    world.unlink(host(1), address);
    // A partition: nobody hears it, and its dials do not count against it later.
    world.dial_in_vain(seconds(300));
    world.heard.insert(host(1));
    let dialled = world.dial_in_vain(seconds(2_400));
    assert!((8..16).contains(&dialled.len()), "{}", dialled.len());
    assert!(dialled[4].0.since(dialled[0].0) < seconds(60), "the first pauses are short");
    // It has moved with us, or is gone for good: everything begins anew.
    world.discovery.try_anew(world.now);
    let again = world.dial_in_vain(seconds(20));
    assert!(again.len() >= 3, "{}", again.len());
    world.heard.clear();
    let window = world.dial_in_vain(seconds(60));
    assert!(window.len() >= 5, "{}", window.len());
}

#[test]
fn a_healed_partition_of_a_full_mesh_is_noticed_on_every_link_within_ten_seconds() {
    let mut world = World::new(quiet(), Vec::new());
    for number in 0..31 {
        world.link(host(number), elsewhere(u32::from(number)));
    }
    world.known_hosts = 31;
    for number in 0..31 {
        world.unlink(host(number), elsewhere(u32::from(number)));
    }
    world.dial_in_vain(seconds(600));
    let window = world.dial_in_vain(DIAL_DEADLINE + BACK_OFF_STATIC_MAX);
    let tried: BTreeSet<_> = window.into_iter().map(|(_, address)| address).collect();
    assert_eq!(tried.len(), 31);
}

#[test]
fn known_hosts_are_bounded_and_the_newest_stay() {
    let mut world = World::new(quiet(), Vec::new());
    for number in 0..600_u32 {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        world.link(HostId::new(bytes), elsewhere(number));
        world.now = world.now + seconds(1);
        world.unlink(HostId::new(bytes), elsewhere(number));
    }
    let known = world.discovery.places.iter().filter(|(_, place)| place.standing(world.now) == Standing::Known).count();
    assert_eq!(known, KNOWN_MAX);
    assert!(world.discovery.places.len() <= HINTS_MAX);
    let Some(Stored::Hints(cache)) = world.discovery.cache(world.now) else { panic!("the links changed") };
    assert_eq!(cache.len(), CACHE_MAX);
    assert_eq!(cache[0].address, elsewhere(599));
}

// ---- How many links ---------------------------------------------------------------------------------------------

#[test]
fn a_small_network_is_linked_to_everybody_and_a_large_one_to_a_dozen() {
    let hints: Vec<_> = (0..100).map(|number| Hint { address: elsewhere(number), host: None }).collect();
    for (known_hosts, wanted) in [(FULL_MESH_MAX, 100), (FULL_MESH_MAX + 1, LINKS_CHOSEN)] {
        let mut world = World::new(quiet(), Vec::new());
        world.known_hosts = known_hosts;
        world.found(HintSource::Dht, &hints);
        let mut number = 0;
        loop {
            let dials = world.dials();
            if dials.is_empty() {
                break;
            }
            for Dialled { dial, address, .. } in dials {
                number += 1;
                world.discovery.dial_succeeded(world.now, dial, host(number));
                world.link(host(number), address);
            }
        }
        assert_eq!(world.linked.len(), wanted);
    }
}

#[test]
fn a_wanted_host_is_dialled_although_there_are_links_enough() {
    let mut world = World::new(quiet(), Vec::new());
    world.known_hosts = 1_000;
    for number in 0..12 {
        world.link(host(number), elsewhere(u32::from(number)));
    }
    world.found(HintSource::Record, &[hint_of(100, "45.200.1.1:4000"), hint_of(101, "45.201.1.1:4000")]);
    assert_eq!(world.wait(seconds(60)), []);
    for _ in 1..WANTED_AFTER {
        world.discovery.want_link(world.now, host(101));
    }
    assert_eq!(world.addresses(), [], "a few frames are not worth a link");
    world.discovery.want_link(world.now, host(101));
    assert_eq!(world.addresses(), [at("45.201.1.1:4000")]);
    for number in 0..200 {
        world.discovery.want_link(world.now, host(number));
    }
    assert_eq!(world.discovery.wanted.len(), WANTED_MAX);
}

#[test]
fn what_the_operator_names_is_linked_although_there_are_links_enough() {
    let mut world = World::new(Settings { static_peers: vec![hint("45.250.1.1:4000")], ..quiet() }, Vec::new());
    world.known_hosts = 1_000;
    for number in 0..20 {
        world.link(host(number), elsewhere(u32::from(number)));
    }
    assert_eq!(world.addresses(), [at("45.250.1.1:4000")]);
}

// ---- Host records -----------------------------------------------------------------------------------------------

#[test]
fn three_addresses_of_a_record_are_dialled_once_in_ten_minutes() {
    let mut world = World::new(quiet(), Vec::new());
    let record: Vec<_> = (0..8).map(|number| Hint { address: elsewhere(number), host: Some(host(1)) }).collect();
    world.found(HintSource::Record, &record);
    let first = world.dial_in_vain(RECORD_AGAIN);
    let addresses: BTreeSet<_> = first.iter().map(|(_, address)| *address).collect();
    assert_eq!((first.len(), addresses.len()), (3, 3));
    assert!(first[0].0 <= Moment::new(RECORD_JITTER));
    assert!(first[1].0.since(first[0].0) >= DIAL_DEADLINE, "one address of a host after the other");
}

#[test]
fn a_record_that_changes_all_the_time_causes_no_more_dials() {
    let mut world = World::new(quiet(), Vec::new());
    let mut dialled = Vec::new();
    for number in 0..599 {
        world.found(HintSource::Record, &[Hint { address: elsewhere(number), host: Some(host(1)) }]);
        dialled.extend(world.dial_in_vain(seconds(1)));
    }
    assert_eq!(dialled.len(), 3);
    assert!(world.discovery.places.len() <= 3);
}

#[test]
fn a_record_naming_somebody_elses_address_does_not_keep_us_from_him() {
    let mut world = World::new(quiet(), Vec::new());
    world.link(host(66), at("45.66.1.1:4000"));
    world.found(HintSource::Record, &[hint_of(66, "45.1.2.3:4000")]);
    assert_eq!(world.wait(seconds(10)), [], "its host is linked");
    world.found(HintSource::Record, &[hint_of(1, "45.1.2.3:4000")]);
    let dials = world.wait(seconds(1));
    assert_eq!(dials.len(), 1);
    assert_eq!(dials[0].host, None, "whoever answers is welcome");
}

#[test]
fn the_record_of_a_linked_host_causes_no_dial() {
    let mut world = World::new(quiet(), Vec::new());
    world.link(host(1), at("45.1.2.3:4000"));
    world.found(HintSource::Record, &[hint_of(1, "45.1.2.3:4000"), hint_of(1, "46.1.2.3:4000")]);
    assert_eq!(world.wait(seconds(1_000)), []);
}

// ---- The cache --------------------------------------------------------------------------------------------------

#[test]
fn the_cache_is_given_when_it_changed_and_at_most_once_a_minute() {
    let mut world = World::new(quiet(), Vec::new());
    assert_eq!(world.discovery.cache(world.now), None);
    world.link(host(1), at("45.1.2.3:4000"));
    let first = Some(Stored::Hints(vec![hint_of(1, "45.1.2.3:4000")]));
    assert_eq!(world.discovery.cache(world.now), first);
    assert_eq!(world.discovery.cache(world.now), None);
    world.link(host(2), at("45.2.2.3:4000"));
    assert_eq!(world.discovery.cache(world.now), None);
    world.poll();
    assert!(world.discovery.next_timeout() <= Some(world.now + STORE_INTERVAL));
    world.now = world.now + STORE_INTERVAL;
    world.unlink(host(1), at("45.1.2.3:4000"));
    let second = Some(Stored::Hints(vec![hint_of(2, "45.2.2.3:4000"), hint_of(1, "45.1.2.3:4000")]));
    assert_eq!(world.discovery.cache(world.now), second, "linked ones first");
}

#[test]
fn a_restarted_host_dials_its_cache_at_once_and_keeps_it() {
    let cache = vec![hint_of(1, "45.1.2.3:4000"), hint_of(2, "45.1.2.4:4000"), hint("10.0.0.1:4000")];
    let mut world = World::new(quiet(), cache);
    let mut dials = world.addresses();
    dials.sort_unstable();
    assert_eq!(dials, [at("45.1.2.3:4000"), at("45.1.2.4:4000")], "no private address, though it is cached");
    world.link(host(1), at("45.1.2.3:4000"));
    let kept = Some(Stored::Hints(vec![hint_of(1, "45.1.2.3:4000"), hint_of(2, "45.1.2.4:4000")]));
    assert_eq!(world.discovery.cache(world.now), kept);
}

// ---- The DHT ----------------------------------------------------------------------------------------------------

#[test]
fn a_new_host_asks_the_dht_then_registers_and_never_does_both_at_once() {
    let mut world = World::new(Settings::default(), Vec::new());
    assert_eq!(world.poll(), [Output::LookUp]);
    world.now = world.now + seconds(1);
    assert_eq!(world.poll(), []);
    world.discovery.look_up_ended(world.now, Ok(()));
    assert_eq!(world.poll(), [Output::Register { port: Some(0) }]);
    world.now = world.now + seconds(60);
    assert_eq!(world.poll(), [], "a look-up is due, and waits");
    world.discovery.registration_ended(world.now, Ok(()));
    assert_eq!(world.poll(), [Output::LookUp]);
}

/// Answers each question at once for `time`; gives the moments of look-ups and registrations.
fn ask(world: &mut World, time: Duration, outcome: &Result<(), String>) -> (Vec<Moment>, Vec<Moment>) {
    let (end, mut look_ups, mut registrations) = (world.now + time, Vec::new(), Vec::new());
    while world.now < end {
        for output in world.poll() {
            if output == Output::LookUp {
                look_ups.push(world.now);
                world.discovery.look_up_ended(world.now, outcome.clone());
            } else if matches!(output, Output::Register { .. }) {
                registrations.push(world.now);
                world.discovery.registration_ended(world.now, outcome.clone());
            }
        }
        world.now = world.discovery.next_timeout().unwrap_or(end).max(world.now).min(end);
    }
    (look_ups, registrations)
}

fn pauses(moments: &[Moment]) -> Vec<u64> {
    moments.windows(2).map(|pair| pair[1].since(pair[0]).as_secs()).collect()
}

/// Whether each pause is at most as long as it should be, and at least half as long.
fn are_about(pauses: &[u64], longest: &[u64]) -> bool {
    pauses.len() == longest.len() && pauses.iter().zip(longest).all(|(pause, most)| (most / 2..=*most).contains(pause))
}

/// How long a host that has links waits, at most: first, and after each further look-up.
const LADDER: [u64; 7] = [30, 60, 120, 240, 480, 900, 900];

#[test]
fn a_lonely_host_asks_soon_and_then_every_half_minute_and_a_linked_one_less_and_less_down_to_every_quarter_hour() {
    let mut world = World::new(Settings::default(), Vec::new());
    let (look_ups, registrations) = ask(&mut world, seconds(200), &Ok(()));
    assert_eq!(pauses(&look_ups), [2, 4, 8, 16, 30, 30, 30, 30, 30]);
    assert_eq!(registrations.len(), 1);

    let last = *look_ups.last().unwrap();
    world.link(host(1), at("45.1.2.3:4000"));
    let (linked, registrations) = ask(&mut world, LOOK_UP_INTERVAL * 6, &Ok(()));
    let all = pauses(&[&[last][..], &linked].concat());
    assert!(are_about(&all[..7], &LADDER), "{all:?}");
    assert!(all[7..].len() >= 3 && are_about(&all[7..], &vec![900; all.len() - 7]), "{all:?}");
    assert!(all[5..].windows(2).any(|pair| pair[0] != pair[1]), "hosts that started together do not ask in step");
    assert_eq!(registrations.len(), 6);
    assert!(pauses(&registrations).iter().all(|pause| *pause == REGISTER_INTERVAL.as_secs()));

    world.unlink(host(1), at("45.1.2.3:4000"));
    let (look_ups, _) = ask(&mut world, seconds(10), &Ok(()));
    assert!(look_ups.len() >= 2, "alone again, so it asks soon");
    let last = *look_ups.last().unwrap();
    world.link(host(1), at("45.1.2.3:4000"));
    let (linked, _) = ask(&mut world, LOOK_UP_INTERVAL * 3, &Ok(()));
    let all = pauses(&[&[last][..], &linked].concat());
    assert!(are_about(&all[..5], &LADDER[..5]), "counted anew: {all:?}");
}

#[test]
fn a_host_that_finds_a_link_before_the_dht_answers_asks_less_and_less_all_the_same() {
    let mut world = World::new(Settings::default(), Vec::new());
    world.link(host(1), at("45.1.2.3:4000"));
    let broken = Err("no route".to_owned());
    let (look_ups, _) = ask(&mut world, seconds(100), &broken);
    assert_eq!(pauses(&look_ups), [10; 9]);
    let (look_ups, _) = ask(&mut world, LOOK_UP_INTERVAL * 4, &Ok(()));
    assert!(are_about(&pauses(&look_ups)[..6], &LADDER[..6]), "a question without an answer was none");
}

#[test]
fn a_host_that_has_lost_all_links_but_one_asks_at_once_and_not_more_often_if_links_come_and_go() {
    let mut world = World::new(Settings::default(), Vec::new());
    let (one, other) = (at("45.1.2.3:4000"), at("45.2.2.3:4000"));
    world.link(host(1), one);
    world.link(host(2), other);
    world.link(host(3), at("45.3.2.3:4000"));
    ask(&mut world, LOOK_UP_INTERVAL * 4, &Ok(()));
    while ask(&mut world, seconds(1), &Ok(())).0.is_empty() {}

    world.unlink(host(3), at("45.3.2.3:4000"));
    let (look_ups, _) = ask(&mut world, LOOK_UP_INTERVAL_LOST * 2, &Ok(()));
    assert_eq!(look_ups, [], "two links are left");
    world.unlink(host(2), other);
    let lost = world.now;
    let (look_ups, _) = ask(&mut world, LOOK_UP_INTERVAL / 3, &Ok(()));
    assert_eq!(look_ups, [lost], "at once, and then as before");

    let mut look_ups = Vec::new();
    for _ in 0..100 {
        world.link(host(2), other);
        look_ups.extend(ask(&mut world, seconds(1), &Ok(())).0);
        world.unlink(host(2), other);
        look_ups.extend(ask(&mut world, seconds(1), &Ok(())).0);
    }
    let least = LOOK_UP_INTERVAL_LOST.as_secs();
    assert!(look_ups.len() >= 5 && pauses(&look_ups).iter().all(|pause| *pause >= least), "{look_ups:?}");
}

#[test]
fn a_dht_that_does_not_answer_is_asked_again_every_ten_seconds_and_the_problem_is_shown() {
    let mut world = World::new(Settings::default(), Vec::new());
    let broken = Err("no route".to_owned());
    let (look_ups, registrations) = ask(&mut world, seconds(100), &broken);
    assert_eq!(pauses(&look_ups), [10; 9]);
    assert_eq!(pauses(&registrations), [10; 9]);
    assert_eq!(world.discovery.view(world.now).dht_problem, Some("no route".to_owned()));
    ask(&mut world, seconds(20), &Ok(()));
    assert_eq!(world.discovery.view(world.now).dht_problem, None);
}

#[test]
fn a_host_without_a_dht_asks_nothing_and_one_that_may_not_register_only_looks() {
    let mut world = World::new(quiet(), Vec::new());
    assert_eq!(ask(&mut world, seconds(10_000), &Ok(())), (vec![], vec![]));
    assert_eq!(world.discovery.view(world.now).next_look_up, Duration::ZERO);
    let mut world = World::new(Settings { register: false, ..Settings::default() }, Vec::new());
    let (look_ups, registrations) = ask(&mut world, seconds(100), &Ok(()));
    assert!(!look_ups.is_empty() && registrations.is_empty());
}

// ---- The table --------------------------------------------------------------------------------------------------

#[test]
fn the_table_is_bounded_and_forgets_strangers_only() {
    let settings = Settings { static_peers: vec![hint("45.250.1.1:4000")], ..quiet() };
    let mut world = World::new(settings, vec![hint_of(9, "45.251.1.1:4000")]);
    world.link(host(1), at("45.252.1.1:4000"));
    let dials = world.dials();
    assert_eq!(dials.len(), 2);
    for number in 0..2_500 {
        world.discovery.asking = Asking::new(false);
        world.found(HintSource::Dht, &[Hint { address: elsewhere(number), host: None }]);
    }
    assert_eq!(world.discovery.places.len(), HINTS_MAX + 1);
    for key in
        [(at("45.250.1.1:4000"), None), (at("45.251.1.1:4000"), Some(host(9))), (at("45.252.1.1:4000"), Some(host(1)))]
    {
        assert!(world.discovery.places.find(key).is_some(), "{key:?}");
    }
    assert!(world.discovery.places.find((elsewhere(2_499), None)).is_some(), "the newest hint is there");
    assert_eq!(world.discovery.view(world.now).hints, HINTS_MAX + 1);
}

#[test]
fn a_hint_that_failed_is_forgotten_before_a_fresh_one() {
    let mut world = World::new(quiet(), Vec::new());
    world.found(HintSource::Dht, &[Hint { address: elsewhere(0), host: None }]);
    let dials = world.dials();
    world.fail(dials[0].dial);
    for number in 1..=1_024 {
        world.discovery.asking = Asking::new(false);
        world.found(HintSource::Dht, &[Hint { address: elsewhere(number), host: None }]);
    }
    assert!(world.discovery.places.find((elsewhere(0), None)).is_none());
    assert!(world.discovery.places.find((elsewhere(1), None)).is_some());
}

#[test]
fn the_same_seed_decides_the_same() {
    let run = || {
        let mut world = World::new(quiet(), Vec::new());
        world.found(HintSource::Dht, &(0..200).map(|n| Hint { address: elsewhere(n), host: None }).collect::<Vec<_>>());
        world.dial_in_vain(seconds(600))
    };
    assert_eq!(run(), run());
}

#[test]
fn a_poll_with_nothing_due_does_nothing() {
    let mut world = World::new(Settings::default(), Vec::new());
    world.poll();
    let due = world.discovery.next_timeout();
    world.now = world.now + Duration::from_millis(1);
    assert_eq!(world.poll(), []);
    assert_eq!(world.discovery.next_timeout(), due);
}
