//! What goes wrong on the machine of one host: its clock, its limits, its disk, its files.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use tokio::net::TcpSocket;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::{Run, VICTIM};
use crate::host::{How, Place, cpu_time, linked, resident_bytes};
use crate::load::{HOSTS, url};
use crate::network::{self, CABLES};

const LIBFAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";
/// Files that a host may open; with its edges it needs some 90.
const FILES_MAX: u32 = 192;
/// What a host's memory is capped to: some five times what it takes under the load.
const MEMORY_BYTES: u64 = 96 << 20;
const CGROUP: &str = "/sys/fs/cgroup/memory/aldis-faults";

/// Hosts 2, 3 and 4 have clocks of their own: right, 400 days ahead, 400 days behind.
pub(super) fn clocks(place: &Place, number: usize) -> Result<How> {
    let days = match number {
        2 => "+0",
        3 => "+400d",
        4 => "-400d",
        _ => return Ok(How::default()),
    };
    ensure!(Path::new(LIBFAKETIME).exists(), "there is no {LIBFAKETIME}; scripts/test setup installs it");
    fs::write(clock(place, number), days)?;
    let file = clock(place, number).display().to_string();
    let preload = format!("LD_PRELOAD={LIBFAKETIME}");
    let file = format!("FAKETIME_TIMESTAMP_FILE={file}");
    // A real clock that is set does not move the monotonic one.
    let wrapper = ["env", &preload, &file, "FAKETIME_CACHE_DURATION=1", "DONT_FAKE_MONOTONIC=1"];
    Ok(How { wrapper: wrapper.map(str::to_owned).to_vec(), ..How::default() })
}

fn clock(place: &Place, number: usize) -> PathBuf {
    place.directory.join(format!("clock{number}"))
}

pub(super) async fn wrong_clocks(run: &mut Run) -> Result<()> {
    let begun = run.fault(&[], Duration::ZERO);
    for (number, days) in [(2, "+400d"), (3, "-400d"), (4, "+400d")] {
        fs::write(clock(&run.place, number), days)?;
    }
    sleep(Duration::from_secs(12)).await;
    let years = |host: usize| {
        let log = run.hosts[host].log();
        let mut years: Vec<_> = log.lines().filter_map(|line| line.get(..4)).map(str::to_owned).collect();
        years.dedup();
        years.join(" ")
    };
    let years = [0, 3, 4].map(years);
    run.figure("years in the logs of a right, a late and an early host", years.join(", "), "all different", {
        years[0] != years[1] && years[0] != years[2] && years[1] != years[2]
    });
    run.links_kept();
    run.sockets_kept(begun);
    run.delivered("delivered", Duration::ZERO, 100.0);
    // Its clock is behind that of its former life by two years.
    run.also(3, Duration::from_secs(5));
    run.hosts[3].tell(Signal::TERM)?;
    run.hosts[3].ended().await?;
    run.hosts[3].begin().await?;
    let took = linked(&run.hosts, HOSTS - 1, Duration::from_secs(20)).await?;
    run.time("a host whose clock was put back restarts, until linked", Some(took), Duration::from_secs(10));
    sleep(Duration::from_secs(5)).await;
    Ok(())
}

pub(super) fn few_files(_: &Place, number: usize) -> Result<How> {
    let wrapper = vec!["prlimit".to_owned(), format!("--nofile={FILES_MAX}:{FILES_MAX}")];
    Ok(if number == VICTIM { How { wrapper, ..How::default() } } else { How::default() })
}

