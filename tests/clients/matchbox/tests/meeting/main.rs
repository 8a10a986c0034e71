//! Unmodified clients of `matchbox_socket`, each at a host of its own.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail by panic")]

mod hosts;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use matchbox_socket::{ChannelConfig, PeerState, RtcIceServerConfig, WebRtcSocket, WebRtcSocketBuilder};
use tokio::time::{Instant, sleep};
use tokio_tungstenite::tungstenite::Message;

use hosts::Hosts;

const PATIENCE: Duration = Duration::from_secs(90);

/// A client with one reliable channel. All are on this machine: no STUN server is needed.
fn client(url: String) -> WebRtcSocket {
    let ice = RtcIceServerConfig { urls: Vec::new(), username: None, credential: None };
    let (socket, messages) =
        WebRtcSocketBuilder::new(url).ice_server(ice).add_channel(ChannelConfig::reliable()).build();
    tokio::spawn(messages);
    socket
}

/// Looks at clients again and again until they are as they should be.
async fn until<const N: usize>(
    what: &str,
    clients: &mut [WebRtcSocket; N],
    mut holds: impl FnMut(&mut [WebRtcSocket; N]) -> bool,
) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        clients.iter_mut().for_each(|client| _ = client.try_update_peers());
        if holds(clients) {
            return;
        }
        assert!(Instant::now() < deadline, "in vain: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// Both say something, and both hear it.
async fn talk(clients: &mut [WebRtcSocket; 2], words: &'static [u8]) {
    until("both are connected", clients, |both| both.iter().all(|client| client.connected_peers().count() == 1)).await;
    for client in clients.iter_mut() {
        let peer = client.connected_peers().next().unwrap();
        client.channel_mut(0).send(words.into(), peer);
    }
    let mut heard = [false; 2];
    until("both heard it", clients, |both| {
        for (client, heard) in both.iter_mut().zip(&mut heard) {
            *heard |= client.channel_mut(0).receive().iter().any(|(_, packet)| **packet == *words);
        }
        heard == [true; 2]
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_clients_at_two_hosts_reach_a_data_channel_which_outlives_a_host() {
    let mut hosts = Hosts::start(2);
    let mut clients = [client(hosts.room(0, "story")), client(hosts.room(1, "story"))];
    talk(&mut clients, b"before").await;
    hosts.kill(1);
    talk(&mut clients, b"and after").await;
    // A newcomer tries a host that is down three times, three seconds apart, as its library does.
    let newcomer = client(hosts.room(1, "later"));
    sleep(Duration::from_secs(1)).await;
    hosts.run(1);
    hosts.linked();
    talk(&mut [client(hosts.room(0, "later")), newcomer], b"anew").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_of_two_form_across_hosts() {
    let hosts = Hosts::start(2);
    let mut clients = [0, 1, 0, 1].map(|n| client(hosts.room(n, "duel?next=2")));
    until("everybody has one other", &mut clients, |all| all.iter().all(|one| one.connected_peers().count() == 1)).await;
    let pairs: BTreeSet<_> = clients
        .iter_mut()
        .map(|client| BTreeSet::from([client.id().unwrap(), client.connected_peers().next().unwrap()]))
        .collect();
    assert_eq!(pairs.len(), 2, "not two pairs: {pairs:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_other_rooms_do_not_meet() {
    let hosts = Hosts::start(2);
    let mut apart = [client(hosts.room(0, "one")), client(hosts.room(1, "two"))];
    let mut together = [client(hosts.room(0, "three")), client(hosts.room(1, "three"))];
    talk(&mut together, b"here").await;
    until("they have ids", &mut apart, |both| both.iter_mut().all(|client| client.id().is_some())).await;
    for client in &mut apart {
        assert_eq!(client.try_update_peers().unwrap(), [] as [(_, PeerState); 0]);
    }
}

/// The protocol alone, since 435 connections are more than this machine should hold: of every pair exactly one is told, and
/// that one's signal reaches the other.
#[tokio::test(flavor = "multi_thread")]
async fn thirty_clients_at_three_hosts_all_meet() {
    const CLIENTS: usize = 30;
    let hosts = Hosts::start(3);
    let (found, mut finding) = tokio::sync::mpsc::channel::<(String, String)>(CLIENTS * CLIENTS);
    for n in 0..CLIENTS {
        let (url, found) = (hosts.room(n % 3, "party"), found.clone());
        tokio::spawn(async move {
            let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
            let mut me = String::new();
            while let Some(Ok(frame)) = socket.next().await {
                let Message::Text(text) = frame else { continue };
                let frame: BTreeMap<String, serde_json::Value> = serde_json::from_str(&text).unwrap();
                for (kind, value) in frame {
                    match kind.as_str() {
                        "IdAssigned" => me = value.as_str().unwrap().to_owned(),
                        "NewPeer" => {
                            let offer = serde_json::json!({ "Signal": { "receiver": value, "data": { "Offer": "sdp" } } });
                            socket.send(Message::text(offer.to_string())).await.unwrap();
                        }
                        "Signal" => {
                            let sender = value["sender"].as_str().unwrap().to_owned();
                            found.send((sender, me.clone())).await.unwrap();
                        }
                        other => panic!("{other} was not to be told"),
                    }
                }
            }
        });
    }
    let mut pairs = BTreeSet::new();
    while pairs.len() < CLIENTS * (CLIENTS - 1) / 2 {
        let waited = tokio::time::timeout(PATIENCE, finding.recv()).await;
        let Ok(Some((one, other))) = waited else { panic!("only {} pairs met", pairs.len()) };
        assert!(pairs.insert(BTreeSet::from([one, other])), "a pair met twice");
    }
}
