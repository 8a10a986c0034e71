//! The ids of all clients, for whoever asks, where the operator allows it.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use aldis_wire::network::Network;
use axum::body::Bytes;
use tokio::sync::Mutex;

use super::codec::NAME_BYTES;
use super::names::everybody;
use crate::net::hub::{EdgeMailbox, Hub};
use crate::relay::io::{Event, Hello, Identity, Input, Request, Topic};
use crate::relay::limits::DISCOVER_MAX;

/// Asks the machine as an edge of its own, that is in no topic. Like every edge it may ask so and so often a second.
#[derive(Debug)]
pub(super) struct List {
    hub: Arc<Hub>,
    network: Arc<Network>,
    /// Opened by the first question.
    edge: Mutex<Option<EdgeMailbox>>,
}

impl List {
    pub(super) fn new(hub: Arc<Hub>, network: Arc<Network>) -> Self {
        Self { hub, network, edge: Mutex::default() }
    }

    /// Ids under this key, a random sample if there are many; `None` when too many ask.
    pub(super) async fn ids(&self, key: &str) -> Option<Vec<String>> {
        let topic = Topic { id: everybody(&self.network, key), name: "".into() };
        let mut edge = self.edge.lock().await;
        if edge.as_ref().is_none_or(|edge| heard(edge).is_err()) {
            let opened = self.hub.open_edge(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
            self.ask(&opened, Request::Hello(Hello { identity: Identity::Minted, meta: Bytes::new() }));
            *edge = Some(opened);
        }
        let opened = edge.as_ref()?;
        self.ask(opened, Request::Discover { id: "list".into(), topic, limit: DISCOVER_MAX });
        let sample = heard(opened).ok()??;
        let mut ids: Vec<String> = sample.iter().filter_map(|meta| id(meta)).map(str::to_owned).collect();
        ids.sort_unstable();
        ids.dedup();
        Some(ids)
    }

    fn ask(&self, edge: &EdgeMailbox, request: Request) {
        self.hub.happened(Input::EdgeAsked { edge: edge.key, request });
    }
}

/// What the machine has said, which it does at once: the metas of a sample, if that was among it.
///
/// # Errors
/// When the edge is of no use any more.
fn heard(edge: &EdgeMailbox) -> Result<Option<Vec<Bytes>>, ()> {
    let mut metas = None;
    while let Some(event) = edge.try_next() {
        match event {
            Event::Peers(sample) => metas = Some(sample.members.into_iter().map(|member| member.meta).collect()),
            Event::Error { id: None, .. } => return Err(()),
            _ => {}
        }
    }
    Ok(metas)
}

fn id(meta: &[u8]) -> Option<&str> {
    std::str::from_utf8(meta).ok().filter(|id| !id.is_empty() && id.len() <= NAME_BYTES)
}
