//! What may be done to the world, by the words of a scenario (scenarios/README.md).

use crate::dht::DhtMood;
use crate::edges::Wish;
use crate::map::Place;
use crate::queue::SEC;
use crate::scenario::{percent, time};
use crate::trace::Arrow;
use crate::wires::EndId;
use crate::world::{Happening, World};
use aldis::relay::io::Input;
use aldis_wire::codec::HEADER_BYTES;
use aldis_wire::host::Channel;
use bytes::Bytes;

/// Kinds of frames (PROTOCOL.md §5.3).
const HELLO: u8 = 1;
const HAVE: u8 = 4;

/// Does what these words say. A word that is not known is a defect of the scenario, and a violation.
pub(crate) fn play(world: &mut World, words: &[&str]) {
    if let Err(what) = try_play(world, words) {
        world.violated(&[], format!("cannot play '{}': {what}", words.join(" ")));
    }
}

fn try_play(world: &mut World, words: &[&str]) -> Result<(), String> {
    let (&verb, rest) = words.split_first().ok_or("nothing")?;
    match verb {
        "loss" => {
            world.wires.loss = percent(rest.first().ok_or("how much?")?)?;
            world.disturbed(world.wires.loss > 0);
        }
        "heal" => {
            world.mend_world();
            world.disturbed(false);
        }
        "dht" => world.dht.mood = mood(rest)?,
        "partition" | "partition_one_way" => {
            let some = hosts(world, rest)?;
            world.disturbed(true);
            world.part_world(|place| some.contains(&place), verb == "partition_one_way");
        }
        _ => {
            for place in hosts(world, rest)? {
                host(world, verb, place, rest.get(1).copied())?;
            }
        }
    }
    Ok(())
}

fn framed(kind: u8, body: &[u8]) -> Bytes {
    let [_, length @ ..] = (body.len() as u32).to_be_bytes();
    [&[kind], &length[..], body].concat().into()
}

fn mood(words: &[&str]) -> Result<DhtMood, String> {
    Ok(match words {
        ["well"] => DhtMood::Well,
        ["slow"] => DhtMood::Slow,
        ["stale"] => DhtMood::Stale,
        ["poisoned"] => DhtMood::Poisoned,
        ["absent"] => DhtMood::Absent,
        _ => return Err("well, slow, stale, poisoned or absent?".to_owned()),
    })
}

/// One host by its number (`#3`), so many of the running ones by chance (`3`), or a part of them (`30%`).
fn hosts(world: &mut World, words: &[&str]) -> Result<Vec<Place>, String> {
    let word = words.first().ok_or("which hosts?")?;
    let count = world.hosts.len();
    if *word == "all" {
        return Ok((0..count).collect());
    }
    if *word == "liars" {
        return Ok((0..count).filter(|place| world.is_liar(*place)).collect());
    }
    if let Some(place) = word.strip_prefix('#') {
        let place: Place = place.parse().map_err(|_| format!("'{word}' is no host"))?;
        return if place < count { Ok(vec![place]) } else { Err(format!("there is no host {word}")) };
    }
    let wanted = match percent(word) {
        Ok(parts) => count * parts as usize / 1_000_000,
        Err(_) => word.parse().map_err(|_| format!("'{word}' is neither a number, nor a part, nor a host"))?,
    };
    let mut running: Vec<Place> = (0..count).filter(|place| world.hosts[*place].running().is_some()).collect();
    let mut chosen = Vec::new();
    while chosen.len() < wanted && !running.is_empty() {
        let at = world.chance.index(running.len());
        chosen.push(running.swap_remove(at));
    }
    chosen.sort_unstable();
    Ok(chosen)
}

