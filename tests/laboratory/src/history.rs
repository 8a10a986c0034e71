//! What happened in one run, as the edges saw it, and what it must have been: no I/O, no clock.
//!
//! Signals: each must have one receipt in time, and `delivered` must be true. Presence: what the observers saw of each
//! membership is compared with when it was one, as the checker `set-full` of Jepsen does it.

use std::collections::BTreeMap;
use std::time::Duration;

use aldis_wire::edge::Status;
use aldis_wire::id::PeerId;
use aldis_wire::refusal::Refusal;

/// Since the run began.
pub type Time = Duration;
/// From one time until another.
pub type Span = (Time, Time);

/// The promise of five seconds, the slack of the client library, and one second for this busy machine.
pub const RECEIPT_MAX: Duration = Duration::from_secs(11);
/// A change is seen within 50 ms and the way. What takes longer than this, where nothing excuses it, is a ghost or a
/// missing member.
pub const CALM_MAX: Duration = Duration::from_secs(1);
/// The consequences of a fault begin within this, as far as its own cause is concerned.
const SHORTLY: Duration = Duration::from_millis(200);
/// How long after an observer is back its view may be incomplete.
const SIGHT_AFTER: Duration = Duration::from_secs(1);

/// What became of a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As the receipt says.
    Receipt(Status, Option<Refusal>),
    /// The client ended and told nothing.
    None,
}

/// One signal.
#[derive(Clone, Debug)]
pub struct Signal {
    /// Edges, by number.
    pub from: usize,
    pub to: usize,
    /// Their homes when it was sent.
    pub homes: [usize; 2],
    pub sent: Time,
    pub ended: Option<(Time, Outcome)>,
    pub received: Option<Time>,
    pub copies: u32,
}

impl Signal {
    pub fn is_delivered(&self) -> bool {
        matches!(self.ended, Some((_, Outcome::Receipt(Status::Delivered, _))))
    }

    /// Until the receipt.
    pub fn took(&self) -> Option<Duration> {
        self.ended.map(|(at, _)| at.saturating_sub(self.sent))
    }

    /// `delivered` and never there, or no receipt in time.
    pub fn is_lost(&self) -> bool {
        match self.ended {
            Some((_, Outcome::Receipt(..))) => {
                self.took() > Some(RECEIPT_MAX) || (self.is_delivered() && self.copies == 0)
            }
            Some((_, Outcome::None)) | None => true,
        }
    }
}

/// A peer in a topic.
pub type Member = (String, PeerId);

/// What an observer saw.
#[derive(Clone, Debug)]
enum Sight {
    Came(Member),
    Went(Member),
    /// It is connected; `true`: as a new session, so that everything is told anew.
    Back(bool),
    /// Its socket broke.
    Blind,
}

/// Everything of one run.
#[derive(Debug, Default)]
pub struct History {
    pub signals: Vec<Signal>,
    /// Arrivals that were no signal of this run, or at another edge than the one it was for.
    pub strays: usize,
    /// Signals that came after a later one of their sender.
    pub overtaken: usize,
    newest: BTreeMap<(usize, usize), usize>,
    truth: BTreeMap<Member, Vec<(Time, Option<Time>)>>,
    sights: BTreeMap<usize, Vec<(Time, Sight)>>,
    /// Sockets that broke or were drained: edge, when, and when the edge was back.
    pub outages: Vec<(usize, Time, Option<Time>)>,
    /// Edges that gave up, and why. There should be none.
    pub closed: Vec<String>,
    /// When the views may differ from the truth, because of the fault.
    pub excused: Vec<Span>,
}

/// A member that an observer showed and should not have, or the other way round.
#[derive(Clone, Debug)]
pub struct Difference {
    pub observer: usize,
    pub member: Member,
    pub ghost: bool,
    pub span: Span,
}

impl History {
    /// Gives the signal its number, which it must carry.
    pub fn sent(&mut self, now: Time, [from, to]: [usize; 2], homes: [usize; 2]) -> usize {
        self.signals.push(Signal { from, to, homes, sent: now, ended: None, received: None, copies: 0 });
        self.signals.len() - 1
    }

    pub fn ended(&mut self, now: Time, number: usize, outcome: Outcome) {
        if let Some(signal) = self.signals.get_mut(number) {
            signal.ended = Some((now, outcome));
        }
    }

    pub fn received(&mut self, now: Time, at: usize, number: usize) {
        let Some(signal) = self.signals.get_mut(number).filter(|signal| signal.to == at) else {
            self.strays += 1;
            return;
        };
        signal.copies += 1;
        signal.received.get_or_insert(now);
        let newest = self.newest.entry((signal.from, at)).or_default();
        if signal.copies == 1 && number < *newest {
            self.overtaken += 1;
        }
        *newest = number.max(*newest);
    }

    pub fn joined(&mut self, now: Time, member: Member) {
        self.truth.entry(member).or_default().push((now, None));
    }

    /// Ends the membership, if it is one.
    pub fn left(&mut self, now: Time, member: &Member) {
        if let Some((_, until @ None)) = self.truth.get_mut(member).and_then(|spans| spans.last_mut()) {
            *until = Some(now);
        }
    }

    pub fn saw(&mut self, now: Time, observer: usize, member: Member, present: bool) {
        self.sight(now, observer, if present { Sight::Came(member) } else { Sight::Went(member) });
    }

    pub fn observer_back(&mut self, now: Time, observer: usize, renewed: bool) {
        self.sight(now, observer, Sight::Back(renewed));
    }

