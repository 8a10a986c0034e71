//! PCP and NAT-PMP, which are near relatives: a packet each way on UDP port 5351.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use crab_nat::{
    GatewayAddress, InternetProtocol, PortMapping, PortMappingOptions, PortMappingType, TimeoutConfig, natpmp, pcp,
};

use super::{LEASE_SECONDS, NO_ADDRESS, Router, Wish};
use crate::relay::io::{Mapped, Mapping, MappingProtocol};

/// Four packets in 3.75 s: a line that loses one of ten loses all of them once in 10,000.
const PATIENCE: TimeoutConfig =
    TimeoutConfig { initial_timeout: Duration::from_millis(250), max_retries: 3, max_retry_timeout: None };
/// When taking something away there is less time.
const LITTLE_PATIENCE: TimeoutConfig = TimeoutConfig { max_retries: 1, ..PATIENCE };

/// What a router granted.
#[derive(Debug)]
pub(super) struct Held {
    router: Router,
    protocol: MappingProtocol,
    /// NAT-PMP tells the outside address apart from the ports.
    outside: Option<Ipv4Addr>,
    ports: Vec<(Wish, PortMapping)>,
    problem: Option<String>,
}

impl Held {
    /// Asks by PCP.
    pub(super) async fn pcp(router: Router, wishes: &[Wish]) -> Result<Self, String> {
        Self::new(router, MappingProtocol::Pcp, None, wishes).await
    }

    /// Asks by NAT-PMP.
    pub(super) async fn nat_pmp(router: Router, wishes: &[Wish]) -> Result<Self, String> {
        let IpAddr::V4(address) = router.address else { return Err("it is for IPv4 alone".to_owned()) };
        let outside = nat_pmp_outside(address).await?;
        Self::new(router, MappingProtocol::NatPmp, Some(outside), wishes).await
    }

    async fn new(
        router: Router,
        protocol: MappingProtocol,
        outside: Option<Ipv4Addr>,
        wishes: &[Wish],
    ) -> Result<Self, String> {
        let mut held = Self { router, protocol, outside, ports: Vec::new(), problem: None };
        held.renew(wishes).await?;
        Ok(held)
    }

    /// Asks for all ports, those that it has already included.
    ///
    /// # Errors
    /// When nothing is granted any more.
    pub(super) async fn renew(&mut self, wishes: &[Wish]) -> Result<(), String> {
        self.problem = None;
        if let (MappingProtocol::NatPmp, IpAddr::V4(address), false) =
            (self.protocol, self.router.address, self.ports.is_empty())
        {
            self.outside = Some(nat_pmp_outside(address).await?);
        }
        let mut granted = Vec::new();
        for wish in wishes {
            let known = self.ports.iter().find(|(of, _)| of == wish).map(|(_, mapping)| mapping.clone());
            let asked = match known {
                Some(mut mapping) => {
                    let epoch = mapping.gateway_epoch();
                    let renewed = mapping.renew().await.map_err(|error| error.to_string());
                    if renewed.is_ok() && mapping.gateway_epoch() < epoch {
                        tracing::info!(router = %self.router.address, "the router has restarted: its port is mapped anew");
                    }
                    renewed.map(|()| mapping)
                }
                None => self.map(*wish).await,
            };
            match asked {
                Ok(mapping) => granted.push((*wish, mapping)),
                Err(problem) => _ = self.problem.get_or_insert(problem),
            }
        }
        self.ports = granted;
        match (&self.problem, self.ports.is_empty()) {
            (Some(problem), true) => Err(problem.clone()),
            _ => Ok(()),
        }
    }

    async fn map(&self, wish: Wish) -> Result<PortMapping, String> {
        let gateway = match self.router.address {
            IpAddr::V4(address) => GatewayAddress::IpV4(address),
            IpAddr::V6(address) => GatewayAddress::IpV6(address, self.router.zone),
        };
        let protocol = internet_protocol(wish.of);
        let options = PortMappingOptions {
            external_port: Some(wish.port),
            lifetime_seconds: Some(LEASE_SECONDS),
            timeout_config: Some(PATIENCE),
        };
        if self.protocol == MappingProtocol::NatPmp {
            return natpmp::port_mapping(gateway, protocol, wish.port, options).await.map_err(nat_pmp_words);
        }
        let request = pcp::BaseMapRequest::new(gateway, self.router.own, protocol, wish.port);
        pcp::port_mapping(request, None, None, options).await.map_err(|failure| match failure {
            pcp::Failure::Timeout => "no answer".to_owned(),
            pcp::Failure::Socket(error) => crate::system::plain(&error),
            pcp::Failure::NetworkFailure(_) => NO_ADDRESS.to_owned(),
            pcp::Failure::UnsupportedVersion(_) => "the router does not speak it".to_owned(),
            other => short(&other),
        })
    }

    /// Takes everything back.
    pub(super) async fn release(self) -> Result<(), String> {
        let mut outcome = Ok(());
        for (_, mut mapping) in self.ports {
            mapping.timeout_config = LITTLE_PATIENCE;
            if let Err((failure, _)) = mapping.try_drop().await {
                outcome = Err(failure.to_string());
            }
        }
        outcome
    }

    pub(super) fn mapped(&self) -> Vec<Mapping> {
        let outside = |mapping: &PortMapping| match mapping.mapping_type() {
            PortMappingType::Pcp { external_ip, .. } => Some(external_ip.to_canonical()),
            PortMappingType::NatPmp => self.outside.map(IpAddr::V4),
        };
        let mapped = self.ports.iter().filter_map(|(wish, mapping)| {
            let outside = SocketAddr::new(outside(mapping)?, mapping.external_port().get());
            Some(Mapping { outside, protocol: self.protocol, of: wish.of })
        });
        mapped.collect()
    }

    pub(super) fn lifetime(&self) -> Duration {
        let shortest = self.ports.iter().map(|(_, mapping)| mapping.lifetime()).min();
        Duration::from_secs(shortest.unwrap_or(0).into())
    }

    pub(super) fn problem(&self) -> Option<(MappingProtocol, String)> {
        self.problem.clone().map(|problem| (self.protocol, problem))
    }
}

/// The outside address of a router that speaks NAT-PMP; maps nothing.
pub(super) async fn nat_pmp_outside(router: Ipv4Addr) -> Result<Ipv4Addr, String> {
    natpmp::external_address(router.into(), Some(PATIENCE)).await.map_err(nat_pmp_words)
}

fn nat_pmp_words(failure: natpmp::Failure) -> String {
    match failure {
        natpmp::Failure::Timeout => "no answer".to_owned(),
        natpmp::Failure::Socket(error) => crate::system::plain(&error),
        // RFC 6886 §3.5: it has not been given an address, or none that it could open to anybody.
        natpmp::Failure::NetworkFailure => NO_ADDRESS.to_owned(),
        natpmp::Failure::UnsupportedVersion(_) => "the router does not speak it".to_owned(),
        other => short(&other),
    }
}

/// The library's words for what the router answered, without their beginning, which is the same for all.
fn short(error: &impl std::fmt::Display) -> String {
    error.to_string().replace("Server responded with code: ", "")
}

fn internet_protocol(of: Mapped) -> InternetProtocol {
    match of {
        Mapped::Links => InternetProtocol::Udp,
        Mapped::Gateway => InternetProtocol::Tcp,
    }
}
