//! Two devices that talk, in virtual time.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use adit_protocol::{
    Delivery, DropReason, Inbound, IpPacket, Now, Open as _, Opening, Outbound, Output, Path, Protocol as _, Seal as _,
    Sealing,
};

use super::Device;
use crate::cookie::MacKeys;
use crate::hash::mac;
use crate::{AllowedIpChange, DeviceChange, Event, OpenJob, PeerChange, PrivateKey, PublicKey, SealJob};

/// One device, its address, and what it has put out.
struct Side {
    device: Device,
    address: SocketAddr,
    public: PublicKey,
    wire: Vec<(Path, Vec<u8>)>,
    inside: Vec<Vec<u8>>,
    events: Vec<Event>,
    deadline: Option<Instant>,
}

impl Side {
    fn new(n: u8, now: Now) -> Self {
        let private = PrivateKey::new([n; 32]);
        let public = private.public_key();
        let mut device = Device::new([n; 32], now);
        device.apply(now, DeviceChange { private_key: Some(private), ..DeviceChange::default() });
        let address = SocketAddr::from(([192, 0, 2, n], 51820));
        Self { device, address, public, wire: vec![], inside: vec![], events: vec![], deadline: None }
    }

    fn meet(&mut self, now: Now, peer: &Self, n: u8, edit: impl FnOnce(&mut PeerChange)) {
        let mut change = PeerChange::new(peer.public);
        change.endpoint = Some(peer.address);
        change.allowed_ips = vec![AllowedIpChange::Add(format!("10.0.0.{n}/32").parse().unwrap())];
        edit(&mut change);
        self.device.apply(now, DeviceChange { peers: vec![change], ..DeviceChange::default() });
    }

    fn seal(job: SealJob, packet: Option<&IpPacket<'_>>) -> Vec<u8> {
        let mut datagram = vec![0xaa; job.wire_len(packet.map_or(0, IpPacket::len))];
        job.lay_out(packet, &mut datagram);
        SealJob::seal_batch(&mut [Sealing { job, datagram: &mut datagram }]);
        datagram
    }

    fn drain(&mut self, now: Now) {
        loop {
            match self.device.poll_output(now) {
                Output::Transmit { to, datagram, .. } => self.wire.push((to, datagram)),
                Output::Seal { job, to, packet } => {
                    self.wire.push((to, Self::seal(job, IpPacket::parse(&packet).as_ref())));
                }
                Output::Event(event) => self.events.push(event),
                Output::Timeout(at, _) => break self.deadline = at,
            }
        }
    }

    fn send(&mut self, now: Now, packet: &[u8]) -> Option<DropReason> {
        let packet = IpPacket::parse(packet).unwrap();
        let dropped = match self.device.plan_outbound(now, &packet) {
            Outbound::Seal { job, to } => {
                self.wire.push((to, Self::seal(job, Some(&packet))));
                None
            }
            Outbound::Staged => None,
            Outbound::Drop(reason) => Some(reason),
        };
        self.drain(now);
        dropped
    }

    fn receive(&mut self, now: Now, from: SocketAddr, mut datagram: Vec<u8>) -> Option<DropReason> {
        let dropped = match self.device.plan_inbound(now, Path::to(from), &mut datagram) {
            Inbound::Open(job) => {
                let mut batch = [Opening::<OpenJob>::new(job, &mut datagram)];
                OpenJob::open_batch(&mut batch);
                match batch[0].outcome.take() {
                    None => Some(DropReason::Forged),
                    Some(opened) => match self.device.commit_inbound(now, opened, &datagram) {
                        Delivery::Packet(range) => {
                            self.inside.push(datagram[range].to_vec());
                            None
                        }
                        Delivery::Nothing => None,
                        Delivery::Drop(reason) => Some(reason),
                    },
                }
            }
            Inbound::Handled => None,
            Inbound::Drop(reason) => Some(reason),
        };
        self.drain(now);
        dropped
    }

    fn timeout(&mut self, now: Now) {
        self.device.handle_timeout(now);
        self.drain(now);
    }
}

/// Alice and Bob, and a clock of their own.
struct Pair {
    now: Now,
    alice: Side,
    bob: Side,
}

