//! Small TOML files that people edit: read with errors that name file, line and field; secrets are created once, with
//! mode 0600, and never replaced.
#![allow(clippy::disallowed_methods, reason = "the outside world: files and variables are its job")]

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use aldis_wire::hex;
use toml::Value;
use toml::de::DeTable;

use crate::system::plain;

/// A file of settings or keys has a few hundred bytes; more is a mistake, and is not read into memory.
pub const FILE_BYTES_MAX: u64 = 256 << 10;

/// Fields that an error names all; of more it names the nearest.
const NAMED_MAX: usize = 8;

/// What is wrong with a file, in one sentence that names it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct FileError {
    /// Which file.
    pub path: PathBuf,
    /// Which line, counted from 1, if one line is to blame.
    pub line: Option<usize>,
    /// Which field, if one is to blame.
    pub field: Option<String>,
    /// What is wrong and what to do about it.
    pub what: String,
}

impl FileError {
    /// Something is wrong with the file as a whole.
    pub fn new(path: &Path, what: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line: None, field: None, what: what.into() }
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        if let Some(line) = self.line {
            write!(f, ", line {line}")?;
        }
        if let Some(field) = &self.field {
            write!(f, ", field `{field}`")?;
        }
        write!(f, ": {}", self.what)
    }
}

/// One `name = value` of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The field's name.
    pub name: String,
    /// Its line, counted from 1.
    pub line: usize,
    /// Its value.
    pub value: Value,
}

/// The top-level fields of a TOML file, in the file's order.
#[derive(Debug, Clone)]
pub struct TextFile {
    path: PathBuf,
    entries: Vec<Entry>,
}

impl TextFile {
    /// Reads and parses a file.
    ///
    /// # Errors
    /// [`FileError`] when the file cannot be read, is larger than [`FILE_BYTES_MAX`], or is not TOML.
    pub fn read(path: &Path) -> Result<Self, FileError> {
        let file =
            File::open(path).map_err(|error| FileError::new(path, format!("cannot be read: {}", plain(&error))))?;
        Self::read_from(path, file)
    }

    /// Parses an open file; `path` is for errors.
    ///
    /// # Errors
    /// As [`TextFile::read`].
    pub fn read_from(path: &Path, file: File) -> Result<Self, FileError> {
        let mut bytes = Vec::new();
        file.take(FILE_BYTES_MAX + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| FileError::new(path, format!("cannot be read: {}", plain(&error))))?;
        if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > FILE_BYTES_MAX {
            return Err(FileError::new(path, format!("is larger than {FILE_BYTES_MAX} bytes, which no such file is")));
        }
        let text = String::from_utf8(bytes).map_err(|_| FileError::new(path, "is not text (UTF-8)"))?;
        Self::parse(path, &text)
    }

    /// Parses the text of a file; `path` is for errors.
    ///
    /// # Errors
    /// [`FileError`] when the text is not TOML.
    pub fn parse(path: &Path, text: &str) -> Result<Self, FileError> {
        let complain = |error: toml::de::Error| FileError {
            line: error.span().map(|span| line_of(text, span.start)),
            // Never the parser's excerpt of the text: it may show a key.
            ..FileError::new(path, format!("is not valid TOML: {}", error.message()))
        };
        let spans = DeTable::parse(text).map_err(complain)?;
        let mut values: toml::Table = text.parse().map_err(complain)?;
        let mut entries = Vec::new();
        for name in spans.get_ref().keys() {
            if let Some(value) = values.remove(name.get_ref().as_ref()) {
                let line = line_of(text, name.span().start);
                entries.push(Entry { name: name.get_ref().to_string(), line, value });
            }
        }
        entries.sort_by_key(|entry| entry.line);
        Ok(Self { path: path.to_owned(), entries })
    }

    /// Which file this is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All fields.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// An error that blames a field.
    #[must_use]
    pub fn blame(&self, field: &str, what: impl Into<String>) -> FileError {
        let line = self.entry(field).map(|entry| entry.line);
        FileError { line, field: Some(field.to_owned()), ..FileError::new(&self.path, what) }
    }

    /// Refuses fields that are not in `known`.
    ///
    /// # Errors
    /// [`FileError`] naming the first unknown field.
    pub fn only(&self, known: &[&str]) -> Result<(), FileError> {
        match self.entries.iter().find(|entry| !known.contains(&entry.name.as_str())) {
            None => Ok(()),
            Some(entry) => {
                let instead = match (nearest(&entry.name, known), known.len() <= NAMED_MAX) {
                    (_, true) => format!("; there are {}", known.join(", ")),
                    (Some(near), false) => format!("; did you mean `{near}`?"),
                    (None, false) => String::new(),
                };
                Err(self.blame(&entry.name, format!("is not a field of this file{instead}")))
            }
        }
    }

    /// A field that must be a string.
    ///
    /// # Errors
    /// [`FileError`] when it is missing or something else.
    pub fn string(&self, field: &str) -> Result<&str, FileError> {
        let entry = self.entry(field).ok_or_else(|| self.blame(field, "is missing"))?;
        entry.value.as_str().ok_or_else(|| self.blame(field, "must be a string in quotes"))
    }

