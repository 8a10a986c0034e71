//! The machine: everything a host decides, without I/O, clocks, async or randomness of its own.

pub mod addresses;
pub mod bucket;
pub mod discovery;
pub mod io;
pub mod limits;
pub mod setup;
pub mod view;

pub use setup::{Settings, Setup};

use io::{Input, Moment, Outbox};

/// One host's machine.
#[derive(Debug)]
pub struct Relay {
    setup: Setup,
}

impl Relay {
    /// A machine that has just started, and what it wants done first.
    #[must_use]
    pub fn new(setup: Setup, _now: Moment, _out: &mut Outbox) -> Self {
        Self { setup }
    }

    /// Takes what happened and says what to do. Never blocks, never fails: bad input is answered by an output.
    pub fn handle(&mut self, _now: Moment, _input: Input, _out: &mut Outbox) {}

    /// When to call `handle` with `Input::Woken`, unless something else happens first.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Moment> {
        None
    }

    /// What an operator may see. Costs a walk over all hosts.
    #[must_use]
    pub fn view(&self, _now: Moment) -> view::View {
        view::View {
            host: aldis_wire::id::HostId::new(self.setup.identity.verifying_key().to_bytes()),
            epoch: 0,
            seq: 0,
            edges: 0,
            sessions: 0,
            topics: 0,
            links: Vec::new(),
            hosts: Vec::new(),
            discovery: view::DiscoveryView::default(),
        }
    }
}
