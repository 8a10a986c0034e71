//! Connections to other hosts: admission, crossed dials, frames, and what ends with a link (PROTOCOL.md §5).

use aldis_wire::host::{Channel, Frame, GoodbyeReason, Hello, Role, admission_proof};
use aldis_wire::id::HostId;

use crate::relay::io::{DialFailure, DialKey, Fault, Input, LinkKey, Moment, Note, Outbox, Output};
use crate::relay::limits::{ADMISSION_DEADLINE, CLOSING, LINKS_PENDING_MAX, LINKS_PENDING_PER_ADDRESS_MAX};
use crate::relay::links::{Link, Phase};
use crate::relay::planted::Defect;
use crate::relay::scope::normalised;
use crate::relay::state::State;
use crate::relay::timers::Timer;

impl State {
    /// Something happened between hosts.
    pub(crate) fn link_input(&mut self, now: Moment, input: Input, out: &mut Outbox) {
        match input {
            Input::LinkOpened { link, host, role, dial, address, exporter, rtt } => {
                let opened = Link::new(now, host, role, address, exporter, rtt);
                self.link_opened(now, link, opened, dial, out);
            }
            Input::LinkReceived { link, channel, kind, body } => self.frame_came(now, link, channel, kind, &body, out),
            Input::LinkSent { link, channel, bytes } => {
                if let Some(found) = self.links.find_mut(link) {
                    found.sent(channel, bytes);
                }
            }
            Input::LinkMeasured { link, rtt, address } => self.link_measured(link, rtt, address, out),
            Input::LinkSilent { link } => self.link_silent(now, link),
            Input::LinkStranded { link } => self.link_stranded(now, link, out),
            Input::LinkClosed { link, reason } => {
                let neighbour = self.links.find(link).filter(|link| link.is_admitted()).map(|link| link.host);
                self.link_gone(now, link, reason, out);
                if let Some(host) = neighbour {
                    self.miss_host(now, host);
                }
            }
            Input::DialFailed { dial, failure } => self.dial_failed(now, dial, failure, out),
            _ => {}
        }
    }

    fn dial_failed(&mut self, now: Moment, dial: DialKey, failure: DialFailure, out: &mut Outbox) {
        if let Some(address) = self.discovery.dial_failed(now, dial, &failure, |host| self.directory.is_shown(host)) {
            out.note(Note::DialFailed { address, failure });
            self.look_whom_to_meet(now);
        }
        self.timers.set_earlier(Timer::Discovery, now);
    }

    fn link_opened(&mut self, now: Moment, key: LinkKey, mut link: Link, dial: Option<DialKey>, out: &mut Outbox) {
        let (host, role) = (link.host, link.role);
        if let Some(dial) = dial {
            let dialled = self.discovery.dial_succeeded(now, dial, host);
            link.near = dialled.is_some_and(|dialled| dialled.probe);
            link.punched = dialled.is_some_and(|dialled| dialled.punch);
            self.timers.set_earlier(Timer::Discovery, now);
        }
        link.punched |= role == Role::Acceptor && self.meetings.is_dialling(host);
        let at = normalised(link.address).ip();
        link.stranger = role == Role::Acceptor && self.reach.contacts.is_stranger(now, host, at);
        self.reach.contacts.with_address(now, at);
        let (probe, rtt) = (link.near, link.rtt);
        let refused = if host == self.own {
            Some(GoodbyeReason::NotAllowed)
        } else if self.draining {
            Some(GoodbyeReason::Closing)
        } else if role == Role::Dialler && self.links.race_is_won(now, host, link.address) {
            Some(GoodbyeReason::Crossed)
        } else if self.links.pending(role) >= LINKS_PENDING_MAX
            || role == Role::Acceptor && self.links.pending_from(link.address.ip()) >= LINKS_PENDING_PER_ADDRESS_MAX
            || self.links.is_full(role)
            || probe && !self.is_nearer(now, rtt)
        {
            Some(GoodbyeReason::Full)
        } else if link.punched
            && role == Role::Dialler
            && self.links.is_doubled(now, host, self.meetings.dialled_since(host))
        {
            // Another address of the same host has answered first.
            Some(GoodbyeReason::Crossed)
        } else {
            None
        };
        self.links.insert(key, link);
        if let Some(reason) = refused {
            return self.drop_link(now, key, reason, out);
        }
        self.timers.set(Timer::Admission(key), now + ADMISSION_DEADLINE);
        if role == Role::Dialler {
            self.say_hello(key, out);
        }
    }

