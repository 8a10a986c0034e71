//! Asking the router to let others in: PCP (RFC 6887), NAT-PMP (RFC 6886) and UPnP-IGD.
//!
//! All three are tried at once when a router is new or answers no more. The first in that order that works is kept, and is asked
//! again every minute: that renews the mapping long before its end, makes it anew where the router has forgotten it, and
//! tells of another outside address.

mod pmp;
mod upnp;

use std::net::IpAddr;
use std::num::NonZeroU16;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::places::MappingFacts;
use crate::relay::io::{Mapped, Mapping, MappingProtocol};

/// How long a mapping stands that nobody renews: what a crash leaves behind is gone after this.
const LEASE_SECONDS: u32 = 1_800;
/// How often the mapping is asked for again. A router that restarts has forgotten it, and tells nobody.
const ASK_INTERVAL: Duration = Duration::from_secs(60);
/// A router may grant less than was asked for; it is never asked more often than this, whatever it says.
const ASK_INTERVAL_MIN: Duration = Duration::from_secs(5);
/// However often something asks for it.
const AGAIN_PAUSE: Duration = Duration::from_secs(2);
/// The first pause after nothing worked; doubled each time. A router needs about a minute to start.
const BACK_OFF_MIN: Duration = Duration::from_secs(5);
const BACK_OFF_MAX: Duration = Duration::from_secs(300);
/// Trying all protocols: the longest, UPnP, looks for the router in two ways.
const SEARCH_MAX: Duration = Duration::from_secs(10);
/// What a router says that has nothing of the public internet to open: another one stands before it, or its line is down.
const NO_ADDRESS: &str = "the router has no public address itself";
/// How long a router that is being asked when the host ends may take to answer.
const LAST_ANSWER_MAX: Duration = Duration::from_millis(500);
/// How long taking the mapping away may take, when the host ends.
const RELEASE_MAX: Duration = Duration::from_millis(1_500);

/// Something that others are to reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wish {
    /// What: UDP for links, TCP for the gateway.
    pub(super) of: Mapped,
    /// Its port here; wanted outside too, but any other will do.
    pub(super) port: NonZeroU16,
}

/// Who is asked, and for whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Router {
    /// Its address on our side.
    pub(super) address: IpAddr,
    /// The number of the interface towards it, for a link-local address.
    pub(super) zone: Option<u32>,
    /// Our address, as it sees it.
    pub(super) own: IpAddr,
}

/// Whom to ask, or why nobody.
pub(super) type Target = Result<Router, &'static str>;

/// What is kept of a router that lets others in.
#[derive(Debug)]
enum Held {
    Pmp(pmp::Held),
    Upnp(upnp::Held),
}

/// Keeps ports of one router open.
#[derive(Debug)]
pub(super) struct Mapper {
    wishes: Vec<Wish>,
    target: watch::Receiver<Target>,
    again: Arc<Notify>,
    facts: watch::Sender<MappingFacts>,
    held: Option<(Router, Held)>,
    /// Whether it is in the log that nothing works.
    told: bool,
}

impl Mapper {
    /// `target` says whom to ask, `again` that it is to be asked at once.
    pub(super) fn new(
        wishes: Vec<Wish>,
        target: watch::Receiver<Target>,
        again: Arc<Notify>,
    ) -> (Self, watch::Receiver<MappingFacts>) {
        let (facts, shown) = watch::channel(MappingFacts::default());
        (Self { wishes, target, again, facts, held: None, told: false }, shown)
    }

