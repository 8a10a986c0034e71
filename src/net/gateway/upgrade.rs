//! From an HTTP request to a WebSocket: origins, proxies, subprotocol.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use aldis_wire::limits::EDGE_MESSAGE_BYTES;
use aldis_wire::refusal::Refusal;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{FromRequestParts, WebSocketUpgrade};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::accept::Caller;
use super::dialect::Dialect;
use super::doors::native::translate;
use super::{Counted, Front, session};
use crate::net::hub::DoorCounts;
use crate::relay::io::Note;

/// Room for what comes from an edge, and what one read takes; it grows while a larger message arrives. Every idle edge
/// holds it, and a session description without media fits in.
const READ_BUFFER_BYTES: usize = 1_536;
/// So much is gathered before it goes to the kernel; the end of a batch goes in any case. Costs nothing while idle.
const WRITE_BUFFER_BYTES: usize = 4 << 10;
/// Most that may wait in the write buffer: what is gathered, and one message of full size with its header.
const WRITE_BUFFER_BYTES_MAX: usize = WRITE_BUFFER_BYTES + EDGE_MESSAGE_BYTES + 1_024;

/// Somebody who wants a WebSocket.
pub(super) struct Knock {
    caller: IpAddr,
    headers: HeaderMap,
    request: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
}

impl<S: Send + Sync> FromRequestParts<S> for Knock {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        // `accept` tells every request where it comes from.
        let caller = parts.extensions.get().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |Caller(caller)| *caller);
        let request = WebSocketUpgrade::from_request_parts(parts, state).await;
        Ok(Self { caller, headers: parts.headers.clone(), request })
    }
}

impl Knock {
    /// Whether it is an ordinary request, for doors that answer those too.
    pub(super) fn is_plain(&self) -> bool {
        !self.headers.contains_key(header::UPGRADE)
    }

    /// Lets in who may come in, to speak what `dialect` makes; answers everybody else.
    pub(super) fn enter<D: Dialect>(
        self,
        front: &Arc<Front>,
        door: &Arc<DoorCounts>,
        subprotocol: Option<&'static str>,
        dialect: impl FnOnce() -> D,
    ) -> Response {
        let Self { caller, headers, request } = self;
        if !origin_allowed(&front.origins, &headers) {
            return refused(front, StatusCode::FORBIDDEN, Refusal::OriginNotAllowed, "");
        }
        let request = match request {
            Ok(request) => request,
            Err(rejection) => {
                let words = format!("this is the place of a WebSocket: {rejection}");
                return refused(front, StatusCode::UPGRADE_REQUIRED, Refusal::Malformed, &words);
            }
        };
        if !front.is_ready() {
            return refused(front, StatusCode::SERVICE_UNAVAILABLE, Refusal::Closing, "");
        }
        let request = request.protocols(subprotocol);
        if let Some(subprotocol) = subprotocol
            && headers.contains_key(header::SEC_WEBSOCKET_PROTOCOL)
            && request.selected_protocol().is_none()
        {
            let words = format!("the subprotocol here is {subprotocol}");
            return refused(front, StatusCode::BAD_REQUEST, Refusal::BadField, &words);
        }
        let address = client(caller, &front.trusted_proxies, &headers);
        let counted = Counted::new(front.clone(), door.clone());
        let dialect = dialect();
        request
            .read_buffer_size(READ_BUFFER_BYTES)
            .write_buffer_size(WRITE_BUFFER_BYTES)
            .max_write_buffer_size(WRITE_BUFFER_BYTES_MAX)
            .max_message_size(EDGE_MESSAGE_BYTES)
            .max_frame_size(EDGE_MESSAGE_BYTES)
            .on_upgrade(move |socket| session::run(Box::new(socket), counted, address, dialect))
    }
}

fn refused(front: &Front, status: StatusCode, refusal: Refusal, words: &str) -> Response {
    front.hub.note(&Note::EdgeRefused { refusal });
    // A connection that was refused must not wait for more requests.
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CONNECTION, "close")];
    (status, headers, translate::refusal(refusal, words)).into_response()
}

/// An origin as it is compared.
pub(super) fn normal(origin: &str) -> String {
    origin.trim().trim_end_matches('/').to_ascii_lowercase()
}

/// Browsers always name the page's origin; what names none is no web page, and no page can make a browser omit it.
pub(super) fn origin_allowed(allowed: &[String], headers: &HeaderMap) -> bool {
    if allowed.is_empty() {
        return true;
    }
    let mut origins = headers.get_all(header::ORIGIN).iter();
    match (origins.next(), origins.next()) {
        (None, _) => true,
        (Some(origin), None) => origin.to_str().is_ok_and(|origin| allowed.contains(&normal(origin))),
        (Some(_), Some(_)) => false,
    }
}

/// Where an edge comes from. Only trusted proxies are believed, each for the address next to it.
fn client(caller: IpAddr, trusted: &[IpAddr], headers: &HeaderMap) -> IpAddr {
    let mut address = caller;
    let hops = headers.get_all("x-forwarded-for").iter().flat_map(|value| value.to_str().unwrap_or("").split(','));
    let hops: Vec<&str> = hops.collect();
    for hop in hops.into_iter().rev() {
        if !trusted.contains(&address) {
            break;
        }
        match hop.trim().parse::<IpAddr>() {
            Ok(named) => address = named.to_canonical(),
            Err(_) => break,
        }
    }
    address
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail by panic")]
    use super::*;

    fn headers(name: &'static str, values: &[&str]) -> HeaderMap {
        values.iter().map(|value| (header::HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        let proxies = [ip("10.0.0.1"), ip("10.0.0.2")];
        let seen = |caller: &str, values: &[&str]| client(ip(caller), &proxies, &headers("x-forwarded-for", values));
        assert_eq!(seen("192.0.2.9", &["203.0.113.5"]), ip("192.0.2.9"), "a stranger says so");
        assert_eq!(seen("10.0.0.1", &["203.0.113.5"]), ip("203.0.113.5"));
        assert_eq!(seen("10.0.0.1", &["1.1.1.1, 203.0.113.5"]), ip("203.0.113.5"), "the client wrote 1.1.1.1");
        assert_eq!(seen("10.0.0.1", &["1.1.1.1, 203.0.113.5, 10.0.0.2"]), ip("203.0.113.5"));
        assert_eq!(seen("10.0.0.1", &["203.0.113.5", "10.0.0.2"]), ip("203.0.113.5"));
        assert_eq!(seen("10.0.0.1", &["::ffff:203.0.113.5"]), ip("203.0.113.5"));
        assert_eq!(seen("10.0.0.1", &["nonsense"]), ip("10.0.0.1"));
        assert_eq!(seen("10.0.0.1", &[]), ip("10.0.0.1"));
    }

    #[test]
    fn an_origin_is_on_the_list_or_refused() {
        let allowed = [normal("https://App.example/"), normal("http://localhost:5173")];
        let ok = |values: &[&str]| origin_allowed(&allowed, &headers("origin", values));
        assert!(ok(&["https://app.example"]) && ok(&["http://localhost:5173"]) && ok(&[]));
        for origin in ["null", "https://app.example.evil.example", "http://app.example", "https://app.example:444", ""]
        {
            assert!(!ok(&[origin]), "{origin}");
        }
        assert!(!ok(&["https://app.example", "https://evil.example"]));
        assert!(origin_allowed(&[], &headers("origin", &["https://evil.example"])), "an empty list allows all");
    }
}
