//! The machine itself: its clock, how many files it lets a program open, its buffers for UDP.

use std::fs;
use std::time::{Duration, Instant, SystemTime};

use rustix::process::{Resource, getrlimit};
use serde_json::json;

use super::finding::Finding;
use super::host::Seen;
use crate::config::Config;

/// 2026-01-01. This program is younger.
const YOUNGEST: Duration = Duration::from_secs(1_767_225_600);
/// The clock may be set forward or back so far while we look; more is a jump.
const STEP_MAX: Duration = Duration::from_millis(500);
/// A file from so far in the future was written before the clock was set back.
const FUTURE_MAX: Duration = Duration::from_secs(300);
/// Below this a host cannot even hold its own files, links and a few hundred edges.
const FILES_MIN: u64 = 1_024;
/// Below this a busy host refuses edges.
const FILES_GOOD: u64 = 8_192;
/// What Linux gives a UDP socket that asks for more than it may have: twice the usual limit, half of it for its own books.
const BUFFER_GOOD_BYTES: u64 = 2 * 212_992;
/// What a host asks for: half a second of 80 Mbit/s (`net::dual_stack`).
const BUFFER_BETTER_BYTES: u64 = 4 << 20;

/// Both clocks at the beginning.
pub(super) struct Clock {
    day: SystemTime,
    running: Instant,
}

impl Clock {
    pub(super) fn start() -> Self {
        Self { day: SystemTime::now(), running: Instant::now() }
    }

    /// Compares the time of day with the clock that only runs, and with what was written here before.
    pub(super) fn check(&self, config: &Config) -> Finding {
        let (now, passed) = (SystemTime::now(), self.running.elapsed());
        let unix = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let expected = self.day + passed;
        let step = now.duration_since(expected).or_else(|_| expected.duration_since(now)).unwrap_or_default();
        let ahead = newest_file(config).and_then(|newest| newest.duration_since(now).ok()).unwrap_or_default();
        let why = "hosts do not need it to be right, but browsers' certificates and your logs do";
        let next = "let the system set it from the network: sudo timedatectl set-ntp true";
        let finding = if unix < YOUNGEST {
            Finding::wrong("clock", format!("the time of day is years behind; {why}"), next)
        } else if ahead > FUTURE_MAX {
            let minutes = ahead.as_secs() / 60;
            Finding::wrong(
                "clock",
                format!(
                    "the data directory has files that are {minutes} min younger than now: the clock is behind, or was ahead; {why}"
                ),
                next,
            )
        } else if step > STEP_MAX {
            Finding::note("clock", format!("the time of day jumped by {} ms while this ran; {why}", step.as_millis()))
                .next(next)
        } else {
            Finding::ok("clock", "the time of day goes steadily, and nothing here is from the future")
        };
        finding.facts(json!({
            "unix_seconds": unix.as_secs(), "step_ms": u64::try_from(step.as_millis()).unwrap_or(u64::MAX),
            "newest_file_ahead_seconds": ahead.as_secs(),
        }))
    }
}

/// When the newest file of the data directory was written.
fn newest_file(config: &Config) -> Option<SystemTime> {
    let entries = fs::read_dir(&config.data_dir).ok()?;
    entries.filter_map(|entry| entry.ok()?.metadata().ok()?.modified().ok()).max()
}

/// How many files the running host may open, or a host that is started here.
pub(super) fn open_files(process: Option<u32>) -> Finding {
    let (of, limit) = match process.and_then(limit_of) {
        Some(limit) => ("the running host", Some(limit)),
        // A host raises the soft limit to the hard one.
        None => ("a host started here", getrlimit(Resource::Nofile).maximum),
    };
    let edges = limit.map(|limit| limit.saturating_sub(256));
    let next = "allow more: LimitNOFILE=65536 in the systemd unit, or sudo prlimit --nofile=65536 --pid $$ in the shell \
                that starts it; then start the host again";
    let finding = match (limit, edges) {
        (Some(limit), Some(edges)) if limit < FILES_MIN => Finding::wrong(
            "open_files",
            format!("{of} may open {limit} files only, which is room for {edges} browsers at once"),
            next,
        ),
        (Some(limit), Some(edges)) if limit < FILES_GOOD => {
            Finding::note("open_files", format!("{of} may open {limit} files: room for about {edges} browsers at once"))
                .next(next)
        }
        (Some(limit), _) => Finding::ok("open_files", format!("{of} may open {limit}; each browser takes one")),
        (None, _) => Finding::ok("open_files", format!("{of} may open any number")),
    };
    finding.facts(json!({ "limit": limit, "of_running_host": of == "the running host" }))
}

/// The limit that holds for a running process.
fn limit_of(process: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{process}/limits")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// What the kernel keeps of datagrams that the host has not read yet.
pub(super) fn udp_buffers(config: &Config, seen: &Seen) -> Finding {
    let value = |name: &str| -> Option<u64> {
        fs::read_to_string(format!("/proc/sys/net/core/{name}")).ok()?.trim().parse().ok()
    };
    let [receive, receive_max, send, send_max] = ["rmem_default", "rmem_max", "wmem_default", "wmem_max"].map(value);
    // A port of a host that does not run belongs to nobody, or to somebody else.
    let dropped = seen.status().and_then(|_| dropped(config.listen_quic.port()));
    let raise = format!(
        "sudo sysctl -w net.core.rmem_max={BUFFER_BETTER_BYTES} net.core.wmem_max={BUFFER_BETTER_BYTES}, then start the \
         host again; the same lines in /etc/sysctl.d/ keep it"
    );
    let given = |default: Option<u64>, most: Option<u64>| Some(default?.max(2 * most?.min(BUFFER_BETTER_BYTES)));
    let finding = match (given(receive, receive_max), given(send, send_max), dropped) {
        (_, _, Some(dropped)) if dropped > 0 => Finding::note(
            "udp_buffers",
            format!("{dropped} packets for the host were lost because its receive buffer was full; links repeat them, later"),
        )
        .next(raise),
        (Some(receive), Some(send), _) if receive.min(send) < BUFFER_GOOD_BYTES => Finding::note(
            "udp_buffers",
            format!("the system gives UDP sockets {receive} bytes to receive and {send} to send, less than usual: bursts are lost"),
        )
        .next(raise),
        (Some(receive), Some(send), _) => Finding::ok(
            "udp_buffers",
            format!("UDP sockets have {receive} bytes to receive and {send} to send, as usual"),
        ),
        _ => Finding::unknown("udp_buffers", "this system does not say how large the buffers of UDP sockets are"),
    };
    finding.facts(json!({
        "receive_bytes": receive, "receive_bytes_max": receive_max, "send_bytes": send, "send_bytes_max": send_max,
        "dropped": dropped,
    }))
}

/// Datagrams that the kernel threw away because nobody read them in time, at a UDP port of this machine.
fn dropped(port: u16) -> Option<u64> {
    let here = format!(":{port:04X}");
    let of = |path: &str| -> Option<u64> {
        let text = fs::read_to_string(path).ok()?;
        let lines = text.lines().skip(1).filter_map(|line| {
            let fields: Vec<_> = line.split_whitespace().collect();
            fields.get(1)?.ends_with(&here).then(|| fields.last()?.parse::<u64>().ok()).flatten()
        });
        lines.reduce(|sum, dropped| sum.saturating_add(dropped))
    };
    match (of("/proc/net/udp"), of("/proc/net/udp6")) {
        (None, None) => None,
        (four, six) => Some(four.unwrap_or(0).saturating_add(six.unwrap_or(0))),
    }
}
