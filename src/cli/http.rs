//! One GET, bounded in time and size.

use std::future::poll_fn;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use hyper::Request;
use hyper::body::Body;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use url::Url;

use crate::client::tls_config;

/// For everything from the look-up of the name to the last byte.
const DEADLINE: Duration = Duration::from_secs(10);
/// The status of a network of 4,096 hosts has some 3 MB.
const BODY_BYTES_MAX: usize = 32 << 20;

/// The body of what is at `url`. `authority` is a PEM file with the only authorities to trust for https.
pub(super) async fn get(url: &str, authority: Option<&Path>) -> Result<String> {
    let parsed = Url::parse(url).with_context(|| format!("{url:?} is not a URL"))?;
    let host = parsed.host_str().with_context(|| format!("{url:?} names no host"))?.to_owned();
    let port = parsed.port_or_known_default().context("the URL names no port")?;
    let asked = async {
        // Brackets of an IPv6 address belong to the URL alone.
        let name = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let stream = TcpStream::connect((name.as_str(), port))
            .await
            .map_err(|error| anyhow::anyhow!(crate::system::plain(&error)))?;
        match parsed.scheme() {
            "http" => exchange(stream, &parsed, &host).await,
            "https" => {
                let connector = TlsConnector::from(Arc::clone(&tls_config(authority)?));
                let name = ServerName::try_from(name).context("the URL's host cannot be in a certificate")?;
                exchange(connector.connect(name, stream).await?, &parsed, &host).await
            }
            other => bail!("the scheme {other:?} is neither http nor https"),
        }
    };
    timeout(DEADLINE, asked).await.with_context(|| format!("no answer within {} s", DEADLINE.as_secs()))?
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    url: &Url,
    host: &str,
) -> Result<String> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let request =
        Request::get(url.path()).header("host", host).header("accept", "application/json").body(String::new())?;
    let mut response = sender.send_request(request).await?;
    if !response.status().is_success() {
        bail!("it answers {}", response.status());
    }
    let mut bytes = Vec::new();
    while let Some(frame) = poll_fn(|context| Pin::new(response.body_mut()).poll_frame(context)).await {
        if let Ok(data) = frame?.into_data() {
            if bytes.len() + data.len() > BODY_BYTES_MAX {
                bail!("it answers with more than {BODY_BYTES_MAX} bytes");
            }
            bytes.extend_from_slice(&data);
        }
    }
    connection.abort();
    String::from_utf8(bytes).context("it answers with something that is not text")
}
