//! Sealed signals (PROTOCOL.md §4.4). The test is the host and the other peer.

use aldis::client::{Client, ClientError, Event, Events, Options};
use aldis_wire::edge::sealed::{Between, Binding, Envelope, OpeningKey, Place, Plain, ToldClaim};
use aldis_wire::edge::{Json, Status};
use aldis_wire::id::{HostId, PeerId};
use aldis_wire::network::NetworkTag;
use aldis_wire::proof::Proof;
use ed25519_dalek::SigningKey;
use serde_json::{Value, json};

use super::event;
use super::host::{Host, Socket, hex};

/// Those of the scripted host's greeting.
const TAG: NetworkTag = NetworkTag::new([0; 8]);
const HOME: HostId = HostId::new([1; 32]);

/// The other peer.
struct Bob {
    key: SigningKey,
    opening: OpeningKey,
    n: u64,
}

impl Bob {
    fn new(opening: u8) -> Self {
        Self { key: SigningKey::from_bytes(&[8; 32]), opening: OpeningKey::new(&[opening; 32]), n: 0 }
    }

    fn peer(&self) -> PeerId {
        PeerId::new(self.key.verifying_key().to_bytes())
    }

    fn claim(&self, counter: u64, unopened: Option<&str>) -> Value {
        let claim = ToldClaim::of(HOME, &Proof::claim(&self.key, TAG, HOME, counter, Some(self.opening.public())));
        value(&Between::Claim { claim, answer: false, unopened: unopened.map(Into::into) })
    }

    /// What was sealed for Bob: its number and what it says.
    fn opens(&self, signal: &Value) -> (u64, String) {
        assert_eq!((&signal["to"], signal.get("topic")), (&json!(self.peer().to_string()), None), "{signal}");
        let data = signal["data"].to_string();
        let Some(Between::Sealed(envelope)) = Between::read(&data) else { panic!("not sealed: {signal}") };
        let binding = Binding { tag: TAG, from: alice(), to: self.peer(), id: signal["id"].as_str().unwrap() };
        (envelope.place().n, String::from_utf8(envelope.open(&self.opening, binding).unwrap()).unwrap())
    }

    fn seals(&mut self, alice: &Alice, id: &str, topic: Option<&str>, data: &str) -> Value {
        self.n += 1;
        let plain = Plain { topic: topic.map(Into::into), data: Json::read(data.as_bytes()).unwrap() }.write();
        let binding = Binding { tag: TAG, from: self.peer(), to: self::alice(), id };
        let place = Place { stream: [5; 16], n: self.n };
        value(&Between::Sealed(Envelope::seal(&self.key, &alice.sealing, binding, place, &plain, &[6; 32]).unwrap()))
    }
}

fn value(between: &Between<'_>) -> Value {
    serde_json::from_str(&between.write()).unwrap()
}

/// The peer whose client is tested.
fn alice() -> PeerId {
    PeerId::new(key().verifying_key().to_bytes())
}

fn key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

struct Alice {
    client: Client,
    events: Events,
    socket: Socket,
    sealing: [u8; 32],
    seq: u64,
}

impl Alice {
    async fn new(host: &Host, url: &str) -> Self {
        let options = Options { key: Some(key()), sealed: true, ..Options::at(url) };
        let (client, (socket, hello)) = tokio::join!(Client::connect(options), async {
            let (mut socket, hello) = host.accept().await;
            socket.welcome(3, false).await;
            (socket, hello)
        });
        let (client, events) = client.unwrap();
        let sealing = aldis_wire::hex::decode(hello["claim"]["sealing"].as_str().unwrap()).unwrap();
        Self { client, events, socket, sealing, seq: 0 }
    }

    /// The signal that the client sends next, its acknowledgements aside.
    async fn says(&mut self) -> Value {
        loop {
            let message = self.socket.hear().await;
            if message["type"] == "signal" {
                return message;
            }
        }
    }

    /// The same, and it is delivered.
    async fn sends(&mut self) -> Value {
        let signal = self.says().await;
        self.receipt(&signal, "delivered", None).await;
        signal
    }

    async fn receipt(&mut self, signal: &Value, status: &str, code: Option<&str>) {
        self.seq += 1;
        let id = &signal["id"];
        self.socket.say(json!({"type": "receipt", "seq": self.seq, "id": id, "status": status, "code": code})).await;
    }

