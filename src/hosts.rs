//! What an operator writes down of other hosts: lists of ids, and revocations.
//!
//! A list has one id a line, 64 hex digits; what follows a `#` is a comment, and empty lines are left out. A revocation is
//! TOML:
//!
//! ```toml
//! version = 1
//! host = "<64 hex digits: the host's id>"
//! signature = "<128 hex digits: PROTOCOL.md §6.7>"
//! ```
#![allow(clippy::disallowed_methods, reason = "the outside world: files are its job")]

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use aldis_wire::hex;
use aldis_wire::id::HostId;
use aldis_wire::proof::Signature;
use aldis_wire::revocation::Revocation;

use crate::relay::io::HostLists;
use crate::textfile::{self, FileError, TextFile};

/// Bytes of a list: some 60,000 ids.
const LIST_BYTES_MAX: u64 = 4 << 20;
/// The version of a revocation's file.
const VERSION: i64 = 1;
/// The fields of a revocation's file.
const FIELDS: [&str; 3] = ["version", "host", "signature"];
/// The directory, in a host's data directory, out of which it publishes revocations.
const REVOCATIONS: &str = "revocations";

/// The files in which an operator says which hosts may be here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostFiles {
    /// The list of the only hosts that may.
    pub allow: Option<PathBuf>,
    /// The list of hosts that may not.
    pub deny: Option<PathBuf>,
    /// Revocations to publish.
    pub revocations: Vec<PathBuf>,
}

/// Reads both lists, for the host `own`.
///
/// # Errors
/// [`FileError`] naming file and line, when a file cannot be read, a line is no id, or `own` itself would be kept out.
pub fn read_lists(files: &HostFiles, own: HostId) -> Result<HostLists, FileError> {
    let allow = files.allow.as_deref().map(|path| read_list(path, "hosts_allow")).transpose()?;
    let deny = files.deny.as_deref().map(|path| read_list(path, "hosts_deny")).transpose()?.unwrap_or_default();
    if let (Some(path), Some((_, line))) = (&files.deny, deny.iter().find(|(id, _)| *id == own)) {
        let what = "is this host's own id, which cannot be denied: remove the line";
        return Err(FileError { line: Some(*line), ..FileError::new(path, what) });
    }
    if let (Some(path), Some(allow)) = (&files.allow, &allow)
        && !allow.iter().any(|(id, _)| *id == own)
    {
        return Err(FileError::new(path, format!("does not allow this host itself: add its id, {own}")));
    }
    let ids = |list: Vec<(HostId, usize)>| list.into_iter().map(|(id, _)| id).collect::<BTreeSet<_>>();
    Ok(HostLists { allow: allow.map(ids), deny: ids(deny) })
}

/// The ids of the list that a setting names, each with its line.
fn read_list(path: &Path, setting: &str) -> Result<Vec<(HostId, usize)>, FileError> {
    let unreadable = |error: &std::io::Error| {
        let what = format!("is named by `{setting}` and cannot be read: {}", crate::system::plain(error));
        FileError::new(path, what)
    };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| unreadable(&error))?;
    file.take(LIST_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| unreadable(&error))?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > LIST_BYTES_MAX {
        return Err(FileError::new(path, format!("is larger than {LIST_BYTES_MAX} bytes, which no list of hosts is")));
    }
    let text = String::from_utf8(bytes).map_err(|_| FileError::new(path, "is not text (UTF-8)"))?;
    let mut ids = Vec::new();
    for (line, text) in (1..).zip(text.lines()) {
        let id = text.split('#').next().unwrap_or_default().trim();
        if id.is_empty() {
            continue;
        }
        let id = id.parse().map_err(|error| {
            let what = format!("is not a host id (64 hex digits, as `aldis id` shows): {error}");
            FileError { line: Some(line), ..FileError::new(path, what) }
        })?;
        ids.push((id, line));
    }
    Ok(ids)
}

/// Reads a revocation and checks its signature.
///
/// # Errors
/// [`FileError`] naming file and field.
pub fn read_revocation(path: &Path) -> Result<Revocation, FileError> {
    let file = TextFile::read(path)?;
    file.only(&FIELDS)?;
    match file.entry("version").map(|entry| entry.value.as_integer()) {
        Some(Some(VERSION)) => {}
        Some(_) => return Err(file.blame("version", format!("is not {VERSION}, the one this program reads"))),
        None => return Err(file.blame("version", "is missing")),
    }
    let revocation = Revocation::of(HostId::new(file.hex("host")?), Signature::from_bytes(&file.hex("signature")?));
    if !revocation.is_signed() {
        return Err(file.blame("signature", "is not that of this host: a digit of the file was changed"));
    }
    Ok(revocation)
}

