//! The machine: everything a host decides, without I/O, clocks, async or randomness of its own.
//!
//! A [`Relay`] is told what happened ([`io::Input`]) and answers what to do ([`io::Output`]). Time, randomness and
//! addresses come from outside, so that a test, a simulator and a real host run the very same machine.
//!
//! | room | what is in it |
//! |---|---|
//! | [`io`], [`setup`], [`view`] | the contract: what goes in, what comes out, what may be seen |
//! | [`limits`] | every number that is ours alone |
//! | [`planted`] | what the simulator may make a machine do wrong; not in the program |
//! | `timers`, `bucket`, `by_host`, `addresses`, `counters`, `scope` | deadlines, token buckets, tables of hosts, counts by address, how far one reaches |
//! | `roster`, `directory` | who is where, in one host's words and in all of them |
//! | `multicast`, `links` | how far each origin's announcements have come, and over which connection |
//! | `sessions`, `signals`, `broadcasts`, `replays` | edges, and what they send each other, once |
//! | `barred` | which hosts are kept out, and why |
//! | `discovery` | where hosts may be, and when to dial |
//! | `meetings` | who is brought together with whom |
//! | `reach` | where we are ourselves, and who can reach us there |
//! | `state`, `flow` | all tables in one place, and what happens step by step |

mod addresses;
mod barred;
mod broadcasts;
pub(crate) mod bucket;
mod by_host;
mod counters;
mod directory;
mod discovery;
mod flow;
mod hashing;
pub mod io;
pub mod limits;
mod links;
mod meetings;
mod multicast;
pub mod planted;
pub(crate) mod prefix;
mod reach;
mod replays;
mod roster;
mod scope;
mod sessions;
pub mod setup;
mod signals;
mod state;
mod timers;
pub mod view;

pub use scope::may_be_tried;
pub use setup::{Settings, Setup};

use io::{Input, Moment, Note, Outbox};
use state::State;
use timers::Timer;

/// One host's machine.
#[derive(Debug)]
pub struct Relay {
    state: State,
}

impl Relay {
    /// A machine that has just started, and what it wants done first.
    #[must_use]
    pub fn new(setup: Setup, now: Moment, out: &mut Outbox) -> Self {
        let mut state = State::new(setup, now);
        state.announce_record(now, out);
        state.timers.set(Timer::Discovery, now);
        state.timers.set(Timer::Tend, now + limits::TEND_INTERVAL);
        state.timers.set(Timer::Housekeeping, now + limits::STORE_INTERVAL);
        let mut relay = Self { state };
        relay.run_timers(now, out);
        relay
    }

    /// Takes what happened and says what to do. Never blocks, never fails: bad input is answered by an output.
    pub fn handle(&mut self, now: Moment, input: Input, out: &mut Outbox) {
        let state = &mut self.state;
        state.forgive_lateness(now);
        match input {
            Input::Woken => {}
            Input::EdgeOpened { .. } | Input::EdgeAsked { .. } | Input::EdgeErred { .. } | Input::EdgeClosed { .. } => {
                state.edge_input(now, input, out);
            }
            Input::LinkOpened { .. }
            | Input::LinkReceived { .. }
            | Input::LinkSent { .. }
            | Input::LinkMeasured { .. }
            | Input::LinkSilent { .. }
            | Input::LinkStranded { .. }
            | Input::LinkClosed { .. }
            | Input::DialFailed { .. } => state.link_input(now, input, out),
            Input::HintsFound { source, hints } => {
                state.discovery.hints_found(now, source, hints);
                state.timers.set_earlier(Timer::Discovery, now);
            }
            Input::LookUpEnded { outcome } => {
                out.note(Note::DhtAnswered { registration: false, outcome: outcome.clone() });
                state.discovery.look_up_ended(now, outcome);
                state.timers.set_earlier(Timer::Discovery, now);
            }
            Input::SeedLookUpEnded { outcome } => {
                out.note(Note::SeedsAnswered { outcome: outcome.clone() });
                state.discovery.seed_look_up_ended(now, outcome);
                state.timers.set_earlier(Timer::Discovery, now);
            }
            Input::RegistrationEnded { outcome } => {
                out.note(Note::DhtAnswered { registration: true, outcome: outcome.clone() });
                state.discovery.registration_ended(now, outcome);
                state.timers.set_earlier(Timer::Discovery, now);
            }
            Input::PlacesFound { local, mapped, stun } => state.places_found(now, local, mapped, stun, out),
            Input::DhtSees { address, shared } => state.dht_sees(now, address, shared, out),
            Input::Checked { check, outcome } => state.checked(now, check, outcome, out),
            Input::CheckLeftOut { check } => state.check_left_out(check, out),
            Input::HostsListed { lists } => state.lists_changed(now, lists, out),
            Input::RevocationsFound { revocations, heard } => state.revocations_found(now, revocations, heard, out),
            Input::LoadMeasured { percent } => state.announcer.load_percent = percent,
            Input::ShutdownAsked => state.shut_down(now, out),
        }
        self.run_timers(now, out);
    }

    /// When to call `handle` with `Input::Woken`, unless something else happens first.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Moment> {
        self.state.timers.next()
    }

    /// What an operator may see. Costs a walk over all hosts.
    #[must_use]
    pub fn view(&self, now: Moment) -> view::View {
        self.state.view(now)
    }

    /// How full every table is. Costs a walk over all of them.
    #[must_use]
    pub fn tables(&self) -> view::Tables {
        self.state.tables()
    }

    /// What the rosters of all hosts take of the memory. Costs a walk over all hosts.
    #[must_use]
    pub fn memory(&self) -> view::Memory {
        self.state.directory.memory()
    }

    /// The digest that the newest applied announcement of a host states for its roster; our own included. Two hosts that
    /// give the same one for a third hold the same roster of it.
    #[must_use]
    pub fn digest(&self, host: aldis_wire::id::HostId) -> Option<[u8; 32]> {
        self.state.origins.find(host)?.applied.as_ref().map(|heard| heard.head.digest)
    }

    fn run_timers(&mut self, now: Moment, out: &mut Outbox) {
        let state = &mut self.state;
        while let Some(timer) = state.timers.pop_due(now) {
            match timer {
                Timer::Hello(edge) => state.hello_missed(edge, out),
                Timer::Grace(session) => state.grace_over(now, session, out),
                Timer::Signals => state.signals_timed_out(now, out),
                Timer::Overdue => state.look_at_overdue(now, out),
                Timer::Holds => state.holds_over(now, out),
                Timer::Announce => state.announce(now, out),
                Timer::Heartbeat => state.heartbeat(now, out),
                Timer::Admission(link) => state.admission_missed(now, link, out),
                Timer::Closing(link) => state.link_closed_softly(link, out),
                Timer::Awaited(host) => state.awaited_in_vain(now, host, out),
                Timer::Expiry(host) => state.expire(now, host, out),
                Timer::Watch => state.look_at_watched(now),
                Timer::Lost(host) => state.tell_lost(now, host, out),
                Timer::Answer => state.answer_lost(now, out),
                Timer::Record => state.renew_record(now, out),
                Timer::Behind(origin) => state.catch_up(now, origin, out),
                Timer::Summaries => state.summarise(now, out),
                Timer::Tend => state.tend(now, out),
                Timer::Reach => state.reach(now, out),
                Timer::Discovery => state.discover(now, out),
                Timer::Meetings => state.meet(now, out),
                Timer::Housekeeping => state.keep_house(now, out),
            }
        }
        state.end_slow(now, out);
        state.note_dials(now, out);
    }
}