fn host(world: &mut World, verb: &str, place: Place, how: Option<&str>) -> Result<(), String> {
    let duration = || time(how.ok_or("how long?")?);
    match verb {
        "crash" => world.kill(place),
        "start" => world.start(place),
        "restart" => {
            let after = duration()?;
            world.kill(place);
            world.later(after, Happening::Start(place));
        }
        "restart_blank" => {
            let after = duration()?;
            world.kill(place);
            world.wipe(place);
            world.later(after, Happening::Start(place));
        }
        "stop" => world.input(place, Input::ShutdownAsked),
        "upgrade" => {
            let after = duration()?;
            world.input(place, Input::ShutdownAsked);
            world.hosts[place].newer = true;
            world.hosts[place].software = "aldis 99.0.0".to_owned();
            world.later(SEC + after, Happening::Start(place));
        }
        "reboot" => {
            let moves = match how {
                Some("address") => true,
                Some("port") => false,
                _ => return Err("with a new address or with new ports?".to_owned()),
            };
            world.trace.push(world.now, Arrow::Fault(place, "has its router rebooted"));
            world.reboot_router(place, moves);
        }
        "storm" => {
            let times: usize = how.ok_or("how many times as many?")?.parse().map_err(|_| "how many times as many?")?;
            world.storm(place, times);
        }
        "freeze" => {
            let after = duration()?;
            world.freeze(place);
            world.later(after, Happening::Thaw(place));
        }
        "clock" => {
            let seconds: i64 = how.ok_or("how far?")?.parse().map_err(|_| "by how many seconds?")?;
            world.set_clock(place, seconds);
        }
        "slow" => {
            let bytes = how.ok_or("how slow?")?.parse().map_err(|_| "how many bytes a second?")?;
            world.wires.slow.retain(|(slow, _)| *slow != place);
            world.wires.slow.push((place, bytes));
            world.disturbed(true);
        }
        "fast" => {
            world.wires.slow.retain(|(slow, _)| *slow != place);
            world.disturbed(false);
        }
        _ => return Err(format!("'{verb}' is nothing that can be done")),
    }
    Ok(())
}

impl World {
    /// A host's disk is empty when it starts again.
    fn wipe(&mut self, place: Place) {
        self.hosts[place].disk = Default::default();
    }

    /// A process stands still: what happens to it waits, and it acknowledges nothing.
    fn freeze(&mut self, place: Place) {
        if self.hosts[place].running().is_some() {
            self.trace.push(self.now, Arrow::Fault(place, "freezes"));
            self.hosts[place].frozen = Some(self.now);
            self.stands_still(place);
        }
    }

    /// What a newer minor version sends: its Hello is longer, and after each summary it says something of which this
    /// version knows nothing (PROTOCOL.md §5.2).
    pub(crate) fn as_newer(&mut self, end: EndId, frame: Bytes) -> Bytes {
        const UNKNOWN: u8 = 200;
        let Some(([kind, ..], body)) = frame.split_first_chunk::<HEADER_BYTES>() else { return frame };
        match *kind {
            HELLO => framed(HELLO, &[body, b"more"].concat()),
            HAVE => {
                self.transmit(end, Channel::Control, framed(UNKNOWN, b"news"));
                frame
            }
            _ => frame,
        }
    }

    /// So many times as many edges as live here come within a second.
    fn storm(&mut self, place: Place, times: usize) {
        if self.hosts[place].running().is_some() {
            for _ in 0..self.scenario.edges * times.saturating_sub(1) {
                let edge = self.add_edge(place, false);
                let after = self.chance.below(SEC);
                self.plan(edge, after, Wish::Come);
            }
        }
    }

    /// It goes on: first its deadlines that are past, then what has waited.
    pub(crate) fn thaw(&mut self, place: Place) {
        if self.hosts[place].frozen.take().is_some() {
            self.trace.push(self.now, Arrow::Fault(place, "thaws"));
            self.recovers(place);
            let waiting = std::mem::take(&mut self.hosts[place].waiting);
            self.input(place, Input::Woken);
            waiting.into_iter().for_each(|input| self.input(place, input));
        }
    }

    /// Its time of day is off by so many seconds from now on; when it jumps ahead, so does its monotonic clock, as if the
    /// machine had slept. A monotonic clock does not go back.
    fn set_clock(&mut self, place: Place, seconds: i64) {
        self.trace.push(self.now, Arrow::Fault(place, "has its clock set"));
        self.recovers(place);
        self.hosts[place].off_by += seconds;
        self.hosts[place].ahead += seconds.max(0).unsigned_abs() * SEC;
        self.input(place, Input::Woken);
    }
}
