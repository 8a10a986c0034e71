//! The client's WebSocket, plain or over TLS: what [`super::Client`] is built on, for tools and tests that must decide
//! themselves what is said and when.
//!
//! A [`Socket`] carries messages of PROTOCOL.md §4 and keeps nothing of a session: it neither acknowledges nor comes back.
//! Beneath it is the [`Raw`] socket of the WebSocket library, which also sends what no client should.

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use aldis_wire::edge::{HostMessage, PATH, SUBPROTOCOL};
use futures_util::{Sink, Stream};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream, client_async_tls_with_config};
use url::Url;

pub use tokio_tungstenite::tungstenite::{Message, Utf8Bytes as Text};

use super::ClientError;

/// From the look-up of the name to the open socket, and from there to the answer to `hello`: six round trips of a bad
/// line. A machine that was switched off does not even refuse, and its edges wait for this before they try another.
pub(super) const CONNECT_DEADLINE: Duration = Duration::from_secs(4);
/// A host that takes nothing for so long is gone.
const SEND_DEADLINE: Duration = Duration::from_secs(10);
/// The largest answer: 64 members with full metas, with room for escapes.
const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// What one read takes. The WebSocket library clears as much before each read, so more costs more, whatever comes; two
/// session descriptions fit in, and larger messages make it grow.
const READ_BUFFER_BYTES: usize = 4 << 10;
/// So much is gathered before it goes to the kernel without being flushed.
const WRITE_BUFFER_BYTES: usize = 16 << 10;
/// Most that may wait for a host that does not read: some sixty messages of full size.
const WRITE_BUFFER_BYTES_MAX: usize = 4 << 20;

/// A WebSocket without a deadline, a limit of patience or a subprotocol of its own.
pub type Raw = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// How a WebSocket is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Opening<'a> {
    /// Besides those that the upgrade takes; names in small letters.
    pub headers: &'a [(&'static str, &'a str)],
    /// For `wss`: a PEM file with the only authorities to trust, instead of the world's.
    pub authority: Option<&'a Path>,
    /// The largest message that is taken.
    pub message_bytes_max: usize,
}

impl Default for Opening<'_> {
    fn default() -> Self {
        Self { headers: &[], authority: None, message_bytes_max: MESSAGE_BYTES_MAX }
    }
}

/// Asks for a WebSocket at `url` over an open connection; for `wss`, after TLS.
///
/// # Errors
/// In words, why there is none.
pub async fn upgrade(stream: TcpStream, url: &str, opening: Opening<'_>) -> Result<Raw, String> {
    let mut request = url.into_client_request().map_err(plain)?;
    for (name, value) in opening.headers {
        let value = HeaderValue::from_str(value).map_err(|error| error.to_string())?;
        request.headers_mut().insert(HeaderName::from_static(name), value);
    }
    let limits = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(WRITE_BUFFER_BYTES)
        .max_write_buffer_size(WRITE_BUFFER_BYTES_MAX)
        .max_message_size(Some(opening.message_bytes_max))
        .max_frame_size(Some(opening.message_bytes_max));
    let connector = match request.uri().scheme_str() {
        Some("wss") => Connector::Rustls(tls_config(opening.authority).map_err(|error| error.to_string())?),
        _ => Connector::Plain,
    };
    stream.set_nodelay(true).map_err(|error| crate::system::plain(&error))?;
    // On the heap: a TLS handshake is large, and callers hold this future inside theirs.
    let opened = Box::pin(client_async_tls_with_config(request, stream, Some(limits), Some(connector))).await;
    opened.map(|(raw, _)| raw).map_err(plain)
}

/// What the native door of a gateway is asked for.
#[must_use]
pub(crate) fn native() -> Opening<'static> {
    Opening { headers: &[("sec-websocket-protocol", SUBPROTOCOL)], ..Opening::default() }
}

/// An open WebSocket at the native door of a gateway. Messages are texts; others are passed over.
#[derive(Debug)]
pub struct Socket {
    raw: Raw,
    url: String,
    /// Messages that were not flushed yet.
    unsent: usize,
}

impl Socket {
    /// Opens a socket to a gateway: a `ws`, `wss`, `http` or `https` URL. `authority` is a PEM file with the only
    /// authorities to trust for `wss`, instead of the world's.
    ///
    /// # Errors
    /// [`ClientError::BadInput`] for what is no such URL or file, else [`ClientError::Unreachable`].
    pub async fn open(url: &str, authority: Option<&Path>) -> Result<Self, ClientError> {
        let unreachable = |why: String| ClientError::Unreachable { url: url.to_owned(), why };
        let gateway = gateway_url(url)?;
        // Before anything is tried: it is the caller's fault.
        authority.map(|path| tls_config(Some(path))).transpose()?;
        let opening = async {
            let host = gateway.host_str().unwrap_or_default().trim_matches(['[', ']']);
            let port = gateway.port_or_known_default().unwrap_or_default();
            let stream = TcpStream::connect((host, port)).await.map_err(|error| crate::system::plain(&error))?;
            upgrade(stream, gateway.as_str(), Opening { authority, ..native() }).await
        };
        match timeout(CONNECT_DEADLINE, opening).await {
            Ok(Ok(raw)) => Ok(Self { raw, url: url.to_owned(), unsent: 0 }),
            Ok(Err(why)) => Err(unreachable(why)),
            Err(_) => Err(unreachable(format!("no answer within {} s", CONNECT_DEADLINE.as_secs()))),
        }
    }

