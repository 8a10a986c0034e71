//! The front door on real sockets: what edges, browsers, operators and strangers can do to it.

#![cfg(feature = "net")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test may fail by panic, and it has clocks and sockets"
)]

mod broadcasts;
mod doors;
mod doors_dxos;
mod doors_peerjs;
mod doors_socket_signal;
mod doors_webtorrent;
mod edge;
mod exhaustion;
mod harness;
mod hostile;
mod http;
mod peerjs_client;
mod sessions;
mod socket_signal_client;
mod tls;
mod webtorrent_client;
