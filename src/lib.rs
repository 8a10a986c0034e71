//! Aldis: a federated relay through which browsers find each other.
#[cfg(feature = "net")]
pub mod net;
pub mod relay;
