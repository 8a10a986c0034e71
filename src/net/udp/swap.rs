//! A socket that can be taken away and put back while quinn uses it.
//!
//! In between, which takes milliseconds, what is sent is lost, as on any way; QUIC sends it again.

use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use tokio::time::{Instant, sleep};

/// Who waits for room in the socket's buffer keeps it open until there is some: a moment, in which the kernel sends.
const LAST_USE_MAX: Duration = Duration::from_secs(1);

/// The place of a socket.
#[derive(Debug)]
pub(super) struct Swap {
    state: Mutex<State>,
    address: SocketAddr,
    segments_received: usize,
    may_fragment: bool,
}

#[derive(Debug)]
struct State {
    socket: Option<Arc<dyn AsyncUdpSocket>>,
    /// Who must look again when there is another socket.
    reader: Option<Waker>,
}

impl Swap {
    /// # Errors
    /// When the socket has no address.
    pub(super) fn new(socket: Arc<dyn AsyncUdpSocket>) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            address: socket.local_addr()?,
            segments_received: socket.max_receive_segments(),
            may_fragment: socket.may_fragment(),
            state: Mutex::new(State { socket: Some(socket), reader: None }),
        }))
    }

    /// Closes the socket, so that its port is free. Nothing happens if there is none.
    ///
    /// # Errors
    /// When it is still waited for after a second; it is then as before.
    pub(super) async fn take(&self) -> io::Result<()> {
        let Some(socket) = self.locked(|state| state.socket.take()) else { return Ok(()) };
        let deadline = Instant::now() + LAST_USE_MAX;
        while Arc::strong_count(&socket) > 1 {
            if Instant::now() > deadline {
                self.put(socket);
                return Err(io::ErrorKind::ResourceBusy.into());
            }
            sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }

    /// The socket from now on. It must have the address of the first one.
    pub(super) fn put(&self, socket: Arc<dyn AsyncUdpSocket>) {
        let reader = self.locked(|state| {
            state.socket = Some(socket);
            state.reader.take()
        });
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    fn current(&self) -> Option<Arc<dyn AsyncUdpSocket>> {
        self.locked(|state| state.socket.clone())
    }

    fn locked<T>(&self, with: impl FnOnce(&mut State) -> T) -> T {
        with(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl AsyncUdpSocket for Swap {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Poller { swap: self, waiting: None })
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.current().map_or(Ok(()), |socket| socket.try_send(transmit))
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let current = self.locked(|state| {
            match &mut state.reader {
                Some(reader) => reader.clone_from(cx.waker()),
                none => *none = Some(cx.waker().clone()),
            }
            state.socket.clone()
        });
        match current {
            Some(socket) => socket.poll_recv(cx, bufs, meta),
            None => Poll::Pending,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }

    /// What the socket can do now: where the network card cannot cut a large packet into segments, the library finds out when it
    /// sends one, and says 1 from then on.
    fn max_transmit_segments(&self) -> usize {
        self.current().map_or(1, |socket| socket.max_transmit_segments())
    }

    fn max_receive_segments(&self) -> usize {
        self.segments_received
    }

    fn may_fragment(&self) -> bool {
        self.may_fragment
    }
}

/// Waits for room in the socket that is there now.
#[derive(Debug)]
struct Poller {
    swap: Arc<Swap>,
    /// Holds the socket, so only while it waits.
    waiting: Option<Pin<Box<dyn UdpPoller>>>,
}

impl UdpPoller for Poller {
    fn poll_writable(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.waiting.is_none() {
            this.waiting = this.swap.current().map(AsyncUdpSocket::create_io_poller);
        }
        let Some(waiting) = &mut this.waiting else { return Poll::Ready(Ok(())) };
        let outcome = ready!(waiting.as_mut().poll_writable(cx));
        this.waiting = None;
        Poll::Ready(outcome)
    }
}