    async fn gets(&mut self, from: PeerId, id: &str, data: Value) {
        self.seq += 1;
        let from = from.to_string();
        self.socket.say(json!({"type": "signal", "seq": self.seq, "id": id, "from": from, "data": data})).await;
    }

    /// Each knows the other's key.
    async fn meets(&mut self, bob: &Bob) {
        let posted = self.client.post(bob.peer(), None, "0").await.unwrap();
        assert_eq!(self.sends().await["data"]["answer"], true);
        self.gets(bob.peer(), "met", bob.claim(1, None)).await;
        bob.opens(&self.sends().await);
        assert_eq!(posted.receipt().await.unwrap().status, Status::Delivered);
    }
}

#[tokio::test]
async fn the_first_signal_asks_for_the_key_once_and_all_go_out_sealed_in_their_order() {
    let (host, url) = Host::start().await;
    let (mut alice, bob) = (Alice::new(&host, &url).await, Bob::new(2));
    let mut posted = Vec::new();
    for n in 0..5 {
        posted.push(alice.client.post(bob.peer(), Some("t"), &n.to_string()).await.unwrap());
    }
    let asked = alice.sends().await;
    let Some(Between::Claim { claim: Some(claim), answer: true, .. }) = Between::read(&asked["data"].to_string())
    else {
        panic!("{asked}");
    };
    assert!(claim.is_of(self::alice(), TAG));
    assert_eq!(claim.sealing(), alice.sealing);
    alice.gets(bob.peer(), "x", bob.claim(1, None)).await;
    for n in 0..5 {
        let (place, plain) = bob.opens(&alice.sends().await);
        assert_eq!((place, plain), (n + 1, format!(r#"{{"topic":"t","data":{n}}}"#)));
    }
    for posted in posted {
        assert_eq!(posted.receipt().await.unwrap().status, Status::Delivered);
    }
}

#[tokio::test]
async fn what_a_peer_sealed_arrives_byte_for_byte_and_what_hosts_changed_repeat_or_make_up_does_not() {
    let (host, url) = Host::start().await;
    let (mut alice, mut bob) = (Alice::new(&host, &url).await, Bob::new(2));
    let data = r#"{"b": 1.0,"a":"é\u0301"}"#;
    let good = bob.seals(&alice, "a", Some("not mine"), data);
    alice.gets(bob.peer(), "a", good.clone()).await;
    let expected = Event::Signal { from: bob.peer(), id: "a".to_owned(), topic: None, data: data.to_owned() };
    assert_eq!(event(&mut alice.events).await, expected);
    assert_eq!(alice.socket.hear().await, json!({"type": "ack", "seq": 1}));

    let dropped = |event| matches!(event, Event::Dropped { .. });
    let next = bob.seals(&alice, "b", None, "2");
    alice.gets(bob.peer(), "another id", next.clone()).await;
    assert!(dropped(event(&mut alice.events).await));
    alice.gets(PeerId::new([9; 32]), "b", next.clone()).await;
    assert!(dropped(event(&mut alice.events).await));
    alice.gets(bob.peer(), "c", json!({"sdp": "in the clear"})).await;
    assert!(dropped(event(&mut alice.events).await));
    alice.seq += 1;
    let from = bob.peer().to_string();
    let shout = json!({"type": "broadcast", "seq": alice.seq, "id": "d", "from": from, "topic": "t", "data": 1});
    alice.socket.say(shout).await;
    assert!(dropped(event(&mut alice.events).await));
    // An older one of the same stream that never arrived: hosts may not hold it back and show it later.
    let (older, newer) = (bob.seals(&alice, "e", None, "5"), bob.seals(&alice, "f", None, "6"));
    alice.gets(bob.peer(), "f", newer).await;
    alice.gets(bob.peer(), "e", older).await;
    alice.gets(bob.peer(), "g", bob.seals(&alice, "g", None, "7")).await;
    for expected in ["6", "7"] {
        let Event::Signal { data, .. } = event(&mut alice.events).await else { panic!("not a signal") };
        assert_eq!(data, expected);
    }
}

#[tokio::test]
async fn a_peer_that_cannot_open_gets_it_sealed_to_its_new_key_and_one_for_another_key_of_ours_is_told() {
    let (host, url) = Host::start().await;
    let (mut alice, mut bob) = (Alice::new(&host, &url).await, Bob::new(2));
    alice.meets(&bob).await;
    let posted = alice.client.post(bob.peer(), None, "\"for Bob\"").await.unwrap();
    let lost = alice.sends().await;
    assert_eq!(posted.receipt().await.unwrap().status, Status::Delivered);
    let again = Bob::new(3);
    alice.gets(bob.peer(), "x", again.claim(2, lost["id"].as_str())).await;
    let second = alice.sends().await;
    assert_ne!(second["id"], lost["id"]);
    assert_eq!(again.opens(&second).1, r#"{"data":"for Bob"}"#);

    // The other way round: sealed to a key that Alice had once.
    let now = std::mem::replace(&mut alice.sealing, OpeningKey::new(&[4; 32]).public());
    let stale = bob.seals(&alice, "y", None, "1");
    alice.gets(bob.peer(), "y", stale).await;
    let told = alice.sends().await;
    assert_eq!(
        (&told["data"]["unopened"], &told["data"]["claim"]["sealing"]),
        (&json!("y"), &json!(aldis_wire::hex::encode(&now)))
    );
}

#[tokio::test]
async fn a_key_that_the_peer_has_not_signed_is_not_used_and_who_does_not_seal_or_is_not_there_ends_what_waits() {
    let (host, url) = Host::start().await;
    let (mut alice, bob) = (Alice::new(&host, &url).await, Bob::new(2));
    let stranger = PeerId::new(SigningKey::from_bytes(&[9; 32]).verifying_key().to_bytes());
    let posted = alice.client.post(stranger, None, "1").await.unwrap();
    alice.sends().await;
    alice.gets(stranger, "x", bob.claim(1, None)).await;
    alice.gets(stranger, "y", json!({"aldis": "claim"})).await;
    assert_eq!(posted.receipt().await, Err(ClientError::NotSealed));

    let posted = alice.client.post(bob.peer(), None, "1").await.unwrap();
    let asked = alice.says().await;
    assert_eq!(asked["data"]["aldis"], "claim", "{asked}");
    alice.receipt(&asked, "refused", Some("no_such_peer")).await;
    assert_eq!(posted.receipt().await.unwrap().status, Status::Refused);
    assert_eq!(alice.client.broadcast("t", "1").await, Err(ClientError::NotSealed));
}

#[tokio::test]
async fn a_client_that_does_not_seal_says_so_and_none_without_a_key_can() {
    let (host, url) = Host::start().await;
    let (_client, _events, mut socket) = super::connected(&host, &url).await;
    socket
        .say(json!({"type": "signal", "seq": 1, "id": "a", "from": hex(4), "data": {"aldis": "claim", "answer": true}}))
        .await;
    let told = socket.hear().await;
    assert_eq!((&told["to"], &told["data"]), (&json!(hex(4)), &json!({"aldis": "claim"})));
    let options = Options { sealed: true, ..Options::at(&url) };
    assert!(matches!(Client::connect(options).await, Err(ClientError::BadInput(_))));
}

#[tokio::test]
async fn strangers_who_ask_for_our_key_again_and_again_get_a_bounded_part_of_our_requests() {
    let (host, url) = Host::start().await;
    let (client, _events, mut socket) = super::connected(&host, &url).await;
    for seq in 1..=84 {
        let data = json!({"aldis": "claim", "answer": true});
        let id = seq.to_string();
        socket.say(json!({"type": "signal", "seq": seq, "id": id, "from": hex(4), "data": data})).await;
    }
    let asked = tokio::spawn(async move { client.discover("t", 1).await });
    let mut told = 0;
    loop {
        let message = socket.hear().await;
        match message["type"].as_str().unwrap() {
            "signal" => told += 1,
            "discover" => {
                socket.say(json!({"type": "peers", "id": message["id"], "topic": "t", "peers": [], "total": 0})).await;
            }
            _ => {}
        }
        // By a message of its own, or along with another.
        if message["seq"] == 84 || message["ack"] == 84 {
            break;
        }
    }
    assert_eq!(told, 64);
    asked.await.unwrap().unwrap();
}
