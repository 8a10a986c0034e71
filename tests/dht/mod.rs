//! A local DHT made of libtorrent's nodes, run by `nodes.py` beside this file.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde::Deserialize;

/// The nodes live as long as this value: the program ends when its standard input closes.
#[derive(Debug)]
pub(crate) struct LibtorrentDht {
    program: Child,
    /// The nodes' addresses, `127.0.0.1:port`, to bootstrap from.
    pub(crate) nodes: Vec<String>,
}

#[derive(Deserialize)]
struct Ready {
    nodes: Vec<String>,
}

impl LibtorrentDht {
    /// Starts `count` nodes and returns when every one of them knows another.
    ///
    /// # Panics
    /// When Python or its package libtorrent is missing (`scripts/test` installs both), or the nodes do not come up.
    pub(crate) fn start(count: usize) -> LibtorrentDht {
        let python = python();
        let mut program = Command::new(&python)
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/dht/nodes.py"))
            .arg(count.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot run {}: {error}; scripts/test installs it", python.display()));
        // The program has its own deadline, so this line comes or the pipe closes.
        let mut line = String::new();
        BufReader::new(program.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready: Ready = serde_json::from_str(&line).unwrap_or_else(|error| {
            panic!("libtorrent's nodes did not come up ({error}); the reason stands above on standard error")
        });
        assert_eq!(ready.nodes.len(), count);
        LibtorrentDht { program, nodes: ready.nodes }
    }
}

impl Drop for LibtorrentDht {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

/// The interpreter that has libtorrent: `ALDIS_TEST_PYTHON`, or that of the virtual environment in `target/`.
fn python() -> PathBuf {
    std::env::var_os("ALDIS_TEST_PYTHON")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/venv/bin/python"), PathBuf::from)
}
