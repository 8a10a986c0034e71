//! What a neighbour has missed, asked for and told (PROTOCOL.md §6.5): the announcements themselves if they are few,
//! otherwise a delta that stands for them.

use std::collections::BTreeSet;
use std::time::Duration;

use aldis_wire::announcement::{Head, Op, decode_ops, ops_hash};
use aldis_wire::host::{Channel, Delta as DeltaFrame, Frame};
use aldis_wire::id::HostId;
use aldis_wire::limits::{HEAD_BYTES, OPS_BYTES};
use bytes::Bytes;

use crate::relay::io::{CatchUp, Fault, LinkKey, Moment, Note, Outbox, Output};
use crate::relay::limits::{ANSWERS, DELTA_MIN, HAVE_INTERVAL, LOST_UNREFUTED};
use crate::relay::multicast::{Delta, Heard, Mark, Origin};
use crate::relay::planted::Defect;
use crate::relay::roster::Roster;
use crate::relay::state::State;
use crate::relay::timers::Timer;

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
        if has_room
            && missing.as_ref().is_none_or(|missing| missing.len() >= DELTA_MIN && !tell_losses(now, missing))
            && let Some((frame, read_bytes)) = delta_frame(now, known, mark)
            && let Some(link) = self.links.find_mut(key)
        {
            link.sending(Channel::Announce, frame.len());
            // As if all had been sent that it stands for: it was read all the same.
            link.answers.charge(now, ANSWERS, read_bytes.max(frame.len()) / 1_024);
            out.push(Output::Send { link: key, channel: Channel::Announce, frame });
            return self.links.has(key, origin, known.mark());
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
        let made = now.before(Duration::from_millis(u64::from(came.age_ms)));
        let heard = Heard::new(self.network.trust, head, came.head, None, made);
        if self.head_heard(now, link, &heard.head, made).is_none() {
            return;
        }
        self.links.has(link, origin, mark);
        if self.is_quarantined(origin, mark) {
            return;
        }
        match self.take_delta(now, &heard, Delta { since: came.since, ops: came.ops }, out) {
            Ok(()) => self.delta_done(now, origin, mark, out),
            Err(_) => self.delta_failed(now, heard),
        }
        self.apply_waiting(now, origin, out);
        self.bound_rosters(now, origin, out);
    }

    /// Makes of our copy of a roster what a delta makes of it, if that is what the head states.
    fn take_delta(&mut self, now: Moment, heard: &Heard, delta: Delta, out: &mut Outbox) -> Result<(), Fault> {
        let ops = decode_ops(&delta.ops).map_err(|_| Fault::BadFrame)?;
        // Rosters to which the same was done are alike, and a head may be reached by several ways.
        let head = Head { ops_hash: ops_hash(&delta.ops), ..heard.head.clone() };
        let host = head.origin;
        let expected = (!self.planted.has(Defect::SkipDeltaDigest)).then_some(head.digest);
        let known = self.origins.find(host).ok_or(Fault::OutOfOrder)?;
        let (ours, alive) = (known.mark(), known.expires() > now);
        let (ops, shown) = if ours.0 == head.epoch && delta.since <= ours.1 {
            let ops = still_to_do(self.directory.roster(host).ok_or(Fault::OutOfOrder)?, ops);
            let shown = self.directory.advance(&head, &ops, expected)?;
            (ops, shown)
        } else if ours.0 < head.epoch && delta.since == 0 {
            let ops = still_to_do(&Roster::new(host, self.network.trust), ops);
            let shown = self.directory.begin(&head, &ops, expected, alive)?;
            out.note(Note::HostAppeared { host, epoch: head.epoch });
            (ops, shown)
        } else {
            return Err(Fault::OutOfOrder);
        };
        if let Some(origin) = self.origins.find_mut(host) {
            origin.took(heard.clone(), delta);
        }
        self.roster_changed(now, host, &ops, shown, out);
        Ok(())
    }

    fn delta_done(&mut self, now: Moment, origin: HostId, (_, seq): Mark, out: &mut Outbox) {
        self.pass_over(now, origin, seq);
        if self.asking.remove(&origin).is_some() {
            out.note(Note::CaughtUp { host: origin, by: CatchUp::Delta });
        }
        self.unsummed.insert(origin);
        self.timers.set_earlier(Timer::Summaries, now + HAVE_INTERVAL);
    }

    /// A delta does not lead to what its head states. The head is the origin's, the delta is whoever's was on the way: the
    /// origin is not to blame. Nor is the link, which may have heard another word of an origin with two tongues. Another
    /// neighbour is asked, and digests are compared.
    fn delta_failed(&mut self, now: Moment, heard: Heard) {
        let host = heard.head.origin;
        if let Some(known) = self.origins.find_mut(host) {
            known.wait(heard);
        }
        let asked = self.asking.entry(host).or_default();
        *asked = (*asked).max(1);
        self.ask_later(now, host);
    }
}

/// Whether these say of a host, a moment ago, that it is gone: it must hear of that, and no digest covers it.
fn tell_losses(now: Moment, announcements: &[&Heard]) -> bool {
    let recent = announcements.iter().rev().take_while(|heard| now.since(heard.made) < 3 * LOST_UNREFUTED);
    let ops = recent.filter_map(|heard| decode_ops(heard.ops.as_ref()?).ok());
    ops.flatten().any(|op| matches!(op, Op::Lost { .. }))
}

/// What stands for all announcements after `mark`, and the bytes that were read for it.
fn delta_frame(now: Moment, known: &Origin, mark: Mark) -> Option<(Bytes, usize)> {
    let newest = known.applied.as_ref()?;
    let (Delta { since, ops }, read_bytes) = known.delta_after(mark)?;
    let age_ms = u32::try_from(now.since(newest.made).as_millis()).unwrap_or(u32::MAX);
    let frame = Frame::Delta(DeltaFrame { age_ms, head: newest.signed.clone(), since, ops });
    Some((frame.encode().ok()?, read_bytes))
}

/// Those of a delta's ops that change something: it may name what is done here already, or never came to be.
fn still_to_do(roster: &Roster, ops: Vec<Op>) -> Vec<Op> {
    let mut gone = BTreeSet::new();
    let mut is_done = |op: &Op| match op {
        Op::Gone { peer, .. } => {
            gone.insert(*peer);
            roster.find(*peer).is_none()
        }
        Op::Present { peer, proof } => {
            let known = roster.find(*peer).and_then(|slot| roster.proof_at(slot));
            !gone.contains(peer) && known.is_some_and(|known| known.is(proof))
        }
        Op::Join { topic, peer, meta } => !gone.contains(peer) && roster.meta(*topic, *peer) == Some(meta),
        Op::Leave { topic, peer } => roster.meta(*topic, *peer).is_none(),
        Op::Record(signed) => roster.record().is_some_and(|known| known.signed == *signed),
        Op::Status(_) | Op::Lost { .. } => true,
    };
    ops.into_iter().filter(|op| !is_done(op)).collect()
}
