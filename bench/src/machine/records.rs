//! A machine that holds the rosters of many others: bytes for each record, by part, and time to take them in.

use std::time::Duration;

use aldis::relay::io::LinkKey;
use aldis_wire::digest::Trie;
use aldis_wire::host::{Channel, Frame};
use anyhow::{Result, ensure};
use clap::Args;
use serde_json::json;

use super::Machine;
use super::origins::Origin;
use crate::measure::rss_bytes;
use crate::scenario::Report;

/// Hosts of which one link may bring the first news within a minute.
const ORIGINS_PER_LINK: usize = 60;

/// How much there is.
#[derive(Clone, Debug, Args)]
pub(crate) struct Size {
    /// Other hosts
    #[arg(long, default_value_t = 1_000)]
    pub(crate) origins: usize,
    /// Edges of each, every one in one topic
    #[arg(long, default_value_t = 1_000)]
    pub(crate) edges: usize,
    /// Members of the smallest topic
    #[arg(long, default_value_t = 2)]
    members_min: usize,
    /// Members of the largest topic
    #[arg(long, default_value_t = 50)]
    members_max: usize,
}

impl Size {
    /// The topic of each edge of all hosts.
    pub(crate) fn topics(&self) -> Result<Vec<u32>> {
        ensure!(self.origins > 0 && self.edges > 0, "at least one host with one edge");
        Ok(topics(self.origins * self.edges, self.members_min..=self.members_max))
    }
}

/// How to measure.
#[derive(Clone, Debug, Args)]
pub(crate) struct Plan {
    #[command(flatten)]
    size: Size,
    /// Heartbeats of each host afterwards: after 64 nothing of the announcements themselves is kept
    #[arg(long, default_value_t = 64)]
    heartbeats: usize,
}

/// What filling a machine took.
pub(crate) struct Filled {
    origins: Vec<Origin>,
    /// The link of each.
    links: Vec<LinkKey>,
    took: Duration,
    announcements: usize,
}

/// The topic of each edge: topics of all sizes in equal numbers, their members anywhere.
pub(crate) fn topics(edges: usize, members: std::ops::RangeInclusive<usize>) -> Vec<u32> {
    let mut random = fastrand::Rng::with_seed(1);
    let mut topics = Vec::with_capacity(edges);
    let mut number = 0;
    while topics.len() < edges {
        let size = random.usize(members.clone()).min(edges - topics.len());
        topics.extend(std::iter::repeat_n(number, size));
        number += 1;
    }
    random.shuffle(&mut topics);
    topics
}

/// Lets a machine hear of so many hosts and their edges.
pub(crate) fn fill(machine: &mut Machine, size: &Size) -> Result<Filled> {
    let topics = size.topics()?;
    let mut links = Vec::new();
    for number in 0..size.origins.div_ceil(ORIGINS_PER_LINK) {
        links.extend([machine.link(&Origin::new(size.origins + number))?; ORIGINS_PER_LINK]);
    }
    let mut filled = Filled { origins: Vec::new(), links, took: Duration::ZERO, announcements: 0 };
    for ((number, topics), link) in topics.chunks(size.edges).enumerate().zip(&filled.links) {
        let mut origin = Origin::new(number);
        for announcement in origin.fill(&mut Trie::default(), topics)? {
            let (_, time) = machine.receive(*link, Channel::Announce, &Frame::Announcement(announcement))?;
            filled.took += time;
            filled.announcements += 1;
        }
        filled.origins.push(origin);
        machine.wait(Duration::from_millis(1));
    }
    Ok(filled)
}

/// Measures.
pub(crate) fn measure(plan: &Plan) -> Result<Report> {
    let mut machine = Machine::new(1)?;
    let before = rss_bytes(std::process::id())?;
    let Filled { mut origins, links, took, announcements } = fill(&mut machine, &plan.size)?;
    let Size { origins: hosts, edges, .. } = plan.size;
    let filled = rss_bytes(std::process::id())?;
    for _ in 0..plan.heartbeats {
        for (origin, link) in origins.iter_mut().zip(&links) {
            let heartbeat = Frame::Announcement(origin.heartbeat()?);
            machine.receive(*link, Channel::Control, &heartbeat)?;
        }
        machine.wait(Duration::from_secs(1));
    }
    let settled = rss_bytes(std::process::id())?;

    let records = hosts * edges;
    let (tables, memory) = (machine.relay.tables(), machine.relay.memory());
    ensure!(tables.peers == records, "{} of {records} peers arrived", tables.peers);
    let each = |bytes: u64| bytes as f64 / records as f64;
    let parts = [memory.entries_bytes, memory.digests_bytes, memory.peers_bytes, memory.topics_bytes];
    let [entries, digests, by_peer, by_topic] = parts.map(|bytes| bytes as f64 / records as f64);
    let (resident, announced) = (each(settled.saturating_sub(before)), each(filled.saturating_sub(before)));
    let us = took.as_secs_f64() * 1e6 / records as f64;
    let words = format!(
        "records: {} host(s) of {} edges, each in one of {} topics: {resident:.0} bytes resident a record ({announced:.0} \
         before the heartbeats), of which entries {entries:.0}, digests {digests:.0}, index by peer {by_peer:.0}, by topic \
         {by_topic:.0}; {us:.2} µs a record to take in, {announcements} announcements",
        hosts, edges, tables.directory_topics,
    );
    let json = json!({
        "scenario": "records", "origins": hosts, "edges": edges, "topics": tables.directory_topics,
        "resident_bytes_per_record": resident, "resident_bytes_per_record_with_logs": announced,
        "entries": entries, "digests": digests, "by_peer": by_peer, "by_topic": by_topic, "us_per_record": us,
    });
    Ok(Report { json, words })
}
