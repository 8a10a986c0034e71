//! Where this host is: its interfaces and what routers let through, told to the machine whenever that changes.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use crate::net::changes::Changes;
use crate::net::hub::Hub;
use crate::net::interfaces::{Interfaces, Route};
use crate::net::mapping::{Mapper, Router, Target, Wish};
use crate::net::places::{MappingFacts, Places};
use crate::relay::io::{Input, Mapped, Mapping};
use crate::relay::may_be_tried;

/// How often the interfaces are looked at where the system does not tell of changes, and for a machine that slept. Another
/// uplink is noticed before its links are given up, at 7 s.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// So long after the system's word of a change one looks again, if there were more: changes seldom come alone.
const CHANGE_SETTLES: Duration = Duration::from_millis(100);
/// The wall clock gained so much on the one that stands still in sleep: the machine slept, and routers have forgotten it.
/// A clock that is set does the same, and costs one needless question.
const SLEPT_MIN: Duration = Duration::from_secs(10);

/// What of this host others are to reach.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    /// Where links come in, as bound.
    pub(super) links: SocketAddr,
    /// Where edges come in, as bound, if a router is to let them in.
    pub(super) gateway: Option<SocketAddr>,
    /// UDP ports at which STUN is answered.
    pub(super) stun: Vec<u16>,
    /// Whether routers are asked at all.
    pub(super) map: bool,
    /// Whether addresses outside the public internet count.
    pub(super) private: bool,
}

/// The one who knows where we are. Dropping it ends nothing; see [`Locator::end`].
#[derive(Debug)]
pub(super) struct Locator {
    again: Vec<Arc<Notify>>,
    known: watch::Receiver<Places>,
    stop: watch::Sender<bool>,
    looking: JoinHandle<()>,
    mapping: Vec<JoinHandle<()>>,
}

/// Who is told when this machine is somewhere else.
pub(super) type Moved = Box<dyn Fn(Stand) + Send + Sync>;

/// What this machine has now.
#[derive(Debug)]
pub(super) struct Stand {
    /// All its addresses.
    pub(super) present: BTreeSet<IpAddr>,
    /// Those of them that were the way out until now. `None` at the first look.
    pub(super) left: Option<BTreeSet<IpAddr>>,
}

/// One family's router.
#[derive(Debug)]
struct Way {
    target: watch::Sender<Target>,
    facts: watch::Receiver<MappingFacts>,
    again: Arc<Notify>,
}

impl Locator {
    /// Begins to look, and shows in `shown` what it knows.
    /// `moved` is told at the first look, and whenever we are somewhere else than before.
    pub(super) fn start(hub: Arc<Hub>, wanted: Wanted, shown: watch::Sender<Places>, moved: Moved) -> Self {
        let (stop, stopped) = watch::channel(false);
        let (mut ways, mut mapping) = (Vec::new(), Vec::new());
        if wanted.map {
            for v6 in [false, true] {
                let (way, mapper) = Way::new(wishes(&wanted, v6));
                ways.push(way);
                mapping.push(tokio::spawn(mapper.run(stopped.clone())));
            }
        }
        let again = ways.iter().map(|way| way.again.clone()).collect();
        let known = shown.subscribe();
        let looking = tokio::spawn(async move { Looking { hub, wanted, ways, shown, moved }.run().await });
        Self { again, known, stop, looking, mapping }
    }

    /// What makes the routers be asked at once.
    pub(super) fn again(&self) -> impl Fn() + Send + use<> {
        let again = self.again.clone();
        move || again.iter().for_each(|way| way.notify_one())
    }

    /// What is known.
    pub(super) fn known(&self) -> watch::Receiver<Places> {
        self.known.clone()
    }

    /// Has the routers let nobody in any more, within 2 s.
    pub(super) async fn end(&mut self) {
        self.looking.abort();
        self.stop.send_replace(true);
        for mapping in self.mapping.drain(..) {
            // It bounds itself; should it have panicked, there is nothing to take back.
            let _ = mapping.await;
        }
    }

    /// Ends at once.
    pub(super) fn cut(&self) {
        self.looking.abort();
        self.mapping.iter().for_each(JoinHandle::abort);
    }
}

impl Way {
    fn new(wishes: Vec<Wish>) -> (Self, Mapper) {
        let (target, targets) = watch::channel(Err("not looked for yet"));
        let again = Arc::new(Notify::new());
        let (mapper, facts) = Mapper::new(wishes, targets, again.clone());
        (Self { target, facts, again }, mapper)
    }
}

