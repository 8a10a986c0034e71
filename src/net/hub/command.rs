//! What the machine wants from the driver itself: dials, the DHT, files, the end.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Mutex;

use aldis_wire::id::HostId;
use tokio::sync::Notify;

use super::lock;
use crate::relay::io::{CheckKey, CheckTarget, DialFailure, DialKey, Input, StopReason, Stored};

/// Commands that wait for the driver. The machine has at most a few dials under way, and of every other command only
/// the newest counts; a dial beyond it fails.
pub const COMMANDS_MAX: usize = 64;

/// What the driver must do. As the outputs of the same names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Try to reach a host.
    Dial {
        /// Name of the attempt.
        dial: DialKey,
        /// Where.
        address: SocketAddr,
        /// Who must answer, if known.
        host: Option<HostId>,
    },
    /// Ask the DHT.
    LookUp,
    /// Ask DNS.
    LookUpSeeds,
    /// Tell the DHT.
    Register {
        /// The port that others must use; `None` for the one that they see.
        port: Option<u16>,
    },
    /// Try whether a host can be reached.
    Check {
        /// Name of the attempt.
        check: CheckKey,
        /// Who must answer.
        host: HostId,
        /// What of it.
        target: CheckTarget,
    },
    /// Ask the routers anew.
    MapAgain,
    /// Keep for the next start.
    Store(Stored),
    /// End the process.
    Stop(StopReason),
}

#[derive(Debug, Default)]
pub(super) struct Commands {
    queue: Mutex<VecDeque<Command>>,
    ready: Notify,
}

impl Commands {
    /// Queues a command. A newer one takes the place of an older one that it makes needless. What the machine must be
    /// told instead, when there is no room.
    pub(super) fn put(&self, command: Command) -> Option<Input> {
        let mut queue = lock(&self.queue);
        if let Some(older) = queue.iter_mut().find(|older| replaces(&command, older)) {
            *older = command;
            return None;
        }
        match command {
            Command::Dial { dial, .. } if queue.len() >= COMMANDS_MAX => {
                return Some(Input::DialFailed {
                    dial,
                    failure: DialFailure::Failed("too many dials at once".to_owned()),
                });
            }
            Command::Check { check, .. } if queue.len() >= COMMANDS_MAX => {
                return Some(Input::CheckLeftOut { check });
            }
            _ => {}
        }
        queue.push_back(command);
        drop(queue);
        self.ready.notify_one();
        None
    }

    pub(super) async fn next(&self) -> Command {
        loop {
            if let Some(command) = lock(&self.queue).pop_front() {
                return command;
            }
            self.ready.notified().await;
        }
    }
}

/// Whether `newer` makes `older` needless. There are seven kinds besides dials and checks, which bounds them.
fn replaces(newer: &Command, older: &Command) -> bool {
    match (newer, older) {
        (Command::Store(newer), Command::Store(older)) => {
            std::mem::discriminant(newer) == std::mem::discriminant(older)
        }
        (Command::Dial { .. } | Command::Check { .. }, _) => false,
        (newer, older) => std::mem::discriminant(newer) == std::mem::discriminant(older),
    }
}
