//! The front doors for edges: WebSockets, each with its own protocol, and the pages that come with them.
//!
//! | module | what |
//! |---|---|
//! | `accept` | accepting connections, and how many may stand at the threshold |
//! | `upgrade` | from an HTTP request to a WebSocket: origins, proxies, subprotocol |
//! | `session` | one task per edge, between its socket and its mailbox |
//! | `dialect` | what a door tells `session` to do, and the other way round |
//! | `doors` | the doors, one file or folder a protocol: our own is `native` |
//! | `bucket` | what the machine does not limit |
//! | `certificate` | TLS from files that are read again when they change |
//! | `pages` | the demo and the client library, built in |

mod accept;
mod bucket;
mod certificate;
mod dialect;
mod doors;
mod pages;
mod session;
mod upgrade;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use aldis_wire::id::HostId;
use aldis_wire::network::Network;
use axum::Router;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::doors::Door;
use crate::net::dual_stack;
use crate::net::hub::{DoorCounts, Hub};
use accept::Threshold;
use certificate::Certificate;
pub use certificate::CertificateError;
use doors::native::translate::Translator;

/// What waits in the kernel for a socket that is not read, half of what Linux makes of it. Left alone it would grow to
/// several MiB an edge.
const SEND_BUFFER_BYTES: u32 = 64 << 10;
/// Connections that the kernel holds until we take them: a storm of 10,000 edges that all come back.
const BACKLOG_MAX: u32 = 4_096;
/// How long a stop waits for sockets to take their last words.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// How a gateway serves.
#[derive(Clone, Debug)]
pub struct GatewayConfig {
    /// Whose front door it is.
    pub host: HostId,
    /// The network's name, tag and topic ids.
    pub network: Network,
    /// Protocols of other systems that are spoken besides our own.
    pub doors: Vec<Door>,
    /// Whether the ids of `PeerJS` clients here are told to whoever asks.
    pub peerjs_discovery: bool,
    /// Origins of web pages that may connect, as browsers write them; empty for all.
    pub origins: Vec<String>,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpAddr>,
    /// Given to edges for their `RTCConfiguration`.
    pub ice_servers: Vec<serde_json::Value>,
    /// PEM files of certificate chain and key; `None` for plain HTTP.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// How long the machine keeps a session without socket; told to edges.
    pub grace: Duration,
    /// Deadlines.
    pub timing: Timing,
}

/// Deadlines of sockets. Tests shorten them.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// After so much silence an edge is pinged; after 2.5 times that its socket is closed. Below the 30 s after which
    /// the shortest-lived NATs and proxies forget a connection.
    pub heartbeat: Duration,
    /// A socket that takes nothing for so long is cut.
    pub write: Duration,
    /// For TLS, and again for the headers of a request.
    pub headers: Duration,
    /// For all requests of a connection that never becomes a WebSocket.
    pub pages: Duration,
    /// How often the certificate's files are looked at.
    pub certificate: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_secs(25),
            write: Duration::from_secs(10),
            headers: Duration::from_secs(5),
            pages: Duration::from_secs(60),
            certificate: Duration::from_secs(3),
        }
    }
}

/// Why a gateway cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// The certificate or its key.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// What the listener says of itself.
    #[error("the gateway's socket is unusable: {0}")]
    Socket(#[from] io::Error),
}

/// A gateway that serves. Dropping it cuts all its sockets.
#[derive(Debug)]
pub struct Gateway {
    address: SocketAddr,
    front: Arc<Front>,
    tasks: Vec<JoinHandle<()>>,
}

/// What all tasks of a gateway share.
#[derive(Debug)]
struct Front {
    hub: Arc<Hub>,
    origins: Vec<String>,
    trusted_proxies: Vec<IpAddr>,
    timing: Timing,
    threshold: Threshold,
    takes_edges: Arc<AtomicBool>,
    open: Open,
}

/// The sockets that are open now.
#[derive(Debug, Default)]
struct Open {
    sockets: AtomicUsize,
    changed: Notify,
    cut: AtomicBool,
    cutting: Notify,
}

