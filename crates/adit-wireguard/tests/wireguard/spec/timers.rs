//! Timers, with exact deadlines: what happens a millisecond before, and a millisecond later.

use adit_protocol::DropReason;
use adit_wireguard::{DeviceChange, Event, PeerChange};

use super::{alice_and_answering_stranger, answer, bob_and_stranger, confirmed, unconfirmed};
use crate::world::{ALICE, BOB, Fate, Kind, Sent, World, ms, packet, secs};

/// W-60.
#[test]
fn whatever_triggers_them_two_initiations_are_five_seconds_apart() {
    let mut world = World::pair();
    world.cut();
    for _ in 0..3_000 {
        world.send(ALICE, BOB);
        keepalive(&mut world, ALICE, BOB, 0);
        keepalive(&mut world, ALICE, BOB, 1);
        world.advance(ms(7));
    }
    let times = world.times(ALICE, Kind::Initiation);
    assert!(times.len() >= 4);
    assert!(times.windows(2).all(|w| w[1] - w[0] >= secs(5)), "{times:?}");
}

/// W-60.
#[test]
fn for_five_seconds_after_a_response_no_initiation_is_sent() {
    let (mut world, mut stranger, from) = bob_and_stranger();
    unconfirmed(&mut world, &mut stranger, from);
    let responded = world.clock();
    while world.times(BOB, Kind::Initiation).is_empty() {
        world.send(BOB, ALICE);
        world.advance(ms(1));
        assert!(world.clock() < secs(6), "it is sent when the five seconds are over");
    }
    let initiated = world.times(BOB, Kind::Initiation)[0];
    assert!(initiated - responded >= secs(5), "{:?}", initiated - responded);
    assert!(initiated - responded <= ms(5_334), "{:?}", initiated - responded);
}

/// W-61.
#[test]
fn an_initiation_is_repeated_after_five_seconds_and_up_to_a_third_until_twenty_were_sent() {
    let mut world = World::pair();
    world.cut();
    world.send(ALICE, BOB);
    world.advance(secs(200));
    let times = world.times(ALICE, Kind::Initiation);
    assert_eq!(times.len(), 20);
    let gaps: Vec<_> = times.windows(2).map(|w| w[1] - w[0]).collect();
    assert!(gaps.iter().all(|gap| (secs(5)..=ms(5_334)).contains(gap)), "{gaps:?}");
    assert!(gaps.iter().any(|gap| *gap != gaps[0]), "with jitter");
}

/// W-61.
#[test]
fn after_the_last_attempt_what_waited_is_dropped_and_nothing_more_is_sent() {
    let mut world = World::pair();
    world.cut();
    for _ in 0..3 {
        world.send(ALICE, BOB);
    }
    world.advance(secs(120));
    assert_eq!(world.peer(ALICE, BOB).staged, 0);
    assert_eq!(world.drops(ALICE, DropReason::HandshakeFailed), 3);
    assert!(world.events(ALICE).contains(&Event::HandshakeGaveUp(world.key(BOB))));
    world.forget_log();
    world.heal();
    world.advance(secs(3_600));
    assert_eq!(world.seen(ALICE), []);
    assert_eq!(world.delivered(BOB).len(), 0);
}

/// W-61.
#[test]
fn after_giving_up_new_data_starts_again_from_zero() {
    let mut world = World::pair();
    world.cut();
    world.send(ALICE, BOB);
    world.advance(secs(120));
    world.forget_log();
    world.send(ALICE, BOB);
    assert_eq!(world.seen(ALICE), [Kind::Initiation], "at once");
    world.advance(secs(200));
    assert_eq!(world.seen(ALICE), [Kind::Initiation; 19]);
}

/// W-61, W-82.
#[test]
fn a_repeated_initiation_leaves_the_source_address_to_the_routing_table() {
    let mut world = World::connected();
    world.send(BOB, ALICE);
    world.advance(secs(180));
    world.cut();
    world.forget_log();
    world.send(BOB, ALICE);
    world.advance(secs(6));
    let sent: Vec<_> = world.log.iter().filter(|s| s.host == BOB && s.kind == Kind::Initiation).collect();
    assert_eq!(sent.len(), 2);
    assert_eq!(sent[0].to.local, Some(world.hosts[BOB].address().ip()));
    assert_eq!(sent[1].to.local, None);
}

