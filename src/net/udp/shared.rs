//! The port of links, lent to the DHT: its library binds a socket of its own there, and ours stands beside it.
//!
//! The library's socket must be bound first and alone. So ours is taken away for the moment in which a node starts, and
//! put back at its side (`kernel`), or alone if the node did not start. This also holds when a node is started anew.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use quinn::{AsyncUdpSocket, Runtime, TokioRuntime};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;

use super::swap::Swap;
use super::twin::Twin;
use crate::net::dual_stack;

/// A node that was ended closes its socket within 50 ms; a loaded machine takes longer.
const FREE_MAX: Duration = Duration::from_secs(2);
/// Pauses between tries to bind.
const AGAIN: Duration = Duration::from_millis(5);
/// With port 0, how often to try for a port that is free for both families.
const PORT_TRIES: usize = 16;

/// Sockets of a port that can be shared: the one for IPv4 apart, because the DHT has no IPv6.
#[derive(Debug)]
pub struct Split {
    v4: UdpSocket,
    v6: Option<UdpSocket>,
    address: SocketAddrV4,
}

/// Why the port cannot be shared.
#[derive(Debug, thiserror::Error)]
pub enum SplitError {
    /// The address cannot be had.
    #[error("{0}")]
    Bind(io::Error),
    /// The DHT has no IPv6.
    #[error("the DHT needs IPv4, and this is one address of IPv6")]
    NoIpv4,
    /// The system cannot, or does not let us.
    #[error("this system does not let two sockets share a UDP port so: {0}")]
    System(io::Error),
}

impl Split {
    /// Binds `address`; `[::]` and the system's IPv4 addresses as well. Port 0 takes any that is free.
    ///
    /// # Errors
    /// [`SplitError`]; also when sharing would not work, which is tried out.
    pub fn bind(address: SocketAddr) -> Result<Self, SplitError> {
        try_out().map_err(SplitError::System)?;
        let both = match address {
            SocketAddr::V4(address) => return Self::bind_v4(address, None),
            SocketAddr::V6(both) if both.ip().is_unspecified() => both,
            SocketAddr::V6(_) => return Err(SplitError::NoIpv4),
        };
        let mut last = SplitError::NoIpv4;
        for _ in 0..PORT_TRIES {
            let v6 = match only_v6(both.port()) {
                Ok(v6) => Some(v6),
                // As without sharing: a system without IPv6 has IPv4.
                Err(error) if error.kind() != io::ErrorKind::AddrInUse => None,
                Err(error) => return Err(SplitError::Bind(error)),
            };
            let bound = v6.as_ref().map(UdpSocket::local_addr).transpose().map_err(SplitError::Bind)?;
            let port = bound.map_or(both.port(), |bound| bound.port());
            match Self::bind_v4(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port), v6) {
                Err(error) if both.port() == 0 => last = error,
                outcome => return outcome,
            }
        }
        Err(last)
    }

    fn bind_v4(address: SocketAddrV4, v6: Option<UdpSocket>) -> Result<Self, SplitError> {
        let v4 = UdpSocket::bind(address).map_err(SplitError::Bind)?;
        dual_stack::enlarge(&v4);
        match v4.local_addr().map_err(SplitError::Bind)? {
            SocketAddr::V4(address) => Ok(Self { v4, v6, address }),
            SocketAddr::V6(_) => Err(SplitError::NoIpv4),
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        match &self.v6 {
            Some(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, self.address.port())),
            None => SocketAddr::V4(self.address),
        }
    }

    /// What quinn uses, and what lends it.
    pub(super) fn open(self) -> io::Result<(Arc<dyn AsyncUdpSocket>, Shared)> {
        let v4 = Swap::new(TokioRuntime.wrap_udp_socket(self.v4)?)?;
        let shared = Shared(Arc::new(Lent { v4: v4.clone(), address: self.address, one: Mutex::default() }));
        let socket: Arc<dyn AsyncUdpSocket> = match self.v6 {
            Some(v6) => Arc::new(Twin::new(v4, TokioRuntime.wrap_udp_socket(v6)?)),
            None => v4,
        };
        Ok((socket, shared))
    }
}

