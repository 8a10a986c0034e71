//! Announcements of others (PROTOCOL.md §6): dropped, kept waiting, applied, passed on.

use std::time::Duration;

use aldis_wire::announcement::{GoneReason, Head, Op, SignedHead, decode_ops, ops_hash};
use aldis_wire::host::{Announcement, Channel, Frame};
use aldis_wire::id::HostId;
use aldis_wire::proof::Proof;
use aldis_wire::refusal::Refusal;

use crate::relay::directory::Shown;
use crate::relay::io::{CatchUp, Fault, Hint, HintSource, LinkKey, Moment, Note, Outbox, Output, StopReason};
use crate::relay::limits::{GRAFT_AFTER, KEY_IN_USE_WINDOW, LEAD};
use crate::relay::multicast::{Heard, Mark, Origin};
use crate::relay::planted::Defect;
use crate::relay::state::State;
use crate::relay::timers::Timer;

impl State {
    /// An announcement arrived.
    pub(crate) fn announcement_came(&mut self, now: Moment, link: LinkKey, came: Announcement, out: &mut Outbox) {
        let Ok(head) = came.head.peek() else { return self.misbehaved(now, link, Fault::BadFrame, out) };
        if head.origin == self.own {
            return self.own_head_came(now, link, &came, &head, out);
        }
        if self.barred.why(head.origin).is_some() {
            return self.barred_came(now, link, head.origin, true, out);
        }
        let whole = came.ops.is_some() || head.is_heartbeat();
        // Together with what is looked for next: the processor fetches both at a time.
        let row = self.links.row(head.origin);
        if self.is_first_copy(&head, &came) {
            return self.copy_came(now, link, head, came, out);
        }
        if self.is_old(&head, whole) {
            return self.duplicate_came(now, link, &head, came.age_ms, out);
        }
        if !self.is_genuine(now, link, &head, &came.head, out) {
            return;
        }
        if came.ops.as_ref().is_some_and(|ops| ops_hash(ops) != head.ops_hash) {
            return self.misbehaved(now, link, Fault::BadFrame, out);
        }
        let made = now.before(Duration::from_millis(u64::from(came.age_ms)));
        let heard = Heard::new(self.network.trust, head, came.head, came.ops, made);
        let Some(newer) = self.head_heard(now, link, &heard.head, made) else { return };
        out.note(Note::AnnouncementReceived { new: true });
        let (origin, mark) = (heard.head.origin, heard.head.mark());
        if whole {
            self.links.has_at(link, origin, row, mark);
        }
        if self.is_quarantined(origin, mark) {
            return;
        }
        let rtt = self.links.find(link).map_or(Duration::ZERO, |link| link.rtt);
        if self.origins.find_mut(origin).is_some_and(|known| known.is_flooding(now, heard.ops.as_ref())) {
            // Told less, not punished: it may be somebody on the way who held them back, or plays an old one before the
            // newest. Comparing digests brings what is left out.
            return self.timers.set_earlier(Timer::Behind(origin), now + GRAFT_AFTER.max(2 * rtt));
        }
        let floods = (newer || whole) && self.pass_on(now, &heard, Some(link), out);
        self.take_in(now, heard, out);
        if floods && self.links.find(link).is_some_and(|link| link.host != origin) {
            // It was sent to many, and whom it came from first is asked for what follows. The origin's own link is anyway.
            let mark = self.origins.find(origin).map_or((0, 0), Origin::mark);
            self.graft(link, origin, mark, out);
        }
    }

    /// Whether a head is signed by its origin. Not looked at if the origin has no place here, or has too many.
    pub(crate) fn is_genuine(
        &mut self,
        now: Moment,
        link: LinkKey,
        head: &Head,
        signed: &SignedHead,
        out: &mut Outbox,
    ) -> bool {
        if self.origins.find_mut(head.origin).is_some_and(|known| !known.may_check(now)) {
            // Its next head shows that something is missing.
            return false;
        }
        if self.origins.find(head.origin).is_none() && !self.may_introduce(now, link, head.origin) {
            return false;
        }
        let genuine = signed.is_signed(head, self.network.trust) || self.planted.has(Defect::SkipSignature);
        if !genuine {
            self.misbehaved(now, link, Fault::BadSignature, out);
        }
        genuine
    }

