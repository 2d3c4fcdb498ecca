//! Previous, current and next session: which is used, which is kept, which is let go.

use adit_protocol::DropReason;
use adit_wireguard::{DeviceChange, Event, PeerChange};

use super::{alice_and_answering_stranger, answer, bob_and_stranger, confirmed, unconfirmed};
use crate::world::{ALICE, BOB, Kind, Sent, World, ms, packet, secs};

/// W-40.
#[test]
fn the_initiator_sends_what_waits_at_once_in_order() {
    let mut world = World::pair();
    let packets: Vec<_> = (0..5).map(|id| packet::between(1, 2, id)).collect();
    for bytes in &packets {
        assert_eq!(world.send_only(ALICE, bytes), Sent::Staged);
    }
    world.settle();
    assert_eq!(world.seen(ALICE)[1..], [Kind::Data(96); 5]);
    assert_eq!(world.delivered(BOB), packets);
}

/// W-40.
#[test]
fn the_initiator_confirms_the_key_with_one_keepalive_when_nothing_waits() {
    let mut world = World::pair();
    let mut peer = PeerChange::new(world.key(BOB));
    peer.persistent_keepalive = Some(1_000);
    world.apply(ALICE, DeviceChange { peers: vec![peer], ..DeviceChange::default() });
    assert_eq!(world.seen(ALICE), [Kind::Initiation, Kind::Keepalive]);
    assert!(world.peer(BOB, ALICE).has_session);
}

/// W-40, W-44.
#[test]
fn an_initiators_third_oldest_session_is_refused() {
    let (mut world, mut stranger) = alice_and_answering_stranger();
    let from = world.hosts[BOB].address();
    world.send(ALICE, BOB);
    let mut sessions = vec![answer(&mut world, &mut stranger)];
    for _ in 0..2 {
        world.advance(ms(5_001));
        let mut again = PeerChange::new(world.key(BOB));
        again.persistent_keepalive = Some(0);
        world.apply(ALICE, DeviceChange { peers: vec![again], ..DeviceChange::default() });
        world.advance(secs(121));
        world.send(ALICE, BOB);
        sessions.push(answer(&mut world, &mut stranger));
    }
    let mut unknown = world.drops(ALICE, DropReason::UnknownSession);
    for (n, expected) in [(2, true), (1, true), (0, false)] {
        let datagram = sessions[n].seal(&packet::v4(2, 1, 40));
        world.inject(ALICE, from, &datagram);
        assert_eq!(world.delivered(ALICE).len(), usize::from(expected), "session {n}");
        unknown += u64::from(!expected);
    }
    assert_eq!(world.drops(ALICE, DropReason::UnknownSession), unknown);
}

/// W-40.
#[test]
fn an_initiator_with_a_next_session_keeps_that_and_drops_the_current_one() {
    let (mut world, mut stranger) = alice_and_answering_stranger();
    let from = world.hosts[BOB].address();
    world.send(ALICE, BOB);
    let mut current = answer(&mut world, &mut stranger);
    world.advance(secs(121));
    world.send(ALICE, BOB);
    let initiation = world.last(ALICE, Kind::Initiation).bytes;
    // A handshake the other way round comes first, and takes Alice's attempt with it; five seconds on she tries again.
    let pending = stranger.initiate(world.now.unix);
    world.inject(ALICE, from, &pending.bytes);
    let response = world.last(ALICE, Kind::Response).bytes;
    let mut next = pending.finish(&response, &world.key(BOB)).unwrap();
    world.advance(ms(5_334));
    world.send(ALICE, BOB);
    world.advance(ms(5_334));
    assert_ne!(world.last(ALICE, Kind::Initiation).bytes, initiation);
    let mut newest = answer(&mut world, &mut stranger);
    for (session, expected) in [(&mut newest, 1), (&mut next, 1), (&mut current, 0)] {
        let datagram = session.seal(&packet::v4(2, 1, 40));
        world.inject(ALICE, from, &datagram);
        assert_eq!(world.delivered(ALICE).len(), expected);
    }
}

/// W-41.
#[test]
fn the_responder_sends_nothing_under_a_key_that_the_initiator_has_not_used() {
    let (mut world, mut stranger, from) = bob_and_stranger();
    let mut session = unconfirmed(&mut world, &mut stranger, from);
    assert!(!world.peer(BOB, ALICE).has_session);
    assert_eq!(world.send(BOB, ALICE), Sent::Staged);
    assert_eq!(world.seen(BOB), []);
    let keepalive = session.seal(&[]);
    world.inject(BOB, from, &keepalive);
    assert_eq!(world.seen(BOB), [Kind::Data(96)]);
}

