//! Timestamps, replayed and corrupted handshakes, floods of one peer, both sides starting at once.

use std::time::Duration;

use adit_protocol::DropReason;
use adit_wireguard::{DeviceChange, PeerChange, PrivateKey};

use super::{alice_and_answering_stranger, bob_and_stranger, unconfirmed};
use crate::world::stranger::{Stranger, mac1, tai64n};
use crate::world::{ALICE, BOB, Fate, Kind, World, ms, packet, secs};

/// W-30.
#[test]
fn an_initiation_says_the_time_in_steps_of_16_777_216_nanoseconds() {
    let (mut world, stranger) = alice_and_answering_stranger();
    world.send(ALICE, BOB);
    let (timestamp, _, _) = stranger.read_initiation(&world.last(ALICE, Kind::Initiation).bytes).unwrap();
    let seconds = u64::from_be_bytes(timestamp[..8].try_into().unwrap());
    let nanos = u32::from_be_bytes(timestamp[8..].try_into().unwrap());
    assert_eq!(seconds, (1 << 62) + 10 + world.now.unix.as_secs());
    assert_eq!(nanos, world.now.unix.subsec_nanos() & !0x00ff_ffff);
}

/// W-31.
#[test]
fn an_initiation_is_taken_only_if_it_is_later_than_every_one_before() {
    let (mut world, mut stranger, from) = bob_and_stranger();
    let base = tai64n(world.now.unix);
    let mut with = |change: fn(&mut [u8; 12])| {
        let mut timestamp = base;
        change(&mut timestamp);
        world.advance(ms(20));
        let bytes = stranger.initiate_with(&timestamp).bytes;
        world.inject(BOB, from, &bytes);
        world.seen(BOB) == [Kind::Response]
    };
    assert!(with(|_| ()));
    assert!(!with(|_| ()), "equal");
    assert!(!with(|t| t[11] -= 1), "older");
    assert!(!with(|t| (t[6], t[11]) = (t[6] - 1, 0xff)), "a newer low byte does not make up for an older high one");
    assert!(with(|t| t[11] += 1), "newer");
    assert!(with(|t| (t[7], t[8]) = (t[7] + 1, 0)), "newer in a high byte, older in a low one");
}

/// W-31.
#[test]
fn a_replayed_initiation_is_met_with_silence() {
    let (mut world, mut stranger, from) = bob_and_stranger();
    let initiation = stranger.initiate(world.now.unix).bytes;
    world.inject(BOB, from, &initiation);
    assert_eq!(world.seen(BOB), [Kind::Response]);
    world.advance(secs(300));
    world.forget_log();
    world.inject(BOB, from, &initiation);
    assert_eq!(world.seen(BOB), []);
    assert_eq!(world.drops(BOB, DropReason::ReplayedHandshake), 1);
}

/// W-31.
#[test]
fn the_greatest_timestamp_outlives_the_interface_being_down_and_not_the_peer() {
    let (mut world, mut stranger, from) = bob_and_stranger();
    let initiation = stranger.initiate(world.now.unix).bytes;
    world.inject(BOB, from, &initiation);
    world.set_up(BOB, false);
    world.set_up(BOB, true);
    world.advance(secs(1));
    world.forget_log();
    world.inject(BOB, from, &initiation);
    assert_eq!(world.seen(BOB), []);

    let mut gone = PeerChange::new(world.key(ALICE));
    gone.remove = true;
    world.apply(BOB, DeviceChange { peers: vec![gone], ..DeviceChange::default() });
    world.introduce(BOB, ALICE, false);
    world.inject(BOB, from, &initiation);
    assert_eq!(world.seen(BOB), [Kind::Response]);
}

/// W-31.
#[test]
fn a_timestamp_that_does_not_authenticate_is_not_remembered() {
    let (mut world, mut stranger, from) = bob_and_stranger();
    let mut forged = stranger.initiate(world.now.unix + secs(1000)).bytes;
    forged[115] ^= 1;
    remac(&mut forged, &world);
    world.inject(BOB, from, &forged);
    assert_eq!(world.seen(BOB), []);
    let good = stranger.initiate(world.now.unix).bytes;
    world.inject(BOB, from, &good);
    assert_eq!(world.seen(BOB), [Kind::Response]);
}

/// W-32.
#[test]
fn of_two_initiations_less_than_20_ms_apart_the_second_is_not_taken() {
    let (mut world, mut stranger, from) = bob_and_stranger();
    for (wait, expected) in [(0, vec![Kind::Response]), (19, vec![]), (1, vec![Kind::Response])] {
        world.advance(ms(wait));
        let unix = world.now.unix;
        let initiation = stranger.initiate(unix).bytes;
        world.inject(BOB, from, &initiation);
        assert_eq!(world.seen(BOB), expected, "{wait}");
    }
}

/// W-33.
#[test]
fn a_peer_whose_clock_is_wrong_by_decades_can_connect() {
    for unix in [Duration::ZERO, secs(4_000_000_000)] {
        let (mut world, mut stranger, from) = bob_and_stranger();
        let initiation = stranger.initiate(unix).bytes;
        world.inject(BOB, from, &initiation);
        assert_eq!(world.seen(BOB), [Kind::Response]);
    }
}

/// W-34.
#[test]
fn an_unknown_static_key_is_met_with_silence() {
    let (mut world, _, from) = bob_and_stranger();
    let mut unknown = Stranger::new(PrivateKey::new([99; 32]), world.key(BOB));
    let initiation = unknown.initiate(world.now.unix).bytes;
    world.inject(BOB, from, &initiation);
    assert_eq!(world.seen(BOB), []);
    assert_eq!(world.drops(BOB, DropReason::BadHandshake), 1);
}

