//! Closing gaps (PROTOCOL.md §6.5): first by asking a neighbour for what is missing, then by comparing digests.

use std::collections::BTreeMap;
use std::time::Duration;

use aldis_wire::announcement::{Op, decode_ops};
use aldis_wire::host::{Channel, Frame, Part, Query, Range, Reply, entries};
use aldis_wire::id::HostId;
use aldis_wire::limits::{FRAME_BYTES, QUERY_RANGES_MAX};
use bytes::Bytes;

use crate::relay::io::{CatchUp, Fault, LinkKey, Moment, Note, Outbox};
use crate::relay::limits::{
    ANSWERS, COMPARISONS_PER_LINK_MAX, GRAFT_AFTER, LINKS_MAX, LOG_MAX, QUERIES_WAITING_MAX, SYNC_BARREN_MAX, SYNC_MAX,
    SYNC_PASSES_MAX, SYNC_ROUNDS_MAX, SYNC_TIMEOUT, UNSEEN_MAX,
};
use crate::relay::multicast::{Comparison, Heard, Mark, Origin};
use crate::relay::planted::Defect;
use crate::relay::roster::Roster;
use crate::relay::state::State;
use crate::relay::timers::Timer;

/// The whole roster.
const ROOT: Range = Range { key: [0; 32], nibbles: 0 };
/// Attempts to see a signed head of what neighbours tell of; as many as there are likely to be neighbours near by.
const UNSEEN_ASKED_MAX: u32 = 8;
/// A comparison that waits for a link begins when another one ends, or after this if those ended in another way.
const POSTPONED_AT_MOST: Duration = Duration::from_secs(1);
/// A link that knows more of an origin, how much, and its round trip.
type Candidate = (LinkKey, Mark, Duration);
/// A comparison that must wait because too much was compared is thought of again after this: the gap may have closed.
const COMPARED_AT_MOST: Duration = Duration::from_secs(10);
/// Longest pause between two attempts to close a gap.
const ASK_AGAIN_MAX: Duration = Duration::from_secs(2);

impl State {
    /// A gap has lasted long enough: ask a neighbour that knows more.
    pub(crate) fn catch_up(&mut self, now: Moment, origin: HostId, out: &mut Outbox) {
        self.postponed.remove(&origin);
        let ours = self.origins.find(origin).map_or((0, 0), |known| known.mark());
        let comparing = self.origins.find(origin).and_then(|known| known.comparison.as_deref());
        if let Some(comparison) = comparing
            && now.since(comparison.asked) < SYNC_TIMEOUT
        {
            return self.timers.set(Timer::Behind(origin), comparison.asked + SYNC_TIMEOUT);
        }
        if self.origins.find(origin).is_some_and(Origin::is_refused) {
            self.asking.remove(&origin);
            return;
        }
        if self.planted.has(Defect::ForgetGraft) {
            return;
        }
        let asked = self.asking.get(&origin).map_or(0, |asked| asked.times);
        let known = self.origins.find(origin).is_some();
        if !known && asked == 0 && self.asking.len() >= UNSEEN_MAX {
            return;
        }
        let behind = self.origins.find(origin).is_some_and(Origin::is_behind);
        if !behind && asked >= UNSEEN_ASKED_MAX {
            // Neighbours tell of a host, or of a mark, of which none can show a head: they invented it.
            self.asking.remove(&origin);
            self.links.disbelieve(origin, ours);
            return;
        }
        let candidates = self.who_knows_more(origin, ours);
        let Some((mut link, theirs, rtt)) = self.not_asked(origin, &candidates) else {
            self.asking.remove(&origin);
            return;
        };
        let near = if ours.0 == theirs.0 { theirs.1 - ours.1 } else { theirs.1 } <= LOG_MAX as u64;
        // Until a signed head tells of something new, there is nothing to compare: what a summary says is anybody's word.
        if asked == 0 && near || !known || !behind {
            self.graft(link, origin, ours, out);
        } else {
            if let Some(wait) = self.origins.find_mut(origin).and_then(|known| known.compares_after(now)) {
                return self.timers.set(Timer::Behind(origin), now + wait.min(COMPARED_AT_MOST));
            }
            let Some(free) = self.free_to_compare(origin, link, &candidates) else {
                self.postponed.insert(origin);
                return self.timers.set(Timer::Behind(origin), now + POSTPONED_AT_MOST);
            };
            link = free;
            self.compare(now, link, origin, ours, out);
        }
        let asking = self.asking.entry(origin).or_default();
        asking.times = asking.times.saturating_add(1);
        if asking.links.len() >= LINKS_MAX {
            // Links come and go.
            asking.links.clear();
        }
        asking.links.push(link);
        self.timers.set(Timer::Behind(origin), now + pause(asked, rtt));
    }

