//! Counts for Prometheus, one registry per host. Labels have few values; never a peer's, topic's or host's id.

mod counts;
mod gauges;
mod names;

use std::sync::Arc;

use axum::Router;
use axum::http::header;
use axum::routing::get;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use self::counts::Counts;
use self::gauges::Gauges;
use crate::net::hub::Hub;
use crate::relay::io::Note;
use crate::relay::view::View;

/// The content type of [`Metrics::render`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

type Labels<const N: usize> = [(&'static str, &'static str); N];

/// All counts of one host.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    counts: Counts,
    gauges: Gauges,
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
        self.counts.note(note);
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

/// `GET /metrics`: what `metrics` has counted and what the machine shows.
pub fn router(metrics: Arc<Metrics>, hub: Arc<Hub>) -> Router {
    let render = async move || {
        metrics.counts.worlds(hub.counts());
        ([(header::CONTENT_TYPE, CONTENT_TYPE)], metrics.render(&hub.recent_view()))
    };
    Router::new().route("/metrics", get(render))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::hub;
    use crate::relay::io::{CheckTarget, Mapped, Mapping, MappingProtocol, Reach};
    use crate::relay::view::{DiscoveryView, PlaceState, PlaceView, ReachView, RefusedView};
    use aldis_wire::host::{GoodbyeReason, Nat, Outcome};
    use aldis_wire::id::HostId;
    use aldis_wire::refusal::Refusal;
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
        metrics.counts.worlds(&worlds);
        worlds.handshakes_of_other_networks.add();
        metrics.counts.worlds(&worlds);
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
