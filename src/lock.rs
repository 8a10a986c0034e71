//! One host for one data directory: a lock that the system lets go when the process ends, however it ends.
#![allow(clippy::disallowed_methods, reason = "the outside world: files and processes are its job")]

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// The file in the data directory. It holds the number of the process that has the lock, for people.
const LOCK_FILE: &str = "lock";
/// No process has a longer number.
const PID_BYTES_MAX: u64 = 16;

/// A locked data directory. Dropping it lets go.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Another host runs with the data directory.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the data directory {} is in use by another host{}: end that one first, or use another --data-dir", directory.display(), process(*pid))]
pub struct InUse {
    /// Which directory.
    pub directory: PathBuf,
    /// By which process, if that is known.
    pub pid: Option<u32>,
}

fn process(pid: Option<u32>) -> String {
    pid.map_or(String::new(), |pid| format!(" (process {pid})"))
}

impl Lock {
    /// Locks a data directory. `None` if the file system does not let us: a host whose disk fails still serves.
    ///
    /// # Errors
    /// [`InUse`].
    pub fn take(directory: &Path) -> Result<Option<Self>, InUse> {
        let path = directory.join(LOCK_FILE);
        let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        let mut file = match opened {
            Ok(file) => file,
            Err(error) => {
                tracing::error!(file = %path.display(), %error, "cannot lock the data directory: see that no other host uses it");
                return Ok(None);
            }
        };
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(InUse { directory: directory.to_owned(), pid: pid_in(&file) }),
            Err(error) => {
                tracing::error!(file = %path.display(), %error, "cannot lock the data directory: see that no other host uses it");
                return Ok(None);
            }
        }
        // For people alone; a full disk is no reason not to run.
        let _ = file.set_len(0).and_then(|()| write!(file, "{}", std::process::id()));
        Ok(Some(Self { _file: file }))
    }

    /// Who has a data directory locked, if anybody has.
    #[must_use]
    pub fn holder(directory: &Path) -> Option<InUse> {
        let file = File::open(directory.join(LOCK_FILE)).ok()?;
        match flock(&file, FlockOperation::NonBlockingLockShared) {
            Err(Errno::WOULDBLOCK) => Some(InUse { directory: directory.to_owned(), pid: pid_in(&file) }),
            _ => None,
        }
    }
}

fn pid_in(file: &File) -> Option<u32> {
    let mut text = String::new();
    file.take(PID_BYTES_MAX).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_locked_once_and_free_when_the_lock_is_dropped() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(Lock::holder(directory.path()), None);
        let lock = Lock::take(directory.path()).unwrap().unwrap();
        let in_use = Lock::take(directory.path()).unwrap_err();
        assert_eq!(in_use.pid, Some(std::process::id()));
        assert!(
            in_use.to_string().contains(&format!("{} is in use by another host (process ", directory.path().display()))
        );
        assert_eq!(Lock::holder(directory.path()), Some(in_use));
        drop(lock);
        assert_eq!(Lock::holder(directory.path()), None);
        assert!(Lock::take(directory.path()).unwrap().is_some());
    }
}
