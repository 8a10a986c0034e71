//! Hosts of the same network on the same link, found without internet: mDNS and DNS-SD (RFC 6762, RFC 6763).
//!
//! What neighbours are told is what a stranger who dials us learns too: where we listen, our id, and the network's tag,
//! which says nothing of its key. What they tell are hints; the machine decides which are dialled.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::time::Duration;

use aldis_wire::id::HostId;
use aldis_wire::network::NetworkTag;
use aldis_wire::record::short_id;
use mdns_sd::{IfKind, IfPredicate, ResolvedService, ScopedIp, ServiceDaemon, ServiceEvent, ServiceInfo};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

use crate::relay::io::Hint;
use crate::relay::may_be_tried;

/// What hosts are looked for as.
const SERVICE: &str = "_aldis._udp.local.";
/// TXT keys: the network's tag, and the host's id, both in hexadecimal digits.
const TAG: &str = "net";
const ID: &str = "id";

/// Hosts that are remembered while they say that they are there; others are left out until one of them goes.
const NEIGHBOURS_MAX: usize = 64;
/// Addresses taken of one of them, of each family: a machine may be on a cable and on a radio.
const ADDRESSES_MAX: usize = 2;
/// The machine is told again of all of them this often, since it forgets hints that are not repeated.
const TELL_AGAIN: Duration = Duration::from_secs(60);
/// Records that the library may keep, which knows no bound itself. With more it is started anew: somebody is flooding the link.
const RECORDS_MAX: i64 = 4_096;
/// How often that is checked.
const CHECK_EACH: Duration = Duration::from_secs(2);
/// After an end that was not asked for.
const PAUSE: Duration = Duration::from_secs(30);
/// How long a goodbye may take.
const GOODBYE_MAX: Duration = Duration::from_millis(500);

/// Who we are for those around us.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Own {
    pub(crate) host: HostId,
    pub(crate) tag: NetworkTag,
    /// Where we listen for links, as bound.
    pub(crate) listening: SocketAddr,
}

/// Tells our neighbours of us, and us of them, until it is dropped or stopped.
#[derive(Debug)]
pub(crate) struct Lan {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Lan {
    /// Begins, unless we can be reached on this machine alone. `found` is told of neighbours, each time of all.
    pub(crate) fn start(own: Own, found: impl Fn(Vec<Hint>) + Send + Sync + 'static) -> Option<Self> {
        if own.listening.ip().to_canonical().is_loopback() {
            return None;
        }
        let (stop, mut stopping) = watch::channel(false);
        let task = tokio::spawn(async move {
            loop {
                if let Err(problem) = watch_link(own, &found, &mut stopping).await {
                    tracing::warn!(%problem, "hosts on this link are not looked for; trying again later");
                }
                if timeout(PAUSE, asked(&mut stopping)).await.is_ok() {
                    return;
                }
            }
        });
        Some(Self { stop, task })
    }

    /// Says goodbye.
    pub(crate) async fn stop(self) {
        self.stop.send_replace(true);
        let _ = timeout(2 * GOODBYE_MAX, self.task).await;
    }
}

/// The library at work, which has a thread of its own. It ends with this.
struct Daemon(ServiceDaemon);

impl Drop for Daemon {
    fn drop(&mut self) {
        // Its last act is a goodbye. Fails only if it has ended already.
        let _ = self.0.shutdown();
    }
}

/// Until `stopping`, or until something goes wrong: what it is, in words.
async fn watch_link(
    own: Own,
    found: &(impl Fn(Vec<Hint>) + Send + Sync),
    stopping: &mut watch::Receiver<bool>,
) -> Result<(), mdns_sd::Error> {
    let daemon = Daemon(ServiceDaemon::new()?);
    choose_interfaces(&daemon.0, own.listening.ip())?;
    daemon.0.register(service(own)?)?;
    let events = daemon.0.browse(SERVICE)?;
    let mut neighbours = BTreeMap::new();
    let mut again = interval_at(Instant::now() + TELL_AGAIN, TELL_AGAIN);
    let mut check = interval_at(Instant::now() + CHECK_EACH, CHECK_EACH);
    check.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = asked(stopping) => break,
            event = events.recv_async() => match event {
                Ok(event) => {
                    if note(&mut neighbours, event, own) {
                        found(neighbours.values().flatten().copied().collect());
                    }
                }
                Err(_) => return Err(mdns_sd::Error::DaemonShutdown),
            },
            _ = again.tick() => {
                if !neighbours.is_empty() {
                    found(neighbours.values().flatten().copied().collect());
                }
            }
            _ = check.tick() => {
                if records(&daemon.0).await > RECORDS_MAX {
                    return Err(mdns_sd::Error::Msg("too many records come over it".to_owned()));
                }
            }
        }
    }
    if let Ok(ended) = daemon.0.shutdown() {
        let _ = timeout(GOODBYE_MAX, ended.recv_async()).await;
    }
    Ok(())
}

