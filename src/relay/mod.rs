//! The machine.
pub mod io;
pub mod view;
