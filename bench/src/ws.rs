//! The client half of WebSocket (RFC 6455): as much of it as hosts of Aldis use. No I/O.

use std::ops::ControlFlow;

use aldis_wire::edge::{PATH, SUBPROTOCOL};
use anyhow::{Result, bail, ensure};

/// The example of RFC 6455 §1.3: with a fixed key the right answer is known beforehand.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
/// A longer answer to the upgrade is none of ours.
const HEAD_BYTES_MAX: usize = 8 << 10;
/// A frame of a host is far below it.
const FRAME_BYTES_MAX: usize = 1 << 20;

const FIN: u8 = 0x80;
const MASKED: u8 = 0x80;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Text = 1,
    Close = 8,
    Ping = 9,
    Pong = 10,
}

impl Kind {
    fn of(opcode: u8) -> Option<Self> {
        [Self::Text, Self::Close, Self::Ping, Self::Pong].into_iter().find(|kind| *kind as u8 == opcode)
    }
}

/// The request that opens a WebSocket.
pub(crate) fn request(host: &str) -> String {
    format!(
        "GET {PATH} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Protocol: {SUBPROTOCOL}\r\n\r\n"
    )
}

/// How many bytes the answer to the request has, once all of it is there.
///
/// # Errors
/// When the host refuses.
pub(crate) fn answered(bytes: &[u8]) -> Result<Option<usize>> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        ensure!(bytes.len() < HEAD_BYTES_MAX, "the answer to the upgrade has no end");
        return Ok(None);
    };
    let (head, _) = bytes.split_at(end);
    let head = String::from_utf8_lossy(head);
    let accepted = head.lines().any(|line| {
        line.split_once(':')
            .is_some_and(|(name, value)| name.eq_ignore_ascii_case("sec-websocket-accept") && value.trim() == ACCEPT)
    });
    ensure!(head.starts_with("HTTP/1.1 101") && accepted, "the upgrade was refused: {head}");
    Ok(Some(end + 4))
}

/// Appends a frame, masked as clients must.
pub(crate) fn frame(out: &mut Vec<u8>, kind: Kind, body: &[u8]) {
    out.push(FIN | kind as u8);
    match (u8::try_from(body.len()), u16::try_from(body.len())) {
        (Ok(short), _) if short < 126 => out.push(MASKED | short),
        (_, Ok(medium)) => {
            out.push(MASKED | 126);
            out.extend_from_slice(&medium.to_be_bytes());
        }
        _ => {
            out.push(MASKED | 127);
            out.extend_from_slice(&(body.len() as u64).to_be_bytes());
        }
    }
    let mask = fastrand::u32(..).to_ne_bytes();
    out.extend_from_slice(&mask);
    let begin = out.len();
    out.extend_from_slice(body);
    for four in out.get_mut(begin..).unwrap_or_default().chunks_mut(4) {
        four.iter_mut().zip(mask).for_each(|(byte, mask)| *byte ^= mask);
    }
}

/// Cuts what arrives into frames.
#[derive(Debug, Default)]
pub(crate) struct Cutter {
    /// A frame that has begun and not ended.
    rest: Vec<u8>,
}

impl Cutter {
    /// Takes bytes as they came, and shows each frame that is whole.
    ///
    /// # Errors
    /// What no host of Aldis sends, and what `each` says.
    pub(crate) fn feed(&mut self, bytes: &[u8], mut each: impl FnMut(Kind, &[u8]) -> Result<()>) -> Result<()> {
        let mut rest = std::mem::take(&mut self.rest);
        let mut left = if rest.is_empty() {
            bytes
        } else {
            rest.extend_from_slice(bytes);
            &rest
        };
        while let ControlFlow::Continue((kind, body, after)) = first(left)? {
            left = after;
            each(kind, body)?;
        }
        self.rest = left.to_vec();
        Ok(())
    }
}

type Cut<'a> = ControlFlow<(), (Kind, &'a [u8], &'a [u8])>;

