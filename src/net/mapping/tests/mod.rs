//! Routers that are only pretended, on loopback: each on an address of its own, for their port is fixed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail by panic"
)]

mod igd;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Mutex;

use tokio::net::UdpSocket;

use super::*;
use crate::net::hub::script::DEADLINE;

const LINKS: u16 = 47_474;

/// A router that speaks PCP, NAT-PMP, or both.
struct Pretended {
    router: Router,
    state: Arc<Mutex<State>>,
}

struct State {
    pcp: bool,
    nat_pmp: bool,
    outside: Ipv4Addr,
    epoch: u32,
    /// Added to the port that is asked for.
    shift: u16,
    lifetime: u32,
    /// By protocol number and inside port.
    mapped: BTreeMap<(u8, u16), u16>,
    asked: usize,
}

async fn pretend(last: u8, pcp: bool, nat_pmp: bool) -> Pretended {
    let address = Ipv4Addr::new(127, 5, 51, last);
    let socket = UdpSocket::bind((address, 5_351)).await.unwrap();
    let outside = Ipv4Addr::new(81, 2, 69, 142);
    let state =
        State { pcp, nat_pmp, outside, epoch: 1_000, shift: 0, lifetime: 600, mapped: BTreeMap::new(), asked: 0 };
    let state = Arc::new(Mutex::new(state));
    let answering = state.clone();
    tokio::spawn(async move {
        let mut packet = [0; 1_100];
        loop {
            let (length, from) = socket.recv_from(&mut packet).await.unwrap();
            let answer = answering.lock().unwrap().answer(&packet[..length]);
            if let Some(answer) = answer {
                socket.send_to(&answer, from).await.unwrap();
            }
        }
    });
    let router = Router { address: address.into(), zone: None, own: Ipv4Addr::LOCALHOST.into() };
    Pretended { router, state }
}

impl State {
    fn answer(&mut self, packet: &[u8]) -> Option<Vec<u8>> {
        self.asked += 1;
        self.epoch += 1;
        match packet[0] {
            2 if self.pcp => Some(self.pcp(packet)),
            // RFC 6886 §3.5: in its own version, with the code for a version that is not known.
            2 if self.nat_pmp => Some([&[0, 0x81, 0, 1], &self.epoch.to_be_bytes()[..], &[0; 16]].concat()),
            0 if self.nat_pmp => Some(self.nat_pmp(packet)),
            _ => None,
        }
    }

    fn map(&mut self, protocol: u8, inside: u16, lifetime: u32) -> (u16, u32) {
        if lifetime == 0 {
            self.mapped.remove(&(protocol, inside));
            return (0, 0);
        }
        (*self.mapped.entry((protocol, inside)).or_insert(inside + self.shift), self.lifetime)
    }

    fn pcp(&mut self, packet: &[u8]) -> Vec<u8> {
        let mut answer = packet.to_vec();
        let lifetime = u32::from_be_bytes(packet[4..8].try_into().unwrap());
        let inside = u16::from_be_bytes(packet[40..42].try_into().unwrap());
        let (outside, lifetime) = self.map(packet[36], inside, lifetime);
        (answer[1], answer[3]) = (packet[1] | 0x80, 0);
        answer[4..8].copy_from_slice(&lifetime.to_be_bytes());
        answer[8..12].copy_from_slice(&self.epoch.to_be_bytes());
        answer[12..24].fill(0);
        answer[42..44].copy_from_slice(&outside.to_be_bytes());
        answer[44..60].copy_from_slice(&self.outside.to_ipv6_mapped().octets());
        answer
    }

    fn nat_pmp(&mut self, packet: &[u8]) -> Vec<u8> {
        let head = [&[0, packet[1] | 0x80, 0, 0], &self.epoch.to_be_bytes()[..]].concat();
        if packet[1] == 0 && self.outside.is_unspecified() {
            return [&[0, 0x80, 0, 3], &self.epoch.to_be_bytes()[..], &[0; 4]].concat();
        }
        if packet[1] == 0 {
            return [&head[..], &self.outside.octets()].concat();
        }
        let inside = u16::from_be_bytes(packet[4..6].try_into().unwrap());
        let lifetime = u32::from_be_bytes(packet[8..12].try_into().unwrap());
        let protocol = if packet[1] == 1 { 17 } else { 6 };
        let (outside, lifetime) = self.map(protocol, inside, lifetime);
        [&head[..], &packet[4..6], &outside.to_be_bytes(), &lifetime.to_be_bytes()].concat()
    }
}

