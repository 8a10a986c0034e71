//! What the fault laboratory and the NAT laboratory share.
//!
//! | module | what |
//! |---|---|
//! | [`history`] | what edges sent and saw, and whether it was right |
//! | [`report`] | what is printed of a run |
//! | [`process`] | namespaces of our own, short commands, helper programs |

#![allow(clippy::disallowed_methods, reason = "the outside world: it owns clocks, processes and files")]

pub mod history;
pub mod process;
pub mod report;
