//! Clients of socket-signal at two hosts: what the libraries themselves cannot show.

use aldis::doors::Door;
use aldis::net::driver::{Host, HostConfig};

use crate::harness::{config, knowing, start, until_linked};
use crate::socket_signal_client::{Client, key, offer};

async fn two_hosts() -> (Host, Host) {
    let with_doors = |config: HostConfig| HostConfig { doors: Door::ALL.to_vec(), ..config };
    let a = start(with_doors(config(1))).await;
    let b = start(with_doors(knowing(2, &[&a]))).await;
    until_linked(&a, &b).await;
    (a, b)
}

/// Waits until a client sees so many in a topic.
async fn until_seen(client: &mut Client, topic: &str, count: usize) {
    let seeing = async { while client.sees(topic).await != count {} };
    tokio::time::timeout(crate::harness::DEADLINE, seeing).await.expect("they do not see each other");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_clients_write_crosses_hosts_byte_for_byte() {
    let (a, b) = two_hosts().await;
    let mut caller = Client::connect(a.http_address()).await;
    let mut called = Client::joined(b.http_address(), &key(0), &key(1)).await;
    until_seen(&mut caller, &key(0), 1).await;

    let fields = offer(&key(0), &key(1)).to_string();
    let odd = r#" "metadata" : {"a":1.0e+2,"\u0061":"base64:==","b":[ ],"é":"\ud83d\ude00"} "#;
    let json = format!(" {{ \"data\":\t{},{odd}}} }} ", fields.strip_suffix('}').unwrap());
    caller.request(0, "socket-signal-offer", &json).await;
    let told = called.hear().await;
    assert_eq!((told.flags, &told.name[..], &told.json), (0, "offer", &json));
    let answer = "{ \"data\" : {\"data\":[],\"n\":0.10} }";
    called.respond(told.id, 1, answer).await;
    assert_eq!(caller.hear().await.json, answer);

    caller.request(2, "socket-signal-onsignal", &json).await;
    assert_eq!(caller.hear().await.json, "{\"data\":null}");
    let told = called.hear().await;
    assert_eq!((told.flags, &told.name[..], &told.json), (2, "signal", &json));
    called.respond(told.id, 1, "{\"data\":null}").await;

    // As much as fits a signal between hosts; one byte more is refused, and nobody waits for it.
    for (length, fits) in [(65_516, true), (65_517, false)] {
        let json = json.replace(&key(4), &key(if fits { 6 } else { 7 }));
        let padded = format!("{json}{}", " ".repeat(length - json.len()));
        caller.request(0, "socket-signal-remote-connect", &padded).await;
        if fits {
            let told = called.hear().await;
            assert_eq!((&told.name[..], told.json.len()), ("remoteConnect", length));
            // The same for answers: what does not fit ends the call with an error.
            called.respond(told.id, 1, &padded.replace(&key(1), &format!("{} ", key(1)))).await;
        }
        assert_eq!(caller.hear().await.code(), "NRPC_ERR_RESPONSE_ERROR");
    }
}