    pub fn observer_blind(&mut self, now: Time, observer: usize) {
        self.sight(now, observer, Sight::Blind);
    }

    fn sight(&mut self, now: Time, observer: usize, sight: Sight) {
        self.sights.entry(observer).or_default().push((now, sight));
    }

    pub fn broke(&mut self, now: Time, edge: usize) {
        self.outages.push((edge, now, None));
    }

    /// The edge is back; since when it was away.
    pub fn mended(&mut self, now: Time, edge: usize) -> Option<Time> {
        let (_, since, until) =
            self.outages.iter_mut().rev().find(|(other, _, until)| *other == edge && until.is_none())?;
        *until = Some(now);
        Some(*since)
    }

    /// Signals that were sent in this time.
    pub fn between(&self, from: Time, until: Time) -> impl Iterator<Item = &Signal> {
        self.signals.iter().filter(move |signal| signal.sent >= from && signal.sent < until)
    }

    /// All differences between what connected observers saw and what was, until `now`.
    pub fn differences(&self, now: Time) -> Vec<Difference> {
        let mut found = Vec::new();
        for (observer, sights) in &self.sights {
            let (connected, mut views) = replay(sights, now);
            for (member, spans) in &self.truth {
                let truth: Vec<_> = spans.iter().map(|(from, until)| (*from, until.unwrap_or(now))).collect();
                let view = views.remove(member).unwrap_or_default();
                let ghosts = meet(&subtract(&view, &truth), &connected);
                let missing = meet(&subtract(&truth, &view), &connected);
                let kinds = ghosts.into_iter().map(|span| (true, span));
                found.extend(
                    kinds.chain(missing.into_iter().map(|span| (false, span))).map(|(ghost, span)| Difference {
                        observer: *observer,
                        member: member.clone(),
                        ghost,
                        span,
                    }),
                );
            }
        }
        found
    }

    /// Whether every observer shows what is.
    pub fn agrees(&self, now: Time) -> bool {
        self.differences(now).iter().all(|difference| difference.span.1 < now)
    }

    /// Differences that lasted too long, even when the excused times are left out.
    pub fn unexcused(&self, now: Time) -> Vec<Difference> {
        let too_long = |difference: &Difference| {
            subtract(&[difference.span], &self.excused).iter().any(|(from, until)| *until - *from > CALM_MAX)
        };
        self.differences(now).into_iter().filter(too_long).collect()
    }

    /// How long after `since` the last of those differences ended that were there shortly after it, what is on its way in
    /// calm times left out: at least `SHORTLY`. `None`: some are still there.
    pub fn agreed_after(&self, since: Time, now: Time) -> Option<Duration> {
        let spans: Vec<_> = self.differences(now).into_iter().map(|difference| difference.span).collect();
        let there = |(from, until): &&Span| *from < since + SHORTLY && *until > since && *until - *from > SHORTLY;
        let last = spans.iter().filter(there).map(|(_, until)| *until).max().unwrap_or(since + SHORTLY);
        (last < now).then(|| last.saturating_sub(since))
    }
}

/// When an observer was connected, and when it showed whom.
fn replay(sights: &[(Time, Sight)], now: Time) -> (Vec<Span>, BTreeMap<Member, Vec<Span>>) {
    let mut connected = Vec::new();
    let mut views: BTreeMap<Member, Vec<Span>> = BTreeMap::new();
    let mut shown: BTreeMap<Member, Time> = BTreeMap::new();
    let mut since = Some(Time::ZERO);
    for (at, sight) in sights {
        match sight {
            Sight::Came(member) => _ = shown.entry(member.clone()).or_insert(*at),
            Sight::Went(member) => {
                if let Some(from) = shown.remove(member) {
                    views.entry(member.clone()).or_default().push((from, *at));
                }
            }
            Sight::Blind => connected.extend(since.take().map(|from| (from, *at))),
            Sight::Back(renewed) => {
                since = Some(*at + SIGHT_AFTER);
                if *renewed {
                    for (member, from) in std::mem::take(&mut shown) {
                        views.entry(member).or_default().push((from, *at));
                    }
                }
            }
        }
    }
    connected.extend(since.map(|from| (from, now)));
    for (member, from) in shown {
        views.entry(member).or_default().push((from, now));
    }
    (connected, views)
}

/// What of `spans` is in none of `others`.
fn subtract(spans: &[Span], others: &[Span]) -> Vec<Span> {
    let mut left = spans.to_vec();
    for (begin, end) in others {
        left = left
            .into_iter()
            .flat_map(|(from, until)| [(from, until.min(*begin)), (from.max(*end), until)])
            .filter(|(from, until)| from < until)
            .collect();
    }
    left
}

/// What of `spans` is in one of `others`.
fn meet(spans: &[Span], others: &[Span]) -> Vec<Span> {
    let pairs = spans.iter().flat_map(|span| others.iter().map(move |other| (span, other)));
    pairs.map(|(a, b)| (a.0.max(b.0), a.1.min(b.1))).filter(|(from, until)| from < until).collect()
}

/// The value below which the share `quantile` of them lies; `None` without values.
pub fn quantile(mut values: Vec<Duration>, quantile: f64) -> Option<Duration> {
    values.sort_unstable();
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
    #[allow(clippy::allow_attributes_without_reason)]
    let at = (values.len() as f64 * quantile) as usize;
    values.get(at.min(values.len().saturating_sub(1))).copied()
}

#[cfg(test)]
mod tests;
