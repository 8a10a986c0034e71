//! Every scenario holds at a small size, with seeds that are fixed and one that is fresh each time it is asked for:
//! `ALDIS_SIM_SEED=$RANDOM cargo test -p aldis-sim`.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test reads files, and fails by panic")]

use aldis_sim::report::report;
use aldis_sim::run::run;
use aldis_sim::scenario::Scenario;

fn holds(name: &str) {
    let path = format!("{}/scenarios/{name}.txt", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    let fresh = std::env::var("ALDIS_SIM_SEED").ok().and_then(|seed| seed.parse().ok());
    for seed in [1, 2].into_iter().chain(fresh) {
        let mut scenario = Scenario::parse(name, &text).unwrap();
        scenario.seed = seed;
        scenario.hosts = scenario.hosts.min(12);
        let run = run(scenario);
        assert!(run.world.checks.count == 0, "{}", report(&run.world, &run.meter, run.seconds));
    }
}

#[test]
fn promises_hold_while_edges_come_and_go() {
    holds("churn");
}

#[test]
fn promises_hold_while_hosts_crash_and_restart() {
    holds("crash");
}

#[test]
fn promises_hold_while_the_world_is_cut() {
    holds("partition");
}

#[test]
fn nothing_is_left_when_everybody_has_gone() {
    holds("farewell");
}
