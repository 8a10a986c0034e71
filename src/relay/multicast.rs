//! What is known of each origin's announcements: how far its roster is applied, what waits for what is missing, and
//! what is kept for neighbours that are a little behind. The trees themselves are the links' `eager` sets.

mod delta;
mod watch;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use aldis_wire::announcement::{Announced, Head, SignedHead, Status};
use aldis_wire::codec::CodecError;
use aldis_wire::digest::Hash;
use aldis_wire::host::{Announcement, Frame, Range};
use aldis_wire::id::HostId;
use aldis_wire::limits::{
    ANNOUNCED_BYTES_BURST, ANNOUNCED_BYTES_PER_SECOND, ANNOUNCEMENTS_BURST, ANNOUNCEMENTS_PER_SECOND,
    HEARTBEATS_MISSED_MAX,
};
use aldis_wire::proof::Trust;
use bytes::Bytes;

use super::bucket::Bucket;
use super::by_host::ByHost;
use super::hashing::Seed;
use super::io::{Fault, LinkKey, Moment};
use super::limits::{
    COMPARED, EXPIRED_KEPT, FLOODED_SEQ_MAX, FLOODS, HEAD_CHECKS, LEFT_BELIEVED, LEFT_SHOWN, LOG_BYTES, LOG_MAX,
    LOST_RATE, LOST_TOKENS, MARKS_KEPT, MARKS_MAX, ORIGINS_MAX, Rate, WAITING_BYTES, WAITING_MAX,
};
use super::roster::Roster;
pub(crate) use delta::Delta;
use delta::Ends;
pub(crate) use watch::Watch;
use watch::{Look, Looks};

/// Room in a log for so many announcements more, whenever there is none.
const LOG_ADDED: usize = 4;

/// Epoch and seq.
pub(crate) type Mark = (u64, u64);

/// An announcement whose signature was checked.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    what: Arc<Announced>,
    /// When the head was made, on our clock, as far as the hosts on the way tell.
    pub(crate) made: Moment,
}

impl std::ops::Deref for Heard {
    type Target = Announced;

    fn deref(&self) -> &Announced {
        &self.what
    }
}

impl Heard {
    /// An announcement for keeping.
    #[must_use]
    pub(crate) fn new(trust: Trust, head: Head, signed: SignedHead, ops: Option<Bytes>, made: Moment) -> Self {
        Self { what: trust.keep(Announced { head, signed, ops }), made }
    }

    /// Whether everything that the head covers is here.
    #[must_use]
    pub(crate) fn is_whole(&self) -> bool {
        self.ops.is_some() || self.head.is_heartbeat()
    }

    /// The announcement as it is sent now, with its ops if there are any and `with_ops`.
    ///
    /// # Errors
    /// Does not fail for ops within their limit.
    pub(crate) fn frame(&self, now: Moment, with_ops: bool) -> Result<Bytes, CodecError> {
        let age = now.since(self.made).as_millis();
        Frame::Announcement(Announcement {
            age_ms: u32::try_from(age).unwrap_or(u32::MAX),
            head: self.signed.clone(),
            ops: self.ops.clone().filter(|_| with_ops),
        })
        .encode()
    }
}

