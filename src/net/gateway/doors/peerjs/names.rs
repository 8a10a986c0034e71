//! What clients call themselves, and the topics and proofs that come of it.

use std::sync::Arc;

use aldis_wire::id::TopicId;
use aldis_wire::network::Network;

use super::super::super::dialect::Desk;
use super::codec::NAME_BYTES;
use crate::doors::Door;
use crate::relay::io::{Request, Topic};

/// The door's name, between hosts too.
pub(super) const NAME: &str = Door::PeerJs.name();
/// The same for what a token proves.
const PROOF_NAME: &str = "peerjs token";

/// The names under one key.
#[derive(Clone, Debug)]
pub(super) struct Names {
    network: Arc<Network>,
    key: Box<str>,
}

/// What a client says of itself when it connects.
#[derive(Debug)]
pub(super) struct Who {
    pub(super) names: Names,
    pub(super) topic: Topic,
    pub(super) proof: [u8; 32],
}

impl Names {
    /// What an id is between hosts. The text stays here.
    pub(super) fn topic(&self, id: &str) -> Topic {
        Topic { id: self.network.door_topic(NAME, &[self.key.as_bytes(), id.as_bytes()]), name: id.into() }
    }

    /// Where the clients of all hosts that tell their ids are. No id is empty.
    pub(super) fn everybody(&self) -> Topic {
        Topic { id: everybody(&self.network, &self.key), name: "".into() }
    }
}

/// The topic of all clients under a key.
pub(super) fn everybody(network: &Network, key: &str) -> TopicId {
    network.door_topic(NAME, &[key.as_bytes()])
}

impl Who {
    /// Reads the query of a WebSocket's URL.
    ///
    /// # Errors
    /// The words for the client.
    pub(super) fn read(network: &Arc<Network>, query: &str) -> Result<Self, &'static str> {
        let field = |name: &str| {
            let found = url::form_urlencoded::parse(query.as_bytes()).find(|(known, _)| known == name);
            found.map(|(_, value)| value).filter(|value| !value.is_empty())
        };
        let (Some(key), Some(id), Some(token)) = (field("key"), field("id"), field("token")) else {
            return Err("No id, token, or key supplied to websocket server");
        };
        if key.len() > NAME_BYTES {
            return Err("Invalid key provided");
        }
        if id.len() > NAME_BYTES || token.len() > NAME_BYTES {
            return Err("The id or the token is too long");
        }
        let proof = network.door_topic(PROOF_NAME, &[key.as_bytes(), id.as_bytes(), token.as_bytes()]);
        let names = Names { network: network.clone(), key: key.into() };
        let topic = names.topic(&id);
        Ok(Self { names, topic, proof: *proof.as_bytes() })
    }

    /// The client's id.
    pub(super) fn id(&self) -> &Arc<str> {
        &self.topic.name
    }
}

/// Ends the session's interest in a topic.
pub(super) fn unwatch(topic: Topic, desk: &mut Desk<'_>) {
    let id = desk.fresh_id();
    desk.ask(Request::Unwatch { id, topic });
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail by panic")]
    use super::*;
    use aldis_wire::network::Genesis;

    #[test]
    fn who_says_too_little_or_too_much_is_told_what() {
        let network = Arc::new(Network::new(&Genesis::open("a").unwrap()));
        let read = |query: &str| Who::read(&network, query);
        let long = "x".repeat(NAME_BYTES + 1);
        for query in ["", "key=k&id=i", "key=k&token=t", "id=i&token=t", "key=k&id=&token=t", "&&=&%%%"] {
            assert_eq!(read(query).unwrap_err(), "No id, token, or key supplied to websocket server", "{query}");
        }
        assert_eq!(read(&format!("key={long}&id=i&token=t")).unwrap_err(), "Invalid key provided");
        assert!(read(&format!("key=k&id={long}&token=t")).unwrap_err().contains("too long"));
        assert!(read(&format!("key=k&id=i&token={long}")).unwrap_err().contains("too long"));
        let one = read("key=k&id=a%20b&token=t&version=1.5.5").unwrap();
        assert_eq!(&**one.id(), "a b");
        assert_eq!(one.topic.id, network.door_topic("peerjs", &[b"k", b"a b"]));
        let same = read("version=2&token=t&id=a+b&key=k").unwrap();
        assert_eq!((one.topic.id, one.proof), (same.topic.id, same.proof));
        for other in ["key=k&id=a+b&token=u", "key=l&id=a+b&token=t", "key=k&id=a+c&token=t"] {
            assert_ne!(read(other).unwrap().proof, one.proof, "{other}");
        }
        assert_ne!(read("key=l&id=a+b&token=t").unwrap().topic.id, one.topic.id, "another key, another id");
        assert_ne!(one.proof, *one.topic.id.as_bytes());
    }
}
