//! The signals that two browsers send when they open a data channel.
//!
//! The texts are those of Chromium for one data channel; what a browser draws at random (session number, ICE
//! credentials, certificate fingerprint) is drawn here. They are real in form and length, but no browser stands behind
//! them: the demo's pages do that part.

use crate::system::random_bytes;

/// One end of a WebRTC connection to be.
#[derive(Debug)]
pub(super) struct End {
    session: u64,
    ufrag: String,
    password: String,
    fingerprint: String,
}

impl End {
    pub(super) fn new() -> Self {
        let [a, b, c, d, e, f, g, h] = random_bytes::<8>();
        let fingerprint: Vec<_> = random_bytes::<32>().iter().map(|byte| format!("{byte:02X}")).collect();
        Self {
            // A browser's session number is a positive i64.
            session: u64::from_be_bytes([a & 0x7f, b, c, d, e, f, g, h]),
            ufrag: ice_text::<4>(),
            password: ice_text::<24>(),
            fingerprint: fingerprint.join(":"),
        }
    }

    /// The signal that carries the offer, as JSON.
    pub(super) fn offer(&self) -> String {
        self.description("offer", "actpass")
    }

    /// The signal that carries the answer, as JSON.
    pub(super) fn answer(&self) -> String {
        self.description("answer", "active")
    }

    /// The signals that carry candidates as the browser finds them, and the one that says that there are no more.
    pub(super) fn candidates(&self) -> Vec<String> {
        let [a, b] = random_bytes::<2>();
        let port = u16::from_be_bytes([a | 0x80, b]);
        let line = |n: u32, protocol: &str, rest: &str| {
            let foundation = 842_163_049 + n;
            let priority = 2_122_260_223 - n * 65_536;
            format!("candidate:{foundation} 1 {protocol} {priority} {rest} generation 0 ufrag {}", self.ufrag)
        };
        let lines = [
            line(0, "udp", &format!("192.0.2.7 {port} typ host")),
            line(1, "udp", &format!("2001:db8::7 {port} typ host")),
            line(2, "udp", &format!("203.0.113.4 {port} typ srflx raddr 0.0.0.0 rport 0")),
            line(3, "tcp", "192.0.2.7 9 typ host tcptype active"),
            String::new(),
        ];
        let candidate = |line: &String| serde_json::json!({ "candidate": line, "sdpMid": "0", "sdpMLineIndex": 0 });
        lines.iter().map(|line| serde_json::json!({ "candidate": candidate(line) }).to_string()).collect()
    }

    fn description(&self, kind: &str, setup: &str) -> String {
        let lines = [
            "v=0".to_owned(),
            format!("o=- {} 2 IN IP4 127.0.0.1", self.session),
            "s=-".to_owned(),
            "t=0 0".to_owned(),
            "a=group:BUNDLE 0".to_owned(),
            "a=extmap-allow-mixed".to_owned(),
            "a=msid-semantic: WMS".to_owned(),
            "m=application 9 UDP/DTLS/SCTP webrtc-datachannel".to_owned(),
            "c=IN IP4 0.0.0.0".to_owned(),
            format!("a=ice-ufrag:{}", self.ufrag),
            format!("a=ice-pwd:{}", self.password),
            "a=ice-options:trickle".to_owned(),
            format!("a=fingerprint:sha-256 {}", self.fingerprint),
            format!("a=setup:{setup}"),
            "a=mid:0".to_owned(),
            "a=sctp-port:5000".to_owned(),
            "a=max-message-size:262144".to_owned(),
        ];
        let sdp: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
        serde_json::json!({ "description": { "type": kind, "sdp": sdp } }).to_string()
    }
}

/// `N` random characters of those that ICE allows (RFC 8839 §5.4).
fn ice_text<const N: usize>() -> String {
    const ICE_CHARS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    random_bytes::<N>()
        .iter()
        .filter_map(|byte| ICE_CHARS.get(usize::from(byte % 64)))
        .copied()
        .map(char::from)
        .collect()
}
