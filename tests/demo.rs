//! The demo, as the first thing that a newcomer runs.
#![cfg(feature = "net")]
#![allow(clippy::disallowed_methods, reason = "a test of the outside world: processes and sockets")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::net::TcpListener;
use std::process::{Command, Output};

/// Three ports in a row, from `first` on, that are free now, kept until the caller drops them. Tests run side by side,
/// so each begins elsewhere, and below the ports that the system hands out by itself.
fn free_ports(first: u16) -> (u16, Vec<TcpListener>) {
    for base in (first..first + 3_000).step_by(3) {
        let listeners: Vec<_> =
            (base..base + 3).map_while(|port| TcpListener::bind(("127.0.0.1", port)).ok()).collect();
        if listeners.len() == 3 {
            return (base, listeners);
        }
    }
    panic!("no three free ports in a row")
}

fn demo(port: u16) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_aldis"));
    command.args(["demo", "--once", "--http-port", &port.to_string()]).output().unwrap()
}

#[test]
fn three_hosts_meet_through_a_dht_and_two_edges_exchange_offer_answer_and_candidates() {
    let (port, listeners) = free_ports(20_000);
    drop(listeners);
    let output = demo(port);
    let account = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{account}{}", String::from_utf8_lossy(&output.stderr));
    for step in ["offer reaches Bob", "answer reaches Alice", "candidates reach Bob", "All of it worked"] {
        assert!(account.contains(step), "no {step:?} in {account}");
    }
    assert_eq!(account.matches("keys by X25519MLKEM768").count(), 3, "a link is not post-quantum: {account}");
}

#[test]
fn a_port_that_is_taken_is_named_with_the_flag_to_change_it() {
    let (port, mut listeners) = free_ports(23_000);
    listeners.remove(0);
    let output = demo(port);
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{complaint}");
    let named = format!("port {} cannot be used", port + 1);
    assert!(complaint.contains(&named) && complaint.contains("--http-port"), "{complaint}");
}
