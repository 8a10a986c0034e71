//! From a broken socket back to a session.

use std::collections::VecDeque;
use std::time::Duration;

use aldis_wire::edge::Resume;
use aldis_wire::refusal::Refusal;
use tokio::time::{Instant, sleep};

use super::{Session, UNKNOWN};
use crate::client::dialogue::{self, Standing, Welcome};
use crate::client::sealing::Sealing;
use crate::client::socket::{CONNECT_DEADLINE, Socket};
use crate::client::{Answer, ClientError, Event, Then};

/// Pauses between attempts to come back: doubled up to the longest, each with jitter.
const BACK_OFF_MIN: Duration = Duration::from_millis(200);
const BACK_OFF_MAX: Duration = Duration::from_secs(5);
/// Failed attempts at one gateway before another is tried.
const ATTEMPTS_PER_GATEWAY: u32 = 3;

impl Session {
    /// Opens sockets until one takes the session up again, or a new one.
    pub(super) async fn return_after(&mut self, pause: Duration) -> Result<(), ClientError> {
        let drained = pause > Duration::ZERO;
        let mut gateways = self.gateways(drained);
        let mut back_off = BACK_OFF_MIN;
        let mut attempts = 0;
        self.meanwhile(sleep(pause)).await;
        loop {
            if self.commands.is_closed() && self.commands.is_empty() {
                return Err(ClientError::Ended);
            }
            if attempts == ATTEMPTS_PER_GATEWAY {
                gateways.rotate_left(1);
                attempts = 0;
            }
            attempts += 1;
            let resume = Resume { token: self.welcome.session.token, seq: self.seq };
            let url = gateways.front().cloned().unwrap_or_default();
            // A token is of use at its own host only.
            let resume = (url == self.welcome.session.who.url).then_some(resume);
            let (options, begun) = (self.options.clone(), Instant::now());
            let mut standing = self.standing(resume);
            let opened = self.meanwhile(dialogue::open(&url, &options, &mut standing)).await;
            self.counter = standing.counter;
            match opened {
                Ok((socket, welcome)) => return self.returned(socket, welcome).await,
                // Who does not even refuse is not asked again so soon.
                Err(ClientError::Unreachable { .. }) if begun.elapsed() >= CONNECT_DEADLINE => {
                    attempts = ATTEMPTS_PER_GATEWAY;
                }
                Err(ClientError::Unreachable { .. }) => {}
                Err(ClientError::Refused { code, .. }) if !is_final(code) => {}
                Err(error) => return Err(error),
            }
            self.meanwhile(sleep(jittered(back_off))).await;
            back_off = (back_off * 2).min(BACK_OFF_MAX);
        }
    }

    fn standing(&self, resume: Option<Resume>) -> Standing {
        Standing { resume, counter: self.counter, sealing: self.sealing.as_ref().map(Sealing::public) }
    }

    /// Where to try, in this order: the host of the session, the operator's list, the hosts it told of.
    fn gateways(&self, drained: bool) -> VecDeque<String> {
        let mut gateways: VecDeque<String> = VecDeque::new();
        let all =
            std::iter::once(&self.welcome.session.who.url).chain(&self.welcome.session.hosts).chain(&self.options.urls);
        for url in all {
            if !gateways.contains(url) {
                gateways.push_back(url.clone());
            }
        }
        if drained {
            gateways.rotate_left(1);
        }
        gateways
    }

    /// Asks again whatever had no answer; of a new session also for the topics.
    async fn returned(&mut self, socket: Socket, welcome: Welcome) -> Result<(), ClientError> {
        let resumed = welcome.session.resumed;
        if let Some(sealing) = &mut self.sealing {
            sealing.claimed(welcome.tag, welcome.claim);
        }
        self.socket = socket;
        self.welcome = welcome;
        self.who.send_replace(self.welcome.session.who.clone());
        let now = Instant::now();
        (self.heard_at, self.pinged_at, self.acked_at, self.owes) = (now, None, now, false);
        if resumed {
            self.tell(Event::Resumed).await;
        } else {
            (self.seq, self.acked) = (0, 0);
            self.tell(Event::Renewed { peer: self.welcome.session.who.peer }).await;
            self.lose_signals();
        }
        self.open.values_mut().for_each(|open| open.sent = true);
        let mut texts: Vec<_> = self.open.values().map(|open| open.command.text.clone()).collect();
        if !resumed {
            texts.extend(self.topics.values().cloned());
        }
        for text in texts {
            // If it breaks, `converse` notices at once and we are here again.
            if self.socket.send(text).await.is_err() {
                break;
            }
        }
        Ok(())
    }

    /// What becomes of the open signals and broadcasts of a lost session cannot be known, but of those that were never sent.
    fn lose_signals(&mut self) {
        let open = std::mem::take(&mut self.open);
        for (id, open) in open {
            if open.command.then == Then::Signal && open.sent {
                drop(open.command.answer.send(Ok(Answer::Receipt(UNKNOWN))));
            } else if open.command.then == Then::Broadcast && open.sent {
                let message = "the session was lost before the tally came".to_owned();
                drop(open.command.answer.send(Err(ClientError::Refused { code: Refusal::SessionLost, message })));
            } else {
                self.open.insert(id, open);
            }
        }
    }
}

/// Whether a refused hello would be refused again and again.
fn is_final(code: Refusal) -> bool {
    use Refusal::{BadField, ClaimInvalid, Malformed, OriginNotAllowed, Replaced, TooBig};
    matches!(code, BadField | ClaimInvalid | Malformed | OriginNotAllowed | Replaced | TooBig)
}

/// Between a half and the whole of it, so that not everybody comes back at once.
fn jittered(pause: Duration) -> Duration {
    let [byte] = crate::system::random_bytes::<1>();
    pause / 2 + pause * u32::from(byte) / 512
}
