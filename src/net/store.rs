//! What outlives a run, in the data directory: the epoch, the hint cache, the marks, revocations.
//!
//! Each is a text file of its own: one line `aldis KIND 1 CHECKSUM`, then one entry a line. A file is replaced whole:
//! written beside, synced, renamed. So a failing write leaves the old file, and a torn one is noticed by its checksum.
//! Nothing here is worth stopping a host for: what cannot be read is discarded with a warning, what cannot be written
//! is an error in the log.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::SystemTime;

use aldis_wire::hex;
use aldis_wire::id::HostId;
use aldis_wire::proof::Signature;
use aldis_wire::revocation::Revocation;
use tokio::sync::mpsc;

use crate::relay::io::{Hint, Stored};
use crate::relay::limits::{HINTS_MAX, MARKS_MAX, REVOCATIONS_KEPT_MAX};

/// No file of ours is longer: all marks take some 110 bytes each.
const FILE_BYTES: u64 = 16 << 20;
/// Writes that wait for the disk; a newer state follows soon, so more are left out.
const WAITING_MAX: usize = 16;
const MODE: u32 = 0o600;
/// A revoked host was heard of here, or its statement handed over here.
const HEARD: &str = "heard";
/// Others told of it.
const TOLD: &str = "told";

/// The files of one host. Without a directory nothing is kept.
#[derive(Clone, Debug)]
pub struct Store {
    directory: Option<PathBuf>,
}

/// What was kept from the last run.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    /// The epoch of this run: 1 + the greater of the last one and the Unix time in seconds. Already stored.
    pub epoch: u64,
    /// Where hosts were last seen, best first.
    pub hints: Vec<Hint>,
    /// (host, epoch, seq).
    pub marks: Vec<(HostId, u64, u64)>,
    /// Revoked identities, and whether each was heard of here.
    pub revocations: Vec<(Revocation, bool)>,
}

/// Why a file is discarded.
#[derive(Debug, thiserror::Error)]
enum Unreadable {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("it is not a file of this kind, or of another version")]
    Header,
    #[error("its checksum does not fit: it is damaged")]
    Checksum,
    #[error("line {0} cannot be read")]
    Line(usize),
}

impl Store {
    /// The files in this directory, which is made if it is missing.
    #[must_use]
    pub fn new(directory: Option<PathBuf>) -> Self {
        if let Some(directory) = &directory
            && let Err(error) = fs::create_dir_all(directory)
        {
            tracing::error!(directory = %directory.display(), %error, "cannot make the data directory");
        }
        Self { directory }
    }

    /// Reads what was kept, takes a new epoch and stores it. Blocks on the disk.
    #[must_use]
    pub fn begin(&self) -> Kept {
        let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let last = self.read("epoch", number::<u64>).and_then(|epochs| epochs.first().copied()).unwrap_or(0);
        let epoch = last.max(unix).saturating_add(1);
        self.put(&Stored::Epoch(epoch));
        let mut hints = self.read("hints", hint).unwrap_or_default();
        hints.truncate(HINTS_MAX);
        let mut marks = self.read("marks", mark).unwrap_or_default();
        marks.truncate(MARKS_MAX);
        let mut revocations = self.read("revoked", revocation).unwrap_or_default();
        revocations.truncate(REVOCATIONS_KEPT_MAX);
        Kept { epoch, hints, marks, revocations }
    }

    /// Writes one of the files. Blocks on the disk. Failures are told in the log and leave the old file.
    pub fn put(&self, stored: &Stored) {
        let Some(directory) = &self.directory else { return };
        let kind = kind(stored);
        if let Err(error) = replace(directory, kind, &lines(stored)) {
            tracing::error!(
                directory = %directory.display(), kind, %error,
                "cannot write to the data directory; the old file stays, and the host goes on without this memory"
            );
        }
    }

