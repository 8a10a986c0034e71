//! The simulator itself: what it plays is a matter of the seed alone, and the mesh that it shows is whole.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail by panic")]

use aldis_sim::run::{Run, run};
use aldis_sim::scenario::Scenario;

const SMALL: &str = "
hosts 8
edges 3
start 5s
warm 20s
measure 40s
speak 2s
stay 20s
drops 15s
keyed 20%
roams 20s
at 30s restart 1 3s
at 35s partition 40%
at 45s heal
";

fn play(seed: u64) -> Run {
    let mut scenario = Scenario::parse("small", SMALL).unwrap();
    scenario.seed = seed;
    run(scenario)
}

#[test]
fn the_same_seed_gives_the_same_run_and_another_one_gives_another() {
    let (first, again, other) = (play(1), play(1), play(2));
    assert_eq!(first.world.trace.hash(), again.world.trace.hash());
    assert_ne!(first.world.trace.hash(), other.world.trace.hash());
    assert!(first.meter.signals[0] > 50, "signals are delivered: {:?}", first.meter.signals);
}

#[test]
fn a_scenario_that_cannot_be_read_is_refused_with_the_line() {
    let error = Scenario::parse("x", "hosts 3\nhots 4").unwrap_err();
    assert_eq!(error, "x:2: 'hots' is no setting");
}

#[test]
fn hosts_that_begin_settled_have_their_neighbours_and_keep_them() {
    let text = "hosts 100\nedges 0\nbegin settled\nstart 2s\nwarm 60s\nmeasure 60s\n";
    let run = run(Scenario::parse("settled", text).unwrap());
    // Each is counted at both of its ends. Hosts that begin fresh make 150, since they have just found whom they look for.
    assert!(run.meter.links[0] < 75, "{:?} links admitted and ended in the second minute", run.meter.links);
    let neighbours = |place: usize| {
        let host = &run.world.hosts[place];
        host.running().unwrap().view(host.clock(run.world.now)).links.len()
    };
    let all: usize = (0..100).map(neighbours).sum();
    assert!((1_150..1_300).contains(&all), "{all} ends of links: twelve a host");
    assert_eq!(run.world.checks.count, 0, "{:?}", run.world.checks.violations);
}

/// Two hosts behind routers that let in nobody unknown, with a DHT and no third host.
fn two_alone(shared: &str) -> usize {
    let text =
        format!("hosts 2\nedges 0\nstart 5s\nwarm 10s\nmeasure 110s\nrouter port 0\nrouter port 1\nshared {shared}\n");
    let run = run(Scenario::parse("alone", &text).unwrap());
    let host = &run.world.hosts[0];
    host.running().unwrap().view(host.clock(run.world.now)).links.len()
}

#[test]
fn two_hosts_that_nobody_can_introduce_meet_at_an_agreed_moment_if_the_dht_sees_their_port() {
    assert_eq!(two_alone("yes"), 1);
    assert_eq!(two_alone("no"), 0, "another port is of no use");
}
