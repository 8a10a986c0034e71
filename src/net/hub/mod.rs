//! The machine behind a lock, and the mailboxes through which its outputs leave.
//!
//! There is no event loop: whoever learns that something happened calls [`Hub::happened`] itself. The call hands the
//! input to the machine and puts what it says into the mailboxes of sockets and links, in order, before it returns. So
//! an offer goes from the sender's socket into the receiver's mailbox on the sender's own task.
//!
//! Locks are taken in one order: the recent view's, the core's, then a mailbox's. None is held across an await.

mod after;
mod command;
mod counts;
mod delivery;
mod edge;
mod link;

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::relay::io::{EdgeKey, Input, LinkKey, Moment, Note, Outbox};
use crate::relay::view::View;
use crate::relay::{Relay, Setup};

pub use command::{COMMANDS_MAX, Command};
pub use counts::{Count, Counts, DoorCounts};
pub use edge::{EDGE_QUEUE_BYTES, EDGE_QUEUE_MAX, EdgeMailbox};
pub use link::{LINK_QUEUE_BYTES, LinkEnd, LinkMailbox, LinkOrder};

use after::After;
use command::Commands;
use delivery::{Core, Machine};
use edge::EdgeBox;
use link::LinkBox;

/// How long a view is good for strangers, who could otherwise keep the lock busy by asking.
pub const VIEW_KEPT: Duration = Duration::from_millis(200);

/// Hears every note, outside the lock, on the task that caused it. Must not block.
pub type NoteSink = Box<dyn Fn(&Note) + Send + Sync>;

/// One host's machine and its mailboxes. Shared by all tasks of the host.
pub struct Hub {
    core: Mutex<Core>,
    commands: Commands,
    counts: Counts,
    notes: NoteSink,
    started: Instant,
    /// The next edge's or link's key.
    next_key: AtomicU64,
    /// Tells the timer that it must wake earlier than it thinks.
    timer: Notify,
    recent: Mutex<Option<(Moment, Arc<View>)>>,
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub").field("started", &self.started).finish_non_exhaustive()
    }
}

impl Hub {
    /// Starts the machine. `notes` hears every note.
    #[must_use]
    pub fn new(setup: Setup, notes: NoteSink) -> Arc<Self> {
        let mut outbox = Outbox::default();
        let relay = Relay::new(setup, Moment::default(), &mut outbox);
        Self::of(Box::new(relay), outbox, notes)
    }

    /// A hub around any machine, which has already said `outbox`.
    pub(crate) fn of(machine: Box<dyn Machine>, outbox: Outbox, notes: NoteSink) -> Arc<Self> {
        let core = Core {
            machine,
            outbox,
            edges: HashMap::new(),
            links: HashMap::new(),
            caused: VecDeque::new(),
            after: After::default(),
            alarm: None,
            woken: Moment::default(),
        };
        let hub = Arc::new(Self {
            core: Mutex::new(core),
            commands: Commands::default(),
            counts: Counts::default(),
            notes,
            started: Instant::now(),
            next_key: AtomicU64::new(1),
            timer: Notify::new(),
            recent: Mutex::new(None),
        });
        let mut core = lock(&hub.core);
        core.deliver(&hub);
        hub.finish(core);
        hub
    }

    /// Tells the machine what happened, and puts what it says into the mailboxes.
    pub fn happened(&self, input: Input) {
        self.happened_all([input]);
    }

    /// As [`Hub::happened`] for several inputs under one lock: what one read from a socket brought.
    pub fn happened_all(&self, inputs: impl IntoIterator<Item = Input>) {
        let mut core = lock(&self.core);
        for input in inputs {
            core.step(self, input);
        }
        self.finish(core);
    }

    /// Leaves a note about something that the machine does not see: what a front door turned away.
    pub fn note(&self, note: &Note) {
        (self.notes)(note);
    }

    /// A moment ago, on the machine's clock.
    #[must_use]
    pub fn now(&self) -> Moment {
        Moment::new(self.started.elapsed())
    }

    /// What an operator may see. Costs a walk over all hosts under the lock.
    #[must_use]
    pub fn view(&self) -> View {
        lock(&self.core).machine.view(self.now())
    }

    /// As [`Hub::view`], at most [`VIEW_KEPT`] old: for whoever may ask as often as they like.
    #[must_use]
    pub fn recent_view(&self) -> Arc<View> {
        let mut recent = lock(&self.recent);
        let now = self.now();
        match &*recent {
            Some((at, view)) if now.since(*at) < VIEW_KEPT => view.clone(),
            _ => {
                let view = Arc::new(self.view());
                *recent = Some((now, view.clone()));
                view
            }
        }
    }

