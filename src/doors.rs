//! Protocols of other systems that a gateway can speak, by name.

use std::fmt;
use std::str::FromStr;

/// A front door besides our own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Door {
    /// socket-signal over nanomessage-rpc.
    SocketSignal,
    /// The mesh signal of dxos.
    Dxos,
    /// The WebTorrent tracker.
    WebTorrent,
    /// `PeerJS`.
    PeerJs,
    /// Topics of y-webrtc and Trystero.
    PubSub,
    /// matchbox.
    Matchbox,
}

/// There is no door of this name.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("not one of: {}", Door::ALL.map(Door::name).join(", "))]
pub struct NoSuchDoor;

impl Door {
    /// All of them.
    pub const ALL: [Door; 6] =
        [Door::SocketSignal, Door::Dxos, Door::WebTorrent, Door::PeerJs, Door::PubSub, Door::Matchbox];

    /// As it stands in the configuration, in metrics and in topics: never changes.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Door::SocketSignal => "socket-signal",
            Door::Dxos => "dxos",
            Door::WebTorrent => "webtorrent",
            Door::PeerJs => "peerjs",
            Door::PubSub => "pubsub",
            Door::Matchbox => "matchbox",
        }
    }
}

impl fmt::Display for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Door {
    type Err = NoSuchDoor;

    fn from_str(name: &str) -> Result<Self, NoSuchDoor> {
        Door::ALL.into_iter().find(|door| door.name() == name).ok_or(NoSuchDoor)
    }
}
