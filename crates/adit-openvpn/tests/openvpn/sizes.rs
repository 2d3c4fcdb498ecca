//! How large things are: packets in pieces (`fragment`), segments of TCP that fit one datagram (`mssfix`).

use std::time::Duration;

use adit_openvpn::{Cipher, ClientChange, ClientConfig, ClientEvent, Digest, Framing, MssFix};
use adit_protocol::{DropReason, Protocol as _};

use crate::papers::Papers;
use crate::world::{Weather, World, client_config, packet, server_at, server_config};

const NET: [u8; 4] = [10, 8, 0, 1];

/// A packet of this length.
fn long(from: [u8; 4], to: [u8; 4], len: u16) -> Vec<u8> {
    let mut packet = packet(from, to, len.into());
    packet[2..4].copy_from_slice(&len.to_be_bytes());
    packet.extend((packet.len()..len.into()).map(|n| (n * 7) as u8));
    packet
}

/// A client and a server that cut packets, each at its own size.
fn world_in_pieces(cipher: Cipher, framing: Framing, (client_size, server_size): (u16, u16)) -> World {
    let papers = Papers::new();
    let mut server = server_config(&papers);
    (server.ciphers, server.framing, server.digest) = (vec![cipher], framing, Digest::Sha256);
    server.fragment = Some(server_size);
    let fragment = Some(client_size);
    let client =
        ClientConfig { ciphers: vec![cipher], framing, digest: Digest::Sha256, fragment, ..client_config(&papers) };
    let mut world = World::new(server, vec![client]);
    world.until("connected", |world| world.clients[0].core.is_up());
    world
}

/// The longest datagrams of the data channel under way, to the server and from it.
fn longest(world: &World) -> (usize, usize) {
    let data = |to_server: bool| {
        let all = world.overheard().into_iter().filter(|(to, ..)| (*to == server_at()) == to_server);
        all.filter(|(.., datagram)| matches!(datagram[0] >> 3, 6 | 9)).map(|(.., datagram)| datagram.len()).max()
    };
    (data(true).unwrap(), data(false).unwrap())
}

#[test]
fn packets_of_any_size_arrive_in_datagrams_that_are_not_too_long() {
    for cipher in Cipher::ALL {
        for framing in [Framing::None, Framing::Lzo, Framing::Swap, Framing::StubV2] {
            let mut world = world_in_pieces(cipher, framing, (500, 600));
            for len in [24, 300, 440, 460, 499, 500, 501, 520, 540, 600, 1001, 1500, 4000, 9000] {
                world.up(0, &long(World::inner(0), NET, len));
                world.down(&long(NET, World::inner(0), len));
                world.drain();
                let (up, down) = longest(&world);
                assert!(up <= 500 && down <= 600, "{cipher} {framing:?}, {len} bytes: {up} {down}");
                assert!(
                    len < 4000 || (up > 440 && down > 440),
                    "{cipher}, {len} bytes: pieces are not small: {up} {down}"
                );
                world.pass(Duration::from_millis(50));
                assert_eq!(world.arrived.pop(), Some(long(World::inner(0), NET, len)), "{cipher} {framing:?}");
                assert_eq!(
                    world.clients[0].arrived.pop(),
                    Some(long(NET, World::inner(0), len)),
                    "{cipher} {framing:?}"
                );
            }
        }
    }
}

#[test]
fn what_would_take_too_many_pieces_is_dropped_and_counted() {
    let mut world = world_in_pieces(Cipher::Aes256Gcm, Framing::None, (150, 150));
    world.up(0, &long(World::inner(0), NET, 9000));
    world.down(&long(NET, World::inner(0), 9000));
    world.pass(Duration::from_millis(50));
    assert!(world.arrived.is_empty());
    assert_eq!(world.clients[0].core.drops().of(DropReason::TooLong), 1);
    assert_eq!(world.server.drops().of(DropReason::TooLong), 1);
}

