//! What the state machine itself costs: packets of 1420 bytes through two devices, and handshakes, on one core.
//!
//! `cargo run --release -p adit-wireguard --example throughput`

#![expect(clippy::print_stdout, reason = "a report for a person")]
#![expect(clippy::disallowed_methods, reason = "measures real time, outside the core")]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use adit_protocol::{
    Delivery, Inbound, IpPacket, Now, Open as _, Opening, Outbound, Output, Path, Protocol as _, Seal as _, Sealing,
};
use adit_wireguard::{AllowedIpChange, Device, DeviceChange, OpenJob, PeerChange, PrivateKey, PublicKey, SealJob};

const BATCH: usize = 64;
const ROUNDS: usize = 4_000;
const LEN: u16 = 1420;

fn main() {
    let mut now = Now { instant: Instant::now(), unix: Duration::from_secs(1_700_000_000) };
    let (a, b) = (PrivateKey::new([1; 32]), PrivateKey::new([2; 32]));
    let (a_public, b_public) = (a.public_key(), b.public_key());
    let mut alice = device(1, a, b_public, now);
    let mut bob = device(2, b, a_public, now);
    let packet = packet();
    let packet = IpPacket::parse(&packet).expect("a packet");

    drop(alice.plan_outbound(now, &packet));
    handshake(&mut alice, &mut bob, now);
    data(&mut alice, &mut bob, now, &packet);

    let mut spent = Vec::new();
    for _ in 0..2_000 {
        let start = Instant::now();
        now.instant += Duration::from_secs(200);
        now.unix += Duration::from_secs(200);
        drop(alice.plan_outbound(now, &packet));
        handshake(&mut alice, &mut bob, now);
        spent.push(start.elapsed());
    }
    let each = median(&mut spent);
    println!("handshake, both sides: {each:?}, {:.0} a second", 1.0 / each.as_secs_f64());
}

/// Moves packets one way, and says what each phase costs a packet.
fn data(alice: &mut Device, bob: &mut Device, now: Now, packet: &IpPacket<'_>) {
    let from = Path::to(SocketAddr::from(([192, 0, 2, 1], 1)));
    let mut slab = vec![0u8; BATCH * 2048];
    let mut spent = [const { Vec::new() }; 6];
    for _ in 0..ROUNDS {
        let mut clock = Instant::now();
        let mut lap = |phase: usize| {
            let before = std::mem::replace(&mut clock, Instant::now());
            spent[phase].push(clock - before);
        };
        let jobs: Vec<SealJob> = (0..BATCH)
            .map(|_| {
                let Outbound::Seal { job, .. } = alice.plan_outbound(now, packet) else { panic!("no session") };
                job
            })
            .collect();
        lap(0);
        let mut batch: Vec<Sealing<'_, SealJob>> = jobs
            .into_iter()
            .zip(slab.chunks_mut(2048))
            .map(|(job, room)| {
                let datagram = &mut room[..job.wire_len(packet.len())];
                job.lay_out(Some(packet), datagram);
                Sealing { job, datagram }
            })
            .collect();
        lap(1);
        SealJob::seal_batch(&mut batch);
        lap(2);
        let mut batch: Vec<Opening<'_, OpenJob>> = batch
            .into_iter()
            .map(|sealed| {
                let Inbound::Open(job) = bob.plan_inbound(now, from, sealed.datagram) else { panic!("not data") };
                Opening::new(job, sealed.datagram)
            })
            .collect();
        lap(3);
        OpenJob::open_batch(&mut batch);
        lap(4);
        for opening in batch {
            let delivery = bob.commit_inbound(now, opening.outcome.expect("authentic"), opening.datagram);
            assert!(matches!(delivery, Delivery::Packet(_)));
        }
        while !matches!(alice.poll_output(now), Output::Timeout(..)) {}
        while !matches!(bob.poll_output(now), Output::Timeout(..)) {}
        lap(5);
    }
    let names = ["plan_outbound", "lay_out", "seal_batch", "plan_inbound", "open_batch", "commit_inbound, drain"];
    let each = spent.map(|mut times| median(&mut times).as_nanos() as f64 / BATCH as f64);
    for (name, time) in names.iter().zip(each) {
        println!("{name:24} {time:7.1} ns");
    }
    let all: f64 = each.iter().sum();
    let aead = each[2] + each[4];
    println!("all {all:.0} ns a packet, without the AEAD {:.1} ns, {:.2} Gb/s", all - aead, 8.0 * f64::from(LEN) / all);
}

/// So that whatever else the machine does is not counted.
fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// Carries handshake messages until both are done.
fn handshake(alice: &mut Device, bob: &mut Device, now: Now) {
    let (at_alice, at_bob) = (SocketAddr::from(([192, 0, 2, 1], 1)), SocketAddr::from(([192, 0, 2, 2], 2)));
    for _ in 0..3 {
        carry(alice, at_alice, bob, now);
        carry(bob, at_bob, alice, now);
    }
}

fn carry(from: &mut Device, address: SocketAddr, to: &mut Device, now: Now) {
    loop {
        let mut datagram = match from.poll_output(now) {
            Output::Transmit { datagram, .. } => datagram,
            Output::Seal { job, packet, .. } => {
                let packet = IpPacket::parse(&packet);
                let mut datagram = vec![0; job.wire_len(packet.map_or(0, |p| p.len()))];
                job.lay_out(packet.as_ref(), &mut datagram);
                SealJob::seal_batch(&mut [Sealing { job, datagram: &mut datagram }]);
                datagram
            }
            Output::Event(_) => continue,
            Output::Timeout(..) => return,
        };
        if let Inbound::Open(job) = to.plan_inbound(now, Path::to(address), &mut datagram) {
            let mut batch = [Opening::<OpenJob>::new(job, &mut datagram)];
            OpenJob::open_batch(&mut batch);
            let [opening] = batch;
            let _ = to.commit_inbound(now, opening.outcome.expect("authentic"), &datagram);
        }
    }
}

fn device(n: u8, key: PrivateKey, peer: PublicKey, now: Now) -> Device {
    let mut device = Device::new([n; 32], now);
    let mut change = PeerChange::new(peer);
    change.endpoint = Some(SocketAddr::from(([192, 0, 2, 3 - n], u16::from(3 - n))));
    change.allowed_ips = vec![AllowedIpChange::Add("10.0.0.0/8".parse().expect("a network"))];
    device.apply(now, DeviceChange { private_key: Some(key), peers: vec![change], ..DeviceChange::default() });
    device
}

fn packet() -> Vec<u8> {
    let mut bytes = vec![0; usize::from(LEN)];
    bytes[0] = 0x45;
    bytes[2..4].copy_from_slice(&LEN.to_be_bytes());
    bytes[12..16].copy_from_slice(&[10, 0, 0, 1]);
    bytes[16..20].copy_from_slice(&[10, 0, 0, 2]);
    bytes
}
