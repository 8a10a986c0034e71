//! The life of one connection to another host: its streams, its orders, its end.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use aldis_wire::host::{Channel, GoodbyeReason, Role};
use quinn::{ApplicationClose, Connection, ConnectionError, RecvStream, SendStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

use super::streams::{self, Fault, Reading};
use super::{canonical, code, transport};
use crate::net::hub::{Hub, LinkEnd, LinkMailbox, LinkOrder};
use crate::relay::io::{Input, LinkKey};
use crate::relay::limits::LINK_SILENT;

/// How often the machine is told round trip and address.
const MEASURE_INTERVAL: Duration = Duration::from_secs(1);
/// How often it is looked whether anything has come.
const LISTEN_INTERVAL: Duration = Duration::from_millis(500);
/// Looks in vain after which the machine is told. Looks are counted and not seconds, so that a process that was asleep does
/// not blame others.
const LOOKS_IN_VAIN: u128 = LINK_SILENT.as_millis() / LISTEN_INTERVAL.as_millis();
/// Looks in vain after which a connection is closed: 6 s. QUIC's own time-out, a second later, ends it without a word,
/// and so does quinn's close while the congestion window is full; the other side, when it still hears us, would hold it
/// for as long again.
const LOOKS_IN_VAIN_MAX: u128 = 12;
/// How long what was sent may take to arrive before a connection is closed.
const FLUSH_MAX: Duration = Duration::from_secs(2);
/// How long a connection may stay after the other side has ended its control stream.
const LINGER_MAX: Duration = Duration::from_secs(3);

/// Besides two round trips, an answer from the other side may take so long, when we have other addresses: it is sent for
/// anew after 0.2 to 0.5 s.
const ANSWER_MAX: Duration = Duration::from_secs(1);

/// The addresses of this machine, whenever they change.
pub(super) type Present = watch::Receiver<BTreeSet<IpAddr>>;

pub(super) struct Link {
    connection: Connection,
    mailbox: LinkMailbox,
    hub: Arc<Hub>,
    reading: Arc<Reading>,
    readers: JoinSet<Result<Ended, Fault>>,
    writers: JoinSet<Result<(), Fault>>,
}

/// Which stream the other side has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    Control,
    Other,
}

/// How a connection came to its end.
enum End {
    /// We were told to.
    Ordered(LinkEnd),
    /// The other side broke the framing.
    Fault(Fault),
    /// It is over already.
    Over(ConnectionError),
    /// The other side has said all it had to say and does not close.
    Lingered,
    /// Nothing is heard of the other side.
    Silent,
}

impl Link {
    pub(super) fn new(connection: Connection, mailbox: LinkMailbox, hub: Arc<Hub>) -> Self {
        let reading = Arc::new(Reading::new(connection.clone(), mailbox.clone(), hub.clone()));
        Self { connection, mailbox, hub, reading, readers: JoinSet::new(), writers: JoinSet::new() }
    }

    /// Runs until the connection ends. The machine hears of it unless it said so itself.
    pub(super) async fn run(mut self, role: Role, present: Present) {
        let end = match self.open_control(role).await {
            Ok(()) => {
                let (connection, hub, key) = (self.connection.clone(), self.hub.clone(), self.mailbox.key);
                tokio::select! {
                    end = self.live() => end,
                    () = silence(&connection, &hub, key) => End::Silent,
                    never = stranding(&connection, &hub, key, present) => match never {},
                }
            }
            Err(error) => End::Over(error),
        };
        match end {
            End::Ordered(LinkEnd::Said(reason)) => self.flush(reason).await,
            End::Ordered(LinkEnd::Overflowed) => self.connection.close(code(GoodbyeReason::Misbehaved), b"too slow"),
            End::Fault(fault) => {
                self.hub.counts().links_misframed.add();
                self.connection.close(code(GoodbyeReason::Misbehaved), fault.to_string().as_bytes());
                self.hub.link_lost(self.mailbox.key, format!("it broke the protocol: {fault}"));
            }
            End::Lingered => {
                self.connection.close(code(GoodbyeReason::Closing), b"");
                self.hub.link_lost(self.mailbox.key, "it ended its control stream".to_owned());
            }
            End::Silent => {
                self.connection.close(code(GoodbyeReason::Closing), b"nothing is heard of you");
                self.hub.link_lost(self.mailbox.key, in_words(&ConnectionError::TimedOut));
            }
            End::Over(error) => self.hub.link_lost(self.mailbox.key, in_words(&error)),
        }
    }

