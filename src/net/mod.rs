//! The driver: everything that touches the outside world. It owns clocks, sockets and files, and drives the machine.
//!
//! | module | world |
//! |---|---|
//! | [`hub`] | the machine behind a lock, and the mailboxes through which its outputs leave |
//! | [`gateway`] | edges: WebSocket, and the pages that come with it |
//! | [`udp`] | the UDP port: which datagram is whose, and STUN |
//! | [`quic`], [`tls`] | links to other hosts |
//! | `interfaces`, [`places`] | the addresses of this machine, and what is known of where it is |
//! | `changes` | the system's word that they have changed |
//! | `mapping` | routers: they let others in when they are asked |
//! | `probe` | other hosts' gateways, as browsers see them |
//! | [`dht`] | where hosts of a network find each other |
//! | [`store`] | what outlives a run |
//! | [`admin`] | operators: health and the management view |
//! | [`metrics`] | operators: counts for Prometheus |
//! | [`log`] | operators: what a note says in words |
//! | [`driver`] | joins them: a whole host |
//!
//! Worlds know the hub and the machine's contract, never each other; only [`driver`] knows them all.

#![allow(clippy::disallowed_methods, reason = "the outside world: clocks, sockets and files are its job")]

pub mod admin;
mod changes;
pub mod dht;
pub mod driver;
mod dual_stack;
pub mod gateway;
pub mod hub;
mod interfaces;
mod lan;
mod lists;
mod load;
pub mod log;
mod mapping;
pub mod metrics;
pub mod places;
mod probe;
pub mod quic;
pub mod seeds;
pub mod store;
pub mod tls;
pub mod udp;
