//! UPnP Internet Gateway Device: a search by UDP, then XML over HTTP with whoever answers.
//!
//! Anybody on the line may answer the search, with any URL. The library takes only URLs at the answering address and bounds
//! what it reads (1 MiB, 64 levels of XML); here, whoever is not the router is left alone. So the router itself is asked
//! first, and everybody only if it does not answer.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use igd_next::aio::Gateway;
use igd_next::aio::tokio::{Tokio, search_gateway};
use igd_next::{AddPortError, GatewayIpVersion, GetExternalIpError, PortMappingProtocol, RequestError, SearchOptions};
use tokio::time::timeout;

use super::{LEASE_SECONDS, NO_ADDRESS, Router, Wish};
use crate::relay::io::{Mapped, Mapping, MappingProtocol};

/// Where routers listen for searches (UPnP Device Architecture §1.3.2).
const SEARCH_PORT: u16 = 1_900;
const EVERYBODY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(239, 255, 255, 250)), SEARCH_PORT);
/// A search of the router alone: it answers at once, or never.
const SEARCH_ROUTER: Duration = Duration::from_millis(1_500);
/// A search of everybody: they may wait up to three seconds, and then tell who they are.
const SEARCH_EVERYBODY: Duration = Duration::from_secs(5);
/// One question to a router that was found.
const QUESTION_MAX: Duration = Duration::from_secs(4);
/// Letters that are shown of what went wrong.
const WORDS_MAX: usize = 160;
/// How a mapping is called in the router's own list.
const DESCRIPTION: &str = "aldis";

/// A router that speaks UPnP.
#[derive(Clone, Debug)]
pub(super) struct Igd {
    router: Router,
    gateway: Gateway<Tokio>,
}

impl Igd {
    pub(super) async fn find(router: Router) -> Result<Self, String> {
        let at_router = SocketAddr::new(router.address, SEARCH_PORT);
        match Self::search(router, at_router, SEARCH_ROUTER).await {
            Ok(found) => Ok(found),
            Err(_) => Self::search(router, EVERYBODY, SEARCH_EVERYBODY).await,
        }
    }

    /// Asks at `whom`.
    pub(super) async fn search(router: Router, whom: SocketAddr, patience: Duration) -> Result<Self, String> {
        let mut options = SearchOptions::default();
        options.bind_addr = SocketAddr::new(router.own, 0);
        options.broadcast_address = whom;
        options.timeout = Some(patience);
        options.single_search_timeout = Some(patience);
        options.gateway_ip_version = GatewayIpVersion::V4;
        options.allowed_gateway_ips = vec![router.address];
        let gateway = search_gateway(options).await.map_err(|error| match error {
            igd_next::SearchError::NoResponseWithinTimeout => "no answer".to_owned(),
            other => words(&other),
        })?;
        if gateway.addr.ip() != router.address {
            return Err(format!("{} answers, which is not the router", gateway.addr.ip()));
        }
        Ok(Self { router, gateway })
    }
}

/// What a router granted.
#[derive(Debug)]
pub(super) struct Held {
    igd: Igd,
    outside: IpAddr,
    /// Each with its port outside.
    ports: Vec<(Wish, u16)>,
    /// 0 where the router knows only mappings without end.
    lease_seconds: u32,
    problem: Option<String>,
}

impl Held {
    pub(super) async fn new(igd: Igd, wishes: &[Wish]) -> Result<Self, String> {
        let outside = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let mut held = Self { igd, outside, ports: Vec::new(), lease_seconds: LEASE_SECONDS, problem: None };
        held.renew(wishes).await?;
        Ok(held)
    }

    /// Asks for all ports, those that it has already included.
    ///
    /// # Errors
    /// When nothing is granted any more.
    pub(super) async fn renew(&mut self, wishes: &[Wish]) -> Result<(), String> {
        self.problem = None;
        self.outside = self.outside().await?;
        let mut granted = Vec::new();
        for wish in wishes {
            let outside = self.ports.iter().find(|(of, _)| of == wish).map_or(wish.port.get(), |(_, port)| *port);
            match self.map(*wish, outside).await {
                Ok(port) => granted.push((*wish, port)),
                Err(problem) => _ = self.problem.get_or_insert(problem),
            }
        }
        self.ports = granted;
        match (&self.problem, self.ports.is_empty()) {
            (Some(problem), true) => Err(problem.clone()),
            _ => Ok(()),
        }
    }