/// W-62.
#[test]
fn an_initiator_who_sends_with_a_key_older_than_120_seconds_asks_for_a_new_one() {
    let mut world = World::connected();
    world.advance(ms(119_999));
    world.forget_log();
    world.send(ALICE, BOB);
    assert_eq!(world.seen(ALICE), [Kind::Data(96)]);
    world.advance(ms(2));
    world.forget_log();
    world.send(ALICE, BOB);
    let seen = world.seen(ALICE);
    assert!(seen.contains(&Kind::Initiation), "{seen:?}");
    assert_eq!(world.seen(BOB), [Kind::Response]);
    assert_eq!(world.delivered(BOB).len(), 2, "the old key is used meanwhile");
}

/// W-62.
#[test]
fn a_keepalive_sent_with_an_old_key_asks_for_a_new_one_too() {
    let mut world = World::connected();
    world.advance(secs(121));
    world.cut();
    world.forget_log();
    keepalive(&mut world, ALICE, BOB, 60);
    assert_eq!(world.seen(ALICE).iter().filter(|kind| **kind == Kind::Initiation).count(), 1);
}

/// W-62.
#[test]
fn a_responder_never_renews_because_of_age() {
    let (mut world, mut stranger, from) = bob_and_stranger();
    let mut session = confirmed(&mut world, &mut stranger, from);
    world.forget_log();
    for _ in 0..35 {
        world.advance(secs(5));
        world.send(BOB, ALICE);
        let answer = session.seal(&[]);
        world.inject(BOB, from, &answer);
    }
    assert!(world.seen(BOB).iter().all(|kind| *kind == Kind::Data(96)));
}

/// W-63.
#[test]
fn an_initiator_who_hears_data_under_a_key_older_than_165_seconds_asks_for_a_new_one() {
    let mut world = World::connected();
    world.advance(ms(164_999));
    world.forget_log();
    world.send(BOB, ALICE);
    assert_eq!(world.seen(ALICE), []);
    world.advance(ms(2));
    world.send(BOB, ALICE);
    assert_eq!(world.seen(ALICE)[0], Kind::Initiation);
    assert_eq!(world.seen(BOB)[..3], [Kind::Data(96), Kind::Data(96), Kind::Response]);
}

/// W-63.
#[test]
fn it_asks_once_for_each_session() {
    let (mut world, mut stranger) = alice_and_answering_stranger();
    let from = world.hosts[BOB].address();
    world.send(ALICE, BOB);
    let mut session = answer(&mut world, &mut stranger);
    world.advance(secs(166));
    world.forget_log();
    for _ in 0..3 {
        let datagram = session.seal(&packet::v4(2, 1, 40));
        world.inject(ALICE, from, &datagram);
    }
    assert_eq!(world.seen(ALICE).iter().filter(|kind| **kind == Kind::Initiation).count(), 1);
}

/// W-64.
#[test]
fn data_that_nothing_answers_for_fifteen_seconds_brings_an_initiation() {
    let mut world = World::connected();
    world.advance(secs(60));
    world.fate = Box::new(|seen| if seen.host == BOB { Fate::Lose } else { Fate::Deliver });
    world.forget_log();
    let sent = world.clock();
    world.send(ALICE, BOB);
    // More data does not push it back.
    for _ in 0..14 {
        world.advance(secs(1));
        world.send(ALICE, BOB);
    }
    world.advance(ms(999));
    assert!(world.seen(ALICE).iter().all(|kind| *kind == Kind::Data(96)), "14.999 s");
    world.advance(ms(335));
    assert_eq!(world.seen(ALICE), [Kind::Initiation]);
    let initiation = world.last(ALICE, Kind::Initiation);
    assert!((secs(15)..=ms(15_334)).contains(&(initiation.at - sent)), "{:?}", initiation.at - sent);
    assert_eq!(initiation.to.local, None, "with the source address left to the routing table");
}

/// W-64.
#[test]
fn any_authentic_packet_is_an_answer() {
    let mut world = World::connected();
    world.advance(secs(60));
    world.forget_log();
    world.send(ALICE, BOB);
    world.advance(secs(60));
    assert_eq!(world.seen(ALICE), [Kind::Data(96)]);
    assert_eq!(world.seen(BOB), [Kind::Keepalive], "after ten seconds, and that is enough");
}

/// W-64.
#[test]
fn an_unanswered_keepalive_brings_nothing() {
    let mut world = World::connected();
    world.advance(secs(60));
    world.send(BOB, ALICE);
    world.cut();
    world.forget_log();
    world.advance(secs(60));
    assert_eq!(world.seen(ALICE), [Kind::Keepalive]);
}

