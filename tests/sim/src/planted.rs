//! The simulator must be able to fail: machines with a planted defect are played, and each defect must be found.

use std::fmt::Write as _;

use aldis::relay::planted::{Defect, Planted};

use crate::run::run;
use crate::scenario::Scenario;

/// The scenario that finds a defect, and the seeds within which it does.
#[must_use]
pub fn scenario(defect: Defect) -> (&'static str, u64) {
    match defect {
        Defect::SkipDigest => ("digests", 3),
        Defect::SkipDeltaDigest => ("inventions", 3),
        Defect::SkipSignature | Defect::AcceptForeignSender => ("liars", 3),
        Defect::BelieveAnyReceipt => ("liars", 12),
        Defect::TrustAge | Defect::ForgetGraft => ("withheld", 2),
        Defect::AcceptReplay | Defect::NoBackOff => ("replays", 3),
        Defect::TrustInterval => ("silence", 3),
        Defect::ExceedQueue => ("slow", 2),
        Defect::BelieveAnyLoss | Defect::NeverRefute => ("losses", 2),
        Defect::RouteBack | Defect::IgnoreOrder => ("large", 2),
        Defect::LeakRoutes | Defect::LeakSessions | Defect::ForgetGone | Defect::NoTimeout => ("farewell", 3),
        Defect::BlameOthersForSleep => ("sleep", 3),
        Defect::SkipDedup
        | Defect::DropOnLostLink
        | Defect::ForgetLeave
        | Defect::KeepExpired
        | Defect::NeverRestore
        | Defect::DeafToHeartbeats
        | Defect::ForgetMissed
        | Defect::DeliveredEarly
        | Defect::KeepBothLinks
        | Defect::AnswerTwice => ("trouble", 3),
        Defect::RepeatBroadcasts => ("shouts", 3),
        Defect::PunchAtOnce | Defect::MeetHopeless => ("nats", 2),
        Defect::CountEarly => ("unheard", 3),
    }
}

/// One line of the table.
#[derive(Debug)]
pub struct Row {
    /// What was planted; nothing in the runs that must be clean.
    pub defect: Option<Defect>,
    /// What was played.
    pub scenario: &'static str,
    /// The first seed that found it; for clean runs, that found anything.
    pub found: Option<u64>,
    /// Seeds that were played at most.
    pub seeds: u64,
    /// What the first violation says.
    pub what: String,
}

impl Row {
    /// Whether a defect was found, or nothing where there is none.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.found.is_some() == self.defect.is_some()
    }
}

/// Plays a scenario with up to so many seeds until something is found.
///
/// # Errors
/// In words, when the scenario cannot be read.
pub fn hunt(defect: Option<Defect>, scenario: &'static str, seeds: u64) -> Result<Row, String> {
    for seed in 1..=seeds {
        let mut played = Scenario::load(scenario)?;
        (played.seed, played.planted) = (seed, Planted(defect));
        let world = run(played).world;
        if let Some(first) = world.checks.violations.first() {
            return Ok(Row { defect, scenario, found: Some(seed), seeds, what: first.what.clone() });
        }
    }
    Ok(Row { defect, scenario, found: None, seeds, what: String::new() })
}

/// Hunts every defect, or the one of this name, and shows that the same scenarios are clean without one.
///
/// # Errors
/// In words, when a scenario cannot be read.
pub fn hunt_all(only: Option<&str>, mut tell: impl FnMut(&Row)) -> Result<Vec<Row>, String> {
    let mut rows = Vec::new();
    let mut scenarios: Vec<(&str, u64)> = Vec::new();
    for defect in Defect::ALL.into_iter().filter(|it| only.is_none_or(|only| format!("{it:?}") == only)) {
        let (name, seeds) = scenario(defect);
        rows.push(hunt(Some(defect), name, seeds)?);
        rows.last().into_iter().for_each(&mut tell);
        match scenarios.iter_mut().find(|(known, _)| *known == name) {
            Some((_, most)) => *most = seeds.max(*most),
            None => scenarios.push((name, seeds)),
        }
    }
    for (name, seeds) in scenarios {
        rows.push(hunt(None, name, seeds)?);
        rows.last().into_iter().for_each(&mut tell);
    }
    Ok(rows)
}

/// A row for people.
#[must_use]
pub fn line(row: &Row) -> String {
    let mut text = String::new();
    let defect = row.defect.map_or("(none)".to_owned(), |defect| format!("{defect:?}"));
    let found = row.found.map_or("-".to_owned(), |seed| seed.to_string());
    let verdict = if row.is_good() { "ok    " } else { "FAILED" };
    let _ = write!(text, "{verdict} {defect:<20} {:<10} {found:>2} of {:<2} {}", row.scenario, row.seeds, row.what);
    text
}
