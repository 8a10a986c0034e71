//! Checks between real sockets on loopback.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail by panic")]

use std::net::UdpSocket;

use ed25519_dalek::SigningKey;

use super::*;
use crate::net::hub::script::{DEADLINE, Script};
use crate::net::hub::{Count, Hub};
use crate::net::udp::Port;

const ALPN: &str = "aldis/1/0011223344556677";

struct Side {
    quic: Quic,
    hub: Arc<Hub>,
    script: Script,
    id: HostId,
    address: SocketAddr,
}

fn side(seed: u8, alpn: &str) -> Side {
    let key = SigningKey::from_bytes(&[seed; 32]);
    let (hub, script) = Script::hub();
    let (socket, address) = Quic::socket("127.0.0.1:0".parse().unwrap()).unwrap();
    let socket = Port::new(socket, true, hub.clone()).unwrap();
    let quic = Quic::start(socket, &key, alpn.as_bytes().to_vec(), hub.clone()).unwrap();
    let accepting = quic.clone();
    tokio::spawn(async move { accepting.run().await });
    Side { quic, hub, script, id: HostId::new(key.verifying_key().to_bytes()), address }
}

async fn counted(count: &Count, total: u64) {
    let waiting = async {
        while count.total() < total {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(DEADLINE, waiting).await.expect("the count was never reached");
}

#[tokio::test]
async fn a_host_that_proves_its_key_is_reached_from_both_ports_and_its_machine_hears_nothing() {
    let (asker, asked) = (side(1, ALPN), side(2, ALPN));
    assert_eq!(asker.quic.check(asked.address, asked.id).await, Ok(()));
    assert_eq!(asker.quic.check_from_other_port(asked.address, asked.id).await, Ok(()));
    counted(&asked.hub.counts().handshakes_for_checks, 2).await;
    for side in [&asker, &asked] {
        timeout(DEADLINE, side.quic.endpoint.wait_idle()).await.expect("a connection stays");
        assert!(side.script.rest().is_empty(), "its machine heard of it");
        assert_eq!(side.hub.counts().handshakes_failed.total(), 0);
        assert_eq!(side.hub.counts().handshakes_done.total(), 0);
    }
}

#[tokio::test]
async fn a_host_with_another_key_is_not_the_one_that_was_meant() {
    let (asker, asked, meant) = (side(1, ALPN), side(2, ALPN), side(3, ALPN).id);
    let problem = Err("another host answers there".to_owned());
    assert_eq!(asker.quic.check(asked.address, meant).await, problem);
    assert_eq!(asker.quic.check_from_other_port(asked.address, meant).await, problem);
    assert_eq!(asked.hub.counts().handshakes_for_checks.total(), 0);
}

#[tokio::test]
async fn a_host_of_another_network_is_not_taken_for_reached() {
    let (asker, asked) = (side(1, ALPN), side(2, "aldis/1/7766554433221100"));
    let problem = asker.quic.check(asked.address, asked.id).await.unwrap_err();
    assert!(problem.contains("another network"), "{problem}");
}

#[tokio::test]
async fn silence_is_no_answer() {
    let (asker, silent) = (side(1, ALPN), UdpSocket::bind("127.0.0.1:0").unwrap());
    let address = silent.local_addr().unwrap();
    assert_eq!(asker.quic.check_from_other_port(address, asker.id).await, Err("no answer".to_owned()));
}

#[tokio::test]
async fn the_second_check_comes_from_a_port_that_was_never_used_before() {
    let (asker, nobody) = (side(1, ALPN), tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap());
    let (quic, address, id) = (asker.quic.clone(), nobody.local_addr().unwrap(), asker.id);
    let mut ports = Vec::new();
    for other in [false, true, true] {
        let quic = quic.clone();
        let asking = tokio::spawn(async move {
            if other { quic.check_from_other_port(address, id).await } else { quic.check(address, id).await }
        });
        let mut packet = [0; 2_000];
        let from = loop {
            let (_, from) = timeout(DEADLINE, nobody.recv_from(&mut packet)).await.unwrap().unwrap();
            if !ports.contains(&from.port()) || !other {
                break from;
            }
        };
        ports.push(from.port());
        asking.abort();
    }
    assert_eq!(ports.first(), Some(&asker.address.port()));
    assert!(ports.get(1) != ports.get(2), "each check has a port of its own");
}

#[tokio::test]
async fn a_connection_for_a_check_that_opens_streams_gets_nothing_by_it() {
    let (asker, asked) = (side(1, ALPN), side(2, ALPN));
    let connection = asker.quic.reached(&asker.quic.endpoint, asked.address, asked.id).await.unwrap();
    if let Ok(Ok((mut stream, _))) = timeout(Duration::from_millis(200), connection.open_bi()).await {
        // It may still be allowed; nobody reads it.
        let _ = stream.write_all(&[0; 64]).await;
    }
    timeout(DEADLINE, connection.closed()).await.expect("the host that was reached ends it");
    assert!(asked.script.rest().is_empty(), "its machine heard of it");
}
