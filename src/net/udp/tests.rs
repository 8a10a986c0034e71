//! A real port on loopback, asked by real sockets; and a socket that brings what the test wants.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail by panic")]

use std::collections::VecDeque;
use std::future::poll_fn;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::pin::pin;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use proptest::prelude::*;
use stun_types::attribute::{AttributeType, RawAttribute, XorMappedAddress};
use stun_types::message::{
    BINDING, Message, MessageClass, MessageType, MessageWrite, MessageWriteExt, MessageWriteVec,
};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::limits::STUN_ADDRESS_RATE;
use super::stun::{STUN_ANSWER_BYTES_MAX, STUN_REQUEST_BYTES_MAX, mapped_address, request};
use super::swap::Swap;
use super::twin::Twin;
use super::*;
use crate::net::hub::script::{DEADLINE, Script};

/// A port whose owner takes what comes and does nothing with it, as quinn would with noise.
struct Listening {
    address: SocketAddr,
    hub: Arc<Hub>,
    /// What was left for quinn.
    rest: Arc<Mutex<Vec<u8>>>,
    task: JoinHandle<()>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn listen(address: &str, stun: bool) -> Listening {
    let socket = UdpSocket::bind(address).unwrap();
    socket.set_nonblocking(true).unwrap();
    let (hub, _script) = Script::hub();
    let port = Port::new(socket, stun, hub.clone()).unwrap();
    let (address, rest) = (port.local_addr().unwrap(), Arc::<Mutex<Vec<u8>>>::default());
    assert_eq!(port.stun_ports(), if stun { vec![address.port()] } else { Vec::new() });
    let left = rest.clone();
    let task = tokio::spawn(async move {
        loop {
            let (mut buf, mut meta) = ([0; 65_536], [RecvMeta::default()]);
            poll_fn(|cx| port.poll_recv(cx, &mut [IoSliceMut::new(&mut buf)], &mut meta)).await.unwrap();
            left.lock().unwrap().extend_from_slice(&buf[..meta[0].len]);
        }
    });
    Listening { address, hub, rest, task }
}

fn loopback(address: SocketAddr) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, address.port()).into()
}

/// A client on loopback that never hears of anybody but `server`.
async fn client(server: SocketAddr) -> tokio::net::UdpSocket {
    let socket = tokio::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    socket.connect(server).await.unwrap();
    socket
}

async fn heard(socket: &tokio::net::UdpSocket) -> Vec<u8> {
    let mut buf = [0; 2_048];
    let length = timeout(DEADLINE, socket.recv(&mut buf)).await.unwrap().unwrap();
    buf[..length].to_vec()
}

/// A request with an attribute, by hand: the library refuses to make unsound ones.
fn with_attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut attribute = [kind.to_be_bytes(), u16::try_from(value.len()).unwrap().to_be_bytes()].concat();
    attribute.extend(value);
    attribute.resize(attribute.len().next_multiple_of(4), 0);
    let mut bytes = [request(5.into()), attribute].concat();
    let length = u16::try_from(bytes.len() - 20).unwrap();
    bytes[2..4].copy_from_slice(&length.to_be_bytes());
    bytes
}

/// Sends what must get no answer, then what must: so it is seen that there was none.
async fn unanswered(listening: &Listening, datagram: &[u8]) {
    let server = loopback(listening.address);
    let socket = client(server).await;
    socket.send(datagram).await.unwrap();
    socket.send(&request(7.into())).await.unwrap();
    assert_eq!(mapped_address(&heard(&socket).await, 7.into()), Some(socket.local_addr().unwrap()), "{datagram:x?}");
}

