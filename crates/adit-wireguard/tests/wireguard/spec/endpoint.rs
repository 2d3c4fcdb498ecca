//! Where a peer is: whom the endpoint follows, and which of our addresses answers leave from.

use std::net::SocketAddr;

use adit_protocol::DropReason;
use adit_wireguard::{DeviceChange, Event, PeerChange};

use super::{alice_and_answering_stranger, bob_and_stranger, confirmed};
use crate::world::{ALICE, BOB, Kind, Sent, World, ms, packet, secs};

/// W-80.
#[test]
fn the_endpoint_follows_authentic_data_across_ports_addresses_and_families() {
    let mut world = World::connected();
    for place in ["192.0.2.1:40000", "203.0.113.5:40000", "[2001:db8::5]:40000", "192.0.2.1:51820"] {
        let place: SocketAddr = place.parse().unwrap();
        world.hosts[ALICE].addresses = vec![place];
        world.send(ALICE, BOB);
        assert_eq!(world.peer(BOB, ALICE).endpoint, Some(place));
        assert!(world.events(BOB).contains(&Event::EndpointMoved(world.key(ALICE), place)));
        world.send(BOB, ALICE);
        assert_eq!(world.delivered(ALICE).len(), 1);
    }
}

/// W-80.
#[test]
fn the_endpoint_follows_an_authentic_keepalive_and_initiation() {
    let (mut world, mut stranger, from) = bob_and_stranger();
    let mut session = confirmed(&mut world, &mut stranger, from);
    assert_eq!(world.peer(BOB, ALICE).endpoint, Some(from));
    let elsewhere: SocketAddr = "[2001:db8::9]:7".parse().unwrap();
    let keepalive = session.seal(&[]);
    world.inject(BOB, elsewhere, &keepalive);
    assert_eq!(world.peer(BOB, ALICE).endpoint, Some(elsewhere));
    world.advance(ms(20));
    let initiation = stranger.initiate(world.now.unix).bytes;
    world.inject(BOB, from, &initiation);
    assert_eq!(world.peer(BOB, ALICE).endpoint, Some(from));
    assert_eq!(world.last(BOB, Kind::Response).to.remote, from);
}

/// W-80.
#[test]
fn the_endpoint_follows_an_authentic_response() {
    let (mut world, mut stranger) = alice_and_answering_stranger();
    world.send(ALICE, BOB);
    let (response, _) = stranger.respond(&world.last(ALICE, Kind::Initiation).bytes).unwrap();
    let elsewhere: SocketAddr = "203.0.113.77:9".parse().unwrap();
    world.inject(ALICE, elsewhere, &response);
    assert_eq!(world.peer(ALICE, BOB).endpoint, Some(elsewhere));
    assert_eq!(world.last(ALICE, Kind::Data(96)).to.remote, elsewhere);
}

/// W-80.
#[test]
fn neither_forgeries_nor_replays_move_the_endpoint() {
    let (mut world, mut stranger, from) = bob_and_stranger();
    let initiation = stranger.initiate(world.now.unix).bytes;
    world.inject(BOB, from, &initiation);
    let mut session = {
        world.advance(ms(20));
        confirmed(&mut world, &mut stranger, from)
    };
    let good = session.seal(&packet::v4(1, 2, 40));
    world.inject(BOB, from, &good);
    let mut forged = session.seal(&packet::v4(1, 2, 40));
    forged[30] ^= 1;
    let mut forged_initiation = stranger.initiate(world.now.unix + secs(5)).bytes;
    forged_initiation[100] ^= 1;
    let thief: SocketAddr = "203.0.113.66:666".parse().unwrap();
    world.events(BOB);
    for bytes in [good, forged, initiation, forged_initiation, vec![4; 64]] {
        world.inject(BOB, thief, &bytes);
        assert_eq!(world.peer(BOB, ALICE).endpoint, Some(from));
    }
    assert_eq!(world.events(BOB), []);
}

/// W-80.
#[test]
fn in_a_batch_the_last_valid_datagram_says_where_the_peer_is() {
    let (mut world, mut stranger, from) = bob_and_stranger();
    let mut session = confirmed(&mut world, &mut stranger, from);
    let first: SocketAddr = "203.0.113.1:1".parse().unwrap();
    let last: SocketAddr = "203.0.113.2:2".parse().unwrap();
    let (one, two) = (session.seal(&[]), session.seal(&[]));
    world.inject(BOB, first, &two);
    world.inject(BOB, last, &one);
    assert_eq!(world.peer(BOB, ALICE).endpoint, Some(last), "order of arrival counts, not the counter");
}

/// W-81.
#[test]
fn to_a_peer_without_endpoint_nothing_is_sent_until_it_calls_in() {
    let mut world = World::pair();
    assert_eq!(world.send(BOB, ALICE), Sent::Dropped(DropReason::NoEndpoint));
    world.advance(secs(100));
    assert_eq!(world.seen(BOB), []);
    world.send(ALICE, BOB);
    assert_eq!(world.send(BOB, ALICE), Sent::AtOnce);
    assert_eq!(world.delivered(ALICE).len(), 1);
}

/// W-81, W-66.
#[test]
fn a_persistent_keepalive_to_a_peer_without_endpoint_sends_nothing() {
    let mut world = World::pair();
    let mut peer = PeerChange::new(world.key(ALICE));
    peer.persistent_keepalive = Some(1);
    world.apply(BOB, DeviceChange { peers: vec![peer], ..DeviceChange::default() });
    world.advance(secs(100));
    assert_eq!(world.seen(BOB), []);
}

/// W-82.
#[test]
fn answers_leave_from_the_address_they_were_asked_at() {
    let mut world = World::pair();
    let second: SocketAddr = "198.51.100.200:51820".parse().unwrap();
    world.hosts[BOB].addresses.push(second);
    let mut peer = PeerChange::new(world.key(BOB));
    peer.endpoint = Some(second);
    world.apply(ALICE, DeviceChange { peers: vec![peer], ..DeviceChange::default() });
    world.send(ALICE, BOB);
    assert_eq!(world.last(BOB, Kind::Response).source, second);
    world.send(BOB, ALICE);
    assert_eq!(world.last(BOB, Kind::Data(96)).to.local, Some(second.ip()));
    assert_eq!(world.peer(ALICE, BOB).endpoint, Some(second));
}

/// W-82.
#[test]
fn the_own_address_is_forgotten_when_routing_may_have_changed() {
    let mut world = World::connected();
    world.send(BOB, ALICE);
    assert!(world.last(BOB, Kind::Data(96)).to.local.is_some());
    world.hosts[BOB].device_mut().forget_sources();
    world.send(BOB, ALICE);
    assert_eq!(world.last(BOB, Kind::Data(96)).to.local, None);
    world.send(ALICE, BOB);
    world.send(BOB, ALICE);
    assert!(world.last(BOB, Kind::Data(96)).to.local.is_some(), "and learnt again");
}

/// W-82.
#[test]
fn the_own_address_is_forgotten_when_another_endpoint_is_set() {
    let mut world = World::connected();
    let mut peer = PeerChange::new(world.key(ALICE));
    peer.endpoint = Some(([203, 0, 113, 9], 9).into());
    world.apply(BOB, DeviceChange { peers: vec![peer], ..DeviceChange::default() });
    world.send(BOB, ALICE);
    assert_eq!(world.last(BOB, Kind::Data(96)).to.local, None);
}
