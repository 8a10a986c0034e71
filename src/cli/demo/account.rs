//! The account that the demo gives: each step is awaited, timed and told when it is over.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use tokio::time::timeout;

use crate::cli::{milliseconds, print};

/// Columns for what a step did, before its duration.
const STEP_COLUMNS: usize = 88;

/// Tells the steps of the demo.
#[derive(Debug)]
pub(super) struct Account {
    begun: Instant,
    steps: u32,
}

impl Account {
    pub(super) fn new() -> Self {
        Self { begun: Instant::now(), steps: 0 }
    }

    /// Does a step and tells what it did; its words may say more than was known before.
    ///
    /// # Errors
    /// Which step failed and why, also when `deadline` passes.
    pub(super) async fn step<T>(
        &mut self,
        name: &str,
        deadline: Duration,
        work: impl Future<Output = Result<(T, String)>>,
    ) -> Result<T> {
        self.step_since(Instant::now(), name, deadline, work).await
    }

    /// A step whose clock runs since `begun`.
    ///
    /// # Errors
    /// As [`Account::step`].
    pub(super) async fn step_since<T>(
        &mut self,
        begun: Instant,
        name: &str,
        deadline: Duration,
        work: impl Future<Output = Result<(T, String)>>,
    ) -> Result<T> {
        let done = timeout(deadline, work).await;
        let (value, words) = match done {
            Ok(result) => result.with_context(|| format!("step {} failed: {name}", self.steps + 1))?,
            Err(_) => {
                let seconds = deadline.as_secs();
                return Err(anyhow!("step {} failed: {name}: not done within {seconds} s", self.steps + 1));
            }
        };
        self.tell(&words, begun.elapsed())?;
        Ok(value)
    }

    fn tell(&mut self, words: &str, time: Duration) -> Result<()> {
        self.steps += 1;
        print(&format!("{:>3}. {words:STEP_COLUMNS$} {:>9}\n", self.steps, milliseconds(time)))
    }

    /// Something to read besides the steps.
    pub(super) fn note(&self, text: &str) -> Result<()> {
        print(&format!("     {text}\n"))
    }

    /// Since the demo began.
    pub(super) fn time(&self) -> Duration {
        self.begun.elapsed()
    }
}
