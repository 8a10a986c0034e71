//! Counts for Prometheus, one registry per host. Labels have few values; never a peer's, topic's or host's id.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aldis_wire::announcement::GoneReason;
use aldis_wire::host::{GoodbyeReason, Nat, NotIntroducedReason, Outcome, Role};
use aldis_wire::refusal::Refusal;
use axum::Router;
use axum::http::header;
use axum::routing::get;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use crate::net::hub::{self, Hub};
use crate::relay::io::{Bar, CatchUp, CheckTarget, DialFailure, Mapped, Mapping, MappingProtocol, Note, Reach};
use crate::relay::view::{LinkKind, PlaceState, PlaceView, ReachView, View};

/// The content type of [`Metrics::render`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

type Labels<const N: usize> = [(&'static str, &'static str); N];
type Counters<const N: usize> = Family<Labels<N>, Counter>;

/// All counts of one host.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    counts: Counts,
    gauges: Gauges,
}

#[derive(Debug, Default)]
struct Counts {
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

#[derive(Debug, Default)]
struct Gauges {
    edges: Gauge,
    sessions: Gauge,
    topics: Gauge,
    links: Gauge,
    hosts: Family<Labels<1>, Gauge>,
    peers: Gauge,
    memberships: Gauge,
    refused: Family<Labels<1>, Gauge>,
    hints: Gauge,
    dht_works: Gauge,
    slowest_link: Gauge<f64, AtomicU64>,
    nat: Family<Labels<1>, Gauge>,
    reachable: Gauge,
    places_known: Family<Labels<2>, Gauge>,
    mapped: Family<Labels<2>, Gauge>,
    link_kinds: Family<Labels<1>, Gauge>,
}

impl Default for Metrics {
    fn default() -> Self {
        let (counts, gauges) = (Counts::default(), Gauges::default());
        let mut registry = Registry::with_prefix("aldis");
        counts.register(&mut registry);
        gauges.register(&mut registry);
        Self { registry, counts, gauges }
    }
}

impl Metrics {
    /// Counts a note.
    pub fn note(&self, note: &Note) {
        let counts = &self.counts;
        match note {
            Note::SessionOpened { resumed, .. } => count(&counts.sessions_opened, [("resumed", yes_no(*resumed))]),
            Note::SessionEnded { reason, .. } => count(&counts.sessions_ended, [("reason", gone(*reason))]),
            Note::EdgeRefused { refusal } => count(&counts.edge_refusals, [("refusal", refusal.name())]),
            Note::SignalEnded { outcome, local } => counts.signal(*outcome, *local),
            Note::BroadcastEnded { reach } => counts.broadcast(reach),
            Note::BroadcastSpread { members, missed } => {
                for (outcome, members) in [("queued", members), ("no_room", missed)] {
                    counts.broadcast_members.get_or_create(&[("outcome", outcome)]).inc_by((*members).into());
                }
            }
            Note::SignalPassedOn => _ = counts.signals_passed_on.inc(),
            Note::LinkAdmitted { role, .. } => count(&counts.links_admitted, [("role", role_name(*role))]),
            Note::LinkEnded { admitted, .. } => count(&counts.links_ended, [("admitted", yes_no(*admitted))]),
            Note::LinkRefused { reason, by_us, .. } => {
                let by = if *by_us { "us" } else { "them" };
                count(&counts.links_refused, [("by", by), ("reason", goodbye_name(*reason))]);
            }
            Note::HostBarred { bar, .. } => count(&counts.hosts_barred, [("reason", bar_name(*bar))]),
            Note::KeySeen { .. } => _ = counts.key_seen.inc(),
            Note::RevocationDropped { .. } => _ = counts.revocations_dropped.inc(),
            Note::Misbehaved { fault, .. } => count(&counts.misbehaviours, [("fault", fault.name())]),
            Note::DialFailed { failure, .. } => count(&counts.dials_failed, [("reason", failure_name(failure))]),
            Note::Punched { nats: (ours, theirs), outcome, .. } => {
                let (ours, theirs) = (("ours", ours.word()), ("theirs", theirs.word()));
                count(&counts.punches, [ours, theirs, ("outcome", outcome.name())]);
            }
            Note::NotIntroduced { why, .. } => count(&counts.not_introduced, [("reason", not_introduced_name(*why))]),
            Note::DhtAnswered { registration, outcome } => {
                let asked = if *registration { "registration" } else { "look_up" };
                count(&counts.dht_answers, [("asked", asked), ("answered", yes_no(outcome.is_ok()))]);
            }
            Note::SeedsAnswered { outcome } => {
                count(&counts.dns_seed_answers, [("answered", yes_no(outcome.is_ok()))]);
            }
            Note::HostAppeared { .. } => _ = counts.hosts_appeared.inc(),
            Note::HostExpired { .. } => _ = counts.hosts_expired.inc(),
            Note::HostQuarantined { fault, .. } => count(&counts.hosts_quarantined, [("fault", fault.name())]),
            Note::Announced { ops } => {
                let kind = if *ops == 0 { "heartbeat" } else { "change" };
                count(&counts.announcements_made, [("kind", kind)]);
                counts.ops_announced.inc_by(*ops as u64);
            }
            Note::AnnouncementReceived { new } => count(&counts.announcements_received, [("new", yes_no(*new))]),
            Note::QuestionDropped { .. } => _ = counts.questions_dropped.inc(),
            Note::AddressChanged { .. } => _ = counts.address_changes.inc(),
            Note::NatFound { nat } => count(&counts.nats_found, [("nat", nat.word())]),
            Note::Reached { target, .. } => count(&counts.places, [("place", target.word()), ("reached", "yes")]),
            Note::NotReached { target, .. } => count(&counts.places, [("place", target.word()), ("reached", "no")]),
            Note::CaughtUp { by, .. } => count(&counts.catch_ups, [("by", catch_up_name(*by))]),
        }
    }

