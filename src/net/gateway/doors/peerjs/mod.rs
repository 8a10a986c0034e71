//! `PeerJS`: its HTTP calls, and its WebSocket (DOORS.md).

mod calls;
mod claim;
mod client;
mod codec;
mod list;
mod names;
mod registry;
mod room;

use std::sync::Arc;

use aldis_wire::id::HostId;
use aldis_wire::network::Network;
use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::super::Front;
use super::super::upgrade::{Knock, origin_allowed};
use super::Porch;
use client::Client;
use list::List;
use registry::Registry;
use room::Room;

/// What all sockets of the door share.
#[derive(Debug)]
struct Shop {
    network: Arc<Network>,
    host: HostId,
    /// Whether ids are told.
    discovery: bool,
    registry: Registry,
    room: Arc<Room>,
}

pub(super) fn routes(porch: &Porch<'_>) -> Router {
    let network = Arc::new(porch.network.clone());
    let shop = Arc::new(Shop {
        network: network.clone(),
        host: porch.config.host,
        discovery: porch.config.peerjs_discovery,
        registry: Registry::new(porch.config.grace),
        room: Arc::default(),
    });
    let (front, counts) = (porch.front.clone(), porch.counts.clone());
    let list = Arc::new(List::new(front.hub.clone(), network));
    let enter = {
        let (front, shop) = (front.clone(), shop.clone());
        async move |uri: Uri, knock: Knock| {
            knock.enter(&front, &counts, None, || Client::new(shop.clone(), uri.query().unwrap_or_default()))
        }
    };
    let id = {
        let front = front.clone();
        async move |headers: HeaderMap| answer(&front, &headers, || fresh_id().map(|id| (StatusCode::OK, HTML, id)))
    };
    let peers = {
        let front = front.clone();
        async move |Path(key): Path<String>, headers: HeaderMap| {
            let ids = if shop.discovery { list.ids(&key).await } else { None };
            let told = match ids {
                Some(ids) => (StatusCode::OK, JSON, serde_json::Value::from(ids).to_string()),
                None if shop.discovery => (StatusCode::SERVICE_UNAVAILABLE, HTML, "Overloaded".to_owned()),
                None => (StatusCode::UNAUTHORIZED, HTML, "Unauthorized".to_owned()),
            };
            answer(&front, &headers, || Some(told))
        }
    };
    Router::new().route("/peerjs", get(enter)).route("/{key}/id", get(id)).route("/{key}/peers", get(peers))
}

const HTML: &str = "text/html; charset=utf-8";
const JSON: &str = "application/json; charset=utf-8";

/// An answer that pages of every origin may read, or of those that are allowed.
fn answer(
    front: &Front,
    headers: &HeaderMap,
    told: impl FnOnce() -> Option<(StatusCode, &'static str, String)>,
) -> Response {
    if !origin_allowed(&front.origins, headers) {
        return (StatusCode::FORBIDDEN, "This origin may not use this host.").into_response();
    }
    let Some((status, kind, text)) = told() else { return StatusCode::INTERNAL_SERVER_ERROR.into_response() };
    let mut response = (status, [(header::CONTENT_TYPE, kind), (header::VARY, "Origin")], text).into_response();
    if let Some(origin) = headers.get(header::ORIGIN) {
        response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    }
    response
}

/// A random id: a UUID of version 4.
fn fresh_id() -> Option<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).ok()?;
    let free = u128::from_be_bytes(bytes) & !((0xf << 76) | (0b11 << 62));
    let bits = free | (4 << 76) | (0b10 << 62);
    let hex = format!("{bits:032x}");
    let (a, rest) = hex.split_at_checked(8)?;
    let (b, rest) = rest.split_at_checked(4)?;
    let (c, rest) = rest.split_at_checked(4)?;
    let (d, e) = rest.split_at_checked(4)?;
    Some([a, b, c, d, e].join("-"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail by panic")]
    use super::fresh_id;

    #[test]
    fn an_id_is_a_random_uuid_of_version_4() {
        let ids: std::collections::BTreeSet<String> = (0..100).map(|_| fresh_id().unwrap()).collect();
        assert_eq!(ids.len(), 100);
        for id in ids {
            let parts: Vec<&str> = id.split('-').collect();
            assert_eq!(parts.iter().map(|part| part.len()).collect::<Vec<_>>(), [8, 4, 4, 4, 12], "{id}");
            assert!(parts[2].starts_with('4') && parts[3].starts_with(['8', '9', 'a', 'b']), "{id}");
        }
    }
}
