//! The driver: everything that touches the outside world. It owns clocks, sockets and files, and drives the machine.
//!
//! | module | world |
//! |---|---|
//! | [`hub`] | the machine behind a lock, and the mailboxes through which its outputs leave |

#![allow(clippy::disallowed_methods, reason = "the outside world: clocks, sockets and files are its job")]

pub mod hub;
