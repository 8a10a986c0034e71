//! Topics to publish to, for y-webrtc and for Trystero's relay strategy (wire/DOORS.md).

//!
//! | module | what |
//! |---|---|
//! | `codec` | the JSON |
//! | `outbox` | messages until the machine has taken them |
//! | `subscriptions` | topics that are subscribed |

mod codec;
mod outbox;
mod subscriptions;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use aldis_wire::door;
use aldis_wire::limits::{PEER_TOPICS_MAX, SIGNAL_DATA_BYTES, TOPIC_NAME_BYTES};
use aldis_wire::network::Network;
use aldis_wire::refusal::Refusal;
use axum::Router;
use axum::body::Bytes;
use axum::routing::get;
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::super::dialect::{Desk, Dialect};
use super::super::upgrade::Knock;
use super::Porch;
use crate::doors::Door;
use crate::relay::io::{Event, Topic};
use codec::{Tongue, Wish};
use outbox::Outbox;
use subscriptions::Subscriptions;

/// The name in topics and between hosts.
const NAME: &str = Door::PubSub.name();

pub(super) fn routes(porch: &Porch<'_>) -> Router {
    let (front, counts, network) = (porch.front.clone(), porch.counts.clone(), Arc::new(porch.network.clone()));
    let enter = async move |knock: Knock| knock.enter(&front, &counts, None, || PubSub::new(network.clone()));
    Router::new().route("/pubsub", get(enter.clone())).route("/pubsub/", get(enter))
}

/// One client.
struct PubSub {
    network: Arc<Network>,
    subscriptions: Subscriptions,
    outbox: Outbox,
}

