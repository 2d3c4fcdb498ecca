//! Keys: the device's own, the peers', the pre-shared.

use adit_wireguard::{DeviceChange, PeerChange, PresharedKey, PrivateKey, PublicKey};

use super::{alice_and_answering_stranger, answer, bob_and_stranger};
use crate::world::stranger::Stranger;
use crate::world::{ALICE, BOB, Kind, Sent, World, ms, secs};

/// W-10.
#[test]
fn a_private_key_is_shown_clamped() {
    let mut world = World::pair();
    world.apply(ALICE, key([0xff; 32]));
    let shown = world.hosts[ALICE].device().status(world.now).private_key.unwrap();
    assert_eq!((shown.expose()[0], shown.expose()[31]), (0xf8, 0x7f));
}

/// W-11.
#[test]
fn a_device_without_a_key_neither_starts_nor_answers_a_handshake() {
    let (mut world, mut stranger, from) = bob_and_stranger();
    world.introduce(BOB, ALICE, true);
    let initiation = stranger.initiate(world.now.unix).bytes;
    world.apply(BOB, key([0; 32]));
    world.inject(BOB, from, &initiation);
    world.send(BOB, ALICE);
    world.advance(secs(30));
    assert_eq!(world.seen(BOB), []);
    let status = world.hosts[BOB].device().status(world.now);
    assert_eq!((status.private_key.is_none(), status.public_key, status.peers.len()), (true, None, 1));
}

/// W-12.
#[test]
fn to_a_peer_whose_key_is_a_point_of_low_order_nothing_is_ever_sent() {
    let points = [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ];
    for point in points {
        let mut world = World::new();
        world.add_host(1);
        let mut peer = PeerChange::new(PublicKey::from_hex(point).unwrap());
        peer.endpoint = Some(([192, 0, 2, 9], 1).into());
        peer.persistent_keepalive = Some(1);
        world.apply(ALICE, DeviceChange { peers: vec![peer], ..DeviceChange::default() });
        world.advance(secs(20));
        assert_eq!(world.seen(ALICE), [], "{point}");
        assert_eq!(world.hosts[ALICE].device().status(world.now).peers.len(), 1);
    }
}

/// W-13.
#[test]
fn no_preshared_key_is_the_same_as_one_of_zeros() {
    let mut world = World::pair();
    set_psk(&mut world, ALICE, BOB, [0; 32]);
    world.send(ALICE, BOB);
    assert_eq!(world.delivered(BOB).len(), 1);
    assert!(world.peer(ALICE, BOB).preshared_key.is_none());
}

/// W-13.
#[test]
fn with_the_same_preshared_key_a_session_comes_about() {
    let mut world = World::pair();
    set_psk(&mut world, ALICE, BOB, [7; 32]);
    set_psk(&mut world, BOB, ALICE, [7; 32]);
    world.send(ALICE, BOB);
    assert_eq!(world.delivered(BOB).len(), 1);
}

/// W-13.
#[test]
fn with_different_preshared_keys_the_responder_answers_and_the_initiator_only_tries_again() {
    let mut world = World::pair();
    set_psk(&mut world, ALICE, BOB, [7; 32]);
    set_psk(&mut world, BOB, ALICE, [8; 32]);
    world.send(ALICE, BOB);
    world.advance(ms(10_700));
    assert_eq!(world.seen(ALICE), [Kind::Initiation; 3]);
    assert_eq!(world.seen(BOB), [Kind::Response; 3]);
    assert!(!world.peer(ALICE, BOB).has_session && !world.peer(BOB, ALICE).has_session);
    assert_eq!(world.peer(ALICE, BOB).last_handshake, None);
}

/// W-14.
#[test]
fn a_new_preshared_key_leaves_the_session_and_is_used_from_the_next_handshake() {
    let mut world = World::connected();
    set_psk(&mut world, ALICE, BOB, [7; 32]);
    assert_eq!(world.send(ALICE, BOB), Sent::AtOnce);
    assert_eq!(world.delivered(BOB).len(), 1);
    let before = world.peer(ALICE, BOB).last_handshake;
    world.advance(secs(121));
    world.send(ALICE, BOB);
    world.advance(secs(1));
    assert_eq!(world.peer(ALICE, BOB).last_handshake, before, "Bob does not know the key yet");
    set_psk(&mut world, BOB, ALICE, [7; 32]);
    world.advance(secs(6));
    assert_ne!(world.peer(ALICE, BOB).last_handshake, before);
    assert_eq!(world.send(ALICE, BOB), Sent::AtOnce);
    assert_eq!(world.delivered(BOB).len(), 2);
}

