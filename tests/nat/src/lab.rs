//! One internet with its NATs, built by `natlab.py`, and ways into its nodes.
//!
//! Hosts are processes in their nodes' namespaces. Edges and questions for the status are ours: a thread for each node
//! enters its namespace and runs what is given to it, so that they come from the host's own machine.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::AsFd;
use std::sync::mpsc::sync_channel;
use std::sync::{Mutex, PoisonError};
use std::thread;

use aldis_laboratory::process::{Helper, run, run_with};
use anyhow::{Context, Result, anyhow};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde::Deserialize;
use tokio::process::Command;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

const NATLAB: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/natlab.py");
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
const DHT_NODES: usize = 4;

/// A built internet. To be taken down with [`Lab::down`]; the kernel does it at the latest when the program ends.
#[derive(Debug)]
pub(crate) struct Lab {
    name: String,
    threads: Mutex<BTreeMap<String, Inside>>,
}

/// A thread in a namespace. It ends when this is dropped, and what it runs ends with it.
#[derive(Debug)]
struct Inside {
    handle: Handle,
    _end: oneshot::Sender<()>,
}

/// What nodes of a DHT say when they are up.
#[derive(Debug, Deserialize)]
pub(crate) struct Ready {
    /// Where they are.
    pub(crate) nodes: Vec<String>,
}

impl Lab {
    /// Builds a topology, in the words of `natlab.py help`.
    pub(crate) async fn up(name: &str, topology: &str) -> Result<Self> {
        run_with(["python3", NATLAB, "up", name, "-"], topology).await?;
        Ok(Self { name: name.to_owned(), threads: Mutex::default() })
    }

    /// Ends everything in it.
    pub(crate) async fn down(self) -> Result<()> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).clear();
        run(["python3", NATLAB, "down", &self.name]).await.map(drop)
    }

    /// Runs one of the commands that change a built internet: cut, heal, reboot, link.
    pub(crate) async fn change(&self, command: &str, arguments: &[&str]) -> Result<String> {
        let words = [&["python3", NATLAB, command, &self.name], arguments].concat();
        Ok(run(words).await?.trim().to_owned())
    }

    /// The node's own IPv4 address.
    pub(crate) async fn address(&self, node: &str) -> Result<String> {
        self.change("addr", &[node]).await
    }

    /// Runs a short command in a node, with something on its standard input; what it wrote.
    pub(crate) async fn run_at(&self, node: &str, words: &[&str], input: &str) -> Result<String> {
        let namespace = self.namespace(node);
        run_with([&["ip", "netns", "exec", &namespace], words].concat(), input).await
    }

    /// Starts a helper program of this laboratory, in Python; its first line.
    pub(crate) async fn script(&self, node: &str, script: &str, arguments: &[&str]) -> Result<(Helper, Ready)> {
        let mut command = self.command(node, "python3");
        command.arg(format!("{ROOT}/tests/nat/{script}")).args(arguments);
        let (helper, ready) = Helper::start(command).await?;
        Ok((helper, serde_json::from_str(&ready)?))
    }

    /// Starts a browser in a node, as `page.mjs` says.
    pub(crate) async fn browser(&self, node: &str) -> Result<Helper> {
        let mut command = self.command(node, "node");
        // What it leaves there goes with our namespaces, however we end.
        command.arg(format!("{ROOT}/tests/nat/page.mjs")).env("TMPDIR", "/run");
        let started = Helper::start(command).await;
        Ok(started.context("no Chromium; scripts/test setup installs it, Node and playwright-core")?.0)
    }

    /// The address at which the internet sees a node.
    pub(crate) async fn address_outside(&self, node: &str) -> Result<String> {
        self.change("addr", &[node, "--public"]).await
    }

    /// A command that runs in a node.
    pub(crate) fn command(&self, node: &str, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace(node)]).arg(program).kill_on_drop(true);
        command
    }

    /// What runs futures in a node: their sockets are the node's.
    pub(crate) fn at(&self, node: &str) -> Result<Handle> {
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(inside) = threads.get(node) {
            return Ok(inside.handle.clone());
        }
        let inside = enter(&self.namespace(node))?;
        let handle = inside.handle.clone();
        threads.insert(node.to_owned(), inside);
        Ok(handle)
    }

    /// Starts nodes of a DHT in a node of the internet; their addresses.
    pub(crate) async fn dht(&self, node: &str) -> Result<(Helper, Vec<String>)> {
        let mut command = self.command(node, format!("{ROOT}/target/venv/bin/python"));
        command.arg(format!("{ROOT}/tests/dht/nodes.py")).arg(DHT_NODES.to_string()).arg(self.address(node).await?);
        let (dht, ready) = Helper::start(command).await.context("no DHT; scripts/test setup installs it")?;
        let ready: Ready = serde_json::from_str(&ready)?;
        Ok((dht, ready.nodes))
    }

    fn namespace(&self, node: &str) -> String {
        format!("{}-{node}", self.name)
    }
}

fn enter(namespace: &str) -> Result<Inside> {
    let file = File::open(format!("/run/netns/{namespace}")).with_context(|| format!("no namespace {namespace}"))?;
    let (ready, is_ready) = sync_channel(1);
    let (end, ended) = oneshot::channel::<()>();
    thread::Builder::new().name(namespace.to_owned()).spawn(move || {
        let runtime = move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
            .map_err(|error| anyhow!("cannot enter a namespace: {error}"))
            .and_then(|()| Ok(Builder::new_current_thread().enable_all().build()?));
        match runtime {
            Ok(runtime) => {
                _ = ready.send(Ok(runtime.handle().clone()));
                _ = runtime.block_on(ended);
            }
            Err(error) => _ = ready.send(Err(error)),
        }
    })?;
    Ok(Inside { handle: is_ready.recv().context("the thread of a node ended")??, _end: end })
}
