//! Everybody's view against the truth: no member missing and no ghost past its bound, every replica its origin's.
//!
//! Nobody can see through a cut, or while it stands still. So each bound runs from the last moment at which the two hosts
//! concerned, or the whole world, were in trouble ([`Trouble`]).

use std::collections::{BTreeMap, VecDeque};

use aldis::relay::Relay;
use aldis_wire::id::{HostId, PeerId};

use crate::edges::Standing;
use crate::map::Place;
use crate::queue::{At, MS, SEC};
use crate::world::World;

/// Who comes or goes is seen within one multicast (DESIGN §3): the longest way, a batch, and, when a host on the way has
/// just been lost, a summary and the time that is waited before asking.
const SEEN_MAX: At = 3 * SEC;
/// The edges of a host that crashed are gone within this (DESIGN §3).
const CRASH_SEEN_MAX: At = 10 * SEC + 500 * MS;
/// After a start, a thaw or a heal: dials are tried again every 5 s, a handshake takes three round trips, and 5 s are
/// given for catching up.
const RECOVERY: At = 12 * SEC;
/// A session whose socket is gone is kept so long.
const GRACE: At = 30 * SEC;
/// Digests of its own roster that are remembered of each host.
const DIGESTS_MAX: usize = 256;

/// When each host, and the whole world, was last in trouble.
#[derive(Debug, Default)]
pub(crate) struct Trouble {
    world: At,
    hosts: BTreeMap<Place, At>,
    /// Whether something is wrong that lasts until it is mended.
    pub(crate) lasting: bool,
}

impl Trouble {
    /// Whether a host has just begun, or goes on after it stood still.
    pub(super) fn is_recovering(&self, now: At, place: Place) -> bool {
        self.hosts.get(&place).is_some_and(|until| now < *until)
    }

    /// Whether what others know of this host is excused at this moment: it, or the whole world, is in trouble.
    pub(crate) fn is_excused(&self, now: At, place: Place) -> bool {
        self.ends(now, place, place) >= now
    }

    /// Until when what these two know of each other is excused.
    fn ends(&self, now: At, a: Place, b: Place) -> At {
        if self.lasting {
            return now;
        }
        [a, b].iter().filter_map(|place| self.hosts.get(place)).copied().fold(self.world, At::max)
    }
}

/// The digests of a host's own roster, and since when each was the newest.
pub(crate) type Digests = VecDeque<(At, [u8; 32])>;

impl World {
    /// A host has begun, or goes on.
    pub(crate) fn recovers(&mut self, place: Place) {
        let until = self.now + RECOVERY;
        self.checks.trouble.hosts.insert(place, until);
    }

    /// Something is wrong between hosts; until it is mended, or only now.
    pub(crate) fn disturbed(&mut self, lasting: bool) {
        self.checks.trouble.lasting = lasting;
        self.checks.trouble.world = self.now + RECOVERY;
    }

    /// A host has announced something.
    pub(crate) fn announced(&mut self, place: Place) {
        let host = &self.hosts[place];
        let Some(digest) = host.relay.as_ref().and_then(|relay| relay.digest(host.id)) else { return };
        let digests = self.checks.digests.entry(place).or_default();
        if digests.back().is_none_or(|(_, last)| *last != digest) {
            digests.push_back((self.now, digest));
            if digests.len() > DIGESTS_MAX {
                digests.pop_front();
            }
        }
    }

    /// Whether the world has come far enough to be looked at.
    fn is_settled(&self) -> bool {
        self.now > self.scenario.warm
    }

    /// What some edges see in their topics, one after the other.
    pub(super) fn look_at_members(&mut self, edges: usize) {
        if !self.is_settled() {
            return;
        }
        let mut wrong = Vec::new();
        let all = self.edges.len();
        let first = self.checks.next_edge;
        self.checks.next_edge = if all > edges { (first + edges) % all } else { 0 };
        for number in (first..first + edges.min(all)).map(|number| number % all) {
            let edge = &self.edges[number];
            let Some(view) = edge.view.as_ref().filter(|_| edge.standing == Standing::Open) else { continue };
            let steady = self.now - edge.since > SEEN_MAX && self.hosts[edge.place].running().is_some();
            if !steady {
                continue;
            }
            for (topic, (joined, seen)) in view.iter() {
                self.compare(number, edge.place, *topic, *joined, seen, &mut wrong);
            }
        }
        for (places, what) in wrong {
            self.violated(&places, what);
        }
        // Whoever went long ago is no ghost any more.
        let forget = |until: At| until + 2 * GRACE < self.now;
        self.crowd
            .members
            .values_mut()
            .for_each(|members| members.retain(|_, member| !member.until.is_some_and(forget)));
    }