/// Catching up with an origin by comparing digests.
#[derive(Debug)]
pub(crate) struct Comparison {
    /// Whom we ask.
    pub(crate) link: LinkKey,
    /// Our copy on its way to equality.
    pub(crate) staging: Roster,
    /// Ranges that differ and were not asked for yet, with the digest to reach.
    pub(crate) differing: Vec<(Range, Hash)>,
    /// Replies so far.
    pub(crate) rounds: u32,
    /// Those of them that brought no entries.
    pub(crate) barren: u32,
    /// Bytes of entries that came.
    pub(crate) bytes: usize,
    /// How often the whole roster was asked about.
    pub(crate) passes: u32,
    /// When it began.
    pub(crate) began: Moment,
    /// The mark of the first reply since the whole roster was asked about: everything staged is as it was then, or later.
    pub(crate) since: Option<Mark>,
    /// When the last query went out.
    pub(crate) asked: Moment,
}

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
    /// The number of the look at it that comes next; 0 for none.
    watched: Look,
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
    /// Refused until a higher epoch.
    pub(crate) quarantined: Option<(u64, Fault)>,
    /// The announcement that went over all links: one of each epoch.
    flooded: Mark,
    /// It said goodbye in this epoch: it is shown until then.
    left: Option<(u64, Moment)>,
    /// The newest announcements applied, oldest first, all of one epoch and without gaps; but of heartbeats that follow
    /// each other the last alone: whoever is at one before it has the same roster.
    pub(crate) log: VecDeque<Heard>,
    log_bytes: usize,
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
    fn new(now: Moment) -> Self {
        Self {
            applied: None,
            mark: (0, 0),
            newest: (0, 0),
            watched: 0,
            since: now,
            came: now,
            made: now,
            interval: super::limits::HEARTBEAT,
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

    /// What stands for everything after `mark`, and the bytes that were read for it; `None` if not all of it is known, or
    /// it is too much.
    #[must_use]
    pub(crate) fn delta_after(&self, mark: Mark) -> Option<(Delta, usize)> {
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
        let (mut ends, mut bytes) = (Ends::default(), 0);
        for ops in before.into_iter().chain(after) {
            bytes += ops.len();
            if !ends.add(ops) {
                return None;
            }
        }
        Some((Delta { since, ops: ends.encoded()? }, bytes))
    }

    /// Notes that `delta` has led from where we were to `heard`, and keeps it for neighbours, with what is known of before.
    pub(crate) fn took(&mut self, heard: Heard, delta: Delta) {
        let oldest = match &self.before {
            Some(before) => before.since,
            None => self.log_from,
        };
        let same_epoch = self.mark().0 == heard.head.epoch;
        let known =
            (same_epoch && oldest < delta.since).then(|| self.delta_after((heard.head.epoch, oldest))).flatten();
        let joined = known.and_then(|(known, _)| {
            let mut ends = Ends::default();
            (ends.add(&known.ops) && ends.add(&delta.ops)).then_some(())?;
            Some(Delta { since: known.since, ops: ends.encoded()? })
        });
        self.adopted(heard);
        self.before = Some(Box::new(joined.unwrap_or(delta)));
    }
}

fn size(heard: &Heard) -> usize {
    aldis_wire::limits::HEAD_BYTES + heard.ops.as_ref().map_or(0, Bytes::len)
}

/// All origins, our own included, and the marks of those that are forgotten.
#[derive(Debug)]
pub(crate) struct Origins {
    all: ByHost<Origin>,
    looks: Looks,
    marks: HashMap<HostId, (Mark, Moment)>,
    by_age: VecDeque<(Moment, HostId)>,
}

impl Origins {
    /// No origin is known.
    #[must_use]
    pub(crate) fn new(seed: Seed) -> Self {
        Self { all: ByHost::new(seed), looks: Looks::default(), marks: HashMap::new(), by_age: VecDeque::new() }
    }

    /// Marks kept from an earlier run.
    pub(crate) fn remember(&mut self, now: Moment, marks: &[(HostId, u64, u64)]) {
        for (host, epoch, seq) in marks.iter().take(MARKS_MAX) {
            self.keep_mark(now, *host, (*epoch, *seq));
        }
    }

    /// An origin.
    #[must_use]
    pub(crate) fn find(&self, host: HostId) -> Option<&Origin> {
        self.all.find(host)
    }

    /// An origin, to be changed.
    pub(crate) fn find_mut(&mut self, host: HostId) -> Option<&mut Origin> {
        self.all.find_mut(host)
    }

    /// An origin that may be new; `None` when there is no room for a new one.
    pub(crate) fn find_or_insert(&mut self, now: Moment, host: HostId) -> Option<&mut Origin> {
        let row = match self.all.row(host) {
            Some(row) => row,
            None if self.all.len() >= ORIGINS_MAX => return None,
            None => self.all.insert(host, Origin::new(now)).0,
        };
        self.all.at_mut(row)
    }

    /// How many there are, our own included.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// All origins, in the order of their ids.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (HostId, &Origin)> {
        self.all.iter()
    }

    /// All origins, to be changed, in the order of their places.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (HostId, &mut Origin)> {
        self.all.iter_mut()
    }

    /// Sees to it that an origin's expiry is not missed. `None` if it is looked at soon enough anyway.
    pub(crate) fn watch(&mut self, now: Moment, host: HostId) -> Option<Watch> {
        let row = self.all.row(host)?;
        let origin = self.all.at_mut(row)?;
        self.looks.watch(now, row, origin.expires(), &mut origin.watched)
    }

    /// Those that are to be looked at now, and when to look again.
    pub(crate) fn watched(&mut self, now: Moment) -> (Vec<HostId>, Option<Moment>) {
        let mut hosts = Vec::new();
        while let Some((look, rows)) = self.looks.due(now) {
            for row in rows {
                // One that is looked at earlier, or another one in the row of one that is forgotten, stands elsewhere.
                if let Some(origin) = self.all.at_mut(row).filter(|origin| origin.watched == look) {
                    origin.watched = 0;
                    hosts.extend(self.all.host(row));
                }
            }
        }
        (hosts, self.looks.next())
    }

    /// Forgets an origin but for its mark.
    pub(crate) fn forget(&mut self, now: Moment, host: HostId) {
        if let Some(origin) = self.all.remove(host) {
            self.keep_mark(now, host, origin.last_mark());
        }
    }

    /// The mark up to which everything of a forgotten origin is a replay.
    #[must_use]
    pub(crate) fn mark_of_forgotten(&self, host: HostId) -> Mark {
        self.marks.get(&host).map_or((0, 0), |(mark, _)| *mark)
    }

    /// Marks of origins that are forgotten.
    #[must_use]
    pub(crate) fn marks_count(&self) -> usize {
        self.marks.len()
    }

    /// All marks, for storing; by host.
    #[must_use]
    pub(crate) fn marks(&self) -> Vec<(HostId, u64, u64)> {
        let remembered = self.by_age.iter().filter_map(|(at, host)| {
            let ((epoch, seq), kept) = self.marks.get(host)?;
            (kept == at).then_some((*host, (*epoch, *seq)))
        });
        let live = self.iter().map(|(host, origin)| (host, origin.last_mark()));
        let all: BTreeMap<HostId, Mark> = remembered.chain(live).collect();
        all.into_iter().map(|(host, (epoch, seq))| (host, epoch, seq)).collect()
    }

    /// Origins that have been expired for so long that they are to be forgotten.
    #[must_use]
    pub(crate) fn stale(&self, now: Moment) -> Vec<HostId> {
        let stale = |origin: &Origin| origin.expired.is_some_and(|at| now.since(at) >= EXPIRED_KEPT);
        self.iter().filter(|(_, origin)| stale(origin)).map(|(host, _)| host).collect()
    }

    /// Forgets marks that are too old.
    pub(crate) fn tidy(&mut self, now: Moment) {
        while let Some((at, host)) = self.by_age.front().copied() {
            if now.since(at) < MARKS_KEPT && self.by_age.len() <= MARKS_MAX {
                break;
            }
            self.by_age.pop_front();
            if self.marks.get(&host).is_some_and(|(_, kept)| *kept == at) {
                self.marks.remove(&host);
            }
        }
    }

    fn keep_mark(&mut self, now: Moment, host: HostId, mark: Mark) {
        self.marks.insert(host, (mark, now));
        self.by_age.push_back((now, host));
        self.tidy(now);
    }
}

