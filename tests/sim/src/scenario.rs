//! What is played: sizes, ways, the crowd, and what goes wrong when. Read from a small text file.
//!
//! ```text
//! # One thing a line. Times have a unit: ms, s, m.
//! hosts 100
//! edges 10
//! measure 10m
//! at 60s crash 3
//! ```

use std::collections::BTreeSet;

use crate::liars::Lie;
use crate::map::Place;
use crate::nats::Kind;
use crate::queue::{At, MS, SEC};

/// Something that is done to the world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// When, since the world began.
    pub at: At,
    /// What, in words.
    pub words: Vec<String>,
}

/// What is played.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// What it is called.
    pub name: String,
    /// The seed of all chance.
    pub seed: u64,
    /// Hosts.
    pub hosts: usize,
    /// Edges at each host at the beginning.
    pub edges: usize,
    /// Whether hosts begin as if each had run in this network for long.
    pub settled: bool,
    /// Hosts start spread over this time.
    pub start: At,
    /// The edges of a host come spread over this time after it; half of `start` unless it is given.
    pub come: Option<At>,
    /// So long after it has begun the first of them may come.
    pub come_after: At,
    /// Until then nothing is measured.
    pub warm: At,
    /// So long it is measured.
    pub measure: At,
    /// Then so long nothing is done any more, before the last checks.
    pub quiet: At,
    /// Bytes a second on each link, each way.
    pub bandwidth: u64,
    /// Frames of a million that are lost and sent again.
    pub loss: u32,
    /// Topics that each edge joins.
    pub topics: usize,
    /// The least and the most members that a topic has on average.
    pub topic_size: [u64; 2],
    /// How long an edge stays, on average; 0 for ever.
    pub stay: At,
    /// How long until another one takes its place, on average.
    pub pause: At,
    /// How long until an edge signals somebody, on average; 0 for never.
    pub speak: At,
    /// How long until an edge broadcasts to one of its topics, on average; 0 for never.
    pub shout: At,
    /// Bytes of a signal; 0 for a mixture of sizes.
    pub payload: usize,
    /// How long until an edge leaves a topic for another one, on average; 0 for never.
    pub hops: At,
    /// How long until an edge loses its socket, on average; 0 for never.
    pub drops: At,
    /// How long it is away then, on average.
    pub away: At,
    /// Edges of a million that have keys of their own.
    pub keyed: u32,
    /// How long until one of those moves to another host; 0 for never.
    pub roams: At,
    /// How often a join is measured; 0 for never.
    pub probe: At,
    /// When everybody leaves; the tables must be empty then.
    pub everybody_leaves_at: Option<At>,
    /// Routers, and the hosts behind each.
    pub homes: Vec<(Kind, Vec<Place>)>,
    /// Whether hosts use the port of links for the DHT too.
    pub shared: bool,
    /// Hosts of a million that lie, from the end of the warm part on; they have no edges.
    pub liars: u32,
    /// In what ways.
    pub lies: BTreeSet<Lie>,
    /// Signals of a million that must be delivered.
    pub delivered: u32,
    /// What is done to the world, in order.
    pub lines: Vec<Line>,
    /// What every machine does wrong.
    #[cfg(feature = "planted")]
    pub planted: aldis::relay::planted::Planted,
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            name: String::new(),
            seed: 1,
            hosts: 10,
            edges: 10,
            settled: false,
            start: 10 * SEC,
            come: None,
            come_after: 0,
            warm: 120 * SEC,
            measure: 60 * SEC,
            quiet: 0,
            bandwidth: 2 << 20,
            loss: 0,
            topics: 1,
            topic_size: [2, 50],
            stay: 0,
            pause: SEC,
            speak: 0,
            shout: 0,
            payload: 0,
            hops: 0,
            drops: 0,
            away: 5 * SEC,
            keyed: 0,
            roams: 0,
            probe: 0,
            everybody_leaves_at: None,
            homes: Vec::new(),
            shared: false,
            liars: 0,
            lies: BTreeSet::new(),
            delivered: 0,
            lines: Vec::new(),
            #[cfg(feature = "planted")]
            planted: Default::default(),
        }
    }
}

impl Scenario {
    /// Reads one of the scenarios that are here, by its name, or any other one, by a path with a slash in it.
    ///
    /// # Errors
    /// In words.
    pub fn load(name: &str) -> Result<Self, String> {
        let here = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios");
        let file = if name.contains('/') { name.to_owned() } else { format!("{here}/{name}.txt") };
        let text = std::fs::read_to_string(&file).map_err(|error| format!("{file}: {error}"))?;
        Self::parse(name, &text)
    }

