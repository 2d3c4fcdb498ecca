//! One device and its two sides, driven as the contract asks: after every change, poll until `Timeout`.

use std::net::SocketAddr;
use std::time::Instant;

use adit_protocol::{
    Delivery, DropReason, Inbound, IpPacket, LinkId, Now, Open as _, Opening, Outbound, Output, Path, Protocol as _,
    Seal as _, Sealing, Why,
};
use adit_wireguard::{AllowedIpChange, Device, DeviceChange, Event, OpenJob, PeerChange, PrivateKey, SealJob};

/// What became of a packet handed to a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sent {
    AtOnce,
    Staged,
    Dropped(DropReason),
}

/// A device, its addresses and what came out of it.
pub(crate) struct Host {
    /// Last byte of its addresses.
    pub(crate) n: u8,
    pub(crate) private: PrivateKey,
    device: Device,
    restarts: u8,
    /// Where it can be reached; it sends from the first unless told otherwise.
    pub(crate) addresses: Vec<SocketAddr>,
    /// The next deadline, as the last drain said.
    pub(crate) deadline: Option<(Instant, Why)>,
    pub(crate) delivered: Vec<Vec<u8>>,
    pub(crate) events: Vec<Event>,
    /// Datagrams to put on the wire.
    pub(crate) outbox: Vec<(Path, u8, Vec<u8>)>,
    forged: u64,
}

