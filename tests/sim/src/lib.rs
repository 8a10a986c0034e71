//! Thousands of machines in virtual time.
//!
//! A world ([`world::World`]) holds hosts, edges, wires and a DHT, and one queue of what will happen. It drives each
//! machine through `Relay::handle` and `next_timeout` alone. Every frame that a machine sends is bytes on a wire and is
//! cut and decoded where it arrives. No clock is read but to say what the run itself cost; the same seed gives the same
//! trace, to the last byte.
//!
//! | module | what |
//! |---|---|
//! | [`scenario`] | what is played, out of a text file |
//! | [`world`], [`queue`], [`chance`] | the queue of happenings, and the only source of chance |
//! | `hosts`, `wires`, `map`, `dht` | machines and what lies between them |
//! | [`nats`], `dials` | routers before hosts, and the packets that they let in |
//! | [`memo`] | signatures that were checked before |
//! | `settled` | what stands on the disks of hosts that restart in a network which has settled |
//! | `edges`, `probes` | the crowd, and joins whose way is measured |
//! | `healing` | what it takes to agree again after a partition |
//! | `faults`, `liars` | what may go wrong, and who says what is not so |
//! | [`checks`], `beliefs` | what must hold, and what nobody may be made to believe |
//! | [`meter`], [`trace`], [`report`] | what was counted, what happened, what is told |
//! | `planted` | machines that are wrong on purpose, which must be found |
//! | [`run`] | a scenario from its beginning to its end |

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test may fail by panic")]
#![allow(clippy::cast_possible_truncation, reason = "numbers of a simulation are far from their types' limits")]
#![allow(clippy::disallowed_methods, reason = "a test is not the machine; it measures what the machine costs")]
#![allow(missing_debug_implementations, reason = "worlds are too large to print")]

pub mod beliefs;
pub mod chance;
pub mod checks;
pub mod dht;
mod dials;
pub mod edges;
pub mod faults;
mod healing;
pub mod hosts;
pub mod liars;
pub mod map;
pub mod memo;
pub mod meter;
pub mod nats;
#[cfg(feature = "planted")]
pub mod planted;
pub mod probes;
pub mod queue;
pub mod report;
pub mod run;
pub mod scenario;
mod settled;
pub mod shouts;
pub mod trace;
pub mod wires;
pub mod world;
