//! OpenVPN: its parsers, and a client and a server with a session, in the world of their own tests.

#[expect(dead_code, reason = "shared with the tests of adit-openvpn, which use all of it")]
#[path = "../../crates/adit-openvpn/tests/openvpn/papers.rs"]
mod papers;
#[expect(dead_code, reason = "shared with the tests of adit-openvpn, which use all of it")]
#[path = "../../crates/adit-openvpn/tests/openvpn/world.rs"]
mod world;

use std::time::Duration;

use adit_openvpn::{
    Body, ClientChange, ClientKey, Deframer, First, MAX_FRAME, ServerChange, ServerEvent, ServerKey, StaticKey,
    frame_length,
};
use adit_protocol::Protocol as _;

use world::{World, packet, server_at};

/// What the first byte chooses: a control packet, a stream of TCP, a key file.
pub fn openvpn_parsers(data: &[u8]) {
    let Some((kind, data)) = data.split_first() else { return };
    match kind % 3 {
        0 => control_packet(data),
        1 => stream(data),
        _ => key_files(data),
    }
}

fn control_packet(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else { return };
    let Some(first) = First::parse(*first) else { return };
    assert_eq!(First::parse(first.byte()), Some(first));
    let Some(body) = Body::parse(first.opcode, rest) else { return };
    let mut again = vec![];
    body.emit(&mut again);
    assert_eq!(again, rest);
}

fn stream(data: &[u8]) {
    let mut whole = vec![];
    let at_once = Deframer::default().push(data, |packet| whole.push(packet.to_vec()));
    let (mut deframer, mut pieces) = (Deframer::default(), vec![]);
    let in_pieces = data.chunks(3).try_for_each(|piece| deframer.push(piece, |packet| pieces.push(packet.to_vec())));
    assert_eq!((at_once, &whole), (in_pieces, &pieces));
    assert!(whole.iter().all(|packet| packet.len() <= MAX_FRAME && frame_length(packet).is_some()));
}

fn key_files(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(key) = StaticKey::parse(text) {
        assert!(StaticKey::parse(&key.emit()).is_ok());
    }
    if let Ok(key) = ServerKey::parse(text) {
        assert!(ServerKey::parse(&key.emit()).is_ok());
    }
    if let Ok(key) = ClientKey::parse(text) {
        assert_eq!(ClientKey::parse(&key.emit()).map(|again| again.wrapped), Ok(key.wrapped));
    }
}

/// Bytes as commands: strangers, each end in the other's name, packets heard before, and a peer without manners.
pub fn openvpn_live(data: &[u8]) {
    // Every packet in two pieces, too.
    [None, Some(50)].into_iter().for_each(|fragment| live(data, fragment));
}

fn live(data: &[u8], fragment: Option<u16>) {
    let mut world = World::connected_with(fragment);
    let mut input = Input(data);
    let (mut heard, mut sent) = (vec![], 0);
    for _ in 0..MAX_COMMANDS {
        let Some(command) = input.byte() else { break };
        let client = world.clients[0].at;
        match command % 11 {
            0 => world.arrive(server_at(), ([203, 0, 113, input.0.len() as u8], 7).into(), input.bytes()),
            1 => world.arrive(server_at(), client, input.bytes()),
            2 => world.arrive(client, server_at(), input.bytes()),
            3 => {
                let at = usize::from(input.byte().unwrap_or(0));
                let Some((to, from, datagram)) = heard.get(at % heard.len().max(1)).cloned() else { continue };
                world.arrive(to, from, mutated(datagram, input.byte().unwrap_or(0)));
            }
            4 => world.up(0, &packet(World::inner(0), [10, 8, 0, 1], number(&mut sent))),
            5 => world.down(&packet([10, 8, 0, 1], World::inner(0), number(&mut sent))),
            6 => world.pass(Duration::from_millis(u64::from(input.byte().unwrap_or(0)).pow(2))),
            7 => world.clients[0].core.apply(world.now, ClientChange::Renegotiate),
            8 => of_the_client(&mut world, ServerChange::Renegotiate),
            9 => {
                let text = input.text();
                of_the_client(&mut world, |client| ServerChange::Say(client, text));
            }
            _ => {
                let text = input.text();
                world.clients[0].core.apply(world.now, ClientChange::Say(text));
            }
        }
        world.drain();
        if heard.len() < 200 {
            heard.extend(world.overheard());
        }
        assert!(world.server.sessions() <= MAX_COMMANDS);
    }
    world.pass(Duration::from_secs(1));
    let mut arrived: Vec<_> = world.arrived.iter().chain(&world.clients[0].arrived).collect();
    let count = arrived.len();
    arrived.sort();
    arrived.dedup();
    assert_eq!(arrived.len(), count, "a packet entered twice");
    assert!(count <= sent as usize, "a packet that nobody sent");
}

/// So many commands of one input are looked at.
const MAX_COMMANDS: usize = 100;

/// The input, taken from the front.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn bytes(&mut self) -> Vec<u8> {
        let len = u16::from_le_bytes([self.byte().unwrap_or(0), self.byte().unwrap_or(0)]) % 2_048;
        let (taken, rest) = self.0.split_at(usize::from(len).min(self.0.len()));
        self.0 = rest;
        taken.to_vec()
    }

    fn text(&mut self) -> String {
        String::from_utf8_lossy(&self.bytes()).into_owned()
    }
}

/// No two packets are the same.
fn number(sent: &mut u32) -> u32 {
    *sent += 1;
    *sent
}

/// Zero leaves it as it is.
fn mutated(mut datagram: Vec<u8>, by: u8) -> Vec<u8> {
    let at = usize::from(by) % datagram.len().max(1);
    if let Some(byte) = datagram.get_mut(at) {
        *byte ^= by;
    }
    datagram
}

/// For the client that joined last.
fn of_the_client(world: &mut World, change: impl FnOnce(adit_openvpn::ClientId) -> ServerChange) {
    let joined = world.news.iter().rev().find_map(|event| match event {
        ServerEvent::Joined(client) => Some(*client),
        ServerEvent::Ask(_)
        | ServerEvent::Renewed(_)
        | ServerEvent::Moved(..)
        | ServerEvent::Said(..)
        | ServerEvent::Carried(..)
        | ServerEvent::Left(..) => None,
    });
    if let Some(client) = joined {
        world.server.apply(world.now, change(client));
    }
}