    fn say_hello(&mut self, key: LinkKey, out: &mut Outbox) {
        let (Some(record), Some(link)) = (self.signed_record(), self.links.find(key)) else { return };
        let hello = Hello {
            proof: *self.proof_on(link, link.role).as_bytes(),
            epoch: self.announcer.epoch,
            record,
            observed: link.address,
            lost: self.links.lost_with(link.host),
        };
        self.send(key, Channel::Control, &Frame::Hello(hello), out);
        if let Some(link) = self.links.find_mut(key) {
            link.stated = self.announcer.epoch;
            link.told = Some(link.address);
        }
    }

    fn proof_on(&self, link: &Link, role: Role) -> blake3::Hash {
        let (dialler, acceptor) =
            if link.role == Role::Dialler { (self.own, link.host) } else { (link.host, self.own) };
        admission_proof(&self.network.admission_key, role, &link.exporter, dialler, acceptor)
    }

    fn frame_came(&mut self, now: Moment, key: LinkKey, channel: Channel, kind: u8, body: &[u8], out: &mut Outbox) {
        let Some(link) = self.links.find_mut(key) else { return };
        link.silent = false;
        let (host, phase, stranded) = (link.host, link.phase, link.stranded);
        if stranded.is_some() {
            self.heard_on_stranded(now, key, out);
        }
        let frame = match Frame::decode(kind, body) {
            Ok(Some(frame)) => frame,
            Ok(None) if !matches!(phase, Phase::Greeting { verified: false, .. }) => return,
            Ok(None) => return self.misbehaved(now, key, Fault::OutOfOrder, out),
            Err(_) => return self.misbehaved(now, key, Fault::BadFrame, out),
        };
        let greeting = matches!(frame, Frame::Hello(_) | Frame::Admitted | Frame::Goodbye(_) | Frame::Revoked(_));
        let verified = !matches!(phase, Phase::Greeting { verified: false, .. });
        if !frame.belongs_on(channel) || !verified && !greeting {
            return self.misbehaved(now, key, Fault::OutOfOrder, out);
        }
        if verified && !greeting && self.barred.why(host).is_some() {
            // On a link to which we have said goodbye.
            return;
        }
        match frame {
            Frame::Hello(hello) => self.hello_came(now, key, &hello, out),
            Frame::Admitted => self.admitted_came(now, key, out),
            Frame::Goodbye(reason) => self.goodbye_came(now, key, reason, out),
            Frame::Have(entries) => self.have_came(now, key, &entries, out),
            Frame::Prune(origin) => self.prune_came(key, origin),
            Frame::Graft(origin, epoch, seq) => self.graft_came(now, key, origin, (epoch, seq), out),
            Frame::Announcement(announcement) => self.announcement_came(now, key, announcement, out),
            Frame::Delta(delta) => self.delta_came(now, key, delta, out),
            Frame::Query(query) => self.query_came(now, key, query, out),
            Frame::Reply(reply) => self.reply_came(now, key, reply, out),
            Frame::Signal(signal) => self.signal_came(now, key, signal, out),
            Frame::Receipt(receipt) => self.receipt_came(now, key, &receipt, out),
            Frame::Routed(routed) => self.routed_came(now, key, routed, out),
            Frame::Bounce(bounce) => self.bounce_came(now, key, bounce, out),
            Frame::Revoked(revocations) => self.revoked_came(now, key, revocations, out),
            Frame::Broadcast(broadcast) => self.broadcast_came(now, key, broadcast, out),
            Frame::Tally(tally) => self.tally_came(key, &tally, out),
            Frame::Introduce(introduce) => self.introduce_came(now, key, introduce, out),
            Frame::Punch(punch) => self.punch_came(now, key, punch),
            Frame::NotIntroduced(answer) => self.not_introduced_came(now, key, answer, out),
            Frame::Observed(address) => self.observed_came(now, key, address, out),
            Frame::Verify(verify) => self.verify_came(now, key, verify, out),
            Frame::DialBack(dial_back) => self.dial_back_came(now, key, dial_back, out),
            Frame::Verified(verified) => self.verified_came(now, key, verified, out),
        }
    }