    /// A queue whose entries are written one after the other, away from the caller, and the task that does it. The
    /// task ends when the queue is dropped and everything is written.
    #[must_use]
    pub fn writer(self) -> (mpsc::Sender<Stored>, tokio::task::JoinHandle<()>) {
        let (sender, mut receiver) = mpsc::channel::<Stored>(WAITING_MAX);
        let task = tokio::task::spawn_blocking(move || {
            while let Some(stored) = receiver.blocking_recv() {
                self.put(&stored);
            }
        });
        (sender, task)
    }

    fn read<T>(&self, kind: &str, parse: impl Fn(&str) -> Option<T>) -> Option<Vec<T>> {
        let path = self.directory.as_ref()?.join(kind);
        match parsed(&path, kind, parse) {
            Ok(entries) => Some(entries),
            Err(Unreadable::Io(error)) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::warn!(file = %path.display(), %error, "discarded a file of an earlier run");
                None
            }
        }
    }
}

fn kind(stored: &Stored) -> &'static str {
    match stored {
        Stored::Epoch(_) => "epoch",
        Stored::Hints(_) => "hints",
        Stored::Marks(_) => "marks",
        Stored::Revocations(_) => "revoked",
    }
}

fn lines(stored: &Stored) -> String {
    match stored {
        Stored::Epoch(epoch) => format!("{epoch}\n"),
        Stored::Hints(hints) => hints
            .iter()
            .map(|hint| match hint.host {
                Some(host) => format!("{} {host}\n", hint.address),
                None => format!("{}\n", hint.address),
            })
            .collect(),
        Stored::Revocations(revocations) => revocations
            .iter()
            .map(|(revocation, heard)| {
                let signature = hex::encode(&revocation.signature().to_bytes());
                format!("{} {signature} {}\n", revocation.host(), if *heard { HEARD } else { TOLD })
            })
            .collect(),
        Stored::Marks(marks) => marks.iter().map(|(host, epoch, seq)| format!("{host} {epoch} {seq}\n")).collect(),
    }
}

fn number<T: FromStr>(text: &str) -> Option<T> {
    text.parse().ok()
}

fn hint(line: &str) -> Option<Hint> {
    let mut words = line.split(' ');
    let address = words.next()?.parse::<SocketAddr>().ok()?;
    let host = words.next().map(HostId::from_str).transpose().ok()?;
    words.next().is_none().then_some(Hint { address, host })
}

fn mark(line: &str) -> Option<(HostId, u64, u64)> {
    let mut words = line.split(' ');
    let mark = (words.next()?.parse().ok()?, number(words.next()?)?, number(words.next()?)?);
    words.next().is_none().then_some(mark)
}

fn revocation(line: &str) -> Option<(Revocation, bool)> {
    let mut words = line.split(' ');
    let (host, signature) = (words.next()?.parse().ok()?, hex::decode(words.next()?).ok()?);
    let heard = match words.next()? {
        HEARD => true,
        TOLD => false,
        _ => return None,
    };
    words.next().is_none().then_some((Revocation::of(host, Signature::from_bytes(&signature)), heard))
}

fn header(kind: &str, body: &str) -> String {
    format!("aldis {kind} 1 {}\n", blake3::hash(body.as_bytes()).to_hex())
}

fn parsed<T>(path: &Path, kind: &str, parse: impl Fn(&str) -> Option<T>) -> Result<Vec<T>, Unreadable> {
    let mut text = String::new();
    File::open(path)?.take(FILE_BYTES).read_to_string(&mut text)?;
    let (first, body) = text.split_once('\n').ok_or(Unreadable::Header)?;
    let expected = header(kind, body);
    if expected.trim_end() != first {
        let same_kind = first.starts_with(&format!("aldis {kind} 1 "));
        return Err(if same_kind { Unreadable::Checksum } else { Unreadable::Header });
    }
    body.lines().enumerate().map(|(at, line)| parse(line).ok_or(Unreadable::Line(at + 2))).collect()
}

