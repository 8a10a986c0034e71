//! The operator's files about other hosts, read again when they change: who may be here, and revocations to publish.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aldis_wire::id::HostId;
use aldis_wire::revocation::Revocation;

use crate::hosts::{self, HostFiles};
use crate::net::hub::Hub;
use crate::relay::io::{HostLists, Input};
use crate::relay::limits::REVOCATIONS_KEPT_MAX;
use crate::textfile::FileError;

/// How often the files are looked at: an operator who denies a host waits for it.
const LOOKED_AT: Duration = Duration::from_secs(1);

/// By which a change of a file is noticed; `None` while it cannot be had.
type Stamp = Option<(SystemTime, u64, u64)>;

/// The files, and how they were when they were last read.
#[derive(Debug)]
pub(super) struct Lists {
    files: HostFiles,
    own: HostId,
    /// Every `*.toml` in it is a revocation to publish.
    directory: Option<PathBuf>,
    lists: [Stamp; 2],
    revocations: BTreeMap<PathBuf, Stamp>,
}

impl Lists {
    /// Reads the lists of the host `own`, and the revocations that the operator names.
    ///
    /// # Errors
    /// [`FileError`], which names file and line.
    pub(super) fn read(
        files: HostFiles,
        own: HostId,
        directory: Option<PathBuf>,
    ) -> Result<(Self, HostLists, Vec<Revocation>), FileError> {
        let mut made = Self { files, own, directory, lists: [None; 2], revocations: BTreeMap::new() };
        made.lists = made.list_stamps();
        let lists = hosts::read_lists(&made.files, own)?;
        let mut revocations = Vec::new();
        for path in made.files.revocations.clone() {
            made.revocations.insert(path.clone(), stamp(&path));
            let revocation = hosts::read_revocation(&path)?;
            if revocation.host() == own {
                let what = "revokes this host itself, which could tell nobody: publish it from another host, \
                            or, while this one runs, by `aldis id revoke --publish`";
                return Err(FileError::new(&path, what));
            }
            revocations.push(revocation);
        }
        Ok((made, lists, revocations))
    }

    /// Looks at the files again and again, for ever. What cannot be read leaves the old lists in force.
    pub(super) async fn watch(mut self, hub: Arc<Hub>) {
        loop {
            self.look(&hub);
            tokio::time::sleep(LOOKED_AT).await;
        }
    }

    fn look(&mut self, hub: &Hub) {
        let stamps = self.list_stamps();
        if stamps != self.lists {
            self.lists = stamps;
            match hosts::read_lists(&self.files, self.own) {
                Ok(lists) => {
                    let (allowed, denied) = (lists.allow.as_ref().map(|allow| allow.len()), lists.deny.len());
                    tracing::info!(?allowed, denied, "the lists of hosts were read again");
                    hub.happened(Input::HostsListed { lists });
                }
                Err(error) => {
                    tracing::error!("{error}; THE OLD LISTS OF HOSTS STAY IN FORCE until the file is mended");
                }
            }
        }
        let found = self.new_revocations();
        if !found.is_empty() {
            hub.happened(Input::RevocationsFound { revocations: found, heard: true });
        }
    }

    /// The revocations in files that are new or have changed.
    fn new_revocations(&mut self) -> Vec<Revocation> {
        let dropped = self.directory.as_deref().map(in_directory).unwrap_or_default();
        let paths: Vec<PathBuf> = self.files.revocations.iter().cloned().chain(dropped).collect();
        self.revocations.retain(|path, _| paths.contains(path));
        let mut found = Vec::new();
        for path in paths {
            let stamp = stamp(&path);
            if stamp.is_none() || self.revocations.insert(path.clone(), stamp) == Some(stamp) {
                continue;
            }
            match hosts::read_revocation(&path) {
                Ok(revocation) => {
                    tracing::warn!(host = %revocation.host(), "publishing that this host's identity is revoked");
                    found.push(revocation);
                }
                Err(error) => tracing::error!("{error}; THE REVOCATION IS NOT PUBLISHED"),
            }
        }
        found
    }

    fn list_stamps(&self) -> [Stamp; 2] {
        [&self.files.allow, &self.files.deny].map(|path| stamp(path.as_deref()?))
    }
}

fn stamp(path: &Path) -> Stamp {
    let metadata = fs::metadata(path).ok()?;
    // A file that takes another's place may have its time and length.
    Some((metadata.modified().ok()?, metadata.len(), metadata.ino()))
}

/// The revocations in a directory; more than are kept are not looked at.
fn in_directory(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok);
    let files = entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|kind| kind == "toml"));
    files.take(REVOCATIONS_KEPT_MAX).collect()
}