pub(super) async fn no_files(run: &mut Run) -> Result<()> {
    let (flood, pid) = (Duration::from_secs(10), run.hosts[VICTIM].pid());
    let begun = run.fault(&[VICTIM], Duration::ZERO);
    let before = cpu_time(pid)?;
    // One address may not have more than 64 silent sockets, so they come from all of ours.
    let mut sockets = JoinSet::new();
    for number in 0..CABLES * 64 {
        sockets.spawn(hold_sockets(number % CABLES));
    }
    sleep(flood / 2).await;
    let open = fs::read_dir(format!("/proc/{pid}/fd"))?.count();
    sleep(flood / 2).await;
    let busy = cpu_time(pid)? - before;
    sockets.shutdown().await;
    let over = run.now();
    let client = timeout(Duration::from_secs(20), async {
        while aldis::client::Client::connect(aldis::client::Options::at(&url(VICTIM))).await.is_err() {
            sleep(Duration::from_millis(50)).await;
        }
    });
    let recovered = client.await.ok().map(|()| run.now() - over);
    run.figure("files that it had open", open.to_string(), &format!("{FILES_MAX}"), open >= FILES_MAX as usize - 1);
    run.time("CPU time in 10 s of it", Some(busy), flood / 4);
    run.time("a new edge is taken afterwards", recovered, Duration::from_secs(1));
    run.sockets_kept(begun);
    run.links_kept();
    run.delivered("delivered", Duration::ZERO, 100.0);
    Ok(())
}

/// Opens a socket that says nothing, again and again.
async fn hold_sockets(from: usize) {
    loop {
        let Ok(socket) = TcpSocket::new_v4() else { return };
        if socket.bind((network::hub(from), 0).into()).is_ok()
            && let Ok(Ok(stream)) = timeout(Duration::from_secs(2), socket.connect(network::http(VICTIM))).await
        {
            // Until the host closes it.
            _ = timeout(Duration::from_secs(5), stream.readable()).await;
        }
        sleep(Duration::from_millis(100)).await;
    }
}

pub(super) fn little_memory(_: &Place, number: usize) -> Result<How> {
    if number != VICTIM {
        return Ok(How::default());
    }
    _ = fs::remove_dir(CGROUP);
    fs::create_dir(CGROUP).context("there is no memory controller at /sys/fs/cgroup/memory")?;
    fs::write(Path::new(CGROUP).join("memory.limit_in_bytes"), MEMORY_BYTES.to_string())?;
    let enter = format!("echo $$ > {CGROUP}/cgroup.procs && exec \"$0\" \"$@\"");
    Ok(How { wrapper: vec!["sh".to_owned(), "-c".to_owned(), enter], ..How::default() })
}

pub(super) async fn memory(run: &mut Run) -> Result<()> {
    let pid = run.hosts[VICTIM].pid();
    let before = resident_bytes(pid)?;
    let begun = run.fault(&[VICTIM], Duration::from_secs(15));
    let flood = crate::load::flood(VICTIM, 500, Duration::from_secs(15)).await?;
    let after = resident_bytes(pid).unwrap_or(0);
    let peak = fs::read_to_string(Path::new(CGROUP).join("memory.max_usage_in_bytes"))?;
    let mebibytes = |bytes: u64| format!("{} MiB", bytes >> 20);
    let alive = run.hosts[VICTIM].pid() == pid && after > 0;
    run.figure("flood", flood, "500 edges, 2,000 signals/s of 8 KB", true);
    run.figure("the host lives", if alive { "yes" } else { "no" }, "yes", alive);
    let peak: u64 = peak.trim().parse()?;
    let text = format!("{}, {}, peak {}", mebibytes(before), mebibytes(after), mebibytes(peak));
    run.figure("its memory before and after", text, &format!("below {}", mebibytes(MEMORY_BYTES)), peak < MEMORY_BYTES);
    run.sockets_kept(begun);
    run.links_kept();
    run.hosts[VICTIM].kill().await?;
    run.excuse(Duration::from_secs(10));
    sleep(Duration::from_secs(10)).await;
    fs::remove_dir(CGROUP).context("the cgroup cannot be removed")
}

/// The data of the victim is on a disk of 1 MB.
pub(super) fn small_disk(place: &Place, number: usize) -> Result<How> {
    if number == VICTIM {
        let data = place.data(number);
        fs::create_dir_all(&data)?;
        let mut mount = Command::new("mount");
        let mounted = mount.args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(&data).status()?;
        ensure!(mounted.success(), "no disk of 1 MB");
    }
    Ok(How::default())
}

