//! A scenario from its beginning to its end, and what is done to the world on the way.

use crate::memo::MEMO;
use crate::meter::{Meter, processor_nanos};
use crate::queue::{At, SEC};
use crate::scenario::Scenario;
use crate::world::World;

/// What is told of a large run while it goes on, and by what the worst part of a run is found.
const MINUTE: At = 60 * SEC;
/// From so many hosts on a run takes long enough.
const LARGE: usize = 100;

/// What was counted in one minute.
#[derive(Clone, Copy, Debug)]
pub struct Minute {
    /// Copies of an announcement that came to a host after the first one, for each that was new.
    pub redundancy: f64,
    /// Bytes that a host received in a second, on average.
    pub received: f64,
}

/// A finished run.
pub struct Run {
    /// The world as it is at the end.
    pub world: World,
    /// What was counted in the measured part.
    pub meter: Meter,
    /// Seconds of the processor that it took.
    pub seconds: f64,
    /// Those of them that the measured part took.
    pub measured_seconds: f64,
    /// The measured part, minute by minute.
    pub minutes: Vec<Minute>,
}

/// Plays a scenario.
#[must_use]
pub fn run(scenario: Scenario) -> Run {
    let began = processor_nanos();
    let mut world = World::new(scenario);
    let warm = world.scenario.warm;
    by_minutes(&mut world, warm);
    world.meter = Meter::new(world.hosts.len());
    let (signatures, measuring) = (MEMO.counts(), processor_nanos());
    let end = world.scenario.warm + world.scenario.measure;
    let minutes = by_minutes(&mut world, end);
    let measured_seconds = (processor_nanos() - measuring) as f64 / 1e9;
    let mut meter = world.meter.clone();
    meter.signatures = MEMO.counts().since(signatures);
    let end = world.scenario.end();
    world.run_until(end);
    world.last_look();
    Run { world, meter, seconds: (processor_nanos() - began) as f64 / 1e9, measured_seconds, minutes }
}

/// Lets time pass until `end`, and looks at what was counted after each minute.
fn by_minutes(world: &mut World, end: At) -> Vec<Minute> {
    let mut minutes = Vec::new();
    while world.now < end {
        let (began, [new, copies], bytes) = (world.now, world.meter.announcements, bytes(&world.meter));
        world.run_until(end.min(began + MINUTE));
        let Meter { announcements: [new_now, copies_now], .. } = world.meter;
        let seconds = (world.now - began) as f64 / SEC as f64;
        let minute = Minute {
            redundancy: (copies_now - copies) as f64 / (new_now - new).max(1) as f64,
            received: (self::bytes(&world.meter) - bytes) as f64 / seconds / world.hosts.len() as f64,
        };
        if world.hosts.len() >= LARGE {
            let (at, cpu) = (world.now / SEC, processor_nanos() / SEC);
            let Minute { redundancy, received } = minute;
            eprintln!(
                "{at} s: {received:.0} bytes a second and host, redundancy {redundancy:.3}, {cpu} s of processor"
            );
        }
        minutes.push(minute);
    }
    minutes
}

fn bytes(meter: &Meter) -> u64 {
    meter.host_received.iter().sum()
}

impl World {
    /// Does what a line of the scenario says.
    pub(crate) fn play(&mut self, line: usize) {
        let words = self.scenario.lines[line].words.clone();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        crate::faults::play(self, &words);
    }
}
