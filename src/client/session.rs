//! The task behind a client: one session over one socket after another.

mod comeback;
mod letters;

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use aldis_wire::edge::{EdgeMessage, HostMessage, Json, Sample as WireSample, Status, acknowledging};
use aldis_wire::id::PeerId;
use aldis_wire::refusal::Refusal;
use futures_util::future::poll_immediate;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, watch};
use tokio::task::yield_now;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};

use super::dialogue::{self, Standing, Welcome};
use super::sealing::Sealing;
use super::socket::{Socket, Text, read};
use super::{Answer, ClientError, Command, Event, Ids, Member, Options, Receipt, Sample, Tally, Then, Who, encode};

use letters::Waiting;

/// Messages that may wait for an acknowledgement, and for how long (PROTOCOL.md §4.3).
const UNACKED_MAX: u64 = 32;
const UNACKED_TIME: Duration = Duration::from_secs(1);
/// Messages that may wait to be sent while there is more to be read.
const UNSENT_MAX: usize = 32;
/// How often the clocks of a session are looked at.
const TICK: Duration = Duration::from_millis(250);
/// After a ping, a host that says nothing for so long is gone (PROTOCOL.md §4.3).
const PONG_DEADLINE: Duration = Duration::from_secs(10);
/// A host tells each receipt within its own time-out; this is for the way and for a host that does not.
const RECEIPT_SLACK: Duration = Duration::from_secs(5);
/// Requests that may be open; more are refused here.
const OPEN_MAX: usize = 256;
/// Signals remembered against repetitions across sessions, and for how long (PROTOCOL.md §4.3).
const SEEN_MAX: usize = 4_096;
const SEEN_TIME: Duration = Duration::from_secs(120);

/// See the module.
#[derive(Debug)]
pub(super) struct Session {
    options: Options,
    socket: Socket,
    welcome: Welcome,
    /// Of the key's last claim.
    counter: u64,
    /// Newest seq handed to the application, and acknowledged.
    seq: u64,
    acked: u64,
    acked_at: Instant,
    /// Whether it must be acknowledged with the next message, or by one of its own.
    owes: bool,
    heard_at: Instant,
    pinged_at: Option<Instant>,
    open: BTreeMap<String, Open>,
    /// A goodbye that came while there was no socket.
    bye: Option<Command>,
    /// Topics to join again after a lost session, with the request that joins them.
    topics: BTreeMap<String, String>,
    /// Signals and broadcasts, apart.
    seen: HashSet<Seen>,
    /// When each was seen.
    seen_at: VecDeque<(Instant, Seen)>,
    sealing: Option<Sealing>,
    /// Signals that wait for their receiver's key.
    waiting: BTreeMap<PeerId, VecDeque<Waiting>>,
    /// When our claim was told lately.
    told: VecDeque<Instant>,
    ids: Ids,
    commands: mpsc::Receiver<Command>,
    events: mpsc::Sender<Event>,
    who: watch::Sender<Who>,
}

/// What makes a message of a peer the same.
type Seen = (PeerId, Kind, Arc<str>);

/// What a peer may send under ids of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Signal,
    Broadcast,
}

/// A request without an answer yet.
#[derive(Debug)]
struct Open {
    command: Command,
    since: Instant,
    /// False while there has been no socket for it.
    sent: bool,
}

/// What a session goes on with.
enum Step {
    Heard(Result<Text, String>),
    Asked(Option<Command>),
    Ticked,
}

/// Why a socket is done with.
enum End {
    /// The application said goodbye, or dropped the client.
    Asked,
    /// In words. The session may be resumed.
    Broken(String),
    /// The host goes away: try others first.
    Drained(Duration),
    /// Not to come back.
    Final(ClientError),
}

impl Session {
    /// Tries each gateway once.
    pub(super) async fn open(
        options: Options,
        ids: Ids,
        commands: mpsc::Receiver<Command>,
        events: mpsc::Sender<Event>,
    ) -> Result<(watch::Receiver<Who>, Self), ClientError> {
        let mut sealing = match (&options.key, options.sealed) {
            (Some(key), true) => Some(Sealing::new(key)),
            (None, true) => return Err(ClientError::BadInput("only an edge with a key can seal".to_owned())),
            (_, false) => None,
        };
        let mut standing = Standing { resume: None, counter: 0, sealing: sealing.as_ref().map(Sealing::public) };
        let mut result = Err(ClientError::BadInput("no gateway was named".to_owned()));
        for url in &options.urls {
            result = dialogue::open(url, &options, &mut standing).await;
            if result.is_ok() {
                break;
            }
        }
        let (socket, welcome) = result?;
        if let Some(sealing) = &mut sealing {
            sealing.claimed(welcome.tag, welcome.claim);
        }
        let (who_out, who) = watch::channel(welcome.session.who.clone());
        let now = Instant::now();
        let session = Self {
            options,
            socket,
            welcome,
            counter: standing.counter,
            seq: 0,
            acked: 0,
            acked_at: now,
            owes: false,
            heard_at: now,
            pinged_at: None,
            open: BTreeMap::new(),
            bye: None,
            topics: BTreeMap::new(),
            seen: HashSet::new(),
            seen_at: VecDeque::new(),
            sealing,
            waiting: BTreeMap::new(),
            told: VecDeque::new(),
            ids,
            commands,
            events,
            who: who_out,
        };
        Ok((who, session))
    }

