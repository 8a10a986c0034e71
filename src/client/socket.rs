//! The client's WebSocket: opened with a deadline, plain or over TLS.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aldis_wire::edge::{HostMessage, PATH, SUBPROTOCOL};
use futures_util::{SinkExt, StreamExt};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message, Utf8Bytes};
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream, connect_async_tls_with_config};
use url::Url;

use super::ClientError;

/// From the look-up of the name to the open socket, and from there to the answer to `hello`: six round trips of a bad
/// line. A machine that was switched off does not even refuse, and its edges wait for this before they try another.
pub(super) const CONNECT_DEADLINE: Duration = Duration::from_secs(4);
/// A host that takes nothing for so long is gone.
const SEND_DEADLINE: Duration = Duration::from_secs(10);
/// The largest answer: 64 members with full metas, with room for escapes.
const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// An open WebSocket.
#[derive(Debug)]
pub(super) struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    /// Opens a socket to a gateway.
    pub(super) async fn open(url: &str, authority: Option<&Path>) -> Result<Self, ClientError> {
        let unreachable = |why: String| ClientError::Unreachable { url: url.to_owned(), why };
        let mut request =
            gateway_url(url)?.as_str().into_client_request().map_err(|error| unreachable(plain(error)))?;
        request.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static(SUBPROTOCOL));
        let limits = WebSocketConfig::default()
            .max_message_size(Some(MESSAGE_BYTES_MAX))
            .max_frame_size(Some(MESSAGE_BYTES_MAX));
        let connector = Connector::Rustls(tls_config(authority)?);
        let opened = connect_async_tls_with_config(request, Some(limits), true, Some(connector));
        match timeout(CONNECT_DEADLINE, opened).await {
            Ok(Ok((socket, _))) => Ok(Self(socket)),
            Ok(Err(error)) => Err(unreachable(plain(error))),
            Err(_) => Err(unreachable(format!("no answer within {} s", CONNECT_DEADLINE.as_secs()))),
        }
    }

    /// The next text, or in words why there will be none.
    pub(super) async fn next(&mut self) -> Result<Utf8Bytes, String> {
        loop {
            match self.0.next().await {
                Some(Ok(Message::Text(text))) => return Ok(text),
                Some(Ok(Message::Close(Some(frame)))) => return Err(format!("closed by the host: {}", frame.reason)),
                Some(Ok(Message::Close(None))) | None => return Err("closed by the host".to_owned()),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(plain(error)),
            }
        }
    }

    /// Sends a text.
    pub(super) async fn send(&mut self, text: &str) -> Result<(), String> {
        match timeout(SEND_DEADLINE, self.0.send(Message::text(text))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(plain(error)),
            Err(_) => Err("the host takes nothing any more".to_owned()),
        }
    }

    /// Closes, as well as it can be done.
    pub(super) async fn close(&mut self) {
        // The other side may be gone already, which is as good.
        drop(timeout(SEND_DEADLINE, self.0.close(None)).await);
    }
}

/// Reads a message of a host; of an unreadable one only that it was unreadable.
pub(super) fn read(text: &str) -> Option<HostMessage<'_>> {
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
fn plain(error: tungstenite::Error) -> String {
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
