#![allow(clippy::unwrap_used, reason = "a test may fail by panic")]

use super::super::super::super::dialect::testing::Table;
use super::super::claim::Claim;
use super::super::names::Who;
use super::super::room::ROOM_BYTES;
use super::*;
use crate::relay::io::Sample;
use aldis_wire::id::HostId;
use aldis_wire::network::{Genesis, Network};

struct Scene {
    table: Table,
    calls: Calls,
    room: Arc<Room>,
}

impl Scene {
    fn new() -> Self {
        Self::in_room(&Arc::default())
    }

    fn in_room(room: &Arc<Room>) -> Self {
        let network = Arc::new(Network::new(&Genesis::open("a").unwrap()));
        let who = Who::read(&network, "key=k&id=me&token=t").unwrap();
        let mut scene = Self {
            table: Table::default(),
            calls: Calls::new(who.id().clone(), who.names.clone(), room.clone()),
            room: room.clone(),
        };
        scene.calls.begin(&mut scene.table.desk());
        scene
    }

    fn send(&mut self, to: &str, kind: Kind, data: &str) {
        self.calls.send(to, kind, Bytes::copy_from_slice(data.as_bytes()), &mut self.table.desk());
    }

    fn say(&mut self, event: Event) {
        assert_eq!(self.calls.event(event, &mut self.table.desk()), None, "it is theirs");
    }

    /// Answers the only question that is open, a look-up or a watch.
    fn answer(&mut self, members: &[Member]) {
        let asked = self.table.requests();
        let [Request::Discover { id, .. } | Request::Watch { id, .. }] = &asked[..] else { panic!("{asked:?}") };
        self.say(Event::Peers(sample(id, members)));
    }

    /// What was sent to whom since the last look, and the ids of the signals. Nothing else was asked.
    fn sent(&mut self) -> (Vec<(PeerId, String)>, Vec<RequestId>) {
        let asked = self.table.requests();
        let signal = |request: &Request| match request {
            Request::Signal { id, to, data, .. } => ((*to, String::from_utf8_lossy(data).into_owned()), id.clone()),
            Request::Unwatch { id, .. } => ((PeerId::new([0; 32]), "unwatch".to_owned()), id.clone()),
            other => panic!("{other:?}"),
        };
        asked.iter().map(signal).unzip()
    }

    fn wait(&mut self, time: Duration) {
        self.table.ahead += time;
        self.calls.woken(&mut self.table.desk());
    }

    fn receipt(&mut self, id: &RequestId, outcome: Outcome) {
        self.say(Event::Receipt { seq: 1, id: id.clone(), outcome });
    }
}

fn sample(id: &RequestId, members: &[Member]) -> Sample {
    Sample { id: id.clone(), topic: "".into(), members: members.to_vec(), total: members.len() }
}

fn member(n: u8) -> Member {
    let claim = Claim { generation: 0, home: HostId::new([n; 32]), proof: [n; 32] };
    Member { peer: PeerId::new([n; 32]), meta: claim.encode() }
}

