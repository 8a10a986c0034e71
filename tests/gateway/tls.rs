//! TLS of the gateway: from files, read again when they change.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::harness::{CERTIFICATE_LOOKED_AT, House, eventually, within};

fn issue(folder: &Path) -> CertificateDer<'static> {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(folder.join("key.pem"), signing_key.serialize_pem()).unwrap();
    std::fs::write(folder.join("cert.pem"), cert.pem()).unwrap();
    cert.der().clone()
}

fn house(folder: &Path) -> House {
    House::with(|config, _| config.tls = Some((folder.join("cert.pem"), folder.join("key.pem"))))
}

/// The status of `GET /healthz` over TLS by a client that trusts only `root`.
async fn healthy(house: &House, root: &CertificateDer<'static>) -> std::io::Result<bool> {
    let mut roots = RootCertStore::empty();
    roots.add(root.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let connector = TlsConnector::from(Arc::new(config.with_root_certificates(roots).with_no_client_auth()));
    let stream = TcpStream::connect(house.address()).await?;
    let mut stream = connector.connect(ServerName::try_from("localhost").unwrap(), stream).await?;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await?;
    let mut answer = Vec::new();
    // hyper closes without the TLS goodbye; what was read counts.
    _ = within("an answer", stream.read_to_end(&mut answer)).await;
    Ok(answer.starts_with(b"HTTP/1.1 200"))
}

/// The certificate is in use for longer than a change of the files goes unnoticed.
async fn stays(house: &House, root: &CertificateDer<'static>) {
    let until = Instant::now() + 4 * CERTIFICATE_LOOKED_AT;
    while Instant::now() < until {
        assert!(healthy(house, root).await.unwrap());
    }
}

#[tokio::test]
async fn a_renewed_certificate_is_used_without_a_restart_and_a_broken_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let first = issue(folder.path());
    let house = house(folder.path());
    assert!(healthy(&house, &first).await.unwrap());

    let second = issue(folder.path());
    eventually("the new certificate is used", async || healthy(&house, &second).await.unwrap_or(false)).await;
    assert!(healthy(&house, &first).await.is_err());

    // A key that does not belong to the certificate: the pair stays out, the one before stays in use.
    std::fs::write(folder.path().join("key.pem"), KeyPair::generate().unwrap().serialize_pem()).unwrap();
    stays(&house, &second).await;
    std::fs::write(folder.path().join("cert.pem"), "-----BEGIN CERTIFICATE-----\nhalf").unwrap();
    stays(&house, &second).await;

    let third = issue(folder.path());
    eventually("a good pair is used again", async || healthy(&house, &third).await.unwrap_or(false)).await;
}

#[tokio::test]
async fn plain_http_at_a_tls_port_disturbs_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let root = issue(folder.path());
    let house = house(folder.path());
    let mut plain = TcpStream::connect(house.address()).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    _ = within("it is closed", plain.read_to_end(&mut answer)).await;
    assert!(!answer.starts_with(b"HTTP/1.1 200"));
    assert!(healthy(&house, &root).await.unwrap());
}

#[tokio::test]
async fn a_gateway_does_not_start_without_the_certificate_that_it_was_given() {
    let folder = tempfile::tempdir().unwrap();
    issue(folder.path());
    std::fs::write(folder.path().join("key.pem"), "no key").unwrap();
    let (chain, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    let error = aldis::net::gateway::check_certificate(&chain, &key).unwrap_err().to_string();
    assert!(error.contains("key.pem"), "{error}");
    let error = aldis::net::gateway::check_certificate(&folder.path().join("none.pem"), &key).unwrap_err().to_string();
    assert!(error.contains("none.pem"), "{error}");
}
