#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail by panic")]

#[path = "../../../tests/dns/mod.rs"]
mod dns;

use dns::{Server, Zone};

use super::*;

const TAG: NetworkTag = NetworkTag::new([0, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77]);
const OURS: &str = "aldis=0011223344556677";

fn id() -> HostId {
    HostId::new([0xab; 32])
}

fn zone(texts: &[(&str, &[&str])], addresses: &[(&str, &[&str])]) -> Zone {
    Zone {
        texts: texts
            .iter()
            .map(|(name, texts)| ((*name).to_owned(), texts.iter().map(|text| vec![(*text).to_owned()]).collect()))
            .collect(),
        addresses: addresses
            .iter()
            .map(|(name, ips)| ((*name).to_owned(), ips.iter().map(|ip| ip.parse().unwrap()).collect()))
            .collect(),
    }
}

async fn look_up_at(server: &Server, names: &[&str]) -> (Vec<Vec<Hint>>, Result<(), String>) {
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    let config = SeedsConfig { names, servers: Some(vec![server.address]) };
    let mut found = Vec::new();
    let outcome = look_up(&config, TAG, |hints| found.push(hints)).await;
    (found, outcome)
}

fn hint(text: &str, host: Option<HostId>) -> Hint {
    Hint { address: text.parse().unwrap(), host }
}

#[test]
fn a_record_names_places_of_one_network() {
    let place = |name: &str, port, host| Place { host, name: name.to_owned(), port };
    let text = format!("{OURS} 45.1.2.3:4000 {}@[2606:4700::1]:5  relay.example.org:47474", id());
    let expected = [
        place("45.1.2.3", 4_000, None),
        place("2606:4700::1", 5, Some(id())),
        place("relay.example.org", 47_474, None),
    ];
    assert_eq!(read(&text, TAG), expected);
}

#[test]
fn what_is_not_of_our_network_or_cannot_be_read_is_left_out() {
    for text in
        ["", "aldis=", "v=spf1 -all", "aldis=0011223344556688 45.1.2.3:4000", " aldis=0011223344556677 45.1.2.3:4000"]
    {
        assert_eq!(read(text, TAG), [], "{text}");
    }
    for word in ["45.1.2.3", "x@45.1.2.3:4000", ":4000", "a b", "name:", "name:70000", "na/me:1", "[::1]", "@name:1"] {
        assert_eq!(read(&format!("{OURS} {word}"), TAG), [], "{word}");
    }
    let many = " 45.1.2.3:4000".repeat(1_000);
    assert_eq!(read(&format!("{OURS}{many}"), TAG).len(), PLACES_MAX);
}

#[tokio::test]
async fn names_lead_to_hosts_and_names_in_records_are_resolved_in_both_families() {
    let record = format!("{OURS} {}@relay.test:4000 45.1.2.3:4001", id());
    let zone = zone(
        &[("seeds.test.", &["v=spf1 -all", &record, "aldis=ffffffffffffffff 45.9.9.9:4000"])],
        &[("relay.test.", &["45.1.1.1", "2606:4700::1", "45.1.1.2", "45.1.1.3"])],
    );
    let server = Server::start(Some(zone)).await;
    let (found, outcome) = look_up_at(&server, &["seeds.test"]).await;
    assert_eq!(outcome, Ok(()));
    let expected = [
        hint("[2606:4700::1]:4000", Some(id())),
        hint("45.1.1.1:4000", Some(id())),
        hint("45.1.1.2:4000", Some(id())),
        hint("45.1.2.3:4001", None),
    ];
    assert_eq!(found, [expected]);
    let asked = server.asked();
    assert!(
        asked
            .iter()
            .all(|question| ["txt seeds.test.", "a relay.test.", "aaaa relay.test."].contains(&question.as_str())),
        "{asked:?}"
    );
}

#[tokio::test]
async fn a_text_cut_into_strings_is_one_text() {
    let text = format!("{OURS} {}@45.1.2.3:4000", id());
    let (one, other) = text.split_at(40);
    let mut zone = zone(&[], &[]);
    zone.texts.insert("seeds.test.".to_owned(), vec![vec![one.to_owned(), other.to_owned()]]);
    let server = Server::start(Some(zone)).await;
    assert_eq!(look_up_at(&server, &["seeds.test."]).await, (vec![vec![hint("45.1.2.3:4000", Some(id()))]], Ok(())));
}

#[tokio::test]
async fn names_that_bring_nothing_are_told_with_the_reason_and_the_others_count() {
    let good = format!("{OURS} 45.1.2.3:4000");
    let gone = format!("{OURS} gone.test:4000");
    let zone = zone(
        &[
            ("good.test.", &[&good]),
            ("other.test.", &["aldis=ffffffffffffffff 45.9.9.9:4000"]),
            ("gone.test.", &[&gone]),
        ],
        &[],
    );
    let server = Server::start(Some(zone)).await;
    let (found, outcome) = look_up_at(&server, &["missing.test", "other.test", "gone.test", "good.test"]).await;
    assert_eq!(found, [[hint("45.1.2.3:4000", None)]]);
    let problem = outcome.unwrap_err();
    for part in [
        "missing.test: ",
        "other.test: lists no host of the network with tag 0011223344556677",
        "gone.test: gone.test: ",
    ] {
        assert!(problem.contains(part), "{problem}");
    }
    assert!(!problem.contains("good.test"), "{problem}");
}

#[tokio::test]
async fn a_silent_server_is_a_problem_in_words_within_its_time() {
    let server = Server::start(None).await;
    let (found, outcome) = look_up_at(&server, &["seeds.test"]).await;
    assert_eq!(found, [] as [Vec<Hint>; 0]);
    assert!(outcome.unwrap_err().starts_with("seeds.test: "));
}

#[tokio::test]
async fn a_flood_of_records_brings_a_bounded_number_of_hosts() {
    let records: Vec<String> = (0..PLACES_MAX + 2).map(|n| format!("{OURS} 45.1.{n}.3:4000")).collect();
    let records: Vec<&str> = records.iter().map(String::as_str).collect();
    let server = Server::start(Some(zone(&[("seeds.test.", &records)], &[]))).await;
    let (found, outcome) = look_up_at(&server, &["seeds.test"]).await;
    assert_eq!((found[0].len(), outcome), (PLACES_MAX, Ok(())));
}
