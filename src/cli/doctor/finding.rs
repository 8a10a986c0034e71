//! What one check found: a verdict, a sentence, the next thing to do, and the facts behind it.

use aldis_wire::limits::VERSION;
use anyhow::Result;
use serde::Serialize;
use serde_json::{Value, json};

use crate::config::Config;
use crate::net::admin::Status;

/// Columns of the account.
const WIDTH: usize = 100;
/// Columns before a sentence: verdict and name.
const MARGIN: usize = 22;

/// How good or bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verdict {
    /// As it should be.
    Ok,
    /// It works, and there is something to know or to make better.
    Note,
    /// It does not work. Makes the exit code 1.
    Wrong,
    /// It could not be found out.
    Unknown,
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Wrong => "WRONG",
            Self::Unknown => "?",
        }
    }
}

/// What one check found.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Finding {
    /// The check's name, which stays.
    pub(super) check: &'static str,
    pub(super) verdict: Verdict,
    /// What is so, for a person.
    pub(super) summary: String,
    /// What to do next; null when there is nothing to do.
    pub(super) next: Option<String>,
    /// Lines of a list, for people; scripts have them in the facts.
    #[serde(skip)]
    pub(super) lines: Vec<String>,
    /// What the verdict stands on, with names that stay.
    pub(super) facts: Value,
}

impl Finding {
    pub(super) fn ok(check: &'static str, summary: impl Into<String>) -> Self {
        Self::new(check, Verdict::Ok, summary)
    }

    pub(super) fn note(check: &'static str, summary: impl Into<String>) -> Self {
        Self::new(check, Verdict::Note, summary)
    }

    pub(super) fn wrong(check: &'static str, summary: impl Into<String>, next: impl Into<String>) -> Self {
        Self::new(check, Verdict::Wrong, summary).next(next)
    }

    pub(super) fn unknown(check: &'static str, summary: impl Into<String>) -> Self {
        Self::new(check, Verdict::Unknown, summary)
    }

    fn new(check: &'static str, verdict: Verdict, summary: impl Into<String>) -> Self {
        Self { check, verdict, summary: summary.into(), next: None, lines: Vec::new(), facts: json!({}) }
    }

    pub(super) fn next(self, next: impl Into<String>) -> Self {
        Self { next: Some(next.into()), ..self }
    }

    pub(super) fn lines(self, lines: Vec<String>) -> Self {
        Self { lines, ..self }
    }

    pub(super) fn facts(self, facts: Value) -> Self {
        Self { facts, ..self }
    }
}

/// All findings.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    software: String,
    network: Value,
    /// The running host's id; null when none runs.
    host: Option<String>,
    /// How many findings are wrong.
    wrong: usize,
    checks: Vec<Finding>,
}

impl Report {
    pub(super) fn new(config: &Config, status: Option<&Status>, checks: Vec<Finding>) -> Self {
        let network = &config.network;
        Self {
            software: format!("aldis {}", env!("CARGO_PKG_VERSION")),
            network: json!({ "name": network.name, "tag": network.tag.to_string(), "version": VERSION }),
            host: status.map(|status| status.host.to_string()),
            wrong: checks.iter().filter(|finding| finding.verdict == Verdict::Wrong).count(),
            checks,
        }
    }

    pub(super) fn wrong(&self) -> usize {
        self.wrong
    }

    pub(super) fn json(&self) -> Result<String> {
        Ok(format!("{}\n", serde_json::to_string_pretty(self)?))
    }

    pub(super) fn text(&self) -> String {
        let mut out = String::new();
        for finding in &self.checks {
            let head = format!("{:<6}{:<16}", finding.verdict.word(), finding.check.replace('_', " "));
            out.push_str(&wrapped(&head, &finding.summary));
            for line in &finding.lines {
                out.push_str(&format!("{}{line}\n", " ".repeat(MARGIN + 2)));
            }
            if let Some(next) = &finding.next {
                out.push_str(&wrapped(&format!("{}-> ", " ".repeat(MARGIN)), next));
            }
        }
        out
    }
}

/// Words in lines, the first after `head`, the others below the beginning of the first. A word is never cut.
fn wrapped(head: &str, text: &str) -> String {
    let margin = head.chars().count();
    let (mut out, mut column) = (head.to_owned(), margin);
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if column > margin && column + 1 + length > WIDTH {
            out.push('\n');
            out.push_str(&" ".repeat(margin));
            column = margin;
        } else if column > margin {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += length;
    }
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_are_wrapped_below_their_beginning_and_long_words_stay_whole() {
        let text = wrapped("ok  x  ", &format!("one {} two", "y".repeat(120)));
        assert_eq!(text, format!("ok  x  one\n       {}\n       two\n", "y".repeat(120)));
    }
}
