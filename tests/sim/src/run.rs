//! A scenario from its beginning to its end, and what is done to the world on the way.

use crate::memo::MEMO;
use crate::meter::{Meter, processor_nanos};
use crate::scenario::Scenario;
use crate::world::World;

/// A finished run.
pub struct Run {
    /// The world as it is at the end.
    pub world: World,
    /// What was counted in the measured part.
    pub meter: Meter,
    /// Seconds of the processor that it took.
    pub seconds: f64,
}

/// Plays a scenario.
#[must_use]
pub fn run(scenario: Scenario) -> Run {
    let began = processor_nanos();
    let mut world = World::new(scenario);
    world.run_until(world.scenario.warm);
    world.meter = Meter::new(world.hosts.len());
    let signatures = MEMO.counts();
    let end = world.scenario.warm + world.scenario.measure;
    world.run_until(end);
    let mut meter = world.meter.clone();
    meter.signatures = MEMO.counts().since(signatures);
    let end = world.scenario.end();
    world.run_until(end);
    world.last_look();
    Run { world, meter, seconds: (processor_nanos() - began) as f64 / 1e9 }
}

impl World {
    /// Does what a line of the scenario says.
    pub(crate) fn play(&mut self, line: usize) {
        let words = self.scenario.lines[line].words.clone();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        crate::faults::play(self, &words);
    }
}