/// The first frame of `bytes` and what comes after it, if it is whole.
fn first(bytes: &[u8]) -> Result<Cut<'_>> {
    let Some(([begin, length], after)) = bytes.split_first_chunk::<2>() else { return Ok(Cut::Break(())) };
    let (length, after) = match *length {
        126 => match after.split_first_chunk::<2>() {
            Some((length, after)) => (u64::from(u16::from_be_bytes(*length)), after),
            None => return Ok(Cut::Break(())),
        },
        127 => match after.split_first_chunk::<8>() {
            Some((length, after)) => (u64::from_be_bytes(*length), after),
            None => return Ok(Cut::Break(())),
        },
        short if short < 126 => (u64::from(short), after),
        _ => bail!("a host does not mask"),
    };
    let length = usize::try_from(length)?;
    ensure!(length <= FRAME_BYTES_MAX, "a frame of {length} bytes");
    ensure!(begin & FIN != 0, "a host does not cut messages into pieces");
    let Some(kind) = Kind::of(begin & !FIN) else { bail!("a frame of opcode {}", begin & !FIN) };
    Ok(match after.split_at_checked(length) {
        Some((body, after)) => Cut::Continue((kind, body, after)),
        None => Cut::Break(()),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail by panic")]
    use super::*;

    fn unmasked(body: &[u8]) -> Vec<u8> {
        let mut out = vec![FIN | Kind::Text as u8];
        match body.len() {
            short if short < 126 => out.push(u8::try_from(short).unwrap()),
            medium if medium < 1 << 16 => {
                out.push(126);
                out.extend_from_slice(&u16::try_from(medium).unwrap().to_be_bytes());
            }
            long => {
                out.push(127);
                out.extend_from_slice(&(long as u64).to_be_bytes());
            }
        }
        out.extend_from_slice(body);
        out
    }

    #[test]
    fn frames_come_out_whole_however_the_bytes_arrive() {
        let bodies = [vec![], vec![1; 125], vec![2; 126], vec![3; 70_000]];
        let stream: Vec<u8> = bodies.iter().flat_map(|body| unmasked(body)).collect();
        for step in [1, 3, 127, 4_096, stream.len()] {
            let (mut cutter, mut seen) = (Cutter::default(), Vec::new());
            for bytes in stream.chunks(step) {
                let keep = |kind, body: &[u8]| {
                    assert_eq!(kind, Kind::Text);
                    seen.push(body.to_vec());
                    Ok(())
                };
                cutter.feed(bytes, keep).unwrap();
            }
            assert_eq!(seen, bodies);
        }
    }

    #[test]
    fn a_masked_frame_unmasks_to_its_body() {
        for length in [0_u32, 1, 125, 126, 65_535, 65_536] {
            let body: Vec<u8> = (0..length).map(|at| at.to_le_bytes()[0]).collect();
            let mut out = Vec::new();
            frame(&mut out, Kind::Text, &body);
            let (head, masked) = out.split_at(out.len() - body.len());
            let mask = head.last_chunk::<4>().unwrap();
            let plain: Vec<u8> = masked.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
            assert_eq!(plain, body);
            assert_eq!(
                head.len(),
                if length < 126 {
                    6
                } else if length < 65_536 {
                    8
                } else {
                    14
                }
            );
        }
    }

    #[test]
    fn what_no_host_sends_is_an_error() {
        let none = |_, _: &[u8]| Ok(());
        assert!(Cutter::default().feed(&[FIN | 1, MASKED], none).is_err());
        assert!(Cutter::default().feed(&[1, 0], none).is_err());
        assert!(Cutter::default().feed(&[FIN | 2, 0], none).is_err());
        assert!(Cutter::default().feed(&[FIN | 1, 127, 0xff, 0, 0, 0, 0, 0, 0, 0], none).is_err());
    }

    #[test]
    fn an_upgrade_needs_the_right_accept() {
        let good = format!("HTTP/1.1 101 Switching Protocols\r\nsec-websocket-accept: {ACCEPT}\r\n\r\nrest");
        assert_eq!(answered(good.as_bytes()).unwrap(), Some(good.len() - 4));
        assert_eq!(answered(b"HTTP/1.1 101 Swi").unwrap(), None);
        assert!(answered(b"HTTP/1.1 101 x\r\n\r\n").is_err());
        assert!(answered(b"HTTP/1.1 503 x\r\n\r\n").is_err());
    }
}
