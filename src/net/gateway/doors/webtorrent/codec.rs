//! The frames of clients: JSON whose ids are *binary strings*, a character for each byte.

use std::borrow::Cow;
use std::collections::BTreeSet;

use aldis_wire::edge::Json;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

/// Seconds between two announces of a client. bittorrent-tracker and aquatic say the same.
const INTERVAL_SECONDS: u32 = 120;
/// Seconds between two scrapes; bittorrent-tracker says the same.
const SCRAPE_INTERVAL_SECONDS: u32 = 600;
/// Offers of one announce; each is a signal. Clients send 3 to 10, and no more than this are looked at.
pub(super) const OFFERS_MAX: usize = 32;
/// Torrents of one scrape. Each costs two of the requests that a client may make, of which it has 1,000 at once.
pub(super) const SCRAPE_MAX: usize = 64;
/// An `offer_id` as JSON. Clients use 20 characters, each of which JSON may write with six.
pub(super) const OFFER_ID_BYTES: usize = u8::MAX as usize;
/// An offer or answer as JSON: with its addresses it fits a signal. A large SDP with candidates has 10 KiB.
pub(super) const PAYLOAD_BYTES: usize = aldis_wire::limits::SIGNAL_DATA_BYTES - 512;
/// What is said of an unknown action in words.
const ACTION_SHOWN_CHARS: usize = 64;

/// An info hash or a peer id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Id(pub(super) [u8; 20]);

impl Id {
    fn read(text: &str) -> Option<Self> {
        let mut bytes = [0; 20];
        let mut chars = text.chars();
        for byte in &mut bytes {
            *byte = u8::try_from(chars.next()?).ok()?;
        }
        chars.next().is_none().then_some(Self(bytes))
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.iter().map(|byte| char::from(*byte)).collect::<String>())
    }
}

/// JSON that is carried unread; empty where there is none. An `offer_id`, too, is any JSON; strings are always written
/// in the same way, so that they can be compared.
pub(super) type Carried = Box<str>;

/// What a client wants.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Announce(Announce),
    Answer(Answer),
    Scrape(BTreeSet<Id>),
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Announce {
    pub(super) info_hash: Id,
    pub(super) peer_id: Id,
    pub(super) event: Happened,
    pub(super) offers: Vec<Offer>,
}

/// What an announce says of its peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Happened {
    /// It has everything.
    Complete,
    /// It has not.
    Incomplete,
    /// It does not say. So it is as before, and at first incomplete.
    Unsaid,
    /// It goes.
    Stopped,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Offer {
    pub(super) id: Carried,
    pub(super) offer: Carried,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) info_hash: Id,
    pub(super) peer_id: Id,
    pub(super) to_peer_id: Id,
    pub(super) offer_id: Carried,
    pub(super) answer: Carried,
}

/// Which of the two kinds of reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Action {
    Announce,
    Scrape,
}

/// Why a client does not get what it wants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Failure {
    #[serde(skip_serializing_if = "Option::is_none")]
    action: Option<Action>,
    #[serde(rename = "failure reason")]
    pub(super) reason: Cow<'static, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    info_hash: Option<Id>,
}

impl Failure {
    /// The frame cannot be understood.
    pub(super) fn malformed(reason: impl Into<Cow<'static, str>>) -> Self {
        Self { action: None, reason: reason.into(), info_hash: None }
    }

    pub(super) fn announce(info_hash: Id, reason: impl Into<Cow<'static, str>>) -> Self {
        Self { action: Some(Action::Announce), reason: reason.into(), info_hash: Some(info_hash) }
    }

    pub(super) fn scrape(reason: impl Into<Cow<'static, str>>) -> Self {
        Self { action: Some(Action::Scrape), reason: reason.into(), info_hash: None }
    }

    /// Whether the frame as such was wrong, and not what it asked for.
    pub(super) fn is_malformed(&self) -> bool {
        self.action.is_none()
    }
}

/// As a client writes it. What is carried, and what has its own text when it is wrong, is looked at later.
#[derive(Deserialize)]
struct Frame<'a> {
    #[serde(borrow)]
    action: Option<&'a RawValue>,
    #[serde(borrow)]
    info_hash: Option<&'a RawValue>,
    #[serde(borrow)]
    peer_id: Option<&'a RawValue>,
    #[serde(borrow)]
    to_peer_id: Option<&'a RawValue>,
    #[serde(borrow)]
    offer_id: Option<&'a RawValue>,
    #[serde(borrow)]
    event: Option<&'a RawValue>,
    // Infinity, as JavaScript writes it, is null.
    #[serde(borrow, default, deserialize_with = "even_null")]
    left: Option<&'a RawValue>,
    #[serde(borrow)]
    offers: Option<&'a RawValue>,
    #[serde(borrow)]
    answer: Option<&'a RawValue>,
}

