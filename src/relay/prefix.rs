//! What counts as one address: an IPv4 address, an IPv6 /64.

use std::net::IpAddr;

/// What counts as one address wherever strangers are counted. An IPv6 customer owns at least a /64, so its addresses within count as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Prefix {
    V4(u32),
    V6(u64),
}

impl Prefix {
    /// An IPv4 address written as IPv6 (`::ffff:a.b.c.d`) counts as what it is.
    pub(crate) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.to_bits()),
            IpAddr::V6(address) => {
                let [a, b, c, d, e, f, g, h, ..] = address.octets();
                Self::V6(u64::from_be_bytes([a, b, c, d, e, f, g, h]))
            }
        }
    }
}