    /// The gateway, as it was given.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The next text. Nothing is lost when the future is dropped.
    ///
    /// # Errors
    /// In words, why there will be none.
    pub async fn next(&mut self) -> Result<Text, String> {
        std::future::poll_fn(|context| self.poll_next(context)).await
    }

    /// As [`Socket::next`].
    ///
    /// # Errors
    /// As [`Socket::next`].
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<Text, String>> {
        loop {
            return Poll::Ready(match std::task::ready!(Pin::new(&mut self.raw).poll_next(context)) {
                Some(Ok(Message::Text(text))) => Ok(text),
                Some(Ok(Message::Close(Some(frame)))) => Err(format!("closed by the host: {}", frame.reason)),
                Some(Ok(Message::Close(None))) | None => Err("closed by the host".to_owned()),
                Some(Ok(_)) => continue,
                Some(Err(error)) => Err(plain(error)),
            });
        }
    }

    /// Puts a text with those that [`Socket::flush`] sends.
    ///
    /// # Errors
    /// In words, that the socket is broken, or that too much waits for a flush.
    pub fn feed(&mut self, text: impl Into<Text>) -> Result<(), String> {
        self.unsent += 1;
        Pin::new(&mut self.raw).start_send(Message::Text(text.into())).map_err(plain)
    }

    /// Texts that were not flushed yet.
    #[must_use]
    pub fn unsent(&self) -> usize {
        self.unsent
    }

    /// Sends what was fed.
    ///
    /// # Errors
    /// In words, that the socket is broken, or that the host takes nothing.
    pub async fn flush(&mut self) -> Result<(), String> {
        match timeout(SEND_DEADLINE, std::future::poll_fn(|context| self.poll_flush(context))).await {
            Ok(result) => result,
            Err(_) => Err("the host takes nothing any more".to_owned()),
        }
    }

    /// As [`Socket::flush`], without a deadline.
    ///
    /// # Errors
    /// In words, that the socket is broken.
    pub fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<Result<(), String>> {
        let flushed = std::task::ready!(Pin::new(&mut self.raw).poll_flush(context));
        self.unsent = 0;
        Poll::Ready(flushed.map_err(plain))
    }

    /// Sends a text.
    ///
    /// # Errors
    /// As [`Socket::flush`].
    pub async fn send(&mut self, text: impl Into<Text>) -> Result<(), String> {
        self.feed(text)?;
        self.flush().await
    }

    /// Closes, as well as it can be done.
    pub async fn close(&mut self) {
        // The other side may be gone already, which is as good.
        drop(timeout(SEND_DEADLINE, self.raw.close(None)).await);
    }
}

/// Reads a message of a host; of an unreadable one only that it was unreadable.
#[must_use]
pub fn read(text: &str) -> Option<HostMessage<'_>> {
    // Types of newer versions are skipped.
    HostMessage::decode(text).ok()
}

/// A gateway's URL in the form that WebSocket clients want.
pub(super) fn gateway_url(text: &str) -> Result<Url, ClientError> {
    let bad = |why: &str| {
        ClientError::BadInput(format!("{text:?} is not a gateway's URL, such as ws://localhost:8400: {why}"))
    };
    let mut url = Url::parse(text).map_err(|error| bad(&error.to_string()))?;
    let scheme = match url.scheme() {
        "ws" | "http" => "ws",
        "wss" | "https" => "wss",
        other => return Err(bad(&format!("the scheme {other:?} is not ws, wss, http or https"))),
    };
    url.set_scheme(scheme).map_err(|()| bad("the scheme cannot be changed"))?;
    if url.path() == "/" {
        url.set_path(PATH);
    }
    Ok(url)
}

/// TLS that trusts the authorities of a PEM file and no other; without a file, those that browsers trust.
///
/// # Errors
/// [`ClientError::BadInput`] when the file cannot be used.
pub(crate) fn tls_config(authority: Option<&Path>) -> Result<Arc<rustls::ClientConfig>, ClientError> {
    let mut roots = rustls::RootCertStore::empty();
    match authority {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(path) => add_authorities(&mut roots, path)?,
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| ClientError::BadInput(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

fn add_authorities(roots: &mut rustls::RootCertStore, path: &Path) -> Result<(), ClientError> {
    let bad = |why: String| ClientError::BadInput(format!("{}: {why}", path.display()));
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| bad(error.to_string()))? {
        let certificate = certificate.map_err(|error| bad(error.to_string()))?;
        roots.add(certificate).map_err(|error| bad(error.to_string()))?;
    }
    if roots.is_empty() { Err(bad("holds no certificate in PEM form".to_owned())) } else { Ok(()) }
}

/// What went wrong, without the library's own prefixes.
pub(crate) fn plain(error: tungstenite::Error) -> String {
    match error {
        tungstenite::Error::Io(error) => crate::system::plain(&error),
        tungstenite::Error::Http(response) => format!("answered {} instead of opening a WebSocket", response.status()),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateways_url_may_be_written_as_people_do() {
        let url = |text| gateway_url(text).unwrap().to_string();
        assert_eq!(url("http://localhost:8401"), "ws://localhost:8401/v1");
        assert_eq!(url("https://relay.example.org"), "wss://relay.example.org/v1");
        assert_eq!(url("wss://relay.example.org/aldis/v1"), "wss://relay.example.org/aldis/v1");
        assert!(gateway_url("ftp://x").is_err());
        assert!(gateway_url("localhost:8401").is_err());
    }
}