/// A mapper at work.
struct Working {
    facts: watch::Receiver<MappingFacts>,
    target: watch::Sender<Target>,
    again: Arc<Notify>,
    stop: watch::Sender<bool>,
    running: tokio::task::JoinHandle<()>,
}

fn work(target: Target, wishes: Vec<Wish>) -> Working {
    let (target, targets) = watch::channel(target);
    let (stop, stopped) = watch::channel(false);
    let again = Arc::new(Notify::new());
    let (mapper, facts) = Mapper::new(wishes, targets, again.clone());
    Working { facts, target, again, stop, running: tokio::spawn(mapper.run(stopped)) }
}

impl Working {
    async fn until(&mut self, met: impl Fn(&MappingFacts) -> bool) -> MappingFacts {
        let found = timeout(DEADLINE, self.facts.wait_for(met)).await.expect("it never came to that");
        found.unwrap().clone()
    }

    async fn end(self) {
        self.stop.send_replace(true);
        timeout(DEADLINE, self.running).await.expect("it does not end").unwrap();
    }
}

fn wish(of: Mapped, port: u16) -> Wish {
    Wish { of, port: NonZeroU16::new(port).unwrap() }
}

fn links() -> Vec<Wish> {
    vec![wish(Mapped::Links, LINKS)]
}