#[test]
fn pieces_that_are_lost_lose_their_packet_alone() {
    let mut world = world_in_pieces(Cipher::ChaCha20Poly1305, Framing::None, (500, 500));
    world.weather = Weather { loss: 5, twice: 20, late: 3 };
    for len in (700..1500).cycle().take(3000) {
        world.up(0, &long(World::inner(0), NET, len));
        world.pass(Duration::from_millis(1));
    }
    world.pass(Duration::from_secs(1));
    assert!(world.arrived.len() > 2000, "{}", world.arrived.len());
    for arrived in &world.arrived {
        let len = u16::from_be_bytes([arrived[2], arrived[3]]);
        assert_eq!(*arrived, long(World::inner(0), NET, len));
    }
}

#[test]
fn pieces_that_wait_for_keys_and_pieces_during_a_renewal_arrive() {
    let papers = Papers::new();
    let mut server = server_config(&papers);
    server.fragment = Some(500);
    let client = ClientConfig { fragment: Some(500), ..client_config(&papers) };
    let mut world = World::new(server, vec![client]);
    for len in [600, 1200] {
        world.up(0, &long(World::inner(0), NET, len));
    }
    world.until("both", |world| world.arrived.len() == 2);
    world.clients[0].core.apply(world.now, ClientChange::Renegotiate);
    let mut sent = 2;
    world.until("renewed", |world| {
        world.up(0, &long(World::inner(0), NET, 1400));
        sent += 1;
        world.clients[0].events.contains(&ClientEvent::Renewed)
    });
    world.pass(Duration::from_secs(1));
    assert_eq!(world.arrived.len(), sent);
}

#[test]
fn a_piece_does_not_come_from_anothers_address() {
    let mut world = world_in_pieces(Cipher::Aes256Gcm, Framing::None, (500, 500));
    world.up(0, &long([10, 8, 0, 77], NET, 1400));
    world.pass(Duration::from_millis(50));
    assert!(world.arrived.is_empty());
    assert_eq!(world.server.drops().of(DropReason::WrongSource), 1);
}

/// The beginning of a TCP connection that would take segments of 1460 bytes.
fn syn(from: [u8; 4], to: [u8; 4]) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 44, 0, 0, 0, 0, 64, 6, 0, 0];
    packet.extend(from);
    packet.extend(to);
    packet.extend([0x30, 0x39, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x60, 2, 0xff, 0xff, 0, 0, 0, 0, 2, 4, 0x05, 0xb4]);
    packet
}

#[test]
fn segments_are_clamped_both_ways_by_either_end() {
    // A tunnel packet of AES-256-GCM takes 24 bytes, one with epochs 28; IP and UDP take 28, IP and TCP inside 40.
    let own = MssFix::default();
    for (client, server, expected) in [
        (own, own, 1492 - 28 - 28 - 40),
        (own, MssFix::Off, 1492 - 28 - 28 - 40),
        (MssFix::Off, own, 1492 - 28 - 28 - 40),
        (MssFix::Off, MssFix::Datagram { size: 1300, with_headers: false }, 1300 - 28 - 40),
        (MssFix::Inside(1200), MssFix::Off, 1160),
        (MssFix::Off, MssFix::Off, 1460),
    ] {
        let papers = Papers::new();
        let mut config = server_config(&papers);
        config.mssfix = server;
        let mut world = World::new(config, vec![ClientConfig { mssfix: client, ..client_config(&papers) }]);
        world.until("connected", |world| world.clients[0].core.is_up());
        world.up(0, &syn(World::inner(0), NET));
        world.down(&syn(NET, World::inner(0)));
        world.pass(Duration::from_millis(50));
        let (up, down) = (world.arrived.pop().unwrap(), world.clients[0].arrived.pop().unwrap());
        for packet in [up, down] {
            assert_eq!(u16::from_be_bytes([packet[42], packet[43]]), expected, "{client:?} {server:?}");
        }
    }
}
