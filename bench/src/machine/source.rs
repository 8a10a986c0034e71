//! A host in this process, with real links, that has heard of many others: where the hosts under measurement get their
//! records from.

use std::net::{Ipv4Addr, SocketAddr};

use aldis::net::hub::Hub;
use aldis::net::quic::Quic;
use aldis::net::udp::Port;
use aldis::relay::io::{Input, LinkKey, Note};
use aldis_wire::digest::Trie;
use aldis_wire::host::{Channel, Frame};
use aldis_wire::id::HostId;
use anyhow::{Result, ensure};
use tokio::task::{AbortHandle, spawn_local};

use super::origins::Origin;
use super::records::Size;
use super::{hello, network, opened, received, setup};

/// Over which it hears of everybody: no key that the hub gives. What is sent there goes nowhere.
const HEARD_OVER: LinkKey = LinkKey(u64::MAX);

/// The host. It publishes no address, so nobody has a link to it who is not told where it is.
#[derive(Debug)]
pub(crate) struct Source {
    /// For links.
    pub(crate) address: SocketAddr,
    tasks: Vec<AbortHandle>,
}

impl Source {
    /// Starts it, with records of so many hosts and their edges. Must run inside a `LocalSet`.
    pub(crate) fn start(size: &Size) -> Result<Self> {
        let setup = setup(1)?;
        let identity = setup.identity.clone();
        let hub = Hub::new(setup, Box::new(complain));
        fill(&hub, HostId::new(identity.verifying_key().to_bytes()), size)?;
        let (socket, address) = Quic::socket(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let socket = Port::new(socket, true, hub.clone())?;
        let quic = Quic::start(socket, &identity, network()?.alpn(), hub.clone())?;
        let timer = spawn_local(async move { hub.run_timer().await });
        let accepting = spawn_local(async move { quic.run().await });
        Ok(Self { address, tasks: vec![timer.abort_handle(), accepting.abort_handle()] })
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

/// With a fault of this kind the measurement is of something else.
fn complain(note: &Note) {
    if matches!(note, Note::Misbehaved { .. } | Note::HostQuarantined { .. }) {
        eprintln!("the host in this process complains: {note:?}");
    }
}

/// Tells it of everybody as one neighbour would, without a socket.
fn fill(hub: &Hub, id: HostId, size: &Size) -> Result<()> {
    let (link, neighbour) = (HEARD_OVER, Origin::new(size.origins));
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    hub.happened(opened(link, neighbour.id, address));
    for frame in [hello(&neighbour, id, address)?, Frame::Admitted] {
        hub.happened(received(link, Channel::Control, &frame)?);
    }
    for (number, topics) in size.topics()?.chunks(size.edges).enumerate() {
        for announcement in Origin::new(number).fill(&mut Trie::default(), topics)? {
            hub.happened(received(link, Channel::Announce, &Frame::Announcement(announcement))?);
        }
        // It has read everything.
        hub.happened(Input::LinkSent { link, channel: Channel::Control, bytes: usize::MAX });
    }
    let held: usize = hub.view().hosts.iter().map(|host| host.peers).sum();
    ensure!(held == size.origins * size.edges, "{held} peers arrived");
    hub.happened(Input::LinkClosed { link, reason: "everything is told".to_owned() });
    Ok(())
}
