//! One origin: how far its announcements have come, and what is kept of them.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use aldis_wire::announcement::{Head, Status};
use aldis_wire::limits::{
    ANNOUNCED_BYTES_BURST, ANNOUNCED_BYTES_PER_SECOND, ANNOUNCEMENTS_BURST, ANNOUNCEMENTS_PER_SECOND,
    HEARTBEATS_MISSED_MAX,
};
use bytes::Bytes;

use super::comparison::Comparison;
use super::delta::{Delta, Ends};
use super::heard::Heard;
use super::watch::Look;
use crate::relay::bucket::Bucket;
use crate::relay::io::{Fault, LinkKey, Mark, Moment};
use crate::relay::limits::{
    self, COMPARED, FLOODED_SEQ_MAX, FLOODS, HEAD_CHECKS, LEFT_BELIEVED, LEFT_SHOWN, LOG_BYTES, LOG_MAX, LOST_RATE,
    LOST_TOKENS, Rate, WAITING_BYTES, WAITING_MAX,
};

/// Room in a log for so many announcements more, whenever there is none.
const LOG_ADDED: usize = 4;

/// One origin.
///
/// A large network has a thousand, and of most nothing is in the processor's cache when something comes of them. So what
/// each summary and each heartbeat needs stands together, in this order.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Origin {
    /// The newest mark heard in a verified head.
    pub(crate) newest: Mark,
    /// That of `applied`.
    mark: Mark,
    /// The link over which the newest announcement came first.
    pub(crate) next_hop: Option<LinkKey>,
    /// When its newest head came.
    pub(crate) came: Moment,
    /// When the roster was hidden because the origin was not heard.
    pub(crate) expired: Option<Moment>,
    /// When the origin made its newest head, on our clock.
    pub(crate) made: Moment,
    /// The interval which that head states.
    pub(crate) interval: Duration,
    /// A neighbour says that it is gone: it must be heard until then.
    pub(crate) suspected: Option<Moment>,
    /// Refused until a higher epoch.
    pub(crate) quarantined: Option<(u64, Fault)>,
    /// The number of the look at it that comes next; 0 for none.
    pub(super) watched: Look,
    /// Whether the next summary tells of it.
    pub(super) moved: bool,
    /// How often the present gap has been asked about.
    pub(crate) asked: u32,
    /// Of announcements taken.
    pace: Bucket,
    /// Of bytes of their ops.
    volume: Bucket,
    /// Of signatures checked.
    checks: Bucket,
    /// The newest announcement that is applied; `None` while nothing of the origin could be applied yet.
    pub(crate) applied: Option<Heard>,
    /// Heads of the newest epoch after `applied`, by seq.
    pub(crate) waiting: BTreeMap<u64, Heard>,
    /// The announcement that went over all links: one of each epoch.
    flooded: Mark,
    /// It said goodbye in this epoch: it is shown until then.
    left: Option<(u64, Moment)>,
    /// The newest announcements applied, oldest first, all of one epoch and without gaps; but of heartbeats that follow
    /// each other the last alone: whoever is at one before it has the same roster.
    pub(crate) log: VecDeque<Heard>,
    pub(super) log_bytes: usize,
    /// The seq after which the log holds everything.
    log_from: u64,
    /// What was before the log, as far as that is known: up to `log_from`.
    before: Option<Box<Delta>>,
    /// Under way when the log of a neighbour does not reach back far enough.
    pub(crate) comparison: Option<Box<Comparison>>,
    /// What it last said of itself.
    pub(crate) status: Status,
    /// When we first heard of it.
    pub(crate) since: Moment,
    /// Of bytes that comparisons brought.
    compared: Bucket,
    /// Of hosts that it says are gone.
    tells: Bucket,
    /// Of epochs in which an announcement of it went over all links.
    floods: Bucket,
}

const _: () = assert!(size_of::<Origin>() <= 336);

impl Origin {
    pub(super) fn new(now: Moment) -> Self {
        Self {
            applied: None,
            mark: (0, 0),
            newest: (0, 0),
            watched: 0,
            moved: false,
            since: now,
            came: now,
            made: now,
            interval: limits::HEARTBEAT,
            waiting: BTreeMap::new(),
            log: VecDeque::new(),
            log_bytes: 0,
            log_from: 0,
            before: None,
            next_hop: None,
            quarantined: None,
            comparison: None,
            asked: 0,
            expired: None,
            suspected: None,
            left: None,
            status: Status::default(),
            pace: Bucket::default(),
            volume: Bucket::default(),
            compared: Bucket::default(),
            checks: Bucket::default(),
            tells: Bucket::default(),
            flooded: (0, 0),
            floods: Bucket::default(),
        }
    }

    /// The mark up to which the roster is applied.
    #[must_use]
    pub(crate) fn mark(&self) -> Mark {
        self.mark
    }