#[cfg(test)]
mod tests {
    use aldis_wire::announcement::{GoneReason, Op, decode_ops, encode_ops, ops_hash};
    use aldis_wire::id::PeerId;
    use aldis_wire::network::NetworkTag;
    use ed25519_dalek::SigningKey;

    use super::*;

    fn heard(epoch: u64, seq: u64, ops: &'static [u8]) -> Heard {
        let key = SigningKey::from_bytes(&[1; 32]);
        let origin = HostId::new(key.verifying_key().to_bytes());
        let head = Head { origin, epoch, seq, ops_hash: ops_hash(ops), digest: [0; 32], interval_ms: 3_000 };
        let signed = SignedHead::make(&key, NetworkTag::new([0; 8]), &head).unwrap();
        let ops = (!ops.is_empty()).then_some(Bytes::from_static(ops));
        Heard::new(NetworkTag::new([0; 8]).into(), head, signed, ops, Moment::default())
    }

    fn host(number: usize) -> HostId {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&(number as u64).to_be_bytes());
        HostId::new(bytes)
    }

    fn at(seconds: u64) -> Moment {
        Moment::new(Duration::from_secs(seconds))
    }

    #[test]
    fn a_log_is_bounded_in_announcements_and_in_bytes_and_has_no_gaps() {
        let mut origin = Origin::new(Moment::default());
        for seq in 1..=2 * LOG_MAX as u64 {
            origin.applied(heard(1, seq, b"small"));
            assert!(origin.log.len() <= LOG_MAX);
        }
        assert_eq!(origin.log.len(), LOG_MAX);
        assert_eq!(origin.after((1, LOG_MAX as u64)).unwrap().len(), LOG_MAX);
        assert!(origin.after((1, 3)).is_none(), "too far behind for the log");
        for seq in 2 * LOG_MAX as u64 + 1..=3 * LOG_MAX as u64 {
            origin.applied(heard(1, seq, &[7; 30_000]));
            assert!(origin.log_bytes <= LOG_BYTES);
        }
        assert_eq!(origin.log.len(), LOG_BYTES / 30_256);
        origin.applied(heard(1, 1_000, b"after a gap"));
        assert_eq!(origin.log.len(), 1);
    }

    #[test]
    fn of_heartbeats_that_follow_each_other_the_last_is_kept_and_makes_up_for_the_others() {
        let mut origin = Origin::new(Moment::default());
        let seqs = |origin: &Origin, mark| {
            let after = origin.after(mark)?;
            Some(after.into_iter().map(|heard| heard.head.seq).collect::<Vec<_>>())
        };
        origin.applied(heard(1, 1, b"ops"));
        (2..=200).for_each(|seq| origin.applied(heard(1, seq, b"")));
        origin.applied(heard(1, 201, b"ops"));
        (202..=300).for_each(|seq| origin.applied(heard(1, seq, b"")));
        assert_eq!(origin.log.len(), 4);
        assert_eq!(seqs(&origin, (0, 0)), Some(vec![1, 200, 201, 300]), "another epoch: from the beginning");
        assert_eq!(seqs(&origin, (1, 77)), Some(vec![200, 201, 300]));
        assert_eq!(seqs(&origin, (1, 200)), Some(vec![201, 300]));
        assert_eq!(seqs(&origin, (1, 250)), Some(vec![300]));
        for seq in 301..=300 + LOG_MAX as u64 - 2 {
            origin.applied(heard(1, seq, b"ops"));
        }
        assert_eq!(
            (origin.log.len(), seqs(&origin, (1, 150))),
            (LOG_MAX, None),
            "the heartbeat that covers it is gone"
        );
        assert_eq!(seqs(&origin, (1, 200)).map(|seqs| seqs.len()), Some(LOG_MAX));
        let mut own = Origin::new(Moment::default());
        (1..=20).for_each(|seq| own.issued(heard(1, seq, b"")));
        assert_eq!(own.log.len(), 20, "all of our own");
    }

    #[test]
    fn a_delta_is_kept_for_as_long_as_the_log_goes_on_from_it() {
        let mut origin = Origin::new(Moment::default());
        let gone = |peer| {
            let gone = Op::Gone { peer: PeerId::new([peer; 32]), reason: GoneReason::Closed };
            encode_ops(&[gone]).unwrap()
        };
        let since = |origin: &Origin, seq| {
            let (delta, _) = origin.delta_after((1, seq))?;
            assert_eq!(delta.since, seq);
            Some(decode_ops(&delta.ops).unwrap().len())
        };
        (1..=3).for_each(|seq| origin.applied(heard(1, seq, b"")));
        assert_eq!((since(&origin, 1), since(&origin, 3)), (Some(0), None), "nothing has changed, nothing is missing");
        origin.took(heard(1, 9, b"bare"), Delta { since: 2, ops: gone(1) });
        assert_eq!((since(&origin, 0), since(&origin, 2), since(&origin, 8)), (Some(1), Some(1), Some(1)));
        origin.took(heard(1, 12, b"bare"), Delta { since: 9, ops: gone(2) });
        assert_eq!((since(&origin, 0), since(&origin, 9), since(&origin, 12)), (Some(2), Some(2), None), "joined");
        origin.took(heard(2, 5, b"bare"), Delta { since: 0, ops: gone(3) });
        assert_eq!(origin.delta_after((1, 12)).map(|(delta, _)| (delta.since, delta.ops)), Some((0, gone(3))));
        for seq in 6..6 + LOG_MAX as u64 {
            assert!(origin.delta_after((2, 0)).is_some());
            let ops = gone(4);
            origin.applied(Heard {
                what: Arc::new(Announced { ops: Some(ops), ..(*heard(2, seq, b"x").what).clone() }),
                ..heard(2, seq, b"x")
            });
        }
        assert!(origin.delta_after((2, 0)).is_some() && origin.delta_after((2, 5)).is_some());
        origin.applied(heard(2, 6 + LOG_MAX as u64, b""));
        assert!(origin.delta_after((2, 5)).is_none() && origin.delta_after((2, 6)).is_some(), "there is a gap");
        origin.adopted(heard(2, 90, b"bare"));
        assert!(origin.delta_after((2, 80)).is_none(), "it is known as a roster alone");
    }

    #[test]
    fn heads_that_wait_are_bounded_and_the_highest_go_first() {
        let mut origin = Origin::new(Moment::default());
        for seq in (2..200).rev() {
            let head = heard(1, seq, b"x");
            origin.hear(at(1), &head.head, at(1));
            origin.wait(head);
            assert!(origin.waiting.len() <= WAITING_MAX);
        }
        assert_eq!(origin.waiting.keys().copied().collect::<Vec<_>>(), (2..2 + WAITING_MAX as u64).collect::<Vec<_>>());
        assert!(origin.next_waiting().is_none());
    }

    #[test]
    fn ops_that_wait_are_bounded_in_bytes_too() {
        let mut origin = Origin::new(Moment::default());
        for seq in 2..60 {
            let head = heard(1, seq, &[7; 30_000]);
            origin.hear(at(1), &head.head, at(1));
            origin.wait(head);
        }
        assert_eq!(origin.waiting.len(), WAITING_BYTES / 30_000);
        assert_eq!(origin.waiting.first_key_value().map(|(seq, _)| *seq), Some(2), "those that are needed first stay");
    }

    #[test]
    fn signatures_of_one_origin_are_checked_at_a_bounded_rate() {
        let mut origin = Origin::new(Moment::default());
        assert!((0..HEAD_CHECKS.burst).all(|_| origin.may_check(at(1))));
        assert!(!origin.may_check(at(1)));
        assert!((0..HEAD_CHECKS.per_second).all(|_| origin.may_check(at(2))));
        assert!(!origin.may_check(at(2)));
    }

    #[test]
    fn the_last_seq_that_there_is_has_no_successor() {
        let mut origin = Origin::new(Moment::default());
        let last = heard(1, u64::MAX, b"");
        origin.hear(at(1), &last.head, at(1));
        origin.adopted(last.clone());
        assert!(origin.next_waiting().is_none());
        origin.applied(last.clone());
        origin.applied(last);
    }

    #[test]
    fn there_is_room_for_so_many_origins_and_no_known_one_gives_way() {
        let mut origins = Origins::new(Seed::fixed());
        for number in 0..ORIGINS_MAX {
            assert!(origins.find_or_insert(at(0), host(number)).is_some());
        }
        assert!(origins.find_or_insert(at(0), host(ORIGINS_MAX)).is_none());
        assert!(origins.find_or_insert(at(0), host(5)).is_some());
        origins.forget(at(0), host(5));
        assert!(origins.find_or_insert(at(0), host(ORIGINS_MAX)).is_some());
    }

    #[test]
    fn marks_are_kept_for_a_day_and_bounded() {
        let mut origins = Origins::new(Seed::fixed());
        let many: Vec<_> = (0..MARKS_MAX).map(|number| (host(number), 7, 7)).collect();
        origins.remember(at(0), &many);
        assert_eq!(origins.mark_of_forgotten(host(0)), (7, 7));
        origins.find_or_insert(at(10), host(MARKS_MAX)).unwrap();
        origins.forget(at(10), host(MARKS_MAX));
        assert_eq!((origins.marks_count(), origins.mark_of_forgotten(host(0))), (MARKS_MAX, (0, 0)));
        origins.tidy(Moment::new(MARKS_KEPT) + Duration::from_secs(5));
        assert_eq!(origins.marks_count(), 1);
        origins.tidy(Moment::new(MARKS_KEPT) + Duration::from_secs(10));
        assert_eq!(origins.marks_count(), 0);
    }
}
