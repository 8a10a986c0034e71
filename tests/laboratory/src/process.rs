//! Namespaces of our own, short commands, and helper programs.

use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Take};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

/// Helper programs are ready within this.
const READY_MAX: Duration = Duration::from_secs(30);
/// The longest line of a helper program.
const LINE_BYTES_MAX: u64 = 1 << 16;
/// Network, mounts and processes of our own, which the kernel takes down when we end; what to run follows.
const UNSHARE: [&str; 8] = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--"];

/// Begins this program again, with `--inside` as its first argument, in namespaces of its own. Who is not root and
/// may not have those is told that nothing was run.
///
/// # Errors
/// When the namespaces cannot be made though we are root, or for another reason than missing rights.
pub fn enter(name: &str) -> Result<ExitCode> {
    let [program, options @ ..] = UNSHARE;
    let tried = std::process::Command::new(program).args(options).arg("true").output();
    let tried = tried.context("cannot run unshare")?;
    if !tried.status.success() {
        let why = String::from_utf8_lossy(&tried.stderr);
        if !why.contains("Operation not permitted") {
            bail!("cannot make namespaces: {}", why.trim());
        }
        // Nobody who is root means to leave it out.
        if std::fs::metadata("/proc/self")?.uid() == 0 {
            bail!("root has no rights over network namespaces here: {}", why.trim());
        }
        println!("SKIPPED: the laboratory needs root and its rights over network namespaces: {}", why.trim());
        println!("{name}: 0 passed; 0 failed; 1 skipped");
        return Ok(ExitCode::SUCCESS);
    }
    let arguments = std::env::args_os().skip(1);
    let own = std::env::current_exe()?;
    let mut again = std::process::Command::new(program);
    Err(again.args(options).arg(own).arg("--inside").args(arguments).exec()).context("cannot run unshare")
}

/// What is to be done first inside: names of namespaces are files in /run, and ours must not be seen outside.
///
/// # Errors
/// When one of the commands fails.
pub async fn settle() -> Result<()> {
    run(["mount", "-t", "tmpfs", "tmpfs", "/run"]).await?;
    run(["ip", "link", "set", "lo", "up"]).await.map(drop)
}

/// Runs a short command to its end; what it wrote.
///
/// # Errors
/// When it cannot be run or fails, with what it said.
pub async fn run(words: impl IntoIterator<Item = &str>) -> Result<String> {
    run_with(words, "").await
}

/// The same with something on its standard input.
///
/// # Errors
/// As [`run`].
pub async fn run_with(words: impl IntoIterator<Item = &str>, input: &str) -> Result<String> {
    let words: Vec<_> = words.into_iter().collect();
    let (program, arguments) = words.split_first().context("no command")?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().with_context(|| format!("cannot run {program}"))?;
    // A command that needs no input may be gone already.
    _ = child.stdin.take().context("no standard input")?.write_all(input.as_bytes()).await;
    let ended = child.wait_with_output().await?;
    let said = String::from_utf8_lossy(&ended.stderr);
    ensure!(ended.status.success(), "{}: {}", words.join(" "), said.trim());
    Ok(String::from_utf8_lossy(&ended.stdout).into_owned())
}

/// A program that says on its first line that it is ready, and ends when its standard input closes.
#[derive(Debug)]
pub struct Helper {
    child: Child,
    said: Take<BufReader<ChildStdout>>,
}

impl Helper {
    /// Gives the line too.
    ///
    /// # Errors
    /// When it cannot be run, or ends, or is not ready in time.
    pub async fn start(mut command: Command) -> Result<(Self, String)> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("cannot run {command:?}"))?;
        let said = BufReader::new(child.stdout.take().context("no standard output")?).take(LINE_BYTES_MAX);
        let mut helper = Self { child, said };
        let line = timeout(READY_MAX, helper.line()).await.context("a helper is not ready in time")?;
        let line = line.with_context(|| format!("{command:?}"))?;
        Ok((helper, line))
    }

    /// Says a line to it; the line that it answers.
    ///
    /// # Errors
    /// When it ends, or does not answer in time.
    pub async fn ask(&mut self, line: &str, most: Duration) -> Result<String> {
        let said = self.child.stdin.as_mut().context("no standard input")?;
        said.write_all(format!("{line}\n").as_bytes()).await.context("a helper does not listen")?;
        self.said.set_limit(LINE_BYTES_MAX);
        timeout(most, self.line()).await.context("a helper does not answer in time")?
    }

    async fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.said.read_line(&mut line).await?;
        ensure!(!line.is_empty(), "it has ended; the reason stands above");
        Ok(line)
    }

    /// Ends it.
    ///
    /// # Errors
    /// When it cannot be ended.
    pub async fn end(mut self) -> Result<()> {
        self.child.kill().await.context("cannot end a helper")
    }
}