    /// Until the application says goodbye, or the host refuses for good.
    pub(super) async fn run(mut self) {
        loop {
            let pause = match self.converse().await {
                End::Asked => return self.socket.close().await,
                End::Final(why) => return self.tell(Event::Closed { why }).await,
                End::Broken(why) => {
                    self.tell(Event::SocketLost { why }).await;
                    Duration::ZERO
                }
                End::Drained(retry_after) => {
                    self.socket.close().await;
                    retry_after
                }
            };
            if let Err(why) = self.return_after(pause).await {
                return self.tell(Event::Closed { why }).await;
            }
        }
    }

    /// Talks until the socket is done with.
    async fn converse(&mut self) -> End {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        if let Some(bye) = self.bye.take()
            && let Err(end) = self.asked(Some(bye)).await
        {
            return end;
        }
        loop {
            let step = match self.next(&mut tick).await {
                Ok(Step::Heard(Ok(text))) => self.heard(&text).await,
                Ok(Step::Heard(Err(why))) => Err(End::Broken(why)),
                Ok(Step::Asked(command)) => self.asked(command).await,
                Ok(Step::Ticked) => self.ticked(),
                Err(end) => Err(end),
            };
            if let Err(end) = step {
                return end;
            }
        }
    }

    /// What comes next. What there is to say is sent before anything is waited for, and together: first the
    /// application may answer what it was told.
    async fn next(&mut self, tick: &mut Interval) -> Result<Step, End> {
        if (self.owes || self.socket.unsent() > 0) && self.socket.unsent() < UNSENT_MAX {
            if let Some(step) = poll_immediate(self.step(tick)).await {
                return Ok(step);
            }
            yield_now().await;
            if let Some(step) = poll_immediate(self.step(tick)).await {
                return Ok(step);
            }
        }
        self.flush().await?;
        Ok(self.step(tick).await)
    }

    async fn step(&mut self, tick: &mut Interval) -> Step {
        tokio::select! {
            text = self.socket.next() => Step::Heard(text),
            command = self.commands.recv() => Step::Asked(command),
            _ = tick.tick() => Step::Ticked,
        }
    }

    async fn asked(&mut self, command: Option<Command>) -> Result<(), End> {
        let Some(command) = command else {
            // All clients were dropped.
            self.say(&encode(EdgeMessage::Bye))?;
            return Err(End::Asked);
        };
        if command.then == Then::End {
            let sent = self.say(&command.text);
            let sent = sent.and(self.flush().await);
            answer(command, Ok(Answer::Done))?;
            return sent.and(Err(End::Asked));
        }
        if let Some(why) = self.refusal(&command) {
            return answer(command, Err(why));
        }
        for command in self.sealed(command) {
            self.put(command)?;
        }
        Ok(())
    }

    fn put(&mut self, command: Command) -> Result<(), End> {
        let sent = self.say(&command.text);
        // Also when it could not be sent: it is sent again over the next socket.
        self.open.insert(command.id.clone(), Open { command, since: Instant::now(), sent: true });
        sent
    }

    /// Why a request is not taken.
    fn refusal(&self, command: &Command) -> Option<ClientError> {
        let waiting = || self.waiting.values().flatten();
        if self.open.len() + waiting().count() >= OPEN_MAX {
            let message = format!("{OPEN_MAX} requests are open");
            return Some(ClientError::Refused { code: Refusal::TooManyOpen, message });
        }
        let in_use = self.open.contains_key(&command.id) || waiting().any(|waiting| waiting.is(&command.id));
        in_use.then(|| ClientError::BadInput("a signal with this id waits for its receipt".to_owned()))
    }

    /// A request that comes while there is no socket: it goes over the next one.
    fn postpone(&mut self, command: Command) -> Result<(), End> {
        if command.then == Then::End {
            self.bye = Some(command);
        } else if let Some(why) = self.refusal(&command) {
            return answer(command, Err(why));
        } else {
            for command in self.sealed(command) {
                self.open.insert(command.id.clone(), Open { command, since: Instant::now(), sent: false });
            }
        }
        Ok(())
    }

