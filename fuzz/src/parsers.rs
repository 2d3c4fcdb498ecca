//! Parsers: one input, no memory.

use adit_protocol::{IpPacket, Protocol as _};
use adit_wireguard::uapi::{Parser, Request, parse_get, parse_set};

use crate::world::{ALICE, BOB, World};

/// One datagram to a device that knows a peer and has no session with it.
pub fn message(data: &[u8]) {
    let mut world = World::pair();
    let before = format!("{:?}", world.hosts[BOB].device().status(world.now).peers);
    let from = world.hosts[ALICE].address();
    world.inject(BOB, from, data);
    assert!(world.log.is_empty(), "an answer to a stranger");
    assert_eq!(format!("{:?}", world.hosts[BOB].device().status(world.now).peers), before);
    assert_eq!(world.hosts[BOB].deadline, None);
    assert_eq!(world.hosts[BOB].device().drops().total(), 1);
}

/// Bytes on the control socket. The first says how they are cut.
pub fn uapi(data: &[u8]) {
    let Some((cut, bytes)) = data.split_first() else { return };
    let whole = requests(bytes, usize::MAX);
    let cut = requests(bytes, usize::from(*cut).max(1));
    assert_eq!(format!("{whole:?}"), format!("{cut:?}"), "cutting makes no difference");
    for request in whole {
        if let Request::Set(set, _) = request {
            let text = set.emit();
            let again = requests(text.as_bytes(), usize::MAX);
            let [Request::Set(again, Ok(()))] = &again[..] else { panic!("{again:?}") };
            assert_eq!(again.emit(), text);
        }
    }
    let text = String::from_utf8_lossy(bytes);
    drop(parse_get(&text));
    let _ = parse_set(&text);
}

fn requests(bytes: &[u8], cut: usize) -> Vec<Request> {
    let mut parser = Parser::with_scopes(|name| (name.len() < 9).then_some(7));
    let mut requests = Vec::new();
    for mut part in bytes.chunks(cut.min(bytes.len().max(1))) {
        while let Some(request) = parser.feed(&mut part) {
            requests.push(request);
        }
        assert!(part.is_empty(), "all bytes are taken");
    }
    requests.extend(parser.finish());
    assert!(parser.finish().is_none());
    requests
}

/// Bytes that may be an IP packet.
pub fn ip_packet(data: &[u8]) {
    let exact = IpPacket::parse(data);
    let padded = IpPacket::parse_padded(data);
    if let Some(packet) = &exact {
        assert_eq!(packet.len(), data.len());
        assert!(padded.is_some(), "no padding is little padding");
    }
    if let Some(packet) = &padded {
        let len = packet.len();
        assert!(len <= data.len());
        let again = IpPacket::parse(&data[..len]).expect("the packet without its padding is a packet");
        assert!(matches!((again.version(), data[0] >> 4), (4, 4) | (6, 6)));
        let (head, tail) = again.pieces();
        assert_eq!([head, tail].concat(), data[..len]);
        assert_eq!((again.source(), again.destination()), (packet.source(), packet.destination()));
        assert_eq!(again.source().is_ipv4(), again.version() == 4);
        assert_eq!(again.ecn(), packet.ecn());
        let mut copy = vec![0; len];
        again.copy_to(&mut copy);
        assert_eq!(copy, data[..len]);
        again.copy_to(&mut copy[1..]);
    }
    for at in [0, 1, 19, 20, 39, 40, 60, data.len() / 2] {
        let Some((head, tail)) = data.split_at_checked(at) else { continue };
        if let Some(packet) = IpPacket::parse_split(head, tail) {
            let exact = exact.expect("two pieces are one packet");
            assert_eq!((packet.source(), packet.len()), (exact.source(), exact.len()));
        }
    }
}
