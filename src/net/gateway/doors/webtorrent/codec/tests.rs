#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail by panic")]
use super::*;
use proptest::prelude::*;

fn id(n: u8) -> Id {
    Id([n; 20])
}

fn failed(text: &str) -> String {
    write(&Reply::Failure(&read(text).unwrap_err()))
}

#[test]
fn every_byte_is_a_character_and_comes_back_as_it_was() {
    let mut bytes = [0; 20];
    for (n, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::try_from(n * 13).unwrap();
    }
    // As JSON.stringify writes it: control characters escaped, everything else as it is.
    let text = "\\u0000\\r\\u001a'4AN[hu\u{82}\u{8f}\u{9c}\u{a9}\u{b6}\u{c3}\u{d0}\u{dd}\u{ea}\u{f7}";
    let frame = format!(r#"{{"action":"announce","info_hash":"{text}","peer_id":"{text}"}}"#);
    let Ok(Asked::Announce(announce)) = read(&frame) else { panic!("not an announce: {frame}") };
    assert_eq!((announce.info_hash, announce.peer_id), (Id(bytes), Id(bytes)));
    let reply = write(&Reply::Counts(Id(bytes), Counts { complete: 1, incomplete: 2 }));
    let expected =
        format!(r#"{{"action":"announce","info_hash":"{text}","interval":120,"complete":1,"incomplete":2}}"#);
    assert_eq!(reply, expected);
}

#[test]
fn what_is_wrong_is_said_in_the_words_of_bittorrent_tracker() {
    let a = "a".repeat(20);
    let long = "a".repeat(21);
    let above = "\u{100}".repeat(20);
    let context = format!(r#"{{"action":"announce","failure reason":"invalid event","info_hash":"{a}"}}"#);
    for (frame, reason) in [
        ("", "Invalid request".to_owned()),
        ("{", "Invalid request".to_owned()),
        ("5", "Invalid request".to_owned()),
        ("{}", "invalid action in WS request: undefined".to_owned()),
        (r#"{"action":"shutdown"}"#, "invalid action in WS request: shutdown".to_owned()),
        (r#"{"action":7}"#, "invalid action in WS request: 7".to_owned()),
        (r#"{"action":"announce"}"#, "invalid info_hash".to_owned()),
        (r#"{"action":"announce","info_hash":5}"#, "invalid info_hash".to_owned()),
        (&format!(r#"{{"action":"announce","info_hash":"{long}"}}"#), "invalid info_hash".to_owned()),
        (&format!(r#"{{"action":"announce","info_hash":"{above}"}}"#), "invalid info_hash".to_owned()),
        (&format!(r#"{{"action":"announce","info_hash":"{a}"}}"#), "invalid peer_id".to_owned()),
        (
            &format!(r#"{{"action":"announce","info_hash":"{a}","peer_id":"{a}","answer":{{}}}}"#),
            "invalid `to_peer_id` (required with `answer`)".to_owned(),
        ),
        (r#"{"action":"scrape","info_hash":["short"]}"#, "invalid info_hash".to_owned()),
        (r#"{"action":"scrape","info_hash":{}}"#, "invalid info_hash".to_owned()),
    ] {
        assert_eq!(failed(frame), format!(r#"{{"failure reason":"{reason}"}}"#), "{frame}");
    }
    assert_eq!(failed(&format!(r#"{{"action":"announce","info_hash":"{a}","peer_id":"{a}","event":"x"}}"#)), context);
    let full = r#"{"action":"scrape","failure reason":"Full scrapes are not allowed"}"#;
    assert_eq!(failed(r#"{"action":"scrape"}"#), full);
    assert_eq!(failed(r#"{"action":"scrape","info_hash":null}"#), full);
    let noisy = failed(&format!(r#"{{"action":"{}"}}"#, "x".repeat(10_000)));
    assert!(noisy.len() < 200, "nobody is told back all that he said");
}

#[test]
fn events_and_what_is_left_say_who_is_complete() {
    let a = "a".repeat(20);
    let event = |fields: &str| {
        let frame = format!(r#"{{"action":"announce","info_hash":"{a}","peer_id":"{a}"{fields}}}"#);
        let Ok(Asked::Announce(announce)) = read(&frame) else { panic!("not an announce: {frame}") };
        announce.event
    };
    for (fields, expected) in [
        ("", Happened::Unsaid),
        (r#","event":"started""#, Happened::Unsaid),
        (r#","event":"update","left":12"#, Happened::Incomplete),
        (r#","event":"paused","left":0.0"#, Happened::Complete),
        (r#","event":"empty","left":"0""#, Happened::Complete),
        (r#","event":"","left":0"#, Happened::Complete),
        (r#","event":null,"left":null"#, Happened::Incomplete),
        (r#","left":"many""#, Happened::Incomplete),
        (r#","event":"completed","left":5"#, Happened::Complete),
        (r#","event":"stopped","left":0"#, Happened::Stopped),
    ] {
        assert_eq!(event(fields), expected, "{fields}");
    }
}

#[test]
fn offers_are_carried_unread() {
    let a = "a".repeat(20);
    let offers = |offers: &str| {
        let frame = format!(r#"{{"action":"announce","info_hash":"{a}","peer_id":"{a}","offers":{offers}}}"#);
        match read(&frame) {
            Ok(Asked::Announce(announce)) => Ok(announce.offers),
            Ok(other) => panic!("{other:?}"),
            Err(failure) => Err(failure.reason.into_owned()),
        }
    };
    let offer = |id: &str, offer: &str| Offer { id: id.into(), offer: offer.into() };
    assert_eq!(
        offers(r#"[{"offer_id":"1","offer":{ "sdp" : "v\u003d0\r\n", "n":1.0 }},{"fake_offer":"0"},7,null]"#).unwrap(),
        [offer("\"1\"", r#"{ "sdp" : "v\u003d0\r\n", "n":1.0 }"#), offer("", ""), offer("", ""), offer("", "")]
    );
    assert_eq!(offers(r#"[{"offer_id":"\u00e9"}]"#).unwrap(), offers("[{\"offer_id\":\"\u{e9}\"}]").unwrap());
    assert!(offers(r#"{"0":{}}"#).unwrap().is_empty(), "no array");
    assert_eq!(offers(&format!("[{}{{}}]", "{},".repeat(999))).unwrap().len(), OFFERS_MAX);
    let large = "x".repeat(PAYLOAD_BYTES);
    assert_eq!(offers(&format!(r#"[{{"offer":"{large}"}}]"#)), Err("offer too large".to_owned()));
    assert_eq!(offers(&format!(r#"[{{"offer_id":"{}"}}]"#, &large[..300])), Err("invalid offer_id".to_owned()));
    let deep = "[".repeat(100) + &"]".repeat(100);
    assert_eq!(offers(&format!(r#"[{{"offer":{deep}}}]"#)), Err("nested too deeply".to_owned()));
}

#[test]
fn an_answer_is_told_from_an_announce_as_javascript_would() {
    let (a, b) = ("a".repeat(20), "b".repeat(20));
    let frame = |answer: &str| {
        format!(
            r#"{{"action":"announce","info_hash":"{a}","peer_id":"{a}","to_peer_id":"{b}","offer_id":"1","answer":{answer}}}"#
        )
    };
    assert_eq!(
        read(&frame(r#"{"sdp":1}"#)).unwrap(),
        Asked::Answer(Answer {
            info_hash: id(b'a'),
            peer_id: id(b'a'),
            to_peer_id: id(b'b'),
            offer_id: "\"1\"".into(),
            answer: r#"{"sdp":1}"#.into()
        })
    );
    for nothing in ["null", "false", "0", "\"\""] {
        assert!(matches!(read(&frame(nothing)), Ok(Asked::Announce(_))), "{nothing}");
    }
}

#[test]
fn replies_look_like_those_of_bittorrent_tracker() {
    let counts = Counts { complete: 2, incomplete: 3 };
    assert_eq!(
        write(&Reply::Scrape(&[(id(b'a'), counts), (id(b'b'), Counts::default())])),
        format!(
            concat!(
                r#"{{"action":"scrape","files":{{"{}":{{"complete":2,"incomplete":3,"downloaded":2}},"#,
                r#""{}":{{"complete":0,"incomplete":0,"downloaded":0}}}},"flags":{{"min_request_interval":600}}}}"#
            ),
            "a".repeat(20),
            "b".repeat(20)
        )
    );
    let (info_hash, from) = (id(b'a'), id(b'b'));
    let (a, b) = ("a".repeat(20), "b".repeat(20));
    let pushed = |reply| write(&reply);
    assert_eq!(
        pushed(Reply::Offer { info_hash, from, offer_id: "\"1\"", offer: r#"{ "sdp":"x" }"# }),
        format!(r#"{{"action":"announce","info_hash":"{a}","peer_id":"{b}","offer":{{ "sdp":"x" }},"offer_id":"1"}}"#)
    );
    assert_eq!(
        pushed(Reply::Offer { info_hash, from, offer_id: "", offer: "" }),
        format!(r#"{{"action":"announce","info_hash":"{a}","peer_id":"{b}"}}"#)
    );
    assert_eq!(
        pushed(Reply::Answer { info_hash, from, offer_id: "\"1\"", answer: "5" }),
        format!(r#"{{"action":"announce","info_hash":"{a}","peer_id":"{b}","answer":5,"offer_id":"1"}}"#)
    );
}

#[test]
fn a_scrape_has_a_bound() {
    let hash = format!("\"{}\"", "a".repeat(20));
    let frame = |n: usize| format!(r#"{{"action":"scrape","info_hash":[{}]}}"#, vec![hash.as_str(); n].join(","));
    assert_eq!(read(&frame(SCRAPE_MAX)).unwrap(), Asked::Scrape([id(b'a')].into()));
    assert!(failed(&frame(SCRAPE_MAX + 1)).contains("too many info_hashes"));
    assert_eq!(
        read(&format!(r#"{{"action":"scrape","info_hash":{hash}}}"#)).unwrap(),
        Asked::Scrape([id(b'a')].into())
    );
    assert_eq!(read(&frame(0)).unwrap(), Asked::Scrape([].into()));
}

/// Frames that are nearly right: each field there or not, and some other JSON instead of what it should be.
fn nearly() -> impl Strategy<Value = String> {
    let value = prop_oneof![
        Just(format!("\"{}\"", "a".repeat(20))),
        Just("null".to_owned()),
        Just("0".to_owned()),
        Just("[]".to_owned()),
        Just(r#"[{"offer":{},"offer_id":"1"}]"#.to_owned()),
        Just(r#"[{"offer":[[[["#.to_owned()),
        Just("\"\\ud800\"".to_owned()),
        Just("\"announce\"".to_owned()),
        Just("\"scrape\"".to_owned()),
        Just("\"stopped\"".to_owned()),
        ".{0,30}".prop_map(|text| serde_json::to_string(&text).unwrap()),
        ".{0,30}",
    ];
    let field = prop_oneof![
        Just("action"),
        Just("info_hash"),
        Just("peer_id"),
        Just("to_peer_id"),
        Just("offer_id"),
        Just("offers"),
        Just("answer"),
        Just("left"),
        Just("event"),
        Just("x"),
    ];
    proptest::collection::vec((field, value), 0..12).prop_map(|fields| {
        let fields: Vec<String> = fields.iter().map(|(field, value)| format!("\"{field}\":{value}")).collect();
        format!("{{{}}}", fields.join(","))
    })
}

proptest! {
    #[test]
    fn no_frame_breaks_the_reader_and_every_failure_is_json(text in prop_oneof![nearly(), ".{0,200}"]) {
        match read(&text) {
            Ok(Asked::Announce(announce)) => prop_assert!(announce.offers.len() <= OFFERS_MAX),
            Ok(Asked::Answer(answer)) => prop_assert!(Json::read(answer.answer.as_bytes()).is_ok()),
            Ok(Asked::Scrape(hashes)) => prop_assert!(hashes.len() <= SCRAPE_MAX),
            Err(failure) => {
                let written = write(&Reply::Failure(&failure));
                let read: serde_json::Value = serde_json::from_str(&written).unwrap();
                prop_assert!(read["failure reason"].is_string(), "{}", written);
            }
        }
    }
}