fn even_null<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// Understands a frame.
pub(super) fn read(text: &str) -> Result<Asked, Failure> {
    let frame: Frame<'_> = serde_json::from_str(text).map_err(|_| Failure::malformed("Invalid request"))?;
    match frame.action.and_then(string).as_deref() {
        Some("announce") if frame.answer.is_some_and(is_true) => read_answer(&frame).map(Asked::Answer),
        Some("announce") => read_announce(&frame).map(Asked::Announce),
        Some("scrape") => read_scrape(&frame).map(Asked::Scrape),
        action => {
            let action = action.or(frame.action.map(RawValue::get)).unwrap_or("undefined");
            let shown: String = action.chars().take(ACTION_SHOWN_CHARS).collect();
            Err(Failure::malformed(format!("invalid action in WS request: {shown}")))
        }
    }
}

fn read_announce(frame: &Frame<'_>) -> Result<Announce, Failure> {
    let info_hash = id(frame.info_hash, "invalid info_hash")?;
    let peer_id = id(frame.peer_id, "invalid peer_id")?;
    let event = match frame.event.and_then(string).as_deref() {
        Some("completed") => Happened::Complete,
        Some("stopped") => Happened::Stopped,
        Some("started" | "update" | "paused" | "empty" | "") => left(frame.left),
        None if !frame.event.is_some_and(is_true) => left(frame.left),
        _ => return Err(Failure::announce(info_hash, "invalid event")),
    };
    let offers = frame.offers.map(|offers| serde_json::from_str::<Vec<&RawValue>>(offers.get()).unwrap_or_default());
    let offers = offers.unwrap_or_default().into_iter().take(OFFERS_MAX);
    let offers: Result<Vec<Offer>, &str> = offers.map(read_offer).collect();
    let offers = offers.map_err(|reason| Failure::announce(info_hash, reason))?;
    Ok(Announce { info_hash, peer_id, event, offers })
}

fn left(left: Option<&RawValue>) -> Happened {
    let Some(left) = left else { return Happened::Unsaid };
    let number = string(left).unwrap_or(Cow::Borrowed(left.get()));
    let is_zero = number.trim().parse().is_ok_and(|left: f64| left == 0.0);
    if is_zero { Happened::Complete } else { Happened::Incomplete }
}

/// One entry of `offers`. Whoever tests a tracker sends entries with neither field.
fn read_offer(entry: &RawValue) -> Result<Offer, &'static str> {
    #[derive(Default, Deserialize)]
    struct Entry<'a> {
        #[serde(borrow)]
        offer: Option<&'a RawValue>,
        #[serde(borrow)]
        offer_id: Option<&'a RawValue>,
    }
    let Entry { offer, offer_id } = serde_json::from_str(entry.get()).unwrap_or_default();
    Ok(Offer { id: read_offer_id(offer_id)?, offer: payload(offer, "offer too large")? })
}

fn read_offer_id(raw: Option<&RawValue>) -> Result<Carried, &'static str> {
    const INVALID: &str = "invalid offer_id";
    let Some(raw) = raw else { return Ok(Carried::default()) };
    let id = match string(raw) {
        Some(text) => serde_json::to_string(&text).map_err(|_| INVALID)?.into(),
        None => payload(Some(raw), INVALID)?,
    };
    if id.len() > OFFER_ID_BYTES { Err(INVALID) } else { Ok(id) }
}

fn read_answer(frame: &Frame<'_>) -> Result<Answer, Failure> {
    let info_hash = id(frame.info_hash, "invalid info_hash")?;
    let failed = |reason| Failure::announce(info_hash, reason);
    Ok(Answer {
        info_hash,
        peer_id: id(frame.peer_id, "invalid peer_id")?,
        to_peer_id: id(frame.to_peer_id, "invalid `to_peer_id` (required with `answer`)")?,
        offer_id: read_offer_id(frame.offer_id).map_err(failed)?,
        answer: payload(frame.answer, "answer too large").map_err(failed)?,
    })
}

fn read_scrape(frame: &Frame<'_>) -> Result<BTreeSet<Id>, Failure> {
    let Some(raw) = frame.info_hash else { return Err(Failure::scrape("Full scrapes are not allowed")) };
    let invalid = || Failure::malformed("invalid info_hash");
    let hashes = match serde_json::from_str::<Vec<&RawValue>>(raw.get()) {
        Ok(hashes) if hashes.len() > SCRAPE_MAX => return Err(Failure::scrape("too many info_hashes")),
        Ok(hashes) => hashes,
        Err(_) => vec![raw],
    };
    hashes.into_iter().map(|hash| string(hash).and_then(|text| Id::read(&text)).ok_or_else(invalid)).collect()
}