    /// Takes over what the hub has counted of the worlds.
    pub fn worlds(&self, counts: &hub::Counts) {
        for (outcome, count) in [
            ("done", &counts.handshakes_done),
            ("check", &counts.handshakes_for_checks),
            ("other_network", &counts.handshakes_of_other_networks),
            ("without_key", &counts.handshakes_without_key),
            ("failed", &counts.handshakes_failed),
            ("turned_away", &counts.handshakes_refused),
            ("address_asked", &counts.handshakes_retried),
        ] {
            take_over(&self.counts.handshakes, [("outcome", outcome)], count.total());
        }
        for (outcome, count) in [("answered", &counts.stun_answered), ("refused", &counts.stun_refused)] {
            take_over(&self.counts.stun_requests, [("outcome", outcome)], count.total());
        }
        self.counts.datagrams_dropped.inner().store(counts.datagrams_dropped.total(), Ordering::Relaxed);
        for (what, count) in [
            ("slow_edge", &counts.edges_overflowed),
            ("slow_link", &counts.links_overflowed),
            ("misframed_link", &counts.links_misframed),
        ] {
            take_over(&self.counts.cut, [("what", what)], count.total());
        }
        for (door, count) in counts.doors() {
            for (what, count) in [("opened", &count.opened), ("closed", &count.closed)] {
                take_over(&self.counts.door_sockets, [("door", door), ("what", what)], count.total());
            }
            for (direction, count) in [("in", &count.received), ("out", &count.sent)] {
                take_over(&self.counts.door_frames, [("door", door), ("direction", direction)], count.total());
            }
        }
    }

    /// Everything in the OpenMetrics text format, with the gauges as `view` shows them.
    #[must_use]
    pub fn render(&self, view: &View) -> String {
        self.gauges.show(view);
        let mut text = String::new();
        // Writing to memory cannot fail.
        let written = encode(&mut text, &self.registry);
        debug_assert!(written.is_ok(), "metrics that cannot be written");
        text
    }
}

impl Counts {
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

