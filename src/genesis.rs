//! The genesis file: a network's name and key (PROTOCOL.md §2). Whoever holds it may run a host.
//!
//! ```toml
//! name = "our testnet"
//! key = "<64 lowercase hex digits>"
//! ```
#![allow(clippy::disallowed_methods, reason = "the outside world: files and variables are its job")]

use std::path::Path;

use aldis_wire::hex;
use aldis_wire::network::{Genesis, NameError};

use crate::system::random_bytes;
use crate::textfile::{self, FileError, TextFile};

/// The fields of a genesis file.
const FIELDS: [&str; 2] = ["name", "key"];

/// A network with a fresh random key.
///
/// # Errors
/// [`NameError`] as for [`Genesis::new`].
pub fn random(name: &str) -> Result<Genesis, NameError> {
    Genesis::new(name, random_bytes())
}

/// Reads a genesis file.
///
/// # Errors
/// [`FileError`] naming file and field.
pub fn read(path: &Path) -> Result<Genesis, FileError> {
    parse(&TextFile::read(path)?)
}

/// A genesis as the text of its file.
#[must_use]
pub fn text(genesis: &Genesis) -> String {
    format!(
        "# The genesis of an Aldis network. Secret: whoever holds this file may run a host of the network.\n\
         name = {}\nkey = \"{}\"\n",
        toml::Value::from(genesis.name()),
        hex::encode(genesis.key())
    )
}

/// Writes a genesis file with mode 0600.
///
/// # Errors
/// [`FileError`] when the file exists already or cannot be written.
pub fn create(path: &Path, genesis: &Genesis) -> Result<(), FileError> {
    textfile::create_secret(path, &text(genesis))
}

fn parse(file: &TextFile) -> Result<Genesis, FileError> {
    file.only(&FIELDS)?;
    let name = file.string("name")?;
    let key = file.hex("key")?;
    Genesis::new(name, key).map_err(|error| file.blame("name", error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaint(text: &str) -> String {
        TextFile::parse(Path::new("g.toml"), text).and_then(|file| parse(&file)).unwrap_err().to_string()
    }

    #[test]
    fn a_genesis_survives_its_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("g.toml");
        let genesis = random("a \"quoted\" name").unwrap();
        create(&path, &genesis).unwrap();
        assert_eq!(read(&path).unwrap(), genesis);
        assert!(create(&path, &genesis).is_err(), "a genesis was overwritten");
    }

    #[test]
    fn a_corrupt_genesis_names_file_and_field() {
        let key = "ab".repeat(32);
        assert_eq!(complaint("name = \"n\""), "g.toml, field `key`: is missing");
        assert_eq!(complaint(&format!("key = \"{key}\"")), "g.toml, field `name`: is missing");
        assert_eq!(
            complaint(&format!("name = \"n\"\nkey = \"{}\"", key.to_uppercase())),
            "g.toml, line 2, field `key`: only the digits 0-9 and a-f may stand in hex"
        );
        assert!(complaint(&format!("name = \"\"\nkey = \"{key}\"")).starts_with("g.toml, line 1, field `name`: "));
        assert!(
            complaint(&format!("name = \"n\"\nkey = \"{key}\"\nkye = 1")).starts_with("g.toml, line 3, field `kye`: ")
        );
        assert!(complaint("name").starts_with("g.toml, line 1: is not valid TOML"));
    }
}