fn id(raw: Option<&RawValue>, reason: &'static str) -> Result<Id, Failure> {
    raw.and_then(string).and_then(|text| Id::read(&text)).ok_or(Failure::malformed(reason))
}

/// The text of a JSON string; nothing for any other JSON.
fn string(raw: &RawValue) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    #[serde(transparent)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    serde_json::from_str(raw.get()).ok().map(|Text(text)| text)
}

/// What JavaScript holds for true.
fn is_true(raw: &RawValue) -> bool {
    !matches!(raw.get(), "null" | "false" | "0" | "\"\"")
}

/// JSON that is to be carried, if it may be.
fn payload(raw: Option<&RawValue>, too_large: &'static str) -> Result<Carried, &'static str> {
    let Some(raw) = raw else { return Ok(Carried::default()) };
    if raw.get().len() > PAYLOAD_BYTES {
        return Err(too_large);
    }
    // Clients that recurse must not be led too deep.
    Json::read(raw.get().as_bytes()).map_err(|_| "nested too deeply")?;
    Ok(raw.get().into())
}

/// How many peers of a torrent there are in the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) complete: usize,
    pub(super) incomplete: usize,
}

/// What a client is told.
#[derive(Debug)]
pub(super) enum Reply<'a> {
    Counts(Id, Counts),
    Offer { info_hash: Id, from: Id, offer_id: &'a str, offer: &'a str },
    Answer { info_hash: Id, from: Id, offer_id: &'a str, answer: &'a str },
    Scrape(&'a [(Id, Counts)]),
    Failure(&'a Failure),
}

#[derive(Serialize)]
struct Pushed<'a> {
    action: Action,
    info_hash: Id,
    peer_id: Id,
    #[serde(skip_serializing_if = "Option::is_none")]
    offer: Option<Json<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<Json<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    offer_id: Option<Json<'a>>,
}

/// What was carried; nothing if it is empty.
fn json(carried: &str) -> Option<Json<'_>> {
    Json::read(carried.as_bytes()).ok()
}

/// A frame for a client. What is carried must be JSON: it was read as such.
pub(super) fn write(reply: &Reply<'_>) -> String {
    let text = match *reply {
        Reply::Counts(info_hash, Counts { complete, incomplete }) => {
            #[derive(Serialize)]
            struct Counted {
                action: Action,
                info_hash: Id,
                interval: u32,
                complete: usize,
                incomplete: usize,
            }
            let interval = INTERVAL_SECONDS;
            serde_json::to_string(&Counted { action: Action::Announce, info_hash, interval, complete, incomplete })
        }
        Reply::Offer { info_hash, from, offer_id, offer } => serde_json::to_string(&Pushed {
            action: Action::Announce,
            info_hash,
            peer_id: from,
            offer: json(offer),
            answer: None,
            offer_id: json(offer_id),
        }),
        Reply::Answer { info_hash, from, offer_id, answer } => serde_json::to_string(&Pushed {
            action: Action::Announce,
            info_hash,
            peer_id: from,
            offer: None,
            answer: json(answer),
            offer_id: json(offer_id),
        }),
        Reply::Scrape(files) => serde_json::to_string(&Scraped::new(files)),
        Reply::Failure(failure) => serde_json::to_string(failure),
    };
    text.unwrap_or_default()
}

#[derive(Serialize)]
struct Scraped<'a> {
    action: Action,
    files: Files<'a>,
    flags: Flags,
}

#[derive(Serialize)]
struct Flags {
    min_request_interval: u32,
}

struct Files<'a>(&'a [(Id, Counts)]);

impl<'a> Scraped<'a> {
    fn new(files: &'a [(Id, Counts)]) -> Self {
        let flags = Flags { min_request_interval: SCRAPE_INTERVAL_SECONDS };
        Self { action: Action::Scrape, files: Files(files), flags }
    }
}

impl Serialize for Files<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        /// Nobody counts downloads; bittorrent-tracker gives the same lower bound.
        #[derive(Serialize)]
        struct File {
            complete: usize,
            incomplete: usize,
            downloaded: usize,
        }
        serializer.collect_map(self.0.iter().map(|(info_hash, counts)| {
            let Counts { complete, incomplete } = *counts;
            (info_hash, File { complete, incomplete, downloaded: complete })
        }))
    }
}

#[cfg(test)]
mod tests;
