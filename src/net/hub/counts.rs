//! Counts of what the outside world does that the machine never hears of. For metrics.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::lock;

/// One count that only grows.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// One more.
    pub fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// How many so far.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Everything counted here.
#[derive(Debug, Default)]
pub struct Counts {
    /// Sockets of edges that were cut because they took too little.
    pub edges_overflowed: Count,
    /// Links that were cut because they took too little.
    pub links_overflowed: Count,
    /// Handshakes that ended with a host key.
    pub handshakes_done: Count,
    /// Handshakes by which others found out that we can be reached.
    pub handshakes_for_checks: Count,
    /// Handshakes with another network or protocol version (ALPN), of which nothing came.
    pub handshakes_of_other_networks: Count,
    /// Handshakes of others without an Ed25519 certificate, or with one that they could not prove.
    pub handshakes_without_key: Count,
    /// Handshakes of others that failed otherwise, or took too long.
    pub handshakes_failed: Count,
    /// Connections of others that were turned away before the handshake, because too many were under way.
    pub handshakes_refused: Count,
    /// Connections of others that had to prove their address first, because many handshakes were under way.
    pub handshakes_retried: Count,
    /// STUN requests that were answered.
    pub stun_answered: Count,
    /// STUN requests that were not, because too many came.
    pub stun_refused: Count,
    /// Datagrams that were neither of a link nor a STUN request that is answered here.
    pub datagrams_dropped: Count,
    /// Links that were cut because the other side broke the framing.
    pub links_misframed: Count,
    /// By the name of a door.
    doors: Mutex<Vec<(&'static str, Arc<DoorCounts>)>>,
}

/// What went through one front door.
#[derive(Debug, Default)]
pub struct DoorCounts {
    /// Sockets that were opened.
    pub opened: Count,
    /// Those of them that are closed.
    pub closed: Count,
    /// Frames from edges.
    pub received: Count,
    /// Frames to edges.
    pub sent: Count,
}

impl Counts {
    /// The counts of the door with this name.
    pub fn door(&self, name: &'static str) -> Arc<DoorCounts> {
        let mut doors = lock(&self.doors);
        if let Some((_, counts)) = doors.iter().find(|(known, _)| *known == name) {
            return counts.clone();
        }
        let counts = Arc::<DoorCounts>::default();
        doors.push((name, counts.clone()));
        counts
    }

    /// All doors that there are, by name.
    #[must_use]
    pub fn doors(&self) -> Vec<(&'static str, Arc<DoorCounts>)> {
        lock(&self.doors).clone()
    }
}
