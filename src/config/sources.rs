//! Where values come from: flags win over `ALDIS_*` variables, which win over the file, which wins over defaults.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use toml::Value;

use super::fields::{FIELDS, Field, Kind};
use crate::textfile::{Entry, FileError, TextFile};

/// The file that is read when it is there and no other is named.
pub const DEFAULT_FILE: &str = "aldis.toml";

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// Nobody said anything.
    Default,
    /// This line of this file.
    File(PathBuf, usize),
    /// This environment variable.
    Variable(String),
    /// This command line flag, without dashes.
    Flag(String),
}

impl Source {
    /// Higher wins.
    #[must_use]
    pub fn rank(&self) -> u8 {
        match self {
            Self::Default => 0,
            Self::File(..) => 1,
            Self::Variable(_) => 2,
            Self::Flag(_) => 3,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path, line) => write!(f, "{}, line {line}", path.display()),
            Self::Variable(name) => f.write_str(name),
            Self::Flag(name) => write!(f, "--{name}"),
        }
    }
}

/// Something in the configuration cannot be used; one sentence that says what and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A file, as a whole or in one field.
    #[error(transparent)]
    File(#[from] FileError),
    /// A value.
    #[error("{from}, field `{field}`: {what}")]
    Value {
        /// Where the value comes from.
        from: Source,
        /// Which field.
        field: &'static str,
        /// What is wrong with it.
        what: String,
    },
    /// Values that do not go together, or one that is missing.
    #[error("{0}")]
    Together(String),
}

/// One field's value, and where it comes from. No values: not set.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Which field.
    pub field: &'static Field,
    /// As text; one for [`Kind::One`], [`Kind::Switch`] and [`Kind::Json`].
    pub values: Vec<String>,
    /// Who said so.
    pub source: Source,
}

/// Values by field name, as the command line gave them.
pub type FlagValues = BTreeMap<&'static str, Vec<String>>;

/// All fields with the value that won.
#[derive(Clone, Debug)]
pub struct Sources {
    /// In the order of [`FIELDS`].
    pub settings: Vec<Setting>,
    /// The file that was read, if any.
    pub file: Option<PathBuf>,
}

impl Sources {
    /// Collects all fields. `file` is the file that the operator names; without one, [`DEFAULT_FILE`] is read if it exists.
    ///
    /// # Errors
    /// [`ConfigError`] when the file cannot be read, or has a field that does not exist or has the wrong type.
    pub fn gather(
        flags: &FlagValues,
        environment: impl Fn(&str) -> Option<String>,
        file: Option<&Path>,
    ) -> Result<Self, ConfigError> {
        let named = file.map(Path::to_owned).or_else(|| environment("ALDIS_CONFIG").map(PathBuf::from));
        let default = || Some(PathBuf::from(DEFAULT_FILE)).filter(|path| path.exists());
        let text = named.or_else(default).map(|path| TextFile::read(&path)).transpose()?;
        if let Some(text) = &text {
            text.only(&FIELDS.each_ref().map(|field| field.name)).map_err(|error| FileError {
                what: format!("{}; aldis run --help tells of all", error.what),
                ..error
            })?;
        }
        let mut settings = Vec::with_capacity(FIELDS.len());
        for field in &FIELDS {
            settings.push(pick(field, flags, &environment, text.as_ref())?);
        }
        let mut sources = Self { settings, file: text.map(|text| text.path().to_owned()) };
        sources.choose_network()?;
        Ok(sources)
    }

