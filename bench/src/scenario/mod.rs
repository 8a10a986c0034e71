//! The measurements.

pub(crate) mod closed;
pub(crate) mod idle;
pub(crate) mod join;
pub(crate) mod library;
pub(crate) mod offer;
pub(crate) mod real_catch_up;

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;

use anyhow::{Result, bail};
use serde_json::Value;
use tokio::task::{JoinSet, spawn_local};

use crate::edge::{Acks, Edge, Listener, keep_up};

/// Edges that connect at the same time. A host lets 64 of one address be silent before `hello`.
const WIDTH: usize = 32;

/// What came out.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) json: Value,
    pub(crate) words: String,
}

/// Connections that ended before they should.
#[derive(Debug, Default)]
struct Losses(RefCell<Vec<anyhow::Error>>);

impl Losses {
    fn add(&self, error: anyhow::Error) {
        self.0.borrow_mut().push(error);
    }

    fn check(&self) -> Result<()> {
        match self.0.borrow().as_slice() {
            [] => Ok(()),
            [first, rest @ ..] => bail!("{first:#} (and {} more)", rest.len()),
        }
    }
}

/// An edge that is to be opened: its place, its host, and the topic it joins, if any.
#[derive(Clone, Debug)]
struct Seat {
    index: usize,
    host: SocketAddr,
    topic: Option<String>,
}

/// Opens edges, a few at a time; each listens as soon as it is there. They come back in the order of their places.
async fn open(seats: impl Iterator<Item = Seat>, acks: Acks, listener: &Rc<dyn Listener>) -> Result<Vec<Rc<Edge>>> {
    let mut edges: Vec<Rc<Edge>> = Vec::new();
    let mut opening = JoinSet::new();
    let mut add = |edge: Rc<Edge>| {
        spawn_local(edge.clone().listen(listener.clone()));
        edges.push(edge);
    };
    for seat in seats {
        while opening.len() >= WIDTH {
            if let Some(opened) = opening.join_next().await {
                add(opened??);
            }
        }
        opening.spawn_local(take_seat(seat, acks));
    }
    while let Some(opened) = opening.join_next().await {
        add(opened??);
    }
    edges.sort_by_key(|edge| edge.index);
    spawn_local(keep_up(edges.clone()));
    Ok(edges)
}

async fn take_seat(seat: Seat, acks: Acks) -> Result<Rc<Edge>> {
    let edge = Edge::open(seat.host, seat.index, acks).await?;
    if let Some(topic) = &seat.topic {
        edge.join(topic).await?;
    }
    Ok(edge)
}

/// How many hosts a measurement needs.
fn hosts_count(local: bool) -> usize {
    if local { 1 } else { 2 }
}