/// W-15.
#[test]
fn a_peer_with_our_own_key_is_ignored() {
    let mut world = World::pair();
    let own = PeerChange::new(world.key(ALICE));
    world.apply(ALICE, DeviceChange { peers: vec![own], ..DeviceChange::default() });
    let peers = world.hosts[ALICE].device().status(world.now).peers;
    assert_eq!(peers.iter().map(|p| p.public_key).collect::<Vec<_>>(), [world.key(BOB)]);
}

/// W-15.
#[test]
fn a_peer_whose_key_becomes_our_own_is_removed() {
    let mut world = World::connected();
    let bobs = world.private(BOB);
    world.apply(ALICE, DeviceChange { private_key: Some(bobs), ..DeviceChange::default() });
    assert!(world.hosts[ALICE].device().status(world.now).peers.is_empty());
}

/// W-15.
#[test]
fn setting_the_same_private_key_again_changes_nothing() {
    let mut world = World::connected();
    let same = world.private(ALICE);
    world.apply(ALICE, DeviceChange { private_key: Some(same), ..DeviceChange::default() });
    assert_eq!(world.send(ALICE, BOB), Sent::AtOnce);
    assert_eq!(world.seen(ALICE), [Kind::Data(96)]);
}

/// W-16.
#[test]
fn with_a_new_private_key_a_handshake_starts_at_once_and_the_session_is_not_sent_with() {
    let mut world = World::connected();
    world.apply(ALICE, key([77; 32]));
    world.hosts[ALICE].private = PrivateKey::new([77; 32]);
    world.introduce(BOB, ALICE, true);
    world.forget_log();
    assert_eq!(world.send(ALICE, BOB), Sent::Staged);
    assert_eq!(world.seen(ALICE), [Kind::Initiation, Kind::Data(96)]);
}

/// W-16.
#[test]
fn a_response_to_an_initiation_under_the_old_private_key_is_not_taken() {
    let (mut world, mut stranger) = alice_and_answering_stranger();
    world.send(ALICE, BOB);
    let (response, _) = stranger.respond(&world.last(ALICE, Kind::Initiation).bytes).unwrap();
    world.apply(ALICE, key([77; 32]));
    world.forget_log();
    let from = world.hosts[BOB].address();
    world.inject(ALICE, from, &response);
    assert!(!world.peer(ALICE, BOB).has_session);
    let mut stranger = Stranger::new(world.private(BOB), PrivateKey::new([77; 32]).public_key());
    world.send(ALICE, BOB);
    answer(&mut world, &mut stranger);
    assert!(world.peer(ALICE, BOB).has_session, "MAC1 and cookie keys follow the new key");
}

/// W-17.
#[test]
fn every_response_has_a_new_ephemeral_key_even_to_the_same_one() {
    let (mut world, stranger, from) = bob_and_stranger();
    let mut stranger = stranger.with_ephemeral([5; 32]);
    let mut ephemerals = Vec::new();
    for _ in 0..3 {
        let initiation = stranger.initiate(world.now.unix).bytes;
        world.inject(BOB, from, &initiation);
        ephemerals.push(world.last(BOB, Kind::Response).bytes[12..44].to_vec());
        world.advance(ms(20));
    }
    ephemerals.dedup();
    assert_eq!(ephemerals.len(), 3);
}

fn key(bytes: [u8; 32]) -> DeviceChange {
    DeviceChange { private_key: Some(PrivateKey::new(bytes)), ..DeviceChange::default() }
}

fn set_psk(world: &mut World, host: usize, other: usize, psk: [u8; 32]) {
    let mut peer = PeerChange::new(world.key(other));
    peer.preshared_key = Some(PresharedKey::new(psk));
    world.apply(host, DeviceChange { peers: vec![peer], ..DeviceChange::default() });
}
