//! The system's word that addresses, interfaces or routes of this machine have changed. Linux gives it; elsewhere one looks
//! now and then.

use std::future::pending;
use std::io;

use tokio::net::UdpSocket;

/// Hears of changes. What they are is not read: whoever hears of one looks at everything.
#[derive(Debug)]
pub(super) struct Changes(Option<UdpSocket>);

impl Changes {
    /// Begins to listen. Must run inside tokio. Where that cannot be, no change is ever heard of.
    pub(super) fn listen() -> Self {
        Self(open().inspect_err(|error| tracing::debug!(%error, "the system does not tell of changes")).ok())
    }

    /// Waits for the next change.
    pub(super) async fn next(&mut self) {
        if let Some(socket) = &self.0 {
            // Longer messages are cut, and nobody reads them.
            match socket.recv(&mut [0; 64]).await {
                Ok(_) => return,
                Err(error) if is_overrun(&error) => return,
                Err(error) => tracing::debug!(%error, "the system does not tell of changes any more"),
            }
        }
        self.0 = None;
        pending().await
    }
}

/// Whether more came than the kernel keeps.
#[cfg(target_os = "linux")]
fn is_overrun(error: &io::Error) -> bool {
    error.raw_os_error() == Some(nix::libc::ENOBUFS)
}

/// A socket of rtnetlink(7). Tokio reads any socket of datagrams as it reads UDP.
#[cfg(target_os = "linux")]
fn open() -> io::Result<UdpSocket> {
    use std::os::fd::AsRawFd;

    use nix::sys::socket::{AddressFamily, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, socket};

    /// Groups, as bits: interfaces, and addresses and routes of both families.
    const GROUPS: u32 = 0x1 | 0x10 | 0x40 | 0x100 | 0x400;
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)?;
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, GROUPS))?;
    UdpSocket::from_std(socket.into())
}

#[cfg(not(target_os = "linux"))]
fn is_overrun(_: &io::Error) -> bool {
    false
}

#[cfg(not(target_os = "linux"))]
fn open() -> io::Result<UdpSocket> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn the_system_lets_us_listen_and_one_waits_while_nothing_changes() {
        let mut changes = Changes::listen();
        assert!(changes.0.is_some());
        // Whatever changes on this machine meanwhile, it ends without a complaint.
        let _ = tokio::time::timeout(Duration::from_millis(50), changes.next()).await;
        assert!(changes.0.is_some());
    }
}