    fn register(&self, registry: &mut Registry) {
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

impl Gauges {
    fn register(&self, registry: &mut Registry) {
        registry.register("edges", "Edges connected now", self.edges.clone());
        registry.register("sessions", "Sessions, those that wait for their edge included", self.sessions.clone());
        registry.register("topics", "Topics with members or watchers at home here", self.topics.clone());
        registry.register("links", "Links to other hosts", self.links.clone());
        registry.register("hosts", "Other hosts known", self.hosts.clone());
        registry.register("remote_peers", "Peers at home at live other hosts", self.peers.clone());
        registry.register("remote_memberships", "Memberships of the same", self.memberships.clone());
        registry.register("hosts_refused", "Hosts that are refused now, by reason", self.refused.clone());
        registry.register("discovery_hints", "Addresses at which there may be hosts", self.hints.clone());
        registry.register("dht_works", "1 when the last look-up was answered", self.dht_works.clone());
        registry.register_with_unit(
            "slowest_link_round_trip",
            "Longest round trip of all links",
            Unit::Seconds,
            self.slowest_link.clone(),
        );
        registry.register("nat", "1 for what stands before this host, 0 for all else", self.nat.clone());
        registry.register("reachable", "1 when other hosts reach this one from outside", self.reachable.clone());
        registry.register(
            "places",
            "Places of this host, by kind and by what came of reaching them",
            self.places_known.clone(),
        );
        registry.register(
            "mapped_ports",
            "Ports that routers have opened, by protocol and purpose",
            self.mapped.clone(),
        );
        registry.register("links_by_kind", "Links, by how they came about", self.link_kinds.clone());
    }

    fn show(&self, view: &View) {
        self.edges.set(number(view.edges));
        self.sessions.set(number(view.sessions));
        self.topics.set(number(view.topics));
        self.links.set(number(view.links.len()));
        let live = view.hosts.iter().filter(|host| host.live);
        self.hosts.get_or_create(&[("live", "yes")]).set(number(live.clone().count()));
        self.hosts.get_or_create(&[("live", "no")]).set(number(view.hosts.iter().filter(|host| !host.live).count()));
        self.peers.set(number(live.clone().map(|host| host.peers).sum()));
        self.memberships.set(number(live.map(|host| host.memberships).sum()));
        for (reason, count) in [
            ("denied", view.refused.denied),
            ("revoked", view.refused.revoked.len()),
            ("quarantined", view.refused.quarantined.len()),
        ] {
            self.refused.get_or_create(&[("reason", reason)]).set(number(count));
        }
        self.hints.set(number(view.discovery.hints));
        self.dht_works.set(i64::from(view.discovery.dht_problem.is_none()));
        self.slowest_link.set(view.links.iter().map(|link| link.rtt.as_secs_f64()).fold(0.0, f64::max));
        for kind in LinkKind::ALL {
            let count = view.links.iter().filter(|link| link.kind == kind).count();
            self.link_kinds.get_or_create(&[("kind", kind.word())]).set(number(count));
        }
        self.reach(&view.reach);
    }

    fn reach(&self, reach: &ReachView) {
        for nat in Nat::ALL {
            self.nat.get_or_create(&[("nat", nat.word())]).set(i64::from(nat == reach.nat));
        }
        let verified = |place: &PlaceView| matches!(place.state, PlaceState::Verified { .. });
        let links = |place: &PlaceView| matches!(place.target, CheckTarget::Links(_));
        self.reachable.set(i64::from(reach.places.iter().any(|place| links(place) && verified(place))));
        for place in ["links", "other_port", "stun", "gateway"] {
            for state in ["verified", "not_reached", "unverified"] {
                let such = |known: &&PlaceView| known.target.word() == place && known.state.word() == state;
                let count = number(reach.places.iter().filter(such).count());
                self.places_known.get_or_create(&[("place", place), ("state", state)]).set(count);
            }
        }
        for protocol in [MappingProtocol::Pcp, MappingProtocol::NatPmp, MappingProtocol::Upnp] {
            for of in [Mapped::Links, Mapped::Gateway] {
                let such = |mapping: &&Mapping| mapping.protocol == protocol && mapping.of == of;
                let count = number(reach.mapped.iter().filter(such).count());
                self.mapped.get_or_create(&[("protocol", protocol.name()), ("of", of.word())]).set(count);
            }
        }
    }
}

/// `GET /metrics`: what `metrics` has counted and what the machine shows.
pub fn router(metrics: Arc<Metrics>, hub: Arc<Hub>) -> Router {
    let render = async move || {
        metrics.worlds(hub.counts());
        ([(header::CONTENT_TYPE, CONTENT_TYPE)], metrics.render(&hub.recent_view()))
    };
    Router::new().route("/metrics", get(render))
}

fn count<const N: usize>(counters: &Counters<N>, labels: Labels<N>) {
    counters.get_or_create(&labels).inc();
}

/// Sets a counter to what was counted elsewhere.
fn take_over<const N: usize>(counters: &Counters<N>, labels: Labels<N>, total: u64) {
    counters.get_or_create(&labels).inner().store(total, Ordering::Relaxed);
}

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn yes_no(yes: bool) -> &'static str {
    if yes { "yes" } else { "no" }
}

fn role_name(role: Role) -> &'static str {
    match role {
        Role::Dialler => "dialler",
        Role::Acceptor => "acceptor",
    }
}

fn gone(reason: GoneReason) -> &'static str {
    match reason {
        GoneReason::Closed => "closed",
        GoneReason::Lost => "lost",
        GoneReason::Moved => "moved",
        GoneReason::Ended => "ended",
        GoneReason::HostClosed => "host_closed",
    }
}

