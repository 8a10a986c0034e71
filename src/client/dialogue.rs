//! Hello: from an open socket to a session, resumed or new.

use std::time::Duration;

use aldis_wire::edge::sealed::ToldClaim;
use aldis_wire::edge::{Claim, EdgeMessage, Hello, HostMessage, Identity, Limits, Resume};
use aldis_wire::id::{HostId, PeerId};
use aldis_wire::network::NetworkTag;
use aldis_wire::proof::{Proof, answer_challenge};
use aldis_wire::refusal::Refusal;
use ed25519_dalek::SigningKey;
use tokio::time::timeout;

use super::socket::{CONNECT_DEADLINE, Socket, read};
use super::{ClientError, Options, Who, encode, json};

/// A claim may lose against another device's a few times; then something is wrong.
const CLAIMS_MAX: u32 = 4;

/// What a session begins with.
#[derive(Debug)]
pub(super) struct Welcome {
    pub(super) session: SessionStart,
    pub(super) tag: NetworkTag,
    /// What others may be told, of a session that was opened with a sealing key.
    pub(super) claim: Option<ToldClaim>,
}

/// What a hello needs besides the options.
#[derive(Debug)]
pub(super) struct Standing {
    /// Token and last seq of the session to restore; when that is lost, a new one is opened.
    pub(super) resume: Option<Resume>,
    /// Of the key's last claim.
    pub(super) counter: u64,
    /// To which others may seal.
    pub(super) sealing: Option<[u8; 32]>,
}

/// What a host says first.
#[derive(Clone, Debug)]
pub struct Greeting {
    /// Its id, to which a claim is bound.
    pub host: HostId,
    /// Its network's, likewise.
    pub tag: NetworkTag,
    /// To be answered by whoever has a key.
    pub challenge: [u8; 32],
}

/// What a host answers to a hello.
#[derive(Clone, Debug)]
pub enum Introduced {
    /// There is a session.
    Welcome(Box<SessionStart>),
    /// There is none; another hello may be tried.
    Refused {
        /// Why.
        code: Refusal,
        /// In words.
        message: String,
        /// The counter of the newest claim of this peer, if this one was older.
        known: Option<u64>,
    },
}

/// A session as it begins, or begins again.
#[derive(Clone, Debug)]
pub struct SessionStart {
    /// Who the edge is.
    pub who: Who,
    /// To come back with after a broken socket. Secret.
    pub token: [u8; 32],
    /// Whether an older session goes on.
    pub resumed: bool,
    /// Gateways of other hosts.
    pub hosts: Vec<String>,
    /// After so much silence each side pings.
    pub heartbeat: Duration,
    /// What the host takes.
    pub limits: Limits,
}

impl Socket {
    /// The first message of a host.
    ///
    /// # Errors
    /// [`ClientError`] when it refuses, or is no host.
    pub async fn greeting(&mut self) -> Result<Greeting, ClientError> {
        let text = self.next().await.map_err(|why| self.broken(why))?;
        match read(&text) {
            Some(HostMessage::Greeting { host, tag, challenge, .. }) => {
                Ok(Greeting { host, tag: NetworkTag::new(tag.0), challenge: challenge.0 })
            }
            Some(HostMessage::Error { code, message, .. }) => {
                Err(ClientError::Refused { code, message: message.into_owned() })
            }
            _ => Err(self.broken("did not greet as an Aldis host does".to_owned())),
        }
    }

    /// Says hello and waits for the answer.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`] when the socket breaks.
    pub async fn hello(&mut self, hello: Hello<'_>) -> Result<Introduced, ClientError> {
        self.send(encode(EdgeMessage::Hello(hello))).await.map_err(|why| self.broken(why))?;
        loop {
            let text = self.next().await.map_err(|why| self.broken(why))?;
            match read(&text) {
                Some(HostMessage::Welcome(welcome)) => {
                    return Ok(Introduced::Welcome(Box::new(SessionStart {
                        who: Who {
                            peer: welcome.peer,
                            host: welcome.host,
                            network: welcome.network.into_owned(),
                            url: self.url().to_owned(),
                            ice_servers: welcome.ice_servers.as_str().to_owned(),
                        },
                        token: welcome.resume.0,
                        resumed: welcome.resumed,
                        hosts: welcome.hosts.into_iter().map(Into::into).collect(),
                        heartbeat: Duration::from_millis(welcome.heartbeat_ms),
                        limits: welcome.limits,
                    })));
                }
                Some(HostMessage::Error { code, message, known, .. }) => {
                    return Ok(Introduced::Refused { code, message: message.into_owned(), known });
                }
                _ => {}
            }
        }
    }

    fn broken(&self, why: String) -> ClientError {
        ClientError::Unreachable { url: self.url().to_owned(), why }
    }
}

/// Opens a socket and says hello.
pub(super) async fn open(
    url: &str,
    options: &Options,
    standing: &mut Standing,
) -> Result<(Socket, Welcome), ClientError> {
    let mut socket = Socket::open(url, options.authority.as_deref()).await?;
    match timeout(CONNECT_DEADLINE, introduce(&mut socket, options, standing)).await {
        Ok(Ok(welcome)) => Ok((socket, welcome)),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(socket.broken("did not answer hello in time".to_owned())),
    }
}

async fn introduce(socket: &mut Socket, options: &Options, standing: &mut Standing) -> Result<Welcome, ClientError> {
    let greeting = socket.greeting().await?;
    for _ in 0..CLAIMS_MAX {
        let (identity, claim) = match (standing.resume, &options.key) {
            (Some(resume), _) => (Identity::Resumed(resume), None),
            (None, None) => (Identity::Minted, None),
            (None, Some(key)) => {
                standing.counter += 1;
                claim(key, &greeting, standing)
            }
        };
        let meta = options.meta.as_deref().map(json).transpose()?;
        match socket.hello(Hello { identity, meta }).await? {
            Introduced::Welcome(session) => return Ok(Welcome { session: *session, tag: greeting.tag, claim }),
            Introduced::Refused { code: Refusal::SessionLost, .. } if standing.resume.is_some() => {
                standing.resume = None;
            }
            Introduced::Refused { code: Refusal::ClaimOld, known: Some(known), .. } => {
                standing.counter = known.max(standing.counter);
            }
            Introduced::Refused { code, message, .. } => return Err(ClientError::Refused { code, message }),
        }
    }
    Err(socket.broken("every claim was older than another device's".to_owned()))
}

fn claim(key: &SigningKey, greeting: &Greeting, standing: &Standing) -> (Identity, Option<ToldClaim>) {
    let peer = PeerId::new(key.verifying_key().to_bytes());
    let made = Proof::claim(key, greeting.tag, greeting.host, standing.counter, standing.sealing);
    let told = ToldClaim::of(greeting.host, &made);
    match made {
        Proof::Keyed { counter, sealing, signature } => {
            let proof = answer_challenge(key, greeting.tag, greeting.host, &greeting.challenge);
            (Identity::Keyed { peer, claim: Claim { counter, sealing, signature, proof } }, told)
        }
        Proof::Minted { .. } => (Identity::Minted, None),
    }
}
