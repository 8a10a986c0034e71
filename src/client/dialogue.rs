//! Hello: from an open socket to a session, resumed or new.

use std::time::Duration;

use aldis_wire::edge::sealed::ToldClaim;
use aldis_wire::edge::{Claim, EdgeMessage, Hello, HostMessage, Identity, Resume};
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
    pub(super) who: Who,
    pub(super) token: [u8; 32],
    pub(super) resumed: bool,
    pub(super) hosts: Vec<String>,
    pub(super) heartbeat: Duration,
    pub(super) signal_timeout: Duration,
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

struct Greeting {
    host: HostId,
    tag: NetworkTag,
    challenge: [u8; 32],
}

/// Opens a socket and says hello.
pub(super) async fn open(
    url: &str,
    options: &Options,
    standing: &mut Standing,
) -> Result<(Socket, Welcome), ClientError> {
    // On the heap: a TLS handshake is large.
    let mut socket = Box::pin(Socket::open(url, options.authority.as_deref())).await?;
    let late = ClientError::Unreachable { url: url.to_owned(), why: "did not answer hello in time".to_owned() };
    match timeout(CONNECT_DEADLINE, hello(&mut socket, url, options, standing)).await {
        Ok(Ok(welcome)) => Ok((socket, welcome)),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(late),
    }
}

async fn hello(
    socket: &mut Socket,
    url: &str,
    options: &Options,
    standing: &mut Standing,
) -> Result<Welcome, ClientError> {
    let broken = |why: String| ClientError::Unreachable { url: url.to_owned(), why };
    let greeting = greeting(socket, url).await?;
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
        socket.send(&encode(EdgeMessage::Hello(Hello { identity, meta }))).await.map_err(broken)?;
        loop {
            let text = socket.next().await.map_err(broken)?;
            match read(&text) {
                Some(HostMessage::Welcome(welcome)) => {
                    return Ok(Welcome {
                        who: Who {
                            peer: welcome.peer,
                            host: welcome.host,
                            network: welcome.network.into_owned(),
                            url: url.to_owned(),
                            ice_servers: welcome.ice_servers.as_str().to_owned(),
                        },
                        token: welcome.resume.0,
                        resumed: welcome.resumed,
                        hosts: welcome.hosts.into_iter().map(Into::into).collect(),
                        heartbeat: Duration::from_millis(welcome.heartbeat_ms),
                        signal_timeout: Duration::from_millis(welcome.limits.signal_timeout_ms),
                        tag: greeting.tag,
                        claim,
                    });
                }
                Some(HostMessage::Error { code: Refusal::SessionLost, .. }) if standing.resume.is_some() => {
                    standing.resume = None;
                    break;
                }
                Some(HostMessage::Error { code: Refusal::ClaimOld, known: Some(known), .. }) => {
                    standing.counter = known.max(standing.counter);
                    break;
                }
                Some(HostMessage::Error { code, message, .. }) => {
                    return Err(ClientError::Refused { code, message: message.into_owned() });
                }
                _ => {}
            }
        }
    }
    Err(broken("every claim was older than another device's".to_owned()))
}

async fn greeting(socket: &mut Socket, url: &str) -> Result<Greeting, ClientError> {
    let broken = |why: String| ClientError::Unreachable { url: url.to_owned(), why };
    let text = socket.next().await.map_err(broken)?;
    match read(&text) {
        Some(HostMessage::Greeting { host, tag, challenge, .. }) => {
            Ok(Greeting { host, tag: NetworkTag::new(tag.0), challenge: challenge.0 })
        }
        Some(HostMessage::Error { code, message, .. }) => {
            Err(ClientError::Refused { code, message: message.into_owned() })
        }
        _ => Err(broken("did not greet as an Aldis host does".to_owned())),
    }
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