pub(super) async fn disk_full(run: &mut Run) -> Result<()> {
    let data = run.place.data(VICTIM);
    let begun = run.fault(&[VICTIM], Duration::ZERO);
    // As long as there is room for a byte.
    let filled = data.join("other");
    fs::write(&filled, vec![0; 1 << 20]).err().context("the disk is not full")?;
    let kept = files(&data)?;
    sleep(Duration::from_secs(8)).await;
    run.sockets_kept(begun);
    run.delivered("delivered", Duration::ZERO, 100.0);
    // It ends, cannot write what it knows, and starts again.
    run.excuse(Duration::from_secs(10));
    run.hosts[VICTIM].tell(Signal::TERM)?;
    let ended = run.hosts[VICTIM].ended().await?;
    run.figure("its exit code", format!("{:?}", ended.code()), "Some(0)", ended.success());
    let said = run.hosts[VICTIM].log().lines().filter(|line| line.contains("ERROR")).count();
    run.figure("errors in its log", said.to_string(), "at least 1", said > 0);
    let intact = files(&data)? == kept;
    run.figure("its files are as before", if intact { "yes" } else { "no" }, "yes", intact);
    run.hosts[VICTIM].begin().await?;
    let took = linked(&run.hosts, HOSTS - 1, Duration::from_secs(20)).await?;
    run.time("with the disk still full it starts and is linked", Some(took), Duration::from_secs(10));
    sleep(Duration::from_secs(5)).await;
    run.hosts[VICTIM].kill().await?;
    ensure!(Command::new("umount").arg(&data).status()?.success(), "the disk cannot be unmounted");
    run.excuse(Duration::from_secs(10));
    sleep(Duration::from_secs(10)).await;
    Ok(())
}

/// Names and contents of what a host keeps.
fn files(data: &Path) -> Result<Vec<(PathBuf, Vec<u8>)>> {
    let mut files = Vec::new();
    for file in fs::read_dir(data)? {
        let path = file?.path();
        files.push((path.clone(), fs::read(&path)?));
    }
    files.sort();
    Ok(files)
}

pub(super) async fn corrupt(run: &mut Run) -> Result<()> {
    run.fault(&[VICTIM], Duration::from_secs(25));
    let data = run.place.data(VICTIM);
    run.hosts[VICTIM].tell(Signal::TERM)?;
    run.hosts[VICTIM].ended().await?;
    for name in ["epoch", "hints", "marks"] {
        let path = data.join(name);
        let mut bytes = fs::read(&path).with_context(|| format!("{} was not kept", path.display()))?;
        if let Some(byte) = bytes.iter_mut().rev().nth(1) {
            *byte ^= 1;
        }
        fs::write(path, bytes)?;
    }
    run.hosts[VICTIM].begin().await?;
    let discarded = run.hosts[VICTIM].log().lines().filter(|line| line.contains("discarded")).count();
    run.figure("damaged files that it discards, with a warning", discarded.to_string(), "3", discarded == 3);
    let took = linked(&run.hosts, HOSTS - 1, Duration::from_secs(30)).await?;
    run.time("it is linked again, without its memory", Some(took), Duration::from_secs(10));
    // Its key is another matter.
    run.hosts[VICTIM].kill().await?;
    let key = data.join("host.key");
    let good = fs::read(&key)?;
    fs::write(&key, good.get(..good.len() / 2).unwrap_or_default())?;
    run.hosts[VICTIM].spawn()?;
    let refused = run.hosts[VICTIM].ended().await?;
    run.figure("its exit code with half a key", format!("{:?}", refused.code()), "Some(1)", refused.code() == Some(1));
    fs::write(&key, good)?;
    run.hosts[VICTIM].begin().await?;
    let took = linked(&run.hosts, HOSTS - 1, Duration::from_secs(30)).await?;
    run.time("with its key again it is linked", Some(took), Duration::from_secs(10));
    sleep(Duration::from_secs(5)).await;
    Ok(())
}
