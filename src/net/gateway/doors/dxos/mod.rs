//! The mesh signal of dxos: `dxos.mesh.signal.Signal` by dxRPC over binary frames (wire/DOORS.md).
//!
//! | file | what |
//! |---|---|
//! | `rpc` | the bytes of frames |
//! | `presence` | the meta of memberships |
//! | `seat` | one membership |
//! | `view` | who is in a swarm |
//! | `post` | messages on their way |
//! | `signaling` | streams and calls of one socket |

mod post;
mod presence;
mod rpc;
mod seat;
mod signaling;
mod view;

use std::sync::Arc;
use std::time::SystemTime;

use axum::Router;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::time::Instant;

use super::super::upgrade::Knock;
use super::Porch;
use signaling::{Clock, Signaling};

const PATH: &str = "/.well-known/dx/signal";

pub(super) fn routes(porch: &Porch<'_>) -> Router {
    let (front, counts, network) = (porch.front.clone(), porch.counts.clone(), Arc::new(porch.network.clone()));
    let enter = async move |knock: Knock| {
        if knock.is_plain() {
            // Whoever operates these servers asks so whether one is ready.
            return if front.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }.into_response();
        }
        knock.enter(&front, &counts, None, || Signaling::new(network.clone(), clock()))
    };
    Router::new().route(PATH, get(enter))
}

fn clock() -> Clock {
    let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Clock { at: Instant::now(), unix_ms: u64::try_from(unix.as_millis()).unwrap_or(u64::MAX) }
}