    async fn outside(&self) -> Result<IpAddr, String> {
        let asking = timeout(QUESTION_MAX, self.igd.gateway.get_external_ip());
        match asking.await.map_err(|_| "no answer".to_owned())? {
            Ok(outside) if outside.is_unspecified() => Err(NO_ADDRESS.to_owned()),
            Ok(outside) => Ok(outside),
            // An address that is none: usually an empty one.
            Err(GetExternalIpError::RequestError(RequestError::InvalidResponse(text)))
                if text.contains("NewExternalIPAddress") =>
            {
                Err(NO_ADDRESS.to_owned())
            }
            Err(error) => Err(words(&error)),
        }
    }

    /// Maps a port, the given one outside if it is free.
    async fn map(&mut self, wish: Wish, outside: u16) -> Result<u16, String> {
        let own = SocketAddr::new(self.igd.router.own, wish.port.get());
        let protocol = protocol(wish.of);
        for _ in 0..2 {
            let (gateway, lease) = (&self.igd.gateway, self.lease_seconds);
            let asking = gateway.add_port(protocol, outside, own, lease, DESCRIPTION);
            let outcome = timeout(QUESTION_MAX, asking).await.map_err(|_| "no answer".to_owned())?;
            match outcome {
                Ok(()) => return Ok(outside),
                Err(AddPortError::OnlyPermanentLeasesSupported) if lease != 0 => self.lease_seconds = 0,
                Err(AddPortError::PortInUse) => {
                    return in_time(gateway.add_any_port(protocol, own, lease, DESCRIPTION)).await;
                }
                Err(error) => return Err(words(&error)),
            }
        }
        Err("it grants no lease".to_owned())
    }

    /// Takes everything back.
    pub(super) async fn release(self) -> Result<(), String> {
        let mut outcome = Ok(());
        for (wish, port) in self.ports {
            if let Err(problem) = in_time(self.igd.gateway.remove_port(protocol(wish.of), port)).await {
                outcome = Err(problem);
            }
        }
        outcome
    }

    pub(super) fn mapped(&self) -> Vec<Mapping> {
        let mapping = |(wish, port): &(Wish, u16)| Mapping {
            outside: SocketAddr::new(self.outside, *port),
            protocol: MappingProtocol::Upnp,
            of: wish.of,
        };
        self.ports.iter().map(mapping).collect()
    }

    pub(super) fn lifetime(&self) -> Duration {
        Duration::from_secs(if self.lease_seconds == 0 { LEASE_SECONDS } else { self.lease_seconds }.into())
    }

    pub(super) fn problem(&self) -> Option<(MappingProtocol, String)> {
        self.problem.clone().map(|problem| (MappingProtocol::Upnp, problem))
    }
}

/// An error of the library, which may hold whatever the other side said: without its XML, and not too long.
fn words(error: &impl std::fmt::Display) -> String {
    let whole = error.to_string();
    let said = whole.split('<').next().unwrap_or_default().trim_end_matches([' ', ':']);
    said.chars().filter(|letter| !letter.is_control()).take(WORDS_MAX).collect()
}

async fn in_time<T, E: std::fmt::Display>(asking: impl Future<Output = Result<T, E>>) -> Result<T, String> {
    match timeout(QUESTION_MAX, asking).await {
        Ok(outcome) => outcome.map_err(|error| words(&error)),
        Err(_) => Err("no answer".to_owned()),
    }
}

fn protocol(of: Mapped) -> PortMappingProtocol {
    match of {
        Mapped::Links => PortMappingProtocol::UDP,
        Mapped::Gateway => PortMappingProtocol::TCP,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_router_says_stays_out_of_the_log() {
        assert_eq!(words(&"Invalid response: <?xml version=\"1.0\"?><a>\n</a>"), "Invalid response");
        assert_eq!(words(&"x".repeat(5_000)).len(), WORDS_MAX);
    }
}
