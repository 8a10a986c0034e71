//! The log on stderr.

use std::io::{IsTerminal, stderr};

use anyhow::{Context, Result};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::LogFormat;

/// Sends the log to stderr, from now on until the process ends.
pub(super) fn start(format: LogFormat, level: &str) -> Result<()> {
    let filter = filter(level)?;
    let layer = match format {
        LogFormat::Human => {
            fmt::layer().with_writer(stderr).with_target(false).with_ansi(stderr().is_terminal()).boxed()
        }
        LogFormat::Json => fmt::layer().json().flatten_event(true).with_writer(stderr).boxed(),
    };
    tracing_subscriber::registry().with(layer.with_filter(filter)).try_init().context("the log cannot be started")
}

/// A level alone is meant for Aldis; libraries below it are heard only when something is wrong.
fn filter(level: &str) -> Result<Targets> {
    match level.parse::<LevelFilter>() {
        Ok(level) => Ok(Targets::new()
            .with_default(level.min(LevelFilter::WARN))
            .with_target("aldis", level)
            // It repeats every few seconds what Aldis itself says once and in words.
            .with_target("mainline", LevelFilter::OFF)),
        Err(_) => level.parse().context("the log filter cannot be read"),
    }
}
