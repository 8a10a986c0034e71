//! A machine that knows nobody is linked to one that knows everybody: how long until it knows as much, and what that
//! costs both.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use aldis::relay::io::{Input, LinkKey, Moment, Output};
use aldis_wire::codec::cut;
use aldis_wire::host::{Channel, Role};
use aldis_wire::limits::FRAME_BYTES;
use anyhow::{Context, Result, ensure};
use bytes::{Bytes, BytesMut};
use clap::Args;
use serde_json::json;

use super::Machine;
use super::records::{Size, fill};
use crate::scenario::Report;

/// The link between the two.
const LINK: LinkKey = LinkKey(1_000_000);
/// When the measurement is given up.
const PATIENCE: Duration = Duration::from_secs(600);

/// How to measure.
#[derive(Clone, Debug, Args)]
pub(crate) struct Plan {
    #[command(flatten)]
    size: Size,
    /// One-way delay of the link in milliseconds
    #[arg(long, default_value_t = 1)]
    delay_ms: u64,
    /// What the link carries each way, in Mbit/s
    #[arg(long, default_value_t = 1_000)]
    mbit: u64,
}

struct Frame {
    at: Moment,
    channel: Channel,
    bytes: Bytes,
}

/// Two machines and what is on its way between them.
struct Pair {
    ends: [Machine; 2],
    cpu: [Duration; 2],
    /// Of one call: so long everybody else waits for the machine.
    longest: [Duration; 2],
    delay: Duration,
    /// Time that a byte takes on the line.
    per_byte: Duration,
    /// Until when the line away from each end is taken.
    line: [Moment; 2],
    on_way: [VecDeque<Frame>; 2],
    frames: usize,
    bytes: usize,
}

impl Pair {
    fn tell(&mut self, end: usize, input: Input) -> Result<()> {
        let times = self.cpu.get_mut(end).zip(self.longest.get_mut(end)).zip(self.line.get_mut(end));
        let (machine, ((cpu, longest), line)) = self.ends.get_mut(end).zip(times).context("two ends")?;
        let (outputs, took) = machine.tell(input);
        *cpu += took;
        *longest = took.max(*longest);
        for output in outputs {
            if let Output::Send { link: LINK, channel, frame } = output {
                self.frames += 1;
                self.bytes += frame.len();
                *line = (*line).max(machine.now) + self.per_byte * u32::try_from(frame.len())?;
                let on_way = self.on_way.get_mut(end).context("two ends")?;
                on_way.push_back(Frame { at: *line + self.delay, channel, bytes: frame });
            }
        }
        Ok(())
    }

    /// Lets the next thing happen.
    fn step(&mut self) -> Result<()> {
        let frames = self.on_way.each_ref().map(|on_way| on_way.front().map(|frame| frame.at));
        let timers = self.ends.each_ref().map(|machine| machine.relay.next_timeout());
        let next = frames.into_iter().chain(timers).flatten().min().context("nothing happens any more")?;
        let next = next.max(self.ends[0].now);
        self.ends.iter_mut().for_each(|machine| machine.now = next);
        for (from, at) in frames.into_iter().enumerate() {
            let due = at.is_some_and(|at| at <= next);
            let frame = self.on_way.get_mut(from).filter(|_| due).and_then(VecDeque::pop_front);
            let Some(Frame { channel, bytes, .. }) = frame else { continue };
            self.tell(from, Input::LinkSent { link: LINK, channel, bytes: bytes.len() })?;
            let cut = cut(&mut BytesMut::from(&bytes[..]), FRAME_BYTES)?;
            let (kind, body) = cut.context("a whole frame")?;
            self.tell(1 - from, Input::LinkReceived { link: LINK, channel, kind, body })?;
        }
        for (end, at) in timers.into_iter().enumerate() {
            if at.is_some_and(|at| at <= next) {
                self.tell(end, Input::Woken)?;
            }
        }
        Ok(())
    }
}

/// Measures.
pub(crate) fn measure(plan: &Plan) -> Result<Report> {
    let mut full = Machine::new(1)?;
    fill(&mut full, &plan.size)?;
    let mut fresh = Machine::new(2)?;
    fresh.now = full.now;
    let ids = [full.id, fresh.id];
    let delay = Duration::from_millis(plan.delay_ms);
    let begin = full.now;
    let mut pair = Pair {
        ends: [full, fresh],
        cpu: [Duration::ZERO; 2],
        longest: [Duration::ZERO; 2],
        delay,
        per_byte: Duration::from_nanos(8_000 / plan.mbit.max(1)),
        line: [begin; 2],
        on_way: [VecDeque::new(), VecDeque::new()],
        frames: 0,
        bytes: 0,
    };
    for (end, role) in [(0, Role::Acceptor), (1, Role::Dialler)] {
        let host = if end == 0 { ids[1] } else { ids[0] };
        let address = SocketAddr::from(([45, 2, 0, 1], 4_000));
        let (dial, exporter, rtt) = (None, [9; 32], 2 * delay);
        pair.tell(end, Input::LinkOpened { link: LINK, host, role, dial, address, exporter, rtt })?;
    }
    let records = plan.size.origins * plan.size.edges;
    while pair.ends[1].relay.tables().peers < records {
        ensure!(pair.ends[1].now.since(begin) < PATIENCE, "it takes too long: {:?}", pair.ends[1].relay.tables());
        pair.step()?;
        // To look costs a walk over all tables.
        while pair.on_way.iter().any(|on_way| !on_way.is_empty()) {
            pair.step()?;
        }
    }
    let seconds = pair.ends[1].now.since(begin).as_secs_f64();
    let [asked, asks] = pair.cpu.map(|cpu| cpu.as_secs_f64());
    let [asked_longest, asks_longest] = pair.longest.map(|longest| longest.as_secs_f64() * 1e3);
    let (mebibytes, frames) = (pair.bytes as f64 / f64::from(1 << 20), pair.frames);
    let each = asks * 1e6 / records as f64;
    let words = format!(
        "catch-up: {} host(s) of {} edges: {seconds:.2} s on a link of {} Mbit/s and {} ms one way, {frames} frames, \
         {mebibytes:.0} MiB; CPU {asks:.2} s ({each:.2} µs a record, {asks_longest:.1} ms in one call at most), \
         and {asked:.2} s at the neighbour ({asked_longest:.1} ms)",
        plan.size.origins, plan.size.edges, plan.mbit, plan.delay_ms
    );
    let json = json!({
        "scenario": "catch-up", "origins": plan.size.origins, "edges": plan.size.edges, "seconds": seconds,
        "frames": frames, "bytes": pair.bytes, "cpu_seconds": asks, "neighbour_cpu_seconds": asked,
        "longest_call_ms": asks_longest, "neighbour_longest_call_ms": asked_longest,
    });
    Ok(Report { json, words })
}