    /// Runs until `stop`; then takes back what it has asked for, within 2 s.
    pub(super) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut back_off = BACK_OFF_MIN;
        let mut earliest = Instant::now();
        loop {
            tokio::select! {
                () = sleep_until(earliest) => earliest = Instant::now() + AGAIN_PAUSE,
                _ = stop.wait_for(|stop| *stop) => break,
            }
            let target = *self.target.borrow_and_update();
            let asked = {
                let mut asking = pin!(self.ask(target));
                let asked = tokio::select! {
                    asked = &mut asking => Some(asked),
                    _ = stop.wait_for(|stop| *stop) => None,
                };
                if asked.is_none() {
                    // What it is granted at this moment must be known to be taken back.
                    let _ = timeout(LAST_ANSWER_MAX, asking).await;
                }
                asked
            };
            let Some(asked) = asked else { break };
            let pause = match asked {
                Some(pause) => {
                    back_off = BACK_OFF_MIN;
                    pause
                }
                None => {
                    let pause = back_off;
                    back_off = (back_off * 2).min(BACK_OFF_MAX);
                    pause
                }
            };
            tokio::select! {
                () = sleep(pause) => {}
                changed = self.target.changed() => {
                    if changed.is_err() {
                        break;
                    }
                    back_off = BACK_OFF_MIN;
                }
                () = self.again.notified() => back_off = BACK_OFF_MIN,
                _ = stop.wait_for(|stop| *stop) => break,
            }
        }
        if let Some((_, held)) = self.held.take() {
            let released = timeout(RELEASE_MAX, held.release()).await.unwrap_or_else(|_| Err("no answer".to_owned()));
            match released {
                Ok(()) => tracing::debug!("the router lets nobody in any more"),
                Err(problem) => tracing::info!(problem, "the router was not told to let nobody in any more"),
            }
        }
    }

    /// Asks once. How long what it granted may be left alone; `None` when nothing works.
    async fn ask(&mut self, target: Target) -> Option<Duration> {
        let router = match target {
            Ok(router) => router,
            Err(idle) => {
                self.held = None;
                self.facts.send_replace(MappingFacts { idle: Some(idle), ..MappingFacts::default() });
                return Some(BACK_OFF_MAX);
            }
        };
        // What another router granted ends with its lease.
        drop(self.held.take_if(|(of, _)| *of != router));
        let mut problems = Vec::new();
        // It stays where it is while the router is asked: whoever ends meanwhile takes it back.
        if let Some((_, held)) = &mut self.held
            && let Err(problem) = held.renew(&self.wishes).await
        {
            tracing::debug!(problem, "the router takes back what it granted, or is gone");
            self.held = None;
        }
        if self.held.is_none() {
            let found = timeout(SEARCH_MAX, search(router, &self.wishes, &mut problems)).await.ok().flatten();
            self.held = found.map(|held| (router, held));
        }
        let held = self.held.as_ref().map(|(_, held)| held);
        let (mapped, pause) = (held.map(Held::mapped).unwrap_or_default(), held.map(|held| pause(held.lifetime())));
        problems.extend(held.and_then(Held::problem));
        self.tell(router, mapped, problems);
        pause
    }

    /// Shows what is known now, and writes what of it is news.
    fn tell(&mut self, router: Router, mapped: Vec<Mapping>, problems: Vec<(MappingProtocol, String)>) {
        let before = self.facts.borrow().mapped.clone();
        for new in mapped.iter().filter(|new| !before.contains(new)) {
            let protocol = new.protocol.name();
            match new.of {
                Mapped::Links => tracing::info!(outside = %new.outside, protocol, "the router lets other hosts in"),
                Mapped::Gateway => tracing::info!(outside = %new.outside, protocol, "the router lets edges in"),
            }
        }
        let words: Vec<String> =
            problems.iter().map(|(protocol, problem)| format!("{}: {problem}", protocol.name())).collect();
        if mapped.is_empty() && !std::mem::replace(&mut self.told, true) {
            tracing::info!(router = %router.address, "the router opens no port for this host ({})", words.join("; "));
        } else if !mapped.is_empty() {
            self.told = false;
        }
        let no_address = problems.iter().any(|(_, problem)| problem == NO_ADDRESS);
        let facts = MappingFacts { router: Some(router.address), idle: None, mapped, problems, no_address };
        self.facts.send_if_modified(|shown| std::mem::replace(shown, facts.clone()) != facts);
    }
}

/// How long what was granted for so long may be left alone.
fn pause(granted: Duration) -> Duration {
    (granted / 2).clamp(ASK_INTERVAL_MIN, ASK_INTERVAL)
}

/// Tries all protocols at once and keeps the best one that works. The others have not mapped anything by then.
async fn search(router: Router, wishes: &[Wish], problems: &mut Vec<(MappingProtocol, String)>) -> Option<Held> {
    let mut tried = JoinSet::new();
    let asked = wishes.to_vec();
    tried.spawn(async move { (MappingProtocol::Pcp, pmp::Held::pcp(router, &asked).await.map(Answer::Pcp)) });
    if let IpAddr::V4(address) = router.address {
        tried.spawn(
            async move { (MappingProtocol::NatPmp, pmp::nat_pmp_outside(address).await.map(|_| Answer::NatPmp)) },
        );
        tried.spawn(async move { (MappingProtocol::Upnp, upnp::Igd::find(router).await.map(Answer::Upnp)) });
    }
    let mut answers = Vec::new();
    for protocol in [MappingProtocol::Pcp, MappingProtocol::NatPmp, MappingProtocol::Upnp] {
        // All that come before it in the order have failed by now.
        let answer = loop {
            if let Some(at) = answers.iter().position(|(of, _)| *of == protocol) {
                break answers.swap_remove(at).1;
            }
            answers.push(tried.join_next().await?.ok()?);
        };
        let granted = match answer {
            Ok(Answer::Pcp(held)) => Ok(Held::Pmp(held)),
            Ok(Answer::NatPmp) => pmp::Held::nat_pmp(router, wishes).await.map(Held::Pmp),
            Ok(Answer::Upnp(igd)) => upnp::Held::new(igd, wishes).await.map(Held::Upnp),
            Err(problem) => Err(problem),
        };
        match granted {
            Ok(held) => return Some(held),
            Err(problem) => problems.push((protocol, problem)),
        }
    }
    None
}

/// That a router speaks a protocol.
enum Answer {
    Pcp(pmp::Held),
    NatPmp,
    Upnp(upnp::Igd),
}

impl Held {
    async fn renew(&mut self, wishes: &[Wish]) -> Result<(), String> {
        match self {
            Self::Pmp(held) => held.renew(wishes).await,
            Self::Upnp(held) => held.renew(wishes).await,
        }
    }

    async fn release(self) -> Result<(), String> {
        match self {
            Self::Pmp(held) => held.release().await,
            Self::Upnp(held) => held.release().await,
        }
    }

    fn mapped(&self) -> Vec<Mapping> {
        match self {
            Self::Pmp(held) => held.mapped(),
            Self::Upnp(held) => held.mapped(),
        }
    }

    /// How long it stands if nobody renews it.
    fn lifetime(&self) -> Duration {
        match self {
            Self::Pmp(held) => held.lifetime(),
            Self::Upnp(held) => held.lifetime(),
        }
    }

    /// What it did not grant.
    fn problem(&self) -> Option<(MappingProtocol, String)> {
        match self {
            Self::Pmp(held) => held.problem(),
            Self::Upnp(held) => held.problem(),
        }
    }
}

#[cfg(test)]
mod tests;
