//! Trying whether other hosts can be reached, when the machine asks.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aldis_wire::id::HostId;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::net::hub::Hub;
use crate::net::probe;
use crate::net::quic::Quic;
use crate::net::udp;
use crate::relay::bucket::Bucket;
use crate::relay::io::{CheckKey, CheckTarget, Input, Moment};
use crate::relay::limits::{TRIAL_ADDRESSES_MAX, TRIAL_TOKENS, TRIALS_PER_ADDRESS};
use crate::relay::may_be_tried;
use crate::relay::prefix::Prefix;

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
    knocks: Arc<Mutex<Knocks>>,
}

/// Addresses at which gateways were looked for lately. The machine counts the names in URLs, and any number of names may
/// lead to one address; so the addresses are counted here, by the same measure. Bounded.
#[derive(Debug, Default)]
struct Knocks(BTreeMap<Prefix, Bucket>);

impl Knocks {
    /// Whether an address may be tried once more; counts it.
    fn take(&mut self, now: Moment, at: IpAddr) -> bool {
        let door = Prefix::of(at);
        if self.0.len() >= TRIAL_ADDRESSES_MAX {
            self.0.retain(|known, bucket| *known == door || !bucket.is_full(now));
        }
        if self.0.len() >= TRIAL_ADDRESSES_MAX && !self.0.contains_key(&door) {
            return false;
        }
        self.0.entry(door).or_default().take(now, TRIALS_PER_ADDRESS, TRIAL_TOKENS).is_ok()
    }
}

impl Checks {
    pub(super) fn new(hub: Arc<Hub>, quic: Quic, private: bool) -> Self {
        Self { hub, quic, private, room: Arc::new(Semaphore::new(CHECKS_MAX)), knocks: Arc::default() }
    }

    /// Tells the machine what comes of it. Returns at once.
    pub(super) fn start(&self, check: CheckKey, host: HostId, target: CheckTarget) {
        let Ok(place) = self.room.clone().try_acquire_owned() else {
            return self.hub.happened(Input::CheckLeftOut { check });
        };
        let checks = self.clone();
        tokio::spawn(async move {
            let outcome = timeout(CHECK_DEADLINE, checks.tried(host, target)).await;
            drop(place);
            checks.hub.happened(match outcome {
                Ok(Some(outcome)) => Input::Checked { check, outcome },
                Ok(None) => Input::CheckLeftOut { check },
                Err(_) => Input::Checked { check, outcome: Err("no answer".to_owned()) },
            });
        });
    }

    /// What comes of it; nothing if it went there too often lately.
    async fn tried(&self, host: HostId, target: CheckTarget) -> Option<Result<(), String>> {
        Some(match target {
            CheckTarget::Links(address) => self.quic.check(address, host).await,
            CheckTarget::OtherPort(address) => self.quic.check_from_other_port(address, host).await,
            CheckTarget::Stun(address) => udp::ask(address).await.map(|_| ()),
            CheckTarget::Gateway(url) => {
                let left_out = AtomicBool::new(false);
                let may = |ip| {
                    let may = may_be_tried(ip, self.private);
                    let knocks =
                        may && self.knocks.lock().unwrap_or_else(PoisonError::into_inner).take(self.hub.now(), ip);
                    left_out.fetch_or(may && !knocks, Ordering::Relaxed);
                    knocks
                };
                let outcome = probe::gateway(&url, host, may).await;
                if outcome.is_err() && left_out.into_inner() {
                    return None;
                }
                outcome
            }
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail by panic")]
    use super::*;

    #[test]
    fn an_address_is_knocked_at_twice_and_then_once_a_minute_however_many_names_lead_there() {
        let (mut knocks, victim) = (Knocks::default(), "45.1.2.3".parse().unwrap());
        let at = |seconds| Moment::new(Duration::from_secs(seconds));
        let taken = (0..600).filter(|second| knocks.take(at(*second), victim)).count();
        assert!((10..=12).contains(&taken), "{taken} in ten minutes");
        for number in 0..5_000_u32 {
            knocks.take(at(600), IpAddr::from((0x2e00_0000 + number).to_be_bytes()));
            assert!(knocks.0.len() <= TRIAL_ADDRESSES_MAX);
        }
        assert!(!knocks.take(at(600), "47.0.0.1".parse().unwrap()), "no room to count");
        assert!(knocks.take(at(800), "47.0.0.1".parse().unwrap()));
    }
}