/// W-34, W-20.
#[test]
fn an_initiation_with_any_one_bit_turned_is_met_with_silence() {
    let (mut world, mut stranger, from) = bob_and_stranger();
    world.hosts[BOB].device_mut().set_under_load(Some(false));
    let good = stranger.initiate(world.now.unix).bytes;
    for bit in 0..132 * 8 {
        let mut bytes = good.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        world.inject(BOB, from, &bytes);
    }
    // An attacker can compute MAC1. What it covers and Noise does not is the type and the sender's index.
    for bit in 8 * 8..116 * 8 {
        let mut bytes = good.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        remac(&mut bytes, &world);
        world.inject(BOB, from, &bytes);
    }
    assert_eq!(world.seen(BOB), []);
    world.inject(BOB, from, &good);
    assert_eq!(world.seen(BOB), [Kind::Response]);
}

/// W-35.
#[test]
fn a_response_with_any_one_bit_turned_is_dropped_and_the_good_one_still_taken() {
    let (mut world, mut stranger) = alice_and_answering_stranger();
    world.send(ALICE, BOB);
    let (good, _) = stranger.respond(&world.last(ALICE, Kind::Initiation).bytes).unwrap();
    world.forget_log();
    let from = world.hosts[BOB].address();
    world.hosts[ALICE].device_mut().set_under_load(Some(false));
    for bit in 8 * 8..60 * 8 {
        let mut bytes = good.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let mac = mac1(&world.key(ALICE), &bytes[..60]);
        bytes[60..76].copy_from_slice(&mac);
        world.inject(ALICE, from, &bytes);
    }
    assert_eq!(world.seen(ALICE), []);
    world.inject(ALICE, from, &good);
    assert_eq!(world.seen(ALICE), [Kind::Data(96)]);
}

/// W-35.
#[test]
fn a_second_copy_of_a_response_is_dropped() {
    let (mut world, mut stranger) = alice_and_answering_stranger();
    world.send(ALICE, BOB);
    let initiation = world.last(ALICE, Kind::Initiation).bytes;
    let (response, _) = stranger.respond(&initiation).unwrap();
    let from = world.hosts[BOB].address();
    world.inject(ALICE, from, &response);
    let rx = world.peer(ALICE, BOB).rx_bytes;
    world.forget_log();
    world.advance(ms(5));
    world.inject(ALICE, from, &response);
    assert_eq!(world.seen(ALICE), []);
    assert_eq!(world.peer(ALICE, BOB).rx_bytes, rx);
}

/// W-35.
#[test]
fn a_response_that_nobody_asked_for_is_dropped() {
    let mut world = World::pair();
    world.introduce(BOB, ALICE, true);
    world.cut();
    world.send(BOB, ALICE);
    let mut stranger = Stranger::new(world.private(ALICE), world.key(BOB));
    let (mut response, _) = stranger.respond(&world.last(BOB, Kind::Initiation).bytes).unwrap();
    world.forget_log();
    response[8] ^= 1;
    let mac = mac1(&world.key(BOB), &response[..60]);
    response[60..76].copy_from_slice(&mac);
    let from = world.hosts[ALICE].address();
    world.inject(BOB, from, &response);
    assert_eq!(world.seen(BOB), []);
    assert!(!world.peer(BOB, ALICE).has_session);
}

/// W-36. On a slow wire jitter alone would not part the retries of both.
#[test]
fn when_both_start_at_once_both_have_a_session_within_two_retries_on_a_slow_wire_too() {
    for (delay, retries) in [(0, 2), (1, 2), (10, 2), (50, 2), (100, 2), (300, 2), (1_000, 2)] {
        let mut world = World::pair();
        world.introduce(BOB, ALICE, true);
        world.fate = Box::new(move |_| Fate::Delay(ms(delay)));
        let to_bob = packet::between(1, 2, 1);
        let to_alice = packet::between(2, 1, 2);
        world.send_only(ALICE, &to_bob);
        world.send_only(BOB, &to_alice);
        world.advance(ms(retries * 5_333 + 4 * delay));
        assert_eq!((world.delivered(BOB), world.delivered(ALICE)), (vec![to_bob], vec![to_alice]), "{delay} ms");
        assert!(world.peer(ALICE, BOB).has_session && world.peer(BOB, ALICE).has_session);
    }
}

/// W-36.
#[test]
fn taking_a_peers_initiation_gives_our_own_attempt_up() {
    let (mut world, mut stranger) = alice_and_answering_stranger();
    world.send(ALICE, BOB);
    let (response, _) = stranger.respond(&world.last(ALICE, Kind::Initiation).bytes).unwrap();
    let initiation = stranger.initiate(world.now.unix).bytes;
    world.forget_log();
    let from = world.hosts[BOB].address();
    world.inject(ALICE, from, &initiation);
    assert_eq!(world.seen(ALICE), [Kind::Response]);
    world.inject(ALICE, from, &response);
    assert_eq!(world.seen(ALICE), [], "the answer to the attempt given up");
}

/// W-36, W-42.
#[test]
fn what_waited_for_our_own_attempt_goes_with_the_peers() {
    let (mut world, mut stranger, from) = bob_and_stranger();
    world.introduce(BOB, ALICE, true);
    world.cut();
    world.send(BOB, ALICE);
    let mut session = unconfirmed(&mut world, &mut stranger, from);
    let keepalive = session.seal(&[]);
    world.inject(BOB, from, &keepalive);
    assert_eq!(world.seen(BOB), [Kind::Data(96)]);
    assert!(session.open(&world.last(BOB, Kind::Data(96)).bytes).is_some());
}

/// Makes MAC1 right again.
fn remac(initiation: &mut [u8], world: &World) {
    let mac = mac1(&world.key(BOB), &initiation[..116]);
    initiation[116..132].copy_from_slice(&mac);
}
