//! The promises of a network of machines under faults, in virtual time.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test may fail by panic")]
#![allow(clippy::panic, reason = "a test may fail by panic")]
#![allow(clippy::disallowed_methods, reason = "a test is not the machine")]

#[path = "../neighbour/mod.rs"]
mod neighbour;
#[path = "../world/mod.rs"]
mod world;

mod barring;
mod bounds;
mod broadcasts;
mod catching_up;
mod chaos;
mod deltas;
mod edges;
mod faults;
mod fuzz;
mod greed;
mod halves;
mod holding;
mod keyed;
mod large;
mod meshes;
mod moving;
mod neighbours;
mod paths;
mod pressure;
mod reach;
mod script;
mod traffic;
