//! The door of socket-signal with a real machine behind it.

use serde_json::{Value, json};

use crate::harness::{House, eventually};
use crate::socket_signal_client::{Client, key, offer};

/// A topic by its number, which is in its first two characters.
fn topic(n: usize) -> String {
    let digit = |n: usize| char::from(b'a' + u8::try_from(n).unwrap());
    format!("base64:{}{}{}=", digit(n / 16), digit(n % 16), "A".repeat(41))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_answers_all_it_is_told_is_not_taken_for_one_that_floods() {
    let house = House::start();
    let mut called = Client::joined(house.address(), &topic(1), &key(1)).await;
    let mut caller = Client::connect(house.address()).await;
    let json = json!({ "data": offer(&topic(1), &key(1)) }).to_string();
    // More than a socket may send of which the machine does not learn; less than the machine lets an edge ask at once.
    for _ in 0..400 {
        caller.request(2, "signal", &json).await;
        assert_eq!(caller.hear().await.data(), Value::Null);
        let told = called.hear().await;
        assert_eq!((told.flags, &told.name[..], &told.json), (2, "signal", &json));
        called.respond(told.id, 1, "{\"data\":null}").await;
    }
    assert_eq!(called.sees(&topic(1)).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_ends_with_the_socket_of_the_called_and_its_ids_are_free() {
    let house = House::start();
    let mut called = Client::joined(house.address(), &topic(1), &key(1)).await;
    let mut caller = Client::joined(house.address(), &topic(1), &key(2)).await;
    assert_eq!(caller.sees(&topic(1)).await, 2);
    caller.ask("offer", offer(&topic(1), &key(1))).await;
    assert_eq!(called.hear().await.name, "offer");
    drop(called);
    assert_eq!(caller.hear().await.code(), "NMSG_ERR_CLOSE");
    eventually("it is gone", async || caller.sees(&topic(1)).await == 1).await;
    assert_eq!(caller.call("offer", offer(&topic(1), &key(1))).await.code(), "ERR_PEER_NOT_FOUND");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_may_be_in_31_swarms_and_is_told_when_it_wants_more() {
    let house = House::start();
    let mut client = Client::connect(house.address()).await;
    for n in 0..31 {
        let answer = client.call("socket-signal-join", json!({ "topic": topic(n), "id": key(1) })).await;
        assert_eq!((answer.flags, answer.data()), (1, json!([key(1)])));
    }
    let answer = client.call("socket-signal-join", json!({ "topic": topic(31), "id": key(1) })).await;
    assert_eq!(answer.code(), "NRPC_ERR_RESPONSE_ERROR");
    assert_eq!(client.sees(&topic(31)).await, 0);
    let mut caller = Client::connect(house.address()).await;
    for (n, session) in [(0, key(4)), (30, key(3))] {
        assert_eq!(caller.sees(&topic(n)).await, 1);
        let mut offer = offer(&topic(n), &key(1));
        offer["sessionId"] = session.into();
        caller.ask("offer", offer).await;
        let asked = client.hear().await;
        assert_eq!(asked.name, "offer");
        client.respond(asked.id, 1, "{\"data\":\"yes\"}").await;
        assert_eq!(caller.hear().await.data(), "yes");
    }
    assert_eq!(caller.call("offer", offer(&topic(31), &key(1))).await.code(), "ERR_PEER_NOT_FOUND");
}
