//! What notes say in words. A host to which nothing happens writes nothing at `info`.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::relay::io::{Bar, CheckTarget, DialFailure, Fault, Note};

/// Lines that strangers may cause at once.
const STRANGERS_BURST: u32 = 20;
/// Lines that strangers may cause in the long run: one in this time.
const STRANGERS_EVERY: Duration = Duration::from_secs(10);

/// Writes notes to the log.
#[derive(Debug)]
pub struct Log {
    strangers: Mutex<Throttle>,
    dht: AtomicU8,
    /// Whether the last look-up of the names in DNS failed.
    seeds_fail: AtomicBool,
}

/// What the DHT last did, so that only changes are written.
const DHT_UNKNOWN: u8 = 0;
const DHT_WORKS: u8 = 1;
const DHT_FAILS: u8 = 2;

impl Default for Log {
    fn default() -> Self {
        let throttle = Throttle { lines: STRANGERS_BURST, filled: Instant::now(), kept_back: 0 };
        Self { strangers: Mutex::new(throttle), dht: AtomicU8::new(DHT_UNKNOWN), seeds_fail: AtomicBool::new(false) }
    }
}

impl Log {
    /// Writes a note.
    pub fn note(&self, note: &Note) {
        match note {
            Note::SessionOpened { peer, resumed } => tracing::debug!(?peer, resumed, "a session is open"),
            Note::SessionEnded { peer, reason } => tracing::debug!(?peer, ?reason, "a session is over"),
            Note::EdgeRefused { refusal } => tracing::debug!(%refusal, "an edge was refused something"),
            Note::SignalEnded { outcome, local } => tracing::trace!(?outcome, local, "a signal has its receipt"),
            Note::BroadcastEnded { reach } => tracing::trace!(?reach, "a broadcast has its tally"),
            Note::BroadcastSpread { members, missed } => tracing::trace!(members, missed, "a broadcast was spread"),
            Note::SignalPassedOn => tracing::trace!("a signal was handed on"),
            Note::LinkAdmitted { host, address, role } => {
                tracing::info!(host = %host.short(), %address, ?role, "linked with a host");
            }
            Note::LinkEnded { host, admitted: true, reason } => {
                tracing::info!(host = %host.short(), reason, "a link is gone");
            }
            Note::HostBarred { host, bar } => {
                let why = match bar {
                    Bar::Denied => "the list of denied hosts",
                    Bar::Unlisted => "it is not in the list of allowed hosts",
                    Bar::Revoked => "its identity is revoked",
                };
                tracing::warn!(%host, why, "a host is shut out: no link, and nothing of it is shown or passed on");
            }
            Note::KeySeen { epoch } => tracing::warn!(
                epoch,
                "this host's id was heard in words that it never said: another host runs with its key, or its data \
                 directory was put back from a copy"
            ),
            Note::LinkEnded { admitted: false, .. }
            | Note::LinkRefused { .. }
            | Note::RevocationDropped { .. }
            | Note::Misbehaved { .. }
            | Note::AddressChanged { .. }
            | Note::NatFound { .. }
            | Note::DialFailed { failure: DialFailure::OtherNetwork, .. } => self.stranger(note),
            Note::DialFailed { address, failure } => tracing::debug!(%address, ?failure, "could not reach a host"),
            Note::Punched { host, nats: (ours, theirs), outcome } => {
                let (ours, theirs, outcome) = (ours.word(), theirs.word(), outcome.name());
                tracing::debug!(host = %host.short(), ours, theirs, outcome, "a host that we were introduced to is dialled");
            }
            Note::NotIntroduced { host, why } => {
                tracing::debug!(host = %host.short(), ?why, "a neighbour does not introduce us to a host");
            }
            Note::DhtAnswered { registration, outcome } => self.dht_answered(*registration, outcome),
            Note::SeedsAnswered { outcome } => self.seeds_answered(outcome),
            Note::HostAppeared { host, epoch } => tracing::info!(host = %host.short(), epoch, "a host appeared"),
            Note::HostExpired { host } => tracing::info!(host = %host.short(), "a host is not heard of any more"),
            Note::HostQuarantined { host, fault } => {
                let reason = fault.name();
                tracing::warn!(%host, reason, "a host is quarantined: its roster is refused until it starts anew");
            }
            Note::Announced { ops } => tracing::trace!(ops, "announced"),
            Note::AnnouncementReceived { new } => tracing::trace!(new, "an announcement arrived"),
            Note::QuestionDropped { host } => tracing::trace!(host = %host.short(), "a host asks for more than it may"),
            Note::NotReached { target: target @ CheckTarget::OtherPort(_), by } => {
                tracing::debug!(%target, by = %by.short(), "a router lets in only whom we send to");
            }
            Note::Reached { target, by } => {
                tracing::info!(%target, by = %by.short(), "this host is reached from outside");
            }
            Note::NotReached { target, by } => tracing::warn!(
                %target,
                by = %by.short(),
                "this host is not reached from outside at this place: hosts that dial it there are turned away by a \
                 router or a firewall"
            ),
            Note::CaughtUp { host, by } => tracing::debug!(host = %host.short(), ?by, "catching up on a host"),
        }
    }

