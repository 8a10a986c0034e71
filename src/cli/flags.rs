//! The configuration's flags, made of the table of fields, so that help, variables and file cannot drift apart.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::config::fields::{FIELDS, Field, Kind};
use crate::config::{Config, FlagValues, Sources};

/// The flags of every command that needs a configuration.
#[derive(Clone, Debug, Default)]
pub(super) struct Flags {
    file: Option<PathBuf>,
    values: FlagValues,
}

impl Flags {
    /// Gathers and checks the configuration.
    ///
    /// # Errors
    /// One sentence naming source and field.
    pub(super) fn read(&self) -> Result<(Sources, Config)> {
        let environment = |name: &str| std::env::var(name).ok();
        let sources = Sources::gather(&self.values, environment, self.file.as_deref())?;
        let config = Config::read(&sources, environment)?;
        Ok((sources, config))
    }
}

impl clap::Args for Flags {
    fn augment_args(command: Command) -> Command {
        let file = Arg::new("config")
            .long("config")
            .value_name("FILE")
            .value_parser(clap::value_parser!(PathBuf))
            .help("The configuration file; default: aldis.toml, if there is one [env: ALDIS_CONFIG]");
        command.arg(file).args(FIELDS.iter().map(argument))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut flags = Self::default();
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.file = matches.get_one("config").cloned();
        for field in &FIELDS {
            if let Some(values) = matches.get_many::<String>(field.name) {
                self.values.insert(field.name, values.cloned().collect());
            }
        }
        Ok(())
    }
}

fn argument(field: &'static Field) -> Arg {
    let mut help = field.meaning.to_owned();
    let default = field.default_text();
    if !default.is_empty() {
        help.push_str(&format!(" [default: {default}]"));
    }
    if field.kind == Kind::Many {
        help.push_str(" [repeatable]");
    }
    help.push_str(&format!(" [env: {}]", field.variable()));
    let argument = Arg::new(field.name).long(field.flag()).value_name(field.shape).help(help);
    match field.kind {
        Kind::One | Kind::Json => argument,
        Kind::Many => argument.action(ArgAction::Append),
        Kind::Switch => argument.num_args(0..=1).default_missing_value("true"),
    }
}
