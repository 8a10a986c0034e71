//! What is counted, and how it is registered.

use std::sync::atomic::Ordering;

use aldis_wire::host::Outcome;
use aldis_wire::refusal::Refusal;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::Labels;
use super::names::{bar_name, catch_up_name, failure_name, gone, goodbye_name, not_introduced_name, role_name, yes_no};
use crate::net::hub;
use crate::relay::io::{Note, Reach};

type Counters<const N: usize> = Family<Labels<N>, Counter>;

#[derive(Debug, Default)]
pub(super) struct Counts {
    sessions_opened: Counters<1>,
    sessions_ended: Counters<1>,
    edge_refusals: Counters<1>,
    signals: Counters<3>,
    signals_passed_on: Counter,
    broadcasts: Counters<1>,
    broadcast_hosts: Counters<1>,
    broadcast_members: Counters<1>,
    links_admitted: Counters<1>,
    links_ended: Counters<1>,
    links_refused: Counters<2>,
    hosts_barred: Counters<1>,
    revocations_dropped: Counter,
    key_seen: Counter,
    misbehaviours: Counters<1>,
    dials_failed: Counters<1>,
    punches: Counters<3>,
    not_introduced: Counters<1>,
    dht_answers: Counters<2>,
    dns_seed_answers: Counters<1>,
    hosts_appeared: Counter,
    hosts_expired: Counter,
    hosts_quarantined: Counters<1>,
    announcements_made: Counters<1>,
    ops_announced: Counter,
    announcements_received: Counters<1>,
    catch_ups: Counters<1>,
    questions_dropped: Counter,
    address_changes: Counter,
    nats_found: Counters<1>,
    places: Counters<2>,
    handshakes: Counters<1>,
    stun_requests: Counters<1>,
    datagrams_dropped: Counter,
    cut: Counters<1>,
    door_sockets: Counters<2>,
    door_frames: Counters<2>,
}

impl Counts {
    /// Counts a note.
    pub(super) fn note(&self, note: &Note) {
        match note {
            Note::SessionOpened { resumed, .. } => count(&self.sessions_opened, [("resumed", yes_no(*resumed))]),
            Note::SessionEnded { reason, .. } => count(&self.sessions_ended, [("reason", gone(*reason))]),
            Note::EdgeRefused { refusal } => count(&self.edge_refusals, [("refusal", refusal.name())]),
            Note::SignalEnded { outcome, local } => self.signal(*outcome, *local),
            Note::BroadcastEnded { reach } => self.broadcast(reach),
            Note::BroadcastSpread { members, missed } => {
                for (outcome, members) in [("queued", members), ("no_room", missed)] {
                    self.broadcast_members.get_or_create(&[("outcome", outcome)]).inc_by((*members).into());
                }
            }
            Note::SignalPassedOn => _ = self.signals_passed_on.inc(),
            Note::LinkAdmitted { role, .. } => count(&self.links_admitted, [("role", role_name(*role))]),
            Note::LinkEnded { admitted, .. } => count(&self.links_ended, [("admitted", yes_no(*admitted))]),
            Note::LinkRefused { reason, by_us, .. } => {
                let by = if *by_us { "us" } else { "them" };
                count(&self.links_refused, [("by", by), ("reason", goodbye_name(*reason))]);
            }
            Note::HostBarred { bar, .. } => count(&self.hosts_barred, [("reason", bar_name(*bar))]),
            Note::KeySeen { .. } => _ = self.key_seen.inc(),
            Note::RevocationDropped { .. } => _ = self.revocations_dropped.inc(),
            Note::Misbehaved { fault, .. } => count(&self.misbehaviours, [("fault", fault.name())]),
            Note::DialFailed { failure, .. } => count(&self.dials_failed, [("reason", failure_name(failure))]),
            Note::Punched { nats: (ours, theirs), outcome, .. } => {
                let (ours, theirs) = (("ours", ours.word()), ("theirs", theirs.word()));
                count(&self.punches, [ours, theirs, ("outcome", outcome.name())]);
            }
            Note::NotIntroduced { why, .. } => count(&self.not_introduced, [("reason", not_introduced_name(*why))]),
            Note::DhtAnswered { registration, outcome } => {
                let asked = if *registration { "registration" } else { "look_up" };
                count(&self.dht_answers, [("asked", asked), ("answered", yes_no(outcome.is_ok()))]);
            }
            Note::SeedsAnswered { outcome } => {
                count(&self.dns_seed_answers, [("answered", yes_no(outcome.is_ok()))]);
            }
            Note::HostAppeared { .. } => _ = self.hosts_appeared.inc(),
            Note::HostExpired { .. } => _ = self.hosts_expired.inc(),
            Note::HostQuarantined { fault, .. } => count(&self.hosts_quarantined, [("fault", fault.name())]),
            Note::Announced { ops } => {
                let kind = if *ops == 0 { "heartbeat" } else { "change" };
                count(&self.announcements_made, [("kind", kind)]);
                self.ops_announced.inc_by(*ops as u64);
            }
            Note::AnnouncementReceived { new } => count(&self.announcements_received, [("new", yes_no(*new))]),
            Note::QuestionDropped { .. } => _ = self.questions_dropped.inc(),
            Note::AddressChanged { .. } => _ = self.address_changes.inc(),
            Note::NatFound { nat } => count(&self.nats_found, [("nat", nat.word())]),
            Note::Reached { target, .. } => count(&self.places, [("place", target.word()), ("reached", "yes")]),
            Note::NotReached { target, .. } => count(&self.places, [("place", target.word()), ("reached", "no")]),
            Note::CaughtUp { by, .. } => count(&self.catch_ups, [("by", catch_up_name(*by))]),
        }
    }

