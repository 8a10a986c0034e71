//! What may be done to the world, by the words of a scenario (scenarios/README.md).

use crate::dht::DhtMood;
use crate::map::Place;
use crate::queue::SEC;
use crate::scenario::{percent, time};
use crate::trace::Arrow;
use crate::world::{Happening, World};
use aldis::relay::io::Input;

/// Does what these words say. A word that is not known is a defect of the scenario, and a violation.
pub(crate) fn play(world: &mut World, words: &[&str]) {
    if let Err(what) = try_play(world, words) {
        world.violated(&[], format!("cannot play '{}': {what}", words.join(" ")));
    }
}

fn try_play(world: &mut World, words: &[&str]) -> Result<(), String> {
    let (&verb, rest) = words.split_first().ok_or("nothing")?;
    match verb {
        "loss" => world.wires.loss = percent(rest.first().ok_or("how much?")?)?,
        "heal" => world.mend_world(),
        "dht" => world.dht.mood = mood(rest)?,
        "partition" | "partition_one_way" => {
            let some = hosts(world, rest)?;
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
        }
        "fast" => world.wires.slow.retain(|(slow, _)| *slow != place),
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

    /// It goes on: first its deadlines that are past, then what has waited.
    pub(crate) fn thaw(&mut self, place: Place) {
        if self.hosts[place].frozen.take().is_some() {
            self.trace.push(self.now, Arrow::Fault(place, "thaws"));
            let waiting = std::mem::take(&mut self.hosts[place].waiting);
            self.input(place, Input::Woken);
            waiting.into_iter().for_each(|input| self.input(place, input));
        }
    }

    /// Its time of day is off by so many seconds from now on; when it jumps ahead, so does its monotonic clock, as if the
    /// machine had slept. A monotonic clock does not go back.
    fn set_clock(&mut self, place: Place, seconds: i64) {
        self.trace.push(self.now, Arrow::Fault(place, "has its clock set"));
        self.hosts[place].off_by += seconds;
        self.hosts[place].ahead += seconds.max(0).unsigned_abs() * SEC;
        self.input(place, Input::Woken);
    }
}