    /// Waits for something without a socket. Requests are taken meanwhile, and signals end in time.
    async fn meanwhile<T>(&mut self, waited: impl Future<Output = T>) -> T {
        // On the heap, as every future of an attempt.
        let mut waited = Box::pin(waited);
        let mut tick = interval(TICK);
        let mut listening = self.bye.is_none();
        loop {
            // Neither fails without a socket.
            _ = tokio::select! {
                result = &mut waited => return result,
                command = self.commands.recv(), if listening => {
                    let done = command.map(|command| self.postpone(command));
                    listening = done.is_some() && self.bye.is_none();
                    done.unwrap_or(Ok(()))
                }
                _ = tick.tick() => self.expire_signals(Instant::now()),
            };
        }
    }

    async fn heard(&mut self, text: &str) -> Result<(), End> {
        (self.heard_at, self.pinged_at) = (Instant::now(), None);
        let Some(message) = read(text) else { return Ok(()) };
        match message {
            HostMessage::Joined(sample) | HostMessage::Watching(sample) | HostMessage::Peers(sample) => {
                self.sampled(sample).await
            }
            HostMessage::Left { id, .. } | HostMessage::Unwatched { id, .. } => self.answered(&id, Answer::Done),
            HostMessage::Drain { retry_after_ms, hosts } => {
                self.welcome.session.hosts = hosts.into_iter().map(Into::into).collect();
                let retry_after = Duration::from_millis(retry_after_ms);
                self.tell(Event::Drain { retry_after }).await;
                Err(End::Drained(retry_after))
            }
            HostMessage::Error { id: Some(id), code, message, .. } => match self.open.remove(&*id) {
                Some(open) => {
                    let error = ClientError::Refused { code, message: message.into_owned() };
                    if let Then::AskKey(peer) = open.command.then {
                        self.end_waiting(peer, &Err(error.clone()));
                    }
                    answer(open.command, Err(error))
                }
                None => Ok(()),
            },
            HostMessage::Error { code: code @ Refusal::Replaced, message, .. } => {
                Err(End::Final(ClientError::Refused { code, message: message.into_owned() }))
            }
            HostMessage::Error { code, message, .. } => {
                self.tell(Event::Complaint { code, message: message.into_owned() }).await;
                Ok(())
            }
            HostMessage::PeerJoined { seq, .. }
            | HostMessage::PeerLeft { seq, .. }
            | HostMessage::Signal { seq, .. }
            | HostMessage::Receipt { seq, .. }
            | HostMessage::Broadcast { seq, .. }
            | HostMessage::Tally { seq, .. } => self.sequenced(seq, message).await,
            HostMessage::Greeting { .. } | HostMessage::Welcome(_) | HostMessage::Pong => Ok(()),
        }
    }

    /// Everything that carries a seq: once, in order, and acknowledged.
    async fn sequenced(&mut self, seq: u64, message: HostMessage<'_>) -> Result<(), End> {
        if seq <= self.seq {
            return Ok(());
        }
        self.seq = seq;
        let mut urgent = false;
        match message {
            HostMessage::PeerJoined { topic, peer, meta, .. } => {
                let meta = meta.map(|meta| meta.as_str().to_owned());
                self.tell(Event::PeerJoined { topic: topic.into_owned(), peer, meta }).await;
            }
            HostMessage::PeerLeft { topic, peer, reason, .. } => {
                self.tell(Event::PeerLeft { topic: topic.into_owned(), peer, reason: reason.into_owned() }).await;
            }
            HostMessage::Signal { id, from, topic, data, .. } => {
                urgent = true;
                if self.is_new(Kind::Signal, from, &id) {
                    self.signalled(from, &id, topic.map(Into::into), data.as_str()).await?;
                }
            }
            HostMessage::Broadcast { id, from, topic, data, .. } => {
                urgent = true;
                if self.sealing.is_some() {
                    self.tell(Event::Dropped { from, why: "a broadcast is not sealed" }).await;
                } else if self.is_new(Kind::Broadcast, from, &id) {
                    let (topic, data) = (topic.into_owned(), data.as_str().to_owned());
                    self.tell(Event::Broadcast { from, id: id.into_owned(), topic, data }).await;
                }
            }
            HostMessage::Tally { id, reach, code, .. } => self.answered(&id, Answer::Tally(Tally { reach, code }))?,
            HostMessage::Receipt { id, status, code, .. } => {
                self.answered(&id, Answer::Receipt(Receipt { status, code }))?;
            }
            _ => {}
        }
        self.owes |= urgent || self.seq - self.acked >= UNACKED_MAX;
        Ok(())
    }

