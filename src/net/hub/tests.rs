#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail by panic")]

use std::net::Ipv4Addr;
use std::time::Duration;

use aldis_wire::host::{Channel, GoodbyeReason, Role};
use aldis_wire::id::HostId;
use bytes::Bytes;
use tokio::time::timeout;

use super::script::{DEADLINE, Script};
use super::*;
use crate::relay::io::{DialKey, Event, Hint, Member, Output, Sample, StopReason, Stored};

const HOME: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn pong(edge: EdgeKey) -> Output {
    Output::TellEdge { edge, event: Event::Pong }
}

/// An event of some 100 KiB.
fn large(edge: EdgeKey) -> Output {
    let member = Member { peer: aldis_wire::id::PeerId::new([1; 32]), meta: vec![0; 100 << 10].into() };
    let sample = Sample { id: "1".into(), topic: "t".into(), members: vec![member], total: 1 };
    Output::TellEdge { edge, event: Event::Peers(sample) }
}

fn link(hub: &Arc<Hub>) -> LinkMailbox {
    hub.open_link("none", |link| Input::LinkOpened {
        link,
        host: HostId::new([2; 32]),
        role: Role::Dialler,
        dial: None,
        address: "127.0.0.1:1".parse().unwrap(),
        exporter: [0; 32],
        rtt: Duration::ZERO,
    })
}

fn send(link: LinkKey, channel: Channel, bytes: usize) -> Output {
    Output::Send { link, channel, frame: Bytes::from(vec![0; bytes]) }
}

#[tokio::test]
async fn an_edge_gets_what_it_is_told_in_order_and_then_the_end() {
    let (hub, script) = Script::hub();
    let edge = hub.open_edge(HOME);
    assert!(edge.try_next().is_none());
    let key = edge.key;
    script.says(&hub, [pong(key), Output::TellEdge { edge: key, event: Event::Greeting { challenge: [1; 32] } }]);
    script.says(&hub, [pong(key), Output::CloseEdge { edge: key }, pong(key)]);
    let told = async {
        let mut told = Vec::new();
        while let Some(event) = edge.next().await {
            told.push(event);
        }
        told
    };
    let told = timeout(DEADLINE, told).await.unwrap();
    assert_eq!(told, [Event::Pong, Event::Greeting { challenge: [1; 32] }, Event::Pong]);
    assert!(!edge.overflowed());
    drop(edge);
    assert!(
        !script.rest().iter().any(|input| matches!(input, Input::EdgeClosed { .. })),
        "the machine closed it itself"
    );
    assert_eq!(hub.mailboxes(), (0, 0));
}

#[tokio::test]
async fn a_socket_that_goes_away_is_told_once() {
    let (hub, script) = Script::hub();
    let edge = hub.open_edge(HOME);
    let key = edge.key;
    drop(edge);
    script.says(&hub, [pong(key), Output::CloseEdge { edge: key }]);
    let closed = script.rest().into_iter().filter(|input| matches!(input, Input::EdgeClosed { edge } if *edge == key));
    assert_eq!(closed.count(), 1);
}

#[tokio::test]
async fn an_edge_that_does_not_read_is_cut_at_the_bound_and_costs_nothing_afterwards() {
    let (hub, script) = Script::hub();
    let (slow, other) = (hub.open_edge(HOME), hub.open_edge(HOME));
    script.says(&hub, (0..20).map(|_| large(slow.key)));
    script.next(|input| matches!(input, Input::EdgeClosed { edge } if edge == slow.key).then_some(())).await;
    assert!(slow.overflowed());
    assert_eq!(slow.next().await, None);
    assert_eq!(hub.counts().edges_overflowed.total(), 1);

    let many = hub.open_edge(HOME);
    script.says(&hub, (0..=EDGE_QUEUE_MAX).map(|_| pong(many.key)));
    assert!(many.overflowed());

    script.says(&hub, [pong(other.key)]);
    assert_eq!(other.next().await, Some(Event::Pong), "others are not affected");
    drop((slow, many));
    assert!(!script.rest().iter().any(|input| matches!(input, Input::EdgeClosed { edge } if *edge == other.key)));
    assert_eq!(hub.mailboxes(), (1, 0));
}

#[tokio::test]
async fn a_reader_that_waits_is_woken_by_another_task() {
    let (hub, script) = Script::hub();
    let edge = hub.open_edge(HOME);
    let key = edge.key;
    let reader = tokio::spawn(async move { edge.next().await });
    tokio::task::yield_now().await;
    script.says(&hub, [pong(key)]);
    assert_eq!(timeout(DEADLINE, reader).await.unwrap().unwrap(), Some(Event::Pong));
}

