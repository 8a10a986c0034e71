//! What must hold all the time, and at the end. What does not is a violation; a run goes on after it, so that one run
//! shows all that is wrong.

mod bounds;
mod meetings;
mod views;

use std::collections::BTreeMap;

use aldis::relay::io::{Fault, Moment, Note};

use crate::edges::Standing;
use crate::map::Place;
use crate::queue::{At, MS, SEC};
use crate::world::{Happening, World};

/// How often everything is looked at.
const LOOK_EVERY: At = SEC;
/// Hosts whose view, and whose tables, are looked at each time.
const VIEWS_EACH_LOOK: usize = 3;
const TABLES_EACH_LOOK: usize = 2;
/// Edges whose view is looked at each time: all of them in a world of 200 hosts with 10 each. Of 10,000 edges each has its
/// turn every five seconds, and all once more at the end.
const EDGES_EACH_LOOK: usize = 2_000;
/// A receipt may take so long: the time-out, the way between edge and host, and a little for the machine to be called.
pub(crate) const RECEIPT_MAX: At = 5 * SEC + 200 * MS;
/// Violations kept; the rest is counted.
const KEPT_MAX: usize = 50;
/// Signals are remembered so long after they were sent, since homes remember them for 120 s.
const REMEMBERED: At = 150 * SEC;

/// Something that must not be.
#[derive(Clone, Debug)]
pub struct Violation {
    /// When it was seen.
    pub at: At,
    /// At which hosts.
    pub hosts: Vec<Place>,
    /// What.
    pub what: String,
    /// The arrows before it.
    pub trace: String,
}

/// What was found wrong.
#[derive(Debug, Default)]
pub struct Checks {
    /// The first ones.
    pub violations: Vec<Violation>,
    /// How many there were.
    pub count: usize,
    /// Signals whose receipts were looked at.
    pub signals: u64,
    pub(crate) trouble: views::Trouble,
    digests: BTreeMap<Place, views::Digests>,
    /// Pairs of hosts that could have a link and have none, since when.
    apart: BTreeMap<(Place, Place), At>,
    /// Since when each host knows what kind of router is before it.
    classified: BTreeMap<Place, At>,
    /// The last dials of hosts that were introduced, by who dialled whom.
    punched: BTreeMap<(Place, Place), At>,
    next_edge: usize,
    next_view: usize,
    next_tables: usize,
}

/// What honest hosts cause: a peer has moved and its old home does not know; a greeting is lost with its connection.
fn blames_nobody(fault: Fault) -> bool {
    matches!(fault, Fault::Unsealable | Fault::NoHello)
}

impl World {
    /// Something is wrong.
    pub(crate) fn violated(&mut self, hosts: &[Place], what: String) {
        self.checks.count += 1;
        if self.checks.violations.len() < KEPT_MAX {
            // Only the first one needs its arrows.
            let trace = if self.checks.violations.is_empty() { self.trace.last(hosts, 60) } else { String::new() };
            self.checks.violations.push(Violation { at: self.now, hosts: hosts.to_vec(), what, trace });
        }
    }

    /// A machine that was just called has no deadline in the past.
    pub(crate) fn check_deadline(&mut self, place: Place, now: Moment) {
        let next = self.hosts[place].running().and_then(|relay| relay.next_timeout());
        if let Some(next) = next.filter(|next| *next <= now) {
            self.violated(&[place], format!("it wants to be called at {next:?}, and it is {now:?}"));
        }
    }

    /// A machine leaves a note.
    pub(crate) fn noted(&mut self, place: Place, note: &Note) {
        if let Note::Announced { .. } = note {
            self.announced(place);
        }
        if let Note::HostExpired { host } = note {
            self.gives_up(place, *host);
        }
        if let Note::Misbehaved { fault, host } = note
            && !blames_nobody(*fault)
            && !self.is_about_liars(place, *host)
        {
            self.violated(&[place], format!("an honest host, {host:?}, is held to misbehave: {fault:?}"));
        }
        if let Note::HostQuarantined { fault, host } = note
            && !self.is_about_liars(place, *host)
        {
            self.violated(&[place], format!("an honest host, {host:?}, is quarantined: {fault:?}"));
        }
    }

    /// A look at everything.
    pub(crate) fn look(&mut self) {
        self.later(LOOK_EVERY, Happening::Look);
        self.look_at_signals();
        self.look_at_shouts(REMEMBERED);
        self.look_at_members(EDGES_EACH_LOOK);
        self.look_at_replicas(VIEWS_EACH_LOOK);
        self.look_at_tables(TABLES_EACH_LOOK);
        self.look_at_beliefs();
        self.look_at_healing();
        self.look_at_meetings();
    }

    /// Whether an edge must have heard by now what became of something that it asked a while ago.
    pub(crate) fn must_have_heard(&self, edge: usize, session: u32) -> bool {
        let edge = &self.edges[edge];
        // Who was away hears it when it is back; whose session is over hears nothing.
        let hears = edge.standing == Standing::Open && edge.since + RECEIPT_MAX < self.now;
        let running = self.hosts[edge.place].running().is_some();
        hears && edge.session == session && running && !self.checks.trouble.is_recovering(self.now, edge.place)
    }

    fn look_at_signals(&mut self) {
        let now = self.now;
        let mut late = Vec::new();
        for (number, sent) in self.crowd.signals.range(..).take_while(|(_, sent)| sent.at + RECEIPT_MAX < now) {
            let edge = &self.edges[sent.from as usize];
            if sent.outcome.is_none() && !sent.orphan && self.must_have_heard(sent.from as usize, sent.session) {
                late.push((*number, sent.from, edge.place, now - sent.at));
            }
        }
        for (number, from, place, waited) in late {
            if let Some(sent) = self.crowd.signals.get_mut(&number) {
                sent.orphan = true;
            }
            self.violated(&[place], format!("signal {number} of edge {from} has no receipt after {} ms", waited / MS));
        }
        while let Some(first) = self.crowd.signals.first_entry().filter(|first| first.get().at + REMEMBERED < now) {
            let (_, sent) = first.remove_entry();
            self.count_delivered(&sent);
            self.checks.signals += 1;
        }
    }
}

impl World {
    /// What must hold at the end.
    pub(crate) fn last_look(&mut self) {
        self.look();
        self.look_at_members(self.edges.len());
        self.look_at_tables(self.hosts.len());
        if self.scenario.quiet > 0 {
            self.look_at_all_replicas();
        }
        if self.scenario.everybody_leaves_at.is_some() {
            self.look_at_empty_tables();
        }
        self.look_at_delivered();
        self.look_at_shouts(RECEIPT_MAX);
    }
}
