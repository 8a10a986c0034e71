//! A stretch of bad internet between two hosts: it loses, delays and blocks datagrams, and forgets who sent them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::task::JoinSet;

/// How bad it is, both ways.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Weather {
    /// Of 100 datagrams, how many get lost.
    pub(crate) loss: u64,
    /// How long each takes.
    pub(crate) delay: Duration,
    /// Nothing comes through.
    pub(crate) blocked: bool,
    /// Nothing comes to the host behind.
    pub(crate) blocked_in: bool,
    /// Nothing comes from the host behind.
    pub(crate) blocked_out: bool,
}

/// Whoever sends to `address` reaches the host behind it.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

struct Shared {
    weather: Mutex<Weather>,
    /// For each sender, the socket by which the host behind sees it.
    outside: Mutex<BTreeMap<SocketAddr, Arc<UdpSocket>>>,
    drawn: Mutex<u64>,
}

impl Proxy {
    /// Must be made before the host behind it, whose address is told by [`Proxy::lead_to`].
    pub(crate) async fn new() -> (Self, Arc<UdpSocket>) {
        let socket = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
        let shared = Arc::new(Shared {
            weather: Mutex::default(),
            outside: Mutex::default(),
            drawn: Mutex::new(0x9e37_79b9_7f4a_7c15),
        });
        (Self { address: socket.local_addr().unwrap(), shared, _tasks: JoinSet::new() }, socket)
    }

    /// From now on datagrams come and go.
    pub(crate) fn lead_to(&mut self, host: SocketAddr, socket: Arc<UdpSocket>) {
        let shared = self.shared.clone();
        self._tasks.spawn(async move {
            let mut buffer = [0; 2_048];
            loop {
                let Ok((length, from)) = socket.recv_from(&mut buffer).await else { continue };
                let datagram = buffer.get(..length).unwrap().to_vec();
                let outside = shared.outside(from, host, &socket).await;
                shared.pass(datagram, outside, host, |weather| weather.blocked_in);
            }
        });
    }

    pub(crate) fn weather(&self, weather: Weather) {
        *self.shared.weather.lock().unwrap() = weather;
    }

    /// As a router that restarts: the host behind sees every sender at a new port from now on.
    pub(crate) fn forget_senders(&self) {
        self.shared.outside.lock().unwrap().clear();
    }
}

impl Shared {
    async fn outside(self: &Arc<Self>, from: SocketAddr, host: SocketAddr, inside: &Arc<UdpSocket>) -> Arc<UdpSocket> {
        if let Some(known) = self.outside.lock().unwrap().get(&from) {
            return known.clone();
        }
        let outside = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
        self.outside.lock().unwrap().insert(from, outside.clone());
        let (shared, receiving, inside) = (Arc::downgrade(self), outside.clone(), inside.clone());
        tokio::spawn(async move {
            let mut buffer = [0; 2_048];
            while let Ok((length, by)) = receiving.recv_from(&mut buffer).await {
                let Some(shared) = shared.upgrade() else { return };
                if by == host {
                    let datagram = buffer.get(..length).unwrap().to_vec();
                    shared.pass(datagram, inside.clone(), from, |weather| weather.blocked_out);
                }
            }
        });
        outside
    }

    fn pass(&self, datagram: Vec<u8>, by: Arc<UdpSocket>, to: SocketAddr, blocked: fn(Weather) -> bool) {
        let weather = *self.weather.lock().unwrap();
        if weather.blocked || blocked(weather) || self.draw() % 100 < weather.loss {
            return;
        }
        tokio::spawn(async move {
            if !weather.delay.is_zero() {
                tokio::time::sleep(weather.delay).await;
            }
            let _ = by.send_to(&datagram, to).await;
        });
    }

    /// The same numbers in every run (xorshift).
    fn draw(&self) -> u64 {
        let mut drawn = self.drawn.lock().unwrap();
        *drawn ^= *drawn << 13;
        *drawn ^= *drawn >> 7;
        *drawn ^= *drawn << 17;
        *drawn
    }
}
