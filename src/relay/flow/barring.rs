//! Hosts that are kept out: by the operator's lists, because their identity is revoked (PROTOCOL.md §6.7, §6.8), or for a
//! while because they were at fault again and again.

use aldis_wire::host::{Channel, Frame, GoodbyeReason, Role};
use aldis_wire::id::HostId;
use aldis_wire::limits::REVOCATIONS_MAX;
use aldis_wire::revocation::Revocation;

use crate::relay::io::{Bar, Fault, HostLists, LinkKey, Moment, Note, Outbox, Output, StopReason, Stored};
use crate::relay::limits::{CLAIM_CHECKS, FAULT_TOKENS, FAULTS, FAULTY_MAX, REVOCATIONS_PASSED_ON};
use crate::relay::links::{Link, Phase};
use crate::relay::state::State;
use crate::relay::timers::Timer;

impl State {
    /// The operator has changed the lists.
    pub(crate) fn lists_changed(&mut self, now: Moment, lists: HostLists, out: &mut Outbox) {
        let before = self.barred.set_lists(lists);
        let mut known: Vec<HostId> = self.origins.iter().map(|(host, _)| host).collect();
        known.extend(self.links.iter().map(|(_, link)| link.host));
        known.sort_unstable();
        known.dedup();
        for host in known {
            if let Some(bar) = self.barred.why(host) {
                self.shut_out(now, host, bar, out);
            }
        }
        // Who is free again is asked for where it was told of meanwhile.
        let told: Vec<HostId> = self.links.named_in().collect();
        for host in told {
            if before.keep_out(host).is_some() && self.barred.why(host).is_none() && host != self.own {
                self.timers.set_earlier(Timer::Behind(host), now);
            }
        }
        self.discovery.look_again(now);
        self.timers.set_earlier(Timer::Discovery, now);
    }

    /// Revocations that an operator hands over, or that were kept from the last run; `heard` if of hosts that were heard
    /// of here, or handed over here.
    pub(crate) fn revocations_found(&mut self, now: Moment, found: Vec<Revocation>, heard: bool, out: &mut Outbox) {
        for revocation in found {
            if self.barred.revocation(revocation.host()).is_none() && revocation.is_signed() {
                self.revoke(now, revocation, heard, None, out);
            }
        }
    }

    /// A neighbour tells of revocations.
    pub(crate) fn revoked_came(&mut self, now: Moment, key: LinkKey, told: Vec<Revocation>, out: &mut Outbox) {
        let Some(link) = self.links.find(key) else { return };
        let unproven = matches!(link.phase, Phase::Greeting { verified: false, .. });
        if unproven && told.iter().any(|revocation| revocation.host() != self.own) {
            return self.misbehaved(now, key, Fault::OutOfOrder, out);
        }
        for revocation in told {
            if self.barred.revocation(revocation.host()).is_some() {
                continue;
            }
            let Some(link) = self.links.find_mut(key) else { return };
            if link.claims.take(now, CLAIM_CHECKS, 1).is_err() {
                // Whoever has it tells it again when the host is seen.
                return;
            }
            if !revocation.is_signed() {
                return self.misbehaved(now, key, Fault::BadSignature, out);
            }
            self.revoke(now, revocation, false, Some(key), out);
        }
    }

    /// A new revocation, rightly signed: kept, told to all others, and in force.
    fn revoke(&mut self, now: Moment, revocation: Revocation, heard: bool, from: Option<LinkKey>, out: &mut Outbox) {
        let host = revocation.host();
        let seen = self.origins.find(host).is_some()
            || self.origins.mark_of_forgotten(host) != (0, 0)
            || self.links.iter().any(|(_, link)| link.host == host);
        let heard = heard || seen || host == self.own;
        let [high, low] = self.random();
        let chance = usize::from(u16::from_be_bytes([high, low]));
        if !self.barred.keep(revocation, heard, |below| chance % below.max(1)) {
            return out.note(Note::RevocationDropped { host });
        }
        if heard {
            self.store_revocations(out);
        }
        let by = from.and_then(|key| self.links.find_mut(key));
        if heard || by.is_none_or(|by| by.revocations.take(now, REVOCATIONS_PASSED_ON, 1).is_ok()) {
            // The revoked host itself hears it together with the goodbye.
            let others = self.links.admitted().filter(|(key, link)| Some(*key) != from && link.host != host);
            let links: Vec<LinkKey> = others.map(|(key, _)| key).collect();
            for link in links {
                self.send(link, Channel::Control, &Frame::Revoked(vec![revocation]), out);
            }
        }
        if host == self.own {
            return out.push(Output::Stop { reason: StopReason::Revoked });
        }
        if heard {
            self.shut_out(now, host, Bar::Revoked, out);
        }
    }

    /// Keeps the revocations for the next start, if there are new ones. Those of hosts never heard of wait for the next
    /// time when the house is kept: nobody may have us write to the disk as often as he likes.
    pub(crate) fn store_revocations(&mut self, out: &mut Outbox) {
        if self.barred.take_unstored() {
            out.push(Output::Store(Stored::Revocations(self.barred.revocations().collect())));
        }
    }