    /// Applies an announcement, or keeps it waiting.
    fn take_in(&mut self, now: Moment, heard: Heard, out: &mut Outbox) {
        let host = heard.head.origin;
        let Some(known) = self.origins.find_mut(host) else { return };
        if !known.is_next(&heard) {
            known.wait(heard);
        } else if let Err(fault) = self.apply_one(now, host, heard, out) {
            return self.quarantine(now, host, fault, out);
        }
        self.apply_waiting(now, host, out);
    }

    fn is_old(&self, head: &Head, whole: bool) -> bool {
        match self.origins.find(head.origin) {
            Some(origin) => origin.has_heard(head.mark(), whole),
            None if self.planted.has(Defect::AcceptReplay) => false,
            None => head.mark() <= self.origins.mark_of_forgotten(head.origin),
        }
    }

    pub(crate) fn is_quarantined(&self, origin: HostId, mark: Mark) -> bool {
        let quarantined = self.origins.find(origin).and_then(|origin| origin.quarantined);
        quarantined.is_some_and(|(epoch, _)| mark.0 <= epoch)
    }

    /// An announcement that we have: unless it came the way we want it, that way is closed for this origin.
    fn duplicate_came(&mut self, now: Moment, link: LinkKey, head: &Head, age_ms: u32, out: &mut Outbox) {
        out.note(Note::AnnouncementReceived { new: false });
        let mark = head.mark();
        if let Some(known) = self.origins.find_mut(head.origin) {
            known.hear_again(mark, now.before(Duration::from_millis(u64::from(age_ms))));
        }
        let Some(known) = self.origins.find(head.origin) else { return };
        // While no way is the wanted one, none is closed: the next announcement decides which it is.
        // What is sent to many once says nothing of who goes on sending.
        let once = known.is_flooded(mark);
        let elsewhere =
            known.next_hop.filter(|hop| *hop != link && !once && !known.is_behind() && known.newest == mark);
        let direct = elsewhere.and_then(|hop| self.links.find(hop)).is_some_and(|hop| hop.host == head.origin);
        let keeps = direct || now.since(known.came) > LEAD;
        let Some(found) = self.links.find(link) else { return };
        let (by_itself, admitted) = (found.host == head.origin, found.is_admitted());
        self.links.has(link, head.origin, mark);
        if let Some(hop) = elsewhere {
            let pruned = |key| self.links.is_closed(key, head.origin);
            // The origin's own link breaks with the origin alone: it is worth a little time.
            let takes_over = by_itself && admitted && !keeps || pruned(hop);
            if takes_over && pruned(link) {
                // Both were closed, each while the other led.
                return self.graft(hop, head.origin, mark, out);
            }
            self.prune(if takes_over { hop } else { link }, head.origin, out);
            if let Some(known) = self.origins.find_mut(head.origin).filter(|_| takes_over) {
                known.next_hop = Some(link);
            }
        }
        if by_itself {
            self.show_its_newest(now, link, (mark.0, u64::MAX), out);
        }
    }

    /// Asks a neighbour to push an origin's announcements on this link, beginning after `mark`.
    pub(crate) fn graft(&mut self, key: LinkKey, origin: HostId, mark: Mark, out: &mut Outbox) {
        self.links.close(key, origin, false);
        self.send(key, Channel::Control, &Frame::Graft(origin, mark.0, mark.1), out);
    }

    /// Asks a neighbour to push an origin's announcements on this link no longer.
    pub(crate) fn prune(&mut self, key: LinkKey, origin: HostId, out: &mut Outbox) {
        self.links.close(key, origin, true);
        self.send(key, Channel::Control, &Frame::Prune(origin), out);
    }

    /// The link's host is shown the newest head that it signed, if that is above `mark`. One that has forgotten an epoch,
    /// or has begun the same one twice within a second, takes a higher one then; without it, all that it says would be
    /// taken for old. To any other it is an echo.
    pub(crate) fn show_its_newest(&mut self, now: Moment, link: LinkKey, mark: Mark, out: &mut Outbox) {
        let origin = self.links.find(link).and_then(|link| self.origins.find(link.host));
        let newer = origin.and_then(Origin::newest_heard).filter(|heard| heard.head.mark() > mark);
        if let Some(frame) = newer.and_then(|newer| newer.frame(now, false).ok()) {
            self.send_encoded(link, Channel::Control, frame, out);
        }
    }

