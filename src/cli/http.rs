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
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use url::Url;

use crate::client::tls_config;

/// For everything from the look-up of the name to the last byte.
const DEADLINE: Duration = Duration::from_secs(10);
/// The status of a network of 4,096 hosts has some 3 MB.
const BODY_BYTES_MAX: usize = 32 << 20;

/// Whom to believe who they are, at an https URL.
#[derive(Clone, Copy, Debug)]
pub(super) enum Trust<'a> {
    /// The authorities that browsers believe.
    World,
    /// A PEM file with the only authorities to believe.
    Authority(&'a Path),
    /// Anybody: for what is on this machine, or is only to be looked at.
    Anybody,
}

/// The body of what is at `url`. `authority` is a PEM file with the only authorities to trust for https.
pub(super) async fn get(url: &str, authority: Option<&Path>) -> Result<String> {
    get_from(url, authority.map_or(Trust::World, Trust::Authority)).await
}

/// The body of what is at `url`.
pub(super) async fn get_from(url: &str, trust: Trust<'_>) -> Result<String> {
    let parsed = Url::parse(url).with_context(|| format!("{url:?} is not a URL"))?;
    let asked = async {
        match parsed.scheme() {
            "http" => exchange(connect(&parsed).await?, &parsed).await,
            "https" => exchange(tls(&parsed, trust).await?, &parsed).await,
            other => bail!("the scheme {other:?} is neither http nor https"),
        }
    };
    timeout(DEADLINE, asked).await.with_context(|| format!("no answer within {} s", DEADLINE.as_secs()))?
}

/// The certificates that are shown at `url`, an https or wss URL, whoever made them.
pub(super) async fn certificates(url: &Url) -> Result<Vec<CertificateDer<'static>>> {
    let opened = timeout(DEADLINE, tls(url, Trust::Anybody)).await;
    let stream = opened.with_context(|| format!("no answer within {} s", DEADLINE.as_secs()))??;
    let shown = stream.get_ref().1.peer_certificates().context("it shows no certificate")?;
    Ok(shown.iter().map(|certificate| certificate.clone().into_owned()).collect())
}

/// The URL's host, without the brackets of an IPv6 address, which belong to the URL alone.
fn name(url: &Url) -> Result<String> {
    let host = url.host_str().with_context(|| format!("\"{url}\" names no host"))?;
    Ok(host.trim_start_matches('[').trim_end_matches(']').to_owned())
}

async fn connect(url: &Url) -> Result<TcpStream> {
    let port = url.port_or_known_default().context("the URL names no port")?;
    let connected = TcpStream::connect((name(url)?.as_str(), port)).await;
    connected.map_err(|error| anyhow::anyhow!(crate::system::plain(&error)))
}

async fn tls(url: &Url, trust: Trust<'_>) -> Result<TlsStream<TcpStream>> {
    let config = match trust {
        Trust::World => tls_config(None)?,
        Trust::Authority(authority) => tls_config(Some(authority))?,
        Trust::Anybody => anybody()?,
    };
    let name = ServerName::try_from(name(url)?).context("the URL's host cannot be in a certificate")?;
    Ok(TlsConnector::from(config).connect(name, connect(url).await?).await?)
}

fn anybody() -> Result<Arc<ClientConfig>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let schemes = provider.signature_verification_algorithms.supported_schemes();
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(schemes)))
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// Believes everybody.
#[derive(Debug)]
struct Anybody(Vec<SignatureScheme>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.clone()
    }
}

async fn exchange(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, url: &Url) -> Result<String> {
    let host = url.host_str().context("the URL names no host")?;
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
