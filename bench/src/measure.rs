//! Clock, CPU time, memory, quantiles. Linux only: all of it is read from `/proc`.

use std::collections::HashMap;
use std::fs;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use serde_json::{Value, json};
use tokio::io::unix::AsyncFd;

/// Ticks of `/proc/stat` in a second; fixed by the kernel's interface (`man 5 proc`).
const TICKS_PER_SECOND: f64 = 100.0;

/// Nanoseconds since the first call. All edges are in this one process, so one clock serves both ends.
pub(crate) fn now() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    u64::try_from(START.get_or_init(Instant::now).elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// Waits to within some 50 µs. Tokio's own timers are whole milliseconds, which is too coarse for 2,000 signals a second.
pub(crate) struct Alarm(AsyncFd<rustix::fd::OwnedFd>);

impl Alarm {
    pub(crate) fn new() -> Result<Self> {
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        #[allow(deprecated, reason = "unsound only for types that do not own their descriptor; this one does")]
        let waiting = AsyncFd::new(timer)?;
        Ok(Self(waiting))
    }

    /// Comes back once [`now`] is at least `due`.
    pub(crate) async fn until(&self, due: u64) -> Result<()> {
        loop {
            let left = due.saturating_sub(now());
            if left == 0 {
                return Ok(());
            }
            let left = Duration::from_nanos(left);
            let it_value = Timespec { tv_sec: i64::try_from(left.as_secs())?, tv_nsec: i64::from(left.subsec_nanos()) };
            let it_interval = Timespec { tv_sec: 0, tv_nsec: 0 };
            timerfd_settime(self.0.get_ref(), TimerfdTimerFlags::empty(), &Itimerspec { it_interval, it_value })?;
            // Setting the timer again empties it, so there is nothing to be read.
            self.0.readable().await?.clear_ready();
        }
    }
}

/// The moments of a Poisson process, from now on.
#[derive(Debug)]
pub(crate) struct Arrivals {
    mean_gap: f64,
    due: f64,
    random: fastrand::Rng,
}

impl Arrivals {
    /// `rate` in arrivals per second. The same gaps in every run.
    pub(crate) fn new(rate: f64) -> Self {
        Self { mean_gap: 1e9 / rate, due: now() as f64, random: fastrand::Rng::with_seed(1) }
    }

    /// When the next one is due, on the clock of [`now`].
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "nanoseconds of one run: far below 2^53"
    )]
    pub(crate) fn next(&mut self) -> u64 {
        self.due += -self.mean_gap * (1.0 - self.random.f64()).ln();
        self.due as u64
    }
}

/// What had been used at one moment.
#[derive(Debug)]
pub(crate) struct Snapshot {
    at: u64,
    hosts: Threads,
    own: Threads,
    busy_ticks: u64,
}

/// Nanoseconds on a CPU, by process and thread.
type Threads = HashMap<(u32, u32), u64>;

/// What was used between two moments.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spent {
    pub(crate) seconds: f64,
    /// CPU seconds of the hosts, all together.
    pub(crate) hosts: f64,
    /// CPU seconds of this process. Near `seconds`, it is this process that limits.
    pub(crate) own: f64,
    /// CPU seconds of everybody else: with much of it, a result is noise.
    pub(crate) others: f64,
}

impl Snapshot {
    pub(crate) fn take(hosts: &[u32]) -> Result<Self> {
        let threads = |pids: &[u32]| -> Result<Threads> {
            pids.iter().try_fold(Threads::new(), |mut sum, pid| {
                sum.extend(threads(*pid)?);
                Ok(sum)
            })
        };
        Ok(Self { at: now(), hosts: threads(hosts)?, own: threads(&[std::process::id()])?, busy_ticks: busy_ticks()? })
    }

    pub(crate) fn until(&self, later: &Self) -> Spent {
        let seconds = (later.at - self.at) as f64 / 1e9;
        let (hosts, own) = (grown(&self.hosts, &later.hosts), grown(&self.own, &later.own));
        let busy = later.busy_ticks.saturating_sub(self.busy_ticks) as f64 / TICKS_PER_SECOND;
        Spent { seconds, hosts, own, others: (busy - hosts - own).max(0.0) }
    }
}

impl Spent {
    pub(crate) fn json(&self) -> Value {
        let rounded = |seconds: f64| (seconds * 1e3).round() / 1e3;
        json!({
            "seconds": rounded(self.seconds),
            "hosts_cpu_seconds": rounded(self.hosts),
            "own_cpu_seconds": rounded(self.own),
            "others_cpu_seconds": rounded(self.others),
        })
    }
}

