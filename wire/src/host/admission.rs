//! Who opened a link, and the proof that both ends know the genesis key (PROTOCOL.md §5.2).

use crate::id::HostId;

/// Which end of a link made something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// The end that opened the connection.
    Dialler,
    /// The end that took it.
    Acceptor,
}

impl Role {
    /// The other end.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Dialler => Self::Acceptor,
            Self::Acceptor => Self::Dialler,
        }
    }
}

/// The label under which both ends export 32 bytes of key material from the TLS session, without context.
pub const EXPORTER_LABEL: &[u8] = b"EXPORTER-aldis-admission";

/// How both ends of a connection call it (PROTOCOL.md §5.2).
#[must_use]
pub fn connection_name(exporter: &[u8; 32]) -> [u8; 8] {
    let mut name = [0; 8];
    blake3::Hasher::new_derive_key("aldis 2026 connection").update(exporter).finalize_xof().fill(&mut name);
    name
}

/// Proves knowledge of the genesis key on this very TLS session (PROTOCOL.md §5.2). Compare in constant time.
#[must_use]
pub fn admission_proof(
    admission_key: &[u8; 32],
    role: Role,
    exporter: &[u8; 32],
    dialler: HostId,
    acceptor: HostId,
) -> blake3::Hash {
    let role = match role {
        Role::Dialler => 1,
        Role::Acceptor => 2,
    };
    let mut hasher = blake3::Hasher::new_keyed(admission_key);
    hasher.update(&[role]).update(exporter).update(dialler.as_bytes()).update(acceptor.as_bytes());
    hasher.finalize()
}