#[tokio::test]
async fn who_asks_is_told_where_it_is_seen_over_ipv4_and_over_ipv6() {
    // A socket for both shows IPv4 addresses inside IPv6.
    let both = listen("[::]:0", true);
    assert_eq!(ask(loopback(both.address)).await.map(|seen| seen.ip()), Ok(Ipv4Addr::LOCALHOST.into()));
    let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, both.address.port()));
    assert_eq!(ask(v6).await.map(|seen| seen.ip()), Ok(Ipv6Addr::LOCALHOST.into()));
    let socket = client(loopback(both.address)).await;
    let request = request(0x0102_0304_0506_0708_090a_0b0c.into());
    socket.send(&request).await.unwrap();
    let answer = heard(&socket).await;
    assert_eq!((request.len(), answer.len()), (20, 32));
    let seen = mapped_address(&answer, 0x0102_0304_0506_0708_090a_0b0c.into());
    assert_eq!(seen, Some(socket.local_addr().unwrap()), "with the port");
    assert_eq!(both.hub.counts().stun_answered.total(), 3);
    assert!(both.rest.lock().unwrap().is_empty(), "quinn hears nothing of it");
    // Over IPv6 it is the longest.
    let socket = tokio::net::UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).await.unwrap();
    socket.send_to(&request, v6).await.unwrap();
    assert_eq!(heard(&socket).await.len(), STUN_ANSWER_BYTES_MAX);
}

#[tokio::test]
async fn the_library_reads_addresses_as_the_standard_has_them() {
    // RFC 5769 §2.2 and §2.3, of which only the mapped address is kept: the sample responses' transaction and value.
    let transaction = 0xb7e7_a701_bc34_d686_fa87_dfae_u128;
    for (value, address) in [
        (vec![0, 1, 0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43], "192.0.2.1:32853"),
        (
            [&[0, 2, 0xa1, 0x47][..], &0x0113_a9fa_a5d3_f179_bc25_f4b5_bed2_b9d9_u128.to_be_bytes()].concat(),
            "[2001:db8:1234:5678:11:2233:4455:6677]:32853",
        ),
    ] {
        let kind = MessageType::from_class_method(MessageClass::Success, BINDING);
        let mut message = Message::builder(kind, transaction.into(), MessageWriteVec::new());
        message.add_attribute(&RawAttribute::new(AttributeType::new(0x0020), &value)).unwrap();
        let bytes = message.finish();
        assert_eq!(mapped_address(&bytes, transaction.into()), Some(address.parse().unwrap()));
        assert_eq!(mapped_address(&bytes, 1.into()), None, "of another request");
    }
}

#[tokio::test]
async fn nothing_but_a_binding_request_with_the_cookie_and_its_true_length_gets_an_answer() {
    let listening = listen("127.0.0.1:0", true);
    let good = request(5.into());
    let changed = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    let answer = {
        let success = MessageType::from_class_method(MessageClass::Success, BINDING);
        let mut message = Message::builder(success, 5.into(), MessageWriteVec::new());
        message.add_attribute(&XorMappedAddress::new(listening.address, 5.into())).unwrap();
        message.finish()
    };
    let cases = [
        changed(4, 0x20),
        changed(3, 4),
        good[..19].to_vec(),
        [&good[..], &[0; 4]].concat(),
        answer,
        // An indication; a request to allocate (TURN).
        changed(1, 0x11),
        changed(1, 3),
        // CHANGE-REQUEST: it asks to be answered elsewhere. USERNAME: it wants to be known.
        with_attribute(0x0003, &[0, 0, 0, 6]),
        with_attribute(0x0006, b"name"),
        // A fingerprint that is wrong.
        with_attribute(0x8028, &[1, 2, 3, 4]),
        with_attribute(0x8022, &[b'x'; STUN_REQUEST_BYTES_MAX]),
        vec![0],
        vec![1; 1_200],
        b"\x16\xfe\xfdDTLS".to_vec(),
        vec![63],
    ];
    for (number, datagram) in cases.iter().enumerate() {
        unanswered(&listening, datagram).await;
        let counts = listening.hub.counts();
        let told = u64::try_from(number).unwrap() + 1;
        assert_eq!((counts.datagrams_dropped.total(), counts.stun_answered.total()), (told, told), "{datagram:x?}");
    }
    assert!(listening.rest.lock().unwrap().is_empty());
    // SOFTWARE and other hints may be passed over.
    let socket = client(listening.address).await;
    socket.send(&with_attribute(0x8022, b"browser")).await.unwrap();
    assert!(mapped_address(&heard(&socket).await, 5.into()).is_some());
    // And a fingerprint may be right.
    let mut message = Message::builder_request(BINDING, MessageWriteVec::new());
    message.add_fingerprint().unwrap();
    let fingerprinted = message.finish();
    let transaction = Message::from_bytes(&fingerprinted).unwrap().transaction_id();
    socket.send(&fingerprinted).await.unwrap();
    assert!(mapped_address(&heard(&socket).await, transaction).is_some());
}

