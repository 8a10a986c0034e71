//! Which neighbours a host keeps in a network too large for links with everybody (DESIGN §5).
//!
//! Each host chooses half of its links, those that it dials, and is chosen for about as many. Who dialled a link decides
//! about it alone: so nobody is left with fewer than he chose, and nothing has to be agreed. Of the chosen ones half are
//! near, for short ways; the others are there by chance, so that the whole does not fall apart.

use std::time::Duration;

use aldis_wire::host::{GoodbyeReason, Role};
use aldis_wire::id::HostId;
use rand_chacha::rand_core::Rng;

use crate::relay::io::{LinkKey, Moment, Outbox};
use crate::relay::limits::{
    FULL_MESH_SHED, LINKS_CHOSEN, LINKS_NEAR, NEAR_AMONG, PROBE_INTERVAL_MAX, PROBE_INTERVAL_MIN, PROBED_MAX,
    TEND_INTERVAL,
};
use crate::relay::state::State;
use crate::relay::timers::Timer;

/// A link that we dialled, as far as choosing goes.
struct Chosen {
    key: LinkKey,
    host: HostId,
    rtt: Duration,
    near: bool,
}

impl State {
    /// Gives up links that are too many, and looks for nearer neighbours.
    pub(crate) fn tend(&mut self, now: Moment, out: &mut Outbox) {
        let jitter = TEND_INTERVAL.mul_f64(f64::from(self.rng.next_u32()) / f64::from(u32::MAX));
        self.timers.set(Timer::Tend, now + TEND_INTERVAL / 2 + jitter);
        if self.draining || self.directory.hosts_count() <= FULL_MESH_SHED {
            return;
        }
        self.take_for_near();
        let chosen = self.chosen();
        if chosen.len() > LINKS_CHOSEN {
            return self.shed(now, chosen, out);
        }
        if now >= self.tender.next_probe {
            self.tender.pause = (self.tender.pause * 5 / 4).clamp(PROBE_INTERVAL_MIN, PROBE_INTERVAL_MAX);
            self.tender.next_probe = now + self.tender.pause;
            self.probe(now, out);
        }
        self.timers.set_earlier(Timer::Tend, self.tender.next_probe);
    }

    /// A host that begins, or begins again, has looked at nobody: those that it has dialled and that are near are its near
    /// ones, until nearer ones are found.
    fn take_for_near(&mut self) {
        let mut chosen = self.chosen();
        if chosen.len() < LINKS_CHOSEN || chosen.iter().any(|link| link.near) {
            return;
        }
        chosen.retain(|link| self.is_near(link.rtt));
        chosen.sort_by_key(|link| link.rtt);
        for link in chosen.iter().take(LINKS_NEAR) {
            if let Some(link) = self.links.find_mut(link.key) {
                link.near = true;
            }
        }
    }

    fn chosen(&self) -> Vec<Chosen> {
        let ours = self.links.admitted().filter(|(_, link)| link.role == Role::Dialler);
        ours.map(|(key, link)| Chosen { key, host: link.host, rtt: link.rtt, near: link.near }).collect()
    }

    /// Says goodbye on one of too many links: the farthest of the near ones, if those are too many, else any other; but
    /// not where the other side has few, nor where signals go.
    fn shed(&mut self, now: Moment, chosen: Vec<Chosen>, out: &mut Outbox) {
        let near = chosen.iter().filter(|link| link.near).count();
        let few = |host: HostId| self.origins.find(host).is_none_or(|it| usize::from(it.status.links) <= LINKS_CHOSEN);
        let mut spare: Vec<Chosen> = chosen
            .into_iter()
            .filter(|link| link.near == (near > LINKS_NEAR))
            .filter(|link| !few(link.host) && !self.discovery.wanted.has(now, link.host))
            .collect();
        spare.sort_by_key(|link| link.rtt);
        let at = if near > LINKS_NEAR {
            spare.len().saturating_sub(1)
        } else {
            self.rng.next_u32() as usize % spare.len().max(1)
        };
        if let Some(link) = spare.get(at) {
            self.close_softly(now, link.key, GoodbyeReason::Full, out);
        }
    }

    /// Dials somebody who may be nearer than those we have: a neighbour of a near neighbour, or anybody.
    fn probe(&mut self, now: Moment, out: &mut Outbox) {
        let mut links: Vec<_> = self.links.admitted().map(|(_, link)| (link.rtt, link.host)).collect();
        links.sort_unstable();
        let near = links.iter().take(LINKS_NEAR).filter_map(|(_, host)| self.directory.record(*host));
        let theirs = near.flat_map(|recorded| recorded.record.neighbours.iter());
        let mut candidates: Vec<HostId> = theirs.filter_map(|short| self.directory.host_named(*short)).collect();
        candidates.retain(|host| self.may_probe(*host));
        if candidates.is_empty() || self.rng.next_u32().is_multiple_of(4) {
            candidates = self.directory.hosts().filter(|host| self.may_probe(*host)).collect();
        }
        if candidates.is_empty() {
            return;
        }
        let host = candidates.swap_remove(self.rng.next_u32() as usize % candidates.len());
        if self.tender.probed.len() >= PROBED_MAX {
            self.tender.probed.clear();
        }
        self.tender.probed.insert(host);
        let mut addresses = self.directory.record(host).map(|it| it.record.addresses.clone()).unwrap_or_default();
        if addresses.len() > 1 {
            // Another one each time: of a host with two families one may be of no use here.
            let first = self.rng.next_u32() as usize % addresses.len();
            addresses.rotate_left(first);
        }
        _ = addresses.into_iter().any(|address| self.discovery.probe(now, address, host, out));
    }

    fn may_probe(&self, host: HostId) -> bool {
        let barred = self.barred.why(host).is_some();
        host != self.own && !barred && !self.tender.probed.contains(&host) && self.links.to_host(host).is_none()
    }

    /// Whether a host at this distance is better than the near ones that we have.
    pub(crate) fn is_nearer(&mut self, now: Moment, rtt: Duration) -> bool {
        let chosen = self.chosen();
        let near = chosen.iter().filter(|link| link.near);
        let nearer = if near.clone().count() < LINKS_NEAR {
            self.is_near(rtt)
        } else {
            near.map(|link| link.rtt).max().is_none_or(|farthest| rtt < farthest * 4 / 5)
        };
        if nearer {
            // Where one was found there may be more.
            self.tender.pause = PROBE_INTERVAL_MIN;
            self.tender.next_probe = now + PROBE_INTERVAL_MIN;
        }
        nearer
    }

    /// Whether a host at this distance is near, as far as the links tell that we did not choose for being so. Who is not is
    /// given up again soon, and each link that comes or goes moves a part of all trees.
    fn is_near(&self, rtt: Duration) -> bool {
        let others = self.links.admitted().filter(|(_, link)| link.role == Role::Acceptor || !link.near);
        let (all, nearer) =
            others.fold((0, 0), |(all, nearer), (_, other)| (all + 1, nearer + usize::from(other.rtt < rtt)));
        nearer * NEAR_AMONG <= all
    }
}
