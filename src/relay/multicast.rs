//! What is known of each origin's announcements: how far its roster is applied, what waits for what is missing, and
//! what is kept for neighbours that are a little behind. The trees themselves are the links' `eager` sets.

mod delta;
mod origin;
#[cfg(test)]
mod tests;
mod watch;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use aldis_wire::announcement::{Announced, Head, SignedHead};
use aldis_wire::codec::CodecError;
use aldis_wire::digest::Hash;
use aldis_wire::host::{Announcement, Frame, Range};
use aldis_wire::id::HostId;
use aldis_wire::proof::Trust;
use bytes::Bytes;

use super::by_host::InOrder;
use super::hashing::Seed;
pub(crate) use super::io::Mark;
use super::io::{LinkKey, Moment};
use super::limits::{EXPIRED_KEPT, MARKS_KEPT, MARKS_MAX, ORIGINS_MAX};
use super::roster::Roster;
pub(crate) use delta::{Delta, Ends};
pub(crate) use origin::Origin;
use watch::Looks;
pub(crate) use watch::Watch;

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

/// All origins, our own included, and the marks of those that are forgotten.
#[derive(Debug)]
pub(crate) struct Origins {
    all: InOrder<Origin>,
    looks: Looks,
    marks: HashMap<HostId, (Mark, Moment)>,
    by_age: VecDeque<(Moment, HostId)>,
}

impl Origins {
    /// No origin is known.
    #[must_use]
    pub(crate) fn new(seed: Seed) -> Self {
        Self { all: InOrder::new(seed), looks: Looks::default(), marks: HashMap::new(), by_age: VecDeque::new() }
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