    /// Takes over what the hub has counted of the worlds.
    pub(super) fn worlds(&self, worlds: &hub::Counts) {
        for (outcome, count) in [
            ("done", &worlds.handshakes_done),
            ("check", &worlds.handshakes_for_checks),
            ("other_network", &worlds.handshakes_of_other_networks),
            ("without_key", &worlds.handshakes_without_key),
            ("failed", &worlds.handshakes_failed),
            ("turned_away", &worlds.handshakes_refused),
            ("address_asked", &worlds.handshakes_retried),
        ] {
            take_over(&self.handshakes, [("outcome", outcome)], count.total());
        }
        for (outcome, count) in [("answered", &worlds.stun_answered), ("refused", &worlds.stun_refused)] {
            take_over(&self.stun_requests, [("outcome", outcome)], count.total());
        }
        self.datagrams_dropped.inner().store(worlds.datagrams_dropped.total(), Ordering::Relaxed);
        for (what, count) in [
            ("slow_edge", &worlds.edges_overflowed),
            ("slow_link", &worlds.links_overflowed),
            ("misframed_link", &worlds.links_misframed),
        ] {
            take_over(&self.cut, [("what", what)], count.total());
        }
        for (door, count) in worlds.doors() {
            for (what, count) in [("opened", &count.opened), ("closed", &count.closed)] {
                take_over(&self.door_sockets, [("door", door), ("what", what)], count.total());
            }
            for (direction, count) in [("in", &count.received), ("out", &count.sent)] {
                take_over(&self.door_frames, [("door", door), ("direction", direction)], count.total());
            }
        }
    }

    fn signal(&self, outcome: Outcome, local: bool) {
        let (status, refusal) = match outcome {
            Outcome::Delivered => ("delivered", ""),
            Outcome::Refused(refusal) => ("refused", Refusal::name(refusal)),
            Outcome::Unknown => ("unknown", ""),
        };
        count(&self.signals, [("status", status), ("refusal", refusal), ("local", yes_no(local))]);
    }