proptest! {
    #[test]
    fn no_bytes_whatever_upset_the_server_or_the_asker(
        first in 0_u8..=3,
        kind in 0_u8..=3,
        body in proptest::collection::vec(any::<u8>(), 0..80),
        attribute in prop::sample::select(vec![0x0001_u16, 0x0008, 0x001c, 0x0020, 0x8022, 0x8028]),
        length in 0_u16..40,
    ) {
        let from = "192.0.2.1:4000".parse().unwrap();
        let mut bytes = [&[first, kind, 0, 0, 0x21, 0x12, 0xa4, 0x42][..], &[7; 12]].concat();
        bytes.extend([attribute.to_be_bytes(), length.to_be_bytes()].concat());
        bytes.extend(body);
        let stated = u16::try_from(bytes.len() - 20).unwrap();
        bytes[2..4].copy_from_slice(&stated.to_be_bytes());
        // An answer is never longer than stated.
        if let Answer::Yes(answer) = Server::default().answer(&bytes, from) {
            prop_assert!(answer.len() <= STUN_ANSWER_BYTES_MAX);
        }
        let _ = mapped_address(&bytes, 7.into());
        let cut = &bytes[..usize::from(length).min(bytes.len())];
        let _ = Server::default().answer(cut, from);
    }
}

#[tokio::test]
async fn one_sender_gets_only_so_many_answers() {
    let listening = listen("127.0.0.1:0", true);
    let socket = client(listening.address).await;
    let burst = u64::from(STUN_ADDRESS_RATE.burst);
    let asked = 3 * burst;
    for number in 0..asked {
        socket.send(&request(u128::from(number).into())).await.unwrap();
        tokio::task::yield_now().await;
    }
    let counts = listening.hub.counts();
    let handled = async {
        while counts.stun_answered.total() + counts.stun_refused.total() < asked {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(DEADLINE, handled).await.unwrap();
    let answered = counts.stun_answered.total();
    // A slow machine lets time pass, and answers with it.
    assert!(answered >= burst && counts.stun_refused.total() > 0, "{answered}");
    for _ in 0..answered {
        assert_eq!(heard(&socket).await.len(), 32);
    }
}

#[tokio::test]
async fn where_stun_is_off_there_is_no_answer_and_the_asker_is_told_so() {
    let off = listen("127.0.0.1:0", false);
    let problem = ask(off.address).await.unwrap_err();
    assert!(problem.contains("does not answer"), "{problem}");
    assert_eq!(off.hub.counts().datagrams_dropped.total(), 3, "it was asked three times");
    let closed = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert!(ask(closed).await.is_err());
}

#[tokio::test]
async fn a_port_that_is_closed_when_it_is_asked_first_is_asked_again() {
    let address = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut asking = pin!(ask(address));
    let at_first = timeout(Duration::from_millis(100), &mut asking).await;
    assert!(at_first.is_err(), "it was refused, and waits");
    let _open = listen(&address.to_string(), true);
    assert!(asking.await.is_ok());
}

/// A socket that brings given buffers once and keeps what is sent.
#[derive(Debug, Default)]
struct Given {
    buffers: Mutex<VecDeque<(Vec<u8>, RecvMeta)>>,
    /// Outlives the socket.
    sent: Arc<Mutex<Vec<Sent>>>,
    /// How many segments it takes at once.
    segments: AtomicUsize,
}

/// Where to, from which address of ours, and what.
type Sent = (SocketAddr, Option<std::net::IpAddr>, Vec<u8>);

impl AsyncUdpSocket for Given {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        unreachable!("nothing waits to send")
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.sent.lock().unwrap().push((transmit.destination, transmit.src_ip, transmit.contents.to_vec()));
        Ok(())
    }

    fn poll_recv(
        &self,
        _: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let Some((bytes, came)) = self.buffers.lock().unwrap().pop_front() else { return Poll::Pending };
        bufs[0][..bytes.len()].copy_from_slice(&bytes);
        meta[0] = came;
        Poll::Ready(Ok(1))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, 9)))
    }

    fn max_transmit_segments(&self) -> usize {
        self.segments.load(Ordering::Relaxed)
    }
}

