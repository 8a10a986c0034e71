//! What a neighbour has missed, asked for and told (PROTOCOL.md §6.5): the announcements themselves if they are few,
//! otherwise a delta that stands for them.

use std::time::Duration;

use aldis_wire::announcement::{Head, Op, decode_ops, ops_hash};
use aldis_wire::host::{Announcement, Channel, Delta as DeltaFrame, Frame};
use aldis_wire::id::HostId;
use aldis_wire::limits::{HEAD_BYTES, OPS_BYTES};
use bytes::Bytes;

use crate::relay::io::{CatchUp, Fault, LinkKey, Moment, Note, Outbox, Output};
use crate::relay::limits::{ANSWERS, DELTA_MIN, LOST_UNREFUTED};
use crate::relay::multicast::{Delta, Ends, Heard, Mark, Origin};
use crate::relay::planted::Defect;
use crate::relay::roster::Roster;
use crate::relay::state::State;

/// A frame with a delta of full size. Where there is no room for it none is made.
const DELTA_FRAME_BYTES: usize = OPS_BYTES + HEAD_BYTES + 128;

impl State {
    /// A neighbour wants an origin's announcements on this link, beginning after `mark`.
    pub(crate) fn graft_came(&mut self, now: Moment, key: LinkKey, origin: HostId, mark: Mark, out: &mut Outbox) {
        let Some(link) = self.links.find_mut(key) else { return };
        if link.answers.take(now, ANSWERS, 1).is_err() {
            return out.note(Note::QuestionDropped { host: link.host });
        }
        let Some(known) = self.origins.find(origin).filter(|_| self.directory.is_shown(origin)) else { return };
        self.links.push(key, origin, true);
        self.links.has_only(key, origin, mark);
        let missing = known.after(mark);
        let has_room = self.links.find(key).is_some_and(|link| link.has_room(Channel::Announce, DELTA_FRAME_BYTES));
        let is_worth = missing.as_ref().is_none_or(|missing| missing.len() >= DELTA_MIN) && !tells_losses(now, known);
        if let Some(link) = self.links.find_mut(key).filter(|_| has_room && is_worth) {
            // As if all had been sent that it is to stand for: it is read all the same, and also if no delta comes of it.
            link.answers.charge(now, ANSWERS, known.history_bytes() / 1_024);
            if let Some(frame) = delta_frame(now, known, mark) {
                link.sending(Channel::Announce, frame.len());
                out.push(Output::Send { link: key, channel: Channel::Announce, frame });
                return self.links.has(key, origin, known.mark());
            }
        }
        let (missing, whole) = match missing {
            Some(missing) => (missing, true),
            // Too far behind for the log: the newest head alone tells how far, and digests do the rest.
            None => (known.applied.iter().collect(), false),
        };
        let mut told = None;
        for heard in missing {
            let (Ok(frame), Some(link)) = (heard.frame(now, whole), self.links.find_mut(key)) else { break };
            let channel = if whole { Channel::Announce } else { Channel::Control };
            if !link.has_room(channel, frame.len()) {
                // How much is missing is told all the same, so that it is asked for again.
                let newest = known.applied.as_ref().filter(|_| whole);
                let bare = newest.and_then(|newest| newest.frame(now, false).ok());
                if let Some(frame) = bare.filter(|frame| link.has_room(Channel::Control, frame.len())) {
                    link.sending(Channel::Control, frame.len());
                    out.push(Output::Send { link: key, channel: Channel::Control, frame });
                }
                break;
            }
            link.sending(channel, frame.len());
            link.answers.charge(now, ANSWERS, frame.len() / 1_024);
            told = whole.then(|| heard.head.mark()).or(told);
            out.push(Output::Send { link: key, channel, frame });
        }
        if let Some(mark) = told {
            self.links.has(key, origin, mark);
        }
    }

    /// A neighbour tells all at once what was missed here.
    pub(crate) fn delta_came(&mut self, now: Moment, link: LinkKey, came: DeltaFrame, out: &mut Outbox) {
        let Ok(head) = came.head.peek() else { return self.misbehaved(now, link, Fault::BadFrame, out) };
        let (origin, mark) = (head.origin, head.mark());
        // One for each question: who makes them up makes us look at one.
        if !self.links.is_answer(link, origin) || origin == self.own {
            return;
        }
        if self.barred.why(origin).is_some() {
            return self.barred_came(now, link, origin, true, out);
        }
        let ours = match self.origins.find(origin) {
            Some(known) => known.mark().max((known.newest.0, 0)),
            None => self.origins.mark_of_forgotten(origin),
        };
        if mark <= ours {
            return self.links.has(link, origin, mark);
        }
        if !self.is_genuine(now, link, &head, &came.head, out) {
            return;
        }
        let mut ends = Ends::default();
        if !ends.add(&came.ops) {
            return self.misbehaved(now, link, Fault::BadFrame, out);
        }
        let made = now.before(Duration::from_millis(u64::from(came.age_ms)));
        let heard = Heard::new(self.network.trust, head, came.head, None, made);
        if self.head_heard(now, link, &heard.head, made).is_none() {
            return;
        }
        self.links.has(link, origin, mark);
        if self.is_quarantined(origin, mark) {
            return;
        }
        let Some(known) = self.origins.find_mut(origin) else { return };
        let (ours, bytes) = (known.mark(), came.ops.len());
        let leads_on = if ours.0 == mark.0 { came.since <= ours.1 } else { came.since == 0 };
        if !leads_on || known.compares_after(now).is_some() {
            // It begins where we are not yet, or more would come than may: the head alone counts.
            known.wait(heard);
            return self.apply_waiting(now, origin, out);
        }
        match self.take_delta(now, &heard, ends, Delta { since: came.since, ops: came.ops }, out) {
            Ok(()) => {
                if let Some(known) = self.origins.find_mut(origin) {
                    known.compared(now, bytes);
                }
                self.delta_done(now, origin, mark, out);
                self.apply_waiting(now, origin, out);
            }
            Err(_) => {
                self.links.has_only(link, origin, ours);
                self.delta_failed(now, heard, out);
            }
        }
        self.bound_rosters(now, origin, out);
    }