    fn hello_came(&mut self, now: Moment, key: LinkKey, hello: &Hello, out: &mut Outbox) {
        let Some(link) = self.links.find(key) else { return };
        let Phase::Greeting { verified: false, welcomed } = link.phase else {
            return self.misbehaved(now, key, Fault::OutOfOrder, out);
        };
        // `blake3::Hash` compares in constant time.
        if self.proof_on(link, link.role.other()) != hello.proof {
            out.note(Note::Misbehaved { host: link.host, fault: Fault::WrongProof });
            return self.drop_link(now, key, GoodbyeReason::NotAdmitted, out);
        }
        if hello.record.host() != link.host || hello.record.open(self.network.trust).is_err() {
            return self.misbehaved(now, key, Fault::BadSignature, out);
        }
        let role = link.role;
        if self.turn_away(now, key, out) {
            return;
        }
        if self.links.is_full(role) {
            // It came while there was room, together with too many others.
            return self.drop_link(now, key, GoodbyeReason::Full, out);
        }
        if let Some(link) = self.links.find_mut(key) {
            link.epoch = hello.epoch;
            link.observed = Some(hello.observed);
            link.phase = Phase::Greeting { verified: true, welcomed };
        }
        self.hello_names(now, key, hello, out);
        if role == Role::Acceptor {
            self.say_hello(key, out);
        }
        out.push(Output::WidenLink { link: key });
        self.send(key, Channel::Control, &Frame::Admitted, out);
        if welcomed {
            self.admit(now, key, out);
        }
    }

    fn admitted_came(&mut self, now: Moment, key: LinkKey, out: &mut Outbox) {
        let Some(link) = self.links.find_mut(key) else { return };
        match &mut link.phase {
            Phase::Greeting { verified: true, .. } => self.admit(now, key, out),
            Phase::Greeting { welcomed, .. } => *welcomed = true,
            Phase::Admitted => self.misbehaved(now, key, Fault::OutOfOrder, out),
            // It crossed our goodbye.
            Phase::Closing => {}
        }
    }

    /// Both sides are satisfied: the link carries everything from now on.
    fn admit(&mut self, now: Moment, key: LinkKey, out: &mut Outbox) {
        let Some(link) = self.links.find_mut(key) else { return };
        link.phase = Phase::Admitted;
        let (host, address, role, epoch) = (link.host, link.address, link.role, link.epoch);
        self.timers.cancel(Timer::Admission(key));
        out.note(Note::LinkAdmitted { host, address, role });
        self.discovery.link_admitted(now, host, address);
        self.timers.set_earlier(Timer::Discovery, now);
        self.show_its_newest(now, key, (epoch, 0), out);
        // The other side's own roster is asked for without waiting for its summary.
        let mark = self.origins.find(host).map_or((0, 0), |origin| origin.mark());
        self.graft(key, host, mark, out);
        self.summarise_to(now, key, out);
        self.tell_revocations(key, out);
        let punched = self.links.find(key).is_some_and(|link| link.punched);
        self.met(now, host, punched, out);
        if let Some(loser) = self.links.loser(self.own, key)
            && !self.planted.has(Defect::KeepBothLinks)
        {
            self.links.inherit(key, loser);
            if loser == key {
                self.gives_way(now, key, out);
            }
            self.close_softly(now, loser, GoodbyeReason::Crossed, out);
        }
        self.has_come(host);
        self.send_broken(now, out);
        self.reach.contacts.with_host(now, host);
        self.neighbour_sees(now, key, out);
        self.neighbours_changed(now);
    }

