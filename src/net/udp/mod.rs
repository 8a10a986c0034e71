//! The UDP port of a host: links (QUIC) and STUN on one socket, told apart by the first byte as RFC 9443 says.
//!
//! Everything is received by quinn, which asks this wrapper for datagrams: STUN is answered and taken out here, so links
//! pay one look at one byte for each datagram.
//!
//! | module | what |
//! |---|---|
//! | `sift` | which datagram is whose |
//! | `stun` | answers to Binding requests |
//! | `limits` | how many answers anybody gets |
//! | `ask` | a Binding request of ours |
//! | `shared`, `kernel` | the same port for the DHT, whose library has a socket of its own |
//! | `swap`, `twin` | a socket that can be exchanged, and two that look like one |

mod ask;
#[cfg(target_os = "linux")]
mod kernel;
mod limits;
mod shared;
mod sift;
mod stun;
mod swap;
mod twin;

use std::collections::BTreeSet;
use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, Runtime, TokioRuntime, UdpPoller};

use super::hub::Hub;
use sift::{Owner, sift};
use stun::{Answer, Server};

pub use ask::ask;
pub use shared::{Shared, Split, SplitError};

/// A socket that gives quinn what is QUIC and answers what is STUN.
pub struct Port {
    inner: Arc<dyn AsyncUdpSocket>,
    /// `None`: STUN is switched off.
    stun: Option<Server>,
    hub: Arc<Hub>,
    here: Here,
}

/// Which addresses were this machine's and are not any more. Linux answers with the error for arguments that it does not
/// know when something is sent from one of them, and quinn's socket then does without segments and ECN for ever.
#[derive(Debug, Default)]
struct Here {
    any_gone: AtomicBool,
    /// Those present, and those that are gone.
    known: Mutex<(BTreeSet<IpAddr>, BTreeSet<IpAddr>)>,
}

/// Addresses that are gone and remembered; then all are forgotten.
const GONE_MAX: usize = 256;

impl Here {
    fn is_gone(&self, from: IpAddr) -> bool {
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        self.any_gone.load(Ordering::Relaxed) && known().1.contains(&from.to_canonical())
    }

    fn moved(&self, present: &BTreeSet<IpAddr>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (before, gone) = &mut *known;
        if gone.len() + before.len() > GONE_MAX {
            gone.clear();
        }
        gone.append(before);
        gone.retain(|address| !present.contains(address));
        *before = present.iter().copied().take(GONE_MAX).collect();
        self.any_gone.store(!gone.is_empty(), Ordering::Relaxed);
    }
}

impl Port {
    /// Begins to use a bound socket. With `stun`, Binding requests are answered. Must run inside tokio.
    ///
    /// # Errors
    /// When the system does not let the socket be used so.
    pub fn new(socket: UdpSocket, stun: bool, hub: Arc<Hub>) -> io::Result<Arc<Self>> {
        Ok(Self::around(TokioRuntime.wrap_udp_socket(socket)?, stun, hub))
    }

    /// The same for a port that can be lent to the DHT.
    ///
    /// # Errors
    /// As [`Port::new`].
    pub fn shared(sockets: Split, stun: bool, hub: Arc<Hub>) -> io::Result<(Arc<Self>, Shared)> {
        let (socket, shared) = sockets.open()?;
        Ok((Self::around(socket, stun, hub), shared))
    }

    fn around(inner: Arc<dyn AsyncUdpSocket>, stun: bool, hub: Arc<Hub>) -> Arc<Self> {
        Arc::new(Self { inner, stun: stun.then(Server::default), hub, here: Here::default() })
    }

    /// The addresses that this machine has now. Nothing is sent from others that it had when this was called before.
    pub fn moved(&self, present: &BTreeSet<IpAddr>) {
        self.here.moved(present);
    }

    /// Where we listen for Binding requests: ports of this machine, not of its router.
    #[must_use]
    pub fn stun_ports(&self) -> Vec<u16> {
        self.stun.iter().filter_map(|_| self.inner.local_addr().ok()).map(|address| address.port()).collect()
    }

    fn not_quic(&self, owner: Owner, datagram: &[u8], meta: &RecvMeta) {
        let counts = self.hub.counts();
        let server = match (owner, &self.stun) {
            (Owner::Stun, Some(server)) => server,
            _ => return counts.datagrams_dropped.add(),
        };
        match server.answer(datagram, meta.addr) {
            Answer::Yes(contents) => {
                // From the address that was asked: a client takes no answer from another one.
                let answer = Transmit {
                    destination: meta.addr,
                    ecn: None,
                    contents: &contents,
                    segment_size: None,
                    src_ip: meta.dst_ip,
                };
                match self.inner.try_send(&answer) {
                    Ok(()) => counts.stun_answered.add(),
                    // The socket is full. Clients ask again.
                    Err(_) => counts.stun_refused.add(),
                }
            }
            Answer::TooMany => counts.stun_refused.add(),
            Answer::NotStun => counts.datagrams_dropped.add(),
        }
    }
}

impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Port").field("inner", &self.inner).field("stun", &self.stun.is_some()).finish_non_exhaustive()
    }
}

impl AsyncUdpSocket for Port {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        self.inner.clone().create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        if transmit.src_ip.is_some_and(|from| self.here.is_gone(from)) {
            // As lost as on a way that is cut.
            return Ok(());
        }
        self.inner.try_send(transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let received = ready!(self.inner.poll_recv(cx, bufs, meta))?;
        for (buf, meta) in bufs.iter_mut().zip(meta.iter_mut()).take(received) {
            let came = *meta;
            meta.len = sift(buf, &came, |owner, datagram| self.not_quic(owner, datagram, &came));
        }
        // Also when nothing is left of them: quinn counts its turns by what was received, and looks after others then.
        Poll::Ready(Ok(received))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.inner.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.inner.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.inner.may_fragment()
    }
}

#[cfg(test)]
mod tests;