/// Lends the port. Clones lend the same.
#[derive(Clone, Debug)]
pub struct Shared(Arc<Lent>);

#[derive(Debug)]
struct Lent {
    v4: Arc<Swap>,
    address: SocketAddrV4,
    /// One node at a time.
    one: Mutex<()>,
}

impl Shared {
    /// Has `start` bind a socket at the address of links, and makes it share the port. `start` blocks, and binds at once.
    ///
    /// # Errors
    /// What `start` says, or why the port cannot be shared. Links have their port back in any case, unless another process
    /// took it meanwhile.
    pub async fn lend<T: Send + 'static>(
        &self,
        start: impl FnOnce(SocketAddrV4) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let lent = self.0.clone();
        // A task of its own: whoever waits may give up, and the port must not be lost then.
        let lending = tokio::spawn(async move {
            let (_one, address) = (lent.one.lock().await, lent.address);
            lent.v4.take().await?;
            let starting = spawn_blocking(move || {
                // The last node may still have to close its socket; and the library panics now and then if it cannot bind.
                bind_when_free(address).map(drop)?;
                start(address)
            });
            let started = starting.await.unwrap_or_else(|_| Err(io::Error::other("it did not start")));
            let (ours, outcome) =
                spawn_blocking(move || beside(address, started)).await.map_err(io::Error::other)??;
            lent.v4.put(TokioRuntime.wrap_udp_socket(ours)?);
            outcome
        });
        lending.await.map_err(io::Error::other)?
    }
}

/// Our socket, beside the one that was bound, or alone.
fn beside<T>(address: SocketAddrV4, started: io::Result<T>) -> io::Result<(UdpSocket, io::Result<T>)> {
    let failed = match started {
        Ok(node) => match join(address) {
            Ok(ours) => return Ok((ours, Ok(node))),
            // The node ends here: it has the port alone.
            Err(error) => error,
        },
        Err(error) => error,
    };
    let ours = bind_when_free(address).inspect_err(|error| {
        tracing::error!(%address, %error, "another process has the UDP port for links; it is tried again with the DHT");
    })?;
    Ok((ours, Err(failed)))
}

fn bind_when_free(address: SocketAddrV4) -> io::Result<UdpSocket> {
    let deadline = Instant::now() + FREE_MAX;
    loop {
        match UdpSocket::bind(address) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < deadline => {
                std::thread::sleep(AGAIN);
            }
            outcome => return outcome.inspect(|socket| dual_stack::enlarge(socket)),
        }
    }
}

fn only_v6(port: u16) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV6, Type::DGRAM, Some(Protocol::UDP))?;
    dual_stack::enlarge(&socket);
    socket.set_only_v6(true)?;
    socket.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)).into())?;
    Ok(socket.into())
}

#[cfg(target_os = "linux")]
use super::kernel::{join, try_out};

#[cfg(not(target_os = "linux"))]
fn join(_: SocketAddrV4) -> io::Result<UdpSocket> {
    try_out().and(Err(io::ErrorKind::Unsupported.into()))
}

