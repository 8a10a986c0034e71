//! The machine behind a lock, and the mailboxes through which its outputs leave.
//!
//! There is no event loop: whoever learns that something happened calls [`Hub::happened`] itself. The call hands the
//! input to the machine and puts what it says into the mailboxes of sockets and links, in order, before it returns. So
//! an offer goes from the sender's socket into the receiver's mailbox on the sender's own task.
//!
//! Locks are taken in one order: the recent view's, the core's, then a mailbox's. None is held across an await.

mod command;
mod counts;
mod edge;
mod link;

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use aldis_wire::host::GoodbyeReason;
use tokio::sync::Notify;

use crate::relay::io::{EdgeKey, Input, LinkKey, Moment, Note, Outbox, Output};
use crate::relay::view::View;
use crate::relay::{Relay, Setup};

pub use command::{COMMANDS_MAX, Command};
pub use counts::{Count, Counts};
pub use edge::{EDGE_QUEUE_BYTES, EDGE_QUEUE_MAX, EdgeMailbox};
pub use link::{LINK_QUEUE_BYTES, LinkEnd, LinkMailbox, LinkOrder};

use command::Commands;
use edge::EdgeBox;
use link::LinkBox;

/// The timer never calls the machine more often than this, whatever the machine asks for.
const TIMER_FLOOR: Duration = Duration::from_millis(1);
/// How long a view is good for strangers, who could otherwise keep the lock busy by asking.
pub const VIEW_KEPT: Duration = Duration::from_millis(200);
/// Room for outputs that is kept between calls; a larger burst gives its memory back.
const OUTPUTS_KEPT_MAX: usize = 1_024;

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

/// What a hub drives. In a running host it is the [`Relay`]; tests of sockets put a script in its place.
pub(crate) trait Machine: Send {
    /// See [`Relay::handle`].
    fn handle(&mut self, now: Moment, input: Input, out: &mut Outbox);
    /// See [`Relay::next_timeout`].
    fn next_timeout(&self) -> Option<Moment>;
    /// See [`Relay::view`].
    fn view(&self, now: Moment) -> View;
}

impl Machine for Relay {
    fn handle(&mut self, now: Moment, input: Input, out: &mut Outbox) {
        Relay::handle(self, now, input, out);
    }

    fn next_timeout(&self) -> Option<Moment> {
        Relay::next_timeout(self)
    }

    fn view(&self, now: Moment) -> View {
        Relay::view(self, now)
    }
}

struct Core {
    machine: Box<dyn Machine>,
    outbox: Outbox,
    edges: HashMap<EdgeKey, Arc<EdgeBox>>,
    links: HashMap<LinkKey, Arc<LinkBox>>,
    /// What delivering outputs has caused: sockets that were cut, dials that were not taken.
    caused: VecDeque<Input>,
    /// When the timer will call; `None` while it sleeps until told.
    alarm: Option<Moment>,
    /// When the timer last called.
    woken: Moment,
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
        hub.deliver(&mut core);
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
            self.step(&mut core, input);
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
        Moment(self.started.elapsed())
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
        self.step(&mut core, Input::EdgeOpened { edge, address });
        self.finish(core);
        EdgeMailbox::new(edge, shared, self.clone())
    }

    /// The socket is gone. Tells the machine, unless the machine closed it.
    fn edge_lost(&self, edge: EdgeKey) {
        let mut core = lock(&self.core);
        if core.edges.remove(&edge).is_some() {
            self.step(&mut core, Input::EdgeClosed { edge });
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
        self.step(&mut core, opened(link));
        self.finish(core);
        LinkMailbox::new(link, shared)
    }

    /// The connection is gone. Tells the machine, unless the machine closed it.
    pub fn link_lost(&self, link: LinkKey, reason: String) {
        let mut core = lock(&self.core);
        if core.links.remove(&link).is_some() {
            self.step(&mut core, Input::LinkClosed { link, reason });
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
            let Some(Moment(at)) = alarm else {
                self.timer.notified().await;
                continue;
            };
            let deadline = tokio::time::Instant::from_std(self.started + at);
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
            self.step(&mut core, Input::Woken);
            self.finish(core);
        }
    }

    fn fresh_key(&self) -> u64 {
        self.next_key.fetch_add(1, Ordering::Relaxed)
    }

    fn step(&self, core: &mut Core, input: Input) {
        core.machine.handle(self.now(), input, &mut core.outbox);
        self.deliver(core);
        // Ends: each turn takes a socket out of its table or answers a dial that was not taken.
        while let Some(input) = core.caused.pop_front() {
            core.machine.handle(self.now(), input, &mut core.outbox);
            self.deliver(core);
        }
    }

    /// Puts outputs where they belong, in order.
    fn deliver(&self, core: &mut Core) {
        let mut outputs = std::mem::take(&mut core.outbox.outputs);
        for output in outputs.drain(..) {
            match output {
                Output::TellEdge { edge, event } => {
                    if core.edges.get(&edge).is_some_and(|shared| shared.put(event).is_err()) {
                        core.edges.remove(&edge);
                        self.counts.edges_overflowed.add();
                        core.caused.push_back(Input::EdgeClosed { edge });
                    }
                }
                Output::CloseEdge { edge } => {
                    if let Some(shared) = core.edges.remove(&edge) {
                        shared.close();
                    }
                }
                Output::Send { link, channel, frame } => {
                    if core.links.get(&link).is_some_and(|shared| shared.put(channel, frame).is_err()) {
                        core.links.remove(&link);
                        self.counts.links_overflowed.add();
                        core.caused.push_back(Input::LinkClosed { link, reason: link::OVERFLOWED.to_owned() });
                    }
                }
                Output::CloseLink { link, reason } => core.end_link(link, reason),
                Output::WidenLink { link } => {
                    if let Some(shared) = core.links.get(&link) {
                        shared.widen();
                    }
                }
                Output::Dial { dial, address, host } => {
                    core.caused.extend(self.commands.put(Command::Dial { dial, address, host }));
                }
                Output::LookUp => core.caused.extend(self.commands.put(Command::LookUp)),
                Output::Register => core.caused.extend(self.commands.put(Command::Register)),
                Output::Store(stored) => core.caused.extend(self.commands.put(Command::Store(stored))),
                Output::Stop { reason } => core.caused.extend(self.commands.put(Command::Stop(reason))),
            }
        }
        outputs.shrink_to(OUTPUTS_KEPT_MAX);
        core.outbox.outputs = outputs;
    }

    /// Wakes the timer if it would wake too late, lets go of the lock, and passes the notes on.
    fn finish(&self, mut core: MutexGuard<'_, Core>) {
        let due = core.due();
        let earlier = due.is_some_and(|moment| core.alarm.is_none_or(|alarm| moment < alarm));
        if earlier {
            core.alarm = due;
        }
        let notes = std::mem::take(&mut core.outbox.notes);
        drop(core);
        if earlier {
            self.timer.notify_one();
        }
        for note in &notes {
            (self.notes)(note);
        }
    }
}

impl Core {
    /// When the timer must call.
    fn due(&self) -> Option<Moment> {
        self.machine.next_timeout().map(|moment| moment.max(self.woken + TIMER_FLOOR))
    }

    fn end_link(&mut self, link: LinkKey, reason: GoodbyeReason) {
        if let Some(shared) = self.links.remove(&link) {
            shared.close(reason);
        }
    }
}

/// Takes a lock of the hub. A task that panicked while it held one has left the host in an unknown state: the process
/// ends, and its supervisor starts it anew.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
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
