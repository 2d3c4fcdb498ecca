//! A live device with a session, and everything that may come over the wire to it.

use std::net::{IpAddr, SocketAddr};

use crate::world::stranger::{Session, Stranger, mac1};
use crate::world::{ALICE, BOB, Kind, World, ms, packet, secs};

/// Bytes as commands: a device under attack by a stranger, and by a peer who has the right key and no manners.
pub fn device_hostile(data: &[u8]) {
    let mut attack = Attack::new();
    let mut input = Input { data };
    for _ in 0..MAX_COMMANDS {
        let Some(command) = input.byte() else { break };
        attack.command(command, &mut input);
        attack.check();
    }
    attack.finish();
}

/// So many commands of one input are looked at.
const MAX_COMMANDS: usize = 200;
/// What a device with one peer says of itself in `Debug` is shorter than this, whatever it was sent: a measure of growth.
const MOST_WORDS: usize = 200_000;

/// The input, taken from the front.
struct Input<'a> {
    data: &'a [u8],
}

impl<'a> Input<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.data.split_first()?;
        self.data = rest;
        Some(*first)
    }

    /// Zero when there is no more.
    fn word(&mut self) -> u16 {
        u16::from_le_bytes([self.byte().unwrap_or(0), self.byte().unwrap_or(0)])
    }

    fn bytes(&mut self) -> &'a [u8] {
        let len = usize::from(self.word() % 2_048).min(self.data.len());
        let (taken, rest) = self.data.split_at(len);
        self.data = rest;
        taken
    }
}

struct Attack {
    world: World,
    stranger: Stranger,
    session: Session,
    /// What was sent to the device before, to be sent again.
    sent: Vec<Vec<u8>>,
    /// Addresses that the device has heard from.
    addresses: Vec<SocketAddr>,
    checked: usize,
}

impl Attack {
    fn new() -> Self {
        let mut world = World::pair();
        let mut stranger = Stranger::new(world.private(ALICE), world.key(BOB)).with_ephemeral([0x42; 32]);
        let from = world.hosts[ALICE].address();
        // Alice's own device is deaf: the attacker speaks in her place.
        world.hosts[ALICE].addresses.clear();
        world.hosts[ALICE].addresses.push(([255, 255, 255, 255], 0).into());
        let pending = stranger.initiate(world.now.unix);
        world.inject(BOB, from, &pending.bytes);
        let response = world.last(BOB, Kind::Response).bytes;
        let mut session = pending.finish(&response, &world.key(ALICE)).expect("a session to begin with");
        let keepalive = session.seal(&[]);
        world.inject(BOB, from, &keepalive);
        assert!(world.peer(BOB, ALICE).has_session);
        let checked = world.log.len();
        Self { world, stranger, session, sent: vec![keepalive], addresses: vec![from], checked }
    }

    fn command(&mut self, command: u8, input: &mut Input<'_>) {
        let from = self.address(input.byte().unwrap_or(0));
        match command % 12 {
            0 => self.arrive(from, input.bytes().to_vec()),
            1 => {
                let mut bytes = self.stranger.initiate(self.world.now.unix).bytes;
                mutate(&mut bytes, input);
                self.arrive(from, bytes);
            }
            2 => {
                // Mutated, with its MAC1 made right again.
                let mut bytes = self.stranger.initiate(self.world.now.unix + ms(input.word().into())).bytes;
                mutate(&mut bytes, input);
                if let Some((covered, mac)) = bytes.split_at_mut_checked(116)
                    && let Some(mac) = mac.get_mut(..16)
                {
                    mac.copy_from_slice(&mac1(&self.world.key(BOB), covered));
                }
                self.arrive(from, bytes);
            }
            3 => {
                // Authentic, with any bytes inside, and any counter.
                let counter = u64::from(input.word()) << (input.byte().unwrap_or(0) % 48);
                let bytes = self.session.seal_at(counter, input.bytes());
                self.arrive(from, bytes);
            }
            4 => {
                let mut bytes = self.session.seal(&packet::v4(1, 2, 20 + input.word() % 1_400));
                mutate(&mut bytes, input);
                self.arrive(from, bytes);
            }
            5 => {
                let again = usize::from(input.word()) % self.sent.len();
                let bytes = self.sent[again].clone();
                self.arrive(from, bytes);
            }
            6 => {
                let answered = self.last_of_bob(&[Kind::Response, Kind::Initiation]);
                let mut bytes = self.stranger.cookie_reply(&answered, &[7; 16]);
                mutate(&mut bytes, input);
                self.arrive(from, bytes);
            }
            7 => {
                let initiation = self.last_of_bob(&[Kind::Initiation]);
                if let Some((mut bytes, _)) = self.respond(&initiation) {
                    mutate(&mut bytes, input);
                    self.arrive(from, bytes);
                }
            }
            8 => self.world.advance(ms(u64::from(input.word()) * 7)),
            9 => self.world.hosts[BOB]
                .device_mut()
                .set_under_load([None, Some(true), Some(false)][from.port() as usize % 3]),
            10 => {
                self.world.send(BOB, ALICE);
            }
            _ => self.renew(from),
        }
    }

    /// One of a few addresses, or of very many.
    fn address(&self, n: u8) -> SocketAddr {
        match n {
            0 => self.addresses[0],
            1..128 => SocketAddr::from(([203, 0, 113, n], u16::from(n))),
            _ => SocketAddr::from(([0x2001, 0xdb8, u16::from(n), 0, 0, 0, 0, 1], 7)),
        }
    }

