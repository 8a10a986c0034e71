//! A Binding request of ours, from a socket that was never used before.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use stun_types::message::TransactionId;
use tokio::net::UdpSocket;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::stun::{STUN_REQUEST_BYTES_MAX, mapped_address, request};

/// When the request is sent again, after the first time (RFC 8489 §6.2.1: pauses that double).
const AGAIN: [Duration; 2] = [Duration::from_millis(500), Duration::from_millis(1_500)];
/// Without an answer by then there is none.
const ANSWER_MAX: Duration = Duration::from_secs(3);

/// Asks a STUN server where it sees us. Up to 3 packets in 3 s, also if its port is closed at first.
///
/// # Errors
/// In words: why there is no answer.
pub async fn ask(server: SocketAddr) -> Result<SocketAddr, String> {
    let failed = |error: std::io::Error| format!("cannot ask {server}: {error}");
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await.map_err(failed)?;
    // Then only what comes from there is received, and a closed port is told.
    socket.connect(server).await.map_err(failed)?;
    let mut number = [0; 16];
    getrandom::fill(&mut number).map_err(|error| format!("the operating system gives no randomness: {error}"))?;
    let transaction = TransactionId::from(u128::from_le_bytes(number));
    let (asked, request) = (Instant::now(), request(transaction));
    let mut why = format!("{server} does not answer");
    for until in AGAIN.into_iter().chain([ANSWER_MAX]) {
        let answer = async {
            socket.send(&request).await?;
            answered(&socket, transaction).await
        };
        match timeout_at(asked + until, answer).await {
            Ok(Ok(address)) => return Ok(address),
            // A port is closed for a moment while its owner starts anew, or gives it to another socket of its own.
            Ok(Err(error)) if error.kind() == ErrorKind::ConnectionRefused => {
                why = failed(error);
                if until < ANSWER_MAX {
                    sleep_until(asked + until).await;
                }
            }
            Ok(Err(error)) => return Err(failed(error)),
            Err(_) => {}
        }
    }
    Err(why)
}

/// The first answer to this transaction. Whatever else comes is passed over.
async fn answered(socket: &UdpSocket, transaction: TransactionId) -> std::io::Result<SocketAddr> {
    let mut buf = [0; STUN_REQUEST_BYTES_MAX];
    loop {
        let length = socket.recv(&mut buf).await?;
        if let Some(address) = buf.get(..length).and_then(|datagram| mapped_address(datagram, transaction)) {
            return Ok(address);
        }
    }
}