/// Opens the gateway's port.
///
/// # Errors
/// Those of the operating system: above all, that the port is taken.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    dual_stack::take_both(&socket, address)?;
    socket.set_reuseaddr(true)?;
    // Accepted sockets inherit both.
    socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
    socket.set_nodelay(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG_MAX)
}

/// Whether a certificate chain and its key can be used: what a start would say.
///
/// # Errors
/// [`CertificateError`] names the file and what is wrong with it.
pub fn check_certificate(chain: &Path, key: &Path) -> Result<(), CertificateError> {
    certificate::load(chain, key).map(|_| ())
}

impl Gateway {
    /// Serves edges on `listener`, and besides them `others`: the routes of other worlds. While `takes_edges` is
    /// false, new edges are refused with `closing`.
    ///
    /// # Errors
    /// [`GatewayError`] when the certificate cannot be used.
    pub fn start(
        config: GatewayConfig,
        hub: Arc<Hub>,
        listener: TcpListener,
        others: Router,
        takes_edges: Arc<AtomicBool>,
    ) -> Result<Self, GatewayError> {
        let address = listener.local_addr()?;
        let certificate =
            config.tls.clone().map(|(chain, key)| Certificate::read(chain, key)).transpose()?.map(Arc::new);
        let translator =
            Translator::new(config.host, config.network.clone(), &config.ice_servers, config.grace, config.timing);
        let front = Arc::new(Front {
            hub,
            origins: config.origins.iter().map(|origin| upgrade::normal(origin)).collect(),
            trusted_proxies: config.trusted_proxies.iter().map(IpAddr::to_canonical).collect(),
            timing: config.timing,
            threshold: Threshold::default(),
            takes_edges,
            open: Open::default(),
        });
        let router = doors::native::routes(&front, translator)
            .merge(doors::routes(&front, &config))
            .merge(pages::router())
            .merge(others);
        let mut tasks = Vec::new();
        if let Some(certificate) = &certificate {
            tasks.push(tokio::spawn(certificate.clone().watch(config.timing.certificate)));
        }
        tasks.push(tokio::spawn(accept::accept(listener, front.clone(), router, certificate)));
        Ok(Self { address, front, tasks })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// WebSockets that are open now, those included that the machine has closed and that still take their last words.
    #[must_use]
    pub fn sockets(&self) -> usize {
        self.front.open.sockets.load(Ordering::Acquire)
    }

    /// Takes no connection any more, and waits at most two seconds for the sockets that the machine has closed to take
    /// their last words.
    pub async fn stop(self) {
        for task in &self.tasks {
            task.abort();
        }
        _ = tokio::time::timeout(LAST_WORDS, self.front.open.none_left()).await;
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
        self.front.open.cut.store(true, Ordering::Release);
        self.front.open.cutting.notify_waiters();
    }
}

impl Front {
    /// Whether new edges are let in.
    fn is_ready(&self) -> bool {
        self.takes_edges.load(Ordering::Acquire)
    }
}

impl Open {
    async fn none_left(&self) {
        loop {
            let changed = self.changed.notified();
            if self.sockets.load(Ordering::Acquire) == 0 {
                return;
            }
            changed.await;
        }
    }

    /// Comes back when the gateway is dropped.
    async fn cut(&self) {
        let cutting = self.cutting.notified();
        if !self.cut.load(Ordering::Acquire) {
            cutting.await;
        }
    }
}

/// Counts a socket while it is open.
struct Counted {
    front: Arc<Front>,
    door: Arc<DoorCounts>,
}

impl Counted {
    fn new(front: Arc<Front>, door: Arc<DoorCounts>) -> Self {
        front.open.sockets.fetch_add(1, Ordering::AcqRel);
        door.opened.add();
        Self { front, door }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.door.closed.add();
        if self.front.open.sockets.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.front.open.changed.notify_waiters();
        }
    }
}