    /// The first of these links that was not asked about the present gap; there are more of them as time goes on, so a place
    /// among them says nothing. When all were asked, they are again.
    fn not_asked(&mut self, origin: HostId, candidates: &[Candidate]) -> Option<Candidate> {
        let asked = self.asking.get_mut(&origin);
        let links = asked.as_ref().map_or(&[][..], |asked| &asked.links);
        let next = candidates.iter().find(|(link, ..)| !links.contains(link)).copied();
        next.or_else(|| {
            if let Some(asked) = asked {
                asked.links.clear();
            }
            candidates.first().copied()
        })
    }

    /// The link over which to compare: the chosen one, or another that knows more, while fewer comparisons than may be
    /// are under way there.
    fn free_to_compare(&self, origin: HostId, chosen: LinkKey, others: &[Candidate]) -> Option<LinkKey> {
        let mut busy: BTreeMap<LinkKey, usize> = BTreeMap::new();
        let under_way = self.origins.iter().filter(|(other, _)| *other != origin);
        for comparison in under_way.filter_map(|(_, known)| known.comparison.as_ref()) {
            *busy.entry(comparison.link).or_default() += 1;
        }
        let links = [chosen].into_iter().chain(others.iter().map(|(link, ..)| *link));
        links.into_iter().find(|link| busy.get(link).is_none_or(|count| *count < COMPARISONS_PER_LINK_MAX))
    }

    /// A comparison is over: another one that waited for a link may begin.
    fn compare_next(&mut self, now: Moment, out: &mut Outbox) {
        for _ in 0..self.postponed.len() {
            let Some(origin) = self.postponed.pop_first() else { return };
            self.catch_up(now, origin, out);
            if self.postponed.contains(&origin)
                || self.origins.find(origin).is_some_and(|known| known.comparison.is_some())
            {
                return;
            }
        }
    }

    /// The links to ask: that to the origin itself first; then the nearest.
    fn who_knows_more(&self, origin: HostId, ours: Mark) -> Vec<Candidate> {
        let newest = self.origins.find(origin).map_or((0, 0), |known| known.newest);
        let mut candidates: Vec<_> = self
            .links
            .admitted()
            .filter_map(|(key, link)| {
                let theirs = self.links.theirs(key, origin);
                // Whoever has passed a newer head on may not have the ops; the origin itself has everything.
                let theirs = if link.host == origin { theirs.max(newest) } else { theirs };
                (theirs > ours).then_some((link.host != origin, link.rtt, key, theirs))
            })
            .collect();
        candidates.sort();
        candidates.into_iter().map(|(_, rtt, key, theirs)| (key, theirs, rtt)).collect()
    }

    fn compare(&mut self, now: Moment, link: LinkKey, origin: HostId, ours: Mark, out: &mut Outbox) {
        let Some(known) = self.origins.find_mut(origin) else { return };
        let empty = || Roster::new(origin, self.network.trust);
        let staging = self.directory.roster(origin).cloned().unwrap_or_else(empty);
        known.comparison = Some(Box::new(Comparison {
            link,
            staging,
            differing: Vec::new(),
            rounds: 0,
            barren: 0,
            bytes: 0,
            passes: 0,
            began: now,
            since: None,
            asked: now,
        }));
        // From here on this link pushes what is new, so that the gap does not grow while it is closed.
        let newest = known.newest.max(ours);
        self.graft(link, origin, newest, out);
        self.ask_next(now, origin, out);
    }

    /// Sends the next query of a comparison.
    fn ask_next(&mut self, now: Moment, origin: HostId, out: &mut Outbox) {
        let Some(comparison) = self.origins.find_mut(origin).and_then(|known| known.comparison.as_mut()) else {
            return;
        };
        if comparison.differing.is_empty() {
            comparison.differing.push((ROOT, [0; 32]));
            comparison.since = None;
            comparison.passes += 1;
        }
        comparison.asked = now;
        let link = comparison.link;
        let ranges = comparison.differing.iter().take(QUERY_RANGES_MAX).map(|(range, _)| *range).collect();
        self.send(link, Channel::Sync, &Frame::Query(Query { origin, ranges }), out);
    }

