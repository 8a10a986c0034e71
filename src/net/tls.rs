//! TLS between hosts: a host is its key (DESIGN: "Keys and networks").
//!
//! Both sides show a certificate made by their own Ed25519 key, and both sides check two things only: that the key in
//! the certificate is an Ed25519 key (and the expected one, where one is expected), and that the handshake is signed by
//! it. Names, issuers and dates in a certificate mean nothing here, so a wrong clock cuts no mesh. TLS 1.3 only, no
//! early data, no resumption. That the other side belongs to the network is proved after the handshake.

use std::sync::Arc;

use aldis_wire::id::HostId;
use aldis_wire::network::CHECK_ALPN_SUFFIX;
use ed25519_dalek::SigningKey;
use quinn::crypto::rustls::{HandshakeData, NoInitialCipherSuite, QuicClientConfig, QuicServerConfig};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls13_signature_with_raw_key};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, ParsedCertificate};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, PeerIncompatible, PeerMisbehaved,
    ServerConfig, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};

/// What stands where a certificate wants a name. Nobody reads it.
const NAME: &str = "aldis";
/// A DER `SubjectPublicKeyInfo` of an Ed25519 key up to the key itself (RFC 8410 §4).
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// A DER PKCS #8 private key of kind Ed25519 up to the seed (RFC 8410 §7).
const PKCS8_PREFIX: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// Why TLS could not be set up. None of these depends on what a stranger does.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The certificate could not be made.
    #[error("cannot make this host's certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// The library refuses the configuration.
    #[error("cannot set up TLS: {0}")]
    Config(#[from] Error),
    /// The library has no cipher for QUIC's first packets.
    #[error("cannot set up QUIC: {0}")]
    Cipher(#[from] NoInitialCipherSuite),
}

/// The TLS side of one host: made at each start from its key.
#[derive(Clone)]
pub struct Tls {
    client: ClientConfig,
    server: Arc<QuicServerConfig>,
    schemes: WebPkiSupportedAlgorithms,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls(key hidden)")
    }
}

impl Tls {
    /// Makes the certificate and both configurations. `alpn` names network and version.
    ///
    /// # Errors
    /// [`TlsError`]; not for any well-formed key.
    pub fn new(identity: &SigningKey, alpn: Vec<u8>) -> Result<Self, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let key = private_key(identity);
        let certificate = certificate(&key)?;
        Self::with_certificate(provider, certificate, key.into(), alpn)
    }

    pub(super) fn with_certificate(
        provider: Arc<CryptoProvider>,
        certificate: CertificateDer<'static>,
        key: PrivateKeyDer<'static>,
        alpn: Vec<u8>,
    ) -> Result<Self, TlsError> {
        let schemes = provider.signature_verification_algorithms;
        let anybody = Arc::new(KeyVerifier { expected: None, schemes });

        let mut server = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(anybody.clone())
            .with_single_cert(vec![certificate.clone()], key.clone_key())?;
        server.alpn_protocols = vec![alpn.clone(), check_alpn(&alpn)];
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        server.max_early_data_size = 0;

        let mut client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(anybody)
            .with_client_auth_cert(vec![certificate], key)?;
        client.alpn_protocols = vec![alpn];
        client.resumption = Resumption::disabled();
        client.enable_early_data = false;
        client.enable_sni = false;

        Ok(Self { client, server: Arc::new(QuicServerConfig::try_from(server)?), schemes })
    }

    /// For taking connections.
    #[must_use]
    pub fn acceptor(&self) -> Arc<QuicServerConfig> {
        self.server.clone()
    }

    /// For finding out whether `host` can be reached; nothing else can be done with such a connection.
    ///
    /// # Errors
    /// As [`Tls::dialler`].
    pub fn checker(&self, host: HostId) -> Result<QuicClientConfig, TlsError> {
        let mut client = self.client.clone();
        client.alpn_protocols = client.alpn_protocols.iter().map(|alpn| check_alpn(alpn)).collect();
        client
            .dangerous()
            .set_certificate_verifier(Arc::new(KeyVerifier { expected: Some(host), schemes: self.schemes }));
        Ok(QuicClientConfig::try_from(client)?)
    }

    /// For opening a connection; to `expected` alone, if given.
    ///
    /// # Errors
    /// [`TlsError::Cipher`], which does not happen with our provider.
    pub fn dialler(&self, expected: Option<HostId>) -> Result<QuicClientConfig, TlsError> {
        let mut client = self.client.clone();
        client.dangerous().set_certificate_verifier(Arc::new(KeyVerifier { expected, schemes: self.schemes }));
        Ok(QuicClientConfig::try_from(client)?)
    }
}

