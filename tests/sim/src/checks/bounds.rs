//! No queue and no table above its limit, and nothing left when everybody has gone.

use aldis::relay::limits;
use aldis::relay::view::Tables;
use aldis_wire::limits as wire;

use crate::map::Place;
use crate::world::World;

impl World {
    /// The tables of some hosts against their limits.
    pub(super) fn look_at_tables(&mut self, count: usize) {
        for _ in 0..count {
            let place = self.checks.next_tables % self.hosts.len();
            self.checks.next_tables += 1;
            let Some(tables) = self.hosts[place].running().map(|relay| relay.tables()) else { continue };
            for (what, has, limit) in bounds(&tables) {
                if has > limit {
                    self.violated(&[place], format!("{has} {what}, and at most {limit} are allowed"));
                }
            }
        }
    }

    /// Nothing is left of edges that have gone.
    pub(super) fn look_at_empty_tables(&mut self) {
        let places: Vec<Place> = (0..self.hosts.len()).collect();
        for place in places {
            let Some(tables) = self.hosts[place].running().map(|relay| relay.tables()) else { continue };
            for (what, left) in leftovers(&tables) {
                if left > 0 {
                    self.violated(&[place], format!("{left} {what} are left although everybody has gone"));
                }
            }
        }
    }
}

fn bounds(tables: &Tables) -> Vec<(&'static str, usize, usize)> {
    vec![
        ("sessions", tables.sessions, limits::SESSIONS_MAX),
        ("messages not acknowledged by one edge", tables.unacked_max, limits::UNACKED_MAX),
        (
            "bytes not acknowledged by one edge",
            tables.unacked_bytes_max,
            limits::UNACKED_BYTES + limits::UNACKED_EVENTS_BYTES,
        ),
        ("signals remembered of one session", tables.remembered_signals_max, limits::REMEMBERED_SIGNALS_MAX),
        ("broadcasts remembered of one session", tables.remembered_broadcasts_max, limits::REMEMBERED_BROADCASTS_MAX),
        ("broadcasts remembered", tables.spreads, limits::REMEMBERED_SPREADS_MAX),
        ("senders of broadcasts", tables.broadcasters, limits::REMEMBERED_SPREADS_MAX),
        ("senders remembered by one session", tables.senders_max, limits::SENDERS_REMEMBERED_MAX),
        ("deliveries remembered", tables.deliveries, limits::REMEMBERED_DELIVERIES_MAX),
        ("sealed frames passed on", tables.passed_on, limits::PASSED_ON_MAX),
        ("homes with detours", tables.detours, limits::DETOURS_MAX),
        ("return routes", tables.return_routes, limits::RETURN_ROUTES_MAX),
        ("addresses", tables.addresses, limits::ADDRESSES_MAX),
        ("counters", tables.counters, limits::COUNTERS_MAX),
        ("origins", tables.origins, limits::ORIGINS_MAX),
        ("rosters", tables.rosters, limits::ORIGINS_MAX),
        ("marks", tables.marks, limits::MARKS_MAX),
        ("announcements in one log", tables.log_max, limits::LOG_MAX),
        ("heads that wait", tables.waiting_max, limits::WAITING_MAX),
        ("links", tables.links, limits::LINKS_MAX + 2 * limits::LINKS_PENDING_MAX),
        ("origins of one link", tables.link_origins_max, limits::ORIGINS_MAX.max(usize::from(wire::HAVE_NUMBERS_MAX))),
        ("bytes on one link", tables.link_bytes_max, link_bytes()),
        ("new origins counted", tables.introductions, limits::ORIGINS_MAX),
        ("hosts with faults", tables.faults, limits::FAULTY_MAX),
        ("origins asked for", tables.asking, limits::ORIGINS_MAX + limits::UNSEEN_MAX),
        ("deadlines of signals", tables.deadlines, limits::DEADLINES_MAX),
    ]
}

fn link_bytes() -> usize {
    limits::ANNOUNCE_QUEUE_BYTES + limits::SIGNAL_QUEUE_BYTES + limits::SYNC_QUEUE_BYTES + limits::CONTROL_QUEUE_BYTES
}

fn leftovers(tables: &Tables) -> [(&'static str, usize); 16] {
    [
        ("sockets", tables.edges),
        ("sessions", tables.sessions),
        ("topics", tables.topics),
        ("messages not acknowledged", tables.unacked),
        ("open signals", tables.open_signals),
        ("open broadcasts", tables.open_broadcasts),
        ("broadcasts remembered", tables.spreads),
        ("senders of broadcasts", tables.broadcasters),
        ("deadlines of signals", tables.deadlines),
        ("deliveries", tables.deliveries),
        ("sealed signals", tables.sealed),
        ("sealed frames passed on", tables.passed_on),
        ("return routes", tables.return_routes),
        ("peers", tables.peers),
        ("topics with members", tables.directory_topics),
        ("comparisons", tables.comparisons),
    ]
}