    /// Gives a new socket its key and mailbox and tells the machine of it. Drop the mailbox when the socket is gone.
    #[must_use]
    pub fn open_edge(self: &Arc<Self>, address: IpAddr) -> EdgeMailbox {
        let edge = EdgeKey(self.fresh_key());
        let shared = Arc::new(EdgeBox::default());
        let mut core = lock(&self.core);
        core.edges.insert(edge, shared.clone());
        core.step(self, Input::EdgeOpened { edge, address });
        self.finish(core);
        EdgeMailbox::new(edge, shared, self.clone())
    }

    /// The socket is gone. Tells the machine, unless the machine closed it.
    fn edge_lost(&self, edge: EdgeKey) {
        let mut core = lock(&self.core);
        if core.edges.remove(&edge).is_some() {
            core.step(self, Input::EdgeClosed { edge });
            self.finish(core);
        }
    }

    /// Gives a new connection its key and mailbox and tells the machine of it by what `opened` makes of the key.
    /// `key_exchange` names the TLS group that was negotiated.
    #[must_use]
    pub fn open_link(&self, key_exchange: &'static str, opened: impl FnOnce(LinkKey) -> Input) -> LinkMailbox {
        let link = LinkKey(self.fresh_key());
        let shared = Arc::new(LinkBox::new(key_exchange));
        let mut core = lock(&self.core);
        core.links.insert(link, shared.clone());
        core.step(self, opened(link));
        self.finish(core);
        LinkMailbox::new(link, shared)
    }

    /// The connection is gone. Tells the machine, unless the machine closed it.
    pub fn link_lost(&self, link: LinkKey, reason: String) {
        let mut core = lock(&self.core);
        if core.links.remove(&link).is_some() {
            core.step(self, Input::LinkClosed { link, reason });
            self.finish(core);
        }
    }

    /// The TLS group that a connection negotiated, as IANA names it; `None` for connections that are gone.
    #[must_use]
    pub fn key_exchange(&self, link: LinkKey) -> Option<&'static str> {
        lock(&self.core).links.get(&link).map(|shared| shared.key_exchange)
    }

    /// Counts of what the machine never hears of.
    #[must_use]
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// How many sockets and connections have mailboxes now.
    #[must_use]
    pub fn mailboxes(&self) -> (usize, usize) {
        let core = lock(&self.core);
        (core.edges.len(), core.links.len())
    }

    /// The next thing that the driver must do. For one caller.
    pub async fn next_command(&self) -> Command {
        self.commands.next().await
    }

    /// Calls the machine whenever the moment that it named has come. Runs until dropped.
    pub async fn run_timer(&self) {
        loop {
            let alarm = {
                let mut core = lock(&self.core);
                core.alarm = core.due();
                core.alarm
            };
            let Some(at) = alarm else {
                self.timer.notified().await;
                continue;
            };
            let deadline = tokio::time::Instant::from_std(self.started + at.time());
            tokio::select! {
                () = tokio::time::sleep_until(deadline) => self.wake(),
                () = self.timer.notified() => {}
            }
        }
    }

    /// Calls the machine if its moment has come; it may have moved while the timer slept.
    fn wake(&self) {
        let mut core = lock(&self.core);
        let now = self.now();
        if core.due().is_some_and(|moment| moment <= now) {
            core.woken = now;
            core.step(self, Input::Woken);
            self.finish(core);
        }
    }

    fn fresh_key(&self) -> u64 {
        self.next_key.fetch_add(1, Ordering::Relaxed)
    }

    /// Lets go of the lock, then wakes whoever has something to do, the timer if it would wake too late, and notes.
    fn finish(&self, mut core: MutexGuard<'_, Core>) {
        let due = core.due();
        let earlier = due.is_some_and(|moment| core.alarm.is_none_or(|alarm| moment < alarm));
        if earlier {
            core.alarm = due;
        }
        let mut after = After::spare();
        std::mem::swap(&mut after, &mut core.after);
        std::mem::swap(&mut after.notes, &mut core.outbox.notes);
        drop(core);
        if earlier {
            self.timer.notify_one();
        }
        after.run(&self.notes);
    }
}

/// Takes a lock of the hub. A task that panicked while it held one has left the host in an unknown state: the process
/// ends, and its supervisor starts it anew.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    match mutex.lock() {
        Ok(guard) => guard,
        Err(_) => {
            tracing::error!("a task panicked inside the machine; the process ends, since its state is unknown");
            std::process::abort()
        }
    }
}

#[cfg(test)]
pub(crate) mod script;
#[cfg(test)]
mod tests;