/// Until the end is asked for; dropping the handle asks as well.
async fn asked(stopping: &mut watch::Receiver<bool>) {
    let _ = stopping.wait_for(|stop| *stop).await;
}

/// Never over loopback; only where we listen; and never where packets come from the whole internet.
fn choose_interfaces(daemon: &ServiceDaemon, listening: IpAddr) -> Result<(), mdns_sd::Error> {
    match listening {
        ip if !ip.is_unspecified() => {
            daemon.disable_interface(IfKind::All)?;
            daemon.enable_interface(IfKind::Addr(ip))?;
        }
        IpAddr::V4(_) => daemon.disable_interface(vec![IfKind::LoopbackV4, IfKind::IPv6])?,
        IpAddr::V6(_) => daemon.disable_interface(vec![IfKind::LoopbackV4, IfKind::LoopbackV6])?,
    }
    let public = IfPredicate::new(|interface| is_public(&interface.name, &own_addresses()));
    daemon.disable_interface(IfKind::Predicate(public))
}

/// Whether an interface has an IPv4 address of the public internet, as machines in data centres have. The library answers
/// and believes whoever sends to its port, wherever he is: there a stranger could have it send a multiple of what he sends to
/// a victim, and have us dial addresses of private networks.
fn is_public(interface: &str, addresses: &[(String, IpAddr)]) -> bool {
    addresses.iter().any(|(name, ip)| name == interface && ip.is_ipv4() && may_be_tried(*ip, false))
}

fn own_addresses() -> Vec<(String, IpAddr)> {
    let found = if_addrs::get_if_addrs().unwrap_or_default();
    found.into_iter().map(|interface| (interface.name.clone(), interface.ip())).collect()
}

/// What we say of ourselves.
fn service(own: Own) -> Result<ServiceInfo, mdns_sd::Error> {
    // Two hosts on one machine have a name each, though they share its addresses.
    let name: String = short_id(own.host).iter().map(|byte| format!("{byte:02x}")).collect();
    let text = [(TAG, own.tag.to_string()), (ID, own.host.to_string())];
    let at = format!("{name}.local.");
    let ip = own.listening.ip();
    let port = own.listening.port();
    if ip.is_unspecified() {
        Ok(ServiceInfo::new(SERVICE, &name, &at, "", port, &text[..])?.enable_addr_auto())
    } else {
        ServiceInfo::new(SERVICE, &name, &at, ip, port, &text[..])
    }
}

/// Takes in what the library says; true if somebody is new or somewhere else.
fn note(neighbours: &mut BTreeMap<String, Vec<Hint>>, event: ServiceEvent, own: Own) -> bool {
    match event {
        ServiceEvent::ServiceResolved(service) => {
            let hints = hints(&service, own);
            if hints.is_empty() || neighbours.len() >= NEIGHBOURS_MAX && !neighbours.contains_key(&service.fullname) {
                return false;
            }
            // Many say the same again and again.
            neighbours.insert(service.fullname, hints.clone()) != Some(hints)
        }
        ServiceEvent::ServiceRemoved(_, name) => {
            neighbours.remove(&name);
            false
        }
        _ => false,
    }
}

