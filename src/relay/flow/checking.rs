//! Whether others can be reached: a neighbour asks us to find out, or another one asks us to try (PROTOCOL.md §11.1).

use std::net::{IpAddr, SocketAddr};

use aldis_wire::host::{Channel, DialBack, Frame, Place, Verdict, Verified, Verify};
use aldis_wire::id::HostId;
use rand_chacha::rand_core::Rng;

use crate::relay::io::{CheckKey, CheckTarget, LinkKey, Moment, Outbox, Output};
use crate::relay::limits::REFERRAL_TRIES_MAX;
use crate::relay::reach::{Asker, Door, Referral, Trial, gateway_door};
use crate::relay::scope::{may_be_tried, normalised, usable};
use crate::relay::state::State;
use crate::relay::timers::Timer;

impl State {
    /// A neighbour asks whether it can be reached at an address at which we see it, or at a gateway.
    pub(crate) fn verify_came(&mut self, now: Moment, key: LinkKey, verify: Verify, out: &mut Outbox) {
        let Some(link) = self.links.find(key).filter(|link| link.is_admitted()) else { return };
        let (host, address) = (link.host, normalised(link.address).ip());
        let asker = Asker { link: key, number: verify.number };
        let trial = Trial { asker, host, stranger: None, since: now };
        let Verify { place, .. } = verify;
        if self.draining || !self.reach.referrals.may_ask(now, host, matches!(place, Place::Gateway { .. })) {
            return self.answer_check(asker, Verdict::TooOften, out);
        }
        match place {
            // Whoever is in our own network says nothing of how it is seen from outside.
            Place::Gateway { url } if may_be_tried(address, self.settings.private_addresses) => {
                match gateway_door(&url, self.settings.private_addresses) {
                    Some(door) => self.try_place(now, door, trial, CheckTarget::Gateway(url), out),
                    None => self.answer_check(asker, Verdict::Nobody, out),
                }
            }
            Place::OtherPort { port } if self.may_try(SocketAddr::new(address, port)) => {
                let target = CheckTarget::OtherPort(SocketAddr::new(address, port));
                self.try_place(now, Door::at(address), trial, target, out);
            }
            Place::Links { port } | Place::Stun { port } if self.may_try(SocketAddr::new(address, port)) => {
                self.refer(now, Referral::new(now, asker, host, address, place), out);
            }
            _ => self.answer_check(asker, Verdict::Nobody, out),
        }
    }

    /// Has a neighbour try: one that is not the asker, nor where the asker is.
    fn refer(&mut self, now: Moment, mut referral: Referral, out: &mut Outbox) {
        let address = referral.address;
        let mut others: Vec<(LinkKey, HostId)> = self
            .links
            .admitted()
            .filter(|(_, link)| link.host != referral.host && !referral.tried.contains(&link.host))
            .filter(|(_, link)| {
                let at = normalised(link.address).ip();
                at != address && at.is_ipv4() == address.is_ipv4()
            })
            .map(|(key, link)| (key, link.host))
            .collect();
        if others.is_empty() || referral.tried.len() >= REFERRAL_TRIES_MAX {
            return self.answer_check(referral.asker, Verdict::Nobody, out);
        }
        if self.reach.referrals.is_full() {
            return self.answer_check(referral.asker, Verdict::TooOften, out);
        }
        let (with, host) = others.swap_remove(self.rng.next_u32() as usize % others.len());
        referral.with = with;
        referral.tried.push(host);
        let number = self.reach.next_number();
        let dial_back = referral.dial_back(number);
        self.reach.referrals.insert(number, referral);
        self.timers.set_earlier(Timer::Reach, now);
        self.send(with, Channel::Control, &Frame::DialBack(dial_back), out);
    }