    /// The newest announcement that is kept, applied or not.
    #[must_use]
    pub(crate) fn newest_heard(&self) -> Option<&Heard> {
        self.waiting.values().next_back().or(self.applied.as_ref())
    }

    /// Whether something is known to exist that is not applied.
    #[must_use]
    pub(crate) fn is_behind(&self) -> bool {
        self.newest > self.mark()
    }

    /// When it will have been silent for too long.
    #[must_use]
    pub(crate) fn expires(&self) -> Moment {
        let silent = self.made + self.interval * HEARTBEATS_MISSED_MAX;
        let left = self.left.filter(|(epoch, _)| *epoch == self.newest.0).map(|(_, until)| until);
        [self.suspected, left].into_iter().flatten().fold(silent, Moment::min)
    }

    /// It was not heard for too long.
    pub(crate) fn expire(&mut self, now: Moment) {
        self.expired = Some(now);
        self.suspected = None;
        self.next_hop = None;
        // Whatever comes of it next sees to its next expiry.
        self.watched = 0;
    }

    /// Notes that the origin has said that it ends: what it has said until then and comes late does not keep it alive.
    pub(crate) fn says_goodbye(&mut self, now: Moment) {
        self.left = Some((self.newest.0, now + LEFT_SHOWN));
    }

    /// Whether the origin may say now that another host is gone. Takes note of it.
    pub(crate) fn may_tell_lost(&mut self, now: Moment) -> bool {
        self.tells.take(now, LOST_RATE, LOST_TOKENS).is_ok()
    }

    /// The mark up to which everything is old, when nothing but that is remembered. Of one that lied, that is the whole of
    /// the epoch in which it did. What was too much for us may not be so later.
    #[must_use]
    pub(crate) fn last_mark(&self) -> Mark {
        match self.quarantined {
            Some((epoch, fault)) if fault != Fault::OverQuota && self.newest.0 <= epoch => (epoch, u64::MAX),
            _ => self.newest,
        }
    }

    /// Whether its newest epoch is refused.
    #[must_use]
    pub(crate) fn is_refused(&self) -> bool {
        self.quarantined.is_some_and(|(epoch, _)| self.newest.0 <= epoch)
    }

    /// Whether a verified head with this mark was heard before, with its ops if `whole`.
    #[must_use]
    pub(crate) fn has_heard(&self, mark: Mark, whole: bool) -> bool {
        if mark <= self.mark() || mark.0 < self.newest.0 {
            return true;
        }
        mark.0 == self.newest.0 && self.waiting.get(&mark.1).is_some_and(|heard| heard.is_whole() || !whole)
    }

    /// Whether the announcement with this mark is the one that is missing before newer ones. It is applied at once, so that
    /// it is missing once alone, whatever does not fit into what waits.
    #[must_use]
    pub(crate) fn is_missing(&self, mark: Mark) -> bool {
        let (epoch, seq) = self.mark();
        mark < self.newest && mark.0 == epoch && seq.checked_add(1) == Some(mark.1)
    }

    /// Notes a verified head: a sign of life, if it is newer than all before. True if it is.
    pub(crate) fn hear(&mut self, now: Moment, head: &Head, made: Moment) -> bool {
        let newer = head.mark() > self.newest;
        if newer {
            if head.epoch > self.newest.0 {
                self.waiting.clear();
            }
            // A host on the way may say that a head is older than it is, to make a live origin look dead. Of an origin
            // that is known here, a newer head is believed to be at most one interval old: one of the next two may then be
            // withheld. Also of one that has expired, or it would expire again with each head that such a host is the
            // first to bring.
            let known = self.newest != (0, 0);
            let oldest = now.before(head.interval());
            self.made = if known { made.max(oldest) } else { made };
            self.newest = head.mark();
            self.came = now;
            self.suspected = None;
            // Who has something new to say so long after a goodbye has not ended: of two hosts with one key one goes on.
            self.left = self.left.filter(|(_, until)| now < *until + LEFT_BELIEVED);
            self.interval = head.interval();
        }
        newer
    }

    /// Notes that the newest head came once more, and was `made` then by another host's account: who brought it first may
    /// have said that it was older than it is. No account makes it later than it came first, as that one could have.
    pub(crate) fn hear_again(&mut self, mark: Mark, made: Moment) {
        if mark == self.newest {
            self.made = self.made.max(made.min(self.came));
        }
    }

    /// Whether this announcement is to go over all links, since no tree leads from here yet. Takes note of it.
    pub(crate) fn floods(&mut self, now: Moment, head: &Head) -> bool {
        if self.flooded.0 == head.epoch || head.seq > FLOODED_SEQ_MAX || self.floods.take(now, FLOODS, 1).is_err() {
            return false;
        }
        self.flooded = head.mark();
        true
    }