    fn broadcast(&self, reach: &Reach) {
        let Reach { taken, refused, unknown, code, .. } = *reach;
        let outcome = match (taken, refused + unknown, code) {
            (0, 0, Some(refusal)) => refusal.name(),
            (0, 0, None) => "nobody",
            (_, 0, _) => "taken",
            (0, _, _) => "lost",
            _ => "partly",
        };
        count(&self.broadcasts, [("outcome", outcome)]);
        for (outcome, hosts) in [("taken", taken), ("refused", refused), ("unknown", unknown)] {
            self.broadcast_hosts.get_or_create(&[("outcome", outcome)]).inc_by(hosts);
        }
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("sessions_opened", "Sessions that began or went on", self.sessions_opened.clone());
        registry.register("sessions_ended", "Sessions that are over, by reason", self.sessions_ended.clone());
        registry.register("edge_refusals", "What edges were refused, by code", self.edge_refusals.clone());
        registry.register("signals", "Receipts given to edges of this host", self.signals.clone());
        registry.register(
            "signals_passed_on",
            "Signals handed on towards another host",
            self.signals_passed_on.clone(),
        );
        registry.register(
            "broadcasts",
            "Tallies given to edges of this host: taken by all hosts that have members, by some, by none, or refused here",
            self.broadcasts.clone(),
        );
        registry.register(
            "broadcast_hosts",
            "What hosts did with the broadcasts of edges of this host",
            self.broadcast_hosts.clone(),
        );
        registry.register(
            "broadcast_members",
            "Members here to whom broadcasts came, and whether their queues had room",
            self.broadcast_members.clone(),
        );
        registry.register("links_admitted", "Links admitted both ways, by our end", self.links_admitted.clone());
        registry.register("links_ended", "Connections to hosts that are gone or refused", self.links_ended.clone());
        registry.register(
            "links_refused",
            "Links that one side did not want because of who the other is, by side and reason",
            self.links_refused.clone(),
        );
        registry.register("hosts_barred", "Known hosts that were shut out, by reason", self.hosts_barred.clone());
        registry.register(
            "revocations_dropped",
            "Revocations of hosts never heard of for which there was no room",
            self.revocations_dropped.clone(),
        );
        registry.register(
            "own_key_seen_elsewhere",
            "Times that this host's id was heard in words that it never said",
            self.key_seen.clone(),
        );
        registry.register("misbehaviours", "Faults of other hosts, by kind", self.misbehaviours.clone());
        registry.register("dials_failed", "Attempts to reach a host that came to nothing", self.dials_failed.clone());
        registry.register("dht_answers", "Look-ups and registrations in the DHT", self.dht_answers.clone());
        registry.register("dns_seed_answers", "Look-ups of the names of dns_seeds", self.dns_seed_answers.clone());
        registry.register("hosts_appeared", "Hosts that became known", self.hosts_appeared.clone());
        registry.register("hosts_expired", "Hosts that were not heard of any more", self.hosts_expired.clone());
        registry.register("hosts_quarantined", "Hosts whose roster was refused", self.hosts_quarantined.clone());
        registry.register("announcements_made", "Our own announcements", self.announcements_made.clone());
        registry.register("ops_announced", "Changes in our own announcements", self.ops_announced.clone());
        registry.register(
            "announcements_received",
            "Announcements of other hosts, and whether they were new",
            self.announcements_received.clone(),
        );
        registry.register("catch_ups", "Rosters brought up to date, by means", self.catch_ups.clone());
        registry.register(
            "questions_dropped",
            "Questions of neighbours that went unanswered, because they asked for too much",
            self.questions_dropped.clone(),
        );
        self.register_reach(registry);
        self.register_worlds(registry);
    }

    /// Where the host is, and whom it meets there.
    fn register_reach(&self, registry: &mut Registry) {
        registry.register(
            "punches",
            "Hosts dialled because a neighbour introduced them, by what stands before us and before them",
            self.punches.clone(),
        );
        registry.register("not_introduced", "Hosts that no neighbour introduced to us", self.not_introduced.clone());
        registry.register("address_changes", "Times that others saw this host move", self.address_changes.clone());
        registry.register("nats_found", "What was found to stand before this host", self.nats_found.clone());
        registry.register(
            "places_checked",
            "Places of this host that were reached from outside from then on, or not any more, by kind",
            self.places.clone(),
        );
    }

    /// What the machine never hears of.
    fn register_worlds(&self, registry: &mut Registry) {
        registry.register("handshakes", "TLS handshakes with other hosts, by outcome", self.handshakes.clone());
        registry.register("stun_requests", "STUN requests at the port for links", self.stun_requests.clone());
        registry.register(
            "datagrams_dropped",
            "Datagrams at the port for links that were neither of a link nor a STUN request that is answered",
            self.datagrams_dropped.clone(),
        );
        registry.register("cut", "Sockets and links that were cut, by what was wrong", self.cut.clone());
        registry.register("door_sockets", "Sockets of edges, by protocol", self.door_sockets.clone());
        registry.register("door_frames", "Frames from and to edges, by protocol", self.door_frames.clone());
    }
}

fn count<const N: usize>(counters: &Counters<N>, labels: Labels<N>) {
    counters.get_or_create(&labels).inc();
}

/// Sets a counter to what was counted elsewhere.
fn take_over<const N: usize>(counters: &Counters<N>, labels: Labels<N>, total: u64) {
    counters.get_or_create(&labels).inner().store(total, Ordering::Relaxed);
}