/// What to put where the QUIC library wants a server's name.
#[must_use]
pub fn server_name() -> &'static str {
    NAME
}

/// The key that the other side of an established connection has proved; `None` if it showed none.
#[must_use]
pub fn host_of(connection: &quinn::Connection) -> Option<HostId> {
    let identity = connection.peer_identity()?;
    let certificates = identity.downcast_ref::<Vec<CertificateDer<'static>>>()?;
    key_of(certificates.first()?).ok()
}

/// Whether an established connection was opened only to find out whether we can be reached.
#[must_use]
pub fn is_check(connection: &quinn::Connection) -> bool {
    let data = connection.handshake_data().and_then(|data| data.downcast::<HandshakeData>().ok());
    data.and_then(|data| data.protocol).is_some_and(|alpn| alpn.ends_with(CHECK_ALPN_SUFFIX.as_bytes()))
}

fn check_alpn(alpn: &[u8]) -> Vec<u8> {
    [alpn, CHECK_ALPN_SUFFIX.as_bytes()].concat()
}

/// The key exchange group of an established connection, as IANA names it.
#[must_use]
pub fn key_exchange_of(connection: &quinn::Connection) -> &'static str {
    connection
        .handshake_data()
        .and_then(|data| data.downcast::<HandshakeData>().ok())
        .and_then(|data| data.negotiated_key_exchange_group.as_str())
        .unwrap_or("unknown")
}

pub(super) fn private_key(identity: &SigningKey) -> PrivatePkcs8KeyDer<'static> {
    PrivatePkcs8KeyDer::from([PKCS8_PREFIX.as_slice(), identity.as_bytes()].concat())
}

pub(super) fn certificate(key: &PrivatePkcs8KeyDer<'_>) -> Result<CertificateDer<'static>, rcgen::Error> {
    let pair = rcgen::KeyPair::from_pkcs8_der_and_sign_algo(key, &rcgen::PKCS_ED25519)?;
    let made = rcgen::CertificateParams::new([NAME.to_owned()])?.self_signed(&pair)?;
    Ok(made.der().clone())
}

/// The Ed25519 key inside a certificate.
fn key_of(certificate: &CertificateDer<'_>) -> Result<HostId, Error> {
    let parsed = ParsedCertificate::try_from(certificate)?;
    let info = parsed.subject_public_key_info();
    let key = info.strip_prefix(&SPKI_PREFIX).and_then(|key| <[u8; 32]>::try_from(key).ok());
    key.map(HostId::new).ok_or(Error::InvalidCertificate(CertificateError::BadEncoding))
}

/// Takes whatever server has an Ed25519 key; for tests of servers.
#[cfg(test)]
pub(super) fn anybody() -> Arc<dyn ServerCertVerifier> {
    let schemes = aws_lc_rs::default_provider().signature_verification_algorithms;
    Arc::new(KeyVerifier { expected: None, schemes })
}

/// Checks keys and handshake signatures, on both sides.
#[derive(Debug)]
struct KeyVerifier {
    expected: Option<HostId>,
    schemes: WebPkiSupportedAlgorithms,
}

impl KeyVerifier {
    fn check_key(&self, certificate: &CertificateDer<'_>) -> Result<(), Error> {
        let key = key_of(certificate)?;
        match self.expected {
            Some(expected) if expected != key => Err(CertificateError::ApplicationVerificationFailure.into()),
            _ => Ok(()),
        }
    }

    fn check_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if signature.scheme != SignatureScheme::ED25519 {
            return Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into());
        }
        let parsed = ParsedCertificate::try_from(certificate)?;
        verify_tls13_signature_with_raw_key(message, &parsed.subject_public_key_info(), signature, &self.schemes)
    }
}

impl ServerCertVerifier for KeyVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check_key(end_entity).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::Tls12NotOffered.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

impl ClientCertVerifier for KeyVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check_key(end_entity).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::Tls12NotOffered.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}
