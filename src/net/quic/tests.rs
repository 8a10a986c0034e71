//! Two real sockets on loopback, each with a scripted machine behind it; and strangers who keep to no protocol.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail by panic")]

use std::sync::atomic::{AtomicUsize, Ordering};

use aldis_wire::codec::frame;
use aldis_wire::host::Channel;
use aldis_wire::limits::{FRAME_BEFORE_ADMISSION_BYTES, FRAME_BYTES, LANES};
use bytes::Bytes;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{RecvStream, SendStream, TransportConfig};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::time::timeout;

use super::*;
use crate::net::hub::script::{DEADLINE, Script};
use crate::net::udp::Port;
use crate::relay::io::{LinkKey, Output};

const ALPN: &[u8] = b"aldis/1/0011223344556677";
const OTHER_ALPN: &[u8] = b"aldis/2/0011223344556677";

/// A socket with a scripted machine.
struct Side {
    quic: Quic,
    port: Arc<Port>,
    hub: Arc<Hub>,
    script: Script,
    id: HostId,
    address: SocketAddr,
}

impl Side {
    fn new(seed: u8) -> Self {
        let key = SigningKey::from_bytes(&[seed; 32]);
        Self::with_tls(Tls::new(&key, ALPN.to_vec()).unwrap(), &key)
    }

    fn with_tls(tls: Tls, key: &SigningKey) -> Self {
        Self::listening("127.0.0.1:0", tls, key)
    }

    fn listening(at: &str, tls: Tls, key: &SigningKey) -> Self {
        let (hub, script) = Script::hub();
        let (socket, address) = Quic::socket(at.parse().unwrap()).unwrap();
        let port = Port::new(socket, true, hub.clone()).unwrap();
        let quic = Quic::with_tls(port.clone(), tls, hub.clone()).unwrap();
        let accepting = quic.clone();
        tokio::spawn(async move { accepting.run().await });
        Self { quic, port, hub, script, id: HostId::new(key.verifying_key().to_bytes()), address }
    }

    fn says(&self, outputs: impl IntoIterator<Item = Output>) {
        self.script.says(&self.hub, outputs);
    }

    async fn opened(&self) -> Opened {
        self.script
            .next(|input| match input {
                Input::LinkOpened { link, host, role, dial, address, exporter, .. } => {
                    Some(Opened { link, host, role, dial, address, exporter })
                }
                _ => None,
            })
            .await
    }

    async fn received(&self, link: LinkKey) -> (Channel, u8, Bytes) {
        self.script
            .next(|input| match input {
                Input::LinkReceived { link: by, channel, kind, body } if by == link => Some((channel, kind, body)),
                _ => None,
            })
            .await
    }

    async fn closed(&self, link: LinkKey) -> String {
        self.script
            .next(|input| match input {
                Input::LinkClosed { link: which, reason } if which == link => Some(reason),
                _ => None,
            })
            .await
    }

    async fn dial_failed(&self) -> (DialKey, DialFailure) {
        self.script
            .next(|input| match input {
                Input::DialFailed { dial, failure } => Some((dial, failure)),
                _ => None,
            })
            .await
    }

    /// Which link is stranded, or none of them for so many measurements.
    async fn stranded(&self, measurements: usize) -> Option<LinkKey> {
        for _ in 0..measurements {
            let stranded = self.script.next(|input| match input {
                Input::LinkStranded { link } => Some(Some(link)),
                Input::LinkMeasured { .. } => Some(None),
                _ => None,
            });
            if let Some(link) = stranded.await {
                return Some(link);
            }
        }
        None
    }

