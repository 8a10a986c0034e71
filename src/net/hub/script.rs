//! A machine for tests of sockets: it remembers what happened and says what the test tells it to.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail by panic")]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::Hub;
use super::delivery::Machine;
use crate::relay::io::{Input, Moment, Outbox, Output};
use crate::relay::view::{DiscoveryView, ReachView, RefusedView, View};

/// A test waits so long for what must happen.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// The test's end of the machine.
#[derive(Clone, Default)]
pub(crate) struct Script {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    happened: Mutex<VecDeque<Input>>,
    says: Mutex<Vec<Output>>,
    alarm: Mutex<Option<Moment>>,
    changed: Notify,
    answer: Mutex<Option<Answer>>,
}

type Answer = Box<dyn FnMut(&Input, &mut Outbox) + Send>;

impl Script {
    /// A hub around a machine of which this is the script.
    pub(crate) fn hub() -> (Arc<Hub>, Script) {
        let script = Script::default();
        let hub = Hub::of(Box::new(script.clone()), Outbox::default(), Box::new(|_| ()));
        (hub, script)
    }

    /// What the machine says at once to whatever happens.
    pub(crate) fn answers(&self, answer: impl FnMut(&Input, &mut Outbox) + Send + 'static) {
        *self.shared.answer.lock().unwrap() = Some(Box::new(answer));
    }

    /// The machine says this now.
    pub(crate) fn says(&self, hub: &Hub, outputs: impl IntoIterator<Item = Output>) {
        self.shared.says.lock().unwrap().extend(outputs);
        // Never told by a socket.
        hub.happened(Input::ShutdownAsked);
    }

    /// When the machine wants to be woken.
    pub(crate) fn alarm(&self, at: Option<Moment>) {
        *self.shared.alarm.lock().unwrap() = at;
    }

    /// The next thing that happened for which `pick` has an answer. What came before it is forgotten.
    pub(crate) async fn next<T>(&self, mut pick: impl FnMut(Input) -> Option<T>) -> T {
        let deadline = Instant::now() + DEADLINE;
        let mut passed = Vec::new();
        loop {
            let changed = self.shared.changed.notified();
            loop {
                let Some(input) = self.shared.happened.lock().unwrap().pop_front() else { break };
                let shown = format!("{input:?}");
                if let Some(picked) = pick(input) {
                    return picked;
                }
                passed.push(shown);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if tokio::time::timeout(left, changed).await.is_err() {
                panic!("it did not happen in time; what happened instead: {passed:#?}");
            }
        }
    }

    /// Everything that happened and was not looked at.
    pub(crate) fn rest(&self) -> Vec<Input> {
        self.shared.happened.lock().unwrap().drain(..).collect()
    }
}

impl Machine for Script {
    fn handle(&mut self, _now: Moment, input: Input, out: &mut Outbox) {
        if let Some(answer) = self.shared.answer.lock().unwrap().as_mut() {
            answer(&input, out);
        }
        out.outputs.append(&mut self.shared.says.lock().unwrap());
        if !matches!(input, Input::ShutdownAsked) {
            self.shared.happened.lock().unwrap().push_back(input);
            self.shared.changed.notify_one();
        }
    }

    fn next_timeout(&self) -> Option<Moment> {
        *self.shared.alarm.lock().unwrap()
    }

    fn view(&self, _now: Moment) -> View {
        View {
            host: aldis_wire::id::HostId::new([0; 32]),
            epoch: 0,
            seq: 0,
            edges: 0,
            sessions: 0,
            topics: 0,
            links: Vec::new(),
            hosts: Vec::new(),
            refused: RefusedView::default(),
            discovery: DiscoveryView::default(),
            reach: ReachView::default(),
        }
    }
}
