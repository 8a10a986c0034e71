//! The UDP port of a host: bound before anything else of it runs, then used by links, and lent to the DHT if so chosen.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;

use futures_util::FutureExt;

use super::{HostConfig, StartError, quic_error};
use crate::net::dht::{DhtConfig, Lend};
use crate::net::hub::Hub;
use crate::net::quic::Quic;
use crate::net::udp::{Port, Split, SplitError};

/// A bound port.
pub(super) enum Bound {
    /// For links alone.
    Links(UdpSocket),
    /// For the DHT as well.
    Shared(Split),
}

impl Bound {
    /// Binds as `config` says. Returns the address as well.
    pub(super) fn new(config: &HostConfig) -> Result<(Self, SocketAddr), StartError> {
        if !config.dht_share_port || config.dht == DhtConfig::Off {
            let (socket, address) = Quic::socket(config.quic).map_err(quic_error)?;
            return Ok((Self::Links(socket), address));
        }
        let split = Split::bind(config.quic).map_err(|error| match error {
            SplitError::Bind(error) => StartError::Quic { address: config.quic, error },
            error => StartError::Share { address: config.quic, error },
        })?;
        let address = split.address();
        Ok((Self::Shared(split), address))
    }

    /// What links use, and what lends the port to the DHT. Must run inside tokio.
    pub(super) fn open(self, stun: bool, hub: Arc<Hub>) -> io::Result<(Arc<Port>, Option<Lend>)> {
        match self {
            Self::Links(socket) => Ok((Port::new(socket, stun, hub)?, None)),
            Self::Shared(split) => {
                let (port, shared) = Port::shared(split, stun, hub)?;
                let lend = move |start| {
                    let shared = shared.clone();
                    async move { shared.lend(start).await }.boxed()
                };
                Ok((port, Some(Arc::new(lend))))
            }
        }
    }
}
