//! What an operator may see.

use crate::relay::io::Moment;
use crate::relay::state::State;
use crate::relay::view::{HostView, LinkView, View};

impl State {
    /// The machine as it is now.
    pub(crate) fn view(&self, now: Moment) -> View {
        let links = self.links.admitted().map(|(key, link)| LinkView {
            link: key,
            host: link.host,
            address: link.address,
            role: link.role,
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
            discovery: self.discovery.view(now),
        }
    }
}
