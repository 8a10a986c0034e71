//! How much of the processors this process uses, for the management view.

use std::time::{Duration, Instant};

use super::hub::Hub;
use crate::relay::io::Input;

/// How often it is measured: as often as figures are announced in a small network.
const INTERVAL: Duration = Duration::from_secs(15);
/// Linux counts processor time in hundredths of a second, whatever the kernel's own tick.
const TICKS_PER_SECOND: f64 = 100.0;

/// Tells the machine the load every [`INTERVAL`]. Runs until dropped; where the system does not say, the load stays 0.
pub(super) async fn measure(hub: &Hub) {
    let mut before = (Instant::now(), ticks());
    loop {
        tokio::time::sleep(INTERVAL).await;
        let now = (Instant::now(), ticks());
        if let ((then, Some(used_then)), (at, Some(used))) = (before, now) {
            let seconds = at.duration_since(then).as_secs_f64().max(0.001);
            hub.happened(Input::LoadMeasured { percent: percent(used.saturating_sub(used_then), seconds) });
        }
        before = now;
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the range of u16 before")]
fn percent(ticks: u64, seconds: f64) -> u16 {
    let ticks = u32::try_from(ticks).unwrap_or(u32::MAX);
    (f64::from(ticks) / TICKS_PER_SECOND / seconds * 100.0).round().clamp(0.0, f64::from(u16::MAX)) as u16
}

/// Processor time used so far; fields 14 and 15 of proc_pid_stat(5), counted after the name, which may hold anything.
fn ticks() -> Option<u64> {
    ticks_in(&std::fs::read_to_string("/proc/self/stat").ok()?)
}

fn ticks_in(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace().skip(11);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_read_whatever_the_process_is_called() {
        let stat = "42 (a) b) c) S 1 42 42 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 1 0";
        assert_eq!(ticks_in(stat), Some(300));
        assert_eq!(ticks_in("42"), None);
    }

    #[test]
    fn a_busy_core_is_a_hundred_percent() {
        assert_eq!(percent(500, 5.0), 100);
        assert_eq!(percent(0, 5.0), 0);
        assert_eq!(percent(u64::MAX, 0.001), u16::MAX);
    }
}