    /// Whether this is the announcement that went over all links: also over those that do not push the origin.
    #[must_use]
    pub(crate) fn is_flooded(&self, mark: Mark) -> bool {
        self.flooded == mark
    }

    /// Whether another signature of the origin may be checked now. Takes note of it.
    pub(crate) fn may_check(&mut self, now: Moment) -> bool {
        self.checks.take(now, HEAD_CHECKS, 1).is_ok()
    }

    /// Whether more announcements of the origin arrive than it may make, or larger ones. Takes note of this one.
    pub(crate) fn is_flooding(&mut self, now: Moment, ops: Option<&Bytes>) -> bool {
        let rate = Rate { per_second: ANNOUNCEMENTS_PER_SECOND, burst: ANNOUNCEMENTS_BURST };
        let bytes = Rate { per_second: ANNOUNCED_BYTES_PER_SECOND, burst: ANNOUNCED_BYTES_BURST };
        let length = ops.map_or(0, |ops| u32::try_from(ops.len()).unwrap_or(u32::MAX));
        self.pace.take(now, rate, 1).is_err() || self.volume.take(now, bytes, length).is_err()
    }

    /// Takes note of what a comparison brought that is over. What a neighbour made up does not count: others would be
    /// kept from comparing for it.
    pub(crate) fn compared(&mut self, now: Moment, bytes: usize) {
        self.compared.charge(now, COMPARED, bytes);
    }

    /// How long the next comparison has to wait.
    #[must_use]
    pub(crate) fn compares_after(&mut self, now: Moment) -> Option<Duration> {
        self.compared.take(now, COMPARED, 0).err()
    }

    /// Keeps a head until what comes before it is applied. The highest ones are dropped when there are too many.
    pub(crate) fn wait(&mut self, heard: Heard) {
        if heard.head.epoch == self.newest.0 {
            self.waiting.insert(heard.head.seq, heard);
        }
        let ops = |heard: &Heard| heard.ops.as_ref().map_or(0, Bytes::len);
        let mut bytes: usize = self.waiting.values().map(ops).sum();
        while self.waiting.len() > WAITING_MAX || bytes > WAITING_BYTES {
            let Some((_, highest)) = self.waiting.pop_last() else { break };
            bytes -= ops(&highest);
        }
    }

    /// Whether an announcement can be applied at once: it is the next one, and none waits.
    #[must_use]
    pub(crate) fn is_next(&self, heard: &Heard) -> bool {
        let (epoch, seq) = self.mark();
        let Head { epoch: theirs, seq: next, .. } = heard.head;
        let before = if theirs == epoch { seq } else { 0 };
        self.waiting.is_empty() && theirs == self.newest.0 && before.checked_add(1) == Some(next) && heard.is_whole()
    }

    /// Whether it is a heartbeat after which the roster is what it was after the last announcement, as the origin says
    /// itself. The digest was compared then.
    #[must_use]
    pub(crate) fn says_the_same(&self, heard: &Heard) -> bool {
        let head = &heard.head;
        let as_before = |last: &Head| last.epoch == head.epoch && last.digest == head.digest;
        head.is_heartbeat() && self.applied.as_ref().is_some_and(|last| as_before(&last.head))
    }

    /// Takes the waiting announcement that can be applied next.
    pub(crate) fn next_waiting(&mut self) -> Option<Heard> {
        let (epoch, seq) = self.mark();
        // Nothing can follow the last seq that there is.
        let next = if epoch == self.newest.0 { seq.checked_add(1)? } else { 1 };
        if self.waiting.first_key_value()?.0 == &next {
            return if self.waiting.get(&next).is_some_and(Heard::is_whole) {
                self.waiting.remove(&next)
            } else {
                None
            };
        }
        self.waiting = self.waiting.split_off(&next);
        if self.waiting.get(&next).is_some_and(Heard::is_whole) { self.waiting.remove(&next) } else { None }
    }

    /// The waiting announcements that follow `mark` without a gap and are whole.
    #[must_use]
    pub(crate) fn waiting_after(&self, mark: Mark) -> Vec<&Heard> {
        if mark.0 != self.newest.0 {
            return Vec::new();
        }
        let next = mark.1.saturating_add(1);
        let follows =
            |(at, (seq, heard)): &(u64, (&u64, &Heard))| Some(**seq) == next.checked_add(*at) && heard.is_whole();
        (0..).zip(self.waiting.range(next..)).take_while(follows).map(|(_, (_, heard))| heard).collect()
    }

    /// Notes that an announcement is applied, and keeps it for neighbours.
    pub(crate) fn applied(&mut self, heard: Heard) {
        let beats = |heard: Option<&Heard>| heard.is_some_and(|heard| heard.head.is_heartbeat());
        if self.precedes(&heard) && beats(Some(&heard)) && beats(self.log.back()) {
            // A million of these would wait in a large network, for neighbours that need none of them.
            self.log_bytes -= self.log.pop_back().as_ref().map_or(0, size);
            self.keep(heard);
        } else {
            self.issued(heard);
        }
    }