#[cfg(not(target_os = "linux"))]
fn try_out() -> io::Result<()> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "only Linux can"))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail by panic")]
    use std::future::poll_fn;
    use std::io::IoSliceMut;

    use quinn::udp::RecvMeta;
    use tokio::time::timeout;

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(20);

    fn lent(address: &str) -> (Arc<dyn AsyncUdpSocket>, Shared, SocketAddr) {
        let split = Split::bind(address.parse().unwrap()).unwrap();
        let address = split.address();
        let (socket, shared) = split.open().unwrap();
        (socket, shared, address)
    }

    /// The next datagram that links get.
    async fn received(socket: &Arc<dyn AsyncUdpSocket>) -> Vec<u8> {
        let (mut buf, mut meta) = (vec![0; 65_536], [RecvMeta::default()]);
        let receiving = poll_fn(|cx| socket.poll_recv(cx, &mut [IoSliceMut::new(&mut buf)], &mut meta));
        timeout(DEADLINE, receiving).await.unwrap().unwrap();
        let [meta] = meta;
        buf.truncate(meta.len);
        buf
    }

    fn sent(datagram: &[u8], port: u16) {
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        sender.send_to(datagram, (Ipv4Addr::LOCALHOST, port)).unwrap();
    }

    #[tokio::test]
    async fn who_waits_for_datagrams_while_the_port_is_lent_gets_those_that_come_afterwards() {
        for all in ["127.0.0.1:0", "0.0.0.0:0", "[::]:0"] {
            let (socket, shared, address) = lent(all);
            let waiting = tokio::spawn(async move { (received(&socket).await, socket) });
            tokio::task::yield_now().await;
            let node = shared.lend(UdpSocket::bind).await.unwrap();
            sent(b"d1:", address.port());
            sent(b"\xc0links", address.port());
            let (datagram, _socket) = waiting.await.unwrap();
            assert_eq!(datagram, b"\xc0links");
            node.set_read_timeout(Some(DEADLINE)).unwrap();
            let mut buf = [0; 16];
            assert_eq!(node.recv(&mut buf).unwrap(), 3);
        }
    }

    #[tokio::test]
    async fn links_have_their_port_back_whatever_becomes_of_the_node() {
        let (socket, shared, address) = lent("127.0.0.1:0");
        let refused: io::Result<()> = shared.lend(|_| Err(io::ErrorKind::PermissionDenied.into())).await;
        assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        sent(b"1", address.port());
        assert_eq!(received(&socket).await, b"1");
        // The library panics now and then.
        let panicked: io::Result<()> = shared.lend(|_| panic!("on purpose")).await;
        assert!(panicked.is_err());
        sent(b"2", address.port());
        assert_eq!(received(&socket).await, b"2");
        // A node that binds another port.
        assert!(shared.lend(|_| UdpSocket::bind("127.0.0.1:0")).await.is_err());
        sent(b"3", address.port());
        assert_eq!(received(&socket).await, b"3");
        // Whoever asked gives up before it is done.
        let (begun, beginning) = std::sync::mpsc::sync_channel(1);
        let (end, ending) = std::sync::mpsc::sync_channel(1);
        let asking = shared.clone();
        let giving_up = tokio::spawn(async move {
            let start = move |address| {
                begun.send(()).unwrap();
                ending.recv().unwrap();
                UdpSocket::bind(address)
            };
            asking.lend(start).await
        });
        tokio::task::spawn_blocking(move || beginning.recv()).await.unwrap().unwrap();
        giving_up.abort();
        end.send(()).unwrap();
        // And another node, while the last one's socket may still be there.
        let node = shared.lend(UdpSocket::bind).await.unwrap();
        sent(b"4", address.port());
        assert_eq!(received(&socket).await, b"4");
        // Its end is no harm, though the kernel's program still names two sockets.
        drop(node);
        sent(b"d1:", address.port());
        sent(b"5", address.port());
        assert_eq!(received(&socket).await, b"d1:");
        assert_eq!(received(&socket).await, b"5");
    }

    #[tokio::test]
    async fn a_taken_port_is_told_and_what_has_no_ipv4_cannot_be_shared() {
        let taken = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let held = UdpSocket::bind(taken).unwrap();
        assert!(matches!(Split::bind(taken), Err(SplitError::Bind(_))));
        assert!(matches!(Split::bind("[::1]:0".parse().unwrap()), Err(SplitError::NoIpv4)));
        drop(held);
        assert_eq!(Split::bind(taken).unwrap().address(), taken);
    }
}
