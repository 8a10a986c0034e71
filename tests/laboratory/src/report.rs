//! What one run came to, and the table of all of them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use aldis_wire::edge::Status;

use crate::history::{Difference, History, Outcome, Signal, Time, quantile};

/// Differences that are printed in words.
const EXAMPLES_MAX: usize = 3;

/// A measured figure and what is expected of it.
#[derive(Clone, Debug)]
pub struct Figure {
    pub name: &'static str,
    pub measured: String,
    pub expected: String,
    pub met: bool,
}

/// One run of one row.
#[derive(Debug)]
pub struct Outcomes {
    pub row: &'static str,
    pub signals: usize,
    pub delivered: usize,
    pub refused: BTreeMap<String, usize>,
    pub unknown: usize,
    pub lost: usize,
    pub duplicated: usize,
    /// Out of order, at the wrong edge, or of no run.
    pub disordered: usize,
    pub ghosts: usize,
    pub missing: usize,
    /// The first ones.
    examples: Vec<String>,
    pub figures: Vec<Figure>,
    /// What went wrong, in words. Empty: the run holds.
    pub faults: Vec<String>,
}

impl Outcomes {
    /// Reads the history of a run that ended `now`.
    pub fn new(row: &'static str, history: &History, now: Time, figures: Vec<Figure>) -> Self {
        let signals = &history.signals;
        let count = |is: &dyn Fn(&Signal) -> bool| signals.iter().filter(|signal| is(signal)).count();
        let mut refused = BTreeMap::new();
        for signal in signals {
            if let Some((_, Outcome::Receipt(Status::Refused, code))) = signal.ended {
                *refused.entry(code.map_or_else(String::new, |code| code.to_string())).or_default() += 1;
            }
        }
        let differences = history.unexcused(now);
        let ghosts = differences.iter().filter(|difference| difference.ghost).count();
        let mut outcomes = Self {
            row,
            signals: signals.len(),
            delivered: count(&Signal::is_delivered),
            refused,
            unknown: count(&|signal| matches!(signal.ended, Some((_, Outcome::Receipt(Status::Unknown, _))))),
            lost: count(&Signal::is_lost),
            duplicated: count(&|signal| signal.copies > 1),
            disordered: history.overtaken + history.strays,
            ghosts,
            missing: differences.len() - ghosts,
            examples: differences.iter().take(EXAMPLES_MAX).map(example).collect(),
            figures,
            faults: history.closed.clone(),
        };
        for (what, number) in [
            ("lost", outcomes.lost),
            ("delivered twice", outcomes.duplicated),
            ("out of order or astray", outcomes.disordered),
        ] {
            if number > 0 {
                outcomes.faults.push(format!("{number} {what}"));
            }
        }
        if outcomes.delivered == 0 {
            outcomes.faults.push("nothing was delivered".to_owned());
        }
        outcomes
    }

    /// A run without edges.
    pub fn without_load(row: &'static str, figures: Vec<Figure>) -> Self {
        let mut outcomes = Self::new(row, &History::default(), Time::ZERO, figures);
        outcomes.faults.clear();
        outcomes
    }

    /// One line of signals, one of presence, one for each figure.
    pub fn text(&self) -> String {
        let Self { signals, delivered, unknown, lost, duplicated, disordered, ghosts, missing, .. } = self;
        let refused: Vec<_> = self.refused.iter().map(|(code, number)| format!("{number} {code}")).collect();
        let refused = if refused.is_empty() { "0".to_owned() } else { refused.join(", ") };
        let mut text = format!(
            "  {signals} signals: {delivered} delivered, refused {refused}, {unknown} unknown; {lost} lost, \
             {duplicated} duplicated, {disordered} disordered; {ghosts} ghosts, {missing} missing beyond their bounds\n"
        );
        for Figure { name, measured, expected, met } in &self.figures {
            let met = if *met { "" } else { "   MISSED" };
            writeln!(text, "  {name}: {measured} (expected {expected}){met}").unwrap_or_default();
        }
        for example in &self.examples {
            writeln!(text, "  for example {example}").unwrap_or_default();
        }
        for fault in &self.faults {
            writeln!(text, "  FAILED: {fault}").unwrap_or_default();
        }
        text
    }
}

fn example(difference: &Difference) -> String {
    let Difference { observer, member: (topic, peer), ghost, span: (from, until) } = difference;
    let (what, peer) = (if *ghost { "a ghost" } else { "missing" }, peer.to_string());
    let peer = peer.get(..8).unwrap_or_default();
    format!("{what} for observer {observer}: {peer} in {topic}, from {} until {}", seconds(*from), seconds(*until))
}

/// Seconds with as many digits as matter.
pub fn seconds(time: Duration) -> String {
    if time < Duration::from_secs(1) {
        format!("{} ms", time.as_millis())
    } else {
        format!("{:.2} s", time.as_secs_f64())
    }
}

/// The 99th percentile of the time to the receipt of those that were delivered.
pub fn p99<'a>(signals: impl IntoIterator<Item = &'a Signal>) -> Option<Duration> {
    let delivered = signals.into_iter().filter(|signal| signal.is_delivered());
    quantile(delivered.filter_map(Signal::took).collect(), 0.99)
}

/// All runs: for each row the sums, and the worst of each figure.
pub fn table(all: &[Outcomes]) -> String {
    let mut text = format!(
        "{:<14} {:>4} {:>8} {:>9} {:>8} {:>8} {:>5} {:>5} {:>6} {:>7}  figures (measured in each run; expected)\n",
        "row", "runs", "signals", "delivered", "refused", "unknown", "lost", "dupl.", "ghosts", "missing"
    );
    let mut rows: Vec<&'static str> = all.iter().map(|run| run.row).collect();
    rows.dedup();
    for row in rows {
        let runs: Vec<_> = all.iter().filter(|run| run.row == row).collect();
        let sum = |of: &dyn Fn(&Outcomes) -> usize| runs.iter().map(|run| of(run)).sum::<usize>();
        let signals = sum(&|run| run.signals).max(1);
        #[allow(clippy::cast_precision_loss, reason = "some thousand signals")]
        let share = |number: usize| format!("{:.2} %", 100.0 * number as f64 / signals as f64);
        write!(
            text,
            "{row:<14} {:>4} {signals:>8} {:>9} {:>8} {:>8} {:>5} {:>5} {:>6} {:>7}",
            runs.len(),
            share(sum(&|run| run.delivered)),
            share(sum(&|run| run.refused.values().sum())),
            share(sum(&|run| run.unknown)),
            sum(&|run| run.lost),
            sum(&|run| run.duplicated),
            sum(&|run| run.ghosts),
            sum(&|run| run.missing),
        )
        .unwrap_or_default();
        for (number, figure) in runs.first().map(|run| run.figures.iter()).into_iter().flatten().enumerate() {
            let same: Vec<_> = runs.iter().filter_map(|run| run.figures.get(number)).collect();
            let measured: Vec<_> = same.iter().map(|figure| figure.measured.as_str()).collect();
            let missed = if same.iter().all(|figure| figure.met) { "" } else { " MISSED" };
            let gap = if number == 0 { "  ".to_owned() } else { format!("\n{:<84}", "") };
            let (name, expected) = (figure.name, &figure.expected);
            write!(text, "{gap}{name}: {} ({expected}){missed}", measured.join(" | ")).unwrap_or_default();
        }
        text.push('\n');
    }
    text
}
