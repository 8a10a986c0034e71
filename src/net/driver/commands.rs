//! The machine's commands, done: dials, the DHT, the disk, the end.

use std::net::SocketAddr;
use std::sync::Arc;

use aldis_wire::network::NetworkTag;
use tokio::sync::{mpsc, watch};

use super::checks::Checks;
use crate::net::dht::Rendezvous;
use crate::net::hub::{Command, Hub};
use crate::net::quic::Quic;
use crate::net::seeds::{self, SeedsConfig};
use crate::relay::io::{Hint, HintSource, Input, StopReason, Stored};

/// What does the machine's commands.
pub(super) struct Commands {
    pub(super) hub: Arc<Hub>,
    pub(super) quic: Quic,
    pub(super) checks: Checks,
    pub(super) map_again: Box<dyn Fn() + Send>,
    pub(super) rendezvous: Option<Arc<dyn Rendezvous>>,
    pub(super) seeds: SeedsConfig,
    pub(super) tag: NetworkTag,
    pub(super) queue: mpsc::Sender<Stored>,
    pub(super) stop: watch::Sender<Option<StopReason>>,
}

impl Commands {
    pub(super) async fn run(self) {
        loop {
            match self.hub.next_command().await {
                Command::Dial { dial, address, host } => self.quic.dial(dial, address, host),
                Command::LookUp => self.look_up(),
                Command::LookUpSeeds => self.look_up_seeds(),
                Command::Register { port } => self.register(port),
                Command::Check { check, host, target } => self.checks.start(check, host, target),
                Command::MapAgain => (self.map_again)(),
                Command::Store(stored) => {
                    if let Err(error) = self.queue.try_send(stored) {
                        tracing::error!(%error, "the disk is too slow for what should be kept");
                    }
                }
                Command::Stop(reason) => {
                    self.stop.send_replace(Some(reason));
                }
            }
        }
    }

    fn look_up(&self) {
        let (hub, rendezvous) = (self.hub.clone(), self.rendezvous.clone());
        tokio::spawn(async move {
            let found_by = hub.clone();
            let asking = tokio::spawn(async move {
                let Some(rendezvous) = rendezvous else { return Err("the DHT is switched off".to_owned()) };
                let mut found = |addresses: Vec<SocketAddr>| {
                    let hints = addresses.into_iter().map(|address| Hint { address, host: None }).collect();
                    found_by.happened(Input::HintsFound { source: HintSource::Dht, hints });
                };
                let outcome = rendezvous.look_up(&mut found).await;
                if let Some((address, shared)) = rendezvous.sees().await {
                    found_by.happened(Input::DhtSees { address, shared });
                }
                outcome
            });
            let outcome = asking.await.unwrap_or_else(|_| Err("the DHT's library failed".to_owned()));
            hub.happened(Input::LookUpEnded { outcome });
        });
    }

    fn look_up_seeds(&self) {
        let (hub, seeds, tag) = (self.hub.clone(), self.seeds.clone(), self.tag);
        tokio::spawn(async move {
            let found_by = hub.clone();
            let found = move |hints| found_by.happened(Input::HintsFound { source: HintSource::Dns, hints });
            let asking = tokio::spawn(async move { seeds::look_up(&seeds, tag, found).await });
            let outcome = asking.await.unwrap_or_else(|_| Err("the DNS library failed".to_owned()));
            hub.happened(Input::SeedLookUpEnded { outcome });
        });
    }

    fn register(&self, port: Option<u16>) {
        let (hub, rendezvous) = (self.hub.clone(), self.rendezvous.clone());
        tokio::spawn(async move {
            let telling = tokio::spawn(async move {
                match rendezvous {
                    Some(rendezvous) => rendezvous.register(port).await,
                    None => Err("the DHT is switched off".to_owned()),
                }
            });
            let outcome = telling.await.unwrap_or_else(|_| Err("the DHT's library failed".to_owned()));
            hub.happened(Input::RegistrationEnded { outcome });
        });
    }
}
