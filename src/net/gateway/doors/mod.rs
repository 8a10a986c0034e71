//! The front doors: our own protocol, and those of other systems (wire/DOORS.md).
//!
//! Each door is a [`super::dialect::Dialect`] and the routes that lead to it.

mod dxos;
mod matchbox;
pub(super) mod native;
mod peerjs;
mod pubsub;
mod socket_signal;
mod webtorrent;

use std::sync::Arc;

use aldis_wire::network::Network;
use axum::Router;

use super::{Front, GatewayConfig};
use crate::doors::Door;
use crate::net::hub::DoorCounts;

/// What the routes of a door are made of.
struct Porch<'a> {
    front: &'a Arc<Front>,
    counts: Arc<DoorCounts>,
    network: &'a Network,
    config: &'a GatewayConfig,
}

/// The routes of all doors that are open.
pub(super) fn routes(front: &Arc<Front>, config: &GatewayConfig) -> Router {
    config.doors.iter().fold(Router::new(), |router, door| {
        let porch = Porch { front, counts: front.hub.counts().door(door.name()), network: &config.network, config };
        router.merge(match door {
            Door::SocketSignal => socket_signal::routes(&porch),
            Door::Dxos => dxos::routes(&porch),
            Door::WebTorrent => webtorrent::routes(&porch),
            Door::PeerJs => peerjs::routes(&porch),
            Door::PubSub => pubsub::routes(&porch),
            Door::Matchbox => matchbox::routes(&porch),
        })
    })
}