/// The kernel's exact run time of each thread. What a thread has used that ended in between is not seen: hosts have a
/// fixed set of threads, but for those that write files.
fn threads(pid: u32) -> Result<Threads> {
    let mut threads = Threads::new();
    for entry in fs::read_dir(format!("/proc/{pid}/task")).with_context(|| format!("no process {pid}"))? {
        let path = entry?.path();
        let thread = path.file_name().and_then(|name| name.to_str()?.parse().ok());
        // It may just have ended.
        let Ok(text) = fs::read_to_string(path.join("schedstat")) else { continue };
        if let (Some(thread), Some(ran)) = (thread, text.split(' ').next().and_then(|ran| ran.parse().ok())) {
            threads.insert((pid, thread), ran);
        }
    }
    Ok(threads)
}

fn grown(earlier: &Threads, later: &Threads) -> f64 {
    let grown = |(thread, ran): (&(u32, u32), &u64)| ran.saturating_sub(earlier.get(thread).copied().unwrap_or(0));
    later.iter().map(grown).sum::<u64>() as f64 / 1e9
}

/// Ticks in which any CPU was busy: user, nice, system, irq, softirq.
fn busy_ticks() -> Result<u64> {
    let text = fs::read_to_string("/proc/stat")?;
    let fields = text.lines().next().context("/proc/stat is empty")?.split_whitespace().skip(1);
    Ok(fields
        .take(7)
        .enumerate()
        .filter(|(at, _)| !matches!(at, 3 | 4))
        .filter_map(|(_, ticks)| ticks.parse::<u64>().ok())
        .sum())
}

/// Resident memory of a process.
pub(crate) fn rss_bytes(pid: u32) -> Result<u64> {
    memory_bytes(pid, "VmRSS:")
}

/// The most that it was so far.
pub(crate) fn peak_rss_bytes(pid: u32) -> Result<u64> {
    memory_bytes(pid, "VmHWM:")
}

fn memory_bytes(pid: u32, name: &str) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).with_context(|| format!("no process {pid}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)).with_context(|| format!("no {name}"))?;
    let kib: u64 = line.split_whitespace().next().with_context(|| format!("no number in {name}"))?.parse()?;
    Ok(kib * 1024)
}

/// For words.
pub(crate) fn mebibytes(bytes: &[u64]) -> Vec<f64> {
    bytes.iter().map(|bytes| *bytes as f64 / 1_048_576.0).collect()
}

/// Exact quantiles of times in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quantiles {
    pub(crate) count: usize,
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
}

impl Quantiles {
    /// In milliseconds. Zero of nothing.
    pub(crate) fn of(mut times: Vec<u64>) -> Self {
        times.sort_unstable();
        // The nearest rank: the smallest time that at least so many percent do not exceed.
        let at = |percent: usize| {
            let rank = (times.len() * percent).div_ceil(100).max(1);
            times.get(rank - 1).copied().unwrap_or(0) as f64 / 1e6
        };
        Self { count: times.len(), p50: at(50), p90: at(90), p99: at(99), max: at(100) }
    }

    pub(crate) fn json(&self) -> Value {
        let rounded = |milliseconds: f64| (milliseconds * 1e3).round() / 1e3;
        json!({
            "count": self.count,
            "p50_ms": rounded(self.p50),
            "p90_ms": rounded(self.p90),
            "p99_ms": rounded(self.p99),
            "max_ms": rounded(self.max),
        })
    }
}

impl std::fmt::Display for Quantiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "p50 {:.2} ms, p99 {:.2} ms, max {:.2} ms ({} times)", self.p50, self.p99, self.max, self.count)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail by panic")]
    use super::*;

    #[test]
    fn quantiles_are_the_nearest_rank() {
        let times = (1..=200).rev().map(|millis| millis * 1_000_000).collect();
        let Quantiles { count, p50, p90, p99, max } = Quantiles::of(times);
        assert_eq!((count, p50, p90, p99, max), (200, 100.0, 180.0, 198.0, 200.0));
        assert_eq!(Quantiles::of(vec![5_000_000]).p50, 5.0);
        assert_eq!(Quantiles::of(Vec::new()).p99, 0.0);
    }

    #[test]
    fn arrivals_have_the_mean_that_was_asked_for() {
        let mut arrivals = Arrivals::new(1_000.0);
        let begin = now();
        let last = (0..10_000).map(|_| arrivals.next()).last().unwrap();
        let seconds = (last - begin) as f64 / 1e9;
        assert!((9.5..10.5).contains(&seconds), "10,000 arrivals in {seconds} s");
    }

    #[test]
    fn cpu_time_of_this_process_grows_when_it_works() {
        let own = [std::process::id()];
        let begin = Snapshot::take(&own).unwrap();
        let deadline = now() + 10_000_000_000;
        // How much of the time it gets is for the system to say.
        let spent = loop {
            let spent = begin.until(&Snapshot::take(&own).unwrap());
            if spent.hosts > 0.02 || now() > deadline {
                break spent;
            }
        };
        assert!(spent.hosts > 0.02 && spent.hosts < 10.0 * spent.seconds, "{spent:?}");
        assert!(rss_bytes(std::process::id()).unwrap() > 100_000);
    }
}
