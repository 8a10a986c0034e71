//! Who a host is: the data directory and the host key file in it.
//!
//! `host.key` is TOML, mode 0600, made at the first start and never changed afterwards:
//!
//! ```toml
//! version = 1
//! identity = "<64 hex digits: the Ed25519 secret key; its public half is the host's id>"
//! sealing = "<64 hex digits: the X25519 secret key to which other hosts seal>"
//! check = "<16 hex digits: the first bytes of BLAKE3.derive_key(CHECK_CONTEXT, identity ‖ sealing)>"
//! ```
//!
//! A changed digit would make another host of this one without a word, so `check` guards the keys. A file that is
//! corrupt, unreadable or open to others stops the start; it is never silently replaced.
#![allow(clippy::disallowed_methods, reason = "the outside world: files and variables are its job")]

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use aldis_wire::hex;
use aldis_wire::id::HostId;
use aldis_wire::network::NetworkTag;
use aldis_wire::seal::SealingKey;
use ed25519_dalek::SigningKey;

use crate::system::random_bytes;
use crate::textfile::{self, FileError, TextFile};

/// The host key's file in the data directory.
pub const KEY_FILE: &str = "host.key";
/// The version of the file's format.
const VERSION: i64 = 1;
/// Context of the field `check`.
const CHECK_CONTEXT: &str = "aldis 2026 host key file";
/// The fields of the file.
const FIELDS: [&str; 4] = ["version", "identity", "sealing", "check"];

/// A host's two secret keys.
#[derive(Clone, Debug)]
pub struct HostKey {
    /// Signs; its public half is the host's id.
    pub identity: SigningKey,
    /// Opens what other homes seal for this host.
    pub sealing: SealingKey,
}

impl HostKey {
    /// Two fresh random keys.
    #[must_use]
    pub fn random() -> Self {
        Self::of(&random_bytes(), random_bytes())
    }

    /// The host's id.
    #[must_use]
    pub fn id(&self) -> HostId {
        HostId::new(self.identity.verifying_key().to_bytes())
    }

    fn of(identity: &[u8; 32], sealing: [u8; 32]) -> Self {
        Self { identity: SigningKey::from_bytes(identity), sealing: SealingKey::new(sealing) }
    }
}

/// Reads the host key of a data directory; makes directory and key if there is none. Tells whether it was made.
///
/// # Errors
/// [`FileError`] when the key is corrupt, unreadable or open to others, or cannot be made.
pub fn load_or_create(data_dir: &Path) -> Result<(HostKey, bool), FileError> {
    if let Some(key) = load(data_dir)? {
        return Ok((key, false));
    }
    textfile::create_directory(data_dir)?;
    let (identity, sealing) = (random_bytes(), random_bytes());
    textfile::create_secret(&data_dir.join(KEY_FILE), &text(&identity, &sealing))?;
    Ok((HostKey::of(&identity, sealing), true))
}

/// Reads the host key of a data directory; `None` when there is none yet.
///
/// # Errors
/// [`FileError`] when the key is corrupt, unreadable or open to others.
pub fn load(data_dir: &Path) -> Result<Option<HostKey>, FileError> {
    let path = data_dir.join(KEY_FILE);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(FileError::new(&path, format!("cannot be read: {}", crate::system::plain(&error)))),
    };
    textfile::check_private(&path, &file)?;
    TextFile::read_from(&path, file).and_then(|file| parse(&file)).map(Some).map_err(|error| FileError {
        what: format!("{}; restore the file from a copy, or remove it to become a new host", error.what),
        ..error
    })
}

/// Where a host keeps its data when the operator does not say: `$XDG_DATA_HOME/aldis/<tag>`, else
/// `$HOME/.local/share/aldis/<tag>`. `None` when neither variable holds an absolute path.
#[must_use]
pub fn default_data_dir(environment: impl Fn(&str) -> Option<String>, tag: NetworkTag) -> Option<PathBuf> {
    let absolute = |name| environment(name).map(PathBuf::from).filter(|path: &PathBuf| path.is_absolute());
    let base = absolute("XDG_DATA_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/share")))?;
    Some(base.join("aldis").join(tag.to_string()))
}

fn text(identity: &[u8; 32], sealing: &[u8; 32]) -> String {
    format!(
        "# The keys of an Aldis host. Secret: whoever holds this file is the host. Keep a copy; never change it.\n\
         # Host id: {}\n\
         version = {VERSION}\nidentity = \"{}\"\nsealing = \"{}\"\ncheck = \"{}\"\n",
        HostKey::of(identity, *sealing).id(),
        hex::encode(identity),
        hex::encode(sealing),
        hex::encode(&check(identity, sealing)),
    )
}

