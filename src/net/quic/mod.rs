//! Links: QUIC connections to other hosts, dialled and taken on one socket.
//!
//! | module | what |
//! |---|---|
//! | `check` | whether another host can be reached |
//! | `transport` | every bound of a connection |
//! | `link` | the life of one connection |
//! | `streams` | frames in and out of one stream |

mod check;
mod link;
mod streams;
mod transport;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aldis_wire::host::{EXPORTER_LABEL, GoodbyeReason, Role};
use aldis_wire::id::HostId;
use ed25519_dalek::SigningKey;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{
    AsyncUdpSocket, ClientConfig, Connecting, ConnectionError, Endpoint, Incoming, TransportErrorCode, VarInt,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::dual_stack;
use super::hub::Hub;
use super::tls::{self, Tls, TlsError};
use crate::relay::io::{DialFailure, DialKey, Input};
use transport::{CONNECTIONS_MAX, HANDSHAKE_DEADLINE, HANDSHAKES_MAX, HANDSHAKES_UNPROVEN_MAX};

/// Each connection notes what has come so far before the other side is asked for more.
const ASK_AFTER: Duration = Duration::from_millis(20);
const UNKNOWN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// TLS alerts as QUIC carries them (RFC 9001 §4.8, RFC 8446 §6.2).
const ALERT_ACCESS_DENIED: u8 = 49;
const ALERT_CERTIFICATE_REQUIRED: u8 = 116;
const ALERT_NO_APPLICATION_PROTOCOL: u8 = 120;

/// Why the QUIC side cannot start.
#[derive(Debug, thiserror::Error)]
pub enum QuicError {
    /// The address cannot be had.
    #[error("cannot listen for hosts on {address} (UDP): {error}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The system's reason.
        error: std::io::Error,
    },
    /// The certificate or the TLS configuration cannot be made.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// The QUIC side of one host. Clones are the same socket.
#[derive(Clone, Debug)]
pub struct Quic {
    endpoint: Endpoint,
    socket: Arc<dyn AsyncUdpSocket>,
    tls: Tls,
    hub: Arc<Hub>,
    /// The addresses of this machine, since they changed for the first time.
    present: watch::Sender<BTreeSet<IpAddr>>,
    /// Handshakes of others that may still begin.
    handshakes: Arc<Semaphore>,
    seldom: Arc<Seldom>,
}

/// Strangers cause at most one line of log a second; the counts tell the rest.
#[derive(Debug, Default)]
struct Seldom(Mutex<Option<Instant>>);

impl Seldom {
    fn now(&self) -> bool {
        let Ok(mut last) = self.0.lock() else { return false };
        let now = Instant::now();
        if last.is_some_and(|last| now.duration_since(last) < Duration::from_secs(1)) {
            return false;
        }
        *last = Some(now);
        true
    }
}

impl Quic {
    /// Binds the UDP socket, before anything else of a host runs, so that a taken port is told at once. Returns it with
    /// its address.
    ///
    /// # Errors
    /// [`QuicError::Bind`], which names the address.
    pub fn socket(address: SocketAddr) -> Result<(UdpSocket, SocketAddr), QuicError> {
        let bind = |error| QuicError::Bind { address, error };
        let socket = dual_stack::udp(address).map_err(bind)?;
        let bound = socket.local_addr().map_err(bind)?;
        Ok((socket, bound))
    }

    /// Makes the certificate and begins to use the socket, of which only what is QUIC must come. `alpn` names network and
    /// version. Must run inside tokio.
    ///
    /// # Errors
    /// [`QuicError`].
    pub fn start(
        socket: Arc<dyn AsyncUdpSocket>,
        identity: &SigningKey,
        alpn: Vec<u8>,
        hub: Arc<Hub>,
    ) -> Result<Self, QuicError> {
        Self::with_tls(socket, Tls::new(identity, alpn)?, hub)
    }

    fn with_tls(socket: Arc<dyn AsyncUdpSocket>, tls: Tls, hub: Arc<Hub>) -> Result<Self, QuicError> {
        let address = socket.local_addr().unwrap_or(UNKNOWN);
        let server = transport::acceptor(&tls);
        let runtime = Arc::new(quinn::TokioRuntime);
        let (config, inner) = (transport::endpoint(), socket.clone());
        let endpoint = Endpoint::new_with_abstract_socket(config, Some(server), inner, runtime)
            .map_err(|error| QuicError::Bind { address, error })?;
        let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
        let (present, _) = watch::channel(BTreeSet::new());
        Ok(Self { endpoint, socket, tls, hub, present, handshakes, seldom: Arc::default() })
    }

    /// This machine has other addresses than before, and these now. On every connection the other side is asked for a sign
    /// of life, so that it learns where we are; the machine is told which connections lead to us no more. Returns at once.
    pub fn moved(&self, present: &BTreeSet<IpAddr>) {
        self.present.send_replace(present.clone());
        let quic = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(ASK_AFTER).await;
            // As if the socket were another one: quinn then sends a ping on every connection, under another id.
            if let Err(error) = quic.endpoint.rebind_abstract(quic.socket) {
                tracing::warn!(%error, "links cannot be asked whether they live");
            }
        });
    }

    /// Takes connections until the socket closes.
    pub async fn run(&self) {
        while let Some(incoming) = self.endpoint.accept().await {
            self.take(incoming);
        }
    }

    /// Takes one connection, turns it away, or has it prove its address.
    fn take(&self, incoming: Incoming) {
        let counts = self.hub.counts();
        let Ok(permit) = self.handshakes.clone().try_acquire_owned() else {
            counts.handshakes_refused.add();
            return incoming.refuse();
        };
        if self.endpoint.open_connections() >= CONNECTIONS_MAX {
            counts.handshakes_refused.add();
            return incoming.refuse();
        }
        let under_way = HANDSHAKES_MAX - self.handshakes.available_permits();
        if under_way > HANDSHAKES_UNPROVEN_MAX && !incoming.remote_address_validated() && incoming.may_retry() {
            counts.handshakes_retried.add();
            // Fails only for connections that may not retry.
            let _ = incoming.retry();
            return;
        }
        let address = canonical(incoming.remote_address());
        match incoming.accept() {
            Ok(connecting) => {
                tokio::spawn(self.clone().admit(connecting, address, permit));
            }
            Err(error) => self.note_refused(address, &error),
        }
    }

    async fn admit(self, connecting: Connecting, address: SocketAddr, permit: OwnedSemaphorePermit) {
        let outcome = tokio::time::timeout(HANDSHAKE_DEADLINE, connecting).await;
        drop(permit);
        match outcome {
            Ok(Ok(connection)) => self.begin(connection, Role::Acceptor, None).await,
            Ok(Err(error)) => self.note_refused(address, &error),
            Err(_) => self.note_refused(address, &ConnectionError::TimedOut),
        }
    }

    fn note_refused(&self, address: SocketAddr, error: &ConnectionError) {
        let counts = self.hub.counts();
        match alert(error) {
            Some(ALERT_NO_APPLICATION_PROTOCOL) => {
                counts.handshakes_of_other_networks.add();
                if self.seldom.now() {
                    tracing::info!(%address, "refused a host of another network or protocol version");
                }
            }
            Some(ALERT_CERTIFICATE_REQUIRED) => {
                counts.handshakes_without_key.add();
                if self.seldom.now() {
                    tracing::info!(%address, "refused a connection without a host's certificate");
                }
            }
            _ => {
                counts.handshakes_failed.add();
                tracing::debug!(%address, %error, "a handshake failed");
            }
        }
    }

    /// Tries to reach a host; tells the machine what comes of it. Returns at once.
    pub fn dial(&self, dial: DialKey, address: SocketAddr, host: Option<HostId>) {
        let quic = self.clone();
        tokio::spawn(async move {
            match quic.connect(address, host).await {
                Ok(connection) => quic.begin(connection, Role::Dialler, Some(dial)).await,
                Err(failure) => quic.hub.happened(Input::DialFailed { dial, failure }),
            }
        });
    }

    async fn connect(&self, address: SocketAddr, host: Option<HostId>) -> Result<quinn::Connection, DialFailure> {
        let crypto = self.tls.dialler(host).map_err(|error| failed(&error))?;
        Self::connect_from(&self.endpoint, crypto, address).await
    }

    async fn connect_from(
        endpoint: &Endpoint,
        crypto: QuicClientConfig,
        address: SocketAddr,
    ) -> Result<quinn::Connection, DialFailure> {
        // Otherwise an address of a family that this machine has not would take a slot for the whole deadline.
        dual_stack::has_way(address).map_err(|error| failed(&error))?;
        let mut config = ClientConfig::new(Arc::new(crypto));
        config.transport_config(transport::dialler());
        let connecting = endpoint.connect_with(config, address, tls::server_name()).map_err(|error| failed(&error))?;
        match tokio::time::timeout(HANDSHAKE_DEADLINE, connecting).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => Err(match alert(&error) {
                Some(ALERT_NO_APPLICATION_PROTOCOL) => DialFailure::OtherNetwork,
                Some(ALERT_ACCESS_DENIED) => DialFailure::OtherHost,
                _ if error == ConnectionError::TimedOut => DialFailure::TimedOut,
                _ => failed(&error),
            }),
            Err(_) => Err(DialFailure::TimedOut),
        }
    }

    /// TLS is through: the machine is told, and the connection lives until one side ends it.
    async fn begin(&self, connection: quinn::Connection, role: Role, dial: Option<DialKey>) {
        let counts = self.hub.counts();
        if tls::is_check(&connection) {
            counts.handshakes_for_checks.add();
            return connection.close(code(GoodbyeReason::Closing), b"reached");
        }
        let mut exporter = [0; 32];
        let exported = connection.export_keying_material(&mut exporter, EXPORTER_LABEL, b"");
        let (Some(host), Ok(())) = (tls::host_of(&connection), exported) else {
            counts.handshakes_without_key.add();
            connection.close(code(GoodbyeReason::NotAdmitted), b"no host key");
            if let Some(dial) = dial {
                let failure = DialFailure::Failed("it showed no host key".to_owned());
                self.hub.happened(Input::DialFailed { dial, failure });
            }
            return;
        };
        counts.handshakes_done.add();
        let address = canonical(connection.remote_address());
        let rtt = connection.rtt();
        let opened = |link| Input::LinkOpened { link, host, role, dial, address, exporter, rtt };
        let mailbox = self.hub.open_link(tls::key_exchange_of(&connection), opened);
        link::Link::new(connection, mailbox, self.hub.clone()).run(role, self.present.subscribe()).await;
    }

    /// Takes no new connections, waits until all have ended, for at most `patience`, then ends what is left and the
    /// socket.
    pub async fn close(&self, patience: Duration) {
        self.endpoint.set_server_config(None);
        let _ = tokio::time::timeout(patience, self.endpoint.wait_idle()).await;
        self.cut();
    }

    /// Ends all connections and the socket at once.
    pub fn cut(&self) {
        self.endpoint.close(code(GoodbyeReason::Closing), b"");
    }
}

/// The code under which a connection closes for this reason (PROTOCOL.md §5).
fn code(reason: GoodbyeReason) -> VarInt {
    VarInt::from_u32(reason as u32)
}

fn failed(error: &dyn std::fmt::Display) -> DialFailure {
    DialFailure::Failed(error.to_string())
}

/// The TLS alert by which a handshake failed, on whichever side.
fn alert(error: &ConnectionError) -> Option<u8> {
    let code = match error {
        ConnectionError::TransportError(error) => error.code,
        ConnectionError::ConnectionClosed(close) => close.error_code,
        _ => return None,
    };
    (0..=u8::MAX).find(|alert| TransportErrorCode::crypto(*alert) == code)
}

/// An IPv4 address as such, also where the socket shows it inside IPv6. A link-local address keeps its link.
fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        ip @ IpAddr::V4(_) => SocketAddr::new(ip, address.port()),
        IpAddr::V6(_) => address,
    }
}

#[cfg(test)]
mod tests;