/// W-65.
#[test]
fn data_unanswered_for_ten_seconds_brings_one_keepalive() {
    let mut world = World::connected();
    world.advance(ms(9_999));
    assert_eq!(world.seen(BOB), []);
    world.advance(ms(1));
    assert_eq!(world.seen(BOB), [Kind::Keepalive]);
    world.advance(secs(100));
    assert_eq!(world.seen(BOB), []);
}

/// W-65.
#[test]
fn more_data_meanwhile_brings_one_more_keepalive_ten_seconds_later() {
    let mut world = World::connected();
    world.advance(secs(3));
    for _ in 0..5 {
        world.send(ALICE, BOB);
    }
    world.advance(ms(6_999));
    assert_eq!(world.seen(BOB), []);
    world.advance(ms(1));
    assert_eq!(world.seen(BOB), [Kind::Keepalive]);
    world.advance(ms(9_999));
    assert_eq!(world.seen(BOB), []);
    world.advance(ms(1));
    assert_eq!(world.seen(BOB), [Kind::Keepalive]);
    world.advance(secs(60));
    assert_eq!(world.seen(BOB), []);
}

/// W-65.
#[test]
fn a_keepalive_is_not_answered() {
    let (mut world, mut stranger, from) = bob_and_stranger();
    let mut session = confirmed(&mut world, &mut stranger, from);
    let keepalive = session.seal(&[]);
    world.inject(BOB, from, &keepalive);
    world.forget_log();
    world.advance(secs(100));
    assert_eq!(world.seen(BOB), []);
}

/// W-65.
#[test]
fn any_packet_sent_is_as_good_as_a_keepalive() {
    let mut world = World::connected();
    world.advance(secs(9));
    world.send(BOB, ALICE);
    world.forget_log();
    world.advance(secs(30));
    assert_eq!(world.seen(BOB), []);
    assert_eq!(world.seen(ALICE), [Kind::Keepalive], "to Bob's data");
}

/// W-66.
#[test]
fn a_persistent_keepalive_is_sent_so_long_after_the_last_packet_in_either_direction() {
    let mut world = World::connected();
    world.advance(secs(11)); // Bob has answered what connected them
    keepalive(&mut world, ALICE, BOB, 25);
    assert_eq!(world.seen(ALICE), [Kind::Keepalive], "one at once");
    world.advance(ms(24_999));
    assert_eq!(world.seen(ALICE), []);
    world.advance(ms(1));
    assert_eq!(world.seen(ALICE), [Kind::Keepalive]);
    world.advance(secs(5));
    world.send(ALICE, BOB);
    world.advance(secs(8));
    world.send(BOB, ALICE); // the last packet
    world.forget_log();
    world.advance(ms(9_999));
    assert_eq!(world.seen(ALICE), []);
    world.advance(ms(1));
    assert_eq!(world.seen(ALICE), [Kind::Keepalive], "the one that answers Bob's data");
    world.advance(ms(24_999));
    assert_eq!(world.seen(ALICE), []);
    world.advance(ms(1));
    assert_eq!(world.seen(ALICE), [Kind::Keepalive]);
}

/// W-66.
#[test]
fn a_received_packet_puts_the_persistent_keepalive_off() {
    let (mut world, mut stranger, from) = bob_and_stranger();
    let mut session = confirmed(&mut world, &mut stranger, from);
    keepalive(&mut world, BOB, ALICE, 30);
    world.advance(secs(20));
    let datagram = session.seal(&[]);
    world.inject(BOB, from, &datagram);
    world.forget_log();
    world.advance(ms(29_999));
    assert_eq!(world.seen(BOB), []);
    world.advance(ms(1));
    assert_eq!(world.seen(BOB), [Kind::Keepalive]);
}

/// W-66.
#[test]
fn a_persistent_keepalive_of_zero_is_off() {
    let mut world = World::connected();
    keepalive(&mut world, ALICE, BOB, 5);
    keepalive(&mut world, ALICE, BOB, 0);
    world.advance(secs(12));
    world.forget_log();
    world.advance(secs(100));
    assert_eq!(world.seen(ALICE), []);
}

/// W-66.
#[test]
fn without_a_session_a_persistent_keepalive_starts_a_handshake() {
    let mut world = World::pair();
    keepalive(&mut world, ALICE, BOB, 25);
    assert_eq!(world.seen(ALICE), [Kind::Initiation, Kind::Keepalive]);
}