    /// What strangers can cause as often as they like.
    fn stranger(&self, note: &Note) {
        if !self.may_write() {
            return;
        }
        match note {
            Note::LinkEnded { host, reason, .. } => {
                tracing::info!(host = %host.short(), reason, "a connection was not admitted");
            }
            Note::LinkRefused { host, reason, by_us: true } => {
                tracing::info!(%host, reason = reason.words(), "refused a link with a host");
            }
            Note::LinkRefused { host, reason, by_us: false } => {
                tracing::warn!(%host, reason = reason.words(), "a host refuses to be linked with this one");
            }
            Note::RevocationDropped { host } => {
                tracing::warn!(%host, "no room for the revocation of a host that was never heard of here");
            }
            Note::Misbehaved { host, fault: Fault::WrongProof } => {
                tracing::warn!(host = %host.short(), "refused a host of another network: its genesis key is not ours");
            }
            Note::Misbehaved { host, fault } => {
                tracing::warn!(host = %host.short(), ?fault, "a host broke the protocol");
            }
            Note::AddressChanged { from, to } => tracing::info!(%from, %to, "this host is seen at another address"),
            Note::NatFound { nat } => tracing::info!(nat = nat.word(), "what stands before this host has changed"),
            Note::DialFailed { address, .. } => {
                tracing::info!(%address, "left alone: a host of another network, or of another protocol version");
            }
            _ => {}
        }
    }

    fn dht_answered(&self, registration: bool, outcome: &Result<(), String>) {
        let state = if outcome.is_ok() { DHT_WORKS } else { DHT_FAILS };
        let before = self.dht.swap(state, Ordering::Relaxed);
        match outcome {
            Ok(()) if before == DHT_FAILS => tracing::info!("the DHT answers again"),
            Ok(()) => tracing::debug!(registration, "the DHT answered"),
            Err(problem) if before != DHT_FAILS => tracing::warn!(
                problem,
                "the DHT does not answer: edges and links that stand are served, hosts known from before are tried, \
                 and the DHT is asked again every few seconds"
            ),
            Err(problem) => tracing::debug!(registration, problem, "the DHT still does not answer"),
        }
    }

    fn seeds_answered(&self, outcome: &Result<(), String>) {
        let failed_before = self.seeds_fail.swap(outcome.is_err(), Ordering::Relaxed);
        match outcome {
            Ok(()) if failed_before => tracing::info!("DNS answers again for the names of dns_seeds"),
            Ok(()) => tracing::debug!("DNS answered for the names of dns_seeds"),
            Err(problem) if !failed_before => tracing::warn!(problem, "what dns_seeds names brings no hosts"),
            Err(problem) => tracing::debug!(problem, "what dns_seeds names still brings no hosts"),
        }
    }

    /// Whether a line that a stranger caused may be written. Nobody may fill an operator's disk.
    fn may_write(&self) -> bool {
        let mut throttle = self.strangers.lock().unwrap_or_else(PoisonError::into_inner);
        match throttle.take(Instant::now()) {
            None => false,
            Some(0) => true,
            Some(kept_back) => {
                tracing::info!(kept_back, "lines about strangers were not written, there were too many");
                true
            }
        }
    }
}

#[derive(Debug)]
struct Throttle {
    lines: u32,
    filled: Instant,
    kept_back: u64,
}

impl Throttle {
    /// Takes a line; how many were kept back before it.
    fn take(&mut self, now: Instant) -> Option<u64> {
        while self.lines < STRANGERS_BURST && now.duration_since(self.filled) >= STRANGERS_EVERY {
            self.lines += 1;
            self.filled += STRANGERS_EVERY;
        }
        if self.lines == STRANGERS_BURST {
            self.filled = now;
        }
        match self.lines.checked_sub(1) {
            Some(left) => {
                self.lines = left;
                Some(std::mem::take(&mut self.kept_back))
            }
            None => {
                self.kept_back += 1;
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_write_twenty_lines_and_then_one_in_ten_seconds() {
        let start = Instant::now();
        let mut throttle = Throttle { lines: STRANGERS_BURST, filled: start, kept_back: 0 };
        let written = (0..1_000).filter(|_| throttle.take(start).is_some()).count();
        assert_eq!(written, 20);
        assert_eq!(throttle.take(start + Duration::from_secs(9)), None);
        assert_eq!(throttle.take(start + Duration::from_secs(10)), Some(981));
        assert_eq!(throttle.take(start + Duration::from_secs(11)), None);
        let later = start + Duration::from_secs(3_600);
        assert_eq!((0..1_000).filter(|_| throttle.take(later).is_some()).count(), 20);
    }
}