    /// Notes a verified head; whether it is newer than all before. `None` when there is no room for its origin.
    pub(crate) fn head_heard(&mut self, now: Moment, link: LinkKey, head: &Head, made: Moment) -> Option<bool> {
        let admitted = self.links.find(link)?.is_admitted();
        let origin = self.origins.find_or_insert(now, head.origin)?;
        let before = origin.made;
        let newer = origin.hear(now, head, made);
        if self.planted.has(Defect::TrustInterval) {
            origin.interval = Duration::from_millis(u64::from(head.interval_ms));
        }
        if self.planted.has(Defect::TrustAge) {
            origin.made = made;
        }
        if self.planted.has(Defect::DeafToHeartbeats) && head.is_heartbeat() {
            origin.made = before;
        }
        if newer {
            // A link to which somebody said goodbye still brings news, but nothing goes back over it.
            origin.next_hop = admitted.then_some(link).or(origin.next_hop);
            self.watch(now, head.origin);
        }
        Some(newer)
    }

    /// Our own id comes back. Under our epoch that is an echo; under a higher one it is a former life of ours that
    /// forgot its epoch, or another host with our key.
    fn own_head_came(&mut self, now: Moment, link: LinkKey, came: &Announcement, head: &Head, out: &mut Outbox) {
        if self.is_ours(came, head) || !came.head.is_signed(head, self.network.trust) {
            return self.links.has(link, head.origin, head.mark());
        }
        if self.doubled.is_some_and(|before| now.since(before) < KEY_IN_USE_WINDOW) {
            out.push(Output::Stop { reason: StopReason::KeyInUse });
            return;
        }
        self.doubled = Some(now);
        out.note(Note::KeySeen { epoch: head.epoch });
        self.raise_epoch(now, head.epoch, out);
    }

    /// Whether a head that bears our id may be one that we have issued, in this life or a former one. Of another with the
    /// same mark it is known for certain, as long as we have our own.
    fn is_ours(&self, came: &Announcement, head: &Head) -> bool {
        let ours = (self.announcer.epoch, self.announcer.seq);
        let log = self.origins.find(self.own).map(|origin| &origin.log);
        let another = |issued: &Heard| issued.head.mark() == head.mark() && issued.signed != came.head;
        head.mark() <= ours && !log.is_some_and(|log| log.iter().any(another))
    }

    /// Applies what can be applied, and asks for what is missing if something still waits.
    pub(crate) fn apply_waiting(&mut self, now: Moment, host: HostId, out: &mut Outbox) {
        let mut adopted = false;
        loop {
            while let Some(heard) = self.origins.find_mut(host).and_then(|origin| origin.next_waiting()) {
                if let Err(fault) = self.apply_one(now, host, heard, out) {
                    return self.quarantine(now, host, fault, out);
                }
            }
            if !self.adopt_if_equal(now, host, out) {
                break;
            }
            adopted = true;
        }
        let Some(origin) = self.origins.find_mut(host) else { return };
        if origin.is_behind() {
            let rtt = origin.next_hop.and_then(|link| self.links.find(link)).map_or(Duration::ZERO, |link| link.rtt);
            self.timers.set_earlier(Timer::Behind(host), now + GRAFT_AFTER.max(2 * rtt));
        } else {
            origin.comparison = None;
            if self.asking.remove(&host).is_some() && !adopted {
                out.note(Note::CaughtUp { host, by: CatchUp::Graft });
            }
            self.timers.cancel(Timer::Behind(host));
            self.show_again(now, host, out);
        }
    }

    fn apply_one(&mut self, now: Moment, host: HostId, heard: Heard, out: &mut Outbox) -> Result<(), Fault> {
        if let Some(origin) = self.origins.find_mut(host).filter(|origin| origin.says_the_same(&heard)) {
            origin.applied(heard);
            return Ok(());
        }
        let ops = match &heard.ops {
            Some(ops) => decode_ops(ops).map_err(|_| Fault::BadFrame)?,
            None => Vec::new(),
        };
        let known_epoch = self.origins.find(host).map_or(0, |origin| origin.mark().0);
        let expected = (!self.planted.has(Defect::SkipDigest)).then_some(heard.head.digest);
        let shown = if heard.head.epoch > known_epoch {
            let alive = self.origins.find(host).is_some_and(|origin| origin.expires() > now);
            let shown = self.directory.begin(&heard.head, &ops, expected, alive)?;
            out.note(Note::HostAppeared { host, epoch: heard.head.epoch });
            shown
        } else {
            self.directory.advance(&heard.head, &ops, expected)?
        };
        if let Some(origin) = self.origins.find_mut(host) {
            let status = ops.iter().rev().find_map(|op| if let Op::Status(status) = op { Some(*status) } else { None });
            origin.status = status.unwrap_or(origin.status);
            origin.applied(heard);
        }
        self.roster_changed(now, host, &ops, shown, out);
        if !ops.is_empty() {
            self.bound_rosters(now, host, out);
        }
        Ok(())
    }