    /// A neighbour asks for parts of a roster.
    pub(crate) fn query_came(&mut self, now: Moment, link: LinkKey, query: Query, out: &mut Outbox) {
        let origin = query.origin;
        if !self.links.find(link).is_some_and(|found| found.has_room(Channel::Sync, FRAME_BYTES)) {
            // It is asked again when the other side has read what it was told.
            return;
        }
        let Some(asker) = self.links.find_mut(link) else { return };
        if asker.answers.take(now, ANSWERS, 1).is_err() {
            return out.note(Note::QuestionDropped { host: asker.host });
        }
        let newest = self.origins.find(origin).filter(|_| self.directory.is_shown(origin));
        let head = newest.and_then(|known| known.applied.as_ref()).map(|heard| {
            let age = u32::try_from(now.since(heard.made).as_millis()).unwrap_or(u32::MAX);
            (age, heard.signed.clone())
        });
        let pending = origin == self.own && !self.announcer.pending.is_empty();
        if pending {
            // Our roster is ahead of our newest head: the next batch, at most 50 ms away, brings them together. It is not
            // sent for this: whoever asks all the time would have us announce each change by itself.
            self.announcer.queries.retain(|(other, _)| *other != link);
            if self.announcer.queries.len() < QUERIES_WAITING_MAX {
                self.announcer.queries.push((link, query));
            }
            return;
        }
        let mut parts = Vec::new();
        let mut bytes = 1_024;
        if head.is_some()
            && let Some(roster) = self.directory.roster_mut(origin)
        {
            for range in query.ranges {
                let part = roster.part(&range);
                bytes += part_bytes(&part);
                if bytes > FRAME_BYTES {
                    break;
                }
                parts.push((range, part));
            }
        }
        if let Some(asker) = self.links.find_mut(link) {
            asker.answers.charge(now, ANSWERS, bytes.min(FRAME_BYTES) / 1_024);
        }
        self.send(link, Channel::Sync, &Frame::Reply(Reply { origin, head, parts }), out);
    }

    /// A neighbour answers a query of ours.
    pub(crate) fn reply_came(&mut self, now: Moment, link: LinkKey, reply: Reply, out: &mut Outbox) {
        let origin = reply.origin;
        let asked = self.origins.find(origin).and_then(|known| known.comparison.as_ref());
        let late = |comparison: &Comparison| {
            !reply.parts.is_empty() && !reply.parts.iter().any(|(range, _)| comparison.is_asked(range))
        };
        if asked.is_none_or(|comparison| comparison.link != link || late(comparison)) {
            // Also an honest neighbour's answer may come after we have given it up and begun again.
            return;
        }
        let Some((age_ms, signed)) = reply.head else { return self.stop_comparing(now, origin, out) };
        let head = match signed.peek() {
            Ok(head) if head.origin == origin && signed.is_signed(&head, self.network.trust) => head,
            _ => {
                self.stop_comparing(now, origin, out);
                return self.misbehaved(now, link, Fault::BadSignature, out);
            }
        };
        let made = now.before(Duration::from_millis(u64::from(age_ms)));
        if self.head_heard(now, link, &head, made).is_none() {
            return self.stop_comparing(now, origin, out);
        }
        let heard = Heard::new(self.network.trust, head, signed, None, made);
        match self.take_parts(now, origin, heard, reply.parts) {
            Ok(Some(equal)) => self.comparison_done(now, link, equal, out),
            Ok(None) => {
                self.bound_rosters(now, origin, out);
                self.ask_next(now, origin, out);
            }
            Err(Fault::WrongDigest) => self.stop_comparing(now, origin, out),
            Err(fault) => {
                self.stop_comparing(now, origin, out);
                self.misbehaved(now, link, fault, out);
            }
        }
    }

    /// Puts parts into the staged roster. Gives the announcement after which the origin's roster is equal to it, if it is.
    fn take_parts(
        &mut self,
        now: Moment,
        origin: HostId,
        heard: Heard,
        parts: Vec<(Range, Part)>,
    ) -> Result<Option<Heard>, Fault> {
        let known = self.origins.find_mut(origin).ok_or(Fault::OutOfOrder)?;
        let (mark, applied) = (heard.head.mark(), known.mark());
        let comparison = known.comparison.as_mut().ok_or(Fault::OutOfOrder)?;
        comparison.rounds += 1;
        comparison.barren += u32::from(!parts.iter().any(|(_, part)| matches!(part, Part::Entries(_))));
        let since = *comparison.since.get_or_insert(mark);
        if comparison.is_exhausted(now) || mark < applied || mark < since || mark.0 != since.0 {
            return Err(Fault::WrongDigest);
        }
        for (range, part) in parts {
            comparison.take_part(&range, part)?;
        }
        if comparison.differing.len() > DIFFERING_MAX {
            return Err(Fault::OverQuota);
        }
        if comparison.staging.digest() == heard.head.digest {
            return Ok(Some(heard));
        }
        let whole = comparison.differing.is_empty();
        Ok(if whole { known.bring_forward(since) } else { None })
    }