/// W-41.
#[test]
fn the_responder_goes_on_with_the_current_key_until_the_next_is_confirmed() {
    let (mut world, mut stranger, from) = bob_and_stranger();
    let mut first = confirmed(&mut world, &mut stranger, from);
    world.advance(ms(20));
    let mut second = unconfirmed(&mut world, &mut stranger, from);
    assert_eq!(world.send(BOB, ALICE), Sent::AtOnce);
    assert!(first.open(&world.last(BOB, Kind::Data(96)).bytes).is_some());
    let keepalive = second.seal(&[]);
    world.inject(BOB, from, &keepalive);
    assert_eq!(world.send(BOB, ALICE), Sent::AtOnce);
    assert!(second.open(&world.last(BOB, Kind::Data(96)).bytes).is_some());
    let late = first.seal(&packet::v4(1, 2, 40));
    world.inject(BOB, from, &late);
    assert_eq!(world.delivered(BOB).len(), 1, "the previous one is still heard");
}

/// W-41, W-44.
#[test]
fn the_responder_drops_the_previous_session_and_an_unused_next_one_with_each_response() {
    let (mut world, mut stranger, from) = bob_and_stranger();
    let mut previous = confirmed(&mut world, &mut stranger, from);
    world.advance(ms(20));
    let mut current = confirmed(&mut world, &mut stranger, from);
    world.advance(ms(20));
    let mut unused = unconfirmed(&mut world, &mut stranger, from);
    world.advance(ms(20));
    let mut next = unconfirmed(&mut world, &mut stranger, from);
    for (session, expected) in [(&mut previous, 0), (&mut unused, 0), (&mut current, 1), (&mut next, 1)] {
        let datagram = session.seal(&packet::v4(1, 2, 40));
        world.inject(BOB, from, &datagram);
        assert_eq!(world.delivered(BOB).len(), expected);
    }
    assert_eq!(world.drops(BOB, DropReason::UnknownSession), 2);
}

/// W-42, W-101.
#[test]
fn the_responders_handshake_is_complete_with_the_first_data_under_the_new_key() {
    let (mut world, mut stranger, from) = bob_and_stranger();
    let mut session = unconfirmed(&mut world, &mut stranger, from);
    world.advance(secs(3));
    assert_eq!(world.peer(BOB, ALICE).last_handshake, None);
    assert!(!world.events(BOB).contains(&Event::HandshakeCompleted(world.key(ALICE))));
    let keepalive = session.seal(&[]);
    world.inject(BOB, from, &keepalive);
    assert_eq!(world.peer(BOB, ALICE).last_handshake, Some(world.now.unix));
    assert!(world.events(BOB).contains(&Event::HandshakeCompleted(world.key(ALICE))));
}

/// W-42.
#[test]
fn a_forgery_under_the_next_key_confirms_nothing() {
    let (mut world, mut stranger, from) = bob_and_stranger();
    let mut session = unconfirmed(&mut world, &mut stranger, from);
    let mut keepalive = session.seal(&[]);
    keepalive[20] ^= 1;
    world.inject(BOB, from, &keepalive);
    assert!(!world.peer(BOB, ALICE).has_session);
    assert_eq!(world.drops(BOB, DropReason::Forged), 1);
}

/// W-43, W-51.
#[test]
fn data_is_accepted_until_its_key_is_180_seconds_old() {
    let (mut world, mut stranger, from) = bob_and_stranger();
    let mut session = confirmed(&mut world, &mut stranger, from);
    world.advance(ms(179_999));
    let datagram = session.seal(&packet::v4(1, 2, 40));
    world.inject(BOB, from, &datagram);
    assert_eq!(world.delivered(BOB).len(), 1);
    world.advance(ms(1));
    let datagram = session.seal(&packet::v4(1, 2, 40));
    world.inject(BOB, from, &datagram);
    assert_eq!(world.delivered(BOB).len(), 0);
    assert_eq!(world.drops(BOB, DropReason::ExpiredSession), 1);
}

/// W-43.
#[test]
fn the_previous_key_has_its_own_180_seconds() {
    let (mut world, mut stranger, from) = bob_and_stranger();
    let mut previous = confirmed(&mut world, &mut stranger, from);
    world.advance(secs(100));
    let mut current = confirmed(&mut world, &mut stranger, from);
    world.advance(ms(79_999));
    let datagram = previous.seal(&packet::v4(1, 2, 40));
    world.inject(BOB, from, &datagram);
    assert_eq!(world.delivered(BOB).len(), 1);
    world.advance(ms(1));
    for (session, expected) in [(&mut previous, 0), (&mut current, 1)] {
        let datagram = session.seal(&packet::v4(1, 2, 40));
        world.inject(BOB, from, &datagram);
        assert_eq!(world.delivered(BOB).len(), expected);
    }
}

/// W-44, W-121.
#[test]
fn data_with_an_unknown_index_is_met_with_silence() {
    let (mut world, mut stranger, from) = bob_and_stranger();
    let mut session = confirmed(&mut world, &mut stranger, from);
    world.forget_log();
    session.remote ^= 1;
    let datagram = session.seal(&packet::v4(1, 2, 40));
    world.inject(BOB, from, &datagram);
    assert_eq!(world.seen(BOB), []);
    assert_eq!(world.drops(BOB, DropReason::UnknownSession), 1);
}