    /// After a host's roster changed: followers are told, sessions that moved away are ended, new addresses are noted.
    pub(crate) fn roster_changed(
        &mut self,
        now: Moment,
        host: HostId,
        ops: &[Op],
        shown: Vec<Shown>,
        out: &mut Outbox,
    ) {
        self.tell_followers(now, shown, out);
        for op in ops {
            match op {
                Op::Present { peer, proof: Proof::Keyed { .. } } if self.directory.home(*peer) == Some(host) => {
                    if let Some(session) = self.sessions.by_peer(*peer) {
                        self.end_session(now, session, GoneReason::Moved, Some(Refusal::Replaced), out);
                    }
                }
                Op::Record(record) => self.record_changed(now, record.host()),
                Op::Lost { host: lost, epoch, seq } => self.lost_told(now, host, *lost, (*epoch, *seq)),
                _ => {}
            }
        }
    }

    /// A host says where it may be dialled.
    pub(crate) fn record_changed(&mut self, now: Moment, host: HostId) {
        self.shared.remove(&host);
        let Some(recorded) = self.directory.record(host) else { return };
        let hint = |address: &std::net::SocketAddr| Hint { address: *address, host: Some(host) };
        let hints = recorded.record.addresses.iter().map(hint).collect();
        self.discovery.hints_found(now, HintSource::Record, hints);
        self.look_whom_to_meet(now);
        if let Some(at) = self.discovery.next_timeout() {
            self.timers.set_earlier(Timer::Discovery, at.max(now));
        }
    }

    /// A waiting head whose digest is that of the roster we hold makes all between unnecessary: an expired host comes
    /// back, or takes a new epoch with the same roster. True if there was one.
    fn adopt_if_equal(&mut self, now: Moment, host: HostId, out: &mut Outbox) -> bool {
        let Some(origin) = self.origins.find_mut(host).filter(|origin| origin.is_behind()) else { return false };
        let last = origin.applied.as_ref().map(|heard| heard.head.digest);
        if !origin.waiting.values().any(|heard| Some(heard.head.digest) == last) {
            return false;
        }
        let Some(roster) = self.directory.roster_mut(host) else { return false };
        if roster.record().is_none() {
            return false;
        }
        let digest = roster.digest();
        let mut waiting = origin.waiting.iter().rev();
        let Some((seq, heard)) = waiting.find(|(_, heard)| heard.head.digest == digest) else { return false };
        let (seq, heard) = (*seq, heard.clone());
        origin.adopted(heard);
        if !origin.is_behind() {
            out.note(Note::CaughtUp { host, by: CatchUp::Digest });
        }
        self.pass_over(now, host, seq);
        true
    }

    /// What waits is part of the roster already, up to `seq`. What no digest covers was said all the same: a host that is
    /// said to be gone must hear of it.
    pub(crate) fn pass_over(&mut self, now: Moment, host: HostId, seq: u64) {
        let Some(origin) = self.origins.find_mut(host) else { return };
        let ops = origin.waiting.range(..=seq).filter_map(|(_, heard)| decode_ops(heard.ops.as_ref()?).ok());
        let said: Vec<Op> = ops.flatten().filter(|op| matches!(op, Op::Lost { .. })).collect();
        origin.waiting = seq.checked_add(1).map(|next| origin.waiting.split_off(&next)).unwrap_or_default();
        for op in said {
            if let Op::Lost { host: lost, epoch, seq } = op {
                self.lost_told(now, host, lost, (epoch, seq));
            }
        }
    }

    /// An origin that lies is hidden and refused until its next epoch.
    pub(crate) fn quarantine(&mut self, now: Moment, host: HostId, fault: Fault, out: &mut Outbox) {
        if let Some(origin) = self.origins.find_mut(host) {
            let epoch = origin.newest.0;
            origin.quarantined = Some((epoch, fault));
            origin.waiting.clear();
            origin.comparison = None;
            self.barred.quarantine(now, host, epoch, fault);
        }
        self.asking.remove(&host);
        self.timers.cancel(Timer::Behind(host));
        out.note(Note::HostQuarantined { host, fault });
        let shown = self.directory.remove(host);
        self.tell_followers(now, shown, out);
    }

    /// A neighbour does not want an origin's announcements on this link.
    pub(crate) fn prune_came(&mut self, key: LinkKey, origin: HostId) {
        self.links.push(key, origin, false);
    }
}
