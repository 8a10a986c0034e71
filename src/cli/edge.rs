//! `aldis edge`: an edge in the terminal.

use std::collections::BTreeMap;
use std::future::Future;
use std::io::BufRead;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::{Duration, Instant};

use aldis_wire::edge::Status;
use aldis_wire::id::PeerId;
use anyhow::{Context, Result, bail};
use clap::Args;
use ed25519_dalek::SigningKey;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio::time::sleep_until;

use super::{clean, print};
use crate::client::{Client, ClientError, Event, Events, Options, Receipt};
use crate::textfile;

/// Lines read ahead of what was sent.
const LINES_MAX: usize = 64;
/// Receipts waited for at once; input is read on when one has come.
const OPEN_MAX: usize = 100;

/// Join a topic from the terminal.
///
/// Shows who comes and goes, sends lines as signals, shows their receipts. A line goes to every member, `@1a2b text` or `@name text` to one, found by the beginning of its id or by its name.
/// `/peers` lists the members, `/quit` leaves. After a broken socket the edge comes back by itself, and nothing is lost.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  aldis edge --host ws://localhost:8400 --topic lobby --name Bob
  echo hello | aldis edge --host ws://localhost:8401 --topic lobby --wait 1
  aldis edge --host wss://localhost:8400 --ca certs/dev/ca.pem --topic lobby
What is printed:
  + 1a2b3c4d Bob      a member came
  - 1a2b3c4d left     a member went, and why
  < 1a2b3c4d \"hello\"  a signal came
  > 1a2b3c4d delivered in 3 ms")]
pub(super) struct Arguments {
    /// The host's gateway: a ws, wss, http or https URL [repeatable: the next is tried when one fails]
    #[arg(long = "host", value_name = "URL", required = true, env = "ALDIS_HOST")]
    hosts: Vec<String>,
    /// The topic to join
    #[arg(long, value_name = "TOPIC")]
    topic: String,
    /// A name to show to others, as `{"name": …}`
    #[arg(long, value_name = "NAME", conflicts_with = "meta")]
    name: Option<String>,
    /// What to show to others, as JSON
    #[arg(long, value_name = "JSON")]
    meta: Option<String>,
    /// Come as the owner of the key in this file, and keep the same peer id; it is made if it does not exist
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Seal all signals past all hosts, and take none that is not sealed
    #[arg(long, requires = "key")]
    sealed: bool,
    /// Trust only this authority (PEM), such as that of `aldis cert dev`
    #[arg(long = "ca", value_name = "FILE")]
    authority: Option<PathBuf>,
    /// Lines are JSON already, not text
    #[arg(long)]
    json: bool,
    /// Read no input before so many other members are there
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    wait: usize,
    /// Stay after the end of input
    #[arg(long)]
    stay: bool,
    /// Leave after so many seconds
    #[arg(long, value_name = "SECONDS")]
    seconds: Option<u64>,
}

type Receipts = FuturesUnordered<Pin<Box<dyn Future<Output = (PeerId, Duration, Result<Receipt, ClientError>)>>>>;

struct Edge {
    topic: String,
    json: bool,
    client: Client,
    members: BTreeMap<PeerId, Option<String>>,
    receipts: Receipts,
}

pub(super) async fn run(arguments: Arguments) -> Result<()> {
    let name = arguments.name.as_ref().map(|name| serde_json::json!({ "name": name }).to_string());
    let options = Options {
        urls: arguments.hosts.clone(),
        authority: arguments.authority.clone(),
        key: arguments.key.as_deref().map(key).transpose()?,
        meta: arguments.meta.clone().or(name),
        sealed: arguments.sealed,
    };
    let (client, mut events) = Client::connect(options).await?;
    let who = client.who();
    print(&format!("peer {} at host {} of network {}\n", who.peer, who.host.short(), who.network))?;
    let sample =
        client.join(&arguments.topic, None).await.with_context(|| format!("cannot join {}", arguments.topic))?;
    let members: BTreeMap<_, _> = sample.peers.into_iter().map(|member| (member.peer, member.meta)).collect();
    print(&format!("joined {}: {} others\n", arguments.topic, sample.total))?;
    let edge =
        Edge { topic: arguments.topic.clone(), json: arguments.json, client, members, receipts: Receipts::new() };
    for (peer, meta) in &edge.members {
        print(&format!("+ {}\n", label(*peer, meta.as_deref())))?;
    }
    edge.converse(&mut events, &arguments).await
}

impl Edge {
    async fn converse(mut self, events: &mut Events, arguments: &Arguments) -> Result<()> {
        let mut lines = read_lines();
        let mut input_open = true;
        // Once enough members have been there, they may go: `/quit` must still be heard.
        let mut awaited = false;
        let end = arguments.seconds.map(|seconds| tokio::time::Instant::now() + Duration::from_secs(seconds));
        loop {
            if !input_open && !arguments.stay && self.receipts.is_empty() {
                break;
            }
            awaited |= self.members.len() >= arguments.wait;
            let ready = awaited && self.receipts.len() < OPEN_MAX;
            tokio::select! {
                event = events.next() => match event {
                    Some(event) => self.happened(event)?,
                    None => break,
                },
                line = lines.recv(), if input_open && ready => match line {
                    Some(line) if line == "/quit" => break,
                    Some(line) => self.typed(&line).await?,
                    None => input_open = false,
                },
                Some((peer, time, receipt)) = self.receipts.next() => self.answered(peer, time, &receipt)?,
                () = sleep_until(end.unwrap_or_else(tokio::time::Instant::now)), if end.is_some() => break,
                stopped = tokio::signal::ctrl_c() => { stopped?; break }
            }
        }
        self.client.bye().await;
        Ok(())
    }

