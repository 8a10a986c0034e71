#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may fail by panic")]
use super::*;

fn peer(n: u8) -> PeerId {
    PeerId::new([n; 32])
}

fn id(n: u8) -> Uuid {
    uuid(peer(n))
}

/// Several homes that see each other's metas when a test lets them.
struct Hall(Vec<Room>);

impl Hall {
    /// Clients 1, 2, 3 ..., which came in this order.
    fn new(clients: u8, size: Option<usize>) -> Self {
        Self((1..=clients).map(|n| Room::new(peer(n), size, n.into())).collect())
    }

    fn show(&mut self, from: usize, to: usize) {
        let (peer, meta) = (self.0[from].me, self.0[from].mine().encode());
        self.0[to].saw(peer, &meta);
    }

    /// Everybody sees everybody, and does what it should, until nothing changes.
    fn settle(&mut self) {
        for _ in 0..100 {
            let metas: Vec<_> = self.0.iter().map(|room| room.mine().encode()).collect();
            for from in 0..self.0.len() {
                for to in 0..self.0.len() {
                    self.show(from, to);
                }
            }
            for room in &mut self.0 {
                if room.wants_leader() {
                    room.lead();
                }
                room.take_in();
            }
            if metas == self.0.iter().map(|room| room.mine().encode()).collect::<Vec<_>>() {
                return;
            }
        }
        panic!("it never settles");
    }

    /// Pairs, whoever makes the offer first; a pair of which not exactly one does is a failure.
    fn pairs(&self) -> Vec<(u8, u8)> {
        let number = |peer: PeerId| peer.as_bytes()[0];
        let mut told = Vec::new();
        for room in &self.0 {
            for (other, offers) in room.meets() {
                let there = self.0.iter().find(|room| room.me == other).unwrap().meets();
                assert!(there.contains(&(room.me, !offers)), "{} and {}", number(room.me), number(other));
                if offers {
                    told.push((number(room.me), number(other)));
                }
            }
        }
        told.sort_unstable();
        told
    }
}

#[test]
fn in_a_room_for_all_whoever_came_first_makes_the_offer() {
    let mut hall = Hall::new(3, None);
    hall.settle();
    assert_eq!(hall.pairs(), [(1, 2), (1, 3), (2, 3)]);
}

#[test]
fn groups_fill_in_the_order_of_arrival_and_whoever_is_left_waits() {
    let mut hall = Hall::new(5, Some(2));
    hall.settle();
    assert_eq!(hall.pairs(), [(1, 2), (3, 4)]);
    assert!(hall.0[0].is_complete() && hall.0[3].is_complete() && !hall.0[4].is_complete());
    assert_eq!(hall.0[3].group_id(), Some(id(3)));
}

#[test]
fn clients_of_a_group_meet_before_it_is_complete() {
    let mut hall = Hall::new(3, Some(4));
    hall.settle();
    assert_eq!(hall.pairs(), [(1, 2), (1, 3), (2, 3)]);
    assert!(hall.0.iter().all(|room| !room.is_complete()));
}

#[test]
fn a_complete_group_takes_in_nobody_when_its_leader_is_gone() {
    let mut hall = Hall::new(2, Some(2));
    hall.settle();
    hall.0[1].settle();
    hall.0.remove(0);
    hall.0[0].lost(peer(1));
    hall.0.extend([Room::new(peer(3), Some(2), 3), Room::new(peer(4), Some(2), 4)]);
    hall.settle();
    assert_eq!(hall.pairs(), [(3, 4)]);
    assert_eq!(hall.0[0].meets(), []);
}

#[test]
fn an_open_group_without_its_leader_goes_on_under_the_next() {
    let mut hall = Hall::new(3, Some(4));
    hall.settle();
    hall.0.remove(0);
    hall.0.iter_mut().for_each(|room| room.lost(peer(1)));
    hall.0.push(Room::new(peer(4), Some(4), 4));
    hall.settle();
    assert_eq!(hall.pairs(), [(2, 3), (2, 4), (3, 4)]);
}

#[test]
fn of_two_leaders_who_took_the_same_client_the_first_keeps_it() {
    let mut hall = Hall::new(3, Some(2));
    // 1 and 2 do not see each other yet, and both see 3.
    hall.show(2, 0);
    hall.show(2, 1);
    for room in &mut hall.0[..2] {
        assert!(room.wants_leader());
        room.lead();
        assert!(room.take_in());
        assert_eq!(room.mine().state, State::Leads(vec![id(3)]));
    }
    hall.settle();
    assert_eq!(hall.pairs(), [(1, 3)]);
    hall.0.push(Room::new(peer(4), Some(2), 4));
    hall.settle();
    assert_eq!(hall.pairs(), [(1, 3), (2, 4)], "2 still leads, and had a place");
}

#[test]
fn a_leader_has_no_more_than_its_group_holds_whatever_it_says() {
    let mut room = Room::new(peer(9), Some(3), 9);
    room.saw(peer(4), &Place { stamp: 4, state: State::Waits }.encode());
    room.saw(peer(1), &Place { stamp: 1, state: State::Leads(vec![id(2), id(3), id(4)]) }.encode());
    assert_eq!(room.groups().waiting, [peer(4), peer(9)]);
    room.lost(peer(4));
    assert_eq!(room.groups().waiting, [peer(9)]);
}

#[test]
fn metas_come_back_as_they_were_and_anything_else_is_left_alone() {
    for state in [State::Waits, State::Leads(vec![]), State::Leads(vec![id(1), id(2)]), State::Settled] {
        let place = Place { stamp: 7, state };
        assert_eq!(Place::decode(&place.encode()), place);
    }
    let most = Place { stamp: 7, state: State::Leads(vec![id(1); GROUP_MAX - 1]) };
    assert!(most.encode().len() <= aldis_wire::limits::META_BYTES);
    assert_eq!(Place::decode(b"short"), Place { stamp: u64::MAX, state: State::Settled });
    let mut long = 7_u64.to_be_bytes().to_vec();
    long.push(1);
    long.extend([9; 1_000]);
    let State::Leads(led) = Place::decode(&long).state else { panic!("leads nobody") };
    assert_eq!(led.len(), GROUP_MAX - 1);
    assert_eq!(Place::decode(b"12345678\x09later").state, State::Settled);
}

#[test]
fn a_room_sees_so_many_and_no_more() {
    let mut room = Room::new(peer(0), None, 0);
    for n in 0..=MEMBERS_MAX {
        let mut bytes = [7; 32];
        bytes[..8].copy_from_slice(&(n as u64).to_be_bytes());
        room.saw(PeerId::new(bytes), b"");
    }
    assert_eq!(room.meets().len(), MEMBERS_MAX);
}
