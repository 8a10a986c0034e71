//! Rosters that many machines of one process hold alike: in a simulation of a thousand hosts each roster has a thousand
//! copies. What an announcement makes of a roster is worked out once and taken over by the others, as far as the
//! [`Trust`] remembers anything; that of a program remembers nothing, and each machine's rosters
//! are its own.
//!
//! A *line* names a roster by how it came about: two with the same line hold the same entries in the same slots.

use std::sync::Arc;

use aldis_wire::announcement::{Head, Op};
use aldis_wire::digest::Hash;
use aldis_wire::id::HostId;
use aldis_wire::proof::Trust;

use super::hosts::Held;
use crate::relay::io::Fault;
use crate::relay::roster::{Change, Roster};

/// See the module's text.
pub(super) type Line = [u8; 32];

/// The line of a roster that is empty.
const EMPTY: Line = [0; 32];

/// What an announcement has made of a roster.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) changes: Vec<Change>,
    /// With the entries that went, which can still be read.
    applied: Arc<Roster>,
    /// Without them.
    pub(super) swept: Arc<Roster>,
}

impl Step {
    fn new(changes: Vec<Change>, applied: Arc<Roster>) -> Self {
        let mut swept = applied.clone();
        if applied.is_to_be_swept() {
            Arc::make_mut(&mut swept).sweep();
        }
        Self { changes, applied, swept }
    }
}

fn next(line: &Line, head: &Head) -> Line {
    *blake3::hash(&[*line, *head.origin.as_bytes(), head.ops_hash, head.digest].concat()).as_bytes()
}

/// Applies the ops of an announcement to a roster that may be shared: the entries that went can still be read, and the
/// step's `swept` is to take its place. `None`, with nothing done, if the roster is not shared.
///
/// # Errors
/// The [`Fault`] for which nothing was applied.
pub(super) fn advance(
    trust: Trust,
    held: &mut Held,
    head: &Head,
    ops: &[Op],
    expected: Option<Hash>,
) -> Result<Option<Arc<Step>>, Fault> {
    let line = held.line.filter(|_| trust.remembers() && expected.is_some());
    let Some(name) = line.map(|line| next(&line, head)) else { return Ok(None) };
    let step = match recall(trust, &name) {
        Some(step) => step,
        None => {
            let changes = Arc::make_mut(&mut held.roster).apply(ops, expected)?;
            remembered(trust, name, Step::new(changes, held.roster.clone()))
        }
    };
    (held.roster, held.line) = (step.applied.clone(), Some(name));
    Ok(Some(step))
}

/// The roster of a new epoch after its first announcement.
///
/// # Errors
/// The [`Fault`] for which there is none.
pub(super) fn begin(trust: Trust, head: &Head, ops: &[Op], expected: Option<Hash>) -> Result<Held, Fault> {
    let name = (trust.remembers() && expected.is_some()).then(|| next(&EMPTY, head));
    if let Some(step) = name.and_then(|name| recall(trust, &name)) {
        return Ok(Held { roster: step.swept.clone(), shown: true, line: name });
    }
    let mut roster = Roster::new(head.origin, trust);
    roster.apply(ops, expected)?;
    roster.sweep();
    let roster = Arc::new(roster);
    if let Some(name) = name {
        remembered(trust, name, Step::new(Vec::new(), roster.clone()));
    }
    Ok(Held { roster, shown: true, line: name })
}

/// A roster that was caught up with: that of another machine with the same entries, if there is one.
pub(super) fn caught_up(trust: Trust, host: HostId, mut roster: Roster) -> Held {
    roster.sweep();
    if !trust.remembers() {
        return Held { roster: Arc::new(roster), shown: true, line: None };
    }
    let name = *blake3::hash(&[*host.as_bytes(), roster.digest()].concat()).as_bytes();
    let step = recall(trust, &name).unwrap_or_else(|| remembered(trust, name, Step::new(Vec::new(), Arc::new(roster))));
    Held { roster: step.swept.clone(), shown: true, line: Some(name) }
}

fn recall(trust: Trust, name: &Line) -> Option<Arc<Step>> {
    trust.recall(name)?.downcast().ok()
}

fn remembered(trust: Trust, name: Line, step: Step) -> Arc<Step> {
    let step = Arc::new(step);
    trust.remember(name, step.clone());
    step
}
