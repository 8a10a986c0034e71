//! Whether another host can be reached: a handshake in which it proves its key, and nothing more (PROTOCOL.md §11.1).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use aldis_wire::host::GoodbyeReason;
use aldis_wire::id::HostId;
use quinn::{Connection, Endpoint, EndpointConfig};
use tokio::time::timeout;

use super::{Quic, code, dual_stack};
use crate::relay::io::DialFailure;

/// How long the other side may take to end a connection that has served its purpose.
const ENDING_MAX: Duration = Duration::from_secs(1);

impl Quic {
    /// Whether exactly this host answers at `address`, asked from the port on which we take links. At most 5 s.
    ///
    /// # Errors
    /// Why not, in words.
    pub async fn check(&self, address: SocketAddr, host: HostId) -> Result<(), String> {
        self.reached(&self.endpoint, address, host).await.map(|connection| {
            tokio::spawn(async move { ended(&connection).await });
        })
    }

    /// The same from a port of its own, which nobody has seen before.
    ///
    /// # Errors
    /// As [`Quic::check`].
    pub async fn check_from_other_port(&self, address: SocketAddr, host: HostId) -> Result<(), String> {
        let endpoint = self.beside().map_err(|error| format!("cannot have another UDP port: {error}"))?;
        self.reached(&endpoint, address, host).await.map(|connection| {
            // The endpoint goes with the last word of the connection.
            tokio::spawn(async move {
                ended(&connection).await;
                let _ = timeout(ENDING_MAX, endpoint.wait_idle()).await;
            });
        })
    }

    /// An endpoint at our address with another port.
    fn beside(&self) -> std::io::Result<Endpoint> {
        let mut address = self.endpoint.local_addr()?;
        address.set_port(0);
        Endpoint::new(EndpointConfig::default(), None, dual_stack::udp(address)?, Arc::new(quinn::TokioRuntime))
    }

    async fn reached(&self, from: &Endpoint, address: SocketAddr, host: HostId) -> Result<Connection, String> {
        let crypto = self.tls.checker(host).map_err(|error| error.to_string())?;
        Self::connect_from(from, crypto, address).await.map_err(|failure| match failure {
            DialFailure::TimedOut => "no answer".to_owned(),
            DialFailure::OtherHost => "another host answers there".to_owned(),
            DialFailure::OtherNetwork => "a host of another network or protocol version answers there".to_owned(),
            DialFailure::Failed(error) => error,
        })
    }
}

/// The host that was reached ends the connection; if it does not, we do.
async fn ended(connection: &Connection) {
    if timeout(ENDING_MAX, connection.closed()).await.is_err() {
        connection.close(code(GoodbyeReason::Closing), b"");
    }
}

#[cfg(test)]
mod tests;