fn goodbye_name(reason: GoodbyeReason) -> &'static str {
    match reason {
        GoodbyeReason::Closing => "closing",
        GoodbyeReason::Crossed => "crossed",
        GoodbyeReason::NotAdmitted => "not_admitted",
        GoodbyeReason::Misbehaved => "misbehaved",
        GoodbyeReason::Full => "full",
        GoodbyeReason::NotAllowed => "not_allowed",
        GoodbyeReason::Revoked => "revoked",
    }
}

fn bar_name(bar: Bar) -> &'static str {
    match bar {
        Bar::Denied => "denied",
        Bar::Unlisted => "not_in_allow_list",
        Bar::Revoked => "revoked",
    }
}

fn failure_name(failure: &DialFailure) -> &'static str {
    match failure {
        DialFailure::TimedOut => "timed_out",
        DialFailure::OtherNetwork => "other_network",
        DialFailure::OtherHost => "other_host",
        DialFailure::Failed(_) => "failed",
    }
}

fn not_introduced_name(why: NotIntroducedReason) -> &'static str {
    match why {
        NotIntroducedReason::NotLinked => "not_linked",
        NotIntroducedReason::Unwilling => "unwilling",
        NotIntroducedReason::Hopeless => "hopeless",
        NotIntroducedReason::TooOften => "too_often",
    }
}

