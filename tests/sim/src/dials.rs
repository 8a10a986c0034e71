//! Dials and checks where there are routers: packets, which open a way out and are let in or not.

use std::net::SocketAddr;

use aldis::relay::io::{CheckKey, CheckTarget, DialFailure, DialKey, Input};
use aldis_wire::id::HostId;

use crate::map::Place;
use crate::nats::is_private;
use crate::queue::{At, MS};
use crate::wires::{DIAL_AGAIN, DIAL_DEADLINE, EndId, KEEP_ALIVE};
use crate::world::{Happening, World, duration};

/// What somebody wants at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Errand {
    /// A link.
    Dial(DialKey),
    /// To see whether it can be reached.
    Check(CheckKey),
}

/// A handshake that has not been answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Try {
    errand: Errand,
    /// From which of its sockets: 0 is that of links.
    socket: u32,
    to: SocketAddr,
    host: Option<HostId>,
    since: At,
}

/// The first packet of a handshake on its way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Knock {
    from: Place,
    life: u32,
    /// As the receiver sees it.
    source: SocketAddr,
    tried: Try,
}

impl World {
    /// A machine dials, and its first packet goes out; again after 1 and 3 s unless somebody answers.
    pub(crate) fn dial_by_packets(&mut self, from: Place, dial: DialKey, to: SocketAddr, host: Option<HostId>) {
        self.begin_try(from, Try { errand: Errand::Dial(dial), socket: 0, to, host, since: self.now });
    }

    /// A machine tries whether another host can be reached.
    pub(crate) fn check_by_packets(&mut self, from: Place, check: CheckKey, host: HostId, target: &CheckTarget) {
        let fresh = 1 + self.hosts[from].life + (check.0 as u32 % 1_000) * 16;
        let (socket, to) = match target {
            CheckTarget::Links(to) => (0, *to),
            CheckTarget::OtherPort(to) | CheckTarget::Stun(to) => (fresh, *to),
            CheckTarget::Gateway(_) => {
                let (life, outcome) = (self.hosts[from].life, Err("no router lets that in".to_owned()));
                let failed = Box::new(Input::Checked { check, outcome });
                return self.later(DIAL_DEADLINE - MS, Happening::Input(from, life, failed));
            }
        };
        self.begin_try(from, Try { errand: Errand::Check(check), socket, to, host: Some(host), since: self.now });
    }

    fn begin_try(&mut self, from: Place, tried: Try) {
        self.hosts[from].tries.insert(tried.errand);
        self.send_first_packet(from, tried);
    }

    /// It goes out, or goes out again; at the end of its time it is given up.
    pub(crate) fn send_first_packet(&mut self, from: Place, tried: Try) {
        let life = self.hosts[from].life;
        if !self.hosts[from].tries.contains(&tried.errand) {
            return;
        }
        if self.now >= tried.since + DIAL_DEADLINE {
            if let Errand::Dial(_) = tried.errand {
                self.dialled_in_vain(from, tried.to);
            }
            return self.end_try(from, tried, DialFailure::TimedOut, 0);
        }
        let next = DIAL_AGAIN.into_iter().chain([DIAL_DEADLINE]).map(|after| tried.since + after);
        if let Some(next) = next.into_iter().find(|next| *next > self.now) {
            self.later(next - self.now, Happening::TryAgain(from, life, Box::new(tried)));
        }
        if self.hosts[from].running().is_none() {
            return;
        }
        let source = self.nats.leaves((from, tried.socket), tried.to);
        if let Some(there) = self.nats.behind(from, tried.to) {
            let knock = Knock { from, life, source, tried };
            self.later(self.map.one_way(from, there).max(MS), Happening::Knock(Box::new(knock)));
        }
    }

    /// It has come to nothing.
    fn end_try(&mut self, from: Place, tried: Try, failure: DialFailure, after: At) {
        self.hosts[from].tries.remove(&tried.errand);
        let input = match tried.errand {
            Errand::Dial(dial) => Input::DialFailed { dial, failure },
            Errand::Check(check) => Input::Checked { check, outcome: Err(format!("{failure:?}")) },
        };
        let life = self.hosts[from].life;
        self.later(after, Happening::Input(from, life, Box::new(input)));
    }

    /// The first packet of a handshake comes to where it was sent.
    pub(crate) fn knocked(&mut self, knock: Knock) {
        let Knock { from, life, source, tried } = knock;
        if self.hosts[from].life != life || !self.hosts[from].tries.contains(&tried.errand) {
            return;
        }
        let Some((target, 0)) = self.nats.reaches(from, source, tried.to) else { return };
        let reached = self.wires.reaches(from, target) && self.wires.reaches(target, from);
        if !reached || self.hosts[target].running().is_none() || target == from {
            return;
        }
        // The answer opens the way back, and must come from where the packet went.
        let answer = self.nats.leaves((target, 0), source);
        if answer != tried.to || self.nats.reaches(target, answer, source) != Some((from, tried.socket)) {
            return;
        }
        let one_way = self.map.one_way(from, target).max(MS);
        if tried.host.is_some_and(|host| host != self.hosts[target].id) {
            return self.end_try(from, tried, DialFailure::OtherHost, one_way);
        }
        self.hosts[from].tries.remove(&tried.errand);
        match tried.errand {
            Errand::Dial(dial) => {
                self.beliefs.dials_in_vain.remove(&(from, tried.to));
                self.connect_after(from, target, Some(dial), (tried.to, source), one_way);
            }
            Errand::Check(check) => {
                let checked = Box::new(Input::Checked { check, outcome: Ok(()) });
                self.later(one_way, Happening::Input(from, life, checked));
            }
        }
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