    /// Makes of our copy of a roster what a delta makes of it, if that is what the head states.
    fn take_delta(
        &mut self,
        now: Moment,
        heard: &Heard,
        ends: Ends,
        delta: Delta,
        out: &mut Outbox,
    ) -> Result<(), Fault> {
        // Rosters to which the same was done are alike, and a head may be reached by several ways.
        let head = Head { ops_hash: ops_hash(&delta.ops), ..heard.head.clone() };
        let delta = Delta { ops: self.network.trust.share(head.ops_hash, delta.ops), ..delta };
        let host = head.origin;
        let expected = (!self.planted.has(Defect::SkipDeltaDigest)).then_some(head.digest);
        let known = self.origins.find(host).ok_or(Fault::OutOfOrder)?;
        let (ops, shown) = if known.mark().0 == head.epoch {
            let ops = ends.from(self.directory.roster(host).ok_or(Fault::OutOfOrder)?);
            let shown = self.directory.advance(&head, &ops, expected)?;
            (ops, shown)
        } else {
            let ops = ends.from(&Roster::new(host, self.network.trust));
            let shown = self.directory.begin(&head, &ops, expected, known.expires() > now)?;
            out.note(Note::HostAppeared { host, epoch: head.epoch });
            (ops, shown)
        };
        if let Some(origin) = self.origins.find_mut(host) {
            origin.took_delta(heard.clone(), delta);
        }
        self.roster_changed(now, host, &ops, shown, out);
        Ok(())
    }

    fn delta_done(&mut self, now: Moment, origin: HostId, (_, seq): Mark, out: &mut Outbox) {
        self.pass_over(now, origin, seq);
        if self.asking.remove(&origin).is_some() {
            out.note(Note::CaughtUp { host: origin, by: CatchUp::Delta });
        }
        self.moved(now, origin);
    }

    /// Whether this is the announcement of which the head alone is here, since the roster came to it at one stroke.
    pub(super) fn is_first_copy(&self, head: &Head, came: &Announcement) -> bool {
        let applied = self.origins.find(head.origin).and_then(|known| known.applied.as_ref());
        let same = applied.is_some_and(|heard| !heard.is_whole() && heard.signed == came.head);
        same && !self.is_quarantined(head.origin, head.mark())
            && came.ops.as_ref().is_some_and(|ops| ops_hash(ops) == head.ops_hash)
    }

    /// It changes nothing here, but whoever is below has only us to tell him.
    pub(super) fn copy_came(&mut self, now: Moment, link: LinkKey, head: Head, came: Announcement, out: &mut Outbox) {
        out.note(Note::AnnouncementReceived { new: true });
        let made = now.before(Duration::from_millis(u64::from(came.age_ms)));
        let heard = Heard::new(self.network.trust, head, came.head, came.ops, made);
        let (origin, mark) = (heard.head.origin, heard.head.mark());
        self.links.has(link, origin, mark);
        if let Some(known) = self.origins.find_mut(origin) {
            known.hear_again(mark, made);
            known.applied = Some(heard.clone());
        }
        self.pass_on(now, &heard, Some(link), out);
    }

    /// A delta does not lead to what its head states. The head is the origin's, the delta is whoever's was on the way: the
    /// origin is not to blame. Nor is the link, which may have heard another word of an origin with two tongues; but it
    /// is not asked again until it tells of something newer. Digests are compared.
    fn delta_failed(&mut self, now: Moment, heard: Heard, out: &mut Outbox) {
        let host = heard.head.origin;
        if let Some(known) = self.origins.find_mut(host) {
            known.wait(heard);
        }
        self.apply_waiting(now, host, out);
        if self.origins.find(host).is_some_and(Origin::is_behind) {
            let asked = self.asking.entry(host).or_default();
            asked.times = asked.times.max(1);
            self.ask_later(now, host);
        }
    }
}

/// Whether an origin has said of a host, a moment ago, that it is gone: neighbours must hear of that, and no digest covers
/// it.
fn tells_losses(now: Moment, known: &Origin) -> bool {
    let recent = known.log.iter().rev().take_while(|heard| now.since(heard.made) < 3 * LOST_UNREFUTED);
    let ops = recent.filter_map(|heard| decode_ops(heard.ops.as_ref()?).ok());
    ops.flatten().any(|op| matches!(op, Op::Lost { .. }))
}

/// What stands for all announcements after `mark`.
fn delta_frame(now: Moment, known: &Origin, mark: Mark) -> Option<Bytes> {
    let newest = known.applied.as_ref()?;
    let Delta { since, ops } = known.delta_after(mark)?;
    let age_ms = u32::try_from(now.since(newest.made).as_millis()).unwrap_or(u32::MAX);
    Frame::Delta(DeltaFrame { age_ms, head: newest.signed.clone(), since, ops }).encode().ok()
}
