//! Every number of the QUIC side: how much memory, time and streams a connection may take.

use std::sync::Arc;
use std::time::Duration;

use aldis_wire::codec::HEADER_BYTES;
use aldis_wire::limits::{FRAME_BEFORE_ADMISSION_BYTES, LANES};
use quinn::{EndpointConfig, IdleTimeout, ServerConfig, TransportConfig, VarInt};
use quinn_proto::{ConnectionId, ConnectionIdGenerator, HashedConnectionIdGenerator, InvalidCid};

use crate::net::tls::Tls;
use crate::relay::limits::{LINKS_MAX, LINKS_PENDING_MAX};

/// Something is sent at least this often, so that routers on the way remember the connection.
const KEEP_ALIVE: Duration = Duration::from_millis(2_500);
/// Without a sign of life for so long, a connection is gone: two keep-alives may be lost.
const IDLE_MAX: Duration = Duration::from_secs(7);
/// From the first packet to the end of TLS.
pub(super) const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(5);
/// Handshakes of others under way at once; about 30 KiB each. More are turned away.
pub(super) const HANDSHAKES_MAX: usize = 64;
/// With so many handshakes under way, others must prove their address before they cost us a signature.
pub(super) const HANDSHAKES_UNPROVEN_MAX: usize = 16;
/// Connections of all kinds, those that are closing included; beyond it others are turned away.
pub(super) const CONNECTIONS_MAX: usize = LINKS_MAX + 2 * LINKS_PENDING_MAX + HANDSHAKES_MAX;

/// What an unadmitted host may have on its way to us: one Hello.
const WINDOW_BEFORE_BYTES: u32 = 4_100;
const _: () = assert!(WINDOW_BEFORE_BYTES as usize == FRAME_BEFORE_ADMISSION_BYTES + HEADER_BYTES);
/// What an admitted host may have on its way to us: 1 MiB fills 80 Mbit/s at 100 ms.
const WINDOW_BYTES: u32 = 1 << 20;
/// The same for one stream, so that no lane takes the whole window.
const STREAM_WINDOW_BYTES: u32 = 512 << 10;
/// What we may have on its way to another host. Control waits behind at most this much.
const SEND_WINDOW_BYTES: u64 = 1 << 20;
/// Unidirectional streams that an admitted host may have open: its channels, and a few of newer versions.
const STREAMS_MAX: u32 = 2 + LANES as u32 + 2;
/// Streams with unknown first bytes that a connection may open in its life.
pub(super) const UNKNOWN_STREAMS_MAX: usize = 64;

/// First packets of connections that wait to be taken, in number and in bytes.
const INCOMING_MAX: usize = 256;
const INCOMING_BYTES: u64 = 16 << 10;
const INCOMING_TOTAL_BYTES: u64 = 1 << 20;

/// How a connection of ours behaves. The acceptor allows one bidirectional stream, the dialler none.
pub(super) fn dialler() -> Arc<TransportConfig> {
    transport(0)
}

/// For taking connections.
pub(super) fn acceptor(tls: &Tls) -> ServerConfig {
    let mut config = ServerConfig::with_crypto(tls.acceptor());
    config
        .transport_config(transport(1))
        .max_incoming(INCOMING_MAX)
        .incoming_buffer_size(INCOMING_BYTES)
        .incoming_buffer_size_total(INCOMING_TOTAL_BYTES);
    config
}

pub(super) fn endpoint() -> EndpointConfig {
    let mut config = EndpointConfig::default();
    // Else the other side may clear the bit by which packets are told from STUN (RFC 9443 §2, RFC 9287 §3).
    config.grease_quic_bit(false);
    config.cid_generator(|| Box::<NoDigitFirst>::default());
    config
}

/// Connection ids that do not begin with an ASCII digit. The first byte of an id is the second one of most packets that
/// come, and the first one may be a `d`: so such a packet is never taken for a message of the DHT, which may share the port.
#[derive(Default)]
struct NoDigitFirst(HashedConnectionIdGenerator);

impl ConnectionIdGenerator for NoDigitFirst {
    fn generate_cid(&mut self) -> ConnectionId {
        loop {
            let id = self.0.generate_cid();
            if !id.first().is_some_and(u8::is_ascii_digit) {
                return id;
            }
        }
    }

    fn validate(&self, id: &ConnectionId) -> Result<(), InvalidCid> {
        self.0.validate(id)
    }

    fn cid_len(&self) -> usize {
        self.0.cid_len()
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        self.0.cid_lifetime()
    }
}

/// The other side is admitted: it may open its channels and fill the window.
pub(super) fn widen(connection: &quinn::Connection) {
    connection.set_receive_window(VarInt::from_u32(WINDOW_BYTES));
    connection.set_max_concurrent_uni_streams(VarInt::from_u32(STREAMS_MAX));
}

fn transport(bidirectional: u32) -> Arc<TransportConfig> {
    let mut config = TransportConfig::default();
    config
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_idle_timeout(IdleTimeout::try_from(IDLE_MAX).ok())
        .max_concurrent_bidi_streams(VarInt::from_u32(bidirectional))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .receive_window(VarInt::from_u32(WINDOW_BEFORE_BYTES))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES))
        .send_window(SEND_WINDOW_BYTES)
        // Streams of one priority take turns (`Channel::priority`).
        .send_fairness(true)
        .datagram_receive_buffer_size(None);
    Arc::new(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connection_ids_never_begin_with_a_digit_and_are_known_again() {
        let mut ids = NoDigitFirst::default();
        let mut firsts = std::collections::BTreeSet::<u8>::new();
        for _ in 0..20_000 {
            let id = ids.generate_cid();
            assert!(ids.validate(&id).is_ok());
            firsts.extend(id.first());
        }
        assert!(firsts.iter().all(|byte| !byte.is_ascii_digit()));
        assert_eq!(firsts.len(), 246, "and with everything else");
    }
}