    /// Nothing of this host is here any more: its links say goodbye, its roster and what was known of it are gone.
    fn shut_out(&mut self, now: Moment, host: HostId, bar: Bar, out: &mut Outbox) {
        out.note(Note::HostBarred { host, bar });
        let shown = self.directory.remove(host);
        self.tell_followers(now, shown, out);
        self.origins.forget(now, host);
        self.shared.remove(&host);
        self.asking.remove(&host);
        self.timers.cancel(Timer::Expiry(host));
        self.timers.cancel(Timer::Behind(host));
        // What neighbours have of it stays noted, for the day on which it is free again.
        self.links.push_nowhere(host);
        let stand = self.links.iter().filter(|(_, link)| link.host == host && link.phase != Phase::Closing);
        let links: Vec<LinkKey> = stand.map(|(key, _)| key).collect();
        links.into_iter().for_each(|link| self.part(now, link, host, bar, out));
    }

    /// Sends a host away that has proved that it belongs to the network, if it is barred, or was at fault again and
    /// again; whether it was one.
    pub(crate) fn turn_away(&mut self, now: Moment, key: LinkKey, out: &mut Outbox) -> bool {
        let Some(link) = self.links.find(key) else { return false };
        let (host, role, address) = (link.host, link.role, link.address);
        if let Some(bar) = self.barred.why(host) {
            self.part(now, key, host, bar, out);
            return true;
        }
        let mut left = self.faults.get(&host).copied().unwrap_or_default();
        let forgiven = left.take(now, FAULTS, FAULT_TOKENS).is_ok();
        if !forgiven {
            out.note(Note::LinkRefused { host, reason: GoodbyeReason::Misbehaved, by_us: true });
            if role == Role::Dialler {
                self.discovery.turned_away(now, address);
            }
            self.drop_link(now, key, GoodbyeReason::Misbehaved, out);
        }
        !forgiven
    }

    /// Remembers that a host broke the protocol.
    pub(crate) fn count_fault(&mut self, now: Moment, host: HostId) {
        if self.faults.len() >= FAULTY_MAX && !self.faults.contains_key(&host) {
            let mildest = self.faults.iter().min_by_key(|(_, bucket)| **bucket).map(|(host, _)| *host);
            mildest.and_then(|mildest| self.faults.remove(&mildest));
        }
        // Beyond the burst there is nothing more to take.
        let _ = self.faults.entry(host).or_default().take(now, FAULTS, FAULT_TOKENS);
    }

    /// Tells a barred host why, and ends its link.
    fn part(&mut self, now: Moment, key: LinkKey, host: HostId, bar: Bar, out: &mut Outbox) {
        let reason = match bar {
            Bar::Denied | Bar::Unlisted => GoodbyeReason::NotAllowed,
            Bar::Revoked => GoodbyeReason::Revoked,
        };
        out.note(Note::LinkRefused { host, reason, by_us: true });
        self.remind(now, key, host, out);
        if self.links.find(key).is_some_and(Link::is_admitted) {
            self.close_softly(now, key, reason, out);
        } else {
            self.drop_link(now, key, reason, out);
        }
    }

    /// The other side does not want us, or takes our identity for revoked: it is left alone for a while.
    pub(crate) fn turned_away(&mut self, now: Moment, key: LinkKey, reason: GoodbyeReason, out: &mut Outbox) {
        let Some(link) = self.links.find(key) else { return };
        out.note(Note::LinkRefused { host: link.host, reason, by_us: false });
        if link.role == Role::Dialler {
            self.discovery.turned_away(now, link.address);
        }
    }

    /// Something of a barred origin came: whoever brings it is told, if its identity is revoked, and asked for no more.
    pub(crate) fn barred_came(&mut self, now: Moment, key: LinkKey, origin: HostId, pushed: bool, out: &mut Outbox) {
        self.remind(now, key, origin, out);
        if pushed {
            self.prune(key, origin, out);
        }
    }

    fn remind(&mut self, now: Moment, key: LinkKey, host: HostId, out: &mut Outbox) {
        let Some((revocation, link)) = self.barred.revocation(host).zip(self.links.find_mut(key)) else { return };
        // Whoever names thousands of them in its summaries is not told of each.
        if link.claims.take(now, CLAIM_CHECKS, 1).is_ok() {
            self.send(key, Channel::Control, &Frame::Revoked(vec![revocation]), out);
        }
    }

    /// A new link: the other side may have missed some.
    pub(crate) fn tell_revocations(&mut self, key: LinkKey, out: &mut Outbox) {
        let all: Vec<Revocation> = self.barred.revocations().map(|(revocation, _)| revocation).collect();
        for some in all.chunks(REVOCATIONS_MAX) {
            // A link without room for them is told when the host is seen.
            self.send(key, Channel::Sync, &Frame::Revoked(some.to_vec()), out);
        }
    }
}
