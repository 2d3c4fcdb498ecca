//! The device against an independent Noise (`snow`), in both roles: whole sessions, data both ways, renewal.

use std::net::SocketAddr;

use adit_wireguard::{DeviceChange, PeerChange, PresharedKey};

use crate::world::stranger::{Session, Stranger};
use crate::world::{ALICE, BOB, Kind, World, packet, secs};

/// W-02, W-03, W-04, W-05.
#[test]
fn a_device_initiates_towards_an_independent_responder() {
    for psk in [[0; 32], [0x5a; 32]] {
        let (mut world, mut stranger) = answering(psk);
        let mut session = start(&mut world, &mut stranger);
        exchange(&mut world, ALICE, &mut session);
    }
}

/// W-02, W-03, W-04, W-05.
#[test]
fn a_device_responds_to_an_independent_initiator() {
    for psk in [[0; 32], [0x5a; 32]] {
        let (mut world, mut stranger) = asking(psk);
        let mut session = ask(&mut world, &mut stranger);
        let keepalive = session.seal(&[]);
        world.inject(BOB, place(), &keepalive);
        exchange(&mut world, BOB, &mut session);
    }
}

/// W-13.
#[test]
fn with_another_preshared_key_a_response_is_sent_and_cannot_be_read() {
    let (mut world, mut stranger) = asking([1; 32]);
    let mut other = Stranger::new(world.private(ALICE), world.key(BOB)).with_psk([2; 32]);
    let pending = other.initiate(world.now.unix);
    world.inject(BOB, place(), &pending.bytes);
    assert_eq!(world.seen(BOB), [Kind::Response]);
    assert!(pending.finish(&world.last(BOB, Kind::Response).bytes, &world.key(ALICE)).is_none());
    world.advance(secs(1));
    ask(&mut world, &mut stranger);
}

/// W-04. Every session has keys of its own.
#[test]
fn a_session_does_not_open_what_another_sealed() {
    let (mut world, mut stranger) = asking([0; 32]);
    let mut sessions = Vec::new();
    for _ in 0..2 {
        let mut session = ask(&mut world, &mut stranger);
        let keepalive = session.seal(&[]);
        world.inject(BOB, place(), &keepalive);
        world.advance(secs(1));
        sessions.push(session);
    }
    world.send_packet(BOB, &packet::v4(2, 1, 84));
    let mut data = world.last(BOB, Kind::Data(128)).bytes;
    assert!(sessions[1].open(&data).is_some());
    data[4..8].copy_from_slice(&sessions[0].local.to_le_bytes());
    assert!(sessions[0].open(&data).is_none());
}

/// W-62. The device renews towards the independent responder, and goes on with the new keys.
#[test]
fn a_session_is_renewed_with_an_independent_responder() {
    let (mut world, mut stranger) = answering([3; 32]);
    let mut session = start(&mut world, &mut stranger);
    for _ in 0..3 {
        exchange(&mut world, ALICE, &mut session);
        world.advance(secs(121));
        session = start(&mut world, &mut stranger);
    }
    exchange(&mut world, ALICE, &mut session);
}

/// Where the stranger is.
fn place() -> SocketAddr {
    SocketAddr::from(([198, 51, 100, 7], 4500))
}

/// A stranger in the place of Alice, who asks Bob.
fn asking(psk: [u8; 32]) -> (World, Stranger) {
    let mut world = World::pair();
    let mut peer = PeerChange::new(world.key(ALICE));
    peer.preshared_key = Some(PresharedKey::new(psk));
    world.apply(BOB, DeviceChange { peers: vec![peer], ..DeviceChange::default() });
    let stranger = Stranger::new(world.private(ALICE), world.key(BOB)).with_psk(psk);
    (world, stranger)
}

/// A stranger in the place of Bob, whom Alice asks.
fn answering(psk: [u8; 32]) -> (World, Stranger) {
    let mut world = World::pair();
    let mut peer = PeerChange::new(world.key(BOB));
    peer.preshared_key = Some(PresharedKey::new(psk));
    peer.endpoint = Some(place());
    world.apply(ALICE, DeviceChange { peers: vec![peer], ..DeviceChange::default() });
    let stranger = Stranger::new(world.private(BOB), world.key(ALICE)).with_psk(psk);
    (world, stranger)
}

fn ask(world: &mut World, stranger: &mut Stranger) -> Session {
    let pending = stranger.initiate(world.now.unix);
    world.inject(BOB, place(), &pending.bytes);
    let response = world.last(BOB, Kind::Response);
    assert_eq!((response.to.remote, response.at), (place(), world.clock()));
    pending.finish(&response.bytes, &world.key(ALICE)).expect("the same keys on both sides")
}

/// Alice has something to say, and the stranger answers her initiation.
fn start(world: &mut World, stranger: &mut Stranger) -> Session {
    world.send(ALICE, BOB);
    let initiation = world.last(ALICE, Kind::Initiation);
    assert_eq!(initiation.at, world.clock());
    let (response, session) = stranger.respond(&initiation.bytes).expect("the same keys on both sides");
    world.inject(ALICE, place(), &response);
    session
}

/// Packets of both families and many sizes, both ways.
fn exchange(world: &mut World, host: usize, session: &mut Session) {
    let (own, other) = if host == ALICE { (1, 2) } else { (2, 1) };
    for len in [40, 84, 576, 1280, 1408, 1420] {
        for (out, back) in [
            (packet::v4(own, other, len), packet::v4(other, own, len)),
            (packet::v6(own, other, len + 20), packet::v6(other, own, len + 20)),
        ] {
            world.send_packet(host, &out);
            let sent = world.log.iter().rfind(|s| matches!(s.kind, Kind::Data(_))).expect("data");
            assert_eq!((sent.host, sent.to.remote), (host, place()));
            let (_, plain) = session.open(&sent.bytes).expect("readable");
            assert_eq!(plain[..out.len()], out);
            let datagram = session.seal(&back);
            world.inject(host, place(), &datagram);
            assert_eq!(world.delivered(host), [back]);
        }
    }
}
