//! Aldis: a federated relay through which browsers find each other.
pub mod relay;