    fn compare(
        &self,
        edge: usize,
        place: Place,
        topic: u32,
        joined: At,
        seen: &BTreeMap<PeerId, At>,
        wrong: &mut Vec<(Vec<Place>, String)>,
    ) {
        let Some(members) = self.crowd.members.get(&topic) else { return };
        let own = self.edges[edge].peer;
        for (peer, member) in members.iter().filter(|(peer, _)| Some(**peer) != own) {
            let since = joined.max(self.checks.trouble.ends(self.now, place, member.home));
            // Nobody need believe a liar, nor be believed by it.
            if self.hosts[member.home].frozen.is_some() || self.is_liar(member.home) || self.is_liar(place) {
                continue;
            }
            match member.until.or(member.away.map(|since| since + GRACE).filter(|until| *until < self.now)) {
                None if !seen.contains_key(peer) && self.now - since.max(member.since).min(self.now) > SEEN_MAX => {
                    let what = format!("edge {edge} does not see {peer:?} in topic {topic}: {member:?}");
                    wrong.push((vec![place, member.home], what));
                }
                Some(until) if seen.contains_key(peer) && self.now - since.max(until).min(self.now) > SEEN_MAX => {
                    let what = format!("edge {edge} sees a ghost, {peer:?}, in topic {topic}: {member:?}");
                    wrong.push((vec![place, member.home], what));
                }
                _ => {}
            }
        }
    }

    /// What some hosts know of all others.
    pub(super) fn look_at_replicas(&mut self, hosts: usize) {
        if !self.is_settled() {
            return;
        }
        for _ in 0..hosts {
            let place = self.checks.next_view % self.hosts.len();
            self.checks.next_view += 1;
            self.look_at_replicas_of(place, false);
        }
    }

    /// At the end of a quiet time: every host knows every other one, to the last entry.
    pub(super) fn look_at_all_replicas(&mut self) {
        for place in 0..self.hosts.len() {
            self.look_at_replicas_of(place, true);
        }
    }

    /// Whether a host shows another one as it is, or as it was a second ago.
    pub(crate) fn is_up_to_date(&self, relay: &Relay, other: Place) -> bool {
        let digest = relay.digest(self.hosts[other].id);
        let age = digest.zip(self.checks.digests.get(&other)).and_then(|(digest, known)| superseded(known, digest));
        age.is_some_and(|at| at == At::MAX || self.now - at <= SEC)
    }

    fn look_at_replicas_of(&mut self, place: Place, quiet: bool) {
        let Some(relay) = self.hosts[place].running().filter(|_| !self.is_liar(place)) else { return };
        let view = relay.view(self.hosts[place].clock(self.now));
        let live: BTreeMap<HostId, bool> = view.hosts.iter().map(|host| (host.host, host.live)).collect();
        let mut wrong = Vec::new();
        for (other, host) in self.hosts.iter().enumerate().filter(|(other, _)| *other != place && !self.is_liar(*other))
        {
            let excused = self.checks.trouble.ends(self.now, place, other);
            let since = self.now - excused.max(host.since).min(self.now);
            let shown = live.get(&host.id).copied().unwrap_or(false);
            if host.running().is_some() && since > SEEN_MAX && !shown {
                wrong.push((other, "it does not show a host that runs".to_owned()));
            } else if host.relay.is_none() && host.life > 0 && since > CRASH_SEEN_MAX && shown {
                wrong.push((other, "it shows a host that crashed".to_owned()));
            } else if host.running().is_some() && since > SEEN_MAX {
                let digest = relay.digest(host.id);
                let known = self.checks.digests.get(&other);
                let age = known.and_then(|known| superseded(known, digest?));
                match age {
                    _ if known.is_none_or(VecDeque::is_empty) => {}
                    Some(at) if at == At::MAX => {}
                    Some(at) if self.now - at <= if quiet { SEC } else { SEEN_MAX } => {}
                    Some(at) => {
                        let old = (self.now - at) / MS;
                        wrong.push((other, format!("its replica is of what was {old} ms ago")));
                    }
                    None => wrong.push((other, "its replica is nothing that ever was".to_owned())),
                }
            }
        }
        let mut pairs: BTreeMap<HostId, usize> = BTreeMap::new();
        let settled = view.links.iter().filter(|link| link.age.as_secs() > 10);
        settled.for_each(|link| *pairs.entry(link.host).or_default() += 1);
        let twice = pairs.values().filter(|count| **count > 1).count();
        for (other, what) in wrong {
            self.violated(&[place, other], what);
        }
        if twice > 0 {
            self.violated(&[place], format!("it has two links with each of {twice} hosts"));
        }
    }

    /// How long the members of a host that ends so may still be seen.
    pub(crate) fn still_seen(crashed: bool) -> At {
        if crashed { CRASH_SEEN_MAX - SEEN_MAX } else { 0 }
    }

    /// How long a member whose socket broke may still be seen.
    pub(crate) fn grace() -> At {
        GRACE
    }
}

/// When a digest was superseded; `At::MAX` if it is the newest, `None` if it never was one.
fn superseded(digests: &Digests, digest: [u8; 32]) -> Option<At> {
    let at = digests.iter().rposition(|(_, known)| *known == digest)?;
    Some(digests.get(at + 1).map_or(At::MAX, |(since, _)| *since))
}