    /// A field that must be a string of `2 * N` lowercase hex digits.
    ///
    /// # Errors
    /// [`FileError`] when it is missing or something else.
    pub fn hex<const N: usize>(&self, field: &str) -> Result<[u8; N], FileError> {
        hex::decode(self.string(field)?).map_err(|error| self.blame(field, error.to_string()))
    }

    /// The field with this name.
    #[must_use]
    pub fn entry(&self, field: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.name == field)
    }
}

/// Refuses a secret file that others than its owner may read or write.
///
/// # Errors
/// [`FileError`] with the command that mends it.
pub fn check_private(path: &Path, file: &File) -> Result<(), FileError> {
    let metadata =
        file.metadata().map_err(|error| FileError::new(path, format!("cannot be read: {}", plain(&error))))?;
    if !metadata.is_file() {
        return Err(FileError::new(path, "is not a regular file"));
    }
    let mode = metadata.mode() & 0o777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    let what =
        format!("has mode {mode:04o}, so others than its owner may use this secret; run: chmod 600 {}", quoted(path));
    Err(FileError::new(path, what))
}

/// Writes a secret into a new file with mode 0600. The file appears whole or not at all, and never replaces another.
///
/// # Errors
/// [`FileError`] when the file exists already or cannot be written.
pub fn create_secret(path: &Path, text: &str) -> Result<(), FileError> {
    let name = path.file_name().ok_or_else(|| FileError::new(path, "is not the name of a file"))?.to_string_lossy();
    let half = path.with_file_name(format!(".{name}.{}.new", std::process::id()));
    let written = write_new(&half, text).and_then(|()| fs::hard_link(&half, path));
    let removed = fs::remove_file(&half);
    match written {
        Ok(()) => removed.map_err(|error| FileError::new(&half, format!("cannot be removed: {}", plain(&error)))),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Err(FileError::new(path, "exists already and is not overwritten"))
        }
        Err(error) => Err(FileError::new(path, format!("cannot be written: {}", plain(&error)))),
    }
}

/// Makes a directory, and those above it, that only the owner may enter.
///
/// # Errors
/// [`FileError`] when it cannot be made.
pub fn create_directory(path: &Path) -> Result<(), FileError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| FileError::new(path, format!("the directory cannot be made: {}", plain(&error))))
}

fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

/// The known name of which this one is a misspelling: less than half of it is to be changed.
fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let distances = known.iter().map(|known| (distance(name, known), *known));
    distances.min().filter(|(distance, known)| 2 * distance < known.len()).map(|(_, known)| known)
}

/// How many letters are to be put in, left out or changed to make one of the other (Levenshtein).
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.chars().count()).collect();
    for (at, letter) in one.chars().enumerate() {
        let (mut corner, mut left) = (at, at + 1);
        for (cell, wanted) in row.iter_mut().skip(1).zip(other.chars()) {
            let best = (left + 1).min(*cell + 1).min(corner + usize::from(letter != wanted));
            (corner, left) = (*cell, best);
            *cell = best;
        }
        row.first_mut().into_iter().for_each(|first| *first = at + 1);
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<TextFile, FileError> {
        TextFile::parse(Path::new("f.toml"), text)
    }

    #[test]
    fn errors_name_file_line_and_field() {
        let file = parsed("# head\nname = 3\nkey = \"ab\"\n").unwrap();
        assert_eq!(
            file.string("name").unwrap_err().to_string(),
            "f.toml, line 2, field `name`: must be a string in quotes"
        );
        assert_eq!(
            file.hex::<32>("key").unwrap_err().to_string(),
            "f.toml, line 3, field `key`: expected 64 hex digits, found 2"
        );
        assert_eq!(file.string("other").unwrap_err().to_string(), "f.toml, field `other`: is missing");
        assert!(
            file.only(&["name"]).unwrap_err().to_string().starts_with("f.toml, line 3, field `key`: is not a field")
        );
    }

    #[test]
    fn of_many_fields_the_nearest_is_named() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!((distance("", "abc"), distance("abc", ""), distance("abc", "abc")), (3, 3, 0));
        let known = ["listen_http", "listen_quic", "public_urls", "a", "b", "c", "d", "e", "f"];
        let error = |text: &str| parsed(text).unwrap().only(&known).unwrap_err().what;
        assert_eq!(error("listen_htpp = 1\n"), "is not a field of this file; did you mean `listen_http`?");
        assert_eq!(error("publicurl = 1\n"), "is not a field of this file; did you mean `public_urls`?");
        assert_eq!(error("colour = 1\n"), "is not a field of this file");
    }

    #[test]
    fn text_that_is_not_toml_is_an_error_without_an_excerpt() {
        let error = parsed("a = 1\nkey = \"5ec2e7\n").unwrap_err();
        assert_eq!(error.line, Some(2));
        assert!(!error.to_string().contains("5ec2e7"), "an error shows a part of the secret: {error}");
    }

    #[test]
    fn a_secret_is_created_once_and_for_its_owner_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        create_secret(&path, "one").unwrap();
        assert!(
            create_secret(&path, "two").unwrap_err().to_string().ends_with("exists already and is not overwritten")
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), "one");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "a half-written file was left behind");
    }

    #[test]
    fn a_huge_file_is_not_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("huge");
        File::create(&path).unwrap().set_len(FILE_BYTES_MAX + 1).unwrap();
        assert!(TextFile::read(&path).unwrap_err().to_string().contains("is larger than"));
    }
}
