//! Silence towards strangers, no growth, no secret in words.

use adit_protocol::Protocol as _;
use adit_wireguard::{Device, DeviceChange, PeerChange, PresharedKey};

use super::{bob_and_stranger, confirmed};
use crate::world::{ALICE, BOB, World, packet, secs};

/// W-120.
#[test]
fn no_secret_is_in_what_a_device_says_of_itself() {
    let mut world = World::pair();
    let mut peer = PeerChange::new(world.key(BOB));
    peer.preshared_key = Some(PresharedKey::new([0xbe; 32]));
    world.apply(ALICE, DeviceChange { peers: vec![peer], ..DeviceChange::default() });
    world.send(ALICE, BOB);
    let device = world.hosts[ALICE].device();
    for text in [format!("{device:?}"), format!("{device:#?}"), format!("{:?}", device.status(world.now))] {
        // The private key is 32 bytes of 1, but for the clamped ones.
        for secret in ["1, 1, 1, 1", "190, 190", "bebebe", "01010101", "AQEBAQ"] {
            assert!(!text.replace(['\n', ' '], " ").contains(secret), "{secret} in {text}");
        }
    }
}

/// W-120. What waits for a handshake is plain text.
#[test]
fn no_packet_that_waits_is_in_what_a_device_says_of_itself() {
    let mut world = World::pair();
    world.cut();
    world.send(ALICE, BOB);
    assert_eq!(world.peer(ALICE, BOB).staged, 1);
    let text = format!("{:?}", world.hosts[ALICE].device());
    assert!(!text.contains("[69, 0, "), "the head of an IPv4 packet in {text}");
}

/// W-120. The seed, and so every key to come, cannot be read off a device that is printed.
#[test]
fn what_a_device_says_of_itself_does_not_depend_on_its_seed() {
    let now = World::new().now;
    let [one, other] = [[1; 32], [2; 32]].map(|seed| format!("{:?}", Device::new(seed, now)));
    assert_eq!(one, other);
    let mut used = World::connected();
    let before = format!("{:?}", used.hosts[BOB].device());
    used.send(ALICE, BOB);
    assert_ne!(format!("{:?}", used.hosts[BOB].device()), before, "it says something");
}

/// W-121, W-122.
#[test]
fn junk_of_every_kind_and_many_lengths_is_met_with_silence_and_leaves_nothing_behind() {
    let (mut world, mut stranger, from) = bob_and_stranger();
    confirmed(&mut world, &mut stranger, from);
    world.forget_log();
    let deadline = world.hosts[BOB].deadline;
    let before = format!("{:?}", world.hosts[BOB].device().status(world.now).peers);
    let mut sent = 0;
    let lengths = (0..300).chain((300..65_507).step_by(1_511)).chain([65_507]);
    for len in lengths {
        for kind in 0..=5_u8 {
            let mut bytes: Vec<u8> = (0..len).map(|n| (n * 7 + usize::from(kind)) as u8).collect();
            for (to, byte) in bytes.iter_mut().zip([kind, 0, 0, 0]) {
                *to = byte;
            }
            world.inject(BOB, from, &bytes);
            sent += 1;
        }
    }
    assert_eq!(world.seen(BOB), []);
    assert_eq!(world.hosts[BOB].deadline, deadline);
    assert_eq!(format!("{:?}", world.hosts[BOB].device().status(world.now).peers), before);
    assert_eq!(world.hosts[BOB].device().drops().total(), sent);
}

/// W-123.
#[test]
fn a_removed_peer_is_gone_with_its_sessions_networks_timers_and_queue() {
    let (mut world, mut stranger, from) = bob_and_stranger();
    let mut session = confirmed(&mut world, &mut stranger, from);
    let data = session.seal(&packet::v4(1, 2, 40));
    world.inject(BOB, from, &data);
    assert_eq!(world.delivered(BOB).len(), 1);
    let mut keepalive = PeerChange::new(world.key(ALICE));
    keepalive.persistent_keepalive = Some(1);
    world.apply(BOB, DeviceChange { peers: vec![keepalive], ..DeviceChange::default() });
    let in_flight = session.seal(&packet::v4(1, 2, 40));
    remove(&mut world);
    world.forget_log();
    world.inject(BOB, from, &in_flight);
    world.send(BOB, ALICE);
    let initiation = stranger.initiate(world.now.unix + secs(1)).bytes;
    world.inject(BOB, from, &initiation);
    world.advance(secs(1_000));
    assert_eq!(world.seen(BOB), [], "not one more packet");
    assert!(world.delivered(BOB).is_empty());
    assert_eq!(world.hosts[BOB].deadline, None);
    assert!(world.hosts[BOB].device().status(world.now).peers.is_empty());
}

/// W-123.
#[test]
fn what_is_between_plan_and_commit_when_a_peer_is_removed_is_dropped() {
    let (mut world, mut stranger, from) = bob_and_stranger();
    let mut session = confirmed(&mut world, &mut stranger, from);
    let datagram = session.seal(&packet::v4(1, 2, 40));
    let now = world.now;
    let removal = removal(&world);
    let delivery = world.hosts[BOB].receive_around(now, from, &datagram, |device| device.apply(now, removal));
    assert!(!matches!(delivery, Some(adit_protocol::Delivery::Packet(_))), "{delivery:?}");
}

/// W-123.
#[test]
fn a_peer_removed_and_made_again_begins_anew() {
    let mut world = World::connected();
    remove(&mut world);
    world.introduce(BOB, ALICE, false);
    let peer = world.peer(BOB, ALICE);
    assert_eq!((peer.endpoint, peer.has_session, peer.rx_bytes, peer.tx_bytes), (None, false, 0, 0));
    assert_eq!(peer.last_handshake, None);
}

/// W-123, W-68.
#[test]
fn removing_a_peer_while_a_handshake_runs_ends_the_handshake() {
    let mut world = World::pair();
    world.cut();
    world.send(ALICE, BOB);
    let mut gone = PeerChange::new(world.key(BOB));
    gone.remove = true;
    world.apply(ALICE, DeviceChange { peers: vec![gone], ..DeviceChange::default() });
    world.forget_log();
    world.advance(secs(200));
    assert_eq!(world.seen(ALICE), []);
    assert_eq!(world.hosts[ALICE].deadline, None);
}

fn removal(world: &World) -> DeviceChange {
    let mut gone = PeerChange::new(world.key(ALICE));
    gone.remove = true;
    DeviceChange { peers: vec![gone], ..DeviceChange::default() }
}

fn remove(world: &mut World) {
    let change = removal(world);
    world.apply(BOB, change);
}
