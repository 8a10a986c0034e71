//! Two sockets, one for IPv4 and one for IPv6, that look to quinn like one for both.

use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};

/// The pair. Addresses of IPv4 are inside IPv6, as a socket for both shows them.
#[derive(Debug)]
pub(super) struct Twin {
    v4: Arc<dyn AsyncUdpSocket>,
    v6: Arc<dyn AsyncUdpSocket>,
    /// Which one is asked first: they take turns.
    v4_first: AtomicBool,
}

impl Twin {
    pub(super) fn new(v4: Arc<dyn AsyncUdpSocket>, v6: Arc<dyn AsyncUdpSocket>) -> Self {
        Self { v4, v6, v4_first: AtomicBool::new(true) }
    }

    fn receive_v4(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let received = ready!(self.v4.poll_recv(cx, bufs, meta))?;
        for meta in meta.iter_mut().take(received) {
            if let SocketAddr::V4(address) = meta.addr {
                meta.addr = SocketAddr::from((address.ip().to_ipv6_mapped(), address.port()));
            }
        }
        Poll::Ready(Ok(received))
    }
}

impl AsyncUdpSocket for Twin {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Poller { v4: self.v4.clone().create_io_poller(), v6: self.v6.clone().create_io_poller() })
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let to = transmit.destination;
        let destination = SocketAddr::new(to.ip().to_canonical(), to.port());
        match destination {
            SocketAddr::V4(_) => {
                let src_ip = transmit.src_ip.map(|ip| ip.to_canonical());
                self.v4.try_send(&Transmit { destination, src_ip, ..transmit.clone() })
            }
            SocketAddr::V6(_) => self.v6.try_send(transmit),
        }
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        if self.v4_first.fetch_xor(true, Ordering::Relaxed) {
            match self.receive_v4(cx, bufs, meta) {
                Poll::Pending => self.v6.poll_recv(cx, bufs, meta),
                received => received,
            }
        } else {
            match self.v6.poll_recv(cx, bufs, meta) {
                Poll::Pending => self.receive_v4(cx, bufs, meta),
                received => received,
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.v6.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.v4.max_transmit_segments().min(self.v6.max_transmit_segments())
    }

    fn max_receive_segments(&self) -> usize {
        self.v4.max_receive_segments().max(self.v6.max_receive_segments())
    }

    fn may_fragment(&self) -> bool {
        self.v4.may_fragment() || self.v6.may_fragment()
    }
}

#[derive(Debug)]
struct Poller {
    v4: Pin<Box<dyn UdpPoller>>,
    v6: Pin<Box<dyn UdpPoller>>,
}

impl UdpPoller for Poller {
    /// When both have room: it is not said for which of them one waits.
    fn poll_writable(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.v4.as_mut().poll_writable(cx))?;
        this.v6.as_mut().poll_writable(cx)
    }
}