#[tokio::test]
async fn a_card_that_turns_out_to_cut_nothing_into_segments_is_given_no_more_large_packets() {
    let given = Arc::new(Given { segments: 64.into(), ..Given::default() });
    let swap = Swap::new(given.clone()).unwrap();
    assert_eq!(swap.max_transmit_segments(), 64);
    given.segments.store(1, Ordering::Relaxed);
    assert_eq!(swap.max_transmit_segments(), 1);
    drop(given);
    swap.take().await.unwrap();
    assert_eq!(swap.max_transmit_segments(), 1, "what is sent now is lost anyway");
    swap.put(Arc::new(Given { segments: 32.into(), ..Given::default() }));
    assert_eq!(swap.max_transmit_segments(), 32);
}

#[tokio::test]
async fn a_request_between_quic_packets_is_answered_from_the_address_that_was_asked() {
    let (given, (hub, _script)) = (Arc::new(Given::default()), Script::hub());
    // As the kernel joins datagrams of one sender and one length.
    let quic = |byte: u8| [vec![byte; 20]].concat();
    let bytes = [quic(0x41), request(3.into()), quic(0xc2), vec![0x43; 5]].concat();
    let (from, asked) = ("198.51.100.7:4000".parse().unwrap(), "192.0.2.1".parse().ok());
    let meta = RecvMeta { addr: from, len: bytes.len(), stride: 20, ecn: None, dst_ip: asked };
    given.buffers.lock().unwrap().push_back((bytes, meta));
    let port = Port::around(given.clone(), true, hub);
    let (mut buf, mut metas) = ([0; 256], [RecvMeta::default()]);
    let received = poll_fn(|cx| port.poll_recv(cx, &mut [IoSliceMut::new(&mut buf)], &mut metas)).await.unwrap();
    assert_eq!((received, metas[0].len, metas[0].stride), (1, 45, 20));
    assert_eq!(buf[..45], [quic(0x41), quic(0xc2), vec![0x43; 5]].concat());
    let sent = given.sent.lock().unwrap();
    assert_eq!((sent.len(), sent[0].0, sent[0].1), (1, from, asked));
    assert_eq!(mapped_address(&sent[0].2, 3.into()), Some(from));
}

#[tokio::test]
async fn nothing_is_sent_from_an_address_that_is_gone_until_it_is_back() {
    let given = Arc::new(Given::default());
    let port = Port::around(given.clone(), true, Script::hub().0);
    let sends = |from: Option<&str>| {
        let destination = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
        let src_ip = from.map(|ip| ip.parse().unwrap());
        port.try_send(&Transmit { destination, ecn: None, contents: b"x", segment_size: None, src_ip }).unwrap();
        !std::mem::take(&mut *given.sent.lock().unwrap()).is_empty()
    };
    let moved = |all: &[&str]| port.moved(&all.iter().map(|ip| ip.parse().unwrap()).collect());
    assert!(sends(Some("192.0.2.1")), "nothing is known yet");
    moved(&["192.0.2.1", "2001:db8::1"]);
    assert!(sends(Some("192.0.2.1")) && sends(Some("2001:db8::1")));
    moved(&["192.0.2.2"]);
    assert!(!sends(Some("192.0.2.1")) && !sends(Some("::ffff:192.0.2.1")) && !sends(Some("2001:db8::1")));
    assert!(sends(None) && sends(Some("192.0.2.2")) && sends(Some("192.0.2.3")), "a new one may not be known yet");
    moved(&["192.0.2.1", "192.0.2.2"]);
    assert!(sends(Some("::ffff:192.0.2.1")) && !sends(Some("2001:db8::1")));
    for number in 0..=u8::MAX {
        moved(&[&format!("192.0.2.{number}"), &format!("198.51.100.{number}")]);
    }
    assert!(port.here.known.lock().unwrap().1.len() <= GONE_MAX);
}