    /// The single value of a field, read by `parse`; `None` when not set.
    pub(super) fn one<T>(
        &self,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Option<T>, ConfigError> {
        Ok(self.many(name, parse)?.pop())
    }

    /// All values of a field, each read by `parse`.
    pub(super) fn many<T>(
        &self,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Vec<T>, ConfigError> {
        let Some(setting) = self.setting(name) else { return Ok(Vec::new()) };
        let complain = |what| ConfigError::Value { from: setting.source.clone(), field: name, what };
        setting.values.iter().map(|value| parse(value).map_err(complain)).collect()
    }

    /// An error that blames a field.
    pub(super) fn blame(&self, name: &'static str, what: impl Into<String>) -> ConfigError {
        let from = self.setting(name).map_or(Source::Default, |setting| setting.source.clone());
        ConfigError::Value { from, field: name, what: what.into() }
    }

    /// A path; in a file it is meant from the file's directory.
    pub(super) fn path(&self, name: &'static str) -> Option<PathBuf> {
        self.paths(name).into_iter().next()
    }

    /// All paths of a field.
    pub(super) fn paths(&self, name: &'static str) -> Vec<PathBuf> {
        let Some(setting) = self.setting(name) else { return Vec::new() };
        let directory = match &setting.source {
            Source::File(file, _) => file.parent(),
            _ => None,
        };
        let place = |value: &String| directory.map_or(PathBuf::from(value), |directory| directory.join(value));
        setting.values.iter().map(place).collect()
    }

    fn setting(&self, name: &str) -> Option<&Setting> {
        self.settings.iter().find(|setting| setting.field.name == name)
    }

    /// `network` and `genesis` say the same in two ways: who is nearer to the command line wins.
    fn choose_network(&mut self) -> Result<(), ConfigError> {
        let rank = |name| self.setting(name).filter(|setting| !setting.values.is_empty()).map(|s| s.source.rank());
        let (network, genesis) = (rank("network"), rank("genesis"));
        let loser = match genesis.cmp(&network) {
            std::cmp::Ordering::Less => "genesis",
            std::cmp::Ordering::Greater => "network",
            std::cmp::Ordering::Equal => {
                return Err(ConfigError::Together(
                    "`network` and `genesis` are both set; state one of them".to_owned(),
                ));
            }
        };
        if let Some(setting) = self.settings.iter_mut().find(|setting| setting.field.name == loser) {
            setting.values.clear();
            setting.source = Source::Default;
        }
        Ok(())
    }
}

/// The value of one field that wins.
fn pick(
    field: &'static Field,
    flags: &FlagValues,
    environment: &impl Fn(&str) -> Option<String>,
    file: Option<&TextFile>,
) -> Result<Setting, ConfigError> {
    if let Some(values) = flags.get(field.name) {
        return Ok(Setting { field, values: values.clone(), source: Source::Flag(field.flag()) });
    }
    // An empty variable is one that a service file or a container leaves unset.
    if let Some(text) = environment(&field.variable()).filter(|text| !text.is_empty()) {
        let values = match field.kind {
            Kind::Many => text.split(',').map(|part| part.trim().to_owned()).collect(),
            Kind::One | Kind::Switch | Kind::Json => vec![text],
        };
        return Ok(Setting { field, values, source: Source::Variable(field.variable()) });
    }
    if let Some((file, entry)) = file.and_then(|file| Some((file, file.entry(field.name)?))) {
        let source = Source::File(file.path().to_owned(), entry.line);
        return Ok(Setting { field, values: from_file(field, file, entry)?, source });
    }
    let default = field.default_text();
    Ok(Setting {
        field,
        values: Some(default).filter(|text| !text.is_empty()).into_iter().collect(),
        source: Source::Default,
    })
}

fn from_file(field: &Field, file: &TextFile, entry: &Entry) -> Result<Vec<String>, ConfigError> {
    let wrong = |expected: &str| ConfigError::from(file.blame(field.name, format!("must be {expected}")));
    match (field.kind, &entry.value) {
        (Kind::One, Value::String(text)) => Ok(vec![text.clone()]),
        (Kind::One, Value::Integer(number)) => Ok(vec![number.to_string()]),
        (Kind::One, _) => Err(wrong("one text in quotes or one number")),
        (Kind::Switch, Value::Boolean(value)) => Ok(vec![value.to_string()]),
        (Kind::Switch, _) => Err(wrong("true or false")),
        (Kind::Many, Value::Array(items)) => items
            .iter()
            .map(|item| item.as_str().map(str::to_owned).ok_or_else(|| wrong("an array of texts in quotes")))
            .collect(),
        (Kind::Many, _) => Err(wrong("an array of texts in quotes")),
        (Kind::Json, value @ Value::Array(_)) => {
            serde_json::to_string(value).map(|text| vec![text]).map_err(|_| wrong("an array of tables"))
        }
        (Kind::Json, _) => Err(wrong("an array of tables")),
    }
}