fn expire(of: &str) -> String {
    format!(r#"{{"type":"EXPIRE","src":"{of}","dst":"me"}}"#)
}

#[test]
fn every_message_goes_to_where_its_target_is_now() {
    let mut scene = Scene::new();
    scene.send("b", Kind::Offer, "1");
    scene.send("b", Kind::Candidate, "2");
    scene.answer(&[member(7)]);
    let to = member(7).peer;
    assert_eq!(scene.sent().0, [(to, "1".to_owned()), (to, "2".to_owned())], "one look-up for both");
    scene.send("b", Kind::Candidate, "3");
    scene.answer(&[member(8)]);
    assert_eq!(scene.sent().0, [(member(8).peer, "3".to_owned())], "it is somebody else's now");
    assert!(scene.calls.lines.is_empty() && scene.calls.deadline().is_none(), "nothing is left of it");
}

#[test]
fn nothing_is_sent_before_the_id_is_ours() {
    let mut scene = Scene::new();
    scene.calls.begun = false;
    scene.send("b", Kind::Offer, "1");
    assert_eq!(scene.table.requests(), []);
    scene.calls.begin(&mut scene.table.desk());
    scene.answer(&[member(7)]);
    assert_eq!(scene.sent().0.len(), 1);
}

#[test]
fn what_waits_for_an_absent_id_goes_in_order_when_it_appears() {
    let mut scene = Scene::new();
    scene.send("late", Kind::Offer, "1");
    scene.send("late", Kind::Leave, "goes nowhere");
    scene.answer(&[]);
    scene.answer(&[]);
    scene.send("late", Kind::Candidate, "2");
    assert_eq!(scene.table.requests(), []);
    assert!(scene.room.taken() > 0);
    scene.say(Event::PeerJoined { seq: 1, topic: "late".into(), member: member(7) });
    scene.send("late", Kind::Candidate, "3");
    scene.answer(&[member(7)]);
    let words: Vec<String> = scene.sent().0.into_iter().map(|(_, words)| words).collect();
    assert_eq!(words, ["unwatch", "1", "2", "3"]);
    assert_eq!((scene.room.taken(), scene.calls.waiting_bytes), (0, 0));
    scene.wait(HOLD);
    assert_eq!(scene.table.texts(), [""; 0], "nobody is told that it expired");
}

#[test]
fn somebody_who_comes_between_look_up_and_watch_is_found() {
    let mut scene = Scene::new();
    scene.send("late", Kind::Offer, "1");
    scene.answer(&[]);
    scene.answer(&[member(7)]);
    assert_eq!(scene.sent().0[1], (member(7).peer, "1".to_owned()));
}

#[test]
fn who_stays_absent_expires_once_five_seconds_after_the_first_message() {
    let mut scene = Scene::new();
    scene.send("nobody", Kind::Offer, "1");
    scene.answer(&[]);
    scene.answer(&[]);
    scene.wait(HOLD - Duration::from_millis(500));
    scene.send("nobody", Kind::Candidate, "2");
    assert_eq!(scene.table.texts(), [""; 0]);
    scene.wait(Duration::from_millis(500));
    assert_eq!(scene.table.texts(), [expire("nobody")]);
    assert!(matches!(scene.table.requests()[..], [Request::Unwatch { .. }]));
    assert!(scene.calls.lines.is_empty());
    assert_eq!((scene.room.taken(), scene.calls.waiting_bytes), (0, 0));
}

#[test]
fn a_client_holds_so_much_for_so_many_ids_and_is_told_at_once_of_the_rest() {
    let mut scene = Scene::new();
    let large = "x".repeat(60_000);
    for n in 0..5_000 {
        scene.send(&format!("absent {n}"), Kind::Offer, &large);
        scene.answer(&[]);
        if scene.table.texts().is_empty() {
            scene.answer(&[]);
        }
    }
    assert_eq!(scene.calls.lines.len(), 2, "two of the largest size");
    assert!(scene.room.taken() < 150_000);
    scene.send("absent 0", Kind::Offer, &large);
    assert_eq!(scene.table.texts(), [expire("absent 0")], "what came before goes with what has no room");
    _ = scene.table.requests();
    let mut scene = Scene::new();
    for n in 0..HELD_IDS_MAX {
        scene.send(&format!("absent {n}"), Kind::Candidate, "small");
        scene.answer(&[]);
        scene.answer(&[]);
    }
    scene.send("one more", Kind::Offer, "small");
    scene.answer(&[]);
    assert_eq!(scene.table.texts(), [expire("one more")]);
    drop(scene.calls);
    assert_eq!(scene.room.taken(), 0, "a socket that ends gives its places back");
}

#[test]
fn many_clients_together_hold_no_more_than_the_room() {
    let room = Arc::default();
    let mut scenes: Vec<Scene> = (0..200).map(|_| Scene::in_room(&room)).collect();
    for scene in &mut scenes {
        for n in 0..40 {
            scene.send(&format!("absent {n}"), Kind::Offer, &"x".repeat(10_000));
            scene.answer(&[]);
            _ = scene.table.requests();
        }
    }
    assert!(room.taken() <= ROOM_BYTES && room.taken() > ROOM_BYTES / 2, "{}", room.taken());
}

#[test]
fn what_waits_for_answers_is_bounded_too() {
    let mut scene = Scene::new();
    for _ in 0..20 {
        scene.send("b", Kind::Offer, &"x".repeat(60_000));
    }
    assert!(scene.calls.waiting_bytes <= WAITING_BYTES_MAX);
    assert_eq!(scene.table.texts().len(), 16, "four fit");
    let mut scene = Scene::new();
    for n in 0..LINES_MAX + 5 {
        scene.send(&n.to_string(), Kind::Offer, "1");
    }
    assert_eq!((scene.calls.lines.len(), scene.table.texts().len()), (LINES_MAX, 5));
}

#[test]
fn so_many_signals_are_open_and_the_rest_waits_for_receipts() {
    let mut scene = Scene::new();
    for n in 0..2 * OPEN_MAX {
        scene.send("b", Kind::Candidate, &n.to_string());
    }
    scene.answer(&[member(7)]);
    let mut told = Vec::new();
    loop {
        let (sent, ids) = scene.sent();
        let Some(id) = ids.first() else { break };
        assert!(scene.calls.open.len() <= OPEN_MAX);
        told.extend(sent.into_iter().map(|(_, words)| words));
        scene.receipt(&id.clone(), Outcome::Delivered);
    }
    assert!(told.iter().enumerate().all(|(n, words)| *words == n.to_string()), "in order: {told:?}");
    assert!(told.len() > OPEN_MAX);
}

#[test]
fn what_came_to_nothing_is_sent_again_under_its_id_and_in_its_place_for_five_seconds() {
    let mut scene = Scene::new();
    for words in ["1", "2"] {
        scene.send("b", Kind::Offer, words);
    }
    scene.answer(&[member(7)]);
    let (_, first) = scene.sent();
    scene.receipt(&first[1], Outcome::Unknown);
    scene.receipt(&first[0], Outcome::Refused(Refusal::HomeUnreachable));
    scene.send("b", Kind::Candidate, "3");
    assert_eq!(scene.table.requests(), []);
    scene.wait(RETRY);
    scene.answer(&[member(7)]);
    let (sent, second) = scene.sent();
    assert_eq!(sent.iter().map(|(_, words)| &**words).collect::<Vec<_>>(), ["1", "2", "3"]);
    assert_eq!(second[..2], first[..], "the same peer takes an id once");
    scene.receipt(&second[0], Outcome::Unknown);
    scene.wait(RETRY);
    scene.answer(&[member(8)]);
    let (sent, third) = scene.sent();
    assert_eq!(sent, [(member(8).peer, "1".to_owned())]);
    assert_ne!(third[0], first[0], "another peer knows nothing of it");
    scene.table.ahead += HOLD;
    scene.receipt(&third[0], Outcome::Unknown);
    assert_eq!(scene.table.texts(), [expire("b")]);
    scene.receipt(&second[2], Outcome::Unknown);
    assert_eq!(scene.table.texts(), [""; 0], "without a candidate a connection may come about");
}

#[test]
fn a_client_whose_session_ended_meanwhile_is_told_of_as_left() {
    let mut scene = Scene::new();
    scene.send("b", Kind::Offer, "1");
    scene.answer(&[member(7)]);
    let (_, ids) = scene.sent();
    scene.receipt(&ids[0], Outcome::Refused(Refusal::Gone));
    scene.wait(RETRY);
    scene.answer(&[]);
    assert_eq!(scene.table.texts(), [r#"{"type":"LEAVE","src":"b","dst":"me"}"#]);
    assert!(scene.calls.lines.is_empty());
}

#[test]
fn who_asks_too_much_waits_and_asks_again() {
    let refused = |id: &RequestId| Event::Error {
        id: Some(id.clone()),
        refusal: Refusal::RateLimited,
        message: String::new(),
        known: None,
        retry_after: None,
    };
    let mut scene = Scene::new();
    scene.send("b", Kind::Offer, "1");
    let id = scene.table.requests()[0].id().unwrap().clone();
    scene.say(refused(&id));
    assert_eq!(scene.table.requests(), []);
    scene.wait(RETRY);
    scene.answer(&[member(7)]);
    let (_, ids) = scene.sent();
    scene.receipt(&ids[0], Outcome::Refused(Refusal::RateLimited));
    scene.wait(RETRY);
    scene.answer(&[member(7)]);
    assert_eq!(scene.sent().0.len(), 1);
    assert_eq!(scene.table.texts(), [""; 0]);
}