/// A revocation as the text of its file.
#[must_use]
pub fn revocation_text(revocation: &Revocation) -> String {
    format!(
        "# Revokes an Aldis host's identity, in every network and for ever, once it is published:\n\
         #     aldis id revoke --publish THIS-FILE\n\
         # Keep it offline, apart from the host's key: whoever has it can end the host. It holds no secret key.\n\
         version = {VERSION}\nhost = \"{}\"\nsignature = \"{}\"\n",
        revocation.host(),
        hex::encode(&revocation.signature().to_bytes()),
    )
}

/// The directory out of which a host publishes revocations.
#[must_use]
pub fn revocations_directory(data_dir: &Path) -> PathBuf {
    data_dir.join(REVOCATIONS)
}

/// Puts a revocation where the host with this data directory publishes it.
///
/// # Errors
/// [`FileError`] when it cannot be written.
pub fn hand_over(data_dir: &Path, revocation: &Revocation) -> Result<(), FileError> {
    let directory = revocations_directory(data_dir);
    textfile::create_directory(&directory)?;
    let path = directory.join(format!("{}.toml", revocation.host()));
    if read_revocation(&path).is_ok() {
        return Ok(());
    }
    textfile::create_secret(&path, &revocation_text(revocation))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use ed25519_dalek::SigningKey;

    use super::*;

    fn id(byte: u8) -> HostId {
        HostId::new([byte; 32])
    }

    /// What reading these two lists gives, for the host 1.
    fn lists(allow: Option<&str>, deny: Option<&str>) -> Result<HostLists, String> {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str, text: Option<&str>| {
            text.map(|text| {
                let path = directory.path().join(name);
                fs::write(&path, text).unwrap();
                path
            })
        };
        let files = HostFiles { allow: file("allow", allow), deny: file("deny", deny), revocations: Vec::new() };
        let prefix = format!("{}/", directory.path().display());
        read_lists(&files, id(1)).map_err(|error| error.to_string().replace(&prefix, ""))
    }

    #[test]
    fn a_list_has_an_id_a_line_with_comments() {
        let text = format!("# friends\n\n{}\n  {}  # the second\r\n", id(1), id(2));
        let read = lists(Some(&text), Some(&format!("{}", id(3)))).unwrap();
        assert_eq!(read.allow, Some([id(1), id(2)].into()));
        assert_eq!(read.deny, [id(3)].into());
        assert_eq!(lists(None, Some("# nobody\n")).unwrap(), HostLists::default());
    }

    #[test]
    fn a_bad_line_and_a_list_that_keeps_the_host_itself_out_are_named() {
        let bad = format!("{}\nabcd # short\n", id(2));
        assert!(lists(None, Some(&bad)).unwrap_err().starts_with("deny, line 2: is not a host id"));
        let own = format!("# us\n{}\n", id(1));
        assert!(lists(None, Some(&own)).unwrap_err().starts_with("deny, line 2: is this host's own id"));
        let others = format!("{}\n", id(2));
        assert!(lists(Some(&others), None).unwrap_err().starts_with("allow: does not allow this host itself"));
        assert!(lists(Some(""), None).is_err(), "an empty list allows nobody, not everybody");
    }

    #[test]
    fn a_list_that_is_not_there_is_named_with_the_setting_that_names_it() {
        let missing = || Some(PathBuf::from("/nowhere/at-all.txt"));
        let read = |allow, deny| {
            let files = HostFiles { allow, deny, revocations: Vec::new() };
            read_lists(&files, id(1)).unwrap_err().to_string()
        };
        assert!(
            read(None, missing()).starts_with("/nowhere/at-all.txt: is named by `hosts_deny` and cannot be read: ")
        );
        assert!(read(missing(), None).contains("`hosts_allow`"));
    }

    #[test]
    fn a_revocation_survives_its_file_and_no_changed_digit_does() {
        let directory = tempfile::tempdir().unwrap();
        let made = Revocation::make(&SigningKey::from_bytes(&[5; 32]));
        hand_over(directory.path(), &made).unwrap();
        hand_over(directory.path(), &made).unwrap();
        let path = revocations_directory(directory.path()).join(format!("{}.toml", made.host()));
        assert_eq!(read_revocation(&path).unwrap(), made);
        let text = fs::read_to_string(&path).unwrap();
        let fields = text.find("version").unwrap();
        for (at, digit) in text.char_indices().filter(|(at, c)| *at > fields && c.is_ascii_hexdigit()).step_by(5) {
            let other = if digit == '0' { "1" } else { "0" };
            fs::write(&path, format!("{}{other}{}", &text[..at], &text[at + 1..])).unwrap();
            let error = read_revocation(&path).unwrap_err().to_string();
            assert!(error.starts_with(path.to_str().unwrap()) && error.lines().count() == 1, "{error}");
        }
    }
}