    fn goodbye_came(&mut self, now: Moment, key: LinkKey, reason: GoodbyeReason, out: &mut Outbox) {
        let Some(link) = self.links.find_mut(key) else { return };
        let crossed = reason == GoodbyeReason::Crossed && link.phase != Phase::Closing;
        let (host, leaves) = (link.host, link.is_admitted());
        let unwanted = matches!(reason, GoodbyeReason::NotAllowed | GoodbyeReason::Revoked)
            || reason == GoodbyeReason::Misbehaved && !leaves;
        if leaves {
            link.phase = Phase::Closing;
            let words = format!("the other side says goodbye: {}", reason.words());
            out.note(Note::LinkEnded { host, admitted: true, reason: words });
            if !(crossed && self.awaits_admission(now, key)) {
                self.miss_link(now, key, false);
            }
            self.leave_link(now, key, out);
            if reason == GoodbyeReason::Closing {
                self.leaves(now, host);
                self.miss_host(now, host);
            }
        }
        if unwanted {
            self.turned_away(now, key, reason, out);
        }
        if crossed {
            // Both ends stop sending, so that both know soon that everything has come.
            out.push(Output::CloseLink { link: key, reason: GoodbyeReason::Crossed });
        }
        if crossed || leaves {
            // Who says goodbye and stays takes a place all the same.
            self.timers.set(Timer::Closing(key), now + CLOSING);
        }
    }

    /// A link to which we said goodbye has had its time.
    pub(crate) fn link_closed_softly(&mut self, key: LinkKey, out: &mut Outbox) {
        self.links.remove(key);
        out.push(Output::CloseLink { link: key, reason: GoodbyeReason::Closing });
    }

    /// Says goodbye on a link; what is on its way in both directions still arrives.
    pub(crate) fn close_softly(&mut self, now: Moment, key: LinkKey, reason: GoodbyeReason, out: &mut Outbox) {
        self.send(key, Channel::Control, &Frame::Goodbye(reason), out);
        let Some(link) = self.links.find_mut(key) else { return };
        let admitted = link.is_admitted();
        link.phase = Phase::Closing;
        let words = format!("we say goodbye: {}", reason.words());
        out.note(Note::LinkEnded { host: link.host, admitted, reason: words });
        out.push(Output::CloseLink { link: key, reason });
        self.timers.set(Timer::Closing(key), now + CLOSING);
        self.miss_link(now, key, false);
        self.leave_link(now, key, out);
    }

    /// Closes a link at once.
    pub(crate) fn drop_link(&mut self, now: Moment, key: LinkKey, reason: GoodbyeReason, out: &mut Outbox) {
        self.send(key, Channel::Control, &Frame::Goodbye(reason), out);
        out.push(Output::CloseLink { link: key, reason });
        self.link_gone(now, key, format!("we closed it: {}", reason.words()), out);
    }

    /// The other side broke the protocol.
    pub(crate) fn misbehaved(&mut self, now: Moment, key: LinkKey, fault: Fault, out: &mut Outbox) {
        let Some(link) = self.links.find(key) else { return };
        out.note(Note::Misbehaved { host: link.host, fault });
        if !matches!(link.phase, Phase::Greeting { verified: false, .. }) {
            self.count_fault(now, link.host);
        }
        self.drop_link(now, key, GoodbyeReason::Misbehaved, out);
    }

