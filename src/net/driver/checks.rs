//! Trying whether other hosts can be reached, when the machine asks.

use std::sync::Arc;
use std::time::Duration;

use aldis_wire::id::HostId;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::net::hub::Hub;
use crate::net::probe;
use crate::net::quic::Quic;
use crate::net::udp;
use crate::relay::io::{CheckKey, CheckTarget, Input};
use crate::relay::may_be_tried;

/// Checks under way at once. The machine asks for fewer; this is the backstop behind it.
const CHECKS_MAX: usize = 8;
/// How long one may take, as the machine was promised.
const CHECK_DEADLINE: Duration = Duration::from_secs(5);

/// What tries.
#[derive(Clone)]
pub(super) struct Checks {
    hub: Arc<Hub>,
    quic: Quic,
    /// Whether addresses outside the public internet may be tried.
    private: bool,
    room: Arc<Semaphore>,
}

impl Checks {
    pub(super) fn new(hub: Arc<Hub>, quic: Quic, private: bool) -> Self {
        Self { hub, quic, private, room: Arc::new(Semaphore::new(CHECKS_MAX)) }
    }

    /// Tells the machine what comes of it. Returns at once.
    pub(super) fn start(&self, check: CheckKey, host: HostId, target: CheckTarget) {
        let Ok(place) = self.room.clone().try_acquire_owned() else {
            return self.hub.happened(Input::Checked { check, outcome: Err("too many checks at once".to_owned()) });
        };
        let checks = self.clone();
        tokio::spawn(async move {
            let outcome = timeout(CHECK_DEADLINE, checks.tried(host, target)).await;
            drop(place);
            let outcome = outcome.unwrap_or_else(|_| Err("no answer".to_owned()));
            checks.hub.happened(Input::Checked { check, outcome });
        });
    }

    async fn tried(&self, host: HostId, target: CheckTarget) -> Result<(), String> {
        match target {
            CheckTarget::Links(address) => self.quic.check(address, host).await,
            CheckTarget::OtherPort(address) => self.quic.check_from_other_port(address, host).await,
            CheckTarget::Stun(address) => udp::ask(address).await.map(|_| ()),
            CheckTarget::Gateway(url) => probe::gateway(&url, host, |ip| may_be_tried(ip, self.private)).await,
        }
    }
}