/// Where a neighbour is; nothing unless it is another host of our network.
fn hints(service: &ResolvedService, own: Own) -> Vec<Hint> {
    if service.get_property_val_str(TAG) != Some(own.tag.to_string().as_str()) {
        return Vec::new();
    }
    let host = service.get_property_val_str(ID).and_then(|text| text.parse().ok());
    let Some(host) = host.filter(|host| *host != own.host) else { return Vec::new() };
    let addresses = service.get_addresses().iter().map(|ip| address(ip, service.get_port()));
    let (mut v4, mut v6): (Vec<_>, Vec<_>) = addresses.partition(SocketAddr::is_ipv4);
    v4.sort_unstable();
    // Link-local addresses last: those that reach farther stay good when an interface changes its number.
    v6.sort_unstable_by_key(|address| (is_link_local(*address), *address));
    let chosen = v6.into_iter().take(ADDRESSES_MAX).chain(v4.into_iter().take(ADDRESSES_MAX));
    chosen.map(|address| Hint { address, host: Some(host) }).collect()
}

/// A link-local address means nothing without the interface on which it was heard of.
fn address(ip: &ScopedIp, port: u16) -> SocketAddr {
    match (ip.to_ip_addr(), ip) {
        (IpAddr::V6(v6), ScopedIp::V6(scoped)) if v6.is_unicast_link_local() => {
            SocketAddrV6::new(v6, port, 0, scoped.scope_id().index).into()
        }
        (ip, _) => SocketAddr::new(ip, port),
    }
}

fn is_link_local(address: SocketAddr) -> bool {
    matches!(address, SocketAddr::V6(v6) if v6.ip().is_unicast_link_local())
}

/// How many records the library keeps.
async fn records(daemon: &ServiceDaemon) -> i64 {
    let Ok(answer) = daemon.get_metrics() else { return 0 };
    match timeout(CHECK_EACH, answer.recv_async()).await {
        Ok(Ok(metrics)) => metrics.iter().filter(|(name, _)| name.starts_with("cached-")).map(|(_, count)| count).sum(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail by panic")]
    use super::*;

    fn own(number: u8) -> Own {
        Own {
            host: HostId::new([number; 32]),
            tag: NetworkTag::new([7; 8]),
            listening: "0.0.0.0:47474".parse().unwrap(),
        }
    }

    /// Another host says that it is there.
    fn says(number: u8, ip: &str) -> ServiceEvent {
        let listening = SocketAddr::new(ip.parse().unwrap(), 47_474);
        let service = service(Own { listening, ..own(number) }).unwrap();
        ServiceEvent::ServiceResolved(Box::new(service.as_resolved_service()))
    }

    #[test]
    fn only_what_is_new_is_told_however_often_a_neighbour_says_it() {
        let mut neighbours = BTreeMap::new();
        assert!(note(&mut neighbours, says(2, "192.168.7.2"), own(1)));
        assert!(!note(&mut neighbours, says(2, "192.168.7.2"), own(1)), "as before");
        assert!(note(&mut neighbours, says(2, "192.168.7.3"), own(1)), "it is somewhere else");
        assert!(!note(&mut neighbours, says(1, "192.168.7.1"), own(1)), "we ourselves");
        for number in 3..200 {
            note(&mut neighbours, says(number, "192.168.7.3"), own(1));
        }
        assert_eq!(neighbours.len(), NEIGHBOURS_MAX);
    }

    #[test]
    fn nothing_is_said_or_heard_where_packets_come_from_the_whole_internet() {
        let addresses = [("eth0", "45.1.2.3"), ("eth0", "10.0.0.5"), ("eth1", "192.168.7.2"), ("eth1", "2606:4700::1")];
        let addresses = addresses.map(|(name, ip)| (name.to_owned(), ip.parse().unwrap()));
        assert!(is_public("eth0", &addresses));
        assert!(!is_public("eth1", &addresses), "at home addresses of IPv6 are public, and its router lets nobody in");
        assert!(!is_public("eth2", &addresses));
    }
}