    /// The dialler opens control at once. The acceptor takes it when its first frame comes.
    async fn open_control(&mut self, role: Role) -> Result<(), ConnectionError> {
        if role == Role::Dialler {
            let (send, receive) = self.connection.open_bi().await?;
            self.start_control(send, receive);
        }
        Ok(())
    }

    fn start_control(&mut self, send: SendStream, receive: RecvStream) {
        self.start_writing(send, Channel::Control);
        let reading = self.reading.clone();
        self.readers.spawn(async move { reading.read(receive, Channel::Control).await.map(|()| Ended::Control) });
    }

    fn start_writing(&mut self, stream: SendStream, channel: Channel) {
        self.writers.spawn(streams::write(self.mailbox.clone(), self.hub.clone(), stream, channel));
    }

    /// Opens the stream of a channel; waits in the background until the other side allows it.
    fn open(&mut self, channel: Channel) {
        let (connection, mailbox, hub) = (self.connection.clone(), self.mailbox.clone(), self.hub.clone());
        self.writers.spawn(async move {
            let Ok(mut stream) = connection.open_uni().await else { return Ok(()) };
            let _ = stream.set_priority(channel.priority());
            // If the connection is over, the writer finds out at its first frame.
            let _ = stream.write_all(&[channel.number()]).await;
            streams::write(mailbox, hub, stream, channel).await
        });
    }

    async fn live(&mut self) -> End {
        let mut measure = interval_at(Instant::now() + MEASURE_INTERVAL, MEASURE_INTERVAL);
        measure.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let linger = tokio::time::sleep(LINGER_MAX);
        tokio::pin!(linger);
        let (mut control, mut ending) = (!self.writers.is_empty(), false);
        loop {
            tokio::select! {
                order = self.mailbox.next_order() => match order {
                    // Its stream is opened by the dialler alone.
                    LinkOrder::Open(Channel::Control) => {}
                    LinkOrder::Open(channel) => self.open(channel),
                    LinkOrder::Widen => transport::widen(&self.connection),
                    LinkOrder::Close(end) => return End::Ordered(end),
                },
                stream = self.connection.accept_uni() => match stream {
                    Ok(stream) => self.start_reading(stream),
                    Err(error) => return End::Over(error),
                },
                stream = self.connection.accept_bi() => match stream {
                    Ok(_) if control => return End::Fault(Fault::Duplicate),
                    Ok((send, receive)) => {
                        control = true;
                        self.start_control(send, receive);
                    }
                    Err(error) => return End::Over(error),
                },
                Some(ended) = self.readers.join_next() => match ended {
                    Ok(Ok(Ended::Control)) => {
                        ending = true;
                        linger.as_mut().reset(Instant::now() + LINGER_MAX);
                    }
                    Ok(Err(fault)) => return End::Fault(fault),
                    // A reader's panic has poisoned the hub's lock, if it was in there; else it concerns one stream.
                    Ok(Ok(Ended::Other)) | Err(_) => {}
                },
                Some(ended) = self.writers.join_next() => if let Ok(Err(fault)) = ended {
                    return End::Fault(fault);
                },
                () = &mut linger, if ending => return End::Lingered,
                _ = measure.tick() => self.measured(),
            }
        }
    }