impl Host {
    pub(crate) fn new(n: u8, now: Now) -> Self {
        Self {
            n,
            private: PrivateKey::new([n; 32]),
            device: Device::new([n; 32], now),
            restarts: 0,
            addresses: vec![SocketAddr::from(([192, 0, 2, n], 51820))],
            deadline: None,
            delivered: Vec::new(),
            events: Vec::new(),
            outbox: Vec::new(),
            forged: 0,
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    pub(crate) const fn device(&self) -> &Device {
        &self.device
    }

    /// For calls that are not part of the contract; drain afterwards.
    pub(crate) const fn device_mut(&mut self) -> &mut Device {
        &mut self.device
    }

    /// This host as a peer of another.
    pub(crate) fn as_peer(&self, endpoint: Option<SocketAddr>) -> PeerChange {
        let mut peer = PeerChange::new(self.private.public_key());
        peer.endpoint = endpoint;
        peer.allowed_ips = [format!("10.0.0.{}/32", self.n), format!("fd00::{:x}/128", self.n)]
            .map(|net| AllowedIpChange::Add(net.parse().unwrap()))
            .to_vec();
        peer
    }

    pub(crate) fn restart(&mut self, now: Now) {
        self.restarts += 1;
        let mut seed = [self.n; 32];
        seed[31] = 0x80 | self.restarts;
        self.device = Device::new(seed, now);
        self.deadline = None;
        self.outbox.clear();
    }

    pub(crate) fn apply(&mut self, now: Now, change: DeviceChange) {
        self.device.apply(now, change);
        self.drain(now);
    }

    pub(crate) fn set_up(&mut self, now: Now, up: bool) {
        self.device.set_up(now, up);
        self.drain(now);
    }

    pub(crate) fn handle_timeout(&mut self, now: Now) {
        self.device.handle_timeout(now);
        self.drain(now);
    }

    pub(crate) fn plan_outbound(&mut self, now: Now, bytes: &[u8]) -> Sent {
        let packet = IpPacket::parse(bytes).expect("a packet to send");
        let sent = match self.device.plan_outbound(now, &packet) {
            Outbound::Seal { job, to } => {
                let datagram = seal(job, bytes);
                self.outbox.push((to, 0, datagram));
                Sent::AtOnce
            }
            Outbound::Staged => Sent::Staged,
            Outbound::Drop(why) => Sent::Dropped(why),
        };
        self.drain(now);
        sent
    }

    pub(crate) fn receive(&mut self, now: Now, source: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        let mut datagram = bytes.to_vec();
        let from = Path { link: LinkId(0), remote: source, local: Some(to.ip()) };
        if let Inbound::Open(job) = self.device.plan_inbound(now, from, &mut datagram) {
            let opened = open(job, &mut datagram);
            match opened.map(|opened| self.device.commit_inbound(now, opened, &datagram)) {
                Some(Delivery::Packet(range)) => self.delivered.push(datagram[range].to_vec()),
                Some(Delivery::Nothing | Delivery::Drop(_)) => {}
                None => self.forged += 1,
            }
        }
        self.drain(now);
    }

    /// Plans several datagrams before the first is committed, as a driver with batches does.
    pub(crate) fn receive_batch(&mut self, now: Now, source: SocketAddr, batch: &[Vec<u8>]) {
        let from = Path { link: LinkId(0), remote: source, local: None };
        let mut jobs = Vec::new();
        for bytes in batch {
            let mut datagram = bytes.clone();
            if let Inbound::Open(job) = self.device.plan_inbound(now, from, &mut datagram) {
                jobs.push((job, datagram));
            }
        }
        for (job, mut datagram) in jobs {
            if let Some(opened) = open(job, &mut datagram)
                && let Delivery::Packet(range) = self.device.commit_inbound(now, opened, &datagram)
            {
                self.delivered.push(datagram[range].to_vec());
            }
        }
        self.drain(now);
    }

    /// Does something else to the device between planning a datagram and committing it.
    pub(crate) fn receive_around(
        &mut self,
        now: Now,
        source: SocketAddr,
        bytes: &[u8],
        meanwhile: impl FnOnce(&mut Device),
    ) -> Option<Delivery> {
        let mut datagram = bytes.to_vec();
        let Inbound::Open(job) = self.device.plan_inbound(now, Path::to(source), &mut datagram) else { return None };
        meanwhile(&mut self.device);
        let opened = open(job, &mut datagram)?;
        let delivery = self.device.commit_inbound(now, opened, &datagram);
        self.drain(now);
        Some(delivery)
    }

    pub(crate) fn drain(&mut self, now: Now) {
        for turn in 0.. {
            assert!(turn < 100_000, "this device is never done");
            match self.device.poll_output(now) {
                Output::Transmit { to, datagram, tos } => self.outbox.push((to, tos, datagram)),
                Output::Seal { job, to, packet } => {
                    let datagram = seal(job, &packet);
                    self.outbox.push((to, 0, datagram));
                }
                Output::Event(event) => self.events.push(event),
                Output::Timeout(at, why) => {
                    self.deadline = at.map(|at| (at, why));
                    return;
                }
            }
        }
    }

    /// The address a datagram to `to` leaves from.
    pub(crate) fn source_for(&self, to: Path) -> SocketAddr {
        let asked = to.local.and_then(|ip| self.addresses.iter().find(|a| a.ip() == ip));
        *asked.unwrap_or(&self.addresses[0])
    }

    /// A driver counts forged datagrams, for the core never hears of them.
    pub(crate) fn forged_if(&self, reason: DropReason) -> u64 {
        if reason == DropReason::Forged { self.forged } else { 0 }
    }
}

/// Runs a sealing job over a whole packet; empty for a keepalive.
pub(crate) fn seal(job: SealJob, packet: &[u8]) -> Vec<u8> {
    let view = IpPacket::parse(packet);
    let mut datagram = vec![0xaa; job.wire_len(packet.len())];
    job.lay_out(view.as_ref(), &mut datagram);
    let mut batch = [Sealing { job, datagram: &mut datagram }];
    SealJob::seal_batch(&mut batch);
    datagram
}

/// Runs an opening job; `None` if the datagram is not authentic.
pub(crate) fn open(job: OpenJob, datagram: &mut [u8]) -> Option<adit_wireguard::Opened> {
    let mut batch = [Opening::new(job, datagram)];
    OpenJob::open_batch(&mut batch);
    let [opening] = batch;
    opening.outcome
}
