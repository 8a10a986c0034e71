//! Two sockets of this process on one UDP port, and Linux chooses for each packet by its first bytes.
//!
//! The other socket is a library's, which neither takes one of ours nor shows its own, and which did not ask for company
//! when it was bound. So we get a second handle to it from the kernel, allow company (`SO_REUSEPORT` may be set at any
//! time), bind ours to the same port, and leave a program with the kernel that chooses between the two.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};

use nix::libc;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{AttachReusePortCbpf, ReusePort};
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
use socket2::{Domain, Protocol, Socket, Type};

use crate::net::dual_stack;

/// Which socket a packet goes to, in the order in which they were bound.
const FIRST: u32 = 0;
const SECOND: u32 = 1;

/// Binds a socket to the UDP port that another socket of this process has. That one then gets what begins with `d` and an
/// ASCII digit, as every message between nodes of the DHT does (BEP 5); the new one gets everything else. No packet of a
/// link begins so: its second byte is the first of a connection id of ours, which is never a digit, or, in a long header, the
/// first byte is greater.
///
/// # Errors
/// When there is no such socket, or the system does not allow it.
pub(super) fn join(address: SocketAddrV4) -> io::Result<UdpSocket> {
    setsockopt(&socket_at(address)?, ReusePort, &true)?;
    let ours = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    dual_stack::enlarge(&ours);
    setsockopt(&ours, ReusePort, &true)?;
    ours.bind(&SocketAddr::V4(address).into())?;
    choose_by_first_bytes(&ours)?;
    Ok(ours.into())
}

/// Whether all of this works here, tried on a port of loopback.
///
/// # Errors
/// What does not.
pub(super) fn try_out() -> io::Result<()> {
    let first = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let SocketAddr::V4(address) = first.local_addr()? else { return Err(io::ErrorKind::Unsupported.into()) };
    join(address).map(drop)
}

/// Another handle to the UDP socket of this process that is bound to `address`.
fn socket_at(address: SocketAddrV4) -> io::Result<OwnedFd> {
    let inode = inode_at(&fs::read_to_string("/proc/net/udp")?, address).ok_or(io::ErrorKind::NotFound)?;
    let name = format!("socket:[{inode}]");
    for entry in fs::read_dir("/proc/self/fd")? {
        let entry = entry?;
        // Others may be closed meanwhile.
        if !fs::read_link(entry.path()).is_ok_and(|target| target.as_os_str() == name.as_str()) {
            continue;
        }
        let number =
            entry.file_name().to_str().and_then(|number| number.parse().ok()).ok_or(io::ErrorKind::InvalidData)?;
        let ourselves = pidfd_open(getpid(), PidfdFlags::empty())?;
        return Ok(pidfd_getfd(ourselves.as_fd(), number, PidfdGetfdFlags::empty())?);
    }
    Err(io::ErrorKind::NotFound.into())
}

/// The kernel's number of the socket at `address`, in the text of /proc/net/udp: the second column is its address in
/// hexadecimal, four bytes as they lie in memory and the port; the tenth is the number.
fn inode_at(table: &str, address: SocketAddrV4) -> Option<u64> {
    let wanted = format!("{:08X}:{:04X}", u32::from_ne_bytes(address.ip().octets()), address.port());
    table.lines().skip(1).find_map(|line| {
        let mut columns = line.split_ascii_whitespace();
        (columns.nth(1)? == wanted).then(|| columns.nth(7)?.parse().ok())?
    })
}

/// Leaves the program with the kernel, for all sockets of that port. A packet that is too short ends it, which means
/// the first socket.
fn choose_by_first_bytes(socket: &Socket) -> io::Result<()> {
    let load = |at| step(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, 0, 0, at);
    let jump = |test, then, otherwise, value| step(libc::BPF_JMP | test | libc::BPF_K, then, otherwise, value);
    let answer = |which| step(libc::BPF_RET | libc::BPF_K, 0, 0, which);
    let mut program = [
        load(0)?,
        jump(libc::BPF_JEQ, 0, 4, u32::from(b'd'))?,
        load(1)?,
        jump(libc::BPF_JGE, 0, 2, u32::from(b'0'))?,
        jump(libc::BPF_JGT, 1, 0, u32::from(b'9'))?,
        answer(FIRST)?,
        answer(SECOND)?,
    ];
    let len = u16::try_from(program.len()).map_err(io::Error::other)?;
    let program = libc::sock_fprog { len, filter: program.as_mut_ptr() };
    Ok(setsockopt(socket, AttachReusePortCbpf, &program)?)
}

/// One instruction. The jumps say how many to skip.
fn step(code: u32, then: u8, otherwise: u8, value: u32) -> io::Result<libc::sock_filter> {
    let code = u16::try_from(code).map_err(io::Error::other)?;
    Ok(libc::sock_filter { code, jt: then, jf: otherwise, k: value })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail by panic")]
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_the_dht_says_goes_to_the_first_socket_and_everything_else_to_the_second() {
        let first = UdpSocket::bind("127.0.0.1:0").unwrap();
        let SocketAddr::V4(address) = first.local_addr().unwrap() else { unreachable!("bound to IPv4") };
        let second = join(address).unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        let dht: [&[u8]; 4] = [b"d1:ad2:id20:", b"d2:ip6:", b"d0", b"d9:"];
        let rest: [&[u8]; 6] = [b"dx", b"d/", b"d:", b"\x00\x01\x00\x00", b"\xc0\x00", b"@1"];
        for datagram in dht.iter().chain(&rest) {
            sender.send_to(datagram, address).unwrap();
        }
        for (socket, expected) in [(&first, dht.as_slice()), (&second, rest.as_slice())] {
            socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            for datagram in expected {
                let mut buf = [0; 64];
                let length = socket.recv(&mut buf).unwrap();
                assert_eq!(buf.get(..length).unwrap(), *datagram);
            }
            socket.set_nonblocking(true).unwrap();
            assert!(socket.recv(&mut [0; 64]).is_err(), "and nothing else");
        }
    }

    #[test]
    fn a_port_without_a_socket_of_ours_is_an_error() {
        let free = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let SocketAddr::V4(free) = free else { unreachable!("bound to IPv4") };
        assert_eq!(join(free).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(try_out().is_ok());
    }

    #[test]
    fn the_kernels_table_is_read_by_columns() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref\n \
                     511: 0100007F:B973 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 41 2 0 0\n \
                     512: 00000000:B973 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 42 2 0 0\n";
        let at = |address: &str| inode_at(table, address.parse().unwrap());
        assert_eq!(at("0.0.0.0:47475"), Some(42));
        assert_eq!(at("0.0.0.0:47476"), None);
        if cfg!(target_endian = "little") {
            assert_eq!(at("127.0.0.1:47475"), Some(41));
        }
    }
}