    fn arrive(&mut self, from: SocketAddr, bytes: Vec<u8>) {
        self.addresses.push(from);
        self.world.inject(BOB, from, &bytes);
        self.sent.push(bytes);
    }

    fn last_of_bob(&self, kinds: &[Kind]) -> Vec<u8> {
        let last = self.world.log.iter().rfind(|s| s.host == BOB && kinds.contains(&s.kind));
        last.map_or_else(|| vec![1; 148], |seen| seen.bytes.clone())
    }

    fn respond(&mut self, initiation: &[u8]) -> Option<(Vec<u8>, Session)> {
        if initiation[..4] != [1, 0, 0, 0] || initiation[8..] == [1; 140] {
            return None;
        }
        self.stranger.respond(initiation)
    }

    /// A session made as it should be.
    fn renew(&mut self, from: SocketAddr) {
        self.world.advance(ms(25));
        let pending = self.stranger.initiate(self.world.now.unix);
        let before = self.world.log.len();
        self.arrive(from, pending.bytes.clone());
        let response = self.world.log[before..].iter().find(|s| s.host == BOB && s.kind == Kind::Response);
        if let Some(response) = response.map(|seen| seen.bytes.clone()) {
            self.session = pending.finish(&response, &self.world.key(ALICE)).expect("the answer to ours");
            let keepalive = self.session.seal(&[]);
            self.arrive(from, keepalive);
        }
    }

    /// What must be true whatever arrived.
    fn check(&mut self) {
        for bytes in self.world.delivered(BOB) {
            let source = adit_protocol::IpPacket::parse(&bytes).expect("a whole packet").source();
            let alices: [IpAddr; 2] = [[10, 0, 0, 1].into(), [0xfd00, 0, 0, 0, 0, 0, 0, 1].into()];
            assert!(alices.contains(&source), "a packet from {source}");
        }
        for seen in &self.world.log[self.checked..] {
            assert_ne!(seen.kind, Kind::Other);
            assert!(self.addresses.contains(&seen.to.remote), "sent to where nobody ever spoke from");
        }
        self.checked = self.world.log.len();
        let status = self.world.hosts[BOB].device().status(self.world.now);
        let [peer] = &status.peers[..] else { panic!("one peer") };
        assert!(peer.staged <= 128 && peer.allowed_ips.len() == 2);
    }

    /// Nothing has grown, and the peer can still make a session.
    fn finish(mut self) {
        let words = format!("{:?}", self.world.hosts[BOB].device());
        assert!(words.len() < MOST_WORDS, "{} bytes", words.len());
        self.world.hosts[BOB].device_mut().set_under_load(Some(false));
        self.world.advance(secs(100));
        self.world.now.unix += secs(1_000);
        let from = self.addresses[0];
        self.renew(from);
        let data = self.session.seal(&packet::v4(1, 2, 40));
        self.world.delivered(BOB);
        self.world.inject(BOB, from, &data);
        assert_eq!(self.world.delivered(BOB), [packet::v4(1, 2, 40)]);
    }
}

/// Turns a few bytes of a message, or cuts it.
fn mutate(bytes: &mut Vec<u8>, input: &mut Input<'_>) {
    for _ in 0..input.byte().unwrap_or(0) % 5 {
        let (at, with) = (usize::from(input.word()), input.byte().unwrap_or(0));
        let len = bytes.len();
        match (with, bytes.get_mut(at % len.max(1))) {
            (0, _) => bytes.truncate(at % len.max(1)),
            (1, _) => bytes.extend([0; 3]),
            (_, Some(byte)) => *byte ^= with,
            (_, None) => {}
        }
    }
}

/// A device that is sent junk, one datagram at a time.
pub struct Flood {
    attack: Attack,
    words: usize,
}

impl Flood {
    /// A device with a session.
    #[expect(clippy::new_without_default, reason = "it does much")]
    pub fn new() -> Self {
        let attack = Attack::new();
        let words = format!("{:?}", attack.world.hosts[BOB].device()).len();
        Self { attack, words }
    }

    /// Two datagrams of this length: one of any kind, one that names the live session.
    pub fn send(&mut self, len: usize) {
        let mut bytes: Vec<u8> = (0..len).map(|n| (n.wrapping_mul(31) ^ len) as u8).collect();
        for (to, byte) in bytes.iter_mut().zip([(len % 6) as u8, 0, 0, 0]) {
            *to = byte;
        }
        let from = self.attack.address((len % 251) as u8);
        self.attack.world.inject(BOB, from, &bytes);
        let header = [[4, 0, 0, 0], self.attack.session.remote.to_le_bytes(), (len as u32).to_le_bytes()].concat();
        for (to, byte) in bytes.iter_mut().zip(header) {
            *to = byte;
        }
        self.attack.world.inject(BOB, from, &bytes);
    }

    /// No answer was given, and nothing has grown.
    pub fn finish(self) {
        let world = &self.attack.world;
        assert_eq!(world.log.len(), self.attack.checked, "an answer to junk");
        assert_eq!(world.peer(BOB, ALICE).staged, 0);
        assert_eq!(world.peer(BOB, ALICE).endpoint, Some(self.attack.addresses[0]));
        let words = format!("{:?}", world.hosts[BOB].device()).len();
        assert!(words < self.words + 1_000, "grown from {} to {words}", self.words);
    }
}
