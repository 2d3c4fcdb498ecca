//! Changes to live peers: what they change, and all that they do not.

use adit_protocol::DropReason;
use adit_wireguard::{AllowedIpChange, DeviceChange, PeerChange};

use super::{bob_and_stranger, confirmed};
use crate::world::{ALICE, BOB, Kind, Sent, World, secs};

/// W-116.
#[test]
fn edits_of_a_live_peer_keep_its_session_and_its_counters() {
    let mut world = World::connected();
    let before = world.peer(ALICE, BOB);
    let mut edit = PeerChange::new(world.key(BOB));
    edit.endpoint = Some(world.hosts[BOB].address());
    edit.persistent_keepalive = Some(0);
    edit.replace_allowed_ips = true;
    edit.allowed_ips = vec![AllowedIpChange::Add("10.0.0.2/32".parse().unwrap())];
    world.apply(ALICE, DeviceChange { peers: vec![edit], ..DeviceChange::default() });
    let after = world.peer(ALICE, BOB);
    assert_eq!((after.rx_bytes, after.tx_bytes), (before.rx_bytes, before.tx_bytes));
    assert_eq!(after.last_handshake, before.last_handshake);
    assert_eq!(world.send(ALICE, BOB), Sent::AtOnce);
    assert_eq!(world.seen(ALICE), [Kind::Data(96)]);
    assert_eq!(world.delivered(BOB).len(), 1);
}

/// W-116, W-31.
#[test]
fn edits_of_a_live_peer_keep_the_greatest_timestamp() {
    let (mut world, mut stranger, from) = bob_and_stranger();
    let initiation = stranger.initiate(world.now.unix).bytes;
    world.inject(BOB, from, &initiation);
    world.introduce(BOB, ALICE, true);
    world.advance(secs(1));
    world.forget_log();
    world.inject(BOB, from, &initiation);
    assert_eq!(world.seen(BOB), []);
}

/// W-113.
#[test]
fn updating_or_removing_a_peer_that_is_not_there_does_nothing() {
    let mut world = World::new();
    world.add_host(1);
    world.add_host(2);
    let mut update = PeerChange::new(world.key(BOB));
    update.update_only = true;
    update.persistent_keepalive = Some(1);
    update.endpoint = Some(world.hosts[BOB].address());
    let mut remove = PeerChange::new(world.key(BOB));
    remove.remove = true;
    world.apply(ALICE, DeviceChange { peers: vec![update, remove], ..DeviceChange::default() });
    assert!(world.hosts[ALICE].device().status(world.now).peers.is_empty());
    assert_eq!(world.seen(ALICE), []);
}

/// W-113.
#[test]
fn updating_a_peer_that_is_there_changes_it() {
    let mut world = World::connected();
    let mut update = PeerChange::new(world.key(BOB));
    update.update_only = true;
    update.persistent_keepalive = Some(7);
    world.apply(ALICE, DeviceChange { peers: vec![update], ..DeviceChange::default() });
    assert_eq!(world.peer(ALICE, BOB).persistent_keepalive, 7);
}

/// W-113.
#[test]
fn replacing_peers_removes_those_there_were() {
    let mut world = World::connected();
    world.add_host(3);
    let carol = world.hosts[2].as_peer(None);
    world.apply(ALICE, DeviceChange { replace_peers: true, peers: vec![carol], ..DeviceChange::default() });
    let peers = world.hosts[ALICE].device().status(world.now).peers;
    assert_eq!(peers.iter().map(|p| p.public_key).collect::<Vec<_>>(), [world.key(2)]);
    assert_eq!(world.send(ALICE, BOB), Sent::Dropped(DropReason::NoRoute));
}

/// W-113.
#[test]
fn replacing_networks_takes_away_those_there_were() {
    let mut world = World::connected();
    let mut edit = PeerChange::new(world.key(BOB));
    edit.replace_allowed_ips = true;
    world.apply(ALICE, DeviceChange { peers: vec![edit], ..DeviceChange::default() });
    assert!(world.peer(ALICE, BOB).allowed_ips.is_empty());
    assert_eq!(world.send(ALICE, BOB), Sent::Dropped(DropReason::NoRoute));
}

/// W-114.
#[test]
fn a_network_is_taken_away_only_from_the_peer_that_has_it() {
    let mut world = World::pair();
    world.add_host(3);
    world.introduce(ALICE, 2, true);
    let take = |peer: usize, world: &mut World| {
        let mut edit = PeerChange::new(world.key(peer));
        edit.allowed_ips = vec![AllowedIpChange::Remove("10.0.0.2/32".parse().unwrap())];
        world.apply(ALICE, DeviceChange { peers: vec![edit], ..DeviceChange::default() });
        world.peer(ALICE, BOB).allowed_ips.len()
    };
    assert_eq!(take(2, &mut world), 2, "it is Bob's");
    assert_eq!(take(BOB, &mut world), 1);
    assert_eq!(world.send(ALICE, BOB), Sent::Dropped(DropReason::NoRoute));
}

/// W-116. Waiting packets of a live peer are not lost by an edit either.
#[test]
fn edits_keep_what_waits_for_a_handshake() {
    let mut world = World::pair();
    world.cut();
    world.send(ALICE, BOB);
    world.introduce(ALICE, BOB, true);
    assert_eq!(world.peer(ALICE, BOB).staged, 1);
    world.heal();
    world.advance(secs(6));
    assert_eq!(world.delivered(BOB).len(), 1);
}

/// W-118.
#[test]
fn very_many_peers_are_made_shown_and_removed() {
    let mut world = World::new();
    world.add_host(1);
    let peers = (0..24_000_u32).map(|n| {
        let mut key = [9; 32];
        key[..4].copy_from_slice(&n.to_le_bytes());
        let mut peer = PeerChange::new(adit_wireguard::PublicKey::new(key));
        let net = format!("{}/32", std::net::Ipv4Addr::from(0x2000_0000 + n));
        peer.allowed_ips = vec![AllowedIpChange::Add(net.parse().unwrap())];
        peer
    });
    world.apply(ALICE, DeviceChange { peers: peers.collect(), ..DeviceChange::default() });
    assert_eq!(world.hosts[ALICE].device().status(world.now).peers.len(), 24_000);
    world.apply(ALICE, DeviceChange { replace_peers: true, ..DeviceChange::default() });
    assert!(world.hosts[ALICE].device().status(world.now).peers.is_empty());
}

/// W-116.
#[test]
fn a_peer_added_while_data_flows_disturbs_nobody() {
    let (mut world, mut stranger, from) = bob_and_stranger();
    confirmed(&mut world, &mut stranger, from);
    world.add_host(3);
    world.introduce(BOB, 2, true);
    assert_eq!(world.send(BOB, ALICE), Sent::AtOnce);
}