/// W-66.
#[test]
fn when_the_interface_comes_up_persistent_keepalives_are_sent_at_once() {
    let mut world = World::pair();
    world.set_up(ALICE, false);
    keepalive(&mut world, ALICE, BOB, 25);
    world.advance(secs(60));
    assert_eq!(world.seen(ALICE), [], "not while it is down");
    world.set_up(ALICE, true);
    assert_eq!(world.seen(ALICE), [Kind::Initiation, Kind::Keepalive]);
}

/// W-66, W-61.
#[test]
fn a_persistent_keepalive_goes_on_trying_when_a_handshake_has_failed() {
    let mut world = World::pair();
    world.cut();
    keepalive(&mut world, ALICE, BOB, 25);
    world.advance(secs(600));
    world.heal();
    world.advance(secs(30));
    assert!(world.peer(ALICE, BOB).has_session);
}

/// W-67.
#[test]
fn after_540_seconds_without_a_new_key_everything_secret_is_gone() {
    let (mut world, mut stranger, from) = bob_and_stranger();
    let mut session = confirmed(&mut world, &mut stranger, from);
    world.advance(ms(539_999));
    let datagram = session.seal(&packet::v4(1, 2, 40));
    world.inject(BOB, from, &datagram);
    assert_eq!(world.drops(BOB, DropReason::ExpiredSession), 1, "the session is still known");
    world.advance(ms(1));
    let datagram = session.seal(&packet::v4(1, 2, 40));
    world.inject(BOB, from, &datagram);
    assert_eq!(world.drops(BOB, DropReason::UnknownSession), 1, "and now it is not");
}

/// W-68.
#[test]
fn without_traffic_there_is_silence_before_the_handshake_and_after_it() {
    let mut world = World::pair();
    world.introduce(BOB, ALICE, true);
    world.advance(secs(86_400));
    assert_eq!((world.seen(ALICE), world.seen(BOB)), (vec![], vec![]));
    world.send(ALICE, BOB);
    world.advance(secs(11));
    world.forget_log();
    world.advance(secs(86_400));
    assert_eq!((world.seen(ALICE), world.seen(BOB)), (vec![], vec![]));
}

/// W-68. A device that wants to be called when there is nothing to do is awake for nothing.
#[test]
fn a_device_without_traffic_has_no_deadline() {
    let mut world = World::pair();
    assert_eq!(world.hosts[ALICE].deadline, None);
    world.send(ALICE, BOB);
    world.advance(secs(541));
    assert_eq!((world.hosts[ALICE].deadline, world.hosts[BOB].deadline), (None, None));
}

/// W-69.
#[test]
fn of_more_than_128_packets_that_wait_the_oldest_go() {
    let mut world = World::pair();
    world.cut();
    let packets: Vec<_> = (0..200).map(|id| packet::between(1, 2, id)).collect();
    for bytes in &packets {
        assert_eq!(world.send_packet(ALICE, bytes), Sent::Staged);
    }
    assert_eq!(world.peer(ALICE, BOB).staged, 128);
    assert_eq!(world.drops(ALICE, DropReason::StagingFull), 72);
    world.heal();
    world.advance(secs(6));
    assert_eq!(world.delivered(BOB), packets[72..]);
}

/// Calling late is harmless (the contract): a machine that slept past all deadlines goes on where it can.
#[test]
fn deadlines_missed_by_hours_are_dealt_with_once() {
    let (mut world, mut stranger) = alice_and_answering_stranger();
    world.send(ALICE, BOB);
    answer(&mut world, &mut stranger);
    keepalive(&mut world, ALICE, BOB, 25);
    world.forget_log();
    world.now.instant += secs(36_000);
    world.now.unix += secs(36_000);
    world.advance(secs(1));
    assert_eq!(world.seen(ALICE), [Kind::Initiation]);
    answer(&mut world, &mut stranger);
    assert_eq!(world.seen(ALICE), [Kind::Keepalive]);
    assert!(world.peer(ALICE, BOB).has_session);
}

/// Calling early is harmless (the contract).
#[test]
fn being_called_without_a_reason_changes_nothing() {
    let mut world = World::connected();
    for _ in 0..9_999 {
        world.advance(ms(1));
        let now = world.now;
        world.hosts[BOB].handle_timeout(now);
        assert!(world.hosts[BOB].outbox.is_empty());
    }
    assert_eq!(world.seen(BOB), []);
}

fn keepalive(world: &mut World, host: usize, other: usize, seconds: u16) {
    let mut peer = PeerChange::new(world.key(other));
    peer.persistent_keepalive = Some(seconds);
    world.apply(host, DeviceChange { peers: vec![peer], ..DeviceChange::default() });
}
