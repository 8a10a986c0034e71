//! The driver: everything that touches the outside world. It owns clocks, sockets and files, and drives the machine.
//!
//! | module | world |
//! |---|---|
//! | [`gateway`] | edges: WebSocket, and the pages that come with it |
//! | [`admin`] | operators: health and the management view |
//! | [`metrics`] | operators: counts for Prometheus |
//! | [`log`] | operators: what a note says in words |
//! | [`hub`] | the machine behind a lock, and the mailboxes through which its outputs leave |

#![allow(clippy::disallowed_methods, reason = "the outside world: clocks, sockets and files are its job")]

pub mod admin;
pub mod gateway;
pub mod hub;
pub mod log;
pub mod metrics;