#[tokio::test]
async fn what_is_mapped_is_taken_back_also_when_the_end_comes_while_the_router_is_asked() {
    let pretended = pretend(31, true, false).await;
    let mut working = work(Ok(pretended.router), links());
    working.until(|facts| !facts.mapped.is_empty()).await;
    // It says nothing for a moment.
    let asked = {
        let mut state = pretended.state.lock().unwrap();
        state.pcp = false;
        state.asked
    };
    working.again.notify_one();
    timeout(DEADLINE, async {
        while pretended.state.lock().unwrap().asked == asked {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    working.stop.send_replace(true);
    tokio::task::yield_now().await;
    pretended.state.lock().unwrap().pcp = true;
    working.end().await;
    assert_eq!(pretended.state.lock().unwrap().mapped, BTreeMap::new());
}

#[tokio::test]
async fn the_mapped_port_is_what_the_router_says_and_it_is_taken_back_at_the_end() {
    let pretended = pretend(1, true, true).await;
    pretended.state.lock().unwrap().shift = 7;
    let wishes = vec![wish(Mapped::Links, LINKS), wish(Mapped::Gateway, 8_400)];
    let mut working = work(Ok(pretended.router), wishes);
    let facts = working.until(|facts| !facts.mapped.is_empty()).await;
    let protocol = MappingProtocol::Pcp;
    let expected = [
        Mapping { outside: "81.2.69.142:47481".parse().unwrap(), protocol, of: Mapped::Links },
        Mapping { outside: "81.2.69.142:8407".parse().unwrap(), protocol, of: Mapped::Gateway },
    ];
    assert_eq!(facts.mapped, expected);
    assert_eq!((facts.router, facts.idle, facts.problems), (Some(pretended.router.address), None, Vec::new()));
    assert_eq!(pretended.state.lock().unwrap().mapped, BTreeMap::from([((6, 8_400), 8_407), ((17, LINKS), 47_481)]));
    working.end().await;
    assert_eq!(pretended.state.lock().unwrap().mapped, BTreeMap::new());
}

#[tokio::test]
async fn a_router_that_speaks_nat_pmp_alone_is_asked_by_that() {
    let pretended = pretend(2, false, true).await;
    let mut working = work(Ok(pretended.router), links());
    let facts = working.until(|facts| !facts.mapped.is_empty()).await;
    let outside = "81.2.69.142:47474".parse().unwrap();
    assert_eq!(facts.mapped, [Mapping { outside, protocol: MappingProtocol::NatPmp, of: Mapped::Links }]);
    assert_eq!(facts.problems.iter().map(|(protocol, _)| *protocol).collect::<Vec<_>>(), [MappingProtocol::Pcp]);
    working.end().await;
    assert_eq!(pretended.state.lock().unwrap().mapped, BTreeMap::new());
}

#[tokio::test]
async fn a_router_without_a_public_address_is_told_apart_from_one_that_refuses() {
    let Pretended { router, state } = pretend(11, false, true).await;
    let IpAddr::V4(address) = router.address else { panic!() };
    assert_eq!(pmp::nat_pmp_outside(address).await, Ok(Ipv4Addr::new(81, 2, 69, 142)));
    state.lock().unwrap().outside = Ipv4Addr::UNSPECIFIED;
    assert_eq!(pmp::nat_pmp_outside(address).await.unwrap_err(), NO_ADDRESS);
}

#[tokio::test]
async fn a_router_that_restarted_is_asked_anew_at_once_when_something_seems_wrong() {
    for (last, pcp) in [(3, true), (4, false)] {
        let pretended = pretend(last, pcp, !pcp).await;
        let mut working = work(Ok(pretended.router), links());
        working.until(|facts| !facts.mapped.is_empty()).await;
        {
            let mut state = pretended.state.lock().unwrap();
            (state.epoch, state.shift, state.outside) = (0, 100, Ipv4Addr::new(81, 2, 69, 143));
            state.mapped.clear();
        }
        working.again.notify_one();
        let outside = "81.2.69.143:47574".parse().unwrap();
        working.until(|facts| facts.mapped.first().is_some_and(|mapping| mapping.outside == outside)).await;
        working.end().await;
    }
}

#[test]
fn a_mapping_is_asked_for_again_long_before_its_end_and_never_without_a_pause() {
    let seconds = |granted| pause(Duration::from_secs(granted)).as_secs();
    assert_eq!([seconds(7_200), seconds(600), seconds(60), seconds(4), seconds(0)], [60, 60, 30, 5, 5]);
}

#[tokio::test]
async fn a_short_lease_is_renewed_by_itself() {
    let pretended = pretend(5, true, false).await;
    pretended.state.lock().unwrap().lifetime = 10;
    let mut working = work(Ok(pretended.router), links());
    working.until(|facts| !facts.mapped.is_empty()).await;
    pretended.state.lock().unwrap().shift = 9;
    pretended.state.lock().unwrap().mapped.clear();
    working.until(|facts| facts.mapped.first().is_some_and(|mapping| mapping.outside.port() == LINKS + 9)).await;
    working.end().await;
}

#[tokio::test]
async fn who_is_asked_changes_with_the_uplink_and_nobody_is_asked_where_none_stands_between() {
    let (one, other) = (pretend(8, true, false).await, pretend(9, true, false).await);
    let mut working = work(Err("no router is known"), links());
    working.until(|facts| facts.idle == Some("no router is known")).await;
    for pretended in [&one, &other] {
        let _ = working.target.send_replace(Ok(pretended.router));
        let facts = working.until(|facts| facts.router == Some(pretended.router.address)).await;
        assert_eq!(facts.mapped.len(), 1);
    }
    let _ = working.target.send_replace(Err("this machine has a global address"));
    let facts = working.until(|facts| facts.idle.is_some()).await;
    assert_eq!((facts.router, facts.mapped), (None, Vec::new()));
    let asked = other.state.lock().unwrap().asked;
    working.end().await;
    assert_eq!(other.state.lock().unwrap().asked, asked, "the other network's router is let alone");
}

#[tokio::test]
async fn a_host_ends_also_when_its_router_is_gone() {
    let pretended = pretend(10, true, false).await;
    let mut working = work(Ok(pretended.router), links());
    working.until(|facts| !facts.mapped.is_empty()).await;
    pretended.state.lock().unwrap().pcp = false;
    working.end().await;
}