fn parse(file: &TextFile) -> Result<HostKey, FileError> {
    file.only(&FIELDS)?;
    match file.entry("version").map(|entry| entry.value.as_integer()) {
        Some(Some(VERSION)) => {}
        Some(_) => return Err(file.blame("version", format!("is not {VERSION}, the one this program reads"))),
        None => return Err(file.blame("version", "is missing")),
    }
    let (identity, sealing) = (file.hex("identity")?, file.hex("sealing")?);
    if file.hex("check")? != check(&identity, &sealing) {
        return Err(file.blame("check", "does not fit the keys: a digit of the file was changed"));
    }
    Ok(HostKey::of(&identity, sealing))
}

fn check(identity: &[u8; 32], sealing: &[u8; 32]) -> [u8; 8] {
    let whole = blake3::derive_key(CHECK_CONTEXT, &[*identity, *sealing].concat());
    whole.first_chunk().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    /// A data directory with a key, and the key's path and text.
    fn made() -> (tempfile::TempDir, PathBuf, String) {
        let directory = tempfile::tempdir().unwrap();
        load_or_create(directory.path()).unwrap();
        let path = directory.path().join(KEY_FILE);
        let text = fs::read_to_string(&path).unwrap();
        (directory, path, text)
    }

    #[test]
    fn a_host_keeps_its_keys() {
        let directory = tempfile::tempdir().unwrap();
        let data_dir = directory.path().join("a/b");
        let (made, new) = load_or_create(&data_dir).unwrap();
        assert!(new);
        let (read, new) = load_or_create(&data_dir).unwrap();
        assert!(!new);
        assert_eq!(made.id(), read.id());
        assert_eq!(made.sealing.public(), read.sealing.public());
        assert_eq!(fs::metadata(data_dir.join(KEY_FILE)).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(&data_dir).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn no_single_damage_to_the_file_makes_another_host_or_a_new_key() {
        let (directory, path, text) = made();
        let mut damaged = vec![
            String::new(),
            text[..text.len() / 2].to_owned(),
            text.replace("version = 1", "version = 2"),
            text.replace("sealing = ", "sailing = "),
        ];
        let secrets = text.find("version").unwrap();
        for (at, digit) in text.char_indices().filter(|(at, c)| *at > secrets && c.is_ascii_hexdigit()).step_by(7) {
            let other = if digit == '0' { "1" } else { "0" };
            damaged.push(format!("{}{other}{}", &text[..at], &text[at + 1..]));
        }
        for damage in damaged {
            fs::write(&path, &damage).unwrap();
            let error = load_or_create(directory.path()).unwrap_err().to_string();
            assert!(error.starts_with(path.to_str().unwrap()), "the error does not name the file: {error}");
            assert_eq!(error.lines().count(), 1);
            assert!(error.ends_with("restore the file from a copy, or remove it to become a new host"), "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), damage, "the file was changed");
        }
    }

    #[test]
    fn a_key_that_others_may_read_is_refused_with_the_cure() {
        let (directory, path, _) = made();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = load_or_create(directory.path()).unwrap_err().to_string();
        assert!(error.contains("mode 0640") && error.contains("chmod 600 '"), "{error}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(load_or_create(directory.path()).is_ok());
    }

    #[test]
    fn a_directory_in_the_keys_place_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join(KEY_FILE)).unwrap();
        assert!(load_or_create(directory.path()).unwrap_err().to_string().contains("is not a regular file"));
    }

    #[test]
    fn the_data_directory_follows_xdg() {
        let tag = NetworkTag::new([0xab; 8]);
        let both = |name: &str| match name {
            "XDG_DATA_HOME" => Some("/x".to_owned()),
            _ => Some("/home/h".to_owned()),
        };
        assert_eq!(default_data_dir(both, tag).unwrap(), Path::new("/x/aldis/abababababababab"));
        let home = |name: &str| (name == "HOME").then(|| "/home/h".to_owned());
        assert_eq!(default_data_dir(home, tag).unwrap(), Path::new("/home/h/.local/share/aldis/abababababababab"));
        assert_eq!(default_data_dir(|_| None, tag), None);
        assert_eq!(default_data_dir(|_| Some("relative".to_owned()), tag), None);
    }
}
