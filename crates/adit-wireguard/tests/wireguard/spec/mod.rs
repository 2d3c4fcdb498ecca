//! The rules, section by section: the name of a test is the rule, its doc comment says which.

mod cookies;
mod counters;
mod endpoint;
mod hygiene;
mod inner;
mod keys;
mod limits;
mod messages;
mod peers;
mod sessions;
mod timers;
mod timestamps;

use std::net::SocketAddr;

use adit_wireguard::DeviceChange;

use crate::world::stranger::{Session, Stranger};
use crate::world::{ALICE, BOB, Kind, World};

/// Bob's world with a stranger in Alice's place: her key, her address, but a hand-made device.
fn bob_and_stranger() -> (World, Stranger, SocketAddr) {
    let world = World::pair();
    let stranger = Stranger::new(world.private(ALICE), world.key(BOB));
    let address = SocketAddr::from(([198, 51, 100, 7], 4500));
    (world, stranger, address)
}

/// The stranger makes a session with Bob, and uses it once, so that it is current at Bob's.
fn confirmed(world: &mut World, stranger: &mut Stranger, from: SocketAddr) -> Session {
    let mut session = unconfirmed(world, stranger, from);
    let keepalive = session.seal(&[]);
    world.inject(BOB, from, &keepalive);
    session
}

/// The stranger makes a session with Bob, and does not use it: it is Bob's next.
fn unconfirmed(world: &mut World, stranger: &mut Stranger, from: SocketAddr) -> Session {
    let pending = stranger.initiate(world.now.unix);
    world.forget_log();
    world.inject(BOB, from, &pending.bytes);
    assert_eq!(world.seen(BOB), [Kind::Response]);
    let response = world.last(BOB, Kind::Response).bytes;
    pending.finish(&response, &world.key(ALICE)).expect("a good response")
}

/// A device's session with a stranger who answers: Alice is the initiator, the stranger sits at Bob's address.
fn alice_and_answering_stranger() -> (World, Stranger) {
    let mut world = World::pair();
    let stranger = Stranger::new(world.private(BOB), world.key(ALICE));
    // Bob's own device has no key, and so is deaf and dumb.
    world
        .apply(BOB, DeviceChange { private_key: Some(adit_wireguard::PrivateKey::new([0; 32])), ..Default::default() });
    world.forget_log();
    (world, stranger)
}

/// The stranger at Bob's address answers Alice's last initiation.
fn answer(world: &mut World, stranger: &mut Stranger) -> Session {
    let initiation = world.last(ALICE, Kind::Initiation);
    let (response, session) = stranger.respond(&initiation.bytes).expect("a good initiation");
    let from = world.hosts[BOB].address();
    world.inject(ALICE, from, &response);
    session
}