    /// Reads a scenario.
    ///
    /// # Errors
    /// In words, with the number of the line.
    pub fn parse(name: &str, text: &str) -> Result<Self, String> {
        let mut scenario = Self { name: name.to_owned(), ..Self::default() };
        for (number, line) in text.lines().enumerate() {
            // A comment stands alone or behind a space; `#3` is a host.
            let words: Vec<&str> = line.split_whitespace().take_while(|word| *word != "#").collect();
            scenario.take(&words).map_err(|what| format!("{name}:{}: {what}", number + 1))?;
        }
        scenario.lines.sort_by_key(|line| line.at);
        Ok(scenario)
    }

    /// Takes one line of a scenario, or what stands behind `--` on the command line.
    ///
    /// # Errors
    /// In words.
    pub fn take(&mut self, words: &[&str]) -> Result<(), String> {
        let (&first, rest) = match words.split_first() {
            None => return Ok(()),
            Some(parts) => parts,
        };
        if first == "at" {
            let (at, what) = rest.split_first().ok_or("at what time?")?;
            let words = what.iter().map(|word| (*word).to_owned()).collect();
            self.lines.push(Line { at: time(at)?, words });
            return Ok(());
        }
        let value = rest.first().copied().ok_or_else(|| format!("{first} what?"))?;
        match first {
            "seed" => self.seed = number(value)?,
            "hosts" => self.hosts = number(value)? as usize,
            "edges" => self.edges = number(value)? as usize,
            "begin" => {
                self.settled = match value {
                    "fresh" => false,
                    "settled" => true,
                    _ => return Err(format!("'{value}' is no beginning: fresh or settled?")),
                };
            }
            "start" => self.start = time(value)?,
            "come" => {
                self.come = Some(time(value)?);
                self.come_after = rest.get(1).map_or(Ok(0), |after| time(after))?;
            }
            "warm" => self.warm = time(value)?,
            "measure" => self.measure = time(value)?,
            "quiet" => self.quiet = time(value)?,
            "bandwidth" => self.bandwidth = number(value)?,
            "loss" => self.loss = percent(value)?,
            "topics" => self.topics = number(value)? as usize,
            "topic_size" => {
                let most = rest.get(1).ok_or("topic_size needs two numbers")?;
                self.topic_size = [number(value)?, number(most)?];
            }
            "stay" => self.stay = time(value)?,
            "pause" => self.pause = time(value)?,
            "speak" => self.speak = time(value)?,
            "shout" => self.shout = time(value)?,
            "payload" => self.payload = number(value)? as usize,
            "hops" => self.hops = time(value)?,
            "drops" => self.drops = time(value)?,
            "away" => self.away = time(value)?,
            "keyed" => self.keyed = percent(value)?,
            "roams" => self.roams = time(value)?,
            "probe" => self.probe = time(value)?,
            "everybody_leaves" => self.everybody_leaves_at = Some(time(value)?),
            "router" => {
                let places = rest[1..].iter().map(|word| number(word).map(|place| place as Place));
                self.homes.push((Kind::read(value)?, places.collect::<Result<_, _>>()?));
            }
            "shared" => self.shared = value == "yes",
            "liars" => self.liars = percent(value)?,
            "lies" => self.lies = Lie::read(rest)?,
            "delivered" => self.delivered = percent(value)?,
            _ => return Err(format!("'{first}' is no setting")),
        }
        Ok(())
    }

    /// When the last checks are made.
    #[must_use]
    pub fn end(&self) -> At {
        self.warm + self.measure + self.quiet
    }
}

fn number(word: &str) -> Result<u64, String> {
    word.replace('_', "").parse().map_err(|_| format!("'{word}' is no number"))
}

/// A time with its unit.
///
/// # Errors
/// In words.
pub fn time(word: &str) -> Result<At, String> {
    let digits = word.trim_end_matches(char::is_alphabetic);
    let unit = match &word[digits.len()..] {
        "ms" => MS,
        "s" => SEC,
        "m" => 60 * SEC,
        _ if word == "0" => 1,
        _ => return Err(format!("'{word}' is no time: it needs ms, s or m")),
    };
    number(digits).map(|count| count * unit)
}

/// Parts of a million, out of a number and a percent sign.
///
/// # Errors
/// In words.
pub fn percent(word: &str) -> Result<u32, String> {
    let digits = word.strip_suffix('%').ok_or_else(|| format!("'{word}' is no percentage"))?;
    let value: f64 = digits.parse().map_err(|_| format!("'{word}' is no percentage"))?;
    if (0.0..=100.0).contains(&value) { Ok((value * 10_000.0) as u32) } else { Err(format!("'{word}' is too much")) }
}