    fn happened(&mut self, event: Event) -> Result<()> {
        match event {
            Event::PeerJoined { peer, meta, .. } => {
                print(&format!("+ {}\n", label(peer, meta.as_deref())))?;
                self.members.insert(peer, meta);
            }
            Event::PeerLeft { peer, reason, .. } => {
                self.members.remove(&peer);
                print(&format!("- {} {reason}\n", peer.short()))?;
            }
            Event::Broadcast { from, topic, data, .. } => {
                print(&format!("< {} {} {}\n", clean(&topic), from.short(), clean(&data)))?;
            }
            Event::Signal { from, data, .. } => print(&format!("< {} {}\n", from.short(), clean(&data)))?,
            Event::Dropped { from, why } => {
                print(&format!("! dropped what {} is said to have sent: {why}\n", from.short()))?
            }
            Event::SocketLost { why } => print(&format!("! socket lost ({why}); coming back\n"))?,
            Event::Resumed => print("! back: nothing was missed\n")?,
            Event::Renewed { peer } => {
                self.members.clear();
                print(&format!("! back as a new session: peer {peer}\n"))?;
            }
            Event::Drain { .. } => print("! the host is going away; moving to another\n")?,
            Event::Complaint { code, message } => print(&format!("! the host complains ({code}): {message}\n"))?,
            Event::Closed { why } => bail!(why),
        }
        Ok(())
    }

    async fn typed(&mut self, line: &str) -> Result<()> {
        if line == "/peers" {
            let list: String =
                self.members.iter().map(|(peer, meta)| format!("  {}\n", label(*peer, meta.as_deref()))).collect();
            return print(&format!("{} members besides you\n{list}", self.members.len()));
        }
        if line.trim().is_empty() {
            return Ok(());
        }
        let (targets, text) = match line.strip_prefix('@').map(|rest| rest.split_once(' ').unwrap_or((rest, ""))) {
            Some((name, text)) => (self.find(name), text),
            None => (self.members.keys().copied().collect(), line),
        };
        if targets.is_empty() {
            return print("! nobody to send it to\n");
        }
        let data = if self.json { text.to_owned() } else { serde_json::Value::from(text).to_string() };
        for peer in targets {
            let begun = Instant::now();
            match self.client.post(peer, Some(&self.topic), &data).await {
                Ok(posted) => {
                    self.receipts.push(Box::pin(async move {
                        let receipt = posted.receipt().await;
                        (peer, begun.elapsed(), receipt)
                    }));
                }
                Err(ClientError::BadInput(why)) => print(&format!("! not sent: {why}\n"))?,
                Err(error) => bail!(error),
            }
        }
        Ok(())
    }

    fn answered(&self, peer: PeerId, time: Duration, receipt: &Result<Receipt, ClientError>) -> Result<()> {
        let text = match receipt {
            Ok(Receipt { status: Status::Delivered, .. }) => format!("delivered in {}", super::milliseconds(time)),
            Ok(Receipt { status: Status::Refused, code }) => {
                let code = code.unwrap_or(aldis_wire::refusal::Refusal::Other);
                format!("refused ({code}): {}", code.sentence())
            }
            Ok(Receipt { status: Status::Unknown, .. }) => "unknown: it may have arrived or not".to_owned(),
            Err(error) => format!("not sent: {error}"),
        };
        print(&format!("> {} {text}\n", peer.short()))
    }

    /// Members whose id begins with `name`, or who show this name.
    fn find(&self, name: &str) -> Vec<PeerId> {
        let fits = |peer: &PeerId, meta: Option<&str>| {
            !name.is_empty() && peer.to_string().starts_with(name) || shown_name(meta).as_deref() == Some(name)
        };
        self.members.iter().filter(|(peer, meta)| fits(peer, meta.as_deref())).map(|(peer, _)| *peer).collect()
    }
}

/// A member for people: the beginning of its id, and its name or meta.
fn label(peer: PeerId, meta: Option<&str>) -> String {
    let shown = shown_name(meta).or_else(|| meta.map(str::to_owned)).unwrap_or_default();
    format!("{} {}", peer.short(), clean(&shown)).trim_end().to_owned()
}

fn shown_name(meta: Option<&str>) -> Option<String> {
    let meta: serde_json::Value = serde_json::from_str(meta?).ok()?;
    meta.get("name")?.as_str().map(str::to_owned)
}

/// Lines of standard input, read by a thread of their own: a read cannot be cancelled.
fn read_lines() -> mpsc::Receiver<String> {
    let (out, lines) = mpsc::channel(LINES_MAX);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let Ok(line) = line else { return };
            if out.blocking_send(line).is_err() {
                return;
            }
        }
    });
    lines
}

/// Reads an edge's key file: `key = "<64 hex digits>"`; makes it if it does not exist.
fn key(path: &std::path::Path) -> Result<SigningKey> {
    if !path.exists() {
        let secret = crate::system::random_bytes::<32>();
        let text = format!(
            "# The key of an Aldis edge. Secret: whoever holds it is this peer.\nkey = \"{}\"\n",
            aldis_wire::hex::encode(&secret)
        );
        textfile::create_secret(path, &text)?;
    }
    let file = std::fs::File::open(path).with_context(|| format!("{} cannot be read", path.display()))?;
    textfile::check_private(path, &file)?;
    let text = textfile::TextFile::read_from(path, file)?;
    text.only(&["key"])?;
    Ok(SigningKey::from_bytes(&text.hex("key")?))
}