    /// The staged roster is the origin's: it takes the place of ours.
    fn comparison_done(&mut self, now: Moment, link: LinkKey, heard: Heard, out: &mut Outbox) {
        let (host, mark) = (heard.head.origin, heard.head.mark());
        let Some(known) = self.origins.find_mut(host) else { return };
        let Some(Comparison { staging: roster, bytes, .. }) = known.comparison.take().map(|done| *done) else { return };
        known.compared(now, bytes);
        if let Err(fault) = roster.settle() {
            return self.quarantine(now, host, fault, out);
        }
        if known.mark().0 != mark.0 {
            out.note(Note::HostAppeared { host, epoch: mark.0 });
        }
        known.adopted(heard);
        self.asking.remove(&host);
        out.note(Note::CaughtUp { host, by: CatchUp::Digest });
        let alive = self.origins.find(host).is_some_and(|origin| origin.expires() > now);
        let shown = self.directory.replace(host, roster, alive);
        self.roster_changed(now, host, &[], shown, out);
        self.end_moved_sessions(now, host, out);
        self.record_changed(now, host);
        self.moved(now, host);
        self.graft(link, host, mark, out);
        self.apply_waiting(now, host, out);
        self.bound_rosters(now, host, out);
        self.compare_next(now, out);
    }

    fn stop_comparing(&mut self, now: Moment, origin: HostId, out: &mut Outbox) {
        if let Some(known) = self.origins.find_mut(origin) {
            known.comparison = None;
        }
        self.ask_later(now, origin);
        self.compare_next(now, out);
    }

    /// An attempt to close a gap has failed; another one follows. Nobody can keep us asking without a pause.
    pub(crate) fn ask_later(&mut self, now: Moment, origin: HostId) {
        let asked = self.asking.get(&origin).map_or(0, |asked| asked.times.saturating_sub(1));
        self.timers.set(Timer::Behind(origin), now + pause(asked, Duration::ZERO));
    }
}

/// How long to wait after so many attempts to close a gap.
fn pause(asked: u32, rtt: Duration) -> Duration {
    GRAFT_AFTER.max(2 * rtt).saturating_mul(1 << asked.min(4)).min(ASK_AGAIN_MAX)
}

impl Comparison {
    /// Whether another neighbour is to be asked: this one leads nowhere, or takes too long.
    fn is_exhausted(&self, now: Moment) -> bool {
        self.rounds > SYNC_ROUNDS_MAX
            || self.barren > SYNC_BARREN_MAX
            || self.passes > SYNC_PASSES_MAX
            || now.since(self.began) > SYNC_MAX
    }

    /// Where a range that was asked for stands; what waits behind one query's worth was not asked for yet.
    fn place(&self, range: &Range) -> Option<usize> {
        self.differing.iter().take(QUERY_RANGES_MAX).position(|(asked, _)| asked == range)
    }

    fn is_asked(&self, range: &Range) -> bool {
        self.place(range).is_some()
    }

    fn take_part(&mut self, range: &Range, part: Part) -> Result<(), Fault> {
        let Some(at) = self.place(range) else { return Ok(()) };
        self.differing.swap_remove(at);
        match part {
            Part::Entries(bytes) => {
                self.bytes += bytes.len();
                let ops = entries(&bytes).map_err(|_| Fault::BadFrame)?;
                self.staging.replace_range(range, &ops)
            }
            Part::Below(below) => {
                if !below.iter().all(|(part, _)| part.is_part_of(range)) {
                    return Err(Fault::BadFrame);
                }
                self.staging.keep_only(range, &below);
                for (part, digest) in below {
                    if self.staging.digest_of(&part) != digest {
                        self.differing.push((part, digest));
                    }
                }
                Ok(())
            }
        }
    }
}

impl Origin {
    /// Everything that was asked for is staged, but the roster changed meanwhile: what was announced since the first
    /// reply makes up for it. Without that, an origin that changes faster than it is compared would never be known.
    fn bring_forward(&mut self, since: Mark) -> Option<Heard> {
        let waiting = self.waiting_after(since);
        let newest = waiting.last().copied()?.clone();
        let ops: Vec<Op> = waiting.iter().filter_map(|heard| decode_ops(heard.ops.as_ref()?).ok()).flatten().collect();
        let staging = &mut self.comparison.as_mut()?.staging;
        staging.bring_forward(&ops).ok()?;
        (staging.digest() == newest.head.digest).then_some(newest)
    }
}

/// Ranges of one comparison that wait to be asked for: a roster of full size, split down to its leaves.
const DIFFERING_MAX: usize = 65_536;

fn part_bytes(part: &Part) -> usize {
    match part {
        Part::Entries(bytes) => Bytes::len(bytes) + 64,
        Part::Below(below) => below.len() * 80 + 64,
    }
}