    /// A neighbour asks us to try whether another host can be reached by one to which it never sent anything.
    pub(crate) fn dial_back_came(&mut self, now: Moment, key: LinkKey, asked: DialBack, out: &mut Outbox) {
        let Some(link) = self.links.find(key).filter(|link| link.is_admitted()) else { return };
        let (from, asker) = (link.host, Asker { link: key, number: asked.number });
        let target = |port| normalised(SocketAddr::new(asked.address, port));
        let target = match asked.place {
            Place::Links { port } => CheckTarget::Links(target(port)),
            Place::Stun { port } => CheckTarget::Stun(target(port)),
            Place::OtherPort { .. } | Place::Gateway { .. } => return self.answer_check(asker, Verdict::Nobody, out),
        };
        let Some(address) = target.address().filter(|address| self.may_try(*address)) else {
            return self.answer_check(asker, Verdict::Nobody, out);
        };
        let known = self.is_linked_with(asked.host, address.ip()) || asked.host == self.own;
        if self.draining || known || !self.reach.contacts.is_stranger(now, asked.host, address.ip()) {
            return self.answer_check(asker, Verdict::Nobody, out);
        }
        if !self.reach.referrals.may_refer(now, from) {
            return self.answer_check(asker, Verdict::TooOften, out);
        }
        let trial = Trial { asker, host: asked.host, stranger: Some(address.ip()), since: now };
        self.try_place(now, Door::at(address.ip()), trial, target, out);
    }

    /// An answer to a check: one that we asked for ourselves, or one that was made on our word.
    pub(crate) fn verified_came(&mut self, now: Moment, key: LinkKey, verified: Verified, out: &mut Outbox) {
        match self.reach.referrals.take(key, verified.number) {
            Some(referral) if verified.verdict == Verdict::Nobody => self.refer(now, referral, out),
            Some(referral) => self.answer_check(referral.asker, verified.verdict, out),
            None => self.check_answered(now, key, verified, out),
        }
    }

    /// A check that we made is over.
    pub(crate) fn checked(&mut self, now: Moment, check: CheckKey, outcome: Result<(), String>, out: &mut Outbox) {
        let Some(trial) = self.reach.trials.end(check) else { return };
        let verdict = if outcome.is_ok() { Verdict::Reached } else { Verdict::NotReached };
        let came = trial.stranger.is_some_and(|address| {
            let latest = self.reach.contacts.latest(now, trial.host, address);
            self.is_linked_with(trial.host, address) || latest.is_some_and(|latest| latest > trial.since)
        });
        // It has sent to us meanwhile, and its router may have let our answer in for that.
        self.answer_check(trial.asker, if came { Verdict::Nobody } else { verdict }, out);
    }

    /// A check that was to be made was not.
    pub(crate) fn check_left_out(&mut self, check: CheckKey, out: &mut Outbox) {
        if let Some(trial) = self.reach.trials.end(check) {
            self.answer_check(trial.asker, Verdict::TooOften, out);
        }
    }

    /// Answers what was not answered in time, here or elsewhere.
    pub(crate) fn end_overdue(&mut self, now: Moment, out: &mut Outbox) {
        for trial in self.reach.trials.overdue(now) {
            self.answer_check(trial.asker, Verdict::Nobody, out);
        }
        let links = &self.links;
        let gone = |key: LinkKey| links.find(key).is_none_or(|link| !link.is_admitted());
        for referral in self.reach.referrals.overdue(now, gone) {
            self.answer_check(referral.asker, Verdict::Nobody, out);
        }
    }

    fn try_place(&mut self, now: Moment, door: Door, trial: Trial, target: CheckTarget, out: &mut Outbox) {
        let Trial { asker, host, stranger, .. } = trial;
        let Some(check) = self.reach.trials.begin(now, door, trial) else {
            return self.answer_check(asker, Verdict::TooOften, out);
        };
        if let Some(address) = stranger {
            self.reach.contacts.with_address(now, address);
        }
        self.timers.set_earlier(Timer::Reach, now);
        out.push(Output::Check { check, host, target });
    }

    fn answer_check(&mut self, asker: Asker, verdict: Verdict, out: &mut Outbox) {
        if self.links.find(asker.link).is_some_and(|link| link.is_admitted()) {
            let verified = Verified { number: asker.number, verdict };
            self.send(asker.link, Channel::Control, &Frame::Verified(verified), out);
        }
    }

    fn may_try(&self, address: SocketAddr) -> bool {
        usable(address, self.settings.private_addresses)
    }

    fn is_linked_with(&self, host: HostId, address: IpAddr) -> bool {
        self.links.iter().any(|(_, link)| link.host == host || normalised(link.address).ip() == address)
    }
}