#[tokio::test]
async fn what_an_answer_causes_is_told_to_the_machine_in_the_same_call() {
    let (hub, script) = Script::hub();
    let edge = hub.open_edge(HOME);
    let key = edge.key;
    script.answers(move |input, out| {
        if matches!(input, Input::LookUpEnded { .. }) {
            (0..20).for_each(|_| out.push(large(key)));
        }
    });
    hub.happened(Input::LookUpEnded { outcome: Ok(()) });
    let inputs = script.rest();
    assert!(matches!(&inputs[..], [Input::EdgeOpened { .. }, Input::LookUpEnded { .. }, Input::EdgeClosed { .. }]));
}

#[tokio::test]
async fn frames_wait_by_channel_and_each_channel_is_opened_once() {
    let (hub, script) = Script::hub();
    let mailbox = link(&hub);
    let key = mailbox.key;
    script.says(
        &hub,
        [
            send(key, Channel::Lane(1), 10),
            send(key, Channel::Control, 20),
            Output::WidenLink { link: key },
            send(key, Channel::Lane(1), 30),
        ],
    );
    assert!(mailbox.is_wide());
    assert_eq!(mailbox.next_order().await, LinkOrder::Open(Channel::Lane(1)));
    assert_eq!(mailbox.next_order().await, LinkOrder::Open(Channel::Control));
    assert_eq!(mailbox.next_order().await, LinkOrder::Widen);
    let mut frames = Vec::new();
    assert!(mailbox.frames(Channel::Lane(1), &mut frames).await);
    assert_eq!(frames.iter().map(Bytes::len).collect::<Vec<_>>(), [10, 30]);

    script.says(&hub, [Output::CloseLink { link: key, reason: GoodbyeReason::Full }, send(key, Channel::Control, 40)]);
    assert_eq!(mailbox.next_order().await, LinkOrder::Close(LinkEnd::Said(GoodbyeReason::Full)));
    assert!(!mailbox.frames(Channel::Lane(1), &mut frames).await);
    frames.clear();
    assert!(mailbox.frames(Channel::Control, &mut frames).await, "what was said before the end still goes out");
    assert_eq!(frames.len(), 1);
    assert!(!mailbox.frames(Channel::Control, &mut frames).await);
    hub.link_lost(key, "gone".to_owned());
    assert!(
        !script.rest().iter().any(|input| matches!(input, Input::LinkClosed { .. })),
        "the machine closed it itself"
    );
}

#[tokio::test]
async fn a_link_that_takes_nothing_is_cut_at_the_bound() {
    let (hub, script) = Script::hub();
    let mailbox = link(&hub);
    let key = mailbox.key;
    script.says(&hub, (0..=LINK_QUEUE_BYTES >> 20).map(|_| send(key, Channel::Sync, 1 << 20)));
    script.next(|input| matches!(input, Input::LinkClosed { link, .. } if link == key).then_some(())).await;
    assert_eq!(mailbox.next_order().await, LinkOrder::Close(LinkEnd::Overflowed));
    assert_eq!(hub.mailboxes(), (0, 0));
}

#[tokio::test]
async fn of_commands_that_make_each_other_needless_the_newest_waits_and_dials_are_bounded() {
    let (hub, script) = Script::hub();
    let stored = |epoch| Output::Store(Stored::Epoch(epoch));
    script.says(&hub, [Output::LookUp, stored(1), Output::LookUp, Output::Register { port: Some(1) }, stored(2)]);
    let hints: Vec<Hint> = Vec::new();
    script.says(&hub, [Output::Store(Stored::Hints(hints.clone())), Output::Stop { reason: StopReason::Asked }]);
    let dial = |dial| Output::Dial { dial: DialKey(dial), address: "127.0.0.1:1".parse().unwrap(), host: None };
    script.says(&hub, (0..100).map(dial));
    let failed = script.rest().into_iter().filter(|input| matches!(input, Input::DialFailed { .. })).count();
    assert_eq!(failed, 100 - (COMMANDS_MAX - 5));
    for expected in [
        Command::LookUp,
        Command::Store(Stored::Epoch(2)),
        Command::Register { port: Some(1) },
        Command::Store(Stored::Hints(hints)),
        Command::Stop(StopReason::Asked),
    ] {
        assert_eq!(hub.next_command().await, expected);
    }
    assert!(matches!(hub.next_command().await, Command::Dial { dial: DialKey(0), .. }));
}

#[tokio::test]
async fn the_timer_calls_when_the_machine_asked_and_follows_when_it_changes_its_mind() {
    let (hub, script) = Script::hub();
    let begun = hub.now();
    let timer = tokio::spawn({
        let hub = hub.clone();
        async move { hub.run_timer().await }
    });
    tokio::task::yield_now().await;
    // Later, then sooner.
    script.alarm(Some(begun + Duration::from_secs(3_600)));
    hub.happened(Input::LookUpEnded { outcome: Ok(()) });
    tokio::task::yield_now().await;
    script.alarm(Some(begun + Duration::from_millis(20)));
    hub.happened(Input::LookUpEnded { outcome: Ok(()) });
    script.next(|input| matches!(input, Input::Woken).then_some(())).await;
    assert!(hub.now() >= begun + Duration::from_millis(20));
    timer.abort();
}