impl Pair {
    fn new() -> Self {
        #[expect(clippy::disallowed_methods, reason = "a test must begin somewhere; no result depends on it")]
        let start = Instant::now();
        let now = Now { instant: start, unix: Duration::from_secs(1_700_000_000) };
        let (mut alice, mut bob) = (Side::new(1, now), Side::new(2, now));
        alice.meet(now, &bob, 2, |_| {});
        bob.meet(now, &alice, 1, |change| change.endpoint = None);
        Self { now, alice, bob }
    }

    fn connected() -> Self {
        let mut pair = Self::new();
        pair.alice.send(pair.now, &packet(1, 2, 28));
        pair.exchange();
        pair
    }

    /// Carries what is on the wire until there is nothing; says the types and lengths that went by.
    fn exchange(&mut self) -> Vec<(char, u8, usize)> {
        let mut seen = vec![];
        loop {
            let (a, b) = (std::mem::take(&mut self.alice.wire), std::mem::take(&mut self.bob.wire));
            if a.is_empty() && b.is_empty() {
                return seen;
            }
            for (_, datagram) in a {
                seen.push(('a', datagram[0], datagram.len()));
                self.bob.receive(self.now, self.alice.address, datagram);
            }
            for (_, datagram) in b {
                seen.push(('b', datagram[0], datagram.len()));
                self.alice.receive(self.now, self.bob.address, datagram);
            }
        }
    }

    fn sleep(&mut self, time: Duration) {
        self.now.instant += time;
        self.now.unix += time;
        self.alice.timeout(self.now);
        self.bob.timeout(self.now);
    }

    /// Goes from deadline to deadline for so long, and tells what was sent when.
    fn run(&mut self, time: Duration) -> Vec<(Duration, char, u8, usize)> {
        let (start, end) = (self.now.instant, self.now.instant + time);
        let mut seen: Vec<_> =
            self.exchange().into_iter().map(|(who, kind, len)| (Duration::ZERO, who, kind, len)).collect();
        loop {
            let next = [self.alice.deadline, self.bob.deadline].into_iter().flatten().min();
            let at = next.filter(|at| *at <= end).unwrap_or(end);
            self.sleep(at.saturating_duration_since(self.now.instant));
            let passed = self.now.instant - start;
            seen.extend(self.exchange().into_iter().map(|(who, kind, len)| (passed, who, kind, len)));
            if next.is_none_or(|at| at > end) {
                return seen;
            }
        }
    }
}

fn packet(from: u8, to: u8, len: u16) -> Vec<u8> {
    let mut bytes = vec![0; usize::from(len)];
    bytes[0] = 0x45;
    bytes[2..4].copy_from_slice(&len.to_be_bytes());
    bytes[12..16].copy_from_slice(&[10, 0, 0, from]);
    bytes[16..20].copy_from_slice(&[10, 0, 0, to]);
    bytes
}

#[test]
fn two_devices_shake_hands_and_exchange_packets() {
    let mut pair = Pair::new();
    assert_eq!(pair.alice.send(pair.now, &packet(1, 2, 28)), None);
    assert_eq!(pair.exchange(), [('a', 1, 148), ('b', 2, 92), ('a', 4, 64)]);
    assert_eq!(pair.bob.inside, [packet(1, 2, 28)]);
    pair.bob.send(pair.now, &packet(2, 1, 1000));
    assert_eq!(pair.exchange(), [('b', 4, 1040)]);
    assert_eq!(pair.alice.inside, [packet(2, 1, 1000)]);
    assert!(pair.alice.events.contains(&Event::HandshakeCompleted(pair.bob.public)));
    assert!(pair.bob.events.contains(&Event::HandshakeCompleted(pair.alice.public)));
}

#[test]
fn ten_echoes_are_counted_as_the_kernel_counts_them() {
    let mut pair = Pair::new();
    for _ in 0..10 {
        pair.alice.send(pair.now, &packet(1, 2, 84));
        pair.exchange();
        pair.bob.send(pair.now, &packet(2, 1, 84));
        pair.exchange();
    }
    let status = pair.alice.device.status(pair.now);
    assert_eq!((status.peers[0].tx_bytes, status.peers[0].rx_bytes), (1428, 1372));
    let status = pair.bob.device.status(pair.now);
    assert_eq!((status.peers[0].tx_bytes, status.peers[0].rx_bytes), (1372, 1428));
}

