//! Dials where there are routers: packets, which open a way out and are let in or not.

use std::net::SocketAddr;

use aldis::relay::io::{DialFailure, DialKey, Input};
use aldis_wire::id::HostId;

use crate::map::Place;
use crate::nats::is_private;
use crate::queue::MS;
use crate::wires::{DIAL_AGAIN, DIAL_DEADLINE, Dial, EndId, KEEP_ALIVE};
use crate::world::{Happening, World, duration};

/// The first packet of a dial on its way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Knock {
    from: Place,
    life: u32,
    /// As the receiver sees it.
    source: SocketAddr,
    dial: Dial,
}

impl World {
    /// A machine dials, and its first packet goes out; again after 1 and 3 s unless somebody answers.
    pub(crate) fn dial_by_packets(&mut self, from: Place, dial: DialKey, to: SocketAddr, host: Option<HostId>) {
        let dialled = Dial { dial, to, host, since: self.now };
        self.hosts[from].dials.insert(dial);
        self.send_first_packet(from, dialled);
    }

    /// It goes out, or goes out again; at the end of its time it is given up.
    pub(crate) fn send_first_packet(&mut self, from: Place, dial: Dial) {
        let life = self.hosts[from].life;
        if !self.hosts[from].dials.contains(&dial.dial) {
            return;
        }
        if self.now >= dial.since + DIAL_DEADLINE {
            self.hosts[from].dials.remove(&dial.dial);
            self.dialled_in_vain(from, dial.to);
            return self.input(from, Input::DialFailed { dial: dial.dial, failure: DialFailure::TimedOut });
        }
        let next = DIAL_AGAIN.into_iter().chain([DIAL_DEADLINE]).map(|after| dial.since + after);
        if let Some(next) = next.into_iter().find(|next| *next > self.now) {
            self.later(next - self.now, Happening::DialAgain(from, life, Box::new(dial)));
        }
        if self.hosts[from].running().is_none() {
            return;
        }
        let source = self.nats.leaves((from, 0), dial.to);
        if let Some(there) = self.nats.behind(from, dial.to) {
            let knock = Knock { from, life, source, dial };
            self.later(self.map.one_way(from, there).max(MS), Happening::Knock(Box::new(knock)));
        }
    }

    /// The first packet of a dial comes to where it was sent.
    pub(crate) fn knocked(&mut self, knock: Knock) {
        let Knock { from, life, source, dial } = knock;
        if self.hosts[from].life != life || !self.hosts[from].dials.contains(&dial.dial) {
            return;
        }
        let Some((target, 0)) = self.nats.reaches(from, source, dial.to) else { return };
        let reached = self.wires.reaches(from, target) && self.wires.reaches(target, from);
        if !reached || self.hosts[target].running().is_none() || target == from {
            return;
        }
        // The answer opens the way back, and must come from where the dial went.
        let answer = self.nats.leaves((target, 0), source);
        if answer != dial.to || self.nats.reaches(target, answer, source) != Some((from, 0)) {
            return;
        }
        self.hosts[from].dials.remove(&dial.dial);
        if dial.host.is_some_and(|host| host != self.hosts[target].id) {
            let failed = Input::DialFailed { dial: dial.dial, failure: DialFailure::OtherHost };
            let after = self.map.one_way(from, target);
            return self.later(after, Happening::Input(from, life, Box::new(failed)));
        }
        self.beliefs.dials_in_vain.remove(&(from, dial.to));
        self.connect(from, target, Some(dial.dial), (dial.to, source));
    }

    /// A router starts anew. Connections that hosts behind it dialled come from elsewhere from their next packet on; those
    /// that they took are lost, since the other side goes on sending to where it was.
    pub(crate) fn reboot_router(&mut self, place: Place, moves: bool) {
        for home in self.nats.reboot(place, moves) {
            self.recovers(home);
            for end in self.hosts[home].ends.clone() {
                if is_private(self.wires.seen(end)) || !self.wires.is_whole(end) {
                    continue;
                }
                self.break_way(end);
                if end.is_dialler() {
                    let next_packet = self.chance.below(KEEP_ALIVE);
                    self.later(next_packet, Happening::Moves(end));
                }
            }
        }
    }

    /// The first packet after that of a host that dialled. If it is let in, the other side sees where it is now.
    pub(crate) fn moves(&mut self, end: EndId) {
        let (here, there) = (self.wires.place(end), self.wires.place_of_other(end));
        let to = self.wires.seen(end);
        let source = self.nats.leaves((here, 0), to);
        if self.nats.reaches(here, source, to) != Some((there, 0)) {
            return;
        }
        if let Some(other) = self.mend_way(end, source) {
            let rtt = duration(2 * self.map.one_way(here, there).max(MS));
            self.input(there, Input::LinkMeasured { link: other.key(), rtt, address: source });
        }
    }
}
