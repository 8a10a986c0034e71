//! Accepting connections, and how many may stand before the door.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aldis_wire::refusal::Refusal;
use axum::Router;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tower::Service;

use super::Front;
use super::certificate::Certificate;
use crate::relay::io::Note;

/// Connections of one address, or one IPv6 /64, that are no WebSocket yet. A connection stands here for two round
/// trips; a browser that loads the page holds six.
pub(super) const WAITING_PER_ADDRESS_MAX: u32 = 256;
/// Connections of all addresses that are no WebSocket yet; about 20 KiB each, with TLS 60 KiB.
pub(super) const WAITING_MAX: u32 = 4_096;
/// Bytes of request line and headers. A browser sends 2 KiB; hyper wants 8 at least.
const HEAD_BYTES: usize = 16 << 10;
/// Headers of a request.
const HEADERS_MAX: usize = 64;
/// First pause when the operating system gives us no more sockets; doubles.
const PAUSE_MIN: Duration = Duration::from_millis(10);
/// Longest pause: an established host must recover within a second.
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// Where a connection comes from, before any proxy's word is believed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caller(pub(super) IpAddr);

/// Who stands before the door.
#[derive(Debug, Default)]
pub(super) struct Threshold {
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    all: u32,
    by_address: HashMap<IpAddr, u32>,
}

/// A place before the door; free again when dropped.
#[derive(Debug)]
struct Place {
    front: Arc<Front>,
    address: IpAddr,
}

impl Threshold {
    /// Takes a place. Proxies stand for many and are only counted among all.
    fn enter(front: &Arc<Front>, address: IpAddr) -> Option<Place> {
        let of_address_max =
            if front.trusted_proxies.contains(&address) { WAITING_MAX } else { WAITING_PER_ADDRESS_MAX };
        let address = group(address);
        let mut waiting = front.threshold.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.all >= WAITING_MAX {
            return None;
        }
        let of_address = waiting.by_address.entry(address).or_insert(0);
        if *of_address >= of_address_max {
            return None;
        }
        *of_address += 1;
        waiting.all += 1;
        Some(Place { front: front.clone(), address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut waiting = self.front.threshold.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.all = waiting.all.saturating_sub(1);
        if let Some(of_address) = waiting.by_address.get_mut(&self.address) {
            *of_address = of_address.saturating_sub(1);
            if *of_address == 0 {
                waiting.by_address.remove(&self.address);
            }
        }
    }
}

/// Whoever has an IPv6 address has its whole /64.
fn group(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) & !u128::from(u64::MAX)).into()),
    }
}

/// Accepts for ever.
pub(super) async fn accept(
    listener: TcpListener,
    front: Arc<Front>,
    router: Router,
    certificate: Option<Arc<Certificate>>,
) {
    let mut pause = PAUSE_MIN;
    loop {
        match listener.accept().await {
            Ok((stream, address)) => {
                pause = PAUSE_MIN;
                admit(stream, address, &front, &router, certificate.clone());
            }
            // No descriptors, no memory. Trying again at once would only turn a core; sockets that stand go on.
            Err(error) => {
                tracing::warn!(%error, pause_ms = pause.as_millis(), "cannot accept connections");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
    }
}

fn admit(
    stream: TcpStream,
    address: SocketAddr,
    front: &Arc<Front>,
    router: &Router,
    certificate: Option<Arc<Certificate>>,
) {
    let caller = address.ip().to_canonical();
    let Some(place) = Threshold::enter(front, caller) else {
        front.hub.note(&Note::EdgeRefused { refusal: Refusal::TooManyEdges });
        if certificate.is_none() {
            turn_away(&stream);
        }
        return;
    };
    let router = router.clone();
    let timing = front.timing;
    tokio::spawn(async move {
        let served = async {
            match certificate {
                None => serve(stream, caller, router, timing.headers).await,
                Some(certificate) => {
                    let handshake = certificate.acceptor().accept(stream);
                    if let Ok(Ok(stream)) = tokio::time::timeout(timing.headers, handshake).await {
                        serve(stream, caller, router, timing.headers).await;
                    }
                }
            }
        };
        // Ends when the connection does, or when it has become a WebSocket, which then has a task of its own.
        _ = tokio::time::timeout(timing.pages, served).await;
        drop(place);
    });
}

/// Says why, if the kernel takes it at once: no memory is spent on who is turned away.
fn turn_away(stream: &TcpStream) {
    let body = super::doors::native::translate::refusal(Refusal::TooManyEdges, "");
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 5\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    _ = stream.try_write(answer.as_bytes());
}

async fn serve<S>(mut stream: S, caller: IpAddr, router: Router, headers: Duration)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    // Flushes what TLS still holds; for TCP it does nothing.
    if stream.flush().await.is_err() {
        return;
    }
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(Caller(caller));
        // For routes that are not ours.
        request.extensions_mut().insert(caller);
        router.clone().call(request)
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(headers)
        .max_buf_size(HEAD_BYTES)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    if let Err(error) = connection.await {
        tracing::trace!(%error, %caller, "a connection ended before it was a WebSocket");
    }
}
