//! What an operator may see.

use std::collections::BTreeSet;

use aldis_wire::host::Role;
use aldis_wire::id::HostId;

use crate::relay::barred::Quarantine;
use crate::relay::io::Moment;
use crate::relay::state::State;
use crate::relay::view::{HostView, LinkKind, LinkView, QuarantineView, RefusedView, Tables, View};

impl State {
    /// The machine as it is now.
    pub(crate) fn view(&self, now: Moment) -> View {
        let links = self.links.admitted().map(|(key, link)| LinkView {
            link: key,
            host: link.host,
            address: link.address,
            role: link.role,
            kind: match link.role {
                _ if link.punched => LinkKind::Punched,
                Role::Dialler => LinkKind::Dialled,
                Role::Acceptor => LinkKind::Accepted,
            },
            rtt: link.rtt,
            age: now.since(link.since),
        });
        let others = self.origins.iter().filter(|(host, _)| *host != self.own);
        let hosts = others.map(|(host, origin)| {
            let roster = self.directory.roster(host);
            let record = self.directory.record(host).map(|recorded| &recorded.record);
            HostView {
                host,
                epoch: origin.mark().0,
                seq: origin.mark().1,
                age: now.since(origin.made),
                live: self.directory.is_shown(host),
                peers: roster.map_or(0, |roster| roster.peers()),
                memberships: roster.map_or(0, |roster| roster.memberships()),
                status: origin.status,
                addresses: record.map(|record| record.addresses.clone()).unwrap_or_default(),
                gateways: record.map(|record| record.gateways.clone()).unwrap_or_default(),
                software: record.map(|record| record.software.clone()).unwrap_or_default(),
                nat: record.map(|record| record.nat).unwrap_or_default(),
                next_hop: origin.next_hop.and_then(|link| self.links.find(link)).map(|link| link.host),
            }
        });
        View {
            host: self.own,
            epoch: self.announcer.epoch,
            seq: self.announcer.seq,
            edges: self.sessions.edges_count(),
            sessions: self.sessions.iter().count(),
            topics: self.sessions.topics_count(),
            links: links.collect(),
            hosts: hosts.collect(),
            refused: self.refused(now),
            discovery: self.discovery.view(now),
            reach: self.reach.view(now, self.links.admitted().next().is_none()),
        }
    }

    fn refused(&self, now: Moment) -> RefusedView {
        let lists = self.barred.lists();
        let quarantined = self.barred.quarantines().filter(|(host, quarantine)| {
            // A later epoch ends it.
            self.origins.find(*host).is_none_or(|origin| origin.newest.0 <= quarantine.epoch)
        });
        let view = |(host, quarantine): (HostId, Quarantine)| QuarantineView {
            host,
            epoch: quarantine.epoch,
            fault: quarantine.fault,
            age: now.since(quarantine.since),
        };
        RefusedView {
            allowed: lists.allow.as_ref().map(BTreeSet::len),
            denied: lists.deny.len(),
            revoked: self.barred.revocations().map(|(revocation, _)| revocation.host()).collect(),
            quarantined: quarantined.map(view).collect(),
        }
    }
}

impl State {
    /// How full every table is.
    pub(crate) fn tables(&self) -> Tables {
        let sessions = || self.sessions.iter().map(|(_, session)| session);
        let broadcasts = || sessions().filter_map(|session| session.broadcasts.as_deref());
        let origins = || self.origins.iter().map(|(_, origin)| origin);
        let links = || self.links.iter().map(|(_, link)| link);
        let most = |sizes: &mut dyn Iterator<Item = usize>| sizes.max().unwrap_or(0);
        Tables {
            edges: self.sessions.edges_count(),
            sessions: sessions().count(),
            topics: self.sessions.topics_count(),
            unacked: sessions().map(|session| session.unacked_count()).sum(),
            unacked_max: most(&mut sessions().map(|session| session.unacked_count())),
            unacked_bytes_max: most(&mut sessions().map(|session| session.unacked_bytes())),
            open_signals: sessions().map(|session| session.outgoing.open_count()).sum(),
            remembered_signals_max: most(&mut sessions().map(|session| session.outgoing.len())),
            senders_max: most(&mut sessions().map(|session| session.senders_count())),
            open_broadcasts: broadcasts().map(|broadcasts| broadcasts.open_count()).sum(),
            remembered_broadcasts_max: most(&mut broadcasts().map(|broadcasts| broadcasts.len())),
            spreads: self.heard.len().0,
            broadcasters: self.heard.len().1,
            deadlines: self.deadlines.len(),
            deliveries: self.deliveries.len(),
            sealed: self.sealed.len(),
            detours: self.detours.len(),
            passed_on: self.passed_on.len(),
            return_routes: self.routes.len(),
            addresses: self.addresses.len(),
            counters: self.directory.counters_count(),
            peers: self.directory.peers_count(),
            directory_topics: self.directory.topics_count(),
            rosters: self.directory.rosters_count(),
            origins: origins().count(),
            marks: self.origins.marks_count(),
            log_max: most(&mut origins().map(|origin| origin.log.len())),
            waiting_max: most(&mut origins().map(|origin| origin.waiting.len())),
            comparisons: origins().filter(|origin| origin.comparison.is_some()).count(),
            links: links().count(),
            link_origins_max: most(&mut links().map(|link| link.origins_count())),
            link_bytes_max: most(&mut links().map(|link| link.bytes_on_way())),
            introductions: self.introductions.len(),
            faults: self.faults.len(),
            asking: self.asking.len(),
            revocations: self.barred.revocations().len(),
            quarantines: self.barred.quarantines().len(),
            pairs: self.meetings.len().0,
            meetings: self.meetings.len().1,
            shared_keys: self.shared.len(),
            checks: self.reach.checks.len(),
            referrals: self.reach.referrals.len().0,
            askers: self.reach.referrals.len().1,
            trials: self.reach.trials.len().0,
            trial_addresses: self.reach.trials.len().1,
            contacts: self.reach.contacts.len(),
            timers: self.timers.len(),
        }
    }
}