#[tokio::test]
async fn a_reader_hears_of_the_socket_that_is_put_in_place_of_another_and_senders_never_wait_in_between() {
    // These sockets wake nobody.
    let (first, second) = (Arc::new(Given::default()), Arc::new(Given::default()));
    let sent = [first.sent.clone(), second.sent.clone()];
    // Nobody else holds it, or it could not be taken away.
    let swap = Swap::new(first).unwrap();
    let reading = swap.clone();
    let reader = tokio::spawn(async move {
        let (mut buf, mut meta) = ([0; 16], [RecvMeta::default()]);
        poll_fn(|cx| reading.poll_recv(cx, &mut [IoSliceMut::new(&mut buf)], &mut meta)).await.unwrap();
        buf[..meta[0].len].to_vec()
    });
    tokio::task::yield_now().await;
    let transmit = |contents| Transmit {
        destination: SocketAddr::from((Ipv4Addr::LOCALHOST, 9)),
        ecn: None,
        contents,
        segment_size: None,
        src_ip: None,
    };
    swap.try_send(&transmit(b"one")).unwrap();
    swap.take().await.unwrap();
    swap.try_send(&transmit(b"lost")).unwrap();
    let mut poller = swap.clone().create_io_poller();
    poll_fn(|cx| poller.as_mut().poll_writable(cx)).await.unwrap();
    let meta = RecvMeta { len: 3, stride: 3, ..RecvMeta::default() };
    second.buffers.lock().unwrap().push_back((b"new".to_vec(), meta));
    swap.put(second.clone());
    assert_eq!(timeout(DEADLINE, reader).await.unwrap().unwrap(), b"new");
    swap.try_send(&transmit(b"two")).unwrap();
    for (sent, expected) in sent.iter().zip(["one", "two"]) {
        let contents: Vec<_> = sent.lock().unwrap().iter().map(|(_, _, contents)| contents.clone()).collect();
        assert_eq!(contents, [expected.as_bytes()]);
    }
}

#[tokio::test]
async fn two_sockets_look_like_one_for_both_families() {
    let (v4, v6) = (Arc::new(Given::default()), Arc::new(Given::default()));
    let twin = Twin::new(v4.clone(), v6.clone());
    for (to, socket, expected) in [
        ("[::ffff:192.0.2.1]:1", &v4, "192.0.2.1:1"),
        ("192.0.2.2:2", &v4, "192.0.2.2:2"),
        ("[2001:db8::1]:3", &v6, "[2001:db8::1]:3"),
    ] {
        let destination = to.parse().unwrap();
        twin.try_send(&Transmit { destination, ecn: None, contents: b"x", segment_size: None, src_ip: None }).unwrap();
        assert_eq!(socket.sent.lock().unwrap().last().unwrap().0, expected.parse().unwrap());
    }
    // They take turns, and quinn is shown IPv4 inside IPv6.
    for (socket, from) in [(&v4, "192.0.2.9:9"), (&v6, "[2001:db8::9]:9")] {
        let meta = RecvMeta { addr: from.parse().unwrap(), len: 1, stride: 1, ..RecvMeta::default() };
        socket.buffers.lock().unwrap().extend([(b"y".to_vec(), meta), (b"y".to_vec(), meta)]);
    }
    let mut seen = Vec::new();
    for _ in 0..4 {
        let (mut buf, mut meta) = ([0; 16], [RecvMeta::default()]);
        poll_fn(|cx| twin.poll_recv(cx, &mut [IoSliceMut::new(&mut buf)], &mut meta)).await.unwrap();
        seen.push(meta[0].addr.to_string());
    }
    assert_eq!(seen, ["[::ffff:192.0.2.9]:9", "[2001:db8::9]:9"].repeat(2));
}
