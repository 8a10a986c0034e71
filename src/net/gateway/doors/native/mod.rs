//! Aldis's own protocol: JSON over WebSocket (PROTOCOL.md §4).

pub(in crate::net::gateway) mod translate;

use std::sync::Arc;

use aldis_wire::edge::{FromEdge, PATH, SUBPROTOCOL};
use aldis_wire::refusal::Refusal;
use axum::Router;
use axum::body::Bytes;
use axum::routing::get;

use super::super::Front;
use super::super::dialect::{Desk, Dialect};
use super::super::upgrade::Knock;
use crate::relay::io::{Event, Request};
use translate::Translator;

/// The name in metrics.
const NAME: &str = "aldis";

struct Native {
    translator: Arc<Translator>,
}

pub(in crate::net::gateway) fn routes(front: &Arc<Front>, translator: Translator) -> Router {
    let (front, translator) = (front.clone(), Arc::new(translator));
    let counts = front.hub.counts().door(NAME);
    let enter = async move |knock: Knock| {
        knock.enter(&front, &counts, Some(SUBPROTOCOL), || Native { translator: translator.clone() })
    };
    Router::new().route(PATH, get(enter))
}

impl Dialect for Native {
    const ACKNOWLEDGES: bool = true;

    /// The edge says hello itself, once it has read the greeting.
    fn opened(&mut self, _desk: &mut Desk<'_>) {}

    fn text(&mut self, text: &str, desk: &mut Desk<'_>) {
        match FromEdge::decode(text) {
            Ok(FromEdge { ack, message }) => {
                let ack = ack.map(|seq| Request::Ack { seq });
                desk.ask_all(ack.into_iter().chain([self.translator.request(message)]));
            }
            Err(error) => desk.misunderstood(error.id.map(Into::into), error.refusal, error.message),
        }
    }

    fn binary(&mut self, _bytes: &Bytes, desk: &mut Desk<'_>) {
        desk.misunderstood(None, Refusal::BadFrame, "binary frames are not part of this protocol".to_owned());
    }

    fn event(&mut self, event: Event, desk: &mut Desk<'_>) {
        desk.send_text(self.translator.event(&event));
    }

    /// The session waits for its edge to come back.
    fn gone(&mut self, _desk: &mut Desk<'_>) {}
}
