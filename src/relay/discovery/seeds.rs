//! When to look up the DNS names at which the operator says that hosts are listed.

use super::task::Task;
use crate::relay::io::{Moment, Outbox, Output};
use crate::relay::limits::{LOOK_UP_INTERVAL, LOOK_UP_INTERVAL_ALONE, LOOK_UP_INTERVAL_FAILED};

/// The state of our talk with DNS.
#[derive(Debug)]
pub(crate) struct Seeds {
    named: bool,
    look_up: Task,
}

impl Seeds {
    /// `named` if there are names to look up.
    pub(crate) fn new(named: bool) -> Self {
        Self { named, look_up: Task::default() }
    }

    /// Asks if it is time; gives the moment at which it will be. `None`: only after something else happens.
    pub(crate) fn poll(&mut self, now: Moment, alone: bool, out: &mut Outbox) -> Option<Moment> {
        if !self.named || self.look_up.under_way {
            return None;
        }
        // A mesh that stands needs no names; who is alone may have come before his line was up.
        let (pause, pause_failed) = if alone {
            (LOOK_UP_INTERVAL_ALONE, LOOK_UP_INTERVAL_FAILED)
        } else {
            (LOOK_UP_INTERVAL, LOOK_UP_INTERVAL)
        };
        let due = self.look_up.due(pause, pause_failed);
        if due > now {
            return Some(due);
        }
        self.look_up.under_way = true;
        out.push(Output::LookUpSeeds);
        None
    }

    pub(crate) fn look_up_ended(&mut self, now: Moment, outcome: Result<(), String>) {
        self.look_up.end(now, outcome);
    }

    pub(crate) fn named(&self) -> bool {
        self.named
    }

    /// What is wrong with the names, if anything.
    pub(crate) fn problem(&self) -> Option<String> {
        self.look_up.problem.clone()
    }
}