    async fn sampled(&mut self, sample: WireSample<'_>) -> Result<(), End> {
        let own = |meta: Option<Json<'_>>| meta.map(|meta| meta.as_str().to_owned());
        let peers: Vec<_> =
            sample.peers.iter().map(|member| Member { peer: member.peer, meta: own(member.meta) }).collect();
        if self.open.contains_key(&*sample.id) {
            return self.answered(&sample.id, Answer::Sample(Sample { peers, total: sample.total }));
        }
        // Joined again by `renew`.
        for Member { peer, meta } in peers {
            self.tell(Event::PeerJoined { topic: sample.topic.clone().into_owned(), peer, meta }).await;
        }
        Ok(())
    }

    fn answered(&mut self, id: &str, result: Answer) -> Result<(), End> {
        let Some(open) = self.open.remove(id) else { return Ok(()) };
        match &open.command.then {
            Then::Remember(topic) => _ = self.topics.insert(topic.clone(), open.command.text.clone()),
            Then::Forget(topic) => _ = self.topics.remove(topic),
            Then::AskKey(peer) => {
                if let Answer::Receipt(receipt @ Receipt { status: Status::Refused, .. }) = &result {
                    self.end_waiting(*peer, &Ok(*receipt));
                }
            }
            Then::Nothing | Then::Signal | Then::Broadcast | Then::TellKey | Then::End => {}
        }
        answer(open.command, Ok(result))
    }

    fn ticked(&mut self) -> Result<(), End> {
        let now = Instant::now();
        if self.seq > self.acked && now - self.acked_at >= UNACKED_TIME {
            self.owes = true;
        }
        self.expire_signals(now)?;
        match self.pinged_at {
            Some(pinged_at) if now - pinged_at >= PONG_DEADLINE => {
                Err(End::Broken("the host says nothing any more".to_owned()))
            }
            None if now - self.heard_at >= self.welcome.session.heartbeat => {
                self.pinged_at = Some(now);
                self.say(&encode(EdgeMessage::Ping))
            }
            _ => Ok(()),
        }
    }

    /// A signal gets its receipt whatever the host does.
    fn expire_signals(&mut self, now: Instant) -> Result<(), End> {
        let limit = Duration::from_millis(self.welcome.session.limits.signal_timeout_ms) + RECEIPT_SLACK;
        self.expire_waiting(now, limit);
        let late = |open: &Open| {
            let ends = matches!(open.command.then, Then::Signal | Then::AskKey(_) | Then::TellKey);
            ends && now - open.since >= limit
        };
        let ids: Vec<_> = self.open.iter().filter(|(_, open)| late(open)).map(|(id, _)| id.clone()).collect();
        ids.iter().try_for_each(|id| self.answered(id, Answer::Receipt(UNKNOWN)))
    }

    fn say(&mut self, text: &str) -> Result<(), End> {
        let said = if self.owes {
            (self.owes, self.acked, self.acked_at) = (false, self.seq, Instant::now());
            self.socket.feed(acknowledging(text, self.seq))
        } else {
            self.socket.feed(text)
        };
        said.map_err(End::Broken)
    }

    /// Sends what was said, and acknowledges what is to be acknowledged.
    async fn flush(&mut self) -> Result<(), End> {
        if self.owes {
            (self.owes, self.acked, self.acked_at) = (false, self.seq, Instant::now());
            self.socket.feed(encode(EdgeMessage::Ack { seq: self.seq })).map_err(End::Broken)?;
        }
        if self.socket.unsent() > 0 { self.socket.flush().await.map_err(End::Broken) } else { Ok(()) }
    }

    /// Tells the application. It may have dropped its events; then nobody wants to know.
    async fn tell(&mut self, event: Event) {
        if let Err(TrySendError::Full(event)) = self.events.try_send(event) {
            // It may wait for an answer to what was not sent yet. A socket that is broken is noticed by whoever reads it.
            _ = self.flush().await;
            drop(self.events.send(event).await);
        }
    }

    /// Whether this signal was not seen in the last two minutes.
    fn is_new(&mut self, kind: Kind, from: PeerId, id: &str) -> bool {
        let now = Instant::now();
        while self.seen_at.len() >= SEEN_MAX || self.seen_at.front().is_some_and(|(at, _)| now - *at >= SEEN_TIME) {
            if let Some((_, old)) = self.seen_at.pop_front() {
                self.seen.remove(&old);
            }
        }
        let seen: Seen = (from, kind, id.into());
        let is_new = self.seen.insert(seen.clone());
        if is_new {
            self.seen_at.push_back((now, seen));
        }
        is_new
    }
}

const UNKNOWN: Receipt = Receipt { status: Status::Unknown, code: None };

/// Answers a caller, who may have given up waiting.
fn answer(command: Command, result: Result<Answer, ClientError>) -> Result<(), End> {
    drop(command.answer.send(result));
    Ok(())
}
