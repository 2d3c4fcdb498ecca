//! What `wg show` shows: bytes, and when the last handshake was.

use super::bob_and_stranger;
use crate::world::{ALICE, BOB, Kind, World, packet, secs};

/// W-100.
#[test]
fn ten_echoes_of_84_bytes_count_1428_bytes_one_way_and_1372_the_other() {
    let mut world = World::pair();
    for _ in 0..10 {
        world.send_packet(ALICE, &packet::v4(1, 2, 84));
        assert_eq!(world.delivered(BOB).len(), 1);
        world.send_packet(BOB, &packet::v4(2, 1, 84));
        assert_eq!(world.delivered(ALICE).len(), 1);
    }
    let (alice, bob) = (world.peer(ALICE, BOB), world.peer(BOB, ALICE));
    assert_eq!((alice.tx_bytes, alice.rx_bytes), (1428, 1372));
    assert_eq!((bob.rx_bytes, bob.tx_bytes), (1428, 1372));
}

/// W-100.
#[test]
fn keepalives_count_and_what_is_refused_does_not() {
    let mut world = World::connected();
    let before = (world.peer(ALICE, BOB).rx_bytes, world.peer(BOB, ALICE).tx_bytes);
    world.advance(secs(10));
    assert_eq!(world.seen(BOB), [Kind::Keepalive]);
    assert_eq!((world.peer(ALICE, BOB).rx_bytes, world.peer(BOB, ALICE).tx_bytes), (before.0 + 32, before.1 + 32));
    let keepalive = world.last(BOB, Kind::Keepalive);
    world.inject(ALICE, keepalive.source, &keepalive.bytes);
    assert_eq!(world.peer(ALICE, BOB).rx_bytes, before.0 + 32, "a replay");
}

/// W-101.
#[test]
fn the_initiators_handshake_is_complete_with_the_response() {
    let mut world = World::pair();
    assert_eq!(world.peer(ALICE, BOB).last_handshake, None);
    world.send(ALICE, BOB);
    let at = world.now.unix;
    assert_eq!(world.peer(ALICE, BOB).last_handshake, Some(at));
    world.advance(secs(50));
    world.send(ALICE, BOB);
    assert_eq!(world.peer(ALICE, BOB).last_handshake, Some(at), "data does not move it");
}

/// W-101.
#[test]
fn a_handshake_that_is_not_complete_is_not_shown() {
    let (mut world, mut stranger, from) = bob_and_stranger();
    let initiation = stranger.initiate(world.now.unix).bytes;
    world.inject(BOB, from, &initiation);
    assert_eq!(world.seen(BOB), [Kind::Response]);
    assert_eq!(world.peer(BOB, ALICE).last_handshake, None);
}
