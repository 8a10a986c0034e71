//! What is done after the machine's lock is let go: waking a task, or writing a line of log, may take the system's time,
//! and nobody else must wait for it.

use std::cell::Cell;
use std::sync::Arc;

use super::NoteSink;
use super::edge::EdgeBox;
use super::link::{LinkBox, LinkWake};
use crate::relay::io::Note;

/// Room that is kept for the next call.
const KEPT_MAX: usize = 1_024;

thread_local! {
    /// Empty, with room from the last call of this thread, so that a call allocates nothing.
    static SPARE: Cell<After> = Cell::default();
}

/// Whom to wake and what to note, in order.
#[derive(Default)]
pub(super) struct After {
    edges: Vec<Arc<EdgeBox>>,
    links: Vec<(Arc<LinkBox>, LinkWake)>,
    pub(super) notes: Vec<Note>,
}

impl After {
    /// An empty one.
    pub(super) fn spare() -> Self {
        SPARE.take()
    }

    pub(super) fn wake_edge(&mut self, edge: &Arc<EdgeBox>) {
        self.edges.push(edge.clone());
    }

    pub(super) fn wake_link(&mut self, link: &Arc<LinkBox>, whom: LinkWake) {
        self.links.push((link.clone(), whom));
    }

    /// Does it all. The lock must not be held.
    pub(super) fn run(mut self, sink: &NoteSink) {
        for edge in self.edges.drain(..) {
            edge.wake();
        }
        for (link, whom) in self.links.drain(..) {
            link.wake(whom);
        }
        for note in self.notes.drain(..) {
            sink(&note);
        }
        self.edges.shrink_to(KEPT_MAX);
        self.links.shrink_to(KEPT_MAX);
        self.notes.shrink_to(KEPT_MAX);
        SPARE.set(self);
    }
}