#[test]
fn an_unanswered_initiation_is_repeated_nineteen_times_and_then_given_up() {
    let mut pair = Pair::new();
    pair.bob.device.set_up(pair.now, false);
    pair.alice.send(pair.now, &packet(1, 2, 28));
    let seen = pair.run(Duration::from_secs(300));
    assert_eq!(seen.len(), 20);
    assert!(seen.windows(2).all(|w| {
        let gap = w[1].0 - w[0].0;
        gap >= Duration::from_secs(5) && gap <= Duration::from_millis(5333)
    }));
    assert!(pair.alice.events.contains(&Event::HandshakeGaveUp(pair.bob.public)));
    assert_eq!(pair.alice.device.drops().of(DropReason::HandshakeFailed), 1);
}

#[test]
fn silence_follows_one_keepalive() {
    let mut pair = Pair::connected();
    let seen = pair.run(Duration::from_secs(600));
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0], (Duration::from_secs(10), 'b', 4, 32));
    assert_eq!(pair.alice.deadline, None);
    assert_eq!(pair.alice.device.shared.index.len(), 0, "secrets are wiped");
}

#[test]
fn an_initiator_that_sends_renews_after_two_minutes() {
    let mut pair = Pair::connected();
    for _ in 0..11 {
        pair.run(Duration::from_secs(11));
        pair.alice.send(pair.now, &packet(1, 2, 28));
    }
    assert_eq!(pair.exchange(), [('a', 4, 64), ('a', 1, 148), ('b', 2, 92), ('a', 4, 32)]);
}

/// A handshake where one may be begun; within five seconds of another (§6.1) an empty packet must do.
#[test]
fn a_peer_that_is_called_answers_at_once_and_the_session_goes_on() {
    let mut pair = Pair::connected();
    let call = |pair: &mut Pair| {
        pair.alice.device.call_peers(pair.now);
        pair.alice.drain(pair.now);
        pair.exchange()
    };
    assert_eq!(call(&mut pair), [('a', 4, 32)]);
    pair.run(Duration::from_secs(6));
    assert_eq!(call(&mut pair), [('a', 1, 148), ('b', 2, 92), ('a', 4, 32)]);
    pair.bob.send(pair.now, &packet(2, 1, 28));
    assert_eq!(pair.exchange(), [('b', 4, 64)]);
    pair.alice.device.set_up(pair.now, false);
    assert_eq!(call(&mut pair), [], "a device that is down calls nobody");
}

#[test]
fn both_starting_at_once_reach_a_session() {
    let mut pair = Pair::new();
    let now = pair.now;
    let alice = &pair.alice;
    pair.bob.meet(now, alice, 1, |_| {});
    pair.alice.send(now, &packet(1, 2, 28));
    pair.bob.send(now, &packet(2, 1, 28));
    pair.exchange();
    pair.run(Duration::from_secs(11));
    assert_eq!(pair.bob.inside.len(), 1);
    assert_eq!(pair.alice.inside.len(), 1);
}

#[test]
fn under_load_a_cookie_is_asked_for_and_then_shown() {
    let mut pair = Pair::new();
    pair.bob.device.set_under_load(Some(true));
    pair.alice.send(pair.now, &packet(1, 2, 28));
    assert_eq!(pair.exchange(), [('a', 1, 148), ('b', 3, 64)]);
    let seen: Vec<_> = pair.run(Duration::from_secs(6)).into_iter().map(|(_, who, kind, _)| (who, kind)).collect();
    assert_eq!(seen, [('a', 1), ('b', 2), ('a', 4)]);
}

#[test]
fn a_flood_from_one_address_bothers_only_that_address() {
    let mut pair = Pair::new();
    pair.alice.send(pair.now, &packet(1, 2, 28));
    let (_, initiation) = pair.alice.wire.pop().unwrap();
    let flooder = SocketAddr::from(([198, 51, 100, 7], 1));
    let mut initiation_of_another = initiation.clone();
    initiation_of_another[8] ^= 1;
    let mac1 = mac(&MacKeys::new(&pair.bob.public).mac1, &[&initiation_of_another[..116]]);
    initiation_of_another[116..132].copy_from_slice(&mac1);
    for _ in 0..5000 {
        pair.bob.receive(pair.now, flooder, initiation_of_another.clone());
    }
    assert!(pair.bob.device.drops().of(DropReason::UnderLoad) > 3900);
    pair.bob.wire.clear();
    pair.bob.receive(pair.now, pair.alice.address, initiation);
    assert_eq!(pair.exchange(), [('b', 2, 92), ('a', 4, 64)]);
}