/// What a door tells another: `0x01 ‖ subscribers as u32 ‖ message of y-webrtc` or `0x02 ‖ payload of Trystero`.
#[derive(Debug)]
enum Body<'a> {
    Yjs { clients: u32, message: &'a str },
    Trystero { payload: &'a RawValue },
}

impl<'a> Body<'a> {
    fn encode_yjs(clients: u32, message: &[u8]) -> Bytes {
        door::wrap(NAME, &[&[1], &clients.to_be_bytes()[..], message].concat())
    }

    fn encode_trystero(payload: &[u8]) -> Bytes {
        door::wrap(NAME, &[&[2], payload].concat())
    }

    /// `None` for what no door would send to this topic.
    fn decode(body: &'a [u8], tongue: Tongue, topic: &str) -> Option<Self> {
        match (tongue, body.split_first()?) {
            (Tongue::Yjs, (1, rest)) => {
                let (clients, message) = rest.split_first_chunk()?;
                let message = std::str::from_utf8(message).ok()?;
                match codec::read(message).ok()? {
                    Wish::Publish(Tongue::Yjs, to, message) if to == topic => {
                        Some(Self::Yjs { clients: u32::from_be_bytes(*clients), message })
                    }
                    _ => None,
                }
            }
            (Tongue::Trystero, (2, payload)) => Some(Self::Trystero { payload: serde_json::from_slice(payload).ok()? }),
            _ => None,
        }
    }
}

impl PubSub {
    fn new(network: Arc<Network>) -> Self {
        Self { network, subscriptions: Subscriptions::default(), outbox: Outbox::default() }
    }

    fn topic(&self, tongue: Tongue, name: &str) -> Topic {
        let id = self.network.door_topic(NAME, &[tongue.name().as_bytes(), name.as_bytes()]);
        Topic { id, name: format!("{}:{name}", tongue.name()).into() }
    }

    /// The first topics of a list, as many as a client may have, each once.
    fn topics(&self, tongue: Tongue, names: &[Cow<'_, str>]) -> Vec<Topic> {
        let fitting = names.iter().map(|name| &**name).filter(|name| name.len() <= TOPIC_NAME_BYTES);
        let once: BTreeSet<&str> = fitting.take(PEER_TOPICS_MAX).collect();
        once.into_iter().map(|name| self.topic(tongue, name)).collect()
    }

    fn publish(&mut self, tongue: Tongue, name: &str, content: &str, desk: &mut Desk<'_>) {
        let overhead = match tongue {
            Tongue::Yjs => Body::encode_yjs(0, b""),
            Tongue::Trystero => Body::encode_trystero(b""),
        };
        if overhead.len() + content.len() > SIGNAL_DATA_BYTES {
            return desk.misunderstood(None, Refusal::TooBig, String::new());
        }
        let topic = self.topic(tongue, name);
        if let Err(refusal) = self.outbox.push(tongue, topic, content, desk) {
            desk.misunderstood(None, refusal, String::new());
        }
    }
}

/// What a client calls a topic, and in which tongue.
fn named(topic: &str) -> Option<(Tongue, &str)> {
    let (tongue, name) = topic.split_once(':')?;
    Some((Tongue::ALL.into_iter().find(|known| known.name() == tongue)?, name))
}

impl Dialect for PubSub {
    fn opened(&mut self, desk: &mut Desk<'_>) {
        desk.hello();
    }

    /// What cannot be read is passed over: there are no words for it.
    fn text(&mut self, text: &str, desk: &mut Desk<'_>) {
        match codec::read(text) {
            Ok(Wish::Subscribe(tongue, names)) => {
                let topics = self.topics(tongue, &names);
                self.subscriptions.add(topics.into_iter(), desk);
            }
            Ok(Wish::Unsubscribe(tongue, names)) => {
                let topics = self.topics(tongue, &names);
                self.subscriptions.remove(topics.into_iter(), desk);
            }
            Ok(Wish::Publish(tongue, name, content)) => self.publish(tongue, &name, content, desk),
            Ok(Wish::Ping) => desk.send_text("{\"type\":\"pong\"}"),
            Ok(Wish::Other) => {}
            Err(error) => desk.misunderstood(None, Refusal::Malformed, error.to_string()),
        }
    }

    fn binary(&mut self, _bytes: &Bytes, desk: &mut Desk<'_>) {
        desk.misunderstood(None, Refusal::BadFrame, "binary frames are not part of this protocol".to_owned());
    }

    fn event(&mut self, event: Event, desk: &mut Desk<'_>) {
        match event {
            Event::Joined(sample) => self.subscriptions.granted(&sample.id),
            Event::Left { id, .. } => self.subscriptions.granted(&id),
            Event::Peers(sample) => {
                let Self { subscriptions, outbox, .. } = self;
                outbox.counted(&sample.id, sample.total, |topic| subscriptions.counts(topic), desk);
            }
            Event::Tally { id, reach, .. } => self.outbox.tallied(&id, &reach, desk),
            Event::Error { id: Some(id), refusal, .. } => {
                self.subscriptions.refused(&id, refusal, desk.now());
                self.outbox.refused(&id, refusal, desk);
            }
            Event::Broadcast { topic, data, .. } => {
                let (Some(body), Some((tongue, topic))) = (door::unwrap(NAME, &data), named(&topic)) else { return };
                match Body::decode(&body, tongue, topic) {
                    Some(Body::Yjs { clients, message }) => {
                        codec::told_yjs(message, clients).into_iter().for_each(|text| desk.send_text(text));
                    }
                    Some(Body::Trystero { payload }) => desk.send_text(codec::told_trystero(topic, payload)),
                    None => {}
                }
            }
            // Whoever cannot come in is not kept waiting at the door.
            Event::Error {
                id: None, refusal: Refusal::TooManyEdges | Refusal::Closing | Refusal::Overloaded, ..
            } => {
                desk.close(Some(1013));
            }
            _ => {}
        }
    }

    fn deadline(&self) -> Option<Instant> {
        [self.subscriptions.deadline(), self.outbox.deadline()].into_iter().flatten().min()
    }

    fn woken(&mut self, desk: &mut Desk<'_>) {
        self.subscriptions.woken(desk);
        self.outbox.woken(desk);
    }
}

#[cfg(test)]
mod tests;
