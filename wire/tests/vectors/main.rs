//! The golden messages under `wire/vectors/`: what this crate writes, byte for byte, so that a change of the wire shows.
//!
//! Other implementations read the same files. After a change that is meant, `ALDIS_BLESS=1 cargo test -p aldis-wire`
//! writes them anew; the difference then belongs into the commit, and mostly a new protocol version too.
#![recursion_limit = "256"]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may fail by panic")]
#![allow(clippy::disallowed_methods, reason = "the outside world: this test reads and writes files")]

mod edge;
mod frames;
mod keys;
mod rosters;

use std::path::Path;

use aldis_wire::hex;
use aldis_wire::limits;
use aldis_wire::refusal::Refusal;
use serde_json::{Value, json};

/// Compares with `wire/vectors/<name>.json`, or writes it when asked to.
fn golden(name: &str, about: &str, content: Value) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors").join(name).with_extension("json");
    let mut made = json!({ "about": about });
    made.as_object_mut().unwrap().extend(content.as_object().unwrap().clone());
    if std::env::var_os("ALDIS_BLESS").is_some() {
        std::fs::write(&path, serde_json::to_string_pretty(&made).unwrap() + "\n").unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let written: Value = serde_json::from_str(&written).unwrap();
    for (field, value) in made.as_object().unwrap() {
        assert_eq!(&written[field], value, "`{field}` of {} is not what this crate makes", path.display());
    }
    assert_eq!(written.as_object().unwrap().len(), made.as_object().unwrap().len(), "{}", path.display());
}

fn hex(bytes: &[u8]) -> String {
    hex::encode(bytes)
}

#[test]
fn refusals_keep_their_numbers_names_and_sentences() {
    let table: Vec<_> = Refusal::ALL
        .iter()
        .map(|refusal| json!({ "number": refusal.number(), "name": refusal.name(), "sentence": refusal.sentence() }))
        .collect();
    // The normative text says the same, line by line.
    let (_, text) = include_str!("../../PROTOCOL.md").split_once("## 9. Refusals").unwrap();
    let (text, _) = text.split_once("\n## ").unwrap();
    let lines: Vec<_> = text.lines().filter(|line| line.contains('`')).collect();
    let written = |refusal: &Refusal| {
        let (number, name, sentence) = (refusal.number(), refusal.name(), refusal.sentence());
        format!("| {number} | `{name}` | {sentence} |")
    };
    assert_eq!(lines, Refusal::ALL.iter().map(written).collect::<Vec<_>>());
    golden("refusals", "PROTOCOL.md §9. Numbers go between hosts, names to edges.", json!({ "refusals": table }));
}

#[test]
fn limits_on_which_both_ends_must_agree_do_not_move() {
    let millis = |duration: std::time::Duration| u64::try_from(duration.as_millis()).unwrap();
    let content = json!({
        "version": limits::VERSION,
        "signal_data_bytes": limits::SIGNAL_DATA_BYTES,
        "sealed_plain_bytes": limits::SEALED_PLAIN_BYTES,
        "edge_message_bytes": limits::EDGE_MESSAGE_BYTES,
        "request_id_bytes": limits::REQUEST_ID_BYTES,
        "topic_name_bytes": limits::TOPIC_NAME_BYTES,
        "meta_bytes": limits::META_BYTES,
        "json_depth_max": limits::JSON_DEPTH_MAX,
        "sample_max": limits::SAMPLE_MAX,
        "sample_default": limits::SAMPLE_DEFAULT,
        "network_name_bytes": limits::NETWORK_NAME_BYTES,
        "frame_bytes": limits::FRAME_BYTES,
        "frame_before_admission_bytes": limits::FRAME_BEFORE_ADMISSION_BYTES,
        "ops_bytes": limits::OPS_BYTES,
        "ops_max": limits::OPS_MAX,
        "head_bytes": limits::HEAD_BYTES,
        "record_bytes": limits::RECORD_BYTES,
        "record_addresses_max": limits::RECORD_ADDRESSES_MAX,
        "record_gateways_max": limits::RECORD_GATEWAYS_MAX,
        "record_neighbours_max": limits::RECORD_NEIGHBOURS_MAX,
        "gateway_url_bytes": limits::GATEWAY_URL_BYTES,
        "software_bytes": limits::SOFTWARE_BYTES,
        "roster_peers_max": limits::ROSTER_PEERS_MAX,
        "roster_memberships_max": limits::ROSTER_MEMBERSHIPS_MAX,
        "roster_meta_bytes": limits::ROSTER_META_BYTES,
        "peer_topics_max": limits::PEER_TOPICS_MAX,
        "announcements_per_second": limits::ANNOUNCEMENTS_PER_SECOND,
        "announcements_burst": limits::ANNOUNCEMENTS_BURST,
        "have_entries_max": limits::HAVE_ENTRIES_MAX,
        "have_numbers_max": limits::HAVE_NUMBERS_MAX,
        "query_ranges_max": limits::QUERY_RANGES_MAX,
        "revocations_max": limits::REVOCATIONS_MAX,
        "below_max": limits::BELOW_MAX,
        "reply_entries_max": limits::REPLY_ENTRIES_MAX,
        "leaf_max": aldis_wire::digest::LEAF_MAX,
        "lanes": limits::LANES,
        "hops_max": limits::HOPS_MAX,
        "heartbeat_min_ms": millis(limits::HEARTBEAT_MIN),
        "heartbeat_max_ms": millis(limits::HEARTBEAT_MAX),
        "heartbeats_missed_max": limits::HEARTBEATS_MISSED_MAX,
        "exporter_label": String::from_utf8_lossy(aldis_wire::host::EXPORTER_LABEL),
        "subprotocol": aldis_wire::edge::SUBPROTOCOL,
        "path": aldis_wire::edge::PATH,
    });
    golden("limits", "Bounds and names on which both ends must agree.", content);
}
