//! Aldis: a federated relay through which browsers find each other.
//!
//! | module | what |
//! |---|---|
//! | [`relay`] | the machine: everything a host decides, without I/O |
//! | `net` | the driver: sockets, the DHT, the clock, joined to the machine |
//! | `client` | the other end: an edge in Rust, for programs, the terminal, the tests |
//! | `config`, `doors`, `genesis`, `identity`, `hosts`, `lock`, `textfile` | what an operator writes and keeps |
//! | `cli` | the command line |

#[cfg(feature = "net")]
pub mod cli;
#[cfg(feature = "client")]
pub mod client;
#[cfg(feature = "net")]
pub mod config;
#[cfg(feature = "net")]
pub mod doors;
#[cfg(feature = "net")]
pub mod genesis;
#[cfg(feature = "net")]
pub mod hosts;
#[cfg(feature = "net")]
pub mod identity;
#[cfg(feature = "net")]
pub mod lock;
#[cfg(feature = "net")]
pub mod net;
pub mod relay;
#[cfg(feature = "client")]
mod system;
#[cfg(feature = "net")]
pub mod textfile;