    /// The same for an announcement of our own: all are kept, to know those of another host with our key.
    pub(crate) fn issued(&mut self, heard: Heard) {
        if !self.precedes(&heard) {
            self.clear_log(heard.head.seq.saturating_sub(1));
        }
        self.keep(heard);
    }

    /// Whether the newest announcement that is applied is the one before this.
    fn precedes(&self, heard: &Heard) -> bool {
        self.applied.as_ref().is_some_and(|last| {
            last.head.epoch == heard.head.epoch && last.head.seq.checked_add(1) == Some(heard.head.seq)
        })
    }

    fn keep(&mut self, heard: Heard) {
        while self.log.len() >= LOG_MAX || self.log_bytes + size(&heard) > LOG_BYTES {
            let Some(oldest) = self.log.pop_front() else { break };
            self.log_bytes -= size(&oldest);
            self.log_from = oldest.head.seq;
            self.before = None;
        }
        if heard.is_whole() {
            self.log_bytes += size(&heard);
            if self.log.len() == self.log.capacity() {
                // By a few, not by its double: there is such a log for each origin.
                self.log.reserve_exact(LOG_ADDED);
            }
            self.log.push_back(heard.clone());
        }
        self.apply(heard);
    }

    fn apply(&mut self, heard: Heard) {
        self.mark = heard.head.mark();
        self.applied = Some(heard);
        self.asked = 0;
    }

    fn clear_log(&mut self, from: u64) {
        self.log.clear();
        (self.log_bytes, self.log_from, self.before) = (0, from, None);
    }

    /// Notes that the roster as a whole is that of `heard`, whose ops were not applied one by one.
    pub(crate) fn adopted(&mut self, heard: Heard) {
        self.clear_log(heard.head.seq);
        self.apply(heard);
    }

    /// The announcements after `mark`, if they are all kept.
    #[must_use]
    pub(crate) fn after(&self, mark: Mark) -> Option<Vec<&Heard>> {
        let own = self.mark();
        let from = self.after_seq(mark);
        if own == mark || from > own.1 {
            return Some(Vec::new());
        }
        let has_all = self.log_from <= from && !self.log.is_empty();
        has_all.then(|| self.log.iter().filter(|heard| heard.head.seq > from).collect())
    }

    /// The seq of our epoch after which somebody at `mark` misses everything.
    fn after_seq(&self, mark: Mark) -> u64 {
        if mark.0 == self.mark().0 { mark.1 } else { 0 }
    }

    /// What stands for everything after `mark`; `None` if not all of it is known, or it is too much.
    #[must_use]
    pub(crate) fn delta_after(&self, mark: Mark) -> Option<Delta> {
        let since = self.after_seq(mark);
        if since >= self.mark().1 {
            return None;
        }
        let before = match &self.before {
            _ if self.log_from <= since => None,
            Some(before) if before.since <= since => Some(&before.ops),
            _ => return None,
        };
        let after = self.log.iter().filter(|heard| heard.head.seq > since).filter_map(|heard| heard.ops.as_ref());
        let mut ends = Ends::default();
        let all_read = before.into_iter().chain(after).all(|ops| ends.add(ops));
        let ops = all_read.then(|| ends.encoded()).flatten()?;
        Some(Delta { since, ops })
    }

    /// Bytes that are read for a delta, at most.
    #[must_use]
    pub(crate) fn history_bytes(&self) -> usize {
        self.log_bytes + self.before.as_ref().map_or(0, |before| before.ops.len())
    }

    /// Notes that `delta` has led from where we were to `heard`, and keeps it for neighbours, with what is known of before.
    pub(crate) fn took_delta(&mut self, heard: Heard, delta: Delta) {
        let (epoch, seq) = self.mark();
        let oldest = self.before.as_ref().map_or(self.log_from, |before| before.since);
        let known = (epoch == heard.head.epoch).then(|| self.delta_after((epoch, oldest))).flatten();
        let kept = match known {
            // What we know of before is kept, not what the other side says of it: that it leads on from here is all we saw.
            Some(known) => {
                let mut ends = Ends::default();
                let joined = ends.add(&known.ops) && ends.add(&delta.ops);
                let joined = joined.then(|| ends.encoded()).flatten();
                joined.map_or(Delta { since: seq, ops: delta.ops }, |ops| Delta { since: known.since, ops })
            }
            None => delta,
        };
        self.adopted(heard);
        self.before = Some(Box::new(kept));
    }
}

fn size(heard: &Heard) -> usize {
    aldis_wire::limits::HEAD_BYTES + heard.ops.as_ref().map_or(0, Bytes::len)
}
