//! Hosts that started together and met in halves, none of which knows of the other: only the DHT knows them all.

use aldis::relay::io::HintSource;

use crate::world::{World, secs};

#[test]
fn two_pairs_that_met_before_the_dht_knew_them_all_become_one_network_within_two_minutes() {
    let mut world = World::new(13);
    world.hints = HintSource::Cache;
    let (one, other, all) = ([0, 1], [2, 3], [0, 1, 2, 3]);
    world.part(&one, &other);
    for _ in all {
        world.add_host_with("test", |settings| settings.dht = true);
    }
    world.heal(&one, &other);
    world.run(secs(5));
    assert!(world.agree(&one) && world.agree(&other));
    let seen = |world: &World| one.iter().any(|a| other.iter().any(|b| world.seen(*a, *b).is_some()));
    assert!(!seen(&world), "nobody knows the other half");

    world.dht = all.to_vec();
    world.settle(&all, secs(120));
    assert!(seen(&world));
}