/// Puts a new file in the place of the old one, or leaves the old one.
fn replace(directory: &Path, kind: &str, body: &str) -> io::Result<()> {
    let beside = directory.join(format!("{kind}.new"));
    let written = write_synced(&beside, header(kind, body).as_bytes(), body.as_bytes())
        .and_then(|()| fs::rename(&beside, directory.join(kind)));
    if written.is_err() {
        // Best effort: what is left of it takes room on a disk that may be full.
        let _ = fs::remove_file(&beside);
        return written;
    }
    // The rename itself must outlive a power cut.
    File::open(directory)?.sync_all()
}

fn write_synced(path: &Path, header: &[u8], body: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(MODE).open(path)?;
    file.write_all(header)?;
    file.write_all(body)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail by panic")]
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn hints() -> Vec<Hint> {
        vec![
            Hint { address: "127.0.0.1:7000".parse().unwrap(), host: Some(HostId::new([7; 32])) },
            Hint { address: "[::1]:7001".parse().unwrap(), host: None },
        ]
    }

    #[test]
    fn what_is_put_comes_back_at_the_next_start_with_a_higher_epoch() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::new(Some(directory.path().join("not/yet/there")));
        let first = store.begin();
        assert!(first.hints.is_empty() && first.marks.is_empty());
        let marks = vec![(HostId::new([1; 32]), 5, u64::MAX)];
        let statement = |byte| Revocation::make(&ed25519_dalek::SigningKey::from_bytes(&[byte; 32]));
        let revocations = vec![(statement(1), true), (statement(2), false)];
        store.put(&Stored::Revocations(revocations.clone()));
        store.put(&Stored::Hints(hints()));
        store.put(&Stored::Marks(marks.clone()));
        store.put(&Stored::Epoch(first.epoch + 1_000_000));
        let second = store.begin();
        assert_eq!(second.hints, hints());
        assert_eq!(second.marks, marks);
        assert_eq!(second.revocations, revocations);
        assert_eq!(second.epoch, first.epoch + 1_000_001);
        assert_eq!(store.begin().epoch, second.epoch + 1, "an epoch is stored before it is used");
    }

    #[test]
    fn files_are_for_their_owner_alone_and_nothing_is_left_beside_them() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::new(Some(directory.path().to_owned()));
        store.put(&Stored::Hints(hints()));
        let entries = fs::read_dir(directory.path()).unwrap().map(Result::unwrap).collect::<Vec<_>>();
        assert_eq!(entries.len(), 1);
        assert_eq!(entries[0].metadata().unwrap().permissions().mode() & 0o777, MODE);
    }

    #[test]
    fn a_damaged_file_is_discarded_whole() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::new(Some(directory.path().to_owned()));
        store.put(&Stored::Hints(hints()));
        let path = directory.path().join("hints");
        let good = fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(&path, &bad).unwrap();
            assert!(store.read("hints", hint).is_none(), "byte {at} was changed");
            fs::write(&path, &good[..at]).unwrap();
            assert!(store.read("hints", hint).is_none(), "cut at {at}");
        }
        fs::write(&path, &good).unwrap();
        assert_eq!(store.begin().hints, hints());
    }

    #[test]
    fn a_write_that_fails_leaves_the_old_file() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::new(Some(directory.path().to_owned()));
        store.put(&Stored::Hints(hints()));
        // Whatever the user's rights, a directory cannot be opened for writing.
        fs::create_dir(directory.path().join("hints.new")).unwrap();
        store.put(&Stored::Hints(Vec::new()));
        assert_eq!(store.begin().hints, hints());
    }

    #[test]
    fn without_a_directory_nothing_is_kept_and_nothing_fails() {
        let store = Store::new(None);
        store.put(&Stored::Epoch(7));
        assert!(store.begin().epoch > 7, "the time of day is later than 1970");
    }

    #[tokio::test]
    async fn the_writer_finishes_what_it_was_given() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::new(Some(directory.path().to_owned()));
        let (queue, task) = store.clone().writer();
        queue.send(Stored::Hints(hints())).await.unwrap();
        drop(queue);
        task.await.unwrap();
        assert_eq!(store.begin().hints, hints());
    }
}