struct Looking {
    hub: Arc<Hub>,
    wanted: Wanted,
    /// IPv4, then IPv6; none when routers are not asked.
    ways: Vec<Way>,
    shown: watch::Sender<Places>,
    moved: Moved,
}

impl Looking {
    async fn run(mut self) {
        let mut tick = interval(LOOK_INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut clocks = (Instant::now(), SystemTime::now());
        let mut here = Interfaces::default();
        let mut changes = (Changes::listen(), tokio::time::Instant::now());
        let mut told = None;
        // The first look may come before the system shows an address that we are bound to already.
        let mut stood = false;
        loop {
            let mut moved = None;
            if self.happened(&mut tick, &mut changes).await {
                let now = look().await.unwrap_or_else(|| here.clone());
                if slept(&mut clocks) {
                    tracing::info!("this machine was asleep: asking its router and its neighbours anew");
                    self.ways.iter().for_each(|way| way.again.notify_one());
                    moved = Some(now.left(&here));
                }
                if now != here {
                    tracing::debug!(addresses = ?now.addresses, "the addresses of this machine");
                    if now.is_elsewhere(&here) {
                        moved = Some(now.left(&here));
                    }
                    if told.is_none() {
                        (self.moved)(Stand { present: now.present.clone(), left: None });
                    }
                    here = now;
                    self.aim(&here);
                }
            }
            let local = here.reached(self.wanted.links, self.wanted.private);
            let bound = self.wanted.links.ip();
            let stands = bound.is_unspecified() || here.addresses.contains(&bound.to_canonical());
            if stood && !stands {
                tracing::warn!(address = %bound, "the address for links is not on this machine any more");
            }
            stood = stands;
            let mapping: Vec<MappingFacts> = self.ways.iter().map(|way| way.facts.borrow().clone()).collect();
            let mapped: Vec<Mapping> = mapping.iter().flat_map(|facts| facts.mapped.iter().copied()).collect();
            self.shown.send_replace(Places { local: local.iter().map(SocketAddr::ip).collect(), mapping });
            let (places, told_before) = ((local, mapped), told.is_some());
            if told.as_ref() != Some(&places) {
                let (local, mapped) = places.clone();
                self.hub.happened(Input::PlacesFound { local, mapped, stun: self.wanted.stun.clone() });
                told = Some(places);
            }
            if let Some(left) = moved.filter(|_| told_before) {
                (self.moved)(Stand { present: here.present.clone(), left: Some(left) });
            }
        }
    }

    /// Waits until it is time to look, which is true, or a router has said something.
    async fn happened(
        &mut self,
        tick: &mut tokio::time::Interval,
        (changes, rested): &mut (Changes, tokio::time::Instant),
    ) -> bool {
        let routers = async {
            match self.ways.as_mut_slice() {
                [v4, v6] => tokio::select! {
                    Ok(()) = v4.facts.changed() => {}
                    Ok(()) = v6.facts.changed() => {}
                    else => std::future::pending().await,
                },
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = tick.tick() => true,
            () = changes.next() => {
                // At once, since links send meanwhile from where we are not any more; and then not again so soon.
                tokio::time::sleep_until(*rested).await;
                *rested = tokio::time::Instant::now() + CHANGE_SETTLES;
                true
            }
            () = routers => false,
        }
    }

    /// Says which routers are to be asked. Who is asked already hears nothing.
    fn aim(&self, here: &Interfaces) {
        let bound = self.wanted.links.ip();
        for (way, target) in self.ways.iter().zip([target_v4(here.v4, bound), target_v6(here, bound)]) {
            way.target.send_if_modified(|before| std::mem::replace(before, target) != target);
        }
    }
}

/// What this machine has now; `None` if the system does not say, which is no reason to think that it has changed.
async fn look() -> Option<Interfaces> {
    let looked = tokio::task::spawn_blocking(Interfaces::read).await.ok()?;
    looked.inspect_err(|error| tracing::debug!(%error, "the system does not tell our addresses")).ok()
}

/// Whom to ask for IPv4, for a socket bound to `bound`.
fn target_v4(route: Option<Route>, bound: IpAddr) -> Target {
    let route = route.ok_or("no router is known")?;
    if !hears(bound, route.own) {
        return Err("links are not taken at the address towards the router");
    }
    if may_be_tried(route.own, false) {
        return Err("this machine has a global address");
    }
    Ok(asked(route))
}

/// The same for IPv6. Its addresses are global, but a router at home lets nobody in unasked.
fn target_v6(here: &Interfaces, bound: IpAddr) -> Target {
    let route = here.v6.ok_or("no router is known")?;
    if !hears(bound, route.own) {
        return Err("links are not taken at the address towards the router");
    }
    if here.v4.is_some_and(|v4| may_be_tried(v4.own, false)) {
        return Err("this machine stands behind no router of a home");
    }
    Ok(asked(route))
}

fn asked(route: Route) -> Router {
    Router { address: route.router, zone: route.zone, own: route.own }
}

fn hears(bound: IpAddr, own: IpAddr) -> bool {
    match bound {
        IpAddr::V4(any) if any.is_unspecified() => own.is_ipv4(),
        IpAddr::V6(any) if any.is_unspecified() => true,
        one => one.to_canonical() == own,
    }
}

/// What a router is to let in. For IPv6, where nothing is translated, links alone.
fn wishes(wanted: &Wanted, v6: bool) -> Vec<Wish> {
    let gateway = wanted.gateway.filter(|gateway| !v6 && !gateway.ip().is_loopback());
    let ports = [(Mapped::Links, Some(wanted.links)), (Mapped::Gateway, gateway)];
    let wish = |(of, bound): (Mapped, Option<SocketAddr>)| Some(Wish { of, port: NonZeroU16::new(bound?.port())? });
    ports.into_iter().filter_map(wish).collect()
}

/// Whether the machine slept since the last look.
fn slept((monotonic, wall): &mut (Instant, SystemTime)) -> bool {
    let (now, date) = (Instant::now(), SystemTime::now());
    let awake = now.duration_since(std::mem::replace(monotonic, now));
    let passed = date.duration_since(std::mem::replace(wall, date)).unwrap_or_default();
    passed.saturating_sub(awake) >= SLEPT_MIN
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail by panic")]
    use super::*;

    fn route(router: &str, own: &str) -> Route {
        Route { router: router.parse().unwrap(), zone: None, own: own.parse().unwrap() }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_router_is_asked_only_where_it_stands_between() {
        let (any, home) = (ip("0.0.0.0"), Some(route("192.168.1.1", "192.168.1.5")));
        assert_eq!(target_v4(home, any).unwrap().own, ip("192.168.1.5"));
        assert!(target_v4(home, ip("192.168.1.5")).is_ok());
        assert!(target_v4(home, ip("::")).is_ok());
        assert!(target_v4(home, ip("127.0.0.1")).is_err());
        assert!(target_v4(None, any).is_err());
        assert!(target_v4(Some(route("81.2.69.1", "81.2.69.142")), any).is_err(), "nothing stands between");
    }

    #[test]
    fn a_pinhole_for_ipv6_is_asked_for_at_home_alone() {
        let v6 = Some(route("fe80::1", "2a01::5"));
        let home = Interfaces { v4: Some(route("192.168.1.1", "192.168.1.5")), v6, ..Interfaces::default() };
        assert!(target_v6(&home, ip("::")).is_ok());
        assert!(target_v6(&home, ip("0.0.0.0")).is_err(), "links are for IPv4 alone");
        assert!(target_v6(&Interfaces { v4: None, ..home.clone() }, ip("::")).is_ok());
        let server = Interfaces { v4: Some(route("81.2.69.1", "81.2.69.142")), ..home };
        assert!(target_v6(&server, ip("::")).is_err());
    }

    #[test]
    fn the_gateway_is_let_in_only_if_it_is_wanted_and_others_could_reach_it() {
        let wanted = |gateway: Option<&str>| Wanted {
            links: "0.0.0.0:47474".parse().unwrap(),
            gateway: gateway.map(|address| address.parse().unwrap()),
            stun: Vec::new(),
            map: true,
            private: false,
        };
        let of = |gateway, v6| -> Vec<Mapped> { wishes(&wanted(gateway), v6).iter().map(|wish| wish.of).collect() };
        assert_eq!(of(None, false), [Mapped::Links]);
        assert_eq!(of(Some("0.0.0.0:8400"), false), [Mapped::Links, Mapped::Gateway]);
        assert_eq!(of(Some("127.0.0.1:8400"), false), [Mapped::Links]);
        assert_eq!(of(Some("0.0.0.0:8400"), true), [Mapped::Links]);
    }

    #[test]
    fn a_machine_slept_when_its_two_clocks_disagree() {
        let (now, date) = (Instant::now(), SystemTime::now());
        assert!(!slept(&mut (now, date)));
        assert!(slept(&mut (now, date - Duration::from_secs(60))));
        assert!(!slept(&mut (now, date + Duration::from_secs(60))), "a clock that was set back");
    }
}