    /// Closes a link that has not taken what every host must read, so that nothing more piles up for it.
    pub(crate) fn close_stuck(&mut self, now: Moment, key: LinkKey, out: &mut Outbox) {
        if self.links.find(key).is_some_and(|link| link.phase != Phase::Closing) {
            out.push(Output::CloseLink { link: key, reason: GoodbyeReason::Misbehaved });
            self.link_gone(now, key, "it does not take what it is sent".to_owned(), out);
        }
    }

    /// The other side did not say hello in time.
    pub(crate) fn admission_missed(&mut self, now: Moment, key: LinkKey, out: &mut Outbox) {
        let Some(link) = self.links.find(key) else { return };
        out.note(Note::Misbehaved { host: link.host, fault: Fault::NoHello });
        self.drop_link(now, key, GoodbyeReason::NotAdmitted, out);
    }

    fn link_gone(&mut self, now: Moment, key: LinkKey, reason: String, out: &mut Outbox) {
        let Some(link) = self.links.find(key) else { return };
        let (host, phase) = (link.host, link.phase);
        self.timers.cancel(Timer::Admission(key));
        self.timers.cancel(Timer::Closing(key));
        if phase != Phase::Closing {
            out.note(Note::LinkEnded { host, admitted: phase == Phase::Admitted, reason });
        }
        if phase == Phase::Admitted {
            self.miss_link(now, key, true);
        }
        // Out of the table first, so that nothing is sent on it any more.
        self.links.remove(key);
        if phase == Phase::Admitted {
            // Nothing goes over any other one: strangers who come and go cost no walk over all origins and sessions.
            self.leave_link(now, key, out);
        } else if phase != Phase::Closing && self.is_awaited(host) {
            self.awaited_in_vain(now, host, out);
        }
    }

    /// A link is not to be used any more: unless another one leads to its host, there should be a new one, above all if it
    /// was `missed`: gone without a goodbye.
    fn miss_link(&mut self, now: Moment, key: LinkKey, missed: bool) {
        let Some(link) = self.links.find(key) else { return };
        let (host, address) = (link.host, link.address);
        // Until now there was something with it, however long ago the link began.
        self.reach.contacts.with_address(now, normalised(address).ip());
        self.reach.contacts.with_host(now, host);
        if self.links.admitted().any(|(other, link)| other != key && link.host == host) {
            return;
        }
        self.meetings.lost(now, host);
        self.discovery.link_lost(now, host, address, missed);
        self.timers.set_earlier(Timer::Discovery, now);
        self.look_whom_to_meet(now);
    }

    /// What went over a link must go another way: signals that wait for receipts, next hops, comparisons.
    fn leave_link(&mut self, now: Moment, key: LinkKey, out: &mut Outbox) {
        for (host, origin) in self.origins.iter_mut() {
            if origin.next_hop == Some(key) {
                origin.next_hop = None;
            }
            if origin.comparison.as_ref().is_some_and(|comparison| comparison.link == key) {
                origin.comparison = None;
                self.timers.set_earlier(Timer::Behind(host), now);
            }
        }
        self.regraft(now, out);
        self.reroute(now, key, out);
        self.neighbour_sees_no_more(now, key, out);
        self.neighbours_changed(now);
    }

    /// Origins that nobody pushes to us any more are asked for on another link.
    fn regraft(&mut self, _now: Moment, out: &mut Outbox) {
        let orphans: Vec<(HostId, (u64, u64))> = self
            .origins
            .iter()
            .filter(|(host, origin)| *host != self.own && origin.next_hop.is_none() && origin.expired.is_none())
            .map(|(host, origin)| (host, origin.mark()))
            .collect();
        for (origin, mark) in orphans {
            let near = self
                .links
                .admitted()
                .filter(|(key, link)| link.host == origin || self.links.theirs(*key, origin) > (0, 0))
                .min_by_key(|(key, link)| (link.host != origin, self.links.is_below(*key, origin), link.rtt, *key))
                .map(|(key, _)| key);
            if let Some(link) = near {
                self.graft(link, origin, mark, out);
            }
        }
    }
}
