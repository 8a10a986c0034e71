//! The machine with the tables of mailboxes, and how its outputs find their way.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use aldis_wire::host::Channel;
use bytes::Bytes;

use super::Hub;
use super::after::After;
use super::command::Command;
use super::edge::{self, EdgeBox};
use super::link::{self, LinkBox, LinkWake};
use crate::relay::Relay;
use crate::relay::io::{EdgeKey, Event, Input, LinkKey, Moment, Outbox, Output};
use crate::relay::view::View;

/// The timer never calls the machine more often than this, whatever the machine asks for.
const TIMER_FLOOR: Duration = Duration::from_millis(1);
/// Room for outputs that is kept between calls; a larger burst gives its memory back.
const OUTPUTS_KEPT_MAX: usize = 1_024;

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

/// What is behind the lock.
pub(super) struct Core {
    pub(super) machine: Box<dyn Machine>,
    pub(super) outbox: Outbox,
    pub(super) edges: HashMap<EdgeKey, Arc<EdgeBox>>,
    pub(super) links: HashMap<LinkKey, Arc<LinkBox>>,
    /// What delivering outputs has caused: sockets that were cut, dials that were not taken.
    pub(super) caused: VecDeque<Input>,
    /// Whom to wake when the lock is let go.
    pub(super) after: After,
    /// When the timer will call; `None` while it sleeps until told.
    pub(super) alarm: Option<Moment>,
    /// When the timer last called.
    pub(super) woken: Moment,
}

impl Core {
    /// Tells the machine what happened, and delivers what it says.
    pub(super) fn step(&mut self, hub: &Hub, input: Input) {
        self.machine.handle(hub.now(), input, &mut self.outbox);
        self.deliver(hub);
        // Ends: each turn takes a socket out of its table or answers a dial that was not taken.
        while let Some(input) = self.caused.pop_front() {
            self.machine.handle(hub.now(), input, &mut self.outbox);
            self.deliver(hub);
        }
    }

    /// Puts outputs where they belong, in order.
    pub(super) fn deliver(&mut self, hub: &Hub) {
        let mut outputs = std::mem::take(&mut self.outbox.outputs);
        for output in outputs.drain(..) {
            match output {
                Output::TellEdge { edge, event } => self.tell_edge(edge, event, &hub.counts),
                Output::CloseEdge { edge } => {
                    if let Some(shared) = self.edges.remove(&edge) {
                        shared.close();
                        self.after.wake_edge(&shared);
                    }
                }
                Output::Send { link, channel, frame } => self.send(link, channel, frame, &hub.counts),
                Output::CloseLink { link, reason } => {
                    if let Some(shared) = self.links.remove(&link) {
                        shared.close(reason);
                        self.after.wake_link(&shared, LinkWake::Everybody);
                    }
                }
                Output::WidenLink { link } => {
                    if let Some(shared) = self.links.get(&link) {
                        shared.widen();
                        self.after.wake_link(shared, LinkWake::Everybody);
                    }
                }
                Output::Dial { dial, address, host } => {
                    self.caused.extend(hub.commands.put(Command::Dial { dial, address, host }));
                }
                Output::LookUp => self.caused.extend(hub.commands.put(Command::LookUp)),
                Output::LookUpSeeds => self.caused.extend(hub.commands.put(Command::LookUpSeeds)),
                Output::Register { port } => self.caused.extend(hub.commands.put(Command::Register { port })),
                Output::Check { check, host, target } => {
                    self.caused.extend(hub.commands.put(Command::Check { check, host, target }));
                }
                Output::MapAgain => self.caused.extend(hub.commands.put(Command::MapAgain)),
                Output::Store(stored) => self.caused.extend(hub.commands.put(Command::Store(stored))),
                Output::Stop { reason } => self.caused.extend(hub.commands.put(Command::Stop(reason))),
            }
        }
        outputs.shrink_to(OUTPUTS_KEPT_MAX);
        self.outbox.outputs = outputs;
    }

    /// When the timer must call.
    pub(super) fn due(&self) -> Option<Moment> {
        self.machine.next_timeout().map(|moment| moment.max(self.woken + TIMER_FLOOR))
    }

    fn tell_edge(&mut self, edge: EdgeKey, event: Event, counts: &super::Counts) {
        let Some(shared) = self.edges.get(&edge) else { return };
        match shared.put(event) {
            Ok(false) => {}
            Ok(true) => self.after.wake_edge(shared),
            Err(edge::Overflow) => {
                self.after.wake_edge(shared);
                self.edges.remove(&edge);
                counts.edges_overflowed.add();
                self.caused.push_back(Input::EdgeClosed { edge });
            }
        }
    }

    fn send(&mut self, link: LinkKey, channel: Channel, frame: Bytes, counts: &super::Counts) {
        let Some(shared) = self.links.get(&link) else { return };
        match shared.put(channel, frame) {
            Ok(None) => {}
            Ok(Some(whom)) => self.after.wake_link(shared, whom),
            Err(link::Overflow) => {
                self.after.wake_link(shared, LinkWake::Everybody);
                self.links.remove(&link);
                counts.links_overflowed.add();
                self.caused.push_back(Input::LinkClosed { link, reason: link::OVERFLOWED.to_owned() });
            }
        }
    }
}
