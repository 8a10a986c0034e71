//! A machine that holds the rosters of many others: bytes for each record, by part, and time to take them in.

use std::time::Duration;

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

/// How to measure.
#[derive(Clone, Debug, Args)]
pub(crate) struct Plan {
    /// Other hosts
    #[arg(long, default_value_t = 1_000)]
    origins: usize,
    /// Edges of each, every one in one topic
    #[arg(long, default_value_t = 1_000)]
    edges: usize,
    /// Members of the smallest topic
    #[arg(long, default_value_t = 2)]
    members_min: usize,
    /// Members of the largest topic
    #[arg(long, default_value_t = 50)]
    members_max: usize,
    /// Heartbeats of each host afterwards: after 64 nothing of the announcements themselves is kept
    #[arg(long, default_value_t = 64)]
    heartbeats: usize,
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

/// Measures.
pub(crate) fn measure(plan: &Plan) -> Result<Report> {
    ensure!(plan.origins > 0 && plan.edges > 0, "at least one host with one edge");
    let mut machine = Machine::new(1)?;
    let topics = topics(plan.origins * plan.edges, plan.members_min..=plan.members_max);
    let mut origins: Vec<Origin> = (0..plan.origins).map(Origin::new).collect();
    let mut links = Vec::new();
    for number in 0..plan.origins.div_ceil(ORIGINS_PER_LINK) {
        links.extend([machine.link(&Origin::new(plan.origins + number))?; ORIGINS_PER_LINK]);
    }

    let before = rss_bytes(std::process::id())?;
    let (mut took, mut announcements) = (Duration::ZERO, 0);
    for ((origin, topics), link) in origins.iter_mut().zip(topics.chunks(plan.edges)).zip(&links) {
        for announcement in origin.fill(&mut Trie::default(), topics)? {
            let (_, time) = machine.receive(*link, Channel::Announce, &Frame::Announcement(announcement))?;
            took += time;
            announcements += 1;
        }
        machine.wait(Duration::from_millis(1));
    }
    let filled = rss_bytes(std::process::id())?;
    for _ in 0..plan.heartbeats {
        for (origin, link) in origins.iter_mut().zip(&links) {
            let heartbeat = Frame::Announcement(origin.heartbeat()?);
            machine.receive(*link, Channel::Control, &heartbeat)?;
        }
        machine.wait(Duration::from_secs(1));
    }
    let settled = rss_bytes(std::process::id())?;

    let records = plan.origins * plan.edges;
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
        plan.origins, plan.edges, tables.directory_topics,
    );
    let json = json!({
        "scenario": "records", "origins": plan.origins, "edges": plan.edges, "topics": tables.directory_topics,
        "resident_bytes_per_record": resident, "resident_bytes_per_record_with_logs": announced,
        "entries": entries, "digests": digests, "by_peer": by_peer, "by_topic": by_topic, "us_per_record": us,
    });
    Ok(Report { json, words })
}