    fn start_reading(&mut self, stream: RecvStream) {
        let reading = self.reading.clone();
        self.readers.spawn(async move { reading.read_numbered(stream).await.map(|()| Ended::Other) });
    }

    fn measured(&self) {
        let (rtt, address) = (self.connection.rtt(), canonical(self.connection.remote_address()));
        self.hub.happened(Input::LinkMeasured { link: self.mailbox.key, rtt, address });
    }

    /// Lets what was said arrive, for a while, then closes. Where another connection is kept, what the other side has
    /// still said on this one is read as well, until it ends its side.
    async fn flush(&mut self, reason: GoodbyeReason) {
        let crossed = reason == GoodbyeReason::Crossed;
        if !crossed {
            self.readers.shutdown().await;
        }
        let _ = timeout(FLUSH_MAX, self.drain(crossed)).await;
        self.connection.close(code(reason), reason.words().as_bytes());
    }

    async fn drain(&mut self, reading: bool) {
        while !self.writers.is_empty() || (reading && !self.readers.is_empty()) {
            tokio::select! {
                Some(_) = self.writers.join_next() => {}
                Some(_) = self.readers.join_next() => {}
                stream = self.connection.accept_uni(), if reading => match stream {
                    Ok(stream) => self.start_reading(stream),
                    Err(_) => return,
                },
            }
        }
    }
}

/// Waits until nothing has come over a connection for a while, or nothing of what was sent has been acknowledged: the
/// other side may be heard and not hear. Says before that nothing comes.
async fn silence(connection: &Connection, hub: &Hub, link: LinkKey) {
    let mut listen = interval_at(Instant::now() + LISTEN_INTERVAL, LISTEN_INTERVAL);
    listen.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut came, mut silent) = (0, 0);
    let (mut rtt, mut sent, mut unacknowledged) = (Duration::ZERO, 0, 0);
    while silent < LOOKS_IN_VAIN_MAX && unacknowledged < LOOKS_IN_VAIN_MAX {
        listen.tick().await;
        let now = connection.stats();
        silent = if now.udp_rx.datagrams == came { silent + 1 } else { 0 };
        came = now.udp_rx.datagrams;
        if silent == LOOKS_IN_VAIN {
            hub.happened(Input::LinkSilent { link });
        }
        // Frames with acknowledgements say old things again and again; what is newly acknowledged is measured.
        if now.path.rtt != rtt {
            (rtt, sent, unacknowledged) = (now.path.rtt, now.frame_tx.stream, 0);
        } else if now.frame_tx.stream > sent {
            unacknowledged += 1;
        }
    }
}

/// Tells the machine when a connection leads to us no more: the address at which it was taken is gone, or nothing comes any
/// more since this machine's addresses have changed. What we dialled leaves by whatever address there is.
async fn stranding(connection: &Connection, hub: &Hub, link: LinkKey, mut present: Present) -> Infallible {
    while present.changed().await.is_ok() {
        let gone = connection.local_ip().is_some_and(|ip| !present.borrow().contains(&ip.to_canonical()));
        let before = connection.stats().udp_rx.datagrams;
        if !gone {
            tokio::time::sleep(ANSWER_MAX + 2 * connection.rtt()).await;
        }
        if gone || connection.stats().udp_rx.datagrams == before {
            hub.happened(Input::LinkStranded { link });
        }
    }
    std::future::pending().await
}

/// What ended a connection, for a log.
fn in_words(error: &ConnectionError) -> String {
    match error {
        ConnectionError::ApplicationClosed(ApplicationClose { error_code, reason }) => {
            let known = GoodbyeReason::ALL.iter().find(|known| code(**known) == *error_code);
            let why = known.map_or("for an unknown reason", |known| known.words());
            format!("it closed: {why} ({})", String::from_utf8_lossy(reason).escape_debug())
        }
        ConnectionError::TimedOut => "no sign of life".to_owned(),
        other => other.to_string(),
    }
}
