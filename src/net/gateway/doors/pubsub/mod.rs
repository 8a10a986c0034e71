//! Topics to publish to, for y-webrtc and for Trystero's relay strategy (wire/DOORS.md).

mod codec;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use aldis_wire::door;
use aldis_wire::id::TopicId;
use aldis_wire::limits::{SIGNAL_DATA_BYTES, TOPIC_NAME_BYTES};
use aldis_wire::network::Network;
use aldis_wire::refusal::Refusal;
use axum::Router;
use axum::body::Bytes;
use axum::routing::get;
use serde_json::value::RawValue;

use super::super::dialect::{Desk, Dialect};
use super::super::upgrade::Knock;
use super::Porch;
use crate::doors::Door;
use crate::relay::io::{Event, Request, RequestId, Topic};
use codec::{Tongue, Wish};

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
    /// Topics that count the client among their subscribers: as many as a session may have.
    subscribed: BTreeSet<TopicId>,
    /// Messages whose subscribers are being counted. The machine answers before it takes the next request, so there are
    /// never more than one frame brings.
    counted: VecDeque<(RequestId, Topic, Vec<u8>)>,
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

    fn encode_trystero(payload: &str) -> Bytes {
        door::wrap(NAME, &[&[2], payload.as_bytes()].concat())
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
        Self { network, subscribed: BTreeSet::new(), counted: VecDeque::new() }
    }

    fn topic(&self, tongue: Tongue, name: &str) -> Topic {
        let id = self.network.door_topic(NAME, &[tongue.name().as_bytes(), name.as_bytes()]);
        Topic { id, name: format!("{}:{name}", tongue.name()).into() }
    }

    fn publish(&mut self, tongue: Tongue, name: &str, content: &str, desk: &mut Desk<'_>) {
        if content.len() + 2 * NAME.len() > SIGNAL_DATA_BYTES {
            return desk.misunderstood(None, Refusal::TooBig, String::new());
        }
        let topic = self.topic(tongue, name);
        match tongue {
            Tongue::Yjs => {
                let id = desk.discover(topic.clone(), 0);
                self.counted.push_back((id, topic, content.as_bytes().to_vec()));
            }
            Tongue::Trystero => broadcast(topic, Body::encode_trystero(content), desk),
        }
    }
}

/// What a client calls a topic, and in which tongue.
fn named(topic: &str) -> Option<(Tongue, &str)> {
    let (tongue, name) = topic.split_once(':')?;
    Some((Tongue::ALL.into_iter().find(|known| known.name() == tongue)?, name))
}

fn broadcast(topic: Topic, data: Bytes, desk: &mut Desk<'_>) {
    let id = desk.fresh_id();
    desk.ask(Request::Broadcast { id, topic, data, echo: true });
}

impl Dialect for PubSub {
    fn opened(&mut self, desk: &mut Desk<'_>) {
        desk.hello();
    }

    /// What cannot be read is passed over: there are no words for it.
    fn text(&mut self, text: &str, desk: &mut Desk<'_>) {
        match codec::read(text) {
            Ok(Wish::Subscribe(tongue, names)) => {
                for name in names.iter().filter(|name| name.len() <= TOPIC_NAME_BYTES) {
                    let (id, topic) = (desk.fresh_id(), self.topic(tongue, name));
                    desk.ask(Request::Join { id, topic, meta: None, quiet: true });
                }
            }
            Ok(Wish::Unsubscribe(tongue, names)) => {
                for name in names {
                    let (id, topic) = (desk.fresh_id(), self.topic(tongue, &name));
                    self.subscribed.remove(&topic.id);
                    desk.ask(Request::Leave { id, topic });
                }
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
            Event::Joined(sample) => {
                if let Some((tongue, name)) = named(&sample.topic) {
                    self.subscribed.insert(self.topic(tongue, name).id);
                }
            }
            Event::Peers(sample) => {
                let Some(place) = self.counted.iter().position(|(id, ..)| *id == sample.id) else { return };
                let Some((_, topic, message)) = self.counted.remove(place) else { return };
                let clients = sample.total + usize::from(self.subscribed.contains(&topic.id));
                let data = Body::encode_yjs(u32::try_from(clients).unwrap_or(u32::MAX), &message);
                broadcast(topic, data, desk);
            }
            Event::Error { id: Some(id), .. } => self.counted.retain(|(counted, ..)| *counted != id),
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
}

#[cfg(test)]
mod tests;