    /// Waits for a condition on the counts.
    async fn counted(&self, met: impl Fn(&crate::net::hub::Counts) -> bool) {
        let waiting = async {
            while !met(self.hub.counts()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(DEADLINE, waiting).await.expect("the count was never reached");
    }
}

struct Opened {
    link: LinkKey,
    host: HostId,
    role: Role,
    dial: Option<DialKey>,
    address: SocketAddr,
    exporter: [u8; 32],
}

/// Two sides, linked; the first one dialled.
async fn linked() -> (Side, Side, Opened, Opened) {
    let (a, b) = (Side::new(1), Side::new(2));
    a.quic.dial(DialKey(7), b.address, Some(b.id));
    let (at_a, at_b) = (a.opened().await, b.opened().await);
    (a, b, at_a, at_b)
}

/// Two sides that admit each other.
async fn admitted() -> (Side, Side, LinkKey, LinkKey) {
    let (a, b, at_a, at_b) = linked().await;
    a.says([send(at_a.link, Channel::Control, 1, &[]), Output::WidenLink { link: at_a.link }]);
    b.says([Output::WidenLink { link: at_b.link }]);
    b.received(at_b.link).await;
    (a, b, at_a.link, at_b.link)
}

fn send(link: LinkKey, channel: Channel, kind: u8, body: &[u8]) -> Output {
    Output::Send { link, channel, frame: frame(kind, body).unwrap() }
}

/// A stranger with a key, who can do on a connection whatever he likes.
async fn stranger(to: &Side) -> (Endpoint, quinn::Connection) {
    let tls = Tls::new(&SigningKey::from_bytes(&[66; 32]), ALPN.to_vec()).unwrap();
    let connected = connect(to, tls.dialler(None).unwrap()).await;
    (connected.0, connected.1.unwrap())
}

async fn connect(to: &Side, crypto: QuicClientConfig) -> (Endpoint, Result<quinn::Connection, ConnectionError>) {
    let endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let config = ClientConfig::new(Arc::new(crypto));
    let connecting = endpoint.connect_with(config, to.address, tls::server_name()).unwrap();
    let connected = timeout(DEADLINE, connecting).await.unwrap();
    (endpoint, connected)
}

fn assert_closed_as(error: &ConnectionError, reason: GoodbyeReason) {
    match error {
        ConnectionError::ApplicationClosed(close) => assert_eq!(close.error_code, code(reason), "{close}"),
        other => panic!("not closed by the other side: {other}"),
    }
}

#[tokio::test]
async fn both_ends_know_each_others_key_and_share_a_secret_that_holds_against_quantum_computers() {
    let (a, b, at_a, at_b) = linked().await;
    assert_eq!((at_a.host, at_a.role, at_a.dial, at_a.address), (b.id, Role::Dialler, Some(DialKey(7)), b.address));
    assert_eq!((at_b.host, at_b.role, at_b.dial, at_b.address), (a.id, Role::Acceptor, None, a.address));
    assert_eq!(at_a.exporter, at_b.exporter);
    assert_ne!(at_a.exporter, [0; 32]);
    assert_eq!(a.hub.key_exchange(at_a.link), Some("X25519MLKEM768"));
    assert_eq!(b.hub.key_exchange(at_b.link), Some("X25519MLKEM768"));
    // Another connection of the same two has another secret.
    a.quic.dial(DialKey(8), b.address, None);
    assert_ne!(a.opened().await.exporter, at_a.exporter);
}

#[tokio::test]
async fn a_host_at_all_addresses_is_dialled_and_dials_by_both_families_and_shows_plain_addresses() {
    let key = SigningKey::from_bytes(&[1; 32]);
    let both = Side::listening("[::]:0", Tls::new(&key, ALPN.to_vec()).unwrap(), &key);
    for (seed, ip) in [(2, "127.0.0.1"), (3, "::1")] {
        let key = SigningKey::from_bytes(&[seed; 32]);
        let ip: IpAddr = ip.parse().unwrap();
        let at = SocketAddr::new(ip, 0).to_string();
        let other = Side::listening(&at, Tls::new(&key, ALPN.to_vec()).unwrap(), &key);
        let here = SocketAddr::new(ip, both.address.port());
        other.quic.dial(DialKey(1), here, Some(both.id));
        assert_eq!((other.opened().await.address, both.opened().await.address), (here, other.address));
        both.quic.dial(DialKey(2), other.address, Some(other.id));
        assert_eq!((both.opened().await.address, other.opened().await.address), (other.address, here));
    }
}

#[tokio::test]
async fn when_we_move_the_machine_is_told_which_links_lead_to_us_no_more() {
    let (a, b, at_a, at_b) = linked().await;
    let [here, elsewhere] = ["127.0.0.1", "127.0.0.9"].map(|ip| BTreeSet::from([ip.parse().unwrap()]));
    b.quic.moved(&here);
    assert_eq!(b.stranded(3).await, None, "it came to an address that is here, and is answered");
    b.quic.moved(&elsewhere);
    assert_eq!(b.stranded(2).await, Some(at_b.link), "it came to an address that is gone");
    a.quic.moved(&elsewhere);
    assert_eq!(a.stranded(3).await, None, "what we dialled leaves by any address");
    // From an address that is gone nothing goes out.
    b.port.moved(&here);
    b.port.moved(&elsewhere);
    a.quic.moved(&elsewhere);
    assert_eq!(a.stranded(4).await, Some(at_a.link), "nobody answers");
}

#[tokio::test]
async fn a_dial_to_where_no_way_leads_fails_at_once() {
    let host = Side::new(1);
    // Nothing says on which link it is.
    host.quic.dial(DialKey(4), "[fe80::1]:4000".parse().unwrap(), None);
    let (dial, failure) = host.dial_failed().await;
    assert_eq!(dial, DialKey(4));
    assert!(matches!(failure, DialFailure::Failed(_)), "{failure:?}");
}

#[tokio::test]
async fn hello_goes_both_ways_before_anybody_is_admitted() {
    let (a, b, at_a, at_b) = linked().await;
    let hello = vec![5; FRAME_BEFORE_ADMISSION_BYTES];
    a.says([send(at_a.link, Channel::Control, 1, &hello)]);
    assert_eq!(b.received(at_b.link).await, (Channel::Control, 1, hello.clone().into()));
    b.says([send(at_b.link, Channel::Control, 1, &hello)]);
    assert_eq!(a.received(at_a.link).await, (Channel::Control, 1, hello.into()));
}

#[tokio::test]
async fn an_admitted_pair_uses_every_channel_both_ways_and_keeps_the_order_on_each() {
    let (a, b, at_a, at_b) = admitted().await;
    let channels = [Channel::Control, Channel::Announce, Channel::Sync, Channel::Lane(0), Channel::Lane(3)];
    // What admitting took has been sent already, and is told as well.
    for (from, to, from_link, to_link, mut sent) in [(&a, &b, at_a, at_b, 4), (&b, &a, at_b, at_a, 0)] {
        for n in 0..100_usize {
            let size = [0, 10, 1_000, FRAME_BYTES].get(n % 4).copied().unwrap();
            for channel in channels {
                sent += size + 4;
                from.says([send(from_link, channel, u8::try_from(n).unwrap(), &vec![9; size])]);
            }
        }
        let mut next = [0_u8; 256];
        for _ in 0..100 * channels.len() {
            let (channel, kind, body) = to.received(to_link).await;
            let expected = next.get_mut(usize::from(channel.number())).unwrap();
            assert_eq!(kind, *expected, "order on {channel:?}");
            assert!(body.iter().all(|byte| *byte == 9));
            *expected += 1;
        }
        while sent > 0 {
            sent -= from
                .script
                .next(|input| match input {
                    Input::LinkSent { link, bytes, .. } if link == from_link => Some(bytes),
                    _ => None,
                })
                .await;
        }
    }
}

#[tokio::test]
async fn no_packet_of_a_link_is_taken_for_something_else() {
    let (a, b, at_a, at_b) = admitted().await;
    for (from, to, from_link, to_link) in [(&a, &b, at_a, at_b), (&b, &a, at_b, at_a)] {
        for _ in 0..200 {
            // A packet each.
            from.says([send(from_link, Channel::Lane(0), 1, &[7; 100])]);
            to.received(to_link).await;
        }
    }
    for side in [&a, &b] {
        assert_eq!(side.hub.counts().datagrams_dropped.total(), 0);
    }
}

#[tokio::test]
async fn a_large_frame_right_behind_the_one_that_admits_its_sender_is_taken() {
    let (a, b, at_a, at_b) = linked().await;
    b.script.answers(move |input, out| {
        if matches!(input, Input::LinkReceived { kind: 1, .. }) {
            out.push(Output::WidenLink { link: at_b.link });
        }
    });
    let large = vec![3; FRAME_BYTES];
    a.says([send(at_a.link, Channel::Control, 1, &[]), send(at_a.link, Channel::Control, 2, &large)]);
    assert_eq!(b.received(at_b.link).await.1, 1);
    assert_eq!(b.received(at_b.link).await.2, large);
}

#[tokio::test]
async fn what_was_said_before_the_end_arrives_and_the_reason_with_it() {
    let (a, b, at_a, at_b) = admitted().await;
    a.says((0..50).map(|n| send(at_a, Channel::Lane(2), n, &[0; 60_000])));
    a.says([Output::CloseLink { link: at_a, reason: GoodbyeReason::Closing }]);
    for n in 0..50 {
        assert_eq!(b.received(at_b).await.1, n);
    }
    assert!(b.closed(at_b).await.contains("shutting down"));
    assert!(!a.script.rest().iter().any(|input| matches!(input, Input::LinkClosed { .. })), "the machine closed it");
    timeout(DEADLINE, a.quic.endpoint.wait_idle()).await.expect("the connection stays");
}

#[tokio::test]
async fn on_a_connection_that_lost_to_another_what_the_other_side_still_says_is_read() {
    let (a, b, at_a, at_b) = admitted().await;
    a.says([Output::CloseLink { link: at_a, reason: GoodbyeReason::Crossed }]);
    b.says([send(at_b, Channel::Lane(0), 77, b"late")]);
    assert_eq!(a.received(at_a).await.1, 77);
    b.says([Output::CloseLink { link: at_b, reason: GoodbyeReason::Crossed }]);
    timeout(DEADLINE, a.quic.endpoint.wait_idle()).await.expect("the connection stays");
}

#[tokio::test]
async fn a_host_of_another_network_or_version_is_refused_in_the_handshake() {
    let key = SigningKey::from_bytes(&[3; 32]);
    let (ours, theirs) = (Side::new(1), Side::with_tls(Tls::new(&key, OTHER_ALPN.to_vec()).unwrap(), &key));
    theirs.quic.dial(DialKey(1), ours.address, None);
    assert_eq!(theirs.dial_failed().await, (DialKey(1), DialFailure::OtherNetwork));
    ours.counted(|counts| counts.handshakes_of_other_networks.total() == 1).await;
    assert!(ours.script.rest().is_empty(), "the machine never hears of it");
}

#[tokio::test]
async fn a_dial_that_finds_another_host_than_expected_fails() {
    let (a, b) = (Side::new(1), Side::new(2));
    a.quic.dial(DialKey(1), b.address, Some(HostId::new([9; 32])));
    assert_eq!(a.dial_failed().await, (DialKey(1), DialFailure::OtherHost));
    assert!(a.script.rest().is_empty());
}

#[tokio::test]
async fn a_dial_to_nobody_fails_within_its_deadline() {
    let a = Side::new(1);
    let nobody = UdpSocket::bind("127.0.0.1:0").unwrap();
    let begun = Instant::now();
    a.quic.dial(DialKey(1), nobody.local_addr().unwrap(), None);
    assert_eq!(a.dial_failed().await, (DialKey(1), DialFailure::TimedOut));
    assert!(begun.elapsed() < HANDSHAKE_DEADLINE + Duration::from_secs(2));
}

#[tokio::test]
async fn a_connection_without_certificate_is_refused() {
    let side = Side::new(1);
    let mut config = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(tls::anybody())
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    refused(&side, config).await;
    side.counted(|counts| counts.handshakes_without_key.total() == 1).await;
}

#[tokio::test]
async fn a_connection_with_a_certificate_of_another_kind_of_key_is_refused() {
    let side = Side::new(1);
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let certificate = rcgen::CertificateParams::default().self_signed(&pair).unwrap().der().clone();
    let key = PrivateKeyDer::try_from(pair.serialize_der()).unwrap();
    let mut config = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(tls::anybody())
        .with_client_auth_cert(vec![certificate], key)
        .unwrap();
    config.alpn_protocols = vec![ALPN.to_vec()];
    refused(&side, config).await;
    side.counted(|counts| counts.handshakes_without_key.total() == 1).await;
}

#[tokio::test]
async fn a_certificate_of_somebody_elses_key_is_refused() {
    let side = Side::new(1);
    // The certificate is that of host 2; the stranger holds another key.
    let theirs = tls::certificate(&tls::private_key(&SigningKey::from_bytes(&[2; 32]))).unwrap();
    let own = tls::private_key(&SigningKey::from_bytes(&[66; 32]));
    let mut config = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(tls::anybody())
        .with_client_cert_resolver(Arc::new(Mismatched::new(theirs, own.into())));
    config.alpn_protocols = vec![ALPN.to_vec()];
    refused(&side, config).await;
    side.counted(|counts| counts.handshakes_failed.total() == 1).await;
}

/// The handshake must fail, on our side and then on theirs, and the machine must not hear of it.
async fn refused(side: &Side, config: rustls::ClientConfig) {
    let (_endpoint, connected) = connect(side, QuicClientConfig::try_from(config).unwrap()).await;
    // A client may believe itself connected until the refusal arrives.
    if let Ok(connection) = connected {
        let error = timeout(DEADLINE, connection.closed()).await.unwrap();
        assert!(matches!(error, ConnectionError::ConnectionClosed(_)), "{error}");
    }
    assert!(side.script.rest().is_empty());
}

#[tokio::test]
async fn dates_and_names_in_a_certificate_mean_nothing() {
    let key = SigningKey::from_bytes(&[3; 32]);
    let der = tls::private_key(&key);
    let pair = rcgen::KeyPair::from_pkcs8_der_and_sign_algo(&der, &rcgen::PKCS_ED25519).unwrap();
    let mut params = rcgen::CertificateParams::new(["elsewhere.example".to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(1990, 1, 1);
    params.not_after = rcgen::date_time_ymd(1991, 1, 1);
    let certificate = params.self_signed(&pair).unwrap().der().clone();
    let tls = Tls::with_certificate(provider(), certificate, der.into(), ALPN.to_vec()).unwrap();
    let (expired, other) = (Side::with_tls(tls, &key), Side::new(1));
    expired.quic.dial(DialKey(1), other.address, Some(other.id));
    assert_eq!(other.opened().await.host, expired.id);
    other.quic.dial(DialKey(2), expired.address, Some(expired.id));
    assert_eq!(other.opened().await.host, expired.id);
}

#[tokio::test]
async fn before_admission_there_is_one_stream_and_no_frame_beyond_the_bound() {
    let side = Side::new(1);
    let (_endpoint, connection) = stranger(&side).await;
    let opened = side.opened().await;
    let quickly = Duration::from_millis(200);
    assert!(timeout(quickly, connection.open_uni()).await.is_err(), "no unidirectional stream is allowed");
    let (mut control, _receive) = timeout(DEADLINE, connection.open_bi()).await.unwrap().unwrap();
    assert!(timeout(quickly, connection.open_bi()).await.is_err(), "no second bidirectional stream is allowed");
    let too_long = frame(1, &vec![0; FRAME_BEFORE_ADMISSION_BYTES + 1]).unwrap();
    control.write_all(too_long.get(..4).unwrap()).await.unwrap();
    assert!(side.closed(opened.link).await.contains("longer than allowed"));
    assert_closed_as(&timeout(DEADLINE, connection.closed()).await.unwrap(), GoodbyeReason::Misbehaved);
    assert_eq!(side.hub.counts().links_misframed.total(), 1);
}

#[tokio::test]
async fn a_stranger_who_is_never_admitted_cannot_go_on_talking() {
    let side = Side::new(1);
    let (_endpoint, connection) = stranger(&side).await;
    let link = side.opened().await.link;
    let (mut control, _receive) = connection.open_bi().await.unwrap();
    let piece = frame(99, &[0; 1_000]).unwrap();
    let talking = async {
        let mut said = 0;
        while control.write_all(&piece).await.is_ok() {
            said += piece.len();
        }
        said
    };
    // Besides what was read, the small window may be full, and what the stranger has sent himself.
    let said = timeout(DEADLINE, talking).await.unwrap();
    assert!(said < 32 << 10, "{said}");
    assert!(side.closed(link).await.contains("before it is admitted"));
}

#[tokio::test]
async fn garbage_on_a_channel_of_an_admitted_host_ends_the_link_with_a_reason() {
    for (bytes, says) in [
        (vec![Channel::Sync.number(), 1, 0xff, 0xff, 0xff], "longer than allowed"),
        (vec![Channel::Sync.number(), 1, 0, 0, 9, 1, 2], "inside a frame"),
    ] {
        let side = Side::new(1);
        let (_endpoint, connection) = stranger(&side).await;
        let link = side.opened().await.link;
        side.says([Output::WidenLink { link }]);
        let mut stream = timeout(DEADLINE, connection.open_uni()).await.unwrap().unwrap();
        stream.write_all(&bytes).await.unwrap();
        stream.finish().unwrap();
        let reason = side.closed(link).await;
        assert!(reason.contains(says), "{reason}");
        assert_closed_as(&timeout(DEADLINE, connection.closed()).await.unwrap(), GoodbyeReason::Misbehaved);
    }
}

#[tokio::test]
async fn a_channel_may_be_opened_once() {
    let side = Side::new(1);
    let (_endpoint, connection) = stranger(&side).await;
    let link = side.opened().await.link;
    side.says([Output::WidenLink { link }]);
    for _ in 0..2 {
        let mut stream = timeout(DEADLINE, connection.open_uni()).await.unwrap().unwrap();
        stream.write_all(&[Channel::Lane(1).number()]).await.unwrap();
        stream.finish().unwrap();
    }
    assert!(side.closed(link).await.contains("opened twice"));
}

#[tokio::test]
async fn streams_of_unknown_kinds_are_skipped_up_to_a_bound() {
    let side = Side::new(1);
    let (_endpoint, connection) = stranger(&side).await;
    let link = side.opened().await.link;
    side.says([Output::WidenLink { link }]);
    for number in [200, 3, 0] {
        let mut stream = timeout(DEADLINE, connection.open_uni()).await.unwrap().unwrap();
        stream.write_all(&[number]).await.unwrap();
        assert!(timeout(DEADLINE, stream.stopped()).await.unwrap().is_ok(), "it is told that nobody reads");
    }
    let mut known = timeout(DEADLINE, connection.open_uni()).await.unwrap().unwrap();
    known.write_all(&[Channel::Lane(0).number()]).await.unwrap();
    known.write_all(&frame(42, b"still here").unwrap()).await.unwrap();
    assert_eq!(side.received(link).await, (Channel::Lane(0), 42, Bytes::from_static(b"still here")));

    let flood = async {
        while let Ok(mut stream) = connection.open_uni().await {
            let _ = stream.write_all(&[200]).await;
        }
    };
    timeout(DEADLINE, flood).await.unwrap();
    assert!(side.closed(link).await.contains("unknown kinds"));
}

#[tokio::test]
async fn a_host_that_reads_nothing_is_cut_and_costs_no_more_than_its_queue() {
    let side = Side::new(1);
    let (_endpoint, connection) = stranger(&side).await;
    let link = side.opened().await.link;
    // Its control stream is open, so that something can be sent to it; it reads nothing.
    let (mut control, _unread) = connection.open_bi().await.unwrap();
    control.write_all(&frame(1, b"").unwrap()).await.unwrap();
    side.received(link).await;
    let piece = vec![0; 60_000];
    let filled = async {
        loop {
            side.says((0..10).map(|_| send(link, Channel::Control, 9, &piece)));
            if side.script.rest().iter().any(|input| matches!(input, Input::LinkClosed { .. })) {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    timeout(DEADLINE, filled).await.expect("it was never cut");
    assert_eq!(side.hub.counts().links_overflowed.total(), 1);
    assert_closed_as(&timeout(DEADLINE, connection.closed()).await.unwrap(), GoodbyeReason::Misbehaved);
}

/// A way to `side` on which so many bytes a second come back. What is too much is lost.
async fn narrow_way(side: &Side, bytes_a_second: u32) -> SocketAddr {
    let bind = || async { Arc::new(tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap()) };
    let (near, far) = (bind().await, bind().await);
    let (at, to) = (near.local_addr().unwrap(), side.address);
    let (back, forth) = (near.clone(), far.clone());
    let (tell, whom) = tokio::sync::watch::channel(at);
    tokio::spawn(async move {
        let mut buffer = [0; 2_048];
        while let Ok((length, from)) = near.recv_from(&mut buffer).await {
            tell.send_replace(from);
            let _ = forth.send_to(buffer.get(..length).unwrap(), to).await;
        }
    });
    tokio::spawn(async move {
        let mut buffer = [0; 2_048];
        let mut free = tokio::time::Instant::now();
        while let Ok(length) = far.recv(&mut buffer).await {
            let takes = Duration::from_secs(1) * u32::try_from(length).unwrap() / bytes_a_second;
            free = free.max(tokio::time::Instant::now()) + takes;
            tokio::time::sleep_until(free).await;
            let to = *whom.borrow();
            let _ = back.send_to(buffer.get(..length).unwrap(), to).await;
        }
    });
    at
}

/// A stranger who connects at this address and takes what `narrow` allows; his control stream is open.
async fn narrow_stranger(
    side: &Side,
    at: SocketAddr,
    mut narrow: TransportConfig,
) -> (Endpoint, quinn::Connection, (SendStream, RecvStream), LinkKey) {
    let tls = Tls::new(&SigningKey::from_bytes(&[66; 32]), ALPN.to_vec()).unwrap();
    let endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let mut config = ClientConfig::new(Arc::new(tls.dialler(None).unwrap()));
    narrow.keep_alive_interval(Some(Duration::from_secs(2)));
    config.transport_config(Arc::new(narrow));
    let connecting = endpoint.connect_with(config, at, tls::server_name()).unwrap();
    let connection = timeout(DEADLINE, connecting).await.unwrap().unwrap();
    let link = side.opened().await.link;
    let (mut control, unread) = connection.open_bi().await.unwrap();
    control.write_all(&frame(1, b"").unwrap()).await.unwrap();
    side.received(link).await;
    (endpoint, connection, (control, unread), link)
}

#[tokio::test]
async fn a_flood_of_signals_leaves_room_for_announcements_and_replies() {
    const LANE_FRAMES: usize = 8;
    const FRAME: usize = 60_000;
    let side = Side::new(1);
    let way = narrow_way(&side, 1_000_000).await;
    let (_endpoint, connection, _control, link) = narrow_stranger(&side, way, TransportConfig::default()).await;
    let lanes = (0..LANE_FRAMES).flat_map(|_| (0..LANES).map(Channel::Lane));
    side.says(lanes.map(|lane| send(link, lane, 9, &[0; FRAME])));
    side.says([Channel::Announce, Channel::Sync].map(|channel| send(link, channel, 9, &[0; FRAME])));

    // What of the signals has come when the others are whole.
    let signals = Arc::new(AtomicUsize::new(0));
    let mut reading = tokio::task::JoinSet::new();
    for _ in 0..LANES + 2 {
        let mut stream = timeout(DEADLINE, connection.accept_uni()).await.unwrap().unwrap();
        let signals = signals.clone();
        reading.spawn(async move {
            let mut number = [0; 1];
            stream.read_exact(&mut number).await.unwrap();
            let is_lane = number[0] >= 16;
            let mut left = if is_lane { LANE_FRAMES * (FRAME + 4) } else { FRAME + 4 };
            while left > 0 {
                let read = stream.read_chunk(left, true).await.unwrap().unwrap().bytes.len();
                left -= read;
                if is_lane {
                    signals.fetch_add(read, Ordering::Relaxed);
                }
            }
            (!is_lane).then(|| signals.load(Ordering::Relaxed))
        });
    }
    let read = timeout(DEADLINE, reading.join_all()).await.unwrap();
    let all = usize::from(LANES) * LANE_FRAMES * FRAME;
    for before in read.into_iter().flatten() {
        assert!(before < all * 3 / 4, "it waited until {before} of {all} bytes of signals had gone");
    }
    drop(connection);
}

#[tokio::test]
async fn a_host_that_takes_no_control_frames_is_cut_before_its_queue_is_full() {
    let side = Side::new(1);
    let mut narrow = TransportConfig::default();
    narrow.stream_receive_window(VarInt::from_u32(1_000));
    let (_endpoint, connection, _control, link) = narrow_stranger(&side, side.address, narrow).await;
    // More than the narrow window and our own buffer of sent bytes hold together.
    side.says((0..25).map(|_| send(link, Channel::Control, 9, &[0; 60_000])));
    assert!(side.closed(link).await.contains("takes no control frames"));
    assert_closed_as(&timeout(DEADLINE, connection.closed()).await.unwrap(), GoodbyeReason::Misbehaved);
}

#[tokio::test]
async fn datagrams_of_garbage_disturb_nobody() {
    let (a, b, at_a, at_b) = admitted().await;
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for n in 0..2_000_u32 {
        let bytes = blake3::hash(&n.to_be_bytes());
        socket.send_to(bytes.as_bytes().repeat(1 + n as usize % 40).as_slice(), b.address).unwrap();
    }
    a.says([send(at_a, Channel::Lane(0), 5, b"through")]);
    assert_eq!(b.received(at_b).await.1, 5);
    assert_eq!(b.hub.mailboxes(), (0, 1));
}

#[tokio::test]
async fn with_many_handshakes_under_way_others_must_prove_their_address_first() {
    let side = Side::new(1);
    let busy = u32::try_from(HANDSHAKES_UNPROVEN_MAX).unwrap();
    let _busy = side.quic.handshakes.clone().acquire_many_owned(busy).await.unwrap();
    let (_endpoint, _connection) = stranger(&side).await;
    side.opened().await;
    assert_eq!(side.hub.counts().handshakes_retried.total(), 1);
}

#[tokio::test]
async fn with_too_many_handshakes_under_way_others_are_turned_away_at_once() {
    let (side, other) = (Side::new(1), Side::new(2));
    let busy = side.quic.handshakes.clone().acquire_many_owned(u32::try_from(HANDSHAKES_MAX).unwrap()).await.unwrap();
    let begun = Instant::now();
    other.quic.dial(DialKey(1), side.address, None);
    let (_, failure) = other.dial_failed().await;
    assert!(matches!(failure, DialFailure::Failed(_)), "{failure:?}");
    assert!(begun.elapsed() < HANDSHAKE_DEADLINE);
    assert_eq!(side.hub.counts().handshakes_refused.total(), 1);
    drop(busy);
    other.quic.dial(DialKey(2), side.address, None);
    assert_eq!(other.opened().await.dial, Some(DialKey(2)));
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// Shows one key's certificate and signs with another.
#[derive(Debug)]
struct Mismatched(Arc<rustls::sign::CertifiedKey>);

impl Mismatched {
    fn new(certificate: CertificateDer<'static>, key: PrivateKeyDer<'static>) -> Self {
        let key = provider().key_provider.load_private_key(key).unwrap();
        Self(Arc::new(rustls::sign::CertifiedKey::new(vec![certificate], key)))
    }
}

impl rustls::client::ResolvesClientCert for Mismatched {
    fn resolve(
        &self,
        _hints: &[&[u8]],
        _schemes: &[rustls::SignatureScheme],
    ) -> Option<Arc<rustls::sign::CertifiedKey>> {
        Some(self.0.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}
