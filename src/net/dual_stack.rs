//! Listening for IPv6 and IPv4 on one socket, whatever the system's default for that is (`bindv6only`).

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use socket2::{Domain, Protocol, SockRef, Socket, Type};

/// What a UDP socket for links asks for, each way: half a second of 80 Mbit/s.
pub(crate) const UDP_BUFFER_BYTES: usize = 4 << 20;

/// A UDP socket at `address`. `[::]` takes IPv4 too, and where the system has no IPv6 it becomes `0.0.0.0`.
///
/// # Errors
/// What the system says.
pub(crate) fn udp(address: SocketAddr) -> io::Result<UdpSocket> {
    match bind(address) {
        Err(error) if is_any_v6(address) && has_no_ipv6(&error) => {
            let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port()));
            tracing::info!("this system has no IPv6 ({error}): listening on {address} instead");
            bind(address)
        }
        outcome => outcome,
    }
}

/// Makes a socket that will be bound to `[::]` take IPv4 too. Any other address has one family, and is left alone.
///
/// # Errors
/// What the system says.
pub(crate) fn take_both<'a>(socket: impl Into<SockRef<'a>>, address: SocketAddr) -> io::Result<()> {
    if is_any_v6(address) { socket.into().set_only_v6(false) } else { Ok(()) }
}

/// Whether a packet to `address` has a way out at all; asks the system and sends nothing.
///
/// # Errors
/// What the system says.
pub(crate) fn has_way(address: SocketAddr) -> io::Result<()> {
    let any = match address {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, 0)),
    };
    UdpSocket::bind(any)?.connect(address)
}

/// Asks for room for datagrams that wait. The system gives as much as it allows; what it gives unasked is often less than
/// one burst.
pub(crate) fn enlarge<'a>(socket: impl Into<SockRef<'a>>) {
    let socket = socket.into();
    // Linux says twice what it was asked for, and keeps as much; who has more already keeps it.
    let has = |size: io::Result<usize>| size.is_ok_and(|size| size >= 2 * UDP_BUFFER_BYTES);
    let receives = has(socket.recv_buffer_size()) || socket.set_recv_buffer_size(UDP_BUFFER_BYTES).is_ok();
    let sends = has(socket.send_buffer_size()) || socket.set_send_buffer_size(UDP_BUFFER_BYTES).is_ok();
    if !(receives && sends) {
        tracing::debug!(receives, sends, "the system refuses larger buffers for UDP");
    }
}

fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    enlarge(&socket);
    take_both(&socket, address)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

fn is_any_v6(address: SocketAddr) -> bool {
    address.is_ipv6() && address.ip().is_unspecified()
}

/// The kernel was built or started without IPv6, or it is switched off for all interfaces.
fn has_no_ipv6(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let errors = [Errno::AFNOSUPPORT, Errno::ADDRNOTAVAIL, Errno::PROTONOSUPPORT];
    error.raw_os_error().is_some_and(|number| errors.iter().any(|errno| errno.raw_os_error() == number))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail by panic")]
    use super::*;

    #[test]
    fn one_socket_hears_both_families() {
        let socket = udp("[::]:0".parse().unwrap()).unwrap();
        let port = socket.local_addr().unwrap().port();
        for from in ["127.0.0.1", "::1"] {
            let ip: std::net::IpAddr = from.parse().unwrap();
            let sender = UdpSocket::bind((ip, 0)).unwrap();
            sender.send_to(b"hello", (ip, port)).unwrap();
            let (_, address) = socket.recv_from(&mut [0; 16]).unwrap();
            assert_eq!(address.ip().to_canonical(), ip);
        }
    }

    #[test]
    fn a_socket_for_links_has_more_room_than_one_that_asks_for_nothing() {
        let (plain, ours) = (UdpSocket::bind("127.0.0.1:0").unwrap(), udp("127.0.0.1:0".parse().unwrap()).unwrap());
        let sizes = |socket: &UdpSocket| {
            let socket = SockRef::from(socket);
            (socket.recv_buffer_size().unwrap(), socket.send_buffer_size().unwrap())
        };
        let (plain, ours) = (sizes(&plain), sizes(&ours));
        let most = 2 * UDP_BUFFER_BYTES;
        assert!(ours.0 > plain.0 || plain.0 >= most, "{ours:?} {plain:?}");
        assert!(ours.1 > plain.1 || plain.1 >= most, "{ours:?} {plain:?}");
    }

    #[test]
    fn an_address_of_one_family_keeps_to_it() {
        let socket = udp("[::1]:0".parse().unwrap()).unwrap();
        let port = socket.local_addr().unwrap().port();
        assert!(udp(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).is_ok(), "the other family's port is free");
    }

    #[test]
    fn what_is_on_this_machine_has_a_way() {
        assert!(has_way("127.0.0.1:4000".parse().unwrap()).is_ok());
        assert!(has_way("[::1]:4000".parse().unwrap()).is_ok());
        assert!(has_way("[fe80::1]:4000".parse().unwrap()).is_err(), "link-local, and nothing says on which link");
    }
}