fn catch_up_name(by: CatchUp) -> &'static str {
    match by {
        CatchUp::Graft => "graft",
        CatchUp::Digest => "digest",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::view::{DiscoveryView, RefusedView};
    use aldis_wire::id::HostId;
    use std::time::Duration;

    /// A host that others reach at a port that its router has opened.
    fn open_by_mapping(by: HostId) -> ReachView {
        ReachView {
            nat: Nat::Open,
            places: vec![PlaceView {
                target: CheckTarget::Links(([192, 0, 2, 1], 1).into()),
                published: true,
                state: PlaceState::Verified { by, age: Duration::ZERO },
            }],
            mapped: vec![Mapping {
                outside: ([192, 0, 2, 1], 1).into(),
                protocol: MappingProtocol::Pcp,
                of: Mapped::Links,
            }],
            ..ReachView::default()
        }
    }

    #[test]
    fn notes_are_counted_and_gauges_shown() {
        let metrics = Metrics::default();
        metrics.note(&Note::EdgeRefused { refusal: Refusal::TooBig });
        metrics.note(&Note::EdgeRefused { refusal: Refusal::TooBig });
        metrics.note(&Note::SignalEnded { outcome: Outcome::Refused(Refusal::NoSuchPeer), local: false });
        let partly = Reach { taken: 2, refused: 1, members: 9, ..Reach::default() };
        let refused = Reach { code: Some(Refusal::RateLimited), ..Reach::default() };
        [partly, refused].into_iter().for_each(|reach| metrics.note(&Note::BroadcastEnded { reach }));
        metrics.note(&Note::BroadcastSpread { members: 7, missed: 1 });
        metrics.note(&Note::Announced { ops: 3 });
        let host = HostId::new([2; 32]);
        metrics.note(&Note::LinkRefused { host, reason: GoodbyeReason::NotAllowed, by_us: false });
        let view = View {
            host: HostId::new([1; 32]),
            epoch: 1,
            seq: 2,
            edges: 7,
            sessions: 8,
            topics: 9,
            links: Vec::new(),
            hosts: Vec::new(),
            refused: RefusedView { denied: 3, ..RefusedView::default() },
            discovery: DiscoveryView { dht_problem: Some("no answer".to_owned()), ..DiscoveryView::default() },
            reach: open_by_mapping(host),
        };
        let worlds = hub::Counts::default();
        worlds.stun_refused.add();
        worlds.datagrams_dropped.add();
        worlds.handshakes_of_other_networks.add();
        metrics.worlds(&worlds);
        worlds.handshakes_of_other_networks.add();
        metrics.worlds(&worlds);
        let text = metrics.render(&view);
        for line in [
            "aldis_edge_refusals_total{refusal=\"too_big\"} 2",
            "aldis_signals_total{status=\"refused\",refusal=\"no_such_peer\",local=\"no\"} 1",
            "aldis_broadcasts_total{outcome=\"partly\"} 1",
            "aldis_broadcasts_total{outcome=\"rate_limited\"} 1",
            "aldis_broadcast_hosts_total{outcome=\"taken\"} 2",
            "aldis_broadcast_members_total{outcome=\"no_room\"} 1",
            "aldis_announcements_made_total{kind=\"change\"} 1",
            "aldis_ops_announced_total 3",
            "aldis_edges 7",
            "aldis_hosts_refused{reason=\"denied\"} 3",
            "aldis_links_refused_total{by=\"them\",reason=\"not_allowed\"} 1",
            "aldis_dht_works 0",
            "aldis_nat{nat=\"open\"} 1",
            "aldis_nat{nat=\"symmetric\"} 0",
            "aldis_reachable 1",
            "aldis_places{place=\"links\",state=\"verified\"} 1",
            "aldis_places{place=\"gateway\",state=\"not_reached\"} 0",
            "aldis_mapped_ports{protocol=\"UPnP\",of=\"links\"} 0",
            "aldis_mapped_ports{protocol=\"PCP\",of=\"links\"} 1",
            "aldis_links_by_kind{kind=\"punched\"} 0",
            "aldis_slowest_link_round_trip_seconds 0.0",
            "aldis_handshakes_total{outcome=\"other_network\"} 2",
            "aldis_stun_requests_total{outcome=\"answered\"} 0",
            "aldis_stun_requests_total{outcome=\"refused\"} 1",
            "aldis_datagrams_dropped_total 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }
}