#[test]
fn a_peer_that_is_removed_leaves_nothing_behind() {
    let mut pair = Pair::connected();
    pair.bob.send(pair.now, &packet(2, 1, 28));
    let (_, in_flight) = pair.bob.wire.pop().unwrap();
    let mut change = PeerChange::new(pair.bob.public);
    change.remove = true;
    pair.alice.device.apply(pair.now, DeviceChange { peers: vec![change], ..DeviceChange::default() });
    pair.alice.drain(pair.now);
    assert_eq!(pair.alice.receive(pair.now, pair.bob.address, in_flight), Some(DropReason::UnknownSession));
    assert_eq!(pair.alice.send(pair.now, &packet(1, 2, 28)), Some(DropReason::NoRoute));
    assert_eq!((pair.alice.deadline, pair.alice.wire.len()), (None, 0));
    assert_eq!(pair.alice.device.shared.index.len(), 0);
}

#[test]
fn packets_that_wait_for_one_peer_in_vain_take_no_room_of_another() {
    let mut pair = Pair::new();
    let silent = Side::new(9, pair.now);
    pair.alice.meet(pair.now, &silent, 9, |_| {});
    for _ in 0..crate::constants::MAX_STAGED_BYTES / 60_000 + 1 {
        pair.alice.send(pair.now, &packet(1, 9, 60_000));
        assert!(pair.alice.device.shared.staged_bytes <= crate::constants::MAX_STAGED_BYTES_OF_PEER);
    }
    pair.alice.wire.clear();
    pair.alice.send(pair.now, &packet(1, 2, 60_000));
    pair.exchange();
    assert_eq!(pair.bob.inside, [packet(1, 2, 60_000)]);
}

#[test]
fn packets_that_wait_for_many_peers_in_vain_do_not_keep_another_from_a_session() {
    use crate::constants::{MAX_STAGED_BYTES, MAX_STAGED_BYTES_OF_PEER};
    let mut pair = Pair::new();
    for number in 0..=(MAX_STAGED_BYTES / (MAX_STAGED_BYTES_OF_PEER - 60_000)) as u8 {
        let silent = Side::new(100 + number, pair.now);
        pair.alice.meet(pair.now, &silent, 100 + number, |_| {});
        for _ in 0..5 {
            pair.alice.send(pair.now, &packet(1, 100 + number, 60_000));
        }
    }
    assert!(pair.alice.device.shared.staged_bytes > MAX_STAGED_BYTES - 60_000);
    pair.alice.wire.clear();
    pair.alice.send(pair.now, &packet(1, 2, 60_000));
    assert_eq!(pair.exchange(), [('a', 1, 148), ('b', 2, 92), ('a', 4, 32)], "lost, but asked for a session");
    pair.alice.send(pair.now, &packet(1, 2, 60_000));
    pair.exchange();
    assert_eq!(pair.bob.inside, [packet(1, 2, 60_000)]);
}

#[test]
fn a_peer_with_a_key_of_low_order_costs_nothing_after_the_first_packet() {
    let mut pair = Pair::new();
    let mut change = PeerChange::new(PublicKey::new([0; 32]));
    change.endpoint = Some(pair.bob.address);
    change.allowed_ips = vec![AllowedIpChange::Add("10.0.0.9/32".parse().unwrap())];
    pair.alice.device.apply(pair.now, DeviceChange { peers: vec![change], ..DeviceChange::default() });
    pair.alice.drain(pair.now);
    pair.alice.send(pair.now, &packet(1, 9, 28));
    let before = pair.alice.device.shared.rng.clone();
    for _ in 0..10 {
        pair.alice.send(pair.now, &packet(1, 9, 28));
    }
    assert_eq!(pair.alice.device.shared.rng, before, "no ephemeral key was drawn");
    assert!(pair.alice.wire.is_empty());
}
